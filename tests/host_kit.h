/* For tests of the host: one core module that imports every row of every interface and the drop of
 * every resource, and forwards each as an export; a guest on it; and an exchange made by hand.
 * So a test calls host functions as a component would, through the engine, with slots of its own,
 * and looks into guest memory. */
#pragma once

#include "engine_kit.h"

#include "host/call.h"
#include "host/guest.h"
#include "host/tables.h"
#include "host/wasi_http.h"
#include "http/exchange_impl.h"
#include "loop/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { HK_IMPORTS_MAX = 400, HK_HEAP = 65536, HK_RESET = HK_IMPORTS_MAX };

typedef struct {
    arena a;
    plan p;
    plan_unit unit;
    plan_import imports[HK_IMPORTS_MAX];
    plan_lift lifts[HK_IMPORTS_MAX];
    plan_resource resources[64];
    uint32_t count;
    host_binding *binding;
    engine_module *m;
    loop *l;
    host_component component;
    guest_callbacks callbacks;
    guest *g;
    engine_instance *in;
    int wakes;
    buf output[2];
} host_kit;

static host_kit hk;
static slot hk_slots[20]; /* arguments and results of the last call */

static void hk_on_wake(void *user) { hk.wakes++; }

static void hk_on_output(void *user, int stream, str line)
{
    buf_put_str(&hk.output[stream - 1], line);
    buf_put_u8(&hk.output[stream - 1], '\n');
}

static void hk_types(buf *b, const char *word, const core_type *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_printf(b, " (%s %s)", word,
                   t[i] == CORE_I64   ? "i64"
                   : t[i] == CORE_F32 ? "f32"
                   : t[i] == CORE_F64 ? "f64"
                                      : "i32");
}

static void hk_add(plan_import i)
{
    must(hk.count < HK_IMPORTS_MAX);
    hk.imports[hk.count] = i;
    hk.lifts[hk.count].signature = i.signature;
    hk.count++;
}

static void hk_imports(void)
{
    uint32_t n;
    const host_parsed *t = host_tables(&n);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < t[i].funcs_count; k++) {
            plan_import p = {.kind = CANON_HOST,
                             .interface = t[i].name,
                             .name = str_from(t[i].rows[k]->name),
                             .type = &t[i].funcs[k],
                             .options = {.memory = 0, .realloc = 0}};
            functype_lower_signature(p.type, &p.signature);
            hk_add(p);
        }
        for (const host_resource *const *r = t[i].def->resources; r && *r; r++) {
            uint32_t k = hk.p.resources_count++;
            hk.resources[k] = (plan_resource){
                .interface = t[i].name, .imported = true, .name = str_from((*r)->name)};
            hk_add((plan_import){.kind = CANON_RESOURCE_DROP,
                                 .resource = k,
                                 .interface = t[i].name,
                                 .name = str_from((*r)->name),
                                 .options = {.memory = PLAN_NONE, .realloc = PLAN_NONE},
                                 .signature = {.params = {CORE_I32}, .params_count = 1}});
        }
    }
    /* One resource that the component defines: new, rep, drop. */
    uint32_t own = hk.p.resources_count++;
    hk.resources[own] = (plan_resource){.name = S("own"), .has_dtor = true};
    canon_kind kinds[] = {CANON_RESOURCE_NEW, CANON_RESOURCE_REP, CANON_RESOURCE_DROP};
    const char *names[] = {"new", "rep", "drop"};
    for (int i = 0; i < 3; i++)
        hk_add((plan_import){.kind = kinds[i],
                             .resource = own,
                             .interface = S("own"),
                             .name = str_from(names[i]),
                             .options = {.memory = PLAN_NONE, .realloc = PLAN_NONE},
                             .signature = {.params = {CORE_I32},
                                           .params_count = 1,
                                           .results = {CORE_I32},
                                           .results_count = kinds[i] != CANON_RESOURCE_DROP}});
}

static void hk_wat(buf *b)
{
    buf_printf(b, "(module\n");
    for (uint32_t i = 0; i < hk.count; i++) {
        const core_signature *s = &hk.imports[i].signature;
        buf_printf(b, "(import \"ebb\" \"%u\" (func $h%u", i, i);
        hk_types(b, "param", s->params, s->params_count);
        hk_types(b, "result", s->results, s->results_count);
        buf_printf(b, "))\n");
    }
    buf_printf(b,
               "(memory (export \"m0\") 64)\n"
               "(global $at (mut i32) (i32.const %d))\n"
               "(global $dropped (export \"g0\") (mut i32) (i32.const 0))\n"
               /* realloc: bump; 0x7fffffff makes it call an import, 0x7ffffffe traps */
               "(func (export \"r0\") (param i32 i32 i32 i32) (result i32) (local i32)\n"
               " (if (i32.eq (global.get $at) (i32.const 0x7fffffff))\n"
               "  (then (drop (call $h%u (i32.const 1)))))\n"
               " (local.set 4 (i32.and (i32.add (global.get $at)\n"
               "   (i32.sub (local.get 2) (i32.const 1)))\n"
               "   (i32.sub (i32.const 0) (local.get 2))))\n"
               " (global.set $at (i32.add (local.get 4) (local.get 3)))\n"
               " (local.get 4))\n"
               "(func (export \"f%u\") (param i32) (global.set $at (local.get 0)))\n"
               "(func (export \"d%u\") (param i32) (global.set $dropped (local.get 0)))\n"
               "(func (export \"f%u\") (result i32) (global.get $dropped))\n",
               HK_HEAP, hk.count - 3, hk.count, hk.p.resources_count - 1, hk.count + 1);
    for (uint32_t i = 0; i < hk.count; i++) {
        const core_signature *s = &hk.imports[i].signature;
        buf_printf(b, "(func (export \"f%u\")", i);
        hk_types(b, "param", s->params, s->params_count);
        hk_types(b, "result", s->results, s->results_count);
        buf_printf(b, " (call $h%u", i);
        for (uint32_t k = 0; k < s->params_count; k++)
            buf_printf(b, " (local.get %u)", k);
        buf_printf(b, "))\n");
    }
    buf_printf(b, ")");
    assert_false(b->failed);
}

/* --- what became of each row: for the tool that wants one success and one failure of each ---- */

enum { HK_OK = 1, HK_ERROR = 2, HK_TRAP = 4 };
static uint8_t hk_outcomes[HK_IMPORTS_MAX];
static uint32_t hk_current = HK_RESET; /* the row that runs */
static uint32_t hk_result_at;
static bool hk_unrecorded; /* arguments are random: what comes out proves nothing */

/* A result's error and an option's none are failures, but for option<result<...>>: not yet. */
static int hk_outcome(const type *t, const uint8_t *at)
{
    if (t->kind == TYPE_RESULT && *at)
        return HK_ERROR;
    const type *inner = t->kind == TYPE_RESULT ? t->fields[0].type : t->elem;
    bool nested =
        (t->kind == TYPE_RESULT || t->kind == TYPE_OPTION) && inner &&
        (inner->kind == TYPE_RESULT || (inner->kind == TYPE_OPTION && t->kind == TYPE_OPTION));
    if (t->kind == TYPE_OPTION && !*at)
        return nested ? 0 : HK_ERROR;
    return nested ? hk_outcome(inner, at + t->payload_at) : HK_OK;
}

__attribute__((unused)) static void hk_on_stop(engine_status s)
{
    size_t n;
    uint32_t k = hk_current;
    if (k >= hk.count || s == ENGINE_WAIT || s == ENGINE_YIELD)
        return;
    hk_current = HK_RESET;
    if (s == ENGINE_TRAP) {
        hk_outcomes[k] |= HK_TRAP;
        return;
    }
    const plan_import *i = &hk.imports[k];
    const type *t = i->type ? i->type->result : NULL;
    const uint8_t *area = engine_memory(hk.in, 0, &n);
    if (hk_unrecorded)
        return;
    if (t && i->signature.results_spilled && hk_result_at + t->size <= n)
        hk_outcomes[k] |= (uint8_t)hk_outcome(t, area + hk_result_at);
    else if (t && t->kind == TYPE_RESULT)
        hk_outcomes[k] |= hk_slots[0].u32 ? HK_ERROR : HK_OK;
    else
        hk_outcomes[k] |= HK_OK;
}

/* Appends "interface#name outcome" lines to a file of the folder that EBB_OUTCOMES names. */
static void hk_outcomes_write(void)
{
    const char *folder = getenv("EBB_OUTCOMES");
    char path[512];
    if (!folder)
        return;
    snprintf(path, sizeof path, "%s/%s", folder, program_invocation_short_name);
    FILE *f = fopen(path, "w");
    must(f);
    for (uint32_t k = 0; k < hk.count; k++)
        for (int bit = 0; bit < 3; bit++)
            if (hk_outcomes[k] & (1 << bit) && hk.imports[k].type)
                fprintf(f, "%.*s#%.*s %s\n", STR(hk.imports[k].interface), STR(hk.imports[k].name),
                        bit == 0   ? "ok"
                        : bit == 1 ? "error"
                                   : "trap");
    fclose(f);
}

/* Compiles the module, once a process. */
__attribute__((unused)) static int hk_begin(void **state)
{
    kit_on_stop = hk_on_stop;
    err e = {0};
    buf wat, wasm, cwasm;
    if (kit_begin(state) < 0)
        return -1;
    arena_init(&hk.a, 1 << 24);
    buf_init(&hk.output[0], 1 << 20);
    buf_init(&hk.output[1], 1 << 20);
    assert_true(host_init(&e) && loop_new(&hk.l, &e));
    hk_imports();
    buf_init(&wat, 1 << 22);
    buf_init(&wasm, 1 << 24);
    buf_init(&cwasm, 1 << 26);
    hk_wat(&wat);
    hk.lifts[hk.count].signature = kit_signature("i-");
    hk.lifts[hk.count + 1].signature = kit_signature("-i");
    hk.unit = (plan_unit){.imports = hk.imports,
                          .imports_count = hk.count,
                          .lifts = hk.lifts,
                          .lifts_count = hk.count + 2,
                          .memories_count = 1,
                          .reallocs_count = 1,
                          .globals_count = 1};
    hk.p.units = &hk.unit;
    hk.p.units_count = 1;
    hk.p.resources = hk.resources;
    char path[64];
    snprintf(path, sizeof path, "%s/h.cwasm", kit_dir);
    if (!engine_wat2wasm(buf_str(&wat), &wasm, &e) ||
        !engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, &e) ||
        !host_bind(&hk.a, &hk.p, &hk.binding, NULL, NULL, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    kit_write(path, buf_bytes(&cwasm), 0400);
    if (!kit_module_open(path, &hk.unit, host_binding_imports(hk.binding, 0), &hk.m, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    unlink(path);
    buf_fini(&wat);
    buf_fini(&wasm);
    buf_fini(&cwasm);
    return 0;
}

__attribute__((unused)) static int hk_end(void **state)
{
    hk_outcomes_write();
    engine_module_close(hk.m);
    loop_free(hk.l);
    buf_fini(&hk.output[0]);
    buf_fini(&hk.output[1]);
    arena_fini(&hk.a);
    return kit_end(state);
}

/* A guest for each test; hk.component is what it sees and may be set before hk_open. */
__attribute__((unused)) static void hk_open(void)
{
    err e = {0};
    hk.callbacks = (guest_callbacks){hk_on_wake, hk_on_output};
    if (!hk.component.handles_max)
        hk.component.handles_max = 1000;
    hk.wakes = 0;
    buf_clear(&hk.output[0]);
    buf_clear(&hk.output[1]);
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], &kit_handlers[i], NULL);
    if (!guest_new(&hk.component, hk.l, &hk.callbacks, NULL, &hk.g, &e) ||
        !engine_instance_new(hk.m, &kit_limits, hk.g, &hk.in, &e))
        fail_msg("%s", e.text);
    guest_attach(hk.g, hk.in);
    engine_start(hk.in);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
}

__attribute__((unused)) static void hk_close(void)
{
    guest_free(hk.g);
    engine_instance_free(hk.in);
    hk.g = NULL;
    hk.in = NULL;
}

/* "name#2" is the second row of that name: that of an older type. */
__attribute__((unused)) static uint32_t hk_find(const char *interface, const char *name)
{
    int second = str_ends(str_from(name), S("#2"));
    str want = second ? str_head(str_from(name), strlen(name) - 2) : str_from(name);
    for (uint32_t i = 0; i < hk.count; i++)
        if (str_starts(hk.imports[i].interface, str_from(interface)) &&
            str_eq(hk.imports[i].name, want) && !second--)
            return i;
    fail_msg("no row %s#%s", interface, name);
    return 0;
}

/* Calls a row; the guest memory behind the results starts at HK_HEAP again. */
__attribute__((unused)) static engine_status hk_start(uint32_t k, const uint64_t *args, size_t n)
{
    slot s[1] = {{.u32 = HK_HEAP}};
    hk_current = HK_RESET;
    engine_call(hk.in, hk.count, s);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    memset(hk_slots, 0, sizeof hk_slots);
    for (size_t i = 0; i < n; i++)
        hk_slots[i].u64 = args[i];
    hk_current = k;
    hk_result_at = n ? (uint32_t)args[n - 1] : 0;
    engine_call(hk.in, k, hk_slots);
    return kit_run(hk.in);
}

#define HK_ARGS(...)                                                                               \
    (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)
/* hk_call("wasi:io/streams", "[method]...", a, b): must end; the result is in hk_slots[0]. */
#define hk_call(interface, name, ...)                                                              \
    do {                                                                                           \
        if (hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__)) != ENGINE_DONE)               \
            fail_msg("%s: %s", name, engine_instance_trap(hk.in)->text);                           \
    } while (0)
/* It must wait. */
#define hk_wait(interface, name, ...)                                                              \
    assert_int_equal(hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__)), ENGINE_WAIT)
/* It must trap with a text that contains `part`; the instance is done for. */
#define hk_trap(part, interface, name, ...)                                                        \
    do {                                                                                           \
        assert_int_equal(hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__)), ENGINE_TRAP);   \
        if (!strstr(engine_instance_trap(hk.in)->text, part))                                      \
            fail_msg("'%s' is not in: %s", part, engine_instance_trap(hk.in)->text);               \
        hk_close();                                                                                \
        hk_open();                                                                                 \
    } while (0)

__attribute__((unused)) static uint8_t *hk_memory(void)
{
    size_t n;
    return engine_memory(hk.in, 0, &n);
}
__attribute__((unused)) static uint32_t hk_u32(uint32_t at)
{
    uint32_t v;
    memcpy(&v, hk_memory() + at, 4);
    return v;
}
__attribute__((unused)) static uint64_t hk_u64(uint32_t at)
{
    uint64_t v;
    memcpy(&v, hk_memory() + at, 8);
    return v;
}
__attribute__((unused)) static uint8_t hk_u8(uint32_t at) { return hk_memory()[at]; }
/* Text into guest memory at `at`; returns its length. */
__attribute__((unused)) static uint32_t hk_put(uint32_t at, const char *text)
{
    memcpy(hk_memory() + at, text, strlen(text));
    return (uint32_t)strlen(text);
}
__attribute__((unused)) static void hk_put_u32(uint32_t at, uint32_t v)
{
    memcpy(hk_memory() + at, &v, 4);
}
/* The string or list<u8> whose pointer and length are at `at`. */
__attribute__((unused)) static str hk_str(uint32_t at)
{
    return (str){(const char *)hk_memory() + hk_u32(at), hk_u32(at + 4)};
}
#define hk_assert_str(at, text)                                                                    \
    do {                                                                                           \
        str got_ = hk_str(at);                                                                     \
        if (!str_eq(got_, str_from(text)))                                                         \
            fail_msg("expected '%s', got '%.*s'", text, STR(got_));                                \
    } while (0)

/* --- an exchange by hand ------------------------------------------------------------------- */

typedef struct {
    http_exchange x;
    buf body; /* request body that can be read now */
    body_state state;
    buf out; /* response body */
    http_field fields[32];
    size_t fields_count, room;
    int reads, ended, aborted, freed;
    unsigned abort_status;
    http_field trailers_out[8];
    size_t trailers_out_count;
} hk_exchange;

static size_t hkx_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    hk_exchange *h = (hk_exchange *)x;
    h->reads++;
    if (n > h->body.n)
        n = h->body.n;
    if (n)
        memcpy(p, h->body.p, n);
    buf_drop(&h->body, n);
    *ret_state = h->body.n ? BODY_OPEN : h->state;
    return n;
}
static size_t hkx_readable(const http_exchange *x, body_state *ret_state)
{
    const hk_exchange *h = (const hk_exchange *)x;
    *ret_state = h->body.n ? BODY_OPEN : h->state;
    return h->body.n;
}
static bool hkx_start(http_exchange *x, const http_field *at, size_t count, err *e)
{
    hk_exchange *h = (hk_exchange *)x;
    for (size_t i = 0; i < count && i < 32; i++)
        h->fields[h->fields_count++] =
            (http_field){arena_str(&hk.a, at[i].name), arena_str(&hk.a, at[i].value)};
    return true;
}
static size_t hkx_room(const http_exchange *x) { return ((const hk_exchange *)x)->room; }
static void hkx_write(http_exchange *x, const void *p, size_t n)
{
    hk_exchange *h = (hk_exchange *)x;
    assert_true(n <= h->room);
    h->room -= n;
    assert_true(buf_put(&h->out, p, n));
}
static void hkx_end(http_exchange *x, const http_field *trailers, size_t count)
{
    hk_exchange *h = (hk_exchange *)x;
    h->ended++;
    for (size_t i = 0; i < count && i < 8; i++)
        h->trailers_out[h->trailers_out_count++] =
            (http_field){arena_str(&hk.a, trailers[i].name), arena_str(&hk.a, trailers[i].value)};
}
static void hkx_abort(http_exchange *x, unsigned status, const http_field *at, size_t count)
{
    hk_exchange *h = (hk_exchange *)x;
    h->aborted++;
    h->abort_status = status;
}
static void hkx_free(http_exchange *x) { ((hk_exchange *)x)->freed++; }

static const exchange_ops hkx_ops = {hkx_read,  hkx_readable, hkx_start, hkx_room,
                                     hkx_write, hkx_end,      hkx_abort, hkx_free};

__attribute__((unused)) static void hkx_init(hk_exchange *h, http_request r)
{
    *h = (hk_exchange){.x = {.ops = &hkx_ops, .request = r, .length = -1},
                       .room = 65536,
                       .state = r.has_body ? BODY_OPEN : BODY_END};
    buf_init(&h->body, 1 << 24);
    buf_init(&h->out, 1 << 24);
}
__attribute__((unused)) static void hkx_fini(hk_exchange *h)
{
    buf_fini(&h->body);
    buf_fini(&h->out);
}
