/* wasi:io, clocks, random, cli, variables and the rules of handles, called as guests do. */
#include "host_kit.h"

#define STREAMS "wasi:io/streams"
#define CLOCK   "wasi:clocks/monotonic-clock"

static uint32_t one(const char *interface, const char *name)
{
    hk_call(interface, name, 0);
    return hk_slots[0].u32;
}

static void clocks(void **state)
{
    hk_open();
    ns before = clock_mono();
    hk_call(CLOCK, "now", 0);
    assert_true(hk_slots[0].u64 >= before && hk_slots[0].u64 <= clock_mono());
    hk_call(CLOCK, "resolution", 0);
    assert_true(hk_slots[0].u64 > 0);
    hk_call("wasi:clocks/wall-clock", "now", 1000);
    assert_true(hk_u64(1000) >= clock_wall() / NS_PER_S - 1);
    assert_true(hk_u32(1008) < NS_PER_S);
    hk_call("wasi:clocks/wall-clock", "resolution", 1000);
    assert_true(hk_u64(1000) == 0 && hk_u32(1008) > 0 && hk_u32(1008) < NS_PER_S);
    hk_call("wasi:clocks/timezone", "display", 0, 0, 1000);
    hk_assert_str(1004, "UTC");
    hk_call("wasi:clocks/timezone", "utc-offset", 0, 0);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_close();
}

/* A deadline in the past is ready; one in the future wakes the guest once, in time. */
/* With a resolution everything changes at its multiples only, and a sleep is never too short. */
static void coarse_clocks(void **state)
{
    const ns step = 5 * NS_PER_MS;
    hk.component.clock_resolution_ns = step;
    hk_open();
    hk_call(CLOCK, "resolution", 0);
    assert_true(hk_slots[0].u64 == step);
    ns before = clock_mono();
    hk_call(CLOCK, "now", 0);
    ns now = hk_slots[0].u64;
    assert_true(now % step == 0 && now <= clock_mono() && now + step > before);
    hk_call("wasi:clocks/wall-clock", "now", 1000);
    assert_true((hk_u64(1000) * NS_PER_S + hk_u32(1008)) % step == 0);
    hk_call("wasi:clocks/wall-clock", "resolution", 1000);
    assert_int_equal(hk_u32(1008), step);
    /* No time is over at once. */
    hk_call(CLOCK, "subscribe-duration", 0);
    hk_call("wasi:io/poll", "[method]pollable.ready", hk_slots[0].u32);
    assert_int_equal(hk_slots[0].u32, 1);
    /* An instant is due when the coarse clock says so, not when it has passed. */
    before = clock_mono();
    hk_call(CLOCK, "subscribe-instant", before - before % step + 1);
    uint32_t due = hk_slots[0].u32;
    hk_call("wasi:io/poll", "[method]pollable.ready", due);
    assert_true(hk_slots[0].u32 == 0 || clock_mono() / step > before / step);
    before = clock_mono();
    hk_call(CLOCK, "subscribe-duration", 1);
    hk_wait("wasi:io/poll", "[method]pollable.block", hk_slots[0].u32);
    while (hk.wakes == 0)
        loop_turn(hk.l, 100);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    ns after = clock_mono();
    assert_true(after > before && after / step > before / step);
    hk_close();
    hk.component.clock_resolution_ns = 0;
}

static void pollables_wait(void **state)
{
    hk_open();
    hk_call(CLOCK, "subscribe-instant", 1);
    uint32_t past = hk_slots[0].u32;
    assert_int_equal(past, 1);
    hk_call(CLOCK, "subscribe-duration", 20 * NS_PER_MS);
    uint32_t future = hk_slots[0].u32;
    hk_call("wasi:io/poll", "[method]pollable.ready", past);
    assert_int_equal(hk_slots[0].u32, 1);
    hk_call("wasi:io/poll", "[method]pollable.ready", future);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_put_u32(1000, future);
    hk_put_u32(1004, past);
    hk_call("wasi:io/poll", "poll", 1000, 2, 2000);
    assert_int_equal(hk_u32(2004), 1);
    assert_int_equal(hk_u32(hk_u32(2000)), 1);
    ns before = clock_mono();
    hk_wait("wasi:io/poll", "[method]pollable.block", future);
    assert_int_equal(hk.wakes, 0);
    assert_int_equal(kit_run(hk.in), ENGINE_WAIT); /* polled without a reason: still waits */
    while (hk.wakes == 0)
        loop_turn(hk.l, 100);
    assert_true(clock_mono() - before >= 10 * NS_PER_MS);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    assert_int_equal(hk.wakes, 1);
    hk_trap("empty poll list", "wasi:io/poll", "poll", 1000, 0, 2000);
    hk_close();
}

/* A guest that is dropped while it waits leaves no timer behind. */
static void dropped_while_waiting(void **state)
{
    hk_open();
    hk_call(CLOCK, "subscribe-duration", 3600 * NS_PER_S);
    hk_wait("wasi:io/poll", "[method]pollable.block", hk_slots[0].u32);
    hk_close();
    loop_turn(hk.l, 0);
    assert_int_equal(hk.wakes, 0);
}

static void random_is_not_the_same_twice(void **state)
{
    hk_open();
    hk_call("wasi:random/random", "get-random-u64", 0);
    uint64_t a = hk_slots[0].u64;
    hk_call("wasi:random/random", "get-random-u64", 0);
    assert_true(a != hk_slots[0].u64);
    hk_call("wasi:random/random", "get-random-bytes", 10000, 1000);
    assert_int_equal(hk_u32(1004), 10000);
    uint64_t first = hk_u64(hk_u32(1000));
    hk_call("wasi:random/random", "get-random-bytes", 10000, 1000);
    assert_true(first != hk_u64(hk_u32(1000)));
    hk_call("wasi:random/insecure", "get-insecure-random-u64", 0);
    a = hk_slots[0].u64;
    hk_call("wasi:random/insecure", "get-insecure-random-u64", 0);
    assert_true(a != hk_slots[0].u64);
    hk_call("wasi:random/insecure", "get-insecure-random-bytes", 16, 1000);
    assert_true(hk_u32(1004) == 16 && hk_u64(hk_u32(1000)) != hk_u64(hk_u32(1000) + 8));
    hk_call("wasi:random/insecure-seed", "insecure-seed", 1000);
    assert_true(hk_u64(1000) != hk_u64(1008));
    hk_trap("random bytes asked for at once", "wasi:random/random", "get-random-bytes", UINT64_MAX,
            1000);
    hk_trap("pointer not aligned", "wasi:random/insecure-seed", "insecure-seed", 1001);
    hk_trap("out of bounds", "wasi:random/insecure-seed", "insecure-seed", 0xfffffff8);
    hk_close();
}

static void environment_and_variables(void **state)
{
    static const http_field env[] = {{{"A", 1}, {"1", 1}}, {{"LONG", 4}, {"a value", 7}}};
    static const http_field vars[] = {{{"greeting", 8}, {"hello", 5}}, {{"empty", 5}, {"", 0}}};
    hk.component.environment = env;
    hk.component.environment_count = 2;
    hk.component.variables = vars;
    hk.component.variables_count = 2;
    hk_open();
    hk_call("wasi:cli/environment", "get-environment", 1000);
    assert_int_equal(hk_u32(1004), 2);
    hk_assert_str(hk_u32(1000) + 16, "LONG");
    hk_assert_str(hk_u32(1000) + 24, "a value");
    hk_call("wasi:cli/environment", "get-arguments", 1000);
    assert_int_equal(hk_u32(1004), 0);
    hk_call("wasi:cli/environment", "initial-cwd", 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call("fermyon:spin/variables", "get", 2000, hk_put(2000, "greeting"), 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_assert_str(1004, "hello");
    static const struct {
        const char *name;
        uint32_t v2, v1;
    } bad[] = {{"missing", 1, 0}, {"UPPER", 0, 1},       {"invalid-name", 0, 1},
               {"4x", 0, 1},      {"a__b", 0, 1},        {"a_", 0, 1},
               {"", 0, 1},        {"invalid!name", 0, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hk_call("fermyon:spin/variables", "get", 2000, hk_put(2000, bad[i].name), 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(1004), bad[i].v2);
        hk_call("fermyon:spin/config", "get-config", 2000, hk_put(2000, bad[i].name), 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(1004), bad[i].v1);
        hk_call("wasi:config/store", "get", 2000, hk_put(2000, bad[i].name), 1000);
        assert_int_equal(hk_u8(1000), 0);
        assert_int_equal(hk_u8(1004), 0);
    }
    hk_call("wasi:config/store", "get-all", 1000);
    assert_int_equal(hk_u32(1008), 2);
    hk_assert_str(hk_u32(1004) + 8, "hello");
    hk_close();
}

static void output_comes_in_lines(void **state)
{
    hk.component.output_line_bytes_max = 10;
    hk_open();
    uint32_t out = one("wasi:cli/stdout", "get-stdout");
    uint32_t errs = one("wasi:cli/stderr", "get-stderr");
    const char *name = "[method]output-stream.blocking-write-and-flush";
    hk_call(STREAMS, name, out, 2000, hk_put(2000, "one\ntw"), 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_str(buf_str(&hk.output[0]), "one\n");
    hk_call(STREAMS, name, out, 2000, hk_put(2000, "o\n\nthree is longer"), 1000);
    assert_str(buf_str(&hk.output[0]), "one\ntwo\n\nthree is l\n");
    hk_call(STREAMS, name, errs, 2000, hk_put(2000, "oops"), 1000);
    assert_int_equal(hk.output[1].n, 0);
    guest_free(hk.g);
    assert_str(buf_str(&hk.output[1]), "oops\n");
    assert_str(buf_str(&hk.output[0]), "one\ntwo\n\nthree is l\nonger\n");
    engine_instance_free(hk.in);
    hk.component.output_line_bytes_max = 0;
}

/* Handles that memory restored to the state after start still holds. */
static void what_start_left_open_is_made_again(void **state)
{
    const char *name = "[method]output-stream.blocking-write-and-flush";
    hk_open();
    uint32_t in = one("wasi:cli/stdin", "get-stdin");
    uint32_t out = one("wasi:cli/stdout", "get-stdout");
    uint32_t errs = one("wasi:cli/stderr", "get-stderr");
    hk_call(STREAMS, "input-stream", in);
    guest_started *s = guest_started_take(hk.g);
    assert_non_null(s);
    hk_close();
    hk_open();
    assert_true(guest_started_give(hk.g, s));
    free(s);
    hk_call(STREAMS, name, errs, 2000, hk_put(2000, "bad\n"), 1000);
    hk_call(STREAMS, name, out, 2000, hk_put(2000, "good\n"), 1000);
    assert_str(buf_str(&hk.output[0]), "good\n");
    assert_str(buf_str(&hk.output[1]), "bad\n");
    assert_int_equal(one("wasi:cli/stdin", "get-stdin"), in); /* the index that was free */
    assert_int_equal(one("wasi:cli/stdout", "get-stdout"), errs + 1);
    hk_close();
}

/* What has a state of its own is not. */
static void what_start_began_is_not_made_again(void **state)
{
    const char *const begun[][2] = {
        {"get-stdout", "[method]output-stream.check-write"},
        {"get-stdout", "[method]output-stream.subscribe"},
        {"get-stdout", "[method]output-stream.blocking-write-and-flush"},
        {"get-stdin", "[method]input-stream.read"}};
    for (int i = 0; i < 4; i++) {
        hk_open();
        uint32_t h = one(i < 3 ? "wasi:cli/stdout" : "wasi:cli/stdin", begun[i][0]);
        guest_started *s = guest_started_take(hk.g);
        assert_non_null(s);
        free(s);
        if (i == 2)
            hk_call(STREAMS, begun[i][1], h, 2000, hk_put(2000, "no line"), 1000);
        else if (i == 3)
            hk_call(STREAMS, begun[i][1], h, 1, 1000);
        else
            hk_call(STREAMS, begun[i][1], h, 1000);
        assert_null(guest_started_take(hk.g));
        hk_close();
    }
    hk_open();
    hk_call("wasi:http/types", "[constructor]fields");
    assert_null(guest_started_take(hk.g));
    hk_close();
    hk_open();
    hk_call("own", "new", 7); /* of the component itself: its representation is no object */
    assert_null(guest_started_take(hk.g));
    hk_close();
}

/* check-write gives a permit; write beyond it traps. */
static void permits(void **state)
{
    hk_open();
    uint32_t out = one("wasi:cli/stdout", "get-stdout");
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_true(hk_u64(1008) >= 4096);
    hk_call(STREAMS, "[method]output-stream.write", out, 2000, hk_put(2000, "hi\n"), 1000);
    assert_str(buf_str(&hk.output[0]), "hi\n");
    hk_call(STREAMS, "[method]output-stream.write-zeroes", out, 600, 1000);
    hk_call(STREAMS, "[method]output-stream.flush", out, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(STREAMS, "[method]output-stream.blocking-flush", out, 1000);
    hk_call(STREAMS, "[method]output-stream.blocking-write-zeroes-and-flush", out, 4096, 1000);
    hk_trap("exceeds the permit", STREAMS, "[method]output-stream.write", out, 2000, 1, 1000);
    out = one("wasi:cli/stdout", "get-stdout");
    hk_trap("exceeds the permit", STREAMS, "[method]output-stream.write", out, 2000, 1, 1000);
    out = one("wasi:cli/stdout", "get-stdout");
    hk_trap("Buffer too large", STREAMS, "[method]output-stream.blocking-write-and-flush", out, 0,
            4097, 1000);
    hk_close();
}

static void standard_input_is_empty(void **state)
{
    hk_open();
    uint32_t in = one("wasi:cli/stdin", "get-stdin");
    const char *names[] = {"[method]input-stream.read", "[method]input-stream.blocking-read",
                           "[method]input-stream.skip", "[method]input-stream.blocking-skip"};
    for (int i = 0; i < 4; i++) {
        hk_call(STREAMS, names[i], in, 100, 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(i < 2 ? 1004 : 1008), 1); /* closed */
    }
    hk_call(STREAMS, "[method]input-stream.subscribe", in);
    uint32_t ready = hk_slots[0].u32;
    hk_call("wasi:io/poll", "[method]pollable.ready", ready);
    assert_int_equal(hk_slots[0].u32, 1);
    /* A stream with a child cannot go. */
    hk_trap("resource has children", STREAMS, "input-stream", in);
    in = one("wasi:cli/stdin", "get-stdin");
    uint32_t out = one("wasi:cli/stdout", "get-stdout");
    hk_call(STREAMS, "[method]output-stream.splice", out, in, 10, 1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_call(STREAMS, "[method]output-stream.blocking-splice", out, in, 10, 1000);
    assert_int_equal(hk_u8(1008), 1);
    hk_close();
}

static void terminals(void **state)
{
    hk_open();
    hk_call("wasi:cli/terminal-stdin", "get-terminal-stdin", 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call("wasi:cli/terminal-stdout", "get-terminal-stdout", 1000);
    hk_call("wasi:cli/terminal-stderr", "get-terminal-stderr", 1000);
    hk_close();
}

static void exits(void **state)
{
    hk_open();
    assert_int_equal(hk_start(hk_find("wasi:cli/exit", "exit"), HK_ARGS(1)), ENGINE_TRAP);
    assert_true(engine_instance_trap(hk.in)->exited);
    assert_int_equal(engine_instance_trap(hk.in)->exit_status, 1);
    hk_close();
    hk_open();
    assert_int_equal(hk_start(hk_find("wasi:cli/exit", "exit-with-code"), HK_ARGS(42)),
                     ENGINE_TRAP);
    assert_int_equal(engine_instance_trap(hk.in)->exit_status, 42);
    hk_close();
    hk_open();
    hk_trap("unexpected discriminant", "wasi:cli/exit", "exit", 2);
    hk_close();
}

/* Indexes: from 1, reused last in first out; wrong kinds, double drops and the limit trap. */
static void handles(void **state)
{
    hk_open();
    uint32_t h[4];
    for (uint32_t i = 0; i < 4; i++) {
        hk_call(CLOCK, "subscribe-duration", 1);
        h[i] = hk_slots[0].u32;
        assert_int_equal(h[i], i + 1);
    }
    hk_call("wasi:io/poll", "pollable", h[0]);
    hk_call("wasi:io/poll", "pollable", h[2]);
    assert_int_equal(one("wasi:cli/stdin", "get-stdin"), h[2]);
    assert_int_equal(one("wasi:cli/stdin", "get-stdin"), h[0]);
    assert_int_equal(one("wasi:cli/stdin", "get-stdin"), 5);
    hk_trap("used with the wrong type", "wasi:io/poll", "pollable", h[0]);
    hk_trap("unknown handle index 0", "wasi:io/poll", "pollable", 0);
    hk_trap("unknown handle index 4294967295", "wasi:io/poll", "pollable", UINT32_MAX);
    hk_call(CLOCK, "subscribe-duration", 1);
    hk_call("wasi:io/poll", "pollable", 1);
    hk_trap("unknown handle index 1", "wasi:io/poll", "pollable", 1);
    for (int i = 0; i < 1000; i++)
        hk_call(CLOCK, "subscribe-duration", 1);
    hk_trap("more than 1000 handles", CLOCK, "subscribe-duration", 1);
    /* Many that come and go take no memory. */
    size_t before = hk.g->pool.blocks.used_bytes;
    for (int i = 0; i < 20000; i++) {
        hk_call(CLOCK, "subscribe-duration", 1);
        hk_call("wasi:io/poll", "pollable", hk_slots[0].u32);
    }
    assert_int_equal(hk.g->pool.blocks.used_bytes, before);
    hk_close();
}

static void resources_of_the_guest(void **state)
{
    hk_open();
    hk_call("own", "new", 77);
    uint32_t h = hk_slots[0].u32;
    assert_int_equal(h, 1);
    hk_call("own", "rep", h);
    assert_int_equal(hk_slots[0].u32, 77);
    hk_call("own", "drop", h);
    slot s[1];
    engine_call(hk.in, hk.count + 1, s);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    assert_int_equal(s[0].u32, 77); /* the destructor ran */
    hk_trap("unknown handle index", "own", "rep", h);
    hk_call(CLOCK, "subscribe-duration", 1);
    hk_trap("wrong type", "own", "rep", 1);
    hk_call("own", "new", 1);
    hk_trap("wrong type", "wasi:io/poll", "pollable", 1);
    hk_close();
}

/* Strings and lists at the edge of memory. */
static void pointers(void **state)
{
    const char *v = "fermyon:spin/variables";
    hk_open();
    hk_trap("string pointer/length out of bounds", v, "get", 64 * 65536, 1, 1000);
    hk_trap("string pointer/length out of bounds", v, "get", 0, 64 * 65536 + 1, 1000);
    hk_trap("string is too long", v, "get", 1, UINT32_MAX, 1000);
    hk_trap("list pointer is not aligned", "wasi:io/poll", "poll", 1001, 1, 2000);
    hk_trap("list is too long", "wasi:io/poll", "poll", 1000, 0x40000000, 2000);
    hk_trap("list pointer/length out of bounds", "wasi:io/poll", "poll", 64 * 65536 - 4, 2, 2000);
    hk_trap("list pointer/length out of bounds", "wasi:io/poll", "poll", 0xfffffffc, 1, 2000);
    hk_trap("list pointer/length out of bounds", STREAMS,
            "[method]output-stream.blocking-write-and-flush", one("wasi:cli/stdout", "get-stdout"),
            64 * 65536 - 1, 2, 1000);
    hk_memory()[2000] = 0xff;
    hk_trap("invalid utf-8", v, "get", 2000, 1, 1000);
    hk_call(v, "get", 64 * 65536, 0, 1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_close();
}

/* realloc may not call imports, and what it returns is checked. */
static void realloc_is_not_trusted(void **state)
{
    hk_open();
    uint32_t k = hk_find("wasi:random/random", "get-random-bytes");
    static const struct {
        uint32_t at;
        uint64_t n;
        const char *part;
    } cases[] = {{0x7fffffff, 1, "cannot leave component instance"},
                 {64 * 65536 - 4, 8, "realloc return: beyond end of memory"},
                 {0xfffffff0, 8, "realloc return: beyond end of memory"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot s[2] = {{.u32 = cases[i].at}};
        engine_call(hk.in, hk.count, s);
        assert_int_equal(kit_run(hk.in), ENGINE_DONE);
        s[0].u64 = cases[i].n;
        s[1].u32 = 1000;
        engine_call(hk.in, k, s);
        assert_int_equal(kit_run(hk.in), ENGINE_TRAP);
        if (!strstr(engine_instance_trap(hk.in)->text, cases[i].part))
            fail_msg("%s", engine_instance_trap(hk.in)->text);
        hk_close();
        hk_open();
    }
    hk_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks),
        cmocka_unit_test(coarse_clocks),
        cmocka_unit_test(pollables_wait),
        cmocka_unit_test(dropped_while_waiting),
        cmocka_unit_test(random_is_not_the_same_twice),
        cmocka_unit_test(environment_and_variables),
        cmocka_unit_test(output_comes_in_lines),
        cmocka_unit_test(what_start_left_open_is_made_again),
        cmocka_unit_test(what_start_began_is_not_made_again),
        cmocka_unit_test(permits),
        cmocka_unit_test(standard_input_is_empty),
        cmocka_unit_test(terminals),
        cmocka_unit_test(exits),
        cmocka_unit_test(handles),
        cmocka_unit_test(resources_of_the_guest),
        cmocka_unit_test(pointers),
        cmocka_unit_test(realloc_is_not_trusted),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
