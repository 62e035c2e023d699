/* The one place where ebb aborts on purpose. Nothing is allocated and no lock is taken,
 * so that it works from any state, a signal handler and a fiber included. */
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void must_fail(const char *expr, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "ebb: this is a bug in ebb: '%s' does not hold (%s:%d); please report it\n",
                     expr, file, line);
    if (n > 0) {
        ssize_t ignored = write(STDERR_FILENO, text, (size_t)n);
        (void)ignored;
    }
    abort();
}
