/* Streams over TCP, where resets are: what each end is told, what is counted, and what is refused.
 */
#include "loop_kit.h"

#include "base/limits.h"
#include "loop/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    stream *s;
    size_t reads, bytes, largest, ends, drained;
    stream_end end;
} side;

static void on_read(void *user, const uint8_t *p, size_t n)
{
    side *v = user;
    v->reads++;
    v->bytes += n;
    v->largest = n > v->largest ? n : v->largest;
}

static void on_end(void *user, stream_end end)
{
    side *v = user;
    v->ends++;
    v->end = end;
}

static void on_drained(void *user) { ((side *)user)->drained++; }

static const stream_callbacks callbacks = {on_read, on_end, on_drained, NULL};

/* A connection of this machine: a stream and a blocking descriptor. */
static int open_tcp(side *v)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    err e;
    int li = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(li, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(li, 1), 0);
    assert_int_equal(getsockname(li, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(connect(c, (struct sockaddr *)&at, n), 0);
    int s = accept4(li, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(s >= 0);
    close(li);
    *v = (side){0};
    assert_true(stream_open_take(l, s, &callbacks, v, &v->s, &e));
    return c;
}

static void without_tls_little_is_known(void **state)
{
    side v;
    int c = open_tcp(&v);
    assert_false(stream_is_secure(v.s));
    assert_int_equal(stream_protocol(v.s).n, 0);
    assert_true(stream_serves(v.s, S("any.example")));
    assert_string_equal(stream_problem(v.s), "the connection ended");
    stream_close(v.s);
    stream_close(NULL);
    close(c);
}

/* The end of what the other sends, and a reset, are told apart, and told once. */
static void ends_of_two_kinds(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        side v;
        int c = open_tcp(&v);
        stream_read_limit(v.s, 100);
        assert_int_equal(send(c, "abc", 3, 0), 3);
        until(v.bytes == 3);
        if (reset) {
            struct linger hard = {.l_onoff = 1};
            setsockopt(c, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(c);
        } else {
            shutdown(c, SHUT_WR);
        }
        until(v.ends == 1);
        assert_int_equal(v.end, reset ? STREAM_RESET : STREAM_EOF);
        stream_read_limit(v.s, 0);
        stream_read_limit(v.s, 100); /* nothing is read any more */
        for (int i = 0; i < 5; i++)
            loop_turn(l, 1);
        assert_int_equal(v.ends, 1);
        if (!reset) { /* it may still write */
            buf b;
            char got[4];
            buf_init(&b, 100);
            buf_put_str(&b, S("last"));
            assert_true(stream_write(v.s, &b));
            assert_int_equal(recv(c, got, 4, MSG_WAITALL), 4);
            assert_memory_equal(got, "last", 4);
            buf_fini(&b);
            close(c);
        }
        stream_close(v.s);
    }
}

static void closing_in_two_ways(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        side v;
        char byte;
        int c = open_tcp(&v);
        if (reset)
            stream_reset_on_close(v.s);
        stream_close(v.s);
        loop_turn(l, 0);
        errno = 0;
        assert_int_equal(recv(c, &byte, 1, 0), reset ? -1 : 0);
        assert_int_equal(errno, reset ? ECONNRESET : 0);
        close(c);
    }
}

static size_t take(int fd)
{
    static char got[1 << 18];
    ssize_t n = recv(fd, got, sizeof got, MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

static void what_is_counted(void **state)
{
    side v;
    int c = open_tcp(&v);
    buf b;
    buf_init(&b, 8 * MIB);
    assert_false(stream_unread(v.s));
    assert_int_equal(send(c, "x", 1, 0), 1);
    until(stream_unread(v.s));
    assert_int_equal(v.bytes, 0);
    stream_read_limit(v.s, 1);
    until(v.bytes == 1);
    assert_false(stream_unread(v.s));
    assert_int_equal(stream_write_left(v.s), 0);
    buf_reserve(&b, 6 * MIB);
    memset(b.p, 'y', b.n = 6 * MIB); /* more than both sockets take */
    assert_true(stream_write(v.s, &b));
    assert_true(stream_write_busy(v.s) && !b.p && b.n == 0 && b.max == 8 * MIB);
    size_t left = stream_write_left(v.s), all = stream_unacknowledged(v.s);
    assert_true(left > 0 && left < 6 * MIB);
    assert_true(all > left && all <= 6 * MIB);
    size_t taken = 0;
    until((taken += take(c)) == 6 * MIB);
    until(v.drained == 1);
    assert_int_equal(stream_write_left(v.s), 0);
    until(stream_unacknowledged(v.s) == 0);
    buf_clear(&b);
    assert_true(stream_write(v.s, &b)); /* nothing is no write */
    assert_false(stream_write_busy(v.s));
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(v.drained, 1);
    buf_fini(&b);
    stream_close(v.s);
    close(c);
}

/* One read brings as much as its limit allows, and never more than the buffer that all share. */
static void limits_of_a_read(void **state)
{
    static uint8_t much[STREAM_READ_BYTES_MAX + 1000];
    int fd[2];
    err e;
    side v = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    assert_int_equal(send(fd[1], much, sizeof much, 0), sizeof much);
    assert_true(stream_open_take(l, fd[0], &callbacks, &v, &v.s, &e));
    stream_read_limit(v.s, SIZE_MAX);
    until(v.bytes == sizeof much);
    assert_int_equal(v.largest, STREAM_READ_BYTES_MAX);
    stream_close(v.s);
    close(fd[1]);
}

static void what_is_no_connection(void **state)
{
    err e;
    stream *s = NULL;
    assert_false(stream_open_take(l, -1, &callbacks, NULL, &s, &e));
    assert_null(s);
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "cannot open a connection: ", 26);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)
    const struct CMUnitTest tests[] = {
        T(without_tls_little_is_known),
        T(ends_of_two_kinds),
        T(closing_in_two_ways),
        T(what_is_counted),
        T(limits_of_a_read),
        T(what_is_no_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
