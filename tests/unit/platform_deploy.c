/* From a locked app to a live revision: what is refused and why, what is laid out, what a worker
 * finds then; and what is done to apps that are there. */
#include "keeper_kit.h"

#include "platform/app_config.h"

#include <time.h>

#define PAGE TENANT "/apps/page"

static arena a;
static char request[64 << 10];
static const char *variables; /* of the apps besides `word` */

static int begin(void **state)
{
    arena_init(&a, 64 << 20);
    building = IS_THERE;
    by_socket = true;
    k.collected_s = keeper_now_s();
    wanted = waiting_n = 0;
    variables = "";
    ask("POST", "/v1/tenants", "{\"name\": \"acme\"}");
    ask("DELETE", PAGE, "");
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    each_turn = NULL;
    return 0;
}

/* A component with these further members, of which the first digest is its source's. */
static const char *component(const char *digest, const char *more)
{
    static char out[16 << 10];
    snprintf(out, sizeof out,
             "{\"id\": \"c\", \"source\": {\"content_type\": \"application/wasm\", "
             "\"digest\": \"%s\"}%s}",
             digest, more);
    return out;
}

/* The body of a deploy; rest: members beside the app. */
static const char *app_of(const char *components, const char *rest)
{
    snprintf(request, sizeof request,
             "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"page\", "
             "\"version\": \"1.2\", \"description\": \"A page\", \"triggers\": {}}, "
             "\"variables\": {\"word\": {\"default\": \"tide\"}%s}, "
             "\"triggers\": [{\"id\": \"t\", \"trigger_type\": \"http\", \"trigger_config\": "
             "{\"route\": \"/\", \"static_response\": {\"status_code\": 200, \"body\": \"hi\"}}}], "
             "\"components\": [%s]}%s}",
             variables, components, rest);
    return request;
}

static const char *plain(const char *rest) { return app_of("", rest); }

/* What a worker that has a request for this host would get. */
static bool found(const char *host, catalogue_found *f, app_config *c)
{
    err e;
    assert_true(catalogue_find(k.catalogue, str_from(host), &a, f, &e));
    if (!f->app)
        return false;
    if (!app_config_read(&a, (bytes){(const uint8_t *)f->settings.p, f->settings.n}, c, &e))
        fail_msg("%s", e.text);
    return true;
}

static const char *content_of(const char *path)
{
    static char out[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, sizeof out - 1);
    out[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return fd < 0 ? NULL : out;
}

static void the_answer_and_what_is_shown(void **state)
{
    catalogue_found f;
    app_config c;
    const char *digest = blob("a component");
    expect(200, "PUT", PAGE,
           app_of(component(digest, ", \"metadata\": {\"key_value_stores\": [\"default\", \"b\"], "
                                    "\"databases\": [\"default\"]}"),
                  ", \"hosts\": [\"www.page.example\"]"));
    assert_string_equal(text("name"), "page");
    assert_string_equal(text("url"), "http://page-acme.localhost:3000/");
    assert_int_equal(number_of("revision"), 1);
    assert_string_equal(names("hosts", NULL), "www.page.example");
    int64_t id = number_of("id");
    assert_int_equal(wanted, 1);
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(f.app, id);
    assert_int_equal(f.revision, 1);
    assert_str(f.tenant_name, "acme");
    assert_true(str_eq(c.components[0].artifact, str_from(digest + 7)));
    assert_int_equal(c.components[0].mounts.n, 0);
    assert_int_equal(c.stores_count, 2);
    assert_str(c.stores[0].label, "default");
    assert_str(c.stores[1].label, "b");
    assert_int_equal(c.databases_count, 1);
    assert_str(c.databases[0].label, "default");
    assert_true(found("www.page.example", &f, &c));
    assert_int_equal(f.app, id);
    expect(200, "GET", PAGE, "");
    assert_string_equal(text("version"), "1.2");
    assert_string_equal(text("description"), "A page");
    assert_string_equal(text("url"), "http://page-acme.localhost:3000/");
    assert_string_equal(names("hosts", NULL), "www.page.example");
    assert_string_equal(names("components", "id"), "c");
    assert_string_equal(names("components", "digest"), digest + 7);
    assert_int_equal(json_array_size(list("revisions")), 1);
    expect(200, "GET", TENANT "/apps", "");
    assert_string_equal(names("apps", "name"), "page");
    expect(200, "GET", TENANT "/apps?after=page", "");
    assert_string_equal(names("apps", "name"), "");
    expect(200, "GET", TENANT "/audit", "");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list("events"), 0), "subject")), "page 1");
}

/* A store that several components name is one; those of a component that nobody uses are none. */
static void stores_are_the_apps(void **state)
{
    char parts[4096], digest[80];
    catalogue_found f;
    app_config c;
    snprintf(digest, sizeof digest, "%s", blob("a component"));
    int n = snprintf(parts, sizeof parts, "%s",
                     component(digest, ", \"metadata\": {\"key_value_stores\": [\"x\"], "
                                       "\"databases\": [\"d\", \"e\"]}"));
    n += snprintf(parts + n, sizeof parts - (size_t)n,
                  ", {\"id\": \"two\", \"source\": {\"digest\": \"%s\"}, \"metadata\": "
                  "{\"key_value_stores\": [\"x\", \"y\"], \"databases\": [\"d\"]}}",
                  digest);
    snprintf(parts + n, sizeof parts - (size_t)n,
             ", {\"id\": \"idle\", \"source\": {\"digest\": \"none\"}, \"metadata\": "
             "{\"key_value_stores\": [\"z\"], \"databases\": [\"z\"], "
             "\"ebb\": {\"is_used\": false}}}");
    expect(200, "PUT", PAGE, app_of(parts, ""));
    assert_int_equal(wanted, 2);
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(c.stores_count, 2);
    assert_str(c.stores[1].label, "y");
    assert_int_equal(c.databases_count, 2);
    assert_str(c.databases[1].label, "e");
    assert_int_equal(c.components[2].artifact.n, 0);
    expect(200, "GET", PAGE, "");
    assert_string_equal(names("components", "id"), "c two");
}

/* The list's folder: links to the blobs below the guest's paths; made once, and kept. */
static void files_are_laid_out(void **state)
{
    char more[1024], one[80], two[80], hex[65], wasm[80], list_text[512];
    catalogue_found f;
    app_config c;
    uint8_t tree[CATALOGUE_DIGEST_BYTES];
    size_t before = entries(path_of("files"));
    snprintf(wasm, sizeof wasm, "%s", blob("a component"));
    snprintf(one, sizeof one, "%s", blob("one"));
    snprintf(two, sizeof two, "%s", blob("two"));
    snprintf(more, sizeof more,
             ", \"files\": [{\"path\": \"/one.txt\", \"digest\": \"%s\"}, "
             "{\"path\": \"/deep/er/two.txt\", \"digest\": \"%s\"}, "
             "{\"path\": \"/deep/one.txt\", \"digest\": \"%s\"}]",
             one, two, one);
    expect(200, "PUT", PAGE, app_of(component(wasm, more), ""));
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(c.components[0].mounts.n, 1);
    assert_str(c.components[0].mounts.at[0].key, "/");
    str folder = c.components[0].mounts.at[0].value;
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) { /* the digest of the list, as the essay of the code says */
        const char *const paths[] = {"/one.txt", "/deep/er/two.txt", "/deep/one.txt"};
        n += (size_t)snprintf(list_text + n, sizeof list_text - n, "%s", paths[i]) + 1;
        n += (size_t)snprintf(list_text + n, sizeof list_text - n, "%s\n", i == 1 ? two : one);
    }
    assert_true(str_eq(folder, str_from(digest_of((str){list_text, n}) + 7)));
    assert_true(digest_parse(folder, tree));
    digest_hex(tree, hex);
    assert_string_equal(content_of(path_of("files/%s/one.txt", hex)), "one");
    assert_string_equal(content_of(path_of("files/%s/deep/er/two.txt", hex)), "two");
    assert_string_equal(content_of(path_of("files/%s/deep/one.txt", hex)), "one");
    assert_int_equal(entries(path_of("files")), before + 1); /* nothing unfinished beside it */
    struct stat file, kept;
    assert_int_equal(stat(path_of("files/%s/one.txt", hex), &file), 0);
    assert_int_equal(stat(path_of("blobs/sha256/%.2s/%s", one + 7, one + 7), &kept), 0);
    assert_int_equal(file.st_ino, kept.st_ino);
    /* Again: what is there is as it was. The other list has another folder. */
    expect(200, "PUT", PAGE, app_of(component(wasm, more), ""));
    assert_int_equal(entries(path_of("files")), before + 1);
    snprintf(more, sizeof more, ", \"files\": [{\"path\": \"/one.txt\", \"digest\": \"%s\"}]", two);
    expect(200, "PUT", PAGE, app_of(component(wasm, more), ""));
    assert_int_equal(entries(path_of("files")), before + 2);
    assert_true(found("page-acme.localhost", &f, &c));
    folder = c.components[0].mounts.at[0].value;
    assert_string_equal(content_of(path_of("files/%.*s/one.txt", STR(folder))), "two");
}

/* A blob that is on no disk any more: nothing becomes live, and the next attempt may succeed. */
static void files_that_cannot_be_laid_out(void **state)
{
    char more[512], file[80], path[512];
    catalogue_found f;
    app_config c;
    snprintf(file, sizeof file, "%s", blob("a lost file"));
    snprintf(path, sizeof path, "%s", path_of("blobs/sha256/%.2s/%s", file + 7, file + 7));
    snprintf(more, sizeof more, ", \"files\": [{\"path\": \"/lost\", \"digest\": \"%s\"}]", file);
    assert_int_equal(unlink(path), 0);
    refused(404, "/lost can't be laid out", "PUT", PAGE,
            app_of(component(blob("a component"), more), ""));
    assert_false(found("page-acme.localhost", &f, &c));
    expect(404, "GET", PAGE, "");
    blob("a lost file");
    expect(200, "PUT", PAGE, app_of(component(digest_of(S("a component")), more), ""));
    assert_true(found("page-acme.localhost", &f, &c));
}

static void what_is_wrong_with_a_request(void **state)
{
    static const struct {
        const char *rest, *says;
    } rows[] = {
        {", \"hosts\": \"x\"", "'hosts' is an array of at most 100 names"},
        {", \"hosts\": [1]", "'hosts' is an array of names"},
        {", \"variables\": []", "'variables' is an object"},
        {", \"variables\": {\"Word\": \"x\"}", "'Word' is no name of a variable"},
        {", \"variables\": {\"word\": 1}", "variable 'word' must be a string, or null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(400, rows[i].says, "PUT", PAGE, plain(rows[i].rest));
    refused(400, "'app' is missing", "PUT", PAGE, "{}");
    refused(400, "'app' is missing", "PUT", PAGE, "{\"app\": 1}");
    refused(
        400, "No triggers in app", "PUT", PAGE,
        "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"x\"}, \"triggers\": [],"
        " \"components\": []}}");
    refused(400, "version 99 is newer", "PUT", PAGE, "{\"app\": {\"spin_lock_version\": 99}}");
    refused(400, "JSON", "PUT", PAGE, "{\"app\": ");
    refused(400, "name", "PUT", TENANT "/apps/---", plain(""));
    expect(404, "GET", PAGE, "");
    char hosts[2048] = ", \"hosts\": [\"h0.example\"";
    for (int i = 1; i < 100; i++)
        snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts), ",\"h%d.example\"", i);
    strcat(hosts, "]");
    expect(200, "PUT", PAGE, plain(hosts));
    assert_int_equal(json_array_size(list("hosts")), 100);
    hosts[strlen(hosts) - 1] = 0;
    strcat(hosts, ",\"x.example\"]");
    refused(400, "at most 100 names", "PUT", PAGE, plain(hosts));
    expect(200, "PUT", PAGE, plain(", \"hosts\": []"));
    expect(200, "GET", PAGE, "");
    assert_string_equal(names("hosts", NULL), "");
}

/* A schedule that could not run would only be missed by whoever waits for it. */
static void clocks_that_nobody_knows(void **state)
{
    char more[512];
    const char *digest = blob("a component");
    static const char *const rows[][3] = {
        {"@daily", "Europe/Nowhere", "this node has no time zone 'Europe/Nowhere'"},
        {"@daily", "Europe", "cron of component 'c': this node has no time zone 'Europe'"},
        {"@never", "UTC", "cron of component 'c': '@never' is no schedule"},
        {"30 1 * * *", "Europe/Berlin", NULL},
        {"@daily", "UTC", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(more, sizeof more,
                 ", \"metadata\": {\"ebb\": {\"is_used\": true, \"cron\": [{\"schedule\": \"%s\", "
                 "\"zone\": \"%s\", \"method\": \"GET\", \"path\": \"/\", \"window_s\": 60}]}}",
                 rows[i][0], rows[i][1]);
        if (rows[i][2])
            refused(400, rows[i][2], "PUT", PAGE, app_of(component(digest, more), ""));
        else
            expect(200, "PUT", PAGE, app_of(component(digest, more), ""));
    }
}

static void components_need_blobs_of_the_tenant(void **state)
{
    char file[512];
    const char *never = digest_of(S("never sent"));
    refused(409, "the blob of c was not sent: sha256:", "PUT", PAGE,
            app_of(component(never, ""), ""));
    refused(400, "c has no digest of a blob", "PUT", PAGE, app_of(component("sha256:12", ""), ""));
    refused(400, "c has no digest of a blob", "PUT", PAGE, app_of(component(never + 7, ""), ""));
    snprintf(file, sizeof file, ", \"files\": [{\"path\": \"/f\", \"digest\": \"%s\"}]", never);
    refused(409, "the blob of /f was not sent", "PUT", PAGE,
            app_of(component(blob("a component"), file), ""));
    refused(
        400, "'ebb deploy' sends it composed", "PUT", PAGE,
        app_of(component(blob("a component"),
                         ", \"dependencies\": {\"a:b/c@1.0.0\": {\"source\": {\"content_type\": "
                         "\"application/wasm\", \"digest\": \"sha256:1\"}}}"),
               ""));
    /* Another tenant's blob is not there for this one. */
    expect(201, "POST", "/v1/tenants", "{\"name\": \"rival\"}");
    refused(409, "was not sent", "PUT", "/v1/tenants/rival/apps/page",
            app_of(component(digest_of(S("a component")), ""), ""));
    expect(200, "DELETE", "/v1/tenants/rival", "");
}

/* Paths become paths of ours. */
static void paths_of_files_are_checked(void **state)
{
    static const char *const bad[] = {"x",   "/",     "//",     "/a/",   "/a//b",  "/.",
                                      "/..", "/a/..", "/a/./b", "/../a", "/a/../b"};
    static const char *const good[] = {"/a", "/...", "/a/.b", "/a/b..", "/.a/..b"};
    char more[1024], file[80], wasm[80], path[600];
    snprintf(wasm, sizeof wasm, "%s", blob("a component"));
    snprintf(file, sizeof file, "%s", blob("one"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(more, sizeof more, ", \"files\": [{\"path\": \"%s\", \"digest\": \"%s\"}]", bad[i],
                 file);
        refused(400, "component 'c': '", "PUT", PAGE, app_of(component(wasm, more), ""));
        assert_non_null(strstr(text("error"), "is no path of a file"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(more, sizeof more, ", \"files\": [{\"path\": \"%s\", \"digest\": \"%s\"}]",
                 good[i], file);
        expect(200, "PUT", PAGE, app_of(component(wasm, more), ""));
    }
    /* A name of 255 bytes is the longest that a folder can have. */
    for (size_t n = 255; n <= 256; n++) {
        memset(path, 'n', n + 1);
        path[0] = '/';
        path[n + 1] = 0;
        snprintf(more, sizeof more, ", \"files\": [{\"path\": \"%s\", \"digest\": \"%s\"}]", path,
                 file);
        expect(n == 255 ? 200 : 400, "PUT", PAGE, app_of(component(wasm, more), ""));
    }
}

/* --- building --------------------------------------------------------------------------------- */

static void what_fails_to_build_is_the_authors(void **state)
{
    static const struct {
        err_code code;
        unsigned status;
    } rows[] = {{ERR_LIMIT, 400},
                {ERR_TRAP, 400},
                {ERR_INVALID, 400},
                {ERR_CLOSED, 503},
                {ERR_INTERNAL, 500}};
    const char *digest = blob("a component");
    building = FAILS;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err_set(&build_error, rows[i].code, "not to our taste");
        refused(rows[i].status, "component 'c': not to our taste", "PUT", PAGE,
                app_of(component(digest, ""), ""));
    }
    expect(404, "GET", PAGE, "");
}

static size_t told;

/* The first that waits is told once all have asked: the second, the first. */
static void tell_from_the_last(void)
{
    if (waiting_n == 2 && told < 2) {
        builder_wait *w = waiting[1 - told++];
        err_set(&build_error, ERR_INVALID, told == 1 ? "the last" : "the first");
        w->done(w, building == IS_MADE, &build_error);
    }
}

static const char *two_components(void)
{
    static char parts[1024];
    const char *digest = blob("a component");
    int n = snprintf(parts, sizeof parts, "%s, ", component(digest, ""));
    snprintf(parts + n, sizeof parts - (size_t)n,
             "{\"id\": \"second\", \"source\": {\"digest\": \"%s\"}}", digest);
    return parts;
}

static void tell_that_it_is_made(void)
{
    while (waiting_n) {
        builder_wait *w = waiting[--waiting_n];
        w->done(w, true, &build_error);
    }
}

/* Both are asked for at once, the answer waits for both, and the first failure is what it says. */
static void all_builds_are_waited_for(void **state)
{
    building = WAITS;
    told = 0;
    each_turn = tell_from_the_last;
    refused(400, "component 'second': the last", "PUT", PAGE, app_of(two_components(), ""));
    assert_int_equal(told, 2);
    assert_int_equal(wanted, 2);
    waiting_n = 0;
    each_turn = tell_that_it_is_made;
    expect(200, "PUT", PAGE, app_of(two_components(), ""));
    building = IS_MADE;
    each_turn = NULL;
    expect(200, "PUT", PAGE, app_of(two_components(), ""));
    assert_int_equal(number_of("revision"), 2);
}

/* --- quotas, variables, revisions, hosts ------------------------------------------------------ */

static void a_quota_of_apps(void **state)
{
    expect(200, "PUT", TENANT "/quota", "{\"quota\": {\"apps\": 1}}");
    expect(200, "PUT", PAGE, plain(""));
    refused(429, "the tenant's quota is 1 apps; delete one", "PUT", TENANT "/apps/other",
            plain(""));
    expect(200, "PUT", PAGE, plain("")); /* what is there may change */
    expect(200, "PUT", TENANT "/quota", "{\"quota\": {\"apps\": 2}}");
    expect(200, "PUT", TENANT "/apps/other", plain(""));
    refused(429, "quota is 2 apps", "PUT", TENANT "/apps/third", plain(""));
    expect(200, "PUT", TENANT "/quota", "{\"quota\": {\"apps\": 0}}");
    expect(200, "PUT", TENANT "/apps/third", plain(""));
    expect(200, "DELETE", TENANT "/apps/third", "");
    expect(200, "DELETE", TENANT "/apps/other", "");
}

static const char *with_variable(const char *more)
{
    char extra[512];
    snprintf(extra, sizeof extra,
             ", \"config\": {\"said\": \"{{ word }}!\"%s}, \"metadata\": "
             "{\"allowed_outbound_hosts\": [\"https://{{ word }}.example\"]}",
             more);
    return app_of(component(blob("a component"), extra), "");
}

static str value_of(const char *name)
{
    catalogue_found f;
    app_config c;
    assert_true(found("page-acme.localhost", &f, &c));
    for (size_t i = 0; i < c.components[0].variables.n; i++)
        if (str_eq(c.components[0].variables.at[i].key, str_from(name)))
            return c.components[0].variables.at[i].value;
    return S("(none)");
}

static str outbound_host(void)
{
    catalogue_found f;
    app_config c;
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(c.components[0].outbound.n, 1);
    return c.components[0].outbound.at[0];
}

static void variables_are_kept_and_expanded(void **state)
{
    variables = ", \"secret\": {}";
    refused(404, "no value for the required variable secret", "PUT", PAGE, with_variable(""));
    expect(404, "GET", PAGE, "");
    char *given = strdup(with_variable(""));
    given[strlen(given) - 1] = 0;
    snprintf(request, sizeof request, "%s, \"variables\": {\"secret\": \"s\"}}", given);
    free(given);
    expect(200, "PUT", PAGE, request);
    assert_str(value_of("said"), "tide!");
    assert_str(outbound_host(), "https://tide.example");
    expect(200, "GET", PAGE "/variables", "");
    assert_string_equal(names("variables", NULL), "secret");
    expect(200, "PUT", PAGE "/variables", "{\"variables\": {\"word\": \"ebb\"}}");
    assert_string_equal(names("variables", NULL), "secret word");
    assert_str(value_of("said"), "ebb!");
    assert_str(outbound_host(), "https://ebb.example");
    /* They outlive the revision. */
    expect(200, "PUT", PAGE, with_variable(", \"more\": \"{{ secret }}\""));
    assert_str(value_of("more"), "s");
    assert_str(value_of("said"), "ebb!");
    expect(200, "PUT", PAGE "/variables", "{\"variables\": {\"word\": null}}");
    assert_str(value_of("said"), "tide!");
    /* What can't be live does not become so, and the value stays. */
    refused(404, "secret", "PUT", PAGE "/variables", "{\"variables\": {\"secret\": null}}");
    assert_str(value_of("more"), "s");
    refused(400, "'A' is no name", "PUT", PAGE "/variables", "{\"variables\": {\"A\": \"x\"}}");
    refused(404, "has no app 'none'", "PUT", TENANT "/apps/none/variables", "{\"variables\": {}}");
    refused(404, "has no app 'none'", "GET", TENANT "/apps/none/variables", "");
}

static void revisions_and_the_way_back(void **state)
{
    catalogue_found f;
    app_config c;
    refused(404, "tenant 'acme' has no app 'page'", "POST", PAGE "/rollback", "{}");
    for (int i = 1; i <= 3; i++) {
        char version[64];
        snprintf(version, sizeof version, ", \"variables\": {\"word\": \"v%d\"}", i);
        expect(200, "PUT", PAGE, plain(version));
        assert_int_equal(number_of("revision"), i);
        if (i == 1)
            refused(404, "app 'page' has no older revision", "POST", PAGE "/rollback", "{}");
    }
    expect(200, "GET", PAGE, "");
    assert_int_equal(json_array_size(list("revisions")), 2); /* revisions_kept */
    expect(200, "POST", PAGE "/rollback", "{}");
    assert_int_equal(number_of("revision"), 2);
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(f.revision, 2);
    expect(200, "GET", TENANT "/audit", "");
    const json_t *last = json_array_get(list("events"), 0);
    assert_string_equal(json_string_value(json_object_get(last, "action")), "rollback");
    assert_string_equal(json_string_value(json_object_get(last, "subject")), "page 2");
    refused(404, "no older revision", "POST", PAGE "/rollback", "{}");
    expect(200, "POST", PAGE "/rollback", "{\"revision\": 3}");
    assert_int_equal(number_of("revision"), 3);
    refused(404, "revision 1", "POST", PAGE "/rollback", "{\"revision\": 1}");
    refused(400, "'revision' must be a number", "POST", PAGE "/rollback", "{\"revision\": 0}");
    refused(400, "'revision' must be a number", "POST", PAGE "/rollback", "{\"revision\": \"1\"}");
    assert_true(found("page-acme.localhost", &f, &c));
    assert_int_equal(f.revision, 3);
}

/* Numbers of the revisions that are kept, the newest first, as digits. */
static const char *kept(void)
{
    static char digits[16];
    size_t n;
    expect(200, "GET", PAGE, "");
    for (n = 0; n < json_array_size(list("revisions")); n++)
        digits[n] = (char)('0' + json_integer_value(json_object_get(
                                     json_array_get(list("revisions"), n), "number")));
    digits[n] = 0;
    return digits;
}

/* A week and a day after it was replaced, or was live again, none of its calls waits. */
static void calls_may_wait_for_a_revision(void **state)
{
    static const char *const defers[] = {
        ", \"metadata\": {\"ebb\": {\"is_used\": true, \"defer\": {}}}",
        ", \"metadata\": {\"ebb\": {\"is_used\": true, \"cron\": [{\"schedule\": \"@daily\", "
        "\"zone\": \"UTC\", \"method\": \"GET\", \"path\": \"/\", \"window_s\": 0}]}}"};
    int64_t before = now_s;
    for (size_t i = 0; i < 2; i++) {
        expect(200, "PUT", PAGE, app_of(component(blob("a component"), defers[i]), ""));
        for (int n = 0; n < 3; n++)
            expect(200, "PUT", PAGE, plain(""));
        assert_string_equal(kept(), "431");
        now_s += 3600;
        expect(200, "POST", PAGE "/rollback", "{\"revision\": 1}");
        now_s += 3600;
        expect(200, "PUT", PAGE, plain(""));
        now_s += 8 * 86400 - 1;
        expect(200, "PUT", PAGE, plain(""));
        assert_string_equal(kept(), "651");
        now_s++;
        expect(200, "PUT", PAGE, plain(""));
        assert_string_equal(kept(), "76");
        expect(200, "DELETE", PAGE, "");
    }
    now_s = before;
}

static void hosts_of_an_app(void **state)
{
    catalogue_found f;
    app_config c;
    expect(200, "PUT", PAGE, plain(", \"hosts\": [\"a.example\", \"b.example\"]"));
    uint64_t id = (uint64_t)number_of("id");
    expect(200, "PUT", PAGE, plain("")); /* nothing is said of them: they stay */
    assert_true(found("b.example", &f, &c) && f.app == id);
    expect(200, "PUT", PAGE "/hosts", "{\"hosts\": [\"c.example\"]}");
    assert_string_equal(names("hosts", NULL), "c.example");
    assert_false(found("a.example", &f, &c));
    assert_true(found("c.example", &f, &c));
    refused(400, "'hosts' is an array of names", "PUT", PAGE "/hosts", "{\"hosts\": \"c\"}");
    refused(400, "'hosts' is an array of names", "PUT", PAGE "/hosts", "{}");
    expect(400, "PUT", PAGE "/hosts", "{\"hosts\": [7]}");
    expect(200, "PUT", TENANT "/apps/other", plain(""));
    refused(409, "taken", "PUT", TENANT "/apps/other/hosts", "{\"hosts\": [\"c.example\"]}");
    refused(409, "taken", "PUT", TENANT "/apps/other", plain(", \"hosts\": [\"c.example\"]"));
    expect(200, "GET", TENANT "/apps/other", "");
    assert_int_equal(number_of("revision"), 1); /* whole or not at all */
    expect(200, "DELETE", TENANT "/apps/other", "");
    assert_true(found("c.example", &f, &c) && f.app == id);
}

/* Its state and logs go with it, nobody else's; its number is never used again. */
static void a_deleted_app_leaves_nothing(void **state)
{
    catalogue_found f;
    app_config c;
    expect(200, "PUT", PAGE, plain(", \"hosts\": [\"a.example\"]"));
    int64_t id = number_of("id");
    const char *const folders[] = {"state", "logs"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(mkdir(path_of("%s/%lld", folders[i], (long long)id), 0700), 0);
        close(creat(path_of("%s/%lld/x", folders[i], (long long)id), 0600));
        assert_int_equal(mkdir(path_of("%s/%lld", folders[i], (long long)id + 1000), 0700), 0);
    }
    expect(200, "DELETE", PAGE, "");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(access(path_of("%s/%lld", folders[i], (long long)id), F_OK), -1);
        assert_int_equal(rmdir(path_of("%s/%lld", folders[i], (long long)id + 1000)), 0);
    }
    assert_false(found("a.example", &f, &c));
    refused(404, "tenant 'acme' has no app 'page'", "DELETE", PAGE, "");
    expect(200, "PUT", PAGE, plain(""));
    assert_true(number_of("id") > id);
    assert_int_equal(number_of("revision"), 1);
}

/* --- many at once ----------------------------------------------------------------------------- */

static void many_at_once(void **state)
{
    char bulk[8192];
    catalogue_found f;
    app_config c;
    const char *one = plain("");
    int n = snprintf(bulk, sizeof bulk,
                     "{\"tenant\": \"acme\", \"apps\": [{\"name\": \"First\", %s, ", one + 1);
    snprintf(bulk + n, sizeof bulk - (size_t)n, "{\"name\": \"second\", %s]}", one + 1);
    expect(200, "POST", "/v1/bulk", bulk);
    assert_int_equal(json_array_size(list("apps")), 2);
    int64_t first = json_integer_value(json_array_get(list("apps"), 0)),
            second = json_integer_value(json_array_get(list("apps"), 1));
    assert_true(found("first-acme.localhost", &f, &c) && (int64_t)f.app == first);
    assert_true(found("second-acme.localhost", &f, &c) && (int64_t)f.app == second);
    assert_int_equal(wanted, 0); /* made when it is first found */
    expect(200, "GET", TENANT "/audit", "");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list("events"), 0), "subject")), "2 apps");
    /* One that is wrong takes all along. */
    n = snprintf(bulk, sizeof bulk, "{\"tenant\": \"acme\", \"apps\": [{\"name\": \"third\", %s, ",
                 one + 1);
    snprintf(bulk + n, sizeof bulk - (size_t)n, "{\"name\": \"fourth\"}]}");
    refused(400, "app 'fourth': 'app' is missing", "POST", "/v1/bulk", bulk);
    assert_false(found("third-acme.localhost", &f, &c));
    refused(404, "there is no such tenant", "POST", "/v1/bulk",
            "{\"tenant\": \"none\", \"apps\": []}");
    refused(400, "'tenant' must be a string", "POST", "/v1/bulk", "{\"tenant\": 1}");
    expect(200, "DELETE", TENANT "/apps/first", "");
    expect(200, "DELETE", TENANT "/apps/second", "");
}

#define deploy_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        deploy_test(the_answer_and_what_is_shown),
        deploy_test(stores_are_the_apps),
        deploy_test(files_are_laid_out),
        deploy_test(files_that_cannot_be_laid_out),
        deploy_test(what_is_wrong_with_a_request),
        deploy_test(clocks_that_nobody_knows),
        deploy_test(components_need_blobs_of_the_tenant),
        deploy_test(paths_of_files_are_checked),
        deploy_test(what_fails_to_build_is_the_authors),
        deploy_test(all_builds_are_waited_for),
        deploy_test(a_quota_of_apps),
        deploy_test(variables_are_kept_and_expanded),
        deploy_test(revisions_and_the_way_back),
        deploy_test(calls_may_wait_for_a_revision),
        deploy_test(hosts_of_an_app),
        deploy_test(a_deleted_app_leaves_nothing),
        deploy_test(many_at_once),
    };
    return cmocka_run_group_tests(tests, keeper_make, keeper_end);
}
