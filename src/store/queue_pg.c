/* The queue's rows in PostgreSQL, shared by several nodes; see queue_rows.h.
 *
 * - Nobody waits for a call that another node is moving: `take` reads FOR UPDATE SKIP LOCKED, so
 * each node gets other rows, and each call one lease.
 * - Sums are kept in lanes: a node adds to rows of its own lane and reads all, so that nodes do not
 *   wait for each other's commits. `tidy` folds lanes into one.
 * - What changes calls is announced (NOTIFY) with its commit, to all nodes that are connected.
 * - The clock is the database's, so that all nodes mean the same by "expired".
 * - What a dead node was changing, the server rolls back when its connection ends; what it had
 *   leased expires.
 *
 * libpq is used in its blocking form: this runs on a thread of its own (queue_server.c). The server
 * has to answer a statement within 10 s; a connection that gives no sign is given up after as long.
 * Statements are prepared when they are first used. Numbers travel in binary, big-endian. */
#include "base/hex.h"
#include "base/must.h"
#include "store/queue_rows.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARAMETERS_MAX = QUEUE_FIELDS + 2, LANES = 16, FORMAT_BINARY = 1, LACKED_BYTES_MAX = 4096 };

/* One after the other: two nodes may start at once. */
static const char tables[] =
    "BEGIN; SELECT pg_advisory_xact_lock(27015);"
    "CREATE TABLE IF NOT EXISTS ebb_call (seq bigserial PRIMARY KEY, nonce bigint NOT NULL,"
    " phase bigint NOT NULL, attempts bigint NOT NULL, excused bigint NOT NULL,"
    " at_ms bigint NOT NULL, tenant bigint NOT NULL, app bigint NOT NULL,"
    " revision bigint NOT NULL, attempts_max bigint NOT NULL, class bigint NOT NULL,"
    " criticality bigint NOT NULL, source bigint NOT NULL, start_ms bigint NOT NULL,"
    " deadline_ms bigint NOT NULL, keep_ms bigint NOT NULL, cpu_ns bigint NOT NULL,"
    " intensity double precision NOT NULL, accepted_ms bigint NOT NULL, begun_ms bigint NOT NULL,"
    " ended_ms bigint NOT NULL, holder bigint NOT NULL, bytes bigint NOT NULL,"
    " used_cpu_ns bigint NOT NULL, used_wall_ns bigint NOT NULL, used_nj bigint NOT NULL,"
    " used_intensity double precision NOT NULL, key_hash bytea UNIQUE, same_hash bytea);"
    "CREATE INDEX IF NOT EXISTS ebb_call_step ON ebb_call (phase, at_ms);"
    "CREATE INDEX IF NOT EXISTS ebb_call_tenant ON ebb_call (tenant, seq);"
    "CREATE TABLE IF NOT EXISTS ebb_body (seq bigint PRIMARY KEY, about bytea NOT NULL,"
    " request bytea NOT NULL);"
    "CREATE TABLE IF NOT EXISTS ebb_outcome (seq bigint PRIMARY KEY, note bytea NOT NULL,"
    " result bytea);"
    "CREATE TABLE IF NOT EXISTS ebb_tally (kind bigint, key bigint, lane bigint,"
    " n bigint NOT NULL, v bigint NOT NULL, PRIMARY KEY (kind, key, lane));"
    "CREATE TABLE IF NOT EXISTS ebb_queue (one bigint PRIMARY KEY, mark bytea NOT NULL);"
    "COMMIT";

typedef enum {
    ADD,
    ADD_BODY,
    GET,
    GET_LOCKED,
    FIND,
    PUT,
    REMOVE,
    REMOVE_BODY,
    REMOVE_OUTCOME,
    TAKE,
    TAKE_HELD,
    FIRST,
    LOOK,
    LOOK_TENANT,
    SCAN,
    SCAN_TENANT,
    ABOUT,
    BODY,
    NOTE,
    OUTCOME,
    OUTCOME_SET,
    TALLY_ADD,
    TALLIES,
    TALLIES_KEY,
    STATEMENTS
} statement;

#define TALLY_SUMS                                                                                 \
    "SELECT kind, key, sum(n)::bigint, sum(v)::bigint FROM ebb_tally WHERE kind BETWEEN $1 AND $2"
#define SCAN_WHERE                                                                                 \
    " WHERE seq < $1 AND seq >= $2 AND ($3::bigint = 0 OR app = $3) AND phase BETWEEN $4 AND $5"

/* See queue_statement_write. */
static const char *const texts[STATEMENTS] = {
    [ADD] = "INSERT INTO ebb_call (%c) VALUES (%p) ON CONFLICT (key_hash) DO NOTHING"
            " RETURNING seq",
    [ADD_BODY] = "INSERT INTO ebb_body VALUES ($1, $2, $3)",
    [GET] = "SELECT seq, %c FROM ebb_call WHERE seq = $1",
    [GET_LOCKED] = "SELECT seq, %c FROM ebb_call WHERE seq = $1 FOR UPDATE",
    [FIND] = "SELECT seq, %c FROM ebb_call WHERE key_hash = $1",
    [PUT] = "UPDATE ebb_call SET %a WHERE seq = $1",
    [REMOVE] = "DELETE FROM ebb_call WHERE seq = $1",
    [REMOVE_BODY] = "DELETE FROM ebb_body WHERE seq = $1",
    [REMOVE_OUTCOME] = "DELETE FROM ebb_outcome WHERE seq = $1",
    [TAKE] = "SELECT seq, %c FROM ebb_call WHERE phase = $1 AND at_ms <= $2"
             " AND revision <> ALL ($4::bigint[]) ORDER BY at_ms, seq"
             " LIMIT $3 FOR UPDATE SKIP LOCKED",
    [TAKE_HELD] = "SELECT seq, %c FROM ebb_call WHERE phase = $1 AND at_ms <= $2 AND holder = $4"
                  " ORDER BY at_ms LIMIT $3 FOR UPDATE SKIP LOCKED",
    [FIRST] = "SELECT at_ms FROM ebb_call WHERE phase = $1 ORDER BY at_ms LIMIT 1",
    [LOOK] = "SELECT min(seq), count(*) FROM (SELECT seq FROM ebb_call WHERE seq < $1"
             " ORDER BY seq DESC LIMIT $2) s",
    [LOOK_TENANT] = "SELECT min(seq), count(*) FROM (SELECT seq FROM ebb_call WHERE seq < $1"
                    " AND tenant = $3 ORDER BY seq DESC LIMIT $2) s",
    [SCAN] = "SELECT seq, %c FROM ebb_call" SCAN_WHERE " ORDER BY seq DESC LIMIT $6",
    [SCAN_TENANT] = "SELECT seq, %c FROM ebb_call" SCAN_WHERE " AND tenant = $7"
                    " ORDER BY seq DESC LIMIT $6",
    [ABOUT] = "SELECT about FROM ebb_body WHERE seq = $1",
    [BODY] = "SELECT about, request FROM ebb_body WHERE seq = $1",
    [NOTE] = "SELECT note FROM ebb_outcome WHERE seq = $1",
    [OUTCOME] = "SELECT note, result FROM ebb_outcome WHERE seq = $1",
    [OUTCOME_SET] = "INSERT INTO ebb_outcome VALUES ($1, $2, $3) ON CONFLICT (seq) DO UPDATE"
                    " SET note = excluded.note, result = excluded.result",
    [TALLY_ADD] = "INSERT INTO ebb_tally VALUES ($1, $2, $3, $4, $5)"
                  " ON CONFLICT (kind, key, lane) DO UPDATE"
                  " SET n = ebb_tally.n + excluded.n, v = ebb_tally.v + excluded.v",
    [TALLIES] = TALLY_SUMS " GROUP BY kind, key HAVING sum(n) <> 0 OR sum(v) <> 0"
                           " ORDER BY kind, key",
    [TALLIES_KEY] = TALLY_SUMS " AND key = $3 GROUP BY kind, key ORDER BY kind",
};

/* Lanes of a sum become one, and sums of nothing go. Nobody may add meanwhile. */
static const char fold[] =
    "BEGIN; LOCK TABLE ebb_tally IN EXCLUSIVE MODE;"
    "WITH gone AS (DELETE FROM ebb_tally RETURNING kind, key, n, v)"
    " INSERT INTO ebb_tally SELECT kind, key, 0, sum(n), sum(v) FROM gone GROUP BY kind, key"
    " HAVING sum(n) <> 0 OR sum(v) <> 0;"
    "COMMIT";

typedef struct {
    queue_rows base;
    PGconn *db;
    int64_t lane;
    buf lacked; /* revisions that this node lacks, as PostgreSQL writes an array; a NUL behind it */
    bool prepared[STATEMENTS];
    bool changed;   /* calls, in this transaction */
    PGresult *lent; /* what was read last is borrowed from it */
    /* parameters of the next statement */
    int n;
    const char *values[PARAMETERS_MAX];
    int lengths[PARAMETERS_MAX], formats[PARAMETERS_MAX];
    uint64_t numbers[PARAMETERS_MAX];
} rows;

static rows *of(queue_rows *r) { return (rows *)r; }

static void result_end(PGresult **r) { PQclear(*r); }

/* The server's message may have the URL's user in it, never its password. */
static bool fail(const rows *r, const PGresult *result, err *e)
{
    const char *text = result ? PQresultErrorMessage(result) : PQerrorMessage(r->db);
    str line = str_trim(str_from(text));
    return err_set(e, ERR_IO, "PostgreSQL: %.*s", STR(str_head(line, str_find(line, '\n'))));
}

/* --- parameters and results ------------------------------------------------------------------- */

static void bind_bytes(rows *r, const void *p, size_t n)
{
    r->values[r->n] = p;
    r->lengths[r->n] = (int)n;
    r->formats[r->n++] = FORMAT_BINARY;
}

static void bind_text(rows *r, const char *text)
{
    bind_bytes(r, text, 0);
    r->formats[r->n - 1] = 0;
}

static void bind_number(rows *r, int64_t v)
{
    r->numbers[r->n] = htobe64((uint64_t)v);
    bind_bytes(r, &r->numbers[r->n], 8);
}

static void bind_field(rows *r, const queue_field *f, const queue_row *row)
{
    if (f->kind == FIELD_HASH)
        bind_bytes(r, queue_field_hash(f, row).p, QUEUE_HASH_BYTES);
    else
        bind_number(r, queue_field_get(f, row));
}

static int64_t number_at(const PGresult *result, int row, int column)
{
    uint64_t v = 0;
    if (PQgetlength(result, row, column) == 8)
        memcpy(&v, PQgetvalue(result, row, column), 8);
    return (int64_t)be64toh(v);
}

static bytes bytes_at(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (bytes){0};
    return (bytes){(const uint8_t *)PQgetvalue(result, row, column),
                   (size_t)PQgetlength(result, row, column)};
}

static void row_read(const PGresult *result, int at, queue_row *ret)
{
    *ret = (queue_row){.seq = (uint64_t)number_at(result, at, 0)};
    for (int i = 0; i < QUEUE_FIELDS; i++) {
        const queue_field *f = &queue_fields[i];
        bytes b = bytes_at(result, at, i + 1);
        if (f->kind != FIELD_HASH)
            queue_field_set(f, ret, number_at(result, at, i + 1));
        else if (b.n == QUEUE_HASH_BYTES)
            memcpy((uint8_t *)ret + f->offset, b.p, QUEUE_HASH_BYTES);
    }
}

/* --- statements ------------------------------------------------------------------------------- */

static bool result_ok(const PGresult *result)
{
    ExecStatusType s = PQresultStatus(result);
    return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK;
}

static bool prepare(rows *r, statement which, const char *name, err *e)
{
    _cleanup_(buf_fini) buf text;
    buf_init(&text, 4096);
    queue_statement_write(&text, texts[which], '$');
    if (text.failed)
        return err_no_memory(e);
    _cleanup_(result_end) PGresult *result = PQprepare(r->db, name, (char *)text.p, 0, NULL);
    return (r->prepared[which] = result_ok(result)) || fail(r, result, e);
}

static rows *begin_statement(queue_rows *q)
{
    rows *r = of(q);
    PQclear(r->lent);
    r->lent = NULL;
    r->n = 0;
    return r;
}

/* NULL: *e. */
static PGresult *run(rows *r, statement which, err *e)
{
    char name[16];
    snprintf(name, sizeof name, "ebb%d", (int)which);
    if (!r->prepared[which] && !prepare(r, which, name, e))
        return NULL;
    must(r->n <= PARAMETERS_MAX);
    PGresult *result =
        PQexecPrepared(r->db, name, r->n, r->values, r->lengths, r->formats, FORMAT_BINARY);
    if (result_ok(result))
        return result;
    fail(r, result, e);
    PQclear(result);
    return NULL;
}

static bool run_only(rows *r, statement which, err *e)
{
    _cleanup_(result_end) PGresult *result = run(r, which, e);
    return result != NULL;
}

static PGresult *run_numbers(queue_rows *q, statement which, int n, const int64_t *numbers, err *e)
{
    rows *r = begin_statement(q);
    for (int i = 0; i < n; i++)
        bind_number(r, numbers[i]);
    return run(r, which, e);
}

#define RUN(q, which, e, ...)                                                                      \
    run_numbers(q, which, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                      \
                (int64_t[]){__VA_ARGS__}, e)

/* --- transactions ----------------------------------------------------------------------------- */

static bool pg_begin(queue_rows *q, int64_t *now_ms, err *e)
{
    rows *r = begin_statement(q);
    r->changed = false;
    const char *text =
        *now_ms ? "BEGIN" : "BEGIN; SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint";
    _cleanup_(result_end) PGresult *result = PQexec(r->db, text);
    if (!result_ok(result))
        return fail(r, result, e);
    if (!*now_ms)
        *now_ms = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    return true;
}

static bool pg_commit(queue_rows *q, bool *ret_unsure, err *e)
{
    rows *r = begin_statement(q);
    _cleanup_(result_end) PGresult *result =
        PQexec(r->db, r->changed ? "NOTIFY ebb_queue; COMMIT" : "COMMIT");
    bool ok = result_ok(result);
    *ret_unsure = !ok && PQstatus(r->db) != CONNECTION_OK;
    /* A transaction that had failed answers a COMMIT with ROLLBACK. */
    if (ok && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        return err_set(e, ERR_IO, "PostgreSQL rolled the transaction back");
    return ok || fail(r, result, e);
}

static void pg_rollback(queue_rows *q)
{
    rows *r = begin_statement(q);
    if (PQtransactionStatus(r->db) != PQTRANS_IDLE)
        PQclear(PQexec(r->db, "ROLLBACK"));
}

static bool pg_tidy(queue_rows *q, err *e)
{
    rows *r = begin_statement(q);
    _cleanup_(result_end) PGresult *result = PQexec(r->db, fold);
    if (result_ok(result))
        return true;
    fail(r, result, e);
    pg_rollback(q);
    return false;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void rows_read(const PGresult *result, size_t max, queue_row *ret, size_t *ret_n)
{
    size_t n = (size_t)PQntuples(result);
    *ret_n = n < max ? n : max;
    for (size_t i = 0; i < *ret_n; i++)
        row_read(result, (int)i, &ret[i]);
}

/* Takes the result; NULL: it failed. */
static bool row_one(PGresult *result, queue_row *ret, bool *ret_found)
{
    size_t n;
    if (!result)
        return false;
    rows_read(result, 1, ret, &n);
    PQclear(result);
    *ret_found = n == 1;
    return true;
}

static bool pg_add(queue_rows *q, queue_row *row, const queue_body *body, bool *ret_exists, err *e)
{
    rows *r = begin_statement(q);
    r->changed = true;
    for (int i = 0; i < QUEUE_FIELDS; i++)
        bind_field(r, &queue_fields[i], row);
    PGresult *result = run(r, ADD, e);
    if (!result)
        return false;
    *ret_exists = PQntuples(result) == 0;
    if (!*ret_exists)
        row->seq = (uint64_t)number_at(result, 0, 0);
    PQclear(result);
    if (*ret_exists)
        return true;
    begin_statement(q);
    bind_number(r, (int64_t)row->seq);
    bind_bytes(r, body->about.p, body->about.n);
    bind_bytes(r, body->request.p, body->request.n);
    return run_only(r, ADD_BODY, e);
}

static bool pg_get(queue_rows *q, uint64_t seq, bool for_change, queue_row *ret, bool *ret_found,
                   err *e)
{
    return row_one(RUN(q, for_change ? GET_LOCKED : GET, e, (int64_t)seq), ret, ret_found);
}

static bool pg_find(queue_rows *q, const uint8_t key[QUEUE_HASH_BYTES], queue_row *ret,
                    bool *ret_found, err *e)
{
    rows *r = begin_statement(q);
    bind_bytes(r, key, QUEUE_HASH_BYTES);
    return row_one(run(r, FIND, e), ret, ret_found);
}

static bool pg_put(queue_rows *q, const queue_row *row, err *e)
{
    rows *r = begin_statement(q);
    r->changed = true;
    bind_number(r, (int64_t)row->seq);
    for (int i = 0; i < QUEUE_FIELDS; i++)
        if (queue_fields[i].changes)
            bind_field(r, &queue_fields[i], row);
    return run_only(r, PUT, e);
}

static bool pg_remove(queue_rows *q, uint64_t seq, err *e)
{
    static const statement all[] = {REMOVE, REMOVE_BODY, REMOVE_OUTCOME};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        rows *r = begin_statement(q);
        bind_number(r, (int64_t)seq);
        if (!run_only(r, all[i], e))
            return false;
    }
    return true;
}

static bool pg_take(queue_rows *q, queue_phase phase, int64_t at_max_ms, uint64_t holder,
                    size_t max, queue_row *ret, size_t *ret_n, err *e)
{
    rows *r = begin_statement(q);
    bind_number(r, (int64_t)phase);
    bind_number(r, at_max_ms);
    bind_number(r, (int64_t)max);
    if (holder)
        bind_number(r, (int64_t)holder);
    else
        bind_text(r, r->lacked.n ? (const char *)r->lacked.p : "{}");
    _cleanup_(result_end) PGresult *result = run(r, holder ? TAKE_HELD : TAKE, e);
    if (!result)
        return false;
    rows_read(result, max, ret, ret_n);
    return true;
}

static bool pg_lack(queue_rows *q, const uint64_t *revisions, size_t n, err *e)
{
    buf *out = &of(q)->lacked;
    buf_clear(out);
    buf_put_u8(out, '{');
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%lld", i ? "," : "", (long long)revisions[i]);
    buf_put_str(out, S("}"));
    buf_put_u8(out, 0);
    return !out->failed || err_no_memory(e);
}

static bool pg_claim(queue_rows *q, const uint8_t mark[QUEUE_HASH_BYTES], err *e)
{
    rows *r = begin_statement(q);
    char hex[2 * QUEUE_HASH_BYTES + 1], text[256];
    hex_write((bytes){mark, QUEUE_HASH_BYTES}, hex);
    hex[sizeof hex - 1] = 0;
    snprintf(text, sizeof text,
             "INSERT INTO ebb_queue VALUES (1, '\\x%s') ON CONFLICT DO NOTHING;"
             "SELECT mark = '\\x%s' FROM ebb_queue",
             hex, hex);
    _cleanup_(result_end) PGresult *result = PQexec(r->db, text);
    if (!result_ok(result))
        return fail(r, result, e);
    return (PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't') ||
           err_set(e, ERR_DENIED,
                   "the queue belongs to nodes with another key; nodes that share a queue have "
                   "the same seal.key: copy it before the first start (docs/operate.md)");
}

static bool pg_first(queue_rows *q, queue_phase phase, int64_t *ret_at_ms, err *e)
{
    _cleanup_(result_end) PGresult *result = RUN(q, FIRST, e, (int64_t)phase);
    if (!result)
        return false;
    *ret_at_ms = PQntuples(result) ? number_at(result, 0, 0) : 0;
    return true;
}

/* First how far down so many looks reach, then those that are wanted above that. */
static bool pg_scan(queue_rows *q, const queue_list *list, queue_phase from, queue_phase to,
                    uint64_t before, size_t looks, queue_row *ret, size_t *ret_n,
                    uint64_t *ret_next, err *e)
{
    int64_t below = (int64_t)before, tenant = (int64_t)list->tenant;
    PGresult *result = tenant ? RUN(q, LOOK_TENANT, e, below, (int64_t)looks, tenant)
                              : RUN(q, LOOK, e, below, (int64_t)looks);
    if (!result)
        return false;
    int64_t lowest = number_at(result, 0, 0);
    bool all = number_at(result, 0, 1) < (int64_t)looks;
    PQclear(result);
    rows *r = begin_statement(q);
    const int64_t numbers[] = {below,         lowest,      (int64_t)list->app,
                               (int64_t)from, (int64_t)to, (int64_t)list->count,
                               tenant};
    for (int i = 0; i < (tenant ? 7 : 6); i++)
        bind_number(r, numbers[i]);
    if (!(result = run(r, tenant ? SCAN_TENANT : SCAN, e)))
        return false;
    rows_read(result, list->count, ret, ret_n);
    PQclear(result);
    *ret_next = *ret_n == list->count ? ret[*ret_n - 1].seq : all ? 0 : (uint64_t)lowest;
    return true;
}

/* --- bodies, outcomes, sums ------------------------------------------------------------------- */

static bool lend(queue_rows *q, PGresult *result, bytes *ret_first, bytes *ret_second)
{
    if (!result)
        return false;
    bool there = PQntuples(result) > 0;
    *ret_first = there ? bytes_at(result, 0, 0) : (bytes){0};
    *ret_second = there && PQnfields(result) > 1 ? bytes_at(result, 0, 1) : (bytes){0};
    of(q)->lent = result;
    return true;
}

static bool pg_body(queue_rows *q, uint64_t seq, bool with_request, queue_body *ret, err *e)
{
    return lend(q, RUN(q, with_request ? BODY : ABOUT, e, (int64_t)seq), &ret->about,
                &ret->request);
}

static bool pg_outcome(queue_rows *q, uint64_t seq, bool with_result, bytes *ret_note,
                       bytes *ret_result, err *e)
{
    return lend(q, RUN(q, with_result ? OUTCOME : NOTE, e, (int64_t)seq), ret_note, ret_result);
}

static bool pg_outcome_set(queue_rows *q, uint64_t seq, bytes note, bytes result, err *e)
{
    rows *r = begin_statement(q);
    bind_number(r, (int64_t)seq);
    bind_bytes(r, note.p, note.n);
    bind_bytes(r, result.p, result.n);
    return run_only(r, OUTCOME_SET, e);
}

static bool pg_tally_add(queue_rows *q, const queue_tally *t, err *e)
{
    _cleanup_(result_end) PGresult *result =
        RUN(q, TALLY_ADD, e, (int64_t)t->kind, t->key, of(q)->lane, t->n, t->v);
    return result != NULL;
}

static bool pg_tally_each(queue_rows *q, unsigned from, unsigned to, const int64_t *key,
                          void (*each)(void *user, const queue_tally *t), void *user, err *e)
{
    _cleanup_(result_end) PGresult *result =
        key ? RUN(q, TALLIES_KEY, e, (int64_t)from, (int64_t)to, *key)
            : RUN(q, TALLIES, e, (int64_t)from, (int64_t)to);
    for (int i = 0; result && i < PQntuples(result); i++)
        each(user, &(queue_tally){(uint32_t)number_at(result, i, 0), number_at(result, i, 1),
                                  number_at(result, i, 2), number_at(result, i, 3)});
    return result != NULL;
}

/* --- what others do --------------------------------------------------------------------------- */

static int pg_news_fd(queue_rows *q) { return PQsocket(of(q)->db); }

static bool pg_news(queue_rows *q, bool *ret_news, err *e)
{
    rows *r = begin_statement(q);
    *ret_news = false;
    if (!PQconsumeInput(r->db))
        return fail(r, NULL, e);
    for (PGnotify *n; (n = PQnotifies(r->db)); PQfreemem(n))
        *ret_news |= n->be_pid != PQbackendPID(r->db);
    return true;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void pg_close(queue_rows *q)
{
    rows *r = of(q);
    if (!r)
        return;
    PQclear(r->lent);
    PQfinish(r->db);
    buf_fini(&r->lacked);
    free(r);
}

/* Notices ("the table is there already") are nobody's business. */
static void on_notice(void *user, const PGresult *result) {}

/* Whether a '/' or '@' of the password, which is not encoded, cuts the URL in the wrong place. */
static bool is_cut(str url)
{
    if (!str_starts(url, S("postgresql://")) && !str_starts(url, S("postgres://")))
        return false; /* "key=value ..." */
    str rest = str_skip(url, str_find(url, ':') + 3);
    size_t slash = str_find(rest, '/');
    str who = str_head(rest, slash), path = str_skip(rest, slash);
    path = str_head(path, str_find(path, '?'));
    return str_find(who, '@') != str_rfind(who, '@') || str_find(path, '@') < path.n;
}

static bool port_ok(const PQconninfoOption *o)
{
    while (o->keyword && strcmp(o->keyword, "port") != 0)
        o++;
    return !o->keyword || !o->val || !o->val[strspn(o->val, "0123456789,")];
}

/* libpq says what of a URL it does not understand, which may be a part of the password. */
static bool url_check(const char *url, err *e)
{
    char *problem = NULL;
    PQconninfoOption *parts = PQconninfoParse(url, &problem);
    bool ok = parts && port_ok(parts) && !is_cut(str_from(url));
    PQconninfoFree(parts);
    PQfreemem(problem);
    return ok || err_set(e, ERR_INVALID,
                         "the URL of the queue's database is malformed; it is "
                         "postgresql://user:password@host:port/database, with '/', '@' and '%%' in "
                         "the password percent-encoded");
}

bool queue_pg_open(const char *url, queue_rows **ret, err *e)
{
    static const queue_rows_ops ops = {
        pg_begin,      pg_commit, pg_rollback, pg_add,     pg_get,         pg_find,
        pg_put,        pg_remove, pg_take,     pg_lack,    pg_claim,       NULL,
        pg_first,      pg_scan,   pg_body,     pg_outcome, pg_outcome_set, pg_tally_add,
        pg_tally_each, pg_tidy,   pg_news_fd,  pg_news,    pg_close,
    };
    /* What the URL says counts more. */
    static const char *const names[] = {"connect_timeout",
                                        "tcp_user_timeout",
                                        "keepalives_idle",
                                        "application_name",
                                        "options",
                                        "dbname",
                                        NULL};
    const char *const values[] = {"5",
                                  "10000",
                                  "5",
                                  "ebb",
                                  "-c statement_timeout=10000 -c lock_timeout=5000"
                                  " -c idle_in_transaction_session_timeout=10000",
                                  url,
                                  NULL};
    if (!url_check(url, e))
        return false;
    rows *r = calloc(1, sizeof *r);
    if (!r)
        return err_no_memory(e);
    r->base.ops = &ops;
    buf_init(&r->lacked, LACKED_BYTES_MAX);
    r->lane = (int64_t)(clock_mono() / NS_PER_US ^ (uint64_t)getpid()) % LANES;
    r->db = PQconnectdbParams(names, values, 1);
    if (!r->db || PQstatus(r->db) != CONNECTION_OK) {
        fail(r, NULL, e);
        pg_close(&r->base);
        return false;
    }
    PQsetNoticeReceiver(r->db, on_notice, NULL);
    _cleanup_(result_end) PGresult *result = PQexec(r->db, tables);
    if (result_ok(result)) {
        PQclear(result);
        result = PQexec(r->db, "LISTEN ebb_queue");
    }
    if (!result_ok(result)) {
        fail(r, result, e);
        pg_close(&r->base);
        return false;
    }
    *ret = &r->base;
    return true;
}
