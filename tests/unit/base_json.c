/* JSON in our strings and buffers: texts with any bytes, and what is said without room. */
#include "unit.h"

#include "base/arena.h"
#include "base/json.h"

#include <string.h>

static err e;

static void texts(void **state)
{
    _cleanup_json_ json_t *nul = json_of((str){"a\0b", 3}), *none = json_of((str){0}),
                          *part = json_of((str){"whole", 2});
    assert_int_equal(json_string_length(nul), 3);
    assert_memory_equal(json_string_value(nul), "a\0b", 4);
    assert_string_equal(json_string_value(none), "");
    assert_string_equal(json_string_value(part), "wh");
    assert_null(json_of((str){"\xff", 1}));
}

/* Appended whole or refused, however much room there is: a key that does not fit is no success
 * where the rest of it does. */
static void room(void **state)
{
    static const char want[] = "[{\"a key that is long\":1,\"b\":\"x\\u0000y\"}]";
    _cleanup_json_ json_t *list = json_array();
    json_t *j = json_object();
    json_object_set_new(j, "a key that is long", json_integer(1));
    json_object_set_new(j, "b", json_of((str){"x\0y", 3}));
    json_array_append_new(list, j);
    for (size_t max = 0; max <= sizeof want; max++) {
        buf out;
        buf_init(&out, 1 + max);
        assert_true(buf_put_u8(&out, '!'));
        e.code = ERR_NONE;
        assert_int_equal(json_put(list, &out, &e), max >= sizeof want - 1);
        assert_int_equal(e.code, max >= sizeof want - 1 ? ERR_NONE : ERR_NO_MEMORY);
        if (max >= sizeof want - 1) {
            assert_int_equal(out.n, sizeof want);
            assert_memory_equal(out.p + 1, want, sizeof want - 1);
        }
        buf_fini(&out);
    }
}

/* A buffer that once found no memory to grow for a key, and then found some. */
static void no_memory(void **state)
{
    _cleanup_json_ json_t *j = json_object();
    static char key[5000];
    memset(key, 'k', sizeof key - 1);
    json_object_set_new(j, "a", json_integer(1));
    json_object_set_new(j, key, json_integer(2));
    for (size_t n = 1;; n++) {
        buf out;
        buf_init(&out, 1 << 20);
        alloc_fail_after(n);
        bool ok = json_put(j, &out, &e);
        bool had_all = alloc_fail_after(0) < n;
        assert_int_equal(ok, had_all);
        buf_fini(&out);
        if (ok) {
            assert_true(n > 2);
            break;
        }
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    buf out;
    buf_init(&out, 1 << 20);
    assert_false(json_put(NULL, &out, &e)); /* there was none to build it */
    assert_int_equal(e.code, ERR_NO_MEMORY);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(room),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
