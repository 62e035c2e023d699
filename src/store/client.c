/* See store_client.h. A request that is sent takes a place in a table; its id is the place and the
 * generation of the place, so that the answer to a request that was given up finds nothing. The
 * place stays taken until that answer came: what the store process has to hold is bounded.
 *
 * Answers are copied out of the datagram; those in an anonymous file are mapped, and the file is
 * sealed by nobody having it but the store process, which has closed it. */
#include "store/client.h"

#include "base/limits.h"
#include "base/must.h"
#include "loop/channel.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum { FILLING, WAITING, WITH_STORE, DONE } call_state;

struct store_call {
    store_client *c;
    call_state state;
    uint32_t place;
    store_call *next; /* WAITING */
    buf message;      /* the request until it is sent; then a short answer */
    store_message answer;
    uint8_t *map; /* NULL, or a long answer */
    size_t map_bytes;
    bool lends; /* a descriptor of the answer is the caller's, not where its items are */
    int fd;
    ns sent_at;
    void (*on_done)(void *user);
    void *user;
};

typedef struct {
    store_call *call; /* NULL and busy: given up */
    uint32_t generation;
    bool busy;
} place;

struct store_client {
    loop *l;
    channel *ch; /* NULL: no store process now */
    place places[STORE_IN_FLIGHT_MAX];
    uint32_t free_list[STORE_IN_FLIGHT_MAX], free_count;
    store_call *first, **last;
    struct kv_view *views;
};

bool store_client_new(loop *l, store_client **ret, err *e)
{
    store_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e);
    c->l = l;
    c->last = &c->first;
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        c->free_list[c->free_count++] = STORE_IN_FLIGHT_MAX - 1 - i;
    *ret = c;
    return true;
}

loop *store_client_loop(const store_client *c) { return c->l; }

struct kv_view **store_client_views(store_client *c) { return &c->views; }

bool store_client_connected(const store_client *c) { return c->ch != NULL; }

static void place_release(store_client *c, uint32_t i)
{
    c->places[i].call = NULL;
    c->places[i].busy = false;
    c->places[i].generation++;
    c->free_list[c->free_count++] = i;
}

static void call_done(store_call *k)
{
    k->state = DONE;
    if (k->on_done)
        k->on_done(k->user);
    else
        store_call_free(k);
}

static void call_failed(store_call *k, const char *reason)
{
    buf_clear(&k->message);
    store_message_begin(&k->message, 0, STORE_FAILED, 0);
    store_message_item(&k->message, str_from(reason), NULL);
    err e;
    bool ok = !k->message.failed;
    if (ok) {
        store_message_end(&k->message);
        ok = store_message_read(buf_bytes(&k->message), false, &k->answer, &e);
    }
    if (!ok)
        k->answer = (store_message){.kind = STORE_FAILED};
    call_done(k);
}

static bool message_send(channel *ch, const buf *b, err *e)
{
    if (b->n <= STORE_INLINE_BYTES_MAX)
        return channel_send(ch, buf_bytes(b), -1, e);
    int fd;
    if (!store_items_write((bytes){b->p + STORE_HEAD_BYTES, b->n - STORE_HEAD_BYTES}, &fd, e))
        return false;
    bool ok = channel_send(ch, (bytes){b->p, STORE_HEAD_BYTES}, fd, e);
    close(fd);
    return ok;
}

/* Sends what waits, as far as there are places. */
static void client_pump(store_client *c)
{
    while (c->first && c->ch && c->free_count) {
        store_call *k = c->first;
        uint32_t i = c->free_list[c->free_count - 1];
        place *p = &c->places[i];
        err e;
        store_message_set_id(&k->message, (uint64_t)p->generation << 32 | i);
        /* A channel whose other side has gone says so by reading; the call waits for the next. */
        if (!message_send(c->ch, &k->message, &e))
            return;
        c->free_count--;
        p->busy = true;
        p->call = k;
        k->place = i;
        k->state = WITH_STORE;
        if (!(c->first = k->next))
            c->last = &c->first;
        if (k->message.n > STORE_INLINE_BYTES_MAX)
            buf_fini(&k->message);
    }
}

static void client_disconnect(store_client *c)
{
    channel *ch = c->ch;
    c->ch = NULL;
    channel_close(ch);
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++) {
        store_call *k = c->places[i].call;
        if (!c->places[i].busy)
            continue;
        place_release(c, i);
        if (k)
            call_failed(k, "the store process ended before it answered; a write may or may not "
                           "have happened");
    }
}

static void on_end(void *user) { client_disconnect(user); }

/* Takes fd. */
static bool answer_map(store_call *k, int fd)
{
    struct stat st;
    size_t n = (size_t)k->answer.items_bytes;
    void *p = MAP_FAILED;
    if (n && fstat(fd, &st) == 0 && (size_t)st.st_size == n)
        p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return false;
    k->map = p;
    k->map_bytes = n;
    k->answer.items = (bytes){p, n};
    return true;
}

static void on_message(void *user, bytes message, int fd)
{
    store_client *c = user;
    store_message m;
    err e;
    uint32_t i = UINT32_MAX;
    if (store_message_read(message, fd >= 0, &m, &e))
        i = (uint32_t)m.id;
    if (i >= STORE_IN_FLIGHT_MAX || !c->places[i].busy ||
        c->places[i].generation != (uint32_t)(m.id >> 32)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    store_call *k = c->places[i].call;
    place_release(c, i);
    if (k) {
        k->answer = m;
        bool ok = true;
        buf_clear(&k->message);
        if (fd >= 0 && k->lends) {
            k->fd = fd;
        } else if (fd >= 0) {
            ok = answer_map(k, fd);
        } else if ((ok = buf_put(&k->message, message.p, message.n))) {
            k->answer.items =
                (bytes){k->message.p + STORE_HEAD_BYTES, k->message.n - STORE_HEAD_BYTES};
        }
        if (ok)
            call_done(k);
        else
            call_failed(k, "the worker has no memory for the answer");
    } else if (fd >= 0) {
        close(fd);
    }
    client_pump(c);
}

void store_client_connect_take(store_client *c, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    if (c->ch)
        client_disconnect(c);
    if (!channel_open_take(c->l, fd, &callbacks, c, &c->ch, &e)) {
        c->ch = NULL;
        return;
    }
    client_pump(c);
}

void store_client_free(store_client *c)
{
    if (!c)
        return;
    channel_close(c->ch);
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        if (c->places[i].call)
            store_call_free(c->places[i].call); /* forgotten ones: the others were freed before */
    while (c->first)
        store_call_free(c->first);
    free(c);
}

/* --- calls ------------------------------------------------------------------------------------ */

store_call *store_call_new(store_client *c, store_kind kind, uint16_t store)
{
    store_call *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->c = c;
    k->lends = kind == KV_LEND;
    k->fd = -1;
    buf_init(&k->message, STORE_MESSAGE_BYTES_MAX);
    store_message_begin(&k->message, 0, kind, store);
    return k;
}

void store_call_item(store_call *k, str key, const bytes *value)
{
    store_message_item(&k->message, key, value);
}

bool store_call_send(store_call *k, void (*on_done)(void *user), void *user, err *e)
{
    must(k->state == FILLING);
    if (k->message.failed)
        return err_set(e, ERR_LIMIT, "the request exceeds the limit of %zu bytes",
                       STORE_MESSAGE_BYTES_MAX);
    store_message_end(&k->message);
    k->on_done = on_done;
    k->user = user;
    k->sent_at = loop_now(k->c->l);
    k->state = WAITING;
    *k->c->last = k;
    k->c->last = &k->next;
    client_pump(k->c);
    return true;
}

void store_call_send_and_forget_take(store_call *k)
{
    err e;
    if (!store_call_send(k, NULL, NULL, &e))
        store_call_free(k);
}

bool store_call_is_done(const store_call *k) { return k->state == DONE; }

ns store_call_sent_at(const store_call *k) { return k->sent_at; }

store_message *store_call_answer(store_call *k)
{
    must(k->state == DONE);
    return &k->answer;
}

int store_call_fd_take(store_call *k)
{
    int fd = k->fd;
    k->fd = -1;
    return fd;
}

void store_call_free(store_call *k)
{
    if (!k)
        return;
    store_client *c = k->c;
    if (k->state == WITH_STORE)
        c->places[k->place].call = NULL;
    if (k->state == WAITING) {
        store_call **at = &c->first;
        while (*at != k)
            at = &(*at)->next;
        if (!(*at = k->next))
            c->last = at;
    }
    buf_fini(&k->message);
    if (k->map)
        munmap(k->map, k->map_bytes);
    if (k->fd >= 0)
        close(k->fd);
    free(k);
}
