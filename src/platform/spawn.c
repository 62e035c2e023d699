/* fork and exec of /proc/self/exe, so that a role survives the replacement of the binary on disk.
 * Between fork and exec only async-signal-safe calls are made. Failures of the child before its
 * main are seen as exit status 126; roles write their own errors to their message descriptor. */
#include "platform/spawn.h"

#include "base/arena.h"
#include "base/must.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { ARGS_MAX = 16, ENV_MAX = 16 };

void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* glibc 2.36 copies from 2 kB on with 'rep movsb', which AMD's Zen 3 and 4 run at a tenth of the
 * speed when the ends lie badly to each other (glibc bug 30994): 14 us for 16 kB instead of 0.5.
 * Bodies and the memory of guests do lie so. A C library that does not know the word ignores it. */
static char copy_by_vectors[] = "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824";

/* What sanitizer runs need to find their options, and measurements with a preloaded library
 * (tests/shim); everything else stays behind. */
static size_t clean_environment(char **out)
{
    static const char *const prefixes[] = {
        "ASAN_", "UBSAN_", "LSAN_", "LD_LIBRARY_PATH=", "LD_PRELOAD=", "IO_SHIM_"};
    size_t n = 0;
    out[n++] = copy_by_vectors;
    for (char **v = environ; *v && n < ENV_MAX - 1; v++)
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            if (strncmp(*v, prefixes[i], strlen(prefixes[i])) == 0) {
                out[n++] = *v;
                break;
            }
    out[n] = NULL;
    return n;
}

static void limit_set(int what, uint64_t value)
{
    struct rlimit r = {value, value};
    setrlimit((__rlimit_resource_t)what, &r);
}

static _Noreturn void child(char **argv, char **env, const int *fds, size_t n,
                            const spawn_limits *limits, bool dies_with_parent)
{
    /* Above the target range first, so that no dup2 overwrites a descriptor still needed. */
    int high[SPAWN_FDS_MAX];
    for (size_t i = 0; i < n; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD, SPAWN_FD_FIRST + SPAWN_FDS_MAX)) < 0)
            _exit(126);
    for (size_t i = 0; i < n; i++)
        if (dup2(high[i], SPAWN_FD_FIRST + (int)i) < 0)
            _exit(126);
    close_range(SPAWN_FD_FIRST + (unsigned)n, ~0U, 0);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (null > STDERR_FILENO && null >= SPAWN_FD_FIRST + (int)n)
            close(null);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (dies_with_parent)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    limit_set(RLIMIT_CORE, 0);
    if (limits && limits->memory_bytes && !SANITIZED)
        limit_set(RLIMIT_AS, limits->memory_bytes);
    if (limits && limits->cpu_s)
        limit_set(RLIMIT_CPU, limits->cpu_s);
    if (limits && limits->file_bytes)
        limit_set(RLIMIT_FSIZE, limits->file_bytes);
    execve("/proc/self/exe", argv, env);
    _exit(126);
}

bool spawn_role(const char *role, const char *const *args, const int *fds, size_t fds_count,
                const spawn_limits *limits, bool dies_with_parent, pid_t *ret, err *e)
{
    must(fds_count <= SPAWN_FDS_MAX);
    char name[64];
    char *argv[ARGS_MAX] = {"ebb", name};
    char *env[ENV_MAX];
    size_t n = 2;
    snprintf(name, sizeof name, "@%s", role);
    for (; args && args[n - 2]; n++) {
        must(n < ARGS_MAX - 1);
        argv[n] = (char *)args[n - 2];
    }
    clean_environment(env);
    pid_t pid = fork();
    if (pid < 0)
        return err_set_errno(e, "cannot start the %s process", role);
    if (pid == 0)
        child(argv, env, fds, fds_count, limits, dies_with_parent);
    *ret = pid;
    return true;
}

bool spawn_wait(pid_t pid, const char *role, int message_fd, err *e)
{
    int status;
    char text[ERR_TEXT_MAX - 128] = "";
    size_t n = 0;
    while (message_fd >= 0 && n < sizeof text - 1) {
        ssize_t got = read(message_fd, text + n, sizeof text - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set_errno(e, "waiting for the %s process", role);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    /* A role reports "<code> <text>". */
    unsigned code = ERR_INTERNAL;
    int at = 0;
    if (n && sscanf(text, "%u %n", &code, &at) == 1 && at > 0)
        return err_set(e, (err_code)code, "%s", text + at);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_LIMIT,
                       "the %s process was ended by signal %d (%s): it went beyond its memory or "
                       "CPU limit, or crashed",
                       role, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return err_set(e, ERR_INTERNAL, "the %s process ended with status %d", role,
                   WEXITSTATUS(status));
}

bool fd_write_all(int fd, const void *p, size_t n, err *e)
{
    const char *at = p;
    while (n) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_set_errno(e, "writing %zu bytes", n);
        at += w;
        n -= (size_t)w;
    }
    return true;
}

bool dir_sync(const char *path)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0;
}

bool spawn_memfd(const char *name, const void *p, size_t n, int *ret, err *e)
{
    _cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, "cannot make an anonymous file");
    if (!fd_write_all(fd, p, n, e))
        return false;
    *ret = fd;
    fd = -1;
    return true;
}

bool fd_receive(int socket, void *p, size_t n, int *ret_fd, err *e)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } passed;
    struct iovec whole = {p, n};
    struct msghdr m = {.msg_iov = &whole,
                       .msg_iovlen = 1,
                       .msg_control = &passed,
                       .msg_controllen = sizeof passed};
    ssize_t got;
    do
        got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_set_errno(e, "receiving a descriptor");
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if ((size_t)got != n || !c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return err_set(e, ERR_CLOSED, "no descriptor came");
    memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return true;
}
