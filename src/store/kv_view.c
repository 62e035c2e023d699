/* See kv_view.h. The three descriptors come in three answers; those of different openings of the
 * file are not mixed (the answer's `store` numbers the opening). */
#include "store/kv_view.h"

#include "base/limits.h"

#include <stdlib.h>
#include <unistd.h>

struct kv_view {
    kv_view *next; /* of the client's */
    store_client *c;
    str path;
    uint16_t store;
    unsigned refs;
    kv_reader *reader; /* NULL: not opened */
    ns lease;          /* until then it may be read */
    loop_timer timer;
    loop_hook *hook; /* while there is a reader */
    store_call *lends[KV_PARTS];
    int fds[KV_PARTS];
    unsigned waits; /* lends without an answer */
    uint16_t opening;
    bool lend_failed;
};

kv_view *kv_view_take(store_client *c, uint16_t store, str path)
{
    kv_view **all = store_client_views(c);
    for (kv_view *v = *all; v; v = v->next)
        if (str_eq(v->path, path)) {
            v->refs++;
            return v;
        }
    kv_view *v = calloc(1, sizeof *v + path.n + 1);
    if (!v)
        return NULL;
    memcpy(v + 1, path.p, path.n);
    v->path = (str){(char *)(v + 1), path.n};
    v->c = c;
    v->store = store;
    v->refs = 1;
    for (int i = 0; i < KV_PARTS; i++)
        v->fds[i] = -1;
    v->next = *all;
    *all = v;
    return v;
}

static void lends_drop(kv_view *v)
{
    for (int i = 0; i < KV_PARTS; i++) {
        store_call_free(v->lends[i]);
        v->lends[i] = NULL;
        if (v->fds[i] >= 0)
            close(v->fds[i]);
        v->fds[i] = -1;
    }
    v->waits = 0;
}

static bool on_turn_end(void *user)
{
    kv_reader_rest(((kv_view *)user)->reader);
    return false;
}

static void reader_close(kv_view *v)
{
    if (v->reader)
        loop_hook_remove(v->hook);
    kv_reader_close(v->reader);
    v->reader = NULL;
}

void kv_view_give(kv_view *v)
{
    if (!v || --v->refs)
        return;
    kv_view **at = store_client_views(v->c);
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    lends_drop(v);
    reader_close(v);
    loop_timer_stop(&v->timer);
    free(v);
}

/* Unused since its lease was over: closed. */
static void on_unused(void *user)
{
    kv_view *v = user;
    loop *l = store_client_loop(v->c);
    ns now = clock_mono(), due = v->lease + STORE_LEASE_KEPT_NS;
    if (now >= due || !loop_timer_start(l, &v->timer, due - now, on_unused, v))
        reader_close(v);
}

static void on_lent(void *user)
{
    kv_view *v = user;
    v->waits--;
    for (uint8_t i = 0; i < KV_PARTS; i++) {
        store_call *k = v->lends[i];
        if (!k || !store_call_is_done(k))
            continue;
        const store_message *m = store_call_answer(k);
        v->fds[i] = store_call_fd_take(k);
        v->lend_failed = v->lend_failed || v->fds[i] < 0 || (i && m->store != v->opening);
        if (!i)
            v->opening = m->store;
        store_call_free(k);
        v->lends[i] = NULL;
    }
    if (v->waits)
        return;
    if (!v->lend_failed) {
        v->reader = kv_reader_open_take(v->fds);
        for (int i = 0; i < KV_PARTS; i++)
            v->fds[i] = -1;
    }
    lends_drop(v);
    err e;
    if (v->reader && !loop_hook_add(store_client_loop(v->c), on_turn_end, v, &v->hook, &e)) {
        kv_reader_close(v->reader);
        v->reader = NULL;
    }
    if (v->reader)
        on_unused(v);
}

static void lend_start(kv_view *v)
{
    err e;
    v->lend_failed = false;
    for (uint8_t i = 0; i < KV_PARTS; i++) {
        bytes part = {&i, 1};
        store_call *k = store_call_new(v->c, KV_LEND, v->store);
        if (!k)
            break;
        store_call_item(k, (str){0}, &part);
        if (!store_call_send(k, on_lent, v, &e)) {
            store_call_free(k);
            break;
        }
        v->lends[i] = k;
        v->waits++;
    }
    if (v->waits < KV_PARTS)
        lends_drop(v);
}

kv_read kv_view_get(kv_view *v, str label, str key, bytes *ret)
{
    if (!v || !v->reader || loop_now(store_client_loop(v->c)) >= v->lease)
        return KV_READ_ASK;
    kv_read r = kv_reader_get(v->reader, label, key, ret);
    if (r == KV_READ_ASK)
        kv_view_done(v);
    return r;
}

void kv_view_done(kv_view *v)
{
    kv_reader_done(v->reader);
    if (kv_reader_failed(v->reader))
        reader_close(v);
}

void kv_view_answered(kv_view *v)
{
    if (!v)
        return;
    ns now = loop_now(store_client_loop(v->c));
    bool again = now < v->lease;
    v->lease = now + STORE_LEASE_NS;
    if (again && !v->reader && !v->waits)
        lend_start(v);
}
