/* See ask.h. Guest memory is read once, when the request is made; answers are host memory until
 * they are copied into the guest, so guest memory may move meanwhile. */
#include "host/ask.h"

#include "base/limits.h"

void guest_ask_free(guest *g)
{
    store_call_free(g->store_call);
    g->store_call = NULL;
}

static void on_done(void *user) { guest_woken(user); }

store_call *ask_begin(host_call *c, store_kind kind, uint16_t store)
{
    guest *g = c->g;
    place r;
    if (!result_place(c, &r)) /* before anything is written */
        return NULL;
    guest_ask_free(g);
    g->store_call = store_call_new(g->component->store, kind, store);
    if (!g->store_call)
        call_no_memory(c);
    return g->store_call;
}

static host_status failed(host_call *c, ask_answer *ret, str text)
{
    bool ok = str_is_utf8(text) && text.n;
    *ret = (ask_answer){NULL, ok ? arena_str(&c->g->scratch, text) : S("the store failed")};
    if (!ret->failure.p)
        return call_no_memory(c);
    return HOST_DONE;
}

/* Asks again after `when` at the latest, where nobody is there to answer. */
static host_status wait_for_store(host_call *c, ask_answer *ret)
{
    guest *g = c->g;
    if (!store_client_connected(g->component->store)) {
        ns last = store_call_sent_at(g->store_call) + STORE_ABSENT_NS;
        if (clock_mono() >= last)
            return failed(c, ret, S("the store process is not there"));
        guest_wake_by(g, last);
    }
    return call_wait(c);
}

host_status ask_await(host_call *c, ask_answer *ret)
{
    guest *g = c->g;
    store_item i;
    err e;
    if (!ask_made(c)) {
        if (!store_call_send(g->store_call, on_done, g, &e))
            return failed(c, ret, str_from(e.text));
        g->progress = 1;
    }
    if (!store_call_is_done(g->store_call))
        return wait_for_store(c, ret);
    store_message *m = store_call_answer(g->store_call);
    if (m->kind == STORE_FAILED)
        return failed(c, ret, store_message_next(m, &i) ? i.key : S(""));
    *ret = (ask_answer){.m = m};
    return HOST_DONE;
}

host_status ask_over(host_call *c, host_status s)
{
    guest_ask_free(c->g);
    return s;
}
