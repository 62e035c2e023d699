/* Commands about deployed apps: apps, status, rollback, delete, hosts, variables. Each is one
 * request of the admin API; --json prints the answer as it came. */
#include "cli/commands.h"
#include "cli/node_client.h"

#include "store/catalogue.h"

#include <stdio.h>

static long long number(const json_t *j, const char *name)
{
    return (long long)json_integer_value(json_object_get(j, name));
}

/* "/apps/<app>..." of the app that the n-th positional names. */
static bool app_path(node_command *c, size_t n, const char *rest, str *ret, err *e)
{
    str name, label;
    if (!node_positional(c, n, "the app's name", &name, e) ||
        !catalogue_app_label(&c->a, name, &label, e))
        return false;
    *ret = node_path(c, "/apps/%.*s%s", STR(label), rest);
    return ret->p || err_no_memory(e);
}

/* --- apps ------------------------------------------------------------------------------------- */

/* One page after the other; each is printed when it comes. */
static bool apps(node_command *c, err *e)
{
    str after = S("");
    size_t n = CATALOGUE_PAGE_MAX;
    while (n == CATALOGUE_PAGE_MAX) {
        json_t *j, *list;
        if (!node_ask(c->client, "GET", node_path(c, "/apps?after=%.*s", STR(after)), NULL, &j, e))
            return false;
        list = json_object_get(j, "apps");
        n = json_array_size(list);
        for (size_t i = 0; i < n; i++) {
            const json_t *x = json_array_get(list, i);
            char made[32];
            str name = node_str(x, "name"), url = node_str(x, "url");
            if (c->json) {
                node_print_take(json_incref((json_t *)(uintptr_t)x));
                continue;
            }
            printf("%-24.*s revision %-4lld %s  %.*s\n", STR(name), number(x, "revision"),
                   node_time(number(x, "made_s"), made), STR(url));
        }
        if (n)
            after = arena_str(&c->a, node_str(json_array_get(list, n - 1), "name"));
        json_decref(j);
    }
    return true;
}

int cli_apps(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "apps", .options = rows, .summary = "Lists the tenant's apps."};
    return node_command_run(argc, argv, &o, apps);
}

/* --- status ----------------------------------------------------------------------------------- */

static void status_print(const json_t *j)
{
    char made[32];
    const json_t *hosts = json_object_get(j, "hosts"), *revisions = json_object_get(j, "revisions"),
                 *components = json_object_get(j, "components");
    str name = node_str(j, "name"), url = node_str(j, "url");
    printf("%.*s  %.*s\n", STR(name), STR(url));
    for (size_t i = 0; i < json_array_size(hosts); i++)
        printf("  host       %s\n", json_string_value(json_array_get(hosts, i)));
    for (size_t i = 0; i < json_array_size(components); i++) {
        const json_t *x = json_array_get(components, i);
        str id = node_str(x, "id"), digest = node_str(x, "digest");
        printf("  component  %.*s  sha256:%.*s\n", STR(id), STR(digest));
    }
    for (size_t i = 0; i < json_array_size(revisions); i++) {
        const json_t *x = json_array_get(revisions, i);
        printf("  revision   %lld  %s%s\n", number(x, "number"),
               node_time(number(x, "made_s"), made),
               number(x, "number") == number(j, "revision") ? "  live" : "");
    }
}

static bool status(node_command *c, err *e)
{
    str path;
    json_t *j;
    if (!app_path(c, 0, "", &path, e) || !node_ask(c->client, "GET", path, NULL, &j, e))
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    status_print(j);
    json_decref(j);
    return true;
}

int cli_status(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "status",
                 .positional = "APP",
                 .options = rows,
                 .summary = "Shows an app: its address, components and kept revisions."};
    return node_command_run(argc, argv, &o, status);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Sends body, which it lets go, and prints what became of the app. */
static bool change_take(node_command *c, const char *method, str path, json_t *body,
                        const char *done, err *e)
{
    json_t *j;
    bool ok = node_ask(c->client, method, path, body, &j, e);
    json_decref(body);
    if (!ok)
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    printf("%s %s", c->o.positionals[0], done);
    if (json_object_get(j, "revision"))
        printf(" revision %lld", number(j, "revision"));
    printf("\n");
    json_decref(j);
    return true;
}

static bool rollback(node_command *c, err *e)
{
    const option *to = options_get(&c->o, "to");
    uint64_t n = 0;
    str path;
    if (to->given && (!str_to_u64(str_from(to->got), UINT32_MAX, &n) || !n))
        return err_set(e, ERR_INVALID, "--to '%s': give the number of a revision", to->got);
    json_t *body = n ? json_pack("{s:I}", "revision", (json_int_t)n) : json_object();
    if (!app_path(c, 0, "/rollback", &path, e)) {
        json_decref(body);
        return false;
    }
    return change_take(c, "POST", path, body, "is back at", e);
}

int cli_rollback(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"to", 0, OPTION_VALUE, "N", "a kept revision [that before the live one]"},
                     {0}};
    options o = {.command = "rollback",
                 .positional = "APP",
                 .options = rows,
                 .summary = "Makes an older revision of an app live again."};
    return node_command_run(argc, argv, &o, rollback);
}

static bool delete_it(node_command *c, err *e)
{
    str path;
    return app_path(c, 0, "", &path, e) &&
           change_take(c, "DELETE", path, NULL, "is deleted, with its state and logs", e);
}

int cli_delete(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "delete",
                 .positional = "APP",
                 .options = rows,
                 .summary = "Removes an app with its state and logs."};
    return node_command_run(argc, argv, &o, delete_it);
}

static bool hosts(node_command *c, err *e)
{
    str path;
    if (!app_path(c, 0, "/hosts", &path, e))
        return false;
    json_t *list = json_array();
    for (size_t i = 1; i < c->o.positionals_count; i++)
        json_array_append_new(list, json_string(c->o.positionals[i]));
    return change_take(c, "PUT", path, json_pack("{s:o}", "hosts", list), "has these hosts now", e);
}

int cli_hosts(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "hosts",
                 .positional = "APP [HOST...]",
                 .options = rows,
                 .summary = "Gives an app these hosts of its own, instead of those before."};
    return node_command_run(argc, argv, &o, hosts);
}

/* --- variables -------------------------------------------------------------------------------- */

static bool variables_body(node_command *c, json_t **ret, err *e)
{
    const option *remove = options_get(&c->o, "remove");
    json_t *given = json_object();
    for (size_t i = 1; i < c->o.positionals_count; i++) {
        str value = str_from(c->o.positionals[i]), key = str_cut(&value, '=');
        if (!value.p || !key.n) {
            json_decref(given);
            return err_set(e, ERR_INVALID, "'%s': write NAME=VALUE", c->o.positionals[i]);
        }
        json_object_setn_new(given, key.p, key.n, json_stringn(value.p, value.n));
    }
    for (size_t i = 0; i < remove->count; i++)
        json_object_set_new(given, remove->all[i], json_null());
    *ret = json_object_size(given) ? json_pack("{s:O}", "variables", given) : NULL;
    json_decref(given);
    return true;
}

static bool variables(node_command *c, err *e)
{
    json_t *j, *body;
    str path;
    if (!app_path(c, 0, "/variables", &path, e) || !variables_body(c, &body, e))
        return false;
    bool ok = node_ask(c->client, body ? "PUT" : "GET", path, body, &j, e);
    json_decref(body);
    if (!ok)
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    const json_t *names = json_object_get(j, "variables");
    for (size_t i = 0; i < json_array_size(names); i++)
        printf("%s\n", json_string_value(json_array_get(names, i)));
    json_decref(j);
    return true;
}

int cli_variables(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"remove", 0, OPTION_REPEAT, "NAME", "takes the value of a variable away"},
                     {0}};
    options o = {.command = "variables",
                 .positional = "APP [NAME=VALUE...]",
                 .options = rows,
                 .summary =
                     "Sets variables of an app, or lists which are set; values are not shown."};
    return node_command_run(argc, argv, &o, variables);
}

/* --- logs ------------------------------------------------------------------------------------- */

static bool piece_print(void *user, str piece)
{
    return fwrite(piece.p, 1, piece.n, stdout) == piece.n && fflush(stdout) == 0;
}

static bool logs(node_command *c, err *e)
{
    const option *lines = options_get(&c->o, "lines");
    str path;
    if (!app_path(c, 0, "/logs", &path, e))
        return false;
    path = arena_printf(&c->a, "%.*s?lines=%s%s%s", STR(path), lines->given ? lines->got : "100",
                        options_get(&c->o, "follow")->given ? "&follow=1" : "",
                        c->json ? "&format=json" : "");
    return node_follow(c->client, path, piece_print, NULL, e);
}

int cli_logs(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"follow", 'f', OPTION_FLAG, NULL, "print those that come, too"},
                     {"lines", 'n', OPTION_VALUE, "N", "of the newest [100]"},
                     {0}};
    options o = {.command = "logs",
                 .positional = "APP",
                 .options = rows,
                 .summary = "Shows what the components of an app have printed."};
    return node_command_run(argc, argv, &o, logs);
}
