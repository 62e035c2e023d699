/* The catalogue: names, revisions, hosts, secrets, groups of jobs, and a process that is killed. */
#include "folder_kit.h"

#include "loop/loop.h"
#include "store/catalogue.h"
#include "store/sqlite_copy.h"

#include <signal.h>
#include <sys/wait.h>

static char path[96], key_path[96];
static seal_key key;
static arena a;
static err e;
static loop *l;

static int make(void **state)
{
    assert_true(folder_make("/tmp/ebb-catalogue"));
    snprintf(path, sizeof path, "%s/platform.db", dir);
    snprintf(key_path, sizeof key_path, "%s/key", dir);
    arena_init(&a, 64 << 20);
    assert_true(seal_key_load(key_path, &key, &e));
    assert_true(loop_new(&l, &e));
    return 0;
}

static int unmake(void **state)
{
    loop_free(l);
    arena_fini(&a);
    return folder_remove(dir);
}

static void digest_fill(uint8_t d[CATALOGUE_DIGEST_BYTES], unsigned n)
{
    memset(d, 0, CATALOGUE_DIGEST_BYTES);
    memcpy(d, &n, sizeof n);
}

/* A tenant, an app in it with one revision that needs blob `blob`. */
static catalogue_app app_make(catalogue_db *db, str tenant, str name, str settings, unsigned blob)
{
    catalogue_tenant t;
    catalogue_app x;
    uint8_t d[1][CATALOGUE_DIGEST_BYTES];
    assert_true(catalogue_tenant_find(db, &a, tenant, &t, &e));
    if (!t.id)
        assert_true(catalogue_tenant_add(db, tenant, S("{}"), 1, &t.id, &e));
    digest_fill(d[0], blob);
    assert_true(catalogue_blob_add(db, t.id, d[0], 10, 1, &e));
    assert_true(catalogue_app_ensure(db, &a, t.id, name, &x, &e));
    assert_true(catalogue_revision_add(db, &x, settings, d, 1, 3, 0, 5, &e));
    return x;
}

static catalogue_found find(catalogue *c, const char *host)
{
    catalogue_found f;
    assert_true(catalogue_find(c, str_from(host), &a, &f, &e));
    return f;
}

static void hosts_are_found(void **state)
{
    catalogue_db *db;
    catalogue *c;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    assert_true(catalogue_open(l, path, S("apps.example"), &key, &c, &e));
    catalogue_app shop = app_make(db, S("acme"), S("my-shop"), S("{\"n\":1}"), 1);
    catalogue_app other = app_make(db, S("rival"), S("shop"), S("{\"n\":2}"), 2);
    str own[] = {S("www.Shop.example"), S("shop.example")}, wild[] = {S("*.rival.example")},
        stolen[] = {S("shop.example")}, below[] = {S("my-shop-acme.apps.example")};
    assert_true(catalogue_hosts_set(db, &a, &shop, own, 2, S("apps.example"), false, &e));
    assert_false(catalogue_hosts_set(db, &a, &other, stolen, 1, S("apps.example"), false, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_false(catalogue_hosts_set(db, &a, &other, below, 1, S("apps.example"), false, &e));
    assert_int_equal(e.code, ERR_DENIED);
    assert_false(catalogue_hosts_set(db, &a, &other, wild, 1, S("apps.example"), false, &e));
    assert_int_equal(e.code, ERR_DENIED);
    assert_true(catalogue_hosts_set(db, &a, &other, wild, 1, S("apps.example"), true, &e));
    /* what the operator gave stays the tenant's */
    assert_true(catalogue_hosts_set(db, &a, &other, wild, 1, S("apps.example"), false, &e));

    catalogue_found f = find(c, "my-shop-acme.apps.example:8080");
    assert_int_equal(f.app, shop.id);
    assert_str(f.settings, "{\"n\":1}");
    assert_str(f.app_name, "my-shop");
    assert_str(f.tenant_name, "acme");
    assert_str(f.quota, "{}");
    assert_int_equal(find(c, "MY-SHOP-ACME.Apps.Example.").app, shop.id);
    assert_int_equal(find(c, "WWW.shop.example").app, shop.id);
    assert_int_equal(find(c, "a.rival.example").app, other.id);
    assert_int_equal(find(c, "a.b.rival.example").app, 0);
    assert_int_equal(find(c, "rival.example").app, 0);
    assert_int_equal(find(c, "shop-acme.apps.example").app, 0);
    assert_int_equal(find(c, "my-shop-acme.apps.example.org").app, 0);
    assert_int_equal(find(c, "[::1]:80").app, 0);
    assert_int_equal(find(c, "").app, 0);
    const char *bad[] = {"nodots", "a..b",  "-a.b", "a-.b", "a.b-",
                         "a_b.c",  "x.*.c", ".a.b", "a.b."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        str h = str_from(bad[i]);
        assert_false(catalogue_hosts_set(db, &a, &shop, &h, 1, S("apps.example"), true, &e));
    }
    catalogue_close(c);
    catalogue_db_close(db);
}

static void revisions_are_kept_and_rolled_back(void **state)
{
    catalogue_db *db;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    catalogue_app x = {0};
    char text[16];
    for (int i = 1; i <= 5; i++) {
        snprintf(text, sizeof text, "{\"n\":%d}", i);
        x = app_make(db, S("t"), S("app"), str_from(text), (unsigned)i);
    }
    assert_int_equal(x.revision, 5);
    catalogue_revision *all;
    size_t n;
    str settings;
    assert_true(catalogue_revisions(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 3);
    assert_int_equal(all[2].number, 3);
    assert_false(catalogue_revision_use(db, &x, 2, 5, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(catalogue_revision_use(db, &x, 3, 5, &e));
    assert_true(catalogue_revision_settings(db, &a, &x, 0, &settings, &e));
    assert_str(settings, "{\"n\":3}");
    /* the next number is a new one, and what is live is never dropped */
    x = app_make(db, S("t"), S("app"), S("{}"), 6);
    assert_int_equal(x.revision, 6);
    /* blobs 1 and 2 and 3 are needed by no revision any more */
    uint8_t (*gone)[CATALOGUE_DIGEST_BYTES];
    assert_true(catalogue_blobs_collect(db, &a, 2, &gone, &n, &e));
    assert_int_equal(n, 3);
    assert_true(catalogue_blobs_collect(db, &a, 2, &gone, &n, &e));
    assert_int_equal(n, 0);
    assert_true(catalogue_app_remove(db, &x, &e));
    assert_true(catalogue_blobs_collect(db, &a, 2, &gone, &n, &e));
    assert_int_equal(n, 3);
    catalogue_app again = app_make(db, S("t"), S("app"), S("{}"), 6);
    assert_true(again.id != x.id);
    catalogue_db_close(db);
}

static void a_blob_of_another_tenant_is_not_there(void **state)
{
    catalogue_db *db;
    bool there;
    uint64_t bytes_n;
    uint8_t d[1][CATALOGUE_DIGEST_BYTES];
    assert_true(catalogue_db_open(path, &key, &db, &e));
    app_make(db, S("one"), S("x"), S("{}"), 7);
    catalogue_app y = app_make(db, S("two"), S("y"), S("{}"), 8);
    digest_fill(d[0], 7);
    assert_true(catalogue_blob_find(db, y.tenant, d[0], &there, &bytes_n, &e));
    assert_false(there);
    assert_false(catalogue_revision_add(db, &y, S("{}"), d, 1, 3, 0, 5, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    catalogue_db_close(db);
}

static void secrets_are_sealed(void **state)
{
    catalogue_db *db;
    catalogue_variable *all;
    size_t n;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    catalogue_app x = app_make(db, S("t"), S("x"), S("{\"v\":\"sesame-open\"}"), 1);
    assert_true(catalogue_variable_set(db, x.id, S("password"), S("sesame-open"), &e));
    assert_true(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 1);
    assert_str(all[0].value, "sesame-open");
    catalogue_db_close(db);
    /* nowhere in clear, neither in the file nor in its log */
    char command[256];
    snprintf(command, sizeof command, "grep -qr sesame-open %s", dir);
    assert_int_not_equal(system(command), 0);
    /* another key opens nothing */
    seal_key other = key;
    other.bytes[0] ^= 1;
    assert_true(catalogue_db_open(path, &other, &db, &e));
    assert_false(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_int_equal(e.code, ERR_DENIED);
    catalogue_db_close(db);
}

static void seals_hold(void **state)
{
    _cleanup_(buf_fini) buf sealed;
    str back;
    buf_init(&sealed, 1000);
    assert_true(seal_put(&key, S("here"), (bytes){(const uint8_t *)"text", 4}, &sealed, &e));
    assert_int_equal(sealed.n, 4 + SEAL_OVERHEAD);
    assert_true(seal_open(&key, S("here"), buf_bytes(&sealed), &a, &back, &e));
    assert_str(back, "text");
    assert_false(seal_open(&key, S("there"), buf_bytes(&sealed), &a, &back, &e));
    for (size_t i = 0; i < sealed.n; i++) {
        sealed.p[i] ^= 1;
        assert_false(seal_open(&key, S("here"), buf_bytes(&sealed), &a, &back, &e));
        sealed.p[i] ^= 1;
    }
    for (size_t n = 0; n < sealed.n; n++)
        assert_false(seal_open(&key, S("here"), (bytes){sealed.p, n}, &a, &back, &e));
    seal_key same;
    assert_true(seal_key_load(key_path, &same, &e));
    assert_memory_equal(&same, &key, sizeof key);
    assert_int_equal(chmod(key_path, 0444), 0);
    assert_false(seal_key_load(key_path, &same, &e));
    assert_int_equal(chmod(key_path, 0400), 0);
}

static void tenants_and_tokens(void **state)
{
    catalogue_db *db;
    uint64_t id, token_id;
    char text[64];
    uint8_t hash[CATALOGUE_DIGEST_BYTES];
    catalogue_token t;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    const char *bad[] = {"", "9a", "A", "a-b", "a.b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(catalogue_tenant_add(db, str_from(bad[i]), S("{}"), 1, &id, &e));
    assert_true(catalogue_tenant_add(db, S("acme"), S("{}"), 1, &id, &e));
    assert_false(catalogue_tenant_add(db, S("acme"), S("{}"), 1, &id, &e));
    assert_int_equal(e.code, ERR_CONFLICT);

    assert_true(catalogue_token_make(text, &e));
    assert_int_equal(strlen(text), 47);
    catalogue_token_hash(str_from(text), hash);
    catalogue_token make_it = {
        .tenant = id, .role = CATALOGUE_DEPLOYER, .name = S("ci"), .made_s = 1, .expires_s = 100};
    assert_true(catalogue_token_add(db, hash, &make_it, &token_id, &e));
    assert_true(catalogue_token_find(db, &a, hash, 99, &t, &e));
    assert_int_equal(t.id, token_id);
    assert_int_equal(t.role, CATALOGUE_DEPLOYER);
    assert_str(t.tenant_name, "acme");
    assert_true(catalogue_token_find(db, &a, hash, 100, &t, &e));
    assert_int_equal(t.id, 0);
    assert_false(catalogue_token_remove(db, id + 1, token_id, &e));
    assert_true(catalogue_token_remove(db, id, token_id, &e));
    assert_true(catalogue_token_find(db, &a, hash, 99, &t, &e));
    assert_int_equal(t.id, 0);
    app_make(db, S("acme"), S("x"), S("{}"), 1);
    assert_false(catalogue_tenant_remove(db, id, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    catalogue_db_close(db);
}

static void labels(void **state)
{
    str label;
    assert_true(catalogue_app_label(&a, S("Hello_World.2"), &label, &e));
    assert_str(label, "hello-world-2");
    assert_true(catalogue_app_label(&a, S("--x--"), &label, &e));
    assert_str(label, "x");
    assert_false(catalogue_app_label(&a, S("__"), &label, &e));
}

/* --- jobs ------------------------------------------------------------------------------------- */

typedef struct {
    catalogue_job job; /* first */
    str name;
    bool refuse;
    unsigned *done;
} make_job;

static bool make_apply(catalogue_job *j, catalogue_db *db, err *why)
{
    make_job *m = (make_job *)j;
    uint64_t id;
    return catalogue_tenant_add(db, m->name, S("{}"), 1, &id, why) &&
           (!m->refuse || err_set(why, ERR_DENIED, "no"));
}

static void make_done(catalogue_job *j) { ++*((make_job *)j)->done; }

static void jobs_that_fail_take_no_other_along(void **state)
{
    catalogue *c;
    catalogue_tenant t;
    unsigned done = 0;
    make_job jobs[100];
    assert_true(catalogue_open(l, path, S("localhost"), &key, &c, &e));
    for (unsigned i = 0; i < 100; i++) {
        jobs[i] = (make_job){.job = {.apply = make_apply, .done = make_done},
                             .name = arena_printf(&a, "t%u", i),
                             .refuse = i % 3 == 0,
                             .done = &done};
        catalogue_submit(c, &jobs[i].job);
    }
    while (done < 100)
        loop_turn(l, 1000);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(jobs[i].job.ok, i % 3 != 0);
        assert_true(catalogue_tenant_find(catalogue_reading(c), &a, jobs[i].name, &t, &e));
        assert_int_equal(t.id != 0, i % 3 != 0);
    }
    catalogue_close(c);
}

/* Kills a process that adds tenants; each one that it announced is there. */
static void what_was_done_survives_a_kill(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        catalogue *c;
        loop *own;
        if (!loop_new(&own, &e) || !catalogue_open(own, path, S("localhost"), &key, &c, &e))
            _exit(1);
        for (unsigned i = 0;; i++) {
            unsigned done = 0;
            make_job j = {.job = {.apply = make_apply, .done = make_done},
                          .name = arena_printf(&a, "k%u", i),
                          .done = &done};
            catalogue_submit(c, &j.job);
            while (!done)
                loop_turn(own, 1000);
            if (!j.job.ok || write(ends[1], &i, sizeof i) != sizeof i)
                _exit(1);
        }
    }
    close(ends[1]);
    unsigned last = 0;
    for (int i = 0; i < 20; i++)
        assert_int_equal(read(ends[0], &last, sizeof last), sizeof last);
    kill(pid, SIGKILL);
    unsigned more;
    while (read(ends[0], &more, sizeof more) == sizeof more)
        last = more;
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    catalogue_db *db;
    catalogue_tenant *all;
    size_t n;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    assert_true(catalogue_tenants(db, &a, S(""), &all, &n, &e));
    assert_true(n >= last + 1);
    catalogue_db_close(db);
}

static void a_copy_is_whole(void **state)
{
    catalogue_db *db, *copy;
    char to[128];
    catalogue_tenant t;
    snprintf(to, sizeof to, "%s/copy.db", dir);
    assert_true(catalogue_db_open(path, &key, &db, &e));
    app_make(db, S("acme"), S("x"), S("{}"), 1);
    assert_true(sqlite_copy(path, to, &e));
    assert_true(sqlite_check(to, &e));
    catalogue_db_close(db);
    assert_true(catalogue_db_open(to, &key, &copy, &e));
    assert_true(catalogue_tenant_find(copy, &a, S("acme"), &t, &e));
    assert_true(t.id != 0);
    catalogue_db_close(copy);
}

/* Another process that opens and closes the file, as a backup or a starting supervisor does, does
 * not take the log away that ours writes to. */
static void others_may_close_it(void **state)
{
    catalogue *c;
    struct stat before, after;
    char log[128];
    int status;
    snprintf(log, sizeof log, "%s-wal", path);
    assert_true(catalogue_open(l, path, S("localhost"), &key, &c, &e));
    assert_int_equal(stat(log, &before), 0);
    pid_t pid = fork();
    if (pid == 0) {
        catalogue_db *db;
        bool ok = catalogue_db_open(path, &key, &db, &e);
        if (ok)
            catalogue_db_close(db);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(stat(log, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    catalogue_close(c);
}

static void the_audit_log_belongs_to_tenants(void **state)
{
    catalogue_db *db;
    catalogue_event *all;
    size_t n;
    uint64_t one, two;
    assert_true(catalogue_db_open(path, &key, &db, &e));
    assert_true(catalogue_tenant_add(db, S("one"), S("{}"), 1, &one, &e));
    assert_true(catalogue_tenant_add(db, S("two"), S("{}"), 1, &two, &e));
    assert_true(catalogue_audit_add(db, 5, one, S("ci"), S("deploy"), S("x"), &e));
    assert_true(catalogue_audit_add(db, 6, two, S("ci"), S("deploy"), S("y"), &e));
    assert_true(catalogue_audit(db, &a, one, 0, &all, &n, &e));
    assert_int_equal(n, 1);
    assert_str(all[0].subject, "x");
    assert_true(catalogue_audit(db, &a, 0, 0, &all, &n, &e));
    assert_int_equal(n, 2);
    assert_str(all[0].tenant, "two");
    assert_true(catalogue_audit(db, &a, 0, all[0].id, &all, &n, &e));
    assert_int_equal(n, 1);
    catalogue_db_close(db);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        CASE(hosts_are_found),
        CASE(revisions_are_kept_and_rolled_back),
        CASE(a_blob_of_another_tenant_is_not_there),
        CASE(secrets_are_sealed),
        CASE(seals_hold),
        CASE(tenants_and_tokens),
        CASE(labels),
        CASE(jobs_that_fail_take_no_other_along),
        CASE(what_was_done_survives_a_kill),
        CASE(a_copy_is_whole),
        CASE(others_may_close_it),
        CASE(the_audit_log_belongs_to_tenants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
