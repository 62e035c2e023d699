/* The grammar of import and export names, by hand (Explainer.md "Import and Export Definitions"):
 *
 *     label                         a-b-2        words of one case, parted by '-'
 *     [constructor]l  [method]l.l  [static]l.l
 *     ns:pkg/iface@semver           ns and pkg in lower case
 *
 * Nested namespaces and projections are a gated future of the grammar and are not names here; names
 * of dependencies (url=<..> and others) were part of it once and are only recognised.
 * Uniqueness is by a key: a string that is equal for two names exactly when they clash. */
#include "component/names.h"

static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Explainer.md "Import and Export Definitions": label. */
bool label_valid(str s)
{
    bool first_word = true;
    while (s.p) {
        str word = str_cut(&s, '-');
        bool lower = false, upper = false;
        if (word.n == 0 || (first_word && is_digit(word.p[0])))
            return false;
        for (size_t i = 0; i < word.n; i++) {
            lower |= is_lower(word.p[i]);
            upper |= is_upper(word.p[i]);
            if (!is_lower(word.p[i]) && !is_upper(word.p[i]) && !is_digit(word.p[i]))
                return false;
        }
        /* A word is of one case; later words may be digits and then letters. */
        if (lower && upper)
            return false;
        first_word = false;
    }
    return !first_word;
}

/* A dotted list of identifiers of [0-9A-Za-z-]; numeric ones without leading zero if strict. */
static bool semver_identifiers(str s, bool strict)
{
    do {
        str part = str_cut(&s, '.');
        bool digits = true;
        if (part.n == 0)
            return false;
        for (size_t i = 0; i < part.n; i++) {
            char c = part.p[i];
            if (!is_lower(c) && !is_upper(c) && !is_digit(c) && c != '-')
                return false;
            digits = digits && is_digit(c);
        }
        if (strict && digits && part.n > 1 && part.p[0] == '0')
            return false;
    } while (s.p);
    return true;
}

static bool semver_number(str s)
{
    uint64_t v;
    return str_to_u64(s, UINT64_MAX, &v) && (s.n == 1 || s.p[0] != '0');
}

/* Explainer.md "Import and Export Definitions": valid semver. */
bool semver_valid(str s)
{
    str rest = s;
    str core = str_cut(&rest, '+');
    if (rest.p && !semver_identifiers(rest, false))
        return false;
    str pre = core;
    core = str_cut(&pre, '-');
    if (pre.p && !semver_identifiers(pre, true))
        return false;
    for (int i = 0; i < 3; i++)
        if (!semver_number(str_cut(&core, '.')) || (i < 2) != (core.p != NULL))
            return false;
    return true;
}

static bool is_label_char(char c) { return is_lower(c) || is_upper(c) || is_digit(c) || c == '-'; }

static bool take_label(str *s, bool lower_only)
{
    size_t n = 0;
    while (n < s->n && is_label_char(s->p[n]))
        n++;
    str label = str_head(*s, n);
    for (size_t i = 0; lower_only && i < n; i++)
        if (is_upper(label.p[i]))
            return false;
    *s = str_skip(*s, n);
    return label_valid(label);
}

static bool take(str *s, str prefix)
{
    if (!str_starts(*s, prefix))
        return false;
    *s = str_skip(*s, prefix.n);
    return true;
}

/* ns ':' pkg '/' iface */
static const char *take_path(str *s)
{
    if (!take_label(s, true) || !take(s, S(":")) || !take_label(s, true))
        return "a package name is 'namespace:name' in lower-case kebab-case";
    if (take(s, S("/")))
        return take_label(s, false) ? NULL : "the interface is not in kebab-case";
    return "expected '/' after the package name";
}

/* Explainer.md "Import and Export Definitions": interfacename. */
static const char *parse_interface(str s, str suffix)
{
    const char *why = take_path(&s);
    if (why)
        return why;
    if (s.n == 0)
        return suffix.n ? "a version suffix needs a version" : NULL;
    if (!take(&s, S("@")))
        return "trailing characters";
    char whole[256];
    if (suffix.n == 0)
        return semver_valid(s) ? NULL : "the version is not a semantic version";
    if (s.n + suffix.n > sizeof whole)
        return "the version is too long";
    memcpy(whole, s.p, s.n);
    memcpy(whole + s.n, suffix.p, suffix.n);
    return semver_valid((str){whole, s.n + suffix.n}) ? NULL
                                                      : "the version is not a semantic version";
}

/* Explainer.md "Import and Export Definitions": [constructor], [method], [static]. */
static const char *parse_member(str s, extern_name *ret)
{
    ret->function = s;
    ret->resource = str_cut(&ret->function, '.');
    if (!label_valid(ret->resource) || !ret->function.p || !label_valid(ret->function))
        return "expected 'resource.function' in kebab-case";
    return NULL;
}

/* Explainer.md "Import and Export Definitions": plainname, interfacename, depname. */
const char *extern_name_parse(str text, str version_suffix, extern_name *ret)
{
    str s = text;
    *ret = (extern_name){0};
    if (take(&s, S("[constructor]"))) {
        ret->kind = NAME_CONSTRUCTOR;
        ret->resource = s;
        return label_valid(s) ? NULL : "the resource is not in kebab-case";
    }
    if (take(&s, S("[method]"))) {
        ret->kind = NAME_METHOD;
        return parse_member(s, ret);
    }
    if (take(&s, S("[static]"))) {
        ret->kind = NAME_STATIC;
        return parse_member(s, ret);
    }
    if (str_starts(s, S("unlocked-dep=")) || str_starts(s, S("locked-dep=")) ||
        str_starts(s, S("url=")) || str_starts(s, S("integrity="))) {
        ret->kind = NAME_DEPENDENCY;
        return NULL;
    }
    if (str_find(s, ':') < s.n) {
        ret->kind = NAME_INTERFACE;
        return parse_interface(s, version_suffix);
    }
    ret->kind = NAME_LABEL;
    return label_valid(s) ? NULL : "not in kebab-case";
}

/* Explainer.md "Name Uniqueness". */
str label_key(arena *a, str label)
{
    char *p = arena_cstr(a, label);
    for (size_t i = 0; p && i < label.n; i++)
        if (is_upper(p[i]))
            p[i] = (char)(p[i] + 32);
    return (str){p, p ? label.n : 0};
}

/* Without case up to the version. */
static str path_key(arena *a, str text)
{
    size_t at = str_find(text, '@');
    str path = label_key(a, str_head(text, at));
    return path.p && at < text.n ? arena_printf(a, "%.*s%.*s", STR(path), STR(str_skip(text, at)))
                                 : path;
}

/* Explainer.md "Name Uniqueness". */
str extern_name_key(arena *a, str text, const extern_name *n)
{
    switch (n->kind) {
    case NAME_LABEL:
    case NAME_CONSTRUCTOR:
        return label_key(a, text);
    case NAME_METHOD:
    case NAME_STATIC:
        if (str_eq_nocase(n->resource, n->function))
            return label_key(a, n->resource);
        return label_key(a, str_skip(text, (size_t)(n->resource.p - text.p)));
    case NAME_INTERFACE:
        return path_key(a, text);
    default:
        return text;
    }
}
