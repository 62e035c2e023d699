/* Any type, any memory, any core values: abi_copy never reads or writes outside of its two memories
 * (each is a block of its own, so that ASan sees it), ends, and what it wrote it accepts again.
 *
 * Input: a description of a type, then flat values, then the source memory. */
#include "base/limits.h"
#include "base/must.h"
#include "component/abi_copy.h"

#include <stdio.h>
#include <stdlib.h>

enum { MEMORY_BYTES = 4096, DEPTH_MAX = 6 };

typedef struct {
    const uint8_t *p, *end;
    arena *a;
    unsigned types;
} input;

static const resource_type resource;

static uint8_t next(input *in) { return in->p < in->end ? *in->p++ : 0; }

static const type *type_make(input *in, unsigned depth)
{
    static const type_kind simple[] = {TYPE_BOOL, TYPE_S8,   TYPE_U8,     TYPE_S16, TYPE_U16,
                                       TYPE_S32,  TYPE_U32,  TYPE_S64,    TYPE_U64, TYPE_F32,
                                       TYPE_F64,  TYPE_CHAR, TYPE_STRING, TYPE_OWN};
    static const type_kind compound[] = {TYPE_LIST,   TYPE_RECORD, TYPE_VARIANT, TYPE_ENUM,
                                         TYPE_OPTION, TYPE_RESULT, TYPE_FLAGS,   TYPE_TUPLE};
    uint8_t b = next(in);
    err e;
    bool is_simple = b < 128 || depth == DEPTH_MAX || in->types++ > 60;
    type_kind kind = simple[b % (sizeof simple / sizeof simple[0])];
    if (is_simple && kind != TYPE_OWN)
        return type_primitive(kind);
    type *t = ARENA_NEW(in->a, type);
    must(t);
    if (is_simple) {
        t->kind = b & 64 ? TYPE_BORROW : TYPE_OWN;
        t->resource = &resource;
        return type_finish(t, &e) ? t : NULL;
    }
    t->kind = compound[b % 8];
    uint32_t most = t->kind == TYPE_FLAGS ? 32 : 5;
    uint32_t n = t->kind == TYPE_RESULT ? 2 : 1 + next(in) % most;
    if (t->kind == TYPE_LIST || t->kind == TYPE_OPTION) {
        t->elem = type_make(in, depth + 1);
        t->length_fixed = t->kind == TYPE_LIST && (b & 64) ? n : 0;
        must(t->elem);
        return type_finish(t, &e) ? t : type_primitive(TYPE_U8);
    }
    type_field *fields = ARENA_ARRAY(in->a, type_field, n);
    must(fields);
    bool typed = t->kind == TYPE_RECORD || t->kind == TYPE_TUPLE;
    bool maybe = t->kind == TYPE_VARIANT || t->kind == TYPE_RESULT;
    for (uint32_t i = 0; i < n; i++)
        if (typed || (maybe && next(in) & 1))
            fields[i].type = type_make(in, depth + 1);
    t->fields = fields;
    t->fields_count = n;
    return type_finish(t, &e) ? t : type_primitive(TYPE_U8);
}

typedef struct {
    uint32_t at;
    uint8_t mood;
} allocator;

static bool allocate(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    allocator *m = c->user;
    if (m->mood > 200) { /* a hostile one */
        *ret = (uint32_t)m->mood * 4099u;
        return m->mood != 255;
    }
    m->at = (m->at + align - 1) & ~(align - 1);
    *ret = m->at;
    m->at = size < MEMORY_BYTES ? m->at + size : MEMORY_BYTES;
    return true;
}

/* A table of handles that holds a few. */
static bool handle(abi_copier *c, const type *t, uint32_t index, uint32_t *ret)
{
    must(t->resource == &resource);
    *ret = index ^ 1;
    if (index < 250)
        return true;
    snprintf(c->trap, sizeof c->trap, "unknown handle index");
    return false;
}

/* What the host does with strings: to UTF-8 and back. Every block is as large as what it holds. */
static void strings_try(const uint8_t *p, size_t n)
{
    size_t size, again;
    uint8_t *back = malloc(2 * n + 1);
    char *text = malloc(3 * n + 1);
    must(back && text);
    str s = {text, abi_latin1_to_utf8(p, n, NULL)};
    must(abi_latin1_to_utf8(p, n, text) == s.n && str_is_utf8(s));
    must(abi_utf8_is_latin1(s, &again) && again == n);
    abi_utf8_to_latin1(s, back);
    must(memcmp(back, p, n) == 0);
    if (abi_utf16_to_utf8(p, n / 2, NULL, &size)) {
        s.n = size;
        must(abi_utf16_to_utf8(p, n / 2, text, &size) && size == s.n && str_is_utf8(s));
        must(abi_utf8_to_utf16(s, NULL) == n / 2 && abi_utf8_to_utf16(s, back) == n / 2);
        must(memcmp(back, p, n / 2 * 2) == 0);
    }
    s = (str){(const char *)p, n};
    must(!abi_utf8_problem(p, n) == str_is_utf8(s));
    if (str_is_utf8(s)) {
        must(abi_utf8_to_utf16(s, back) <= n);
        must(abi_utf16_to_utf8(back, abi_utf8_to_utf16(s, NULL), text, &size) && size == n);
        must(memcmp(text, p, n) == 0);
    }
    free(back);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    arena a;
    arena_init(&a, 4 * MIB);
    input in = {data, data + n, &a, 0};
    type_field param = {S("p"), type_make(&in, 0)};
    functype f = {.params = &param, .params_count = 1, .result = param.type};
    uint8_t mode = next(&in);
    allocator m = {.at = 64, .mood = next(&in)};
    uint64_t src[ABI_FLAT_PARAMS_MAX + 1] = {0}, dst[ABI_FLAT_PARAMS_MAX + 1] = {0};
    for (size_t i = 0; i <= ABI_FLAT_PARAMS_MAX; i++)
        src[i] = (uint64_t)next(&in) << (mode & 64 ? 28 : 0) | (uint64_t)next(&in) << 3;
    uint8_t *from = calloc(1, MEMORY_BYTES), *to = calloc(1, MEMORY_BYTES);
    must(from && to);
    size_t left = (size_t)(in.end - in.p);
    memcpy(from, in.p, left < MEMORY_BYTES ? left : MEMORY_BYTES);
    bool flat = param.type->flat_count <= ABI_FLAT_PARAMS_MAX;
    bool src_spilled = !flat || mode & 1, dst_spilled = !flat || mode & 2;
    strings_try(in.p, left);
    abi_copier c = {.src = {from, MEMORY_BYTES, (string_encoding)(mode / 4 % 3), mode & 128},
                    .dst = {to, MEMORY_BYTES, (string_encoding)(mode / 16 % 3)},
                    .realloc = allocate,
                    .handle = m.mood % 8 ? handle : NULL,
                    .user = &m};
    if (abi_copy_params(&c, &f, src, src_spilled, dst, dst_spilled)) {
        /* A value once copied is well-formed: back it goes, by the other function. */
        allocator back = {.at = 64};
        memset(from, 0, MEMORY_BYTES);
        uint64_t out[ABI_FLAT_PARAMS_MAX + 1] = {0};
        abi_copier d = {
            .src = c.dst, .dst = c.src, .realloc = allocate, .handle = c.handle, .user = &back};
        d.dst.is_host = false;
        out[0] = 64;
        back.at = 64 + param.type->size;
        bool ok = param.type->size > MEMORY_BYTES - 64 ||
                  abi_copy_result(&d, &f, dst, dst_spilled, out, true);
        must(ok || strstr(d.trap, "unaligned") || strstr(d.trap, "out of bounds") ||
             strstr(d.trap, "out-of-bounds") || strstr(d.trap, "handle") || m.mood > 200);
    } else {
        must(c.trap[0] || m.mood == 255);
    }
    free(from);
    free(to);
    arena_fini(&a);
    return 0;
}
