/* `ebb serve`: hosts the apps of many tenants. The first start writes ebb.toml, makes the data
 * folder with its key, one tenant and one operator's token, and says what to type next; every start
 * opens the sockets, starts the processes, and then only waits for signals. A new build that takes
 * over (platform/upgrade.h) gets the sockets, and reads everything else anew.
 *
 *   <data>/ebb.toml      settings, commented          <data>/blobs/      what was deployed, by
 * digest <data>/platform.db   who and what is here          <data>/artifacts/  compiled code
 *   <data>/seal.key      opens what is sealed there    <data>/files/      files that guests see
 *   <data>/usage.db      what calls used               <data>/state/<app>/  key-value and SQL
 *   <data>/admin.sock    the admin API, locally        <data>/logs/<app>/   what guests print */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "loop/listen.h"
#include "platform/artifact.h"
#include "platform/certificates.h"
#include "platform/keeper.h"
#include "platform/node_config.h"
#include "platform/node_settings.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"
#include "platform/supervisor.h"
#include "platform/upgrade.h"
#include "store/catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    arena a;
    const options *o;
    str data, config; /* absolute; config: path of ebb.toml */
    node_settings settings;
    char token[64]; /* empty: there has been a start before */
    char address[LISTEN_ADDRESS_MAX], admin[LISTEN_ADDRESS_MAX];
    unsigned workers;
    int listeners[SUPERVISOR_WORKERS_MAX], admin_local, admin_tcp;
    str socket;        /* path of admin.sock */
    certificates *tls; /* NULL: none */
    bool continues;    /* another build served before us, and left this: */
    handover before;
    upgrade_self self;
} serve;

static str in_data(serve *s, const char *name)
{
    return arena_printf(&s->a, "%.*s/%s", STR(s->data), name);
}

/* --- the data folder -------------------------------------------------------------------------- */

static bool folder_make(const char *path, mode_t mode, err *e)
{
    char *z = strdup(path);
    bool ok = z != NULL;
    for (char *at = z + 1; ok && (at = strchr(at, '/')); at++) {
        *at = 0;
        ok = mkdir(z, 0755) == 0 || errno == EEXIST;
        *at = '/';
    }
    free(z);
    return (ok && (mkdir(path, mode) == 0 || errno == EEXIST)) ||
           err_set_errno(e, "the folder %s can't be made; choose another with --data", path);
}

/* --data, else what fits the user. */
static bool data_find(serve *s, err *e)
{
    const option *data = options_get(s->o, "data");
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    str dir = data->given            ? arena_str(&s->a, str_from(data->got))
              : geteuid() == 0       ? S("/var/lib/ebb")
              : xdg && *xdg == '/'   ? arena_printf(&s->a, "%s/ebb", xdg)
              : home && *home == '/' ? arena_printf(&s->a, "%s/.local/share/ebb", home)
                                     : (str){0};
    char full[PATH_MAX];
    if (!dir.p || !dir.n)
        return err_set(e, ERR_NOT_FOUND, "say where data is kept: --data DIR");
    if (!folder_make(dir.p, 0711, e))
        return false;
    if (!realpath(dir.p, full))
        return err_set_errno(e, "%s", dir.p);
    s->data = s->self.data_dir = arena_str(&s->a, str_from(full));
    return s->data.p || err_no_memory(e);
}

/* Where workers are not root, logs are written by them; the rest they only read. */
static bool folders_make(serve *s, err *e)
{
    static const struct {
        const char *name;
        mode_t mode;
        bool theirs;
    } all[] = {{"blobs", 0700, false}, {"blobs/sha256", 0700, false}, {"artifacts", 0755, false},
               {"files", 0755, false}, {"state", 0700, false},        {"queue", 0700, false},
               {"logs", 0755, true}};
    uid_t uid;
    gid_t gid;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        str path = in_data(s, all[i].name);
        if (!path.p)
            return err_no_memory(e);
        if (!folder_make(path.p, all[i].mode, e))
            return false;
        if (all[i].theirs && sandbox_user(&uid, &gid) && chown(path.p, uid, gid) < 0)
            return err_set_errno(e, "%s", path.p);
    }
    return true;
}

static bool settings_write(const char *path, err *e)
{
    _cleanup_(buf_fini) buf text;
    buf_init(&text, MIB);
    node_settings_template(&text);
    /* [queue] url may have a password. */
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(e, "the settings %s can't be written", path);
    return fd_write_all(fd, text.p, text.n, e);
}

static bool settings_load(serve *s, err *e)
{
    const option *config = options_get(s->o, "config"), *listen = options_get(s->o, "listen"),
                 *admin = options_get(s->o, "admin"), *workers = options_get(s->o, "workers");
    bytes text;
    uint64_t n;
    s->config = config->given ? str_from(config->got) : in_data(s, "ebb.toml");
    if (!s->config.p)
        return err_no_memory(e);
    if (!config->given && access(s->config.p, F_OK) < 0 && !settings_write(s->config.p, e))
        return false;
    if (!file_load(&s->a, s->config.p, TOML_BYTES_MAX, &text, e) ||
        !node_settings_read(&s->a, s->config, (str){(const char *)text.p, text.n}, &s->settings, e))
        return false;
    if (listen->given)
        s->settings.listen = str_from(listen->got);
    if (admin->given)
        s->settings.admin_listen = str_from(admin->got);
    if (workers->given && (!str_to_u64(str_from(workers->got), SUPERVISOR_WORKERS_MAX, &n) || !n))
        return err_set(e, ERR_INVALID, "--workers '%s': give a number from 1 to %d", workers->got,
                       SUPERVISOR_WORKERS_MAX);
    if (workers->given)
        s->settings.workers = n;
    cpu_set_t mine;
    int cores = sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1;
    n = s->settings.workers ? s->settings.workers : (uint64_t)cores;
    s->workers = n < SUPERVISOR_WORKERS_MAX ? (unsigned)n : SUPERVISOR_WORKERS_MAX;
    return true;
}

/* The tenant and the token of the first start, in one transaction: a start that was cut off before
 * it showed the token leaves nothing that the next would take for a first start's end. No thread is
 * made for it: the supervisor has to be the only one that gets its signals. */
typedef struct {
    catalogue_job job; /* first */
    serve *s;
} first_start;

static bool first_apply(catalogue_job *j, catalogue_db *db, err *e)
{
    serve *s = ((first_start *)j)->s;
    _cleanup_(buf_fini) buf text;
    quota q = node_settings_quota(&s->settings);
    catalogue_token t = {.role = CATALOGUE_OPERATOR,
                         .name = S("first"),
                         .made_s = (int64_t)(clock_wall() / NS_PER_S)};
    uint8_t hash[CATALOGUE_DIGEST_BYTES];
    uint64_t id;
    buf_init(&text, 4096);
    quota_write(&q, &text);
    if (!catalogue_token_make(s->token, e))
        return false;
    catalogue_token_hash(str_from(s->token), hash);
    return catalogue_tenant_add(db, S("default"), buf_str(&text), t.made_s, &id, e) &&
           catalogue_token_add(db, hash, &t, &id, e) &&
           catalogue_audit_add(db, t.made_s, 0, S("ebb serve"), S("first start"), S(""), e);
}

static bool catalogue_is_there(str path) { return access(path.p, F_OK) == 0; }

/* Makes the key only where there is no catalogue yet. */
static bool catalogue_key(serve *s, str path, seal_key *ret, err *e)
{
    str key_path = in_data(s, "seal.key");
    if (!path.p || !key_path.p)
        return err_no_memory(e);
    if (catalogue_is_there(path) && access(key_path.p, F_OK) < 0)
        return err_set(e, ERR_NOT_FOUND,
                       "%s is missing, and without it %s does not open: put back the key that it "
                       "was made with",
                       key_path.p, path.p);
    return seal_key_load(key_path.p, ret, e);
}

static bool catalogue_ready(serve *s, err *e)
{
    str path = in_data(s, "platform.db");
    catalogue_tenant *all;
    size_t n;
    seal_key key;
    catalogue_db *db = NULL;
    if (!catalogue_key(s, path, &key, e))
        return false;
    bool ok =
        catalogue_db_open(path.p, &key, &db, e) && catalogue_tenants(db, &s->a, S(""), &all, &n, e);
    first_start f = {.job = {.apply = first_apply}, .s = s};
    if (ok && !n && !catalogue_apply(db, &f.job)) {
        *e = f.job.e;
        ok = false;
    }
    catalogue_db_close(db);
    explicit_bzero(&key, sizeof key);
    return ok;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static bool address_open(str address, const char *what, int *fds, unsigned n,
                         char ret[LISTEN_ADDRESS_MAX], err *e)
{
    if (!listen_is_free(address, e))
        return err_wrap(e, "%s", what);
    for (unsigned i = 0; i < n; i++)
        if (!listen_socket(i ? str_from(ret) : address, &fds[i], ret, e))
            return err_wrap(e, "%s", what);
    return true;
}

/* Those of the build before. Where the settings would have others, it takes a new start. */
static void sockets_take(serve *s)
{
    const handover *h = &s->before;
    bool same = str_eq(s->settings.listen, h->listen) && s->workers == h->workers;
    if (!same)
        log_msg(LOG_WARN,
                "[http] listen and [node] workers stay %.*s and %zu until ebb is stopped "
                "and started again",
                STR(h->listen), h->workers);
    s->workers = (unsigned)h->workers;
    memcpy(s->listeners, h->listeners, h->workers * sizeof *s->listeners);
    s->admin_local = h->admin_local;
    s->admin_tcp = h->admin_tcp;
    s->settings.listen = h->listen;
    snprintf(s->address, sizeof s->address, "%.*s", STR(h->address));
    snprintf(s->admin, sizeof s->admin, "%.*s", STR(h->admin));
}

static bool sockets_open(serve *s, err *e)
{
    s->socket = in_data(s, "admin.sock");
    if (!s->socket.p)
        return err_no_memory(e);
    if (s->continues) {
        sockets_take(s);
        return true;
    }
    if (!listen_local(s->socket.p, &s->admin_local, e)) {
        s->socket = (str){0};
        return err_wrap(e, e->code == ERR_CONFLICT ? "another ebb serves from this folder" : "%s",
                        "admin.sock");
    }
    if (s->settings.admin_listen.n &&
        !address_open(s->settings.admin_listen, "[admin] listen", &s->admin_tcp, 1, s->admin, e))
        return false;
    return address_open(s->settings.listen, "[http] listen", s->listeners, s->workers, s->address,
                        e);
}

/* --- settings of the processes ---------------------------------------------------------------- */

/* A path of ebb.toml, relative to it; NULL where none is set. */
static const char *path_of(serve *s, str path)
{
    if (!path.n)
        return NULL;
    str folder = str_head(s->config, str_rfind(s->config, '/'));
    return path.p[0] == '/' || folder.n == s->config.n
               ? arena_cstr(&s->a, path)
               : arena_printf(&s->a, "%.*s/%.*s", STR(folder), STR(path)).p;
}

/* s->tls stays NULL without. */
static bool certificates_load(serve *s, err *e)
{
    certificates_source from = {.folder = path_of(s, s->settings.tls_folder),
                                .certificate_path = path_of(s, s->settings.tls_certificate),
                                .key_path = path_of(s, s->settings.tls_key)};
    if (!from.folder && !from.certificate_path && !from.key_path)
        return true;
    if (from.folder ? from.certificate_path || from.key_path
                    : !from.certificate_path || !from.key_path)
        return err_set(e, ERR_INVALID, "%.*s: [tls] takes a folder, or a certificate with its key",
                       STR(s->config));
    if (!certificates_open(&from, &s->tls, e))
        return err_wrap(e, "%.*s: [tls]", STR(s->config));
    if (certificates_warning(s->tls))
        log_msg(LOG_WARN, "%s", certificates_warning(s->tls));
    return true;
}

static str port_of(const char *address)
{
    str s = str_from(address);
    return str_skip(s, str_rfind(s, ':'));
}

static bool fingerprint_of(serve *s, str *ret, err *e)
{
    engine *en;
    engine_config config = engine_config_default();
    config.compiler = true;
    if (!engine_new(&config, &en, e))
        return false;
    *ret = arena_str(&s->a, engine_fingerprint(en));
    engine_free(en);
    return ret->p || err_no_memory(e);
}

static bool keeper_settings(serve *s, buf *out, err *e)
{
    static char host[256] = "node";
    _cleanup_(buf_fini) buf text;
    quota q = node_settings_quota(&s->settings);
    str port = s->settings.public_port.n
                   ? arena_printf(&s->a, ":%.*s", STR(s->settings.public_port))
                   : port_of(s->address);
    gethostname(host, sizeof host - 1);
    buf_init(&text, 4096);
    quota_write(&q, &text);
    keeper_config k = {
        .log_format = s->settings.log_json ? LOG_JSON : LOG_TEXT,
        .node = str_from(host),
        .grid = grid_config_default(),
        .usage_path = in_data(s, "usage.db"),
        .data_dir = s->data,
        .domain = s->settings.domain,
        .workers = s->workers,
        .serve = {.scheme = s->tls ? S("https") : S("http"),
                  .url_port = str_eq(port, s->tls ? S(":443") : S(":80")) ? S("") : port,
                  .admin_address = str_from(s->admin),
                  .admin_host = s->settings.admin_host,
                  .quota = arena_str(&s->a, buf_str(&text)),
                  .traces_url = s->settings.traces_url,
                  .jobs = (uint32_t)s->settings.jobs,
                  .revisions_kept = (uint32_t)s->settings.revisions_kept,
                  .queue_is_shared = s->settings.queue_url.n > 0},
    };
    const char *carbon = path_of(s, s->settings.carbon);
    str url = s->settings.traces_url;
    if (url.n && !str_starts(url, S("http://")) && !str_starts(url, S("https://")))
        return err_set(e, ERR_INVALID,
                       "[traces] url: '%.*s' is none of http:// or https://, as in "
                       "http://127.0.0.1:4318/v1/traces",
                       STR(url));
    return (!carbon || grid_config_load(&s->a, carbon, &k.grid, e)) &&
           fingerprint_of(s, &k.serve.fingerprint, e) && keeper_config_write(&k, out, e);
}

static bool worker_settings(serve *s, buf *out, err *e)
{
    const option *limits = options_get(s->o, "limit");
    const char *trusted = arena_cstr(&s->a, s->settings.trusted_proxies);
    network_options n = {.limits = limits->all,
                         .limits_count = limits->count,
                         .trusted = &trusted,
                         .trusted_count = trusted ? 1 : 0};
    node_config c = {.log_format = s->settings.log_json ? LOG_JSON : LOG_TEXT,
                     .instances_max = (uint32_t)s->settings.instances,
                     .no_landlock = !sandbox_has_files(),
                     .data_dir = s->data,
                     .active = {.apps_max = (uint32_t)s->settings.apps_held,
                                .modules_max = (uint32_t)s->settings.modules_held,
                                .bytes_max = s->settings.bytes_held,
                                .idle = s->settings.idle_s * NS_PER_S},
                     .egress_allow = s->settings.egress_allow,
                     .traces_one_in =
                         s->settings.traces_url.n ? (uint32_t)s->settings.traces_one_in : 0,
                     .workers = s->workers};
    if (c.no_landlock)
        log_msg(LOG_WARN, "no landlock on this kernel: what files workers reach is left to "
                          "permissions and seccomp; Linux 5.13 and later have it");
    if (!network_read(&s->a, &n, &c.network, e))
        return false;
    c.network.secure = s->tls != NULL;
    return worker_config_write(&c, NULL, out, e);
}

/* --- the way through -------------------------------------------------------------------------- */

static void print_text(const serve *s)
{
    bool colours = cli_colours(STDOUT_FILENO);
    const char *bold = colours ? "\x1b[1m" : "", *plain = colours ? "\x1b[0m" : "";
    const char *port = port_of(s->address).p;
    printf("Apps   %s%s://<app>-<tenant>.%.*s%s%s  (%s, %u worker%s)\n", bold,
           s->tls ? "https" : "http", STR(s->settings.domain), port, plain, s->address, s->workers,
           s->workers == 1 ? "" : "s");
    printf("Admin  %s%s%s  and %s\n", s->admin[0] ? "http://" : "", s->admin[0] ? s->admin : "",
           s->admin[0] ? "" : "only", s->socket.p);
    printf("Data   %.*s\n", STR(s->data));
    if (s->token[0])
        printf("\nThis is the first start. The operator's token, shown this once:\n\n    %s%s%s\n"
               "\nNext, in another terminal, in a folder with a spin.toml:\n\n"
               "    ebb login http://%s --token %s && ebb deploy\n\n",
               bold, s->token, plain, s->admin[0] ? s->admin : "127.0.0.1:3001", s->token);
}

static void print_json(const serve *s)
{
    json_t *j = json_pack("{s:s,s:s,s:s%,s:s%,s:i,s:i}", "address", s->address, "admin", s->admin,
                          "data", s->data.p, s->data.n, "domain", s->settings.domain.p,
                          s->settings.domain.n, "workers", (int)s->workers, "pid", (int)getpid());
    if (s->token[0])
        json_object_set_new(j, "token", json_string(s->token));
    json_dumpf(j, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(j);
}

static void on_ready(void *user)
{
    serve *s = user;
    if (s->continues)
        return;
    if (options_get(s->o, "json")->given)
        print_json(s);
    else
        print_text(s);
    fflush(stdout);
    explicit_bzero(s->token, sizeof s->token);
}

static bool store_settings(serve *s, buf *out, err *e)
{
    app_config none = {0};
    str dir = arena_printf(&s->a, "%.*s/state", STR(s->data));
    str key_path = in_data(s, "seal.key");
    str url = s->settings.queue_url;
    store_queue queue = {.path = url.n ? S("") : in_data(s, "queue/queue.db"), .url = url};
    if (!dir.p || !key_path.p || !queue.path.p)
        return err_no_memory(e);
    bool ok = seal_key_load(key_path.p, &queue.key, e) &&
              store_config_write(&none, dir, &queue, s->settings.log_json, out, e);
    explicit_bzero(&queue.key, sizeof queue.key);
    return ok;
}

static bool catalogue_check(serve *s, err *e)
{
    str path = in_data(s, "platform.db");
    seal_key key;
    if (!path.p)
        return err_no_memory(e);
    if (!catalogue_is_there(path))
        return true;
    bool ok = catalogue_key(s, path, &key, e) && catalogue_schema_check(path.p, e);
    explicit_bzero(&key, sizeof key);
    return ok;
}

/* Whether a start with these settings would come as far as its sockets. Nothing is changed. */
static bool check(serve *s, buf *keeper, buf *worker, err *e)
{
    return certificates_load(s, e) && catalogue_check(s, e) && keeper_settings(s, keeper, e) &&
           worker_settings(s, worker, e);
}

static bool run(serve *s, int *ret_status, err *e)
{
    _cleanup_(buf_fini) buf store;
    buf_init(&store, MIB);
    _cleanup_(buf_fini) buf worker;
    buf_init(&worker, 64 * MIB);
    _cleanup_(buf_fini) buf keeper;
    buf_init(&keeper, 64 * MIB);
    umask(022);
    if (!handover_take(&s->a, &s->before, &s->continues, e) || !data_find(s, e) ||
        !settings_load(s, e))
        return false;
    if (s->continues && (!s->before.workers || s->before.workers > SUPERVISOR_WORKERS_MAX))
        return err_set(e, ERR_INVALID, "what the build before us has left names no worker");
    log_init(STDERR_FILENO, s->settings.log_json ? LOG_JSON : LOG_TEXT, "supervisor");
    if (options_get(s->o, "check")->given) {
        *ret_status = check(s, &keeper, &worker, e) ? 0 : 1;
        return *ret_status == 0;
    }
    if (!folders_make(s, e))
        return false;
    bool ok = certificates_load(s, e) && sockets_open(s, e) && catalogue_ready(s, e) &&
              keeper_settings(s, &keeper, e) && worker_settings(s, &worker, e) &&
              store_settings(s, &store, e);
    if (!ok && s->continues)
        upgrade_report(s->data, false, e->text);
    if (ok) {
        supervisor_config sc = {.config = buf_str(&worker),
                                .store_config = buf_str(&store),
                                .keeper_config = buf_str(&keeper),
                                .directory = true,
                                .defers = true,
                                .admin_listener = s->admin_local,
                                .admin_tcp = s->admin_tcp,
                                .certificates = s->tls,
                                .listeners = s->listeners,
                                .workers = s->workers,
                                .on_ready = on_ready,
                                .user = s,
                                .self = &s->self,
                                .listen = s->settings.listen,
                                .address = str_from(s->address),
                                .admin = str_from(s->admin),
                                .before = s->continues ? &s->before : NULL};
        *ret_status = supervisor_run(&sc, e);
        ok = *ret_status == 0;
    }
    if (s->socket.n)
        unlink(s->socket.p);
    fd_close(&s->admin_local);
    fd_close(&s->admin_tcp);
    certificates_close(s->tls);
    return ok;
}

int cli_serve(int argc, char **argv)
{
    option rows[] = {
        {"data", 0, OPTION_VALUE, "DIR",
         "where everything is kept [/var/lib/ebb, or ~/.local/share/ebb]", "EBB_DATA"},
        {"config", 0, OPTION_VALUE, "FILE", "settings [ebb.toml in the data folder]"},
        {"listen", 0, OPTION_VALUE, "ADDR", "where apps answer, instead of [http] listen"},
        {"admin", 0, OPTION_VALUE, "ADDR", "the admin API, instead of [admin] listen; '' nowhere"},
        {"workers", 0, OPTION_VALUE, "N", "worker processes, instead of [node] workers"},
        {"limit", 0, OPTION_REPEAT, "NAME=N", "of the HTTP server, see docs/http.md"},
        {"json", 0, OPTION_FLAG, NULL, "say where it listens as JSON"},
        {"check", 0, OPTION_FLAG, NULL, "only say whether it would start with these settings"},
        {0},
    };
    options o = {.command = "serve",
                 .options = rows,
                 .summary = "Hosts the apps of many tenants; one that nobody calls costs nothing."};
    static serve s;
    err e;
    int status = 1;
    s = (serve){.o = &o, .admin_local = -1, .admin_tcp = -1};
    arena_init(&s.a, GIB);
    sigset_t later; /* until the supervisor waits for it */
    sigemptyset(&later);
    sigaddset(&later, SIGUSR2);
    sigprocmask(SIG_BLOCK, &later, NULL);
    str path;
    bool parsed = upgrade_path(&s.a, program_invocation_name, &path, &e) &&
                  options_parse(&s.a, &o, argc, argv, &e);
    s.self.path = path.p;
    s.self.argv = argv - 1; /* main passed its own on, from the command */
    if (parsed && !o.help && !run(&s, &status, &e))
        status = cli_fail(&e);
    else if (!parsed)
        cli_fail(&e);
    arena_fini(&s.a);
    return !parsed ? 2 : o.help ? 0 : status;
}
