/* Inside host/: the interfaces after parsing. */
#pragma once

#include "component/wit.h"
#include "host/handles.h"

typedef struct {
    const host_interface *def;
    str name; /* def->name */
    wit_types types;
    const host_func **rows; /* of def->funcs and def->groups */
    functype *funcs;        /* as rows */
    uint32_t funcs_count;
} host_parsed;

/* After host_init. */
const host_parsed *host_tables(uint32_t *ret_count);
/* The interface of that name or of another version of its track; NULL if there is none. */
const host_parsed *host_tables_find(str interface);
/* The type of wasi:http/incoming-handler#handle. */
const functype *host_tables_http_handler(void);
/* The host's resource of that interface (any version of the track) and name, or NULL. */
const host_resource *host_tables_resource(str interface, str name);
