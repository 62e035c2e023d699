/* The table of routes of the admin API, and its description as OpenAPI 3.1 (docs/openapi.json is
 * what `GET /openapi.json` answers; a test compares them). */
#include "platform/keeper_api.h"

#include <stdlib.h>

#define T    "/v1/tenants/{tenant}"
#define A    T "/apps/{app}"
#define BODY API_BODY_MAX
#define BULK (64 * 1024 * 1024)

#define ANY      CATALOGUE_NOBODY
#define READER   CATALOGUE_READER
#define DEPLOYER CATALOGUE_DEPLOYER
#define OWNER    CATALOGUE_OWNER
#define OPERATOR CATALOGUE_OPERATOR

const api_route api_routes[] = {
    {"GET", "/healthz", API_OPEN, ANY, api_health, 0, false, "The node is up", NULL, "OK"},
    {"GET", "/openapi.json", API_OPEN, ANY, api_openapi, 0, false, "This description", NULL,
     "OpenAPI 3.1"},
    {"GET", "/", API_OPEN, ANY, api_page, 0, false, "The dashboard (docs/dashboard.md)", NULL,
     "HTML"},
    {"GET", "/ui/{file}", API_OPEN, ANY, api_page, 0, false, "What the dashboard needs", NULL,
     "CSS, JavaScript"},
    {"GET", "/v1/whoami", API_SELF, READER, api_whoami, 0, false, "Whose token this is", NULL,
     "role, tenant, name, expires, node"},

    {"GET", "/v1/tenants", API_NODE, OPERATOR, api_tenants, 0, false,
     "Tenants by name; after=NAME continues", NULL, "tenants"},
    {"POST", "/v1/tenants", API_NODE, OPERATOR, api_tenant_make, BODY, false, "Makes a tenant",
     "name*: string, quota: object", "name, quota"},
    {"GET", T, API_TENANT, READER, api_tenant_show, 0, false,
     "A tenant, what it uses now, and what its quotas refused", NULL,
     "name, quota, egress, apps, blob_bytes, now, refused"},
    {"DELETE", T, API_NODE, OPERATOR, api_tenant_delete, 0, false,
     "Removes a tenant that has no apps", NULL, ""},
    {"PUT", T "/quota", API_NODE, OPERATOR, api_quota_set, BODY, false,
     "Changes what a tenant may use; members left out stay", "quota*: object", "name, quota"},
    {"PUT", T "/egress", API_NODE, OPERATOR, api_egress_set, BODY, false,
     "Networks that its apps may reach besides the Internet, as 10.1.0.0/16 with commas",
     "allow*: string", "name, egress"},
    {"GET", T "/tokens", API_TENANT, OWNER, api_tokens, 0, false, "Its tokens, without their text",
     NULL, "tokens"},
    {"POST", T "/tokens", API_TENANT, OWNER, api_token_make, BODY, false,
     "Makes a token: reader, deployer or owner", "role*: string, name: string, expires_s: integer",
     "id, token: shown this once"},
    {"DELETE", T "/tokens/{token}", API_TENANT, OWNER, api_token_delete, 0, false,
     "Revokes a token", NULL, ""},
    {"GET", T "/audit", API_TENANT, OWNER, api_audit_show, 0, false,
     "What was done to it; before=ID continues", NULL, "events"},

    {"HEAD", T "/blobs/{digest}", API_TENANT, DEPLOYER, api_blob_head, 0, false,
     "Has the tenant sent this blob? 200 or 404", NULL, ""},
    {"PUT", T "/blobs/{digest}", API_TENANT, DEPLOYER, api_blob_put, 0, true,
     "Sends a blob; digest is sha256:<64 hex digits> of the body", NULL, ""},

    {"GET", T "/apps", API_TENANT, READER, api_apps, 0, false, "Apps by name; after=NAME continues",
     NULL, "apps"},
    {"GET", T "/apps/{app}/hook-secret", API_TENANT, DEPLOYER, api_hook_secret, 0, false,
     "What web hooks of the app's deferred calls are signed with (docs/defer.md)", NULL, "secret"},
    {"POST", T "/apps/{app}/hook-secret", API_TENANT, DEPLOYER, api_hook_rotate, BODY, false,
     "Makes a new one; hooks are signed with the one before too, until the next", NULL, "secret"},
    {"GET", T "/calls", API_TENANT, READER, api_calls, 0, false,
     "Deferred calls, the newest first; state=S, app=NAME, limit=N, after=ID continues", NULL,
     "calls, next, counts, bytes"},
    {"GET", T "/calls/{call}", API_TENANT, READER, api_call_show, 0, false,
     "A deferred call with its result and log (docs/defer.md)", NULL,
     "id, state, planned_start, why, result, log, carbon"},
    {"POST", T "/calls/{call}/cancel", API_TENANT, DEPLOYER, api_call_cancel, BODY, false,
     "Cancels a call that waits or runs", NULL, "the call"},
    {"POST", T "/calls/{call}/retry", API_TENANT, DEPLOYER, api_call_retry, BODY, false,
     "Makes a call that is failed, dead or cancelled wait again, for a day", NULL, "the call"},
    {"GET", T "/carbon", API_TENANT, READER, api_carbon, 0, false,
     "Energy and carbon of its apps as a tenant may see them, from=T to=T (docs/carbon.md)", NULL,
     "from, to, j_per_cpu_s, apps, days"},
    {"GET", T "/now", API_TENANT, READER, api_now, 0, false,
     "The last minutes of its apps; with follow=1 again every ten seconds, as server-sent events",
     NULL, "docs/dashboard.md"},
    {"GET", T "/day", API_TENANT, READER, api_day, 0, false, "The last 24 hours of its apps", NULL,
     "docs/dashboard.md"},
    {"GET", T "/outlook", API_TENANT, READER, api_outlook, 0, false,
     "The grid: the last day and the forecast", NULL, "docs/dashboard.md"},
    {"GET", A, API_TENANT, READER, api_app_show, 0, false, "An app", NULL,
     "name, url, hosts, revision, revisions, components"},
    {"PUT", A, API_TENANT, DEPLOYER, api_deploy, BODY, false,
     "Deploys: app is a locked app whose sources and files have digests of blobs that were sent",
     "app*: object, hosts: array, variables: object", "name, url, hosts, revision"},
    {"DELETE", A, API_TENANT, DEPLOYER, api_app_delete, 0, false,
     "Removes an app with its state and logs", NULL, ""},
    {"POST", A "/rollback", API_TENANT, DEPLOYER, api_rollback, BODY, false,
     "Makes a kept revision live; without one, that before the live one", "revision: integer",
     "name, revision"},
    {"PUT", A "/hosts", API_TENANT, DEPLOYER, api_hosts_set, BODY, false,
     "The app's own hosts, instead of those before", "hosts*: array", "hosts"},
    {"GET", A "/variables", API_TENANT, DEPLOYER, api_variables, 0, false,
     "Names of the variables that have a value; values are never shown", NULL, "variables"},
    {"PUT", A "/variables", API_TENANT, DEPLOYER, api_variables_set, BODY, false,
     "Sets variables; null takes one away", "variables*: object", "variables"},
    {"GET", A "/kv/{store}", API_TENANT, DEPLOYER, api_kv_keys, 0, false,
     "Keys of a key-value store", NULL, "keys"},
    {"GET", A "/kv/{store}/{key}", API_TENANT, DEPLOYER, api_kv_get, 0, false, "The value of a key",
     NULL, "the value"},
    {"PUT", A "/kv/{store}/{key}", API_TENANT, DEPLOYER, api_kv_set, BODY, false,
     "Sets a key to the body", NULL, ""},
    {"DELETE", A "/kv/{store}/{key}", API_TENANT, DEPLOYER, api_kv_delete, 0, false,
     "Takes a key away", NULL, ""},
    {"POST", A "/sqlite/{database}", API_TENANT, DEPLOYER, api_sqlite, BODY, false,
     "Runs a statement on a database", "sql*: string", "columns, rows, changes"},
    {"GET", A "/logs", API_TENANT, READER, api_logs, 0, false,
     "The newest lines (lines=N, 100), then with follow=1 those that come", NULL, "text"},

    {"GET", "/v1/tokens", API_NODE, OPERATOR, api_tokens, 0, false, "The operator's tokens", NULL,
     "tokens"},
    {"POST", "/v1/tokens", API_NODE, OPERATOR, api_token_make, BODY, false,
     "Makes an operator's token", "name: string, expires_s: integer, role: string",
     "id, token: shown this once"},
    {"DELETE", "/v1/tokens/{token}", API_NODE, OPERATOR, api_token_delete, 0, false,
     "Revokes an operator's token", NULL, ""},
    {"GET", "/v1/audit", API_NODE, OPERATOR, api_audit_show, 0, false,
     "What was done on the node; before=ID continues", NULL, "events"},
    {"POST", "/v1/bulk", API_NODE, OPERATOR, api_bulk, BULK, false,
     "Deploys many apps of known blobs in one transaction, for tests and probes",
     "tenant*: string, apps*: array", "apps"},
    {"GET", "/v1/calls/plan", API_NODE, OPERATOR, api_calls_plan, 0, false,
     "When deferred work is planned, by slot, and how much waits", NULL,
     "slot_s, slots, unplaced_cpu_s, waiting, running, next_start, counts"},
    {"GET", "/v1/top", API_NODE, OPERATOR, api_top, 0, false,
     "What the node does now: processes, and apps by use", NULL, "processes, apps, counts"},
    {"GET", "/v1/carbon/now", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md", NULL,
     "JSON"},
    {"GET", "/v1/carbon/forecast", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md",
     NULL, "JSON"},
    {"GET", "/v1/carbon/report", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md", NULL,
     "JSON, Prometheus, manifest or HTML"},
    {"GET", "/v1/carbon/tenant", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md", NULL,
     "JSON"},
    {"GET", "/v1/now", API_NODE, OPERATOR, api_question, 0, false,
     "The last minutes of the node; with follow=1 again every ten seconds, as server-sent events",
     NULL, "docs/dashboard.md"},
    {"GET", "/v1/day", API_NODE, OPERATOR, api_question, 0, false, "The last 24 hours of the node",
     NULL, "docs/dashboard.md"},
    {"GET", "/v1/outlook", API_NODE, OPERATOR, api_question, 0, false,
     "The grid: the last day and the forecast", NULL, "docs/dashboard.md"},
    {"GET", "/v1/usage", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md", NULL, "CSV"},
    {"GET", "/v1/usage/check", API_NODE, OPERATOR, api_question, 0, false, "docs/carbon.md", NULL,
     "JSON"},
    {"GET", "/metrics", API_NODE, OPERATOR, api_question, 0, false, "For Prometheus", NULL, "text"},
};
const size_t api_routes_count = sizeof api_routes / sizeof *api_routes;

/* --- OpenAPI ---------------------------------------------------------------------------------- */

static const char *const scopes[] = {"anybody", "any token", "tokens of the tenant",
                                     "tokens of the operator"};
static const char *const roles[] = {"anybody", "reader", "deployer", "owner", "operator"};

static json_t *parameters(const char *path)
{
    json_t *list = json_array();
    for (const char *at = path; (at = strchr(at, '{')); at++) {
        size_t n = strcspn(at + 1, "}");
        json_array_append_new(list, json_pack("{s:s%,s:s,s:b,s:{s:s}}", "name", at + 1, n, "in",
                                              "path", "required", 1, "schema", "type", "string"));
    }
    return list;
}

/* "name*: string, quota: object" as a JSON schema. */
static json_t *schema_of(const char *asks)
{
    str all = str_from(asks);
    json_t *properties = json_object(), *required = json_array();
    while (all.n) {
        str type = str_cut(&all, ','), name = str_trim(str_cut(&type, ':'));
        bool must_have = name.p[name.n - 1] == '*';
        name.n -= must_have;
        type = str_trim(type);
        json_object_setn_new(properties, name.p, name.n,
                             json_pack("{s:s%}", "type", type.p, type.n));
        if (must_have)
            json_array_append_new(required, api_str(name));
    }
    json_t *s = json_pack("{s:s,s:o}", "type", "object", "properties", properties);
    if (json_array_size(required))
        json_object_set(s, "required", required);
    json_decref(required);
    return s;
}

static json_t *operation(const api_route *r)
{
    json_t *o = json_pack("{s:s,s:s,s:s,s:o}", "summary", r->summary, "x-scope", scopes[r->scope],
                          "x-least-role", roles[r->least], "parameters", parameters(r->path));
    if (r->asks)
        json_object_set_new(o, "requestBody",
                            json_pack("{s:b,s:{s:{s:o}}}", "required", strchr(r->asks, '*') != NULL,
                                      "content", "application/json", "schema", schema_of(r->asks)));
    if (r->streams)
        json_object_set_new(
            o, "requestBody",
            json_pack("{s:b,s:{s:{}}}", "required", 1, "content", "application/octet-stream"));
    json_object_set_new(o, "responses",
                        json_pack("{s:{s:s},s:{s:s}}", "200", "description",
                                  *r->answers ? r->answers : "done", "default", "description",
                                  "{\"error\": text}; 429 and 503 with Retry-After"));
    if (r->scope == API_OPEN)
        json_object_set_new(o, "security", json_array());
    return o;
}

void api_openapi(api_call *c)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < api_routes_count; i++) {
        const api_route *r = &api_routes[i];
        char method[8];
        size_t n = strlen(r->method);
        for (size_t k = 0; k <= n; k++)
            method[k] = (char)(r->method[k] ? r->method[k] | 0x20 : 0);
        json_t *path = json_object_get(paths, r->path);
        if (!path) {
            path = json_object();
            json_object_set_new(paths, r->path, path);
        }
        json_object_set_new(path, method, operation(r));
    }
    json_t *doc =
        json_pack("{s:s,s:{s:s,s:s,s:s},s:[{s:[]}],s:{s:{s:{s:s,s:s}}},s:o}", "openapi", "3.1.0",
                  "info", "title", "ebb", "version", "1", "description",
                  "The admin API of an ebb node. Made from the table of routes that answers.",
                  "security", "token", "components", "securitySchemes", "token", "type", "http",
                  "scheme", "bearer", "paths", paths);
    char *text = doc ? json_dumps(doc, JSON_INDENT(1)) : NULL;
    json_decref(doc);
    if (text)
        buf_put_str(&c->out, str_from(text));
    buf_put_u8(&c->out, '\n');
    free(text);
    api_answer(c, 200, S("application/json"));
}
