/* engine/: start functions recorded and played back. The record holds what the host changed, in
 * every memory and global, and no more; a start function that does not do the same again is found
 * out; what can't be recorded runs for each call. */
#include "engine_kit.h"

#include "base/limits.h"

static const engine_restoring checked = {.check_every = 1, .kept_max = 10};
static const ns now = 1000 * NS_PER_S;
static kit_module k;

static int32_t call(engine_instance *in, uint32_t lift)
{
    slot s[1] = {{0}};
    engine_call(in, lift, s);
    if (kit_run(in) != ENGINE_DONE)
        fail_msg("f%u: %s", lift, engine_instance_trap(in)->text);
    return s[0].i32;
}

static void open_as(const plan_unit *unit, const char *wat, const kit_import *imports)
{
    static const char *const one[] = {"-i", NULL};
    engine_restoring_set(kit_engine, &checked);
    k = (kit_module){.unit = *unit};
    k.unit.has_start = true;
    kit_open(&k, wat, imports, one);
    engine_module_restore(k.m, ENGINE_RESTORE_AFTER_START);
}

static void close_it(void)
{
    engine_module_close(k.m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

/* ---- what is recorded ---- */

static uint32_t asked;

/* Writes over the end of a page in both memories, and asks for memory. */
static host_status host_fills(void *env, engine_instance *in, slot *s)
{
    size_t size;
    uint32_t at;
    asked++;
    if (!engine_realloc(in, 0, 1, 70000, &at))
        return HOST_TRAP;
    memset(engine_memory(in, 0, &size) + at, (int)(asked | 0x40), 70000);
    memset(engine_memory(in, 1, &size) + 4090, (int)(asked | 0x60), 10);
    engine_memory(in, 1, &size)[65535] = (uint8_t)asked;
    s[0].u64 = at;
    return HOST_DONE;
}

/* r0 grows the memory and changes a global of each type. f0: all that came of it, as one number,
 * and then changes all of it. */
static const char filled[] =
    "(module (import \"ebb\" \"0\" (func $fill (param f64) (result i32)))"
    " (memory (export \"m0\") 1) (memory (export \"m1\") 1)"
    " (global $i (export \"g0\") (mut i32) (i32.const 100))"
    " (global $I (export \"g1\") (mut i64) (i64.const 1))"
    " (global $f (export \"g2\") (mut f32) (f32.const 0.5))"
    " (global $F (export \"g3\") (mut f64) (f64.const 0.25))"
    " (global $v (export \"g4\") (mut v128) (v128.const i32x4 1 2 3 4))"
    " (global $size (export \"g5\") (export \"s0\") (mut i32) (i32.const 1))"
    " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
    "  (drop (memory.grow (i32.const 2))) (global.set $size (i32.add (global.get $size)"
    "   (i32.const 2)))"
    "  (global.set $i (i32.add (global.get $i) (local.get 3)))"
    "  (global.set $I (i64.mul (global.get $I) (i64.const 0x100000003)))"
    "  (global.set $f (f32.add (global.get $f) (f32.const 1)))"
    "  (global.set $F (f64.add (global.get $F) (f64.const 1)))"
    "  (global.set $v (i32x4.add (global.get $v) (v128.const i32x4 0 0 0 5)))"
    "  (i32.sub (global.get $i) (local.get 3)))"
    " (func (export \"start\")"
    "  (i32.store (i32.const 8) (call $fill (f64.const 1.5)))"
    "  (i32.store (i32.const 12) (call $fill (f64.const 2.5))))"
    " (func (export \"f0\") (result i32) (local $n i32)"
    "  (local.set $n (i32.add (i32.add (i32.load (i32.const 8)) (i32.load (i32.const 12)))"
    "   (i32.add (i32.load8_u 0 (i32.const 120000)) (i32.add (i32.load8_u 1 (i32.const 4099))"
    "    (i32.load8_u 1 (i32.const 65535))))))"
    "  (local.set $n (i32.add (local.get $n) (i32.add (i32.wrap_i64 (i64.shr_u (global.get $I)"
    "   (i64.const 32))) (i32.add (i32.trunc_f32_u (global.get $f)) (i32.add"
    "   (i32.trunc_f64_u (global.get $F)) (i32x4.extract_lane 3 (global.get $v)))))))"
    "  (i32.store (i32.const 8) (i32.const -1)) (i32.store8 1 (i32.const 4099) (i32.const 1))"
    "  (i32.store8 1 (i32.const 65535) (i32.const 1)) (i32.store (i32.const 120000) (i32.const 1))"
    "  (global.set $I (i64.const 9)) (global.set $f (f32.const 9)) (global.set $F (f64.const 9))"
    "  (global.set $v (v128.const i64x2 9 9)) (global.set $i (i32.const 9)) (local.get $n)))";

static void all_that_the_host_changed(void **state)
{
    static const kit_import imports[] = {{"fill", "F-i", {.fn = host_fills}}, {0}};
    static const plan_unit unit = {.memories_count = 2,
                                   .globals_count = 6,
                                   .reallocs_count = 1,
                                   .sized_memories = 1,
                                   .memory_bytes_min = 65536};
    asked = 0;
    open_as(&unit, filled, imports);
    for (int i = 0; i < 4; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_after_start(in), i > 0);
        if (i == 0)
            assert_true(engine_start_take(in));
        assert_int_equal(engine_memory_bytes(in), 6 * 65536);
        /* 100 + 70100, the first answer below, the second's mark and byte, globals */
        assert_int_equal(call(in, 0), 100 + 70100 + 0x42 + 0x62 + 2 + 6 + 2 + 2 + 14);
        engine_given given = engine_instance_give(in, now);
        if (given != ENGINE_KEPT)
            fail_msg("%d: %s", i, engine_module_difference(k.m));
        assert_int_equal(asked, 2);
    }
    close_it();
}

static host_status host_marks(void *env, engine_instance *in, slot *s)
{
    size_t size, n = (size_t)(uintptr_t)env;
    asked++;
    memset(engine_memory(in, 0, &size) + s[0].u32, (int)(asked | 1), n);
    return HOST_DONE;
}

/* `calls` calls, each for a place after the one before. */
static void mark(uint32_t calls, uint32_t apart, size_t each)
{
    static char wat[1024];
    const kit_import imports[] = {{"mark", "i-", {.fn = host_marks, .env = (void *)each}}, {0}};
    static const plan_unit unit = {.memories_count = 1};
    snprintf(wat, sizeof wat,
             "(module (import \"ebb\" \"0\" (func $mark (param i32))) (memory (export \"m0\") 20)"
             " (func (export \"start\") (local i32)"
             "  (loop $l (call $mark (i32.add (i32.const 64) (i32.mul (i32.const %u) (i32.rem_u"
             "    (local.get 0) (i32.const 200)))))"
             "   (local.set 0 (i32.add (local.get 0) (i32.const 1)))"
             "   (br_if $l (i32.lt_u (local.get 0) (i32.const %u)))))"
             " (func (export \"f0\") (result i32) (i32.store8 (i32.const 0) (i32.const 1))"
             "  (i32.load8_u (i32.const 64))))",
             apart, calls);
    asked = 0;
    open_as(&unit, wat, imports);
}

/* A call costs the bytes that it changed, not the pages they lie in: 5,000 pages would be too many.
 */
static void a_record_is_of_bytes(void **state)
{
    mark(5000, 16, 8);
    engine_instance *in = kit_instance(&k, NULL);
    assert_int_equal(asked, 5000);
    assert_true(engine_start_wanted(in));
    assert_true(engine_start_take(in));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(engine_instance_after_start(in), i > 0);
        assert_int_equal(call(in, 0), (4801 | 1) & 0xff);
        engine_given given = engine_instance_give(in, now);
        if (given != ENGINE_KEPT)
            fail_msg("%s", engine_module_difference(k.m));
        in = kit_instance(&k, NULL);
    }
    assert_int_equal(asked, 5000);
    engine_instance_free(in);
    close_it();
}

static void a_record_has_a_limit(void **state)
{
    mark(40, 0, 1 * MIB);
    for (uint32_t i = 1; i < 3; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_true(engine_start_wanted(in));
        assert_false(engine_start_take(in));
        assert_false(engine_start_wanted(in));
        assert_int_equal(asked, 40 * i);
        call(in, 0);
        assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
    }
    engine_module_restore(k.m, ENGINE_RESTORE_ON); /* to the state before it, then */
    for (uint32_t i = 3; i < 6; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 3);
        assert_false(engine_start_wanted(in));
        assert_int_equal(asked, 40 * i);
        call(in, 0);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    close_it();
}

/* ---- the same again? ---- */

static host_status host_answers(void *env, engine_instance *in, slot *s)
{
    asked++;
    s[0].u64 = 40;
    return HOST_DONE;
}

/* A start function that does one thing where it gets memory and another where it does not: the
 * first instance may have no more, the one it is compared with may. */
static void one_that_does_not_do_the_same_again(void **state)
{
    static const struct {
        const char *first, *again; /* what is called */
        bool same;
    } cases[] = {
        {"(drop (call $a (i32.const 1)))", "(drop (call $a (i32.const 1)))", true},
        {"(drop (call $a (i32.const 1)))", "(drop (call $a (i32.const 2)))", false},
        {"(drop (call $a (i32.const 1)))", "(drop (call $other (i32.const 1)))", false},
        {"(drop (call $a (i32.const 1)))", "", false},
        {"(drop (call $a (i32.const 1)))",
         "(drop (call $a (i32.const 1))) (drop (call $a (i32.const 1)))", false},
        {"(drop (call $a (i32.const 1)))", "unreachable", false},
        {"(drop (call $a (i32.const 1)))", "(drop (call $a (i32.const 1))) (call $wait)", false},
        {"(call $wide (i64.const 0x100000001) (i32.const 3))",
         "(call $wide (i64.const 0x100000001) (i32.const 3))", true},
        {"(call $wide (i64.const 0x100000001) (i32.const 3))",
         "(call $wide (i64.const 0x200000001) (i32.const 3))", false},
        {"(call $wide (i64.const 0x100000001) (i32.const 3))",
         "(call $wide (i64.const 0x100000001) (i32.const 4))", false},
        {"(call $real (f32.const 0.5) (f64.const 1.5))",
         "(call $real (f32.const 0.5) (f64.const 1.5))", true},
        {"(call $real (f32.const 0.5) (f64.const 1.5))",
         "(call $real (f32.const 0.25) (f64.const 1.5))", false},
        {"(call $real (f32.const 0.5) (f64.const 1.5))",
         "(call $real (f32.const 0.5) (f64.const -1.5))", false},
    };
    static const kit_import imports[] = {{"a", "i-i", {.fn = host_answers}},
                                         {"other", "i-i", {.fn = host_answers}},
                                         {"wide", "Ii-", {.fn = host_answers}},
                                         {"real", "fF-", {.fn = host_answers}},
                                         {"wait", "", {.fn = host_answers, .may_wait = true}},
                                         {0}};
    static const plan_unit unit = {.memories_count = 1, .memory_bytes_min = 65536};
    static char wat[2048];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(wat, sizeof wat,
                 "(module (import \"ebb\" \"0\" (func $a (param i32) (result i32)))"
                 " (import \"ebb\" \"1\" (func $other (param i32) (result i32)))"
                 " (import \"ebb\" \"2\" (func $wide (param i64 i32)))"
                 " (import \"ebb\" \"3\" (func $real (param f32 f64)))"
                 " (import \"ebb\" \"4\" (func $wait)) (memory (export \"m0\") 1)"
                 " (memory $more 0)"
                 " (func (export \"start\")"
                 "  (if (i32.eq (memory.grow $more (i32.const 2)) (i32.const -1))"
                 "   (then %s) (else %s)))"
                 " (func (export \"f0\") (result i32) (i32.const 1)))",
                 cases[i].first, cases[i].again);
        asked = 0;
        open_as(&unit, wat, imports);
        err e = {0};
        engine_instance *in = NULL;
        assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
        engine_instance_limit(in, 65536);
        engine_start(in);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_true(engine_start_take(in));
        engine_given given = engine_instance_give(in, now);
        assert_int_equal(asked, 1);
        if (given != (cases[i].same ? ENGINE_KEPT : ENGINE_DIFFERS))
            fail_msg("%s, then %s: %s", cases[i].first, cases[i].again,
                     engine_module_difference(k.m));
        if (!cases[i].same)
            assert_string_equal(engine_module_difference(k.m),
                                "the start function, asked again, does not the same (0, 0)");
        close_it();
    }
}

/* ---- what can't be ---- */

static host_status host_waits_once(void *env, engine_instance *in, slot *s)
{
    return ++asked % 2 ? HOST_WAIT : HOST_DONE;
}

static void one_that_waits_runs_each_time(void **state)
{
    static const kit_import imports[] = {{"a", "-i", {.fn = host_answers}},
                                         {"w", "", {.fn = host_waits_once, .may_wait = true}},
                                         {0}};
    static const plan_unit unit = {.memories_count = 1};
    for (int order = 0; order < 3; order++) {
        static const char *const bodies[] = {"(call $w) (drop (call $a))",
                                             "(drop (call $a)) (call $w)", "(call $w)"};
        static char wat[512];
        snprintf(wat, sizeof wat,
                 "(module (import \"ebb\" \"0\" (func $a (result i32)))"
                 " (import \"ebb\" \"1\" (func $w)) (memory (export \"m0\") 1)"
                 " (func (export \"start\") %s) (func (export \"f0\") (result i32) (i32.const 1)))",
                 bodies[order]);
        asked = 0;
        open_as(&unit, wat, imports);
        for (int i = 0; i < 3; i++) {
            err e = {0};
            engine_instance *in = NULL;
            asked = order == 1; /* so that the next wait waits */
            assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
            engine_start(in);
            engine_status s;
            while ((s = kit_run(in)) == ENGINE_WAIT)
                ;
            assert_int_equal(s, ENGINE_DONE);
            assert_true(engine_start_wanted(in));
            assert_false(engine_start_take(in));
            call(in, 0);
            assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
        }
        close_it();
    }
}

/* A global that holds a reference can't be put back, whether the start function asks or not. */
static void references_are_not_kept(void **state)
{
    static const kit_import imports[] = {{"a", "-i", {.fn = host_answers}}, {0}};
    static const plan_unit unit = {.memories_count = 1, .globals_count = 1};
    for (int asks = 0; asks < 2; asks++) {
        static char wat[512];
        snprintf(wat, sizeof wat,
                 "(module (import \"ebb\" \"0\" (func $a (result i32)))"
                 " (memory (export \"m0\") 1) (global (export \"g0\") (mut externref)"
                 "  (ref.null extern)) (func (export \"start\") %s)"
                 " (func (export \"f0\") (result i32) (i32.const 1)))",
                 asks ? "(drop (call $a))" : "");
        asked = 0;
        open_as(&unit, wat, imports);
        for (int i = 0; i < 3; i++) {
            engine_instance *in = kit_instance(&k, NULL);
            assert_int_equal(engine_start_wanted(in), asks);
            if (asks)
                assert_false(engine_start_take(in));
            call(in, 0);
            assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
        }
        close_it();
    }
}

static host_status host_allocates(void *env, engine_instance *in, slot *s)
{
    uint32_t at;
    asked++;
    if (!engine_realloc(in, 0, 1, 8, &at))
        return HOST_TRAP;
    s[0].u64 = at;
    return HOST_DONE;
}

/* What a guest's allocator asks of its own instance is a part of the call that allocates. */
static void calls_inside_a_call_are_part_of_it(void **state)
{
    static const char wat[] =
        "(module (import \"ebb\" \"0\" (func $allocates (result i32)))"
        " (import \"ebb\" \"1\" (func $inside (result i32))) (memory (export \"m0\") 1)"
        " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
        "  (i32.store (i32.const 512) (call $inside)) (i32.const 256))"
        " (func (export \"start\") (i32.store (i32.const 16) (call $allocates)))"
        " (func (export \"f0\") (result i32)"
        "  (i32.add (i32.load (i32.const 16)) (i32.load (i32.const 512)))))";
    static const kit_import imports[] = {{"allocates", "-i", {.fn = host_allocates}},
                                         {"inside", "-i", {.fn = host_answers, .inside = true}},
                                         {0}};
    static const plan_unit unit = {.memories_count = 1, .reallocs_count = 1};
    asked = 0;
    open_as(&unit, wat, imports);
    for (int i = 0; i < 3; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        if (i == 0)
            assert_true(engine_start_take(in));
        assert_int_equal(call(in, 0), 256 + 40);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
        assert_int_equal(asked, 2);
    }
    close_it();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_the_host_changed),
        cmocka_unit_test(a_record_is_of_bytes),
        cmocka_unit_test(a_record_has_a_limit),
        cmocka_unit_test(one_that_does_not_do_the_same_again),
        cmocka_unit_test(one_that_waits_runs_each_time),
        cmocka_unit_test(references_are_not_kept),
        cmocka_unit_test(calls_inside_a_call_are_part_of_it),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
