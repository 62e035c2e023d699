/* See upgrade.h. Descriptors keep their numbers over execve, so the file that is handed over holds
 * plain numbers; what is not in it closes by itself (everything is close-on-exec). Both ends may be
 * different versions: members that are missing read as empty, unknown ones are passed over. */
#include "platform/upgrade.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "platform/config_json.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "EBB_HANDOVER"
enum { ARGS_MAX = 256, CHECK_S = 60 }; /* a check takes 50 ms; under load and sanitizers seconds */

bool upgrade_path(arena *a, const char *program, str *ret, err *e)
{
    static const char gone[] = " (deleted)";
    char exe[PATH_MAX];
    if (strchr(program, '/')) {
        *ret = arena_str(a, str_from(program));
        return ret->p || err_no_memory(e);
    }
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return err_set_errno(e, "/proc/self/exe");
    str path = {exe, (size_t)n};
    if (str_ends(path, S(gone)))
        path.n -= sizeof gone - 1;
    *ret = arena_str(a, path);
    return ret->p || err_no_memory(e);
}

/* --- is the binary good? ---------------------------------------------------------------------- */

static _Noreturn void check_run(const upgrade_self *u, int out)
{
    char *argv[ARGS_MAX + 2];
    size_t n = 0;
    sigset_t none;
    for (; n < ARGS_MAX && u->argv[n]; n++)
        argv[n] = u->argv[n];
    argv[n] = "--check";
    argv[n + 1] = NULL;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(u->path, argv);
    dprintf(STDERR_FILENO, "%s: %s", u->path, strerror(errno));
    _exit(126);
}

/* What it says, until it ends or has had its time. False: it had. */
static bool check_read(int from, char *text, size_t size)
{
    ns end = clock_mono() + CHECK_S * NS_PER_S;
    size_t n = 0;
    for (ns now; (now = clock_mono()) < end;) {
        char block[512];
        struct pollfd p = {from, POLLIN, 0};
        if (poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) <= 0)
            continue;
        ssize_t got = read(from, block, sizeof block);
        if (got <= 0)
            return true;
        for (ssize_t i = 0; i < got && n < size - 1; i++)
            text[n++] = block[i] == '\n' ? ' ' : block[i];
        text[n] = 0;
    }
    return false;
}

bool upgrade_check(const upgrade_self *u, err *e)
{
    char text[ERR_TEXT_MAX / 2] = "";
    int out[2], status;
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_set_errno(e, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        check_run(u, out[1]);
    close(out[1]);
    bool ended = pid > 0 && check_read(out[0], text, sizeof text);
    close(out[0]);
    if (pid < 0)
        return err_set_errno(e, "cannot start %s", u->path);
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           err_set(e, ERR_INVALID, "%s does not start with these settings: %s", u->path,
                   ended ? text : "it does not end");
}

/* --- handing over ----------------------------------------------------------------------------- */

static bool inherit(int fd, bool yes)
{
    return fd < 0 || fcntl(fd, F_SETFD, yes ? 0 : FD_CLOEXEC) == 0;
}

/* f for every descriptor of it. */
static bool each_fd(const handover *h, bool yes)
{
    bool ok = inherit(h->admin_local, yes) && inherit(h->admin_tcp, yes);
    for (size_t i = 0; i < h->workers; i++)
        ok &= inherit(h->listeners[i], yes);
    for (size_t i = 0; i < h->count; i++)
        ok &= inherit(h->all[i].control, yes);
    return ok;
}

static json_t *to_json(const handover *h)
{
    json_t *listeners = json_array(), *all = json_array();
    for (size_t i = 0; i < h->workers; i++)
        json_array_append_new(listeners, json_integer(h->listeners[i]));
    for (size_t i = 0; i < h->count; i++) {
        const handover_process *p = &h->all[i];
        json_array_append_new(all, json_pack("{s:o,s:i,s:i,s:i,s:b}", "role", json_of(p->role),
                                             "index", (int)p->index, "pid", (int)p->pid, "control",
                                             p->control, "told", p->told));
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:i,s:i,s:o}", "listen", json_of(h->listen), "address",
                     json_of(h->address), "admin", json_of(h->admin), "listeners", listeners,
                     "admin_local", h->admin_local, "admin_tcp", h->admin_tcp, "all", all);
}

bool upgrade_exec(const upgrade_self *u, const handover *h, err *e)
{
    _cleanup_(buf_fini) buf text;
    _cleanup_fd_ int fd = -1;
    char number[16];
    buf_init(&text, MIB);
    _cleanup_json_ json_t *j = to_json(h);
    if (!json_put(j, &text, e) || !spawn_memfd("ebb-handover", text.p, text.n, &fd, e))
        return false;
    snprintf(number, sizeof number, "%d", fd);
    if (setenv(VARIABLE, number, 1) < 0 || !inherit(fd, true) || !each_fd(h, true))
        return err_set_errno(e, "handing over");
    execv(u->path, u->argv);
    err_set_errno(e, "%s", u->path);
    unsetenv(VARIABLE);
    each_fd(h, false);
    return false;
}

static int number_of(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    return json_is_integer(v) ? (int)json_integer_value(v) : -1;
}

static bool from_json(arena *a, const json_t *j, handover *h, err *e)
{
    const json_t *listeners = json_object_get(j, "listeners"), *all = json_object_get(j, "all");
    h->listen = json_str(a, json_object_get(j, "listen"));
    h->address = json_str(a, json_object_get(j, "address"));
    h->admin = json_str(a, json_object_get(j, "admin"));
    h->admin_local = number_of(j, "admin_local");
    h->admin_tcp = number_of(j, "admin_tcp");
    h->workers = json_array_size(listeners);
    h->count = json_array_size(all);
    int *fds = ARENA_ARRAY(a, int, h->workers + 1);
    h->listeners = fds;
    h->all = ARENA_ARRAY(a, handover_process, h->count + 1);
    if (!fds || !h->all || !h->address.p)
        return err_no_memory(e);
    for (size_t i = 0; i < h->workers; i++)
        fds[i] = (int)json_integer_value(json_array_get(listeners, i));
    for (size_t i = 0; i < h->count; i++) {
        const json_t *p = json_array_get(all, i);
        h->all[i] = (handover_process){.role = json_str(a, json_object_get(p, "role")),
                                       .index = (unsigned)number_of(p, "index"),
                                       .pid = (pid_t)number_of(p, "pid"),
                                       .control = number_of(p, "control"),
                                       .told = json_is_true(json_object_get(p, "told"))};
    }
    return each_fd(h, false) || err_set_errno(e, "what was handed over is not whole");
}

bool handover_take(arena *a, handover *ret, bool *ret_any, err *e)
{
    const char *value = getenv(VARIABLE);
    struct stat st;
    uint64_t number;
    *ret_any = false;
    if (!value)
        return true;
    if (!str_to_u64(str_from(value), INT_MAX, &number) || fstat((int)number, &st) < 0 ||
        st.st_size <= 0 || (size_t)st.st_size > MIB)
        return err_set(e, ERR_INVALID,
                       VARIABLE "=%s is no descriptor of what an earlier ebb "
                                "left; unset it",
                       value);
    _cleanup_fd_ int fd = (int)number;
    unsetenv(VARIABLE);
    char *text = arena_alloc(a, (size_t)st.st_size);
    if (!text)
        return err_no_memory(e);
    if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
        return err_set_errno(e, "what was handed over");
    _cleanup_json_ json_t *j =
        json_get((bytes){(const uint8_t *)text, (size_t)st.st_size}, "the next supervisor", e);
    *ret_any = j && from_json(a, j, ret, e);
    return *ret_any;
}

/* --- telling ---------------------------------------------------------------------------------- */

void upgrade_report(str data_dir, bool ok, const char *text)
{
    char temp[PATH_MAX], final[PATH_MAX];
    int n = snprintf(temp, sizeof temp, "%.*s/upgrade.txt.tmp", STR(data_dir));
    snprintf(final, sizeof final, "%.*s/upgrade.txt", STR(data_dir));
    if (n < 0 || n >= (int)sizeof temp)
        return;
    _cleanup_fd_ int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && dprintf(fd, "%s %s\n", ok ? "ok" : "failed", text) > 0)
        rename(temp, final);
}
