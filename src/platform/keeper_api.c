/* See keeper_api.h. From the head of a request to the call of its route, and back.
 *
 * The admin address is an origin of its own. A page of somebody else's in an operator's browser can
 * reach it: so a Host that is not ours is refused (names that rebind), an Origin that is not ours
 * too, and tokens travel in a header that no other origin may set. Wrong tokens are counted by
 * address: from the ATTEMPTS_MAX-th in a minute on they are answered 429 without a look. */
#include "platform/keeper_api.h"

#include "base/hex.h"
#include "base/limits.h"
#include "http/field.h"
#include "platform/config_json.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { ATTEMPTS_MAX = 10, ATTEMPTS_WINDOW_S = 60, PEERS = 256, SEGMENTS_MAX = 12 };

/* --- answers ---------------------------------------------------------------------------------- */

static void call_free(api_call *c)
{
    json_decref(c->json);
    arena_fini(&c->a);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

bool api_is_over(api_call *c)
{
    if (c->x || c->busy)
        return false;
    call_free(c);
    return true;
}

static void on_closed(void *user)
{
    api_call *c = user;
    exchange_free(c->x);
    c->x = NULL;
    if (c->gone)
        c->gone(c);
    api_is_over(c);
}

static void on_writable(void *user)
{
    api_call *c = user;
    if (!c->answering || !exchange_write_on(c->x, c->out.p, c->out.n, &c->written))
        return;
    buf_clear(&c->out);
    c->written = 0;
    if (c->more)
        return;
    exchange_end(c->x, NULL, 0);
    c->x = NULL;
    api_is_over(c);
}

static void answer_with(api_call *c, unsigned status, str type, str name, str value)
{
    err e;
    http_field fields[] = {
        {S("content-type"), type},
        {S("cache-control"), S("no-store")},
        {S("content-security-policy"), S("default-src 'none'; frame-ancestors 'none'")},
        {S("x-content-type-options"), S("nosniff")},
        {name, value},
    };
    if (!c->x) {
        api_is_over(c);
        return;
    }
    c->answering = true;
    c->readable = NULL;
    if (!exchange_start(c->x, status, fields, name.n ? 5 : 4, (int64_t)c->out.n, &e)) {
        exchange_abort(c->x, 500, NULL, 0);
        c->x = NULL;
        api_is_over(c);
        return;
    }
    on_writable(c);
}

void api_answer(api_call *c, unsigned status, str type)
{
    answer_with(c, status, type, (str){0}, (str){0});
}

bool api_stream(api_call *c, str type)
{
    err e;
    http_field fields[] = {{S("content-type"), type},
                           {S("cache-control"), S("no-store")},
                           {S("x-content-type-options"), S("nosniff")}};
    c->readable = NULL;
    if (!exchange_start(c->x, 200, fields, 3, -1, &e)) {
        api_fail(c, &e);
        return false;
    }
    c->answering = c->more = true;
    return true;
}

void api_more(api_call *c, bool last)
{
    c->more = !last;
    on_writable(c);
}

void api_json_take(api_call *c, unsigned status, json_t *j)
{
    err e;
    bool ok = j && json_put(j, &c->out, &e);
    json_decref(j);
    if (!ok || !buf_put_u8(&c->out, '\n')) {
        api_fail_status(c, 500, "the answer is too long, or there is no memory");
        return;
    }
    api_answer(c, status, S("application/json"));
}

static void fail_with(api_call *c, unsigned status, const char *text, str name, str value)
{
    buf_clear(&c->out);
    json_t *j = json_object();
    json_object_set_new(j, "error", json_stringn_nocheck(text, strlen(text)));
    err e;
    json_put(j, &c->out, &e);
    json_decref(j);
    buf_put_u8(&c->out, '\n');
    answer_with(c, status, S("application/json"), name, value);
}

void api_fail_status(api_call *c, unsigned status, const char *text)
{
    if (status == 429 || status == 503)
        fail_with(c, status, text, S("retry-after"), status == 429 ? S("60") : S("1"));
    else if (status == 401)
        fail_with(c, status, text, S("www-authenticate"), S("Bearer"));
    else
        fail_with(c, status, text, (str){0}, (str){0});
}

void api_fail(api_call *c, const err *e)
{
    static const uint16_t statuses[] = {
        [ERR_INVALID] = 400, [ERR_UNSUPPORTED] = 400, [ERR_NOT_FOUND] = 404,
        [ERR_LIMIT] = 429,   [ERR_NO_MEMORY] = 503,   [ERR_DENIED] = 403,
        [ERR_TIMEOUT] = 503, [ERR_CLOSED] = 503,      [ERR_CONFLICT] = 409,
    };
    unsigned status =
        e->code < sizeof statuses / sizeof *statuses && statuses[e->code] ? statuses[e->code] : 500;
    if (status == 500)
        log_msg(LOG_ERROR, "the admin API failed: %s", e->text);
    api_fail_status(c, status, e->text);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static bool job_apply(catalogue_job *j, catalogue_db *db, err *e)
{
    api_call *c = (api_call *)((char *)j - offsetof(api_call, job));
    return c->apply(c, db, e);
}

static void job_done(catalogue_job *j)
{
    api_call *c = (api_call *)((char *)j - offsetof(api_call, job));
    keeper *k = c->k;
    c->busy--;
    if (!j->ok)
        api_fail(c, &j->e);
    else
        c->done(c);
    keeper_changed(k);
}

void api_submit(api_call *c, bool (*apply)(api_call *c, catalogue_db *db, err *e),
                void (*done)(api_call *c))
{
    if (c->k->leaving) {
        api_fail_status(c, 503, "the node is being upgraded; try again");
        return;
    }
    c->k->changing++;
    c->apply = apply;
    c->done = done;
    c->job = (catalogue_job){.apply = job_apply, .done = job_done};
    c->busy++;
    catalogue_submit(c->k->catalogue, &c->job);
}

static void on_forgotten(void *user)
{
    api_call *c = user;
    keeper *k = c->k;
    c->busy--;
    c->done(c);
    keeper_changed(k);
}

void api_forget(api_call *c, uint64_t app_id, bool is_tenant, void (*done)(api_call *c))
{
    keeper_directory *d = c->k->directory;
    err e;
    c->done = done;
    c->busy++;
    c->k->changing++;
    if (app_id)
        serve_app_changed(c->k, app_id);
    bool told = app_id ? keeper_directory_forget(d, app_id, on_forgotten, c, &e)
                       : keeper_directory_forget_tenant(d, is_tenant ? c->tenant.id : 0,
                                                        on_forgotten, c, &e);
    if (told)
        return;
    c->busy--;
    c->k->changing--;
    api_fail(c, &e);
}

bool api_audit(api_call *c, catalogue_db *db, const char *action, str subject, err *e)
{
    char actor[160];
    int n = c->who.id ? snprintf(actor, sizeof actor, "%.*s (token %llu)",
                                 STR(str_head(c->who.name, 100)), (unsigned long long)c->who.id)
                      : snprintf(actor, sizeof actor, "%.*s", STR(str_head(c->who.name, 100)));
    return catalogue_audit_add(db, keeper_now_s(), c->tenant.id, (str){actor, (size_t)n},
                               str_from(action), subject, e);
}

/* --- what routes ask of a request ------------------------------------------------------------- */

json_t *api_str(str s) { return json_stringn(s.n ? s.p : "", s.n); }

bool api_text(api_call *c, const char *name, str *ret, err *e)
{
    const json_t *v = json_object_get(c->json, name);
    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v))
        return err_set(e, ERR_INVALID, "'%s' must be a string", name);
    *ret = (str){json_string_value(v), json_string_length(v)};
    return true;
}

bool api_number(api_call *c, const char *name, int64_t min, int64_t max, int64_t *ret, err *e)
{
    const json_t *v = json_object_get(c->json, name);
    if (!v || json_is_null(v))
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return err_set(e, ERR_INVALID, "'%s' must be a number from %lld to %lld", name,
                       (long long)min, (long long)max);
    *ret = json_integer_value(v);
    return true;
}

/* Percent-encoding taken back; n 0 where it is broken. */
static str decoded(arena *a, str s)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n;
    if (!out || !percent_decode(s, out, &n))
        return (str){0};
    out[n] = 0;
    return (str){out, n};
}

str api_query(api_call *c, const char *name)
{
    str target = exchange_request(c->x)->target;
    str query = str_skip(target, str_find(target, '?') + 1);
    while (query.n) {
        str value = str_cut(&query, '&'), key = str_cut(&value, '=');
        if (str_eq(key, str_from(name)))
            return decoded(&c->a, value);
    }
    return (str){0};
}

bool api_app(api_call *c, catalogue_app *ret)
{
    err e;
    if (!catalogue_app_find(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, c->params[1],
                            ret, &e)) {
        api_fail(c, &e);
        return false;
    }
    if (ret->id)
        return true;
    err_set(&e, ERR_NOT_FOUND, "tenant '%.*s' has no app '%.*s'", STR(c->tenant.name),
            STR(str_head(c->params[1], 100)));
    api_fail(c, &e);
    return false;
}

quota api_quota(const api_call *c)
{
    quota q = {0};
    err ignored;
    quota_read(c->tenant.quota, &q, &ignored);
    return q;
}

str api_url(api_call *c, str name, str tenant)
{
    const keeper_serve *s = &c->k->config.serve;
    return arena_printf(&c->a, "%.*s://%.*s-%.*s.%.*s%.*s/", STR(s->scheme), STR(name), STR(tenant),
                        STR(c->k->config.domain), STR(s->url_port));
}

/* --- who asks --------------------------------------------------------------------------------- */

static struct {
    char address[64];
    int64_t since_s;
    unsigned failed;
} peers[PEERS];

/* The place of this address; another one that was there is forgotten. */
static unsigned *attempts_of(str peer, int64_t now_s)
{
    str address = str_head(str_head(peer, str_rfind(peer, ':')), sizeof peers->address - 1);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < address.n; i++)
        h = (h ^ (uint8_t)address.p[i]) * 16777619u;
    size_t at = h % PEERS;
    bool same = str_eq(address, str_from(peers[at].address));
    if (!same || now_s - peers[at].since_s >= ATTEMPTS_WINDOW_S) {
        memset(&peers[at], 0, sizeof peers[at]);
        memcpy(peers[at].address, address.p, address.n);
        peers[at].since_s = now_s;
    }
    return &peers[at].failed;
}

/* True: c->who is known, or nobody and the route is open to everybody. */
static bool authenticate(api_call *c)
{
    const http_request *r = exchange_request(c->x);
    const http_field *f = field_find(r->fields, r->fields_count, S("authorization"));
    uint8_t hash[CATALOGUE_DIGEST_BYTES];
    err e;
    if (!f && c->is_local) {
        c->who = (catalogue_token){.role = CATALOGUE_OPERATOR, .name = S("admin.sock")};
        return true;
    }
    if (c->route->scope == API_OPEN)
        return true;
    if (!f || !str_eq_nocase(str_head(f->value, 7), S("Bearer "))) {
        api_fail_status(c, 401, "a token is needed: Authorization: Bearer ebb_...");
        return false;
    }
    catalogue_token_hash(str_trim(str_skip(f->value, 7)), hash);
    if (!catalogue_token_find(catalogue_reading(c->k->catalogue), &c->a, hash, keeper_now_s(),
                              &c->who, &e)) {
        api_fail(c, &e);
        return false;
    }
    if (c->who.id)
        return true;
    unsigned *failed = attempts_of(r->peer, keeper_now_s());
    if (++*failed > ATTEMPTS_MAX)
        api_fail_status(c, 429, "too many wrong tokens from this address; wait a minute");
    else
        api_fail_status(c, 401, "this token is unknown, expired or revoked");
    return false;
}

/* A foreign tenant looks the same whether it exists or not. */
static bool authorise(api_call *c)
{
    const api_route *r = c->route;
    bool is_operator = c->who.role == CATALOGUE_OPERATOR;
    err e;
    if (r->scope == API_OPEN)
        return true;
    bool foreign = r->scope == API_NODE ||
                   (r->scope == API_TENANT && !str_eq(c->who.tenant_name, c->params[0]));
    if (!is_operator && (foreign || c->who.role < r->least)) {
        api_fail_status(c, 403, "this token may not do that");
        return false;
    }
    if (r->scope != API_TENANT)
        return true;
    if (!catalogue_tenant_find(catalogue_reading(c->k->catalogue), &c->a, c->params[0], &c->tenant,
                               &e)) {
        api_fail(c, &e);
        return false;
    }
    if (c->tenant.id)
        return true;
    api_fail_status(c, 404, "there is no such tenant");
    return false;
}

/* --- where to --------------------------------------------------------------------------------- */

static bool path_match(api_call *c, str pattern, str path, str params[API_PARAMS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < SEGMENTS_MAX; i++) {
        str want = str_cut(&pattern, '/'), got = str_cut(&path, '/');
        if (want.n && want.p[0] == '{') {
            if (!(params[n] = decoded(&c->a, got)).n)
                return false;
            n++;
        } else if (!str_eq(want, got)) {
            return false;
        }
        if (!pattern.p || !path.p)
            return !pattern.p && !path.p;
    }
    return false;
}

/* 404, or 405 where another method is there. HEAD is GET without a body. */
static bool route_find(api_call *c)
{
    const http_request *r = exchange_request(c->x);
    str path = target_path(r->target);
    bool any = false;
    for (size_t i = 0; i < api_routes_count; i++) {
        str params[API_PARAMS_MAX] = {{0}};
        const api_route *x = &api_routes[i];
        if (!path_match(c, str_from(x->path), path, params))
            continue;
        any = true;
        if (!str_eq(r->method, str_from(x->method)))
            continue;
        c->route = x;
        memcpy(c->params, params, sizeof params);
        return true;
    }
    api_fail_status(c, any ? 405 : 404,
                    any ? "not with this method" : "no such resource; /openapi.json lists them");
    return false;
}

static str host_of(str authority)
{
    size_t colon = str_rfind(authority, ':');
    return colon < authority.n && str_find(str_skip(authority, colon), ']') == authority.n - colon
               ? str_head(authority, colon)
               : authority;
}

static bool host_is_ours(const keeper_serve *s, str host)
{
    return str_eq_nocase(host, S("localhost")) || str_eq(host, S("127.0.0.1")) ||
           str_eq(host, S("[::1]")) || str_eq(host, host_of(s->admin_address)) ||
           (s->admin_host.n && str_eq_nocase(host, s->admin_host));
}

static bool origin_check(api_call *c)
{
    const http_request *r = exchange_request(c->x);
    const keeper_serve *s = &c->k->config.serve;
    const http_field *origin = field_find(r->fields, r->fields_count, S("origin"));
    if (c->is_local)
        return true;
    if (!host_is_ours(s, host_of(r->authority))) {
        api_fail_status(c, 421,
                        "this is the admin address of an ebb node, and not of that host; "
                        "[admin] host in ebb.toml names another one");
        return false;
    }
    if (!origin)
        return true;
    str rest = origin->value;
    bool ours = str_starts(rest, S("http://")) || str_starts(rest, S("https://"));
    rest = str_skip(rest, str_find(rest, ':') + 3);
    if (ours && str_eq_nocase(rest, r->authority))
        return true;
    api_fail_status(c, 403, "requests of other origins are refused");
    return false;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void body_done(api_call *c)
{
    json_error_t je;
    c->readable = NULL;
    if (c->in.n && c->route->asks) {
        errno = 0;
        c->json = json_loadb((const char *)c->in.p, c->in.n, JSON_REJECT_DUPLICATES, &je);
        if (!c->json && errno == ENOMEM) { /* malloc's: jansson may say anything else then */
            api_fail_status(c, 503, "no memory for the body; try again");
            return;
        }
        if (!c->json) {
            err e;
            err_set(&e, ERR_INVALID, "the body is no JSON: %s at %d:%d", je.text, je.line,
                    je.column);
            api_fail(c, &e);
            return;
        }
    }
    c->route->run(c);
}

static void body_read(api_call *c)
{
    static uint8_t block[64 * 1024];
    body_state state;
    size_t n;
    while ((n = exchange_read(c->x, block, sizeof block, &state)) > 0)
        if (!buf_put(&c->in, block, n)) {
            if (c->in.n + n > c->route->body_max)
                api_fail_status(c, 413, "the body is too long");
            else
                api_fail_status(c, 503, "no memory for the body; try again");
            return;
        }
    if (state == BODY_END)
        body_done(c);
    else if (state == BODY_ABORTED)
        api_fail_status(c, 400, "the body was cut");
}

static void on_readable(void *user)
{
    api_call *c = user;
    if (c->readable)
        c->readable(c);
}

void api_on_request(void *user, http_exchange *x)
{
    static const exchange_callbacks callbacks = {on_readable, on_writable, on_closed};
    const api_door *door = user;
    api_call *c = calloc(1, sizeof *c);
    if (!c) {
        exchange_abort(x, 503, NULL, 0);
        return;
    }
    c->k = door->k;
    c->x = x;
    c->is_local = door->is_local;
    arena_init(&c->a, 256 * MIB);
    buf_init(&c->out, 64 * MIB);
    exchange_bind(x, &callbacks, c);
    if (!origin_check(c) || !route_find(c) || !authenticate(c) || !authorise(c))
        return;
    buf_init(&c->in, c->route->body_max ? c->route->body_max : 1);
    if (c->route->streams) {
        c->route->run(c);
    } else if (exchange_request(x)->content_length > (int64_t)c->route->body_max) {
        api_fail_status(c, 413, "the body is too long");
    } else {
        c->readable = body_read;
        body_read(c);
    }
}
