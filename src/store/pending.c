/* A request on its way through the store process; see server_impl.h. It keeps the message as it
 * came, which is read again where it is needed; it holds the store that it is for, and no more than
 * a pointer to the connection it came from, which whoever carries it out is told to forget. */
#include "base/limits.h"
#include "base/must.h"
#include "store/server_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pending *pending_new(store_connection *from, bytes message, int fd)
{
    pending *p = malloc(sizeof *p + message.n);
    if (!p)
        return NULL;
    *p = (pending){.from = from, .fd = fd, .n = message.n};
    memcpy(p->message, message.p, message.n);
    buf_init(&p->answer, STORE_MESSAGE_BYTES_MAX + STORE_HEAD_BYTES);
    return p;
}

store_message pending_message(const pending *p)
{
    store_message m;
    err e;
    bool ok = store_message_read((bytes){p->message, p->n}, p->fd >= 0, &m, &e);
    must(ok); /* it was when it arrived */
    if (p->items)
        m.items = (bytes){p->items, (size_t)m.items_bytes};
    return m;
}

uint8_t *pending_items_load(const pending *p, store_message *m, err *e)
{
    size_t n = (size_t)m->items_bytes, got = 0;
    uint8_t *at = malloc(n ? n : 1);
    if (!at) {
        err_no_memory(e);
        return NULL;
    }
    while (got < n) {
        ssize_t r = pread(p->fd, at + got, n - got, (off_t)got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    if (got < n) {
        err_set(e, ERR_INVALID, "a large request arrived incomplete");
        free(at);
        return NULL;
    }
    m->items = (bytes){at, n};
    return at;
}

void pending_refuse(pending *p, const char *reason)
{
    store_message m = pending_message(p);
    buf_clear(&p->answer);
    store_message_begin(&p->answer, m.id, STORE_FAILED, m.store);
    store_message_item(&p->answer, str_from(reason), NULL);
    if (!p->answer.failed)
        store_message_end(&p->answer);
}

static void pending_free(pending *p)
{
    store_unuse(p->of);
    buf_fini(&p->answer);
    if (p->fd >= 0)
        close(p->fd);
    free(p->items);
    free(p);
}

/* A large answer for which there is no room becomes a refusal. One that cannot be sent at all is
 * for a worker that has gone: its channel says so too. */
void pending_answer(pending *p)
{
    err e;
    if (p->from && !store_connection_answer(p->from, &p->answer, &e)) {
        pending_refuse(p, e.text);
        store_connection_answer(p->from, &p->answer, NULL);
    }
    pending_free(p);
}

void pending_fail(pending *p, const char *reason)
{
    pending_refuse(p, reason);
    pending_answer(p);
}

/* --- lists ------------------------------------------------------------------------------------ */

void pending_list_push(pending_list *l, pending *p)
{
    if (!l->last)
        l->last = &l->first;
    p->next = NULL;
    *l->last = p;
    l->last = &p->next;
}

pending *pending_list_pop(pending_list *l)
{
    pending *p = l->first;
    if (p && !(l->first = p->next))
        l->last = &l->first;
    return p;
}

pending *pending_list_take(pending_list *l)
{
    pending *p = l->first;
    l->first = NULL;
    l->last = &l->first;
    return p;
}

void pending_list_remove(pending_list *l, const pending *p)
{
    pending *all = pending_list_take(l), *next;
    for (; all; all = next) {
        next = all->next;
        if (all != p)
            pending_list_push(l, all);
    }
}
