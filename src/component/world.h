/* The world of a core module, as wit-component encodes it in a `component-type` custom section: a
 * component type that lists imports and exports. Shared by componentize*.c; private.
 *
 * Several worlds (of wit-bindgen's crates, and of the adapter) are merged by interface name: what
 * one of them knows of an interface is added to what the others know. */
#pragma once

#include "component/core_code.h"
#include "component/reader.h"
#include "component/table.h"

#include "base/buf.h"

enum { WORLDS_MAX = 64 };

/* An entry of a world's type index space. */
typedef struct {
    bool is_alias;
    uint32_t import; /* alias: of the instance that this import is */
    str name;        /* alias: the export of it */
    bytes raw;       /* else: the definition */
    uint32_t made;   /* index + 1 in the component, once it was written; 0: not yet */
} world_type;

typedef enum { WORLD_FUNC = 1, WORLD_TYPE = 3, WORLD_INSTANCE = 5 } world_kind;

typedef struct {
    str name;
    world_kind kind;
    uint32_t type;
} world_item;

typedef struct {
    VEC(world_type) types;
    VEC(uint32_t) instances; /* instance index to import */
    VEC(world_item) imports;
    VEC(world_item) exports;
} world;

/* Everything in *ret points into the section or the arena. */
bool world_read(arena *a, bytes section, world *ret, err *e);

/* Rewriting of definitions: indices of types go through map(ctx, index). */
typedef struct {
    void *ctx;
    bool (*map)(void *ctx, uint32_t index, uint32_t *ret, err *e);
} type_map;
/* Reads one definition (a value type, function type, ...) and writes it with mapped indices. With
 * out == NULL it is only passed over. Instance types can only be passed over. */
bool type_copy(reader *r, const type_map *m, buf *out, err *e);

/* One declaration of an instance type. */
typedef enum { DECL_TYPE, DECL_ALIAS_OUTER, DECL_EXPORT } decl_kind;
typedef struct {
    decl_kind kind;
    reader type;      /* DECL_TYPE: at the definition */
    uint32_t index;   /* DECL_ALIAS_OUTER: in the world; DECL_EXPORT: of its type */
    str name;         /* DECL_EXPORT */
    world_kind of;    /* DECL_EXPORT: function or type */
    bool is_resource; /* DECL_EXPORT of a type: a new resource */
} decl;
/* Opens an instance type's definition: *ret_count declarations follow in *ret. */
bool decls_open(bytes raw, reader *ret, uint32_t *ret_count, err *e);
bool decl_read(reader *r, decl *ret, err *e);

void put_s32(buf *b, int32_t v);
void put_name(buf *b, str s);
/* id, size, content. */
void put_section(buf *b, uint8_t id, const buf *content);
