/* See calls_message.h. A message is as long as its kind needs: plans are the only long ones, and
 * only they travel whole. */
#include "platform/calls_message.h"

static size_t size_of(const calls_message *m)
{
    size_t head = offsetof(calls_message, run);
    switch (m->kind) {
    case CALLS_HELLO:
    case CALLS_CHANGED:
        return head;
    case CALLS_RUN:
        return head + sizeof m->run;
    case CALLS_RAN:
        return head + sizeof m->ran;
    case CALLS_PRICE:
    case CALLS_PRICED:
        return head + sizeof m->price;
    case CALLS_ENDED:
        return head + sizeof m->ended;
    case CALLS_PLAN:
        return head + sizeof m->plan;
    case CALLS_KINDS_END:
        break;
    }
    return 0;
}

bytes calls_message_bytes(const calls_message *m)
{
    return (bytes){(const uint8_t *)m, size_of(m)};
}

bool calls_message_read(bytes b, calls_message *ret)
{
    size_t head = offsetof(calls_message, run);
    *ret = (calls_message){0};
    if (b.n < head || b.n > sizeof *ret)
        return false;
    memcpy(ret, b.p, b.n);
    return ret->kind >= CALLS_HELLO && ret->kind < CALLS_KINDS_END && size_of(ret) == b.n;
}
