/* Sources that are fetched, by a fetching process that is this program again: what is asked of it,
 * what is kept under which name, and what is refused. And the files with what guests print. */
#include "folder_kit.h"

#include "app/app.h"
#include "base/arena.h"
#include "base/limits.h"
#include "platform/fetch.h"
#include "platform/guestlog.h"

#include <string.h>

/* --- the fetching process: its words are what it fetches, and are kept in a file -------------- */

static int fetch(int argc, char **argv)
{
    char said[512] = "";
    int out = 3, message = 4;
    for (int i = 2; i < argc; i++)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s", i > 2 ? " " : "",
                 argv[i]);
    if (strstr(said, "refuse")) {
        dprintf(message, "3 nobody has it");
        return 1;
    }
    if (strstr(said, "large"))
        return ftruncate(out, 5000000);
    return write(out, said, strlen(said)) == (ssize_t)strlen(said) ? 0 : 1;
}

/* --- fixture ---------------------------------------------------------------------------------- */

static arena a;
static err e;

static int begin(void **state)
{
    arena_init(&a, 64 << 20);
    return folder_make("/dev/shm/ebb-test-fetch") ? 0 : -1;
}

static int end(void **state)
{
    arena_fini(&a);
    return folder_remove(dir);
}

static const char *in(const char *name)
{
    static char path[4][512];
    static unsigned n;
    char *p = path[n++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* --- sources ---------------------------------------------------------------------------------- */

#define OF_URL "sha256:c7d9cbd87838f98e78fe6a1a0de34a97dd3cb3ea1d5c6c5f0e1f9a2b3c4d5e6f"

static bool get(const app_source *s, bool insecure, str *path, str *digest)
{
    return fetch_source(&a, str_from(dir), S("c"), s, insecure, NULL, path, digest, &e);
}

/* What a URL has must have the manifest's digest, in any case of its digits. */
static void a_url_and_its_digest(void **state)
{
    str path, digest;
    app_source s = {.kind = APP_SOURCE_URL, .url = S("https://h/c.wasm"), .digest = S(OF_URL)};
    assert_false(get(&s, false, &path, &digest));
    says("component 'c', source https://h/c.wasm: its digest is sha256:");
    says("and the manifest wants " OF_URL);
    assert_int_equal(entries(in("sources")), 2); /* nothing is kept of it */
    char real[80];
    snprintf(real, sizeof real, "%.71s", strstr(e.text, "its digest is ") + 14);
    for (char *c = real + 7; *c; c++)
        *c = *c >= 'a' && *c <= 'f' ? (char)(*c - 32) : *c;
    s.digest = str_from(real);
    assert_true(get(&s, false, &path, &digest));
    assert_string_equal(content(path.p), "url https://h/c.wasm");
    assert_int_equal(entries(in("sources")), 3);
    /* What is there is not asked for again. */
    FILE *f = fopen(path.p, "w");
    fputs("kept", f);
    fclose(f);
    assert_true(get(&s, true, &path, &digest));
    assert_string_equal(content(path.p), "kept");
    assert_true(digest.p[7] != 'C' && str_eq_nocase(digest, s.digest));
    unlink(path.p);
    assert_false(get(&s, true, &path, &digest)); /* "insecure" is another word */
    says("its digest is");
    s.url = S("https://h/refuse");
    assert_false(get(&s, false, &path, &digest));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    says("component 'c', source https://h/refuse: nobody has it");
}

/* A version is pinned to what it was when it was fetched first. */
static void packages_and_their_pins(void **state)
{
    str path, digest, again, same;
    app_source s = {.kind = APP_SOURCE_REGISTRY,
                    .registry = S("r.example"),
                    .package = S("n:p"),
                    .version = S("1.2.3")};
    assert_true(get(&s, false, &path, &digest));
    assert_string_equal(content(path.p), "package r.example n:p 1.2.3");
    assert_int_equal(digest.n, 71);
    assert_memory_equal(content(in("packages/r.example/n:p/1.2.3")), digest.p, 71);
    assert_true(get(&s, true, &again, &same)); /* from the cache: no word of "insecure" */
    assert_true(str_eq(path, again) && str_eq(digest, same));
    s.version = S("^1.0");
    s.is_range = true;
    assert_true(get(&s, true, &path, &digest));
    assert_string_equal(content(path.p), "range r.example n:p ^1.0 insecure");
    /* A pin whose file has gone, or that is none, is made anew. */
    unlink(path.p);
    assert_true(get(&s, false, &path, &digest));
    assert_string_equal(content(path.p), "range r.example n:p ^1.0");
    FILE *f = fopen(in("packages/r.example/n:p/^1.0"), "w");
    fputs("nonsense", f);
    fclose(f);
    assert_true(get(&s, false, &path, &digest));
    assert_memory_equal(content(in("packages/r.example/n:p/^1.0")), digest.p, 71);
    static const struct {
        str registry, version;
    } bad[] = {{S("a/b"), S("1")}, {S(".r"), S("1")}, {S("r"), S("1/2")}, {S("r"), S(".1")}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s.registry = bad[i].registry;
        s.version = bad[i].version;
        assert_false(get(&s, false, &path, &digest));
        assert_int_equal(e.code, ERR_INVALID);
        says("component 'c', source n:p: the registry must be a host, and the version a version");
    }
    s.registry = (str){0};
    assert_false(get(&s, false, &path, &digest));
    says("package 'n:p' names no registry");
}

static void texts_and_manifests(void **state)
{
    bytes got;
    str digest;
    assert_true(fetch_text(&a, S("https://h/t"), 100, false, &got, &e));
    assert_int_equal(got.n, 15);
    assert_memory_equal(got.p, "url https://h/t", 15);
    assert_true(fetch_text(&a, S("https://h/t"), 15, false, &got, &e));
    assert_false(fetch_text(&a, S("https://h/t"), 14, false, &got, &e));
    says("https://h/t is longer than 14 bytes");
    assert_true(fetch_text(&a, S("https://h/t"), 100, true, &got, &e));
    assert_memory_equal(got.p, "url https://h/t insecure", got.n);
    assert_false(fetch_text(&a, S("refuse"), 100, false, &got, &e));
    says("nobody has it");
    oci_reference from = {.registry = S("r"), .repository = S("o/a"), .tag = S("v1")};
    assert_true(fetch_manifest(&a, &from, false, &got, &digest, &e));
    assert_memory_equal(got.p, "manifest r o/a v1", got.n);
    assert_int_equal(digest.n, 71);
    from.digest = digest; /* another text has another digest */
    assert_false(fetch_manifest(&a, &from, false, &got, &digest, &e));
    says("the registry sent a manifest with the digest sha256:");
    from = (oci_reference){.registry = S("r"), .repository = S("large"), .tag = S("v1")};
    assert_false(fetch_manifest(&a, &from, false, &got, &digest, &e));
    says("the manifest has more than");
}

static void blobs_of_an_app(void **state)
{
    str path, kept;
    oci_reference from = {.registry = S("r"), .repository = S("o/a")};
    str wanted = S(OF_URL);
    assert_false(fetch_kept(&a, str_from(dir), wanted, &path));
    assert_false(fetch_blob(&a, str_from(dir), &from, wanted, false, NULL, &path, &e));
    says("and the manifest wants");
    assert_true(fetch_keep(&a, str_from(dir), (bytes){(const uint8_t *)"abc", 3}, &kept, &e));
    assert_true(str_ends(
        kept, S("/sources/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")));
    assert_string_equal(content(kept.p), "abc");
    wanted = S("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(fetch_kept(&a, str_from(dir), wanted, &path));
    assert_true(str_eq(path, kept));
    assert_true(fetch_blob(&a, str_from(dir), &from, wanted, false, NULL, &path, &e));
    assert_int_equal(entries(in("sources")), 3); /* and no unfinished one */
    assert_false(fetch_keep(&a, S("/proc/none"), (bytes){(const uint8_t *)"abc", 3}, &kept, &e));
    says("cannot make the folder");
}

/* --- what guests print ------------------------------------------------------------------------ */

static void lines_of_a_component(void **state)
{
    guestlog l;
    str folder;
    assert_true(guestlog_dir_make(&a, str_from(in("x/logs")), false, &folder, &e));
    assert_true(str_eq(folder, str_from(in("x/logs"))));
    assert_true(guestlog_open(folder, S("c"), &l, &e));
    guestlog_write(&l, 1, S("one"));
    guestlog_write(&l, 2, S("oops"));
    guestlog_write(&l, 1, S(""));
    guestlog_write(&l, 1, S("two"));
    guestlog_close(&l);
    guestlog_write(&l, 1, S("nowhere"));
    assert_string_equal(content(in("x/logs/c_stdout.txt")), "one\n\ntwo\n");
    assert_string_equal(content(in("x/logs/c_stderr.txt")), "oops\n");
    assert_true(guestlog_open(folder, S("c"), &l, &e)); /* goes on where it was */
    guestlog_write(&l, 1, S("three"));
    guestlog_close(&l);
    assert_string_equal(content(in("x/logs/c_stdout.txt")), "one\n\ntwo\nthree\n");
    close(creat(in("x/logs/other.txt"), 0600));
    assert_int_equal(truncate(in("x/logs/other.txt"), 3), 0);
    assert_true(guestlog_dir_make(&a, str_from(in("x/logs")), false, &folder, &e));
    assert_string_not_equal(content(in("x/logs/c_stdout.txt")), "");
    assert_true(guestlog_dir_make(&a, str_from(in("x/logs")), true, &folder, &e));
    assert_string_equal(content(in("x/logs/c_stdout.txt")), "");
    assert_string_equal(content(in("x/logs/c_stderr.txt")), "");
    struct stat st;
    assert_int_equal(stat(in("x/logs/other.txt"), &st), 0);
    assert_int_equal(st.st_size, 3);                      /* not ours */
    assert_true(guestlog_open((str){0}, S("c"), &l, &e)); /* no folder: nothing is written */
    guestlog_write(&l, 1, S("nowhere"));
    assert_true(l.out < 0 && l.err < 0);
    guestlog_close(&l);
    assert_false(guestlog_open(str_from(in("none")), S("c"), &l, &e));
    says("c_stdout.txt");
    assert_int_equal(symlink("/etc/hostname", in("x/logs/d_stderr.txt")), 0);
    assert_false(guestlog_open(folder, S("d"), &l, &e)); /* no link is followed */
    says("d_stderr.txt");
    close(creat(in("file"), 0600));
    assert_false(guestlog_dir_make(&a, str_from(in("file/logs")), false, &folder, &e));
    says("cannot make the folder");
}

/* A process for many apps has the last few files open, and the one it writes to is among them. */
static void the_last_few_are_open(void **state)
{
    guestlogs all = {.open_max = 2};
    guestlog l[4];
    char names[4][16];
    size_t before = entries("/proc/self/fd");
    for (size_t i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "app%zu", i);
        guestlog_open_later(&all, str_from(arena_cstr(&a, str_from(in(names[i])))), S("c"), &l[i]);
    }
    assert_int_equal(access(in("app0"), F_OK), -1); /* made by the first line */
    guestlog_write(&l[0], 1, S("0"));
    guestlog_write(&l[0], 2, S("0 too"));
    assert_int_equal(all.open, 1);
    assert_int_equal(entries("/proc/self/fd"), before + 2);
    guestlog_write(&l[1], 1, S("1"));
    guestlog_write(&l[2], 1, S("2"));
    assert_int_equal(all.open, 2);
    assert_true(l[0].out < 0 && l[0].err < 0); /* the oldest went, with both */
    assert_true(l[1].out >= 0);
    guestlog_write(&l[1], 1, S("1 again")); /* and is now the newest */
    guestlog_write(&l[3], 2, S("3"));
    assert_true(l[2].out < 0 && l[1].out >= 0 && l[3].err >= 0);
    guestlog_write(&l[0], 1, S("0 again"));
    assert_true(l[1].out < 0);
    assert_string_equal(content(in("app0/c_stdout.txt")), "0\n0 again\n");
    assert_string_equal(content(in("app1/c_stdout.txt")), "1\n1 again\n");
    assert_string_equal(content(in("app3/c_stderr.txt")), "3\n");
    for (size_t i = 0; i < 4; i++)
        guestlog_close(&l[i]);
    assert_int_equal(all.open, 0);
    assert_true(!all.newest && !all.oldest);
    assert_int_equal(entries("/proc/self/fd"), before);
}

/* A file that is full becomes the older one; whoever still has that one open begins anew. */
static void files_are_turned(void **state)
{
    guestlogs all = {.open_max = 9}, others = {.open_max = 9};
    guestlog l, other;
    struct stat st;
    size_t n = 70 * 1024;
    char *line = malloc(n);
    memset(line, 'x', n);
    str folder = str_from(arena_cstr(&a, str_from(in("app"))));
    guestlog_open_later(&all, folder, S("c"), &l);
    guestlog_open_later(&others, folder, S("c"), &other);
    guestlog_write(&l, 1, S("first"));
    guestlog_write(&other, 1, S("second"));
    assert_int_equal(truncate(in("app/c_stdout.txt"), LOG_TURN_BYTES - 1), 0);
    guestlog_write(&l, 1, (str){line, n});
    assert_int_equal(access(in("app/c_stdout.txt.1"), F_OK), -1); /* not yet */
    guestlog_write(&l, 1, (str){line, n});
    assert_int_equal(stat(in("app/c_stdout.txt.1"), &st), 0);
    assert_int_equal(st.st_size, LOG_TURN_BYTES - 1 + n + 1);
    assert_int_equal(stat(in("app/c_stdout.txt"), &st), 0);
    assert_int_equal(st.st_size, n + 1);
    guestlog_write(&other, 1, (str){line, n});
    assert_int_equal(stat(in("app/c_stdout.txt"), &st), 0);
    assert_int_equal(st.st_size, 2 * (n + 1)); /* the new one, which it did not turn */
    guestlog_close(&l);
    guestlog_close(&other);
    free(line);
}

#define fetch_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "@fetch") == 0 ? fetch(argc, argv) : 2;
    const struct CMUnitTest tests[] = {
        fetch_test(a_url_and_its_digest), fetch_test(packages_and_their_pins),
        fetch_test(texts_and_manifests),  fetch_test(blobs_of_an_app),
        fetch_test(lines_of_a_component), fetch_test(the_last_few_are_open),
        fetch_test(files_are_turned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
