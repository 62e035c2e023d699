/* `ebb capacity`: how many more apps of this kind fit on a node, and at what risk. The arithmetic
 * is sched/peak.h's; this reads options, or a CSV of an app's measured use, and prints. */
#include "cli/capacity.h"

#include "base/limits.h"
#include "cli/carbon_data.h"
#include "cli/options.h"
#include "sched/peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

static bool numbers_read(const options *given, capacity_options *o, err *e)
{
    const option_range ranges[] = {
        {"cpus", 1e-6, 1e9, &o->node.cpus},
        {"memory-gb", 0, 1e9, &o->memory_gb},
        {"used-mean", 0, 1e9, &o->node.used_mean},
        {"used-deviation", 0, 1e9, &o->node.used_deviation},
        {"memory-used-gb", 0, 1e9, &o->memory_used_gb},
        {"mean", 0, 1e9, &o->app.mean},
        {"deviation", 0, 1e9, &o->app.deviation},
        {"limit", 0, 1e9, &o->app.limit},
        {"memory-mb", 0, 1e9, &o->memory_mb},
        {"correlation", 0, 1, &o->app.correlation},
        {"correlation-node", -1, 1, &o->app.correlation_node},
        {"compliance", 0.5, 0.999999, &o->compliance},
    };
    o->use = options_get(given, "use")->got;
    o->json = options_get(given, "json")->given;
    return options_numbers(given, ranges, sizeof ranges / sizeof *ranges, e);
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

static bool ask(capacity_options *o, arena *a, capacity_answer *ret, err *e)
{
    if (o->use && !use_read(o, a, e))
        return false;
    o->node.memory_bytes = o->memory_gb * 1e9;
    o->node.memory_used_bytes = o->memory_used_gb * 1e9;
    o->app.memory_bytes = o->memory_mb * 1e6;
    if (o->app.limit < o->app.mean) /* not given: the mean and three deviations */
        o->app.limit = o->app.mean + 3 * o->app.deviation;
    return capacity_ask(&o->node, &o->app, o->compliance, ret, e);
}

int cli_capacity(int argc, char **argv)
{
    option rows[] = {
        {"cpus", 0, OPTION_VALUE, "N", "CPUs of the node [16]"},
        {"memory-gb", 0, OPTION_VALUE, "N", "its memory [32]"},
        {"used-mean", 0, OPTION_VALUE, "N", "CPUs of it in use now, on average [0]"},
        {"used-deviation", 0, OPTION_VALUE, "N", "and their standard deviation [0]"},
        {"memory-used-gb", 0, OPTION_VALUE, "N", "memory in use now [0]"},
        {"mean", 0, OPTION_VALUE, "N", "CPUs that an app of the kind uses on average"},
        {"deviation", 0, OPTION_VALUE, "N", "and their standard deviation"},
        {"use", 0, OPTION_VALUE, "FILE",
         "instead of both: CPU use, one number a line (a CSV's last column)"},
        {"limit", 0, OPTION_VALUE, "N", "CPUs that an app may use [mean + 3 deviations]"},
        {"memory-mb", 0, OPTION_VALUE, "N", "memory of an app [0]"},
        {"correlation", 0, OPTION_VALUE, "R", "among the new apps, 0 to 1 [0]"},
        {"correlation-node", 0, OPTION_VALUE, "R", "of them with what is there, -1 to 1 [0]"},
        {"compliance", 0, OPTION_VALUE, "N",
         "the promise, 0.99 to 0.9999: share of samples that must fit [0.999]"},
        {"json", 0, OPTION_FLAG, NULL, "for scripts"},
        {0},
    };
    options given = {.command = "capacity",
                     .summary = "How many more apps of a kind fit on a node, and at what risk.",
                     .options = rows};
    capacity_options o = {.node = {.cpus = 16}, .compliance = 0.999, .memory_gb = 32};
    capacity_answer r;
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 128 * MIB);
    if (!options_parse(&a, &given, argc, argv, &e) ||
        (!given.help && !numbers_read(&given, &o, &e)))
        return cli_fail(&e), 2;
    if (given.help)
        return 0;
    if (!ask(&o, &a, &r, &e))
        return cli_fail(&e);
    print(&o, &r);
    return 0;
}
