/* Stores of an app as the admin API shows them, by a store process that is in this one, and by one
 * of its own; how the queue of deferred calls names tenants, apps and revisions; and when the
 * keeper plans them. */
#include "keeper_kit.h"

#include "near.h"

#include "platform/app_config.h"
#include "platform/keeper_calls.h"
#include "platform/keeper_owner.h"
#include "platform/role.h"
#include "platform/spawn.h"
#include "store/server.h"
#include "store/sql_memory.h"

#define APP TENANT "/apps/x"

static arena a;
static store_server *server;

static const char *app_body(const char *name, const char *text_of)
{
    static char out[1024];
    snprintf(out, sizeof out,
             "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"%s\", \"triggers\": "
             "{}}, \"variables\": {\"v\": {\"default\": \"0\"}}, \"triggers\": [{\"id\": \"t\", "
             "\"trigger_type\": \"http\", \"trigger_config\": {\"route\": \"/\", "
             "\"static_response\": {\"body\": \"%s\"}}}], \"components\": [{\"id\": \"c\", "
             "\"source\": {\"digest\": \"%s\"}, \"metadata\": {\"key_value_stores\": "
             "[\"default\"], \"databases\": [\"default\"]}}]}}",
             name, text_of, digest_of(S("a component")));
    return out;
}

static bool store_connect(void)
{
    int pair[2];
    err e;
    if (!channel_pair(pair, &e) || !store_server_add_take(server, pair[0], &e))
        return false;
    store_client_connect_take(k.store, pair[1]);
    return true;
}

static int make(void **state)
{
    static char folder[64], queue[64];
    err e;
    if (!sql_memory_init(&e) || keeper_make(state)) /* in this order: SQLite is set up once */
        return -1;
    snprintf(folder, sizeof folder, "%s", path_of("state"));
    snprintf(queue, sizeof queue, "%s", path_of("queue.db"));
    store_config c = {.state_dir = str_from(folder), .queue.path = str_from(queue)};
    if (!store_server_new(k.l, &c, &server, &e) || !store_connect())
        return -1;
    expect(201, "POST", "/v1/tenants", "{\"name\": \"acme\"}");
    blob("a component");
    expect(200, "PUT", APP, app_body("x", "hi"));
    return 0;
}

static int unmake(void **state)
{
    store_server_free(server);
    return keeper_end(state);
}

static int begin(void **state)
{
    arena_init(&a, 16 << 20);
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    return 0;
}

static void keys_and_values(void **state)
{
    expect(200, "GET", APP "/kv/default", "");
    assert_string_equal(names("keys", NULL), "");
    refused(404, "no such key", "GET", APP "/kv/default/one", "");
    expect(200, "PUT", APP "/kv/default/one", "first");
    expect(200, "PUT", APP "/kv/default/a%2Fb%20c", "second");
    expect(200, "PUT", APP "/kv/default/empty", "");
    expect(200, "GET", APP "/kv/default/one", "");
    assert_string_equal(body, "first");
    assert_non_null(strstr(answer, "content-type: application/octet-stream\r\n"));
    expect(200, "GET", APP "/kv/default/a%2fb%20c", "");
    assert_string_equal(body, "second");
    expect(200, "GET", APP "/kv/default/empty", "");
    assert_string_equal(body, "");
    expect(200, "GET", APP "/kv/default", "");
    assert_int_equal(json_array_size(list("keys")), 3);
    expect(200, "PUT", APP "/kv/default/one", "third");
    expect(200, "GET", APP "/kv/default/one", "");
    assert_string_equal(body, "third");
    expect(200, "DELETE", APP "/kv/default/one", "");
    refused(404, "no such key", "GET", APP "/kv/default/one", "");
    expect(200, "GET", APP "/kv/default", "");
    assert_int_equal(json_array_size(list("keys")), 2);
    refused(404, "no component of the app has a store of this name", "GET", APP "/kv/other", "");
    refused(404, "tenant 'acme' has no app 'none'", "GET", TENANT "/apps/none/kv/default", "");
    refused(404, "no component of the app has a store", "PUT", APP "/kv/other/k", "v");
    refused(404, "no component of the app has a store", "DELETE", APP "/kv/other/k", "");
}

static const json_t *cell(size_t row, size_t column)
{
    return json_array_get(json_array_get(list("rows"), row), column);
}

static void statements(void **state)
{
    expect(200, "POST", APP "/sqlite/default", "{\"sql\": \"CREATE TABLE t(i, r, s, b, n)\"}");
    expect(200, "POST", APP "/sqlite/default",
           "{\"sql\": \"INSERT INTO t VALUES (-7, 1.5, 'text', x'00ff', NULL), "
           "(9007199254740993, -0.25, '', x'', NULL)\"}");
    assert_int_equal(number_of("changes"), 2);
    expect(200, "POST", APP "/sqlite/default", "{\"sql\": \"SELECT * FROM t ORDER BY i\"}");
    assert_string_equal(names("columns", NULL), "i r s b n");
    assert_int_equal(json_array_size(list("rows")), 2);
    assert_int_equal(json_integer_value(cell(0, 0)), -7);
    assert_near(json_real_value(cell(0, 1)), 1.5, 0);
    assert_string_equal(json_string_value(cell(0, 2)), "text");
    assert_string_equal(json_string_value(json_object_get(cell(0, 3), "hex")), "00ff");
    assert_true(json_is_null(cell(0, 4)));
    assert_true(json_integer_value(cell(1, 0)) == INT64_C(9007199254740993));
    assert_near(json_real_value(cell(1, 1)), -0.25, 0);
    assert_string_equal(json_string_value(cell(1, 2)), "");
    assert_string_equal(json_string_value(json_object_get(cell(1, 3), "hex")), "");
    expect(200, "GET", TENANT "/audit", "");
    const json_t *last = json_array_get(list("events"), 0);
    assert_string_equal(json_string_value(json_object_get(last, "action")), "sql");
    assert_string_equal(json_string_value(json_object_get(last, "subject")), "x");
    refused(400, "no such table", "POST", APP "/sqlite/default", "{\"sql\": \"SELECT * FROM u\"}");
    refused(400, "'sql' must be a string", "POST", APP "/sqlite/default", "{\"sql\": 1}");
    refused(404, "no component of the app has a store of this name", "POST", APP "/sqlite/other",
            "{\"sql\": \"SELECT 1\"}");
    refused(404, "has no app 'none'", "POST", TENANT "/apps/none/sqlite/default",
            "{\"sql\": \"SELECT 1\"}");
    /* Each is a session of its own: what one leaves open is rolled back. */
    expect(200, "POST", APP "/sqlite/default", "{\"sql\": \"BEGIN\"}");
    expect(200, "POST", APP "/sqlite/default", "{\"sql\": \"DELETE FROM t\"}");
    expect(200, "POST", APP "/sqlite/default", "{\"sql\": \"SELECT count(*) FROM t\"}");
    assert_int_equal(json_integer_value(cell(0, 0)), 0);
}

static void nobody_can_be_asked(void **state)
{
    struct store_client *kept = k.store;
    k.store = NULL;
    refused(503, "the store process can't be asked", "GET", APP "/kv/default", "");
    refused(503, "the store process can't be asked", "POST", APP "/sqlite/default",
            "{\"sql\": \"SELECT 1\"}");
    k.store = kept;
    expect(200, "GET", APP "/kv/default", "");
}

/* --- owners of deferred calls ----------------------------------------------------------------- */

static catalogue_found live(const char *host)
{
    catalogue_found f;
    err e;
    assert_true(catalogue_find(k.catalogue, str_from(host), &a, &f, &e));
    assert_true(f.app != 0);
    return f;
}

static void numbers_of_this_node(void **state)
{
    calls_owner owner;
    catalogue_found f = live("x-acme.localhost"), g;
    catalogue_tenant t = {.id = f.tenant, .name = S("acme")};
    uint64_t number;
    err e;
    assert_true(owner_found(&k, &a, &f, &owner, &e));
    assert_true(owner.tenant == f.tenant && owner.app == f.app && owner.revision == f.revision);
    assert_int_equal(owner.name.n, 0);
    assert_true(owner_tenant(&k, &t, &number, &e));
    assert_true(number == f.tenant);
    assert_true(owner_find(&k, &owner, &a, &g, &e));
    assert_true(g.app == f.app && g.revision == f.revision);
    owner.revision = f.revision + 7;
    assert_true(owner_find(&k, &owner, &a, &g, &e));
    assert_true(g.app == 0);
    owner.revision = (UINT64_C(1) << 32) + f.revision; /* no number of ours */
    assert_true(owner_find(&k, &owner, &a, &g, &e));
    assert_true(g.app == 0);
    owner.revision = f.revision;
    owner.name = S("acme/x"); /* accepted while the queue was shared */
    assert_true(owner_find(&k, &owner, &a, &g, &e));
    assert_true(g.app == 0);
}

/* What is the same on all nodes has the same number: names, and what was deployed. */
static void numbers_that_nodes_share(void **state)
{
    calls_owner first, second, third;
    catalogue_found f, g;
    err e;
    k.config.serve.queue_is_shared = true;
    f = live("x-acme.localhost");
    assert_true(owner_found(&k, &a, &f, &first, &e));
    assert_str(first.name, "acme/x");
    assert_true(first.tenant >= CALLS_OWNER_SHARED_MIN && first.app >= CALLS_OWNER_SHARED_MIN &&
                first.revision >= CALLS_OWNER_SHARED_MIN);
    catalogue_tenant t = {.id = f.tenant, .name = S("acme")};
    uint64_t number;
    assert_true(owner_tenant(&k, &t, &number, &e));
    assert_true(number == first.tenant);
    expect(200, "PUT", APP, app_body("x", "changed"));
    f = live("x-acme.localhost");
    assert_true(owner_found(&k, &a, &f, &second, &e));
    assert_true(second.app == first.app && second.revision != first.revision);
    /* Values of variables are no part of a revision. */
    expect(200, "PUT", APP "/variables", "{\"variables\": {\"v\": \"1\"}}");
    f = live("x-acme.localhost");
    assert_true(owner_found(&k, &a, &f, &third, &e));
    assert_true(third.revision == second.revision);
    /* Both are kept, and found by what they are. */
    assert_true(owner_find(&k, &second, &a, &g, &e));
    assert_true(g.app == f.app && g.revision == f.revision);
    assert_true(owner_find(&k, &first, &a, &g, &e));
    assert_true(g.app == f.app && g.revision == f.revision - 1);
    first.revision++;
    assert_true(owner_find(&k, &first, &a, &g, &e));
    assert_true(g.app == 0);
    for (const char *const *name = (const char *const[]){"acme/none", "none/x", "acme", NULL};
         *name; name++) {
        third.name = str_from(*name);
        assert_true(owner_find(&k, &third, &a, &g, &e));
        assert_true(g.app == 0);
    }
    third.name = (str){0};
    assert_true(owner_find(&k, &third, &a, &g, &e)); /* accepted while it was not shared */
    assert_true(g.app == 0);
    k.config.serve.queue_is_shared = false;
}

/* --- planning deferred calls ------------------------------------------------------------------ */

static keeper_calls *planning;

static int plan_begin(void **state)
{
    err e;
    return keeper_calls_new(&k, &planning, &e) ? begin(state) : -1;
}

static int plan_end(void **state)
{
    keeper_calls_free(planning);
    return end(state);
}

/* The keeper looks until its plan begins with the present hour. */
static bool plans(void)
{
    const pace_view *v = keeper_calls_plan(planning);
    for (int turn = 0; turn < TURNS_MAX && v->first != now_s / 3600; turn++) {
        keeper_calls_look(planning);
        loop_turn(k.l, TURN_MS);
    }
    return v->slots == PACE_SLOTS && v->first == now_s / 3600;
}

static void measured(int64_t t_s, double g_per_kwh)
{
    err e;
    intensity_point p = {.from_s = t_s, .span_s = 3600, .g_per_kwh = g_per_kwh};
    intensity_reading r = {.points = &p, .points_count = 1};
    assert_true(usage_file_intensity(k.file, &r, &e));
}

/* Our forecast begins where measurements end: hours that it does not reach are as those it knows.
 */
static void hours_beyond_the_forecast(void **state)
{
    enum { LATE = 5 };
    const pace_view *v = keeper_calls_plan(planning);
    for (int hours = LATE + 48; hours > LATE; hours--)
        measured(now_s - hours * 3600, hours % 24 < 12 ? 100 : 300);
    assert_true(plans());
    assert_int_equal(v->sourced, 1);
    double sum = 0;
    for (size_t i = 0; i < PACE_SLOTS - LATE; i++) {
        assert_true(v->intensity[i] > 50 && v->intensity[i] < 400);
        sum += v->intensity[i];
    }
    for (size_t i = PACE_SLOTS - LATE; i < PACE_SLOTS; i++)
        assert_near(v->intensity[i], sum / (PACE_SLOTS - LATE), 1e-6);
}

/* Whatever there was no memory for once, the next time that the keeper looks it plans. */
static void planning_without_memory(void **state)
{
    alloc_fail_after(0);
    assert_true(plans());
    size_t all = alloc_fail_after(0);
    assert_true(all > 0);
    for (size_t n = 1; n <= all; n++) {
        now_s += 3600;
        alloc_fail_after(n);
        if (!plans())
            fail_msg("after allocation %zu of %zu failed it plans no more", n, all);
    }
    alloc_fail_after(0);
}

/* --- a store process -------------------------------------------------------------------------- */

static void on_control(void *user, bytes message, int fd) {}
static void on_control_end(void *user) {}

/* With one end of a control socket, and a pipe for what it logs. */
static pid_t store_start(channel **ret_control, int *ret_log)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    app_config none = {0};
    int fds[2], log[2], config, before = dup(STDERR_FILENO);
    pid_t pid;
    buf settings;
    err e;
    buf_init(&settings, 1 << 20);
    assert_int_equal(mkdir(path_of("other"), 0700), 0);
    str folder = arena_str(&a, str_from(path_of("other")));
    assert_true(store_config_write(&none, folder, NULL, false, &settings, &e));
    assert_true(spawn_memfd("settings", settings.p, settings.n, &config, &e));
    buf_fini(&settings);
    assert_int_equal(lseek(config, 0, SEEK_SET), 0);
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    assert_true(channel_pair(fds, &e));
    dup2(log[1], STDERR_FILENO);
    bool ok = spawn_role("store", NULL, (int[]){fds[1], config}, 2, NULL, true, &pid, &e);
    dup2(before, STDERR_FILENO);
    assert_true(ok);
    close(before);
    close(log[1]);
    close(config);
    close(fds[1]);
    assert_true(channel_open_take(k.l, fds[0], &callbacks, NULL, ret_control, &e));
    *ret_log = log[0];
    return pid;
}

/* It serves who it gets a channel of, says which ones it can't use, and ends in order when nobody
 * is there any more. */
static void a_store_process_takes_connections(void **state)
{
    char said[2048] = "";
    size_t n = 0;
    channel *control;
    int pair[2], log, none = open("/dev/null", O_RDWR | O_CLOEXEC);
    err e;
    pid_t pid = store_start(&control, &log);
    assert_true(channel_pair(pair, &e));
    for (int i = 0; i < 3; i++)
        assert_true(
            channel_send(control, (bytes){(const uint8_t *)"s", 1}, i == 1 ? pair[0] : none, &e));
    close(none);
    close(pair[0]);
    store_client_connect_take(k.store, pair[1]);
    expect(200, "PUT", APP "/kv/default/there", "its own");
    expect(200, "GET", APP "/kv/default/there", "");
    assert_string_equal(body, "its own");
    assert_true(store_connect()); /* to ours again */
    refused(404, "no such key", "GET", APP "/kv/default/there", "");
    channel_close(control);
    for (ssize_t got; (got = read(log, said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    close(log);
    if (!spawn_wait(pid, "store", -1, &e))
        fail_msg("%s; it said: %s", e.text, said);
    unsigned lines = 0, refusals = 0;
    for (const char *at = said; (at = strchr(at, '\n')); at++)
        lines++;
    for (const char *at = said; (at = strstr(at, "a worker gets no connection to the store: "));
         at++)
        refusals++;
    if (lines != 2 || refusals != 2)
        fail_msg("it said: %s", said);
}

#define stores_test(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define plan_test(f)   cmocka_unit_test_setup_teardown(f, plan_begin, plan_end)

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "@store") == 0 ? role_store(argc - 1, argv + 1) : 2;
    const struct CMUnitTest tests[] = {
        stores_test(keys_and_values),          stores_test(statements),
        stores_test(nobody_can_be_asked),      stores_test(numbers_of_this_node),
        stores_test(numbers_that_nodes_share), plan_test(hours_beyond_the_forecast),
        plan_test(planning_without_memory),    stores_test(a_store_process_takes_connections),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
