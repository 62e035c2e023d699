/* What exchange.c checks and counts for every protocol, over a protocol that only notes what it is
 * asked for. */
#include "unit.h"

#include "http/exchange_impl.h"

#include <stdio.h>
#include <string.h>

static char asked[4000]; /* one word for each call of the protocol */
static size_t room;
static bool start_fails;

static void note(const char *fmt, ...)
{
    size_t n = strlen(asked);
    va_list a;
    va_start(a, fmt);
    vsnprintf(asked + n, sizeof asked - n, fmt, a);
    va_end(a);
}

static void note_fields(const http_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(fields[i].name, S("date")))
            note(" date");
        else
            note(" %.*s=%.*s", STR(fields[i].name), STR(fields[i].value));
    note(";");
}

static size_t on_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    *ret_state = BODY_OPEN;
    return n - 1;
}
static size_t on_readable(const http_exchange *x, body_state *ret_state)
{
    *ret_state = BODY_END;
    return 77;
}
static bool on_start(http_exchange *x, const http_field *fields, size_t count, err *e)
{
    note("start %u %lld%s", x->status, (long long)x->length, x->bodiless ? " bodiless" : "");
    note_fields(fields, count);
    return !start_fails || err_set(e, ERR_LIMIT, "no");
}
static size_t on_room(const http_exchange *x) { return room; }
static void on_write(http_exchange *x, const void *p, size_t n)
{
    note("write %.*s;", (int)n, (const char *)p);
}
static void on_end(http_exchange *x, const http_field *trailers, size_t count)
{
    note("end");
    note_fields(trailers, count);
}
static void on_abort(http_exchange *x, unsigned status, const http_field *fields, size_t count)
{
    note("abort %u", status);
    note_fields(fields, count);
}
static void on_free(http_exchange *x) { note("free;"); }

static const exchange_ops ops = {on_read,  on_readable, on_start, on_room,
                                 on_write, on_end,      on_abort, on_free};

static http_exchange made(const char *method)
{
    asked[0] = 0;
    room = 100;
    start_fails = false;
    return (http_exchange){.ops = &ops, .request.method = str_from(method)};
}

#define assert_asked(text)                                                                         \
    do {                                                                                           \
        assert_string_equal(asked, text);                                                          \
        asked[0] = 0;                                                                              \
    } while (0)

static void statuses(void **state)
{
    static const struct {
        unsigned status;
        const char *method, *asked; /* NULL: refused */
    } rows[] = {
        {0, "GET", NULL},
        {100, "GET", NULL},
        {199, "GET", NULL},
        {200, "GET", "start 200 9 date;"},
        {999, "GET", "start 999 9 date;"},
        {1000, "GET", NULL},
        {204, "GET", "start 204 9 bodiless date;"},
        {304, "GET", "start 304 9 bodiless date;"},
        {200, "HEAD", "start 200 9 bodiless date;"},
        {200, "HEADS", "start 200 9 date;"},
        {203, "head", "start 203 9 date;"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err e;
        http_exchange x = made(rows[i].method);
        assert_int_equal(exchange_start(&x, rows[i].status, NULL, 0, 9, &e), rows[i].asked != NULL);
        assert_int_equal(exchange_started(&x), rows[i].asked != NULL);
        if (rows[i].asked)
            assert_asked(rows[i].asked);
        else
            assert_int_equal(e.code, ERR_INVALID);
    }
}

static void starts(void **state)
{
    err e;
    http_exchange x = made("GET");
    const http_field fields[] = {{S("Connection"), S("a")},     {S("x"), S("1")},
                                 {S("Content-Length"), S("7")}, {S("content-length"), S("7")},
                                 {S("upgrade"), S("b")},        {S("y"), S("2")}};
    assert_true(exchange_start(&x, 200, fields, 6, 3, &e)); /* the field wins */
    assert_asked("start 200 7 x=1 y=2 date;");
    assert_false(exchange_start(&x, 200, NULL, 0, 3, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    x = made("GET");
    x.gone = true;
    assert_false(exchange_start(&x, 200, NULL, 0, 3, &e));
    assert_int_equal(e.code, ERR_CLOSED);
    x = made("GET");
    start_fails = true;
    assert_false(exchange_start(&x, 200, NULL, 0, -1, &e));
    assert_false(exchange_started(&x));
    assert_asked("start 200 -1 date;");
    x = made("GET");
    const http_field dated[] = {{S("DATE"), S("x")}, {S("dates"), S("y")}};
    assert_true(exchange_start(&x, 200, dated, 2, 0, &e));
    assert_asked("start 200 0 DATE=x dates=y;");
    x = made("GET");
    assert_true(exchange_start(&x, 200, dated + 1, 1, 0, &e));
    assert_asked("start 200 0 dates=y date;");
}

static void bad_lengths(void **state)
{
    static const char *const bad[] = {"", "x", "-1", "9223372036854775808", "1 "};
    err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        http_exchange x = made("GET");
        const http_field f = {S("content-length"), str_from(bad[i])};
        assert_false(exchange_start(&x, 200, &f, 1, 3, &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
    http_exchange x = made("GET");
    http_field two[] = {{S("content-length"), S("9223372036854775807")},
                        {S("content-length"), S("6")}};
    assert_true(exchange_start(&x, 200, two, 1, 3, &e));
    assert_asked("start 200 9223372036854775807 date;");
    x = made("GET");
    assert_false(exchange_start(&x, 200, two, 2, 3, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(
        e.text, "the response's content-length '6' is no number or differs from another one");
}

static void many_fields(void **state)
{
    err e;
    static http_field fields[1024];
    http_exchange x = made("GET");
    for (size_t i = 0; i < 1024; i++)
        fields[i] = (http_field){S("x"), S("")};
    assert_true(exchange_start(&x, 200, fields, 1023, 3, &e));
    x = made("GET");
    exchange_varies(&x);
    assert_true(exchange_start(&x, 200, fields, 1023, 3, &e));
    x = made("GET");
    assert_false(exchange_start(&x, 200, fields, 1024, 3, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "1024 response fields; the limit is 1023");
}

/* Whoever answers, and whatever the answer varies by besides. */
static void varying(void **state)
{
    err e;
    http_field own = {S("vary"), S("accept")};
    http_exchange x = made("GET");
    exchange_varies(&x);
    assert_true(exchange_start(&x, 200, &own, 1, 3, &e));
    assert_asked("start 200 3 vary=accept date vary=prefer;");
    x = made("GET");
    exchange_varies(&x);
    exchange_abort(&x, 503, NULL, 0);
    assert_asked("start 503 0 date vary=prefer;end;");
}

static void writes(void **state)
{
    err e;
    bool overrun = true;
    http_exchange x = made("GET");
    assert_int_equal(exchange_room(&x), 0); /* not started */
    assert_int_equal(exchange_write(&x, "a", 1, &overrun), 0);
    assert_false(overrun);
    assert_true(exchange_start(&x, 200, NULL, 0, 10, &e));
    assert_asked("start 200 10 date;");
    assert_int_equal(exchange_room(&x), 100);
    assert_int_equal(exchange_write(&x, "", 0, &overrun), 0);
    room = 3;
    assert_int_equal(exchange_write(&x, "abcdef", 6, &overrun), 3);
    room = 0;
    assert_int_equal(exchange_write(&x, "def", 3, &overrun), 0);
    room = 100;
    size_t written = 3;
    assert_true(exchange_write_on(&x, "abcdef", 6, &written));
    assert_int_equal(written, 6);
    assert_int_equal(exchange_bytes_out(&x), 6);
    assert_int_equal(exchange_write(&x, "ghijkl", 6, &overrun), 4);
    assert_false(overrun);
    assert_int_equal(exchange_write(&x, "", 0, &overrun), 0);
    assert_false(overrun);
    assert_int_equal(exchange_write(&x, "k", 1, &overrun), 0);
    assert_true(overrun);
    written = 0;
    assert_false(exchange_write_on(&x, "kl", 2, &written));
    assert_int_equal(written, 0);
    assert_int_equal(exchange_bytes_out(&x), 10);
    assert_asked("write abc;write def;write ghij;");
    x.gone = true;
    assert_int_equal(exchange_room(&x), 0);
    /* Without a body it is counted and dropped. */
    x = made("HEAD");
    assert_true(exchange_start(&x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_write(&x, "abc", 3, &overrun), 3);
    assert_int_equal(exchange_bytes_out(&x), 3);
    assert_asked("start 200 -1 bodiless date;");
}

static void ends(void **state)
{
    err e;
    const http_field good = {S("x"), S("1")}, bad = {S("x y"), S("1")};
    http_exchange x = made("GET");
    exchange_end(&x, &good, 1);
    assert_asked("abort 500;");
    assert_true(exchange_start(&x, 200, NULL, 0, -1, &e));
    asked[0] = 0;
    exchange_end(&x, &good, 1);
    assert_asked("end x=1;");
    exchange_end(&x, &bad, 1);
    assert_asked("end;");
    exchange_abort(&x, 503, &good, 1);
    assert_asked("abort 503 x=1;");
    x = made("GET");
    exchange_abort(&x, 503, &good, 1);
    assert_asked("start 503 0 x=1 date;end;");
    x = made("GET");
    exchange_abort(&x, 503, &bad, 1); /* the protocol finds another way */
    assert_asked("abort 503 x y=1;");
    x = made("GET");
    x.gone = x.started = true;
    exchange_end(&x, &good, 1);
    exchange_abort(&x, 503, &good, 1);
    exchange_free(&x);
    assert_asked("free;free;free;");
}

static void on_nothing(void *user) {}

static void what_is_told(void **state)
{
    body_state s;
    size_t count;
    char got[10];
    const http_field trailer = {S("x"), S("1")};
    const exchange_callbacks callbacks = {on_nothing, NULL, NULL};
    http_exchange x = made("GET");
    x.bytes_in = 11;
    x.trailers = &trailer;
    x.trailers_count = 1;
    assert_ptr_equal(exchange_request(&x), &x.request);
    assert_ptr_equal(exchange_trailers(&x, &count), &trailer);
    assert_int_equal(count, 1);
    assert_int_equal(exchange_bytes_in(&x), 11);
    assert_int_equal(exchange_read(&x, got, 10, &s), 9);
    assert_int_equal(s, BODY_OPEN);
    assert_int_equal(exchange_readable(&x, &s), 77);
    assert_int_equal(s, BODY_END);
    exchange_bind(&x, &callbacks, got);
    assert_ptr_equal(x.callbacks.on_readable, on_nothing);
    assert_ptr_equal(x.user, got);
    exchange_bind(&x, NULL, NULL);
    assert_null(x.callbacks.on_readable);
    assert_null(x.user);
}

static void words(void **state)
{
    assert_str(status_reason(200), "OK");
    assert_str(status_reason(404), "Not Found");
    assert_str(status_reason(507), "Insufficient Storage");
    assert_str(status_reason(508), "");
    assert_str(status_reason(0), "");
    assert_str(date_text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_str(date_text(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_str(date_text(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_str(date_text(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_str(date_text(1767225599), "Wed, 31 Dec 2025 23:59:59 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses),     cmocka_unit_test(starts), cmocka_unit_test(bad_lengths),
        cmocka_unit_test(many_fields),  cmocka_unit_test(writes), cmocka_unit_test(ends),
        cmocka_unit_test(what_is_told), cmocka_unit_test(words),  cmocka_unit_test(varying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
