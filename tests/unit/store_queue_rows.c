/* The queue's rows in a file, function by function, and what the engine does on them at the edges
 * that whole requests (store_queue.c) seldom come to. */
#include "folder_kit.h"

#include "base/limits.h"
#include "store/queue_engine_impl.h"

#include <sqlite3.h>

static char path[80];
static queue_rows *r;
static err e;

static int begin(void **state)
{
    if (!folder_make("/tmp/ebb-rows"))
        return -1;
    snprintf(path, sizeof path, "%s/queue.db", dir);
    return queue_sqlite_open(path, &r, &e) ? 0 : -1;
}

static int end(void **state)
{
    if (r)
        r->ops->close(r);
    r = NULL;
    return folder_remove(dir);
}

/* --- columns ---------------------------------------------------------------------------------- */

static void fields(void **state)
{
    for (int i = 0; i < QUEUE_FIELDS; i++) {
        const queue_field *f = &queue_fields[i];
        queue_row row, zero = {0}, again = {0};
        memset(&row, 0, sizeof row);
        if (f->kind == FIELD_HASH) {
            assert_null(queue_field_hash(f, &row).p);
            ((uint8_t *)&row)[f->offset + 15] = 1;
            assert_int_equal(queue_field_hash(f, &row).n, 16);
            assert_ptr_equal(queue_field_hash(f, &row).p, (uint8_t *)&row + f->offset);
            continue;
        }
        size_t width = f->kind == FIELD_U32 ? 4 : f->kind == FIELD_U8 ? 1 : 8;
        uint64_t most = width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1;
        assert_int_equal(queue_field_get(f, &zero), 0);
        queue_field_set(f, &again, -1); /* no byte too many */
        for (size_t k = 0; k < sizeof again; k++)
            assert_int_equal(((uint8_t *)&again)[k],
                             k >= f->offset && k < f->offset + width ? 255 : 0);
        assert_int_equal((uint64_t)queue_field_get(f, &again), most);
    }
}

static void statements(void **state)
{
    buf out;
    buf_init(&out, 4096);
    queue_statement_write(&out, "a %c b", '?');
    assert_memory_equal(out.p, "a nonce, phase, attempts, excused, at_ms, tenant, ", 50);
    assert_memory_equal(out.p + out.n - 22, "key_hash, same_hash b\0", 22);
    assert_int_equal(out.p[out.n - 1], 0);
    buf_clear(&out);
    queue_statement_write(&out, "(%p)", '$');
    assert_memory_equal(out.p, "($1, $2, $3, ", 13);
    assert_memory_equal(out.p + out.n - 11, " $27, $28)\0", 11);
    buf_clear(&out);
    queue_statement_write(&out, "%a", '?');
    assert_string_equal((char *)out.p,
                        "phase = ?2, attempts = ?3, excused = ?4, at_ms = ?5, deadline_ms = ?6, "
                        "begun_ms = ?7, ended_ms = ?8, holder = ?9, used_cpu_ns = ?10, "
                        "used_wall_ns = ?11, used_nj = ?12, used_intensity = ?13");
    buf_fini(&out);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void transaction(void)
{
    int64_t now = 5;
    assert_true(r->ops->begin(r, &now, &e));
    assert_int_equal(now, 5);
}

static void commit(void)
{
    bool unsure = true;
    if (!r->ops->commit(r, &unsure, &e))
        fail_msg("%s", e.text);
    assert_false(unsure);
}

/* A row that says `seed` in each of its numbers. */
static queue_row row_of(unsigned seed)
{
    queue_row row = {0};
    for (int i = 0; i < QUEUE_FIELDS; i++)
        if (queue_fields[i].kind == FIELD_F64)
            queue_field_set(&queue_fields[i], &row, (int64_t)(UINT64_C(0x4010) << 48));
        else if (queue_fields[i].kind != FIELD_HASH)
            queue_field_set(&queue_fields[i], &row, (int64_t)(seed + (unsigned)i) % 100);
    return row;
}

static void same(const queue_row *x, const queue_row *y)
{
    assert_int_equal(x->seq, y->seq);
    for (int i = 0; i < QUEUE_FIELDS; i++) {
        const queue_field *f = &queue_fields[i];
        if (f->kind == FIELD_HASH)
            assert_memory_equal((uint8_t *)x + f->offset, (uint8_t *)y + f->offset, 16);
        else
            assert_int_equal(queue_field_get(f, x), queue_field_get(f, y));
    }
}

static uint64_t add(queue_row *row, const char *about)
{
    bool exists = true;
    queue_body body = {{(const uint8_t *)about, strlen(about)}, {(const uint8_t *)"request", 7}};
    if (!r->ops->add(r, row, &body, &exists, &e))
        fail_msg("%s", e.text);
    return exists ? 0 : row->seq;
}

static queue_row get(uint64_t seq, bool there)
{
    queue_row row = {0};
    bool found = !there;
    assert_true(r->ops->get(r, seq, true, &row, &found, &e));
    assert_int_equal(found, there);
    return row;
}

static void rows_come_back(void **state)
{
    queue_row first = row_of(10), second = row_of(20), got;
    bool found = true;
    first.key[0] = 1;
    first.same[15] = 2;
    transaction();
    assert_int_equal(add(&first, "one"), 1);
    assert_int_equal(add(&second, "two"), 2);
    got = get(1, true);
    same(&got, &first);
    got = get(2, true);
    same(&got, &second);
    get(3, false);
    assert_true(r->ops->find(r, first.key, &got, &found, &e) && found);
    same(&got, &first);
    assert_true(r->ops->find(r, (const uint8_t[16]){2}, &got, &found, &e) && !found);
    queue_row third = row_of(30); /* the key is there */
    third.key[0] = 1;
    assert_int_equal(add(&third, "three"), 0);
    queue_row fourth = row_of(40); /* those without a key are not in each other's way */
    assert_int_equal(add(&fourth, "four"), 3);
    queue_row changed = row_of(50);
    changed.seq = 2;
    assert_true(r->ops->put(r, &changed, &e));
    got = get(2, true);
    for (int i = 0; i < QUEUE_FIELDS; i++)
        if (queue_fields[i].kind != FIELD_HASH)
            assert_int_equal(
                queue_field_get(&queue_fields[i], &got),
                queue_field_get(&queue_fields[i], queue_fields[i].changes ? &changed : &second));
    assert_true(r->ops->remove(r, 1, &e));
    get(1, false);
    assert_true(r->ops->find(r, first.key, &got, &found, &e) && !found);
    commit();
    r->ops->close(r);
    assert_true(queue_sqlite_open(path, &r, &e));
    get(1, false);
    get(3, true);
}

static void bodies_and_outcomes(void **state)
{
    queue_row row = row_of(1);
    queue_body body;
    bytes note, result;
    transaction();
    uint64_t seq = add(&row, "about");
    assert_true(r->ops->body(r, seq, true, &body, &e));
    assert_true(body.about.n == 5 && memcmp(body.about.p, "about", 5) == 0);
    assert_true(body.request.n == 7 && memcmp(body.request.p, "request", 7) == 0);
    assert_true(r->ops->body(r, seq, false, &body, &e));
    assert_true(body.about.n == 5 && body.request.p == NULL && body.request.n == 0);
    assert_true(r->ops->body(r, 99, true, &body, &e));
    assert_true(body.about.n == 0 && body.request.n == 0);
    assert_true(r->ops->outcome(r, seq, true, &note, &result, &e));
    assert_true(note.n == 0 && result.n == 0);
    bytes n = {(const uint8_t *)"note", 4}, none = {0};
    assert_true(r->ops->outcome_set(r, seq, n, n, &e));
    assert_true(r->ops->outcome(r, seq, false, &note, &result, &e));
    assert_true(note.n == 4 && result.p == NULL);
    assert_true(r->ops->outcome(r, seq, true, &note, &result, &e));
    assert_true(note.n == 4 && result.n == 4 && memcmp(result.p, "note", 4) == 0);
    assert_true(r->ops->outcome_set(r, seq, n, none, &e)); /* instead */
    assert_true(r->ops->outcome(r, seq, true, &note, &result, &e));
    assert_true(note.n == 4 && result.p == NULL);
    assert_true(r->ops->remove(r, seq, &e));
    assert_true(r->ops->body(r, seq, true, &body, &e) && body.about.n == 0);
    assert_true(r->ops->outcome(r, seq, true, &note, &result, &e) && note.n == 0);
    commit();
}

/* The sequence numbers, as digits. */
static const char *taken(queue_phase phase, int64_t at_max, uint64_t holder, size_t max)
{
    static char text[16];
    queue_row got[9];
    size_t n;
    assert_true(r->ops->take(r, phase, at_max, holder, max, got, &n, &e));
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('0' + got[i].seq);
    text[n] = 0;
    return text;
}

static int64_t first_of(queue_phase phase)
{
    int64_t at = 77;
    assert_true(r->ops->first(r, phase, &at, &e));
    return at;
}

static void taken_by_their_moment(void **state)
{
    static const struct {
        queue_phase phase;
        int64_t at_ms;
        uint64_t holder;
    } rows[] = {{PHASE_LEASED, 50, 7},
                {PHASE_LEASED, 30, 8},
                {PHASE_LEASED, 40, 7},
                {PHASE_LATER, 10, 7},
                {PHASE_DONE, 20, 7}};
    transaction();
    assert_int_equal(first_of(PHASE_LEASED), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        queue_row row = row_of(1);
        row.phase = rows[i].phase;
        row.at_ms = rows[i].at_ms;
        row.holder = rows[i].holder;
        assert_int_equal(add(&row, "x"), i + 1);
    }
    assert_string_equal(taken(PHASE_LEASED, INT64_MAX, 0, 9), "231");
    assert_string_equal(taken(PHASE_LEASED, 49, 0, 9), "23");
    assert_string_equal(taken(PHASE_LEASED, 50, 0, 9), "231");
    assert_string_equal(taken(PHASE_LEASED, 29, 0, 9), "");
    assert_string_equal(taken(PHASE_LEASED, INT64_MAX, 0, 2), "23");
    assert_string_equal(taken(PHASE_LEASED, INT64_MAX, 7, 9), "31");
    assert_string_equal(taken(PHASE_LEASED, 40, 7, 9), "3");
    assert_string_equal(taken(PHASE_LEASED, INT64_MAX, 9, 9), "");
    assert_string_equal(taken(PHASE_LATER, INT64_MAX, 0, 9), "4");
    assert_int_equal(first_of(PHASE_LEASED), 30);
    assert_int_equal(first_of(PHASE_DEAD), 0);
    assert_true(r->ops->shift(r, PHASE_LEASED, -100, &e));
    assert_int_equal(first_of(PHASE_LEASED), -70);
    assert_int_equal(first_of(PHASE_LATER), 10);
    commit();
}

/* Next attempts; what waits for its start, the second one, does not depend on how it is got to. */
static void the_clock_is_set(void **state)
{
    static const struct {
        uint32_t attempts;
        int64_t start_ms, at_ms;
    } rows[] = {{1, 0, 500}, {0, 600, 600}, {2, 450, 500}, {1, 550, 500}};
    static const struct {
        int64_t until_ms;
        const char *taken;
    } at[] = {{399, ""},   {400, "1"},   {449, "1"},   {450, "13"},
              {499, "13"}, {500, "134"}, {599, "134"}, {600, "1342"}};
    transaction();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        queue_row row = row_of(1);
        row.phase = PHASE_LATER;
        row.attempts = rows[i].attempts;
        row.terms.start_ms = rows[i].start_ms;
        row.at_ms = rows[i].at_ms;
        assert_int_equal(add(&row, "x"), i + 1);
    }
    for (int step = 0; step < 2; step++) { /* back, and forward again */
        assert_true(r->ops->shift(r, PHASE_LATER, step ? 5000 : -100, &e));
        for (size_t i = 0; i < sizeof at / sizeof *at; i++)
            assert_string_equal(taken(PHASE_LATER, at[i].until_ms, 0, 9), at[i].taken);
    }
    commit();
}

static const char *scanned(queue_list list, queue_phase from, queue_phase to, uint64_t before,
                           size_t looks, uint64_t want_next)
{
    static char text[16];
    queue_row got[9];
    size_t n;
    uint64_t next = 77;
    assert_true(r->ops->scan(r, &list, from, to, before, looks, got, &n, &next, &e));
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('0' + got[i].seq);
    text[n] = 0;
    assert_int_equal(next, want_next);
    return text;
}

static void scanned_from_the_newest(void **state)
{
    static const queue_phase last = PHASES - 1;
    const queue_list all = {.count = 9}, mine = {.tenant = 1, .count = 9},
                     of_app = {.tenant = 1, .app = 4, .count = 9}, two = {.count = 2};
    transaction();
    for (unsigned i = 1; i <= 6; i++) {
        queue_row row = row_of(1);
        row.terms.tenant = i % 2; /* 1, 3, 5 are its */
        row.terms.app = i == 3 ? 5 : 4;
        row.phase = i - 1;
        assert_int_equal(add(&row, "x"), i);
    }
    assert_string_equal(scanned(all, 0, last, INT64_MAX, 100, 0), "654321");
    assert_string_equal(scanned(all, 0, last, 4, 100, 0), "321");
    assert_string_equal(scanned(all, 2, 4, INT64_MAX, 100, 0), "543");
    assert_string_equal(scanned(mine, 0, last, INT64_MAX, 100, 0), "531");
    assert_string_equal(scanned(of_app, 0, last, INT64_MAX, 100, 0), "51");
    assert_string_equal(scanned(two, 0, last, INT64_MAX, 100, 5), "65");
    assert_string_equal(scanned(two, 0, last, 3, 100, 1), "21"); /* perhaps there are more */
    assert_string_equal(scanned(two, 0, last, 1, 100, 0), "");
    assert_string_equal(scanned(all, 0, last, INT64_MAX, 4, 3), "6543"); /* looks are bounded */
    assert_string_equal(scanned(all, 5, 5, INT64_MAX, 2, 5), "6");
    assert_string_equal(scanned(all, 0, 0, INT64_MAX, 2, 5), "");
    commit();
}

static char sums[128];

static void sum_note(void *user, const queue_tally *t)
{
    size_t n = strlen(sums);
    assert_ptr_equal(user, sums);
    snprintf(sums + n, sizeof sums - n, "%u/%d=%d,%d ", t->kind, (int)t->key, (int)t->n, (int)t->v);
}

static const char *summed(unsigned from, unsigned to, const int64_t *key)
{
    sums[0] = 0;
    assert_true(r->ops->tally_each(r, from, to, key, sum_note, sums, &e));
    return sums;
}

static void sums_by_kind_and_key(void **state)
{
    static const queue_tally all[] = {
        {3, 20, 1, 10}, {3, 10, 2, 20}, {4, 10, 5, 5}, {3, 20, 2, 5}, {5, 10, 1, 1}};
    int64_t key = 10;
    transaction();
    for (size_t i = 0; i < 5; i++)
        assert_true(r->ops->tally_add(r, &all[i], &e));
    assert_string_equal(summed(3, 4, NULL), "3/10=2,20 3/20=3,15 4/10=5,5 ");
    assert_string_equal(summed(4, 9, &key), "4/10=5,5 5/10=1,1 ");
    assert_string_equal(summed(6, 9, NULL), "");
    assert_true(r->ops->tally_add(r, &(queue_tally){3, 20, -3, -10}, &e));
    assert_string_equal(summed(3, 3, NULL), "3/10=2,20 3/20=0,5 ");
    assert_true(r->ops->tally_add(r, &(queue_tally){3, 20, 1, 0}, &e));
    assert_true(r->ops->tally_add(r, &(queue_tally){3, 20, -1, -5}, &e)); /* nothing is left */
    assert_string_equal(summed(3, 3, NULL), "3/10=2,20 ");
    commit();
    assert_true(r->ops->tidy(r, &e));
    assert_string_equal(summed(3, 3, NULL), "3/10=2,20 ");
}

static void transactions(void **state)
{
    queue_row row = row_of(1);
    int64_t now = 0, wall = (int64_t)(clock_wall() / NS_PER_MS);
    bool unsure = true;
    assert_true(r->ops->begin(r, &now, &e)); /* by this machine's clock */
    assert_true(now >= wall && now <= (int64_t)(clock_wall() / NS_PER_MS));
    assert_false(r->ops->begin(r, &now, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the queue's file: ", 18);
    assert_int_equal(add(&row, "x"), 1);
    r->ops->rollback(r);
    r->ops->rollback(r);
    assert_false(r->ops->commit(r, &unsure, &e));
    assert_false(unsure);
    transaction();
    get(1, false);
    commit();
}

static void files_that_do_not_open(void **state)
{
    sqlite3 *db;
    queue_rows *other = NULL;
    assert_false(queue_sqlite_open("/nowhere/at/all.db", &other, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the queue's file: unable to open database file", 46);
    assert_true(queue_sqlite_open(NULL, &other, &e)); /* in memory */
    other->ops->close(other);
    r->ops->close(NULL);
    r->ops->close(r);
    r = other = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 2", 0, 0, 0), SQLITE_OK);
    assert_false(queue_sqlite_open(path, &other, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "was made by a newer ebb (version 2; this one knows 1)"));
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1; DROP TABLE tally", 0, 0, 0),
                     SQLITE_OK);
    assert_false(queue_sqlite_open(path, &other, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the queue's file: no such table: tally", 38);
    assert_null(other);
    sqlite3_close(db);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database, as anybody can see\n", f);
    fclose(f);
    assert_false(queue_sqlite_open(path, &other, &e));
    assert_memory_equal(e.text, "the queue's file: file is not a database", 40);
}

/* Each function tells when the database refuses. */
static void tables_that_are_missing(void **state)
{
    sqlite3 *db;
    queue_row row = row_of(1), got;
    queue_body body = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"r", 1}};
    queue_list list = {.count = 1};
    bool is;
    bytes note, result;
    size_t n;
    uint64_t next;
    int64_t at;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE body; DROP TABLE outcome", 0, 0, 0), SQLITE_OK);
    transaction();
    assert_false(r->ops->add(r, &row, &body, &is, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the queue's file: no such table: body", 37);
    assert_false(r->ops->remove(r, 1, &e));
    assert_false(r->ops->body(r, 1, true, &body, &e));
    assert_false(r->ops->outcome(r, 1, true, &note, &result, &e));
    assert_false(r->ops->outcome_set(r, 1, (bytes){0}, (bytes){0}, &e));
    r->ops->rollback(r);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE call; DROP TABLE tally", 0, 0, 0), SQLITE_OK);
    sqlite3_close(db);
    transaction();
    assert_false(r->ops->add(r, &row, &body, &is, &e));
    assert_false(r->ops->get(r, 1, false, &got, &is, &e));
    assert_false(r->ops->find(r, row.key, &got, &is, &e));
    assert_false(r->ops->put(r, &row, &e));
    assert_false(r->ops->take(r, PHASE_DONE, 1, 0, 1, &got, &n, &e));
    assert_false(r->ops->take(r, PHASE_DONE, 1, 5, 1, &got, &n, &e));
    assert_false(r->ops->first(r, PHASE_DONE, &at, &e));
    assert_false(r->ops->shift(r, PHASE_DONE, 1, &e));
    assert_false(r->ops->scan(r, &list, 0, PHASES, 5, 5, &got, &n, &next, &e));
    assert_false(r->ops->tally_add(r, &(queue_tally){1, 1, 1, 1}, &e));
    assert_false(r->ops->tally_each(r, 1, 1, NULL, sum_note, sums, &e));
    assert_int_equal(e.code, ERR_IO);
    r->ops->rollback(r);
}

/* --- the engine ------------------------------------------------------------------------------- */

static const seal_key key = {{5}};
static queue_engine *q;
static buf asked, out;
static int64_t now;

static int begin_engine(void **state)
{
    if (begin(state))
        return -1;
    buf_init(&asked, STORE_MESSAGE_BYTES_MAX);
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    now = 1000000;
    queue_rows *rows = r;
    r = NULL;
    return queue_engine_new_take(rows, &key, &q, &e) ? 0 : -1;
}

static int end_engine(void **state)
{
    queue_engine_free(q);
    buf_fini(&asked);
    buf_fini(&out);
    return end(state);
}

static buf *asking(store_kind kind)
{
    buf_clear(&asked);
    store_message_begin(&asked, 3, kind, 0);
    return &asked;
}

static store_message *answered(void)
{
    static store_message m;
    bool unsure;
    store_message_end(&asked);
    assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
    if (!queue_begin(q, now, &e) || !queue_apply(q, m, &out, &e) || !queue_commit(q, &unsure, &e))
        fail_msg("%s", e.text);
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    return &m;
}

static const queue_offer plain = {.head = {.terms = {.tenant = 1,
                                                     .app = 2,
                                                     .revision = 3,
                                                     .attempts_max = 4,
                                                     .class = 1,
                                                     .criticality = 2,
                                                     .deadline_ms = 2000000,
                                                     .keep_ms = 500,
                                                     .cpu_ns = 7000000,
                                                     .intensity_g_per_kwh = 300}},
                                  .about = {(const uint8_t *)"about", 5},
                                  .request = {(const uint8_t *)"request", 7}};

static queue_id put(const queue_offer *p)
{
    queue_accepted a;
    queue_offer_write(asking(QUEUE_PUT), p);
    if (!queue_accepted_read(answered(), &a, &e))
        fail_msg("%s", e.text);
    return a.id;
}

/* How many, and the last one of them. */
static size_t lease(queue_lease l, queue_call *ret)
{
    size_t n = 0;
    l.holder = l.holder ? l.holder : 9;
    l.lease_ms = l.lease_ms ? l.lease_ms : 1000;
    queue_lease_write(asking(QUEUE_LEASE), &l);
    store_message *m = answered();
    assert_true(queue_answer_ok(m, &e));
    while (queue_call_next(m, ret))
        n++;
    assert_int_equal(m->count, 0);
    return n;
}

static queue_call got;

static const queue_info *look(queue_id id, unsigned with)
{
    queue_one_write(asking(QUEUE_GET), &(queue_one){.id = id, .with = with});
    if (!queue_call_read(answered(), &got, &e))
        fail_msg("%s", e.text);
    return &got.info;
}

static queue_held held_of(const queue_call *c)
{
    return (queue_held){.id = c->info.id, .attempt = c->info.attempts};
}

/* What attempts take adds up; of the intensity the last one counts. */
static void use_adds_up(void **state)
{
    queue_call c;
    queue_state s;
    queue_id id = put(&plain);
    assert_int_equal(lease((queue_lease){.count = 1}, &c), 1);
    queue_retry retry = {
        .held = held_of(&c),
        .at_ms = now,
        .counts = 1,
        .use = {.cpu_ns = 1, .wall_ns = 20, .energy_nj = 300, .intensity_g_per_kwh = 40}};
    queue_retry_write(asking(QUEUE_RETRY), &retry, S("busy"));
    assert_true(queue_retry_read(answered(), &s, &e));
    assert_int_equal(lease((queue_lease){.count = 1}, &c), 1);
    queue_end end = {.held = held_of(&c), .state = QUEUE_DONE, .use = retry.use};
    end.use.intensity_g_per_kwh = 50;
    queue_end_write(asking(QUEUE_END), &end, S("200"), (bytes){0});
    assert_true(queue_answer_ok(answered(), &e));
    const queue_use *use = &look(id, 0)->use;
    assert_true(use->cpu_ns == 2 && use->wall_ns == 40 && use->energy_nj == 600);
    assert_true(use->intensity_g_per_kwh == 50);
    assert_true(!got.has_request && !got.has_result && got.request.n == 0);
    look(id, QUEUE_WITH_RESULT);
    assert_false(got.has_result); /* it ended without one */
    assert_true(got.info.attempts == 2 && got.info.holder == 9);
    assert_int_equal(got.info.next_ms, now + 500);
}

/* A call that a node lacks is left to others until it is a day late, to the millisecond. */
static void lacked_for_a_day(void **state)
{
    queue_call c;
    queue_state s;
    put(&plain);
    for (int late = 0; late < 2; late++) {
        now = plain.head.terms.deadline_ms + QUEUE_LACK_DEAD_MS + late;
        assert_int_equal(lease((queue_lease){.count = 1}, &c), 1);
        queue_retry retry = {.held = held_of(&c), .lacks = 1};
        queue_retry_write(asking(QUEUE_RETRY), &retry, S("not here"));
        assert_true(queue_retry_read(answered(), &s, &e));
        assert_int_equal(s, late ? QUEUE_DEAD : QUEUE_WAITING);
    }
}

/* Whose rows are this node's alone, it hears nothing of others. */
static void nobody_else(void **state)
{
    bool news = true;
    assert_int_equal(queue_news_fd(q), -1);
    assert_true(queue_news(q, &news, &e));
    assert_false(news);
    asking(QUEUE_NEWS);
    assert_false(queue_answer_ok(answered(), &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text, "the queue is this node's alone");
    queue_engine_free(NULL);
}

/* What tells of an end is a call of its own, due at once, whatever the first one's terms were. */
static void terms_of_a_telling(void **state)
{
    queue_call c;
    queue_told told;
    queue_offer p = plain;
    p.head.terms.trigger = 5 | QUEUE_TELLS;
    queue_id id = put(&p);
    now += 10;
    queue_one_write(asking(QUEUE_CANCEL), &(queue_one){.id = id});
    assert_true(queue_call_read(answered(), &got, &e));
    assert_int_equal(lease((queue_lease){.count = 5}, &c), 1);
    const queue_terms *t = &c.info.terms;
    assert_true(t->tenant == 1 && t->app == 2 && t->revision == 3 && t->class == 1);
    assert_true(t->criticality == 2 && t->trigger == QUEUE_TELLING && t->keep_ms == 500);
    assert_true(t->attempts_max == QUEUE_TELLING_ATTEMPTS && t->cpu_ns == NS_PER_MS);
    assert_true(t->start_ms == 0 && t->deadline_ms == now && c.info.accepted_ms == now);
    assert_int_equal(c.info.bytes, 5 + sizeof told);
    assert_true(queue_told_read(c.request, &told));
    assert_int_equal(told.info.state, QUEUE_CANCELLED);
    assert_int_equal(told.before[0] | told.before[31], 0); /* its secret is the first one */
}

/* Deadlines that are more than two hours away are counted by the minute. */
static void far_deadlines(void **state)
{
    enum { HOURS_2 = 2 * 3600 * 1000, MINUTE = 60000 };
    queue_backlog b;
    const uint8_t *slots;
    size_t n;
    now = 100 * MINUTE;
    queue_offer p = plain;
    p.head.terms.deadline_ms = now + HOURS_2 + 35000; /* rounded to now + 2 h */
    put(&p);
    p.head.terms.deadline_ms = now + HOURS_2; /* not so far */
    put(&p);
    now += 35000;
    p.head.terms.deadline_ms = now + HOURS_2;
    put(&p);
    queue_backlog_write(asking(QUEUE_BACKLOG), QUEUE_GRAIN_MS);
    assert_true(queue_backlog_read(answered(), &b, &slots, &n, &e));
    assert_int_equal(n, 2);
    queue_slot first = queue_slot_at(slots, 0), second = queue_slot_at(slots, 1);
    assert_int_equal(first.slot, (100 * MINUTE + HOURS_2) / QUEUE_GRAIN_MS);
    assert_true(first.ready_count == 2 && first.ready_cpu_ns == 14000000);
    assert_int_equal(second.slot, first.slot + 7);
    assert_true(second.ready_count == 1 && second.later_count == 0);
    assert_int_equal(b.waiting, 3);
}

/* A lease ends where its requests are large, but has one call at least. */
static void leases_of_large_requests(void **state)
{
    static uint8_t big[QUEUE_LEASE_BYTES + 1];
    queue_call c;
    queue_offer p = plain;
    p.request = (bytes){big, sizeof big};
    for (int i = 0; i < 2; i++)
        put(&p);
    p.request.n = 1000;
    for (int i = 0; i < 2; i++)
        put(&p);
    assert_int_equal(lease((queue_lease){.count = 9}, &c), 1);
    assert_int_equal(lease((queue_lease){.count = 9}, &c), 1);
    assert_int_equal(lease((queue_lease){.count = 9}, &c), 2);
}

/* More than one look of a dead worker's leases. */
static void many_are_given_back(void **state)
{
    enum { N = QUEUE_PAGE_MAX + 1 };
    uint64_t n;
    queue_call c;
    store_message m;
    bool unsure;
    queue_offer p = plain;
    p.head.holder = 6;
    p.head.lease_ms = 1000;
    queue_offer_write(asking(QUEUE_PUT), &p);
    store_message_end(&asked);
    assert_true(queue_begin(q, now, &e));
    for (int i = 0; i < N; i++)
        assert_true(store_message_read(buf_bytes(&asked), false, &m, &e) &&
                    queue_apply(q, m, &out, &e));
    assert_true(queue_commit(q, &unsure, &e));
    for (int again = 0; again < 2; again++) {
        queue_number_write(asking(QUEUE_GIVE_BACK), 6);
        assert_true(queue_given_back_read(answered(), &n, &e));
        assert_int_equal(n, again ? 0 : N);
    }
    queue_number_write(asking(QUEUE_GIVE_BACK), 0); /* nobody */
    assert_true(queue_given_back_read(answered(), &n, &e) && n == 0);
    assert_int_equal(lease((queue_lease){.count = QUEUE_PAGE_MAX}, &c), QUEUE_PAGE_MAX);
    assert_true(c.info.attempts == 2 && c.info.begun_ms == now);
}

/* A row that somebody has changed is shown without what it says, and ends when it is leased. */
static void contents_that_do_not_open(void **state)
{
    sqlite3 *db;
    queue_call c;
    queue_id id = put(&plain);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE body SET request = zeroblob(40)", 0, 0, 0),
                     SQLITE_OK);
    sqlite3_close(db);
    look(id, 0);
    assert_true(got.about.n == 5 && got.note.n == 0);
    look(id, QUEUE_WITH_REQUEST);
    assert_true(got.about.n == 5 && got.has_request && got.request.n == 0);
    assert_str(got.note, "what it says does not open: the key file is another, or it is damaged");
    assert_int_equal(lease((queue_lease){.count = 1}, &c), 0);
    assert_int_equal(look(id, 0)->state, QUEUE_DEAD);
    assert_int_equal(got.info.ended_ms, now);
    assert_str(got.note, "what it says does not open: the key file is another, or it is damaged");
}

/* What a request needs of memory is given back after it, and a failure leaves nothing behind. */
static void without_memory(void **state)
{
    store_message m;
    bool unsure;
    queue_offer p = plain;
    size_t failures = 0;
    queue_offer_write(asking(QUEUE_PUT), &p);
    store_message_end(&asked);
    for (;; failures++) {
        assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
        assert_true(queue_begin(q, now, &e));
        buf_fini(&out);
        buf_fini(&q->first);
        buf_fini(&q->second);
        alloc_fail_after(failures + 1);
        bool ok = queue_apply(q, m, &out, &e);
        alloc_fail_after(0);
        if (ok)
            break;
        assert_int_equal(e.code, ERR_NO_MEMORY);
        queue_rollback(q);
    }
    assert_true(failures >= 3); /* the answer, what it is about, the request */
    assert_true(queue_commit(q, &unsure, &e));
    queue_count c;
    queue_number_write(asking(QUEUE_COUNT), 1);
    assert_true(queue_count_read(answered(), &c, &e));
    assert_true(c.calls[QUEUE_ANY] == 1 && c.bytes == 12);
}

/* Of what waits as of what is asked for. */
static void backlogs_without_memory(void **state)
{
    store_message m;
    size_t failures = 0;
    put(&plain);
    queue_backlog_write(asking(QUEUE_BACKLOG), 60000);
    store_message_end(&asked);
    for (;; failures++) {
        assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
        assert_true(queue_begin(q, now, &e));
        buf_fini(&out);
        buf_fini(&q->first);
        alloc_fail_after(failures + 1);
        bool ok = queue_apply(q, m, &out, &e);
        alloc_fail_after(0);
        queue_rollback(q);
        if (ok)
            break;
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    assert_true(failures >= 4); /* the answer, rows, the sums, their slots */
}

int main(void)
{
#define ROWS(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin_engine, end_engine)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),
        cmocka_unit_test(statements),
        ROWS(rows_come_back),
        ROWS(bodies_and_outcomes),
        ROWS(taken_by_their_moment),
        ROWS(the_clock_is_set),
        ROWS(scanned_from_the_newest),
        ROWS(sums_by_kind_and_key),
        ROWS(transactions),
        ROWS(files_that_do_not_open),
        ROWS(tables_that_are_missing),
        CASE(use_adds_up),
        CASE(lacked_for_a_day),
        CASE(nobody_else),
        CASE(terms_of_a_telling),
        CASE(far_deadlines),
        CASE(leases_of_large_requests),
        CASE(many_are_given_back),
        CASE(contents_that_do_not_open),
        CASE(without_memory),
        CASE(backlogs_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
