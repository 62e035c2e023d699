/* What an instance may reach. Most rules are fixed when the component is loaded, and asking is one
 * call of the platform. Rules with variables of a provider that may change its mind (Vault) are
 * made for each instance, as Spin does it, when it first asks: a job on a thread of the process,
 * for which the guest waits. If the provider fails, the instance may reach nothing, and the log
 * says why. A guest that goes meanwhile leaves its job alone, which then frees itself. */
#include "host/reach.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/work.h"

#include <stdlib.h>

typedef struct reach {
    guest *g; /* NULL: it has gone */
    const host_component *component;
    arena a;
    outbound_rules rules; /* none, if that failed */
    err failure;
    bool failed, done;
} reach;

static void reach_free(reach *r)
{
    arena_fini(&r->a);
    free(r);
}

void guest_reach_free(guest *g)
{
    reach *r = g->reach;
    g->reach = NULL;
    if (!r)
        return;
    r->g = NULL;
    if (r->done)
        reach_free(r);
}

static void reach_work(void *user)
{
    reach *r = user;
    const host_component *h = r->component;
    r->failed = !h->outbound_rules(h->outbound_user, &r->a, &r->rules, &r->failure);
}

static void reach_done(void *user)
{
    reach *r = user;
    r->done = true;
    if (!r->g) {
        reach_free(r);
        return;
    }
    if (r->failed) {
        r->rules = (outbound_rules){0};
        log_line(LOG_WARN, "denied");
        log_str("component", r->component->name);
        log_str("reason", str_from(r->failure.text));
        log_end();
    }
    guest_woken(r->g);
}

host_status reach_known(host_call *c)
{
    guest *g = c->g;
    err e;
    if (!g->component->outbound_rules || (g->reach && g->reach->done))
        return HOST_DONE;
    if (g->reach)
        return call_wait(c);
    reach *r = calloc(1, sizeof *r);
    if (!r)
        return call_no_memory(c);
    *r = (reach){.g = g, .component = g->component};
    arena_init(&r->a, OUTBOUND_RULES_BYTES_MAX);
    if (!loop_work_start(g->l, reach_work, reach_done, r, &e)) {
        reach_free(r);
        return call_no_memory(c);
    }
    g->reach = r;
    return call_wait(c);
}

static const outbound_rules *own_rules(const guest *g)
{
    return g->reach ? &g->reach->rules : NULL;
}

bool reach_allowed(const guest *g, str scheme, str host, uint16_t port)
{
    const host_component *h = g->component;
    return h->outbound_allowed &&
           h->outbound_allowed(h->outbound_user, own_rules(g), scheme, host, port);
}

host_chain reach_chain(const guest *g, str scheme, str host)
{
    const host_component *h = g->component;
    return h->chain_target ? h->chain_target(h->outbound_user, own_rules(g), scheme, host)
                           : CHAIN_OUTSIDE;
}

void reach_denied(const guest *g, str scheme, str host, uint16_t port)
{
    const host_component *h = g->component;
    bool was_said = g->reach && g->reach->failed;
    if (h->outbound_denied && !was_said)
        h->outbound_denied(h->outbound_user, scheme, host, port);
}
