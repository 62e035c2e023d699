/* The report's forms, whole: each text is written from what the formats say of one report made by
 * hand, every field with a figure of its own; names hold what each form has to escape. */
#include "unit.h"

#include "near.h"

#include "carbon/report.h"

#include <string.h>

static buf b;

static int setup(void **state)
{
    buf_init(&b, 1 << 16);
    return 0;
}

static int clear(void **state)
{
    buf_fini(&b);
    return 0;
}

static void is_from(size_t from, const char *want)
{
    size_t n = strlen(want);
    for (size_t i = 0; i < n && from + i < b.n; i++)
        if (want[i] != (char)b.p[from + i])
            fail_msg("from byte %zu on: '%.60s', not '%.60s'", i, (const char *)b.p + from + i,
                     want + i);
    assert_int_equal(b.n - from, n);
}

static carbon_report made(void)
{
    static const report_row rows[] = {
        {.app = S("shop</td>"),
         .sum = {.used = {1000, 5000000000u, 9000000000u, 10, 20, 4096},
                 .dynamic_j = 12.5e6,
                 .idle_j = 7.5e6,
                 .operational_g = 500,
                 .embodied_g = 250},
         .saved = {.calls = 10,
                   .calls_unknown = 1,
                   .calls_worse = 2,
                   .baseline_g = 5,
                   .actual_g = 3,
                   .delay_s = 36000}},
        {.app = S("idle")}};
    static const report_remote remotes[] = {
        {S("shop"), S("llm"), S("FR"), 1000, S("token"), 7.2, 50, 0.4},
        {S("idle"), S("db"), S("DE"), 2, S("call"), 3, 300, 0}};
    carbon_report r = {.from_s = 1640995200,
                       .to_s = 1641081600,
                       .node = S("n\"1"),
                       .zone = S("E\\S"),
                       .source = S("c\001v "),
                       .kind = INTENSITY_MARGINAL,
                       .basis = INTENSITY_LIFECYCLE,
                       .power = {5.2, 2.5, 8, 1.25, POWER_RAPL, 0.35, 0},
                       .server_kg = SCI_SERVER_KG,
                       .life_s = SCI_SERVER_LIFE_S,
                       .capacity_cpus = 8,
                       .rows = rows,
                       .rows_count = 2,
                       .remotes = remotes,
                       .remotes_count = 2};
    r.hours_by_quality[INTENSITY_MEASURED] = 20;
    r.hours_by_quality[INTENSITY_FILLED] = 3;
    r.hours_by_quality[INTENSITY_ASSUMED] = 1;
    r.platform = (ledger_row){.used = {3, 2500000000u, 1000000000u, 30, 40, 50},
                              .dynamic_j = 1e6,
                              .idle_j = 0.25e6,
                              .operational_g = 60,
                              .embodied_g = 70};
    r.other = (ledger_row){.used = {.cpu_ns = 7500000000u},
                           .dynamic_j = 2e6,
                           .idle_j = 0.5e6,
                           .operational_g = 80,
                           .embodied_g = 90};
    r.saved = (saving){.calls = 12,
                       .calls_unknown = 3,
                       .calls_worse = 4,
                       .baseline_g = 50,
                       .actual_g = 30,
                       .delay_s = 43200};
    r.total = (ledger_day){.node_j = 36e6,
                           .idle_unallocated_j = 12.25e6,
                           .embodied_g = 2000,
                           .embodied_unallocated_g = 1590,
                           .operational_g = 3000,
                           .operational_unallocated_g = 2360,
                           .rows = 2};
    return r;
}

static void json(void **state)
{
    carbon_report r = made();
    assert_true(report_as(S("json"), &r, &b, NULL));
    is_from(0,
            "{\"from\":\"2022-01-01T00:00:00Z\",\"to\":\"2022-01-02T00:00:00Z\",\"node\":\"n\\\"1"
            "\",\"zone\":\"E\\\\S\",\"intensity\":{\"source\":\"c\\u0001v \",\"kind\":\"marginal"
            "\",\"basis\":\"lifecycle\",\"hours\":{\"measured\":20,\"forecast\":0,\"filled\":3,\""
            "yearly\":0,\"assumed\":1}},\"power\":{\"source\":\"rapl\",\"idle_w\":5.2,\"busy_w_pe"
            "r_cpu\":2.5,\"pue\":1.25,\"uncertainty\":0.35,\"fitted_to_samples\":0},\"embodied\":"
            "{\"server_kg\":1215,\"life_s\":126144000},\"capacity_cpus\":8,\"boundary\":\"the nod"
            "e's hardware at its wall plug (times PUE where set) and every process on it: apps, p"
            "latform, the rest; idle energy and embodied carbon included; clients, networks beyon"
            "d the node and remote back-ends excluded (the latter listed beside)\",\"method\":\"S"
            "CI 1.1, ((E x I) + M) per R. E: dynamic energy by CPU time, idle energy by responsib"
            "ility for the day's peak (airport game over hours, then by CPU time). I: location-ba"
            "sed, hour by hour. M: LCA figure over its life, shared as idle energy is. No offsets"
            ", certificates or contracts\",\"total\":{\"node_j\":36000000,\"idle_unallocated_j\":"
            "12250000,\"operational_g\":3000,\"operational_unallocated_g\":2360,\"embodied_g\":20"
            "00,\"embodied_unallocated_g\":1590},\"platform\":{\"calls\":3,\"cpu_s\":2.5,\"wall_s"
            "\":1,\"bytes_in\":30,\"bytes_out\":40,\"memory_peak_bytes\":50,\"dynamic_j\":1000000"
            ",\"idle_share_j\":250000,\"sci\":{\"E_kwh\":0.3472222222,\"I_g_per_kwh\":172.8,\"ope"
            "rational_g\":60,\"M_g\":70,\"R\":3,\"unit\":\"request\",\"g_per_unit\":43.33333333}}"
            ",\"other\":{\"calls\":0,\"cpu_s\":7.5,\"wall_s\":0,\"bytes_in\":0,\"bytes_out\":0,\""
            "memory_peak_bytes\":0,\"dynamic_j\":2000000,\"idle_share_j\":500000,\"sci\":{\"E_kwh"
            "\":0.6944444444,\"I_g_per_kwh\":115.2,\"operational_g\":80,\"M_g\":90,\"R\":0,\"unit"
            "\":\"request\",\"g_per_unit\":null}},\"saving\":{\"calls\":12,\"calls_unknown\":3,\""
            "calls_worse\":4,\"baseline_g\":50,\"actual_g\":30,\"saved_g\":20,\"mean_delay_s\":36"
            "00},\"apps\":[{\"app\":\"shop</td>\",\"calls\":1000,\"cpu_s\":5,\"wall_s\":9,\"bytes"
            "_in\":10,\"bytes_out\":20,\"memory_peak_bytes\":4096,\"dynamic_j\":12500000,\"idle_s"
            "hare_j\":7500000,\"sci\":{\"E_kwh\":5.555555556,\"I_g_per_kwh\":90,\"operational_g\""
            ":500,\"M_g\":250,\"R\":1000,\"unit\":\"request\",\"g_per_unit\":0.75},\"saving\":{\""
            "calls\":10,\"calls_unknown\":1,\"calls_worse\":2,\"baseline_g\":5,\"actual_g\":3,\"s"
            "aved_g\":2,\"mean_delay_s\":3600}},{\"app\":\"idle\",\"calls\":0,\"cpu_s\":0,\"wall_"
            "s\":0,\"bytes_in\":0,\"bytes_out\":0,\"memory_peak_bytes\":0,\"dynamic_j\":0,\"idle_"
            "share_j\":0,\"sci\":{\"E_kwh\":0,\"I_g_per_kwh\":0,\"operational_g\":0,\"M_g\":0,\"R"
            "\":0,\"unit\":\"request\",\"g_per_unit\":null},\"saving\":{\"calls\":0,\"calls_unkno"
            "wn\":0,\"calls_worse\":0,\"baseline_g\":0,\"actual_g\":0,\"saved_g\":0,\"mean_delay_"
            "s\":0}}],\"remote\":[{\"app\":\"shop\",\"name\":\"llm\",\"zone\":\"FR\",\"unit\":\"t"
            "oken\",\"units\":1000,\"declared_j\":7200,\"declared_g\":0.1,\"heat_reused_share\":0"
            ".4},{\"app\":\"idle\",\"name\":\"db\",\"zone\":\"DE\",\"unit\":\"call\",\"units\":2,"
            "\"declared_j\":6,\"declared_g\":0.0005,\"heat_reused_share\":0}]}\n");
}

static void prometheus(void **state)
{
    carbon_report r = made();
    assert_true(report_as(S("prometheus"), &r, &b, NULL));
    is_from(
        0, "# HELP ebb_calls_total Calls served.\n"
           "# TYPE ebb_calls_total counter\n"
           "ebb_calls_total{app=\"shop</td>\"} 1000\n"
           "ebb_calls_total{app=\"idle\"} 0\n"
           "ebb_calls_total{app=\"\",row=\"platform\"} 3\n"
           "ebb_calls_total{app=\"\",row=\"other\"} 0\n"
           "# HELP ebb_cpu_seconds_total CPU time booked.\n"
           "# TYPE ebb_cpu_seconds_total counter\n"
           "ebb_cpu_seconds_total{app=\"shop</td>\"} 5\n"
           "ebb_cpu_seconds_total{app=\"idle\"} 0\n"
           "ebb_cpu_seconds_total{app=\"\",row=\"platform\"} 2.5\n"
           "ebb_cpu_seconds_total{app=\"\",row=\"other\"} 7.5\n"
           "# HELP ebb_energy_dynamic_joules_total Dynamic energy.\n"
           "# TYPE ebb_energy_dynamic_joules_total counter\n"
           "ebb_energy_dynamic_joules_total{app=\"shop</td>\"} 12500000\n"
           "ebb_energy_dynamic_joules_total{app=\"idle\"} 0\n"
           "ebb_energy_dynamic_joules_total{app=\"\",row=\"platform\"} 1000000\n"
           "ebb_energy_dynamic_joules_total{app=\"\",row=\"other\"} 2000000\n"
           "# HELP ebb_energy_idle_joules_total Share of idle energy.\n"
           "# TYPE ebb_energy_idle_joules_total counter\n"
           "ebb_energy_idle_joules_total{app=\"shop</td>\"} 7500000\n"
           "ebb_energy_idle_joules_total{app=\"idle\"} 0\n"
           "ebb_energy_idle_joules_total{app=\"\",row=\"platform\"} 250000\n"
           "ebb_energy_idle_joules_total{app=\"\",row=\"other\"} 500000\n"
           "# HELP ebb_carbon_operational_grams_total E x I.\n"
           "# TYPE ebb_carbon_operational_grams_total counter\n"
           "ebb_carbon_operational_grams_total{app=\"shop</td>\"} 500\n"
           "ebb_carbon_operational_grams_total{app=\"idle\"} 0\n"
           "ebb_carbon_operational_grams_total{app=\"\",row=\"platform\"} 60\n"
           "ebb_carbon_operational_grams_total{app=\"\",row=\"other\"} 80\n"
           "# HELP ebb_carbon_embodied_grams_total M.\n"
           "# TYPE ebb_carbon_embodied_grams_total counter\n"
           "ebb_carbon_embodied_grams_total{app=\"shop</td>\"} 250\n"
           "ebb_carbon_embodied_grams_total{app=\"idle\"} 0\n"
           "ebb_carbon_embodied_grams_total{app=\"\",row=\"platform\"} 70\n"
           "ebb_carbon_embodied_grams_total{app=\"\",row=\"other\"} 90\n"
           "# HELP ebb_energy_unallocated_joules_total Idle energy nobody needed.\n"
           "# TYPE ebb_energy_unallocated_joules_total counter\n"
           "ebb_energy_unallocated_joules_total 12250000\n"
           "# HELP ebb_energy_node_joules_total Energy of the node.\n"
           "# TYPE ebb_energy_node_joules_total counter\n"
           "ebb_energy_node_joules_total 36000000\n"
           "# HELP grid_intensity_carbon_average Mean over the span, g/kWh.\n"
           "# TYPE grid_intensity_carbon_average gauge\n"
           "grid_intensity_carbon_average{provider=\"c\001v \",location=\"E\\\\S\",units=\"gCO2e pe"
           "r kWh\"} 300\n");
    buf_clear(&b);
    r.total.node_j = 0; /* no energy, no mean */
    assert_true(report_prometheus(&r, &b));
    buf_put_u8(&b, 0);
    assert_null(strstr((char *)b.p, "grid_intensity"));
}

static void manifest(void **state)
{
    carbon_report r = made();
    assert_true(report_as(S("manifest"), &r, &b, NULL));
    is_from(0,
            "name: ebb carbon report\n"
            "description: \"SCI 1.1, ((E x I) + M) per R. E: dynamic energy by CPU time, idle ene"
            "rgy by responsibility for the day's peak (airport game over hours, then by CPU time)"
            ". I: location-based, hour by hour. M: LCA figure over its life, shared as idle energ"
            "y is. No offsets, certificates or contracts\"\n"
            "tags: null\n"
            "aggregation:\n"
            "  metrics: [carbon]\n"
            "  type: horizontal\n"
            "initialize:\n"
            "  plugins:\n"
            "    sum-carbon:\n"
            "      path: builtin\n"
            "      method: Sum\n"
            "      config:\n"
            "        input-parameters:\n"
            "          - carbon-operational\n"
            "          - embodied-carbon\n"
            "        output-parameter: carbon\n"
            "    sci:\n"
            "      path: builtin\n"
            "      method: Sci\n"
            "      config:\n"
            "        functional-unit: requests\n"
            "tree:\n"
            "  children:\n"
            "    \"shop</td>\":\n"
            "      pipeline:\n"
            "        compute: [sum-carbon, sci]\n"
            "      inputs:\n"
            "        - timestamp: \"2022-01-01T00:00:00Z\"\n"
            "          duration: 86400\n"
            "          energy: 5.555555556\n"
            "          grid/carbon-intensity: 90\n"
            "          carbon-operational: 500\n"
            "          embodied-carbon: 250\n"
            "          requests: 1000\n"
            "    \"idle\":\n"
            "      pipeline:\n"
            "        compute: [sum-carbon, sci]\n"
            "      inputs:\n"
            "        - timestamp: \"2022-01-01T00:00:00Z\"\n"
            "          duration: 86400\n"
            "          energy: 0\n"
            "          grid/carbon-intensity: 0\n"
            "          carbon-operational: 0\n"
            "          embodied-carbon: 0\n"
            "          requests: 0\n"
            "    \"ebb: platform\":\n"
            "      pipeline:\n"
            "        compute: [sum-carbon, sci]\n"
            "      inputs:\n"
            "        - timestamp: \"2022-01-01T00:00:00Z\"\n"
            "          duration: 86400\n"
            "          energy: 0.3472222222\n"
            "          grid/carbon-intensity: 172.8\n"
            "          carbon-operational: 60\n"
            "          embodied-carbon: 70\n"
            "          requests: 3\n"
            "    \"ebb: other processes\":\n"
            "      pipeline:\n"
            "        compute: [sum-carbon, sci]\n"
            "      inputs:\n"
            "        - timestamp: \"2022-01-01T00:00:00Z\"\n"
            "          duration: 86400\n"
            "          energy: 0.6944444444\n"
            "          grid/carbon-intensity: 115.2\n"
            "          carbon-operational: 80\n"
            "          embodied-carbon: 90\n"
            "          requests: 0\n"
            "    \"ebb: unallocated\":\n"
            "      pipeline:\n"
            "        compute: [sum-carbon, sci]\n"
            "      inputs:\n"
            "        - timestamp: \"2022-01-01T00:00:00Z\"\n"
            "          duration: 86400\n"
            "          energy: 3.402777778\n"
            "          grid/carbon-intensity: 693.5510204\n"
            "          carbon-operational: 2360\n"
            "          embodied-carbon: 1590\n"
            "          requests: 0\n");
}

static void html(void **state)
{
    carbon_report r = made();
    assert_true(report_as(S("html"), &r, &b, NULL));
    const char *end_of_head = "</style></head><body>\n", *at = memmem(b.p, b.n, end_of_head, 22);
    assert_non_null(at);
    assert_true(!memcmp(b.p, "<!doctype html>", 15) || !memcmp(b.p, "<!DOCTYPE html>", 15));
    is_from(
        (size_t)(at + 22 - (const char *)b.p),
        "<h1>Carbon report of n&quot;1</h1><p>2022-01-01T00:00:00Z to 2022-01-02T00:00:00Z</p"
        "><table><thead><tr><th>App</th><th>Calls (R)</th><th>CPU s</th><th>Dynamic J</th><th"
        ">Idle share J</th><th>E&times;I g</th><th>M g</th><th>Total g</th><th>SCI, mg per ca"
        "ll</th></tr></thead><tbody>\n"
        "<tr><td>shop&lt;/td&gt;</td><td>1000</td><td>5</td><td>1.25e+07</td><td>7.5e+06</td>"
        "<td>500</td><td>250</td><td>750</td><td>750</td></tr>\n"
        "<tr><td>idle</td><td>0</td><td>0</td><td>0</td><td>0</td><td>0</td><td>0</td><td>0</"
        "td><td>&ndash;</td></tr>\n"
        "<tr><td>(platform)</td><td>3</td><td>2.5</td><td>1e+06</td><td>2.5e+05</td><td>60</t"
        "d><td>70</td><td>130</td><td>4.333e+04</td></tr>\n"
        "<tr><td>(other processes)</td><td>0</td><td>7.5</td><td>2e+06</td><td>5e+05</td><td>"
        "80</td><td>90</td><td>170</td><td>&ndash;</td></tr>\n"
        "<tr><td>(unallocated: capacity nobody needed)</td><td>0</td><td>0</td><td>0</td><td>"
        "1.225e+07</td><td>2360</td><td>1590</td><td>3950</td><td>&ndash;</td></tr>\n"
        "</tbody><tfoot><tr><td>Node</td><td></td><td></td><td colspan=\"2\">3.6e+07</td><td>"
        "3000</td><td>2000</td><td>5000</td><td></td></tr></tfoot></table>\n"
        "<h2>Remote back-ends, as declared by their operators</h2><table><thead><tr><th>App</"
        "th><th>Back-end</th><th>Zone</th><th>Units</th><th>J</th><th>g</th><th>Heat reused</"
        "th></tr></thead><tbody>\n"
        "<tr><td>shop</td><td>llm</td><td>FR</td><td>1000 token</td><td>7200</td><td>0.1</td>"
        "<td>40 %</td></tr>\n"
        "<tr><td>idle</td><td>db</td><td>DE</td><td>2 call</td><td>6</td><td>0.0005</td><td>0"
        " %</td></tr>\n"
        "</tbody></table><p>Outside the boundary: not in the sums above, and reused heat is n"
        "ot subtracted from anything.</p>\n"
        "<h2>How these numbers come about</h2><dl><dt>Boundary</dt><dd>the node's hardware at"
        " its wall plug (times PUE where set) and every process on it: apps, platform, the re"
        "st; idle energy and embodied carbon included; clients, networks beyond the node and "
        "remote back-ends excluded (the latter listed beside)</dd><dt>Method</dt><dd>SCI 1.1,"
        " ((E x I) + M) per R. E: dynamic energy by CPU time, idle energy by responsibility f"
        "or the day's peak (airport game over hours, then by CPU time). I: location-based, ho"
        "ur by hour. M: LCA figure over its life, shared as idle energy is. No offsets, certi"
        "ficates or contracts</dd><dt>Power</dt><dd>source: rapl; 5.2 W idle + 2.5 J per CPU-"
        "second, PUE 1.25; one standard deviation &plusmn;35 %; not fitted yet: idle power is"
        " the settings'</dd><dt>Carbon intensity</dt><dd>zone E\\S, source c\001v , marginal, ba"
        "sis lifecycle; hours: 20 measured 3 filled 1 assumed</dd><dt>Embodied</dt><dd>1215 k"
        "g CO2e over 4 years; vendors' own figures for servers lie between 678 and 1693 kg</d"
        "d><dt>Savings</dt><dd>12 deferred calls: 30 g where running at once had been 50 g (t"
        "he same energy at the intensity that really came; 4 calls turned out dirtier, 3 have"
        " no measured intensity); mean delay 1 h. Not subtracted from any figure above</dd></"
        "dl>\n"
        "</body></html>\n");
}

/* What is said only where it is so. */
static void html_variants(void **state)
{
    static const struct {
        power_source source;
        unsigned samples;
        const char *said, *unsaid;
    } power[] = {
        {POWER_RAPL, 40, "&plusmn;35 %; fitted to 40 samples of what the counters said<",
         "not fitted"},
        {POWER_CALIBRATED, 40, "source: calibrated; ", "not fitted"},
        {POWER_MODEL, 0, "source: model; ", "fitted"},
    };
    for (size_t i = 0; i < 3; i++) {
        carbon_report r = made();
        r.power.source = power[i].source;
        r.power.samples = power[i].samples;
        r.remotes_count = 0;
        r.saved.calls = 0;
        buf_clear(&b);
        assert_true(report_html(&r, &b));
        buf_put_u8(&b, 0);
        assert_non_null(strstr((char *)b.p, power[i].said));
        assert_null(strstr((char *)b.p, power[i].unsaid));
        assert_null(strstr((char *)b.p, "Remote back-ends"));
        assert_non_null(strstr((char *)b.p, "mean delay 0 h"));
    }
}

static void escapes(void **state)
{
    static const str odd = S("a\"b\\c\n\x1f <&> \x7f");
    assert_true(put_json_text(&b, odd));
    is_from(0, "a\\\"b\\\\c\\u000a\\u001f <&> \x7f");
    buf_clear(&b);
    assert_true(put_label_text(&b, odd));
    is_from(0, "a\\\"b\\\\c\\n\x1f <&> \x7f");
    buf_clear(&b);
    assert_true(put_html_text(&b, odd));
    is_from(0, "a&quot;b\\c\n\x1f &lt;&amp;&gt; \x7f");
}

/* A form that nobody knows, and forms without room, say so. */
static void mistakes(void **state)
{
    static const str forms[] = {S("json"), S("prometheus"), S("manifest"), S("html")};
    carbon_report r = made();
    buf small;
    err e;
    assert_false(report_as(S("pdf"), &r, &b, &e));
    assert_non_null(strstr(e.text, "format 'pdf'"));
    assert_int_equal(b.n, 0);
    for (size_t i = 0; i < 4; i++) {
        buf_init(&small, 100);
        assert_false(report_as(forms[i], &r, &small, &e));
        assert_true(e.text[0] != 0);
        buf_fini(&small);
    }
    buf_init(&small, 2);
    assert_false(put_json_text(&small, S("abc")));
    buf_clear(&small);
    assert_false(put_label_text(&small, S("abc")));
    buf_clear(&small);
    assert_false(put_html_text(&small, S("abc")));
    buf_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json, setup, clear),
        cmocka_unit_test_setup_teardown(prometheus, setup, clear),
        cmocka_unit_test_setup_teardown(manifest, setup, clear),
        cmocka_unit_test_setup_teardown(html, setup, clear),
        cmocka_unit_test_setup_teardown(html_variants, setup, clear),
        cmocka_unit_test_setup_teardown(escapes, setup, clear),
        cmocka_unit_test_setup_teardown(mistakes, setup, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
