/* The airport game and its use; see share.h. Sorted by need, slice k of the cost is shared equally
 * by the n - k players who need it, so one pass with a running sum gives every share: O(n log n)
 * for what the Shapley value's definition makes a sum over all orders of arrival. */
#include "carbon/share.h"

#include "base/must.h"

/* Shell sort: n is small, and qsort has no context argument in ISO C. */
static void order_by(const double *key, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    size_t gap = 1;
    while (gap < n / 3)
        gap = gap * 3 + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < n; i++) {
            size_t v = order[i], j = i;
            for (; j >= gap && key[order[j - gap]] > key[v]; j -= gap)
                order[j] = order[j - gap];
            order[j] = v;
        }
}

double share_airport(const double *need, size_t n, size_t *order, double *ret_share)
{
    order_by(need, n, order);
    double below = 0, share = 0;
    for (size_t k = 0; k < n; k++) {
        double top = need[order[k]];
        must(top >= 0);
        share += (top - below) / (double)(n - k);
        below = top;
        ret_share[order[k]] = share;
    }
    return below;
}

double share_periods(const double *demand, size_t n, double capacity, double amount,
                     double *ret_share)
{
    size_t order[SHARE_PERIODS_MAX];
    must(n > 0 && n <= SHARE_PERIODS_MAX);
    double peak = share_airport(demand, n, order, ret_share);
    double whole = capacity > peak ? capacity : peak;
    double each = whole > 0 ? amount / whole : 0, given = 0;
    for (size_t i = 0; i < n; i++) {
        ret_share[i] *= each;
        given += ret_share[i];
    }
    return amount - given;
}

double share_proportional(const double *use, size_t n, double amount, double *ret_share)
{
    double sum = 0, given = 0;
    for (size_t i = 0; i < n; i++) {
        must(use[i] >= 0);
        sum += use[i];
    }
    for (size_t i = 0; i < n; i++) {
        ret_share[i] = sum > 0 ? amount * (use[i] / sum) : 0;
        given += ret_share[i];
    }
    return amount - given;
}
