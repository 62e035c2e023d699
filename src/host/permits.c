/* Three counts: HTTP, sockets, and both together. They are the process's, not a component's: the
 * limits are what a machine can bear, and a worker has its share of them (platform/network.h). */
#include "host/permits.h"

#include "base/must.h"

static struct {
    bool is_set;
    host_connections max;
    uint64_t held[2];
    void (*on_free)(void);
    bool (*owner_take)(void *user, uint64_t owner);
    void (*owner_give)(void *user, uint64_t owner);
    void *user;
} permits;

void host_connections_limit(const host_connections *max)
{
    permits.max = *max;
    permits.is_set = true;
}

static uint64_t max_of(permit_kind k)
{
    return k == PERMIT_HTTP ? permits.max.http_max : permits.max.sockets_max;
}

bool permit_possible(permit_kind k)
{
    return !permits.is_set || (max_of(k) && permits.max.total_max);
}

bool permit_take(permit_kind k)
{
    uint64_t all = permits.held[0] + permits.held[1];
    if (permits.is_set && (permits.held[k] >= max_of(k) || all >= permits.max.total_max))
        return false;
    permits.held[k]++;
    return true;
}

void permit_give(permit_kind k)
{
    must(permits.held[k] > 0);
    permits.held[k]--;
    if (permits.on_free)
        permits.on_free();
}

void permit_on_free(void (*on_free)(void)) { permits.on_free = on_free; }

bool permit_pooling(void) { return !permits.is_set || !permits.max.no_pooling; }

void host_connections_owned(bool (*take)(void *user, uint64_t owner),
                            void (*give)(void *user, uint64_t owner), void *user)
{
    permits.owner_take = take;
    permits.owner_give = give;
    permits.user = user;
}

bool permit_owner_take(uint64_t owner)
{
    return !permits.owner_take || permits.owner_take(permits.user, owner);
}

void permit_owner_give(uint64_t owner)
{
    if (permits.owner_give)
        permits.owner_give(permits.user, owner);
}
