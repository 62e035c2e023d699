/* `ebb serve` without its command line and its API: fills a catalogue from app folders, then runs
 * the processes. For tests of the data plane and for `./dev soak density`; in the build
 * `ebb-serve-kit` it stands where `ebb sim` is.
 *
 *   ebb-serve-kit sim --data DIR [--clones N] [--only-fill] ... TENANT:APP:FOLDER[:HOST]...
 *
 * With --clones the first app is there N times, as APP-0 ... APP-(N-1), each with an artifact of
 * its own: as if its component had been built with another custom section, which changes its digest
 * and nothing of its code; so the code is compiled once and copied. */
#include "cli/options.h"
#include "cli/sim.h"

#include "base/clock.h"
#include "component/plan.h"
#include "engine/engine.h"
#include "loop/listen.h"
#include "platform/artifact.h"
#include "platform/keeper.h"
#include "platform/localapp.h"
#include "platform/node_config.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"
#include "platform/supervisor.h"
#include "store/catalogue.h"
#include "store/catalogue_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 1000 };

typedef struct {
    arena *a;
    str data;
    catalogue_db *db;
    err *e;
    char address[LISTEN_ADDRESS_MAX];
    unsigned workers;
    str quota;
    unsigned artifacts; /* of clones: the i-th has that of i modulo this */
} kit;

static str path_of(kit *k, const char *name)
{
    return arena_printf(k->a, "%.*s/%s", STR(k->data), name);
}

static bool folder(kit *k, const char *name)
{
    return mkdir(path_of(k, name).p, 0755) == 0 || errno == EEXIST ||
           err_set_errno(k->e, "%s", name);
}

static bool file_copy(const char *from, const char *to, err *e)
{
    arena a;
    bytes b;
    arena_init(&a, 256 * MIB);
    bool ok = file_load(&a, from, 256 * MIB, &b, e);
    int fd = ok ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    ok = ok && (fd >= 0 || err_set_errno(e, "%s", to)) && fd_write_all(fd, b.p, b.n, e);
    if (fd >= 0)
        close(fd);
    arena_fini(&a);
    return ok;
}

/* The n-th clone's digest. */
static str digest_of(kit *k, str base, unsigned n)
{
    char hex[65];
    str text = arena_printf(k->a, "%.*s %u", STR(base), n);
    if (!sha256_hex((bytes){(const uint8_t *)text.p, text.n}, hex, k->e))
        return (str){0};
    return arena_str(k->a, str_from(hex));
}

static bool artifact_clone(kit *k, str base_dir, str digest, size_t tail_at)
{
    str to = arena_printf(k->a, "%.*s/artifacts/%.*s%.*s", STR(k->data), STR(digest),
                          STR(str_skip(base_dir, tail_at)));
    if (mkdir(to.p, 0755) < 0)
        return errno == EEXIST || err_set_errno(k->e, "%s", to.p);
    static const char *const files[] = {"plan", "0.cwasm"};
    for (int i = 0; i < 2; i++)
        if (!file_copy(arena_printf(k->a, "%.*s/%s", STR(base_dir), files[i]).p,
                       arena_printf(k->a, "%s/%s", to.p, files[i]).p, k->e))
            return false;
    return true;
}

static bool tenant_of(kit *k, str name, uint64_t *ret)
{
    catalogue_tenant t;
    if (!catalogue_tenant_find(k->db, k->a, name, &t, k->e))
        return false;
    *ret = t.id;
    return t.id || catalogue_tenant_add(k->db, name, k->quota, 1, ret, k->e);
}

static bool app_put(kit *k, uint64_t tenant, str name, const app_config *c, str host)
{
    catalogue_app at;
    buf settings;
    buf_init(&settings, 16 * MIB);
    bool ok =
        app_config_write(c, &settings, k->e) &&
        catalogue_app_ensure(k->db, k->a, tenant, name, &at, k->e) &&
        catalogue_revision_add(k->db, &at, buf_str(&settings), NULL, 0, 3, 0, 1, k->e) &&
        (!host.n || catalogue_hosts_set(k->db, k->a, &at, &host, 1, S("localhost"), true, k->e));
    buf_fini(&settings);
    return ok;
}

static bool clones_put(kit *k, uint64_t tenant, str name, app_config *c, str dir, unsigned clones)
{
    config_component *own = (config_component *)(uintptr_t)&c->components[0];
    size_t tail = str_rfind(dir, '/') + 1 + 64;
    str base = str_head(str_skip(dir, tail - 64), 64);
    arena *all = k->a;
    for (unsigned i = 0; i < clones; i++) {
        arena a;
        arena_init(&a, 64 * MIB);
        k->a = &a;
        own->artifact = digest_of(k, base, i % k->artifacts);
        bool ok = (i % BATCH || db_run(k->db, k->e, "BEGIN", "")) &&
                  (i >= k->artifacts || artifact_clone(k, dir, own->artifact, tail)) &&
                  app_put(k, tenant, arena_printf(&a, "%.*s-%u", STR(name), i), c, (str){0}) &&
                  (((i + 1) % BATCH && i + 1 < clones) || db_run(k->db, k->e, "COMMIT", ""));
        k->a = all;
        arena_fini(&a);
        if (!ok)
            return false;
    }
    return true;
}

/* TENANT:APP:FOLDER[:HOST] */
static bool spec_put(kit *k, str spec, unsigned clones)
{
    str tenant_name = str_cut(&spec, ':'), name = str_cut(&spec, ':'), dir = str_cut(&spec, ':');
    localapp l;
    uint64_t tenant;
    localapp_options o = {.from = arena_cstr(k->a, dir),
                          .cache_dir = k->data.p,
                          .state_dir = "",
                          .log_dir = "",
                          .silent = true,
                          .jobs = 2};
    if (!localapp_load(k->a, &o, &l, k->e) || !tenant_of(k, tenant_name, &tenant))
        return false;
    size_t n = l.app->components_count;
    config_component *own = ARENA_ARRAY(k->a, config_component, n);
    memcpy(own, l.config.components, n * sizeof *own);
    str first = n ? own[0].artifact : (str){0};
    for (size_t i = 0; i < n; i++)
        if (own[i].artifact.n)
            own[i].artifact =
                str_head(str_skip(own[i].artifact, str_rfind(own[i].artifact, '/') + 1), 64);
    l.config.components = own;
    bool ok = clones ? clones_put(k, tenant, name, &l.config, first, clones)
                     : app_put(k, tenant, name, &l.config, spec);
    localapp_unload(&l);
    return ok;
}

static bool fill(kit *k, const options *o, unsigned clones)
{
    seal_key key;
    if (!seal_key_load(path_of(k, "seal.key").p, &key, k->e) ||
        !catalogue_db_open(path_of(k, "platform.db").p, &key, &k->db, k->e))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < o->positionals_count; i++)
        ok = spec_put(k, str_from(o->positionals[i]), i ? 0 : clones);
    catalogue_db_close(k->db);
    return ok;
}

static void on_ready(void *user)
{
    kit *k = user;
    printf("{\"base_url\":\"http://%s\",\"addresses\":[\"%s\"],\"workers\":%u,\"pid\":%d}\n",
           k->address, k->address, k->workers, getpid());
    fflush(stdout);
}

static uint64_t number(const options *o, const char *name, uint64_t otherwise)
{
    const option *x = options_get(o, name);
    uint64_t n = otherwise;
    if (x->given)
        str_to_u64(str_from(x->got), UINT64_MAX, &n);
    return n;
}

static bool serve(kit *k, const options *o, int *ret_status)
{
    int fds[SUPERVISOR_WORKERS_MAX], admin;
    uid_t uid;
    gid_t gid;
    const option *restore = options_get(o, "restore"), *allow = options_get(o, "egress-allow");
    node_config node = {.data_dir = k->data,
                        .log_format = LOG_JSON,
                        .workers = k->workers,
                        .egress_allow = str_from(allow->given ? allow->got : ""),
                        .instances_max = (uint32_t)number(o, "instances", 0),
                        .no_landlock = !sandbox_has_files(),
                        .restoring = str_from(restore->given ? restore->got : ""),
                        .active = {.apps_max = (uint32_t)number(o, "apps-max", 0),
                                   .modules_max = (uint32_t)number(o, "modules-max", 0),
                                   .bytes_max = number(o, "bytes-max", 0),
                                   .idle = number(o, "idle-ms", 0) * NS_PER_MS}};
    keeper_config keeper = {.log_format = LOG_JSON,
                            .node = S("kit"),
                            .usage_path = path_of(k, "usage.db"),
                            .grid = grid_config_default(),
                            .data_dir = k->data,
                            .domain = S("localhost")};
    _cleanup_(buf_fini) buf worker, store, keeper_text;
    buf_init(&worker, MIB);
    buf_init(&store, MIB);
    buf_init(&keeper_text, MIB);
    if (sandbox_user(&uid, &gid) && chown(path_of(k, "logs").p, uid, gid) < 0)
        return err_set_errno(k->e, "logs");
    for (unsigned i = 0; i < k->workers; i++)
        if (!listen_socket(i ? str_from(k->address) : str_from("127.0.0.1:0"), &fds[i], k->address,
                           k->e))
            return false;
    app_config none = {0};
    const option *names = options_get(o, "name-server"),
                 *runtime = options_get(o, "runtime-config");
    network_options network = {.workers = k->workers,
                               .name_servers = &names->got,
                               .name_servers_count = names->given,
                               .runtime_config_path = runtime->given ? runtime->got : NULL};
    if (!network_read(k->a, &network, &node.network, k->e) ||
        !listen_local(path_of(k, "admin.sock").p, &admin, k->e) ||
        !worker_config_write(&node, NULL, &worker, k->e) ||
        !store_config_write(&none, path_of(k, "state"), NULL, true, &store, k->e) ||
        !keeper_config_write(&keeper, &keeper_text, k->e))
        return false;
    supervisor_config sc = {.config = buf_str(&worker),
                            .store_config = buf_str(&store),
                            .keeper_config = buf_str(&keeper_text),
                            .directory = true,
                            .admin_listener = admin,
                            .listeners = fds,
                            .workers = k->workers,
                            .on_ready = on_ready,
                            .user = k};
    *ret_status = supervisor_run(&sc, k->e);
    return *ret_status == 0;
}

int cli_serve_kit(int argc, char **argv)
{
    option rows[] = {
        {"data", 0, OPTION_VALUE, "DIR", "the data directory"},
        {"workers", 0, OPTION_VALUE, "N", "worker processes"},
        {"clones", 0, OPTION_VALUE, "N", "of the first app"},
        {"artifacts", 0, OPTION_VALUE, "N", "of them, distinct [as many as clones]"},
        {"only-fill", 0, OPTION_FLAG, NULL, "serve nothing"},
        {"apps-max", 0, OPTION_VALUE, "N", "of a worker"},
        {"modules-max", 0, OPTION_VALUE, "N", "of a worker"},
        {"bytes-max", 0, OPTION_VALUE, "N", "of a worker"},
        {"instances", 0, OPTION_VALUE, "N", "sandboxes of a worker"},
        {"egress-allow", 0, OPTION_VALUE, "NETS", "that apps may reach"},
        {"name-server", 0, OPTION_VALUE, "ADDR", "that workers ask"},
        {"runtime-config", 0, OPTION_VALUE, "FILE", "whom outgoing TLS trusts"},
        {"quota", 0, OPTION_VALUE, "JSON", "of every tenant"},
        {"idle-ms", 0, OPTION_VALUE, "N", "of an app"},
        {"restore", 0, OPTION_VALUE, "HOW", "as of ebb up", "EBB_RESTORE"},
        {0},
    };
    options o = {.command = "sim",
                 .positional = "[TENANT:APP:FOLDER[:HOST]]...",
                 .options = rows,
                 .summary = "serves a catalogue made of folders"};
    err e;
    int status = 1;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 8 * GIB);
    kit k = {.a = &a, .e = &e};
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e);
    log_init(STDERR_FILENO, LOG_JSON, "supervisor");
    k.data = arena_str(&a, str_from(options_get(&o, "data")->got));
    const option *quota_given = options_get(&o, "quota");
    k.quota = str_from(quota_given->given ? quota_given->got : "{}");
    k.artifacts = (unsigned)number(&o, "artifacts", UINT32_MAX);
    k.workers = (unsigned)number(&o, "workers", 1);
    mkdir(k.data.p, 0755);
    bool ok = folder(&k, "artifacts") && folder(&k, "files") && folder(&k, "logs") &&
              folder(&k, "state") && fill(&k, &o, (unsigned)number(&o, "clones", 0));
    if (ok && options_get(&o, "only-fill")->given)
        return 0;
    return ok && serve(&k, &o, &status) ? status : cli_fail(&e);
}
