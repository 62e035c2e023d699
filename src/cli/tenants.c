/* Commands about tenants and the node: tenants, tokens, quota, egress, audit, top. Each is one
 * request of the admin API (audit: one a page); --json prints the answer as it came. */
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/node_client.h"

#include "store/catalogue.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static long long number(const json_t *j, const char *name)
{
    return (long long)json_integer_value(json_object_get(j, name));
}

/* Asks, lets body go, and either prints the answer (then *ret is NULL) or gives it. */
static bool ask_take(node_command *c, const char *method, str path, json_t *body, json_t **ret,
                     err *e)
{
    json_t *j;
    bool ok = node_ask(c->client, method, path, body, &j, e);
    json_decref(body);
    if (!ok)
        return false;
    *ret = c->json ? NULL : j;
    if (c->json)
        node_print_take(j);
    return true;
}

static const char *positional(const node_command *c, size_t n)
{
    return n < c->o.positionals_count ? c->o.positionals[n] : "";
}

/* --- tenants ---------------------------------------------------------------------------------- */

static bool tenants_list(node_command *c, err *e)
{
    json_t *j;
    if (!ask_take(c, "GET", S("/v1/tenants"), NULL, &j, e))
        return false;
    const json_t *list = json_object_get(j, "tenants");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        char made[32];
        str name = node_str(x, "name");
        printf("%-24.*s since %s, at most %lld apps\n", STR(name),
               node_time(number(x, "made_s"), made), number(json_object_get(x, "quota"), "apps"));
    }
    json_decref(j);
    return true;
}

static bool tenants(node_command *c, err *e)
{
    const char *what = positional(c, 0), *name = positional(c, 1);
    json_t *j;
    if (!*what)
        return tenants_list(c, e);
    if (!*name)
        return err_set(e, ERR_INVALID, "the tenant's name is missing: ebb tenants %s NAME", what);
    bool add = strcmp(what, "add") == 0;
    if (!add && strcmp(what, "remove") != 0)
        return err_set(e, ERR_INVALID, "'%s': write 'ebb tenants add NAME' or 'remove NAME'", what);
    str path =
        add ? S("/v1/tenants")
            : arena_printf(&c->a, "/v1/tenants/%.*s", STR(node_segment(&c->a, str_from(name))));
    if (!ask_take(c, add ? "POST" : "DELETE", path, add ? json_pack("{s:s}", "name", name) : NULL,
                  &j, e))
        return false;
    if (j && add)
        printf("Tenant %s. A token for its owner: ebb tokens add --role owner --tenant %s\n", name,
               name);
    else if (j)
        printf("Tenant %s is removed\n", name);
    json_decref(j);
    return true;
}

int cli_tenants(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "tenants",
                 .positional = "[add NAME | remove NAME]",
                 .options = rows,
                 .summary = "Lists, adds and removes tenants (for the operator)."};
    return node_command_run(argc, argv, &o, tenants);
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* The operator's own, or those of the tenant. */
static str tokens_path(node_command *c, const char *rest)
{
    return options_get(&c->o, "operator")->given ? arena_printf(&c->a, "/v1/tokens%s", rest)
                                                 : node_path(c, "/tokens%s", rest);
}

static bool tokens_list(node_command *c, err *e)
{
    json_t *j;
    if (!ask_take(c, "GET", tokens_path(c, ""), NULL, &j, e))
        return false;
    const json_t *list = json_object_get(j, "tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        char end[32];
        str role = node_str(x, "role"), name = node_plain(&c->a, node_str(x, "name"));
        printf("%-6lld %-9.*s expires %s  %.*s\n", number(x, "id"), STR(role),
               node_time(number(x, "expires_s"), end), STR(name));
    }
    json_decref(j);
    return true;
}

static bool token_add(node_command *c, err *e)
{
    const option *role = options_get(&c->o, "role"), *name = options_get(&c->o, "name"),
                 *days = options_get(&c->o, "days");
    uint64_t n = 90;
    json_t *j;
    if (days->given && !str_to_u64(str_from(days->got), 3650, &n))
        return err_set(e, ERR_INVALID, "--days '%s': a number up to 3650; 0: for ever", days->got);
    json_t *body = json_pack("{s:s,s:I}", "name", name->given ? name->got : "", "expires_s",
                             (json_int_t)n * 86400);
    if (!options_get(&c->o, "operator")->given)
        json_object_set_new(body, "role", json_string(role->given ? role->got : "deployer"));
    if (!ask_take(c, "POST", tokens_path(c, ""), body, &j, e))
        return false;
    if (j) {
        str token = node_str(j, "token");
        printf("Token %lld, shown this once:\n\n    %.*s\n", number(j, "id"), STR(token));
    }
    json_decref(j);
    return true;
}

static bool tokens(node_command *c, err *e)
{
    const char *what = positional(c, 0), *id = positional(c, 1);
    char rest[64];
    json_t *j;
    if (!*what)
        return tokens_list(c, e);
    if (strcmp(what, "add") == 0)
        return token_add(c, e);
    if (strcmp(what, "revoke") != 0 || !*id || strspn(id, "0123456789") != strlen(id))
        return err_set(e, ERR_INVALID, "'%s': write 'ebb tokens add' or 'ebb tokens revoke ID'",
                       what);
    snprintf(rest, sizeof rest, "/%.20s", id);
    if (!ask_take(c, "DELETE", tokens_path(c, rest), NULL, &j, e))
        return false;
    if (j)
        printf("Token %s is revoked\n", id);
    json_decref(j);
    return true;
}

int cli_tokens(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"role", 0, OPTION_VALUE, "ROLE", "reader, deployer or owner [deployer]"},
                     {"name", 0, OPTION_VALUE, "TEXT", "what it is for"},
                     {"days", 0, OPTION_VALUE, "N", "until it expires; 0: never [90]"},
                     {"operator", 0, OPTION_FLAG, NULL, "tokens of the operator"},
                     {0}};
    options o = {.command = "tokens",
                 .positional = "[add | revoke ID]",
                 .options = rows,
                 .summary = "Lists, adds and revokes the tokens of a tenant."};
    return node_command_run(argc, argv, &o, tokens);
}

/* --- quota ------------------------------------------------------------------------------------ */

static bool quota_body(node_command *c, json_t **ret, err *e)
{
    json_t *given = json_object();
    for (size_t i = 0; i < c->o.positionals_count; i++) {
        str value = str_from(c->o.positionals[i]), key = str_cut(&value, '=');
        uint64_t n;
        if (!value.p || !str_to_u64(value, INT64_MAX, &n)) {
            json_decref(given);
            return err_set(e, ERR_INVALID, "'%s': write NAME=NUMBER", c->o.positionals[i]);
        }
        json_object_setn_new(given, key.p, key.n, json_integer((json_int_t)n));
    }
    *ret = json_pack("{s:o}", "quota", given);
    return true;
}

/* Leaves what is there for 0 of a limit and for what is not counted. */
static void number_text(const json_t *v, char ret[24])
{
    if (json_integer_value(v) || (v && !*ret))
        snprintf(ret, 24, "%lld", (long long)json_integer_value(v));
}

static bool quota_run(node_command *c, err *e)
{
    bool set = c->o.positionals_count > 0;
    json_t *j, *body = NULL, *v;
    const char *key;
    if (set && !quota_body(c, &body, e))
        return false;
    if (!ask_take(c, set ? "PUT" : "GET", node_path(c, set ? "/quota" : ""), body, &j, e))
        return false;
    const json_t *now = json_object_get(j, "now"), *refused = json_object_get(j, "refused");
    if (now)
        printf("%-16s %14s %14s %10s\n", "quota", "limit", "now", "refused");
    json_object_foreach(json_object_get(j, "quota"), key, v)
    {
        char limit[24] = "no limit", used[24] = "", over[24] = "";
        number_text(v, limit);
        number_text(json_object_get(now, key), used);
        number_text(json_object_get(refused, key), over);
        if (now)
            printf("%-16s %14s %14s %10s\n", key, limit, used, over);
        else
            printf("%-16s %s\n", key, limit);
    }
    json_decref(j);
    return true;
}

int cli_quota(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "quota",
                 .positional = "[NAME=NUMBER...]",
                 .options = rows,
                 .summary = "Shows what a tenant may use; the operator changes it."};
    return node_command_run(argc, argv, &o, quota_run);
}

/* --- egress ----------------------------------------------------------------------------------- */

static bool egress_run(node_command *c, err *e)
{
    _cleanup_(buf_fini) buf networks;
    json_t *j, *body = NULL;
    size_t n = c->o.positionals_count;
    buf_init(&networks, 64 * KIB);
    for (size_t i = 0; i < n; i++)
        if (n > 1 || strcmp(c->o.positionals[i], "none") != 0)
            buf_printf(&networks, "%s%s", i ? ", " : "", c->o.positionals[i]);
    if (n)
        body = json_pack("{s:s%}", "allow", networks.n ? (char *)networks.p : "", networks.n);
    if (!ask_take(c, n ? "PUT" : "GET", node_path(c, n ? "/egress" : ""), body, &j, e))
        return false;
    str allowed = node_str(j, "egress");
    if (j)
        printf("%.*s\n", STR(allowed.n ? allowed : S("nothing but the Internet")));
    json_decref(j);
    return true;
}

int cli_egress(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "egress",
                 .positional = "[NETWORK... | none]",
                 .options = rows,
                 .summary = "Shows which networks that are not on the Internet a tenant's apps may "
                            "reach; the operator changes them."};
    return node_command_run(argc, argv, &o, egress_run);
}

/* --- audit ------------------------------------------------------------------------------------ */

/* *left: how many more are wanted. False: that was the last page. */
static bool events_print(node_command *c, const json_t *list, uint64_t *left)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && *left; i++, --*left) {
        json_t *x = json_array_get(list, i);
        char when[32];
        str tenant = node_str(x, "tenant"), actor = node_plain(&c->a, node_str(x, "actor")),
            action = node_str(x, "action"), subject = node_plain(&c->a, node_str(x, "subject"));
        if (c->json)
            node_print_take(json_incref(x));
        else
            printf("%s  %-16.*s %-24.*s %.*s%s%.*s\n", node_time(number(x, "t_s"), when),
                   STR(tenant), STR(actor), STR(action), subject.n ? ": " : "", STR(subject));
    }
    return n == CATALOGUE_PAGE_MAX && *left;
}

static bool audit(node_command *c, err *e)
{
    const option *lines = options_get(&c->o, "lines");
    bool all = options_get(&c->o, "all")->given, more = true;
    uint64_t left = 100;
    long long before = 0;
    if (lines->given && !str_to_u64(str_from(lines->got), INT64_MAX, &left))
        return err_set(e, ERR_INVALID, "--lines: a number, not '%s'", lines->got);
    while (more) {
        char query[40] = "";
        json_t *j;
        if (before)
            snprintf(query, sizeof query, "?before=%lld", before);
        str path =
            all ? arena_printf(&c->a, "/v1/audit%s", query) : node_path(c, "/audit%s", query);
        if (!node_ask(c->client, "GET", path, NULL, &j, e))
            return false;
        const json_t *list = json_object_get(j, "events");
        more = events_print(c, list, &left);
        before = number(json_array_get(list, json_array_size(list) - 1), "id");
        json_decref(j);
    }
    return true;
}

int cli_audit(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"lines", 'n', OPTION_VALUE, "N", "of the newest [100]"},
                     {"all", 0, OPTION_FLAG, NULL, "of all tenants and the node, for the operator"},
                     {0}};
    options o = {.command = "audit",
                 .options = rows,
                 .summary = "Shows who has changed what, the newest first."};
    return node_command_run(argc, argv, &o, audit);
}

/* --- top -------------------------------------------------------------------------------------- */

static void top_print(const json_t *j)
{
    const json_t *processes = json_object_get(j, "processes"), *apps = json_object_get(j, "apps");
    str node = node_str(j, "node");
    printf("%.*s: %lld apps deployed\n\n%-14s %10s %10s\n", STR(node), number(j, "apps_deployed"),
           "process", "cpu s", "resident");
    for (size_t i = 0; i < json_array_size(processes); i++) {
        const json_t *x = json_array_get(processes, i);
        str name = node_str(x, "name");
        printf("%-14.*s %10.2f %7.1f MB\n", STR(name),
               json_number_value(json_object_get(x, "cpu_s")),
               (double)number(x, "resident_bytes") / 1e6);
    }
    printf("\n%-40s %10s %10s %10s\n", "app (last minute)", "calls", "cpu s", "peak");
    for (size_t i = 0; i < json_array_size(apps); i++) {
        const json_t *x = json_array_get(apps, i);
        str name = node_str(x, "app");
        printf("%-40.*s %10lld %10.3f %7.1f MB\n", STR(name), number(x, "calls"),
               json_number_value(json_object_get(x, "cpu_s")),
               (double)number(x, "memory_peak_bytes") / 1e6);
    }
}

/* On a terminal anew every two seconds; else once. */
static bool top(node_command *c, err *e)
{
    bool again = !c->json && isatty(STDOUT_FILENO) && !options_get(&c->o, "once")->given;
    do {
        json_t *j;
        if (!ask_take(c, "GET", S("/v1/top"), NULL, &j, e))
            return false;
        if (again)
            printf("\x1b[H\x1b[2J");
        if (j)
            top_print(j);
        json_decref(j);
        fflush(stdout);
    } while (again && nanosleep(&(struct timespec){2, 0}, NULL) == 0);
    return true;
}

int cli_top(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {"once", 0, OPTION_FLAG, NULL, "print once and end"}, {0}};
    options o = {.command = "top",
                 .options = rows,
                 .summary = "Shows what a node does now (for the operator)."};
    return node_command_run(argc, argv, &o, top);
}
