/* tool.ebb.defer and tool.ebb.cron: which requests may wait, and calls that the platform makes by
 * itself. docs/defer.md is the users' side.
 *
 *     [component.report.tool.ebb]
 *     defer = true
 *     defer = { routes = ["/report/..."], slack = "8h", slack_max = "7d", keep = "7d",
 *               attempts = 5, criticality = "normal", body_max = "1 MiB", result_max = "1 MiB",
 *               hook = "https://example.com/done" }
 *     cron = [{ schedule = "30 1 * * *", zone = "Europe/Berlin", window = "4h",
 *               path = "/nightly", method = "POST" }]
 */
#include "app/cron.h"
#include "app/hook.h"
#include "app/manifest_reader.h"
#include "base/limits.h"

static bool criticality_read(reader *r, const toml_table *t, app_defer *d)
{
    static const char *const levels[] = {"low", "normal", "high"};
    const toml_value *v;
    if (!read_kind(r, t, "criticality", TOML_STRING, &v))
        return false;
    if (!v)
        return true;
    for (uint32_t i = 0; i < 3; i++)
        if (str_eq(v->string, str_from(levels[i]))) {
            d->criticality = i;
            return true;
        }
    return read_fail(r, v->pos, "criticality is \"low\", \"normal\" or \"high\", not '%.*s'",
                     STR(v->string));
}

static bool attempts_read(reader *r, const toml_table *t, app_defer *d)
{
    const toml_value *v;
    if (!read_kind(r, t, "attempts", TOML_INTEGER, &v))
        return false;
    if (!v)
        return true;
    d->attempts_max = (uint32_t)v->integer;
    return (v->integer >= 1 && v->integer <= APP_DEFER_ATTEMPTS_MAX) ||
           read_fail(r, v->pos, "attempts must be from 1 to %d", APP_DEFER_ATTEMPTS_MAX);
}

static bool hook_read(reader *r, const toml_table *t, app_defer *d)
{
    hook_url u;
    if (!read_str(r, t, "hook", &d->hook))
        return false;
    return !read_get(t, "hook") || hook_url_parse(d->hook, &u, r->e) ||
           read_wrap(r, read_get(t, "hook")->pos, "hook");
}

bool defer_read(reader *r, const toml_table *ebb, app_settings *s)
{
    static const char *const known[] = {"routes",      "slack",    "slack_max",  "keep", "attempts",
                                        "criticality", "body_max", "result_max", "hook", NULL};
    const toml_value *v = read_get(ebb, "defer");
    app_defer *d = &s->defer;
    if (!v)
        return true;
    d->pos = v->pos;
    if (v->kind == TOML_BOOL) {
        d->is_on = v->boolean;
        return true;
    }
    if (v->kind != TOML_TABLE)
        return read_fail(r, v->pos,
                         "defer must be true, false or a table like { slack = \"8h\" }, "
                         "not %s",
                         toml_kind_name(v->kind));
    const toml_table *t = v->table;
    d->is_on = true;
    if (!read_known(r, t, "defer", known) || !read_str_list(r, t, "routes", &d->routes) ||
        !settings_seconds_read(r, t, "slack_max", "2d", APP_DEFER_SLACK_S_MAX, &d->slack_s_max))
        return false;
    if (d->slack_s > d->slack_s_max)
        d->slack_s = d->slack_s_max;
    if (!settings_seconds_read(r, t, "slack", "8h", d->slack_s_max, &d->slack_s) ||
        !settings_seconds_read(r, t, "keep", "7d", APP_DEFER_KEPT_S_MAX, &d->kept_s) ||
        !attempts_read(r, t, d) || !criticality_read(r, t, d))
        return false;
    return settings_bytes_read(r, t, "body_max", APP_DEFER_BODY_BYTES_MAX, &d->body_bytes_max) &&
           settings_bytes_read(r, t, "result_max", APP_DEFER_BODY_BYTES_MAX,
                               &d->result_bytes_max) &&
           hook_read(r, t, d);
}

/* ---- cron ---- */

static bool method_check(reader *r, const toml_value *v, str method)
{
    for (size_t i = 0; i < method.n; i++)
        if (method.p[i] < 'A' || method.p[i] > 'Z')
            return read_fail(r, v->pos, "method '%.*s' must be capital letters, like POST",
                             STR(method));
    return method.n || read_fail(r, v->pos, "the method is empty");
}

static bool path_check(reader *r, const toml_value *v, str path)
{
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] <= 0x20 || path.p[i] == '#' || path.p[i] == 0x7f)
            return read_fail(r, v->pos, "path '%.*s' has a blank, a control character or '#'",
                             STR(path));
    return str_starts(path, S("/")) ||
           read_fail(r, v->pos, "path '%.*s' must begin with '/'", STR(path));
}

static bool cron_read(reader *r, const toml_value *v, app_cron *c)
{
    static const char *const known[] = {"schedule", "zone", "window", "path", "method", NULL};
    const toml_value *method, *path;
    cron probe;
    if (!read_is(r, v, TOML_TABLE, "an entry of cron"))
        return false;
    const toml_table *t = v->table;
    *c = (app_cron){.pos = v->pos, .method = S("POST"), .path = S("/")};
    if (!read_known(r, t, "an entry of cron", known) ||
        !read_required(r, t, "schedule", v->pos, "an entry of cron", &c->schedule) ||
        !read_str(r, t, "zone", &c->zone) || !read_str(r, t, "path", &c->path) ||
        !read_str(r, t, "method", &c->method))
        return false;
    if (!cron_parse(c->schedule, &probe, r->e))
        return read_wrap(r, read_get(t, "schedule")->pos, "schedule");
    if (c->zone.n && !zone_name_is(c->zone))
        return read_fail(r, read_get(t, "zone")->pos,
                         "zone '%.*s' is no name of a time zone; write it like 'Europe/Berlin'",
                         STR(c->zone));
    method = read_get(t, "method");
    path = read_get(t, "path");
    c->window_s = 1;
    bool windowed = read_get(t, "window") != NULL;
    if ((method && !method_check(r, method, c->method)) ||
        (path && !path_check(r, path, c->path)) ||
        !settings_seconds_read(r, t, "window", "4h", APP_CRON_WINDOW_S_MAX, &c->window_s))
        return false;
    if (!windowed)
        c->window_s = 0;
    return true;
}

bool crons_read(reader *r, const toml_table *ebb, app_settings *s)
{
    const toml_value *v;
    if (!read_kind(r, ebb, "cron", TOML_ARRAY, &v))
        return false;
    if (!v)
        return true;
    if (s == &r->settings)
        return read_fail(r, v->pos, "cron belongs to a component: [component.<id>.tool.ebb]");
    if (v->array.n > APP_CRONS_MAX)
        return read_fail(r, v->pos, "more than %d entries of cron", APP_CRONS_MAX);
    app_cron *at = ARENA_ARRAY(r->a, app_cron, v->array.n + 1);
    if (!at)
        return read_no_memory(r);
    for (size_t i = 0; i < v->array.n; i++)
        if (!cron_read(r, &v->array.at[i], &at[i]))
            return false;
    s->crons = at;
    s->crons_count = v->array.n;
    return true;
}

/* ---- across triggers ---- */

static bool has_route(const app *a, size_t component, str route)
{
    for (size_t i = 0; i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        if (t->kind == APP_TRIGGER_HTTP && t->component == (int)component &&
            str_eq(t->route, route))
            return true;
    }
    return false;
}

/* A setting of the whole app may name routes that only some component has. */
static bool is_own(const reader *r, const app_settings *s)
{
    return s->defer.pos.line != r->settings.defer.pos.line;
}

bool defer_check(reader *r)
{
    const app *a = r->out;
    for (size_t i = 0; i < a->components_count; i++) {
        const app_component *c = &a->components[i];
        const app_defer *d = &c->settings.defer;
        for (size_t k = 0; is_own(r, &c->settings) && k < d->routes.n; k++)
            if (!has_route(a, i, d->routes.at[k]))
                return read_fail(r, d->pos,
                                 "defer: component '%.*s' has no route '%.*s'; write it as its "
                                 "[[trigger.http]] does",
                                 STR(c->id), STR(d->routes.at[k]));
    }
    return true;
}
