/* See prefer.h. The grammar (RFC 7240 2):
 *
 *     Prefer     = 1#preference
 *     preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] )
 *     word       = token / quoted-string
 *
 * Lists are cut at commas outside of quotes, preferences at semicolons outside of quotes. */
#include "http/prefer.h"

#include "http/field.h"

#include <stdio.h>

/* Cuts at the first c outside of a quoted string; takes it and what was before off *s. */
static str cut_unquoted(str *s, char c)
{
    bool quoted = false;
    for (size_t i = 0; i < s->n; i++) {
        if (quoted && s->p[i] == '\\')
            i++;
        else if (s->p[i] == '"')
            quoted = !quoted;
        else if (s->p[i] == c && !quoted) {
            str head = str_head(*s, i);
            *s = str_skip(*s, i + 1);
            return head;
        }
    }
    str all = *s;
    *s = (str){0};
    return all;
}

/* Escapes don't matter: what is asked of values here are digits. */
static str unquote(str s)
{
    bool quoted = s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"';
    return quoted ? str_head(str_skip(s, 1), s.n - 2) : s;
}

static void preference_read(str text, prefer *p, bool *seen_wait)
{
    str value = cut_unquoted(&text, ';');
    size_t equals = str_find(value, '=');
    str name = str_trim(str_head(value, equals));
    bool has_value = equals < value.n;
    value = unquote(str_trim(str_skip(value, equals + 1)));
    uint64_t n;
    if (str_eq_nocase(name, S("respond-async"))) {
        /* An empty value is none (2). */
        p->respond_async |= !value.n;
    } else if (str_eq_nocase(name, S("wait")) && has_value && !*seen_wait) {
        *seen_wait = true;
        p->has_wait = str_to_u64(value, UINT32_MAX, &n);
        p->wait_s = p->has_wait ? (uint32_t)n : 0;
    }
}

prefer prefer_read(const http_field *fields, size_t count)
{
    prefer p = {0};
    bool seen_wait = false;
    for (size_t i = 0; i < count; i++) {
        str list = fields[i].value;
        if (!str_eq(fields[i].name, S("prefer")))
            continue;
        while (list.n)
            preference_read(cut_unquoted(&list, ','), &p, &seen_wait);
    }
    return p;
}

str preference_applied(bool respond_async, bool waited, uint32_t wait_s,
                       char place[PREFERENCE_APPLIED_BYTES])
{
    if (!waited)
        return S("respond-async");
    snprintf(place, PREFERENCE_APPLIED_BYTES, "%swait=%u", respond_async ? "respond-async, " : "",
             (unsigned)wait_s);
    return str_from(place);
}

bool idempotency_key_read(const http_field *fields, size_t count, str *ret, err *e)
{
    str key = {0};
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(fields[i].name, S("idempotency-key")))
            continue;
        if (key.p)
            return err_set(e, ERR_INVALID, "more than one Idempotency-Key; send one");
        key = unquote(str_trim(fields[i].value));
        if (!key.n || key.n > IDEMPOTENCY_KEY_BYTES_MAX)
            return err_set(e, ERR_INVALID, "Idempotency-Key must have 1 to %d characters",
                           IDEMPOTENCY_KEY_BYTES_MAX);
        for (size_t k = 0; k < key.n; k++)
            if (key.p[k] < 0x21 || key.p[k] > 0x7e || key.p[k] == '"' || key.p[k] == '\\')
                return err_set(e, ERR_INVALID,
                               "Idempotency-Key may have visible ASCII characters, but no blank, "
                               "quote or backslash");
    }
    *ret = key;
    return true;
}
