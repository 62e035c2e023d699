/* HTTP routing over a tree of path segments.
 *
 * Building cuts every pattern at its slashes, sorts the routes, and lays the tree out in one array
 * of nodes in which the literal children of a node stand together, sorted:
 *
 *     node:  literals [first, +n)   next segment is exactly this text      binary search
 *            shapes   [first, +n)   next segment has parameters            tried in order
 *            end                    the route that ends here
 *            rest                   the route that ends in "/..." here
 *
 * A segment with parameters is a "shape": pieces cut at dots, each literal or a parameter, such as
 * ":name", ":file.txt", "v.:major.:minor". Shapes are sorted by precedence: literal before
 * parameter, piece by piece, then more pieces before fewer.
 *
 * Matching walks down with an explicit stack of at most ROUTE_SEGMENTS_MAX frames and goes back
 * where a more specific branch leads nowhere ("/a/b/c" and "/a/:x/d" for the path "/a/b/d"). Only
 * then does time depend on the routes and not on the path.
 *
 * Semantics are those of Spin's router (routefinder 0.5), whose own two implementations differ in
 * whether ":name" stops at a dot that the pattern does not have; here, as in its documentation and
 * its pattern matcher, it does not. */
#include "app/route.h"

#include "base/must.h"

#include <stdlib.h>

typedef struct {
    str text;
    bool is_param;
} piece;

typedef struct {
    str text; /* of a literal segment */
    piece *pieces;
    size_t pieces_count; /* 0: a literal segment */
} segment;

typedef struct {
    const app_trigger *trigger;
    str raw;     /* as written */
    str pattern; /* with leading '/', without trailing one */
    segment *segments;
    size_t segments_count;
    bool is_wildcard;
    size_t order; /* in the manifest */
} route;

typedef struct node {
    segment seg; /* of the way from the parent here */
    struct node *literals, *shapes;
    size_t literals_count, shapes_count;
    const route *end, *rest;
} node;

struct route_table {
    node root;
    size_t routes_count;
    route_duplicate *duplicates;
    size_t duplicates_count;
};

/* ---- patterns ---- */

static str trim_slashes(str s)
{
    while (s.n && s.p[0] == '/')
        s = str_skip(s, 1);
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static bool param_name_check(str name, str pattern, err *e)
{
    if (!name.n)
        return err_set(e, ERR_INVALID, "route '%.*s' has a parameter without a name", STR(pattern));
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-';
        if (!ok)
            return err_set(e, ERR_INVALID,
                           "route '%.*s': parameter ':%.*s' becomes a header "
                           "name, so it may only have letters, digits, '-' and '_'",
                           STR(pattern), STR(name));
    }
    return true;
}

static char header_char(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool header_name_eq(str x, str y)
{
    bool eq = x.n == y.n;
    for (size_t i = 0; eq && i < x.n; i++)
        eq = header_char(x.p[i]) == header_char(y.p[i]);
    return eq;
}

static size_t pieces_max(str text)
{
    size_t n = 1;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '.';
    return n;
}

/* Cuts one segment. Dots that stand between two literals stay inside the literal, so that pieces
 * alternate as far as they can: "a.b.:c" is "a.b." and a parameter. */
static bool segment_parse(arena *a, str text, str pattern, segment *ret, size_t *params, err *e)
{
    segment s = {.text = text};
    bool has_param = text.p[0] == ':' || memmem(text.p, text.n, ".:", 2);
    if (!has_param) {
        *ret = s;
        return true;
    }
    s.pieces = ARENA_ARRAY(a, piece, 2 * pieces_max(text));
    if (!s.pieces)
        return err_no_memory(e);
    for (str rest = text; rest.p;) {
        bool first = rest.p == text.p;
        str part = str_cut(&rest, '.');
        piece *last = s.pieces_count ? &s.pieces[s.pieces_count - 1] : NULL;
        bool is_param = str_starts(part, S(":"));
        if (is_param) {
            if (!param_name_check(str_skip(part, 1), pattern, e))
                return false;
            if (++*params > ROUTE_PARAMS_MAX)
                return err_set(e, ERR_LIMIT, "route '%.*s' has more than %d parameters",
                               STR(pattern), ROUTE_PARAMS_MAX);
        }
        if (!first && last && !last->is_param)
            last->text.n++; /* the dot, which follows it in text */
        else if (!first)
            s.pieces[s.pieces_count++] = (piece){{part.p - 1, 1}, false};
        last = s.pieces_count ? &s.pieces[s.pieces_count - 1] : NULL;
        if (is_param)
            s.pieces[s.pieces_count++] = (piece){str_skip(part, 1), true};
        else if (last && !last->is_param)
            last->text.n += part.n;
        else if (part.n)
            s.pieces[s.pieces_count++] = (piece){part, false};
    }
    *ret = s;
    return true;
}

/* A leading '/' and no trailing one: what spin-matched-route says. */
static bool pattern_normalise(arena *a, str raw, str *ret)
{
    str s = raw;
    if (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    if (!s.n || str_eq(s, S("/")))
        s = S("/");
    else if (s.p[0] != '/')
        s = arena_printf(a, "/%.*s", STR(s));
    *ret = s;
    return s.p;
}

/* Two parameters of one name would make one header twice; '_' and '-' are the same there. */
static bool params_check(const route *r, err *e)
{
    str seen[ROUTE_PARAMS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->segments_count; i++)
        for (size_t j = 0; j < r->segments[i].pieces_count; j++) {
            const piece *p = &r->segments[i].pieces[j];
            if (!p->is_param)
                continue;
            for (size_t k = 0; k < n; k++)
                if (header_name_eq(seen[k], p->text))
                    return err_set(e, ERR_INVALID,
                                   "route '%.*s' has two parameters named "
                                   "':%.*s'",
                                   STR(r->raw), STR(p->text));
            seen[n++] = p->text;
        }
    return true;
}

static bool route_parse(arena *a, str raw, route *ret, err *e)
{
    route r = {.raw = raw};
    size_t params = 0, count = 1;
    for (size_t i = 0; i < raw.n; i++)
        count += raw.p[i] == '/';
    r.segments = ARENA_ARRAY(a, segment, count);
    if (!r.segments || !pattern_normalise(a, raw, &r.pattern))
        return err_no_memory(e);
    str path = trim_slashes(raw);
    size_t slash = str_rfind(path, '/');
    str last = slash < path.n ? str_skip(path, slash + 1) : path;
    r.is_wildcard = str_eq(last, S("...")) || str_eq(last, S("*"));
    if (r.is_wildcard)
        path.n -= last.n;
    while (path.p) {
        str text = str_cut(&path, '/');
        if (!text.n)
            continue;
        if (text.p[0] == '*' || str_eq(text, S("...")))
            return err_set(e, ERR_INVALID,
                           "route '%.*s': '%.*s' may only stand at the end, as "
                           "'/...'; for one segment use ':name'",
                           STR(raw), STR(text));
        if (r.segments_count == ROUTE_SEGMENTS_MAX)
            return err_set(e, ERR_LIMIT, "route '%.*s' has more than %d segments", STR(raw),
                           ROUTE_SEGMENTS_MAX);
        if (!segment_parse(a, text, raw, &r.segments[r.segments_count], &params, e))
            return false;
        r.segments_count++;
    }
    if (!params_check(&r, e))
        return false;
    *ret = r;
    return true;
}

bool route_check(str pattern, err *e)
{
    _cleanup_(arena_fini) arena scratch;
    route r;
    arena_init(&scratch, 1 << 20);
    return route_parse(&scratch, pattern, &r, e);
}

/* ---- order ---- */

static int piece_cmp(const piece *x, const piece *y)
{
    if (x->is_param != y->is_param)
        return x->is_param ? 1 : -1;
    return x->is_param ? 0 : str_cmp(y->text, x->text); /* ".txt" before "." */
}

/* Literals first, among themselves by text; then shapes by precedence. */
static int segment_cmp(const segment *x, const segment *y)
{
    if (!x->pieces_count || !y->pieces_count) {
        if (!x->pieces_count && !y->pieces_count)
            return str_cmp(x->text, y->text);
        return x->pieces_count ? 1 : -1;
    }
    for (size_t i = 0; i < x->pieces_count && i < y->pieces_count; i++) {
        int c = piece_cmp(&x->pieces[i], &y->pieces[i]);
        if (c)
            return c;
    }
    return x->pieces_count > y->pieces_count ? -1 : x->pieces_count < y->pieces_count;
}

static int route_shape_cmp(const route *x, const route *y)
{
    for (size_t i = 0; i < x->segments_count && i < y->segments_count; i++) {
        int c = segment_cmp(&x->segments[i], &y->segments[i]);
        if (c)
            return c;
    }
    if (x->segments_count != y->segments_count)
        return x->segments_count < y->segments_count ? -1 : 1;
    return (int)x->is_wildcard - (int)y->is_wildcard;
}

static int route_cmp(const void *x, const void *y)
{
    const route *a = x, *b = y;
    int c = route_shape_cmp(a, b);
    return c ? c : a->order < b->order ? -1 : a->order > b->order;
}

/* ---- the tree ---- */

/* How many of the routes from i on share the segment at that depth. */
static size_t run_length(const route *routes, size_t n, size_t i, size_t depth)
{
    size_t j = i + 1;
    while (j < n && !segment_cmp(&routes[i].segments[depth], &routes[j].segments[depth]))
        j++;
    return j - i;
}

/* routes [0, n) are sorted and share their first `depth` segments. The recursion is as deep as the
 * longest pattern, at most ROUTE_SEGMENTS_MAX. */
static bool node_build(arena *a, node *at, const route *routes, size_t n, size_t depth)
{
    size_t i = 0, literals = 0, shapes = 0;
    for (; i < n && routes[i].segments_count == depth; i++) {
        const route **slot = routes[i].is_wildcard ? &at->rest : &at->end;
        *slot = &routes[i]; /* the last of the manifest wins */
    }
    routes += i;
    n -= i;
    for (i = 0; i < n; i += run_length(routes, n, i, depth))
        (*(routes[i].segments[depth].pieces_count ? &shapes : &literals))++;
    if (!n)
        return true;
    at->literals = ARENA_ARRAY(a, node, literals);
    at->shapes = ARENA_ARRAY(a, node, shapes);
    if (!at->literals || !at->shapes)
        return false;
    for (i = 0; i < n;) {
        const segment *seg = &routes[i].segments[depth];
        size_t run = run_length(routes, n, i, depth);
        node *child = seg->pieces_count ? &at->shapes[at->shapes_count++]
                                        : &at->literals[at->literals_count++];
        child->seg = *seg;
        if (!node_build(a, child, routes + i, run, depth + 1))
            return false;
        i += run;
    }
    return true;
}

/* Equal shapes stand next to each other once sorted, the last of the manifest at the end. */
static bool duplicates_collect(arena *a, route_table *t, const route *routes)
{
    t->duplicates = ARENA_ARRAY(a, route_duplicate, t->routes_count);
    if (!t->duplicates)
        return false;
    for (size_t i = 0; i + 1 < t->routes_count; i++)
        if (!route_shape_cmp(&routes[i], &routes[i + 1]))
            t->duplicates[t->duplicates_count++] =
                (route_duplicate){routes[i].trigger, routes[i + 1].trigger};
    return true;
}

const route_duplicate *route_duplicates(const route_table *t, size_t *ret_count)
{
    *ret_count = t->duplicates_count;
    return t->duplicates;
}

bool route_table_build(arena *a, const app *of, route_table **ret, err *e)
{
    route_table *t = ARENA_NEW(a, route_table);
    route *routes = ARENA_ARRAY(a, route, of->triggers_count);
    if (!t || !routes)
        return err_no_memory(e);
    for (size_t i = 0; i < of->triggers_count; i++) {
        const app_trigger *trigger = &of->triggers[i];
        if (trigger->kind != APP_TRIGGER_HTTP || trigger->is_private)
            continue;
        route *r = &routes[t->routes_count];
        if (!route_parse(a, trigger->route, r, e))
            return err_wrap(e, "trigger '%.*s'", STR(trigger->id));
        r->trigger = trigger;
        r->order = i;
        t->routes_count++;
    }
    if (t->routes_count)
        qsort(routes, t->routes_count, sizeof *routes, route_cmp);
    if (!duplicates_collect(a, t, routes) || !node_build(a, &t->root, routes, t->routes_count, 0))
        return err_no_memory(e);
    *ret = t;
    return true;
}

/* ---- matching ---- */

/* Appends what the parameters of the shape capture; *count is only meaningful if it matches. */
static bool shape_match(const segment *shape, str text, str *captures, size_t *count)
{
    for (size_t i = 0; i < shape->pieces_count; i++) {
        const piece *p = &shape->pieces[i];
        if (!p->is_param) {
            if (!str_starts(text, p->text))
                return false;
            text = str_skip(text, p->text.n);
            continue;
        }
        bool is_last = i + 1 == shape->pieces_count;
        size_t n = is_last ? text.n : str_find(text, '.');
        if (!n)
            return false;
        captures[(*count)++] = str_head(text, n);
        text = str_skip(text, n);
    }
    return text.n == 0;
}

static const node *literal_find(const node *at, str text)
{
    size_t low = 0, high = at->literals_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = str_cmp(text, at->literals[mid].seg.text);
        if (!c)
            return &at->literals[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

typedef struct {
    const node *at;
    str path; /* what is left, without leading slashes */
    size_t captures_count;
    size_t next; /* 0: the literal, 1 + i: shape i, then the wildcard */
} frame;

static str skip_slashes(str s)
{
    while (s.n && s.p[0] == '/')
        s = str_skip(s, 1);
    return s;
}

/* The next child of f to try, with its captures appended; NULL if there is none. */
static const node *frame_step(frame *f, str text, route_match *m)
{
    if (f->next == 0) {
        const node *child = literal_find(f->at, text);
        f->next++;
        if (child)
            return child;
    }
    while (f->next <= f->at->shapes_count) {
        const node *child = &f->at->shapes[f->next++ - 1];
        m->captures_count = f->captures_count;
        if (shape_match(&child->seg, text, m->captures, &m->captures_count))
            return child;
    }
    return NULL;
}

static const route *tree_match(const node *root, str path, route_match *m)
{
    frame stack[ROUTE_SEGMENTS_MAX + 1];
    size_t depth = 0;
    stack[0] = (frame){.at = root, .path = path};
    for (;;) {
        frame *f = &stack[depth];
        if (!f->path.n && f->at->end) {
            m->captures_count = f->captures_count;
            return f->at->end;
        }
        str text = str_head(f->path, str_find(f->path, '/'));
        m->captures_count = f->captures_count;
        const node *child = text.n ? frame_step(f, text, m) : NULL;
        if (child) {
            must(depth < ROUTE_SEGMENTS_MAX); /* the tree is no deeper */
            stack[++depth] = (frame){.at = child,
                                     .path = skip_slashes(str_skip(f->path, text.n)),
                                     .captures_count = m->captures_count};
            continue;
        }
        if (f->at->rest) {
            m->captures_count = f->captures_count;
            m->rest = f->path;
            return f->at->rest;
        }
        if (!depth--)
            return NULL;
    }
}

static void params_fill(const route *r, route_match *m)
{
    size_t n = 0;
    for (size_t i = 0; i < r->segments_count; i++)
        for (size_t j = 0; j < r->segments[i].pieces_count; j++)
            if (r->segments[i].pieces[j].is_param)
                m->params[n++] = r->segments[i].pieces[j].text;
    must(n == m->captures_count);
}

void route_find(const route_table *t, str path, route_match *ret)
{
    static const str reserved = {"/.well-known/spin/", 18};
    ret->kind = ROUTE_NONE;
    ret->trigger = NULL;
    ret->captures_count = 0;
    ret->rest = (str){0};
    ret->path_is_slashed = str_ends(path, S("/"));
    if (str_starts(path, reserved)) {
        str name = str_skip(path, reserved.n);
        ret->kind = str_eq(name, S("health")) ? ROUTE_HEALTH
                    : str_eq(name, S("info")) ? ROUTE_INFO
                                              : ROUTE_RESERVED;
        return;
    }
    const route *r = tree_match(&t->root, trim_slashes(path), ret);
    if (!r)
        return;
    ret->kind = ROUTE_TRIGGER;
    ret->trigger = r->trigger;
    ret->route = r->pattern;
    ret->raw_route = r->raw;
    ret->is_wildcard = r->is_wildcard;
    params_fill(r, ret);
}

void route_synthetic(const app_trigger *trigger, str path, route_match *ret)
{
    ret->kind = ROUTE_TRIGGER;
    ret->trigger = trigger;
    ret->route = ret->raw_route = S("/...");
    ret->captures_count = 0;
    ret->is_wildcard = true;
    ret->path_is_slashed = str_ends(path, S("/"));
    ret->rest = trim_slashes(path);
}

/* ---- request headers ---- */

typedef struct {
    char *at;
    size_t n;
} writer;

static void put(writer *w, str s)
{
    if (s.n)
        memcpy(w->at + w->n, s.p, s.n);
    w->n += s.n;
}

/* "" for "/foo", "/" for "/foo/", "/bar/" for "/foo/bar/" where the route is "/foo/...". */
static bool path_info(const route_match *m, arena *a, str *ret)
{
    *ret = S("");
    if (!m->is_wildcard)
        return true;
    if (!m->rest.n) {
        *ret = m->path_is_slashed ? S("/") : S("");
        return true;
    }
    writer w = {.at = arena_alloc(a, m->rest.n + 2)};
    if (!w.at)
        return false;
    put(&w, S("/"));
    put(&w, m->rest);
    if (m->path_is_slashed)
        put(&w, S("/"));
    *ret = (str){w.at, w.n};
    return true;
}

static bool full_url(const route_request *r, arena *a, str *ret)
{
    writer w = {.at = arena_alloc(a, r->scheme.n + 3 + r->authority.n + r->target.n)};
    if (!w.at)
        return false;
    put(&w, r->scheme);
    put(&w, S("://"));
    put(&w, r->authority);
    put(&w, r->target);
    *ret = (str){w.at, w.n};
    return true;
}

static bool param_header(str name, arena *a, str *ret)
{
    writer w = {.at = arena_alloc(a, name.n + 16)};
    if (!w.at)
        return false;
    put(&w, S("spin-path-match-"));
    for (size_t i = 0; i < name.n; i++)
        w.at[w.n++] = header_char(name.p[i]);
    *ret = (str){w.at, w.n};
    return true;
}

bool route_headers(const route_match *m, const route_request *r, arena *a,
                   app_pair ret[ROUTE_HEADERS_MAX], size_t *ret_count, err *e)
{
    str info, url, raw = m->raw_route;
    size_t n = 0;
    must(m->kind == ROUTE_TRIGGER);
    if (!path_info(m, a, &info) || !full_url(r, a, &url))
        return err_no_memory(e);
    str prefix = raw;
    if (str_ends(raw, S("/...")))
        prefix.n -= 4;
    ret[n++] = (app_pair){S("spin-path-info"), info};
    ret[n++] = (app_pair){S("spin-full-url"), url};
    ret[n++] = (app_pair){S("spin-matched-route"), m->route};
    ret[n++] = (app_pair){S("spin-base-path"), S("/")};
    ret[n++] = (app_pair){S("spin-raw-component-route"), raw};
    ret[n++] = (app_pair){S("spin-component-route"), prefix};
    ret[n++] = (app_pair){S("spin-client-addr"), r->client_addr};
    for (size_t i = 0; i < m->captures_count; i++, n++) {
        if (!param_header(m->params[i], a, &ret[n].key))
            return err_no_memory(e);
        ret[n].value = m->captures[i];
    }
    *ret_count = n;
    return true;
}
