/* A requirement is a list of comparators, all of which must hold. Each is turned into a range of
 * versions, [low, high): an absent number is "any", so that "1.2" means what "^1.2" means (below
 * 2.0.0) and "=1.2" what "1.2.*" does (below 1.3.0). */
#include "app/semver.h"

enum { NUMBER_MAX = UINT32_MAX };

static bool number_parse(str s, uint64_t *ret)
{
    bool padded = s.n > 1 && s.p[0] == '0';
    return !padded && str_to_u64(s, NUMBER_MAX, ret);
}

bool semver_parse(str text, semver *ret)
{
    semver v = {0};
    str rest = str_head(text, str_find(text, '+'));
    str numbers = str_head(rest, str_find(rest, '-'));
    v.pre = str_skip(rest, numbers.n + 1);
    if (numbers.n < rest.n && !v.pre.n)
        return false;
    str major = str_cut(&numbers, '.'), minor = str_cut(&numbers, '.');
    if (!numbers.p || !number_parse(major, &v.major) || !number_parse(minor, &v.minor) ||
        !number_parse(numbers, &v.patch))
        return false;
    *ret = v;
    return true;
}

static int order(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

/* Semantic Versioning 2.0.0, 11.4. */
static int pre_compare(str a, str b)
{
    if (!a.n || !b.n) /* none comes after any */
        return order(!a.n, !b.n);
    while (a.p && b.p) {
        str x = str_cut(&a, '.'), y = str_cut(&b, '.');
        uint64_t nx, ny;
        bool x_number = number_parse(x, &nx), y_number = number_parse(y, &ny);
        int c = x_number && y_number ? order(nx, ny) : order(y_number, x_number);
        if (!c && !x_number)
            c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
        if (!c)
            c = order(x.n, y.n);
        if (c)
            return c;
    }
    return order(a.p != NULL, b.p != NULL);
}

int semver_compare(const semver *a, const semver *b)
{
    int c = order(a->major, b->major);
    c = c ? c : order(a->minor, b->minor);
    c = c ? c : order(a->patch, b->patch);
    return c ? c : pre_compare(a->pre, b->pre);
}

typedef struct {
    str op;    /* "^", "~", "=", ">", ">=", "<", "<=" */
    semver v;  /* absent numbers are 0 */
    int given; /* how many numbers */
} comparator;

static bool is_any(str s) { return str_eq(s, S("*")) || str_eq(s, S("x")) || str_eq(s, S("X")); }

static bool comparator_parse(str text, comparator *ret)
{
    static const char *const ops[] = {">=", "<=", "^", "~", "=", ">", "<"};
    comparator c = {.op = S("^")};
    bool has_op = false;
    str rest = str_trim(text);
    for (size_t i = 0; i < 7 && !has_op; i++)
        if (str_starts(rest, str_from(ops[i]))) {
            c.op = str_from(ops[i]);
            rest = str_trim(str_skip(rest, c.op.n));
            has_op = true;
        }
    if (semver_parse(rest, &c.v)) {
        c.given = 3;
        *ret = c;
        return true;
    }
    uint64_t *numbers[] = {&c.v.major, &c.v.minor, &c.v.patch};
    bool any = false;
    for (int i = 0; rest.p; i++) {
        str part = str_cut(&rest, '.');
        if (i == 3)
            return false;
        if (is_any(part)) {
            any = true;
            if (!has_op)
                c.op = S("=");
        } else if (any || !number_parse(part, numbers[i])) {
            return false;
        } else {
            c.given = i + 1;
        }
    }
    *ret = c;
    return true;
}

/* The first version after all that begin with the first `n` numbers of v. */
static semver after(semver v, int n)
{
    v.pre = (str){0};
    if (n >= 3)
        return (semver){v.major, v.minor, v.patch + 1, {0}};
    return n == 2 ? (semver){v.major, v.minor + 1, 0, {0}} : (semver){v.major + 1, 0, 0, {0}};
}

static bool comparator_holds(const comparator *c, const semver *v)
{
    const semver low = c->v;
    semver high;
    char op = c->op.p[0];
    bool or_equal = c->op.n == 2;
    if (c->given == 0)
        return op != '<' && (op != '>' || or_equal);
    if (op == '>' && !or_equal)
        return c->given == 3 ? semver_compare(v, &low) > 0
                             : (high = after(low, c->given), semver_compare(v, &high) >= 0);
    if (op == '>')
        return semver_compare(v, &low) >= 0;
    if (op == '<' && !or_equal)
        return semver_compare(v, &low) < 0;
    if (op == '<')
        return c->given == 3 ? semver_compare(v, &low) <= 0
                             : (high = after(low, c->given), semver_compare(v, &high) < 0);
    if (op == '=' && c->given == 3)
        return semver_compare(v, &low) == 0;
    if (op == '=')
        high = after(low, c->given);
    else if (op == '~')
        high = after(low, c->given < 2 ? c->given : 2);
    else
        high = low.major || c->given == 1   ? after(low, 1)
               : low.minor || c->given == 2 ? after(low, 2)
                                            : after(low, 3);
    return semver_compare(v, &low) >= 0 && semver_compare(v, &high) < 0;
}

bool semver_is_requirement(str text)
{
    comparator c;
    while (text.p)
        if (!comparator_parse(str_cut(&text, ','), &c))
            return false;
    return true;
}

bool semver_meets(const semver *v, str requirement)
{
    bool pre_named = false;
    str rest = requirement;
    if (!rest.p || !semver_is_requirement(rest))
        return false;
    while (rest.p) {
        comparator c;
        comparator_parse(str_cut(&rest, ','), &c);
        if (!comparator_holds(&c, v))
            return false;
        pre_named |=
            c.v.pre.n && c.v.major == v->major && c.v.minor == v->minor && c.v.patch == v->patch;
    }
    return !v->pre.n || pre_named;
}
