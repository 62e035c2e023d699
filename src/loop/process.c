/* Child processes on uv_spawn: it blocks signals around the fork, reports a failed exec to the
 * caller as an error, and reaps by SIGCHLD without a thread or a timer.
 *
 * It does not close what the parent has open, and libraries forget O_CLOEXEC; so before each spawn
 * every descriptor of this process past 2 is made close-on-exec (Linux 5.11), and libuv takes the
 * mark off again, in the child, from those that are passed. */
#include "loop/process.h"

#include "loop/uv_loop.h"

#include <linux/close_range.h>
#include <stdlib.h>
#include <unistd.h>

struct process {
    uv_process_t uv;
    void (*on_exit)(void *user, int status, int signo);
    void *user;
    bool gone, closing;
};

static void process_freed(uv_handle_t *h) { free(h->data); }

static void process_gone(uv_process_t *h, int64_t status, int signo)
{
    process *p = h->data;
    p->gone = true;
    if (p->on_exit && !p->closing)
        p->on_exit(p->user, signo ? -1 : (int)status, signo);
}

bool process_spawn(loop *l, const process_options *o,
                   void (*on_exit)(void *user, int status, int signo), void *user,
                   process **ret_process, err *e)
{
    if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
        return err_set_errno(e, "cannot keep descriptors from %s", o->file);
    process *p = calloc(1, sizeof *p);
    uv_stdio_container_t *fds = calloc(o->fds_count + 1, sizeof *fds);
    if (!p || !fds) {
        free(p);
        free(fds);
        return err_no_memory(e);
    }
    *p = (process){.on_exit = on_exit, .user = user};
    p->uv.data = p;
    for (size_t i = 0; i < o->fds_count; i++) {
        fds[i].flags = o->fds[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
        fds[i].data.fd = o->fds[i];
    }
    uv_process_options_t options = {
        .exit_cb = process_gone,
        .file = o->file,
        .args = (char **)(uintptr_t)o->argv,
        .env = (char **)(uintptr_t)o->env,
        .cwd = o->dir,
        .stdio = fds,
        .stdio_count = (int)o->fds_count,
        .flags = o->set_ids ? UV_PROCESS_SETUID | UV_PROCESS_SETGID : 0,
        .uid = o->uid,
        .gid = o->gid,
    };
    int code = uv_spawn(&l->uv, &p->uv, &options);
    free(fds);
    if (code) {
        uv_close((uv_handle_t *)&p->uv, process_freed);
        return err_set(e, ERR_IO, "cannot start %s: %s", o->file, uv_strerror(code));
    }
    *ret_process = p;
    return true;
}

pid_t process_pid(const process *p) { return uv_process_get_pid(&p->uv); }

bool process_kill(process *p, int signo) { return !p->gone && uv_process_kill(&p->uv, signo) == 0; }

void process_close(process *p)
{
    if (!p)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->uv, process_freed);
}
