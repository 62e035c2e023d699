/* See usage_file.h. WAL with synchronous=NORMAL: a power cut may lose the newest windows, never the
 * file; a meter that fsynced each window would cost more than what it measures. What SQLite sorts
 * stays in memory: the keeper's sandbox has no place for temporary files. */
#include "store/usage_file.h"

#include "store/sqlite_copy.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUSY_MS = 5000 };

enum {
    ADD,
    CHECK,
    ENERGY,
    POWER,
    POWERS,
    POINT,
    DEFER,
    DEFERRED,
    NAMES,
    COUNT,
    USES,
    ENERGIES,
    POINTS,
    CHECKS,
    OLDEST,
    LOADS,
    LATER,
    MARK,
    MARKED,
    UNMARK,
    MARKS,
    STATEMENTS
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"
    "CREATE TABLE IF NOT EXISTS usage (window_s INTEGER, app TEXT, calls INTEGER, cpu_ns INTEGER,"
    " wall_ns INTEGER, bytes_in INTEGER, bytes_out INTEGER, memory_peak_bytes INTEGER,"
    " PRIMARY KEY (window_s, app)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS process (window_s INTEGER, process TEXT, booked_ns INTEGER,"
    " kernel_ns INTEGER, PRIMARY KEY (window_s, process)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS energy (t_s INTEGER, joules REAL);"
    "CREATE TABLE IF NOT EXISTS power (from_s INTEGER PRIMARY KEY, idle_w REAL, busy_w REAL,"
    " uncertainty REAL, samples INTEGER, j_per_cpu_s REAL);"
    "CREATE TABLE IF NOT EXISTS intensity (from_s INTEGER, forecast INTEGER, span_s INTEGER,"
    " g_per_kwh REAL, estimated INTEGER, PRIMARY KEY (from_s, forecast)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS deferred (ran_s INTEGER, accepted_s INTEGER, app TEXT,"
    " calls INTEGER, energy_j REAL, delay_s REAL, PRIMARY KEY (ran_s, accepted_s, app))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, t_s INTEGER) WITHOUT ROWID;";

#define SUMS                                                                                       \
    " ON CONFLICT (window_s, app) DO UPDATE SET calls = calls + excluded.calls,"                   \
    " cpu_ns = cpu_ns + excluded.cpu_ns, wall_ns = wall_ns + excluded.wall_ns,"                    \
    " bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out,"        \
    " memory_peak_bytes = max(memory_peak_bytes, excluded.memory_peak_bytes)"

static const char *const statements[STATEMENTS] = {
    [ADD] = "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)" SUMS,
    [CHECK] = "INSERT INTO process VALUES (?1, ?2, ?3, ?4) ON CONFLICT (window_s, process) DO "
              "UPDATE SET booked_ns = booked_ns + excluded.booked_ns,"
              " kernel_ns = kernel_ns + excluded.kernel_ns",
    [ENERGY] = "INSERT INTO energy VALUES (?1, ?2)",
    [POWER] = "INSERT OR REPLACE INTO power VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [POWERS] = "SELECT from_s, idle_w, busy_w, uncertainty, samples, j_per_cpu_s FROM power"
               " WHERE from_s < ?1 ORDER BY from_s",
    [POINT] = "INSERT OR REPLACE INTO intensity VALUES (?1, ?2, ?3, ?4, ?5)",
    [DEFER] = "INSERT INTO deferred VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT (ran_s, accepted_s,"
              " app) DO UPDATE SET calls = calls + 1, energy_j = energy_j + excluded.energy_j,"
              " delay_s = delay_s + excluded.delay_s",
    [DEFERRED] = "SELECT ran_s, accepted_s, app, calls, energy_j, delay_s FROM deferred"
                 " WHERE ran_s >= ?1 AND ran_s < ?2",
    [NAMES] = "SELECT app FROM (SELECT DISTINCT app FROM usage WHERE window_s >= ?1 AND"
              " window_s < ?2 AND app NOT IN ('-', '*')) ORDER BY app LIMIT ?3",
    [COUNT] = "SELECT count(*) FROM usage WHERE window_s >= ?1 AND window_s < ?2",
    [USES] = "SELECT window_s, app, calls, cpu_ns, wall_ns, bytes_in, bytes_out,"
             " memory_peak_bytes FROM usage WHERE window_s >= ?1 AND window_s < ?2"
             " ORDER BY window_s",
    [ENERGIES] = "SELECT t_s, joules FROM energy WHERE t_s >= ?1 AND t_s < ?2 ORDER BY t_s",
    [POINTS] = "SELECT from_s, span_s, g_per_kwh, forecast, estimated FROM intensity"
               " WHERE from_s >= ?1 AND from_s < ?2 AND forecast <= ?3 ORDER BY from_s",
    [CHECKS] = "SELECT window_s, process, booked_ns, kernel_ns FROM process"
               " WHERE window_s >= ?1 AND window_s < ?2 ORDER BY window_s, process",
    [OLDEST] = "SELECT coalesce(min(window_s), 0) FROM usage",
    [LOADS] = "SELECT (window_s - ?1) / ?3, sum(cpu_ns) FROM usage WHERE window_s >= ?1 AND"
              " window_s < ?2 AND app NOT IN ('-', '*') GROUP BY 1",
    [LATER] = "SELECT (ran_s - ?1) / 3600, (accepted_s - ?1) / 3600, sum(energy_j) FROM deferred"
              " WHERE ran_s >= ?1 AND ran_s < ?2 GROUP BY 1, 2",
    [MARK] = "INSERT OR REPLACE INTO mark VALUES (?1, ?2)",
    [MARKED] = "SELECT t_s FROM mark WHERE name = ?1",
    [UNMARK] = "DELETE FROM mark WHERE name = ?1",
    [MARKS] = "SELECT name FROM mark ORDER BY name",
};

struct usage_file {
    sqlite3 *db;
    sqlite3_stmt *at[STATEMENTS];
};

static bool fail(const usage_file *f, err *e)
{
    return err_set(e, ERR_IO, "the usage records: %s (SQLite %d)", sqlite3_errmsg(f->db),
                   sqlite3_extended_errcode(f->db));
}

static bool run(usage_file *f, const char *sql, err *e)
{
    return sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(f, e);
}

bool usage_file_open(const char *path, usage_file **ret, err *e)
{
    usage_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_no_memory(e);
    if (path)
        sqlite_file_make(path);
    bool ok = sqlite3_open_v2(path ? path : ":memory:", &f->db,
                              SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                              NULL) == SQLITE_OK;
    if (!ok) {
        err_set(e, ERR_IO, "the usage records %s: %s", path ? path : "in memory",
                f->db ? sqlite3_errmsg(f->db) : "no memory");
        usage_file_close(f);
        return false;
    }
    sqlite3_busy_timeout(f->db, BUSY_MS);
    ok = run(f, schema, e);
    for (int i = 0; ok && i < STATEMENTS; i++)
        ok = sqlite3_prepare_v3(f->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &f->at[i],
                                NULL) == SQLITE_OK ||
             fail(f, e);
    if (!ok) {
        usage_file_close(f);
        return path ? err_wrap(e, "%s", path) : false;
    }
    *ret = f;
    return true;
}

void usage_file_close(usage_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(f->at[i]);
    sqlite3_close(f->db);
    free(f);
}

bool usage_file_begin(usage_file *f, err *e) { return run(f, "BEGIN IMMEDIATE", e); }
bool usage_file_commit(usage_file *f, err *e) { return run(f, "COMMIT", e); }
void usage_file_rollback(usage_file *f) { sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL); }

static sqlite3_stmt *start(usage_file *f, int which)
{
    sqlite3_stmt *s = f->at[which];
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return s;
}

static bool finish(usage_file *f, sqlite3_stmt *s, err *e)
{
    bool ok = sqlite3_step(s) == SQLITE_DONE;
    if (!ok)
        fail(f, e);
    sqlite3_reset(s);
    return ok;
}

static void bind_text(sqlite3_stmt *s, int at, str text)
{
    sqlite3_bind_text(s, at, text.n ? text.p : "", (int)text.n, SQLITE_STATIC);
}

bool usage_file_add(usage_file *f, int64_t window_s, str app, const ledger_usage *u, err *e)
{
    sqlite3_stmt *s = start(f, ADD);
    const uint64_t values[] = {u->calls,    u->cpu_ns,    u->wall_ns,
                               u->bytes_in, u->bytes_out, u->memory_peak_bytes};
    sqlite3_bind_int64(s, 1, window_s);
    bind_text(s, 2, app);
    for (int i = 0; i < 6; i++)
        sqlite3_bind_int64(s, 3 + i, (sqlite3_int64)values[i]);
    return finish(f, s, e);
}

bool usage_file_check(usage_file *f, int64_t window_s, str process, uint64_t booked_ns,
                      uint64_t kernel_ns, err *e)
{
    sqlite3_stmt *s = start(f, CHECK);
    sqlite3_bind_int64(s, 1, window_s);
    bind_text(s, 2, process);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)booked_ns);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)kernel_ns);
    return finish(f, s, e);
}

bool usage_file_energy(usage_file *f, int64_t t_s, double joules, err *e)
{
    sqlite3_stmt *s = start(f, ENERGY);
    sqlite3_bind_int64(s, 1, t_s);
    sqlite3_bind_double(s, 2, joules);
    return finish(f, s, e);
}

bool usage_file_power(usage_file *f, const bill_power *p, err *e)
{
    sqlite3_stmt *s = start(f, POWER);
    const double values[] = {p->idle_w, p->busy_w, p->uncertainty, p->samples, p->j_per_cpu_s};
    sqlite3_bind_int64(s, 1, p->from_s);
    for (int i = 0; i < 5; i++)
        sqlite3_bind_double(s, 2 + i, values[i]);
    return finish(f, s, e);
}

static bill_power power_of(sqlite3_stmt *s)
{
    return (bill_power){
        .from_s = sqlite3_column_int64(s, 0),
        .idle_w = sqlite3_column_double(s, 1),
        .busy_w = sqlite3_column_double(s, 2),
        .uncertainty = sqlite3_column_double(s, 3),
        .samples = (unsigned)sqlite3_column_int64(s, 4),
        .j_per_cpu_s = sqlite3_column_double(s, 5),
    };
}

bool usage_file_power_last(usage_file *f, bill_power *ret)
{
    sqlite3_stmt *s = start(f, POWERS);
    bool found = false;
    sqlite3_bind_int64(s, 1, INT64_MAX);
    for (; sqlite3_step(s) == SQLITE_ROW; found = true)
        *ret = power_of(s);
    sqlite3_reset(s);
    return found;
}

bool usage_file_intensity(usage_file *f, const intensity_reading *r, err *e)
{
    for (size_t i = 0; i < r->points_count; i++) {
        const intensity_point *p = &r->points[i];
        sqlite3_stmt *s = start(f, POINT);
        sqlite3_bind_int64(s, 1, p->from_s);
        sqlite3_bind_int(s, 2, p->forecast);
        sqlite3_bind_int(s, 3, p->span_s);
        sqlite3_bind_double(s, 4, p->g_per_kwh);
        sqlite3_bind_int(s, 5, p->estimated);
        if (!finish(f, s, e))
            return false;
    }
    return true;
}

bool usage_file_deferred(usage_file *f, str app, int64_t accepted_s, int64_t ran_s, double energy_j,
                         err *e)
{
    sqlite3_stmt *s = start(f, DEFER);
    sqlite3_bind_int64(s, 1, ran_s - ran_s % 3600);
    sqlite3_bind_int64(s, 2, accepted_s - accepted_s % 3600);
    bind_text(s, 3, app);
    sqlite3_bind_double(s, 4, energy_j);
    sqlite3_bind_double(s, 5, (double)(ran_s - accepted_s));
    return finish(f, s, e);
}

bool usage_file_compact(usage_file *f, int64_t before_s, err *e)
{
    char sql[1024];
    long long before = before_s - before_s % 3600;
    if (!usage_file_begin(f, e))
        return false;
    snprintf(sql, sizeof sql,
             "CREATE TEMP TABLE summed AS SELECT window_s - window_s %% 3600 AS h, app,"
             " sum(calls), sum(cpu_ns), sum(wall_ns), sum(bytes_in), sum(bytes_out),"
             " max(memory_peak_bytes) FROM usage WHERE window_s < %lld GROUP BY h, app;"
             "DELETE FROM usage WHERE window_s < %lld;"
             "INSERT INTO usage SELECT * FROM summed; DROP TABLE summed;"
             "DELETE FROM process WHERE window_s < %lld;",
             before, before, before);
    if (run(f, sql, e) && usage_file_commit(f, e))
        return true;
    usage_file_rollback(f);
    return false;
}

static str text_of(arena *a, sqlite3_stmt *s, int column)
{
    const char *p = (const char *)sqlite3_column_text(s, column);
    return arena_str(a, (str){p ? p : "", (size_t)sqlite3_column_bytes(s, column)});
}

static sqlite3_stmt *start_span(usage_file *f, int which, int64_t from_s, int64_t to_s)
{
    sqlite3_stmt *s = start(f, which);
    sqlite3_bind_int64(s, 1, from_s);
    sqlite3_bind_int64(s, 2, to_s);
    return s;
}

/* The texts of a statement's first column, which is reset. */
static bool texts_read(usage_file *f, sqlite3_stmt *s, arena *a, str **ret, size_t *ret_n, err *e)
{
    str *all = NULL;
    size_t n = 0, room = 0;
    int step;
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
        if (!ARENA_ROOM(a, all, n, room) || !(all[n] = text_of(a, s, 0)).p)
            return sqlite3_reset(s), err_no_memory(e);
        n++;
    }
    if (step != SQLITE_DONE)
        return fail(f, e), sqlite3_reset(s), false;
    sqlite3_reset(s);
    *ret = all;
    *ret_n = n;
    return true;
}

static bool names_read(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *r,
                       err *e)
{
    sqlite3_stmt *s = start_span(f, NAMES, from_s, to_s);
    str *names = NULL;
    sqlite3_bind_int(s, 3, USAGE_APPS_MAX);
    if (!texts_read(f, s, a, &names, &r->apps_count, e))
        return false;
    r->apps = names;
    return true;
}

/* SQLite's BINARY collation orders as str_cmp does. */
static bool row_of(const bill_records *r, str app, size_t *ret)
{
    size_t low = 0, high = r->apps_count;
    if (str_eq(app, USAGE_PLATFORM))
        return *ret = LEDGER_PLATFORM, true;
    if (str_eq(app, USAGE_OTHER))
        return *ret = LEDGER_OTHER, true;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(r->apps[middle], app);
        if (order == 0)
            return *ret = LEDGER_APPS + middle, true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static ledger_usage usage_of(sqlite3_stmt *s)
{
    return (ledger_usage){
        .calls = (uint64_t)sqlite3_column_int64(s, 2),
        .cpu_ns = (uint64_t)sqlite3_column_int64(s, 3),
        .wall_ns = (uint64_t)sqlite3_column_int64(s, 4),
        .bytes_in = (uint64_t)sqlite3_column_int64(s, 5),
        .bytes_out = (uint64_t)sqlite3_column_int64(s, 6),
        .memory_peak_bytes = (uint64_t)sqlite3_column_int64(s, 7),
    };
}

static bool uses_read(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *r,
                      err *e)
{
    sqlite3_stmt *s = start_span(f, COUNT, from_s, to_s);
    size_t count = sqlite3_step(s) == SQLITE_ROW ? (size_t)sqlite3_column_int64(s, 0) : 0, n = 0;
    sqlite3_reset(s);
    bill_use *uses = ARENA_ARRAY(a, bill_use, count + 1);
    if (!uses)
        return err_no_memory(e);
    s = start_span(f, USES, from_s, to_s);
    int step = SQLITE_DONE;
    while (n < count && (step = sqlite3_step(s)) == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_text(s, 1);
        str app = {p ? p : "", (size_t)sqlite3_column_bytes(s, 1)};
        if (!row_of(r, app, &uses[n].row))
            continue; /* beyond USAGE_APPS_MAX */
        uses[n].t_s = sqlite3_column_int64(s, 0);
        uses[n++].u = usage_of(s);
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return fail(f, e), sqlite3_reset(s), false;
    sqlite3_reset(s);
    r->uses = uses;
    r->uses_count = n;
    return true;
}

static bool energies_read(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *r,
                          err *e)
{
    sqlite3_stmt *s = start_span(f, ENERGIES, from_s, to_s);
    bill_energy *all = NULL;
    size_t n = 0, room = 0;
    while (sqlite3_step(s) == SQLITE_ROW) {
        if (!ARENA_ROOM(a, all, n, room))
            return sqlite3_reset(s), err_no_memory(e);
        all[n++] = (bill_energy){sqlite3_column_int64(s, 0), sqlite3_column_double(s, 1)};
    }
    sqlite3_reset(s);
    r->energies = all;
    r->energies_count = n;
    return true;
}

static bool powers_read(usage_file *f, arena *a, int64_t to_s, bill_records *r, err *e)
{
    sqlite3_stmt *s = start(f, POWERS);
    bill_power *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_bind_int64(s, 1, to_s);
    while (sqlite3_step(s) == SQLITE_ROW) {
        if (!ARENA_ROOM(a, all, n, room))
            return sqlite3_reset(s), err_no_memory(e);
        all[n++] = power_of(s);
    }
    sqlite3_reset(s);
    r->powers = all;
    r->powers_count = n;
    return true;
}

static bool deferred_read(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *r,
                          err *e)
{
    sqlite3_stmt *s = start_span(f, DEFERRED, from_s - from_s % 3600, to_s);
    bill_deferred *all = NULL;
    size_t n = 0, room = 0;
    int step;
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
        if (!ARENA_ROOM(a, all, n, room))
            return sqlite3_reset(s), err_no_memory(e);
        const char *p = (const char *)sqlite3_column_text(s, 2);
        bill_deferred d = {.ran_s = sqlite3_column_int64(s, 0),
                           .accepted_s = sqlite3_column_int64(s, 1),
                           .calls = (uint64_t)sqlite3_column_int64(s, 3),
                           .energy_j = sqlite3_column_double(s, 4),
                           .delay_s = sqlite3_column_double(s, 5)};
        if (row_of(r, (str){p ? p : "", (size_t)sqlite3_column_bytes(s, 2)}, &d.row))
            all[n++] = d;
    }
    if (step != SQLITE_DONE)
        return fail(f, e), sqlite3_reset(s), false;
    sqlite3_reset(s);
    r->deferred = all;
    r->deferred_count = n;
    return true;
}

bool usage_file_records(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *ret,
                        err *e)
{
    return names_read(f, a, from_s, to_s, ret, e) && uses_read(f, a, from_s, to_s, ret, e) &&
           energies_read(f, a, from_s, to_s, ret, e) && powers_read(f, a, to_s, ret, e) &&
           deferred_read(f, a, from_s, to_s, ret, e);
}

bool usage_file_points(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bool forecasts,
                       intensity_reading *ret, err *e)
{
    sqlite3_stmt *s = start_span(f, POINTS, from_s, to_s);
    intensity_point *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_bind_int(s, 3, forecasts);
    while (n < INTENSITY_POINTS_MAX && sqlite3_step(s) == SQLITE_ROW) {
        if (!ARENA_ROOM(a, all, n, room))
            return sqlite3_reset(s), err_no_memory(e);
        all[n++] = (intensity_point){.from_s = sqlite3_column_int64(s, 0),
                                     .span_s = sqlite3_column_int(s, 1),
                                     .g_per_kwh = sqlite3_column_double(s, 2),
                                     .forecast = sqlite3_column_int(s, 3) != 0,
                                     .estimated = sqlite3_column_int(s, 4) != 0};
    }
    sqlite3_reset(s);
    ret->points = all;
    ret->points_count = n;
    return true;
}

int64_t usage_file_oldest(usage_file *f)
{
    sqlite3_stmt *s = start(f, OLDEST);
    int64_t t = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return t;
}

bool usage_file_loads(usage_file *f, int64_t from_s, size_t n, int64_t step_s, double *ret, err *e)
{
    sqlite3_stmt *s = start_span(f, LOADS, from_s, from_s + (int64_t)n * step_s);
    int code;
    sqlite3_bind_int64(s, 3, step_s);
    memset(ret, 0, n * sizeof *ret);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t h = sqlite3_column_int64(s, 0);
        if (h >= 0 && h < (int64_t)n)
            ret[h] = sqlite3_column_double(s, 1) / 1e9;
    }
    sqlite3_reset(s);
    return code == SQLITE_DONE || fail(f, e);
}

bool usage_file_later(usage_file *f, int64_t from_s, size_t n, double *ret_ran, double *ret_came,
                      err *e)
{
    sqlite3_stmt *s = start_span(f, LATER, from_s, from_s + (int64_t)n * 3600);
    int code;
    memset(ret_ran, 0, n * sizeof *ret_ran);
    memset(ret_came, 0, n * sizeof *ret_came);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t ran = sqlite3_column_int64(s, 0), came = sqlite3_column_int64(s, 1);
        double joules = sqlite3_column_double(s, 2);
        if (ran >= 0 && ran < (int64_t)n)
            ret_ran[ran] += joules;
        if (came >= 0 && came < (int64_t)n)
            ret_came[came] += joules;
    }
    sqlite3_reset(s);
    return code == SQLITE_DONE || fail(f, e);
}

bool usage_file_mark(usage_file *f, str name, int64_t t_s, err *e)
{
    sqlite3_stmt *s = start(f, MARK);
    bind_text(s, 1, name);
    sqlite3_bind_int64(s, 2, t_s);
    return finish(f, s, e);
}

int64_t usage_file_marked(usage_file *f, str name)
{
    sqlite3_stmt *s = start(f, MARKED);
    bind_text(s, 1, name);
    int64_t t = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return t;
}

bool usage_file_unmark(usage_file *f, str name, err *e)
{
    sqlite3_stmt *s = start(f, UNMARK);
    bind_text(s, 1, name);
    return finish(f, s, e);
}

bool usage_file_marks(usage_file *f, arena *a, str **ret, size_t *ret_n, err *e)
{
    return texts_read(f, start(f, MARKS), a, ret, ret_n, e);
}

bool usage_file_checks(usage_file *f, arena *a, int64_t from_s, int64_t to_s, usage_check **ret,
                       size_t *ret_count, err *e)
{
    sqlite3_stmt *s = start_span(f, CHECKS, from_s, to_s);
    usage_check *all = NULL;
    size_t n = 0, room = 0;
    while (sqlite3_step(s) == SQLITE_ROW) {
        str process;
        if (!ARENA_ROOM(a, all, n, room) || !(process = text_of(a, s, 1)).p)
            return sqlite3_reset(s), err_no_memory(e);
        all[n++] =
            (usage_check){sqlite3_column_int64(s, 0), process, (uint64_t)sqlite3_column_int64(s, 2),
                          (uint64_t)sqlite3_column_int64(s, 3)};
    }
    sqlite3_reset(s);
    *ret = all;
    *ret_count = n;
    return true;
}
