/* Key-value files, in the store process. The way of a request:
 *
 *     pending list of its file -> end of the turn: BEGIN, apply..., COMMIT -> answers
 *
 * While a commit waits for the disk, the next requests queue up in the sockets and become the next
 * group: the slower the disk, the larger the groups. A request that the file refuses does not take
 * its group along: the group is rolled back and its requests are tried one by one. */
#include "base/limits.h"
#include "base/log.h"
#include "store/kv_file.h"
#include "store/server_impl.h"

#include <stdlib.h>

struct kv_target {
    kv_server *s;
    kv_target *next;       /* of all */
    kv_target *next_dirty; /* of those with requests */
    unsigned users;        /* stores that are in it; 0: it goes when it is closed */
    str path;              /* empty: in memory */
    kv_file *open;
    pending_list waiting;
    ns used;
    uint16_t opening; /* numbers how often it was opened */
    bool failing;     /* its last group failed: said once in the log */
    bool running;     /* its requests are carried out now */
    /* Of one in memory: what it is made with. */
    str label;
    const str *initial;
    size_t initial_count;
};

struct kv_server {
    loop *l;
    kv_target *targets, *dirty;
    unsigned open_count;
    loop_timer idle;
};

/* --- files ------------------------------------------------------------------------------------ */

static void file_close(kv_server *s, kv_target *f)
{
    s->open_count -= f->open != NULL;
    kv_file_close(f->open);
    f->open = NULL;
}

/* Once nobody needs it. */
static void target_release(kv_server *s, kv_target *f)
{
    kv_target **at = &s->targets;
    if (f->users || f->waiting.first || f->running)
        return;
    file_close(s, f);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free(f);
}

/* Room for one more descriptor: the file that nobody used for the longest time is closed. */
static void file_make_room(kv_server *s)
{
    kv_target *oldest = NULL;
    if (s->open_count < STORE_FILES_OPEN_MAX)
        return;
    for (kv_target *f = s->targets; f; f = f->next)
        if (f->open && f->path.n && !f->waiting.first && (!oldest || f->used < oldest->used))
            oldest = f;
    if (oldest)
        file_close(s, oldest);
}

static bool file_ready(kv_server *s, kv_target *f, err *e)
{
    if (f->open && kv_file_moved(f->open))
        file_close(s, f);
    if (f->open)
        return true;
    f->opening++;
    file_make_room(s);
    bool ok = kv_file_open(f->path.n ? f->path.p : NULL, &f->open, e);
    s->open_count += f->open != NULL;
    return ok && (f->path.n || kv_file_preset(f->open, f->label, f->initial, f->initial_count, e));
}

/* Says in the log that the file fails, and that it works again: once each. */
static void file_note(kv_target *f, const err *failure)
{
    if (failure && !f->failing) {
        log_msg(LOG_ERROR, "key-value file %s: %s", f->path.n ? f->path.p : "(memory)",
                failure->text);
    } else if (!failure && f->failing) {
        log_msg(LOG_INFO, "key-value file %s works again", f->path.n ? f->path.p : "(memory)");
    }
    f->failing = failure != NULL;
}

/* In-memory stores stay: closing would empty them. */
static void on_idle(void *user)
{
    kv_server *s = user;
    ns now = clock_mono(), next = 0;
    for (kv_target *f = s->targets; f; f = f->next) {
        if (!f->open || !f->path.n)
            continue;
        if (now - f->used >= STORE_IDLE_NS)
            file_close(s, f);
        else if (!next || f->used + STORE_IDLE_NS - now < next)
            next = f->used + STORE_IDLE_NS - now;
    }
    if (next)
        loop_timer_start(s->l, &s->idle, next, on_idle, s);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* False: the file failed. */
static bool pending_apply(kv_target *f, pending *p, err *e)
{
    store_message m = pending_message(p);
    uint8_t *items = NULL;
    err mine;
    if (p->fd >= 0 && !(items = pending_items_load(p, &m, &mine))) {
        pending_refuse(p, mine.text);
        return true;
    }
    bool ok = kv_file_apply(f->open, p->of->label, m, &p->answer, e);
    free(items);
    return ok;
}

/* One transaction of the requests from `p` up to `end`, or as many as memory allows; *ret_next is
 * the first that was left. False: none of them happened. */
static bool group_run(kv_server *s, kv_target *f, pending *p, pending *end, pending **ret_next,
                      err *e)
{
    size_t held = 0, n = 0;
    if (!file_ready(s, f, e))
        return false;
    bool ok = kv_file_begin(f->open, e);
    for (; ok && p != end && n < STORE_GROUP_MAX && held < STORE_HELD_BYTES_MAX; p = p->next, n++) {
        ok = pending_apply(f, p, e);
        held += p->answer.n;
    }
    if (ok)
        ok = kv_file_commit(f->open, e);
    else
        kv_file_rollback(f->open);
    if (!ok)
        file_close(s, f); /* what is wrong with it may be over when it is opened again */
    *ret_next = p;
    return ok;
}

/* One by one, after their group failed: what the file refuses is refused, the rest is done. */
static void group_singly(kv_server *s, kv_target *f, pending *p, pending *end)
{
    for (; p != end; p = p->next) {
        pending *next;
        err e;
        if (group_run(s, f, p, p->next, &next, &e)) {
            file_note(f, NULL);
            continue;
        }
        pending_refuse(p, e.text);
        file_note(f, &e);
    }
}

static void file_run(kv_server *s, kv_target *f)
{
    while (f->waiting.first) {
        pending *begin = f->waiting.first, *end = NULL;
        err e;
        if (group_run(s, f, begin, NULL, &end, &e)) {
            file_note(f, NULL);
        } else if (!f->open && !begin->next) {
            end = NULL;
            pending_refuse(begin, e.text);
            file_note(f, &e);
        } else {
            end = NULL;
            group_singly(s, f, begin, end);
        }
        while (f->waiting.first != end)
            pending_answer(pending_list_pop(&f->waiting));
    }
    f->used = clock_mono();
}

void kv_server_run(kv_server *s)
{
    bool worked = false;
    while (s->dirty) {
        kv_target *f = s->dirty;
        s->dirty = f->next_dirty;
        f->running = true;
        file_run(s, f);
        f->running = false;
        target_release(s, f);
        worked = true;
    }
    if (worked && !loop_timer_active(&s->idle))
        loop_timer_start(s->l, &s->idle, STORE_IDLE_NS, on_idle, s);
}

void kv_server_take(pending *p)
{
    kv_target *f = p->of->kv;
    if (!f->waiting.first) {
        f->next_dirty = f->s->dirty;
        f->s->dirty = f;
    }
    pending_list_push(&f->waiting, p);
}

void kv_server_forget(kv_server *s, const store_connection *c)
{
    for (kv_target *f = s->dirty; f; f = f->next_dirty)
        for (pending *p = f->waiting.first; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
}

/* --- the server ------------------------------------------------------------------------------- */

static kv_target *target_new(kv_server *s, str path)
{
    kv_target *f = calloc(1, sizeof *f + path.n + 1);
    if (!f)
        return NULL;
    memcpy(f + 1, path.n ? path.p : "", path.n);
    *f = (kv_target){.s = s, .users = 1, .next = s->targets, .path = {(char *)(f + 1), path.n}};
    s->targets = f;
    return f;
}

kv_target *kv_server_file(kv_server *s, str path)
{
    kv_target *f = s->targets;
    while (f && !str_eq(f->path, path))
        f = f->next;
    if (!f)
        return target_new(s, path);
    f->users++;
    return f;
}

kv_target *kv_server_memory(kv_server *s, str label, const str *initial, size_t initial_count)
{
    kv_target *f = target_new(s, (str){0});
    if (f) {
        f->label = label;
        f->initial = initial;
        f->initial_count = initial_count;
    }
    return f;
}

void kv_server_let(kv_target *t)
{
    if (!t)
        return;
    t->users--;
    target_release(t->s, t);
}

int kv_server_lend(const kv_target *t, unsigned part, uint16_t *ret_opening)
{
    *ret_opening = t->opening;
    return t->open ? kv_file_lend(t->open, part) : -1;
}

unsigned kv_server_files_open(const kv_server *s) { return s->open_count; }

bool kv_server_new(loop *l, kv_server **ret, err *e)
{
    kv_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->l = l;
    *ret = s;
    return true;
}

void kv_server_free(kv_server *s)
{
    if (!s)
        return;
    while (s->targets) {
        kv_target *f = s->targets;
        s->targets = f->next;
        file_close(s, f);
        free(f);
    }
    loop_timer_stop(&s->idle);
    free(s);
}
