/* What the parts of component_link share: arena, budget of work, errors, interned types.
 * Private to component/. One linker is one call of component_link. */
#pragma once

#include "base/limits.h"
#include "component/reader.h"
#include "component/table.h"
#include "component/type.h"

/* Steps of type checking and evaluation: lookups, comparisons, copies. What real components need
 * is below a million; hostile ones get an error instead of minutes. */
#define LINK_WORK_MAX 30000000

typedef struct core_def core_def;

typedef struct {
    arena *a;
    bytes file;
    uint64_t at; /* offset of the item at hand, for messages */
    uint64_t work;
    err *e;
    table types, functypes; /* interned descriptors, by hash */
    table core_groups;      /* canonical core types, by their bytes */
    VEC(core_def) core_defs;
    table modules;  /* module_type by address of its bytes */
    uint32_t stamp; /* of the last walk or substitution (ctype.h) */
    uint32_t depth; /* of recursion through types */
    uint32_t core_modules_count;
    bool failed; /* link_fail, link_oom or link_work has described an error */
} linker;

/* "offset 0x..: <fmt>", of the item at hand. Returns false. */
bool link_fail(linker *l, err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool link_oom(linker *l);
/* Books n steps of work; false if the budget is spent. */
bool link_work(linker *l, uint64_t n);
/* Table access with the steps booked. */
bool link_table_at(linker *l, table *t, str key, const void ***ret);

/* The one descriptor equal to *proto (finished here; parts must be interned already). */
bool type_intern(linker *l, const type *proto, const type **ret);
bool functype_intern(linker *l, const functype *proto, const functype **ret);
