/* See bill.h. Records are merged by time into one ledger; at each midnight, and at the end, the day
 * is closed with the intensity of its hours and added to the sums. */
#include "carbon/bill.h"

#include "carbon/when.h"

#include <math.h>

static void day_add(ledger_day *sum, const ledger_day *d)
{
    sum->node_j += d->node_j;
    sum->idle_unallocated_j += d->idle_unallocated_j;
    sum->embodied_g += d->embodied_g;
    sum->embodied_unallocated_g += d->embodied_unallocated_g;
    sum->operational_g += d->operational_g;
    sum->operational_unallocated_g += d->operational_unallocated_g;
    sum->dynamic_lost_j += d->dynamic_lost_j;
    sum->peak_cpus = fmax(sum->peak_cpus, d->peak_cpus);
    sum->rows = d->rows;
}

typedef struct {
    const bill_records *b;
    size_t use, energy; /* next records */
} cursor;

/* Books every record before `end`, in the order of time. */
static void book_until(ledger *l, cursor *at, int64_t end)
{
    for (;;) {
        const bill_use *u = at->use < at->b->uses_count ? &at->b->uses[at->use] : NULL;
        const bill_energy *j =
            at->energy < at->b->energies_count ? &at->b->energies[at->energy] : NULL;
        if (u && u->t_s >= end)
            u = NULL;
        if (j && j->t_s >= end)
            j = NULL;
        if (!u && !j)
            return;
        if (u && (!j || u->t_s <= j->t_s)) {
            ledger_use(l, u->row, u->t_s, &u->u);
            at->use++;
        } else {
            ledger_energy(l, j->t_s, j->joules);
            at->energy++;
        }
    }
}

static void skip_before(cursor *at, int64_t from_s)
{
    while (at->use < at->b->uses_count && at->b->uses[at->use].t_s < from_s)
        at->use++;
    while (at->energy < at->b->energies_count && at->b->energies[at->energy].t_s < from_s)
        at->energy++;
}

static void intensity_of_day(const bill_records *b, int64_t day, int64_t end, carbon_report *r,
                             double ret[LEDGER_HOURS])
{
    for (int h = 0; h < LEDGER_HOURS; h++) {
        intensity_quality q;
        ret[h] = intensity_or(b->intensity, day + h * 3600, b->yearly_g_per_kwh, &q);
        if (day + h * 3600 < end)
            r->hours_by_quality[q]++;
    }
}

const bill_power *bill_power_at(const bill_records *b, int64_t t_s)
{
    const bill_power *found = NULL;
    for (size_t i = 0; i < b->powers_count && b->powers[i].from_s <= t_s; i++)
        found = &b->powers[i];
    return found;
}

/* PUE and the source of energy stay the settings'. */
static void power_of_day(const bill_records *b, int64_t day, power_model *m)
{
    const bill_power *p = bill_power_at(b, day);
    if (!p || !p->samples)
        return;
    m->idle_w = p->idle_w;
    m->busy_w = p->busy_w;
    m->uncertainty = p->uncertainty;
    m->samples = p->samples;
}

/* What waiting saved, of calls that ran in the span: never a part of the bill, beside it. */
static void savings_add(const bill_records *b, carbon_report *r, report_row *apps)
{
    for (size_t i = 0; i < b->deferred_count && b->intensity; i++) {
        const bill_deferred *d = &b->deferred[i];
        if (d->row < LEDGER_APPS || d->ran_s < r->from_s - r->from_s % WHEN_HOUR_S ||
            d->ran_s >= r->to_s)
            continue;
        saving_add_calls(&r->saved, b->intensity, d->calls, d->energy_j, d->delay_s, d->accepted_s,
                         d->ran_s);
        saving_add_calls(&apps[d->row - LEDGER_APPS].saved, b->intensity, d->calls, d->energy_j,
                         d->delay_s, d->accepted_s, d->ran_s);
    }
}

bool bill_make(arena *a, const bill_records *b, carbon_report *r, err *e)
{
    ledger *l;
    size_t count = LEDGER_APPS + b->apps_count;
    if (r->to_s <= r->from_s)
        return err_set(e, ERR_INVALID, "the report's span is empty: it must end after it begins");
    ledger_row *rows = ARENA_ARRAY(a, ledger_row, count);
    report_row *apps = ARENA_ARRAY(a, report_row, b->apps_count + 1);
    if (!rows || !apps)
        return err_no_memory(e);
    int64_t first = r->from_s - r->from_s % WHEN_DAY_S;
    if (!ledger_new(a, count, r->from_s, &r->power, r->capacity_cpus,
                    sci_embodied_g_per_s(r->server_kg, r->life_s), &l, e))
        return false;
    cursor at = {.b = b};
    skip_before(&at, r->from_s);
    for (int64_t day = first; day < r->to_s; day += WHEN_DAY_S) {
        double intensity[LEDGER_HOURS];
        ledger_day d;
        int64_t end = day + WHEN_DAY_S < r->to_s ? day + WHEN_DAY_S : r->to_s;
        intensity_of_day(b, day, end, r, intensity);
        power_of_day(b, day, &r->power);
        ledger_power_set(l, &r->power);
        book_until(l, &at, end);
        ledger_day_close(l, end, intensity, rows, &d);
        day_add(&r->total, &d);
        ledger_row_add(&r->platform, &rows[LEDGER_PLATFORM]);
        ledger_row_add(&r->other, &rows[LEDGER_OTHER]);
        for (size_t i = 0; i < b->apps_count; i++)
            ledger_row_add(&apps[i].sum, &rows[LEDGER_APPS + i]);
        if (end < r->to_s)
            ledger_day_next(l, end);
    }
    for (size_t i = 0; i < b->apps_count; i++)
        apps[i].app = b->apps[i];
    savings_add(b, r, apps);
    r->rows = apps;
    r->rows_count = b->apps_count;
    return true;
}
