/* seccomp through libseccomp, landlock through its three system calls (linux/landlock.h).
 *
 * The lists are what the rooms below need: the C library's allocator and threads, Wasmtime (see
 * engine/README.md), libuv, libcurl with its resolver thread, the guest's files. execve, ptrace,
 * process_vm_*, mount, bpf, setuid and their kin are in none of them.
 * Sanitizer builds need calls of their own (ptrace of the leak checker, /proc/self/maps): there the
 * filters are left out, and their tests run against the ordinary build. */
#include "platform/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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

#define CALL(name) SCMP_SYS(name)
#define COUNT(a)   (sizeof(a) / sizeof *(a))

static const int pure_calls[] = {
    CALL(read),
    CALL(write),
    CALL(pread64),
    CALL(lseek),
    CALL(fstat),
    CALL(newfstatat),
    CALL(close),
    CALL(mmap),
    CALL(munmap),
    CALL(mremap),
    CALL(mprotect),
    CALL(madvise),
    CALL(brk),
    CALL(futex),
    CALL(exit),
    CALL(exit_group),
    CALL(getrandom),
    CALL(rt_sigreturn),
    CALL(rt_sigprocmask),
    CALL(rt_sigaction),
    CALL(sigaltstack),
    CALL(gettid),
    CALL(getpid),
    CALL(clock_gettime),
    CALL(tgkill),
    CALL(sysinfo), /* qsort asks how much memory there is */
    CALL(restart_syscall),
};

static const int thread_calls[] = {
    CALL(clone),
    CALL(clone3),
    CALL(set_robust_list),
    CALL(rseq),
    CALL(sched_yield),
    CALL(prctl),
    CALL(sched_getaffinity),
    CALL(membarrier),
    CALL(memfd_create),
    CALL(ftruncate),
    CALL(fcntl),
};

static const int worker_calls[] = {
    /* the loop and its sockets */
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(poll),
    CALL(ppoll),
    CALL(eventfd2),
    CALL(pipe2),
    CALL(ioctl),
    CALL(dup),
    CALL(dup3),
    CALL(accept4),
    CALL(socket),
    CALL(socketpair),
    CALL(bind),
    CALL(listen),
    CALL(connect),
    CALL(shutdown),
    CALL(getsockname),
    CALL(getpeername),
    CALL(getsockopt),
    CALL(setsockopt),
    CALL(readv),
    CALL(writev),
    CALL(recvfrom),
    CALL(recvmsg),
    CALL(recvmmsg),
    CALL(sendto),
    CALL(sendmsg),
    CALL(sendmmsg),
    /* time */
    CALL(timer_create),
    CALL(timer_settime),
    CALL(timer_delete),
    CALL(clock_nanosleep),
    CALL(clock_getres),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(getrusage),
    CALL(times),
    /* memory */
    CALL(process_madvise),
    CALL(mincore),
    CALL(mlock),
    CALL(munlock),
    /* files: which ones is landlock's */
    CALL(openat),
    CALL(openat2),
    CALL(statx),
    CALL(statfs),
    CALL(fstatfs),
    CALL(pwrite64),
    CALL(preadv),
    CALL(pwritev),
    CALL(getdents64),
    CALL(readlinkat),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(mkdirat),
    CALL(unlinkat),
    CALL(renameat),
    CALL(renameat2),
    CALL(linkat),
    CALL(symlinkat),
    CALL(utimensat),
    CALL(fsync),
    CALL(fdatasync),
    CALL(fadvise64),
    CALL(fallocate),
    CALL(access),
    CALL(open),
    CALL(stat),
    CALL(readlink),
    CALL(getcwd),
    CALL(uname),
    /* who we are */
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getppid),
    CALL(prlimit64),
    CALL(umask),
};

static const int store_calls[] = {
    CALL(unlink),    CALL(lstat), CALL(fchmod), CALL(fchown),
    CALL(ftruncate), CALL(rmdir), CALL(rename),
};

static bool allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0) < 0)
            return false;
    return true;
}

static bool allow_calls(scmp_filter_ctx f, sandbox_kind kind)
{
    return allow(f, pure_calls, COUNT(pure_calls)) &&
           (kind == SANDBOX_PURE || allow(f, thread_calls, COUNT(thread_calls))) &&
           (kind < SANDBOX_WORKER || allow(f, worker_calls, COUNT(worker_calls))) &&
           (kind < SANDBOX_STORE || allow(f, store_calls, COUNT(store_calls)));
}

bool sandbox_enter(sandbox_kind kind, err *e)
{
    if (SANITIZED)
        return true;
    scmp_filter_ctx f =
        seccomp_init(kind >= SANDBOX_WORKER ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
    if (!f)
        return err_set(e, ERR_INTERNAL, "seccomp is not available");
    int r = allow_calls(f, kind) ? seccomp_load(f) : -EINVAL;
    seccomp_release(f);
    return r == 0 ? true
                  : err_set(e, ERR_INTERNAL, "the kernel refused the seccomp filter (%d)", -r);
}

/* --- files ------------------------------------------------------------------------------------ */

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_WRITE                                                                               \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
     LANDLOCK_ACCESS_FS_MAKE_SYM)
/* ABI 1: everything it knows is handled, so everything not allowed below is refused. */
#define ACCESS_ALL                                                                                 \
    (ACCESS_READ | ACCESS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |      \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

/* ABI 2 (Linux 5.19) can allow to move and link between folders; ABI 1 never does. */
static uint64_t access_refer(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
}

static bool path_allow(int ruleset, const sandbox_path *p, err *e)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = p->writable ? ACCESS_READ | ACCESS_WRITE | access_refer() : ACCESS_READ,
        .parent_fd = open(p->path.p, O_PATH | O_CLOEXEC),
    };
    if (rule.parent_fd < 0)
        return true; /* not there, so nothing to reach */
    long r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int number = errno;
    if (r < 0 && number == EINVAL) { /* a file: it has no directory rights */
        rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
        r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    close(rule.parent_fd);
    return r == 0 ? true : err_set_errno(e, "landlock: %.*s", STR(p->path));
}

bool sandbox_files(const sandbox_path *paths, size_t count, bool *ret_enforced, err *e)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = ACCESS_ALL | access_refer()};
    *ret_enforced = false;
    if (SANITIZED) {
        *ret_enforced = true;
        return true;
    }
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return true; /* a kernel without it: seccomp and file permissions are what is left */
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = path_allow(ruleset, &paths[i], e);
    if (ok && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        ok = err_set_errno(e, "no_new_privs");
    if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        ok = err_set_errno(e, "landlock");
    close(ruleset);
    *ret_enforced = ok;
    return ok;
}
