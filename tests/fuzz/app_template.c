/* Any bytes as a template: the parts, put together again, are the text but for blanks in braces. */
#include "app/template.h"
#include "base/limits.h"
#include "base/must.h"

static bool same_name(void *ctx, str name, str *ret_value, err *e)
{
    *ret_value = arena_printf(ctx, "{{%.*s}}", STR(name));
    return ret_value->p;
}

/* Without the blanks that template_parse trims, so that both sides compare. */
static size_t squeeze(char *out, str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] && !strchr(" \t\r\n", s.p[i]))
            out[n++] = s.p[i];
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf out;
    template t;
    err e;
    str text = {(const char *)data, size};
    arena_init(&a, 64 * MIB);
    buf_init(&out, 64 * MIB);
    if (!template_parse(&a, text, &t, &e) || memchr(data, 0, size))
        return 0;
    must(template_expand(&t, same_name, &a, &out, &e));
    char *x = arena_alloc(&a, size + 1), *y = arena_alloc(&a, out.n + 1);
    size_t n = squeeze(x, text), m = squeeze(y, buf_str(&out));
    must(n == m && !memcmp(x, y, n));
    return 0;
}
