/* Names: what the hosts file says, what a name server of ours says, and what it does not say. */
#define PATIENCE_S 30
#include "loop_kit.h"

#include "base/limits.h"
#include "loop/names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int server;       /* a UDP socket: the name server */
static unsigned asked;   /* datagrams that came in */
static bool answering;   /* else they are swallowed */
static uint32_t ttl = 1; /* of its answers */
static loop_watch *watch;

/* Answers A questions with 192.0.2.9, others with nothing; "none..." does not exist, "fail..."
 * is a failure of the server, "what..." it does not understand. */
static void on_question(void *user, unsigned events)
{
    uint8_t m[512];
    struct sockaddr_in from;
    socklen_t from_n = sizeof from;
    ssize_t got = recvfrom(server, m, sizeof m - 16, 0, (struct sockaddr *)&from, &from_n);
    assert_true(got > 12);
    size_t n = (size_t)got;
    asked++;
    if (!answering)
        return;
    size_t end = 12; /* of the question's name */
    while (m[end])
        end += m[end] + 1u;
    end += 1;
    uint8_t code = memcmp(m + 13, "none", 4) == 0   ? 3
                   : memcmp(m + 13, "fail", 4) == 0 ? 2
                   : memcmp(m + 13, "what", 4) == 0 ? 1
                                                    : 0;
    bool is_a = m[end + 1] == 1;
    m[2] |= 0x80;
    m[3] = code;
    n = end + 4;
    memset(m + 8, 0, 4);
    m[7] = is_a && !code;
    if (m[7]) {
        const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, (uint8_t)ttl, 0, 4, 192, 0, 2, 9};
        memcpy(m + n, record, sizeof record);
        n += sizeof record;
    }
    assert_int_equal(sendto(server, m, n, 0, (struct sockaddr *)&from, from_n), n);
}

static int open_all(void **state)
{
    err e;
    char text[64];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!loop_new(&l, &e) || bind(server, (struct sockaddr *)&a, n) < 0 ||
        getsockname(server, (struct sockaddr *)&a, &n) < 0)
        return -1;
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(a.sin_port));
    answering = true;
    asked = 0;
    ttl = 60;
    if (!loop_watch_open(l, server, on_question, NULL, &watch, &e))
        return -1;
    loop_watch_set(watch, LOOP_READABLE);
    return names_servers(l, str_from(text), &e) ? 0 : -1;
}

static int close_all(void **state)
{
    names_close(l);
    loop_watch_close(watch);
    close(server);
    loop_free(l);
    return 0;
}

typedef struct {
    int calls;
    names_status status;
    net_address first;
    size_t n;
} seen;

static void on_answer(void *user, names_status status, const net_address *at, size_t n)
{
    seen *s = user;
    s->calls++;
    s->status = status;
    s->n = n;
    if (n)
        s->first = at[0];
}

static void answers(void **state)
{
    seen s = {0}, same = {0}, none = {0}, local = {0};
    assert_non_null(names_look_up(l, S("a.example.test"), on_answer, &s));
    assert_non_null(names_look_up(l, S("A.example.TEST"), on_answer, &same));
    assert_non_null(names_look_up(l, S("none.example.test"), on_answer, &none));
    assert_non_null(names_look_up(l, S("localhost"), on_answer, &local));
    assert_int_equal(s.calls, 0); /* never from inside */
    until(s.calls && same.calls && none.calls && local.calls);
    assert_true(s.calls == 1 && s.status == NAMES_FOUND && s.n == 1);
    assert_int_equal(ntohl(s.first.v4.sin_addr.s_addr), 0xc0000209);
    assert_true(same.status == NAMES_FOUND && same.n == 1);
    assert_true(none.status == NAMES_NONE && none.n == 0);
    assert_true(local.status == NAMES_FOUND && local.n > 0);
}

/* Asked once, and again only when its time to live is over. */
static void kept(void **state)
{
    seen s = {0};
    ttl = 1;
    assert_non_null(names_look_up(l, S("kept.test"), on_answer, &s));
    until(s.calls == 1);
    unsigned before = asked;
    ns then = clock_mono();
    assert_non_null(names_look_up(l, S("kept.test"), on_answer, &s));
    until(s.calls == 2);
    assert_true(asked == before || clock_mono() > then + NS_PER_S);
    until(clock_mono() > then + NS_PER_S + 100 * NS_PER_MS);
    assert_non_null(names_look_up(l, S("kept.test"), on_answer, &s));
    until(s.calls == 3);
    assert_true(asked > before);
    assert_int_equal(s.status, NAMES_FOUND);
}

static void cancelled(void **state)
{
    seen a = {0}, b = {0};
    names_query *q = names_look_up(l, S("cancelled.test"), on_answer, &a);
    assert_non_null(names_look_up(l, S("cancelled.test"), on_answer, &b));
    names_cancel(q);
    names_cancel(NULL);
    until(b.calls);
    assert_int_equal(a.calls, 0);
}

/* A name server that swallows everything: no turn takes long, and closing answers what is open. */
static void black_hole(void **state)
{
    enum { N = 200 };
    static seen s[N];
    ns longest = 0;
    memset(s, 0, sizeof s);
    answering = false;
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "hole%d.test", i);
        assert_non_null(names_look_up(l, str_from(name), on_answer, &s[i]));
    }
    for (ns end = clock_mono() + 300 * NS_PER_MS; clock_mono() < end;) {
        ns begun = clock_mono();
        loop_turn(l, 2);
        longest = clock_mono() - begun > longest ? clock_mono() - begun : longest;
    }
    assert_true(asked > 0);
    assert_true(s[0].calls == 0);
    assert_true(longest < 2 * NS_PER_S); /* a blocking look-up takes 5 s or more */
    names_close(l);
    for (int i = 0; i < N; i++)
        assert_true(s[i].calls == 1 && s[i].status == NAMES_TEMPORARY);
}

static void bounded(void **state)
{
    static seen s[NAMES_MAX + 1];
    memset(s, 0, sizeof s);
    answering = false;
    for (size_t i = 0; i <= NAMES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "many%zu.test", i);
        names_query *q = names_look_up(l, str_from(name), on_answer, &s[i]);
        assert_true((q != NULL) == (i < NAMES_MAX));
    }
}

static void bad_servers(void **state)
{
    err e;
    assert_false(names_servers(l, S("not an address"), &e));
    assert_non_null(strstr(e.text, "not an address"));
}

/* --- edges --- */

/* A datagram that is lost is asked again after two seconds, by the timer alone. */
static void a_lost_question_is_asked_again(void **state)
{
    seen s = {0};
    answering = false;
    assert_non_null(names_look_up(l, S("lost.test"), on_answer, &s));
    until(asked > 0);
    unsigned before = asked;
    answering = true;
    until(s.calls == 1);
    assert_int_equal(s.status, NAMES_FOUND);
    assert_true(asked > before);
}

static names_query *other_query;
static seen inner;

static void cancels_and_asks(void *user, names_status status, const net_address *at, size_t n)
{
    on_answer(user, status, at, n);
    names_cancel(other_query);
    other_query = NULL;
    assert_non_null(names_look_up(l, S("again.test"), on_answer, &inner));
    assert_int_equal(inner.calls, 0);
}

/* A callback may cancel another of the same name, and ask the same again. */
static void from_inside_a_callback(void **state)
{
    seen a = {0}, b = {0}, c = {0};
    inner = (seen){0};
    assert_non_null(names_look_up(l, S("again.test"), on_answer, &a));
    other_query = names_look_up(l, S("again.test"), on_answer, &b);
    assert_non_null(names_look_up(l, S("again.test"), cancels_and_asks, &c)); /* answered first */
    until(a.calls && c.calls && inner.calls);
    for (int i = 0; i < 5; i++)
        loop_turn(l, 1);
    assert_true(a.calls == 1 && b.calls == 0 && c.calls == 1 && inner.calls == 1);
    assert_true(inner.status == NAMES_FOUND && inner.n == 1);
    assert_int_equal(inner.first.any.sa_family, AF_INET);
    assert_int_equal(inner.first.v4.sin_port, 0);
    assert_int_equal(ntohl(inner.first.v4.sin_addr.s_addr), 0xc0000209);
}

/* Names that are only kept make room for new ones; each is asked for once. */
static void kept_names_make_room(void **state)
{
    static seen s[NAMES_MAX + 1];
    memset(s, 0, sizeof s);
    for (size_t i = 0; i <= NAMES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "room%zu.test", i);
        assert_non_null(names_look_up(l, str_from(name), on_answer, &s[i]));
        if (i % 50 == 0 || i >= NAMES_MAX - 1)
            until(s[i].calls == 1);
    }
    for (size_t i = 0; i <= NAMES_MAX; i++) {
        until(s[i].calls == 1);
        assert_int_equal(s[i].status, NAMES_FOUND);
    }
}

/* What is not there is not kept: it is asked for each time. */
static void nothing_is_not_kept(void **state)
{
    seen s = {0};
    for (int i = 1; i <= 2; i++) {
        unsigned before = asked;
        assert_non_null(names_look_up(l, S("none.kept.test"), on_answer, &s));
        until(s.calls == i);
        assert_int_equal(s.status, NAMES_NONE);
        assert_true(asked > before);
    }
}

static void lists_of_servers(void **state)
{
    char list[1025] = "192.0.2.1";
    err e;
    for (int i = 0; i < 126; i++)
        strcat(list, ",1.2.3.4");
    strcat(list, ",::12"); /* 1022 characters */
    strcat(list, "3");
    assert_int_equal(strlen(list), 1023);
    assert_true(names_servers(l, str_from(list), &e));
    strcat(list, "4");
    assert_false(names_servers(l, str_from(list), &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "the list of name servers is longer than 1023 bytes");
    loop *another;
    assert_true(loop_new(&another, &e));
    assert_false(names_servers(another, S("192.0.2.1"), &e)); /* one loop a process */
    assert_null(names_look_up(another, S("a.test"), on_answer, NULL));
    names_close(another); /* not its own */
    loop_free(another);
}

static void failures_are_told_apart(void **state)
{
    seen failed = {0}, odd = {0}, none = {0};
    assert_non_null(names_look_up(l, S("fail.test"), on_answer, &failed));
    assert_non_null(names_look_up(l, S("what.test"), on_answer, &odd));
    assert_non_null(names_look_up(l, S("none.test"), on_answer, &none));
    until(failed.calls && odd.calls && none.calls);
    assert_int_equal(failed.status, NAMES_TEMPORARY);
    assert_int_equal(odd.status, NAMES_FAILED);
    assert_int_equal(none.status, NAMES_NONE);
    assert_true(failed.n + odd.n + none.n == 0);
}

/* What has not even been asked may work later; what is known is answered still. */
static void closing_with_questions(void **state)
{
    seen begun = {0}, known = {0};
    assert_non_null(names_look_up(l, S("known.test"), on_answer, &known));
    until(known.calls == 1);
    assert_non_null(names_look_up(l, S("known.test"), on_answer, &known));
    assert_non_null(names_look_up(l, S("begun.test"), on_answer, &begun));
    names_close(l);
    assert_true(begun.calls == 1 && begun.status == NAMES_TEMPORARY && begun.n == 0);
    assert_true(known.calls == 2 && known.status == NAMES_FOUND && known.n == 1);
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_true(begun.calls == 1 && known.calls == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
        T(answers),
        T(kept),
        T(cancelled),
        T(black_hole),
        T(bounded),
        T(bad_servers),
        T(a_lost_question_is_asked_again),
        T(from_inside_a_callback),
        T(kept_names_make_room),
        T(nothing_is_not_kept),
        T(lists_of_servers),
        T(failures_are_told_apart),
        T(closing_with_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
