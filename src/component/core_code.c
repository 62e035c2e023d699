/* See core_code.h. The walker copies runs: bytes between two indices that change are written with
 * one memcpy, so that code whose indices stay (most of it) costs one pass of reading. Nesting is
 * counted, not recursed into. */
#include "component/core_code.h"

#include "base/limits.h"

typedef struct {
    reader *r;
    const code_maps *m;
    buf *out;            /* may be NULL */
    const uint8_t *from; /* what was not yet copied */
    const uint8_t *insn; /* where the instruction at hand begins */
    code_facts *facts;
    err *e;
} walk;

void leb_u64(buf *out, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    do {
        b[n] = v & 0x7f;
        v >>= 7;
        b[n++] |= v ? 0x80 : 0;
    } while (v);
    buf_put(out, b, n);
}

void leb_u32(buf *out, uint32_t v) { leb_u64(out, v); }

void leb_s64(buf *out, int64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    for (bool more = true; more;) {
        uint8_t low = (uint8_t)(v & 0x7f);
        v >>= 7;
        more = !((v == 0 && !(low & 0x40)) || (v == -1 && (low & 0x40)));
        b[n++] = low | (more ? 0x80 : 0);
    }
    buf_put(out, b, n);
}

static void copy_until(walk *w, const uint8_t *at)
{
    if (w->out && at > w->from)
        buf_put(w->out, w->from, (size_t)(at - w->from));
    w->from = at;
}

static bool mapped(walk *w, const index_map *map, uint32_t old, const char *what, uint32_t *ret)
{
    if (old >= map->count)
        return reader_fail(w->r, w->e, ERR_INVALID, "%s %u does not exist", what, old);
    *ret = map->map ? map->map[old] : old;
    return true;
}

void code_put_constant(buf *out, code_constant c)
{
    uint8_t b[8];
    buf_put_u8(out, c.op);
    if (c.op == 0x41 || c.op == 0x42) {
        leb_s64(out, c.bits);
        return;
    }
    if (c.op == 0xd0 || c.op == 0xd2) {
        leb_u64(out, (uint64_t)c.bits);
        return;
    }
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)((uint64_t)c.bits >> (8 * i));
    buf_put(out, b, c.op == 0x43 ? 4 : 8);
}

/* global.get: of a constant, the constant. */
static bool global_get(walk *w)
{
    const uint8_t *before = w->r->at;
    uint32_t old, now;
    if (!reader_u32(w->r, &old, w->e) || !mapped(w, &w->m->globals, old, "global", &now))
        return false;
    if (!w->out || now == old)
        return true;
    if (now & CODE_CONSTANT) {
        copy_until(w, w->insn);
        code_put_constant(w->out, w->m->constants[now & ~CODE_CONSTANT]);
    } else {
        copy_until(w, before);
        leb_u32(w->out, now);
    }
    w->from = w->r->at;
    return true;
}

/* A u32 index; its new value is written and returned. */
static bool index_next(walk *w, const index_map *map, const char *what, uint32_t *ret)
{
    const uint8_t *before = w->r->at;
    uint32_t old, now;
    if (!reader_u32(w->r, &old, w->e) || !mapped(w, map, old, what, &now))
        return false;
    if (w->out && now != old) {
        copy_until(w, before);
        leb_u32(w->out, now);
        w->from = w->r->at;
    }
    if (ret)
        *ret = now;
    return true;
}

/* Core specification "Heap Types": heaptype.
 * A heap type: negative ones are abstract, others type indices. */
static bool heap_type(walk *w)
{
    const uint8_t *before = w->r->at;
    int64_t v;
    uint32_t now;
    if (!reader_s33(w->r, &v, w->e))
        return false;
    if (v < 0)
        return true;
    if (!mapped(w, &w->m->types, (uint32_t)v, "type", &now))
        return false;
    if (w->out && now != (uint32_t)v) {
        copy_until(w, before);
        leb_s64(w->out, now);
        w->from = w->r->at;
    }
    return true;
}

/* Core specification "Value Types": valtype. */
static bool value_type(walk *w)
{
    uint8_t b;
    if (!reader_u8(w->r, &b, w->e))
        return false;
    return b == 0x63 || b == 0x64 ? heap_type(w) : true;
}

/* Core specification "Control Instructions": blocktype. */
static bool block_type(walk *w)
{
    uint8_t b = w->r->at < w->r->end ? *w->r->at : 0;
    if (b == 0x63 || b == 0x64)
        return value_type(w);
    return heap_type(w); /* the same encoding: negative is a value type or empty */
}

static void note_table(walk *w, uint32_t table, uint8_t what)
{
    if (w->facts && w->facts->tables)
        w->facts->tables[table] |= what;
    if (w->facts && what & TABLE_MUTATED)
        w->facts->mutates_tables = true;
}

static bool segment_next(walk *w, bool elem)
{
    uint32_t segment;
    if (!index_next(w, elem ? &w->m->elems : &w->m->datas,
                    elem ? "element segment" : "data segment", &segment))
        return false;
    if (w->facts) {
        uint8_t *mentioned = elem ? w->facts->elems : w->facts->datas;
        w->facts->segments = true;
        if (mentioned)
            mentioned[segment] = 1;
    }
    return true;
}

static bool ref_func(walk *w)
{
    uint32_t func;
    if (!index_next(w, &w->m->funcs, "function", &func))
        return false;
    if (w->facts && w->facts->funcs)
        w->facts->funcs[func] = 1;
    if (w->facts && w->facts->on_func)
        w->facts->on_func(w->facts->ctx, func);
    return true;
}

static bool call_func(walk *w)
{
    uint32_t func;
    if (!index_next(w, &w->m->funcs, "function", &func))
        return false;
    if (w->facts && w->facts->on_func)
        w->facts->on_func(w->facts->ctx, func);
    return true;
}

static void note_memory(walk *w, uint32_t memory)
{
    if (w->facts && w->facts->memories)
        w->facts->memories[memory] = 1;
}

/* A memory whose content an instruction of its own reads or writes. */
static bool memory_next(walk *w)
{
    uint32_t memory;
    if (!index_next(w, &w->m->memories, "memory", &memory))
        return false;
    note_memory(w, memory);
    return true;
}

/* memory.size, memory.grow. */
static bool memory_resize(walk *w, uint8_t op)
{
    const uint8_t *before = w->r->at;
    uint32_t old, now;
    if (!reader_u32(w->r, &old, w->e) || !mapped(w, &w->m->memories, old, "memory", &now))
        return false;
    if (w->facts && w->facts->grown && op == 0x40)
        w->facts->grown[now] = 1;
    if (!w->out)
        return true;
    if (w->m->sizes && w->m->sizes[now]) {
        copy_until(w, w->insn);
        buf_put_u8(w->out, op == 0x3f ? 0x23 : 0x10);
        leb_u32(w->out, (op == 0x3f ? w->m->sizes[now] : w->m->grows[now]) - 1);
        w->from = w->r->at;
    } else if (now != old) {
        copy_until(w, before);
        leb_u32(w->out, now);
        w->from = w->r->at;
    }
    return true;
}

static void note_any_call(walk *w)
{
    if (w->facts)
        w->facts->calls_any = true;
}

static bool table_next(walk *w, uint8_t what)
{
    uint32_t table;
    if (!index_next(w, &w->m->tables, "table", &table))
        return false;
    note_table(w, table, what);
    if (what == TABLE_CALLED)
        note_any_call(w);
    return true;
}

static bool u32_skip(walk *w)
{
    uint32_t v;
    return reader_u32(w->r, &v, w->e);
}

/* Alignment, memory index where bit 6 says so, offset (core specification 5.4.6, memarg). */
static bool memarg(walk *w)
{
    const uint8_t *before = w->r->at;
    uint32_t align, memory = 0, now;
    uint64_t offset;
    if (!reader_u32(w->r, &align, w->e))
        return false;
    if (align & 0x40 && !reader_u32(w->r, &memory, w->e))
        return false;
    const uint8_t *rest = w->r->at;
    if (!mapped(w, &w->m->memories, memory, "memory", &now) || !reader_u64(w->r, &offset, w->e))
        return false;
    note_memory(w, now);
    if (w->out && now != memory) {
        copy_until(w, before);
        leb_u32(w->out, (align & ~0x40u) | (now ? 0x40 : 0));
        if (now)
            leb_u32(w->out, now);
        w->from = rest;
    }
    return true;
}

static bool labels(walk *w)
{
    uint32_t n;
    if (!reader_count(w->r, COMPONENT_ITEMS_MAX, "labels", &n, w->e))
        return false;
    for (uint32_t i = 0; i <= n; i++)
        if (!u32_skip(w))
            return false;
    return true;
}

/* Core specification "Control Instructions": catch clauses of try_table. */
static bool catches(walk *w)
{
    uint32_t n;
    uint8_t kind;
    if (!reader_count(w->r, COMPONENT_ITEMS_MAX, "catches", &n, w->e))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!reader_u8(w->r, &kind, w->e))
            return false;
        if (kind > 3)
            return reader_fail(w->r, w->e, ERR_INVALID, "catch of no known kind %u", kind);
        if ((kind < 2 && !index_next(w, &w->m->tags, "tag", NULL)) || !u32_skip(w))
            return false;
    }
    return true;
}

static bool select_types(walk *w)
{
    uint32_t n;
    if (!reader_count(w->r, 1000, "types of a select", &n, w->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!value_type(w))
            return false;
    return true;
}

static bool type_next(walk *w) { return index_next(w, &w->m->types, "type", NULL); }

/* Core specification "Aggregate Instructions": 0xFB. */
static bool op_gc(walk *w)
{
    uint32_t op;
    uint8_t flags;
    if (!reader_u32(w->r, &op, w->e))
        return false;
    switch (op) {
    case 0:
    case 1:
    case 6:
    case 7:
    case 11:
    case 12:
    case 13:
    case 14:
    case 16:
        return type_next(w);
    case 2:
    case 3:
    case 4:
    case 5:
    case 8:
        return type_next(w) && u32_skip(w);
    case 9:
    case 18:
        return type_next(w) && segment_next(w, false);
    case 10:
    case 19:
        return type_next(w) && segment_next(w, true);
    case 17:
        return type_next(w) && type_next(w);
    case 15:
    case 26:
    case 27:
    case 28:
    case 29:
    case 30:
        return true;
    case 20:
    case 21:
    case 22:
    case 23:
        return heap_type(w);
    case 24:
    case 25:
        return reader_u8(w->r, &flags, w->e) && u32_skip(w) && heap_type(w) && heap_type(w);
    default:
        return reader_fail(w->r, w->e, ERR_UNSUPPORTED, "instruction 0xfb %u is not known", op);
    }
}

/* Core specification "Memory Instructions": 0xFC. */
static bool op_bulk(walk *w)
{
    uint32_t op;
    if (!reader_u32(w->r, &op, w->e))
        return false;
    if (op <= 7 || (op >= 19 && op <= 22))
        return true;
    switch (op) {
    case 8:
        return segment_next(w, false) && memory_next(w);
    case 9:
        return segment_next(w, false);
    case 10:
        return memory_next(w) && memory_next(w);
    case 11:
        return memory_next(w);
    case 12:
        return segment_next(w, true) && table_next(w, TABLE_MUTATED);
    case 13:
        return segment_next(w, true);
    case 14:
        return table_next(w, TABLE_MUTATED) && table_next(w, TABLE_USED);
    case 15:
    case 17:
        return table_next(w, TABLE_MUTATED);
    case 16:
        return table_next(w, TABLE_USED);
    default:
        return reader_fail(w->r, w->e, ERR_UNSUPPORTED, "instruction 0xfc %u is not known", op);
    }
}

/* Core specification "Vector Instructions": 0xFD. */
static bool op_simd(walk *w)
{
    uint32_t op;
    if (!reader_u32(w->r, &op, w->e))
        return false;
    if (op <= 11 || op == 92 || op == 93)
        return memarg(w);
    if (op == 12 || op == 13)
        return reader_skip(w->r, 16, w->e);
    if (op >= 21 && op <= 34)
        return reader_skip(w->r, 1, w->e);
    if (op >= 84 && op <= 91)
        return memarg(w) && reader_skip(w->r, 1, w->e);
    if (op <= 0x113)
        return true;
    return reader_fail(w->r, w->e, ERR_UNSUPPORTED, "instruction 0xfd %u is not known", op);
}

/* One instruction after its opcode; depth counts open blocks. */
static bool op_rest(walk *w, uint8_t op, uint32_t *depth)
{
    uint32_t v;
    int32_t i32;
    int64_t i64;
    switch (op) {
    case 0x02:
    case 0x03:
    case 0x04:
    case 0x06:
        ++*depth;
        return block_type(w);
    case 0x1f:
        ++*depth;
        return block_type(w) && catches(w);
    case 0x0b:
        --*depth;
        return true;
    case 0x18: /* delegate ends its try */
        --*depth;
        return u32_skip(w);
    case 0x00:
    case 0x01:
    case 0x05:
    case 0x0a:
    case 0x0f:
    case 0x19:
    case 0x1a:
    case 0x1b:
    case 0xd1:
    case 0xd3:
    case 0xd4:
        return true;
    case 0x07:
    case 0x08:
        return index_next(w, &w->m->tags, "tag", NULL);
    case 0x09:
    case 0x0c:
    case 0x0d:
    case 0x20:
    case 0x21:
    case 0x22:
    case 0xd5:
    case 0xd6:
        return u32_skip(w);
    case 0x0e:
        return labels(w);
    case 0x10:
    case 0x12:
        return call_func(w);
    case 0xd2:
        return ref_func(w);
    case 0x11:
    case 0x13:
        return type_next(w) && table_next(w, TABLE_CALLED);
    case 0x14:
    case 0x15:
        note_any_call(w);
        return type_next(w);
    case 0x1c:
        return select_types(w);
    case 0x23:
        return global_get(w);
    case 0x24:
        if (!index_next(w, &w->m->globals, "global", &v))
            return false;
        if (w->facts && w->facts->globals)
            w->facts->globals[v] = 1;
        return true;
    case 0x25:
        return table_next(w, TABLE_USED);
    case 0x26:
        return table_next(w, TABLE_MUTATED);
    case 0x3f:
    case 0x40:
        return memory_resize(w, op);
    case 0x41:
        return reader_s32(w->r, &i32, w->e);
    case 0x42:
        return reader_s64(w->r, &i64, w->e);
    case 0x43:
        return reader_skip(w->r, 4, w->e);
    case 0x44:
        return reader_skip(w->r, 8, w->e);
    case 0xd0:
        return heap_type(w);
    case 0xfb:
        return op_gc(w);
    case 0xfc:
        return op_bulk(w);
    case 0xfd:
        return op_simd(w);
    case 0xfe:
        return reader_fail(w->r, w->e, ERR_UNSUPPORTED,
                           "the module uses atomic instructions (threads); ebb runs none");
    default:
        if (op >= 0x28 && op <= 0x3e)
            return memarg(w);
        if (op >= 0x45 && op <= 0xc4)
            return true;
        if (op >= 0xe0 && op <= 0xe6)
            return reader_fail(w->r, w->e, ERR_UNSUPPORTED,
                               "the module uses instruction 0x%02x (stack switching); ebb has none",
                               op);
        return reader_fail(w->r, w->e, ERR_UNSUPPORTED, "instruction 0x%02x is not known", op);
    }
}

/* Core specification "Expressions": expr. */
static bool expression(walk *w)
{
    uint32_t depth = 1;
    while (depth) {
        uint8_t op;
        w->insn = w->r->at;
        if (!reader_u8(w->r, &op, w->e) || !op_rest(w, op, &depth))
            return false;
    }
    return true;
}

static bool finish(walk *w)
{
    copy_until(w, w->r->at);
    return w->out && w->out->failed ? err_no_memory(w->e) : true;
}

bool code_walk(reader *r, const code_maps *m, buf *out, code_facts *facts, err *e)
{
    walk w = {r, m, out, r->at, r->at, facts, e};
    return expression(&w) && finish(&w);
}

bool code_walk_body(reader *r, const code_maps *m, buf *out, code_facts *facts, err *e)
{
    walk w = {r, m, out, r->at, r->at, facts, e};
    uint32_t groups, n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "locals", &groups, e))
        return false;
    for (uint32_t i = 0; i < groups; i++)
        if (!reader_u32(r, &n, e) || !value_type(&w))
            return false;
    if (!expression(&w))
        return false;
    if (!reader_done(r))
        return reader_fail(r, e, ERR_INVALID, "bytes follow the end of a function body");
    return finish(&w);
}

bool code_walk_valtype(reader *r, const index_map *types, buf *out, err *e)
{
    code_maps m = {.types = *types};
    walk w = {r, &m, out, r->at, r->at, NULL, e};
    return value_type(&w) && finish(&w);
}

/* --- types ------------------------------------------------------------------------------------ */

static bool value_types(walk *w)
{
    uint32_t n;
    if (!reader_count(w->r, 1000, "value types", &n, w->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!value_type(w))
            return false;
    return true;
}

/* Core specification "Composite Types": comptype. */
static bool composite(walk *w)
{
    uint8_t form, mutability;
    uint32_t n = 1;
    if (!reader_u8(w->r, &form, w->e))
        return false;
    switch (form) {
    case 0x60:
        return value_types(w) && value_types(w);
    case 0x5f:
        if (!reader_count(w->r, 10000, "fields", &n, w->e))
            return false;
        /* fallthrough */
    case 0x5e:
        for (uint32_t i = 0; i < n; i++)
            if (!value_type(w) || !reader_u8(w->r, &mutability, w->e))
                return false;
        return true;
    default:
        if (form == 0x5d)
            return reader_fail(w->r, w->e, ERR_UNSUPPORTED,
                               "the module has continuation types (stack switching); ebb has none");
        if (form == 0x4c || form == 0x4d)
            return reader_fail(
                w->r, w->e, ERR_UNSUPPORTED,
                "the module has descriptor types (custom descriptors); ebb has none");
        return reader_fail(w->r, w->e, ERR_UNSUPPORTED, "type form 0x%02x is not known", form);
    }
}

/* Core specification "Recursive Types": subtype. */
static bool subtype(walk *w)
{
    uint8_t form = w->r->at < w->r->end ? *w->r->at : 0;
    uint32_t n;
    if (form != 0x50 && form != 0x4f)
        return composite(w);
    if (!reader_u8(w->r, &form, w->e) || !reader_count(w->r, 1, "supertypes", &n, w->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!index_next(w, &w->m->types, "type", NULL))
            return false;
    return composite(w);
}

/* Core specification "Recursive Types": rectype. */
bool code_walk_rectype(reader *r, const index_map *types, buf *out, err *e)
{
    code_maps m = {.types = *types};
    walk w = {r, &m, out, r->at, r->at, NULL, e};
    uint32_t n = 1;
    if (r->at < r->end && *r->at == 0x4e) {
        uint8_t form;
        if (!reader_u8(r, &form, e) || !reader_count(r, COMPONENT_ITEMS_MAX, "types", &n, e))
            return false;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!subtype(&w))
            return false;
    return finish(&w);
}
