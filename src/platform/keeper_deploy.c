/* Deploying (see keeper_api.h): from a locked app to a live revision.
 *
 *   1. the locked app is read and checked; each source and file has the digest of a blob that this
 *      tenant has sent
 *   2. components that have no artifact yet go to the builder; files are laid out below files/
 * under the digest of their list, as links to the blobs
 *   3. one transaction: app, variables, settings, revision, hosts, audit
 *   4. workers forget the app; when all have, the client is told
 *
 * Until 3 nothing can be seen of it; what 2 has made stays for the next attempt, or is collected.
 * A crash between 3 and 4 is no problem: workers ask a new keeper anew. */
#include "platform/keeper_api.h"

#include "app/locked.h"
#include "base/limits.h"
#include "loop/work.h"
#include "platform/app_config.h"
#include "platform/keeper_crons.h"
#include "platform/localapp.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPLOY_HOSTS_MAX = 100, DEPLOY_BLOBS_MAX = 20000 };

typedef uint8_t digest_bytes[CATALOGUE_DIGEST_BYTES];

typedef struct {
    builder_wait wait; /* first */
    api_call *c;
} part_wait;

typedef struct {
    catalogue_db *db; /* where blobs are looked up */
    str label;        /* the app's name here */
    app *app;
    config_component *components;
    digest_bytes *digests; /* of all blobs, and of the lists of files */
    size_t digests_n, digests_room;
    str *hosts;
    size_t hosts_n;
    bool hosts_given;
    part_wait *waits;
    size_t waiting;
    bool failed, unpacked;
    err e;
    catalogue_app made;
} deploy;

/* --- settings --------------------------------------------------------------------------------- */

static bool label_known(const str *labels, size_t n, str label)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(labels[i], label))
            return true;
    return false;
}

/* Every label that a component names is a store of the app. */
static bool stores_of(arena *a, const app *x, bool sql, str **ret, size_t *ret_n, err *e)
{
    str_list all = {0};
    for (size_t i = 0; i < x->components_count; i++) {
        const str_list *list =
            sql ? &x->components[i].sqlite_databases : &x->components[i].key_value_stores;
        for (size_t k = 0; x->components[i].is_used && k < list->n; k++)
            if (!label_known(all.at, all.n, list->at[k]) && !str_list_add(a, &all, list->at[k]))
                return err_no_memory(e);
    }
    *ret = all.at;
    *ret_n = all.n;
    return true;
}

static bool stores_set(arena *a, app_config *c, err *e)
{
    str *labels;
    size_t n;
    if (!stores_of(a, c->app, false, &labels, &n, e))
        return false;
    kv_store *stores = ARENA_ARRAY(a, kv_store, n + 1);
    for (size_t i = 0; stores && i < n; i++)
        stores[i].label = labels[i];
    c->stores = stores;
    c->stores_count = n;
    if (!stores_of(a, c->app, true, &labels, &n, e))
        return false;
    sql_database *databases = ARENA_ARRAY(a, sql_database, n + 1);
    for (size_t i = 0; databases && i < n; i++)
        databases[i].label = labels[i];
    c->databases = databases;
    c->databases_count = n;
    return (stores && databases) || err_no_memory(e);
}

/* Variables and hosts of every component with the values that the catalogue has. */
static bool values_set(arena *a, catalogue_db *db, uint64_t app_id, const app *x,
                       config_component *components, err *e)
{
    catalogue_variable *all;
    size_t n;
    app_pairs given = {0};
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 64 * MIB);
    if (!catalogue_variables(db, a, app_id, &all, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!app_pairs_add(a, &given, all[i].name, all[i].value))
            return err_no_memory(e);
    variable_provider one = variable_provider_static(&given);
    variable_providers providers = {&one, 1};
    if (!variables_check(x, providers, &scratch, e))
        return false;
    for (size_t i = 0; i < x->components_count; i++) {
        components[i].variables = (app_pairs){0};
        components[i].outbound = (str_list){0};
        if (x->components[i].is_used &&
            !localapp_values(a, x, providers, false, &x->components[i], &components[i], e))
            return false;
    }
    return true;
}

bool deploy_settings(arena *a, catalogue_db *db, uint64_t app_id, str text, buf *out, err *e)
{
    app_config c;
    if (!app_config_read(a, (bytes){(const uint8_t *)text.p, text.n}, &c, e))
        return false;
    config_component *components = ARENA_ARRAY(a, config_component, c.app->components_count + 1);
    if (!components)
        return err_no_memory(e);
    memcpy(components, c.components, c.app->components_count * sizeof *components);
    c.components = components;
    return values_set(a, db, app_id, c.app, components, e) && app_config_write(&c, out, e);
}

/* --- 1: what is deployed ---------------------------------------------------------------------- */

static bool digest_add(api_call *c, deploy *d, str digest, str what, err *e)
{
    digest_bytes got;
    bool there;
    uint64_t n;
    if (!digest_parse(digest, got) || !str_starts(digest, S("sha256:")))
        return err_set(e, ERR_INVALID,
                       "%.*s has no digest of a blob; send it first, then name it by sha256:...",
                       STR(what));
    if (!catalogue_blob_find(d->db, c->tenant.id, got, &there, &n, e))
        return false;
    if (!there)
        return err_set(e, ERR_CONFLICT, "the blob of %.*s was not sent: %.*s", STR(what),
                       STR(digest));
    if (d->digests_n >= DEPLOY_BLOBS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d blobs in one app", DEPLOY_BLOBS_MAX);
    if (d->digests_n + 2 > d->digests_room) {
        size_t room = d->digests_room ? d->digests_room * 2 : 16;
        d->digests = arena_grow(&c->a, d->digests, d->digests_room, room, sizeof *d->digests);
        d->digests_room = room;
        if (!d->digests)
            return err_no_memory(e);
    }
    memcpy(d->digests[d->digests_n++], got, sizeof got);
    return true;
}

/* Absolute, without empty, '.' and '..' segments: it becomes a path of ours. */
static bool guest_path_is(str p)
{
    if (p.n < 2 || p.n > APP_PATH_BYTES_MAX - 512 || p.p[0] != '/' || memchr(p.p, 0, p.n))
        return false;
    str rest = str_skip(p, 1);
    while (rest.p) {
        str segment = str_cut(&rest, '/');
        if (!segment.n || segment.n > NAME_MAX || str_eq(segment, S(".")) ||
            str_eq(segment, S("..")))
            return false;
    }
    return true;
}

/* The list's digest: SHA-256 over "<path>\0<digest>\n" of each file. */
static bool files_add(api_call *c, deploy *d, const app_component *x, config_component *out, err *e)
{
    digest_bytes tree;
    unsigned n;
    char hex[65];
    if (!x->files.n)
        return true;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (size_t i = 0; ok && i < x->files.n; i++) {
        const app_file *f = &x->files.at[i];
        ok = guest_path_is(f->guest_path) ||
             err_set(e, ERR_INVALID, "component '%.*s': '%.*s' is no path of a file", STR(x->id),
                     STR(str_head(f->guest_path, 200)));
        ok = ok && digest_add(c, d, f->digest, f->guest_path, e);
        EVP_DigestUpdate(md, f->guest_path.p, f->guest_path.n);
        EVP_DigestUpdate(md, "\0", 1);
        EVP_DigestUpdate(md, f->digest.p, f->digest.n);
        EVP_DigestUpdate(md, "\n", 1);
    }
    if (ok)
        EVP_DigestFinal_ex(md, tree, &n);
    EVP_MD_CTX_free(md);
    if (!ok)
        return false;
    digest_hex(tree, hex);
    memcpy(d->digests[d->digests_n++], tree, sizeof tree); /* digest_add has left room */
    str folder = arena_str(&c->a, str_from(hex));
    return (folder.p && app_pairs_add(&c->a, &out->mounts, S("/"), folder)) || err_no_memory(e);
}

static bool components_read(api_call *c, deploy *d, err *e)
{
    d->components = ARENA_ARRAY(&c->a, config_component, d->app->components_count + 1);
    d->waits = ARENA_ARRAY(&c->a, part_wait, d->app->components_count + 1);
    if (!d->components || !d->waits)
        return err_no_memory(e);
    for (size_t i = 0; i < d->app->components_count; i++) {
        const app_component *x = &d->app->components[i];
        if (!x->is_used)
            continue;
        if (x->dependencies.n)
            return err_set(e, ERR_UNSUPPORTED,
                           "component '%.*s' has dependencies; 'ebb deploy' sends it composed",
                           STR(x->id));
        if (!digest_add(c, d, x->source.digest, x->id, e) ||
            !files_add(c, d, x, &d->components[i], e))
            return false;
        d->components[i].artifact = str_skip(x->source.digest, 7);
    }
    return true;
}

static bool hosts_read(api_call *c, deploy *d, err *e)
{
    const json_t *list = json_object_get(c->json, "hosts");
    if (!list)
        return true;
    d->hosts_given = true;
    d->hosts_n = json_array_size(list);
    d->hosts = ARENA_ARRAY(&c->a, str, d->hosts_n + 1);
    if (!json_is_array(list) || d->hosts_n > DEPLOY_HOSTS_MAX)
        return err_set(e, ERR_INVALID, "'hosts' is an array of at most %d names", DEPLOY_HOSTS_MAX);
    for (size_t i = 0; d->hosts && i < d->hosts_n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return err_set(e, ERR_INVALID, "'hosts' is an array of names");
        d->hosts[i] = (str){json_string_value(v), json_string_length(v)};
    }
    return d->hosts || err_no_memory(e);
}

bool deploy_variables_check(const json_t *given, err *e)
{
    const char *key;
    json_t *v;
    if (given && !json_is_object(given))
        return err_set(e, ERR_INVALID, "'variables' is an object");
    json_object_foreach((json_t *)(uintptr_t)given, key, v)
    {
        if (!variable_name_is_valid(str_from(key)))
            return err_set(e, ERR_INVALID, "'%.100s' is no name of a variable", key);
        if (!json_is_string(v) && !json_is_null(v))
            return err_set(e, ERR_INVALID, "variable '%s' must be a string, or null", key);
    }
    return true;
}

static bool request_read(api_call *c, deploy *d, const json_t *locked, err *e)
{
    if (!json_is_object(locked))
        return err_set(e, ERR_INVALID, "'app' is missing: a locked app");
    char *text = json_dumps(locked, JSON_COMPACT);
    if (!text)
        return err_no_memory(e);
    bool ok = locked_read(&c->a, (bytes){(const uint8_t *)text, strlen(text)}, &d->app, e);
    free(text);
    return ok && localapp_runs(&c->a, d->app, e) && keeper_crons_check(d->app, e) &&
           components_read(c, d, e);
}

/* --- 2: artifacts and files ------------------------------------------------------------------- */

static bool link_or_copy(const char *from, const char *to)
{
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) == 0 || errno == EEXIST)
        return true;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK)
        return false;
    char block[64 * 1024];
    err e;
    _cleanup_fd_ int in = open(from, O_RDONLY | O_CLOEXEC),
                     out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
    ssize_t n = in < 0 || out < 0 ? -1 : 1;
    while (n > 0 && (n = read(in, block, sizeof block)) > 0)
        if (!fd_write_all(out, block, (size_t)n, &e))
            return false;
    return n == 0 && fsync(out) == 0;
}

static bool folders_make(char *path, size_t from)
{
    for (char *at = path + from; (at = strchr(at, '/')); at++) {
        *at = 0;
        bool ok = mkdirat(AT_FDCWD, path, 0755) == 0 || errno == EEXIST;
        *at = '/';
        if (!ok)
            return false;
    }
    return true;
}

static int folder_sync(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return kind != FTW_D || dir_sync(path) ? 0 : -1;
}

/* Beside its place, then renamed: a folder of files is whole or not there, and lasts. */
static bool tree_make(str dir, str hex, const app_files *files, err *e)
{
    static _Atomic unsigned count;
    char final[PATH_MAX], temp[PATH_MAX], to[PATH_MAX], from[PATH_MAX];
    snprintf(final, sizeof final, "%.*s/files/%.*s", STR(dir), STR(hex));
    if (access(final, F_OK) == 0)
        return true;
    int n = snprintf(temp, sizeof temp, "%s.%d.%u.tmp", final, (int)getpid(), ++count);
    if (mkdirat(AT_FDCWD, temp, 0755) < 0)
        return err_set_errno(e, "files can't be laid out");
    for (size_t i = 0; i < files->n; i++) {
        const app_file *f = &files->at[i];
        str digest = str_skip(f->digest, 7);
        int length = snprintf(to, sizeof to, "%s%.*s", temp, STR(f->guest_path));
        snprintf(from, sizeof from, "%.*s/blobs/sha256/%.2s/%.*s", STR(dir), digest.p, STR(digest));
        if (length < 0 || length >= (int)sizeof to)
            return err_set(e, ERR_LIMIT, "the path is too long: %.*s", STR(f->guest_path));
        if (!folders_make(to, (size_t)n + 1) || !link_or_copy(from, to))
            return err_set_errno(e, "%.*s can't be laid out", STR(f->guest_path));
    }
    if (nftw(temp, folder_sync, 16, FTW_PHYS) != 0)
        return err_set_errno(e, "files can't be laid out");
    if (rename(temp, final) < 0 && errno != EEXIST && errno != ENOTEMPTY)
        return err_set_errno(e, "files can't be laid out");
    snprintf(final, sizeof final, "%.*s/files", STR(dir));
    return dir_sync(final) || err_set_errno(e, "files can't be laid out");
}

static void unpack_work(void *user)
{
    api_call *c = user;
    deploy *d = c->own;
    d->unpacked = true;
    for (size_t i = 0; d->unpacked && i < d->app->components_count; i++)
        if (d->components[i].mounts.n)
            d->unpacked = tree_make(c->k->config.data_dir, d->components[i].mounts.at[0].value,
                                    &d->app->components[i].files, &d->e);
}

static void commit_start(api_call *c);

static void unpack_done(void *user)
{
    api_call *c = user;
    deploy *d = c->own;
    c->busy--;
    if (d->unpacked)
        commit_start(c);
    else
        api_fail(c, &d->e);
}

static void unpack_start(api_call *c)
{
    deploy *d = c->own;
    bool any = false;
    for (size_t i = 0; i < d->app->components_count; i++)
        any |= d->components[i].mounts.n > 0;
    if (!any) {
        commit_start(c);
        return;
    }
    c->busy++;
    if (loop_work_start(c->k->l, unpack_work, unpack_done, c, &d->e))
        return;
    c->busy--;
    api_fail(c, &d->e);
}

static void part_over(api_call *c)
{
    deploy *d = c->own;
    if (--d->waiting)
        return;
    c->busy--;
    if (d->failed)
        api_fail(c, &d->e);
    else
        unpack_start(c);
}

static void on_built(builder_wait *w, bool ok, const err *e)
{
    part_wait *p = (part_wait *)w;
    deploy *d = p->c->own;
    if (!ok && !d->failed) {
        d->failed = true;
        d->e = *e;
        err_wrap(&d->e, "component '%.*s'", STR(d->app->components[p - d->waits].id));
        /* What went wrong with a component is its author's, not ours. */
        if (e->code == ERR_LIMIT || e->code == ERR_TRAP)
            d->e.code = ERR_INVALID;
    }
    part_over(p->c);
}

static void build_start(api_call *c)
{
    deploy *d = c->own;
    c->busy++;
    d->waiting = 1;
    for (size_t i = 0; i < d->app->components_count; i++) {
        if (!d->components[i].artifact.n)
            continue;
        d->waits[i] = (part_wait){.wait = {.done = on_built}, .c = c};
        d->waiting++;
        if (builder_ensure(c->k->builder, d->components[i].artifact, &d->waits[i].wait))
            d->waiting--;
    }
    part_over(c);
}

/* --- 3 and 4 ---------------------------------------------------------------------------------- */

bool deploy_variables(api_call *c, catalogue_db *db, uint64_t app_id, err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(c->json, "variables"), key, v)
    {
        str value = json_is_null(v) ? (str){0} : (str){json_string_value(v), json_string_length(v)};
        if (!catalogue_variable_set(db, app_id, str_from(key), value, e))
            return false;
    }
    return true;
}

static bool apps_room(api_call *c, catalogue_db *db, err *e)
{
    quota q = api_quota(c);
    uint64_t n;
    if (!q.apps || !catalogue_apps_count(db, c->tenant.id, &n, e))
        return !q.apps;
    return n < q.apps || err_set(e, ERR_LIMIT, "the tenant's quota is %llu apps; delete one",
                                 (unsigned long long)q.apps);
}

/* How long a call that this revision accepts may have to wait for it: its slack, and a day in which
 * it is tried again and somebody is told. */
static int64_t holds_s(const app *a) { return app_defers(a) ? APP_DEFER_SLACK_S_MAX + 86400 : 0; }

static bool revision_put(api_call *c, deploy *d, catalogue_db *db, err *e)
{
    _cleanup_(buf_fini) buf out;
    app_config config = {.app = d->app, .components = d->components};
    catalogue_app there;
    buf_init(&out, APP_LOCKED_BYTES_MAX);
    const keeper_serve *s = &c->k->config.serve;
    if (!catalogue_app_find(db, &c->a, c->tenant.id, d->label, &there, e) ||
        (!there.id && !apps_room(c, db, e)) ||
        !catalogue_app_ensure(db, &c->a, c->tenant.id, d->label, &d->made, e) ||
        !deploy_variables(c, db, d->made.id, e))
        return false;
    if (!values_set(&c->a, db, d->made.id, d->app, d->components, e) ||
        !stores_set(&c->a, &config, e) || !app_config_write(&config, &out, e) ||
        !catalogue_revision_add(db, &d->made, buf_str(&out),
                                (const uint8_t (*)[CATALOGUE_DIGEST_BYTES])d->digests, d->digests_n,
                                s->revisions_kept, holds_s(d->app), keeper_now_s(), e))
        return false;
    return !d->hosts_given ||
           catalogue_hosts_set(db, &c->a, &d->made, d->hosts, d->hosts_n, c->k->config.domain,
                               c->who.role == CATALOGUE_OPERATOR, e);
}

/* The lists of files are blobs of the tenant too, without bytes: so they are collected alike. */
static bool trees_put(api_call *c, deploy *d, catalogue_db *db, err *e)
{
    for (size_t i = 0; i < d->app->components_count; i++) {
        digest_bytes tree;
        if (d->components[i].mounts.n && digest_parse(d->components[i].mounts.at[0].value, tree) &&
            !catalogue_blob_add(db, c->tenant.id, tree, 0, keeper_now_s(), e))
            return false;
    }
    return true;
}

static bool commit_apply(api_call *c, catalogue_db *db, err *e)
{
    deploy *d = c->own;
    return trees_put(c, d, db, e) && revision_put(c, d, db, e) &&
           api_audit(c, db, "deploy",
                     arena_printf(&c->a, "%.*s %u", STR(d->label), d->made.revision), e);
}

static void answer(api_call *c)
{
    deploy *d = c->own;
    json_t *hosts = json_array();
    for (size_t i = 0; i < d->hosts_n; i++)
        json_array_append_new(hosts, api_str(d->hosts[i]));
    blobs_collect(c->k);
    api_json_take(c, 200,
                  json_pack("{s:o,s:I,s:i,s:o,s:o}", "name", api_str(d->label), "id",
                            (json_int_t)d->made.id, "revision", (int)d->made.revision, "url",
                            api_str(api_url(c, d->label, c->tenant.name)), "hosts", hosts));
}

static void committed(api_call *c)
{
    deploy *d = c->own;
    if (d->hosts_given) /* else api_forget says so */
        serve_app_changed(c->k, d->made.id);
    api_forget(c, d->hosts_given ? 0 : d->made.id, false, answer);
}

/* With new hosts names are forgotten, and the app with its tenant's others. */
static void commit_start(api_call *c) { api_submit(c, commit_apply, committed); }

void api_deploy(api_call *c)
{
    deploy *d = ARENA_NEW(&c->a, deploy);
    err e;
    if (!d) {
        api_fail_status(c, 503, "no memory");
        return;
    }
    c->own = d;
    d->db = catalogue_reading(c->k->catalogue);
    if (!catalogue_app_label(&c->a, c->params[1], &d->label, &e) ||
        !request_read(c, d, json_object_get(c->json, "app"), &e) || !hosts_read(c, d, &e) ||
        !deploy_variables_check(json_object_get(c->json, "variables"), &e))
        api_fail(c, &e);
    else
        build_start(c);
}

/* --- many at once ----------------------------------------------------------------------------- */

static bool bulk_one(api_call *c, catalogue_db *db, const json_t *one, uint64_t *ret_id, err *e)
{
    deploy *d = ARENA_NEW(&c->a, deploy);
    const json_t *name = json_object_get(one, "name");
    str text = {json_string_value(name), json_string_length(name)};
    if (!d)
        return err_no_memory(e);
    d->db = db;
    if (!catalogue_app_label(&c->a, text, &d->label, e) ||
        !request_read(c, d, json_object_get(one, "app"), e) || !trees_put(c, d, db, e) ||
        !revision_put(c, d, db, e))
        return err_wrap(e, "app '%.*s'", STR(str_head(text, 100)));
    *ret_id = d->made.id;
    return true;
}

static bool bulk_apply(api_call *c, catalogue_db *db, err *e)
{
    const json_t *apps = json_object_get(c->json, "apps");
    uint64_t *ids = c->own;
    for (size_t i = 0; i < json_array_size(apps); i++)
        if (!bulk_one(c, db, json_array_get(apps, i), &ids[i], e))
            return false;
    return api_audit(c, db, "bulk deploy", arena_printf(&c->a, "%zu apps", json_array_size(apps)),
                     e);
}

static void bulk_answer(api_call *c)
{
    json_t *list = json_array();
    const uint64_t *ids = c->own;
    for (size_t i = 0; i < json_array_size(json_object_get(c->json, "apps")); i++)
        json_array_append_new(list, json_integer((json_int_t)ids[i]));
    api_json_take(c, 200, json_pack("{s:o}", "apps", list));
}

static void bulk_done(api_call *c)
{
    const uint64_t *ids = c->own;
    for (size_t i = 0; i < json_array_size(json_object_get(c->json, "apps")); i++)
        serve_app_changed(c->k, ids[i]);
    api_forget(c, 0, false, bulk_answer);
}

/* No files are laid out and nothing is compiled: what an app lacks is made when it is first found,
 * or fails then. */
void api_bulk(api_call *c)
{
    const json_t *apps = json_object_get(c->json, "apps");
    str tenant = {0};
    err e;
    c->own = ARENA_ARRAY(&c->a, uint64_t, json_array_size(apps) + 1);
    if (!c->own || !api_text(c, "tenant", &tenant, &e) ||
        !catalogue_tenant_find(catalogue_reading(c->k->catalogue), &c->a, tenant, &c->tenant, &e))
        api_fail(c, &e);
    else if (!c->tenant.id)
        api_fail_status(c, 404, "there is no such tenant");
    else
        api_submit(c, bulk_apply, bulk_done);
}
