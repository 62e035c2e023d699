/* Key-value and SQL of an app, for its people: the keeper asks the store process as a worker would,
 * over a channel of its own that the supervisor makes. Only stores that the live revision names.
 *
 * Each request names its store anew and takes the name back: people ask seldom. A statement is a
 * session of one step, closed when it was answered. */
#include "platform/keeper_api.h"

#include "base/hex.h"
#include "base/limits.h"
#include "platform/app_config.h"
#include "store/client.h"

#include <stdlib.h>

typedef struct {
    uint16_t number;
    bool is_named;
    sql_ask ask; /* of SQL */
    store_call *call;
    void (*answer)(api_call *c, store_message *m);
} asking;

static void asking_end(api_call *c)
{
    asking *q = c->own;
    store_client *s = c->k->store;
    store_call_free(q->call);
    q->call = NULL;
    if (q->ask.session) {
        store_call *close = store_call_new(s, SQL_CLOSE, q->number);
        if (close) {
            store_call_item(close, S(""), &(bytes){(const uint8_t *)&q->ask, sizeof q->ask});
            store_call_send_and_forget_take(close);
        }
    }
    if (q->is_named)
        store_client_unname(s, q->number);
    q->is_named = false;
}

static void fail(api_call *c, const err *e)
{
    asking_end(c);
    api_fail(c, e);
}

static void on_answer(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    store_message *m = store_call_answer(q->call);
    store_item why;
    err e;
    c->busy--;
    if (m->kind == STORE_OK && c->x) {
        q->answer(c, m);
        return;
    }
    if (m->kind == STORE_FAILED && store_message_next(m, &why))
        err_set(&e, ERR_INVALID, "%.*s", STR(why.key));
    else
        err_set(&e, ERR_LIMIT, "the store is full, or did not answer");
    fail(c, &e);
}

static void ask_send(api_call *c, void (*answer)(api_call *c, store_message *m))
{
    asking *q = c->own;
    err e;
    q->answer = answer;
    c->busy++;
    if (store_call_send(q->call, on_answer, c, &e))
        return;
    c->busy--;
    fail(c, &e);
}

static bool label_is_there(const app_config *config, str label, bool sql)
{
    bool any = false;
    for (size_t i = 0; i < (sql ? config->databases_count : config->stores_count); i++)
        any |= str_eq(label, sql ? config->databases[i].label : config->stores[i].label);
    return any;
}

/* Begins a request about the store of the path; false: it has been answered. */
static bool ask_begin(api_call *c, store_kind kind, bool sql)
{
    catalogue_app x;
    app_config config;
    str settings;
    err e;
    asking *q = c->own = ARENA_NEW(&c->a, asking);
    if (!q || !c->k->store) {
        api_fail_status(c, 503, "the store process can't be asked");
        return false;
    }
    if (!api_app(c, &x))
        return false;
    if (!catalogue_revision_settings(catalogue_reading(c->k->catalogue), &c->a, &x, 0, &settings,
                                     &e) ||
        !app_config_read(&c->a, (bytes){(const uint8_t *)settings.p, settings.n}, &config, &e)) {
        api_fail(c, &e);
        return false;
    }
    if (!label_is_there(&config, c->params[2], sql)) {
        api_fail_status(c, 404, "no component of the app has a store of this name");
        return false;
    }
    if (!store_client_name(c->k->store, x.id, c->params[2], sql, &q->number, &e)) {
        api_fail(c, &e);
        return false;
    }
    q->is_named = true;
    q->call = store_call_new(c->k->store, kind, q->number);
    if (q->call)
        return true;
    err_no_memory(&e);
    fail(c, &e);
    return false;
}

/* --- key-value -------------------------------------------------------------------------------- */

static void keys_answer(api_call *c, store_message *m)
{
    json_t *list = json_array();
    store_item item;
    while (store_message_next(m, &item))
        json_array_append_new(list, api_str(item.key));
    asking_end(c);
    api_json_take(c, 200, json_pack("{s:o}", "keys", list));
}

void api_kv_keys(api_call *c)
{
    if (ask_begin(c, KV_KEYS, false))
        ask_send(c, keys_answer);
}

static void value_answer(api_call *c, store_message *m)
{
    store_item item;
    bool there = store_message_next(m, &item) && item.has_value;
    if (there)
        buf_put(&c->out, item.value.p, item.value.n);
    asking_end(c);
    if (there)
        api_answer(c, 200, S("application/octet-stream"));
    else
        api_fail_status(c, 404, "the store has no such key");
}

static void done_answer(api_call *c, store_message *m)
{
    asking_end(c);
    api_json_take(c, 200, json_object());
}

void api_kv_get(api_call *c)
{
    asking *q;
    if (!ask_begin(c, KV_GET, false))
        return;
    q = c->own;
    store_call_item(q->call, c->params[3], NULL);
    ask_send(c, value_answer);
}

void api_kv_set(api_call *c)
{
    asking *q;
    bytes value = {c->in.p ? c->in.p : (const uint8_t *)"", c->in.n};
    if (!ask_begin(c, KV_SET, false))
        return;
    q = c->own;
    store_call_item(q->call, c->params[3], &value);
    ask_send(c, done_answer);
}

void api_kv_delete(api_call *c)
{
    asking *q;
    if (!ask_begin(c, KV_DELETE, false))
        return;
    q = c->own;
    store_call_item(q->call, c->params[3], NULL);
    ask_send(c, done_answer);
}

/* --- SQL -------------------------------------------------------------------------------------- */

/* Blobs as {"hex": "..."}; text that is not UTF-8 too. */
static json_t *hex_json(bytes b)
{
    char *text = malloc(2 * b.n + 1);
    if (text)
        hex_write(b, text);
    json_t *j = text ? json_pack("{s:s%}", "hex", text, 2 * b.n) : NULL;
    free(text);
    return j;
}

static json_t *value_json(const store_item *item)
{
    int64_t i;
    double d;
    char kind = item->key.n == 1 ? item->key.p[0] : SQL_NULL;
    json_t *text = NULL;
    if (kind == SQL_INTEGER && item->value.n == sizeof i) {
        memcpy(&i, item->value.p, sizeof i);
        return json_integer(i);
    }
    if (kind == SQL_REAL && item->value.n == sizeof d) {
        memcpy(&d, item->value.p, sizeof d);
        return json_real(d);
    }
    if (kind == SQL_TEXT)
        text = json_stringn((const char *)item->value.p, item->value.n);
    if (kind == SQL_TEXT || kind == SQL_BLOB)
        return text ? text : hex_json(item->value);
    return json_null();
}

static json_t *rows_json(store_message *m, const sql_result *r)
{
    json_t *columns = json_array(), *rows = json_array();
    store_item item;
    for (uint64_t i = 0; i < r->columns && store_message_next(m, &item); i++)
        json_array_append_new(columns, api_str(item.key));
    for (uint64_t n = 0; n < r->rows; n++) {
        json_t *row = json_array();
        for (uint64_t i = 0; i < r->columns && store_message_next(m, &item); i++)
            json_array_append_new(row, value_json(&item));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o,s:o,s:I}", "columns", columns, "rows", rows, "changes",
                     (json_int_t)r->changes);
}

static void sql_answer(api_call *c, store_message *m)
{
    store_item item;
    sql_result r;
    if (!store_message_next(m, &item) || item.value.n != sizeof r) {
        asking_end(c);
        api_fail_status(c, 500, "the store's answer is damaged");
        return;
    }
    memcpy(&r, item.value.p, sizeof r);
    json_t *j = rows_json(m, &r);
    asking_end(c);
    api_json_take(c, 200, j);
}

static bool sql_audit(api_call *c, catalogue_db *db, err *e)
{
    str sql = S("");
    return api_text(c, "sql", &sql, e) &&
           api_audit(c, db, "sql", arena_printf(&c->a, "%.*s", STR(c->params[1])), e);
}

static void sql_ask_now(api_call *c)
{
    static uint64_t sessions;
    asking *q;
    str sql = S("");
    err e;
    if (!c->x) {
        api_is_over(c);
        return;
    }
    if (!api_text(c, "sql", &sql, &e)) {
        api_fail(c, &e);
        return;
    }
    if (!ask_begin(c, SQL_EXECUTE, true))
        return;
    q = c->own;
    q->ask = (sql_ask){.session = ++sessions};
    store_call_item(q->call, sql, &(bytes){(const uint8_t *)&q->ask, sizeof q->ask});
    ask_send(c, sql_answer);
}

/* People change tenants' data here: so it is noted first. */
void api_sqlite(api_call *c)
{
    catalogue_app x;
    if (api_app(c, &x))
        api_submit(c, sql_audit, sql_ask_now);
}
