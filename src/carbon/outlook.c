/* See outlook.h. A year of history is fitted in 0.3 s; nothing is kept between two outlooks,
 * because nobody asks for one more than a few times an hour. */
#include "carbon/outlook.h"

#include "base/limits.h"
#include "carbon/when.h"

#include <math.h>

bool outlook_make(const intensity_series *history, size_t known, const intensity_series *published,
                  size_t hours, arena *a, outlook *ret, err *e)
{
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 64 * MIB);
    forecast_history h;
    outlook o = {.history_hours = known, .hours = hours};
    forecast_model *m = ARENA_NEW(a, forecast_model);
    bool fitted = m && known >= FORECAST_DAYS_MIN * 24 &&
                  forecast_fit(history->g_per_kwh, known, history->start_s, &scratch, m, e);
    forecast_history_init(&h, history->start_s);
    for (size_t i = 0; i < known; i++)
        forecast_push(&h, history->g_per_kwh[i]);
    o.start_s = h.next_s;
    o.filled_hours = h.filled;
    o.fit_error_pct = fitted ? m->mape_pct : 0;
    o.method = forecast_make(fitted ? m : NULL, &h, hours, o.g_per_kwh);
    if (published)
        o.published_hours = forecast_prefer(published, o.start_s, hours, o.g_per_kwh);
    if (o.method == FORECAST_NONE) { /* as far as the provider's reaches */
        o.hours = 0;
        while (o.hours < hours && !isnan(o.g_per_kwh[o.hours]))
            o.hours++;
        if (!o.hours)
            return err_set(e, ERR_INVALID, "less than a day of history before the forecast");
    }
    *ret = o;
    return true;
}

bool outlook_json(const outlook *o, buf *out)
{
    buf_printf(out,
               "{\"method\":\"%s\",\"history_hours\":%zu,\"filled_hours\":%zu,"
               "\"fit_error_pct\":%.4g,\"published_hours\":%zu,\"forecastData\":[",
               forecast_method_name(o->method), o->history_hours, o->filled_hours, o->fit_error_pct,
               o->published_hours);
    for (size_t i = 0; i < o->hours; i++) {
        buf_put_str(out, i ? S(",{\"timestamp\":\"") : S("{\"timestamp\":\""));
        when_put(out, o->start_s + (int64_t)i * WHEN_HOUR_S);
        buf_printf(out, "\",\"duration\":60,\"value\":%.6g}", o->g_per_kwh[i]);
    }
    buf_put_str(out, S("]}\n"));
    return !out->failed;
}

bool outlook_text(const outlook *o, buf *out)
{
    size_t best = 0;
    for (size_t i = 0; i < o->hours; i++)
        best = o->g_per_kwh[i] < o->g_per_kwh[best] ? i : best;
    for (size_t i = 0; i < o->hours; i++) {
        when_put(out, o->start_s + (int64_t)i * WHEN_HOUR_S);
        buf_printf(out, "  %5.0f g/kWh%s\n", o->g_per_kwh[i], i == best ? "  cleanest" : "");
    }
    return !out->failed;
}

bool intensity_now_json(int64_t t_s, double g_per_kwh, intensity_quality q, intensity_kind kind,
                        intensity_basis basis, buf *out)
{
    buf_put_str(out, S("{\"time\":\""));
    when_put(out, t_s);
    buf_printf(out,
               "\",\"g_per_kwh\":%.10g,\"quality\":\"%s\",\"kind\":\"%s\","
               "\"basis\":\"%s\"}\n",
               g_per_kwh, intensity_quality_name(q), intensity_kind_name(kind),
               intensity_basis_name(basis));
    return !out->failed;
}
