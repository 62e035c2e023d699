/* See queue_client.h. A call of the client whose message the writers of queue_message.h fill; what
 * is too large shows when it is sent. */
#include "store/queue_client.h"

/* NULL: no memory. */
static store_call *ask(store_client *c, store_kind kind, buf **ret_out)
{
    store_call *k = store_call_new(c, kind, 0);
    if (k)
        *ret_out = store_call_message(k);
    return k;
}

store_call *queue_ask_put(store_client *c, const queue_offer *p)
{
    buf *out;
    store_call *k = ask(c, QUEUE_PUT, &out);
    if (k)
        queue_offer_write(out, p);
    return k;
}

store_call *queue_ask_lease(store_client *c, const queue_lease *q)
{
    buf *out;
    store_call *k = ask(c, QUEUE_LEASE, &out);
    if (k)
        queue_lease_write(out, q);
    return k;
}

store_call *queue_ask_extend(store_client *c, int64_t lease_ms, const queue_held *held, size_t n)
{
    buf *out;
    store_call *k = ask(c, QUEUE_EXTEND, &out);
    if (k)
        queue_extend_write(out, lease_ms, held, n);
    return k;
}

store_call *queue_ask_end(store_client *c, const queue_end *q, str note, bytes result)
{
    buf *out;
    store_call *k = ask(c, QUEUE_END, &out);
    if (k)
        queue_end_write(out, q, note, result);
    return k;
}

store_call *queue_ask_retry(store_client *c, const queue_retry *q, str note)
{
    buf *out;
    store_call *k = ask(c, QUEUE_RETRY, &out);
    if (k)
        queue_retry_write(out, q, note);
    return k;
}

static store_call *ask_number(store_client *c, store_kind kind, uint64_t number)
{
    buf *out;
    store_call *k = ask(c, kind, &out);
    if (k)
        queue_number_write(out, number);
    return k;
}

store_call *queue_ask_give_back(store_client *c, uint64_t holder)
{
    return ask_number(c, QUEUE_GIVE_BACK, holder);
}

store_call *queue_ask_count(store_client *c, uint64_t tenant)
{
    return ask_number(c, QUEUE_COUNT, tenant);
}

store_call *queue_ask_one(store_client *c, store_kind kind, const queue_one *q)
{
    buf *out;
    store_call *k = ask(c, kind, &out);
    if (k)
        queue_one_write(out, q);
    return k;
}

store_call *queue_ask_list(store_client *c, const queue_list *q)
{
    buf *out;
    store_call *k = ask(c, QUEUE_LIST, &out);
    if (k)
        queue_list_write(out, q);
    return k;
}

store_call *queue_ask_backlog(store_client *c, int64_t slot_ms)
{
    buf *out;
    store_call *k = ask(c, QUEUE_BACKLOG, &out);
    if (k)
        queue_backlog_write(out, slot_ms);
    return k;
}

store_call *queue_ask_app_gone(store_client *c, const queue_app_gone *q, str note)
{
    buf *out;
    store_call *k = ask(c, QUEUE_APP_GONE, &out);
    if (k)
        queue_app_gone_write(out, q, note);
    return k;
}

store_call *queue_ask_purge(store_client *c)
{
    buf *out;
    return ask(c, QUEUE_PURGE, &out);
}
