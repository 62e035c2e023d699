/* See queue_client.h. A call of the client whose message the writers of queue_message.h fill; what
 * is too large shows when it is sent. */
#include "store/queue_client.h"

store_call *queue_ask_put(store_client *c, const queue_offer *p)
{
    store_call *k = store_call_new(c, QUEUE_PUT, 0);
    if (k)
        queue_offer_write(store_call_message(k), p);
    return k;
}

store_call *queue_ask_lease(store_client *c, const queue_lease *q)
{
    store_call *k = store_call_new(c, QUEUE_LEASE, 0);
    if (k)
        queue_lease_write(store_call_message(k), q);
    return k;
}

store_call *queue_ask_extend(store_client *c, int64_t lease_ms, const queue_held *held, size_t n)
{
    store_call *k = store_call_new(c, QUEUE_EXTEND, 0);
    if (k)
        queue_extend_write(store_call_message(k), lease_ms, held, n);
    return k;
}

store_call *queue_ask_end(store_client *c, const queue_end *q, str note, bytes result)
{
    store_call *k = store_call_new(c, QUEUE_END, 0);
    if (k)
        queue_end_write(store_call_message(k), q, note, result);
    return k;
}

store_call *queue_ask_retry(store_client *c, const queue_retry *q, str note)
{
    store_call *k = store_call_new(c, QUEUE_RETRY, 0);
    if (k)
        queue_retry_write(store_call_message(k), q, note);
    return k;
}

static store_call *ask_number(store_client *c, store_kind kind, uint64_t number)
{
    store_call *k = store_call_new(c, kind, 0);
    if (k)
        queue_number_write(store_call_message(k), number);
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

store_call *queue_ask_secret(store_client *c, uint64_t app, bool anew)
{
    return ask_number(c, anew ? QUEUE_ROTATE : QUEUE_SECRET, app);
}

store_call *queue_ask_one(store_client *c, store_kind kind, const queue_one *q)
{
    store_call *k = store_call_new(c, kind, 0);
    if (k)
        queue_one_write(store_call_message(k), q);
    return k;
}

store_call *queue_ask_list(store_client *c, const queue_list *q)
{
    store_call *k = store_call_new(c, QUEUE_LIST, 0);
    if (k)
        queue_list_write(store_call_message(k), q);
    return k;
}

store_call *queue_ask_backlog(store_client *c, int64_t slot_ms)
{
    store_call *k = store_call_new(c, QUEUE_BACKLOG, 0);
    if (k)
        queue_backlog_write(store_call_message(k), slot_ms);
    return k;
}

store_call *queue_ask_app_gone(store_client *c, const queue_app_gone *q, str note)
{
    store_call *k = store_call_new(c, QUEUE_APP_GONE, 0);
    if (k)
        queue_app_gone_write(store_call_message(k), q, note);
    return k;
}

store_call *queue_ask_purge(store_client *c) { return store_call_new(c, QUEUE_PURGE, 0); }

store_call *queue_ask_news(store_client *c) { return store_call_new(c, QUEUE_NEWS, 0); }
