/* See places.h. The list of turns holds only owners that may run one more, so each operation takes
 * constant time however many components wait. */
#include "platform/places.h"

#include "base/must.h"

#include <stddef.h>

static uint32_t size_of(const place_owner *o) { return o->size ? o->size : 1; }

/* One that is alone always runs. */
static bool fits(const places *p, const place_owner *o)
{
    return p->live == 0 || p->live + size_of(o) <= p->live_max;
}

static bool may_run(const place_owner *o) { return !o->running_max || o->running < o->running_max; }

static void list_if_due(places *p, place_owner *o)
{
    if (o->listed || !o->head || !may_run(o))
        return;
    o->listed = true;
    o->next = NULL;
    if (p->tail)
        p->tail->next = o;
    else
        p->head = o;
    p->tail = o;
}

static void unlist(places *p, place_owner *o)
{
    place_owner *before = NULL, *at = p->head;
    while (at && at != o) {
        before = at;
        at = at->next;
    }
    must(at == o);
    if (before)
        before->next = o->next;
    else
        p->head = o->next;
    if (p->tail == o)
        p->tail = before;
    o->listed = false;
}

static void run(places *p, place_owner *o)
{
    p->live += size_of(o);
    o->running++;
}

bool places_take(places *p, place_owner *o)
{
    if (o->head || p->head || !may_run(o) || !fits(p, o))
        return false;
    run(p, o);
    return true;
}

bool places_take_first(places *p, place_owner *o)
{
    if (!may_run(o) || !fits(p, o))
        return false;
    run(p, o);
    if (o->listed && !may_run(o))
        unlist(p, o);
    return true;
}

bool places_wait(places *p, place_owner *o, waiter *w)
{
    if (p->queued >= p->queued_max || (o->queued_max && o->queued >= o->queued_max))
        return false;
    w->next = NULL;
    if (o->tail)
        o->tail->next = w;
    else
        o->head = w;
    o->tail = w;
    o->queued++;
    p->queued++;
    list_if_due(p, o);
    return true;
}

void places_leave(places *p, place_owner *o, waiter *w)
{
    waiter *before = NULL, *at = o->head;
    while (at && at != w) {
        before = at;
        at = at->next;
    }
    must(at == w);
    if (before)
        before->next = w->next;
    else
        o->head = w->next;
    if (o->tail == w)
        o->tail = before;
    o->queued--;
    p->queued--;
    if (o->listed && !o->head)
        unlist(p, o);
}

void places_give(places *p, place_owner *o)
{
    must(o->running > 0 && p->live >= size_of(o));
    o->running--;
    p->live -= size_of(o);
    list_if_due(p, o);
}

bool places_ready(const places *p) { return p->head && fits(p, p->head); }

waiter *places_next(places *p)
{
    if (!places_ready(p))
        return NULL;
    place_owner *o = p->head;
    waiter *w = o->head;
    must(w && may_run(o));
    unlist(p, o);
    places_leave(p, o, w);
    run(p, o);
    list_if_due(p, o); /* behind the others */
    return w;
}
