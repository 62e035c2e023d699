/* A stream on libuv's uv_tcp_t or uv_pipe_t.
 *
 * The steady path of a server is one read and one write a turn and nothing else: reading stays
 * switched on (switching costs epoll_ctl), reads go into one buffer of the loop, and stream_write
 * is a plain write(2) unless the socket is full. Only then a uv_write_t is used; it takes the
 * caller's memory over, so bytes are never copied to wait. stream_write_through is for memory that
 * cannot be taken over, a guest's: it goes to the kernel from where it lies.
 *
 * With TLS, stream_tls.c stands between the socket and the callbacks.
 */
#include "loop/stream_impl.h"

#include "base/must.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void stream_closed(uv_handle_t *h)
{
    stream *s = h->data;
    buf_fini(&s->rest);
    tls_end(s->tls);
    free(s);
}

static int handle_init(stream *s, int fd)
{
    int domain = 0;
    socklen_t n = sizeof domain;
    bool is_tcp = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain != AF_UNIX;
    int code =
        is_tcp ? uv_tcp_init(&s->l->uv, &s->uv.tcp) : uv_pipe_init(&s->l->uv, &s->uv.pipe, 0);
    if (code)
        return code;
    s->uv.handle.data = s;
    code = is_tcp ? uv_tcp_open(&s->uv.tcp, fd) : uv_pipe_open(&s->uv.pipe, fd);
    if (code)
        uv_close(&s->uv.handle, stream_closed);
    return code;
}

bool stream_open_take(loop *l, int fd, const stream_callbacks *callbacks, void *user,
                      stream **ret_stream, err *e)
{
    if (!l->read_buffer)
        l->read_buffer = malloc(STREAM_READ_BYTES_MAX);
    stream *s = l->read_buffer ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        close(fd);
        return err_no_memory(e);
    }
    s->l = l;
    s->callbacks = callbacks;
    s->user = user;
    int code = handle_init(s, fd);
    if (code) {
        close(fd);
        if (!s->uv.handle.data)
            free(s);
        return err_set_uv(e, code, "cannot open a connection");
    }
    *ret_stream = s;
    return true;
}

bool stream_open_tls_take(loop *l, int fd, tls_store *store, const stream_callbacks *callbacks,
                          void *user, stream **ret_stream, err *e)
{
    stream *s;
    if (!stream_open_take(l, fd, callbacks, user, &s, e))
        return false;
    if (!tls_begin(s, store)) {
        stream_close(s);
        return err_no_memory(e);
    }
    stream_read_limit(s, STREAM_READ_BYTES_MAX);
    *ret_stream = s;
    return true;
}

void stream_rebind(stream *s, const stream_callbacks *callbacks, void *user)
{
    s->callbacks = callbacks;
    s->user = user;
}

void stream_ended(stream *s, stream_end end)
{
    uv_read_stop(&s->uv.any);
    s->reading = false;
    s->ended = true;
    s->callbacks->on_end(s->user, end);
}

static void read_came(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    stream *s = h->data;
    loop *l = s->l;
    if (n < 0)
        stream_ended(s, n == UV_EOF ? STREAM_EOF : STREAM_RESET);
    else if (n > 0 && s->tls)
        tls_came(s, (const uint8_t *)b->base, (size_t)n);
    else if (n > 0)
        s->callbacks->on_read(s->user, (const uint8_t *)b->base, (size_t)n);
    loop_soon(l);
}

static void read_buffer_give(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    stream *s = h->data;
    size_t most = s->tls ? STREAM_READ_BYTES_MAX : s->read_limit;
    *ret = uv_buf_init((char *)s->l->read_buffer, (unsigned)most);
}

void stream_reading_set(stream *s)
{
    bool want = s->read_limit > 0 && !s->ended && !s->closing && !(s->tls && tls_holds(s->tls));
    if (want == s->reading)
        return;
    s->reading = want;
    if (want)
        uv_read_start(&s->uv.any, read_buffer_give, read_came);
    else
        uv_read_stop(&s->uv.any);
}

void stream_read_limit(stream *s, size_t n)
{
    s->read_limit = n < STREAM_READ_BYTES_MAX ? n : STREAM_READ_BYTES_MAX;
    if (s->tls)
        tls_wake(s);
    else
        stream_reading_set(s);
}

static void write_done(uv_write_t *w, int status)
{
    stream *s = w->data;
    if (s->closing)
        return;
    s->busy = false;
    buf_fini(&s->rest);
    if (status < 0 || (s->tls && !tls_flush(s))) {
        stream_read_limit(s, 0);
        s->ended = true;
        s->callbacks->on_end(s->user, STREAM_RESET);
    } else if (!s->busy) {
        s->callbacks->on_drained(s->user);
    }
}

/* What the socket takes now; false: the connection is gone. */
static bool write_now(stream *s, const uv_buf_t *pieces, unsigned count, size_t *ret_n)
{
    must(!s->busy && !s->closing);
    int wrote = uv_try_write(&s->uv.any, pieces, count);
    *ret_n = wrote < 0 ? 0 : (size_t)wrote;
    return wrote >= 0 || wrote == UV_EAGAIN;
}

static bool write_later(stream *s, buf *b, size_t n);

bool stream_put(stream *s, buf *b)
{
    size_t n;
    if (b->n == 0)
        return true;
    uv_buf_t whole = uv_buf_init((char *)b->p, (unsigned)b->n);
    return write_now(s, &whole, 1, &n) && write_later(s, b, n);
}

bool stream_write(stream *s, buf *b)
{
    must(!s->busy && !s->closing);
    return s->tls ? tls_put(s, b) : stream_put(s, b);
}

bool stream_write_through(stream *s, buf *b, bytes more, str end)
{
    if (s->tls) /* one piece, so that small ones share a record */
        return buf_put(b, more.p, more.n) && buf_put_str(b, end) && stream_write(s, b);
    const uv_buf_t pieces[] = {
        uv_buf_init((char *)b->p, (unsigned)b->n),
        uv_buf_init((char *)(uintptr_t)more.p, (unsigned)more.n),
        uv_buf_init((char *)(uintptr_t)end.p, (unsigned)end.n),
    };
    size_t n, held = b->n;
    if (!write_now(s, pieces, 3, &n))
        return false;
    if (n >= held) { /* only what is left of the others needs a place */
        buf_clear(b);
        n -= held;
        size_t cut = n < more.n ? n : more.n;
        more = (bytes){more.p + cut, more.n - cut};
        end = str_skip(end, n - cut);
        n = 0;
    }
    return buf_put(b, more.p, more.n) && buf_put_str(b, end) && write_later(s, b, n);
}

/* The bytes of b from n on, if there are any. */
static bool write_later(stream *s, buf *b, size_t n)
{
    if (n == b->n) {
        buf_clear(b);
        return true;
    }
    uv_buf_t left = uv_buf_init((char *)b->p + n, (unsigned)(b->n - n));
    s->write.data = s;
    if (uv_write(&s->write, &s->uv.any, &left, 1, write_done) != 0)
        return false;
    s->busy = true;
    s->rest = *b;
    buf_init(b, b->max);
    return true;
}

bool stream_write_busy(const stream *s) { return s->busy; }

size_t stream_write_left(const stream *s)
{
    return uv_stream_get_write_queue_size(&s->uv.any) + (s->tls ? tls_waiting(s->tls) : 0);
}

size_t stream_unacknowledged(const stream *s)
{
    int fd, n = 0;
    if (uv_fileno(&s->uv.handle, &fd) != 0 || ioctl(fd, SIOCOUTQ, &n) != 0 || n < 0)
        n = 0;
    return stream_write_left(s) + (size_t)n;
}

bool stream_unread(const stream *s)
{
    int fd, n = 0;
    return uv_fileno(&s->uv.handle, &fd) == 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

static void shutdown_done(uv_shutdown_t *r, int status) {}

bool stream_shutdown_write(stream *s)
{
    must(!s->busy);
    if (s->tls)
        tls_goodbye(s);
    return uv_shutdown(&s->shutdown, &s->uv.any, shutdown_done) == 0;
}

void stream_reset_on_close(stream *s) { s->reset = true; }

void stream_close(stream *s)
{
    if (!s)
        return;
    must(!s->closing);
    if (s->tls && !s->reset && !s->busy && !s->ended)
        tls_goodbye(s);
    s->closing = true;
    if (s->tls)
        tls_wake(s);
    if (s->reset && s->uv.handle.type == UV_TCP &&
        uv_tcp_close_reset(&s->uv.tcp, stream_closed) == 0)
        return;
    uv_close(&s->uv.handle, stream_closed);
}
