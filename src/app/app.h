/* The application: what a spin.toml says, in one structure.
 *
 *     spin.toml --manifest_read--> app --files_expand, deploy--> app --locked_write--> JSON
 *     JSON --locked_read--> app, in whichever process serves it
 *
 * Invariants: an app and everything it points to live in one arena and are immutable once that
 * arena's owner hands them on; order is the manifest's; component ids and trigger ids are unique;
 * trigger.component is an index into components or APP_NONE; a text that is absent has n == 0,
 * and where "absent" and "empty" differ there is a flag beside it.
 * Values of component variables and allowed_outbound_hosts are templates (app/template.h). */
#pragma once

#include "app/toml.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"

enum { APP_NONE = -1 };

typedef struct {
    str *at;
    size_t n;
} str_list;

typedef struct {
    str key, value;
} app_pair;

typedef struct {
    app_pair *at;
    size_t n;
} app_pairs;

/* [variables.<name>]: has_default or required, never both and never neither. */
typedef struct {
    str name, description;
    str value; /* the default; valid if has_default */
    bool has_default, required, secret;
} app_variable;

typedef enum {
    APP_SOURCE_PATH,     /* path, as written: relative to the app's directory, or absolute */
    APP_SOURCE_URL,      /* url and digest */
    APP_SOURCE_REGISTRY, /* package, version, and registry (empty: the default one) */
} app_source_kind;

typedef struct {
    app_source_kind kind;
    str path;
    str url;
    str registry, package, version;
    bool is_range; /* version is a requirement (semver.h): the newest that meets it is meant */
    str digest;    /* "sha256:<64 hex>": of a URL always; of others once deploy has computed it */
    toml_pos pos;
} app_source;

/* One entry of `files`, as written. is_pair: {source, destination}; else source is a pattern. */
typedef struct {
    str source, destination;
    bool is_pair;
    toml_pos pos;
} app_mount;

/* One file a guest sees. host_path is relative to the app's directory, without '..';
 * guest_path is absolute and normalised, without '.' and '..'. In a registry a file has no
 * host_path, but a digest ("sha256:..."), and its content if it is small (oci.h). */
typedef struct {
    str host_path, guest_path;
    str digest;
    bytes content; /* p is NULL: not here */
} app_file;

typedef struct {
    app_file *at;
    size_t n;
} app_files;

typedef struct {
    str_list commands; /* n == 0: the component is not built */
    str workdir;       /* relative; empty: the app's directory */
    str_list watch;
} app_build;

/* Capabilities that a dependency may inherit from its component, as bits. */
enum {
    APP_INHERIT_AI_MODELS = 1 << 0,
    APP_INHERIT_ALLOWED_OUTBOUND_HOSTS = 1 << 1,
    APP_INHERIT_ENVIRONMENT = 1 << 2,
    APP_INHERIT_FILES = 1 << 3,
    APP_INHERIT_KEY_VALUE_STORES = 1 << 4,
    APP_INHERIT_SQLITE_DATABASES = 1 << 5,
    APP_INHERIT_VARIABLES = 1 << 6,
    APP_INHERIT_ALL = (1 << 7) - 1,
};

/* Another component that satisfies an import. `{component = "id"}` is already replaced by that
 * component's source. For a registry, source.version may be a range ("1.2", ">= 0.1"). */
typedef struct {
    str name; /* the import: "my-dep", "ns:pkg", "ns:pkg/iface@1.0.0"; empty for middleware */
    str export_name;
    app_source source;
    uint32_t inherit; /* APP_INHERIT_* */
} app_dependency;

typedef struct {
    app_dependency *at;
    size_t n;
} app_dependencies;

/* One entry of `targets`: exactly one of the three is set. */
typedef struct {
    str catalogue, url, path;
} app_target;

typedef struct {
    app_target *at;
    size_t n;
} app_targets;

/* tool.ebb.cron: a call that the platform makes by itself. */
typedef struct {
    str schedule, zone, method, path; /* cron.h; zone.h; what is asked of the component */
    uint32_t window_s;                /* it starts so much later at most */
    toml_pos pos;
} app_cron;

enum { APP_DEFER_LOW, APP_DEFER_NORMAL, APP_DEFER_HIGH };

/* tool.ebb.defer: requests that may wait (docs/defer.md). */
typedef struct {
    bool is_on;
    str_list routes;           /* as triggers write them; none: every route of the component */
    uint32_t slack_s;          /* the deadline of a request that names none */
    uint32_t slack_s_max;      /* further ones are refused */
    uint32_t kept_s;           /* how long a result can be asked for */
    uint32_t attempts_max;     /* then a call is dead */
    uint32_t criticality;      /* APP_DEFER_*: who goes first when not everything can be in time */
    uint64_t body_bytes_max;   /* of a request that is kept */
    uint64_t result_bytes_max; /* of an answer that is kept; more: cut, and said so */
    str hook;                  /* who is told of the end (hook.h), unless the call says; or empty */
    toml_pos pos;
} app_defer;

/* tool.ebb: what ebb adds to a manifest and Spin ignores. 0 means "no limit" throughout. */
typedef struct {
    uint64_t memory_bytes_max; /* of each linear memory of an instance */
    ns cpu_time_max_ns;        /* of one call */
    ns wall_time_max_ns;       /* of one call */
    ns idle_time_max_ns;       /* of one call, without a byte read or written */
    uint32_t concurrency_max;  /* calls of this component at once, in one worker */
    uint32_t queue_max;        /* further calls that wait for a place, in one worker */
    uint32_t resources_max;    /* handles that one instance holds at once */
    uint64_t request_body_bytes_max, response_body_bytes_max;
    uint64_t log_bytes_max; /* of what one call writes to stdout and stderr */
    bool no_restore;        /* a new instance for every call, see docs/instances.md */
    bool restore_after_start;
    ns clock_resolution_ns; /* of the clocks that a guest reads; at least 1, never "no limit" */
    app_defer defer;
    const app_cron *crons;
    size_t crons_count;
} app_settings;

typedef struct {
    str id, description;
    app_source source;
    app_pairs variables; /* name, template */
    app_pairs environment;
    app_mount *mounts; /* `files` as written */
    size_t mounts_count;
    str_list exclude_files;
    app_files files; /* by files_expand; sorted by guest path */
    str_list allowed_outbound_hosts;
    str_list key_value_stores, sqlite_databases, ai_models;
    app_targets targets;
    app_build build;
    app_dependencies dependencies;
    app_settings settings;
    bool is_used; /* some trigger names it; others are not loaded */
    toml_pos pos;
} app_component;

typedef enum { APP_TRIGGER_HTTP, APP_TRIGGER_REDIS, APP_TRIGGER_OTHER } app_trigger_kind;
typedef enum { APP_EXECUTOR_HTTP, APP_EXECUTOR_WAGI } app_executor;

typedef struct {
    uint16_t status;
    app_pairs headers;
    str body;
} app_static_response;

typedef struct {
    str id;
    app_trigger_kind kind;
    str type;      /* "http", "redis", "cron", ... */
    int component; /* APP_NONE: a static response, or a trigger of another type without one */

    /* http */
    str route;       /* as written; empty if is_private */
    bool is_private; /* reachable by service chaining only */
    bool is_static;  /* answered with static_response, no component */
    app_static_response static_response;
    app_executor executor;
    str wagi_argv, wagi_entrypoint;
    app_dependencies middleware; /* outermost first */

    /* redis: templates; the address is the trigger's own or [application.trigger.redis]'s */
    str address, channel;

    /* other: everything but id and component(s), as a JSON object */
    str config_json;
    toml_pos pos;
} app_trigger;

/* [application.trigger.<type>], as a JSON object. What redis triggers take from it is already in
 * them. */
typedef struct {
    str type, config_json;
    str address; /* redis only */
} app_trigger_defaults;

typedef struct {
    str name, version, description;
    str_list authors;
    app_targets targets;
    app_variable *variables;
    size_t variables_count;
    app_trigger *triggers;
    size_t triggers_count;
    app_component *components;
    size_t components_count;
    app_trigger_defaults *trigger_defaults;
    size_t trigger_defaults_count;
    str profile;          /* chosen with --profile; empty: none */
    str origin;           /* "file:///.../spin.toml"; set by the caller, may be empty */
    str oci_image_digest; /* set by whoever loaded it from a registry */
    str_list warnings;    /* "spin.toml:3:1: ..."; for the user's eyes, not in the locked app */
} app;

/* The component with that id, or NULL. Linear: for set-up, not for the way of a request. */
const app_component *app_component_by_id(const app *a, str id);
/* The first http trigger of components[index], public or private, or NULL: what a request to
 * <id>.spin.internal goes to. Linear. */
const app_trigger *app_trigger_of_component(const app *a, int index);
/* May any request to it wait, or does it run by the clock (tool.ebb)? */
bool app_defers(const app *a);
/* The variable with that name, or NULL. Linear. */
const app_variable *app_variable_by_name(const app *a, str name);
/* The value of key, or NULL. Linear. */
const str *app_pairs_get(const app_pairs *pairs, str key);
/* The settings of a component without any tool.ebb (base/limits.h). */
app_settings app_settings_default(void);
/* An app around one wasm file: name and component id from the file's name, route "/...". */
bool app_from_wasm(arena *a, str path, app **ret, err *e);
/* Keeps only the components of these ids and their triggers (`--component-id`); static responses
 * stay. The others stay in components, so that indices hold, but are no longer used. ERR_NOT_FOUND:
 * no such component; ERR_INVALID: a kept one may call a dropped one. */
bool app_retain(arena *scratch, app *a, const str *ids, size_t n, err *e);
/* Adds to app.warnings. False: no memory. */
bool app_warn(arena *a, app *x, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The body of /.well-known/spin/info: pretty JSON {name, version?, oci_image_digest?}. */
bool app_info_write(const app *a, buf *out, err *e);

/* Identifier grammars (words separated by '-' or '_', each beginning with an ASCII letter and
 * otherwise letters and digits, each all lower case or all upper case). */
bool app_id_is_kebab(str s);
/* The same with '_', lower case only. */
bool app_id_is_snake(str s);
/* What went wrong with s as such an identifier, for messages; NULL if it is one. */
const char *app_id_problem(str s, char separator, bool lower_only);

/* Appending while building: grows in the arena; false without memory. */
bool str_list_add(arena *a, str_list *list, str s);
bool app_pairs_add(arena *a, app_pairs *pairs, str key, str value);
