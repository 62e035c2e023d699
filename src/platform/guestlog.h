/* Files with what the guests of a component print, as Spin has them:
 * <folder>/<component>_stdout.txt and _stderr.txt. Lines are appended whole, so several workers may
 * write to one file. Nothing is fsynced and no size is kept: they are for a developer's eyes. */
#pragma once

#include "base/arena.h"

typedef struct {
    int out, err; /* -1: not written */
} guestlog;

/* Makes the folder and those above it, empties its log files if asked to; *ret is absolute. */
bool guestlog_dir_make(arena *a, str dir, bool truncate, str *ret, err *e);
/* Opens (and makes) the files of a component; an empty dir opens none. */
bool guestlog_open(str dir, str component, guestlog *ret, err *e);
void guestlog_close(guestlog *l);
/* stream: 1 or 2; line without its end. Failures (a full disk) are not reported. */
void guestlog_write(const guestlog *l, int stream, str line);
