/* engine/: what a call passes and gets to the last bit, what each operation may do, how deep guest
 * and host go into each other, and what is said, word for word, when one ends badly. */
#include "engine_kit.h"

#include "base/limits.h"

static uint64_t call(engine_instance *in, uint32_t lift, uint64_t arg)
{
    slot s[4] = {{.u64 = arg}};
    engine_call(in, lift, s);
    if (kit_run(in) != ENGINE_DONE)
        fail_msg("f%u: %s", lift, engine_instance_trap(in)->text);
    return s[0].u64;
}

static const engine_trap *trapped(engine_instance *in, uint32_t lift, uint64_t arg)
{
    slot s[4] = {{.u64 = arg}};
    engine_call(in, lift, s);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    return engine_instance_trap(in);
}

/* The same on an instance of its own, which goes. */
static void traps_with(kit_module *k, void *user, uint32_t lift, uint64_t arg, const char *text)
{
    engine_instance *in = kit_instance(k, user);
    const engine_trap *t = trapped(in, lift, arg);
    assert_string_equal(t->text, text);
    assert_false(t->exited || t->out_of_stack || t->out_of_memory);
    assert_false(engine_instance_ready(in));
    engine_instance_free(in);
}

/* ---- values ---- */

static host_status host_bits(void *env, engine_instance *in, slot *s)
{
    uint64_t *want = engine_user(in);
    for (int i = 0; i < 4; i++) { /* the upper half of a short value is not said */
        uint64_t got = i % 2 ? s[i].u64 : s[i].u32;
        assert_true(got == want[i]);
    }
    s[0].u64 = s[3].u64 + 1;
    return HOST_DONE;
}

/* Four values through the guest to the host, whose answer comes back; by both kinds of import. */
static void every_bit_of_a_value_goes_through(void **state)
{
    static const char wat[] = "(module (import \"ebb\" \"0\""
                              "  (func $h (param f32 f64 i32 i64) (result i64)))"
                              " (func (export \"f0\") (param f32 f64 i32 i64) (result i64)"
                              "  (call $h (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"
                              " (func (export \"f1\") (param i32) (result i32) (local.get 0))"
                              " (func (export \"f2\") (param i64) (result i64) (local.get 0))"
                              " (func (export \"f3\") (param f32) (result f32) (local.get 0))"
                              " (func (export \"f4\") (param f64) (result f64) (local.get 0)))";
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        kit_module k = {0};
        uint64_t want[4] = {0xbf800001, 0xc00123456789abcd, 0xfffffffe, 0x8000000000000001};
        kit_open(
            &k, wat,
            (const kit_import[]){{"h", "fFiI-I", {.fn = host_bits, .may_wait = may_wait}}, {NULL}},
            (const char *const[]){"fFiI-I", "i-i", "I-I", "f-f", "F-F", NULL});
        engine_instance *in = kit_instance(&k, want);
        slot s[4];
        for (int i = 0; i < 4; i++)
            s[i].u64 = want[i] | (i % 2 ? 0 : 0x1234567800000000);
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_true(s[0].u64 == 0x8000000000000002);
        /* short ones come back without anything above them */
        assert_true(call(in, 1, 0x12345678fffffffe) == 0xfffffffe);
        assert_true(call(in, 2, 0x8765432112345678) == 0x8765432112345678);
        assert_true(call(in, 3, 0x12345678bf800001) == 0xbf800001);
        assert_true(call(in, 4, 0xc00123456789abcd) == 0xc00123456789abcd);
        engine_instance_free(in);
        engine_module_close(k.m);
    }
}

/* Exports with numbers of two digits, and more of a kind than are kept at hand. */
static void exports_beyond_the_first_few(void **state)
{
    static const char *const lifts[] = {"-i", "-i", "-i", "-i", "-i", "-i", "-i",
                                        "-i", "-i", "-i", "-i", "-i", "-i", NULL};
    char wat[4096];
    size_t n = (size_t)snprintf(wat, sizeof wat,
                                "(module (global $last (mut i32) (i32.const 0))"
                                " (func (export \"f13\") (result i32)"
                                "  (global.get $last))");
    for (int i = 0; i < 13; i++)
        n += (size_t)snprintf(wat + n, sizeof wat - n,
                              " (func (export \"f%d\") (result i32) (i32.const %d))"
                              " (func (export \"p%d\") (param i32)"
                              "  (global.set $last (i32.add (local.get 0) (i32.const %d))))",
                              i, 100 + i, i, 1000 * i);
    snprintf(wat + n, sizeof wat - n, ")");
    kit_module k = {0};
    kit_open(&k, wat, NULL, lifts);
    k.lifts[k.unit.lifts_count++].signature = kit_signature("-i");
    engine_instance *in = kit_instance(&k, NULL);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 13; i++) {
            assert_int_equal(call(in, i, 0), 100 + i);
            slot s[1] = {{.u64 = 7 + round}};
            engine_post_return(in, i, s);
            assert_int_equal(kit_run(in), ENGINE_DONE);
            assert_int_equal(call(in, 13, 0), 1000 * i + 7 + round);
        }
    engine_instance_free(in);
    engine_module_close(k.m);
}

static host_status host_sizes(void *env, engine_instance *in, slot *s)
{
    size_t size = 0, seen = 0;
    const uint8_t *p = engine_memory(in, (int32_t)s[0].u32, &size);
    assert_ptr_equal(engine_memory_seen(in, (int32_t)s[0].u32, &seen), p);
    assert_int_equal(seen, size);
    s[0].u64 = (uint64_t)p[0] << 32 | size;
    return HOST_DONE;
}

/* Six memories, of which the last two are looked up at each use; the third and the sixth have a
 * size that the guest takes for theirs. */
static void memories_beyond_the_first_few(void **state)
{
    static const uint64_t pages[6] = {1, 2, 2, 4, 5, 3};
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $h (param i32) (result i64)))"
             " (memory (export \"m0\") 1 9) (memory (export \"m1\") 2) (memory (export \"m2\") 3)"
             " (memory (export \"m3\") 4) (memory (export \"m4\") 5) (memory (export \"m5\") 6)"
             " (data (memory 0) (i32.const 0) \"\\10\") (data (memory 1) (i32.const 0) \"\\11\")"
             " (data (memory 2) (i32.const 0) \"\\12\") (data (memory 3) (i32.const 0) \"\\13\")"
             " (data (memory 4) (i32.const 0) \"\\14\") (data (memory 5) (i32.const 0) \"\\15\")"
             " (global (export \"s2\") (mut i32) (i32.const 2))"
             " (global (export \"s5\") (mut i32) (i32.const 3))"
             " (func (export \"f0\") (param i32) (result i64) (call $h (local.get 0)))"
             " (func (export \"f1\") (param i32) (result i32) (memory.grow 0 (local.get 0))))",
             (const kit_import[]){{"sizes", "i-I", {.fn = host_sizes}}, {NULL}},
             (const char *const[]){"i-I", "i-i", NULL});
    k.unit.memories_count = 6;
    k.unit.sized_memories = 1u << 2 | 1u << 5;
    err e = {0};
    engine_instance *in = NULL;
    assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
    size_t size = 1;
    assert_null(engine_memory(in, 0, &size)); /* not there yet */
    assert_int_equal(size, 0);
    assert_int_equal(engine_memory_bytes(in), 0);
    assert_false(engine_instance_empty(in, 65536));
    engine_start(in);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(engine_memory_bytes(in), 17 * 65536);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 6; i++) {
            uint64_t want = (uint64_t)(0x10 + i) << 32 | (pages[i] + (i ? 0 : (uint64_t)round))
                                                             << 16;
            assert_true(call(in, 0, i) == want);
            const uint8_t *p = engine_memory(in, (int32_t)i, &size);
            assert_int_equal((uint64_t)p[0] << 32 | size, want);
        }
        assert_int_equal(call(in, 1, 1), 1 + round);
        engine_memory(in, 0, &size); /* at once */
        assert_int_equal(size, (2 + round) * 65536);
        assert_int_equal(engine_memory_bytes(in), (18 + round) * 65536);
    }
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* ---- operations ---- */

static host_status host_nothing(void *env, engine_instance *in, slot *s) { return HOST_DONE; }

static host_status host_allocate(void *env, engine_instance *in, slot *s)
{
    uint32_t at = 99;
    if (!engine_realloc(in, (int32_t)s[1].u32, 16, s[0].u32, &at)) {
        assert_int_equal(at, 99);
        return HOST_TRAP;
    }
    s[0].u64 = at;
    return HOST_DONE;
}

/* r0 .. r5 answer what they were given, as one number; the last calls an import of each kind. */
static const char operations_wat[] =
    "(module"
    " (import \"ebb\" \"0\" (func $outside)) (import \"ebb\" \"1\" (func $inside))"
    " (import \"ebb\" \"2\" (func $allocate (param i32 i32) (result i32)))"
    " (memory (export \"m0\") 1) (global $dropped (mut i32) (i32.const 0))"
    " (func $digits (param i32 i32 i32 i32) (result i32)"
    "  (i32.add (i32.add (i32.mul (local.get 0) (i32.const 1000000))"
    "    (i32.mul (local.get 1) (i32.const 10000)))"
    "   (i32.add (i32.mul (local.get 2) (i32.const 100)) (local.get 3))))"
    " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
    "  (call $digits (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"
    " (func (export \"r1\") (param i32 i32 i32 i64) (result i32) (i32.const 1))"
    " (func (export \"r2\") (param i32 i32 i32 i32) (result i64) (i64.const 1))"
    " (func (export \"r3\") (param i32 i32 i32 i32))"
    " (func (export \"r4\") (param i32 i32 i32) (result i32) (i32.const 1))"
    " (func (export \"r5\") (param i32 i32 i32 i32) (result i32)"
    "  (call $inside)"
    "  (if (i32.eq (local.get 3) (i32.const 13)) (then (call $outside)))"
    "  (call $digits (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"
    " (func (export \"d0\") (param i32)"
    "  (call $outside) (global.set $dropped (i32.add (global.get $dropped) (local.get 0))))"
    " (func (export \"d1\") (param i64)) (func (export \"d2\") (param i32) (result i32)"
    "  (local.get 0))"
    " (func (export \"f0\") (param i32 i32) (result i32)"
    "  (call $allocate (local.get 0) (local.get 1)))"
    " (func (export \"f1\") (result i32) (call $outside) (global.get $dropped))"
    " (func (export \"p1\") (param i32)"
    "  (call $inside) (if (local.get 0) (then (call $outside)))))";

static void operations_open(kit_module *k)
{
    kit_open(k, operations_wat,
             (const kit_import[]){{"outside", "", {.fn = host_nothing}},
                                  {"inside", "", {.fn = host_nothing, .inside = true}},
                                  {"allocate", "ii-i", {.fn = host_allocate}},
                                  {NULL}},
             (const char *const[]){"ii-i", "-i", NULL});
    k->unit.memories_count = 1;
    k->unit.reallocs_count = 40;
}

static const char outside_text[] = "cannot leave component instance: 'test:kit/host' 'outside' was "
                                   "called during an allocation or clean-up";

static uint64_t allocated(engine_instance *in, uint32_t k, uint32_t size)
{
    slot s[2] = {{.u64 = size}, {.u64 = k}};
    engine_call(in, 0, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    return s[0].u64;
}

static void an_allocation_may_not_leave(void **state)
{
    static const char *const wrong[] = {
        [1] = "the compiled module has no realloc 1 of the right type",
        [2] = "the compiled module has no realloc 2 of the right type",
        [3] = "the compiled module has no realloc 3 of the right type",
        [4] = "the compiled module has no realloc 4 of the right type",
        [7] = "the compiled module has no realloc 7 of the right type",
        [37] = "the compiled module has no realloc 37 of the right type",
    };
    kit_module k = {0};
    operations_open(&k);
    for (int i = 0; i < 2; i++) { /* the second finds the types looked at */
        engine_instance *in = kit_instance(&k, NULL);
        for (int n = 0; n < 2; n++) {
            assert_int_equal(allocated(in, 0, 40), 1640); /* old pointer and size are 0 */
            assert_int_equal(allocated(in, 5, 41), 1641);
            assert_int_equal(call(in, 1, 0), 0); /* and may leave again */
        }
        slot s[2] = {{.u64 = 13}, {.u64 = 5}};
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_string_equal(engine_instance_trap(in)->text, outside_text);
        engine_instance_free(in);
    }
    for (uint32_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (!wrong[i])
            continue;
        engine_instance *in = kit_instance(&k, NULL);
        slot s[2] = {{.u64 = 1}, {.u64 = i}};
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_string_equal(engine_instance_trap(in)->text, wrong[i]);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

static const char no_export[] =
    "the compiled module lacks an export that its plan names; deploy it again";

/* The same things, asked for by the host between calls. */
static void operations_of_their_own(void **state)
{
    kit_module k = {0};
    operations_open(&k);
    engine_instance *in = kit_instance(&k, NULL);
    assert_true(engine_instance_ready(in));
    static const int32_t reallocs[] = {0, 5, 0, 5};
    for (int i = 0; i < 4; i++) {
        slot s[4] = {{.u64 = 1}, {.u64 = 2}, {.u64 = 3}, {.u64 = 4}};
        engine_call_realloc(in, reallocs[i], s);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_true(s[0].u64 == 1020304);
        engine_call_destroy(in, 0, &(slot){.u64 = 5}); /* a destructor may leave */
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(call(in, 1, 0), 5 * (i + 1));
        engine_post_return(in, 1, &(slot){.u64 = 0});
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(call(in, 1, 0), 5 * (i + 1));
    }
    engine_instance_free(in);
    for (int i = 0; i < 8; i++) {
        slot s[4] = {{.u64 = 1}, {.u64 = 2}, {.u64 = 3}, {.u64 = 13}};
        in = kit_instance(&k, NULL);
        if (i == 0)
            engine_call_realloc(in, 5, s); /* calls an import */
        else if (i == 1)
            engine_post_return(in, 1, s); /* likewise */
        else if (i < 5)
            engine_call_realloc(in, i - 1, s); /* r1, r2, r3 have another type */
        else if (i == 5)
            engine_call_realloc(in, 20, s);
        else if (i == 6)
            engine_call_destroy(in, 3, s);
        else
            engine_post_return(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_string_equal(engine_instance_trap(in)->text, i < 2 ? outside_text : no_export);
        assert_false(engine_instance_ready(in));
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

static host_status host_destroys(void *env, engine_instance *in, slot *s)
{
    return engine_destroy(in, s[0].u32, 7) ? HOST_DONE : HOST_TRAP;
}

static void destructors_have_their_type(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $destroy (param i32)))"
             " (global $sum (mut i32) (i32.const 0))"
             " (func (export \"d0\") (param i32) (global.set $sum (local.get 0)))"
             " (func (export \"d1\") (param i64)) (func (export \"d2\"))"
             " (func (export \"d3\") (param i32) (result i32) (local.get 0))"
             " (func (export \"d4\") (param i32 i32)) (memory (export \"d5\") 1)"
             " (func (export \"f0\") (param i32) (result i32)"
             "  (call $destroy (local.get 0)) (global.get $sum)))",
             (const kit_import[]){{"destroy", "i-", {.fn = host_destroys}}, {NULL}},
             (const char *const[]){"i-i", NULL});
    engine_instance *in = kit_instance(&k, NULL);
    assert_int_equal(call(in, 0, 0), 7);
    engine_instance_free(in);
    for (uint32_t i = 1; i < 7; i++) {
        char want[80];
        snprintf(want, sizeof want, "the compiled module has no destructor %u of the right type",
                 i);
        traps_with(&k, NULL, 0, i, want);
    }
    engine_module_close(k.m);
}

/* ---- start ---- */

static host_status host_waits_twice(void *env, engine_instance *in, slot *s)
{
    int *left = engine_user(in);
    return (*left)-- > 0 ? HOST_WAIT : HOST_DONE;
}

static void ready_is_after_the_start_function(void **state)
{
    kit_module k = {0};
    int left = 2;
    err e = {0};
    engine_instance *in;
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $wait)) (func (export \"start\") (call $wait)))",
             (const kit_import[]){{"wait", "", {.fn = host_waits_twice, .may_wait = true}}, {NULL}},
             NULL);
    k.unit.has_start = true;
    assert_true(engine_instance_new(k.m, &kit_limits, &left, &in, &e));
    assert_false(engine_instance_ready(in));
    engine_start(in);
    assert_false(engine_instance_ready(in));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kit_run(in), ENGINE_WAIT);
        assert_false(engine_instance_ready(in));
    }
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_true(engine_instance_ready(in));
    assert_false(engine_instance_kept(in));
    engine_instance_free(in);
    engine_module_close(k.m);
    /* the plan speaks of one, the module has none */
    k = (kit_module){0};
    kit_open(&k, "(module (memory (export \"start\") 1))", NULL, NULL);
    k.unit.has_start = true;
    assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
    engine_start(in);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_string_equal(engine_instance_trap(in)->text, no_export);
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* The module's own start function runs while there are no exports yet. */
static void before_it_is_instantiated_nobody_calls_it(void **state)
{
    kit_module k = {0};
    err e = {0};
    engine_instance *in;
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $allocate (param i32 i32) (result i32)))"
             " (memory (export \"m0\") 1)"
             " (func (export \"r0\") (param i32 i32 i32 i32) (result i32) (i32.const 8))"
             " (func $s (drop (call $allocate (i32.const 4) (i32.const 0)))) (start $s))",
             (const kit_import[]){{"allocate", "ii-i", {.fn = host_allocate}}, {NULL}}, NULL);
    k.unit.memories_count = k.unit.reallocs_count = 1;
    assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
    engine_start(in);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_string_equal(engine_instance_trap(in)->text,
                        "a host function needs the guest before it is instantiated");
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* ---- waiting ---- */

typedef struct {
    const host_status *says; /* in turn */
    uint32_t asked, value;
} script;

static host_status host_scripted(void *env, engine_instance *in, slot *s)
{
    script *x = engine_user(in);
    assert_true(s[0].u64 == 0xfffffff0 + x->value); /* as it was, whenever it is asked */
    host_status status = x->says[x->asked++];
    if (status == HOST_DONE) {
        s[0].u64 = 500 + x->value;
        x->value++;
    }
    return status == HOST_TRAP ? engine_trap_set(in, "after %u", x->asked) : status;
}

/* What a host function says is what engine_poll says. */
static void waits_and_yields_are_passed_on(void **state)
{
    static const host_status says[] = {HOST_WAIT,  HOST_YIELD, HOST_YIELD, HOST_WAIT, HOST_DONE,
                                       HOST_YIELD, HOST_WAIT,  HOST_DONE,  HOST_DONE},
                             ends[2][3] = {{HOST_TRAP}, {HOST_YIELD, HOST_WAIT, HOST_TRAP}};
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $h (param i32) (result i32)))"
             " (func (export \"f0\") (param i32) (result i32)"
             "  (i32.add (call $h (local.get 0)) (i32.add (i32.mul (i32.const 1000)"
             "    (call $h (i32.add (local.get 0) (i32.const 1)))) (i32.mul (i32.const 1000000)"
             "    (call $h (i32.add (local.get 0) (i32.const 2))))))))",
             (const kit_import[]){{"h", "i-i", {.fn = host_scripted, .may_wait = true}}, {NULL}},
             (const char *const[]){"i-i", NULL});
    script x = {.says = says};
    engine_instance *in = kit_instance(&k, &x);
    slot s[1] = {{.u64 = 0xfffffff0}};
    engine_call(in, 0, s);
    for (uint32_t asked = 0; asked < 9;) {
        engine_status status = engine_poll(in);
        if (x.asked == asked) /* a tick */
            continue;
        asked++;
        while (says[asked - 1] == HOST_DONE && asked < x.asked)
            asked++;
        if (says[asked - 1] == HOST_DONE && status == ENGINE_YIELD) { /* a tick behind an answer */
            if (asked < 9)
                continue;
            status = kit_run(in);
        }
        assert_int_equal(x.asked, asked);
        assert_int_equal(status, says[asked - 1] == HOST_WAIT    ? ENGINE_WAIT
                                 : says[asked - 1] == HOST_YIELD ? ENGINE_YIELD
                                                                 : ENGINE_DONE);
    }
    assert_int_equal(s[0].u64, 502501500);
    engine_instance_free(in);
    for (int i = 0; i < 2; i++) {
        x = (script){.says = ends[i]};
        in = kit_instance(&k, &x);
        s[0].u64 = 0xfffffff0;
        engine_call(in, 0, s);
        engine_status status;
        while ((status = engine_poll(in)) != ENGINE_TRAP)
            assert_true(status == ENGINE_WAIT || status == ENGINE_YIELD);
        assert_string_equal(engine_instance_trap(in)->text, i ? "after 3" : "after 1");
        assert_int_equal(x.asked, i ? 3 : 1);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

/* ---- inside each other ---- */

static host_status host_goes_deeper(void *env, engine_instance *in, slot *s)
{
    (*(uint32_t *)engine_user(in))++;
    return s[0].u32 == 0 || engine_destroy(in, 0, s[0].u32 - 1) ? HOST_DONE : HOST_TRAP;
}

/* f0(n): a host function that calls the guest, which calls it again, n times. */
static void guest_and_host_inside_each_other(void **state)
{
    static const char *const texts[2] = {
        "more than 8 calls between guest and host inside each other",
        "more than 8 waiting calls inside each other"};
    for (int may_wait = 0; may_wait < 2; may_wait++) {
        kit_module k = {0};
        kit_open(&k,
                 "(module (import \"ebb\" \"0\" (func $h (param i32)))"
                 " (func (export \"d0\") (param i32) (call $h (local.get 0)))"
                 " (func (export \"f0\") (param i32) (call $h (local.get 0))))",
                 (const kit_import[]){{"h", "i-", {.fn = host_goes_deeper, .may_wait = may_wait}},
                                      {NULL}},
                 (const char *const[]){"i", NULL});
        uint32_t calls = 0, deepest = may_wait ? 7 : 8;
        engine_instance *in = kit_instance(&k, &calls);
        for (uint32_t i = 1; i < 5; i++) {
            call(in, 0, deepest);
            assert_int_equal(calls, i * (deepest + 1));
        }
        calls = 0;
        assert_string_equal(trapped(in, 0, deepest + 1)->text, texts[may_wait]);
        assert_int_equal(calls, deepest + 1);
        engine_instance_free(in);
        engine_module_close(k.m);
    }
}

typedef struct {
    uint64_t ticks;
    int tries;
    uint32_t allocations;
} patience;

/* Asked again, it has the guest allocate for some ticks. */
static host_status host_patient(void *env, engine_instance *in, slot *s)
{
    patience *p = engine_user(in);
    if (p->tries++ == 0)
        return HOST_WAIT;
    for (uint32_t at, i = 0; i < p->allocations; i++) {
        p->ticks = engine_ticks() + s[0].u32;
        if (!engine_realloc(in, 0, 1, 1, &at))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

static host_status host_is_it_over(void *env, engine_instance *in, slot *s)
{
    const patience *p = engine_user(in);
    s[0].u64 = engine_ticks() >= p->ticks;
    return HOST_DONE;
}

/* An allocation for a function that waited can't yield: it may take 250 ticks, each of them. */
static void an_allocation_that_cannot_yield_is_stopped(void **state)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $wait (param i32)))"
             " (import \"ebb\" \"1\" (func $over (result i32))) (memory (export \"m0\") 1)"
             " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
             "  (loop $l (br_if $l (i32.eqz (call $over)))) (i32.const 8))"
             " (func (export \"f0\") (param i32) (call $wait (local.get 0))))",
             (const kit_import[]){{"wait", "i-", {.fn = host_patient, .may_wait = true}},
                                  {"over", "-i", {.fn = host_is_it_over, .inside = true}},
                                  {NULL}},
             (const char *const[]){"i", NULL});
    k.unit.memories_count = k.unit.reallocs_count = 1;
    engine_tick_every(ENGINE_TICK_NS / 8);
    for (uint32_t i = 0; i < 2; i++) {
        patience p = {.allocations = 3};
        engine_instance *in = kit_instance(&k, &p);
        slot s[1] = {{.u64 = i ? 1000000 : 150}};
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_WAIT);
        uint64_t ticks = engine_ticks();
        assert_int_equal(kit_run(in), i ? ENGINE_TRAP : ENGINE_DONE);
        /* a busy machine finds several ticks at once, and never one twice */
        assert_true(engine_ticks() - ticks >= (i ? 250 : 450));
        if (i)
            assert_string_equal(engine_instance_trap(in)->text,
                                "an allocation or clean-up function of the guest ran too long");
        engine_instance_free(in);
    }
    engine_tick_every(ENGINE_TICK_NS);
    engine_module_close(k.m);
}

static host_status host_looks_at_clock(void *env, engine_instance *in, slot *s)
{
    ns a = engine_cpu_ns(in), begun = clock_mono();
    while (clock_mono() - begun < NS_PER_MS / 4)
        ;
    ns b = engine_cpu_ns(in);
    assert_true(b - a >= NS_PER_MS / 4);
    *(ns *)engine_user(in) = b;
    return HOST_DONE;
}

/* What it used so far includes the slice that runs. */
static void time_is_told_in_the_middle_of_a_call(void **state)
{
    kit_module k = {0};
    ns seen = 0;
    kit_open(&k, "(module (import \"ebb\" \"0\" (func $h)) (func (export \"f0\") (call $h)))",
             (const kit_import[]){{"h", "", {.fn = host_looks_at_clock}}, {NULL}},
             (const char *const[]){"", NULL});
    engine_instance *in = kit_instance(&k, &seen);
    ns before = 0;
    for (int i = 0; i < 3; i++) {
        call(in, 0, 0);
        assert_true(seen >= before + NS_PER_MS / 4);
        before = engine_cpu_ns(in);
        assert_true(before >= seen);
        assert_true(engine_cpu_ns(in) == before); /* it stands still outside */
    }
    engine_instance_free(in);
    engine_module_close(k.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_of_a_value_goes_through),
        cmocka_unit_test(exports_beyond_the_first_few),
        cmocka_unit_test(memories_beyond_the_first_few),
        cmocka_unit_test(an_allocation_may_not_leave),
        cmocka_unit_test(operations_of_their_own),
        cmocka_unit_test(destructors_have_their_type),
        cmocka_unit_test(ready_is_after_the_start_function),
        cmocka_unit_test(before_it_is_instantiated_nobody_calls_it),
        cmocka_unit_test(waits_and_yields_are_passed_on),
        cmocka_unit_test(guest_and_host_inside_each_other),
        cmocka_unit_test(an_allocation_that_cannot_yield_is_stopped),
        cmocka_unit_test(time_is_told_in_the_middle_of_a_call),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
