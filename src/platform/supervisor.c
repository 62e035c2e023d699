/* See supervisor.h. One blocking sigwaitinfo loop: no timer unless a worker just died young.
 *
 * A slot is a listening socket and the worker that accepts from it. The socket belongs to the
 * supervisor, so that connections queued while a worker is being replaced wait for the next one.
 * A worker that dies within a second of its start is started again after a delay that doubles, from
 * 10 ms to 5 s; others at once.
 *
 * Workers talk to the store process and to the keeper over channels of their own. Whenever one side
 * of such a pair starts, a new channel is made and its ends are sent to both over their control
 * sockets; nobody answers, so nothing here waits. The keeper is also told which processes there are
 * and what those that died had used. At the end the store process and the keeper go last, when
 * their control sockets close, so that they can close their files.
 *
 * An upgrade (SIGUSR2) replaces every process without a failed request:
 *
 *     new binary tried -> keeper begins no change any more -> exec, with the sockets
 *     new store, keeper, workers start beside the old ones, on the same sockets
 *     all accept? old workers retire (SIGUSR2), old store and keeper end after the last of them
 *
 * Old processes speak only with each other, so versions never meet but in files: SQLite's locks are
 * enough for the time that two stores and two keepers have them open. Should the new workers not
 * start, the old ones serve on. */
#include "platform/supervisor.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "loop/channel.h"
#include "platform/counters.h"
#include "platform/keeper.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DELAY_NS_MIN (10 * NS_PER_MS)
#define DELAY_NS_MAX (5 * NS_PER_S)
#define YOUNG_NS     (1 * NS_PER_S)
#define CLOSE_NS     (5 * NS_PER_S) /* how long store and keeper may take to close their files */
#define LEAVE_MS     5000           /* how long changes under way may hold up an upgrade */

enum { STORE, KEEPER, WORKERS }; /* places in supervisor.all */
enum { OLD_MAX = 4 * SUPERVISOR_WORKERS_MAX };

typedef struct {
    const char *role; /* "worker", "store", "keeper" */
    unsigned index;
    int listener; /* -1: none */
    pid_t pid;    /* 0: not running */
    int control;  /* our end; a worker writes one byte when it is ready */
    bool ready;
    int counters;         /* of a worker under `ebb serve` (counters.h); else -1 */
    ns started, start_at; /* start_at: when to start it again; 0: now */
    ns delay;
} slot_process;

typedef struct {
    const supervisor_config *c;
    slot_process all[SUPERVISOR_WORKERS_MAX + WORKERS];
    unsigned count;
    bool announced, draining;
    slot_process old[OLD_MAX]; /* of builds before; `ready` means that they have been told to go */
    unsigned old_count;
} supervisor;

/* A message, with a descriptor if fd is not -1. A process that died has lost it; it is started
 * again, and then told anew. */
static void control_send(const slot_process *to, const void *p, size_t n, int fd)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } passed = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                         .cmsg_level = SOL_SOCKET,
                         .cmsg_type = SCM_RIGHTS}};
    struct iovec whole = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &whole, .msg_iovlen = 1};
    if (!to->pid)
        return;
    if (fd >= 0) {
        m.msg_control = &passed;
        m.msg_controllen = sizeof passed;
        memcpy(CMSG_DATA(&passed.head), &fd, sizeof fd);
    }
    if (sendmsg(to->control, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE &&
        errno != ECONNRESET)
        log_msg(LOG_ERROR, "%s %u cannot be told of another process: %m", to->role, to->index);
}

static ns rusage_cpu_ns(const struct rusage *r)
{
    return (ns)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) * NS_PER_S +
           (ns)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) * NS_PER_US;
}

static void keeper_tell(const supervisor *s, keeper_note_kind kind, const slot_process *p,
                        uint64_t cpu_ns, int fd)
{
    keeper_note note = {.kind = kind,
                        .index = p->index,
                        .pid = p->pid,
                        .cpu_ns = cpu_ns,
                        .known = (s->announced && p->started < s->all[KEEPER].started) ||
                                 (s->c->before && p->pid == getpid())};
    snprintf(note.role, sizeof note.role, "%s", p->role);
    control_send(&s->all[KEEPER], &note, sizeof note, fd);
}

/* A channel between a worker and the store process ('s') or the keeper: for its meter ('k'), to ask
 * for apps ('d'), for deferred calls ('c'). */
static void channel_make(supervisor *s, const slot_process *server, const slot_process *worker,
                         char kind)
{
    int pair[2];
    err e;
    if (!channel_pair(pair, &e)) {
        log_msg(LOG_ERROR, "worker %u gets no channel to the %s: %s", worker->index, server->role,
                e.text);
        return;
    }
    if (kind == 's')
        control_send(server, &kind, 1, pair[0]);
    else
        keeper_tell(s,
                    kind == 'k'   ? KEEPER_WORKER
                    : kind == 'd' ? KEEPER_DIRECTORY
                                  : KEEPER_CALLS,
                    worker, 0, pair[0]);
    control_send(worker, &kind, 1, pair[1]);
    close(pair[0]);
    close(pair[1]);
}

/* What tenants use (counters.h): a worker gets its own area ('Q') and those of the others ('q'),
 * read-only, before anything else. */
static bool counters_send(const supervisor *s, const slot_process *to, err *e)
{
    for (unsigned i = WORKERS; s->c->directory && i < s->count; i++) {
        const slot_process *of = &s->all[i];
        int fd = of->counters;
        if (of != to && !counters_read_only(of->counters, &fd, e))
            return false;
        if (to->listener >= 0)
            control_send(to, of == to ? "Q" : "q", 1, fd);
        else
            keeper_tell(s, KEEPER_COUNTERS, of, 0, fd);
        if (of != to)
            close(fd);
    }
    return true;
}

/* The keeper asks the store process on behalf of people (`ebb serve`), and for deferred calls. */
static void keeper_store_connect(supervisor *s)
{
    int pair[2];
    err e;
    const slot_process *keeper = &s->all[KEEPER], *store = &s->all[STORE];
    if ((!s->c->directory && !s->c->defers) || !s->c->store_config.n || !keeper->pid || !store->pid)
        return;
    if (!channel_pair(pair, &e)) {
        log_msg(LOG_ERROR, "the keeper gets no channel to the store: %s", e.text);
        return;
    }
    control_send(store, "s", 1, pair[0]);
    keeper_tell(s, KEEPER_STORE, store, 0, pair[1]);
    close(pair[0]);
    close(pair[1]);
}

static void pair_connect(supervisor *s, const slot_process *server, const slot_process *worker)
{
    bool is_store = server == &s->all[STORE];
    if ((is_store && !s->c->store_config.n) || !server->pid || !worker->pid)
        return;
    channel_make(s, server, worker, is_store ? 's' : 'k');
    if (!is_store && s->c->directory)
        channel_make(s, server, worker, 'd');
    if (!is_store && s->c->defers)
        channel_make(s, server, worker, 'c');
}

/* CPU of us before the keeper runs, and of the decode and compile processes, which have gone. */
static void keeper_tell_all(supervisor *s)
{
    slot_process self = {.role = "supervisor", .pid = getpid()};
    slot_process children = {.role = "compile"};
    struct rusage r;
    keeper_tell(s, KEEPER_PROCESS, &self, 0, -1);
    if (s->all[STORE].pid)
        keeper_tell(s, KEEPER_PROCESS, &s->all[STORE], 0, -1);
    if (!s->announced && !s->c->before && getrusage(RUSAGE_CHILDREN, &r) == 0)
        keeper_tell(s, KEEPER_DIED, &children, rusage_cpu_ns(&r), -1);
}

/* After p was started: what it and those that run need of each other. */
static void process_connect(supervisor *s, slot_process *p)
{
    err e;
    if (p != &s->all[STORE] && !counters_send(s, p, &e))
        log_msg(LOG_ERROR, "%s %u: %s", p->role, p->index, e.text);
    if (p == &s->all[KEEPER])
        keeper_tell_all(s);
    if (p == &s->all[STORE])
        keeper_tell(s, KEEPER_PROCESS, p, 0, -1);
    if (p == &s->all[KEEPER] || p == &s->all[STORE])
        keeper_store_connect(s);
    for (unsigned server = STORE; server <= KEEPER; server++) {
        if (p->listener >= 0)
            pair_connect(s, &s->all[server], p);
        for (unsigned i = WORKERS; p == &s->all[server] && i < s->count; i++)
            pair_connect(s, p, &s->all[i]);
    }
}

/* Its settings in an anonymous file, and what else it is given besides its control socket. */
static bool process_spawn(supervisor *s, slot_process *p, int config, int control, err *e)
{
    char index[16];
    snprintf(index, sizeof index, "%u", p->index);
    const char *args[] = {index, NULL};
    if (p->listener >= 0) {
        _cleanup_fd_ int passed = -1;
        size_t n = s->c->certificates ? 4 : 3;
        if (n == 4 && !certificates_file(s->c->certificates, &passed, e))
            return false;
        return spawn_role(p->role, args, (int[]){config, p->listener, control, passed}, n, NULL,
                          false, &p->pid, e);
    }
    bool with_admin = p == &s->all[KEEPER] && s->c->admin_listener >= 0,
         with_tcp = with_admin && s->c->admin_tcp >= 0;
    return spawn_role(p->role, NULL,
                      (int[]){control, config, s->c->admin_listener, s->c->admin_tcp},
                      2 + (size_t)with_admin + (size_t)with_tcp, NULL, false, &p->pid, e);
}

static bool process_start(supervisor *s, slot_process *p, err *e)
{
    int pair[2] = {-1, -1};
    _cleanup_fd_ int config = -1;
    str settings = p == &s->all[STORE]    ? s->c->store_config
                   : p == &s->all[KEEPER] ? s->c->keeper_config
                                          : s->c->config;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set_errno(e, "socketpair");
    bool ok = spawn_memfd("ebb-config", settings.p, settings.n, &config, e);
    if (ok) {
        lseek(config, 0, SEEK_SET);
        ok = process_spawn(s, p, config, pair[1], e);
    }
    close(pair[1]);
    if (!ok) {
        close(pair[0]);
        return false;
    }
    p->control = pair[0];
    p->started = clock_mono();
    p->ready = false;
    process_connect(s, p);
    return true;
}

/* Blocks until the worker said that it accepts, or died. */
static bool process_await_ready(slot_process *p)
{
    char byte;
    ssize_t n;
    do
        n = read(p->control, &byte, 1);
    while (n < 0 && errno == EINTR);
    p->ready = n == 1;
    return p->ready;
}

static slot_process *process_by_pid(supervisor *s, pid_t pid)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->all[i].pid == pid)
            return &s->all[i];
    return NULL;
}

/* It has ended: what it held is free. */
static void process_gone(slot_process *p)
{
    p->pid = 0;
    fd_close(&p->control);
    if (p->counters >= 0)
        counters_empty(p->counters);
}

static void process_died(supervisor *s, slot_process *p, int status)
{
    ns now = clock_mono();
    process_gone(p);
    if (s->draining)
        return;
    bool young = now - p->started < YOUNG_NS;
    p->delay = !young ? 0 : p->delay ? p->delay * 2 : DELAY_NS_MIN;
    if (p->delay > DELAY_NS_MAX)
        p->delay = DELAY_NS_MAX;
    p->start_at = now + p->delay;
    if (WIFSIGNALED(status))
        log_msg(LOG_ERROR, "%s %u was ended by signal %d; starting it again", p->role, p->index,
                WTERMSIG(status));
    else
        log_msg(LOG_ERROR, "%s %u exited with status %d; starting it again", p->role, p->index,
                WEXITSTATUS(status));
    log_flush();
}

/* True: it was one of these. The keeper that metered it had its reports. */
static bool old_died(supervisor *s, pid_t pid)
{
    for (unsigned i = 0; i < s->old_count; i++)
        if (s->old[i].pid == pid) {
            fd_close(&s->old[i].control);
            s->old[i] = s->old[--s->old_count];
            return true;
        }
    return false;
}

static void reap(supervisor *s)
{
    int status;
    pid_t pid;
    struct rusage used;
    while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
        slot_process *p = process_by_pid(s, pid);
        if (old_died(s, pid) || !p)
            continue;
        keeper_tell(s, KEEPER_DIED, p, rusage_cpu_ns(&used), -1);
        process_died(s, p, status);
    }
}

/* Starts what is due. Returns how long until the next is, or 0 if none waits. */
static ns start_due(supervisor *s)
{
    ns now = clock_mono(), wait = 0;
    for (unsigned i = 0; i < s->count && !s->draining; i++) {
        slot_process *p = &s->all[i];
        if (p->pid)
            continue;
        if (p->start_at > now) {
            if (!wait || p->start_at - now < wait)
                wait = p->start_at - now;
            continue;
        }
        err e;
        if (!process_start(s, p, &e)) {
            log_msg(LOG_ERROR, "cannot start %s %u: %s", p->role, p->index, e.text);
            log_flush();
            p->delay = p->delay ? p->delay * 2 : DELAY_NS_MIN;
            if (p->delay > DELAY_NS_MAX)
                p->delay = DELAY_NS_MAX;
            p->start_at = now + p->delay;
            if (!wait || p->delay < wait)
                wait = p->delay;
        }
    }
    return wait;
}

static void signal_all(supervisor *s, int sig)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->all[i].pid)
            kill(s->all[i].pid, sig);
    for (unsigned i = 0; i < s->old_count; i++)
        kill(s->old[i].pid, sig);
}

static bool is_worker(const slot_process *p) { return strcmp(p->role, "worker") == 0; }

static bool any_worker_runs(const supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->all[i].pid && s->all[i].listener >= 0)
            return true;
    for (unsigned i = 0; i < s->old_count; i++)
        if (is_worker(&s->old[i]))
            return true;
    return false;
}

static void wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* Store and keeper close their files when their control sockets close and no worker is left. */
static void server_stop(slot_process *p)
{
    ns end = clock_mono() + CLOSE_NS;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    fd_close(&p->control);
    for (ns now; p->pid;) {
        if (waitpid(p->pid, NULL, WNOHANG) == p->pid)
            return;
        if ((now = clock_mono()) >= end)
            break;
        struct timespec t = {(time_t)((end - now) / NS_PER_S), (long)((end - now) % NS_PER_S)};
        sigtimedwait(&child, NULL, &t);
    }
    if (p->pid) {
        log_msg(LOG_WARN, "the %s process does not end; its files are safe as they are", p->role);
        kill(p->pid, SIGKILL);
        wait_for(p->pid);
    }
}

static void old_stop(supervisor *s)
{
    for (unsigned i = 0; i < s->old_count; i++)
        if (is_worker(&s->old[i])) {
            kill(s->old[i].pid, SIGKILL);
            wait_for(s->old[i].pid);
        }
    for (unsigned i = 0; i < s->old_count; i++)
        if (!is_worker(&s->old[i]))
            server_stop(&s->old[i]);
    s->old_count = 0;
}

static void stop_all(supervisor *s)
{
    old_stop(s);
    for (unsigned i = WORKERS; i < s->count; i++)
        if (s->all[i].pid)
            kill(s->all[i].pid, SIGKILL);
    for (unsigned i = WORKERS; i < s->count; i++)
        if (s->all[i].pid)
            wait_for(s->all[i].pid);
    server_stop(&s->all[KEEPER]); /* first: it may be connected to the store */
    server_stop(&s->all[STORE]);
}

/* Certificates may be others now: workers get them, and keep those they had where these are bad. */
static void certificates_renew(supervisor *s)
{
    err e;
    bool changed;
    int fd;
    certificates *c = s->c->certificates;
    if (!certificates_reload(c, &changed, &e)) {
        log_msg(LOG_ERROR, "certificates: %s; those read before stay in use", e.text);
    } else if (changed) {
        for (unsigned i = WORKERS; i < s->count; i++) {
            if (!certificates_file(c, &fd, &e)) {
                log_msg(LOG_ERROR, "certificates: %s", e.text);
                break;
            }
            control_send(&s->all[i], "t", 1, fd);
            close(fd);
        }
        log_msg(LOG_INFO, "certificates: new ones are in use");
        if (certificates_warning(c))
            log_msg(LOG_WARN, "%s", certificates_warning(c));
    }
    log_flush();
}

/* --- upgrades --------------------------------------------------------------------------------- */

static void upgrade_fail(const supervisor *s, const char *text)
{
    log_msg(LOG_ERROR, "no upgrade: %s; the build that runs serves on", text);
    log_flush();
    upgrade_report(s->c->self->data_dir, false, text);
}

/* A change that is acknowledged must be known to the workers of both builds: so those under way end
 * before the next keeper exists, and others wait for it. */
static void keeper_leave(supervisor *s)
{
    slot_process *k = &s->all[KEEPER];
    struct pollfd p = {k->control, POLLIN, 0};
    if (!k->pid)
        return;
    keeper_tell(s, KEEPER_LEAVE, k, 0, -1);
    if (poll(&p, 1, LEAVE_MS) <= 0)
        log_msg(LOG_WARN, "the keeper has changes under way that do not end; they may show late");
}

/* A build whose workers never came up is not left to anybody: it goes, the one before serves on. */
static void current_drop(supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->all[i].pid) {
            kill(s->all[i].pid, SIGKILL);
            wait_for(s->all[i].pid);
            process_gone(&s->all[i]);
        }
}

static void process_hand_over(handover *h, const slot_process *p, bool told)
{
    if (p->pid)
        h->all[h->count++] = (handover_process){.role = str_from(p->role),
                                                .index = p->index,
                                                .pid = p->pid,
                                                .control = p->control,
                                                .told = told};
}

static void upgrade(supervisor *s)
{
    static handover_process all[OLD_MAX + SUPERVISOR_WORKERS_MAX + WORKERS];
    err e;
    if (s->draining || !s->c->self)
        return;
    if (s->old_count + s->count > OLD_MAX) {
        upgrade_fail(s, "processes of too many builds still have requests to finish");
        return;
    }
    if (!upgrade_check(s->c->self, &e)) {
        upgrade_fail(s, e.text);
        return;
    }
    log_msg(LOG_INFO, "upgrade: %s takes over", s->c->self->path);
    log_flush();
    keeper_leave(s);
    if (!s->announced)
        current_drop(s);
    handover h = {.listen = s->c->listen,
                  .address = s->c->address,
                  .admin = s->c->admin,
                  .listeners = s->c->listeners,
                  .workers = s->c->workers,
                  .admin_local = s->c->admin_listener,
                  .admin_tcp = s->c->admin_tcp,
                  .all = all};
    for (unsigned i = 0; i < s->count; i++)
        process_hand_over(&h, &s->all[i], false);
    for (unsigned i = 0; i < s->old_count; i++)
        process_hand_over(&h, &s->old[i], s->old[i].ready);
    if (upgrade_exec(s->c->self, &h, &e))
        return;
    upgrade_fail(s, e.text);
    if (s->all[KEEPER].pid)
        kill(s->all[KEEPER].pid, SIGKILL); /* the next one takes changes again */
}

static void old_take(supervisor *s, const handover *h)
{
    static const char *const roles[] = {"worker", "store", "keeper"};
    for (size_t i = 0; i < h->count && s->old_count < OLD_MAX; i++) {
        const handover_process *p = &h->all[i];
        const char *role = NULL;
        for (size_t r = 0; r < sizeof roles / sizeof *roles; r++)
            if (str_eq(p->role, str_from(roles[r])))
                role = roles[r];
        if (role && p->pid > 0)
            s->old[s->old_count++] = (slot_process){.role = role,
                                                    .index = p->index,
                                                    .listener = -1,
                                                    .pid = p->pid,
                                                    .control = p->control,
                                                    .counters = -1,
                                                    .ready = p->told};
    }
}

/* All of ours accept: those before us go as their requests end. */
static void old_retire(supervisor *s)
{
    for (unsigned i = 0; i < s->old_count; i++) {
        slot_process *p = &s->old[i];
        if (!p->ready && is_worker(p))
            kill(p->pid, SIGUSR2);
        p->ready = true;
        fd_close(&p->control);
    }
}

/* After an upgrade: do all workers accept? Blocks until those that run say so, or end. */
static void announce(supervisor *s)
{
    for (unsigned i = WORKERS; i < s->count; i++) {
        slot_process *p = &s->all[i];
        if (!p->pid || (!p->ready && !process_await_ready(p)))
            return;
    }
    s->announced = true;
    old_retire(s);
    log_msg(LOG_INFO, "upgrade: done, the workers of the build before retire");
    log_flush();
    upgrade_report(s->c->self->data_dir, true, s->c->self->path);
    if (s->c->on_ready)
        s->c->on_ready(s->c->user);
}

static void loop_signals(supervisor *s, const sigset_t *set)
{
    for (;;) {
        ns wait = start_due(s);
        if (!s->announced && !s->draining)
            announce(s);
        struct timespec t = {(time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S)};
        int sig = wait ? sigtimedwait(set, NULL, &t) : sigwaitinfo(set, NULL);
        if (sig == SIGCHLD)
            reap(s);
        if (sig == SIGHUP || (sig == SIGIO && certificates_noticed(s->c->certificates)))
            certificates_renew(s);
        if (sig == SIGUSR2)
            upgrade(s);
        if (sig == SIGTERM || sig == SIGINT) {
            if (s->draining) {
                log_msg(LOG_WARN, "second signal: stopping at once");
                return;
            }
            s->draining = true;
            log_msg(LOG_INFO, "draining: running requests finish, send the signal again to stop");
            log_flush();
            signal_all(s, SIGTERM);
        }
        if (s->draining && !any_worker_runs(s))
            return;
    }
}

static bool start_first(supervisor *s, err *e)
{
    for (unsigned i = 0; i < s->count; i++)
        if (!process_start(s, &s->all[i], e))
            return false;
    for (unsigned i = 0; i < s->count; i++) {
        slot_process *p = &s->all[i];
        if (p->listener >= 0 && !process_await_ready(p))
            return err_set(e, ERR_INTERNAL,
                           "%s %u ended before it was ready; its last lines say why", p->role,
                           p->index);
    }
    return true;
}

static bool areas_make(supervisor *s, err *e)
{
    for (unsigned i = WORKERS; s->c->directory && i < s->count; i++)
        if (!counters_make(&s->all[i].counters, e))
            return false;
    return true;
}

int supervisor_run(const supervisor_config *c, err *e)
{
    must(c->workers > 0 && c->workers <= SUPERVISOR_WORKERS_MAX);
    supervisor s = {.c = c, .count = c->workers + WORKERS};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (c->self)
        sigaddset(&set, SIGUSR2);
    if (c->certificates) {
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGIO);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (c->certificates && !certificates_watch(c->certificates, SIGIO, e))
        log_msg(LOG_WARN, "%s: changed certificates are read on SIGHUP only", e->text);
    s.all[STORE] = (slot_process){.role = "store", .listener = -1, .control = -1, .counters = -1};
    s.all[KEEPER] = (slot_process){.role = "keeper", .listener = -1, .control = -1, .counters = -1};
    for (unsigned i = 0; i < c->workers; i++)
        s.all[i + WORKERS] = (slot_process){.role = "worker",
                                            .index = i,
                                            .listener = c->listeners[i],
                                            .control = -1,
                                            .counters = -1};
    if (c->before)
        old_take(&s, c->before);
    bool ok = areas_make(&s, e) && (c->before || start_first(&s, e));
    if (ok && !c->before) {
        s.announced = true;
        if (c->on_ready)
            c->on_ready(c->user);
    }
    if (ok)
        loop_signals(&s, &set);
    stop_all(&s);
    for (unsigned i = 0; i < s.count; i++) {
        fd_close(&s.all[i].control);
        fd_close(&s.all[i].counters);
    }
    log_flush();
    return ok ? 0 : 1;
}
