/* ebb-app-decide: what the router and allowed_outbound_hosts decide, for tests that compare them
 * with another implementation. Lines of words, separated by tabs, on standard input:
 *
 *     route PATTERN       adds a pattern; answers "ok" or "bad"
 *     path PATH           answers the number of the pattern that takes it and the rest that its
 *                         wildcard captured, or "-"
 *     rule TEXT           adds a rule; answers "ok" or "bad"
 *     ask SCHEME HOST PORT  answers "yes" or "no"
 *     reset */
#include "app/outbound.h"
#include "app/route.h"
#include "base/limits.h"

#include <stdio.h>

enum { ALL_MAX = 64 };

typedef struct {
    arena a;
    app_trigger triggers[ALL_MAX];
    app all;
    outbound_rule rules[ALL_MAX];
    outbound_rules list;
} decider;

static void route_add(decider *d, str pattern)
{
    err e;
    bool ok = d->all.triggers_count < ALL_MAX && route_check(pattern, &e);
    if (ok)
        d->triggers[d->all.triggers_count++] =
            (app_trigger){.kind = APP_TRIGGER_HTTP, .route = pattern};
    printf("%s\n", ok ? "ok" : "bad");
}

static void path_find(decider *d, str path)
{
    err e;
    route_table *t;
    route_match m;
    if (!route_table_build(&d->a, &d->all, &t, &e)) {
        printf("error %s\n", e.text);
        return;
    }
    route_find(t, path, &m);
    if (m.kind == ROUTE_TRIGGER)
        printf("%d\t%.*s\n", (int)(m.trigger - d->triggers), STR(m.rest));
    else
        printf("-\n");
}

static void rule_add(decider *d, str text)
{
    err e;
    bool ok = d->list.n < ALL_MAX && outbound_rule_parse(&d->a, text, &d->rules[d->list.n], &e);
    d->list.n += ok;
    printf("%s\n", ok ? "ok" : "bad");
}

static void ask(decider *d, str words)
{
    str scheme = str_cut(&words, '\t'), host = str_cut(&words, '\t');
    uint64_t port = 0;
    str_to_u64(words, 65535, &port);
    printf("%s\n", outbound_allows(&d->list, scheme, host, (uint16_t)port) ? "yes" : "no");
}

static void line_take(decider *d, str line)
{
    str rest = arena_str(&d->a, line), word = str_cut(&rest, '\t');
    if (str_eq(word, S("route")))
        route_add(d, rest);
    else if (str_eq(word, S("path")))
        path_find(d, rest);
    else if (str_eq(word, S("rule")))
        rule_add(d, rest);
    else if (str_eq(word, S("ask")))
        ask(d, rest);
    else
        d->all.triggers_count = d->list.n = 0;
}

int main(void)
{
    static decider d;
    char line[4096];
    arena_init(&d.a, 4 * GIB);
    d.all.triggers = d.triggers;
    d.list.at = d.rules;
    while (fgets(line, sizeof line, stdin)) {
        str text = str_from(line);
        text.n -= str_ends(text, S("\n"));
        line_take(&d, text);
        fflush(stdout);
    }
    arena_fini(&d.a);
    return 0;
}
