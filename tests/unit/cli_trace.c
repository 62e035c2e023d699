/* Traces of calls from files: our own and Azure's, line by line, and what each mistake is told. */
#include "unit.h"

#include "cli/trace.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static arena a;
static err e;
static char path[64];

static int begin(void **state)
{
    arena_init(&a, 1 << 28);
    return 0;
}

static int end(void **state)
{
    arena_fini(&a);
    return 0;
}

/* A file with this text; its path, valid until the next one is made. */
static const char *file_of(const char *text)
{
    snprintf(path, sizeof path, "/tmp/ebb-trace-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

static bool reads(const char *text, trace *ret)
{
    arena_fini(&a);
    arena_init(&a, 1 << 28);
    bool ok = trace_read(file_of(text), NULL, 0.5, &a, ret, &e);
    unlink(path);
    return ok;
}

static void event_is(const trace *t, size_t i, int64_t t_s, uint32_t app, uint64_t calls,
                     double cpu_s)
{
    assert_true(i < t->events_count);
    assert_int_equal(t->events[i].t_s, t_s);
    assert_int_equal(t->events[i].app, app);
    assert_int_equal(t->events[i].calls, calls);
    assert_true(t->events[i].cpu_s > cpu_s - 1e-9 && t->events[i].cpu_s < cpu_s + 1e-9);
}

static void our_own(void **state)
{
    trace t;
    assert_true(reads("time,app,calls,cpu_s,deferrable\n"
                      "# a comment\n"
                      "\n"
                      "2024-01-01T00:10:00Z, b ,2,0.5,1\r\n"
                      "2024-01-01T00:00:00Z,a,1,0.25,0\n"
                      "2024-01-01T00:10:00Z,a,4294967295,0,0\n"
                      "2024-01-01T00:05:00Z,b,3,1.5,0",
                      &t));
    assert_int_equal(t.apps, 2);
    assert_int_equal(t.events_count, 4);
    event_is(&t, 0, 1704067200, 1, 1, 0.25);
    event_is(&t, 1, 1704067500, 0, 3, 1.5);
    event_is(&t, 2, 1704067800, 0, 2, 0.5);
    event_is(&t, 3, 1704067800, 1, UINT32_MAX, 0);
    assert_true(t.deferrable[0]); /* as the first line of an app says */
    assert_false(t.deferrable[1]);
    trace_shift(&t, 86400);
    event_is(&t, 0, 86400, 1, 1, 0.25);
    event_is(&t, 3, 86400 + 600, 1, UINT32_MAX, 0);
    assert_true(reads("2024-01-01T12:00:00Z,a,1,1,1", &t)); /* without a head */
    assert_int_equal(t.events_count, 1);
    trace_shift(&t, 0); /* the time of the day stays */
    event_is(&t, 0, 12 * 3600, 0, 1, 1);
}

#define ZEROS "0000000000000000"

static void our_own_mistakes(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", ": no calls"},
        {"time,app\n#\n", ": no calls"},
        {"2024-01-01T00:00:00Z,a,1,1,1\nnever,a,1,1,1\n", ":2: "},
        {"2024-01-01T00:00:00Z,,1,1,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,x,1,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,4294967296,1,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,-1,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,1e12,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,1x,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,nan,1", ":1: not time,app,calls,cpu_s,deferrable"},
        {"2024-01-01T00:00:00Z,a,1,0." ZEROS ZEROS ZEROS ZEROS "1,1",
         ":1: not time,app,calls,cpu_s,deferrable"},
    };
    trace t;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_false(reads(rows[i].text, &t));
        if (!strstr(e.text, rows[i].says))
            fail_msg("row %zu: %s", i, e.text);
    }
    assert_false(trace_read("/nowhere/at/all", NULL, 1, &a, &t, &e));
}

/* One line of a day; `at` are minutes (from 1) with so many calls. */
static size_t day(char *to, const char *name, const char *trigger, int minutes, const int *at,
                  const int *calls, int n)
{
    size_t k = (size_t)sprintf(to, "%s,%s", name, trigger);
    for (int m = 1; m <= minutes; m++) {
        int c = 0;
        for (int i = 0; i < n; i++)
            c += at[i] == m ? calls[i] : 0;
        k += (size_t)sprintf(to + k, ",%d", c);
    }
    return k + (size_t)sprintf(to + k, "\n");
}

static char text[40000];

static void azure(void **state)
{
    const int at[] = {1, 4, 5, 6, 1440}, calls[] = {1, 2, 3, 10, 7};
    static const char *const triggers[] = {"queue",         "event", "TIMER", "storage",
                                           "orchestration", "http",  "others"};
    trace t;
    size_t n = (size_t)sprintf(text, "HashOwner,HashApp,HashFunction,Trigger,1\n");
    n += day(text + n, "o,a,f", "http", 1440, at, calls, 5);
    n += day(text + n, "o,a,g", "queue", 1440, at, calls, 1);
    assert_true(reads(text, &t));
    assert_int_equal(t.apps, 2);
    assert_false(t.deferrable[0]);
    assert_true(t.deferrable[1]);
    assert_int_equal(t.events_count, 4); /* five minutes are one event, none of nothing */
    event_is(&t, 0, 0, 0, 6, 3);
    event_is(&t, 1, 0, 1, 1, 0.5);
    event_is(&t, 2, 300, 0, 10, 5);
    event_is(&t, 3, 86100, 0, 7, 3.5);
    for (size_t i = 0; i < 7; i++) {
        n = (size_t)sprintf(text, "HashOwner,HashApp,HashFunction,Trigger,1\n");
        day(text + n, "o,a,f", triggers[i], 5, at, calls, 5);
        assert_true(reads(text, &t));
        assert_int_equal(t.deferrable[0], i < 5);
        assert_int_equal(t.events_count, 1); /* a day may be short */
    }
}

static void azure_durations(void **state)
{
    const int at[] = {1}, calls[] = {2};
    char durations[64];
    trace t;
    strcpy(durations, file_of("HashOwner,HashApp,HashFunction,Average,Count\n"
                              "o,a,f,1500,9\no,a,z,7,9\no,a,g,0,9\n"));
    size_t n = (size_t)sprintf(text, "HashOwner,HashApp,HashFunction,Trigger,1\n");
    n += day(text + n, "o,a,g", "http", 5, at, calls, 1);
    n += day(text + n, "o,a,f", "http", 5, at, calls, 1);
    day(text + n, "o,a,h", "http", 5, at, calls, 1);
    assert_true(trace_read(file_of(text), durations, 0.5, &a, &t, &e));
    unlink(path);
    unlink(durations);
    assert_int_equal(t.apps, 4);
    assert_int_equal(t.events_count, 3);
    event_is(&t, 0, 0, 0, 2, 3); /* f: by its average */
    event_is(&t, 1, 0, 2, 2, 1); /* g: it has none */
    event_is(&t, 2, 0, 3, 2, 1); /* h: nor this one */
    strcpy(durations, file_of("HashOwner,HashApp,HashFunction,Average,Count\no,a,f,x,9\n"));
    assert_false(trace_read(file_of(text), durations, 0.5, &a, &t, &e));
    assert_non_null(strstr(e.text, ":2: not HashOwner,HashApp,HashFunction,Average,..."));
    unlink(path);
    unlink(durations);
}

static void azure_mistakes(void **state)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"o,a,f", ":2: not HashOwner,HashApp,HashFunction,Trigger,1,...,1440"},
        {"o,a", ":2: not HashOwner,HashApp,HashFunction,Trigger,1,...,1440"},
        {"o,a,f,http", ":2: not HashOwner,HashApp,HashFunction,Trigger,1,...,1440"},
        {"o,a,f,http,1,x", ":2: minute 2 holds no number of calls"},
        {"o,a,f,http,1,2,3,4", ": no calls"}, /* four minutes are no event */
    };
    trace t;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(text, sizeof text, "HashOwner,HashApp,HashFunction,Trigger,1\n%s", rows[i].line);
        assert_false(reads(text, &t));
        if (!strstr(e.text, rows[i].says))
            fail_msg("row %zu: %s", i, e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_own),        cmocka_unit_test(our_own_mistakes),
        cmocka_unit_test(azure),          cmocka_unit_test(azure_durations),
        cmocka_unit_test(azure_mistakes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
