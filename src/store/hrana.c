/* See hrana.h. One statement a request, so one result an answer. Integers travel as text, because
 * JSON's numbers are too small for them; blobs as base64, with or without padding. What the server
 * says is not trusted: every value is looked at, and a row has as many as there are columns. */
#include "store/hrana.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/limits.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- requests --------------------------------------------------------------------------------- */

static json_t *blob(bytes b)
{
    _cleanup_(buf_fini) buf out;
    buf_init(&out, b.n / 3 * 4 + 8);
    if (!base64_encode(b, &out))
        return NULL;
    return json_pack("{s:s, s:o}", "type", "blob", "base64", json_of(buf_str(&out)));
}

/* NULL: no memory, or (not_finite) JSON has no such number. */
static json_t *value(const store_item *i, bool *not_finite)
{
    char number[24];
    int64_t n = 0;
    double d = 0;
    char kind = i->key.n == 1 ? i->key.p[0] : 0;
    if ((kind == SQL_INTEGER || kind == SQL_REAL) && i->value.n == 8) {
        memcpy(&n, i->value.p, 8);
        memcpy(&d, i->value.p, 8);
    }
    switch (kind) {
    case SQL_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)n);
        return json_pack("{s:s, s:s}", "type", "integer", "value", number);
    case SQL_REAL:
        *not_finite = !isfinite(d);
        return *not_finite ? NULL : json_pack("{s:s, s:f}", "type", "float", "value", d);
    case SQL_TEXT:
        return json_pack("{s:s, s:o}", "type", "text", "value",
                         json_of((str){(const char *)i->value.p, i->value.n}));
    case SQL_BLOB:
        return blob(i->value);
    default:
        return json_pack("{s:s}", "type", "null");
    }
}

/* Takes `request`. */
static bool body_put(json_t *request, str baton, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_pack(
        "{s:o, s:[o]}", "baton", baton.n ? json_of(baton) : json_null(), "requests", request);
    return json_put(j, out, e);
}

bool hrana_execute(store_message m, str baton, buf *out, err *e)
{
    store_item i;
    bool not_finite = false;
    if (!store_message_next(&m, &i))
        return err_set(e, ERR_INVALID, "a damaged request");
    json_t *args = json_array(), *statement = json_object();
    json_object_set_new(statement, "sql", json_of(i.key));
    json_object_set_new(statement, "args", args);
    json_object_set_new(statement, "want_rows", json_true());
    while (store_message_next(&m, &i))
        if (json_array_append_new(args, value(&i, &not_finite)) < 0)
            break;
    if (m.count || json_object_size(statement) != 3 || not_finite) {
        json_decref(statement);
        return not_finite ? err_set(e, ERR_INVALID,
                                    "a parameter is infinite or not a number, which the database's "
                                    "protocol cannot carry")
                          : err_no_memory(e);
    }
    return body_put(json_pack("{s:s, s:o}", "type", "execute", "stmt", statement), baton, out, e);
}

bool hrana_close(str baton, buf *out, err *e)
{
    return body_put(json_pack("{s:s}", "type", "close"), baton, out, e);
}

/* --- answers ---------------------------------------------------------------------------------- */

static str text_of(const json_t *j) { return (str){json_string_value(j), json_string_length(j)}; }

static bool integer_of(const json_t *j, int64_t *ret)
{
    char *end;
    if (json_is_integer(j))
        return *ret = json_integer_value(j), true;
    if (!json_is_string(j) || !json_string_length(j))
        return false;
    errno = 0;
    *ret = strtoll(json_string_value(j), &end, 10);
    return !errno && end == json_string_value(j) + json_string_length(j);
}

static void item_put(buf *out, char kind, const void *p, size_t n)
{
    bytes b = {p, n};
    store_message_item(out, (str){&kind, 1}, kind == SQL_NULL ? NULL : &b);
}

/* The protocol leaves the padding out; our reader wants it. */
static bool blob_put(buf *out, arena *a, str coded)
{
    bytes raw = {0};
    size_t n = coded.n % 4 ? 4 - coded.n % 4 : 0;
    str padded = arena_printf(a, "%.*s%.*s", STR(coded), (int)n, "==");
    if (n == 3 || !padded.p || !base64_decode(a, padded, &raw))
        return false;
    item_put(out, SQL_BLOB, raw.p, raw.n);
    return true;
}

static bool value_put(buf *out, arena *a, const json_t *j)
{
    str kind = text_of(json_object_get(j, "type"));
    const json_t *v = json_object_get(j, "value");
    int64_t n;
    if (!kind.p)
        return false;
    if (str_eq(kind, S("null"))) {
        item_put(out, SQL_NULL, NULL, 0);
    } else if (str_eq(kind, S("integer"))) {
        if (!integer_of(v, &n))
            return false;
        item_put(out, SQL_INTEGER, &n, sizeof n);
    } else if (str_eq(kind, S("float"))) {
        double d = json_number_value(v);
        if (!json_is_number(v))
            return false;
        item_put(out, SQL_REAL, &d, sizeof d);
    } else if (str_eq(kind, S("text"))) {
        if (!json_is_string(v))
            return false;
        item_put(out, SQL_TEXT, json_string_value(v), json_string_length(v));
    } else if (str_eq(kind, S("blob"))) {
        const json_t *coded = json_object_get(j, "base64");
        return json_is_string(coded) && blob_put(out, a, text_of(coded));
    } else {
        return false;
    }
    return true;
}

static bool result_put(buf *out, arena *a, const json_t *result, const store_message *m)
{
    const json_t *columns = json_object_get(result, "cols"),
                 *rows = json_object_get(result, "rows"),
                 *rowid = json_object_get(result, "last_insert_rowid");
    size_t n = json_array_size(columns), i, k;
    json_t *row, *x;
    int64_t changes = 0;
    sql_result r = {.rows = json_array_size(rows), .columns = n, .held = 1};
    if (!json_is_array(columns) || !json_is_array(rows) ||
        !integer_of(json_object_get(result, "affected_row_count"), &changes) ||
        (rowid && !json_is_null(rowid) && !integer_of(rowid, &r.last_insert_rowid)))
        return false;
    r.changes = (uint64_t)changes;
    bytes head = {(const uint8_t *)&r, sizeof r};
    store_message_begin(out, m->id, STORE_OK, m->store);
    store_message_item(out, S(""), &head);
    json_array_foreach(columns, i, x)
    {
        const json_t *name = json_object_get(x, "name");
        store_message_item(out, json_is_string(name) ? text_of(name) : S(""), NULL);
    }
    json_array_foreach(rows, i, row)
    {
        if (json_array_size(row) != n)
            return false;
        json_array_foreach(row, k, x) if (!value_put(out, a, x)) return false;
    }
    return true;
}

static bool answer_put(const json_t *one, const store_message *m, arena *a, buf *out)
{
    str kind = text_of(json_object_get(one, "type"));
    if (kind.p && str_eq(kind, S("error"))) {
        const json_t *why = json_object_get(json_object_get(one, "error"), "message");
        store_message_begin(out, m->id, STORE_FAILED, m->store);
        store_message_item(out, json_is_string(why) ? text_of(why) : S("the database refused it"),
                           NULL);
        return true;
    }
    const json_t *response = json_object_get(one, "response");
    return result_put(out, a, json_object_get(response, "result"), m);
}

bool hrana_answer(bytes body, store_message m, buf *out, arena *a, hrana_stream *ret, err *e)
{
    json_error_t je;
    json_t *root = json_loadb((const char *)body.p, body.n, JSON_ALLOW_NUL, &je);
    const json_t *results = json_object_get(root, "results"),
                 *baton = json_object_get(root, "baton"), *url = json_object_get(root, "base_url");
    buf_clear(out);
    bool ok = json_array_size(results) == 1 && answer_put(json_array_get(results, 0), &m, a, out);
    if (ok && !out->failed) {
        ret->baton = json_is_string(baton) ? arena_str(a, text_of(baton)) : S("");
        ret->base_url = json_is_string(url) ? arena_str(a, text_of(url)) : S("");
        ok = ret->baton.p && ret->base_url.p;
        store_message_end(out);
    }
    json_decref(root);
    if (ok && out->failed)
        return err_set(e, ERR_LIMIT, "the result exceeds the limit of %zu bytes",
                       STORE_MESSAGE_BYTES_MAX);
    return ok || err_set(e, ERR_INVALID, "the database's server gave an answer of another shape");
}
