/* Loading a component into a worker, and letting it go; see hosted.h. Everything but the module is
 * in one arena, so that a load that fails half-way, or an unload, is one arena_fini. The plan was
 * written by the decode process and is checked again here, by plan_decode. */
#include "platform/hosted.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "platform/artifact.h"
#include "platform/served.h"
#include "platform/spawn.h"
#include "store/kv_view.h"

#include <fcntl.h>
#include <unistd.h>

enum { OUTPUT_LINE_BYTES_MAX = 4096 };

void hosted_init(hosted *h, served *of, size_t index)
{
    const app_component *component = &of->config.app->components[index];
    *h = (hosted){.app = component,
                  .config = &of->config.components[index],
                  .of = of,
                  .log = {.out = -1, .err = -1},
                  .place = {.running_max = component->settings.concurrency_max,
                            .queued_max = component->settings.queue_max}};
    arena_init_level(&h->a, 256 * MIB);
}

static bool outbound_allowed(void *user, const outbound_rules *own, str scheme, str host,
                             uint16_t port)
{
    const hosted *h = user;
    return outbound_allows(own ? own : &h->outbound, scheme, host, port);
}

static void outbound_denied(void *user, str scheme, str host, uint16_t port)
{
    const hosted *h = user;
    arena a;
    arena_init(&a, 64 * KIB);
    log_line(LOG_WARN, "denied");
    log_str("component", h->app->id);
    log_str("reason", outbound_denial(&a, h->app->id, scheme, host, port));
    log_end();
    arena_fini(&a);
}

static bool address_blocked(void *user, const uint8_t *address, size_t n)
{
    const hosted *h = user;
    return network_is_blocked(&h->of->all->node->network, address, n) ||
           (h->of->config.id && egress_is_blocked(&h->of->egress, address, n));
}

/* Is there a component of that name which answers requests? */
static bool is_served(const app *of, str id)
{
    for (size_t i = 0; i < of->triggers_count; i++) {
        const app_trigger *t = &of->triggers[i];
        if (t->kind == APP_TRIGGER_HTTP && t->component != APP_NONE &&
            str_eq(of->components[t->component].id, id))
            return true;
    }
    return false;
}

static host_chain chain_target(void *user, const outbound_rules *own, str scheme, str host)
{
    const hosted *h = user;
    const outbound_rules *rules = own ? own : &h->outbound;
    str id = outbound_chained_component(host);
    if (!host.n || str_eq(host, S("self.alt")))
        return outbound_allows_self(rules, host.n ? scheme : S("http")) ? CHAIN_INSIDE
                                                                        : CHAIN_DENIED;
    if (!id.p)
        return CHAIN_OUTSIDE;
    if (!outbound_allows(rules, scheme, host, 0))
        return CHAIN_DENIED;
    return is_served(h->of->config.app, id) ? CHAIN_INSIDE : CHAIN_NOWHERE;
}

static void chain_begin(void *user, http_exchange *x, str host)
{
    const hosted *h = user;
    served_begin_inside(h->of, x, outbound_chained_component(host));
}

/* On another thread: touches only what never changes. */
static bool variable_now(const void *user, str name, arena *a, str *ret_value, err *e)
{
    const hosted *h = user;
    variable_status s =
        variable_get(h->of->config.app, h->app, h->providers, name, a, ret_value, e);
    if (s == VARIABLE_OK)
        return true;
    if (s != VARIABLE_UNDEFINED && e->code == ERR_NOT_FOUND)
        e->code = ERR_IO;
    return false;
}

/* On another thread, as variable_now. */
static bool outbound_now(const void *user, arena *a, outbound_rules *ret, err *e)
{
    const hosted *h = user;
    str_list hosts = {0};
    if (!outbound_expand(h->of->config.app, h->app, h->providers, a, &hosts, e) ||
        !outbound_rules_parse(a, hosts.at, NULL, hosts.n, ret, e))
        return err_wrap(e, "allowed_outbound_hosts");
    return true;
}

static http_field *fields_of(arena *a, const app_pairs *pairs)
{
    http_field *f = ARENA_ARRAY(a, http_field, pairs->n + 1);
    for (size_t i = 0; f && i < pairs->n; i++)
        f[i] = (http_field){pairs->at[i].key, pairs->at[i].value};
    return f;
}

/* What a component was granted of stores or databases, by their numbers. */
static struct host_store *granted(hosted *h, const str_list *labels)
{
    return ARENA_ARRAY(&h->a, struct host_store, labels->n + 1);
}

/* With a view for reading, where it is in a file. */
static bool store_make(hosted *h, size_t k, struct host_store *ret, err *e)
{
    const app_config *all = &h->of->config;
    str path = all->stores[k].path;
    if (!served_store(h->of, k, false, &ret->store, e))
        return false;
    if (all->id)
        path = arena_printf(&h->a, "%llu", (unsigned long long)all->id); /* one file an app */
    if (h->of->all->store && path.n)
        ret->view = kv_view_take(h->of->all->store, (uint16_t)ret->store, path);
    return true;
}

static bool stores_make(hosted *h, err *e)
{
    const app_config *all = &h->of->config;
    const str_list *kv = &h->app->key_value_stores, *sql = &h->app->sqlite_databases;
    struct host_store *stores = granted(h, kv), *databases = granted(h, sql);
    if (!stores || !databases)
        return err_no_memory(e);
    for (size_t i = 0; i < kv->n; i++) {
        stores[i] = (struct host_store){kv->at[i], HOST_STORE_NONE, NULL};
        for (size_t k = 0; k < all->stores_count; k++)
            if (str_eq(all->stores[k].label, kv->at[i]) && !store_make(h, k, &stores[i], e))
                return false;
    }
    for (size_t i = 0; i < sql->n; i++) {
        databases[i] = (struct host_store){sql->at[i], HOST_STORE_NONE, NULL};
        for (size_t k = 0; k < all->databases_count; k++)
            if (str_eq(all->databases[k].label, sql->at[i]) &&
                !served_store(h->of, k, true, &databases[i].store, e))
                return false;
    }
    h->host.key_value_stores = stores;
    h->host.key_value_stores_count = kv->n;
    h->host.sql_databases = databases;
    h->host.sql_databases_count = sql->n;
    h->host.store = h->of->all->store;
    return true;
}

static bool preopens_make(hosted *h, err *e)
{
    const app_pairs *mounts = &h->config->mounts;
    h->preopens = ARENA_ARRAY(&h->a, struct host_preopen, mounts->n + 1);
    if (!h->preopens)
        return err_no_memory(e);
    for (size_t i = 0; i < mounts->n; i++) {
        int fd = open(mounts->at[i].value.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_set_errno(e, "the component's files (%.*s)", STR(mounts->at[i].value));
        h->preopens[h->host.preopens_count++] =
            (struct host_preopen){mounts->at[i].key, fd, h->of->config.allow_transient_write};
    }
    h->host.preopens = h->preopens;
    return true;
}

static bool host_component_make(hosted *h, err *e)
{
    const app_component *c = h->app;
    h->host = (host_component){
        .name = c->id,
        .environment = fields_of(&h->a, &c->environment),
        .environment_count = c->environment.n,
        .variables = fields_of(&h->a, &h->config->variables),
        .variables_count = h->config->variables.n,
        .outbound_allowed = outbound_allowed,
        .outbound_rules =
            h->of->config.providers.ask_again && outbound_has_variables(c) ? outbound_now : NULL,
        .outbound_denied = outbound_denied,
        .address_blocked = address_blocked,
        .outbound_user = h,
        .owner = h->of->config.tenant,
        .variable_get = h->of->config.providers.ask_again ? variable_now : NULL,
        .chain_target = chain_target,
        .chain_begin = chain_begin,
        .handles_max = c->settings.resources_max ? c->settings.resources_max : HOST_HANDLES_MAX,
        .output_line_bytes_max = OUTPUT_LINE_BYTES_MAX,
        .request_body_bytes_max = c->settings.request_body_bytes_max,
        .response_body_bytes_max = c->settings.response_body_bytes_max,
        .clock_resolution_ns = c->settings.clock_resolution_ns,
    };
    if (!h->host.environment || !h->host.variables)
        return err_no_memory(e);
    if (!network_tls_of(&h->a, &h->of->all->node->network, c->id, &h->host.tls, &h->host.tls_count))
        return err_no_memory(e);
    if (!stores_make(h, e))
        return false;
    if (!outbound_rules_parse(&h->a, h->config->outbound.at, NULL, h->config->outbound.n,
                              &h->outbound, e))
        return err_wrap(e, "allowed_outbound_hosts");
    return preopens_make(h, e);
}

bool hosted_outside(hosted *h, arena *a, host_component *ret, outbound_rules *ret_rules, err *e)
{
    const str_list *rules = &h->config->outbound;
    *ret = (host_component){.name = h->app->id,
                            .address_blocked = address_blocked,
                            .outbound_user = h,
                            .owner = h->of->config.tenant};
    if (!network_tls_of(a, &h->of->all->node->network, h->app->id, &ret->tls, &ret->tls_count))
        return err_no_memory(e);
    return outbound_rules_parse(a, rules->at, NULL, rules->n, ret_rules, e);
}

/* --- what dependencies do not have ------------------------------------------------------------ */

_Static_assert((int)APP_INHERIT_AI_MODELS == COMPOSITION_AI_MODELS &&
                   (int)APP_INHERIT_ALLOWED_OUTBOUND_HOSTS == COMPOSITION_OUTBOUND_HOSTS &&
                   (int)APP_INHERIT_ENVIRONMENT == COMPOSITION_ENVIRONMENT &&
                   (int)APP_INHERIT_FILES == COMPOSITION_FILES &&
                   (int)APP_INHERIT_KEY_VALUE_STORES == COMPOSITION_KEY_VALUE_STORES &&
                   (int)APP_INHERIT_SQLITE_DATABASES == COMPOSITION_SQLITE_DATABASES &&
                   (int)APP_INHERIT_VARIABLES == COMPOSITION_VARIABLES &&
                   (int)APP_INHERIT_ALL == COMPOSITION_ALL,
               "the manifest and the plan name capabilities by the same bits");

static void dependency_denied(void *user, str scheme, str host, uint16_t port)
{
    const hosted *h = user;
    arena a;
    arena_init(&a, 64 * KIB);
    log_line(LOG_WARN, "denied");
    log_str("component", h->app->id);
    log_str(
        "reason",
        arena_printf(&a,
                     "a dependency asked for %.*s://%.*s:%u, which dependencies may not; let it "
                     "have inherit_configuration = [\"allowed_outbound_hosts\"] in "
                     "[component.%.*s.dependencies]",
                     STR(scheme), STR(host), port, STR(h->app->id)));
    log_end();
    arena_fini(&a);
}

static void withhold(host_component *c, uint32_t what)
{
    if (what & COMPOSITION_ENVIRONMENT)
        c->environment_count = 0;
    if (what & COMPOSITION_VARIABLES)
        c->variables_count = 0;
    if (what & COMPOSITION_FILES)
        c->preopens_count = 0;
    if (what & COMPOSITION_KEY_VALUE_STORES)
        c->key_value_stores_count = 0;
    if (what & COMPOSITION_SQLITE_DATABASES)
        c->sql_databases_count = 0;
    if (what & COMPOSITION_OUTBOUND_HOSTS) {
        c->outbound_allowed = NULL;
        c->chain_target = NULL;
        c->outbound_denied = dependency_denied;
    }
}

/* A dependency is like a component that was granted nothing, but for what it inherits. */
static bool units_make(hosted *h, err *e)
{
    uint32_t n = h->plan.units_count, all = 0;
    for (uint32_t k = 0; k < n; k++)
        all |= h->plan.units[k].withheld;
    if (!all)
        return true;
    const host_component **units = ARENA_ARRAY(&h->a, const host_component *, n);
    host_component *own = ARENA_ARRAY(&h->a, host_component, n);
    if (!units || !own)
        return err_no_memory(e);
    for (uint32_t k = 0; k < n; k++) {
        own[k] = h->host;
        withhold(&own[k], h->plan.units[k].withheld);
        units[k] = h->plan.units[k].withheld ? &own[k] : &h->host;
    }
    h->host.units = units;
    return true;
}

static bool load(hosted *h, host_linker *linker, err *e)
{
    if (!artifact_plan(&h->a, h->config->artifact, &h->plan, e) ||
        !host_link(linker, &h->plan, &h->linked, e) ||
        !host_http_handler(&h->plan, &h->unit, &h->lift, e) || !host_component_make(h, e) ||
        !units_make(h, e))
        return false;
    h->modules = ARENA_ARRAY(&h->a, engine_module *, h->plan.units_count);
    if (!h->modules)
        return err_no_memory(e);
    for (uint32_t k = 0; k < h->plan.units_count; k++) {
        str path = artifact_module_path(&h->a, h->config->artifact, k);
        if (!path.p)
            return err_no_memory(e);
        if (!engine_module_open(host_linker_engine(linker), path.p, &h->plan.units[k],
                                host_linked_links(h->linked, k), &h->modules[k], e))
            return false;
    }
    h->module = h->modules[h->unit];
    h->bytes = h->a.used_bytes + h->plan.units_count * HOSTED_MODULE_BYTES;
    h->of->all->bytes += h->bytes;
    h->of->all->modules += h->plan.units_count;
    bool is_composed = h->plan.units_count > 1; /* its instances are never given back */
    for (uint32_t k = 0; k < h->plan.units_count; k++)
        if (is_composed || h->app->settings.no_restore)
            engine_module_restore(h->modules[k], ENGINE_RESTORE_OFF);
        else if (h->app->settings.restore_after_start)
            engine_module_restore(h->modules[k], ENGINE_RESTORE_AFTER_START);
    h->place.size = h->plan.units_count;
    return true;
}

bool hosted_load(hosted *h, host_linker *linker, err *e)
{
    if (h->module)
        return true;
    if (load(h, linker, e))
        return true;
    hosted_unload(h);
    return err_wrap(e, "component '%.*s'", STR(h->app->id));
}

void hosted_unload(hosted *h)
{
    must(h->calls == 0);
    if (h->module) {
        h->of->all->bytes -= h->bytes;
        h->of->all->modules -= h->plan.units_count;
    }
    for (uint32_t k = 0; h->modules && k < h->plan.units_count; k++)
        engine_module_close(h->modules[k]);
    h->modules = NULL;
    h->module = NULL;
    host_unlink(h->linked);
    h->linked = NULL;
    free(h->started);
    h->started = NULL;
    for (size_t i = 0; h->preopens && i < h->host.preopens_count; i++)
        fd_close(&h->preopens[i].dir_fd);
    h->preopens = NULL;
    h->host.preopens_count = 0;
    for (size_t i = 0; i < h->host.key_value_stores_count; i++)
        kv_view_give(h->host.key_value_stores[i].view);
    h->host.key_value_stores_count = 0;
    arena_fini(&h->a);
}
