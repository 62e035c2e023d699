/* Apps in the catalogue at their edges: labels, pages, which revisions are kept, hosts, variables,
 * blobs, numbers that nodes share, and files of other versions. */
#include "catalogue_kit.h"

#include "base/limits.h"

#include <string.h>
#include <time.h>

static void sql(const char *text)
{
    if (sqlite3_exec(db->db, text, 0, 0, 0) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db->db));
}

static uint64_t tenant(const char *name)
{
    uint64_t id = 0;
    assert_true(catalogue_tenant_add(db, str_from(name), S("{}"), 5, &id, &e));
    return id;
}

static catalogue_app app(uint64_t of, const char *name)
{
    catalogue_app x;
    if (!catalogue_app_ensure(db, &a, of, str_from(name), &x, &e))
        fail_msg("%s", e.text);
    return x;
}

static void revise(catalogue_app *x, const char *settings, uint32_t keep, int64_t holds_s,
                   int64_t now_s)
{
    if (!catalogue_revision_add(db, x, str_from(settings), NULL, 0, keep, holds_s, now_s, &e))
        fail_msg("%s", e.text);
    assert_int_equal(x->made_s, now_s);
}

static void labels(void **state)
{
    static const struct {
        const char *name, *label;
    } at[] = {
        {"a", "a"},
        {"AZaz09", "azaz09"},
        {"@x[", "x"},
        {"x`{y/:z", "x-y-z"},
        {"-a--b-", "a-b"},
        {"a23456789012345678901234567890123456789012", "a234567890123456789012345678901234567890"},
        {"a2345678901234567890123456789012345678_0x", "a2345678901234567890123456789012345678-0"},
        {"a23456789012345678901234567890123456789_x", "a23456789012345678901234567890123456789"},
        {"\xc3\xa4", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        str label = S("untouched");
        bool ok = catalogue_app_label(&a, str_from(at[i].name), &label, &e);
        assert_int_equal(ok, at[i].label != NULL);
        assert_true(str_eq(label, at[i].label ? str_from(at[i].label) : S("untouched")));
        assert_true(!ok || label.p[label.n] == 0);
        assert_true(ok || e.code == ERR_INVALID);
    }
    str label;
    alloc_fail_after(1);
    assert_false(catalogue_app_label(&a, S("x"), &label, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

static void found_and_counted(void **state)
{
    uint64_t one = tenant("one"), two = tenant("two"), n64 = 77, *ids;
    catalogue_app x = {.id = 77}, *all;
    size_t n;
    str name;
    assert_true(catalogue_app_find(db, &a, one, S("x"), &x, &e));
    assert_int_equal(x.id, 0);
    assert_true(catalogue_apps_count(db, 0, &n64, &e));
    assert_int_equal(n64, 0);
    catalogue_app first = app(one, "x"), other = app(two, "x"), second = app(one, "a");
    assert_true(first.tenant == one && first.revision == 0 && first.made_s == 0);
    assert_str(first.name, "x");
    assert_int_equal(app(one, "x").id, first.id);
    revise(&first, "{}", 3, 0, 40);
    assert_true(catalogue_app_find(db, &a, one, S("x"), &x, &e));
    assert_true(x.id == first.id && x.tenant == one && x.revision == 1 && x.made_s == 40);
    assert_str(x.name, "x");
    assert_true(catalogue_app_name(db, &a, other.id, &name, &e));
    assert_str(name, "two/x");
    assert_true(catalogue_app_name(db, &a, second.id, &name, &e));
    assert_str(name, "one/a");
    assert_true(catalogue_app_name(db, &a, 99, &name, &e));
    assert_int_equal(name.n, 0);
    assert_true(catalogue_apps_count(db, one, &n64, &e) && n64 == 2);
    assert_true(catalogue_apps_count(db, two, &n64, &e) && n64 == 1);
    assert_true(catalogue_apps_count(db, 0, &n64, &e) && n64 == 3);
    assert_true(catalogue_app_ids(db, &a, &ids, &n, &e));
    assert_true(n == 3 && ids[0] == first.id && ids[1] == other.id && ids[2] == second.id);
    assert_true(catalogue_apps(db, &a, one, S(""), &all, &n, &e)); /* by name */
    assert_true(n == 2 && all[0].id == second.id && all[1].id == first.id);
    assert_true(all[1].made_s == 40 && all[1].revision == 1 && all[0].made_s == 0);
    assert_true(catalogue_apps(db, &a, one, S("a"), &all, &n, &e));
    assert_true(n == 1 && all[0].id == first.id);
    for (size_t k = 1; k <= 3; k++) { /* the list, and a name of each */
        alloc_fail_after(k);
        assert_false(catalogue_apps(db, &a, one, S(""), &all, &n, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(1);
    assert_false(catalogue_app_ids(db, &a, &ids, &n, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    alloc_fail_after(1);
    x.id = 77;
    assert_false(catalogue_app_find(db, &a, one, S("x"), &x, &e));
    alloc_fail_after(0);
    assert_int_equal(x.id, 77);
}

static void pages(void **state)
{
    uint64_t one = tenant("one");
    catalogue_app *all;
    size_t n;
    char name[16];
    sql("BEGIN");
    for (int i = CATALOGUE_PAGE_MAX; i >= 0; i--) {
        snprintf(name, sizeof name, "a%04d", i);
        app(one, name);
    }
    sql("COMMIT");
    assert_true(catalogue_apps(db, &a, one, S(""), &all, &n, &e));
    assert_int_equal(n, CATALOGUE_PAGE_MAX);
    assert_str(all[0].name, "a0000");
    assert_str(all[n - 1].name, "a0999");
    assert_true(catalogue_apps(db, &a, one, all[n - 1].name, &all, &n, &e));
    assert_int_equal(n, 1);
    assert_str(all[0].name, "a1000");
}

/* --- revisions -------------------------------------------------------------------------------- */

/* Numbers of those that are kept, the newest first, as digits. */
static const char *kept(const catalogue_app *x)
{
    static char text[16];
    catalogue_revision *all;
    size_t n;
    assert_true(catalogue_revisions(db, &a, x->id, &all, &n, &e));
    assert_true(n < sizeof text);
    for (size_t i = 0; i < n; i++) {
        text[i] = (char)('0' + all[i].number);
        assert_int_equal(all[i].made_s, 10 * all[i].number);
    }
    text[n] = 0;
    return text;
}

/* Five revisions, made at 10, 20, ... 50, each left when the next one is made: besides the newest
 * those stay that hold for longer than that is ago, whatever those after them hold. */
static void what_is_held_is_kept(void **state)
{
    static const struct {
        uint32_t keep;
        int64_t holds_s[5];
        const char *kept;
    } at[] = {
        {1, {0}, "5"},
        {2, {0}, "54"},
        {5, {0}, "54321"},
        {6, {0}, "54321"},
        {1, {31}, "51"},
        {1, {30}, "5"},
        {2, {31}, "541"},
        {1, {0, 21}, "52"},
        {1, {0, 20}, "5"},
        {1, {0, 0, 11, 1}, "543"},
        {1, {0, 0, 10, 1}, "54"},
        {2, {31, 21}, "5421"},
        {1, {0, 0, 0, 0, 99}, "5"},
        {1, {99, 99, 99, 99}, "54321"},
    };
    uint64_t one = tenant("one");
    catalogue_app before = app(one, "before"), x, after;
    revise(&before, "{}", 1, 0, 10);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        x = app(one, "x");
        after = app(one, "y"); /* the next number: its revisions are not touched */
        revise(&after, "{}", 1, 0, 10);
        for (int n = 0; n < 5; n++)
            revise(&x, "{}", at[i].keep, at[i].holds_s[n], 10 * (n + 1));
        assert_int_equal(x.revision, 5);
        assert_string_equal(kept(&x), at[i].kept);
        assert_string_equal(kept(&before), "1");
        assert_string_equal(kept(&after), "1");
        assert_true(catalogue_app_remove(db, &x, &e));
        assert_string_equal(kept(&x), "");
        assert_string_equal(kept(&after), "1");
        assert_true(catalogue_app_remove(db, &after, &e));
        assert_string_equal(kept(&after), "");
    }
    assert_string_equal(kept(&before), "1");
}

/* The first one, live again for a time, is held from the end of that time on. */
static void what_was_live_again_is_held(void **state)
{
    catalogue_app x = app(tenant("one"), "x");
    for (int n = 1; n <= 5; n++)
        revise(&x, "{}", 5, n == 1 ? 15 : n == 5 ? 24 : 0, 10 * n);
    assert_true(catalogue_revision_use(db, &x, 1, 55, &e));
    assert_true(catalogue_revision_set(db, &x, S("{\"other\":1}"), &e));
    revise(&x, "{}", 2, 0, 60);
    assert_string_equal(kept(&x), "651");
    revise(&x, "{}", 2, 0, 70);
    assert_string_equal(kept(&x), "7651");
    revise(&x, "{}", 2, 0, 80);
    assert_string_equal(kept(&x), "87");
}

static void settings_of_revisions(void **state)
{
    catalogue_app x = app(tenant("one"), "x");
    str text = S("untouched");
    revise(&x, "first", 3, 0, 10);
    revise(&x, "second", 3, 0, 20);
    assert_true(catalogue_revision_settings(db, &a, &x, 1, &text, &e));
    assert_str(text, "first");
    assert_true(catalogue_revision_settings(db, &a, &x, 0, &text, &e));
    assert_str(text, "second");
    assert_true(catalogue_revision_set(db, &x, S("other"), &e));
    assert_true(catalogue_revision_settings(db, &a, &x, 2, &text, &e));
    assert_str(text, "other");
    assert_string_equal(kept(&x), "21"); /* made when it was */
    assert_false(catalogue_revision_settings(db, &a, &x, 3, &text, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text, "app 'x' has no revision 3 any more");
    assert_true(catalogue_revision_use(db, &x, 1, 25, &e));
    assert_true(x.revision == 1 && x.made_s == 10);
    assert_false(catalogue_revision_use(db, &x, 3, 25, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text,
                        "app 'x' has no revision 3 any more; 'ebb status' lists those kept");
    assert_true(x.revision == 1 && x.made_s == 10);
    revise(&x, "third", 3, 0, 30); /* a new number, also after going back */
    assert_int_equal(x.revision, 3);
    /* What was sealed for one app opens for no other. */
    catalogue_app y = app(x.tenant, "y");
    char move[128];
    snprintf(move, sizeof move,
             "INSERT INTO revisions (id, made_s, settings) SELECT (%d << 20) | 1, made_s, settings"
             " FROM revisions WHERE id = (%d << 20) | 3",
             (int)y.id, (int)x.id);
    sql(move);
    text = S("untouched");
    assert_false(catalogue_revision_settings(db, &a, &y, 1, &text, &e));
    assert_int_equal(e.code, ERR_DENIED);
    alloc_fail_after(1);
    assert_false(catalogue_revision_settings(db, &a, &x, 3, &text, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    alloc_fail_after(0);
    assert_str(text, "untouched");
    alloc_fail_after(1);
    catalogue_revision *all;
    size_t n;
    assert_false(catalogue_revisions(db, &a, x.id, &all, &n, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

static void numbers_of_revisions_end(void **state)
{
    catalogue_app x = app(tenant("one"), "x"), y = app(x.tenant, "y");
    revise(&x, "{}", 3, 0, 10);
    x.revision = (1 << 20) - 2;
    revise(&x, "{}", 3, 0, 20);
    assert_int_equal(x.revision, (1 << 20) - 1);
    assert_false(catalogue_revision_add(db, &x, S("{}"), NULL, 0, 3, 0, 30, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "the app has had 1048575 revisions; delete it and deploy it anew");
    assert_int_equal(x.revision, (1 << 20) - 1);
    revise(&y, "{}", 3, 0, 10);
    assert_int_equal(y.revision, 1);
}

static void revisions_need_blobs(void **state)
{
    uint64_t one = tenant("one"), bytes_count = 77;
    catalogue_app x = app(one, "x");
    uint8_t digests[2][CATALOGUE_DIGEST_BYTES] = {{1}, {2}}, (*gone)[CATALOGUE_DIGEST_BYTES];
    bool there;
    size_t n;
    assert_true(catalogue_blob_add(db, one, digests[0], 10, 100, &e));
    assert_false(catalogue_revision_add(db, &x, S("{}"), digests, 2, 1, 0, 10, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text, "blob 2 of 2 was not sent, or was collected meanwhile; deploy "
                                "again");
    assert_int_equal(x.revision, 0);
    assert_true(catalogue_app_remove(db, &x, &e));
    x = app(one, "x");
    assert_true(catalogue_blob_add(db, one, digests[1], 20, 200, &e));
    assert_true(catalogue_revision_add(db, &x, S("{}"), digests, 2, 1, 0, 10, &e));
    assert_true(catalogue_blobs_collect(db, &a, 1000, &gone, &n, &e));
    assert_int_equal(n, 0);
    /* The next one needs the second only; the first is too new, then it goes. */
    assert_true(catalogue_revision_add(db, &x, S("{}"), digests + 1, 1, 1, 0, 20, &e));
    assert_true(catalogue_blobs_collect(db, &a, 100, &gone, &n, &e));
    assert_int_equal(n, 0);
    alloc_fail_after(1);
    sql("BEGIN");
    assert_false(catalogue_blobs_collect(db, &a, 101, &gone, &n, &e));
    alloc_fail_after(0);
    sql("ROLLBACK");
    assert_int_equal(e.code, ERR_NO_MEMORY);
    assert_true(catalogue_blobs_collect(db, &a, 101, &gone, &n, &e));
    assert_int_equal(n, 1);
    assert_memory_equal(gone[0], digests[0], sizeof digests[0]);
    assert_true(catalogue_blob_find(db, one, digests[0], &there, &bytes_count, &e));
    assert_true(!there && bytes_count == 0);
    assert_true(catalogue_blob_find(db, one, digests[1], &there, &bytes_count, &e));
    assert_true(there && bytes_count == 20);
}

static void blobs_of_two_tenants(void **state)
{
    uint64_t one = tenant("one"), two = tenant("two"), bytes_count;
    uint8_t digest[2][CATALOGUE_DIGEST_BYTES] = {{1}, {2}}, (*gone)[CATALOGUE_DIGEST_BYTES];
    bool held;
    size_t n;
    assert_true(catalogue_blob_held(db, digest[0], &held, &e) && !held);
    assert_true(catalogue_blob_bytes(db, one, &bytes_count, &e) && bytes_count == 0);
    assert_true(catalogue_blob_add(db, one, digest[0], 10, 100, &e));
    assert_true(catalogue_blob_add(db, one, digest[1], 5, 100, &e));
    assert_true(catalogue_blob_add(db, two, digest[0], 10, 300, &e));
    assert_true(catalogue_blob_held(db, digest[0], &held, &e) && held);
    assert_true(catalogue_blob_bytes(db, one, &bytes_count, &e) && bytes_count == 15);
    assert_true(catalogue_blob_bytes(db, two, &bytes_count, &e) && bytes_count == 10);
    /* Sent once more it is as new as then. */
    assert_true(catalogue_blob_add(db, one, digest[1], 5, 300, &e));
    assert_true(catalogue_blobs_collect(db, &a, 200, &gone, &n, &e));
    assert_int_equal(n, 0); /* the file of the first is the other tenant's, too */
    assert_true(catalogue_blob_bytes(db, one, &bytes_count, &e) && bytes_count == 5);
    assert_true(catalogue_blob_held(db, digest[0], &held, &e) && held);
    assert_true(catalogue_blobs_collect(db, &a, 301, &gone, &n, &e));
    assert_int_equal(n, 2);
    assert_true(catalogue_blob_held(db, digest[0], &held, &e) && !held);
}

/* --- hosts ------------------------------------------------------------------------------------ */

static bool host_set(const catalogue_app *x, str host, bool is_operator)
{
    return catalogue_hosts_set(db, &a, x, &host, 1, S("apps.example"), is_operator, &e);
}

static void names_of_hosts(void **state)
{
    static char label[256], longest[256];
    catalogue_app x = app(tenant("one"), "x");
    memset(label, 'a', sizeof label);
    label[63] = '.';
    memset(longest, 'b', sizeof longest);
    for (size_t i = 61; i < 248; i += 62)
        longest[i] = '.';
    assert_true(host_set(&x, S("a.b"), false));
    assert_true(host_set(&x, S("0z-9.AZ"), false));
    assert_true(host_set(&x, (str){label, 66}, false)); /* a label of 63 */
    assert_true(host_set(&x, (str){longest, 253}, false));
    const str bad[] = {S("a."),   S(".b"),   S("a/.b"), S("a:.b"), S("a`.b"),     S("a{.b"),
                       S("a@.b"), S("a[.b"), S("*b.c"), S("a.*"),  S("a.-b"),     S("ab"),
                       S("abc"),  S("a..b"), S("a-.b"), S("a.b-"), {longest, 254}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (host_set(&x, bad[i], true))
            fail_msg("'%.*s' is a host", STR(bad[i]));
        assert_int_equal(e.code, ERR_INVALID);
    }
    label[63] = 'a';
    label[64] = '.';
    assert_false(host_set(&x, (str){label, 67}, true));
    assert_non_null(strstr(e.text, "is no host name; write www.example.com"));
    alloc_fail_after(1);
    assert_false(host_set(&x, S("a.b"), true));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

static void hosts_below_the_domain(void **state)
{
    catalogue_app x = app(tenant("one"), "x");
    static const str denied[] = {
        {"apps.example", 12}, {"APPS.example", 12}, {"a.apps.example", 14}, {"*.example", 9}};
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        assert_false(host_set(&x, denied[i], false));
        assert_int_equal(e.code, ERR_DENIED);
        assert_true(host_set(&x, denied[i], true));
        assert_true(host_set(&x, denied[i], false)); /* it has it now */
        assert_true(catalogue_hosts_set(db, &a, &x, NULL, 0, S("apps.example"), false, &e));
    }
    assert_true(host_set(&x, S("xapps.example"), false));
    assert_true(host_set(&x, S("apps.example.org"), false));
}

static void lists_of_hosts(void **state)
{
    enum { MOST = 100 };
    catalogue_app x = app(tenant("one"), "x"), y = app(x.tenant, "y");
    str many[MOST + 1], *all;
    size_t n;
    for (int i = 0; i <= MOST; i++)
        many[i] = arena_printf(&a, "H%03d.example.com", MOST - i);
    assert_false(catalogue_hosts_set(db, &a, &x, many, MOST + 1, S("d.e"), false, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "an app has at most 100 hosts of its own");
    assert_true(catalogue_hosts_set(db, &a, &x, many, MOST, S("d.e"), false, &e));
    assert_true(catalogue_hosts(db, &a, x.id, &all, &n, &e)); /* in order, in small letters */
    assert_int_equal(n, MOST);
    assert_str(all[0], "h001.example.com");
    assert_str(all[n - 1], "h100.example.com");
    assert_false(catalogue_hosts_set(db, &a, &y, many, 1, S("d.e"), false, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(e.text, "host 'h100.example.com' is taken");
    const str twice[] = {S("a.b"), S("A.b")};
    assert_true(catalogue_hosts_set(db, &a, &x, twice, 2, S("d.e"), false, &e));
    assert_true(catalogue_hosts(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 1);
    assert_true(catalogue_hosts_set(db, &a, &y, many, 1, S("d.e"), false, &e)); /* free again */
    for (size_t k = 1; k <= 2; k++) {
        alloc_fail_after(k);
        assert_false(catalogue_hosts(db, &a, x.id, &all, &n, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_true(catalogue_app_remove(db, &x, &e));
    assert_true(catalogue_hosts(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 0);
    assert_true(catalogue_hosts(db, &a, y.id, &all, &n, &e));
    assert_int_equal(n, 1);
}

/* --- variables, and numbers that nodes share -------------------------------------------------- */

static void variables(void **state)
{
    static char big[VARIABLE_VALUE_BYTES_MAX + 1];
    catalogue_app x = app(tenant("one"), "x"), y = app(x.tenant, "y");
    catalogue_variable *all;
    size_t n;
    char name[202];
    memset(big, 'v', sizeof big);
    memset(name, 'n', sizeof name);
    assert_true(catalogue_variable_set(db, x.id, S("b"), S("1"), &e));
    assert_true(catalogue_variable_set(db, x.id, S("a"), S(""), &e));
    assert_true(catalogue_variable_set(db, y.id, S("b"), S("3"), &e));
    assert_true(catalogue_variable_set(db, x.id, S("b"), S("2"), &e));
    assert_true(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 2);
    assert_str(all[0].name, "a");
    assert_int_equal(all[0].value.n, 0);
    assert_str(all[1].name, "b");
    assert_str(all[1].value, "2");
    for (size_t k = 1; k <= 5; k++) {
        alloc_fail_after(k);
        assert_false(catalogue_variables(db, &a, x.id, &all, &n, &e));
    }
    alloc_fail_after(1);
    assert_false(catalogue_variable_set(db, x.id, S("b"), S("4"), &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
    assert_true(catalogue_variable_set(db, x.id, S("b"), (str){0}, &e));
    assert_true(catalogue_variable_set(db, x.id, S("b"), (str){0}, &e)); /* it is gone */
    assert_true(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_true(n == 1 && all[0].name.p[0] == 'a');
    assert_true(catalogue_variable_set(db, x.id, (str){name, 200},
                                       (str){big, VARIABLE_VALUE_BYTES_MAX}, &e));
    assert_true(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_true(n == 2 && all[1].value.n == VARIABLE_VALUE_BYTES_MAX);
    assert_false(catalogue_variable_set(db, x.id, (str){name, 201}, S(""), &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_false(catalogue_variable_set(db, x.id, S("b"), (str){big, sizeof big}, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "variable 'b' is longer than "));
    /* A value that somebody moved to another name does not open. */
    sql("UPDATE variables SET name = 'c' WHERE name = 'a'");
    assert_false(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_int_equal(e.code, ERR_DENIED);
    assert_memory_equal(e.text, "variable 'c'", 12);
    assert_true(catalogue_app_remove(db, &x, &e));
    assert_true(catalogue_variables(db, &a, x.id, &all, &n, &e));
    assert_int_equal(n, 0);
    assert_true(catalogue_variables(db, &a, y.id, &all, &n, &e));
    assert_int_equal(n, 1);
}

static void numbers_that_nodes_share(void **state)
{
    static const str parts[][2] = {
        {{"app", 3}, {"x", 1}}, {{"app", 3}, {"y", 1}}, {{"ap", 2}, {"px", 2}}, {{"", 0}, {"", 0}}};
    uint64_t v[4], again;
    for (int i = 0; i < 4; i++) {
        assert_true(catalogue_shared_number(db, parts[i][0], parts[i][1], &v[i], &e));
        assert_true(v[i] >= UINT64_C(1) << 62 && v[i] < UINT64_C(1) << 63);
        for (int k = 0; k < i; k++)
            assert_true(v[k] != v[i]);
    }
    assert_true(catalogue_shared_number(db, S("app"), S("x"), &again, &e) && again == v[0]);
    db->key.bytes[31] ^= 1;
    assert_true(catalogue_shared_number(db, S("app"), S("x"), &again, &e) && again != v[0]);
    alloc_fail_after(1);
    assert_false(catalogue_shared_number(db, S("app"), S("x"), &again, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

/* --- the file and its readers ----------------------------------------------------------------- */

static void revisions_are_found(void **state)
{
    catalogue *c;
    catalogue_found f;
    loop *l;
    uint64_t one = tenant("one");
    catalogue_app x = app(one, "x"), empty = app(one, "empty");
    assert_true(catalogue_egress_set(db, one, S("10.0.0.0/8"), &e));
    revise(&x, "first", 3, 0, 10);
    revise(&x, "second", 3, 0, 20);
    assert_true(loop_new(&l, &e));
    assert_true(catalogue_open(l, path, S("localhost"), &key, &c, &e));
    assert_true(catalogue_find_revision(c, x.id, 1, &a, &f, &e));
    assert_true(f.app == x.id && f.tenant == one && f.revision == 1);
    assert_str(f.settings, "first");
    assert_str(f.app_name, "x");
    assert_str(f.tenant_name, "one");
    assert_str(f.quota, "{}");
    assert_str(f.egress, "10.0.0.0/8");
    assert_true(catalogue_find_revision(c, x.id, 0, &a, &f, &e));
    assert_int_equal(f.revision, 2);
    assert_str(f.settings, "second");
    assert_true(catalogue_find_revision(c, x.id, 3, &a, &f, &e) && f.app == 0);
    assert_true(catalogue_find_revision(c, empty.id, 0, &a, &f, &e) && f.app == 0);
    assert_true(catalogue_find_revision(c, 99, 0, &a, &f, &e) && f.app == 0);
    for (size_t k = 1; k <= 5; k++) { /* four texts, and what is opened */
        alloc_fail_after(k);
        assert_false(catalogue_find_revision(c, x.id, 1, &a, &f, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
        alloc_fail_after(k);
        assert_false(catalogue_find(c, S("x-one.localhost"), &a, &f, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_true(catalogue_find(c, S("x-one.localhost"), &a, &f, &e));
    assert_true(f.app == x.id && f.revision == 2);
    assert_true(catalogue_find(c, S("x-one.localhost.:80"), &a, &f, &e) && f.app == x.id);
    assert_true(catalogue_find(c, S("one.localhost"), &a, &f, &e) && f.app == 0);
    char longer[300];
    memset(longer, 'a', sizeof longer);
    memcpy(longer, "x-one.localhost", 15);
    assert_true(catalogue_find(c, (str){longer, 256}, &a, &f, &e) && f.app == 0);
    catalogue_close(c);
    loop_free(l);
}

/* Apps of this version, after a file of one before was brought up to date: of what revisions there
 * hold nothing is known, and they stay as if they deferred. */
static void files_of_other_versions(void **state)
{
    static const char *const older[] = {"ALTER TABLE revisions DROP COLUMN holds_s;"
                                        "ALTER TABLE revisions DROP COLUMN left_s;"
                                        "PRAGMA user_version = 2",
                                        "ALTER TABLE tenants DROP COLUMN egress;"
                                        "PRAGMA user_version = 1"};
    catalogue_db *again;
    catalogue_tenant t;
    catalogue_app x = app(tenant("one"), "x");
    revise(&x, "{}", 2, 0, 10);
    revise(&x, "{}", 2, 0, 20);
    for (size_t i = 0; i < 2; i++) { /* one version back, and two */
        sql("INSERT INTO revisions (id, made_s, settings) VALUES (99 << 20 | 1, 1, x'');"
            "INSERT INTO needs VALUES (99 << 20 | 1, x'')"); /* of an app that has gone */
        for (size_t k = 0; k <= i; k++)
            sql(older[k]);
        catalogue_db_close(db);
        db = NULL;
        assert_true(catalogue_schema_check(path, &e));
        int64_t n = 0, before = time(NULL);
        assert_true(catalogue_db_open(path, &key, &db, &e));
        assert_true(db_number(db, &e, &n,
                              "SELECT count(*) FROM revisions WHERE holds_s = 691200 AND"
                              " typeof(left_s) = 'integer' AND left_s BETWEEN ?1 AND ?2",
                              "ii", before, (int64_t)time(NULL)));
        assert_int_equal(n, 2);
        assert_true(db_number(db, &e, &n, "SELECT count(*) FROM revisions", "") && n == 2);
        assert_true(db_number(db, &e, &n, "SELECT count(*) FROM needs", "") && n == 0);
        assert_true(catalogue_tenant_find(db, &a, S("one"), &t, &e));
        assert_true(t.id && t.egress.n == 0);
        assert_true(catalogue_schema_check(path, &e));
    }
    sql("PRAGMA user_version = 4");
    assert_false(catalogue_schema_check(path, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "it was made by a newer ebb (schema 4)"));
    assert_non_null(strstr(e.text, path));
    again = NULL;
    assert_false(catalogue_db_open(path, &key, &again, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_null(again);
    sql("BEGIN IMMEDIATE; COMMIT"); /* no lock is left behind */
    assert_false(catalogue_db_open("/nowhere/at/all.db", &key, &again, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "/nowhere/at/all.db: ", 20);
    assert_false(catalogue_schema_check("/nowhere/at/all.db", &e));
    assert_int_equal(e.code, ERR_IO);
}

/* What the database refuses is a failure of each function, with its words. */
static void a_table_that_is_missing(void **state)
{
    uint64_t one = tenant("one"), n64, *ids;
    catalogue_app x = app(one, "x"), *apps;
    catalogue_revision *revisions;
    catalogue_variable *vars;
    uint8_t digest[1][CATALOGUE_DIGEST_BYTES] = {{1}}, (*gone)[CATALOGUE_DIGEST_BYTES];
    bool there;
    size_t n;
    str text, *hosts;
    sql("DROP TABLE revisions; DROP TABLE hosts; DROP TABLE variables; DROP TABLE blobs");
    assert_false(catalogue_apps(db, &a, one, S(""), &apps, &n, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the catalogue: no such table", 28);
    assert_false(catalogue_app_find(db, &a, one, S("x"), &x, &e));
    assert_false(catalogue_revisions(db, &a, x.id, &revisions, &n, &e));
    assert_false(catalogue_revision_settings(db, &a, &x, 1, &text, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_false(catalogue_revision_set(db, &x, S("{}"), &e));
    assert_false(catalogue_revision_use(db, &x, 1, 25, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_false(catalogue_revision_add(db, &x, S("{}"), NULL, 0, 1, 0, 1, &e));
    assert_false(catalogue_app_remove(db, &x, &e));
    assert_false(catalogue_hosts(db, &a, x.id, &hosts, &n, &e));
    assert_false(host_set(&x, S("a.b"), true));
    assert_int_equal(e.code, ERR_IO);
    assert_false(catalogue_variables(db, &a, x.id, &vars, &n, &e));
    assert_false(catalogue_variable_set(db, x.id, S("a"), S("b"), &e));
    assert_false(catalogue_variable_set(db, x.id, S("a"), (str){0}, &e));
    assert_false(catalogue_blob_find(db, one, digest[0], &there, &n64, &e));
    assert_false(catalogue_blob_held(db, digest[0], &there, &e));
    assert_false(catalogue_blob_bytes(db, one, &n64, &e));
    assert_false(catalogue_blob_add(db, one, digest[0], 1, 1, &e));
    assert_false(catalogue_blobs_collect(db, &a, 1, &gone, &n, &e));
    sql("DROP TABLE apps");
    assert_false(catalogue_app_ids(db, &a, &ids, &n, &e));
    assert_false(catalogue_app_name(db, &a, 1, &text, &e));
    assert_false(catalogue_apps_count(db, 0, &n64, &e));
    assert_false(catalogue_apps_count(db, one, &n64, &e));
    assert_false(catalogue_tenant_remove(db, one, &e));
    assert_int_equal(e.code, ERR_IO);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        CASE(labels),
        CASE(found_and_counted),
        CASE(pages),
        CASE(what_is_held_is_kept),
        CASE(what_was_live_again_is_held),
        CASE(settings_of_revisions),
        CASE(numbers_of_revisions_end),
        CASE(revisions_need_blobs),
        CASE(blobs_of_two_tenants),
        CASE(names_of_hosts),
        CASE(hosts_below_the_domain),
        CASE(lists_of_hosts),
        CASE(variables),
        CASE(numbers_that_nodes_share),
        CASE(revisions_are_found),
        CASE(files_of_other_versions),
        CASE(a_table_that_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
