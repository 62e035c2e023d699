/* Hrana, the protocol of libSQL servers: requests in its documented shape, answers read. */
#include "unit.h"

#include "base/limits.h"
#include "store/hrana.h"

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

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, begin, end)
    const struct CMUnitTest tests[] = {T(test_requests), T(test_no_number_for_json),
                                       T(test_answers), T(test_damaged_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
