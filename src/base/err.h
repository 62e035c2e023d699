/* Errors. An err lives on the caller's stack; making one never allocates.
 * Every function that can fail is `bool f(..., T *ret_x, err *e)`: it returns true and sets the
 * outputs, or returns false, leaves the outputs alone and describes the failure in *e.
 * A text says what happened, where, and what to do next. Context is put in front on the way up:
 *
 *     return err_set(e, ERR_INVALID, "route '%.*s' has no leading '/'; write '/%.*s'", ...);
 *     if (!manifest_read(...))
 *         return err_wrap(e, "spin.toml:%u:%u", line, col);
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

enum { ERR_TEXT_MAX = 1024 };

typedef enum {
    ERR_NONE = 0,
    ERR_INVALID,     /* the input is wrong; the text says where */
    ERR_UNSUPPORTED, /* well-formed, but ebb does not do it; the text names the feature */
    ERR_NOT_FOUND,
    ERR_LIMIT,     /* a limit of base/limits.h or a setting; the text names it */
    ERR_NO_MEMORY, /* allocation failed or an arena reached its maximum */
    ERR_IO,        /* the operating system said no; errno is in the text */
    ERR_DENIED,
    ERR_TIMEOUT,
    ERR_CLOSED,
    ERR_CONFLICT,
    ERR_TRAP, /* the guest trapped */
    ERR_INTERNAL,
} err_code;

typedef struct {
    err_code code;
    char text[ERR_TEXT_MAX];
} err;

/* Both return false, so that a failing function can `return err_set(...)`. A NULL e is allowed. */
bool err_set(err *e, err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Appends strerror(errno) to the text; errno is read first. */
bool err_set_errno(err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool err_no_memory(err *e);
/* Puts "<fmt>: " in front of the text; the code stays. */
bool err_wrap(err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "invalid", "unsupported", ...: stable words for logs and JSON. */
const char *err_code_name(err_code code);
