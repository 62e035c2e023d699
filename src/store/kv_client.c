/* See kv_client.h. A request that is sent takes a place in a table; its id is the place and the
 * generation of the place, so that the answer to a request that was given up finds nothing. The
 * place stays taken until that answer came: what the store process has to hold is bounded.
 *
 * Answers are copied out of the datagram; those in an anonymous file are mapped, and the file is
 * sealed by nobody having it but the store process, which has closed it. */
#include "store/kv_client.h"

#include "base/limits.h"
#include "base/must.h"
#include "loop/channel.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum { FILLING, WAITING, WITH_STORE, DONE } call_state;

struct kv_call {
    kv_client *c;
    call_state state;
    uint32_t place;
    kv_call *next; /* WAITING */
    buf message;   /* the request until it is sent; then a short answer */
    kv_message answer;
    uint8_t *map; /* NULL, or a long answer */
    size_t map_bytes;
    ns sent_at;
    void (*on_done)(void *user);
    void *user;
};

typedef struct {
    kv_call *call; /* NULL and busy: given up */
    uint32_t generation;
    bool busy;
} place;

struct kv_client {
    loop *l;
    channel *ch; /* NULL: no store process now */
    place places[STORE_IN_FLIGHT_MAX];
    uint32_t free_list[STORE_IN_FLIGHT_MAX], free_count;
    kv_call *first, **last;
};

bool kv_client_new(loop *l, kv_client **ret, err *e)
{
    kv_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e);
    c->l = l;
    c->last = &c->first;
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        c->free_list[c->free_count++] = STORE_IN_FLIGHT_MAX - 1 - i;
    *ret = c;
    return true;
}

bool kv_client_connected(const kv_client *c) { return c->ch != NULL; }

static void place_release(kv_client *c, uint32_t i)
{
    c->places[i].call = NULL;
    c->places[i].busy = false;
    c->places[i].generation++;
    c->free_list[c->free_count++] = i;
}

static void call_done(kv_call *k)
{
    k->state = DONE;
    k->on_done(k->user);
}

static void call_failed(kv_call *k, const char *reason)
{
    buf_clear(&k->message);
    kv_message_begin(&k->message, 0, KV_FAILED, 0);
    kv_message_item(&k->message, str_from(reason), NULL);
    err e;
    bool ok = !k->message.failed;
    if (ok) {
        kv_message_end(&k->message);
        ok = kv_message_read(buf_bytes(&k->message), false, &k->answer, &e);
    }
    if (!ok)
        k->answer = (kv_message){.kind = KV_FAILED};
    call_done(k);
}

static bool message_send(channel *ch, const buf *b, err *e)
{
    if (b->n <= STORE_INLINE_BYTES_MAX)
        return channel_send(ch, buf_bytes(b), -1, e);
    int fd;
    if (!kv_items_write((bytes){b->p + KV_HEAD_BYTES, b->n - KV_HEAD_BYTES}, &fd, e))
        return false;
    bool ok = channel_send(ch, (bytes){b->p, KV_HEAD_BYTES}, fd, e);
    close(fd);
    return ok;
}

/* Sends what waits, as far as there are places. */
static void client_pump(kv_client *c)
{
    while (c->first && c->ch && c->free_count) {
        kv_call *k = c->first;
        uint32_t i = c->free_list[c->free_count - 1];
        place *p = &c->places[i];
        err e;
        kv_message_set_id(&k->message, (uint64_t)p->generation << 32 | i);
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

static void client_disconnect(kv_client *c)
{
    channel *ch = c->ch;
    c->ch = NULL;
    channel_close(ch);
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++) {
        kv_call *k = c->places[i].call;
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
static bool answer_map(kv_call *k, int fd)
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
    kv_client *c = user;
    kv_message m;
    err e;
    uint32_t i = UINT32_MAX;
    if (kv_message_read(message, fd >= 0, &m, &e))
        i = (uint32_t)m.id;
    if (i >= STORE_IN_FLIGHT_MAX || !c->places[i].busy ||
        c->places[i].generation != (uint32_t)(m.id >> 32)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    kv_call *k = c->places[i].call;
    place_release(c, i);
    if (k) {
        k->answer = m;
        bool ok = true;
        buf_clear(&k->message);
        if (fd >= 0) {
            ok = answer_map(k, fd);
        } else if ((ok = buf_put(&k->message, message.p, message.n))) {
            k->answer.items = (bytes){k->message.p + KV_HEAD_BYTES, k->message.n - KV_HEAD_BYTES};
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

void kv_client_connect_take(kv_client *c, int fd)
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

void kv_client_free(kv_client *c)
{
    if (!c)
        return;
    channel_close(c->ch);
    free(c);
}

/* --- calls ------------------------------------------------------------------------------------ */

kv_call *kv_call_new(kv_client *c, kv_kind kind, uint16_t store)
{
    kv_call *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->c = c;
    buf_init(&k->message, STORE_MESSAGE_BYTES_MAX);
    kv_message_begin(&k->message, 0, kind, store);
    return k;
}

void kv_call_item(kv_call *k, str key, const bytes *value)
{
    kv_message_item(&k->message, key, value);
}

bool kv_call_send(kv_call *k, void (*on_done)(void *user), void *user, err *e)
{
    must(k->state == FILLING);
    if (k->message.failed)
        return err_set(e, ERR_LIMIT, "the request exceeds the limit of %zu bytes",
                       STORE_MESSAGE_BYTES_MAX);
    kv_message_end(&k->message);
    k->on_done = on_done;
    k->user = user;
    k->sent_at = loop_now(k->c->l);
    k->state = WAITING;
    *k->c->last = k;
    k->c->last = &k->next;
    client_pump(k->c);
    return true;
}

bool kv_call_is_done(const kv_call *k) { return k->state == DONE; }

ns kv_call_sent_at(const kv_call *k) { return k->sent_at; }

kv_message *kv_call_answer(kv_call *k)
{
    must(k->state == DONE);
    return &k->answer;
}

void kv_call_free(kv_call *k)
{
    if (!k)
        return;
    kv_client *c = k->c;
    if (k->state == WITH_STORE)
        c->places[k->place].call = NULL;
    if (k->state == WAITING) {
        kv_call **at = &c->first;
        while (*at != k)
            at = &(*at)->next;
        if (!(*at = k->next))
            c->last = at;
    }
    buf_fini(&k->message);
    if (k->map)
        munmap(k->map, k->map_bytes);
    free(k);
}
