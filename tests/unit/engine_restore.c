/* Restoring instances in place: what is put back, when an instance is freed instead, and that the
 * comparison with a new one sees what was not put back. The modules are written as the flattener
 * writes them: memories, sizes, set globals and tables exported by number. */
#include "engine_kit.h"

/* f0: how often this memory and this global were counted up, as 16 bits each.
 * f1(n): writes a byte to each of the first n pages. f2(n): grows by n pages, answers the old size.
 * f3(address): writes one byte. f4: traps. f5: counts and answers through the table. */
static const char counter[] =
    "(module"
    " (memory (export \"m0\") 2)"
    " (global $count (export \"g0\") (mut i32) (i32.const 0))"
    " (global $size (export \"g1\") (export \"s0\") (mut i32) (i32.const 2))"
    " (global $wide (export \"g2\") (mut i64) (i64.const -5))"
    " (table (export \"t0\") 4 funcref) (elem (i32.const 1) $one)"
    " (data (i32.const 4096) \"image\")"
    " (func $one (result i32) i32.const 1)"
    " (func $grow (param i32) (result i32) (local $old i32) (local $want i32)"
    "  (local.set $old (global.get $size))"
    "  (local.set $want (i32.add (local.get $old) (local.get 0)))"
    "  (if (i32.gt_u (local.get $want) (memory.size))"
    "   (then (if (i32.eq (memory.grow (i32.sub (local.get $want) (memory.size))) (i32.const -1))"
    "    (then (return (i32.const -1))))))"
    "  (global.set $size (local.get $want)) (local.get $old))"
    " (func (export \"f0\") (result i32)"
    "  (i32.store (i32.const 65536) (i32.add (i32.load (i32.const 65536)) (i32.const 1)))"
    "  (i32.store8 (i32.const 4096) (i32.const 73))"
    "  (global.set $count (i32.add (global.get $count) (i32.const 1)))"
    "  (global.set $wide (i64.const 7))"
    "  (i32.or (i32.shl (i32.load (i32.const 65536)) (i32.const 16)) (global.get $count)))"
    " (func (export \"f1\") (param i32)"
    "  (loop (if (local.get 0) (then (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
    "   (i32.store8 (i32.mul (local.get 0) (i32.const 4096)) (i32.const 1)) (br 1)))))"
    " (func (export \"f2\") (param i32) (result i32) (call $grow (local.get 0)))"
    " (func (export \"f3\") (param i32) (i32.store8 (local.get 0) (i32.const 9)))"
    " (func (export \"f4\") unreachable)"
    " (func (export \"f5\") (result i32) (call_indirect (result i32) (i32.const 1))))";

static const char *const lifts[] = {"-i", "i", "i-i", "i", "", "-i", NULL};
enum { COUNT, TOUCH, GROW, WRITE, TRAP, INDIRECT };
enum { ONCE = 1 << 16 | 1 };

static kit_module k;
static ns now = 1000 * NS_PER_S;
static const engine_restoring checked = {.check_every = 1, .kept_max = 10};

static void open_as(const engine_restoring *r, const char *wat)
{
    engine_restoring_set(kit_engine, r);
    k = (kit_module){.unit = {.memories_count = 1,
                              .globals_count = 3,
                              .tables_count = 1,
                              .sized_memories = 1,
                              .memory_bytes_min = 131072}};
    kit_open(&k, wat, NULL, lifts);
}

static void close_it(void)
{
    engine_module_close(k.m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

static engine_status run(engine_instance *in, uint32_t lift, uint32_t arg, uint32_t *ret)
{
    slot s[4] = {{.u64 = arg}};
    engine_call(in, lift, s);
    engine_status status = kit_run(in);
    if (ret)
        *ret = s[0].u32;
    return status;
}

static uint32_t value(engine_instance *in, uint32_t lift, uint32_t arg)
{
    uint32_t v = 0;
    assert_int_equal(run(in, lift, arg, &v), ENGINE_DONE);
    return v;
}

/* One whole call on an instance of its own. */
static engine_given call_given(uint32_t lift, uint32_t arg, bool *ret_kept)
{
    engine_instance *in = kit_instance(&k, NULL);
    if (ret_kept)
        *ret_kept = engine_instance_kept(in);
    value(in, lift, arg);
    return engine_instance_give(in, now);
}

static void a_restored_instance_is_as_new(void **state)
{
    bool kept;
    open_as(&checked, counter);
    for (int i = 0; i < 20; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 0);
        assert_int_equal(value(in, COUNT, 0), ONCE);
        assert_int_equal(value(in, COUNT, 0), 2 << 16 | 2);
        assert_int_equal(value(in, INDIRECT, 0), 1);
        size_t size;
        assert_int_equal(engine_memory(in, 0, &size)[4096], 'I');
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
        assert_int_equal(engine_kept_count(kit_engine), 1);
        engine_instance *next = kit_instance(&k, NULL);
        assert_memory_equal(engine_memory(next, 0, &size) + 4096, "image", 6);
        assert_int_equal(engine_cpu_ns(next) > 10 * NS_PER_S, 0);
        assert_int_equal(engine_instance_give(next, now), ENGINE_KEPT);
    }
    assert_int_equal(call_given(COUNT, 0, &kept), ENGINE_KEPT);
    assert_true(kept);
    close_it();
}

static void pagemap_serves_where_the_ioctl_is_missing(void **state)
{
    engine_restoring r = checked;
    r.mode = ENGINE_RESTORE_PAGEMAP;
    open_as(&r, counter);
    assert_false(engine_restoring_usual(kit_engine));
    assert_non_null(strstr(engine_restoring_says(kit_engine), "pagemap"));
    for (int i = 0; i < 20; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 0);
        assert_int_equal(value(in, COUNT, 0), ONCE);
        value(in, TOUCH, 20);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    close_it();
}

static void the_check_sees_memory_not_put_back(void **state)
{
    engine_restoring r = checked;
    bool kept;
    r.skip = ENGINE_SKIP_MEMORY;
    open_as(&r, counter);
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_DIFFERS);
    assert_string_equal(engine_module_difference(k.m), "memory 0 differs from byte 4096 on");
    assert_int_equal(engine_kept_count(kit_engine), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(call_given(COUNT, 0, &kept), ENGINE_FREED); /* off from now on */
        assert_false(kept);
    }
    close_it();
}

static void the_check_sees_globals_not_put_back(void **state)
{
    engine_restoring r = checked;
    r.skip = ENGINE_SKIP_GLOBALS;
    open_as(&r, counter);
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_DIFFERS);
    assert_string_equal(engine_module_difference(k.m), "global 0 has the value 0x1");
    close_it();
    /* and one of 64 bits, when it is the only one */
    open_as(&r, counter);
    assert_int_equal(call_given(GROW, 1, NULL), ENGINE_DIFFERS);
    close_it();
}

static void the_check_is_sampled(void **state)
{
    engine_restoring r = {.check_every = 5, .kept_max = 10, .skip = ENGINE_SKIP_MEMORY};
    open_as(&r, counter);
    /* the first call is never hot, the restore after it is the first of five: it is compared, which
     * reads all its pages, and so it is not kept */
    assert_int_equal(call_given(INDIRECT, 0, NULL), ENGINE_FREED);
    assert_int_equal(call_given(INDIRECT, 0, NULL), ENGINE_FREED);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_KEPT);
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_DIFFERS);
    close_it();
}

/* Without a page fault since the last look nothing can have become private: what was found then is
 * put back. With one, somebody looks again. */
static void it_is_looked_for_pages_only_after_faults(void **state)
{
    engine_restoring r = {.check_every = 0, .kept_max = 10};
    open_as(&r, counter);
    for (int i = 0; i < 4; i++)
        call_given(TOUCH, 2, NULL);
    uint32_t scans = engine_scans(kit_engine);
    for (int i = 0; i < 20; i++)
        assert_int_equal(call_given(TOUCH, 2, NULL), ENGINE_KEPT);
#if !defined(__SANITIZE_ADDRESS__) /* whose own memory faults in nearly every call */
    assert_in_range(engine_scans(kit_engine) - scans, 0, 10); /* the test itself may fault */
#endif
    for (uint32_t pages = 3; pages < 19; pages++) {
        assert_int_equal(call_given(TOUCH, pages, NULL), ENGINE_KEPT);
        assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_KEPT);
        bool kept;
        size_t size;
        engine_instance *in = kit_instance(&k, NULL);
        kept = engine_instance_kept(in);
        const uint8_t *p = engine_memory(in, 0, &size);
        for (uint32_t i = 0; i < pages; i++)
            assert_int_equal(p[4096 * i], i == 1 ? 'i' : 0);
        assert_int_equal(value(in, COUNT, 0), ONCE);
        assert_true(kept);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    assert_in_range(engine_scans(kit_engine) - scans, 16, 60);
    close_it();
}

static void growing_is_put_back(void **state)
{
    open_as(&checked, counter);
    for (uint32_t i = 0; i < 10; i++) {
        size_t size;
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 0);
        engine_memory(in, 0, &size);
        assert_int_equal(size, 131072);
        assert_int_equal(engine_memory_bytes(in), 131072);
        assert_int_equal(value(in, GROW, 1 + i % 3), 2);
        assert_int_equal(value(in, GROW, 1), 3 + i % 3);
        engine_memory(in, 0, &size);
        assert_int_equal(size, (size_t)(4 + i % 3) * 65536);
        assert_int_equal(engine_memory(in, 0, &size)[131072], 0);
        value(in, WRITE, 131072);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    /* beyond its limit it fails as ever */
    engine_instance *in = kit_instance(&k, NULL);
    assert_int_equal(value(in, GROW, 2000), UINT32_MAX);
    assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    /* by very much: not kept */
    assert_int_equal(call_given(GROW, 300, NULL), ENGINE_FREED);
    close_it();
    /* without a size of its own nothing can be put back */
    open_as(&checked, counter);
    k.unit.sized_memories = 0;
    assert_int_equal(call_given(GROW, 1, NULL), ENGINE_FREED);
    close_it();
}

static void writing_above_the_size_ends_restoring(void **state)
{
    open_as(&checked, counter);
    engine_instance *in = kit_instance(&k, NULL);
    assert_int_equal(run(in, WRITE, 131072, NULL), ENGINE_TRAP); /* a new one: a trap */
    engine_instance_free(in);
    assert_int_equal(call_given(GROW, 1, NULL), ENGINE_KEPT);
    in = kit_instance(&k, NULL);
    assert_true(engine_instance_kept(in));
    assert_int_equal(run(in, WRITE, 131072, NULL), ENGINE_DONE);
    assert_int_equal(engine_instance_give(in, now), ENGINE_DIFFERS);
    assert_non_null(strstr(engine_module_difference(k.m), "above the end"));
    in = kit_instance(&k, NULL);
    assert_int_equal(run(in, WRITE, 131072, NULL), ENGINE_TRAP);
    engine_instance_free(in);
    close_it();
}

static void what_ended_badly_is_freed(void **state)
{
    bool kept;
    open_as(&checked, counter);
    engine_instance *in = kit_instance(&k, NULL);
    value(in, COUNT, 0);
    assert_int_equal(run(in, TRAP, 0, NULL), ENGINE_TRAP);
    assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
    slot s[4] = {{0}}; /* begun and not over */
    in = kit_instance(&k, NULL);
    engine_call(in, COUNT, s);
    assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
    assert_int_equal(call_given(COUNT, 0, &kept), ENGINE_KEPT);
    assert_false(kept);
    close_it();
}

static void some_modules_are_never_restored(void **state)
{
    static const char reference[] =
        "(module (memory (export \"m0\") 2) (global (export \"g0\") (mut funcref) (ref.null func))"
        " (global (export \"g1\") (export \"s0\") (mut i32) (i32.const 2))"
        " (global (export \"g2\") (mut i64) (i64.const 0)) (table (export \"t0\") 1 funcref)"
        " (func (export \"start\")) (func (export \"f0\") (result i32) i32.const 1))";
    for (int i = 0; i < 7; i++) {
        open_as(&checked, i == 4 || i == 6 ? reference : counter);
        k.unit.has_start = i == 6; /* whose state can't be the twin's */
        k.unit.mutates_tables = i == 0;
        k.unit.passive_segments = i == 1;
        if (i == 2)
            engine_module_restore(k.m, ENGINE_RESTORE_OFF);
        engine_restoring never = checked;
        never.mode = ENGINE_RESTORE_NEVER;
        if (i == 3)
            engine_restoring_set(kit_engine, &never);
        for (int n = 0; n < 3; n++)
            assert_int_equal(call_given(COUNT, 0, NULL), i == 5 ? ENGINE_KEPT : ENGINE_FREED);
        if (i == 3)
            assert_non_null(strstr(engine_restoring_says(kit_engine), "new one"));
        close_it();
    }
}

static void swollen_instances_go(void **state)
{
    open_as(&checked, counter);
    for (int i = 0; i < 4; i++)
        assert_int_equal(call_given(TOUCH, 2, NULL), ENGINE_KEPT);
    assert_int_equal(call_given(TOUCH, 18, NULL), ENGINE_KEPT); /* some slack */
    assert_int_equal(call_given(TOUCH, 30, NULL), ENGINE_FREED);
    close_it();
}

static void only_hot_modules_keep(void **state)
{
    engine_restoring r = {.kept_max = 10};
    open_as(&r, counter);
    for (int i = 0; i < 5; i++, now += NS_PER_S)
        assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_FREED);
    now += NS_PER_S;
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_FREED);
    now += NS_PER_MS;
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_KEPT);
    close_it();
}

static void idle_ones_go(void **state)
{
    enum { AT_ONCE = 66, EACH = 64 };
    engine_restoring r = {.check_every = 1, .kept_max = 100};
    engine_instance *in[AT_ONCE];
    open_as(&r, counter);
    for (int i = 0; i < AT_ONCE; i++)
        in[i] = kit_instance(&k, NULL);
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(engine_instance_give(in[i], now), i < EACH ? ENGINE_KEPT : ENGINE_FREED);
    now += NS_PER_S;
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_KEPT);
    now += NS_PER_S;
    /* all but one were idle for two seconds, that one for one */
    assert_int_equal(engine_kept_expire(kit_engine, now, 2 * NS_PER_S), now + NS_PER_S);
    assert_int_equal(engine_kept_count(kit_engine), 1);
    now += NS_PER_S;
    assert_int_equal(engine_kept_expire(kit_engine, now, 2 * NS_PER_S), 0);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    close_it();
}

static void limits_and_modules_stay_apart(void **state)
{
    err e;
    engine_instance *in;
    open_as(&checked, counter);
    assert_int_equal(call_given(COUNT, 0, NULL), ENGINE_KEPT);
    engine_limits other = kit_limits;
    other.memory_bytes_max /= 2;
    assert_true(engine_instance_new(k.m, &other, NULL, &in, &e));
    assert_false(engine_instance_kept(in));
    engine_instance_free(in);
    kit_module first = k;
    first.unit.lifts = first.lifts;
    open_as(&checked, counter);
    in = kit_instance(&k, NULL);
    assert_false(engine_instance_kept(in));
    assert_int_equal(value(in, COUNT, 0), ONCE);
    engine_instance_free(in);
    engine_module_close(k.m);
    assert_int_equal(engine_kept_count(kit_engine), 1);
    engine_module_close(first.m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

/* Kept instances are in nobody's way. */
static void calls_come_before_kept_ones(void **state)
{
    enum { ALL = 300 };
    static engine_instance *in[ALL];
    open_as(&checked, counter);
    for (int i = 0; i < 4; i++)
        in[i] = kit_instance(&k, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(engine_instance_give(in[i], now), ENGINE_KEPT);
    kit_module first = k;
    open_as(&checked, counter);
    for (int i = 0; i < ALL; i++)
        in[i] = kit_instance(&k, NULL);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    for (int i = 0; i < ALL; i++)
        engine_instance_free(in[i]);
    engine_module_close(first.m);
    close_it();
}

static uint32_t clock_reads;

static host_status read_clock(void *env, engine_instance *in, slot *s)
{
    s[0].u64 = ++clock_reads;
    return HOST_DONE;
}

/* What a start function reads is never frozen: it runs for each call. */
static void start_runs_for_each_call(void **state)
{
    static const char start[] =
        "(module (import \"ebb\" \"0\" (func $clock (result i32)))"
        " (memory (export \"m0\") 1) (global $g (export \"g0\") (mut i32) (i32.const 0))"
        " (func (export \"start\") (global.set $g (call $clock))"
        "  (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))))"
        " (func (export \"f0\") (result i32)"
        "  (i32.add (global.get $g) (i32.mul (i32.load (i32.const 8)) (i32.const 1000)))))";
    static const kit_import imports[] = {{"clock", "-i", {.fn = read_clock}}, {0}};
    static const char *const one[] = {"-i", NULL};
    engine_restoring_set(kit_engine, &checked);
    for (int late = 0; late < 2; late++) {
        clock_reads = 0;
        k = (kit_module){.unit = {.memories_count = 1,
                                  .globals_count = 1,
                                  .has_start = true,
                                  .start_segments = late}};
        kit_open(&k, start, imports, one);
        for (uint32_t i = 1; i < 10; i++) {
            engine_instance *in = kit_instance(&k, NULL);
            assert_int_equal(engine_instance_kept(in), i > 1 && !late);
            assert_int_equal(value(in, COUNT, 0), 1000 + i);
            assert_int_equal(engine_instance_give(in, now), late ? ENGINE_FREED : ENGINE_KEPT);
        }
        close_it();
    }
}

/* Writes what it answers into memory too, with an allocation in the guest, as a list is given. */
static host_status read_seed(void *env, engine_instance *in, slot *s)
{
    size_t size;
    uint32_t at;
    clock_reads++;
    if (!engine_realloc(in, 0, 1, 4, &at))
        return HOST_TRAP;
    memcpy(engine_memory(in, 0, &size) + at, &clock_reads, 4);
    s[0].u64 = at;
    return HOST_DONE;
}

/* start: grows the memory, asks twice, keeps the second answer at 8, where the first lies at 12,
 * and how often it ran at 16, and writes to a page that it depends on. f0: answers and counts up
 * what it was given. f1(n): as in `counter`.
 */
static const char asking[] =
    "(module (import \"ebb\" \"0\" (func $seed (param i32) (result i32)))"
    " (memory (export \"m0\") 1) (global $top (export \"g0\") (mut i32) (i32.const 1024))"
    " (global $size (export \"g1\") (export \"s0\") (mut i32) (i32.const 1))"
    " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
    "  (global.set $top (i32.add (global.get $top) (local.get 3)))"
    "  (i32.sub (global.get $top) (local.get 3)))"
    " (func (export \"start\")"
    "  (drop (memory.grow (i32.const 1))) (global.set $size (i32.const 2))"
    "  (i32.store (i32.const 70000) (i32.const 77))"
    "  (i32.store (i32.const 12) (call $seed (i32.const 1)))"
    "  (i32.store (i32.const 8) (i32.load (call $seed (i32.const 2))))"
    "  (i32.store (i32.mul (i32.const 8192) (i32.and (i32.const 7) (i32.load (i32.const 8))))"
    "   (i32.const 55))"
    "  (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1))))"
    " (func (export \"f0\") (result i32)"
    "  (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))"
    "  (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (i32.const 1)))"
    "  (i32.add (i32.mul (i32.const 1000) (i32.load (i32.const 70000))) (i32.load (i32.const 8))))"
    " (func (export \"f1\") (param i32)"
    "  (loop (if (local.get 0) (then (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
    "   (i32.store8 (i32.add (i32.const 20) (i32.mul (local.get 0) (i32.const 4096)))"
    "    (i32.const 1)) (br 1))))))";

static void asking_open(const engine_restoring *r, engine_host_fn fn)
{
    const kit_import imports[] = {{"seed", "i-i", {.fn = fn, .inside = true}}, {0}};
    static const char *const two[] = {"-i", "i", NULL};
    engine_restoring_set(kit_engine, r);
    clock_reads = 0;
    k = (kit_module){.unit = {.memories_count = 1,
                              .globals_count = 2,
                              .reallocs_count = 1,
                              .sized_memories = 1,
                              .memory_bytes_min = 65536,
                              .has_start = true}};
    kit_open(&k, asking, imports, two);
    engine_module_restore(k.m, ENGINE_RESTORE_AFTER_START);
}

/* What the start function read stays, and nothing else: compared with an instance that is started
 * with the recorded answers. */
static void the_state_after_start_is_restored(void **state)
{
    asking_open(&checked, read_seed);
    for (uint32_t i = 0; i < 10; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 0);
        assert_int_equal(engine_instance_after_start(in), i > 0);
        assert_int_equal(engine_start_wanted(in), i == 0);
        if (i == 0)
            assert_true(engine_start_take(in));
        assert_int_equal(engine_memory_bytes(in), 131072);
        assert_int_equal(value(in, COUNT, 0), 78003); /* 77 + 1, the second answer + 1 */
        assert_int_equal(value(in, COUNT, 0), 79004);
        assert_int_equal(run(in, TOUCH, i, NULL), ENGINE_DONE);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
        assert_int_equal(clock_reads, 2);
    }
    /* One whose own start function ran at the same time takes the state of the first. */
    engine_instance *first = kit_instance(&k, NULL), *second = kit_instance(&k, NULL);
    assert_false(engine_instance_kept(second));
    assert_false(engine_start_wanted(second));
    assert_int_equal(value(second, COUNT, 0), 78005);
    assert_int_equal(engine_instance_give(second, now), ENGINE_KEPT);
    second = kit_instance(&k, NULL);
    assert_true(engine_instance_kept(second));
    assert_int_equal(value(second, COUNT, 0), 78003);
    assert_int_equal(engine_instance_give(second, now), ENGINE_KEPT);
    assert_int_equal(engine_instance_give(first, now), ENGINE_KEPT);
    /* After idle time it starts anew. */
    engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S / 2);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    first = kit_instance(&k, NULL);
    assert_true(engine_start_wanted(first));
    assert_true(engine_start_take(first));
    assert_int_equal(value(first, COUNT, 0), 78007);
    assert_int_equal(engine_instance_give(first, now), ENGINE_KEPT);
    close_it();
}

/* As kit_instance, but nothing has run. */
static engine_instance *instance_begun(void)
{
    engine_instance *in;
    err e;
    assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
    engine_start(in);
    return in;
}

/* Meanwhile nobody else called for so long that the state was let go, and the next call brought
 * another: what a start function read is never mixed. */
static void a_call_that_outlives_its_state_is_not_restored(void **state)
{
    asking_open(&checked, read_seed);
    engine_instance *in = kit_instance(&k, NULL);
    assert_true(engine_start_take(in));
    assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    engine_instance *lasting[2];
    for (int i = 0; i < 2; i++) {
        lasting[i] = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(lasting[i]), i == 0);
    }
    engine_instance_free(lasting[1]);
    engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S / 2);
    in = kit_instance(&k, NULL);
    assert_true(engine_start_take(in));
    assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    assert_int_equal(value(lasting[0], COUNT, 0), 78003);
    assert_int_equal(engine_instance_give(lasting[0], now), ENGINE_FREED);
    in = kit_instance(&k, NULL);
    assert_true(engine_instance_kept(in));
    assert_int_equal(value(in, COUNT, 0), 78007);
    assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    assert_string_equal(engine_module_difference(k.m), "");
    /* Nor where there is none: a call that had not begun does so in the state it was given. */
    lasting[0] = instance_begun();
    engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S / 2);
    assert_int_equal(kit_run(lasting[0]), ENGINE_DONE);
    assert_int_equal(value(lasting[0], COUNT, 0), 78007);
    assert_int_equal(engine_instance_give(lasting[0], now), ENGINE_FREED);
    close_it();
}

static void the_check_sees_a_state_after_start_not_put_back(void **state)
{
    engine_restoring r = checked;
    r.skip = ENGINE_SKIP_MEMORY;
    asking_open(&r, read_seed);
    engine_instance *in = kit_instance(&k, NULL);
    assert_true(engine_start_take(in));
    value(in, COUNT, 0);
    assert_int_equal(engine_instance_give(in, now), ENGINE_DIFFERS);
    assert_non_null(strstr(engine_module_difference(k.m), "memory 0 differs from byte 8 on"));
    close_it();
}

/* Nobody takes the state: the start function runs for each call. */
static void without_its_state_a_start_function_runs(void **state)
{
    asking_open(&checked, read_seed);
    for (uint32_t i = 1; i < 4; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_true(engine_start_wanted(in));
        engine_module_restore(k.m, ENGINE_RESTORE_AFTER_START);
        assert_int_equal(value(in, COUNT, 0), 78001 + 2 * i);
        assert_int_equal(engine_instance_give(in, now), ENGINE_FREED);
    }
    engine_module_restore(k.m, ENGINE_RESTORE_ON);
    for (uint32_t i = 4; i < 8; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_false(engine_start_wanted(in));
        assert_int_equal(value(in, COUNT, 0), 78001 + 2 * i);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    close_it();
}

/* One that asks nothing comes to the same state each time: it need not run again. */
static void a_start_function_that_asks_nothing_runs_once(void **state)
{
    static const char start[] =
        "(module (memory (export \"m0\") 1)"
        " (func (export \"start\")"
        "  (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))))"
        " (func (export \"f0\") (result i32) (i32.store8 (i32.const 9) (i32.const 7))"
        "  (i32.load16_u (i32.const 8))))";
    static const char *const one[] = {"-i", NULL};
    engine_restoring_set(kit_engine, &checked);
    k = (kit_module){.unit = {.memories_count = 1, .has_start = true}};
    kit_open(&k, start, NULL, one);
    for (uint32_t i = 0; i < 5; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_after_start(in), i > 0);
        assert_int_equal(value(in, COUNT, 0), 1 + 7 * 256);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
    }
    close_it();
}

static void settings_are_words(void **state)
{
    err e;
    engine_restoring r = {.check_every = 10000, .kept_max = 5};
    assert_true(engine_restoring_parse(S(""), &r, &e));
    assert_int_equal(r.check_every, 10000);
    assert_true(engine_restoring_parse(S("pagemap,check=1,skip=memory,skip=globals"), &r, &e));
    assert_int_equal(r.mode, ENGINE_RESTORE_PAGEMAP);
    assert_int_equal(r.check_every, 1);
    assert_int_equal(r.skip, ENGINE_SKIP_MEMORY | ENGINE_SKIP_GLOBALS);
    assert_int_equal(r.kept_max, 5);
    assert_true(engine_restoring_parse(S("never"), &r, &e));
    assert_int_equal(r.mode, ENGINE_RESTORE_NEVER);
    static const char *const wrong[] = {"sometimes", "check=", "check=x", "auto,,",
                                        "check=99999999999"};
    for (size_t i = 0; i < 5; i++) {
        assert_false(engine_restoring_parse(str_from(wrong[i]), &r, &e));
        assert_non_null(strstr(e.text, "auto, pagemap or never"));
    }
    assert_int_equal(r.mode, ENGINE_RESTORE_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_instance_is_as_new),
        cmocka_unit_test(pagemap_serves_where_the_ioctl_is_missing),
        cmocka_unit_test(the_check_sees_memory_not_put_back),
        cmocka_unit_test(the_check_sees_globals_not_put_back),
        cmocka_unit_test(the_check_is_sampled),
        cmocka_unit_test(it_is_looked_for_pages_only_after_faults),
        cmocka_unit_test(growing_is_put_back),
        cmocka_unit_test(writing_above_the_size_ends_restoring),
        cmocka_unit_test(what_ended_badly_is_freed),
        cmocka_unit_test(some_modules_are_never_restored),
        cmocka_unit_test(swollen_instances_go),
        cmocka_unit_test(only_hot_modules_keep),
        cmocka_unit_test(idle_ones_go),
        cmocka_unit_test(limits_and_modules_stay_apart),
        cmocka_unit_test(calls_come_before_kept_ones),
        cmocka_unit_test(start_runs_for_each_call),
        cmocka_unit_test(the_state_after_start_is_restored),
        cmocka_unit_test(a_call_that_outlives_its_state_is_not_restored),
        cmocka_unit_test(the_check_sees_a_state_after_start_not_put_back),
        cmocka_unit_test(without_its_state_a_start_function_runs),
        cmocka_unit_test(a_start_function_that_asks_nothing_runs_once),
        cmocka_unit_test(settings_are_words),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
