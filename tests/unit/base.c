/* base/: strings, buffers, arenas, errors. */
#include "unit.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/hex.h"
#include "base/log.h"

#include <stdio.h>
#include <unistd.h>

static void strings(void **state)
{
    str s = S("a/b//c");
    assert_str(str_cut(&s, '/'), "a");
    assert_str(str_cut(&s, '/'), "b");
    assert_str(str_cut(&s, '/'), "");
    assert_str(str_cut(&s, '/'), "c");
    assert_null(s.p);
    assert_true(str_cmp(S("ab"), S("abc")) < 0);
    assert_true(str_cmp(S("b"), S("abc")) > 0);
    assert_true(str_eq_nocase(S("Content-LENGTH"), S("content-length")));
    assert_false(str_eq_nocase(S("a@"), S("a`")));
    assert_true(str_starts(S("abc"), S("")));
    assert_true(str_ends(S("abc"), S("bc")));
    assert_false(str_ends(S("c"), S("bc")));
    assert_int_equal(str_rfind(S("a.b.c"), '.'), 3);
    assert_str(str_trim(S("\t x y\r\n")), "x y");
}

static void hexadecimal(void **state)
{
    char out[32];
    size_t n;
    assert_int_equal(hex_digit('9'), 9);
    assert_int_equal(hex_digit('f'), 15);
    assert_int_equal(hex_digit('A'), 10);
    assert_int_equal(hex_digit('g'), -1);
    assert_int_equal(hex_digit('\0'), -1);
    hex_write((bytes){(const uint8_t *)"\x00\x7f\xf0", 3}, out);
    assert_string_equal(out, "007ff0");
    assert_true(percent_decode(S("a%2Fb%3a+"), out, &n));
    assert_str(((str){out, n}), "a/b:+");
    assert_true(percent_decode(S(""), out, &n));
    assert_int_equal(n, 0);
    assert_false(percent_decode(S("%%41%4"), out, &n));
    assert_str(((str){out, n}), "%A%4");
    assert_false(percent_decode(S("%g1%1g"), out, &n));
    assert_str(((str){out, n}), "%g1%1g");
}

static void numbers(void **state)
{
    uint64_t v = 7;
    assert_true(str_to_u64(S("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    assert_false(str_to_u64(S("18446744073709551616"), UINT64_MAX, &v));
    assert_false(str_to_u64(S("11"), 10, &v));
    assert_false(str_to_u64(S(""), 10, &v));
    assert_false(str_to_u64(S("-1"), 10, &v));
    assert_false(str_to_u64(S("1 "), 10, &v));
}

static void utf8(void **state)
{
    assert_true(str_is_utf8(S("a\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80")));
    assert_false(str_is_utf8(S("\xc0\x80")));         /* overlong */
    assert_false(str_is_utf8(S("\xed\xa0\x80")));     /* surrogate */
    assert_false(str_is_utf8(S("\xf4\x90\x80\x80"))); /* past U+10FFFF */
    assert_false(str_is_utf8(S("\xe2\x82")));         /* cut */
}

static void buffers(void **state)
{
    buf b;
    buf_init(&b, 100);
    assert_true(buf_printf(&b, "%d-%s", 42, "x"));
    assert_str(buf_str(&b), "42-x");
    char big[97] = {0};
    assert_false(buf_put(&b, big, sizeof big));
    assert_true(b.failed);
    assert_int_equal(b.n, 4);
    assert_true(buf_put(&b, big, 96));
    buf_drop(&b, 3);
    assert_int_equal(b.n, 97);
    assert_int_equal(b.p[0], 'x');
    buf_fini(&b);
}

static void arenas(void **state)
{
    arena a;
    arena_init(&a, 64 * 1024);
    int *v = arena_array(&a, 2, sizeof *v);
    v[0] = 1;
    v[1] = 2;
    v = arena_grow(&a, v, 2, 4000, sizeof *v);
    assert_non_null(v);
    assert_int_equal(v[0] + v[1], 3);
    assert_null(arena_alloc(&a, 64 * 1024));
    assert_null(arena_array(&a, SIZE_MAX / 2, 4));
    assert_str(arena_printf(&a, "%s!", "hi"), "hi!");
    arena_reset(&a);
    assert_true(a.used_bytes <= 64 * 1024);
    alloc_fail_after(1);
    assert_null(arena_alloc(&a, 1));
    assert_non_null(arena_alloc(&a, 1));
    alloc_fail_after(0);
    arena_fini(&a);
}

static void errors(void **state)
{
    err e;
    assert_false(err_set(&e, ERR_LIMIT, "too %s", "many"));
    assert_false(err_wrap(&e, "spin.toml:%d", 3));
    assert_string_equal(e.text, "spin.toml:3: too many");
    assert_int_equal(e.code, ERR_LIMIT);
    assert_false(err_set(NULL, ERR_LIMIT, "x"));
}

static void log_lines(void **state)
{
    int fd[2];
    char got[9000] = {0};
    assert_int_equal(pipe(fd), 0);
    log_init(fd[1], LOG_JSON, "test");
    log_line(LOG_INFO, "request");
    log_str("path", S("/a\"\x1b[31m\n"));
    log_u64("status", 200);
    log_us("cpu_us", 12340);
    log_end();
    log_flush();
    assert_true(read(fd[0], got, sizeof got - 1) > 0);
    assert_non_null(
        strstr(got, "\"path\":\"/a\\\"\\u001b[31m\\n\",\"status\":200,\"cpu_us\":12.3}\n"));
    log_init(fd[1], LOG_TEXT, "test");
    log_line(LOG_INFO, "values");
    log_str("plain", S("/a-b"));
    log_str("none", S(""));
    log_str("blank", S("a b"));
    log_str("equals", S("a=b"));
    log_str("del", S("a\x7f"));
    log_str("wide", S("\xc3\xa4\xff"));
    log_str("quote", S("a\"\\"));
    log_end();
    log_flush();
    memset(got, 0, sizeof got);
    assert_true(read(fd[0], got, sizeof got - 1) > 0);
    assert_non_null(strstr(got, " info values plain=/a-b none=\"\" blank=\"a b\" equals=\"a=b\" "
                                "del=a\\u007f wide=\xc3\xa4\xff quote=\"a\\\"\\\\\"\n"));
    log_init(STDERR_FILENO, LOG_TEXT, "test");
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings), cmocka_unit_test(hexadecimal), cmocka_unit_test(numbers),
        cmocka_unit_test(utf8),    cmocka_unit_test(buffers),     cmocka_unit_test(arenas),
        cmocka_unit_test(errors),  cmocka_unit_test(log_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
