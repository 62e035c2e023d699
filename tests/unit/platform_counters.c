/* Rows of tenants in shared areas: where they are, when one goes to another tenant, who may write.
 */
#include "unit.h"

#include "platform/counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int fd;
static counters_area *area;
static err e;

static int begin(void **state)
{
    return counters_make(&fd, &e) && counters_map(fd, true, &area, &e) ? 0 : -1;
}

static int end(void **state)
{
    close(fd);
    return 0;
}

/* One after the other, all places of a set are taken; the next set is another one. */
static void rows_are_given(void **state)
{
    counters_row *rows[COUNTERS_WAYS + 1];
    counters_empty(fd);
    for (uint64_t k = 0; k <= COUNTERS_WAYS; k++) {
        uint64_t tenant = 8 + k;
        assert_null(counters_find(area, tenant));
        rows[k] = counters_take(area, tenant);
        assert_non_null(rows[k]);
        assert_ptr_equal(counters_find(area, tenant), rows[k]);
        assert_ptr_equal(counters_take(area, tenant), rows[k]);
        for (uint64_t before = 0; before < k; before++)
            assert_ptr_not_equal(rows[before], rows[k]);
        count_add(rows[k], COUNT_RUNNING, k + 1);
        count_add(rows[k], COUNT_REQUESTS, 100);
        count_add(rows[k], COUNT_REQUESTS, k);
    }
    for (uint64_t k = 0; k <= COUNTERS_WAYS; k++) {
        assert_int_equal(count_get(counters_find(area, 8 + k), COUNT_RUNNING), k + 1);
        assert_int_equal(count_get(counters_find(area, 8 + k), COUNT_REQUESTS), 100 + k);
    }
}

/* A place goes to another tenant only once all its gauges are 0, and is empty then. */
static void rows_go_on(void **state)
{
    const uint64_t stranger = 8 + COUNTERS_WAYS * COUNTERS_SETS; /* of the same set */
    for (int gauge = 0; gauge < COUNT_GAUGES; gauge++) {
        counters_empty(fd);
        for (uint64_t k = 0; k < COUNTERS_WAYS; k++) {
            count_set(counters_take(area, 8 + k), (counter)gauge, 1);
            for (int total = COUNT_GAUGES; total < COUNTERS; total++)
                count_set(counters_find(area, 8 + k), (counter)total, 7);
        }
        assert_null(counters_take(area, stranger));
        assert_null(counters_find(area, stranger));
        count_set(counters_find(area, 8 + COUNTERS_WAYS - 1), (counter)gauge, 0);
        counters_row *r = counters_take(area, stranger);
        assert_non_null(r);
        assert_ptr_equal(counters_find(area, stranger), r);
        assert_null(counters_find(area, 8 + COUNTERS_WAYS - 1));
        for (int k = 0; k < COUNTERS; k++)
            assert_int_equal(count_get(r, (counter)k), 0);
        for (uint64_t k = 0; k < COUNTERS_WAYS - 1; k++)
            assert_int_equal(count_get(counters_find(area, 8 + k), COUNT_OVER_LOG), 7);
    }
}

static void who_may_write(void **state)
{
    int reader;
    counters_area *seen, *none = NULL;
    counters_empty(fd);
    assert_true(counters_read_only(fd, &reader, &e));
    assert_true(counters_map(reader, false, &seen, &e));
    assert_false(counters_map(reader, true, &none, &e));
    assert_null(none);
    assert_true(fcntl(reader, F_GETFD) & FD_CLOEXEC);
    count_set(counters_take(area, 3), COUNT_MEMORY, 55);
    assert_int_equal(count_get(counters_find(seen, 3), COUNT_MEMORY), 55);
    counters_empty(fd);
    assert_null(counters_find(seen, 3));
    assert_true(ftruncate(fd, 0) < 0); /* whoever maps it would be killed */
    close(reader);
    assert_false(counters_read_only(-1, &reader, &e));
    assert_false(counters_map(-1, false, &none, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_given),
        cmocka_unit_test(rows_go_on),
        cmocka_unit_test(who_may_write),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
