/* The keeper of `ebb serve` and its catalogue (store/catalogue.h): opened here, and asked for apps
 * on behalf of workers. A find is two indexed reads on the loop's own connection, some 50 us, so it
 * is done at once. */
#include "platform/keeper_impl.h"

static bool find(void *user, str host, arena *a, directory_message *ret, err *e)
{
    keeper *k = user;
    catalogue_found f;
    if (!catalogue_find(k->catalogue, host, a, &f, e))
        return false;
    *ret = (directory_message){.kind = f.app ? DIRECTORY_FOUND : DIRECTORY_NOBODY,
                               .app = f.app,
                               .tenant = f.tenant,
                               .revision = f.revision};
    if (f.app) {
        ret->settings = f.settings;
        ret->quota = f.quota;
    }
    return true;
}

bool keeper_catalogue_open(keeper *k, void (*on_fewer)(void *user), err *e)
{
    str dir = k->config.data_dir;
    seal_key key;
    if (!dir.n)
        return true;
    str path = arena_printf(&k->a, "%.*s/platform.db", STR(dir));
    str key_path = arena_printf(&k->a, "%.*s/seal.key", STR(dir));
    if (!path.p || !key_path.p)
        return err_no_memory(e);
    bool ok = seal_key_load(key_path.p, &key, e) &&
              catalogue_open(k->l, path.p, k->config.domain, &key, &k->catalogue, e);
    explicit_bzero(&key, sizeof key);
    if (!ok)
        return err_wrap(e, "the catalogue of apps");
    k->directory = keeper_directory_new(k->l, find, on_fewer, k);
    return k->directory ? true : err_no_memory(e);
}
