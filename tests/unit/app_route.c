/* app/route: rules one by one, then random tables and paths against a second implementation that
 * knows no tree: it tries every route on every path, and compares the matching ones by the
 * precedence rule as it is written down. */
#include "unit.h"

#include "app/route.h"
#include "base/limits.h"

#include <stdio.h>

enum { ROUTES_MAX = 2000 };

typedef struct {
    arena a;
    app app;
    app_trigger triggers[ROUTES_MAX];
    route_table *table;
    route_match m;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 256 * MIB);
    f->app.triggers = f->triggers;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    free(f);
    return 0;
}

static void add(fixture *f, str route)
{
    app_trigger *t = &f->triggers[f->app.triggers_count++];
    *t = (app_trigger){.id = route,
                       .kind = APP_TRIGGER_HTTP,
                       .type = S("http"),
                       .route = route,
                       .component = (int)f->app.triggers_count - 1};
}

static void build(fixture *f)
{
    if (!route_table_build(&f->a, &f->app, &f->table, &f->e))
        fail_msg("%s", f->e.text);
}

static void routes(fixture *f, const char *const *list)
{
    f->app.triggers_count = 0;
    for (; *list; list++)
        add(f, str_from(*list));
    build(f);
}

/* The route (as written) that the path goes to; "" for none. */
static const char *find(fixture *f, const char *path)
{
    route_find(f->table, str_from(path), &f->m);
    return f->m.kind == ROUTE_TRIGGER ? f->m.trigger->route.p : "";
}

static str header(fixture *f, const char *name, size_t *count)
{
    app_pair h[ROUTE_HEADERS_MAX];
    size_t n;
    str found = {0};
    route_request r = {S("https"), S("example.com:3000"), S("/base/path?key=value"),
                       S("127.0.0.1:5000")};
    assert_true(route_headers(&f->m, &r, &f->a, h, &n, &f->e));
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq(h[i].key, str_from(name))) {
            found = h[i].value;
            ++*count;
        }
    return found;
}

static void check_header(fixture *f, const char *name, const char *value)
{
    size_t count;
    str got = header(f, name, &count);
    assert_int_equal(count, 1);
    if (!str_eq(got, str_from(value)))
        fail_msg("%s: got '%.*s', expected '%s'", name, STR(got), value);
}

static void normalising(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"foo", "/bar/", "/a//b", NULL});
    assert_string_equal(find(f, "/foo"), "foo");
    assert_string_equal(find(f, "/foo/"), "foo");
    assert_string_equal(find(f, "//foo//"), "foo");
    assert_string_equal(find(f, "/bar"), "/bar/");
    assert_string_equal(find(f, "/a/b"), "/a//b");
    assert_string_equal(find(f, "/a///b"), "/a//b");
    assert_string_equal(find(f, "/foo/x"), "");
    assert_string_equal(find(f, "/fo"), "");
    assert_string_equal(find(f, "/%66oo"), ""); /* nothing is decoded */
    assert_string_equal(find(f, "/FOO"), "");
    assert_string_equal(find(f, "/"), "");
}

static void precedence(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"/...", "/a/...", "/a/:x", "/a/b", "/a/:x/c", "/a/b/:y/d", "/:z",
                               "/", NULL});
    assert_string_equal(find(f, "/"), "/");
    assert_string_equal(find(f, "/q"), "/:z");
    assert_string_equal(find(f, "/a"), "/a/...");
    assert_string_equal(find(f, "/a/b"), "/a/b");
    assert_string_equal(find(f, "/a/q"), "/a/:x");
    assert_string_equal(find(f, "/a/b/c"), "/a/:x/c"); /* back out of the literal branch */
    assert_string_equal(find(f, "/a/b/1/d"), "/a/b/:y/d");
    assert_string_equal(find(f, "/a/b/1/e"), "/a/...");
    assert_string_equal(find(f, "/q/r"), "/...");
    assert_int_equal(f->m.captures_count, 0);
}

static void wildcards(void **state)
{
    fixture *f = *state;
    static const char *const cases[][2] = {{"/foo", ""},         {"/foo/", "/"},
                                           {"/foo/bar", "/bar"}, {"/foo/bar/", "/bar/"},
                                           {"/foo/b/c", "/b/c"}, {"/foo//b//c", "/b//c"}};
    for (int star = 0; star < 2; star++) {
        routes(f, (const char *[]){star ? "/foo/*" : "/foo/...", NULL});
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            assert_string_not_equal(find(f, cases[i][0]), "");
            check_header(f, "spin-path-info", cases[i][1]);
        }
        assert_string_equal(find(f, "/foobar"), "");
        assert_string_equal(find(f, "/"), "");
    }
}

static void parameters(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"/:a.:b", "/x/:file.txt", "/x/:any", "/v/v.:major.:minor", NULL});
    assert_string_equal(find(f, "/p.q.r"), "/:a.:b");
    assert_str(f->m.captures[0], "p");
    assert_str(f->m.captures[1], "q.r");
    assert_string_equal(find(f, "/p"), "");
    assert_string_equal(find(f, "/.q"), ""); /* a parameter is never empty */
    assert_string_equal(find(f, "/p."), "");
    assert_string_equal(find(f, "/x/n.txt"), "/x/:file.txt");
    assert_str(f->m.captures[0], "n");
    assert_string_equal(find(f, "/x/n.txtx"), "/x/:any");
    assert_str(f->m.captures[0], "n.txtx");
    assert_string_equal(find(f, "/v/v.1.2"), "/v/v.:major.:minor");
    assert_str(f->m.params[1], "minor");
    assert_str(f->m.captures[1], "2");
}

/* Within a segment: piece by piece, literal before parameter, then the longer pattern. */
static void shapes(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"/:any", "/:a.:b", "/:a.x", "/v.:n", "/v.:n.:m", "/v.1", NULL});
    assert_string_equal(find(f, "/v.1"), "/v.1");
    assert_string_equal(find(f, "/v.2"), "/v.:n");
    assert_string_equal(find(f, "/v.2.3"), "/v.:n.:m");
    assert_string_equal(find(f, "/v.x"), "/v.:n");
    assert_string_equal(find(f, "/w.x"), "/:a.x");
    assert_string_equal(find(f, "/w.y"), "/:a.:b");
    assert_string_equal(find(f, "/w"), "/:any");
}

static void refused(void **state)
{
    fixture *f = *state;
    assert_false(route_check(S("/a/.../b"), &f->e));
    assert_non_null(strstr(f->e.text, "may only stand at the end"));
    assert_false(route_check(S("/*/b"), &f->e));
    assert_false(route_check(S("/a/*x"), &f->e));
    assert_false(route_check(S("/:"), &f->e));
    assert_false(route_check(S("/:a b"), &f->e));
    assert_false(route_check(S("/:user_id/:user-id"), &f->e));
    assert_non_null(strstr(f->e.text, "two parameters"));
    assert_true(route_check(S(""), &f->e));
    assert_true(route_check(S("/..."), &f->e));
    char deep[4 * (ROUTE_SEGMENTS_MAX + 1)];
    for (size_t i = 0; i < sizeof deep; i++)
        deep[i] = "/abc"[i % 4];
    assert_false(route_check((str){deep, sizeof deep}, &f->e));
    assert_int_equal(f->e.code, ERR_LIMIT);
    assert_true(route_check((str){deep, sizeof deep - 4}, &f->e));
}

static void well_known(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"/...", "/.well-known/spin/health", NULL});
    find(f, "/.well-known/spin/health");
    assert_int_equal(f->m.kind, ROUTE_HEALTH);
    find(f, "/.well-known/spin/info");
    assert_int_equal(f->m.kind, ROUTE_INFO);
    find(f, "/.well-known/spin/other");
    assert_int_equal(f->m.kind, ROUTE_RESERVED);
    assert_string_equal(find(f, "/.well-known/spinner"), "/...");
    f->app.triggers_count = 0;
    build(f);
    find(f, "/x");
    assert_int_equal(f->m.kind, ROUTE_NONE);
}

static void private_and_duplicate(void **state)
{
    fixture *f = *state;
    size_t n;
    add(f, S("/a/:x"));
    add(f, S("/b"));
    add(f, S("a/:y/"));
    add(f, S("/hidden"));
    f->triggers[3].is_private = true;
    build(f);
    assert_string_equal(find(f, "/a/1"), "a/:y/");
    assert_str(f->m.params[0], "y");
    assert_string_equal(find(f, "/hidden"), "");
    const route_duplicate *d = route_duplicates(f->table, &n);
    assert_int_equal(n, 1);
    assert_ptr_equal(d[0].shadowed, &f->triggers[0]);
    assert_ptr_equal(d[0].by, &f->triggers[2]);
}

static void headers(void **state)
{
    fixture *f = *state;
    routes(f, (const char *[]){"/base/:path_segment/:Path_End/...", "/exact", NULL});
    find(f, "/base/path/end/rest");
    check_header(f, "spin-path-info", "/rest");
    check_header(f, "spin-full-url", "https://example.com:3000/base/path?key=value");
    check_header(f, "spin-matched-route", "/base/:path_segment/:Path_End/...");
    check_header(f, "spin-raw-component-route", "/base/:path_segment/:Path_End/...");
    check_header(f, "spin-component-route", "/base/:path_segment/:Path_End");
    check_header(f, "spin-base-path", "/");
    check_header(f, "spin-client-addr", "127.0.0.1:5000");
    check_header(f, "spin-path-match-path-segment", "path");
    check_header(f, "spin-path-match-path-end", "end");
    find(f, "/exact/");
    check_header(f, "spin-path-info", "");
    check_header(f, "spin-component-route", "/exact");
    route_synthetic(&f->triggers[1], S("/x/y"), &f->m);
    check_header(f, "spin-path-info", "/x/y");
    check_header(f, "spin-matched-route", "/...");
    check_header(f, "spin-component-route", "");
}

/* ---- the second implementation ---- */

typedef struct {
    str at[64];
    size_t n;
} parts;

/* Cuts at '/', drops empty ones. */
static parts cut(str s)
{
    parts p = {0};
    while (s.p) {
        str x = str_cut(&s, '/');
        if (x.n)
            p.at[p.n++] = x;
    }
    return p;
}

static bool naive_segment(str pattern, str text)
{
    if (!pattern.n)
        return !text.n;
    if (pattern.p[0] == ':') {
        size_t end = str_find(pattern, '.');
        size_t n = end == pattern.n ? text.n : str_find(text, '.');
        return n && (end == pattern.n || n < text.n) &&
               naive_segment(str_skip(pattern, end), str_skip(text, n));
    }
    if (!text.n || pattern.p[0] != text.p[0])
        return false;
    return naive_segment(str_skip(pattern, 1), str_skip(text, 1));
}

static bool is_rest(const parts *p)
{
    return p->n && (str_eq(p->at[p->n - 1], S("...")) || str_eq(p->at[p->n - 1], S("*")));
}

static bool naive_match(str pattern, str path)
{
    parts p = cut(pattern), t = cut(path);
    size_t n = p.n - is_rest(&p);
    if (is_rest(&p) ? t.n < n : t.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!naive_segment(p.at[i], t.at[i]))
            return false;
    return true;
}

/* 0 literal, 1 parameter, 2 wildcard or end: what the precedence rule sees of a section between
 * dots. */
static int naive_rank(str segment, size_t section)
{
    str s = {0};
    for (size_t i = 0; i <= section; i++) {
        if (!segment.p)
            return 2;
        s = str_cut(&segment, '.');
    }
    return str_starts(s, S(":"));
}

/* Of two routes that match the same path. */
static bool naive_better(str x, str y)
{
    parts a = cut(x), b = cut(y);
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        bool rest_a = i + 1 == a.n && is_rest(&a), rest_b = i + 1 == b.n && is_rest(&b);
        if (rest_a || rest_b)
            return !rest_a;
        for (size_t j = 0; j < 4; j++) {
            int ra = naive_rank(a.at[i], j), rb = naive_rank(b.at[i], j);
            if (ra != rb)
                return ra < rb;
        }
    }
    return is_rest(&b) && !is_rest(&a);
}

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static str random_path(fixture *f, bool pattern)
{
    static const char *const words[] = {"a", "b", "cc", "a.b"};
    buf b;
    buf_init(&b, 1000);
    uint32_t n = rnd(5);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w = rnd(pattern ? 9 : 4);
        int name = 'p' + (int)i * 2; /* no route has a name twice */
        buf_put_u8(&b, '/');
        if (w < 4)
            buf_put_str(&b, str_from(words[w]));
        else if (w == 4)
            buf_printf(&b, ":%c.b", name);
        else if (w == 5)
            buf_printf(&b, ":%c.:%c", name, name + 1);
        else if (w == 6)
            buf_printf(&b, "a.:%c", name);
        else
            buf_printf(&b, ":%c", name);
    }
    if (pattern && rnd(3) == 0)
        buf_put_str(&b, S("/..."));
    if (!b.n || (!pattern && rnd(4) == 0))
        buf_put_u8(&b, '/');
    str s = arena_str(&f->a, buf_str(&b));
    buf_fini(&b);
    return s;
}

static void property(void **state)
{
    fixture *f = *state;
    size_t matched = 0;
    for (seed = 1; seed < 400;) {
        uint32_t own = seed + 1;
        f->app.triggers_count = 0;
        arena_reset(&f->a);
        for (uint32_t i = 1 + rnd(20); i; i--)
            add(f, random_path(f, true));
        build(f);
        for (int i = 0; i < 50; i++) {
            str path = random_path(f, false);
            const app_trigger *best = NULL;
            for (size_t j = 0; j < f->app.triggers_count; j++)
                if (naive_match(f->triggers[j].route, path) &&
                    (!best || !naive_better(best->route, f->triggers[j].route)))
                    best = &f->triggers[j];
            route_find(f->table, path, &f->m);
            const app_trigger *got = f->m.kind == ROUTE_TRIGGER ? f->m.trigger : NULL;
            matched += !!got;
            if (got != best)
                fail_msg("path '%.*s': got '%.*s', expected '%.*s'", STR(path),
                         STR(got ? got->route : S("-")), STR(best ? best->route : S("-")));
        }
        seed = own;
    }
    assert_true(matched > 1000);
}

/* Where every level has a literal and a parameter, going back must stay bounded by the table. */
static void many_routes(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < ROUTES_MAX; i++)
        add(f, arena_printf(&f->a, "/service-%d/:id/items", i));
    build(f);
    for (int i = 0; i < ROUTES_MAX; i += 7) {
        char path[64];
        snprintf(path, sizeof path, "/service-%d/42/items", i);
        route_find(f->table, str_from(path), &f->m);
        assert_int_equal(f->m.trigger->component, i);
        assert_str(f->m.captures[0], "42");
    }
    find(f, "/service-1/42/things");
    assert_int_equal(f->m.kind, ROUTE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(normalising, setup, teardown),
        cmocka_unit_test_setup_teardown(precedence, setup, teardown),
        cmocka_unit_test_setup_teardown(wildcards, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(well_known, setup, teardown),
        cmocka_unit_test_setup_teardown(private_and_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(headers, setup, teardown),
        cmocka_unit_test_setup_teardown(property, setup, teardown),
        cmocka_unit_test_setup_teardown(many_routes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
