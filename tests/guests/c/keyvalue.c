/* Key-value in C: one route a function of each interface, so that tests can see every answer.
 *
 *     /<v1|v2|wasi>/<get|set|delete|exists|keys>?<store>&<key>&<value>
 *         a fourth argument n: the value is n times 'x'; /v1/closed: get after close
 *     /<get-many|set-many|delete-many>?<store>&<key>[=<value>]&...
 *     /increment?<store>&<key>&<delta>      /cas?<store>&<key>&<value>   (once)
 *     /swap-late?<store>&<key>&<value>      changes the key between cas.new and swap
 *     /add?<store>&<key>                    adds 1 to a decimal number by swaps, until one works
 *     /open?<store>&<n>                     opens n times, keeps all
 *
 * Answers 200 with the result, 404 where there is no value, or 500 with the name of the error's
 * case and its text.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyvalue.h"

#define HTTP(name)    wasi_http_0_2_0_types_##name
#define V1(name)      fermyon_spin_key_value_##name
#define V2(name)      fermyon_spin_2_0_0_key_value_##name
#define STORE(name)   wasi_keyvalue_store_##name
#define BATCH(name)   wasi_keyvalue_batch_##name
#define ATOMICS(name) wasi_keyvalue_atomics_##name

enum { ARGUMENTS_MAX = 64 };

typedef struct {
    HTTP(own_response_outparam_t) outparam;
    keyvalue_string_t argument[ARGUMENTS_MAX];
    size_t n;
} call;

static void answer_bytes(call *c, int status, const void *p, size_t n)
{
    HTTP(own_outgoing_response_t)
    response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
    HTTP(error_code_t) error;
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &body);
    result.val.ok = response;
    HTTP(static_response_outparam_set)(c->outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(body), &stream);
    for (size_t done = 0; done < n; done += 4096) {
        wasi_io_0_2_0_streams_stream_error_t failure;
        keyvalue_list_u8_t part = {(uint8_t *)p + done, n - done < 4096 ? n - done : 4096};
        if (!wasi_io_0_2_0_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_0_2_0_streams_borrow_output_stream(stream), &part, &failure))
            return;
    }
    wasi_io_0_2_0_streams_output_stream_drop_own(stream);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

__attribute__((format(printf, 3, 4))) static void answer(call *c, int status, const char *format,
                                                         ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    answer_bytes(c, status, text, (size_t)n);
}

static void failed(call *c, const char *name, const keyvalue_string_t *text)
{
    answer(c, 500, "%s %.*s", name, text ? (int)text->len : 0, text ? (char *)text->ptr : "");
}

static const char *const v1_cases[] = {"store-table-full", "no-such-store", "access-denied",
                                       "invalid-store",    "no-such-key",   "io"};
static const char *const v2_cases[] = {"store-table-full", "no-such-store", "access-denied",
                                       "other"};
static const char *const wasi_cases[] = {"no-such-store", "access-denied", "other"};

static void failed_v1(call *c, V1(error_t) * e)
{
    failed(c, v1_cases[e->tag], e->tag == 5 ? &e->val.io : NULL);
}
static void failed_v2(call *c, V2(error_t) * e)
{
    failed(c, v2_cases[e->tag], e->tag == 3 ? &e->val.other : NULL);
}
static void failed_wasi(call *c, STORE(error_t) * e)
{
    failed(c, wasi_cases[e->tag], e->tag == 2 ? &e->val.other : NULL);
}

static void answer_value(call *c, const keyvalue_option_list_u8_t *o)
{
    if (o->is_some)
        answer_bytes(c, 200, o->val.ptr, o->val.len);
    else
        answer(c, 404, "none");
}

static void answer_keys(call *c, const keyvalue_list_string_t *keys)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    for (size_t i = 0; i < keys->len; i++)
        fprintf(f, "%.*s\n", (int)keys->ptr[i].len, (char *)keys->ptr[i].ptr);
    fclose(f);
    answer_bytes(c, 200, text, n);
}

/* The third argument; with a fourth, 'x' that many times. */
static keyvalue_list_u8_t value_of(call *c)
{
    keyvalue_list_u8_t v = {c->argument[2].ptr, c->argument[2].len};
    if (c->n > 3) {
        v.len = strtoul((char *)c->argument[3].ptr, NULL, 10);
        v.ptr = malloc(v.len);
        memset(v.ptr, 'x', v.len);
    }
    return v;
}

static void v1(call *c, const char *op)
{
    V1(store_t) store;
    V1(error_t) e;
    keyvalue_list_u8_t value = value_of(c), got;
    keyvalue_list_string_t keys;
    bool there, ok;
    if (!V1(open)(&c->argument[0], &store, &e)) {
        failed_v1(c, &e);
        return;
    }
    if (!strcmp(op, "closed")) {
        V1(close)(store);
        V1(close)(77777);
        op = "get";
    }
    if (!strcmp(op, "get")) {
        if ((ok = V1(get)(store, &c->argument[1], &got, &e)))
            answer_bytes(c, 200, got.ptr, got.len);
    } else if (!strcmp(op, "set")) {
        if ((ok = V1(set)(store, &c->argument[1], &value, &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "delete")) {
        if ((ok = V1(delete)(store, &c->argument[1], &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "exists")) {
        if ((ok = V1(exists)(store, &c->argument[1], &there, &e)))
            answer(c, 200, "%d", there);
    } else if ((ok = V1(get_keys)(store, &keys, &e))) {
        answer_keys(c, &keys);
    }
    if (!ok)
        failed_v1(c, &e);
}

static void v2(call *c, const char *op)
{
    V2(own_store_t) own;
    V2(error_t) e;
    keyvalue_list_u8_t value = value_of(c);
    keyvalue_option_list_u8_t got;
    keyvalue_list_string_t keys;
    bool there, ok;
    if (!V2(static_store_open)(&c->argument[0], &own, &e)) {
        failed_v2(c, &e);
        return;
    }
    V2(borrow_store_t) store = V2(borrow_store)(own);
    if (!strcmp(op, "get")) {
        if ((ok = V2(method_store_get)(store, &c->argument[1], &got, &e)))
            answer_value(c, &got);
    } else if (!strcmp(op, "set")) {
        if ((ok = V2(method_store_set)(store, &c->argument[1], &value, &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "delete")) {
        if ((ok = V2(method_store_delete)(store, &c->argument[1], &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "exists")) {
        if ((ok = V2(method_store_exists)(store, &c->argument[1], &there, &e)))
            answer(c, 200, "%d", there);
    } else if ((ok = V2(method_store_get_keys)(store, &keys, &e))) {
        answer_keys(c, &keys);
    }
    if (!ok)
        failed_v2(c, &e);
}

static bool bucket_open(call *c, STORE(borrow_bucket_t) * ret)
{
    STORE(own_bucket_t) own;
    STORE(error_t) e;
    if (!STORE(open)(&c->argument[0], &own, &e)) {
        failed_wasi(c, &e);
        return false;
    }
    *ret = STORE(borrow_bucket)(own);
    return true;
}

static void wasi(call *c, const char *op)
{
    STORE(borrow_bucket_t) bucket;
    STORE(error_t) e;
    keyvalue_list_u8_t value = value_of(c);
    keyvalue_option_list_u8_t got;
    STORE(key_response_t) keys;
    bool there, ok;
    if (!bucket_open(c, &bucket))
        return;
    if (!strcmp(op, "get")) {
        if ((ok = STORE(method_bucket_get)(bucket, &c->argument[1], &got, &e)))
            answer_value(c, &got);
    } else if (!strcmp(op, "set")) {
        if ((ok = STORE(method_bucket_set)(bucket, &c->argument[1], &value, &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "delete")) {
        if ((ok = STORE(method_bucket_delete)(bucket, &c->argument[1], &e)))
            answer(c, 200, "ok");
    } else if (!strcmp(op, "exists")) {
        if ((ok = STORE(method_bucket_exists)(bucket, &c->argument[1], &there, &e)))
            answer(c, 200, "%d", there);
    } else if ((ok = STORE(method_bucket_list_keys)(bucket, c->n > 1 ? &c->argument[1] : NULL,
                                                    &keys, &e))) {
        if (keys.cursor.is_some)
            answer(c, 500, "a cursor");
        else
            answer_keys(c, &keys.keys);
    }
    if (!ok)
        failed_wasi(c, &e);
}

static void batch(call *c, const char *op)
{
    STORE(borrow_bucket_t) bucket;
    BATCH(error_t) e;
    keyvalue_list_string_t keys = {c->argument + 1, c->n - 1};
    keyvalue_list_tuple2_string_option_list_u8_t got;
    keyvalue_tuple2_string_list_u8_t pairs[ARGUMENTS_MAX];
    keyvalue_list_tuple2_string_list_u8_t set = {pairs, 0};
    bool ok;
    if (!bucket_open(c, &bucket))
        return;
    if (!strcmp(op, "get-many")) {
        if ((ok = BATCH(get_many)(bucket, &keys, &got, &e))) {
            char *text = NULL;
            size_t n;
            FILE *f = open_memstream(&text, &n);
            for (size_t i = 0; i < got.len; i++)
                fprintf(f, "%.*s%s%.*s\n", (int)got.ptr[i].f0.len, (char *)got.ptr[i].f0.ptr,
                        got.ptr[i].f1.is_some ? "=" : "",
                        got.ptr[i].f1.is_some ? (int)got.ptr[i].f1.val.len : 0,
                        (char *)got.ptr[i].f1.val.ptr);
            fclose(f);
            answer_bytes(c, 200, text, n);
        }
    } else if (!strcmp(op, "set-many")) {
        for (; set.len < keys.len; set.len++) {
            keyvalue_string_t a = keys.ptr[set.len];
            uint8_t *eq = memchr(a.ptr, '=', a.len);
            size_t n = (size_t)(eq - a.ptr);
            pairs[set.len].f0 = (keyvalue_string_t){a.ptr, n};
            pairs[set.len].f1 = (keyvalue_list_u8_t){eq + 1, a.len - n - 1};
        }
        if ((ok = BATCH(set_many)(bucket, &set, &e)))
            answer(c, 200, "ok");
    } else if ((ok = BATCH(delete_many)(bucket, &keys, &e))) {
        answer(c, 200, "ok");
    }
    if (!ok)
        failed_wasi(c, &e);
}

static void increment(call *c, const char *op)
{
    STORE(borrow_bucket_t) bucket;
    ATOMICS(error_t) e;
    int64_t sum;
    if (!bucket_open(c, &bucket))
        return;
    if (ATOMICS(increment)(bucket, &c->argument[1], strtoll((char *)c->argument[2].ptr, NULL, 10),
                           &sum, &e))
        answer(c, 200, "%lld", (long long)sum);
    else
        failed_wasi(c, &e);
}

static void swap(call *c, const char *op)
{
    STORE(borrow_bucket_t) bucket;
    ATOMICS(own_cas_t) cas;
    ATOMICS(error_t) e;
    ATOMICS(cas_error_t) failure;
    keyvalue_list_u8_t value = {c->argument[2].ptr, c->argument[2].len};
    keyvalue_list_u8_t between = {(uint8_t *)"between", 7};
    keyvalue_option_list_u8_t now;
    if (!bucket_open(c, &bucket))
        return;
    if (!ATOMICS(static_cas_new)(bucket, &c->argument[1], &cas, &e)) {
        failed_wasi(c, &e);
        return;
    }
    if (!strcmp(op, "swap-late") &&
        !STORE(method_bucket_set)(bucket, &c->argument[1], &between, &e))
        failed_wasi(c, &e);
    if (ATOMICS(swap)(cas, &value, &failure)) {
        answer(c, 200, "ok");
        return;
    }
    if (failure.tag == 0) {
        failed_wasi(c, &failure.val.store_error);
        return;
    }
    /* The handle that comes back has seen the value of now: the next swap works. */
    cas = failure.val.cas_failed;
    ATOMICS(method_cas_current)(ATOMICS(borrow_cas)(cas), &now, &e);
    bool second = ATOMICS(swap)(cas, &value, &failure);
    answer(c, 409, "cas-failed %.*s %s", now.is_some ? (int)now.val.len : 0, (char *)now.val.ptr,
           second ? "then ok" : "again");
}

static void add(call *c, const char *op)
{
    STORE(borrow_bucket_t) bucket;
    ATOMICS(own_cas_t) cas;
    ATOMICS(error_t) e;
    ATOMICS(cas_error_t) failure;
    keyvalue_option_list_u8_t now;
    if (!bucket_open(c, &bucket))
        return;
    if (!ATOMICS(static_cas_new)(bucket, &c->argument[1], &cas, &e)) {
        failed_wasi(c, &e);
        return;
    }
    for (int tries = 1;; tries++) {
        char text[32] = "0";
        if (!ATOMICS(method_cas_current)(ATOMICS(borrow_cas)(cas), &now, &e)) {
            failed_wasi(c, &e);
            return;
        }
        if (now.is_some)
            snprintf(text, sizeof text, "%.*s", (int)now.val.len, (char *)now.val.ptr);
        int n = snprintf(text, sizeof text, "%d", atoi(text) + 1);
        keyvalue_list_u8_t value = {(uint8_t *)text, (size_t)n};
        if (ATOMICS(swap)(cas, &value, &failure)) {
            answer(c, 200, "%d", tries);
            return;
        }
        if (failure.tag == 0) {
            failed_wasi(c, &failure.val.store_error);
            return;
        }
        cas = failure.val.cas_failed;
    }
}

static void open_many(call *c, const char *op)
{
    V2(own_store_t) own;
    V2(error_t) e;
    for (int i = 0, n = atoi((char *)c->argument[1].ptr); i < n; i++)
        if (!V2(static_store_open)(&c->argument[0], &own, &e)) {
            answer(c, 500, "%s after %d", v2_cases[e.tag], i);
            return;
        }
    V2(store_drop_own)(own);
    answer(c, 200, "%d", V2(static_store_open)(&c->argument[0], &own, &e));
}

static const struct {
    const char *name;
    void (*serve)(call *, const char *op);
} routes[] = {
    {"get-many", batch}, {"set-many", batch}, {"delete-many", batch}, {"increment", increment},
    {"cas", swap},       {"swap-late", swap}, {"add", add},           {"open", open_many},
};

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    call c = {.outparam = outparam};
    keyvalue_string_t raw = {0};
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    for (char *at = query; at && c.n < ARGUMENTS_MAX;) {
        char *end = strchr(at, '&');
        if (end)
            *end++ = '\0';
        c.argument[c.n++] = (keyvalue_string_t){(uint8_t *)at, strlen(at)};
        at = end;
    }
    char *name = strrchr(path, '/') + 1;
    if (!strncmp(path, "/v1/", 4))
        v1(&c, name);
    else if (!strncmp(path, "/v2/", 4))
        v2(&c, name);
    else if (!strncmp(path, "/wasi/", 6))
        wasi(&c, name);
    else
        for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
            if (!strcmp(routes[i].name, name)) {
                routes[i].serve(&c, name);
                return;
            }
}
