/* What a guest may reach beyond itself, in C: one route a thing, so that tests see every answer.
 * Arguments follow '?', separated by '&', and are percent-decoded.
 *
 *     /proxy?URL                 the same method and body there; its answer and trailers back.
 * Fields of the request: x-connect-ms, x-first-byte-ms, x-between-bytes-ms, x-pace-ms (waits so
 * long before each read of the answer), x-trailer (sent as a trailer of that name), x-chunked
 * (without content-length), others are passed on /field?set|append|list&NAME&VALUE      of a new
 * fields: ok, or the case of header-error /answer?NAME&VALUE                     sets a response
 * field and answers /length?DECLARED&ACTUAL    content-length against what is written /early writes
 * the body before response-outparam.set /outparam?N                answers with error-code N
 *     /trailers                  answers with trailers
 *     /tcp?ADDRESS&PORT&TEXT     /udp?ADDRESS&PORT&TEXT     /tcp-bind?ADDRESS&PORT     IPv4
 *     /resolve?NAME
 *     /fs?OP&PATH&OTHER          read write list stat mkdir rmdir unlink rename link symlink
 *                                readlink, relative to the first preopened folder
 *     /fs-swap?N   /fs-probe?N   N times: exchanges a folder and a link that leads outside;
 *                                reads through that name and counts what came
 *
 * A failure is 502 and the number of the error's case, as "future 14", "tcp 1", "fs 31".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name
#define POLL(name) wasi_io_0_2_0_poll_##name
#define NET(name)  wasi_sockets_0_2_0_network_##name
#define TCP(name)  wasi_sockets_0_2_0_tcp_##name
#define UDP(name)  wasi_sockets_0_2_0_udp_##name
#define NAMES(n)   wasi_sockets_0_2_0_ip_name_lookup_##n
#define FS(name)   wasi_filesystem_0_2_0_types_##name

enum { ARGUMENTS_MAX = 4, PIECE_BYTES = 16384 };

typedef struct {
    HTTP(own_incoming_request_t) in;
    HTTP(own_response_outparam_t) outparam;
    HTTP(own_fields_t) headers; /* of the answer */
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
    char *argument[ARGUMENTS_MAX];
    size_t length[ARGUMENTS_MAX];
    HTTP(list_tuple2_field_key_field_value_t) fields; /* of the request */
} call;

static client_string_t text(const char *s) { return (client_string_t){(uint8_t *)s, strlen(s)}; }

/* --- answering ---------------------------------------------------------------------------------
 */

static int add_field(HTTP(own_fields_t) f, const char *name, const void *value, size_t n)
{
    HTTP(header_error_t) error;
    client_string_t key = text(name);
    HTTP(field_value_t) bytes = {(uint8_t *)value, n};
    return HTTP(method_fields_append)(HTTP(borrow_fields)(f), &key, &bytes, &error)
               ? -1
               : (int)error.tag;
}

static void answer_start(call *c, int status)
{
    HTTP(own_outgoing_response_t) r = HTTP(constructor_outgoing_response)(c->headers);
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(r);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &c->body);
    result.val.ok = r;
    HTTP(static_response_outparam_set)(c->outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(c->body), &c->stream);
}

static bool stream_write(IO(own_output_stream_t) s, const void *p, size_t n)
{
    for (size_t done = 0; done < n; done += 4096) {
        IO(stream_error_t) error;
        client_list_u8_t part = {(uint8_t *)p + done, n - done < 4096 ? n - done : 4096};
        if (!IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(s), &part,
                                                               &error))
            return false;
    }
    return true;
}

static bool answer_end(call *c)
{
    HTTP(error_code_t) error;
    IO(output_stream_drop_own)(c->stream);
    return HTTP(static_outgoing_body_finish)(c->body, NULL, &error);
}

__attribute__((format(printf, 3, 4))) static void answer(call *c, int status, const char *format,
                                                         ...)
{
    char *p = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&p, format, args);
    va_end(args);
    answer_start(c, status);
    stream_write(c->stream, p, (size_t)n);
    answer_end(c);
}

static void wait_for(POLL(own_pollable_t) p)
{
    POLL(method_pollable_block)(POLL(borrow_pollable)(p));
    POLL(pollable_drop_own)(p);
}

static void sleep_ms(unsigned ms)
{
    wait_for(wasi_clocks_0_2_0_monotonic_clock_subscribe_duration(ms * 1000000ull));
}

/* --- bytes from one stream to another, both ways at once ----------------------------------------
 */

typedef struct {
    bool open;
    IO(own_input_stream_t) from;
    IO(own_output_stream_t) to;
    client_list_u8_t piece;
    size_t at;   /* of the piece that is written */
    bool broken; /* `to` takes no more, or `from` failed */
    unsigned pace_ms;
} pipe_;

typedef struct {
    POLL(own_pollable_t) at[4];
    size_t n;
} pollables;

/* Moves what it can; says what it waits for. */
static void pipe_step(pipe_ *p, pollables *waits)
{
    IO(borrow_input_stream_t) from = IO(borrow_input_stream)(p->from);
    IO(borrow_output_stream_t) to = IO(borrow_output_stream)(p->to);
    IO(stream_error_t) error;
    while (p->open) {
        if (p->at == p->piece.len) {
            client_list_u8_free(&p->piece);
            p->piece = (client_list_u8_t){0};
            p->at = 0;
            if (p->pace_ms)
                sleep_ms(p->pace_ms);
            if (!IO(method_input_stream_read)(from, PIECE_BYTES, &p->piece, &error)) {
                p->piece = (client_list_u8_t){0};
                p->open = false;
                p->broken = error.tag != WASI_IO_0_2_0_STREAMS_STREAM_ERROR_CLOSED;
            } else if (p->piece.len == 0) {
                waits->at[waits->n++] = IO(method_input_stream_subscribe)(from);
                return;
            }
            continue;
        }
        uint64_t room = 0;
        client_list_u8_t part = {p->piece.ptr + p->at, p->piece.len - p->at};
        if (!IO(method_output_stream_check_write)(to, &room, &error)) {
            p->open = false;
            p->broken = true;
            return;
        }
        part.len = part.len < room ? part.len : (size_t)room;
        if (room == 0) {
            waits->at[waits->n++] = IO(method_output_stream_subscribe)(to);
            return;
        }
        if (!IO(method_output_stream_write)(to, &part, &error)) {
            p->open = false;
            p->broken = true;
            return;
        }
        p->at += part.len;
    }
}

static void pollables_wait(pollables *w)
{
    POLL(borrow_pollable_t) borrowed[4];
    client_list_u32_t ready;
    for (size_t i = 0; i < w->n; i++)
        borrowed[i] = POLL(borrow_pollable)(w->at[i]);
    POLL(list_borrow_pollable_t) list = {borrowed, w->n};
    if (w->n) {
        POLL(poll)(&list, &ready);
        client_list_u32_free(&ready);
    }
    for (size_t i = 0; i < w->n; i++)
        POLL(pollable_drop_own)(w->at[i]);
    w->n = 0;
}

/* --- outgoing HTTP -----------------------------------------------------------------------------
 */

static const char *request_field(call *c, const char *name)
{
    for (size_t i = 0; i < c->fields.len; i++)
        if (c->fields.ptr[i].f0.len == strlen(name) &&
            memcmp(c->fields.ptr[i].f0.ptr, name, strlen(name)) == 0)
            return strndup((char *)c->fields.ptr[i].f1.ptr, c->fields.ptr[i].f1.len);
    return NULL;
}

/* Those of our own request that are for there. */
static HTTP(own_fields_t) fields_on(call *c)
{
    HTTP(own_fields_t) f = HTTP(constructor_fields)();
    for (size_t i = 0; i < c->fields.len; i++) {
        char *name = strndup((char *)c->fields.ptr[i].f0.ptr, c->fields.ptr[i].f0.len);
        bool has_length = strcmp(name, "content-length") == 0;
        if (strncmp(name, "x-", 2) != 0 && strncmp(name, "spin-", 5) != 0 &&
            !(has_length && request_field(c, "x-trailer")))
            add_field(f, name, c->fields.ptr[i].f1.ptr, c->fields.ptr[i].f1.len);
    }
    return f;
}

/* scheme://authority/path */
static HTTP(own_outgoing_request_t) request_to(call *c, const char *url, bool *ret_ok)
{
    HTTP(method_t) method;
    HTTP(method_incoming_request_method)(HTTP(borrow_incoming_request)(c->in), &method);
    HTTP(own_outgoing_request_t) q = HTTP(constructor_outgoing_request)(fields_on(c));
    HTTP(borrow_outgoing_request_t) b = HTTP(borrow_outgoing_request)(q);
    HTTP(scheme_t)
    scheme = {.tag = strncmp(url, "https:", 6) == 0 ? WASI_HTTP_0_2_0_TYPES_SCHEME_HTTPS
                                                    : WASI_HTTP_0_2_0_TYPES_SCHEME_HTTP};
    const char *at = strstr(url, "://"), *rest = at ? at + 3 : url;
    const char *slash = strchr(rest, '/');
    client_string_t authority = {(uint8_t *)rest, slash ? (size_t)(slash - rest) : strlen(rest)};
    client_string_t path = text(slash ? slash : "/");
    *ret_ok = HTTP(method_outgoing_request_set_method)(b, &method) &&
              HTTP(method_outgoing_request_set_scheme)(b, &scheme) &&
              HTTP(method_outgoing_request_set_authority)(b, &authority) &&
              HTTP(method_outgoing_request_set_path_with_query)(b, &path);
    return q;
}

static HTTP(own_request_options_t) options_of(call *c)
{
    HTTP(own_request_options_t) o = HTTP(constructor_request_options)();
    HTTP(borrow_request_options_t) b = HTTP(borrow_request_options)(o);
    const char *connect = request_field(c, "x-connect-ms"),
               *first = request_field(c, "x-first-byte-ms"),
               *between = request_field(c, "x-between-bytes-ms");
    HTTP(duration_t) ns;
    if (connect && (ns = strtoull(connect, NULL, 10) * 1000000))
        HTTP(method_request_options_set_connect_timeout)(b, &ns);
    if (first && (ns = strtoull(first, NULL, 10) * 1000000))
        HTTP(method_request_options_set_first_byte_timeout)(b, &ns);
    if (between && (ns = strtoull(between, NULL, 10) * 1000000))
        HTTP(method_request_options_set_between_bytes_timeout)(b, &ns);
    return o;
}

/* Begins the answer with the status and fields of theirs; its body comes through `down`. */
static void answer_like(call *c, HTTP(own_incoming_response_t) r, HTTP(own_incoming_body_t) * body,
                        pipe_ *down)
{
    HTTP(borrow_incoming_response_t) b = HTTP(borrow_incoming_response)(r);
    HTTP(list_tuple2_field_key_field_value_t) theirs;
    HTTP(own_headers_t) headers = HTTP(method_incoming_response_headers)(b);
    HTTP(method_fields_entries)(HTTP(borrow_fields)(headers), &theirs);
    for (size_t i = 0; i < theirs.len; i++) {
        char *name = strndup((char *)theirs.ptr[i].f0.ptr, theirs.ptr[i].f0.len);
        if (strcmp(name, "content-length") != 0 || !request_field(c, "x-chunked"))
            add_field(c->headers, name, theirs.ptr[i].f1.ptr, theirs.ptr[i].f1.len);
    }
    HTTP(fields_drop_own)(headers);
    const char *pace = request_field(c, "x-pace-ms");
    answer_start(c, HTTP(method_incoming_response_status)(b));
    HTTP(method_incoming_response_consume)(b, body);
    down->open = true;
    down->pace_ms = pace ? (unsigned)atoi(pace) : 0;
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(*body), &down->from);
    down->to = c->stream;
}

/* Their trailers become ours. */
static void answer_trailers(call *c, HTTP(own_incoming_body_t) body)
{
    HTTP(own_future_trailers_t) f = HTTP(static_incoming_body_finish)(body);
    HTTP(borrow_future_trailers_t) b = HTTP(borrow_future_trailers)(f);
    HTTP(result_result_option_own_trailers_error_code_void_t) got;
    HTTP(error_code_t) error;
    wait_for(HTTP(method_future_trailers_subscribe)(b));
    bool some = HTTP(method_future_trailers_get)(b, &got) && !got.is_err && !got.val.ok.is_err &&
                got.val.ok.val.ok.is_some;
    IO(output_stream_drop_own)(c->stream);
    HTTP(static_outgoing_body_finish)(c->body, some ? &got.val.ok.val.ok.val : NULL, &error);
}

static void request_end(call *c, IO(own_output_stream_t) up, HTTP(own_outgoing_body_t) body)
{
    const char *name = request_field(c, "x-trailer");
    HTTP(error_code_t) error;
    HTTP(own_fields_t) trailers = HTTP(constructor_fields)();
    if (name)
        add_field(trailers, name, "sent", 4);
    IO(output_stream_drop_own)(up);
    HTTP(static_outgoing_body_finish)(body, name ? &trailers : NULL, &error);
}

static void proxy(call *c)
{
    bool ok, answered = false, sending;
    HTTP(own_outgoing_request_t) q = request_to(c, c->argument[0], &ok);
    HTTP(own_outgoing_body_t) q_body;
    HTTP(own_incoming_body_t) in_body, r_body = {0};
    pipe_ up = {.open = true}, down = {0};
    if (!ok) {
        answer(c, 502, "url");
        return;
    }
    HTTP(method_outgoing_request_body)(HTTP(borrow_outgoing_request)(q), &q_body);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(q_body), &up.to);
    HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(c->in), &in_body);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(in_body), &up.from);
    HTTP(own_request_options_t) o = options_of(c);
    wasi_http_0_2_0_outgoing_handler_own_future_incoming_response_t future;
    HTTP(error_code_t) error;
    if (!wasi_http_0_2_0_outgoing_handler_handle(q, &o, &future, &error)) {
        answer(c, 502, "handle %d", error.tag);
        return;
    }
    sending = true;
    while (!answered || down.open || sending) {
        pollables waits = {0};
        pipe_step(&up, &waits);
        if (sending && !up.open) {
            request_end(c, up.to, q_body);
            sending = false;
        }
        HTTP(result_result_own_incoming_response_error_code_void_t) got;
        if (!answered && !HTTP(method_future_incoming_response_get)(
                             HTTP(borrow_future_incoming_response)(future), &got)) {
            waits.at[waits.n++] = HTTP(method_future_incoming_response_subscribe)(
                HTTP(borrow_future_incoming_response)(future));
        } else if (!answered && got.val.ok.is_err) {
            answer(c, 502, "future %d", got.val.ok.val.err.tag);
            return;
        } else if (!answered) {
            answered = true;
            answer_like(c, got.val.ok.val.ok, &r_body, &down);
        }
        if (answered)
            pipe_step(&down, &waits);
        if (answered && !down.open && sending)
            up.open = false; /* they answered without the rest */
        pollables_wait(&waits);
    }
    if (down.broken)
        __builtin_trap(); /* cut, as theirs was */
    IO(input_stream_drop_own)(down.from);
    answer_trailers(c, r_body);
}

/* --- incoming HTTP -----------------------------------------------------------------------------
 */

static const char *const header_errors[] = {"invalid-syntax", "forbidden", "immutable"};

static void field(call *c)
{
    HTTP(own_fields_t) f = HTTP(constructor_fields)();
    client_string_t name = text(c->argument[1]);
    HTTP(field_value_t) value = {(uint8_t *)c->argument[2], c->length[2]};
    HTTP(header_error_t) error = {0};
    bool ok;
    name.len = c->length[1];
    if (strcmp(c->argument[0], "set") == 0) {
        HTTP(list_field_value_t) values = {&value, 1};
        ok = HTTP(method_fields_set)(HTTP(borrow_fields)(f), &name, &values, &error);
    } else if (strcmp(c->argument[0], "append") == 0) {
        ok = HTTP(method_fields_append)(HTTP(borrow_fields)(f), &name, &value, &error);
    } else {
        HTTP(tuple2_field_key_field_value_t) pair = {name, value};
        HTTP(list_tuple2_field_key_field_value_t) list = {&pair, 1};
        ok = HTTP(static_fields_from_list)(&list, &f, &error);
    }
    answer(c, 200, "%s", ok ? "ok" : header_errors[error.tag]);
}

static void answer_field(call *c)
{
    int error = add_field(c->headers, c->argument[0], c->argument[1], c->length[1]);
    answer(c, 200, "%s", error < 0 ? "ok" : header_errors[error]);
}

static void length(call *c)
{
    size_t n = (size_t)atoi(c->argument[1]);
    char *body = malloc(n + 1);
    memset(body, 'x', n);
    add_field(c->headers, "content-length", c->argument[0], c->length[0]);
    answer_start(c, 200);
    bool written = stream_write(c->stream, body, n), ended = answer_end(c);
    printf("written %d ended %d\n", written, ended);
    fflush(stdout);
}

static void early(call *c)
{
    HTTP(own_outgoing_response_t) r = HTTP(constructor_outgoing_response)(c->headers);
    HTTP(result_own_outgoing_response_error_code_t) result = {.val.ok = r};
    HTTP(method_outgoing_response_body)(HTTP(borrow_outgoing_response)(r), &c->body);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(c->body), &c->stream);
    for (int i = 0; i < 50; i++)
        stream_write(c->stream, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                     64);
    HTTP(static_response_outparam_set)(c->outparam, &result);
    stream_write(c->stream, "after", 5);
    answer_end(c);
}

static void outparam(call *c)
{
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = true};
    result.val.err.tag = (uint8_t)atoi(c->argument[0]);
    HTTP(static_response_outparam_set)(c->outparam, &result);
}

static void trailers(call *c)
{
    HTTP(own_fields_t) t = HTTP(constructor_fields)();
    HTTP(error_code_t) error;
    add_field(t, "x-sum", "42", 2);
    answer_start(c, 200);
    stream_write(c->stream, "body", 4);
    IO(output_stream_drop_own)(c->stream);
    HTTP(static_outgoing_body_finish)(c->body, &t, &error);
}

/* --- sockets -----------------------------------------------------------------------------------
 */

static NET(ip_socket_address_t) address_of(const char *ip, const char *port)
{
    NET(ip_socket_address_t) a = {.tag = WASI_SOCKETS_0_2_0_NETWORK_IP_SOCKET_ADDRESS_IPV4};
    unsigned b[4] = {0};
    sscanf(ip, "%u.%u.%u.%u", &b[0], &b[1], &b[2], &b[3]);
    a.val.ipv4.port = (uint16_t)atoi(port);
    a.val.ipv4.address.f0 = (uint8_t)b[0];
    a.val.ipv4.address.f1 = (uint8_t)b[1];
    a.val.ipv4.address.f2 = (uint8_t)b[2];
    a.val.ipv4.address.f3 = (uint8_t)b[3];
    return a;
}

static NET(own_network_t) network(void)
{
    return wasi_sockets_0_2_0_instance_network_instance_network();
}

static bool tcp_socket(call *c, TCP(own_tcp_socket_t) * ret)
{
    TCP(error_code_t) error;
    bool ok = wasi_sockets_0_2_0_tcp_create_socket_create_tcp_socket(0, ret, &error);
    if (!ok)
        answer(c, 502, "tcp %d", error);
    return ok;
}

static void tcp(call *c)
{
    TCP(own_tcp_socket_t) s;
    TCP(error_code_t) error;
    TCP(tuple2_own_input_stream_own_output_stream_t) streams;
    TCP(ip_socket_address_t) a = address_of(c->argument[0], c->argument[1]);
    if (!tcp_socket(c, &s))
        return;
    TCP(borrow_tcp_socket_t) b = TCP(borrow_tcp_socket)(s);
    NET(own_network_t) n = network();
    bool ok = TCP(method_tcp_socket_start_connect)(b, NET(borrow_network)(n), &a, &error);
    while (ok && !TCP(method_tcp_socket_finish_connect)(b, &streams, &error)) {
        ok = error == WASI_SOCKETS_0_2_0_NETWORK_ERROR_CODE_WOULD_BLOCK;
        if (ok)
            wait_for(TCP(method_tcp_socket_subscribe)(b));
    }
    if (!ok) {
        answer(c, 502, "tcp %d", error);
        return;
    }
    stream_write(streams.f1, c->argument[2], c->length[2]);
    TCP(method_tcp_socket_shutdown)(b, WASI_SOCKETS_0_2_0_TCP_SHUTDOWN_TYPE_SEND, &error);
    answer_start(c, 200);
    client_list_u8_t part;
    IO(stream_error_t) failure;
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(streams.f0), 4096, &part,
                                                 &failure))
        stream_write(c->stream, part.ptr, part.len);
    answer_end(c);
}

static void tcp_bind(call *c)
{
    TCP(own_tcp_socket_t) s;
    TCP(error_code_t) error;
    TCP(ip_socket_address_t) a = address_of(c->argument[0], c->argument[1]);
    NET(own_network_t) n = network();
    if (!tcp_socket(c, &s))
        return;
    TCP(borrow_tcp_socket_t) b = TCP(borrow_tcp_socket)(s);
    if (TCP(method_tcp_socket_start_bind)(b, NET(borrow_network)(n), &a, &error))
        answer(c, 200, "bound");
    else
        answer(c, 502, "tcp %d", error);
}

static void udp(call *c)
{
    UDP(own_udp_socket_t) s;
    UDP(error_code_t) error;
    UDP(ip_socket_address_t)
    a = address_of(c->argument[0], c->argument[1]), own = address_of("127.0.0.1", "0");
    UDP(tuple2_own_incoming_datagram_stream_own_outgoing_datagram_stream_t) streams;
    UDP(outgoing_datagram_t) d = {.data = {(uint8_t *)c->argument[2], c->length[2]}};
    UDP(list_outgoing_datagram_t) list = {&d, 1};
    UDP(list_incoming_datagram_t) got = {0};
    uint64_t sent;
    NET(own_network_t) n = network();
    bool ok = wasi_sockets_0_2_0_udp_create_socket_create_udp_socket(0, &s, &error);
    UDP(borrow_udp_socket_t) b = UDP(borrow_udp_socket)(s);
    ok = ok && UDP(method_udp_socket_start_bind)(b, NET(borrow_network)(n), &own, &error) &&
         UDP(method_udp_socket_finish_bind)(b, &error) &&
         UDP(method_udp_socket_stream)(b, &a, &streams, &error);
    ok = ok &&
         UDP(method_outgoing_datagram_stream_check_send)(
             UDP(borrow_outgoing_datagram_stream)(streams.f1), &sent, &error) &&
         UDP(method_outgoing_datagram_stream_send)(UDP(borrow_outgoing_datagram_stream)(streams.f1),
                                                   &list, &sent, &error);
    if (ok)
        wait_for(UDP(method_incoming_datagram_stream_subscribe)(
            UDP(borrow_incoming_datagram_stream)(streams.f0)));
    ok = ok && UDP(method_incoming_datagram_stream_receive)(
                   UDP(borrow_incoming_datagram_stream)(streams.f0), 1, &got, &error);
    if (!ok)
        answer(c, 502, "udp %d", error);
    else if (got.len)
        answer(c, 200, "%.*s", (int)got.ptr[0].data.len, (char *)got.ptr[0].data.ptr);
    else
        answer(c, 502, "nothing came");
}

static void resolve(call *c)
{
    NAMES(own_resolve_address_stream_t) s;
    NAMES(error_code_t) error;
    NAMES(option_ip_address_t) a;
    client_string_t name = text(c->argument[0]);
    NET(own_network_t) n = network();
    char found[1024] = "";
    size_t at = 0;
    bool ok = NAMES(resolve_addresses)(NET(borrow_network)(n), &name, &s, &error);
    while (ok) {
        NAMES(borrow_resolve_address_stream_t) b = NAMES(borrow_resolve_address_stream)(s);
        if (!NAMES(method_resolve_address_stream_resolve_next_address)(b, &a, &error)) {
            ok = error == WASI_SOCKETS_0_2_0_NETWORK_ERROR_CODE_WOULD_BLOCK;
            if (ok)
                wait_for(NAMES(method_resolve_address_stream_subscribe)(b));
            continue;
        }
        if (!a.is_some)
            break;
        NET(ipv4_address_t) v4 = a.val.val.ipv4;
        at += (size_t)(a.val.tag == WASI_SOCKETS_0_2_0_NETWORK_IP_ADDRESS_IPV4
                           ? snprintf(found + at, sizeof found - at, "%u.%u.%u.%u\n", v4.f0, v4.f1,
                                      v4.f2, v4.f3)
                           : snprintf(found + at, sizeof found - at, "v6\n"));
    }
    if (ok)
        answer(c, 200, "%s", found);
    else
        answer(c, 502, "names %d", error);
}

/* --- files -------------------------------------------------------------------------------------
 */

static FS(borrow_descriptor_t) root(bool *ret_found)
{
    wasi_filesystem_0_2_0_preopens_list_tuple2_own_descriptor_string_t list;
    wasi_filesystem_0_2_0_preopens_get_directories(&list);
    *ret_found = list.len > 0;
    return *ret_found ? FS(borrow_descriptor)(list.ptr[0].f0) : (FS(borrow_descriptor_t)){0};
}

/* Opens and reads up to n bytes; -1 with *ret_error. */
static int fs_read(FS(borrow_descriptor_t) dir, const char *path, char *to, size_t n,
                   FS(error_code_t) * ret_error)
{
    FS(own_descriptor_t) d;
    client_string_t p = text(path);
    client_tuple2_list_u8_bool_t got;
    if (!FS(method_descriptor_open_at)(dir, WASI_FILESYSTEM_0_2_0_TYPES_PATH_FLAGS_SYMLINK_FOLLOW,
                                       &p, 0, WASI_FILESYSTEM_0_2_0_TYPES_DESCRIPTOR_FLAGS_READ, &d,
                                       ret_error))
        return -1;
    bool ok = FS(method_descriptor_read)(FS(borrow_descriptor)(d), n, 0, &got, ret_error);
    FS(descriptor_drop_own)(d);
    if (!ok)
        return -1;
    int len = (int)got.f0.len;
    memcpy(to, got.f0.ptr, got.f0.len);
    client_list_u8_free(&got.f0);
    return len;
}

static bool fs_write(FS(borrow_descriptor_t) dir, const char *path, const char *what,
                     FS(error_code_t) * ret_error)
{
    FS(own_descriptor_t) d;
    client_string_t p = text(path);
    client_list_u8_t bytes = {(uint8_t *)what, strlen(what)};
    FS(filesize_t) written;
    if (!FS(method_descriptor_open_at)(
            dir, WASI_FILESYSTEM_0_2_0_TYPES_PATH_FLAGS_SYMLINK_FOLLOW, &p,
            WASI_FILESYSTEM_0_2_0_TYPES_OPEN_FLAGS_CREATE |
                WASI_FILESYSTEM_0_2_0_TYPES_OPEN_FLAGS_TRUNCATE,
            WASI_FILESYSTEM_0_2_0_TYPES_DESCRIPTOR_FLAGS_WRITE, &d, ret_error))
        return false;
    bool ok = FS(method_descriptor_write)(FS(borrow_descriptor)(d), &bytes, 0, &written, ret_error);
    FS(descriptor_drop_own)(d);
    return ok;
}

static bool fs_list(FS(borrow_descriptor_t) dir, const char *path, char *to, size_t room,
                    FS(error_code_t) * ret_error)
{
    FS(own_descriptor_t) d;
    FS(own_directory_entry_stream_t) s;
    FS(option_directory_entry_t) e;
    client_string_t p = text(path);
    size_t n = 0;
    if (!FS(method_descriptor_open_at)(dir, WASI_FILESYSTEM_0_2_0_TYPES_PATH_FLAGS_SYMLINK_FOLLOW,
                                       &p, WASI_FILESYSTEM_0_2_0_TYPES_OPEN_FLAGS_DIRECTORY,
                                       WASI_FILESYSTEM_0_2_0_TYPES_DESCRIPTOR_FLAGS_READ, &d,
                                       ret_error) ||
        !FS(method_descriptor_read_directory)(FS(borrow_descriptor)(d), &s, ret_error))
        return false;
    while (FS(method_directory_entry_stream_read_directory_entry)(
        FS(borrow_directory_entry_stream)(s), &e, ret_error)) {
        if (!e.is_some)
            return true;
        n += (size_t)snprintf(to + n, room - n, "%.*s\n", (int)e.val.name.len,
                              (char *)e.val.name.ptr);
    }
    return false;
}

static void fs(call *c)
{
    bool found, ok = false;
    FS(borrow_descriptor_t) r = root(&found);
    FS(error_code_t) error = 0;
    FS(descriptor_stat_t) st;
    const char *op = c->argument[0];
    client_string_t a = text(c->argument[1]), b = text(c->argument[2]), link;
    static char out[65536];
    a.len = c->length[1];
    if (!found) {
        answer(c, 502, "no preopens");
        return;
    }
    if (strcmp(op, "read") == 0) {
        int n = fs_read(r, c->argument[1], out, sizeof out - 1, &error);
        ok = n >= 0;
        out[ok ? n : 0] = 0;
    } else if (strcmp(op, "write") == 0) {
        ok = fs_write(r, c->argument[1], c->argument[2], &error);
    } else if (strcmp(op, "list") == 0) {
        ok = fs_list(r, c->argument[1], out, sizeof out, &error);
    } else if (strcmp(op, "stat") == 0) {
        ok = FS(method_descriptor_stat_at)(r, WASI_FILESYSTEM_0_2_0_TYPES_PATH_FLAGS_SYMLINK_FOLLOW,
                                           &a, &st, &error);
        snprintf(out, sizeof out, "%u %llu", st.type, (unsigned long long)st.size);
    } else if (strcmp(op, "mkdir") == 0) {
        ok = FS(method_descriptor_create_directory_at)(r, &a, &error);
    } else if (strcmp(op, "rmdir") == 0) {
        ok = FS(method_descriptor_remove_directory_at)(r, &a, &error);
    } else if (strcmp(op, "unlink") == 0) {
        ok = FS(method_descriptor_unlink_file_at)(r, &a, &error);
    } else if (strcmp(op, "rename") == 0) {
        ok = FS(method_descriptor_rename_at)(r, &a, r, &b, &error);
    } else if (strcmp(op, "link") == 0) {
        ok = FS(method_descriptor_link_at)(r, 0, &a, r, &b, &error);
    } else if (strcmp(op, "symlink") == 0) {
        ok = FS(method_descriptor_symlink_at)(r, &a, &b, &error);
    } else if (strcmp(op, "readlink") == 0) {
        ok = FS(method_descriptor_readlink_at)(r, &a, &link, &error);
        if (ok)
            snprintf(out, sizeof out, "%.*s", (int)link.len, (char *)link.ptr);
    }
    if (ok)
        answer(c, 200, "%s", out);
    else
        answer(c, 502, "fs %d", error);
}

/* "door" is in turn a folder of ours and a link that leads outside (or, refused, is not there). */
static void fs_swap(call *c)
{
    bool found;
    FS(borrow_descriptor_t) r = root(&found);
    FS(error_code_t) error;
    client_string_t door = text("door"), inside = text("inside"), outside = text("outside");
    int swaps = 0;
    for (int i = 0, n = atoi(c->argument[0]); i < n; i++)
        swaps += FS(method_descriptor_rename_at)(r, &door, r, &inside, &error) &&
                 FS(method_descriptor_rename_at)(r, &outside, r, &door, &error) &&
                 FS(method_descriptor_rename_at)(r, &door, r, &outside, &error) &&
                 FS(method_descriptor_rename_at)(r, &inside, r, &door, &error);
    answer(c, 200, "%d", swaps);
}

static void fs_probe(call *c)
{
    bool found;
    char got[64];
    FS(borrow_descriptor_t) r = root(&found);
    FS(error_code_t) error;
    int ours = 0, theirs = 0, refused = 0;
    for (int i = 0, n = atoi(c->argument[0]); i < n; i++) {
        int len = fs_read(r, "door/file", got, sizeof got, &error);
        bool mine = len == 4 && memcmp(got, "ours", 4) == 0;
        ours += mine;
        refused += len < 0;
        theirs += len >= 0 && !mine;
        /* creating through it must not lead outside either */
        fs_write(r, "door/new", "x", &error);
    }
    answer(c, 200, "%d %d %d", ours, refused, theirs);
}

/* --- which -------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    void (*serve)(call *);
} routes[] = {
    {"proxy", proxy},       {"field", field},       {"answer", answer_field}, {"length", length},
    {"early", early},       {"trailers", trailers}, {"outparam", outparam},   {"tcp", tcp},
    {"tcp-bind", tcp_bind}, {"udp", udp},           {"resolve", resolve},     {"fs", fs},
    {"fs-swap", fs_swap},   {"fs-probe", fs_probe},
};

static size_t decode(char *s)
{
    char *to = s, hex[3] = {0};
    for (const char *p = s; *p; p++)
        if (*p == '%' && p[1] && p[2]) {
            memcpy(hex, p + 1, 2);
            *to++ = (char)strtoul(hex, NULL, 16);
            p += 2;
        } else {
            *to++ = *p;
        }
    *to = 0;
    return (size_t)(to - s);
}

static void arguments(call *c, char *query)
{
    for (int i = 0; i < ARGUMENTS_MAX; i++) {
        c->argument[i] = query ? query : strdup("");
        query = query && i + 1 < ARGUMENTS_MAX ? strchr(query, '&') : NULL;
        if (query)
            *query++ = 0;
        c->length[i] = decode(c->argument[i]);
    }
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    call c = {.in = in, .outparam = outparam, .headers = HTTP(constructor_fields)()};
    client_string_t raw = {0};
    HTTP(own_headers_t)
    own = HTTP(method_incoming_request_headers)(HTTP(borrow_incoming_request)(in));
    HTTP(method_fields_entries)(HTTP(borrow_fields)(own), &c.fields);
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *query = strchr(path, '?');
    if (query)
        *query++ = 0;
    arguments(&c, query);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].name, name) == 0) {
            routes[i].serve(&c);
            return;
        }
    answer(&c, 404, "no route '%s'", name);
}
