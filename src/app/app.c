/* The application structure: look-ups, identifiers, defaults, and the app around a bare wasm file.
 * What fills it is manifest.c (from spin.toml) or locked.c (from JSON). */
#include "app/app.h"

#include "app/outbound.h"
#include "app/toml_json.h"
#include "base/limits.h"

#include <stdio.h>

const app_component *app_component_by_id(const app *a, str id)
{
    for (size_t i = 0; i < a->components_count; i++)
        if (str_eq(a->components[i].id, id))
            return &a->components[i];
    return NULL;
}

const app_trigger *app_trigger_of_component(const app *a, int index)
{
    for (size_t i = 0; i < a->triggers_count; i++)
        if (a->triggers[i].kind == APP_TRIGGER_HTTP && a->triggers[i].component == index)
            return &a->triggers[i];
    return NULL;
}

const app_variable *app_variable_by_name(const app *a, str name)
{
    for (size_t i = 0; i < a->variables_count; i++)
        if (str_eq(a->variables[i].name, name))
            return &a->variables[i];
    return NULL;
}

const str *app_pairs_get(const app_pairs *pairs, str key)
{
    for (size_t i = 0; i < pairs->n; i++)
        if (str_eq(pairs->at[i].key, key))
            return &pairs->at[i].value;
    return NULL;
}

bool app_defers(const app *a)
{
    for (size_t i = 0; i < a->components_count; i++)
        if (a->components[i].settings.defer.is_on || a->components[i].settings.crons_count)
            return true;
    return false;
}

app_settings app_settings_default(void)
{
    return (app_settings){.memory_bytes_max = APP_MEMORY_BYTES_MAX,
                          .cpu_time_max_ns = APP_CPU_TIME_MAX_NS,
                          .idle_time_max_ns = APP_IDLE_TIME_MAX_NS,
                          .queue_max = APP_QUEUE_MAX,
                          .resources_max = APP_RESOURCES_MAX,
                          .log_bytes_max = APP_LOG_BYTES_MAX,
                          .clock_resolution_ns = 1,
                          .defer = {.slack_s = APP_DEFER_SLACK_S,
                                    .slack_s_max = APP_DEFER_SLACK_S_MAX,
                                    .kept_s = APP_DEFER_KEPT_S,
                                    .attempts_max = APP_DEFER_ATTEMPTS,
                                    .criticality = APP_DEFER_NORMAL,
                                    .body_bytes_max = APP_DEFER_BODY_BYTES,
                                    .result_bytes_max = APP_DEFER_RESULT_BYTES}};
}

/* Lists built while reading double at every power of two; n is all the state they need. */
static bool is_full(size_t n) { return (n & (n - 1)) == 0; }

bool str_list_add(arena *a, str_list *list, str s)
{
    if (is_full(list->n)) {
        str *at = arena_grow(a, list->at, list->n, list->n ? list->n * 2 : 1, sizeof *at);
        if (!at)
            return false;
        list->at = at;
    }
    list->at[list->n++] = s;
    return true;
}

bool app_pairs_add(arena *a, app_pairs *pairs, str key, str value)
{
    if (is_full(pairs->n)) {
        app_pair *at = arena_grow(a, pairs->at, pairs->n, pairs->n ? pairs->n * 2 : 1, sizeof *at);
        if (!at)
            return false;
        pairs->at = at;
    }
    pairs->at[pairs->n++] = (app_pair){key, value};
    return true;
}

/* ---- identifiers ---- */

static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

static const char *word_problem(str w, bool lower_only)
{
    bool lower = false, upper = false;
    if (!w.n)
        return "a word between two separators is empty";
    if (!is_lower(w.p[0]) && !is_upper(w.p[0]))
        return "each word must begin with an ASCII letter";
    for (size_t i = 0; i < w.n; i++) {
        lower |= is_lower(w.p[i]);
        upper |= is_upper(w.p[i]);
        if (!is_lower(w.p[i]) && !is_upper(w.p[i]) && !(w.p[i] >= '0' && w.p[i] <= '9'))
            return "only ASCII letters, digits and the separator are allowed";
    }
    if (upper && lower_only)
        return "only lower-case letters are allowed";
    if (upper && lower)
        return "a word must be all lower case or all upper case";
    return NULL;
}

const char *app_id_problem(str s, char separator, bool lower_only)
{
    if (!s.n)
        return "it is empty";
    while (s.p) {
        const char *problem = word_problem(str_cut(&s, separator), lower_only);
        if (problem)
            return problem;
    }
    return NULL;
}

bool app_id_is_kebab(str s) { return !app_id_problem(s, '-', false); }

bool app_id_is_snake(str s) { return !app_id_problem(s, '_', true); }

/* ---- a part of an app ---- */

static bool is_one_of(str id, const str *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(ids[i], id))
            return true;
    return false;
}

/* A kept component that may call a dropped one would fail at some request; it fails now. Templates
 * are left for later: their host is not known yet. */
static bool chaining_check(arena *scratch, const app *a, const app_component *c, err *e)
{
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++) {
        outbound_rule rule;
        if (!outbound_rule_parse(scratch, c->allowed_outbound_hosts.at[i], &rule, NULL) ||
            rule.kind != OUTBOUND_NAME)
            continue;
        str id = outbound_chained_component(rule.name);
        const app_component *other = id.p ? app_component_by_id(a, id) : NULL;
        if (other && !other->is_used)
            return err_set(e, ERR_INVALID,
                           "component '%.*s' may call '%.*s' (allowed_outbound_hosts), which is "
                           "left out; keep it as well",
                           STR(c->id), STR(id));
    }
    return true;
}

bool app_retain(arena *scratch, app *a, const str *ids, size_t n, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!app_component_by_id(a, ids[i]))
            return err_set(e, ERR_NOT_FOUND, "the app has no component '%.*s'", STR(ids[i]));
    size_t kept = 0;
    for (size_t i = 0; i < a->triggers_count; i++) {
        int index = a->triggers[i].component;
        if (index == APP_NONE || is_one_of(a->components[index].id, ids, n))
            a->triggers[kept++] = a->triggers[i];
    }
    a->triggers_count = kept;
    for (size_t i = 0; i < a->components_count; i++)
        a->components[i].is_used &= is_one_of(a->components[i].id, ids, n);
    for (size_t i = 0; i < a->components_count; i++)
        if (a->components[i].is_used && !chaining_check(scratch, a, &a->components[i], e))
            return false;
    return true;
}

/* ---- one wasm file as an app ---- */

/* "My_Site.v2.wasm" to "my-site-v2"; "component" if nothing usable is left. */
static str id_from_path(arena *a, str path)
{
    size_t slash = str_rfind(path, '/');
    str stem = slash < path.n ? str_skip(path, slash + 1) : path;
    if (str_ends(stem, S(".wasm")))
        stem.n -= 5;
    char *out = arena_cstr(a, stem);
    if (!out)
        return (str){0};
    for (size_t i = 0; i < stem.n; i++) {
        char c = out[i];
        bool keep = is_lower(c) || (c >= '0' && c <= '9');
        out[i] = is_upper(c) ? (char)(c + 32) : keep ? c : '-';
    }
    str id = {out, stem.n};
    return app_id_is_kebab(id) ? id : S("component");
}

bool app_from_wasm(arena *a, str path, app **ret, err *e)
{
    app *x = ARENA_NEW(a, app);
    app_component *c = ARENA_NEW(a, app_component);
    app_trigger *t = ARENA_NEW(a, app_trigger);
    str id = id_from_path(a, path), own = arena_str(a, path);
    if (!x || !c || !t || !id.p || !own.p)
        return err_no_memory(e);
    *c = (app_component){.id = id,
                         .source = {.kind = APP_SOURCE_PATH, .path = own},
                         .settings = app_settings_default(),
                         .is_used = true};
    *t = (app_trigger){.id = arena_printf(a, "%.*s-http-trigger", STR(id)),
                       .kind = APP_TRIGGER_HTTP,
                       .type = S("http"),
                       .route = S("/...")};
    if (!t->id.p)
        return err_no_memory(e);
    x->name = id;
    x->components = c;
    x->triggers = t;
    x->components_count = x->triggers_count = 1;
    *ret = x;
    return true;
}

bool app_warn(arena *a, app *x, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    str own = arena_str(a, str_from(text));
    return own.p && str_list_add(a, &x->warnings, own);
}

bool app_info_write(const app *a, buf *out, err *e)
{
    const app_pair fields[] = {{S("name"), a->name},
                               {S("version"), a->version},
                               {S("oci_image_digest"), a->oci_image_digest}};
    buf_put_str(out, S("{\n"));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (i && !fields[i].value.n)
            continue;
        buf_put_str(out, i ? S(",\n  ") : S("  "));
        json_put_string(out, fields[i].key);
        buf_put_str(out, S(": "));
        json_put_string(out, fields[i].value);
    }
    buf_put_str(out, S("\n}"));
    return !out->failed || err_set(e, ERR_LIMIT, "the app's name and version are too long");
}
