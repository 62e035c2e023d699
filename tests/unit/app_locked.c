/* app/locked: an app written, read and written again gives the same bytes and the same fields;
 * what Spin writes is understood; what must be understood and is not is refused. */
#include "unit.h"

#include "app/locked.h"
#include "app/manifest.h"
#include "base/limits.h"

typedef struct {
    arena a;
    buf one, two;
    app *app;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, APP_ARENA_BYTES_MAX);
    buf_init(&f->one, APP_LOCKED_BYTES_MAX);
    buf_init(&f->two, APP_LOCKED_BYTES_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    buf_fini(&f->one);
    buf_fini(&f->two);
    arena_fini(&f->a);
    free(f);
    return 0;
}

static const char manifest[] =
    "spin_manifest_version = 2\n"
    "[application]\nname = 'big \\u0001 \"'\nversion = '1'\ndescription = 'd'\nauthors = ['a']\n"
    "targets = ['spin-up:3.2', { url = 'https://t' }]\n"
    "trigger.cron.zone = 'utc'\ntrigger.redis.address = 'redis://h'\n"
    "[variables]\na = { default = '' }\nk = { required = true, secret = true, description = 'x' }\n"
    "[[trigger.http]]\nroute = '/a/:b'\ncomponent = 'web'\n"
    "executor = { type = 'wagi', argv = 'x' }\n"
    "dependencies.middleware = [{ path = 'p.wasm', inherit_configuration = ['files'] }]\n"
    "[[trigger.http]]\nroute = { private = true }\ncomponent = 'web'\n"
    "[[trigger.http]]\nroute = '/s'\n"
    "static_response = { status_code = 302, headers = { location = '/t' }, body = 'x' }\n"
    "[[trigger.redis]]\nchannel = 'c'\naddress = 'redis://{{ a }}'\ncomponent = 'web'\n"
    "[[trigger.cron]]\nf = 1.25\nl = [1, { x = true }]\ncomponent = 'web'\n"
    "[[trigger.other]]\nl = 'no component'\n"
    "[component.web]\nsource = { url = 'https://x/w.wasm', digest = 'sha256:"
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' }\n"
    "description = 'web'\nvariables = { v = '{{ k }}!' }\nenvironment = { B = \"\\u0000\", A = '' "
    "}\n"
    "files = ['static/*', { source = 's', destination = '/d' }]\nexclude_files = ['*.md']\n"
    "allowed_outbound_hosts = ['http://lib.spin.internal', '*://10.0.0.0/8:*']\n"
    "key_value_stores = ['default']\nsqlite_databases = ['my-db']\nai_models = ['llama']\n"
    "targets = [{ path = 't.wit' }]\n"
    "build = { command = ['one', 'two'], workdir = 'w', watch = ['src/**/*.rs'] }\n"
    "[component.web.tool.ebb]\nmemory_max = '128 MiB'\nconcurrency_max = 7\n"
    "queue_max = 8\nresources_max = 9\nrequest_body_max = 10\nresponse_body_max = 11\n"
    "log_max = 12\nclock_resolution = '13us'\nrestore = false\nrestore_after_start = true\n"
    "defer = { routes = ['/a/:b'], slack = 14, attempts = 15, criticality = 'low' }\n"
    "cron = [{ schedule = '@daily', zone = 'Europe/Berlin', window = 16, path = '/n' }]\n"
    "[component.web.dependencies]\n\"a:b/c@1.0.0\" = '1.0'\n"
    "plain = { path = 'd.wasm', export = 'e', inherit_configuration = true }\n"
    "[component.lib]\nsource = { registry = 'r.io', package = 'n:p', version = '1.0.0' }\n"
    "[component.idle]\nsource = '/abs/ne ver%.wasm'\n";

static void read_manifest(fixture *f, const char *text)
{
    manifest_options o = {.file = S("spin.toml")};
    if (!manifest_read(&f->a, str_from(text), &o, &f->app, &f->e))
        fail_msg("%s", f->e.text);
}

static void relock(fixture *f)
{
    buf_clear(&f->one);
    buf_clear(&f->two);
    assert_true(locked_write(f->app, S(""), &f->one, &f->e));
    if (!locked_read(&f->a, buf_bytes(&f->one), &f->app, &f->e))
        fail_msg("%s in %.*s", f->e.text, STR(buf_str(&f->one)));
    assert_true(locked_write(f->app, S(""), &f->two, &f->e));
    assert_int_equal(f->one.n, f->two.n);
    assert_memory_equal(f->one.p, f->two.p, f->one.n);
}

static void round_trip(void **state)
{
    fixture *f = *state;
    char text[sizeof manifest];
    memcpy(text, manifest, sizeof text);
    char *nul = strstr(text, "\"\\u0000\""); /* not allowed in an environment: made a plain 'z' */
    memcpy(nul, "'z'     ", 8);
    read_manifest(f, text);
    app_file files[] = {{S("static/a b.txt"), S("/static/a b.txt")}, {S("s/x"), S("/d/x")}};
    f->app->components[0].files = (app_files){files, 2};
    f->app->components[2].source.digest = S("sha256:00");
    f->app->oci_image_digest = S("sha256:11");
    f->app->origin = S("file:///x/spin.toml");
    f->app->profile = S("dev");
    relock(f);
    const app *a = f->app;
    assert_str(a->name, "big \\u0001 \"");
    assert_str(a->authors.at[0], "a");
    assert_str(a->targets.at[1].url, "https://t");
    assert_str(a->oci_image_digest, "sha256:11");
    assert_str(a->origin, "file:///x/spin.toml");
    assert_str(a->profile, "dev");
    assert_str(a->trigger_defaults[0].config_json, "{\"zone\":\"utc\"}");
    assert_true(a->variables[0].has_default && !a->variables[0].required);
    assert_int_equal(a->variables[0].value.n, 0);
    assert_true(a->variables[1].required && a->variables[1].secret);
    assert_str(a->variables[1].description, "x");
    assert_int_equal(a->triggers_count, 6);
    assert_str(a->triggers[0].id, "web-http-trigger");
    assert_str(a->triggers[0].route, "/a/:b");
    assert_int_equal(a->triggers[0].component, 0);
    assert_int_equal(a->triggers[0].executor, APP_EXECUTOR_WAGI);
    assert_str(a->triggers[0].wagi_argv, "x");
    assert_str(a->triggers[0].middleware.at[0].source.path, "p.wasm");
    assert_int_equal(a->triggers[0].middleware.at[0].inherit, APP_INHERIT_FILES);
    assert_true(a->triggers[1].is_private);
    assert_int_equal(a->triggers[2].component, APP_NONE);
    assert_int_equal(a->triggers[2].static_response.status, 302);
    assert_str(a->triggers[2].static_response.headers.at[0].key, "location");
    assert_str(a->triggers[3].address, "redis://{{ a }}");
    assert_str(a->triggers[4].config_json, "{\"f\":1.25,\"l\":[1,{\"x\":true}]}");
    assert_int_equal(a->triggers[5].component, APP_NONE);
    const app_component *c = &a->components[0];
    assert_int_equal(c->source.kind, APP_SOURCE_URL);
    assert_str(str_head(c->source.digest, 11), "sha256:0123");
    assert_str(*app_pairs_get(&c->environment, S("B")), "z");
    assert_str(c->variables.at[0].value, "{{ k }}!");
    assert_int_equal(c->files.n, 2);
    assert_str(c->files.at[0].host_path, "static/a b.txt");
    assert_str(c->files.at[1].guest_path, "/d/x");
    assert_true(c->mounts[1].is_pair);
    assert_str(c->exclude_files.at[0], "*.md");
    assert_str(c->allowed_outbound_hosts.at[1], "*://10.0.0.0/8:*");
    assert_str(c->sqlite_databases.at[0], "my-db");
    assert_str(c->build.commands.at[1], "two");
    assert_str(c->targets.at[0].path, "t.wit");
    assert_true(c->settings.memory_bytes_max == 128 * MIB);
    assert_true(c->settings.cpu_time_max_ns == APP_CPU_TIME_MAX_NS);
    assert_int_equal(c->settings.concurrency_max, 7);
    assert_int_equal(c->settings.queue_max, 8);
    assert_int_equal(c->settings.resources_max, 9);
    assert_int_equal(c->settings.request_body_bytes_max, 10);
    assert_int_equal(c->settings.response_body_bytes_max, 11);
    assert_int_equal(c->settings.log_bytes_max, 12);
    assert_int_equal(c->settings.clock_resolution_ns, 13000);
    assert_true(c->settings.no_restore && c->settings.restore_after_start);
    assert_true(c->settings.defer.is_on);
    assert_str(c->settings.defer.routes.at[0], "/a/:b");
    assert_int_equal(c->settings.defer.slack_s, 14);
    assert_int_equal(c->settings.defer.attempts_max, 15);
    assert_int_equal(c->settings.defer.criticality, APP_DEFER_LOW);
    assert_int_equal(c->settings.crons_count, 1);
    assert_str(c->settings.crons[0].zone, "Europe/Berlin");
    assert_int_equal(c->settings.crons[0].window_s, 16);
    assert_str(c->settings.crons[0].method, "POST");
    assert_true(c->is_used);
    assert_str(c->dependencies.at[0].source.package, "a:b");
    assert_int_equal(c->dependencies.at[1].inherit, APP_INHERIT_ALL);
    assert_str(c->dependencies.at[1].export_name, "e");
    assert_str(a->components[1].source.registry, "r.io");
    assert_str(a->components[2].source.path, "/abs/ne ver%.wasm");
    assert_str(a->components[2].source.digest, "sha256:00");
    assert_false(a->components[2].is_used);
    /* Spin's own conventions. */
    buf_put_u8(&f->one, 0);
    assert_non_null(strstr((char *)f->one.p,
                           "\"spin_lock_version\":1,\"must_understand\":["
                           "\"host_requirements\",\"component_host_requirements\"]"));
    assert_non_null(strstr((char *)f->one.p, "\"source\":\"file:///abs/ne%20ver%25.wasm\""));
}

static void base_directory(void **state)
{
    fixture *f = *state;
    assert_true(app_from_wasm(&f->a, S("sub/x y.wasm"), &f->app, &f->e));
    assert_true(locked_write(f->app, S("/srv/app"), &f->one, &f->e));
    buf_put_u8(&f->one, 0);
    assert_non_null(strstr((char *)f->one.p, "\"source\":\"file:///srv/app/sub/x%20y.wasm\""));
    assert_non_null(strstr((char *)f->one.p, "\"spin_lock_version\":0,\"metadata\""));
    f->one.n--;
    assert_true(locked_read(&f->a, buf_bytes(&f->one), &f->app, &f->e));
    assert_str(f->app->components[0].source.path, "/srv/app/sub/x y.wasm");
}

static void from_spin(void **state)
{
    fixture *f = *state;
    str json =
        S("{\"spin_lock_version\": 1, \"must_understand\": [\"component_host_requirements\"],"
          "\"metadata\": {\"name\": \"n\", \"trigger\": {\"type\": \"http\"}, \"triggers\": {}},"
          "\"triggers\": [{\"id\": \"t\", \"trigger_type\": \"http\", \"trigger_config\": "
          "{\"component\": \"c\", \"executor\": {\"type\": \"http\"}, \"route\": \"/x\"}}],"
          "\"components\": [{\"id\": \"c\", \"metadata\": {\"build\": {\"command\": \"make\"}},"
          "\"source\": {\"content_type\": \"application/wasm\", \"source\": \"file:///d/c.wasm\"},"
          "\"env\": {\"A\": \"1\"}, \"files\": [{\"source\": \"file:///assets\", \"path\": \"/\"}],"
          "\"host_requirements\": {\"local_service_chaining\": \"required\", "
          "\"future\": \"optional\"}}]}");
    if (!locked_read(&f->a, (bytes){(const uint8_t *)json.p, json.n}, &f->app, &f->e))
        fail_msg("%s", f->e.text);
    assert_str(f->app->components[0].source.path, "/d/c.wasm");
    assert_true(f->app->components[0].is_used);
    assert_true(f->app->components[0].settings.cpu_time_max_ns == APP_CPU_TIME_MAX_NS);
    assert_str(f->app->components[0].build.commands.at[0], "make");
    assert_str(f->app->components[0].files.at[0].host_path, "/assets");
}

static void refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json, *why;
        err_code code;
    } cases[] = {
        {"", "locked app:1:0:", ERR_INVALID},
        {"[]", "not an object", ERR_INVALID},
        {"{\"spin_lock_version\":2}", "newer than 1", ERR_UNSUPPORTED},
        {"{\"must_understand\":[\"new\"]}", "the app needs 'new'", ERR_UNSUPPORTED},
        {"{\"host_requirements\":{\"gpu\":\"required\"}}", "the app needs 'gpu'", ERR_UNSUPPORTED},
        {"{}", "no 'metadata'", ERR_INVALID},
        {"{\"metadata\":{\"name\":5}}", "'name' must be a string", ERR_INVALID},
        {"{\"metadata\":{},\"components\":[{\"id\":\"a\",\"source\":{}},{\"id\":\"a\","
         "\"source\":{}}]}",
         "two components 'a'", ERR_INVALID},
        {"{\"metadata\":{},\"components\":[{\"id\":\"a\",\"source\":{\"inline\":\"AA==\"}}]}",
         "inline", ERR_UNSUPPORTED},
        {"{\"metadata\":{},\"triggers\":[{\"id\":\"t\",\"trigger_type\":\"http\","
         "\"trigger_config\":{\"component\":\"x\",\"route\":\"/\"}}]}",
         "names the component 'x'", ERR_INVALID},
        {"{\"metadata\":{},\"triggers\":[{\"id\":\"t\",\"trigger_type\":\"http\","
         "\"trigger_config\":{\"route\":\"/\"}}]}",
         "either a component or a static", ERR_INVALID},
        {"{\"metadata\":{},\"metadata\":{}}", "duplicate", ERR_INVALID},
        {"{\"metadata\":{},\"components\":[{\"id\":\"a\",\"source\":{\"source\":\"file://%dc/"
         "x\"}}]}",
         "absolute path", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str s = str_from(cases[i].json);
        if (locked_read(&f->a, (bytes){(const uint8_t *)s.p, s.n}, &f->app, &f->e))
            fail_msg("accepted %s", cases[i].json);
        if (!strstr(f->e.text, cases[i].why) || f->e.code != cases[i].code)
            fail_msg("%s: %s", cases[i].json, f->e.text);
    }
}

/* What a manifest can't say of defer and cron, JSON can't either. */
static void limits_of_defer(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *ebb, *why; /* NULL: accepted */
    } cases[] = {
        {"\"defer\":{\"slack_s\":1,\"slack_s_max\":604800,\"kept_s\":1,\"attempts_max\":1,"
         "\"body_bytes_max\":16777216,\"result_bytes_max\":16777216}",
         NULL},
        {"\"defer\":{\"body_bytes_max\":1,\"result_bytes_max\":1}", NULL},
        {"\"defer\":{\"slack_s_max\":600}", NULL},
        {"\"defer\":{\"hook\":\"http://[::1]:8080?x\"}", NULL},
        {"\"defer\":{\"hook\":\"http://x/ y\"}", "is no address of a hook"},
        {"\"defer\":{\"body_bytes_max\":0}", "'body_bytes_max' is out of range"},
        {"\"defer\":{\"body_bytes_max\":16777217}", "'body_bytes_max' is out of range"},
        {"\"defer\":{\"result_bytes_max\":0}", "'result_bytes_max' is out of range"},
        {"\"defer\":{\"result_bytes_max\":16777217}", "'result_bytes_max' is out of range"},
        {"\"defer\":{\"attempts_max\":0}", "'attempts_max' is out of range"},
        {"\"defer\":{\"attempts_max\":101}", "'attempts_max' is out of range"},
        {"\"defer\":{\"kept_s\":0}", "'kept_s' is out of range"},
        {"\"defer\":{\"slack_s\":0}", "'slack_s' is out of range"},
        {"\"defer\":{\"slack_s_max\":0}", "'slack_s_max' is out of range"},
        {"\"defer\":{\"slack_s_max\":604801}", "'slack_s_max' is out of range"},
        {"\"defer\":{\"slack_s\":601,\"slack_s_max\":600}", "'slack_s' is out of range"},
        {"\"cron\":[{\"schedule\":\"@daily\",\"zone\":\"Europe/Berlin\"}]", NULL},
        {"\"cron\":[{\"schedule\":\"@daily\",\"zone\":\"../../../etc/passwd\"}]", "'zone'"},
        {"\"cron\":[{\"schedule\":\"@daily\",\"zone\":\"/etc/passwd\"}]", "'zone'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str s = arena_printf(&f->a,
                             "{\"metadata\":{\"name\":\"n\"},\"components\":[{\"id\":\"c\","
                             "\"source\":{\"source\":\"file:///c.wasm\"},"
                             "\"metadata\":{\"ebb\":{%s}}}]}",
                             cases[i].ebb);
        bool ok = locked_read(&f->a, (bytes){(const uint8_t *)s.p, s.n}, &f->app, &f->e);
        if (ok != !cases[i].why)
            fail_msg("%s: %s", cases[i].ebb, ok ? "accepted" : f->e.text);
        if (!ok && !strstr(f->e.text, cases[i].why))
            fail_msg("%s: %s", cases[i].ebb, f->e.text);
    }
}

static void no_memory(void **state)
{
    fixture *f = *state;
    assert_true(app_from_wasm(&f->a, S("x.wasm"), &f->app, &f->e));
    f->app->components[0].description = S("d");
    assert_true(locked_write(f->app, S(""), &f->one, &f->e));
    app *again;
    alloc_fail_after(0);
    assert_true(locked_read(&f->a, buf_bytes(&f->one), &again, &f->e));
    size_t total = alloc_fail_after(0);
    for (size_t i = 1; i <= total; i++) {
        alloc_fail_after(i);
        assert_false(locked_read(&f->a, buf_bytes(&f->one), &again, &f->e));
    }
    alloc_fail_after(0);
    buf small;
    buf_init(&small, 100);
    assert_false(locked_write(f->app, S(""), &small, &f->e));
    assert_int_equal(f->e.code, ERR_LIMIT);
    buf_fini(&small);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(round_trip), T(base_directory),  T(from_spin),
                                       T(refused),    T(limits_of_defer), T(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
