/* "Is serverless greener, and when?" The same trace through four ways of hosting it: a VM or
 * process always on, containers kept alive, pre-warmed microVMs, and ebb; joules, grams operational
 * and embodied, machines, p99, and the utilisation at which always-on breaks even.
 *
 * A model, and only as good as its parameters: each is listed in against_defaults() with where it
 * comes from, and all can be set. Machines are whole servers of one kind, counted at the peak of
 * each resource. Nothing here flatters ebb silently: its per-call cost, its slower code and its
 * resident memory are parameters like the others'. */
#pragma once

#include "base/err.h"
#include "sched/population.h"

typedef enum { HOST_ALWAYS_ON, HOST_CONTAINER, HOST_MICROVM, HOST_EBB } host_kind;
enum { HOST_KINDS = 4 };
const char *host_kind_name(host_kind k); /* "always-on", "container", "microvm", "ebb" */

typedef struct {
    double keep_alive_s;  /* instances stay this long after their last call; INFINITY: always */
    double start_s;       /* a cold start as a caller feels it */
    double start_cpu_s;   /* and its CPU */
    double call_cpu_s;    /* overhead per call on top of native */
    double code_factor;   /* CPU time of the guest's code against native */
    double idle_cpu;      /* CPUs of an instance that waits */
    double memory_bytes;  /* overhead per instance, besides the app's own */
    double dormant_bytes; /* per app without an instance */
    double pool;          /* pre-warmed instances as a share of those in use */
    double cpu_reserved;  /* CPUs promised per instance, for packing */
} host_params;

typedef struct {
    host_params host[HOST_KINDS];
    double server_cpus, server_memory_bytes, server_idle_w, server_busy_w; /* busy: J per CPU-s */
    double server_embodied_g_per_s, intensity_g_per_kwh;
} against_config;

typedef struct {
    double cpu_s, instance_s, joules, operational_g, embodied_g;
    double need;            /* servers, exactly: what it takes of a fleet that others fill up */
    double fleet_g;         /* grams, operational and embodied, of that share */
    double machines;        /* whole: what it takes alone; joules and grams are theirs */
    double cold_apps;       /* share of apps of whose calls more than 1 % are cold */
    double cold_share;      /* of calls */
    double p99_added_s;     /* latency beyond the code's own, 99th percentile over calls */
    double utilisation_pct; /* of the machines */
    uint64_t calls;
} against_row;

typedef struct {
    against_row row[HOST_KINDS];
    /* Mean utilisation of one whole server by one app above which a server always on has fewer
     * grams than ebb; above 1: never. */
    double break_even;
} against_result;

against_config against_defaults(void);
/* hours of the population, from a Monday. */
bool against_run(const against_config *c, const population_config *p, size_t hours, arena *a,
                 against_result *ret, err *e);
