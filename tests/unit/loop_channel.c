/* Channels at their limits: the longest message, a full socket, a full queue, descriptors that
 * wait, and ends of every kind. No descriptor is left open by any of it. */
#include "loop_kit.h"

#include "loop/channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    channel *c;
    size_t messages, ends, bytes;
    uint32_t last; /* its first four bytes */
    int fd;
    bool closes; /* in its callback */
} side;

static uint8_t text[CHANNEL_MESSAGE_BYTES_MAX + 1];

static void on_message(void *user, bytes m, int fd)
{
    side *s = user;
    s->messages++;
    s->bytes += m.n;
    memcpy(&s->last, m.p, m.n < 4 ? m.n : 4);
    assert_memory_equal(m.p + 4, text + 4, m.n < 4 ? 0 : m.n - 4);
    if (fd >= 0)
        s->fd = fd;
    if (s->closes)
        channel_close(s->c);
}

static void on_end(void *user)
{
    side *s = user;
    s->ends++;
    if (s->closes)
        channel_close(s->c);
}

static const channel_callbacks callbacks = {on_message, on_end};

static void open_pair(side *a, side *b)
{
    err e;
    int fd[2];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 13 >> 2);
    *a = *b = (side){.fd = -1};
    assert_true(channel_pair(fd, &e));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
    }
    assert_true(channel_open_take(l, fd[0], &callbacks, a, &a->c, &e));
    assert_true(channel_open_take(l, fd[1], &callbacks, b, &b->c, &e));
}

static bytes message(uint32_t number, size_t n)
{
    memcpy(text, &number, sizeof number);
    return (bytes){text, n};
}

/* Until the socket is full and then the queue; returns how many went. */
static uint32_t fill(side *a, size_t n)
{
    err e;
    uint32_t sent = 0;
    while (channel_send(a->c, message(sent, n), -1, &e))
        sent++;
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "the other process does not read its messages");
    return sent;
}

static void sizes(void **state)
{
    static const size_t wrong[] = {0, CHANNEL_MESSAGE_BYTES_MAX + 1};
    static const char *const said[] = {"a message has 1 to 65536 bytes, not 0",
                                       "a message has 1 to 65536 bytes, not 65537"};
    side a, b;
    err e;
    open_pair(&a, &b);
    for (int i = 0; i < 2; i++) {
        assert_false(channel_send(a.c, message(1, wrong[i]), -1, &e));
        assert_int_equal(e.code, ERR_LIMIT);
        assert_string_equal(e.text, said[i]);
    }
    assert_true(channel_send(a.c, message(7, 1), -1, &e));
    until(b.messages == 1);
    assert_true(b.bytes == 1 && b.last == 7);
    assert_true(channel_send(a.c, message(8, CHANNEL_MESSAGE_BYTES_MAX), -1, &e));
    until(b.messages == 2);
    assert_true(b.bytes == 1 + CHANNEL_MESSAGE_BYTES_MAX && b.last == 8 && b.fd == -1);
    channel_close(a.c);
    channel_close(b.c);
    channel_close(NULL);
}

/* What does not fit the socket waits, up to the byte; a descriptor with it. All comes in order. */
static void a_full_socket(void **state)
{
    side a, b;
    err e;
    int pipe_fd[2];
    char byte;
    open_pair(&a, &b);
    uint32_t sent = 0;
    while (channel_try_send(a.c, message(sent, 60000), -1))
        sent++;
    assert_true(sent > 0);
    assert_int_equal(pipe(pipe_fd), 0);
    assert_true(channel_send(a.c, message(sent++, 60000), pipe_fd[1], &e));
    close(pipe_fd[1]);                                         /* the queue has its own */
    assert_false(channel_try_send(a.c, message(sent, 4), -1)); /* it would overtake */
    size_t room = CHANNEL_QUEUE_BYTES_MAX - 60000;
    for (; room >= 60000; room -= 60000)
        assert_true(channel_send(a.c, message(sent++, 60000), -1, &e));
    assert_false(channel_send(a.c, message(sent, room + 1), -1, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_true(channel_send(a.c, message(sent++, room), -1, &e));
    assert_false(channel_send(a.c, message(sent, 1), -1, &e));
    for (uint32_t seen = 0; b.messages < sent; seen = (uint32_t)b.messages) {
        until(b.messages > seen);
        assert_int_equal(b.last, b.messages - 1);
    }
    assert_true(b.fd >= 0);
    assert_int_equal(fcntl(b.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(b.fd, "x", 1), 1);
    close(b.fd);
    assert_int_equal(read(pipe_fd[0], &byte, 1), 1);
    assert_int_equal(read(pipe_fd[0], &byte, 1), 0); /* no copy was left open */
    close(pipe_fd[0]);
    assert_true(channel_send(a.c, message(sent, 60000), -1, &e)); /* there is room again */
    until(b.messages == sent + 1);
    assert_true(channel_try_send(a.c, message(sent + 1, 4), -1));
    until(b.messages == sent + 2);
    channel_close(a.c);
    channel_close(b.c);
}

/* Many messages do not keep the loop from others: 32 a turn. */
static void some_messages_a_turn(void **state)
{
    side a, b;
    err e;
    open_pair(&a, &b);
    for (uint32_t i = 0; i < 70; i++)
        assert_true(channel_send(a.c, message(i, 4), -1, &e));
    loop_turn(l, 0);
    if (b.messages == 0) /* the first turn may only begin to watch */
        loop_turn(l, 0);
    assert_int_equal(b.messages, 32);
    loop_turn(l, 0);
    assert_int_equal(b.messages, 64);
    loop_turn(l, 0);
    assert_int_equal(b.messages, 70);
    channel_close(a.c);
    channel_close(b.c);
}

static void the_end_is_told_once(void **state)
{
    side a, b;
    err e;
    open_pair(&a, &b);
    assert_false(channel_is_over(b.c));
    assert_true(channel_send(a.c, message(1, 4), -1, &e));
    channel_close(a.c);
    assert_true(channel_is_over(b.c)); /* though a message is there */
    until(b.ends == 1);
    assert_int_equal(b.messages, 1);
    for (int i = 0; i < 5; i++)
        loop_turn(l, 1);
    assert_int_equal(b.ends, 1);
    assert_false(channel_try_send(b.c, message(1, 4), -1));
    assert_false(channel_send(b.c, message(1, 4), -1, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "cannot send a message: "));
    channel_close(b.c);
}

/* Closing in a callback: no more of what is there comes, and it is freed when the callback is over.
 */
static void closing_in_a_callback(void **state)
{
    for (int in_end = 0; in_end < 2; in_end++) {
        side a, b;
        err e;
        open_pair(&a, &b);
        b.closes = true;
        for (uint32_t i = 0; i < 3 && !in_end; i++)
            assert_true(channel_send(a.c, message(i, 4), -1, &e));
        if (in_end) {
            channel_close(a.c);
            until(b.ends == 1);
        } else {
            until(b.messages == 1);
            until(a.ends == 1);
            channel_close(a.c);
        }
        for (int i = 0; i < 3; i++)
            loop_turn(l, 1);
        assert_int_equal(b.messages + b.ends, 1);
    }
}

/* What waits is tried once more, the rest goes with its descriptors. */
static void closing_with_a_queue(void **state)
{
    side a, b;
    err e;
    open_pair(&a, &b);
    uint32_t sent = 0;
    while (channel_try_send(a.c, message(sent, 60000), -1))
        sent++;
    uint32_t in_socket = sent;
    for (int i = 0; i < 5; i++)
        assert_true(channel_send(a.c, message(sent++, 60000), STDERR_FILENO, &e));
    channel_close(a.c);
    until(b.ends == 1);
    assert_int_equal(b.messages, in_socket);
    channel_close(b.c);

    open_pair(&a, &b);
    sent = fill(&a, 60000);
    channel_close(b.c);
    until(a.ends == 1);
    channel_close(a.c);
    assert_true(sent > CHANNEL_QUEUE_BYTES_MAX / 60000);
}

/* The socket has got room since the queue was last looked at. */
static void closing_sends_what_fits(void **state)
{
    err e;
    int fd[2];
    side a = {.fd = -1};
    uint32_t sent = 0, number = 0;
    static uint8_t got[CHANNEL_MESSAGE_BYTES_MAX];
    assert_true(channel_pair(fd, &e));
    assert_true(channel_open_take(l, fd[0], &callbacks, &a, &a.c, &e));
    while (channel_try_send(a.c, message(sent, 1000), -1))
        sent++;
    assert_true(channel_send(a.c, message(sent++, 1000), -1, &e));
    while (read(fd[1], got, sizeof got) == 1000)
        number++;
    assert_int_equal(number, sent - 1);
    channel_close(a.c);
    assert_int_equal(read(fd[1], got, sizeof got), 1000);
    memcpy(&number, got, sizeof number);
    assert_int_equal(number, sent - 1);
    assert_int_equal(read(fd[1], got, sizeof got), 0);
    close(fd[1]);
}

/* In a process without an input the number 0 is one like others, for what waits too. */
static void descriptor_zero(void **state)
{
    side a, b;
    err e;
    int pipe_fd[2], was = dup(STDIN_FILENO);
    char byte;
    open_pair(&a, &b);
    uint32_t sent = 0;
    while (channel_try_send(a.c, message(sent, 60000), -1))
        sent++;
    assert_int_equal(pipe(pipe_fd), 0);
    close(STDIN_FILENO);
    assert_true(channel_send(a.c, message(sent++, 60000), pipe_fd[1], &e)); /* its copy is 0 */
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    close(pipe_fd[1]);
    until(b.messages == sent);
    assert_int_equal(b.fd, STDIN_FILENO); /* free again when it was sent */
    assert_true(channel_send(a.c, message(sent++, 4), STDIN_FILENO, &e));
    close(STDIN_FILENO);
    b.fd = -1;
    until(b.messages == sent);
    assert_int_equal(b.fd, STDIN_FILENO);
    close(STDIN_FILENO);
    assert_int_equal(read(pipe_fd[0], &byte, 1), 0);
    close(pipe_fd[0]);
    dup2(was, STDIN_FILENO);
    close(was);
    channel_close(a.c);
    channel_close(b.c);
}

static void what_cannot_be_watched(void **state)
{
    err e;
    channel *c = NULL;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a file is always ready */
    assert_false(channel_open_take(l, fd, &callbacks, NULL, &c, &e));
    assert_null(c);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "cannot watch a descriptor: "));
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken all the same */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, count_descriptors, none_is_left)
    const struct CMUnitTest tests[] = {
        T(sizes),
        T(a_full_socket),
        T(some_messages_a_turn),
        T(the_end_is_told_once),
        T(closing_in_a_callback),
        T(closing_with_a_queue),
        T(closing_sends_what_fits),
        T(descriptor_zero),
        T(what_cannot_be_watched),
    };
    open_loop(NULL); /* libuv keeps two descriptors for all its loops */
    close_loop(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
