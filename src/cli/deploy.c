/* `ebb deploy`: sends what the node does not have of an app, and makes it live.
 *
 * The app goes as Spin pushes it to registries: a locked app whose component sources and files are
 * named by digest, and a blob for each of them. Blobs that the tenant has sent before are not sent
 * again. With --bulk, lines of {"name": ..., "app": locked app} go in groups, for tests and probes.
 */
#include "cli/build.h"
#include "cli/commands.h"
#include "cli/node_client.h"

#include "app/locked.h"
#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/localapp.h"
#include "platform/spawn.h"
#include "store/catalogue.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BULK_GROUP = 500 };

typedef struct {
    node_command *c;
    localapp_place at;
    app *app;
    FILE *progress;
    size_t sent;
    uint64_t sent_bytes;
} deploy;

/* --- blobs ------------------------------------------------------------------------------------ */

/* "sha256:<hex>" of a file, and its length. */
static bool file_digest(arena *a, const char *path, str *ret, uint64_t *ret_bytes, err *e)
{
    static uint8_t block[256 * 1024];
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char hex[72] = "sha256:";
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, "%s", path);
    EVP_MD_CTX *x = EVP_MD_CTX_new();
    ssize_t got = x && EVP_DigestInit_ex(x, EVP_sha256(), NULL) ? 1 : -1;
    *ret_bytes = 0;
    while (got > 0 && (got = read(fd, block, sizeof block)) > 0) {
        EVP_DigestUpdate(x, block, (size_t)got);
        *ret_bytes += (uint64_t)got;
    }
    if (got == 0)
        EVP_DigestFinal_ex(x, md, &n);
    EVP_MD_CTX_free(x);
    if (n != CATALOGUE_DIGEST_BYTES)
        return err_set_errno(e, "%s can't be read", path);
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 7 + 2 * i, 3, "%02x", md[i]);
    *ret = arena_str(a, str_from(hex));
    return ret->p || err_no_memory(e);
}

static bool blob_send(deploy *d, const char *file, str what, str *ret_digest, err *e)
{
    uint64_t n;
    err missing;
    if (!file_digest(&d->c->a, file, ret_digest, &n, e))
        return false;
    str path = node_path(d->c, "/blobs/%.*s", STR(*ret_digest));
    if (node_ask(d->c->client, "HEAD", path, NULL, NULL, &missing))
        return true;
    if (missing.code != ERR_NOT_FOUND) {
        /* A HEAD has no text: ask again what is wrong. */
        return node_ask(d->c->client, "GET", S("/v1/whoami"), NULL, NULL, e)
                   ? err_set(e, missing.code, "%s", missing.text)
                   : false;
    }
    if (d->progress)
        fprintf(d->progress, "  sending %.*s (%.1f kB)\n", STR(what), (double)n / 1e3);
    if (!node_send(d->c->client, path, file, n, e))
        return false;
    d->sent++;
    d->sent_bytes += n;
    return true;
}

static bool component_send(deploy *d, app_component *x, str source, err *e)
{
    arena *a = &d->c->a;
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 256 * MIB);
    x->source = (app_source){.kind = APP_SOURCE_PATH};
    x->dependencies.n = 0; /* they are in the blob */
    if (!blob_send(d, source.p, x->id, &x->source.digest, e) ||
        (!d->at.reference.n &&
         !localfiles_expand(a, &scratch, d->at.dir.p, d->at.manifest, x, &d->app->warnings, e)))
        return false;
    for (size_t i = 0; i < x->files.n; i++) {
        app_file *f = &x->files.at[i];
        str path = d->at.reference.n
                       ? arena_str(a, f->host_path)
                       : arena_printf(a, "%.*s/%.*s", STR(d->at.dir), STR(f->host_path));
        if (!path.p)
            return err_no_memory(e);
        if (!blob_send(d, path.p, f->guest_path, &f->digest, e))
            return false;
        f->host_path = (str){0};
    }
    return true;
}

static bool all_send(deploy *d, const localapp_options *lo, err *e)
{
    arena *a = &d->c->a;
    str *sources = ARENA_ARRAY(a, str, d->app->components_count + 1);
    if (!sources)
        return err_no_memory(e);
    if (!localapp_sources(a, lo, &d->at, d->app, sources, e))
        return false;
    for (size_t i = 0; i < d->app->components_count; i++)
        if (d->app->components[i].is_used &&
            !component_send(d, &d->app->components[i], sources[i], e))
            return false;
    return true;
}

/* --- the request ------------------------------------------------------------------------------ */

static bool read_variable_file(void *ctx, arena *a, str path, str *ret, err *e)
{
    bytes b;
    char *z = arena_cstr(a, path);
    if (!z)
        return err_no_memory(e);
    if (!file_load(a, z, 16 * MIB, &b, e))
        return false;
    *ret = (str){(const char *)b.p, b.n};
    return true;
}

static bool variables_json(arena *a, const option *given, json_t *into, err *e)
{
    app_pairs values = {0};
    for (size_t i = 0; i < given->count; i++)
        if (!variable_arg_parse(a, str_from(given->all[i]), read_variable_file, NULL, &values, e))
            return err_wrap(e, "--variable");
    for (size_t i = 0; i < values.n; i++)
        json_object_setn_new(into, values.at[i].key.p, values.at[i].key.n,
                             json_stringn(values.at[i].value.p, values.at[i].value.n));
    return true;
}

static bool body_make(deploy *d, json_t **ret, err *e)
{
    const options *o = &d->c->o;
    const option *hosts = options_get(o, "host"), *variables = options_get(o, "variable");
    _cleanup_(buf_fini) buf locked;
    buf_init(&locked, APP_LOCKED_BYTES_MAX);
    d->app->origin = (str){0}; /* a path of this machine */
    if (!locked_write(d->app, (str){0}, &locked, e))
        return false;
    json_t *body = json_object(), *given = json_object();
    json_object_set_new(body, "app", json_loadb((const char *)locked.p, locked.n, 0, NULL));
    json_object_set_new(body, "variables", given);
    if (hosts->given) {
        json_t *list = json_array();
        for (size_t i = 0; i < hosts->count; i++)
            json_array_append_new(list, json_string(hosts->all[i]));
        json_object_set_new(body, "hosts", list);
    }
    bool ok = variables_json(&d->c->a, variables, given, e);
    if (ok)
        *ret = body;
    else
        json_decref(body);
    return ok;
}

static void routes_print(const deploy *d, str url)
{
    str base = str_ends(url, S("/")) ? str_head(url, url.n - 1) : url;
    for (size_t i = 0; i < d->app->triggers_count; i++) {
        const app_trigger *t = &d->app->triggers[i];
        if (t->kind != APP_TRIGGER_HTTP || t->is_private)
            continue;
        str owner = t->component == APP_NONE ? S("(static)") : d->app->components[t->component].id;
        bool wildcard = str_ends(t->route, S("/..."));
        printf("  %.*s: %.*s%.*s%s\n", STR(owner), STR(base),
               STR(str_head(t->route, t->route.n - (wildcard ? 4 : 0))),
               wildcard ? " (wildcard)" : "");
    }
}

static bool deploy_one(node_command *c, err *e)
{
    const options *o = &c->o;
    const option *from = options_get(o, "from");
    const char *place = from->given ? from->got : o->positionals_count ? o->positionals[0] : NULL;
    deploy d = {.c = c, .progress = c->json ? NULL : stderr};
    localapp_options lo = {.from = place,
                           .profile = options_get(o, "profile")->got,
                           .cache_dir = options_get(o, "cache-dir")->got,
                           .insecure = options_get(o, "insecure")->given,
                           .progress = d.progress};
    str label;
    json_t *body, *answer;
    if (options_get(o, "build")->given && !build_app(&c->a, place, lo.profile, e))
        return false;
    if (!localapp_open(&c->a, &lo, &d.at, &d.app, e) || !localapp_runs(&c->a, d.app, e) ||
        !catalogue_app_label(&c->a, d.app->name, &label, e) || !all_send(&d, &lo, e) ||
        !body_make(&d, &body, e))
        return false;
    for (size_t i = 0; i < d.app->warnings.n; i++)
        fprintf(stderr, "ebb: warning: %.*s\n", STR(d.app->warnings.at[i]));
    if (d.progress)
        fprintf(d.progress, "  sent %zu blobs, %.1f kB; now it is made ready\n", d.sent,
                (double)d.sent_bytes / 1e3);
    bool ok = node_ask(c->client, "PUT", node_path(c, "/apps/%.*s", STR(label)), body, &answer, e);
    json_decref(body);
    if (!ok)
        return false;
    if (c->json) {
        node_print_take(answer);
        return true;
    }
    str url = node_str(answer, "url");
    printf("%.*s, revision %lld: %.*s\n", STR(label),
           (long long)json_integer_value(json_object_get(answer, "revision")), STR(url));
    routes_print(&d, url);
    json_decref(answer);
    return true;
}

/* --- many at once ----------------------------------------------------------------------------- */

static bool bulk_group(node_command *c, json_t *apps, size_t *done, err *e)
{
    json_t *body = json_pack("{s:s%,s:o}", "tenant", c->login.tenant.p, c->login.tenant.n, "apps",
                             json_incref(apps));
    bool ok = node_ask(c->client, "POST", S("/v1/bulk"), body, NULL, e);
    json_decref(body);
    *done += json_array_size(apps);
    json_array_clear(apps);
    return ok;
}

static bool bulk_lines(node_command *c, FILE *f, json_t *apps, size_t *done, err *e)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    bool ok = true;
    for (ssize_t n; ok && (n = getline(&line, &room, f)) > 0;) {
        json_error_t je;
        json_t *one = json_loadb(line, (size_t)n, 0, &je);
        number++;
        if (!one)
            ok = err_set(e, ERR_INVALID, "--bulk: line %zu: %s", number, je.text);
        else
            json_array_append_new(apps, one);
        if (ok && json_array_size(apps) == BULK_GROUP)
            ok = bulk_group(c, apps, done, e);
    }
    free(line);
    return ok && (!json_array_size(apps) || bulk_group(c, apps, done, e));
}

static bool deploy_bulk(node_command *c, const char *file, err *e)
{
    FILE *f = fopen(file, "re");
    size_t done = 0;
    if (!f)
        return err_set_errno(e, "--bulk %s", file);
    json_t *apps = json_array();
    bool ok = bulk_lines(c, f, apps, &done, e);
    json_decref(apps);
    fclose(f);
    if (ok && c->json)
        printf("{\"apps\":%zu}\n", done);
    else if (ok)
        printf("%zu apps deployed\n", done);
    return ok;
}

static bool run(node_command *c, err *e)
{
    const option *bulk = options_get(&c->o, "bulk");
    return bulk->given ? deploy_bulk(c, bulk->got, e) : deploy_one(c, e);
}

int cli_deploy(int argc, char **argv)
{
    option rows[] = {
        NODE_OPTIONS,
        {"from", 'f', OPTION_VALUE, "PATH",
         "a spin.toml, a folder with one, a .wasm, or a reference to a registry [.]"},
        {"insecure", 'k', OPTION_FLAG, NULL, "do not check the certificates of registries"},
        {"profile", 0, OPTION_VALUE, "NAME", "the profile of the manifest to use"},
        {"build", 0, OPTION_FLAG, NULL, "run the build commands first", "SPIN_ALWAYS_BUILD"},
        {"host", 0, OPTION_REPEAT, "NAME", "a host of the app's own, instead of those before"},
        {"variable", 0, OPTION_REPEAT, "K=V", "an application variable: K=V, K=@file, @file.json"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where downloads are kept"},
        {"bulk", 0, OPTION_VALUE, "FILE", "lines of {\"name\", \"app\"}, for tests and probes"},
        {0},
    };
    options o = {.command = "deploy",
                 .positional = "[PATH]",
                 .options = rows,
                 .summary = "Sends the application to a node and makes it live."};
    return node_command_run(argc, argv, &o, run);
}
