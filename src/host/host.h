/* Host interfaces: what a guest may import, as tables of plain C functions over the Canonical ABI.
 *
 * One row per function: its name, its WIT signature as text, the C function. An interface adds its
 * types as WIT text. At load, host_bind finds the row of every import of a plan (version tracks,
 * spin.md 3.2), compares types structurally and gives the engine its functions; what is missing or
 * differs is named, with what the host offers and what to do.
 *
 * A `guest` is all host state of one instance: handle table, streams, the HTTP exchange it answers,
 * its component's environment and files. It dies with the request.
 */
#pragma once

#include "app/outbound.h"
#include "engine/engine.h"
#include "http/exchange.h"

typedef struct guest guest;
typedef struct host_resource host_resource; /* host/handles.h */

/* What one host function call works on (helpers: host/call.h). */
typedef struct {
    guest *g;
    engine_instance *in;
    struct handle_table *handles; /* of the calling component instance */
    const plan_import *import;    /* its canonical options: memory, realloc, encoding */
    slot *slots;                  /* arguments, then results */
    uint8_t *memory; /* the import's memory; NULL until call_memory, moves by realloc */
    size_t memory_size;
} host_call;

typedef host_status (*host_fn)(host_call *c);

typedef struct {
    const char *name;      /* "[method]input-stream.read" */
    const char *signature; /* "func(self: borrow<input-stream>, len: u64) -> result<...>" */
    host_fn fn;
    bool may_wait;
} host_func;

typedef struct {
    const char *name;       /* "wasi:io/streams@0.2.0": any version of the track is served */
    const char *types;      /* WIT: "resource input-stream; variant stream-error { ... }" and
                               "use wasi:io/error@0.2.0.{error};" */
    const host_func *funcs; /* ends with a row without name; NULL: none */
    const host_func *const *groups;        /* more such arrays, ends with NULL; NULL: none */
    const host_resource *const *resources; /* those that `types` defines; ends with NULL, or NULL */
} host_interface;

/* All interfaces, ends with NULL. */
extern const host_interface *const host_interfaces[];

/* Parses every signature once. In a process that binds or inspects; static state, idempotent. */
bool host_init(err *e);

typedef struct {
    str interface, name;
    str reason; /* "not offered", or what differs: both signatures as WIT text */
} host_missing;

typedef struct host_binding host_binding;
/* The engine's import tables for every unit of the plan (borrowed). Imports that the host does not
 * offer fail here with ERR_UNSUPPORTED naming the first and counting all; with `ret_missing` they
 * are listed instead and bound to traps. */
bool host_bind(arena *a, const plan *p, host_binding **ret, const host_missing **ret_missing,
               size_t *ret_missing_count, err *e);
const engine_import *host_binding_imports(const host_binding *b, uint32_t unit);

/* Bound and linked imports of the components that a process runs. Components of one instance that
 * import the same, which those of one SDK do, share them: less to make for each, and whichever of
 * them is called, what its host calls read is in the processor's caches. */
typedef struct host_linker host_linker;
typedef struct host_linked host_linked;

/* `stubs`: what the host does not offer traps when it is called, instead of failing here. */
bool host_linker_new(engine *en, bool stubs, host_linker **ret, err *e);
/* Nothing may be linked or given back any more. NULL is allowed. */
void host_linker_free(host_linker *l);
/* A plan of several units is borrowed and must outlive what is returned; one of a single unit is
 * not. Errors as of host_bind. */
bool host_link(host_linker *l, const plan *p, host_linked **ret, err *e);
/* Its modules must be closed. NULL is allowed. */
void host_unlink(host_linked *k);
engine *host_linker_engine(const host_linker *l);
/* How many there are that components share or could share. */
size_t host_linker_count(const host_linker *l);
engine_links *host_linked_links(const host_linked *k, uint32_t unit);
/* For guest_compose; of one unit it knows no lifts. */
const host_binding *host_linked_binding(const host_linked *k);
/* The lift of the wasi:http/incoming-handler export (spin.md 3.1); ERR_UNSUPPORTED if none. */
bool host_http_handler(const plan *p, uint32_t *ret_unit, uint32_t *ret_lift, err *e);

#define HOST_STORE_NONE UINT32_MAX

/* Whom to trust, and who to be, in TLS connections to some hosts. */
typedef struct host_tls {
    const str *hosts; /* names without ports */
    size_t hosts_count;
    bool platform_roots;
    str roots_file, certificate_file, key_file; /* PEM; empty: none */
} host_tls;

/* Where a request of a guest goes. */
typedef enum { CHAIN_OUTSIDE, CHAIN_INSIDE, CHAIN_DENIED, CHAIN_NOWHERE } host_chain;
/* How many calls of the app are around the one that x is for; 0: it came from outside. */
unsigned host_chain_depth(const http_exchange *x);

/* A component's own part, the same for all its instances. Borrowed by guests. */
typedef struct host_component {
    str name;
    const http_field *environment; /* name, value */
    size_t environment_count;
    const http_field *variables; /* what the component may see, resolved unless variable_get is */
    size_t variables_count;
    /* Where values may change: the value of one of those variables now, in the arena. Called on
     * another thread, may block. ERR_NOT_FOUND: it has none; else its provider failed. NULL: values
     * are fixed. */
    bool (*variable_get)(const void *user, str name, arena *a, str *ret_value, err *e);
    /* Preopened directories: guest path and an O_PATH descriptor of a directory. */
    const struct host_preopen {
        str guest_path;
        int dir_fd;
        bool writable;
    } *preopens;
    size_t preopens_count;
    /* What it may reach: asked with scheme, host and port; NULL: nothing. own: what outbound_rules
     * gave for that instance, else NULL. */
    bool (*outbound_allowed)(void *user, const outbound_rules *own, str scheme, str host,
                             uint16_t port);
    /* Where its rules have variables whose values may change: all rules, with the values of now, in
     * the arena. Asked once an instance, on another thread, may block. NULL: rules are fixed. */
    bool (*outbound_rules)(const void *user, arena *a, outbound_rules *ret, err *e);
    /* A connection was refused for that reason: for the log. May be NULL. */
    void (*outbound_denied)(void *user, str scheme, str host, uint16_t port);
    /* Is that address (4 or 16 bytes) in a network that no rule opens? NULL: none is. */
    bool (*address_blocked)(void *user, const uint8_t *address, size_t n);
    /* Requests that stay in the app (service chaining, self): asked with scheme and host, empty for
     * none; NULL: there is no such thing. chain_begin answers an exchange that CHAIN_INSIDE was
     * said of, from the event loop; it is told the host that the guest asked for (chain_target
     * knows it), which the authority of x need not say: for `self` that is what a client wrote.
     * Both get outbound_user. */
    host_chain (*chain_target)(void *user, const outbound_rules *own, str scheme, str host);
    void (*chain_begin)(void *user, http_exchange *x, str host);
    void *outbound_user;
    uint64_t owner; /* outgoing connections are kept for components of the same owner only */
    const struct host_tls *tls; /* the first whose hosts have the name holds */
    size_t tls_count;
    /* Key-value stores it was granted; `store` is the number the store process knows them by, or
     * HOST_STORE_NONE. */
    const struct host_store {
        str label;
        uint32_t store;
        struct kv_view *view; /* what is read without asking (store/kv_view.h); NULL: nothing */
    } *key_value_stores;
    size_t key_value_stores_count;
    /* SQL databases, in the same way. */
    const struct host_store *sql_databases;
    size_t sql_databases_count;
    struct store_client *store; /* of the worker (store/client.h); NULL: there is none */
    uint32_t handles_max;       /* open resources per instance */
    size_t output_line_bytes_max;
    /* Of one call; 0: no limit. Past them the guest's stream fails with HTTP-request-body-size or
     * HTTP-response-body-size; a response that was begun is cut. */
    uint64_t request_body_bytes_max, response_body_bytes_max;
    ns clock_resolution_ns; /* what the guest's clocks show is a multiple of it; 0: as 1 */
    /* Of a plan whose units do not all have the same (component/composition.h): what each of them
     * has, by unit. NULL: all have this. */
    const struct host_component *const *units;
} host_component;

typedef struct {
    /* Something the guest waits for is ready: poll its instance. From the event loop, never from
     * inside a host function of the same guest. */
    void (*on_wake)(void *user);
    /* The guest wrote whole lines (or ended with a partial one) to stdout (1) or stderr (2). */
    void (*on_output)(void *user, int stream, str line);
} guest_callbacks;

/* loop: struct loop of loop/loop.h, for timers and descriptors that the guest waits on. */
struct loop;
bool guest_new(const host_component *c, struct loop *l, const guest_callbacks *cb, void *user,
               guest **ret, err *e);
/* Limits for all guests of this process; without a call there are none. UINT64_MAX: no limit. */
typedef struct {
    uint64_t http_max, sockets_max, total_max;
    bool no_pooling; /* every outgoing request has a connection of its own */
} host_connections;
void host_connections_limit(const host_connections *max);
/* Asked before an outgoing request or socket of a component of that owner; true: it is counted, and
 * given back when it is over, which may be after its guest has gone. Without a call nobody is
 * asked. */
void host_connections_owned(bool (*take)(void *user, uint64_t owner),
                            void (*give)(void *user, uint64_t owner), void *user);
/* Takes the 10 ms that the first outgoing request would take of the loop. Optional. */
void host_outbound_prepare(void);
/* Closes pooled outgoing connections; before loop_free, after the last guest went. */
void host_loop_close(struct loop *l);
/* Drops every handle, cancels every wait, flushes partial output lines. NULL is allowed. */
void guest_free(guest *g);
/* Is all host state as guest_new makes it? For the check of restored instances, before its first
 * call. */
bool guest_is_new(const guest *g);
/* The host state of a guest whose instance ran its start function and nothing else, to be made
 * again for guests of instances in the state after it. NULL: no memory, or it is more than standard
 * streams and preopened directories left open. Freed with free(). */
typedef struct guest_started guest_started;
guest_started *guest_started_take(const guest *g);
/* Gives it to a new guest of the same component. False: no memory. */
bool guest_started_give(guest *g, const guest_started *s);
/* The instance whose user pointer this guest is. */
void guest_attach(guest *g, engine_instance *in);

/* For components of several units (component instances with code): the guest makes an instance of
 * modules[k] for unit k when it is needed, each with these limits and a handle table of its own.
 * The entry's instance is the caller's, as for other guests; the rest is the guest's. Binding (and
 * its plan) and modules are borrowed. Before guest_attach; ERR_NO_MEMORY. */
bool guest_compose(guest *g, const host_binding *b, engine_module *const *modules,
                   const engine_limits *l, uint32_t entry, err *e);
/* engine_poll of the entry's instantiation, and of the others' where they have start functions, in
 * the plan's order. ENGINE_TRAP: the entry's instance says why. */
engine_status guest_start(guest *g);
/* Frees the instances that the guest made; the caller's own is freed before. NULL is allowed. */
void guest_instances_free(guest *g);
/* Of all instances, the entry's included. */
ns guest_cpu_ns(const guest *g);
size_t guest_memory_bytes(const guest *g);
/* The instances that the guest has can only be freed now; see engine_instance_empty. */
bool guest_memory_empty(guest *g, size_t bytes);
/* Until it is polled again, all of them together may grow by about so much. */
void guest_memory_limit(guest *g, uint64_t more_bytes);
/* For calls into several units from outside: marks the unit and those around it as entered; false
 * if one is. The handler's unit need not be entered for a guest that is called once. */
bool guest_enter(guest *g, uint32_t unit);
void guest_leave(guest *g, uint32_t unit);
/* The unit's instance, made and begun to start if there was none. NULL: *e says why. */
engine_instance *guest_instance(guest *g, uint32_t unit, err *e);

/* Makes the two handles that wasi:http/incoming-handler.handle takes. `head` is what the guest
 * sees: the exchange's own request, with the platform's spin-* fields put in place of the client's;
 * borrowed for the guest's life. The guest binds the exchange's callbacks (exchange_bind); the
 * exchange stays the caller's to abort only while guest_http is GUEST_HTTP_NONE or _ERROR, after
 * guest_free. Once per guest. False (no memory): nothing was bound. */
bool guest_http_begin(guest *g, http_exchange *x, const http_request *head, slot slots[2], err *e);
typedef enum {
    GUEST_HTTP_NONE,      /* response-outparam.set was never called */
    GUEST_HTTP_ERROR,     /* it was set to an error-code: guest_http_error names it */
    GUEST_HTTP_STREAMING, /* the head was sent, the body is not finished */
    GUEST_HTTP_DRAINING,  /* the guest finished; bytes still wait for the client */
    GUEST_HTTP_ENDED,     /* exchange_end was called: the exchange is gone */
    GUEST_HTTP_CUT,       /* the exchange was aborted or the client went away */
} guest_http_state;
guest_http_state guest_http(const guest *g);
/* The guest waits, in whichever of its units, or computes for long: the head of a response that was
 * set goes out, because the first byte of the body may be long in coming. */
void guest_http_left(guest *g);
/* The status that was sent; 0: none yet. */
unsigned guest_http_status(const guest *g);
/* Bytes of the request's body that were read, and of the response's that were written. */
void guest_http_bytes(const guest *g, uint64_t *ret_in, uint64_t *ret_out);
str guest_http_error(const guest *g);
/* Counts what happened to the guest from outside, and the body bytes it wrote: while this stands
 * still, the guest does nothing but compute and wait for the clock. */
uint64_t guest_moved(const guest *g);
/* After handle returned: an unfinished body is cut (spin.md 3.4), a finished one drains; on_wake
 * is called when the state becomes ENDED or CUT. `trapped`: handle did not return normally. */
void guest_http_returned(guest *g, bool trapped);
