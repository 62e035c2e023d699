/* A worker: one loop, one HTTP server, one engine, the calls of its slot. It is told everything by
 * its settings (fd 3), accepts from its slot's socket (fd 4), and says one byte on fd 5 when it is
 * ready; on fd 5 it gets its channels to the store process. It holds nothing that must survive it:
 * kill it at any time, the supervisor starts another. SIGTERM drains. It goes on serving if the
 * supervisor dies. */
#include "platform/role.h"

#include "base/limits.h"
#include "base/log.h"
#include "http/server.h"
#include "loop/channel.h"
#include "loop/names.h"
#include "platform/artifact.h"
#include "platform/call.h"
#include "platform/meter.h"
#include "platform/reach.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"
#include "store/client.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CONFIG = 3, FD_LISTEN = 4, FD_CONTROL = 5 };

typedef struct {
    arena a;
    worker_config config;
    char name[32];
    loop *l;
    engine *en;
    http_server *server;
    route_table *routes;
    hosted *hosted; /* parallel to config.app->components */
    calls calls;
    store_client *store; /* NULL: no component asks for a store */
    meter *meter;
    channel *control; /* brings channels to store and keeper; NULL: the supervisor died */
    bool hinted;      /* root_hint was given */
    buf info;         /* body of /.well-known/spin/info */
} worker;

static void answer(http_exchange *x, unsigned status, const http_field *fields, size_t count,
                   str body)
{
    err e;
    bool overrun;
    if (!exchange_start(x, status, fields, count, (int64_t)body.n, &e)) {
        exchange_abort(x, 500, NULL, 0);
        return;
    }
    exchange_write(x, body.p, body.n, &overrun);
    exchange_end(x, NULL, 0);
}

static void answer_static(worker *w, http_exchange *x, const app_static_response *s)
{
    http_field fields[HTTP_HEADERS_MAX];
    size_t n = 0;
    for (; n < s->headers.n && n < HTTP_HEADERS_MAX; n++)
        fields[n] = (http_field){s->headers.at[n].key, s->headers.at[n].value};
    answer(x, s->status, fields, n, s->body);
}

/* Once, and only if "/" leads nowhere: most likely somebody tries the address that was printed. */
static void root_hint(worker *w)
{
    route_match m;
    if (w->hinted)
        return;
    w->hinted = true;
    route_find(w->routes, S("/"), &m);
    if (m.kind == ROUTE_NONE)
        log_msg(LOG_WARN, "a request got 404, and the app has no route for '/'; 'Available Routes' "
                          "at the start lists those it has");
}

static void on_request(void *user, http_exchange *x)
{
    worker *w = user;
    const http_request *r = exchange_request(x);
    static const http_field text = {{"content-type", 12}, {"text/plain", 10}};
    static const http_field json = {{"content-type", 12}, {"application/json", 16}};
    char id[CALL_ID_BYTES];
    route_match m;
    route_find(w->routes, str_head(r->target, str_find(r->target, '?')), &m);
    switch (m.kind) {
    case ROUTE_TRIGGER:
        if (m.trigger->is_static)
            answer_static(w, x, &m.trigger->static_response);
        else
            call_begin(&w->calls, &w->hosted[m.trigger->component], x, &m);
        return;
    case ROUTE_HEALTH:
        answer(x, 200, &text, 1, S("OK"));
        return;
    case ROUTE_INFO:
        answer(x, 200, &json, 1, buf_str(&w->info));
        return;
    case ROUTE_NONE:
        root_hint(w);
        __attribute__((fallthrough));
    case ROUTE_RESERVED:
        call_id_next(&w->calls, id);
        call_refuse(x, id, 404, NULL);
        return;
    }
}

/* A request of a component to its own app: a component by name, whatever its route, or as if it had
 * come from outside. */
static void on_chained(void *user, http_exchange *x, str id)
{
    worker *w = user;
    const app *a = w->config.app;
    const http_request *r = exchange_request(x);
    route_match m;
    for (size_t i = 0; id.p && i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        if (t->kind != APP_TRIGGER_HTTP || t->component == APP_NONE ||
            !str_eq(a->components[t->component].id, id))
            continue;
        route_synthetic(t, str_head(r->target, str_find(r->target, '?')), &m);
        call_begin(&w->calls, &w->hosted[t->component], x, &m);
        return;
    }
    on_request(w, x);
}

static void on_refused(void *user, str peer, unsigned status, const char *reason)
{
    log_line(LOG_WARN, "refused");
    log_str("peer", peer);
    log_u64("status", status);
    log_str("reason", str_from(reason));
    log_end();
}

static void on_stall(void *user, ns took)
{
    log_line(LOG_WARN, "stall");
    log_us("us", took);
    log_end();
}

static bool flush_log(void *user)
{
    log_flush();
    return false;
}

static void on_calls_over(void *user) { loop_stop(((worker *)user)->l); }

static void on_drained(void *user)
{
    worker *w = user;
    calls_drain(&w->calls, on_calls_over, w);
}

static void on_term(void *user, int signo)
{
    worker *w = user;
    http_server_drain(w->server, on_drained, w);
}

static bool config_map(worker *w, err *e)
{
    struct stat st;
    if (fstat(FD_CONFIG, &st) < 0)
        return err_set_errno(e, "settings");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "settings");
    bool ok = worker_config_read(&w->a, (bytes){p, (size_t)st.st_size}, &w->config, e);
    munmap(p, (size_t)st.st_size);
    close(FD_CONFIG);
    return ok;
}

/* A mapped module holds a descriptor, a connection another. */
static void descriptors_raise(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* --- store and keeper: the supervisor sends channels to them, and to their successors --------- */

static void on_control(void *user, bytes message, int fd)
{
    worker *w = user;
    if (fd >= 0 && message.p[0] == 's' && w->store)
        store_client_connect_take(w->store, fd);
    else if (fd >= 0 && message.p[0] == 'k' && w->meter)
        meter_connect_take(w->meter, fd);
    else if (fd >= 0)
        close(fd);
}

static void on_control_end(void *user)
{
    worker *w = user;
    channel_close(w->control);
    w->control = NULL;
}

static bool control_set_up(worker *w, err *e)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    bool stores = w->config.stores_count || w->config.databases_count;
    return (!stores || store_client_new(w->l, &w->store, e)) &&
           (w->config.unmetered ||
            meter_new(w->l, w->config.app->components_count, &w->meter, e)) &&
           channel_open_take(w->l, FD_CONTROL, &callbacks, w, &w->control, e);
}

static bool app_set_up(worker *w, err *e)
{
    const app *served = w->config.app;
    variable_providers providers;
    w->hosted = ARENA_ARRAY(&w->a, hosted, served->components_count + 1);
    if (!w->hosted)
        return err_no_memory(e);
    if (!providers_open(&w->a, &w->config.providers, &providers, e))
        return false;
    for (size_t i = 0; i < served->components_count; i++) {
        hosted_init(&w->hosted[i], &served->components[i], &w->config.components[i], &w->config,
                    w->store, i);
        w->hosted[i].chain = on_chained;
        w->hosted[i].chain_user = w;
        w->hosted[i].providers = providers;
    }
    for (size_t i = 0; i < served->components_count; i++)
        if (served->components[i].is_used &&
            !guestlog_open(w->config.log_dir, served->components[i].id, &w->hosted[i].log, e))
            return false;
    buf_init(&w->info, 1 * MIB);
    return route_table_build(&w->a, served, &w->routes, e) && app_info_write(served, &w->info, e);
}

static bool network_set_up(worker *w, err *e)
{
    const network_config *n = &w->config.network;
    for (size_t i = 0; i < w->config.app->components_count; i++)
        if (w->config.components[i].outbound.n) {
            host_outbound_prepare();
            break;
        }
    if (n->stall)
        loop_watch_turns(w->l, n->stall, on_stall, w);
    return !n->name_servers.n || names_servers(w->l, n->name_servers, e);
}

/* Files a worker may open: artifacts, the app's copied files, and what looking up names and
 * checking certificates reads. */
static bool confine(worker *w, err *e)
{
    static const str system_paths[] = {
        {"/etc/resolv.conf", 16},
        {"/etc/hosts", 10},
        {"/etc/nsswitch.conf", 18},
        {"/etc/gai.conf", 13},
        {"/etc/host.conf", 14},
        {"/etc/ssl", 8},
        {"/usr/share/ca-certificates", 26},
        {"/usr/local/share/ca-certificates", 32},
        {"/etc/pki", 8},
        {"/usr/lib/ssl", 12},
    };
    size_t n = sizeof system_paths / sizeof *system_paths,
           components = w->config.app->components_count;
    size_t mounts = 0;
    for (size_t i = 0; i < components; i++)
        mounts += w->config.components[i].mounts.n;
    sandbox_path *paths =
        ARENA_ARRAY(&w->a, sandbox_path, n + components + mounts + 3 * w->config.network.tls_count);
    bool enforced;
    if (!paths)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++)
        paths[i].path = system_paths[i];
    for (size_t i = 0; i < components; i++) {
        const config_component *c = &w->config.components[i];
        if (c->artifact.n)
            paths[n++].path = c->artifact;
        for (size_t k = 0; k < c->mounts.n; k++)
            paths[n++] = (sandbox_path){c->mounts.at[k].value, w->config.allow_transient_write};
    }
    for (size_t i = 0; i < w->config.network.tls_count; i++) {
        const host_tls *t = &w->config.network.tls[i].tls;
        paths[n++].path = t->roots_file;
        paths[n++].path = t->certificate_file;
        paths[n++].path = t->key_file;
    }
    sandbox_kind kind = w->config.providers.ask_again ? SANDBOX_ASKING : SANDBOX_WORKER;
    if (w->config.no_landlock)
        return sandbox_drop(e) && sandbox_enter(kind, e);
    return sandbox_confine(kind, paths, n, &enforced, e);
}

static bool set_up(worker *w, err *e)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return err_set_errno(e, "getrandom");
    engine_config ec = engine_config_default();
    if (!engine_restoring_parse(w->config.restoring, &ec.restoring, e))
        return false;
    if (w->config.instances_max)
        ec.instances_max = w->config.instances_max;
    loop_hook *hook;
    loop_signal *term;
    /* The hooks run in this order: responses (the server's), log lines, guests' time slices. */
    if (!reach_open(&w->a, &w->config, e) || !loop_new(&w->l, e) || !host_init(e) ||
        !engine_new(&ec, &w->en, e) || !control_set_up(w, e) || !app_set_up(w, e) ||
        !network_set_up(w, e))
        return false;
    calls_init(&w->calls, w->l, w->en, w->meter, ec.instances_max, seed);
    if (!engine_restoring_usual(w->en))
        log_msg(LOG_INFO, "%s", engine_restoring_says(w->en));
    http_server_config hc = w->config.network.limits;
    hc.on_refused = on_refused;
    w->server = http_server_new(w->l, &hc, on_request, w);
    if (!w->server)
        return err_no_memory(e);
    return calls_hooks_add(&w->calls, e) && loop_hook_add(w->l, flush_log, NULL, &hook, e) &&
           loop_signal_open(w->l, SIGTERM, on_term, w, &term, e) && confine(w, e) &&
           http_server_listen(w->server, FD_LISTEN, e);
}

static void tear_down(worker *w)
{
    http_server_free(w->server);
    for (size_t i = 0; i < w->config.app->components_count; i++) {
        if (!w->hosted[i].calls)
            hosted_unload(&w->hosted[i]);
        guestlog_close(&w->hosted[i].log);
    }
    calls_fini(&w->calls);
    meter_free(w->meter);
    if (w->control)
        channel_close(w->control);
    store_client_free(w->store);
    buf_fini(&w->info);
    log_flush();
}

int role_worker(int argc, char **argv)
{
    static worker w;
    err e;
    signal(SIGINT, SIG_IGN); /* the terminal's is for the supervisor, which then drains us */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    snprintf(w.name, sizeof w.name, "worker %.8s", argc > 1 ? argv[1] : "?");
    log_init(STDERR_FILENO, LOG_TEXT, w.name);
    arena_init(&w.a, 1 * GIB);
    descriptors_raise();
    bool ok = config_map(&w, &e);
    if (ok)
        log_init(STDERR_FILENO, w.config.log_format, w.name);
    ok = ok && set_up(&w, &e);
    if (ok) {
        fd_write_all(FD_CONTROL, "r", 1, NULL);
        ok = loop_run(w.l, &e);
        tear_down(&w);
    }
    if (!ok)
        log_msg(LOG_ERROR, "%s cannot run: %s", w.name, e.text);
    log_flush();
    return ok ? 0 : 1;
}
