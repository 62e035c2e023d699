/* ninja -C build src/host/ebb-compose-bench; build/src/host/ebb-compose-bench bench/compose.wasm:
 * what a call between two component instances costs, empty and with 64 kB, beside a memcpy of the
 * same bytes. Both instances are made and the pages touched before. Medians of 101 runs, in turn.
 */
#include "base/limits.h"
#include "host/wast_run.h"
#include "loop/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RUNS = 101, TIMES = 200, BYTES = 65536 };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *runs)
{
    qsort(runs, RUNS, sizeof *runs, compare);
    return runs[RUNS / 2];
}

static void run(wast_instance *i, uint32_t size, uint32_t times)
{
    const plan_name *x = &i->of->plan.exports[0];
    slot slots[2] = {{.u64 = size}, {.u64 = times}};
    err e;
    engine_instance *in = guest_instance(i->g, x->unit, &e);
    if (!engine_instance_ready(in))
        while (engine_poll(in) == ENGINE_YIELD)
            ;
    engine_call(in, x->lift, slots);
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (s != ENGINE_DONE) {
        fprintf(stderr, "%s\n", engine_instance_trap(in)->text);
        exit(1);
    }
}

static double call_us(wast_instance *i, uint32_t size)
{
    ns t0 = clock_mono();
    run(i, size, TIMES);
    return (double)(clock_mono() - t0) / TIMES / 1000;
}

static double memcpy_us(void)
{
    static uint8_t from[BYTES], to[BYTES];
    ns t0 = clock_mono();
    for (int n = 0; n < TIMES; n++) {
        memcpy(to, from, BYTES);
        __asm__ volatile("" : : "r"(to) : "memory");
    }
    return (double)(clock_mono() - t0) / TIMES / 1000;
}

int main(int argc, char **argv)
{
    err e = {0};
    engine_config config = engine_config_default();
    engine *en;
    loop *l;
    wast_component *c;
    wast_instance *i;
    char dir[] = "/tmp/ebb-compose-XXXXXX";
    uint8_t *p = malloc(1 * MIB);
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || !p || !mkdtemp(dir))
        return fprintf(stderr, "usage: ebb-compose-bench COMPONENT\n"), 2;
    bytes component = {p, fread(p, 1, 1 * MIB, f)};
    fclose(f);
    if (!host_init(&e) || !engine_new(&config, &en, &e) || !loop_new(&l, &e) ||
        !wast_component_new(en, l, dir, component, &c, &e) ||
        wast_instance_new(c, &i, &e) != WAST_DONE)
        return fprintf(stderr, "%s\n", e.text), 1;
    run(i, BYTES, 10);
    double copies[RUNS], empties[RUNS], fulls[RUNS];
    for (int k = 0; k < RUNS; k++) { /* in turn: a busy moment hits all three */
        copies[k] = memcpy_us();
        empties[k] = call_us(i, 0);
        fulls[k] = call_us(i, BYTES);
    }
    double copy = median(copies), empty = median(empties), full = median(fulls);
    printf("memcpy of 64 kB %.2f us, call %.2f us, call with 64 kB %.2f us; may take %.2f us\n",
           copy, empty, full, 2 * copy + 1);
    wast_instance_free(i);
    wast_component_free(c);
    host_loop_close(l);
    loop_free(l);
    engine_free(en);
    rmdir(dir);
    free(p);
    return full > 2 * copy + 1;
}
