/* ebb.toml and quotas: every default, every bound at its edge, and what a mistake is told. */
#include "unit.h"

#include "platform/node_settings.h"

#include <stdio.h>
#include <string.h>

static arena a;
static err e;

static int begin(void **state)
{
    arena_init(&a, 1 << 24);
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    return 0;
}

static void are_defaults(const node_settings *s)
{
    assert_str(s->listen, "127.0.0.1:3000");
    assert_str(s->domain, "localhost");
    assert_str(s->public_port, "");
    assert_str(s->trusted_proxies, "");
    assert_str(s->tls_folder, "");
    assert_str(s->admin_listen, "127.0.0.1:3001");
    assert_int_equal(s->workers, 0);
    assert_int_equal(s->instances, 0);
    assert_int_equal(s->jobs, 2);
    assert_false(s->log_json);
    assert_int_equal(s->revisions_kept, 5);
    assert_int_equal(s->apps_held, 10000);
    assert_int_equal(s->modules_held, 10000);
    assert_int_equal(s->bytes_held, 512 << 20);
    assert_int_equal(s->idle_s, 300);
    assert_int_equal(s->traces_one_in, 100);
    quota q = node_settings_quota(s);
    assert_int_equal(q.apps, 100);
    assert_int_equal(q.memory_bytes, 2147483648);
    assert_int_equal(q.concurrency, 200);
    assert_int_equal(q.cpu_percent, 0);
    assert_int_equal(q.cpu_weight, 100);
    assert_int_equal(q.requests_per_s, 0);
    assert_int_equal(q.storage_bytes, 10737418240);
    assert_int_equal(q.connections, 200);
    assert_int_equal(q.log_bytes_per_s, 1048576);
    assert_int_equal(q.deferred_calls, 100000);
    assert_int_equal(q.deferred_bytes, 1073741824);
}

/* What the first start writes reads as what it says it does: nothing but defaults, also where
 * every line is made to count. */
static void defaults(void **state)
{
    node_settings s = node_settings_default();
    buf out, counted;
    are_defaults(&s);
    assert_true(node_settings_read(&a, S("ebb.toml"), S(""), &s, &e));
    are_defaults(&s);
    buf_init(&out, 1 << 20);
    buf_init(&counted, 1 << 20);
    assert_true(node_settings_template(&out));
    assert_true(node_settings_read(&a, S("ebb.toml"), buf_str(&out), &s, &e));
    are_defaults(&s);
    size_t keys = 0, tables = 0;
    for (str rest = buf_str(&out); rest.n;) {
        str line = str_cut(&rest, '\n');
        size_t equals = str_find(line, '=');
        bool is_key = str_starts(line, S("# ")) && equals + 2 < line.n &&
                      line.p[equals - 1] == ' ' &&
                      str_find(str_skip(str_head(line, equals - 1), 2), ' ') == equals - 3;
        keys += is_key;
        tables += str_starts(line, S("["));
        buf_put_str(&counted, is_key ? str_skip(line, 2) : line);
        buf_put_str(&counted, S("\n"));
    }
    assert_int_equal(keys, 34);
    assert_int_equal(tables, 9);
    memset(&s, 0xff, sizeof s);
    if (!node_settings_read(&a, S("ebb.toml"), buf_str(&counted), &s, &e))
        fail_msg("%s", e.text);
    are_defaults(&s);
    buf_fini(&out);
    buf_fini(&counted);
    buf_init(&out, 100);
    assert_false(node_settings_template(&out));
    buf_fini(&out);
}

static void given(void **state)
{
    node_settings s;
    assert_true(node_settings_read(&a, S("ebb.toml"),
                                   S("[http]\nlisten = ':80'\npublic_port = '8443'\n"
                                     "[node]\nlog_json = true\nworkers = 64\njobs = 1\n"
                                     "[quota]\napps = 0\nmemory_bytes = 9007199254740992\n"
                                     "[apps]\nidle_s = 86400\n"),
                                   &s, &e));
    assert_str(s.listen, ":80");
    assert_str(s.public_port, "8443");
    assert_str(s.domain, "localhost");
    assert_true(s.log_json);
    assert_int_equal(s.workers, 64);
    assert_int_equal(s.jobs, 1);
    assert_int_equal(s.idle_s, 86400);
    assert_int_equal(node_settings_quota(&s).apps, 0);
    assert_int_equal(node_settings_quota(&s).memory_bytes, UINT64_C(1) << 53);
}

static void mistakes(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[node]\nworkers = 65", "ebb.toml:2:11: workers is a number from 0 to 64"},
        {"[node]\nworkers = -1", "ebb.toml:2:11: workers is a number from 0 to 64"},
        {"[node]\njobs = 0", "ebb.toml:2:8: jobs is a number from 1 to 64"},
        {"[apps]\nbytes_held = 1048575", "bytes_held is a number from 1048576 to 9007199254740992"},
        {"[quota]\napps = 9007199254740993", "apps is a number from 0 to 9007199254740992"},
        {"[node]\nworkers = '1'", "ebb.toml:2:11: "},
        {"[node]\nlog_json = 1", "ebb.toml:2:12: "},
        {"[http]\nlisten = 1", "ebb.toml:2:10: "},
        {"[node]\nworkerz = 1", "workers"},
        {"[nodes]\nworkers = 1", "node"},
        {"node = 1", "ebb.toml:1:"},
        {"[http]\nworkers = 1", "ebb.toml:2:1: "},
        {"[node", "ebb.toml:1:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        node_settings s = {.workers = 77};
        assert_false(node_settings_read(&a, S("ebb.toml"), str_from(rows[i].text), &s, &e));
        assert_int_equal(s.workers, 77);
        if (!strstr(e.text, rows[i].says))
            fail_msg("'%s' is not in: %s", rows[i].says, e.text);
    }
}

static void quotas(void **state)
{
    static const quota all = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    quota q = {0};
    buf out;
    buf_init(&out, 1000);
    assert_true(quota_write(&all, &out));
    assert_str(buf_str(&out),
               "{\"apps\":1,\"memory_bytes\":2,\"concurrency\":3,\"cpu_percent\":4,"
               "\"cpu_weight\":5,\"requests_per_s\":6,\"storage_bytes\":7,\"connections\":8,"
               "\"log_bytes_per_s\":9,\"deferred_calls\":10,\"deferred_bytes\":11}");
    assert_true(quota_read(buf_str(&out), &q, &e));
    assert_memory_equal(&q, &all, sizeof q);
    assert_true(quota_read(S("{\"apps\": 0, \"connections\": 80}"), &q, &e));
    assert_int_equal(q.apps, 0);
    assert_int_equal(q.connections, 80);
    assert_int_equal(q.memory_bytes, 2); /* what is absent stays */
    buf_fini(&out);
    buf_init(&out, 20);
    assert_false(quota_write(&all, &out));
    buf_fini(&out);
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"{", "a quota: "},
        {"[]", "a quota is an object of numbers"},
        {"{\"app\": 1}", "there is no quota 'app'; there are apps, memory_bytes,"},
        {"{\"apps\": -1}", "quota apps is a number; 0 means no limit"},
        {"{\"apps\": \"1\"}", "quota apps is a number; 0 means no limit"},
        {"{\"apps\": 1.5}", "quota apps is a number; 0 means no limit"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_false(quota_read(str_from(rows[i].text), &q, &e));
        assert_int_equal(e.code, ERR_INVALID);
        if (!strstr(e.text, rows[i].says))
            fail_msg("'%s' is not in: %s", rows[i].says, e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(given),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(quotas),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
