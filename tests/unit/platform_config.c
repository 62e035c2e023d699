/* platform/config: what the supervisor writes is what a worker reads. */
#include "unit.h"

#include "app/manifest.h"
#include "platform/node_config.h"

static const char manifest[] =
    "spin_manifest_version = 2\n"
    "[application]\nname = \"t\"\n"
    "[[trigger.http]]\nroute = \"/a/...\"\ncomponent = \"one\"\n"
    "[component.one]\nsource = \"one.wasm\"\nenvironment = { K = \"v\" }\n";

static void round_trip(void **state)
{
    arena a;
    err e;
    app *in;
    manifest_options mo = {.file = S("spin.toml")};
    arena_init(&a, 8 << 20);
    assert_true(manifest_read(&a, str_from(manifest), &mo, &in, &e));
    app_pair mounts[] = {{S("/"), S("/tmp/assets")}};
    app_pair pairs[] = {{S("secret"), S("a\0b\"\n")}};
    str hosts[] = {S("https://example.com")};
    config_component component = {.artifact = S("/cache/x"),
                                  .mounts = {mounts, 1},
                                  .follow = true,
                                  .variables = {pairs, 1},
                                  .outbound = {hosts, 1}};
    str ids[] = {S("one")};
    network_tls tls = {.components = {ids, 1},
                       .tls = {.hosts = hosts, .hosts_count = 1, .roots_file = S("/r.pem")}};
    outbound_net net;
    assert_true(outbound_net_parse(S("10.0.0.0/8"), &net));
    app_config c = {.app = in, .components = &component, .log_dir = S("/tmp/logs")}, got;
    node_config n = {.network = {.limits = {.head_bytes_max = 9000, .idle_wait = 7 * NS_PER_S},
                                 .name_servers = S("127.0.0.1:53"),
                                 .stall = 20,
                                 .tls = &tls,
                                 .tls_count = 1,
                                 .blocks = {.at = &net, .n = 1, .has_private = true}},
                     .log_format = LOG_JSON,
                     .instances_max = 7},
                node;
    buf out;
    buf_init(&out, 1 << 20);
    assert_true(worker_config_write(&n, &c, &out, &e));
    assert_true(worker_config_read(&a, buf_bytes(&out), &node, &got, &e));
    assert_int_equal(node.log_format, LOG_JSON);
    assert_int_equal(node.instances_max, 7);
    assert_false(got.allow_transient_write);
    assert_int_equal(got.app->components_count, 1);
    assert_str(got.app->components[0].id, "one");
    assert_str(got.app->components[0].environment.at[0].value, "v");
    assert_str(got.app->triggers[0].route, "/a/...");
    assert_str(got.components[0].artifact, "/cache/x");
    assert_int_equal(got.components[0].mounts.n, 1);
    assert_str(got.components[0].mounts.at[0].value, "/tmp/assets");
    assert_true(got.components[0].follow);
    assert_str(got.log_dir, "/tmp/logs");
    assert_true(str_eq(got.components[0].variables.at[0].value, pairs[0].value));
    assert_str(got.components[0].outbound.at[0], "https://example.com");
    assert_int_equal(node.network.limits.head_bytes_max, 9000);
    assert_int_equal(node.network.limits.idle_wait, 7 * NS_PER_S);
    assert_int_equal(node.network.limits.headers_max, 0);
    assert_str(node.network.name_servers, "127.0.0.1:53");
    assert_int_equal(node.network.stall, 20);
    const host_tls *mine;
    size_t mine_count;
    assert_true(network_tls_of(&a, &node.network, S("one"), &mine, &mine_count));
    assert_int_equal(mine_count, 1);
    assert_str(mine[0].roots_file, "/r.pem");
    assert_true(network_tls_of(&a, &node.network, S("two"), &mine, &mine_count) && !mine_count);
    const uint8_t blocked[] = {10, 1, 2, 3}, open[] = {8, 8, 8, 8}, local[] = {127, 0, 0, 1};
    assert_true(network_is_blocked(&node.network, blocked, 4));
    assert_false(network_is_blocked(&node.network, open, 4));
    assert_true(network_is_blocked(&node.network, local, 4));
    assert_false(worker_config_read(&a, (bytes){(const uint8_t *)"{", 1}, &node, &got, &e));
    buf_clear(&out);
    assert_true(worker_config_write(&n, NULL, &out, &e));
    assert_true(worker_config_read(&a, buf_bytes(&out), &node, &got, &e));
    assert_null(got.app);
    assert_int_equal(node.instances_max, 7);
    buf_fini(&out);
    arena_fini(&a);
}

/* Settings that do not fit are none: no piece is left out, also not where the next would fit. */
static void what_does_not_fit(void **state)
{
    arena a;
    err e;
    app *in;
    manifest_options mo = {.file = S("spin.toml")};
    arena_init(&a, 8 << 20);
    assert_true(manifest_read(&a, str_from(manifest), &mo, &in, &e));
    config_component component = {.artifact = S("/cache/x")};
    app_config c = {.app = in, .components = &component};
    buf all;
    buf_init(&all, 1 << 20);
    assert_true(app_config_write(&c, &all, &e));
    for (size_t max = 1; max < all.n; max++) {
        buf out;
        buf_init(&out, max);
        assert_false(app_config_write(&c, &out, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
        buf_fini(&out);
    }
    buf_fini(&all);
    arena_fini(&a);
}

/* URLs and tokens have secrets in them: the store process hears of them, a worker does not. */
static void what_the_store_process_is_told(void **state)
{
    static const str initial[] = {{"k", 1}, {"v", 1}}, scripts[] = {{"CREATE TABLE t(i)", 17}};
    static const kv_store stores[] = {
        {.label = {"far", 3}, .url = {"redis://u:p@h:1", 15}},
        {.label = {"near", 4}, .path = {"/s/kv.db", 8}},
        {.label = {"here", 4}, .initial = initial, .initial_count = 2}};
    static const sql_database databases[] = {
        {.label = {"far", 3}, .url = {"http://h:2", 10}, .token = {"secret", 6}},
        {.label = {"here", 4}, .attach_files = true, .scripts = scripts, .scripts_count = 1}};
    static const store_queue queue = {
        .path = {"/s/q.db", 7}, .url = {"postgresql:///q", 15}, .key = {{1, 2, 0xfe}}};
    arena a;
    err e;
    app *in;
    bool json = false;
    store_config got;
    node_config n = {0};
    manifest_options mo = {.file = S("spin.toml")};
    config_component component = {.artifact = S("/cache/x")};
    buf out;
    arena_init(&a, 8 << 20);
    buf_init(&out, 1 << 20);
    assert_true(manifest_read(&a, str_from(manifest), &mo, &in, &e));
    app_config c = {.app = in,
                    .components = &component,
                    .stores = stores,
                    .stores_count = 3,
                    .databases = databases,
                    .databases_count = 2},
               of_worker;
    assert_true(store_config_write(&c, S("/s/all"), &queue, true, &out, &e));
    assert_true(store_config_read(&a, buf_bytes(&out), &got, &json, &e));
    assert_true(json && str_eq(got.state_dir, S("/s/all")));
    assert_int_equal(got.stores_count, 3);
    assert_str(got.stores[0].label, "far");
    assert_str(got.stores[0].url, "redis://u:p@h:1");
    assert_str(got.stores[1].path, "/s/kv.db");
    assert_true(!got.stores[0].path.n && !got.stores[1].url.n && !got.stores[2].path.n);
    assert_int_equal(got.stores[2].initial_count, 2);
    assert_str(got.stores[2].initial[1], "v");
    assert_int_equal(got.databases_count, 2);
    assert_str(got.databases[0].url, "http://h:2");
    assert_str(got.databases[0].token, "secret");
    assert_true(!got.databases[0].attach_files && got.databases[1].attach_files);
    assert_int_equal(got.databases[1].scripts_count, 1);
    assert_str(got.databases[1].scripts[0], "CREATE TABLE t(i)");
    assert_str(got.queue.path, "/s/q.db");
    assert_str(got.queue.url, "postgresql:///q");
    assert_memory_equal(&got.queue.key, &queue.key, sizeof queue.key);
    buf_clear(&out);
    assert_true(worker_config_write(&n, &c, &out, &e));
    assert_true(worker_config_read(&a, buf_bytes(&out), &n, &of_worker, &e));
    assert_str(of_worker.stores[0].label, "far");
    assert_str(of_worker.stores[1].path, "/s/kv.db");
    assert_true(!of_worker.stores[0].url.n && !of_worker.databases[0].url.n &&
                !of_worker.databases[0].token.n);
    buf_fini(&out);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip),
                                       cmocka_unit_test(what_the_store_process_is_told),
                                       cmocka_unit_test(what_does_not_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
