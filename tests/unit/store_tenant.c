/* Tenants, tokens and the audit log at their edges: names, pages, whose is whose, and what is said
 * when something is not there. */
#include "catalogue_kit.h"

#include <string.h>

static uint64_t tenant(const char *name)
{
    uint64_t id = 0;
    if (!catalogue_tenant_add(db, str_from(name), S("{\"q\":1}"), 5, &id, &e))
        fail_msg("%s", e.text);
    return id;
}

static void begin(void) { assert_int_equal(sqlite3_exec(db->db, "BEGIN", 0, 0, 0), SQLITE_OK); }
static void commit(void) { assert_int_equal(sqlite3_exec(db->db, "COMMIT", 0, 0, 0), SQLITE_OK); }

static void names(void **state)
{
    static const char *const good[] = {
        "a", "z", "a0", "a9", "za", "zz", "a2345678901234567890123456789012"};
    static const char *const bad[] = {"",
                                      "`",
                                      "{",
                                      "0",
                                      "a/",
                                      "a:",
                                      "a`",
                                      "a{",
                                      "aB",
                                      "a-b",
                                      "a23456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(tenant(good[i]), i + 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t id = 77;
        assert_false(catalogue_tenant_add(db, str_from(bad[i]), S("{}"), 1, &id, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(id, 77);
    }
    assert_string_equal(e.text,
                        "'a23456789012345678901234567890123' can't be a tenant's name: it "
                        "begins with a letter and has small letters and digits, at most 32");
    uint64_t id = 77;
    assert_false(catalogue_tenant_add(db, S("za"), S("{}"), 1, &id, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(e.text, "there is a tenant 'za' already");
    assert_int_equal(id, 77);
}

static void found_and_changed(void **state)
{
    uint64_t one = tenant("one"), two = tenant("two");
    catalogue_tenant t = {.made_s = 77};
    assert_true(catalogue_tenant_find(db, &a, S("three"), &t, &e));
    assert_true(t.id == 0 && t.made_s == 0);
    assert_true(catalogue_quota_set(db, one, S("{\"q\":2}"), &e));
    assert_true(catalogue_egress_set(db, two, S("10.0.0.0/8"), &e));
    assert_true(catalogue_tenant_find(db, &a, S("one"), &t, &e));
    assert_true(t.id == one && t.made_s == 5 && t.egress.n == 0);
    assert_str(t.name, "one");
    assert_str(t.quota, "{\"q\":2}");
    assert_true(catalogue_tenant_find(db, &a, S("two"), &t, &e));
    assert_int_equal(t.id, two);
    assert_str(t.quota, "{\"q\":1}");
    assert_str(t.egress, "10.0.0.0/8");
    for (size_t n = 1; n <= 3; n++) { /* each of its texts */
        alloc_fail_after(n);
        t.id = 77;
        assert_false(catalogue_tenant_find(db, &a, S("two"), &t, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_int_equal(t.id, 77);
    }
    alloc_fail_after(0);
    assert_true(catalogue_tenant_find(db, &a, S("two"), &t, &e));
}

static void pages(void **state)
{
    catalogue_tenant *all;
    size_t n;
    char name[16];
    assert_true(catalogue_tenants(db, &a, S(""), &all, &n, &e));
    assert_int_equal(n, 0);
    begin();
    for (int i = CATALOGUE_PAGE_MAX; i >= 0; i--) {
        snprintf(name, sizeof name, "t%04d", i);
        tenant(name);
    }
    commit();
    assert_true(catalogue_tenants(db, &a, S(""), &all, &n, &e));
    assert_int_equal(n, CATALOGUE_PAGE_MAX);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%04u", (unsigned)i);
        assert_true(str_eq(all[i].name, str_from(name)));
        assert_int_equal(all[i].id, CATALOGUE_PAGE_MAX + 1 - i);
        assert_str(all[i].quota, "{\"q\":1}");
    }
    assert_true(catalogue_tenants(db, &a, S("t0998"), &all, &n, &e));
    assert_int_equal(n, 2);
    assert_str(all[0].name, "t0999");
    for (size_t k = 1; k <= 7; k++) { /* the list, and the texts of either */
        alloc_fail_after(k);
        assert_false(catalogue_tenants(db, &a, S("t0998"), &all, &n, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_true(catalogue_tenants(db, &a, S("t1000"), &all, &n, &e));
    assert_int_equal(n, 0);
}

static void removed_with_tokens(void **state)
{
    uint64_t one = tenant("one"), two = tenant("two"), id;
    uint8_t hash[CATALOGUE_DIGEST_BYTES] = {1}, digest[1][CATALOGUE_DIGEST_BYTES] = {{7}};
    catalogue_app app;
    catalogue_tenant t;
    catalogue_token found;
    catalogue_token k = {.tenant = one, .role = CATALOGUE_OWNER, .name = S("a")};
    assert_true(catalogue_token_add(db, hash, &k, &id, &e));
    hash[0] = 2;
    k.tenant = two;
    assert_true(catalogue_token_add(db, hash, &k, &id, &e));
    assert_true(catalogue_blob_add(db, one, digest[0], 10, 1, &e));
    static const char *const says[] = {"the tenant has 1 app; delete them first",
                                       "the tenant has 2 apps; delete them first"};
    for (int i = 0; i < 2; i++) {
        assert_true(catalogue_app_ensure(db, &a, one, i ? S("y") : S("x"), &app, &e));
        assert_true(catalogue_revision_add(db, &app, S("{}"), digest, 1, 3, 0, 5, &e));
        assert_false(catalogue_tenant_remove(db, one, &e));
        assert_int_equal(e.code, ERR_CONFLICT);
        assert_string_equal(e.text, says[i]);
    }
    assert_true(catalogue_tenant_remove(db, two, &e));
    assert_true(catalogue_tenant_find(db, &a, S("two"), &t, &e));
    assert_int_equal(t.id, 0);
    assert_true(catalogue_token_find(db, &a, hash, 1, &found, &e));
    assert_int_equal(found.id, 0);
    hash[0] = 1;
    assert_true(catalogue_token_find(db, &a, hash, 1, &found, &e));
    assert_int_equal(found.tenant, one);
    assert_true(tenant("two") > two); /* a number comes only once */
}

static void token_texts(void **state)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t hash[CATALOGUE_DIGEST_BYTES];
    char text[64], again[64];
    bool seen[64] = {false};
    size_t kinds = 0;
    catalogue_token_hash(S("abc"), hash); /* FIPS 180-4's example */
    assert_memory_equal(hash, abc, sizeof abc);
    catalogue_token_hash((str){0}, hash);
    assert_true(hash[0] == 0xe3 && hash[31] == 0x55);
    for (int i = 0; i < 100; i++) {
        memset(text, 'x', sizeof text);
        assert_true(catalogue_token_make(text, &e));
        assert_int_equal(strlen(text), 4 + 43);
        assert_memory_equal(text, "ebb_", 4);
        for (size_t k = 4; k < 47; k++) {
            const char *at = strchr(letters, text[k]);
            assert_non_null(at);
            seen[at - letters] = true;
            assert_true(k < 46 || (at - letters) % 4 == 0); /* four bits are left for the last */
        }
    }
    for (size_t i = 0; i < 64; i++)
        kinds += seen[i];
    assert_int_equal(kinds, 64); /* of 4,300 letters: each */
    assert_true(catalogue_token_make(again, &e));
    assert_string_not_equal(text, again);
}

static void token_lists(void **state)
{
    uint64_t one = tenant("one"), id = 77, ids[3];
    uint8_t hash[CATALOGUE_DIGEST_BYTES] = {0};
    catalogue_token *all, t;
    size_t n;
    char name[102];
    memset(name, 'n', sizeof name);
    catalogue_token k = {.tenant = one, .role = CATALOGUE_READER, .name = {name, 101}};
    assert_false(catalogue_token_add(db, hash, &k, &id, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "a token's name has at most 100 bytes");
    assert_int_equal(id, 77);
    k.name.n = 100;
    k.made_s = 3;
    assert_true(catalogue_token_add(db, hash, &k, &ids[0], &e));
    id = 77; /* one text is one token */
    assert_false(catalogue_token_add(db, hash, &k, &id, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "UNIQUE constraint failed: tokens.hash"));
    assert_int_equal(id, 77);
    hash[0] = 1;
    k = (catalogue_token){
        .tenant = one, .role = CATALOGUE_OWNER, .name = S("b"), .made_s = 4, .expires_s = 10};
    assert_true(catalogue_token_add(db, hash, &k, &ids[1], &e));
    hash[0] = 2;
    k = (catalogue_token){.tenant = 0, .role = CATALOGUE_OPERATOR, .name = S("op")};
    assert_true(catalogue_token_add(db, hash, &k, &ids[2], &e));
    assert_true(catalogue_tokens(db, &a, one, &all, &n, &e)); /* the newest first, also expired */
    assert_int_equal(n, 2);
    assert_true(all[0].id == ids[1] && all[0].tenant == one && all[0].role == CATALOGUE_OWNER &&
                all[0].made_s == 4 && all[0].expires_s == 10);
    assert_str(all[0].name, "b");
    assert_str(all[0].tenant_name, "one");
    assert_true(all[1].id == ids[0] && all[1].name.n == 100 && all[1].expires_s == 0);
    assert_true(catalogue_tokens(db, &a, 0, &all, &n, &e));
    assert_true(n == 1 && all[0].id == ids[2] && all[0].role == CATALOGUE_OPERATOR);
    assert_int_equal(all[0].tenant_name.n, 0);
    assert_true(catalogue_tokens(db, &a, 99, &all, &n, &e));
    assert_int_equal(n, 0);
    for (size_t i = 1; i <= 3; i++) {
        alloc_fail_after(i);
        assert_false(catalogue_tokens(db, &a, 0, &all, &n, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    for (size_t i = 1; i <= 2; i++) {
        alloc_fail_after(i);
        t.id = 77;
        assert_false(catalogue_token_find(db, &a, hash, 1, &t, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_int_equal(t.id, 77);
    }
    alloc_fail_after(0);
    assert_true(catalogue_token_find(db, &a, hash, INT64_MAX, &t, &e)); /* 0: for ever */
    assert_int_equal(t.id, ids[2]);
    assert_false(catalogue_token_remove(db, 0, ids[0], &e)); /* another's */
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text, "no token 1 here");
    assert_true(catalogue_token_remove(db, one, ids[0], &e));
    assert_false(catalogue_token_remove(db, one, ids[0], &e));
    assert_true(catalogue_tokens(db, &a, one, &all, &n, &e));
    assert_true(n == 1 && all[0].id == ids[1]);
}

static void audit(void **state)
{
    uint64_t one = tenant("one"), two = tenant("two");
    catalogue_event *all;
    size_t n;
    char long_[600];
    memset(long_, 's', sizeof long_);
    assert_true(catalogue_audit_add(db, 5, one, S("ann"), S("deploy"), (str){long_, 600}, &e));
    assert_true(catalogue_audit_add(db, 6, two, S("bob"), S("delete"), S("x"), &e));
    assert_true(catalogue_audit_add(db, 7, 0, S("op"), S("start"), S(""), &e));
    assert_true(catalogue_audit(db, &a, 0, 0, &all, &n, &e)); /* the operator sees all */
    assert_int_equal(n, 3);
    assert_true(all[0].id == 3 && all[0].t_s == 7 && all[0].tenant.n == 0);
    assert_str(all[0].actor, "op");
    assert_str(all[0].action, "start");
    assert_str(all[1].tenant, "two");
    assert_str(all[1].subject, "x");
    assert_true(all[2].subject.n == 500 && all[2].t_s == 5);
    assert_true(catalogue_audit(db, &a, one, 0, &all, &n, &e));
    assert_true(n == 1 && all[0].id == 1);
    assert_true(catalogue_audit(db, &a, 0, 3, &all, &n, &e)); /* before the third */
    assert_true(n == 2 && all[0].id == 2);
    assert_true(catalogue_audit(db, &a, two, 2, &all, &n, &e));
    assert_int_equal(n, 0);
    begin();
    for (int i = 4; i <= CATALOGUE_PAGE_MAX + 2; i++)
        assert_true(catalogue_audit_add(db, i, one, S("a"), S("b"), S("c"), &e));
    commit();
    assert_true(catalogue_audit(db, &a, 0, 0, &all, &n, &e));
    assert_int_equal(n, CATALOGUE_PAGE_MAX);
    assert_true(all[0].id == CATALOGUE_PAGE_MAX + 2 && all[n - 1].id == 3);
    assert_true(catalogue_audit(db, &a, 0, 3, &all, &n, &e)); /* nothing was forgotten yet */
    assert_int_equal(n, 2);
    alloc_fail_after(1);
    assert_false(catalogue_audit(db, &a, 0, 0, &all, &n, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

/* What the database refuses is a failure of each function. */
static void a_table_that_is_missing(void **state)
{
    uint64_t one = tenant("one"), id = 77;
    uint8_t hash[CATALOGUE_DIGEST_BYTES] = {1};
    catalogue_tenant t = {.id = 77}, *tenants;
    catalogue_token k = {.tenant = one}, *tokens;
    catalogue_event *events;
    size_t n;
    assert_int_equal(sqlite3_exec(db->db, "DROP TABLE tokens; DROP TABLE audit", 0, 0, 0),
                     SQLITE_OK);
    assert_false(catalogue_token_add(db, hash, &k, &id, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the catalogue: no such table: tokens", 36);
    assert_false(catalogue_token_find(db, &a, hash, 1, &k, &e));
    assert_false(catalogue_tokens(db, &a, one, &tokens, &n, &e));
    assert_false(catalogue_token_remove(db, one, 1, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_false(catalogue_tenant_remove(db, one, &e));
    assert_false(catalogue_audit_add(db, 1, one, S("a"), S("b"), S("c"), &e));
    assert_false(catalogue_audit(db, &a, one, 0, &events, &n, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(sqlite3_exec(db->db, "DROP TABLE tenants", 0, 0, 0), SQLITE_OK);
    assert_false(catalogue_tenant_add(db, S("two"), S("{}"), 1, &id, &e));
    assert_false(catalogue_tenant_find(db, &a, S("one"), &t, &e));
    assert_false(catalogue_tenants(db, &a, S(""), &tenants, &n, &e));
    assert_false(catalogue_quota_set(db, one, S("{}"), &e));
    assert_false(catalogue_egress_set(db, one, S(""), &e));
    assert_int_equal(e.code, ERR_IO);
    assert_true(t.id == 77 && id == 77);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        CASE(names),       CASE(found_and_changed), CASE(pages), CASE(removed_with_tokens),
        CASE(token_texts), CASE(token_lists),       CASE(audit), CASE(a_table_that_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
