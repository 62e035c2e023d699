/* Lines: a rule, a scheme, a host, a port. A rule for one name allows that name and, written as a
 * denial's advice, its own connection. The first line is also read as the address of a web hook,
 * whose parts are its text. */
#include "app/hook.h"
#include "app/outbound.h"
#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    outbound_rule r;
    err e;
    uint64_t port = 0;
    str rest = {(const char *)data, size};
    str rule = str_cut(&rest, '\n'), scheme = str_cut(&rest, '\n'), host = str_cut(&rest, '\n');
    str_to_u64(rest, 65535, &port);
    arena_init(&a, 64 * MIB);
    hook_url u;
    if (hook_url_parse(rule, &u, &e))
        must(u.host.n && u.authority.p > rule.p && u.authority.p + u.authority.n == u.target.p &&
             u.target.p + u.target.n == rule.p + rule.n && str_starts(u.authority, u.host));
    must(outbound_denial(&a, S("c"), scheme, host, (uint16_t)port).p);
    if (!outbound_rule_parse(&a, rule, &r, &e))
        return 0;
    outbound_rules rules = {&r, 1};
    bool allowed = outbound_allows(&rules, scheme, host, (uint16_t)port);
    outbound_allows_self(&rules, scheme);
    must(r.port_first < r.port_end && r.port_end <= 65536);
    if (r.kind == OUTBOUND_SELF)
        must(!allowed);
    if (r.kind == OUTBOUND_NAME && r.port_first > 0)
        must(outbound_allows(&rules, r.scheme.n ? r.scheme : S("x"), r.name,
                             (uint16_t)r.port_first));
    if (r.kind == OUTBOUND_SUBDOMAINS)
        must(!outbound_allows(&rules, scheme, str_skip(r.name, 1), (uint16_t)port));
    return 0;
}
