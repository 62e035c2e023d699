/* See sqlite_copy.h. In one step: a page at a time would begin again whenever somebody writes, and
 * with a log (WAL) a long read holds up nobody. */
#include "store/sqlite_copy.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stddef.h>
#include <unistd.h>

enum { BUSY_MS = 10000 };

static bool fail(sqlite3 *db, const char *path, err *e)
{
    return err_set(e, ERR_IO, "%s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
}

/* Never opened where it is there: closing any descriptor of a file gives back all POSIX locks of
 * this process on it, and without the lock of our other connection whoever closes the file next (a
 * backup, a starting supervisor) takes the log away that we write to. */
void sqlite_file_make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

bool sqlite_copy(const char *from, const char *to, err *e)
{
    sqlite3 *in = NULL, *out = NULL;
    bool ok = sqlite3_open_v2(from, &in, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
    if (!ok)
        fail(in, from, e);
    if (ok)
        sqlite_file_make(to);
    if (ok && sqlite3_open_v2(to, &out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
        ok = fail(out, to, e);
    if (ok) {
        sqlite3_busy_timeout(in, BUSY_MS);
        sqlite3_backup *b = sqlite3_backup_init(out, "main", in, "main");
        if (b)
            sqlite3_backup_step(b, -1);
        if (!b || sqlite3_backup_finish(b) != SQLITE_OK)
            ok = fail(out, to, e);
    }
    sqlite3_close(in);
    sqlite3_close(out);
    return ok;
}

bool sqlite_check(const char *path, err *e)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL) == SQLITE_OK &&
              sqlite3_step(s) == SQLITE_ROW;
    const char *said = ok ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db);
    if (!ok || sqlite3_stricmp(said, "ok") != 0)
        ok = err_set(e, ERR_INVALID, "%s is damaged: %s", path, said);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return ok;
}
