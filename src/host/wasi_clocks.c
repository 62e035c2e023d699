/* wasi:clocks@0.2: the wall clock, the monotonic clock with its deadlines, and a timezone that is
 * always UTC (where an instance runs says nothing about where its users are). Clocks are read at
 * every call, never frozen.
 *
 * They may be coarse (tool.ebb clock_resolution), against guests that measure what their neighbours
 * do. Then everything a guest can learn changes at multiples of the resolution only: what the
 * clocks show, and when a deadline is ready. A duration counts from the next multiple, so that a
 * sleep is never too short and when it ends says nothing about where between two it began. */
#include "host/streams.h"

static ns resolution_of(const guest *g)
{
    return g->component->clock_resolution_ns ? g->component->clock_resolution_ns : 1;
}

static ns coarse(const guest *g, ns t) { return t - t % resolution_of(g); }

/* The next multiple, t itself if it is one. */
static ns coarse_up(const guest *g, ns t)
{
    ns step = resolution_of(g), over = t % step;
    return over == 0 ? t : step - over > UINT64_MAX - t ? UINT64_MAX : t + (step - over);
}

static host_status monotonic_now(host_call *c) { return return_u64(c, coarse(c->g, clock_mono())); }

static host_status monotonic_resolution(host_call *c) { return return_u64(c, resolution_of(c->g)); }

static bool deadline_ready(guest *g, pollable *p, bool want)
{
    if (p->when <= coarse(g, clock_mono()))
        return true;
    if (want)
        guest_wake_by(g, coarse_up(g, p->when));
    return false;
}

static host_status return_deadline(host_call *c, ns when)
{
    pollable *p = pollable_new(c->g, deadline_ready, NULL);
    if (p)
        p->when = when;
    return return_handle(c, (object *)p);
}

static host_status monotonic_subscribe_instant(host_call *c)
{
    return return_deadline(c, c->slots[0].u64);
}

static host_status monotonic_subscribe_duration(host_call *c)
{
    ns step = resolution_of(c->g), after = c->slots[0].u64;
    ns now = coarse(c->g, clock_mono()) + (step > 1 && after ? step : 0);
    return return_deadline(c, after > UINT64_MAX - now ? UINT64_MAX : now + after);
}

static const host_func monotonic_funcs[] = {
    {"now", "func() -> instant", monotonic_now},
    {"resolution", "func() -> duration", monotonic_resolution},
    {"subscribe-instant", "func(when: instant) -> pollable", monotonic_subscribe_instant},
    {"subscribe-duration", "func(when: duration) -> pollable", monotonic_subscribe_duration},
    {0},
};

const host_interface wasi_clocks_monotonic = {
    .name = "wasi:clocks/monotonic-clock@0.2.0",
    .types = "use wasi:io/poll@0.2.0.{pollable};\n"
             "type instant = u64;\n"
             "type duration = u64;",
    .funcs = monotonic_funcs,
};

static host_status return_datetime(host_call *c, ns t)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    put_int(c, place_field(r, 0), t / NS_PER_S);
    put_int(c, place_field(r, 1), t % NS_PER_S);
    return HOST_DONE;
}

static host_status wall_now(host_call *c) { return return_datetime(c, coarse(c->g, clock_wall())); }

static host_status wall_resolution(host_call *c) { return return_datetime(c, resolution_of(c->g)); }

static const host_func wall_funcs[] = {
    {"now", "func() -> datetime", wall_now},
    {"resolution", "func() -> datetime", wall_resolution},
    {0},
};

const host_interface wasi_clocks_wall = {
    .name = "wasi:clocks/wall-clock@0.2.0",
    .types = "record datetime { seconds: u64, nanoseconds: u32 }",
    .funcs = wall_funcs,
};

static host_status timezone_display(host_call *c)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    put_int(c, place_field(r, 0), 0);
    if (!put_string(c, place_field(r, 1), S("UTC")))
        return HOST_TRAP;
    put_int(c, place_field(r, 2), 0);
    return HOST_DONE;
}

static host_status timezone_utc_offset(host_call *c) { return return_u32(c, 0); }

static const host_func timezone_funcs[] = {
    {"display", "func(when: datetime) -> timezone-display", timezone_display},
    {"utc-offset", "func(when: datetime) -> s32", timezone_utc_offset},
    {0},
};

const host_interface wasi_clocks_timezone = {
    .name = "wasi:clocks/timezone@0.2.0",
    .types = "use wasi:clocks/wall-clock@0.2.0.{datetime};\n"
             "record timezone-display {\n"
             "    utc-offset: s32, name: string, in-daylight-saving-time: bool\n"
             "}",
    .funcs = timezone_funcs,
};
