/* Intensity sources take bytes from the network: the first byte picks the format. */
#include "carbon/source.h"

#include "base/must.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    arena a;
    arena_init(&a, 64 << 20);
    intensity_reading r;
    intensity_series s;
    err e;
    bytes b = {data + 1, size - 1};
    double g;
    source_format f;
    source_guess(b, &f, &e);
    source_yearly(b, S("SWE"), &g, &e);
    if (source_parse((source_format)(data[0] % 5), b, 1600000000, &a, &r, &e)) {
        must(r.points_count > 0);
        for (size_t i = 0; i < r.points_count; i++)
            must(r.points[i].g_per_kwh >= 0 && r.points[i].g_per_kwh <= INTENSITY_MAX);
        if (intensity_series_from(&r, 3600, true, &a, &s, &e))
            for (size_t i = 0; i < s.n; i++)
                must(isnan(s.g_per_kwh[i]) ||
                     (s.g_per_kwh[i] >= 0 && s.g_per_kwh[i] <= INTENSITY_MAX + 1e-9));
    }
    arena_fini(&a);
    return 0;
}
