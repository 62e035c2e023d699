/* The planner: its invariants over random inputs, optimality against an independent solver (a
 * minimum-cost flow by successive shortest paths), and rolling days in which nothing starts early,
 * nothing is lost, and nothing is late while any schedule could keep the deadlines. */
#include "unit.h"

#include "near.h"
#include "sched/call.h"
#include "sched/plan.h"
#include "sched/rng.h"

#include <math.h>

static rng r;
static double uniform(void) { return rng_uniform(&r); }

#define SLOTS 12
#define JOBS  20

/* Minimum cost of sending as much work as possible: nodes are source, jobs, slots, sink; Bellman
 * and Ford's algorithm finds each cheapest augmenting path. Slow, simple, and shares nothing with
 * plan.c. Prices per slot are flat here (headroom_weight 0). */
#define PLACES 2
#define NODES  (2 + JOBS + SLOTS * PLACES)
static double flow_cost(const plan_demand *d, size_t n, const double *room, const double *price,
                        double *ret_flow)
{
    double cap[NODES][NODES] = {{0}}, cost[NODES][NODES] = {{0}}, total = 0, sent = 0;
    size_t sink = NODES - 1;
    for (size_t i = 0; i < n; i++) {
        cap[0][1 + i] = d[i].work;
        for (size_t k = d[i].first; k <= d[i].last; k++)
            for (size_t z = 0; z < PLACES; z++)
                cap[1 + i][1 + JOBS + z * SLOTS + k] = INFINITY;
    }
    for (size_t k = 0; k < SLOTS * PLACES; k++) {
        cap[1 + JOBS + k][sink] = room[k];
        cost[1 + JOBS + k][sink] = price[k];
        cost[sink][1 + JOBS + k] = -price[k];
    }
    for (;;) {
        double dist[NODES];
        size_t from[NODES] = {0};
        for (size_t i = 0; i < NODES; i++)
            dist[i] = i ? INFINITY : 0;
        for (int again = 1; again;) {
            again = 0;
            for (size_t i = 0; i < NODES; i++)
                for (size_t j = 0; j < NODES; j++)
                    if (cap[i][j] > 1e-9 && dist[i] + cost[i][j] < dist[j] - 1e-9) {
                        dist[j] = dist[i] + cost[i][j];
                        from[j] = i;
                        again = 1;
                    }
        }
        if (isinf(dist[sink]))
            break;
        double most = INFINITY;
        for (size_t j = sink; j; j = from[j])
            most = fmin(most, cap[from[j]][j]);
        for (size_t j = sink; j; j = from[j]) {
            cap[from[j]][j] -= most;
            cap[j][from[j]] += most;
        }
        sent += most;
        total += most * dist[sink];
    }
    *ret_flow = sent;
    return total;
}

static size_t demands(plan_demand *d, size_t most)
{
    size_t n = 1 + (size_t)(uniform() * (double)(most - 1));
    for (size_t i = 0; i < n; i++) {
        uint32_t first = (uint32_t)(uniform() * SLOTS), span = (uint32_t)(uniform() * SLOTS);
        uint32_t last = first + span < SLOTS ? first + span : SLOTS - 1;
        d[i] = (plan_demand){first, last, uniform() < 0.1 ? 0 : uniform() * 10};
    }
    return n;
}

static void optimal(void **state)
{
    rng_init(&r, 1);
    int short_of_room = 0;
    for (int round = 0; round < 400; round++) {
        plan_demand d[JOBS];
        double price[SLOTS], reserved[SLOTS], room[SLOTS * PLACES] = {0}, sent;
        double prices[SLOTS * PLACES] = {0};
        size_t n = demands(d, JOBS);
        double capacity = 2 + uniform() * 20;
        for (size_t k = 0; k < SLOTS; k++) {
            price[k] = 50 + 400 * uniform();
            reserved[k] = uniform() < 0.1 ? capacity : uniform() * capacity;
            room[k] = fmax(0, capacity * 0.9 - reserved[k]);
            prices[k] = price[k];
        }
        double want = flow_cost(d, n, room, prices, &sent), all = 0, placed = 0, cost = 0;
        plan_input in = {SLOTS, price, reserved, capacity, 0.9, 0, 4};
        work_plan p;
        for (size_t i = 0; i < n; i++)
            all += d[i].work;
        assert_true(plan_make(&in, d, n, &p, NULL));
        for (size_t k = 0; k < SLOTS; k++) {
            assert_true(p.run[k] >= 0 && p.run[k] <= room[k] + 1e-6);
            placed += p.run[k];
            cost += p.run[k] * price[k];
        }
        assert_near(placed, sent, 1e-5);
        assert_near(placed + p.unplaced, all, 1e-6);
        assert_near(cost, want, 1e-5 * (1 + want));
        short_of_room += p.unplaced > 1e-6;
    }
    assert_true(short_of_room > 20 && short_of_room < 380); /* both kinds were met */
}

/* Two zones: the same solver, twice the slots. */
static void places_optimal(void **state)
{
    rng_init(&r, 2);
    for (int round = 0; round < 150; round++) {
        plan_demand d[JOBS];
        double price[SLOTS * PLACES], room[SLOTS * PLACES], none[SLOTS] = {0}, sent;
        double capacity[PLACES] = {1 + uniform() * 10, 1 + uniform() * 10};
        size_t n = demands(d, JOBS);
        for (size_t k = 0; k < SLOTS * PLACES; k++) {
            price[k] = 50 + 400 * uniform();
            room[k] = capacity[k / SLOTS] * 0.9;
        }
        double want = flow_cost(d, n, room, price, &sent), placed = 0, cost = 0, unplaced;
        plan_input in[PLACES] = {{SLOTS, price, none, capacity[0], 0.9, 0, 1},
                                 {SLOTS, price + SLOTS, none, capacity[1], 0.9, 0, 1}};
        double run[PLACES][PLAN_SLOTS_MAX];
        assert_true(plan_make_places(in, PLACES, d, n, run, &unplaced, NULL));
        for (size_t k = 0; k < SLOTS * PLACES; k++) {
            double v = run[k / SLOTS][k % SLOTS];
            assert_true(v >= 0 && v <= room[k] + 1e-9);
            placed += v;
            cost += v * price[k];
        }
        assert_near(placed, sent, 1e-5);
        assert_near(cost, want, 1e-5 * (1 + want));
    }
}

static void crowding_spreads(void **state)
{
    plan_demand d[1] = {{0, 23, 240}};
    double flat[24], none[24] = {0}, top = 0, low = INFINITY;
    for (int k = 0; k < 24; k++)
        flat[k] = 300;
    plan_input in = {24, flat, none, 100, 0.85, PLAN_HEADROOM_WEIGHT, PLAN_STEPS};
    work_plan p;
    assert_true(plan_make(&in, d, 1, &p, NULL));
    for (int k = 0; k < 24; k++) {
        top = fmax(top, p.run[k]);
        low = fmin(low, p.run[k]);
    }
    assert_true(top - low < 6 && low > 5); /* of 10 on average: even to a step */
    in.headroom_weight = 0;                /* carbon alone, all equal: at once */
    d[0] = (plan_demand){0, 23, 240};
    assert_true(plan_make(&in, d, 1, &p, NULL));
    assert_near(p.run[0], 85, 1e-9);
    assert_near(p.run[3], 0, 1e-9);
    flat[5] = 100; /* one green hour, uncrowded enough to fill */
    d[0] = (plan_demand){0, 23, 40};
    in.headroom_weight = PLAN_HEADROOM_WEIGHT;
    assert_true(plan_make(&in, d, 1, &p, NULL));
    assert_near(p.run[5], 40, 1e-6);
}

/* Days in slots: work comes, the plan is made anew each slot with forecasts that are wrong, slot 0
 * runs. A separate schedule (earliest deadline first, at once) tells whether all could be in time.
 */
static void rolling(void **state)
{
    int feasible = 0;
    double late_sum = 0;
    rng_init(&r, 5);
    for (int round = 0; round < 150; round++) {
        backlog b, eager;
        double expected[24], accepted = 0, ran = 0, late = 0, eager_late = 0,
                             capacity = 3 + 4 * uniform();
        backlog_init(&b, 0, 3600);
        backlog_init(&eager, 0, 3600);
        for (int k = 0; k < 24; k++)
            expected[k] = 4.5;
        for (int64_t slot = 0; slot < 400; slot++) {
            backlog_advance(&b, slot * 3600);
            backlog_advance(&eager, slot * 3600);
            late += b.late;
            eager_late += eager.late;
            if (slot < 96)
                for (int i = 0; i < 3; i++) {
                    double work = uniform() * 3;
                    int64_t deadline = (slot + 1 + (int64_t)(uniform() * 23)) * 3600;
                    backlog_add(&b, deadline, work);
                    backlog_add(&eager, deadline, work);
                    accepted += work;
                }
            backlog_take(&eager, capacity, NULL);
            double price[24], none[24] = {0}, before = backlog_sum(&b);
            for (int k = 0; k < 24; k++)
                price[k] = 50 + 400 * uniform(); /* new nonsense every hour */
            plan_input in = {24, price, none, capacity, PLAN_TARGET, 0, 1};
            plan_demand d[PLAN_DEMANDS_MAX];
            size_t n = backlog_demands(&b, expected, 4, 24, d);
            work_plan p;
            assert_true(plan_make(&in, d, n, &p, NULL));
            assert_true(p.run[0] <= capacity + 1e-9 && p.run[0] <= before + 1e-9);
            /* As the platform does: what is due now may use the whole node. */
            double due = fmin(b.late + b.due[0], capacity);
            ran += backlog_take(&b, fmax(p.run[0], due), NULL);
        }
        assert_near(ran + backlog_sum(&b), accepted, 1e-6); /* nothing lost */
        assert_near(backlog_sum(&b), 0, 1e-6);              /* and all of it ran in the end */
        /* Without expected arrivals the plan waits too long, and 3 % is late: what makes this hold
         * is that the planner keeps room for what is still to come. */
        if (eager_late == 0 && capacity > 5.5) {
            feasible++;
            late_sum += late;
        }
    }
    assert_true(feasible > 10);
    assert_near(late_sum, 0, 1e-6);
}

/* With no later arrivals the claim is sharp: late if and only if no schedule could be in time. */
static void late_only_without_room(void **state)
{
    int with = 0, without = 0;
    rng_init(&r, 9);
    for (int round = 0; round < 300; round++) {
        backlog b, eager;
        double capacity = 1 + 4 * uniform(), late = 0, eager_late = 0;
        backlog_init(&b, 0, 3600);
        for (int i = 0; i < 40; i++)
            backlog_add(&b, (1 + (int64_t)(uniform() * 24)) * 3600, uniform() * 2.5);
        eager = b;
        for (int64_t slot = 0; slot < 60; slot++) {
            backlog_advance(&b, slot * 3600);
            backlog_advance(&eager, slot * 3600);
            late += b.late;
            eager_late += eager.late;
            backlog_take(&eager, capacity, NULL);
            double price[24], none[24] = {0};
            for (int k = 0; k < 24; k++)
                price[k] = uniform();
            plan_input in = {24, price, none, capacity, 1, 0.5, 8};
            plan_demand d[PLAN_DEMANDS_MAX];
            size_t n = backlog_demands(&b, NULL, 0, 24, d);
            work_plan p;
            assert_true(plan_make(&in, d, n, &p, NULL));
            backlog_take(&b, p.run[0], NULL);
        }
        assert_true((late > 1e-6) == (eager_late > 1e-6));
        with += eager_late > 1e-6;
        without += eager_late <= 1e-6;
    }
    assert_true(with > 20 && without > 20);
}

static void limits(void **state)
{
    err e;
    work_plan p = {.unplaced = 7};
    double x[PLAN_SLOTS_MAX + 1] = {0};
    plan_input in = {PLAN_SLOTS_MAX + 1, x, x, 1, 1, 0, 1};
    assert_false(plan_make(&in, NULL, 0, &p, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_near(p.unplaced, 7, 0);
    in.slots = 4;
    assert_true(plan_make(&in, NULL, 0, &p, &e));
    assert_near(p.unplaced, 0, 0);
    plan_demand far = {90, 95, 1}; /* beyond the horizon: its last slot */
    in.capacity = INFINITY;
    assert_true(plan_make(&in, &far, 1, &p, &e));
    assert_near(p.run[3], 1, 1e-12);
}

static void calls(void **state)
{
    err e;
    int64_t at = 0;
    assert_true(call_deadline_parse(S(" 3600 "), 1000, &at, &e));
    assert_int_equal(at, 4600);
    assert_true(call_deadline_parse(S("1970-01-02T00:00:00Z"), 1000, &at, &e));
    assert_int_equal(at, 86400);
    assert_false(call_deadline_parse(S("1970-01-01T00:00:00Z"), 1000, &at, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_false(call_deadline_parse(S("604801"), 1000, &at, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_false(call_deadline_parse(S("soon"), 1000, &at, &e));
    assert_int_equal(at, 86400);
}

/* One demand that may run anywhere takes the cheapest steps first, of equal ones the earlier slot,
 * then the earlier place; what a step costs is reckoned here from its definition. */
typedef struct {
    double price, size;
    size_t slot, place;
} stair;

static int cheaper(const void *x, const void *y)
{
    const stair *a = x, *b = y;
    if (a->price != b->price)
        return a->price < b->price ? -1 : 1;
    if (a->slot != b->slot)
        return a->slot < b->slot ? -1 : 1;
    return (a->place > b->place) - (a->place < b->place);
}

static void stairs(void **state)
{
    rng_init(&r, 11);
    for (int round = 0; round < 200; round++) {
        enum { S = 8, P = 3 };
        double price[P][S], reserved[P][S], run[P][PLAN_SLOTS_MAX], want[P][S] = {{0}}, unplaced;
        stair all[P * S * 5];
        plan_input in[P];
        size_t n = 0;
        for (size_t z = 0; z < P; z++) {
            in[z] = (plan_input){S,   price[z],         reserved[z],   10 + 10 * (double)z,
                                 0.8, z == 2 ? 0 : 0.5, z == 1 ? 1 : 5};
            for (size_t k = 0; k < S; k++) {
                price[z][k] = 100 + 50 * floor(3 * uniform());
                reserved[z][k] = uniform() < 0.2 ? in[z].capacity : 2 * floor(3 * uniform());
                double room = in[z].capacity * 0.8 - reserved[z][k];
                size_t steps = z == 0 ? 5 : 1;
                for (size_t i = 0; room > 0 && i < steps; i++) {
                    double f = (double)(i * i) / (double)(steps * steps),
                           t = (double)((i + 1) * (i + 1)) / (double)(steps * steps);
                    double load = (reserved[z][k] + room * (f + t) / 2) / in[z].capacity;
                    double crowd = steps > 1 ? 1 + 0.5 * load * load : 1;
                    all[n++] = (stair){price[z][k] * crowd, room * (t - f), k, z};
                }
            }
        }
        qsort(all, n, sizeof *all, cheaper);
        plan_demand d = {0, S - 1, 30 + 300 * uniform()};
        double left = d.work;
        for (size_t i = 0; i < n && left > 0; i++) {
            double take = fmin(left, all[i].size);
            want[all[i].place][all[i].slot] += take;
            left -= take;
        }
        assert_true(plan_make_places(in, P, &d, 1, run, &unplaced, NULL));
        for (size_t z = 0; z < P; z++)
            for (size_t k = 0; k < S; k++)
                assert_near(run[z][k], want[z][k], 1e-6);
        assert_near(unplaced, left, 1e-6);
    }
}

/* Each maximum, and one beyond. */
static void maxima(void **state)
{
    static const struct {
        size_t places, demands, slots, slots_other;
        unsigned steps;
        bool good;
    } asked[] = {
        {1, 1, 1, 1, 1, true},    {4, 1, 96, 96, 16, true}, {1, 512, 4, 4, 1, true},
        {0, 1, 4, 4, 1, false},   {5, 1, 4, 4, 1, false},   {1, 513, 4, 4, 1, false},
        {1, 1, 0, 0, 1, false},   {1, 1, 97, 97, 1, false}, {2, 1, 4, 5, 1, false},
        {1, 1, 4, 4, 0, false},   {1, 1, 4, 4, 17, false},  {2, 1, 5, 4, 1, false},
        {2, 1, 96, 97, 1, false},
    };
    static plan_demand d[513];
    static double zero[97], run[5][PLAN_SLOTS_MAX];
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        plan_input in[5];
        double unplaced = 7;
        err e;
        for (size_t z = 0; z < 5; z++)
            in[z] = (plan_input){z == 1 ? asked[i].slots_other : asked[i].slots,
                                 zero,
                                 zero,
                                 1,
                                 1,
                                 0,
                                 asked[i].steps};
        for (size_t k = 0; k < 513; k++)
            d[k] = (plan_demand){0, 0, 0};
        assert_int_equal(
            plan_make_places(in, asked[i].places, d, asked[i].demands, run, &unplaced, &e),
            asked[i].good);
        assert_near(unplaced, asked[i].good ? 0 : 7, 0);
        if (!asked[i].good)
            assert_string_equal(e.text,
                                "a plan has at most 96 slots, 16 steps, 4 places and 512 demands");
    }
}

/* Demands come back sorted, within the horizon. */
static void demands_are_sorted(void **state)
{
    plan_demand d[] = {{4, 4, 1}, {3, 9, 2}, {0, 1, 3}, {1, 2, 4}, {0, 2, 5}, {2, 3, 6}};
    static const plan_demand want[] = {{0, 1, 3}, {0, 2, 5}, {1, 2, 4},
                                       {2, 3, 6}, {3, 3, 1}, {3, 3, 2}};
    double zero[4] = {0};
    plan_input in = {4, zero, zero, INFINITY, 1, 0, 1};
    work_plan p;
    assert_true(plan_make(&in, d, 6, &p, NULL));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(d[i].first, want[i].first);
        assert_int_equal(d[i].last, want[i].last);
        assert_near(d[i].work, want[i].work, 0);
    }
}

static void backlog_slots(void **state)
{
    static const struct {
        int64_t t_s, slot;
    } at[] = {{0, 0}, {3599, 0}, {3600, 1}, {-1, -1}, {-3600, -1}, {-3601, -2}};
    backlog b;
    for (size_t i = 0; i < 6; i++) {
        backlog_init(&b, at[i].t_s, 3600);
        assert_int_equal(b.now, at[i].slot);
        assert_int_equal(b.slot_s, 3600);
        assert_near(backlog_sum(&b), 0, 0);
    }
    /* The last slot that ends by the deadline, within what is kept. */
    static const struct {
        int64_t deadline_s;
        size_t slot;
    } due[] = {{0, 0},          {7200, 0},       {10799, 0},      {10800, 1},      {14400, 2},
               {96 * 3600, 94}, {97 * 3600, 95}, {98 * 3600, 95}, {999 * 3600, 95}};
    for (size_t i = 0; i < 9; i++) {
        backlog_init(&b, 3600, 3600);
        backlog_add(&b, due[i].deadline_s, 5);
        backlog_add(&b, due[i].deadline_s, 2);
        assert_near(b.due[due[i].slot], 7, 0);
        assert_near(backlog_sum(&b), 7, 0);
    }
}

static void backlog_moves(void **state)
{
    backlog b, was;
    backlog_init(&b, 10 * 3600, 3600);
    for (size_t i = 0; i < PLAN_SLOTS_MAX; i++)
        b.due[i] = (double)(i + 1);
    was = b;
    backlog_advance(&b, 10 * 3600 + 3599); /* the same slot; and never back */
    backlog_advance(&b, 9 * 3600);
    assert_memory_equal(&b, &was, sizeof b);
    backlog_advance(&b, 13 * 3600);
    assert_int_equal(b.now, 13);
    assert_near(b.late, 1 + 2 + 3, 0);
    for (size_t i = 0; i < PLAN_SLOTS_MAX; i++)
        assert_near(b.due[i], i < 93 ? (double)(i + 4) : 0, 0);
    assert_near(backlog_sum(&b), 96 * 97 / 2, 0);
    backlog_advance(&b, 500 * 3600); /* all of it is late */
    assert_near(b.late, 96 * 97 / 2, 0);
    assert_near(b.due[0] + b.due[92], 0, 0);
}

/* What is late first, then by deadline; of each slot it is said what was taken. */
static void backlog_taken(void **state)
{
    double by[PLAN_SLOTS_MAX];
    backlog b = {.slot_s = 3600, .late = 10, .due = {4, 0, 6}};
    b.due[95] = 3;
    assert_near(backlog_take(&b, 7, by), 7, 0);
    assert_true(b.late == 3 && by[0] == 0);
    assert_near(backlog_take(&b, 3, by), 3, 0); /* just what is late */
    assert_true(b.late == 0 && b.due[0] == 4 && by[0] == 0);
    assert_near(backlog_take(&b, 5, by), 5, 0);
    assert_true(by[0] == 4 && by[1] == 0 && by[2] == 1 && by[95] == 0);
    assert_true(b.due[0] == 0 && b.due[2] == 5);
    assert_near(backlog_take(&b, 100, NULL), 8, 0);
    assert_near(backlog_sum(&b), 0, 0);
}

static void backlog_as_demands(void **state)
{
    double come[6] = {9, 1, 0, 2, 3, 4};
    plan_demand d[PLAN_DEMANDS_MAX];
    backlog b = {.slot_s = 3600, .late = 1, .due = {2, 0, 3}};
    b.due[95] = 4;
    /* Of six slots, arrivals with two each: those of slot 5 would not fit, slot 0 is the caller's.
     */
    static const plan_demand want[] = {{0, 0, 3}, {0, 2, 3}, {0, 95, 4},
                                       {1, 2, 1}, {3, 4, 2}, {4, 5, 3}};
    assert_int_equal(backlog_demands(&b, come, 2, 6, d), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(d[i].first, want[i].first);
        assert_int_equal(d[i].last, want[i].last);
        assert_near(d[i].work, want[i].work, 0);
    }
    assert_int_equal(backlog_demands(&b, come, 1, 6, d), 7);
    assert_true(d[6].first == 5 && d[6].last == 5 && d[6].work == 4);
    assert_int_equal(backlog_demands(&b, come, 0, 6, d), 3);
    assert_int_equal(backlog_demands(&b, NULL, 2, 6, d), 3);
    b.late = b.due[0] = 0; /* nothing is due now */
    assert_int_equal(backlog_demands(&b, NULL, 2, 6, d), 2);
    b.late = 1;
    assert_int_equal(backlog_demands(&b, NULL, 2, 6, d), 3);
    assert_near(d[0].work, 1, 0);
}

static void deadline_texts(void **state)
{
    static const struct {
        str text;
        int64_t at; /* from 1000 on; 0: it is refused */
        const char *why;
    } said[] = {
        {S("0"), 1000, NULL},
        {S("604800"), 605800, NULL},
        {S("1970-01-01T00:16:40Z"), 1000, NULL},
        {S("1970-01-08T00:16:40Z"), 605800, NULL},
        {S("1970-01-01T00:16:39Z"), 0, "the deadline is 1 s in the past"},
        {S("1970-01-08T00:16:41Z"), 0, "the deadline is more than 7 days ahead"},
        {S("604801"), 0, "the deadline is more than 7 days ahead"},
        {S("soon"), 0,
         "deadline 'soon' is neither seconds nor a time; write 3600 or 2024-05-01T13:00:00Z"},
        {S("a123456789b123456789c123456789d123456789e123456789f123456789g1234"), 0,
         "deadline 'a123456789b123456789c123456789d123456789e123456789f123456789g123' is neither "
         "seconds nor a time; write 3600 or 2024-05-01T13:00:00Z"},
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        int64_t at = 77;
        err e;
        assert_int_equal(call_deadline_parse(said[i].text, 1000, &at, &e), said[i].at != 0);
        assert_int_equal(at, said[i].at ? said[i].at : 77);
        if (said[i].why)
            assert_string_equal(e.text, said[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimal),
        cmocka_unit_test(places_optimal),
        cmocka_unit_test(crowding_spreads),
        cmocka_unit_test(rolling),
        cmocka_unit_test(late_only_without_room),
        cmocka_unit_test(limits),
        cmocka_unit_test(calls),
        cmocka_unit_test(stairs),
        cmocka_unit_test(maxima),
        cmocka_unit_test(demands_are_sorted),
        cmocka_unit_test(backlog_slots),
        cmocka_unit_test(backlog_moves),
        cmocka_unit_test(backlog_taken),
        cmocka_unit_test(backlog_as_demands),
        cmocka_unit_test(deadline_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
