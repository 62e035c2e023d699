/* `ebb login URL --token TOKEN`: asks the node whose token it is, and keeps both for the commands
 * that follow. */
#include "cli/commands.h"
#include "cli/node_client.h"

#include <stdio.h>
#include <unistd.h>

static bool login(node_command *c, err *e)
{
    json_t *j;
    str path;
    if (!c->login.token.n && c->login.url.p[0] != '/' && c->login.url.p[0] != '.')
        return err_set(e, ERR_INVALID, "give the token that the node printed: --token ebb_...");
    if (!node_ask(c->client, "GET", S("/v1/whoami"), NULL, &j, e))
        return false;
    str tenant = node_str(j, "tenant"), role = node_str(j, "role"), node = node_str(j, "node");
    if (tenant.n)
        c->login.tenant = arena_str(&c->a, tenant);
    bool ok = node_login_keep(&c->a, &c->login, &path, e);
    if (ok && c->json)
        node_print_take(json_incref(j));
    else if (ok)
        printf("Logged in to %.*s as %.*s, tenant %.*s (kept in %.*s)\n", STR(node), STR(role),
               STR(c->login.tenant), STR(path));
    json_decref(j);
    return ok;
}

int cli_login(int argc, char **argv)
{
    option rows[] = {NODE_OPTIONS, {0}};
    options o = {.command = "login",
                 .positional = "[URL]",
                 .options = rows,
                 .summary = "Keeps the address and the token of a node for other commands."};
    /* The address may stand alone. */
    char *args[32];
    int n = 0;
    for (int i = 0; i < argc && n < 30; i++) {
        if (i == 1 && argv[i][0] != '-')
            args[n++] = (char *)(uintptr_t)"--node";
        args[n++] = argv[i];
    }
    args[n] = NULL;
    return node_command_run(n, args, &o, login);
}
