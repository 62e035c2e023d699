/* See report.h. The writers build text directly: the shapes are small, fixed and documented, and
 * the numbers must come out the same on every machine (%.10g: more than any of them is worth). */
#include "carbon/report.h"

#include "carbon/when.h"

#include <math.h>

sci report_sci(const ledger_row *r)
{
    return (sci){(r->dynamic_j + r->idle_j) / 3.6e6, r->operational_g, r->embodied_g,
                 (double)r->used.calls, "request"};
}

const char *report_boundary(void)
{
    return "the node's hardware at its wall plug (times PUE where set) and every process on it: "
           "apps, platform, the rest; idle energy and embodied carbon included; clients, networks "
           "beyond the node and remote back-ends excluded (the latter listed beside)";
}

const char *report_method(void)
{
    return "SCI 1.1, ((E x I) + M) per R. E: dynamic energy by CPU time, idle energy by "
           "responsibility for the day's peak (airport game over hours, then by CPU time). I: "
           "location-based, hour by hour. M: LCA figure over its life, shared as idle energy is. "
           "No offsets, certificates or contracts";
}

bool put_json_text(buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            buf_printf(b, "\\u%04x", c);
        else
            buf_put_u8(b, c);
    }
    return !b->failed;
}

bool put_label_text(buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\n')
            buf_put_str(b, S("\\n"));
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else
            buf_put_u8(b, (uint8_t)c);
    }
    return !b->failed;
}

bool put_html_text(buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '&')
            buf_put_str(b, S("&amp;"));
        else if (c == '<')
            buf_put_str(b, S("&lt;"));
        else if (c == '>')
            buf_put_str(b, S("&gt;"));
        else if (c == '"')
            buf_put_str(b, S("&quot;"));
        else
            buf_put_u8(b, (uint8_t)c);
    }
    return !b->failed;
}

static void json_str(buf *b, const char *key, str v)
{
    buf_printf(b, "\"%s\":\"", key);
    put_json_text(b, v);
    buf_put_u8(b, '"');
}

static void json_num(buf *b, const char *key, double v)
{
    if (isfinite(v))
        buf_printf(b, "\"%s\":%.10g", key, v);
    else
        buf_printf(b, "\"%s\":null", key);
}

static void json_row(buf *b, const ledger_row *r)
{
    sci s = report_sci(r);
    double score = (double)NAN;
    sci_score(&s, &score, NULL);
    buf_printf(b, "\"calls\":%llu,", (unsigned long long)r->used.calls);
    json_num(b, "cpu_s", (double)r->used.cpu_ns / 1e9);
    buf_put_u8(b, ',');
    json_num(b, "wall_s", (double)r->used.wall_ns / 1e9);
    buf_printf(b, ",\"bytes_in\":%llu,\"bytes_out\":%llu,\"memory_peak_bytes\":%llu,",
               (unsigned long long)r->used.bytes_in, (unsigned long long)r->used.bytes_out,
               (unsigned long long)r->used.memory_peak_bytes);
    json_num(b, "dynamic_j", r->dynamic_j);
    buf_put_u8(b, ',');
    json_num(b, "idle_share_j", r->idle_j);
    buf_put_str(b, S(",\"sci\":{"));
    json_num(b, "E_kwh", s.energy_kwh);
    buf_put_u8(b, ',');
    json_num(b, "I_g_per_kwh", sci_intensity(&s));
    buf_put_u8(b, ',');
    json_num(b, "operational_g", s.operational_g);
    buf_put_u8(b, ',');
    json_num(b, "M_g", s.embodied_g);
    buf_put_u8(b, ',');
    json_num(b, "R", s.units);
    buf_put_str(b, S(",\"unit\":\"request\","));
    json_num(b, "g_per_unit", score);
    buf_put_u8(b, '}');
}

static void json_saving(buf *b, const saving *s)
{
    buf_printf(b,
               "{\"calls\":%llu,\"calls_unknown\":%llu,\"calls_worse\":%llu,"
               "\"baseline_g\":%.10g,\"actual_g\":%.10g,\"saved_g\":%.10g,\"mean_delay_s\":%.10g}",
               (unsigned long long)s->calls, (unsigned long long)s->calls_unknown,
               (unsigned long long)s->calls_worse, s->baseline_g, s->actual_g, saving_g(s),
               s->calls ? s->delay_s / (double)s->calls : 0);
}

static void json_span(buf *b, const carbon_report *r)
{
    buf_put_str(b, S("\"from\":\""));
    when_put(b, r->from_s);
    buf_put_str(b, S("\",\"to\":\""));
    when_put(b, r->to_s);
    buf_put_str(b, S("\","));
    json_str(b, "node", r->node);
    buf_put_u8(b, ',');
    json_str(b, "zone", r->zone);
    buf_put_str(b, S(",\"intensity\":{"));
    json_str(b, "source", r->source);
    buf_printf(b, ",\"kind\":\"%s\",\"basis\":\"%s\",\"hours\":{", intensity_kind_name(r->kind),
               intensity_basis_name(r->basis));
    for (int q = 0; q <= INTENSITY_ASSUMED; q++)
        buf_printf(b, "%s\"%s\":%zu", q ? "," : "", intensity_quality_name((intensity_quality)q),
                   r->hours_by_quality[q]);
    buf_printf(b,
               "}},\"power\":{\"source\":\"%s\",\"idle_w\":%.10g,\"busy_w_per_cpu\":%.10g,"
               "\"pue\":%.10g,\"uncertainty\":%.3g,\"fitted_to_samples\":%u},\"embodied\":{"
               "\"server_kg\":%.10g,"
               "\"life_s\":%.10g},\"capacity_cpus\":%.10g",
               power_source_name(r->power.source), r->power.idle_w, r->power.busy_w, r->power.pue,
               r->power.uncertainty, r->power.samples, r->server_kg, r->life_s, r->capacity_cpus);
}

bool report_json(const carbon_report *r, buf *b)
{
    buf_put_u8(b, '{');
    json_span(b, r);
    buf_printf(b, ",\"boundary\":\"%s\",\"method\":\"%s\",", report_boundary(), report_method());
    buf_printf(b,
               "\"total\":{\"node_j\":%.10g,\"idle_unallocated_j\":%.10g,\"operational_g\":%.10g,"
               "\"operational_unallocated_g\":%.10g,\"embodied_g\":%.10g,"
               "\"embodied_unallocated_g\":%.10g},",
               r->total.node_j, r->total.idle_unallocated_j, r->total.operational_g,
               r->total.operational_unallocated_g, r->total.embodied_g,
               r->total.embodied_unallocated_g);
    buf_put_str(b, S("\"platform\":{"));
    json_row(b, &r->platform);
    buf_put_str(b, S("},\"other\":{"));
    json_row(b, &r->other);
    buf_put_str(b, S("},\"saving\":"));
    json_saving(b, &r->saved);
    buf_put_str(b, S(",\"apps\":["));
    for (size_t i = 0; i < r->rows_count; i++) {
        buf_put_str(b, i ? S(",{") : S("{"));
        json_str(b, "app", r->rows[i].app);
        buf_put_u8(b, ',');
        json_row(b, &r->rows[i].sum);
        buf_put_str(b, S(",\"saving\":"));
        json_saving(b, &r->rows[i].saved);
        buf_put_u8(b, '}');
    }
    buf_put_str(b, S("],\"remote\":["));
    for (size_t i = 0; i < r->remotes_count; i++) {
        const report_remote *m = &r->remotes[i];
        double j = m->units * m->j_per_unit;
        buf_put_str(b, i ? S(",{") : S("{"));
        json_str(b, "app", m->app);
        buf_put_u8(b, ',');
        json_str(b, "name", m->name);
        buf_put_u8(b, ',');
        json_str(b, "zone", m->zone);
        buf_put_u8(b, ',');
        json_str(b, "unit", m->unit);
        buf_printf(b,
                   ",\"units\":%.10g,\"declared_j\":%.10g,\"declared_g\":%.10g,"
                   "\"heat_reused_share\":%.10g}",
                   m->units, j, j / 3.6e6 * m->intensity_g_per_kwh, m->heat_reused_share);
    }
    buf_put_str(b, S("]}\n"));
    return !b->failed;
}

static void metric(buf *b, const carbon_report *r, const char *name, const char *help,
                   const char *type, double (*of)(const ledger_row *))
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    for (size_t i = 0; i < r->rows_count; i++) {
        buf_printf(b, "%s{app=\"", name);
        put_label_text(b, r->rows[i].app);
        buf_printf(b, "\"} %.10g\n", of(&r->rows[i].sum));
    }
    buf_printf(b, "%s{app=\"\",row=\"platform\"} %.10g\n", name, of(&r->platform));
    buf_printf(b, "%s{app=\"\",row=\"other\"} %.10g\n", name, of(&r->other));
}

static double of_cpu(const ledger_row *r) { return (double)r->used.cpu_ns / 1e9; }
static double of_calls(const ledger_row *r) { return (double)r->used.calls; }
static double of_dynamic(const ledger_row *r) { return r->dynamic_j; }
static double of_idle(const ledger_row *r) { return r->idle_j; }
static double of_operational(const ledger_row *r) { return r->operational_g; }
static double of_embodied(const ledger_row *r) { return r->embodied_g; }

bool report_prometheus(const carbon_report *r, buf *b)
{
    metric(b, r, "ebb_calls_total", "Calls served.", "counter", of_calls);
    metric(b, r, "ebb_cpu_seconds_total", "CPU time booked.", "counter", of_cpu);
    metric(b, r, "ebb_energy_dynamic_joules_total", "Dynamic energy.", "counter", of_dynamic);
    metric(b, r, "ebb_energy_idle_joules_total", "Share of idle energy.", "counter", of_idle);
    metric(b, r, "ebb_carbon_operational_grams_total", "E x I.", "counter", of_operational);
    metric(b, r, "ebb_carbon_embodied_grams_total", "M.", "counter", of_embodied);
    buf_printf(b,
               "# HELP ebb_energy_unallocated_joules_total Idle energy nobody needed.\n"
               "# TYPE ebb_energy_unallocated_joules_total counter\n"
               "ebb_energy_unallocated_joules_total %.10g\n"
               "# HELP ebb_energy_node_joules_total Energy of the node.\n"
               "# TYPE ebb_energy_node_joules_total counter\nebb_energy_node_joules_total %.10g\n",
               r->total.idle_unallocated_j, r->total.node_j);
    if (r->total.node_j > 0) {
        buf_put_str(b, S("# HELP grid_intensity_carbon_average Mean over the span, g/kWh.\n"
                         "# TYPE grid_intensity_carbon_average gauge\n"
                         "grid_intensity_carbon_average{provider=\""));
        put_label_text(b, r->source);
        buf_put_str(b, S("\",location=\""));
        put_label_text(b, r->zone);
        buf_printf(b, "\",units=\"gCO2e per kWh\"} %.10g\n",
                   r->total.operational_g / (r->total.node_j / 3.6e6));
    }
    return !b->failed;
}

static void yaml_str(buf *b, str s)
{
    buf_put_u8(b, '"');
    put_json_text(b, s); /* YAML 1.2 double quotes take JSON's escapes */
    buf_put_u8(b, '"');
}

static void manifest_child(buf *b, const carbon_report *r, str name, const ledger_row *row)
{
    sci s = report_sci(row);
    buf_put_str(b, S("    "));
    yaml_str(b, name);
    buf_put_str(b, S(":\n      pipeline:\n        compute: [sum-carbon, sci]\n      inputs:\n"
                     "        - timestamp: \""));
    when_put(b, r->from_s);
    buf_printf(b,
               "\"\n          duration: %lld\n          energy: %.10g\n"
               "          grid/carbon-intensity: %.10g\n          carbon-operational: %.10g\n"
               "          embodied-carbon: %.10g\n          requests: %llu\n",
               (long long)(r->to_s - r->from_s), s.energy_kwh, sci_intensity(&s), s.operational_g,
               s.embodied_g, (unsigned long long)row->used.calls);
}

bool report_manifest(const carbon_report *r, buf *b)
{
    buf_put_str(b, S("name: ebb carbon report\ndescription: "));
    yaml_str(b, str_from(report_method()));
    buf_put_str(b, S("\ntags: null\naggregation:\n  metrics: [carbon]\n  type: horizontal\n"
                     "initialize:\n  plugins:\n    sum-carbon:\n      path: builtin\n"
                     "      method: Sum\n      config:\n        input-parameters:\n"
                     "          - carbon-operational\n          - embodied-carbon\n"
                     "        output-parameter: carbon\n    sci:\n      path: builtin\n"
                     "      method: Sci\n      config:\n        functional-unit: requests\n"
                     "tree:\n  children:\n"));
    for (size_t i = 0; i < r->rows_count; i++)
        manifest_child(b, r, r->rows[i].app, &r->rows[i].sum);
    manifest_child(b, r, S("ebb: platform"), &r->platform);
    manifest_child(b, r, S("ebb: other processes"), &r->other);
    ledger_row rest = {.idle_j = r->total.idle_unallocated_j,
                       .operational_g = r->total.operational_unallocated_g,
                       .embodied_g = r->total.embodied_unallocated_g};
    manifest_child(b, r, S("ebb: unallocated"), &rest);
    return !b->failed;
}

bool report_as(str format, const carbon_report *r, buf *out, err *e)
{
    static const struct {
        const char *name;
        bool (*put)(const carbon_report *r, buf *out);
    } forms[] = {{"json", report_json},
                 {"prometheus", report_prometheus},
                 {"manifest", report_manifest},
                 {"html", report_html}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (str_eq(format, str_from(forms[i].name)))
            return forms[i].put(r, out) ||
                   err_set(e, ERR_LIMIT, "the report has more than %zu bytes", out->max);
    return err_set(e, ERR_INVALID, "format '%.*s': json, prometheus, manifest or html",
                   STR(format));
}
