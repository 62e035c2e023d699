/* The grammar of import and export names, by hand (Explainer.md "Import and Export Definitions"):
 *
 *     label                         a-b-2        words of one case, parted by '-'
 *     [constructor]l  [method]l.l  [static]l.l
 *     ns:pkg/iface@semver           ns and pkg in lower case
 *     unlocked-dep=<pkgnamequery>   locked-dep=<pkgname>[,integrity=<..>]
 *     url=<..>[,integrity=<..>]     integrity=<sha256-base64 ...>
 *
 * Nested namespaces and projections are a gated future of the grammar and are not names here.
 * Uniqueness is by a key: a string that is equal for two names exactly when they clash. */
#include "component/names.h"

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

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

static bool is_label_char(char c)
{
    return is_lower(c) || is_upper(c) || is_digit(c) || c == '-';
}

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

/* ns ':' pkg ('/' iface)? */
static const char *take_path(str *s, bool projection_needed)
{
    if (!take_label(s, true) || !take(s, S(":")) || !take_label(s, true))
        return "a package name is 'namespace:name' in lower-case kebab-case";
    if (take(s, S("/")))
        return take_label(s, false) ? NULL : "the interface is not in kebab-case";
    return projection_needed ? "expected '/' after the package name" : NULL;
}

static bool hash_valid(str s)
{
    static const char *const kinds[] = {"sha256-", "sha384-", "sha512-"};
    size_t kind = 0, equals = 0, i;
    while (kind < 3 && !take(&s, str_from(kinds[kind])))
        kind++;
    s = str_head(s, str_find(s, '?'));
    for (i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = is_lower(c) || is_upper(c) || is_digit(c) || c == '+' || c == '/';
        equals += c == '=';
        if (!(letter && !equals) && !(c == '=' && i > 0 && equals <= 2))
            return false;
    }
    return kind < 3 && i > 0;
}

/* "<sha256-.. sha512-..>" */
static const char *take_hashes(str *s)
{
    if (!take(s, S("<")))
        return "expected '<'";
    size_t n = str_find(*s, '>');
    if (n == s->n)
        return "expected '>'";
    str hashes = str_trim(str_head(*s, n));
    *s = str_skip(*s, n + 1);
    if (hashes.n == 0)
        return "integrity hash cannot be empty";
    while (hashes.p) {
        str one = str_cut(&hashes, ' ');
        if (one.n && !hash_valid(one))
            return "an integrity hash is 'sha256-', 'sha384-' or 'sha512-' and base64";
    }
    return NULL;
}

static const char *optional_hashes(str *s)
{
    if (s->n == 0)
        return NULL;
    if (!take(s, S(",integrity=")))
        return "trailing characters";
    return take_hashes(s);
}

/* "*", "{>=1.0.0}", "{<2.0.0}" or "{>=1.0.0 <2.0.0}" */
static bool range_valid(str s)
{
    if (str_eq(s, S("*")))
        return true;
    if (!take(&s, S("{")) || !str_ends(s, S("}")))
        return false;
    s.n--;
    if (take(&s, S(">="))) {
        str lower = str_cut(&s, ' ');
        return semver_valid(lower) && (!s.p || (take(&s, S("<")) && semver_valid(s)));
    }
    return str_eq(s, S("*")) || (take(&s, S("<")) && semver_valid(s));
}

static const char *parse_dependency(str s, bool locked)
{
    if (!take(&s, S("<")))
        return "expected '<'";
    const char *why = take_path(&s, false);
    if (why)
        return why;
    size_t close = locked ? str_find(s, '>') : str_rfind(s, '>');
    if (close == s.n)
        return "expected '>'";
    str version = str_head(s, close);
    s = str_skip(s, close + 1);
    if (version.n && !take(&version, S("@")))
        return "expected '@' or '>' after the package name";
    else if (version.p != NULL && close > 0 && !(locked ? semver_valid(version) : range_valid(version)))
        return "the version is not a semantic version";
    return locked ? optional_hashes(&s) : s.n ? "trailing characters" : NULL;
}

static const char *parse_url(str s)
{
    size_t close = str_find(s, '>');
    if (!str_starts(s, S("<")) || close == s.n)
        return "expected '<' and '>' around the URL";
    if (str_find(str_head(str_skip(s, 1), close - 1), '<') < close - 1)
        return "url cannot contain '<'";
    s = str_skip(s, close + 1);
    return optional_hashes(&s);
}

static const char *parse_interface(str s, str suffix)
{
    const char *why = take_path(&s, true);
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

static const char *parse_member(str s, extern_name *ret)
{
    ret->function = s;
    ret->resource = str_cut(&ret->function, '.');
    if (!label_valid(ret->resource) || !ret->function.p || !label_valid(ret->function))
        return "expected 'resource.function' in kebab-case";
    return NULL;
}

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
    if (take(&s, S("unlocked-dep="))) {
        ret->kind = NAME_DEPENDENCY;
        return parse_dependency(s, false);
    }
    if (take(&s, S("locked-dep="))) {
        ret->kind = NAME_DEPENDENCY;
        return parse_dependency(s, true);
    }
    if (take(&s, S("url="))) {
        ret->kind = NAME_URL;
        return parse_url(s);
    }
    if (take(&s, S("integrity="))) {
        ret->kind = NAME_HASH;
        const char *why = take_hashes(&s);
        return why ? why : s.n ? "trailing characters" : NULL;
    }
    if (str_find(s, ':') < s.n) {
        ret->kind = NAME_INTERFACE;
        return parse_interface(s, version_suffix);
    }
    ret->kind = NAME_LABEL;
    return label_valid(s) ? NULL : "not in kebab-case";
}

str label_key(arena *a, str label)
{
    char *p = arena_cstr(a, label);
    for (size_t i = 0; p && i < label.n; i++)
        if (is_upper(p[i]))
            p[i] = (char)(p[i] + 32);
    return (str){p, p ? label.n : 0};
}

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
    default:
        return text;
    }
}
