/* Templates: text with {{ name }} in it.
 * Everything outside the double braces stands for itself; a single brace is ordinary. The name is
 * trimmed. '{{' without '}}' is an error; '}}' alone is text, as in Spin. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

typedef struct {
    str text; /* literal text, or the variable's name */
    bool is_name;
} template_part;

typedef struct {
    template_part *parts;
    size_t n;
    bool is_literal; /* holds no name */
} template;

/* Parts point into text, which must outlive them. The message names the byte offset. */
bool template_parse(arena *a, str text, template *ret, err *e);

/* Gives the value of a variable; valid until template_expand returns. */
typedef bool template_lookup(void *ctx, str name, str *ret_value, err *e);
/* Appends the expansion to out. On failure out holds a part of it. */
bool template_expand(const template *t, template_lookup *lookup, void *ctx, buf *out, err *e);
