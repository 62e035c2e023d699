/* `ebb COMMAND ...`, and `ebb @ROLE` for the processes that ebb starts of itself. One table says
 * what there is; a command without help text is not listed. Exit status: 0 done, 1 it failed and
 * said why, 2 the command line was wrong. */
#include "cli/capacity.h"
#include "cli/carbon.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/sim.h"
#include "platform/role.h"
#include "ui/ui.h"

#include <stdio.h>

#ifndef EBB_VERSION
#define EBB_VERSION "unknown"
#endif

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help; /* NULL: not listed */
} command;

static const command commands[] = {
    {"build", cli_build, "run the build commands of the application"},
    {"up", cli_up, "serve the application in this folder"},
    {"serve", cli_serve, "host the apps of many tenants"},
    {"login", cli_login, "keep the address and the token of a node"},
    {"deploy", cli_deploy, "send the application to a node and make it live"},
    {"apps", cli_apps, "list the apps of a tenant"},
    {"status", cli_status, "show an app: address, components, revisions"},
    {"logs", cli_logs, "show what an app has printed, and follow it"},
    {"rollback", cli_rollback, "make an older revision of an app live again"},
    {"delete", cli_delete, "remove an app with its state and logs"},
    {"hosts", cli_hosts, "give an app hosts of its own"},
    {"variables", cli_variables, "set variables of an app"},
    {"kv", cli_kv, "read and write a key-value store of an app"},
    {"sqlite", cli_sqlite, "run a statement on a database of an app"},
    {"calls", cli_calls, "list deferred calls; show, cancel or retry one"},
    {"tenants", cli_tenants, "list, add and remove tenants"},
    {"tokens", cli_tokens, "list, add and revoke tokens"},
    {"quota", cli_quota, "show and change what a tenant may use"},
    {"egress", cli_egress, "show and change which networks a tenant may reach"},
    {"audit", cli_audit, "show who has changed what"},
    {"upgrade", cli_upgrade, "replace all processes of a node by the build that is installed now"},
    {"top", cli_top, "show what a node does now"},
    {"backup", cli_backup, "copy all of a node into a folder, while it runs"},
    {"restore", cli_restore, "check a backup and make a data folder of it"},
    {"doctor", cli_doctor, "find what is wrong with an app or this machine"},
    {"inspect", cli_inspect, "show what a component needs and what ebb makes of it"},
    {"carbon", cli_carbon, "carbon intensity now, its forecast, and the bill of an app"},
    {"capacity", cli_capacity, "how many more apps of a kind fit, at what risk"},
    {"sim", cli_sim, "days to years in virtual time: policies, power, carbon"},
    {"@worker", role_worker, NULL},
    {"@decode", role_decode, NULL},
    {"@unpack", role_unpack, NULL},
    {"@compile", role_compile, NULL},
    {"@store", role_store, NULL},
    {"@fetch", role_fetch, NULL},
    {"@keeper", ui_keeper, NULL},
    {"@builder", role_builder, NULL},
    {"@grid", role_grid, NULL},
    {"@traces", role_traces, NULL},
    {"@probe", role_probe, NULL},
    {NULL, NULL, NULL},
};

static int help(FILE *out)
{
    fprintf(out, "ebb %s: serves WebAssembly applications, a fresh sandbox for every request\n\n",
            EBB_VERSION);
    for (const command *c = commands; c->name; c++)
        if (c->help)
            fprintf(out, "  ebb %-10s %s\n", c->name, c->help);
    fprintf(out,
            "\n'ebb COMMAND --help' says more. First steps: cd into a folder with a spin.toml, "
            "then 'ebb up'.\n");
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    const char *names[64];
    size_t n = 0;
    if (argc < 2)
        return help(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return help(stdout);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return printf("ebb %s\n", EBB_VERSION), 0;
    for (const command *c = commands; c->name; c++) {
        if (strcmp(argv[1], c->name) == 0)
            return c->run(argc - 1, argv + 1);
        if (c->help)
            names[n++] = c->name;
    }
    names[n] = NULL;
    err e;
    const char *near = did_you_mean(argv[1], names);
    if (near)
        err_set(&e, ERR_INVALID, "unknown command '%s'; did you mean 'ebb %s'?", argv[1], near);
    else
        err_set(&e, ERR_INVALID, "unknown command '%s'; 'ebb --help' lists the commands", argv[1]);
    cli_fail(&e);
    return 2;
}
