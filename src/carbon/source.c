/* See source.h. JSON is read by jansson with a depth that it limits itself; every shape below was
 * written down from the provider's own documentation, and each parser takes the union of what
 * that provider has been seen to send. CSV is in source_csv.c. */
#include "carbon/source.h"

#include "carbon/source_point.h"
#include "carbon/when.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#define G_PER_KWH_PER_LB_PER_MWH (453.59237 / 1000)

static const char *const names[] = {"csv", "uk", "electricity-maps", "watttime",
                                    "carbon-aware-sdk"};

const char *source_format_name(source_format f)
{
    return (unsigned)f < sizeof names / sizeof *names ? names[f] : "unknown";
}

bool source_format_parse(str name, source_format *ret, err *e)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq(name, str_from(names[i]))) {
            *ret = (source_format)i;
            return true;
        }
    return err_set(e, ERR_INVALID,
                   "'%.*s' is no intensity format; use csv, uk, electricity-maps, watttime or "
                   "carbon-aware-sdk",
                   STR(name));
}

static void json_unref(json_t **j) { json_decref(*j); }

/* Keys differ in case between the SDK's versions. */
static json_t *get(json_t *o, const char *key)
{
    const char *k;
    json_t *v;
    json_object_foreach(o, k, v) if (strcasecmp(k, key) == 0) return v;
    return NULL;
}

static str text_of(json_t *v)
{
    return json_is_string(v) ? (str){json_string_value(v), json_string_length(v)} : (str){0};
}

/* A number, or a string that is wholly a number. NaN otherwise. */
static double number_of(json_t *v)
{
    if (json_is_number(v))
        return json_number_value(v);
    if (!json_is_string(v) || !json_string_length(v))
        return (double)NAN;
    char *end;
    double d = strtod(json_string_value(v), &end);
    return *end ? (double)NAN : d;
}

static bool when_of(json_t *v, int64_t *ret)
{
    return json_is_string(v) && when_parse(text_of(v), ret, NULL);
}

static bool zone_set(point_list *l, json_t *v, err *e)
{
    str s = text_of(v);
    if (!s.n || l->reading.zone.n)
        return true;
    l->reading.zone = arena_str(l->arena, s);
    return l->reading.zone.p ? true : err_no_memory(e);
}

static bool uk_list(point_list *l, json_t *list, int depth, err *e)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
    {
        json_t *inner = get(v, "data"), *in = get(v, "intensity");
        if (depth < 2 && json_is_array(inner)) {
            if (!zone_set(l, get(v, "shortname"), e) || !uk_list(l, inner, depth + 1, e))
                return false;
            continue;
        }
        intensity_point p = {0};
        int64_t to;
        double actual = number_of(get(in, "actual"));
        p.forecast = isnan(actual);
        p.g_per_kwh = p.forecast ? number_of(get(in, "forecast")) : actual;
        if (!when_of(get(v, "from"), &p.from_s)) {
            l->reading.rejected++;
            continue;
        }
        if (when_of(get(v, "to"), &to) && to > p.from_s && to - p.from_s <= INTENSITY_SPAN_S_MAX)
            p.span_s = (int32_t)(to - p.from_s);
        if (!point_add(l, p, e))
            return false;
    }
    return true;
}

static bool uk(point_list *l, json_t *root, err *e)
{
    json_t *data = get(root, "data");
    l->reading.basis = INTENSITY_DIRECT;
    if (json_is_object(data)) { /* regional: one region */
        if (!zone_set(l, get(data, "shortname"), e))
            return false;
        data = get(data, "data");
    }
    if (!json_is_array(data))
        return err_set(e, ERR_INVALID, "UK intensity: no list 'data'");
    return uk_list(l, data, 0, e);
}

static bool maps_one(point_list *l, json_t *v, bool forecast, err *e)
{
    intensity_point p = {.forecast = forecast, .estimated = json_is_true(get(v, "isEstimated"))};
    json_t *at = get(v, "datetime");
    if (!when_of(at ? at : get(v, "date"), &p.from_s)) {
        l->reading.rejected++;
        return true;
    }
    json_t *type = get(v, "emissionFactorType");
    if (json_is_string(type))
        l->reading.basis =
            str_eq(text_of(type), S("direct")) ? INTENSITY_DIRECT : INTENSITY_LIFECYCLE;
    json_t *value = get(v, "carbonIntensity");
    p.g_per_kwh = number_of(value ? value : get(v, "value"));
    return point_add(l, p, e);
}

static bool maps(point_list *l, json_t *root, err *e)
{
    static const char *const lists[] = {"history", "data", "forecast"};
    l->reading.basis = INTENSITY_LIFECYCLE; /* their default */
    if (!zone_set(l, get(root, "zone"), e))
        return false;
    bool found = false;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        json_t *list = get(root, lists[k]), *v;
        size_t i;
        if (!json_is_array(list))
            continue;
        found = true;
        json_array_foreach(list, i, v) if (!maps_one(l, v, k == 2, e)) return false;
    }
    if (!found && get(root, "carbonIntensity"))
        return maps_one(l, root, false, e);
    return found ? true
                 : err_set(e, ERR_INVALID,
                           "Electricity Maps: neither carbonIntensity, history nor forecast");
}

static bool watttime(point_list *l, json_t *root, err *e)
{
    json_t *data = get(root, "data"), *meta = get(root, "meta"), *v;
    str units = text_of(get(meta, "units")), signal = text_of(get(meta, "signal_type"));
    size_t i;
    if (!json_is_array(data))
        return err_set(e, ERR_INVALID, "WattTime: no list 'data'");
    if (units.n && !str_eq(units, S("lbs_co2_per_mwh")))
        return err_set(e, ERR_UNSUPPORTED, "WattTime: units '%.*s'; ask for co2_moer or co2_aoer",
                       STR(units));
    l->reading.kind = str_eq(signal, S("co2_aoer")) ? INTENSITY_AVERAGE : INTENSITY_MARGINAL;
    l->reading.basis = INTENSITY_DIRECT;
    if (!zone_set(l, get(meta, "region"), e))
        return false;
    json_array_foreach(data, i, v)
    {
        intensity_point p = {0};
        if (!when_of(get(v, "point_time"), &p.from_s)) {
            l->reading.rejected++;
            continue;
        }
        p.g_per_kwh = number_of(get(v, "value")) * G_PER_KWH_PER_LB_PER_MWH;
        p.forecast = p.from_s > l->now_s;
        if (!point_add(l, p, e))
            return false;
    }
    return true;
}

static bool aware_one(point_list *l, json_t *v, bool forecast, err *e)
{
    intensity_point p = {.forecast = forecast};
    json_t *at = get(v, "time"), *value = get(v, "rating");
    int64_t end;
    at = at ? at : get(v, "timestamp");
    at = at ? at : get(v, "startTime");
    value = value ? value : get(v, "value");
    value = value ? value : get(v, "carbonIntensity");
    if (!when_of(at, &p.from_s)) {
        l->reading.rejected++;
        return true;
    }
    p.g_per_kwh = number_of(value);
    double minutes = number_of(get(v, "duration"));
    if (minutes > 0 && minutes * 60 <= INTENSITY_SPAN_S_MAX)
        p.span_s = (int32_t)(minutes * 60);
    if (when_of(get(v, "endTime"), &end) && end > p.from_s &&
        end - p.from_s <= INTENSITY_SPAN_S_MAX)
        p.span_s = (int32_t)(end - p.from_s);
    return zone_set(l, get(v, "location"), e) && point_add(l, p, e);
}

static bool aware(point_list *l, json_t *root, err *e)
{
    json_t *list = json_is_array(root) ? root : get(root, "Emissions"), *v, *w;
    size_t i, j;
    if (!list) {
        json_t *data = get(root, "forecastData");
        if (!data)
            return aware_one(l, root, false, e);
        json_array_foreach(data, j, w) if (!aware_one(l, w, true, e)) return false;
        return true;
    }
    json_array_foreach(list, i, v)
    {
        json_t *data = get(v, "forecastData");
        if (!data && !aware_one(l, v, false, e))
            return false;
        json_array_foreach(data, j, w) if (!aware_one(l, w, true, e)) return false;
    }
    return true;
}

static json_t *load(bytes text, size_t flags, err *e)
{
    json_error_t je;
    if (text.n > SOURCE_JSON_BYTES_MAX) {
        err_set(e, ERR_LIMIT, "intensity data in JSON has %zu bytes, more than %u", text.n,
                SOURCE_JSON_BYTES_MAX);
        return NULL;
    }
    json_t *root = json_loadb((const char *)text.p, text.n, flags | JSON_REJECT_DUPLICATES, &je);
    if (!root)
        err_set(e, ERR_INVALID, "intensity data is no JSON: line %d: %s", je.line, je.text);
    return root;
}

bool source_parse(source_format f, bytes text, int64_t now_s, arena *a, intensity_reading *ret,
                  err *e)
{
    point_list l = {.arena = a, .now_s = now_s};
    if (text.n > SOURCE_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "intensity data has %zu bytes, more than %u", text.n,
                       SOURCE_BYTES_MAX);
    if (f == SOURCE_CSV) {
        if (!source_csv(&l, text, e))
            return false;
    } else {
        _cleanup_(json_unref) json_t *root = load(text, 0, e);
        if (!root)
            return err_wrap(e, "%s", source_format_name(f));
        bool ok = f == SOURCE_UK                 ? uk(&l, root, e)
                  : f == SOURCE_ELECTRICITY_MAPS ? maps(&l, root, e)
                  : f == SOURCE_WATTTIME         ? watttime(&l, root, e)
                                                 : aware(&l, root, e);
        if (!ok)
            return false;
    }
    if (!l.reading.points_count)
        return err_set(e, ERR_NOT_FOUND, "%s: no usable point (%zu rejected)",
                       source_format_name(f), l.reading.rejected);
    *ret = l.reading;
    return true;
}

bool source_guess(bytes text, source_format *ret, err *e)
{
    size_t i = 0;
    while (i < text.n && strchr(" \t\r\n\xef\xbb\xbf", text.p[i]) && text.p[i])
        i++;
    if (i == text.n)
        return err_set(e, ERR_INVALID, "intensity data is empty");
    if (text.p[i] != '{' && text.p[i] != '[') {
        *ret = SOURCE_CSV;
        return true;
    }
    _cleanup_(json_unref) json_t *root = load(text, 0, e);
    if (!root)
        return false;
    json_t *data = get(root, "data");
    json_t *first = json_is_array(data) ? json_array_get(data, 0) : NULL;
    if (json_is_array(root) || get(root, "Emissions") || get(root, "forecastData") ||
        get(root, "startTime"))
        *ret = SOURCE_CARBON_AWARE;
    else if (get(root, "meta") || get(first, "point_time"))
        *ret = SOURCE_WATTTIME;
    else if (get(root, "zone"))
        *ret = SOURCE_ELECTRICITY_MAPS;
    else if (data)
        *ret = SOURCE_UK;
    else
        return err_set(e, ERR_INVALID, "this JSON is none of the known intensity formats");
    return true;
}

/* JavaScript's "\xE9", which JSON lacks, becomes "\u00E9". Escapes are skipped in pairs. */
static bool escapes_convert(bytes js, buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i + 1 < js.n; i++) {
        if (js.p[i] != '\\')
            continue;
        if (js.p[i + 1] == 'x') {
            buf_put(out, js.p + from, i - from);
            buf_put_str(out, S("\\u00"));
            from = i + 2;
        }
        i++;
    }
    return buf_put(out, js.p + from, js.n - from);
}

bool source_yearly(bytes table, str zone, double *ret_g_per_kwh, err *e)
{
    str s = {(const char *)table.p, table.n};
    size_t brace = str_find(s, '{');
    if (brace == s.n)
        return err_set(e, ERR_INVALID, "yearly table: no object");
    _cleanup_(buf_fini) buf text;
    buf_init(&text, 2 * (size_t)SOURCE_JSON_BYTES_MAX);
    if (!escapes_convert((bytes){table.p + brace, table.n - brace}, &text))
        return err_no_memory(e);
    _cleanup_(json_unref) json_t *root = load(buf_bytes(&text), JSON_DISABLE_EOF_CHECK, e);
    if (!root)
        return err_wrap(e, "yearly table");
    json_t *data = get(root, "data");
    json_t *v = json_object_getn(json_is_object(data) ? data : root, zone.p, zone.n);
    if (json_is_object(v)) {
        json_t *in = get(v, "carbonIntensity");
        v = json_is_object(in) ? get(in, "value") : in;
    }
    double g = number_of(v);
    if (!(g > 0) || g > INTENSITY_MAX)
        return err_set(e, ERR_NOT_FOUND, "the yearly table has no figure for zone '%.*s'",
                       STR(zone));
    *ret_g_per_kwh = g;
    return true;
}
