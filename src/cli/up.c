/* `ebb up`: serves one application on this machine. Reads the manifest, makes what is missing
 * (with progress), opens the sockets, starts the processes, says where it listens, and then only
 * waits for signals. */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/listen.h"
#include "platform/localapp.h"
#include "platform/spawn.h"
#include "platform/supervisor.h"

#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { INSTANCES_MAX = 10000 }; /* address space: engine.c */

typedef struct {
    const localapp *l;
    char address[LISTEN_ADDRESS_MAX];
    bool json, quiet;
    unsigned workers;
} up;

static bool is_listed(const app_trigger *t)
{
    return t->kind == APP_TRIGGER_HTTP && !t->is_private;
}

static str route_shown(str route, bool *ret_wildcard)
{
    *ret_wildcard = str_ends(route, S("/..."));
    if (*ret_wildcard)
        route.n -= 4;
    return route;
}

static str trigger_owner(const app *a, const app_trigger *t)
{
    return t->component == APP_NONE ? S("(static)") : a->components[t->component].id;
}

static void print_text(const up *u)
{
    const app *a = u->l->app;
    bool colours = cli_colours(STDOUT_FILENO);
    const char *bold = colours ? "\x1b[1m" : "", *plain = colours ? "\x1b[0m" : "";
    printf("\nServing %shttp://%s%s  (%u worker%s)\nAvailable Routes:\n", bold, u->address, plain,
           u->workers, u->workers == 1 ? "" : "s");
    for (size_t i = 0; i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        bool wildcard;
        if (!is_listed(t))
            continue;
        str route = route_shown(t->route, &wildcard);
        str owner = trigger_owner(a, t);
        printf("  %s%.*s%s: http://%s%s%.*s%s\n", bold, STR(owner), plain, u->address,
               route.n && route.p[0] == '/' ? "" : "/", STR(route), wildcard ? " (wildcard)" : "");
        if (t->component != APP_NONE && a->components[t->component].description.n)
            printf("    %.*s\n", STR(a->components[t->component].description));
    }
}

static json_t *json_of(str s) { return json_stringn(s.n ? s.p : "", s.n); }

static void print_json(const up *u)
{
    const app *a = u->l->app;
    char url[LISTEN_ADDRESS_MAX + 8];
    snprintf(url, sizeof url, "http://%s", u->address);
    json_t *j = json_object(), *routes = json_array(), *addresses = json_array();
    json_object_set_new(j, "base_url", json_string(url));
    json_array_append_new(addresses, json_string(u->address));
    json_object_set_new(j, "addresses", addresses);
    json_object_set_new(j, "workers", json_integer(u->workers));
    json_object_set_new(j, "pid", json_integer(getpid()));
    for (size_t i = 0; i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        bool wildcard;
        if (!is_listed(t))
            continue;
        json_t *r = json_object();
        json_object_set_new(r, "id", json_of(trigger_owner(a, t)));
        json_object_set_new(r, "route", json_of(route_shown(t->route, &wildcard)));
        json_object_set_new(r, "wildcard", json_boolean(wildcard));
        if (t->component != APP_NONE && a->components[t->component].description.n)
            json_object_set_new(r, "description", json_of(a->components[t->component].description));
        json_array_append_new(routes, r);
    }
    json_object_set_new(j, "routes", routes);
    json_dumpf(j, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(j);
}

static void on_ready(void *user)
{
    const up *u = user;
    if (u->json)
        print_json(u);
    else if (!u->quiet)
        print_text(u);
    fflush(stdout);
}

static bool workers_of(const option *o, unsigned *ret, err *e)
{
    uint64_t n;
    cpu_set_t mine; /* those this process may use: taskset and containers count */
    int cores = sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1;
    *ret = cores < 1                        ? 1
           : cores > SUPERVISOR_WORKERS_MAX ? SUPERVISOR_WORKERS_MAX
                                            : (unsigned)cores;
    if (!o->given)
        return true;
    if (!str_to_u64(str_from(o->got), SUPERVISOR_WORKERS_MAX, &n) || n == 0)
        return err_set(e, ERR_INVALID, "--workers '%s': give a number from 1 to %d", o->got,
                       SUPERVISOR_WORKERS_MAX);
    *ret = (unsigned)n;
    return true;
}

/* Sandboxes at once in a worker; 0: the default. */
static bool instances_of(const option *o, uint32_t *ret, err *e)
{
    uint64_t n = 0;
    if (o->given && (!str_to_u64(str_from(o->got), INSTANCES_MAX, &n) || n == 0))
        return err_set(e, ERR_INVALID, "--instances '%s': give a number from 1 to %d", o->got,
                       INSTANCES_MAX);
    *ret = (uint32_t)n;
    return true;
}

static bool listeners_open(str address, up *u, int *fds, err *e)
{
    if (!listen_is_free(address, e))
        return err_wrap(e, "choose another place with --listen");
    for (unsigned i = 0; i < u->workers; i++)
        if (!listen_socket(i ? str_from(u->address) : address, &fds[i], u->address, e))
            return false;
    return true;
}

static bool network_of(arena *a, const options *o, network_config *ret, err *e)
{
    const option *limits = options_get(o, "limit"), *servers = options_get(o, "name-server");
    network_options n = {.limits = limits->all,
                         .limits_count = limits->count,
                         .name_servers = servers->all,
                         .name_servers_count = servers->count,
                         .stall_ms = options_get(o, "stall-warning")->got,
                         .runtime_config_path = options_get(o, "runtime-config-file")->got};
    return network_read(a, &n, ret, e);
}

static bool serve(arena *a, const options *o, int *ret_status, err *e)
{
    const option *listen = options_get(o, "listen"), *from = options_get(o, "from");
    const option *format = options_get(o, "log-format"), *env = options_get(o, "env");
    const option *variables = options_get(o, "variable"),
                 *memory = options_get(o, "max-instance-memory");
    const option *key_values = options_get(o, "key-value"), *statements = options_get(o, "sqlite");
    up u = {.json = options_get(o, "json")->given, .quiet = options_get(o, "quiet")->given};
    int fds[SUPERVISOR_WORKERS_MAX];
    uint64_t memory_max = 0;
    bool log_json = format->given && strcmp(format->got, "json") == 0;
    if (format->given && !log_json && strcmp(format->got, "text"))
        return err_set(e, ERR_INVALID, "--log-format '%s': give text or json", format->got);
    log_init(STDERR_FILENO, log_json ? LOG_JSON : LOG_TEXT, "supervisor");
    if (memory->given && !str_to_u64(str_from(memory->got), 4 * GIB, &memory_max))
        return err_set(e, ERR_INVALID, "--max-instance-memory '%s': give bytes, at most %zu",
                       memory->got, 4 * GIB);
    localapp_options lo = {
        .from = from->given            ? from->got
                : o->positionals_count ? o->positionals[0]
                                       : NULL,
        .profile = options_get(o, "profile")->got,
        .cache_dir = options_get(o, "cache-dir")->got,
        .env = env->all,
        .env_count = env->count,
        .variables = variables->all,
        .variables_count = variables->count,
        .runtime_config_file = options_get(o, "runtime-config-file")->got,
        .key_values = key_values->all,
        .key_values_count = key_values->count,
        .statements = statements->all,
        .statements_count = statements->count,
        .state_dir = options_get(o, "state-dir")->got,
        .allow_transient_write = options_get(o, "allow-transient-write")->given,
        .memory_bytes_max = memory_max,
        .progress = u.quiet ? NULL : stderr,
    };
    localapp l;
    network_config network;
    uint32_t instances;
    if (!workers_of(options_get(o, "workers"), &u.workers, e) ||
        !instances_of(options_get(o, "instances"), &instances, e) || !network_of(a, o, &network, e))
        return false;
    lo.jobs = u.workers > 1 ? u.workers : 2;
    if (!localapp_load(a, &lo, &l, e))
        return false;
    for (size_t i = 0; i < l.app->warnings.n; i++)
        fprintf(stderr, "ebb: warning: %.*s\n", STR(l.app->warnings.at[i]));
    u.l = &l;
    l.config.network = network;
    l.config.instances_max = instances;
    l.config.log_format = log_json ? LOG_JSON : LOG_TEXT;
    _cleanup_(buf_fini) buf config;
    buf_init(&config, 512 * MIB);
    _cleanup_(buf_fini) buf store_settings;
    buf_init(&store_settings, 64 * MIB);
    bool ok =
        listeners_open(str_from(listen->given ? listen->got : "127.0.0.1:3000"), &u, fds, e) &&
        worker_config_write(&l.config, &config, e) &&
        ((!l.config.stores_count && !l.config.databases_count) ||
         store_config_write(&l.config, &store_settings, e));
    if (ok) {
        supervisor_config sc = {.config = buf_str(&config),
                                .store_config = buf_str(&store_settings),
                                .listeners = fds,
                                .workers = u.workers,
                                .on_ready = on_ready,
                                .user = &u};
        *ret_status = supervisor_run(&sc, e);
        ok = *ret_status == 0;
    }
    localapp_unload(&l);
    return ok;
}

int cli_up(int argc, char **argv)
{
    option rows[] = {
        {"from", 'f', OPTION_VALUE, "PATH", "a spin.toml, a folder with one, or a .wasm [.]"},
        {"listen", 0, OPTION_VALUE, "ADDR", "where to listen; port 0 picks one [127.0.0.1:3000]",
         "SPIN_HTTP_LISTEN_ADDR"},
        {"workers", 0, OPTION_VALUE, "N", "worker processes [one per core]"},
        {"instances", 0, OPTION_VALUE, "N", "sandboxes at once in each worker [1000]"},
        {"env", 'e', OPTION_REPEAT, "K=V", "an environment variable for every component"},
        {"variable", 0, OPTION_REPEAT, "K=V", "an application variable: K=V, K=@file, @file.json"},
        {"runtime-config-file", 0, OPTION_VALUE, "FILE",
         "where stores, databases and variables are provided", "RUNTIME_CONFIG_FILE"},
        {"key-value", 0, OPTION_REPEAT, "K=V", "sets a key of the default store first"},
        {"sqlite", 0, OPTION_REPEAT, "SQL",
         "runs a statement, or @file[:label], on the default database first"},
        {"profile", 0, OPTION_VALUE, "NAME", "the profile of the manifest to use"},
        {"allow-transient-write", 0, OPTION_FLAG, NULL,
         "components may write to their copied files"},
        {"max-instance-memory", 0, OPTION_VALUE, "BYTES", "of each linear memory",
         "SPIN_MAX_INSTANCE_MEMORY"},
        {"runtime-config-file", 0, OPTION_VALUE, "FILE",
         "[[client_tls]] and [outbound_networking] for outgoing connections",
         "RUNTIME_CONFIG_FILE"},
        {"limit", 0, OPTION_REPEAT, "NAME=N", "of the HTTP server, see docs/http.md"},
        {"name-server", 0, OPTION_REPEAT, "ADDR", "asked for names [those of /etc/resolv.conf]"},
        {"stall-warning", 0, OPTION_VALUE, "MS", "log turns of a worker's loop that take longer"},
        {"state-dir", 0, OPTION_VALUE, "DIR",
         "where stores are kept; '' keeps them in memory [.spin beside spin.toml]"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where compiled code is kept"},
        {"log-format", 0, OPTION_VALUE, "FORMAT", "text or json [text]"},
        {"json", 0, OPTION_FLAG, NULL, "print one line of JSON when ready"},
        {"quiet", 'q', OPTION_FLAG, NULL, "print nothing but errors and the log"},
        {0},
    };
    options o = {.command = "up",
                 .positional = "[PATH]",
                 .options = rows,
                 .summary = "Serves an application: every request gets a fresh sandbox."};
    err e;
    int status = 1;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 2 * GIB);
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o.help)
        return 0;
    return serve(&a, &o, &status, &e) ? status : cli_fail(&e);
}
