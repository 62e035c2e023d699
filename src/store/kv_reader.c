/* See kv_reader.h. SQLite opens files by name and wants to look at folders; a worker may do
 * neither. So its connection has a name that means nothing ("/ebb-kv-7"), and the system calls that
 * SQLite's unix VFS makes with names are replaced, which it offers for this (xSetSystemCall):
 * `open` of such a name gives a lent descriptor, `stat` and `access` look at it. All else is
 * SQLite's own: shared locks by fcntl, the log's index mapped read-only.
 *
 * With a read-only index SQLite cannot set a read mark; it takes one that is there, at or before
 * the newest commit, which keeps what it reads from being overwritten just as well.
 *
 * A transaction of SQLite's costs four system calls, so one serves all reads of a turn for as long
 * as it shows the newest commit: that is so while the head of the log's index, which every commit
 * changes before it is answered, has the bytes that it had before the transaction began.
 *
 * A descriptor, once SQLite closed it, took all locks of this process on its file along (POSIX):
 * that is why a file has one reader, and why lent descriptors that SQLite did not open are closed
 * after its own. */
#include "store/kv_reader.h"

#include "base/limits.h"
#include "store/sql_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Two copies of the head begin the index (SQLite: "The WAL-Index File Format"). */
enum { CACHE_KIB = 512, INDEX_HEAD_BYTES = 96 };

enum { BEGIN, GET, END, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [GET] = "SELECT CASE WHEN length(value) <= ?3 THEN value END FROM spin_key_value "
            "WHERE store = ?1 AND key = ?2",
    [END] = "COMMIT",
};

#define NAME_PREFIX "/ebb-kv-"

struct kv_reader {
    kv_reader *next;
    unsigned number;
    int fds[KV_PARTS];
    bool opened[KV_PARTS]; /* by SQLite, which closes it */
    bool failed;
    sqlite3 *db;
    sqlite3_stmt *at[STATEMENTS];
    const uint8_t *index; /* its head, mapped */
    uint8_t seen[INDEX_HEAD_BYTES];
    bool reading; /* in a transaction that began after `seen` was copied */
};

/* Of this process: SQLite's system calls are too. */
static struct {
    kv_reader *first;
    unsigned last_number;
    int (*open)(const char *path, int flags, int mode);
    int (*stat)(const char *path, struct stat *st);
    int (*lstat)(const char *path, struct stat *st);
    int (*access)(const char *path, int mode);
} all;

/* --- SQLite's system calls -------------------------------------------------------------------- */

/* Is it a name of ours? Then *ret is the reader (NULL: gone) and *ret_part what of it, or -1. */
static bool name_parse(const char *path, kv_reader **ret, int *ret_part)
{
    static const char *const ends[KV_PARTS] = {"", "-wal", "-shm"};
    char *end;
    if (strncmp(path, NAME_PREFIX, sizeof NAME_PREFIX - 1) != 0)
        return false;
    unsigned long number = strtoul(path + sizeof NAME_PREFIX - 1, &end, 10);
    *ret = all.first;
    while (*ret && (*ret)->number != number)
        *ret = (*ret)->next;
    *ret_part = -1;
    for (int i = 0; i < KV_PARTS && *ret; i++)
        if (strcmp(end, ends[i]) == 0)
            *ret_part = i;
    return true;
}

static int lent_open(const char *path, int flags, int mode)
{
    kv_reader *r;
    int part;
    if (!name_parse(path, &r, &part))
        return all.open(path, flags, mode);
    if (part < 0 || r->opened[part] || (flags & O_ACCMODE) != O_RDONLY) {
        errno = part < 0 ? ENOENT : EACCES;
        return -1;
    }
    r->opened[part] = true;
    return r->fds[part];
}

static int lent_fstat(const kv_reader *r, int part, struct stat *st)
{
    if (part >= 0)
        return fstat(r->fds[part], st);
    errno = ENOENT;
    return -1;
}

static int lent_stat(const char *path, struct stat *st)
{
    kv_reader *r;
    int part;
    return name_parse(path, &r, &part) ? lent_fstat(r, part, st) : all.stat(path, st);
}

static int lent_lstat(const char *path, struct stat *st)
{
    kv_reader *r;
    int part;
    return name_parse(path, &r, &part) ? lent_fstat(r, part, st) : all.lstat(path, st);
}

static int lent_access(const char *path, int mode)
{
    kv_reader *r;
    int part;
    struct stat st;
    return name_parse(path, &r, &part) ? lent_fstat(r, part, &st) : all.access(path, mode);
}

/* Instead of waiting for a moment when the index is at rest: SQLite gives up after 100 tries. */
static int no_sleep(sqlite3_vfs *vfs, int us) { return 0; }

static sqlite3_syscall_ptr replace(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr ours)
{
    sqlite3_syscall_ptr was = vfs->xGetSystemCall(vfs, name);
    return was && vfs->xSetSystemCall(vfs, name, ours) == SQLITE_OK ? was : NULL;
}

static sqlite3_vfs *vfs_ready(void)
{
    static sqlite3_vfs ours;
    err e;
    if (ours.zName)
        return &ours;
    sqlite3_vfs *v = sql_memory_init(&e) ? sqlite3_vfs_find("unix") : NULL;
    if (!v || v->iVersion < 3)
        return NULL;
    all.open = (int (*)(const char *, int, int))replace(v, "open", (sqlite3_syscall_ptr)lent_open);
    all.stat =
        (int (*)(const char *, struct stat *))replace(v, "stat", (sqlite3_syscall_ptr)lent_stat);
    all.lstat =
        (int (*)(const char *, struct stat *))replace(v, "lstat", (sqlite3_syscall_ptr)lent_lstat);
    all.access = (int (*)(const char *, int))replace(v, "access", (sqlite3_syscall_ptr)lent_access);
    if (!all.open || !all.stat || !all.lstat || !all.access)
        return NULL;
    ours = *v;
    ours.zName = "ebb-reader";
    ours.pNext = NULL;
    ours.xSleep = no_sleep;
    return sqlite3_vfs_register(&ours, 0) == SQLITE_OK ? &ours : NULL;
}

/* --- a reader --------------------------------------------------------------------------------- */

/* All three still have their names: nobody deleted the log between lending it and our lock. */
static bool is_whole(const kv_reader *r)
{
    struct stat st;
    for (int i = 0; i < KV_PARTS; i++)
        if (!r->opened[i] || fstat(r->fds[i], &st) < 0 || st.st_nlink == 0)
            return false;
    return true;
}

static bool prepare(kv_reader *r)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(r->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &r->at[i],
                               NULL) != SQLITE_OK)
            return false;
    return sqlite3_bind_int(r->at[GET], 3, STORE_READ_BYTES_MAX) == SQLITE_OK;
}

static bool set_up(kv_reader *r, const char *vfs)
{
    char name[64], cache[64];
    bytes value;
    snprintf(name, sizeof name, "file:" NAME_PREFIX "%u?readonly_shm=1", r->number);
    snprintf(cache, sizeof cache, "PRAGMA cache_size = -%d", CACHE_KIB);
    int flags =
        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    void *p = mmap(NULL, INDEX_HEAD_BYTES, PROT_READ, MAP_SHARED, r->fds[KV_PART_INDEX], 0);
    if (p == MAP_FAILED)
        return false;
    r->index = p;
    if (sqlite3_open_v2(name, &r->db, flags, vfs) != SQLITE_OK ||
        sqlite3_exec(r->db, cache, NULL, NULL, NULL) != SQLITE_OK || !prepare(r))
        return false;
    kv_reader_get(r, S(""), S(""), &value);
    kv_reader_done(r);
    return !r->failed && is_whole(r);
}

kv_reader *kv_reader_open_take(const int fds[KV_PARTS])
{
    sqlite3_vfs *vfs = vfs_ready();
    kv_reader *r = vfs ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        for (int i = 0; i < KV_PARTS; i++)
            close(fds[i]);
        return NULL;
    }
    memcpy(r->fds, fds, sizeof r->fds);
    r->number = ++all.last_number;
    r->next = all.first;
    all.first = r;
    if (set_up(r, vfs->zName))
        return r;
    kv_reader_close(r);
    return NULL;
}

void kv_reader_close(kv_reader *r)
{
    if (!r)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(r->at[i]);
    sqlite3_close(r->db);
    if (r->index)
        munmap((void *)(uintptr_t)r->index, INDEX_HEAD_BYTES);
    for (int i = 0; i < KV_PARTS; i++)
        if (!r->opened[i])
            close(r->fds[i]);
    kv_reader **at = &all.first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free(r);
}

static bool run(kv_reader *r, int which)
{
    bool ok = sqlite3_step(r->at[which]) == SQLITE_DONE;
    sqlite3_reset(r->at[which]);
    return ok;
}

void kv_reader_rest(kv_reader *r)
{
    if (r->reading && !run(r, END))
        r->failed = true;
    r->reading = false;
}

static bool is_newest(const kv_reader *r)
{
    atomic_thread_fence(memory_order_acquire);
    return memcmp(r->seen, r->index, INDEX_HEAD_BYTES) == 0;
}

/* In a transaction that shows the newest commit. */
static bool begin(kv_reader *r)
{
    struct stat st;
    if (r->reading && is_newest(r))
        return true;
    kv_reader_rest(r);
    if (fstat(r->fds[KV_PART_FILE], &st) < 0 || st.st_nlink == 0)
        return false;
    memcpy(r->seen, r->index, INDEX_HEAD_BYTES);
    atomic_thread_fence(memory_order_acquire);
    r->reading = run(r, BEGIN);
    return r->reading;
}

kv_read kv_reader_get(kv_reader *r, str store, str key, bytes *ret)
{
    sqlite3_stmt *s = r->at[GET];
    if (r->failed || !begin(r)) {
        r->failed = true;
        return KV_READ_ASK;
    }
    sqlite3_bind_text64(s, 1, store.n ? store.p : "", store.n, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_text64(s, 2, key.n ? key.p : "", key.n, SQLITE_STATIC, SQLITE_UTF8);
    int code = sqlite3_step(s);
    if (code == SQLITE_DONE)
        return KV_READ_NONE;
    if (code != SQLITE_ROW) {
        r->failed = true;
        return KV_READ_ASK;
    }
    if (sqlite3_column_type(s, 0) == SQLITE_NULL)
        return KV_READ_ASK;
    ret->p = sqlite3_column_blob(s, 0);
    ret->n = (size_t)sqlite3_column_bytes(s, 0);
    return KV_READ_VALUE;
}

void kv_reader_done(kv_reader *r) { sqlite3_reset(r->at[GET]); }

bool kv_reader_failed(const kv_reader *r) { return r->failed; }
