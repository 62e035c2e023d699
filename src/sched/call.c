/* See call.h. What order calls have, the queue's index says (store/queue_requests.c); the plan and
 * the simulator keep sums per deadline. */
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
