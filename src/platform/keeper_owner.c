/* See keeper_owner.h. A revision's number is made of its locked app as deployed: components and
 * files by digest, triggers, settings (`ebb deploy` leaves out where it came from). Not of values
 * of variables, which may change under a revision and differ from node to node. If the same was
 * deployed twice, the newest counts.
 *
 * Found is by name, then by looking at the revisions that are kept, the newest first: a worker asks
 * only for what it does not serve now. */
#include "platform/keeper_owner.h"

#include "base/limits.h"
#include "platform/config_json.h"

#include <stdlib.h>

static bool number(const keeper *k, const char *kind, str name, uint64_t *ret, err *e)
{
    return catalogue_shared_number(catalogue_reading(k->catalogue), str_from(kind), name, ret, e);
}

bool owner_tenant(const keeper *k, const catalogue_tenant *t, uint64_t *ret, err *e)
{
    if (k->config.serve.queue_is_shared)
        return number(k, "tenant", t->name, ret, e);
    *ret = t->id;
    return true;
}

bool owner_app(const keeper *k, arena *a, str tenant_name, const catalogue_app *x, calls_owner *ret,
               err *e)
{
    *ret = (calls_owner){.tenant = x->tenant, .app = x->id};
    if (!k->config.serve.queue_is_shared)
        return true;
    ret->name = arena_printf(a, "%.*s/%.*s", STR(tenant_name), STR(x->name));
    if (!ret->name.p)
        return err_no_memory(e);
    return number(k, "tenant", tenant_name, &ret->tenant, e) &&
           number(k, "app", ret->name, &ret->app, e);
}

/* What was deployed, as one text: members in order. */
static bool deployed_write(str settings, buf *out, err *e)
{
    _cleanup_json_ json_t *j =
        json_get((bytes){(const uint8_t *)settings.p, settings.n}, "an app", e);
    const json_t *locked = json_object_get(j, "app");
    if (!j)
        return false;
    char *text = json_dumps(locked, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return err_no_memory(e);
    buf_put_str(out, str_from(text));
    free(text);
    return !out->failed || err_no_memory(e);
}

bool owner_found(const keeper *k, arena *a, const catalogue_found *f, calls_owner *ret, err *e)
{
    _cleanup_(buf_fini) buf what;
    catalogue_app x = {.id = f->app, .tenant = f->tenant, .name = f->app_name};
    buf_init(&what, 2 * APP_LOCKED_BYTES_MAX);
    if (!owner_app(k, a, f->tenant_name, &x, ret, e))
        return false;
    ret->revision = f->revision;
    if (!k->config.serve.queue_is_shared)
        return true;
    buf_put_str(&what, ret->name);
    buf_put_u8(&what, 0);
    return deployed_write(f->settings, &what, e) &&
           number(k, "revision", buf_str(&what), &ret->revision, e);
}

static bool app_named(const keeper *k, arena *a, str name, catalogue_app *ret, err *e)
{
    catalogue_db *db = catalogue_reading(k->catalogue);
    catalogue_tenant t = {0};
    size_t slash = str_find(name, '/');
    *ret = (catalogue_app){0};
    return catalogue_tenant_find(db, a, str_head(name, slash), &t, e) &&
           (!t.id || catalogue_app_find(db, a, t.id, str_skip(name, slash + 1), ret, e));
}

static bool revision_is(const keeper *k, uint64_t app_id, uint32_t revision, uint64_t wanted,
                        bool *ret, err *e)
{
    _cleanup_(arena_fini) arena a;
    catalogue_found f;
    calls_owner owner;
    arena_init(&a, 2 * APP_LOCKED_BYTES_MAX);
    *ret = false;
    if (!catalogue_find_revision(k->catalogue, app_id, revision, &a, &f, e) ||
        (f.app && !owner_found(k, &a, &f, &owner, e)))
        return false;
    *ret = f.app && owner.revision == wanted;
    return true;
}

static bool find_shared(const keeper *k, const calls_owner *owner, arena *a, catalogue_found *ret,
                        err *e)
{
    catalogue_app x;
    catalogue_revision *all;
    size_t n;
    if (!app_named(k, a, owner->name, &x, e) || !x.id)
        return x.id == 0;
    if (!catalogue_revisions(catalogue_reading(k->catalogue), a, x.id, &all, &n, e))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool is;
        if (!revision_is(k, x.id, all[i].number, owner->revision, &is, e))
            return false;
        if (is)
            return catalogue_find_revision(k->catalogue, x.id, all[i].number, a, ret, e);
    }
    return true;
}

/* A call that was accepted while the queue was named otherwise is of no app. */
bool owner_find(const keeper *k, const calls_owner *owner, arena *a, catalogue_found *ret, err *e)
{
    *ret = (catalogue_found){0};
    if (k->config.serve.queue_is_shared != (owner->name.n > 0))
        return true;
    if (owner->name.n)
        return find_shared(k, owner, a, ret, e);
    return owner->revision > UINT32_MAX ||
           catalogue_find_revision(k->catalogue, owner->app, (uint32_t)owner->revision, a, ret, e);
}
