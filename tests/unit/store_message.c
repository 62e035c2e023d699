/* Messages between workers and the store process at their edges: byte by byte what is written, and
 * every way in which a length may lie; secrets at rest in every way in which they don't open. */
#include "unit.h"

#include "base/limits.h"
#include "store/message.h"
#include "store/seal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static buf out;
static arena a;
static err e;

static int begin(void **state)
{
    buf_init(&out, 4096);
    arena_init(&a, 1 << 20);
    return 0;
}

static int end(void **state)
{
    buf_fini(&out);
    arena_fini(&a);
    return 0;
}

/* A head as it lies in memory. */
static void head_put(uint8_t *at, uint64_t id, uint16_t kind, uint16_t store, uint32_t count,
                     uint64_t items_bytes)
{
    memcpy(at, &id, 8);
    memcpy(at + 8, &kind, 2);
    memcpy(at + 10, &store, 2);
    memcpy(at + 12, &count, 4);
    memcpy(at + 16, &items_bytes, 8);
}

static void written_bytes(void **state)
{
    static const uint8_t items[] = {2,   0,   0, 0, 'k', 'y', 3,   0,   0,   0,  'v',
                                    'a', 'l', 0, 0, 0,   0,   255, 255, 255, 255};
    uint8_t want[STORE_HEAD_BYTES];
    bytes value = {(const uint8_t *)"val", 3};
    store_message_begin(&out, 7, KV_SET, 9);
    store_message_item(&out, S("ky"), &value);
    store_message_item(&out, S(""), NULL);
    store_message_end(&out);
    head_put(want, 7, KV_SET, 9, 2, sizeof items);
    assert_int_equal(out.n, STORE_HEAD_BYTES + sizeof items);
    assert_memory_equal(out.p, want, STORE_HEAD_BYTES);
    assert_memory_equal(out.p + STORE_HEAD_BYTES, items, sizeof items);
    store_message_set_id(&out, 8);
    head_put(want, 8, KV_SET, 9, 2, sizeof items);
    assert_memory_equal(out.p, want, STORE_HEAD_BYTES);
    store_message m;
    store_item i;
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_true(m.id == 8 && m.kind == KV_SET && m.store == 9 && m.count == 2 &&
                m.items_bytes == sizeof items && m.items.n == sizeof items);
    assert_true(store_message_next(&m, &i) && i.has_value);
    assert_str(i.key, "ky");
    assert_int_equal(i.value.n, 3);
    assert_memory_equal(i.value.p, "val", 3);
    assert_true(store_message_next(&m, &i) && !i.has_value && !i.key.n && !i.value.n);
    assert_false(store_message_next(&m, &i));
    assert_true(m.count == 0 && m.items.n == 0);
}

/* What does not fit sets the buffer's mark, and is not counted. */
static void too_much(void **state)
{
    bytes value = {(const uint8_t *)"val", 3}, huge = {value.p, UINT32_MAX};
    uint32_t count;
    store_message_item(&out, S("k"), &value); /* no message was begun */
    assert_true(out.failed && out.n == 0);
    for (int k = 0; k < 2; k++) { /* lengths that a head cannot say */
        buf_clear(&out);
        store_message_begin(&out, 7, KV_SET, 9);
        store_message_item(&out, (str){"k", k ? 1 : UINT32_MAX}, k ? &huge : NULL);
        assert_true(out.failed && out.n == STORE_HEAD_BYTES);
    }
    buf small;
    buf_init(&small, STORE_HEAD_BYTES + 12);
    store_message_begin(&small, 7, KV_SET, 9);
    store_message_item(&small, S("k"), &value); /* just fits */
    assert_false(small.failed);
    store_message_item(&small, S(""), NULL);
    memcpy(&count, small.p + 12, 4);
    assert_true(small.failed && count == 1);
    buf_fini(&small);
}

static void heads(void **state)
{
    static const struct {
        uint16_t kind;
        size_t n, items_bytes;
        bool in_file, good;
        const char *why;
    } at[] = {
        {KV_GET, 24, 0, false, true, NULL},
        {STORE_REQUESTS_END - 1, 24, 0, false, true, NULL},
        {STORE_OK, 24, 0, false, true, NULL},
        {STORE_ANSWERS_END - 1, 30, 6, false, true, NULL},
        {KV_GET, 24, 6, true, true, NULL},
        {KV_GET, 24, STORE_MESSAGE_BYTES_MAX, true, true, NULL},
        {KV_GET, 23, 0, false, false, "a store message of 23 bytes has no head"},
        {0, 24, 0, false, false, "a store message of unknown kind 0"},
        {STORE_REQUESTS_END, 24, 0, false, false, "a store message of unknown kind "},
        {STORE_OK - 1, 24, 0, false, false, "a store message of unknown kind 99"},
        {STORE_ANSWERS_END, 24, 0, false, false, "a store message of unknown kind "},
        {KV_GET, 30, 5, false, false, "a store message says that its items have 5 bytes"},
        {KV_GET, 30, 7, false, false, "a store message says that its items have 7 bytes"},
        {KV_GET, 30, 6, true, false, "a store message says that its items have 6 bytes"},
        {KV_GET, 24, STORE_MESSAGE_BYTES_MAX + 1, true, false, "a store message says that "},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint8_t bytes_[32] = {0};
        store_message m = {.id = 77};
        head_put(bytes_, 5, at[i].kind, 3, 4, at[i].items_bytes);
        bool good = store_message_read((bytes){bytes_, at[i].n}, at[i].in_file, &m, &e);
        assert_int_equal(good, at[i].good);
        if (good) {
            assert_true(m.id == 5 && m.kind == at[i].kind && m.store == 3 && m.count == 4 &&
                        m.items_bytes == at[i].items_bytes);
            assert_int_equal(m.items.n, at[i].in_file ? 0 : at[i].n - 24);
            assert_ptr_equal(m.items.p, at[i].in_file ? NULL : bytes_ + 24);
            continue;
        }
        assert_int_equal(m.id, 77);
        assert_int_equal(e.code, ERR_INVALID);
        assert_memory_equal(e.text, at[i].why, strlen(at[i].why));
    }
}

/* An item whose lengths say more than there is ends the reading, with items left over. */
static void items_that_lie(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t n;
        bool good;
    } at[] = {
        {{1, 0, 0, 0, 'k', 1, 0, 0, 0, 'v'}, 10, true},
        {{1, 0, 0, 0, 'k', 2, 0, 0, 0, 'v'}, 10, false},
        {{1, 0, 0, 0, 'k', 1, 0, 0, 0, 'v'}, 9, false},
        {{1, 0, 0, 0, 'k', 0, 0, 0, 0}, 9, true},
        {{1, 0, 0, 0, 'k', 0, 0, 0, 0}, 8, false},
        {{1, 0, 0, 0, 'k', 0, 0, 0, 0}, 4, false},
        {{1, 0, 0, 0}, 3, false},
        {{6, 0, 0, 0, 'k', 0, 0, 0, 0}, 9, false},
        {{0, 0, 0, 0, 255, 255, 255, 255}, 8, true},
        {{0, 0, 0, 0, 254, 255, 255, 255}, 8, false},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        store_message m = {.count = 1, .items = {at[i].bytes, at[i].n}};
        store_item item;
        assert_int_equal(store_message_next(&m, &item), at[i].good);
        assert_int_equal(m.count, !at[i].good);
        m = (store_message){.count = 0, .items = {at[i].bytes, at[i].n}};
        assert_false(store_message_next(&m, &item)); /* none was announced */
    }
}

static void messages_of_a_turn(void **state)
{
    uint8_t two[24 + 3 + 24];
    head_put(two, 1, KV_GET, 0, 0, 3);
    memset(two + 24, 'x', 3);
    head_put(two + 27, 2, KV_GET, 0, 0, 0);
    bytes rest = {two, sizeof two}, one;
    assert_true(store_message_take(&rest, &one));
    assert_true(one.p == two && one.n == 27 && rest.p == two + 27 && rest.n == 24);
    assert_true(store_message_take(&rest, &one));
    assert_true(one.p == two + 27 && one.n == 24 && rest.n == 0);
    assert_false(store_message_take(&rest, &one));
    rest = (bytes){two, 26}; /* one byte short of its items */
    assert_false(store_message_take(&rest, &one));
    assert_int_equal(rest.n, 26);
    rest = (bytes){two, 23};
    assert_false(store_message_take(&rest, &one));
    head_put(two, 1, KV_GET, 0, 0, UINT64_MAX);
    rest = (bytes){two, sizeof two};
    assert_false(store_message_take(&rest, &one));
}

static void items_in_a_file(void **state)
{
    static uint8_t many[300000];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = (uint8_t)(i * 7);
    int fd = -1;
    assert_true(store_items_write((bytes){many, sizeof many}, &fd, &e));
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, sizeof many);
    uint8_t *got = arena_alloc(&a, sizeof many);
    assert_int_equal(pread(fd, got, sizeof many, 0), sizeof many);
    assert_memory_equal(got, many, sizeof many);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

/* ---- secrets at rest ---- */

static void sealed_values(void **state)
{
    static const seal_key key = {{1, 2, 3}};
    static const char text[] = "a secret";
    for (size_t n = 0; n <= 8; n += 8) {
        buf twice;
        str back = S("untouched");
        buf_clear(&out);
        buf_put_str(&out, S("before"));
        assert_true(seal_put(&key, S("here"), (bytes){(const uint8_t *)text, n}, &out, &e));
        assert_int_equal(out.n, 6 + n + SEAL_OVERHEAD); /* it is appended */
        assert_memory_equal(out.p, "before", 6);
        bytes sealed = {out.p + 6, out.n - 6};
        assert_int_equal(sealed.p[0], 1);
        assert_true(seal_open(&key, S("here"), sealed, &a, &back, &e));
        assert_int_equal(back.n, n);
        assert_memory_equal(back.p, text, n);
        assert_int_equal(back.p[n], 0);
        buf_init(&twice, 100); /* never the same bytes twice */
        assert_true(seal_put(&key, S("here"), (bytes){(const uint8_t *)text, n}, &twice, &e));
        assert_memory_not_equal(twice.p, sealed.p, sealed.n);
        buf_fini(&twice);
        /* Another place, another key, each byte damaged, each length but its own. */
        back = S("untouched");
        assert_false(seal_open(&key, S("her"), sealed, &a, &back, &e));
        assert_int_equal(e.code, ERR_DENIED);
        assert_string_equal(e.text, "a sealed value does not open: it is damaged, or the key file "
                                    "is another");
        seal_key other = key;
        other.bytes[31] = 1;
        assert_false(seal_open(&other, S("here"), sealed, &a, &back, &e));
        for (size_t i = 0; i < sealed.n; i++) {
            out.p[6 + i] ^= 1;
            assert_false(seal_open(&key, S("here"), sealed, &a, &back, &e));
            assert_int_equal(e.code, ERR_DENIED);
            out.p[6 + i] ^= 1;
        }
        for (size_t i = 0; i < sealed.n; i++) {
            assert_false(seal_open(&key, S("here"), (bytes){sealed.p, i}, &a, &back, &e));
            assert_int_equal(e.code, ERR_DENIED);
            if (i < SEAL_OVERHEAD)
                assert_string_equal(e.text, "a sealed value is damaged");
        }
        assert_str(back, "untouched");
    }
    buf_clear(&out);
    alloc_fail_after(1);
    buf none;
    buf_init(&none, 100);
    assert_false(seal_put(&key, S("here"), (bytes){(const uint8_t *)text, 8}, &none, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    alloc_fail_after(0);
    buf_fini(&none);
}

static void key_files(void **state)
{
    char folder[] = "/tmp/ebb-seal-XXXXXX", path[64], longer[5000];
    seal_key made, again = {{0}}, never = {{7}};
    struct stat st;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/key", folder);
    assert_true(seal_key_load(path, &made, &e));
    assert_int_equal(stat(path, &st), 0);
    assert_true((st.st_mode & 0777) == 0400 && st.st_size == SEAL_KEY_BYTES);
    assert_true(seal_key_load(path, &again, &e));
    assert_memory_equal(&made, &again, sizeof made);
    static const seal_key zero;
    assert_memory_not_equal(&made, &zero, sizeof made);
    static const mode_t open_to[] = {0440, 0410, 0404, 0401};
    for (size_t i = 0; i < 4; i++) {
        chmod(path, open_to[i]);
        assert_false(seal_key_load(path, &never, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_non_null(strstr(e.text, "may be read by others: chmod 0400 it"));
    }
    static const int sizes[] = {0, 31, 33};
    for (size_t i = 0; i < 3; i++) {
        chmod(path, 0600);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (int k = 0; k < sizes[i]; k++)
            fputc('k', f);
        fclose(f);
        assert_false(seal_key_load(path, &never, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_non_null(strstr(e.text, "is no key file: it must hold 32 bytes"));
    }
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/no/key", folder);
    assert_false(seal_key_load(path, &never, &e));
    assert_non_null(strstr(e.text, "cannot make the key file"));
    memset(longer, '/', sizeof longer); /* a name that cannot be, in any folder */
    memcpy(longer, folder, strlen(folder));
    memset(longer + strlen(folder) + 1, 'x', 300);
    longer[strlen(folder) + 301] = 0;
    assert_false(seal_key_load(longer, &never, &e));
    assert_non_null(strstr(e.text, "the key file "));
    assert_int_equal(never.bytes[0], 7);
    assert_int_equal(rmdir(folder), 0); /* nothing half made is left */
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {
        T(written_bytes),      T(too_much),        T(heads),         T(items_that_lie),
        T(messages_of_a_turn), T(items_in_a_file), T(sealed_values), T(key_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
