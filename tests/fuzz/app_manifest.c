/* Any bytes as spin.toml. What is accepted must survive being locked and read back, and must make
 * a routing table. */
#include "app/locked.h"
#include "app/manifest.h"
#include "app/route.h"
#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf one;
    _cleanup_(buf_fini) buf two;
    app *first, *second;
    route_table *routes;
    route_match m;
    manifest_options o = {.file = S("spin.toml")};
    err e;
    arena_init(&a, APP_ARENA_BYTES_MAX);
    buf_init(&one, APP_LOCKED_BYTES_MAX);
    buf_init(&two, APP_LOCKED_BYTES_MAX);
    if (!manifest_read(&a, (str){(const char *)data, size}, &o, &first, &e)) {
        must(e.code != ERR_NONE && e.text[0]);
        return 0;
    }
    must(locked_write(first, S(""), &one, &e));
    must(locked_read(&a, buf_bytes(&one), &second, &e));
    must(locked_write(second, S(""), &two, &e));
    must(str_eq(buf_str(&one), buf_str(&two)));
    must(route_table_build(&a, second, &routes, &e));
    route_find(routes, S("/a/b.c/"), &m);
    return 0;
}
