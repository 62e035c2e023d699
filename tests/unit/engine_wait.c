/* engine/: host functions that may wait. Most end at once, as plain ones do; some wait, yield, or
 * fail after that. */
#include "engine_kit.h"

typedef struct {
    const char *says; /* what each attempt says: w wait, y yield, d done, t trap; then done */
    int attempts;
    uint32_t at;
    bool allocates;
} waiter;

static host_status wait_says(waiter *w, engine_instance *in)
{
    char c = *w->says ? *w->says++ : 'd';
    w->attempts++;
    return c == 'w'   ? HOST_WAIT
           : c == 'y' ? HOST_YIELD
           : c == 't' ? engine_trap_set(in, "attempt %d failed", w->attempts)
                      : HOST_DONE;
}

/* Four arguments of every type, and a sum; each attempt finds them as they were. */
static host_status host_mix(void *env, engine_instance *in, slot *s)
{
    waiter *w = engine_user(in);
    assert_int_equal(s[0].i32, -7);
    assert_int_equal(s[1].i64, INT64_C(-5000000000));
    assert_true(s[2].f32 == 0.5f);
    assert_true(s[3].f64 == 0.25);
    host_status status = wait_says(w, in);
    if (status == HOST_DONE)
        s[0].f64 = (double)s[0].i32 + (double)s[1].i64 + (double)s[2].f32 + s[3].f64;
    return status;
}

/* No argument, no result. */
static host_status host_none(void *env, engine_instance *in, slot *s)
{
    waiter *w = engine_user(in);
    host_status status = wait_says(w, in);
    if (status == HOST_DONE && w->allocates && !engine_realloc(in, 0, 1, 1, &w->at))
        return HOST_TRAP;
    return status;
}

static const char wait_wat[] =
    "(module $waits"
    " (import \"ebb\" \"0\" (func $mix (param i32 i64 f32 f64) (result f64)))"
    " (import \"ebb\" \"1\" (func $none))"
    " (memory (export \"m0\") 1)"
    " (func (export \"r0\") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) (i32.const 8))"
    " (func (export \"f0\") (result f64)"
    "  (call $mix (i32.const -7) (i64.const -5000000000) (f32.const 0.5) (f64.const 0.25)))"
    " (func $inner_most (call $none))"
    " (func $in_between (call $inner_most))"
    " (func (export \"f1\") (param i32) (result i32)"
    "  (call $in_between) (call $none) (local.get 0)))";

static void wait_open(kit_module *k)
{
    static const kit_import imports[] = {{"mix", "iIfF-F", {.fn = host_mix, .may_wait = true}},
                                         {"none", "", {.fn = host_none, .may_wait = true}},
                                         {NULL}};
    kit_open(k, wait_wat, imports, (const char *const[]){"-F", "i-i", NULL});
    k->unit.memories_count = k->unit.reallocs_count = 1;
}

/* Polls as long as it waits or yields for the reason given: the ticks of a busy machine count for
 * nothing, because no attempt is made at them. */
static void expect_stops(engine_instance *in, waiter *w, const char *stops)
{
    for (; *stops; stops++) {
        int before = w->attempts;
        engine_status s;
        do
            s = engine_poll(in);
        while (s == ENGINE_YIELD && w->attempts == before);
        assert_int_equal(s, *stops == 'w' ? ENGINE_WAIT : ENGINE_YIELD);
        assert_int_equal(w->attempts, before + 1); /* once a poll, not twice */
    }
}

static void it_ends_at_once_waits_or_yields(void **state)
{
    static const char *const all[] = {"", "w", "y", "wyw", "yyww"};
    kit_module k = {0};
    wait_open(&k);
    waiter w = {0};
    engine_instance *in = kit_instance(&k, &w);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        slot s[1];
        w = (waiter){.says = all[i]};
        engine_call(in, 0, s);
        expect_stops(in, &w, all[i]);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(w.attempts, strlen(all[i]) + 1);
        assert_true(s[0].f64 == -5000000006.25);

        s[0].i32 = 5;
        w = (waiter){.says = all[i]};
        engine_call(in, 1, s);
        expect_stops(in, &w, all[i]);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(w.attempts, strlen(all[i]) + 2);
        assert_int_equal(s[0].i32, 5);
    }
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* How often `what` stands in text. */
static int count(const char *text, const char *what)
{
    int n = 0;
    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

static void a_trap_tells_where_it_was_called(void **state)
{
    static const char *const all[] = {"t", "wt", "ywt"};
    kit_module k = {0};
    wait_open(&k);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        waiter w = {.says = all[i]};
        engine_instance *in = kit_instance(&k, &w);
        slot s[1] = {{.i32 = 5}};
        char stops[4] = {0};
        memcpy(stops, all[i], strlen(all[i]) - 1);
        engine_call(in, 1, s);
        expect_stops(in, &w, stops);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        const engine_trap *t = engine_instance_trap(in);
        char want[64];
        snprintf(want, sizeof want, "attempt %zu failed", strlen(all[i]));
        assert_string_equal(t->text, want);
        assert_int_equal(count(t->backtrace, "inner_most"), 1);
        assert_int_equal(count(t->backtrace, "in_between"), 1);
        assert_int_equal(strncmp(t->backtrace, "0:", 2), 0);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

/* Many at once, dropped at every stop: nothing is called again. */
static void dropped_at_each_stop(void **state)
{
    enum { N = 60 };
    kit_module k = {0};
    wait_open(&k);
    static waiter w[N];
    static engine_instance *in[N];
    static slot s[N];
    for (int i = 0; i < N; i++) {
        w[i] = (waiter){.says = "wwwyyy"};
        in[i] = kit_instance(&k, &w[i]);
        s[i].i32 = i;
        engine_call(in[i], 1, &s[i]);
    }
    for (int round = 0; round < 6; round++)
        for (int i = 0; i < N; i++) {
            if (!in[i])
                continue;
            expect_stops(in[i], &w[i], round < 3 ? "w" : "y");
            if (i % 6 != round)
                continue;
            engine_instance_free(in[i]);
            in[i] = NULL;
            assert_int_equal(w[i].attempts, round + 1);
        }
    engine_module_close(k.m);
}

/* The guest's code in between does not yield, and has an end. */
static void what_it_calls_is_not_left(void **state)
{
    static const char *const all[] = {"", "w"};
    kit_module k = {0};
    wait_open(&k);
    for (size_t i = 0; i < 2; i++) {
        waiter w = {.says = all[i], .allocates = true};
        engine_instance *in = kit_instance(&k, &w);
        slot s[1] = {{.i32 = 5}};
        engine_call(in, 1, s);
        expect_stops(in, &w, all[i]);
        int before = w.attempts;
        engine_status status;
        do
            status = engine_poll(in);
        while (status == ENGINE_YIELD && w.attempts == before);
        assert_int_equal(status, ENGINE_TRAP);
        assert_non_null(strstr(engine_instance_trap(in)->text, "ran too long"));
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

static host_status host_allocates(void *env, engine_instance *in, slot *s)
{
    waiter *w = engine_user(in);
    host_status status = wait_says(w, in);
    return status == HOST_DONE && !engine_realloc(in, 0, 1, 1, &w->at) ? HOST_TRAP : status;
}

/* A guest whose allocator calls what may wait harms itself only: it must not come to Wasmtime's
 * async form while a host function that may wait is on the stack, at once or tried again. */
static void an_allocator_that_calls_out_is_refused(void **state)
{
    static const char *const all[] = {"", "w", "yw"};
    for (size_t i = 0; i < 6; i++) {
        kit_module k = {0};
        kit_open(&k,
                 "(module (import \"ebb\" \"0\" (func $allocates))"
                 " (import \"ebb\" \"1\" (func $none)) (memory (export \"m0\") 1)"
                 " (func (export \"r0\") (param i32 i32 i32 i32) (result i32)"
                 "  (call $none) (i32.const 8))"
                 " (func (export \"f0\") (call $allocates)))",
                 (const kit_import[]){{"allocates", "", {.fn = host_allocates, .may_wait = i < 3}},
                                      {"none", "", {.fn = host_none, .may_wait = true}},
                                      {NULL}},
                 (const char *const[]){"", NULL});
        k.unit.memories_count = k.unit.reallocs_count = 1;
        waiter w = {.says = i < 3 ? all[i] : ""};
        engine_instance *in = kit_instance(&k, &w);
        engine_call(in, 0, NULL);
        expect_stops(in, &w, w.says);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_string_equal(engine_instance_trap(in)->text,
                            "cannot leave component instance: 'test:kit/host' 'none' was called "
                            "during an allocation or clean-up");
        engine_instance_free(in);
        engine_module_close(k.m);
    }
}

static host_status host_counts(void *env, engine_instance *in, slot *s)
{
    waiter *w = engine_user(in);
    w->at = (uint32_t)engine_memory_bytes(in);
    return wait_says(w, in);
}

/* What it grew by counts for the host function that it calls, and for others while that waits. */
static void memory_is_counted_in_the_middle_of_a_call(void **state)
{
    static const kit_import imports[] = {{"counts", "", {.fn = host_counts, .may_wait = true}},
                                         {NULL}};
    kit_module k = {.unit.memories_count = 1};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $counts)) (memory (export \"m0\") 1)"
             " (func (export \"f0\") (drop (memory.grow (i32.const 2))) (call $counts)))",
             imports, (const char *const[]){"", NULL});
    waiter w = {.says = "w"};
    engine_instance *in = kit_instance(&k, &w);
    assert_int_equal(engine_memory_bytes(in), 65536);
    engine_call(in, 0, NULL);
    expect_stops(in, &w, "w");
    assert_int_equal(w.at, 3 * 65536);
    assert_int_equal(engine_memory_bytes(in), 3 * 65536);
    assert_int_equal(kit_run(in), ENGINE_DONE);
    assert_int_equal(engine_memory_bytes(in), 3 * 65536);
    engine_instance_free(in);
    engine_module_close(k.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_at_once_waits_or_yields),
        cmocka_unit_test(a_trap_tells_where_it_was_called),
        cmocka_unit_test(dropped_at_each_stop),
        cmocka_unit_test(what_it_calls_is_not_left),
        cmocka_unit_test(an_allocator_that_calls_out_is_refused),
        cmocka_unit_test(memory_is_counted_in_the_middle_of_a_call),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
