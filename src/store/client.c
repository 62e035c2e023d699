/* See client.h. A request that is sent takes a place in a table; its id is the place and the
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
    buf kept;         /* the request that was sent, if `keeps` */
    store_message answer;
    uint8_t *map; /* NULL, or a long answer */
    size_t map_bytes;
    bool unanswered, names, keeps;
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

/* What a number means. */
typedef struct {
    store_naming naming;
    size_t label_n;
    char label[];
} name;

struct store_client {
    loop *l;
    channel *ch; /* NULL: no store process now */
    place places[STORE_IN_FLIGHT_MAX];
    uint32_t free_list[STORE_IN_FLIGHT_MAX], free_count;
    store_call *first, **last;
    buf bundle; /* short messages of this turn */
    loop_hook *hook;
    struct kv_view *views;
    name **names; /* by number; NULL: means nothing */
    size_t names_size, names_count;
    uint16_t names_next; /* numbers are used again as late as possible */
};

bool store_client_new(loop *l, store_client **ret, err *e)
{
    store_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e);
    c->l = l;
    c->last = &c->first;
    buf_init(&c->bundle, STORE_BUNDLE_BYTES_MAX);
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
    k->on_done(k->user);
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

/* False: it is still there. A channel whose other side has gone says so by reading. */
static bool bundle_send(store_client *c)
{
    if (c->bundle.n && (!c->ch || !channel_send(c->ch, buf_bytes(&c->bundle), -1, NULL)))
        return false;
    buf_clear(&c->bundle);
    return true;
}

/* False: try again later. */
static bool message_send(store_client *c, const buf *b)
{
    int fd;
    bool is_short = b->n <= STORE_INLINE_BYTES_MAX;
    if ((!is_short || c->bundle.n + b->n > STORE_BUNDLE_BYTES_MAX) && !bundle_send(c))
        return false;
    if (is_short)
        return buf_put(&c->bundle, b->p, b->n);
    if (!store_items_write((bytes){b->p + STORE_HEAD_BYTES, b->n - STORE_HEAD_BYTES}, &fd, NULL))
        return false;
    bool ok = channel_send(c->ch, (bytes){b->p, STORE_HEAD_BYTES}, fd, NULL);
    close(fd);
    return ok;
}

/* Takes the first of those that wait. */
static store_call *waiting_pop(store_client *c)
{
    store_call *k = c->first;
    if (!(c->first = k->next))
        c->last = &c->first;
    return k;
}

/* What has an answer needs a place. */
static void place_take(store_client *c, store_call *k, uint32_t i)
{
    c->free_count--;
    c->places[i].busy = true;
    c->places[i].call = k;
    k->place = i;
    k->state = WITH_STORE;
    if (k->keeps) {
        k->kept = k->message;
        buf_init(&k->message, STORE_MESSAGE_BYTES_MAX);
    } else if (k->message.n > STORE_INLINE_BYTES_MAX) {
        buf_fini(&k->message);
    }
}

/* Sends what waits, as far as there are places. */
static void client_pump(store_client *c)
{
    while (c->first && c->ch) {
        store_call *k = c->first;
        uint32_t i = c->free_count ? c->free_list[c->free_count - 1] : 0;
        if (!k->unanswered && !c->free_count)
            return;
        store_message_set_id(
            &k->message, k->unanswered ? UINT64_MAX : (uint64_t)c->places[i].generation << 32 | i);
        if (!message_send(c, &k->message))
            return;
        waiting_pop(c);
        if (!k->unanswered) {
            place_take(c, k, i);
        } else {
            k->state = DONE;
            store_call_free(k);
        }
    }
}

/* Last of the hooks: it is added with the first request. Guests that had a time slice before may
 * have asked something. */
static bool on_turn_end(void *user)
{
    client_pump(user);
    bundle_send(user);
    return false;
}

static void client_disconnect(store_client *c)
{
    channel *ch = c->ch;
    c->ch = NULL;
    channel_close(ch);
    buf_clear(&c->bundle);
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

/* Takes fd. */
static void answer_take(store_client *c, const store_message *m, bytes message, int fd)
{
    uint32_t i = (uint32_t)m->id;
    if (i >= STORE_IN_FLIGHT_MAX || !c->places[i].busy ||
        c->places[i].generation != (uint32_t)(m->id >> 32)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    store_call *k = c->places[i].call;
    place_release(c, i);
    if (!k) {
        if (fd >= 0)
            close(fd);
        return;
    }
    k->answer = *m;
    bool ok = true;
    buf_clear(&k->message);
    if (fd >= 0 && k->lends)
        k->fd = fd;
    else if (fd >= 0)
        ok = answer_map(k, fd);
    else if ((ok = buf_put(&k->message, message.p, message.n)))
        k->answer.items = (bytes){k->message.p + STORE_HEAD_BYTES, k->message.n - STORE_HEAD_BYTES};
    if (ok)
        call_done(k);
    else
        call_failed(k, "the worker has no memory for the answer");
}

/* The store process is our own: what it sends damaged is left, not answered. */
static void on_message(void *user, bytes message, int fd)
{
    store_client *c = user;
    store_message m;
    bytes one = message;
    if (fd >= 0 && store_message_read(message, true, &m, NULL))
        answer_take(c, &m, message, fd);
    else if (fd >= 0)
        close(fd);
    while (fd < 0 && store_message_take(&message, &one))
        if (store_message_read(one, false, &m, NULL))
            answer_take(c, &m, one, -1);
    client_pump(c);
}

/* --- names: told in the order of the requests ------------------------------------------------- */

static bool name_send(store_client *c, uint16_t number, const name *n)
{
    store_naming naming = n ? n->naming : (store_naming){0};
    bytes value = {(const uint8_t *)&naming, sizeof naming};
    err e;
    store_call *k = store_call_new(c, STORE_NAME, number);
    if (!k)
        return false;
    store_call_item(k, n ? (str){n->label, n->label_n} : S(""), &value);
    if (store_call_send(k, NULL, NULL, &e))
        return true;
    store_call_free(k);
    return false;
}

static bool names_grow(store_client *c)
{
    size_t size = c->names_size ? 2 * c->names_size : 64;
    if (c->names_count < c->names_size / 2 || c->names_size > UINT16_MAX)
        return true;
    name **grown = realloc(c->names, size * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + c->names_size, 0, (size - c->names_size) * sizeof *grown);
    c->names = grown;
    c->names_size = size;
    return true;
}

bool store_client_name(store_client *c, uint64_t app, str label, bool is_database, uint16_t *ret,
                       err *e)
{
    if (!names_grow(c))
        return err_no_memory(e);
    if (c->names_count == c->names_size)
        return err_set(e, ERR_LIMIT, "this worker uses %zu stores and databases", c->names_count);
    size_t at = c->names_next;
    while (c->names[at % c->names_size])
        at++;
    at %= c->names_size;
    name *n = malloc(sizeof *n + label.n);
    if (!n)
        return err_no_memory(e);
    *n = (name){.naming = {app, is_database}, .label_n = label.n};
    memcpy(n->label, label.p, label.n);
    if (!name_send(c, (uint16_t)at, n)) {
        free(n);
        return err_no_memory(e);
    }
    c->names[at] = n;
    c->names_count++;
    c->names_next = (uint16_t)(at + 1);
    *ret = (uint16_t)at;
    return true;
}

void store_client_unname(store_client *c, uint16_t number)
{
    free(c->names[number]);
    c->names[number] = NULL;
    c->names_count--;
    name_send(c, number, NULL); /* if not: the next one of this number says so */
}

/* A new store process knows none: those that wait to be told are told with all others. */
static void names_tell_all(store_client *c)
{
    store_call *waiting = c->first, *next;
    c->first = NULL;
    c->last = &c->first;
    for (size_t i = 0; i < c->names_size; i++)
        if (c->names[i])
            name_send(c, (uint16_t)i, c->names[i]);
    for (; waiting; waiting = next) {
        next = waiting->next;
        waiting->next = NULL;
        if (waiting->names) {
            waiting->state = DONE;
            store_call_free(waiting);
        } else {
            *c->last = waiting;
            c->last = &waiting->next;
        }
    }
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
    names_tell_all(c);
    client_pump(c);
}

void store_client_free(store_client *c)
{
    if (!c)
        return;
    bundle_send(c);
    channel_close(c->ch);
    if (c->hook)
        loop_hook_remove(c->hook);
    buf_fini(&c->bundle);
    for (uint32_t i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        if (c->places[i].call)
            store_call_free(c->places[i].call);
    while (c->first)
        store_call_free(c->first);
    for (size_t i = 0; i < c->names_size; i++)
        free(c->names[i]);
    free(c->names);
    free(c);
}

/* --- calls ------------------------------------------------------------------------------------ */

store_call *store_call_new(store_client *c, store_kind kind, uint16_t store)
{
    store_call *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->c = c;
    k->names = kind == STORE_NAME;
    k->unanswered = kind == SQL_CLOSE || k->names;
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

buf *store_call_message(store_call *k)
{
    must(k->state == FILLING);
    return &k->message;
}

static void call_wait(store_call *k)
{
    k->sent_at = loop_now(k->c->l);
    k->state = WAITING;
    k->next = NULL;
    *k->c->last = k;
    k->c->last = &k->next;
    client_pump(k->c);
}

/* The answer, or what was not sent of the request. */
static void answer_drop(store_call *k)
{
    buf_fini(&k->message);
    if (k->map)
        munmap(k->map, k->map_bytes);
    if (k->fd >= 0)
        close(k->fd);
    k->map = NULL;
    k->fd = -1;
}

bool store_call_send(store_call *k, void (*on_done)(void *user), void *user, err *e)
{
    must(k->state == FILLING);
    if (k->message.failed)
        return err_set(e, ERR_LIMIT, "the request exceeds the limit of %zu bytes",
                       STORE_MESSAGE_BYTES_MAX);
    if (!k->c->hook && !loop_hook_add(k->c->l, on_turn_end, k->c, &k->c->hook, e))
        return false;
    store_message_end(&k->message);
    k->on_done = on_done;
    k->user = user;
    call_wait(k);
    return true;
}

void store_call_keep(store_call *k)
{
    must(k->state == FILLING && !k->unanswered);
    k->keeps = true;
}

void store_call_send_again(store_call *k)
{
    must(k->state == DONE && k->keeps);
    answer_drop(k);
    k->message = k->kept;
    k->kept = (buf){0};
    k->keeps = false;
    call_wait(k);
}

void store_call_send_and_forget_take(store_call *k)
{
    err e;
    must(k->unanswered);
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
    answer_drop(k);
    buf_fini(&k->kept);
    free(k);
}
