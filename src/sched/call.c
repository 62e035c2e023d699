/* The order of deferred calls; see call.h. Comparison functions rather than a queue: the platform
 * keeps calls in a database index in this order, the simulator keeps sums per deadline. */
#include "sched/call.h"

#include "carbon/when.h"

bool call_deadline_parse(str text, int64_t now_s, int64_t *ret_s, err *e)
{
    uint64_t seconds;
    int64_t at;
    text = str_trim(text);
    if (str_to_u64(text, UINT32_MAX, &seconds))
        at = now_s + (int64_t)seconds;
    else if (!when_parse(text, &at, NULL))
        return err_set(e, ERR_INVALID,
                       "deadline '%.*s' is neither seconds nor a time; write 3600 or "
                       "2024-05-01T13:00:00Z",
                       (int)(text.n < 64 ? text.n : 64), text.p);
    if (at < now_s)
        return err_set(e, ERR_INVALID, "the deadline is %lld s in the past",
                       (long long)(now_s - at));
    if (at - now_s > CALL_SLACK_S_MAX)
        return err_set(e, ERR_INVALID, "the deadline is more than %d days ahead",
                       CALL_SLACK_S_MAX / 86400);
    *ret_s = at;
    return true;
}

static int cmp64(int64_t a, int64_t b) { return (a > b) - (a < b); }

int call_cmp(const deferred_call *a, const deferred_call *b, bool shortage)
{
    int c = cmp64(a->class, b->class);
    if (!c && shortage)
        c = cmp64(b->criticality, a->criticality);
    if (!c)
        c = cmp64(a->deadline_s, b->deadline_s);
    if (!c)
        c = cmp64(b->criticality, a->criticality);
    if (!c)
        c = cmp64(a->accepted_s, b->accepted_s);
    return c ? c : (a->id > b->id) - (a->id < b->id);
}

bool call_may_start(const deferred_call *c, int64_t now_s, int64_t slot_end_s, double budget_cpu_s)
{
    if (now_s < c->start_s)
        return false;
    return c->class == CALL_RESERVED || c->deadline_s <= slot_end_s || budget_cpu_s > 0;
}
