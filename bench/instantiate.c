/* ebb-instantiate-bench ARTIFACT...: what a new instance of a real component costs, made and
 * dropped with no call between, and its artifact's mapping and linking. An ARTIFACT is a folder of
 * the cache, as `ebb up` or `ebb inspect` left it; its first unit is taken, all imports are traps.
 *
 *     ninja -C build src/engine/ebb-instantiate-bench
 *     taskset -c 1 build/src/engine/ebb-instantiate-bench ~/.cache/ebb/artifacts/...
 *
 * Prints the median of 21 rounds of 200, the smallest and the largest. */
#include "engine/engine.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 21, TIMES = 200 };

static const engine_limits limits = {.memory_bytes_max = 1 << 30, .table_elements_max = 1000000};

static _Noreturn void die(const err *e)
{
    fprintf(stderr, "%s\n", e->text);
    exit(1);
}

static bytes file_read(arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) < 0) {
        perror(path);
        exit(1);
    }
    size_t n = (size_t)ftell(f);
    uint8_t *p = arena_alloc(a, n);
    rewind(f);
    n = p ? fread(p, 1, n, f) : 0;
    fclose(f);
    return (bytes){p, n};
}

static void make_and_drop(engine_module *m)
{
    engine_instance *in;
    err e;
    if (!engine_instance_new(m, &limits, NULL, &in, &e))
        die(&e);
    engine_start(in);
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (s != ENGINE_DONE) {
        fprintf(stderr, "%s\n", engine_instance_trap(in)->text);
        exit(1);
    }
    engine_instance_free(in);
}

static int by_value(const void *a, const void *b)
{
    ns x = *(const ns *)a, y = *(const ns *)b;
    return x < y ? -1 : x > y;
}

static void measure(engine *en, const char *dir)
{
    _cleanup_(arena_fini) arena a;
    char path[4096];
    plan p;
    engine_module *m;
    ns rounds[ROUNDS];
    err e;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    snprintf(path, sizeof path, "%s/plan", dir);
    if (!plan_decode(&a, file_read(&a, path), &p, &e))
        die(&e);
    engine_import *imports = ARENA_ARRAY(&a, engine_import, p.units[0].imports_count + 1);
    snprintf(path, sizeof path, "%s/0.cwasm", dir);
    ns open = clock_mono();
    engine_links *links = NULL;
    const plan_unit *u = &p.units[0];
    if (!imports || !engine_links_new(en, u->imports, imports, u->imports_count, &links, &e) ||
        !engine_module_open(en, path, u, links, &m, &e))
        die(&e);
    engine_links_drop(links);
    open = clock_mono() - open;
    for (int k = 0; k < TIMES; k++)
        make_and_drop(m);
    for (int r = 0; r < ROUNDS; r++) {
        ns begun = clock_mono();
        for (int k = 0; k < TIMES; k++)
            make_and_drop(m);
        rounds[r] = (clock_mono() - begun) / TIMES;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    printf("%.12s, %u imports: made and dropped in %.2f us (%.2f to %.2f), "
           "mapped and linked in %.0f us\n",
           strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir, p.units[0].imports_count,
           (double)rounds[ROUNDS / 2] / 1e3, (double)rounds[0] / 1e3,
           (double)rounds[ROUNDS - 1] / 1e3, (double)open / 1e3);
    engine_module_close(m);
}

int main(int argc, char **argv)
{
    engine_config config = engine_config_default();
    engine *en;
    err e;
    if (argc < 2)
        return fprintf(stderr, "usage: ebb-instantiate-bench ARTIFACT...\n"), 2;
    if (!engine_new(&config, &en, &e))
        die(&e);
    for (int i = 1; i < argc; i++)
        measure(en, argv[i]);
    engine_free(en);
    return 0;
}
