/* Requests from bytes: whatever the cuts, the same decisions; and what a handler would see is what
 * exchange.h promises. The first byte of the input seeds the cuts, the rest are the bytes. */
#include "base/must.h"
#include "http/field.h"
#include "http/http1_parser.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const http1_limits limits = {
    .head_bytes_max = 2000,
    .headers_max = 20,
    .uri_bytes_max = 500,
    .body_bytes_max = 1 << 20,
};

/* A running hash of everything that was decided, in order. */
typedef struct {
    http1_parser parser;
    http1_head head;
    bool in_request, refused;
    uint64_t sum, body_bytes;
} reader;

static void mix(reader *r, const void *p, size_t n)
{
    const uint8_t *at = p;
    for (size_t i = 0; i < n; i++)
        r->sum = (r->sum ^ at[i]) * UINT64_C(1099511628211);
}

static void fields_seen(reader *r, const http1_fields *f)
{
    for (size_t i = 0; i < f->count; i++) {
        must(token_is(f->items[i].name) && field_value_is(f->items[i].value));
        must(!field_is_hop(f->items[i].name));
        for (size_t k = 0; k < f->items[i].name.n; k++)
            must(f->items[i].name.p[k] == ascii_lower(f->items[i].name.p[k]));
        mix(r, f->items[i].name.p, f->items[i].name.n);
        mix(r, ":", 1);
        mix(r, f->items[i].value.p, f->items[i].value.n);
        mix(r, "\n", 1);
    }
}

static void head_seen(reader *r)
{
    const http1_head *h = &r->head;
    must(token_is(h->method) && h->target.n > 0 && str_is_utf8(h->target));
    must(h->target.p[0] == '/' || str_eq(h->target, S("*")));
    must(h->authority.n == 0 ? h->is_1_0 : authority_is(h->authority));
    must(h->has_body == (h->chunked || h->content_length > 0));
    must(!h->chunked || h->content_length < 0);
    must(!h->expect_continue || h->has_body);
    must(h->fields.count <= limits.headers_max && r->parser.head_bytes <= limits.head_bytes_max);
    mix(r, h->method.p, h->method.n);
    mix(r, h->target.p, h->target.n);
    mix(r, h->authority.p, h->authority.n);
    mix(r, &h->content_length, sizeof h->content_length);
    mix(r, &h->keep_alive, sizeof h->keep_alive);
    fields_seen(r, &h->fields);
    r->body_bytes = 0;
}

static void request_done(reader *r)
{
    const http1_head *h = &r->head;
    must(h->chunked || r->body_bytes == (h->content_length > 0 ? (uint64_t)h->content_length : 0));
    fields_seen(r, &h->trailers);
    mix(r, "done", 4);
    r->in_request = false;
}

static void feed(reader *r, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    for (size_t at = 0; at < n && !r->refused;) {
        http1_event event;
        if (!r->in_request)
            http1_parser_next(&r->parser, &r->head);
        r->in_request = true;
        size_t taken = http1_parse(&r->parser, copy + at, n - at, &event);
        must(taken <= n - at && (taken > 0 || event == HTTP1_REFUSED));
        must(event != HTTP1_NEED || taken == n - at);
        if (event == HTTP1_HEAD)
            head_seen(r);
        if (event == HTTP1_BODY) {
            must(r->parser.body.p >= copy + at && r->parser.body.n <= taken);
            mix(r, r->parser.body.p, r->parser.body.n);
            r->body_bytes += r->parser.body.n;
        }
        at += taken;
        if (event == HTTP1_REFUSED) {
            must(r->parser.status >= 400 && r->parser.status < 600 && r->parser.reason);
            mix(r, &r->parser.status, sizeof r->parser.status);
            r->refused = true;
        } else if (http1_parser_done(&r->parser)) {
            request_done(r);
        }
    }
    free(copy);
}

static uint64_t read_all(const uint8_t *p, size_t n, unsigned seed)
{
    reader r = {0};
    http1_parser_init(&r.parser, &limits);
    while (n > 0) {
        seed = seed * 1103515245 + 12345;
        size_t piece = seed >> 16 & 1 ? 1 + (seed >> 17) % 7 : 1 + (seed >> 17) % 300;
        if (seed == 0 || piece > n)
            piece = n;
        feed(&r, p, piece);
        p += piece;
        n -= piece;
    }
    http1_head_fini(&r.head);
    return r.sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    reader whole = {0};
    http1_parser_init(&whole.parser, &limits);
    feed(&whole, data + 1, size - 1);
    http1_head_fini(&whole.head);
    for (unsigned i = 0; i < 3; i++)
        must(read_all(data + 1, size - 1, data[0] + i * 256u + 1) == whole.sum);
    return 0;
}
