/* See sim_report.h. The picture is plain SVG without script or font, readable in light and dark:
 * stacked areas of what ran (reserved below, deferred above), a line of what was received, and the
 * grid's intensity as a line of its own scale. */
#include "sched/sim_report.h"

#include "carbon/when.h"

#include <math.h>

static const sim_result *find(const sim_result *r, size_t n, sim_policy p)
{
    for (size_t i = 0; i < n; i++)
        if (r[i].policy == p)
            return &r[i];
    return NULL;
}

static double share(const sim_result *r, const sim_result *all, size_t n)
{
    const sim_result *best = find(all, n, SIM_CLAIRVOYANT);
    return best ? sim_share_pct(r, best) : (double)NAN;
}

bool sim_table(const sim_config *c, const sim_result *r, size_t n, buf *b)
{
    buf_printf(b, "%-12s %10s %8s %8s %8s %8s %8s %7s %9s\n", "policy", "saved g", "saved %",
               "of best", "peak:tr.", "util %", "peak CPU", "late s", "delay h");
    for (size_t i = 0; i < n; i++) {
        const saving *s = &r[i].saved;
        double of_best = share(&r[i], r, n);
        buf_printf(b, "%-12s %10.4g %8.2f ", sim_policy_name(r[i].policy), saving_g(s),
                   saving_pct(s));
        if (isnan(of_best))
            buf_printf(b, "%8s ", "-");
        else
            buf_printf(b, "%8.1f ", of_best);
        buf_printf(b, "%8.3g %8.1f %8.3g %7.3g %9.2f\n", r[i].executed_ratio, r[i].utilisation_pct,
                   r[i].peak_cpus, r[i].late_cpu_s,
                   s->calls ? s->delay_s / (double)s->calls / 3600 : 0);
    }
    if (n && c->ledger)
        buf_printf(b,
                   "node: %.4g kWh, %.4g kg operational, %.4g kg embodied; %.1f %% of the energy "
                   "unallocated; rows sum to the node within %.1e\n",
                   r[0].node_j / 3.6e6, r[0].operational_g / 1000, r[0].embodied_g / 1000,
                   r[0].node_j > 0 ? 100 * r[0].idle_unallocated_j / r[0].node_j : 0,
                   r[0].conservation);
    if (n && r[0].peaks.judged)
        buf_printf(b,
                   "peak: %.4g CPUs predicted of %.4g sold (factor %.2f), multiplexing gain "
                   "%.2f, violations %.3f %%\n",
                   r[0].peaks.predicted, r[0].peaks.limits, r[0].peaks.factor, r[0].peaks.gain,
                   100 * r[0].peaks.violations);
    for (size_t k = 0; n && k < 5 && k < r[0].pairs_count; k++)
        buf_printf(b, "  apps %zu and %zu come together (correlation %.2f, %.3g CPUs)\n",
                   r[0].pairs[k].a, r[0].pairs[k].b, r[0].pairs[k].correlation, r[0].pairs[k].cpus);
    return !b->failed;
}

static void num(buf *b, const char *key, double v)
{
    if (isfinite(v))
        buf_printf(b, ",\"%s\":%.10g", key, v);
    else
        buf_printf(b, ",\"%s\":null", key);
}

static void day_json(buf *b, const char *key, const day_result *d)
{
    buf_printf(b,
               "\"%s\":{\"calls\":%llu,\"p50_s\":%.6g,\"p99_s\":%.6g,\"p999_s\":%.6g,"
               "\"utilisation_pct\":%.6g,\"opportunistic_cpu_s\":%.8g,\"planned_cpu_s\":%.8g}",
               key, (unsigned long long)d->calls, d->p50_s, d->p99_s, d->p999_s, d->utilisation_pct,
               d->opportunistic_cpu_s, d->planned_cpu_s);
}

bool sim_json(const sim_config *c, const sim_result *r, size_t n, const day_result days[2], buf *b)
{
    buf_printf(b,
               "{\"hours\":%zu,\"start_s\":%lld,\"slack_hours\":%zu,\"target\":%.4g,"
               "\"headroom_weight\":%.4g",
               c->hours, (long long)c->start_s, c->slack_hours, c->target, c->headroom_weight);
    num(b, "cpus", c->cpus);
    buf_put_str(b, S(",\"policies\":["));
    for (size_t i = 0; i < n; i++) {
        const sim_result *x = &r[i];
        buf_printf(b, "%s{\"policy\":\"%s\",\"apps\":%zu,\"calls\":%llu", i ? "," : "",
                   sim_policy_name(x->policy), x->apps, (unsigned long long)x->calls);
        num(b, "cpu_s", x->cpu_s);
        num(b, "deferrable_cpu_s", x->deferrable_cpu_s);
        num(b, "late_cpu_s", x->late_cpu_s);
        num(b, "left_cpu_s", x->left_cpu_s);
        num(b, "baseline_g", x->saved.baseline_g);
        num(b, "actual_g", x->saved.actual_g);
        num(b, "saved_g", saving_g(&x->saved));
        num(b, "saved_pct", saving_pct(&x->saved));
        num(b, "share_of_clairvoyant_pct", share(x, r, n));
        num(b, "mean_delay_h",
            x->saved.calls ? x->saved.delay_s / (double)x->saved.calls / 3600 : 0);
        num(b, "received_peak_to_trough", x->received_ratio);
        num(b, "executed_peak_to_trough", x->executed_ratio);
        num(b, "utilisation_pct", x->utilisation_pct);
        num(b, "peak_cpus", x->peak_cpus);
        num(b, "node_kwh", x->node_j / 3.6e6);
        num(b, "operational_g", x->operational_g);
        num(b, "embodied_g", x->embodied_g);
        num(b, "unallocated_j", x->idle_unallocated_j);
        num(b, "conservation", x->conservation);
        num(b, "fit_mape_pct", x->mape_pct);
        buf_put_str(b, S(",\"peaks\":{\"limits\":"));
        buf_printf(b, "%.8g", x->peaks.limits);
        num(b, "predicted", x->peaks.predicted);
        num(b, "factor", x->peaks.factor);
        num(b, "gain", x->peaks.gain);
        num(b, "violations", x->peaks.violations);
        buf_printf(b, ",\"judged\":%zu,\"by_method\":{", x->peaks.judged);
        for (int m = 0; m < PEAK_METHODS; m++)
            buf_printf(b, "%s\"%s\":%.8g", m ? "," : "", peak_method_name((peak_method)m),
                       x->predicted[m]);
        buf_printf(b, "},\"correlated_pairs\":%zu,\"largest_pairs\":[", x->pairs_count);
        for (size_t k = 0; k < 5 && k < x->pairs_count; k++)
            buf_printf(b, "%s{\"apps\":[%zu,%zu],\"correlation\":%.3f,\"cpus\":%.4g}", k ? "," : "",
                       x->pairs[k].a, x->pairs[k].b, x->pairs[k].correlation, x->pairs[k].cpus);
        buf_put_str(b, S("]}}"));
    }
    buf_put_u8(b, ']');
    if (days) {
        buf_put_str(b, S(",\"reserved_class\":{"));
        day_json(b, "alone", &days[0]);
        buf_put_u8(b, ',');
        day_json(b, "with_opportunistic", &days[1]);
        num(b, "p99_growth_pct", 100 * (days[1].p99_s / days[0].p99_s - 1));
        buf_put_u8(b, '}');
    }
    buf_put_str(b, S("}\n"));
    return !b->failed;
}

#define W      960
#define H      320
#define LEFT   50
#define BOTTOM 30
#define TOP    20

static void area(buf *b, const sim_step *s, size_t n, double top, int what, const char *style)
{
    buf_put_str(b, S("<path d=\""));
    for (size_t i = 0; i < n; i++) {
        double v = what == 0   ? s[i].received
                   : what == 1 ? s[i].reserved
                               : s[i].reserved + s[i].deferred;
        double x = LEFT + (double)(W - LEFT) * (double)i / (double)n;
        buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', x, H - BOTTOM - (H - BOTTOM - TOP) * v / top);
    }
    if (what)
        buf_printf(b, "V%dH%dZ", H - BOTTOM, LEFT);
    buf_printf(b, "\" %s/>\n", style);
}

bool sim_svg(const sim_config *c, const sim_result *r, size_t hours, buf *b)
{
    hours = hours > 14 * 24 ? 14 * 24 : hours;
    hours = hours > c->hours ? c->hours : hours;
    size_t n = hours * SIM_STEPS, first_hour = c->hours - hours;
    const sim_step *s = r->steps + (r->steps_count - n);
    double top = 1e-9, dirty = 1;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, fmax(s[i].received, s[i].reserved + s[i].deferred));
    size_t shift = (size_t)((c->start_s - c->intensity_start_s) / 3600) + first_hour;
    for (size_t i = 0; i < hours; i++)
        dirty = fmax(dirty, c->intensity[shift + i]);
    buf_printf(b,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
               "aria-label=\"Load and carbon intensity, policy %s\" "
               "style=\"font:12px sans-serif\">\n",
               W, H + 20, sim_policy_name(r->policy));
    buf_printf(b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", W, H + 20);
    area(b, s, n, top, 2, "fill=\"#7bc47f\"");
    area(b, s, n, top, 1, "fill=\"#4a7fb5\"");
    area(b, s, n, top, 0, "fill=\"none\" stroke=\"#222\" stroke-dasharray=\"4 3\"");
    buf_put_str(b, S("<path d=\""));
    for (size_t i = 0; i < hours; i++)
        buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M',
                   LEFT + (double)(W - LEFT) * ((double)i + 0.5) / (double)hours,
                   H - BOTTOM - (H - BOTTOM - TOP) * c->intensity[shift + i] / dirty);
    buf_put_str(b, S("\" fill=\"none\" stroke=\"#c0504d\" stroke-width=\"1.5\"/>\n"));
    buf_printf(b, "<text x=\"4\" y=\"%d\">%.3g</text><text x=\"4\" y=\"%d\">0 CPUs</text>\n",
               TOP + 4, top, H - BOTTOM);
    buf_printf(b,
               "<text x=\"%d\" y=\"%d\" fill=\"#c0504d\">grid, top %.0f g/kWh</text>"
               "<text x=\"%d\" y=\"%d\" fill=\"#35679a\">reserved</text>"
               "<text x=\"%d\" y=\"%d\" fill=\"#3c8a41\">deferred, as run (%s)</text>"
               "<text x=\"%d\" y=\"%d\">received (dashed), %zu hours</text>\n</svg>\n",
               LEFT, H + 10, dirty, LEFT + 200, H + 10, LEFT + 300, H + 10,
               sim_policy_name(r->policy), LEFT + 500, H + 10, hours);
    return !b->failed;
}

bool against_table(const against_config *c, const against_result *r, unsigned hosts, buf *b)
{
    buf_printf(b, "%-10s %8s %8s %9s %10s %10s %9s %8s %9s %10s\n", "host", "servers", "fleet kg",
               "machines", "kWh", "operat. kg", "embod. kg", "util %", "cold apps", "p99 + ms");
    for (size_t h = 0; h < HOST_KINDS; h++) {
        const against_row *w = &r->row[h];
        if (!(hosts & 1u << h))
            continue;
        buf_printf(b, "%-10s %8.2f %8.4g %9.0f %10.4g %10.4g %9.4g %8.2f %8.1f%% %10.3g\n",
                   host_kind_name((host_kind)h), w->need, w->fleet_g / 1000, w->machines,
                   w->joules / 3.6e6, w->operational_g / 1000, w->embodied_g / 1000,
                   w->utilisation_pct, 100 * w->cold_apps, 1000 * w->p99_added_s);
    }
    buf_put_str(
        b, S("servers: of a shared fleet, exactly, with its grams; machines: whole ones, alone, "
             "with theirs\n"));
    if (r->break_even <= 1)
        buf_printf(b,
                   "break-even: an app that keeps a whole server more than %.0f %% busy, all "
                   "day, has fewer grams always on (ebb's code needs %.2g x the CPU)\n",
                   100 * r->break_even, c->host[HOST_EBB].code_factor);
    else
        buf_printf(b, "break-even: none; even a full server always on has more grams\n");
    return !b->failed;
}

bool against_json(const against_config *c, const against_result *r, unsigned hosts, buf *b)
{
    bool first = true;
    buf_printf(b, "{\"intensity_g_per_kwh\":%.6g,\"server_cpus\":%.6g,\"code_factor\":%.4g",
               c->intensity_g_per_kwh, c->server_cpus, c->host[HOST_EBB].code_factor);
    num(b, "break_even_utilisation", r->break_even);
    buf_put_str(b, S(",\"hosts\":["));
    for (size_t h = 0; h < HOST_KINDS; h++) {
        const against_row *w = &r->row[h];
        if (!(hosts & 1u << h))
            continue;
        buf_printf(b, "%s{\"host\":\"%s\",\"calls\":%llu", first ? "" : ",",
                   host_kind_name((host_kind)h), (unsigned long long)w->calls);
        num(b, "need", w->need);
        num(b, "fleet_g", w->fleet_g);
        num(b, "machines", w->machines);
        num(b, "joules", w->joules);
        num(b, "operational_g", w->operational_g);
        num(b, "embodied_g", w->embodied_g);
        num(b, "cpu_s", w->cpu_s);
        num(b, "instance_s", w->instance_s);
        num(b, "utilisation_pct", w->utilisation_pct);
        num(b, "cold_share", w->cold_share);
        num(b, "cold_apps", w->cold_apps);
        num(b, "p99_added_s", w->p99_added_s);
        buf_put_u8(b, '}');
        first = false;
    }
    buf_put_str(b, S("]}\n"));
    return !b->failed;
}

bool sim_steps(const sim_config *c, const sim_result *r, buf *b)
{
    buf_put_str(b, S("time,received,reserved,deferred\n"));
    for (size_t i = 0; i < r->steps_count; i++) {
        when_put(b, c->start_s + (int64_t)i * SIM_STEP_S);
        buf_printf(b, ",%.6g,%.6g,%.6g\n", r->steps[i].received, r->steps[i].reserved,
                   r->steps[i].deferred);
    }
    return !b->failed;
}
