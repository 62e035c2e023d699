/* See ledger.h. Two levels:
 *
 *   use -> pending CPU per row (since the last energy figure)    sparse: a list of touched rows
 *       -> hour cells [row][hour]: CPU seconds, dynamic joules   dense
 *
 * An energy figure (measured, or the model's when a 10-second window closes) is divided among the
 * pending rows and clears them. Idle energy is only a sum per hour; who bears it is decided when
 * the day is closed, because responsibility for the day's peak is not known before. */
#include "carbon/ledger.h"

#include "base/must.h"
#include "carbon/share.h"

#include <math.h>

typedef struct {
    ledger_usage used, window; /* of the day, of the open 10-second window */
    bool in_window;
    double peak_cpus, pending_cpu_s;
    double cpu_s[LEDGER_HOURS], dynamic_j[LEDGER_HOURS];
} cell_row;

struct ledger {
    cell_row *row;
    uint32_t *touched, *in_window; /* rows with pending CPU; rows with any use in this window */
    ledger_window_fn *on_window;
    void *on_window_context;
    size_t rows, touched_count, in_window_count;
    power_model power;
    bool measured;
    double capacity_cpus, embodied_g_per_s;
    int64_t opened_s; /* of the day, from where the node is accounted for */
    int64_t day_s, now_s, used_s, window_s, energy_s, window_closed_s;
    double window_cpus, idle_j[LEDGER_HOURS], lost_j;
};

void ledger_usage_add(ledger_usage *sum, const ledger_usage *u)
{
    sum->calls += u->calls;
    sum->cpu_ns += u->cpu_ns;
    sum->wall_ns += u->wall_ns;
    sum->bytes_in += u->bytes_in;
    sum->bytes_out += u->bytes_out;
    if (u->memory_peak_bytes > sum->memory_peak_bytes)
        sum->memory_peak_bytes = u->memory_peak_bytes;
}

void ledger_row_add(ledger_row *sum, const ledger_row *r)
{
    ledger_usage_add(&sum->used, &r->used);
    sum->dynamic_j += r->dynamic_j;
    sum->idle_j += r->idle_j;
    sum->operational_g += r->operational_g;
    sum->dynamic_g += r->dynamic_g;
    sum->embodied_g += r->embodied_g;
    sum->peak_cpus = fmax(sum->peak_cpus, r->peak_cpus);
}

static int64_t floor_to(int64_t t, int64_t step) { return t - ((t % step) + step) % step; }

bool ledger_new(arena *a, size_t rows, int64_t start_s, const power_model *power,
                double capacity_cpus, double embodied_g_per_s, ledger **ret, err *e)
{
    if (rows < LEDGER_APPS || rows > LEDGER_ROWS_MAX)
        return err_set(e, ERR_LIMIT, "a ledger has %d to %d rows", LEDGER_APPS, LEDGER_ROWS_MAX);
    ledger *l = ARENA_NEW(a, ledger);
    if (!l)
        return err_no_memory(e);
    l->row = ARENA_ARRAY(a, cell_row, rows);
    l->touched = ARENA_ARRAY(a, uint32_t, rows);
    l->in_window = ARENA_ARRAY(a, uint32_t, rows);
    if (!l->row || !l->touched || !l->in_window)
        return err_no_memory(e);
    l->rows = rows;
    l->power = *power;
    l->measured = power->source == POWER_RAPL;
    l->capacity_cpus = capacity_cpus;
    l->embodied_g_per_s = embodied_g_per_s;
    l->day_s = floor_to(start_s, 86400);
    l->now_s = l->used_s = l->energy_s = l->opened_s = start_s;
    l->window_s = l->window_closed_s = floor_to(start_s, LEDGER_WINDOW_S);
    *ret = l;
    return true;
}

void ledger_power_set(ledger *l, const power_model *power)
{
    must(l->measured == (power->source == POWER_RAPL));
    l->power = *power;
}

static size_t hour_at(const ledger *l, int64_t t)
{
    int64_t h = (t - l->day_s) / 3600;
    return h < 0 ? 0 : h >= LEDGER_HOURS ? LEDGER_HOURS - 1 : (size_t)h;
}

/* Idle power over [from, to) to the hours it lies in, clipped to the open day. */
static void idle_add(ledger *l, int64_t from, int64_t to, double watts)
{
    int64_t end = l->day_s + 86400;
    to = to < end ? to : end;
    while (from < to) {
        int64_t next = floor_to(from, 3600) + 3600;
        next = next < to ? next : to;
        l->idle_j[hour_at(l, from)] += watts * (double)(next - from);
        from = next;
    }
}

static void dynamic_split(ledger *l, double joules, int64_t idle_from, int64_t idle_to)
{
    double sum = 0;
    size_t hour = hour_at(l, l->used_s);
    for (size_t i = 0; i < l->touched_count; i++)
        sum += l->row[l->touched[i]].pending_cpu_s;
    if (!(sum > 0)) {
        l->lost_j += joules;
        if (idle_to > idle_from)
            idle_add(l, idle_from, idle_to, joules / (double)(idle_to - idle_from));
    }
    for (size_t i = 0; i < l->touched_count; i++) {
        cell_row *r = &l->row[l->touched[i]];
        if (sum > 0)
            r->dynamic_j[hour] += joules * (r->pending_cpu_s / sum);
        r->pending_cpu_s = 0;
    }
    l->touched_count = 0;
}

/* Energy of [energy_s, to): the model's. */
static void model_until(ledger *l, int64_t to)
{
    double cpu_s = 0;
    for (size_t i = 0; i < l->touched_count; i++)
        cpu_s += l->row[l->touched[i]].pending_cpu_s;
    if (to > l->energy_s) {
        idle_add(l, l->energy_s, to, l->power.idle_w * l->power.pue);
        l->energy_s = to;
    }
    if (l->touched_count)
        dynamic_split(l, l->power.busy_w * cpu_s * l->power.pue, 0, 0);
}

static void window_close(ledger *l)
{
    double sum = 0;
    for (size_t i = 0; i < l->in_window_count; i++) {
        cell_row *r = &l->row[l->in_window[i]];
        double cpus = (double)r->window.cpu_ns / 1e9 / LEDGER_WINDOW_S;
        sum += cpus;
        if (cpus > r->peak_cpus)
            r->peak_cpus = cpus;
        if (l->on_window)
            l->on_window(l->on_window_context, l->in_window[i], l->window_s, &r->window);
        r->window = (ledger_usage){0};
        r->in_window = false;
    }
    l->in_window_count = 0;
    l->window_cpus = sum;
    l->window_closed_s = l->window_s;
}

static void advance(ledger *l, int64_t now_s)
{
    if (now_s >= l->window_s + LEDGER_WINDOW_S) {
        window_close(l);
        if (!l->measured) {
            int64_t end = l->window_s + LEDGER_WINDOW_S;
            model_until(l, end < now_s ? end : now_s);
        }
        l->window_s = floor_to(now_s, LEDGER_WINDOW_S);
    }
    if (now_s > l->now_s)
        l->now_s = now_s;
}

void ledger_use(ledger *l, size_t row, int64_t now_s, const ledger_usage *u)
{
    must(row < l->rows);
    if (now_s < l->now_s)
        now_s = l->now_s;
    must(!ledger_day_over(l, now_s));
    advance(l, now_s);
    l->used_s = now_s;
    cell_row *r = &l->row[row];
    ledger_usage_add(&r->used, u);
    ledger_usage_add(&r->window, u);
    if (!r->in_window) {
        r->in_window = true;
        l->in_window[l->in_window_count++] = (uint32_t)row;
    }
    if (!u->cpu_ns)
        return;
    double cpu_s = (double)u->cpu_ns / 1e9;
    if (r->pending_cpu_s == 0)
        l->touched[l->touched_count++] = (uint32_t)row;
    r->pending_cpu_s += cpu_s;
    r->cpu_s[hour_at(l, now_s)] += cpu_s;
}

void ledger_on_window(ledger *l, ledger_window_fn *f, void *context)
{
    l->on_window = f;
    l->on_window_context = context;
}

void ledger_energy(ledger *l, int64_t now_s, double joules)
{
    if (now_s < l->now_s)
        now_s = l->now_s;
    must(l->measured);
    advance(l, now_s);
    double seconds = (double)(now_s - l->energy_s), node_j = joules * l->power.pue;
    double idle_j = l->power.idle_w * l->power.pue * seconds;
    /* A node that drew less than its idle figure (a deeper sleep state): that is its idle. */
    if (idle_j > node_j)
        idle_j = node_j;
    if (seconds > 0)
        idle_add(l, l->energy_s, now_s, idle_j / seconds);
    dynamic_split(l, node_j - idle_j, l->energy_s, now_s);
    l->energy_s = now_s;
}

bool ledger_day_over(const ledger *l, int64_t now_s) { return now_s >= l->day_s + 86400; }

static double node_hour_cpu_s(const ledger *l, size_t h)
{
    double sum = 0;
    for (size_t i = 0; i < l->rows; i++)
        sum += l->row[i].cpu_s[h];
    return sum;
}

double ledger_hour_cpus(const ledger *l, size_t hour)
{
    return hour < LEDGER_HOURS ? node_hour_cpu_s(l, hour) / 3600 : 0;
}

void ledger_hour(const ledger *l, size_t row, size_t hour, double *ret_cpu_s, double *ret_dynamic_j)
{
    must(row < l->rows && hour < LEDGER_HOURS);
    *ret_cpu_s = l->row[row].cpu_s[hour];
    *ret_dynamic_j = l->row[row].dynamic_j[hour];
}

double ledger_window_cpus(const ledger *l, int64_t *ret_start_s)
{
    *ret_start_s = l->window_closed_s;
    return l->window_cpus;
}

#define J_PER_KWH 3.6e6

void ledger_day_close(ledger *l, int64_t now_s, const double intensity[LEDGER_HOURS],
                      ledger_row *ret_rows, ledger_day *ret_day)
{
    int64_t end = l->day_s + 86400;
    if (now_s > end)
        now_s = end;
    window_close(l);
    model_until(l, now_s); /* measured: only what no sample covered yet */
    double cpu_s[LEDGER_HOURS], idle[LEDGER_HOURS], embodied[LEDGER_HOURS];
    double idle_j = 0, embodied_g = l->embodied_g_per_s * (double)(now_s - l->opened_s);
    double idle_g = 0, capacity = l->capacity_cpus * 3600;
    for (size_t h = 0; h < LEDGER_HOURS; h++) {
        cpu_s[h] = node_hour_cpu_s(l, h);
        idle_j += l->idle_j[h];
        idle_g += l->idle_j[h] / J_PER_KWH * intensity[h];
    }
    double idle_i = idle_j > 0 ? idle_g / idle_j : 0; /* g per joule, of the day's idle */
    ledger_day d = {.node_j = idle_j,
                    .embodied_g = embodied_g,
                    .dynamic_lost_j = l->lost_j,
                    .rows = l->rows,
                    .operational_g = idle_g};
    d.idle_unallocated_j = share_periods(cpu_s, LEDGER_HOURS, capacity, idle_j, idle);
    d.embodied_unallocated_g = share_periods(cpu_s, LEDGER_HOURS, capacity, embodied_g, embodied);
    d.operational_unallocated_g = d.idle_unallocated_j * idle_i;
    for (size_t i = 0; i < l->rows; i++) {
        const cell_row *r = &l->row[i];
        ledger_row out = {.used = r->used, .peak_cpus = r->peak_cpus};
        for (size_t h = 0; h < LEDGER_HOURS; h++) {
            double part = cpu_s[h] > 0 ? r->cpu_s[h] / cpu_s[h] : 0;
            out.dynamic_j += r->dynamic_j[h];
            out.operational_g += r->dynamic_j[h] / J_PER_KWH * intensity[h];
            out.idle_j += idle[h] * part;
            out.embodied_g += embodied[h] * part;
        }
        d.node_j += out.dynamic_j;
        d.operational_g += out.operational_g;
        out.dynamic_g = out.operational_g;
        out.operational_g += out.idle_j * idle_i;
        ret_rows[i] = out;
    }
    for (size_t h = 0; h < LEDGER_HOURS; h++)
        if (cpu_s[h] / 3600 > d.peak_cpus)
            d.peak_cpus = cpu_s[h] / 3600;
    *ret_day = d;
}

void ledger_day_next(ledger *l, int64_t now_s)
{
    int64_t day = floor_to(now_s, 86400);
    for (size_t i = 0; i < l->rows; i++)
        l->row[i] = (cell_row){0};
    for (size_t h = 0; h < LEDGER_HOURS; h++)
        l->idle_j[h] = 0;
    l->touched_count = l->in_window_count = 0;
    l->lost_j = 0;
    l->day_s = day;
    l->now_s = l->used_s = l->energy_s = l->opened_s = day;
    l->window_s = l->window_closed_s = day;
}

ledger_day ledger_day_idle(const ledger *l, const double intensity[LEDGER_HOURS])
{
    ledger_day d = {.rows = l->rows};
    double watts = l->power.idle_w * l->power.pue;
    d.node_j = d.idle_unallocated_j = watts * 86400;
    d.embodied_g = d.embodied_unallocated_g = l->embodied_g_per_s * 86400;
    for (size_t h = 0; h < LEDGER_HOURS; h++)
        d.operational_g += watts * 3600 / J_PER_KWH * intensity[h];
    d.operational_unallocated_g = d.operational_g;
    return d;
}

uint64_t meter_scale(uint64_t *slice_ns, size_t n, uint64_t thread_cpu_ns)
{
    uint64_t sum = 0, given = 0;
    for (size_t i = 0; i < n; i++)
        sum += slice_ns[i];
    if (sum <= thread_cpu_ns)
        return thread_cpu_ns - sum;
    for (size_t i = 0; i < n; i++) {
        slice_ns[i] = (uint64_t)((unsigned __int128)slice_ns[i] * thread_cpu_ns / sum);
        given += slice_ns[i];
    }
    return thread_cpu_ns - given; /* what rounding left, fewer than n nanoseconds */
}

uint64_t meter_lost(uint64_t slice_ns, uint64_t rest_ns, uint64_t lost_ns)
{
    double slice = (double)slice_ns, rest = (double)rest_ns, lost = (double)lost_ns;
    if (lost_ns > slice_ns && lost_ns > rest_ns) /* more than one interruption */
        return lost_ns >= slice_ns + rest_ns ? slice_ns : (uint64_t)(lost * slice / (slice + rest));
    if (lost_ns > slice_ns)
        return 0;
    if (lost_ns > rest_ns)
        return lost_ns;
    double really = slice + rest - 2 * lost; /* either side without it */
    return really > 0 ? (uint64_t)(lost * (slice - lost) / really) : lost_ns / 2;
}

bool meter_agrees(uint64_t booked_ns, uint64_t kernel_ns, double tolerance, double *ret_relative)
{
    double off = kernel_ns   ? ((double)booked_ns - (double)kernel_ns) / (double)kernel_ns
                 : booked_ns ? INFINITY
                             : 0;
    *ret_relative = off;
    return fabs(off) <= tolerance;
}
