/* Component dependencies and middleware: which other component satisfies an import.
 *
 * Names are checked here and told apart (plain or package); which version of a range is meant is
 * up to whoever fetches the package. Two names of one package must not overlap, or it would be
 * open which of them provides an interface. */
#include "app/manifest_reader.h"
#include "app/semver.h"

typedef struct {
    str package;   /* "ns:pkg"; empty for a plain name */
    str interface; /* after '/'; may be empty */
    str version;   /* after '@'; may be empty */
} dependency_name;

static bool name_parse(str s, dependency_name *ret)
{
    str rest = s, path = str_cut(&rest, '@');
    *ret = (dependency_name){.version = rest.p ? rest : (str){0}};
    if (rest.p && !rest.n)
        return false;
    if (str_find(path, ':') == path.n)
        return !rest.p && app_id_is_kebab(path);
    str interface = path, package = str_cut(&interface, '/');
    ret->package = package;
    ret->interface = interface;
    str name = package, space = str_cut(&name, ':');
    return app_id_is_kebab(space) && app_id_is_kebab(name) &&
           (!interface.p || app_id_is_kebab(interface));
}

/* The part of a version that compatible ones share: "1", "0.2", "0.0.3"; a pre-release stands for
 * itself. */
static str version_track(str v)
{
    str core = str_head(v, str_find(v, '+'));
    if (str_find(core, '-') < core.n)
        return core;
    for (size_t at = 0; at < core.n;) {
        size_t dot = at + str_find(str_skip(core, at), '.');
        str part = {core.p + at, dot - at};
        if (!str_eq(part, S("0")))
            return str_head(core, dot);
        at = dot + 1;
    }
    return core;
}

static bool is_disjoint(const dependency_name *x, const dependency_name *y)
{
    if (!str_eq(x->package, y->package))
        return true;
    if (x->interface.n && y->interface.n && !str_eq(x->interface, y->interface))
        return true;
    return x->version.n && y->version.n &&
           !str_eq(version_track(x->version), version_track(y->version));
}

static bool inherit_read(reader *r, const toml_value *v, uint32_t *ret)
{
    static const char *const bits[] = {"ai_models", "allowed_outbound_hosts", "environment",
                                       "files",     "key_value_stores",       "sqlite_databases",
                                       "variables"};
    str all[7];
    for (size_t i = 0; i < 7; i++)
        all[i] = str_from(bits[i]);
    *ret = 0;
    if (v->kind == TOML_BOOL) {
        *ret = v->boolean ? APP_INHERIT_ALL : 0;
        return true;
    }
    if (v->kind != TOML_ARRAY)
        return read_fail(r, v->pos, "inherit_configuration must be a boolean or a list, not %s",
                         toml_kind_name(v->kind));
    for (size_t i = 0; i < v->array.n; i++) {
        const toml_value *item = &v->array.at[i];
        if (!read_is(r, item, TOML_STRING, "inherit_configuration"))
            return false;
        size_t bit = 0;
        while (bit < 7 && !str_eq(item->string, all[bit]))
            bit++;
        if (bit == 7)
            return read_fail(r, item->pos, "'%.*s' can't be inherited%s", STR(item->string),
                             read_hint(r, item->string, all, 7));
        *ret |= 1u << bit;
    }
    return true;
}

bool dependency_read(reader *r, str name, const toml_value *v, app_dependency *ret, str *ret_ref)
{
    static const char *const known[] = {"version",   "registry", "package",
                                        "path",      "url",      "digest",
                                        "component", "export",   "inherit_configuration",
                                        NULL};
    const toml_table *t = v->table;
    app_dependency d = {.name = name, .source = {.pos = v->pos}};
    if (!read_is(r, v, TOML_TABLE, "a dependency") || !read_known(r, t, "a dependency", known) ||
        !read_str(r, t, "export", &d.export_name))
        return false;
    const toml_value *inherit = read_get(t, "inherit_configuration");
    if (inherit && !inherit_read(r, inherit, &d.inherit))
        return false;
    int forms = !!read_get(t, "version") + !!read_get(t, "path") + !!read_get(t, "url") +
                !!read_get(t, "component");
    if (forms != 1)
        return read_fail(r, v->pos,
                         "a dependency has one of 'version', 'path', 'url' or "
                         "'component'");
    if (!read_get(t, "version") && (read_get(t, "registry") || read_get(t, "package")))
        return read_fail(r, v->pos, "'registry' and 'package' need a 'version'");
    if (!read_get(t, "url") && read_get(t, "digest"))
        return read_fail(r, v->pos, "'digest' needs a 'url'");
    *ret_ref = (str){0};
    bool ok = true;
    if (read_get(t, "component")) {
        ok = read_required(r, t, "component", v->pos, "a dependency", ret_ref);
    } else if (read_get(t, "path")) {
        d.source.kind = APP_SOURCE_PATH;
        ok = read_required(r, t, "path", v->pos, "a dependency", &d.source.path);
    } else if (read_get(t, "url")) {
        d.source.kind = APP_SOURCE_URL;
        ok = read_required(r, t, "url", v->pos, "a dependency", &d.source.url) &&
             read_required(r, t, "digest", v->pos, "a dependency with a url", &d.source.digest) &&
             read_digest_check(r, read_get(t, "digest")->pos, d.source.digest);
    } else {
        d.source.kind = APP_SOURCE_REGISTRY;
        d.source.is_range = true;
        ok = read_required(r, t, "version", v->pos, "a dependency", &d.source.version) &&
             read_str(r, t, "registry", &d.source.registry) &&
             read_str(r, t, "package", &d.source.package);
    }
    if (!ok)
        return false;
    *ret = d;
    return true;
}

static bool dependency_add(reader *r, app_component *c, app_dependency d)
{
    app_dependencies *all = &c->dependencies;
    for (size_t i = 0; i < all->n; i++)
        if (str_eq(all->at[i].name, d.name)) { /* a profile replaces it */
            all->at[i] = d;
            return true;
        }
    app_dependency *at = arena_grow(r->a, all->at, all->n, all->n + 1, sizeof *at);
    if (!at)
        return read_no_memory(r);
    all->at = at;
    all->at[all->n++] = d;
    return true;
}

static bool dependency_entry(reader *r, const toml_entry *x, app_component *c, bool inherit_all)
{
    dependency_name name;
    app_dependency d;
    str ref = {0};
    if (!name_parse(x->key, &name))
        return read_fail(r, x->pos,
                         "dependency '%.*s' must be named like 'my-dep', 'ns:package' "
                         "or 'ns:package/interface@1.0.0'",
                         STR(x->key));
    if (x->value.kind == TOML_STRING) {
        d = (app_dependency){.name = x->key,
                             .source = {.kind = APP_SOURCE_REGISTRY,
                                        .version = x->value.string,
                                        .is_range = true,
                                        .pos = x->value.pos}};
    } else if (!dependency_read(r, x->key, &x->value, &d, &ref)) {
        return false;
    }
    bool is_registry = !ref.p && d.source.kind == APP_SOURCE_REGISTRY;
    if (is_registry && !semver_is_requirement(d.source.version))
        return read_fail(r, d.source.pos,
                         "'%.*s' is not a range of versions; write \"1.2\", \"=1.2.3\" or "
                         "\">=1.2, <2\"",
                         STR(d.source.version));
    if (is_registry && !d.source.package.n) {
        if (!name.package.n)
            return read_fail(r, x->pos,
                             "dependency '%.*s' is a plain name, so it needs a "
                             "'package'",
                             STR(x->key));
        d.source.package = name.package;
    }
    if (name.package.n && !name.interface.p && d.export_name.n)
        return read_fail(r, x->pos,
                         "dependency '%.*s' is a whole package, so it can't have an "
                         "'export'; name the interface",
                         STR(x->key));
    if (inherit_all) {
        if (x->value.kind == TOML_TABLE && read_get(x->value.table, "inherit_configuration"))
            return read_fail(r, x->pos,
                             "'inherit_configuration' can't be combined with "
                             "'dependencies_inherit_configuration' of the component");
        d.inherit = APP_INHERIT_ALL;
    }
    if (ref.p) { /* until dependencies_resolve: the id stands in for the source */
        d.source.kind = APP_SOURCE_PATH;
        d.source.path = (str){0};
        d.source.package = ref;
    }
    for (size_t i = 0; i < c->dependencies.n; i++) {
        dependency_name other;
        if (str_eq(c->dependencies.at[i].name, x->key) || !name.package.n)
            continue;
        if (name_parse(c->dependencies.at[i].name, &other) && other.package.n &&
            !is_disjoint(&name, &other))
            return read_fail(r, x->pos, "dependencies '%.*s' and '%.*s' overlap", STR(x->key),
                             STR(c->dependencies.at[i].name));
    }
    return dependency_add(r, c, d);
}

bool dependencies_read(reader *r, const toml_table *t, app_component *c)
{
    const toml_value *v;
    bool inherit_all = false;
    const toml_entry *flag = toml_get(t, S("dependencies_inherit_configuration"));
    if (!read_kind(r, t, "dependencies", TOML_TABLE, &v) ||
        !read_bool(r, t, "dependencies_inherit_configuration", &inherit_all))
        return false;
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        if (flag && !inherit_all && x->value.kind == TOML_TABLE &&
            read_get(x->value.table, "inherit_configuration"))
            return read_fail(r, x->pos,
                             "'inherit_configuration' can't be combined with "
                             "'dependencies_inherit_configuration' of the component");
        if (!dependency_entry(r, x, c, inherit_all))
            return false;
    }
    return true;
}

bool dependency_resolve(reader *r, toml_pos at, str ref, app_dependency *d)
{
    size_t i = names_get(&r->component_ids, ref);
    if (i == SIZE_MAX)
        return read_fail(r, at, "there is no component '%.*s'", STR(ref));
    const app_component *c = &r->out->components[i];
    const char *grant = c->variables.n                ? "variables"
                        : c->environment.n            ? "environment"
                        : c->mounts_count             ? "files"
                        : c->allowed_outbound_hosts.n ? "allowed_outbound_hosts"
                        : c->key_value_stores.n       ? "key_value_stores"
                        : c->sqlite_databases.n       ? "sqlite_databases"
                        : c->ai_models.n              ? "ai_models"
                        : c->dependencies.n           ? "dependencies"
                                                      : NULL;
    if (grant)
        return read_fail(r, at,
                         "component '%.*s' is used as a dependency, where its '%s' would "
                         "not apply; move it to the component that depends on it",
                         STR(ref), grant);
    d->source = c->source;
    return true;
}

bool dependencies_resolve(reader *r)
{
    for (size_t i = 0; i < r->out->components_count; i++) {
        app_dependencies *all = &r->out->components[i].dependencies;
        for (size_t j = 0; j < all->n; j++) {
            app_dependency *d = &all->at[j];
            bool is_ref = d->source.kind == APP_SOURCE_PATH && !d->source.path.n;
            if (is_ref && !dependency_resolve(r, d->source.pos, d->source.package, d))
                return false;
        }
    }
    return true;
}
