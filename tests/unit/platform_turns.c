/* platform/turns: who gets the next slice. Each test lets calls of 1 ms run for a while and looks
 * at who had how much. */
#include "unit.h"

#include "base/limits.h"
#include "platform/turns.h"

#include <stddef.h>
#include <stdlib.h>

enum { SLICE = 1000000, CALLS_MAX = 64 };

typedef struct {
    turn turn; /* first */
    turn_app *app;
    uint64_t had;
} caller;

/* Callers that compute for ever, `slices` of them. */
static void run(turns *t, int slices)
{
    while (slices-- > 0) {
        caller *c = (caller *)(void *)turns_next(t);
        assert_non_null(c);
        assert_ptr_equal(turns_take(t), &c->turn);
        turns_charge(t, c->app, TURN_SLICED, SLICE);
        c->had++;
        turns_put(t, c->app, TURN_SLICED, &c->turn);
        turns_round(t);
    }
}

static void put(turns *t, turn_app *a, caller *c)
{
    *c = (caller){.app = a};
    turns_put(t, a, TURN_SLICED, &c->turn);
}

/* Fifty calls in five apps, and one of somebody else. */
static void tenants_share_whatever_calls_they_have(void **state)
{
    turns t = {0};
    turn_tenant many = {0}, one = {0};
    turn_app apps[5], own = {.of = &one};
    caller calls[50], victim;
    uint64_t sum = 0;
    for (int i = 0; i < 5; i++)
        apps[i] = (turn_app){.of = &many};
    for (int i = 0; i < 50; i++)
        put(&t, &apps[i % 5], &calls[i]);
    run(&t, 500); /* alone: what it had then is not owed to anybody */
    for (int i = 0; i < 50; i++)
        calls[i].had = 0;
    put(&t, &own, &victim);
    run(&t, 1000);
    assert_in_range(victim.had, 499, 501);
    for (int i = 0; i < 50; i++) {
        assert_in_range(calls[i].had, 9, 11);
        sum += calls[i].had;
    }
    assert_int_equal(sum + victim.had, 1000);
}

static void apps_of_a_tenant_share_alike(void **state)
{
    turns t = {0};
    turn_tenant tenant = {0};
    turn_app big = {.of = &tenant}, small = {.of = &tenant};
    caller calls[20], one;
    for (int i = 0; i < 20; i++)
        put(&t, &big, &calls[i]);
    put(&t, &small, &one);
    run(&t, 400);
    assert_in_range(one.had, 199, 201);
    assert_in_range(calls[7].had, 9, 11);
}

static void weights_divide(void **state)
{
    turns t = {0};
    turn_tenant heavy = {.weight = 300}, usual = {0};
    turn_app a = {.of = &heavy}, b = {.of = &usual};
    caller x, y;
    put(&t, &a, &x);
    put(&t, &b, &y);
    run(&t, 400);
    assert_in_range(x.had, 299, 301);
    assert_in_range(y.had, 99, 101);
}

/* Who was idle is served after one slice of each tenant at most, and has no more than his part. */
static void the_idle_one_is_next(void **state)
{
    turns t = {0};
    turn_tenant tenants[10] = {0}, late = {0};
    turn_app apps[10], own = {.of = &late};
    caller calls[40], x;
    for (int i = 0; i < 10; i++)
        apps[i] = (turn_app){.of = &tenants[i]};
    for (int i = 0; i < 40; i++)
        put(&t, &apps[i % 10], &calls[i]);
    run(&t, 1003);
    put(&t, &own, &x);
    int waited = 0;
    for (; !x.had; waited++)
        run(&t, 1);
    assert_in_range(waited, 1, 11);
    x.had = 0;
    run(&t, 1100);
    assert_in_range(x.had, 99, 101);
}

/* New calls run at once, unless that would be unfair to those who wait. */
static void new_calls_wait_where_their_tenant_had_more(void **state)
{
    turns t = {0};
    turn_tenant busy = {0}, other = {0};
    turn_app a = {.of = &busy}, b = {.of = &other};
    caller spinner;
    assert_true(turns_may_run(&t, &a));
    turns_charge(&t, &a, TURN_FRESH, TURNS_FRESH_NS);
    assert_false(turns_may_run(&t, &a)); /* in this round */
    assert_true(turns_may_run(&t, &b));
    turns_round(&t);
    assert_true(turns_may_run(&t, &a));
    put(&t, &b, &spinner);
    for (uint64_t had = 0; had <= TURNS_AHEAD_NS; had += TURNS_FRESH_NS / 2) {
        turns_round(&t);
        assert_true(turns_may_run(&t, &a));
        turns_charge(&t, &a, TURN_FRESH, TURNS_FRESH_NS / 2);
    }
    turns_round(&t);
    assert_false(turns_may_run(&t, &a));
    run(&t, 3); /* of b */
    assert_true(turns_may_run(&t, &a));
    assert_true(turns_may_run(&t, &b)); /* nobody else waits */
}

/* In a round that new calls have had enough of, only whoever uses less than he may goes at once. */
static void new_calls_of_all_have_a_part_of_a_round(void **state)
{
    turns t = {0};
    turn_tenant tenants[4] = {0}, light = {0}, spinning = {0};
    turn_app apps[4], own = {.of = &light}, c = {.of = &spinning};
    caller spinner;
    for (int i = 0; i < 4; i++)
        apps[i] = (turn_app){.of = &tenants[i]};
    put(&t, &c, &spinner);
    run(&t, 10);
    turns_round(&t);
    turns_charge(&t, &own, TURN_FRESH, TURNS_FRESH_NS / 100); /* he was idle so far */
    turns_charge(&t, &apps[0], TURN_FRESH, TURNS_ROUND_NS / 2);
    assert_true(turns_may_run(&t, &apps[0]) && turns_may_run(&t, &apps[1]));
    turns_charge(&t, &apps[1], TURN_FRESH, TURNS_ROUND_NS / 2);
    assert_false(turns_may_run(&t, &apps[0]));
    assert_true(turns_may_run(&t, &apps[2])); /* was idle */
    turns_round(&t);
    assert_true(turns_may_run(&t, &apps[0]));
    run(&t, 10);
    turns_round(&t);
    turns_charge(&t, &apps[0], TURN_FRESH, TURNS_ROUND_NS);
    assert_true(turns_may_run(&t, &own)); /* what he used was less than what the others had */
    assert_false(turns_may_run(&t, &apps[0]));
}

/* A long queue of calls that compute does not keep the app's new ones from their half. */
static void new_calls_of_an_app_share_with_its_others(void **state)
{
    turns t = {0};
    turn_tenant tenant = {0};
    turn_app a = {.of = &tenant};
    caller calls[30], fresh;
    for (int i = 0; i < 30; i++)
        put(&t, &a, &calls[i]);
    run(&t, 60);
    fresh = (caller){.app = &a};
    turns_put(&t, &a, TURN_FRESH, &fresh.turn);
    for (int i = 0; i < 40; i++) {
        caller *c = (caller *)(void *)turns_take(&t);
        turn_kind k = c == &fresh ? TURN_FRESH : TURN_SLICED;
        assert_true(i || c == &fresh);
        turns_charge(&t, &a, k, SLICE);
        c->had++;
        turns_put(&t, &a, k, &c->turn);
    }
    assert_in_range(fresh.had, 20, 21);
}

static void a_parked_tenant_has_no_turn(void **state)
{
    turns t = {0};
    turn_tenant spent = {0}, other = {0};
    turn_app a = {.of = &spent}, b = {.of = &other};
    caller x, y;
    put(&t, &a, &x);
    put(&t, &b, &y);
    while (turns_tenant(&t) != &spent)
        run(&t, 1);
    turns_park(&t, &spent, 700);
    assert_false(turns_may_run(&t, &a));
    x.had = y.had = 0;
    run(&t, 10);
    assert_int_equal(y.had, 10);
    assert_int_equal(turns_unpark(&t, 600), 700);
    assert_int_equal(turns_unpark(&t, 700), 0);
    run(&t, 10);
    assert_in_range(x.had, 4, 6);
    while (turns_tenant(&t) != &spent)
        run(&t, 1);
    turns_park(&t, &spent, 900);
    turns_drop(&t, &a, TURN_SLICED, &x.turn); /* its last call ends while it is parked */
    assert_int_equal(turns_unpark(&t, 0), 0);
    turns_drop(&t, &b, TURN_SLICED, &y.turn);
    assert_null(turns_tenant(&t));
    assert_null(turns_take(&t));
    assert_null(turns_next(&t));
    assert_false(turns_wait(&t));
}

/* Work that yields has the least weight: a call that comes has nearly all, and yields nothing more.
 */
static void work_that_yields(void **state)
{
    turns t = {0};
    turn_tenant least = {.weight = 1}, other = {0};
    turn_app yields = {.of = &least}, own = {.of = &other};
    caller many[8], one;
    for (int i = 0; i < 8; i++)
        put(&t, &yields, &many[i]);
    run(&t, 1000); /* alone it has everything */
    uint64_t before = 0, after = 0;
    for (int i = 0; i < 8; i++)
        before += many[i].had;
    assert_int_equal(before, 1000);
    put(&t, &own, &one);
    run(&t, 505);
    for (int i = 0; i < 8; i++)
        after += many[i].had;
    assert_in_range(after - before, 4, 7); /* never nothing: a slice of a hundred */
    assert_in_range(one.had, 498, 501);
}

/* Calls come, run, leave in any order: lists stay whole, and nobody who waits is forgotten. */
static void nobody_is_lost(void **state)
{
    turns t = {0};
    turn_tenant tenants[4] = {0};
    turn_app apps[8];
    caller calls[CALLS_MAX];
    bool waits[CALLS_MAX] = {0};
    turn_kind kinds[CALLS_MAX] = {0};
    size_t waiting = 0;
    srand(7);
    for (int i = 0; i < 8; i++)
        apps[i] = (turn_app){.of = &tenants[i % 4]};
    for (int step = 0; step < 50000; step++) {
        size_t i = (size_t)rand() % CALLS_MAX;
        int what = rand() % 3;
        if (!waits[i] && what) {
            kinds[i] = rand() % 2 ? TURN_FRESH : TURN_SLICED;
            calls[i] = (caller){.app = &apps[rand() % 8]};
            turns_put(&t, calls[i].app, kinds[i], &calls[i].turn);
            waits[i] = true;
            waiting++;
        } else if (waits[i] && what == 1) {
            turns_drop(&t, calls[i].app, kinds[i], &calls[i].turn);
            waits[i] = false;
            waiting--;
        } else if (waiting) {
            caller *c = (caller *)(void *)turns_take(&t);
            assert_true(waits[c - calls]);
            waits[c - calls] = false;
            waiting--;
            turns_charge(&t, c->app, kinds[c - calls], (ns)(rand() % SLICE));
        }
        assert_int_equal(turns_wait(&t), waiting > 0);
    }
    while (turns_take(&t))
        waiting--;
    assert_int_equal(waiting, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenants_share_whatever_calls_they_have),
        cmocka_unit_test(apps_of_a_tenant_share_alike),
        cmocka_unit_test(weights_divide),
        cmocka_unit_test(the_idle_one_is_next),
        cmocka_unit_test(new_calls_wait_where_their_tenant_had_more),
        cmocka_unit_test(new_calls_of_all_have_a_part_of_a_round),
        cmocka_unit_test(new_calls_of_an_app_share_with_its_others),
        cmocka_unit_test(a_parked_tenant_has_no_turn),
        cmocka_unit_test(work_that_yields),
        cmocka_unit_test(nobody_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
