/* app/manifest: what each part of spin.toml becomes, and what each mistake is answered with. */
#include "unit.h"

#include "app/manifest.h"
#include "base/limits.h"

#include <stdio.h>

typedef struct {
    arena a;
    app *app;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, APP_ARENA_BYTES_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    free(f);
    return 0;
}

static bool try_read(fixture *f, const char *text, const char *profile)
{
    manifest_options o = {.file = S("spin.toml"), .profile = str_from(profile)};
    return manifest_read(&f->a, str_from(text), &o, &f->app, &f->e);
}

static void ok(fixture *f, const char *text)
{
    if (!try_read(f, text, NULL))
        fail_msg("%s", f->e.text);
}

static void refused(fixture *f, const char *text, const char *message)
{
    if (try_read(f, text, NULL))
        fail_msg("accepted:\n%s", text);
    if (strcmp(f->e.text, message))
        fail_msg("got      '%s'\nexpected '%s'", f->e.text, message);
}

/* A whole manifest around the lines of one component, which begin at line 7. */
#define HEAD      "spin_manifest_version = 2\n[application]\nname = 'x'\n"
#define TRIGGER   "[[trigger.http]]\nroute='/...'\ncomponent='web'\n"
#define COMPONENT HEAD TRIGGER "[component.web]\nsource = 'w.wasm'\n"

static void minimal(void **state)
{
    fixture *f = *state;
    ok(f, COMPONENT);
    assert_str(f->app->name, "x");
    assert_int_equal(f->app->components_count, 1);
    assert_str(f->app->components[0].id, "web");
    assert_str(f->app->components[0].source.path, "w.wasm");
    assert_true(f->app->components[0].is_used);
    assert_true(f->app->components[0].settings.cpu_time_max_ns == 30 * NS_PER_S);
    assert_true(f->app->components[0].settings.idle_time_max_ns == 600 * NS_PER_S);
    assert_true(f->app->components[0].settings.wall_time_max_ns == 0);
    assert_true(f->app->components[0].settings.memory_bytes_max == 1 * GIB);
    assert_true(f->app->components[0].settings.log_bytes_max == 1 * MIB);
    assert_int_equal(f->app->components[0].settings.queue_max, 256);
    assert_int_equal(f->app->components[0].settings.resources_max, 131072);
    assert_true(f->app->components[0].settings.clock_resolution_ns == 1);
    assert_int_equal(f->app->triggers_count, 1);
    assert_str(f->app->triggers[0].id, "web-http-trigger");
    assert_str(f->app->triggers[0].route, "/...");
    assert_int_equal(f->app->triggers[0].component, 0);
    assert_int_equal(f->app->warnings.n, 0);
}

static void defer_words(void **state)
{
    fixture *f = *state;
    ok(f, COMPONENT);
    assert_false(f->app->components[0].settings.defer.is_on);
    ok(f, COMPONENT "tool.ebb.defer = true");
    const app_settings *s = &f->app->components[0].settings;
    assert_true(s->defer.is_on);
    assert_int_equal(s->defer.slack_s, 86400);
    assert_int_equal(s->defer.attempts_max, 5);
    assert_int_equal(s->crons_count, 0);
    ok(f, COMPONENT
       "[component.web.tool.ebb]\ndefer = { routes = ['/...'], slack = '8h', slack_max = '2d', "
       "keep = '1h', attempts = 3, criticality = 'high', body_max = '2 MiB', result_max = 100, "
       "hook = 'https://example.com/done' }\n"
       "cron = [{ schedule = '30 1 * * *', zone = 'Europe/Berlin', window = '4h', path = '/n', "
       "method = 'GET' }, { schedule = '@daily' }]");
    s = &f->app->components[0].settings;
    assert_int_equal(s->defer.routes.n, 1);
    assert_int_equal(s->defer.slack_s, 8 * 3600);
    assert_int_equal(s->defer.slack_s_max, 2 * 86400);
    assert_int_equal(s->defer.kept_s, 3600);
    assert_int_equal(s->defer.attempts_max, 3);
    assert_int_equal(s->defer.criticality, APP_DEFER_HIGH);
    assert_true(s->defer.body_bytes_max == 2 * MIB && s->defer.result_bytes_max == 100);
    assert_str(s->defer.hook, "https://example.com/done");
    assert_int_equal(s->crons_count, 2);
    assert_int_equal(s->crons[0].window_s, 4 * 3600);
    assert_str(s->crons[0].method, "GET");
    assert_int_equal(s->crons[1].window_s, 0);
    assert_str(s->crons[1].method, "POST");
    assert_str(s->crons[1].path, "/");
    /* A slack_max below the usual slack takes it along. */
    ok(f, COMPONENT "tool.ebb.defer.slack_max = '1h'");
    assert_int_equal(f->app->components[0].settings.defer.slack_s, 3600);
}

static void defer_mistakes(void **state)
{
    fixture *f = *state;
    refused(f, COMPONENT "tool.ebb.defer = 1",
            "spin.toml:9:18: defer must be true, false or a table like { slack = \"8h\" }, not an "
            "integer");
    refused(f, COMPONENT "tool.ebb.defer.hook = 'example.com'",
            "spin.toml:9:23: hook: 'example.com' is no address of a hook; write it like "
            "https://example.com/done");
    refused(f, COMPONENT "tool.ebb.defer.slak = '1h'",
            "spin.toml:9:16: unknown field 'slak' in defer; did you mean 'slack'?");
    refused(f, COMPONENT "tool.ebb.defer.slack_max = '8d'",
            "spin.toml:9:28: slack_max must be from 1s to 7d (604800 s)");
    refused(f, COMPONENT "tool.ebb.defer.slack = 'none'",
            "spin.toml:9:24: slack must be from 1s to 7d (604800 s)");
    refused(f, COMPONENT "tool.ebb.defer.routes = ['/x']",
            "spin.toml:9:10: defer: component 'web' has no route '/x'; write it as its "
            "[[trigger.http]] does");
    refused(f, COMPONENT "tool.ebb.defer.attempts = 0",
            "spin.toml:9:27: attempts must be from 1 to 100");
    refused(f, COMPONENT "tool.ebb.defer.criticality = 'max'",
            "spin.toml:9:30: criticality is \"low\", \"normal\" or \"high\", not 'max'");
    refused(f, COMPONENT "tool.ebb.cron = [{ schedule = '61 * * * *' }]",
            "spin.toml:9:31: schedule: '61' is no minute: write *, a number from 0 to 59, a range "
            "1-5, a step */2 or a list of those with commas");
    refused(f, COMPONENT "tool.ebb.cron = [{ schedule = '@daily', zone = '../x' }]",
            "spin.toml:9:48: zone '../x' is no name of a time zone; write it like "
            "'Europe/Berlin'");
    refused(f, COMPONENT "tool.ebb.cron = [{ schedule = '@daily', window = '25h' }]",
            "spin.toml:9:50: window must be from 1s to 1d (86400 s)");
    refused(f, COMPONENT "tool.ebb.cron = [{ schedule = '@daily', path = 'x' }]",
            "spin.toml:9:48: path 'x' must begin with '/'");
    refused(f,
            HEAD "tool.ebb.cron = [{ schedule = '@daily' }]\n" TRIGGER
                 "[component.web]\nsource = 'w.wasm'",
            "spin.toml:4:17: cron belongs to a component: [component.<id>.tool.ebb]");
}

static void maximal(void **state)
{
    fixture *f = *state;
    ok(f,
       "spin_manifest_version = 2\n"
       "[application]\nname = 'big'\nversion = '1.2.3'\ndescription = 'd'\nauthors = ['a', 'b']\n"
       "targets = ['spin-up:3.2', { url = 'https://t' }, { path = 't.wit' }]\n"
       "[application.tool.other]\nx = 1\n[application.tool.ebb]\ncpu_time_max = '5s'\n"
       "[application.trigger.redis]\naddress = 'redis://{{ r }}'\n"
       "[application.trigger.cron]\nzone = 'utc'\n"
       "[variables]\nr = { default = 'localhost' }\nk = { required = true, secret = true }\n"
       "[[trigger.http]]\nid = 't1'\nroute = '/a/:b'\ncomponent = 'web'\n"
       "executor = { type = 'http' }\n"
       "[[trigger.http]]\nroute = { private = true }\ncomponent = { source = 'inline.wasm' }\n"
       "[[trigger.http]]\nroute = '/s'\n"
       "static_response = { status_code = 302, headers = { location = '/t' }, body = 'x' }\n"
       "[[trigger.http]]\nroute = '/m'\ncomponent = 'web'\n"
       "dependencies.middleware = [{ component = 'mid' }, { path = 'p.wasm', "
       "inherit_configuration = ['files'] }]\n"
       "[[trigger.redis]]\nchannel = 'c'\ncomponent = 'web'\n"
       "[[trigger.cron]]\ncron_expression = '* * * * * *'\ncomponent = 'web'\n"
       "[component.web]\nsource = { url = 'https://x/w.wasm', digest = 'sha256:"
       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' }\n"
       "description = 'web'\nvariables = { v = '{{ k }}!' }\nenvironment = { B = '2', A = '1' }\n"
       "files = ['static/*', { source = 's', destination = '/d' }]\nexclude_files = ['*.md']\n"
       "allowed_outbound_hosts = ['https://example.com', 'redis://{{ r }}:6379']\n"
       "key_value_stores = ['default', 'my_store']\nsqlite_databases = ['my-db']\n"
       "ai_models = ['llama']\ntargets = []\n"
       "build = { command = ['one', 'two'], workdir = 'w', watch = ['src/**/*.rs'] }\n"
       "[component.web.tool.ebb]\nmemory_max = '128 MiB'\nwall_time_max = 90\n"
       "idle_time_max = 'none'\nconcurrency_max = 7\n"
       "[component.web.dependencies]\n\"a:b/c@1.0.0\" = '1.0'\n"
       "\"plain-dep\" = { component = 'mid', export = 'e', inherit_configuration = true }\n"
       "[component.mid]\nsource = { registry = 'r.io', package = 'n:p', version = '1.0.0' }\n"
       "[component.idle]\nsource = 'never.wasm'\n");
    const app *a = f->app;
    assert_int_equal(a->warnings.n, 0);
    assert_int_equal(a->targets.n, 3);
    assert_str(a->targets.at[0].catalogue, "spin-up:3.2");
    assert_str(a->targets.at[2].path, "t.wit");
    assert_int_equal(a->trigger_defaults_count, 2);
    assert_str(a->trigger_defaults[1].config_json, "{\"zone\":\"utc\"}");
    assert_int_equal(a->variables_count, 2);
    assert_true(a->variables[1].required && a->variables[1].secret);
    assert_false(a->variables[1].has_default);
    assert_int_equal(a->triggers_count, 6);
    assert_str(a->triggers[0].id, "t1");
    assert_str(a->triggers[1].id, "http-trigger1");
    assert_true(a->triggers[1].is_private);
    assert_str(a->components[a->triggers[1].component].id, "http-trigger1-component");
    assert_str(a->components[a->triggers[1].component].source.path, "inline.wasm");
    assert_str(a->triggers[2].id, "http-trigger2");
    assert_true(a->triggers[2].is_static);
    assert_int_equal(a->triggers[2].component, APP_NONE);
    assert_int_equal(a->triggers[2].static_response.status, 302);
    assert_str(a->triggers[2].static_response.headers.at[0].value, "/t");
    assert_str(a->triggers[2].static_response.body, "x");
    assert_str(a->triggers[3].id, "web-http-trigger");
    assert_int_equal(a->triggers[3].middleware.n, 2);
    assert_str(a->triggers[3].middleware.at[0].source.package, "n:p");
    assert_int_equal(a->triggers[3].middleware.at[1].inherit, APP_INHERIT_FILES);
    assert_int_equal(a->triggers[4].kind, APP_TRIGGER_REDIS);
    assert_str(a->triggers[4].id, "web-redis-trigger");
    assert_str(a->triggers[4].address, "redis://{{ r }}");
    assert_int_equal(a->triggers[5].kind, APP_TRIGGER_OTHER);
    assert_str(a->triggers[5].config_json, "{\"cron_expression\":\"* * * * * *\"}");
    const app_component *c = app_component_by_id(a, S("web"));
    assert_int_equal(c->source.kind, APP_SOURCE_URL);
    assert_str(*app_pairs_get(&c->variables, S("v")), "{{ k }}!");
    assert_str(c->environment.at[0].key, "B");
    assert_int_equal(c->mounts_count, 2);
    assert_true(c->mounts[1].is_pair);
    assert_str(c->mounts[1].destination, "/d");
    assert_str(c->exclude_files.at[0], "*.md");
    assert_int_equal(c->allowed_outbound_hosts.n, 2);
    assert_str(c->key_value_stores.at[1], "my_store");
    assert_int_equal(c->build.commands.n, 2);
    assert_str(c->build.workdir, "w");
    assert_true(c->settings.memory_bytes_max == 128 * MIB);
    assert_true(c->settings.cpu_time_max_ns == 5 * NS_PER_S);
    assert_true(c->settings.wall_time_max_ns == 90 * NS_PER_S);
    assert_true(c->settings.idle_time_max_ns == 0);
    assert_int_equal(c->settings.concurrency_max, 7);
    assert_int_equal(c->dependencies.n, 2);
    assert_str(c->dependencies.at[0].source.package, "a:b");
    assert_str(c->dependencies.at[0].source.version, "1.0");
    assert_int_equal(c->dependencies.at[1].inherit, APP_INHERIT_ALL);
    assert_str(c->dependencies.at[1].source.registry, "r.io");
    assert_false(app_component_by_id(a, S("idle"))->is_used);
    assert_null(app_component_by_id(a, S("nope")));
}

static void versions(void **state)
{
    fixture *f = *state;
    refused(f, "name = 'x'",
            "spin.toml:1:1: no 'spin_manifest_version = 2' at the top; is this a "
            "Spin manifest?");
    refused(f, "spin_manifest_version = '2'",
            "spin.toml:1:25: unknown manifest version; write "
            "'spin_manifest_version = 2' (the number)");
    refused(f, "spin_manifest_version = 3",
            "spin.toml:1:25: unknown manifest version; write "
            "'spin_manifest_version = 2' (the number)");
    refused(f, "spin_manifest_version = 2\n",
            "spin.toml:1:1: no [application] table; it needs at "
            "least a name");
    refused(f, HEAD,
            "spin.toml:1:1: the app has no triggers; add [[trigger.http]] with a route and "
            "a component");
    refused(f, "spin_manifest_version = 2\n[application]\n",
            "spin.toml:2:2: [application] has no 'name', which is required");
    refused(f, "spin_manifest_version = 2 x",
            "spin.toml:1:27: expected the end of the line after "
            "the value, found 'x'");
}

static void unknown_fields(void **state)
{
    fixture *f = *state;
    refused(f, HEAD "[compnent.web]",
            "spin.toml:4:2: unknown field 'compnent' in the manifest; did "
            "you mean 'component'?");
    refused(f, "spin_manifest_version = 2\n[application]\nname='x'\nauthor=['a']",
            "spin.toml:4:1: unknown field 'author' in [application]; did you mean 'authors'?");
    refused(f, COMPONENT "allowed-outbound-hosts = []",
            "spin.toml:9:1: unknown field 'allowed-outbound-hosts' in a component; did you mean "
            "'allowed_outbound_hosts'?");
    refused(f, COMPONENT "zzz = 1", "spin.toml:9:1: unknown field 'zzz' in a component");
    refused(f, COMPONENT "build = { comand = 'x' }",
            "spin.toml:9:11: unknown field 'comand' in 'build'; did you mean 'command'?");
    refused(f, COMPONENT "tool.ebb.memory = 1",
            "spin.toml:9:10: unknown field 'memory' in tool.ebb; did you mean 'memory_max'?");
    refused(f, COMPONENT "profile.p.sauce = 1",
            "spin.toml:9:11: unknown field 'sauce' in a profile; did you mean 'source'?");
    refused(f, HEAD "variables.a = { defualt = '' }",
            "spin.toml:4:1: unknown field 'variables' in [application]");
    refused(f, HEAD "[variables]\na = { defualt = '' }",
            "spin.toml:5:7: unknown field 'defualt' in a variable; did you mean 'default'?");
    refused(f, HEAD "[[trigger.http]]\nrout = '/'",
            "spin.toml:5:1: unknown field 'rout' in an http trigger; did you mean 'route'?");
    refused(f,
            "spin_manifest_version = 2\n[application]\nname='x'\n[application.trigger.http]\n"
            "port = 1",
            "spin.toml:5:1: unknown field 'port' in the http settings");
    ok(f, COMPONENT "tool.any.thing = { goes = [1, 2] }");
}

static void types(void **state)
{
    fixture *f = *state;
    refused(f, "spin_manifest_version = 2\n[application]\nname = 5",
            "spin.toml:3:8: name must be a string, not an integer");
    refused(f, COMPONENT "environment = { A = 1 }",
            "spin.toml:9:21: 'A' in environment must be a string, not an integer");
    refused(f, COMPONENT "files = 'x'", "spin.toml:9:9: files must be an array, not a string");
    refused(f, COMPONENT "files = [{ source = 'a' }]",
            "spin.toml:9:10: an entry of files has no 'destination', which is required");
    refused(f, HEAD "[trigger.http]\nroute='/'",
            "spin.toml:4:10: triggers are a list: write [[trigger.http]] with two brackets");
    refused(f, HEAD "[[component]]\nid='a'",
            "spin.toml:4:3: in version 2 a component is [component.<id>], not [[component]]");
    refused(f, HEAD "[variables]\na = 'x'",
            "spin.toml:5:5: variable 'a' must be a table, such as "
            "{ default = \"...\" } or { required = true }");
    refused(f, COMPONENT "build = { command = 5 }",
            "spin.toml:9:21: command must be a string or a list of strings, not an integer");
    refused(f, COMPONENT "build = { workdir = 'x' }",
            "spin.toml:9:11: 'build' has no 'command', which is required");
    refused(f, COMPONENT "build = { command = 'x', workdir = '/abs' }",
            "spin.toml:9:36: workdir '/abs' must be relative to the manifest");
}

static void identifiers(void **state)
{
    fixture *f = *state;
    refused(f, HEAD "[component.my_web]\nsource='w'",
            "spin.toml:4:12: component id 'my_web': only ASCII letters, digits and the separator "
            "are allowed (write it like 'my-component')");
    refused(f, HEAD "[component.Web]\nsource='w'",
            "spin.toml:4:12: component id 'Web': a word must be all lower case or all upper case "
            "(write it like 'my-component')");
    refused(
        f, HEAD "[component.1a]\nsource='w'",
        "spin.toml:4:12: component id '1a': each word must begin with an ASCII letter (write it "
        "like 'my-component')");
    refused(f, HEAD "[variables]\nmy-var = { default = '' }",
            "spin.toml:5:1: variable 'my-var': only ASCII letters, digits and the separator are "
            "allowed (write it like 'api_key')");
    refused(f, HEAD "[variables]\nKEY = { default = '' }",
            "spin.toml:5:1: variable 'KEY': only lower-case letters are allowed (write it like "
            "'api_key')");
    refused(f, COMPONENT "key_value_stores = ['a b']",
            "spin.toml:9:21: label 'a b' in key_value_stores must be like 'my-store' or "
            "'my_store'");
    ok(f, HEAD TRIGGER "[component.web]\nsource='w'\n[component.API-v2]\nsource='w'");
    assert_true(app_id_is_kebab(S("a-b2-C3")));
    assert_false(app_id_is_kebab(S("a--b")));
    assert_false(app_id_is_kebab(S("a-")));
    assert_false(app_id_is_kebab(S("")));
    assert_true(app_id_is_snake(S("a_b2")));
    assert_false(app_id_is_snake(S("a_B")));
}

static void variables(void **state)
{
    fixture *f = *state;
    refused(f, HEAD "[variables]\na = { secret = true }",
            "spin.toml:5:1: variable 'a' must be required or have a default");
    refused(f, HEAD "[variables]\na = { required = true, default = '' }",
            "spin.toml:5:1: variable 'a' must not have both a default and 'required = true'");
    refused(f,
            HEAD "[variables]\napi_key = { default = '' }\n" TRIGGER
                 "[component.web]\nsource='w'\nvariables = { k = '{{ api_kye }}' }",
            "spin.toml:11:19: variables: the app has no variable 'api_kye'; did you mean "
            "'api_key'?");
    refused(f, COMPONENT "variables = { k = '{{ x' }",
            "spin.toml:9:19: variables: '{{' at byte 1 has no closing '}}'");
    refused(f, COMPONENT "variables = { k-k = '' }",
            "spin.toml:9:15: variable 'k-k': only ASCII letters, digits and the separator are "
            "allowed");
    refused(f, COMPONENT "environment = { 'A=B' = '' }",
            "spin.toml:9:17: 'A=B' can't be the name of an environment variable");
}

static void sources(void **state)
{
    fixture *f = *state;
    const char *head = HEAD TRIGGER "[component.web]\n";
    static const char *const cases[][2] = {
        {"description = 'x'",
         "spin.toml:7:12: component 'web' has no 'source'; add the path of its "
         ".wasm"},
        {"source = ''", "spin.toml:8:10: the source is empty"},
        {"source = 1", "spin.toml:8:10: the source must be a path, { url, digest } or { registry, "
                       "package, version }, not an integer"},
        {"source = { url = 'https://x' }",
         "spin.toml:8:10: a source with a url has no 'digest', which is required"},
        {"source = { url = 'https://x', digest = 'sha256:12' }",
         "spin.toml:8:40: digest 'sha256:12' must be 'sha256:' and 64 hexadecimal digits"},
        {"source = { package = 'np', version = '1' }",
         "spin.toml:8:10: package 'np' must be 'namespace:name'"},
        {"source = { package = 'n:p' }",
         "spin.toml:8:10: a source has no 'version', which is required"},
        {"source = { url = 'https://x', package = 'n:p' }",
         "spin.toml:8:10: a source has either 'url' and 'digest', or 'package' and 'version'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1000];
        snprintf(text, sizeof text, "%s%s\n", head, cases[i][0]);
        refused(f, text, cases[i][1]);
    }
}

static void hosts(void **state)
{
    fixture *f = *state;
    refused(f, COMPONENT "allowed_outbound_hosts = ['http://a', 'b.com']",
            "spin.toml:9:39: allowed_outbound_hosts: 'b.com' has no scheme; write 'https://b.com', "
            "or '*://' and a port for any");
    refused(
        f,
        HEAD "[variables]\nh = { default = 'a/b' }\n" TRIGGER
             "[component.web]\nsource='w'\nallowed_outbound_hosts = ['http://{{ h }}']",
        "spin.toml:11:27: allowed_outbound_hosts, with the variables' defaults: 'http://a/b': a "
        "path is not allowed (only a network '10.0.0.0/8' may have '/')");
    ok(f,
       HEAD "[variables]\nh = { default = '' }\nr = { required = true }\n" TRIGGER
            "[component.web]\nsource='w'\nallowed_outbound_hosts = ['{{ h }}', 'http://{{ h }}', "
            "'{{r}}']");
    ok(f, COMPONENT "allowed_outbound_hosts = ['http://other.spin.internal']");
    assert_int_equal(f->app->warnings.n, 1);
    assert_str(f->app->warnings.at[0], "spin.toml:7:12: component 'web' may call "
                                       "'http://other.spin.internal', but there is no component "
                                       "'other'");
    ok(f, COMPONENT "allowed_http_hosts = ['a.com:8080', 'self', 'https://b.com/']");
    assert_int_equal(f->app->warnings.n, 1);
    const str_list *h = &f->app->components[0].allowed_outbound_hosts;
    assert_int_equal(h->n, 5);
    assert_str(h->at[0], "http://a.com:8080");
    assert_str(h->at[1], "https://a.com:8080");
    assert_str(h->at[2], "http://self");
    assert_str(h->at[4], "https://b.com");
}

static void triggers(void **state)
{
    fixture *f = *state;
    refused(f, HEAD "[[trigger.http]]\nroute='/'\ncomponent='wbe'\n[component.web]\nsource='w'",
            "spin.toml:6:11: there is no component 'wbe'; did you mean 'web'?");
    refused(f, HEAD "[[trigger.http]]\ncomponent='web'\n[component.web]\nsource='w'",
            "spin.toml:4:11: an http trigger has no 'route'; add route = \"/...\" or route = { "
            "private = true }");
    refused(f, HEAD "[[trigger.http]]\nroute='/'",
            "spin.toml:4:11: trigger 'http-trigger1' must have a component or a static_response");
    refused(f,
            HEAD "[[trigger.http]]\nroute='/'\nstatic_response={}\ncomponent='web'\n"
                 "[component.web]\nsource='w'",
            "spin.toml:4:11: trigger 'web-http-trigger' must have either a component or a "
            "static_response, not both");
    refused(f, HEAD "[[trigger.http]]\nroute={ private = false }",
            "spin.toml:5:7: a route is a pattern or { private = true }");
    refused(f, HEAD "[[trigger.http]]\nroute='/a/.../b'",
            "spin.toml:5:7: route: route '/a/.../b': '...' may only stand at the end, as '/...'; "
            "for one segment use ':name'");
    refused(f, HEAD "[[trigger.http]]\nroute='/'\nexecutor={type='wasm'}",
            "spin.toml:6:16: unknown executor 'wasm'; there are 'http' and 'wagi'");
    refused(f, HEAD "[[trigger.http]]\nroute='/'\nstatic_response={status_code=99}",
            "spin.toml:6:30: status_code must be 200 to 599");
    refused(f, HEAD "[[trigger.http]]\nroute='/'\nstatic_response={headers={'a b'='c'}}",
            "spin.toml:6:27: 'a b' is not the name of a header");
    refused(f, HEAD "[[trigger.http]]\nroute='/'\nstatic_response={headers={a=\"c\\n\"}}",
            "spin.toml:6:29: header 'a' has a control character in its value");
    refused(f,
            HEAD "[[trigger.http]]\nid='a'\nroute='/'\nstatic_response={}\n"
                 "[[trigger.http]]\nid='a'\nroute='/b'\nstatic_response={}",
            "spin.toml:8:11: two triggers have the id 'a'");
    refused(f, HEAD "[[trigger.redis]]\ncomponent='web'\nchannel='c'\n[component.web]\nsource='w'",
            "spin.toml:4:11: a redis trigger has no 'address', and there is none in "
            "[application.trigger.redis]");
    ok(f, COMPONENT "[[trigger.http]]\nroute='/.../'\nstatic_response={}\n"
                    "[[trigger.http]]\nroute='/.well-known/spin/x'\nstatic_response={odd=1}\n"
                    "[[trigger.http]]\nroute='/w'\ncomponent='web'\nexecutor={type='wagi'}");
    assert_int_equal(f->app->warnings.n, 4);
    assert_str(f->app->triggers[3].wagi_entrypoint, "_start");
    assert_str(
        f->app->warnings.at[2],
        "spin.toml:4:11: route '/...' of trigger 'web-http-trigger' is never reached: trigger "
        "'http-trigger1' (line 9) has the same one, and the last wins");
}

static void inline_components(void **state)
{
    fixture *f = *state;
    ok(f, HEAD "[[trigger.http]]\nid='my id'\nroute='/a'\ncomponent={source='a'}\n"
               "[[trigger.http]]\nroute='/b'\ncomponent={source='b'}\n"
               "components={ one='web', many=['web', {source='c'}] }\n"
               "[component.web]\nsource='w'");
    assert_int_equal(f->app->components_count, 4);
    assert_str(f->app->components[1].id, "inline-component1"); /* 'my id' makes no identifier */
    assert_str(f->app->components[2].id, "inline-component2");
    assert_str(f->app->components[3].id, "inline-component3");
    assert_true(f->app->components[0].is_used && f->app->components[3].is_used);
    assert_int_equal(f->app->triggers[1].component, 2);
}

static void profiles(void **state)
{
    fixture *f = *state;
    const char *text = COMPONENT "environment = { A = '1', B = '2' }\nbuild.command = 'make'\n"
                                 "dependencies = { 'foo-bar' = { path = 'f.wasm' } }\n"
                                 "[component.web.profile.dev]\nsource = 'dev.wasm'\n"
                                 "environment = { B = '3', C = '4' }\n"
                                 "build.command = ['make dev', 'lint']\n"
                                 "dependencies = { 'foo-bar' = { path = 'g.wasm' } }\n";
    ok(f, text);
    assert_str(f->app->components[0].source.path, "w.wasm");
    assert_int_equal(f->app->components[0].environment.n, 2);
    assert_true(try_read(f, text, "dev"));
    const app_component *c = &f->app->components[0];
    assert_str(c->source.path, "dev.wasm");
    assert_int_equal(c->environment.n, 3);
    assert_str(*app_pairs_get(&c->environment, S("A")), "1");
    assert_str(*app_pairs_get(&c->environment, S("B")), "3");
    assert_int_equal(c->build.commands.n, 2);
    assert_int_equal(c->dependencies.n, 1);
    assert_str(c->dependencies.at[0].source.path, "g.wasm");
    assert_str(f->app->profile, "dev");
    assert_false(try_read(f, text, "deugb"));
    assert_string_equal(f->e.text, "spin.toml:1:1: no component defines the profile 'deugb'");
}

static void dependencies(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"'plain-name' = '0.1.0'", false},
        {"'plain-name' = { version = '0.1.0' }", false},
        {"'plain-name' = { version = '0.1.0', package = 'a:b' }", true},
        {"'foo:baz@0.1.0' = { path = 'f.wasm', export = 'foo' }", false},
        {"'foo:baz/i@0.1.0' = { path = 'f.wasm', export = 'foo' }", true},
        {"'foo:bar@0.2.1' = '0.2.1'\n'foo:bar@0.2.2' = '0.2.2'", false},
        {"'foo:bar@0.1.0' = '0.1.0'\n'foo:bar@0.2.0' = '0.2.0'\n'foo:baz@0.2.0' = '1'", true},
        {"'foo:bar@0.1.0' = '0.1.0'\n'foo:bar' = '>= 0.2.0'", false},
        {"'foo:bar/baz@0.1.0' = '0.1.0'\n'foo:bar/baz@0.2.0' = '0.2.0'", true},
        {"'foo:bar/baz@0.1.0' = '0.1.0'\n'foo:bar@0.2.0' = '0.2.0'", true},
        {"'foo:bar/baz@0.1.0' = '0.1.0'\n'foo:bar@0.1.0' = '0.1.0'", false},
        {"'foo:bar/baz' = '0.1.0'\n'foo:bar/qux' = '0.1.0'", true},
        {"'foo:bar/baz' = '0.1.0'\n'foo:bar@0.1.0' = '0.1.0'", false},
        {"'foo:bar@0.1.0-pre' = '1'\n'foo:bar@0.1.0' = '1'", true},
        {"'foo:bar@1.0.0' = '1'\n'foo:bar@1.5.0' = '1'", false},
        {"'foo:bar@0.0.1' = '1'\n'foo:bar@0.0.2' = '1'", true},
        {"'Foo:bar' = '1'", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases - 1; i++) {
        char text[1000];
        snprintf(text, sizeof text, COMPONENT "[component.web.dependencies]\n%s\n", cases[i].text);
        if (try_read(f, text, NULL) != cases[i].valid)
            fail_msg("%s: %s", cases[i].text, f->e.text);
    }
    refused(f, COMPONENT "dependencies.'a:b' = { path = 'x', url = 'y' }",
            "spin.toml:9:22: a dependency has one of 'version', 'path', 'url' or 'component'");
    refused(f, COMPONENT "dependencies.dep = { component = 'no' }",
            "spin.toml:9:20: there is no component 'no'");
    refused(f,
            COMPONENT "dependencies.dep = { component = 'lib' }\n[component.lib]\nsource='l'\n"
                      "key_value_stores=['default']",
            "spin.toml:9:20: component 'lib' is used as a dependency, where its 'key_value_stores' "
            "would not apply; move it to the component that depends on it");
    refused(f,
            COMPONENT "dependencies_inherit_configuration = true\n"
                      "dependencies.dep = { path = 'x', inherit_configuration = true }",
            "spin.toml:10:14: 'inherit_configuration' can't be combined with "
            "'dependencies_inherit_configuration' of the component");
    refused(f, COMPONENT "dependencies.dep = { path = 'x', inherit_configuration = ['file'] }",
            "spin.toml:9:59: 'file' can't be inherited; did you mean 'files'?");
}

static void settings(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {{"'1500ms'", 1500 * NS_PER_MS},
                 {"'2 s'", 2 * NS_PER_S},
                 {"'3m'", 180 * NS_PER_S},
                 {"'1h'", 3600 * NS_PER_S},
                 {"0", 0},
                 {"'none'", 0},
                 {"4", 4 * NS_PER_S}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1000];
        snprintf(text, sizeof text, COMPONENT "tool.ebb.cpu_time_max = %s\n", cases[i].text);
        ok(f, text);
        assert_true(f->app->components[0].settings.cpu_time_max_ns == cases[i].value);
    }
    ok(f, COMPONENT "tool.ebb = { request_body_max = '10 MiB', response_body_max = '1 GB', "
                    "log_max = 4096, queue_max = 3, resources_max = '12', concurrency_max = 2, "
                    "clock_resolution = '100us' }\n");
    const app_settings *s = &f->app->components[0].settings;
    assert_true(s->request_body_bytes_max == 10 * MIB);
    assert_true(s->response_body_bytes_max == 1000000000);
    assert_true(s->log_bytes_max == 4096);
    assert_true(s->clock_resolution_ns == 100000);
    assert_int_equal(s->queue_max, 3);
    assert_int_equal(s->resources_max, 12);
    assert_int_equal(s->concurrency_max, 2);
    ok(f, COMPONENT "tool.ebb = { clock_resolution = 'none', queue_max = 'none' }\n");
    assert_true(f->app->components[0].settings.clock_resolution_ns == 1);
    assert_int_equal(f->app->components[0].settings.queue_max, 0);
    refused(f, COMPONENT "tool.ebb.clock_resolution = 2",
            "spin.toml:9:29: clock_resolution may be at most one second");
    refused(f, COMPONENT "tool.ebb.queue_max = 4294967296",
            "spin.toml:9:22: queue_max is out of range");
    refused(f, COMPONENT "tool.ebb.resources_max = '5 MiB'",
            "spin.toml:9:26: resources_max = '5 MiB': write it like \"1000\", or \"none\" for no "
            "limit");
    refused(
        f, COMPONENT "tool.ebb.cpu_time_max = 'soon'",
        "spin.toml:9:25: cpu_time_max = 'soon': write it like \"30s\", or \"none\" for no limit");
    refused(f, COMPONENT "tool.ebb.cpu_time_max = -1",
            "spin.toml:9:25: cpu_time_max is out of range");
    refused(
        f, COMPONENT "tool.ebb.memory_max = '99999999999 GiB'",
        "spin.toml:9:23: memory_max = '99999999999 GiB': write it like \"128 MiB\", or \"none\" "
        "for no limit");
    refused(f, COMPONENT "tool.ebb = 1",
            "spin.toml:9:12: an entry of 'tool' must be a table, not "
            "an integer");
}

static void version_1(void **state)
{
    fixture *f = *state;
    ok(f, "spin_version = '1'\nname = 'old'\nversion = '0.1.0'\n"
          "trigger = { type = 'http', base = '/' }\n"
          "[variables]\nobject = { default = 'teapot' }\n"
          "[[component]]\nid = 'my_Hello'\nsource = 'h.wasm'\nallowed_http_hosts = ['a.com']\n"
          "[component.config]\nmessage = \"I'm a {{ object }}\"\n"
          "[component.trigger]\nroute = '/hello'\n"
          "[[component]]\nid = 'other'\nsource = 'o.wasm'\nallowed_outbound_hosts = ['http://b']\n"
          "allowed_http_hosts = ['insecure:allow-all']\n"
          "[component.trigger]\nroute = '/other/...'\nexecutor = { type = 'spin' }\n");
    const app *a = f->app;
    assert_int_equal(a->components_count, 2);
    assert_str(a->components[0].id, "my-hello");
    assert_str(*app_pairs_get(&a->components[0].variables, S("message")), "I'm a {{ object }}");
    const str_list *h = &a->components[0].allowed_outbound_hosts;
    assert_int_equal(h->n, 5);
    assert_str(h->at[0], "redis://*:*");
    assert_str(h->at[3], "http://a.com");
    h = &a->components[1].allowed_outbound_hosts;
    assert_int_equal(h->n, 4);
    assert_str(h->at[0], "http://b");
    assert_str(h->at[1], "http://*:*");
    assert_str(h->at[3], "http://self");
    assert_int_equal(a->triggers_count, 2);
    assert_str(a->triggers[0].id, "trigger-my-hello");
    assert_str(a->triggers[0].route, "/hello");
    assert_int_equal(a->triggers[1].component, 1);
    assert_int_equal(a->trigger_defaults_count, 1);
    assert_str(a->trigger_defaults[0].config_json, "{\"base\":\"/\"}");
    ok(f, "spin_manifest_version = '1'\nname = 'r'\ntrigger = { type = 'redis', address = "
          "'redis://h' }\n[[component]]\nid = 'c'\nsource = 'c.wasm'\ntrigger = { channel = 'x' }");
    assert_int_equal(f->app->triggers[0].kind, APP_TRIGGER_REDIS);
    refused(f,
            "spin_version = '1'\nname = 'x'\ntrigger = { type = 'http' }\n[[component]]\n"
            "id = 'a'\nsource = 's'\nroute = '/'",
            "spin.toml:7:1: unknown field 'route' in a component (of manifest version 1)");
    refused(f,
            "spin_version = '1'\nname = 'x'\ntrigger = { type = 'http' }\n[[component]]\n"
            "id = 'a b'\nsource = 's'\ntrigger.route = '/'",
            "spin.toml:5:6: component id 'a b': only ASCII letters, digits and the separator are "
            "allowed");
    refused(f, "spin_version = '1'\nname = 'x'\n",
            "spin.toml:1:1: no 'trigger = { type = \"http\" "
            "}' in the manifest");
}

static void from_wasm(void **state)
{
    fixture *f = *state;
    assert_true(app_from_wasm(&f->a, S("/tmp/My_App.wasm"), &f->app, &f->e));
    assert_str(f->app->components[0].id, "my-app");
    assert_str(f->app->components[0].source.path, "/tmp/My_App.wasm");
    assert_str(f->app->triggers[0].route, "/...");
    assert_true(app_from_wasm(&f->a, S("123.wasm"), &f->app, &f->e));
    assert_str(f->app->components[0].id, "component");
    buf b;
    buf_init(&b, 1000);
    assert_true(app_info_write(f->app, &b, &f->e));
    assert_str(buf_str(&b), "{\n  \"name\": \"component\"\n}");
    buf_clear(&b);
    f->app->version = S("1");
    f->app->oci_image_digest = S("sha256:x");
    assert_true(app_info_write(f->app, &b, &f->e));
    assert_str(buf_str(&b), "{\n  \"name\": \"component\",\n  \"version\": \"1\",\n"
                            "  \"oci_image_digest\": \"sha256:x\"\n}");
    buf_fini(&b);
}

static void retain(void **state)
{
    fixture *f = *state;
    const char *text = COMPONENT "allowed_outbound_hosts = ['http://api.spin.internal']\n"
                                 "[[trigger.http]]\nroute='/api'\ncomponent='api'\n"
                                 "[[trigger.http]]\nroute={private=true}\ncomponent='api'\n"
                                 "[[trigger.http]]\nroute='/s'\nstatic_response={}\n"
                                 "[component.api]\nsource='a.wasm'";
    ok(f, text);
    assert_ptr_equal(app_trigger_of_component(f->app, 0), &f->app->triggers[0]);
    assert_ptr_equal(app_trigger_of_component(f->app, 1), &f->app->triggers[1]);
    assert_null(app_trigger_of_component(f->app, 7));
    str ids[] = {S("api"), S("web")};
    assert_true(app_retain(&f->a, f->app, ids, 1, &f->e));
    assert_int_equal(f->app->triggers_count, 3);
    assert_str(f->app->triggers[0].route, "/api");
    assert_true(f->app->triggers[2].is_static);
    assert_false(f->app->components[0].is_used);
    assert_null(app_trigger_of_component(f->app, 0));
    ok(f, text);
    assert_true(app_retain(&f->a, f->app, ids, 2, &f->e));
    assert_int_equal(f->app->triggers_count, 4);
    assert_false(app_retain(&f->a, f->app, &ids[1], 1, &f->e));
    assert_string_equal(f->e.text, "component 'web' may call 'api' (allowed_outbound_hosts), which "
                                   "is left out; keep it as well");
    str nope = S("nope");
    assert_false(app_retain(&f->a, f->app, &nope, 1, &f->e));
    assert_int_equal(f->e.code, ERR_NOT_FOUND);
}

static void thousand_components(void **state)
{
    fixture *f = *state;
    buf b;
    buf_init(&b, 4 * MIB);
    buf_put_str(&b, S(HEAD));
    for (int i = 0; i < 1000; i++)
        buf_printf(&b,
                   "[component.c%d]\nsource='c%d.wasm'\n[[trigger.http]]\nroute='/c%d'\n"
                   "component='c%d'\n",
                   i, i, i, i);
    buf_put_u8(&b, 0);
    ok(f, (char *)b.p);
    assert_int_equal(f->app->components_count, 1000);
    assert_str(f->app->triggers[999].id, "c999-http-trigger");
    buf_fini(&b);
}

static void no_memory(void **state)
{
    fixture *f = *state;
    const char *text = COMPONENT "environment={A='1'}\nfiles=['a',{source='s',destination='/d'}]\n"
                                 "allowed_http_hosts=['a.com']\nprofile.p.environment={B='1'}\n"
                                 "dependencies.d={path='x'}\nbuild.command='x'\n"
                                 "[[trigger.http]]\nroute='/...'\ncomponent={source='i'}\n"
                                 "[[trigger.cron]]\nx=1\n[application.trigger.cron]\ny=1\n";
    alloc_fail_after(0);
    ok(f, text);
    size_t total = alloc_fail_after(0);
    for (size_t i = 1; i <= total; i++) {
        alloc_fail_after(i);
        bool got = try_read(f, text, "p");
        if (got)
            continue; /* what failed was only a hint's or a file name's copy */
        if (f->e.code != ERR_NO_MEMORY && !strstr(f->e.text, "memory"))
            fail_msg("allocation %zu: %s", i, f->e.text);
    }
    alloc_fail_after(0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(minimal),           T(maximal),        T(defer_words),  T(defer_mistakes),
        T(versions),          T(unknown_fields), T(types),        T(identifiers),
        T(variables),         T(sources),        T(hosts),        T(triggers),
        T(inline_components), T(profiles),       T(dependencies), T(settings),
        T(version_1),         T(from_wasm),      T(retain),       T(thousand_components),
        T(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
