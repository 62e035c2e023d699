/* libuv's thread pool. Its size is set in the environment of this process before the first use,
 * which is the only way libuv has. */
#include "loop/work.h"

#include "base/must.h"
#include "loop/uv_loop.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uv_work_t uv;
    void (*work)(void *user);
    void (*done)(void *user);
    void *user;
} loop_work;

static void on_thread(uv_work_t *uv)
{
    loop_work *w = (loop_work *)uv;
    w->work(w->user);
}

static void on_end(uv_work_t *uv, int status)
{
    loop_work w = *(loop_work *)uv;
    free(uv);
    w.done(w.user);
}

static void threads_set(void)
{
    static bool once;
    char n[16];
    if (once)
        return;
    once = true;
    snprintf(n, sizeof n, "%d", WORK_THREADS);
    setenv("UV_THREADPOOL_SIZE", n, 0);
}

bool loop_work_start(loop *l, void (*work)(void *user), void (*done)(void *user), void *user,
                     err *e)
{
    threads_set();
    loop_work *w = malloc(sizeof *w);
    if (!w)
        return err_no_memory(e);
    *w = (loop_work){.work = work, .done = done, .user = user};
    int code = uv_queue_work(&l->uv, &w->uv, on_thread, on_end);
    if (code == 0)
        return true;
    free(w);
    return err_set_uv(e, code, "cannot start a thread");
}
