/* See log.h. The text format is for people (time, level, event, key=value), JSON for machines
 * (one object a line, keys in the same order). A line that would be too long is cut, says so, and
 * is whole all the same: a text ends at a character and has its closing quote, other fields are
 * left out. The buffer is static: logging never allocates. */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_BUFFER_BYTES = 64 * 1024,
    LOG_LINE_BYTES_MAX = 8 * 1024, /* without what closes a line that is cut */
    VALUE_BYTES_MIN = 32,          /* with less room than this a field is left out */
    ESCAPE_BYTES_MAX = 6,
};

static struct {
    int fd;
    log_format format;
    const char *process;
    size_t n;
    size_t line_at; /* where the line being made starts */
    bool is_cut;
    time_t second; /* of the cached time stamp */
    char stamp[32];
    char text[LOG_BUFFER_BYTES];
} g = {.fd = STDERR_FILENO};

void log_init(int fd, log_format format, const char *process)
{
    g.fd = fd;
    g.format = format;
    g.process = process;
}

void log_flush(void)
{
    size_t at = 0;
    while (at < g.n) {
        ssize_t w = write(g.fd, g.text + at, g.n - at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            break; /* nowhere to say so */
        at += (size_t)w;
    }
    g.n = 0;
    g.line_at = 0;
}

static size_t room(void)
{
    size_t used = g.n - g.line_at;
    return used < LOG_LINE_BYTES_MAX ? LOG_LINE_BYTES_MAX - used : 0;
}

static void put(const char *p, size_t n)
{
    if (n > room())
        n = room();
    memcpy(g.text + g.n, p, n);
    g.n += n;
}

static inline void put_z(const char *z) { put(z, strlen(z)); }

static void put_u64(uint64_t v)
{
    char digits[24];
    size_t i = sizeof digits;
    do
        digits[--i] = (char)('0' + v % 10);
    while (v /= 10);
    put(digits + i, sizeof digits - i);
}

static bool is_within_character(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

static void put_text(str s)
{
    size_t n = s.n;
    if (n >= room()) { /* one byte is for the closing quote */
        g.is_cut = true;
        for (n = room() - 1; n && is_within_character(s.p[n]);)
            n--;
    }
    put(s.p, n);
}

static void put_escaped(str s, bool quoted)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (room() <= 2 * ESCAPE_BYTES_MAX && !is_within_character(s.p[i])) {
            g.is_cut = true;
            return;
        }
        if (quoted && (c == '"' || c == '\\')) {
            char two[2] = {'\\', (char)c};
            put(two, 2);
        } else if (c == '\n') {
            put("\\n", 2);
        } else if (c < 0x20 || c == 0x7f) {
            char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            put(six, 6);
        } else {
            put(&s.p[i], 1);
        }
    }
}

/* Time to the microsecond, UTC; the part down to the second is made once a second. */
static void put_time(void)
{
    ns now = clock_wall();
    time_t second = (time_t)(now / NS_PER_S);
    if (second != g.second) {
        struct tm tm;
        gmtime_r(&second, &tm);
        strftime(g.stamp, sizeof g.stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        g.second = second;
    }
    put_z(g.stamp);
    uint32_t us = (uint32_t)(now % NS_PER_S / 1000);
    char frac[8] = ".000000Z";
    for (int i = 6; i > 0; i--, us /= 10)
        frac[i] = (char)('0' + us % 10);
    put(frac, sizeof frac);
}

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_line(log_level level, const char *event)
{
    if (sizeof g.text - g.n < 2 * LOG_LINE_BYTES_MAX)
        log_flush();
    g.line_at = g.n;
    g.is_cut = false;
    if (g.format == LOG_JSON) {
        put_z("{\"time\":\"");
        put_time();
        put_z("\",\"level\":\"");
        put_z(level_names[level]);
        put_z("\",\"process\":\"");
        put_z(g.process ? g.process : "ebb");
        put_z("\",\"event\":\"");
        put_z(event);
        put_z("\"");
        return;
    }
    put_time();
    put_z(" ");
    put_z(level_names[level]);
    put_z(" ");
    put_z(event);
}

/* False where a value would have no room. */
static bool put_key(const char *key)
{
    if (strlen(key) + VALUE_BYTES_MIN > room()) {
        g.is_cut = true;
        return false;
    }
    put_z(g.format == LOG_JSON ? ",\"" : " ");
    put_z(key);
    put_z(g.format == LOG_JSON ? "\":" : "=");
    return true;
}

/* What the bytes of a value ask for: most have none of this and are copied whole. */
enum { BLANK = 1, ESCAPED = 2, WIDE = 4 };

static const uint8_t class_of[256] = {
    [0 ... 0x1f] = BLANK | ESCAPED,
    [' '] = BLANK,
    ['='] = BLANK,
    ['"'] = BLANK | ESCAPED,
    ['\\'] = BLANK | ESCAPED,
    [0x7f] = ESCAPED,
    [0x80 ... 0xff] = WIDE,
};

void log_str(const char *key, str value)
{
    unsigned found = value.n ? 0 : BLANK;
    for (size_t i = 0; i < value.n; i++)
        found |= class_of[(uint8_t)value.p[i]];
    bool json = g.format == LOG_JSON, quoted = json || found & BLANK;
    if (!put_key(key))
        return;
    if (quoted)
        put("\"", 1);
    if (json && found & WIDE && !str_is_utf8(value))
        put_z("(not UTF-8)");
    else if (found & ESCAPED)
        put_escaped(value, quoted);
    else
        put_text(value);
    if (quoted)
        put("\"", 1);
}

void log_u64(const char *key, uint64_t value)
{
    if (put_key(key))
        put_u64(value);
}

void log_us(const char *key, uint64_t value_ns)
{
    if (!put_key(key))
        return;
    put_u64(value_ns / 1000);
    char tenth[2] = {'.', (char)('0' + value_ns / 100 % 10)};
    put(tenth, 2);
}

void log_end(void)
{
    bool json = g.format == LOG_JSON;
    const char *cut = !g.is_cut ? "" : json ? ",\"cut\":true" : " cut=true";
    const char *close = json ? "}\n" : "\n";
    g.line_at = g.n; /* the maximum of a line keeps these bytes free */
    put_z(cut);
    put_z(close);
    g.line_at = g.n;
}

void log_msg(log_level level, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    log_line(level, "message");
    log_str("text", (str){text, len});
    log_end();
}

void log_guest(str component, const char *stream, str request_id, str line)
{
    log_line(LOG_INFO, "guest");
    log_str("component", component);
    log_str("stream", str_from(stream));
    log_str("id", request_id);
    log_str("line", line);
    log_end();
}
