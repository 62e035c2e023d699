/* One line an event, to one descriptor, in two formats. Lines are gathered in a buffer and written
 * by log_flush (the event loop calls it before it sleeps) or when the buffer is full, so that a
 * busy worker makes one system call for many lines. Only platform/, cli/ and the servers of store/
 * log; library rooms return errors. One process, one thread. */
#pragma once

#include "base/str.h"

typedef enum { LOG_TEXT, LOG_JSON } log_format;
typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } log_level;

/* fd stays the caller's. `process` names the writer ("supervisor", "worker 0"); not copied. */
void log_init(int fd, log_format format, const char *process);

/* log_line(LOG_INFO, "request"); log_str("method", s); log_u64("status", 200); log_end();
 * Strings are escaped: control bytes never reach the terminal. A line has 8 KiB at most: what is
 * more is cut, a text at a character, other fields whole, and the line ends in cut=true. */
void log_line(log_level level, const char *event);
void log_str(const char *key, str value);
void log_u64(const char *key, uint64_t value);
void log_us(const char *key, uint64_t value_ns); /* microseconds with one decimal */
void log_end(void);
/* A whole line with one message. */
void log_msg(log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line that a guest wrote to stdout or stderr ("out", "err"), labelled with its component. */
void log_guest(str component, const char *stream, str request_id, str line);
/* Writes what is gathered. Never blocks for longer than write(2) does; a short write is repeated.
 */
void log_flush(void);
