/* component_link: bytes of a component to a link plan, in two passes.
 *
 *     bytes --check.c--> operations with types checked --eval.c--> link plan
 *
 * The check reads every definition once, however often it is instantiated, and knows imported
 * resources only as type variables. The evaluation runs the operations of each instance with actual
 * resources and functions. Both passes spend from one budget of work (linker.h), allocate only from
 * the caller's arena and never copy a core module. */
#include "component/link.h"

#include "component/check.h"
#include "component/eval.h"

static bool preamble_is(bytes b, uint8_t version, uint8_t layer)
{
    const uint8_t want[8] = {0, 'a', 's', 'm', version, 0, layer, 0};
    return b.n >= sizeof want && memcmp(b.p, want, sizeof want) == 0;
}

bool bytes_are_component(bytes b) { return preamble_is(b, 0x0d, 1); }

bool bytes_are_core_module(bytes b) { return preamble_is(b, 1, 0); }

static bool check(linker *l, scope **ret)
{
    const shape *sh;
    if (l->file.n > COMPONENT_BYTES_MAX)
        return err_set(l->e, ERR_LIMIT, "the component has %zu bytes; at most %zu are allowed",
                       l->file.n, (size_t)COMPONENT_BYTES_MAX);
    if (bytes_are_core_module(l->file))
        return err_set(l->e, ERR_INVALID, "offset 0x4: this is a core module, not a component");
    if (!bytes_are_component(l->file))
        return err_set(l->e, ERR_INVALID,
                       "offset 0x0: this is not a component (magic header or "
                       "version not detected)");
    scope *s = scope_new(l, SCOPE_COMPONENT, NULL);
    reader r = reader_over(l->file);
    if (!s || !reader_skip(&r, 8, l->e) || !component_read(l, r, s))
        return false;
    l->at = l->file.n;
    *ret = s;
    return scope_finish(l, s, &sh);
}

bool component_check(arena *a, bytes component, err *e)
{
    linker l = {.a = a, .file = component, .e = e};
    scope *s = NULL;
    return check(&l, &s);
}

bool component_link(arena *a, bytes component, link_plan *ret, err *e)
{
    linker l = {.a = a, .file = component, .e = e};
    scope *s = NULL;
    return check(&l, &s) && component_eval(&l, s->def, ret);
}
