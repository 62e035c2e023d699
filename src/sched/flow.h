/* How fast: three small controllers, each a struct and two functions, all pure.
 *
 * util  - the node's utilisation controller (XFaaS's S): the planned rate of opportunistic work is
 *         multiplied by S, which falls to 0 when reserved work needs the node and comes back to 1.
 *         Not above 1, as XFaaS's does: there an idle node calls for work, here the plan does, and
 *         more than planned now is less in a greener hour.
 * aimd  - a downstream that answers 429 or 503 (or times out) has its rate cut at once and given
 *         back slowly; one controller per downstream.
 * slow start - a function that was quiet may not jump to any rate: above 100 calls a minute it
 *         grows by at most a fifth a minute. Part of aimd.
 *
 * Calls that find no token stand in a line: each is told once when its turn comes. Turns are as
 * close as the limit will be high by then if nothing is pushed back; if that was wrong, those that
 * come too early go to the line's end. */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define FLOW_WINDOW_S      60
#define FLOW_FREE_CALLS    100
#define FLOW_UTIL_PERIOD_S 10
#define FLOW_GROWTH        1.2  /* per window, beyond FLOW_FREE_CALLS */
#define FLOW_CUT           0.5  /* of the rate, at a window with pushed-back calls */
#define FLOW_PUSHED        0.05 /* share of pushed-back calls that counts as a failing downstream */

typedef struct {
    double s;      /* 0 .. 1 */
    double target; /* utilisation to hold, 0 .. 1 */
} util_control;

void util_init(util_control *u, double target);
/* Once every FLOW_UTIL_PERIOD_S: utilisation of the last period, 0..1. `due`: there is work whose
 * last slot is this one; S then does not fall below 1, short of a full node. */
void util_step(util_control *u, double utilisation, bool due);

typedef struct {
    double rate_max; /* calls a second that are never exceeded */
    double limit;    /* calls allowed in this window */
    double tokens;   /* what is left of it, spread over the window */
    uint64_t started, pushed, ended;
    ns window_start, filled;
    ns turn; /* the last one that was given; past: there is no line */
} aimd;

void aimd_init(aimd *a, ns now, double rate_max);
/* May one call start now? Takes a token if so. */
bool aimd_take(aimd *a, ns now);
/* Do calls stand in line? Then others join it, whatever tokens there are. */
bool aimd_has_line(const aimd *a, ns now);
/* One more joins it: when its turn comes. */
ns aimd_turn(aimd *a, ns now);
/* May a call start now that stood in line? It needs no token, its turn is one; but never do more in
 * a window than the limit. */
bool aimd_take_turn(aimd *a, ns now);
/* A call ended; pushed_back: 429, 503, refused, timed out. */
void aimd_result(aimd *a, ns now, bool pushed_back);
