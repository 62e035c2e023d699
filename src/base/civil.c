/* See civil.h. Years begin in March here, so that the leap day is a year's last: months then have
 * a fixed pattern of lengths, 153 days for each five. */
#include "base/civil.h"

enum { ERA_DAYS = 146097, EPOCH = 719468 }; /* days of 400 years; from 0000-03-01 to 1970-01-01 */

int64_t civil_days(int64_t year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2), era = civil_floor(y, 400), in_era = y - era * 400;
    int64_t in_year = (153 * (int64_t)((month + 9) % 12) + 2) / 5 + day - 1;
    return era * ERA_DAYS + in_era * 365 + in_era / 4 - in_era / 100 + in_year - EPOCH;
}

void civil_of_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t era = civil_floor(days + EPOCH, ERA_DAYS), d = days + EPOCH - era * ERA_DAYS;
    int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t in_year = d - (365 * y + y / 4 - y / 100), m = (5 * in_year + 2) / 153;
    *ret_day = (unsigned)(in_year - (153 * m + 2) / 5 + 1);
    *ret_month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *ret_year = y + era * 400 + (*ret_month <= 2);
}
