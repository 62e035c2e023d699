/* engine/: compiling, fingerprints, what is checked when an artifact is opened, working sets. */
#include "engine_kit.h"

#include <errno.h>
#include <sys/stat.h>

static const char wat_small[] =
    "(module (import \"ebb\" \"0\" (func (param i32) (result i32)))"
    " (memory (export \"m0\") 1)"
    " (func (export \"r0\") (param i32 i32) (result i32) (i32.const 8))"
    " (func (export \"f0\") (param i32) (result i32) (call 0 (local.get 0))))";

static void compile(const char *wat, buf *cwasm)
{
    err e = {0};
    buf wasm;
    buf_init(&wasm, 1 << 20);
    buf_init(cwasm, 1 << 24);
    if (!engine_wat2wasm(str_from(wat), &wasm, &e) ||
        !engine_compile(kit_engine, buf_bytes(&wasm), cwasm, &e))
        fail_msg("%s", e.text);
    buf_fini(&wasm);
}

static void compile_errors(void **state)
{
    static const uint8_t bad[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 99, 0};
    /* type () -> i32; a function of that type with an empty body */
    static const uint8_t ill_typed[] = {0, 'a',  's', 'm', 1, 0, 0,  0, 1, 5, 1, 0x60, 0,
                                        1, 0x7f, 3,   2,   1, 0, 10, 4, 1, 2, 0, 0x0b};
    static const uint8_t component[] = {0, 'a', 's', 'm', 0x0d, 0, 1, 0};
    err e = {0};
    buf out;
    buf_init(&out, 1 << 20);
    assert_false(engine_compile(kit_engine, (bytes){bad, sizeof bad}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, ": malformed section id: 99 (at offset 0xa)"));
    assert_null(strchr(e.text, '\n'));
    assert_false(engine_compile(kit_engine, (bytes){ill_typed, sizeof ill_typed}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, "type mismatch"));
    assert_false(engine_compile(kit_engine, (bytes){component, sizeof component}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_false(engine_compile(kit_engine, (bytes){NULL, 0}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_int_equal(out.n, 0);
    buf_fini(&out);
    /* an output buffer that is too small says so */
    buf_init(&out, 100);
    static const uint8_t empty[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    assert_false(engine_compile(kit_engine, (bytes){empty, sizeof empty}, &out, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&out);
}

static void fingerprints(void **state)
{
    err e = {0};
    engine *compiler = NULL, *other = NULL;
    engine_config c = engine_config_default();
    c.compiler = true;
    assert_true(engine_new(&c, &compiler, &e));
    /* What the compile process makes, the worker accepts: and only then the names agree. */
    assert_true(str_eq(engine_fingerprint(compiler), engine_fingerprint(kit_engine)));
    assert_true(str_starts(engine_fingerprint(compiler), S("wasmtime-")));
    engine_free(compiler);
    c.compiler_threads = true; /* shapes how, not what */
    assert_true(engine_new(&c, &compiler, &e));
    assert_true(str_eq(engine_fingerprint(compiler), engine_fingerprint(kit_engine)));
    buf wasm, one, many;
    compile(wat_small, &one);
    buf_init(&wasm, 1 << 20);
    buf_init(&many, 1 << 24);
    assert_true(engine_wat2wasm(str_from(wat_small), &wasm, &e));
    assert_true(engine_compile(compiler, buf_bytes(&wasm), &many, &e));
    assert_int_equal(one.n, many.n);
    assert_memory_equal(one.p, many.p, one.n);
    buf_fini(&wasm);
    buf_fini(&one);
    buf_fini(&many);
    engine_free(compiler);
    c.wasm_stack_bytes *= 2; /* the worker's to decide */
    assert_true(engine_new(&c, &compiler, &e));
    assert_true(str_eq(engine_fingerprint(compiler), engine_fingerprint(kit_engine)));
    engine_free(compiler);
    /* one ticking engine a process */
    c.compiler = false;
    assert_false(engine_new(&c, &other, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    c.instances_max = 0;
    assert_false(engine_new(&c, &other, &e));
    assert_int_equal(e.code, ERR_LIMIT);
}

static bool try_open(const char *path, const plan_unit *unit, const engine_import *ims, err *e)
{
    engine_module *m = NULL;
    if (!kit_module_open(path, unit, ims, &m, e))
        return false;
    engine_module_close(m);
    return true;
}

static host_status host_same(void *env, engine_instance *in, slot *s) { return HOST_DONE; }

static void open_checks(void **state)
{
    buf cwasm;
    compile(wat_small, &cwasm);
    char path[64], link_path[64];
    snprintf(path, sizeof path, "%s/a.cwasm", kit_dir);
    snprintf(link_path, sizeof link_path, "%s/b.cwasm", kit_dir);
    plan_import import = {
        .interface = S("test:a/b"), .name = S("c"), .signature = kit_signature("i-i")};
    engine_import im = {.fn = host_same};
    plan_unit unit = {.imports = &import, .imports_count = 1};
    err e = {0};

    assert_false(try_open(path, &unit, &im, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    kit_write(path, buf_bytes(&cwasm), 0400);
    assert_true(try_open(path, &unit, &im, &e));

    assert_int_equal(chmod(path, 0420), 0); /* the group may write */
    assert_false(try_open(path, &unit, &im, &e));
    assert_int_equal(e.code, ERR_DENIED);
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(symlink(path, link_path), 0);
    assert_false(try_open(link_path, &unit, &im, &e));
    assert_int_equal(unlink(link_path), 0);
    assert_false(try_open(kit_dir, &unit, &im, &e)); /* a directory */
    assert_int_equal(e.code, ERR_DENIED);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 0), 0);
        assert_false(try_open(path, &unit, &im, &e));
        assert_int_equal(e.code, ERR_DENIED);
        assert_non_null(strstr(e.text, "12345"));
    }

    /* cut at every length that a broken write could leave (and one byte too long) */
    for (size_t n = 0; n < cwasm.n; n += n < 128 ? 1 : cwasm.n / 13) {
        kit_write(path, (bytes){cwasm.p, n}, 0400);
        assert_false(try_open(path, &unit, &im, &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
    assert_true(buf_put_u8(&cwasm, 0));
    kit_write(path, buf_bytes(&cwasm), 0400);
    assert_false(try_open(path, &unit, &im, &e));
    assert_int_equal(e.code, ERR_INVALID);
    cwasm.n--;

    /* a version that is not ours: the engine's own check */
    uint8_t *version = memmem(cwasm.p, cwasm.n, "50.0.1", 6);
    if (version) {
        version[0] = '4';
        kit_write(path, buf_bytes(&cwasm), 0400);
        assert_false(try_open(path, &unit, &im, &e));
        assert_int_equal(e.code, ERR_INVALID);
        version[0] = '5';
    }

    /* plan and module disagree */
    kit_write(path, buf_bytes(&cwasm), 0400);
    import.signature = kit_signature("I-i");
    assert_false(try_open(path, &unit, &im, &e));
    assert_int_equal(e.code, ERR_INVALID);
    import.signature = kit_signature("i-i");
    unit.imports_count = 0;
    assert_false(try_open(path, &unit, &im, &e));
    assert_int_equal(e.code, ERR_INVALID);
    unit.imports_count = 1;
    assert_true(try_open(path, &unit, &im, &e));
    unlink(path);
    buf_fini(&cwasm);
}

/* What the plan says about the module is not believed where an unchecked call relies on it. */
static host_status host_alloc(void *env, engine_instance *in, slot *s)
{
    uint32_t at = 0;
    return engine_realloc(in, 0, 1, 1, &at) ? HOST_DONE : HOST_TRAP;
}

static host_status host_destroy(void *env, engine_instance *in, slot *s)
{
    return engine_destroy(in, 0, 1) ? HOST_DONE : HOST_TRAP;
}

static void wrong_types(void **state)
{
    struct {
        engine_host_fn fn;
        const char *lift, *want;
    } cases[] = {
        {host_alloc, "i-i", "no realloc 0 of the right type"},
        {host_destroy, "i-i", "no destructor 0 of the right type"},
        {host_same, "I-i", ""}, /* the engine's own check of a call's types */
        {host_same, "-", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_module k = {0};
        kit_open(&k, wat_small, (const kit_import[]){{"a", "i-i", {.fn = cases[i].fn}}, {NULL}},
                 (const char *const[]){cases[i].lift, NULL});
        k.unit.reallocs_count = k.unit.memories_count = 1;
        engine_instance *in = kit_instance(&k, NULL);
        slot s[1] = {{.i32 = 1}};
        engine_call(in, 0, s);
        assert_int_equal(kit_run(in), ENGINE_TRAP);
        assert_non_null(strstr(engine_instance_trap(in)->text, cases[i].want));
        engine_instance_free(in);
        engine_module_close(k.m);
    }
    kit_module k = {0};
    kit_open(&k, wat_small, (const kit_import[]){{"a", "i-i", {.fn = host_same}}, {NULL}},
             (const char *const[]){"i-i", "-", NULL}); /* f1 is not there */
    engine_instance *in = kit_instance(&k, NULL);
    engine_call(in, 1, NULL);
    assert_int_equal(kit_run(in), ENGINE_TRAP);
    assert_non_null(strstr(engine_instance_trap(in)->text, "lacks an export"));
    engine_instance_free(in);
    engine_module_close(k.m);
}

/* ---- working sets ---- */

static int pagemap = -1;

/* How many of the memory's 64 pages are private now, before the guest writes. */
static host_status host_look(void *env, engine_instance *in, slot *s)
{
    size_t size = 0;
    uint64_t entries[64], first = (uintptr_t)engine_memory(in, 0, &size) >> 12;
    assert_int_equal(size, sizeof entries / 8 * 4096);
    assert_int_equal(pread(pagemap, entries, sizeof entries, (off_t)(first * 8)), sizeof entries);
    s[0].u64 = 0;
    for (size_t i = 0; i < 64; i++)
        s[0].u64 += entries[i] >> 63 && !(entries[i] >> 61 & 1);
    return HOST_DONE;
}

/* `usual` pages are populated, and `more` where a longer run is written. */
static void working_set(int usual, int more)
{
    kit_module k = {0};
    kit_open(&k,
             "(module (import \"ebb\" \"0\" (func $look (result i32)))"
             " (memory (export \"m0\") 4) (data (i32.const 12288) \"image\")"
             " (func $write (param i32 i32)" /* pages [0, 1) */
             "  (loop $l"
             "   (if (i32.ne (i32.load8_u (i32.shl (local.get 0) (i32.const 12)))"
             "     (select (i32.const 105) (i32.const 0) (i32.eq (local.get 0) (i32.const 3))))"
             "    (then (unreachable)))" /* what is populated holds what it should */
             "   (i32.store8 (i32.shl (local.get 0) (i32.const 12)) (i32.const 7))"
             "   (local.set 0 (i32.add (local.get 0) (i32.const 1)))"
             "   (br_if $l (i32.lt_u (local.get 0) (local.get 1)))))"
             " (func (export \"f0\") (param i32) (result i32) (local i32)"
             "  (local.set 1 (call $look))"
             "  (call $write (i32.const 1) (i32.const 5))"
             "  (call $write (i32.const 6) (i32.const 9))"
             "  (call $write (i32.const 20) (i32.const 22))"
             "  (if (local.get 0) (then (call $write (i32.const 26) (i32.const 50))))"
             "  (drop (memory.grow (i32.const 1)))" /* beyond 64 is nothing to populate at first */
             "  (call $write (i32.const 60) (i32.const 70))"
             "  (local.get 1)))",
             (const kit_import[]){{"look", "-i", {.fn = host_look}}, {NULL}},
             (const char *const[]){"i-i", NULL});
    k.unit.memories_count = 1;
    for (int i = 0; i < 200; i++) {
        /* The first two show what they write; the run at 26 is written by the first alone, so it
         * is nobody's habit. From 60 on it is written always, and populated after two samples. */
        engine_instance *in = kit_instance(&k, NULL);
        slot s[1] = {{.i32 = i == 0 || i >= 60}};
        engine_call(in, 0, s);
        if (kit_run(in) != ENGINE_DONE)
            fail_msg("%d: %s", i, engine_instance_trap(in)->text);
        bool sampled = i < 2 || i % 64 == 0;
        assert_int_equal(s[0].i32, sampled ? 0 : i < 128 ? usual : more);
        engine_instance_free(in);
    }
    engine_module_close(k.m);
}

static void working_sets(void **state)
{
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        skip();
    if (engine_populates_at_once(kit_engine))
        working_set(12, 37); /* where there are many, every page and no other */
    engine_restoring r = engine_config_default().restoring;
    r.mode = ENGINE_RESTORE_PAGEMAP;
    engine_restoring_set(kit_engine, &r);
    assert_false(engine_populates_at_once(kit_engine));
    working_set(12, 36); /* with the gap at 5, without the short run at 20 */
    close(pagemap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compile_errors), cmocka_unit_test(fingerprints),
        cmocka_unit_test(open_checks),    cmocka_unit_test(wrong_types),
        cmocka_unit_test(working_sets),
    };
    return cmocka_run_group_tests(tests, kit_begin, kit_end);
}
