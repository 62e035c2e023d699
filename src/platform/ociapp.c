/* See ociapp.h. The manifest is asked of the registry each time, blobs only once. All of it is
 * anybody's bytes: digests are checked over what was kept (fetch.c), archives are unpacked by a
 * process that can do nothing else (unpack.c), and where a guest sees a file is checked here. */
#include "platform/ociapp.h"

#include "app/locked.h"
#include "app/oci.h"
#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/fetch.h"
#include "platform/spawn.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    arena *a;
    str cache_dir;
    oci_reference from;
    oci_manifest manifest;
    bool insecure;
    FILE *progress;
    bool unpacked; /* the archives */
} puller;

static bool blob(puller *p, str digest, str *ret_path, err *e)
{
    return fetch_blob(p->a, p->cache_dir, &p->from, digest, p->insecure, p->progress, ret_path, e);
}

/* --- archives --------------------------------------------------------------------------------- */

/* Keeps the files that the unpack process wrote. */
static bool files_keep(puller *p, int fd, err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(e, "an unpacked archive");
    size_t n = (size_t)st.st_size;
    if (!n)
        return true;
    uint8_t *all = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (all == MAP_FAILED)
        return err_set_errno(e, "an unpacked archive");
    bool ok = true;
    for (size_t at = 0; ok && at < n;) {
        uint64_t length = UINT64_MAX;
        if (n - at >= sizeof length)
            memcpy(&length, all + at, sizeof length);
        at += sizeof length;
        ok = at <= n && length <= n - at;
        if (!ok)
            err_set(e, ERR_INVALID, "the unpack process wrote a cut file");
        str path;
        ok = ok && fetch_keep(p->a, p->cache_dir, (bytes){all + at, (size_t)length}, &path, e);
        at += (size_t)length;
    }
    munmap(all, n);
    return ok;
}

static bool archive_unpack(puller *p, str path, err *e)
{
    static const spawn_limits limits = {
        .memory_bytes = 2 * GIB + ARCHIVE_BYTES_MAX, .cpu_s = 60, .file_bytes = ARCHIVE_BYTES_MAX};
    int message[2];
    pid_t pid;
    _cleanup_fd_ int in = open(path.p, O_RDONLY | O_CLOEXEC), out = -1;
    if (in < 0)
        return err_set_errno(e, "%s", path.p);
    if (!spawn_memfd("ebb-unpack", "", 0, &out, e))
        return false;
    if (pipe2(message, O_CLOEXEC) < 0)
        return err_set_errno(e, "pipe");
    int fds[] = {in, out, message[1]};
    bool ok = spawn_role("unpack", NULL, fds, 3, &limits, true, &pid, e);
    close(message[1]);
    if (ok)
        ok = spawn_wait(pid, "unpack", message[0], e);
    close(message[0]);
    return ok && files_keep(p, out, e);
}

static bool archives_unpack(puller *p, err *e)
{
    for (size_t i = 0; !p->unpacked && i < p->manifest.layers_count; i++) {
        const oci_descriptor *d = &p->manifest.layers[i];
        str path;
        if (str_eq(d->media_type, S(OCI_MEDIA_ARCHIVE)) &&
            !(blob(p, d->digest, &path, e) && archive_unpack(p, path, e)))
            return err_wrap(e, "archive %.*s", STR(d->digest));
    }
    p->unpacked = true;
    return true;
}

/* --- what the app names ----------------------------------------------------------------------- */

static bool is_layer(const puller *p, str digest)
{
    for (size_t i = 0; i < p->manifest.layers_count; i++)
        if (str_eq(p->manifest.layers[i].digest, digest))
            return true;
    return false;
}

/* A file's content: in the app, a layer, or in an archive. */
static bool file_resolve(puller *p, app_file *f, err *e)
{
    str path = {0};
    if (f->content.p) {
        if (!fetch_keep(p->a, p->cache_dir, f->content, &path, e))
            return false;
    } else if (!oci_digest_valid(f->digest)) {
        return err_set(e, ERR_INVALID, "it has neither content nor a digest");
    } else if (is_layer(p, f->digest)) {
        if (!blob(p, f->digest, &path, e))
            return false;
    } else if (!fetch_kept(p->a, p->cache_dir, f->digest, &path)) {
        if (!archives_unpack(p, e))
            return false;
        if (!fetch_kept(p->a, p->cache_dir, f->digest, &path))
            return err_set(e, ERR_NOT_FOUND, "%.*s is in no layer of the artifact", STR(f->digest));
    }
    f->host_path = path;
    f->content = (bytes){0};
    return path.p || err_no_memory(e);
}

/* "a/b" or "/a/b", every part a name. */
static bool guest_path_make(arena *a, str *path, err *e)
{
    str rest = *path;
    while (str_starts(rest, S("/")))
        rest = str_skip(rest, 1);
    str whole = rest;
    bool ok = rest.n > 0 && !memchr(rest.p, 0, rest.n);
    while (ok && rest.p) {
        str part = str_cut(&rest, '/');
        ok = part.n && !str_eq(part, S(".")) && !str_eq(part, S(".."));
    }
    if (!ok)
        return err_set(e, ERR_INVALID, "its path leads elsewhere");
    *path = arena_printf(a, "/%.*s", STR(whole));
    return path->p || err_no_memory(e);
}

static bool source_resolve(puller *p, app_source *s, err *e)
{
    if (s->kind != APP_SOURCE_PATH)
        return true; /* fetched as from a manifest */
    if (!oci_digest_valid(s->digest))
        return err_set(e, ERR_INVALID, "its source has no digest");
    return blob(p, s->digest, &s->path, e);
}

static bool component_resolve(puller *p, app_component *c, err *e)
{
    if (!source_resolve(p, &c->source, e))
        return false;
    for (size_t i = 0; i < c->dependencies.n; i++)
        if (!source_resolve(p, &c->dependencies.at[i].source, e))
            return err_wrap(e, "dependency '%.*s'", STR(c->dependencies.at[i].name));
    c->mounts_count = 0; /* the files are listed */
    for (size_t i = 0; i < c->files.n; i++)
        if (!guest_path_make(p->a, &c->files.at[i].guest_path, e) ||
            !file_resolve(p, &c->files.at[i], e))
            return err_wrap(e, "file '%.*s'", STR(c->files.at[i].guest_path));
    return true;
}

static bool app_read(puller *p, const oci_descriptor *locked, app **ret, err *e)
{
    str path;
    bytes json;
    if (!blob(p, locked->digest, &path, e) ||
        !file_load(p->a, path.p, APP_LOCKED_BYTES_MAX, &json, e) ||
        !locked_read(p->a, json, ret, e))
        return false;
    for (size_t i = 0; i < (*ret)->components_count; i++) {
        app_component *c = &(*ret)->components[i];
        if (c->is_used && !component_resolve(p, c, e))
            return err_wrap(e, "component '%.*s'", STR(c->id));
    }
    return true;
}

static bool load(puller *p, str reference, app **ret, err *e)
{
    bytes json;
    str digest, path;
    if (!oci_reference_parse(p->a, reference, &p->from, e) ||
        !fetch_manifest(p->a, &p->from, p->insecure, &json, &digest, e) ||
        !oci_manifest_read(p->a, json, &p->manifest, e))
        return false;
    const oci_descriptor *locked = oci_manifest_app(&p->manifest),
                         *component = oci_manifest_component(&p->manifest);
    if (locked ? !app_read(p, locked, ret, e)
        : component
            ? !blob(p, component->digest, &path, e) || !app_from_wasm(p->a, path, ret, e)
            : !err_set(e, ERR_INVALID, "the artifact is neither a Spin app nor a component"))
        return false;
    (*ret)->origin = arena_printf(p->a, "vnd.fermyon.origin-oci:%.*s/%.*s%s%.*s@%.*s",
                                  STR(p->from.registry), STR(p->from.repository),
                                  p->from.tag.n ? ":" : "", STR(p->from.tag), STR(digest));
    (*ret)->oci_image_digest = digest;
    return (*ret)->origin.p || err_no_memory(e);
}

bool ociapp_load(arena *a, str cache_dir, str reference, bool insecure, FILE *progress, app **ret,
                 err *e)
{
    puller p = {.a = a, .cache_dir = cache_dir, .insecure = insecure, .progress = progress};
    return load(&p, reference, ret, e) || err_wrap(e, "%.*s", STR(reference));
}
