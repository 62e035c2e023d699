/* Where requests begin and end, and which are refused: every case of tests/data/http1_framing.txt,
 * whole, byte by byte, and cut at each pair of places chosen at random (seed fixed). */
#include "unit.h"

#include "http/http1_parser.h"

#include <stdio.h>
#include <string.h>

enum { CUTS_PER_CASE = 30 };

static const http1_limits limits = {
    .head_bytes_max = 64 * 1024,
    .headers_max = 100,
    .uri_bytes_max = 16 * 1024,
    .body_bytes_max = UINT64_MAX,
};

/* What a parser decides, in the words of the file. */
typedef struct {
    http1_parser parser;
    http1_head head;
    char text[4096];
    size_t n;
    uint64_t body;
    bool in_request, in_body, refused;
} decider;

static void say(decider *d, const char *fmt, unsigned long long v)
{
    d->n += (size_t)snprintf(d->text + d->n, sizeof d->text - d->n, fmt, v);
}

static void decider_init(decider *d)
{
    memset(d, 0, sizeof *d);
    http1_parser_init(&d->parser, &limits);
}

static void decide(decider *d, const uint8_t *p, size_t n)
{
    /* A copy of exactly these bytes, so that a sanitizer sees a read past them. */
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    for (size_t at = 0; at < n && !d->refused;) {
        if (!d->in_request) {
            http1_parser_next(&d->parser, &d->head);
            d->in_request = true;
        }
        http1_event event;
        at += http1_parse(&d->parser, copy + at, n - at, &event);
        if (event == HTTP1_HEAD) {
            d->body = 0;
            d->in_body = true;
        } else if (event == HTTP1_BODY) {
            d->body += d->parser.body.n;
        } else if (event == HTTP1_REFUSED) {
            d->refused = true;
        }
        const char *space = d->n ? " " : "";
        if (d->refused) {
            say(d, space, 0);
            if (d->in_body)
                say(d, "%llu", d->body);
            say(d, "!%llu", d->parser.status);
            assert_non_null(d->parser.reason);
        } else if (http1_parser_done(&d->parser)) {
            say(d, space, 0);
            say(d, "%llu", d->body);
            d->in_request = d->in_body = false;
        }
    }
    free(copy);
}

/* The decision; valid until the next call. */
static const char *decision(decider *d)
{
    if (!d->refused && d->in_request && http1_parser_begun(&d->parser)) {
        say(d, d->n ? " " : "", 0);
        if (d->in_body)
            say(d, "%llu", d->body);
        say(d, "~", 0);
    }
    http1_head_fini(&d->head);
    return d->text;
}

typedef struct {
    char name[100], expected[100];
    uint8_t p[8192];
    size_t n;
} framing_case;

static unsigned failures;

static void expect(const framing_case *c, const char *how, const char *got)
{
    if (strcmp(got, c->expected) == 0)
        return;
    failures++;
    print_error("%s (%s): expected '%s', got '%s'\n", c->name, how, c->expected, got);
}

static void case_run(const framing_case *c)
{
    static decider d;
    decider_init(&d);
    decide(&d, c->p, c->n);
    const char *reason = d.refused ? d.parser.reason : "";
    char how[200];
    snprintf(how, sizeof how, "whole; %s", reason);
    expect(c, how, decision(&d));

    decider_init(&d);
    for (size_t i = 0; i < c->n; i++)
        decide(&d, c->p + i, 1);
    expect(c, "byte by byte", decision(&d));

    for (int i = 0; i < CUTS_PER_CASE && c->n > 2; i++) {
        size_t a = (size_t)rand() % c->n, b = a + (size_t)rand() % (c->n - a);
        decider_init(&d);
        decide(&d, c->p, a);
        decide(&d, c->p + a, b - a);
        decide(&d, c->p + b, c->n - b);
        snprintf(how, sizeof how, "cut at %zu and %zu", a, b);
        expect(c, how, decision(&d));
    }
}

static void bytes_add(framing_case *c, const char *line)
{
    const char *end = strrchr(line, '|');
    assert_non_null(end);
    for (const char *at = line + 2; at < end; at++) {
        unsigned v = (uint8_t)*at;
        if (*at == '\\') {
            at++;
            v = *at == 'r' ? '\r' : *at == 'n' ? '\n' : *at == 't' ? '\t' : (uint8_t)*at;
            if (*at == 'x') {
                assert_int_equal(sscanf(at + 1, "%2x", &v), 1);
                at += 2;
            }
        }
        assert_true(c->n < sizeof c->p);
        c->p[c->n++] = (uint8_t)v;
    }
}

static unsigned for_each_case(void (*f_case)(const framing_case *c))
{
    static framing_case c;
    char line[512];
    unsigned count = 0;
    FILE *f = fopen("tests/data/http1_framing.txt", "r");
    assert_non_null(f);
    srand(9112);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == ' ') {
            bytes_add(&c, line);
        } else if (line[0] != '#' && line[0] != '\n') {
            if (count++)
                f_case(&c);
            memset(&c, 0, sizeof c);
            assert_int_equal(sscanf(line, "%99s = %99[^\n]", c.name, c.expected), 2);
        }
    }
    f_case(&c);
    fclose(f);
    return count;
}

static void corpus(void **state)
{
    failures = 0;
    assert_true(for_each_case(case_run) >= 300);
    assert_int_equal(failures, 0);
}

/* --- llhttp alone ---
 * Where both accept, both must cut at the same places: a request that this server and another one
 * built on llhttp see differently would be a way to smuggle. */

typedef struct {
    char text[4096];
    size_t n;
    unsigned long long body;
} plain;

static int plain_body(llhttp_t *ll, const char *at, size_t n)
{
    ((plain *)ll->data)->body += n;
    return 0;
}

static int plain_done(llhttp_t *ll)
{
    plain *p = ll->data;
    p->n +=
        (size_t)snprintf(p->text + p->n, sizeof p->text - p->n, "%s%llu", p->n ? " " : "", p->body);
    p->body = 0;
    return 0;
}

static int plain_no_upgrade(llhttp_t *ll)
{
    ll->upgrade = 0;
    return 0;
}

static bool is_digits(const char *text) { return text[strspn(text, "0123456789 ")] == 0; }

static unsigned both_accept;

static void compare_with_llhttp(const framing_case *c)
{
    llhttp_settings_t s;
    llhttp_t ll;
    plain p = {0};
    llhttp_settings_init(&s);
    s.on_body = plain_body;
    s.on_message_complete = plain_done;
    s.on_headers_complete = plain_no_upgrade;
    llhttp_init(&ll, HTTP_REQUEST, &s);
    ll.data = &p;
    bool accepts = llhttp_execute(&ll, (const char *)c->p, c->n) == HPE_OK;
    if (!accepts || !is_digits(c->expected))
        return;
    both_accept++;
    if (strcmp(p.text, c->expected) != 0) {
        failures++;
        print_error("%s: '%s', llhttp alone: '%s'\n", c->name, c->expected, p.text);
    }
}

static void llhttp_agrees(void **state)
{
    failures = 0;
    for_each_case(compare_with_llhttp);
    assert_true(both_accept >= 50);
    assert_int_equal(failures, 0);
}

/* --- what heads say --- */

static void head_read(decider *d, const char *text)
{
    http1_event event;
    decider_init(d);
    http1_parser_next(&d->parser, &d->head);
    size_t n = http1_parse(&d->parser, (const uint8_t *)text, strlen(text), &event);
    assert_int_equal(event, HTTP1_HEAD);
    assert_true(n <= strlen(text));
}

static void heads(void **state)
{
    static decider d;
    head_read(&d, "POST /a?b=c HTTP/1.1\r\nHOST: Example.com:80\r\nX-A:  b c \t\r\nx-a: \r\n"
                  "Connection: keep-alive, X-A\r\nKeep-Alive: 5\r\nContent-Length: 7\r\n"
                  "Proxy-Connection: x\r\n\r\n");
    assert_str(d.head.method, "POST");
    assert_str(d.head.target, "/a?b=c");
    assert_str(d.head.authority, "Example.com:80");
    assert_int_equal(d.head.fields.count, 4);
    assert_str(d.head.fields.items[0].name, "host");
    assert_str(d.head.fields.items[1].name, "x-a");
    assert_str(d.head.fields.items[1].value, "b c");
    assert_str(d.head.fields.items[2].value, "");
    assert_str(d.head.fields.items[3].name, "content-length");
    assert_int_equal(d.head.content_length, 7);
    assert_true(d.head.has_body && d.head.keep_alive && !d.head.chunked && !d.head.is_1_0);
    http1_head_fini(&d.head);

    head_read(&d, "GET http://A.b/c?d HTTP/1.1\r\nHost: a.B:80\r\nConnection: close\r\n\r\n");
    assert_str(d.head.target, "/c?d");
    assert_str(d.head.authority, "A.b");
    assert_true(!d.head.keep_alive && !d.head.has_body);
    assert_int_equal(d.head.content_length, -1);
    http1_head_fini(&d.head);

    head_read(&d, "GET http://a:80?d HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_str(d.head.target, "/?d");
    assert_str(d.head.authority, "a:80");
    http1_head_fini(&d.head);
    head_read(&d, "GET https://a HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_str(d.head.target, "/");
    assert_str(d.head.authority, "a");
    http1_head_fini(&d.head);

    head_read(&d, "OPTIONS * HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert_str(d.head.target, "*");
    assert_str(d.head.authority, "");
    assert_true(d.head.is_1_0 && d.head.keep_alive);
    http1_head_fini(&d.head);
    head_read(&d, "GET / HTTP/1.0\r\n\r\n");
    assert_false(d.head.keep_alive);
    http1_head_fini(&d.head);

    head_read(&d, "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(d.head.expect_continue && d.head.chunked && d.head.has_body);
    http1_head_fini(&d.head);
    head_read(&d, "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert_false(d.head.expect_continue); /* nothing to continue with */
    http1_head_fini(&d.head);
}

static void trailers(void **state)
{
    static decider d;
    head_read(&d, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    const char *rest = "0\r\nX-Sum:  1 \r\nB:\r\n\r\n";
    http1_event event;
    size_t n = http1_parse(&d.parser, (const uint8_t *)rest, strlen(rest), &event);
    assert_int_equal(event, HTTP1_END);
    assert_int_equal(n, strlen(rest));
    assert_int_equal(d.head.trailers.count, 2);
    assert_str(d.head.trailers.items[0].name, "x-sum");
    assert_str(d.head.trailers.items[0].value, "1");
    assert_str(d.head.trailers.items[1].value, "");
    assert_str(d.head.fields.items[0].name, "host"); /* still there */
    http1_head_fini(&d.head);
}

/* --- limits --- */

static unsigned status_of(const http1_limits *l, const char *text, size_t n)
{
    static decider d;
    decider_init(&d);
    d.parser.limits = l;
    decide(&d, (const uint8_t *)text, n);
    decision(&d);
    return d.refused ? d.parser.status : 0;
}

/* "<before><n times c><after>". */
static char *padded(const char *before, size_t n, char c, const char *after, size_t *ret_n)
{
    size_t a = strlen(before), b = strlen(after);
    char *text = malloc(a + n + b + 1);
    memcpy(text, before, a);
    memset(text + a, c, n);
    memcpy(text + a + n, after, b + 1);
    *ret_n = a + n + b;
    return text;
}

static unsigned status_padded(const http1_limits *l, const char *before, size_t n,
                              const char *after)
{
    size_t length;
    char *text = padded(before, n, 'x', after, &length);
    unsigned status = status_of(l, text, length);
    free(text);
    return status;
}

static void limits_hold(void **state)
{
    http1_limits l = {
        .head_bytes_max = 1000, .headers_max = 3, .uri_bytes_max = 100, .body_bytes_max = 10};
    const char *rest = " HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_int_equal(status_padded(&l, "GET /", 99, rest), 0);
    assert_int_equal(status_padded(&l, "GET /", 100, rest), 414);
    assert_int_equal(status_padded(&l, "GET /", 100000, ""), 414);
    assert_int_equal(status_padded(&l, "", 100000, ""), 414);

    const char *head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    size_t around = strlen(head) + 4;
    assert_int_equal(status_padded(&l, head, 1000 - around, "\r\n\r\n"), 0);
    assert_int_equal(status_padded(&l, head, 1001 - around, "\r\n\r\n"), 431);
    assert_int_equal(status_padded(&l, head, 100000, ""), 431);
    assert_int_equal(status_padded(&l, "GET / HTTP/1.1\r\n", 100000, ""), 431);

    assert_int_equal(status_padded(&l, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC:", 1, "\r\n\r\n"),
                     0);
    assert_int_equal(
        status_padded(&l, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE:", 1, "\r\n\r\n"), 431);

    assert_int_equal(
        status_padded(&l, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", 10, ""), 0);
    assert_int_equal(
        status_padded(&l, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 0, ""), 413);
    const char *chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    char *before = malloc(200);
    snprintf(before, 200, "%s5\r\nabcde\r\n5\r\n", chunked);
    assert_int_equal(status_padded(&l, before, 5, "\r\n0\r\n\r\n"), 0);
    snprintf(before, 200, "%s5\r\nabcde\r\n6\r\n", chunked);
    assert_int_equal(status_padded(&l, before, 6, "\r\n0\r\n\r\n"), 413);
    /* Framing that is no body: extensions, trailers, their number. */
    snprintf(before, 200, "%s1;", chunked);
    assert_int_equal(status_padded(&l, before, 500, "\r\na\r\n0\r\n\r\n"), 0);
    assert_int_equal(status_padded(&l, before, 5000, "\r\na\r\n0\r\n\r\n"), 400);
    snprintf(before, 200, "%s0\r\nX:", chunked);
    assert_int_equal(status_padded(&l, before, 500, "\r\n\r\n"), 0);
    assert_int_equal(status_padded(&l, before, 5000, "\r\n\r\n"), 400);
    snprintf(before, 200, "%s0\r\nA: b\r\nC: d\r\nE: f\r\nG:", chunked);
    assert_int_equal(status_padded(&l, before, 1, "\r\n\r\n"), 400);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus),   cmocka_unit_test(llhttp_agrees), cmocka_unit_test(heads),
        cmocka_unit_test(trailers), cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
