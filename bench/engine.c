/* What one sandbox costs: new, start, call, drop, in a loop over one module, without HTTP or host.
 *
 *     ebb-engine-bench [--n CALLS] [--slots N] [--batch N] [--hold N] [--modules N] [--pages N]
 *                      [--populate 0|1]
 *
 * --hold keeps that many instances of the module alive meanwhile, --modules rotates over so many
 * modules, --pages is how many memory pages a call writes (a C hello writes 3). Prints the median
 * of 7 rounds, in nanoseconds a call, with the parts timed in a round of their own, and page
 * faults a call. Pin it: taskset -c 1.
 */
#include "engine/engine.h"
#include "engine/engine_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 7, MODULES_MAX = 2000 };

static const char wat[] =
    "(module (import \"ebb\" \"0\" (func $plain (param i32 i32) (result i32)))"
    " (import \"ebb\" \"1\" (func $waits (param i32 i32) (result i32)))"
    " (memory (export \"m0\") 17) (data (i32.const 65536) \"image\")"
    " (table 8 funcref) (elem (i32.const 1) $realloc $realloc)"
    " (global $top (mut i32) (i32.const 70000))"
    " (func $realloc (export \"r0\") (param i32 i32 i32 i32) (result i32)"
    "  (global.set $top (i32.add (global.get $top) (local.get 3))) (global.get $top))"
    " (func (export \"f0\") (param i32 i32) (local i32)"
    "  (loop $pages (if (i32.lt_u (local.get 2) (local.get 0)) (then"
    "   (i32.store (i32.add (i32.const 61440) (i32.shl (local.get 2) (i32.const 12))) (i32.const "
    "1))"
    "   (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br $pages))))"
    "  (local.set 2 (i32.const 0))"
    "  (loop $calls (if (i32.lt_u (local.get 2) (local.get 1)) (then"
    "   (drop (call $plain (local.get 2) (i32.const 1)))"
    "   (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br $calls))))"
    "  (if (i32.gt_u (local.get 1) (i32.const 1000)) (then"
    "  (local.set 2 (i32.const 0))"
    "  (loop $calls (if (i32.lt_u (local.get 2) (local.get 1)) (then"
    "   (drop (call $waits (local.get 2) (i32.const 1)))"
    "   (local.set 2 (i32.add (local.get 2) (i32.const 1))) (br $calls))))))))";

static host_status host_plain(void *env, engine_instance *in, slot *s)
{
    s[0].u32 += s[1].u32;
    return HOST_DONE;
}

static engine_limits limits = {.memory_bytes_max = 64 << 20, .table_elements_max = 10000};
static engine_module *modules[MODULES_MAX];
static uint32_t modules_count = 1, pages = 3;

static _Noreturn void die(const err *e)
{
    fprintf(stderr, "%s\n", e->text);
    exit(1);
}

static engine_instance *instance(size_t i, ns *ret_new)
{
    err e;
    engine_instance *in;
    ns t = ret_new ? clock_mono() : 0;
    if (!engine_instance_new(modules[i % modules_count], &limits, NULL, &in, &e))
        die(&e);
    engine_start(in);
    while (engine_poll(in) != ENGINE_DONE)
        ;
    if (ret_new)
        *ret_new += clock_mono() - t;
    return in;
}

static void call(engine_instance *in, uint32_t host_calls)
{
    slot s[2] = {{.u64 = pages}, {.u64 = host_calls}};
    engine_call(in, 0, s);
    engine_status st;
    while ((st = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (st != ENGINE_DONE) {
        fprintf(stderr, "%s\n", engine_instance_trap(in)->text);
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    ns x = *(const ns *)a, y = *(const ns *)b;
    return x < y ? -1 : x > y;
}

static void open_modules(engine *en, const plan_unit *unit, const engine_import *ims)
{
    err e;
    buf wasm, cwasm;
    buf_init(&wasm, 1 << 20);
    buf_init(&cwasm, 1 << 24);
    if (!engine_wat2wasm(str_from(wat), &wasm, &e) ||
        !engine_compile(en, buf_bytes(&wasm), &cwasm, &e))
        die(&e);
    ns open_ns = 0;
    for (uint32_t i = 0; i < modules_count; i++) {
        char path[] = "/tmp/ebb-engine-bench-XXXXXX";
        int fd = mkstemp(path);
        if (fd < 0 || write(fd, cwasm.p, cwasm.n) != (ssize_t)cwasm.n || fchmod(fd, 0400))
            exit(1);
        close(fd);
        ns t = clock_mono();
        engine_links *links = NULL;
        if (!engine_links_new(en, unit->imports, ims, unit->imports_count, &links, &e) ||
            !engine_module_open(en, path, unit, links, &modules[i], &e))
            die(&e);
        engine_links_drop(links);
        open_ns += clock_mono() - t;
        unlink(path);
    }
    printf("open %llu ns, artifact %zu bytes\n", (unsigned long long)(open_ns / modules_count),
           cwasm.n);
    buf_fini(&wasm);
    buf_fini(&cwasm);
}

static long faults(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_minflt;
}

static void bench(size_t n)
{
    ns rounds[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        ns t = clock_mono();
        for (size_t i = 0; i < n; i++) {
            engine_instance *in = instance(i, NULL);
            call(in, 10);
            engine_instance_free(in);
        }
        rounds[r] = (clock_mono() - t) / n;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    ns made = 0, called = 0, dropped = 0;
    long f = faults();
    for (size_t i = 0; i < n; i++) {
        engine_instance *in = instance(i, &made);
        ns t = clock_mono();
        call(in, 10);
        ns u = clock_mono();
        engine_instance_free(in);
        called += u - t;
        dropped += clock_mono() - u;
    }
    printf("%llu ns a call (min %llu, max %llu) = new %llu + call %llu + drop %llu; %.2f faults\n",
           (unsigned long long)rounds[ROUNDS / 2], (unsigned long long)rounds[0],
           (unsigned long long)rounds[ROUNDS - 1], (unsigned long long)(made / n),
           (unsigned long long)(called / n), (unsigned long long)(dropped / n),
           (double)(faults() - f) / (double)n);
}

/* A warm instance: what calls in either direction cost by themselves. */
static void bench_calls(void)
{
    enum { N = 200000, HOST = 1000 };
    engine_instance *in = instance(0, NULL);
    pages = 0;
    ns t = clock_mono();
    for (int i = 0; i < N; i++)
        call(in, 0);
    ns guest = (clock_mono() - t) / N;
    t = clock_mono();
    for (int i = 0; i < N / HOST; i++)
        call(in, HOST);
    ns host = (clock_mono() - t - guest * (N / HOST)) / N;
    t = clock_mono();
    for (int i = 0; i < N / HOST; i++)
        call(in, HOST + 1);
    ns both = (clock_mono() - t - guest * (N / HOST)) / N;
    printf("warm call %llu ns; host call %llu ns, one that may wait %llu ns\n",
           (unsigned long long)guest, (unsigned long long)host, (unsigned long long)(both - host));
    engine_instance_free(in);
}

int main(int argc, char **argv)
{
    err e;
    engine *en;
    engine_config c = engine_config_default();
    size_t n = 20000, hold = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        size_t v = strtoul(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--n"))
            n = v;
        else if (!strcmp(argv[i], "--slots"))
            c.instances_max = (uint32_t)v;
        else if (!strcmp(argv[i], "--batch"))
            c.decommit_batch = (uint32_t)v;
        else if (!strcmp(argv[i], "--populate"))
            c.populate = v != 0;
        else if (!strcmp(argv[i], "--hold"))
            hold = v;
        else if (!strcmp(argv[i], "--modules") && v > 0 && v <= MODULES_MAX)
            modules_count = (uint32_t)v;
        else if (!strcmp(argv[i], "--pages"))
            pages = (uint32_t)v;
        else
            return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    }
    ns t = clock_mono();
    if (!engine_new(&c, &en, &e))
        die(&e);
    printf("engine %llu us, %.*s\n", (unsigned long long)((clock_mono() - t) / NS_PER_US),
           STR(engine_fingerprint(en)));
    core_signature two = {.params = {CORE_I32, CORE_I32}, .params_count = 2};
    core_signature host = two;
    host.results[host.results_count++] = CORE_I32;
    plan_import imports[2] = {{.signature = host}, {.signature = host}};
    plan_lift lifts[1] = {{.signature = two}};
    plan_unit unit = {.imports = imports,
                      .imports_count = 2,
                      .lifts = lifts,
                      .lifts_count = 1,
                      .memories_count = 1,
                      .reallocs_count = 1};
    engine_import ims[2] = {{.fn = host_plain}, {.fn = host_plain, .may_wait = true}};
    open_modules(en, &unit, ims);
    engine_instance **held = calloc(hold + 1, sizeof *held);
    for (size_t i = 0; i < hold; i++)
        call(held[i] = instance(i, NULL), 1);
    bench(n);
    bench_calls();
    for (size_t i = 0; i < hold; i++)
        engine_instance_free(held[i]);
    free(held);
    for (uint32_t i = 0; i < modules_count; i++)
        engine_module_close(modules[i]);
    engine_free(en);
    return 0;
}
