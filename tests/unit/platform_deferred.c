/* platform/deferred, calls_message, defer_show: what is kept of a call is read back as it was, and
 * nothing that is damaged is. */
#include "unit.h"

#include "base/limits.h"
#include "platform/calls_message.h"
#include "platform/calls_owner.h"
#include "platform/defer_show.h"

#include <jansson.h>
#include <math.h>

static const http_field fields[] = {{{"content-type", 12}, {"text/plain", 10}},
                                    {{"x-empty", 7}, {"", 0}}};

static void request(void **state)
{
    _cleanup_(buf_fini) buf out;
    arena a;
    deferred_request got, d = {.component = S("k"),
                               .method = S("POST"),
                               .target = S("/a?b"),
                               .authority = S("x:1"),
                               .scheme = S("http"),
                               .peer = S("127.0.0.1:9"),
                               .fields = fields,
                               .fields_count = 2,
                               .body = {(const uint8_t *)"a\0b", 3}};
    buf_init(&out, MIB);
    arena_init(&a, MIB);
    assert_true(deferred_request_write(&d, &out));
    assert_true(deferred_request_read(&a, buf_bytes(&out), &got));
    assert_true(str_eq(got.target, d.target) && str_eq(got.peer, d.peer));
    assert_true(got.fields_count == 2 && str_eq(got.fields[0].value, S("text/plain")));
    assert_true(got.fields[1].value.n == 0 && got.body.n == 3 && !memcmp(got.body.p, "a\0b", 3));
    for (size_t n = 0; n < out.n; n++)
        if (deferred_request_read(&a, (bytes){out.p, n}, &got))
            fail_msg("read from %zu of %zu bytes", n, out.n);
    buf_put_u8(&out, 0);
    assert_false(deferred_request_read(&a, buf_bytes(&out), &got));
    for (size_t i = 0; i < out.n; i++) { /* any length may be a lie */
        out.p[i] ^= 0xff;
        deferred_request_read(&a, buf_bytes(&out), &got);
        out.p[i] ^= 0xff;
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void result(void **state)
{
    _cleanup_(buf_fini) buf out;
    arena a;
    deferred_result got, d = {.status = 207,
                              .body_cut = true,
                              .fields = fields,
                              .fields_count = 2,
                              .body = {(const uint8_t *)"body", 4},
                              .log = S("oout\neerr\n")};
    buf_init(&out, MIB);
    arena_init(&a, MIB);
    assert_true(deferred_result_write(&d, &out));
    assert_true(deferred_result_read(&a, buf_bytes(&out), &got));
    assert_true(got.status == 207 && got.body_cut && !got.log_cut && str_eq(got.log, d.log));
    for (size_t n = 0; n < out.n; n++)
        assert_false(deferred_result_read(&a, (bytes){out.p, n}, &got));
    arena_fini(&a);
}

/* The longest body that a manifest allows fits with the longest head, and with a log. */
static void the_longest(void **state)
{
    enum { FIELDS = 1023, LOG = 64 * 1024 };
    static char text[APP_DEFER_BODY_BYTES_MAX];
    static http_field many[FIELDS];
    bytes body = {(const uint8_t *)text, sizeof text};
    buf out;
    for (size_t i = 0; i < FIELDS; i++)
        many[i].name = S("x");
    many[0].value = (str){text, HTTP_HEAD_BYTES_MAX - HTTP_HEADERS_MAX};
    deferred_request q = {.fields = many, .fields_count = HTTP_HEADERS_MAX, .body = body};
    buf_init(&out, QUEUE_REQUEST_BYTES_MAX);
    assert_true(deferred_request_write(&q, &out));
    buf_fini(&out);
    many[0].value.n = HOST_FIELDS_BYTES_MAX - FIELDS;
    deferred_result r = {.fields = many, .fields_count = FIELDS, .body = body, .log = {text, LOG}};
    buf_init(&out, QUEUE_RESULT_BYTES_MAX);
    assert_true(deferred_result_write(&r, &out));
    buf_fini(&out);
}

static void about(void **state)
{
    _cleanup_(buf_fini) buf out;
    deferred_about got,
        d = {.component = S("k"), .method = S("POST"), .path = S("/a"), .schedule = S("@daily")};
    buf_init(&out, MIB);
    assert_true(deferred_about_write(&d, &out));
    assert_true(deferred_about_read(buf_bytes(&out), &got));
    assert_true(str_eq(got.schedule, d.schedule) && !got.hook.n);
    size_t without = out.n;
    buf_clear(&out);
    d.hook = S("https://example.com/");
    assert_true(deferred_about_write(&d, &out));
    assert_true(deferred_about_read(buf_bytes(&out), &got));
    assert_true(str_eq(got.path, d.path) && str_eq(got.hook, d.hook));
    for (size_t n = 0; n < out.n; n++)
        assert_true(deferred_about_read((bytes){out.p, n}, &got) == (n == without));
    buf_clear(&out);
    d.hook = (str){0};
    d.app = S("acme/later");
    assert_true(deferred_about_write(&d, &out));
    assert_true(deferred_about_read(buf_bytes(&out), &got));
    assert_true(str_eq(got.app, d.app) && !got.hook.n && str_eq(got.schedule, d.schedule));
}

static void messages(void **state)
{
    calls_message got, m = {.kind = CALLS_RUN, .count = 7};
    m.run.deadline_max_ms = 99;
    bytes b = calls_message_bytes(&m);
    assert_true(calls_message_read(b, &got) && got.count == 7 && got.run.deadline_max_ms == 99);
    assert_false(calls_message_read((bytes){b.p, b.n - 1}, &got));
    assert_false(calls_message_read((bytes){b.p, 0}, &got));
    m.kind = CALLS_PLAN;
    b = calls_message_bytes(&m);
    assert_true(calls_message_read(b, &got) && b.n > sizeof m.run);
    m.kind = CALLS_KINDS_END;
    assert_false(calls_message_read((bytes){(const uint8_t *)&m, b.n}, &got));
}

static json_t *shown(const queue_call *c, const pace_view *v, const calls_price *p, int64_t now_s)
{
    _cleanup_(buf_fini) buf out;
    json_error_t e;
    buf_init(&out, MIB);
    defer_show(&out, c, v, p, true, now_s);
    json_t *j = json_loadb((const char *)out.p, out.n, 0, &e);
    if (!j)
        fail_msg("%s in %.*s", e.text, STR(buf_str(&out)));
    return j;
}

static const char *text(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

/* What the JSON says of a call that waits, and of one that has run. */
static void show(void **state)
{
    pace_view v = {.slot_s = 3600, .first = 500000, .slots = PACE_SLOTS, .sourced = 1};
    const int64_t now = v.first * 3600 + 10;
    queue_call c = {.info = {.state = QUEUE_WAITING,
                             .terms = {.deadline_ms = (now + 3000) * 1000,
                                       .cpu_ns = 1000000,
                                       .attempts_max = 3,
                                       .criticality = 2},
                             .accepted_ms = now * 1000}};
    for (int i = 0; i < PACE_SLOTS; i++) {
        v.intensity[i] = i ? 50 : 400;
        v.room[i] = 1000;
    }
    v.due[0] = 0.001;
    v.run[0] = 0.001;
    json_t *j = shown(&c, &v, NULL, now);
    assert_string_equal(text(j, "state"), "waiting");
    assert_string_equal(text(j, "planned_start"), "2027-01-15T08:00:10Z");
    assert_string_equal(text(j, "why"), "its deadline leaves no later time");
    assert_string_equal(text(j, "criticality"), "high");
    assert_true(json_is_false(json_object_get(j, "late")));
    json_decref(j);
    v.run[0] = 0;
    v.run[1] = 0.001;
    c.info.terms.deadline_ms = (now + 4 * 3600) * 1000;
    v.due[0] = 0;
    v.due[2] = 0.001;
    j = shown(&c, &v, NULL, now);
    assert_string_equal(text(j, "planned_start"), "2027-01-15T09:00:00Z");
    assert_non_null(strstr(text(j, "why"), "50 g/kWh are forecast then, 400 now"));
    json_decref(j);
    /* Carbon only if both hours are known. */
    c.info.state = QUEUE_DONE;
    c.info.ended_ms = (now + 5) * 1000;
    c.info.use.energy_nj = 3600000000000; /* a thousandth of a kWh */
    calls_price p = {.energy_j = 3600, .accepted_g_per_kwh = 400, .ran_g_per_kwh = NAN};
    j = shown(&c, &v, &p, now + 9);
    assert_true(json_is_null(json_object_get(j, "carbon")));
    json_decref(j);
    p.ran_g_per_kwh = 50;
    j = shown(&c, &v, &p, now + 9);
    const json_t *carbon = json_object_get(j, "carbon");
    assert_true(json_number_value(json_object_get(carbon, "g")) == 0.05);
    assert_true(json_number_value(json_object_get(carbon, "saved_g")) == 0.35);
    json_decref(j);
}

/* How each state is shown, and what came of the call. */
static void show_all_of_it(void **state)
{
    static const struct {
        queue_state state;
        bool ended;
    } rows[] = {{QUEUE_WAITING, false},
                {QUEUE_DONE, true},
                {QUEUE_FAILED, true},
                {QUEUE_DEAD, true},
                {QUEUE_CANCELLED, true}};
    calls_price p = {.energy_j = 3600, .accepted_g_per_kwh = 400, .ran_g_per_kwh = 50};
    pace_view v = {.slot_s = 3600, .first = 500000, .slots = PACE_SLOTS};
    const int64_t now = v.first * 3600 + 10;
    queue_call c = {.info = {.terms = {.deadline_ms = (now + 100) * 1000,
                                       .attempts_max = 3,
                                       .criticality = 0,
                                       .revision = 5},
                             .accepted_ms = now * 1000,
                             .next_ms = (now + 50) * 1000},
                    .note = S("a note")};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        c.info.state = rows[i].state;
        c.info.ended_ms = rows[i].ended ? (now + 101) * 1000 : 0;
        json_t *j = shown(&c, &v, &p, now);
        assert_string_equal(text(j, "state"), queue_state_name(rows[i].state));
        assert_true(!!json_object_get(j, "kept_until") == rows[i].ended);
        assert_true(json_is_object(json_object_get(j, "carbon")) == rows[i].ended);
        assert_true(!!json_object_get(j, "planned_start") == !rows[i].ended);
        assert_true(json_is_true(json_object_get(j, "late")) == rows[i].ended);
        assert_string_equal(text(j, "note"), "a note");
        assert_string_equal(text(j, "criticality"), "low");
        assert_int_equal(json_integer_value(json_object_get(j, "revision")), 5);
        assert_true(json_is_null(json_object_get(j, "result")));
        json_decref(j);
    }
    /* Waiting again, not before its next attempt; and of nodes that share the queue. */
    c.info.state = QUEUE_WAITING;
    c.info.ended_ms = 0;
    c.info.attempts = 1;
    c.info.terms.revision = CALLS_OWNER_SHARED_MIN;
    c.note = (str){0};
    json_t *j = shown(&c, &v, NULL, now);
    assert_string_equal(text(j, "planned_start"), "2027-01-15T08:01:00Z");
    assert_string_equal(text(j, "why"), "its last attempt did not work; this is the next one");
    assert_int_equal(json_integer_value(json_object_get(j, "attempts")), 1);
    assert_true(json_is_null(json_object_get(j, "revision")) && !json_object_get(j, "note"));
    json_decref(j);
    c.info.excused = 1; /* that attempt does not count */
    j = shown(&c, &v, NULL, now);
    assert_string_equal(text(j, "why"), "its deadline leaves no later time");
    assert_int_equal(json_integer_value(json_object_get(j, "attempts")), 0);
    json_decref(j);
    j = shown(&c, NULL, NULL, now);
    assert_string_equal(text(j, "why"), "nothing is planned yet");
    assert_true(json_is_null(json_object_get(j, "planned_start")));
    json_decref(j);
}

/* Results as text, or in base 64; lines of the log by their stream. */
static void show_a_result(void **state)
{
    _cleanup_(buf_fini) buf out, about_of;
    deferred_about about = {
        .component = S("k"), .method = S("PUT"), .path = S("/a"), .hook = S("https://h/")};
    http_field odd[] = {{S("x-odd"), S("\xff")}, {S("x-even"), S("e")}};
    deferred_result d = {.status = 207,
                         .fields = odd,
                         .fields_count = 2,
                         .body_cut = true,
                         .log_cut = true,
                         .body = {(const uint8_t *)"text", 4},
                         .log = S("oone\n\netwo\no\xff\n")};
    queue_call c = {
        .info = {.state = QUEUE_DONE, .terms = {.trigger = DEFERRED_HTTP | QUEUE_TELLS}},
        .has_result = true};
    buf_init(&out, MIB);
    buf_init(&about_of, MIB);
    assert_true(deferred_about_write(&about, &about_of));
    c.about = buf_bytes(&about_of);
    assert_true(deferred_result_write(&d, &out));
    c.result = buf_bytes(&out);
    json_t *j = shown(&c, NULL, NULL, 10), *r = json_object_get(j, "result");
    assert_int_equal(json_integer_value(json_object_get(r, "status")), 207);
    assert_string_equal(text(r, "body"), "text");
    assert_true(json_is_true(json_object_get(r, "body_cut")));
    assert_true(json_is_true(json_object_get(j, "log_cut")));
    json_t *fields_of = json_object_get(r, "headers");
    assert_int_equal(json_array_size(fields_of), 2);
    assert_true(json_is_null(json_array_get(json_array_get(fields_of, 0), 1)));
    assert_string_equal(json_string_value(json_array_get(json_array_get(fields_of, 1), 1)), "e");
    json_t *log = json_object_get(j, "log");
    assert_int_equal(json_array_size(log), 3);
    assert_string_equal(text(json_array_get(log, 0), "stream"), "stdout");
    assert_string_equal(text(json_array_get(log, 0), "text"), "one");
    assert_string_equal(text(json_array_get(log, 1), "stream"), "stderr");
    assert_string_equal(text(json_array_get(log, 2), "text"), "(no UTF-8)");
    assert_string_equal(text(j, "trigger"), "http");
    assert_string_equal(text(j, "method"), "PUT");
    assert_string_equal(text(j, "path"), "/a");
    assert_string_equal(text(j, "hook"), "https://h/");
    json_decref(j);
    d.body = (bytes){(const uint8_t *)"\xff\0", 2};
    d.body_cut = d.log_cut = false;
    buf_clear(&out);
    assert_true(deferred_result_write(&d, &out));
    c.result = buf_bytes(&out);
    c.info.terms.trigger = DEFERRED_HOOK;
    c.info.ended_ms = 1; /* after its deadline, as any of a hook: that is not late */
    j = shown(&c, NULL, NULL, 10);
    assert_true(json_is_false(json_object_get(j, "late")));
    r = json_object_get(j, "result");
    assert_string_equal(text(r, "body_base64"), "/wA=");
    assert_true(json_is_false(json_object_get(r, "body_cut")) && !json_object_get(r, "body"));
    assert_true(json_is_false(json_object_get(j, "log_cut")));
    assert_string_equal(text(j, "trigger"), "hook");
    assert_string_equal(text(j, "method"), "POST");
    assert_string_equal(text(j, "path"), "https://h/");
    json_decref(j);
    c.info.terms.trigger = DEFERRED_CRON;
    j = shown(&c, NULL, NULL, 10);
    assert_string_equal(text(j, "trigger"), "cron");
    assert_true(json_is_true(json_object_get(j, "late")));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request),       cmocka_unit_test(result),
        cmocka_unit_test(about),         cmocka_unit_test(messages),
        cmocka_unit_test(show),          cmocka_unit_test(show_all_of_it),
        cmocka_unit_test(show_a_result), cmocka_unit_test(the_longest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
