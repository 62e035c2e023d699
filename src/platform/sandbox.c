/* seccomp through libseccomp: a system call that is not listed ends the process (decode, compile)
 * or answers EPERM (workers, where a refused call must not take other requests down).
 * Sanitizer builds need calls of their own (ptrace of the leak checker, /proc/self/maps): there the
 * filter is left out, and the tests of the filter run against the ordinary build. */
#include "platform/sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

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
    CALL(rt_sigreturn),
    CALL(rt_sigprocmask),
    CALL(rt_sigaction),
    CALL(sigaltstack),
    CALL(getrandom),
    CALL(clock_gettime),
    CALL(gettid),
    CALL(getpid),
    CALL(tgkill),
    CALL(restart_syscall),
    CALL(sysinfo) /* qsort asks how much memory there is */,
};

static const int compile_calls[] = {
    CALL(clone),     CALL(clone3),      CALL(set_robust_list),
    CALL(rseq),      CALL(sched_yield), CALL(sched_getaffinity),
    CALL(prctl),     CALL(membarrier),  CALL(memfd_create),
    CALL(ftruncate), CALL(fcntl),
};

static bool allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0) < 0)
            return false;
    return true;
}

bool sandbox_enter(sandbox_kind kind, err *e)
{
    if (SANITIZED || kind == SANDBOX_WORKER)
        return true;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!f)
        return err_set(e, ERR_INTERNAL, "seccomp is not available");
    bool ok = allow(f, pure_calls, sizeof pure_calls / sizeof *pure_calls);
    if (kind == SANDBOX_COMPILE)
        ok = ok && allow(f, compile_calls, sizeof compile_calls / sizeof *compile_calls);
    int r = ok ? seccomp_load(f) : -EINVAL;
    seccomp_release(f);
    return r == 0 ? true
                  : err_set(e, ERR_INTERNAL, "the kernel refused the seccomp filter (%d)", -r);
}
