/* SQL for guests: spin:sqlite@3.0.0 and fermyon:spin/sqlite@2.0.0 (a resource), and Spin's first
 * version without a number (u32 handles). spin.md 3.6.
 *
 * Which labels a component may open is in its manifest. Opening costs nothing: the first statement
 * makes a session in the store process, which is a connection of its own with transactions and
 * temporary tables of its own; dropping the handle closes it, and so does the end of the guest,
 * which stops a statement that still runs. Nothing of SQLite runs in here. */
#include "host/ask.h"

#include "base/limits.h"

enum { NO_SUCH_DATABASE, ACCESS_DENIED, INVALID_CONNECTION, DATABASE_FULL, IO };

/* An open database. */
typedef struct {
    bool open, begun; /* begun: the store process may know it */
    uint16_t database;
    sql_ask ask;
    int64_t last_insert_rowid;
    uint64_t changes;
} session;

typedef struct {
    object o;
    session s;
} connection_object;

struct sql_v1 {
    session at[STORE_OPEN_MAX];
};

/* False: *ret_case is the error's case; IO: too many are open. */
static bool session_open(guest *g, str label, session *ret, uint32_t *ret_case)
{
    static uint64_t last; /* numbers of this process are never used twice */
    const host_component *h = g->component;
    *ret_case = ACCESS_DENIED;
    for (size_t i = 0; i < h->sql_databases_count; i++) {
        const struct host_store *d = &h->sql_databases[i];
        if (!str_eq(d->label, label))
            continue;
        *ret_case = !h->store || d->store > UINT16_MAX ? NO_SUCH_DATABASE : IO;
        if (*ret_case != IO || g->sql_open >= STORE_OPEN_MAX)
            return false;
        g->sql_open++;
        *ret = (session){.open = true, .database = (uint16_t)d->store, .ask.session = ++last};
        return true;
    }
    return false;
}

static void session_close(guest *g, session *s)
{
    if (!s->open)
        return;
    s->open = false;
    g->sql_open--;
    if (!s->begun)
        return;
    store_call *k = store_call_new(g->component->store, SQL_CLOSE, s->database);
    if (!k)
        return; /* the store process closes it when this worker ends */
    bytes ask = {(const uint8_t *)&s->ask, sizeof s->ask};
    store_call_item(k, (str){0}, &ask);
    store_call_send_and_forget_take(k);
}

void guest_sql_free(guest *g)
{
    for (int i = 0; g->sql_v1 && i < STORE_OPEN_MAX; i++)
        session_close(g, &g->sql_v1->at[i]);
    g->sql_v1 = NULL;
}

static void connection_dropped(guest *g, object *o)
{
    session_close(g, &((connection_object *)o)->s);
}

static const host_resource connection_resource = {"connection", connection_dropped};

/* result<_, error> */
static host_status return_error(host_call *c, place r, uint32_t k, str text)
{
    place error = put_case(c, put_case(c, r, 1), k);
    return k != IO || put_string(c, error, text) ? HOST_DONE : HOST_TRAP;
}

/* --- execute ---------------------------------------------------------------------------------- */

/* A `value` in guest memory, as a parameter of the request. */
static bool parameter(host_call *c, uint32_t at)
{
    static const char letters[] = {SQL_INTEGER, SQL_REAL, SQL_TEXT, SQL_BLOB, SQL_NULL};
    uint8_t kind = c->memory[at];
    uint32_t where, n;
    bytes b = {c->memory + at + 8, 8};
    str text;
    if (kind >= sizeof letters)
        return call_trap(c, "a parameter is no case of value: %u", kind), false;
    memcpy(&where, c->memory + at + 8, sizeof where);
    memcpy(&n, c->memory + at + 12, sizeof n);
    if (kind == 2) {
        if (!call_string(c, where, n, &text))
            return false;
        b = (bytes){(const uint8_t *)text.p, text.n};
    } else if (kind == 3 && !call_bytes(c, where, n, &b)) {
        return false;
    }
    store_call_item(c->g->store_call, (str){&letters[kind], 1}, kind == 4 ? NULL : &b);
    return true;
}

/* Statement in slots 1, 2; list of values in 3, 4. */
static bool request_make(host_call *c, session *s)
{
    enum { VALUE_BYTES = 16 };
    str statement;
    uint32_t at = c->slots[3].u32, n = c->slots[4].u32;
    bytes ask = {(const uint8_t *)&s->ask, sizeof s->ask};
    if (!arg_string(c, 1, &statement) || !call_list(c, at, n, VALUE_BYTES, 8) ||
        !ask_begin(c, SQL_EXECUTE, s->database))
        return false;
    store_call_item(c->g->store_call, statement, &ask);
    for (uint32_t i = 0; i < n; i++)
        if (!parameter(c, at + i * VALUE_BYTES))
            return false;
    return true;
}

static bool put_value(host_call *c, place value, const store_item *i)
{
    uint64_t bits = 0;
    if (i->key.n != 1)
        return call_trap(c, "the store process sent a damaged answer"), false;
    switch (i->key.p[0]) {
    case SQL_INTEGER:
    case SQL_REAL:
        if (i->value.n == sizeof bits)
            memcpy(&bits, i->value.p, sizeof bits);
        put_int(c, put_case(c, value, i->key.p[0] == SQL_REAL), bits);
        return true;
    case SQL_TEXT:
        return put_string(c, put_case(c, value, 2), (str){(const char *)i->value.p, i->value.n});
    case SQL_BLOB:
        return put_bytes(c, put_case(c, value, 3), i->value);
    default:
        put_case(c, value, 4);
        return true;
    }
}

/* The record query-result. */
static bool put_result(host_call *c, place result, store_message *m, const sql_result *r)
{
    place column, row, value;
    store_item i;
    if (r->columns > UINT32_MAX || r->rows > UINT32_MAX ||
        !put_list(c, place_field(result, 0), (uint32_t)r->columns, &column))
        return false;
    for (uint32_t k = 0; k < r->columns && store_message_next(m, &i); k++)
        if (!put_string(c, place_element(column, k), i.key))
            return false;
    if (!put_list(c, place_field(result, 1), (uint32_t)r->rows, &row))
        return false;
    for (uint32_t n = 0; n < r->rows; n++) {
        place values = place_field(place_element(row, n), 0);
        if (!put_list(c, values, (uint32_t)r->columns, &value))
            return false;
        for (uint32_t k = 0; k < r->columns && store_message_next(m, &i); k++)
            if (!put_value(c, place_element(value, k), &i))
                return false;
    }
    return true;
}

static host_status answer_put(host_call *c, session *s, ask_answer *a)
{
    sql_result r;
    store_item head;
    place to;
    if (!result_place(c, &to))
        return HOST_TRAP;
    if (!a->m)
        return return_error(c, to, IO, a->failure);
    if (a->m->kind == STORE_FULL)
        return return_error(c, to, DATABASE_FULL, (str){0});
    if (!store_message_next(a->m, &head) || head.value.n != sizeof r)
        return return_error(c, to, IO, S("the store process sent a damaged answer"));
    memcpy(&r, head.value.p, sizeof r);
    s->last_insert_rowid = r.last_insert_rowid;
    s->changes = r.changes;
    if (!r.held) {
        s->begun = false;
        s->ask.step = 0;
    }
    return put_result(c, put_case(c, to, 0), a->m, &r) ? HOST_DONE : HOST_TRAP;
}

static host_status execute(host_call *c, session *s)
{
    ask_answer a;
    if (!ask_made(c) && !request_make(c, s))
        return HOST_TRAP;
    host_status status = ask_await(c, &a);
    s->begun = s->begun || ask_made(c);
    if (status != HOST_DONE)
        return status;
    s->ask.step += ask_made(c);
    return ask_over(c, answer_put(c, s, &a));
}

/* --- versions 2 and 3 ------------------------------------------------------------------------- */

static host_status connection_open(host_call *c)
{
    str label;
    place r;
    session s;
    uint32_t k;
    if (!arg_string(c, 0, &label) || !result_place(c, &r))
        return HOST_TRAP;
    if (!session_open(c->g, label, &s, &k))
        return return_error(c, r, k, S("too many connections opened"));
    connection_object *o = OBJECT_NEW(c->g, connection_object, connection_resource, NULL);
    if (!o) {
        c->g->sql_open--;
        return call_no_memory(c);
    }
    o->s = s;
    return put_handle(c, put_case(c, r, 0), &o->o) ? HOST_DONE : HOST_TRAP;
}

static host_status connection_execute(host_call *c)
{
    connection_object *o;
    return ARG_BORROW(c, 0, connection_resource, &o) ? execute(c, &o->s) : HOST_TRAP;
}

static host_status connection_last_insert_rowid(host_call *c)
{
    connection_object *o;
    if (!ARG_BORROW(c, 0, connection_resource, &o))
        return HOST_TRAP;
    return return_u64(c, (uint64_t)o->s.last_insert_rowid);
}

static host_status connection_changes(host_call *c)
{
    connection_object *o;
    if (!ARG_BORROW(c, 0, connection_resource, &o))
        return HOST_TRAP;
    return return_u64(c, o->s.changes);
}

#define VALUES                                                                                     \
    "variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }\n"              \
    "record row-result { values: list<value> }\n"                                                  \
    "record query-result { columns: list<string>, rows: list<row-result> }\n"                      \
    "variant error {\n"                                                                            \
    "    no-such-database, access-denied, invalid-connection, database-full, io(string)\n"         \
    "}"
#define OPEN "func(database: string) -> result<connection, error>"
#define EXECUTE                                                                                    \
    "func(self: borrow<connection>, statement: string, parameters: list<value>) -> "               \
    "result<query-result, error>"

const host_interface spin_sqlite_v2 = {
    .name = "fermyon:spin/sqlite@2.0.0",
    .types = "resource connection;\n" VALUES,
    .funcs =
        (const host_func[]){
            {"[static]connection.open", OPEN, connection_open},
            {"[method]connection.execute", EXECUTE, connection_execute, true},
            {0},
        },
    .resources = (const host_resource *const[]){&connection_resource, NULL},
};

const host_interface spin_sqlite_v3 = {
    .name = "spin:sqlite/sqlite@3.0.0",
    .types = "resource connection;\n" VALUES,
    .funcs =
        (const host_func[]){
            {"[static]connection.open", OPEN, connection_open},
            {"[method]connection.execute", EXECUTE, connection_execute, true},
            {"[method]connection.last-insert-rowid", "func(self: borrow<connection>) -> s64",
             connection_last_insert_rowid},
            {"[method]connection.changes", "func(self: borrow<connection>) -> u64",
             connection_changes},
            {0},
        },
    .resources = (const host_resource *const[]){&connection_resource, NULL},
};

/* --- version 1: handles are places in guest.sql_v1 -------------------------------------------- */

static host_status v1_open(host_call *c)
{
    guest *g = c->g;
    str label;
    place r;
    session s;
    uint32_t k, i = 0;
    if (!arg_string(c, 0, &label) || !result_place(c, &r))
        return HOST_TRAP;
    if (!g->sql_v1) {
        if (!(g->sql_v1 = pool_take(&g->pool, sizeof *g->sql_v1)))
            return call_no_memory(c);
        memset(g->sql_v1, 0, sizeof *g->sql_v1);
    }
    if (!session_open(g, label, &s, &k))
        return return_error(c, r, k, S("too many connections opened"));
    while (g->sql_v1->at[i].open) /* session_open says that there is room */
        i++;
    g->sql_v1->at[i] = s;
    put_int(c, put_case(c, r, 0), i);
    return HOST_DONE;
}

static session *v1_session(host_call *c)
{
    uint32_t i = c->slots[0].u32;
    struct sql_v1 *all = c->g->sql_v1;
    return all && i < STORE_OPEN_MAX && all->at[i].open ? &all->at[i] : NULL;
}

static host_status v1_execute(host_call *c)
{
    session *s = v1_session(c);
    place r;
    if (s)
        return execute(c, s);
    return result_place(c, &r) ? return_error(c, r, INVALID_CONNECTION, (str){0}) : HOST_TRAP;
}

static host_status v1_close(host_call *c)
{
    session *s = v1_session(c);
    if (s)
        session_close(c->g, s);
    return HOST_DONE;
}

const host_interface spin_sqlite_v1 = {
    .name = "fermyon:spin/sqlite",
    .types = "type connection = u32;\n" VALUES,
    .funcs =
        (const host_func[]){
            {"open", OPEN, v1_open},
            {"execute",
             "func(conn: connection, statement: string, parameters: list<value>) -> "
             "result<query-result, error>",
             v1_execute, true},
            {"close", "func(conn: connection)", v1_close},
            {0},
        },
};
