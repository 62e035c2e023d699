/* Shared by manifest*.c: reading typed fields out of TOML tables with good messages. Private. */
#pragma once

#include "app/manifest.h"
#include "app/names.h"

typedef struct {
    arena *a;
    str file, profile;
    app *out;
    size_t components_cap;
    names component_ids;     /* to index */
    names variable_names;    /* to index */
    app_settings settings;   /* of [application.tool.ebb]: the default of every component */
    bool profile_is_defined; /* some component has the chosen profile */
    err *e;
} reader;

/* "file:line:column: ..."; always false. */
bool read_fail(reader *r, toml_pos at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Wraps *r->e in the position; always false. Memory and internal errors stay as they are. */
bool read_wrap(reader *r, toml_pos at, const char *what);
/* Adds a warning; false without memory. */
bool read_warn(reader *r, toml_pos at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool read_no_memory(reader *r);
/* "; did you mean 'x'?" in the arena, or an empty text. Never NULL. */
const char *read_hint(reader *r, str wrong, const str *candidates, size_t n);

/* Every key of t must be in the NULL-terminated list; `where` names the table in the message. */
bool read_known(reader *r, const toml_table *t, const char *where, const char *const *known);

/* Optional fields: true and *ret untouched if absent. A wrong type is an error. */
bool read_str(reader *r, const toml_table *t, const char *key, str *ret);
bool read_bool(reader *r, const toml_table *t, const char *key, bool *ret);
bool read_str_list(reader *r, const toml_table *t, const char *key, str_list *ret);
bool read_pairs(reader *r, const toml_table *t, const char *key, app_pairs *ret);
/* The value of that kind, or NULL if absent. */
bool read_kind(reader *r, const toml_table *t, const char *key, toml_kind kind,
               const toml_value **ret);
/* Required: an error at `at` if absent. */
bool read_required(reader *r, const toml_table *t, const char *key, toml_pos at, const char *where,
                   str *ret);
bool read_is(reader *r, const toml_value *v, toml_kind kind, const char *what);
const toml_value *read_get(const toml_table *t, const char *key);
/* "sha256:" and 64 hexadecimal digits. */
bool read_digest_check(reader *r, toml_pos at, str digest);

/* manifest_component.c */
/* One component table (v2, named or inline) into a new component of the app. */
bool manifest_read_component(reader *r, str id, const toml_value *v, size_t *ret_index);
bool component_add(reader *r, str id, toml_pos pos, app_component **ret);
bool component_source_read(reader *r, const toml_value *v, app_source *ret);
bool component_files_read(reader *r, const toml_table *t, app_component *c);
bool component_build_read(reader *r, const toml_table *t, app_component *c);
/* The parts that v1 and v2 have in common. */
bool component_common_read(reader *r, const toml_table *t, app_component *c);
/* Templates, hosts and labels of a component, once all variables are known. */
bool manifest_check_component(reader *r, const toml_table *t, app_component *c);
/* allowed_http_hosts to allowed_outbound_hosts, with the databases of v1's default if asked. */
bool component_http_hosts_convert(reader *r, const toml_table *t, app_component *c,
                                  bool with_databases);
bool settings_read(reader *r, const toml_table *tool, app_settings *settings);
bool targets_read(reader *r, const toml_table *t, app_targets *ret);
/* Whole seconds ("4h", "7d") from 1 to max; bytes ("1 MiB") from 1 to max. */
bool settings_seconds_read(reader *r, const toml_table *t, const char *key, const char *example,
                           uint32_t max, uint32_t *ret);
bool settings_bytes_read(reader *r, const toml_table *t, const char *key, uint64_t max,
                         uint64_t *ret);

/* manifest_defer.c: tool.ebb.defer and tool.ebb.cron */
bool defer_read(reader *r, const toml_table *ebb, app_settings *s);
bool crons_read(reader *r, const toml_table *ebb, app_settings *s);
/* Once all triggers are known: what they name is there. */
bool defer_check(reader *r);

/* manifest_dependency.c */
bool dependencies_read(reader *r, const toml_table *t, app_component *c);
/* One dependency value; name is empty for middleware. ret_ref: the id of {component = "id"}. */
bool dependency_read(reader *r, str name, const toml_value *v, app_dependency *ret, str *ret_ref);
/* Replaces {component = "id"} by that component's source, once all components are known. */
bool dependency_resolve(reader *r, toml_pos at, str ref, app_dependency *d);
bool dependencies_resolve(reader *r);

/* manifest_trigger.c */
bool triggers_read(reader *r, const toml_table *root);
bool trigger_fields_read(reader *r, const toml_table *t, app_trigger *ret);
bool trigger_defaults_read(reader *r, const toml_table *application);
bool triggers_check(reader *r);
/* The settings of one trigger type; `skip` (may be NULL) is a key that is not one of them. */
bool trigger_defaults_add(reader *r, str type, const toml_table *t, const char *skip);
bool trigger_type_check(reader *r, toml_pos at, str type);

/* manifest_v1.c */
bool manifest_v1_read(reader *r, const toml_table *root);
/* manifest.c */
bool variables_read(reader *r, const toml_table *root);
