/* See plan.h. How much a slot may still take is asked of a small simulation: give every slot its
 * amount so far, serve each slot in time order from the work that may run there, earliest deadline
 * first, and count what was served. For intervals that count is the rank function of the
 * polymatroid (Glover 1967: earliest deadline first is a maximum matching of a convex bipartite
 * graph), so the difference that a slot's next step makes is exactly what it may take.
 *
 * Cost: slots x steps simulations of about slots + demands operations; a day ahead in hours with 8
 * steps is some 50,000 operations, 50 us. Re-planning every few minutes costs nothing. */
#include "sched/plan.h"

#include "base/must.h"

#include <math.h>
#include <string.h>

typedef struct {
    double price, size;
    uint32_t slot, place;
} step;

static bool step_before(const step *a, const step *b)
{
    if (a->price != b->price)
        return a->price < b->price;
    return a->slot < b->slot || (a->slot == b->slot && a->place < b->place);
}

static void steps_sort(step *v, size_t n)
{
    size_t gap = 1;
    while (gap < n / 3)
        gap = gap * 3 + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < n; i++) {
            step x = v[i];
            size_t j = i;
            for (; j >= gap && step_before(&x, &v[j - gap]); j -= gap)
                v[j] = v[j - gap];
            v[j] = x;
        }
}

static void demands_sort(plan_demand *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        plan_demand x = v[i];
        size_t j = i;
        for (; j > 0 &&
               (v[j - 1].last > x.last || (v[j - 1].last == x.last && v[j - 1].first > x.first));
             j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

/* Work served when slot k offers y[k]. d is sorted by last slot. */
static double served(const plan_demand *d, size_t n, const double *y, size_t slots, double *left)
{
    double sum = 0;
    size_t begin = 0;
    for (size_t i = 0; i < n; i++)
        left[i] = d[i].work;
    for (size_t k = 0; k < slots; k++) {
        double room = y[k];
        while (begin < n && (left[begin] <= 0 || d[begin].last < k))
            begin++;
        for (size_t i = begin; i < n && room > 0; i++) {
            if (d[i].first > k || d[i].last < k || left[i] <= 0)
                continue;
            double take = room < left[i] ? room : left[i];
            left[i] -= take;
            room -= take;
            sum += take;
        }
    }
    return sum;
}

static size_t steps_make(const plan_input *in, uint32_t place, double all, step *ret)
{
    size_t n = 0;
    unsigned steps = in->headroom_weight > 0 && isfinite(in->capacity) ? in->steps : 1;
    for (size_t k = 0; k < in->slots; k++) {
        double room = in->capacity * in->target - in->reserved[k];
        if (room > all)
            room = all; /* no slot can be given more than there is; INFINITY ends here */
        if (!(room > 0))
            continue;
        for (unsigned s = 0; s < steps; s++) {
            /* Steps grow with height: most plans end in the lower half of a slot. */
            double from = room * s * s / (steps * steps);
            double size = room * (2 * s + 1) / (steps * steps);
            double load = (in->reserved[k] + from + size / 2) / in->capacity;
            double crowd = steps > 1 ? 1 + in->headroom_weight * load * load : 1;
            ret[n++] = (step){in->intensity[k] * crowd, size, (uint32_t)k, place};
        }
    }
    return n;
}

static bool inputs_check(const plan_input *in, size_t places, size_t n, err *e)
{
    bool ok = places > 0 && places <= PLAN_PLACES_MAX && n <= PLAN_DEMANDS_MAX;
    for (size_t z = 0; ok && z < places; z++)
        ok = in[z].slots > 0 && in[z].slots <= PLAN_SLOTS_MAX && in[z].slots == in->slots &&
             in[z].steps > 0 && in[z].steps <= PLAN_STEPS_MAX;
    return ok ? true
              : err_set(e, ERR_LIMIT,
                        "a plan has at most %d slots, %d steps, %d places and %d "
                        "demands",
                        PLAN_SLOTS_MAX, PLAN_STEPS_MAX, PLAN_PLACES_MAX, PLAN_DEMANDS_MAX);
}

bool plan_make_places(const plan_input *in, size_t places, plan_demand *d, size_t n,
                      double (*ret_run)[PLAN_SLOTS_MAX], double *ret_unplaced, err *e)
{
    if (!inputs_check(in, places, n, e))
        return false;
    double all = 0, left[PLAN_DEMANDS_MAX], placed = 0;
    for (size_t i = 0; i < n; i++) {
        must(d[i].work >= 0 && d[i].first <= d[i].last);
        all += d[i].work;
        if (d[i].last >= in->slots)
            d[i].last = (uint32_t)in->slots - 1;
        if (d[i].first >= in->slots)
            d[i].first = (uint32_t)in->slots - 1;
    }
    demands_sort(d, n);
    step steps[PLAN_SLOTS_MAX * PLAN_STEPS_MAX * PLAN_PLACES_MAX];
    size_t count = 0;
    for (size_t z = 0; z < places; z++) {
        count += steps_make(&in[z], (uint32_t)z, all, steps + count);
        memset(ret_run[z], 0, sizeof ret_run[z]);
    }
    steps_sort(steps, count);
    double offer[PLAN_SLOTS_MAX] = {0}, tiny = all * 1e-12;
    for (size_t i = 0; i < count && placed < all - tiny; i++) {
        double *y = &offer[steps[i].slot], before = *y;
        *y = before + steps[i].size;
        double gain = served(d, n, offer, in->slots, left) - placed;
        if (gain < tiny)
            gain = 0;
        if (gain > steps[i].size)
            gain = steps[i].size;
        *y = before + gain;
        ret_run[steps[i].place][steps[i].slot] += gain;
        placed += gain;
    }
    *ret_unplaced = all - placed > tiny ? all - placed : 0;
    return true;
}

bool plan_make(const plan_input *in, plan_demand *d, size_t n, work_plan *ret, err *e)
{
    double unplaced;
    if (!plan_make_places(in, 1, d, n, &ret->run, &unplaced, e))
        return false;
    ret->unplaced = unplaced;
    return true;
}

static int64_t slot_of(const backlog *b, int64_t t_s)
{
    return t_s / b->slot_s - (t_s % b->slot_s < 0);
}

void backlog_init(backlog *b, int64_t now_s, int64_t slot_s)
{
    must(slot_s > 0);
    *b = (backlog){.slot_s = slot_s};
    b->now = slot_of(b, now_s);
}

void backlog_advance(backlog *b, int64_t now_s)
{
    int64_t now = slot_of(b, now_s), by = now - b->now;
    if (by <= 0)
        return;
    for (int64_t i = 0; i < PLAN_SLOTS_MAX; i++) {
        if (i < by)
            b->late += b->due[i];
        b->due[i] = i + by < PLAN_SLOTS_MAX ? b->due[i + by] : 0;
    }
    b->now = now;
}

void backlog_add(backlog *b, int64_t deadline_s, double work)
{
    int64_t i = slot_of(b, deadline_s) - 1 - b->now;
    i = i < 0 ? 0 : i >= PLAN_SLOTS_MAX ? PLAN_SLOTS_MAX - 1 : i;
    b->due[i] += work;
}

double backlog_take(backlog *b, double work, double *ret_by_slot)
{
    double got = b->late < work ? b->late : work;
    b->late -= got;
    for (size_t i = 0; i < PLAN_SLOTS_MAX; i++) {
        double want = work - got, take = b->due[i] < want ? b->due[i] : want;
        b->due[i] -= take;
        got += take;
        if (ret_by_slot)
            ret_by_slot[i] = take;
    }
    return got;
}

double backlog_sum(const backlog *b)
{
    double sum = b->late;
    for (size_t i = 0; i < PLAN_SLOTS_MAX; i++)
        sum += b->due[i];
    return sum;
}

size_t backlog_demands(const backlog *b, const double *arrivals, size_t slack, size_t slots,
                       plan_demand *ret)
{
    size_t n = 0;
    if (b->late + b->due[0] > 0)
        ret[n++] = (plan_demand){0, 0, b->late + b->due[0]};
    for (size_t i = 1; i < PLAN_SLOTS_MAX; i++)
        if (b->due[i] > 0)
            ret[n++] = (plan_demand){0, (uint32_t)i, b->due[i]};
    /* Of arrivals only those whose whole slack is in sight: the others need not be placed. */
    for (size_t i = 1; arrivals && slack > 0 && i + slack <= slots; i++)
        if (arrivals[i] > 0)
            ret[n++] = (plan_demand){(uint32_t)i, (uint32_t)(i + slack - 1), arrivals[i]};
    return n;
}
