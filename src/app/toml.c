/* TOML documents: lines, keys, tables, arrays (TOML 1.0.0, sections Spec to Array of Tables).
 *
 * A recursive descent over the text, with depth bounded by TOML_DEPTH_MAX. Tables keep their
 * entries twice: as a list in the order of the text, and as an AA tree (Andersson, 1993) by key,
 * so that a hostile document of a million keys costs n log n.
 *
 * What may be reopened is the one subtle part of TOML. Each table remembers how it came to be:
 *
 *     IMPLICIT  parent of a [header]: may still get a [header] of its own, once
 *     HEADER    had its [header], or is an element of [[header]]
 *     DOTTED    made by a dotted key: grows by dotted keys of the same section, and [headers] may
 *               add tables below it, but it never gets a [header] itself
 *     INLINE    { }: closed for ever
 *
 * The text is checked to be UTF-8 first, in one pass; after that bytes are enough. */
#include "app/toml.h"

#include "app/toml_scan.h"
#include "base/limits.h"
#include "base/must.h"

#include <stdio.h>

enum { TABLE_IMPLICIT, TABLE_HEADER, TABLE_DOTTED, TABLE_INLINE };

/* ---- the place in the text ---- */

toml_pos scan_pos(toml_scan *s)
{
    if (s->p < s->column_at) { /* a look back: count anew */
        s->column_at = s->line_start;
        s->column = 1;
    }
    for (; s->column_at < s->p; s->column_at++)
        if (((unsigned char)*s->column_at & 0xc0) != 0x80)
            s->column++;
    return (toml_pos){s->line, s->column};
}

bool scan_fail_at(toml_scan *s, toml_pos at, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(s->e, ERR_INVALID, "%.*s:%u:%u: %s", STR(s->file), at.line, at.column, text);
}

bool scan_expected(toml_scan *s, const char *what)
{
    toml_pos at = scan_pos(s);
    int c = scan_peek(s, 0);
    if (c < 0)
        return scan_fail_at(s, at, "expected %s, found the end of the file", what);
    if (c == '\n' || c == '\r')
        return scan_fail_at(s, at, "expected %s, found the end of the line", what);
    if (c < 0x20 || c == 0x7f)
        return scan_fail_at(s, at, "expected %s, found control character 0x%02X", what, c);
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; /* the text is well-formed UTF-8 */
    return scan_fail_at(s, at, "expected %s, found '%.*s'", what, (int)n, s->p);
}

bool scan_newline(toml_scan *s)
{
    size_t n = scan_peek(s, 0) == '\n'                              ? 1
               : scan_peek(s, 0) == '\r' && scan_peek(s, 1) == '\n' ? 2
                                                                    : 0;
    if (!n)
        return false;
    s->p += n;
    s->line++;
    s->line_start = s->column_at = s->p;
    s->column = 1;
    return true;
}

bool scan_is_control(int c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; }

static void skip_blanks(toml_scan *s)
{
    while (scan_peek(s, 0) == ' ' || scan_peek(s, 0) == '\t')
        s->p++;
}

static bool skip_comment(toml_scan *s)
{
    if (scan_peek(s, 0) != '#')
        return true;
    for (;;) {
        int c = scan_peek(s, 0);
        if (c < 0 || c == '\n' || (c == '\r' && scan_peek(s, 1) == '\n'))
            return true;
        if (scan_is_control(c))
            return scan_fail_at(s, scan_pos(s), "control character 0x%02X in a comment", c);
        s->p++;
    }
}

/* Blanks, comments and line ends: what may stand between the parts of an array. */
static bool skip_space(toml_scan *s)
{
    do {
        skip_blanks(s);
        if (!skip_comment(s))
            return false;
    } while (scan_newline(s));
    return true;
}

static bool line_end(toml_scan *s, const char *after)
{
    skip_blanks(s);
    if (!skip_comment(s))
        return false;
    return s->p == s->end || scan_newline(s) || scan_expected(s, after);
}

/* ---- tables ---- */

static toml_entry *tree_skew(toml_entry *t)
{
    toml_entry *l = t->left;
    if (!l || l->level != t->level)
        return t;
    t->left = l->right;
    l->right = t;
    return l;
}

static toml_entry *tree_split(toml_entry *t)
{
    toml_entry *r = t->right;
    if (!r || !r->right || r->right->level != t->level)
        return t;
    t->right = r->left;
    r->left = t;
    r->level++;
    return r;
}

/* Recursion is as deep as the tree, which is at most twice the logarithm of its size. */
static toml_entry *tree_insert(toml_entry *t, toml_entry *x)
{
    if (!t)
        return x;
    if (str_cmp(x->key, t->key) < 0)
        t->left = tree_insert(t->left, x);
    else
        t->right = tree_insert(t->right, x);
    return tree_split(tree_skew(t));
}

toml_entry *toml_get(const toml_table *t, str key)
{
    for (toml_entry *x = t->tree; x;) {
        int c = str_cmp(key, x->key);
        if (!c)
            return x;
        x = c < 0 ? x->left : x->right;
    }
    return NULL;
}

/* key must not be there yet. */
static toml_entry *table_add(arena *a, toml_table *t, str key, toml_pos pos)
{
    toml_entry *x = ARENA_NEW(a, toml_entry);
    if (!x)
        return NULL;
    x->key = key;
    x->pos = pos;
    x->level = 1;
    if (t->last)
        t->last->next = x;
    else
        t->first = x;
    t->last = x;
    t->n++;
    t->tree = tree_insert(t->tree, x);
    return x;
}

static bool value_make_table(toml_scan *s, toml_value *v, toml_pos pos, uint8_t state)
{
    v->kind = TOML_TABLE;
    v->pos = pos;
    v->table = ARENA_NEW(s->a, toml_table);
    if (!v->table)
        return err_no_memory(s->e);
    v->table->state = state;
    return true;
}

static bool array_push(toml_scan *s, toml_array *array, toml_value **ret)
{
    if (array->n == array->cap) {
        size_t cap = array->cap ? array->cap * 2 : 4;
        toml_value *at = arena_grow(s->a, array->at, array->n, cap, sizeof *at);
        if (!at)
            return err_no_memory(s->e);
        array->at = at;
        array->cap = cap;
    }
    *ret = &array->at[array->n++];
    **ret = (toml_value){0};
    return true;
}

/* ---- keys ---- */

typedef struct {
    str name;
    toml_pos pos;
} key_part;

typedef struct {
    key_part at[TOML_DEPTH_MAX];
    size_t n;
} key_path;

static bool is_bare(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool key_parse(toml_scan *s, key_path *key)
{
    key->n = 0;
    for (;;) {
        skip_blanks(s);
        if (key->n == TOML_DEPTH_MAX)
            return err_set(s->e, ERR_LIMIT, "%.*s:%u:%u: a key of more than %d parts", STR(s->file),
                           s->line, scan_pos(s).column, TOML_DEPTH_MAX);
        key_part *part = &key->at[key->n];
        part->pos = scan_pos(s);
        int c = scan_peek(s, 0);
        if (c == '"' || c == '\'') {
            if (!toml_scan_string(s, false, &part->name))
                return false;
        } else {
            const char *start = s->p;
            while (is_bare(scan_peek(s, 0)))
                s->p++;
            if (s->p == start)
                return scan_expected(s, "a key");
            part->name = arena_str(s->a, (str){start, (size_t)(s->p - start)});
            if (!part->name.p)
                return err_no_memory(s->e);
        }
        key->n++;
        skip_blanks(s);
        if (scan_peek(s, 0) != '.')
            return true;
        s->p++;
    }
}

static bool fail_twice(toml_scan *s, key_part part, const toml_entry *first)
{
    return scan_fail_at(s, part.pos, "'%.*s' is already defined in line %u", STR(part.name),
                        first->pos.line);
}

/* ---- values ---- */

static bool value_parse(toml_scan *s, toml_value *ret);

static bool depth_enter(toml_scan *s)
{
    if (++s->depth <= TOML_DEPTH_MAX)
        return true;
    toml_pos at = scan_pos(s);
    return err_set(s->e, ERR_LIMIT, "%.*s:%u:%u: nested deeper than %d", STR(s->file), at.line,
                   at.column, TOML_DEPTH_MAX);
}

static bool array_parse(toml_scan *s, toml_value *ret)
{
    ret->kind = TOML_ARRAY;
    ret->array = (toml_array){0};
    if (!depth_enter(s))
        return false;
    s->p++;
    for (;;) {
        toml_value *item;
        if (!skip_space(s))
            return false;
        if (scan_peek(s, 0) == ']')
            break;
        if (!array_push(s, &ret->array, &item) || !value_parse(s, item) || !skip_space(s))
            return false;
        if (scan_peek(s, 0) == ',')
            s->p++;
        else if (scan_peek(s, 0) != ']')
            return scan_expected(s, "',' or ']' after an element of the array");
    }
    s->p++;
    s->depth--;
    return true;
}

/* key = value, into t. */
static bool pair_parse(toml_scan *s, toml_table *t)
{
    key_path key;
    if (!key_parse(s, &key))
        return false;
    if (scan_peek(s, 0) != '=')
        return scan_expected(s, "'=' after the key");
    s->p++;
    skip_blanks(s);
    s->depth += (uint32_t)key.n - 1;
    for (size_t i = 0; i + 1 < key.n; i++) {
        toml_entry *x = toml_get(t, key.at[i].name);
        if (!x) {
            x = table_add(s->a, t, key.at[i].name, key.at[i].pos);
            if (!x)
                return err_no_memory(s->e);
            if (!value_make_table(s, &x->value, key.at[i].pos, TABLE_DOTTED))
                return false;
        } else if (x->value.kind != TOML_TABLE) {
            return scan_fail_at(s, key.at[i].pos, "'%.*s' is %s (line %u), not a table",
                                STR(x->key), toml_kind_name(x->value.kind), x->pos.line);
        } else if (x->value.table->state != TABLE_DOTTED) {
            return scan_fail_at(s, key.at[i].pos,
                                "the table '%.*s' was defined in line %u and can't be extended "
                                "by a dotted key",
                                STR(x->key), x->pos.line);
        }
        t = x->value.table;
    }
    key_part last = key.at[key.n - 1];
    toml_entry *x = toml_get(t, last.name);
    if (x)
        return fail_twice(s, last, x);
    x = table_add(s->a, t, last.name, last.pos);
    if (!x)
        return err_no_memory(s->e);
    if (!value_parse(s, &x->value))
        return false;
    s->depth -= (uint32_t)key.n - 1;
    return true;
}

static bool inline_parse(toml_scan *s, toml_value *ret)
{
    if (!value_make_table(s, ret, ret->pos, TABLE_INLINE) || !depth_enter(s))
        return false;
    s->p++;
    skip_blanks(s);
    if (scan_peek(s, 0) != '}') {
        for (;;) {
            if (!pair_parse(s, ret->table))
                return false;
            skip_blanks(s);
            if (scan_peek(s, 0) != ',')
                break;
            s->p++;
        }
        if (scan_peek(s, 0) != '}')
            return scan_expected(s, "',' or '}' in the inline table (it must stay on one line)");
    }
    s->p++;
    s->depth--;
    return true;
}

static bool value_parse(toml_scan *s, toml_value *ret)
{
    ret->pos = scan_pos(s);
    switch (scan_peek(s, 0)) {
    case '"':
    case '\'':
        ret->kind = TOML_STRING;
        return toml_scan_string(s, true, &ret->string);
    case '[':
        return array_parse(s, ret);
    case '{':
        return inline_parse(s, ret);
    default:
        return toml_scan_scalar(s, ret);
    }
}

/* ---- headers ---- */

/* The table that all but the last part of a header lead to. */
static bool header_descend(toml_scan *s, const key_path *key, toml_table **t)
{
    for (size_t i = 0; i + 1 < key->n; i++) {
        key_part part = key->at[i];
        toml_entry *x = toml_get(*t, part.name);
        if (!x) {
            x = table_add(s->a, *t, part.name, part.pos);
            if (!x)
                return err_no_memory(s->e);
            if (!value_make_table(s, &x->value, part.pos, TABLE_IMPLICIT))
                return false;
        }
        toml_value *v = &x->value;
        if (v->kind == TOML_ARRAY && v->array.is_tables)
            v = &v->array.at[v->array.n - 1];
        if (v->kind != TOML_TABLE)
            return scan_fail_at(s, part.pos, "'%.*s' is %s (line %u), not a table", STR(part.name),
                                toml_kind_name(v->kind), x->pos.line);
        if (v->table->state == TABLE_INLINE)
            return scan_fail_at(s, part.pos,
                                "'%.*s' is an inline table (line %u) and can't be extended",
                                STR(part.name), x->pos.line);
        *t = v->table;
    }
    return true;
}

static bool header_table(toml_scan *s, key_part last, toml_table *parent, toml_table **ret)
{
    toml_entry *x = toml_get(parent, last.name);
    if (!x) {
        x = table_add(s->a, parent, last.name, last.pos);
        if (!x)
            return err_no_memory(s->e);
        if (!value_make_table(s, &x->value, last.pos, TABLE_HEADER))
            return false;
    } else if (x->value.kind != TOML_TABLE || x->value.table->state != TABLE_IMPLICIT) {
        return fail_twice(s, last, x);
    }
    x->value.table->state = TABLE_HEADER;
    x->value.pos = x->pos = last.pos;
    *ret = x->value.table;
    return true;
}

static bool header_array(toml_scan *s, key_part last, toml_table *parent, toml_table **ret)
{
    toml_entry *x = toml_get(parent, last.name);
    toml_value *item;
    if (!x) {
        x = table_add(s->a, parent, last.name, last.pos);
        if (!x)
            return err_no_memory(s->e);
        x->value.kind = TOML_ARRAY;
        x->value.pos = last.pos;
        x->value.array.is_tables = true;
    } else if (x->value.kind != TOML_ARRAY || !x->value.array.is_tables) {
        return scan_fail_at(s, last.pos, "'%.*s' is %s (line %u), not an array of tables",
                            STR(last.name), toml_kind_name(x->value.kind), x->pos.line);
    }
    if (!array_push(s, &x->value.array, &item) ||
        !value_make_table(s, item, last.pos, TABLE_HEADER))
        return false;
    *ret = item->table;
    return true;
}

static bool header_parse(toml_scan *s, toml_table *root, toml_table **ret)
{
    key_path key;
    bool is_array = scan_peek(s, 1) == '[';
    s->p += is_array ? 2 : 1;
    if (!key_parse(s, &key))
        return false;
    if (scan_peek(s, 0) != ']' || (is_array && scan_peek(s, 1) != ']'))
        return scan_expected(s, is_array ? "']]' after the name of the table"
                                         : "']' after the name of the table");
    s->p += is_array ? 2 : 1;
    if (!line_end(s, "the end of the line after the header"))
        return false;
    toml_table *parent = root;
    return header_descend(s, &key, &parent) &&
           (is_array ? header_array : header_table)(s, key.at[key.n - 1], parent, ret);
}

/* ---- documents ---- */

/* Finds the first byte that is not UTF-8, line by line so that the message can say where. */
static bool utf8_check(toml_scan *s)
{
    str rest = {s->p, (size_t)(s->end - s->p)};
    if (str_is_utf8(rest))
        return true;
    for (uint32_t line = 1; rest.p; line++) {
        str l = str_cut(&rest, '\n');
        if (str_is_utf8(l))
            continue;
        uint32_t column = 1;
        for (size_t n; l.n; l = str_skip(l, n), column++) {
            for (n = 1; n < 4 && n < l.n && ((unsigned char)l.p[n] & 0xc0) == 0x80; n++)
                ;
            if (!str_is_utf8(str_head(l, n)))
                break;
        }
        return scan_fail_at(s, (toml_pos){line, column}, "not UTF-8; save the file as UTF-8");
    }
    return scan_fail_at(s, (toml_pos){1, 1}, "not UTF-8; save the file as UTF-8");
}

static bool document_parse(toml_scan *s, toml_table *root)
{
    toml_table *t = root;
    for (;;) {
        if (!skip_space(s))
            return false;
        int c = scan_peek(s, 0);
        if (c < 0)
            return true;
        if (c == '[') {
            if (!header_parse(s, root, &t))
                return false;
        } else if (!pair_parse(s, t) || !line_end(s, "the end of the line after the value")) {
            return false;
        }
    }
}

bool toml_parse(arena *a, str file, str text, toml_table **ret_root, err *e)
{
    if (text.n > TOML_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "%.*s: larger than %zu bytes", STR(file),
                       (size_t)TOML_BYTES_MAX);
    if (str_starts(text, S("\xef\xbb\xbf")))
        text = str_skip(text, 3);
    if (!text.p)
        text = S("");
    toml_scan s = {.a = a,
                   .file = file,
                   .p = text.p,
                   .end = text.p + text.n,
                   .line = 1,
                   .line_start = text.p,
                   .column_at = text.p,
                   .column = 1,
                   .e = e};
    toml_table *root = ARENA_NEW(a, toml_table);
    if (!root)
        return err_no_memory(e);
    root->state = TABLE_HEADER;
    if (!utf8_check(&s) || !document_parse(&s, root))
        return false;
    *ret_root = root;
    return true;
}

const char *toml_kind_name(toml_kind kind)
{
    switch (kind) {
    case TOML_STRING:
        return "a string";
    case TOML_INTEGER:
        return "an integer";
    case TOML_FLOAT:
        return "a float";
    case TOML_BOOL:
        return "a boolean";
    case TOML_DATETIME:
    case TOML_DATETIME_LOCAL:
        return "a date and time";
    case TOML_DATE_LOCAL:
        return "a date";
    case TOML_TIME_LOCAL:
        return "a time";
    case TOML_ARRAY:
        return "an array";
    case TOML_TABLE:
        return "a table";
    }
    return "a value";
}
