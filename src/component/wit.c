/* A recursive-descent parser over one text, a token at a time; no tree is made, descriptors are
 * built as they are read. Lists of fields are gathered in a small chain in the arena and copied
 * into an array when their number is known: the texts are short and parsed once per process.
 * Depth is limited as for types of components (COMPONENT_TYPE_DEPTH_MAX).
 *
 * Deliberately not here: packages, worlds, comments, attributes, forward references. The host's
 * tables are the only input, and they need none of it. */
#include "component/wit.h"

#include "base/limits.h"

typedef enum { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_ARROW, TOKEN_CHAR } token_kind;

typedef struct {
    arena *a;
    err *e;
    str interface, text;
    size_t at; /* behind the current token */
    token_kind kind;
    str token;
    const wit_types *types; /* what names mean */
    unsigned depth;
} parser;

static bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool fail(parser *p, const char *expected)
{
    size_t line = 1, column = 1, end = p->at - p->token.n;
    for (size_t i = 0; i < end; i++) {
        column++;
        if (p->text.p[i] == '\n')
            line++, column = 1;
    }
    return err_set(p->e, ERR_INVALID, "WIT of %.*s:%zu:%zu: expected %s, found '%.*s'",
                   STR(p->interface), line, column, expected, STR(p->token));
}

static void next(parser *p)
{
    const char *s = p->text.p;
    size_t n = p->text.n, i = p->at;
    while (i < n && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t'))
        i++;
    size_t start = i;
    bool escaped = i + 1 < n && s[i] == '%' && is_name_start(s[i + 1]);
    if (escaped)
        start = ++i;
    if (i >= n) {
        p->kind = TOKEN_END;
    } else if (is_name_start(s[i])) {
        while (i < n && (is_name_start(s[i]) || is_digit(s[i]) ||
                         (s[i] == '-' && i + 1 < n && s[i + 1] != '>')))
            i++;
        p->kind = TOKEN_NAME;
    } else if (is_digit(s[i])) {
        while (i < n && is_digit(s[i]))
            i++;
        p->kind = TOKEN_NUMBER;
    } else if (s[i] == '-' && i + 1 < n && s[i + 1] == '>') {
        i += 2;
        p->kind = TOKEN_ARROW;
    } else {
        i++;
        p->kind = TOKEN_CHAR;
    }
    p->token = (str){s + start, i - start};
    p->at = i;
}

static bool is_char(const parser *p, char c) { return p->kind == TOKEN_CHAR && p->token.p[0] == c; }

static bool is_word(const parser *p, const char *word)
{
    return p->kind == TOKEN_NAME && str_eq(p->token, str_from(word));
}

static bool take_char(parser *p, char c)
{
    if (!is_char(p, c)) {
        char expected[] = "'?'";
        expected[1] = c;
        return fail(p, expected);
    }
    next(p);
    return true;
}

static bool take_name(parser *p, str *ret)
{
    if (p->kind != TOKEN_NAME)
        return fail(p, "a name");
    *ret = p->token;
    next(p);
    return true;
}

const wit_name *wit_types_get(const wit_types *types, str name)
{
    for (uint32_t i = 0; i < types->count; i++)
        if (str_eq(types->names[i].name, name))
            return &types->names[i];
    return NULL;
}

/* --- fields: a chain while reading, an array afterwards ----------------------------------- */

typedef struct field_link field_link;
struct field_link {
    type_field field;
    field_link *next;
};

typedef struct {
    field_link *first, **last;
    uint32_t count;
} field_chain;

static void chain_init(field_chain *c) { *c = (field_chain){.last = &c->first}; }

static bool chain_add(parser *p, field_chain *c, str name, const type *t)
{
    field_link *l = ARENA_NEW(p->a, field_link);
    if (!l)
        return err_no_memory(p->e);
    l->field = (type_field){name, t};
    *c->last = l;
    c->last = &l->next;
    c->count++;
    return true;
}

static bool chain_array(parser *p, const field_chain *c, const type_field **ret)
{
    type_field *f = ARENA_ARRAY(p->a, type_field, c->count ? c->count : 1);
    if (!f)
        return err_no_memory(p->e);
    uint32_t i = 0;
    for (const field_link *l = c->first; l; l = l->next)
        f[i++] = l->field;
    *ret = f;
    return true;
}

/* --- types --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    type_kind kind;
} primitives[] = {
    {"bool", TYPE_BOOL},     {"s8", TYPE_S8},
    {"u8", TYPE_U8},         {"s16", TYPE_S16},
    {"u16", TYPE_U16},       {"s32", TYPE_S32},
    {"u32", TYPE_U32},       {"s64", TYPE_S64},
    {"u64", TYPE_U64},       {"f32", TYPE_F32},
    {"f64", TYPE_F64},       {"char", TYPE_CHAR},
    {"string", TYPE_STRING}, {"error-context", TYPE_ERROR_CONTEXT},
};

static bool finish(parser *p, type *t, const type **ret)
{
    if (!type_finish(t, p->e))
        return err_wrap(p->e, "WIT of %.*s", STR(p->interface));
    *ret = t;
    return true;
}

static bool parse_type(parser *p, const type **ret);

/* "_" means: no type. */
static bool parse_type_or_none(parser *p, const type **ret)
{
    if (is_char(p, '_')) {
        next(p);
        *ret = NULL;
        return true;
    }
    return parse_type(p, ret);
}

static bool parse_handle(parser *p, type *t, const type **ret)
{
    str name;
    if (!take_char(p, '<'))
        return false;
    const wit_name *n = p->kind == TOKEN_NAME ? wit_types_get(p->types, p->token) : NULL;
    if (!n || !n->resource)
        return fail(p, "the name of a resource");
    t->resource = n->resource;
    return take_name(p, &name) && take_char(p, '>') && finish(p, t, ret);
}

/* list<T>, list<T, N>, option<T>, stream<T>, future<T>; the last two also without type. */
static bool parse_with_element(parser *p, type *t, const type **ret)
{
    bool bare_allowed = t->kind == TYPE_STREAM || t->kind == TYPE_FUTURE;
    if (bare_allowed && !is_char(p, '<'))
        return finish(p, t, ret);
    if (!take_char(p, '<') || !parse_type_or_none(p, &t->elem))
        return false;
    if (!t->elem && !bare_allowed)
        return fail(p, "a type");
    if (t->kind == TYPE_LIST && is_char(p, ',')) {
        uint64_t n;
        next(p);
        if (p->kind != TOKEN_NUMBER || !str_to_u64(p->token, UINT32_MAX, &n) || n == 0)
            return fail(p, "the length of the list");
        t->length_fixed = (uint32_t)n;
        next(p);
    }
    return take_char(p, '>') && finish(p, t, ret);
}

static bool parse_result(parser *p, type *t, const type **ret)
{
    type_field *f = ARENA_ARRAY(p->a, type_field, 2);
    if (!f)
        return err_no_memory(p->e);
    f[0].name = S("ok");
    f[1].name = S("error");
    t->fields = f;
    t->fields_count = 2;
    if (is_char(p, '<')) {
        next(p);
        if (!parse_type_or_none(p, &f[0].type))
            return false;
        if (is_char(p, ',')) {
            next(p);
            if (!parse_type_or_none(p, &f[1].type))
                return false;
        }
        if (!take_char(p, '>'))
            return false;
    }
    return finish(p, t, ret);
}

static bool parse_tuple(parser *p, type *t, const type **ret)
{
    field_chain c;
    chain_init(&c);
    if (!take_char(p, '<'))
        return false;
    for (;;) {
        const type *elem;
        if (!parse_type(p, &elem) || !chain_add(p, &c, S(""), elem))
            return false;
        if (!is_char(p, ','))
            break;
        next(p);
    }
    t->fields_count = c.count;
    return take_char(p, '>') && chain_array(p, &c, &t->fields) && finish(p, t, ret);
}

static bool parse_named(parser *p, str name, const type **ret)
{
    const wit_name *n = wit_types_get(p->types, name);
    if (!n)
        return err_set(p->e, ERR_INVALID, "WIT of %.*s: '%.*s' is not defined here",
                       STR(p->interface), STR(name));
    if (!n->resource) {
        *ret = n->type;
        return true;
    }
    type *t = ARENA_NEW(p->a, type);
    if (!t)
        return err_no_memory(p->e);
    t->kind = TYPE_OWN;
    t->resource = n->resource;
    return finish(p, t, ret);
}

static bool parse_constructed(parser *p, str word, const type **ret)
{
    static const struct {
        const char *name;
        type_kind kind;
        bool (*parse)(parser *, type *, const type **);
    } constructors[] = {
        {"list", TYPE_LIST, parse_with_element},
        {"option", TYPE_OPTION, parse_with_element},
        {"stream", TYPE_STREAM, parse_with_element},
        {"future", TYPE_FUTURE, parse_with_element},
        {"result", TYPE_RESULT, parse_result},
        {"tuple", TYPE_TUPLE, parse_tuple},
        {"own", TYPE_OWN, parse_handle},
        {"borrow", TYPE_BORROW, parse_handle},
    };
    for (size_t i = 0; i < sizeof constructors / sizeof *constructors; i++)
        if (str_eq(word, str_from(constructors[i].name))) {
            type *t = ARENA_NEW(p->a, type);
            if (!t)
                return err_no_memory(p->e);
            t->kind = constructors[i].kind;
            return constructors[i].parse(p, t, ret);
        }
    return parse_named(p, word, ret);
}

static bool parse_type(parser *p, const type **ret)
{
    str word;
    if (p->depth >= COMPONENT_TYPE_DEPTH_MAX)
        return err_set(p->e, ERR_LIMIT, "WIT of %.*s: types are nested more than %d deep",
                       STR(p->interface), COMPONENT_TYPE_DEPTH_MAX);
    if (!take_name(p, &word))
        return false;
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
        if (str_eq(word, str_from(primitives[i].name))) {
            *ret = type_primitive(primitives[i].kind);
            return true;
        }
    p->depth++;
    bool ok = parse_constructed(p, word, ret);
    p->depth--;
    return ok;
}

/* --- definitions --------------------------------------------------------------------------- */

/* "{ name: type, }" for records, "{ name, name(type), }" for the others. */
static bool parse_body(parser *p, type *t)
{
    field_chain c;
    chain_init(&c);
    if (!take_char(p, '{'))
        return false;
    while (!is_char(p, '}')) {
        str name;
        const type *ft = NULL;
        if (!take_name(p, &name))
            return false;
        if (t->kind == TYPE_RECORD) {
            if (!take_char(p, ':') || !parse_type(p, &ft))
                return false;
        } else if (t->kind == TYPE_VARIANT && is_char(p, '(')) {
            next(p);
            if (!parse_type(p, &ft) || !take_char(p, ')'))
                return false;
        }
        if (!chain_add(p, &c, name, ft))
            return false;
        if (!is_char(p, ','))
            break;
        next(p);
    }
    t->fields_count = c.count;
    return take_char(p, '}') && chain_array(p, &c, &t->fields);
}

/* The growing list behind p->types. */
typedef struct {
    wit_name *names;
    uint32_t count, cap;
    wit_types view;
} scope;

static bool scope_add(parser *p, scope *s, wit_name n)
{
    if (wit_types_get(&s->view, n.name))
        return err_set(p->e, ERR_INVALID, "WIT of %.*s: '%.*s' is defined twice", STR(p->interface),
                       STR(n.name));
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 16;
        wit_name *grown = arena_grow(p->a, s->names, s->cap, cap, sizeof *grown);
        if (!grown)
            return err_no_memory(p->e);
        s->names = grown;
        s->cap = cap;
    }
    s->names[s->count++] = n;
    s->view = (wit_types){p->interface, s->names, s->count};
    return true;
}

/* use ns:pkg/iface@1.2.3.{a, b as c}; */
static bool parse_use(parser *p, scope *s, wit_find *find, void *user)
{
    size_t start = p->at - p->token.n, end = start;
    while (end + 1 < p->text.n && !(p->text.p[end] == '.' && p->text.p[end + 1] == '{'))
        end++;
    str from = {p->text.p + start, end - start};
    const wit_types *other = find ? find(user, from) : NULL;
    if (!other)
        return err_set(p->e, ERR_INVALID, "WIT of %.*s: there is no interface '%.*s' to use",
                       STR(p->interface), STR(from));
    p->at = end + 1;
    next(p);
    if (!take_char(p, '{'))
        return false;
    while (!is_char(p, '}')) {
        str name;
        if (!take_name(p, &name))
            return false;
        const wit_name *n = wit_types_get(other, name);
        if (!n)
            return err_set(p->e, ERR_INVALID, "WIT of %.*s: '%.*s' is not defined in %.*s",
                           STR(p->interface), STR(name), STR(from));
        wit_name mine = *n;
        if (is_word(p, "as")) {
            next(p);
            if (!take_name(p, &mine.name))
                return false;
        }
        if (!scope_add(p, s, mine))
            return false;
        if (!is_char(p, ','))
            break;
        next(p);
    }
    return take_char(p, '}') && take_char(p, ';');
}

static bool parse_resource(parser *p, scope *s)
{
    str name;
    if (!take_name(p, &name) || !take_char(p, ';'))
        return false;
    resource_type *r = ARENA_NEW(p->a, resource_type);
    if (!r)
        return err_no_memory(p->e);
    *r = (resource_type){.interface = p->interface, .name = name, .imported = true};
    return scope_add(p, s, (wit_name){.name = name, .resource = r});
}

static bool parse_alias(parser *p, scope *s)
{
    wit_name n = {0};
    if (!take_name(p, &n.name) || !take_char(p, '='))
        return false;
    /* An alias of a resource is that resource, not own<it>. */
    const wit_name *old = p->kind == TOKEN_NAME ? wit_types_get(&s->view, p->token) : NULL;
    if (old && old->resource) {
        n.resource = old->resource;
        next(p);
    } else if (!parse_type(p, &n.type)) {
        return false;
    }
    return take_char(p, ';') && scope_add(p, s, n);
}

static bool parse_definition(parser *p, scope *s, type_kind kind)
{
    wit_name n = {0};
    type *t = ARENA_NEW(p->a, type);
    if (!t)
        return err_no_memory(p->e);
    t->kind = kind;
    return take_name(p, &n.name) && parse_body(p, t) && finish(p, t, &n.type) && scope_add(p, s, n);
}

static bool parse_statement(parser *p, scope *s, wit_find *find, void *user)
{
    static const struct {
        const char *word;
        type_kind kind;
    } kinds[] = {{"record", TYPE_RECORD},
                 {"variant", TYPE_VARIANT},
                 {"enum", TYPE_ENUM},
                 {"flags", TYPE_FLAGS}};
    if (is_word(p, "use"))
        return next(p), parse_use(p, s, find, user);
    if (is_word(p, "resource"))
        return next(p), parse_resource(p, s);
    if (is_word(p, "type"))
        return next(p), parse_alias(p, s);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (is_word(p, kinds[i].word))
            return next(p), parse_definition(p, s, kinds[i].kind);
    return fail(p, "a definition");
}

bool wit_types_parse(arena *a, str interface, str text, wit_find *find, void *user, wit_types *ret,
                     err *e)
{
    scope s = {.view = {.interface = interface}};
    parser p = {.a = a, .e = e, .interface = interface, .text = text, .types = &s.view};
    next(&p);
    while (p.kind != TOKEN_END)
        if (!parse_statement(&p, &s, find, user))
            return false;
    *ret = s.view;
    return true;
}

bool wit_functype_parse(arena *a, const wit_types *types, str text, functype *ret, err *e)
{
    parser p = {.a = a, .e = e, .interface = types->interface, .text = text, .types = types};
    functype f = {0};
    field_chain params;
    chain_init(&params);
    next(&p);
    if (is_word(&p, "async")) {
        f.async = true;
        next(&p);
    }
    if (!is_word(&p, "func"))
        return fail(&p, "'func'");
    next(&p);
    if (!take_char(&p, '('))
        return false;
    while (!is_char(&p, ')')) {
        str name;
        const type *t;
        if (!take_name(&p, &name) || !take_char(&p, ':') || !parse_type(&p, &t) ||
            !chain_add(&p, &params, name, t))
            return false;
        if (!is_char(&p, ','))
            break;
        next(&p);
    }
    if (!take_char(&p, ')'))
        return false;
    if (p.kind == TOKEN_ARROW) {
        next(&p);
        if (!parse_type(&p, &f.result))
            return false;
    }
    if (p.kind != TOKEN_END)
        return fail(&p, "the end");
    f.params_count = params.count;
    if (!chain_array(&p, &params, &f.params))
        return false;
    *ret = f;
    return true;
}
