/* Any bytes as a runtime configuration: what is accepted holds together. */
#include "app/runtime_config.h"
#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    runtime_config c;
    err e;
    outbound_addr addr = {.bits = 32};
    arena_init(&a, 64 * MIB);
    if (!runtime_config_read(&a, S("rc.toml"), (str){(const char *)data, size}, &c, &e)) {
        must(e.code != ERR_NONE && e.text[0]);
        return 0;
    }
    for (size_t i = 0; i < c.stores_count; i++)
        must(c.stores[i].kind != STORE_REDIS || c.stores[i].url.n);
    for (size_t i = 0; i < c.blocks.n; i++) {
        must(c.blocks.at[i].bits <= c.blocks.at[i].addr.bits);
        must(outbound_is_blocked(&c.blocks, &c.blocks.at[i].addr));
    }
    outbound_is_blocked(&c.blocks, &addr);
    return 0;
}
