/* TOML values as JSON, plain (for configuration that ebb only passes on) and tagged (what the
 * toml-test suite compares). The recursion is as deep as the value, which the TOML reader bounds
 * by TOML_DEPTH_MAX for arrays and inline tables and by the parts of a key for the rest. */
#include "app/toml_json.h"

#include <math.h>

bool json_put_string(buf *out, str s)
{
    static const char hex[] = "0123456789abcdef";
    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            buf_put_u8(out, '\\');
            buf_put_u8(out, c);
        } else if (c < 0x20 || c == 0x7f) {
            char u[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_put(out, u, sizeof u);
        } else {
            buf_put_u8(out, c);
        }
    }
    buf_put_u8(out, '"');
    return !out->failed;
}

static void put_datetime(buf *out, const toml_value *v)
{
    const toml_datetime *d = &v->datetime;
    bool has_date = v->kind != TOML_TIME_LOCAL, has_time = v->kind != TOML_DATE_LOCAL;
    if (has_date)
        buf_printf(out, "%04u-%02u-%02u", d->year, d->month, d->day);
    if (has_date && has_time)
        buf_put_u8(out, 'T');
    if (has_time)
        buf_printf(out, "%02u:%02u:%02u", d->hour, d->minute, d->second);
    if (has_time && d->digits) {
        uint32_t fraction = d->nanosecond;
        for (int i = d->digits; i < 9; i++)
            fraction /= 10;
        buf_printf(out, ".%0*u", (int)d->digits, fraction);
    }
    if (v->kind != TOML_DATETIME)
        return;
    int minutes = d->offset_minutes < 0 ? -d->offset_minutes : d->offset_minutes;
    if (d->is_z)
        buf_put_u8(out, 'Z');
    else
        buf_printf(out, "%c%02d:%02d", d->offset_minutes < 0 ? '-' : '+', minutes / 60,
                   minutes % 60);
}

static void put_float(buf *out, double d)
{
    if (isnan(d))
        buf_put_str(out, S("nan"));
    else if (isinf(d))
        buf_put_str(out, d < 0 ? S("-inf") : S("inf"));
    else
        buf_printf(out, "%.17g", d);
}

static void put_value(buf *out, const toml_value *v, bool tagged);

static void put_table(buf *out, const toml_table *t, bool tagged)
{
    buf_put_u8(out, '{');
    for (const toml_entry *x = t->first; x; x = x->next) {
        json_put_string(out, x->key);
        buf_put_u8(out, ':');
        put_value(out, &x->value, tagged);
        if (x->next)
            buf_put_u8(out, ',');
    }
    buf_put_u8(out, '}');
}

static void put_array(buf *out, const toml_array *a, bool tagged)
{
    buf_put_u8(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_value(out, &a->at[i], tagged);
    }
    buf_put_u8(out, ']');
}

static const char *tag_name(toml_kind kind)
{
    static const char *const names[] = {
        [TOML_STRING] = "string",         [TOML_INTEGER] = "integer",
        [TOML_FLOAT] = "float",           [TOML_BOOL] = "bool",
        [TOML_DATETIME] = "datetime",     [TOML_DATETIME_LOCAL] = "datetime-local",
        [TOML_DATE_LOCAL] = "date-local", [TOML_TIME_LOCAL] = "time-local",
    };
    return names[kind];
}

static void put_leaf(buf *out, const toml_value *v, bool quoted)
{
    if (v->kind == TOML_STRING) {
        json_put_string(out, v->string);
        return;
    }
    bool is_time = v->kind >= TOML_DATETIME && v->kind <= TOML_TIME_LOCAL;
    if (v->kind == TOML_FLOAT && !quoted && !isfinite(v->floating)) {
        buf_put_str(out, S("null"));
        return;
    }
    if (quoted || is_time)
        buf_put_u8(out, '"');
    if (is_time)
        put_datetime(out, v);
    else if (v->kind == TOML_BOOL)
        buf_put_str(out, v->boolean ? S("true") : S("false"));
    else if (v->kind == TOML_INTEGER)
        buf_printf(out, "%lld", (long long)v->integer);
    else
        put_float(out, v->floating);
    if (quoted || is_time)
        buf_put_u8(out, '"');
}

static void put_value(buf *out, const toml_value *v, bool tagged)
{
    if (v->kind == TOML_TABLE) {
        put_table(out, v->table, tagged);
    } else if (v->kind == TOML_ARRAY) {
        put_array(out, &v->array, tagged);
    } else if (tagged) {
        buf_printf(out, "{\"type\":\"%s\",\"value\":", tag_name(v->kind));
        put_leaf(out, v, true);
        buf_put_u8(out, '}');
    } else {
        put_leaf(out, v, false);
    }
}

static bool write_value(const toml_value *v, buf *out, bool tagged, err *e)
{
    put_value(out, v, tagged);
    return !out->failed ||
           err_set(e, ERR_LIMIT, "JSON larger than %zu bytes, or out of memory", out->max);
}

bool toml_to_json(const toml_value *v, buf *out, err *e) { return write_value(v, out, false, e); }

bool toml_to_tagged_json(const toml_value *v, buf *out, err *e)
{
    return write_value(v, out, true, e);
}
