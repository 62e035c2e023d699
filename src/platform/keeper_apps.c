/* Routes about apps that are there: lists, roll back, hosts, variables, delete. Every change is one
 * job, then the workers forget, then the answer. */
#include "platform/keeper_api.h"
#include "platform/keeper_calls.h"

#include "base/limits.h"
#include "loop/work.h"
#include "platform/app_config.h"
#include "platform/keeper_owner.h"

#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
    catalogue_app app;
    uint32_t number;
    str *hosts;
    size_t hosts_n;
} change;

static json_t *app_json(api_call *c, const catalogue_app *x)
{
    return json_pack("{s:o,s:I,s:i,s:I,s:o}", "name", api_str(x->name), "id", (json_int_t)x->id,
                     "revision", (int)x->revision, "made_s", (json_int_t)x->made_s, "url",
                     api_str(api_url(c, x->name, c->tenant.name)));
}

void api_apps(api_call *c)
{
    catalogue_app *all;
    size_t n;
    err e;
    if (!catalogue_apps(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id,
                        api_query(c, "after"), &all, &n, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, app_json(c, &all[i]));
    api_json_take(c, 200, json_pack("{s:o}", "apps", list));
}

/* All of the tenant's apps, page by page. */
static bool apps_all(api_call *c, keeper_app **ret, size_t *ret_n, err *e)
{
    catalogue_app *page;
    size_t n = 0, got = 0;
    keeper_app *all = NULL;
    str after = {0};
    do {
        if (!catalogue_apps(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, after, &page,
                            &got, e))
            return false;
        all = arena_grow(&c->a, all, n, n + got + 1, sizeof *all);
        if (!all)
            return err_no_memory(e);
        for (size_t i = 0; i < got; i++)
            all[n++] = (keeper_app){arena_printf(&c->a, "%llu/", (unsigned long long)page[i].id),
                                    page[i].name};
        after = got ? page[got - 1].name : after;
    } while (got);
    *ret = all;
    *ret_n = n;
    return true;
}

static void ask_as_tenant(api_call *c, str path)
{
    keeper_app *apps;
    size_t n;
    err e;
    if (!apps_all(c, &apps, &n, &e)) {
        api_fail(c, &e);
        return;
    }
    http_exchange *x = c->x;
    c->x = NULL;
    keeper_ask_tenant(c->k, x, path, apps, n);
    api_is_over(c);
}

void api_carbon(api_call *c) { ask_as_tenant(c, S("/v1/carbon/tenant")); }
void api_now(api_call *c) { ask_as_tenant(c, S("/v1/now")); }
void api_day(api_call *c) { ask_as_tenant(c, S("/v1/day")); }
void api_outlook(api_call *c) { ask_as_tenant(c, S("/v1/outlook")); }

/* --- one app ---------------------------------------------------------------------------------- */

static json_t *components_json(const app_config *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->app->components_count; i++) {
        const app_component *x = &config->app->components[i];
        if (x->is_used)
            json_array_append_new(list, json_pack("{s:o,s:o}", "id", api_str(x->id), "digest",
                                                  api_str(config->components[i].artifact)));
    }
    return list;
}

static json_t *revisions_json(const catalogue_revision *all, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:i,s:I}", "number", (int)all[i].number, "made_s",
                                              (json_int_t)all[i].made_s));
    return list;
}

static json_t *names_json(const str *all, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, api_str(all[i]));
    return list;
}

void api_app_show(api_call *c)
{
    catalogue_db *db = catalogue_reading(c->k->catalogue);
    catalogue_app x;
    catalogue_revision *revisions;
    app_config config;
    str *hosts, settings;
    size_t hosts_n, revisions_n;
    err e;
    if (!api_app(c, &x))
        return;
    if (!catalogue_hosts(db, &c->a, x.id, &hosts, &hosts_n, &e) ||
        !catalogue_revisions(db, &c->a, x.id, &revisions, &revisions_n, &e) ||
        !catalogue_revision_settings(db, &c->a, &x, 0, &settings, &e) ||
        !app_config_read(&c->a, (bytes){(const uint8_t *)settings.p, settings.n}, &config, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *j = app_json(c, &x);
    json_object_set_new(j, "hosts", names_json(hosts, hosts_n));
    json_object_set_new(j, "revisions", revisions_json(revisions, revisions_n));
    json_object_set_new(j, "components", components_json(&config));
    json_object_set_new(j, "version", api_str(config.app->version));
    json_object_set_new(j, "description", api_str(config.app->description));
    api_json_take(c, 200, j);
}

/* False: it has been answered. */
static bool change_begin(api_call *c, change **ret)
{
    change *x = ARENA_NEW(&c->a, change);
    if (!x) {
        api_fail_status(c, 503, "no memory");
        return false;
    }
    c->own = *ret = x;
    return api_app(c, &x->app);
}

/* Settings hold values of variables: a revision that becomes live again gets those of today. */
static bool values_renew(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    str settings;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, APP_LOCKED_BYTES_MAX);
    return catalogue_revision_settings(db, &c->a, &x->app, 0, &settings, e) &&
           deploy_settings(&c->a, db, x->app.id, settings, &out, e) &&
           catalogue_revision_set(db, &x->app, buf_str(&out), e);
}

/* The row may have changed since the path was looked up. */
static bool app_again(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    return catalogue_app_find(db, &c->a, c->tenant.id, c->params[1], &x->app, e) &&
           (x->app.id || err_set(e, ERR_NOT_FOUND, "the app has gone meanwhile"));
}

/* --- roll back -------------------------------------------------------------------------------- */

/* The newest kept one before the live one. */
static bool number_before(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    catalogue_revision *all;
    size_t n;
    if (x->number)
        return true;
    if (!catalogue_revisions(db, &c->a, x->app.id, &all, &n, e))
        return false;
    for (size_t i = 0; i < n && !x->number; i++)
        if (all[i].number < x->app.revision)
            x->number = all[i].number;
    return x->number ||
           err_set(e, ERR_NOT_FOUND, "app '%.*s' has no older revision", STR(x->app.name));
}

static bool rollback_apply(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    return app_again(c, db, e) && number_before(c, db, e) &&
           catalogue_revision_use(db, &x->app, x->number, keeper_now_s(), e) &&
           values_renew(c, db, e) &&
           api_audit(c, db, "rollback", arena_printf(&c->a, "%.*s %u", STR(x->app.name), x->number),
                     e);
}

static void change_answer(api_call *c)
{
    change *x = c->own;
    json_t *j = app_json(c, &x->app);
    if (x->hosts)
        json_object_set_new(j, "hosts", names_json(x->hosts, x->hosts_n));
    api_json_take(c, 200, j);
}

static void change_done(api_call *c)
{
    change *x = c->own;
    api_forget(c, x->hosts ? 0 : x->app.id, false, change_answer);
}

void api_rollback(api_call *c)
{
    change *x;
    int64_t number = 0;
    err e;
    if (!change_begin(c, &x))
        return;
    if (!api_number(c, "revision", 1, UINT32_MAX, &number, &e)) {
        api_fail(c, &e);
        return;
    }
    x->number = (uint32_t)number;
    api_submit(c, rollback_apply, change_done);
}

/* --- hosts ------------------------------------------------------------------------------------ */

static bool hosts_apply(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    return app_again(c, db, e) &&
           catalogue_hosts_set(db, &c->a, &x->app, x->hosts, x->hosts_n, c->k->config.domain,
                               c->who.role == CATALOGUE_OPERATOR, e) &&
           api_audit(c, db, "hosts", x->app.name, e);
}

void api_hosts_set(api_call *c)
{
    const json_t *list = json_object_get(c->json, "hosts");
    change *x;
    if (!change_begin(c, &x))
        return;
    x->hosts_n = json_array_size(list);
    x->hosts = ARENA_ARRAY(&c->a, str, x->hosts_n + 1);
    for (size_t i = 0; x->hosts && i < x->hosts_n; i++) {
        const json_t *v = json_array_get(list, i);
        x->hosts[i] = (str){json_string_value(v), json_string_length(v)};
    }
    if (!json_is_array(list) || !x->hosts)
        api_fail_status(c, 400, "'hosts' is an array of names");
    else
        api_submit(c, hosts_apply, change_done);
}

/* --- variables -------------------------------------------------------------------------------- */

static void variables_answer(api_call *c)
{
    change *x = c->own;
    catalogue_variable *all;
    size_t n;
    err e;
    if (!catalogue_variables(catalogue_reading(c->k->catalogue), &c->a, x->app.id, &all, &n, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, api_str(all[i].name));
    api_json_take(c, 200, json_pack("{s:o}", "variables", list));
}

void api_variables(api_call *c)
{
    change *x;
    if (change_begin(c, &x))
        variables_answer(c);
}

static bool variables_apply(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    return app_again(c, db, e) && deploy_variables(c, db, x->app.id, e) && values_renew(c, db, e) &&
           api_audit(c, db, "variables", x->app.name, e);
}

static void variables_done(api_call *c)
{
    change *x = c->own;
    api_forget(c, x->app.id, false, variables_answer);
}

void api_variables_set(api_call *c)
{
    change *x;
    err e;
    if (!change_begin(c, &x))
        return;
    if (!deploy_variables_check(json_object_get(c->json, "variables"), &e))
        api_fail(c, &e);
    else
        api_submit(c, variables_apply, variables_done);
}

/* --- delete ----------------------------------------------------------------------------------- */

static bool delete_apply(api_call *c, catalogue_db *db, err *e)
{
    change *x = c->own;
    return app_again(c, db, e) && catalogue_app_remove(db, &x->app, e) &&
           api_audit(c, db, "delete", x->app.name, e);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static void remains_remove(void *user)
{
    static const char *const folders[] = {"state", "logs"};
    api_call *c = user;
    change *x = c->own;
    char path[PATH_MAX];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.*s/%s/%llu", STR(c->k->config.data_dir), folders[i],
                 (unsigned long long)x->app.id);
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static void remains_removed(void *user)
{
    api_call *c = user;
    c->busy--;
    blobs_collect(c->k);
    api_json_take(c, 200, json_object());
}

/* No worker has it any more; ids are never used again, so what may be left belongs to nobody. */
static void delete_forgotten(api_call *c)
{
    err e;
    c->busy++;
    if (loop_work_start(c->k->l, remains_remove, remains_removed, c, &e))
        return;
    c->busy--;
    api_fail(c, &e);
}

static void delete_done(api_call *c)
{
    change *x = c->own;
    calls_owner owner;
    err e;
    if (owner_app(c->k, &c->a, c->tenant.name, &x->app, &owner, &e))
        keeper_calls_app_gone(c->k->calls, owner.app, owner.tenant);
    else
        log_msg(LOG_ERROR, "deferred calls of a deleted app stay: %s", e.text);
    api_forget(c, x->app.id, false, delete_forgotten);
}

void api_app_delete(api_call *c)
{
    change *x;
    if (change_begin(c, &x))
        api_submit(c, delete_apply, delete_done);
}
