/* Templates; see template.h. The text is cut twice, once to count the parts and once to fill
 * them, so that they stand in one array of the right size. */
#include "app/template.h"

/* The next part of *text; false if a '{{' is not closed (then *text begins with it). */
static bool part_cut(str *text, template_part *ret)
{
    const char *open = text->n ? memmem(text->p, text->n, "{{", 2) : NULL;
    if (open != text->p) {
        size_t n = open ? (size_t)(open - text->p) : text->n;
        *ret = (template_part){str_head(*text, n), false};
        *text = str_skip(*text, n);
        return true;
    }
    str inside = str_skip(*text, 2);
    const char *close = inside.n ? memmem(inside.p, inside.n, "}}", 2) : NULL;
    if (!close)
        return false;
    size_t n = (size_t)(close - inside.p);
    *ret = (template_part){str_trim(str_head(inside, n)), true};
    *text = str_skip(inside, n + 2);
    return true;
}

bool template_parse(arena *a, str text, template *ret, err *e)
{
    template t = {.is_literal = true};
    template_part part;
    for (str rest = text; rest.n; t.n++)
        if (!part_cut(&rest, &part))
            return err_set(e, ERR_INVALID, "'{{' at byte %zu has no closing '}}'",
                           (size_t)(rest.p - text.p) + 1);
    t.parts = ARENA_ARRAY(a, template_part, t.n);
    if (!t.parts)
        return err_no_memory(e);
    size_t i = 0;
    for (str rest = text; rest.n; i++) {
        part_cut(&rest, &t.parts[i]);
        t.is_literal &= !t.parts[i].is_name;
    }
    *ret = t;
    return true;
}

bool template_expand(const template *t, template_lookup *lookup, void *ctx, buf *out, err *e)
{
    for (size_t i = 0; i < t->n; i++) {
        str value = t->parts[i].text;
        if (t->parts[i].is_name && !lookup(ctx, t->parts[i].text, &value, e))
            return false;
        if (!buf_put_str(out, value))
            return err_set(e, ERR_LIMIT, "a template expanded to more than %zu bytes", out->max);
    }
    return true;
}
