/* flatten-diff: do core modules behave the same flattened as they do instantiated one by one?
 *
 * Reads lines "<id> <seed> NAME=FILE NAME=FILE ..." from standard input: core modules in the order
 * of their instantiation, each importing from earlier ones by name. Both forms run in the engine:
 * every exported function of every module is called in turn with arguments drawn from the seed,
 * imported functions that no module offers are host functions whose results follow from their
 * arguments. Calls, traps, results, the trace of host calls and the final memories must agree.
 *
 * Prints "<id> same", "<id> same-trap" (both trap at instantiation), "<id> refused <why>",
 * "<id> skip <why>" (the original does not even compile) or "<id> DIFF <what>". */
#include "component/core_link.h"
#include "component/core_module.h"
#include "component/flatten.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <wasmtime.h>

enum { MODULES_MAX = 8, ENDED_MAX = 200 };

/* One call's outcome, so that the first difference can be shown. */
typedef struct {
    uint64_t result; /* bits, or the trap code */
    uint64_t trace;  /* hash of the host calls so far */
    char kind;       /* 'r' returned, 't' trapped, 'e' other error, '-' no such function */
} outcome;

/* What host functions saw. */
typedef struct {
    uint64_t hash;
} trace;

typedef struct {
    trace *seen;
    const link_canon *canon;
} host_func;

typedef struct {
    wasmtime_store_t *store;
    wasmtime_context_t *cx;
    trace seen;
    bool failed; /* did not instantiate: how */
    outcome instantiation;
    outcome *calls;
} run;

static wasm_engine_t *engine;

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static uint64_t bits_of(const wasmtime_val_t *v)
{
    switch (v->kind) {
    case WASMTIME_I32:
        return (uint32_t)v->of.i32;
    case WASMTIME_I64:
        return (uint64_t)v->of.i64;
    case WASMTIME_F32: {
        uint32_t b;
        memcpy(&b, &v->of.f32, sizeof b);
        return b;
    }
    default: {
        uint64_t b;
        memcpy(&b, &v->of.f64, sizeof b);
        return b;
    }
    }
}

static wasmtime_val_t value_from(core_type t, uint64_t bits)
{
    wasmtime_val_t v = {0};
    switch (t) {
    case CORE_I32:
        v.kind = WASMTIME_I32;
        v.of.i32 = (int32_t)(uint32_t)bits;
        break;
    case CORE_I64:
        v.kind = WASMTIME_I64;
        v.of.i64 = (int64_t)bits;
        break;
    case CORE_F32:
        v.kind = WASMTIME_F32;
        v.of.f32 = (float)(bits % 1000);
        break;
    case CORE_F64:
        v.kind = WASMTIME_F64;
        v.of.f64 = (double)(bits % 1000);
        break;
    }
    return v;
}

static wasm_trap_t *host_call(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                              size_t args_count, wasmtime_val_t *results, size_t results_count)
{
    const host_func *f = env;
    uint64_t h = f->seen->hash;
    for (size_t i = 0; i < f->canon->name.n; i++)
        h = mix(h, (uint8_t)f->canon->name.p[i]);
    for (size_t i = 0; i < args_count; i++)
        h = mix(h, bits_of(&args[i]));
    f->seen->hash = h;
    for (size_t i = 0; i < results_count; i++)
        results[i] = value_from(f->canon->signature.results[i], h);
    return NULL;
}

static wasm_valtype_t *valtype_from(core_type t)
{
    return wasm_valtype_new(t == CORE_I32   ? WASM_I32
                            : t == CORE_I64 ? WASM_I64
                            : t == CORE_F32 ? WASM_F32
                                            : WASM_F64);
}

static wasmtime_extern_t host_extern(run *r, arena *a, const link_canon *c)
{
    wasm_valtype_t *params[ABI_FLAT_PARAMS_MAX + 1], *results[ABI_FLAT_RESULTS_MAX];
    wasm_valtype_vec_t p, q;
    host_func *f = ARENA_NEW(a, host_func);
    wasmtime_extern_t x = {.kind = WASMTIME_EXTERN_FUNC};
    *f = (host_func){&r->seen, c};
    for (uint32_t i = 0; i < c->signature.params_count; i++)
        params[i] = valtype_from(c->signature.params[i]);
    for (uint32_t i = 0; i < c->signature.results_count; i++)
        results[i] = valtype_from(c->signature.results[i]);
    wasm_valtype_vec_new(&p, c->signature.params_count, params);
    wasm_valtype_vec_new(&q, c->signature.results_count, results);
    wasm_functype_t *t = wasm_functype_new(&p, &q);
    wasmtime_func_new(r->cx, t, host_call, f, NULL, &x.of.func);
    wasm_functype_delete(t);
    return x;
}

static outcome outcome_of(const run *r, wasmtime_error_t *error, wasm_trap_t *trap)
{
    outcome o = {.kind = 'r', .trace = r->seen.hash};
    wasmtime_trap_code_t code;
    if (trap) {
        o.kind = wasmtime_trap_code(trap, &code) ? 't' : 'e';
        o.result = o.kind == 't' ? code : 0;
        wasm_trap_delete(trap);
    } else if (error) {
        o.kind = 'e';
        wasmtime_error_delete(error);
    }
    return o;
}

static void run_init(run *r)
{
    *r = (run){.store = wasmtime_store_new(engine, NULL, NULL)};
    wasmtime_store_limiter(r->store, 256 << 20, 100000, 1000, 1000, 1000);
    r->cx = wasmtime_store_context(r->store);
}

static wasmtime_module_t *module_compile(bytes b, char *text)
{
    wasmtime_module_t *m = NULL;
    wasmtime_error_t *error = wasmtime_module_new(engine, b.p, b.n, &m);
    if (error) {
        wasm_byte_vec_t message;
        wasmtime_error_message(error, &message);
        snprintf(text, ENDED_MAX, "%.*s", (int)message.size, message.data);
        for (char *p = text; *p; p++)
            if (*p == '\n')
                *p = ' ';
        wasm_byte_vec_delete(&message);
        wasmtime_error_delete(error);
    }
    return m;
}

static bool instantiate(run *r, wasmtime_module_t *m, const wasmtime_extern_t *imports, size_t n,
                        wasmtime_instance_t *ret)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = wasmtime_instance_new(r->cx, m, imports, n, ret, &trap);
    r->instantiation = outcome_of(r, error, trap);
    r->failed = r->instantiation.kind != 'r';
    return !r->failed;
}

static outcome call(run *r, const wasmtime_instance_t *in, str name, const core_signature *s,
                    uint64_t seed)
{
    static const uint32_t interesting[] = {0, 1, 2, 3, 8, 64, 1000, 65535, 65536, 0xffffffff};
    wasmtime_extern_t x;
    wasmtime_val_t args[ABI_FLAT_PARAMS_MAX + 1], result = {0};
    wasm_trap_t *trap = NULL;
    if (!wasmtime_instance_export_get(r->cx, in, name.p, name.n, &x))
        return (outcome){.kind = '-'};
    for (uint32_t i = 0; i < s->params_count; i++) {
        seed = mix(seed, i + 1);
        args[i] = value_from(s->params[i], interesting[seed % 10]);
    }
    wasmtime_error_t *error = wasmtime_func_call(r->cx, &x.of.func, args, s->params_count, &result,
                                                 s->results_count, &trap);
    outcome o = outcome_of(r, error, trap);
    if (o.kind == 'r' && s->results_count)
        o.result = bits_of(&result);
    wasmtime_extern_delete(&x);
    return o;
}

static uint64_t memory_hash(run *r, const wasmtime_instance_t *in, str name)
{
    wasmtime_extern_t x;
    if (!wasmtime_instance_export_get(r->cx, in, name.p, name.n, &x))
        return 0;
    size_t n = wasmtime_memory_data_size(r->cx, &x.of.memory);
    const uint8_t *p = wasmtime_memory_data(r->cx, &x.of.memory);
    uint64_t h = mix(1, n), word;
    for (size_t i = 0; i + 8 <= n; i += 8) {
        memcpy(&word, p + i, 8);
        h = word ? mix(mix(h, i), word) : h;
    }
    return h;
}

/* The function itself, or the memory that follows its call. */
static void calls_make(run *r, arena *a, const link_unit *u, const wasmtime_instance_t *in,
                       const plan_unit *flat, uint64_t seed)
{
    r->calls = ARENA_ARRAY(a, outcome, (size_t)u->lifts_count * 2);
    for (uint32_t i = 0; i < u->lifts_count; i++) {
        const link_lift *l = &u->lifts[i];
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        str func = flat ? str_from(name) : l->core.name;
        const wasmtime_instance_t *of = flat ? in : &in[l->core.instance];
        r->calls[2 * i] = call(r, of, func, &l->signature, mix(seed, i));
    }
    for (uint32_t i = 0; i < u->lifts_count; i++) {
        const core_ref *m = &u->lifts[i].options.memory;
        char name[16];
        if (m->instance < 0)
            continue;
        snprintf(name, sizeof name, "m%d", flat ? flat->lifts[i].options.memory : 0);
        r->calls[2 * i + 1].kind = 'm';
        r->calls[2 * i + 1].result =
            memory_hash(r, flat ? in : &in[m->instance], flat ? str_from(name) : m->name);
    }
}

static bool run_original(run *r, arena *a, const link_unit *u, wasmtime_module_t *const *modules,
                         uint64_t seed)
{
    wasmtime_instance_t in[MODULES_MAX];
    run_init(r);
    for (uint32_t i = 0; i < u->cores_count; i++) {
        const link_core *c = &u->cores[i];
        wasmtime_extern_t *imports = ARENA_ARRAY(a, wasmtime_extern_t, c->imports_count);
        for (uint32_t k = 0; k < c->imports_count; k++) {
            const link_def *d = &c->imports[k].def;
            if (d->is_canon)
                imports[k] = host_extern(r, a, &u->canons[d->canon]);
            else if (!wasmtime_instance_export_get(r->cx, &in[d->core.instance], d->core.name.p,
                                                   d->core.name.n, &imports[k]))
                return false;
        }
        if (!instantiate(r, modules[i], imports, c->imports_count, &in[i]))
            return true;
    }
    calls_make(r, a, u, in, NULL, seed);
    return true;
}

static void run_flat(run *r, arena *a, const link_unit *u, const plan_unit *flat,
                     wasmtime_module_t *module, uint64_t seed)
{
    static const core_signature none;
    wasmtime_instance_t in;
    wasmtime_extern_t *imports = ARENA_ARRAY(a, wasmtime_extern_t, u->canons_count);
    run_init(r);
    for (uint32_t k = 0; k < u->canons_count; k++)
        imports[k] = host_extern(r, a, &u->canons[k]);
    if (!instantiate(r, module, imports, u->canons_count, &in))
        return;
    if (flat->has_start) {
        r->instantiation = call(r, &in, S("start"), &none, 0);
        r->failed = r->instantiation.kind != 'r';
        if (r->failed)
            return;
    }
    calls_make(r, a, u, &in, flat, seed);
}

static void compare(const char *id, const link_unit *u, const run *want, const run *got)
{
    const outcome *w = &want->instantiation, *g = &got->instantiation;
    /* Where several things would trap, which of them comes first may change. */
    if (want->failed != got->failed || (!want->failed && w->trace != g->trace)) {
        printf("%s DIFF instantiation %c%llu, flattened %c%llu\n", id, w->kind,
               (unsigned long long)w->result, g->kind, (unsigned long long)g->result);
        return;
    }
    for (uint32_t i = 0; !want->failed && i < u->lifts_count * 2; i++) {
        w = &want->calls[i];
        g = &got->calls[i];
        if (w->kind == g->kind && w->result == g->result && w->trace == g->trace)
            continue;
        printf("%s DIFF %s %.*s: %c%llx, flattened %c%llx\n", id, i % 2 ? "memory of" : "call of",
               STR(u->lifts[i / 2].label), w->kind, (unsigned long long)w->result, g->kind,
               (unsigned long long)g->result);
        return;
    }
    printf("%s %s\n", id, want->failed ? "same-trap" : "same");
}

static bytes file_read(arena *a, str path)
{
    char *name = arena_cstr(a, path);
    FILE *f = fopen(name, "rb");
    if (!f) {
        perror(name);
        exit(2);
    }
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = arena_alloc(a, n);
    n = fread(p, 1, n, f);
    fclose(f);
    return (bytes){p, n};
}

static void case_compare(const char *id, arena *a, const link_plan *l,
                         wasmtime_module_t *const *modules, uint64_t seed)
{
    _cleanup_(buf_fini) buf out;
    const link_unit *u = &l->units[0];
    plan_unit flat;
    run want, got;
    err e = {0};
    char text[ENDED_MAX];
    buf_init(&out, 256 * MIB);
    if (!flatten_unit(a, l, 0, &out, &flat, &e)) {
        printf("%s refused %s\n", id, e.text);
        return;
    }
    wasmtime_module_t *module = module_compile(buf_bytes(&out), text);
    if (!module) {
        printf("%s DIFF flattened module does not compile: %s\n", id, text);
        return;
    }
    if (run_original(&want, a, u, modules, seed)) {
        run_flat(&got, a, u, &flat, module, seed);
        compare(id, u, &want, &got);
        wasmtime_store_delete(got.store);
    } else {
        printf("%s skip imports\n", id);
    }
    wasmtime_store_delete(want.store);
    wasmtime_module_delete(module);
}

static void case_run(char *line)
{
    arena a;
    str rest = str_trim(str_from(line));
    core_source sources[MODULES_MAX];
    wasmtime_module_t *modules[MODULES_MAX];
    char text[ENDED_MAX];
    uint32_t n = 0, compiled = 0;
    uint64_t seed = 0;
    link_plan l;
    err e = {0};
    arena_init(&a, 1 * GIB);
    const char *id = arena_cstr(&a, str_cut(&rest, ' '));
    str_to_u64(str_cut(&rest, ' '), UINT64_MAX, &seed);
    for (; rest.n && n < MODULES_MAX; n++) {
        str path = str_cut(&rest, ' ');
        sources[n].name = str_cut(&path, '=');
        sources[n].module = file_read(&a, path);
    }
    for (; compiled < n; compiled++)
        if (!(modules[compiled] = module_compile(sources[compiled].module, text)))
            break;
    if (compiled < n)
        printf("%s skip %s\n", id, text);
    else if (!core_link(&a, sources, n, &l, &e))
        printf("%s %s %s\n", id, e.code == ERR_UNSUPPORTED ? "refused" : "DIFF", e.text);
    else
        case_compare(id, &a, &l, modules, seed);
    while (compiled-- > 0)
        wasmtime_module_delete(modules[compiled]);
    fflush(stdout);
    arena_fini(&a);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    wasm_config_t *c = wasm_config_new();
    wasmtime_config_wasm_gc_set(c, true);
    wasmtime_config_wasm_function_references_set(c, true);
    wasmtime_config_wasm_exceptions_set(c, true);
    wasmtime_config_wasm_memory64_set(c, true);
    wasmtime_config_wasm_multi_memory_set(c, true);
    wasmtime_config_wasm_tail_call_set(c, true);
    wasmtime_config_wasm_wide_arithmetic_set(c, true);
    wasmtime_config_wasm_relaxed_simd_deterministic_set(c, true);
    wasmtime_config_cranelift_opt_level_set(c, WASMTIME_OPT_LEVEL_NONE);
    engine = wasm_engine_new_with_config(c);
    while (getline(&line, &room, stdin) > 0)
        case_run(line);
    free(line);
    wasm_engine_delete(engine);
    return 0;
}
