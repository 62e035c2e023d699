/* Whose word about a request's origin counts. */
#include "unit.h"

#include "http/proxies.h"

#include <string.h>

typedef struct {
    const char *peer, *forwarded[3], *proto, *client, *scheme;
} row;

/* Trusted: 10.0.0.0/8, 192.0.2.1, 2001:db8::/32. */
static const row rows[] = {
    /* A peer that is not trusted is believed nothing. */
    {"203.0.113.9:5", {"1.2.3.4"}, "https", "203.0.113.9:5", "http"},
    {"local", {"1.2.3.4"}, "https", "local", "http"},
    {"11.0.0.1:5", {"1.2.3.4"}, NULL, "11.0.0.1:5", "http"},
    /* One hop. */
    {"10.1.2.3:5", {"1.2.3.4"}, "https", "1.2.3.4:0", "https"},
    {"192.0.2.1:5", {"1.2.3.4:777"}, "HTTPS", "1.2.3.4:0", "https"},
    {"192.0.2.2:5", {"1.2.3.4"}, NULL, "192.0.2.2:5", "http"},
    {"[2001:db8::7]:5", {"2001:db9::1"}, "http", "[2001:db9::1]:0", "http"},
    {"10.1.2.3:5", {"[2001:db9::1]:80"}, NULL, "[2001:db9::1]:0", "http"},
    {"10.1.2.3:5", {"\"[2001:db9::1]\""}, NULL, "[2001:db9::1]:0", "http"},
    /* What a client writes itself stands to the left of what the hop adds. */
    {"10.1.2.3:5", {"6.6.6.6, 1.2.3.4"}, "http,https", "1.2.3.4:0", "https"},
    {"10.1.2.3:5", {"10.6.6.6, 1.2.3.4"}, NULL, "1.2.3.4:0", "http"},
    {"10.1.2.3:5", {"6.6.6.6", "1.2.3.4"}, NULL, "1.2.3.4:0", "http"},
    /* Several trusted hops. */
    {"10.1.2.3:5", {"6.6.6.6, 1.2.3.4, 10.0.0.9,192.0.2.1"}, NULL, "1.2.3.4:0", "http"},
    {"10.1.2.3:5", {"6.6.6.6, 1.2.3.4", "10.0.0.9", "2001:db8::1"}, NULL, "1.2.3.4:0", "http"},
    /* All of them trusted: the one farthest away. */
    {"10.1.2.3:5", {"10.0.0.8, 10.0.0.9"}, NULL, "10.0.0.8:0", "http"},
    /* What is no address ends it. */
    {"10.1.2.3:5", {"1.2.3.4, unknown"}, "ftp", "10.1.2.3:5", "http"},
    {"10.1.2.3:5", {"unknown, 10.0.0.9"}, NULL, "10.0.0.9:0", "http"},
    {"10.1.2.3:5", {""}, "", "10.1.2.3:5", "http"},
    {"10.1.2.3:5", {","}, NULL, "10.1.2.3:5", "http"},
    {"10.1.2.3:5", {"[1.2.3.4"}, NULL, "10.1.2.3:5", "http"},
    {"10.1.2.3:5", {NULL}, NULL, "10.1.2.3:5", "http"},
};

static void table(void **state)
{
    outbound_net nets[3];
    assert_true(outbound_net_parse(S("10.0.0.0/8"), &nets[0]));
    assert_true(outbound_net_parse(S("192.0.2.1/32"), &nets[1]));
    assert_true(outbound_net_parse(S("2001:db8::/32"), &nets[2]));
    const outbound_blocks trusted = {.at = nets, .n = 3}, nobody = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char place[PROXIES_CLIENT_BYTES_MAX];
        http_field fields[5] = {{S("forwarded"), S("for=9.9.9.9")}};
        size_t n = 1;
        for (size_t k = 0; k < 3 && rows[i].forwarded[k]; k++)
            fields[n++] = (http_field){S("x-forwarded-for"), str_from(rows[i].forwarded[k])};
        if (rows[i].proto)
            fields[n++] = (http_field){S("x-forwarded-proto"), str_from(rows[i].proto)};
        proxies_origin o =
            proxies_find(&trusted, str_from(rows[i].peer), S("http"), fields, n, place);
        if (!str_eq(o.client, str_from(rows[i].client)) ||
            !str_eq(o.scheme, str_from(rows[i].scheme)))
            fail_msg("row %zu: %.*s %.*s", i, STR(o.client), STR(o.scheme));
        o = proxies_find(&nobody, str_from(rows[i].peer), S("http"), fields, n, place);
        assert_true(str_eq(o.client, str_from(rows[i].peer)) && str_eq(o.scheme, S("http")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
