/* `ebb backup TO` and `ebb restore FROM`: all that a node knows, in a folder, and back.
 *
 * A backup is made beside a running node: SQLite files by their backup API, so each is as it was at
 * one moment; blobs never change, so they are copied as they are. The catalogue goes first, and a
 * lock of the folder blobs/ keeps the node's collector away until all are copied: each blob that
 * the copied catalogue names is there. Apps that are deleted meanwhile may lack files. Compiled
 * code is not in it: another machine makes its own. A restore checks everything before it puts
 * anything into place. */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/hex.h"
#include "base/limits.h"
#include "platform/spawn.h"
#include "store/sqlite_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

typedef struct {
    bool checks; /* blobs must have the digest that is their name */
    uint64_t files, bytes_n;
} copying;

/* --- one file --------------------------------------------------------------------------------- */

static bool digest_matches(EVP_MD_CTX *md, const char *name, const char *path, err *e)
{
    unsigned char got[EVP_MAX_MD_SIZE];
    char hex[65];
    unsigned n;
    EVP_DigestFinal_ex(md, got, &n);
    hex_write((bytes){got, n}, hex);
    return strcmp(hex, name) == 0 ||
           err_set(e, ERR_INVALID, "%s is damaged: its content no longer has this digest", path);
}

static bool bytes_copy(copying *c, int in, int out, const char *name, const char *path, err *e)
{
    static char block[256 * 1024];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    ssize_t n = 1;
    while (ok && (n = read(in, block, sizeof block)) > 0) {
        EVP_DigestUpdate(md, block, (size_t)n);
        ok = fd_write_all(out, block, (size_t)n, e);
        c->bytes_n += (uint64_t)n;
    }
    if (ok && n < 0)
        ok = err_set_errno(e, "%s", path);
    ok = ok && (!c->checks || strlen(name) != 64 || digest_matches(md, name, path, e));
    EVP_MD_CTX_free(md);
    return ok;
}

static bool file_copy(copying *c, const char *from, const char *to, const char *name, err *e)
{
    struct stat st;
    _cleanup_fd_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0 && errno == ENOENT)
        return true; /* taken away meanwhile */
    if (in < 0 || fstat(in, &st) < 0)
        return err_set_errno(e, "%s", from);
    _cleanup_fd_ int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
    if (out < 0)
        return err_set_errno(e, "%s", to);
    if (!bytes_copy(c, in, out, name, from, e))
        return false;
    bool ours = geteuid() != 0; /* then all of it is ours, and whose it was can't be kept */
    if (fchmod(out, st.st_mode & 0777) < 0 || (!ours && fchown(out, st.st_uid, st.st_gid) < 0) ||
        fsync(out) < 0)
        return err_set_errno(e, "%s", to);
    c->files++;
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    return str_ends(str_from(name), str_from(end));
}

static bool folder_make(const char *path, const struct stat *st, err *e)
{
    if (mkdir(path, st->st_mode & 0777) < 0 && errno != EEXIST)
        return err_set_errno(e, "%s", path);
    if (geteuid() == 0 && chown(path, st->st_uid, st->st_gid) < 0)
        return err_set_errno(e, "%s", path);
    return true;
}

/* --- folders ---------------------------------------------------------------------------------- */

static bool tree_copy(copying *c, const char *from, const char *to, int depth, err *e);

static bool entry_copy(copying *c, const char *from, const char *to, const char *name, int depth,
                       err *e)
{
    struct stat st;
    if (lstat(from, &st) < 0)
        return errno == ENOENT || err_set_errno(e, "%s", from); /* taken away meanwhile */
    if (S_ISDIR(st.st_mode))
        return folder_make(to, &st, e) && tree_copy(c, from, to, depth + 1, e);
    if (!S_ISREG(st.st_mode) || ends_with(name, "-wal") || ends_with(name, "-shm"))
        return true;
    if (!ends_with(name, ".db"))
        return file_copy(c, from, to, name, e);
    c->files++;
    if (!sqlite_copy(from, to, e))
        return access(from, F_OK) < 0 && errno == ENOENT;
    return (!c->checks || sqlite_check(to, e)) &&
           (chmod(to, st.st_mode & 0777) == 0 || err_set_errno(e, "%s", to)) &&
           (geteuid() != 0 || chown(to, st.st_uid, st.st_gid) == 0 || err_set_errno(e, "%s", to));
}

/* Nothing that another one may have made is followed: links are passed over. */
static bool tree_copy(copying *c, const char *from, const char *to, int depth, err *e)
{
    if (depth > DEPTH_MAX)
        return err_set(e, ERR_LIMIT, "%s: folders are nested deeper than %d", from, DEPTH_MAX);
    DIR *d = opendir(from);
    if (!d)
        return errno == ENOENT || err_set_errno(e, "%s", from);
    bool ok = true;
    for (struct dirent *item; ok && (item = readdir(d));) {
        char source[PATH_MAX], target[PATH_MAX];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 ||
            ends_with(item->d_name, ".tmp") || str_starts(str_from(item->d_name), S("upload-")))
            continue;
        int n = snprintf(source, sizeof source, "%s/%s", from, item->d_name),
            m = snprintf(target, sizeof target, "%s/%s", to, item->d_name);
        if (n >= (int)sizeof source || m >= (int)sizeof target)
            ok = err_set(e, ERR_LIMIT, "the path is too long: %.200s...", source);
        else
            ok = entry_copy(c, source, target, item->d_name, depth, e);
    }
    closedir(d);
    return ok;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n <= 2;
}

/* In this order: the catalogue before what it names. */
static const char *const parts[] = {"platform.db", "seal.key", "ebb.toml", "usage.db", "blobs",
                                    "files",       "state",    "queue",    "logs"};

/* Into `to`, which is new; on failure it is taken away again. */
static bool all_copy(copying *c, const char *from, const char *to, mode_t mode, err *e)
{
    char source[PATH_MAX], target[PATH_MAX];
    bool ok = true;
    if (!is_empty(to))
        return err_set(e, ERR_CONFLICT, "%s is not empty", to);
    if (mkdir(to, mode) < 0 && errno != EEXIST)
        return err_set_errno(e, "%s", to);
    for (size_t i = 0; ok && i < sizeof parts / sizeof *parts; i++) {
        snprintf(source, sizeof source, "%s/%s", from, parts[i]);
        snprintf(target, sizeof target, "%s/%s", to, parts[i]);
        ok = entry_copy(c, source, target, parts[i], 0, e);
    }
    if (!ok)
        nftw(to, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return ok;
}

/* --- commands --------------------------------------------------------------------------------- */

bool cli_data_of(arena *a, const options *o, str *ret, err *e)
{
    const option *data = options_get(o, "data");
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    *ret = data->given            ? str_from(data->got)
           : geteuid() == 0       ? S("/var/lib/ebb")
           : xdg && *xdg == '/'   ? arena_printf(a, "%s/ebb", xdg)
           : home && *home == '/' ? arena_printf(a, "%s/.local/share/ebb", home)
                                  : (str){0};
    return ret->n || err_set(e, ERR_NOT_FOUND, "say where the node's data is: --data DIR");
}

static bool backup(arena *a, const options *o, const char *to, copying *c, err *e)
{
    char path[PATH_MAX];
    str data;
    if (!cli_data_of(a, o, &data, e))
        return false;
    snprintf(path, sizeof path, "%.*s/platform.db", STR(data));
    if (access(path, R_OK) < 0)
        return err_set_errno(e, "no node has its data here: %s", path);
    snprintf(path, sizeof path, "%.*s/blobs", STR(data));
    _cleanup_fd_ int lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_SH) < 0)
        return err_set_errno(e, "%s", path);
    return all_copy(c, data.p, to, 0700, e);
}

static bool restore(arena *a, const options *o, const char *from, copying *c, err *e)
{
    char path[PATH_MAX];
    str data;
    c->checks = true;
    snprintf(path, sizeof path, "%s/platform.db", from);
    if (access(path, R_OK) < 0)
        return err_set_errno(e, "this is no backup: %s", path);
    if (!cli_data_of(a, o, &data, e))
        return false;
    for (size_t i = 1; i < data.n; i++)
        if (data.p[i] == '/') {
            char *folder = arena_cstr(a, str_head(data, i));
            if (folder && mkdir(folder, 0755) < 0 && errno != EEXIST)
                return err_set_errno(e, "%s", folder);
        }
    return all_copy(c, from, data.p, 0711, e);
}

static int run(int argc, char **argv, options *o,
               bool (*what)(arena *a, const options *o, const char *place, copying *c, err *e))
{
    copying c = {0};
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 64 * MIB);
    if (!options_parse(&a, o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o->help)
        return 0;
    if (o->positionals_count != 1) {
        err_set(&e, ERR_INVALID, "give one folder: ebb %s %s", o->command, o->positional);
        return cli_fail(&e), 2;
    }
    umask(022);
    if (!what(&a, o, o->positionals[0], &c, &e))
        return cli_fail(&e);
    printf("%llu files, %.1f MB\n", (unsigned long long)c.files, (double)c.bytes_n / 1e6);
    return 0;
}

int cli_backup(int argc, char **argv)
{
    option rows[] = {DATA_OPTION, {0}};
    options o = {.command = "backup",
                 .positional = "TO",
                 .options = rows,
                 .summary = "Copies all of a node into a new folder, while it runs."};
    return run(argc, argv, &o, backup);
}

int cli_restore(int argc, char **argv)
{
    option rows[] = {DATA_OPTION, {0}};
    options o = {.command = "restore",
                 .positional = "FROM",
                 .options = rows,
                 .summary = "Checks a backup and puts it into an empty data folder."};
    return run(argc, argv, &o, restore);
}
