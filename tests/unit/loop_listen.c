/* Listening: what addresses say, what sockets are set to, the paths of local ones, and accepting at
 * its limits. No descriptor is left open by any of it. */
#include "loop_kit.h"

#include "loop/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int option(int fd, int level, int name)
{
    int v = -1;
    socklen_t n = sizeof v;
    assert_int_equal(getsockopt(fd, level, name, &v, &n), 0);
    return v;
}

/* --- addresses --- */

static void addresses_that_are_none(void **state)
{
    static const char *const no_port[] = {
        "", "3000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"};
    static const char *const no_ip[] = {
        "example.com:80",
        "[::1:80",
        "::1]:80",
        "::1:80",
        "[127.0.0.1]:80",
        "1.2.3:80",
        "[]:80",
        "[:80",
        "]:80",
        "localhost.:80",
        "[0000:0000:0000:0000:0000:ffff:255.255.255.2555]:80", /* 46 between the brackets */
        "0000:0000:0000:0000:0000:ffff:255.255.255.25555:80",
    };
    char address[LISTEN_ADDRESS_MAX] = "untouched", text[200];
    err e;
    int fd = -7;
    for (size_t i = 0; i < sizeof no_port / sizeof *no_port; i++) {
        snprintf(text, sizeof text,
                 "'%s' is no address to listen on; write IP:PORT, such as 127.0.0.1:3000 or "
                 "[::1]:3000",
                 no_port[i]);
        e = (err){0};
        assert_false(listen_socket(str_from(no_port[i]), &fd, address, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.text, text);
    }
    for (size_t i = 0; i < sizeof no_ip / sizeof *no_ip; i++) {
        snprintf(text, sizeof text,
                 "'%s' is no IP address; names are not looked up, write 127.0.0.1:3000 or "
                 "[::1]:3000",
                 no_ip[i]);
        char *exactly = strdup(no_ip[i]);
        e = (err){0};
        assert_false(listen_is_free((str){exactly, strlen(exactly)}, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.text, text);
        free(exactly);
    }
    assert_int_equal(fd, -7);
    assert_string_equal(address, "untouched");
    /* The longest there is: 45 characters. */
    assert_true(listen_is_free(S("[0000:0000:0000:0000:0000:ffff:127.100.100.100]:0"), &e));
}

static void sockets_are_set_up(void **state)
{
    static const struct {
        const char *text, *at;
        int only_v6;
    } cases[] = {{"127.0.0.1:0", "127.0.0.1:", -1},
                 {"localhost:0", "127.0.0.1:", -1},
                 {"0.0.0.0:0", "0.0.0.0:", -1},
                 {"[::1]:0", "[::1]:", 1},
                 {"[::]:0", "[::]:", 0},
                 {":0", "[::]:", 0},
                 {"[0000:0000:0000:0000:0000:0000:0.0.0.1]:0", "[::1]:", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char address[LISTEN_ADDRESS_MAX];
        int fd;
        err e;
        assert_true(listen_socket(str_from(cases[i].text), &fd, address, &e));
        size_t n = strlen(cases[i].at);
        assert_memory_equal(address, cases[i].at, n);
        assert_true(atoi(address + n) > 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(option(fd, SOL_SOCKET, SO_ACCEPTCONN));
        assert_true(option(fd, SOL_SOCKET, SO_REUSEADDR));
        assert_true(option(fd, SOL_SOCKET, SO_REUSEPORT));
        assert_true(option(fd, IPPROTO_TCP, TCP_NODELAY));
        if (cases[i].only_v6 >= 0)
            assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), cases[i].only_v6);
        close(fd);
    }
}

static int connected(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void who_is_there_is_seen(void **state)
{
    char address[LISTEN_ADDRESS_MAX], text[200];
    int fd;
    err e;
    assert_true(listen_socket(S("127.0.0.1:0"), &fd, address, &e));
    assert_false(listen_is_free(str_from(address), &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    snprintf(text, sizeof text, "%s is in use by another process", address);
    assert_string_equal(e.text, text);
    /* A connection whose end the server began stays for a minute, and is nobody. */
    int c = connected(address), s = accept(fd, NULL, NULL);
    shutdown(s, SHUT_RDWR);
    char byte;
    assert_int_equal(read(c, &byte, 1), 0);
    close(c);
    close(s);
    close(fd);
    assert_true(listen_is_free(str_from(address), &e));
    assert_true(listen_socket(str_from(address), &fd, text, &e)); /* nor has it been taken */
    close(fd);
    assert_false(listen_is_free(S("192.0.2.1:80"), &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "cannot listen on 192.0.2.1:80: "));
    assert_false(listen_socket(S("192.0.2.1:80"), &fd, text, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "cannot listen on 192.0.2.1:80: "));
}

/* --- accepting --- */

static unsigned accepted;
static int kept[200];
static char peer_was[LISTEN_ADDRESS_MAX];

static void on_accept(void *user, int fd, str peer)
{
    kept[accepted++] = fd;
    snprintf(peer_was, sizeof peer_was, "%.*s", STR(peer));
}

static void close_kept(void)
{
    while (accepted > 0)
        close(kept[--accepted]);
}

static void what_is_accepted(void **state)
{
    static const char *const on[] = {"127.0.0.1:0", ":0"};
    for (int i = 0; i < 2; i++) {
        char address[LISTEN_ADDRESS_MAX], text[LISTEN_ADDRESS_MAX];
        int fd;
        err e;
        listener *li;
        struct sockaddr_in at;
        socklen_t n = sizeof at;
        accepted = 0;
        assert_true(listen_socket(str_from(on[i]), &fd, address, &e));
        assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
        int c = connected(address);
        until(accepted == 1);
        assert_int_equal(getsockname(c, (struct sockaddr *)&at, &n), 0);
        snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
        assert_string_equal(peer_was, text);
        assert_int_equal(fcntl(kept[0], F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(kept[0], F_GETFL) & O_NONBLOCK);
        assert_true(option(kept[0], IPPROTO_TCP, TCP_NODELAY));
        close(c);
        close_kept();
        listener_close(li);
        close(fd);
    }
    listener_close(NULL);
}

/* A crowd does not keep the loop from those who are connected: 64 a turn. */
static void some_are_accepted_a_turn(void **state)
{
    enum { CROWD = 70 };
    char address[LISTEN_ADDRESS_MAX];
    int fd, clients[CROWD];
    err e;
    listener *li;
    accepted = 0;
    assert_true(listen_socket(S("127.0.0.1:0"), &fd, address, &e));
    for (int i = 0; i < CROWD; i++)
        clients[i] = connected(address);
    assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
    loop_turn(l, 0);
    if (accepted == 0)
        loop_turn(l, 0);
    assert_int_equal(accepted, 64);
    until(accepted == CROWD);
    for (int i = 0; i < CROWD; i++)
        close(clients[i]);
    close_kept();
    listener_close(li);
    close(fd);
}

/* A listener that pauses, because there are no descriptors, may be closed as any other. */
static void closed_while_it_pauses(void **state)
{
    char address[LISTEN_ADDRESS_MAX];
    int fd, n = 0, taken[1000];
    err e;
    listener *li;
    struct rlimit was, few;
    assert_true(listen_socket(S("127.0.0.1:0"), &fd, address, &e));
    int c = connected(address);
    assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = 100;
    setrlimit(RLIMIT_NOFILE, &few);
    while (n < 1000 && (taken[n] = dup(fd)) >= 0)
        n++;
    accepted = 0;
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    listener_close(li);
    while (n > 0)
        close(taken[--n]);
    setrlimit(RLIMIT_NOFILE, &was);
    for (ns end = clock_mono() + 80 * NS_PER_MS; clock_mono() < end;) /* longer than the pause */
        loop_turn(l, 20);
    assert_int_equal(accepted, 0);
    close(c);
    close(fd);
}

static void what_cannot_be_watched(void **state)
{
    err e;
    listener *li = NULL;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a file is always ready */
    assert_false(listener_open(l, fd, on_accept, NULL, &li, &e));
    assert_null(li);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "cannot watch a descriptor: "));
    assert_int_equal(close(fd), 0); /* the caller's still */
}

/* --- local ones --- */

static void local_sockets(void **state)
{
    char folder[] = "/tmp/ebb-local-XXXXXX", path[400], text[500];
    int fd, n;
    err e;
    listener *li;
    struct stat st;
    assert_non_null(mkdtemp(folder));
    n = snprintf(path, sizeof path, "%s/%0120d", folder, 0); /* longer than a socket's address */
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path + n, sizeof path - (size_t)n, "/socket");
    assert_int_equal(connect_local(path, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    snprintf(text, sizeof text, "%s: %s", path, "No such file or directory");
    assert_string_equal(e.text, text);

    umask(022);
    assert_true(listen_local(path, &fd, &e));
    assert_int_equal(umask(022), 022);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(listener_open(l, fd, on_accept, NULL, &li, &e));
    accepted = 0;
    int c = connect_local(path, &e);
    assert_true(c >= 0);
    assert_int_equal(fcntl(c, F_GETFD), FD_CLOEXEC);
    assert_false(fcntl(c, F_GETFL) & O_NONBLOCK);
    until(accepted == 1);
    assert_string_equal(peer_was, "local");
    int other = -7;
    assert_false(listen_local(path, &other, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    snprintf(text, sizeof text, "%s is in use by another process", path);
    assert_string_equal(e.text, text);
    assert_int_equal(other, -7);
    until(accepted == 2); /* it has asked */
    close(c);
    close_kept();
    listener_close(li);
    close(fd);

    assert_int_equal(connect_local(path, &e), -1); /* left by one that is gone */
    assert_int_equal(e.code, ERR_IO);
    assert_true(listen_local(path, &fd, &e));
    close(fd);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* what is no socket stays */
    assert_false(listen_local(path, &other, &e));
    snprintf(text, sizeof text, "cannot listen on %s: ", path);
    assert_memory_equal(e.text, text, strlen(text));
    assert_int_equal(umask(022), 022);
    rmdir(path);
    path[n] = 0;
    rmdir(path);
    assert_int_equal(rmdir(folder), 0);
    snprintf(path, sizeof path, "%s/s", folder);
    assert_false(listen_local(path, &other, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    snprintf(text, sizeof text, "%s/: No such file or directory", folder);
    assert_string_equal(e.text, text);
    assert_int_equal(other, -7);
}

/* In a process without an input the number 0 is one like others. */
static void descriptor_zero(void **state)
{
    char folder[] = "/tmp/ebb-local-XXXXXX", path[64];
    int first, second = -7, was = dup(STDIN_FILENO);
    err e;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    assert_true(listen_local(path, &first, &e));
    close(STDIN_FILENO);
    assert_false(listen_local(path, &second, &e)); /* somebody is there */
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_int_equal(connect_local(path, &e), STDIN_FILENO);
    close(STDIN_FILENO);
    close(first);
    assert_int_equal(connect_local(path, &e), -1);
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
    assert_true(listen_local(path, &first, &e));
    assert_int_equal(first, STDIN_FILENO);
    close(first);
    dup2(was, STDIN_FILENO);
    close(was);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

/* A name without a folder is one of this folder. */
static void a_name_alone(void **state)
{
    char folder[] = "/tmp/ebb-local-XXXXXX";
    int fd, here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    err e;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_true(listen_local("s", &fd, &e));
    int c = connect_local("s", &e);
    assert_true(c >= 0);
    close(c);
    close(fd);
    assert_int_equal(unlink("s"), 0);
    assert_int_equal(fchdir(here), 0);
    close(here);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, count_descriptors, none_is_left)
    const struct CMUnitTest tests[] = {
        T(addresses_that_are_none),  T(sockets_are_set_up),
        T(who_is_there_is_seen),     T(what_is_accepted),
        T(some_are_accepted_a_turn), T(closed_while_it_pauses),
        T(what_cannot_be_watched),   T(local_sockets),
        T(descriptor_zero),          T(a_name_alone),
    };
    open_loop(NULL); /* libuv keeps two descriptors for all its loops */
    close_loop(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
