/* Hrana, the protocol of libSQL servers: requests in its documented shape, answers read. */
#include "unit.h"

#include "base/limits.h"
#include "store/hrana.h"

#include <stdio.h>
#include <string.h>

static buf out, message;
static arena a;
static err e;

static int begin(void **state)
{
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    buf_init(&message, STORE_MESSAGE_BYTES_MAX);
    arena_init(&a, 1 * MIB);
    return 0;
}

static int end(void **state)
{
    buf_fini(&out);
    buf_fini(&message);
    arena_fini(&a);
    return 0;
}

static void parameter(char kind, const void *p, size_t n)
{
    bytes b = {p, n};
    store_message_item(&message, (str){&kind, 1}, kind == SQL_NULL ? NULL : &b);
}

static void statement(const char *sql)
{
    static const sql_ask ask;
    bytes value = {(const uint8_t *)&ask, sizeof ask};
    store_message_begin(&message, 5, SQL_EXECUTE, 2);
    store_message_item(&message, str_from(sql), &value);
}

static store_message whole(void)
{
    store_message m;
    store_message_end(&message);
    assert_true(store_message_read(buf_bytes(&message), false, &m, &e));
    return m;
}

static void test_requests(void **state)
{
    int64_t n = INT64_MIN;
    double d = 0.5;
    statement("select ?");
    parameter(SQL_INTEGER, &n, sizeof n);
    parameter(SQL_REAL, &d, sizeof d);
    parameter(SQL_TEXT, "t\"", 2);
    parameter(SQL_BLOB, "zy", 2);
    parameter(SQL_NULL, NULL, 0);
    assert_true(hrana_execute(whole(), S("b1"), &out, &e));
    assert_str(buf_str(&out),
               "{\"baton\":\"b1\",\"requests\":[{\"type\":\"execute\",\"stmt\":{\"sql\":\"select "
               "?\",\"args\":[{\"type\":\"integer\",\"value\":\"-9223372036854775808\"},{\"type\":"
               "\"float\",\"value\":0.5},{\"type\":\"text\",\"value\":\"t\\\"\"},{\"type\":\"blob\""
               ",\"base64\":\"enk=\"},{\"type\":\"null\"}],\"want_rows\":true}}]}");
    buf_clear(&out);
    assert_true(hrana_close(S("b2"), &out, &e));
    assert_str(buf_str(&out), "{\"baton\":\"b2\",\"requests\":[{\"type\":\"close\"}]}");
}

static void test_no_number_for_json(void **state)
{
    double d = 1e308 * 10;
    statement("select ?");
    parameter(SQL_REAL, &d, sizeof d);
    assert_false(hrana_execute(whole(), S(""), &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, "infinite"));
}

static bool answer(const char *text, hrana_stream *s)
{
    store_message asked = {.id = 5, .kind = SQL_EXECUTE, .store = 2};
    return hrana_answer((bytes){(const uint8_t *)text, strlen(text)}, asked, &out, &a, s, &e);
}

static void test_answers(void **state)
{
    hrana_stream s;
    store_message m;
    store_item i;
    sql_result r;
    assert_true(answer("{\"baton\":\"b1\",\"base_url\":null,\"results\":[{\"type\":\"ok\","
                       "\"response\":{\"type\":\"execute\",\"result\":{\"cols\":[{\"name\":\"a\"}],"
                       "\"rows\":[[{\"type\":\"blob\",\"base64\":\"enk\"}]],"
                       "\"affected_row_count\":3,\"last_insert_rowid\":\"9\"}}}]}",
                       &s));
    assert_str(s.baton, "b1");
    assert_int_equal(s.base_url.n, 0);
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_int_equal(m.id, 5);
    assert_int_equal(m.kind, STORE_OK);
    assert_true(store_message_next(&m, &i) && i.value.n == sizeof r);
    memcpy(&r, i.value.p, sizeof r);
    assert_int_equal(r.rows, 1);
    assert_int_equal(r.columns, 1);
    assert_int_equal(r.changes, 3);
    assert_int_equal(r.last_insert_rowid, 9);
    assert_true(store_message_next(&m, &i));
    assert_str(i.key, "a");
    assert_true(store_message_next(&m, &i));
    assert_str(i.key, "b");
    assert_int_equal(i.value.n, 2);
    assert_memory_equal(i.value.p, "zy", 2);
    assert_true(answer("{\"baton\":null,\"results\":[{\"type\":\"error\",\"error\":{\"message\":"
                       "\"no such table: t\"}}]}",
                       &s));
    assert_int_equal(s.baton.n, 0);
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_int_equal(m.kind, STORE_FAILED);
    assert_true(store_message_next(&m, &i));
    assert_str(i.key, "no such table: t");
}

static void test_damaged_answers(void **state)
{
    static const char *const texts[] = {"", "[]", "{\"results\":[]}", "{\"results\":[{}]}",
                                        "{\"results\":[{\"type\":\"ok\",\"response\":{\"result\":{"
                                        "\"cols\":[{\"name\":\"a\"}],\"rows\":[[]],"
                                        "\"affected_row_count\":0}}}]}"};
    hrana_stream s;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_false(answer(texts[i], &s));
        assert_int_equal(e.code, ERR_INVALID);
    }
}

/* Every kind of value, as servers write it and as they might; NULL: it is no value. */
static void test_values(void **state)
{
    const struct {
        const char *json;
        char kind; /* 0: refused */
        const void *bytes;
        size_t n;
    } at[] = {
        {"{\"type\":\"null\"}", 'n', NULL, 0},
        {"{\"type\":\"integer\",\"value\":\"-2\"}", 'i', &(int64_t){-2}, 8},
        {"{\"type\":\"integer\",\"value\":7}", 'i', &(int64_t){7}, 8},
        {"{\"type\":\"integer\",\"value\":\"9223372036854775807\"}", 'i', &(int64_t){INT64_MAX}, 8},
        {"{\"type\":\"float\",\"value\":0.5}", 'r', &(double){0.5}, 8},
        {"{\"type\":\"float\",\"value\":3}", 'r', &(double){3}, 8},
        {"{\"type\":\"text\",\"value\":\"a\\u0000b\"}", 't', "a\0b", 3},
        {"{\"type\":\"text\",\"value\":\"\"}", 't', "", 0},
        {"{\"type\":\"blob\",\"base64\":\"enk=\"}", 'b', "zy", 2},
        {"{\"type\":\"blob\",\"base64\":\"enk\"}", 'b', "zy", 2},
        {"{\"type\":\"blob\",\"base64\":\"eg\"}", 'b', "z", 1},
        {"{\"type\":\"blob\",\"base64\":\"enl4\"}", 'b', "zyx", 3},
        {"{\"type\":\"blob\",\"base64\":\"\"}", 'b', "", 0},
        {"{\"type\":\"blob\",\"base64\":\"enl4e\"}", 0, NULL, 0},
        {"{\"type\":\"blob\",\"base64\":\"e!\"}", 0, NULL, 0},
        {"{\"type\":\"blob\",\"base64\":7}", 0, NULL, 0},
        {"{\"type\":\"blob\"}", 0, NULL, 0},
        {"{\"type\":\"integer\",\"value\":\"\"}", 0, NULL, 0},
        {"{\"type\":\"integer\",\"value\":\"2x\"}", 0, NULL, 0},
        {"{\"type\":\"integer\",\"value\":\"2\\u0000\"}", 0, NULL, 0},
        {"{\"type\":\"integer\",\"value\":\"9223372036854775808\"}", 0, NULL, 0},
        {"{\"type\":\"integer\",\"value\":1.5}", 0, NULL, 0},
        {"{\"type\":\"integer\"}", 0, NULL, 0},
        {"{\"type\":\"float\",\"value\":\"1\"}", 0, NULL, 0},
        {"{\"type\":\"float\"}", 0, NULL, 0},
        {"{\"type\":\"text\",\"value\":1}", 0, NULL, 0},
        {"{\"type\":\"text\"}", 0, NULL, 0},
        {"{\"type\":\"date\",\"value\":\"1\"}", 0, NULL, 0},
        {"{\"type\":1}", 0, NULL, 0},
        {"{}", 0, NULL, 0},
        {"7", 0, NULL, 0},
    };
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        char text[400];
        hrana_stream s = {0};
        store_message m;
        store_item i;
        snprintf(text, sizeof text,
                 "{\"results\":[{\"type\":\"ok\",\"response\":{\"result\":{\"cols\":[{\"name\":"
                 "null}],\"rows\":[[%s]],\"affected_row_count\":0}}}]}",
                 at[k].json);
        bool good = answer(text, &s);
        if (good != (at[k].kind != 0))
            fail_msg("%s", at[k].json);
        if (!good) {
            assert_int_equal(e.code, ERR_INVALID);
            assert_string_equal(e.text, "the database's server gave an answer of another shape");
            assert_null(s.baton.p);
            continue;
        }
        assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
        assert_int_equal(m.count, 3);
        assert_int_equal(m.store, 2);
        assert_true(store_message_next(&m, &i) && i.key.n == 0 && i.value.n == sizeof(sql_result));
        assert_true(store_message_next(&m, &i) && i.key.n == 0 && !i.has_value);
        assert_true(store_message_next(&m, &i));
        assert_true(i.key.n == 1 && i.key.p[0] == at[k].kind);
        assert_int_equal(i.has_value, at[k].kind != 'n');
        assert_int_equal(i.value.n, at[k].n);
        if (at[k].n)
            assert_memory_equal(i.value.p, at[k].bytes, at[k].n);
        assert_int_equal(s.baton.n, 0);
    }
}

/* What of a result has to be there, and how. */
static void test_results(void **state)
{
#define RESULT(inside) "{\"results\":[{\"type\":\"ok\",\"response\":{\"result\":{" inside "}}}]}"
    static const struct {
        const char *json;
        bool good;
        int64_t rowid, changes;
    } at[] = {
        {RESULT("\"cols\":[],\"rows\":[],\"affected_row_count\":0"), true, 0, 0},
        {RESULT("\"cols\":[],\"rows\":[],\"affected_row_count\":\"4\",\"last_insert_rowid\":null"),
         true, 0, 4},
        {RESULT("\"cols\":[],\"rows\":[[],[]],\"affected_row_count\":4,\"last_insert_rowid\":-5"),
         true, -5, 4},
        {RESULT("\"rows\":[],\"affected_row_count\":0"), false, 0, 0},
        {RESULT("\"cols\":[],\"affected_row_count\":0"), false, 0, 0},
        {RESULT("\"cols\":[],\"rows\":[]"), false, 0, 0},
        {RESULT("\"cols\":{},\"rows\":[],\"affected_row_count\":0"), false, 0, 0},
        {RESULT("\"cols\":[],\"rows\":{},\"affected_row_count\":0"), false, 0, 0},
        {RESULT("\"cols\":[],\"rows\":[],\"affected_row_count\":\"x\""), false, 0, 0},
        {RESULT("\"cols\":[],\"rows\":[],\"affected_row_count\":0,\"last_insert_rowid\":\"x\""),
         false, 0, 0},
        {RESULT("\"cols\":[],\"rows\":[[{\"type\":\"null\"}]],\"affected_row_count\":0"), false, 0,
         0},
        {RESULT("\"cols\":[],\"rows\":[7],\"affected_row_count\":0"), true, 0, 0},
        {"{\"results\":[{\"type\":\"ok\"},{\"type\":\"ok\"}]}", false, 0, 0},
        {"{\"results\":{}}", false, 0, 0},
        {"{\"results\":[7]}", false, 0, 0},
    };
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        hrana_stream s;
        store_message m;
        store_item i;
        sql_result r;
        if (answer(at[k].json, &s) != at[k].good)
            fail_msg("%s", at[k].json);
        if (!at[k].good)
            continue;
        assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
        assert_true(store_message_next(&m, &i));
        memcpy(&r, i.value.p, sizeof r);
        assert_int_equal(r.last_insert_rowid, at[k].rowid);
        assert_int_equal(r.changes, at[k].changes);
        assert_int_equal(r.columns, 0);
        assert_int_equal(r.held, 1);
        assert_false(store_message_next(&m, &i));
        assert_int_equal(m.count, 0);
    }
}

/* Where the stream goes on; errors with and without a reason; results that are too large. */
static void test_streams_and_errors(void **state)
{
    hrana_stream s;
    store_message m;
    store_item i;
    assert_true(answer("{\"baton\":\"b\",\"base_url\":\"http://other\",\"results\":[{\"type\":"
                       "\"error\",\"error\":{}}]}",
                       &s));
    assert_str(s.baton, "b");
    assert_str(s.base_url, "http://other");
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_true(m.kind == STORE_FAILED && m.id == 5 && m.store == 2 && m.count == 1);
    assert_true(store_message_next(&m, &i) && !i.has_value);
    assert_str(i.key, "the database refused it");
    buf_fini(&out);
    buf_init(&out, 64);
    s.baton = S("untouched");
    assert_false(answer("{\"results\":[{\"type\":\"error\",\"error\":{\"message\":\"no such table, "
                        "and many more words than there is room for in so small a buffer\"}}]}",
                        &s));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "the result exceeds the limit of "));
    assert_str(s.baton, "untouched");
}

/* Without a stream to go on with the baton is null; a message that ends early is refused. */
static void test_requests_at_their_edges(void **state)
{
    statement("select 1");
    store_message m = whole();
    assert_true(hrana_execute(m, S(""), &out, &e));
    assert_str(buf_str(&out), "{\"baton\":null,\"requests\":[{\"type\":\"execute\",\"stmt\":{"
                              "\"sql\":\"select 1\",\"args\":[],\"want_rows\":true}}]}");
    m.items.n--;
    assert_false(hrana_execute(m, S(""), &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "a damaged request");
    buf_clear(&message);
    statement("select ?, ?, ?");
    parameter(SQL_REAL, "four", 4); /* no eight bytes: zero, whatever lies behind them */
    parameter(SQL_INTEGER, "", 0);
    parameter('?', "x", 1);
    buf_clear(&out);
    assert_true(hrana_execute(whole(), S(""), &out, &e));
    buf_put_u8(&out, 0);
    assert_non_null(strstr((char *)out.p, "\"args\":[{\"type\":\"float\",\"value\":0.0},{\"type\":"
                                          "\"integer\",\"value\":\"0\"},{\"type\":\"null\"}]"));
    buf small;
    buf_init(&small, 20);
    assert_false(hrana_close(S("b"), &small, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    buf_fini(&small);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {T(test_requests),
                                       T(test_no_number_for_json),
                                       T(test_answers),
                                       T(test_damaged_answers),
                                       T(test_values),
                                       T(test_results),
                                       T(test_streams_and_errors),
                                       T(test_requests_at_their_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
