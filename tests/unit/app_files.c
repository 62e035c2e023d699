/* app/files: globs and their expansion over a file system that is a list of paths. */
#include "unit.h"

#include "app/files.h"
#include "base/limits.h"

#include <stdio.h>

/* A path ending in '/' is a directory, one ending in '@' a symbolic link to a directory (which
 * has one file "in" of its own), one ending in '!' something else. Directories on the way exist. */
static const char *const tree[] = {"spin.toml",
                                   "a.txt",
                                   "b.md",
                                   "static/index.html",
                                   "static/css/x.css",
                                   "static/css/deep/y.css",
                                   "static/.hidden",
                                   "we[i]rd/f.txt",
                                   "link@",
                                   "sock!",
                                   "empty/",
                                   "odd/n\xff.txt",
                                   "odd/ok.txt",
                                   NULL};

typedef struct {
    arena a, scratch;
    app_component c;
    app_mount mounts[8];
    str_list warnings;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 64 * MIB);
    arena_init(&f->scratch, 64 * MIB);
    f->c.id = S("web");
    f->c.mounts = f->mounts;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    arena_fini(&f->scratch);
    free(f);
    return 0;
}

/* What tree[i] is as seen from dir ("" or "x/y/"): its first segment there. */
static bool below(const char *path, str dir, str *ret_name, files_type *ret_type, bool *ret_link)
{
    str p = str_from(path);
    if (!str_starts(p, dir) || p.n == dir.n)
        return false;
    p = str_skip(p, dir.n);
    size_t slash = str_find(p, '/');
    *ret_link = false;
    *ret_type = slash < p.n ? FILES_DIR : FILES_FILE;
    *ret_name = str_head(p, slash);
    char last = p.p[p.n - 1];
    if (slash == p.n && (last == '@' || last == '!')) {
        ret_name->n--;
        *ret_link = last == '@';
        *ret_type = last == '@' ? FILES_DIR : FILES_OTHER;
    }
    return true;
}

static bool fs_list(void *ctx, arena *a, str dir, files_entry **ret, size_t *ret_count, err *e)
{
    files_entry *all = ARENA_ARRAY(a, files_entry, 32);
    size_t n = 0;
    assert_non_null(all);
    if (str_ends(dir, S("link"))) {
        all[n++] = (files_entry){S("in"), FILES_FILE, false};
        all[n++] = (files_entry){S("link"), FILES_DIR, true}; /* a cycle */
    }
    str prefix = dir.n ? arena_printf(a, "%.*s/", STR(dir)) : S("");
    for (size_t i = 0; tree[i]; i++) {
        files_entry x;
        bool seen = false;
        if (!below(tree[i], prefix, &x.name, &x.type, &x.is_link))
            continue;
        for (size_t j = 0; j < n; j++)
            seen |= str_eq(all[j].name, x.name);
        if (!seen)
            all[n++] = x;
    }
    *ret = all;
    *ret_count = n;
    return true;
}

static bool fs_stat(void *ctx, str path, files_type *ret, err *e)
{
    *ret = FILES_ABSENT;
    if (!path.n || str_eq(path, S("link"))) {
        *ret = FILES_DIR;
        return true;
    }
    for (size_t i = 0; tree[i]; i++) {
        str t = str_from(tree[i]);
        if (str_eq(t, path))
            *ret = FILES_FILE;
        if (str_starts(t, path) && t.p[path.n] == '/')
            *ret = FILES_DIR;
        if (str_starts(t, path) && t.p[path.n] == '!')
            *ret = FILES_OTHER;
    }
    return true;
}

static const files_fs fs = {NULL, fs_stat, fs_list};

static bool expand(fixture *f, const char *const *entries)
{
    f->c.mounts_count = 0;
    f->warnings = (str_list){0};
    for (; *entries; entries++) {
        app_mount *m = &f->mounts[f->c.mounts_count++];
        str s = str_from(*entries);
        size_t arrow = str_find(s, '>');
        *m = (app_mount){.source = str_head(s, arrow),
                         .is_pair = arrow < s.n,
                         .destination = str_skip(s, arrow + 1),
                         .pos = {7, 9}};
    }
    return files_expand(&f->a, &f->scratch, &fs, S("spin.toml"), &f->c, &f->warnings, &f->e);
}

#define CHECK(f, want, ...) check(f, want, (const char *[]){__VA_ARGS__, NULL})

static void check(fixture *f, const char *want, const char *const *entries)
{
    char got[1000] = "";
    if (!expand(f, entries))
        fail_msg("%s", f->e.text);
    for (size_t i = 0; i < f->c.files.n; i++) {
        const app_file *x = &f->c.files.at[i];
        bool same = str_eq(str_skip(x->guest_path, 1), x->host_path);
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, same ? "%.*s " : "%.*s=%.*s ", STR(x->guest_path),
                 STR(x->host_path));
    }
    assert_string_equal(got, want);
}

#define REFUSE(f, why, ...) refuse(f, why, (const char *[]){__VA_ARGS__, NULL})

static void refuse(fixture *f, const char *why, const char *const *entries)
{
    if (expand(f, entries))
        fail_msg("accepted %s", entries[0]);
    if (!strstr(f->e.text, why) ||
        strncmp(f->e.text, "spin.toml:7:9: component 'web': files: ", 38))
        fail_msg("'%s' does not say '%s'", f->e.text, why);
}

static void patterns(void **state)
{
    fixture *f = *state;
    CHECK(f, "/a.txt ", "a.txt");
    CHECK(f, "/a.txt ", "./static/../a.txt");
    CHECK(f, "/a.txt /b.md ", "?.*");
    CHECK(f, "/static/.hidden /static/css/deep/y.css /static/css/x.css /static/index.html ",
          "static");
    CHECK(f, "/static/.hidden /static/css/deep/y.css /static/css/x.css /static/index.html ",
          "static/**/*");
    CHECK(f, "/static/.hidden /static/index.html ", "static/*");
    CHECK(f, "/static/css/deep/y.css /static/css/x.css ", "**/*.css");
    CHECK(f, "/static/css/x.css ", "*/css/*.css");
    CHECK(f, "/static/css/deep/y.css ", "static/**/deep/*");
    CHECK(f, "/we[i]rd/f.txt ", "we[i]rd");
    CHECK(f, "/link/in ", "link/*");
    CHECK(f, "/link/in ", "link");
    CHECK(f, "", "empty");
    assert_int_equal(f->warnings.n, 0);
    CHECK(f, "", "*.nope");
    assert_int_equal(f->warnings.n, 1);
    assert_str(f->warnings.at[0],
               "spin.toml:7:9: component 'web': files: '*.nope' matches no file");
    CHECK(f, "/a.txt /b.md /spin.toml ", "*");
    assert_int_equal(f->warnings.n, 1);
    CHECK(f, "/a.txt /b.md /spin.toml ", "./*");
    assert_int_equal(f->warnings.n, 0);
    CHECK(f, "/odd/ok.txt ", "odd");
    assert_int_equal(f->warnings.n, 1);
}

static void pairs(void **state)
{
    fixture *f = *state;
    CHECK(f, "/css/deep/y.css=static/css/deep/y.css /css/x.css=static/css/x.css ",
          "static/css>/css");
    CHECK(f, "/deep/y.css=static/css/deep/y.css /x.css=static/css/x.css ", "static/css>/");
    CHECK(f, "/w/r.txt=a.txt ", "a.txt>/w/r.txt");
    CHECK(f, "/r.txt=a.txt ", "a.txt>r.txt");
    CHECK(f, "/r.txt=b.md ", "a.txt>/r.txt", "b.md>/r.txt"); /* the later one wins */
    REFUSE(f, "is a directory, but the source is a file", "a.txt>/");
    REFUSE(f, "is a directory, but the source is a file", "a.txt>/x/");
    REFUSE(f, "does not exist", "nope>/x");
    REFUSE(f, "neither a file nor a directory", "sock>/x");
}

static void escapes(void **state)
{
    fixture *f = *state;
    REFUSE(f, "leads outside", "../a.txt");
    REFUSE(f, "leads outside", "static/../../a.txt");
    REFUSE(f, "leads outside", "..>/x");
    REFUSE(f, "leads outside", "a.txt>/../x");
    REFUSE(f, "is absolute", "/etc/passwd");
    REFUSE(f, "is absolute", "/etc>/etc");
    REFUSE(f, "can't end in '.' or '..'", ".");
    REFUSE(f, "can't end in '.' or '..'", "static/..");
    REFUSE(f, "does not exist", "missing.txt");
    REFUSE(f, "'**' must be a whole segment", "a**/x");
    REFUSE(f, "'[' has no closing", "[ab");
    assert_false(expand(f, (const char *[]){"a.txt>/d", "b.md>/d/e", NULL}));
    assert_non_null(strstr(f->e.text, "'/d' would be a file and a directory (for '/d/e')"));
}

static void excludes(void **state)
{
    fixture *f = *state;
    str_list_add(&f->a, &f->c.exclude_files, S("*.css"));
    CHECK(f, "/static/.hidden /static/index.html ", "static"); /* '*' crosses '/' here */
    CHECK(f, "/static/css/x.css ", "static/css/x.css");        /* a named file is not excluded */
    f->c.exclude_files = (str_list){0};
    str_list_add(&f->a, &f->c.exclude_files, S("static/css/deep/**"));
    CHECK(f, "/x.css=static/css/x.css ", "static/css>/");
}

static void globs(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool within, crossing;
    } cases[] = {
        {"a", "a", true, true},
        {"a", "b", false, false},
        {"", "", true, true},
        {"*", "", true, true},
        {"*", "abc", true, true},
        {"*", "a/b", false, true},
        {"a*c", "abbc", true, true},
        {"a*c", "abb", false, false},
        {"a?c", "a/c", false, true},
        {"**", "a/b", true, true},
        {"**/b", "b", true, true},
        {"**/b", "a/a/b", true, true},
        {"**/b", "ab", false, false},
        {"a/**/b", "a/b", true, true},
        {"a/**/b", "a/x/y/b", true, true},
        {"a/**/b", "a/x/yb", false, false},
        {"a/**/*.c/**/d", "a/q/x.c/d", true, true},
        {"[a-c]x", "bx", true, true},
        {"[!a-c]x", "bx", false, false},
        {"[!a-c]x", "dx", true, true},
        {"[]]", "]", true, true},
        {"[a-]", "-", true, true},
        {"?", "\xc3\xa9", true, true},
        {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true, true},
        {"*a*b*c*", "xaxbxcx", true, true},
        {"*a*b*c*", "xaxcxbx", false, false},
        {"**/a*/b", "a/aa/b", true, true},
        {"**/*a/b/**/c", "xa/b/xa/b/y/c", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int crosses = 0; crosses < 2; crosses++) {
            bool want = crosses ? cases[i].crossing : cases[i].within;
            if (files_glob_match(str_from(cases[i].pattern), str_from(cases[i].path), crosses) !=
                want)
                fail_msg("'%s' and '%s', crosses %d", cases[i].pattern, cases[i].path, crosses);
        }
}

/* ---- property: the same by plain recursion ---- */

static bool naive(const char *p, const char *s, bool start)
{
    if (start && !strcmp(p, "**"))
        return *s;
    if (start && !strncmp(p, "**/", 3)) {
        if (naive(p + 3, s, true))
            return true;
        const char *slash = strchr(s, '/');
        return slash && naive(p, slash + 1, true);
    }
    if (*p == '*')
        return naive(p + 1, s, false) || (*s && *s != '/' && naive(p, s + 1, false));
    if (!*p || !*s)
        return *p == *s;
    if (*p != *s && (*p != '?' || *s == '/'))
        return false;
    return naive(p + 1, s + 1, *p == '/');
}

static void glob_property(void **state)
{
    uint32_t seed = 7;
    size_t yes = 0;
    for (int i = 0; i < 60000; i++) {
        char p[24] = "", s[24] = "";
        for (int half = 0; half < 2; half++) {
            static const char *const words[] = {"a", "b", "/", "a/", "*", "?", "**/", "/**/"};
            char *out = half ? s : p;
            for (int k = 0; k < 5; k++) {
                seed = seed * 1664525u + 1013904223u;
                const char *w = words[(seed >> 10) % (half ? 4 : 8)];
                size_t n = strlen(out);
                if (strstr(w, "**") && n && out[n - 1] != '/' && w[0] == '*')
                    continue;
                if (w[0] == '/' && n && (out[n - 1] == '/'))
                    continue;
                if (w[0] == '*' && n && out[n - 1] == '*')
                    continue;
                strcat(out, w);
            }
        }
        size_t n = strlen(s);
        if (!n || s[n - 1] == '/' || strstr(s, "//") || s[0] == '/')
            continue;
        bool got = files_glob_match(str_from(p), str_from(s), false);
        n = strlen(p);
        if (n && p[n - 1] == '/')
            continue;
        if (got != naive(p, s, true))
            fail_msg("'%s' and '%s': got %d", p, s, got);
        yes += got;
    }
    assert_true(yes > 500);
}

/* Patterns that make backtracking matchers explode. */
static void glob_cost(void **state)
{
    char pattern[200] = "", path[400];
    for (int i = 0; i < 30; i++)
        strcat(pattern, "*a");
    strcat(pattern, "/**/*b");
    memset(path, 'a', sizeof path);
    assert_false(files_glob_match(str_from(pattern), (str){path, sizeof path}, false));
    assert_false(files_glob_match(str_from(pattern), (str){path, sizeof path}, true));
}

/* Checked in memory that ends where the pattern does. */
static void pattern_ends(void **state)
{
    static const struct {
        const char *pattern, *says; /* NULL: it is one */
    } cases[] = {
        {"", NULL},         {"a", NULL},          {"[a]", NULL},        {"[!a]", NULL},
        {"[]]", NULL},      {"[!]]", NULL},       {"[]a]", NULL},       {"a[b]c[d]", NULL},
        {"**", NULL},       {"a/**/b", NULL},     {"**/*", NULL},       {"*", NULL},
        {"[", "closing"},   {"[!", "closing"},    {"[]", "closing"},    {"[!]", "closing"},
        {"a[b", "closing"}, {"[a][", "closing"},  {"[a][!", "closing"}, {"a**", "segment"},
        {"**a", "segment"}, {"a/b**", "segment"}, {"***", "segment"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        size_t n = strlen(cases[i].pattern);
        char *exact = malloc(n + !n);
        assert_non_null(exact);
        memcpy(exact, cases[i].pattern, n);
        bool ok = files_glob_check((str){exact, n}, &e);
        free(exact);
        if (ok != !cases[i].says || (!ok && !strstr(e.text, cases[i].says)))
            fail_msg("'%s': %s", cases[i].pattern, ok ? "taken" : e.text);
        if (!ok)
            assert_int_equal(e.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(excludes, setup, teardown),
        cmocka_unit_test(globs),
        cmocka_unit_test(pattern_ends),
        cmocka_unit_test(glob_property),
        cmocka_unit_test(glob_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
