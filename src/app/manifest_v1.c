/* Version 1 of spin.toml, converted while it is read: [[component]] with its own trigger and
 * `config`, one trigger type for the whole app, ids that need not be kebab-case, and the rule that
 * a component without allowed_outbound_hosts may reach any database. */
#include "app/manifest_reader.h"

/* "My_Site" to "my-site", where the id is not valid as it is. */
static bool id_convert(reader *r, toml_pos at, str id, str *ret)
{
    *ret = id;
    if (app_id_is_kebab(id))
        return true;
    char *out = arena_cstr(r->a, id);
    if (!out)
        return read_no_memory(r);
    for (size_t i = 0; i < id.n; i++)
        out[i] = out[i] == '_'                    ? '-'
                 : out[i] >= 'A' && out[i] <= 'Z' ? (char)(out[i] + 32)
                                                  : out[i];
    *ret = (str){out, id.n};
    const char *problem = app_id_problem(*ret, '-', false);
    return !problem || read_fail(r, at, "component id '%.*s': %s", STR(id), problem);
}

static bool component_v1_read(reader *r, str type, const toml_value *v)
{
    static const char *const known[] = {"id",
                                        "source",
                                        "trigger",
                                        "description",
                                        "config",
                                        "environment",
                                        "files",
                                        "exclude_files",
                                        "allowed_http_hosts",
                                        "allowed_outbound_hosts",
                                        "key_value_stores",
                                        "sqlite_databases",
                                        "ai_models",
                                        "build",
                                        NULL};
    const toml_value *trigger;
    app_component *c;
    str written, id;
    if (!read_is(r, v, TOML_TABLE, "a component"))
        return false;
    const toml_table *t = v->table;
    if (!read_known(r, t, "a component (of manifest version 1)", known) ||
        !read_required(r, t, "id", v->pos, "a component", &written) ||
        !id_convert(r, read_get(t, "id")->pos, written, &id))
        return false;
    if (names_get(&r->component_ids, id) != SIZE_MAX)
        return read_fail(r, read_get(t, "id")->pos, "two components have the id '%.*s'", STR(id));
    if (!component_add(r, id, v->pos, &c) || !component_common_read(r, t, c) ||
        !read_pairs(r, t, "config", &c->variables) || !manifest_check_component(r, t, c) ||
        !component_http_hosts_convert(r, t, c, !read_get(t, "allowed_outbound_hosts")) ||
        !read_kind(r, t, "trigger", TOML_TABLE, &trigger))
        return false;
    if (!trigger)
        return read_fail(r, v->pos, "component '%.*s' has no 'trigger'", STR(id));
    c->is_used = true;
    app_trigger *out = &r->out->triggers[r->out->triggers_count++];
    *out = (app_trigger){.id = arena_printf(r->a, "trigger-%.*s", STR(id)),
                         .type = type,
                         .kind = str_eq(type, S("http"))    ? APP_TRIGGER_HTTP
                                 : str_eq(type, S("redis")) ? APP_TRIGGER_REDIS
                                                            : APP_TRIGGER_OTHER,
                         .component = (int)(r->out->components_count - 1),
                         .pos = trigger->pos};
    if (!out->id.p)
        return read_no_memory(r);
    return trigger_fields_read(r, trigger->table, out);
}

/* trigger = { type = "http", base = "/" } is [application.trigger.http] of version 2. */
static bool app_trigger_read(reader *r, const toml_table *root, str *ret_type)
{
    const toml_value *v;
    if (!read_kind(r, root, "trigger", TOML_TABLE, &v))
        return false;
    if (!v)
        return read_fail(r, (toml_pos){1, 1}, "no 'trigger = { type = \"http\" }' in the manifest");
    if (!read_required(r, v->table, "type", v->pos, "'trigger'", ret_type))
        return false;
    return trigger_type_check(r, v->pos, *ret_type) &&
           trigger_defaults_add(r, *ret_type, v->table, "type");
}

bool manifest_v1_read(reader *r, const toml_table *root)
{
    static const char *const known[] = {"spin_manifest_version",
                                        "spin_version",
                                        "name",
                                        "version",
                                        "description",
                                        "authors",
                                        "trigger",
                                        "variables",
                                        "component",
                                        NULL};
    const toml_value *components;
    app *out = r->out;
    str type;
    if (!read_known(r, root, "the manifest (version 1)", known) ||
        !read_required(r, root, "name", (toml_pos){1, 1}, "the manifest", &out->name) ||
        !read_str(r, root, "version", &out->version) ||
        !read_str(r, root, "description", &out->description) ||
        !read_str_list(r, root, "authors", &out->authors) || !variables_read(r, root) ||
        !app_trigger_read(r, root, &type) ||
        !read_kind(r, root, "component", TOML_ARRAY, &components))
        return false;
    if (!components)
        return true;
    out->triggers = ARENA_ARRAY(r->a, app_trigger, components->array.n);
    if (!out->triggers)
        return read_no_memory(r);
    for (size_t i = 0; i < components->array.n; i++)
        if (!component_v1_read(r, type, &components->array.at[i]))
            return false;
    return true;
}
