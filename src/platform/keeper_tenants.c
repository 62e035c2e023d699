/* Routes about tenants, tokens and the audit log. Everything that changes something is a job with
 * an event of the audit log in the same transaction. */
#include "platform/keeper_api.h"

#include "platform/egress.h"
#include "platform/keeper_calls.h"
#include "platform/keeper_owner.h"

enum { TOKEN_DAYS = 90 };
#define TOKEN_S_MAX (INT64_C(10) * 365 * 86400)

static const char *const role_names[] = {"nobody", "reader", "deployer", "owner", "operator"};

static json_t *quota_json(str text) { return json_loadb(text.p, text.n, 0, NULL); }

static json_t *tenant_json(const catalogue_tenant *t)
{
    return json_pack("{s:o,s:o,s:o,s:I}", "name", api_str(t->name), "quota", quota_json(t->quota),
                     "egress", api_str(t->egress), "made_s", (json_int_t)t->made_s);
}

void api_whoami(api_call *c)
{
    json_t *j = json_pack("{s:s,s:o,s:o,s:I,s:o,s:o}", "role", role_names[c->who.role], "tenant",
                          c->who.tenant ? api_str(c->who.tenant_name) : json_null(), "name",
                          api_str(c->who.name), "expires_s", (json_int_t)c->who.expires_s, "node",
                          api_str(c->k->config.node), "domain", api_str(c->k->config.domain));
    api_json_take(c, 200, j);
}

/* --- tenants ---------------------------------------------------------------------------------- */

void api_tenants(api_call *c)
{
    catalogue_tenant *all;
    size_t n;
    err e;
    if (!catalogue_tenants(catalogue_reading(c->k->catalogue), &c->a, api_query(c, "after"), &all,
                           &n, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, tenant_json(&all[i]));
    api_json_take(c, 200, json_pack("{s:o}", "tenants", list));
}

static void tenant_answer(api_call *c)
{
    api_json_take(c, c->route->method[1] == 'O' ? 201 : 200, tenant_json(&c->tenant));
}

static bool tenant_make(api_call *c, catalogue_db *db, err *e)
{
    c->tenant.made_s = keeper_now_s();
    return catalogue_tenant_add(db, c->tenant.name, c->tenant.quota, c->tenant.made_s,
                                &c->tenant.id, e) &&
           api_audit(c, db, "tenant made", c->tenant.name, e);
}

/* base with the members of the body's quota, as text in the arena. */
static bool quota_merge(api_call *c, quota q, str *ret, err *e)
{
    const json_t *given = json_object_get(c->json, "quota");
    _cleanup_(buf_fini) buf text;
    buf_init(&text, 4096);
    char *dumped = given ? json_dumps(given, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool ok = !dumped || quota_read(str_from(dumped), &q, e);
    free(dumped);
    if (!ok)
        return false;
    quota_write(&q, &text);
    *ret = arena_str(&c->a, buf_str(&text));
    return ret->p || err_no_memory(e);
}

void api_tenant_make(api_call *c)
{
    quota q = {0};
    err e;
    if (quota_read(c->k->config.serve.quota, &q, &e) && api_text(c, "name", &c->tenant.name, &e) &&
        quota_merge(c, q, &c->tenant.quota, &e))
        api_submit(c, tenant_make, tenant_answer);
    else
        api_fail(c, &e);
}

static uint64_t counted(const keeper *k, uint64_t tenant, counter c)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < k->counters_count; i++) {
        const counters_row *r = counters_find(k->counters[i], tenant);
        if (r)
            sum += count_get(r, c);
    }
    return sum;
}

/* What it uses now, by the names of the quotas; and what was refused for one since workers were
 * started. */
static void counts_add(const keeper *k, uint64_t tenant, json_t *to)
{
    static const struct {
        counter now, over; /* COUNTERS: it is not counted */
        const char *name;
    } rows[] = {{COUNT_RUNNING, COUNT_OVER_CONCURRENCY, "concurrency"},
                {COUNT_MEMORY, COUNT_OVER_MEMORY, "memory_bytes"},
                {COUNT_CONNECTIONS, COUNT_OVER_CONNECTIONS, "connections"},
                {COUNTERS, COUNT_OVER_RATE, "requests_per_s"},
                {COUNTERS, COUNT_OVER_CPU, "cpu_percent"},
                {COUNTERS, COUNT_OVER_LOG, "log_bytes_per_s"}};
    json_t *now = json_object(), *over = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].now != COUNTERS)
            json_object_set_new(now, rows[i].name,
                                json_integer((json_int_t)counted(k, tenant, rows[i].now)));
        json_object_set_new(over, rows[i].name,
                            json_integer((json_int_t)counted(k, tenant, rows[i].over)));
    }
    json_object_set_new(to, "now", now);
    json_object_set_new(to, "refused", over);
}

void api_tenant_show(api_call *c)
{
    catalogue_db *db = catalogue_reading(c->k->catalogue);
    uint64_t apps, bytes_n;
    err e;
    if (!catalogue_apps_count(db, c->tenant.id, &apps, &e) ||
        !catalogue_blob_bytes(db, c->tenant.id, &bytes_n, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *j = tenant_json(&c->tenant);
    json_object_set_new(j, "apps", json_integer((json_int_t)apps));
    json_object_set_new(j, "blob_bytes", json_integer((json_int_t)bytes_n));
    counts_add(c->k, c->tenant.id, j);
    api_json_take(c, 200, j);
}

static bool tenant_delete(api_call *c, catalogue_db *db, err *e)
{
    return catalogue_tenant_remove(db, c->tenant.id, e) &&
           api_audit(c, db, "tenant removed", c->tenant.name, e);
}

static void nothing_answer(api_call *c) { api_json_take(c, 200, json_object()); }

/* The path's first parameter is a tenant, though the route is the node's. */
static bool tenant_named(api_call *c)
{
    err e;
    if (!catalogue_tenant_find(catalogue_reading(c->k->catalogue), &c->a, c->params[0], &c->tenant,
                               &e))
        api_fail(c, &e);
    else if (!c->tenant.id)
        api_fail_status(c, 404, "there is no such tenant");
    else
        return true;
    return false;
}

/* Numbers that were made of names come back with the name: a tenant that gets it next would see the
 * calls of this one. */
static void tenant_deleted(api_call *c)
{
    uint64_t number;
    err e;
    if (owner_tenant(c->k, &c->tenant, &number, &e))
        keeper_calls_app_gone(c->k->calls, 0, number);
    else
        log_msg(LOG_ERROR, "deferred calls of a deleted tenant stay: %s", e.text);
    nothing_answer(c);
}

void api_tenant_delete(api_call *c)
{
    if (tenant_named(c))
        api_submit(c, tenant_delete, tenant_deleted);
}

/* --- quotas ----------------------------------------------------------------------------------- */

static bool quota_apply(api_call *c, catalogue_db *db, err *e)
{
    return catalogue_quota_set(db, c->tenant.id, c->tenant.quota, e) &&
           api_audit(c, db, "quota changed", c->tenant.quota, e);
}

static void quota_done(api_call *c) { api_forget(c, 0, true, tenant_answer); }

void api_quota_set(api_call *c)
{
    err e;
    if (!tenant_named(c))
        return;
    if (quota_merge(c, api_quota(c), &c->tenant.quota, &e))
        api_submit(c, quota_apply, quota_done);
    else
        api_fail(c, &e);
}

/* --- egress ----------------------------------------------------------------------------------- */

static bool egress_apply(api_call *c, catalogue_db *db, err *e)
{
    return catalogue_egress_set(db, c->tenant.id, c->tenant.egress, e) &&
           api_audit(c, db, "egress changed", c->tenant.egress, e);
}

/* Networks, checked as workers will read them. */
void api_egress_set(api_call *c)
{
    egress checked;
    static const egress nothing;
    err e;
    if (!tenant_named(c))
        return;
    if (api_text(c, "allow", &c->tenant.egress, &e) &&
        egress_more(&c->a, &nothing, c->tenant.egress, &checked, &e))
        api_submit(c, egress_apply, quota_done);
    else
        api_fail(c, &e);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static json_t *token_json(const catalogue_token *t)
{
    return json_pack("{s:I,s:s,s:o,s:I,s:I}", "id", (json_int_t)t->id, "role", role_names[t->role],
                     "name", api_str(t->name), "made_s", (json_int_t)t->made_s, "expires_s",
                     (json_int_t)t->expires_s);
}

void api_tokens(api_call *c)
{
    catalogue_token *all;
    size_t n;
    err e;
    if (!catalogue_tokens(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, &all, &n, &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, token_json(&all[i]));
    api_json_take(c, 200, json_pack("{s:o}", "tokens", list));
}

typedef struct {
    char text[64];
    uint8_t hash[CATALOGUE_DIGEST_BYTES];
    catalogue_token token;
} new_token;

static bool token_make(api_call *c, catalogue_db *db, err *e)
{
    new_token *t = c->own;
    char subject[160];
    if (!catalogue_token_add(db, t->hash, &t->token, &t->token.id, e))
        return false;
    int n = snprintf(subject, sizeof subject, "%llu %s %.*s", (unsigned long long)t->token.id,
                     role_names[t->token.role], STR(str_head(t->token.name, 100)));
    return api_audit(c, db, "token made", (str){subject, (size_t)n}, e);
}

static void token_answer(api_call *c)
{
    new_token *t = c->own;
    json_t *j = token_json(&t->token);
    json_object_set_new(j, "token", json_string(t->text));
    api_json_take(c, 201, j);
}

static bool role_read(api_call *c, catalogue_role *ret, err *e)
{
    bool node = c->route->scope == API_NODE;
    str name = {0};
    if (!api_text(c, "role", &name, e))
        return false;
    *ret = node && !name.n ? CATALOGUE_OPERATOR : CATALOGUE_NOBODY;
    for (int i = CATALOGUE_READER; i <= CATALOGUE_OPERATOR; i++)
        if (str_eq(name, str_from(role_names[i])))
            *ret = (catalogue_role)i;
    bool fits =
        node ? *ret == CATALOGUE_OPERATOR : *ret >= CATALOGUE_READER && *ret <= CATALOGUE_OWNER;
    return fits || err_set(e, ERR_INVALID, "'role' must be %s",
                           node ? "operator" : "reader, deployer or owner");
}

void api_token_make(api_call *c)
{
    new_token *t = ARENA_NEW(&c->a, new_token);
    int64_t life = (int64_t)TOKEN_DAYS * 86400;
    err e;
    if (!t) {
        err_no_memory(&e);
        api_fail(c, &e);
        return;
    }
    t->token = (catalogue_token){.tenant = c->tenant.id, .made_s = keeper_now_s()};
    if (!role_read(c, &t->token.role, &e) || !api_text(c, "name", &t->token.name, &e) ||
        !api_number(c, "expires_s", 0, TOKEN_S_MAX, &life, &e) ||
        !catalogue_token_make(t->text, &e)) {
        api_fail(c, &e);
        return;
    }
    t->token.expires_s = life ? t->token.made_s + life : 0;
    catalogue_token_hash(str_from(t->text), t->hash);
    c->own = t;
    api_submit(c, token_make, token_answer);
}

static str token_param(const api_call *c)
{
    return c->params[c->route->scope == API_TENANT ? 1 : 0];
}

static bool token_delete(api_call *c, catalogue_db *db, err *e)
{
    uint64_t id;
    if (!str_to_u64(token_param(c), INT64_MAX, &id))
        return err_set(e, ERR_INVALID, "a token has a number; 'ebb tokens' lists them");
    return catalogue_token_remove(db, c->tenant.id, id, e) &&
           api_audit(c, db, "token revoked", token_param(c), e);
}

void api_token_delete(api_call *c) { api_submit(c, token_delete, nothing_answer); }

/* --- audit ------------------------------------------------------------------------------------ */

void api_audit_show(api_call *c)
{
    catalogue_event *all;
    size_t n;
    uint64_t before = 0;
    err e;
    str asked = api_query(c, "before");
    if (asked.n && !str_to_u64(asked, INT64_MAX, &before)) {
        api_fail_status(c, 400, "before: the id of an event");
        return;
    }
    if (!catalogue_audit(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, before, &all, &n,
                         &e)) {
        api_fail(c, &e);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            list, json_pack("{s:I,s:I,s:o,s:o,s:o,s:o}", "id", (json_int_t)all[i].id, "t_s",
                            (json_int_t)all[i].t_s, "tenant", api_str(all[i].tenant), "actor",
                            api_str(all[i].actor), "action", api_str(all[i].action), "subject",
                            api_str(all[i].subject)));
    api_json_take(c, 200, json_pack("{s:o}", "events", list));
}
