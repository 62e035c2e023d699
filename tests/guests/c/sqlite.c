/* SQL in C: statements come from the request, so that tests can see every answer.
 *
 *     POST /.../<v1|v2|v3>/run?<database>    body: statements, one a line, executed on one
 * connection. A line is the statement, then its parameters, separated by tabs: i5 r0.5 ttext bblob
 * n. Answer: for each line its columns, then its rows, cells as i5 r0.5 't' b:text n; the first
 * error ends it: 500 with the lines so far, the error's case and its text. with v3, a line "rowid"
 * or "changes" asks for last-insert-rowid or changes. with v1, a line "close" closes the
 * connection. POST /v2/open?<database>&<n>       opens n times, keeps all
 *     GET /v2/key?<database>&<id>            v of the row of t that has this id, as a handler asks
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define V1(name)   fermyon_spin_sqlite_##name
#define V2(name)   fermyon_spin_2_0_0_sqlite_##name
#define V3(name)   spin_sqlite_3_0_0_sqlite_##name

enum { PARAMETERS_MAX = 64 };

static const char *const cases[] = {"no-such-database", "access-denied", "invalid-connection",
                                    "database-full", "io"};

typedef struct {
    FILE *out;
    bool failed;
} answer;

static void failed(answer *a, int tag, const sqlite_string_t *text)
{
    a->failed = true;
    fprintf(a->out, "%s %.*s", cases[tag], tag == 4 ? (int)text->len : 0,
            tag == 4 ? (char *)text->ptr : "");
}

/* Values of the three versions have the same shape, and so do results. */
typedef V2(value_t) value;
typedef V2(query_result_t) result;
_Static_assert(sizeof(V1(value_t)) == sizeof(value) && sizeof(V3(value_t)) == sizeof(value), "");
_Static_assert(sizeof(V1(query_result_t)) == sizeof(result), "");
_Static_assert(sizeof(V3(query_result_t)) == sizeof(result), "");

static value parameter(char *text)
{
    value v = {.tag = 4};
    sqlite_string_t rest = {(uint8_t *)text + 1, strlen(text) - 1};
    switch (*text) {
    case 'i':
        v.tag = 0;
        v.val.integer = strtoll(text + 1, NULL, 10);
        break;
    case 'r':
        v.tag = 1;
        v.val.real = strtod(text + 1, NULL);
        break;
    case 't':
        v.tag = 2;
        v.val.text = rest;
        break;
    case 'b':
        v.tag = 3;
        v.val.blob.ptr = rest.ptr;
        v.val.blob.len = rest.len;
        break;
    }
    return v;
}

static void print_value(FILE *f, const value *v)
{
    switch (v->tag) {
    case 0:
        fprintf(f, "i%lld", (long long)v->val.integer);
        break;
    case 1:
        fprintf(f, "r%g", v->val.real);
        break;
    case 2:
        fprintf(f, "'%.*s'", (int)v->val.text.len, (char *)v->val.text.ptr);
        break;
    case 3:
        fprintf(f, "b:%.*s", (int)v->val.blob.len, (char *)v->val.blob.ptr);
        break;
    default:
        fprintf(f, "n");
    }
}

static void print_result(FILE *f, const result *r)
{
    for (size_t i = 0; i < r->columns.len; i++)
        fprintf(f, "%s%.*s", i ? "|" : "", (int)r->columns.ptr[i].len,
                (char *)r->columns.ptr[i].ptr);
    fprintf(f, "\n");
    for (size_t i = 0; i < r->rows.len; i++) {
        for (size_t k = 0; k < r->rows.ptr[i].values.len; k++) {
            if (k)
                fputc('|', f);
            print_value(f, &r->rows.ptr[i].values.ptr[k]);
        }
        fprintf(f, "\n");
    }
}

typedef struct {
    int version;
    V1(connection_t) v1;
    V2(own_connection_t) v2;
    V3(own_connection_t) v3;
} connection;

static bool open_one(answer *a, connection *c, sqlite_string_t *database)
{
    V1(error_t) e1;
    V2(error_t) e2;
    V3(error_t) e3;
    if (c->version == 1 && !V1(open)(database, &c->v1, &e1))
        failed(a, e1.tag, &e1.val.io);
    else if (c->version == 2 && !V2(static_connection_open)(database, &c->v2, &e2))
        failed(a, e2.tag, &e2.val.io);
    else if (c->version == 3 && !V3(static_connection_open)(database, &c->v3, &e3))
        failed(a, e3.tag, &e3.val.io);
    return !a->failed;
}

static void execute(answer *a, connection *c, char *line)
{
    value values[PARAMETERS_MAX];
    size_t n = 0;
    char *statement = strsep(&line, "\t");
    for (char *part; (part = strsep(&line, "\t")) && n < PARAMETERS_MAX;)
        values[n++] = parameter(part);
    sqlite_string_t text = {(uint8_t *)statement, strlen(statement)};
    V2(list_value_t) list = {values, n};
    result r;
    V1(error_t) e1;
    V2(error_t) e2;
    V3(error_t) e3;
    if (c->version == 1 &&
        !V1(execute)(c->v1, &text, (V1(list_value_t) *)&list, (V1(query_result_t) *)&r, &e1))
        failed(a, e1.tag, &e1.val.io);
    else if (c->version == 2 &&
             !V2(method_connection_execute)(V2(borrow_connection)(c->v2), &text, &list, &r, &e2))
        failed(a, e2.tag, &e2.val.io);
    else if (c->version == 3 && !V3(method_connection_execute)(V3(borrow_connection)(c->v3), &text,
                                                               (V3(list_value_t) *)&list,
                                                               (V3(query_result_t) *)&r, &e3))
        failed(a, e3.tag, &e3.val.io);
    else
        print_result(a->out, &r);
}

static void run(answer *a, int version, sqlite_string_t *database, char *body)
{
    connection c = {.version = version};
    if (!open_one(a, &c, database))
        return;
    for (char *line; !a->failed && (line = strsep(&body, "\n"));) {
        if (version == 3 && !strcmp(line, "rowid"))
            fprintf(
                a->out, "%lld\n",
                (long long)V3(method_connection_last_insert_rowid)(V3(borrow_connection)(c.v3)));
        else if (version == 3 && !strcmp(line, "changes"))
            fprintf(a->out, "%llu\n",
                    (unsigned long long)V3(method_connection_changes)(V3(borrow_connection)(c.v3)));
        else if (version == 1 && !strcmp(line, "close"))
            V1(close)(c.v1);
        else
            execute(a, &c, line);
    }
    if (version == 2)
        V2(connection_drop_own)(c.v2);
}

static void open_many(answer *a, sqlite_string_t *database, int n)
{
    for (int i = 0; i < n && !a->failed; i++) {
        connection c = {.version = 2};
        open_one(a, &c, database);
    }
}

static void key(answer *a, sqlite_string_t *database, const char *id)
{
    static const char text[] = "select v from t where id = ?";
    connection c = {.version = 2};
    value v = {.tag = 0, .val.integer = strtoll(id, NULL, 10)};
    sqlite_string_t statement = {(uint8_t *)text, sizeof text - 1};
    V2(list_value_t) list = {&v, 1};
    V2(error_t) e;
    result r;
    if (!open_one(a, &c, database))
        return;
    if (!V2(method_connection_execute)(V2(borrow_connection)(c.v2), &statement, &list, &r, &e))
        failed(a, e.tag, &e.val.io);
    else if (r.rows.len && r.rows.ptr[0].values.len)
        print_value(a->out, &r.rows.ptr[0].values.ptr[0]);
    V2(connection_drop_own)(c.v2);
}

static char *body_of(HTTP(own_incoming_request_t) in)
{
    HTTP(own_incoming_body_t) body;
    HTTP(own_input_stream_t) stream;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(in), &body);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(body), &stream);
    for (;;) {
        sqlite_list_u8_t part;
        wasi_io_0_2_0_streams_stream_error_t e;
        if (!wasi_io_0_2_0_streams_method_input_stream_blocking_read(
                wasi_io_0_2_0_streams_borrow_input_stream(stream), 65536, &part, &e))
            break;
        fwrite(part.ptr, 1, part.len, f);
    }
    fclose(f);
    return text;
}

static void respond(HTTP(own_response_outparam_t) outparam, int status, const char *p, size_t n)
{
    HTTP(own_outgoing_response_t)
    response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    HTTP(result_own_outgoing_response_error_code_t) r = {.is_err = false};
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
    HTTP(error_code_t) error;
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &body);
    r.val.ok = response;
    HTTP(static_response_outparam_set)(outparam, &r);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(body), &stream);
    for (size_t done = 0; done < n; done += 4096) {
        wasi_io_0_2_0_streams_stream_error_t failure;
        sqlite_list_u8_t part = {(uint8_t *)p + done, n - done < 4096 ? n - done : 4096};
        if (!wasi_io_0_2_0_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_0_2_0_streams_borrow_output_stream(stream), &part, &failure))
            return;
    }
    wasi_io_0_2_0_streams_output_stream_drop_own(stream);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    sqlite_string_t raw = {0};
    char *text = NULL;
    size_t n;
    answer a = {.out = open_memstream(&text, &n)};
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    char *name = strsep(&query, "&");
    sqlite_string_t database = {(uint8_t *)name, name ? strlen(name) : 0};
    if (strstr(path, "/open"))
        open_many(&a, &database, query ? atoi(query) : 0);
    else if (strstr(path, "/key"))
        key(&a, &database, query ? query : "");
    else
        run(&a, strstr(path, "/v")[2] - '0', &database, body_of(in));
    fclose(a.out);
    respond(outparam, a.failed ? 500 : 200, text, n);
}
