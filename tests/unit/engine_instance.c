/* engine/: instances, calls, host functions, suspension, time slices, traps. */
#include "engine_kit.h"

#include <time.h>

/* ---- calls and values ---- */

static void calls(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (memory (export \"m0\") 1)"
             " (global $g (mut i32) (i32.const 5))"
             " (func (export \"start\") (global.set $g (i32.const 40)))"
             " (func (export \"f0\") (param i32) (result i32)"
             "  (i32.add (local.get 0) (global.get $g)))"
             " (func (export \"f1\") (param i64 f32 f64) (result f64)"
             "  (f64.add (f64.convert_i64_s (local.get 0))"
             "   (f64.add (f64.promote_f32 (local.get 1)) (local.get 2))))"
             " (func (export \"p0\") (param i32) (global.set $g (local.get 0))))",
             NULL, (const char *const[]){"i-i", "IfF-F", NULL});
    k.unit.has_start = true;
    k.unit.memories_count = 1;
    engine_instance *in = kit_instance(&k, &k);
    assert_ptr_equal(engine_user(in), &k);
    slot s[3] = {{.i32 = 2}};
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 42);
    s[0].i64 = -3;
    s[1].f32 = 0.5f;
    s[2].f64 = 2.25;
    engine_call(in, 1, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_true(s[0].f64 == -0.25);
    s[0].i32 = 7; /* what post-return gets is what the function returned */
    engine_post_return(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    s[0].i32 = 1;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 8);
    assert_int_equal(engine_memory_bytes(in), 65536);
    assert_true(engine_cpu_ns(in) > 0 && engine_cpu_ns(in) < 1 * NS_PER_S);
    engine_instance_free(in);
    /* Another instance knows nothing of what that one did. */
    in = kit_instance(&k, NULL);
    s[0].i32 = 1;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 41);
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* ---- host functions ---- */

typedef struct {
    int calls, waits;
    uint32_t got, at;
} host_state;

static host_status host_mix(void *env, engine_instance *in, slot *s)
{
    host_state *h = engine_user(in);
    h->calls++;
    assert_ptr_equal(env, &kit_engine);
    s[0].f64 = (double)s[0].i32 + (double)s[1].i64 + (double)s[2].f32 + s[3].f64;
    return HOST_DONE;
}

static host_status host_write(void *env, engine_instance *in, slot *s)
{
    host_state *h = engine_user(in);
    size_t size = 0;
    h->calls++;
    if (!engine_realloc(in, 0, 8, s[0].u32, &h->at))
        return HOST_TRAP;
    uint8_t *p = engine_memory(in, 0, &size);
    if (h->at > size || size - h->at < s[0].u32)
        return engine_trap_set(in, "realloc gave %u", h->at);
    memset(p + h->at, 0x5a, s[0].u32);
    s[0].u32 = h->at;
    return HOST_DONE;
}

static host_status host_wait(void *env, engine_instance *in, slot *s)
{
    host_state *h = engine_user(in);
    h->calls++;
    if (h->waits > 0) {
        h->waits--;
        return HOST_WAIT;
    }
    h->got = s[0].u32;
    s[0].i64 = (int64_t)s[0].u32 * 10;
    return HOST_DONE;
}

static const char host_wat[] =
    "(module"
    " (import \"ebb\" \"0\" (func $mix (param i32 i64 f32 f64) (result f64)))"
    " (import \"ebb\" \"1\" (func $write (param i32) (result i32)))"
    " (import \"ebb\" \"2\" (func $wait (param i32) (result i64)))"
    " (memory (export \"m0\") 1 4)"
    " (global $top (mut i32) (i32.const 1024))"
    " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
    "  (if (i32.eq (local.get 3) (i32.const 13)) (then (drop (call $wait (i32.const 1)))))"
    "  (if (i32.eq (local.get 3) (i32.const 666)) (then (unreachable)))"
    "  (if (i32.eq (local.get 3) (i32.const 777)) (then (loop $l (br $l))))"
    "  (global.set $top (i32.add (global.get $top) (local.get 3)))"
    "  (i32.sub (global.get $top) (local.get 3)))"
    " (func (export \"f0\") (param i32) (result f64)"
    "  (call $mix (local.get 0) (i64.const 1000000000000) (f32.const 0.5) (f64.const 0.25)))"
    " (func (export \"f1\") (param i32) (result i32)"
    "  (i32.load8_u offset=3 (call $write (local.get 0))))"
    " (func $waiter (export \"f2\") (param i32) (result i64)"
    "  (call $wait (local.get 0)) (loop $checks_the_epoch)"
    "  (i64.add (call $wait (i32.const 7)))))";
static const kit_import host_imports[] = {
    {"mix", "iIfF-F", {.fn = host_mix, .env = &kit_engine}},
    {"write", "i-i", {.fn = host_write}},
    {"wait", "i-I", {.fn = host_wait, .may_wait = true}},
    {NULL},
};

static void host_open(kit_module *k)
{
    kit_open(k, host_wat, host_imports, (const char *const[]){"i-F", "i-i", "i-I", NULL});
    k->unit.memories_count = k->unit.reallocs_count = 1;
}

static void host_plain(void **state)
{
    kit_module k = {0};
    host_open(&k);
    host_state h = {0};
    engine_instance *in = kit_instance(&k, &h);
    slot s[1] = {{.i32 = -2}};
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_true(s[0].f64 == 999999999998.75);
    s[0].i32 = 100;
    engine_call(in, 1, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 0x5a);
    assert_int_equal(h.at, 1024);
    assert_int_equal(h.calls, 2);
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void host_waits(void **state)
{
    kit_module k = {0};
    host_open(&k);
    host_state h = {.waits = 3};
    engine_instance *in = kit_instance(&k, &h);
    slot s[1] = {{.i32 = 5}};
    engine_call(in, 2, s);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kit_run(in), ENGINE_WAIT);
        assert_int_equal(h.calls, i + 1); /* once a poll, not twice */
    }
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i64, 120);
    assert_int_equal(h.calls, 5);
    assert_int_equal(h.got, 7);
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void realloc_traps(void **state)
{
    kit_module k = {0};
    host_open(&k);
    host_state h = {0};
    engine_instance *in = kit_instance(&k, &h);
    slot s[1] = {{.i32 = 666}};
    engine_call(in, 1, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_non_null(strstr(engine_instance_trap(in)->text, "unreachable"));
    engine_instance_free(in);
    /* may_leave: no imports during an allocation */
    in = kit_instance(&k, &h);
    s[0].i32 = 13;
    engine_call(in, 1, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_non_null(strstr(engine_instance_trap(in)->text, "cannot leave component instance"));
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* Ticks that others ran through while it waited do not cost the waiter its slice. */
static void wait_keeps_slice(void **state)
{
    kit_module k = {0}, spin = {0};
    host_open(&k);
    kit_open(&spin, "(module (func (export \"f0\") (loop $l (br $l))))", NULL,
             (const char *const[]){"", NULL});
    host_state h = {0};
    engine_instance *busy = kit_instance(&spin, NULL), *in = kit_instance(&k, &h);
    engine_call(busy, 0, NULL);
    bool at_once = false; /* a tick may hit these few microseconds, but not five times */
    for (int i = 0; i < 5 && !at_once; i++) {
        h.waits = 1;
        slot s[1] = {{.i32 = 5}};
        engine_call(in, 2, s);
        assert_int_equal(kit_run(in), ENGINE_WAIT);
        for (int j = 0; j < 3; j++)
            assert_int_equal(engine_poll(busy), ENGINE_YIELD);
        at_once = engine_poll(in) == ENGINE_DONE;
        if (!at_once)
            assert_int_equal(kit_run(in), ENGINE_DONE);
    }
    assert_true(at_once);
    engine_instance_free(in);
    engine_instance_free(busy);
    engine_module_close(spin.m);
    engine_module_close(k.m);
}

/* A host function that does not take no for an answer gets none while the fiber is dropped. */
static host_status host_stubborn(void *env, engine_instance *in, slot *s)
{
    host_state *h = engine_user(in);
    uint32_t at = 0;
    h->calls++;
    if (engine_realloc(in, 0, 1, 777, &at))
        return HOST_DONE;
    h->waits = engine_realloc(in, 0, 1, 8, &at);
    h->calls++;
    return HOST_DONE;
}

static void dropping_is_final(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $h)) (memory (export \"m0\") 1)"
             " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
             "  (if (i32.eq (local.get 3) (i32.const 777)) (then (loop $l (br $l)))) (i32.const 8))"
             " (func (export \"f0\") (call $h)))",
             (const kit_import[]){{"stubborn", "", {.fn = host_stubborn}}, {NULL}},
             (const char *const[]){"", NULL});
    k.unit.memories_count = k.unit.reallocs_count = 1;
    host_state h = {.waits = 9};
    engine_instance *in = kit_instance(&k, &h);
    engine_call(in, 0, NULL);
    assert_int_equal(engine_poll(in), ENGINE_YIELD);
    assert_int_equal(h.calls, 1);
    engine_instance_free(in);
    assert_int_equal(h.calls, 2);
    assert_int_equal(h.waits, false);
    engine_module_close(k.m);
}

/* Time slices end inside nested calls too, and the fiber may be dropped there. */
static void realloc_loops(void **state)
{
    kit_module k = {0};
    host_open(&k);
    host_state h = {0};
    engine_instance *in = kit_instance(&k, &h);
    slot s[1] = {{.i32 = 777}};
    engine_call(in, 1, s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(engine_poll(in), ENGINE_YIELD);
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.at, 0);
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void dropped_while_waiting(void **state)
{
    kit_module k = {0};
    host_open(&k);
    host_state h = {.waits = 1000};
    for (int i = 0; i < 50; i++) {
        engine_instance *in = kit_instance(&k, &h);
        slot s[1] = {{.i32 = 5}};
        engine_call(in, 2, s);
        assert_int_equal(kit_run(in), ENGINE_WAIT);
        if (i % 2)
            assert_int_equal(kit_run(in), ENGINE_WAIT);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

static void interleaved(void **state)
{
    enum { N = 200 };
    kit_module k = {0};
    host_open(&k);
    static host_state h[N];
    static engine_instance *in[N];
    static slot s[N];
    for (int i = 0; i < N; i++) {
        h[i] = (host_state){.waits = i % 7};
        in[i] = kit_instance(&k, &h[i]);
        s[i].i32 = i;
        engine_call(in[i], 2, &s[i]);
    }
    for (int left = N; left > 0;)
        for (int i = 0; i < N; i++) {
            if (!in[i])
                continue;
            engine_status st = engine_poll(in[i]);
            if (st == ENGINE_WAIT || st == ENGINE_YIELD)
                continue;
            assert_int_equal(st, ENGINE_DONE);
            assert_int_equal(s[i].i64, i * 10 + 70);
            engine_instance_free(in[i]);
            in[i] = NULL;
            left--;
        }
    engine_module_close(k.m);
}

/* A host function that polls another instance: time is booked once. */
static host_status host_inner(void *env, engine_instance *in, slot *s)
{
    engine_instance *other = engine_user(in);
    slot t[1] = {{.i32 = s[0].i32}};
    engine_call(other, 0, t);
    if (kit_run(other) != ENGINE_DONE)
        return engine_trap_set(in, "inner failed");
    s[0].i32 = t[0].i32;
    return HOST_DONE;
}

/* f0 spins for its argument's number of rounds before it calls, or not at all. */
#define SPIN_WAT                                                                                   \
    " (local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))"               \
    "  (br_if $l (i32.lt_u (local.get $i) (local.get 0))))"

static void nested_poll(void **state)
{
    kit_module inner = {0}, outer = {0};
    kit_open(&inner,
             "(module (func (export \"f0\") (param i32) (result i32)" SPIN_WAT "(local.get $i)))",
             NULL, (const char *const[]){"i-i", NULL});
    kit_open(&outer,
             "(module (import \"ebb\" \"0\" (func $h (param i32) (result i32)))"
             " (func (export \"f0\") (param i32 i32) (result i32)" SPIN_WAT
             " (call $h (local.get 1))))",
             (const kit_import[]){{"inner", "i-i", {.fn = host_inner}}, {NULL}},
             (const char *const[]){"ii-i", NULL});
    enum { ROUNDS = 20000 }; /* much less than a tick, so that few slices end by it */
    for (int in_a = 0; in_a < 2; in_a++) {
        engine_instance *a = kit_instance(&inner, NULL), *b = kit_instance(&outer, a);
        int most = 0;
        for (int i = 0; i < 300; i++) {
            slot s[2] = {{.i32 = in_a ? 0 : ROUNDS}, {.i32 = in_a ? ROUNDS : 0}};
            ns a0 = engine_cpu_ns(a), b0 = engine_cpu_ns(b), begun = clock_mono();
            engine_call(b, 0, s);
            assert_int_equal(kit_run(b), ENGINE_DONE);
            ns wall = clock_mono() - begun;
            ns a_ns = engine_cpu_ns(a) - a0, b_ns = engine_cpu_ns(b) - b0;
            assert_int_equal(s[0].i32, in_a ? ROUNDS : 1);
            assert_true(a_ns + b_ns <= wall); /* nothing is booked twice */
            most += (in_a ? a_ns : b_ns) > wall / 2;
        }
        /* Whoever span had most of the time, but where the machine was away meanwhile. */
        assert_true(most > 150);
        engine_instance_free(b);
        engine_instance_free(a);
    }
    engine_module_close(outer.m);
    engine_module_close(inner.m);
}

/* ---- destructors ---- */

static host_status host_drop(void *env, engine_instance *in, slot *s)
{
    return engine_destroy(in, 2, s[0].u32) ? HOST_DONE : HOST_TRAP;
}

static const char destroy_wat[] =
    "(module"
    " (import \"ebb\" \"0\" (func $drop (param i32)))"
    " (import \"ebb\" \"1\" (func $wait (param i32) (result i64)))"
    " (global $seen (mut i32) (i32.const 0))"
    " (func (export \"d2\") (param i32)"
    "  (global.set $seen (i32.add (global.get $seen) (local.get 0)))"
    "  (if (i32.eq (local.get 0) (i32.const 9)) (then (drop (call $wait (i32.const 3)))))"
    "  (if (i32.eq (local.get 0) (i32.const 99)) (then (call $drop (local.get 0)))))"
    " (func (export \"f0\") (param i32) (result i32)"
    "  (call $drop (local.get 0)) (global.get $seen)))";

static void destroys(void **state)
{
    kit_module k = {0};
    kit_open(&k, destroy_wat,
             (const kit_import[]){{"drop", "i-", {.fn = host_drop}},
                                  {"wait", "i-I", {.fn = host_wait, .may_wait = true}},
                                  {NULL}},
             (const char *const[]){"i-i", NULL});
    host_state h = {0};
    engine_instance *in = kit_instance(&k, &h);
    slot s[1] = {{.i32 = 4}};
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 4);
    /* one after the other is not inside each other */
    for (int i = 0; i < 30; i++) {
        s[0].i32 = 0;
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(s[0].i32, 4);
    }
    /* a destructor that waits, below a host function that does not */
    h.waits = 2;
    s[0].i32 = 9;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_WAIT);
    assert_int_equal(kit_run(in), ENGINE_WAIT);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(s[0].i32, 13);
    /* and dropped there */
    h.waits = 2;
    s[0].i32 = 9;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_WAIT);
    engine_instance_free(in);
    /* a destructor that drops without end */
    in = kit_instance(&k, &h);
    s[0].i32 = 99;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_non_null(strstr(engine_instance_trap(in)->text, "inside each other"));
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* ---- hostile guests ---- */

static const char bad_wat[] =
    "(module $bad"
    " (import \"ebb\" \"0\" (func $exit (param i32)))"
    " (import \"ebb\" \"1\" (func $missing))"
    " (import \"ebb\" \"2\" (func $refuse (param i32)))"
    " (memory (export \"m0\") 1)"
    " (table 1 funcref)"
    " (func $spin (export \"f0\") (loop $l (br $l)))"
    " (func $deep (export \"f1\") (call $deep))"
    " (func $_ZN4demo5mixed17h0123456789abcdefE (unreachable))"
    " (func (export \"f8\") (param i32)"
    "  (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
    "  (call $_ZN4demo5mixed17h0123456789abcdefE))"
    " (func $leaf_of_trouble (drop (i32.load (i32.const 0x7fffffff))))"
    " (func $middle (call $leaf_of_trouble))"
    " (func $top_of_it (export \"f2\") (call $middle))"
    " (func (export \"f3\") (param i32) (result i32) (memory.grow (local.get 0)))"
    " (func (export \"f4\") (param i32) (call $exit (local.get 0)))"
    " (func (export \"f5\") (call $missing))"
    " (func (export \"f6\") (param i32) (call $refuse (local.get 0)))"
    " (func (export \"f7\") (param i32) (result i32)"
    "  (table.grow (ref.null func) (local.get 0))))";

static host_status host_exit(void *env, engine_instance *in, slot *s)
{
    return engine_exit_set(in, s[0].i32);
}

static host_status host_refuse(void *env, engine_instance *in, slot *s)
{
    return engine_trap_set(in, "handle %d is not open", s[0].i32);
}

static const kit_import bad_imports[] = {
    {"exit", "i-", {.fn = host_exit}},
    {"missing", "", {.fn = NULL}},
    {"refuse", "i-", {.fn = host_refuse, .may_wait = true}},
    {NULL},
};

static void bad_open(kit_module *k)
{
    kit_open(k, bad_wat, bad_imports,
             (const char *const[]){"", "", "", "i-i", "i-", "", "i-", "i-i", "i-", NULL});
    k->unit.memories_count = 1;
}

static const engine_trap *bad_call(kit_module *k, uint32_t lift, int32_t arg, engine_instance **ret)
{
    engine_instance *in = *ret = kit_instance(k, NULL);
    slot s[1] = {{.i32 = arg}};
    engine_call(in, lift, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    return engine_instance_trap(in);
}

static void endless_loop(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    engine_call(in, 0, NULL);
    ns base = engine_cpu_ns(in), begun = clock_mono();
    int slices = 0;
    while (slices < 5 || engine_cpu_ns(in) - base < 20 * NS_PER_MS) {
        assert_int_equal(engine_poll(in), ENGINE_YIELD);
        slices++;
    }
    ns wall = clock_mono() - begun;
    /* A slice is at most a tick, and a loaded machine may lose ticks, never add them. */
    assert_true(slices <= (int)(wall / ENGINE_TICK_NS) + 2);
    assert_true(engine_cpu_ns(in) - base <= wall);
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void fair_shares(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *a = kit_instance(&k, NULL), *b = kit_instance(&k, NULL);
    engine_call(a, 0, NULL);
    engine_call(b, 0, NULL);
    /* By the thread's CPU time, so that a busy machine does not count. */
    ns at = clock_thread_cpu(), used[2] = {0, 0};
    for (int i = 0; i < 80; i++) {
        assert_int_equal(engine_poll(i % 2 ? b : a), ENGINE_YIELD);
        ns now = clock_thread_cpu();
        used[i % 2] += now - at;
        at = now;
    }
    assert_true(used[0] < 2 * used[1] && used[1] < 2 * used[0]);
    /* and nobody had much more than a tick at a time */
    assert_true(used[0] + used[1] < 80 * 3 * (ns)ENGINE_TICK_NS);
    engine_instance_free(a);
    engine_instance_free(b);
    engine_module_close(k.m);
}

static void traps(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in;
    const engine_trap *t = bad_call(&k, 1, 0, &in);
    assert_true(t->out_of_stack);
    assert_string_equal(t->text, "wasm trap: call stack exhausted");
    assert_non_null(strstr(t->backtrace, "deep"));
    engine_instance_free(in);

    t = bad_call(&k, 2, 0, &in);
    assert_false(t->out_of_stack);
    assert_false(t->out_of_memory);
    assert_false(t->exited);
    assert_string_equal(t->text, "wasm trap: out of bounds memory access");
    const char *leaf = strstr(t->backtrace, "leaf_of_trouble\n"),
               *middle = strstr(t->backtrace, "middle\n"),
               *top = strstr(t->backtrace, "top_of_it\n");
    assert_true(leaf && middle && top && leaf < middle && middle < top);
    assert_null(strstr(t->backtrace, "note:"));
    assert_int_equal(strncmp(t->backtrace, "0:", 2), 0);
    engine_instance_free(in);

    t = bad_call(&k, 8, 0, &in);
    assert_true(t->out_of_memory);
    assert_non_null(strstr(t->text, "limit of 67108864 bytes"));
    assert_non_null(strstr(t->backtrace, "demo::mixed"));
    engine_instance_free(in);

    t = bad_call(&k, 4, 3, &in);
    assert_true(t->exited);
    assert_int_equal(t->exit_status, 3);
    engine_instance_free(in);

    t = bad_call(&k, 5, 0, &in);
    assert_non_null(strstr(t->text, "'missing' of 'test:kit/host'"));
    engine_instance_free(in);

    t = bad_call(&k, 6, 77, &in);
    assert_string_equal(t->text, "handle 77 is not open");
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* Start functions: the module's own and "start"; each may wait or trap. */
static void starts(void **state)
{
    static const char *const wats[] = {
        "(module (import \"ebb\" \"0\" (func $w (param i32) (result i64)))"
        " (func $s (drop (call $w (i32.const 1)))) (start $s))",
        "(module (import \"ebb\" \"0\" (func $w (param i32) (result i64)))"
        " (func (export \"start\") (drop (call $w (i32.const 1)))))",
        "(module (import \"ebb\" \"0\" (func $w (param i32) (result i64)))"
        " (func $s (unreachable)) (start $s))",
        "(module (import \"ebb\" \"0\" (func $w (param i32) (result i64)))"
        " (func (export \"start\") (unreachable)))",
    };
    for (int i = 0; i < 4; i++) {
        kit_module k = {0};
        kit_open(&k, wats[i],
                 (const kit_import[]){{"wait", "i-I", {.fn = host_wait, .may_wait = true}}, {NULL}},
                 NULL);
        k.unit.has_start = i % 2 == 1;
        err e = {0};
        host_state h = {.waits = 2};
        engine_instance *in = NULL;
        assert_true(engine_instance_new(k.m, &kit_limits, &h, &in, &e));
        engine_start(in);
        if (i < 2) {
            assert_int_equal(kit_run(in), ENGINE_WAIT);
            assert_int_equal(kit_run(in), ENGINE_WAIT);
            assert_int_equal(kit_run(in), ENGINE_DONE);
            assert_int_equal(h.got, 1);
        } else {
            assert_int_equal(kit_run(in), ENGINE_TRAP);
            assert_non_null(strstr(engine_instance_trap(in)->text, "unreachable"));
        }
        engine_instance_free(in);
        /* and freed at every stage before that */
        assert_true(engine_instance_new(k.m, &kit_limits, &h, &in, &e));
        engine_instance_free(in);
        assert_true(engine_instance_new(k.m, &kit_limits, &h, &in, &e));
        engine_start(in);
        engine_instance_free(in);
        h.waits = 2;
        assert_true(engine_instance_new(k.m, &kit_limits, &h, &in, &e));
        engine_start(in);
        assert_int_equal(kit_run(in), i < 2 ? ENGINE_WAIT : ENGINE_TRAP);
        engine_instance_free(in);
        engine_module_close(k.m);
    }
}

static void limits(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    struct {
        uint32_t lift;
        int32_t arg, want;
    } cases[] = {
        {3, 1022, 1}, /* 64 MiB are 1024 pages; one is there */
        {3, 2, -1},   /* 1025 */
        {3, 1, 1023}, /* exactly the limit */
        {3, 1, -1},   /* one more */
        {7, 9999, 1}, /* 10,000 elements */
        {7, 1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot s[1] = {{.i32 = cases[i].arg}};
        engine_call(in, cases[i].lift, s);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(s[0].i32, cases[i].want);
    }
    assert_int_equal(engine_memory_bytes(in), 64 << 20);
    engine_instance_free(in);
    /* What needs more than it may have is refused before it runs. */
    k.unit.memory_bytes_min = 65536;
    err e = {0};
    engine_limits l = {.memory_bytes_max = 1000, .table_elements_max = 10};
    assert_false(engine_instance_new(k.m, &l, NULL, &in, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "65536"));
    engine_module_close(k.m);
}

/* A limit may change while an instance is there, within what it was made with. */
static void a_limit_of_memory_moves(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    struct {
        size_t limit;
        int32_t arg, want;
    } cases[] = {
        {10 * 65536, 10, -1}, {10 * 65536, 9, 1},   {10 * 65536, 1, -1}, {0, 1, -1},
        {20 * 65536, 10, 10}, {SIZE_MAX, 1004, 20}, {SIZE_MAX, 1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot s[1] = {{.i32 = cases[i].arg}};
        engine_instance_limit(in, cases[i].limit);
        engine_call(in, 3, s);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(s[0].i32, cases[i].want);
    }
    engine_instance_free(in);
    engine_module_close(k.m);
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &pages, &resident), 2);
    fclose(f);
    return resident * 4;
}

/* What a large memory holds is given back in pieces, also in the middle of a call. */
static void a_large_memory_is_emptied_in_pieces(void **state)
{
    enum { PAGES = 256, PIECE = 4 << 20 };
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    slot s[1] = {{.i32 = PAGES - 1}};
    size_t size;
    engine_call(in, 3, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    memset(engine_memory(in, 0, &size), 0x5a, PAGES * 65536);
    assert_int_equal(size, PAGES * 65536);
    engine_call(in, 0, NULL); /* endless */
    assert_int_equal(engine_poll(in), ENGINE_YIELD);
    long before = resident_kib();
    int pieces = 1;
    while (engine_instance_empty(in, PIECE))
        pieces++;
    assert_int_equal(pieces, PAGES * 65536 / PIECE);
    assert_true(before - resident_kib() > PAGES * 60);
    assert_false(engine_instance_empty(in, PIECE));
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void slots_run_out(void **state)
{
    enum { N = 300 };
    kit_module k = {0};
    bad_open(&k);
    static engine_instance *in[N];
    for (int i = 0; i < N; i++)
        in[i] = kit_instance(&k, NULL);
    err e = {0};
    engine_instance *more = NULL;
    assert_false(engine_instance_new(k.m, &kit_limits, NULL, &more, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    engine_instance_free(in[7]);
    in[7] = kit_instance(&k, NULL);
    for (int i = 0; i < N; i++)
        engine_instance_free(in[i]);
    engine_module_close(k.m);
}

/* ---- memory of one is never seen by the next; nothing leaks ---- */

static void many_in_a_row(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $w (param i32) (result i64)))"
             " (memory (export \"m0\") 4) (data (i32.const 70000) \"image\")"
             " (func (export \"f0\") (param i32) (result i32) (local i32)"
             "  (local.set 1 (i32.or (i32.load (i32.const 5000))"
             "    (i32.or (i32.load (i32.const 200000))"
             "     (i32.sub (i32.load8_u (i32.const 70000)) (i32.const 105)))))"
             "  (i32.store (i32.const 5000) (local.get 0))"
             "  (i32.store (i32.const 200000) (local.get 0))"
             "  (i32.store8 (i32.const 70000) (i32.const 1))"
             "  (drop (call $w (i32.const 1)))"
             "  (local.get 1)))",
             (const kit_import[]){{"wait", "i-I", {.fn = host_wait, .may_wait = true}}, {NULL}},
             (const char *const[]){"i-i", NULL});
    k.unit.memories_count = 1;
    long before = 0;
    for (int i = 0; i < 10000; i++) {
        host_state h = {.waits = i % 3 == 0};
        engine_instance *in = kit_instance(&k, &h);
        slot s[1] = {{.i32 = 0x5ec4e7}};
        engine_call(in, 0, s);
        engine_status st = kit_run(in);
        if (i % 6 == 0) { /* every second waiter is dropped there */
            assert_int_equal(st, ENGINE_WAIT);
        } else {
            if (st == ENGINE_WAIT)
                st = kit_run(in);
            assert_int_equal(st, ENGINE_DONE);
            assert_int_equal(s[0].i32, 0);
        }
        engine_instance_free(in);
        if (i == 2000)
            before = resident_kib();
    }
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(resident_kib() <= before + 1024);
#else
    (void)before;
#endif
    engine_module_close(k.m);
}

/* ---- ticks ---- */

static void ticks_stop(void **state)
{
    kit_module k = {0};
    bad_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    uint64_t t0 = engine_ticks();
    engine_call(in, 0, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(engine_poll(in), ENGINE_YIELD);
    assert_true(engine_ticks() >= t0 + 5);
    engine_instance_free(in);
    /* Wait until the timer has found nothing running, by its own count: at most one tick more. */
    uint64_t t1 = engine_ticks();
    struct timespec t = {.tv_nsec = 50 * ENGINE_TICK_NS};
    while (nanosleep(&t, &t))
        ;
    assert_true(engine_ticks() <= t1 + 1);
    uint64_t t2 = engine_ticks();
    t = (struct timespec){.tv_nsec = 50 * ENGINE_TICK_NS};
    assert_int_equal(nanosleep(&t, NULL), 0); /* not once interrupted */
    assert_int_equal(engine_ticks(), t2);
    engine_module_close(k.m);
}

/* A tick ends the slice of a call that had one, not of one that has just begun. */
static void short_calls_keep_their_turn(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (func (export \"f0\") (param i32)"
             " (loop $l (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
             "  (br_if $l (local.get 0)))))",
             NULL, (const char *const[]){"i", NULL});
    engine_instance *in = kit_instance(&k, NULL);
    uint64_t first = engine_ticks(), ticks, yields = 0;
    while ((ticks = engine_ticks() - first) < 100) {
        slot s[1] = {{.i32 = 50000}}; /* some 50 us */
        engine_call(in, 0, s);
        engine_status status;
        while ((status = engine_poll(in)) == ENGINE_YIELD)
            yields++;
        assert_int_equal(status, ENGINE_DONE);
    }
    /* Who has no CPU meanwhile yields too: on a busy machine that is a part of the ticks. */
    assert_in_range(yields * 4, 0, ticks * 3);
    engine_instance_free(in);
    engine_module_close(k.m);
}

static host_status host_asks_inner(void *env, engine_instance *in, slot *s)
{
    (void)s;
    engine_instance *inner = engine_user(in);
    (*(int *)env)++;
    engine_call(inner, 0, NULL);
    return kit_run(inner) == ENGINE_DONE ? HOST_DONE : HOST_TRAP;
}

/* Short calls of another instance are part of the slice of the one that makes them. */
static void short_inner_calls_do_not_prolong_it(void **state)
{
    int calls = 0;
    kit_module k = {0}, short_one = {0};
    kit_open(&short_one, "(module (func (export \"f0\")))", NULL, (const char *const[]){"", NULL});
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $inner))"
             " (func (export \"f0\") (loop $l (call $inner) (br $l))))",
             (const kit_import[]){{"inner", "", {.fn = host_asks_inner, .env = &calls}}, {NULL}},
             (const char *const[]){"", NULL});
    engine_instance *inner = kit_instance(&short_one, NULL), *in = kit_instance(&k, inner);
    engine_call(in, 0, NULL);
    uint64_t first = engine_ticks();
    for (int i = 0; i < 5; i++)
        assert_int_equal(engine_poll(in), ENGINE_YIELD);
    assert_in_range(engine_ticks() - first, 5, 15);
    assert_true(calls > 5);
    engine_instance_free(in);
    engine_instance_free(inner);
    engine_module_close(k.m);
    engine_module_close(short_one.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_calls_keep_their_turn),
        cmocka_unit_test(short_inner_calls_do_not_prolong_it),
        cmocka_unit_test(calls),
        cmocka_unit_test(host_plain),
        cmocka_unit_test(host_waits),
        cmocka_unit_test(realloc_traps),
        cmocka_unit_test(wait_keeps_slice),
        cmocka_unit_test(dropping_is_final),
        cmocka_unit_test(realloc_loops),
        cmocka_unit_test(dropped_while_waiting),
        cmocka_unit_test(interleaved),
        cmocka_unit_test(nested_poll),
        cmocka_unit_test(destroys),
        cmocka_unit_test(endless_loop),
        cmocka_unit_test(fair_shares),
        cmocka_unit_test(traps),
        cmocka_unit_test(starts),
        cmocka_unit_test(limits),
        cmocka_unit_test(a_limit_of_memory_moves),
        cmocka_unit_test(a_large_memory_is_emptied_in_pieces),
        cmocka_unit_test(slots_run_out),
        cmocka_unit_test(many_in_a_row),
        cmocka_unit_test(ticks_stop),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
