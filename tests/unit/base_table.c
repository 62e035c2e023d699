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

/* SipHash-1-3 with the key and inputs of the paper's vectors: 00 01 02 ... */
static void the_hash_is_siphash(void **state)
{
    static const uint64_t expected[] = {
        0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d, 0x8bf80ab8e7ddf7fb,
        0xcf75576088d38328, 0xdef9d52f49533b67, 0xc50d2b50c59f22a7, 0xd3927d989bb11140,
        0x369095118d299a8e, 0x25a48eb36c063de4, 0x79de85ee92ff097f, 0x70c118c1f94dc352,
        0x78a384b157b4d9a2, 0x306f760c1229ffa7, 0x605aa111c0f95d34, 0xd320d86d2a519956,
        0xcc4fdd1a7d908b66, 0x9cf2689063dbd80c,
    };
    table t;
    table_init(&t, (uint64_t[]){0x0706050403020100, 0x0f0e0d0c0b0a0908});
    for (size_t n = 0; n < sizeof expected / sizeof *expected; n++) {
        uint8_t *key = malloc(n + 1); /* a sanitizer sees a byte too far */
        key = realloc(key, n ? n : 1);
        for (size_t i = 0; i < n; i++)
            key[i] = (uint8_t)i;
        assert_true(table_hash(&t, key, n) == expected[n]);
        free(key);
    }
}

/* There are as many buckets as links, or more; without memory to grow it stays whole. */
static void it_grows_when_it_is_full(void **state)
{
    static item items[65];
    table t;
    table_init(&t, (uint64_t[]){1, 2});
    assert_true(t.size == 0 && t.count == 0 && !t.at);
    for (uint32_t i = 0; i < 64; i++) {
        items[i].key = i;
        assert_true(table_add(&t, &items[i].link, table_hash(&t, &i, sizeof i)));
        assert_int_equal(t.count, i + 1);
        assert_int_equal(t.size, i < 16 ? 16 : i < 32 ? 32 : 64);
    }
    alloc_fail_after(1);
    assert_false(table_add(&t, &items[64].link, 1));
    alloc_fail_after(0);
    assert_true(t.count == 64 && t.size == 64);
    for (uint32_t i = 0; i < 64; i++)
        assert_ptr_equal(find(&t, i), &items[i]);
    table_fini(&t);
    assert_true(t.size == 0 && !t.at && t.seed[0] == 1 && t.seed[1] == 2);
    assert_null(table_first(&t, 1));
    assert_true(table_add(&t, &items[0].link, 1));
    table_fini(&t);
}

/* First, middle and last of a chain; whoever shares the bucket stays. */
static void any_of_a_chain_is_removed(void **state)
{
    for (int gone = 0; gone < 3; gone++) {
        item of[3] = {0};
        table t;
        table_init(&t, (uint64_t[]){0, 0});
        for (int i = 0; i < 3; i++)
            assert_true(table_add(&t, &of[i].link, 3 + 16 * (uint64_t)i));
        table_remove(&t, &of[gone].link);
        assert_null(of[gone].link.next);
        assert_int_equal(t.count, 2);
        for (int i = 0; i < 3; i++)
            assert_ptr_equal(table_first(&t, 3 + 16 * (uint64_t)i), i == gone ? NULL : &of[i].link);
        table_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(equal_hashes_are_kept_apart),
        cmocka_unit_test(without_memory_nothing_is_added),
        cmocka_unit_test(the_hash_depends_on_everything),
        cmocka_unit_test(the_hash_is_siphash),
        cmocka_unit_test(it_grows_when_it_is_full),
        cmocka_unit_test(any_of_a_chain_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
