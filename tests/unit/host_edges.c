/* The host at its edges: a guest's memory and queues, arguments that are no case of their type,
 * header fields at their limit, and what a guest that has done something is known by. */
#include "host_kit.h"

#include "base/limits.h"

#define T "wasi:http/types"

/* --- memory ----------------------------------------------------------------------------------- */

static void blocks_are_used_again(void **state)
{
    static const size_t sizes[] = {1, 32, 33, 64, 65, 4096, 4097, POOL_CLASS_BYTES_MAX};
    pool p;
    pool_init(&p, 1 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *a = pool_take(&p, sizes[i]), *b = pool_take(&p, sizes[i]);
        assert_non_null(a);
        assert_true(b && a != b);
        memset(a, 1, sizes[i]);
        memset(b, 2, sizes[i]);
        assert_true(a[0] == 1 && a[sizes[i] - 1] == 1);
        pool_give(&p, a, sizes[i]);
        pool_give(&p, b, sizes[i]);
        size_t used = p.blocks.used_bytes;
        assert_ptr_equal(pool_take(&p, sizes[i]), b);
        assert_ptr_equal(pool_take(&p, sizes[i]), a);
        assert_int_equal(p.blocks.used_bytes, used);
        assert_int_equal(p.large_bytes, 0);
    }
    pool_give(&p, NULL, 32);
    pool_reset(&p);
    assert_non_null(pool_take(&p, 32));
    pool_fini(&p);
}

static void large_blocks(void **state)
{
    enum { LARGE = POOL_CLASS_BYTES_MAX + 1, MAX = 5 * LARGE };
    pool p;
    uint8_t *at[5];
    size_t n = 0;
    pool_init(&p, MAX);
    while ((at[n] = pool_take(&p, LARGE)))
        memset(at[n++], 1, LARGE);
    assert_int_equal(n, 4); /* each has a head */
    assert_true(p.large_bytes > 4 * LARGE && p.large_bytes <= MAX);
    assert_null(pool_take(&p, SIZE_MAX));
    assert_null(pool_take(&p, SIZE_MAX / 2));
    pool_give(&p, at[1], LARGE); /* from the middle, the newest, the oldest */
    pool_give(&p, at[3], LARGE);
    pool_give(&p, at[0], LARGE);
    at[0] = pool_take(&p, LARGE);
    assert_non_null(at[0]);
    memset(at[0], 1, LARGE);
    pool_give(&p, at[0], LARGE);
    pool_give(&p, at[2], LARGE);
    assert_int_equal(p.large_bytes, 0);
    assert_null(p.large);
    alloc_fail_after(1);
    assert_null(pool_take(&p, LARGE));
    alloc_fail_after(0);
    assert_int_equal(p.large_bytes, 0);
    for (n = 0; pool_take(&p, POOL_CLASS_BYTES_MAX); n++)
        ; /* small ones and large ones share the maximum */
    assert_in_range(n, 3, 5);
    assert_null(pool_take(&p, LARGE * 2));
    pool_reset(&p);
    at[0] = pool_take(&p, LARGE);
    assert_non_null(at[0]);
    p.closing = true;
    pool_give(&p, at[0], LARGE); /* goes with all others */
    assert_true(p.large_bytes > 0);
    pool_fini(&p);
}

static uint8_t pattern(size_t at) { return (uint8_t)(at * 7 >> 3); }

/* Whatever is appended and taken, in order, without growing where it need not. */
static void queues(void **state)
{
    static uint8_t some[3000];
    pool p;
    queue q = {0};
    size_t put = 0, taken = 0;
    pool_init(&p, 1 << 20);
    for (int round = 0; round < 200; round++) {
        size_t n = (size_t)(round * 37 % 1000), out = (size_t)(round * 53 % 1100);
        for (size_t i = 0; i < n; i++)
            some[i] = pattern(put + i);
        assert_true(queue_put(&p, &q, some, n));
        put += n;
        assert_int_equal(queue_bytes(&q), put - taken);
        out = out < queue_bytes(&q) ? out : queue_bytes(&q);
        for (size_t i = 0; i < out; i++)
            assert_int_equal(queue_front(&q)[i], pattern(taken + i));
        queue_drop(&p, &q, out);
        taken += out;
        assert_true(q.cap <= 16384);
    }
    queue_drop(&p, &q, queue_bytes(&q));
    assert_true(queue_bytes(&q) == 0 && !q.at && q.cap == 0); /* its memory is given back */
    assert_true(queue_put(&p, &q, NULL, 700));                /* zeroes */
    for (size_t i = 0; i < 700; i++)
        assert_int_equal(queue_front(&q)[i], 0);
    assert_false(queue_put(&p, &q, NULL, 2 << 20));
    assert_int_equal(queue_bytes(&q), 700);
    queue_clear(&p, &q);
    assert_true(queue_bytes(&q) == 0 && !q.at);
    pool_fini(&p);
}

/* --- arguments -------------------------------------------------------------------------------- */

static uint32_t new_fields(void)
{
    hk_call(T, "[constructor]fields", 0);
    return hk_slots[0].u32;
}

static uint32_t request(void)
{
    hk_call(T, "[constructor]outgoing-request", new_fields());
    return hk_slots[0].u32;
}

static uint32_t options(void)
{
    hk_call(T, "[constructor]request-options", 0);
    return hk_slots[0].u32;
}

static uint32_t body_of(uint32_t q)
{
    hk_call(T, "[method]outgoing-request.body", q, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

static uint32_t socket_of(const char *interface, const char *name)
{
    hk_call(interface, name, 0, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

/* One more than the last case of a variant, enum or option ends the guest. */
static void cases_that_are_none(void **state)
{
    static const char bad[] = "unexpected discriminant";
    uint32_t q;
    hk_open();
    q = request();
    hk_call(T, "[method]outgoing-request.set-method", q, 8, 0, 0);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, "[method]outgoing-request.set-method", q, 9, 2000, hk_put(2000, "ANY"));
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, "[method]outgoing-request.method", q, 1000);
    assert_int_equal(hk_u8(1000), 9);
    hk_assert_str(1004, "ANY");
    hk_trap(bad, T, "[method]outgoing-request.set-method", q, 10, 2000, 1);
    hk_trap(bad, T, "[method]outgoing-request.set-scheme", request(), 2, 0, 0, 0);
    hk_trap(bad, T, "[method]outgoing-request.set-scheme", request(), 1, 3, 2000, 1);
    hk_trap(bad, T, "[method]outgoing-request.set-authority", request(), 2, 2000, 1);
    hk_trap(bad, T, "[method]outgoing-request.set-path-with-query", request(), 2, 2000, 1);
    hk_trap(bad, T, "[method]request-options.set-connect-timeout", options(), 2, 5);
    hk_trap(bad, T, "[static]outgoing-body.finish", body_of(request()), 2, new_fields(), 1000);
    hk_trap(bad, "wasi:http/outgoing-handler", "handle", request(), 2, options(), 1000);
    hk_trap(bad, "wasi:sockets/tcp-create-socket", "create-tcp-socket", 2, 1000);
    hk_trap(bad, "wasi:sockets/udp-create-socket", "create-udp-socket", 2, 1000);
    hk_trap(bad, "wasi:sockets/tcp", "[method]tcp-socket.shutdown",
            socket_of("wasi:sockets/tcp-create-socket", "create-tcp-socket"), 3, 1000);
    hk_trap(bad, "wasi:cli/exit", "exit", 2);
    hk_close();
}

/* What a timeout was set to comes back, and no more: the largest there is means the one before. */
static void timeouts(void **state)
{
    static const struct {
        uint32_t some;
        uint64_t ns, got;
    } at[] = {
        {1, 0, 0}, {1, UINT64_MAX - 1, UINT64_MAX - 1}, {1, UINT64_MAX, UINT64_MAX - 1}, {0, 7, 0}};
    hk_open();
    uint32_t o = options();
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        hk_call(T, "[method]request-options.set-connect-timeout", o, at[i].some, at[i].ns);
        memset(hk_memory() + 1000, 0xee, 16);
        hk_call(T, "[method]request-options.connect-timeout", o, 1000);
        assert_int_equal(hk_u8(1000), at[i].some);
        assert_true(!at[i].some || hk_u64(1008) == at[i].got);
        hk_call(T, "[method]request-options.first-byte-timeout", o, 1000);
        assert_int_equal(hk_u8(1000), 0);
    }
    hk_close();
}

static void schemes_and_paths(void **state)
{
    static char longest[HTTP_URI_BYTES_MAX + 2];
    static const struct {
        const char *text;
        bool scheme, path;
    } at[] = {
        {"a", true, false},
        {"z+9.-", true, false},
        {"AZ", true, false},
        {"", false, true},
        {"1a", false, false},
        {"+a", false, false},
        {"a_b", false, false},
        {"a/b", false, false},
        {"a:", false, false},
        {"a`", false, false},
        {"a{", false, false},
        {"@a", false, false},
        {"a[", false, false},
        {"/", false, true},
        {"?x", false, true},
        {"*", false, true},
        {"**", false, false},
        {"/a b", false, false},
        {"/\x1f", false, false},
        {"/\x7f", false, false},
        {"/!~", false, true},
        {"/#", false, false},
        {"/<", false, false},
        {"/\\", false, false},
        {"/^", false, false},
        {"/`", false, false},
        {"/|", false, false},
        {"/\xc3\xa4", false, true},
        {"a23456789012345678901234567890123456789012345678901234567890abcd", true, false},
        {"a23456789012345678901234567890123456789012345678901234567890abcde", false, false},
    };
    hk_open();
    uint32_t q = request();
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint32_t n = hk_put(2000, at[i].text);
        hk_call(T, "[method]outgoing-request.set-scheme", q, 1, 2, 2000, n);
        if ((hk_slots[0].u32 == 0) != at[i].scheme)
            fail_msg("scheme '%s'", at[i].text);
        hk_call(T, "[method]outgoing-request.set-path-with-query", q, 1, 2000, n);
        if ((hk_slots[0].u32 == 0) != at[i].path)
            fail_msg("path '%s'", at[i].text);
    }
    memset(longest, '/', sizeof longest - 1);
    hk_put(100000, longest);
    for (uint32_t more = 0; more < 2; more++) {
        hk_call(T, "[method]outgoing-request.set-path-with-query", q, 1, 100000,
                (uint32_t)HTTP_URI_BYTES_MAX + more);
        assert_int_equal(hk_slots[0].u32, more);
    }
    hk_call(T, "[method]outgoing-request.set-path-with-query", q, 0, 0, 0);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, "[method]outgoing-request.path-with-query", q, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_close();
}

/* --- header fields ---------------------------------------------------------------------------- */

static uint32_t append(uint32_t f, const char *name, uint32_t at, uint32_t n)
{
    uint32_t k = hk_put(2000, name);
    hk_call(T, "[method]fields.append", f, 2000, k, at, n, 1000);
    return hk_u8(1000);
}

static uint32_t entries_of(uint32_t f)
{
    hk_call(T, "[method]fields.entries", f, 1000);
    return hk_u32(1004);
}

/* Names and values together: to the byte, and room again for what was removed. */
static void fields_to_the_byte(void **state)
{
    enum { VALUE = 40000, LEFT = HOST_FIELDS_BYTES_MAX - 3 * (VALUE + 1) };
    hk_open();
    memset(hk_memory() + 100000, 'x', VALUE);
    for (int removed = 0; removed < 2; removed++) {
        uint32_t f = new_fields();
        for (int i = 0; i < 3; i++)
            assert_int_equal(append(f, i ? "a" : "b", 100000, VALUE), 0);
        if (removed) {
            hk_call(T, "[method]fields.delete", f, 2000, hk_put(2000, "b"), 1000);
            assert_int_equal(hk_u8(1000), 0);
            assert_int_equal(append(f, "b", 100000, VALUE), 0);
        }
        assert_int_equal(append(f, "c", 100000, LEFT - 1), 0);
        assert_int_equal(entries_of(f), 4);
        uint32_t n = hk_put(2000, "d");
        hk_trap("fields take more than", T, "[method]fields.append", f, 2000, n, 2000, 0, 1000);
        memset(hk_memory() + 100000, 'x', VALUE);
    }
    hk_close();
}

/* Each field is there once, in its place, in the copy too; what is dropped is given back. */
static void copies_of_fields(void **state)
{
    char name[8];
    hk_open();
    for (uint32_t n = 0; n < 20; n++) {
        uint32_t f = new_fields();
        for (uint32_t i = 0; i < n; i++) {
            snprintf(name, sizeof name, "f-%u", i);
            assert_int_equal(append(f, name, 2000, 3), 0);
        }
        hk_call(T, "[method]fields.clone", f);
        uint32_t copy = hk_slots[0].u32;
        assert_int_equal(entries_of(copy), n);
        for (uint32_t i = 0; i < n; i++) {
            snprintf(name, sizeof name, "f-%u", i);
            hk_assert_str(hk_u32(1000) + 16 * i, name);
            hk_assert_str(hk_u32(1000) + 16 * i + 8, i < 10 ? name : "f-1");
        }
        hk_call(T, "fields", f);
        assert_int_equal(entries_of(copy), n);
        hk_call(T, "fields", copy);
    }
    size_t used = hk.g->pool.blocks.used_bytes;
    memset(hk_memory() + 100000, 'x', 30000);
    for (int i = 0; i < 50; i++) {
        uint32_t f = new_fields();
        for (int k = 0; k < 3; k++)
            assert_int_equal(append(f, "a", 100000, 30000), 0);
        hk_call(T, "[method]fields.delete", f, 2000, 1, 1000);
        assert_int_equal(append(f, "a", 100000, 30000), 0);
        hk_call(T, "fields", f);
    }
    assert_true(hk.g->pool.blocks.used_bytes < used + 1000000);
    hk_close();
}

/* --- what a guest has done -------------------------------------------------------------------- */

static void a_guest_that_is_new(void **state)
{
    hk_open();
    assert_true(guest_is_new(hk.g) && guest_is_new_but_handles(hk.g));
#define NOT_NEW(field, value)                                                                      \
    do {                                                                                           \
        hk.g->field = value;                                                                       \
        if (guest_is_new_but_handles(hk.g))                                                        \
            fail_msg("%s", #field);                                                                \
        hk.g->field = 0;                                                                           \
        assert_true(guest_is_new_but_handles(hk.g));                                               \
    } while (0)
    NOT_NEW(waiting, true);
    NOT_NEW(in_realloc, true);
    NOT_NEW(progress, 1);
    NOT_NEW(moved, 1);
    NOT_NEW(kv_open, 1);
    NOT_NEW(sql_open, 1);
    NOT_NEW(lookups_count, 1);
    NOT_NEW(entry.context[0], 1);
    NOT_NEW(entry.context[1], 1);
    NOT_NEW(entry.backpressure, 1);
    NOT_NEW(output[0].partial.n, 1);
    NOT_NEW(output[1].partial.n, 1);
    hk.g->wake_at = 5;
    assert_false(guest_is_new_but_handles(hk.g));
    hk.g->wake_at = UINT64_MAX;
    hk.g->files = 1;
    assert_false(guest_is_new(hk.g));
    hk.g->files = 0;
    assert_true(guest_is_new(hk.g));
    uint32_t f = new_fields();
    assert_false(guest_is_new(hk.g));
    assert_true(guest_is_new_but_handles(hk.g));
    hk_call(T, "fields", f);
    assert_false(guest_is_new(hk.g)); /* the next handle would have another number */
    hk_close();
}

/* Each part of an answer is written, whatever lay in its place. */
static void answers_are_whole(void **state)
{
    hk_open();
    memset(hk_memory() + 1000, 0xee, 32);
    hk_call("wasi:clocks/timezone", "display", 0, 0, 1000);
    assert_int_equal(hk_u32(1000), 0);
    hk_assert_str(1004, "UTC");
    assert_int_equal(hk_u8(1012), 0);
    assert_int_equal(hk_u8(1013), 0xee);
    memset(hk_memory() + 1000, 0xee, 32);
    hk_call("wasi:cli/environment", "initial-cwd", 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call("wasi:cli/environment", "get-arguments", 1000);
    assert_int_equal(hk_u32(1004), 0);
    hk_call("wasi:cli/environment", "get-environment", 1000);
    assert_int_equal(hk_u32(1004), 0);
    hk_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_used_again),
        cmocka_unit_test(large_blocks),
        cmocka_unit_test(queues),
        cmocka_unit_test(cases_that_are_none),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(schemes_and_paths),
        cmocka_unit_test(fields_to_the_byte),
        cmocka_unit_test(copies_of_fields),
        cmocka_unit_test(a_guest_that_is_new),
        cmocka_unit_test(answers_are_whole),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
