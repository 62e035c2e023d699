/* See trace.h. Names of apps are looked up in a hash table: the Azure files have 50,000 functions.
 * Calls of five minutes become one event, which is the simulator's step. */
#include "cli/trace.h"

#include "base/limits.h"
#include "carbon/when.h"
#include "cli/carbon_data.h"

#include <stdlib.h>

enum { TRACE_APPS_MAX = 200000, TRACE_SLOTS = 1 << 19, AZURE_MINUTES = 1440 };
#define TRACE_BYTES_MAX (2 * GIB)

typedef struct {
    arena *arena;
    uint32_t *slot; /* hash table of app numbers + 1 */
    str *name;
    double *call_cpu_s;
    size_t room;
    trace t;
} reader;

static uint32_t *name_slot(reader *r, str name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (uint8_t)name.p[i]) * 1099511628211u;
    size_t at = (size_t)(h % TRACE_SLOTS);
    while (r->slot[at] && !str_eq(r->name[r->slot[at] - 1], name))
        at = (at + 1) % TRACE_SLOTS;
    return &r->slot[at];
}

static bool app_find(reader *r, str name, bool deferrable, uint32_t *ret, err *e)
{
    uint32_t *slot = name_slot(r, name);
    if (!*slot) {
        if (r->t.apps == TRACE_APPS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d apps in a trace", TRACE_APPS_MAX);
        r->name[r->t.apps] = name;
        r->t.deferrable[r->t.apps] = deferrable;
        *slot = (uint32_t)++r->t.apps;
    }
    *ret = *slot - 1;
    return true;
}

static bool event_add(reader *r, sim_event v, err *e)
{
    if (r->t.events_count == r->room) {
        size_t room = r->room ? r->room * 2 : 4096;
        sim_event *p = arena_grow(r->arena, r->t.events, r->room, room, sizeof *p);
        if (!p)
            return err_no_memory(e);
        r->t.events = p;
        r->room = room;
    }
    r->t.events[r->t.events_count++] = v;
    return true;
}

static bool decimal(str s, double *ret)
{
    char text[64] = {0}, *end;
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    double v = strtod(text, &end);
    if (*end || !(v >= 0 && v < 1e12))
        return false;
    *ret = v;
    return true;
}

static bool own_line(reader *r, str line, err *e)
{
    str cell[5];
    sim_event v = {0};
    for (int i = 0; i < 5; i++)
        cell[i] = str_trim(str_cut(&line, ','));
    if (!when_parse(cell[0], &v.t_s, e))
        return false;
    if (!cell[1].n || !str_to_u64(cell[2], UINT32_MAX, &v.calls) || !decimal(cell[3], &v.cpu_s))
        return err_set(e, ERR_INVALID, "not time,app,calls,cpu_s,deferrable");
    return app_find(r, cell[1], str_eq(cell[4], S("1")), &v.app, e) && event_add(r, v, e);
}

/* The three hashes together name a function. They are neighbours in the line. */
static str function_of(str line, str *ret_rest)
{
    str rest = line;
    for (int i = 0; i < 3; i++)
        str_cut(&rest, ',');
    *ret_rest = rest;
    return rest.p ? (str){line.p, (size_t)(rest.p - line.p) - 1} : line;
}

static bool can_wait(str trigger)
{
    static const char *const words[] = {"queue", "event", "timer", "storage", "orchestration"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq_nocase(trigger, str_from(words[i])))
            return true;
    return false;
}

static bool azure_line(reader *r, str line, double call_cpu_s, err *e)
{
    str rest, name = function_of(line, &rest), trigger = str_trim(str_cut(&rest, ','));
    uint32_t app;
    if (!rest.p)
        return err_set(e, ERR_INVALID, "not HashOwner,HashApp,HashFunction,Trigger,1,...,1440");
    if (!app_find(r, name, false, &app, e))
        return false;
    r->t.deferrable[app] = can_wait(trigger); /* the durations file did not say */
    double each = r->call_cpu_s[app] > 0 ? r->call_cpu_s[app] : call_cpu_s;
    sim_event v = {.app = app};
    for (int minute = 0; minute < AZURE_MINUTES && rest.p; minute++) {
        uint64_t calls;
        if (!str_to_u64(str_trim(str_cut(&rest, ',')), UINT32_MAX, &calls))
            return err_set(e, ERR_INVALID, "minute %d holds no number of calls", minute + 1);
        v.calls += calls;
        if (minute % (SIM_STEP_S / 60) < SIM_STEP_S / 60 - 1)
            continue;
        v.t_s = (minute * 60) / SIM_STEP_S * SIM_STEP_S;
        v.cpu_s = (double)v.calls * each;
        if (v.calls && !event_add(r, v, e))
            return false;
        v.calls = 0;
    }
    return true;
}

/* HashOwner,HashApp,HashFunction,Average,...: milliseconds. */
static bool duration_line(reader *r, str line, err *e)
{
    str rest, name = function_of(line, &rest);
    uint32_t app;
    double ms;
    if (!rest.p || !decimal(str_trim(str_cut(&rest, ',')), &ms))
        return err_set(e, ERR_INVALID, "not HashOwner,HashApp,HashFunction,Average,...");
    if (!app_find(r, name, false, &app, e))
        return false;
    r->call_cpu_s[app] = ms / 1000;
    return true;
}

static int by_time(const void *a, const void *b)
{
    const sim_event *x = a, *y = b;
    if (x->t_s != y->t_s)
        return x->t_s < y->t_s ? -1 : 1;
    return (x->app > y->app) - (x->app < y->app);
}

static bool file_lines(reader *r, const char *path, bool durations, double call_cpu_s, err *e)
{
    bytes text;
    if (!file_read(path, TRACE_BYTES_MAX, r->arena, &text, e))
        return false;
    str rest = {(const char *)text.p, text.n};
    bool azure = durations || str_starts(rest, S("HashOwner"));
    for (size_t number = 1; rest.n; number++) {
        str line = str_trim(str_cut(&rest, '\n'));
        bool header = number == 1 && (azure || str_starts(line, S("time")));
        if (!line.n || line.p[0] == '#' || header)
            continue;
        bool ok = durations ? duration_line(r, line, e)
                  : azure   ? azure_line(r, line, call_cpu_s, e)
                            : own_line(r, line, e);
        if (!ok)
            return err_wrap(e, "%s:%zu", path, number);
    }
    return true;
}

bool trace_read(const char *path, const char *durations, double call_cpu_s, arena *a, trace *ret,
                err *e)
{
    reader r = {.arena = a};
    r.slot = ARENA_ARRAY(a, uint32_t, TRACE_SLOTS);
    r.name = ARENA_ARRAY(a, str, TRACE_APPS_MAX);
    r.call_cpu_s = ARENA_ARRAY(a, double, TRACE_APPS_MAX);
    r.t.deferrable = ARENA_ARRAY(a, bool, TRACE_APPS_MAX);
    if (!r.slot || !r.name || !r.call_cpu_s || !r.t.deferrable)
        return err_no_memory(e);
    if (durations && !file_lines(&r, durations, true, 0, e))
        return false;
    if (!file_lines(&r, path, false, call_cpu_s, e))
        return false;
    if (!r.t.events_count)
        return err_set(e, ERR_INVALID, "%s: no calls", path);
    qsort(r.t.events, r.t.events_count, sizeof *r.t.events, by_time);
    *ret = r.t;
    return true;
}

void trace_shift(trace *t, int64_t start_s)
{
    int64_t by = start_s - t->events[0].t_s / WHEN_DAY_S * WHEN_DAY_S;
    for (size_t i = 0; i < t->events_count; i++)
        t->events[i].t_s += by;
}
