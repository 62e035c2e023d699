/* Log lines, byte by byte: both formats, what is escaped, where a line is cut, when it is
 * written. */
#include "unit.h"

#include "base/civil.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192, STAMP = sizeof "2026-01-02T03:04:05.678901Z" - 1 };

static int file;
static char got[200000];
static size_t got_n;

static int open_log(void **state)
{
    file = memfd_create("log", MFD_CLOEXEC);
    return file < 0;
}

static int close_log(void **state)
{
    log_init(STDERR_FILENO, LOG_TEXT, "test");
    return close(file);
}

/* What was written to the file; it is empty then. */
static const char *written(void)
{
    ssize_t n = pread(file, got, sizeof got - 1, 0);
    assert_true(n >= 0);
    got_n = (size_t)n;
    got[n] = 0;
    assert_int_equal(ftruncate(file, 0), 0);
    lseek(file, 0, SEEK_SET);
    return got;
}

static const char *flushed(void)
{
    log_flush();
    return written();
}

/* --- one line --- */

static void a_line_of_json(void **state)
{
    log_init(file, LOG_JSON, "worker 0");
    log_line(LOG_INFO, "request");
    log_str("path", S("/a"));
    log_u64("status", 200);
    log_us("cpu_us", 12340);
    log_end();
    assert_int_equal(strncmp(flushed(), "{\"time\":\"", 9), 0);
    assert_string_equal(got + 9 + STAMP,
                        "\",\"level\":\"info\",\"process\":\"worker 0\",\"event\":\"request\","
                        "\"path\":\"/a\",\"status\":200,\"cpu_us\":12.3}\n");
    log_init(file, LOG_JSON, NULL);
    log_line(LOG_DEBUG, "x");
    log_end();
    assert_string_equal(flushed() + 9 + STAMP,
                        "\",\"level\":\"debug\",\"process\":\"ebb\",\"event\":\"x\"}\n");
}

static void a_line_of_text(void **state)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    log_init(file, LOG_TEXT, "worker 0");
    for (int i = 0; i < 4; i++) {
        char expected[64];
        log_line((log_level)i, "request");
        log_str("path", S("/a"));
        log_u64("status", 200);
        log_us("cpu_us", 12340);
        log_end();
        snprintf(expected, sizeof expected, " %s request path=/a status=200 cpu_us=12.3\n",
                 levels[i]);
        assert_string_equal(flushed() + STAMP, expected);
    }
    log_msg(LOG_WARN, "%d of %s", 2, "them");
    assert_string_equal(flushed() + STAMP, " warn message text=\"2 of them\"\n");
    log_guest(S("web"), "err", S("0af7"), S("a line"));
    assert_string_equal(flushed() + STAMP,
                        " info guest component=web stream=err id=0af7 line=\"a line\"\n");
}

static void numbers_in_full(void **state)
{
    static const struct {
        uint64_t value;
        const char *text, *us;
    } cases[] = {{0, "0", "0.0"},
                 {9, "9", "0.0"},
                 {10, "10", "0.0"},
                 {99, "99", "0.0"},
                 {100, "100", "0.1"},
                 {999, "999", "0.9"},
                 {1000, "1000", "1.0"},
                 {1234567, "1234567", "1234.5"},
                 {UINT64_MAX, "18446744073709551615", "18446744073709551.6"}};
    log_init(file, LOG_TEXT, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[100];
        log_line(LOG_INFO, "n");
        log_u64("v", cases[i].value);
        log_us("us", cases[i].value);
        log_end();
        snprintf(expected, sizeof expected, " info n v=%s us=%s\n", cases[i].text, cases[i].us);
        assert_string_equal(flushed() + STAMP, expected);
    }
}

/* The time that a line says lies between those of the clock before and after it. */
static void the_time_is_now(void **state)
{
    log_init(file, LOG_TEXT, NULL);
    for (int i = 0; i < 2000; i++) { /* whatever the digits are; more than one second at the end */
        unsigned y, mo, d, h, m, s, us;
        if (i == 1990)
            for (ns second = clock_wall() / NS_PER_S; clock_wall() / NS_PER_S == second;)
                usleep(1000);
        ns before = clock_wall();
        log_line(LOG_INFO, "x");
        log_end();
        ns after = clock_wall();
        flushed();
        assert_int_equal(sscanf(got, "%4u-%2u-%2uT%2u:%2u:%2u.%6uZ ", &y, &mo, &d, &h, &m, &s, &us),
                         7);
        assert_true(got[19] == '.' && got[26] == 'Z' && got[27] == ' ');
        ns then =
            ((ns)civil_days(y, mo, d) * 86400 + h * 3600 + m * 60 + s) * NS_PER_S + us * NS_PER_US;
        assert_true(before / NS_PER_US * NS_PER_US <= then && then <= after);
    }
}

/* --- strings --- */

static void what_is_escaped(void **state)
{
    static const struct {
        const char *value, *text, *json;
    } cases[] = {
        {"/a-b", "/a-b", "\"/a-b\""},
        {"", "\"\"", "\"\""},
        {"a b", "\"a b\"", "\"a b\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"!~", "!~", "\"!~\""},
        {"a\"", "\"a\\\"\"", "\"a\\\"\""},
        {"\\", "\"\\\\\"", "\"\\\\\""},
        {"a\nb", "\"a\\nb\"", "\"a\\nb\""},
        {" \n!", "\" \\n!\"", "\" \\n!\""},
        {"\x1b[31m", "\"\\u001b[31m\"", "\"\\u001b[31m\""},
        {"\x01", "\"\\u0001\"", "\"\\u0001\""},
        {"\x1f", "\"\\u001f\"", "\"\\u001f\""},
        {"\t\r", "\"\\u0009\\u000d\"", "\"\\u0009\\u000d\""},
        {"\x7f", "\\u007f", "\"\\u007f\""},
        {"\xc3\xa4", "\xc3\xa4", "\"\xc3\xa4\""},
        {"\xc3\xa4\n", "\"\xc3\xa4\\n\"", "\"\xc3\xa4\\n\""},
        {"\x80", "\x80", "\"(not UTF-8)\""},
        {"\xff\n", "\"\xff\\n\"", "\"(not UTF-8)\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int json = 0; json < 2; json++) {
            char expected[100];
            log_init(file, json ? LOG_JSON : LOG_TEXT, NULL);
            log_line(LOG_INFO, "s");
            log_str("k", str_from(cases[i].value));
            log_u64("n", 1);
            log_end();
            snprintf(expected, sizeof expected, json ? "s\",\"k\":%s,\"n\":1}\n" : "s k=%s n=1\n",
                     json ? cases[i].json : cases[i].text);
            const char *at = strstr(flushed(), json ? "s\",\"k" : "s k");
            assert_non_null(at);
            assert_string_equal(at, expected);
        }
}

/* --- long lines --- */

static char filler[3 * LINE_MAX_BYTES];

#define CUT " cut=true\n"

/* A line has its maximum, with a byte for a quote, and then its end; the next is whole. */
static void a_long_line_is_cut(void **state)
{
    size_t before = sizeof " info long a=" - 1 + STAMP, most = LINE_MAX_BYTES - 1 - before;
    for (size_t n = most - 1; n <= most + 2; n++) {
        log_init(file, LOG_TEXT, NULL);
        log_line(LOG_INFO, "long");
        memset(filler, 'x', n);
        log_str("a", (str){filler, n});
        log_end();
        log_line(LOG_INFO, "next");
        log_end();
        const char *after = flushed() + before + (n < most ? n : most);
        assert_memory_equal(got + before, filler, (size_t)(after - got) - before);
        size_t end = n > most ? sizeof CUT - 1 : 1;
        assert_memory_equal(after, n > most ? CUT : "\n", end);
        assert_string_equal(after + end + STAMP, " info next\n");
    }
}

/* What is cut is a line of its format: a text ends at a character and is closed, and there is no
 * field without its value. */
static void a_cut_line_is_json(void **state)
{
    static const struct {
        const char *part, *written;
    } cases[] = {{"x", "x"},
                 {"\n", "\\n"},
                 {"\x01", "\\u0001"},
                 {"\"", "\\\""},
                 {"\xc3\xa4", "\xc3\xa4"},
                 {"\xf0\x9f\x8c\x8d", "\xf0\x9f\x8c\x8d"}};
    log_init(file, LOG_JSON, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t shift = 0; shift < 8; shift++) {
            size_t n = strlen(cases[i].part), size = strlen(cases[i].written), filled = shift;
            memset(filler, 'y', shift);
            for (; filled + n <= sizeof filler; filled += n)
                memcpy(filler + filled, cases[i].part, n);
            log_line(LOG_INFO, "long");
            log_str("a", (str){filler, filled});
            log_u64("after", 1);
            log_us("time_us", 1);
            log_str("and", S("more"));
            log_end();
            const char *at = strstr(flushed(), ",\"a\":\"") + sizeof ",\"a\":\"" - 1;
            const char *end = strchr(got, '\n');
            assert_memory_equal(at, filler, shift);
            for (at += shift; at[0] != '"'; at += size)
                assert_memory_equal(at, cases[i].written, size);
            assert_string_equal(at, "\",\"cut\":true}\n");
            assert_true(at - got < LINE_MAX_BYTES && at - got >= LINE_MAX_BYTES - 32);
            assert_true(end - got < LINE_MAX_BYTES + 16);
        }
}

/* Fields come until one has no room; the next line has its own. */
static void fields_that_do_not_fit_are_left_out(void **state)
{
    size_t n = LINE_MAX_BYTES - 200;
    memset(filler, 'x', n);
    log_init(file, LOG_TEXT, NULL);
    for (int i = 0; i < 2; i++) {
        log_line(LOG_INFO, "many");
        log_str("a", (str){filler, n});
        for (int k = 0; k < 100; k++)
            log_u64("number", 1);
        log_end();
    }
    size_t whole = (LINE_MAX_BYTES - 6 - 32 - STAMP - (sizeof " info many a=" - 1) - n) / 9 + 1;
    char *at = strstr(flushed(), "x number");
    for (int i = 0; i < 2; i++, at = strstr(at, "x number")) {
        assert_non_null(at++);
        for (size_t k = 0; k < whole; k++, at += 9)
            assert_memory_equal(at, " number=1", 9);
        assert_memory_equal(at, CUT, sizeof CUT - 1);
    }
    assert_null(at);
}

static void a_long_message_is_cut(void **state)
{
    log_init(file, LOG_TEXT, NULL);
    memset(filler, 'x', sizeof filler);
    for (size_t n = 2046; n <= 2049; n++) {
        filler[n] = 0;
        log_msg(LOG_INFO, "%s", filler);
        filler[n] = 'x';
        flushed();
        size_t before = STAMP + sizeof " info message text=" - 1, kept = n < 2047 ? n : 2047;
        assert_int_equal(got_n, before + kept + 1);
        assert_memory_equal(got + before, filler, kept);
        assert_int_equal(got[got_n - 1], '\n');
    }
}

/* --- writing --- */

/* Lines are gathered until one more of the largest might not fit. */
static void lines_are_gathered(void **state)
{
    size_t n = 0, line = STAMP + sizeof " info line v=x\n" - 1;
    log_init(file, LOG_TEXT, NULL);
    for (int i = 0; i < 3000; i++) {
        log_line(LOG_INFO, "line");
        written();
        if (n > 65536 - 2 * LINE_MAX_BYTES) {
            assert_int_equal(got_n, n);
            n = 0;
        }
        assert_int_equal(got_n && n, 0);
        log_str("v", S("x"));
        log_end();
        n += line;
    }
    flushed();
    assert_int_equal(got_n, n);
    flushed();
    assert_int_equal(got_n, 0);
}

/* The second line that is as long as can be finds its place as well. */
static void the_longest_lines_fit(void **state)
{
    log_init(file, LOG_TEXT, NULL);
    memset(filler, 'x', sizeof filler);
    size_t lines = 0, at = 0;
    for (int i = 0; i < 20; i++) {
        log_line(LOG_INFO, "line");
        log_str("v", (str){filler, sizeof filler});
        log_end();
    }
    log_flush();
    for (written(); at < got_n; at += LINE_MAX_BYTES + sizeof CUT - 2, lines++)
        assert_memory_equal(got + at + LINE_MAX_BYTES - 1, CUT, sizeof CUT - 1);
    assert_int_equal(lines, 20);
}

/* What cannot be written is given up, and does not come later. */
static void nowhere_to_write(void **state)
{
    int fd[2];
    char byte[4096] = {0};
    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    while (write(fd[1], byte, sizeof byte) > 0)
        ;
    log_init(fd[1], LOG_TEXT, NULL);
    log_line(LOG_INFO, "lost");
    log_end();
    log_flush();
    while (read(fd[0], byte, sizeof byte) > 0)
        ;
    log_flush();
    assert_int_equal(read(fd[0], byte, sizeof byte), -1);
    errno = EINTR; /* of somebody else */
    log_line(LOG_INFO, "kept");
    log_end();
    errno = EINTR;
    log_flush();
    ssize_t n = read(fd[0], byte, sizeof byte - 1);
    assert_true(n > STAMP);
    byte[n] = 0;
    assert_string_equal(byte + STAMP, " info kept\n");
    close(fd[0]);
    close(fd[1]);
}

/* A pipe that takes a part now gets the rest when there is room. */
static void a_short_write_is_continued(void **state)
{
    int fd[2], status;
    assert_int_equal(pipe(fd), 0);
    assert_true(fcntl(fd[1], F_SETPIPE_SZ, 4096) == 4096);
    log_init(fd[1], LOG_TEXT, NULL);
    memset(filler, 'x', 5000);
    for (int i = 0; i < 6; i++) {
        log_line(LOG_INFO, "line");
        log_str("v", (str){filler, 5000});
        log_end();
    }
    pid_t child = fork();
    if (child == 0) {
        close(fd[0]);
        log_flush();
        _exit(0);
    }
    close(fd[1]);
    size_t at = 0, line = STAMP + sizeof " info line v=" - 1 + 5000 + 1;
    for (ssize_t n; (n = read(fd[0], got + at, sizeof got - at)) > 0;)
        at += (size_t)n;
    assert_int_equal(at, 6 * line);
    for (int i = 1; i <= 6; i++)
        assert_int_equal(got[(size_t)i * line - 1], '\n');
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fd[0]);
    log_init(-1, LOG_TEXT, NULL);
    log_flush(); /* the parent's copy */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_log, close_log)
    const struct CMUnitTest tests[] = {
        T(a_line_of_json),
        T(a_line_of_text),
        T(numbers_in_full),
        T(the_time_is_now),
        T(what_is_escaped),
        T(a_long_line_is_cut),
        T(a_cut_line_is_json),
        T(fields_that_do_not_fit_are_left_out),
        T(a_long_message_is_cut),
        T(lines_are_gathered),
        T(the_longest_lines_fit),
        T(nowhere_to_write),
        T(a_short_write_is_continued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
