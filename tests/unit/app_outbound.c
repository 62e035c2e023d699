/* app/outbound: the grammar of allowed_outbound_hosts, matching, denials; random rules and
 * connections against a second implementation that works on the text of the rule. */
#include "unit.h"

#include "app/outbound.h"
#include "base/limits.h"

#include <stdio.h>

typedef struct {
    arena a;
    err e;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 64 * MIB);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    free(f);
    return 0;
}

static bool allows(fixture *f, const char *rule, const char *scheme, const char *host,
                   uint16_t port)
{
    str text = str_from(rule);
    outbound_rules rules;
    if (!outbound_rules_parse(&f->a, &text, NULL, 1, &rules, &f->e))
        fail_msg("%s: %s", rule, f->e.text);
    return outbound_allows(&rules, str_from(scheme), str_from(host), port);
}

static void refuses(fixture *f, const char *rule, const char *why)
{
    outbound_rule r;
    if (outbound_rule_parse(&f->a, str_from(rule), &r, &f->e))
        fail_msg("accepted: %s", rule);
    if (!strstr(f->e.text, why))
        fail_msg("%s: '%s' does not say '%s'", rule, f->e.text, why);
}

static void schemes_and_ports(void **state)
{
    fixture *f = *state;
    assert_true(allows(f, "http://example.com", "http", "example.com", 0));
    assert_true(allows(f, "http://example.com", "http", "example.com", 80));
    assert_true(allows(f, "http://example.com/", "HTTP", "EXAMPLE.com", 80));
    assert_false(allows(f, "http://example.com", "https", "example.com", 80));
    assert_false(allows(f, "http://example.com", "http", "example.com", 8080));
    assert_true(allows(f, "http://example.com:8080/", "http", "example.com", 8080));
    assert_true(allows(f, "postgres://db", "postgres", "db", 5432));
    assert_true(allows(f, "mqtt://db", "mqtt", "db", 1883));
    assert_true(allows(f, "*://example.com:*", "gopher", "example.com", 70));
    assert_true(allows(f, "*://example.com:*", "gopher", "example.com", 0));
    assert_false(allows(f, "*://example.com:70", "gopher", "example.com", 0));
    assert_true(allows(f, "tcp://h:10..12", "tcp", "h", 10));
    assert_true(allows(f, "tcp://h:10..12", "tcp", "h", 11));
    assert_false(allows(f, "tcp://h:10..12", "tcp", "h", 12));
    assert_true(allows(f, " https://example.com ", "https", "example.com", 443));
}

static void hosts(void **state)
{
    fixture *f = *state;
    assert_true(allows(f, "https://*.example.com", "https", "a.b.EXAMPLE.com", 0));
    assert_false(allows(f, "https://*.example.com", "https", "example.com", 0));
    assert_false(allows(f, "https://*.example.com", "https", "badexample.com", 0));
    assert_false(allows(f, "https://*.example.com", "https", ".example.com", 0));
    assert_true(allows(f, "*://*:*", "https", "anything", 1));
    assert_false(allows(f, "http://self", "http", "self", 80));
    assert_true(allows(f, "http://127.0.0.1:80", "http", "127.0.0.1", 80));
    assert_false(allows(f, "http://127.0.0.1:80", "http", "127.1", 80));
    assert_true(allows(f, "*://127.0.0.0/24:80", "tcp", "127.0.0.77", 80));
    assert_false(allows(f, "*://127.0.0.0/24:80", "tcp", "127.0.1.0", 80));
    assert_true(allows(f, "*://10.1.2.3/8:80", "tcp", "10.200.0.1", 80));
    assert_true(allows(f, "*://0.0.0.0/0:80", "tcp", "8.8.8.8", 80));
    assert_false(allows(f, "*://0.0.0.0/0:80", "tcp", "::1", 80));
    assert_false(allows(f, "*://0.0.0.0/0:80", "tcp", "localhost", 80));
    assert_true(allows(f, "http://[::1]", "http", "[::1]", 80));
    assert_true(allows(f, "http://[::1]:81", "http", "::1", 81));
    assert_true(allows(f, "http://[0:0::1]:81/", "http", "::1", 81));
    assert_true(allows(f, "tcp://2001:db8::/32:53", "tcp", "2001:db8:1::2", 53));
    assert_false(allows(f, "tcp://2001:db8::/32:53", "tcp", "2001:db9::1", 53));
    assert_true(allows(f, "http://a.spin.internal", "http", "a.spin.internal", 80));
}

static void self_and_chaining(void **state)
{
    fixture *f = *state;
    outbound_rule r;
    static const struct {
        const char *rule, *scheme;
        bool allowed;
    } cases[] = {{"http://self", "http", true},   {"http://self", "https", false},
                 {"https://self", "https", true}, {"http://self.alt", "http", true},
                 {"*://*:*", "http", true},       {"http://example.com", "http", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outbound_rules rules;
        str text = str_from(cases[i].rule);
        assert_true(outbound_rules_parse(&f->a, &text, NULL, 1, &rules, &f->e));
        assert_int_equal(outbound_allows_self(&rules, str_from(cases[i].scheme)), cases[i].allowed);
    }
    assert_str(outbound_chained_component(S("my-id.spin.internal")), "my-id");
    assert_null(outbound_chained_component(S(".spin.internal")).p);
    assert_null(outbound_chained_component(S("spin.internal.com")).p);
    assert_true(outbound_rule_parse(&f->a, S("http://*.spin.internal"), &r, &f->e));
    assert_true(outbound_rule_is_chaining(&r));
    assert_true(outbound_rule_parse(&f->a, S("http://x.spin.internal"), &r, &f->e));
    assert_true(outbound_rule_is_chaining(&r));
    assert_true(outbound_rule_parse(&f->a, S("http://*"), &r, &f->e));
    assert_false(outbound_rule_is_chaining(&r));
}

static void refused(void **state)
{
    fixture *f = *state;
    refuses(f, "*", "'*://*:*' allows everything");
    refuses(f, "", "scheme://host");
    refuses(f, "insecure:allow-all", "'*://*:*'");
    refuses(f, "example.com", "has no scheme; write 'https://example.com'");
    refuses(f, "http://example.com/path", "a path is not allowed");
    refuses(f, "http://example.com:80/path", "a path is not allowed");
    refuses(f, "http://example.com//", "a path is not allowed");
    refuses(f, "gopher://example.com", "has no usual one");
    refuses(f, "*://example.com", "has no usual one");
    refuses(f, "{http,https}://example.com", "lists of schemes");
    refuses(f, "http://{a,b}", "lists of hosts");
    refuses(f, "http://a:{80,81}", "lists of ports");
    refuses(f, "h2c://example.com:1", "only have letters");
    refuses(f, "://example.com:80", "the scheme is empty");
    refuses(f, "http://", "the host is empty");
    refuses(f, "http://:80", "the host is empty");
    refuses(f, "http://a.*.com", "'*' must be the whole host");
    refuses(f, "http://*.a.*.com", "'*' may only stand at the beginning");
    refuses(f, "http://*a.com", "'*' must be");
    refuses(f, "http://a..b", "has an empty part");
    refuses(f, "http://a b", "can't be part of a host name");
    refuses(f, "http://user@host", "can't be part of a host name");
    refuses(f, "http://127.1", "not a complete IPv4 address");
    refuses(f, "http://0x7f000001", "not a complete IPv4 address");
    refuses(f, "http://*.1", "not a complete IPv4 address");
    refuses(f,
            "http://b\xc3\xbc"
            "cher.de",
            "xn--");
    refuses(f, "http://a:65536", "not a number up to 65535");
    refuses(f, "http://a:80a", "not a number up to 65535");
    refuses(f, "http://a:9..9", "is empty");
    refuses(f, "http://a:9..x", "does not end in a number");
    refuses(f, "tcp://10.0.0.0/33:1", "a path is not allowed");
    refuses(f, "http://[::1", "can't be part");
}

static void templates(void **state)
{
    fixture *f = *state;
    str texts[] = {S(""), S("https://"), S("http://a"), S("http://")};
    bool was[] = {true, true, false, true};
    outbound_rules rules;
    assert_true(outbound_rules_parse(&f->a, texts, was, 4, &rules, &f->e));
    assert_int_equal(rules.n, 1);
    assert_str(rules.at[0].text, "http://a");
    was[0] = false;
    assert_false(outbound_rules_parse(&f->a, texts, was, 4, &rules, &f->e));
    assert_false(outbound_rules_parse(&f->a, texts, NULL, 4, &rules, &f->e));
}

static void denial(void **state)
{
    fixture *f = *state;
    str s = outbound_denial(&f->a, S("web"), S("http"), S("a.com"), 8080);
    assert_non_null(strstr(s.p, "add \"http://a.com:8080\" to allowed_outbound_hosts of "
                                "[component.web]"));
    s = outbound_denial(&f->a, S("web"), S("https"), S("a.com"), 443);
    assert_non_null(strstr(s.p, "add \"https://a.com\" to"));
    s = outbound_denial(&f->a, S("web"), S("tcp"), S("::1"), 65535);
    assert_non_null(strstr(s.p, "add \"tcp://[::1]:65535\" to"));
}

/* ---- the second implementation: on strings and sscanf, for the shapes made below ---- */

static bool naive_host(const char *rule, const char *host)
{
    unsigned a, b, c, d, bits, w, x, y, z;
    char tail[8];
    if (!strcmp(rule, "*"))
        return true;
    if (sscanf(rule, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &bits) == 5) {
        if (sscanf(host, "%u.%u.%u.%u%7s", &w, &x, &y, &z, tail) != 4)
            return false;
        uint64_t net = (uint64_t)a << 24 | b << 16 | c << 8 | d;
        uint64_t ip = (uint64_t)w << 24 | x << 16 | y << 8 | z;
        return net >> (32 - bits) == ip >> (32 - bits);
    }
    if (!strncmp(rule, "*.", 2)) {
        size_t n = strlen(host), m = strlen(rule) - 1;
        bool is_addr = sscanf(host, "%u.%u.%u.%u", &w, &x, &y, &z) == 4;
        return !is_addr && n > m && !strcmp(host + n - m, rule + 1);
    }
    return !strcmp(rule, host);
}

static bool naive_port(const char *rule, const char *scheme, unsigned port)
{
    unsigned from, to;
    unsigned def = !strcmp(scheme, "http") ? 80 : !strcmp(scheme, "redis") ? 6379 : 0;
    if (!strcmp(rule, "*"))
        return true;
    if (!port)
        port = def;
    if (sscanf(rule, "%u..%u", &from, &to) == 2)
        return port && port >= from && port < to;
    return port && port == (unsigned)atoi(rule);
}

static uint32_t seed = 1;

static const char *pick(const char *const *list, uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return list[(seed >> 8) % n];
}

static void property(void **state)
{
    fixture *f = *state;
    static const char *const schemes[] = {"http", "redis", "tcp"};
    static const char *const rule_schemes[] = {"http", "redis", "tcp", "*"};
    static const char *const rule_hosts[] = {"*",         "*.a.com",    "a.com",
                                             "b.a.com",   "1.2.3.0/24", "1.2.3.4/32",
                                             "0.0.0.0/0", "1.2.3.4",    "128.0.0.0/1"};
    static const char *const hosts_seen[] = {"a.com",   "b.a.com", "c.b.a.com", "xa.com",
                                             "1.2.3.4", "1.2.3.9", "1.2.4.4",   "200.1.1.1"};
    static const char *const rule_ports[] = {"*", "80", "6379", "79..82", "1..65536"};
    static const char *const ports[] = {"0", "79", "80", "82", "6379", "65535"};
    size_t yes = 0, no = 0;
    for (int i = 0; i < 20000; i++) {
        char rule[100];
        const char *rs = pick(rule_schemes, 4), *rh = pick(rule_hosts, 9),
                   *rp = pick(rule_ports, 5), *s = pick(schemes, 3), *h = pick(hosts_seen, 8);
        unsigned p = (unsigned)atoi(pick(ports, 6));
        snprintf(rule, sizeof rule, "%s://%s:%s", rs, rh, rp);
        bool want =
            (!strcmp(rs, "*") || !strcmp(rs, s)) && naive_host(rh, h) && naive_port(rp, s, p);
        bool got = allows(f, rule, s, h, (uint16_t)p);
        if (got != want)
            fail_msg("%s: %s://%s:%u: got %d", rule, s, h, p, got);
        if (i % 1000 == 0)
            arena_reset(&f->a);
        yes += got;
        no += !got;
    }
    assert_true(yes > 1000 && no > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(schemes_and_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(self_and_chaining, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(templates, setup, teardown),
        cmocka_unit_test_setup_teardown(denial, setup, teardown),
        cmocka_unit_test_setup_teardown(property, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
