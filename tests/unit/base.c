/* base/: strings, digits, numbers, UTF-8, errors. */
#include "unit.h"

#include "base/err.h"
#include "base/hex.h"
#include "base/must.h"
#include "base/str.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* At the end of its memory, so that a sanitizer sees a byte too far. */
static str exactly(const char *z)
{
    size_t n = strlen(z);
    return (str){memcpy(malloc(n ? n : 1), z, n), n};
}

static int sign(int v) { return (v > 0) - (v < 0); }

static void comparing(void **state)
{
    static const struct {
        const char *a, *b;
        int order;
        bool nocase, starts, ends; /* a and b, a with b */
    } cases[] = {
        {"", "", 0, true, true, true},
        {"a", "", 1, false, true, true},
        {"", "a", -1, false, false, false},
        {"ab", "abc", -1, false, false, false},
        {"abc", "ab", 1, false, true, false},
        {"abc", "bc", -1, false, false, true},
        {"abc", "abc", 0, true, true, true},
        {"b", "abc", 1, false, false, false},
        {"abd", "abc", 1, false, false, false},
        {"c", "bc", 1, false, false, false},
        {"\x80", "a", 1, false, false, false},
        {"Content-LENGTH", "content-length", -1, true, false, false},
        {"AZ", "az", -1, true, false, false},
        {"a@", "a`", -1, false, false, false}, /* beside 'A' and 'a' */
        {"a[", "a{", -1, false, false, false}, /* beside 'Z' and 'z' */
        {"a1", "aQ", -1, false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str a = exactly(cases[i].a), b = exactly(cases[i].b);
        assert_int_equal(sign(str_cmp(a, b)), cases[i].order);
        assert_int_equal(sign(str_cmp(b, a)), -cases[i].order);
        assert_int_equal(str_eq(a, b), cases[i].order == 0);
        assert_int_equal(str_eq_nocase(a, b), cases[i].nocase);
        assert_int_equal(str_eq_nocase(b, a), cases[i].nocase);
        assert_int_equal(str_starts(a, b), cases[i].starts);
        assert_int_equal(str_ends(a, b), cases[i].ends);
        free((char *)a.p);
        free((char *)b.p);
    }
    assert_int_equal(str_cmp((str){0}, S("")), 0);
    assert_int_equal(str_from(NULL).n, 0);
}

static void parts(void **state)
{
    str s = S("a/b//c");
    assert_str(str_cut(&s, '/'), "a");
    assert_str(str_cut(&s, '/'), "b");
    assert_str(str_cut(&s, '/'), "");
    assert_str(str_cut(&s, '/'), "c");
    assert_null(s.p);
    assert_int_equal(s.n, 0);
    assert_str(str_cut(&s, '/'), "");
    s = S("a/");
    assert_str(str_cut(&s, '/'), "a");
    assert_non_null(s.p); /* there was one */
    assert_int_equal(s.n, 0);
    assert_int_equal(str_find(S("a.b.c"), '.'), 1);
    assert_int_equal(str_find(S("a.b.c"), 'c'), 4);
    assert_int_equal(str_find(S("a.b.c"), 'd'), 5);
    assert_int_equal(str_find((str){0}, 'd'), 0);
    assert_int_equal(str_rfind(S("a.b.c"), '.'), 3);
    assert_int_equal(str_rfind(S("a.b.c"), 'a'), 0);
    assert_int_equal(str_rfind(S("a.b.c"), 'd'), 5);
    assert_int_equal(str_rfind((str){0}, 'd'), 0);
    assert_str(str_skip(S("abc"), 0), "abc");
    assert_str(str_skip(S("abc"), 2), "c");
    assert_str(str_skip(S("abc"), 3), "");
    assert_str(str_skip(S("abc"), 4), "");
    assert_str(str_head(S("abc"), 2), "ab");
    assert_str(str_head(S("abc"), 3), "abc");
    assert_str(str_head(S("abc"), 4), "abc");
    static const char *const trims[][2] = {
        {"\t x y\r\n", "x y"}, {"x", "x"},   {" \n\r\t", ""},    {"", ""},
        {" x", "x"},           {"x\t", "x"}, {"\vx\f", "\vx\f"}, {"\nx\r", "x"}};
    for (size_t i = 0; i < sizeof trims / sizeof *trims; i++) {
        str t = exactly(trims[i][0]), x = str_trim(t);
        assert_int_equal(x.n, strlen(trims[i][1]));
        assert_memory_equal(x.p, trims[i][1], x.n);
        free((char *)t.p);
    }
}

static void hexadecimal(void **state)
{
    static const char digits[] = "0123456789abcdef", capitals[] = "ABCDEF";
    char out[32];
    size_t n;
    for (int c = -128; c < 128; c++) {
        const char *small = c ? strchr(digits, c) : NULL, *large = c ? strchr(capitals, c) : NULL;
        assert_int_equal(hex_digit((char)c), small   ? small - digits
                                             : large ? large - capitals + 10
                                                     : -1);
    }
    hex_write((bytes){(const uint8_t *)"\x00\x7f\xf0", 3}, out);
    assert_string_equal(out, "007ff0");
    hex_write((bytes){(const uint8_t *)"\x8a", 1}, out);
    assert_string_equal(out, "8a");
    hex_write((bytes){0}, out);
    assert_string_equal(out, "");
    static const struct {
        const char *text, *plain;
        bool ok;
    } cases[] = {
        {"a%2Fb%3a+", "a/b:+", true}, {"", "", true},
        {"%41", "A", true},           {"%4142", "A42", true},
        {"x%ff", "x\xff", true},      {"%%41%4", "%A%4", false},
        {"%g1%1g", "%g1%1g", false},  {"%41%", "A%", false},
        {"%4", "%4", false},          {"%", "%", false},
        {"%4g%41", "%4gA", false},    {"%25%32", "%2", true},
        {"%20%0d", " \r", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str s = exactly(cases[i].text);
        char *to = malloc(s.n ? s.n : 1);
        assert_int_equal(percent_decode(s, to, &n), cases[i].ok);
        assert_int_equal(n, strlen(cases[i].plain));
        assert_memory_equal(to, cases[i].plain, n);
        free(to);
        free((char *)s.p);
    }
}

static void numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t max, value;
        bool ok;
    } cases[] = {
        {"0", 0, 0, true},
        {"1", 0, 0, false},
        {"007", 10, 7, true},
        {"10", 10, 10, true},
        {"11", 10, 0, false},
        {"1234567890", UINT64_MAX, 1234567890, true},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, true},
        {"18446744073709551616", UINT64_MAX, 0, false},
        {"18446744073709551620", UINT64_MAX, 0, false},
        {"99999999999999999999", UINT64_MAX, 0, false},
        {"184467440737095516150", UINT64_MAX, 0, false},
        {"", 10, 0, false},
        {"-1", 10, 0, false},
        {"+1", 10, 0, false},
        {"1 ", 10, 0, false},
        {"/", 99, 0, false},
        {":", 99, 0, false},
        {"1x", 99, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t v = 77;
        str s = exactly(cases[i].text);
        assert_int_equal(str_to_u64(s, cases[i].max, &v), cases[i].ok);
        assert_true(v == (cases[i].ok ? cases[i].value : 77));
        free((char *)s.p);
    }
}

/* Each line of table 3-7 at its ends, and one beyond them; each cut short. */
static void utf8(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"", true},
        {"\x01\x7f", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xc2\x80", true},
        {"\xc2\x7f", false},
        {"\xc2\xc0", false},
        {"\xdf\xbf", true},
        {"\xe0\x9f\xbf", false},
        {"\xe0\xa0\x80", true},
        {"\xe0\xbf\xbf", true},
        {"\xe1\x80\x80", true},
        {"\xe1\x80\x7f", false},
        {"\xe1\x80\xc0", false},
        {"\xec\xbf\xbf", true},
        {"\xed\x80\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xed\xa0\x80", false},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf0\x90\x80\x80", true},
        {"\xf0\xbf\xbf\xbf", true},
        {"\xf3\x80\x80\x80", true},
        {"\xf4\x80\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xf1\x80\x80\x7f", false},
        {"\xf1\x80\x80\xc0", false},
        {"\xe2\x82", false},
        {"\xc2", false},
        {"\xf0\x9f\x98", false},
        {"\xe0\xa0\x80\xe1\x80\x80", true}, /* the second begins anew */
        {"a\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80z", true},
        {"a\xc2\x80z\x80", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str s = exactly(cases[i].text);
        if (str_is_utf8(s) != cases[i].ok)
            fail_msg("case %zu", i);
        free((char *)s.p);
    }
}

/* --- errors --- */

static void errors(void **state)
{
    err e;
    assert_false(err_set(&e, ERR_LIMIT, "too %s", "many"));
    assert_string_equal(e.text, "too many");
    assert_int_equal(e.code, ERR_LIMIT);
    assert_false(err_wrap(&e, "spin.toml:%d", 3));
    assert_string_equal(e.text, "spin.toml:3: too many");
    assert_int_equal(e.code, ERR_LIMIT);
    assert_false(err_no_memory(&e));
    assert_string_equal(e.text, "out of memory");
    assert_int_equal(e.code, ERR_NO_MEMORY);
    assert_false(err_set(NULL, ERR_LIMIT, "x"));
    assert_false(err_set_errno(NULL, "x"));
    assert_false(err_wrap(NULL, "x"));
    assert_false(err_no_memory(NULL));
    static const struct {
        int number;
        err_code code;
    } cases[] = {{ENOMEM, ERR_NO_MEMORY}, {ENOENT, ERR_NOT_FOUND}, {EACCES, ERR_IO}, {0, ERR_IO}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        errno = cases[i].number;
        assert_false(err_set_errno(&e, "cannot open %s", "it"));
        snprintf(text, sizeof text, "cannot open it: %s", strerror(cases[i].number));
        assert_string_equal(e.text, text);
        assert_int_equal(e.code, cases[i].code);
    }
}

/* The end goes, never the beginning, and never a byte behind. */
static void long_errors_are_cut(void **state)
{
    static char filler[ERR_TEXT_MAX + 1];
    struct {
        err e;
        char behind[8];
    } at = {.behind = "intact"};
    for (size_t n = ERR_TEXT_MAX - 4; n <= ERR_TEXT_MAX; n++) {
        memset(filler, 'x', n);
        filler[n] = 0;
        size_t kept = n < ERR_TEXT_MAX ? n : ERR_TEXT_MAX - 1;
        err_set(&at.e, ERR_IO, "%s", filler);
        assert_int_equal(strlen(at.e.text), kept);
        errno = EIO;
        err_set_errno(&at.e, "%s", filler);
        assert_int_equal(strlen(at.e.text), ERR_TEXT_MAX - 1);
        assert_memory_equal(at.e.text, filler, kept);
        assert_memory_equal(at.e.text + kept, ": I", ERR_TEXT_MAX - 1 - kept);
        err_set(&at.e, ERR_IO, "abc");
        err_wrap(&at.e, "%s", filler);
        assert_int_equal(strlen(at.e.text), ERR_TEXT_MAX - 1);
        assert_memory_equal(at.e.text + kept, ": a", ERR_TEXT_MAX - 1 - kept);
        err_set(&at.e, ERR_IO, "%s", filler);
        err_wrap(&at.e, "a");
        assert_memory_equal(at.e.text, "a: xxx", 6);
        assert_int_equal(strlen(at.e.text), ERR_TEXT_MAX - 1 < n + 3 ? ERR_TEXT_MAX - 1 : n + 3);
    }
    assert_string_equal(at.behind, "intact");
}

static void codes_have_names(void **state)
{
    static const char *const names[] = {
        "none",   "invalid", "unsupported", "not-found", "limit", "no-memory", "io",
        "denied", "timeout", "closed",      "conflict",  "trap",  "internal",  "unknown"};
    for (int code = 0; code <= ERR_INTERNAL + 1; code++)
        assert_string_equal(err_code_name((err_code)code), names[code]);
    assert_string_equal(err_code_name((err_code)-1), "unknown");
}

static void a_must_says_where_and_aborts(void **state)
{
    int fd[2], status;
    char said[600] = {0};
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        must(1 + 1 == 2);
        must_fail("a == b", "src/x.c", 42);
    }
    close(fd[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(read(fd[0], said, sizeof said - 1) > 0);
    close(fd[0]);
    assert_string_equal(said, "ebb: this is a bug in ebb: 'a == b' does not hold (src/x.c:42); "
                              "please report it\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparing),
        cmocka_unit_test(parts),
        cmocka_unit_test(hexadecimal),
        cmocka_unit_test(numbers),
        cmocka_unit_test(utf8),
        cmocka_unit_test(errors),
        cmocka_unit_test(long_errors_are_cut),
        cmocka_unit_test(codes_have_names),
        cmocka_unit_test(a_must_says_where_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
