/* A pool of one slot: what one instance leaves there, the next one must not find. The module has a
 * memory with an image, grown pages, mutable globals of every type, and tables; a twin that was
 * never dirtied says what a new instance looks like. */
#include "unit.h"

#include "engine_kit.h"

static const char wat[] =
    "(module (memory (export \"m0\") 2 64)"
    " (data (i32.const 1024) \"an image\")"
    " (global $i (mut i32) (i32.const 11)) (global $I (mut i64) (i64.const 22))"
    " (global $f (mut f32) (f32.const 3.5)) (global $F (mut f64) (f64.const 4.5))"
    " (table $t 10 100 funcref) (table $e 5 50 externref)"
    " (elem (table $t) (i32.const 0) func $a)"
    " (func $a) (func $b)"
    " (elem declare func $b)"
    /* f0: write `n` into globals and tables, grow both */
    " (func (export \"f0\") (param i32)"
    "  (global.set $i (local.get 0)) (global.set $I (i64.extend_i32_u (local.get 0)))"
    "  (global.set $f (f32.convert_i32_u (local.get 0)))"
    "  (global.set $F (f64.convert_i32_u (local.get 0)))"
    "  (table.set $t (i32.const 0) (ref.func $b)) (table.set $t (i32.const 7) (ref.func $b))"
    "  (drop (table.grow $t (ref.func $b) (i32.const 20)))"
    "  (drop (table.grow $e (ref.null extern) (i32.const 20)))"
    "  (drop (memory.grow (i32.const 5))))"
    /* f1: what globals, tables and sizes say, folded into one number */
    " (func (export \"f1\") (result i64)"
    "  (i64.add (i64.add (i64.extend_i32_u (global.get $i)) (global.get $I))"
    "  (i64.add (i64.add (i64.trunc_f32_u (global.get $f)) (i64.trunc_f64_u (global.get $F)))"
    "  (i64.add"
    "   (i64.mul (i64.const 1000)"
    "    (i64.add (i64.extend_i32_u (table.size $t)) (i64.extend_i32_u (table.size $e))))"
    "   (i64.add"
    "    (i64.mul (i64.const 1000000) (i64.extend_i32_u (memory.size)))"
    "    (i64.mul (i64.const 100000000) (i64.extend_i32_u"
    "     (ref.is_null (table.get $t (i32.const 7)))))))))))";

enum { FRESH = 11 + 22 + 3 + 4 + 1000 * 15 + 1000000 * 2 + 100000000, ROUNDS = 200 };

static engine *one;
static kit_module k;

static int begin(void **state)
{
    err e;
    engine_config c = engine_config_default();
    c.instances_max = 1;
    c.restoring.kept_max = 0; /* and no twin beside it */
    if (!engine_new(&c, &one, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    kit_engine = one;
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], NULL, &kit_handlers[i]);
    return mkdtemp(kit_dir) ? 0 : -1;
}

static int64_t fold(engine_instance *in)
{
    slot s[1] = {0};
    engine_call(in, 1, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    return s[0].i64;
}

/* Everything but the image is zero, to the end of what the slot may hold. */
static void assert_new(engine_instance *in)
{
    size_t size;
    const uint8_t *m = engine_memory(in, 0, &size);
    assert_int_equal(size, 2 * 65536);
    assert_memory_equal(m + 1024, "an image", 8);
    for (size_t i = 0; i < size; i++)
        if (m[i] && (i < 1024 || i >= 1032))
            fail_msg("byte %zu of a new instance is %u", i, m[i]);
    assert_int_equal(fold(in), FRESH);
}

static void dirty(engine_instance *in, uint32_t n)
{
    slot s[1] = {{.u32 = n}};
    size_t size;
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    uint8_t *m = engine_memory(in, 0, &size);
    assert_int_equal(size, 7 * 65536);
    memset(m, (int)(n | 1), size);
    assert_int_not_equal(fold(in), FRESH);
}

static void nothing_stays_in_the_slot(void **state)
{
    uint8_t *base = NULL;
    err e;
    kit_open(&k, wat, NULL, (const char *const[]){"i-", "-I", NULL});
    k.unit.memories_count = 1;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        engine_instance *in = kit_instance(&k, NULL), *another;
        size_t size;
        uint8_t *here = engine_memory(in, 0, &size);
        assert_true(!base || here == base); /* the same slot, or this test shows nothing */
        base = here;
        assert_new(in);
        assert_false(engine_instance_new(k.m, &kit_limits, NULL, &another, &e));
        assert_int_equal(e.code, ERR_LIMIT);
        dirty(in, 0x1000 + i);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

/* The pool has a few memories for one instance, which modules that come and go take in turn. What
 * one wrote, the next module in the same memory does not find. */
static void nothing_goes_to_another_module(void **state)
{
    const uint8_t *seen[30];
    uint32_t again = 0;
    for (uint32_t i = 0; i < 30; i++) {
        kit_module other = {0};
        size_t size;
        kit_open(&other,
                 i % 2 ? "(module (memory (export \"m0\") 7 64))"
                       : "(module (memory (export \"m0\") 3) (data (i32.const 70000) \"image\"))",
                 NULL, (const char *const[]){NULL});
        other.unit.memories_count = 1;
        engine_instance *in = kit_instance(&other, NULL);
        uint8_t *m = engine_memory(in, 0, &size);
        seen[i] = m;
        for (uint32_t before = 0; before < i; before++)
            again += seen[before] == m;
        assert_int_equal(size, (i % 2 ? 7 : 3) * 65536);
        for (size_t at = 0; at < size; at++)
            if (m[at] && (i % 2 || at < 70000 || at >= 70005))
                fail_msg("byte %zu came from another module", at);
        memset(m, 0x5a, size);
        engine_instance_free(in);
        engine_module_close(other.m);
    }
    assert_true(again > 10); /* else this test shows nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_stays_in_the_slot),
        cmocka_unit_test(nothing_goes_to_another_module),
    };
    return cmocka_run_group_tests(tests, begin, kit_end);
}
