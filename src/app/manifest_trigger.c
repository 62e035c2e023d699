/* [[trigger.<type>]]: routes, channels, static responses, middleware, and the ids that Spin gives
 * to triggers and inline components without one.
 *
 * Ids come first for all triggers, then inline components: an inline component is named after its
 * trigger. */
#include "app/manifest_reader.h"
#include "app/outbound.h"
#include "app/route.h"
#include "app/template.h"
#include "app/toml_json.h"
#include "base/limits.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- opaque configuration as JSON ---- */

/* The form that reading a locked app gives again. A NUL in a key is what TOML can say and JSON, as
 * far as its parser goes, can't. */
static bool json_canonical(reader *r, const toml_table *t, str *text)
{
    json_error_t je;
    json_t *v = json_loadb(text->p, text->n, JSON_ALLOW_NUL, &je);
    if (!v)
        return read_fail(r, t->first->pos, "this can't be written as JSON: %s", je.text);
    char *z = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(v);
    *text = z ? arena_str(r->a, str_from(z)) : (str){0};
    free(z);
    return text->p || read_no_memory(r);
}

/* The table without the named keys. */
static bool table_json(reader *r, const toml_table *t, const char *const *without, str *ret)
{
    buf out;
    buf_init(&out, TOML_BYTES_MAX);
    buf_put_u8(&out, '{');
    bool ok = true, first = true;
    for (const toml_entry *x = t->first; ok && x; x = x->next) {
        bool skip = false;
        for (size_t i = 0; without && without[i]; i++)
            skip |= str_eq(x->key, str_from(without[i]));
        if (skip)
            continue;
        if (!first)
            buf_put_u8(&out, ',');
        first = false;
        json_put_string(&out, x->key);
        buf_put_u8(&out, ':');
        ok = toml_to_json(&x->value, &out, r->e);
    }
    buf_put_u8(&out, '}');
    *ret = ok && !out.failed ? arena_str(r->a, buf_str(&out)) : (str){0};
    buf_fini(&out);
    return !ok ? false : ret->p ? json_canonical(r, t, ret) : read_no_memory(r);
}

bool trigger_type_check(reader *r, toml_pos at, str type)
{
    for (size_t i = 0; i < type.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
                    type.p[i]) ||
            !type.p[i])
            return read_fail(r, at, "'%.*s' can't be a trigger type", STR(type));
    return type.n || read_fail(r, at, "a trigger type can't be empty");
}

bool trigger_defaults_add(reader *r, str type, const toml_table *t, const char *skip)
{
    const char *const known_http[] = {"base", skip, NULL};
    const char *const known_redis[] = {"address", skip, NULL};
    const char *const without[] = {skip, NULL};
    str base = S("/"), address = {0};
    bool is_http = str_eq(type, S("http")), is_redis = str_eq(type, S("redis"));
    if ((is_http &&
         (!read_known(r, t, "the http settings", known_http) || !read_str(r, t, "base", &base))) ||
        (is_redis && (!read_known(r, t, "the redis settings", known_redis) ||
                      !read_str(r, t, "address", &address))))
        return false;
    if (is_http && !str_eq(base, S("/")) &&
        !read_warn(r, read_get(t, "base")->pos, "'base' is ignored; write it into each route"))
        return false;
    app *out = r->out;
    app_trigger_defaults *at = arena_grow(r->a, out->trigger_defaults, out->trigger_defaults_count,
                                          out->trigger_defaults_count + 1, sizeof *at);
    if (!at)
        return read_no_memory(r);
    out->trigger_defaults = at;
    at += out->trigger_defaults_count++;
    *at = (app_trigger_defaults){.type = type, .address = address};
    return table_json(r, t, without, &at->config_json);
}

bool trigger_defaults_read(reader *r, const toml_table *application)
{
    const toml_value *v;
    if (!read_kind(r, application, "trigger", TOML_TABLE, &v))
        return false;
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next)
        if (!trigger_type_check(r, x->pos, x->key) ||
            !read_is(r, &x->value, TOML_TABLE, "the settings of a trigger type") ||
            !trigger_defaults_add(r, x->key, x->value.table, NULL))
            return false;
    return true;
}

/* ---- http ---- */

static bool route_read(reader *r, const toml_table *t, app_trigger *ret)
{
    static const char *const known[] = {"private", NULL};
    const toml_value *v = read_get(t, "route");
    bool is_private = false;
    if (!v)
        return read_fail(r, ret->pos,
                         "an http trigger has no 'route'; add route = \"/...\" or "
                         "route = { private = true }");
    if (v->kind == TOML_STRING) {
        ret->route = v->string;
        return route_check(v->string, r->e) || read_wrap(r, v->pos, "route");
    }
    if (v->kind != TOML_TABLE)
        return read_fail(r, v->pos, "route must be a string or { private = true }, not %s",
                         toml_kind_name(v->kind));
    if (!read_known(r, v->table, "a route", known) ||
        !read_bool(r, v->table, "private", &is_private))
        return false;
    ret->is_private = true;
    return is_private || read_fail(r, v->pos, "a route is a pattern or { private = true }");
}

static bool executor_read(reader *r, const toml_table *t, app_trigger *ret)
{
    static const char *const known[] = {"type", "argv", "entrypoint", NULL};
    static const char *const known_plain[] = {"type", NULL};
    const toml_value *v;
    str type;
    if (!read_kind(r, t, "executor", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    if (!read_required(r, v->table, "type", v->pos, "the executor", &type))
        return false;
    if (str_eq(type, S("http")) || str_eq(type, S("spin")))
        return read_known(r, v->table, "the executor", known_plain);
    if (!str_eq(type, S("wagi")))
        return read_fail(r, read_get(v->table, "type")->pos,
                         "unknown executor '%.*s'; there are "
                         "'http' and 'wagi'",
                         STR(type));
    ret->executor = APP_EXECUTOR_WAGI;
    ret->wagi_argv = S("${SCRIPT_NAME} ${ARGS}");
    ret->wagi_entrypoint = S("_start");
    return read_known(r, v->table, "the executor", known) &&
           read_str(r, v->table, "argv", &ret->wagi_argv) &&
           read_str(r, v->table, "entrypoint", &ret->wagi_entrypoint) &&
           read_warn(r, v->pos, "the wagi executor is deprecated");
}

static bool is_token(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
        if (!alnum && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

static bool is_field_value(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool static_headers_check(reader *r, const toml_table *t)
{
    const toml_value *v = read_get(t, "headers");
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        if (!is_token(x->key))
            return read_fail(r, x->pos, "'%.*s' is not the name of a header", STR(x->key));
        if (!is_field_value(x->value.string))
            return read_fail(r, x->value.pos, "header '%.*s' has a control character in its value",
                             STR(x->key));
        if (str_eq_nocase(x->key, S("content-length")) ||
            str_eq_nocase(x->key, S("transfer-encoding")))
            return read_fail(r, x->pos, "header '%.*s' is made from the body; remove it",
                             STR(x->key));
    }
    return true;
}

static bool static_response_read(reader *r, const toml_table *t, app_trigger *ret)
{
    static const char *const known[] = {"status_code", "headers", "body"};
    const toml_value *v, *status;
    if (!read_kind(r, t, "static_response", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    for (const toml_entry *x = v->table->first; x; x = x->next) {
        size_t i = 0;
        while (i < 3 && !str_eq(x->key, str_from(known[i])))
            i++;
        if (i == 3 && !read_warn(r, x->pos, "unknown field '%.*s' in static_response is ignored",
                                 STR(x->key)))
            return false;
    }
    ret->is_static = true;
    ret->static_response.status = 200;
    if (!read_kind(r, v->table, "status_code", TOML_INTEGER, &status) ||
        !read_pairs(r, v->table, "headers", &ret->static_response.headers) ||
        !read_str(r, v->table, "body", &ret->static_response.body) ||
        !static_headers_check(r, v->table))
        return false;
    if (status && (status->integer < 200 || status->integer > 599))
        return read_fail(r, status->pos, "status_code must be 200 to 599");
    if (status)
        ret->static_response.status = (uint16_t)status->integer;
    return true;
}

/* Middleware refers to components, so it is read when all of them are known. */
static bool middleware_read(reader *r, const toml_table *t, app_trigger *ret)
{
    static const char *const known[] = {"middleware", NULL};
    const toml_value *v, *list;
    if (!read_kind(r, t, "dependencies", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    if (!read_known(r, v->table, "the dependencies of an http trigger", known) ||
        !read_kind(r, v->table, "middleware", TOML_ARRAY, &list))
        return false;
    if (!list)
        return true;
    app_dependencies *all = &ret->middleware;
    all->at = ARENA_ARRAY(r->a, app_dependency, list->array.n);
    if (!all->at)
        return read_no_memory(r);
    for (size_t i = 0; i < list->array.n; i++) {
        str ref;
        app_dependency *d = &all->at[all->n++];
        const toml_value *item = &list->array.at[i];
        if (!dependency_read(r, (str){0}, item, d, &ref) ||
            (ref.p && !dependency_resolve(r, item->pos, ref, d)))
            return false;
        if (!ref.p && d->source.kind == APP_SOURCE_REGISTRY && !d->source.package.n)
            return read_fail(r, item->pos, "middleware from a registry needs a 'package'");
    }
    return true;
}

/* ---- any type ---- */

static bool redis_read(reader *r, const toml_table *t, app_trigger *ret)
{
    template probe;
    const app *out = r->out;
    if (!read_required(r, t, "channel", ret->pos, "a redis trigger", &ret->channel) ||
        !read_str(r, t, "address", &ret->address))
        return false;
    for (size_t i = 0; i < out->trigger_defaults_count && !ret->address.n; i++)
        if (str_eq(out->trigger_defaults[i].type, S("redis")))
            ret->address = out->trigger_defaults[i].address;
    if (!ret->address.n)
        return read_fail(r, ret->pos,
                         "a redis trigger has no 'address', and there is none in "
                         "[application.trigger.redis]");
    return (template_parse(r->a, ret->channel, &probe, r->e) &&
            template_parse(r->a, ret->address, &probe, r->e)) ||
           read_wrap(r, ret->pos, "redis trigger");
}

bool trigger_fields_read(reader *r, const toml_table *t, app_trigger *ret)
{
    static const char *const known_http[] = {
        "id",    "component", "components",      "dependencies",
        "route", "executor",  "static_response", NULL};
    static const char *const known_redis[] = {"id",      "component", "components", "dependencies",
                                              "channel", "address",   NULL};
    static const char *const common[] = {"id", "component", "components", "dependencies", NULL};
    if (ret->kind == APP_TRIGGER_HTTP)
        return read_known(r, t, "an http trigger", known_http) && route_read(r, t, ret) &&
               executor_read(r, t, ret) && static_response_read(r, t, ret);
    if (ret->kind == APP_TRIGGER_REDIS)
        return read_known(r, t, "a redis trigger", known_redis) && redis_read(r, t, ret);
    return table_json(r, t, common, &ret->config_json);
}

static bool trigger_add(reader *r, const toml_entry *type, const toml_value *v, size_t *cap)
{
    app *out = r->out;
    if (out->triggers_count == APP_COMPONENTS_MAX)
        return read_fail(r, v->pos, "more than %d triggers", APP_COMPONENTS_MAX);
    if (out->triggers_count == *cap) {
        size_t bigger = *cap ? *cap * 2 : 8;
        app_trigger *at = arena_grow(r->a, out->triggers, out->triggers_count, bigger, sizeof *at);
        if (!at)
            return read_no_memory(r);
        out->triggers = at;
        *cap = bigger;
    }
    app_trigger *t = &out->triggers[out->triggers_count++];
    *t = (app_trigger){.type = type->key, .component = APP_NONE, .pos = v->pos};
    t->kind = str_eq(type->key, S("http"))    ? APP_TRIGGER_HTTP
              : str_eq(type->key, S("redis")) ? APP_TRIGGER_REDIS
                                              : APP_TRIGGER_OTHER;
    return read_str(r, v->table, "id", &t->id) && trigger_fields_read(r, v->table, t);
}

/* Explicit ids first; then "<component>-<type>-trigger", else "<type>-triggerN". */
static bool ids_give(reader *r, const toml_value *const *tables)
{
    names taken = {0};
    app *out = r->out;
    for (size_t i = 0; i < out->triggers_count; i++) {
        app_trigger *t = &out->triggers[i];
        if (t->id.n && names_get(&taken, t->id) != SIZE_MAX)
            return read_fail(r, t->pos, "two triggers have the id '%.*s'", STR(t->id));
        if (t->id.n && !names_add(r->a, &taken, t->id, i))
            return read_no_memory(r);
    }
    unsigned counter = 1;
    for (size_t i = 0; i < out->triggers_count; i++) {
        app_trigger *t = &out->triggers[i];
        if (i && !str_eq(t->type, out->triggers[i - 1].type))
            counter = 1;
        if (t->id.n)
            continue;
        const toml_value *c = read_get(tables[i]->table, "component");
        if (c && c->kind == TOML_STRING)
            t->id = arena_printf(r->a, "%.*s-%.*s-trigger", STR(c->string), STR(t->type));
        while (!t->id.n || names_get(&taken, t->id) != SIZE_MAX) {
            t->id = arena_printf(r->a, "%.*s-trigger%u", STR(t->type), counter++);
            if (!t->id.p)
                return read_no_memory(r);
        }
        if (!names_add(r->a, &taken, t->id, i))
            return read_no_memory(r);
    }
    return true;
}

static bool inline_id(reader *r, const app_trigger *t, bool has_several, unsigned *counter,
                      str *ret)
{
    str id = arena_printf(r->a, "%.*s-component", STR(t->id));
    while (id.p &&
           (has_several || !app_id_is_kebab(id) || names_get(&r->component_ids, id) != SIZE_MAX)) {
        id = arena_printf(r->a, "inline-component%u", (*counter)++);
        has_several = false;
    }
    *ret = id;
    return id.p || read_no_memory(r);
}

static bool reference_read(reader *r, const app_trigger *t, const toml_value *v, bool has_several,
                           unsigned *counter, size_t *ret_index)
{
    if (v->kind == TOML_TABLE) {
        str id;
        return inline_id(r, t, has_several, counter, &id) &&
               manifest_read_component(r, id, v, ret_index);
    }
    if (!read_is(r, v, TOML_STRING, "component (unless it is a table)"))
        return false;
    *ret_index = names_get(&r->component_ids, v->string);
    if (*ret_index != SIZE_MAX)
        return true;
    size_t n = r->out->components_count;
    str *all = ARENA_ARRAY(r->a, str, n);
    for (size_t i = 0; all && i < n; i++)
        all[i] = r->out->components[i].id;
    return read_fail(r, v->pos, "there is no component '%.*s'%s", STR(v->string),
                     all ? read_hint(r, v->string, all, n) : "");
}

static size_t roles_count(const toml_value *roles)
{
    size_t n = 0;
    for (const toml_entry *x = roles ? roles->table->first : NULL; x; x = x->next)
        n += x->value.kind == TOML_ARRAY ? x->value.array.n : 1;
    return n;
}

/* `component` and every entry of `components`. */
static bool components_link(reader *r, app_trigger *t, const toml_table *table)
{
    const toml_value *roles, *main = read_get(table, "component");
    size_t index;
    unsigned counter = 1;
    if (!read_kind(r, table, "components", TOML_TABLE, &roles))
        return false;
    bool has_several = roles_count(roles) + !!main > 1;
    if (main) {
        if (!reference_read(r, t, main, has_several, &counter, &index))
            return false;
        t->component = (int)index;
        r->out->components[index].is_used = true;
    }
    for (const toml_entry *x = roles ? roles->table->first : NULL; x; x = x->next) {
        bool is_list = x->value.kind == TOML_ARRAY;
        for (size_t i = 0; i < (is_list ? x->value.array.n : 1); i++) {
            const toml_value *v = is_list ? &x->value.array.at[i] : &x->value;
            if (!reference_read(r, t, v, has_several, &counter, &index))
                return false;
            r->out->components[index].is_used = true;
        }
    }
    if (t->kind == APP_TRIGGER_HTTP && !main == !t->is_static)
        return read_fail(r, t->pos, "trigger '%.*s' must have %s", STR(t->id),
                         main ? "either a component or a static_response, not both"
                              : "a component or a static_response");
    if (t->kind == APP_TRIGGER_REDIS && !main)
        return read_fail(r, t->pos, "trigger '%.*s' has no component", STR(t->id));
    return t->kind != APP_TRIGGER_HTTP || middleware_read(r, table, t);
}

bool triggers_read(reader *r, const toml_table *root)
{
    const toml_value *v;
    size_t cap = 0, n = 0;
    if (!read_kind(r, root, "trigger", TOML_TABLE, &v))
        return false;
    if (!v)
        return read_fail(r, (toml_pos){1, 1},
                         "the app has no triggers; add [[trigger.http]] with "
                         "a route and a component");
    for (const toml_entry *x = v->table->first; x; x = x->next) {
        if (!trigger_type_check(r, x->pos, x->key))
            return false;
        if (x->value.kind != TOML_ARRAY)
            return read_fail(r, x->pos,
                             "triggers are a list: write [[trigger.%.*s]] with two "
                             "brackets",
                             STR(x->key));
        for (size_t i = 0; i < x->value.array.n; i++, n++)
            if (!read_is(r, &x->value.array.at[i], TOML_TABLE, "a trigger") ||
                !trigger_add(r, x, &x->value.array.at[i], &cap))
                return false;
    }
    const toml_value **tables = arena_array(r->a, n, sizeof *tables);
    if (!tables)
        return read_no_memory(r);
    n = 0;
    for (const toml_entry *x = v->table->first; x; x = x->next)
        for (size_t i = 0; i < x->value.array.n; i++)
            tables[n++] = &x->value.array.at[i];
    if (!ids_give(r, tables))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!components_link(r, &r->out->triggers[i], tables[i]->table))
            return false;
    return true;
}

/* ---- across triggers ---- */

static bool duplicates_warn(reader *r)
{
    _cleanup_(arena_fini) arena scratch;
    route_table *table;
    size_t n;
    arena_init(&scratch, APP_ARENA_BYTES_MAX);
    if (!route_table_build(&scratch, r->out, &table, r->e))
        return err_wrap(r->e, "%.*s", STR(r->file));
    const route_duplicate *all = route_duplicates(table, &n);
    for (size_t i = 0; i < n; i++)
        if (!read_warn(r, all[i].shadowed->pos,
                       "route '%.*s' of trigger '%.*s' is never reached: "
                       "trigger '%.*s' (line %u) has the same one, and the last wins",
                       STR(all[i].shadowed->route), STR(all[i].shadowed->id), STR(all[i].by->id),
                       all[i].by->pos.line))
            return false;
    return true;
}

static bool reserved_warn(reader *r)
{
    for (size_t i = 0; i < r->out->triggers_count; i++) {
        const app_trigger *t = &r->out->triggers[i];
        if (t->kind == APP_TRIGGER_HTTP && str_starts(t->route, S("/.well-known/spin/")) &&
            !read_warn(r, t->pos, "route '%.*s' is never reached: /.well-known/spin/ is reserved",
                       STR(t->route)))
            return false;
    }
    return true;
}

static bool chaining_warn(reader *r)
{
    for (size_t i = 0; i < r->out->components_count; i++) {
        const app_component *c = &r->out->components[i];
        for (size_t j = 0; j < c->allowed_outbound_hosts.n; j++) {
            outbound_rule rule;
            str text = c->allowed_outbound_hosts.at[j];
            if (!outbound_rule_parse(r->a, text, &rule, NULL) || rule.kind != OUTBOUND_NAME)
                continue;
            str id = outbound_chained_component(rule.name);
            if (id.p && names_get(&r->component_ids, id) == SIZE_MAX &&
                !read_warn(r, c->pos,
                           "component '%.*s' may call '%.*s', but there is no component "
                           "'%.*s'",
                           STR(c->id), STR(text), STR(id)))
                return false;
        }
    }
    return true;
}

bool triggers_check(reader *r)
{
    return defer_check(r) && duplicates_warn(r) && reserved_warn(r) && chaining_warn(r);
}
