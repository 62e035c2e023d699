/* A schedule, a line's end, and a TZif file: whatever either says, times found go forward, are
 * found from any moment before them, and segments of a zone cover all time. */
#include "app/cron.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    str rest = {(const char *)data, size};
    str schedule = str_cut(&rest, '\n');
    zone z = zone_utc();
    cron c;
    err e;
    arena_init(&a, 1 << 20);
    if (size > 16384 || !cron_parse(schedule, &c, &e))
        return 0;
    if (rest.n && !zone_parse(&a, (bytes){(const uint8_t *)rest.p, rest.n}, &z, &e))
        return 0;
    for (int64_t at = 1700000000, i = 0; i < 4; i++) {
        int64_t until, next = cron_next(&c, &z, at);
        zone_offset(&z, at, &until);
        must(until > at);
        must(next > at);
        if (next == INT64_MAX)
            break;
        must(cron_next(&c, &z, at + (next - at) / 2) == next);
        at = next;
    }
    return 0;
}
