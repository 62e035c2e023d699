/* Globbing without a file system of its own.
 *
 * A pattern is cut into segments. The literal ones at its beginning name the directory where the
 * walk starts; below it, directories wait in a list (no recursion), and one is only entered if the
 * pattern could still match something in it. Symbolic links to directories are followed where the
 * pattern names them, never while '**' or a directory entry walks down, so the walk ends.
 *
 * Guest paths: a pattern's files keep their path from the app's directory; {source, destination}
 * puts a file at the destination, or a directory's content below it. Both are normalised, and what
 * leads above the root is refused on both sides. */
#include "app/files.h"

#include "base/limits.h"

#include <stdlib.h>

/* ---- patterns ---- */

static bool is_special(char c) { return c == '*' || c == '?' || c == '['; }

static bool has_special(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_special(s.p[i]))
            return true;
    return false;
}

/* The length of a bracket expression at the start of p, 0 if it is not closed. The first character
 * after '[' or '[!' may be ']'. */
static size_t bracket_length(str p)
{
    size_t i = 1;
    if (i < p.n && p.p[i] == '!')
        i++;
    for (i++; i < p.n; i++)
        if (p.p[i] == ']')
            return i + 1;
    return 0;
}

static size_t char_length(str s)
{
    size_t n = 1;
    while (n < s.n && n < 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static bool bracket_match(str bracket, str c)
{
    size_t i = 1;
    bool negated = bracket.p[1] == '!', found = false;
    if (negated)
        i++;
    str set = {bracket.p + i, bracket.n - i - 1};
    while (set.n) {
        str low = str_head(set, char_length(set));
        set = str_skip(set, low.n);
        str high = low;
        if (set.n > 1 && set.p[0] == '-') {
            set = str_skip(set, 1);
            high = str_head(set, char_length(set));
            set = str_skip(set, high.n);
        }
        /* UTF-8 orders as its code points do. */
        found |= str_cmp(c, low) >= 0 && str_cmp(c, high) <= 0;
    }
    return found != negated;
}

bool files_glob_check(str pattern, err *e)
{
    str rest = pattern;
    while (rest.p) {
        str seg = str_cut(&rest, '/');
        if (seg.n > 1 && memmem(seg.p, seg.n, "**", 2) && !str_eq(seg, S("**")))
            return err_set(e, ERR_INVALID, "'%.*s': '**' must be a whole segment, as in 'a/**/*'",
                           STR(pattern));
    }
    for (size_t i = 0; i < pattern.n; i++)
        if (pattern.p[i] == '[') {
            size_t n = bracket_length(str_skip(pattern, i));
            if (!n)
                return err_set(e, ERR_INVALID, "'%.*s': '[' has no closing ']'", STR(pattern));
            i += n - 1;
        }
    return true;
}

/* One step of pattern against one character of path; the lengths of both. */
static bool step_match(str p, str s, bool crosses, size_t *pn, size_t *sn)
{
    *sn = char_length(s);
    *pn = 1;
    if (p.p[0] == '?')
        return crosses || s.p[0] != '/';
    if (p.p[0] == '[') {
        *pn = bracket_length(p);
        return *pn && (crosses || s.p[0] != '/') &&
               bracket_match(str_head(p, *pn), str_head(s, *sn));
    }
    *sn = 1;
    return p.p[0] == s.p[0];
}

/* A '**' segment: how much of p it takes, with the slash that follows; 0 if p has none here. */
static size_t deep_length(str whole, size_t at)
{
    str p = str_skip(whole, at);
    bool starts = at == 0 || whole.p[at - 1] == '/';
    if (!starts || !str_starts(p, S("**")))
        return 0;
    if (p.n == 2)
        return 2;
    return p.p[2] == '/' ? 3 : 0;
}

/* Greedy with two return points: the last '*', which takes one more character within its segment,
 * and the last '**', which takes one more segment. A later '*' makes the earlier one final only
 * within the same '**', so going back to '**' forgets the '*'. */
bool files_glob_match(str pattern, str path, bool crosses)
{
    size_t p = 0, s = 0, star_p = SIZE_MAX, star_s = 0, deep_p = SIZE_MAX, deep_s = 0;
    for (;;) {
        size_t deep = p < pattern.n ? deep_length(pattern, p) : 0;
        if (deep) {
            if (p + deep == pattern.n)
                return true;
            p += deep;
            deep_p = p;
            deep_s = s;
            star_p = SIZE_MAX;
            continue;
        }
        if (p < pattern.n && pattern.p[p] == '*') {
            star_p = ++p;
            star_s = s;
            continue;
        }
        size_t pn, sn;
        if (p == pattern.n && s == path.n)
            return true;
        if (p < pattern.n && s < path.n &&
            step_match(str_skip(pattern, p), str_skip(path, s), crosses, &pn, &sn)) {
            p += pn;
            s += sn;
            continue;
        }
        if (star_p != SIZE_MAX && star_s < path.n && (crosses || path.p[star_s] != '/')) {
            star_s += char_length(str_skip(path, star_s));
            s = star_s;
            p = star_p;
            continue;
        }
        if (deep_p == SIZE_MAX)
            return false;
        size_t slash = str_find(str_skip(path, deep_s), '/');
        if (deep_s + slash >= path.n)
            return false;
        deep_s += slash + 1;
        s = deep_s;
        p = deep_p;
        star_p = SIZE_MAX;
    }
}

/* ---- paths ---- */

/* Without '.', '..' and empty segments. A path that leads above its start is refused; so is one
 * with a NUL. An absolute one keeps its '/' if allowed. */
static bool path_normalise(arena *a, str path, str *ret, err *e)
{
    char *out = arena_alloc(a, path.n + 1);
    size_t n = 0;
    str rest = path;
    if (!out)
        return err_no_memory(e);
    if (path.n && memchr(path.p, 0, path.n))
        return err_set(e, ERR_INVALID, "a path can't hold a NUL byte");
    while (rest.p) {
        str seg = str_cut(&rest, '/');
        if (!seg.n || str_eq(seg, S(".")))
            continue;
        if (str_eq(seg, S(".."))) {
            if (!n)
                return err_set(e, ERR_DENIED,
                               "'%.*s' leads outside; files must be within the "
                               "app's directory",
                               STR(path));
            n = str_rfind((str){out, n}, '/') < n ? str_rfind((str){out, n}, '/') : 0;
            continue;
        }
        if (n)
            out[n++] = '/';
        memcpy(out + n, seg.p, seg.n);
        n += seg.n;
    }
    if (n > APP_PATH_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "a path longer than %d bytes", APP_PATH_BYTES_MAX);
    *ret = (str){out, n};
    return true;
}

static str path_join(arena *a, str dir, str name)
{
    return dir.n ? arena_printf(a, "%.*s/%.*s", STR(dir), STR(name)) : arena_str(a, name);
}

/* ---- the walk ---- */

typedef struct {
    app_file file;
    size_t order;
} found_file;

typedef struct {
    arena *a, *scratch;
    const files_fs *fs;
    app_component *c;
    found_file *at;
    size_t n, cap;
    size_t skipped; /* names that are not UTF-8 */
    err *e;
} expansion;

static bool file_add(expansion *x, str host, str guest)
{
    if (x->n == APP_FILES_MAX)
        return err_set(x->e, ERR_LIMIT, "more than %d files", APP_FILES_MAX);
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 16;
        found_file *at = arena_grow(x->scratch, x->at, x->n, cap, sizeof *at);
        if (!at)
            return err_no_memory(x->e);
        x->at = at;
        x->cap = cap;
    }
    app_file f = {arena_str(x->a, host), arena_printf(x->a, "/%.*s", STR(guest))};
    if (!f.host_path.p || !f.guest_path.p)
        return err_no_memory(x->e);
    x->at[x->n] = (found_file){f, x->n};
    x->n++;
    return true;
}

static bool is_excluded(const expansion *x, str path)
{
    for (size_t i = 0; i < x->c->exclude_files.n; i++)
        if (files_glob_match(x->c->exclude_files.at[i], path, true))
            return true;
    return false;
}

/* Could the pattern match anything below dir? Segment by segment, until a '**' allows all. */
static bool may_match_below(str pattern, str dir)
{
    while (dir.p && dir.n) {
        str want = str_cut(&pattern, '/'), have = str_cut(&dir, '/');
        if (str_eq(want, S("**")))
            return true;
        if (!pattern.p || !files_glob_match(want, have, false))
            return false;
    }
    return true;
}

/* Every regular file below start that the pattern matches; `strip` bytes of its path give way to
 * `prefix` in the guest path. */
static bool walk(expansion *x, str start, str pattern, str strip, str prefix, size_t *found)
{
    str_list waiting = {0};
    if (!str_list_add(x->scratch, &waiting, start))
        return err_no_memory(x->e);
    for (size_t i = 0; i < waiting.n; i++) {
        str dir = waiting.at[i];
        files_entry *entries;
        size_t n;
        if (!x->fs->list(x->fs->ctx, x->scratch, dir, &entries, &n, x->e))
            return err_wrap(x->e, "'%.*s'", STR(dir.n ? dir : S(".")));
        for (size_t j = 0; j < n; j++) {
            if (!str_is_utf8(entries[j].name)) { /* no guest could name it */
                x->skipped++;
                continue;
            }
            str path = path_join(x->scratch, dir, entries[j].name);
            if (!path.p)
                return err_no_memory(x->e);
            if (path.n > APP_PATH_BYTES_MAX)
                return err_set(x->e, ERR_LIMIT, "a path longer than %d bytes", APP_PATH_BYTES_MAX);
            if (entries[j].type == FILES_DIR && !entries[j].is_link &&
                may_match_below(pattern, path) && !str_list_add(x->scratch, &waiting, path))
                return err_no_memory(x->e);
            if (entries[j].type != FILES_FILE || !files_glob_match(pattern, path, false))
                continue;
            ++*found;
            if (is_excluded(x, path))
                continue;
            str below = str_skip(path, strip.n ? strip.n + 1 : 0);
            str guest = path_join(x->scratch, prefix, below);
            if (!guest.p)
                return err_no_memory(x->e);
            if (!file_add(x, path, guest))
                return false;
        }
    }
    return true;
}

/* Special characters of a directory's own name must not act in the pattern made from it. */
static str glob_escape(arena *a, str s)
{
    char *out = s.n < SIZE_MAX / 3 ? arena_alloc(a, s.n * 3 + 1) : NULL;
    size_t n = 0;
    for (size_t i = 0; out && i < s.n; i++) {
        if (is_special(s.p[i])) {
            out[n++] = '[';
            out[n++] = s.p[i];
            out[n++] = ']';
        } else {
            out[n++] = s.p[i];
        }
    }
    return (str){out, n};
}

static bool walk_dir(expansion *x, str dir, str prefix, bool keep_path)
{
    size_t found = 0;
    str escaped = glob_escape(x->scratch, dir);
    str pattern = escaped.p ? path_join(x->scratch, escaped, S("**/*")) : (str){0};
    if (!pattern.p)
        return err_no_memory(x->e);
    return walk(x, dir, pattern, keep_path ? (str){0} : dir, prefix, &found);
}

static bool expand_glob(expansion *x, str pattern, str *warning)
{
    size_t found = 0, literal = 0, at = 0;
    for (str rest = pattern; rest.p;) {
        str seg = str_cut(&rest, '/');
        if (has_special(seg) || !rest.p)
            break;
        at += seg.n + 1;
        literal = at - 1;
    }
    str start = str_head(pattern, literal);
    files_type type = FILES_DIR;
    if (start.n && !x->fs->stat(x->fs->ctx, start, &type, x->e))
        return false;
    if (type == FILES_DIR && !walk(x, start, pattern, (str){0}, (str){0}, &found))
        return false;
    if (!found)
        *warning = S("matches no file");
    return true;
}

static bool expand_pattern(expansion *x, str written, str *warning)
{
    str path;
    files_type type;
    if (str_eq(written, S(".")) || str_eq(written, S("..")) || str_ends(written, S("/.")) ||
        str_ends(written, S("/..")))
        return err_set(x->e, ERR_INVALID,
                       "a pattern can't end in '.' or '..'; for a whole "
                       "directory write 'dir/**/*' or {source, destination}");
    if (str_starts(written, S("/")))
        return err_set(x->e, ERR_DENIED,
                       "'%.*s' is absolute; files must be within the app's "
                       "directory",
                       STR(written));
    if (!path_normalise(x->scratch, written, &path, x->e))
        return false;
    if (str_eq(written, S("*")) || str_eq(written, S("**/*")))
        *warning = S("takes the app's whole directory; write './*' or './**/*' if that is meant");
    if (!x->fs->stat(x->fs->ctx, path, &type, x->e))
        return false;
    if (type == FILES_DIR)
        return walk_dir(x, path, (str){0}, true);
    if (type == FILES_FILE)
        return file_add(x, path, path);
    if (type == FILES_OTHER)
        return err_set(x->e, ERR_INVALID, "'%.*s' is neither a file nor a directory", STR(written));
    if (!has_special(path))
        return err_set(x->e, ERR_NOT_FOUND, "'%.*s' does not exist", STR(written));
    return files_glob_check(path, x->e) && expand_glob(x, path, warning);
}

static bool expand_pair(expansion *x, const app_mount *m)
{
    str source, guest;
    files_type type;
    if (str_starts(m->source, S("/")))
        return err_set(x->e, ERR_DENIED,
                       "'%.*s' is absolute; files must be within the app's "
                       "directory",
                       STR(m->source));
    if (!path_normalise(x->scratch, m->source, &source, x->e) ||
        !path_normalise(x->scratch, m->destination, &guest, x->e) ||
        !x->fs->stat(x->fs->ctx, source, &type, x->e))
        return false;
    if (type == FILES_ABSENT)
        return err_set(x->e, ERR_NOT_FOUND, "'%.*s' does not exist", STR(m->source));
    if (type == FILES_DIR)
        return walk_dir(x, source, guest, false);
    if (type == FILES_OTHER)
        return err_set(x->e, ERR_INVALID, "'%.*s' is neither a file nor a directory",
                       STR(m->source));
    if (!guest.n || str_ends(m->destination, S("/")) || str_ends(m->destination, S(".")))
        return err_set(x->e, ERR_INVALID,
                       "destination '%.*s' is a directory, but the source is a "
                       "file; add its name",
                       STR(m->destination));
    return file_add(x, source, guest);
}

/* ---- the result ---- */

static int found_cmp(const void *x, const void *y)
{
    const found_file *a = x, *b = y;
    int c = str_cmp(a->file.guest_path, b->file.guest_path);
    return c ? c : a->order < b->order ? -1 : a->order > b->order;
}

static int file_cmp(const void *x, const void *y)
{
    return str_cmp(((const app_file *)x)->guest_path, ((const app_file *)y)->guest_path);
}

/* Sorts, keeps the last of each guest path, and refuses a file where another needs a directory. */
static bool finish(expansion *x)
{
    app_files files = {.at = ARENA_ARRAY(x->a, app_file, x->n)};
    if (!files.at)
        return err_no_memory(x->e);
    if (x->n)
        qsort(x->at, x->n, sizeof *x->at, found_cmp);
    for (size_t i = 0; i < x->n; i++) {
        bool is_last =
            i + 1 == x->n || !str_eq(x->at[i].file.guest_path, x->at[i + 1].file.guest_path);
        if (is_last)
            files.at[files.n++] = x->at[i].file;
    }
    for (size_t i = 0; i < files.n; i++) {
        str parent = files.at[i].guest_path;
        for (;;) {
            parent.n = str_rfind(parent, '/');
            if (!parent.n)
                break;
            app_file key = {.guest_path = parent};
            if (bsearch(&key, files.at, files.n, sizeof key, file_cmp))
                return err_set(x->e, ERR_CONFLICT,
                               "'%.*s' would be a file and a directory (for "
                               "'%.*s')",
                               STR(parent), STR(files.at[i].guest_path));
        }
    }
    x->c->files = files;
    return true;
}

bool files_expand(arena *a, arena *scratch, const files_fs *fs, str file, app_component *c,
                  str_list *warnings, err *e)
{
    expansion x = {.a = a, .scratch = scratch, .fs = fs, .c = c, .e = e};
    for (size_t i = 0; i < c->mounts_count; i++) {
        const app_mount *m = &c->mounts[i];
        str warning = {0};
        x.skipped = 0;
        if (!(m->is_pair ? expand_pair(&x, m) : expand_pattern(&x, m->source, &warning)))
            return err_wrap(e, "%.*s:%u:%u: component '%.*s': files", STR(file), m->pos.line,
                            m->pos.column, STR(c->id));
        if (x.skipped)
            warning = S("leaves out files whose names are not UTF-8");
        if (!warning.n || !warnings)
            continue;
        str text =
            arena_printf(a, "%.*s:%u:%u: component '%.*s': files: '%.*s' %.*s", STR(file),
                         m->pos.line, m->pos.column, STR(c->id), STR(m->source), STR(warning));
        if (!text.p || !str_list_add(a, warnings, text))
            return err_no_memory(e);
    }
    return finish(&x) || err_wrap(e, "component '%.*s': files", STR(c->id));
}
