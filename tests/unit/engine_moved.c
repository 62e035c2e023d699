/* engine/: new instances that get the pages of earlier ones: they are new in every byte, and in all
 * that is no page of the first memory. */
#include "engine_kit.h"

enum { PAGE = 4096, BORN = 5 * 65536, PAGES = BORN / PAGE };
enum { STARTED = 200000 }; /* where the start function counts */

/* f0(v): fills all memory with v, sets the global and clears the table. f1(n): grows by n and fills
 * what it got. f2(address): reads. f3: traps. f4: the global. f5(n): writes to each of the first n
 * pages. f6: is the table's element 1 null? */
static const char wat[] =
    "(module"
    " (memory (export \"m0\") 5)"
    " (global $size (export \"g0\") (export \"s0\") (mut i32) (i32.const 5))"
    " (global $secret (export \"g1\") (mut i32) (i32.const 3))"
    " (table $t (export \"t0\") 4 funcref) (elem (table $t) (i32.const 1) func $one)"
    " (data (i32.const 81920) \"image\") (data (i32.const 163840) \"second\")"
    " (func $one)"
    " (func (export \"start\")"
    "  (i32.store (i32.const 200000) (i32.add (i32.load (i32.const 200000)) (i32.const 1))))"
    " (func (export \"f0\") (param i32)"
    "  (memory.fill (i32.const 0) (local.get 0) (i32.mul (global.get $size) (i32.const 65536)))"
    "  (global.set $secret (local.get 0)) (table.set $t (i32.const 1) (ref.null func)))"
    " (func (export \"f1\") (param i32) (local $old i32)"
    "  (local.set $old (memory.grow (local.get 0)))"
    "  (global.set $size (i32.add (local.get $old) (local.get 0)))"
    "  (memory.fill (i32.mul (local.get $old) (i32.const 65536)) (i32.const 9)"
    "   (i32.mul (local.get 0) (i32.const 65536))))"
    " (func (export \"f2\") (param i32) (result i32) (i32.load8_u (local.get 0)))"
    " (func (export \"f3\") unreachable)"
    " (func (export \"f4\") (result i32) (global.get $secret))"
    " (func (export \"f5\") (param i32)"
    "  (loop (if (local.get 0) (then (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
    "   (i32.store8 (i32.mul (local.get 0) (i32.const 4096)) (i32.const 1)) (br 1)))))"
    " (func (export \"f6\") (result i32) (ref.is_null (table.get $t (i32.const 1)))))";
static const char *const lifts[] = {"i", "i", "i-i", "", "-i", "i", "-i", NULL};
enum { FILL, GROW, LOOK, TRAP, SECRET, TOUCH, CLEARED };

static kit_module k;
static ns now = 1000 * NS_PER_S;
static const engine_restoring checked = {.check_every = 1, .kept_max = 10};
static const engine_restoring unchecked = {.check_every = 1000000, .kept_max = 10};

static void open_as(const engine_restoring *r)
{
    engine_restoring_set(kit_engine, r);
    k = (kit_module){.unit = {.memories_count = 1,
                              .globals_count = 2,
                              .tables_count = 1,
                              .sized_memories = 1,
                              .memory_bytes_min = BORN,
                              .has_start = true}};
    kit_open(&k, wat, NULL, lifts);
    engine_module_restore(k.m, ENGINE_RESTORE_OFF);
}

static void close_it(void)
{
    engine_module_close(k.m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

static bool moved; /* the last instance has pages of another one */

static engine_instance *instance(void)
{
    uint32_t moves = engine_moves(kit_engine);
    engine_instance *in = kit_instance(&k, NULL);
    moved = engine_moves(kit_engine) == moves + 1;
    return in;
}

/* An instance, called once, and what became of it. */
static engine_given called(uint32_t lift, uint32_t arg)
{
    engine_instance *in = kit_instance(&k, NULL);
    kit_call(in, lift, arg);
    return engine_instance_give(in, now);
}

/* One is kept for its pages: of the first two is learned how many they are. */
static void warm_up(uint32_t lift, uint32_t arg)
{
    engine_given given = ENGINE_FREED;
    for (int i = 0; i < 4 && given != ENGINE_KEPT; i++)
        given = called(lift, arg);
    assert_int_equal(given, ENGINE_KEPT);
    assert_int_equal(engine_kept_count(kit_engine), 1);
}

/* As after the start function of a new instance. */
static void is_new(engine_instance *in)
{
    static uint8_t born[BORN];
    size_t size;
    memcpy(born + 81920, "image", 5);
    memcpy(born + 163840, "second", 6);
    born[STARTED] = 1;
    assert_false(engine_instance_kept(in));
    assert_int_equal(engine_memory_bytes(in), BORN);
    assert_memory_equal(engine_memory(in, 0, &size), born, BORN);
    assert_int_equal(size, BORN);
    assert_int_equal(kit_call(in, SECRET, 0), 3);
    assert_int_equal(kit_call(in, CLEARED, 0), 0);
}

static void next_is_new(bool has_moved)
{
    engine_instance *in = instance();
    assert_int_equal(moved, has_moved);
    is_new(in);
    engine_instance_free(in);
}

static void new_but_for_its_pages(void **state)
{
    static const engine_restoring modes[] = {
        checked, unchecked, {ENGINE_RESTORE_PAGEMAP, .check_every = 1, .kept_max = 10}};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        open_as(&modes[m]);
        warm_up(FILL, 0xaa);
        for (uint32_t i = 0; i < 30; i++) {
            engine_instance *in = instance();
            assert_true(moved);
            is_new(in);
            kit_call(in, i % 3 ? FILL : TOUCH, i % 3 ? 0xbb : i + 30);
            if (i % 5 == 1)
                kit_call(in, GROW, 2);
            assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
            assert_int_equal(engine_kept_count(kit_engine), 1);
        }
        close_it();
    }
}

static void what_cannot_be_restored_has_its_pages_moved(void **state)
{
    open_as(&checked);
    engine_module_restore(k.m, ENGINE_RESTORE_ON);
    for (int i = 0; i < 3; i++)
        assert_int_equal(called(TOUCH, 40), ENGINE_KEPT);
    k.unit.mutates_tables = true; /* with a twin that has run its start function */
    assert_int_equal(called(FILL, 0xcc), ENGINE_FREED);
    engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S);
    warm_up(FILL, 0xcc);
    next_is_new(true);
    close_it();
}

static void what_it_grew_by_is_gone(void **state)
{
    slot s[1] = {{.u64 = BORN}};
    open_as(&checked);
    warm_up(FILL, 1);
    assert_int_equal(called(GROW, 3), ENGINE_KEPT);
    engine_instance *in = instance();
    assert_true(moved);
    is_new(in);
    engine_call(in, LOOK, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_non_null(strstr(engine_instance_trap(in)->text, "out of bounds memory access"));
    engine_instance_free(in);
    in = kit_instance(&k, NULL);
    kit_call(in, GROW, 1);
    assert_int_equal(kit_call(in, LOOK, BORN), 9);
    assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    next_is_new(true);
    close_it();
}

static void a_trap_ends_it(void **state)
{
    open_as(&checked);
    warm_up(FILL, 0xdd);
    engine_instance *in = instance();
    assert_true(moved);
    is_new(in);
    engine_call(in, TRAP, NULL);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    next_is_new(false);
    close_it();
}

static void the_check_sees_what_was_not_put_back(void **state)
{
    engine_restoring r = checked;
    r.skip = ENGINE_SKIP_MEMORY;
    open_as(&r);
    assert_int_equal(called(FILL, 0xee), ENGINE_FREED);
    assert_int_equal(called(FILL, 0xee), ENGINE_DIFFERS);
    assert_string_equal(engine_module_difference(k.m), "memory 0 differs from byte 0 on");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(called(FILL, 0xee), ENGINE_FREED);
        next_is_new(false);
    }
    uint32_t moves = engine_moves(kit_engine);
    assert_int_equal(called(FILL, 0xee), ENGINE_FREED);
    assert_int_equal(engine_moves(kit_engine), moves);
    close_it();
}

static void few_pages_are_made_anew(void **state)
{
    static const struct {
        uint32_t pages;
        engine_given given;
    } t[] = {{1, ENGINE_FREED}, {22, ENGINE_FREED}, {23, ENGINE_KEPT}, {60, ENGINE_KEPT}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) { /* and one of the start function */
        open_as(&checked);
        for (int n = 0; n < 3; n++)
            assert_int_equal(called(TOUCH, t[i].pages), n ? t[i].given : ENGINE_FREED);
        close_it();
    }
}

static void never_is_never(void **state)
{
    engine_restoring r = {ENGINE_RESTORE_NEVER, .check_every = 1, .kept_max = 10};
    uint32_t moves = engine_moves(kit_engine);
    open_as(&r);
    for (int i = 0; i < 5; i++)
        assert_int_equal(called(FILL, 1), ENGINE_FREED);
    assert_int_equal(engine_moves(kit_engine), moves);
    close_it();
}

/* Its pages are put back after every call: twice the usual number is too many. */
static void many_pages_are_given_back(void **state)
{
    open_as(&checked);
    warm_up(TOUCH, 29);
    assert_int_equal(called(TOUCH, 75), ENGINE_KEPT); /* 76 with one of the start function */
    assert_int_equal(called(TOUCH, 3), ENGINE_KEPT);  /* which are never less */
    assert_int_equal(called(TOUCH, 77), ENGINE_FREED);
    next_is_new(false);
    close_it();
}

/* What shows a module's usual pages are instances that get none. They must not pile up. */
static void only_as_many_are_kept_as_ran_at_once(void **state)
{
    open_as(&unchecked);
    warm_up(TOUCH, 40);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(called(TOUCH, 40), ENGINE_KEPT);
        assert_int_equal(engine_kept_count(kit_engine), 1);
    }
    engine_instance *in[3];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            in[i] = instance();
            assert_int_equal(moved, round > 0 || i == 0);
            is_new(in[i]);
        }
        for (int i = 0; i < 3; i++) {
            kit_call(in[i], TOUCH, (uint32_t)(40 + 5 * i));
            assert_int_equal(engine_instance_give(in[i], now), ENGINE_KEPT);
        }
        assert_int_equal(engine_kept_count(kit_engine), 3);
    }
    close_it();
}

static void they_go_after_idle_time(void **state)
{
    open_as(&checked);
    warm_up(FILL, 1);
    assert_int_equal(engine_kept_expire(kit_engine, now + 10, NS_PER_S), now + NS_PER_S);
    assert_int_equal(engine_kept_count(kit_engine), 1);
    assert_int_equal(engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S), 0);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    next_is_new(false);
    close_it();
}

/* Without a page fault nobody looks: what was found goes along with the pages. */
static void it_is_looked_for_pages_only_after_faults(void **state)
{
    open_as(&unchecked);
    warm_up(TOUCH, 40);
    for (int i = 0; i < 4; i++)
        assert_int_equal(called(TOUCH, 40), ENGINE_KEPT);
    uint32_t scans = engine_scans(kit_engine);
    for (int i = 0; i < 20; i++)
        assert_int_equal(called(TOUCH, 40), ENGINE_KEPT);
#if !defined(__SANITIZE_ADDRESS__) /* whose own memory faults in nearly every call */
    assert_in_range(engine_scans(kit_engine) - scans, 0, 10); /* the test itself may fault */
#endif
    for (uint32_t pages = 41; pages < 60; pages++) {
        assert_int_equal(called(TOUCH, pages), ENGINE_KEPT);
        engine_instance *in = instance();
        assert_true(moved);
        is_new(in);
        kit_call(in, TOUCH, 1);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    assert_true(engine_scans(kit_engine) - scans >= 19); /* once for each page more */
    close_it();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_but_for_its_pages),
        cmocka_unit_test(what_cannot_be_restored_has_its_pages_moved),
        cmocka_unit_test(what_it_grew_by_is_gone),
        cmocka_unit_test(a_trap_ends_it),
        cmocka_unit_test(the_check_sees_what_was_not_put_back),
        cmocka_unit_test(few_pages_are_made_anew),
        cmocka_unit_test(never_is_never),
        cmocka_unit_test(many_pages_are_given_back),
        cmocka_unit_test(only_as_many_are_kept_as_ran_at_once),
        cmocka_unit_test(they_go_after_idle_time),
        cmocka_unit_test(it_is_looked_for_pages_only_after_faults),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
