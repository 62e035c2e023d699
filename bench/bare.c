/* ninja -C build src/host/ebb-bare-bench; build/src/host/ebb-bare-bench COMPONENT...: CPU of one
 * request to an HTTP component in a bare loop over the core API: an instance, its call with ebb's
 * host functions, and what follows it, with no HTTP, loop, log or process around it. Once with a
 * new instance each time ("new"), once restored in place ("restored"), and once with a new instance
 * that gets the pages of the last one, as with `restore = false` ("moved"); medians of 7 runs, and
 * page faults. One line of JSON a component:
 *
 *   {"component": "hello.wasm", "new_us": 11.2, "new_faults": 2.0, "restored_us": 2.9, ...}
 */
#include "base/limits.h"
#include "host/wast_run.h"
#include "http/exchange_impl.h"
#include "loop/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUNS = 7, RUN_MS = 150 };

/* --- an exchange that swallows what is written ---------------------------------------------- */

static size_t answered;

static size_t x_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    *ret_state = BODY_END;
    return 0;
}
static size_t x_readable(const http_exchange *x, body_state *ret_state)
{
    *ret_state = BODY_END;
    return 0;
}
static bool x_start(http_exchange *x, const http_field *at, size_t count, err *e) { return true; }
static size_t x_room(const http_exchange *x) { return HTTP_BUFFER_BYTES; }
static void x_write(http_exchange *x, const void *p, size_t n) { answered += n; }
static void x_end(http_exchange *x, const http_field *trailers, size_t count) {}
static void x_abort(http_exchange *x, unsigned status, const http_field *at, size_t count) {}
static void x_free(http_exchange *x) {}
static const exchange_ops ops = {x_read,  x_readable, x_start, x_room,
                                 x_write, x_end,      x_abort, x_free};

/* --- one request ---------------------------------------------------------------------------- */

typedef struct {
    wast_component *c;
    host_component host;
    uint32_t unit, lift;
    bool restores;
} bare;

static _Noreturn void die(const char *text)
{
    fprintf(stderr, "ebb-bare-bench: %s\n", text);
    exit(1);
}

static void run_to_end(engine_instance *in)
{
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        ;
    if (s != ENGINE_DONE)
        die(s == ENGINE_WAIT ? "the guest waits, which a bare loop can't"
                             : engine_instance_trap(in)->text);
}

static void request(const bare *b)
{
    static const http_field fields[] = {{{"host", 4}, {"localhost", 9}}};
    static const guest_callbacks none = {0};
    static const engine_limits limits = {.memory_bytes_max = 1 * GIB,
                                         .table_elements_max = 1000000};
    http_request head = {.method = S("GET"),
                         .target = S("/"),
                         .authority = S("localhost"),
                         .scheme = S("http"),
                         .fields = fields,
                         .fields_count = 1,
                         .content_length = -1,
                         .peer = S("127.0.0.1:1")};
    http_exchange x = {.ops = &ops, .request = head, .length = -1};
    slot slots[4];
    guest *g;
    engine_instance *in;
    err e;
    if (!guest_new(&b->host, b->c->l, &none, NULL, &g, &e) ||
        !engine_instance_new(b->c->modules[b->unit], &limits, g, &in, &e))
        die(e.text);
    guest_attach(g, in);
    engine_start(in);
    run_to_end(in);
    if (!guest_http_begin(g, &x, &head, slots, &e))
        die(e.text);
    engine_call(in, b->lift, slots);
    run_to_end(in);
    if (b->c->plan.units[b->unit].lifts[b->lift].has_post_return) {
        engine_post_return(in, b->lift, slots);
        run_to_end(in);
    }
    guest_http_returned(g, false);
    if (b->restores)
        engine_instance_give(in, clock_mono());
    else
        engine_instance_free(in);
    guest_attach(g, NULL);
    guest_free(g);
}

/* --- measuring ------------------------------------------------------------------------------ */

static struct rusage usage(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u;
}

static double cpu_us(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e6 +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double measure(const bare *b, double *ret_faults)
{
    double runs[RUNS];
    for (int i = 0; i < 200; i++)
        request(b);
    for (int r = 0; r < RUNS; r++) {
        struct rusage before = usage(), after;
        size_t n = 0;
        do {
            for (int i = 0; i < 20; i++, n++)
                request(b);
            after = usage();
        } while (cpu_us(&after) - cpu_us(&before) < RUN_MS * 1000.0);
        runs[r] = (cpu_us(&after) - cpu_us(&before)) / (double)n;
        *ret_faults = (double)(after.ru_minflt - before.ru_minflt) / (double)n;
    }
    qsort(runs, RUNS, sizeof *runs, by_value);
    return runs[RUNS / 2];
}

static void bench(engine *en, loop *l, const char *dir, const char *path)
{
    err e = {0};
    bare b = {.host = {.name = S("bare"), .handles_max = 1000}};
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st))
        die(path);
    uint8_t *p = malloc((size_t)st.st_size + 1);
    bytes component = {p, p ? fread(p, 1, (size_t)st.st_size, f) : 0};
    fclose(f);
    if (!wast_component_new(en, l, dir, component, &b.c, &e) ||
        !host_http_handler(&b.c->plan, &b.unit, &b.lift, &e))
        die(e.text);
    if (b.c->plan.units_count > 1)
        die("the component is composed of several");
    double new_faults, faults, moved_faults, fresh = measure(&b, &new_faults);
    b.restores = true;
    double restored = measure(&b, &faults);
    engine_module_restore(b.c->modules[b.unit], ENGINE_RESTORE_OFF);
    double moved = measure(&b, &moved_faults);
    const char *name = strrchr(path, '/');
    printf("{\"component\": \"%s\", \"new_us\": %.2f, \"new_faults\": %.1f, \"restored_us\": %.2f, "
           "\"restored_faults\": %.1f, \"moved_us\": %.2f, \"moved_faults\": %.1f, \"kept\": %u}\n",
           name ? name + 1 : path, fresh, new_faults, restored, faults, moved, moved_faults,
           engine_kept_count(en));
    fflush(stdout);
    wast_component_free(b.c);
    free(p);
}

int main(int argc, char **argv)
{
    err e = {0};
    engine_config config = engine_config_default();
    engine *en;
    loop *l;
    char dir[] = "/tmp/ebb-bare-XXXXXX";
    if (argc < 2 || !mkdtemp(dir))
        return fprintf(stderr, "usage: ebb-bare-bench COMPONENT...\n"), 2;
    if (!host_init(&e) || !engine_new(&config, &en, &e) || !loop_new(&l, &e))
        die(e.text);
    for (int i = 1; i < argc; i++)
        bench(en, l, dir, argv[i]);
    host_loop_close(l);
    loop_free(l);
    engine_free(en);
    rmdir(dir);
    return answered == 0;
}
