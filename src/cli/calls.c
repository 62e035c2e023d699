/* `ebb calls`: deferred calls of a tenant (docs/defer.md). Each is one request of the admin API
 * (list: one a page); --json prints the answer as it came.
 *
 * What a guest or its client has written is shown as it is to a file or a pipe only: a terminal
 * would obey it. */
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/node_client.h"

#include <stdio.h>
#include <unistd.h>

static double number(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}

static str shown(node_command *c, str s)
{
    return isatty(STDOUT_FILENO) ? node_plain(&c->a, s) : s;
}

static void line_print(node_command *c, const json_t *x)
{
    bool waits = str_eq(node_str(x, "state"), S("waiting"));
    str id = node_str(x, "id"), state = node_str(x, "state"), app = node_str(x, "app"),
        method = node_str(x, "method"), path = shown(c, node_str(x, "path")),
        when = node_str(x, waits ? "planned_start" : "ended");
    printf("%-32.*s %-9.*s %-16.*s %.*s %.*s  %s %.*s\n", STR(id), STR(state), STR(app),
           STR(method), STR(path),
           waits    ? "planned for"
           : when.n ? "ended"
                    : "",
           STR(when));
}

static void counts_print(const json_t *j)
{
    const char *name, *comma = "";
    json_t *n;
    json_object_foreach(json_object_get(j, "counts"), name, n)
    {
        printf("%s%lld %s", comma, (long long)json_integer_value(n), name);
        comma = ", ";
    }
    printf("%s\n", json_is_string(json_object_get(j, "next")) ? "; there are more (--lines)" : "");
}

/* The newest, page by page; a page may be short though there are more. */
static bool list(node_command *c, err *e)
{
    const option *lines = options_get(&c->o, "lines");
    const char *state = options_get(&c->o, "state")->got, *app = options_get(&c->o, "app")->got;
    str asked_state = node_segment(&c->a, str_from(state ? state : "")),
        asked_app = node_segment(&c->a, str_from(app ? app : "")), after = {0};
    uint64_t left = QUEUE_PAGE_MAX;
    bool more = true;
    if (lines->given && (!str_to_u64(str_from(lines->got), INT64_MAX, &left) || !left))
        return err_set(e, ERR_INVALID, "--lines: a number from 1 on, not '%s'", lines->got);
    while (more) {
        json_t *j;
        unsigned limit = left < QUEUE_PAGE_MAX ? (unsigned)left : QUEUE_PAGE_MAX;
        if (!node_ask(c->client, "GET",
                      node_path(c, "/calls?limit=%u%s%.*s%s%.*s%s%.*s", limit,
                                asked_state.n ? "&state=" : "", STR(asked_state),
                                asked_app.n ? "&app=" : "", STR(asked_app),
                                after.n ? "&after=" : "", STR(after)),
                      NULL, &j, e))
            return false;
        const json_t *calls = json_object_get(j, "calls");
        size_t n = json_array_size(calls);
        after = node_segment(&c->a, node_str(j, "next"));
        left -= n < left ? n : left;
        /* Whoever reads JSON is not given several answers unasked. */
        more = after.n && left && (!c->json || lines->given);
        for (size_t i = 0; !c->json && i < n; i++)
            line_print(c, json_array_get(calls, i));
        if (c->json) {
            node_print_take(j);
            continue;
        }
        if (!more)
            counts_print(j);
        json_decref(j);
    }
    return true;
}

static void text_print(node_command *c, const json_t *j, const char *label, const char *name)
{
    str s = shown(c, node_str(j, name));
    if (s.n)
        printf("%-10s %.*s\n", label, STR(s));
}

/* Lines of a body stay lines. */
static void body_print(node_command *c, str body)
{
    while (body.n) {
        str line = shown(c, str_cut(&body, '\n'));
        printf("%.*s\n", STR(line));
    }
}

static void call_print(node_command *c, const json_t *j)
{
    static const char *const texts[][2] = {
        {"call", "id"},           {"app", "app"},
        {"state", "state"},       {"method", "method"},
        {"path", "path"},         {"accepted", "accepted"},
        {"deadline", "deadline"}, {"planned", "planned_start"},
        {"why", "why"},           {"started", "started"},
        {"ended", "ended"},       {"note", "note"},
    };
    const json_t *result = json_object_get(j, "result"), *carbon = json_object_get(j, "carbon"),
                 *log = json_object_get(j, "log");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        text_print(c, j, texts[i][0], texts[i][1]);
    printf("%-10s %.0f of %.0f\n", "attempts", number(j, "attempts"), number(j, "attempts_max"));
    printf("%-10s %.6f CPU-s, %.6f J\n", "use", number(j, "cpu_s"), number(j, "energy_j"));
    if (json_is_object(carbon))
        printf("%-10s %.6g g, saved %.6g g against running at once\n", "carbon",
               number(carbon, "g"), number(carbon, "saved_g"));
    if (json_is_object(result)) {
        printf("%-10s status %.0f\n", "result", number(result, "status"));
        body_print(c, node_str(result, "body"));
    }
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *x = json_array_get(log, i);
        str stream = node_str(x, "stream"), text = shown(c, node_str(x, "text"));
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
    call_print(c, j);
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
                     {"lines", 'n', OPTION_VALUE, "N", "list so many of the newest [1000]"},
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
