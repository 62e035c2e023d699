/* The list of everything that ebb offers to guests, parsed once a process. An interface is written
 * once for all versions of its track; what later versions added is simply there (spin.md 3.2). */
#include "host/host.h"

#include "base/limits.h"
#include "base/must.h"
#include "host/tables.h"

extern const host_interface wasi_io_error, wasi_io_poll, wasi_io_streams;
extern const host_interface wasi_clocks_wall, wasi_clocks_monotonic, wasi_clocks_timezone;
extern const host_interface wasi_random_random, wasi_random_insecure, wasi_random_insecure_seed;
extern const host_interface wasi_cli_environment, wasi_cli_exit, wasi_cli_stdin, wasi_cli_stdout,
    wasi_cli_stderr, wasi_cli_terminal_input, wasi_cli_terminal_output, wasi_cli_terminal_stdin,
    wasi_cli_terminal_stdout, wasi_cli_terminal_stderr;
extern const host_interface wasi_filesystem_types, wasi_filesystem_preopens;
extern const host_interface wasi_http_types, wasi_http_outgoing_handler;
extern const host_interface wasi_sockets_network, wasi_sockets_instance_network, wasi_sockets_tcp,
    wasi_sockets_tcp_create, wasi_sockets_udp, wasi_sockets_udp_create, wasi_sockets_ip_name_lookup;
extern const host_interface spin_variables_v2, spin_config_v1, wasi_config_store;
extern const host_interface spin_key_value_v2, spin_key_value_v1, wasi_keyvalue_store,
    wasi_keyvalue_batch, wasi_keyvalue_atomics;
extern const host_interface spin_sqlite_v3, spin_sqlite_v2, spin_sqlite_v1;

/* An interface stands behind those that its types use. */
const host_interface *const host_interfaces[] = {
    &wasi_io_error,
    &wasi_io_poll,
    &wasi_io_streams,
    &wasi_clocks_wall,
    &wasi_clocks_monotonic,
    &wasi_clocks_timezone,
    &wasi_random_random,
    &wasi_random_insecure,
    &wasi_random_insecure_seed,
    &wasi_cli_environment,
    &wasi_cli_exit,
    &wasi_cli_stdin,
    &wasi_cli_stdout,
    &wasi_cli_stderr,
    &wasi_cli_terminal_input,
    &wasi_cli_terminal_output,
    &wasi_cli_terminal_stdin,
    &wasi_cli_terminal_stdout,
    &wasi_cli_terminal_stderr,
    &wasi_filesystem_types,
    &wasi_filesystem_preopens,
    &wasi_http_types,
    &wasi_http_outgoing_handler,
    &wasi_sockets_network,
    &wasi_sockets_instance_network,
    &wasi_sockets_tcp,
    &wasi_sockets_tcp_create,
    &wasi_sockets_udp,
    &wasi_sockets_udp_create,
    &wasi_sockets_ip_name_lookup,
    &spin_variables_v2,
    &spin_config_v1,
    &wasi_config_store,
    &spin_key_value_v2,
    &spin_key_value_v1,
    &wasi_keyvalue_store,
    &wasi_keyvalue_batch,
    &wasi_keyvalue_atomics,
    &spin_sqlite_v3,
    &spin_sqlite_v2,
    &spin_sqlite_v1,
    NULL,
};

enum { TABLES_MAX = sizeof host_interfaces / sizeof *host_interfaces };

/* Never changes after host_init. */
static struct {
    bool ready;
    arena a;
    host_parsed at[TABLES_MAX];
    uint32_t count;
    functype http_handler;
} tables;

const host_parsed *host_tables(uint32_t *ret_count)
{
    must(tables.ready);
    *ret_count = tables.count;
    return tables.at;
}

const host_parsed *host_tables_find(str interface)
{
    str path = interface_name_parse(interface).path;
    for (uint32_t i = 0; i < tables.count; i++) {
        str name = tables.at[i].name;
        if (str_starts(name, path) && interface_compatible(name, interface)) /* few come so far */
            return &tables.at[i];
    }
    return NULL;
}

const functype *host_tables_http_handler(void)
{
    must(tables.ready);
    return &tables.http_handler;
}

const host_resource *host_tables_resource(str interface, str name)
{
    const host_parsed *p = host_tables_find(interface);
    if (!p || !p->def->resources)
        return NULL;
    for (const host_resource *const *r = p->def->resources; *r; r++)
        if (str_eq(name, str_from((*r)->name)))
            return *r;
    return NULL;
}

static const wit_types *find_types(void *user, str interface)
{
    const host_parsed *p = host_tables_find(interface);
    return p ? &p->types : NULL;
}

static bool row_parse(host_parsed *p, uint32_t i, err *e)
{
    const host_func *f = p->rows[i];
    core_signature s;
    if (!wit_functype_parse(&tables.a, &p->types, str_from(f->signature), &p->funcs[i], e))
        return err_wrap(e, "%s", f->name);
    functype_lower_signature(&p->funcs[i], &s);
    /* Host functions read their arguments from slots, never from a spilled record. */
    must(!s.params_spilled);
    return true;
}

/* Counts the rows of an array, and lists them if there is a list. */
static void rows_gather(host_parsed *p, const host_func *f)
{
    for (; f && f->name; f++) {
        if (p->rows)
            p->rows[p->funcs_count] = f;
        p->funcs_count++;
    }
}

static void table_gather(host_parsed *p)
{
    p->funcs_count = 0;
    rows_gather(p, p->def->funcs);
    for (const host_func *const *g = p->def->groups; g && *g; g++)
        rows_gather(p, *g);
}

static bool table_parse(host_parsed *p, err *e)
{
    table_gather(p);
    p->funcs = ARENA_ARRAY(&tables.a, functype, p->funcs_count + 1);
    p->rows = ARENA_ARRAY(&tables.a, const host_func *, p->funcs_count + 1);
    if (!p->funcs || !p->rows)
        return err_no_memory(e);
    table_gather(p);
    if (!wit_types_parse(&tables.a, p->name, str_from(p->def->types), find_types, NULL, &p->types,
                         e))
        return false;
    for (uint32_t i = 0; i < p->funcs_count; i++)
        if (!row_parse(p, i, e))
            return false;
    return true;
}

static bool http_handler_parse(err *e)
{
    const host_parsed *types = host_tables_find(S("wasi:http/types@0.2.0"));
    must(types);
    return wit_functype_parse(&tables.a, &types->types,
                              S("func(request: incoming-request, response-out: response-outparam)"),
                              &tables.http_handler, e);
}

bool host_init(err *e)
{
    if (tables.ready)
        return true;
    arena_init(&tables.a, 16 * MIB);
    tables.count = 0;
    for (const host_interface *const *d = host_interfaces; *d; d++) {
        host_parsed *p = &tables.at[tables.count];
        *p = (host_parsed){.def = *d, .name = str_from((*d)->name)};
        if (!table_parse(p, e)) {
            arena_fini(&tables.a);
            return err_wrap(e, "host tables");
        }
        tables.count++;
    }
    if (!http_handler_parse(e)) {
        arena_fini(&tables.a);
        return false;
    }
    tables.ready = true;
    return true;
}
