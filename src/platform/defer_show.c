/* See defer_show.h. Times are RFC 3339. Energy is what a model says of CPU time; carbon is shown
 * only from the intensity that was measured for both hours (carbon/saving.h), never a forecast. */
#include "platform/defer_show.h"

#include "app/toml_json.h"
#include "base/base64.h"
#include "base/limits.h"
#include "carbon/saving.h"
#include "carbon/when.h"
#include "platform/calls_owner.h"

#include <math.h>

static void put_text(buf *out, const char *name, str s)
{
    buf_printf(out, ",\"%s\":", name);
    json_put_string(out, s);
}

static void put_time(buf *out, const char *name, int64_t ms)
{
    buf_printf(out, ",\"%s\":", name);
    if (!ms) {
        buf_put_str(out, S("null"));
        return;
    }
    buf_put_u8(out, '"');
    when_put(out, ms / 1000);
    buf_put_u8(out, '"');
}

static bool has_ended(queue_state s)
{
    return s == QUEUE_DONE || s == QUEUE_FAILED || s == QUEUE_DEAD || s == QUEUE_CANCELLED;
}

/* --- when it will run, and why then ----------------------------------------------------------- */

static void put_plan(buf *out, const queue_info *i, const pace_view *v, int64_t now_s)
{
    int64_t deadline_s = i->terms.deadline_ms / 1000, at;
    if (!v || !v->slots) {
        buf_put_str(out, S(",\"planned_start\":null,\"why\":\"nothing is planned yet\""));
        return;
    }
    at = pace_start(v, deadline_s, (double)i->terms.cpu_ns / 1e9);
    if (i->next_ms / 1000 > at)
        at = i->next_ms / 1000;
    if (at < now_s)
        at = now_s;
    put_time(out, "planned_start", at * 1000);
    size_t last = pace_last_slot(v, deadline_s), k = (size_t)((at / v->slot_s) - v->first);
    if (k > last)
        k = last;
    if (i->attempts > i->excused && i->next_ms / 1000 >= now_s)
        put_text(out, "why", S("its last attempt did not work; this is the next one"));
    else if (last == 0)
        put_text(out, "why", S("its deadline leaves no later time"));
    else if (!v->sourced)
        put_text(out, "why", S("no carbon source is configured: by load and deadline alone"));
    else
        buf_printf(out,
                   ",\"why\":\"of the time until its deadline this is planned: %.0f g/kWh are "
                   "forecast then, %.0f now\"",
                   v->intensity[k], v->intensity[0]);
}

/* --- what it took ----------------------------------------------------------------------------- */

static void put_carbon(buf *out, const calls_price *p)
{
    bool known = p && !isnan(p->accepted_g_per_kwh) && !isnan(p->ran_g_per_kwh);
    if (!known) {
        buf_put_str(out, S(",\"carbon\":null"));
        return;
    }
    double kwh = p->energy_j / 3.6e6, baseline = kwh * p->accepted_g_per_kwh,
           actual = kwh * p->ran_g_per_kwh;
    buf_printf(
        out,
        ",\"carbon\":{\"g\":%.9g,\"run_at_once_g\":%.9g,\"saved_g\":%.9g,"
        "\"g_per_kwh\":%.6g,\"at_acceptance_g_per_kwh\":%.6g,\"method\":\"the same energy "
        "(dynamic, modelled from CPU time) at the intensity measured for the hour it ran and "
        "the hour it was accepted\"}",
        actual, baseline, baseline - actual, p->ran_g_per_kwh, p->accepted_g_per_kwh);
}

/* --- what came of it -------------------------------------------------------------------------- */

static void put_fields(buf *out, const deferred_result *r)
{
    buf_put_str(out, S("\"headers\":["));
    for (size_t i = 0; i < r->fields_count; i++) {
        buf_put_str(out, i ? S(",[") : S("["));
        json_put_string(out, r->fields[i].name);
        buf_put_u8(out, ',');
        if (str_is_utf8(r->fields[i].value))
            json_put_string(out, r->fields[i].value);
        else
            buf_put_str(out, S("null"));
        buf_put_u8(out, ']');
    }
    buf_put_u8(out, ']');
}

static void put_log(buf *out, str log)
{
    buf_put_str(out, S(",\"log\":["));
    for (bool first = true; log.n; first = false) {
        str line = str_cut(&log, '\n');
        if (!line.n)
            continue;
        buf_printf(out, "%s{\"stream\":\"%s\",\"text\":", first ? "" : ",",
                   line.p[0] == 'e' ? "stderr" : "stdout");
        json_put_string(out, str_is_utf8(line) ? str_skip(line, 1) : S("(no UTF-8)"));
        buf_put_u8(out, '}');
    }
    buf_put_u8(out, ']');
}

static void put_result(buf *out, bytes b)
{
    _cleanup_(arena_fini) arena a;
    deferred_result r;
    arena_init(&a, 4 * MIB);
    if (!b.n || !deferred_result_read(&a, b, &r)) {
        buf_put_str(out, S(",\"result\":null,\"log\":[],\"log_cut\":false"));
        return;
    }
    str body = {(const char *)r.body.p, r.body.n};
    bool text = str_is_utf8(body);
    buf_printf(out, ",\"result\":{\"status\":%u,", r.status);
    put_fields(out, &r);
    buf_printf(out, ",\"body_cut\":%s,\"%s\":", r.body_cut ? "true" : "false",
               text ? "body" : "body_base64");
    if (text) {
        json_put_string(out, body);
    } else {
        buf_put_u8(out, '"');
        base64_encode(r.body, out);
        buf_put_u8(out, '"');
    }
    buf_put_u8(out, '}');
    put_log(out, r.log);
    buf_printf(out, ",\"log_cut\":%s", r.log_cut ? "true" : "false");
}

void defer_show(buf *out, const queue_call *c, const pace_view *plan, const calls_price *price,
                bool full, int64_t now_s)
{
    const queue_info *i = &c->info;
    queue_state state = (queue_state)i->state;
    static const char *const levels[] = {"low", "normal", "high"};
    char id[QUEUE_ID_TEXT + 1];
    deferred_about about = {0};
    queue_id_text(&i->id, id);
    unsigned trigger = i->terms.trigger & ~(unsigned)QUEUE_TELLS;
    bool ended = has_ended(state), hook = trigger == DEFERRED_HOOK;
    /* A hook is due as soon as there is something to tell: nobody was promised a time. */
    bool late = !hook && i->terms.deadline_ms < (ended ? i->ended_ms : now_s * 1000);
    buf_printf(out, "{\"id\":\"%s\",\"state\":\"%s\",\"attempts\":%u,\"attempts_max\":%u", id,
               queue_state_name(state), i->attempts - i->excused, i->terms.attempts_max);
    if (deferred_about_read(c->about, &about)) {
        put_text(out, "component", about.component);
        put_text(out, "method", hook ? S("POST") : about.method);
        put_text(out, "path", hook ? about.hook : about.path);
        put_text(out, "trigger",
                 hook                       ? S("hook")
                 : trigger == DEFERRED_CRON ? S("cron")
                                            : S("http"));
        if (about.hook.n)
            put_text(out, "hook", about.hook);
        if (about.schedule.n)
            put_text(out, "schedule", about.schedule);
    }
    if (i->terms.revision < CALLS_OWNER_SHARED_MIN)
        buf_printf(out, ",\"revision\":%llu", (unsigned long long)i->terms.revision);
    else /* each node has a number of its own for it */
        buf_put_str(out, S(",\"revision\":null"));
    buf_printf(out, ",\"criticality\":\"%s\"", levels[i->terms.criticality % 3]);
    put_time(out, "accepted", i->accepted_ms);
    put_time(out, "deadline", i->terms.deadline_ms);
    buf_printf(out, ",\"late\":%s", late ? "true" : "false");
    if (state == QUEUE_WAITING)
        put_plan(out, i, plan, now_s);
    put_time(out, "started", i->begun_ms);
    put_time(out, "ended", i->ended_ms);
    if (ended)
        put_time(out, "kept_until", i->next_ms);
    buf_printf(out, ",\"cpu_s\":%.9g,\"energy_j\":%.9g", (double)i->use.cpu_ns / 1e9,
               (double)i->use.energy_nj / 1e9);
    put_carbon(out, ended ? price : NULL);
    if (c->note.n)
        put_text(out, "note", c->note);
    if (full)
        put_result(out, c->has_result ? c->result : (bytes){0});
    buf_put_u8(out, '}');
}
