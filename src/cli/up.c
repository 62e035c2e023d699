/* `ebb up`: serves one application on this machine. Reads the manifest, makes what is missing
 * (with progress), opens the sockets, starts the processes, says where it listens, and then only
 * waits for signals. */
#include "cli/build.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/up_keeper.h"

#include "app/hook.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/listen.h"
#include "platform/calls_message.h"
#include "platform/localapp.h"
#include "platform/node_config.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"
#include "platform/supervisor.h"
#include "store/queue_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INSTANCES_MAX = 10000 }; /* address space: engine.c */

typedef struct {
    const localapp *l;
    char address[LISTEN_ADDRESS_MAX];
    bool json;
    unsigned workers;
    const char *scheme;
    const certificates_source *tls; /* NULL: none */
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
    printf("\nServing %s%s://%s%s  (%u worker%s)\nAvailable Routes:\n", bold, u->scheme, u->address,
           plain, u->workers, u->workers == 1 ? "" : "s");
    for (size_t i = 0; i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        bool wildcard;
        if (!is_listed(t))
            continue;
        str route = route_shown(t->route, &wildcard);
        str owner = trigger_owner(a, t);
        printf("  %s%.*s%s: %s://%s%s%.*s%s\n", bold, STR(owner), plain, u->scheme, u->address,
               route.n && route.p[0] == '/' ? "" : "/", STR(route), wildcard ? " (wildcard)" : "");
        if (t->component != APP_NONE && a->components[t->component].description.n)
            printf("    %.*s\n", STR(a->components[t->component].description));
    }
}

static void print_json(const up *u)
{
    const app *a = u->l->app;
    char url[LISTEN_ADDRESS_MAX + 8];
    snprintf(url, sizeof url, "%s://%s", u->scheme, u->address);
    json_t *j = json_object(), *routes = json_array(), *addresses = json_array();
    json_object_set_new(j, "base_url", json_string(url));
    json_array_append_new(addresses, json_string(u->address));
    json_object_set_new(j, "addresses", addresses);
    json_object_set_new(j, "workers", json_integer(u->workers));
    json_object_set_new(j, "pid", json_integer(getpid()));
    if (u->tls && u->tls->folder) {
        json_object_set_new(j, "tls_folder", json_string(u->tls->folder));
    } else if (u->tls) {
        json_object_set_new(j, "tls_cert", json_string(u->tls->certificate_path));
        json_object_set_new(j, "tls_key", json_string(u->tls->key_path));
    }
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
    else
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

enum { PORT_TRIES = 10 };

/* The first free of PORT_TRIES ports from that of *address on, written into `place`. */
static bool port_find(str *address, char place[LISTEN_ADDRESS_MAX], err *e)
{
    str host = str_head(*address, str_rfind(*address, ':'));
    uint64_t port;
    if (!str_to_u64(str_skip(*address, host.n + 1), 65535, &port))
        return err_set(e, ERR_INVALID, "--listen '%.*s': give an address with a port",
                       STR(*address));
    for (uint64_t i = 0; i < PORT_TRIES && port + i <= 65535; i++) {
        int n = snprintf(place, LISTEN_ADDRESS_MAX, "%.*s:%u", STR(host), (unsigned)(port + i));
        if (n < 0 || n >= LISTEN_ADDRESS_MAX)
            break;
        *address = (str){place, (size_t)n};
        if (listen_is_free(*address, e))
            return true;
        if (e->code != ERR_CONFLICT)
            return false;
    }
    return err_wrap(e, "no free port among %u from %u on", PORT_TRIES, (unsigned)port);
}

static bool listeners_open(const options *o, up *u, int *fds, err *e)
{
    const option *listen = options_get(o, "listen");
    char place[LISTEN_ADDRESS_MAX];
    str address = str_from(listen->given ? listen->got : "127.0.0.1:3000");
    if (options_get(o, "find-free-port")->given) {
        if (!port_find(&address, place, e))
            return false;
    } else if (!listen_is_free(address, e)) {
        return err_wrap(e, e->code == ERR_CONFLICT ? "choose another place with --listen, or let "
                                                     "--find-free-port find one"
                                                   : "choose another place with --listen");
    }
    for (unsigned i = 0; i < u->workers; i++)
        if (!listen_socket(i ? str_from(u->address) : address, &fds[i], u->address, e))
            return false;
    return true;
}

static bool network_of(arena *a, const options *o, unsigned workers, network_config *ret, err *e)
{
    const option *limits = options_get(o, "limit"), *servers = options_get(o, "name-server"),
                 *trusted = options_get(o, "trusted-proxy");
    network_options n = {.limits = limits->all,
                         .limits_count = limits->count,
                         .name_servers = servers->all,
                         .name_servers_count = servers->count,
                         .workers = workers,
                         .trusted = trusted->all,
                         .trusted_count = trusted->count,
                         .stall_ms = options_get(o, "stall-warning")->got,
                         .runtime_config_path = options_get(o, "runtime-config-file")->got};
    return network_read(a, &n, ret, e);
}

/* What Spin takes and has no meaning here, and what cannot be honoured; each with the reason. */
typedef struct {
    const char *name, *reason;
} excuse;

static const excuse meaningless[] = {
    {"disable-cache", "compiled code is always kept, by digest, in the cache folder"},
    {"cache", "it is a file for Wasmtime's own cache; --cache-dir says where ours is"},
    {"disable-pooling", "every sandbox comes from a pool"},
    {"http1-max-buf-size", "the head of a request is bounded by a limit of the server's"},
    {"max-instance-reuse-count", "a request never gets an instance that another one used"},
    {"max-instance-concurrent-reuse-count", "an instance serves one request"},
    {"idle-instance-timeout", "instances do not outlive their request"},
    {NULL, NULL},
};

static const excuse refused[] = {
    {"debug-info", "code is compiled without information for native debuggers"},
    {"experimental-wasi-otel", "wasi:otel is not offered"},
    {NULL, NULL},
};

static bool flags_check(const options *o, err *e)
{
    for (const excuse *x = meaningless; x->name; x++)
        if (options_get(o, x->name)->given)
            fprintf(stderr, "ebb: --%s is ignored: %s\n", x->name, x->reason);
    for (const excuse *x = refused; x->name; x++)
        if (options_get(o, x->name)->given)
            return err_set(e, ERR_UNSUPPORTED, "--%s is not there: %s", x->name, x->reason);
    if (options_get(o, "quiet")->given && options_get(o, "follow")->given)
        return err_set(e, ERR_INVALID, "--quiet and --follow contradict each other; give one");
    return true;
}

/* "30", "30s", "500ms", "10us", "10ns", or a range a..b, of which b is taken. */
static bool duration_of(const option *o, ns *ret, err *e)
{
    static const struct {
        const char *suffix;
        ns factor;
    } units[] = {{"ms", NS_PER_MS}, {"us", 1000}, {"ns", 1}, {"s", NS_PER_S}, {"", NS_PER_S}};
    str text = str_from(o->got);
    uint64_t n;
    *ret = 0;
    if (!o->given)
        return true;
    for (size_t i = 0; i + 1 < text.n; i++)
        if (text.p[i] == '.' && text.p[i + 1] == '.')
            text = str_skip(text, i + 2);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        str suffix = str_from(units[i].suffix);
        if (!str_ends(text, suffix))
            continue;
        if (str_to_u64(str_head(text, text.n - suffix.n), UINT64_MAX, &n) &&
            !__builtin_mul_overflow(n, units[i].factor, ret) && *ret && *ret <= INT64_MAX)
            return true;
        break;
    }
    return err_set(e, ERR_INVALID, "--%s '%s': write it like 30s, 500ms or 1..5s", o->name, o->got);
}

/* --tls-cert and --tls-key: both or none; or a folder. *ret is NULL without. */
static bool certificates_of(const options *o, up *u, certificates_source *place, certificates **ret,
                            err *e)
{
    const option *certificate = options_get(o, "tls-cert"), *key = options_get(o, "tls-key"),
                 *folder = options_get(o, "tls-folder");
    *ret = NULL;
    u->scheme = "http";
    if (!certificate->given && !key->given && !folder->given)
        return true;
    if (folder->given && (certificate->given || key->given))
        return err_set(e, ERR_INVALID,
                       "--tls-folder and --tls-cert contradict each other; give one");
    if (!folder->given && (!certificate->given || !key->given))
        return err_set(e, ERR_INVALID,
                       "--tls-cert and --tls-key belong together; --tls-%s is missing",
                       key->given ? "cert" : "key");
    *place = (certificates_source){.certificate_path = certificate->got,
                                   .key_path = key->got,
                                   .folder = folder->given ? folder->got : NULL};
    if (!certificates_open(place, ret, e))
        return err_wrap(e, "TLS");
    if (certificates_warning(*ret))
        fprintf(stderr, "ebb: warning: %s\n", certificates_warning(*ret));
    u->scheme = "https";
    u->tls = place;
    return true;
}

static bool output_of(const options *o, up *u, bool *ret_log_json, err *e)
{
    const option *format = options_get(o, "format"), *log = options_get(o, "log-format");
    bool json = format->given && strcmp(format->got, "json") == 0;
    *ret_log_json = log->given && strcmp(log->got, "json") == 0;
    u->json = json || options_get(o, "json")->given;
    if (format->given && !json && strcmp(format->got, "plain"))
        return err_set(e, ERR_INVALID, "--format '%s': give plain or json", format->got);
    if (log->given && !*ret_log_json && strcmp(log->got, "text"))
        return err_set(e, ERR_INVALID, "--log-format '%s': give text or json", log->got);
    return true;
}

/* The app: -f, --from-file or what stands alone. */
static const char *source_of(const options *o)
{
    const option *from = options_get(o, "from"), *file = options_get(o, "from-file"),
                 *registry = options_get(o, "from-registry");
    return registry->given        ? registry->got
           : file->given          ? file->got
           : from->given          ? from->got
           : o->positionals_count ? o->positionals[0]
                                  : NULL;
}

static bool options_to_app(const options *o, const up *u, localapp_options *ret, err *e)
{
    const option *env = options_get(o, "env"), *variables = options_get(o, "variable");
    const option *memory = options_get(o, "max-instance-memory"),
                 *follow = options_get(o, "follow"), *components = options_get(o, "component-id");
    const option *key_values = options_get(o, "key-value"), *statements = options_get(o, "sqlite");
    *ret = (localapp_options){
        .from = source_of(o),
        .from_registry = options_get(o, "from-registry")->given,
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
        .components = components->all,
        .components_count = components->count,
        .insecure = options_get(o, "insecure")->given,
        .stub_imports = options_get(o, "test-stub-imports")->given,
        .temp_dir = options_get(o, "temp")->got,
        .direct_mounts = options_get(o, "direct-mounts")->given,
        .allow_transient_write = options_get(o, "allow-transient-write")->given,
        .log_dir = options_get(o, "log-dir")->got,
        .truncate_logs = options_get(o, "truncate-logs")->given,
        .silent = options_get(o, "quiet")->given,
        .follow = follow->all,
        .follow_count = follow->count,
        .progress = stderr,
        .jobs = u->workers > 1 ? u->workers : 2,
    };
    if (memory->given && !str_to_u64(str_from(memory->got), 4 * GIB, &ret->memory_bytes_max))
        return err_set(e, ERR_INVALID, "--max-instance-memory '%s': give bytes, at most %zu",
                       memory->got, 4 * GIB);
    return duration_of(options_get(o, "request-timeout"), &ret->request_timeout_ns, e);
}

static bool restoring_of(const option *o, str *ret, err *e)
{
    engine_restoring checked = {0};
    *ret = str_from(o->given ? o->got : "");
    return engine_restoring_parse(*ret, &checked, e) || err_wrap(e, "--restore");
}

/* What hooks of ended calls are signed with, for whoever checks them. */
static bool hook_secret_write(const char *path, const seal_key *key, err *e)
{
    _cleanup_(buf_fini) buf text;
    uint8_t secret[QUEUE_SECRET_BYTES];
    queue_keys *keys;
    if (!queue_keys_new(key, &keys, e))
        return false;
    bool ok = queue_secret_of(keys, CALLS_ONLY_APP, 0, secret, e);
    queue_keys_free(keys);
    if (!ok)
        return false;
    buf_init(&text, 256);
    hook_secret_put((bytes){secret, sizeof secret}, &text);
    buf_put_u8(&text, '\n');
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ok = fd >= 0 && !text.failed && write(fd, text.p, text.n) == (ssize_t)text.n;
    if (!ok)
        err_set_errno(e, "%s", path);
    if (fd >= 0)
        close(fd);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(text.p, text.n);
    return ok;
}

/* Deferred calls are kept beside the app's other state. */
static bool queue_make(arena *a, const localapp *l, store_queue *ret, err *e)
{
    str dir = l->state_dir;
    if (!dir.n)
        return err_set(e, ERR_UNSUPPORTED,
                       "the app defers calls (tool.ebb), which have to be kept somewhere: give a "
                       "--state-dir");
    str ebb = arena_printf(a, "%.*s/ebb", STR(dir));
    str key = arena_printf(a, "%.*s/seal.key", STR(ebb));
    str folder = arena_printf(a, "%.*s/queue", STR(ebb)); /* the store process may write there */
    str secret = arena_printf(a, "%.*s/hook-secret", STR(ebb));
    ret->path = arena_printf(a, "%.*s/queue.db", STR(folder));
    if (!key.p || !folder.p || !ret->path.p || !secret.p)
        return err_no_memory(e);
    if ((mkdir(ebb.p, 0700) < 0 && errno != EEXIST) ||
        (mkdir(folder.p, 0700) < 0 && errno != EEXIST))
        return err_set_errno(e, "%s", folder.p);
    return seal_key_load(key.p, &ret->key, e) && hook_secret_write(secret.p, &ret->key, e);
}

static bool store_settings_make(arena *a, const localapp *l, bool log_json, buf *out, err *e)
{
    store_queue queue = {0};
    bool defers = app_defers(l->app);
    if (!l->config.stores_count && !l->config.databases_count && !defers)
        return true;
    bool ok = (!defers || queue_make(a, l, &queue, e)) &&
              store_config_write(&l->config, S(""), &queue, log_json, out, e);
    explicit_bzero(&queue.key, sizeof queue.key);
    return ok;
}

static bool serve(arena *a, const options *o, int *ret_status, err *e)
{
    up u = {0};
    int fds[SUPERVISOR_WORKERS_MAX];
    bool log_json;
    localapp_options lo;
    localapp l;
    if (!output_of(o, &u, &log_json, e))
        return false;
    log_init(STDERR_FILENO, log_json ? LOG_JSON : LOG_TEXT, "supervisor");
    network_config network;
    uint32_t instances;
    if (!flags_check(o, e) || !workers_of(options_get(o, "workers"), &u.workers, e) ||
        !instances_of(options_get(o, "instances"), &instances, e) ||
        !network_of(a, o, u.workers, &network, e) || !options_to_app(o, &u, &lo, e))
        return false;
    str restoring;
    if (!restoring_of(options_get(o, "restore"), &restoring, e))
        return false;
    if (lo.from_registry && (options_get(o, "build")->given || options_get(o, "from-file")->given))
        return err_set(e, ERR_INVALID, "--from-registry goes with neither --build nor --from-file");
    bool is_made = lo.from_registry; /* it is as it was pushed */
    if (!is_made)
        is_made = options_get(o, "build")->given ? build_app(a, lo.from, lo.profile, e)
                                                 : build_profile_compare(a, lo.from, lo.profile, e);
    if (!is_made)
        return false;
    certificates_source tls_files;
    __attribute__((cleanup(certificates_closep))) certificates *tls = NULL;
    if (!certificates_of(o, &u, &tls_files, &tls, e) || !localapp_load(a, &lo, &l, e))
        return false;
    network.secure = tls;
    for (size_t i = 0; i < l.app->warnings.n; i++)
        fprintf(stderr, "ebb: warning: %.*s\n", STR(l.app->warnings.at[i]));
    u.l = &l;
    node_config node = {.network = network,
                        .instances_max = instances,
                        .stub_imports = options_get(o, "test-stub-imports")->given,
                        .restoring = restoring,
                        .unmetered = options_get(o, "no-meter")->given,
                        .no_landlock = options_get(o, "no-landlock")->given || !sandbox_has_files(),
                        .log_format = log_json ? LOG_JSON : LOG_TEXT};
    if (node.stub_imports)
        fprintf(stderr, "ebb: warning: imports that ebb does not offer trap when called\n");
    if (node.no_landlock) {
        log_msg(LOG_WARN, "no landlock on this kernel (or --no-landlock): what files workers reach "
                          "is left to permissions and seccomp; Linux 5.13 and later have it");
        log_flush();
    }
    _cleanup_(buf_fini) buf config;
    buf_init(&config, 512 * MIB);
    _cleanup_(buf_fini) buf store_settings;
    buf_init(&store_settings, 64 * MIB);
    _cleanup_(buf_fini) buf keeper;
    buf_init(&keeper, 64 * MIB);
    _cleanup_fd_ int admin = -1;
    str admin_path = {0};
    bool ok = up_keeper(a, &l, u.workers, node.log_format, options_get(o, "admin"),
                        options_get(o, "carbon"), &keeper, &admin, &admin_path, e) &&
              listeners_open(o, &u, fds, e) && worker_config_write(&node, &l.config, &config, e) &&
              store_settings_make(a, &l, log_json, &store_settings, e);
    if (ok) {
        supervisor_config sc = {.config = buf_str(&config),
                                .store_config = buf_str(&store_settings),
                                .keeper_config = buf_str(&keeper),
                                .defers = app_defers(l.app),
                                .admin_listener = admin,
                                .certificates = tls,
                                .admin_tcp = -1,
                                .listeners = fds,
                                .workers = u.workers,
                                .on_ready = on_ready,
                                .user = &u};
        *ret_status = supervisor_run(&sc, e);
        ok = *ret_status == 0;
    }
    if (admin_path.n)
        unlink(admin_path.p);
    localapp_unload(&l);
    return ok;
}

int cli_up(int argc, char **argv)
{
    option rows[] = {
        {"from", 'f', OPTION_VALUE, "PATH",
         "a spin.toml, a folder with one, a .wasm, or a reference to a registry [.]"},
        {"from-registry", 0, OPTION_VALUE, "REF", "an app in a registry: ghcr.io/owner/app:v1"},
        {"from-file", 0, OPTION_VALUE, "PATH", NULL, NULL, "file"},
        {"profile", 0, OPTION_VALUE, "NAME", "the profile of the manifest to use"},
        {"component-id", 'c', OPTION_REPEAT, "ID", "serve only these components"},
        {"build", 0, OPTION_FLAG, NULL, "run the build commands first", "SPIN_ALWAYS_BUILD"},
        {"insecure", 'k', OPTION_FLAG, NULL, "do not check the certificates of registries"},
        {"listen", 0, OPTION_VALUE, "ADDR", "where to listen; port 0 picks one [127.0.0.1:3000]",
         "SPIN_HTTP_LISTEN_ADDR"},
        {"tls-cert", 0, OPTION_VALUE, "FILE",
         "serve over TLS with this certificate (PEM, with its chain)", "SPIN_TLS_CERT"},
        {"tls-key", 0, OPTION_VALUE, "FILE", "and this private key (PEM)", "SPIN_TLS_KEY"},
        {"tls-folder", 0, OPTION_VALUE, "DIR",
         "certificates by name instead: NAME.crt and NAME.key, NAME/fullchain.pem and privkey.pem"},
        {"find-free-port", 0, OPTION_FLAG, NULL, "if the port is taken, try the nine after it"},
        {"workers", 0, OPTION_VALUE, "N", "worker processes [one per core]"},
        {"instances", 0, OPTION_VALUE, "N", "sandboxes at once in each worker [1000]"},
        {"no-landlock", 0, OPTION_FLAG, NULL, "do without, as on a kernel that lacks it"},
        {"env", 'e', OPTION_REPEAT, "K=V", "an environment variable for every component"},
        {"variable", 0, OPTION_REPEAT, "K=V", "an application variable: K=V, K=@file, @file.json"},
        {"key-value", 0, OPTION_REPEAT, "K=V", "sets a key of the default store first"},
        {"sqlite", 0, OPTION_REPEAT, "SQL",
         "runs a statement, or @file[:label], on the default database first"},
        {"direct-mounts", 0, OPTION_FLAG, NULL, "show guests the folders in 'files' themselves"},
        {"allow-transient-write", 0, OPTION_FLAG, NULL,
         "components may write to their copied files"},
        {"temp", 0, OPTION_VALUE, "DIR", "where copies of files are put [$TMPDIR or /tmp]", NULL,
         "tmp"},
        {"max-instance-memory", 0, OPTION_VALUE, "BYTES", "of each linear memory",
         "SPIN_MAX_INSTANCE_MEMORY"},
        {"request-timeout", 0, OPTION_VALUE, "TIME", "of each request, from beginning to end"},
        {"runtime-config-file", 0, OPTION_VALUE, "FILE",
         "providers of stores, databases and variables; TLS and networks of outgoing connections",
         "RUNTIME_CONFIG_FILE"},
        {"restore", 0, OPTION_VALUE, "HOW",
         "instances between requests: auto, pagemap, never; check=N [auto,check=10000]",
         "EBB_RESTORE"},
        {"limit", 0, OPTION_REPEAT, "NAME=N", "of the HTTP server, see docs/http.md"},
        {"trusted-proxy", 0, OPTION_REPEAT, "NET",
         "believe x-forwarded-for and x-forwarded-proto of these addresses or networks"},
        {"name-server", 0, OPTION_REPEAT, "ADDR", "asked for names [those of /etc/resolv.conf]"},
        {"stall-warning", 0, OPTION_VALUE, "MS", "log turns of a worker's loop that take longer"},
        {"state-dir", 0, OPTION_VALUE, "DIR",
         "where stores are kept; '' keeps them in memory [.spin beside spin.toml]"},
        {"admin", 0, OPTION_VALUE, "ADDR",
         "where the node answers its operator; '' nowhere [ebb/admin.sock in the state dir]"},
        {"no-meter", 0, OPTION_FLAG, NULL, "do not meter: 'ebb carbon' will know of no call"},
        {"carbon", 0, OPTION_VALUE, "FILE",
         "the grid and the power of this node, see docs/carbon.md"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where downloads and compiled code are kept"},
        {"log-dir", 'L', OPTION_VALUE, "DIR",
         "where guests' output is kept; '' keeps none [.spin/logs beside spin.toml]",
         "SPIN_LOG_DIR"},
        {"truncate-logs", 0, OPTION_FLAG, NULL, "empty those files first"},
        {"follow", 0, OPTION_REPEAT, "ID", "print only these components' output"},
        {"quiet", 'q', OPTION_FLAG, NULL, "print no component's output", NULL, "sh"},
        {"test-stub-imports", 0, OPTION_FLAG, NULL, NULL}, /* for tests: see node_config.h */
        {"log-format", 0, OPTION_VALUE, "FORMAT", "text or json [text]"},
        {"format", 0, OPTION_VALUE, "FORMAT", "of the routes printed when ready: plain or json"},
        {"json", 0, OPTION_FLAG, NULL, "the same as --format json"},
        {"disable-cache", 0, OPTION_FLAG, NULL, NULL, "DISABLE_WASMTIME_CACHE"},
        {"cache", 0, OPTION_VALUE, "FILE", NULL, "WASMTIME_CACHE_FILE"},
        {"disable-pooling", 0, OPTION_FLAG, NULL, NULL},
        {"http1-max-buf-size", 0, OPTION_VALUE, "BYTES", NULL, "SPIN_HTTP1_MAX_BUF_SIZE"},
        {"max-instance-reuse-count", 0, OPTION_VALUE, "N", NULL},
        {"max-instance-concurrent-reuse-count", 0, OPTION_VALUE, "N", NULL},
        {"idle-instance-timeout", 0, OPTION_VALUE, "TIME", NULL},
        {"debug-info", 0, OPTION_FLAG, NULL, NULL},
        {"experimental-wasi-otel", 0, OPTION_FLAG, NULL, NULL},
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
