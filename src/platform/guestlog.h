/* Files with what the guests of a component print, as Spin has them:
 * <folder>/<component>_stdout.txt and _stderr.txt. Lines are appended whole, so several workers may
 * write to one file. Nothing is fsynced and no size is kept: they are for a developer's eyes. */
#pragma once

#include "base/arena.h"

typedef struct guestlog guestlog;

/* The files of one process that are opened by their first line. A process that writes for many apps
 * keeps only the last few open. Zeroed memory with open_max set is an empty one. */
typedef struct {
    guestlog *newest, *oldest;
    unsigned open, open_max;
} guestlogs;

struct guestlog {
    int out, err;     /* -1: not open */
    uint64_t written; /* by us since a file's size was last looked at */
    guestlogs *all;   /* NULL: open from the start, or not written at all */
    str dir, component;
    guestlog *newer, *older; /* while a file of it is open */
};

/* Makes the folder and those above it, empties its log files if asked to; *ret is absolute. */
bool guestlog_dir_make(arena *a, str dir, bool truncate, str *ret, err *e);
/* Opens (and makes) the files of a component; an empty dir opens none. */
bool guestlog_open(str dir, str component, guestlog *ret, err *e);
/* The first line makes the folder and opens the files; a file that has grown to LOG_TURN_BYTES is
 * turned, so an app's log takes at most four of these a component. Names are borrowed; *ret stays
 * in place. */
void guestlog_open_later(guestlogs *all, str dir, str component, guestlog *ret);
void guestlog_close(guestlog *l);
/* stream: 1 or 2; line without its end. Failures (a full disk) are not reported. */
void guestlog_write(guestlog *l, int stream, str line);
