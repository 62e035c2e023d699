/* See fetch.h. Files appear under their digest by rename, so that an interrupted download leaves
 * nothing that looks whole; the digest is computed here, over the bytes that are then kept, not
 * believed from the process that fetched them. */
#include "platform/fetch.h"

#include "base/hex.h"
#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const spawn_limits limits = {
    .memory_bytes = 2 * GIB, .cpu_s = 120, .file_bytes = COMPONENT_BYTES_MAX};

/* Runs `ebb @fetch WORDS`; what it fetched is in `out`. */
static bool run(const char *const *words, int out, err *e)
{
    int message[2];
    pid_t pid;
    if (pipe2(message, O_CLOEXEC) < 0)
        return err_set_errno(e, "pipe");
    int fds[] = {out, message[1]};
    bool ok = spawn_role("fetch", words, fds, 2, &limits, true, &pid, e);
    close(message[1]);
    if (ok)
        ok = spawn_wait(pid, "fetch", message[0], e);
    close(message[0]);
    return ok;
}

static bool digest_of_fd(int fd, char hex[65], err *e)
{
    unsigned char block[65536], md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);
    off_t at = 0;
    for (ssize_t n; ok && (n = pread(fd, block, sizeof block, at)) != 0; at += n)
        ok = n > 0 && EVP_DigestUpdate(c, block, (size_t)n);
    ok = ok && EVP_DigestFinal_ex(c, md, &len);
    EVP_MD_CTX_free(c);
    if (ok)
        hex_write((bytes){md, len}, hex);
    return ok || err_set(e, ERR_IO, "a downloaded file cannot be read back");
}

static bool dirs_make(str path, err *e)
{
    char *p = (char *)path.p;
    for (char *at = p + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        bool bad = mkdir(p, 0700) < 0 && errno != EEXIST;
        if (bad)
            err_set_errno(e, "cannot make the folder %s", p);
        *at = '/';
        if (bad)
            return false;
    }
    return true;
}

static str source_path(arena *a, str cache_dir, str digest)
{
    return arena_printf(a, "%.*s/sources/%.*s", STR(cache_dir), STR(str_skip(digest, 7)));
}

static bool is_there(str path)
{
    struct stat st;
    return stat(path.p, &st) == 0 && S_ISREG(st.st_mode);
}

/* A new file of the cache, under a name of its own until it is kept. */
static bool temp_open(arena *a, str cache_dir, str *ret, int *ret_fd, err *e)
{
    *ret = arena_printf(a, "%.*s/sources/.new-%d", STR(cache_dir), (int)getpid());
    if (!ret->p)
        return err_no_memory(e);
    if (!dirs_make(*ret, e))
        return false;
    *ret_fd = open(ret->p, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return *ret_fd >= 0 || err_set_errno(e, "%s", ret->p);
}

/* Puts it where its digest says. */
static bool temp_keep(arena *a, str cache_dir, str temp, int fd, str digest, const char *what,
                      str *ret, err *e)
{
    *ret = source_path(a, cache_dir, digest);
    return (ret->p && fsync(fd) == 0 && rename(temp.p, ret->p) == 0) ||
           err_set_errno(e, "cannot keep %s in %.*s", what, STR(*ret));
}

/* Fetches into the cache. want: the digest it must have, or empty. */
static bool download(arena *a, str cache_dir, const char *const *words, str want, str *ret,
                     str *ret_digest, err *e)
{
    char hex[65];
    str temp;
    _cleanup_fd_ int fd = -1;
    if (!temp_open(a, cache_dir, &temp, &fd, e))
        return false;
    bool ok = run(words, fd, e) && digest_of_fd(fd, hex, e);
    str digest = ok ? arena_printf(a, "sha256:%s", hex) : (str){0}, path = {0};
    if (ok && want.n && !str_eq_nocase(digest, want))
        ok = err_set(e, ERR_INVALID,
                     "its digest is %.*s, and the manifest wants %.*s; if the new content is what "
                     "you mean, write its digest",
                     STR(digest), STR(want));
    ok = ok && temp_keep(a, cache_dir, temp, fd, digest, "the download", &path, e);
    if (!ok)
        unlink(temp.p);
    *ret = path;
    *ret_digest = digest;
    return ok;
}

static bool from_url(arena *a, str cache_dir, const app_source *s, bool insecure, FILE *progress,
                     str *ret, str *ret_digest, err *e)
{
    char *digest = arena_cstr(a, s->digest);
    for (char *c = digest; c && *c; c++)
        *c = *c >= 'A' && *c <= 'F' ? (char)(*c + 32) : *c;
    *ret_digest = str_from(digest);
    *ret = digest ? source_path(a, cache_dir, *ret_digest) : (str){0};
    char *url = arena_cstr(a, s->url);
    if (!ret->p || !url)
        return err_no_memory(e);
    if (is_there(*ret))
        return true;
    if (progress)
        fprintf(progress, "  fetching %s\n", url);
    const char *words[] = {"url", url, insecure ? "insecure" : NULL, NULL};
    return download(a, cache_dir, words, *ret_digest, ret, ret_digest, e);
}

/* What a version of a package was, once it has been fetched. */
static bool pin_read(arena *a, str pin, str cache_dir, str *ret, str *ret_digest)
{
    bytes text;
    if (!file_load(a, pin.p, 128, &text, NULL) || text.n != 71)
        return false;
    *ret_digest = (str){(const char *)text.p, text.n};
    *ret = source_path(a, cache_dir, *ret_digest);
    return ret->p && is_there(*ret);
}

static bool pin_write(str pin, str digest, err *e)
{
    if (!dirs_make(pin, e))
        return false;
    _cleanup_fd_ int fd = open(pin.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(e, "%s", pin.p);
    return fd_write_all(fd, digest.p, digest.n, e);
}

static bool from_package(arena *a, str cache_dir, const app_source *s, bool insecure,
                         FILE *progress, str *ret, str *ret_digest, err *e)
{
    if (!s->registry.n)
        return err_set(e, ERR_NOT_FOUND,
                       "package '%.*s' names no registry, and ebb has no default one; add "
                       "registry = \"<host>\"",
                       STR(s->package));
    if (memchr(s->registry.p, '/', s->registry.n) || s->registry.p[0] == '.' ||
        memchr(s->version.p, '/', s->version.n) || s->version.p[0] == '.')
        return err_set(e, ERR_INVALID, "the registry must be a host, and the version a version");
    str pin = arena_printf(a, "%.*s/packages/%.*s/%.*s/%.*s", STR(cache_dir), STR(s->registry),
                           STR(s->package), STR(s->version));
    char *registry = arena_cstr(a, s->registry), *package = arena_cstr(a, s->package),
         *version = arena_cstr(a, s->version);
    if (!pin.p || !registry || !package || !version)
        return err_no_memory(e);
    if (pin_read(a, pin, cache_dir, ret, ret_digest))
        return true;
    if (progress)
        fprintf(progress, "  fetching %s@%s from %s\n", package, version, registry);
    const char *words[] = {s->is_range ? "range" : "package", registry, package, version,
                           insecure ? "insecure" : NULL,      NULL};
    return download(a, cache_dir, words, (str){0}, ret, ret_digest, e) &&
           pin_write(pin, *ret_digest, e);
}

bool fetch_source(arena *a, str cache_dir, str label, const app_source *s, bool insecure,
                  FILE *progress, str *ret, str *ret_digest, err *e)
{
    bool ok = s->kind == APP_SOURCE_URL
                  ? from_url(a, cache_dir, s, insecure, progress, ret, ret_digest, e)
                  : from_package(a, cache_dir, s, insecure, progress, ret, ret_digest, e);
    str what = s->kind == APP_SOURCE_URL ? s->url : s->package;
    return ok || err_wrap(e, "component '%.*s', source %.*s", STR(label), STR(what));
}

bool fetch_text(arena *a, str url, size_t bytes_max, bool insecure, bytes *ret, err *e)
{
    _cleanup_fd_ int fd = -1;
    char *z = arena_cstr(a, url);
    if (!z)
        return err_no_memory(e);
    const char *words[] = {"url", z, insecure ? "insecure" : NULL, NULL};
    struct stat st;
    if (!spawn_memfd("ebb-fetch", "", 0, &fd, e) || !run(words, fd, e))
        return false;
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size > bytes_max)
        return err_set(e, ERR_LIMIT, "%s is longer than %zu bytes", z, bytes_max);
    uint8_t *p = arena_alloc(a, (size_t)st.st_size + 1);
    if (!p)
        return err_no_memory(e);
    if (pread(fd, p, (size_t)st.st_size, 0) != st.st_size)
        return err_set_errno(e, "%s", z);
    *ret = (bytes){p, (size_t)st.st_size};
    return true;
}

/* --- registries ------------------------------------------------------------------------------- */

bool fetch_manifest(arena *a, const oci_reference *from, bool insecure, bytes *ret, str *ret_digest,
                    err *e)
{
    _cleanup_fd_ int fd = -1;
    char hex[65], *registry = arena_cstr(a, from->registry),
                  *repository = arena_cstr(a, from->repository),
                  *reference = arena_cstr(a, from->digest.n ? from->digest : from->tag);
    if (!registry || !repository || !reference)
        return err_no_memory(e);
    const char *words[] = {
        "manifest", registry, repository, reference, insecure ? "insecure" : NULL, NULL};
    struct stat st;
    if (!spawn_memfd("ebb-fetch", "", 0, &fd, e) || !run(words, fd, e) || !digest_of_fd(fd, hex, e))
        return false;
    if (fstat(fd, &st) < 0 || st.st_size > OCI_MANIFEST_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "the manifest has more than %d bytes", OCI_MANIFEST_BYTES_MAX);
    uint8_t *p = arena_alloc(a, (size_t)st.st_size + 1);
    *ret_digest = arena_printf(a, "sha256:%s", hex);
    if (!p || !ret_digest->p)
        return err_no_memory(e);
    if (from->digest.n && !str_eq(from->digest, *ret_digest))
        return err_set(e, ERR_INVALID, "the registry sent a manifest with the digest %.*s",
                       STR(*ret_digest));
    if (pread(fd, p, (size_t)st.st_size, 0) != st.st_size)
        return err_set_errno(e, "a manifest");
    *ret = (bytes){p, (size_t)st.st_size};
    return true;
}

bool fetch_kept(arena *a, str cache_dir, str digest, str *ret_path)
{
    *ret_path = source_path(a, cache_dir, digest);
    return ret_path->p && is_there(*ret_path);
}

bool fetch_blob(arena *a, str cache_dir, const oci_reference *from, str digest, bool insecure,
                FILE *progress, str *ret_path, err *e)
{
    str got;
    if (fetch_kept(a, cache_dir, digest, ret_path))
        return true;
    char *registry = arena_cstr(a, from->registry), *repository = arena_cstr(a, from->repository),
         *z = arena_cstr(a, digest);
    if (!registry || !repository || !z)
        return err_no_memory(e);
    if (progress)
        fprintf(progress, "  fetching %.19s... from %s/%s\n", z, registry, repository);
    const char *words[] = {"blob", registry, repository, z, insecure ? "insecure" : NULL, NULL};
    return download(a, cache_dir, words, digest, ret_path, &got, e);
}

bool fetch_keep(arena *a, str cache_dir, bytes content, str *ret_path, err *e)
{
    char hex[65];
    str temp, path = {0};
    _cleanup_fd_ int fd = -1;
    if (!temp_open(a, cache_dir, &temp, &fd, e))
        return false;
    bool ok =
        fd_write_all(fd, content.p, content.n, e) && digest_of_fd(fd, hex, e) &&
        temp_keep(a, cache_dir, temp, fd, arena_printf(a, "sha256:%s", hex), "a file", &path, e);
    if (!ok)
        unlink(temp.p);
    *ret_path = path;
    return ok;
}
