/* See tenant.h. The windows of one app are made in one pass over the records of all. Days are
 * priced one by one, by the code that makes the operator's bill. */
#include "carbon/tenant.h"

#include "carbon/visible.h"
#include "carbon/when.h"

enum { MINUTE_S = 60 };

typedef struct {
    const bill_records *b;
    int64_t from_s, to_s;
    const str *shown;
    buf *out;
    bool comma;
} view;

static double coefficient(const bill_records *b, const power_model *power, int64_t t_s)
{
    const bill_power *p = bill_power_at(b, t_s);
    return p ? p->j_per_cpu_s : visible_round(power->busy_w * power->pue, 2);
}

static void time_put(buf *out, const char *name, int64_t t_s)
{
    buf_printf(out, "\"%s\":\"", name);
    when_put(out, t_s);
    buf_put_str(out, S("\","));
}

static void figure_put(view *v, const visible_figure *f)
{
    if (f->from_s < v->from_s || f->to_s > v->to_s)
        return;
    buf_put_str(v->out, v->comma ? S(",\n{") : S("\n{"));
    v->comma = true;
    time_put(v->out, "from", f->from_s);
    time_put(v->out, "to", f->to_s);
    buf_printf(v->out, "\"calls\":%llu,\"cpu_s\":%.10g,\"energy_j\":%.10g}",
               (unsigned long long)f->calls, f->cpu_s, f->energy_j);
}

/* The windows of one app and day; records before *at are behind us. */
static void windows_of_day(view *v, size_t row, size_t *at, int64_t day, double j_per_cpu_s)
{
    const bill_records *b = v->b;
    visible_coefficient c = {.j_per_cpu_s = j_per_cpu_s};
    visible_window w;
    visible_figure f;
    visible_window_init(&w, day);
    for (int64_t m = day + MINUTE_S; m <= day + WHEN_DAY_S && m <= v->to_s; m += MINUTE_S) {
        for (; *at < b->uses_count && b->uses[*at].t_s < m; ++*at)
            if (b->uses[*at].row == row && b->uses[*at].t_s >= day)
                visible_add(&w, b->uses[*at].u.cpu_ns, b->uses[*at].u.calls);
        if (visible_take(&w, m, &c, &f))
            figure_put(v, &f);
    }
}

static void app_put(view *v, size_t app, const power_model *power)
{
    buf_put_str(v->out, S("{\"app\":\""));
    put_json_text(v->out, v->shown[app]);
    buf_put_str(v->out, S("\",\"windows\":["));
    size_t at = 0;
    v->comma = false;
    for (int64_t day = v->from_s - v->from_s % WHEN_DAY_S; day < v->to_s; day += WHEN_DAY_S)
        windows_of_day(v, LEDGER_APPS + app, &at, day, coefficient(v->b, power, day));
    buf_put_str(v->out, S("]}"));
}

static void day_put(view *v, int64_t day, const carbon_report *r, size_t app)
{
    const ledger_row *sum = &r->rows[app].sum;
    double cpu_s = visible_round((double)sum->used.cpu_ns / 1e9, 3);
    double energy_j = visible_round(cpu_s * coefficient(v->b, &r->power, day), 3);
    double g_per_j = r->total.node_j > 0 ? r->total.operational_g / r->total.node_j : 0;
    buf_put_str(v->out, v->comma ? S(",\n{") : S("\n{"));
    v->comma = true;
    time_put(v->out, "day", day);
    buf_put_str(v->out, S("\"app\":\""));
    put_json_text(v->out, v->shown[app]);
    buf_printf(v->out,
               "\",\"calls\":%llu,\"cpu_s\":%.10g,\"energy_j\":%.10g,\"idle_share_j\":%.10g,"
               "\"operational_g\":%.10g,\"embodied_g\":%.10g}",
               (unsigned long long)sum->used.calls, cpu_s, energy_j, visible_round(sum->idle_j, 3),
               visible_round((energy_j + sum->idle_j) * g_per_j, 3),
               visible_round(sum->embodied_g, 3));
}

static bool days_put(view *v, arena *a, const carbon_report *node, err *e)
{
    int64_t first = v->from_s - v->from_s % WHEN_DAY_S;
    v->comma = false;
    for (int64_t day = first; day + WHEN_DAY_S <= v->to_s; day += WHEN_DAY_S) {
        carbon_report r = *node;
        r.from_s = day;
        r.to_s = day + WHEN_DAY_S;
        if (day < v->from_s)
            continue;
        if (!bill_make(a, v->b, &r, e))
            return false;
        for (size_t i = 0; i < r.rows_count; i++)
            if (v->shown[i].p && r.rows[i].sum.used.calls + r.rows[i].sum.used.cpu_ns)
                day_put(v, day, &r, i);
    }
    return true;
}

bool tenant_json(arena *a, const bill_records *b, const str *shown, const carbon_report *node,
                 int64_t from_s, int64_t to_s, buf *out, err *e)
{
    view v = {.b = b, .shown = shown, .from_s = from_s, .to_s = to_s, .out = out};
    if (to_s <= from_s)
        return err_set(e, ERR_INVALID, "the span is empty: it must end after it begins");
    if (to_s - from_s > (int64_t)TENANT_DAYS_MAX * WHEN_DAY_S)
        return err_set(e, ERR_LIMIT, "more than %d days: ask for a shorter span", TENANT_DAYS_MAX);
    buf_put_u8(out, '{');
    time_put(out, "from", from_s);
    time_put(out, "to", to_s);
    buf_printf(out,
               "\"j_per_cpu_s\":%.10g,\"window_s_min\":%d,\"window_calls_min\":%d,\n\"apps\":[",
               coefficient(b, &node->power, to_s - 1), VISIBLE_WINDOW_S, VISIBLE_CALLS_MIN);
    for (size_t i = 0, n = 0; i < b->apps_count; i++)
        if (shown[i].p) {
            buf_put_str(out, n++ ? S(",\n") : S("\n"));
            app_put(&v, i, &node->power);
        }
    buf_put_str(out, S("],\n\"days\":["));
    return days_put(&v, a, node, e) && buf_put_str(out, S("]}\n"));
}
