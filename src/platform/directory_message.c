/* See directory_message.h. A head of fixed size and the texts behind it. The keeper writes what the
 * catalogue holds, a worker what a client called a host: neither is looked into here. */
#include "platform/directory_message.h"

#include "base/limits.h"
#include "platform/spawn.h"

#include <errno.h>
#include <unistd.h>

typedef struct {
    uint32_t kind, revision;
    uint64_t ask, app, tenant, calls_tenant, calls_app, calls_revision;
    uint32_t name_n, unused;
    uint32_t host_n, settings_n, quota_n, egress_n;
} head;

bool directory_message_write(const directory_message *m, buf *out, int *ret_fd, err *e)
{
    head h = {.kind = m->kind,
              .revision = m->revision,
              .ask = m->ask,
              .app = m->app,
              .tenant = m->tenant,
              .calls_tenant = m->calls.tenant,
              .calls_app = m->calls.app,
              .calls_revision = m->calls.revision,
              .name_n = (uint32_t)m->calls.name.n,
              .host_n = (uint32_t)m->host.n,
              .settings_n = (uint32_t)m->settings.n,
              .quota_n = (uint32_t)m->quota.n,
              .egress_n = (uint32_t)m->egress.n};
    size_t texts = m->calls.name.n + m->host.n + m->settings.n + m->quota.n + m->egress.n;
    *ret_fd = -1;
    if (texts > APP_LOCKED_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "settings of an app of %zu bytes", texts);
    bool ok = buf_put(out, &h, sizeof h) && buf_put(out, m->calls.name.p, m->calls.name.n) &&
              buf_put(out, m->host.p, m->host.n) && buf_put(out, m->settings.p, m->settings.n) &&
              buf_put(out, m->quota.p, m->quota.n) && buf_put(out, m->egress.p, m->egress.n);
    if (!ok)
        return err_no_memory(e);
    if (texts <= DIRECTORY_INLINE_BYTES_MAX)
        return true;
    if (!spawn_memfd("ebb-settings", out->p + sizeof h, texts, ret_fd, e))
        return false;
    out->n = sizeof h;
    return true;
}

static bool texts_load(int fd, uint8_t *to, size_t n, err *e)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = pread(fd, to + got, n - got, (off_t)got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return err_set(e, ERR_INVALID, "a message about an app is cut short");
        got += (size_t)r;
    }
    return true;
}

bool directory_message_read(arena *a, bytes message, int fd, directory_message *ret, err *e)
{
    _cleanup_fd_ int file = fd;
    head h;
    if (message.n < sizeof h)
        return err_set(e, ERR_INVALID, "a message about an app is too short");
    memcpy(&h, message.p, sizeof h);
    size_t texts = (size_t)h.name_n + h.host_n + h.settings_n + h.quota_n + h.egress_n;
    if (h.kind < DIRECTORY_FIND || h.kind > DIRECTORY_DOUBT || texts > APP_LOCKED_BYTES_MAX ||
        message.n != sizeof h + (file < 0 ? texts : 0))
        return err_set(e, ERR_INVALID, "a message about an app of kind %u has %zu bytes", h.kind,
                       message.n);
    uint8_t *at = arena_alloc(a, texts);
    if (!at)
        return err_no_memory(e);
    if (file < 0)
        memcpy(at, message.p + sizeof h, texts);
    else if (!texts_load(file, at, texts, e))
        return false;
    const char *name = (const char *)at, *p = name + h.name_n;
    *ret = (directory_message){
        .kind = (directory_kind)h.kind,
        .revision = h.revision,
        .ask = h.ask,
        .app = h.app,
        .tenant = h.tenant,
        .calls = {h.calls_tenant, h.calls_app, h.calls_revision, {name, h.name_n}},
        .host = {p, h.host_n},
        .settings = {p + h.host_n, h.settings_n},
        .quota = {p + h.host_n + h.settings_n, h.quota_n},
        .egress = {name + texts - h.egress_n, h.egress_n}};
    return true;
}
