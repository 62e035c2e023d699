/* [component.<id>]: source, files, environment, grants, build, profiles and tool.ebb.
 *
 * Templates are checked against the app's variables and, where all of those have a default,
 * against the grammar that their expansion must have, so that a mistake shows when the app is
 * loaded and not at the first request. Labels are only checked as words: what is behind one is the
 * platform's. */
#include "app/manifest_reader.h"
#include "app/outbound.h"
#include "app/template.h"
#include "app/variables.h"
#include "base/limits.h"

bool component_add(reader *r, str id, toml_pos pos, app_component **ret)
{
    app *out = r->out;
    if (out->components_count == APP_COMPONENTS_MAX)
        return read_fail(r, pos, "more than %d components", APP_COMPONENTS_MAX);
    if (out->components_count == r->components_cap) {
        size_t cap = r->components_cap ? r->components_cap * 2 : 8;
        app_component *at =
            arena_grow(r->a, out->components, out->components_count, cap, sizeof *at);
        if (!at)
            return read_no_memory(r);
        out->components = at;
        r->components_cap = cap;
    }
    if (!names_add(r->a, &r->component_ids, id, out->components_count))
        return read_no_memory(r);
    app_component *c = &out->components[out->components_count++];
    *c = (app_component){.id = id, .pos = pos, .settings = app_settings_default()};
    *ret = c;
    return true;
}

/* ---- source ---- */

static bool package_check(reader *r, toml_pos at, str package)
{
    str rest = package, space = str_cut(&rest, ':');
    return (rest.p && app_id_is_kebab(space) && app_id_is_kebab(rest)) ||
           read_fail(r, at, "package '%.*s' must be 'namespace:name'", STR(package));
}

bool component_source_read(reader *r, const toml_value *v, app_source *ret)
{
    static const char *const known[] = {"url", "digest", "registry", "package", "version", NULL};
    *ret = (app_source){.pos = v->pos};
    if (v->kind == TOML_STRING) {
        ret->kind = APP_SOURCE_PATH;
        ret->path = v->string;
        return v->string.n || read_fail(r, v->pos, "the source is empty");
    }
    if (v->kind != TOML_TABLE)
        return read_fail(r, v->pos,
                         "the source must be a path, { url, digest } or { registry, "
                         "package, version }, not %s",
                         toml_kind_name(v->kind));
    const toml_table *t = v->table;
    if (!read_known(r, t, "a source", known))
        return false;
    if (read_get(t, "url")) {
        ret->kind = APP_SOURCE_URL;
        if (read_get(t, "package") || read_get(t, "version") || read_get(t, "registry"))
            return read_fail(r, v->pos,
                             "a source has either 'url' and 'digest', or 'package' and "
                             "'version'");
        if (!read_required(r, t, "url", v->pos, "a source", &ret->url) ||
            !read_required(r, t, "digest", v->pos, "a source with a url", &ret->digest))
            return false;
        if (!str_starts(ret->url, S("https://")) && !str_starts(ret->url, S("http://")))
            return read_fail(r, v->pos, "url '%.*s' must begin with https:// or http://",
                             STR(ret->url));
        return read_digest_check(r, read_get(t, "digest")->pos, ret->digest);
    }
    ret->kind = APP_SOURCE_REGISTRY;
    if (read_get(t, "digest"))
        return read_fail(r, v->pos, "a source with a digest needs a 'url'");
    return read_str(r, t, "registry", &ret->registry) &&
           read_required(r, t, "package", v->pos, "a source", &ret->package) &&
           read_required(r, t, "version", v->pos, "a source", &ret->version) &&
           package_check(r, v->pos, ret->package);
}

/* ---- files, build ---- */

bool component_files_read(reader *r, const toml_table *t, app_component *c)
{
    static const char *const known[] = {"source", "destination", NULL};
    const toml_value *v;
    if (!read_kind(r, t, "files", TOML_ARRAY, &v) ||
        !read_str_list(r, t, "exclude_files", &c->exclude_files))
        return false;
    if (!v)
        return true;
    c->mounts = ARENA_ARRAY(r->a, app_mount, v->array.n);
    if (!c->mounts)
        return read_no_memory(r);
    for (size_t i = 0; i < v->array.n; i++) {
        const toml_value *item = &v->array.at[i];
        app_mount *m = &c->mounts[c->mounts_count++];
        *m = (app_mount){.pos = item->pos};
        if (item->kind == TOML_STRING) {
            m->source = item->string;
            continue;
        }
        m->is_pair = true;
        if (!read_is(r, item, TOML_TABLE, "an entry of files that is not a string") ||
            !read_known(r, item->table, "an entry of files", known) ||
            !read_required(r, item->table, "source", item->pos, "an entry of files", &m->source) ||
            !read_required(r, item->table, "destination", item->pos, "an entry of files",
                           &m->destination))
            return false;
    }
    return true;
}

static bool commands_read(reader *r, const toml_table *t, str_list *ret)
{
    const toml_value *v = read_get(t, "command");
    str_list commands = {0};
    if (!v)
        return read_fail(r, t->first ? t->first->pos : (toml_pos){1, 1},
                         "'build' has no 'command', which is required");
    if (v->kind == TOML_STRING) {
        if (!str_list_add(r->a, &commands, v->string))
            return read_no_memory(r);
    } else if (v->kind != TOML_ARRAY) {
        return read_fail(r, v->pos, "command must be a string or a list of strings, not %s",
                         toml_kind_name(v->kind));
    } else if (!read_str_list(r, t, "command", &commands)) {
        return false;
    }
    *ret = commands;
    return true;
}

bool component_build_read(reader *r, const toml_table *t, app_component *c)
{
    static const char *const known[] = {"command", "workdir", "watch", NULL};
    const toml_value *v;
    if (!read_kind(r, t, "build", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    if (!read_known(r, v->table, "'build'", known) ||
        !commands_read(r, v->table, &c->build.commands) ||
        !read_str(r, v->table, "workdir", &c->build.workdir) ||
        !read_str_list(r, v->table, "watch", &c->build.watch))
        return false;
    return !str_starts(c->build.workdir, S("/")) ||
           read_fail(r, read_get(v->table, "workdir")->pos,
                     "workdir '%.*s' must be relative to the manifest", STR(c->build.workdir));
}

/* ---- profiles ---- */

/* Later values replace earlier ones of the same name. */
static bool pairs_merge(reader *r, app_pairs *into, const app_pairs *from)
{
    for (size_t i = 0; i < from->n; i++) {
        size_t j = 0;
        while (j < into->n && !str_eq(into->at[j].key, from->at[i].key))
            j++;
        if (j < into->n)
            into->at[j].value = from->at[i].value;
        else if (!app_pairs_add(r->a, into, from->at[i].key, from->at[i].value))
            return read_no_memory(r);
    }
    return true;
}

static bool profile_apply(reader *r, const toml_table *t, app_component *c)
{
    const toml_value *source = read_get(t, "source"), *build = read_get(t, "build");
    app_pairs environment = {0};
    return (!source || component_source_read(r, source, &c->source)) &&
           (!build || commands_read(r, build->table, &c->build.commands)) &&
           read_pairs(r, t, "environment", &environment) &&
           pairs_merge(r, &c->environment, &environment) && dependencies_read(r, t, c);
}

/* All profiles are checked, the chosen one is applied. */
static bool profiles_read(reader *r, const toml_table *t, app_component *c)
{
    static const char *const known[] = {"source", "environment", "dependencies", "build", NULL};
    static const char *const known_build[] = {"command", NULL};
    const toml_value *v, *build;
    if (!read_kind(r, t, "profile", TOML_TABLE, &v))
        return false;
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        app_component probe = {.id = c->id};
        if (!read_is(r, &x->value, TOML_TABLE, "a profile") ||
            !read_known(r, x->value.table, "a profile", known) ||
            !read_kind(r, x->value.table, "build", TOML_TABLE, &build) ||
            (build && !read_known(r, build->table, "'build' of a profile", known_build)))
            return false;
        bool chosen = r->profile.n && str_eq(x->key, r->profile);
        r->profile_is_defined |= chosen;
        if (!profile_apply(r, x->value.table, chosen ? c : &probe))
            return false;
    }
    return true;
}

/* ---- grants ---- */

static bool labels_check(reader *r, const toml_table *t, const char *key)
{
    const toml_value *v = read_get(t, key);
    for (size_t i = 0; v && i < v->array.n; i++) {
        str label = v->array.at[i].string;
        if (app_id_problem(label, '-', false) && app_id_problem(label, '_', false))
            return read_fail(r, v->array.at[i].pos,
                             "label '%.*s' in %s must be like 'my-store' "
                             "or 'my_store'",
                             STR(label), key);
    }
    return true;
}

static bool fail_no_variable(reader *r, toml_pos at, const char *what, str name)
{
    size_t n = r->out->variables_count;
    str *all = ARENA_ARRAY(r->a, str, n);
    for (size_t i = 0; all && i < n; i++)
        all[i] = r->out->variables[i].name;
    return read_fail(r, at, "%s: the app has no variable '%.*s'%s", what, STR(name),
                     all ? read_hint(r, name, all, n) : "");
}

/* Parses a template and checks that the app has every variable in it. *ret_value is its expansion
 * by defaults, or p == NULL if some variable has none. */
static bool template_check(reader *r, toml_pos at, const char *what, str text, bool *ret_literal,
                           str *ret_value)
{
    template t;
    buf value;
    bool complete = true;
    if (!template_parse(r->a, text, &t, r->e))
        return read_wrap(r, at, what);
    buf_init(&value, VARIABLE_VALUE_BYTES_MAX);
    for (size_t i = 0; i < t.n; i++) {
        str part = t.parts[i].text;
        size_t index = t.parts[i].is_name ? names_get(&r->variable_names, part) : 0;
        if (index == SIZE_MAX) {
            buf_fini(&value);
            return fail_no_variable(r, at, what, part);
        }
        const app_variable *v = t.parts[i].is_name ? &r->out->variables[index] : NULL;
        complete &= !v || v->has_default;
        buf_put_str(&value, !v ? part : v->has_default ? v->value : S(""));
    }
    *ret_literal = t.is_literal;
    *ret_value = complete && !value.failed ? arena_str(r->a, buf_str(&value)) : (str){0};
    bool ok = ret_value->p || (!complete && !value.failed);
    buf_fini(&value);
    return ok || read_fail(r, at, "%s: longer than %zu bytes, or out of memory", what,
                           VARIABLE_VALUE_BYTES_MAX);
}

static bool hosts_check(reader *r, const toml_table *t)
{
    const toml_value *v = read_get(t, "allowed_outbound_hosts");
    for (size_t i = 0; v && i < v->array.n; i++) {
        const toml_value *item = &v->array.at[i];
        outbound_rules rules;
        bool is_literal;
        str value;
        if (!template_check(r, item->pos, "allowed_outbound_hosts", item->string, &is_literal,
                            &value))
            return false;
        bool was_template = !is_literal;
        if (value.p && !outbound_rules_parse(r->a, &value, &was_template, 1, &rules, r->e))
            return read_wrap(r, item->pos,
                             is_literal ? "allowed_outbound_hosts"
                                        : "allowed_outbound_hosts, with the "
                                          "variables' defaults");
    }
    return true;
}

static bool environment_check(reader *r, const toml_table *t)
{
    const toml_value *v = read_get(t, "environment");
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        if (!x->key.n || memchr(x->key.p, '=', x->key.n) || memchr(x->key.p, 0, x->key.n))
            return read_fail(r, x->pos, "'%.*s' can't be the name of an environment variable",
                             STR(x->key));
        if (x->value.string.n && memchr(x->value.string.p, 0, x->value.string.n))
            return read_fail(r, x->value.pos, "an environment variable can't hold a NUL byte");
    }
    return true;
}

static bool variables_check_templates(reader *r, const toml_table *t, const char *key)
{
    const toml_value *v = read_get(t, key);
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        bool is_literal;
        str value;
        const char *problem = app_id_problem(x->key, '_', true);
        if (problem)
            return read_fail(r, x->pos, "variable '%.*s': %s", STR(x->key), problem);
        if (!template_check(r, x->value.pos, "variables", x->value.string, &is_literal, &value))
            return false;
    }
    return true;
}

bool manifest_check_component(reader *r, const toml_table *t, app_component *c)
{
    return hosts_check(r, t) && environment_check(r, t) &&
           variables_check_templates(r, t, "variables") &&
           variables_check_templates(r, t, "config") && labels_check(r, t, "key_value_stores") &&
           labels_check(r, t, "sqlite_databases");
}

/* "example.com:80", "https://example.com", "self": host and ":port", or false. */
static bool http_host_cut(str text, str *host, str *port)
{
    if (str_starts(text, S("https://")))
        text = str_skip(text, 8);
    else if (str_starts(text, S("http://")))
        text = str_skip(text, 7);
    else if (text.n && memmem(text.p, text.n, "//", 2))
        return false;
    if (str_ends(text, S("/")))
        text.n--;
    size_t colon = str_rfind(text, ':');
    if (str_ends(text, S("]")))
        colon = text.n;
    *host = str_head(text, colon);
    *port = str_skip(text, colon);
    return host->n && str_find(text, '/') == text.n;
}

bool component_http_hosts_convert(reader *r, const toml_table *t, app_component *c,
                                  bool with_databases)
{
    static const char *const databases[] = {"redis://*:*", "mysql://*:*", "postgres://*:*"};
    static const char *const all[] = {"http://*:*", "https://*:*", "http://self"};
    const toml_value *v;
    str_list hosts = {0};
    bool ok = true, has_all = false;
    if (!read_kind(r, t, "allowed_http_hosts", TOML_ARRAY, &v) ||
        !read_str_list(r, t, "allowed_http_hosts", &hosts))
        return false;
    for (size_t i = 0; ok && with_databases && i < 3; i++)
        ok = str_list_add(r->a, &c->allowed_outbound_hosts, str_from(databases[i]));
    for (size_t i = 0; i < hosts.n; i++)
        has_all |= str_eq(hosts.at[i], S("insecure:allow-all"));
    for (size_t i = 0; ok && has_all && i < 3; i++)
        ok = str_list_add(r->a, &c->allowed_outbound_hosts, str_from(all[i]));
    for (size_t i = 0; ok && !has_all && i < hosts.n; i++) {
        str host, port;
        outbound_rule rule;
        if (!http_host_cut(hosts.at[i], &host, &port))
            return read_fail(r, v->array.at[i].pos,
                             "allowed_http_hosts: '%.*s' must be a host "
                             "with an optional port",
                             STR(hosts.at[i]));
        bool is_self = str_eq(host, S("self"));
        for (int tls = 0; ok && tls < (is_self ? 1 : 2); tls++) {
            str s = arena_printf(r->a, "http%s://%.*s%.*s", tls ? "s" : "", STR(host), STR(port));
            if (is_self)
                s = S("http://self");
            if (s.p && !outbound_rule_parse(r->a, s, &rule, r->e))
                return read_wrap(r, v->array.at[i].pos, "allowed_http_hosts");
            ok = s.p && str_list_add(r->a, &c->allowed_outbound_hosts, s);
        }
    }
    return ok || read_no_memory(r);
}

/* ---- tool.ebb ---- */

typedef struct {
    const char *suffix;
    uint64_t factor;
} unit;

static const unit byte_units[] = {{"", 1},         {"B", 1},           {"KiB", KIB},
                                  {"MiB", MIB},    {"GiB", GIB},       {"kB", 1000},
                                  {"MB", 1000000}, {"GB", 1000000000}, {NULL, 0}};
static const unit time_units[] = {{"ns", 1},
                                  {"us", 1000},
                                  {"ms", NS_PER_MS},
                                  {"s", NS_PER_S},
                                  {"m", 60 * NS_PER_S},
                                  {"min", 60 * NS_PER_S},
                                  {"h", 3600 * NS_PER_S},
                                  {NULL, 0}};
static const unit day_units[] = {{"s", NS_PER_S},         {"m", 60 * NS_PER_S},
                                 {"min", 60 * NS_PER_S},  {"h", 3600 * NS_PER_S},
                                 {"d", 86400 * NS_PER_S}, {NULL, 0}};
static const unit count_units[] = {{"", 1}, {NULL, 0}};

static bool quantity_parse(str s, const unit *units, uint64_t *ret)
{
    uint64_t number;
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    str suffix = str_trim(str_skip(s, digits));
    if (!str_to_u64(str_head(s, digits), UINT64_MAX, &number))
        return false;
    for (const unit *u = units; u->suffix; u++)
        if (str_eq(suffix, str_from(u->suffix)))
            return !__builtin_mul_overflow(number, u->factor, ret) && *ret <= INT64_MAX;
    return false;
}

/* An integer counts `one` each; a string has a unit; "none" and 0 take the limit away. */
static bool quantity_read(reader *r, const toml_table *t, const char *key, const unit *units,
                          uint64_t one, const char *example, uint64_t *ret)
{
    const toml_value *v = read_get(t, key);
    if (!v)
        return true;
    if (v->kind == TOML_STRING) {
        if (str_eq(v->string, S("none")) || str_eq(v->string, S("0"))) {
            *ret = 0;
            return true;
        }
        return quantity_parse(str_trim(v->string), units, ret) ||
               read_fail(r, v->pos, "%s = '%.*s': write it like \"%s\", or \"none\" for no limit",
                         key, STR(v->string), example);
    }
    if (!read_is(r, v, TOML_INTEGER, key))
        return false;
    return (v->integer >= 0 && !__builtin_mul_overflow((uint64_t)v->integer, one, ret) &&
            *ret <= INT64_MAX) ||
           read_fail(r, v->pos, "%s is out of range", key);
}

static bool count_read(reader *r, const toml_table *t, const char *key, const char *example,
                       uint32_t *ret)
{
    uint64_t n = *ret;
    if (!quantity_read(r, t, key, count_units, 1, example, &n))
        return false;
    if (n > UINT32_MAX)
        return read_fail(r, read_get(t, key)->pos, "%s is out of range", key);
    *ret = (uint32_t)n;
    return true;
}

/* Numbers of bytes and seconds with their units, and counts. */
static bool limits_read(reader *r, const toml_table *t, app_settings *s)
{
    return quantity_read(r, t, "memory_max", byte_units, 1, "128 MiB", &s->memory_bytes_max) &&
           quantity_read(r, t, "cpu_time_max", time_units, NS_PER_S, "30s", &s->cpu_time_max_ns) &&
           quantity_read(r, t, "wall_time_max", time_units, NS_PER_S, "2m", &s->wall_time_max_ns) &&
           quantity_read(r, t, "idle_time_max", time_units, NS_PER_S, "10m",
                         &s->idle_time_max_ns) &&
           quantity_read(r, t, "request_body_max", byte_units, 1, "10 MiB",
                         &s->request_body_bytes_max) &&
           quantity_read(r, t, "response_body_max", byte_units, 1, "10 MiB",
                         &s->response_body_bytes_max) &&
           quantity_read(r, t, "log_max", byte_units, 1, "1 MiB", &s->log_bytes_max) &&
           count_read(r, t, "concurrency_max", "100", &s->concurrency_max) &&
           count_read(r, t, "queue_max", "256", &s->queue_max) &&
           count_read(r, t, "resources_max", "1000", &s->resources_max);
}

/* Whole seconds from 1 to max; absent: unchanged. */
bool settings_seconds_read(reader *r, const toml_table *t, const char *key, const char *example,
                           uint32_t max, uint32_t *ret)
{
    uint64_t v = (uint64_t)*ret * NS_PER_S;
    if (!quantity_read(r, t, key, day_units, NS_PER_S, example, &v))
        return false;
    if (v < NS_PER_S || v / NS_PER_S > max)
        return read_fail(r, read_get(t, key)->pos, "%s must be from 1s to %ud (%u s)", key,
                         max / 86400, max);
    *ret = (uint32_t)(v / NS_PER_S);
    return true;
}

bool settings_bytes_read(reader *r, const toml_table *t, const char *key, uint64_t max,
                         uint64_t *ret)
{
    if (!quantity_read(r, t, key, byte_units, 1, "1 MiB", ret))
        return false;
    return (*ret && *ret <= max) ||
           read_fail(r, read_get(t, key)->pos, "%s must be from 1 to %llu bytes", key,
                     (unsigned long long)max);
}

bool settings_read(reader *r, const toml_table *parent, app_settings *s)
{
    static const char *const known[] = {"memory_max",
                                        "cpu_time_max",
                                        "wall_time_max",
                                        "idle_time_max",
                                        "request_body_max",
                                        "log_max",
                                        "response_body_max",
                                        "concurrency_max",
                                        "queue_max",
                                        "resources_max",
                                        "clock_resolution",
                                        "restore",
                                        "restore_after_start",
                                        "defer",
                                        "cron",
                                        NULL};
    const toml_value *tool, *ebb;
    if (!read_kind(r, parent, "tool", TOML_TABLE, &tool))
        return false;
    if (!tool)
        return true;
    for (const toml_entry *x = tool->table->first; x; x = x->next)
        if (!read_is(r, &x->value, TOML_TABLE, "an entry of 'tool'"))
            return false;
    if (!(ebb = read_get(tool->table, "ebb")))
        return true;
    const toml_table *t = ebb->table;
    if (!read_known(r, t, "tool.ebb", known) || !limits_read(r, t, s) ||
        !quantity_read(r, t, "clock_resolution", time_units, NS_PER_S, "1ms",
                       &s->clock_resolution_ns))
        return false;
    const toml_value *restore, *after;
    if (!read_kind(r, t, "restore", TOML_BOOL, &restore) ||
        !read_kind(r, t, "restore_after_start", TOML_BOOL, &after))
        return false;
    if (restore)
        s->no_restore = !restore->boolean;
    if (after)
        s->restore_after_start = after->boolean;
    if (s->clock_resolution_ns == 0)
        s->clock_resolution_ns = 1;
    if (!defer_read(r, t, s) || !crons_read(r, t, s))
        return false;
    return s->clock_resolution_ns <= APP_CLOCK_RESOLUTION_MAX_NS ||
           read_fail(r, read_get(t, "clock_resolution")->pos,
                     "clock_resolution may be at most one second");
}

/* ---- the component ---- */

bool component_common_read(reader *r, const toml_table *t, app_component *c)
{
    const toml_value *source = read_get(t, "source");
    if (!source)
        return read_fail(r, c->pos, "component '%.*s' has no 'source'; add the path of its .wasm",
                         STR(c->id));
    return component_source_read(r, source, &c->source) &&
           read_str(r, t, "description", &c->description) &&
           read_pairs(r, t, "environment", &c->environment) && component_files_read(r, t, c) &&
           read_str_list(r, t, "allowed_outbound_hosts", &c->allowed_outbound_hosts) &&
           read_str_list(r, t, "key_value_stores", &c->key_value_stores) &&
           read_str_list(r, t, "sqlite_databases", &c->sqlite_databases) &&
           read_str_list(r, t, "ai_models", &c->ai_models) && component_build_read(r, t, c);
}

bool manifest_read_component(reader *r, str id, const toml_value *v, size_t *ret_index)
{
    static const char *const known[] = {"source",
                                        "description",
                                        "variables",
                                        "environment",
                                        "files",
                                        "exclude_files",
                                        "allowed_outbound_hosts",
                                        "allowed_http_hosts",
                                        "key_value_stores",
                                        "sqlite_databases",
                                        "ai_models",
                                        "targets",
                                        "build",
                                        "tool",
                                        "dependencies",
                                        "dependencies_inherit_configuration",
                                        "profile",
                                        NULL};
    app_component *c;
    const char *problem = app_id_problem(id, '-', false);
    if (problem)
        return read_fail(r, v->pos, "component id '%.*s': %s (write it like 'my-component')",
                         STR(id), problem);
    if (!read_is(r, v, TOML_TABLE, "a component") || !component_add(r, id, v->pos, &c))
        return false;
    *ret_index = r->out->components_count - 1;
    const toml_table *t = v->table;
    c->settings = r->settings;
    if (!read_known(r, t, "a component", known) || !component_common_read(r, t, c) ||
        !read_pairs(r, t, "variables", &c->variables) || !manifest_check_component(r, t, c) ||
        !targets_read(r, t, &c->targets) || !settings_read(r, t, &c->settings) ||
        !dependencies_read(r, t, c) || !profiles_read(r, t, c))
        return false;
    const toml_entry *old = toml_get(t, S("allowed_http_hosts"));
    if (old && !read_warn(r, old->pos,
                          "allowed_http_hosts is deprecated; use "
                          "allowed_outbound_hosts with 'https://host'"))
        return false;
    return !old || component_http_hosts_convert(r, t, c, false);
}
