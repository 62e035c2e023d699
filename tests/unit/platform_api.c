/* The admin API as a client sees it: who may ask from where, tenants, tokens and the audit log,
 * blobs and what is left of them, logs, pages. */
#include "keeper_kit.h"

#include "platform/pages.h"

#include <sys/file.h>

static arena a;

static int begin(void **state)
{
    arena_init(&a, 64 << 20);
    by_socket = true;
    bearer[0] = 0;
    more_head = "";
    now_s += 10 * 86400;
    k.collected_s = now_s;
    ask("POST", "/v1/tenants", "{\"name\": \"acme\"}");
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    return 0;
}

/* A static app of acme. */
static void deploy(const char *name)
{
    char path[100];
    snprintf(path, sizeof path, TENANT "/apps/%s", name);
    expect(
        200, "PUT", path,
        "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"x\", \"triggers\": {}}, "
        "\"triggers\": [{\"id\": \"t\", \"trigger_type\": \"http\", \"trigger_config\": "
        "{\"route\": \"/\", \"static_response\": {\"body\": \"hi\"}}}], \"components\": []}}");
}

/* A token of acme, or an operator's, which the next requests have. */
static int64_t token_use(const char *path, const char *request)
{
    expect(201, "POST", path, request);
    snprintf(bearer, sizeof bearer, "%s", text("token"));
    by_socket = false;
    return number_of("id");
}

static bool has(const char *what) { return strstr(answer, what) != NULL; }

/* --- who asks, and from where ----------------------------------------------------------------- */

static void hosts_are_ours(void **state)
{
    static const char *const ours[] = {
        "localhost",  "LocalHost:99", "127.0.0.1:3001", "127.0.0.1",     "[::1]",
        "[::1]:3001", "10.0.0.1",     "10.0.0.1:1",     "admin.example", "ADMIN.example:3"};
    static const char *const others[] = {
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.2",
        "10.0.0.10",    "admin.example.org",      "xadmin.example",         "[::2]"};
    char head[100];
    more_head = head;
    by_socket = false;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        snprintf(head, sizeof head, "Host: %s\r\n", ours[i]);
        expect(200, "GET", "/healthz", "");
        assert_string_equal(body, "OK\n");
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(head, sizeof head, "Host: %s\r\n", others[i]);
        refused(421, "not of that host", "GET", "/healthz", "");
        by_socket = true; /* whoever opens the socket may say what he likes */
        expect(200, "GET", "/healthz", "");
        by_socket = false;
    }
    k.config.serve.admin_host = (str){0};
    snprintf(head, sizeof head, "Host: admin.example\r\n");
    expect(421, "GET", "/healthz", "");
    k.config.serve.admin_host = S("admin.example");
}

static void origins_are_ours(void **state)
{
    static const struct {
        const char *origin;
        unsigned status;
    } rows[] = {{"http://localhost:3001", 200}, {"https://LOCALHOST:3001", 200},
                {"http://localhost", 403},      {"http://localhost:1", 403},
                {"http://evil.example", 403},   {"null", 403},
                {"file://localhost:3001", 403}, {"http://localhost:3001.evil", 403},
                {"ftp://localhost:3001", 403}};
    char head[100];
    more_head = head;
    by_socket = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(head, sizeof head, "Host: localhost:3001\r\nOrigin: %s\r\n", rows[i].origin);
        if (ask("GET", "/healthz", "") != rows[i].status)
            fail_msg("%s: %u", rows[i].origin, status);
    }
    by_socket = true;
    expect(200, "GET", "/healthz", "");
}

static void tokens_say_who_asks(void **state)
{
    expect(200, "GET", "/v1/whoami", "");
    assert_string_equal(text("role"), "operator");
    assert_string_equal(text("name"), "admin.sock");
    assert_string_equal(text("node"), "unit");
    assert_string_equal(text("domain"), "localhost");
    assert_true(json_is_null(json_object_get(doc, "tenant")));
    by_socket = false;
    refused(401, "a token is needed", "GET", "/v1/whoami", "");
    assert_true(has("www-authenticate: Bearer\r\n"));
    more_head = "Authorization: Basic eDp5\r\n";
    refused(401, "a token is needed", "GET", "/v1/whoami", "");
    more_head = "";
    by_socket = true;
    int64_t id = token_use(TENANT "/tokens",
                           "{\"role\": \"deployer\", \"name\": \"ci\", \"expires_s\": 60}");
    assert_string_equal(text("role"), "deployer");
    assert_int_equal(number_of("made_s"), now_s);
    assert_int_equal(number_of("expires_s"), now_s + 60);
    expect(200, "GET", "/v1/whoami", "");
    assert_string_equal(text("role"), "deployer");
    assert_string_equal(text("tenant"), "acme");
    assert_string_equal(text("name"), "ci");
    assert_int_equal(number_of("expires_s"), now_s + 60);
    /* The scheme's name has no case; a token counts at the socket, too. */
    char head[100], kept[64];
    snprintf(head, sizeof head, "Authorization: bEARER  %s \r\n", bearer);
    snprintf(kept, sizeof kept, "%s", bearer);
    bearer[0] = 0;
    more_head = head;
    expect(200, "GET", "/v1/whoami", "");
    by_socket = true;
    refused(403, "may not do that", "GET", "/v1/tenants", "");
    more_head = "";
    snprintf(bearer, sizeof bearer, "%s", kept);
    /* A deployer deploys, and reads; what is an owner's, the operator's, or another's, is not his.
     */
    by_socket = false;
    expect(200, "GET", TENANT, "");
    expect(403, "GET", TENANT "/tokens", "");
    expect(403, "GET", "/v1/tenants/none", "");
    expect(403, "GET", "/v1/audit", "");
    deploy("by-token");
    expect(200, "DELETE", TENANT "/apps/by-token", "");
    now_s += 59;
    expect(200, "GET", "/v1/whoami", "");
    now_s += 1;
    refused(401, "unknown, expired or revoked", "GET", "/v1/whoami", "");
    by_socket = true;
    bearer[0] = 0;
    expect(200, "GET", TENANT "/audit", "");
    const json_t *last = json_array_get(list("events"), 0);
    char actor[64];
    snprintf(actor, sizeof actor, "ci (token %lld)", (long long)id);
    assert_string_equal(json_string_value(json_object_get(last, "actor")), actor);
    assert_string_equal(json_string_value(json_object_get(last, "subject")), "by-token");
}

static void wrong_tokens_are_counted(void **state)
{
    by_socket = false;
    strcpy(bearer, "ebb_wrong");
    for (int i = 0; i < 10; i++)
        expect(401, "GET", "/v1/whoami", "");
    refused(429, "too many wrong tokens", "GET", "/v1/whoami", "");
    assert_true(has("retry-after: 60\r\n"));
    by_socket = true;
    bearer[0] = 0;
    token_use("/v1/tokens", "{}"); /* who has a right one is not held up */
    expect(200, "GET", "/v1/whoami", "");
    assert_string_equal(text("role"), "operator");
    strcpy(bearer, "ebb_wrong");
    now_s += 59;
    expect(429, "GET", "/v1/whoami", "");
    now_s += 1;
    expect(401, "GET", "/v1/whoami", "");
    expect(200, "GET", "/healthz", "");
}

static void ways_lead_somewhere_or_not(void **state)
{
    static const char *const nowhere[] = {"/",
                                          "/v1",
                                          "/v1/",
                                          "/v1/tenants/",
                                          "/v1/tenants//apps",
                                          TENANT "/",
                                          TENANT "/apps/x/y",
                                          "/v1/whoami/x",
                                          "/V1/whoami",
                                          "/v1/tenants/%zz",
                                          "/a/b/c/d/e/f/g/h/i/j/k/l/m/n"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        expect(404, "GET", nowhere[i], "");
    refused(404, "no such resource", "GET", "/v1/x", "");
    refused(405, "not with this method", "POST", "/v1/whoami", "");
    refused(405, "not with this method", "PUT", TENANT, "");
    refused(404, "there is no such tenant", "GET", "/v1/tenants/none", "");
    expect(200, "GET", "/v1/tenants/%61cme?x=y", "");
    assert_string_equal(text("name"), "acme");
    expect(200, "GET", "/v1/whoami", "");
    assert_true(has("content-type: application/json\r\n") && has("cache-control: no-store\r\n") &&
                has("x-content-type-options: nosniff\r\n") &&
                has("content-security-policy: default-src 'none'"));
    assert_true(body[strlen(body) - 1] == '\n');
}

/* docs/openapi.json is what is answered, byte by byte. */
static void the_description_is_the_documents(void **state)
{
    static char text_of[1 << 18];
    int fd = open("docs/openapi.json", O_RDONLY | O_CLOEXEC); /* tests run in the source tree */
    ssize_t n = read(fd, text_of, sizeof text_of - 1);
    assert_true(n > 0);
    close(fd);
    by_socket = false;
    expect(200, "GET", "/openapi.json", "");
    assert_string_equal(body, text_of);
}

static void bodies_are_read_whole(void **state)
{
    char *big = calloc(1, API_BODY_MAX + 2);
    refused(413, "too long", "GET", "/v1/whoami", "x");
    refused(400, "the body is no JSON", "POST", "/v1/tenants", "{");
    refused(400, "duplicate", "POST", "/v1/tenants", "{\"name\": \"a\", \"name\": \"b\"}");
    refused(400, "'name' must be a string", "POST", "/v1/tenants", "{\"name\": 1}");
    memset(big, ' ', API_BODY_MAX + 1);
    memcpy(big, "{\"name\": \"acme\"}", 16);
    refused(413, "the body is too long", "POST", "/v1/tenants", big);
    big[API_BODY_MAX] = 0;
    expect(409, "POST", "/v1/tenants", big);
    free(big);
    k.leaving = true;
    refused(503, "being upgraded", "POST", "/v1/tenants", "{\"name\": \"later\"}");
    assert_true(has("retry-after: 1\r\n"));
    k.leaving = false;
    expect(404, "GET", "/v1/tenants/later", "");
}

/* --- tenants ---------------------------------------------------------------------------------- */

static void tenants_and_quotas(void **state)
{
    expect(201, "POST", "/v1/tenants", "{\"name\": \"beta\", \"quota\": {\"apps\": 3}}");
    assert_string_equal(text("name"), "beta");
    assert_int_equal(number_of("made_s"), now_s);
    const json_t *q = json_object_get(doc, "quota");
    assert_int_equal(json_integer_value(json_object_get(q, "apps")), 3);
    assert_int_equal(json_integer_value(json_object_get(q, "storage_bytes")), 1000000);
    refused(409, "beta", "POST", "/v1/tenants", "{\"name\": \"beta\"}");
    expect(400, "POST", "/v1/tenants", "{\"name\": \"Beta\"}");
    expect(400, "POST", "/v1/tenants", "{}");
    refused(400, "there is no quota 'app'", "POST", "/v1/tenants",
            "{\"name\": \"gamma\", \"quota\": {\"app\": 3}}");
    refused(400, "a quota: ", "POST", "/v1/tenants", "{\"name\": \"gamma\", \"quota\": 7}");
    expect(200, "PUT", "/v1/tenants/beta/quota", "{\"quota\": {\"connections\": 8}}");
    q = json_object_get(doc, "quota");
    assert_int_equal(json_integer_value(json_object_get(q, "apps")),
                     3); /* what is left out stays */
    assert_int_equal(json_integer_value(json_object_get(q, "connections")), 8);
    refused(404, "no such tenant", "PUT", "/v1/tenants/none/quota", "{\"quota\": {}}");
    refused(400, "there is no quota 'x'", "PUT", "/v1/tenants/beta/quota",
            "{\"quota\": {\"x\": 1}}");
    expect(200, "PUT", "/v1/tenants/beta/egress", "{\"allow\": \"10.1.0.0/16,192.168.0.0/24\"}");
    assert_string_equal(text("egress"), "10.1.0.0/16,192.168.0.0/24");
    expect(400, "PUT", "/v1/tenants/beta/egress", "{\"allow\": \"10.1.0.0/99\"}");
    refused(404, "no such tenant", "PUT", "/v1/tenants/none/egress", "{\"allow\": \"\"}");
    expect(200, "GET", "/v1/tenants/beta", "");
    assert_string_equal(text("egress"), "10.1.0.0/16,192.168.0.0/24");
    assert_int_equal(number_of("apps"), 0);
    expect(200, "GET", "/v1/tenants", "");
    assert_string_equal(names("tenants", "name"), "acme beta");
    expect(200, "GET", "/v1/tenants?after=acm%65", "");
    assert_string_equal(names("tenants", "name"), "beta");
    expect(200, "GET", "/v1/tenants?x=1&after=beta&after=a", "");
    assert_string_equal(names("tenants", "name"), "");
    deploy("held");
    refused(409, "has 1 app; delete them first", "DELETE", TENANT, "");
    expect(200, "DELETE", TENANT "/apps/held", "");
    expect(200, "DELETE", "/v1/tenants/beta", "");
    refused(404, "no such tenant", "DELETE", "/v1/tenants/beta", "");
    expect(200, "GET", "/v1/audit", "");
    const json_t *last = json_array_get(list("events"), 0);
    assert_string_equal(json_string_value(json_object_get(last, "action")), "tenant removed");
    assert_string_equal(json_string_value(json_object_get(last, "subject")), "beta");
    assert_string_equal(json_string_value(json_object_get(last, "actor")), "admin.sock");
}

/* What workers count of a tenant is summed over their areas. */
static void what_a_tenant_uses_now(void **state)
{
    int fds[2];
    err e;
    expect(200, "GET", TENANT, "");
    expect(200, "GET", "/v1/whoami", "");
    catalogue_tenant t;
    assert_true(catalogue_tenant_find(catalogue_reading(k.catalogue), &a, S("acme"), &t, &e));
    for (int i = 0; i < 2; i++) {
        assert_true(counters_make(&fds[i], &e));
        assert_true(counters_map(fds[i], true, &k.counters[i], &e));
        counters_row *r = counters_take(k.counters[i], t.id);
        count_add(r, COUNT_RUNNING, 1 + (uint64_t)i);
        count_add(r, COUNT_MEMORY, 1000);
        count_add(r, COUNT_OVER_RATE, 5);
        count_add(counters_take(k.counters[i], t.id + 1), COUNT_RUNNING, 50);
    }
    k.counters_count = 2;
    expect(200, "GET", TENANT, "");
    k.counters_count = 0;
    const json_t *now = json_object_get(doc, "now"), *over = json_object_get(doc, "refused");
    assert_int_equal(json_integer_value(json_object_get(now, "concurrency")), 3);
    assert_int_equal(json_integer_value(json_object_get(now, "memory_bytes")), 2000);
    assert_int_equal(json_integer_value(json_object_get(now, "connections")), 0);
    assert_int_equal(json_object_size(now), 3); /* of the others nothing is in use */
    assert_int_equal(json_integer_value(json_object_get(over, "requests_per_s")), 10);
    assert_int_equal(json_integer_value(json_object_get(over, "cpu_percent")), 0);
    assert_int_equal(json_object_size(over), 6);
    close(fds[0]);
    close(fds[1]);
}

static void tokens_are_made_and_revoked(void **state)
{
    char path[100];
    for (const char *const *r = (const char *const[]){"operator", "nobody", "", "x", NULL}; *r;
         r++) {
        char request[64];
        snprintf(request, sizeof request, "{\"role\": \"%s\"}", *r);
        refused(400, "'role' must be reader, deployer or owner", "POST", TENANT "/tokens", request);
    }
    refused(400, "'role' must be reader", "POST", TENANT "/tokens", "{}");
    refused(400, "'role' must be operator", "POST", "/v1/tokens", "{\"role\": \"reader\"}");
    refused(400, "'expires_s' must be a number", "POST", TENANT "/tokens",
            "{\"role\": \"reader\", \"expires_s\": -1}");
    refused(400, "'expires_s' must be a number", "POST", TENANT "/tokens",
            "{\"role\": \"reader\", \"expires_s\": 315360001}");
    expect(201, "POST", TENANT "/tokens", "{\"role\": \"reader\", \"expires_s\": 315360000}");
    expect(201, "POST", TENANT "/tokens", "{\"role\": \"owner\", \"expires_s\": 0}");
    assert_int_equal(number_of("expires_s"), 0);
    expect(201, "POST", TENANT "/tokens", "{\"role\": \"reader\", \"expires_s\": null}");
    assert_int_equal(number_of("expires_s"), now_s + 90 * 86400);
    int64_t id = number_of("id");
    expect(200, "GET", TENANT "/tokens", "");
    size_t n = json_array_size(list("tokens"));
    assert_false(has("ebb_"));
    snprintf(path, sizeof path, TENANT "/tokens/%lld", (long long)id);
    expect(200, "DELETE", path, "");
    expect(404, "DELETE", path, "");
    expect(200, "GET", TENANT "/tokens", "");
    assert_int_equal(json_array_size(list("tokens")), n - 1);
    refused(400, "a token has a number", "DELETE", TENANT "/tokens/x", "");
    /* The operator's have their own list. */
    expect(201, "POST", "/v1/tokens", "{\"name\": \"root\"}");
    id = number_of("id");
    snprintf(path, sizeof path, TENANT "/tokens/%lld", (long long)id);
    expect(404, "DELETE", path, "");
    snprintf(path, sizeof path, "/v1/tokens/%lld", (long long)id);
    expect(200, "DELETE", path, "");
}

static void the_audit_log_is_read_backwards(void **state)
{
    expect(200, "PUT", TENANT "/quota", "{\"quota\": {\"apps\": 7}}");
    expect(200, "PUT", TENANT "/egress", "{\"allow\": \"\"}");
    expect(200, "GET", TENANT "/audit", "");
    const json_t *first = json_array_get(list("events"), 0),
                 *second = json_array_get(list("events"), 1);
    assert_string_equal(json_string_value(json_object_get(first, "action")), "egress changed");
    assert_string_equal(json_string_value(json_object_get(second, "action")), "quota changed");
    assert_string_equal(json_string_value(json_object_get(first, "tenant")), "acme");
    assert_int_equal(json_integer_value(json_object_get(first, "t_s")), now_s);
    char path[100];
    snprintf(path, sizeof path, TENANT "/audit?before=%lld",
             (long long)json_integer_value(json_object_get(first, "id")));
    expect(200, "GET", path, "");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list("events"), 0), "action")),
        "quota changed");
    refused(400, "before: the id of an event", "GET", TENANT "/audit?before=x", "");
    expect(200, "GET", TENANT "/audit?before=", "");
}

/* --- blobs ------------------------------------------------------------------------------------ */

static size_t uploads(void) { return entries(path_of("blobs")) - 3; /* ".", ".." and "sha256" */ }

static const char *file_of(const char *digest)
{
    return path_of("blobs/sha256/%.2s/%s", digest + 7, digest + 7);
}

static void blobs_are_what_they_are_called(void **state)
{
    char path[160];
    const char *digest = digest_of(S("something"));
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest);
    expect(404, "HEAD", path, "");
    refused(400, "does not have this digest", "PUT", path, "something else");
    assert_int_equal(uploads(), 0);
    assert_int_equal(access(file_of(digest), F_OK), -1);
    expect(404, "HEAD", path, "");
    expect(201, "PUT", path, "something");
    expect(200, "HEAD", path, "");
    assert_int_equal(uploads(), 0);
    assert_int_equal(access(file_of(digest), R_OK), 0);
    /* One that was damaged is sent again. */
    assert_int_equal(chmod(file_of(digest), 0600), 0);
    assert_int_equal(truncate(file_of(digest), 3), 0);
    expect(201, "PUT", path, "something");
    struct stat st;
    assert_int_equal(stat(file_of(digest), &st), 0);
    assert_int_equal(st.st_size, 9);
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest + 7); /* the bare digits will do */
    expect(200, "HEAD", path, "");
    path[strlen(path) - 1] = 0;
    refused(400, "64 small hexadecimal digits", "PUT", path, "something");
    snprintf(path, sizeof path, TENANT "/blobs/%sa", digest);
    expect(400, "PUT", path, "something");
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest);
    for (const char *c = "G/`:gA"; *c; c++) {
        path[strlen(path) - 1] = *c;
        assert_int_not_equal(ask("PUT", path, "something"), 201);
    }
    expect(201, "POST", "/v1/tenants", "{\"name\": \"rival\"}");
    snprintf(path, sizeof path, "/v1/tenants/rival/blobs/%s", digest);
    expect(404, "HEAD", path, ""); /* who has not sent it does not learn that it is there */
    expect(200, "DELETE", "/v1/tenants/rival", "");
    expect(200, "GET", TENANT, "");
    assert_int_equal(number_of("blob_bytes"), 9);
}

static void storage_is_limited(void **state)
{
    char path[160];
    expect(200, "GET", TENANT, "");
    int64_t used = number_of("blob_bytes");
    char limit[100];
    snprintf(limit, sizeof limit, "{\"quota\": {\"storage_bytes\": %lld}}", (long long)used + 10);
    expect(200, "PUT", TENANT "/quota", limit);
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest_of(S("elevenbytes")));
    refused(429, "storage quota is used up", "PUT", path, "elevenbytes");
    assert_int_equal(uploads(), 0);
    blob("ten bytes.");
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest_of(S("1")));
    refused(429, "storage quota is used up", "PUT", path, "1");
    expect(200, "PUT", TENANT "/quota", "{\"quota\": {\"storage_bytes\": 0}}"); /* no limit */
    expect(201, "PUT", path, "1");
}

/* More than one read of the connection, and more than the socket takes at once. */
static void a_large_blob(void **state)
{
    size_t n = 3000000;
    char path[160], *content = malloc(n);
    for (size_t i = 0; i < n; i++)
        content[i] = (char)(i * 7 + i / 1000);
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest_of((str){content, n}));
    assert_int_equal(ask_raw("PUT", path, (str){content, n}), 201);
    struct stat st;
    assert_int_equal(stat(file_of(strrchr(path, '/') + 1), &st), 0);
    assert_int_equal(st.st_size, n);
    free(content);
}

/* A client that goes in the middle of its upload leaves no file and no descriptor behind. */
static void an_upload_that_ends_early(void **state)
{
    static api_door door = {&k, true};
    http_server_config config = {0};
    const char *digest = digest_of(S("the whole of it"));
    size_t open_before = entries("/proc/self/fd");
    char request[400];
    int pair[2];
    snprintf(request, sizeof request,
             "PUT " TENANT "/blobs/%s HTTP/1.1\r\nHost: localhost\r\n"
             "Content-Length: 15\r\n\r\nthe whole",
             digest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    http_server *s = http_server_new(k.l, &config, api_on_request, &door);
    http_server_adopt_take(s, pair[0], S("192.0.2.1:7"));
    assert_int_equal(send(pair[1], request, strlen(request), 0), strlen(request));
    for (int turn = 0; turn < TURNS_MAX && !uploads(); turn++)
        loop_turn(k.l, TURN_MS);
    assert_int_equal(uploads(), 1);
    close(pair[1]);
    for (int turn = 0; turn < TURNS_MAX && http_server_connections(s); turn++)
        loop_turn(k.l, TURN_MS);
    assert_int_equal(uploads(), 0);
    http_server_free(s);
    loop_turn(k.l, 0);
    assert_int_equal(entries("/proc/self/fd"), open_before);
    assert_int_equal(access(file_of(digest), F_OK), -1);
}

static void put(const char *path, const char *content)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

/* Jobs run in their order: when this request's has, those before it have. */
static void jobs_run(void) { expect(200, "PUT", TENANT "/egress", "{\"allow\": \"\"}"); }

/* What a keeper that was killed has left: uploads nobody writes to, and blobs without a row. */
static void uploads_of_a_crash_go(void **state)
{
    char kept[80], lost[80], writing[80], path[512];
    snprintf(kept, sizeof kept, "%s", blob("kept"));
    snprintf(lost, sizeof lost, "%s", digest_of(S("lost")));
    snprintf(writing, sizeof writing, "%s", digest_of(S("writing")));
    put(path_of("blobs/upload-%s-1-1", kept + 7), "kept");
    put(path_of("blobs/upload-%s-1-2", lost + 7), "lost");
    mkdir(path_of("blobs/sha256/%.2s", lost + 7), 0700);
    put(file_of(lost), "lost");
    put(path_of("blobs/upload-%s-1-3", writing + 7), "wri");
    put(path_of("blobs/upload-x"), "not ours");
    snprintf(path, sizeof path, "%s", path_of("blobs/upload-%s-1-3", writing + 7));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    blobs_sweep(&k);
    jobs_run();
    assert_int_equal(uploads(), 2);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access(file_of(kept), F_OK), 0);
    assert_int_equal(access(file_of(lost), F_OK), -1);
    close(fd);
    blobs_sweep(&k);
    jobs_run();
    assert_int_equal(uploads(), 1);
    unlink(path_of("blobs/upload-x"));
}

static void age(const char *path, int64_t seconds)
{
    struct timespec t[2] = {{.tv_sec = now_s - seconds}, {.tv_sec = now_s - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

/* Blobs that no revision needs, an hour after they came: with what was made of them. */
static void what_nobody_needs_is_collected(void **state)
{
    char used[80], old[80], young[80];
    snprintf(used, sizeof used, "%s", blob("a used component"));
    snprintf(old, sizeof old, "%s", blob("an old one"));
    char app[1024];
    snprintf(app, sizeof app,
             "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"x\", \"triggers\": "
             "{}}, \"triggers\": [{\"id\": \"t\", \"trigger_type\": \"http\", \"trigger_config\": "
             "{\"route\": \"/\", \"component\": \"c\"}}], \"components\": [{\"id\": \"c\", "
             "\"source\": {\"digest\": \"%s\"}}]}}",
             used);
    building = IS_THERE;
    expect(200, "PUT", TENANT "/apps/user", app);
    mkdir(path_of("artifacts/%s-engine-1", used + 7), 0700);
    mkdir(path_of("artifacts/%s-engine-1", old + 7), 0700);
    put(path_of("artifacts/%s-engine-1/plan", old + 7), "x");
    mkdir(path_of("artifacts/%s-engine-2", old + 7), 0700);
    mkdir(path_of("files/%s", old + 7), 0700);
    put(path_of("files/%s/x", old + 7), "x");
    mkdir(path_of("files/a.1.tmp"), 0700);
    mkdir(path_of("files/b.1.tmp"), 0700);
    mkdir(path_of("artifacts/c.tmp"), 0700);
    now_s += 3600;
    age(path_of("files/a.1.tmp"), 3601);
    age(path_of("files/b.1.tmp"), 3600);
    age(path_of("artifacts/c.tmp"), 9999);
    snprintf(young, sizeof young, "%s", blob("a young one"));
    /* Not again within the hour; nor while a backup runs, and then as soon as it has ended. */
    k.collected_s = now_s - 3599;
    blobs_collect(&k);
    jobs_run();
    assert_int_equal(access(file_of(old), F_OK), 0);
    now_s += 1;
    int lock = open(path_of("blobs"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_SH | LOCK_NB), 0);
    blobs_collect(&k);
    jobs_run();
    assert_int_equal(access(file_of(old), F_OK), 0);
    close(lock);
    blobs_collect(&k);
    jobs_run();
    assert_int_equal(access(file_of(old), F_OK), -1);
    assert_int_equal(access(path_of("artifacts/%s-engine-1", old + 7), F_OK), -1);
    assert_int_equal(access(path_of("artifacts/%s-engine-2", old + 7), F_OK), -1);
    assert_int_equal(access(path_of("files/%s", old + 7), F_OK), -1);
    assert_int_equal(access(path_of("files/a.1.tmp"), F_OK), -1);
    assert_int_equal(access(path_of("artifacts/c.tmp"), F_OK), -1);
    assert_int_equal(access(file_of(used), F_OK), 0);
    assert_int_equal(access(file_of(young), F_OK), 0);
    assert_int_equal(access(path_of("artifacts/%s-engine-1", used + 7), F_OK), 0);
    blobs_collect(&k); /* at once: nothing happens */
    expect(200, "DELETE", TENANT "/apps/user", "");
    assert_int_equal(access(file_of(used), F_OK), 0);
    rmdir(path_of("files/b.1.tmp"));
    rmdir(path_of("artifacts/%s-engine-1", used + 7));
}

/* --- logs, pages, the node -------------------------------------------------------------------- */

static void the_ends_of_log_files(void **state)
{
    deploy("talker");
    char folder[64];
    snprintf(folder, sizeof folder, "logs/%lld", (long long)number_of("id"));
    expect(200, "GET", TENANT "/apps/talker/logs", "");
    assert_true(has("content-type: text/plain; charset=utf-8\r\n"));
    assert_false(has("c: "));
    mkdir(path_of("%s", folder), 0700);
    put(path_of("%s/c_stdout.txt", folder), "one\ntwo\nthree\nnot yet whole");
    put(path_of("%s/other.txt", folder), "no log\n");
    expect(200, "GET", TENANT "/apps/talker/logs", "");
    assert_true(has("c: one\n") && has("c: two\n") && has("c: three\n"));
    assert_false(has("whole") || has("no log"));
    expect(200, "GET", TENANT "/apps/talker/logs?lines=2", "");
    assert_true(has("c: two\n") && has("c: three\n"));
    assert_false(has("one"));
    put(path_of("%s/d_stderr.txt", folder), "oops\n");
    expect(200, "GET", TENANT "/apps/talker/logs?lines=1&format=json", "");
    assert_true(has("content-type: application/x-ndjson\r\n"));
    assert_true(has("{\"component\":\"c\",\"stream\":\"stdout\",\"line\":\"three\"}\n"));
    assert_true(has("{\"component\":\"d\",\"stream\":\"stderr\",\"line\":\"oops\"}\n"));
    assert_false(has("two"));
    expect(200, "GET", TENANT "/apps/talker/logs?lines=10000", "");
    refused(400, "lines: a number up to 10000", "GET", TENANT "/apps/talker/logs?lines=10001", "");
    refused(400, "lines: a number", "GET", TENANT "/apps/talker/logs?lines=x", "");
    refused(404, "has no app 'none'", "GET", TENANT "/apps/none/logs", "");
    /* Of a long file only the end is looked at. */
    FILE *f = fopen(path_of("%s/c_stdout.txt", folder), "w");
    for (int i = 0; i < 20000; i++)
        fprintf(f, "%099d\n", i);
    fclose(f);
    expect(200, "GET", TENANT "/apps/talker/logs?lines=10000", "");
    assert_true(has("19999\n"));
    assert_false(has("09500\n"));
    assert_true(has("09999\n") || has("10000\n"));
    expect(200, "DELETE", TENANT "/apps/talker", "");
}

static size_t wait_for_lines;
static const char *follow_folder;

/* Writes the next lines once the ones before have come. */
static void write_more(void)
{
    char path[512];
    if (wait_for_lines == 0 && has("c: one\n")) {
        snprintf(path, sizeof path, "%s/c_stdout.txt", follow_folder);
        FILE *f = fopen(path, "a");
        fputs("a\nbc", f);
        fclose(f);
        wait_for_lines = 1;
    } else if (wait_for_lines == 1 && has("c: a\n")) {
        snprintf(path, sizeof path, "%s/c_stdout.txt", follow_folder);
        FILE *f = fopen(path, "w"); /* it was turned */
        fputs("new\n", f);
        fclose(f);
        wait_for_lines = 2;
    } else if (wait_for_lines == 2 && has("c: new\n")) {
        wait_for_lines = 3;
    }
}

/* As ask, for an answer without an end: the client leaves when it has seen enough. */
static void lines_that_come_are_followed(void **state)
{
    static api_door door = {&k, true};
    http_server_config config = {.half_close_wait = NS_PER_MS};
    loop_watch *watch;
    int pair[2];
    size_t got = 0;
    err e;
    deploy("talker");
    char folder[512];
    snprintf(folder, sizeof folder, "%s", path_of("logs/%lld", (long long)number_of("id")));
    follow_folder = folder;
    mkdir(folder, 0700);
    char path[600];
    snprintf(path, sizeof path, "%s/c_stdout.txt", folder);
    put(path, "one\n");
    static const char request[] = "GET " TENANT "/apps/talker/logs?follow=1 HTTP/1.1\r\n"
                                  "Host: localhost\r\n\r\n";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    http_server *s = http_server_new(k.l, &config, api_on_request, &door);
    http_server_adopt_take(s, pair[0], S("192.0.2.1:7"));
    assert_int_equal(send(pair[1], request, sizeof request - 1, 0), sizeof request - 1);
    assert_true(loop_watch_open(k.l, pair[1], on_answer, NULL, &watch, &e));
    loop_watch_set(watch, LOOP_READABLE);
    memset(answer, 0, sizeof answer);
    wait_for_lines = 0;
    for (int turn = 0; turn < TURNS_MAX && wait_for_lines < 3; turn++) {
        loop_turn(k.l, TURN_MS);
        ssize_t n = recv(pair[1], answer + got, sizeof answer - 1 - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        write_more();
    }
    assert_int_equal(wait_for_lines, 3);
    assert_null(strstr(strstr(answer, "c: one\n") + 1, "c: one\n"));
    loop_watch_close(watch);
    close(pair[1]);
    for (int turn = 0; turn < TURNS_MAX && http_server_connections(s); turn++)
        loop_turn(k.l, TURN_MS);
    assert_int_equal(http_server_connections(s), 0);
    for (int turn = 0; turn < 5; turn++)
        loop_turn(k.l, 1);
    http_server_free(s);
    expect(200, "DELETE", TENANT "/apps/talker", "");
}

static void pages_are_sent_once(void **state)
{
    static const uint8_t bytes_of[] = "<p>hi";
    static const page all[] = {{.path = "/",
                                .type = "text/html",
                                .tag = "\"tag\"",
                                .styles = "'sha256-x'",
                                .bytes = bytes_of,
                                .n = 5}};
    pages_set(all, 1);
    by_socket = false; /* nobody has to be known */
    expect(200, "GET", "/", "");
    assert_string_equal(body, "<p>hi");
    assert_true(has("etag: \"tag\"\r\n") && has("style-src 'self' 'sha256-x';") &&
                has("referrer-policy: no-referrer\r\n"));
    more_head = "If-None-Match: \"tag\"\r\n";
    expect(304, "GET", "/", "");
    assert_string_equal(body, "");
    more_head = "If-None-Match: \"other\"\r\n";
    expect(200, "GET", "/", "");
    refused(404, "there is no such page", "GET", "/ui/x.js", "");
    pages_set(NULL, 0);
    refused(404, "there is no such page", "GET", "/", "");
}

static void use(const char *app, uint64_t calls, uint64_t cpu_ms)
{
    ledger_usage u = {.calls = calls, .cpu_ns = cpu_ms * 1000000, .memory_peak_bytes = calls};
    err e;
    assert_true(usage_file_begin(k.file, &e) &&
                usage_file_add(k.file, now_s - 10, str_from(app), &u, &e) &&
                usage_file_commit(k.file, &e));
}

static void the_busiest_apps_by_name(void **state)
{
    char name[32];
    deploy("busy");
    int64_t busy = number_of("id");
    deploy("idle");
    snprintf(name, sizeof name, "%lld/a", (long long)busy);
    use(name, 3, 200);
    snprintf(name, sizeof name, "%lld/b", (long long)busy);
    use(name, 4, 300);
    use("777777/a", 1, 400);
    use("-", 1, 9000);
    use("*", 1, 9000);
    expect(200, "GET", "/v1/top", "");
    assert_string_equal(names("apps", "app"), "acme/busy (deleted)");
    const json_t *first = json_array_get(list("apps"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "id")), busy);
    assert_int_equal(json_integer_value(json_object_get(first, "calls")), 7);
    assert_int_equal(json_integer_value(json_object_get(first, "memory_peak_bytes")), 4);
    assert_true(json_real_value(json_object_get(first, "cpu_s")) == 0.5);
    assert_int_equal(number_of("apps_deployed"), 2);
    assert_int_equal(number_of("span_s"), 60);
    assert_int_equal(json_array_size(list("processes")), 0);
    assert_true(book_process_add(&k.book, getpid(), "unit", 0, false, false));
    expect(200, "GET", "/v1/top", "");
    const json_t *me = json_array_get(list("processes"), 0);
    assert_int_equal(json_array_size(list("processes")), 1);
    assert_int_equal(json_integer_value(json_object_get(me, "pid")), getpid());
    assert_true(json_integer_value(json_object_get(me, "resident_bytes")) > 1 << 20);
    now_s += 61;
    expect(200, "GET", "/v1/top", "");
    assert_string_equal(names("apps", "app"), "");
    expect(200, "DELETE", TENANT "/apps/busy", "");
    expect(200, "DELETE", TENANT "/apps/idle", "");
}

/* --- without memory --------------------------------------------------------------------------- */

/* Whichever allocation fails, it is answered so, or the connection is closed; nothing is left under
 * way, and the next request is answered as ever. */
static void without_memory(void **state)
{
    static const struct {
        const char *method, *path, *content;
        unsigned wanted;
    } rows[] = {
        {"GET", "/v1/whoami", "", 200},
        {"GET", TENANT, "", 200},
        {"GET", TENANT "/apps", "", 200},
        {"GET", TENANT "/apps/small", "", 200},
        {"GET", TENANT "/apps/small/variables", "", 200},
        {"GET", TENANT "/audit?before=99999", "", 200},
        {"GET", TENANT "/tokens", "", 200},
        {"GET", "/v1/top", "", 200},
        {"GET", "/v1/now", "", 200},
        {"GET", "/v1/day", "", 200},
        {"GET", "/v1/outlook", "", 200},
        {"GET", TENANT "/carbon", "", 200},
        {"GET", "/v1/carbon/report?from=2027-01-01T00:00:00Z", "", 200},
        {"GET", "/metrics", "", 200},
        {"GET", TENANT "/apps/small/logs", "", 200},
        {"PUT", TENANT "/egress", "{\"allow\": \"10.0.0.0/8\"}", 200},
        {"PUT", TENANT "/quota", "{\"quota\": {\"apps\": 50}}", 200},
        {"PUT", TENANT "/apps/small/hosts", "{\"hosts\": [\"a.example\", \"b.example\"]}", 200},
        {"PUT", TENANT "/apps/small/variables", "{\"variables\": {\"v\": \"1\"}}", 200},
        {"POST", TENANT "/tokens", "{\"role\": \"reader\"}", 201},
        {"PUT",
         TENANT "/blobs/sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
         "b", 201},
        {"PUT", TENANT "/apps/small",
         "{\"hosts\": [\"a.example\"], \"app\": {\"spin_lock_version\": 0, \"metadata\": "
         "{\"name\": \"x\", \"triggers\": {}}, \"triggers\": [{\"id\": \"t\", "
         "\"trigger_type\": \"http\", \"trigger_config\": {\"route\": \"/\", "
         "\"component\": \"c\"}}], \"components\": [{\"id\": \"c\", \"source\": "
         "{\"digest\": "
         "\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"}, "
         "\"files\": [{\"path\": \"/f\", \"digest\": "
         "\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"}], "
         "\"metadata\": {\"key_value_stores\": [\"default\"]}}]}}",
         200},
        {"POST", TENANT "/apps/small/rollback", "{\"revision\": 1}", 404},
    };
    deploy("small");
    blob("b");
    building = IS_THERE;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect(rows[i].wanted, rows[i].method, rows[i].path, rows[i].content);
        size_t all = allocations;
        assert_true(all > 0);
        for (size_t n = 1; n <= all; n++) {
            failing = n;
            ask(rows[i].method, rows[i].path, rows[i].content);
            failing = 0;
            if (status && status < 400 && status != rows[i].wanted)
                fail_msg("%s %s, %zu: %u %s", rows[i].method, rows[i].path, n, status, body);
        }
        expect(rows[i].wanted, rows[i].method, rows[i].path, rows[i].content);
    }
    expect(200, "DELETE", TENANT "/apps/small", "");
}

#define api_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        api_test(hosts_are_ours),
        api_test(origins_are_ours),
        api_test(tokens_say_who_asks),
        api_test(wrong_tokens_are_counted),
        api_test(ways_lead_somewhere_or_not),
        api_test(the_description_is_the_documents),
        api_test(bodies_are_read_whole),
        api_test(tenants_and_quotas),
        api_test(what_a_tenant_uses_now),
        api_test(tokens_are_made_and_revoked),
        api_test(the_audit_log_is_read_backwards),
        api_test(blobs_are_what_they_are_called),
        api_test(storage_is_limited),
        api_test(a_large_blob),
        api_test(an_upload_that_ends_early),
        api_test(uploads_of_a_crash_go),
        api_test(what_nobody_needs_is_collected),
        api_test(the_ends_of_log_files),
        api_test(lines_that_come_are_followed),
        api_test(pages_are_sent_once),
        api_test(the_busiest_apps_by_name),
        api_test(without_memory),
    };
    return cmocka_run_group_tests(tests, keeper_make, keeper_end);
}
