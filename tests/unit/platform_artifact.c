/* Artifacts: made once by processes that are this program again, kept whole or not at all, and what
 * a decoding process may not get away with. A component that begins with "LIE:" makes it write what
 * stands there instead. And what is expected of processes that are waited for. */
#include "folder_kit.h"

#include "base/arena.h"
#include "component/composition.h"
#include "engine/engine.h"
#include "engine/engine_test.h"
#include "platform/artifact.h"
#include "platform/role.h"
#include "platform/spawn.h"

#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

/* --- the other processes ---------------------------------------------------------------------- */

typedef struct {
    uint32_t magic, units;
    uint64_t plan_bytes, module_bytes[64];
} head;

static int lie(const char *what)
{
    head h = {.magic = 0x31626265};
    size_t n = sizeof h;
    if (strcmp(what, "little") == 0)
        n = sizeof h - 1;
    if (strcmp(what, "magic") == 0)
        h.magic++;
    if (strcmp(what, "units") == 0)
        h.units = 65;
    if (strcmp(what, "plan") == 0)
        h.plan_bytes = 1;
    if (strcmp(what, "module") == 0) {
        h.units = 1;
        h.module_bytes[0] = 1;
    }
    if (strcmp(what, "wrap") == 0) {
        h.units = 2;
        h.module_bytes[0] = UINT64_MAX;
        h.module_bytes[1] = 1;
    }
    if (strcmp(what, "said") == 0) {
        dprintf(5, "1 it is not to our taste");
        return 1;
    }
    if (strcmp(what, "silent") == 0)
        return 7;
    if (strcmp(what, "signal") == 0)
        raise(SIGKILL);
    if (write(4, &h, n) != (ssize_t)n)
        return 2;
    return strcmp(what, "much") == 0 && write(4, "x", 1) != 1 ? 2 : 0;
}

static int decode(int argc, char **argv)
{
    char first[32] = "";
    ssize_t n = pread(3, first, sizeof first - 1, 0);
    return n > 4 && memcmp(first, "LIE:", 4) == 0 ? lie(first + 4)
                                                  : role_decode(argc - 1, argv + 1);
}

/* Says what it finds itself in. */
static int look(int argc, char **argv)
{
    struct rlimit core, cpu, file;
    char *fds = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&fds, &n);
    for (int fd = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            fprintf(out, " %d", fd);
    fclose(out);
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_CPU, &cpu);
    getrlimit(RLIMIT_FSIZE, &file);
    dprintf(3, "%s:", argv[1]);
    for (int i = 2; i < argc; i++)
        dprintf(3, " %s", argv[i]);
    dprintf(3, ";%s; %llu %llu %llu; %s", fds, (unsigned long long)core.rlim_cur,
            (unsigned long long)cpu.rlim_cur, (unsigned long long)file.rlim_cur,
            getenv("HOME") || getenv("SECRET") ? "secrets" : "nothing");
    free(fds);
    return 0;
}

/* --- fixture ---------------------------------------------------------------------------------- */

static arena a;
static err e;
static str cache;

static int begin(void **state)
{
    arena_init(&a, 256 << 20);
    return folder_make("/dev/shm/ebb-test-artifact") &&
                   artifact_cache_dir(&a, arena_printf(&a, "%s/cache", dir).p, &cache, &e)
               ? 0
               : -1;
}

static int end(void **state)
{
    arena_fini(&a);
    return folder_remove(dir);
}

static str in(const char *name) { return arena_printf(&a, "%s/%s", dir, name); }

static str put(const char *name, bytes content)
{
    str path = in(name);
    int fd = open(path.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && fd_write_all(fd, content.p, content.n, &e));
    close(fd);
    return path;
}

static bytes wasm_of(str wat)
{
    buf wasm;
    buf_init(&wasm, 1 << 20);
    if (!engine_wat2wasm(wat, &wasm, &e))
        fail_msg("%s", e.text);
    bytes made = arena_bytes(&a, buf_bytes(&wasm));
    buf_fini(&wasm);
    return made;
}

/* A component of one instance whose function returns n. */
static str component(const char *name, int n)
{
    return put(name, wasm_of(arena_printf(
                         &a,
                         "(component (core module $m (func (export \"f\") (result i32) i32.const "
                         "%d)) (core instance $i (instantiate $m)) (func (export \"g\") (result "
                         "u32) (canon lift (core func $i \"f\"))))",
                         n)));
}

/* The file of a component with a dependency that has what it imports. */
static str composition(const char *name, bytes dependency)
{
    const str main =
        S("(component (import \"test:dep/api\" (instance $d (export \"g\" (func (result u32)))))"
          "(core func $g (canon lower (func $d \"g\")))"
          "(core module $m (import \"d\" \"g\" (func $g (result i32)))"
          " (func (export \"f\") (result i32) call $g))"
          "(core instance $i (instantiate $m (with \"d\" (instance (export \"g\" (func $g))))))"
          "(func (export \"h\") (result u32) (canon lift (core func $i \"f\"))))");
    const composition_part parts[] = {{.component = wasm_of(main)},
                                      {.name = S("test:dep/api"), .component = dependency}};
    buf out;
    buf_init(&out, 1 << 20);
    assert_true(composition_write(parts, 2, &out, &e));
    str path = put(name, buf_bytes(&out));
    buf_fini(&out);
    return path;
}

static bool ensure(artifact *items, size_t n, unsigned jobs)
{
    static char fingerprint[128];
    if (!*fingerprint) {
        engine *en;
        engine_config config = engine_config_default();
        config.compiler = true;
        if (!engine_new(&config, &en, &e))
            fail_msg("%s", e.text);
        snprintf(fingerprint, sizeof fingerprint, "%.*s", STR(engine_fingerprint(en)));
        engine_free(en);
    }
    return artifact_ensure_all(&a, cache, str_from(fingerprint), items, n, jobs, NULL, &e);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void made_once(void **state)
{
    artifact items[3] = {{.label = S("a"), .source = component("a.wasm", 1)},
                         {.label = S("b"), .source = component("b.wasm", 2)},
                         {.label = S("c"), .source = component("c.wasm", 1)}};
    plan p;
    ns decoded, compiled;
    struct stat st;
    if (!ensure(items, 3, 2))
        fail_msg("%s", e.text);
    assert_true(items[0].made && items[1].made && !items[2].made); /* it is the first again */
    assert_true(str_eq(items[0].dir, items[2].dir) && !str_eq(items[0].dir, items[1].dir));
    assert_true(items[0].decode_ns > 0 && items[0].compile_ns > 0);
    assert_int_equal(items[0].digest.n, 64);
    assert_true(str_starts(
        items[0].dir, arena_printf(&a, "%.*s/artifacts/%.*s-", STR(cache), STR(items[0].digest))));
    assert_int_equal(entries(arena_printf(&a, "%.*s/artifacts", STR(cache)).p), 4);
    assert_int_equal(entries(items[0].dir.p), 5); /* the plan, times, and one module */
    assert_true(artifact_plan(&a, items[0].dir, &p, &e));
    assert_int_equal(p.units_count, 1);
    assert_true(artifact_times(items[0].dir, &decoded, &compiled, &e));
    assert_true(decoded == items[0].decode_ns && compiled == items[0].compile_ns);
    str module = artifact_module_path(&a, items[0].dir, 0);
    assert_int_equal(stat(module.p, &st), 0);
    assert_true(st.st_size > 0 && (st.st_mode & 0222) == 0);
    /* A second time nothing is made, whatever can't be started. */
    artifact again = {.label = S("a"), .source = items[0].source};
    assert_true(ensure(&again, 1, 0));
    assert_false(again.made);
    assert_true(str_eq(again.dir, items[0].dir));
    assert_true(ensure(NULL, 0, 1));
    /* Without its plan it is not there; the folder of the same name is in the way then. */
    unlink(arena_printf(&a, "%.*s/plan", STR(items[1].dir)).p);
    assert_false(artifact_plan(&a, items[1].dir, &p, &e));
    unlink(arena_printf(&a, "%.*s/times", STR(items[1].dir)).p);
    assert_false(artifact_times(items[1].dir, &decoded, &compiled, &e));
    says("times: No such file");
    put("cache/artifacts/times", (bytes){(const uint8_t *)"12 x", 4});
    assert_false(
        artifact_times(arena_printf(&a, "%.*s/artifacts", STR(cache)), &decoded, &compiled, &e));
    says("times is damaged");
}

/* They become one artifact, with a module of each. What is wrong with a dependency names it. */
static void a_component_and_its_dependency(void **state)
{
    const str dependency =
        S("(component (core module $m (func (export \"f\") (result i32) i32.const 7))"
          "(core instance $i (instantiate $m))"
          "(func $g (result u32) (canon lift (core func $i \"f\")))"
          "(instance $x (export \"g\" (func $g))) (export \"test:dep/api\" (instance $x)))");
    artifact item = {.label = S("both"), .source = composition("both", wasm_of(dependency))};
    plan p;
    if (!ensure(&item, 1, 1))
        fail_msg("%s", e.text);
    assert_true(item.made && artifact_plan(&a, item.dir, &p, &e));
    assert_int_equal(p.units_count, 2);
    assert_int_equal(entries(item.dir.p), 6); /* the plan, times, and two modules */
    artifact bad = {.label = S("bad"), .source = composition("bad", wasm_of(S("(module)")))};
    assert_false(ensure(&bad, 1, 1));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    says("component 'bad' (");
    says("dependency 'test:dep/api': ");
}

static bool not_this_one(arena *of, const plan *p, err *why)
{
    return err_set(why, ERR_DENIED, "%u units are not to our taste", p->units_count);
}

/* Nothing of what failed is kept; what was finished is. */
static void what_fails(void **state)
{
    static const struct {
        const char *name, *content, *says;
        err_code code;
    } rows[] = {
        {"x.wasm", "nonsense", "component 'x' (", ERR_INVALID},
        {"little", "LIE:little", "the decode process wrote too little", ERR_INVALID},
        {"magic", "LIE:magic", "the decode process wrote no frames", ERR_INVALID},
        {"units", "LIE:units", "the decode process wrote no frames", ERR_INVALID},
        {"plan", "LIE:plan", "the decode process wrote a cut plan", ERR_INVALID},
        {"module", "LIE:module", "the decode process wrote a cut module", ERR_INVALID},
        {"wrap", "LIE:wrap", "the decode process wrote a cut module", ERR_INVALID},
        {"much", "LIE:much", "the decode process wrote too much", ERR_INVALID},
        {"empty", "LIE:nothing", "the decode process wrote a bad plan", ERR_INVALID},
        {"said", "LIE:said", "it is not to our taste", ERR_INVALID},
        {"silent", "LIE:silent", "the decode process ended with status 7", ERR_INTERNAL},
        {"signal", "LIE:signal", "the decode process was ended by signal 9", ERR_LIMIT},
    };
    str artifacts = arena_printf(&a, "%.*s/artifacts", STR(cache));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        artifact item = {.label = S("x"),
                         .source = put(rows[i].name, (bytes){(const uint8_t *)rows[i].content,
                                                             strlen(rows[i].content)})};
        assert_false(ensure(&item, 1, 1));
        assert_int_equal(e.code, rows[i].code);
        says(rows[i].says);
        says("component 'x' (");
        assert_false(item.made);
        assert_int_equal(entries(artifacts.p), 2);
    }
    artifact refused = {.source = component("r.wasm", 3), .accepts = not_this_one};
    assert_false(ensure(&refused, 1, 1));
    assert_int_equal(e.code, ERR_DENIED);
    assert_string_equal(e.text, "1 units are not to our taste"); /* no label: none is named */
    artifact both[2] = {{.label = S("good"), .source = component("g.wasm", 4)},
                        {.label = S("bad"), .source = in("x.wasm")}};
    assert_false(ensure(both, 2, 1));
    says("component 'bad' (");
    assert_int_equal(entries(artifacts.p), 3);
    both[0].made = false;
    assert_true(ensure(both, 1, 1));
    assert_false(both[0].made);
}

static void sources_that_are_none(void **state)
{
    static const struct {
        const char *name, *says;
    } rows[] = {{"none", "component 'x': "},
                {"", "is not a WebAssembly file"},
                {"empty", "is not a WebAssembly file"}};
    put("empty", (bytes){(const uint8_t *)"", 0});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        artifact item = {.label = S("x"), .source = in(rows[i].name)};
        assert_false(ensure(&item, 1, 1));
        says(rows[i].says);
        if (i == 0)
            says("does not exist; build it first ('ebb build')");
    }
    char *deep = malloc(5000);
    memset(deep, 'd', 4999);
    deep[4999] = 0;
    artifact item = {.source = component("a.wasm", 1)};
    assert_false(artifact_ensure_all(&a, str_from(deep), S("f"), &item, 1, 1, NULL, &e));
    says("the cache folder's path is too long");
    free(deep);
}

static void folders_of_the_cache(void **state)
{
    str got;
    const char *home = getenv("HOME"), *xdg = getenv("XDG_CACHE_HOME");
    home = home ? arena_cstr(&a, str_from(home)) : NULL;
    xdg = xdg ? arena_cstr(&a, str_from(xdg)) : NULL;
    setenv("HOME", in("home").p, 1);
    setenv("XDG_CACHE_HOME", in("xdg").p, 1);
    assert_true(artifact_cache_dir(&a, NULL, &got, &e));
    assert_true(str_eq(got, in("xdg/ebb")));
    assert_int_equal(access(in("xdg/ebb/artifacts").p, F_OK), 0);
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_true(artifact_cache_dir(&a, NULL, &got, &e));
    assert_true(str_eq(got, in("home/.cache/ebb")));
    setenv("HOME", "relative", 1);
    assert_false(artifact_cache_dir(&a, NULL, &got, &e));
    says("give one with --cache-dir");
    put("file", (bytes){(const uint8_t *)"", 0});
    assert_false(artifact_cache_dir(&a, in("file/x").p, &got, &e));
    says("give another place with --cache-dir");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
}

static void files_are_read_whole(void **state)
{
    bytes got;
    char hex[65];
    str path = put("five", (bytes){(const uint8_t *)"12345", 5});
    assert_true(file_load(&a, path.p, 5, &got, &e));
    assert_int_equal(got.n, 5);
    assert_string_equal((const char *)got.p, "12345"); /* and a NUL after it */
    assert_false(file_load(&a, path.p, 4, &got, &e));
    says("five: 5 bytes, at most 4 are read");
    assert_false(file_load(&a, dir, 4, &got, &e));
    says("not a regular file");
    assert_false(file_load(&a, in("none").p, 4, &got, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(sha256_hex((bytes){(const uint8_t *)"abc", 3}, hex, &e));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* --- processes -------------------------------------------------------------------------------- */

static void what_a_child_finds(void **state)
{
    char text[256] = "";
    int pair[2], spare = open("/dev/null", O_RDONLY);
    pid_t pid;
    spawn_limits limits = {.cpu_s = 77, .file_bytes = 12345678};
    assert_int_equal(pipe(pair), 0); /* not close-on-exec, all the same */
    setenv("SECRET", "x", 1);
    assert_true(spawn_role("look", (const char *const[]){"one", "two", NULL},
                           (int[]){pair[1], spare}, 2, &limits, true, &pid, &e));
    unsetenv("SECRET");
    close(pair[1]);
    assert_true(spawn_wait(pid, "look", -1, &e));
    assert_true(read(pair[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "@look: one two; 0 1 2 3 4; 0 77 12345678; nothing");
    close(pair[0]);
    close(spare);
}

static void what_is_said_of_an_end(void **state)
{
    static const struct {
        const char *what, *says;
        err_code code;
    } rows[] = {{"said", "it is not to our taste", ERR_INVALID},
                {"silent", "the end process ended with status 7", ERR_INTERNAL},
                {"signal", "the end process was ended by signal 9", ERR_LIMIT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
        pid_t pid;
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        assert_true(spawn_role("end", (const char *const[]){rows[i].what, NULL},
                               (int[]){null, null, pair[1]}, 3, NULL, true, &pid, &e));
        close(pair[1]);
        assert_false(spawn_wait(pid, "end", pair[0], &e));
        assert_int_equal(e.code, rows[i].code);
        says(rows[i].says);
        close(pair[0]);
        close(null);
    }
    assert_false(spawn_wait(1, "other", -1, &e)); /* no child of ours */
    says("waiting for the other process");
}

#define artifact_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "@decode") == 0    ? decode(argc, argv)
               : strcmp(argv[1], "@compile") == 0 ? role_compile(argc - 1, argv + 1)
               : strcmp(argv[1], "@look") == 0    ? look(argc, argv)
               : strcmp(argv[1], "@end") == 0     ? lie(argv[2])
                                                  : 2;
    const struct CMUnitTest tests[] = {
        artifact_test(made_once),
        artifact_test(a_component_and_its_dependency),
        artifact_test(what_fails),
        artifact_test(sources_that_are_none),
        artifact_test(folders_of_the_cache),
        artifact_test(files_are_read_whole),
        artifact_test(what_a_child_finds),
        artifact_test(what_is_said_of_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
