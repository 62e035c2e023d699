/* For tests of the engine: a module written as text, compiled, opened, with its plan by hand. */
#pragma once

#include "unit.h"

#include "engine/engine.h"
#include "engine/engine_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One engine serves all tests of a process. */
static engine *kit_engine;
static char kit_dir[] = "/tmp/ebb-engine-XXXXXX";

/* Wasmtime turns faults of guest code into traps in handlers of its own; cmocka replaces them
 * around each test. Kept when the engine is made, put back when a module is opened. */
static const int kit_faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction kit_handlers[4];

__attribute__((unused)) static int kit_begin(void **state)
{
    err e;
    engine_config c = engine_config_default();
    c.instances_max = 300;
    if (!engine_new(&c, &kit_engine, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], NULL, &kit_handlers[i]);
    return mkdtemp(kit_dir) ? 0 : -1;
}

__attribute__((unused)) static int kit_end(void **state)
{
    engine_free(kit_engine);
    return rmdir(kit_dir);
}

static void kit_write(const char *path, bytes b, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b.p, b.n), (ssize_t)b.n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* "iI-f": i32, i64 in; f32 out. Letters: i I f F. */
static core_signature kit_signature(const char *text)
{
    core_signature s = {0};
    bool out = false;
    for (; *text; text++) {
        if (*text == '-') {
            out = true;
            continue;
        }
        core_type t = *text == 'i'   ? CORE_I32
                      : *text == 'I' ? CORE_I64
                      : *text == 'f' ? CORE_F32
                                     : CORE_F64;
        if (out)
            s.results[s.results_count++] = t;
        else
            s.params[s.params_count++] = t;
    }
    return s;
}

/* With links of its own. */
__attribute__((unused)) static bool kit_module_open(const char *path, const plan_unit *unit,
                                                    const engine_import *ims, engine_module **ret,
                                                    err *e)
{
    engine_links *links = NULL;
    bool ok = engine_links_new(kit_engine, unit->imports, ims, unit->imports_count, &links, e) &&
              engine_module_open(kit_engine, path, unit, links, ret, e);
    engine_links_drop(links);
    return ok;
}

typedef struct {
    const char *name, *signature;
    engine_import im;
} kit_import;

typedef struct {
    plan_unit unit;
    plan_import imports[8];
    engine_import ims[8];
    plan_lift lifts[16];
    engine_module *m;
} kit_module;

/* Compiles and opens; imports end with a NULL name, lifts with NULL. */
__attribute__((unused)) static void kit_open(kit_module *k, const char *wat,
                                             const kit_import *imports, const char *const *lifts)
{
    err e = {0};
    buf wasm, cwasm;
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], &kit_handlers[i], NULL);
    buf_init(&wasm, 1 << 24);
    buf_init(&cwasm, 1 << 26);
    if (!engine_wat2wasm(str_from(wat), &wasm, &e) ||
        !engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, &e))
        fail_msg("%s", e.text);
    char path[64];
    snprintf(path, sizeof path, "%s/m.cwasm", kit_dir);
    kit_write(path, buf_bytes(&cwasm), 0400);
    for (; imports && imports->name; imports++) {
        uint32_t i = k->unit.imports_count++;
        k->imports[i] = (plan_import){.kind = CANON_HOST,
                                      .interface = S("test:kit/host"),
                                      .name = str_from(imports->name),
                                      .signature = kit_signature(imports->signature)};
        k->ims[i] = imports->im;
    }
    for (; lifts && *lifts; lifts++)
        k->lifts[k->unit.lifts_count++].signature = kit_signature(*lifts);
    k->unit.imports = k->imports;
    k->unit.lifts = k->lifts;
    if (!kit_module_open(path, &k->unit, k->ims, &k->m, &e))
        fail_msg("%s", e.text);
    unlink(path);
    buf_fini(&wasm);
    buf_fini(&cwasm);
}

static const engine_limits kit_limits = {.memory_bytes_max = 64 << 20, .table_elements_max = 10000};

__attribute__((unused)) static engine_instance *kit_instance(kit_module *k, void *user)
{
    err e = {0};
    engine_instance *in = NULL;
    if (!engine_instance_new(k->m, &kit_limits, user, &in, &e))
        fail_msg("%s", e.text);
    engine_start(in);
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (s != ENGINE_DONE)
        fail_msg("start: %d %s", (int)s, engine_instance_trap(in)->text);
    return in;
}

/* Told of everything that kit_run returns; NULL: nobody. */
static void (*kit_on_stop)(engine_status s);

/* Polls over time slices, to the end or a wait. */
__attribute__((unused)) static engine_status kit_run(engine_instance *in)
{
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (kit_on_stop)
        kit_on_stop(s);
    return s;
}

/* A whole call of "f<lift>" with one argument, and what it answers. */
__attribute__((unused)) static int32_t kit_call(engine_instance *in, uint32_t lift, uint32_t arg)
{
    slot s[1] = {{.u64 = arg}};
    engine_call(in, lift, s);
    if (kit_run(in) != ENGINE_DONE)
        fail_msg("f%u(%u): %s", lift, arg, engine_instance_trap(in)->text);
    return s[0].i32;
}
