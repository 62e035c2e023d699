/* See builder.h. Two sides of one channel, one message a component: the keeper sends 64 hex digits,
 * the builder answers with them, a byte that says how it went, and the text of the error.
 *
 * The builder itself runs no component and reads none: it forks, and the child does what `ebb up`
 * does. A component that would not run here, for what it imports or does not export, is refused
 * before it is compiled. The builder waits in poll for messages and for the ends of children, and
 * dies with the keeper. */
#include "platform/builder.h"

#include "base/limits.h"
#include "base/log.h"
#include "component/plan.h"
#include "host/host.h"
#include "loop/channel.h"
#include "platform/artifact.h"
#include "platform/role.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Deploys come behind requests: beside a busy worker they get a thirtieth of a core, in pieces of
 * half a millisecond (behind.h). */
enum { HEX = 64, FD_ASK = 3, CHILDREN_MAX = 64, BUILDER_NICE = 15 };

typedef struct {
    char hex[HEX];
    uint8_t ok;
    int32_t code;
    char text[ERR_TEXT_MAX];
} answer;

struct builder {
    channel *c; /* NULL: the process has gone */
    char dir[ARTIFACT_PATH_MAX], fingerprint[256];
    builder_wait *waiting;
};

/* --- the keeper's side ------------------------------------------------------------------------ */

static void tell(builder *b, const char hex[HEX], bool ok, const err *e)
{
    builder_wait **at = &b->waiting, *told = NULL;
    while (*at) {
        builder_wait *w = *at;
        if (hex && memcmp(w->hex, hex, HEX) != 0) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = told;
        told = w;
    }
    while (told) {
        builder_wait *w = told;
        told = w->next;
        w->done(w, ok, e);
    }
}

static void on_answer(void *user, bytes message, int fd)
{
    static answer a;
    err e = {0};
    if (fd >= 0)
        close(fd);
    if (message.n != sizeof a)
        return;
    memcpy(&a, message.p, sizeof a);
    e.code = (err_code)a.code;
    memcpy(e.text, a.text, sizeof e.text - 1);
    tell(user, a.hex, a.ok == 1, &e);
}

static void on_end(void *user)
{
    builder *b = user;
    err e;
    channel_close(b->c);
    b->c = NULL;
    log_msg(LOG_ERROR, "the builder process has ended; new components can't be compiled until the "
                       "keeper is started again");
    err_set(&e, ERR_INTERNAL, "the builder process has ended");
    tell(b, NULL, false, &e);
}

bool builder_new(loop *l, str data_dir, str fingerprint, unsigned jobs, builder **ret, err *e)
{
    static const channel_callbacks callbacks = {on_answer, on_end};
    int pair[2];
    pid_t pid;
    char n[16];
    builder *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e);
    if (data_dir.n >= sizeof b->dir || fingerprint.n >= sizeof b->fingerprint) {
        free(b);
        return err_set(e, ERR_LIMIT, "the data folder's path is too long");
    }
    memcpy(b->dir, data_dir.p, data_dir.n);
    memcpy(b->fingerprint, fingerprint.p, fingerprint.n);
    snprintf(n, sizeof n, "%u", jobs);
    if (!channel_pair(pair, e)) {
        free(b);
        return false;
    }
    const char *args[] = {b->dir, b->fingerprint, n, NULL};
    bool ok = spawn_role("builder", args, &pair[1], 1, NULL, true, &pid, e);
    close(pair[1]);
    if (!ok)
        close(pair[0]);
    if (!ok || !channel_open_take(l, pair[0], &callbacks, b, &b->c, e)) {
        free(b);
        return false;
    }
    *ret = b;
    return true;
}

void builder_free(builder *b)
{
    if (!b)
        return;
    err e;
    channel_close(b->c);
    b->c = NULL;
    err_set(&e, ERR_CLOSED, "the node is stopping");
    tell(b, NULL, false, &e);
    free(b);
}

bool builder_ensure(builder *b, str hex, builder_wait *w)
{
    char path[ARTIFACT_PATH_MAX + 512];
    err e;
    bool asked = false;
    snprintf(path, sizeof path, "%s/artifacts/%.*s-%s-%u/plan", b->dir, STR(hex), b->fingerprint,
             PLAN_VERSION);
    if (access(path, R_OK) == 0)
        return true;
    for (builder_wait *at = b->waiting; at && !asked; at = at->next)
        asked = memcmp(at->hex, hex.p, HEX) == 0;
    memcpy(w->hex, hex.p, HEX);
    w->next = b->waiting;
    b->waiting = w;
    if (asked)
        return false;
    if (!b->c || !channel_send(b->c, (bytes){(const uint8_t *)hex.p, HEX}, -1, &e)) {
        err_set(&e, ERR_INTERNAL, "the builder process does not take more work; try again");
        tell(b, w->hex, false, &e);
    }
    return false;
}

void builder_forget(builder *b, builder_wait *w)
{
    for (builder_wait **at = &b->waiting; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            return;
        }
}

/* --- the process ------------------------------------------------------------------------------ */

typedef struct {
    pid_t pid; /* 0: a free place */
    char hex[HEX];
} child;

static void on_child(int signo) {}

static void answer_send(const char hex[HEX], bool ok, const err *e)
{
    static answer a;
    memcpy(a.hex, hex, HEX);
    a.ok = ok;
    a.code = ok ? 0 : (int32_t)e->code;
    memset(a.text, 0, sizeof a.text);
    if (!ok)
        snprintf(a.text, sizeof a.text, "%s", e->text);
    while (send(FD_ASK, &a, sizeof a, MSG_NOSIGNAL) < 0 && (errno == EINTR || errno == EAGAIN))
        poll(&(struct pollfd){FD_ASK, POLLOUT, 0}, 1, 1000);
}

/* What a worker would find when the first request comes: better said at the deploy. */
static bool runs(arena *a, const plan *p, err *e)
{
    host_binding *binding;
    uint32_t unit, lift;
    return host_bind(a, p, &binding, NULL, NULL, e) && host_http_handler(p, &unit, &lift, e);
}

static _Noreturn void build(const char hex[HEX], str dir, str fingerprint)
{
    _cleanup_(arena_fini) arena a;
    err e;
    arena_init(&a, GIB);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    artifact one = {.source = arena_printf(&a, "%.*s/blobs/sha256/%.2s/%.64s", STR(dir), hex, hex),
                    .accepts = runs};
    bool ok = one.source.p ? artifact_ensure_all(&a, dir, fingerprint, &one, 1, 1, NULL, &e)
                           : err_no_memory(&e);
    if (ok && memcmp(one.digest.p, hex, HEX) != 0)
        ok = err_set(&e, ERR_INVALID, "the blob is damaged: it no longer has its digest");
    answer_send(hex, ok, &e);
    _exit(0);
}

static void reap(child *all, size_t n)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < n; i++) {
            err e;
            if (all[i].pid != pid)
                continue;
            all[i].pid = 0;
            err_set(&e, ERR_LIMIT, "the process that compiled it was ended by signal %d",
                    WIFSIGNALED(status) ? WTERMSIG(status) : 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                answer_send(all[i].hex, false, &e);
        }
}

/* False: the keeper has gone. */
static bool take(child *c, str dir, str fingerprint)
{
    char hex[HEX + 1] = {0};
    err e;
    ssize_t n = recv(FD_ASK, hex, HEX, MSG_DONTWAIT);
    if (n == 0)
        return false;
    if (n != HEX)
        return true;
    memcpy(c->hex, hex, HEX);
    c->pid = fork();
    if (c->pid == 0)
        build(hex, dir, fingerprint);
    if (c->pid < 0) {
        c->pid = 0;
        err_set_errno(&e, "cannot start a process to compile");
        answer_send(hex, false, &e);
    }
    return true;
}

int role_builder(int argc, char **argv)
{
    static child all[CHILDREN_MAX];
    uint64_t jobs = 1;
    if (argc < 4 || !str_to_u64(str_from(argv[3]), CHILDREN_MAX, &jobs) || !jobs)
        return 2;
    str dir = str_from(argv[1]), fingerprint = str_from(argv[2]);
    log_init(STDERR_FILENO, LOG_TEXT, "builder");
    sigset_t blocked, open;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    sigdelset(&open, SIGCHLD);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on_child}, NULL);
    signal(SIGINT, SIG_IGN);
    setpriority(PRIO_PROCESS, 0, BUILDER_NICE);
    for (;;) {
        child *place = NULL;
        reap(all, jobs);
        for (size_t i = 0; i < jobs && !place; i++)
            place = all[i].pid ? NULL : &all[i];
        struct pollfd p = {FD_ASK, POLLIN, 0};
        if (ppoll(&p, place ? 1 : 0, NULL, &open) <= 0)
            continue;
        if (place && !take(place, dir, fingerprint))
            return 0;
    }
}
