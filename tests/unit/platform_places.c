/* platform/places: who runs and who waits; against a naive model, and the rules one by one. */
#include "unit.h"

#include "platform/places.h"

#include <string.h>

static void a_place_for_each_until_it_is_full(void **state)
{
    places p = {.live_max = 2, .queued_max = 10};
    place_owner o = {.size = 1};
    waiter a;
    assert_true(places_take(&p, &o));
    assert_true(places_take(&p, &o));
    assert_false(places_take(&p, &o));
    assert_true(places_wait(&p, &o, &a));
    assert_false(places_ready(&p));
    assert_null(places_next(&p));
    places_give(&p, &o);
    assert_true(places_ready(&p));
    assert_false(places_take(&p, &o)); /* somebody waits already */
    assert_ptr_equal(places_next(&p), &a);
    assert_int_equal(p.live, 2);
    assert_int_equal(p.queued, 0);
}

static void an_owner_has_a_limit_of_its_own(void **state)
{
    places p = {.live_max = 10, .queued_max = 10};
    place_owner few = {.size = 1, .running_max = 1, .queued_max = 2}, other = {.size = 1};
    waiter w[3];
    assert_true(places_take(&p, &few));
    assert_false(places_take(&p, &few));
    assert_true(places_wait(&p, &few, &w[0]));
    assert_true(places_wait(&p, &few, &w[1]));
    assert_false(places_wait(&p, &few, &w[2])); /* its queue is full */
    assert_false(places_ready(&p));             /* there is room, but not for it */
    assert_true(places_take(&p, &other));       /* which is nobody else's problem */
    places_give(&p, &few);
    assert_ptr_equal(places_next(&p), &w[0]);
    assert_null(places_next(&p));
}

static void the_worker_has_a_queue_for_all(void **state)
{
    places p = {.live_max = 1, .queued_max = 2};
    place_owner a = {.size = 1}, b = {.size = 1};
    waiter w[3];
    assert_true(places_take(&p, &a));
    assert_true(places_wait(&p, &a, &w[0]));
    assert_true(places_wait(&p, &b, &w[1]));
    assert_false(places_wait(&p, &b, &w[2]));
    places_leave(&p, &b, &w[1]);
    assert_true(places_wait(&p, &b, &w[2]));
}

/* A long queue of one keeps the first of another waiting for one turn only. */
static void owners_take_turns(void **state)
{
    places p = {.live_max = 1, .queued_max = 100};
    place_owner many = {.size = 1}, one = {.size = 1};
    waiter w[5], first;
    assert_true(places_take(&p, &many));
    for (int i = 0; i < 5; i++)
        assert_true(places_wait(&p, &many, &w[i]));
    assert_true(places_wait(&p, &one, &first));
    const waiter *expected[] = {&w[0], &first, &w[1], &w[2], &w[3], &w[4]};
    place_owner *running = &many;
    for (int i = 0; i < 6; i++) {
        places_give(&p, running);
        assert_ptr_equal(places_next(&p), expected[i]);
        running = expected[i] == &first ? &one : &many;
    }
}

static void a_large_one_runs_when_it_is_alone(void **state)
{
    places p = {.live_max = 4, .queued_max = 100};
    place_owner large = {.size = 6}, small = {.size = 1};
    waiter w, later;
    assert_true(places_take(&p, &small));
    assert_false(places_take(&p, &large));
    assert_true(places_wait(&p, &large, &w));
    assert_false(places_take(&p, &small)); /* else it might never be its turn */
    assert_true(places_wait(&p, &small, &later));
    places_give(&p, &small);
    assert_ptr_equal(places_next(&p), &w);
    assert_null(places_next(&p));
    places_give(&p, &large);
    assert_ptr_equal(places_next(&p), &later);
}

static void who_waits_may_leave(void **state)
{
    places p = {.live_max = 1, .queued_max = 100};
    place_owner a = {.size = 1}, b = {.size = 1};
    waiter w[3], v;
    assert_true(places_take(&p, &a));
    for (int i = 0; i < 3; i++)
        assert_true(places_wait(&p, &a, &w[i]));
    assert_true(places_wait(&p, &b, &v));
    places_leave(&p, &a, &w[1]);
    places_leave(&p, &a, &w[2]);
    places_leave(&p, &a, &w[0]);
    assert_int_equal(a.queued, 0);
    assert_int_equal(p.queued, 1);
    places_give(&p, &a);
    assert_ptr_equal(places_next(&p), &v);
    assert_null(places_next(&p));
    places_give(&p, &b);
    assert_int_equal(p.live, 0);
    assert_true(places_take(&p, &a));
}

/* Random operations: the invariants of places.h hold after each, and nobody is forgotten. */
enum { OWNERS = 4, WAITERS = 64 };

typedef struct {
    waiter w;
    uint32_t owner;
    bool waits;
} client;

static void check(const places *p, const place_owner *o, const client *c)
{
    uint32_t live = 0, queued = 0, listed = 0;
    for (uint32_t i = 0; i < OWNERS; i++) {
        uint32_t waits = 0;
        for (uint32_t k = 0; k < WAITERS; k++)
            waits += c[k].waits && c[k].owner == i;
        assert_int_equal(o[i].queued, waits);
        assert_true(!o[i].running_max || o[i].running <= o[i].running_max);
        bool due = waits && (!o[i].running_max || o[i].running < o[i].running_max);
        assert_int_equal(o[i].listed, due);
        listed += due;
        live += o[i].running * o[i].size;
        queued += waits;
    }
    assert_int_equal(p->live, live);
    assert_int_equal(p->queued, queued);
    assert_true(p->live <= p->live_max || p->live == 6);
    for (const place_owner *at = p->head; at; at = at->next)
        listed--;
    assert_int_equal(listed, 0);
}

static void any_order_keeps_the_invariants(void **state)
{
    uint64_t seed = 1;
    places p = {.live_max = 5, .queued_max = 20};
    place_owner o[OWNERS] = {{.size = 1},
                             {.size = 1, .running_max = 2, .queued_max = 3},
                             {.size = 2, .running_max = 1},
                             {.size = 6}};
    client c[WAITERS];
    memset(c, 0, sizeof c);
    uint32_t given = 0;
    for (int step = 0; step < 20000; step++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t r = (uint32_t)(seed >> 33), i = r % OWNERS, k = r / 8 % WAITERS;
        switch (r / 1024 % 4) {
        case 0:
            if (!c[k].waits && !places_take(&p, &o[i]) && places_wait(&p, &o[i], &c[k].w)) {
                c[k].waits = true;
                c[k].owner = i;
            }
            break;
        case 1:
            if (c[k].waits)
                places_leave(&p, &o[c[k].owner], &c[k].w);
            c[k].waits = false;
            break;
        case 2:
            if (o[i].running)
                places_give(&p, &o[i]);
            break;
        case 3: {
            client *got = (client *)places_next(&p);
            if (got) {
                assert_true(got->waits);
                got->waits = false;
                given++;
            }
        }
        }
        check(&p, o, c);
    }
    assert_true(given > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_for_each_until_it_is_full),
        cmocka_unit_test(an_owner_has_a_limit_of_its_own),
        cmocka_unit_test(the_worker_has_a_queue_for_all),
        cmocka_unit_test(owners_take_turns),
        cmocka_unit_test(a_large_one_runs_when_it_is_alone),
        cmocka_unit_test(who_waits_may_leave),
        cmocka_unit_test(any_order_keeps_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
