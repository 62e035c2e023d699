/* platform/tenant and platform/counters: two workers in one process, each with its own area and the
 * other's read-only. Quotas are the node's, whichever worker is asked. */
#include "unit.h"

#include "platform/tenant.h"

#include <unistd.h>

enum { WORKERS = 2, MIB_1 = 1 << 20 };
#define NOW (UINT64_C(1000) * NS_PER_S)

typedef struct {
    tenants worker[WORKERS];
    int fd[WORKERS];
} fixture;

static void nodes_open(fixture *f)
{
    err e;
    for (int i = 0; i < WORKERS; i++) {
        assert_true(counters_make(&f->fd[i], &e));
        tenants_init(&f->worker[i], WORKERS);
    }
    for (int i = 0; i < WORKERS; i++) {
        int fd;
        tenants *w = &f->worker[i];
        assert_true(counters_map(f->fd[i], true, &w->own, &e));
        assert_true(counters_read_only(f->fd[1 - i], &fd, &e));
        assert_true(counters_map(fd, false, &w->others[w->others_count++], &e));
        close(fd);
    }
}

static tenant *take(fixture *f, int worker, uint64_t number, const char *limits)
{
    tenant *t;
    err e;
    assert_true(tenant_take(&f->worker[worker], number, str_from(limits), &t, &e));
    return t;
}

static void both(fixture *f, tenant *t[WORKERS], const char *limits)
{
    nodes_open(f);
    for (int i = 0; i < WORKERS; i++)
        t[i] = take(f, i, 7, limits);
}

static void done(fixture *f, tenant *t[WORKERS])
{
    for (int i = 0; i < WORKERS; i++) {
        tenant_let(t[i]);
        tenants_fini(&f->worker[i]);
        close(f->fd[i]);
    }
}

static void nobody_writes_into_a_read_only_area(void **state)
{
    int fd, again;
    counters_area *a;
    err e;
    assert_true(counters_make(&fd, &e));
    assert_true(counters_read_only(fd, &again, &e));
    assert_false(counters_map(again, true, &a, &e));
    assert_int_equal(ftruncate(fd, 0), -1); /* sealed: readers would be killed */
    close(again);
    close(fd);
}

static void requests_a_second(void **state)
{
    fixture f = {0};
    tenant *t[WORKERS];
    unsigned after, passed = 0;
    both(&f, t, "{\"requests_per_s\": 10}");
    for (int i = 0; i < 40; i++)
        passed += tenant_ask(t[i % 2], NOW, &after) == TENANT_OK;
    assert_int_equal(passed, 10); /* what a second brings, once on the whole node */
    for (int ms = 1; ms <= 2000; ms++)
        passed += tenant_ask(t[0], NOW + (ns)ms * NS_PER_MS, &after) == TENANT_OK;
    assert_in_range(passed, 29, 30); /* one worker gets all of it */
    assert_int_equal(tenant_ask(t[1], NOW + 2000 * NS_PER_MS, &after), TENANT_RATE);
    assert_int_equal(after, 1);
    assert_true(count_get(counters_find(f.worker[1].own, 7), COUNT_OVER_RATE) > 0);
    done(&f, t);
}

/* A worker that comes to know the tenant later brings no full bucket along. */
static void buckets_are_adopted(void **state)
{
    fixture f = {0};
    unsigned after;
    nodes_open(&f);
    tenant *t[WORKERS] = {take(&f, 0, 7, "{\"log_bytes_per_s\": 1000, \"requests_per_s\": 1}")};
    bool first;
    ns now = clock_mono();
    assert_int_equal(tenant_ask(t[0], now, &after), TENANT_OK);
    assert_true(tenant_log(t[0], now, 1000, &first));
    assert_false(tenant_log(t[0], now, 500, &first));
    assert_true(first);
    assert_false(tenant_log(t[0], now, 500, &first));
    assert_false(first);
    t[1] = take(&f, 1, 7, "{\"log_bytes_per_s\": 1000, \"requests_per_s\": 1}");
    assert_false(tenant_log(t[1], now, 900, &first));
    assert_int_equal(tenant_ask(t[1], now, &after), TENANT_RATE);
    done(&f, t);
}

/* What was used while there was no limit is no debt when one is set, whichever worker hears of it
 * first, and whether there had been one before. */
static void no_debt_without_a_limit(void **state)
{
    static const char limited[] =
        "{\"requests_per_s\": 10, \"cpu_percent\": 100, \"log_bytes_per_s\": 100}";
    for (int limit_before = 0; limit_before < 2; limit_before++)
        for (int first = 0; first < WORKERS; first++) {
            fixture f = {0};
            unsigned after;
            bool full;
            nodes_open(&f);
            tenant *t[WORKERS] = {take(&f, 0, 7, limit_before ? limited : "{}")};
            tenant_let(take(&f, 0, 7, "{}"));
            ns now = clock_mono();
            for (int i = 0; i < 1000; i++)
                assert_int_equal(tenant_ask(t[0], now, &after), TENANT_OK);
            tenant_used(t[0], 1000 * NS_PER_S);
            assert_true(tenant_log(t[0], now, 1 << 20, &full));
            for (int i = 0; i < WORKERS; i++) {
                int w = (first + i) % WORKERS;
                tenant *same = take(&f, w, 7, limited);
                if (t[w])
                    tenant_let(same);
                t[w] = same;
                assert_int_equal(tenant_cpu_wait(t[w], now), 0);
                assert_int_equal(tenant_ask(t[w], now, &after), TENANT_OK);
                assert_true(tenant_log(t[w], now, 10, &full));
            }
            done(&f, t);
        }
}

static void requests_at_once_and_connections(void **state)
{
    fixture f = {0};
    tenant *t[WORKERS];
    unsigned after;
    both(&f, t, "{\"concurrency\": 3, \"connections\": 2}");
    tenant_begun(t[0]);
    tenant_begun(t[0]);
    assert_int_equal(tenant_ask(t[1], NOW, &after), TENANT_OK);
    tenant_begun(t[1]);
    assert_int_equal(tenant_ask(t[0], NOW, &after), TENANT_CONCURRENCY);
    assert_int_equal(tenant_ask(t[1], NOW, &after), TENANT_CONCURRENCY);
    tenant_ended(t[0]);
    assert_int_equal(tenant_ask(t[1], NOW, &after), TENANT_OK);

    assert_true(tenants_connection_take(&f.worker[0], 7));
    assert_true(tenants_connection_take(&f.worker[1], 7));
    assert_false(tenants_connection_take(&f.worker[0], 7));
    assert_true(tenants_connection_take(&f.worker[0], 8)); /* nobody here knows it */
    tenants_connection_give(&f.worker[1], 7);
    assert_true(tenants_connection_take(&f.worker[0], 7));
    tenant_let(t[0]); /* what it had open is given back all the same */
    tenants_connection_give(&f.worker[0], 7);
    tenants_connection_give(&f.worker[0], 7);
    assert_int_equal(count_get(counters_find(f.worker[0].own, 7), COUNT_CONNECTIONS), 0);
    t[0] = NULL;
    done(&f, t);
}

static void cpu_time(void **state)
{
    fixture f = {0};
    tenant *t[WORKERS];
    unsigned after;
    both(&f, t, "{\"cpu_percent\": 50}");
    assert_int_equal(tenant_cpu_wait(t[0], NOW), 0);
    tenant_used(t[0], 1500 * NS_PER_MS); /* 0.5 s may be saved up */
    for (int i = 0; i < WORKERS; i++) {
        assert_in_range(tenant_cpu_wait(t[i], NOW), 2000 * NS_PER_MS, 2002 * NS_PER_MS);
        assert_int_equal(tenant_ask(t[i], NOW, &after), TENANT_CPU);
        assert_in_range(after, 2, 3);
        assert_int_equal(tenant_cpu_wait(t[i], NOW + 2001 * NS_PER_MS), 0);
    }
    done(&f, t);
}

/* Whatever runs where at one moment: what was granted and what is there never exceed the quota. */
static void memory_is_granted_once(void **state)
{
    fixture f = {0};
    tenant *t[WORKERS];
    uint64_t has[WORKERS] = {0}, most = 64 * MIB_1;
    both(&f, t, "{\"memory_bytes\": 67108864}");
    for (int i = 0; i < 200; i++) {
        uint64_t more[WORKERS];
        for (int k = 0; k < WORKERS; k++)
            more[k] = tenant_memory_grant(t[(i + k) % 2]);
        assert_true(has[0] + has[1] + more[0] + more[1] <= most);
        for (int k = 0; k < WORKERS; k++) {
            int w = (i + k) % 2;
            tenant_memory_book(t[w], has[w], has[w] + more[k]);
            has[w] += more[k];
        }
    }
    assert_in_range(has[0] + has[1], most - MIB_1, most);
    assert_false(tenant_memory_has(t[0], MIB_1));
    tenant_memory_book(t[1], has[1], 0);
    assert_true(tenant_memory_has(t[0], MIB_1));
    assert_int_equal(count_get(counters_find(f.worker[0].own, 7), COUNT_OVER_MEMORY), 1);
    done(&f, t);
}

/* More tenants than an area has places for in one set: the last ones count alone, with their part.
 */
static void tenants_without_a_place_have_their_part(void **state)
{
    fixture f = {0};
    tenant *t[COUNTERS_WAYS + 1];
    unsigned after;
    nodes_open(&f);
    for (uint64_t i = 0; i <= COUNTERS_WAYS; i++)
        t[i] = take(&f, 0, 8 + i * COUNTERS_SETS * COUNTERS_WAYS, "{\"concurrency\": 4}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tenant_ask(t[COUNTERS_WAYS], NOW, &after), TENANT_OK);
        tenant_begun(t[COUNTERS_WAYS]);
    }
    assert_int_equal(tenant_ask(t[COUNTERS_WAYS], NOW, &after), TENANT_CONCURRENCY);
    assert_int_equal(tenant_ask(t[0], NOW, &after), TENANT_OK);
    tenant_let(t[3]); /* its place is free for the next one */
    t[3] = take(&f, 0, 8 + 100ull * COUNTERS_SETS * COUNTERS_WAYS, "{}");
    assert_non_null(counters_find(f.worker[0].own, 8 + 100ull * COUNTERS_SETS * COUNTERS_WAYS));
    assert_null(counters_find(f.worker[0].own, 8 + 3ull * COUNTERS_SETS * COUNTERS_WAYS));
    for (int i = 0; i <= COUNTERS_WAYS; i++)
        tenant_let(t[i]);
    done(&f, (tenant *[WORKERS]){0});
}

static void a_dead_worker_holds_nothing(void **state)
{
    fixture f = {0};
    tenant *t[WORKERS];
    unsigned after;
    both(&f, t, "{\"concurrency\": 2}");
    tenant_begun(t[0]);
    tenant_begun(t[0]);
    assert_int_equal(tenant_ask(t[1], NOW, &after), TENANT_CONCURRENCY);
    counters_empty(f.fd[0]);
    assert_int_equal(tenant_ask(t[1], NOW, &after), TENANT_OK);
    done(&f, t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_writes_into_a_read_only_area),
        cmocka_unit_test(requests_a_second),
        cmocka_unit_test(buckets_are_adopted),
        cmocka_unit_test(no_debt_without_a_limit),
        cmocka_unit_test(requests_at_once_and_connections),
        cmocka_unit_test(cpu_time),
        cmocka_unit_test(memory_is_granted_once),
        cmocka_unit_test(tenants_without_a_place_have_their_part),
        cmocka_unit_test(a_dead_worker_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
