/* Lines: patterns, the last one a path. A path goes to some route exactly if one of the routes
 * alone would take it, and the chosen one would. */
#include "app/route.h"
#include "base/limits.h"
#include "base/must.h"

enum { ROUTES_MAX = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    app_trigger triggers[ROUTES_MAX] = {0};
    app all = {.triggers = triggers};
    route_table *table;
    route_match m, alone;
    err e;
    str rest = {(const char *)data, size}, path = {0};
    arena_init(&a, 64 * MIB);
    while (rest.p && all.triggers_count < ROUTES_MAX) {
        str line = str_cut(&rest, '\n');
        path = line;
        if (rest.p && route_check(line, &e))
            triggers[all.triggers_count++] =
                (app_trigger){.kind = APP_TRIGGER_HTTP, .id = line, .route = line};
    }
    must(route_table_build(&a, &all, &table, &e));
    route_find(table, path, &m);
    if (m.kind != ROUTE_NONE && m.kind != ROUTE_TRIGGER)
        return 0;
    bool any = false;
    for (size_t i = 0; i < all.triggers_count; i++) {
        app one = {.triggers = &triggers[i], .triggers_count = 1};
        must(route_table_build(&a, &one, &table, &e));
        route_find(table, path, &alone);
        any |= alone.kind == ROUTE_TRIGGER;
        if (m.trigger == &triggers[i]) {
            app_pair h[ROUTE_HEADERS_MAX];
            size_t n;
            must(alone.kind == ROUTE_TRIGGER && alone.captures_count == m.captures_count);
            must(route_headers(&m, &(route_request){.target = path}, &a, h, &n, &e));
        }
    }
    must(any == (m.kind == ROUTE_TRIGGER));
    return 0;
}
