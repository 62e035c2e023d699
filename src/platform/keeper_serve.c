/* What the keeper of `ebb serve` has beside that of `ebb up`: the catalogue, the builder, the
 * directory that workers ask, and two doors of the admin API. */
#include "platform/keeper_api.h"
#include "platform/keeper_crons.h"
#include "platform/keeper_owner.h"

#include "base/limits.h"
#include "store/client.h"

#include <stdlib.h>
#include <sys/stat.h>

#define LEAVE_NS (60 * NS_PER_S)

typedef struct {
    builder_wait wait; /* first */
    keeper *k;
} making;

/* Requests that wait for it are answered now: with the app, or with why it can't be. */
static void on_made(builder_wait *w, bool ok, const err *e)
{
    keeper *k = ((making *)w)->k;
    if (!ok) {
        log_msg(LOG_ERROR, "component %s can't be compiled for this ebb: %s", w->hex, e->text);
        log_flush();
        k->unmade = w;
        k->unmade_why = e;
    }
    keeper_directory_again(k->directory, str_from(w->hex));
    k->unmade = NULL;
    free(w);
}

typedef enum { MADE, BEING_MADE, NOT_MADE } made;

/* After an upgrade of the engine artifacts are missing: they are made when first wanted.
 * *ret_wants: the first that is not there yet. */
static made artifacts_are_there(keeper *k, str settings, str *ret_wants, err *e)
{
    static const char mark[] = "\"artifact\":\"";
    ret_wants->n = 0;
    for (const char *at; (at = memmem(settings.p, settings.n, mark, sizeof mark - 1));) {
        uint8_t digest[CATALOGUE_DIGEST_BYTES];
        settings = str_skip(settings, (size_t)(at - settings.p) + sizeof mark - 1);
        str hex = str_head(settings, 64);
        if (!digest_parse(hex, digest))
            continue;
        if (k->unmade && str_eq(hex, str_from(k->unmade->hex))) {
            err_set(e, ERR_INVALID, "it can't be compiled for this version of ebb: %s",
                    k->unmade_why->text);
            return NOT_MADE;
        }
        making *w = calloc(1, sizeof *w);
        if (!w) {
            err_no_memory(e);
            return NOT_MADE;
        }
        *w = (making){.wait = {.done = on_made}, .k = k};
        if (builder_ensure(k->builder, hex, &w->wait))
            free(w);
        else if (!ret_wants->n)
            *ret_wants = hex;
    }
    return ret_wants->n ? BEING_MADE : MADE;
}

static bool find(void *user, const directory_message *q, arena *a, directory_message *ret, err *e)
{
    keeper *k = user;
    catalogue_found f;
    calls_owner owner;
    if (!(q->calls.app ? owner_find(k, &q->calls, a, &f, e)
                       : catalogue_find(k->catalogue, q->host, a, &f, e)))
        return false;
    if (!f.app) {
        *ret = (directory_message){.kind = DIRECTORY_NOBODY};
        return true;
    }
    str wants;
    made m = k->builder ? artifacts_are_there(k, f.settings, &wants, e) : MADE;
    if (m == NOT_MADE)
        return false;
    if (m == BEING_MADE) {
        *ret = (directory_message){.kind = DIRECTORY_LATER, .settings = wants};
        return true;
    }
    if (!owner_found(k, a, &f, &owner, e))
        return false;
    /* Two indexed reads on the loop's own connection, some 50 us: done at once. */
    *ret = (directory_message){.kind = DIRECTORY_FOUND,
                               .app = f.app,
                               .tenant = f.tenant,
                               .revision = f.revision,
                               .calls = owner,
                               .settings = f.settings,
                               .quota = f.quota,
                               .egress = f.egress};
    return true;
}

static void door_empty(void *user)
{
    keeper *k = user;
    k->doors -= k->doors > 0;
    keeper_stop_if_unused(k);
}

static void leave_is_over(void *user)
{
    keeper *k = user;
    k->doors = 0;
    keeper_stop_if_unused(k);
}

static void doubted(void *user) { keeper_changed(user); }

/* Who comes from now on waits on the sockets for the next keeper; who is here has his answer first,
 * unless it never ends. Our workers ask for
 * each request anew from here on: what the next keeper changes, we read. */
void keeper_leave(keeper *k)
{
    http_server *doors[] = {k->admin, k->admin_tcp};
    err e;
    if (k->leaving)
        return;
    k->leaving = true;
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++)
        if (doors[i]) {
            k->doors++;
            http_server_retire(doors[i], door_empty, k);
        }
    loop_timer_start(k->l, &k->leave, LEAVE_NS, leave_is_over, k);
    k->changing++;
    if (!keeper_directory_doubt(k->directory, doubted, k, &e))
        keeper_changed(k);
}

void keeper_changed(keeper *k)
{
    err e;
    if (--k->changing || !k->leaving || !k->control)
        return;
    if (!channel_send(k->control, (bytes){(const uint8_t *)"l", 1}, -1, &e))
        log_msg(LOG_ERROR, "the supervisor can't be told that the keeper leaves: %s", e.text);
}

bool serve_begin(keeper *k, err *e)
{
    const keeper_serve *s = &k->config.serve;
    str dir = k->config.data_dir;
    seal_key key;
    str path = arena_printf(&k->a, "%.*s/platform.db", STR(dir));
    str key_path = arena_printf(&k->a, "%.*s/seal.key", STR(dir));
    if (!path.p || !key_path.p)
        return err_no_memory(e);
    bool ok =
        (!s->fingerprint.n || builder_new(k->l, dir, s->fingerprint, s->jobs, &k->builder, e)) &&
        seal_key_load(key_path.p, &key, e) &&
        catalogue_open(k->l, path.p, k->config.domain, &key, &k->catalogue, e);
    explicit_bzero(&key, sizeof key);
    if (!ok)
        return err_wrap(e, "the catalogue of apps");
    k->directory = keeper_directory_new(k->l, find, keeper_stop_if_unused, k);
    return k->directory ? true : err_no_memory(e);
}

static bool door_open(keeper *k, int fd, api_door *door, http_server **ret, err *e)
{
    http_server_config hc = {.idle_wait = 60 * NS_PER_S, .connections_max = 1000};
    if (fd < 0)
        return true;
    *ret = http_server_new(k->l, &hc, api_on_request, door);
    return *ret ? http_server_listen(*ret, fd, e) : err_no_memory(e);
}

void serve_app_changed(keeper *k, uint64_t number)
{
    _cleanup_(arena_fini) arena a;
    catalogue_found f;
    calls_owner owner = {0};
    err e;
    char host[600];
    arena_init(&a, 2 * APP_LOCKED_BYTES_MAX);
    if (!k->crons)
        return;
    if (!catalogue_find_revision(k->catalogue, number, 0, &a, &f, &e) ||
        (f.app && !owner_found(k, &a, &f, &owner, &e))) {
        log_msg(LOG_ERROR, "cron triggers of app %llu: %s", (unsigned long long)number, e.text);
        return;
    }
    if (!f.app)
        f = (catalogue_found){0};
    snprintf(host, sizeof host, "%.*s-%.*s.%.*s", STR(str_head(f.app_name, 100)),
             STR(str_head(f.tenant_name, 100)), STR(str_head(k->config.domain, 300)));
    keeper_crons_set(k->crons, number, &owner, str_from(host), f.settings);
}

/* Cron triggers of all apps. */
static bool crons_load(keeper *k, err *e)
{
    _cleanup_(arena_fini) arena a;
    uint64_t *ids;
    size_t n;
    arena_init(&a, 64 * MIB);
    if (!k->crons)
        return true;
    if (!catalogue_app_ids(catalogue_reading(k->catalogue), &a, &ids, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        serve_app_changed(k, ids[i]);
    return true;
}

bool serve_open(keeper *k, int local_fd, int tcp_fd, err *e)
{
    static api_door local, tcp;
    local = (api_door){k, true};
    tcp = (api_door){k, false};
    blobs_sweep(k);
    return (k->store || store_client_new(k->l, &k->store, e)) && crons_load(k, e) &&
           door_open(k, local_fd, &local, &k->admin, e) &&
           door_open(k, tcp_fd, &tcp, &k->admin_tcp, e);
}

void serve_close(keeper *k)
{
    builder_free(k->builder);
    k->builder = NULL;
    catalogue_close(k->catalogue);
    k->catalogue = NULL;
}
