/* app/cron, app/zone, base/civil: zones against the system's own arithmetic; schedules against a
 * search minute by minute. */
#include "unit.h"

#include "app/cron.h"
#include "base/civil.h"

#include <stdio.h>
#include <time.h>

static const char *const zones[] = {"Europe/Berlin",
                                    "America/New_York",
                                    "Australia/Lord_Howe",
                                    "Asia/Kolkata",
                                    "America/St_Johns",
                                    "Africa/Casablanca",
                                    "Pacific/Apia",
                                    "Europe/Dublin",
                                    "America/Sao_Paulo",
                                    "Antarctica/Troll",
                                    "Pacific/Chatham",
                                    "Asia/Tehran",
                                    "UTC",
                                    "Africa/Cairo"};
enum { ZONES = sizeof zones / sizeof *zones };

static uint64_t seed = 1;

static uint64_t random_u64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static zone load(arena *a, const char *name)
{
    static uint8_t data[ZONE_BYTES_MAX];
    char path[200];
    zone z;
    err e;
    snprintf(path, sizeof path, "%s/%s", ZONE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing: the package tzdata has it", path);
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    uint8_t *own = arena_alloc(a, n);
    memcpy(own, data, n);
    if (!zone_parse(a, (bytes){own, n}, &z, &e))
        fail_msg("%s: %s", name, e.text);
    return z;
}

static void civil(void **state)
{
    int64_t day = civil_days(1600, 1, 1);
    for (int64_t y = 1600; y < 2401; y++)
        for (unsigned m = 1; m <= 12; m++)
            for (unsigned d = 1; d <= civil_month_days(y, m); d++, day++) {
                int64_t year;
                unsigned month, of_month;
                civil_of_days(day, &year, &month, &of_month);
                if (civil_days(y, m, d) != day || year != y || month != m || of_month != d)
                    fail_msg("%lld-%u-%u", (long long)y, m, d);
            }
    assert_true(civil_days(1970, 1, 1) == 0 && civil_days(2024, 2, 29) == 19782);
    assert_true(civil_floor(-1, 86400) == -1 && civil_floor(86400, 86400) == 1);
}

/* Offsets of 1930 to 2100 are the C library's. */
static void offsets(void **state)
{
    arena a;
    arena_init(&a, 16 << 20);
    for (int i = 0; i < ZONES; i++) {
        zone z = load(&a, zones[i]);
        setenv("TZ", zones[i], 1);
        tzset();
        for (int k = 0; k < 20000; k++) {
            int64_t until,
                at = -INT64_C(1262304000) + (int64_t)(random_u64() % UINT64_C(5364662400));
            time_t t = (time_t)at;
            struct tm tm;
            localtime_r(&t, &tm);
            int32_t offset = zone_offset(&z, at, &until);
            if (offset != tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, not %ld", zones[i], (long long)at, offset, tm.tm_gmtoff);
            if (until <= at ||
                (until < INT64_C(4102444800) && zone_offset(&z, until - 1, &at) != offset))
                fail_msg("%s: segment until %lld", zones[i], (long long)until);
        }
    }
    unsetenv("TZ");
    arena_fini(&a);
}

static void from_local(void **state)
{
    arena a;
    arena_init(&a, 16 << 20);
    zone z = load(&a, "Europe/Berlin");
    int64_t day = civil_days(2026, 3, 29) * CIVIL_DAY_S; /* 2:00 becomes 3:00, at 1:00 UTC */
    assert_true(zone_from_local(&z, day + 2 * 3600 - 1) == day + 3600 - 1);
    assert_true(zone_from_local(&z, day + 2 * 3600) == day + 3600);
    assert_true(zone_from_local(&z, day + 2 * 3600 + 1800) == day + 3600);
    assert_true(zone_from_local(&z, day + 3 * 3600) == day + 3600);
    day = civil_days(2026, 10, 25) * CIVIL_DAY_S; /* 3:00 becomes 2:00, at 1:00 UTC */
    assert_true(zone_from_local(&z, day + 2 * 3600 + 1800) == day + 1800);
    assert_true(zone_from_local(&z, day + 3 * 3600) == day + 2 * 3600);
    arena_fini(&a);
}

static int64_t next(const char *schedule, const zone *z, int64_t after)
{
    cron c;
    err e;
    if (!cron_parse(str_from(schedule), &c, &e))
        fail_msg("%s", e.text);
    return cron_next(&c, z, after);
}

static void saving_time(void **state)
{
    arena a;
    arena_init(&a, 16 << 20);
    zone z = load(&a, "Europe/Berlin");
    int64_t spring = civil_days(2026, 3, 29) * CIVIL_DAY_S,
            autumn = civil_days(2026, 10, 25) * CIVIL_DAY_S;
    /* 2:30 is skipped: it fires when clocks jump, and the next day as ever. */
    int64_t at = next("30 2 * * *", &z, spring - 3600);
    assert_true(at == spring + 3600);
    assert_true(next("30 2 * * *", &z, at) == spring + CIVIL_DAY_S + 1800);
    /* 2:30 comes twice: once. */
    at = next("30 2 * * *", &z, autumn - 3600);
    assert_true(at == autumn + 1800);
    assert_true(next("30 2 * * *", &z, at) == autumn + CIVIL_DAY_S + 3600 + 1800);
    assert_true(next("30 2 * * *", &z, autumn + 3600 + 60) == autumn + CIVIL_DAY_S + 3600 + 1800);
    /* Every hour is every hour. */
    at = next("30 * * * *", &z, autumn);
    assert_true(at == autumn + 1800 && next("30 * * * *", &z, at) == at + 3600);
    at = next("30 * * * *", &z, spring);
    assert_true(at == spring + 1800 && next("30 * * * *", &z, at) == at + 3600);
    arena_fini(&a);
}

static void fields(void **state)
{
    const zone z = zone_utc();
    int64_t t = civil_days(2024, 1, 31) * CIVIL_DAY_S; /* a Wednesday */
    assert_true(next("@daily", &z, t) == t + CIVIL_DAY_S);
    assert_true(next("0 0 * * *", &z, t - 1) == t);
    assert_true(next("*/15 6-8,20 * * *", &z, t + 9 * 3600) == t + 20 * 3600);
    assert_true(next("5/20 * * * *", &z, t) == t + 300);
    assert_true(next("0 12 29 feb *", &z, t + 60 * CIVIL_DAY_S) ==
                civil_days(2028, 2, 29) * CIVIL_DAY_S + 12 * 3600);
    assert_true(next("0 0 29 2 mon", &z, t) == civil_days(2024, 2, 5) * CIVIL_DAY_S); /* either */
    assert_true(next("0 0 13 * 5", &z, t) == civil_days(2024, 2, 2) * CIVIL_DAY_S);
    assert_true(next("0 0 * * 7", &z, t) == civil_days(2024, 2, 4) * CIVIL_DAY_S);
    assert_true(next("0 0 30 2 *", &z, t) == INT64_MAX);
}

static void mistakes(void **state)
{
    static const char *const bad[] = {
        "",           "* * * *",    "* * * * * *", "60 * * * *",  "* 24 * * *", "* * 0 * *",
        "* * * 13 *", "* * * * 8",  "5-1 * * * *", "*/0 * * * *", "a * * * *",  "1,, * * * *",
        "@nightly",   "-1 * * * *", "1- * * * *",  "* * * foo *"};
    cron c;
    err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (cron_parse(str_from(bad[i]), &c, &e))
            fail_msg("'%s' is taken", bad[i]);
    assert_true(zone_name_is(S("Europe/Berlin")) && zone_name_is(S("Etc/GMT+5")));
    assert_false(zone_name_is(S("../etc/passwd")) || zone_name_is(S("/a")) ||
                 zone_name_is(S("a//b")) || zone_name_is(S("a/")) || zone_name_is(S("")) ||
                 zone_name_is(S("a/.b")));
}

/* Does the schedule fire at this minute, by the definition? */
static bool fires(const cron *c, const zone *z, int64_t at)
{
    int64_t until, local = at + zone_offset(z, at, &until), before = 0;
    int32_t offset = zone_offset(z, at, &until), last = zone_offset(z, at - 60, &until);
    /* What is shown now; and, where clocks have just jumped, what they skipped. */
    int64_t from = local, to = local;
    if (!c->every_hour && offset > last)
        from = local - (offset - last);
    for (int64_t l = from; l <= to; l += 60) {
        int64_t day = civil_floor(l, CIVIL_DAY_S), year;
        unsigned month, dom, minute = (unsigned)(l - day * CIVIL_DAY_S) / 60;
        unsigned weekday = (unsigned)(((day + 4) % 7 + 7) % 7);
        civil_of_days(day, &year, &month, &dom);
        bool d = c->days >> dom & 1, w = c->weekdays >> weekday & 1;
        bool fits = (c->months >> month & 1) && (c->any_day || c->any_weekday ? d && w : d || w) &&
                    (c->hours >> minute / 60 & 1) && (c->minutes >> minute % 60 & 1);
        if (!fits)
            continue;
        /* Shown a second time? */
        before = l == local ? zone_from_local(z, l) : at;
        if (c->every_hour || before == at)
            return true;
    }
    return false;
}

/* Random schedules in random zones, around changes and anywhere: the next time is the first minute
 * that fires, and walking from time to time meets each once. */
static void property(void **state)
{
    arena a;
    arena_init(&a, 16 << 20);
    zone all[ZONES];
    for (int i = 0; i < ZONES; i++)
        all[i] = load(&a, zones[i]);
    for (int k = 0; k < 600; k++) {
        const zone *z = &all[random_u64() % ZONES];
        char text[100], hour[20], day[20];
        cron c;
        err e;
        snprintf(hour, sizeof hour, random_u64() % 3 ? "%d" : "*", (int)(random_u64() % 5));
        snprintf(day, sizeof day, random_u64() % 3 ? "*" : "*/%d", 1 + (int)(random_u64() % 3));
        snprintf(text, sizeof text, "%d%s %s %s * *", (int)(random_u64() % 60),
                 random_u64() % 2 ? "/17" : "", hour, day);
        assert_true(cron_parse(str_from(text), &c, &e));
        int64_t at = INT64_C(1577836800) + (int64_t)(random_u64() % 315360000), until;
        zone_offset(z, at, &until);
        if (k % 2 && until != INT64_MAX)
            at = until - 7200;
        at -= at % 60;
        for (int n = 0; n < 4; n++) {
            int64_t expected = at + 60, found = cron_next(&c, z, at);
            while (!fires(&c, z, expected) && expected < at + 5 * CIVIL_DAY_S)
                expected += 60;
            if (found != expected)
                fail_msg("'%s' after %lld: %lld, not %lld", text, (long long)at, (long long)found,
                         (long long)expected);
            int64_t between = at + (int64_t)(random_u64() % (uint64_t)(found - at));
            if (cron_next(&c, z, between) != found)
                fail_msg("'%s': not found from %lld", text, (long long)between);
            at = found;
        }
    }
    arena_fini(&a);
}

/* Cut anywhere, and with any byte changed, a file is read or refused. */
static void damaged(void **state)
{
    arena a;
    arena_init(&a, 64 << 20);
    char path[] = ZONE_DIR "/Europe/Berlin";
    static uint8_t data[8192], changed[8192];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    zone z;
    err e;
    for (size_t i = 0; i < n; i++) {
        memcpy(changed, data, n);
        changed[i] ^= (uint8_t)(1u << (i % 8));
        if (zone_parse(&a, (bytes){changed, n}, &z, &e)) {
            int64_t until;
            zone_offset(&z, 1700000000, &until);
            zone_from_local(&z, 1700000000);
        }
        arena_reset(&a);
    }
    assert_false(zone_parse(&a, (bytes){data, 60}, &z, &e));
    assert_false(zone_parse(&a, (bytes){(const uint8_t *)"x", 1}, &z, &e));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(civil),       cmocka_unit_test(offsets), cmocka_unit_test(from_local),
        cmocka_unit_test(saving_time), cmocka_unit_test(fields),  cmocka_unit_test(mistakes),
        cmocka_unit_test(property),    cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
