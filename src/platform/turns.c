/* See turns.h. Lists are kept in order by inserting from the end: a share that was just served goes
 * behind those with less, which are few places away, as slices are of one length. */
#include "platform/turns.h"

#include "base/limits.h"
#include "base/must.h"

#define OF(type, member, p) ((type *)(void *)((char *)(p) - offsetof(type, member)))

static uint64_t weight_of(const turn_tenant *w)
{
    return w->weight ? w->weight : TURNS_WEIGHT_USUAL;
}

/* --- levels ----------------------------------------------------------------------------------- */

static void link_before(turn_level *l, turn_share *s, turn_share *next)
{
    s->after = next;
    s->before = next ? next->before : l->last;
    *(s->before ? &s->before->after : &l->first) = s;
    *(next ? &next->before : &l->last) = s;
}

static void unlink_share(turn_level *l, turn_share *s)
{
    *(s->before ? &s->before->after : &l->first) = s->after;
    *(s->after ? &s->after->before : &l->last) = s->before;
    s->before = s->after = NULL;
}

static void insert(turn_level *l, turn_share *s)
{
    turn_share *at = l->last, *next = NULL;
    for (; at && at->time > s->time; at = at->before)
        next = at;
    link_before(l, s, next);
}

/* Whoever was idle begins at the level's time. */
static void catch_up(const turn_level *l, turn_share *s)
{
    if (!s->listed && s->time < l->time)
        s->time = l->time;
}

static void charge(turn_level *l, turn_share *s, uint64_t used)
{
    catch_up(l, s);
    s->time += used;
    if (!l->first && l->time < s->time)
        l->time = s->time; /* nobody waits: nobody is owed anything */
    if (s->listed && s->after && s->after->time < s->time) {
        unlink_share(l, s);
        insert(l, s);
    }
}

static void list(turn_level *l, turn_share *s)
{
    catch_up(l, s);
    s->listed = true;
    insert(l, s);
}

static void unlist(turn_level *l, turn_share *s)
{
    unlink_share(l, s);
    s->listed = false;
}

/* --- tenants and apps ------------------------------------------------------------------------- */

static void tenant_list(turns *t, turn_tenant *w)
{
    if (!w->share.listed && !w->parked)
        list(&t->tenants, &w->share);
}

/* Its last call has gone. */
static void tenant_empty(turns *t, turn_tenant *w)
{
    if (w->parked)
        unlink_share(&t->parked, &w->share);
    else
        unlist(&t->tenants, &w->share);
    w->parked = false;
}

static void queue_empty(turns *t, turn_app *a, turn_queue *q)
{
    unlist(&a->queues, &q->share);
    if (a->queues.first)
        return;
    unlist(&a->of->apps, &a->share);
    if (!a->of->apps.first)
        tenant_empty(t, a->of);
}

void turns_round(turns *t)
{
    t->round++;
    t->fresh = 0;
}

static bool is_ahead(const turn_level *l, const turn_share *s, uint64_t allowed)
{
    return l->first && l->first != s && s->time > l->first->time + allowed;
}

bool turns_may_run(const turns *t, const turn_app *a)
{
    const turn_tenant *w = a->of;
    if (w->parked || (w->round == t->round && w->fresh >= TURNS_FRESH_NS))
        return false;
    if (t->fresh >= TURNS_ROUND_NS && t->tenants.first && w->share.time > t->tenants.time)
        return false;
    return !is_ahead(&t->tenants, &w->share, TURNS_AHEAD_NS * TURNS_WEIGHT_USUAL / weight_of(w)) &&
           !is_ahead(&w->apps, &a->share, TURNS_AHEAD_NS);
}

void turns_charge(turns *t, turn_app *a, turn_kind k, ns used)
{
    turn_tenant *w = a->of;
    uint64_t weighed = used * TURNS_WEIGHT_USUAL / weight_of(w);
    if (w->round != t->round) {
        w->round = t->round;
        w->fresh = 0;
    }
    w->fresh += used;
    t->fresh += used;
    charge(&a->queues, &a->queue[k].share, used);
    charge(&w->apps, &a->share, used);
    if (w->parked)
        w->share.time += weighed;
    else
        charge(&t->tenants, &w->share, weighed);
}

void turns_put(turns *t, turn_app *a, turn_kind k, turn *w)
{
    turn_queue *q = &a->queue[k];
    w->next = NULL;
    *(q->last ? &q->last->next : &q->first) = w;
    q->last = w;
    if (!q->share.listed)
        list(&a->queues, &q->share);
    if (!a->share.listed)
        list(&a->of->apps, &a->share);
    tenant_list(t, a->of);
}

void turns_drop(turns *t, turn_app *a, turn_kind k, turn *w)
{
    turn_queue *q = &a->queue[k];
    turn *before = NULL, *at = q->first;
    while (at && at != w) {
        before = at;
        at = at->next;
    }
    must(at == w);
    *(before ? &before->next : &q->first) = w->next;
    if (q->last == w)
        q->last = before;
    if (!q->first)
        queue_empty(t, a, q);
}

turn_tenant *turns_tenant(const turns *t)
{
    return t->tenants.first ? OF(turn_tenant, share, t->tenants.first) : NULL;
}

static turn_app *app_next(const turns *t)
{
    const turn_tenant *w = turns_tenant(t);
    return w ? OF(turn_app, share, w->apps.first) : NULL;
}

turn *turns_next(const turns *t)
{
    const turn_app *a = app_next(t);
    return a ? OF(turn_queue, share, a->queues.first)->first : NULL;
}

static void advance(turn_level *l)
{
    if (l->time < l->first->time)
        l->time = l->first->time;
}

turn *turns_take(turns *t)
{
    turn_app *a = app_next(t);
    if (!a)
        return NULL;
    turn_queue *q = OF(turn_queue, share, a->queues.first);
    turn *next = q->first;
    advance(&t->tenants);
    advance(&a->of->apps);
    advance(&a->queues);
    turns_drop(t, a, (turn_kind)(q - a->queue), next);
    return next;
}

void turns_park(turns *t, turn_tenant *w, ns until)
{
    must(w->share.listed && !w->parked);
    unlist(&t->tenants, &w->share);
    w->parked = true;
    w->parked_until = until;
    link_before(&t->parked, &w->share, t->parked.first);
}

ns turns_unpark(turns *t, ns now)
{
    ns next = 0;
    for (turn_share *s = t->parked.first, *after; s; s = after) {
        turn_tenant *w = OF(turn_tenant, share, s);
        after = s->after;
        if (w->parked_until > now) {
            next = !next || w->parked_until < next ? w->parked_until : next;
            continue;
        }
        unlink_share(&t->parked, s);
        w->parked = false;
        tenant_list(t, w);
    }
    return next;
}
