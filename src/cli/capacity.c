/* `ebb capacity`: how many more apps of this kind fit on a node, and at what risk. The arithmetic
 * is sched/peak.h's; this reads options, or a CSV of an app's measured use, and prints. */
#include "cli/capacity.h"

#include "base/limits.h"
#include "cli/carbon_data.h"
#include "sched/peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "ebb capacity: how many more apps of a kind fit, at what risk\n\n"
    "  the node     --cpus N --memory-gb N --used-mean N --used-deviation N (CPUs in use now)\n"
    "               --memory-used-gb N\n"
    "  the app      --mean N --deviation N --limit N (CPUs) --memory-mb N, or --use FILE: CPU "
    "use,\n"
    "               one number a line (a CSV's last column), instead of mean and deviation\n"
    "  correlation  --correlation R (among them), --correlation-node R (with what is there)\n"
    "  promise      --compliance 0.99 ... 0.9999 (0.999): share of samples that must fit\n"
    "  --json       for scripts\n";

typedef struct {
    capacity_node node;
    capacity_app app;
    double compliance, memory_gb, memory_used_gb, memory_mb;
    const char *use;
    bool json;
} capacity_options;

static bool use_read(capacity_options *o, arena *a, err *e)
{
    bytes text;
    if (!file_read(o->use, 64 * MIB, a, &text, e))
        return false;
    str rest = {(const char *)text.p, text.n};
    double n = 0, sum = 0, squares = 0;
    while (rest.n) {
        str line = str_trim(str_cut(&rest, '\n'));
        size_t comma = str_rfind(line, ',');
        str last = comma == line.n ? line : str_skip(line, comma + 1);
        char text_of[64] = {0}, *end;
        if (!last.n || last.n >= sizeof text_of)
            continue;
        memcpy(text_of, last.p, last.n);
        double v = strtod(text_of, &end);
        if (*end || !(v >= 0 && v < 1e9)) /* a header, or nonsense */
            continue;
        n++;
        sum += v;
        squares += v * v;
    }
    if (n < 2)
        return err_set(e, ERR_INVALID, "%s: fewer than two numbers", o->use);
    o->app.mean = sum / n;
    o->app.deviation = sqrt(fmax(0, (squares - sum * sum / n) / (n - 1)));
    return true;
}

static bool parse(int argc, char **argv, capacity_options *o, err *e)
{
    const struct {
        const char *name;
        double min, max, *to;
    } numbers[] = {
        {"--cpus", 1e-6, 1e9, &o->node.cpus},
        {"--memory-gb", 0, 1e9, &o->memory_gb},
        {"--used-mean", 0, 1e9, &o->node.used_mean},
        {"--used-deviation", 0, 1e9, &o->node.used_deviation},
        {"--memory-used-gb", 0, 1e9, &o->memory_used_gb},
        {"--mean", 0, 1e9, &o->app.mean},
        {"--deviation", 0, 1e9, &o->app.deviation},
        {"--limit", 0, 1e9, &o->app.limit},
        {"--memory-mb", 0, 1e9, &o->memory_mb},
        {"--correlation", 0, 1, &o->app.correlation},
        {"--correlation-node", -1, 1, &o->app.correlation_node},
        {"--compliance", 0.5, 0.999999, &o->compliance},
    };
    for (int i = 1; i < argc; i++) {
        const char *v;
        bool taken = strcmp(argv[i], "--json") == 0;
        o->json |= taken;
        for (size_t k = 0; !taken && k < sizeof numbers / sizeof *numbers; k++)
            if ((taken = option_is(argc, argv, &i, numbers[k].name, &v)) &&
                !option_number(numbers[k].name, v, numbers[k].min, numbers[k].max, numbers[k].to,
                               e))
                return false;
        if (!taken && option_is(argc, argv, &i, "--use", &v) && v) {
            o->use = v;
            taken = true;
        }
        if (!taken)
            return err_set(e, ERR_INVALID,
                           "'%s' is no option of ebb capacity; see ebb capacity --help", argv[i]);
    }
    return true;
}

static void print(const capacity_options *o, const capacity_answer *r)
{
    if (o->json) {
        printf("{\"fit\":%llu,\"by_cpu\":%llu,\"by_memory\":%llu,\"risk\":%.4g,"
               "\"oversubscription\":%.6g,\"compliance\":%.8g,\"mean\":%.6g,\"deviation\":%.6g}\n",
               (unsigned long long)r->fit, (unsigned long long)r->by_cpu,
               (unsigned long long)r->by_memory, r->risk, r->factor, o->compliance, o->app.mean,
               o->app.deviation);
        return;
    }
    printf("%llu more fit (CPU %llu, memory %llu): promised for %.4g %% of the time, expected to "
           "fail in %.2g %%\n",
           (unsigned long long)r->fit, (unsigned long long)r->by_cpu,
           (unsigned long long)r->by_memory, 100 * o->compliance, 100 * r->risk);
    printf("their limits come to %.2f x the node's CPUs\n", r->factor);
    for (int i = 1; i <= 3; i++) {
        double k = ceil((double)r->fit * (1 + 0.1 * i));
        if (r->fit >= 10)
            printf("  with %.0f: %.2g %% of the time above the node\n", k,
                   100 * capacity_risk(&o->node, &o->app, k));
    }
}

int cli_capacity(int argc, char **argv)
{
    capacity_options o = {.node = {.cpus = 16}, .compliance = 0.999, .memory_gb = 32};
    capacity_answer r;
    err e;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
    arena a;
    arena_init(&a, 128 * MIB);
    bool ok = parse(argc, argv, &o, &e) && (!o.use || use_read(&o, &a, &e));
    if (ok) {
        o.node.memory_bytes = o.memory_gb * 1e9;
        o.node.memory_used_bytes = o.memory_used_gb * 1e9;
        o.app.memory_bytes = o.memory_mb * 1e6;
        if (o.app.limit < o.app.mean) /* not given: the mean and three deviations */
            o.app.limit = o.app.mean + 3 * o.app.deviation;
        ok = capacity_ask(&o.node, &o.app, o.compliance, &r, &e);
    }
    arena_fini(&a);
    if (!ok) {
        fprintf(stderr, "ebb capacity: %s\n", e.text);
        return 1;
    }
    print(&o, &r);
    return 0;
}
