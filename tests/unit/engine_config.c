/* engine/: each setting of engine_config, at its bounds and one beyond; which modules an engine
 * takes; what is left of one that was freed. Each test makes engines of its own, in turn. */
#include "engine_kit.h"

#include "base/limits.h"

#include <errno.h>

static void with(engine_config c)
{
    err e = {0};
    if (!engine_new(&c, &kit_engine, &e))
        fail_msg("%s", e.text);
}

static void without(void)
{
    engine_free(kit_engine);
    kit_engine = NULL;
}

/* A few instances, and no place for twins. */
static engine_config few(void)
{
    engine_config c = engine_config_default();
    c.instances_max = 4;
    c.restoring.kept_max = 0;
    return c;
}

static int begin(void **state)
{
    err e;
    engine_config c = few();
    if (!engine_new(&c, &kit_engine, &e))
        return -1;
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], NULL, &kit_handlers[i]);
    without();
    return mkdtemp(kit_dir) ? 0 : -1;
}

static int end(void **state) { return rmdir(kit_dir); }

static void defaults(void **state)
{
    engine_config c = engine_config_default();
    assert_false(c.compiler || c.compiler_threads);
    assert_int_equal(c.instances_max, 1000);
    assert_true(c.memory_bytes_max == 4 * GIB);
    assert_int_equal(c.wasm_stack_bytes, 1 * MIB);
    assert_int_equal(c.decommit_batch, 1);
    assert_true(c.populate);
    assert_int_equal(c.artifact_owner, ENGINE_OWNER_SELF);
    assert_int_equal(c.restoring.mode, ENGINE_RESTORE_AUTO);
    assert_int_equal(c.restoring.check_every, 10000);
    assert_int_equal(c.restoring.kept_max, 1000);
    assert_int_equal(c.restoring.kept_bytes_max, 256 * MIB);
    assert_int_equal(c.restoring.skip, 0);
}

static void bounds(void **state)
{
    static const struct {
        bool compiler;
        uint32_t instances;
        size_t memory, stack;
        const char *says; /* NULL: it is made */
    } cases[] = {
        {false, 0, 4 * GIB, MIB, "instances_max is 0; it may be 1 to 10000"},
        {false, 10001, 4 * GIB, MIB, "instances_max is 10001; it may be 1 to 10000"},
        {false, 1, 4 * GIB, MIB, NULL},
        {false, 10000, MIB, MIB, NULL},
        {true, 0, 4 * GIB, MIB, NULL}, /* which has no pool */
        {true, 10001, 4 * GIB, MIB, NULL},
        {true, 1, 4 * GIB + 1, MIB, "memory_bytes_max is 4294967297; it may be 4294967296"},
        {true, 1, 4 * GIB, 65535, "wasm_stack_bytes is 65535; it may be 65536 to 67108864"},
        {true, 1, 4 * GIB, 65536, NULL},
        {true, 1, 4 * GIB, 67108864, NULL},
        {true, 1, 4 * GIB, 67108865, "wasm_stack_bytes is 67108865; it may be 65536 to 67108864"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        engine *en = NULL;
        engine_config c = few();
        c.compiler = cases[i].compiler;
        c.instances_max = cases[i].instances;
        c.memory_bytes_max = cases[i].memory;
        c.wasm_stack_bytes = cases[i].stack;
        bool made = engine_new(&c, &en, &e);
        assert_int_equal(made, !cases[i].says);
        if (made) {
            engine_free(en);
            continue;
        }
        assert_null(en);
        assert_int_equal(e.code, ERR_LIMIT);
        assert_string_equal(e.text, cases[i].says);
    }
    engine_free(NULL);
}

/* ---- what is left ---- */

static volatile sig_atomic_t heard;

static void hear(int sig) { heard++; }

/* How many timers this process has; -1: this kernel does not say. */
static int timers(void)
{
    char line[128];
    int n = 0;
    FILE *f = fopen("/proc/self/timers", "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f))
        n += !strncmp(line, "ID:", 3);
    fclose(f);
    return n;
}

static void nothing_is_left_of_a_freed_engine(void **state)
{
    struct sigaction mine = {.sa_handler = hear}, before, now;
    size_t descriptors = entries("/proc/self/fd");
    int timers_before = timers();
    assert_int_equal(sigaction(SIGURG, &mine, &before), 0);
    for (int i = 0; i < 3; i++) {
        with(few());
        assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
        assert_ptr_not_equal(now.sa_handler, hear);
        /* a fault of guest code in the handler is a trap all the same, anything else waits */
        for (int k = 0; k < 4; k++)
            assert_false(sigismember(&now.sa_mask, kit_faults[k]));
        assert_true(sigismember(&now.sa_mask, SIGTERM) && sigismember(&now.sa_mask, SIGALRM));
        assert_int_equal(now.sa_flags & (SA_RESTART | SA_ONSTACK), SA_RESTART | SA_ONSTACK);
        assert_int_equal(timers(), timers_before < 0 ? -1 : timers_before + 1);
        without();
        assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
        assert_ptr_equal(now.sa_handler, hear);
    }
    assert_int_equal(timers(), timers_before);
    assert_int_equal(sigaction(SIGURG, &before, NULL), 0);
    assert_int_equal(entries("/proc/self/fd"), descriptors);
    assert_int_equal(heard, 0);
}

static void one_engine_that_ticks_at_a_time(void **state)
{
    err e = {0};
    engine *compiler = NULL, *other = NULL;
    engine_config c = few();
    with(c);
    assert_false(engine_new(&c, &other, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(e.text, "this process has an engine already");
    c.compiler = true;
    assert_true(engine_new(&c, &compiler, &e));
    engine_free(compiler);
    c.compiler = false;
    assert_false(engine_new(&c, &other, &e));
    without();
    assert_true(engine_new(&c, &other, &e));
    engine_free(other);
}

/* A timer that was armed when its engine went is armed again by the next one. */
static void ticks_come_in_the_next_engine_too(void **state)
{
    for (int i = 0; i < 3; i++) {
        kit_module k = {0};
        with(few());
        kit_open(&k, "(module (func (export \"f0\") (loop $l (br $l))))", NULL,
                 (const char *const[]){"", NULL});
        engine_instance *in = kit_instance(&k, NULL);
        engine_call(in, 0, NULL);
        assert_int_equal(engine_poll(in), ENGINE_YIELD);
        engine_instance_free(in);
        engine_module_close(k.m);
        without();
    }
}

static void how_often_it_ticks_can_be_set(void **state)
{
    enum { SLICES = 10 };
    static const ns every[] = {4 * NS_PER_MS, ENGINE_TICK_NS / 4};
    kit_module k = {0};
    with(few());
    kit_open(&k, "(module (func (export \"f0\") (loop $l (br $l))))", NULL,
             (const char *const[]){"", NULL});
    engine_instance *in = kit_instance(&k, NULL);
    engine_call(in, 0, NULL);
    assert_int_equal(engine_poll(in), ENGINE_YIELD); /* the timer is armed */
    for (int i = 0; i < 2; i++) {
        engine_tick_every(every[i]);
        uint64_t ticks = engine_ticks();
        ns begun = clock_mono();
        for (int n = 0; n < SLICES; n++)
            assert_int_equal(engine_poll(in), ENGINE_YIELD);
        ns wall = clock_mono() - begun;
        ticks = engine_ticks() - ticks;
        /* a busy machine may lose ticks, and never has more of them */
        assert_true(ticks >= SLICES && ticks <= wall / every[i] + 1);
    }
    engine_tick_every(ENGINE_TICK_NS);
    engine_instance_free(in);
    engine_module_close(k.m);
    without();
}

/* ---- compiling ---- */

static bool accepts(const char *wat, err *e)
{
    buf wasm;
    buf_init(&wasm, MIB);
    bool ok = engine_wat2wasm(str_from(wat), &wasm, e);
    if (!ok)
        fail_msg("%s: %s", wat, e->text);
    ok = engine_validate(kit_engine, buf_bytes(&wasm), e);
    buf_fini(&wasm);
    return ok;
}

/* Wasm 3.0 without threads. */
static void features(void **state)
{
    static const char *const good[] = {
        "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 1) (i32.const 9))))",
        "(module (table 1 externref) (func (drop (table.get (i32.const 0)))))",
        "(module (type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0))))",
        "(module (type $s (struct (field i32))) (func (drop (struct.new_default $s))))",
        "(module (tag $t) (func (throw $t)))",
        "(module (func (result v128) (v128.const i64x2 1 2)))",
        "(module (func (param v128) (result v128)"
        " (i32x4.relaxed_trunc_f32x4_s (local.get 0))))",
        "(module (func $f (return_call $f)))",
        "(module (memory 1) (memory 1))",
        "(module (memory i64 1))",
    };
    static const struct {
        const char *wat, *says;
    } bad[] = {
        {"(module (memory 1 1 shared))", "threads must be enabled for shared memories"},
        {"(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
         "threads support is not enabled"},
        {"(component)", "component"},
    };
    engine_config c = few();
    c.compiler = true;
    with(c);
    err e = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!accepts(good[i], &e))
            fail_msg("%s: %s", good[i], e.text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(accepts(bad[i].wat, &e));
        assert_int_equal(e.code, ERR_INVALID);
        if (!strstr(e.text, bad[i].says))
            fail_msg("%s: %s", bad[i].wat, e.text);
    }
    without();
}

/* FNV-1a of the artifact of an empty module, behind the engine's version. */
static void the_fingerprint_is_of_an_empty_artifact(void **state)
{
    static const uint8_t empty[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    err e = {0};
    buf cwasm;
    char want[64];
    uint64_t h = UINT64_C(14695981039346656037);
    engine_config c = few();
    c.compiler = true;
    with(c);
    buf_init(&cwasm, MIB);
    assert_true(engine_compile(kit_engine, (bytes){empty, sizeof empty}, &cwasm, &e));
    for (size_t i = 0; i < cwasm.n; i++)
        h = (h ^ cwasm.p[i]) * UINT64_C(1099511628211);
    snprintf(want, sizeof want, "-%016llx", (unsigned long long)h);
    str f = engine_fingerprint(kit_engine);
    assert_true(f.n > 17 && str_starts(f, S("wasmtime-")));
    assert_string_equal(f.p + f.n - 17, want);
    assert_ptr_equal(engine_fingerprint(kit_engine).p, f.p);
    /* without what only debuggers and unwinders read: it has to be told the system at each load */
    assert_null(memmem(cwasm.p, cwasm.n, "eh_frame", 8));
    buf_fini(&cwasm);
    without();
}

static const char many_functions[] =
    "(module (memory 1) (func (export \"a\") (param i32) (result i32) (i32.load (local.get 0)))"
    " (func (export \"b\") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3))))";

static void it_compiles_on_this_thread_unless_told(void **state)
{
    err e = {0};
    buf wasm, cwasm;
    engine_config c = few();
    c.compiler = true;
    size_t threads = entries("/proc/self/task");
    with(c);
    buf_init(&wasm, MIB);
    buf_init(&cwasm, MIB);
    assert_true(engine_wat2wasm(str_from(many_functions), &wasm, &e));
    assert_true(engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, &e));
    assert_int_equal(entries("/proc/self/task"), threads);
    buf_fini(&cwasm);
    buf_init(&cwasm, 1000);
    assert_false(engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "the compiled module does not fit: 1000 bytes allowed");
    buf_fini(&cwasm);
    buf_fini(&wasm);
    without();
}

/* What Wasmtime says on several lines becomes one. */
static void messages_are_one_line(void **state)
{
    static const uint8_t ill_typed[] = {0, 'a',  's', 'm', 1, 0, 0,  0, 1, 5, 1, 0x60, 0,
                                        1, 0x7f, 3,   2,   1, 0, 10, 4, 1, 2, 0, 0x0b};
    static const char at[] = "type mismatch: expected i32 but nothing on stack (at offset 0x18)",
                      in[] = "type mismatch: expected i32 but nothing on stack";
    err e = {0};
    buf out;
    engine_config c = few();
    c.compiler = true;
    with(c);
    buf_init(&out, MIB);
    assert_false(engine_validate(kit_engine, (bytes){ill_typed, sizeof ill_typed}, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, at);
    assert_false(engine_compile(kit_engine, (bytes){ill_typed, sizeof ill_typed}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, ": "));
    assert_string_equal(e.text + strlen(e.text) - strlen(in), in);
    assert_null(strchr(e.text, '\n'));
    assert_null(strstr(e.text, "Caused by"));
    assert_false(engine_wat2wasm(S("(module\n  (funk))"), &out, &e));
    assert_string_equal(e.text,
                        "expected valid module field; --> <anon>:2:4; |; 2 |   (funk)); |    ^");
    /* cut, not overrun */
    char *wat = malloc(4000);
    assert_non_null(wat);
    memset(wat, 'x', 3999);
    wat[3999] = 0;
    wat[0] = '(';
    assert_false(engine_wat2wasm(str_from(wat), &out, &e));
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 2);
    free(wat);
    buf_fini(&out);
    without();
}

/* ---- the pool ---- */

static host_status wait_always(void *env, engine_instance *in, slot *s) { return HOST_WAIT; }

/* Everything that an instance may need is there as often as instances may be: memory, table, fiber,
 * and a heap for what is collected. */
static void all_instances_have_all_they_need(void **state)
{
    enum { ALL = 1300 }; /* more than any default */
    static engine_instance *in[ALL];
    static slot s[ALL];
    engine_config c = few();
    c.instances_max = ALL;
    with(c);
    kit_module k = {0}, heaps = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $wait)) (memory (export \"m0\") 1)"
             " (table 10 funcref)"
             " (func (export \"f0\") (i32.store (i32.const 0) (i32.const 1)) (call $wait)))",
             (const kit_import[]){{"wait", "", {.fn = wait_always, .may_wait = true}}, {NULL}},
             (const char *const[]){"", NULL});
    kit_open(&heaps,
             "(module (import \"ebb\" \"0\" (func $wait)) (type $s (struct (field i32)))"
             " (func (export \"f0\") (local $x (ref null $s))"
             "  (local.set $x (struct.new $s (i32.const 7))) (call $wait)))",
             (const kit_import[]){{"wait", "", {.fn = wait_always, .may_wait = true}}, {NULL}},
             (const char *const[]){"", NULL});
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < ALL; i++) {
            in[i] = kit_instance(round ? &heaps : &k, NULL);
            engine_call(in[i], 0, &s[i]);
            if (kit_run(in[i]) != ENGINE_WAIT)
                fail_msg("%d: %s", i, engine_instance_trap(in[i])->text);
        }
        for (int i = 0; i < ALL; i++)
            engine_instance_free(in[i]);
    }
    engine_module_close(k.m);
    engine_module_close(heaps.m);
    without();
}

static bool opens(const char *wat, err *e)
{
    buf wasm, cwasm;
    char path[64];
    plan_unit unit = {0};
    engine_module *m = NULL;
    buf_init(&wasm, MIB);
    buf_init(&cwasm, 16 * MIB);
    if (!engine_wat2wasm(str_from(wat), &wasm, e))
        fail_msg("%s", e->text);
    snprintf(path, sizeof path, "%s/o.cwasm", kit_dir);
    bool ok = engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, e);
    kit_write(path, buf_bytes(&cwasm), 0400);
    ok = ok && kit_module_open(path, &unit, NULL, &m, e);
    engine_module_close(m);
    unlink(path);
    buf_fini(&wasm);
    buf_fini(&cwasm);
    return ok;
}

static void memories_and_tables_of_a_module(void **state)
{
    char wat[1024];
    err e = {0};
    with(few());
    for (int n = 8; n <= 9; n++)
        for (int tables = 0; tables < 2; tables++) {
            size_t at = (size_t)snprintf(wat, sizeof wat, "(module");
            for (int i = 0; i < n; i++)
                at += (size_t)snprintf(wat + at, sizeof wat - at, " %s",
                                       tables ? "(table 1 funcref)" : "(memory 1)");
            snprintf(wat + at, sizeof wat - at, ")");
            assert_int_equal(opens(wat, &e), n == 8);
            if (n == 9) /* with a pool the compiler says so already */
                assert_non_null(strstr(e.text, "9 exceeds the per-instance limit of 8"));
        }
    without();
}

static int32_t call_i32(engine_instance *in, uint32_t lift, int32_t arg)
{
    slot s[1] = {{.i32 = arg}};
    engine_call(in, lift, s);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    return s[0].i32;
}

/* The smaller of what the engine has and what the instance may have. */
static void the_least_limit_holds(void **state)
{
    static const engine_limits much = {.memory_bytes_max = 64 * MIB, .table_elements_max = 200000},
                               little = {.memory_bytes_max = 3 * 65536, .table_elements_max = 7};
    static const char wat[] =
        "(module (memory (export \"m0\") 2) (table 5 funcref)"
        " (func (export \"f0\") (param i32) (result i32) (memory.grow (local.get 0)))"
        " (func (export \"f1\") (param i32) (result i32)"
        "  (table.grow (ref.null func) (local.get 0))))";
    engine_config c = few();
    c.memory_bytes_max = MIB;
    with(c);
    err e = {0};
    assert_true(opens("(module (memory 16))", &e));
    assert_false(opens("(module (memory 17))", &e));
    assert_int_equal(e.code, ERR_INVALID);
    for (int i = 0; i < 2; i++) {
        kit_module k = {0};
        engine_instance *in = NULL;
        kit_open(&k, wat, NULL, (const char *const[]){"i-i", "i-i", NULL});
        k.unit.memories_count = 1;
        k.unit.memory_bytes_min = 2 * 65536;
        assert_true(engine_instance_new(k.m, i ? &little : &much, NULL, &in, &e));
        engine_start(in);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        int32_t pages = i ? 3 : 16, elements = i ? 7 : 100000;
        assert_int_equal(call_i32(in, 0, pages - 2 + 1), -1);
        assert_int_equal(call_i32(in, 0, pages - 2), 2);
        assert_int_equal(call_i32(in, 0, 1), -1);
        assert_int_equal(call_i32(in, 1, elements - 5 + 1), -1);
        assert_int_equal(call_i32(in, 1, elements - 5), 5);
        assert_int_equal(call_i32(in, 1, 1), -1);
        engine_instance_free(in);
        engine_limits l = little;
        l.memory_bytes_max = 2 * 65536; /* exactly what it begins with */
        assert_true(engine_instance_new(k.m, &l, NULL, &in, &e));
        engine_instance_free(in);
        l.memory_bytes_max--;
        in = NULL;
        assert_false(engine_instance_new(k.m, &l, NULL, &in, &e));
        assert_null(in);
        assert_int_equal(e.code, ERR_LIMIT);
        assert_string_equal(e.text, "the component needs 131072 bytes of memory to start and may "
                                    "have 131071; raise its memory limit");
        engine_module_close(k.m);
    }
    without();
}

static void all_places_taken_says_how_many(void **state)
{
    kit_module k = {0};
    engine_instance *in[5] = {0};
    err e = {0};
    with(few());
    kit_open(&k, "(module)", NULL, NULL);
    for (int i = 0; i < 4; i++)
        in[i] = kit_instance(&k, NULL);
    assert_false(engine_instance_new(k.m, &kit_limits, NULL, &in[4], &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "all 4 instances are in use");
    for (int i = 0; i < 4; i++)
        engine_instance_free(in[i]);
    engine_module_close(k.m);
    without();
}

/* ---- artifacts ---- */

static void artifacts_belong_to_whom_is_said(void **state)
{
    char path[64], want[256];
    buf wasm, cwasm;
    err e = {0};
    plan_unit unit = {0};
    snprintf(path, sizeof path, "%s/p.cwasm", kit_dir);
    for (int self = 0; self < 2; self++) {
        engine_config c = few();
        c.artifact_owner = self ? ENGINE_OWNER_SELF : 12345;
        with(c);
        buf_init(&wasm, MIB);
        buf_init(&cwasm, MIB);
        assert_true(engine_wat2wasm(S("(module)"), &wasm, &e));
        assert_true(engine_compile(kit_engine, buf_bytes(&wasm), &cwasm, &e));
        kit_write(path, buf_bytes(&cwasm), 0400);
        static const unsigned owners[] = {0, 12345, 777};
        for (int i = 0; geteuid() == 0 && i < 3; i++) {
            engine_module *m = NULL;
            assert_int_equal(chown(path, owners[i], 0), 0);
            bool ok = kit_module_open(path, &unit, NULL, &m, &e);
            assert_int_equal(ok, i == 0 || (i == 1 && !self));
            snprintf(want, sizeof want, "%s: belongs to user %u; artifacts must belong to user %u",
                     path, owners[i], self ? 0 : 12345);
            if (!ok) {
                assert_int_equal(e.code, ERR_DENIED);
                assert_string_equal(e.text, want);
            }
            engine_module_close(m);
        }
        buf_fini(&wasm);
        buf_fini(&cwasm);
        without();
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(bounds),
        cmocka_unit_test(it_compiles_on_this_thread_unless_told),
        cmocka_unit_test(nothing_is_left_of_a_freed_engine),
        cmocka_unit_test(one_engine_that_ticks_at_a_time),
        cmocka_unit_test(ticks_come_in_the_next_engine_too),
        cmocka_unit_test(how_often_it_ticks_can_be_set),
        cmocka_unit_test(features),
        cmocka_unit_test(the_fingerprint_is_of_an_empty_artifact),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(all_instances_have_all_they_need),
        cmocka_unit_test(memories_and_tables_of_a_module),
        cmocka_unit_test(the_least_limit_holds),
        cmocka_unit_test(all_places_taken_says_how_many),
        cmocka_unit_test(artifacts_belong_to_whom_is_said),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
