/* Three walks over a type. Everything in the memory was written by us or by abi_copy, which checked
 * it; the JSON is a test suite's, so what does not fit is an error and not a crash. */
#include "host/wast_value.h"

#include "base/must.h"
#include "component/abi.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_BYTES = 64 << 20 };

bool wast_memory_init(wast_memory *m)
{
    *m = (wast_memory){calloc(1, MEMORY_BYTES), MEMORY_BYTES, 8};
    return m->base != NULL;
}

void wast_memory_fini(wast_memory *m) { free(m->base); }

bool wast_alloc(wast_memory *m, uint32_t align, uint64_t n, uint32_t *ret)
{
    uint64_t at = (m->used + align - 1) & ~((uint64_t)align - 1);
    if (n > m->size || at > m->size - n)
        return false;
    *ret = (uint32_t)at;
    m->used = at + n;
    return true;
}

static const char *kind_word(const type *t)
{
    static const char *const words[] = {
        [TYPE_BOOL] = "bool",       [TYPE_S8] = "s8",
        [TYPE_U8] = "u8",           [TYPE_S16] = "s16",
        [TYPE_U16] = "u16",         [TYPE_S32] = "s32",
        [TYPE_U32] = "u32",         [TYPE_S64] = "s64",
        [TYPE_U64] = "u64",         [TYPE_F32] = "f32",
        [TYPE_F64] = "f64",         [TYPE_CHAR] = "char",
        [TYPE_STRING] = "string",   [TYPE_LIST] = "list",
        [TYPE_RECORD] = "record",   [TYPE_TUPLE] = "tuple",
        [TYPE_VARIANT] = "variant", [TYPE_ENUM] = "enum",
        [TYPE_OPTION] = "option",   [TYPE_RESULT] = "result",
        [TYPE_FLAGS] = "flags",     [TYPE_OWN] = "own",
        [TYPE_BORROW] = "borrow",   [TYPE_STREAM] = "stream",
        [TYPE_FUTURE] = "future",   [TYPE_ERROR_CONTEXT] = "error-context"};
    return words[t->kind];
}

/* The value of {"type": ..., "value": ...}; NULL if it is of another type. */
static const json_t *value_of(const type *t, const json_t *v)
{
    const char *word = json_string_value(json_object_get(v, "type"));
    return word && strcmp(word, kind_word(t)) == 0 ? json_object_get(v, "value") : NULL;
}

static bool misfit(const type *t, err *e)
{
    return err_set(e, ERR_INVALID, "the suite's value is no %s", kind_word(t));
}

static uint64_t number_at(const wast_memory *m, uint32_t at, uint32_t n)
{
    uint64_t v = 0;
    memcpy(&v, m->base + at, n);
    return v;
}

static void number_put(wast_memory *m, uint32_t at, uint32_t n, uint64_t v)
{
    memcpy(m->base + at, &v, n);
}

/* A code point from UTF-8 of one character. */
static bool char_value(const json_t *v, uint32_t *ret)
{
    const uint8_t *p = (const uint8_t *)json_string_value(v);
    size_t n = json_string_length(v);
    if (n == 0)
        return false;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n && i < 4; i++)
        c = c << 6 | (p[i] & 0x3fu);
    *ret = c;
    return true;
}

static bool case_find(const type *t, const char *name, uint32_t *ret)
{
    for (uint32_t i = 0; name && i < t->fields_count; i++)
        if (str_eq(t->fields[i].name, str_from(name)))
            return *ret = i, true;
    return false;
}

/* The case and payload of a variant, enum, option or result. */
static bool case_of(const type *t, const json_t *v, uint32_t *ret_case, const json_t **ret_payload)
{
    const char *name;
    json_t *payload;
    *ret_payload = NULL;
    switch (t->kind) {
    case TYPE_ENUM:
        return case_find(t, json_string_value(v), ret_case);
    case TYPE_VARIANT:
        *ret_payload = json_object_get(v, "payload");
        return case_find(t, json_string_value(json_object_get(v, "case")), ret_case);
    case TYPE_OPTION:
        *ret_case = !json_is_null(v);
        *ret_payload = *ret_case ? v : NULL;
        return true;
    default:
        json_object_foreach((json_t *)(uintptr_t)v, name, payload)
        {
            *ret_case = strcmp(name, "Err") == 0;
            *ret_payload = payload;
            return true;
        }
        return false;
    }
}

static const type *payload_type(const type *t, uint32_t k)
{
    if (t->kind == TYPE_OPTION)
        return k ? t->elem : NULL;
    return t->fields[k].type;
}

static bool flags_of(const type *t, const json_t *v, uint64_t *ret)
{
    size_t i;
    json_t *name;
    uint32_t k;
    *ret = 0;
    json_array_foreach(v, i, name)
    {
        if (!case_find(t, json_string_value(name), &k))
            return false;
        *ret |= UINT64_C(1) << k;
    }
    return json_is_array(v);
}

/* Field i of a record or tuple. */
static const json_t *field_of(const type *t, const json_t *v, uint32_t i)
{
    const json_t *at = json_array_get(v, i);
    if (t->kind == TYPE_TUPLE)
        return at;
    const char *name = json_string_value(json_array_get(at, 0));
    bool same = name && str_eq(t->fields[i].name, str_from(name));
    return same ? json_array_get(at, 1) : NULL;
}

static bool span_store(wast_memory *m, const type *t, const json_t *v, uint32_t at, err *e)
{
    uint32_t n, first;
    if (t->kind == TYPE_STRING) {
        n = (uint32_t)json_string_length(v);
        if (!json_is_string(v) || !wast_alloc(m, 1, n, &first))
            return misfit(t, e);
        memcpy(m->base + first, json_string_value(v), n);
    } else {
        n = (uint32_t)json_array_size(v);
        first = at;
        if (!json_is_array(v) || (t->length_fixed && n != t->length_fixed) ||
            (!t->length_fixed &&
             !wast_alloc(m, t->elem->align, (uint64_t)n * t->elem->size, &first)))
            return misfit(t, e);
        for (uint32_t i = 0; i < n; i++)
            if (!wast_store(m, t->elem, json_array_get(v, i), first + i * t->elem->size, e))
                return false;
    }
    if (!t->length_fixed) {
        number_put(m, at, 4, first);
        number_put(m, at + 4, 4, n);
    }
    return true;
}

bool wast_store(wast_memory *m, const type *t, const json_t *json, uint32_t at, err *e)
{
    const json_t *v = value_of(t, json), *payload;
    uint32_t k;
    uint64_t bits;
    if (!v)
        return misfit(t, e);
    switch (t->kind) {
    case TYPE_BOOL:
        number_put(m, at, 1, json_is_true(v));
        return true;
    case TYPE_CHAR:
        if (!char_value(v, &k))
            return misfit(t, e);
        number_put(m, at, 4, k);
        return true;
    case TYPE_STRING:
    case TYPE_LIST:
        return span_store(m, t, v, at, e);
    case TYPE_RECORD:
    case TYPE_TUPLE:
        for (k = 0; k < t->fields_count; k++) {
            payload = field_of(t, v, k);
            if (!payload)
                return misfit(t, e);
            if (!wast_store(m, t->fields[k].type, payload, at + type_field_offset(t, k), e))
                return false;
        }
        return true;
    case TYPE_VARIANT:
    case TYPE_ENUM:
    case TYPE_OPTION:
    case TYPE_RESULT:
        if (!case_of(t, v, &k, &payload))
            return misfit(t, e);
        number_put(m, at, type_discriminant_size(t), k);
        return !payload_type(t, k) ||
               wast_store(m, payload_type(t, k), payload, at + t->payload_at, e);
    case TYPE_FLAGS:
        if (!flags_of(t, v, &bits))
            return misfit(t, e);
        number_put(m, at, t->size, bits);
        return true;
    case TYPE_OWN:
    case TYPE_BORROW:
    case TYPE_STREAM:
    case TYPE_FUTURE:
    case TYPE_ERROR_CONTEXT:
        return misfit(t, e);
    default:
        if (!json_is_string(v))
            return misfit(t, e);
        number_put(m, at, t->size, strtoull(json_string_value(v), NULL, 10));
        return true;
    }
}

static bool float_equal(const type *t, const char *want, uint64_t have)
{
    uint64_t quiet = t->kind == TYPE_F32 ? UINT64_C(0x7fc00000) : UINT64_C(0x7ff8000000000000);
    if (want && str_starts(str_from(want), S("nan:")))
        return (have & quiet) == quiet;
    return want && strtoull(want, NULL, 10) == have;
}

static bool span_equal(const wast_memory *m, const type *t, const json_t *v, uint32_t at)
{
    uint32_t first = at, n = t->length_fixed;
    if (!n) {
        first = (uint32_t)number_at(m, at, 4);
        n = (uint32_t)number_at(m, at + 4, 4);
    }
    if (t->kind == TYPE_STRING)
        return json_is_string(v) && json_string_length(v) == n &&
               memcmp(m->base + first, json_string_value(v), n) == 0;
    if (json_array_size(v) != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!wast_equal(m, t->elem, json_array_get(v, i), first + i * t->elem->size))
            return false;
    return true;
}

bool wast_equal(const wast_memory *m, const type *t, const json_t *want, uint32_t at)
{
    const json_t *v = value_of(t, want), *payload;
    uint32_t k, have;
    uint64_t bits;
    if (!v)
        return false;
    switch (t->kind) {
    case TYPE_BOOL:
        return number_at(m, at, 1) == json_is_true(v);
    case TYPE_CHAR:
        return char_value(v, &k) && number_at(m, at, 4) == k;
    case TYPE_STRING:
    case TYPE_LIST:
        return span_equal(m, t, v, at);
    case TYPE_RECORD:
    case TYPE_TUPLE:
        for (k = 0; k < t->fields_count; k++)
            if (!wast_equal(m, t->fields[k].type, field_of(t, v, k), at + type_field_offset(t, k)))
                return false;
        return json_array_size(v) == t->fields_count;
    case TYPE_VARIANT:
    case TYPE_ENUM:
    case TYPE_OPTION:
    case TYPE_RESULT:
        have = (uint32_t)number_at(m, at, type_discriminant_size(t));
        return case_of(t, v, &k, &payload) && k == have &&
               (!payload_type(t, k) ||
                wast_equal(m, payload_type(t, k), payload, at + t->payload_at));
    case TYPE_FLAGS:
        return flags_of(t, v, &bits) && number_at(m, at, t->size) == bits;
    case TYPE_F32:
    case TYPE_F64:
        return float_equal(t, json_string_value(v), number_at(m, at, t->size));
    default:
        if (!json_is_string(v) || t->kind > TYPE_U64)
            return false;
        bits = strtoull(json_string_value(v), NULL, 10);
        return number_at(m, at, t->size) ==
               (t->size == 8 ? bits : bits & ((UINT64_C(1) << 8 * t->size) - 1));
    }
}

static json_t *char_json(uint32_t c)
{
    char text[5] = {0};
    uint8_t unit[4] = {(uint8_t)c, (uint8_t)(c >> 8)};
    size_t n;
    if (c >= 0x10000) {
        uint32_t high = 0xd800 + ((c - 0x10000) >> 10), low = 0xdc00 + ((c - 0x10000) & 0x3ff);
        memcpy(unit,
               (uint8_t[]){(uint8_t)high, (uint8_t)(high >> 8), (uint8_t)low, (uint8_t)(low >> 8)},
               4);
    }
    must(abi_utf16_to_utf8(unit, c < 0x10000 ? 1 : 2, text, &n));
    return json_stringn(text, n);
}

/* Integers by their sign, floats as their bits. */
static json_t *number_json(const type *t, uint64_t v)
{
    char text[24];
    bool is_signed =
        t->kind == TYPE_S8 || t->kind == TYPE_S16 || t->kind == TYPE_S32 || t->kind == TYPE_S64;
    uint64_t sign = UINT64_C(1) << (8 * t->size - 1);
    if (is_signed)
        snprintf(text, sizeof text, "%" PRId64, (int64_t)((v ^ sign) - sign));
    else
        snprintf(text, sizeof text, "%" PRIu64, v);
    return json_string(text);
}

static json_t *list_json(const wast_memory *m, const type *t, uint32_t at)
{
    uint32_t first = t->length_fixed ? at : (uint32_t)number_at(m, at, 4);
    uint32_t n = t->length_fixed ? t->length_fixed : (uint32_t)number_at(m, at + 4, 4);
    json_t *list = json_array();
    for (uint32_t k = 0; k < n; k++)
        json_array_append_new(list, wast_json(m, t->elem, first + k * t->elem->size));
    return list;
}

static json_t *fields_json(const wast_memory *m, const type *t, uint32_t at)
{
    json_t *list = json_array();
    for (uint32_t k = 0; k < t->fields_count; k++) {
        json_t *v = wast_json(m, t->fields[k].type, at + type_field_offset(t, k));
        if (t->kind == TYPE_RECORD)
            v = json_pack("[s%, o]", t->fields[k].name.p, t->fields[k].name.n, v);
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *case_json(const wast_memory *m, const type *t, uint32_t at)
{
    uint32_t k = (uint32_t)number_at(m, at, type_discriminant_size(t));
    const type *p = payload_type(t, k);
    json_t *payload = p ? wast_json(m, p, at + t->payload_at) : json_null();
    if (t->kind == TYPE_OPTION)
        return payload;
    if (t->kind == TYPE_RESULT)
        return json_pack("{s:o}", k ? "Err" : "Ok", payload);
    const type_field *f = &t->fields[k];
    if (t->kind == TYPE_VARIANT)
        return json_pack("{s:s%, s:o}", "case", f->name.p, f->name.n, "payload", payload);
    json_decref(payload);
    return json_stringn(f->name.p, f->name.n);
}

static json_t *flags_json(const wast_memory *m, const type *t, uint32_t at)
{
    json_t *list = json_array();
    uint64_t bits = number_at(m, at, t->size);
    for (uint32_t k = 0; k < t->fields_count; k++)
        if (bits >> k & 1)
            json_array_append_new(list, json_stringn(t->fields[k].name.p, t->fields[k].name.n));
    return list;
}

static json_t *bare_json(const wast_memory *m, const type *t, uint32_t at)
{
    switch (t->kind) {
    case TYPE_BOOL:
        return json_boolean(number_at(m, at, 1));
    case TYPE_CHAR:
        return char_json((uint32_t)number_at(m, at, 4));
    case TYPE_STRING:
        return json_stringn((const char *)m->base + number_at(m, at, 4), number_at(m, at + 4, 4));
    case TYPE_LIST:
        return list_json(m, t, at);
    case TYPE_RECORD:
    case TYPE_TUPLE:
        return fields_json(m, t, at);
    case TYPE_VARIANT:
    case TYPE_ENUM:
    case TYPE_OPTION:
    case TYPE_RESULT:
        return case_json(m, t, at);
    case TYPE_FLAGS:
        return flags_json(m, t, at);
    default:
        return t->kind <= TYPE_F64 ? number_json(t, number_at(m, at, t->size)) : json_null();
    }
}

json_t *wast_json(const wast_memory *m, const type *t, uint32_t at)
{
    return json_pack("{s:s, s:o}", "type", kind_word(t), "value", bare_json(m, t, at));
}
