/* Which addresses apps may reach: the Internet, and what the node opens of the rest. */
#include "unit.h"

#include "platform/egress.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static arena a;
static err e;

static bool blocked(const egress *x, const char *text)
{
    uint8_t at[16];
    bool v6 = strchr(text, ':') != NULL;
    assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, text, at), 1);
    return egress_is_blocked(x, at, v6 ? 16 : 4);
}

static void what_is_open(void **state)
{
    egress none, some, more;
    assert_true(egress_open(&a, S(""), &none, &e));
    assert_true(egress_open(&a, S("10.1.0.0/16, fd00::/64 ,,192.168.7.7"), &some, &e));
    assert_true(egress_more(&a, &some, S("172.16.0.0/12"), &more, &e));
    static const struct {
        const char *address;
        bool none, some, more; /* blocked */
    } rows[] = {
        {"8.8.8.8", false, false, false},
        {"2606:4700::1", false, false, false},
        {"10.1.2.3", true, false, false},
        {"10.2.0.1", true, true, true},
        {"10.0.255.255", true, true, true},
        {"192.168.7.7", true, false, false},
        {"192.168.7.8", true, true, true},
        {"172.16.0.1", true, true, false},
        {"172.31.255.255", true, true, false},
        {"127.0.0.1", true, true, true},
        {"::1", true, true, true},
        {"fd00::1", true, false, false},
        {"fd00:0:0:1::1", true, true, true},
        {"169.254.169.254", true, true, true},
        {"::ffff:127.0.0.1", true, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (blocked(&none, rows[i].address) != rows[i].none ||
            blocked(&some, rows[i].address) != rows[i].some ||
            blocked(&more, rows[i].address) != rows[i].more)
            fail_msg("%s", rows[i].address);
    assert_int_equal(some.open_count, 3); /* `more` is its own */
    assert_int_equal(more.open_count, 4);
    assert_true(none.closed.n >= 1); /* the addresses of this machine, loopback at least */
}

static void mistakes(void **state)
{
    static const char *const bad[] = {"x", "10.0.0.0/33", "10.0.0.0/8 x", "10.0.0.0/8, y"};
    static const char *const named[] = {"x", "10.0.0.0/33", "10.0.0.0/8 x", "y"};
    egress base, x = {.open_count = 77};
    assert_true(egress_open(&a, S("10.0.0.0/8"), &base, &e));
    for (size_t i = 0; i < 4; i++) {
        char says[128];
        snprintf(says, sizeof says,
                 "'%s' is no network that apps may reach; write it like 10.1.0.0/16", named[i]);
        assert_false(egress_open(&a, str_from(bad[i]), &x, &e));
        assert_string_equal(e.text, says);
        assert_false(egress_more(&a, &base, str_from(bad[i]), &x, &e));
        assert_string_equal(e.text, says);
        assert_int_equal(x.open_count, 77);
    }
}

static int begin(void **state)
{
    arena_init(&a, 1 << 20);
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_open), cmocka_unit_test(mistakes)};
    return cmocka_run_group_tests(tests, begin, end);
}
