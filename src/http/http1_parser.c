/* Requests of HTTP/1.x: the request line is ours, fields and chunks are llhttp's (strict), what a
 * whole head means is ours again (http1_head.c), and a body of known length is only counted.
 *
 * Why the request line is ours: llhttp knows a fixed list of methods (guests may use any token),
 * treats some of them specially, takes several spaces for one, and speaks RTSP and HTTP/2.0. So
 * llhttp is always told "POST / HTTP/1.1" (or 1.0), which has no special case. The state after that
 * line is made once and copied, which is also cheaper than feeding it.
 *
 *     START --CRLF--> START --byte--> LINE --LF--> FIELDS --blank line--> LENGTH or CHUNKS --> DONE
 *
 * llhttp calls back; the callbacks note what they saw and pause it, and http1_parse returns that as
 * an event. A paused llhttp goes on with the byte after.
 *
 * Field text is copied into the head (names in lower case): heads outlive the bytes they came in.
 * While they grow, fields hold offsets; http1_head_finish turns them into pointers.
 */
#include "http/http1_head.h"

#include "base/must.h"
#include "http/field.h"

#include <stdlib.h>

enum {
    EMPTY_LINES_MAX = 4, /* bytes; some clients send a CRLF after a body (RFC 9112 2.2) */
    METHOD_BYTES_MAX = 64,
    CHUNK_BYTES_PER_BODY_BYTE = 16, /* one-byte chunks cost 5 and their extensions a little */
};

void http1_fields_fini(http1_fields *f)
{
    buf_fini(&f->text);
    free(f->items);
    *f = (http1_fields){0};
}

void http1_head_fini(http1_head *h)
{
    http1_fields_fini(&h->fields);
    http1_fields_fini(&h->trailers);
}

bool http1_refuse(http1_parser *p, unsigned status, const char *reason)
{
    p->state = P_REFUSED;
    p->status = status;
    p->reason = reason;
    return false;
}

/* --- callbacks of llhttp --- */

static http1_fields *fields_now(http1_parser *p)
{
    return p->state == P_FIELDS ? &p->head->fields : &p->head->trailers;
}

/* 431 is for heads; trailers count as chunk framing, of which 400 says that there is too much. */
static int fields_too_large(http1_parser *p)
{
    http1_refuse(p, p->state == P_FIELDS ? 431 : 400, "too many fields, or too large ones");
    return -1;
}

static int field_name(llhttp_t *ll, const char *at, size_t n)
{
    http1_parser *p = ll->data;
    http1_fields *f = fields_now(p);
    if (!buf_reserve(&f->text, n))
        return fields_too_large(p);
    char *to = (char *)f->text.p + f->text.n;
    for (size_t i = 0; i < n; i++)
        to[i] = ascii_lower(at[i]);
    f->text.n += n;
    return 0;
}

static int field_name_done(llhttp_t *ll)
{
    http1_parser *p = ll->data;
    p->value_at = fields_now(p)->text.n;
    return 0;
}

static int field_value(llhttp_t *ll, const char *at, size_t n)
{
    http1_parser *p = ll->data;
    if (!buf_put(&fields_now(p)->text, at, n))
        return fields_too_large(p);
    return 0;
}

static int field_value_done(llhttp_t *ll)
{
    http1_parser *p = ll->data;
    http1_fields *f = fields_now(p);
    if (f->count == p->limits->headers_max)
        return fields_too_large(p);
    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        http_field *grown = realloc(f->items, cap * sizeof *grown);
        if (!grown)
            return http1_refuse(p, 503, "no memory"), -1;
        f->items = grown;
        f->cap = cap;
    }
    size_t name_at = p->name_at, end = f->text.n;
    while (end > p->value_at && (f->text.p[end - 1] == ' ' || f->text.p[end - 1] == '\t'))
        end--;
    f->items[f->count++] = (http_field){{(char *)name_at, p->value_at - name_at},
                                        {(char *)p->value_at, end - p->value_at}};
    p->name_at = f->text.n;
    return 0;
}

static void fields_finish(http1_fields *f)
{
    const char *base = (const char *)f->text.p;
    for (size_t i = 0; i < f->count; i++) {
        f->items[i].name.p = base + (uintptr_t)f->items[i].name.p;
        f->items[i].value.p = base + (uintptr_t)f->items[i].value.p;
    }
}

static int head_done(llhttp_t *ll)
{
    http1_parser *p = ll->data;
    http1_head *h = p->head;
    const char *base = (const char *)h->fields.text.p;
    h->method.p = base + (uintptr_t)h->method.p;
    h->target.p = base + (uintptr_t)h->target.p;
    fields_finish(&h->fields);
    if (!http1_head_check(p))
        return -1;
    if (h->chunked != ((ll->flags & F_CHUNKED) != 0)) /* it is stricter about blanks */
        return http1_refuse(p, 400, "Transfer-Encoding is malformed"), -1;
    ll->upgrade = 0; /* never spoken; the body, if any, is a body */
    p->state = h->chunked ? P_CHUNKS : h->has_body ? P_LENGTH : P_DONE;
    p->name_at = 0;
    p->event = HTTP1_HEAD;
    return HPE_PAUSED;
}

static int body_piece(llhttp_t *ll, const char *at, size_t n)
{
    http1_parser *p = ll->data;
    if (n == 0)
        return 0;
    if (n > p->limits->body_bytes_max - p->body_bytes)
        return http1_refuse(p, 413, "the body is too large"), -1;
    p->body_bytes += n;
    p->body = (bytes){(const uint8_t *)at, n};
    p->event = HTTP1_BODY;
    return HPE_PAUSED;
}

static int message_done(llhttp_t *ll)
{
    http1_parser *p = ll->data;
    http1_fields *t = &p->head->trailers;
    fields_finish(t);
    for (size_t i = 0; i < t->count; i++)
        if (field_is_no_trailer(t->items[i].name))
            return http1_refuse(p, 400, "a trailer that may not be one"), -1;
    p->event = HTTP1_END;
    p->state = P_DONE;
    return HPE_PAUSED;
}

/* --- starting --- */

static const llhttp_settings_t *settings(void)
{
    static llhttp_settings_t s;
    if (!s.on_body) {
        llhttp_settings_init(&s);
        s.on_header_field = field_name;
        s.on_header_field_complete = field_name_done;
        s.on_header_value = field_value;
        s.on_header_value_complete = field_value_done;
        s.on_headers_complete = head_done;
        s.on_body = body_piece;
        s.on_message_complete = message_done;
    }
    return &s;
}

/* llhttp after the request line, for HTTP/1.<minor>. */
static const llhttp_t *after_line(int minor)
{
    static llhttp_t made[2];
    if (!made[minor].data) {
        llhttp_init(&made[minor], HTTP_REQUEST, settings());
        const char *line = minor ? "POST / HTTP/1.1\r\n" : "POST / HTTP/1.0\r\n";
        must(llhttp_execute(&made[minor], line, strlen(line)) == HPE_OK);
        made[minor].data = made;
    }
    return &made[minor];
}

void http1_parser_init(http1_parser *p, const http1_limits *limits)
{
    *p = (http1_parser){.limits = limits};
}

static void fields_empty(http1_fields *f, size_t bytes_max)
{
    f->text.max = bytes_max;
    buf_clear(&f->text);
    f->count = 0;
}

void http1_parser_next(http1_parser *p, http1_head *head)
{
    http1_fields_fini(&head->trailers); /* rare: not kept */
    http1_head was = *head;
    *head = (http1_head){.fields = was.fields, .content_length = -1};
    fields_empty(&head->fields, p->limits->head_bytes_max);
    fields_empty(&head->trailers, p->limits->head_bytes_max);
    p->head = head;
    p->state = P_START;
    p->head_bytes = 0;
    p->body_bytes = p->chunk_bytes = 0;
    p->name_at = 0;
}

/* --- the request line --- */

/* method SP target SP "HTTP/1." ("0" / "1"), one space each, and nothing else. */
static bool line_read(http1_parser *p, str line)
{
    http1_head *h = p->head;
    size_t method_n = str_find(line, ' ');
    if (method_n > METHOD_BYTES_MAX || !token_is(str_head(line, method_n)))
        return http1_refuse(p, 400, "the method is no token");
    str rest = str_skip(line, method_n + 1);
    size_t target_n = str_find(rest, ' ');
    str version = str_skip(rest, target_n + 1), target = str_head(rest, target_n);
    if (!str_starts(version, S("HTTP/")) || version.n != 8 || version.p[6] != '.' ||
        version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return http1_refuse(p, 400, "the request line is malformed");
    if (version.p[5] != '1' || version.p[7] > '1')
        return http1_refuse(p, 505, "a version other than HTTP/1.1 or 1.0");
    if (target.n > p->limits->uri_bytes_max)
        return http1_refuse(p, 414, "the target is too long");
    h->is_1_0 = version.p[7] == '0';
    h->method = (str){NULL, method_n}; /* offsets for now, like the fields */
    h->target = (str){(char *)(method_n + 1), target_n};
    p->llhttp = *after_line(h->is_1_0 ? 0 : 1);
    p->llhttp.data = p;
    p->state = P_FIELDS;
    p->name_at = h->fields.text.n;
    return true;
}

/* Takes bytes up to the LF of the request line. Where a line is both too long and malformed, the
 * place of the bytes decides which is said, not how they were cut. */
static size_t line_bytes(http1_parser *p, const uint8_t *in, size_t n)
{
    buf *text = &p->head->fields.text;
    size_t line_max = p->limits->uri_bytes_max + METHOD_BYTES_MAX + S("  HTTP/1.1\r\n").n;
    if (line_max > text->max)
        line_max = text->max;
    if (text->n == line_max) {
        http1_refuse(p, 414, "the request line is too long");
        return 0;
    }
    n = n < line_max - text->n ? n : line_max - text->n;
    const uint8_t *lf = memchr(in, '\n', n), *cr = memchr(in, '\r', n);
    size_t taken = lf ? (size_t)(lf - in) + 1 : n;
    p->head_bytes += taken;
    if ((cr && cr + 1 != (lf ? lf : in + n) && (!lf || cr < lf)) ||
        (text->n && text->p[text->n - 1] == '\r' && in[0] != '\n'))
        http1_refuse(p, 400, "a bare CR in the request line");
    else if (!buf_put(text, in, taken))
        http1_refuse(p, 503, "no memory");
    else if (lf && (text->n < 2 || text->p[text->n - 2] != '\r'))
        http1_refuse(p, 400, "the request line does not end with CRLF");
    else if (lf)
        line_read(p, (str){(const char *)text->p, text->n - 2});
    return taken;
}

/* Empty lines before a request: CRLF only. head_bytes counts them until the line begins. */
static size_t empty_lines(http1_parser *p, const uint8_t *in, size_t n)
{
    size_t at = 0;
    while (at < n) {
        bool half = p->head_bytes % 2;
        if (half ? in[at] != '\n' : in[at] != '\r') {
            if (half || in[at] == '\n')
                http1_refuse(p, 400, "a bare CR or LF before the request");
            else {
                p->head_bytes = 0;
                p->state = P_LINE;
            }
            break;
        }
        at++;
        if (++p->head_bytes > EMPTY_LINES_MAX) {
            http1_refuse(p, 400, "too many empty lines before the request");
            break;
        }
    }
    return at;
}

/* --- fields and body --- */

static const char *llhttp_reason(const llhttp_t *ll, llhttp_errno_t code)
{
    const char *reason = llhttp_get_error_reason(ll);
    return reason && *reason ? reason : llhttp_errno_name(code);
}

static size_t feed(http1_parser *p, const uint8_t *in, size_t n)
{
    bool was_head = p->state == P_FIELDS;
    if (was_head) {
        size_t left = p->limits->head_bytes_max - p->head_bytes;
        if (left == 0) {
            http1_refuse(p, 431, "the head is too large");
            return 0;
        }
        n = n < left ? n : left;
    }
    llhttp_errno_t code = llhttp_execute(&p->llhttp, (const char *)in, n);
    size_t taken = n;
    if (code == HPE_PAUSED) {
        taken = (size_t)((const uint8_t *)llhttp_get_error_pos(&p->llhttp) - in);
        llhttp_resume(&p->llhttp);
    } else if (code != HPE_OK && p->state != P_REFUSED) {
        http1_refuse(p, 400, llhttp_reason(&p->llhttp, code));
    }
    if (was_head) {
        p->head_bytes += taken;
    } else if (p->state != P_REFUSED) {
        /* Framing is measured by the body before it, or the cuts would matter. */
        size_t piece = p->event == HTTP1_BODY ? p->body.n : 0;
        p->chunk_bytes += taken - piece;
        if (p->chunk_bytes > p->limits->head_bytes_max &&
            (p->chunk_bytes - p->limits->head_bytes_max) / CHUNK_BYTES_PER_BODY_BYTE >
                p->body_bytes - piece)
            http1_refuse(p, 400, "more chunk framing than body");
    }
    return taken;
}

/* The check against body_bytes_max was made with the head. */
static size_t body_counted(http1_parser *p, const uint8_t *in, size_t n)
{
    uint64_t left = (uint64_t)p->head->content_length - p->body_bytes;
    n = n < left ? n : (size_t)left;
    p->body = (bytes){in, n};
    p->body_bytes += n;
    p->event = HTTP1_BODY;
    if (n == left)
        p->state = P_DONE;
    return n;
}

size_t http1_parse(http1_parser *p, const uint8_t *in, size_t n, http1_event *ret_event)
{
    size_t at = 0;
    p->event = HTTP1_NEED;
    while (at < n && p->event == HTTP1_NEED) {
        if (p->state == P_START)
            at += empty_lines(p, in + at, n - at);
        else if (p->state == P_LINE)
            at += line_bytes(p, in + at, n - at);
        else if (p->state == P_FIELDS || p->state == P_CHUNKS)
            at += feed(p, in + at, n - at);
        else if (p->state == P_LENGTH)
            at += body_counted(p, in + at, n - at);
        if (p->state == P_DONE || p->state == P_REFUSED)
            break;
    }
    if (p->state == P_REFUSED)
        p->event = HTTP1_REFUSED;
    *ret_event = p->event;
    return at;
}
