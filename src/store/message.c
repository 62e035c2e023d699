/* See message.h. Writing appends to a buf whose maximum is the limit of a message: what does
 * not fit sets buf.failed, looked at once at the end. Reading is bounds-checked item by item. */
#include "store/message.h"

#include "base/limits.h"
#include "base/must.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    uint64_t id;
    uint16_t kind, store;
    uint32_t count;
    uint64_t items_bytes;
} head;

_Static_assert(sizeof(head) == STORE_HEAD_BYTES, "the head has no padding");

void store_message_begin(buf *out, uint64_t id, store_kind kind, uint16_t store)
{
    head h = {.id = id, .kind = (uint16_t)kind, .store = store};
    must(out->n == 0);
    buf_put(out, &h, sizeof h);
}

void store_message_item(buf *out, str key, const bytes *value)
{
    uint32_t key_n = (uint32_t)key.n, value_n = value ? (uint32_t)value->n : UINT32_MAX;
    if (key.n >= UINT32_MAX || (value && value->n >= UINT32_MAX) || out->n < sizeof(head)) {
        out->failed = true;
        return;
    }
    buf_put(out, &key_n, sizeof key_n);
    buf_put(out, key.p, key.n);
    buf_put(out, &value_n, sizeof value_n);
    if (value)
        buf_put(out, value->p, value->n);
    if (!out->failed)
        ((head *)(void *)out->p)->count++;
}

void store_message_end(buf *out)
{
    must(!out->failed && out->n >= sizeof(head));
    ((head *)(void *)out->p)->items_bytes = out->n - sizeof(head);
}

void store_message_set_id(buf *out, uint64_t id)
{
    must(out->n >= sizeof(head));
    ((head *)(void *)out->p)->id = id;
}

static bool kind_is_known(unsigned kind)
{
    return (kind >= KV_GET && kind < STORE_REQUESTS_END) ||
           (kind >= STORE_OK && kind < STORE_ANSWERS_END);
}

bool store_message_read(bytes message, bool in_file, store_message *ret, err *e)
{
    head h;
    if (message.n < sizeof h)
        return err_set(e, ERR_INVALID, "a store message of %zu bytes has no head", message.n);
    memcpy(&h, message.p, sizeof h);
    if (!kind_is_known(h.kind))
        return err_set(e, ERR_INVALID, "a store message of unknown kind %u", h.kind);
    if (h.items_bytes > STORE_MESSAGE_BYTES_MAX ||
        (in_file ? message.n != sizeof h : h.items_bytes != message.n - sizeof h))
        return err_set(e, ERR_INVALID, "a store message says that its items have %llu bytes",
                       (unsigned long long)h.items_bytes);
    *ret = (store_message){h.id, h.kind, h.store, h.count, h.items_bytes, {0}};
    if (!in_file)
        ret->items = (bytes){message.p + sizeof h, message.n - sizeof h};
    return true;
}

static bool take(bytes *from, size_t n, bytes *ret)
{
    if (n > from->n)
        return false;
    *ret = (bytes){from->p, n};
    *from = (bytes){from->p + n, from->n - n};
    return true;
}

bool store_message_take(bytes *rest, bytes *ret)
{
    head h;
    if (rest->n < sizeof h)
        return false;
    memcpy(&h, rest->p, sizeof h);
    return h.items_bytes <= rest->n - sizeof h && take(rest, sizeof h + (size_t)h.items_bytes, ret);
}

static bool take_u32(bytes *from, uint32_t *ret)
{
    bytes b;
    if (!take(from, sizeof *ret, &b))
        return false;
    memcpy(ret, b.p, sizeof *ret);
    return true;
}

bool store_message_next(store_message *m, store_item *ret)
{
    bytes key, value = {0}, rest = m->items;
    uint32_t key_n, value_n;
    if (!m->count || !take_u32(&rest, &key_n) || !take(&rest, key_n, &key) ||
        !take_u32(&rest, &value_n))
        return false;
    if (value_n != UINT32_MAX && !take(&rest, value_n, &value))
        return false;
    *ret = (store_item){{(const char *)key.p, key.n}, value, value_n != UINT32_MAX};
    m->items = rest;
    m->count--;
    return true;
}

bool store_items_write(bytes items, int *ret_fd, err *e)
{
    int fd = memfd_create("ebb-items", MFD_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, "cannot make a file for a large value");
    for (size_t done = 0; done < items.n;) {
        ssize_t n = write(fd, items.p + done, items.n - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err_set_errno(e, "cannot write a large value");
            close(fd);
            return false;
        }
        done += (size_t)n;
    }
    *ret_fd = fd;
    return true;
}
