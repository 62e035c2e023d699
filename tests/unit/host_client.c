/* wasi:http/outgoing-handler against a server on the same loop: heads, bodies both ways with
 * back-pressure, trailers, errors, and what happens when the guest lets go. */
#include "host_client_kit.h"

#include "base/limits.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static http_server *server;
static uint16_t port;
static int requests;
/* Of those that are never answered and that `letting_go` asks: what other cases left open may be
 * closed at any time. */
static int asked, closed;
static bool has_body; /* of the last one */
static int came[12];  /* when "/order/A" and so on came, counted in requests */

/* One answer being made: by path. */
typedef struct {
    http_exchange *x;
    buf body;
    size_t big;
    bool is_counted;
} answer;

static void answer_end(answer *a, const http_field *trailers, size_t n)
{
    exchange_end(a->x, trailers, n);
    buf_fini(&a->body);
    free(a);
}

static void echo_pump(void *user)
{
    answer *a = user;
    char text[4096];
    body_state state;
    size_t n;
    err e;
    while ((n = exchange_read(a->x, text, sizeof text, &state)) > 0)
        assert_true(buf_put(&a->body, text, n));
    if (state == BODY_OPEN)
        return;
    const http_field sum = {S("x-sum"), S("done")};
    const http_request *r = exchange_request(a->x);
    http_field f[] = {{S("x-method"), r->method}, {S("x-target"), r->target}};
    assert_true(exchange_start(a->x, 201, f, 2, -1, &e));
    bool over;
    size_t at = exchange_write(a->x, a->body.p, a->body.n < 60000 ? a->body.n : 60000, &over);
    char length[32];
    snprintf(length, sizeof length, "+%zu", a->body.n - at);
    exchange_write(a->x, length, strlen(length), &over);
    answer_end(a, &sum, 1);
}

static void big_pump(void *user)
{
    answer *a = user;
    static const char text[8192] = {'b'};
    size_t n;
    while (a->big && (n = exchange_room(a->x)) > 0) {
        bool over;
        n = n < sizeof text ? n : sizeof text;
        a->big -= exchange_write(a->x, text, n < a->big ? n : a->big, &over);
    }
    if (!a->big)
        answer_end(a, NULL, 0);
}

static void on_closed(void *user)
{
    answer *a = user;
    closed += a->is_counted;
    exchange_free(a->x);
    buf_fini(&a->body);
    free(a);
}

static void on_request(void *user, http_exchange *x)
{
    err e;
    str target = exchange_request(x)->target;
    answer *a = calloc(1, sizeof *a);
    a->x = x;
    buf_init(&a->body, 1 << 22);
    requests++;
    has_body = exchange_request(x)->has_body;
    if (str_starts(target, S("/order/")))
        came[target.p[7] - 'A'] = requests;
    if (str_eq(target, S("/big"))) {
        a->big = 1 << 20;
        exchange_bind(x, &(exchange_callbacks){.on_writable = big_pump, .on_closed = on_closed}, a);
        assert_true(exchange_start(x, 200, NULL, 0, -1, &e));
        big_pump(a);
    } else if (str_starts(target, S("/never"))) {
        a->is_counted = str_eq(target, S("/never/counted"));
        asked += a->is_counted;
        exchange_bind(x, &(exchange_callbacks){.on_closed = on_closed}, a);
    } else {
        exchange_bind(x, &(exchange_callbacks){.on_readable = echo_pump, .on_closed = on_closed},
                      a);
        echo_pump(a);
    }
}

static bool allowed(void *user, const outbound_rules *own, str scheme, str host, uint16_t p)
{
    return str_eq(host, S("127.0.0.1")) && str_eq(scheme, S("http"));
}

static void begin(void)
{
    hk.component = (host_component){.handles_max = 1000, .outbound_allowed = allowed};
    hk_open();
    requests = asked = closed = 0;
}

static uint32_t request(uint32_t method, const char *path, uint16_t to)
{
    char authority[32];
    snprintf(authority, sizeof authority, "127.0.0.1:%u", to);
    return request_to(method, path, authority);
}

static void a_get(void **state)
{
    buf b;
    begin();
    buf_init(&b, 1 << 20);
    uint32_t future = send_with(request(0, "/path?x=1", port), 0), r = get(future);
    assert_true(r < 1000);
    hk_call(T, "[method]incoming-response.status", r);
    assert_int_equal(hk_slots[0].u32, 201);
    hk_call(T, "[method]incoming-response.headers", r);
    uint32_t f = hk_slots[0].u32;
    hk_call(T, "[method]fields.get", f, 2000, hk_put(2000, "x-target"), 1000);
    hk_assert_str(hk_u32(1000), "/path?x=1");
    hk_call(T, "[method]fields.has", f, 2000, hk_put(2000, "transfer-encoding"));
    assert_int_equal(hk_slots[0].u32, 0);
    uint32_t trailers = read_all(r, &b);
    hk_call(T, "[method]incoming-response.consume", r, 1000);
    assert_int_equal(hk_u8(1000), 1); /* once */
    assert_str(buf_str(&b), "+0");
    hk_call(T, "[method]future-trailers.get", trailers, 1000);
    assert_int_equal(hk_u8(1024), 1);
    hk_call(T, "[method]fields.get", hk_u32(1028), 2000, hk_put(2000, "x-sum"), 1000);
    hk_assert_str(hk_u32(1000), "done");
    buf_fini(&b);
    hk_close();
}

/* The body written before handle, and after it, with more than the buffers hold. */
static void a_post(void **state)
{
    char text[4097] = {0};
    memset(text, 'p', 4096);
    for (int early = 0; early < 2; early++) {
        buf b;
        begin();
        buf_init(&b, 1 << 20);
        uint32_t q = request(2, "/echo", port);
        uint32_t body = ok_handle("[method]outgoing-request.body", q);
        uint32_t out = ok_handle("[method]outgoing-body.write", body), future = 0;
        if (!early)
            future = send_with(q, 0);
        for (int i = 0; i < 100; i++) {
            uint32_t n = hk_put(8000, text);
            call_on(STREAMS, "[method]output-stream.blocking-write-and-flush", out, 8000, n, 1000);
            assert_int_equal(hk_u8(1000), 0);
        }
        hk_call(STREAMS, "output-stream", out);
        hk_call(T, "[static]outgoing-body.finish", body, 0, 0, 1000);
        assert_int_equal(hk_u8(1000), 0);
        if (early)
            future = send_with(q, 0);
        uint32_t r = get(future);
        assert_true(r < 1000);
        read_all(r, &b);
        assert_true(str_ends(buf_str(&b), S("+349600"))); /* 409600 - 60000 */
        assert_int_equal(b.n, 60000 + 7);
        buf_fini(&b);
        hk_close();
    }
}

/* A slow guest bounds what is held for it: the server is made to wait. */
static void back_pressure(void **state)
{
    buf b;
    begin();
    buf_init(&b, 1 << 22);
    uint32_t r = get(send_with(request(0, "/big", port), 0));
    assert_true(r < 1000);
    for (int i = 0; i < 50; i++)
        loop_turn(hk.l, 1);
    read_all(r, &b);
    assert_int_equal(b.n, 1 << 20);
    buf_fini(&b);
    hk_close();
}

static void turn_until(const int *count, int is)
{
    ns end = clock_mono() + 20 * NS_PER_S;
    while (*count != is && clock_mono() < end)
        loop_turn(hk.l, 10);
    assert_int_equal(*count, is);
}

/* A GET whose guest goes on computing is not sent before it is known whether it has a body. */
static void a_body_to_come(void **state)
{
    for (int ends = 0; ends < 2; ends++) {
        begin();
        uint32_t q = request(0, "/big", port);
        uint32_t body = ok_handle("[method]outgoing-request.body", q), future = send_with(q, 0);
        for (int i = 0; i < 20; i++)
            loop_turn(hk.l, 1);
        assert_int_equal(requests, 0);
        if (ends)
            hk_call(T, "[static]outgoing-body.finish", body, 0, 0, 1000);
        assert_true(get(future) < 1000);
        assert_int_equal(requests, 1);
        assert_int_equal(has_body, !ends);
        hk_close();
    }
}

static void errors(void **state)
{
    begin();
    /* Nobody listens there. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    assert_int_equal(get(send_with(request(0, "/", ntohs(a.sin_port)), 0)),
                     1000 + HTTP_CONNECTION_REFUSED);
    close(fd);
    /* The server never answers. */
    hk_call(T, "[constructor]request-options", 0);
    uint32_t o = hk_slots[0].u32;
    hk_call(T, "[method]request-options.set-first-byte-timeout", o, 1, 50 * NS_PER_MS);
    assert_int_equal(get(send_with(request(0, "/never", port), o)),
                     1000 + HTTP_CONNECTION_READ_TIMEOUT);
    turn_until(&requests, 1); /* it did come */
    /* As many connections as files and sockets: no more. */
    uint32_t files = hk.g->files;
    hk.g->files = HOST_FILES_MAX;
    assert_int_equal(get(send_with(request(0, "/", port), 0)),
                     1000 + HTTP_CONNECTION_LIMIT_REACHED);
    hk.g->files = files;
    /* Not allowed: told by the future. */
    uint32_t q = request(0, "/", port);
    hk_call(T, "[method]outgoing-request.set-authority", q, 1, 2000, hk_put(2000, "example.com"));
    assert_int_equal(get(send_with(q, 0)), 1000 + HTTP_REQUEST_DENIED);
    /* No authority: told at once. */
    q = request(0, "/", port);
    hk_call(T, "[method]outgoing-request.set-authority", q, 0, 0, 0);
    hk_call("wasi:http/outgoing-handler", "handle", q, 0, 0, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), HTTP_REQUEST_URI_INVALID);
    hk_close();
}

static bool all_allowed(void *user, const outbound_rules *own, str scheme, str host, uint16_t p)
{
    return true;
}

/* A host whose last label is a number is an address to some and a name to others: it is neither,
 * though libcurl would reach 127.0.0.1 by each of these. */
static void numbers_are_no_names(void **state)
{
    static const char *const hosts[] = {"127.1", "127.0.1", "2130706433", "0x7f.1", "127.0.0.1."};
    begin();
    hk.component.outbound_allowed = all_allowed;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char authority[40];
        snprintf(authority, sizeof authority, "%s:%u", hosts[i], port);
        if (get(send_with(request_to(0, "/", authority), 0)) != 1000 + HTTP_REQUEST_URI_INVALID)
            fail_msg("%s", authority);
    }
    assert_int_equal(requests, 0);
    hk_close();
}

/* Dropping the future, or the whole guest, cancels: the server sees the connection go. */
static void letting_go(void **state)
{
    begin();
    uint32_t future = send_with(request(0, "/never/counted", port), 0);
    turn_until(&asked, 1);
    hk_call(T, "future-incoming-response", future);
    turn_until(&closed, 1);
    send_with(request(0, "/never/counted", port), 0);
    turn_until(&asked, 2);
    hk_close();
    turn_until(&closed, 2);
}

/* Requests wait in line for a connection; none at all are refused at once. */
static void limits(void **state)
{
    begin();
    host_connections_limit(&(host_connections){.http_max = 1, .sockets_max = 1, .total_max = 9});
    uint32_t first = send_with(request(0, "/never/counted", port), 0);
    turn_until(&asked, 1);
    uint32_t second = send_with(request(0, "/never/counted", port), 0);
    uint32_t third = send_with(request(0, "/", port), 0);
    for (int i = 0; i < 5; i++)
        loop_turn(hk.l, 10);
    assert_int_equal(asked, 1);
    hk_call(T, "future-incoming-response", second); /* leaves the line */
    for (int i = 0; i < 5; i++)
        loop_turn(hk.l, 10);
    assert_int_equal(asked, 1);
    hk_call(T, "future-incoming-response", first);
    turn_until(&closed, 1);
    assert_true(get(third) < 1000);
    assert_int_equal(asked, 1);
    static const host_connections none[] = {{0, 5, 5, false}, {5, 5, 0, false}};
    for (int i = 0; i < 2; i++) {
        host_connections_limit(&none[i]);
        assert_int_equal(get(send_with(request(0, "/", port), 0)),
                         1000 + HTTP_CONNECTION_LIMIT_REACHED);
    }
    host_connections_limit(&(host_connections){UINT64_MAX, UINT64_MAX, UINT64_MAX, true});
    for (int i = 0; i < 2; i++)
        assert_true(get(send_with(request(0, "/", port), 0)) < 1000);
    host_connections_limit(&(host_connections){UINT64_MAX, UINT64_MAX, UINT64_MAX, false});
    hk_close();
}

static const uint64_t tenant = 7;
static int held, held_max; /* connections of that owner */

static bool tenant_take(void *user, uint64_t owner)
{
    if (owner == tenant && held == held_max)
        return false;
    held += owner == tenant;
    return true;
}

static void tenant_give(void *user, uint64_t owner) { held -= owner == tenant; }

/* An owner's connections are counted while its requests run, and free for the next ones after. */
static void limits_of_an_owner(void **state)
{
    begin();
    hk.component.owner = tenant;
    held = 0;
    held_max = 2;
    host_connections_owned(tenant_take, tenant_give, NULL);
    for (int i = 0; i < 5; i++) {
        buf b;
        buf_init(&b, 1000);
        uint32_t r = get(send_with(request(0, "/", port), 0));
        assert_true(r < 1000);
        read_all(r, &b);
        assert_int_equal(held, 0);
        buf_fini(&b);
    }
    uint32_t futures[2];
    for (int i = 0; i < 2; i++)
        futures[i] = send_with(request(0, "/never/counted", port), 0);
    turn_until(&asked, 2);
    assert_int_equal(held, 2);
    assert_int_equal(get(send_with(request(0, "/", port), 0)),
                     1000 + HTTP_CONNECTION_LIMIT_REACHED);
    hk_call(T, "future-incoming-response", futures[0]);
    turn_until(&held, 1);
    assert_true(get(send_with(request(0, "/", port), 0)) < 1000);
    hk_close(); /* what the guest still has goes with it */
    turn_until(&held, 0);
    turn_until(&closed, 2);
    host_connections_owned(NULL, NULL, NULL);
}

/* Who asked first is sent first, though only some are begun in a turn of the loop. */
static void in_order(void **state)
{
    begin();
    char path[] = "/order/A";
    for (int i = 0; i < 12; i++, path[7]++)
        send_with(request(0, path, port), 0);
    turn_until(&requests, 12);
    assert_true(came[0] < came[8]);
    assert_true(came[3] < came[11]);
    hk_close();
}

static int begin_all(void **state)
{
    err e;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    if (hk_begin(state) < 0)
        return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 10) < 0)
        return -1;
    getsockname(fd, (struct sockaddr *)&a, &n);
    port = ntohs(a.sin_port);
    static http_server_config config = {.half_close_wait = NS_PER_MS};
    server = http_server_new(hk.l, &config, on_request, NULL);
    return server && http_server_listen(server, fd, &e) ? 0 : -1;
}

static int end_all(void **state)
{
    host_loop_close(hk.l);
    http_server_free(server);
    return hk_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get),
        cmocka_unit_test(a_post),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(errors),
        cmocka_unit_test(numbers_are_no_names),
        cmocka_unit_test(letting_go),
        cmocka_unit_test(limits),
        cmocka_unit_test(limits_of_an_owner),
        cmocka_unit_test(in_order),
        cmocka_unit_test(a_body_to_come),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
