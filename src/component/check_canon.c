/* Canonical definitions (Binary.md "Canonical Definitions", CanonicalABI.md "Canonical
 * Definitions": the validation paragraph of each).
 *
 * Lift and lower fix how a component-level function meets a core function; the checks here are the
 * specification's: which options each may have, which the types require, and that core functions
 * named by options have the right signature. Built-ins of WASI 0.3 (tasks, streams, futures,
 * waitables) are decoded and typed; their name carries their immediates ("context.get i32 0"). */
#include "component/check.h"

enum { OPTIONS_MAX = 10 };

static const core_val I32[4] = {CORE_I32, CORE_I32, CORE_I32, CORE_I32};

static bool once(linker *l, uint32_t *option, const char *name)
{
    return *option == UINT32_MAX ||
           link_fail(l, ERR_INVALID, "canonical option `%s` is specified more than once", name);
}

/* CanonicalABI.md "`canonopt` Validation": memory. */
static bool memory_check(linker *l, const scope *s, uint32_t i)
{
    const core_extern *m;
    if (!scope_core(l, s, CORE_MEMORY, i, &m))
        return false;
    if (m->limits.is_64)
        return link_fail(l, ERR_UNSUPPORTED,
                         "64-bit memories (memory64) in canonical options are "
                         "not supported");
    if (m->limits.shared)
        return link_fail(l, ERR_INVALID, "canonical option `memory` must not be shared");
    return true;
}

/* Binary.md "Canonical Definitions": canonopt. */
static bool option_read(linker *l, reader *r, const scope *s, op_canon *c, bool *encoded)
{
    uint8_t kind;
    if (!reader_u8(r, &kind, l->e))
        return false;
    switch (kind) {
    case 0x00:
    case 0x01:
    case 0x02:
        if (*encoded)
            return link_fail(l, ERR_INVALID, "canonical encoding option conflicts with another");
        *encoded = true;
        c->encoding = (string_encoding)kind;
        return true;
    case 0x03:
        return once(l, &c->memory, "memory") && reader_u32(r, &c->memory, l->e) &&
               memory_check(l, s, c->memory);
    case 0x04:
        return once(l, &c->realloc, "realloc") && reader_u32(r, &c->realloc, l->e);
    case 0x05:
        return once(l, &c->post_return, "post-return") && reader_u32(r, &c->post_return, l->e);
    case 0x06:
        if (c->async)
            return link_fail(l, ERR_INVALID,
                             "canonical option `async` is specified more than once");
        c->async = true;
        return true;
    case 0x07:
        return once(l, &c->callback, "callback") && reader_u32(r, &c->callback, l->e);
    case 0x08:
    case 0x09:
        return link_fail(l, ERR_UNSUPPORTED, "canonical option `%s` (the GC ABI) is not supported",
                         kind == 0x08 ? "core-type" : "gc");
    default:
        return link_fail(l, ERR_INVALID, "malformed canonical option 0x%02x", kind);
    }
}

/* Binary.md "Canonical Definitions": opts. */
static bool options_read(linker *l, reader *r, const scope *s, op_canon *c)
{
    const core_extern *f;
    uint32_t n;
    bool encoded = false;
    if (!reader_count(r, OPTIONS_MAX, "canonical options", &n, l->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!option_read(l, r, s, c, &encoded))
            return false;
    if (c->callback != UINT32_MAX && !c->async)
        return link_fail(l, ERR_INVALID, "cannot specify callback without async");
    if (c->post_return != UINT32_MAX && c->async)
        return link_fail(l, ERR_INVALID, "cannot specify post-return function in async");
    if (c->realloc == UINT32_MAX)
        return true;
    if (c->memory == UINT32_MAX)
        return link_fail(l, ERR_INVALID,
                         "canonical option `realloc` requires `memory` to also be specified");
    if (!scope_core(l, s, CORE_FUNC, c->realloc, &f))
        return false;
    return core_func_is(l, f->func, I32, 4, I32, 1) ||
           link_fail(l, ERR_INVALID,
                     "canonical option `realloc` uses a core function with an incorrect signature");
}

/* CanonicalABI.md "`canonopt` Validation". */
static bool need_memory(linker *l, const op_canon *c, bool when)
{
    return !when || c->memory != UINT32_MAX ||
           link_fail(l, ERR_INVALID, "canonical option `memory` is required");
}

/* CanonicalABI.md "`canonopt` Validation". */
static bool need_realloc(linker *l, const op_canon *c, bool when)
{
    if (!when)
        return true;
    return need_memory(l, c, true) &&
           (c->realloc != UINT32_MAX ||
            link_fail(l, ERR_INVALID, "canonical option `realloc` is required"));
}

/* Options that only lift may have. */
static bool lower_only(linker *l, const op_canon *c)
{
    if (c->post_return != UINT32_MAX)
        return link_fail(l, ERR_INVALID,
                         "canonical option `post-return` cannot be specified for lowerings");
    if (c->callback != UINT32_MAX)
        return link_fail(l, ERR_INVALID,
                         "canonical option `callback` cannot be specified for lowerings");
    return true;
}

static bool params_have_pointer(const functype *f)
{
    for (uint32_t i = 0; i < f->params_count; i++)
        if (f->params[i].type->has_pointer)
            return true;
    return false;
}

/* CanonicalABI.md "`canonopt` Validation": async, callback. */
static bool async_check(linker *l, const op_canon *c)
{
    return !c->async || c->type->async ||
           link_fail(l, ERR_INVALID,
                     "the `async` canonical option requires an async function type");
}

/* CanonicalABI.md "`canon lower`", validation.
 * Memory and realloc as lowered (imports): parameters are read, results are written. */
static bool lower_needs(linker *l, op_canon *c)
{
    const functype *f = c->type;
    functype_signature(f, false, c->async, false, &c->signature);
    return need_memory(l, c,
                       params_have_pointer(f) || c->signature.params_spilled ||
                           c->signature.results_spilled) &&
           need_realloc(l, c, f->result && f->result->has_pointer);
}

/* CanonicalABI.md "`canon lift`", validation. */
static bool lift_needs(linker *l, op_canon *c)
{
    const functype *f = c->type;
    bool callback = c->callback != UINT32_MAX;
    functype_signature(f, true, c->async, callback, &c->signature);
    uint32_t flat_max = c->async ? ABI_FLAT_PARAMS_MAX : ABI_FLAT_RESULTS_MAX;
    return need_realloc(l, c, params_have_pointer(f) || c->signature.params_spilled) &&
           need_memory(l, c,
                       f->result && (f->result->has_pointer || f->result->flat_count > flat_max));
}

static bool canon_op(linker *l, scope *s, const op_canon *c)
{
    op o = {.kind = OP_CANON};
    op_canon *keep = ARENA_NEW(l->a, op_canon);
    if (!keep)
        return link_oom(l);
    *keep = *c;
    o.canon = keep;
    return scope_op(l, s, &o);
}

/* CanonicalABI.md "Flattening": flatten_functype, compared with the core function. */
static bool signature_check(linker *l, uint32_t have, const core_signature *want, uint32_t func)
{
    uint32_t id;
    if (!core_signature_intern(l, want, &id))
        return false;
    return have == id || link_fail(l, ERR_INVALID,
                                   "the signature of core function %u is not that "
                                   "of the lifted type: lowered parameter or result types do not "
                                   "match (%u parameters, %u results expected)",
                                   func, want->params_count, want->results_count);
}

/* Binary.md "Canonical Definitions": canon lift. */
static bool lift_read(linker *l, reader *r, scope *s)
{
    op_canon c = {OPC_LIFT, .memory = UINT32_MAX, .realloc = UINT32_MAX, .post_return = UINT32_MAX,
                  .callback = UINT32_MAX};
    const core_extern *f, *option;
    entity e = {.kind = SORT_FUNC};
    uint32_t type_index;
    if (!reader_u32(r, &c.func, l->e) || !options_read(l, r, s, &c) ||
        !reader_u32(r, &type_index, l->e) ||
        !scope_type_of(l, s, type_index, CTYPE_FUNC, &e.type) ||
        !scope_core(l, s, CORE_FUNC, c.func, &f))
        return false;
    c.type = e.type->func;
    if (!async_check(l, &c) || !lift_needs(l, &c) ||
        !signature_check(l, f->func, &c.signature, c.func))
        return false;
    if (c.post_return != UINT32_MAX) {
        core_val result = c.signature.results[0];
        if (!scope_core(l, s, CORE_FUNC, c.post_return, &option))
            return false;
        if (!core_func_is(l, option->func, &result, c.signature.results_count, NULL, 0))
            return link_fail(l, ERR_INVALID,
                             "canonical option `post-return` uses a core function "
                             "with an incorrect signature");
    }
    if (c.callback != UINT32_MAX) {
        if (!scope_core(l, s, CORE_FUNC, c.callback, &option))
            return false;
        if (!core_func_is(l, option->func, I32, 3, I32, 1))
            return link_fail(l, ERR_INVALID,
                             "canonical option `callback` uses a core function with "
                             "an incorrect signature");
    }
    return scope_add(l, s, &e) && canon_op(l, s, &c);
}

static bool core_func_push(linker *l, scope *s, const op_canon *c)
{
    uint32_t id;
    return core_signature_intern(l, &c->signature, &id) && scope_core_func_add(l, s, id) &&
           canon_op(l, s, c);
}

/* Binary.md "Canonical Definitions": canon lower. */
static bool lower_read(linker *l, reader *r, scope *s)
{
    op_canon c = {OPC_LOWER, .memory = UINT32_MAX, .realloc = UINT32_MAX, .post_return = UINT32_MAX,
                  .callback = UINT32_MAX};
    entity e;
    if (!reader_u32(r, &c.func, l->e) || !options_read(l, r, s, &c) ||
        !scope_entity(l, s, SORT_FUNC, c.func, &e))
        return false;
    c.type = e.type->func;
    return lower_only(l, &c) && async_check(l, &c) && lower_needs(l, &c) &&
           core_func_push(l, s, &c);
}

/* Binary.md "Canonical Definitions": resource.new, .drop, .rep. */
static bool resource_read(linker *l, reader *r, scope *s, op_canon_kind kind)
{
    op_canon c = {kind, .memory = UINT32_MAX, .realloc = UINT32_MAX, .post_return = UINT32_MAX,
                  .callback = UINT32_MAX};
    uint32_t i;
    ctype *t;
    if (!reader_u32(r, &i, l->e) || !scope_type_of(l, s, i, CTYPE_RESOURCE, &t))
        return false;
    if (kind != OPC_RESOURCE_DROP && !(t->resource->is_local && t->resource->owner == s))
        return link_fail(l, ERR_INVALID, "type %u is not a local resource", i);
    c.resource = t->resource;
    c.signature = (core_signature){.params = {CORE_I32},
                                   .params_count = 1,
                                   .results = {CORE_I32},
                                   .results_count = kind != OPC_RESOURCE_DROP};
    return core_func_push(l, s, &c);
}

/* What a built-in has besides its name (Binary.md `canon`). */
enum {
    B_ASYNC = 1,
    B_CANCEL = 2,
    B_MEMORY = 4,
    B_STREAM = 8,
    B_FUTURE = 16,
    B_OPTIONS = 32,
    B_CONTEXT = 64,
    B_RESULT = 128,
    B_ERROR = 256,
    B_REFUSED = 512,
    B_TABLE = 1024
};

typedef struct {
    uint8_t code;
    const char *name;
    uint16_t has;
    uint8_t params, results; /* all i32, but B_CONTEXT and *.new */
} builtin;

static const builtin builtins[] = {
    {0x24, "backpressure.inc", 0, 0, 0},
    {0x25, "backpressure.dec", 0, 0, 0},
    {0x09, "task.return", B_RESULT | B_OPTIONS, 0, 0},
    {0x05, "task.cancel", 0, 0, 0},
    {0x0a, "context.get", B_CONTEXT, 0, 1},
    {0x0b, "context.set", B_CONTEXT, 1, 0},
    {0x06, "subtask.cancel", B_ASYNC, 1, 1},
    {0x0d, "subtask.drop", 0, 1, 0},
    {0x0e, "stream.new", B_STREAM, 0, 1},
    {0x0f, "stream.read", B_STREAM | B_OPTIONS, 3, 1},
    {0x10, "stream.write", B_STREAM | B_OPTIONS, 3, 1},
    {0x11, "stream.cancel-read", B_STREAM | B_ASYNC, 1, 1},
    {0x12, "stream.cancel-write", B_STREAM | B_ASYNC, 1, 1},
    {0x13, "stream.drop-readable", B_STREAM, 1, 0},
    {0x14, "stream.drop-writable", B_STREAM, 1, 0},
    {0x15, "future.new", B_FUTURE, 0, 1},
    {0x16, "future.read", B_FUTURE | B_OPTIONS, 2, 1},
    {0x17, "future.write", B_FUTURE | B_OPTIONS, 2, 1},
    {0x18, "future.cancel-read", B_FUTURE | B_ASYNC, 1, 1},
    {0x19, "future.cancel-write", B_FUTURE | B_ASYNC, 1, 1},
    {0x1a, "future.drop-readable", B_FUTURE, 1, 0},
    {0x1b, "future.drop-writable", B_FUTURE, 1, 0},
    {0x1c, "error-context.new", B_OPTIONS | B_ERROR, 2, 1},
    {0x1d, "error-context.debug-message", B_OPTIONS | B_ERROR, 2, 0},
    {0x1e, "error-context.drop", 0, 1, 0},
    {0x1f, "waitable-set.new", 0, 0, 1},
    {0x20, "waitable-set.wait", B_CANCEL | B_MEMORY, 2, 1},
    {0x21, "waitable-set.poll", B_CANCEL | B_MEMORY, 2, 1},
    {0x22, "waitable-set.drop", 0, 1, 0},
    {0x23, "waitable.join", 0, 2, 0},
    {0x0c, "thread.yield", B_CANCEL, 0, 1},
    {0x26, "thread.index", 0, 0, 1},
    {0x27, "thread.new-indirect", B_TABLE, 2, 1},
    {0x28, "thread.resume-later", 0, 1, 0},
    {0x29, "thread.suspend", B_CANCEL, 0, 1},
    {0x2a, "thread.suspend-then-resume", B_CANCEL, 1, 1},
    {0x2b, "thread.yield-then-resume", B_CANCEL, 1, 1},
    {0x2c, "thread.suspend-then-promote", B_CANCEL, 1, 1},
    {0x2d, "thread.yield-then-promote", B_CANCEL, 1, 1},
    {0x40, "thread.spawn-ref", B_REFUSED, 0, 0},
    {0x41, "thread.spawn-indirect", B_REFUSED, 0, 0},
    {0x42, "thread.available-parallelism", B_REFUSED, 0, 0},
};

static bool flag_read(linker *l, reader *r, bool *ret)
{
    uint8_t byte;
    if (!reader_u8(r, &byte, l->e))
        return false;
    if (byte > 1)
        return link_fail(l, ERR_INVALID, "malformed flag 0x%02x of a canonical built-in", byte);
    *ret = byte;
    return true;
}

/* Binary.md "Canonical Definitions": stream.*, future.*. */
static bool element_read(linker *l, reader *r, const scope *s, const builtin *b, op_canon *c)
{
    type_kind kind = b->has & B_STREAM ? TYPE_STREAM : TYPE_FUTURE;
    uint32_t i;
    ctype *t;
    if (!reader_u32(r, &i, l->e) || !scope_type_of(l, s, i, CTYPE_VALUE, &t))
        return false;
    if (t->value->kind != kind)
        return link_fail(l, ERR_INVALID, "`%s` requires a %s type", b->name,
                         kind == TYPE_STREAM ? "stream" : "future");
    c->element = t->value->elem;
    return true;
}

/* Binary.md "Canonical Definitions": context.get, context.set. */
static bool context_read(linker *l, reader *r, scope *s, const builtin *b, op_canon *c)
{
    uint8_t t;
    uint32_t slot;
    if (!reader_u8(r, &t, l->e) || !reader_u32(r, &slot, l->e))
        return false;
    if (t == CORE_I64)
        return link_fail(l, ERR_UNSUPPORTED, "64-bit `%s` (memory64) is not supported", b->name);
    if (t != CORE_I32)
        return link_fail(l, ERR_INVALID, "`%s` only supports `i32` or `i64`", b->name);
    if (slot > 1)
        return link_fail(l, ERR_INVALID, "`%s` immediate must be zero or one: %u", b->name, slot);
    s->context_type = t;
    c->name = arena_printf(l->a, "%s i32 %u", b->name, slot);
    return c->name.p || link_oom(l);
}

/* thread.new-indirect: the type of the function it starts and the table that holds it. */
static bool table_read(linker *l, reader *r, const scope *s, op_canon *c)
{
    const core_extern *t;
    const module_type *m;
    uint32_t func, id;
    if (!reader_u32(r, &func, l->e) || !reader_u32(r, &c->table, l->e))
        return false;
    if (!scope_core_type(l, s, func, &m, &id))
        return false;
    if (m || !core_func_is(l, id, I32, 1, NULL, 0))
        return link_fail(l, ERR_INVALID,
                         "a thread starts with a function of one `i32` argument "
                         "and no result");
    if (!scope_core(l, s, CORE_TABLE, c->table, &t))
        return false;
    return (t->val == CORE_FUNCREF && !t->limits.is_64 && !t->limits.shared) ||
           link_fail(l, ERR_INVALID, "table is not a 32-bit table of (ref null (func))");
}

/* Binary.md "Canonical Definitions": task.return. */
static bool task_return_read(linker *l, reader *r, const scope *s, op_canon *c)
{
    functype with_param = {0}, with_result = {0};
    type_field param = {.name = S("v")};
    ctype *node;
    uint8_t form, none;
    if (!reader_u8(r, &form, l->e))
        return false;
    if (form == 0x00) {
        if (!val_type_read(l, r, s, &param.type, &node))
            return false;
    } else if (form != 0x01 || !reader_u8(r, &none, l->e) || none != 0) {
        return link_fail(l, ERR_INVALID, "malformed results of task.return");
    }
    with_result.result = param.type;
    with_param.params = &param;
    with_param.params_count = param.type != NULL;
    functype_signature(&with_param, false, false, false, &c->signature);
    return functype_intern(l, &with_result, &c->type);
}

static bool builtin_options(linker *l, const builtin *b, const op_canon *c)
{
    bool pointer = c->element && c->element->has_pointer;
    bool reads = b->code == 0x0f || b->code == 0x16;
    if (!lower_only(l, c))
        return false;
    if (b->has & B_RESULT) {
        if (c->realloc != UINT32_MAX || c->async)
            return link_fail(l, ERR_INVALID, "cannot specify `%s` option on `task.return`",
                             c->async ? "async" : "realloc");
        const type *t = c->type->result;
        return need_memory(l, c, t && (t->has_pointer || c->signature.params_spilled));
    }
    if (b->has & B_ERROR) {
        if (c->async)
            return link_fail(l, ERR_INVALID, "cannot specify `async` option on `%s`", b->name);
        return need_memory(l, c, true) && need_realloc(l, c, b->code == 0x1d);
    }
    return need_memory(l, c, c->element != NULL) && need_realloc(l, c, reads && pointer);
}

/* Binary.md "Canonical Definitions": built-ins. */
static bool builtin_read(linker *l, reader *r, scope *s, const builtin *b)
{
    op_canon c = {OPC_BUILTIN, .memory = UINT32_MAX, .realloc = UINT32_MAX,
                  .post_return = UINT32_MAX, .callback = UINT32_MAX};
    bool cancel = false;
    if (b->has & B_REFUSED)
        return link_fail(l, ERR_UNSUPPORTED, "canonical built-in `%s` (threads) is not supported",
                         b->name);
    c.name = str_from(b->name);
    for (uint32_t i = 0; i < b->params; i++)
        c.signature.params[c.signature.params_count++] = CORE_I32;
    c.signature.results_count = b->results;
    c.signature.results[0] = b->code == 0x0e || b->code == 0x15 ? CORE_I64 : CORE_I32;
    if ((b->has & B_RESULT && !task_return_read(l, r, s, &c)) ||
        (b->has & B_CONTEXT && !context_read(l, r, s, b, &c)) ||
        (b->has & (B_STREAM | B_FUTURE) && !element_read(l, r, s, b, &c)) ||
        (b->has & B_ASYNC && !flag_read(l, r, &c.async)) ||
        (b->has & B_CANCEL && !flag_read(l, r, &cancel)) ||
        (b->has & B_TABLE && !table_read(l, r, s, &c)))
        return false;
    if (b->has & B_MEMORY && (!reader_u32(r, &c.memory, l->e) || !memory_check(l, s, c.memory)))
        return false;
    if (b->has & B_OPTIONS && (!options_read(l, r, s, &c) || !builtin_options(l, b, &c)))
        return false;
    if (cancel) {
        c.name = arena_printf(l->a, "%s cancellable", b->name);
        if (!c.name.p)
            return link_oom(l);
    }
    return core_func_push(l, s, &c);
}

/* Binary.md "Canonical Definitions": canon. */
bool canon_read(linker *l, reader *r, scope *s)
{
    uint8_t code, zero;
    if (!reader_u8(r, &code, l->e))
        return false;
    if (code <= 0x01) {
        if (!reader_u8(r, &zero, l->e))
            return false;
        if (zero != 0)
            return link_fail(l, ERR_INVALID, "malformed canonical function");
        return code == 0x00 ? lift_read(l, r, s) : lower_read(l, r, s);
    }
    if (code <= 0x04)
        return resource_read(l, r, s,
                             code == 0x02   ? OPC_RESOURCE_NEW
                             : code == 0x03 ? OPC_RESOURCE_DROP
                                            : OPC_RESOURCE_REP);
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
        if (builtins[i].code == code)
            return builtin_read(l, r, s, &builtins[i]);
    return link_fail(l, ERR_INVALID, "malformed canonical function 0x%02x", code);
}
