/* See localapp.h: one step after the other, from the manifest to what the supervisor needs. The
 * first failure ends it, and what was made on the way (copies of files) is removed again. */
#include "platform/localapp.h"

#include "app/manifest.h"
#include "app/oci.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "host/host.h"
#include "platform/artifact.h"
#include "platform/composed.h"
#include "platform/fetch.h"
#include "platform/guestlog.h"
#include "platform/ociapp.h"
#include "platform/spawn.h"
#include "platform/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANIFEST_BYTES_MAX = 16 << 20, VARIABLE_FILE_BYTES_MAX = 16 << 20 };

/* --- the manifest ----------------------------------------------------------------------------- */

static bool here(arena *a, str *ret, err *e)
{
    char *full = realpath(".", NULL);
    if (!full)
        return err_set_errno(e, "this folder");
    *ret = arena_str(a, str_from(full));
    free(full);
    return ret->p || err_no_memory(e);
}

bool localapp_find(arena *a, const char *from, localapp_place *ret, err *e)
{
    struct stat st;
    const char *path = from ? from : ".";
    str p = str_from(path);
    *ret = (localapp_place){0};
    if (stat(path, &st) < 0) {
        if (!oci_reference_likely(p))
            return err_set_errno(e, "%s", path);
        ret->reference = p;
        return here(a, &ret->dir, e);
    }
    if (S_ISDIR(st.st_mode)) {
        while (p.n > 1 && p.p[p.n - 1] == '/')
            p.n--;
        ret->manifest =
            str_eq(p, S(".")) ? S("spin.toml") : arena_printf(a, "%.*s/spin.toml", STR(p));
        if (access(ret->manifest.p, R_OK) < 0)
            return err_set(e, ERR_NOT_FOUND,
                           "%s has no spin.toml; give a manifest, a folder with one, or a .wasm "
                           "file with -f",
                           path);
    } else if (str_ends(p, S(".wasm"))) {
        ret->wasm = p;
    } else {
        ret->manifest = p;
    }
    str file = ret->manifest.n ? ret->manifest : p;
    size_t slash = str_rfind(file, '/');
    str parent = slash < file.n ? arena_str(a, str_head(file, slash ? slash : 1)) : S(".");
    char *full = realpath(parent.p, NULL);
    if (!full)
        return err_set_errno(e, "%s", parent.p);
    ret->dir = arena_str(a, str_from(full));
    free(full);
    return ret->dir.p ? true : err_no_memory(e);
}

bool localapp_read(arena *a, const localapp_place *at, const char *profile, app **ret, err *e)
{
    bytes text;
    if (at->reference.n)
        return err_set(e, ERR_UNSUPPORTED,
                       "there is no file %.*s; if it is an app in a registry, only 'ebb up' can "
                       "work with it",
                       STR(at->reference));
    if (at->wasm.n) {
        char *full = realpath(at->wasm.p, NULL);
        bool ok = full && app_from_wasm(a, arena_str(a, str_from(full)), ret, e);
        free(full);
        return ok;
    }
    manifest_options mo = {.file = at->manifest, .profile = str_from(profile)};
    if (!file_load(a, at->manifest.p, MANIFEST_BYTES_MAX, &text, e) ||
        !manifest_read(a, (str){(const char *)text.p, text.n}, &mo, ret, e))
        return false;
    (*ret)->origin = arena_printf(a, "file://%.*s", STR(at->dir));
    return (*ret)->origin.p || err_no_memory(e);
}

/* What the manifest asks for and ebb does not do is said before anything is made. */
bool localapp_runs(arena *a, app *x, err *e)
{
    if (!x->triggers_count)
        return err_set(e, ERR_INVALID, "No triggers in app");
    bool any = false;
    for (size_t i = 0; i < x->triggers_count; i++) {
        const app_trigger *t = &x->triggers[i];
        any |= t->kind == APP_TRIGGER_HTTP;
        if (t->kind != APP_TRIGGER_HTTP &&
            !app_warn(a, x, "trigger '%.*s' is not run: ebb knows no triggers of type '%.*s'",
                      STR(t->id), STR(t->type)))
            return err_no_memory(e);
        if (t->middleware.n)
            return err_set(e, ERR_UNSUPPORTED,
                           "trigger '%.*s' has middleware, which is made of components with "
                           "wasi:http/handler@0.3.0; ebb serves WASI 0.2 only; leave "
                           "'dependencies.middleware' out",
                           STR(t->id));
        if (t->kind == APP_TRIGGER_HTTP && t->executor == APP_EXECUTOR_WAGI)
            return err_set(e, ERR_UNSUPPORTED,
                           "trigger '%.*s' has the executor \"wagi\" (CGI over a command module), "
                           "which ebb does not run; build the component for wasi:http",
                           STR(t->id));
    }
    return any || err_set(e, ERR_UNSUPPORTED, "the app has no http trigger, and ebb runs no other");
}

/* --- variables -------------------------------------------------------------------------------- */

static bool read_variable_file(void *ctx, arena *a, str path, str *ret, err *e)
{
    bytes b;
    char *z = arena_cstr(a, path);
    if (!z)
        return err_no_memory(e);
    if (!file_load(a, z, VARIABLE_FILE_BYTES_MAX, &b, e))
        return false;
    *ret = (str){(const char *)b.p, b.n};
    return true;
}

bool localapp_values(arena *a, const app *the_app, variable_providers providers, bool ask_again,
                     const app_component *c, config_component *out, err *e)
{
    for (size_t i = 0; i < c->variables.n; i++) {
        str value = S("");
        if (!ask_again && variable_get(the_app, c, providers, c->variables.at[i].key, a, &value,
                                       e) != VARIABLE_OK)
            return err_wrap(e, "component '%.*s', variable '%.*s'", STR(c->id),
                            STR(c->variables.at[i].key));
        if (!app_pairs_add(a, &out->variables, c->variables.at[i].key, value))
            return err_no_memory(e);
    }
    return (ask_again && outbound_has_variables(c)) || /* each instance asks for itself */
           outbound_expand(the_app, c, providers, a, &out->outbound, e) ||
           err_wrap(e, "component '%.*s', allowed_outbound_hosts", STR(c->id));
}

/* --component-id: only these, and their triggers. */
static bool components_retain(arena *a, const localapp_options *o, app *the_app, err *e)
{
    if (!o->components_count)
        return true;
    str *ids = ARENA_ARRAY(a, str, o->components_count);
    if (!ids)
        return err_no_memory(e);
    for (size_t i = 0; i < o->components_count; i++)
        ids[i] = str_from(o->components[i]);
    return app_retain(a, the_app, ids, o->components_count, e) ? true
                                                               : err_wrap(e, "--component-id");
}

static bool env_add(arena *a, const localapp_options *o, app *the_app, err *e)
{
    for (size_t i = 0; i < o->env_count; i++) {
        str value = str_from(o->env[i]), key = str_cut(&value, '=');
        if (!value.p || !key.n)
            return err_set(e, ERR_INVALID, "--env '%s': write NAME=VALUE", o->env[i]);
        for (size_t k = 0; k < the_app->components_count; k++) {
            app_pairs *env = &the_app->components[k].environment;
            bool there = false;
            for (size_t j = 0; j < env->n && !there; j++)
                if ((there = str_eq(env->at[j].key, key)))
                    env->at[j].value = value;
            if (!there && !app_pairs_add(a, env, key, value))
                return err_no_memory(e);
        }
    }
    return true;
}

/* --- artifacts -------------------------------------------------------------------------------- */

/* The file that a source stands for, fetched if need be; *ret_digest is empty for a plain file. */
static bool source_locate(arena *a, const localapp_options *o, const localapp_place *at, str cache,
                          str label, const app_source *s, str *ret, str *ret_digest, err *e)
{
    *ret_digest = (str){0};
    if (s->kind != APP_SOURCE_PATH)
        return fetch_source(a, cache, label, s, o->insecure, o->progress, ret, ret_digest, e);
    bool absolute = s->path.n && s->path.p[0] == '/';
    *ret =
        absolute ? arena_str(a, s->path) : arena_printf(a, "%.*s/%.*s", STR(at->dir), STR(s->path));
    return ret->p ? true : err_no_memory(e);
}

/* The file that the decode process gets of a component: its own, or one of it and its
 * dependencies. */
static bool component_locate(arena *a, const localapp_options *o, const localapp_place *at,
                             str cache, const app_component *c, str *ret, str *ret_digest, err *e)
{
    size_t n = c->dependencies.n;
    if (!source_locate(a, o, at, cache, c->id, &c->source, ret, ret_digest, e) || !n)
        return !n && ret->p;
    composed_part *parts = ARENA_ARRAY(a, composed_part, n + 1);
    if (!parts)
        return err_no_memory(e);
    parts[0] = (composed_part){.path = *ret, .digest = *ret_digest};
    for (size_t i = 0; i < n; i++) {
        const app_dependency *d = &c->dependencies.at[i];
        composed_part *p = &parts[i + 1];
        p->dependency = d;
        if (!source_locate(a, o, at, cache, c->id, &d->source, &p->path, &p->digest, e))
            return err_wrap(e, "dependency '%.*s'", STR(d->name));
    }
    *ret_digest = (str){0};
    return composed_make(a, cache, parts, n + 1, ret, e) ||
           err_wrap(e, "component '%.*s'", STR(c->id));
}

/* A download that was kept is used only as what it was. */
static bool digest_check(const artifact *item, str want, err *e)
{
    if (!want.n || str_eq(str_skip(want, 7), item->digest))
        return true;
    return err_set(e, ERR_INVALID,
                   "component '%.*s': %.*s is damaged: it no longer has its digest; delete it",
                   STR(item->label), STR(item->source));
}

bool localapp_sources(arena *a, const localapp_options *o, const localapp_place *at, const app *x,
                      str *ret_paths, err *e)
{
    str cache, digest;
    if (!artifact_cache_dir(a, o->cache_dir, &cache, e))
        return false;
    for (size_t i = 0; i < x->components_count; i++)
        if (x->components[i].is_used &&
            !component_locate(a, o, at, cache, &x->components[i], &ret_paths[i], &digest, e))
            return false;
    return true;
}

bool localapp_artifacts(arena *a, const localapp_options *o, const localapp_place *at, app *x,
                        str *ret_dirs, err *e)
{
    artifact *items = ARENA_ARRAY(a, artifact, x->components_count + 1);
    str *digests = ARENA_ARRAY(a, str, x->components_count + 1), cache;
    size_t *index = ARENA_ARRAY(a, size_t, x->components_count + 1), n = 0;
    if (!items || !index || !digests)
        return err_no_memory(e);
    if (!artifact_cache_dir(a, o->cache_dir, &cache, e))
        return false;
    for (size_t i = 0; i < x->components_count; i++) {
        const app_component *c = &x->components[i];
        if (!c->is_used)
            continue;
        items[n].label = c->id;
        if (!component_locate(a, o, at, cache, c, &items[n].source, &digests[n], e))
            return false;
        index[n++] = i;
    }
    engine *en;
    engine_config config = engine_config_default();
    config.compiler = true;
    if (!engine_new(&config, &en, e))
        return false;
    bool ok =
        artifact_ensure_all(a, cache, engine_fingerprint(en), items, n, o->jobs, o->progress, e);
    engine_free(en);
    for (size_t i = 0; ok && i < n; i++) {
        ok = digest_check(&items[i], digests[i], e);
        ret_dirs[index[i]] = items[i].dir;
    }
    return ok;
}

/* What a worker would find when the first request comes: better said now. */
static bool handler_check(const localapp_options *o, str dir, err *e)
{
    _cleanup_(arena_fini) arena scratch;
    plan p;
    host_binding *binding;
    const host_missing *missing;
    size_t count;
    uint32_t unit, lift;
    arena_init(&scratch, 256 * MIB);
    return artifact_plan(&scratch, dir, &p, e) &&
           host_bind(&scratch, &p, &binding, o->stub_imports ? &missing : NULL, &count, e) &&
           host_http_handler(&p, &unit, &lift, e);
}

static bool handlers_check(const localapp_options *o, const app *x, const str *dirs, err *e)
{
    for (size_t i = 0; i < x->components_count; i++) {
        bool answers = false;
        for (size_t k = 0; k < x->triggers_count && !answers; k++)
            answers = x->triggers[k].kind == APP_TRIGGER_HTTP && x->triggers[k].component == (int)i;
        if (answers && !handler_check(o, dirs[i], e))
            return err_wrap(e, "component '%.*s'", STR(x->components[i].id));
    }
    return true;
}

static bool artifacts_make(arena *a, const localapp_options *o, const localapp *l,
                           const localapp_place *at, config_component *out, err *e)
{
    str *dirs = ARENA_ARRAY(a, str, l->app->components_count + 1);
    if (!dirs)
        return err_no_memory(e);
    if (!localapp_artifacts(a, o, at, l->app, dirs, e) || !handlers_check(o, l->app, dirs, e))
        return false;
    for (size_t i = 0; i < l->app->components_count; i++)
        out[i].artifact = dirs[i];
    return true;
}

/* --- what guests print ------------------------------------------------------------------------ */

static bool follow_check(const localapp_options *o, const app *the_app, err *e)
{
    for (size_t i = 0; i < o->follow_count; i++)
        if (!app_component_by_id(the_app, str_from(o->follow[i])))
            return err_set(e, ERR_NOT_FOUND, "--follow %s: the app has no such component",
                           o->follow[i]);
    return true;
}

static bool is_followed(const localapp_options *o, str id)
{
    for (size_t i = 0; i < o->follow_count; i++)
        if (str_eq(str_from(o->follow[i]), id))
            return true;
    return !o->silent && !o->follow_count;
}

/* The folder of log files: --log-dir, else logs/ in the state folder. None for a bare .wasm without
 * either: nothing is written beside a file that only happens to lie there. */
static bool logs_make(arena *a, const localapp_options *o, localapp *l, const localapp_place *at,
                      const runtime_config *c, config_component *out, err *e)
{
    str dir, state = o->state_dir ? str_from(o->state_dir) : c->state_dir;
    if (!follow_check(o, l->app, e))
        return false;
    for (size_t i = 0; i < l->app->components_count; i++)
        out[i].follow = is_followed(o, l->app->components[i].id);
    bool is_state = !o->log_dir && !c->log_dir.n;
    if (!is_state)
        dir = o->log_dir ? str_from(o->log_dir) : c->log_dir;
    else if (o->state_dir || state.n)
        dir = state.n ? arena_printf(a, "%.*s/logs", STR(state)) : (str){0};
    else
        dir = at->manifest.n ? arena_printf(a, "%.*s/.spin/logs", STR(at->dir)) : (str){0};
    if (!dir.n)
        return true;
    if (!guestlog_dir_make(a, dir, o->truncate_logs, &l->config.log_dir, e)) {
        if (!is_state ||
            !app_warn(a, l->app, "guests' output is not written to files: %s", e->text))
            return err_wrap(e, "--log-dir");
        return true;
    }
    if (o->progress)
        fprintf(o->progress, "Logging component stdio to \"%.*s/\"\n", STR(dir));
    return true;
}

/* --- the runtime configuration ---------------------------------------------------------------- */

typedef struct {
    runtime_config config;
    str dir; /* of its file; empty: none was given */
} configuration;

static bool configuration_load(arena *a, const localapp_options *o, localapp *l, configuration *ret,
                               err *e)
{
    bytes text;
    runtime_config_default(&ret->config);
    if (!o->runtime_config_file || !*o->runtime_config_file)
        return true;
    str file = str_from(o->runtime_config_file);
    size_t slash = str_rfind(file, '/');
    str parent = slash < file.n ? arena_str(a, str_head(file, slash ? slash : 1)) : S(".");
    if (!parent.p)
        return err_no_memory(e);
    char *full = realpath(parent.p, NULL);
    if (!full)
        return err_set_errno(e, "%s", o->runtime_config_file);
    ret->dir = arena_str(a, str_from(full));
    free(full);
    if (!ret->dir.p)
        return err_no_memory(e);
    if (!file_load(a, file.p, TOML_BYTES_MAX, &text, e) ||
        !runtime_config_read(a, file, (str){(const char *)text.p, text.n}, &ret->config, e))
        return false;
    for (size_t i = 0; i < ret->config.warnings.n; i++)
        if (!str_list_add(a, &l->app->warnings, ret->config.warnings.at[i]))
            return err_no_memory(e);
    return true;
}

static bool stores_make(arena *a, const localapp_options *o, localapp *l, const localapp_place *at,
                        const configuration *c, err *e)
{
    state_options so = {.app_dir = at->dir,
                        .state_dir = o->state_dir,
                        .config = &c->config,
                        .config_dir = c->dir,
                        .key_values = o->key_values,
                        .key_values_count = o->key_values_count,
                        .statements = o->statements,
                        .statements_count = o->statements_count,
                        /* Nothing is written beside a bare component. */
                        .keeps = at->manifest.n || o->state_dir || c->config.state_dir.n,
                        .progress = o->progress};
    return state_make(a, &so, l->app, &l->config, &l->state_dir, e);
}

/* --- all of it -------------------------------------------------------------------------------- */

static bool components_make(arena *a, const localapp_options *o, localapp *l,
                            const localapp_place *at, variable_providers providers,
                            uint64_t memory_max, config_component *out, err *e)
{
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 256 * MIB);
    for (size_t i = 0; i < l->app->components_count; i++) {
        app_component *c = &l->app->components[i];
        if (!c->is_used)
            continue;
        if (memory_max)
            c->settings.memory_bytes_max = memory_max;
        if (o->request_timeout_ns)
            c->settings.wall_time_max_ns = o->request_timeout_ns;
        if (!localapp_values(a, l->app, providers, l->config.providers.ask_again, c, &out[i], e) ||
            !localfiles_make(a, &scratch, &l->files, at->dir.p, at->manifest, c, &l->app->warnings,
                             &out[i], e))
            return false;
        arena_reset(&scratch);
    }
    return true;
}

void localapp_unload(localapp *l) { localfiles_remove(&l->files); }

bool localapp_open(arena *a, const localapp_options *o, localapp_place *at, app **ret, err *e)
{
    str cache;
    if (o->from_registry ? !here(a, &at->dir, e) : !localapp_find(a, o->from, at, e))
        return false;
    if (o->from_registry)
        at->reference = str_from(o->from);
    if (!at->reference.n)
        return localapp_read(a, at, o->profile, ret, e);
    return artifact_cache_dir(a, o->cache_dir, &cache, e) &&
           ociapp_load(a, cache, at->reference, o->insecure, o->progress, ret, e);
}

bool localapp_load(arena *a, const localapp_options *o, localapp *ret, err *e)
{
    localapp l = {0};
    localapp_place at = {0};
    app_pairs given = {0};
    *ret = l;
    configuration configured = {0};
    if (!localapp_open(a, o, &at, &l.app, e) || !components_retain(a, o, l.app, e) ||
        !localapp_runs(a, l.app, e) || !env_add(a, o, l.app, e) ||
        !configuration_load(a, o, &l, &configured, e))
        return false;
    l.files = (localfiles){
        .temp_base = o->temp_dir, .direct = o->direct_mounts, .listed = at.reference.n > 0};
    for (size_t i = 0; i < o->variables_count; i++)
        if (!variable_arg_parse(a, str_from(o->variables[i]), read_variable_file, NULL, &given, e))
            return err_wrap(e, "--variable");
    provider_list list;
    variable_providers providers;
    if (!providers_make(a, l.app, &given, &configured.config, &list, e) ||
        !providers_open(a, &list, &providers, e))
        return false;
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 64 * MIB);
    config_component *components = ARENA_ARRAY(a, config_component, l.app->components_count + 1);
    if (!components)
        return err_no_memory(e);
    l.config = (app_config){
        .app = l.app, .components = components, .allow_transient_write = o->allow_transient_write};
    if (list.ask_again)
        l.config.providers = list;
    uint64_t memory_max =
        o->memory_bytes_max ? o->memory_bytes_max : configured.config.memory_bytes_max;
    bool ok = variables_check(l.app, providers, &scratch, e) &&
              components_make(a, o, &l, &at, providers, memory_max, components, e) &&
              stores_make(a, o, &l, &at, &configured, e) &&
              artifacts_make(a, o, &l, &at, components, e) &&
              logs_make(a, o, &l, &at, &configured.config, components, e);
    if (!ok)
        localapp_unload(&l);
    else
        *ret = l;
    return ok;
}
