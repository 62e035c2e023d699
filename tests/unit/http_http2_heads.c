/* What heads and trailers of HTTP/2 mean: what the handler is told of them, what is refused with
 * which status and reason, and every limit at its edge. */
#include "http2_kit.h"

/* Heads are written as "name value|name value"; a name may begin with ':'. */
static void block_of(buf *block, const char *text)
{
    str rest = str_from(text);
    buf_clear(block);
    while (rest.n) {
        str field = str_cut(&rest, '|');
        size_t blank = str_find(field, ' ');
        put_field(block, str_head(field, blank), str_skip(field, blank + 1));
    }
}

static char seen[4096];

static size_t fields_told(size_t n, const http_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        n += (size_t)snprintf(seen + n, sizeof seen - n, "|%.*s %.*s", STR(fields[i].name),
                              STR(fields[i].value));
    return n;
}

/* "POST /a?b=c a.test http 5 body|name value": method, target, authority, scheme, length. */
static void tell(http_exchange *x)
{
    const http_request *r = exchange_request(x);
    int n = snprintf(seen, sizeof seen, "%.*s %.*s %.*s %.*s %lld%s", STR(r->method),
                     STR(r->target), STR(r->authority), STR(r->scheme),
                     (long long)r->content_length, r->has_body ? " body" : "");
    fields_told((size_t)n, r->fields, r->fields_count);
    assert_true(str_starts(r->peer, S("127.0.0.1:")));
    assert_true(r->begun_mono <= clock_mono() && r->begun_mono + PATIENCE > clock_mono());
    exchange_abort(x, 200, NULL, 0);
}

#define P    ":method GET|:scheme http|:path /"
#define HEAD P "|:authority a.test"

typedef struct {
    const char *head, *seen; /* NULL: refused, with: */
    unsigned status;
    const char *reason;
} row;

static const row rows[] = {
    {HEAD, "GET / a.test http -1|host a.test", 0, NULL},
    {":method POST|:scheme https|:path /a?b=c|:authority A.test:80|x-y Z|x-y |x-z W",
     "POST /a?b=c A.test:80 http -1|x-y Z|x-y |x-z W|host A.test:80", 0, NULL},
    /* The authority and Host. */
    {HEAD "|host a.test:80", "GET / a.test http -1|host a.test:80", 0, NULL},
    {HEAD "|host A.TEST", "GET / a.test http -1|host A.TEST", 0, NULL},
    {P "|host h.test", "GET / h.test http -1|host h.test", 0, NULL},
    {":method GET|:scheme https|:path /|:authority a|host a:443", "GET / a http -1|host a:443", 0,
     NULL},
    {":method GET|:scheme https|:path /|:authority a|host a:80", NULL, 400,
     ":authority and Host name different hosts"},
    {HEAD "|host a.test:443", NULL, 400, ":authority and Host name different hosts"},
    {HEAD "|host b.test", NULL, 400, ":authority and Host name different hosts"},
    {P "|:authority u@a", NULL, 400, "the authority is malformed"},
    {P "|host u@a", NULL, 400, "the authority is malformed"},
    {P "|:authority a:65536", NULL, 400, "the authority is malformed"},
    {P "|:authority a:65535", "GET / a:65535 http -1|host a:65535", 0, NULL},
    /* Method, scheme and target. */
    {":method CONNECT|:authority a.test", NULL, 501, "CONNECT is not served"},
    {":method CONNECTED|:scheme http|:path /|:authority a", "CONNECTED / a http -1|host a", 0,
     NULL},
    {":method GET|:scheme ftp|:path /|:authority a", NULL, 400,
     "the scheme is neither http nor https"},
    {":method GET|:scheme HTTP|:path /|:authority a", NULL, 400,
     "the scheme is neither http nor https"},
    {":method OPTIONS|:scheme http|:path *|:authority a", "OPTIONS * a http -1|host a", 0, NULL},
    {":method GET|:scheme http|:path /a#b|:authority a", NULL, 400,
     "the target has bytes that may not be there"},
    /* Cookies are one field, at the place of the first. */
    {HEAD "|cookie a=1", "GET / a.test http -1|cookie a=1|host a.test", 0, NULL},
    {HEAD "|x-a 1|cookie a=1|x-b 2|cookie b=2|cookie c=3|x-c 3",
     "GET / a.test http -1|x-a 1|cookie a=1; b=2; c=3|x-b 2|x-c 3|host a.test", 0, NULL},
    /* Expectations, lengths. */
    {HEAD "|expect 100-Continue", "GET / a.test http -1|expect 100-Continue|host a.test", 0, NULL},
    {HEAD "|expect miracles", NULL, 417, "an expectation other than 100-continue"},
    {HEAD "|content-length 0", "GET / a.test http 0|content-length 0|host a.test", 0, NULL},
    /* Of the connection: only te may come (RFC 9113 8.2.2), and it stays. */
    {HEAD "|te trailers", "GET / a.test http -1|te trailers|host a.test", 0, NULL},
    {HEAD "|http2-settings AA", "GET / a.test http -1|host a.test", 0, NULL},
};

static void meanings(void **state)
{
    buf b, block;
    http_server_config config = {.body_bytes_max = 50};
    kit_open(&config, tell);
    client c = greet(&b, 1000);
    buf_init(&block, 1 << 20);
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        unsigned refused = kit.refused, requests = kit.requests;
        char expected[100];
        block_of(&block, r->head);
        put_block(&b, 2 * i + 1, true, &block);
        send_buf(&c, &b);
        snprintf(expected, sizeof expected, "[:status %u, date, content-length 0] end",
                 r->seen ? 200 : r->status);
        expect_told(&c, 2 * i + 1, expected);
        assert_int_equal(kit.refused - refused, !r->seen);
        assert_int_equal(kit.requests - requests, r->seen != NULL);
        if (r->seen)
            assert_string_equal(seen, r->seen);
        else {
            assert_int_equal(kit.refused_status, r->status);
            assert_string_equal(kit.refused_reason, r->reason);
        }
        assert_int_equal(http_server_active(kit.server), 0);
    }
    expect_told(&c, 0, GREETING); /* no window but the first, no end */
    buf_fini(&b);
    buf_fini(&block);
    client_close(&c);
    kit_close();
}

/* A body that is announced: at the limit, and one byte beyond. */
static void lengths(void **state)
{
    buf b, block;
    http_server_config config = {.body_bytes_max = 50};
    kit_open(&config, tell);
    client c = greet(&b, 1000);
    buf_init(&block, 1000);
    block_of(&block, HEAD "|content-length 50|expect 100-continue");
    put_block(&b, 1, false, &block);
    send_buf(&c, &b);
    expect_told(&c, 1, OK_EMPTY);
    assert_string_equal(
        seen, "GET / a.test http 50 body|content-length 50|expect 100-continue|host a.test");
    block_of(&block, HEAD "|content-length 51");
    put_block(&b, 3, false, &block);
    send_buf(&c, &b);
    expect_told(&c, 3, "[:status 413, date, content-length 0] end");
    assert_string_equal(kit.refused_reason, "the body is too large");
    block_of(&block, HEAD);
    put_block(&b, 5, false, &block);
    send_buf(&c, &b);
    expect_told(&c, 5, OK_EMPTY);
    assert_string_equal(seen, "GET / a.test http -1 body|host a.test");
    buf_fini(&b);
    buf_fini(&block);
    client_close(&c);
    kit_close();
}

/* What nghttp2 refuses is a reset of the stream, and the connection goes on. */
static void malformed(void **state)
{
    static const char *const heads[] = {
        P, /* neither :authority nor Host */
        HEAD "|host a.test|host a.test",
        HEAD "|content-length 5",
        HEAD "|content-length 0|content-length 0",
        HEAD "|connection close",
        HEAD "|te gzip",
        HEAD "|X-Upper 1",
        HEAD "|x-a a\rb",
        ":method GET|:scheme http|:path *|:authority a",
        ":method G(T|:scheme http|:path /|:authority a",
        ":method GET|:scheme http|:path /|:path /|:authority a",
        ":scheme http|:path /|:authority a",
    };
    buf b, block;
    kit_open(NULL, tell);
    client c = greet(&b, 1000);
    buf_init(&block, 1 << 20);
    for (uint32_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        block_of(&block, heads[i]);
        put_block(&b, 2 * i + 1, true, &block);
        send_buf(&c, &b);
        expect_told(&c, 2 * i + 1, "reset 1");
    }
    assert_int_equal(kit.requests, 0);
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    buf_fini(&block);
    client_close(&c);
    kit_close();
}

/* --- limits: at the edge, and one beyond --- */

static client limited;
static buf out, block;
static uint32_t stream_next;

static void limits_open(const http_server_config *config)
{
    kit_open(config, tell);
    limited = greet(&out, 1000);
    buf_init(&block, 1 << 20);
    stream_next = 1;
}

static void limits_close(void)
{
    buf_fini(&out);
    buf_fini(&block);
    client_close(&limited);
    kit_close();
}

static void block_sent(unsigned status, const char *reason)
{
    char expected[100];
    unsigned refused = kit.refused;
    put_block(&out, stream_next, true, &block);
    send_buf(&limited, &out);
    snprintf(expected, sizeof expected, "[:status %u, date, content-length 0] end", status);
    expect_told(&limited, stream_next, expected);
    stream_next += 2;
    assert_int_equal(kit.refused - refused, status != 200);
    if (status != 200)
        assert_string_equal(kit.refused_reason, reason);
}

static void padded(const char *head, const char *name, size_t n, unsigned status,
                   const char *reason)
{
    char *value = malloc(n);
    memset(value, 'v', n);
    block_of(&block, head);
    put_field(&block, str_from(name), (str){value, n});
    free(value);
    block_sent(status, reason);
}

/* Each field counts as a line of HTTP/1.1 would: with ": " and CRLF. */
static void limits_hold(void **state)
{
    http_server_config config = {.head_bytes_max = 1000, .headers_max = 3, .uri_bytes_max = 100};
    const char *many = "too many fields, or too large ones";
    limits_open(&config);
    size_t around = 7 + 3 + 4 + 7 + 4 + 4 + 5 + 1 + 4 + 10 + 6 + 4 + 1 + 4;
    padded(HEAD, "x", 1000 - around, 200, NULL);
    padded(HEAD, "x", 1001 - around, 431, many);
    padded(HEAD, "x", 3000, 431, many);
    block_of(&block, HEAD "|a 1|b 2|c 3");
    block_sent(200, NULL);
    assert_string_equal(seen, "GET / a.test http -1|a 1|b 2|c 3|host a.test");
    block_of(&block, HEAD "|a 1|b 2|c 3|d 4");
    block_sent(431, many);
    char path[200] = "/";
    memset(path + 1, 'p', 99);
    block_of(&block, ":method GET|:scheme http|:authority a");
    put_field(&block, S(":path"), str_from(path));
    block_sent(200, NULL);
    path[100] = 'p';
    block_of(&block, ":method GET|:scheme http|:authority a");
    put_field(&block, S(":path"), str_from(path));
    block_sent(414, "the target is too long");
    expect_told(&limited, 0, "settings 3=100 4=65536 6=1000 settings ack window +16711681");
    limits_close();
}

/* A head of four times the largest ends its connection; nothing more of it is decoded. */
static void heads_many_times_too_large(void **state)
{
    http_server_config config = {.head_bytes_max = 1000};
    limits_open(&config);
    size_t around = 7 + 3 + 4 + 7 + 4 + 4 + 5 + 1 + 4 + 10 + 6 + 4 + 1 + 4;
    padded(HEAD, "x", 4000 - around, 431, "too many fields, or too large ones");
    char *value = calloc(1, 4001 - around);
    memset(value, 'v', 4001 - around);
    block_of(&block, HEAD);
    put_field(&block, S("x"), (str){value, 4001 - around});
    free(value);
    put_block(&out, stream_next, true, &block);
    send_buf(&limited, &out);
    until(strstr(told(&limited, 0), " goaway 3 11"));
    assert_string_equal(kit.refused_reason, "a head many times too large");
    assert_int_equal(kit.refused_status, 0);
    until(client_over(&limited));
    limits_close();
}

/* Cookies whose joining needs more text than all that came before. */
static void many_cookies(void **state)
{
    buf b, block_of_them;
    kit_open(NULL, tell);
    client c = greet(&b, 1000);
    buf_init(&block_of_them, 1 << 20);
    block_of(&block_of_them, HEAD);
    char expected[4096];
    int n = snprintf(expected, sizeof expected, "GET / a.test http -1|cookie ");
    for (int i = 0; i < 90; i++) {
        char value[20];
        snprintf(value, sizeof value, "%d=%d", i, i * i);
        put_field(&block_of_them, S("cookie"), str_from(value));
        n += snprintf(expected + n, sizeof expected - (size_t)n, i ? "; %s" : "%s", value);
    }
    snprintf(expected + n, sizeof expected - (size_t)n, "|host a.test");
    put_block(&b, 1, true, &block_of_them);
    send_buf(&c, &b);
    expect_told(&c, 1, OK_EMPTY);
    assert_string_equal(seen, expected);
    buf_fini(&b);
    buf_fini(&block_of_them);
    client_close(&c);
    kit_close();
}

/* --- trailers --- */

static void trailers_seen(http_exchange *x)
{
    body_state s;
    size_t count;
    char body[10];
    assert_int_equal(exchange_read(x, body, sizeof body, &s), 4);
    assert_int_equal(s, BODY_END);
    const http_field *t = exchange_trailers(x, &count);
    seen[fields_told(0, t, count)] = 0;
    exchange_abort(x, 200, NULL, 0);
}

static void trailers_sent(client *c, buf *b, uint32_t id, const char *text)
{
    buf_init(&block, 1 << 20);
    put_request(b, id, false);
    put_frame(b, F_DATA, 0, id, "body", 4);
    block_of(&block, text);
    put_block(b, id, true, &block);
    buf_fini(&block);
    send_buf(c, b);
}

static void trailers(void **state)
{
    buf b;
    http_server_config config = {.head_bytes_max = 1000, .headers_max = 2};
    kit_open(&config, trailers_seen);
    client c = greet(&b, 1000);
    trailers_sent(&c, &b, 1, "x-sum 7|x-b ");
    expect_told(&c, 1, OK_EMPTY);
    assert_string_equal(seen, "|x-sum 7|x-b ");
    /* What may not be one is left out (RFC 9110 6.5.1). */
    trailers_sent(&c, &b, 3, "trailer a|x-sum 8|authorization b");
    expect_told(&c, 3, OK_EMPTY);
    assert_string_equal(seen, "|x-sum 8");
    trailers_sent(&c, &b, 5, "a 1|b 2|c 3");
    expect_told(&c, 5, "[:status 400, date, content-length 0] end");
    assert_int_equal(kit.requests, 2);
    assert_int_equal(kit.refused_status, 400);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* The handler is at work already when they come: it is told, and the answer is the same. */
static void trailers_too_large_and_late(void **state)
{
    buf b;
    http_server_config config = {.headers_max = 2};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    put_frame(&b, F_DATA, 0, 1, "body", 4);
    send_buf(&c, &b);
    until(kit.x);
    buf_init(&block, 1 << 20);
    block_of(&block, "a 1|b 2|c 3");
    put_block(&b, 1, true, &block);
    buf_fini(&block);
    send_buf(&c, &b);
    expect_told(&c, 1, "[:status 400, date, content-length 0] end");
    assert_int_equal(kit.closed, 1);
    assert_string_equal(kit.refused_reason, "too many fields, or too large ones");
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meanings),
        cmocka_unit_test(lengths),
        cmocka_unit_test(malformed),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(heads_many_times_too_large),
        cmocka_unit_test(many_cookies),
        cmocka_unit_test(trailers),
        cmocka_unit_test(trailers_too_large_and_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
