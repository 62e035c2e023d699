/* The generator and the population number by number. The figures come from a second writing of
 * xoshiro256**, splitmix64 and of population.h's formulas in another language (splitmix64(0) and
 * the words after it are also the published ones): the same seed must give the same apps, calls
 * and CPU times on every machine and in every version. */
#include "unit.h"

#include "near.h"
#include "sched/population.h"

#include <math.h>

static arena a;

#define assert_close(got, want) assert_near(got, want, 1e-12 * fabs(want))

static void generator(void **state)
{
    static const uint64_t seeded[] = {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x6c45d188009454f,
                                      0xf88bb8a8724c81ec};
    static const uint64_t words[] = {0x99ec5f36cb75f2b4, 0xbf6e1f784956452a, 0x1a5f849d4933e6e0,
                                     0x6aa594f1262d2d2c, 0xbba5ad4a1f842e59};
    rng r;
    rng_init(&r, 0);
    assert_memory_equal(r.s, seeded, sizeof seeded);
    assert_true(isnan(r.spare));
    for (size_t i = 0; i < 5; i++)
        assert_true(rng_next(&r) == words[i]);
}

static void distributions(void **state)
{
    static const double uniform[] = {0.70292183315885048, 0.52043661993885693};
    static const double normal[] = {-1.0136476397283942, 0.82440683748826737, 0.95829714609573535,
                                    1.2128023502013232, -0.28180977695353088};
    static const struct {
        double mean;
        uint64_t drawn[8];
    } poisson[] = {{0, {0}},
                   {-1, {0}},
                   {0.5, {2, 1, 0, 1, 0, 0, 0, 0}},
                   {3, {3, 3, 3, 2, 2, 2, 2, 5}},
                   {30, {34, 42, 18, 37, 29, 28, 32, 26}}, /* the last that is exact */
                   {30.5, {27, 33, 27, 25, 32, 33, 31, 26}},
                   {400, {382, 384, 407, 376, 398, 357, 424, 391}}},
      some[] = {{0.01, {1, 1, 1, 1, 1, 1, 1, 1}},
                {0.5, {1, 1, 1, 3, 1, 2, 1, 2}},
                {3, {3, 6, 2, 3, 3, 2, 1, 5}},
                {30, {27, 42, 50, 30, 28, 35, 19, 44}},
                {30.5, {28, 33, 25, 26, 31, 22, 30, 26}}};
    rng r;
    rng_init(&r, 1);
    for (size_t i = 0; i < 2; i++)
        assert_close(rng_uniform(&r), uniform[i]);
    for (size_t i = 0; i < 5; i++) /* an odd number: the next takes what is left of the pair */
        assert_close(rng_normal(&r), normal[i]);
    assert_close(rng_lognormal(&r, 1, 2), 4.57879212020155);
    assert_close(rng_lognormal(&r, 1, 2), 0.060309281366507102);
    assert_close(rng_exponential(&r), 2.6967014732777765);
    assert_close(rng_exponential(&r), 3.151641726419264);
    for (size_t k = 0; k < 7; k++)
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(rng_poisson(&r, poisson[k].mean), poisson[k].drawn[i]);
    for (size_t k = 0; k < 5; k++)
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(rng_poisson_some(&r, some[k].mean, exp(-some[k].mean)),
                             some[k].drawn[i]);
    assert_true(rng_next(&r) == 0xb49b4c11eb55831c); /* nothing drew more than it had to */
}

/* The normal's tail below nothing is no call at all, not 2^64 of them. */
static void no_negative_calls(void **state)
{
    rng r = {.spare = -6};
    assert_int_equal(rng_poisson(&r, 31), 0);
}

typedef struct {
    double calls_per_s, call_cpu_s, memory_bytes, limit_cpus, peak_hour, on_share, left_s;
    app_arrivals arrivals;
    bool deferrable, on;
} drawn;

/* Seed 7, peak hours correlated by 0.25, execution times divided by 50, together 3 CPUs. */
static const drawn twelve[] = {
    {0.00392987366908365, 182.507553251728, 171493940.245669, 7.17231627932846, 6.30048445206228,
     0.338076740477493, 2607.65372391045, APP_BURSTY, false, false},
    {5.46649174945518e-05, 1219.14479840452, 145362692.252934, 0.666444498186949, 16.5828981688428,
     0.107646491937275, 1663.66751708767, APP_BURSTY, false, false},
    {5.94045611538357e-07, 506.965080219538, 131998820.024721, 0.1, 15.7419367970399,
     0.20344044424326, 2630.58394409759, APP_POISSON, false, false},
    {3.71153940633394e-06, 162.924383858865, 139112558.33113, 0.1, 7.77188321154351,
     0.132797826723785, 7796.76421065834, APP_TIMER, true, false},
    {0.000104299570171968, 53.2569565766402, 117380034.399483, 0.1, 7.5722018104187,
     0.3673692156483, 3482.66412842158, APP_BURSTY, false, false},
    {1.92522543808784e-05, 310.962981719338, 165016083.218805, 0.1, 12.1198420876224,
     0.238082447914654, 5782.15061531378, APP_BURSTY, false, false},
    {3.25523152909015e-06, 27666.2680876555, 131703534.722958, 0.900601081711968, 10.3959535823661,
     0.465560992813222, 7484.46844608376, APP_BURSTY, true, false},
    {2.08205908720045e-05, 29.5349538178042, 175012505.535766, 0.1, 7.53354049981673,
     0.247344797725513, 3396.17058809868, APP_POISSON, false, true},
    {6.86502336587059e-05, 968.281970091623, 104059339.586327, 0.66472783494302, 10.6783349480903,
     0.165196240019842, 5474.4476521788, APP_TIMER, true, false},
    {0.0957861879884208, 21.313275775604, 123780854.874481, 20.4151744009106, 12.5206477820726,
     0.365422830275503, 5006.93989215201, APP_POISSON, false, true},
    {0.000422729924932269, 2.6829401271222, 101283513.776768, 0.1, 22.1692111380426,
     0.206127109669456, 2777.18569082978, APP_BURSTY, false, false},
    {7.26725059391778e-05, 53.3519439660313, 111809620.453311, 0.1, 13.7935178000617,
     0.349938635151536, 5696.91890659781, APP_BURSTY, true, true},
};

static void drawn_apps(void **state)
{
    population_config c = {.seed = 7,
                           .apps = 12,
                           .correlation = 0.25,
                           .speedup = 50,
                           .mean_cpus = 3,
                           .cpus_per_app_max = 0.4};
    population p;
    err e;
    arena_reset(&a);
    assert_true(population_new(&c, &a, &p, &e));
    assert_int_equal(p.n, 12);
    for (size_t i = 0; i < p.n; i++) {
        const population_app *got = &p.app[i];
        const drawn *want = &twelve[i];
        assert_near(got->calls_per_s, want->calls_per_s, 1e-9 * want->calls_per_s);
        assert_near(got->call_cpu_s, want->call_cpu_s, 1e-9 * want->call_cpu_s);
        assert_near(got->memory_bytes, want->memory_bytes, 1e-9 * want->memory_bytes);
        assert_near(got->limit_cpus, want->limit_cpus, 1e-9 * want->limit_cpus);
        assert_near(got->peak_hour, want->peak_hour, 1e-9 * want->peak_hour);
        assert_near(got->on_share, want->on_share, 1e-9);
        assert_near(got->left_s, want->left_s, 1e-6);
        assert_int_equal(got->arrivals, want->arrivals);
        assert_int_equal(got->deferrable, want->deferrable);
        assert_int_equal(got->on, want->on);
    }
    /* Neither limit nor scale: what was drawn, times the same factor for all. */
    c.mean_cpus = c.cpus_per_app_max = 0;
    population raw;
    assert_true(population_new(&c, &a, &raw, &e));
    double scale = raw.app[0].call_cpu_s / p.app[0].call_cpu_s;
    assert_true(scale > 0);
    for (size_t i = 0; i < raw.n; i++)
        assert_near(raw.app[i].call_cpu_s, scale * p.app[i].call_cpu_s,
                    1e-9 * raw.app[i].call_cpu_s);
    /* A limit: who would use more uses just that. */
    double most = 0;
    for (size_t i = 0; i < raw.n; i++)
        most = fmax(most, raw.app[i].calls_per_s * raw.app[i].call_cpu_s);
    c.cpus_per_app_max = most / 2;
    assert_true(population_new(&c, &a, &p, &e));
    for (size_t i = 0; i < raw.n; i++) {
        double was = raw.app[i].calls_per_s * raw.app[i].call_cpu_s;
        assert_near(p.app[i].calls_per_s * p.app[i].call_cpu_s, fmin(was, most / 2), 1e-12 * most);
    }
}

static void configurations(void **state)
{
    static const struct {
        population_config c;
        bool good;
    } asked[] = {
        {{.apps = 1, .speedup = 1}, true},
        {{.apps = 1, .speedup = 1, .correlation = 1}, true},
        {{.apps = 0, .speedup = 1}, false},
        {{.apps = 1, .speedup = 0}, false},
        {{.apps = 1, .speedup = -1}, false},
        {{.apps = 1, .speedup = 1, .correlation = -0.1}, false},
        {{.apps = 1, .speedup = 1, .correlation = 1.1}, false},
        {{.apps = 1000001, .speedup = 1}, false},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        population p = {.n = 77};
        err e;
        arena_reset(&a);
        assert_int_equal(population_new(&asked[i].c, &a, &p, &e), asked[i].good);
        if (asked[i].good)
            continue;
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.text, "population: 1 to 1000000 apps, a positive speed-up and a "
                                    "correlation between 0 and 1");
        assert_int_equal(p.n, 77);
    }
    /* A million is allowed, but not in this arena. */
    population_config many = {.apps = 1000000, .speedup = 1};
    population p;
    err e;
    assert_false(population_new(&many, &a, &p, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

/* An app made by hand, with the tables of a population of its own. */
static population one(population_app *app, app_arrivals kind, double rate, uint64_t seed)
{
    population_config c = {.apps = 1, .speedup = 1};
    population p;
    err e;
    arena_reset(&a);
    assert_true(population_new(&c, &a, &p, &e));
    *app = (population_app){.calls_per_s = rate,
                            .call_cpu_s = 0.5,
                            .peak_hour = 14,
                            .peak_cos = cos(14 * M_PI / 12),
                            .peak_sin = sin(14 * M_PI / 12),
                            .on_share = 0.25,
                            .left_s = 1000,
                            .arrivals = kind,
                            .level_hour = -1};
    rng_init(&app->random, seed);
    p.app = app;
    return p;
}

/* n steps of 300 s from t0 on: the calls of each, and the CPU-seconds of all. */
static void steps(population *p, int64_t t0, const uint64_t *calls, size_t n, double cpu_s)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t got;
        double used = population_use(p, 0, t0 + 300 * (int64_t)i, 300, &got);
        assert_int_equal(got, calls[i]);
        assert_true((used > 0) == (got > 0));
        sum += used;
    }
    assert_near(sum, cpu_s, 1e-9 * cpu_s);
}

static void calls_of_a_day(void **state)
{
    static const uint64_t few[] = {0, 0, 1, 2, 0, 2, 0, 0, 1, 2, 0, 0, 2, 0, 0, 0,
                                   1, 0, 3, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 2, 0, 0,
                                   0, 0, 0, 0, 1, 1, 1, 0, 2, 0, 2, 1, 0, 1, 2, 1};
    static const uint64_t many[] = {24, 38, 23, 30, 18, 36, 27, 26, 26, 28, 24, 27,
                                    29, 34, 27, 27, 20, 31, 32, 26, 19, 33, 29, 24};
    static const uint64_t spells[] = {0,  0,  0,  9,  17, 12, 11, 12, 18, 15, 16, 12, 17, 14, 9,
                                      13, 11, 15, 14, 12, 13, 11, 9,  21, 0,  9,  7,  15, 15, 10,
                                      16, 1,  0,  3,  24, 15, 23, 9,  0,  0,  0,  0,  0,  0,  0,
                                      0,  0,  0,  12, 17, 10, 16, 14, 2,  0,  0,  0,  0,  0,  0,
                                      0,  0,  0,  0,  0,  0,  0,  4,  15, 21, 20, 13};
    population_app app;
    population p = one(&app, APP_POISSON, 0.004, 3); /* from a Monday's midnight on */
    steps(&p, 4 * 86400, few, 48, 14.4752549385007);
    p = one(&app, APP_POISSON, 0.2, 4); /* a Saturday */
    steps(&p, 2 * 86400, many, 24, 325.252948723828);
    p = one(&app, APP_BURSTY, 0.02, 5);
    steps(&p, 4 * 86400, spells, 72, 275.450375907649);
    assert_true(app.on);
    assert_near(app.left_s, 1097.95926889838, 1e-6);
}

/* Timers have no chance in them: as many calls as whole periods end in the step. */
static void timers(void **state)
{
    population_app app;
    population p = one(&app, APP_TIMER, 1.0 / 512, 1);
    uint64_t calls;
    for (int64_t t = 0; t < 20; t++) {
        population_use(&p, 0, t * 256, 256, &calls);
        assert_int_equal(calls, t % 2);
    }
    p = one(&app, APP_TIMER, 3.0 / 256, 1);
    population_use(&p, 0, 1000 * 256, 256, &calls);
    assert_int_equal(calls, 3);
    assert_near(app.level, 0, 0); /* and they know no day */
}

/* The level of an hour, from its definition: half constant, half with the sun, weekends a fifth
 * lower, all over the week's mean. */
static void levels(void **state)
{
    static const struct {
        int64_t day;
        int hour;
        bool weekend;
    } when[] = {{4, 0, false}, {4, 13, false}, {4, 14, false}, {8, 2, false},
                {9, 14, true}, {10, 2, true},  {11, 20, false}};
    population_app app;
    population p = one(&app, APP_POISSON, 0.001, 1);
    for (size_t i = 0; i < sizeof when / sizeof *when; i++) {
        uint64_t calls;
        int64_t t = when[i].day * 86400 + when[i].hour * 3600;
        double sun = 1 + cos((when[i].hour + 0.5 - 14) * M_PI / 12);
        double want = (0.5 + sun / 2) * (when[i].weekend ? 0.8 : 1) / (6.6 / 7);
        population_use(&p, 0, t + 3300, 300, &calls);
        assert_near(app.level, want, 1e-12);
        assert_int_equal(app.level_hour, t / 3600);
    }
}

/* A spell that ends with the step: the next one has begun, and nothing of it has passed. */
static void spell_ends_with_the_step(void **state)
{
    population_app app;
    uint64_t calls;
    population p = one(&app, APP_BURSTY, 1, 1);
    app.left_s = 300;
    population_use(&p, 0, 4 * 86400, 300, &calls);
    assert_int_equal(calls, 0);
    assert_true(app.on && app.left_s > 1);
    app.left_s = 300;
    population_use(&p, 0, 4 * 86400, 300, &calls);
    assert_true(calls > 300 && !app.on && app.left_s > 1);
    app.left_s = 301; /* and one that does not */
    population_use(&p, 0, 4 * 86400, 300, &calls);
    assert_true(calls == 0 && !app.on);
    assert_near(app.left_s, 1, 0);
}

/* However the normal falls, calls take at least a fifth of their mean. */
static void spread_has_a_floor(void **state)
{
    population_app app;
    population p = one(&app, APP_TIMER, 1.0 / 256, 1);
    uint64_t calls;
    app.random.spare = -5;
    assert_near(population_use(&p, 0, 0, 256, &calls), 0.1, 1e-12);
    app.random.spare = 2;
    assert_near(population_use(&p, 0, 0, 256, &calls), 0.5 * 2.06, 1e-12);
    app.random.spare = 2;
    assert_near(population_use(&p, 0, 0, 1024, &calls), 4 * 0.5 * 1.53, 1e-12);
}

static void checks(void **state)
{
    population_app app[10] = {{0}};
    population p = {.app = app, .n = 10};
    double rates[] = {1.0 / 3600, 1.0 / 7200, 2.0 / 3600, 1.0 / 60, 1.0 / 61, 1, 2, 3, 4, 5};
    double sum = 0;
    for (size_t i = 0; i < 10; i++) {
        app[i].calls_per_s = rates[i];
        app[i].deferrable = i < 3;
        sum += rates[i];
    }
    arena_reset(&a);
    population_check c = population_checked(&p, &a);
    assert_near(c.hourly_pct, 20, 1e-9); /* once an hour counts */
    assert_near(c.minutely_pct, 50, 1e-9);
    assert_near(c.deferrable_pct, 30, 1e-9);
    assert_near(c.top_pct, 100 * 5 / sum, 1e-9);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generator),
        cmocka_unit_test(distributions),
        cmocka_unit_test(no_negative_calls),
        cmocka_unit_test(drawn_apps),
        cmocka_unit_test(configurations),
        cmocka_unit_test(calls_of_a_day),
        cmocka_unit_test(timers),
        cmocka_unit_test(levels),
        cmocka_unit_test(spell_ends_with_the_step),
        cmocka_unit_test(spread_has_a_floor),
        cmocka_unit_test(checks),
    };
    arena_init(&a, 4 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
