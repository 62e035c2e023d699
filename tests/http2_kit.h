/* A client of HTTP/2 in raw frames for http_kit.h's server, and what came back as a text: one word
 * for each thing that happened on a stream, so that a test compares all of it at once.
 *
 *   stream 0   settings 3=100 4=65536 | settings ack | ping NAME | ping ack NAME | window +N
 *              goaway LAST CODE
 *   a stream   [:status 200, content-length 0] | (hello) | (N bytes) | reset CODE | window +N
 *              and `end` after what had END_STREAM
 *
 * Values of `date` are left out; DATA frames that follow one another are one. */
#pragma once

#include "http_kit.h"

#include <nghttp2/nghttp2.h>

enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST, F_SETTINGS, F_PING = 6, F_GOAWAY, F_WINDOW, F_MORE };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };
enum { NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM = 7, CANCEL, CALM = 11 };

#define PREFACE  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define NAME     "12345678" /* of a PING */
#define LAST_ID  "2147483647"
#define OK_EMPTY "[:status 200, date, content-length 0] end"

/* --- frames --- */

static void put_frame(buf *b, int kind, int flags, uint32_t id, const void *p, size_t n)
{
    const uint8_t head[] = {(uint8_t)(n >> 16),  (uint8_t)(n >> 8),  (uint8_t)n,
                            (uint8_t)kind,       (uint8_t)flags,     (uint8_t)(id >> 24),
                            (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    buf_put(b, head, sizeof head);
    buf_put(b, p, n);
}

static inline void put_number(buf *b, int kind, uint32_t id, uint32_t v)
{
    const uint8_t p[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    put_frame(b, kind, 0, id, p, sizeof p);
}

/* n bytes 'x' in as few frames as they need. */
static inline void put_data(buf *b, uint32_t id, size_t n, bool ends)
{
    static char piece[16384];
    memset(piece, 'x', sizeof piece);
    do {
        size_t k = n < sizeof piece ? n : sizeof piece;
        n -= k;
        put_frame(b, F_DATA, ends && n == 0 ? END_STREAM : 0, id, piece, k);
    } while (n > 0);
}

/* :method POST, :scheme http, :path /, :authority a */
static const uint8_t post_head[] = {0x83, 0x86, 0x84, 0x01, 0x01, 'a'};

static inline void put_request(buf *b, uint32_t id, bool ends)
{
    put_frame(b, F_HEADERS, END_HEADERS | (ends ? END_STREAM : 0), id, post_head, sizeof post_head);
}

static inline void put_text(buf *b, str text)
{
    size_t left = text.n;
    uint8_t first = (uint8_t)(left < 127 ? left : 127);
    buf_put(b, &first, 1);
    if (left >= 127)
        for (left -= 127;; left /= 128) {
            uint8_t byte = (uint8_t)(left % 128 | (left >= 128 ? 128 : 0));
            buf_put(b, &byte, 1);
            if (left < 128)
                break;
        }
    buf_put_str(b, text);
}

/* A literal field that no table remembers (RFC 7541 6.2.2). */
static inline void put_field(buf *block, str name, str value)
{
    buf_put(block, "", 1);
    put_text(block, name);
    put_text(block, value);
}

/* A block in one HEADERS frame, or with CONTINUATIONs of 16 KiB. */
static inline void put_block(buf *b, uint32_t id, bool ends, const buf *block)
{
    for (size_t at = 0; at == 0 || at < block->n;) {
        size_t n = block->n - at < 16384 ? block->n - at : 16384;
        bool last = at + n == block->n;
        put_frame(b, at ? F_MORE : F_HEADERS,
                  (last ? END_HEADERS : 0) | (at == 0 && ends ? END_STREAM : 0), id, block->p + at,
                  n);
        if (last)
            break;
        at += n;
    }
}

static inline void send_buf(client *c, buf *b)
{
    assert_false(b->failed);
    client_send_n(c, (const char *)b->p, b->n);
    buf_clear(b);
}

/* A connection; window: for bodies of the server. What is in b goes with the next send_buf. */
static inline client greet_open(buf *b, uint32_t window)
{
    client c = client_open();
    const uint8_t setting[] = {0,
                               4,
                               (uint8_t)(window >> 24),
                               (uint8_t)(window >> 16),
                               (uint8_t)(window >> 8),
                               (uint8_t)window};
    buf_init(b, 4 << 20);
    buf_put_str(b, S(PREFACE));
    put_frame(b, F_SETTINGS, 0, 0, setting, sizeof setting);
    return c;
}

/* --- what came --- */

typedef struct {
    size_t at;
    int kind, flags;
    uint32_t id;
    const uint8_t *p;
    size_t n;
} frame;

/* The next frame of what came; false: not whole yet. */
static bool frame_next(client *c, frame *f)
{
    const uint8_t *p = (const uint8_t *)c->got + f->at;
    size_t n = c->got && c->n - f->at >= 9 ? (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2] : 0;
    if (!c->got || c->n - f->at < 9 + n)
        return false;
    *f = (frame){
        f->at + 9 + n, p[3],
        p[4],          (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8],
        p + 9,         n};
    return true;
}

/* The n-th frame (from 0) of that kind and stream. */
static inline bool got_frame(client *c, int kind, uint32_t id, unsigned which, frame *ret)
{
    client_take(c);
    for (*ret = (frame){0}; frame_next(c, ret);)
        if (ret->kind == kind && ret->id == id && which-- == 0)
            return true;
    return false;
}

static inline uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

typedef struct {
    char text[4096], data[64]; /* data: of the DATA that came last, if it is short */
    size_t n, data_n;
} transcript;

static void word(transcript *t, const char *fmt, ...)
{
    va_list a;
    if (t->n)
        t->text[t->n++] = ' ';
    va_start(a, fmt);
    t->n += (size_t)vsnprintf(t->text + t->n, sizeof t->text - t->n, fmt, a);
    va_end(a);
    assert_true(t->n + 1 < sizeof t->text);
}

static void data_told(transcript *t)
{
    if (t->data_n > 0 && t->data_n < sizeof t->data)
        word(t, "(%.*s)", (int)t->data_n, t->data);
    else if (t->data_n > 0)
        word(t, "(%zu bytes)", t->data_n);
    t->data_n = 0;
}

/* Every block goes through the inflater, or its table would miss some. */
static void head_told(transcript *t, nghttp2_hd_inflater *in, const frame *f, bool mine)
{
    char text[2048] = "";
    size_t n = 0;
    nghttp2_nv nv;
    const uint8_t *p = f->p, *end = f->p + f->n;
    for (int flags = 0; !(flags & NGHTTP2_HD_INFLATE_FINAL);) {
        flags = 0;
        ssize_t taken = nghttp2_hd_inflate_hd2(in, &nv, &flags, p, (size_t)(end - p), 1);
        assert_true(taken >= 0);
        p += taken;
        if (!(flags & NGHTTP2_HD_INFLATE_EMIT))
            continue;
        bool is_date = nv.namelen == 4 && memcmp(nv.name, "date", 4) == 0;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s%s", n ? ", " : "", (char *)nv.name,
                              is_date ? "" : " ", is_date ? "" : (char *)nv.value);
        assert_true(n < sizeof text);
    }
    nghttp2_hd_inflate_end_headers(in);
    if (mine)
        word(t, "[%s]", text);
}

static void frame_told(transcript *t, const frame *f)
{
    switch (f->kind) {
    case F_RST:
        word(t, "reset %u", u32_at(f->p));
        break;
    case F_SETTINGS:
        word(t, f->flags & ACK ? "settings ack" : "settings");
        for (size_t at = 0; at < f->n; at += 6)
            word(t, "%u=%u", (unsigned)(f->p[at] << 8 | f->p[at + 1]), u32_at(f->p + at + 2));
        break;
    case F_PING:
        word(t, f->flags & ACK ? "ping ack %.8s" : "ping %.8s", (const char *)f->p);
        break;
    case F_GOAWAY:
        word(t, "goaway %u %u", u32_at(f->p), u32_at(f->p + 4));
        break;
    case F_WINDOW:
        word(t, "window +%u", u32_at(f->p));
        break;
    default:
        break;
    }
}

/* All that came on this stream since the connection began. Valid until the next call. */
static inline const char *told(client *c, uint32_t id)
{
    static transcript t;
    nghttp2_hd_inflater *in;
    t = (transcript){0};
    client_take(c);
    assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
    for (frame f = {0}; frame_next(c, &f);) {
        bool mine = f.id == id;
        if (mine && f.kind == F_DATA) {
            if (t.data_n + f.n < sizeof t.data)
                memcpy(t.data + t.data_n, f.p, f.n);
            t.data_n += f.n;
        } else if (mine) {
            data_told(&t);
        }
        if (f.kind == F_HEADERS)
            head_told(&t, in, &f, mine);
        else if (mine)
            frame_told(&t, &f);
        if (mine && (f.kind == F_DATA || f.kind == F_HEADERS) && f.flags & END_STREAM) {
            data_told(&t);
            word(&t, "end");
        }
    }
    data_told(&t);
    nghttp2_hd_inflate_del(in);
    return t.text;
}

/* Waits for exactly this, and that nothing comes after it. */
static inline void expect_told(client *c, uint32_t id, const char *text)
{
    for (ns end = clock_mono() + PATIENCE; strcmp(told(c, id), text) != 0; loop_turn(kit.l, 2))
        if (clock_mono() > end || client_over(c))
            break;
    settle_down();
    if (strcmp(told(c, id), text) != 0)
        fail_msg("stream %u\nexpected: %s\n     got: %s%s", id, text, told(c, id),
                 client_over(c) ? " and the end" : "");
}

/* The same after both have said their settings. */
static inline client greet(buf *b, uint32_t window)
{
    client c = greet_open(b, window);
    send_buf(&c, b);
    frame f;
    until(got_frame(&c, F_SETTINGS, 0, 0, &f));
    put_frame(b, F_SETTINGS, ACK, 0, NULL, 0); /* with what is sent next */
    return c;
}

/* What the server says first with its defaults, and what of SETTINGS is acknowledged. */
#define GREETING "settings 3=100 4=65536 6=65536 settings ack window +16711681"

static inline size_t body_bytes(client *c, uint32_t id)
{
    size_t sum = 0;
    client_take(c);
    for (frame f = {0}; frame_next(c, &f);)
        sum += f.kind == F_DATA && f.id == id ? f.n : 0;
    return sum;
}
