/* See up_keeper.h. The folder is made here, by the user who serves, so that the keeper needs no
 * right to make one. */
#include "cli/up_keeper.h"

#include "base/limits.h"
#include "loop/listen.h"
#include "platform/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool up_keeper(arena *a, const localapp *l, unsigned workers, log_format format,
               const option *admin, const option *carbon, buf *ret_config, int *ret_listener,
               str *ret_path, err *e)
{
    const app *served = l->app;
    str state_dir = l->state_dir;
    char host[256] = "node", address[LISTEN_ADDRESS_MAX];
    str *names = ARENA_ARRAY(a, str, served->components_count + 1);
    if (!names)
        return err_no_memory(e);
    for (size_t i = 0; i < served->components_count; i++)
        names[i] = served->components[i].id;
    gethostname(host, sizeof host - 1);
    keeper_config k = {.log_format = format,
                       .node = str_from(host),
                       .apps = names,
                       .apps_count = served->components_count,
                       .grid = grid_config_default()};
    if (app_defers(served)) {
        _cleanup_(buf_fini) buf settings;
        buf_init(&settings, APP_LOCKED_BYTES_MAX);
        k.workers = workers;
        if (!app_config_write(&l->config, &settings, e))
            return false;
        k.app = arena_str(a, buf_str(&settings));
        if (!k.app.p)
            return err_no_memory(e);
    }
    if (carbon->given && !grid_config_load(a, carbon->got, &k.grid, e))
        return false;
    if (state_dir.n &&
        mkdir(arena_cstr(a, arena_printf(a, "%.*s/ebb", STR(state_dir))), 0700) < 0 &&
        errno != EEXIST)
        state_dir = S("");
    if (state_dir.n)
        k.usage_path = arena_printf(a, "%.*s/ebb/usage.db", STR(state_dir));
    if (!keeper_config_write(&k, ret_config, e))
        return false;
    if (admin->given && *admin->got)
        return listen_socket(str_from(admin->got), ret_listener, address, e);
    if (admin->given || !state_dir.n)
        return true;
    str path = arena_printf(a, "%.*s/ebb/admin.sock", STR(state_dir));
    if (!path.p)
        return err_no_memory(e);
    if (listen_local(path.p, ret_listener, e))
        *ret_path = path;
    else
        fprintf(stderr, "ebb: warning: 'ebb carbon' cannot ask this node: %s\n", e->text);
    return true;
}
