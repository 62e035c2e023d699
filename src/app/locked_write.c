/* App to JSON: Spin's spin.lock, plus metadata.ebb. The order of members is the app's, so that
 * the same app always gives the same bytes. */
#include "app/locked.h"

#include "app/toml_json.h"
#include "base/base64.h"
#include "base/limits.h"

typedef struct {
    buf *out;
    str base;
    bool needs_comma;
} writer;

static void key(writer *w, const char *name)
{
    if (w->needs_comma)
        buf_put_u8(w->out, ',');
    w->needs_comma = true;
    if (name) {
        json_put_string(w->out, str_from(name));
        buf_put_u8(w->out, ':');
    }
}

static void key_str(writer *w, str name)
{
    key(w, NULL);
    json_put_string(w->out, name);
    buf_put_u8(w->out, ':');
}

static void open_with(writer *w, char bracket)
{
    buf_put_u8(w->out, (uint8_t)bracket);
    w->needs_comma = false;
}

static void object(writer *w, const char *name)
{
    key(w, name);
    open_with(w, '{');
}

static void array(writer *w, const char *name)
{
    key(w, name);
    open_with(w, '[');
}

static void close_with(writer *w, char bracket)
{
    buf_put_u8(w->out, (uint8_t)bracket);
    w->needs_comma = true;
}

static void string(writer *w, const char *name, str s)
{
    key(w, name);
    json_put_string(w->out, s);
}

/* Left out if empty, as Spin does. */
static void string_opt(writer *w, const char *name, str s)
{
    if (s.n)
        string(w, name, s);
}

static void number(writer *w, const char *name, uint64_t v)
{
    key(w, name);
    buf_printf(w->out, "%llu", (unsigned long long)v);
}

static void flag_opt(writer *w, const char *name, bool v)
{
    if (!v)
        return;
    key(w, name);
    buf_put_str(w->out, S("true"));
}

static void strings_opt(writer *w, const char *name, str_list list)
{
    if (!list.n)
        return;
    array(w, name);
    for (size_t i = 0; i < list.n; i++)
        string(w, NULL, list.at[i]);
    close_with(w, ']');
}

static void pairs(writer *w, const char *name, const app_pairs *p)
{
    if (!p->n)
        return;
    object(w, name);
    for (size_t i = 0; i < p->n; i++) {
        key_str(w, p->at[i].key);
        json_put_string(w->out, p->at[i].value);
    }
    close_with(w, '}');
}

/* file:// URLs keep unreserved characters and '/', all else is percent-encoded. */
static void path(writer *w, const char *name, str p)
{
    static const char hex[] = "0123456789ABCDEF";
    bool absolute = str_starts(p, S("/"));
    if (!absolute && !w->base.n) {
        _cleanup_(buf_fini) buf dotted; /* "./" before what would read as a URL */
        buf_init(&dotted, APP_LOCKED_BYTES_MAX);
        buf_put_str(&dotted, str_starts(p, S("file://")) ? S("./") : S(""));
        buf_put_str(&dotted, p);
        w->out->failed |= dotted.failed;
        string(w, name, buf_str(&dotted));
        return;
    }
    str parts[] = {absolute ? (str){0} : w->base, absolute ? (str){0} : S("/"), p};
    key(w, name);
    buf_put_str(w->out, S("\"file://"));
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < parts[i].n; j++) {
            unsigned char c = (unsigned char)parts[i].p[j];
            bool plain = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') ||
                         (c && strchr("-._~/", c));
            char enc[] = {'%', hex[c >> 4], hex[c & 15]};
            buf_put(w->out, plain ? (const char *)&parts[i].p[j] : enc, plain ? 1 : 3);
        }
    buf_put_u8(w->out, '"');
}

static void source(writer *w, const char *name, const app_source *s)
{
    object(w, name);
    string(w, "content_type", S("application/wasm"));
    if (s->kind == APP_SOURCE_PATH && (s->path.n || !s->digest.n))
        path(w, "source", s->path);
    else if (s->kind == APP_SOURCE_URL)
        string(w, "source", s->url);
    string_opt(w, "digest", s->digest);
    if (s->kind == APP_SOURCE_REGISTRY) {
        object(w, "ebb");
        string_opt(w, "registry", s->registry);
        string(w, "package", s->package);
        string(w, "version", s->version);
        flag_opt(w, "is_range", s->is_range);
        close_with(w, '}');
    }
    close_with(w, '}');
}

static void targets(writer *w, app_targets t)
{
    if (!t.n)
        return;
    array(w, "targets");
    for (size_t i = 0; i < t.n; i++) {
        if (t.at[i].catalogue.n) {
            string(w, NULL, t.at[i].catalogue);
            continue;
        }
        object(w, NULL);
        string_opt(w, "url", t.at[i].url);
        string_opt(w, "path", t.at[i].path);
        close_with(w, '}');
    }
    close_with(w, ']');
}

static void dependency_members(writer *w, const app_dependency *d)
{
    static const char *const bits[] = {"ai_models", "allowed_outbound_hosts", "environment",
                                       "files",     "key_value_stores",       "sqlite_databases",
                                       "variables"};
    source(w, "source", &d->source);
    string_opt(w, "export", d->export_name);
    if (d->inherit == APP_INHERIT_ALL) {
        string(w, "inherit", S("All"));
    } else if (d->inherit) {
        object(w, "inherit");
        array(w, "Some");
        for (size_t i = 0; i < 7; i++)
            if (d->inherit & 1u << i)
                string(w, NULL, str_from(bits[i]));
        close_with(w, ']');
        close_with(w, '}');
    }
}

/* ---- app ---- */

static bool has_middleware(const app *a)
{
    for (size_t i = 0; i < a->triggers_count; i++)
        if (a->triggers[i].middleware.n)
            return true;
    return false;
}

static bool does_chaining(const app_component *c)
{
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++) {
        str h = c->allowed_outbound_hosts.at[i];
        if (memmem(h.p ? h.p : "", h.n, ".spin.internal", 14))
            return true;
    }
    return false;
}

static void metadata(writer *w, const app *a)
{
    object(w, "metadata");
    string(w, "name", a->name);
    string_opt(w, "version", a->version);
    string_opt(w, "description", a->description);
    strings_opt(w, "authors", a->authors);
    object(w, "triggers");
    for (size_t i = 0; i < a->trigger_defaults_count; i++) {
        key_str(w, a->trigger_defaults[i].type);
        buf_put_str(w->out, a->trigger_defaults[i].config_json);
    }
    close_with(w, '}');
    string_opt(w, "origin", a->origin);
    string_opt(w, "profile", a->profile);
    if (a->oci_image_digest.n || a->targets.n) {
        object(w, "ebb");
        string_opt(w, "oci_image_digest", a->oci_image_digest);
        targets(w, a->targets);
        close_with(w, '}');
    }
    close_with(w, '}');
}

static void variables(writer *w, const app *a)
{
    if (!a->variables_count)
        return;
    object(w, "variables");
    for (size_t i = 0; i < a->variables_count; i++) {
        const app_variable *v = &a->variables[i];
        key_str(w, v->name);
        open_with(w, '{');
        string_opt(w, "description", v->description);
        if (v->has_default)
            string(w, "default", v->value);
        flag_opt(w, "secret", v->secret);
        close_with(w, '}');
    }
    close_with(w, '}');
}

/* ---- triggers ---- */

static void http_config(writer *w, const app_trigger *t)
{
    if (t->is_private) {
        object(w, "route");
        flag_opt(w, "private", true);
        close_with(w, '}');
    } else {
        string(w, "route", t->route);
    }
    if (t->executor == APP_EXECUTOR_WAGI) {
        object(w, "executor");
        string(w, "type", S("wagi"));
        string(w, "argv", t->wagi_argv);
        string(w, "entrypoint", t->wagi_entrypoint);
        close_with(w, '}');
    }
    if (t->is_static) {
        object(w, "static_response");
        number(w, "status_code", t->static_response.status);
        pairs(w, "headers", &t->static_response.headers);
        string_opt(w, "body", t->static_response.body);
        close_with(w, '}');
    }
}

static void trigger(writer *w, const app *a, const app_trigger *t)
{
    object(w, NULL);
    string(w, "id", t->id);
    string(w, "trigger_type", t->type);
    object(w, "trigger_config");
    if (t->component != APP_NONE)
        string(w, "component", a->components[t->component].id);
    if (t->kind == APP_TRIGGER_HTTP) {
        http_config(w, t);
    } else if (t->kind == APP_TRIGGER_REDIS) {
        string(w, "channel", t->channel);
        string_opt(w, "address", t->address);
    } else if (t->config_json.n > 2) { /* the members of an object, without its braces */
        key(w, NULL);
        buf_put(w->out, t->config_json.p + 1, t->config_json.n - 2);
    }
    close_with(w, '}');
    if (t->middleware.n) {
        object(w, "trigger_dependencies");
        array(w, "middleware");
        for (size_t i = 0; i < t->middleware.n; i++) {
            object(w, NULL);
            dependency_members(w, &t->middleware.at[i]);
            close_with(w, '}');
        }
        close_with(w, ']');
        close_with(w, '}');
    }
    close_with(w, '}');
}

/* ---- components ---- */

static void defer(writer *w, const app_settings *s)
{
    const app_defer *d = &s->defer;
    if (d->is_on) {
        object(w, "defer");
        strings_opt(w, "routes", d->routes);
        number(w, "slack_s", d->slack_s);
        number(w, "slack_s_max", d->slack_s_max);
        number(w, "kept_s", d->kept_s);
        number(w, "attempts_max", d->attempts_max);
        number(w, "criticality", d->criticality);
        number(w, "body_bytes_max", d->body_bytes_max);
        number(w, "result_bytes_max", d->result_bytes_max);
        string_opt(w, "hook", d->hook);
        close_with(w, '}');
    }
    if (!s->crons_count)
        return;
    array(w, "cron");
    for (size_t i = 0; i < s->crons_count; i++) {
        object(w, NULL);
        string(w, "schedule", s->crons[i].schedule);
        string_opt(w, "zone", s->crons[i].zone);
        string(w, "method", s->crons[i].method);
        string(w, "path", s->crons[i].path);
        number(w, "window_s", s->crons[i].window_s);
        close_with(w, '}');
    }
    close_with(w, ']');
}

static void component_ebb(writer *w, const app_component *c)
{
    object(w, "ebb");
    flag_opt(w, "is_used", c->is_used);
    flag_opt(w, "no_restore", c->settings.no_restore);
    flag_opt(w, "restore_after_start", c->settings.restore_after_start);
    number(w, "memory_bytes_max", c->settings.memory_bytes_max);
    number(w, "cpu_time_max_ns", c->settings.cpu_time_max_ns);
    number(w, "wall_time_max_ns", c->settings.wall_time_max_ns);
    number(w, "idle_time_max_ns", c->settings.idle_time_max_ns);
    number(w, "concurrency_max", c->settings.concurrency_max);
    number(w, "queue_max", c->settings.queue_max);
    number(w, "resources_max", c->settings.resources_max);
    number(w, "request_body_bytes_max", c->settings.request_body_bytes_max);
    number(w, "response_body_bytes_max", c->settings.response_body_bytes_max);
    number(w, "log_bytes_max", c->settings.log_bytes_max);
    number(w, "clock_resolution_ns", c->settings.clock_resolution_ns);
    defer(w, &c->settings);
    strings_opt(w, "exclude_files", c->exclude_files);
    targets(w, c->targets);
    if (c->mounts_count) {
        array(w, "files");
        for (size_t i = 0; i < c->mounts_count; i++) {
            if (!c->mounts[i].is_pair) {
                string(w, NULL, c->mounts[i].source);
                continue;
            }
            object(w, NULL);
            string(w, "source", c->mounts[i].source);
            string(w, "destination", c->mounts[i].destination);
            close_with(w, '}');
        }
        close_with(w, ']');
    }
    close_with(w, '}');
}

static void component_metadata(writer *w, const app_component *c)
{
    object(w, "metadata");
    string_opt(w, "description", c->description);
    strings_opt(w, "allowed_outbound_hosts", c->allowed_outbound_hosts);
    strings_opt(w, "key_value_stores", c->key_value_stores);
    strings_opt(w, "databases", c->sqlite_databases);
    strings_opt(w, "ai_models", c->ai_models);
    if (c->build.commands.n || c->build.workdir.n || c->build.watch.n) {
        object(w, "build");
        array(w, "command");
        for (size_t i = 0; i < c->build.commands.n; i++)
            string(w, NULL, c->build.commands.at[i]);
        close_with(w, ']');
        string_opt(w, "workdir", c->build.workdir);
        strings_opt(w, "watch", c->build.watch);
        close_with(w, '}');
    }
    component_ebb(w, c);
    close_with(w, '}');
}

/* A path; or what a registry has instead. */
static void file_content(writer *w, const app_file *f)
{
    if (f->host_path.n)
        path(w, "source", f->host_path);
    string_opt(w, "digest", f->digest);
    if (f->content.p) {
        key(w, "inline");
        buf_put_u8(w->out, '"');
        base64_encode(f->content, w->out);
        buf_put_u8(w->out, '"');
    }
}

static void component(writer *w, const app_component *c)
{
    object(w, NULL);
    string(w, "id", c->id);
    component_metadata(w, c);
    source(w, "source", &c->source);
    pairs(w, "env", &c->environment);
    if (c->files.n) {
        array(w, "files");
        for (size_t i = 0; i < c->files.n; i++) {
            object(w, NULL);
            file_content(w, &c->files.at[i]);
            string(w, "path", c->files.at[i].guest_path);
            close_with(w, '}');
        }
        close_with(w, ']');
    }
    pairs(w, "config", &c->variables);
    if (c->dependencies.n) {
        object(w, "dependencies");
        for (size_t i = 0; i < c->dependencies.n; i++) {
            key_str(w, c->dependencies.at[i].name);
            open_with(w, '{');
            dependency_members(w, &c->dependencies.at[i]);
            close_with(w, '}');
        }
        close_with(w, '}');
    }
    if (does_chaining(c)) {
        object(w, "host_requirements");
        string(w, "local_service_chaining", S("required"));
        close_with(w, '}');
    }
    close_with(w, '}');
}

bool locked_write(const app *a, str base, buf *out, err *e)
{
    writer w = {.out = out, .base = base};
    bool middleware = has_middleware(a), chaining = false;
    for (size_t i = 0; i < a->components_count; i++)
        chaining |= does_chaining(&a->components[i]);
    open_with(&w, '{');
    number(&w, "spin_lock_version", middleware || chaining);
    if (middleware || chaining) {
        array(&w, "must_understand");
        if (middleware)
            string(&w, NULL, S("host_requirements"));
        if (chaining)
            string(&w, NULL, S("component_host_requirements"));
        close_with(&w, ']');
    }
    metadata(&w, a);
    if (middleware) {
        object(&w, "host_requirements");
        string(&w, "middleware", S("required"));
        close_with(&w, '}');
    }
    variables(&w, a);
    array(&w, "triggers");
    for (size_t i = 0; i < a->triggers_count; i++)
        trigger(&w, a, &a->triggers[i]);
    close_with(&w, ']');
    array(&w, "components");
    for (size_t i = 0; i < a->components_count; i++)
        component(&w, &a->components[i]);
    close_with(&w, ']');
    close_with(&w, '}');
    return !out->failed || err_set(e, ERR_LIMIT,
                                   "the locked app is larger than %zu bytes, or "
                                   "there is no memory",
                                   out->max);
}
