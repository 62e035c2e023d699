/* Formatting of errors; err.h says how they are used. Everything happens in the caller's err: no
 * allocation, so that out of memory can be reported too. Long texts are cut at ERR_TEXT_MAX, never
 * refused; context added on the way up pushes the end out, not the beginning. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool err_set(err *e, err_code code, const char *fmt, ...)
{
    if (!e)
        return false;
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return false;
}

bool err_set_errno(err *e, const char *fmt, ...)
{
    int number = errno;
    if (!e)
        return false;
    e->code = number == ENOMEM ? ERR_NO_MEMORY : number == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", strerror(number));
    return false;
}

bool err_no_memory(err *e) { return err_set(e, ERR_NO_MEMORY, "out of memory"); }

bool err_wrap(err *e, const char *fmt, ...)
{
    if (!e)
        return false;
    char old[ERR_TEXT_MAX];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old);
    return false;
}

const char *err_code_name(err_code code)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",
        [ERR_INVALID] = "invalid",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_NOT_FOUND] = "not-found",
        [ERR_LIMIT] = "limit",
        [ERR_NO_MEMORY] = "no-memory",
        [ERR_IO] = "io",
        [ERR_DENIED] = "denied",
        [ERR_TIMEOUT] = "timeout",
        [ERR_CLOSED] = "closed",
        [ERR_CONFLICT] = "conflict",
        [ERR_TRAP] = "trap",
        [ERR_INTERNAL] = "internal",
    };
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
