/* Blobs: what a deploy is made of, by digest, in <data>/blobs/sha256/<first two digits>/<digest>.
 *
 * A body is written to a temporary file as it comes, blobs/upload-<digest>-..., locked while it is
 * written; on a work thread it is fsynced and gets its name, and its folder is fsynced; then it is
 * the tenant's, in the catalogue; and only then the temporary name goes. So a row without a file
 * there is never, and a file without a row still has a name among the uploads: what a crash leaves
 * is found by them alone, when the next keeper starts. The rest that crashes leave (folders *.tmp
 * of files and of code) the collector takes, an hour later.
 *
 * Both run as jobs of the catalogue: no blob can be taken into use between a look and an unlink.
 * A backup keeps the collector away by a lock of the folder blobs/ (cli/backup.c): what the copied
 * catalogue names is still there when blobs are copied. */
#include "platform/keeper_api.h"

#include "base/hex.h"
#include "base/limits.h"
#include "loop/work.h"
#include "platform/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COLLECT_S = 3600, YOUNG_S = 3600 };

/* --- digests ---------------------------------------------------------------------------------- */

bool digest_parse(str hex, uint8_t ret[CATALOGUE_DIGEST_BYTES])
{
    hex = str_starts(hex, S("sha256:")) ? str_skip(hex, 7) : hex;
    if (hex.n != (size_t)2 * CATALOGUE_DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit > 15)
            return false;
        ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] | digit : digit << 4);
    }
    return true;
}

void digest_hex(const uint8_t digest[CATALOGUE_DIGEST_BYTES], char ret[65])
{
    hex_write((bytes){digest, CATALOGUE_DIGEST_BYTES}, ret);
}

static bool digest_param(api_call *c, uint8_t ret[CATALOGUE_DIGEST_BYTES])
{
    if (digest_parse(c->params[1], ret))
        return true;
    api_fail_status(c, 400, "a digest is sha256: and 64 small hexadecimal digits");
    return false;
}

/* --- asking ----------------------------------------------------------------------------------- */

void api_blob_head(api_call *c)
{
    uint8_t digest[CATALOGUE_DIGEST_BYTES];
    bool there;
    uint64_t n;
    err e;
    if (!digest_param(c, digest))
        return;
    if (!catalogue_blob_find(catalogue_reading(c->k->catalogue), c->tenant.id, digest, &there, &n,
                             &e))
        api_fail(c, &e);
    else if (there)
        api_answer(c, 200, S("application/octet-stream"));
    else
        api_fail_status(c, 404, "the tenant has not sent this blob");
}

/* --- sending ---------------------------------------------------------------------------------- */

typedef struct {
    int fd; /* -1: the file has its name, or is gone */
    uint64_t bytes_n, bytes_max;
    EVP_MD_CTX *md;
    uint8_t digest[CATALOGUE_DIGEST_BYTES];
    char temp[PATH_MAX], dir[PATH_MAX], path[PATH_MAX];
    bool ok;
    err e;
} upload;

static void upload_end(upload *u)
{
    if (u->fd >= 0)
        unlink(u->temp);
    fd_close(&u->fd); /* and the lock with it */
    EVP_MD_CTX_free(u->md);
    u->md = NULL;
}

static void upload_gone(api_call *c)
{
    upload *u = c->own;
    if (!c->busy)
        upload_end(u);
}

static void upload_fail(api_call *c, unsigned status, const char *text)
{
    upload_end(c->own);
    api_fail_status(c, status, text);
}

static bool blob_apply(api_call *c, catalogue_db *db, err *e)
{
    upload *u = c->own;
    return (access(u->path, R_OK) == 0 ||
            err_set(e, ERR_CLOSED, "the blob was collected meanwhile; send it again")) &&
           catalogue_blob_add(db, c->tenant.id, u->digest, u->bytes_n, keeper_now_s(), e);
}

static void blob_done(api_call *c)
{
    unlink(((upload *)c->own)->temp);
    api_json_take(c, 201, json_object());
}

static void upload_keep(void *user)
{
    upload *u = ((api_call *)user)->own;
    char named[PATH_MAX + 8]; /* another name that becomes the blob's: a damaged one is replaced */
    snprintf(named, sizeof named, "%s.new", u->temp);
    u->ok = fsync(u->fd) == 0 && (mkdirat(AT_FDCWD, u->dir, 0700) == 0 || errno == EEXIST) &&
            linkat(AT_FDCWD, u->temp, AT_FDCWD, named, 0) == 0 && rename(named, u->path) == 0 &&
            dir_sync(u->dir);
    if (!u->ok)
        err_set_errno(&u->e, "the blob can't be kept");
    else
        fd_close(&u->fd);
}

static void upload_kept(void *user)
{
    api_call *c = user;
    upload *u = c->own;
    c->busy--;
    upload_end(u);
    if (!u->ok)
        api_fail(c, &u->e);
    else
        api_submit(c, blob_apply, blob_done);
}

static void upload_whole(api_call *c)
{
    upload *u = c->own;
    uint8_t got[EVP_MAX_MD_SIZE];
    unsigned n;
    err e;
    EVP_DigestFinal_ex(u->md, got, &n);
    if (memcmp(got, u->digest, sizeof u->digest) != 0) {
        upload_fail(c, 400, "the body does not have this digest");
        return;
    }
    c->readable = NULL;
    c->busy++;
    if (loop_work_start(c->k->l, upload_keep, upload_kept, c, &e))
        return;
    c->busy--;
    upload_end(u);
    api_fail(c, &e);
}

static void upload_read(api_call *c)
{
    static uint8_t block[64 * 1024];
    upload *u = c->own;
    body_state state;
    size_t n;
    while ((n = exchange_read(c->x, block, sizeof block, &state)) > 0) {
        if ((u->bytes_n += n) > u->bytes_max) {
            upload_fail(c, 429,
                        "the tenant's storage quota is used up; delete apps, or ask the "
                        "operator for more");
            return;
        }
        EVP_DigestUpdate(u->md, block, n);
        if (!fd_write_all(u->fd, block, n, &u->e)) {
            upload_end(u);
            api_fail(c, &u->e);
            return;
        }
    }
    if (state == BODY_END)
        upload_whole(c);
    else if (state == BODY_ABORTED)
        upload_fail(c, 400, "the body was cut");
}

/* What the tenant may still send; false: answered. */
static bool room_find(api_call *c, uint64_t *ret)
{
    quota q = api_quota(c);
    uint64_t used;
    err e;
    if (!catalogue_blob_bytes(catalogue_reading(c->k->catalogue), c->tenant.id, &used, &e)) {
        api_fail(c, &e);
        return false;
    }
    uint64_t room = !q.storage_bytes          ? COMPONENT_BYTES_MAX
                    : used >= q.storage_bytes ? 0
                                              : q.storage_bytes - used;
    *ret = room < COMPONENT_BYTES_MAX ? room : COMPONENT_BYTES_MAX;
    return true;
}

void api_blob_put(api_call *c)
{
    static unsigned count;
    upload *u = ARENA_NEW(&c->a, upload);
    str dir = c->k->config.data_dir;
    char hex[65];
    if (!u) {
        api_fail_status(c, 503, "no memory");
        return;
    }
    c->own = u;
    u->fd = -1;
    if (!digest_param(c, u->digest) || !room_find(c, &u->bytes_max))
        return;
    digest_hex(u->digest, hex);
    snprintf(u->temp, sizeof u->temp, "%.*s/blobs/upload-%s-%d-%u", STR(dir), hex, (int)getpid(),
             ++count);
    snprintf(u->dir, sizeof u->dir, "%.*s/blobs/sha256/%.2s", STR(dir), hex);
    snprintf(u->path, sizeof u->path, "%.*s/blobs/sha256/%.2s/%s", STR(dir), hex, hex);
    u->fd = open(u->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    u->md = EVP_MD_CTX_new();
    if (u->fd < 0 || flock(u->fd, LOCK_EX | LOCK_NB) < 0 || !u->md ||
        !EVP_DigestInit_ex(u->md, EVP_sha256(), NULL)) {
        err_set_errno(&u->e, "a blob can't be written");
        upload_end(u);
        api_fail(c, &u->e);
        return;
    }
    c->readable = upload_read;
    c->gone = upload_gone;
    upload_read(c);
}

/* --- what crashes leave ----------------------------------------------------------------------- */

typedef struct {
    catalogue_job job; /* first */
    keeper *k;
    unsigned uploads, blobs;
} sweep;

/* Nobody writes to it any more: whoever did had it locked. */
static bool is_abandoned(int dir, const char *name)
{
    _cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* The name of an upload, and the blob that it may have become without a row. */
static bool upload_sweep(sweep *w, catalogue_db *db, int dir, const char *name, err *e)
{
    uint8_t digest[CATALOGUE_DIGEST_BYTES];
    str hex = str_head(str_skip(str_from(name), sizeof "upload-" - 1), 64);
    char path[80];
    bool held;
    if (!digest_parse(hex, digest) || !is_abandoned(dir, name))
        return true;
    if (!catalogue_blob_held(db, digest, &held, e))
        return false;
    snprintf(path, sizeof path, "sha256/%.2s/%.*s", hex.p, STR(hex));
    w->blobs += !held && unlinkat(dir, path, 0) == 0;
    w->uploads += unlinkat(dir, name, 0) == 0;
    return true;
}

static bool sweep_apply(catalogue_job *j, catalogue_db *db, err *e)
{
    sweep *w = (sweep *)j;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/blobs", STR(w->k->config.data_dir));
    DIR *d = opendir(path);
    bool ok = d || err_set_errno(e, "%s", path);
    for (struct dirent *item; ok && (item = readdir(d));)
        if (str_starts(str_from(item->d_name), S("upload-")))
            ok = upload_sweep(w, db, dirfd(d), item->d_name, e);
    if (d)
        closedir(d);
    return ok;
}

static void sweep_done(catalogue_job *j)
{
    sweep *w = (sweep *)j;
    if (!j->ok)
        log_msg(LOG_ERROR, "what a crash has left stays: %s", j->e.text);
    else if (w->uploads)
        log_msg(LOG_INFO, "removed what a crash has left: %u uploads, %u blobs of nobody",
                w->uploads, w->blobs);
    log_flush();
    free(w);
}

void blobs_sweep(keeper *k)
{
    sweep *w = calloc(1, sizeof *w);
    if (!w)
        return;
    w->job = (catalogue_job){.apply = sweep_apply, .done = sweep_done};
    w->k = k;
    catalogue_submit(k->catalogue, &w->job);
}

/* --- collecting ------------------------------------------------------------------------------- */

typedef struct {
    catalogue_job job; /* first */
    keeper *k;
    arena a;
    size_t count;
    bool put_off; /* a backup runs */
} collection;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

/* The blob, what was unpacked of it, and its artifacts of every engine. */
static void digest_remove(str dir, const uint8_t digest[CATALOGUE_DIGEST_BYTES])
{
    char hex[65], path[PATH_MAX];
    digest_hex(digest, hex);
    snprintf(path, sizeof path, "%.*s/blobs/sha256/%.2s/%s", STR(dir), hex, hex);
    unlink(path);
    snprintf(path, sizeof path, "%.*s/files/%s", STR(dir), hex);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Folders that were being filled when their process died. */
static void unfinished_remove(str dir, const char *folder)
{
    char path[PATH_MAX];
    struct stat st;
    int at = snprintf(path, sizeof path, "%.*s/%s", STR(dir), folder);
    DIR *d = opendir(path);
    for (struct dirent *item; d && (item = readdir(d));)
        if (str_ends(str_from(item->d_name), S(".tmp")) &&
            snprintf(path + at, sizeof path - (size_t)at, "/%s", item->d_name) > 0 &&
            lstat(path, &st) == 0 && keeper_now_s() - st.st_mtime > YOUNG_S)
            nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (d)
        closedir(d);
}

static void artifacts_remove(str dir, uint8_t (*gone)[CATALOGUE_DIGEST_BYTES], size_t n)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/artifacts", STR(dir));
    DIR *d = n ? opendir(path) : NULL;
    for (struct dirent *item; d && (item = readdir(d));) {
        uint8_t digest[CATALOGUE_DIGEST_BYTES];
        if (!digest_parse(str_head(str_from(item->d_name), 64), digest))
            continue;
        for (size_t i = 0; i < n; i++)
            if (memcmp(gone[i], digest, sizeof digest) == 0) {
                snprintf(path, sizeof path, "%.*s/artifacts/%s", STR(dir), item->d_name);
                nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
            }
    }
    if (d)
        closedir(d);
}

static bool collect_apply(catalogue_job *j, catalogue_db *db, err *e)
{
    collection *g = (collection *)j;
    uint8_t (*gone)[CATALOGUE_DIGEST_BYTES];
    str dir = g->k->config.data_dir;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/blobs", STR(dir));
    _cleanup_fd_ int lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g->put_off = lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0;
    if (g->put_off)
        return true;
    unfinished_remove(dir, "files");
    unfinished_remove(dir, "artifacts");
    if (!catalogue_blobs_collect(db, &g->a, keeper_now_s() - YOUNG_S, &gone, &g->count, e))
        return false;
    for (size_t i = 0; i < g->count; i++)
        digest_remove(dir, gone[i]);
    artifacts_remove(dir, gone, g->count);
    return true;
}

static void collect_done(catalogue_job *j)
{
    collection *g = (collection *)j;
    if (!j->ok)
        log_msg(LOG_ERROR, "old blobs stay: %s", j->e.text);
    else if (g->put_off)
        log_msg(LOG_INFO, "old blobs stay while a backup runs");
    else if (g->count)
        log_msg(LOG_INFO, "removed %zu blobs that no revision needs", g->count);
    if (g->put_off)
        g->k->collected_s = 0;
    log_flush();
    arena_fini(&g->a);
    free(g);
}

void blobs_collect(keeper *k)
{
    int64_t now = keeper_now_s();
    if (now - k->collected_s < COLLECT_S)
        return;
    collection *g = calloc(1, sizeof *g);
    if (!g)
        return;
    k->collected_s = now;
    g->job = (catalogue_job){.apply = collect_apply, .done = collect_done};
    g->k = k;
    arena_init(&g->a, 256 * MIB);
    catalogue_submit(k->catalogue, &g->job);
}
