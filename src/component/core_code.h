/* Instructions: finding every index in them, and writing them with other indices.
 * Knows every instruction of WebAssembly 3.0 (exceptions in both forms, tail calls, typed function
 * references, GC, SIMD, multi-memory, 64-bit memories, wide arithmetic) by the shape of its
 * immediates; threads are refused by name, unknown opcodes by number and offset. */
#pragma once

#include "base/buf.h"
#include "component/reader.h"

/* An index space of one module and where each index goes. map NULL: as it is. */
typedef struct {
    const uint32_t *map;
    uint32_t count;
} index_map;

/* A constant: the opcode of its instruction and the immediate. 0x41 i32.const (sign-extended) to
 * 0x44 f64.const (bits); 0xd0 ref.null (the byte of an abstract heap type); 0xd2 ref.func. */
typedef struct {
    uint8_t op;
    int64_t bits;
} code_constant;

/* A global's map value CODE_CONSTANT | k says: wherever it is read, write constants[k] instead. */
#define CODE_CONSTANT (UINT32_C(1) << 31)

typedef struct {
    index_map types, funcs, tables, memories, globals, tags, elems, datas;
    const code_constant *constants;
    /* By memory after mapping, 1 more than the number of the global that holds its size and of the
     * function that grows it; 0: the instructions stay. NULL: all stay. */
    const uint32_t *sizes, *grows;
} code_maps;

enum { TABLE_CALLED = 1, TABLE_MUTATED = 2, TABLE_USED = 4 };

/* What code does to things, by index after mapping. Arrays may be NULL. */
typedef struct {
    uint8_t *tables;        /* TABLE_* */
    uint8_t *globals;       /* 1: set by code */
    uint8_t *funcs;         /* 1: its reference is taken by ref.func */
    uint8_t *elems, *datas; /* 1: mentioned */
    uint8_t *grown;         /* 1: a memory that grows */
    uint8_t *memories;      /* 1: content read or written; size and growth are not content */
    void (*on_func)(void *ctx, uint32_t func); /* called directly, or its reference taken */
    void *ctx;
    bool calls_any; /* through a table or a reference */
    bool segments;  /* memory.init, data.drop, table.init, elem.drop, array.*_data, *_elem */
    bool mutates_tables;
} code_facts;

/* Walks one expression to its end (inclusive). With out: writes it, renumbered. With facts: notes
 * what it does. Either may be NULL. */
bool code_walk(reader *r, const code_maps *m, buf *out, code_facts *facts, err *e);
/* Walks a function body: locals, then the expression, which must be the rest. */
bool code_walk_body(reader *r, const code_maps *m, buf *out, code_facts *facts, err *e);
/* One value type / one reference type / one recursion group or type, renumbered. */
bool code_walk_valtype(reader *r, const index_map *types, buf *out, err *e);
bool code_walk_rectype(reader *r, const index_map *types, buf *out, err *e);

/* The instruction that makes c. */
void code_put_constant(buf *out, code_constant c);
void leb_u32(buf *out, uint32_t v);
void leb_u64(buf *out, uint64_t v);
void leb_s64(buf *out, int64_t v);
