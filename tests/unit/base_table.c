/* Hash tables of embedded links: what is added is found, once, whatever else is there. */
#include "unit.h"

#include "base/arena.h"
#include "base/table.h"

#include <string.h>

typedef struct {
    int payload;
    table_link link;
    uint32_t key;
} item;

static item *find(const table *t, uint32_t key)
{
    for (table_link *k = table_first(t, table_hash(t, &key, sizeof key)); k; k = table_next(k)) {
        item *i = TABLE_OF(item, link, k);
        if (i->key == key)
            return i;
    }
    return NULL;
}

static void what_was_added_is_found(void **state)
{
    enum { N = 5000 };
    static item items[N];
    table t;
    table_init(&t, (uint64_t[]){1, 2});
    assert_null(find(&t, 0));
    for (uint32_t i = 0; i < N; i++) {
        items[i].key = i * 3;
        assert_true(table_add(&t, &items[i].link, table_hash(&t, &items[i].key, 4)));
    }
    for (uint32_t i = 0; i < 3 * N; i++)
        assert_ptr_equal(find(&t, i), i % 3 ? NULL : &items[i / 3]);
    for (uint32_t i = 0; i < N; i += 2)
        table_remove(&t, &items[i].link);
    assert_int_equal(t.count, N / 2);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(find(&t, i * 3), i % 2 ? &items[i] : NULL);
    table_fini(&t);
    assert_int_equal(t.count, 0);
}

static void equal_hashes_are_kept_apart(void **state)
{
    item a = {.key = 1}, b = {.key = 2};
    table t;
    table_init(&t, (uint64_t[]){0, 0});
    assert_true(table_add(&t, &a.link, 5) && table_add(&t, &b.link, 5));
    table_link *first = table_first(&t, 5);
    assert_ptr_equal(table_next(first), first == &a.link ? &b.link : &a.link);
    assert_null(table_next(table_next(first)));
    assert_null(table_first(&t, 5 + 16)); /* the same bucket */
    table_fini(&t);
}

static void without_memory_nothing_is_added(void **state)
{
    item a = {.key = 1};
    table t;
    table_init(&t, (uint64_t[]){0, 0});
    alloc_fail_after(1);
    assert_false(table_add(&t, &a.link, 5));
    alloc_fail_after(0);
    assert_null(table_first(&t, 5));
    assert_true(table_add(&t, &a.link, 5));
    table_fini(&t);
}

static void the_hash_depends_on_everything(void **state)
{
    table t, other;
    uint8_t key[24] = {0};
    table_init(&t, (uint64_t[]){1, 2});
    table_init(&other, (uint64_t[]){1, 3});
    uint64_t base = table_hash(&t, key, sizeof key);
    assert_true(base != table_hash(&other, key, sizeof key));
    assert_true(base == table_hash(&t, key, sizeof key));
    for (size_t n = 0; n < sizeof key; n++) {
        assert_true(base != table_hash(&t, key, n));
        key[n] = 1;
        assert_true(base != table_hash(&t, key, sizeof key));
        key[n] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(equal_hashes_are_kept_apart),
        cmocka_unit_test(without_memory_nothing_is_added),
        cmocka_unit_test(the_hash_depends_on_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
