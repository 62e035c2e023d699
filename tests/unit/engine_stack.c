/* engine/: the guest's stack and the host's part of it. Nobody gets beyond its end. */
#include "engine_kit.h"

typedef struct {
    int calls;
    uintptr_t top, bottom;
} reach;

/* A host function called from the very end of the guest's stack still has all of its own. */
static host_status host_deep(void *env, engine_instance *in, slot *s)
{
    reach *h = engine_user(in);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (h->calls++ == 0)
        h->top = here;
    h->bottom = here;
    volatile char big[ENGINE_HOST_STACK_BYTES / 2];
    for (size_t i = 0; i < sizeof big; i += 512)
        big[i] = (char)i;
    s[0].i32 += 1 + big[0];
    return HOST_DONE;
}

static void host_stack(void **state)
{
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        kit_module k = {0};
        kit_open(
            &k,
            "(module (import \"ebb\" \"0\" (func $h (param i32) (result i32)))"
            " (func $f (export \"f0\") (param i32) (result i32)"
            "  (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 64)))"
            "   (then (drop (call $h (local.get 0)))))"
            "  (call $f (i32.add (local.get 0) (i32.const 1)))))",
            (const kit_import[]){{"deep", "i-i", {.fn = host_deep, .may_wait = may_wait}}, {NULL}},
            (const char *const[]){"i-i", NULL});
        reach h = {0};
        engine_instance *in = kit_instance(&k, &h);
        slot s[1] = {{.i32 = 0}};
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_true(engine_instance_trap(in)->out_of_stack);
        /* the guest got its own share too, to within 64 levels */
        size_t want = engine_config_default().wasm_stack_bytes;
        assert_in_range(h.top - h.bottom, want - want / 8, want);
        engine_instance_free(in);
        engine_module_close(k.m);
    }
}

static host_status host_allocates(void *env, engine_instance *in, slot *s)
{
    uint32_t at;
    return engine_realloc(in, 0, 1, 1, &at) ? HOST_DONE : HOST_TRAP;
}

/* However deep the guest is when a host function asks it for memory, to recurse without end there
 * is a trap of its own. */
static void allocations_recurse_at_any_depth(void **state)
{
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        kit_module k = {0};
        kit_open(
            &k,
            "(module (import \"ebb\" \"0\" (func $h)) (memory (export \"m0\") 1)"
            " (func $deeper (param i32) (result i32)"
            "  (i32.add (i32.const 1) (call $deeper (local.get 0))))"
            " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
            "  (call $deeper (i32.const 0)))"
            " (func $f (export \"f0\") (param i32) (result i32)"
            "  (if (i32.eqz (local.get 0)) (then (call $h) (return (i32.const 1))))"
            "  (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))))",
            (const kit_import[]){{"h", "", {.fn = host_allocates, .may_wait = may_wait}}, {NULL}},
            (const char *const[]){"i-i", NULL});
        k.unit.memories_count = k.unit.reallocs_count = 1;
        for (int depth = 1000; depth < 40000; depth += 3000) {
            engine_instance *in = kit_instance(&k, NULL);
            slot s[1] = {{.i32 = depth}};
            engine_call(in, 0, s);
            assert_int_equal(kit_run(in), ENGINE_TRAP);
            assert_true(engine_instance_trap(in)->out_of_stack);
            engine_instance_free(in);
        }
        engine_module_close(k.m);
    }
}

static host_status host_drops(void *env, engine_instance *in, slot *s)
{
    return engine_destroy(in, 0, s[0].u32) ? HOST_DONE : HOST_TRAP;
}

/* A destructor that recurses and then drops something whose destructor does the same: each may go
 * as deep as a guest may, but all of them together must not leave the stack. */
static void destructors_recurse_inside_each_other(void **state)
{
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        kit_module k = {0};
        kit_open(
            &k,
            "(module (import \"ebb\" \"0\" (func $h (param i32)))"
            " (global $levels (mut i32) (i32.const 0))"
            " (func $deep (param i32 i32) (result i32)"
            "  (if (i32.eqz (local.get 0))"
            "   (then (if (local.get 1) (then (call $h (i32.sub (local.get 1) (i32.const 1)))))"
            "    (return (i32.const 1))))"
            "  (i32.add (i32.const 1)"
            "   (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))"
            " (func (export \"d0\") (param i32)"
            "  (drop (call $deep (global.get $levels) (local.get 0))))"
            " (func (export \"f0\") (param i32) (result i32)"
            "  (global.set $levels (local.get 0))"
            "  (call $deep (local.get 0) (i32.const 6))))",
            (const kit_import[]){{"h", "i-", {.fn = host_drops, .may_wait = may_wait}}, {NULL}},
            (const char *const[]){"i-i", NULL});
        k.unit.memories_count = 0;
        for (int depth = 10; depth < 40000; depth += depth < 1000 ? 330 : 3000) {
            engine_instance *in = kit_instance(&k, NULL);
            slot s[1] = {{.i32 = depth}};
            engine_call(in, 0, s);
            if (depth == 10) {
                assert_int_equal(kit_run(in), ENGINE_DONE);
                assert_int_equal(s[0].i32, depth + 1);
            } else if (depth > 2000) {
                assert_int_equal(kit_run(in), ENGINE_TRAP);
                const engine_trap *t = engine_instance_trap(in);
                assert_true(t->out_of_stack ||
                            strstr(t->text, "call stack exhausted: 262144 bytes of it"));
            } else {
                kit_run(in);
            }
            engine_instance_free(in);
        }
        engine_module_close(k.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_stack),
        cmocka_unit_test(allocations_recurse_at_any_depth),
        cmocka_unit_test(destructors_recurse_inside_each_other),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
