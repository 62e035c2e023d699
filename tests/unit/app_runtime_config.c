/* app/runtime_config, and the networks it blocks. */
#include "unit.h"

#include "app/runtime_config.h"
#include "base/limits.h"

typedef struct {
    arena a;
    runtime_config c;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 64 * MIB);
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

static void ok(fixture *f, const char *text)
{
    if (!runtime_config_read(&f->a, S("rc.toml"), str_from(text), &f->c, &f->e))
        fail_msg("%s", f->e.text);
}

static void refused(fixture *f, const char *text, const char *message)
{
    if (runtime_config_read(&f->a, S("rc.toml"), str_from(text), &f->c, &f->e))
        fail_msg("accepted %s", text);
    assert_string_equal(f->e.text, message);
}

static void whole(void **state)
{
    fixture *f = *state;
    ok(f, "state_dir = 's'\nlog_dir = 'l'\nmax_instance_memory = 1000\n"
          "[key_value_store.default]\ntype = 'spin'\npath = 'kv.db'\n"
          "[key_value_store.mem]\ntype = 'spin'\n"
          "[key_value_store.r]\ntype = 'redis'\nurl = 'redis://h'\n"
          "[key_value_store.d]\ntype = 'aws_dynamo'\nregion = 'eu'\ntable = 't'\n"
          "consistent_read = true\n"
          "[sqlite_database.default]\ntype = 'spin'\nallow_attach_file = true\n"
          "[sqlite_database.l]\ntype = 'libsql'\nurl = 'https://x'\ntoken = 't'\n"
          "[[variables_provider]]\ntype = 'static'\nvalues = { a = '1' }\n"
          "[[variables_provider]]\ntype = 'env'\n"
          "[[variables_provider]]\ntype = 'vault'\nurl = 'http://v'\ntoken = 't'\nmount = 'm'\n"
          "[outbound_networking]\nblock_networks = ['10.0.0.0/8', 'private', '2001:db9::/32']\n"
          "max_total_connections = 5\n"
          "[[client_tls]]\ncomponent_ids = ['web']\nhosts = ['h']\nca_roots_file = 'ca.pem'\n"
          "[outbound_http]\nmax_connections = 0\n[outbound_pg]\nmax_connections = 7\n"
          "[outbound_mqtt]\nmax_payload_size_bytes = 9\n"
          "[llm_compute]\ntype = 'remote_http'\nurl = 'http://l'\nauth_token = 'x'\n"
          "api_type = 'open_ai'\n");
    const runtime_config *c = &f->c;
    assert_str(c->state_dir, "s");
    assert_true(c->memory_bytes_max == 1000);
    assert_int_equal(c->stores_count, 4);
    assert_str(c->stores[0].label, "default");
    assert_str(c->stores[0].path, "kv.db");
    assert_int_equal(c->stores[1].path.n, 0);
    assert_int_equal(c->stores[2].kind, STORE_REDIS);
    assert_str(*app_pairs_get(&c->stores[3].other, S("consistent_read")), "true");
    assert_true(c->databases[0].allow_attach_file);
    assert_str(c->databases[1].token, "t");
    assert_int_equal(c->providers_count, 3);
    assert_str(c->providers[0].values.at[0].value, "1");
    assert_str(c->providers[1].prefix, "SPIN_VARIABLE");
    assert_str(c->providers[2].mount, "m");
    assert_true(c->blocks.has_private);
    assert_int_equal(c->blocks.n, 2);
    assert_true(c->total_connections_max == 5);
    assert_true(c->socket_connections_max == UINT64_MAX);
    assert_false(c->client_tls[0].ca_use_platform_roots);
    assert_true(c->http_connections_max == 0);
    assert_false(c->http_connection_pooling);
    assert_true(c->pg_connections_max == 7 && c->mysql_connections_max == UINT64_MAX);
    assert_true(c->mqtt_payload_bytes_max == 9);
    assert_int_equal(c->llm, LLM_REMOTE_HTTP);
    ok(f, "");
    assert_true(f->c.http_connection_pooling);
    assert_int_equal(f->c.llm, LLM_NONE);
    ok(f, "[[config_provider]]\ntype = 'env'\nprefix = 'X'\n[outbound_http]\n"
          "max_concurrent_requests = 3\nconnection_pooling = true");
    assert_str(f->c.providers[0].prefix, "X");
    assert_true(f->c.http_connections_max == 4 && f->c.http_connection_pooling);
    refused(f, "[outbound_http]\nmax_concurrent_requests = 1\nmax_connections = 2",
            "rc.toml:2:1: max_concurrent_requests and max_connections exclude each other; "
            "keep max_connections");
    assert_int_equal(f->c.warnings.n, 1);
}

static void mistakes(void **state)
{
    fixture *f = *state;
    refused(f, "stat_dir = ''",
            "rc.toml:1:1: unknown field 'stat_dir' in the runtime config; did "
            "you mean 'state_dir'?");
    refused(f, "[key_value_store.a]\ntype = 'reddis'",
            "rc.toml:2:8: unknown type 'reddis' of a key_value_store; did you mean 'redis'?");
    refused(f, "[key_value_store.a]\npath = 'x'",
            "rc.toml:1:18: a key_value_store has no 'type', which is required");
    refused(f, "[key_value_store.a]\ntype = 'redis'",
            "rc.toml:1:18: a redis store has no 'url', which is required");
    refused(f, "[key_value_store.a]\ntype = 'redis'\npath = 'x'",
            "rc.toml:3:1: unknown field 'path' in a key_value_store of this type");
    refused(f, "[sqlite_database.a]\ntype = 'libsql'\nurl = 'x'\ntoken = 't'",
            "rc.toml:3:7: url must begin with http:// or https://");
    refused(f, "outbound_networking.block_networks = ['lan']",
            "rc.toml:1:39: 'lan' is not a network such as '10.0.0.0/8', nor 'private'");
    refused(f, "outbound_redis.max_connections = -1",
            "rc.toml:1:34: max_connections can't be negative");
    refused(f, "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['h:1']",
            "rc.toml:3:10: 'h:1' must be a host without a port");
    refused(f, "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['h']\nclient_cert_file = 'x'",
            "rc.toml:1:3: 'client_cert_file' and 'client_private_key_file' need each other");
    refused(f, "[[variables_provider]]\ntype='env'\n[[config_provider]]\ntype='env'",
            "rc.toml:3:3: 'config_provider' is the old name of 'variables_provider'; use one of "
            "them");
}

static bool blocked(const outbound_blocks *b, const char *text)
{
    outbound_addr addr;
    assert_true(outbound_addr_parse(str_from(text), &addr));
    return outbound_is_blocked(b, &addr);
}

static void blocks(void **state)
{
    fixture *f = *state;
    static const char *const closed[] = {
        "10.1.2.3",   "127.0.0.1",      "169.254.169.254", "172.31.255.255",  "192.168.0.1",
        "100.64.0.1", "0.0.0.0",        "224.0.0.1",       "255.255.255.255", "::",
        "::1",        "fd00::1",        "fe80::1",         "ff02::1",         "::ffff:10.0.0.1",
        "::7f00:1",   "64:ff9b::a00:1", "2002:a00:1::",    "2001:db8::1"};
    static const char *const open[] = {"8.8.8.8",         "172.32.0.1",     "100.128.0.1",
                                       "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
                                       "2002:808:808::1"};
    ok(f, "outbound_networking.block_networks = ['private']");
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++)
        if (!blocked(&f->c.blocks, closed[i]))
            fail_msg("%s is open", closed[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (blocked(&f->c.blocks, open[i]))
            fail_msg("%s is closed", open[i]);
    ok(f, "outbound_networking.block_networks = ['8.8.0.0/16', '2606::/16']");
    assert_true(blocked(&f->c.blocks, "8.8.8.8"));
    assert_true(blocked(&f->c.blocks, "::ffff:8.8.8.8"));
    assert_true(blocked(&f->c.blocks, "2606:4700::1111"));
    assert_false(blocked(&f->c.blocks, "8.9.8.8"));
    assert_false(blocked(&f->c.blocks, "127.0.0.1"));
    ok(f, "");
    assert_false(blocked(&f->c.blocks, "127.0.0.1"));
    assert_false(blocked(&f->c.blocks, "::ffff:127.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
