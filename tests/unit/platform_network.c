/* What a node is told of the network: limits, proxies, certificates; and the process that makes
 * artifacts for it, which is this program again. */
#include "folder_kit.h"
#include "loop_kit.h"

#include "platform/artifact.h"
#include "platform/builder.h"
#include "platform/certificates.h"
#include "platform/network.h"
#include "platform/role.h"
#include "tls_kit.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static arena a;
static err e;

static int begin(void **state)
{
    arena_init(&a, 16 << 20);
    return folder_make("/dev/shm/ebb-test-network") && chdir(dir) == 0 ? open_loop(state) : -1;
}

static int end(void **state)
{
    close_loop(state);
    arena_fini(&a);
    return chdir("/") || folder_remove(dir);
}

static void put(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

/* --- settings --------------------------------------------------------------------------------- */

static bool limit(const char *text, network_config *ret)
{
    network_options o = {.limits = &text, .limits_count = 1};
    return network_read(&a, &o, ret, &e);
}

static void limits_of_the_server(void **state)
{
    static const struct {
        const char *name;
        uint64_t min, max;
    } rows[] = {
        {"head-bytes", 256, 16 << 20}, {"headers", 1, 10000},       {"uri-bytes", 16, 16 << 20},
        {"body-bytes", 1, INT64_MAX},  {"connections", 1, 1000000}, {"streams", 1, 10000},
        {"handshake-time", 1, 86400},  {"head-time", 1, 86400},     {"idle-time", 1, 86400},
        {"body-time", 1, 86400},       {"write-time", 1, 86400},    {"half-close-time", 1, 86400}};
    network_config c, got;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < 4; k++) {
            uint64_t n = k == 0   ? rows[i].min
                         : k == 1 ? rows[i].max
                         : k == 2 ? rows[i].min - 1
                                  : rows[i].max + 1;
            char text[64];
            snprintf(text, sizeof text, "%s=%llu", rows[i].name, (unsigned long long)n);
            assert_true(limit(text, &c) == (k < 2));
            if (k >= 2)
                says(rows[i].name);
            if (k != 0)
                continue;
            json_t *j = network_json(&c); /* a worker reads the same */
            assert_true(network_from_json(&a, j, &got));
            json_decref(j);
            assert_memory_equal(&got.limits, &c.limits, sizeof c.limits);
        }
    }
    assert_true(limit("idle-time=7", &c) && c.limits.idle_wait == 7 * NS_PER_S);
    assert_true(limit("headers=9", &c) && c.limits.headers_max == 9 && !c.limits.idle_wait);
    for (const char *const *bad = (const char *const[]){"headers", "headers=", "headers=x", NULL};
         *bad; bad++) {
        assert_false(limit(*bad, &c));
        says("headers is a number from 1 to 10000");
        assert_null(strstr(e.text, "seconds"));
    }
    assert_false(limit("head-time=0", &c));
    says("(seconds)");
    assert_false(limit("heads=1", &c));
    says("there is no such limit; give one of head-bytes, headers, ");
    says(", half-close-time");
}

static void proxies_servers_and_stalls(void **state)
{
    const char *trusted[] = {"10.0.0.1", "192.168.0.0/16, 2001:db8::/32"},
               *servers[] = {"a:1", "b"};
    network_options o = {.trusted = trusted,
                         .trusted_count = 2,
                         .name_servers = servers,
                         .name_servers_count = 2,
                         .stall_ms = "60000"};
    network_config c, got;
    assert_true(network_read(&a, &o, &c, &e));
    assert_int_equal(c.trusted.n, 3);
    assert_int_equal(c.trusted.at[1].bits, 16);
    assert_str(c.name_servers, "a:1,b");
    assert_true(c.stall == 60000 * NS_PER_MS);
    assert_true(c.connections.http_max == UINT64_MAX && !c.connections.no_pooling);
    json_t *j = network_json(&c);
    assert_true(network_from_json(&a, j, &got));
    json_decref(j);
    assert_int_equal(got.trusted.n, 3);
    assert_memory_equal(&got.trusted.at[2], &c.trusted.at[2], sizeof c.trusted.at[2]);
    assert_true(got.stall == c.stall && str_eq(got.name_servers, c.name_servers));
    for (const char *const *bad = (const char *const[]){"0", "60001", "x", "", NULL}; *bad; bad++) {
        o.stall_ms = *bad;
        assert_false(network_read(&a, &o, &c, &e));
        says("give milliseconds, at most 60000");
    }
    o.stall_ms = NULL;
    trusted[1] = "10.0.0.0/8, nobody";
    assert_false(network_read(&a, &o, &c, &e));
    says("trusted proxy 'nobody'");
}

static void a_runtime_configuration(void **state)
{
    network_options o = {.runtime_config_path = "run.toml", .workers = 3};
    network_config c;
    put("roots.pem", "x", 1);
    static const char text[] =
        "[outbound_networking]\nblock_networks = [\"1.2.3.0/24\"]\n"
        "max_total_connections = 10\n[outbound_http]\nmax_connections = 9\n"
        "connection_pooling = false\n"
        "[[client_tls]]\ncomponent_ids = [\"one\", \"two\"]\nhosts = [\"h.example\"]\n"
        "ca_roots_file = \"roots.pem\"\nca_use_webpki_roots = false\n";
    put("run.toml", text, sizeof text - 1);
    if (!network_read(&a, &o, &c, &e))
        fail_msg("%s", e.text);
    assert_int_equal(c.connections.total_max, 4); /* a worker's share, rounded up */
    assert_int_equal(c.connections.http_max, 3);
    assert_true(c.connections.no_pooling && c.connections.sockets_max == UINT64_MAX);
    assert_int_equal(c.tls_count, 1);
    assert_true(str_eq(c.tls[0].tls.roots_file, arena_printf(&a, "%s/roots.pem", dir)));
    assert_int_equal(c.tls[0].components.n, 2);
    const uint8_t inside[] = {1, 2, 3, 4}, outside[] = {1, 2, 4, 4};
    assert_true(network_is_blocked(&c, inside, 4) && !network_is_blocked(&c, outside, 4));
    o.workers = 0;
    assert_true(network_read(&a, &o, &c, &e));
    assert_int_equal(c.connections.total_max, 10);
    unlink("roots.pem");
    assert_false(network_read(&a, &o, &c, &e));
    says("run.toml:7: [[client_tls]]: ./roots.pem: ");
    o.runtime_config_path = "none.toml";
    assert_false(network_read(&a, &o, &c, &e));
    says("none.toml");
}

/* Files of all lengths are read whole, up to the last byte: here that ends the list. */
static void a_runtime_configuration_of_any_length(void **state)
{
    static const char list[] = "[outbound_networking]\nblock_networks = [\"1.2.3.0/24\"]";
    network_options o = {.runtime_config_path = "run.toml", .workers = 1};
    const uint8_t inside[] = {1, 2, 3, 4};
    char text[2 * 4096 + 2];
    for (size_t n = 4095; n <= sizeof text; n += n % 4096 == 2 ? 4093 : 1) {
        network_config c;
        memset(text, '\n', sizeof text);
        memcpy(text + n - (sizeof list - 1), list, sizeof list - 1);
        put("run.toml", text, n);
        if (!network_read(&a, &o, &c, &e))
            fail_msg("%zu bytes: %s", n, e.text);
        assert_true(network_is_blocked(&c, inside, 4));
    }
}

/* --- certificates ----------------------------------------------------------------------------- */

static void pair_put(const char *certificate, const char *key, const made *m)
{
    put(key, m->key, m->key_n);
    put(certificate, m->certificate, m->certificate_n);
}

static void certificates_of_a_folder(void **state)
{
    made x = make("x.example", "DNS:x.example", 90), y = make("y.example", "DNS:y.example", 90),
         old = make("z.example", "DNS:z.example", -1);
    certificates_source from = {.folder = "tls"};
    certificates *c;
    tls_store *got;
    struct stat st;
    bool changed;
    int fd;
    assert_false(certificates_open(&from, &c, &e));
    says("tls: No such file");
    mkdir("tls", 0700);
    assert_false(certificates_open(&from, &c, &e));
    says("tls: no certificate in it");
    mkdir("tls/y", 0700);
    mkdir("tls/empty", 0700);
    pair_put("tls/x.crt", "tls/x.key", &x);
    put("tls/readme.txt", "?", 1);
    put("tls/.hidden.crt", "?", 1);
    assert_true(certificates_open(&from, &c, &e));
    assert_null(certificates_warning(c));
    assert_true(certificates_reload(c, &changed, &e));
    assert_false(changed);
    assert_true(certificates_file(c, &fd, &e));
    fstat(fd, &st);
    off_t one = st.st_size;
    assert_true(certificates_receive_take(fd, &got, &e)); /* as a worker does */
    tls_store_unref(got);
    pair_put("tls/y/fullchain.pem", "tls/y/privkey.pem", &y);
    assert_true(certificates_reload(c, &changed, &e));
    assert_true(changed);
    assert_true(certificates_file(c, &fd, &e));
    fstat(fd, &st);
    assert_true(st.st_size > one + (off_t)y.certificate_n);
    close(fd);
    pair_put("tls/z.pem", "tls/z.key", &old);
    assert_true(certificates_reload(c, &changed, &e));
    assert_true(changed && strstr(certificates_warning(c), "tls/z.pem"));
    put("tls/z.key", x.key, x.key_n); /* of another one */
    assert_false(certificates_reload(c, &changed, &e));
    assert_true(certificates_warning(c) != NULL); /* those read before stay */
    put("tls/w.crt", x.certificate, x.certificate_n);
    assert_false(certificates_reload(c, &changed, &e));
    says("tls/w.key: No such file");
    certificates_close(c);
    certificates_close(NULL);
    assert_false(certificates_receive_take(open("/dev/null", O_RDONLY | O_CLOEXEC), &got, &e));
    unmake(&x);
    unmake(&y);
    unmake(&old);
}

static void changes_are_noticed(void **state)
{
    made x = make("x.example", NULL, 90);
    certificates_source from = {.certificate_path = "x.pem", .key_path = "x.key"};
    certificates *c;
    bool changed;
    sigset_t io;
    struct timespec patience = {10, 0};
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    sigprocmask(SIG_BLOCK, &io, NULL);
    pair_put("x.pem", "x.key", &x);
    assert_true(certificates_open(&from, &c, &e));
    assert_false(certificates_noticed(c)); /* nobody watches yet */
    assert_true(certificates_watch(c, SIGIO, &e));
    assert_false(certificates_noticed(c));
    put("x.pem.new", x.certificate, x.certificate_n);
    assert_int_equal(rename("x.pem.new", "x.pem"), 0);
    assert_int_equal(sigtimedwait(&io, NULL, &patience), SIGIO);
    assert_true(certificates_noticed(c));
    assert_false(certificates_noticed(c)); /* once */
    assert_true(certificates_reload(c, &changed, &e) && !changed);
    certificates_close(c);
    from = (certificates_source){.certificate_path = "none.pem", .key_path = "x.key"};
    assert_false(certificates_open(&from, &c, &e));
    says("none.pem");
    unmake(&x);
}

/* --- the builder ------------------------------------------------------------------------------ */

static int decode(void)
{
    char first[16] = "";
    if (pread(3, first, sizeof first - 1, 0) <= 0)
        return 2;
    if (strcmp(first, "wait") == 0)
        pause();
    dprintf(5, "1 %s is not to our taste", first);
    return 1;
}

typedef struct {
    builder_wait wait;
    unsigned told;
    bool ok;
    err e;
} waiting;

static void on_done(builder_wait *w, bool ok, const err *why)
{
    waiting *x = (waiting *)w;
    x->told++;
    x->ok = ok;
    if (!ok)
        x->e = *why;
}

/* The digest of a blob with this content, which there is then. */
static str blob(const char *text)
{
    static char all[4][65];
    static unsigned n;
    char *hex = all[n++ % 4], path[128];
    assert_true(sha256_hex((bytes){(const uint8_t *)text, strlen(text)}, hex, &e));
    snprintf(path, sizeof path, "blobs/sha256/%.2s", hex);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "blobs/sha256/%.2s/%s", hex, hex);
    put(path, text, strlen(text));
    return str_from(hex);
}

static builder *build_start(unsigned jobs)
{
    builder *b;
    for (const char *const *f = (const char *const[]){"blobs", "blobs/sha256", "artifacts", NULL};
         *f; f++)
        mkdir(*f, 0700);
    assert_true(builder_new(l, str_from(dir), S("print"), jobs, &b, &e));
    return b;
}

/* Ends our only child. */
static void builder_kill(void)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    pid_t pid = (pid_t)atoi(text);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#define WAITS                                                                                      \
    {                                                                                              \
        .wait = {.done = on_done}                                                                  \
    }

static void components_are_asked_for_once(void **state)
{
    builder *b = build_start(2);
    waiting first = WAITS, again = WAITS, other = WAITS, forgotten = WAITS;
    str one = blob("one"), two = blob("two");
    assert_false(builder_ensure(b, one, &first.wait));
    assert_false(builder_ensure(b, one, &again.wait));
    assert_false(builder_ensure(b, two, &other.wait));
    assert_false(builder_ensure(b, two, &forgotten.wait));
    builder_forget(b, &forgotten.wait);
    until(first.told && again.told && other.told);
    assert_true(!first.ok && !again.ok && !other.ok);
    assert_string_equal(first.e.text, "one is not to our taste");
    assert_int_equal(first.e.code, ERR_INVALID);
    assert_string_equal(again.e.text, "one is not to our taste");
    assert_string_equal(other.e.text, "two is not to our taste");
    assert_int_equal(first.told + again.told + other.told + forgotten.told, 3);
    /* A digest of which there is no blob; and an artifact that is there. */
    waiting lost = WAITS, there = WAITS;
    assert_false(builder_ensure(
        b, S("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"), &lost.wait));
    until(lost.told);
    assert_int_equal(lost.e.code, ERR_NOT_FOUND);
    char path[256];
    snprintf(path, sizeof path, "artifacts/%s-print-%u", one.p, PLAN_VERSION);
    mkdir(path, 0700);
    strcat(path, "/plan");
    put(path, "x", 1);
    assert_true(builder_ensure(b, one, &there.wait));
    assert_int_equal(there.told, 0);
    builder_free(b);
    builder_free(NULL);
    while (wait(NULL) > 0)
        ;
}

static void who_waits_is_told_of_the_end(void **state)
{
    builder *b = build_start(1);
    waiting first = WAITS, second = WAITS, late = WAITS;
    assert_false(builder_ensure(b, blob("wait"), &first.wait));
    assert_false(builder_ensure(b, blob("other"), &second.wait));
    builder_kill();
    until(first.told && second.told);
    assert_string_equal(first.e.text, "the builder process has ended");
    assert_int_equal(second.e.code, ERR_INTERNAL);
    assert_false(builder_ensure(b, blob("late"), &late.wait));
    assert_int_equal(late.told, 1);
    assert_string_equal(late.e.text, "the builder process does not take more work; try again");
    builder_free(b);
    b = build_start(1);
    waiting left = WAITS;
    assert_false(builder_ensure(b, blob("wait"), &left.wait));
    builder_free(b);
    assert_int_equal(left.told, 1);
    assert_string_equal(left.e.text, "the node is stopping");
    assert_int_equal(left.e.code, ERR_CLOSED);
    builder_kill();
    char *deep = malloc(5000);
    memset(deep, 'd', 4999);
    deep[4999] = 0;
    assert_false(builder_new(l, str_from(deep), S("print"), 1, &b, &e));
    assert_false(builder_new(l, S("d"), (str){deep, 256}, 1, &b, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    free(deep);
}

#define network_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "@builder") == 0  ? role_builder(argc - 1, argv + 1)
               : strcmp(argv[1], "@decode") == 0 ? decode()
                                                 : 2;
    const struct CMUnitTest tests[] = {
        network_test(limits_of_the_server),
        network_test(proxies_servers_and_stalls),
        network_test(a_runtime_configuration),
        network_test(a_runtime_configuration_of_any_length),
        network_test(certificates_of_a_folder),
        network_test(changes_are_noticed),
        network_test(components_are_asked_for_once),
        network_test(who_waits_is_told_of_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
