/* Spin's conformance cases, as our own: one route a case, each doing what the case of that name
 * does, in order. All went well: 200 with an empty body. Else 500 with the error as Spin's cases
 * spell it ("Error::AccessDenied"), or what was expected and not so.
 *
 *     /key-value   /sqlite   /variables   /base/...(request-shape)
 *     /outbound   asks the URL in the field `url`; its answer back
 *     /tcp        connects to the field `address`, writes a line and reads it back
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name
#define POLL(name) wasi_io_0_2_0_poll_##name
#define OUT(name)  wasi_http_0_2_0_outgoing_handler_##name
#define TCP(name)  wasi_sockets_0_2_0_tcp_##name
#define NET(name)  wasi_sockets_0_2_0_network_##name
#define KV(name)   fermyon_spin_2_0_0_key_value_##name
#define SQL(name)  fermyon_spin_2_0_0_sqlite_##name
#define VAR(name)  fermyon_spin_2_0_0_variables_##name

static HTTP(own_response_outparam_t) outparam;
static HTTP(own_incoming_request_t) request;

static HTTP(own_outgoing_body_t) answer_begin(int status, HTTP(own_fields_t) headers)
{
    HTTP(own_outgoing_response_t) r = HTTP(constructor_outgoing_response)(headers);
    HTTP(borrow_outgoing_response_t) b = HTTP(borrow_outgoing_response)(r);
    HTTP(result_own_outgoing_response_error_code_t) result = {.val.ok = r};
    HTTP(own_outgoing_body_t) body;
    HTTP(method_outgoing_response_set_status_code)(b, (uint16_t)status);
    HTTP(method_outgoing_response_body)(b, &body);
    HTTP(static_response_outparam_set)(outparam, &result);
    return body;
}

static void body_write(HTTP(own_outgoing_body_t) body, const void *p, size_t n)
{
    IO(own_output_stream_t) s;
    IO(stream_error_t) e;
    HTTP(error_code_t) error;
    conformance_list_u8_t part = {(uint8_t *)p, n};
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(body), &s);
    if (n)
        IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(s), &part, &e);
    IO(output_stream_drop_own)(s);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

/* The case's end. */
__attribute__((format(printf, 1, 2))) _Noreturn static void fail(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    body_write(answer_begin(500, HTTP(constructor_fields)()), text, (size_t)n);
    exit(0);
}

#define EXPECT(what)                                                                               \
    do {                                                                                           \
        if (!(what))                                                                               \
            fail("not so: %s", #what);                                                             \
    } while (0)

static conformance_string_t text(const char *s)
{
    return (conformance_string_t){(uint8_t *)s, strlen(s)};
}

static bool same(const void *p, size_t n, const char *want)
{
    return n == strlen(want) && !memcmp(p, want, n);
}

/* --- key-value -------------------------------------------------------------------------------- */

static void kv_fail(const KV(error_t) * e)
{
    static const char *const names[] = {"StoreTableFull", "NoSuchStore", "AccessDenied", "Other"};
    fail("Error::%s", names[e->tag]);
}

#define KV_CALL(call)                                                                              \
    do {                                                                                           \
        KV(error_t) e;                                                                             \
        if (!(call))                                                                               \
            kv_fail(&e);                                                                           \
    } while (0)

static void key_value(void)
{
    conformance_string_t forbidden = text("forbidden"), name = text("default"), bar = text("bar"),
                         qux = text("qux");
    conformance_list_u8_t baz = {(uint8_t *)"baz", 3}, wow = {(uint8_t *)"wow", 3};
    KV(own_store_t) own;
    KV(error_t) denied;
    conformance_list_string_t keys;
    conformance_option_list_u8_t got;
    bool there;
    EXPECT(!KV(static_store_open)(&forbidden, &own, &denied) &&
           denied.tag == FERMYON_SPIN_2_0_0_KEY_VALUE_ERROR_ACCESS_DENIED);
    KV_CALL(KV(static_store_open)(&name, &own, &e));
    KV(borrow_store_t) s = KV(borrow_store)(own);
    KV_CALL(KV(method_store_delete)(s, &bar, &e));
    KV_CALL(KV(method_store_exists)(s, &bar, &there, &e));
    EXPECT(!there);
    KV_CALL(KV(method_store_get)(s, &bar, &got, &e));
    EXPECT(!got.is_some);
    KV_CALL(KV(method_store_get_keys)(s, &keys, &e));
    EXPECT(keys.len == 0);
    KV_CALL(KV(method_store_set)(s, &bar, &baz, &e));
    KV_CALL(KV(method_store_exists)(s, &bar, &there, &e));
    EXPECT(there);
    KV_CALL(KV(method_store_get)(s, &bar, &got, &e));
    EXPECT(got.is_some && same(got.val.ptr, got.val.len, "baz"));
    KV_CALL(KV(method_store_set)(s, &bar, &wow, &e));
    KV_CALL(KV(method_store_get)(s, &bar, &got, &e));
    EXPECT(got.is_some && same(got.val.ptr, got.val.len, "wow"));
    KV_CALL(KV(method_store_get_keys)(s, &keys, &e));
    EXPECT(keys.len == 1 && same(keys.ptr[0].ptr, keys.ptr[0].len, "bar"));
    KV_CALL(KV(method_store_set)(s, &qux, &baz, &e));
    KV_CALL(KV(method_store_get_keys)(s, &keys, &e));
    EXPECT(keys.len == 2);
    for (int i = 0; i < 2; i++)
        KV_CALL(KV(method_store_delete)(s, &bar, &e));
    KV_CALL(KV(method_store_delete)(s, &qux, &e));
    KV_CALL(KV(method_store_exists)(s, &bar, &there, &e));
    EXPECT(!there);
}

/* --- sqlite ----------------------------------------------------------------------------------- */

static SQL(query_result_t)
    execute(SQL(borrow_connection_t) c, const char *statement, SQL(value_t) * values, size_t n)
{
    static const char *const names[] = {"NoSuchDatabase", "AccessDenied", "InvalidConnection",
                                        "DatabaseFull", "Io"};
    conformance_string_t sql = text(statement);
    SQL(list_value_t) list = {values, n};
    SQL(query_result_t) r;
    SQL(error_t) e;
    if (!SQL(method_connection_execute)(c, &sql, &list, &r, &e))
        fail("Error::%s", names[e.tag]);
    return r;
}

static void sqlite(void)
{
    conformance_string_t forbidden = text("forbidden"), name = text("default");
    SQL(own_connection_t) own;
    SQL(error_t) e;
    SQL(value_t)
    values[] = {{.tag = FERMYON_SPIN_2_0_0_SQLITE_VALUE_TEXT, .val.text = text("key")},
                {.tag = FERMYON_SPIN_2_0_0_SQLITE_VALUE_TEXT, .val.text = text("value")}};
    EXPECT(!SQL(static_connection_open)(&forbidden, &own, &e) &&
           e.tag == FERMYON_SPIN_2_0_0_SQLITE_ERROR_ACCESS_DENIED);
    if (!SQL(static_connection_open)(&name, &own, &e))
        fail("Error::%s",
             e.tag == FERMYON_SPIN_2_0_0_SQLITE_ERROR_ACCESS_DENIED ? "AccessDenied" : "other");
    SQL(borrow_connection_t) c = SQL(borrow_connection)(own);
    execute(c, "CREATE TABLE IF NOT EXISTS test_data (key TEXT NOT NULL, value TEXT NOT NULL);",
            NULL, 0);
    execute(c, "INSERT INTO test_data (key, value) VALUES (?, ?);", values, 2);
    SQL(query_result_t)
    r = execute(c, "SELECT key, value FROM test_data WHERE key = ?;", values, 1);
    EXPECT(r.columns.len == 2 && same(r.columns.ptr[0].ptr, r.columns.ptr[0].len, "key"));
    EXPECT(r.rows.len == 1 && r.rows.ptr[0].values.len == 2);
    const SQL(value_t) *v = &r.rows.ptr[0].values.ptr[1];
    EXPECT(v->tag == FERMYON_SPIN_2_0_0_SQLITE_VALUE_TEXT &&
           same(v->val.text.ptr, v->val.text.len, "value"));
}

/* --- variables -------------------------------------------------------------------------------- */

static void variables(void)
{
    static const char *const invalid[] = {"invalid-name", "invalid!name", "4invalidname"};
    conformance_string_t name = text("variable"), missing = text("non_existent"), got;
    VAR(error_t) e;
    EXPECT(VAR(get)(&name, &got, &e) && same(got.ptr, got.len, "value"));
    EXPECT(!VAR(get)(&missing, &got, &e) && e.tag == FERMYON_SPIN_2_0_0_VARIABLES_ERROR_UNDEFINED);
    for (int i = 0; i < 3; i++) {
        name = text(invalid[i]);
        EXPECT(!VAR(get)(&name, &got, &e) &&
               e.tag == FERMYON_SPIN_2_0_0_VARIABLES_ERROR_INVALID_NAME);
    }
}

/* --- the request ------------------------------------------------------------------------------ */

/* The only value of a field of the request. */
static char *field(const char *name)
{
    HTTP(own_headers_t)
    all = HTTP(method_incoming_request_headers)(HTTP(borrow_incoming_request)(request));
    conformance_string_t key = text(name);
    HTTP(list_field_value_t) values;
    HTTP(method_fields_get)(HTTP(borrow_fields)(all), &key, &values);
    if (values.len != 1)
        fail("%zu values of %s", values.len, name);
    return strndup((char *)values.ptr[0].ptr, values.ptr[0].len);
}

static void request_shape(void)
{
    static const char *const want[][2] = {
        {"spin-raw-component-route", "/base/:path_segment/:path_end/..."},
        {"spin-path-info", "/rest"},
        {"spin-base-path", "/"},
        {"spin-component-route", "/base/:path_segment/:path_end"},
        {"spin-path-match-path-segment", "path"},
        {"spin-path-match-path-end", "end"},
        {"spin-matched-route", "/base/:path_segment/:path_end/..."},
    };
    HTTP(borrow_incoming_request_t) in = HTTP(borrow_incoming_request)(request);
    conformance_string_t s = {0};
    HTTP(method_t) method;
    HTTP(scheme_t) scheme;
    HTTP(method_incoming_request_method)(in, &method);
    EXPECT(method.tag == WASI_HTTP_0_2_0_TYPES_METHOD_GET);
    EXPECT(HTTP(method_incoming_request_authority)(in, &s) && same(s.ptr, s.len, "example.com"));
    EXPECT(HTTP(method_incoming_request_path_with_query)(in, &s) &&
           same(s.ptr, s.len, "/base/path/end/rest?key=value"));
    EXPECT(HTTP(method_incoming_request_scheme)(in, &scheme) &&
           scheme.tag <= WASI_HTTP_0_2_0_TYPES_SCHEME_HTTPS);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (strcmp(field(want[i][0]), want[i][1]))
            fail("%s is %s", want[i][0], field(want[i][0]));
    char *url = strstr(field("spin-full-url"), "://");
    EXPECT(url && !strcmp(url, "://example.com/base/path/end/rest?key=value"));
    EXPECT(strchr(field("spin-client-addr"), ':'));
    HTTP(list_tuple2_field_key_field_value_t) list;
    HTTP(method_fields_entries)(HTTP(borrow_fields)(HTTP(method_incoming_request_headers)(in)),
                                &list);
    size_t spins = 0;
    for (size_t i = 0; i < list.len; i++)
        spins += list.ptr[i].f0.len > 4 && !memcmp(list.ptr[i].f0.ptr, "spin", 4);
    EXPECT(spins == sizeof want / sizeof *want + 2);
}

/* --- outbound --------------------------------------------------------------------------------- */

static void wait_for(POLL(own_pollable_t) p)
{
    POLL(method_pollable_block)(POLL(borrow_pollable)(p));
    POLL(pollable_drop_own)(p);
}

/* The body is written before the request is sent. */
static void outbound(void)
{
    char *url = field("url"), *authority = strstr(url, "://") + 3, *path = strchr(authority, '/');
    HTTP(own_fields_t) fields = HTTP(constructor_fields)();
    conformance_string_t name = text("content-length"), host, rest = text(path ? path : "/");
    HTTP(field_value_t) length = {(uint8_t *)"13", 2};
    HTTP(header_error_t) he;
    HTTP(method_t) post = {.tag = WASI_HTTP_0_2_0_TYPES_METHOD_POST};
    HTTP(scheme_t) scheme = {.tag = WASI_HTTP_0_2_0_TYPES_SCHEME_HTTP};
    HTTP(own_outgoing_body_t) body;
    HTTP(error_code_t) e;
    OUT(own_future_incoming_response_t) future;
    HTTP(option_result_result_own_incoming_response_error_code_void_t) o;
    HTTP(method_fields_append)(HTTP(borrow_fields)(fields), &name, &length, &he);
    HTTP(own_outgoing_request_t) q = HTTP(constructor_outgoing_request)(fields);
    HTTP(borrow_outgoing_request_t) b = HTTP(borrow_outgoing_request)(q);
    host = (conformance_string_t){(uint8_t *)authority,
                                  path ? (size_t)(path - authority) : strlen(authority)};
    HTTP(method_outgoing_request_set_method)(b, &post);
    HTTP(method_outgoing_request_set_scheme)(b, &scheme);
    HTTP(method_outgoing_request_set_authority)(b, &host);
    HTTP(method_outgoing_request_set_path_with_query)(b, &rest);
    HTTP(method_outgoing_request_body)(b, &body);
    body_write(body, "Hello, world!", 13);
    if (!OUT(handle)(q, NULL, &future, &e))
        fail("outgoing-handler#handle: %d", e.tag);
    HTTP(borrow_future_incoming_response_t)
    f = HTTP(borrow_future_incoming_response)(
        (HTTP(own_future_incoming_response_t)){future.__handle});
    wait_for(HTTP(method_future_incoming_response_subscribe)(f));
    EXPECT(HTTP(method_future_incoming_response_get)(f, &o.val));
    if (o.val.val.ok.is_err)
        fail("incoming-response#get: ErrorCode::%s",
             o.val.val.ok.val.err.tag == WASI_HTTP_0_2_0_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED
                 ? "HttpRequestDenied"
                 : "other");
    HTTP(borrow_incoming_response_t)
    r = HTTP(borrow_incoming_response)(o.val.val.ok.val.ok);
    HTTP(own_incoming_body_t) got;
    IO(own_input_stream_t) from;
    IO(stream_error_t) se;
    conformance_list_u8_t part;
    char all[4096];
    size_t n = 0;
    HTTP(method_incoming_response_consume)(r, &got);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(got), &from);
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(from), sizeof all - n,
                                                 &part, &se)) {
        memcpy(all + n, part.ptr, part.len);
        n += part.len;
    }
    body_write(answer_begin(HTTP(method_incoming_response_status)(r),
                            HTTP(method_fields_clone)(
                                HTTP(borrow_fields)(HTTP(method_incoming_response_headers)(r)))),
               all, n);
    exit(0);
}

static void tcp(void)
{
    static const char line[] = "So rested he by the Tumtum tree";
    unsigned a[4], port;
    EXPECT(sscanf(field("address"), "%u.%u.%u.%u:%u", &a[0], &a[1], &a[2], &a[3], &port) == 5);
    NET(ip_socket_address_t)
    to = {
        .tag = WASI_SOCKETS_0_2_0_NETWORK_IP_SOCKET_ADDRESS_IPV4,
        .val.ipv4 = {(uint16_t)port, {(uint8_t)a[0], (uint8_t)a[1], (uint8_t)a[2], (uint8_t)a[3]}}};
    NET(own_network_t) network = wasi_sockets_0_2_0_instance_network_instance_network();
    TCP(own_tcp_socket_t) own;
    TCP(error_code_t) e;
    TCP(tuple2_own_input_stream_own_output_stream_t) streams;
    EXPECT(wasi_sockets_0_2_0_tcp_create_socket_create_tcp_socket(0, &own, &e));
    TCP(borrow_tcp_socket_t) s = TCP(borrow_tcp_socket)(own);
    bool ok = TCP(method_tcp_socket_start_connect)(s, NET(borrow_network)(network), &to, &e);
    while (ok && !TCP(method_tcp_socket_finish_connect)(s, &streams, &e)) {
        ok = e == WASI_SOCKETS_0_2_0_NETWORK_ERROR_CODE_WOULD_BLOCK;
        if (ok)
            wait_for(TCP(method_tcp_socket_subscribe)(s));
    }
    if (!ok)
        fail("%s (error %d)",
             e == WASI_SOCKETS_0_2_0_NETWORK_ERROR_CODE_ACCESS_DENIED ? "access-denied" : "other",
             e);
    IO(stream_error_t) se;
    conformance_list_u8_t part = {(uint8_t *)line, sizeof line - 1};
    char got[sizeof line] = "";
    size_t n = 0;
    EXPECT(IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(streams.f1),
                                                             &part, &se));
    while (n < sizeof line - 1 &&
           IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(streams.f0),
                                                 sizeof line - 1 - n, &part, &se)) {
        memcpy(got + n, part.ptr, part.len);
        n += part.len;
    }
    EXPECT(!strcmp(got, line));
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) to)
{
    static const struct {
        const char *path;
        void (*run)(void);
    } cases[] = {{"/key-value", key_value}, {"/sqlite", sqlite},     {"/variables", variables},
                 {"/base/", request_shape}, {"/outbound", outbound}, {"/tcp", tcp}};
    conformance_string_t path = {0};
    request = in;
    outparam = to;
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &path);
    char *at = strndup((char *)path.ptr, path.len);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strncmp(at, cases[i].path, strlen(cases[i].path))) {
            cases[i].run();
            body_write(answer_begin(200, HTTP(constructor_fields)()), "", 0);
            return;
        }
    fail("no case %s", at);
}
