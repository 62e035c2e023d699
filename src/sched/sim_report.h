/* The forms of a simulation's results: a table for people, JSON for scripts, an SVG picture. */
#pragma once

#include "base/buf.h"
#include "sched/against.h"
#include "sched/day.h"
#include "sched/sim.h"

/* results: at most SIM_POLICIES, any order. Shares of the clairvoyant are given where it is there.
 */
bool sim_table(const sim_config *c, const sim_result *r, size_t n, buf *out);
/* days: with and without opportunistic work; NULL if there was no queueing run. */
bool sim_json(const sim_config *c, const sim_result *r, size_t n, const day_result days[2],
              buf *out);
/* The last `hours` hours (at most 14 days): received, reserved, deferred, intensity. */
bool sim_svg(const sim_config *c, const sim_result *r, size_t hours, buf *out);

bool against_table(const against_config *c, const against_result *r, unsigned hosts, buf *out);
bool against_json(const against_config *c, const against_result *r, unsigned hosts, buf *out);
/* CSV: time,received,reserved,deferred of each step, in CPUs. */
bool sim_steps(const sim_config *c, const sim_result *r, buf *b);
