/* Archive layers of apps: tar (POSIX ustar, with the extensions of GNU and pax skipped over) in
 * gzip (RFC 1952). What a file is called is of no interest: the locked app names files by their
 * digest. Pure. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* Appends what `gzip` unpacks to. ERR_LIMIT: more than out->max. */
bool archive_inflate(bytes gzip, buf *out, err *e);
/* Calls on_file with the content of every regular file. False where it returns false. */
bool archive_files(bytes tar, bool (*on_file)(void *user, bytes content, err *e), void *user,
                   err *e);
