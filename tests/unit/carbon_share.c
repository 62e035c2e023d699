/* The rules of accounting as properties, over random days: sum, symmetry, null player, monotone
 * prices, and "deferring out of the peak lowers one's own bill". */
#include "unit.h"

#include "near.h"

#include "carbon/share.h"

#include <math.h>

static uint64_t seed = 42;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static void airport_sums_symmetry_null(void **state)
{
    double need[50], share[50];
    size_t order[50];
    for (int round = 0; round < 500; round++) {
        size_t n = 1 + (size_t)(uniform() * 49);
        double top = 0;
        for (size_t i = 0; i < n; i++) {
            need[i] = uniform() < 0.2 ? 0 : uniform() < 0.3 ? 5 : uniform() * 10;
            top = fmax(top, need[i]);
        }
        double cost = share_airport(need, n, order, share), sum = 0;
        assert_near(cost, top, 0);
        for (size_t i = 0; i < n; i++) {
            sum += share[i];
            assert_true(share[i] >= 0 && share[i] <= need[i] + 1e-12);
            if (need[i] == 0)
                assert_true(share[i] == 0);
            for (size_t j = 0; j < n; j++) {
                if (need[i] == need[j])
                    assert_near(share[i], share[j], 1e-12);
                if (need[i] > need[j])
                    assert_true(share[i] >= share[j]);
            }
        }
        assert_near(sum, cost, 1e-9);
    }
}

/* The closed form against the definition: the mean marginal cost over all orders of arrival. */
static void airport_is_shapley(void **state)
{
    double need[4] = {3, 0, 7, 3.5}, share[4], want[4] = {0};
    size_t order[4], count = 0;
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 4; b++)
            for (size_t c = 0; c < 4; c++) {
                size_t d = 6 - a - b - c, p[4] = {a, b, c, d};
                if (a == b || b == c || a == c)
                    continue;
                double top = 0;
                count++;
                for (size_t i = 0; i < 4; i++) {
                    want[p[i]] += fmax(need[p[i]] - top, 0);
                    top = fmax(top, need[p[i]]);
                }
            }
    assert_int_equal(count, 24);
    share_airport(need, 4, order, share);
    for (size_t i = 0; i < 4; i++)
        assert_near(share[i], want[i] / 24, 1e-12);
}

static void periods_sum_and_price(void **state)
{
    double demand[24], share[24];
    for (int round = 0; round < 500; round++) {
        double peak = 0, given = 0;
        for (size_t i = 0; i < 24; i++) {
            demand[i] = uniform() < 0.1 ? 0 : uniform() * 16;
            peak = fmax(peak, demand[i]);
        }
        double capacity = uniform() * 32, amount = 1000;
        double rest = share_periods(demand, 24, capacity, amount, share);
        for (size_t i = 0; i < 24; i++) {
            given += share[i];
            for (size_t j = 0; j < 24; j++) /* a unit in a higher period never costs less */
                if (demand[i] > demand[j] && demand[j] > 0)
                    assert_true(share[i] / demand[i] >= share[j] / demand[j] - 1e-9);
        }
        assert_near(given + rest, amount, 1e-9 * amount);
        assert_true(rest >= -1e-9 * amount);
        if (capacity > peak)
            assert_near(rest, amount * (1 - peak / capacity), 1e-9 * amount);
    }
    double nothing[3] = {0, 0, 0};
    assert_near(share_periods(nothing, 3, 8, 100, share), 100, 0);
}

/* An app moves some of its work from the busiest hour to the quietest: its bill falls. */
static void deferring_lowers_the_own_bill(void **state)
{
    for (int round = 0; round < 500; round++) {
        double mine[24], sum[24], share[24], before = 0, after = 0;
        size_t high = 0, low = 0;
        for (size_t i = 0; i < 24; i++) {
            mine[i] = uniform();
            sum[i] = mine[i] + uniform() * 10;
            if (sum[i] > sum[high])
                high = i;
            if (sum[i] < sum[low])
                low = i;
        }
        share_periods(sum, 24, 16, 100, share);
        for (size_t i = 0; i < 24; i++)
            before += share[i] * mine[i] / sum[i];
        double moved = fmin(mine[high], (sum[high] - sum[low]) / 2) * uniform();
        mine[high] -= moved;
        sum[high] -= moved;
        mine[low] += moved;
        sum[low] += moved;
        share_periods(sum, 24, 16, 100, share);
        for (size_t i = 0; i < 24; i++)
            after += share[i] * mine[i] / sum[i];
        assert_true(after <= before + 1e-9);
    }
}

static void proportional(void **state)
{
    double use[3] = {1, 0, 3}, share[3];
    assert_near(share_proportional(use, 3, 8, share), 0, 1e-12);
    assert_near(share[0], 2, 1e-12);
    assert_true(share[1] == 0);
    double none[2] = {0, 0};
    assert_near(share_proportional(none, 2, 8, share), 8, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(airport_sums_symmetry_null),    cmocka_unit_test(airport_is_shapley),
        cmocka_unit_test(periods_sum_and_price),         cmocka_unit_test(proportional),
        cmocka_unit_test(deferring_lowers_the_own_bill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
