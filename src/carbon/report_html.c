/* The report for an auditor: one page without scripts or outside resources, printable, every
 * number beside what it means and how sure it is. Names of apps and zones are tenants' input and
 * are escaped; nothing else in the page comes from outside. */
#include "carbon/report.h"
#include "carbon/when.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\"><title>Carbon report</title><style>"
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;"
    "color:#1a2a22;background:#fff}table{border-collapse:collapse;width:100%;font-size:.9rem}"
    "th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid #cdd8d1}"
    "th:first-child,td:first-child{text-align:left}tfoot td{font-weight:600;border-top:2px solid}"
    "dt{font-weight:600;margin-top:.6rem}@media print{body{margin:0}}</style></head><body>\n";

static void cell_row(buf *b, str name, const ledger_row *r)
{
    sci s = report_sci(r);
    double score;
    buf_put_str(b, S("<tr><td>"));
    put_html_text(b, name);
    buf_printf(b,
               "</td><td>%llu</td><td>%.4g</td><td>%.4g</td><td>%.4g</td><td>%.4g</td>"
               "<td>%.4g</td><td>%.4g</td><td>",
               (unsigned long long)r->used.calls, (double)r->used.cpu_ns / 1e9, r->dynamic_j,
               r->idle_j, r->operational_g, r->embodied_g, sci_total_g(&s));
    if (sci_score(&s, &score, NULL))
        buf_printf(b, "%.4g", score * 1000);
    else
        buf_put_str(b, S("&ndash;"));
    buf_put_str(b, S("</td></tr>\n"));
}

static void term(buf *b, const char *name) { buf_printf(b, "</dd><dt>%s</dt><dd>", name); }

static void basis(const carbon_report *r, buf *b)
{
    buf_put_str(b, S("<h2>How these numbers come about</h2><dl><dt>Boundary</dt><dd>"));
    put_html_text(b, str_from(report_boundary()));
    term(b, "Method");
    put_html_text(b, str_from(report_method()));
    term(b, "Power");
    buf_printf(b,
               "source: %s; %.4g W idle + %.4g J per CPU-second, PUE %.3g; one standard deviation "
               "&plusmn;%.0f %%",
               power_source_name(r->power.source), r->power.idle_w, r->power.busy_w, r->power.pue,
               r->power.uncertainty * 100);
    if (r->power.samples)
        buf_printf(b, "; fitted to %u samples of what the counters said", r->power.samples);
    else if (r->power.source == POWER_RAPL)
        buf_put_str(b, S("; not fitted yet: idle power is the settings'"));
    term(b, "Carbon intensity");
    buf_put_str(b, S("zone "));
    put_html_text(b, r->zone);
    buf_put_str(b, S(", source "));
    put_html_text(b, r->source);
    buf_printf(b, ", %s, basis %s; hours:", intensity_kind_name(r->kind),
               intensity_basis_name(r->basis));
    for (int q = 0; q <= INTENSITY_ASSUMED; q++)
        if (r->hours_by_quality[q])
            buf_printf(b, " %zu %s", r->hours_by_quality[q],
                       intensity_quality_name((intensity_quality)q));
    term(b, "Embodied");
    buf_printf(b,
               "%.0f kg CO2e over %.3g years; vendors' own figures for servers lie between %.0f "
               "and %.0f kg",
               r->server_kg, r->life_s / 31536000, SCI_SERVER_KG_LOW, SCI_SERVER_KG_HIGH);
    term(b, "Savings");
    buf_printf(b,
               "%llu deferred calls: %.4g g where running at once had been %.4g g (the same energy "
               "at the intensity that really came; %llu calls turned out dirtier, %llu have no "
               "measured intensity); mean delay %.4g h. Not subtracted from any figure above",
               (unsigned long long)r->saved.calls, r->saved.actual_g, r->saved.baseline_g,
               (unsigned long long)r->saved.calls_worse, (unsigned long long)r->saved.calls_unknown,
               r->saved.calls ? r->saved.delay_s / (double)r->saved.calls / 3600 : 0);
    buf_put_str(b, S("</dd></dl>\n"));
}

static void remotes(const carbon_report *r, buf *b)
{
    if (!r->remotes_count)
        return;
    buf_put_str(b, S("<h2>Remote back-ends, as declared by their operators</h2><table><thead><tr>"
                     "<th>App</th><th>Back-end</th><th>Zone</th><th>Units</th><th>J</th><th>g</th>"
                     "<th>Heat reused</th></tr></thead><tbody>\n"));
    for (size_t i = 0; i < r->remotes_count; i++) {
        const report_remote *m = &r->remotes[i];
        const str cells[] = {m->app, m->name, m->zone};
        buf_put_str(b, S("<tr>"));
        for (size_t k = 0; k < 3; k++) {
            buf_put_str(b, S("<td>"));
            put_html_text(b, cells[k]);
            buf_put_str(b, S("</td>"));
        }
        double j = m->units * m->j_per_unit;
        buf_printf(b, "<td>%.4g ", m->units);
        put_html_text(b, m->unit);
        buf_printf(b, "</td><td>%.4g</td><td>%.4g</td><td>%.0f %%</td></tr>\n", j,
                   j / 3.6e6 * m->intensity_g_per_kwh, m->heat_reused_share * 100);
    }
    buf_put_str(b, S("</tbody></table><p>Outside the boundary: not in the sums above, and reused "
                     "heat is not subtracted from anything.</p>\n"));
}

bool report_html(const carbon_report *r, buf *b)
{
    buf_put_str(b, (str){head, sizeof head - 1});
    buf_put_str(b, S("<h1>Carbon report of "));
    put_html_text(b, r->node);
    buf_put_str(b, S("</h1><p>"));
    when_put(b, r->from_s);
    buf_put_str(b, S(" to "));
    when_put(b, r->to_s);
    buf_put_str(b, S("</p><table><thead><tr><th>App</th><th>Calls (R)</th><th>CPU s</th>"
                     "<th>Dynamic J</th><th>Idle share J</th><th>E&times;I g</th><th>M g</th>"
                     "<th>Total g</th><th>SCI, mg per call</th></tr></thead><tbody>\n"));
    for (size_t i = 0; i < r->rows_count; i++)
        cell_row(b, r->rows[i].app, &r->rows[i].sum);
    cell_row(b, S("(platform)"), &r->platform);
    cell_row(b, S("(other processes)"), &r->other);
    ledger_row rest = {.idle_j = r->total.idle_unallocated_j,
                       .operational_g = r->total.operational_unallocated_g,
                       .embodied_g = r->total.embodied_unallocated_g};
    cell_row(b, S("(unallocated: capacity nobody needed)"), &rest);
    buf_printf(b,
               "</tbody><tfoot><tr><td>Node</td><td></td><td></td><td colspan=\"2\">%.6g</td>"
               "<td>%.6g</td><td>%.6g</td><td>%.6g</td><td></td></tr></tfoot></table>\n",
               r->total.node_j, r->total.operational_g, r->total.embodied_g,
               r->total.operational_g + r->total.embodied_g);
    remotes(r, b);
    basis(r, b);
    buf_put_str(b, S("</body></html>\n"));
    return !b->failed;
}
