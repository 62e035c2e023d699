/* The probe: a process confined like a worker, a decode or a compile process, which then tries what
 * such a process must not do, and says how that ended. A role for tests (`ebb @probe`): it gets no
 * input of anybody and has no way back.
 *
 *     ebb @probe worker FOLDER          one line an action: its name and its errno, 0 if it worked
 *     ebb @probe decode|compile FOLDER ACTION   that one; the process is killed where it must not
 *     ebb @probe free FOLDER ACTION     unconfined: shows that the action itself works
 *
 * FOLDER stands for an artifact's: readable for a worker, and it holds a file "plan". */
#include "platform/role.h"

#include "base/str.h"
#include "platform/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char plan[4096], made[4096];
static pid_t parent;

static int file_open(const char *path, int flags) { return open(path, flags | O_CLOEXEC, 0600); }
static int socket_of(int family, int type) { return socket(family, type | SOCK_CLOEXEC, 0); }

static int read_artifact(void) { return file_open(plan, O_RDONLY); }
static int socket_tcp(void) { return socket_of(AF_INET, SOCK_STREAM); }

static int run_program(void)
{
    char *argv[] = {"true", NULL}, *env[] = {NULL};
    return execve("/bin/true", argv, env);
}
static int run_itself(void)
{
    char *argv[] = {"ebb", "--version", NULL}, *env[] = {NULL};
    return execve("/proc/self/exe", argv, env);
}
static int new_process(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return (int)pid;
}
static int write_artifact(void) { return file_open(plan, O_WRONLY); }
static int cut_artifact(void) { return file_open(plan, O_WRONLY | O_TRUNC); }
static int new_artifact(void) { return file_open(made, O_WRONLY | O_CREAT); }
static int remove_artifact(void) { return unlinkat(AT_FDCWD, plan, 0); }
static int replace_artifact(void) { return renameat(AT_FDCWD, plan, AT_FDCWD, made); }
static int link_artifact(void) { return symlinkat("/etc/passwd", AT_FDCWD, made); }
static int foreign_file(void) { return file_open("/etc/passwd", O_RDONLY); }
static int resolver_settings(void) { return file_open("/etc/resolv.conf", O_RDONLY); }
static int resolver_write(void) { return file_open("/etc/resolv.conf", O_WRONLY); }
static int foreign_folder(void) { return file_open("/", O_RDONLY | O_DIRECTORY); }
static int foreign_write(void) { return file_open("/tmp/ebb-probe", O_WRONLY | O_CREAT); }
static int foreign_secrets(void) { return file_open("/proc/1/environ", O_RDONLY); }
static int foreign_settings(void) { return file_open("/etc/ssl", O_RDONLY | O_DIRECTORY); }
static int own_memory(void) { return file_open("/proc/self/mem", O_RDWR); }
static int trace_parent(void) { return (int)ptrace(PTRACE_SEIZE, parent, 0, 0); }
static int read_parent(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)plan, 1};
    return (int)process_vm_readv(parent, &here, 1, &there, 1, 0);
}
static int signal_parent(void) { return kill(parent, 0); }
static int signal_thread(void) { return (int)syscall(SYS_tgkill, parent, parent, 0); }
static int limit_parent(void) { return (int)syscall(SYS_prlimit64, parent, 7, NULL, NULL); }
static int socket_unix(void) { return socket_of(AF_UNIX, SOCK_STREAM); }
static int socket_raw(void) { return socket_of(AF_INET, SOCK_RAW); }
static int socket_raw6(void) { return socket_of(AF_INET6, SOCK_RAW); }
static int socket_packet(void) { return socket_of(AF_PACKET, SOCK_RAW); }
static int socket_netlink(void) { return socket_of(AF_NETLINK, SOCK_RAW); }
static int socket_vsock(void) { return socket_of(AF_VSOCK, SOCK_STREAM); }
static int socket_seqpacket(void) { return socket_of(AF_INET, SOCK_SEQPACKET); }
static int become_root(void) { return setuid(0); }
static int new_namespace(void) { return unshare(CLONE_NEWUSER); }
static int mount_something(void) { return mount("none", "/tmp", "tmpfs", 0, NULL); }
static int use_bpf(void) { return (int)syscall(SYS_bpf, 0, NULL, 0); }
static int use_uring(void) { return (int)syscall(SYS_io_uring_setup, 1, NULL); }
static int use_perf(void) { return (int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0); }
static int use_keys(void) { return (int)syscall(SYS_keyctl, 0, -3, 0, 0, 0); }
static int use_userfaultfd(void) { return (int)syscall(SYS_userfaultfd, 0); }
static int type_into_terminal(void) { return ioctl(2, TIOCSTI, "x"); }
static int map_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}
static int change_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static const struct {
    const char *name;
    int (*act)(void); /* as a system call: negative and errno */
} actions[] = {
    {"read-artifact", read_artifact},
    {"socket-tcp", socket_tcp},
    {"new-process", new_process},
    {"write-artifact", write_artifact},
    {"cut-artifact", cut_artifact},
    {"new-artifact", new_artifact},
    {"remove-artifact", remove_artifact},
    {"replace-artifact", replace_artifact},
    {"link-artifact", link_artifact},
    {"foreign-file", foreign_file},
    {"foreign-settings", foreign_settings},
    {"resolver-settings", resolver_settings},
    {"resolver-write", resolver_write},
    {"foreign-folder", foreign_folder},
    {"foreign-write", foreign_write},
    {"foreign-secrets", foreign_secrets},
    {"own-memory", own_memory},
    {"trace-parent", trace_parent},
    {"read-parent", read_parent},
    {"signal-parent", signal_parent},
    {"signal-thread", signal_thread},
    {"limit-parent", limit_parent},
    {"socket-unix", socket_unix},
    {"socket-raw", socket_raw},
    {"socket-raw6", socket_raw6},
    {"socket-packet", socket_packet},
    {"socket-netlink", socket_netlink},
    {"socket-vsock", socket_vsock},
    {"socket-seqpacket", socket_seqpacket},
    {"become-root", become_root},
    {"new-namespace", new_namespace},
    {"mount", mount_something},
    {"bpf", use_bpf},
    {"uring", use_uring},
    {"perf", use_perf},
    {"keys", use_keys},
    {"userfaultfd", use_userfaultfd},
    {"terminal", type_into_terminal},
    {"map-code", map_code},
    {"change-code", change_code},
    {"run-program", run_program},
    {"run-itself", run_itself},
};

/* As worker.c, decode.c and compile.c do. */
static bool confine(const char *kind, const char *folder, bool *ret_enforced, err *e)
{
    sandbox_path paths[SANDBOX_NETWORK_PATHS + 1];
    *ret_enforced = false;
    memcpy(paths, sandbox_network, sizeof sandbox_network);
    paths[SANDBOX_NETWORK_PATHS] = (sandbox_path){str_from(folder), false};
    if (!strcmp(kind, "worker"))
        return sandbox_confine(SANDBOX_WORKER, paths, SANDBOX_NETWORK_PATHS + 1, ret_enforced, e);
    if (!strcmp(kind, "decode"))
        return sandbox_confine(SANDBOX_PURE, NULL, 0, ret_enforced, e);
    if (!strcmp(kind, "compile"))
        return sandbox_confine(SANDBOX_COMPILE, NULL, 0, ret_enforced, e);
    return !strcmp(kind, "free") || err_set(e, ERR_INVALID, "no kind '%s'", kind);
}

int role_probe(int argc, char **argv)
{
    err e;
    bool enforced;
    if (argc < 3)
        return 2;
    parent = getppid();
    const char *only = argc > 3 ? argv[3] : NULL;
    snprintf(plan, sizeof plan, "%s/plan", argv[2]);
    snprintf(made, sizeof made, "%s/made", argv[2]);
    if (!confine(argv[1], argv[2], &enforced, &e)) {
        dprintf(STDERR_FILENO, "%s\n", e.text);
        return 2;
    }
    dprintf(STDOUT_FILENO, "user %u\nlandlock %d\n", (unsigned)geteuid(), enforced);
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (only && strcmp(only, actions[i].name))
            continue;
        int code = actions[i].act() < 0 ? errno : 0;
        dprintf(STDOUT_FILENO, "%s %d\n", actions[i].name, code);
    }
    return 0;
}
