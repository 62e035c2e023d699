/* Constant expressions (core specification 3.4.11) whose value can be known before anything runs:
 * number constants, i32 and i64 arithmetic, null and function references, and globals that began
 * with such a value and never change. The offsets of segments, the bases of dynamic libraries and
 * the entries of their tables are all of this kind.
 *
 * Whatever else an expression holds makes it unknown, never wrong: it is then renumbered and left
 * to the engine. */
#include "component/flatten_inner.h"

enum { CONST_STACK = 16 };

uint64_t flat_offset(flat_value v)
{
    return v.type == CORE_I32 ? (uint32_t)v.bits : (uint64_t)v.bits;
}

static bool arithmetic(uint8_t op, flat_value *x, flat_value y)
{
    uint8_t of = op >= 0x7c ? CORE_I64 : CORE_I32, kind = op >= 0x7c ? op - 0x7c : op - 0x6a;
    uint64_t a = (uint64_t)x->bits, b = (uint64_t)y.bits;
    uint64_t v = kind == 0 ? a + b : kind == 1 ? a - b : a * b;
    if (x->type != of || y.type != of)
        return false;
    x->bits = of == CORE_I64 ? (int64_t)v : (int32_t)(uint32_t)v;
    return true;
}

static bool float_read(reader *r, size_t n, int64_t *ret)
{
    bytes b;
    uint64_t v = 0;
    if (!reader_bytes(r, n, &b, NULL))
        return false;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | b.p[i];
    *ret = (int64_t)v;
    return true;
}

/* One instruction that pushes a value. */
static bool const_push(const flat *f, const flat_core *c, reader *r, uint8_t op, flat_value *ret)
{
    uint32_t index;
    int32_t i32;
    uint8_t heap;
    switch (op) {
    case 0x41:
        ret->type = CORE_I32;
        if (!reader_s32(r, &i32, NULL))
            return false;
        ret->bits = i32;
        return true;
    case 0x42:
        ret->type = CORE_I64;
        return reader_s64(r, &ret->bits, NULL);
    case 0x43:
        ret->type = CORE_F32;
        return float_read(r, 4, &ret->bits);
    case 0x44:
        ret->type = CORE_F64;
        return float_read(r, 8, &ret->bits);
    case 0x23: {
        if (!reader_u32(r, &index, NULL) || index >= c->m.count[CORE_GLOBAL])
            return false;
        const flat_global *g = &f->globals[c->space[CORE_GLOBAL][index]];
        *ret = g->value;
        return g->known && !g->def->is_mutable;
    }
    case 0xd0:
        if (!reader_u8(r, &heap, NULL) || heap < 0x69 || heap > 0x74)
            return false;
        *ret = (flat_value){heap, -1};
        return true;
    case 0xd2:
        if (!reader_u32(r, &index, NULL) || index >= c->m.count[CORE_FUNC])
            return false;
        *ret = (flat_value){FLAT_FUNC, c->space[CORE_FUNC][index]};
        return true;
    default:
        return false;
    }
}

bool flat_const(const flat *f, const flat_core *c, bytes expr, flat_value *ret)
{
    flat_value stack[CONST_STACK];
    uint32_t n = 0;
    reader r = flat_reader(c, expr);
    for (;;) {
        uint8_t op;
        if (!reader_u8(&r, &op, NULL))
            return false;
        if (op == 0x0b)
            break;
        if ((op >= 0x6a && op <= 0x6c) || (op >= 0x7c && op <= 0x7e)) {
            if (n < 2 || !arithmetic(op, &stack[n - 2], stack[n - 1]))
                return false;
            n--;
        } else if (n == CONST_STACK || !const_push(f, c, &r, op, &stack[n])) {
            return false;
        } else {
            n++;
        }
    }
    if (n != 1)
        return false;
    *ret = stack[0];
    return true;
}
