/* Functions of the host when there is no memory: whichever allocation fails, the guest is ended
 * with that reason or the function answers with an error, and nothing is left behind. */
#include "host_kit.h"

#include "base/limits.h"

#include <fcntl.h>
#include <sys/stat.h>

#define T       "wasi:http/types"
#define STREAMS "wasi:io/streams"
#define FS      "wasi:filesystem/types"
#define UDP     "wasi:sockets/udp"
#define D(name) "[method]descriptor." name

static bool over; /* a call has failed: the others are left out */

static bool try_it(uint32_t k, const uint64_t *args, size_t n)
{
    if (over)
        return false;
    engine_status s = hk_start(k, args, n);
    over = s != ENGINE_DONE;
    const char *why = s == ENGINE_TRAP ? engine_instance_trap(hk.in)->text : NULL;
    if (why && !strstr(why, "of host memory") && !strstr(why, "handles; drop some"))
        fail_msg("%.*s: %s", STR(hk.imports[k].name), why);
    return !over;
}

/* Calls a row; false: it or one before it failed. */
#define try(interface, name, ...) try_it(hk_find(interface, name), HK_ARGS(__VA_ARGS__))

static bool fine_it(bool tried)
{
    over |= tried && hk_u8(1000) != 0;
    return !over;
}

/* The same of one whose result at 1000 says whether it worked. */
#define fine(interface, name, ...) fine_it(try(interface, name, __VA_ARGS__))

/* A handle that a function returns, or that its result has at 1004; 0: there is none. */
#define handle_of(interface, name, ...)    (try(interface, name, __VA_ARGS__) ? hk_slots[0].u32 : 0)
#define ok_handle_of(interface, name, ...) (fine(interface, name, __VA_ARGS__) ? hk_u32(1004) : 0)

/* Fails each allocation of `scenario` in turn, until it comes to its end. */
static void each_fails(void (*scenario)(void), void (*begin)(void), void (*end)(void))
{
    size_t failures = 0;
    for (bool all = false; !all; failures++) {
        begin();
        over = false;
        alloc_fail_after(failures + 1);
        scenario();
        all = alloc_fail_after(0) <= failures;
        if (all && over)
            fail_msg("it fails though there is memory");
        end();
    }
    assert_true(failures > 3);
}

static void begin_plain(void) { hk_open(); }
static void end_plain(void) { hk_close(); }

/* --- wasi:http/types -------------------------------------------------------------------------- */

static bool append(uint32_t f, const char *name, const char *value)
{
    if (over)
        return false;
    uint32_t n = hk_put(2000, name), m = hk_put(3000, value);
    return fine(T, "[method]fields.append", f, 2000, n, 3000, m, 1000);
}

static void use_fields(void)
{
    char name[16];
    uint32_t f = handle_of(T, "[constructor]fields", 0);
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "name-%d", i);
        append(f, name, "value");
    }
    hk_put_u32(4000, 3000), hk_put_u32(4004, hk_put(3000, "new"));
    hk_put_u32(4008, 3000), hk_put_u32(4012, 3);
    fine(T, "[method]fields.set", f, 2000, hk_put(2000, "name-3"), 4000, 2, 1000);
    try(T, "[method]fields.get", f, 2000, hk_put(2000, "name-3"), 1000);
    try(T, "[method]fields.entries", f, 1000);
    uint32_t copy = handle_of(T, "[method]fields.clone", f);
    fine(T, "[method]fields.delete", copy, 2000, hk_put(2000, "name-5"), 1000);
    try(T, "[method]fields.entries", copy, 1000);
    if (!over)
        assert_int_equal(hk_u32(1004), 10);
    hk_put_u32(4000, 2000), hk_put_u32(4004, hk_put(2000, "abc"));
    hk_put_u32(4008, 3000), hk_put_u32(4012, hk_put(3000, "v"));
    ok_handle_of(T, "[static]fields.from-list", 4000, 1, 1000);
    try(T, "fields", f);
    try(T, "fields", copy);
}

static void no_memory_for_fields(void **state) { each_fails(use_fields, begin_plain, end_plain); }

static void use_requests(void)
{
    uint32_t f = handle_of(T, "[constructor]fields", 0), t = handle_of(T, "[constructor]fields", 0);
    append(f, "x-one", "1");
    append(t, "x-end", "2");
    uint32_t q = handle_of(T, "[constructor]outgoing-request", f);
    try(T, "[method]outgoing-request.set-method", q, 9, 2000, hk_put(2000, "BREW"));
    try(T, "[method]outgoing-request.set-scheme", q, 1, 2, 2000, hk_put(2000, "other"));
    try(T, "[method]outgoing-request.set-authority", q, 1, 2000, hk_put(2000, "example.com"));
    try(T, "[method]outgoing-request.set-path-with-query", q, 1, 2000, hk_put(2000, "/a?b"));
    try(T, "[method]outgoing-request.method", q, 1000);
    try(T, "[method]outgoing-request.scheme", q, 1000);
    try(T, "[method]outgoing-request.authority", q, 1000);
    try(T, "[method]outgoing-request.path-with-query", q, 1000);
    if (!over)
        hk_assert_str(1004, "/a?b");
    uint32_t view = handle_of(T, "[method]outgoing-request.headers", q);
    try(T, "fields", view);
    uint32_t body = ok_handle_of(T, "[method]outgoing-request.body", q, 1000);
    uint32_t out = ok_handle_of(T, "[method]outgoing-body.write", body, 1000);
    fine(STREAMS, "[method]output-stream.check-write", out, 1000);
    fine(STREAMS, "[method]output-stream.write", out, 2000, 4000, 1000);
    uint32_t p = handle_of(STREAMS, "[method]output-stream.subscribe", out);
    try("wasi:io/poll", "pollable", p);
    try(STREAMS, "output-stream", out);
    fine(T, "[static]outgoing-body.finish", body, 1, t, 1000);
    uint32_t o = handle_of(T, "[constructor]request-options", 0);
    try(T, "[method]request-options.set-connect-timeout", o, 1, 5);
    try(T, "outgoing-request", q);
    uint32_t g = handle_of(T, "[constructor]fields", 0);
    uint32_t r = handle_of(T, "[constructor]outgoing-response", g);
    ok_handle_of(T, "[method]outgoing-response.body", r, 1000);
    handle_of(T, "[method]outgoing-response.headers", r);
}

static void no_memory_for_requests(void **state)
{
    each_fails(use_requests, begin_plain, end_plain);
}

/* --- an exchange ------------------------------------------------------------------------------ */

static hk_exchange x;
static slot args[2];

static void begin_exchange(void)
{
    static const http_field head[] = {{{"host", 4}, {"example.com", 11}}, {{"x", 1}, {"1", 1}}};
    hk_open();
    hkx_init(&x, (http_request){.method = S("BREW"),
                                .authority = S("example.com"),
                                .scheme = S("http"),
                                .target = S("/path"),
                                .fields = head,
                                .fields_count = 2,
                                .content_length = -1,
                                .has_body = true});
    buf_reserve(&x.body, 1000);
    buf_reserve(&x.out, 100000);
    buf_put_str(&x.body, S("a body"));
    x.state = BODY_END;
}

static void end_exchange(void)
{
    hk_close();
    hkx_fini(&x);
}

static void use_an_exchange(void)
{
    err e;
    if (!guest_http_begin(hk.g, &x.x, &x.x.request, args, &e)) {
        assert_true(e.code == ERR_NO_MEMORY || e.code == ERR_LIMIT);
        over = true;
        return;
    }
    uint32_t q = args[0].u32;
    try(T, "[method]incoming-request.method", q, 1000);
    try(T, "[method]incoming-request.path-with-query", q, 1000);
    try(T, "[method]incoming-request.authority", q, 1000);
    try(T, "[method]incoming-request.scheme", q, 1000);
    uint32_t f = handle_of(T, "[method]incoming-request.headers", q);
    try(T, "[method]fields.entries", f, 1000);
    uint32_t copy = handle_of(T, "[method]fields.clone", f);
    append(copy, "y", "2");
    uint32_t body = ok_handle_of(T, "[method]incoming-request.consume", q, 1000);
    uint32_t in = ok_handle_of(T, "[method]incoming-body.stream", body, 1000);
    uint32_t p = handle_of(STREAMS, "[method]input-stream.subscribe", in);
    try("wasi:io/poll", "[method]pollable.ready", p);
    try("wasi:io/poll", "pollable", p);
    fine(STREAMS, "[method]input-stream.read", in, 3, 1000);
    fine(STREAMS, "[method]input-stream.skip", in, 100, 1000);
    try(STREAMS, "input-stream", in);
    uint32_t future = handle_of(T, "[static]incoming-body.finish", body);
    try(T, "[method]future-trailers.get", future, 1000);
    uint32_t r = handle_of(T, "[constructor]outgoing-response", copy);
    uint32_t out_body = ok_handle_of(T, "[method]outgoing-response.body", r, 1000);
    uint32_t out = ok_handle_of(T, "[method]outgoing-body.write", out_body, 1000);
    fine(STREAMS, "[method]output-stream.check-write", out, 1000);
    fine(STREAMS, "[method]output-stream.write", out, 2000, 4000, 1000);
    try(T, "[static]response-outparam.set", args[1].u32, 0, r, 0, 0, 0, 0, 0, 0);
    fine(STREAMS, "[method]output-stream.check-write", out, 1000);
    fine(STREAMS, "[method]output-stream.write-zeroes", out, 3000, 1000);
    try(STREAMS, "output-stream", out);
    fine(T, "[static]outgoing-body.finish", out_body, 0, 0, 1000);
    guest_http_returned(hk.g, over);
    if (!over)
        assert_true(x.ended == 1 && x.out.n == 7000);
}

static void no_memory_for_an_exchange(void **state)
{
    each_fails(use_an_exchange, begin_exchange, end_exchange);
}

/* --- files ------------------------------------------------------------------------------------ */

static char top[] = "/tmp/ebb-memory-XXXXXX";
static struct host_preopen pre[1];

static void begin_files(void)
{
    pre[0] = (struct host_preopen){S("/"), open(top, O_PATH | O_DIRECTORY | O_CLOEXEC), true};
    hk.component = (host_component){.handles_max = 600, .preopens = pre, .preopens_count = 1};
    hk_open();
}

static void end_files(void)
{
    hk_close();
    close(pre[0].dir_fd);
    hk.component = (host_component){0};
}

static uint32_t open_at(const char *path, uint32_t how)
{
    return ok_handle_of(FS, D("open-at"), 1, 0, 2000, hk_put(2000, path), how, 3, 1000);
}

static void use_files(void)
{
    try("wasi:filesystem/preopens", "get-directories", 1000);
    if (over)
        return;
    uint32_t f = open_at("file", 1);
    fine(FS, D("write"), f, 2000, hk_put(2000, "0123456789"), 0, 1000);
    fine(FS, D("read"), f, 100, 0, 1000);
    fine(FS, D("stat"), f, 1000);
    uint32_t in = ok_handle_of(FS, D("read-via-stream"), f, 0, 1000);
    fine(STREAMS, "[method]input-stream.read", in, 100, 1000);
    uint32_t out = ok_handle_of(FS, D("write-via-stream"), f, 10, 1000);
    fine(STREAMS, "[method]output-stream.check-write", out, 1000);
    fine(STREAMS, "[method]output-stream.write", out, 2000, 4, 1000);
    uint32_t more = ok_handle_of(FS, D("append-via-stream"), f, 1000);
    fine(STREAMS, "[method]output-stream.check-write", more, 1000);
    fine(STREAMS, "[method]output-stream.write-zeroes", more, 4, 1000);
    uint32_t entries = ok_handle_of(FS, D("read-directory"), 1, 1000);
    fine(FS, "[method]directory-entry-stream.read-directory-entry", entries, 1000);
    fine(FS, D("create-directory-at"), 1, 2000, hk_put(2000, "dir"), 1000);
    fine(FS, D("remove-directory-at"), 1, 2000, hk_put(2000, "dir"), 1000);
    uint32_t n = hk_put(2000, "file"), m = hk_put(3000, "link");
    fine(FS, D("symlink-at"), 1, 2000, n, 3000, m, 1000);
    fine(FS, D("readlink-at"), 1, 3000, m, 1000);
    fine(FS, D("unlink-file-at"), 1, 3000, m, 1000);
    fine(FS, D("metadata-hash-at"), 1, 0, 2000, n, 1000);
    fine(FS, D("unlink-file-at"), 1, 2000, n, 1000);
}

static void no_memory_for_files(void **state)
{
    assert_non_null(mkdtemp(top));
    size_t before = entries("/proc/self/fd");
    each_fails(use_files, begin_files, end_files);
    assert_int_equal(entries("/proc/self/fd"), before);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", top);
    assert_int_equal(system(command), 0);
}

/* --- sockets, streams, and what else there is ------------------------------------------------- */

static bool allowed(void *user, const outbound_rules *own, str scheme, str host, uint16_t port)
{
    return true;
}

static void begin_sockets(void)
{
    hk.component = (host_component){.handles_max = 600, .outbound_allowed = allowed};
    hk_open();
}

static void end_sockets(void)
{
    hk_close();
    hk.component = (host_component){0};
    for (int i = 0; i < 2; i++)
        loop_turn(hk.l, 0);
}

static void use_sockets(void)
{
    uint32_t network = handle_of("wasi:sockets/instance-network", "instance-network", 0);
    uint32_t u = ok_handle_of("wasi:sockets/udp-create-socket", "create-udp-socket", 0, 1000);
    uint32_t t = ok_handle_of("wasi:sockets/tcp-create-socket", "create-tcp-socket", 0, 1000);
    fine(UDP, "[method]udp-socket.start-bind", u, network, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0,
         1000);
    fine(UDP, "[method]udp-socket.finish-bind", u, 1000);
    fine(UDP, "[method]udp-socket.stream", u, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1000);
    uint32_t in = over ? 0 : hk_u32(1004), out = over ? 0 : hk_u32(1008);
    fine(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    fine(UDP, "[method]incoming-datagram-stream.receive", in, 10, 1000);
    handle_of(UDP, "[method]incoming-datagram-stream.subscribe", in);
    handle_of("wasi:sockets/tcp", "[method]tcp-socket.subscribe", t);
    ok_handle_of("wasi:sockets/ip-name-lookup", "resolve-addresses", network, 2000,
                 hk_put(2000, "192.0.2.7"), 1000);
}

static void no_memory_for_sockets(void **state)
{
    size_t before;
    begin_sockets();
    end_sockets();
    before = entries("/proc/self/fd");
    each_fails(use_sockets, begin_sockets, end_sockets);
    assert_int_equal(entries("/proc/self/fd"), before);
}

static void use_the_rest(void)
{
    uint32_t p[40];
    uint32_t out = handle_of("wasi:cli/stdout", "get-stdout", 0);
    uint32_t in = handle_of("wasi:cli/stdin", "get-stdin", 0);
    fine(STREAMS, "[method]output-stream.check-write", out, 1000);
    fine(STREAMS, "[method]output-stream.write", out, 2000, hk_put(2000, "no line"), 1000);
    try(STREAMS, "[method]input-stream.read", in, 10, 1000);
    for (uint32_t i = 0; i < 40; i++) {
        p[i] = handle_of("wasi:clocks/monotonic-clock", "subscribe-instant", 1);
        hk_put_u32(4000 + 4 * i, p[i]);
    }
    try("wasi:io/poll", "poll", 4000, 40, 1000);
    if (!over)
        assert_int_equal(hk_u32(1004), 40);
    for (uint32_t i = 0; i < 40; i++)
        try("wasi:io/poll", "pollable", p[i]);
    try("wasi:random/random", "get-random-bytes", 1000, 1000);
    try("wasi:random/insecure", "get-insecure-random-bytes", 10, 1000);
    try("wasi:cli/environment", "get-environment", 1000);
    try("wasi:cli/environment", "get-arguments", 1000);
    try("wasi:clocks/timezone", "display", 0, 0, 1000);
    try("wasi:config/store", "get-all", 1000);
    try("fermyon:spin/variables@2.0.0", "get", 2000, hk_put(2000, "No"), 1000);
    try("fermyon:spin/variables@2.0.0", "get", 2000, hk_put(2000, "no"), 1000);
}

static void no_memory_for_the_rest(void **state)
{
    each_fails(use_the_rest, begin_plain, end_plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_for_fields),      cmocka_unit_test(no_memory_for_requests),
        cmocka_unit_test(no_memory_for_an_exchange), cmocka_unit_test(no_memory_for_files),
        cmocka_unit_test(no_memory_for_sockets),     cmocka_unit_test(no_memory_for_the_rest),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
