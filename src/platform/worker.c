/* A worker: one loop, one HTTP server, one engine, the calls of its slot. It is told everything by
 * its settings (fd 3), accepts from its slot's socket (fd 4), and says one byte on fd 5 when it is
 * ready; on fd 5 it gets its channels to the store process. With TLS, fd 6 has its certificates,
 * and fd 5 brings new ones. It holds nothing that must survive it: kill it at any time, the
 * supervisor starts another. SIGTERM drains; SIGUSR2 too, without hurry (an upgrade). It goes on
 * serving if the supervisor dies. */
#include "platform/role.h"

#include "base/limits.h"
#include "base/log.h"
#include "http/server.h"
#include "loop/channel.h"
#include "loop/names.h"
#include "platform/artifact.h"
#include "platform/call.h"
#include "platform/certificates.h"
#include "platform/deferral.h"
#include "platform/directory.h"
#include "platform/meter.h"
#include "platform/reach.h"
#include "platform/sandbox.h"
#include "platform/served.h"
#include "platform/spawn.h"
#include "store/client.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CONFIG = 3, FD_LISTEN = 4, FD_CONTROL = 5, FD_CERTIFICATES = 6 };

typedef struct {
    arena a;
    node_config node;
    app_config app; /* of pinned */
    char name[32];
    loop *l;
    engine *en;
    host_linker *linker;
    http_server *server;
    calls calls;
    serving serving;
    served *pinned;       /* the app of `ebb up`; NULL: apps come and go */
    directory *directory; /* NULL: there is the one app only */
    meter *meter;
    channel *control; /* brings channels to store and keeper; NULL: the supervisor died */
} worker;

static void on_request(void *user, http_exchange *x)
{
    worker *w = user;
    if (w->pinned)
        served_begin(w->pinned, x);
    else
        directory_begin(w->directory, x);
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

static void on_deferral_over(void *user) { loop_stop(((worker *)user)->l); }

static void on_calls_over(void *user)
{
    worker *w = user;
    if (w->serving.defer)
        deferral_drain(w->serving.defer, on_deferral_over, w);
    else
        loop_stop(w->l);
}

static void on_drained(void *user)
{
    worker *w = user;
    calls_drain(&w->calls, on_calls_over, w);
}

static void on_term(void *user, int signo)
{
    worker *w = user;
    if (w->serving.defer)
        deferral_stop(w->serving.defer);
    http_server_drain(w->server, on_drained, w);
}

/* A new build serves on this slot's socket: what has begun here ends here. */
static void on_retire(void *user, int signo)
{
    worker *w = user;
    http_server_retire(w->server, on_drained, w);
}

static bool config_map(worker *w, err *e)
{
    struct stat st;
    if (fstat(FD_CONFIG, &st) < 0)
        return err_set_errno(e, "settings");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "settings");
    bool ok = worker_config_read(&w->a, (bytes){p, (size_t)st.st_size}, &w->node, &w->app, e);
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

static bool certificates_take(worker *w, int fd, err *e)
{
    tls_store *store;
    if (!certificates_receive_take(fd, &store, e))
        return false;
    http_server_secure(w->server, store);
    tls_store_unref(store);
    return true;
}

static void on_control(void *user, bytes message, int fd)
{
    worker *w = user;
    err e;
    if (fd >= 0 && message.p[0] == 't' && w->server) {
        if (!certificates_take(w, fd, &e))
            log_msg(LOG_ERROR, "%s: those before stay in use", e.text);
    } else if (fd >= 0 && message.p[0] == 's' && w->serving.store)
        store_client_connect_take(w->serving.store, fd);
    else if (fd >= 0 && message.p[0] == 'd' && w->directory)
        directory_connect_take(w->directory, fd);
    else if (fd >= 0 && message.p[0] == 'c' && w->serving.defer)
        deferral_connect_take(w->serving.defer, fd);
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

/* The areas of all workers' counters, this one's among them, which the supervisor sends first. */
static bool counters_receive(worker *w, err *e)
{
    tenants *t = &w->serving.tenants;
    for (uint32_t i = 0; i < w->node.workers; i++) {
        char kind;
        int fd;
        counters_area *area;
        if (!fd_receive(FD_CONTROL, &kind, 1, &fd, e))
            return err_wrap(e, "the counters of tenants");
        bool ok = counters_map(fd, kind == 'Q', &area, e);
        close(fd);
        if (!ok)
            return false;
        if (kind == 'Q')
            t->own = area;
        else
            t->others[t->others_count++] = area;
    }
    return true;
}

static bool control_set_up(worker *w, err *e)
{
    if (!w->app.app) {
        tenants_init(&w->serving.tenants, w->node.workers);
        if (!counters_receive(w, e))
            return false;
    }
    static const channel_callbacks callbacks = {on_control, on_control_end};
    bool stores =
        w->app.stores_count || w->app.databases_count || !w->app.app || app_defers(w->app.app);
    return (!stores || store_client_new(w->l, &w->serving.store, e)) &&
           (w->node.unmetered || meter_new(w->l, &w->meter, e)) &&
           channel_open_take(w->l, FD_CONTROL, &callbacks, w, &w->control, e);
}

static bool dir_of(worker *w, const char *name, str *ret, err *e)
{
    *ret = arena_printf(&w->a, "%.*s/%s", STR(w->node.data_dir), name);
    return ret->p ? reach_folder(&w->a, ret, e) : err_no_memory(e);
}

static bool connection_take(void *all, uint64_t owner)
{
    return tenants_connection_take(all, owner);
}

static void connection_give(void *all, uint64_t owner) { tenants_connection_give(all, owner); }

static bool apps_set_up(worker *w, err *e)
{
    arena a;
    w->serving.node = &w->node;
    w->serving.calls = &w->calls;
    w->serving.meter = w->meter;
    w->serving.fingerprint = engine_fingerprint(w->en);
    w->serving.logs.open_max = ACTIVE_LOGS_MAX;
    arena_init(&a, 1 * GIB);
    if (w->app.app)
        return served_new_take(&w->serving, &a, &w->app, S(""), S(""), &w->pinned, e) &&
               (!app_defers(w->app.app) || deferral_new(w->l, &w->serving, w->serving.store, NULL,
                                                        w->pinned, &w->serving.defer, e));
    host_connections_owned(connection_take, connection_give, &w->serving.tenants);
    return egress_open(&w->a, w->node.egress_allow, &w->serving.egress, e) &&
           dir_of(w, "artifacts", &w->serving.artifacts_dir, e) &&
           dir_of(w, "files", &w->serving.files_dir, e) &&
           dir_of(w, "logs", &w->serving.logs_dir, e) &&
           directory_new(w->l, &w->serving, &w->node.active, &w->directory, e) &&
           deferral_new(w->l, &w->serving, w->serving.store, w->directory, NULL, &w->serving.defer,
                        e);
}

static bool network_set_up(worker *w, err *e)
{
    const network_config *n = &w->node.network;
    bool reaches_out = w->directory != NULL;
    for (size_t i = 0; w->app.app && i < w->app.app->components_count; i++)
        reaches_out |= w->app.app->components[i].allowed_outbound_hosts.n > 0;
    host_connections_limit(&n->connections);
    if (reaches_out)
        host_outbound_prepare();
    if (n->stall)
        loop_watch_turns(w->l, n->stall, on_stall, w);
    return !n->name_servers.n || names_servers(w->l, n->name_servers, e);
}

/* Files a worker may open: artifacts, the app's copied files, and what looking up names and
 * checking certificates reads. */
static bool confine(worker *w, err *e)
{
    size_t components = w->app.app ? w->app.app->components_count : 0, mounts = 0;
    for (size_t i = 0; i < components; i++)
        mounts += w->app.components[i].mounts.n;
    sandbox_path *paths = ARENA_ARRAY(&w->a, sandbox_path,
                                      SANDBOX_NETWORK_PATHS + components + mounts +
                                          3 * w->node.network.tls_count + 3);
    size_t n = SANDBOX_NETWORK_PATHS;
    bool enforced;
    if (!paths)
        return err_no_memory(e);
    memcpy(paths, sandbox_network, sizeof sandbox_network);
    for (size_t i = 0; i < components; i++) {
        const config_component *c = &w->app.components[i];
        if (c->artifact.n)
            paths[n++].path = c->artifact;
        for (size_t k = 0; k < c->mounts.n; k++)
            paths[n++] = (sandbox_path){c->mounts.at[k].value, w->app.allow_transient_write};
    }
    for (size_t i = 0; i < w->node.network.tls_count; i++) {
        const host_tls *t = &w->node.network.tls[i].tls;
        paths[n++].path = t->roots_file;
        paths[n++].path = t->certificate_file;
        paths[n++].path = t->key_file;
    }
    if (w->directory) {
        paths[n++].path = w->serving.artifacts_dir;
        paths[n++].path = w->serving.files_dir;
        paths[n++] = (sandbox_path){w->serving.logs_dir, true};
    }
    sandbox_kind kind = w->app.providers.ask_again ? SANDBOX_ASKING : SANDBOX_WORKER;
    if (w->node.no_landlock)
        return sandbox_drop(e) && sandbox_enter(kind, e);
    return sandbox_confine(kind, paths, n, &enforced, e);
}

static void on_traces(void *user, int fd) { traces_connect_take(user, fd); }

static bool set_up(worker *w, err *e)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return err_set_errno(e, "getrandom");
    engine_config ec = engine_config_default();
    if (!engine_restoring_parse(w->node.restoring, &ec.restoring, e))
        return false;
    if (w->node.instances_max)
        ec.instances_max = w->node.instances_max;
    loop_hook *hook;
    loop_signal *term, *retire;
    /* The hooks run in this order: responses (the server's), log lines, guests' time slices. */
    if (!reach_open(&w->a, &w->node, &w->app, e) || !loop_new(&w->l, e) || !host_init(e) ||
        !engine_new(&ec, &w->en, e) ||
        !host_linker_new(w->en, w->node.stub_imports, &w->linker, e) || !control_set_up(w, e) ||
        !apps_set_up(w, e) || !network_set_up(w, e))
        return false;
    calls_init(&w->calls, w->l, w->linker, w->meter, ec.instances_max, seed);
    if (w->node.traces_one_in && w->meter) {
        if (!traces_new(w->node.traces_one_in, &w->calls.traces, e))
            return false;
        meter_on_socket(w->meter, on_traces, w->calls.traces);
    }
    if (!engine_restoring_usual(w->en))
        log_msg(LOG_INFO, "%s", engine_restoring_says(w->en));
    http_server_config hc = w->node.network.limits;
    hc.trusted = &w->node.network.trusted;
    hc.on_refused = on_refused;
    w->server = http_server_new(w->l, &hc, on_request, w);
    if (!w->server)
        return err_no_memory(e);
    if (w->node.network.secure && !certificates_take(w, FD_CERTIFICATES, e))
        return false;
    return calls_hooks_add(&w->calls, e) && loop_hook_add(w->l, flush_log, NULL, &hook, e) &&
           loop_signal_open(w->l, SIGTERM, on_term, w, &term, e) &&
           loop_signal_open(w->l, SIGUSR2, on_retire, w, &retire, e) && confine(w, e) &&
           http_server_listen(w->server, FD_LISTEN, e);
}

static void tear_down(worker *w)
{
    http_server_free(w->server);
    calls_fini(&w->calls);
    deferral_free(w->serving.defer);
    directory_free(w->directory);
    tenants_fini(&w->serving.tenants);
    served_let(w->pinned);
    host_linker_free(w->linker);
    meter_free(w->meter);
    traces_free(w->calls.traces);
    if (w->control)
        channel_close(w->control);
    store_client_free(w->serving.store);
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
        log_init(STDERR_FILENO, w.node.log_format, w.name);
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
