/* The forms of results, whole: each text is written from what sim_report.h and the formats say of
 * results made by hand, every field with a figure of its own. */
#include "unit.h"

#include "near.h"
#include "sched/sim_report.h"

#include <string.h>

static buf b;
static double grid[360];
static sim_step step[360 * SIM_STEPS];

static int setup(void **state)
{
    buf_init(&b, 1 << 20);
    return 0;
}

static int clear(void **state)
{
    buf_fini(&b);
    return 0;
}

static void is(const char *want)
{
    size_t n = strlen(want);
    for (size_t i = 0; i < n && i < b.n; i++)
        if (want[i] != (char)b.p[i])
            fail_msg("from byte %zu on: '%.40s', not '%.40s'", i, (const char *)b.p + i, want + i);
    assert_int_equal(b.n, n);
}

/* 200 g at once; so many grams later, after so long. */
static sim_result made(sim_policy p, double actual_g, double delay_s)
{
    return (sim_result){
        .policy = p,
        .saved = {.calls = 4, .baseline_g = 200, .actual_g = actual_g, .delay_s = delay_s}};
}

static sim_result ours(void)
{
    sim_result r = made(SIM_OURS, 150, 36000);
    r.apps = 7;
    r.calls = 42;
    r.cpu_s = 3600;
    r.deferrable_cpu_s = 1800;
    r.late_cpu_s = 7.25;
    r.left_cpu_s = 12.5;
    r.received_ratio = 4.25;
    r.executed_ratio = 1.25;
    r.utilisation_pct = 63.5;
    r.peak_cpus = 9.5;
    r.node_j = 9e6;
    r.operational_g = 750;
    r.embodied_g = 125;
    r.idle_unallocated_j = 2.25e6;
    r.conservation = 1e-12;
    r.mape_pct = 3.5;
    r.peaks = (peak_state){13, 6.5, 2, 1.5, 0.0005, 900};
    r.pairs[0] = (peak_pair){3, 8, 0.95, 1.25};
    r.pairs[1] = (peak_pair){2, 5, 0.91, 0.75};
    r.pairs_count = 2;
    static const double by_method[PEAK_METHODS] = {13, 11.7, 8.5, 7.5, 6.5};
    memcpy(r.predicted, by_method, sizeof by_method);
    return r;
}

static sim_result clairvoyant(void)
{
    sim_result r = made(SIM_CLAIRVOYANT, 120, 50400);
    r.executed_ratio = 2.5;
    r.utilisation_pct = 64.5;
    r.peak_cpus = 10.5;
    return r;
}

static sim_config config(void)
{
    return (sim_config){.hours = 48,
                        .start_s = 4 * 86400,
                        .slack_hours = 24,
                        .target = 0.85,
                        .headroom_weight = 0.5,
                        .cpus = 16,
                        .ledger = true};
}

static void table(void **state)
{
    sim_config c = config();
    sim_result r[3] = {made(SIM_NOW, 200, 0), ours(), clairvoyant()};
    r[0].executed_ratio = 4.3;
    r[0].utilisation_pct = 62.5;
    r[0].peak_cpus = 14;
    /* What is said of the node and of peaks is the first one's. */
    r[0].node_j = r[1].node_j;
    r[0].operational_g = r[1].operational_g;
    r[0].embodied_g = r[1].embodied_g;
    r[0].idle_unallocated_j = r[1].idle_unallocated_j;
    r[0].conservation = r[1].conservation;
    r[0].peaks = r[1].peaks;
    memcpy(r[0].pairs, r[1].pairs, sizeof r[0].pairs);
    r[0].pairs_count = 2;
    assert_true(sim_table(&c, r, 3, &b));
    is("policy          saved g  saved %  of best peak:tr.   util % peak CPU  late s   delay"
       " h\n"
       "now                   0     0.00      0.0      4.3     62.5       14       0      0."
       "00\n"
       "ours                 50    25.00     62.5     1.25     63.5      9.5    7.25      2."
       "50\n"
       "clairvoyant          80    40.00    100.0      2.5     64.5     10.5       0      3."
       "50\n"
       "node: 2.5 kWh, 0.75 kg operational, 0.125 kg embodied; 25.0 % of the energy unalloca"
       "ted; rows sum to the node within 1.0e-12\n"
       "peak: 6.5 CPUs predicted of 13 sold (factor 2.00), multiplexing gain 1.50, violation"
       "s 0.050 %\n"
       "  apps 3 and 8 come together (correlation 0.95, 1.25 CPUs)\n"
       "  apps 2 and 5 come together (correlation 0.91, 0.75 CPUs)\n");
}

/* No books, no peaks, no bound, and no work that waited. */
static void table_of_little(void **state)
{
    sim_config c = config();
    c.ledger = false;
    sim_result r = ours();
    r.saved.calls = 0;
    r.pairs_count = 0;
    r.peaks.judged = 0;
    assert_true(sim_table(&c, &r, 1, &b));
    is("policy          saved g  saved %  of best peak:tr.   util % peak CPU  late s   delay"
       " h\n"
       "ours                 50    25.00        -     1.25     63.5      9.5    7.25      0."
       "00\n");
    b.n = 0;
    assert_true(sim_table(&c, NULL, 0, &b)); /* nothing at all */
    assert_true(b.n > 60 && memchr(b.p, '\n', b.n) == b.p + b.n - 1);
    b.n = 0;
    c.ledger = true; /* a node without energy has no share of it */
    r.node_j = r.idle_unallocated_j = 0;
    r.pairs_count = 9; /* of which five are known */
    assert_true(sim_table(&c, &r, 1, &b));
    buf_put_u8(&b, 0);
    assert_non_null(
        strstr((char *)b.p, "node: 0 kWh, 0.75 kg operational, 0.125 kg embodied; 0.0 %"));
    size_t pairs = 0;
    for (const char *at = (char *)b.p; (at = strstr(at, "come together")); at++)
        pairs++;
    assert_int_equal(pairs, 5);
}

static void json(void **state)
{
    sim_config c = config();
    sim_result r[2] = {ours(), clairvoyant()};
    day_result days[2] = {
        {.calls = 1000, .p50_s = 0.01, .p99_s = 0.2, .p999_s = 0.4, .utilisation_pct = 40.5},
        {.calls = 1001,
         .p50_s = 0.011,
         .p99_s = 0.25,
         .p999_s = 0.5,
         .utilisation_pct = 80.25,
         .opportunistic_cpu_s = 1234.5,
         .planned_cpu_s = 1300}};
    assert_true(sim_json(&c, r, 2, days, &b));
    is("{\"hours\":48,\"start_s\":345600,\"slack_hours\":24,\"target\":0.85,\"headroom_weigh"
       "t\":0.5,\"cpus\":16,\"policies\":[{\"policy\":\"ours\",\"apps\":7,\"calls\":42,\"cpu"
       "_s\":3600,\"deferrable_cpu_s\":1800,\"late_cpu_s\":7.25,\"left_cpu_s\":12.5,\"baseli"
       "ne_g\":200,\"actual_g\":150,\"saved_g\":50,\"saved_pct\":25,\"share_of_clairvoyant_p"
       "ct\":62.5,\"mean_delay_h\":2.5,\"received_peak_to_trough\":4.25,\"executed_peak_to_t"
       "rough\":1.25,\"utilisation_pct\":63.5,\"peak_cpus\":9.5,\"node_kwh\":2.5,\"operation"
       "al_g\":750,\"embodied_g\":125,\"unallocated_j\":2250000,\"conservation\":1e-12,\"fit"
       "_mape_pct\":3.5,\"peaks\":{\"limits\":13,\"predicted\":6.5,\"factor\":2,\"gain\":1.5"
       ",\"violations\":0.0005,\"judged\":900,\"by_method\":{\"limit\":13,\"borg-default\":1"
       "1.7,\"n-sigma\":8.5,\"rc-like\":7.5,\"max\":6.5},\"correlated_pairs\":2,\"largest_pa"
       "irs\":[{\"apps\":[3,8],\"correlation\":0.950,\"cpus\":1.25},{\"apps\":[2,5],\"correl"
       "ation\":0.910,\"cpus\":0.75}]}},{\"policy\":\"clairvoyant\",\"apps\":0,\"calls\":0,"
       "\"cpu_s\":0,\"deferrable_cpu_s\":0,\"late_cpu_s\":0,\"left_cpu_s\":0,\"baseline_g\":"
       "200,\"actual_g\":120,\"saved_g\":80,\"saved_pct\":40,\"share_of_clairvoyant_pct\":10"
       "0,\"mean_delay_h\":3.5,\"received_peak_to_trough\":0,\"executed_peak_to_trough\":2.5"
       ",\"utilisation_pct\":64.5,\"peak_cpus\":10.5,\"node_kwh\":0,\"operational_g\":0,\"em"
       "bodied_g\":0,\"unallocated_j\":0,\"conservation\":0,\"fit_mape_pct\":0,\"peaks\":{\""
       "limits\":0,\"predicted\":0,\"factor\":0,\"gain\":0,\"violations\":0,\"judged\":0,\"b"
       "y_method\":{\"limit\":0,\"borg-default\":0,\"n-sigma\":0,\"rc-like\":0,\"max\":0},\""
       "correlated_pairs\":0,\"largest_pairs\":[]}}],\"reserved_class\":{\"alone\":{\"calls"
       "\":1000,\"p50_s\":0.01,\"p99_s\":0.2,\"p999_s\":0.4,\"utilisation_pct\":40.5,\"oppor"
       "tunistic_cpu_s\":0,\"planned_cpu_s\":0},\"with_opportunistic\":{\"calls\":1001,\"p50"
       "_s\":0.011,\"p99_s\":0.25,\"p999_s\":0.5,\"utilisation_pct\":80.25,\"opportunistic_c"
       "pu_s\":1234.5,\"planned_cpu_s\":1300},\"p99_growth_pct\":25}}\n");
}

/* What has no figure is null; of many pairs the first five are told. */
static void json_of_little(void **state)
{
    sim_config c = config();
    sim_result r = made(SIM_OURS, 150, 0);
    c.cpus = INFINITY;
    r.received_ratio = INFINITY;
    r.saved.calls = 0;
    r.pairs_count = 7;
    for (size_t i = 0; i < 5; i++)
        r.pairs[i] = (peak_pair){i, i + 1, 0.99, 1};
    assert_true(sim_json(&c, &r, 1, NULL, &b));
    is("{\"hours\":48,\"start_s\":345600,\"slack_hours\":24,\"target\":0.85,\"headroom_weigh"
       "t\":0.5,\"cpus\":null,\"policies\":[{\"policy\":\"ours\",\"apps\":0,\"calls\":0,\"cp"
       "u_s\":0,\"deferrable_cpu_s\":0,\"late_cpu_s\":0,\"left_cpu_s\":0,\"baseline_g\":200,"
       "\"actual_g\":150,\"saved_g\":50,\"saved_pct\":25,\"share_of_clairvoyant_pct\":null,"
       "\"mean_delay_h\":0,\"received_peak_to_trough\":null,\"executed_peak_to_trough\":0,\""
       "utilisation_pct\":0,\"peak_cpus\":0,\"node_kwh\":0,\"operational_g\":0,\"embodied_g"
       "\":0,\"unallocated_j\":0,\"conservation\":0,\"fit_mape_pct\":0,\"peaks\":{\"limits\""
       ":0,\"predicted\":0,\"factor\":0,\"gain\":0,\"violations\":0,\"judged\":0,\"by_method"
       "\":{\"limit\":0,\"borg-default\":0,\"n-sigma\":0,\"rc-like\":0,\"max\":0},\"correlat"
       "ed_pairs\":7,\"largest_pairs\":[{\"apps\":[0,1],\"correlation\":0.990,\"cpus\":1},{"
       "\"apps\":[1,2],\"correlation\":0.990,\"cpus\":1},{\"apps\":[2,3],\"correlation\":0.9"
       "90,\"cpus\":1},{\"apps\":[3,4],\"correlation\":0.990,\"cpus\":1},{\"apps\":[4,5],\"c"
       "orrelation\":0.990,\"cpus\":1}]}}]}\n");
}

static void picture(void **state)
{
    sim_config c = config();
    sim_result r = ours();
    c.hours = 2;
    c.intensity = grid;
    c.intensity_start_s = c.start_s - 3 * 3600;
    memset(grid, 0, sizeof grid);
    grid[2] = 999; /* the hour before: no part of the picture */
    grid[3] = 200;
    grid[4] = 120;
    for (size_t i = 0; i < 24; i++)
        step[i] = (sim_step){(double)(i + 1), 4, (double)(i % 3)};
    r.steps = step;
    r.steps_count = 24;
    assert_true(sim_svg(&c, &r, 5, &b)); /* there are two hours */
    is("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 340\" role=\"img\" aria-"
       "label=\"Load and carbon intensity, policy ours\" style=\"font:12px sans-serif\">\n"
       "<rect width=\"960\" height=\"340\" fill=\"#fff\"/>\n"
       "<path d=\"M50.0 245.0L87.9 233.8L125.8 222.5L163.8 245.0L201.7 233.8L239.6 222.5L277"
       ".5 245.0L315.4 233.8L353.3 222.5L391.2 245.0L429.2 233.8L467.1 222.5L505.0 245.0L542"
       ".9 233.8L580.8 222.5L618.8 245.0L656.7 233.8L694.6 222.5L732.5 245.0L770.4 233.8L808"
       ".3 222.5L846.2 245.0L884.2 233.8L922.1 222.5V290H50Z\" fill=\"#7bc47f\"/>\n"
       "<path d=\"M50.0 245.0L87.9 245.0L125.8 245.0L163.8 245.0L201.7 245.0L239.6 245.0L277"
       ".5 245.0L315.4 245.0L353.3 245.0L391.2 245.0L429.2 245.0L467.1 245.0L505.0 245.0L542"
       ".9 245.0L580.8 245.0L618.8 245.0L656.7 245.0L694.6 245.0L732.5 245.0L770.4 245.0L808"
       ".3 245.0L846.2 245.0L884.2 245.0L922.1 245.0V290H50Z\" fill=\"#4a7fb5\"/>\n"
       "<path d=\"M50.0 278.8L87.9 267.5L125.8 256.2L163.8 245.0L201.7 233.8L239.6 222.5L277"
       ".5 211.2L315.4 200.0L353.3 188.8L391.2 177.5L429.2 166.2L467.1 155.0L505.0 143.8L542"
       ".9 132.5L580.8 121.2L618.8 110.0L656.7 98.8L694.6 87.5L732.5 76.2L770.4 65.0L808.3 5"
       "3.8L846.2 42.5L884.2 31.2L922.1 20.0\" fill=\"none\" stroke=\"#222\" stroke-dasharra"
       "y=\"4 3\"/>\n"
       "<path d=\"M277.5 20.0L732.5 128.0\" fill=\"none\" stroke=\"#c0504d\" stroke-width=\""
       "1.5\"/>\n"
       "<text x=\"4\" y=\"24\">24</text><text x=\"4\" y=\"290\">0 CPUs</text>\n"
       "<text x=\"50\" y=\"330\" fill=\"#c0504d\">grid, top 200 g/kWh</text><text x=\"250\" "
       "y=\"330\" fill=\"#35679a\">reserved</text><text x=\"350\" y=\"330\" fill=\"#3c8a41\""
       ">deferred, as run (ours)</text><text x=\"550\" y=\"330\">received (dashed), 2 hours<"
       "/text>\n"
       "</svg>\n");
    b.n = 0;
    assert_true(sim_svg(&c, &r, 1, &b)); /* the last hour only */
    is("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 340\" role=\"img\" aria-"
       "label=\"Load and carbon intensity, policy ours\" style=\"font:12px sans-serif\">\n"
       "<rect width=\"960\" height=\"340\" fill=\"#fff\"/>\n"
       "<path d=\"M50.0 245.0L125.8 233.8L201.7 222.5L277.5 245.0L353.3 233.8L429.2 222.5L50"
       "5.0 245.0L580.8 233.8L656.7 222.5L732.5 245.0L808.3 233.8L884.2 222.5V290H50Z\" fill"
       "=\"#7bc47f\"/>\n"
       "<path d=\"M50.0 245.0L125.8 245.0L201.7 245.0L277.5 245.0L353.3 245.0L429.2 245.0L50"
       "5.0 245.0L580.8 245.0L656.7 245.0L732.5 245.0L808.3 245.0L884.2 245.0V290H50Z\" fill"
       "=\"#4a7fb5\"/>\n"
       "<path d=\"M50.0 143.8L125.8 132.5L201.7 121.2L277.5 110.0L353.3 98.8L429.2 87.5L505."
       "0 76.2L580.8 65.0L656.7 53.8L732.5 42.5L808.3 31.2L884.2 20.0\" fill=\"none\" stroke"
       "=\"#222\" stroke-dasharray=\"4 3\"/>\n"
       "<path d=\"M505.0 20.0\" fill=\"none\" stroke=\"#c0504d\" stroke-width=\"1.5\"/>\n"
       "<text x=\"4\" y=\"24\">24</text><text x=\"4\" y=\"290\">0 CPUs</text>\n"
       "<text x=\"50\" y=\"330\" fill=\"#c0504d\">grid, top 120 g/kWh</text><text x=\"250\" "
       "y=\"330\" fill=\"#35679a\">reserved</text><text x=\"350\" y=\"330\" fill=\"#3c8a41\""
       ">deferred, as run (ours)</text><text x=\"550\" y=\"330\">received (dashed), 1 hours<"
       "/text>\n"
       "</svg>\n");
    b.n = 0;
    memset(step, 0, sizeof step); /* nothing ran, on a grid cleaner than 1 g/kWh */
    grid[4] = 0.25;
    r.policy = SIM_NOW;
    assert_true(sim_svg(&c, &r, 1, &b));
    is("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 340\" role=\"img\" aria-"
       "label=\"Load and carbon intensity, policy now\" style=\"font:12px sans-serif\">\n"
       "<rect width=\"960\" height=\"340\" fill=\"#fff\"/>\n"
       "<path d=\"M50.0 290.0L125.8 290.0L201.7 290.0L277.5 290.0L353.3 290.0L429.2 290.0L50"
       "5.0 290.0L580.8 290.0L656.7 290.0L732.5 290.0L808.3 290.0L884.2 290.0V290H50Z\" fill"
       "=\"#7bc47f\"/>\n"
       "<path d=\"M50.0 290.0L125.8 290.0L201.7 290.0L277.5 290.0L353.3 290.0L429.2 290.0L50"
       "5.0 290.0L580.8 290.0L656.7 290.0L732.5 290.0L808.3 290.0L884.2 290.0V290H50Z\" fill"
       "=\"#4a7fb5\"/>\n"
       "<path d=\"M50.0 290.0L125.8 290.0L201.7 290.0L277.5 290.0L353.3 290.0L429.2 290.0L50"
       "5.0 290.0L580.8 290.0L656.7 290.0L732.5 290.0L808.3 290.0L884.2 290.0\" fill=\"none"
       "\" stroke=\"#222\" stroke-dasharray=\"4 3\"/>\n"
       "<path d=\"M505.0 222.5\" fill=\"none\" stroke=\"#c0504d\" stroke-width=\"1.5\"/>\n"
       "<text x=\"4\" y=\"24\">1e-09</text><text x=\"4\" y=\"290\">0 CPUs</text>\n"
       "<text x=\"50\" y=\"330\" fill=\"#c0504d\">grid, top 1 g/kWh</text><text x=\"250\" y="
       "\"330\" fill=\"#35679a\">reserved</text><text x=\"350\" y=\"330\" fill=\"#3c8a41\">d"
       "eferred, as run (now)</text><text x=\"550\" y=\"330\">received (dashed), 1 hours</te"
       "xt>\n"
       "</svg>\n");
    b.n = 0;
    c.hours = 360;
    c.intensity_start_s = c.start_s; /* a fortnight at most */
    r.steps_count = 360 * SIM_STEPS;
    assert_true(sim_svg(&c, &r, 400, &b));
    buf_put_u8(&b, 0);
    assert_non_null(strstr((char *)b.p, "received (dashed), 336 hours<"));
}

static against_result compared(void)
{
    against_result r = {.break_even = 0.5};
    r.row[HOST_ALWAYS_ON] = (against_row){.cpu_s = 1000,
                                          .instance_s = 2000,
                                          .joules = 7.2e6,
                                          .operational_g = 600,
                                          .embodied_g = 1500,
                                          .need = 1.25,
                                          .fleet_g = 2500,
                                          .machines = 2,
                                          .p99_added_s = 0.25,
                                          .utilisation_pct = 12.5,
                                          .calls = 100};
    r.row[HOST_EBB] = (against_row){.cpu_s = 1300,
                                    .instance_s = 40,
                                    .joules = 3.6e6,
                                    .operational_g = 300,
                                    .embodied_g = 750,
                                    .need = 0.125,
                                    .fleet_g = 250,
                                    .machines = 1,
                                    .cold_apps = 0.0625,
                                    .cold_share = 0.5,
                                    .p99_added_s = 0.03,
                                    .utilisation_pct = 25,
                                    .calls = 101};
    return r;
}

static void hosts_table(void **state)
{
    against_config c = against_defaults();
    against_result r = compared();
    assert_true(against_table(&c, &r, 1u << HOST_ALWAYS_ON | 1u << HOST_EBB, &b));
    is("host        servers fleet kg  machines        kWh operat. kg embod. kg   util % cold"
       " apps   p99 + ms\n"
       "always-on      1.25      2.5         2          2        0.6       1.5    12.50     "
       " 0.0%        250\n"
       "ebb            0.12     0.25         1          1        0.3      0.75    25.00     "
       " 6.2%         30\n"
       "servers: of a shared fleet, exactly, with its grams; machines: whole ones, alone, wi"
       "th theirs\n"
       "break-even: an app that keeps a whole server more than 50 % busy, all day, has fewer"
       " grams always on (ebb's code needs 1.3 x the CPU)\n");
    b.n = 0;
    r.break_even = 1.25;
    assert_true(against_table(&c, &r, 1u << HOST_EBB, &b));
    is("host        servers fleet kg  machines        kWh operat. kg embod. kg   util % cold"
       " apps   p99 + ms\n"
       "ebb            0.12     0.25         1          1        0.3      0.75    25.00     "
       " 6.2%         30\n"
       "servers: of a shared fleet, exactly, with its grams; machines: whole ones, alone, wi"
       "th theirs\n"
       "break-even: none; even a full server always on has more grams\n");
    b.n = 0;
    r.break_even = 1; /* just a whole server */
    assert_true(against_table(&c, &r, 0, &b));
    buf_put_u8(&b, 0);
    assert_non_null(strstr((char *)b.p, "more than 100 % busy"));
}

static void hosts_json(void **state)
{
    against_config c = against_defaults();
    against_result r = compared();
    assert_true(against_json(&c, &r, 1u << HOST_ALWAYS_ON | 1u << HOST_EBB, &b));
    is("{\"intensity_g_per_kwh\":300,\"server_cpus\":96,\"code_factor\":1.3,\"break_even_uti"
       "lisation\":0.5,\"hosts\":[{\"host\":\"always-on\",\"calls\":100,\"need\":1.25,\"flee"
       "t_g\":2500,\"machines\":2,\"joules\":7200000,\"operational_g\":600,\"embodied_g\":15"
       "00,\"cpu_s\":1000,\"instance_s\":2000,\"utilisation_pct\":12.5,\"cold_share\":0,\"co"
       "ld_apps\":0,\"p99_added_s\":0.25},{\"host\":\"ebb\",\"calls\":101,\"need\":0.125,\"f"
       "leet_g\":250,\"machines\":1,\"joules\":3600000,\"operational_g\":300,\"embodied_g\":"
       "750,\"cpu_s\":1300,\"instance_s\":40,\"utilisation_pct\":25,\"cold_share\":0.5,\"col"
       "d_apps\":0.0625,\"p99_added_s\":0.03}]}\n");
    b.n = 0;
    r.break_even = INFINITY;
    assert_true(against_json(&c, &r, 1u << HOST_EBB, &b));
    is("{\"intensity_g_per_kwh\":300,\"server_cpus\":96,\"code_factor\":1.3,\"break_even_uti"
       "lisation\":null,\"hosts\":[{\"host\":\"ebb\",\"calls\":101,\"need\":0.125,\"fleet_g"
       "\":250,\"machines\":1,\"joules\":3600000,\"operational_g\":300,\"embodied_g\":750,\""
       "cpu_s\":1300,\"instance_s\":40,\"utilisation_pct\":25,\"cold_share\":0.5,\"cold_apps"
       "\":0.0625,\"p99_added_s\":0.03}]}\n");
}

static void steps(void **state)
{
    sim_config c = config();
    sim_result r = {.steps = step, .steps_count = 2};
    step[0] = (sim_step){1.5, 0.5, 0.25};
    step[1] = (sim_step){2, 1, 3};
    assert_true(sim_steps(&c, &r, &b));
    is("time,received,reserved,deferred\n1970-01-05T00:00:00Z,1.5,0.5,0.25\n"
       "1970-01-05T00:05:00Z,2,1,3\n");
}

/* A text that is too long for its buffer is no text. */
static void no_room(void **state)
{
    sim_config c = config();
    sim_result r = ours();
    against_config hosts = against_defaults();
    against_result h = compared();
    c.hours = 1;
    c.intensity = grid;
    c.intensity_start_s = c.start_s;
    r.steps = step;
    r.steps_count = 12;
    buf small;
    for (int form = 0; form < 6; form++) {
        buf_init(&small, 20);
        assert_false(form == 0   ? sim_table(&c, &r, 1, &small)
                     : form == 1 ? sim_json(&c, &r, 1, NULL, &small)
                     : form == 2 ? sim_svg(&c, &r, 1, &small)
                     : form == 3 ? against_table(&hosts, &h, 1, &small)
                     : form == 4 ? against_json(&hosts, &h, 1, &small)
                                 : sim_steps(&c, &r, &small));
        buf_fini(&small);
    }
}

static void names(void **state)
{
    static const char *const policy[] = {"now", "yesterday", "profile", "ours", "clairvoyant"};
    static const char *const method[] = {"limit", "borg-default", "n-sigma", "rc-like", "max"};
    static const char *const host[] = {"always-on", "container", "microvm", "ebb"};
    for (int i = 0; i < 5; i++) {
        assert_string_equal(sim_policy_name((sim_policy)i), policy[i]);
        assert_string_equal(peak_method_name((peak_method)i), method[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_string_equal(host_kind_name((host_kind)i), host[i]);
    assert_string_equal(sim_policy_name((sim_policy)5), "?");
    assert_string_equal(peak_method_name((peak_method)5), "?");
    assert_string_equal(host_kind_name((host_kind)4), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(table, setup, clear),
        cmocka_unit_test_setup_teardown(table_of_little, setup, clear),
        cmocka_unit_test_setup_teardown(json, setup, clear),
        cmocka_unit_test_setup_teardown(json_of_little, setup, clear),
        cmocka_unit_test_setup_teardown(picture, setup, clear),
        cmocka_unit_test_setup_teardown(hosts_table, setup, clear),
        cmocka_unit_test_setup_teardown(hosts_json, setup, clear),
        cmocka_unit_test_setup_teardown(steps, setup, clear),
        cmocka_unit_test(no_room),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
