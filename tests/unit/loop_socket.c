/* Listening, streams, channels. */
#include "loop_kit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "loop/listen.h"
#include "loop/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- listening --- */

static int dial(const char *address)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    in_port_t port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    six.sin6_port = four.sin_port = port;
    bool is6 = address[0] == '[';
    int fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (connect(fd, is6 ? (struct sockaddr *)&six : (struct sockaddr *)&four,
                is6 ? sizeof six : sizeof four) == 0)
        return fd;
    close(fd);
    return -1;
}

static unsigned accepted;
static char peer_seen[LISTEN_ADDRESS_MAX];
static int accepted_fd;

static void on_accept(void *user, int fd, str peer)
{
    accepted++;
    snprintf(peer_seen, sizeof peer_seen, "%.*s", STR(peer));
    if (user)
        *(int *)user += 1;
    close(fd);
}

static void accepts_on(const char *text, const char *peer_prefix)
{
    err e;
    int fd;
    char address[LISTEN_ADDRESS_MAX];
    listener *li;
    assert_true(listen_socket(str_from(text), &fd, address, &e));
    assert_true(atoi(strrchr(address, ':') + 1) > 0);
    assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
    accepted = 0;
    int c = dial(address);
    assert_true(c >= 0);
    until(accepted == 1);
    assert_int_equal(strncmp(peer_seen, peer_prefix, strlen(peer_prefix)), 0);
    close(c);
    listener_close(li);
    close(fd);
}

static void listening(void **state)
{
    err e;
    int fd = -7;
    char address[LISTEN_ADDRESS_MAX] = "untouched";
    accepts_on("127.0.0.1:0", "127.0.0.1:");
    accepts_on("localhost:0", "127.0.0.1:");
    accepts_on("[::1]:0", "[::1]:");
    static const char *const bad[] = {"",
                                      "3000",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:x",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:-1",
                                      "example.com:80",
                                      "[::1:80",
                                      "::1:80",
                                      "[127.0.0.1]:80",
                                      "1.2.3:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(listen_socket(str_from(bad[i]), &fd, address, &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
    assert_false(listen_socket(S("192.0.2.1:0"), &fd, address, &e)); /* not ours */
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(fd, -7);
    assert_string_equal(address, "untouched");
}

/* An IPv4 client of a socket for both families is shown as IPv4. */
static void both_families(void **state)
{
    err e;
    int fd;
    char address[LISTEN_ADDRESS_MAX], four[LISTEN_ADDRESS_MAX + 16];
    listener *li;
    assert_true(listen_socket(S(":0"), &fd, address, &e));
    assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
    snprintf(four, sizeof four, "127.0.0.1:%s", strrchr(address, ':') + 1);
    accepted = 0;
    int c = dial(four);
    until(accepted == 1);
    assert_int_equal(strncmp(peer_seen, "127.0.0.1:", 10), 0);
    close(c);
    listener_close(li);
    close(fd);
}

/* One socket per worker slot, same port; a closed listener leaves the queue to the next. */
static void slots(void **state)
{
    err e;
    int fds[2], counts[2] = {0};
    char address[LISTEN_ADDRESS_MAX], again[LISTEN_ADDRESS_MAX];
    listener *li[2];
    assert_true(listen_socket(S("127.0.0.1:0"), &fds[0], address, &e));
    assert_true(listen_socket(str_from(address), &fds[1], again, &e));
    assert_string_equal(address, again);
    for (int i = 0; i < 2; i++)
        assert_true(listener_open(l, fds[i], on_accept, &counts[i], &li[i], &e));
    accepted = 0;
    int clients[64];
    for (int i = 0; i < 64; i++)
        clients[i] = dial(address);
    until(accepted == 64);
    assert_true(counts[0] > 0 && counts[1] > 0);
    for (int i = 0; i < 64; i++)
        close(clients[i]);
    listener_close(li[0]);
    listener_close(li[1]);
    for (int i = 0; i < 64; i++)
        assert_true((clients[i] = dial(address)) >= 0); /* queued: nobody accepts */
    assert_int_equal(accepted, 64);
    for (int i = 0; i < 2; i++)
        assert_true(listener_open(l, fds[i], on_accept, NULL, &li[i], &e));
    until(accepted == 128);
    for (int i = 0; i < 64; i++)
        close(clients[i]);
    for (int i = 0; i < 2; i++) {
        listener_close(li[i]);
        close(fds[i]);
    }
}

static void on_accept_keep(void *user, int fd, str peer)
{
    accepted++;
    accepted_fd = fd;
}

/* Out of descriptors the loop sleeps and accepts when there are some again. */
static void no_descriptors(void **state)
{
    err e;
    int fd, kept[1000], n = 0;
    char address[LISTEN_ADDRESS_MAX];
    listener *li;
    struct rlimit was, few;
    assert_true(listen_socket(S("127.0.0.1:0"), &fd, address, &e));
    assert_true(listener_open(l, fd, on_accept_keep, NULL, &li, &e));
    loop_turn(l, 0);
    int c = dial(address);
    accepted = 0;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = 100;
    setrlimit(RLIMIT_NOFILE, &few);
    while (n < 1000 && (kept[n] = dup(fd)) >= 0)
        n++;
    unsigned turns = 0;
    for (ns end = clock_mono() + 300 * NS_PER_MS; clock_mono() < end; turns++)
        loop_turn(l, 400);
    assert_int_equal(accepted, 0);
    assert_true(turns < 30); /* it did not spin */
    while (n > 0)
        close(kept[--n]);
    setrlimit(RLIMIT_NOFILE, &was);
    until(accepted == 1);
    close(accepted_fd);
    close(c);
    listener_close(li);
    close(fd);
}

static listener *closing;

static void on_accept_close(void *user, int fd, str peer)
{
    accepted++;
    close(fd);
    listener_close(closing);
}

static void closed_by_its_callback(void **state)
{
    err e;
    int fd;
    char address[LISTEN_ADDRESS_MAX];
    assert_true(listen_socket(S("127.0.0.1:0"), &fd, address, &e));
    int c = dial(address), d = dial(address);
    accepted = 0;
    assert_true(listener_open(l, fd, on_accept_close, NULL, &closing, &e));
    until(accepted == 1);
    loop_turn(l, 0);
    assert_int_equal(accepted, 1);
    close(c);
    close(d);
    close(fd);
}

/* --- streams --- */

static char got[1 << 20];
static size_t got_n, largest;
static int ends, drained;
static stream_end end_was;

static void on_read(void *user, const uint8_t *p, size_t n)
{
    assert_true(got_n + n <= sizeof got);
    memcpy(got + got_n, p, n);
    got_n += n;
    largest = n > largest ? n : largest;
}

static void on_end(void *user, stream_end end)
{
    ends++;
    end_was = end;
}

static void on_drained(void *user) { drained++; }

static const stream_callbacks callbacks = {on_read, on_end, on_drained};

static stream *stream_pair(int *ret_other)
{
    err e;
    int fd[2];
    stream *s;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    assert_true(stream_open_take(l, fd[0], &callbacks, NULL, &s, &e));
    *ret_other = fd[1];
    got_n = largest = 0;
    ends = drained = 0;
    return s;
}

static void reading(void **state)
{
    int other;
    stream *s = stream_pair(&other);
    assert_int_equal(write(other, "0123456789", 10), 10);
    loop_turn(l, 0);
    assert_int_equal(got_n, 0); /* not asked for */
    stream_read_limit(s, 4);
    until(got_n == 10);
    assert_int_equal(largest, 4);
    stream_read_limit(s, 0);
    assert_int_equal(write(other, "x", 1), 1);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(got_n, 10);
    stream_read_limit(s, 1 << 20);
    until(got_n == 11);
    close(other);
    until(ends == 1);
    assert_int_equal(end_was, STREAM_EOF);
    stream_close(s);
}

static char order[16];
static loop_hook *early;
static bool leaves; /* the hook goes in the callback that asked for it */

static bool hook_early(void *user)
{
    strcat(order, "h");
    return false;
}

static void read_and_ask(void *user, const uint8_t *p, size_t n)
{
    strcat(order, "r");
    loop_hook_soon(early);
    if (leaves)
        loop_hook_remove(early);
}

/* A hook is called after each callback that asked for it, and at the end of the turn. */
static void hooks_soon(void **state)
{
    static const stream_callbacks asking = {read_and_ask, on_end, on_drained};
    err e;
    int other[2];
    stream *s[2];
    assert_true(loop_hook_add(l, hook_early, NULL, &early, &e));
    for (int i = 0; i < 2; i++) {
        s[i] = stream_pair(&other[i]);
        stream_rebind(s[i], &asking, NULL);
        stream_read_limit(s[i], 100);
        assert_int_equal(write(other[i], "x", 1), 1);
    }
    order[0] = 0;
    leaves = false;
    loop_turn(l, 0); /* the end of the turn before, then what came */
    assert_string_equal(order, "hrhrh");
    loop_turn(l, 0);
    assert_string_equal(order, "hrhrhh");
    leaves = true;
    order[0] = 0;
    assert_int_equal(write(other[0], "x", 1), 1);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_string_equal(order, "hr");
    for (int i = 0; i < 2; i++) {
        stream_close(s[i]);
        close(other[i]);
    }
}

static loop_hook *late;

static bool hook_late(void *user)
{
    strcat(order, "l");
    return false;
}

static void read_and_ask_another(void *user, const uint8_t *p, size_t n)
{
    strcat(order, "r");
    if (*p == 'l')
        loop_hook_soon(late);
    else if (*p == 'h')
        loop_hook_soon(early);
}

/* What one callback asked for is not what the next one did. */
static void hooks_soon_of_several(void **state)
{
    static const stream_callbacks asking = {read_and_ask_another, on_end, on_drained};
    err e;
    int other[3];
    stream *s[3];
    assert_true(loop_hook_add(l, hook_early, NULL, &early, &e));
    assert_true(loop_hook_add(l, hook_late, NULL, &late, &e));
    for (int i = 0; i < 3; i++) {
        s[i] = stream_pair(&other[i]);
        stream_rebind(s[i], &asking, NULL);
        stream_read_limit(s[i], 100);
    }
    loop_turn(l, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(write(other[i], &"h-l"[i], 1), 1);
    order[0] = 0;
    loop_turn(l, 0); /* the end of the turn before, then what came */
    assert_string_equal(order, "hlrhrrl");
    loop_turn(l, 0);
    assert_string_equal(order, "hlrhrrlhl");
    for (int i = 0; i < 3; i++) {
        stream_close(s[i]);
        close(other[i]);
    }
    loop_hook_remove(early);
    loop_hook_remove(late);
}

static void writing(void **state)
{
    int other;
    char back[100000];
    size_t taken = 0;
    stream *s = stream_pair(&other);
    buf b;
    buf_init(&b, 4 * MIB);
    buf_put_str(&b, S("hello"));
    assert_true(stream_write(s, &b));
    assert_false(stream_write_busy(s));
    assert_int_equal(b.n, 0);
    assert_int_equal(read(other, back, sizeof back), 5);
    for (size_t i = 0; i < 2 * MIB; i++)
        buf_put_u8(&b, (uint8_t)(i * 7 >> 8));
    assert_true(stream_write(s, &b)); /* more than the socket takes */
    assert_true(stream_write_busy(s));
    assert_null(b.p);
    size_t left = stream_write_left(s);
    assert_true(left > 0 && left < 2 * MIB);
    while (taken < 2 * MIB) {
        ssize_t n = read(other, back, sizeof back);
        for (ssize_t i = 0; i < n; i++, taken++)
            assert_int_equal((uint8_t)back[i], (uint8_t)(taken * 7 >> 8));
        loop_turn(l, 0);
        assert_true(stream_write_left(s) <= left);
        left = stream_write_left(s);
    }
    until(drained == 1);
    assert_false(stream_write_busy(s));
    assert_true(stream_shutdown_write(s));
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(read(other, back, 1), 0);
    stream_close(s);
    close(other);
}

static uint8_t pattern(size_t at) { return (uint8_t)((at * 7 >> 8) ^ at); }

/* Wherever the socket is full, the bytes come whole and in their order, and the memory they were
 * written from may change at once. */
static void writing_through(void **state)
{
    static const size_t sizes[] = {0, 1, 100000, 2 * MIB};
    static uint8_t more[2 * MIB], back[1 << 16];
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            int other;
            size_t at = 0, taken = 0, whole = sizes[i] + sizes[k] + 2;
            stream *s = stream_pair(&other);
            buf b;
            buf_init(&b, 6 * MIB);
            for (; at < sizes[i]; at++)
                buf_put_u8(&b, pattern(at));
            for (; at < sizes[i] + sizes[k]; at++)
                more[at - sizes[i]] = pattern(at);
            char end[2] = {(char)pattern(at), (char)pattern(at + 1)};
            assert_true(stream_write_through(s, &b, (bytes){more, sizes[k]}, (str){end, 2}));
            memset(more, 'x', sizeof more);
            memset(end, 'x', sizeof end);
            assert_int_equal(b.n, 0);
            assert_int_equal(stream_write_busy(s), whole > MIB);
            for (ns until = clock_mono() + 10 * NS_PER_S; taken < whole;) {
                ssize_t n = read(other, back, sizeof back);
                for (ssize_t j = 0; j < n; j++, taken++)
                    assert_int_equal(back[j], pattern(taken));
                loop_turn(l, 0);
                assert_true(clock_mono() < until);
            }
            assert_int_equal(read(other, back, sizeof back), -1); /* and no more */
            buf_fini(&b);
            stream_close(s);
            close(other);
        }
}

static void writing_to_nobody(void **state)
{
    int other;
    stream *s = stream_pair(&other);
    buf b;
    buf_init(&b, 4 * MIB);
    close(other);
    buf_put_str(&b, S("hello"));
    assert_false(stream_write(s, &b)); /* and no SIGPIPE */
    assert_false(stream_write_through(s, &b, (bytes){(const uint8_t *)"x", 1}, S("")));
    assert_int_equal(b.n, 5);
    buf_fini(&b);
    stream_close(s);

    s = stream_pair(&other);
    buf_reserve(&b, 2 * MIB);
    memset(b.p, 0, b.n = 2 * MIB);
    assert_true(stream_write(s, &b));
    assert_true(stream_write_busy(s));
    close(other);
    until(ends == 1);
    assert_int_equal(end_was, STREAM_RESET);
    stream_close(s);
    /* Closing with a rest: no callback comes, nothing leaks. */
    s = stream_pair(&other);
    buf_reserve(&b, 2 * MIB);
    memset(b.p, 0, b.n = 2 * MIB);
    assert_true(stream_write(s, &b));
    stream_close(s);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(ends + drained, 0);
    close(other);
}

/* --- channels --- */

static unsigned messages, channel_ends;
static int passed;
static char last_message[200];
static size_t message_bytes;

static void on_message(void *user, bytes m, int fd)
{
    assert_int_equal(m.n >= 4 ? *(const unsigned *)(const void *)m.p : 0, messages);
    messages++;
    message_bytes += m.n;
    snprintf(last_message, sizeof last_message, "%.*s", (int)m.n - 4, m.p + 4);
    if (fd >= 0)
        passed = fd;
}

static void on_channel_end(void *user) { channel_ends++; }

static void channels(void **state)
{
    static const channel_callbacks cb = {on_message, on_channel_end};
    err e;
    int fd[2], pipe_fd[2];
    channel *a, *b;
    assert_true(channel_pair(fd, &e));
    assert_true(channel_open_take(l, fd[0], &cb, NULL, &a, &e));
    assert_true(channel_open_take(l, fd[1], &cb, NULL, &b, &e));
    messages = channel_ends = 0;
    passed = -1;
    message_bytes = 0;
    unsigned char m[60000] = {0};
    memcpy(m + 4, "hi", 3);
    assert_true(channel_send(a, (bytes){m, 7}, -1, &e));
    until(messages == 1);
    assert_string_equal(last_message, "hi");
    assert_int_equal(passed, -1);
    /* A descriptor. */
    assert_int_equal(pipe(pipe_fd), 0);
    m[0] = 1;
    assert_true(channel_send(a, (bytes){m, 7}, pipe_fd[1], &e));
    close(pipe_fd[1]);
    until(messages == 2);
    assert_int_equal(write(passed, "x", 1), 1);
    close(passed);
    char byte, *none = &byte;
    assert_int_equal(read(pipe_fd[0], none, 1), 1);
    assert_int_equal(read(pipe_fd[0], none, 1), 0); /* no copy was left open */
    close(pipe_fd[0]);
    /* More than the socket holds: queued, in order; then refused. */
    unsigned sent = 2;
    size_t bytes_sent = 14;
    for (; sent < 1000; sent++) {
        memcpy(m, &sent, sizeof sent);
        if (!channel_send(a, (bytes){m, sizeof m}, -1, &e))
            break;
        bytes_sent += sizeof m;
    }
    assert_int_equal(e.code, ERR_LIMIT);
    assert_true(sent > CHANNEL_QUEUE_BYTES_MAX / sizeof m);
    assert_int_equal(messages, 2);
    until(messages == sent);
    assert_int_equal(message_bytes, bytes_sent);
    assert_false(channel_send(a, (bytes){m, 0}, -1, &e));
    assert_false(channel_send(a, (bytes){m, CHANNEL_MESSAGE_BYTES_MAX + 1}, -1, &e));
    channel_close(a);
    until(channel_ends == 1);
    assert_false(channel_send(b, (bytes){m, 4}, -1, &e));
    channel_close(b);
}

/* A socket whose process has gone makes room; one that is listened on does not. */
static void a_path_that_was_left(void **state)
{
    char folder[] = "/tmp/ebb-listen-XXXXXX", path[64];
    int first, second;
    err e;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    assert_true(listen_local(path, &first, &e));
    assert_false(listen_local(path, &second, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    close(first);
    assert_true(listen_local(path, &second, &e));
    close(second);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)
    const struct CMUnitTest tests[] = {
        T(listening),
        T(both_families),
        T(slots),
        T(no_descriptors),
        T(closed_by_its_callback),
        T(reading),
        T(writing),
        T(writing_through),
        T(writing_to_nobody),
        T(channels),
        T(a_path_that_was_left),
        T(hooks_soon),
        T(hooks_soon_of_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
