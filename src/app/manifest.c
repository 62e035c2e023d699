/* spin.toml: the version, [application], [variables], and the order in which the parts are read.
 *
 * Files: manifest_reader.c (typed fields and messages), manifest_component.c, manifest_trigger.c,
 * manifest_dependency.c, manifest_v1.c. All of them fill one app and stop at the first error; what
 * still runs but is probably not meant becomes a warning.
 *
 * Order matters where parts refer to each other: variables, then components (with the profile
 * applied), then triggers (which may define components inline), then what refers across:
 * dependencies on other components, service chaining, duplicate routes. */
#include "app/manifest.h"

#include "app/manifest_reader.h"
#include "base/limits.h"

bool targets_read(reader *r, const toml_table *t, app_targets *ret)
{
    static const char *const known[] = {"url", "path", NULL};
    const toml_value *v;
    if (!read_kind(r, t, "targets", TOML_ARRAY, &v))
        return false;
    if (!v)
        return true;
    *ret = (app_targets){.at = ARENA_ARRAY(r->a, app_target, v->array.n)};
    if (!ret->at)
        return read_no_memory(r);
    for (size_t i = 0; i < v->array.n; i++) {
        const toml_value *item = &v->array.at[i];
        app_target *target = &ret->at[ret->n++];
        if (item->kind == TOML_STRING) {
            target->catalogue = item->string;
            continue;
        }
        if (!read_is(r, item, TOML_TABLE, "a target that is not a string") ||
            !read_known(r, item->table, "a target", known) ||
            !read_str(r, item->table, "url", &target->url) ||
            !read_str(r, item->table, "path", &target->path))
            return false;
        if (!target->url.n == !target->path.n)
            return read_fail(r, item->pos, "a target has either 'url' or 'path'");
    }
    return true;
}

static bool variable_read(reader *r, const toml_entry *x, app_variable *v)
{
    static const char *const known[] = {"default", "required", "secret", "description", NULL};
    const char *problem = app_id_problem(x->key, '_', true);
    if (problem)
        return read_fail(r, x->pos, "variable '%.*s': %s (write it like 'api_key')", STR(x->key),
                         problem);
    if (x->value.kind != TOML_TABLE)
        return read_fail(r, x->value.pos,
                         "variable '%.*s' must be a table, such as "
                         "{ default = \"...\" } or { required = true }",
                         STR(x->key));
    const toml_table *t = x->value.table;
    *v = (app_variable){.name = x->key};
    if (!read_known(r, t, "a variable", known) || !read_str(r, t, "default", &v->value) ||
        !read_str(r, t, "description", &v->description) ||
        !read_bool(r, t, "required", &v->required) || !read_bool(r, t, "secret", &v->secret))
        return false;
    v->has_default = v->value.p;
    if (v->required == v->has_default)
        return read_fail(r, x->pos, "variable '%.*s' must %s", STR(x->key),
                         v->required ? "not have both a default and 'required = true'"
                                     : "be required or have a default");
    return true;
}

bool variables_read(reader *r, const toml_table *root)
{
    const toml_value *v;
    if (!read_kind(r, root, "variables", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    r->out->variables = ARENA_ARRAY(r->a, app_variable, v->table->n);
    if (!r->out->variables)
        return read_no_memory(r);
    for (const toml_entry *x = v->table->first; x; x = x->next) {
        size_t i = r->out->variables_count++;
        if (!variable_read(r, x, &r->out->variables[i]))
            return false;
        if (!names_add(r->a, &r->variable_names, x->key, i))
            return read_no_memory(r);
    }
    return true;
}

static bool application_read(reader *r, const toml_table *root)
{
    static const char *const known[] = {"name",    "version", "description", "authors",
                                        "targets", "trigger", "tool",        NULL};
    const toml_value *v;
    if (!read_kind(r, root, "application", TOML_TABLE, &v))
        return false;
    if (!v)
        return read_fail(r, (toml_pos){1, 1}, "no [application] table; it needs at least a name");
    app *out = r->out;
    return read_known(r, v->table, "[application]", known) &&
           read_required(r, v->table, "name", v->pos, "[application]", &out->name) &&
           read_str(r, v->table, "version", &out->version) &&
           read_str(r, v->table, "description", &out->description) &&
           read_str_list(r, v->table, "authors", &out->authors) &&
           targets_read(r, v->table, &out->targets) && trigger_defaults_read(r, v->table) &&
           settings_read(r, v->table, &r->settings);
}

static bool components_read(reader *r, const toml_table *root)
{
    const toml_value *v = read_get(root, "component");
    if (!v)
        return true;
    if (v->kind == TOML_ARRAY)
        return read_fail(r, v->pos,
                         "in version 2 a component is [component.<id>], not "
                         "[[component]]");
    if (!read_is(r, v, TOML_TABLE, "'component'"))
        return false;
    for (const toml_entry *x = v->table->first; x; x = x->next) {
        size_t index;
        if (!manifest_read_component(r, x->key, &x->value, &index))
            return false;
        r->out->components[index].pos = x->pos;
    }
    return true;
}

static bool manifest_v2_read(reader *r, const toml_table *root)
{
    static const char *const known[] = {
        "spin_manifest_version", "application", "variables", "trigger", "component", NULL};
    if (!read_known(r, root, "the manifest", known) || !application_read(r, root) ||
        !variables_read(r, root) || !components_read(r, root) || !triggers_read(r, root) ||
        !dependencies_resolve(r))
        return false;
    if (r->profile.n && !r->profile_is_defined)
        return read_fail(r, (toml_pos){1, 1}, "no component defines the profile '%.*s'",
                         STR(r->profile));
    return true;
}

static bool version_read(reader *r, const toml_table *root, int *ret)
{
    const toml_value *v = read_get(root, "spin_manifest_version");
    if (!v)
        v = read_get(root, "spin_version");
    if (!v)
        return read_fail(r, (toml_pos){1, 1},
                         "no 'spin_manifest_version = 2' at the top; is this "
                         "a Spin manifest?");
    *ret = v->kind == TOML_INTEGER && v->integer == 2            ? 2
           : v->kind == TOML_STRING && str_eq(v->string, S("1")) ? 1
                                                                 : 0;
    return *ret || read_fail(r, v->pos,
                             "unknown manifest version; write "
                             "'spin_manifest_version = 2' (the number)");
}

bool manifest_read(arena *a, str text, const manifest_options *options, app **ret, err *e)
{
    reader r = {
        .a = a, .file = arena_str(a, options->file), .e = e, .settings = app_settings_default()};
    toml_table *root;
    int version = 0;
    r.profile = arena_str(a, options->profile);
    r.out = ARENA_NEW(a, app);
    if (!r.file.p || !r.profile.p || !r.out)
        return err_no_memory(e);
    if (!toml_parse(a, options->file, text, &root, e) || !version_read(&r, root, &version))
        return false;
    if (version == 1 && r.profile.n)
        return read_fail(&r, (toml_pos){1, 1}, "profiles need spin_manifest_version = 2");
    if (!(version == 2 ? manifest_v2_read : manifest_v1_read)(&r, root) || !triggers_check(&r))
        return false;
    r.out->profile = r.profile;
    *ret = r.out;
    return true;
}
