/* The store process: owns every write to the apps' data (design section 2). It is told what stores
 * there are (fd 4) and gets a channel for each worker over its control socket (fd 3); the rest is
 * store/kv_server.h.
 *
 * It ends when its control socket closes and no worker is connected any more: at the end of an
 * orderly stop, or some time after the supervisor died. Signals do not end it, because workers that
 * drain still need it. It holds nothing that was acknowledged and is not on disk: kill it at any
 * time. Where no component asks for a store it waits for its end and has no file open. */
#include "platform/role.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/channel.h"
#include "platform/config.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CONTROL = 3, FD_CONFIG = 4 };

typedef struct {
    arena a;
    loop *l;
    kv_server *server;
    channel *control; /* NULL: the supervisor has gone */
} store_process;

static void stop_if_unused(void *user)
{
    store_process *s = user;
    if (!s->control && kv_server_connections(s->server) == 0)
        loop_stop(s->l);
}

static void on_control(void *user, bytes message, int fd)
{
    store_process *s = user;
    err e;
    if (fd >= 0 && !kv_server_add_take(s->server, fd, &e)) {
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

static bool config_read(store_process *s, kv_store **ret_stores, size_t *ret_count, err *e)
{
    struct stat st;
    log_format format = LOG_TEXT;
    *ret_count = 0;
    if (fstat(FD_CONFIG, &st) < 0)
        return err_set_errno(e, "settings");
    if (st.st_size == 0)
        return true;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "settings");
    bool ok =
        store_config_read(&s->a, (bytes){p, (size_t)st.st_size}, ret_stores, ret_count, &format, e);
    munmap(p, (size_t)st.st_size);
    if (ok)
        log_init(STDERR_FILENO, format, "store");
    return ok;
}

/* The folders of the stores' files, and nothing else. */
static bool files_restrict(store_process *s, const kv_store *stores, size_t n, err *e)
{
    bool enforced;
    sandbox_path *paths = ARENA_ARRAY(&s->a, sandbox_path, n + 1);
    if (!paths)
        return err_no_memory(e);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        str dir = arena_str(&s->a, str_head(stores[i].path, str_rfind(stores[i].path, '/')));
        if (!dir.p)
            return err_no_memory(e);
        if (dir.n)
            paths[count++] = (sandbox_path){dir, true};
    }
    return sandbox_files(paths, count, &enforced, e);
}

static bool set_up(store_process *s, err *e)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    kv_store *stores = NULL;
    size_t n;
    bool ok = config_read(s, &stores, &n, e);
    close(FD_CONFIG);
    return ok && loop_new(&s->l, e) && kv_server_new(s->l, stores, n, &s->server, e) &&
           files_restrict(s, stores, n, e) && sandbox_enter(SANDBOX_STORE, e) &&
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
        kv_server_on_fewer(s.server, stop_if_unused, &s);
        ok = loop_run(s.l, &e);
    }
    if (!ok)
        log_msg(LOG_ERROR, "the store process cannot run: %s", e.text);
    kv_server_free(s.server);
    log_flush();
    return ok ? 0 : 1;
}
