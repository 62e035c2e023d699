/* seccomp through libseccomp, landlock through its three system calls (linux/landlock.h).
 *
 * The lists are what the rooms below need: the C library's allocator, Wasmtime (see
 * engine/README.md), libuv, libcurl, c-ares, the guest's files. execve, ptrace, process_vm_*,
 * mount, bpf, setuid and their kin are in none of them; a worker makes no threads and no processes.
 * Where a call does many things, its arguments are looked at: sockets only of the kinds that guests
 * may have, signals only to itself, no memory that is writable and executable at once, ioctl and
 * prctl by number. Sanitizer builds need calls of their own (ptrace of the leak checker,
 * /proc/self/maps): there the filters are left out, and their tests run against the ordinary build.
 */
#include "platform/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* Newer than the headers of Debian 12. */
#define IOCTL_PAGEMAP_SCAN     0xc0606610u
#define PRCTL_SET_VMA          0x53564d41u /* names an anonymous mapping */
#define ACCESS_REFER           (UINT64_C(1) << 13)
#define ACCESS_TRUNCATE        (UINT64_C(1) << 14)
#define ACCESS_IOCTL_DEV       (UINT64_C(1) << 15)
#define SCOPE_UNIX_AND_SIGNALS (UINT64_C(3))

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
    CALL(munmap),
    CALL(mremap),
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
    CALL(sysinfo), /* qsort asks how much memory there is */
    CALL(restart_syscall),
    CALL(sched_yield), /* with setitimer: behind.c */
    CALL(setitimer),
};

static const int thread_calls[] = {
    CALL(set_robust_list), CALL(rseq),         CALL(sched_getaffinity),
    CALL(membarrier),      CALL(memfd_create), CALL(ftruncate),
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
    CALL(accept4),
    CALL(fcntl),
    CALL(memfd_create),
    CALL(ftruncate),
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
    CALL(timer_settime),
    CALL(timerfd_create),
    CALL(timerfd_settime),
    CALL(timer_delete),
    CALL(clock_nanosleep),
    CALL(clock_getres),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(getrusage),
    /* memory */
    CALL(process_madvise),
    CALL(mincore),
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
    CALL(uname),
    /* who we are */
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
};

static const int store_calls[] = {
    CALL(flock), /* uploads, and the collector against a backup */
    CALL(unlink), CALL(lstat), CALL(fchmod),  CALL(fchown), CALL(rmdir),
    CALL(rename), CALL(open),  CALL(stat),    CALL(access), CALL(readlink),
    CALL(getcwd), CALL(umask), CALL(getppid), CALL(flock),
};

static bool allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0) < 0)
            return false;
    return true;
}

static bool allow_if(scmp_filter_ctx f, int call, unsigned count, const struct scmp_arg_cmp *args)
{
    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, count, args) >= 0;
}

/* Memory is writable or executable, never both. */
static bool allow_memory(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp not_written = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0),
                              not_run = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    return allow_if(f, CALL(mmap), 1, &not_written) && allow_if(f, CALL(mmap), 1, &not_run) &&
           allow_if(f, CALL(mprotect), 1, &not_written) && allow_if(f, CALL(mprotect), 1, &not_run);
}

/* Signals to itself: abort and raise. */
static bool allow_abort(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp self = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
    return allow_if(f, CALL(tgkill), 1, &self);
}

/* What guests may have, and the pair that libcurl and libuv wake themselves with. */
static bool allow_sockets(scmp_filter_ctx f)
{
    static const int families[] = {AF_INET, AF_INET6}, types[] = {SOCK_STREAM, SOCK_DGRAM};
    const scmp_datum_t type_bits = 0xf; /* the rest are SOCK_CLOEXEC and SOCK_NONBLOCK */
    const struct scmp_arg_cmp local = SCMP_A0(SCMP_CMP_EQ, AF_UNIX);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            const struct scmp_arg_cmp both[] = {
                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]),
                SCMP_A1(SCMP_CMP_MASKED_EQ, type_bits, (scmp_datum_t)types[k])};
            if (!allow_if(f, CALL(socket), 2, both))
                return false;
        }
    return allow_if(f, CALL(socketpair), 1, &local);
}

static bool allow_numbers(scmp_filter_ctx f)
{
    static const unsigned ioctls[] = {FIONBIO, FIONREAD, FIOCLEX, IOCTL_PAGEMAP_SCAN};
    for (size_t i = 0; i < COUNT(ioctls); i++) {
        const struct scmp_arg_cmp number = SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, ioctls[i]);
        if (!allow_if(f, CALL(ioctl), 1, &number))
            return false;
    }
    const struct scmp_arg_cmp naming = SCMP_A0(SCMP_CMP_EQ, PRCTL_SET_VMA),
                              self = SCMP_A0(SCMP_CMP_EQ, 0);
    return allow_if(f, CALL(prctl), 1, &naming) && allow_if(f, CALL(prlimit64), 1, &self);
}

/* Threads, but no processes. What clone3 is asked for can't be looked at: without it the C library
 * falls back to clone. */
static bool allow_threads(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    return allow(f, thread_calls, COUNT(thread_calls)) && allow_if(f, CALL(clone), 1, &thread) &&
           seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0) >= 0;
}

static bool allow_calls(scmp_filter_ctx f, sandbox_kind kind)
{
    return allow(f, pure_calls, COUNT(pure_calls)) && allow_memory(f) && allow_abort(f) &&
           (kind == SANDBOX_PURE || kind == SANDBOX_WORKER || allow_threads(f)) &&
           (kind < SANDBOX_WORKER || (allow(f, worker_calls, COUNT(worker_calls)) &&
                                      allow_sockets(f) && allow_numbers(f))) &&
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
/* Everything that ABI 1 knows is handled, so everything not allowed below is refused. */
#define ACCESS_ALL                                                                                 \
    (ACCESS_READ | ACCESS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |      \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

/* struct landlock_ruleset_attr as of ABI 6. */
typedef struct {
    uint64_t handled_access_fs, handled_access_net, scoped;
} ruleset_attr;

static int landlock_abi(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool sandbox_has_files(void) { return SANITIZED || landlock_abi() >= 1; }

/* What the kernel's ABI adds to ABI 1: moving between folders, truncation, devices; and from ABI 6
 * on no signal and no abstract socket reaches anybody outside. */
static ruleset_attr attr_for(int abi)
{
    ruleset_attr a = {.handled_access_fs = ACCESS_ALL};
    if (abi >= 2)
        a.handled_access_fs |= ACCESS_REFER;
    if (abi >= 3)
        a.handled_access_fs |= ACCESS_TRUNCATE;
    if (abi >= 5)
        a.handled_access_fs |= ACCESS_IOCTL_DEV;
    if (abi >= 6)
        a.scoped = SCOPE_UNIX_AND_SIGNALS;
    return a;
}

static bool path_allow(int ruleset, const sandbox_path *p, uint64_t handled, err *e)
{
    uint64_t writes = ACCESS_WRITE | (handled & (ACCESS_REFER | ACCESS_TRUNCATE));
    struct landlock_path_beneath_attr rule = {
        .allowed_access = p->writable ? ACCESS_READ | writes : ACCESS_READ,
        .parent_fd = open(p->path.p, O_PATH | O_CLOEXEC),
    };
    if (rule.parent_fd < 0)
        return true; /* not there, so nothing to reach */
    long r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int number = errno;
    if (r < 0 && number == EINVAL) { /* a file: it has no directory rights */
        rule.allowed_access &=
            LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE;
        r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
        number = errno;
    }
    close(rule.parent_fd);
    errno = number;
    if (r < 0 && number == EBADFD)
        return true; /* an anonymous file: landlock has no say in it */
    return r == 0 ? true : err_set_errno(e, "landlock: %.*s", STR(p->path));
}

const sandbox_path sandbox_network[SANDBOX_NETWORK_PATHS] = {
    {{"/etc/resolv.conf", 16}, false},
    {{"/etc/hosts", 10}, false},
    {{"/etc/nsswitch.conf", 18}, false},
    {{"/etc/gai.conf", 13}, false},
    {{"/etc/host.conf", 14}, false},
    {{"/etc/ssl/certs", 14}, false},
    {{"/etc/ssl/cert.pem", 17}, false},
    {{"/etc/ssl/openssl.cnf", 20}, false},
    {{"/etc/pki/tls/certs", 18}, false},
    {{"/etc/pki/ca-trust", 17}, false},
    {{"/usr/lib/ssl", 12}, false},
    {{"/usr/share/ca-certificates", 26}, false},
    {{"/usr/local/share/ca-certificates", 32}, false},
};

bool sandbox_files(const sandbox_path *paths, size_t count, bool *ret_enforced, err *e)
{
    int abi = landlock_abi();
    ruleset_attr attr = attr_for(abi);
    size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? 16 : 8;
    *ret_enforced = false;
    if (SANITIZED) {
        *ret_enforced = true;
        return true;
    }
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0 || abi < 1)
        return true; /* a kernel without it: seccomp and file permissions are what is left */
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = path_allow(ruleset, &paths[i], attr.handled_access_fs, e);
    if (ok && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        ok = err_set_errno(e, "no_new_privs");
    if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        ok = err_set_errno(e, "landlock");
    close(ruleset);
    *ret_enforced = ok;
    return ok;
}

/* --- who -------------------------------------------------------------------------------------- */

bool sandbox_user(uid_t *ret_uid, gid_t *ret_gid)
{
    if (geteuid() != 0)
        return false;
    const struct passwd *p = getpwnam("ebb");
    *ret_uid = p ? p->pw_uid : 65534; /* nobody */
    *ret_gid = p ? p->pw_gid : 65534;
    return *ret_uid != 0;
}

bool sandbox_drop(err *e)
{
    uid_t uid;
    gid_t gid;
    int dies = 0;
    if (!sandbox_user(&uid, &gid))
        return true;
    prctl(PR_GET_PDEATHSIG, &dies);
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return err_set_errno(e,
                             "cannot become the unprivileged user %u; start ebb as another "
                             "user than root, or make an account 'ebb'",
                             (unsigned)uid);
    if (dies) /* changing the user takes it away */
        prctl(PR_SET_PDEATHSIG, dies);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 || err_set_errno(e, "no_new_privs");
}

bool sandbox_confine(sandbox_kind kind, const sandbox_path *paths, size_t count, bool *ret_enforced,
                     err *e)
{
    return sandbox_drop(e) && sandbox_files(paths, count, ret_enforced, e) &&
           sandbox_enter(kind, e);
}

bool sandbox_confine_client(err *e)
{
    static const sandbox_path paths[] = {{{"/etc", 4}, false},
                                         {{"/usr/lib", 8}, false},
                                         {{"/lib", 4}, false},
                                         {{"/lib64", 6}, false},
                                         {{"/usr/share/ca-certificates", 26}, false}};
    bool enforced;
    return sandbox_confine(SANDBOX_FETCH, paths, sizeof paths / sizeof *paths, &enforced, e);
}
