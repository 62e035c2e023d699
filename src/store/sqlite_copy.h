/* Copying a SQLite file while others write to it. */
#pragma once

#include "base/err.h"

/* A consistent copy of `from` in the new file `to` (SQLite's backup API: whoever writes meanwhile
 * waits for nothing, the copy has what was committed when it ended). fsynced. Blocks. ERR_IO. */
bool sqlite_copy(const char *from, const char *to, err *e);
/* Reads all of it: ERR_INVALID says what is damaged. */
bool sqlite_check(const char *path, err *e);
