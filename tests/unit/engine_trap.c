/* engine/: why a guest ended, word for word, with its frames; and what one instance passes on to
 * another that asked it. */
#include "engine_kit.h"

#include "base/limits.h"

static const engine_trap *trapped(engine_instance *in, uint32_t lift, uint64_t arg)
{
    slot s[4] = {{.u64 = arg}};
    engine_call(in, lift, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    return engine_instance_trap(in);
}

/* One line a frame, numbered, with the innermost first; NULL: as many of the last name as come. */
static void frames(const char *backtrace, const char *const *names)
{
    const char *at = backtrace;
    for (int i = 0; *names; i++, names++) {
        int n = 0, number = -1;
        unsigned where = 0;
        char name[64] = "";
        if (sscanf(at, "%d: 0x%x - %63[^\n]%n", &number, &where, name, &n) != 3 || at[n] != '\n')
            fail_msg("frame %d of: %s", i, backtrace);
        assert_int_equal(number, i);
        assert_true(where > 8);
        assert_string_equal(name, *names);
        at += n + 1;
    }
    assert_string_equal(at, "");
}

/* ---- what the engine says ---- */

static const char wat[] =
    "(module $m (memory (export \"m0\") 1 10) (table $t 2 funcref) (type $v (func))"
    " (type $a (array (mut i8))) (type $b (array (mut i64))) (type $s (struct)) (type $r (struct "
    "(field i32)))"
    " (tag $tag) (global $zero (mut i32) (i32.const 0))"
    " (elem (table $t) (i32.const 0) func $typed) (func $typed (param i32))"
    " (func $inner (param i32)"
    "  (if (i32.eq (local.get 0) (i32.const 0)) (then (unreachable)))"
    "  (if (i32.eq (local.get 0) (i32.const 1))"
    "   (then (drop (i32.div_u (i32.const 1) (global.get $zero)))))"
    "  (if (i32.eq (local.get 0) (i32.const 2))"
    "   (then (drop (i32.div_s (i32.const 0x80000000) (i32.sub (global.get $zero) (i32.const "
    "1))))))"
    "  (if (i32.eq (local.get 0) (i32.const 3))"
    "   (then (drop (i32.trunc_f32_u (f32.const nan)))))"
    "  (if (i32.eq (local.get 0) (i32.const 4)) (then (call_indirect (type $v) (i32.const 1))))"
    "  (if (i32.eq (local.get 0) (i32.const 5)) (then (call_indirect (type $v) (i32.const 0))))"
    "  (if (i32.eq (local.get 0) (i32.const 6)) (then (call_indirect (type $v) (i32.const 2))))"
    "  (if (i32.eq (local.get 0) (i32.const 7))"
    "   (then (drop (array.get_u $a (array.new_default $a (i32.const 4)) (i32.const 4)))))"
    "  (if (i32.eq (local.get 0) (i32.const 8))"
    "   (then (drop (ref.cast (ref $a) (struct.new $s)))))"
    "  (if (i32.eq (local.get 0) (i32.const 9))"
    "   (then (drop (struct.get $r 0 (ref.null $r)))))"
    "  (if (i32.eq (local.get 0) (i32.const 10))"
    "   (then (drop (array.new_default $b (i32.const 0x7fffffff)))))"
    "  (if (i32.eq (local.get 0) (i32.const 11))"
    "   (then (drop (i32.load (i32.const 0x7fffffff))))))"
    " (func $outer (export \"f0\") (param i32) (call $inner (local.get 0)))"
    " (func $throws (export \"f1\") (param i32) (throw $tag)))";

static void each_trap_has_its_words(void **state)
{
    static const char *const texts[] = {
        "wasm trap: wasm `unreachable` instruction executed",
        "wasm trap: integer divide by zero",
        "wasm trap: integer overflow",
        "wasm trap: invalid conversion to integer",
        "wasm trap: uninitialized element",
        "wasm trap: indirect call type mismatch",
        "wasm trap: undefined element: out of bounds table access",
        "wasm trap: out of bounds array access",
        "wasm trap: cast failure",
        "wasm trap: null reference",
        "wasm trap: allocation size too large",
        "wasm trap: out of bounds memory access",
    };
    kit_module k = {0};
    kit_open(&k, wat, NULL, (const char *const[]){"i", "i", NULL});
    k.unit.memories_count = 1;
    for (uint32_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_string_equal(engine_instance_trap(in)->text, "");
        assert_string_equal(engine_instance_trap(in)->backtrace, "");
        const engine_trap *t = trapped(in, 0, i);
        assert_string_equal(t->text, texts[i]);
        assert_false(t->exited || t->out_of_stack);
        assert_int_equal(t->out_of_memory, i == 10);
        frames(t->backtrace, (const char *const[]){"m!inner", "m!outer", NULL});
        engine_instance_free(in);
    }
    engine_instance *in = kit_instance(&k, NULL);
    const engine_trap *t = trapped(in, 1, 0);
    assert_false(t->exited || t->out_of_stack || t->out_of_memory);
    assert_non_null(strstr(t->text, "exception"));
    assert_null(strchr(t->text, '\n'));
    engine_instance_free(in);
    engine_module_close(k.m);
}

static void a_backtrace_has_an_end(void **state)
{
    enum { NAME = 700 };
    char name[NAME + 1], *text = malloc(4 * NAME);
    static const char form[] = "(module (func $%s (export \"f0\") (param i32)"
                               " (if (i32.eqz (local.get 0)) (then (unreachable)))"
                               " (call $%s (i32.sub (local.get 0) (i32.const 1)))))";
    assert_non_null(text);
    for (int length = 5; length <= NAME; length += NAME - 5) {
        kit_module k = {0};
        memset(name, 'n', sizeof name);
        name[length] = 0;
        snprintf(text, 4 * NAME, form, name, name);
        kit_open(&k, text, NULL, (const char *const[]){"i", NULL});
        engine_instance *in = kit_instance(&k, NULL);
        const char *backtrace = trapped(in, 0, 50)->backtrace;
        size_t lines = 0;
        for (const char *p = backtrace; (p = strchr(p, '\n')); p++)
            lines++;
        assert_int_equal(lines, length == 5 ? 20 : 8192 / (NAME + sizeof "nn: 0xnn - "));
        assert_true(strlen(backtrace) <= 8192);
        engine_instance_free(in);
        engine_module_close(k.m);
    }
    free(text);
}

/* ---- a full memory ---- */

static const char full_wat[] =
    "(module (import \"ebb\" \"0\" (func $refuse)) (import \"ebb\" \"1\" (func $silent))"
    " (memory (export \"m0\") 1)"
    " (func (export \"f0\") (param i32) (result i32) (memory.grow (local.get 0)))"
    " (func (export \"f1\") (param i32)"
    "  (if (i32.eqz (local.get 0)) (then (unreachable)))"
    "  (if (i32.eq (local.get 0) (i32.const 1)) (then (call $refuse)))"
    "  (call $silent)))";

static host_status host_refuse(void *env, engine_instance *in, slot *s)
{
    return engine_trap_set(in, "no");
}

static host_status host_silent(void *env, engine_instance *in, slot *s) { return HOST_TRAP; }

static void grow(engine_instance *in, uint32_t pages)
{
    slot s[1] = {{.u64 = pages}};
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_true(s[0].i32 > 0);
}

/* A trap of a guest that has no page more to get is told as what it mostly is. */
static void a_full_memory_is_told(void **state)
{
    static const char plain[] = "wasm trap: wasm `unreachable` instruction executed",
                      full[] = "wasm trap: wasm `unreachable` instruction executed; its memory had "
                               "reached the limit of %u bytes";
    static const struct {
        uint32_t limit, pages, then,
            cause; /* pages: of limit; then: another limit before it ends */
        bool told;
    } cases[] = {
        {10, 10, 10, 0, true}, {10, 9, 10, 0, false},  {10, 10, 20, 0, true},
        {10, 9, 20, 0, false}, {10, 10, 10, 1, false}, {10, 10, 10, 2, false},
        {20, 10, 10, 0, true}, {20, 10, 11, 0, false},
    };
    kit_module k = {0};
    kit_open(&k, full_wat,
             (const kit_import[]){
                 {"refuse", "", {.fn = host_refuse}}, {"silent", "", {.fn = host_silent}}, {NULL}},
             (const char *const[]){"i-i", "i", NULL});
    k.unit.memories_count = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[160];
        engine_instance *in = kit_instance(&k, NULL);
        engine_instance_limit(in, cases[i].limit * 65536);
        grow(in, cases[i].pages - 1);
        assert_int_equal(engine_memory_bytes(in), cases[i].pages * 65536);
        engine_instance_limit(in, cases[i].then * 65536);
        const engine_trap *t = trapped(in, 1, cases[i].cause);
        snprintf(want, sizeof want,
                 cases[i].cause == 1   ? "no"
                 : cases[i].cause == 2 ? "a host function failed"
                 : cases[i].told       ? full
                                       : plain,
                 cases[i].pages * 65536);
        assert_string_equal(t->text, want);
        assert_int_equal(t->out_of_memory, cases[i].told);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

/* ---- from one instance to another ---- */

static const char inner_wat[] =
    "(module $inner_module (import \"ebb\" \"0\" (func $exit (param i32)))"
    " (memory (export \"m0\") 1)"
    " (func $below (param i32)"
    "  (if (i32.eq (local.get 0) (i32.const 0)) (then (unreachable)))"
    "  (if (i32.eq (local.get 0) (i32.const 1)) (then (call $below (local.get 0))))"
    "  (if (i32.eq (local.get 0) (i32.const 2))"
    "   (then (drop (memory.grow (i32.const 1023))) (unreachable)))"
    "  (call $exit (local.get 0)))"
    " (func $served (export \"f0\") (param i32) (call $below (local.get 0))))";

static host_status host_exit(void *env, engine_instance *in, slot *s)
{
    return engine_exit_set(in, s[0].i32);
}

static host_status host_asks(void *env, engine_instance *in, slot *s)
{
    engine_instance *other = engine_user(in);
    if (env)
        engine_trap_set(in, "said before");
    slot t[1] = {{.i32 = s[0].i32}};
    engine_call(other, 0, t);
    assert_int_equal(kit_run(other), ENGINE_TRAP);
    assert_int_equal(engine_trap_pass(in, other), HOST_TRAP);
    assert_int_equal(engine_exit_set(in, 99), HOST_TRAP); /* too late */
    return engine_trap_set(in, "too late");
}

/* The outer instance ends of the same, with the frames of both. */
static void what_ended_the_inner_one_ends_the_outer_one(void **state)
{
    static const struct {
        int32_t arg;
        bool exited, out_of_stack, out_of_memory;
        const char *text;
    } cases[] = {
        {0, false, false, false, "wasm trap: wasm `unreachable` instruction executed"},
        {1, false, true, false, "wasm trap: call stack exhausted"},
        {2, false, false, true,
         "wasm trap: wasm `unreachable` instruction executed; its memory had reached the limit of "
         "67108864 bytes"},
        {7, true, false, false, "the guest exited with status 7"},
    };
    for (size_t i = 0; i < 8; i++) {
        kit_module inner = {0}, outer = {0};
        bool said = i >= 4;
        kit_open(&inner, inner_wat, (const kit_import[]){{"exit", "i-", {.fn = host_exit}}, {NULL}},
                 (const char *const[]){"i", NULL});
        inner.unit.memories_count = 1;
        kit_open(&outer,
                 "(module (import \"ebb\" \"0\" (func $ask (param i32)))"
                 " (func $asks (export \"f0\") (param i32) (call $ask (local.get 0))))",
                 (const kit_import[]){{"ask", "i-", {.fn = host_asks, .env = said ? &outer : NULL}},
                                      {NULL}},
                 (const char *const[]){"i", NULL});
        engine_instance *a = kit_instance(&inner, NULL), *b = kit_instance(&outer, a);
        const engine_trap *t = trapped(b, 0, (uint64_t)cases[i % 4].arg);
        if (said) { /* what was said first stays */
            assert_string_equal(t->text, "said before");
            assert_false(t->exited || t->out_of_stack || t->out_of_memory);
            frames(t->backtrace, (const char *const[]){"asks", NULL});
        } else {
            assert_string_equal(t->text, cases[i].text);
            assert_int_equal(t->exited, cases[i].exited);
            assert_int_equal(t->exit_status, cases[i].exited ? 7 : 0);
            assert_int_equal(t->out_of_stack, cases[i].out_of_stack);
            assert_int_equal(t->out_of_memory, cases[i].out_of_memory);
            const char *of_inner = engine_instance_trap(a)->backtrace;
            assert_true(strlen(of_inner) > 0);
            assert_memory_equal(t->backtrace, of_inner, strlen(of_inner));
            frames(t->backtrace + strlen(of_inner), (const char *const[]){"asks", NULL});
        }
        engine_instance_free(b);
        engine_instance_free(a);
        engine_module_close(outer.m);
        engine_module_close(inner.m);
    }
}

static host_status host_warns(void *env, engine_instance *in, slot *s)
{
    engine_trap_set(in, "said, but not meant");
    return HOST_DONE;
}

/* What was said in an operation that went well is not said of a later one. */
static void words_are_of_one_operation(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $warn)) (func (export \"f0\") (call $warn))"
             " (func (export \"f1\") unreachable))",
             (const kit_import[]){{"warn", "", {.fn = host_warns}}, {NULL}},
             (const char *const[]){"", "", NULL});
    engine_instance *in = kit_instance(&k, NULL);
    engine_call(in, 0, NULL);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_string_equal(trapped(in, 1, 0)->text,
                        "wasm trap: wasm `unreachable` instruction executed");
    engine_instance_free(in);
    engine_module_close(k.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_trap_has_its_words),
        cmocka_unit_test(a_backtrace_has_an_end),
        cmocka_unit_test(a_full_memory_is_told),
        cmocka_unit_test(what_ended_the_inner_one_ends_the_outer_one),
        cmocka_unit_test(words_are_of_one_operation),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
