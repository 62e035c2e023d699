/* Typed access to TOML for the manifest, and the wording of its errors: always a position, what
 * was expected, what was found, and the nearest known name if one was mistyped. */
#include "app/manifest_reader.h"

#include <stdio.h>

bool read_fail(reader *r, toml_pos at, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(r->e, ERR_INVALID, "%.*s:%u:%u: %s", STR(r->file), at.line, at.column, text);
}

bool read_wrap(reader *r, toml_pos at, const char *what)
{
    return err_wrap(r->e, "%.*s:%u:%u: %s", STR(r->file), at.line, at.column, what);
}

bool read_warn(reader *r, toml_pos at, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str s = arena_printf(r->a, "%.*s:%u:%u: %s", STR(r->file), at.line, at.column, text);
    return (s.p && str_list_add(r->a, &r->out->warnings, s)) || read_no_memory(r);
}

bool read_no_memory(reader *r) { return err_no_memory(r->e); }

const char *read_hint(reader *r, str wrong, const str *candidates, size_t n)
{
    str near = names_suggest(wrong, candidates, n);
    if (!near.p)
        return "";
    str text = arena_printf(r->a, "; did you mean '%.*s'?", STR(near));
    return text.p ? text.p : "";
}

enum { KNOWN_MAX = 32 };

bool read_known(reader *r, const toml_table *t, const char *where, const char *const *known)
{
    str all[KNOWN_MAX];
    size_t n = 0;
    for (; known[n] && n < KNOWN_MAX; n++)
        all[n] = str_from(known[n]);
    for (const toml_entry *x = t->first; x; x = x->next) {
        size_t i = 0;
        while (i < n && !str_eq(all[i], x->key))
            i++;
        if (i == n)
            return read_fail(r, x->pos, "unknown field '%.*s' in %s%s", STR(x->key), where,
                             read_hint(r, x->key, all, n));
    }
    return true;
}

const toml_value *read_get(const toml_table *t, const char *key)
{
    const toml_entry *x = toml_get(t, str_from(key));
    return x ? &x->value : NULL;
}

bool read_is(reader *r, const toml_value *v, toml_kind kind, const char *what)
{
    return v->kind == kind || read_fail(r, v->pos, "%s must be %s, not %s", what,
                                        toml_kind_name(kind), toml_kind_name(v->kind));
}

bool read_kind(reader *r, const toml_table *t, const char *key, toml_kind kind,
               const toml_value **ret)
{
    *ret = read_get(t, key);
    return !*ret || read_is(r, *ret, kind, key);
}

bool read_str(reader *r, const toml_table *t, const char *key, str *ret)
{
    const toml_value *v;
    if (!read_kind(r, t, key, TOML_STRING, &v))
        return false;
    if (v)
        *ret = v->string;
    return true;
}

bool read_bool(reader *r, const toml_table *t, const char *key, bool *ret)
{
    const toml_value *v;
    if (!read_kind(r, t, key, TOML_BOOL, &v))
        return false;
    if (v)
        *ret = v->boolean;
    return true;
}

bool read_str_list(reader *r, const toml_table *t, const char *key, str_list *ret)
{
    const toml_value *v;
    if (!read_kind(r, t, key, TOML_ARRAY, &v))
        return false;
    for (size_t i = 0; v && i < v->array.n; i++) {
        if (!read_is(r, &v->array.at[i], TOML_STRING, key))
            return false;
        if (!str_list_add(r->a, ret, v->array.at[i].string))
            return read_no_memory(r);
    }
    return true;
}

bool read_pairs(reader *r, const toml_table *t, const char *key, app_pairs *ret)
{
    const toml_value *v;
    if (!read_kind(r, t, key, TOML_TABLE, &v))
        return false;
    for (const toml_entry *x = v ? v->table->first : NULL; x; x = x->next) {
        if (x->value.kind != TOML_STRING)
            return read_fail(r, x->value.pos, "'%.*s' in %s must be a string, not %s", STR(x->key),
                             key, toml_kind_name(x->value.kind));
        if (!app_pairs_add(r->a, ret, x->key, x->value.string))
            return read_no_memory(r);
    }
    return true;
}

bool read_required(reader *r, const toml_table *t, const char *key, toml_pos at, const char *where,
                   str *ret)
{
    *ret = (str){0};
    if (!read_str(r, t, key, ret))
        return false;
    if (!ret->p)
        return read_fail(r, at, "%s has no '%s', which is required", where, key);
    return ret->n || read_fail(r, read_get(t, key)->pos, "'%s' is empty", key);
}

bool read_digest_check(reader *r, toml_pos at, str digest)
{
    bool ok = digest.n == 71 && str_starts(digest, S("sha256:"));
    for (size_t i = 7; ok && i < digest.n; i++)
        ok = (digest.p[i] >= '0' && digest.p[i] <= '9') ||
             (digest.p[i] >= 'a' && digest.p[i] <= 'f') ||
             (digest.p[i] >= 'A' && digest.p[i] <= 'F');
    return ok || read_fail(r, at, "digest '%.*s' must be 'sha256:' and 64 hexadecimal digits",
                           STR(str_head(digest, 90)));
}
