/* The store process: owns every write to the apps' data (design section 2). It is told what stores
 * there are (fd 4) and gets a channel for each worker over its control socket (fd 3); the rest is
 * store/server.h.
 *
 * It ends when its control socket closes and no worker is connected any more: at the end of an
 * orderly stop, or some time after the supervisor died. Signals do not end it, because workers that
 * drain still need it. It holds nothing that was acknowledged and is not on disk: kill it at any
 * time. Where no component asks for a store it waits for its end and has no file open. */
#include "platform/role.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/channel.h"
#include "platform/app_config.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CONTROL = 3, FD_CONFIG = 4 };

typedef struct {
    arena a;
    loop *l;
    store_server *server;
    channel *control; /* NULL: the supervisor has gone */
} store_process;

static void stop_if_unused(void *user)
{
    store_process *s = user;
    if (!s->control && store_server_connections(s->server) == 0)
        loop_stop(s->l);
}

static void on_control(void *user, bytes message, int fd)
{
    store_process *s = user;
    err e;
    if (fd >= 0 && !store_server_add_take(s->server, fd, &e)) {
        log_msg(LOG_ERROR, "a worker gets no connection to the store: %s", e.text);
        log_flush();
    }
}

static void on_control_end(void *user)
{
    store_process *s = user;
    channel_close(s->control);
    s->control = NULL;
    stop_if_unused(s);
}

static bool config_read(store_process *s, store_config *ret, err *e)
{
    struct stat st;
    bool json = false;
    *ret = (store_config){0};
    if (fstat(FD_CONFIG, &st) < 0)
        return err_set_errno(e, "settings");
    if (st.st_size == 0)
        return true;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "settings");
    bool ok = store_config_read(&s->a, (bytes){p, (size_t)st.st_size}, ret, &json, e);
    munmap(p, (size_t)st.st_size);
    if (ok)
        log_init(STDERR_FILENO, json ? LOG_JSON : LOG_TEXT, "store");
    return ok;
}

/* The folder of a file, if it has one. False: no memory. */
static bool folder_add(store_process *s, str path, sandbox_path *paths, size_t *count)
{
    str dir = arena_str(&s->a, str_head(path, str_rfind(path, '/')));
    if (path.n)
        paths[(*count)++] = (sandbox_path){dir.n ? dir : S("/"), true};
    return dir.p != NULL;
}

/* The folders of stores and databases, and nothing else. */
static bool files_restrict(store_process *s, const store_config *c, err *e)
{
    bool enforced;
    size_t count = 0;
    sandbox_path *paths = ARENA_ARRAY(
        &s->a, sandbox_path, SANDBOX_NETWORK_PATHS + c->stores_count + c->databases_count + 2);
    if (!paths)
        return err_no_memory(e);
    bool by_libraries = c->queue.url.n > 0, asks = false; /* libpq, libcurl */
    for (size_t i = 0; i < c->databases_count; i++)
        by_libraries |= c->databases[i].url.n > 0;
    for (size_t i = 0; i < c->stores_count; i++)
        asks |= c->stores[i].url.n > 0;
    if (by_libraries) { /* servers' names are looked up, and authorities checked */
        memcpy(paths, sandbox_network, sizeof sandbox_network);
        count = SANDBOX_NETWORK_PATHS;
    } else if (asks) { /* names only */
        paths[count++].path = S("/etc/resolv.conf");
        paths[count++].path = S("/etc/hosts");
    }
    for (size_t i = 0; i < c->stores_count; i++)
        if (!folder_add(s, c->stores[i].path, paths, &count))
            return err_no_memory(e);
    for (size_t i = 0; i < c->databases_count; i++)
        if (!folder_add(s, c->databases[i].path, paths, &count))
            return err_no_memory(e);
    if (!folder_add(s, c->queue.path, paths, &count))
        return err_no_memory(e);
    if (c->state_dir.n)
        paths[count++] = (sandbox_path){c->state_dir, true};
    return sandbox_files(paths, count, &enforced, e);
}

/* Each open connection to a database holds two descriptors. */
static void descriptors_raise(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static bool set_up(store_process *s, err *e)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    store_config c;
    bool ok = config_read(s, &c, e);
    close(FD_CONFIG);
    descriptors_raise();
    return ok && loop_new(&s->l, e) && store_server_new(s->l, &c, &s->server, e) &&
           files_restrict(s, &c, e) && sandbox_enter(SANDBOX_STORE, e) &&
           channel_open_take(s->l, FD_CONTROL, &callbacks, s, &s->control, e);
}

int role_store(int argc, char **argv)
{
    static store_process s;
    err e;
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    log_init(STDERR_FILENO, LOG_TEXT, "store");
    arena_init(&s.a, 64 * MIB);
    bool ok = set_up(&s, &e);
    if (ok) {
        store_server_on_fewer(s.server, stop_if_unused, &s);
        ok = loop_run(s.l, &e);
    }
    if (!ok)
        log_msg(LOG_ERROR, "the store process cannot run: %s", e.text);
    store_server_free(s.server);
    log_flush();
    return ok ? 0 : 1;
}
