/* `ebb kv` and `ebb sqlite`: the key-value stores and databases of a deployed app, through the
 * node's admin API. */
#include "cli/commands.h"
#include "cli/node_client.h"

#include "store/catalogue.h"

#include <stdio.h>

/* "/apps/<app>/<kind>/<label>" */
static bool store_path(node_command *c, const char *kind, const char *option_name, str *ret, err *e)
{
    str app, label;
    const option *given = options_get(&c->o, option_name);
    str store = node_segment(&c->a, str_from(given->given ? given->got : "default"));
    if (!node_positional(c, 0, "the app's name", &app, e) ||
        !catalogue_app_label(&c->a, app, &label, e))
        return false;
    *ret = node_path(c, "/apps/%.*s/%s/%.*s", STR(label), kind, STR(store));
    return (ret->p && store.p) || err_no_memory(e);
}

/* --- kv --------------------------------------------------------------------------------------- */

static bool piece_print(void *user, str piece)
{
    return fwrite(piece.p, 1, piece.n, stdout) == piece.n;
}

static bool kv_list(node_command *c, str path, err *e)
{
    json_t *j;
    if (!node_ask(c->client, "GET", path, NULL, &j, e))
        return false;
    const json_t *keys = json_object_get(j, "keys");
    for (size_t i = 0; !c->json && i < json_array_size(keys); i++)
        printf("%s\n", json_string_value(json_array_get(keys, i)));
    if (c->json)
        node_print_take(json_incref(j));
    json_decref(j);
    return true;
}

static bool kv(node_command *c, err *e)
{
    str path, what = S("list"), key, value;
    if (!store_path(c, "kv", "store", &path, e))
        return false;
    if (c->o.positionals_count > 1)
        what = str_from(c->o.positionals[1]);
    if (str_eq(what, S("list")))
        return kv_list(c, path, e);
    if (!node_positional(c, 2, "the key", &key, e))
        return false;
    path = arena_printf(&c->a, "%.*s/%.*s", STR(path), STR(node_segment(&c->a, key)));
    if (str_eq(what, S("get")))
        return node_follow(c->client, path, piece_print, NULL, e);
    if (str_eq(what, S("delete")))
        return node_ask(c->client, "DELETE", path, NULL, NULL, e);
    if (!str_eq(what, S("set")))
        return err_set(e, ERR_INVALID, "'%.*s': write list, get, set or delete", STR(what));
    return node_positional(c, 3, "the value", &value, e) &&
           node_put(c->client, path, (bytes){(const uint8_t *)value.p, value.n}, e);
}

int cli_kv(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"store", 0, OPTION_VALUE, "LABEL", "which of the app's stores [default]"},
                     {0}};
    options o = {.command = "kv",
                 .positional = "APP [list | get KEY | set KEY VALUE | delete KEY]",
                 .options = rows,
                 .summary = "Reads and writes a key-value store of an app."};
    return node_command_run(argc, argv, &o, kv);
}

/* --- sqlite ----------------------------------------------------------------------------------- */

static void value_print(const json_t *v)
{
    const json_t *hex = json_object_get(v, "hex");
    if (json_is_string(v))
        fwrite(json_string_value(v), 1, json_string_length(v), stdout);
    else if (hex)
        printf("x'%s'", json_string_value(hex));
    else if (json_is_integer(v))
        printf("%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        printf("%.17g", json_real_value(v));
    else
        printf("NULL");
}

static void row_print(const json_t *row)
{
    for (size_t i = 0; i < json_array_size(row); i++) {
        if (i)
            printf("|");
        value_print(json_array_get(row, i));
    }
    printf("\n");
}

static bool sqlite(node_command *c, err *e)
{
    str path, sql;
    json_t *j;
    if (!store_path(c, "sqlite", "database", &path, e) ||
        !node_positional(c, 1, "the statement", &sql, e))
        return false;
    json_t *body = json_pack("{s:s%}", "sql", sql.p, sql.n);
    bool ok = body ? node_ask(c->client, "POST", path, body, &j, e)
                   : err_set(e, ERR_INVALID, "the statement is no UTF-8");
    json_decref(body);
    if (!ok)
        return false;
    const json_t *rows = json_object_get(j, "rows");
    if (!c->json && json_array_size(json_object_get(j, "columns")))
        row_print(json_object_get(j, "columns"));
    for (size_t i = 0; !c->json && i < json_array_size(rows); i++)
        row_print(json_array_get(rows, i));
    if (c->json)
        node_print_take(json_incref(j));
    json_decref(j);
    return true;
}

int cli_sqlite(int argc, char **argv)
{
    option rows[] = {
        NODE_OPTIONS, {"database", 0, OPTION_VALUE, "LABEL", "which of the app's [default]"}, {0}};
    options o = {.command = "sqlite",
                 .positional = "APP STATEMENT",
                 .options = rows,
                 .summary = "Runs a statement on a database of an app."};
    return node_command_run(argc, argv, &o, sqlite);
}
