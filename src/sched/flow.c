/* The three controllers of flow.h. All of them cut at once and give back slowly, because the harm
 * of too much (reserved calls wait, a failing downstream is hammered) is done within seconds, and
 * that of too little is work that runs a little later, which deferred work was sold as. */
#include "sched/flow.h"

#include <math.h>

void util_init(util_control *u, double target) { *u = (util_control){1, target}; }

void util_step(util_control *u, double utilisation, bool due)
{
    double room = u->target - utilisation;
    if (room < 0)
        u->s *= fmax(0.5, 1 + 4 * room); /* fast down: reserved work is waiting */
    else
        u->s += fmin(0.1, room); /* slow up */
    u->s = fmin(fmax(u->s, 0), 1);
    if (u->s < 0.01 && room > 0)
        u->s = 0.01; /* from nothing, multiplication would never return */
    if (due && utilisation < 0.98 && u->s < 1)
        u->s = 1;
}

void aimd_init(aimd *a, ns now, double rate_max)
{
    *a = (aimd){.rate_max = rate_max, .window_start = now, .filled = now};
    a->limit = fmin(rate_max * FLOW_WINDOW_S, FLOW_FREE_CALLS);
    a->tokens = fmin(a->limit, fmax(1, a->limit / FLOW_WINDOW_S));
}

static double grown(double limit)
{
    return limit < FLOW_FREE_CALLS ? fmin(limit + FLOW_FREE_CALLS / 10.0, FLOW_FREE_CALLS)
                                   : limit * FLOW_GROWTH;
}

static void window_next(aimd *a)
{
    double top = a->rate_max * FLOW_WINDOW_S;
    bool failing = a->ended > 0 && (double)a->pushed > FLOW_PUSHED * (double)a->ended;
    if (failing)
        a->limit = fmax(1, a->limit * FLOW_CUT);
    else if ((double)a->started >= 0.8 * a->limit) /* it was the limit that held it back */
        a->limit = grown(a->limit);
    else if (a->limit > FLOW_FREE_CALLS) /* quiet: what is not used is forgotten as slowly */
        a->limit = fmax(FLOW_FREE_CALLS, a->limit / FLOW_GROWTH);
    a->limit = fmin(a->limit, top);
    a->started = a->pushed = a->ended = 0;
}

static void advance(aimd *a, ns now)
{
    if (now <= a->filled)
        return;
    uint64_t windows = (now - a->window_start) / (FLOW_WINDOW_S * NS_PER_S);
    for (uint64_t i = 0; i < windows && i < 64; i++)
        window_next(a);
    a->window_start += windows * FLOW_WINDOW_S * NS_PER_S;
    a->tokens += a->limit * (double)(now - a->filled) / (FLOW_WINDOW_S * (double)NS_PER_S);
    a->tokens = fmin(a->tokens, fmax(1, a->limit / FLOW_WINDOW_S));
    a->filled = now;
}

bool aimd_take(aimd *a, ns now)
{
    advance(a, now);
    if (a->tokens < 1)
        return false;
    a->tokens -= 1;
    a->started++;
    return true;
}

bool aimd_has_line(const aimd *a, ns now) { return a->turn > now; }

ns aimd_turn(aimd *a, ns now)
{
    advance(a, now);
    if (!aimd_has_line(a, now))
        a->turn = now;
    double limit = a->limit, top = a->rate_max * FLOW_WINDOW_S;
    for (ns left = a->turn - now; left >= FLOW_WINDOW_S * NS_PER_S && limit < top;
         left -= FLOW_WINDOW_S * NS_PER_S)
        limit = fmin(grown(limit), top);
    a->turn += (ns)(FLOW_WINDOW_S * (double)NS_PER_S / limit);
    return a->turn;
}

bool aimd_take_turn(aimd *a, ns now)
{
    advance(a, now);
    if ((double)a->started + 1 > fmax(a->limit, 1))
        return false;
    a->started++;
    return true;
}

void aimd_result(aimd *a, ns now, bool pushed_back)
{
    advance(a, now);
    a->ended++;
    a->pushed += pushed_back;
}
