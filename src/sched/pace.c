/* See pace.h. The arithmetic is the simulator's (sim.c, hour and plan_hour) with ticks for steps:
 * what is left of the slot's budget is spread over the ticks that are left, times S; what is due is
 * spread without S; and what is close to its deadline is not spread at all. */
#include "sched/pace.h"

#include <math.h>
#include <string.h>

/* A call this close to its deadline begins at once, in slots: what calls take beyond their
 * estimate, and how late a tick may be, is in it. At least URGENT_S_MIN. */
#define URGENT_SLOTS 0.1
enum { URGENT_S_MIN = 5 };
/* What a slot of waiting has to gain at least, of the price: where hours are alike, work runs in
 * the first. Small, because over a day it adds up: at 0.001 it was worth a fortieth of the carbon,
 * and work ran in dirty hours that the simulator, which has none of it, leaves out. */
#define WORTH 0.0001
/* Of a slot shorter than two minutes utilisation is looked at so many times, as the simulator does:
 * within less a few calls by chance look like a full node. */
enum { UTIL_PARTS = 12 };

static int64_t slot_of(int64_t t_s, int64_t slot_s) { return t_s / slot_s - (t_s % slot_s < 0); }

size_t pace_last_slot(const pace_view *v, int64_t deadline_s)
{
    int64_t last = slot_of(deadline_s, v->slot_s) - 1 - v->first;
    return last <= 0 ? 0 : last >= v->slots ? v->slots - 1 : (size_t)last;
}

/* Of work that the plan does not have yet: the cleanest slot that has room, the first of several.
 */
static size_t cleanest(const pace_view *v, size_t last)
{
    size_t best = 0;
    for (size_t k = 1; k <= last; k++) {
        bool room = v->room[k] > v->run[k], best_room = v->room[best] > v->run[best];
        if (room && (!best_room || v->intensity[k] < v->intensity[best]))
            best = k;
    }
    return best;
}

int64_t pace_start(const pace_view *v, int64_t deadline_s, double cpu_s)
{
    double ahead = -cpu_s, planned = 0;
    if (!v->slots)
        return v->first * v->slot_s;
    size_t last = pace_last_slot(v, deadline_s);
    for (size_t k = 0; k <= last; k++)
        ahead += v->due[k];
    ahead = fmax(ahead, 0); /* a view that does not know of it yet */
    for (size_t k = 0; k <= last; k++) {
        planned += v->run[k];
        if (planned > ahead + 1e-9)
            return (v->first + (int64_t)k) * v->slot_s;
    }
    return (v->first + (int64_t)cleanest(v, last)) * v->slot_s;
}

double pace_free(const pace_view *v, int64_t deadline_s)
{
    double room = 0, due = 0, least = INFINITY;
    size_t last = v->slots ? pace_last_slot(v, deadline_s) : 0;
    for (size_t k = 0; k < v->slots; k++) {
        room += v->room[k];
        due += v->due[k];
        /* Work that is due later takes room before its last slot only as far as it has to. */
        if (k >= last)
            least = fmin(least, room - due);
    }
    return v->slots ? fmax(least, 0) : INFINITY;
}

int64_t pace_urgent_s(const pace_view *v)
{
    int64_t s = (int64_t)(URGENT_SLOTS * (double)v->slot_s);
    return s < URGENT_S_MIN ? URGENT_S_MIN : s;
}

void pace_accept(pace_view *v, int64_t deadline_s, double cpu_s)
{
    if (v->slots)
        v->due[pace_last_slot(v, deadline_s)] += cpu_s;
}

void pace_init(pace *p, int64_t slot_s, double cpus)
{
    *p = (pace){.cpus = cpus, .view.slot_s = slot_s};
    util_init(&p->util, PLAN_TARGET);
}

/* A new slot has begun, by whatever way the clock went there. */
static void slot_enter(pace *p, int64_t now_s)
{
    int64_t slot = slot_of(now_s, p->view.slot_s);
    if (slot == p->view.first && p->view.slots)
        return;
    p->view.first = slot;
    p->begun_cpu_s = p->slot_begun_cpu_s = 0;
    p->granted_s = 0;
}

/* What is left of the present slot, as a share of it. */
static double left_of(const pace *p, int64_t now_s)
{
    double gone = (double)(now_s - p->view.first * p->view.slot_s) / (double)p->view.slot_s;
    return 1 - fmin(fmax(gone, 0), 1);
}

/* come: expected work by the slot in which it will be accepted, each with `slack` slots; NULL: only
 * what waits. */
static bool plan_demands(const pace_view *v, const plan_input *in, const double *come,
                         uint32_t slack, work_plan *ret, err *e)
{
    plan_demand d[2 * PACE_SLOTS];
    size_t n = 0;
    for (uint32_t k = 0; k < PACE_SLOTS; k++) {
        if (v->due[k] > 0)
            d[n++] = (plan_demand){0, k, v->due[k]};
        if (come && come[k] > 0 && k + slack <= PACE_SLOTS) /* its whole slack is in sight */
            d[n++] = (plan_demand){k, k + slack - 1, come[k]};
    }
    return plan_make(in, d, n, ret, e);
}

/* Arrivals of which the present slot has only what is left; false: there are none. */
static bool arrivals_left(const pace *p, int64_t now_s, const pace_forecast *f,
                          double ret[PACE_SLOTS])
{
    double sum = 0;
    for (size_t k = 0; k < PACE_SLOTS; k++) {
        ret[k] = f->arrivals ? f->arrivals[k] * (k ? 1 : left_of(p, now_s)) : 0;
        sum += ret[k];
    }
    return sum > 0;
}

bool pace_plan(pace *p, int64_t now_s, const pace_work *w, size_t n, const pace_forecast *f, err *e)
{
    double spent[PACE_SLOTS], price[PACE_SLOTS], come[PACE_SLOTS];
    work_plan made, alone;
    slot_enter(p, now_s);
    pace_view *v = &p->view;
    v->slots = PACE_SLOTS;
    memset(v->due, 0, sizeof v->due);
    p->ready_cpu_s = 0;
    p->due_by_s = 0;
    for (size_t i = 0; i < n; i++) {
        size_t last = pace_last_slot(v, w[i].slot * v->slot_s);
        v->due[last] += w[i].ready_cpu_s + w[i].later_cpu_s;
        p->ready_cpu_s += w[i].ready_cpu_s;
        if (p->due_by_s < (w[i].slot + 1) * v->slot_s)
            p->due_by_s = (w[i].slot + 1) * v->slot_s;
    }
    p->due_cpu_s = v->due[0];
    double capacity = p->cpus * (double)v->slot_s, left = left_of(p, now_s);
    for (size_t k = 0; k < PACE_SLOTS; k++) {
        spent[k] = fmin(f->reserved[k], capacity);
        v->room[k] = fmax(0, capacity * PLAN_TARGET - spent[k]) * (k ? 1 : left);
        v->intensity[k] = f->intensity[k];
        price[k] = fmax(f->intensity[k], 1) * (1 + WORTH * (double)k);
    }
    /* What this slot has begun makes it as busy as what is reserved: else each new plan would give
     * it as much again. */
    spent[0] = fmin(spent[0] + p->slot_begun_cpu_s, capacity);
    bool comes = arrivals_left(p, now_s, f, come);
    uint32_t slack =
        (uint32_t)fmin(fmax(round((double)f->slack_s / (double)v->slot_s), 1), PACE_SLOTS);
    plan_input in = {.slots = PACE_SLOTS,
                     .intensity = price,
                     .reserved = spent,
                     .capacity = capacity,
                     .target = PLAN_TARGET,
                     .headroom_weight = PLAN_HEADROOM_WEIGHT,
                     .steps = PLAN_STEPS};
    if (!plan_demands(v, &in, comes ? come : NULL, slack, &made, e))
        return false;
    if (made.run[0] > v->room[0]) {
        /* What is gone of the present slot can't be used: as if it were taken. Only then, because
         * it makes the slot look busier, and so dearer, than it is. */
        spent[0] = fmax(spent[0], capacity * PLAN_TARGET - v->room[0]);
        if (!plan_demands(v, &in, comes ? come : NULL, slack, &made, e))
            return false;
    }
    memcpy(v->run, made.run, sizeof v->run);
    /* The plan is of what waits: what this slot has begun already is not in it. */
    p->begun_cpu_s = 0;
    /* A shortage is of what waits, not of what might come. */
    alone = made;
    if (comes && made.unplaced > 0 && !plan_demands(v, &in, NULL, slack, &alone, e))
        return false;
    p->unplaced_cpu_s = alone.unplaced;
    double all = comes ? come[0] : 0;
    for (size_t k = 0; k < PACE_SLOTS; k++)
        all += v->due[k];
    p->all_now = p->ready_cpu_s > 0 && made.run[0] + alone.unplaced >= all * (1 - 1e-9);
    return true;
}

static int64_t tick_s(const pace *p)
{
    int64_t t = p->view.slot_s / PACE_TICKS;
    return t > 0 ? t : 1;
}

int64_t pace_utilisation_s(const pace *p)
{
    int64_t part = p->view.slot_s / UTIL_PARTS;
    return part < 1 ? 1 : part < FLOW_UTIL_PERIOD_S ? part : FLOW_UTIL_PERIOD_S;
}

void pace_utilisation(pace *p, int64_t now_s, double utilisation)
{
    if (now_s >= p->util_at_s && now_s - p->util_at_s < pace_utilisation_s(p))
        return;
    p->util_at_s = now_s;
    util_step(&p->util, utilisation, p->due_cpu_s > 0);
}

/* The next slot that has work planned; INT64_MAX: none, or nothing waits. */
static int64_t next_slot_s(const pace_view *v)
{
    double waits = 0;
    for (size_t k = 0; k < v->slots; k++)
        waits += v->due[k];
    if (!(waits > 0))
        return INT64_MAX;
    for (size_t k = 1; k < v->slots; k++)
        if (v->run[k] > 0)
            return (v->first + (int64_t)k) * v->slot_s;
    return INT64_MAX;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

pace_decision pace_step(pace *p, int64_t now_s, int64_t next_deadline_s, int64_t next_start_s)
{
    const pace_view *v = &p->view;
    pace_decision d = {.wake_s = next_slot_s(v), .shortage = p->unplaced_cpu_s > 0};
    double ticks = ceil(left_of(p, now_s) * (double)v->slot_s / (double)tick_s(p));
    double budget = v->run[0] - p->begun_cpu_s, due = p->due_cpu_s - p->begun_cpu_s;
    int64_t urgent = pace_urgent_s(v);
    if (next_start_s)
        d.wake_s = earlier(d.wake_s, next_start_s > now_s ? next_start_s : now_s + 1);
    if (p->ready_cpu_s <= 0)
        return d;
    if (next_deadline_s && next_deadline_s - urgent <= now_s)
        d.urgent_by_s = now_s + urgent;
    else if (next_deadline_s)
        d.wake_s = earlier(d.wake_s, next_deadline_s - urgent);
    if (p->all_now && p->util.s >= 0.5) {
        d.begin_cpu_s = INFINITY;
        d.all_by_s = p->due_by_s;
        return d;
    }
    if (d.urgent_by_s) {
        /* The plan still counts what is urgent: the rest has its turn when that has begun. */
        d.wake_s = earlier(d.wake_s, now_s + tick_s(p));
        return d;
    }
    ticks = fmax(ticks, 1);
    /* However often somebody looks: a tick has one share. */
    if ((budget > 0 || due > 0) && now_s >= p->granted_s && now_s - p->granted_s < tick_s(p)) {
        d.wake_s = earlier(d.wake_s, p->granted_s + tick_s(p));
        return d;
    }
    if (budget > 0)
        d.begin_cpu_s = budget / ticks * p->util.s;
    if (due > 0)
        d.begin_cpu_s = fmax(d.begin_cpu_s, due / ticks);
    if (budget > 0 || due > 0) {
        d.wake_s = earlier(d.wake_s, now_s + tick_s(p));
        p->granted_s = now_s;
    }
    return d;
}

void pace_begun(pace *p, double cpu_s)
{
    p->begun_cpu_s += cpu_s;
    p->slot_begun_cpu_s += cpu_s;
    p->ready_cpu_s = fmax(0, p->ready_cpu_s - cpu_s);
}
