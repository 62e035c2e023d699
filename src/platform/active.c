/* See active.h. The list is in the order of use, so the least recently used app is its end, and
 * looking for one to evict costs nothing where the end has no running call. One with a call there
 * is moved to the front: it is in use. */
#include "platform/active.h"

#include "base/limits.h"
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { EVICTED_A_TURN = 8, LOOKED_AT_A_TURN = 32 };

struct active {
    loop *l;
    serving *all;
    active_limits limits;
    table by_number;
    served *newest, *oldest;
    loop_hook *hook;
    loop_timer idle;
    void (*on_drop)(void *user, served *s);
    void *user;
};

/* --- budgets ---------------------------------------------------------------------------------- */

static uint64_t mappings_max(void)
{
    unsigned long long n = 65530; /* Linux's default */
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f && fscanf(f, "%llu", &n) != 1)
        n = 65530;
    if (f)
        fclose(f);
    return n;
}

static void limits_complete(active_limits *l)
{
    struct rlimit r;
    uint64_t possible = mappings_max() / ACTIVE_MAPPINGS_PER_MODULE;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur / 4 * 3 < possible)
        possible = r.rlim_cur / 4 * 3; /* the rest is for connections, logs and files */
    if (!l->apps_max)
        l->apps_max = ACTIVE_APPS_MAX;
    if (!l->modules_max)
        l->modules_max = ACTIVE_MODULES_MAX;
    if (l->modules_max > possible)
        l->modules_max = (uint32_t)possible;
    if (!l->bytes_max)
        l->bytes_max = ACTIVE_BYTES_MAX;
    if (!l->idle)
        l->idle = ACTIVE_IDLE_NS;
}

static bool is_over(const active *a)
{
    return a->by_number.count > a->limits.apps_max || a->all->modules > a->limits.modules_max ||
           a->all->bytes > a->limits.bytes_max;
}

/* --- the list --------------------------------------------------------------------------------- */

static void list_add(active *a, served *s)
{
    s->older = a->newest;
    s->newer = NULL;
    *(a->newest ? &a->newest->newer : &a->oldest) = s;
    a->newest = s;
    s->used = loop_now(a->l);
}

static void list_remove(active *a, served *s)
{
    *(s->newer ? &s->newer->older : &a->newest) = s->older;
    *(s->older ? &s->older->newer : &a->oldest) = s->newer;
}

static uint64_t hash_of(const active *a, uint64_t id)
{
    return table_hash(&a->by_number, &id, sizeof id);
}

served *active_find(const active *a, uint64_t id)
{
    for (table_link *k = table_first(&a->by_number, hash_of(a, id)); k; k = table_next(k)) {
        served *s = TABLE_OF(served, by_number, k);
        if (s->config.id == id)
            return s;
    }
    return NULL;
}

void active_use(active *a, served *s)
{
    if (a->newest == s) {
        s->used = loop_now(a->l);
        return;
    }
    list_remove(a, s);
    list_add(a, s);
}

void active_drop(active *a, served *s)
{
    a->on_drop(a->user, s);
    list_remove(a, s);
    table_remove(&a->by_number, &s->by_number);
    served_let(s);
}

void active_drop_tenant(active *a, uint64_t number)
{
    for (served *s = a->newest, *next; s; s = next) {
        next = s->older;
        if (s->config.tenant == number)
            active_drop(a, s);
    }
}

/* --- eviction --------------------------------------------------------------------------------- */

static bool on_turn(void *user)
{
    active *a = user;
    int evicted = 0;
    for (int i = 0; i < LOOKED_AT_A_TURN && evicted < EVICTED_A_TURN && is_over(a); i++) {
        served *s = a->oldest;
        if (!s)
            break;
        if (s->holders > 1) {
            active_use(a, s);
            continue;
        }
        active_drop(a, s);
        evicted++;
    }
    return evicted && is_over(a);
}

/* Apps in use are never the oldest for long: each of their requests moves them. */
static void on_idle(void *user)
{
    active *a = user;
    ns now = loop_now(a->l), wait;
    while (a->oldest && now - a->oldest->used >= a->limits.idle) {
        if (a->oldest->holders > 1)
            active_use(a, a->oldest);
        else
            active_drop(a, a->oldest);
    }
    if (!a->oldest)
        return;
    wait = a->oldest->used + a->limits.idle - now;
    if (wait < ACTIVE_LOOK_NS && a->limits.idle >= ACTIVE_LOOK_NS)
        wait = ACTIVE_LOOK_NS;
    loop_timer_start(a->l, &a->idle, wait, on_idle, a);
}

bool active_add_take(active *a, served *s, err *e)
{
    bool ok =
        a->by_number.count < 2 * (size_t)a->limits.apps_max ||
        err_set(e, ERR_LIMIT, "%zu apps have calls running in this worker", a->by_number.count);
    if (ok && !table_add(&a->by_number, &s->by_number, hash_of(a, s->config.id)))
        ok = err_no_memory(e);
    if (!ok) {
        served_let(s);
        return false;
    }
    list_add(a, s);
    if (!loop_timer_active(&a->idle))
        loop_timer_start(a->l, &a->idle, a->limits.idle, on_idle, a);
    return true;
}

/* --- set-up ----------------------------------------------------------------------------------- */

bool active_new(loop *l, serving *all, const active_limits *limits,
                void (*on_drop)(void *user, served *s), void *user, active **ret, err *e)
{
    active *a = calloc(1, sizeof *a);
    if (!a)
        return err_no_memory(e);
    *a = (active){.l = l, .all = all, .limits = *limits, .on_drop = on_drop, .user = user};
    limits_complete(&a->limits);
    table_init(&a->by_number, (uint64_t[]){0, 0}); /* numbers are the catalogue's own */
    if (!loop_hook_add(l, on_turn, a, &a->hook, e)) {
        free(a);
        return false;
    }
    *ret = a;
    return true;
}

void active_free(active *a)
{
    if (!a)
        return;
    while (a->newest)
        active_drop(a, a->newest);
    loop_timer_stop(&a->idle);
    loop_hook_remove(a->hook);
    table_fini(&a->by_number);
    free(a);
}

const active_limits *active_limits_of(const active *a) { return &a->limits; }

served *active_newest(const active *a) { return a->newest; }

size_t active_count(const active *a) { return a->by_number.count; }
