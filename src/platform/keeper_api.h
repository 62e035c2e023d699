/* The admin API of `ebb serve`: who may ask what, and how a request becomes an answer. Private to
 * keeper_*.c. The table of routes (keeper_routes.c) is the only list of what there is: requests are
 * matched with it, docs/openapi.json is made from it, the authorisation test walks it.
 *
 * A call's life: head checked (host, origin, route, token, role, tenant) → body read whole, unless
 * the route streams → run → perhaps jobs, builds, workers → api_answer or api_fail, once. The
 * client may go at any moment: then x is NULL, what is under way ends as it would, and nobody is
 * told. */
#pragma once

#include "platform/builder.h"
#include "platform/keeper_impl.h"
#include "platform/node_settings.h"
#include "store/catalogue.h"

#include <jansson.h>

enum { API_PARAMS_MAX = 4, API_BODY_MAX = 1 << 20 };

typedef struct api_call api_call;

typedef enum {
    API_OPEN,   /* anybody */
    API_SELF,   /* any token */
    API_TENANT, /* {tenant} is in the path: its own tokens, and the operator's */
    API_NODE,   /* the operator's tokens */
} api_scope;

typedef struct {
    const char *method, *path;
    api_scope scope;
    catalogue_role least;
    void (*run)(api_call *c);
    size_t body_max; /* 0: a body is refused */
    bool streams;    /* run is called before the body */
    const char *summary;
    const char *asks;    /* members of the JSON body: "name*: string, quota: object"; NULL: none */
    const char *answers; /* what a 200 holds */
} api_route;

extern const api_route api_routes[];
extern const size_t api_routes_count;

struct api_call {
    keeper *k;
    http_exchange *x; /* NULL: the client has gone */
    const api_route *route;
    str params[API_PARAMS_MAX]; /* of the path, in order */
    arena a;
    catalogue_token who;
    catalogue_tenant tenant; /* API_TENANT */
    bool is_local;           /* by admin.sock */
    buf in, out;
    size_t written;
    json_t *json; /* the body */
    bool answering;
    bool more;     /* what is in out is not all: api_more */
    unsigned busy; /* jobs and the like that know this call */
    void (*readable)(api_call *c);
    void (*gone)(api_call *c); /* x has become NULL; may be NULL */
    catalogue_job job;
    bool (*apply)(api_call *c, catalogue_db *db, err *e);
    void (*done)(api_call *c);
    void *own; /* of the route, in the arena */
};

/* keeper_api.c */
typedef struct {
    keeper *k;
    bool is_local;
} api_door;
void api_on_request(void *user, http_exchange *x); /* user: an api_door */
void api_json_take(api_call *c, unsigned status, json_t *j);
/* Puts c->out, which holds the body. */
void api_answer(api_call *c, unsigned status, str type);
/* Starts an answer whose length nobody knows; then c->out is filled and api_more called, any number
 * of times; last ends it. Only while c->x is there. */
bool api_stream(api_call *c, str type);
void api_more(api_call *c, bool last);
void api_fail(api_call *c, const err *e);
void api_fail_status(api_call *c, unsigned status, const char *text);
/* Nothing more is under way for a client that has gone? Then the call is freed. True: it is. */
bool api_is_over(api_call *c);
/* Applies on the work thread, then done on the loop, only if it succeeded; else api_fail. */
void api_submit(api_call *c, bool (*apply)(api_call *c, catalogue_db *db, err *e),
                void (*done)(api_call *c));
/* Workers forget the app (0: all names; is_tenant: all apps of c->tenant), then done on the loop.
 * The cron triggers of one app are read anew; of others serve_app_changed does that. */
void api_forget(api_call *c, uint64_t app, bool is_tenant, void (*done)(api_call *c));
/* For apply: notes what is done, by whom. */
bool api_audit(api_call *c, catalogue_db *db, const char *action, str subject, err *e);
/* A member of the body; absent: *ret unchanged. ERR_INVALID names it. */
bool api_text(api_call *c, const char *name, str *ret, err *e);
bool api_number(api_call *c, const char *name, int64_t min, int64_t max, int64_t *ret, err *e);
/* A parameter of the query, decoded; n 0: absent. */
str api_query(api_call *c, const char *name);
/* The app of the path; false: it has been answered with 404. */
bool api_app(api_call *c, catalogue_app *ret);
json_t *api_str(str s);
quota api_quota(const api_call *c);
str api_url(api_call *c, str app, str tenant);

/* What the routes run, by the file they are in. */
void api_page(api_call *c);   /* keeper_pages.c */
void api_whoami(api_call *c); /* keeper_tenants.c */
void api_tenants(api_call *c);
void api_tenant_make(api_call *c);
void api_tenant_show(api_call *c);
void api_tenant_delete(api_call *c);
void api_quota_set(api_call *c);
void api_egress_set(api_call *c);
void api_tokens(api_call *c);
void api_token_make(api_call *c);
void api_token_delete(api_call *c);
void api_audit_show(api_call *c);
void api_blob_head(api_call *c); /* keeper_blobs.c */
void api_blob_put(api_call *c);
void api_apps(api_call *c); /* keeper_apps.c */
void api_app_show(api_call *c);
void api_app_delete(api_call *c);
void api_carbon(api_call *c);
void api_now(api_call *c);
void api_day(api_call *c);
void api_outlook(api_call *c);
void api_rollback(api_call *c);
void api_hosts_set(api_call *c);
void api_variables(api_call *c);
void api_variables_set(api_call *c);
void api_deploy(api_call *c); /* keeper_deploy.c */
void api_bulk(api_call *c);
void api_logs(api_call *c);    /* keeper_logs.c */
void api_kv_keys(api_call *c); /* keeper_store.c */
void api_kv_get(api_call *c);
void api_kv_set(api_call *c);
void api_kv_delete(api_call *c);
void api_sqlite(api_call *c);
void api_calls(api_call *c); /* keeper_calls_api.c */
void api_call_show(api_call *c);
void api_call_cancel(api_call *c);
void api_call_retry(api_call *c);
void api_hook_secret(api_call *c);
void api_hook_rotate(api_call *c);
void api_calls_plan(api_call *c);
void api_top(api_call *c); /* keeper_node.c */
void api_openapi(api_call *c);
void api_question(api_call *c);
void api_health(api_call *c);

/* keeper_deploy.c: the settings of an app with the variables that the catalogue has now. */
bool deploy_settings(arena *a, catalogue_db *db, uint64_t app_id, str settings, buf *out, err *e);
/* `variables` of the body: are they right; and for a job: they become the app's. */
bool deploy_variables_check(const json_t *given, err *e);
bool deploy_variables(api_call *c, catalogue_db *db, uint64_t app_id, err *e);
/* keeper_serve.c: what the keeper of `ebb serve` has beside that of `ebb up`. fds: of admin.sock
 * and of the admin address, -1: none. Before the sandbox, then after it. */
bool serve_begin(keeper *k, err *e);
bool serve_open(keeper *k, int local_fd, int tcp_fd, err *e);
/* An app was deployed, rolled back or deleted: its cron triggers are others. */
void serve_app_changed(keeper *k, uint64_t number);
/* The loop is still there. */
void serve_close(keeper *k);

/* keeper_blobs.c */
bool digest_parse(str hex, uint8_t ret[CATALOGUE_DIGEST_BYTES]);
void digest_hex(const uint8_t digest[CATALOGUE_DIGEST_BYTES], char ret[65]);
/* At the start: what a crash has left of uploads goes. */
void blobs_sweep(keeper *k);
/* Once an hour at most, after something has changed: what nobody needs is removed. */
void blobs_collect(keeper *k);
