/* Reading and checking one component (private to component_link). Each function reads one item of
 * its section at r, checks it and appends to the index spaces and operations of s. */
#pragma once

#include "component/scope.h"

/* A whole component after its preamble. */
bool component_read(linker *l, reader r, scope *s);

/* check_extern.c */
bool extern_name_read(linker *l, reader *r, attributed_name *ret);
bool sort_read(linker *l, reader *r, sort *ret);
bool extern_type_read(linker *l, reader *r, scope *s, entity *ret);
bool import_read(linker *l, reader *r, scope *s);
bool export_read(linker *l, reader *r, scope *s);
/* exportdecl of a type. */
bool export_decl_read(linker *l, reader *r, scope *s);
bool alias_read(linker *l, reader *r, scope *s);

/* check_instance.c */
bool core_instance_read(linker *l, reader *r, scope *s);
bool instance_read(linker *l, reader *r, scope *s);
/* Checks the arguments of o against the imports of the component type; adds the instance. */
bool instance_instantiate(linker *l, scope *s, const shape *component, const item_list *args,
                          op *o);

/* check_type.c */
bool type_read(linker *l, reader *r, scope *s);
bool core_type_read(linker *l, reader *r, scope *s);
/* valtype: its descriptor, and its node or NULL where it is primitive. */
bool val_type_read(linker *l, reader *r, const scope *s, const type **ret, ctype **ret_node);

/* check_canon.c */
bool canon_read(linker *l, reader *r, scope *s);
