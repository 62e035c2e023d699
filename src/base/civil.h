/* Days and dates of the proleptic Gregorian calendar. Days are counted from 1970-01-01. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY_S INT64_C(86400)

/* Rounds down, also below zero. */
static inline int64_t civil_floor(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline bool civil_is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* month 1 to 12 */
static inline unsigned civil_month_days(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (unsigned)(month == 2 && civil_is_leap(year));
}

int64_t civil_days(int64_t year, unsigned month, unsigned day);
void civil_of_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);
