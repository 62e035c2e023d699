/* See provider.h. History is asked for every half step of the usual data (15 minutes), forecasts
 * every hour: all four providers publish no faster, and their free plans allow more. URLs are those
 * of the providers' documentation; times in them are whole minutes, as the UK API wants them, so
 * that caches on the way can help. */
#include "carbon/provider.h"

#include "carbon/when.h"

#include <jansson.h>

#define HISTORY_EVERY_S  900
#define FORECAST_EVERY_S 3600

static const char *const bases[] = {
    [SOURCE_UK] = "https://api.carbonintensity.org.uk",
    [SOURCE_ELECTRICITY_MAPS] = "https://api.electricitymaps.com/v3",
    [SOURCE_WATTTIME] = "https://api.watttime.org",
};

static bool plain(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

/* Header values: visible ASCII, so that no line break can get into a request. */
static bool visible_ascii(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
            return false;
    return true;
}

bool provider_init(provider *p, const provider_config *c, err *e)
{
    if (c->format <= SOURCE_CSV || c->format > SOURCE_CARBON_AWARE)
        return err_set(e, ERR_INVALID,
                       "a provider is uk, electricity-maps, watttime or "
                       "carbon-aware-sdk");
    const char *name = source_format_name(c->format);
    if (c->format == SOURCE_CARBON_AWARE && !c->base_url.n)
        return err_set(e, ERR_INVALID, "%s: needs the URL of the service", name);
    if (c->base_url.n && !str_starts(c->base_url, S("http://")) &&
        !str_starts(c->base_url, S("https://")))
        return err_set(e, ERR_INVALID, "%s: '%.*s' is no http or https URL", name,
                       STR(c->base_url));
    if (!visible_ascii(c->base_url) || !visible_ascii(c->token) || !visible_ascii(c->user))
        return err_set(e, ERR_INVALID, "%s: URL, token and user are visible ASCII", name);
    if (!plain(c->zone) || (!c->zone.n && c->format != SOURCE_UK))
        return err_set(e, ERR_INVALID, "%s: needs a zone of letters, digits, '-', '_' and '.'",
                       name);
    if (c->format == SOURCE_ELECTRICITY_MAPS && !c->token.n)
        return err_set(e, ERR_INVALID, "%s: needs a token", name);
    if (c->format == SOURCE_WATTTIME && (!c->user.n || !c->password.n))
        return err_set(e, ERR_INVALID, "%s: needs user and password", name);
    *p = (provider){.config = *c};
    return true;
}

/* A next time beyond this was set by a clock that has been put back since. */
static bool reached(int64_t next_s, int64_t now_s)
{
    return now_s >= next_s || next_s - now_s > PROVIDER_WAIT_S_MAX;
}

provider_what provider_due(const provider *p, int64_t now_s)
{
    bool history = reached(p->history_s, now_s);
    bool forecast = p->config.forecasts && reached(p->forecast_s, now_s);
    if (!history && !forecast)
        return PROVIDER_NOTHING;
    bool session = p->session[0] && p->session_until_s > now_s &&
                   p->session_until_s - now_s <= PROVIDER_SESSION_S;
    if (p->config.format == SOURCE_WATTTIME && !session)
        return PROVIDER_LOGIN;
    return history ? PROVIDER_HISTORY : PROVIDER_FORECAST;
}

int64_t provider_wait_s(const provider *p, int64_t now_s)
{
    if (provider_due(p, now_s) != PROVIDER_NOTHING)
        return 0;
    int64_t next = p->history_s;
    if (p->config.forecasts && p->forecast_s < next)
        next = p->forecast_s;
    return next > now_s ? next - now_s : 0;
}

static str minute(arena *a, int64_t t_s)
{
    buf b;
    buf_init(&b, 64);
    when_put(&b, t_s - t_s % 60);
    /* 2018-01-20T12:00:00Z -> 2018-01-20T12:00Z */
    str s = b.n == 20 ? arena_printf(a, "%.*sZ", 16, (const char *)b.p) : (str){0};
    buf_fini(&b);
    return s;
}

static str base64(arena *a, str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = (s.n + 2) / 3 * 4, at = 0;
    char *out = arena_alloc(a, n + 1);
    if (!out)
        return (str){0};
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)(uint8_t)s.p[i] << 16;
        v |= left > 1 ? (uint32_t)(uint8_t)s.p[i + 1] << 8 : 0;
        v |= left > 2 ? (uint32_t)(uint8_t)s.p[i + 2] : 0;
        out[at++] = digits[v >> 18];
        out[at++] = digits[v >> 12 & 63];
        out[at++] = left > 1 ? digits[v >> 6 & 63] : '=';
        out[at++] = left > 2 ? digits[v & 63] : '=';
    }
    return (str){out, n};
}

static str uk_url(const provider *p, str base, bool ahead, int64_t now_s, arena *a)
{
    str at = minute(a, now_s);
    const char *span = ahead ? "fw48h" : "pt24h";
    if (!p->config.zone.n)
        return arena_printf(a, "%.*s/intensity/%.*s/%s", STR(base), STR(at), span);
    return arena_printf(a, "%.*s/regional/intensity/%.*s/%s/regionid/%.*s", STR(base), STR(at),
                        span, STR(p->config.zone));
}

static str watttime_url(const provider *p, str base, provider_what what, int64_t now_s, arena *a)
{
    const char *signal = p->config.average ? "co2_aoer" : "co2_moer";
    if (what == PROVIDER_LOGIN)
        return arena_printf(a, "%.*s/login", STR(base));
    if (what == PROVIDER_FORECAST)
        return arena_printf(a, "%.*s/v3/forecast?region=%.*s&signal_type=%s&horizon_hours=48",
                            STR(base), STR(p->config.zone), signal);
    str from = minute(a, now_s - 86400), to = minute(a, now_s);
    return arena_printf(a, "%.*s/v3/historical?region=%.*s&start=%.*s&end=%.*s&signal_type=%s",
                        STR(base), STR(p->config.zone), STR(from), STR(to), signal);
}

static str aware_url(const provider *p, str base, bool ahead, int64_t now_s, arena *a)
{
    if (ahead)
        return arena_printf(a, "%.*s/emissions/forecasts/current?location=%.*s", STR(base),
                            STR(p->config.zone));
    str from = minute(a, now_s - 86400), to = minute(a, now_s);
    return arena_printf(a, "%.*s/emissions/bylocation?location=%.*s&time=%.*s&toTime=%.*s",
                        STR(base), STR(p->config.zone), STR(from), STR(to));
}

bool provider_request_make(const provider *p, provider_what what, int64_t now_s, arena *a,
                           provider_request *ret, err *e)
{
    const provider_config *c = &p->config;
    bool ahead = what == PROVIDER_FORECAST;
    str base = c->base_url.n ? c->base_url : str_from(bases[c->format]);
    provider_request r = {0};
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    if (c->format == SOURCE_UK) {
        r.url = uk_url(p, base, ahead, now_s, a);
    } else if (c->format == SOURCE_ELECTRICITY_MAPS) {
        r.url = arena_printf(a, "%.*s/carbon-intensity/%s?zone=%.*s", STR(base),
                             ahead ? "forecast" : "history", STR(c->zone));
        r.header_name = S("auth-token");
        r.header_value = c->token;
    } else if (c->format == SOURCE_WATTTIME) {
        r.url = watttime_url(p, base, what, now_s, a);
        r.header_name = S("authorization");
        str pair = arena_printf(a, "%.*s:%.*s", STR(c->user), STR(c->password));
        str code = what != PROVIDER_LOGIN ? str_from(p->session)
                   : pair.p               ? base64(a, pair)
                                          : (str){0};
        if (!code.p)
            return err_no_memory(e);
        r.header_value =
            arena_printf(a, "%s %.*s", what == PROVIDER_LOGIN ? "Basic" : "Bearer", STR(code));
        if (!r.header_value.p)
            return err_no_memory(e);
    } else {
        r.url = aware_url(p, base, ahead, now_s, a);
    }
    if (!r.url.p)
        return err_no_memory(e);
    *ret = r;
    return true;
}

static bool login_answer(provider *p, int64_t now_s, bytes body, err *e)
{
    json_t *root = json_loadb((const char *)body.p, body.n, 0, NULL);
    json_t *token = json_object_get(root, "token");
    str s = {json_string_value(token), json_string_length(token)};
    bool ok = s.p && s.n > 0 && s.n < sizeof p->session && visible_ascii(s);
    if (ok) {
        memcpy(p->session, s.p, s.n);
        p->session[s.n] = 0;
        p->session_until_s = now_s + PROVIDER_SESSION_S;
        p->failures = 0;
    }
    json_decref(root);
    return ok ? true : err_set(e, ERR_INVALID, "WattTime: the login's answer holds no token");
}

bool provider_answer(provider *p, provider_what what, int64_t now_s, bytes body, arena *a,
                     intensity_reading *ret, err *e)
{
    if (what == PROVIDER_LOGIN) {
        if (!login_answer(p, now_s, body, e)) {
            provider_failed(p, now_s, 0, true);
            return false;
        }
        *ret = (intensity_reading){0};
        return true;
    }
    if (!source_parse(p->config.format, body, now_s, a, ret, e)) {
        provider_failed(p, now_s, 0, false);
        return false;
    }
    if (what == PROVIDER_FORECAST) {
        for (size_t i = 0; i < ret->points_count; i++)
            ret->points[i].forecast |= ret->points[i].from_s > now_s;
        p->forecast_s = now_s + FORECAST_EVERY_S;
    } else {
        p->history_s = now_s + HISTORY_EVERY_S;
    }
    p->failures = 0;
    return true;
}

void provider_failed(provider *p, int64_t now_s, int64_t retry_after_s, bool unauthorised)
{
    int64_t wait = PROVIDER_RETRY_S_MIN;
    for (unsigned i = 0; i < p->failures && wait < PROVIDER_RETRY_S_MAX; i++)
        wait *= 2;
    wait = wait < PROVIDER_RETRY_S_MAX ? wait : PROVIDER_RETRY_S_MAX;
    if (retry_after_s > wait)
        wait = retry_after_s < PROVIDER_WAIT_S_MAX ? retry_after_s : PROVIDER_WAIT_S_MAX;
    p->failures++;
    if (unauthorised)
        p->session[0] = 0;
    /* Both wait: a provider that is down is down for all questions. */
    if (p->history_s < now_s + wait || p->history_s - now_s > PROVIDER_WAIT_S_MAX)
        p->history_s = now_s + wait;
    if (p->forecast_s < now_s + wait || p->forecast_s - now_s > PROVIDER_WAIT_S_MAX)
        p->forecast_s = now_s + wait;
}
