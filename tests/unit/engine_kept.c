/* engine/: the book-keeping of kept instances. Which one is taken and which one goes first, limits
 * exactly at their bounds, what a comparison says, what many pages and modules do to it. */
#include "engine_kit.h"

#include "base/limits.h"

#include <errno.h>
#include <sys/resource.h>

enum { PLACES = 6, TWINS = 3 };

/* f0(n): writes to each of the first n pages. f1(n): grows by n pages, answers the old size.
 * f2(address): writes a byte. f3(n): sets the global of 64 bits to n, f4(n): that of 32. f5(n):
 * puts another function at n in the table. f6(n): none. f7(n): grows the table. f8(n): reads the
 * first n pages. f9(n): writes to every third of the first n pages. */
static const char wat[] =
    "(module"
    " (memory (export \"m0\") 2)"
    " (global $short (export \"g0\") (mut i32) (i32.const 0))"
    " (global $size (export \"g1\") (export \"s0\") (mut i32) (i32.const 2))"
    " (global $wide (export \"g2\") (mut i64) (i64.const -5))"
    " (table $t (export \"t0\") 4 9 funcref) (elem (table $t) (i32.const 1) func $one $two)"
    " (elem declare func $one $two)"
    " (data (i32.const 4096) \"image\")"
    " (func $one) (func $two)"
    " (func $each (param i32 i32)"
    "  (loop (if (i32.ge_s (local.get 0) (local.get 1))"
    "   (then (local.set 0 (i32.sub (local.get 0) (local.get 1)))"
    "   (i32.store8 (i32.mul (local.get 0) (i32.const 4096)) (i32.const 1)) (br 1)))))"
    " (func (export \"f0\") (param i32) (call $each (local.get 0) (i32.const 1)))"
    " (func (export \"f1\") (param i32) (result i32) (local $old i32) (local $want i32)"
    "  (local.set $old (global.get $size))"
    "  (local.set $want (i32.add (local.get $old) (local.get 0)))"
    "  (if (i32.gt_u (local.get $want) (memory.size))"
    "   (then (if (i32.eq (memory.grow (i32.sub (local.get $want) (memory.size))) (i32.const -1))"
    "    (then (return (i32.const -1))))))"
    "  (global.set $size (local.get $want)) (local.get $old))"
    " (func (export \"f2\") (param i32) (i32.store8 (local.get 0) (i32.const 9)))"
    " (func (export \"f3\") (param i32) (global.set $wide (i64.extend_i32_s (local.get 0))))"
    " (func (export \"f4\") (param i32) (global.set $short (local.get 0)))"
    " (func (export \"f5\") (param i32) (table.set $t (local.get 0) (ref.func $two)))"
    " (func (export \"f6\") (param i32) (table.set $t (local.get 0) (ref.null func)))"
    " (func (export \"f7\") (param i32) (drop (table.grow $t (ref.null func) (local.get 0))))"
    " (func (export \"f8\") (param i32)"
    "  (loop (if (local.get 0) (then (local.set 0 (i32.sub (local.get 0) (i32.const 1)))"
    "   (drop (i32.load8_u (i32.mul (local.get 0) (i32.const 4096)))) (br 1)))))"
    " (func (export \"f9\") (param i32) (call $each (local.get 0) (i32.const 3))))";
static const char *const lifts[] = {"i", "i-i", "i", "i", "i", "i", "i", "i", "i", "i", NULL};
enum { TOUCH, GROW, WRITE, WIDE, SHORT, OTHER, NONE, TABLE, READ, THIRDS };

static ns now = 1000 * NS_PER_S;
static const engine_restoring checked = {.check_every = 1, .kept_max = TWINS - 1};

static int begin(void **state)
{
    err e;
    engine_config c = engine_config_default();
    c.instances_max = PLACES;
    c.restoring = checked;
    if (!engine_new(&c, &kit_engine, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], NULL, &kit_handlers[i]);
    return mkdtemp(kit_dir) ? 0 : -1;
}

static void open_it(kit_module *k)
{
    *k = (kit_module){.unit = {.memories_count = 1,
                               .globals_count = 3,
                               .tables_count = 1,
                               .sized_memories = 1,
                               .memory_bytes_min = 131072}};
    kit_open(k, wat, NULL, lifts);
}

static void open_as(kit_module *k, const engine_restoring *r)
{
    engine_restoring_set(kit_engine, r);
    open_it(k);
}

static void close_it(kit_module *k)
{
    engine_module_close(k->m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

static engine_given called(kit_module *k, uint32_t lift, uint32_t arg)
{
    engine_instance *in = kit_instance(k, NULL);
    kit_call(in, lift, arg);
    return engine_instance_give(in, now);
}

/* ---- settings ---- */

static void words(void **state)
{
    static const struct {
        const char *text;
        bool good;
        engine_restoring want;
    } cases[] = {
        {"", true, {ENGINE_RESTORE_AUTO, 77, 0, 5}},
        {"auto", true, {ENGINE_RESTORE_AUTO, 77, 0, 5}},
        {"pagemap", true, {ENGINE_RESTORE_PAGEMAP, 77, 0, 5}},
        {"never", true, {ENGINE_RESTORE_NEVER, 77, 0, 5}},
        {"never,auto", true, {ENGINE_RESTORE_AUTO, 77, 0, 5}},
        {"check=0", true, {ENGINE_RESTORE_AUTO, 0, 0, 5}},
        {"check=1234", true, {ENGINE_RESTORE_AUTO, 1234, 0, 5}},
        {"check=9,never", true, {ENGINE_RESTORE_NEVER, 9, 0, 5}},
        {"check=999999999", true, {ENGINE_RESTORE_AUTO, 999999999, 0, 5}},
        {"skip=memory", true, {ENGINE_RESTORE_AUTO, 77, ENGINE_SKIP_MEMORY, 5}},
        {"skip=globals", true, {ENGINE_RESTORE_AUTO, 77, ENGINE_SKIP_GLOBALS, 5}},
        {.text = "check=1000000000"},
        {.text = "check="},
        {.text = "check=1:"},
        {.text = "check=/"},
        {.text = "check=1 "},
        {.text = "checks=1"},
        {.text = "skip="},
        {.text = ",auto"},
        {.text = "autos"},
        {.text = "neve"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        engine_restoring r = {.check_every = 77, .kept_max = 5};
        engine_restoring want = cases[i].good ? cases[i].want : r;
        if (engine_restoring_parse(str_from(cases[i].text), &r, &e) != cases[i].good)
            fail_msg("'%s'", cases[i].text);
        assert_int_equal(r.mode, want.mode);
        assert_int_equal(r.check_every, want.check_every);
        assert_int_equal(r.skip, want.skip);
        assert_int_equal(r.kept_max, want.kept_max);
    }
    err e = {0};
    engine_restoring r = {0};
    assert_false(engine_restoring_parse(
        S("never,a word of more than forty letters that is no way at all"), &r, &e));
    assert_int_equal(r.mode, ENGINE_RESTORE_AUTO);
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "'a word of more than forty letters that i' is no way to restore "
                                "instances: write auto, pagemap or never, and check=N");
}

static void how_it_is_done_is_said(void **state)
{
    engine_restoring r = checked;
    struct rlimit old, none;
    bool scans = engine_restoring_usual(kit_engine); /* as engine_new left it */
    engine_restoring_set(kit_engine, &r);
    assert_int_equal(engine_restoring_usual(kit_engine), scans);
    if (scans)
        assert_string_equal(engine_restoring_says(kit_engine),
                            "instances: restored in place by PAGEMAP_SCAN");
    r.mode = ENGINE_RESTORE_PAGEMAP;
    engine_restoring_set(kit_engine, &r);
    assert_false(engine_restoring_usual(kit_engine));
    assert_string_equal(engine_restoring_says(kit_engine),
                        "instances: restored in place by reading pagemap, slower than PAGEMAP_SCAN "
                        "of Linux 6.7");
    r.mode = ENGINE_RESTORE_NEVER;
    engine_restoring_set(kit_engine, &r);
    assert_false(engine_restoring_usual(kit_engine));
    assert_string_equal(engine_restoring_says(kit_engine),
                        "instances: a new one for every request, as set");
    /* no descriptor to be had */
    kit_module k;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    r.mode = ENGINE_RESTORE_AUTO;
    none = (struct rlimit){0, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    engine_restoring_set(kit_engine, &r);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_false(engine_restoring_usual(kit_engine));
    assert_string_equal(engine_restoring_says(kit_engine),
                        "instances: a new one for every request, because /proc/self/pagemap can't "
                        "be read");
    open_it(&k);
    assert_int_equal(called(&k, TOUCH, 1), ENGINE_FREED);
    assert_int_equal(called(&k, TOUCH, 1), ENGINE_FREED);
    close_it(&k);
    engine_restoring_set(kit_engine, &r); /* what it has open is open again */
    int before = dup(0);
    for (int i = 0; i < 5; i++) /* the old ones are closed */
        engine_restoring_set(kit_engine, &r);
    int after = dup(0);
    assert_int_equal(after, before + 1);
    close(before);
    close(after);
}

/* ---- who is taken, who goes ---- */

/* Taken: the one given last, whose memory is warm. Evicted: the one unused for longest. */
static void last_in_first_out_and_oldest_evicted(void **state)
{
    kit_module k, other;
    engine_restoring r = {.check_every = 1, .kept_max = 10};
    err e = {0};
    open_as(&k, &r);
    engine_instance *a = kit_instance(&k, NULL), *b = kit_instance(&k, NULL),
                    *c = kit_instance(&k, NULL), *rest[PLACES];
    assert_int_equal(engine_instance_give(a, now), ENGINE_KEPT);
    assert_int_equal(engine_instance_give(b, now), ENGINE_KEPT);
    assert_int_equal(engine_instance_give(c, now), ENGINE_KEPT);
    assert_int_equal(engine_kept_count(kit_engine), 3);
    assert_ptr_equal(kit_instance(&k, NULL), c);
    assert_ptr_equal(kit_instance(&k, NULL), b);
    assert_int_equal(engine_kept_count(kit_engine), 1);
    assert_int_equal(engine_instance_give(c, now), ENGINE_KEPT);
    /* a and c are kept, b is in use: three places are left, then kept ones go, a first */
    open_it(&other);
    for (int i = 0; i < 5; i++) {
        rest[i] = kit_instance(&other, NULL);
        assert_false(engine_instance_kept(rest[i]));
        assert_int_equal(engine_kept_count(kit_engine), i < 3 ? 2 : 4 - i);
        if (i == 3) {
            assert_ptr_equal(kit_instance(&k, NULL), c);
            assert_true(engine_instance_kept(c));
            assert_int_equal(engine_instance_give(c, now), ENGINE_KEPT);
        }
    }
    assert_false(engine_instance_new(other.m, &kit_limits, NULL, &rest[5], &e));
    assert_string_equal(e.text, "all 6 instances are in use");
    for (int i = 0; i < 5; i++)
        engine_instance_free(rest[i]);
    engine_instance_free(b);
    close_it(&other);
    close_it(&k);
}

static void only_of_the_same_limits(void **state)
{
    kit_module k;
    engine_restoring r = {.check_every = 1, .kept_max = 10};
    err e = {0};
    open_as(&k, &r);
    assert_int_equal(called(&k, TOUCH, 1), ENGINE_KEPT);
    for (int i = 0; i < 3; i++) {
        engine_limits l = kit_limits;
        engine_instance *in = NULL;
        l.memory_bytes_max -= i == 1;
        l.table_elements_max -= i == 2;
        assert_true(engine_instance_new(k.m, &l, NULL, &in, &e));
        assert_int_equal(engine_instance_kept(in), i == 0);
        engine_start(in);
        assert_int_equal(kit_run(in), ENGINE_DONE);
        assert_int_equal(engine_instance_give(in, now), i == 0 ? ENGINE_KEPT : ENGINE_KEPT);
        /* what is kept on top now has other limits */
        assert_true(engine_instance_new(k.m, &kit_limits, NULL, &in, &e));
        assert_int_equal(engine_instance_kept(in), i == 0);
        engine_instance_free(in);
        if (i == 0)
            assert_int_equal(called(&k, TOUCH, 1), ENGINE_KEPT);
    }
    close_it(&k);
}

static void as_many_as_set(void **state)
{
    kit_module k;
    engine_restoring r = {.check_every = 1, .kept_max = 3};
    engine_instance *in[5];
    open_as(&k, &r);
    for (int i = 0; i < 5; i++)
        in[i] = kit_instance(&k, NULL);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(engine_instance_give(in[i], now), i < 3 ? ENGINE_KEPT : ENGINE_FREED);
        assert_int_equal(engine_kept_count(kit_engine), i < 3 ? i + 1 : 3);
    }
    close_it(&k);
    r.kept_max = 0;
    open_as(&k, &r);
    assert_int_equal(called(&k, TOUCH, 1), ENGINE_FREED);
    close_it(&k);
}

/* Each writes two pages: as many as fit, whatever was kept and left before. */
static void as_many_bytes_as_set(void **state)
{
    kit_module k;
    enum { EACH = 2 * 4096 };
    engine_restoring r = {.check_every = 1, .kept_max = 10, .kept_bytes_max = 3 * EACH};
    engine_instance *in[5];
    open_as(&k, &r);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            in[i] = kit_instance(&k, NULL);
            kit_call(in[i], TOUCH, 2);
        }
        for (int i = 0; i < 5; i++)
            assert_int_equal(engine_instance_give(in[i], now), i < 3 ? ENGINE_KEPT : ENGINE_FREED);
        if (round == 1) /* all go at once */
            engine_kept_expire(kit_engine, now + NS_PER_S, NS_PER_S);
    }
    assert_int_equal(called(&k, TOUCH, 2), ENGINE_KEPT); /* one was taken, one given back */
    close_it(&k);
    r.kept_bytes_max = EACH - 1;
    open_as(&k, &r);
    assert_int_equal(called(&k, TOUCH, 2), ENGINE_FREED);
    close_it(&k);
}

/* The engine was made for two kept instances: so three twins, one of them to compare with. */
static void there_are_places_for_so_many_twins(void **state)
{
    kit_module k[4];
    engine_instance *in[4];
    engine_restoring r = checked;
    r.skip = ENGINE_SKIP_MEMORY;
    open_as(&k[0], &r);
    for (int i = 1; i < 4; i++)
        open_it(&k[i]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(called(&k[i], READ, 1), i < 2 ? ENGINE_KEPT : ENGINE_FREED);
    for (int i = 0; i < 2; i++) /* they keep their twins */
        in[i] = kit_instance(&k[i], NULL);
    assert_int_equal(called(&k[2], READ, 1), ENGINE_KEPT);
    in[2] = kit_instance(&k[2], NULL);
    assert_int_equal(called(&k[3], READ, 1), ENGINE_FREED); /* no place for a twin */
    kit_call(in[0], TOUCH, 1); /* not put back, but there is no place to see it with */
    assert_int_equal(engine_instance_give(in[0], now), ENGINE_KEPT);
    engine_instance_free(in[1]);
    engine_instance_free(in[2]);
    /* closing one makes room for a comparison, idle time for all */
    engine_module_close(k[1].m);
    assert_int_equal(called(&k[0], TOUCH, 1), ENGINE_DIFFERS);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    now += NS_PER_S;
    assert_int_equal(engine_kept_expire(kit_engine, now, NS_PER_S), 0);
    assert_int_equal(called(&k[3], READ, 1), ENGINE_KEPT);
    assert_int_equal(called(&k[2], READ, 1), ENGINE_KEPT);
    for (int i = 0; i < 4; i++)
        if (i != 1)
            engine_module_close(k[i].m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

static void hot_is_less_than_a_tenth_of_a_second(void **state)
{
    static const struct {
        ns later;
        engine_given given;
    } cases[] = {
        {0, ENGINE_FREED}, /* the first */
        {100 * NS_PER_MS, ENGINE_FREED},
        {100 * NS_PER_MS - 1, ENGINE_KEPT},
        {100 * NS_PER_MS, ENGINE_FREED},
        {0, ENGINE_KEPT},
    };
    kit_module k;
    engine_restoring r = {.kept_max = 10};
    open_as(&k, &r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        now += cases[i].later;
        assert_int_equal(called(&k, TOUCH, 1), cases[i].given);
    }
    close_it(&k);
}

/* ---- time ---- */

static void idle_to_the_nanosecond(void **state)
{
    kit_module k[3];
    engine_restoring r = {.check_every = 1, .kept_max = 2};
    ns idle = 10 * NS_PER_S, t[3];
    open_as(&k[0], &r);
    open_it(&k[1]);
    open_it(&k[2]);
    assert_int_equal(engine_kept_expire(kit_engine, now, idle), 0);
    for (int i = 0; i < 2; i++) {
        t[i] = now;
        assert_int_equal(called(&k[i], TOUCH, 1), ENGINE_KEPT);
        now += NS_PER_S;
    }
    /* one that keeps none, but has a twin */
    engine_instance *a = kit_instance(&k[0], NULL);
    t[2] = now;
    assert_int_equal(called(&k[2], TOUCH, 1), ENGINE_KEPT);
    engine_instance_free(kit_instance(&k[2], NULL));
    assert_int_equal(engine_kept_expire(kit_engine, now, idle), t[0] + idle); /* k[0]'s twin */
    assert_int_equal(engine_kept_expire(kit_engine, t[0] + idle, idle), t[1] + idle);
    assert_int_equal(engine_kept_expire(kit_engine, t[1] + idle - 1, idle), t[1] + idle);
    assert_int_equal(engine_kept_count(kit_engine), 1);
    assert_int_equal(engine_kept_expire(kit_engine, t[1] + idle, idle), t[2] + idle);
    assert_int_equal(engine_kept_count(kit_engine), 0);
    assert_int_equal(engine_kept_expire(kit_engine, t[2] + idle, idle), 0);
    now = t[2] + idle;
    assert_int_equal(engine_instance_give(a, now), ENGINE_FREED); /* its twin has gone */
    assert_int_equal(engine_kept_expire(kit_engine, now, idle), 0);
    for (int i = 0; i < 3; i++)
        engine_module_close(k[i].m);
    assert_int_equal(engine_kept_count(kit_engine), 0);
}

/* Modules come and go in any order, and none is forgotten or kept in the list. */
static void modules_go_in_any_order(void **state)
{
    static const int orders[][2] = {{0, 1}, {1, 0}, {0, 2}, {2, 0}, {1, 2}, {2, 1}};
    engine_restoring r = {.check_every = 0, .kept_max = 3};
    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        kit_module k[3];
        bool is_open[3] = {true, true, true};
        open_as(&k[0], &r);
        open_it(&k[1]);
        open_it(&k[2]);
        for (int i = 0; i < 6; i++)
            assert_int_equal(called(&k[i % 3], TOUCH, 1), i < 3 ? ENGINE_FREED : ENGINE_KEPT);
        for (int n = 0; n < 2; n++) {
            assert_int_equal(engine_kept_count(kit_engine), 3 - n);
            engine_module_close(k[orders[o][n]].m);
            is_open[orders[o][n]] = false;
            assert_int_equal(engine_kept_expire(kit_engine, now, NS_PER_S), now + NS_PER_S);
        }
        assert_int_equal(engine_kept_count(kit_engine), 1);
        now += NS_PER_S;
        assert_int_equal(engine_kept_expire(kit_engine, now, NS_PER_S), 0);
        assert_int_equal(engine_kept_count(kit_engine), 0);
        for (int i = 0; i < 3; i++)
            if (is_open[i])
                engine_module_close(k[i].m);
    }
}

/* ---- how much may have changed ---- */

static void twice_the_usual_and_some_pages(void **state)
{
    static const struct {
        bool second;    /* on a new instance, beside a kept one that is in use */
        uint32_t pages; /* that it writes */
        engine_given given;
    } cases[] = {
        {false, 2, ENGINE_KEPT},                              /* usual 2: up to 20 */
        {false, 20, ENGINE_KEPT},  {false, 21, ENGINE_FREED}, /* and is gone */
        {false, 3, ENGINE_KEPT},                              /* new again: (2 * 7 + 3) / 8 = 2 */
        {false, 21, ENGINE_FREED}, {false, 18, ENGINE_KEPT},  /* (14 + 18) / 8 = 4: up to 24 */
        {false, 24, ENGINE_KEPT},  {false, 25, ENGINE_FREED},
    };
    for (int every = 0; every < 2; every++) {
        kit_module k;
        engine_restoring r = {.check_every = (uint32_t)every, .kept_max = 10};
        open_as(&k, &r);
        if (!every)
            engine_instance_free(kit_instance(&k, NULL)); /* its samples read, and write nothing */
        if (!every) {
            engine_instance *in = kit_instance(&k, NULL);
            assert_int_equal(engine_instance_give(in, now), ENGINE_FREED); /* cold */
        }
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            if (called(&k, TOUCH, cases[i].pages) != cases[i].given)
                fail_msg("case %zu, check %d", i, every);
        close_it(&k);
    }
}

/* What is only read is no page of its own, by neither way to look. */
static void reading_costs_nothing(void **state)
{
    for (int mode = ENGINE_RESTORE_AUTO; mode <= ENGINE_RESTORE_PAGEMAP; mode++) {
        kit_module k;
        engine_restoring r = {.mode = (engine_restore_mode)mode, .kept_max = 10};
        open_as(&k, &r);
        assert_int_equal(called(&k, TOUCH, 1), ENGINE_FREED);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(called(&k, TOUCH, 1), ENGINE_KEPT);
            assert_int_equal(called(&k, READ, 32), ENGINE_KEPT);
        }
        close_it(&k);
    }
}

static void grown_by_sixteen_mebibytes(void **state)
{
    kit_module k;
    engine_restoring r = {.check_every = 1, .kept_max = 10};
    open_as(&k, &r);
    assert_int_equal(called(&k, GROW, 256), ENGINE_KEPT);
    assert_int_equal(called(&k, GROW, 257), ENGINE_FREED);
    assert_int_equal(called(&k, GROW, 257), ENGINE_FREED);
    assert_int_equal(called(&k, GROW, 1), ENGINE_KEPT);
    close_it(&k);
}

/* Runs of pages in all places: more than one look returns, over the size that it began with, over
 * the pages of one read, to the last page. */
static void many_pages_are_put_back(void **state)
{
    for (int mode = ENGINE_RESTORE_AUTO; mode <= ENGINE_RESTORE_PAGEMAP; mode++) {
        kit_module k;
        engine_restoring r = {.mode = (engine_restore_mode)mode, .check_every = 1, .kept_max = 10};
        open_as(&k, &r);
        for (int i = 0; i < 6; i++) {
            engine_instance *in = kit_instance(&k, NULL);
            assert_int_equal(engine_instance_kept(in), i > 0);
            assert_int_equal(kit_call(in, GROW, 62), 2); /* 1024 pages */
            kit_call(in, THIRDS, i % 2 ? 1023 : 1024);
            kit_call(in, WRITE, 4096 * 1024 - 1);
            for (uint32_t page = 500; page < 530; page++)
                kit_call(in, WRITE, 4096 * page + page);
            if (i > 3) /* over the end of what there was */
                kit_call(in, TOUCH, 40);
            if (engine_instance_give(in, now) != ENGINE_KEPT)
                fail_msg("%d: %s", i, engine_module_difference(k.m));
        }
        /* and without a comparison that looks at all of it */
        engine_instance *in = kit_instance(&k, NULL);
        size_t size;
        assert_int_equal(kit_call(in, GROW, 62), 2);
        const uint8_t *p = engine_memory(in, 0, &size);
        assert_int_equal(size, 1024 * 4096);
        for (size_t at = 0; at < size; at++)
            if (p[at] && (at < 4096 || at >= 4101))
                fail_msg("byte %zu", at);
        assert_memory_equal(p + 4096, "image", 5);
        engine_instance_free(in);
        close_it(&k);
    }
}

/* A limit that was lowered for a call is the old one in the next. */
static void limits_are_put_back(void **state)
{
    kit_module k;
    engine_restoring r = {.check_every = 1, .kept_max = 10};
    open_as(&k, &r);
    for (int i = 0; i < 3; i++) {
        engine_instance *in = kit_instance(&k, NULL);
        assert_int_equal(engine_instance_kept(in), i > 0);
        assert_int_equal(kit_call(in, GROW, 10), 2);
        engine_instance_limit(in, 12 * 65536);
        assert_int_equal(kit_call(in, GROW, (uint32_t)i + 1), i == 0 ? -1 : 12);
        assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
        if (i == 0) { /* what is there already may be had again, whatever the limit */
            in = kit_instance(&k, NULL);
            assert_int_equal(kit_call(in, GROW, 30), 2);
            assert_int_equal(engine_instance_give(in, now), ENGINE_KEPT);
        }
    }
    close_it(&k);
}

/* ---- what a comparison says ---- */

static void differences_are_named(void **state)
{
    static const struct {
        uint32_t skip, lift, arg, then, then_arg;
        const char *says; /* NULL: it is kept */
    } cases[] = {
        {ENGINE_SKIP_GLOBALS, GROW, 1, READ, 0, "memory 0 has 196608 bytes"},
        {ENGINE_SKIP_MEMORY, GROW, 1, WRITE, 131072, "memory 0 is not zero above byte 131072"},
        {ENGINE_SKIP_MEMORY, GROW, 1, WRITE, 196607, "memory 0 is not zero above byte 131072"},
        {ENGINE_SKIP_MEMORY, READ, 0, WRITE, 0, "memory 0 differs from byte 0 on"},
        {ENGINE_SKIP_MEMORY, READ, 0, WRITE, 131071, "memory 0 differs from byte 131071 on"},
        {ENGINE_SKIP_MEMORY, WRITE, 70001, WRITE, 70002, "memory 0 differs from byte 70001 on"},
        {ENGINE_SKIP_GLOBALS, WIDE, 7, READ, 0, "global 2 has the value 0x7"},
        {ENGINE_SKIP_GLOBALS, WIDE, UINT32_MAX, READ, 0,
         "global 2 has the value 0xffffffffffffffff"},
        {ENGINE_SKIP_GLOBALS, SHORT, UINT32_MAX, READ, 0, "global 0 has the value 0xffffffff"},
        {0, OTHER, 1, READ, 0, "table 0 differs at element 2"}, /* seen by what lies between */
        {0, OTHER, 3, READ, 0, "table 0 differs at element 3"},
        {0, NONE, 2, READ, 0, "table 0 differs at element 2"},
        {0, TABLE, 5, READ, 0, "table 0 has 9 elements"},
        {0, TABLE, 0, READ, 0, NULL},
        {0, OTHER, 2, NONE, 3, NULL}, /* as they were */
        {ENGINE_SKIP_GLOBALS, SHORT, 0, READ, 0, NULL},
        {ENGINE_SKIP_MEMORY, READ, 32, READ, 32, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_module k;
        engine_restoring r = checked;
        r.skip = cases[i].skip;
        open_as(&k, &r);
        assert_string_equal(engine_module_difference(k.m), "");
        engine_instance *in = kit_instance(&k, NULL);
        kit_call(in, cases[i].lift, cases[i].arg);
        kit_call(in, cases[i].then, cases[i].then_arg);
        engine_given given = engine_instance_give(in, now);
        assert_int_equal(given, cases[i].says ? ENGINE_DIFFERS : ENGINE_KEPT);
        assert_string_equal(engine_module_difference(k.m), cases[i].says ? cases[i].says : "");
        assert_int_equal(called(&k, READ, 0), cases[i].says ? ENGINE_FREED : ENGINE_KEPT);
        close_it(&k);
    }
}

/* The plan names what the module has not. */
static void a_plan_that_lies_is_not_restored(void **state)
{
    kit_module k;
    open_as(&k, &checked);
    k.unit.tables_count = 2;
    assert_int_equal(called(&k, READ, 0), ENGINE_DIFFERS);
    assert_string_equal(engine_module_difference(k.m), "table 1 is not exported (0)");
    close_it(&k);
    open_as(&k, &checked);
    k.unit.globals_count = 4;
    for (int i = 0; i < 2; i++)
        assert_int_equal(called(&k, READ, 0), ENGINE_FREED);
    assert_string_equal(engine_module_difference(k.m), "");
    close_it(&k);
}

static void compared_once_in_so_many(void **state)
{
    kit_module k;
    engine_restoring r = {.check_every = 3, .kept_max = 2, .skip = ENGINE_SKIP_MEMORY};
    open_as(&k, &r);
    assert_int_equal(called(&k, READ, 1), ENGINE_FREED); /* cold */
    for (int i = 0; i < 9; i++) /* the first of three is compared, and then not kept */
        assert_int_equal(called(&k, READ, 1), i % 3 == 0 ? ENGINE_FREED : ENGINE_KEPT);
    for (int i = 0; i < 1; i++)
        assert_int_equal(called(&k, TOUCH, 1), ENGINE_DIFFERS);
    close_it(&k);
    r.check_every = 0; /* never */
    open_as(&k, &r);
    assert_int_equal(called(&k, READ, 1), ENGINE_FREED);
    for (int i = 0; i < 9; i++)
        assert_int_equal(called(&k, TOUCH, 1), ENGINE_KEPT);
    close_it(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test(how_it_is_done_is_said),
        cmocka_unit_test(last_in_first_out_and_oldest_evicted),
        cmocka_unit_test(only_of_the_same_limits),
        cmocka_unit_test(as_many_as_set),
        cmocka_unit_test(as_many_bytes_as_set),
        cmocka_unit_test(there_are_places_for_so_many_twins),
        cmocka_unit_test(hot_is_less_than_a_tenth_of_a_second),
        cmocka_unit_test(idle_to_the_nanosecond),
        cmocka_unit_test(modules_go_in_any_order),
        cmocka_unit_test(twice_the_usual_and_some_pages),
        cmocka_unit_test(reading_costs_nothing),
        cmocka_unit_test(grown_by_sixteen_mebibytes),
        cmocka_unit_test(many_pages_are_put_back),
        cmocka_unit_test(limits_are_put_back),
        cmocka_unit_test(differences_are_named),
        cmocka_unit_test(a_plan_that_lies_is_not_restored),
        cmocka_unit_test(compared_once_in_so_many),
    };
    return cmocka_run_group_tests(tests, begin, kit_end);
}
