/* Copying a SQLite file while others write to it, and making one that is its owner's alone. */
#pragma once

#include "base/err.h"

/* Makes the file with mode 0600 if there is none: SQLite itself would let everybody read it. Its
 * log takes the same mode. A failure is left to whoever opens it. */
void sqlite_file_make(const char *path);
/* A consistent copy of `from` in the new file `to` (SQLite's backup API: whoever writes meanwhile
 * waits for nothing, the copy has what was committed when it ended), which is its owner's alone.
 * fsynced. Blocks. ERR_IO. */
bool sqlite_copy(const char *from, const char *to, err *e);
/* Reads all of it: ERR_INVALID says what is damaged. */
bool sqlite_check(const char *path, err *e);
