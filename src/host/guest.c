/* The life of a guest: made for one instance, dropped with it. Guests are recycled through a short
 * list, with their first pool block, so that a request that needs little allocates nothing.
 *
 * Waiting: a host function that cannot go on registers what would wake it (a deadline through
 * guest_wake_by; descriptors and exchanges call guest_woken by themselves), then returns HOST_WAIT.
 * Wakes may be spurious: the function looks again and waits again. */
#include "host/guest.h"

#include "base/limits.h"
#include "base/must.h"
#include "host/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { SPARE_MAX = 64, SCRATCH_KEPT_BYTES_MAX = 16 << 10 };

/* Spare guests of this process (one thread). */
static guest *spare;
static unsigned spare_count;

static guest *guest_take(err *e)
{
    guest *g = spare;
    if (g) {
        spare = g->next;
        spare_count--;
        g->next = NULL;
        return g;
    }
    g = alloc_may() ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        err_no_memory(e);
        return NULL;
    }
    pool_init(&g->pool, HOST_GUEST_BYTES_MAX);
    arena_init(&g->scratch, HOST_GUEST_BYTES_MAX);
    return g;
}

bool guest_new(const host_component *c, struct loop *l, const guest_callbacks *cb, void *user,
               guest **ret, err *e)
{
    guest *g = guest_take(e);
    if (!g)
        return false;
    g->component = c;
    g->l = l;
    g->callbacks = cb;
    g->user = user;
    g->wake_at = UINT64_MAX;
    handles_init(&g->handles, c->handles_max);
    g->entry = (guest_unit){.g = g, .handles = &g->handles, .component = c};
    *ret = g;
    return true;
}

void guest_handles_drop(guest *g, const handle_table *t)
{
    for (uint32_t i = 1; i < t->n; i++) {
        handle *h = &t->at[i];
        if (h->kind == HANDLE_HOST && h->o->resource->drop)
            h->o->resource->drop(g, h->o);
    }
}

static void output_flush(guest *g, int stream)
{
    queue *q = &g->output[stream - 1].partial;
    if (queue_bytes(q) && g->callbacks && g->callbacks->on_output)
        g->callbacks->on_output(g->user, stream,
                                (str){(const char *)queue_front(q), queue_bytes(q)});
    queue_clear(&g->pool, q);
}

void guest_free(guest *g)
{
    if (!g)
        return;
    g->waiting = false;
    loop_timer_stop(&g->timer);
    output_flush(g, 1);
    output_flush(g, 2);
    g->pool.closing = true;
    guest_handles_drop(g, &g->handles);
    guest_group_free(g);
    http_client_free(g);
    net_lookups_free(g);
    chain_free_all(g);
    guest_variable_free(g);
    guest_reach_free(g);
    guest_sql_free(g);
    guest_ask_free(g);
    http_side_free(g);
    pool memory = g->pool;
    arena scratch = g->scratch;
    pool_reset(&memory);
    arena_reset(&scratch);
    if (scratch.used_bytes > SCRATCH_KEPT_BYTES_MAX)
        arena_fini(&scratch);
    if (spare_count >= SPARE_MAX) {
        pool_fini(&memory);
        arena_fini(&scratch);
        free(g);
        return;
    }
    *g = (guest){.pool = memory, .scratch = scratch, .next = spare};
    spare = g;
    spare_count++;
}

bool guest_is_new(const guest *g)
{
    const handle_table *t = &g->handles;
    return !t->n && !t->live && !t->free_first && !g->files && guest_is_new_but_handles(g);
}

bool guest_is_new_but_handles(const guest *g)
{
    return !g->waiting && !g->in_realloc && !g->progress && !g->moved && !g->store_call &&
           !g->reach && !g->kv_v1 && !g->kv_open && !g->sql_v1 && !g->sql_open && !g->lookups &&
           !g->lookups_count && g->wake_at == UINT64_MAX && !loop_timer_active(&g->timer) &&
           !g->http && !g->transfers && !queue_bytes(&g->output[0].partial) &&
           !queue_bytes(&g->output[1].partial) && !g->entry.context[0] && !g->entry.context[1] &&
           !g->entry.backpressure && !g->entry.call;
}

void guest_attach(guest *g, engine_instance *in)
{
    must(!in || engine_user(in) == g);
    g->in = g->entry.in = in;
}

object *object_new(guest *g, const host_resource *r, size_t size, object *parent)
{
    object *o = pool_take(&g->pool, size);
    if (!o)
        return NULL;
    memset(o, 0, size);
    *o = (object){.resource = r, .parent = parent, .bytes = (uint32_t)size};
    if (parent)
        parent->children++;
    return o;
}

void object_free(guest *g, object *o)
{
    if (!o)
        return;
    must(o->children == 0);
    if (o->resource->drop)
        o->resource->drop(g, o);
    if (o->parent)
        o->parent->children--;
    pool_give(&g->pool, o, o->bytes);
}

/* --- waiting ------------------------------------------------------------------------------- */

static void guest_resume(guest *g)
{
    if (!g->waiting)
        return;
    g->waiting = false;
    loop_timer_stop(&g->timer);
    if (g->callbacks && g->callbacks->on_wake)
        g->callbacks->on_wake(g->user);
}

static void on_deadline(void *user) { guest_resume(user); }

bool guest_wait(guest *g)
{
    ns at = g->wake_at;
    g->wake_at = UINT64_MAX;
    if (at != UINT64_MAX) {
        ns now = clock_mono();
        if (!loop_timer_start(g->l, &g->timer, at > now ? at - now : 0, on_deadline, g))
            return false;
    }
    g->waiting = true;
    http_client_guest_waits(g);
    return true;
}

void guest_woken(guest *g)
{
    g->moved++;
    guest_resume(g);
}

uint64_t guest_moved(const guest *g) { return g->moved; }

/* --- standard output ----------------------------------------------------------------------- */

static void output_line_give(guest *g, int stream, const uint8_t *p, size_t n)
{
    queue *q = &g->output[stream - 1].partial;
    bool has_callback = g->callbacks && g->callbacks->on_output;
    if (queue_bytes(q) == 0) {
        if (has_callback)
            g->callbacks->on_output(g->user, stream, (str){(const char *)p, n});
        return;
    }
    if (queue_put(&g->pool, q, p, n) && has_callback)
        g->callbacks->on_output(g->user, stream,
                                (str){(const char *)queue_front(q), queue_bytes(q)});
    queue_clear(&g->pool, q);
}

void guest_output(guest *g, int stream, const uint8_t *p, size_t n)
{
    queue *q = &g->output[stream - 1].partial;
    size_t line_max = g->component->output_line_bytes_max;
    if (line_max == 0)
        line_max = HOST_LINE_BYTES_MAX;
    while (n) {
        const uint8_t *end = memchr(p, '\n', n);
        size_t line = end ? (size_t)(end - p) : n, taken = end ? line + 1 : n;
        size_t left = line_max - queue_bytes(q); /* the queue never holds more than line_max */
        if (line > left) {
            /* Too long: given in pieces. */
            output_line_give(g, stream, p, left);
            taken = left;
        } else if (end) {
            output_line_give(g, stream, p, line);
        } else if (!queue_put(&g->pool, q, p, line)) {
            output_line_give(g, stream, p, line);
        }
        p += taken;
        n -= taken;
    }
}

/* --- randomness ---------------------------------------------------------------------------- */

/* The buffer is one page that the kernel zeroes in a forked child, so that two processes never
 * give the same bytes; what was given out is wiped. */
typedef struct {
    size_t left;
    uint8_t at[4096 - sizeof(size_t)];
} random_page;

static void random_system(void *p, size_t n)
{
    uint8_t *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        must(got >= 0 || errno == EINTR);
        if (got < 0)
            continue;
        at += got;
        n -= (size_t)got;
    }
}

void random_fill(void *p, size_t n)
{
    static random_page *page;
    if (!page) {
        void *m =
            mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m != MAP_FAILED && madvise(m, sizeof *page, MADV_WIPEONFORK) == 0)
            page = m;
        else if (m != MAP_FAILED)
            munmap(m, sizeof *page);
    }
    if (!page || n > sizeof page->at) {
        random_system(p, n);
        return;
    }
    if (page->left < n) {
        random_system(page->at, sizeof page->at);
        page->left = sizeof page->at;
    }
    page->left -= n;
    memcpy(p, page->at + page->left, n);
    explicit_bzero(page->at + page->left, n);
}
