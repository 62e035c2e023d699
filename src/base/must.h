/* must(): assertions for our own mistakes only, on in release builds as well.
 * Guest and network input is never asserted; it is checked and answered with an err. */
#pragma once

_Noreturn void must_fail(const char *expr, const char *file, int line);

#define must(cond) ((cond) ? (void)0 : must_fail(#cond, __FILE__, __LINE__))
