/* Deferred calls through the store's server where the queue is over a network, so that a thread
 * carries them out: what happens on the loop meanwhile. The database is a few messages of
 * PostgreSQL's protocol (version 3), which refuse, wait and break where a test says so. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/queue_client.h"
#include "store/queue_rows.h"
#include "store/server.h"

#include <arpa/inet.h>
#include <endian.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static loop *l;
static store_server *server;
static store_client *client, *second;
static int done;
static err e;

/* --- the database: a connection at a time, on a thread ---------------------------------------- */

static struct {
    int listener;
    pthread_t thread;
    atomic_int prepared; /* statements that it was asked to prepare */
    atomic_int refuses;  /* that many of the next ones */
    atomic_int holds;    /* it does not answer that one until it may go on; 0: none */
    atomic_bool held;
    sem_t go;
    atomic_bool breaks; /* it ends the connection instead of a commit */
    atomic_int fd;      /* the connection */
} db;

static bool receive(int fd, void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = recv(fd, (char *)to + got, n - got, 0);
        if (r <= 0)
            return false;
        got += (size_t)r;
    }
    return true;
}

static void say(int fd, char type, const void *p, size_t n)
{
    uint32_t length = htonl((uint32_t)n + 4);
    buf b;
    buf_init(&b, 4096);
    buf_put_u8(&b, (uint8_t)type);
    buf_put(&b, &length, sizeof length);
    buf_put(&b, p, n);
    send(fd, b.p, b.n, MSG_NOSIGNAL); /* who has gone has no answer */
    buf_fini(&b);
}

#define SAY(fd, type, text) say(fd, type, text, sizeof(text) - 1)

/* A column of 64-bit numbers, in text (0) or binary (1). */
static void say_columns(int fd, uint8_t format)
{
    char t[] = "\0\1n\0\0\0\0\0\0\0\0\0\0\24\0\10\377\377\377\377\0";
    t[sizeof t - 1] = (char)format;
    say(fd, 'T', t, sizeof t);
}

/* The answer to one message. False: the connection is over. */
static bool reply(int fd, char type, const char *body, char *state)
{
    switch (type) {
    case 'Q':
        if (strcmp(body, "NOTIFY ebb_queue; COMMIT") == 0 && db.breaks)
            return false;
        if (strstr(body, "BEGIN; SELECT")) {
            say_columns(fd, 0);
            SAY(fd, 'D',
                "\0\1\0\0\0\7"
                "1000000");
        }
        if (strncmp(body, "INSERT INTO ebb_queue", 21) == 0) {
            say_columns(fd, 0);
            SAY(fd, 'D', "\0\1\0\0\0\1t"); /* whoever comes has the right key */
        }
        SAY(fd, 'C', "COMMIT\0");
        *state = strncmp(body, "BEGIN; SELECT", 13) == 0 ? 'T' : 'I';
        say(fd, 'Z', state, 1);
        return true;
    case 'P':
        if (++db.prepared == db.holds) {
            db.held = true;
            sem_wait(&db.go);
        }
        if (db.refuses > 0) {
            db.refuses--;
            *state = 'E';
            SAY(fd, 'E', "SERROR\0CXX000\0Mrefused\0");
        } else {
            SAY(fd, '1', "");
        }
        return true;
    case 'B':
        SAY(fd, '2', "");
        return true;
    case 'D':
        say_columns(fd, 1);
        return true;
    case 'E':
        SAY(fd, 'D', "\0\1\0\0\0\10\0\0\0\0\0\0\0\1");
        SAY(fd, 'C', "SELECT 1\0");
        return true;
    case 'S':
        say(fd, 'Z', state, 1);
        return true;
    default:
        return false;
    }
}

static void serve(int fd)
{
    static char body[64 * KIB];
    uint32_t n;
    char type, state = 'I';
    if (!receive(fd, &n, 4) || ntohl(n) > sizeof body || !receive(fd, body, ntohl(n) - 4))
        return;
    SAY(fd, 'R', "\0\0\0\0");
    SAY(fd, 'Z', "I");
    db.fd = fd;
    while (receive(fd, &type, 1) && receive(fd, &n, 4) && ntohl(n) < sizeof body &&
           receive(fd, body, ntohl(n) - 4)) {
        body[ntohl(n) - 4] = 0;
        if (!reply(fd, type, body, &state))
            return;
    }
}

static void *database(void *user)
{
    for (int fd; (fd = accept(db.listener, NULL, NULL)) >= 0; close(fd))
        serve(fd);
    return NULL;
}

/* --- the store's server and two workers ------------------------------------------------------- */

static void server_start(uint16_t port)
{
    int fds[2];
    char url[128];
    snprintf(url, sizeof url, "postgresql://ebb@127.0.0.1:%u/x?sslmode=disable&gssencmode=disable",
             port);
    store_config c = {.queue = {.url = str_from(url), .key = {{7}}}};
    assert_true(store_server_new(l, &c, &server, &e));
    store_client **all[] = {&client, &second};
    for (int i = 0; i < 2; i++) {
        assert_true(store_client_new(l, all[i], &e) && channel_pair(fds, &e));
        assert_true(store_server_add_take(server, fds[0], &e));
        store_client_connect_take(*all[i], fds[1]);
    }
}

static int begin(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    memset(&db, 0, sizeof db);
    sem_init(&db.go, 0, 0);
    db.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(db.listener, (struct sockaddr *)&at, n) < 0 || listen(db.listener, 8) < 0 ||
        getsockname(db.listener, (struct sockaddr *)&at, &n) < 0 ||
        pthread_create(&db.thread, NULL, database, NULL) != 0 || !loop_new(&l, &e))
        return -1;
    done = 0;
    server_start(ntohs(at.sin_port));
    return 0;
}

static int end(void **state)
{
    store_client_free(client);
    store_client_free(second);
    store_server_free(server);
    loop_free(l);
    shutdown(db.listener, SHUT_RDWR);
    pthread_join(db.thread, NULL);
    close(db.listener);
    sem_destroy(&db.go);
    return 0;
}

static void on_done(void *user) { done++; }

static store_call *sent(store_call *k)
{
    if (!k || !store_call_send(k, on_done, NULL, &e))
        fail_msg("%s", k ? e.text : "no memory");
    return k;
}

static void wait_for(store_call *k)
{
    while (!store_call_is_done(k))
        loop_turn(l, 1000);
}

static store_call *put(store_client *c)
{
    queue_offer p = {.head = {.terms = {.tenant = 1, .app = 2, .deadline_ms = INT64_C(1) << 47}},
                     .request = {(const uint8_t *)"r", 1}};
    return sent(queue_ask_put(c, &p));
}

/* What that worker sent before has arrived: a request that is refused at once has its answer. */
static void arrived(store_client *c)
{
    store_call *k = sent(store_call_new(c, KV_GET, 0));
    wait_for(k);
    assert_int_equal(store_call_answer(k)->kind, STORE_FAILED);
    store_call_free(k);
}

static void refused(store_call *k, const char *why)
{
    queue_accepted a;
    wait_for(k);
    assert_false(queue_accepted_read(store_call_answer(k), &a, &e));
    assert_int_equal(e.code, ERR_IO);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    store_call_free(k);
}

static void wait_held(void)
{
    while (!db.held)
        loop_turn(l, 10);
    db.held = false;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_accepted(void **state)
{
    queue_accepted a;
    store_call *k = put(client);
    wait_for(k);
    if (!queue_accepted_read(store_call_answer(k), &a, &e))
        fail_msg("%s", e.text);
    assert_int_equal(a.state, QUEUE_WAITING);
    store_call_free(k);
}

/* A worker ends while its request is in the group that is tried one by one, behind another's. */
static void test_a_worker_ends_while_its_group_runs(void **state)
{
    db.refuses = 1000;
    db.holds = 1;
    store_call *first = put(client);
    wait_held();
    store_call *mine = put(client);
    arrived(client);
    store_call *of_second = put(second);
    arrived(second);
    db.holds = 3; /* the second one is of the group, the third of `mine` alone */
    sem_post(&db.go);
    wait_held();
    store_call_free(of_second);
    store_client_free(second);
    second = NULL;
    while (store_server_connections(server) > 1)
        loop_turn(l, 10);
    sem_post(&db.go);
    refused(first, "refused");
    refused(mine, "refused");
    assert_int_equal(db.prepared, 4); /* nobody's request is carried out too */
}

static void test_what_gathered_is_carried_out_at_the_end(void **state)
{
    db.refuses = 1000;
    db.holds = 1;
    store_call *first = put(client);
    wait_held();
    store_call *gathered = put(second);
    arrived(second);
    sem_post(&db.go);
    store_server_free(server);
    server = NULL;
    store_call_free(first);
    store_call_free(gathered);
    assert_int_equal(db.prepared, 2);
}

/* The commit of each, after that of both, breaks the connection. */
static void test_nobody_knows_of_one_by_one_either(void **state)
{
    db.refuses = 1;
    db.breaks = true;
    store_call *k = put(client), *other = put(client);
    refused(k, "it may or may not have happened");
    refused(other, "it may or may not have happened");
    assert_true(db.prepared > 2); /* tried again */
}

static void notify(uint8_t from)
{
    char text[] = "\0\0\0\0ebb_queue\0";
    text[3] = (char)from;
    say(db.fd, 'A', text, sizeof text);
}

/* Who asks for news is answered when another node has changed something, not for what this one
 * does, whose number at the database is 0 here; and when the connection is lost. */
static void test_news(void **state)
{
    for (int lost = 0; lost < 2; lost++) {
        store_call *news = sent(queue_ask_news(client)), *mine = put(second);
        wait_for(mine);
        store_call_free(mine);
        notify(0);
        wait_for(mine = put(second));
        store_call_free(mine);
        assert_false(store_call_is_done(news));
        if (lost)
            shutdown(db.fd, SHUT_RDWR);
        else
            notify(7);
        wait_for(news);
        assert_int_equal(queue_answer_ok(store_call_answer(news), &e), !lost);
        store_call_free(news);
    }
}

/* What libpq would say of it, it says of a password in the wrong place. */
static void test_a_malformed_url_is_not_shown(void **state)
{
    static const char *const urls[] = {
        "postgresql://ebb:sesame%zz@127.0.0.1:1/db", "postgresql://ebb:sesame/b@127.0.0.1:1/db",
        "postgresql://ebb:1/b@sesame/db?x",          "postgresql://ebb:a@sesame@127.0.0.1:1/db",
        "postgres:/ebb:sesame@127.0.0.1:1/db",       "host=127.0.0.1 port=1 password='sesame",
        "host=127.0.0.1 port=1 password=a sesame",   "sesame",
        "postgresql://ebb:1/sesame@127.0.0.1:1/db",  "postgres://ebb:a?b@sesame@127.0.0.1:1/db",
    };
    static const char *const of_nobody[] = {
        "postgresql://ebb:sesame@127.0.0.1:1/db",
        "postgresql://ebb:%40%2Fsesame@127.0.0.1:1/db?user=a@b",
        "host=@ebb-nobody password=a@/sesame",
    };
    queue_rows *rows;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        assert_false(queue_pg_open(urls[i], &rows, &e));
        if (strstr(e.text, "sesame") || !strstr(e.text, "malformed"))
            fail_msg("of '%s' it says '%s'", urls[i], e.text);
        assert_int_equal(e.code, ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof of_nobody / sizeof *of_nobody; i++) {
        assert_false(queue_pg_open(of_nobody[i], &rows, &e));
        assert_int_equal(e.code, ERR_IO);
        assert_null(strstr(e.text, "sesame"));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_accepted),
        CASE(test_a_worker_ends_while_its_group_runs),
        CASE(test_what_gathered_is_carried_out_at_the_end),
        CASE(test_nobody_knows_of_one_by_one_either),
        CASE(test_news),
        CASE(test_a_malformed_url_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
