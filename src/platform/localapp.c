/* See localapp.h. Files are looked at only through openat2 with RESOLVE_BENEATH: no link and no
 * ".." leads out of the app's folder. They are copied (as Spin does), so that editing a file while
 * the app runs changes nothing under a running request. */
#include "platform/localapp.h"

#include "app/files.h"
#include "app/manifest.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "platform/artifact.h"
#include "platform/spawn.h"
#include "platform/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MANIFEST_BYTES_MAX = 16 << 20, VARIABLE_FILE_BYTES_MAX = 16 << 20 };

/* --- the file system, as app/ wants it -------------------------------------------------------- */

static int open_beneath(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static bool path_z(str path, char out[PATH_MAX], err *e)
{
    if (path.n >= PATH_MAX)
        return err_set(e, ERR_LIMIT, "the path is too long: %.100s...", path.p);
    if (path.n)
        memcpy(out, path.p, path.n);
    out[path.n] = 0;
    return true;
}

static files_type type_of(mode_t mode)
{
    return S_ISREG(mode) ? FILES_FILE : S_ISDIR(mode) ? FILES_DIR : FILES_OTHER;
}

static bool fs_stat(void *ctx, str path, files_type *ret, err *e)
{
    char z[PATH_MAX];
    struct stat st;
    if (!path_z(path, z, e))
        return false;
    _cleanup_fd_ int fd = open_beneath(*(int *)ctx, z, O_PATH);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        *ret = FILES_ABSENT;
        return true;
    }
    if (fd < 0 && errno == EXDEV)
        return err_set(e, ERR_DENIED, "%s leads outside of the app's folder", z);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(e, "%s", z);
    *ret = type_of(st.st_mode);
    return true;
}

static bool fs_list(void *ctx, arena *a, str path, files_entry **ret, size_t *ret_count, err *e)
{
    char z[PATH_MAX];
    if (!path_z(path, z, e))
        return false;
    int fd = open_beneath(*(int *)ctx, z, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        fd_close(&fd);
        return err_set_errno(e, "%s", z);
    }
    files_entry *all = NULL;
    size_t n = 0, room = 0;
    bool ok = true;
    for (struct dirent *item; ok && (item = readdir(d));) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (n == room) {
            size_t more = room ? room * 2 : 64;
            all = arena_grow(a, all, room, more, sizeof *all);
            room = more;
        }
        struct stat st;
        bool is_link =
            fstatat(fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        bool there = fstatat(fd, item->d_name, &st, 0) == 0;
        ok = all != NULL;
        if (ok)
            all[n] = (files_entry){.name = arena_str(a, str_from(item->d_name)),
                                   .type = there ? type_of(st.st_mode) : FILES_OTHER,
                                   .is_link = is_link};
        ok = ok && all[n++].name.p;
    }
    closedir(d);
    if (!ok)
        return err_no_memory(e);
    *ret = all;
    *ret_count = n;
    return true;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool copy_bytes(int from, int to, err *e)
{
    char block[64 * 1024];
    for (;;) {
        ssize_t n = read(from, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "reading");
        if (n == 0)
            return true;
        if (!fd_write_all(to, block, (size_t)n, e))
            return false;
    }
}

static bool copy_file(int root, const char *assets, const app_file *f, err *e)
{
    char from[PATH_MAX], to[PATH_MAX];
    if (!path_z(f->host_path, from, e))
        return false;
    int n = snprintf(to, sizeof to, "%s%.*s", assets, STR(f->guest_path));
    if (n < 0 || (size_t)n >= sizeof to)
        return err_set(e, ERR_LIMIT, "the path is too long: %.*s", STR(f->guest_path));
    for (char *at = to + strlen(assets) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(to, 0700) < 0 && errno != EEXIST)
            return err_set_errno(e, "%s", to);
        *at = '/';
    }
    _cleanup_fd_ int in = open_beneath(root, from, O_RDONLY);
    if (in < 0)
        return err_set_errno(e, "%s", from);
    _cleanup_fd_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0)
        return err_set_errno(e, "%s", to);
    return copy_bytes(in, out, e) ? true : err_wrap(e, "copying %s", from);
}

static bool temp_make(localapp *l, err *e)
{
    const char *base = getenv("TMPDIR");
    if (l->temp[0])
        return true;
    int n =
        snprintf(l->temp, sizeof l->temp, "%s/ebb-XXXXXX", base && *base == '/' ? base : "/tmp");
    if (n < 0 || (size_t)n >= sizeof l->temp)
        snprintf(l->temp, sizeof l->temp, "/tmp/ebb-XXXXXX");
    if (!mkdtemp(l->temp)) {
        l->temp[0] = 0;
        return err_set_errno(e, "cannot make a temporary folder");
    }
    return true;
}

static bool files_copy(arena *a, localapp *l, int root, const app_component *c,
                       config_component *out, err *e)
{
    if (!c->mounts_count)
        return true;
    if (!temp_make(l, e))
        return false;
    out->assets = arena_printf(a, "%s/%.*s", l->temp, STR(c->id));
    if (!out->assets.p)
        return err_no_memory(e);
    if (mkdir(out->assets.p, 0700) < 0)
        return err_set_errno(e, "%s", out->assets.p);
    for (size_t i = 0; i < c->files.n; i++)
        if (!copy_file(root, out->assets.p, &c->files.at[i], e))
            return false;
    return true;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

void localapp_unload(localapp *l)
{
    if (l->temp[0])
        nftw(l->temp, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    l->temp[0] = 0;
}

/* --- the manifest ----------------------------------------------------------------------------- */

typedef struct {
    str dir;      /* the app's folder, absolute */
    str manifest; /* path of the spin.toml as the user wrote it; empty for a .wasm */
} place;

static bool place_find(arena *a, const char *from, place *ret, str *ret_wasm, err *e)
{
    struct stat st;
    const char *path = from ? from : ".";
    if (stat(path, &st) < 0)
        return err_set_errno(e, "%s", path);
    str p = str_from(path);
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
        *ret_wasm = p;
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

static bool manifest_load(arena *a, const localapp_options *o, localapp *l, place *at, err *e)
{
    str wasm = {0};
    bytes text;
    if (!place_find(a, o->from, at, &wasm, e))
        return false;
    if (wasm.n) {
        char *full = realpath(wasm.p, NULL);
        bool ok = full && app_from_wasm(a, arena_str(a, str_from(full)), &l->app, e);
        free(full);
        return ok;
    }
    manifest_options mo = {.file = at->manifest, .profile = str_from(o->profile)};
    if (!file_load(a, at->manifest.p, MANIFEST_BYTES_MAX, &text, e) ||
        !manifest_read(a, (str){(const char *)text.p, text.n}, &mo, &l->app, e))
        return false;
    l->app->origin = arena_printf(a, "file://%.*s", STR(at->dir));
    return true;
}

/* --- variables -------------------------------------------------------------------------------- */

static bool read_variable_file(void *ctx, arena *a, str path, str *ret, err *e)
{
    bytes b;
    char z[PATH_MAX];
    if (!path_z(path, z, e) || !file_load(a, z, VARIABLE_FILE_BYTES_MAX, &b, e))
        return false;
    *ret = (str){(const char *)b.p, b.n};
    return true;
}

static str from_environment(void *ctx, const char *name) { return str_from(getenv(name)); }

static bool variables_resolve(arena *a, const app *the_app, variable_providers providers,
                              const app_component *c, config_component *out, err *e)
{
    for (size_t i = 0; i < c->variables.n; i++) {
        str value;
        if (variable_get(the_app, c, providers, c->variables.at[i].key, a, &value, e) !=
            VARIABLE_OK)
            return err_wrap(e, "component '%.*s', variable '%.*s'", STR(c->id),
                            STR(c->variables.at[i].key));
        if (!app_pairs_add(a, &out->variables, c->variables.at[i].key, value))
            return err_no_memory(e);
    }
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++) {
        str host;
        if (variable_expand(the_app, providers, c->allowed_outbound_hosts.at[i], a, &host, e) !=
            VARIABLE_OK)
            return err_wrap(e, "component '%.*s', allowed_outbound_hosts", STR(c->id));
        bool nothing = !host.n || str_eq(host, S("http://")) || str_eq(host, S("https://"));
        if (!nothing && !str_list_add(a, &out->outbound, host))
            return err_no_memory(e);
    }
    return true;
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

static bool artifacts_make(arena *a, const localapp_options *o, const localapp *l, const place *at,
                           config_component *out, err *e)
{
    const app *the_app = l->app;
    artifact *items = ARENA_ARRAY(a, artifact, the_app->components_count + 1);
    size_t *index = ARENA_ARRAY(a, size_t, the_app->components_count + 1), n = 0;
    if (!items || !index)
        return err_no_memory(e);
    for (size_t i = 0; i < the_app->components_count; i++) {
        const app_component *c = &the_app->components[i];
        if (!c->is_used)
            continue;
        if (c->source.kind != APP_SOURCE_PATH)
            return err_set(e, ERR_UNSUPPORTED,
                           "component '%.*s': only sources that are local files are served by now",
                           STR(c->id));
        bool absolute = c->source.path.n && c->source.path.p[0] == '/';
        items[n].label = c->id;
        items[n].source = absolute
                              ? arena_str(a, c->source.path)
                              : arena_printf(a, "%.*s/%.*s", STR(at->dir), STR(c->source.path));
        if (!items[n].source.p)
            return err_no_memory(e);
        index[n++] = i;
    }
    str cache;
    engine *en;
    engine_config config = engine_config_default();
    config.compiler = true;
    if (!artifact_cache_dir(a, o->cache_dir, &cache, e) || !engine_new(&config, &en, e))
        return false;
    bool ok =
        artifact_ensure_all(a, cache, engine_fingerprint(en), items, n, o->jobs, o->progress, e);
    engine_free(en);
    for (size_t i = 0; ok && i < n; i++)
        out[index[i]].artifact = items[i].dir;
    return ok;
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

static bool stores_make(arena *a, const localapp_options *o, localapp *l, const place *at,
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
                        .progress = o->progress};
    return state_make(a, &so, l->app, &l->config, e);
}

/* --- all of it -------------------------------------------------------------------------------- */

static bool components_make(arena *a, const localapp_options *o, localapp *l, const place *at,
                            variable_providers providers, uint64_t memory_max,
                            config_component *out, err *e)
{
    _cleanup_fd_ int root = open(at->dir.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_set_errno(e, "%s", at->dir.p);
    files_fs fs = {&root, fs_stat, fs_list};
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 256 * MIB);
    for (size_t i = 0; i < l->app->components_count; i++) {
        app_component *c = &l->app->components[i];
        if (!c->is_used)
            continue;
        if (memory_max)
            c->settings.memory_bytes_max = memory_max;
        if (!variables_resolve(a, l->app, providers, c, &out[i], e) ||
            !files_expand(a, &scratch, &fs, at->manifest, c, &l->app->warnings, e) ||
            !files_copy(a, l, root, c, &out[i], e))
            return false;
        arena_reset(&scratch);
    }
    return true;
}

bool localapp_load(arena *a, const localapp_options *o, localapp *ret, err *e)
{
    localapp l = {0};
    place at = {0};
    app_pairs given = {0};
    *ret = l;
    configuration configured = {0};
    if (!manifest_load(a, o, &l, &at, e) || !env_add(a, o, l.app, e) ||
        !configuration_load(a, o, &l, &configured, e))
        return false;
    for (size_t i = 0; i < o->variables_count; i++)
        if (!variable_arg_parse(a, str_from(o->variables[i]), read_variable_file, NULL, &given, e))
            return err_wrap(e, "--variable");
    variable_env env = {S("SPIN_VARIABLE"), from_environment, NULL};
    variable_provider list[] = {variable_provider_static(&given), variable_provider_env(&env)};
    variable_providers providers = {list, 2};
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 64 * MIB);
    config_component *components = ARENA_ARRAY(a, config_component, l.app->components_count + 1);
    if (!components)
        return err_no_memory(e);
    l.config = (worker_config){
        .app = l.app, .components = components, .allow_transient_write = o->allow_transient_write};
    uint64_t memory_max =
        o->memory_bytes_max ? o->memory_bytes_max : configured.config.memory_bytes_max;
    bool ok = variables_check(l.app, providers, &scratch, e) &&
              components_make(a, o, &l, &at, providers, memory_max, components, e) &&
              stores_make(a, o, &l, &at, &configured, e) &&
              artifacts_make(a, o, &l, &at, components, e);
    if (!ok)
        localapp_unload(&l);
    else
        *ret = l;
    return ok;
}
