/* See certificates.h. The folders that hold the files are watched, not the files: tools replace a
 * file, or the link that points to it, and a watch on the old one would see nothing.
 *
 * A certificate and its key are two files, and between the writing of one and of the other they do
 * not belong together: then reading fails, what was read before stays, and the second write is
 * noticed like the first. */
#include "platform/certificates.h"

#include "base/arena.h"
#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX   (1 * MIB)
#define PACKED_BYTES_MAX (256 * MIB)

struct certificates {
    certificates_source from;
    buf packed;
    char warning[256];
    int inotify; /* -1: not watched */
    int signo;
};

typedef struct {
    arena a;
    tls_pair *pairs;
    size_t count;
} reading;

static bool pair_add(reading *r, str certificate, str key, err *e)
{
    tls_pair *grown = arena_grow(&r->a, r->pairs, r->count, r->count + 1, sizeof *grown);
    if (!grown || !certificate.p || !key.p)
        return err_no_memory(e);
    r->pairs = grown;
    tls_pair *p = &r->pairs[r->count];
    *p = (tls_pair){.certificate_path = certificate, .key_path = key};
    if (!file_load(&r->a, certificate.p, FILE_BYTES_MAX, &p->certificate, e) ||
        !file_load(&r->a, key.p, FILE_BYTES_MAX, &p->key, e))
        return false;
    r->count++;
    return true;
}

/* NAME.crt or NAME.pem, or a folder with fullchain.pem. Other files are passed over. */
static bool entry_read(reading *r, const char *folder, str name, err *e)
{
    struct stat st;
    str path = arena_printf(&r->a, "%s/%.*s", folder, STR(name));
    if (!path.p)
        return err_no_memory(e);
    if (stat(path.p, &st) == 0 && S_ISDIR(st.st_mode)) {
        str chain = arena_printf(&r->a, "%.*s/fullchain.pem", STR(path));
        return !chain.p || access(chain.p, F_OK) != 0 ||
               pair_add(r, chain, arena_printf(&r->a, "%.*s/privkey.pem", STR(path)), e);
    }
    if (!str_ends(name, S(".crt")) && !str_ends(name, S(".pem")))
        return true;
    str stem = str_head(path, path.n - 4);
    if (str_ends(stem, S(".key")))
        return true;
    return pair_add(r, path, arena_printf(&r->a, "%.*s.key", STR(stem)), e);
}

/* In the order of their names, so that the same files always mean the same. */
static bool folder_read(reading *r, const char *folder, err *e)
{
    struct dirent **all;
    int n = scandir(folder, &all, NULL, alphasort);
    bool ok = true;
    if (n < 0)
        return err_set_errno(e, "%s", folder);
    for (int i = 0; i < n; i++) {
        ok = ok && (all[i]->d_name[0] == '.' || entry_read(r, folder, str_from(all[i]->d_name), e));
        free(all[i]);
    }
    free(all);
    return ok && (r->count > 0 ||
                  err_set(e, ERR_NOT_FOUND,
                          "%s: no certificate in it; NAME.crt with NAME.key, or NAME/fullchain.pem "
                          "with NAME/privkey.pem, are looked for",
                          folder));
}

static bool all_read(const certificates *c, buf *out, char warning[256], err *e)
{
    reading r = {0};
    tls_store *store = NULL;
    arena_init(&r.a, PACKED_BYTES_MAX);
    const certificates_source *from = &c->from;
    bool ok = from->folder
                  ? folder_read(&r, from->folder, e)
                  : pair_add(&r, str_from(from->certificate_path), str_from(from->key_path), e);
    ok = ok && tls_store_new(r.pairs, r.count, from->folder, &store, e) &&
         tls_pairs_pack(r.pairs, r.count, from->folder, out, e);
    if (ok)
        snprintf(warning, 256, "%s", tls_store_warning(store) ? tls_store_warning(store) : "");
    tls_store_unref(store);
    for (size_t i = 0; i < r.count; i++)
        explicit_bzero((void *)(uintptr_t)r.pairs[i].key.p, r.pairs[i].key.n);
    arena_fini(&r.a);
    return ok;
}

static void packed_fini(buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_fini(b);
}

bool certificates_open(const certificates_source *from, certificates **ret, err *e)
{
    certificates *c = calloc(1, sizeof *c);
    bool changed;
    if (!c)
        return err_no_memory(e);
    *c = (certificates){.from = *from, .inotify = -1};
    if (!certificates_reload(c, &changed, e)) {
        certificates_close(c);
        return false;
    }
    *ret = c;
    return true;
}

void certificates_close(certificates *c)
{
    if (!c)
        return;
    packed_fini(&c->packed);
    fd_close(&c->inotify);
    free(c);
}

static bool folder_watch(certificates *c, const char *folder, err *e)
{
    uint32_t what = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM;
    return inotify_add_watch(c->inotify, folder, what | IN_ONLYDIR) >= 0 ||
           err_set_errno(e, "cannot watch %s", folder);
}

static bool parent_watch(certificates *c, const char *path, err *e)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    return folder_watch(c, folder, e);
}

/* The folder and those in it; called again after each change, for new ones. */
static bool folders_watch(certificates *c, err *e)
{
    char path[PATH_MAX];
    if (!c->from.folder)
        return parent_watch(c, c->from.certificate_path, e) && parent_watch(c, c->from.key_path, e);
    if (!folder_watch(c, c->from.folder, e))
        return false;
    DIR *d = opendir(c->from.folder);
    for (struct dirent *x; d && (x = readdir(d));) {
        int n = snprintf(path, sizeof path, "%s/%s", c->from.folder, x->d_name);
        if (x->d_name[0] != '.' && n > 0 && (size_t)n < sizeof path)
            folder_watch(c, path, NULL); /* files are none */
    }
    if (d)
        closedir(d);
    return true;
}

bool certificates_watch(certificates *c, int signo, err *e)
{
    c->signo = signo;
    c->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (c->inotify < 0 || fcntl(c->inotify, F_SETOWN, getpid()) < 0 ||
        fcntl(c->inotify, F_SETSIG, signo) < 0 ||
        fcntl(c->inotify, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        return err_set_errno(e, "cannot watch certificate files");
    return folders_watch(c, e);
}

bool certificates_noticed(certificates *c)
{
    char events[4096] __attribute__((aligned(8)));
    bool any = false;
    while (c->inotify >= 0 && read(c->inotify, events, sizeof events) > 0)
        any = true;
    return any;
}

bool certificates_reload(certificates *c, bool *ret_changed, err *e)
{
    buf packed;
    char warning[sizeof c->warning];
    err ignored;
    buf_init(&packed, PACKED_BYTES_MAX);
    if (c->inotify >= 0)
        folders_watch(c, &ignored); /* before reading, so that no change falls between */
    if (!all_read(c, &packed, warning, e)) {
        packed_fini(&packed);
        return false;
    }
    *ret_changed =
        packed.n != c->packed.n || (packed.n && memcmp(packed.p, c->packed.p, packed.n) != 0);
    packed_fini(&c->packed);
    c->packed = packed;
    memcpy(c->warning, warning, sizeof warning);
    return true;
}

const char *certificates_warning(const certificates *c)
{
    return c->warning[0] ? c->warning : NULL;
}

bool certificates_file(const certificates *c, int *ret_fd, err *e)
{
    return spawn_memfd("ebb-certificates", c->packed.p, c->packed.n, ret_fd, e);
}

bool certificates_receive_take(int fd, tls_store **ret, err *e)
{
    struct stat st;
    void *p = fstat(fd, &st) == 0 && st.st_size > 0
                  ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                  : MAP_FAILED;
    bool ok = p != MAP_FAILED ? tls_store_unpack((bytes){p, (size_t)st.st_size}, ret, e)
                              : err_set_errno(e, "certificates");
    if (p != MAP_FAILED)
        munmap(p, (size_t)st.st_size);
    close(fd);
    return ok;
}
