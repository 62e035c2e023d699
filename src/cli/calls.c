/* `ebb calls`: deferred calls of a tenant (docs/defer.md). Each is one request of the admin API;
 * --json prints the answer as it came. */
#include "cli/commands.h"
#include "cli/node_client.h"

#include <stdio.h>

static double number(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}

static void line_print(const json_t *x)
{
    bool waits = str_eq(node_str(x, "state"), S("waiting"));
    str id = node_str(x, "id"), state = node_str(x, "state"), app = node_str(x, "app"),
        method = node_str(x, "method"), path = node_str(x, "path"),
        when = node_str(x, waits ? "planned_start" : "ended");
    printf("%-32.*s %-9.*s %-16.*s %.*s %.*s  %s %.*s\n", STR(id), STR(state), STR(app),
           STR(method), STR(path),
           waits    ? "planned for"
           : when.n ? "ended"
                    : "",
           STR(when));
}

static bool list(node_command *c, err *e)
{
    json_t *j;
    const char *state = options_get(&c->o, "state")->got, *app = options_get(&c->o, "app")->got;
    str asked_state = node_segment(&c->a, str_from(state ? state : "")),
        asked_app = node_segment(&c->a, str_from(app ? app : ""));
    if (!node_ask(c->client, "GET",
                  node_path(c, "/calls?limit=1000%s%.*s%s%.*s", asked_state.n ? "&state=" : "",
                            STR(asked_state), asked_app.n ? "&app=" : "", STR(asked_app)),
                  NULL, &j, e))
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    const json_t *calls = json_object_get(j, "calls");
    for (size_t i = 0; i < json_array_size(calls); i++)
        line_print(json_array_get(calls, i));
    const char *name;
    json_t *n;
    const char *comma = "";
    json_object_foreach(json_object_get(j, "counts"), name, n)
    {
        printf("%s%lld %s", comma, (long long)json_integer_value(n), name);
        comma = ", ";
    }
    printf("%s\n", json_is_string(json_object_get(j, "next")) ? "; there are more" : "");
    json_decref(j);
    return true;
}

static void text_print(const json_t *j, const char *label, const char *name)
{
    str s = node_str(j, name);
    if (s.n)
        printf("%-10s %.*s\n", label, STR(s));
}

static void call_print(const json_t *j)
{
    const json_t *result = json_object_get(j, "result"), *carbon = json_object_get(j, "carbon"),
                 *log = json_object_get(j, "log");
    text_print(j, "call", "id");
    text_print(j, "app", "app");
    text_print(j, "state", "state");
    text_print(j, "method", "method");
    text_print(j, "path", "path");
    text_print(j, "accepted", "accepted");
    text_print(j, "deadline", "deadline");
    text_print(j, "planned", "planned_start");
    text_print(j, "why", "why");
    text_print(j, "started", "started");
    text_print(j, "ended", "ended");
    text_print(j, "note", "note");
    printf("%-10s %.0f of %.0f\n", "attempts", number(j, "attempts"), number(j, "attempts_max"));
    printf("%-10s %.6f CPU-s, %.6f J\n", "use", number(j, "cpu_s"), number(j, "energy_j"));
    if (json_is_object(carbon))
        printf("%-10s %.6g g, saved %.6g g against running at once\n", "carbon",
               number(carbon, "g"), number(carbon, "saved_g"));
    if (json_is_object(result)) {
        str body = node_str(result, "body");
        printf("%-10s status %.0f\n", "result", number(result, "status"));
        if (body.n)
            printf("%.*s\n", STR(body));
    }
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *x = json_array_get(log, i);
        str stream = node_str(x, "stream"), text = node_str(x, "text");
        printf("%.*s: %.*s\n", STR(stream), STR(text));
    }
}

static bool one(node_command *c, const char *method, const char *action, err *e)
{
    str id;
    json_t *j;
    if (!node_positional(c, 1, "the id of a call", &id, e))
        return false;
    str segment = node_segment(&c->a, id);
    if (!node_ask(c->client, method, node_path(c, "/calls/%.*s%s", STR(segment), action), NULL, &j,
                  e))
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    call_print(j);
    json_decref(j);
    return true;
}

static bool secret(node_command *c, const char *method, err *e)
{
    str app;
    json_t *j;
    if (!node_positional(c, 1, "the name of an app", &app, e))
        return false;
    str segment = node_segment(&c->a, app);
    if (!node_ask(c->client, method, node_path(c, "/apps/%.*s/hook-secret", STR(segment)), NULL, &j,
                  e))
        return false;
    if (c->json) {
        node_print_take(j);
        return true;
    }
    str s = node_str(j, "secret");
    printf("%.*s\n", STR(s));
    json_decref(j);
    return true;
}

static bool run(node_command *c, err *e)
{
    str what = str_from(c->o.positionals_count ? c->o.positionals[0] : "list");
    if (str_eq(what, S("list")))
        return list(c, e);
    if (str_eq(what, S("show")))
        return one(c, "GET", "", e);
    if (str_eq(what, S("cancel")))
        return one(c, "POST", "/cancel", e);
    if (str_eq(what, S("retry")))
        return one(c, "POST", "/retry", e);
    if (str_eq(what, S("secret")))
        return secret(c, "GET", e);
    if (str_eq(what, S("rotate")))
        return secret(c, "POST", e);
    return err_set(
        e, ERR_INVALID,
        "'%.*s': there are list, show ID, cancel ID, retry ID, secret APP and rotate APP",
        STR(what));
}

int cli_calls(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS,
                     {"state", 0, OPTION_VALUE, "STATE",
                      "list only those: waiting, leased, done, failed, dead, cancelled"},
                     {"app", 0, OPTION_VALUE, "NAME", "list only those of this app"},
                     {0}};
    options o = {
        .command = "calls",
        .positional = "[list | show ID | cancel ID | retry ID | secret APP | rotate APP]",
        .options = rows,
        .summary = "Shows deferred calls of a tenant, cancels them, makes those that have "
                   "failed wait again, and shows what an app's web hooks are signed with, or makes "
                   "that anew."};
    return node_command_run(argc, argv, &o, run);
}
