/* See artifact.h. The frames that decode writes and this process only splits:
 *
 *     u32 magic | u32 units | u64 plan bytes | u64 bytes of module 0 | ... | plan | module 0 | ...
 *
 * Nothing in them is believed but their own lengths, which are checked against the file's. The
 * plan is decoded (with all its checks) before it goes into the cache, and again by each worker.
 * Several artifacts at a time are made by forked builders, each with every jobs-th item; a builder
 * answers with one result record per item through a pipe. */
#include "platform/artifact.h"

#include "base/hex.h"
#include "base/limits.h"
#include "base/must.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAMES_MAGIC = 0x31626265, UNITS_MAX = 64, BUILDERS_MAX = 64 };

static const spawn_limits decode_limits = {
    .memory_bytes = 4 * GIB, .cpu_s = 120, .file_bytes = 2 * GIB};
static const spawn_limits compile_limits = {
    .memory_bytes = 16 * GIB, .cpu_s = 1800, .file_bytes = 4 * GIB};

typedef struct {
    uint32_t magic, units;
    uint64_t plan_bytes;
    uint64_t module_bytes[UNITS_MAX];
} frames_head;

bool frames_write(int fd, const plan *p, const buf *modules, err *e)
{
    if (p->units_count > UNITS_MAX)
        return err_set(e, ERR_LIMIT, "the component has %u instances with code; at most %d are run",
                       p->units_count, UNITS_MAX);
    _cleanup_(buf_fini) buf encoded;
    buf_init(&encoded, 256 * MIB);
    if (!plan_encode(p, &encoded, e))
        return false;
    frames_head h = {.magic = FRAMES_MAGIC, .units = p->units_count, .plan_bytes = encoded.n};
    for (uint32_t i = 0; i < p->units_count; i++)
        h.module_bytes[i] = modules[i].n;
    if (!fd_write_all(fd, &h, sizeof h, e) || !fd_write_all(fd, encoded.p, encoded.n, e))
        return false;
    for (uint32_t i = 0; i < p->units_count; i++)
        if (!fd_write_all(fd, modules[i].p, modules[i].n, e))
            return false;
    return true;
}

bool file_load(arena *a, const char *path, size_t bytes_max, bytes *ret, err *e)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "%s: not a regular file", path);
    if ((uint64_t)st.st_size > bytes_max)
        return err_set(e, ERR_LIMIT, "%s: %lld bytes, at most %zu are read", path,
                       (long long)st.st_size, bytes_max);
    uint8_t *p = arena_alloc(a, (size_t)st.st_size + 1);
    if (!p)
        return err_no_memory(e);
    size_t n = 0;
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_errno(e, "%s", path);
        if (got == 0)
            break;
        n += (size_t)got;
    }
    p[n] = 0;
    *ret = (bytes){p, n};
    return true;
}

/* Room for a folder and a name in it: folders are checked to be shorter than ARTIFACT_PATH_MAX. */
typedef char path_buf[ARTIFACT_PATH_MAX + 64];

static const char *path_in(path_buf path, const char *dir, const char *name)
{
    snprintf(path, sizeof(path_buf), "%.*s/%.60s", ARTIFACT_PATH_MAX - 1, dir, name);
    return path;
}

static bool make_dirs(char *path, err *e)
{
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/')
            continue;
        char was = *at;
        *at = 0;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return err_set_errno(e, "cannot make the folder %s", path);
        *at = was;
        if (!was)
            return true;
    }
}

bool artifact_cache_dir(arena *a, const char *override, str *ret, err *e)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    str dir;
    if (override)
        dir = arena_str(a, str_from(override));
    else if (xdg && *xdg == '/')
        dir = arena_printf(a, "%s/ebb", xdg);
    else if (home && *home == '/')
        dir = arena_printf(a, "%s/.cache/ebb", home);
    else
        return err_set(e, ERR_NOT_FOUND,
                       "no place for compiled code: neither XDG_CACHE_HOME nor HOME is set; "
                       "give one with --cache-dir");
    if (!dir.p)
        return err_no_memory(e);
    char *full = NULL;
    str artifacts = arena_printf(a, "%.*s/artifacts", STR(dir));
    if (!artifacts.p)
        return err_no_memory(e);
    if (!make_dirs((char *)artifacts.p, e))
        return err_wrap(e, "give another place with --cache-dir");
    full = realpath(dir.p, NULL);
    if (!full)
        return err_set_errno(e, "%s", dir.p);
    *ret = arena_str(a, str_from(full));
    free(full);
    return ret->p ? true : err_no_memory(e);
}

bool sha256_hex(bytes b, char ret[65], err *e)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_Digest(b.p, b.n, md, &n, EVP_sha256(), NULL))
        return err_set(e, ERR_INTERNAL, "SHA-256 failed");
    hex_write((bytes){md, n}, ret);
    return true;
}

/* A mapped source file; unmapped and closed on every way out. */
typedef struct {
    int fd;
    void *p;
    size_t n;
} source_map;

static void source_unmap(source_map *s)
{
    if (s->p)
        munmap(s->p, s->n);
    fd_close(&s->fd);
}

static bool source_open(const char *path, source_map *s, err *e)
{
    struct stat st;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "%s does not exist; build it first ('ebb build')", path);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return err_set_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(e, ERR_INVALID, "%s is not a WebAssembly file", path);
    if ((uint64_t)st.st_size > COMPONENT_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "%s has %lld bytes; a component may have %zu", path,
                       (long long)st.st_size, COMPONENT_BYTES_MAX);
    s->n = (size_t)st.st_size;
    s->p = mmap(NULL, s->n, PROT_READ, MAP_PRIVATE, s->fd, 0);
    if (s->p == MAP_FAILED) {
        s->p = NULL;
        return err_set_errno(e, "%s", path);
    }
    return true;
}

static bool run(const char *role, const char *const *args, int in, int out,
                const spawn_limits *limits, err *e)
{
    int message[2];
    if (pipe2(message, O_CLOEXEC) < 0)
        return err_set_errno(e, "pipe");
    int fds[] = {in, out, message[1]};
    pid_t pid;
    bool ok = spawn_role(role, args, fds, 3, limits, true, &pid, e);
    close(message[1]);
    if (ok)
        ok = spawn_wait(pid, role, message[0], e);
    close(message[0]);
    return ok;
}

static bool frames_map(int fd, source_map *map, frames_head *ret, err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(e, "frames");
    map->n = (size_t)st.st_size;
    if (map->n < sizeof *ret)
        return err_set(e, ERR_INVALID, "the decode process wrote too little");
    map->p = mmap(NULL, map->n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map->p == MAP_FAILED) {
        map->p = NULL;
        return err_set_errno(e, "frames");
    }
    memcpy(ret, map->p, sizeof *ret);
    if (ret->magic != FRAMES_MAGIC || ret->units > UNITS_MAX)
        return err_set(e, ERR_INVALID, "the decode process wrote no frames");
    uint64_t left = map->n - sizeof *ret;
    if (ret->plan_bytes > left)
        return err_set(e, ERR_INVALID, "the decode process wrote a cut plan");
    left -= ret->plan_bytes;
    for (uint32_t i = 0; i < ret->units; left -= ret->module_bytes[i], i++)
        if (ret->module_bytes[i] > left)
            return err_set(e, ERR_INVALID, "the decode process wrote a cut module");
    return left ? err_set(e, ERR_INVALID, "the decode process wrote too much") : true;
}

static bool file_make(const char *dir, const char *name, int *ret, err *e)
{
    path_buf path;
    *ret = open(path_in(path, dir, name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    return *ret >= 0 ? true : err_set_errno(e, "%s", path);
}

static bool file_done(int fd, const char *name, err *e)
{
    return fsync(fd) == 0 ? true : err_set_errno(e, "cannot write %s", name);
}

static bool file_put(const char *dir, const char *name, bytes content, err *e)
{
    _cleanup_fd_ int out = -1;
    return file_make(dir, name, &out, e) && fd_write_all(out, content.p, content.n, e) &&
           file_done(out, name, e);
}

/* Fills the new folder `dir` from the component behind source_fd. */
static bool artifact_fill(const char *dir, int source_fd, artifact *item, err *e)
{
    ns begun = clock_mono();
    _cleanup_fd_ int frames = -1;
    if (!spawn_memfd("ebb-frames", "", 0, &frames, e) ||
        !run("decode", NULL, source_fd, frames, &decode_limits, e))
        return false;
    item->decode_ns = clock_mono() - begun;
    begun += item->decode_ns;

    __attribute__((cleanup(source_unmap))) source_map map = {.fd = -1};
    frames_head head;
    plan checked;
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, COMPONENT_ARENA_BYTES_MAX);
    if (!frames_map(frames, &map, &head, e))
        return false;
    bytes encoded = {(uint8_t *)map.p + sizeof head, head.plan_bytes};
    if (!plan_decode(&scratch, encoded, &checked, e))
        return err_wrap(e, "the decode process wrote a bad plan");
    if (checked.units_count != head.units)
        return err_set(e, ERR_INVALID, "the decode process wrote %u modules for %u units",
                       head.units, checked.units_count);
    if (item->accepts && !item->accepts(&scratch, &checked, e))
        return false;
    uint64_t at = sizeof head + head.plan_bytes;
    for (uint32_t i = 0; i < head.units; at += head.module_bytes[i], i++) {
        char name[32], offset[32], length[32];
        snprintf(name, sizeof name, "%u.cwasm", i);
        snprintf(offset, sizeof offset, "%llu", (unsigned long long)at);
        snprintf(length, sizeof length, "%llu", (unsigned long long)head.module_bytes[i]);
        const char *args[] = {offset, length, NULL};
        _cleanup_fd_ int out = -1;
        if (!file_make(dir, name, &out, e) ||
            !run("compile", args, frames, out, &compile_limits, e) || !file_done(out, name, e))
            return false;
    }
    item->compile_ns = clock_mono() - begun;
    char text[64];
    int n = snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)item->decode_ns,
                     (unsigned long long)item->compile_ns);
    return file_put(dir, "times", (bytes){(uint8_t *)text, (size_t)n}, e) &&
           file_put(dir, "plan", encoded, e);
}

static void dir_remove(const char *dir, uint32_t units)
{
    path_buf path;
    for (uint32_t i = 0; i < units; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.cwasm", i);
        unlink(path_in(path, dir, name));
    }
    unlink(path_in(path, dir, "times"));
    unlink(path_in(path, dir, "plan"));
    rmdir(dir);
}

static bool workers_are_others(void)
{
    uid_t uid;
    gid_t gid;
    return sandbox_user(&uid, &gid);
}

/* Where workers are not root, they must be able to read what root wrote. The folders above keep
 * others out; code that is in the cache is no secret of the worker's. */
static void artifact_show(const char *dir)
{
    path_buf path;
    chmod(path_in(path, dir, "plan"), 0444);
    chmod(path_in(path, dir, "times"), 0444);
    for (uint32_t k = 0; k < UNITS_MAX; k++) {
        char name[32];
        snprintf(name, sizeof name, "%u.cwasm", k);
        if (chmod(path_in(path, dir, name), 0444) < 0)
            break;
    }
    chmod(dir, 0755);
}

static bool artifact_make(const char *final, int source_fd, artifact *item, err *e)
{
    path_buf temp;
    snprintf(temp, sizeof temp, "%.*s.%d.tmp", ARTIFACT_PATH_MAX - 1, final, (int)getpid());
    if (mkdir(temp, 0700) < 0)
        return err_set_errno(e, "cannot make the folder %s", temp);
    bool ok = artifact_fill(temp, source_fd, item, e);
    if (workers_are_others())
        artifact_show(temp);   /* who finds its name can read it; a kill leaves nothing half done */
    if (ok && !dir_sync(temp)) /* its files last before it has its name */
        ok = err_set_errno(e, "%s", temp);
    if (ok && rename(temp, final) < 0) {
        struct stat st;
        bool theirs = (errno == EEXIST || errno == ENOTEMPTY) && stat(final, &st) == 0;
        if (!theirs) /* else another process made the same one meanwhile */
            ok = err_set_errno(e, "cannot put the artifact into %s", final);
        dir_remove(temp, UNITS_MAX);
    } else if (!ok) {
        dir_remove(temp, UNITS_MAX);
    }
    return ok;
}

static bool artifact_exists(const char *dir)
{
    path_buf path;
    return access(path_in(path, dir, "plan"), R_OK) == 0;
}

static bool artifact_locate(arena *a, str cache_dir, str fingerprint, artifact *item, err *e)
{
    __attribute__((cleanup(source_unmap))) source_map map = {.fd = -1};
    char hex[65];
    if (!source_open(item->source.p, &map, e) || !sha256_hex((bytes){map.p, map.n}, hex, e))
        return false;
    item->source_bytes = map.n;
    item->digest = arena_str(a, str_from(hex));
    item->dir = arena_printf(a, "%.*s/artifacts/%s-%.*s-%u", STR(cache_dir), hex, STR(fingerprint),
                             PLAN_VERSION);
    if (!item->dir.p || !item->digest.p)
        return err_no_memory(e);
    if (item->dir.n >= ARTIFACT_PATH_MAX)
        return err_set(e, ERR_LIMIT, "the cache folder's path is too long: %.*s", STR(cache_dir));
    return true;
}

/* What a builder says of one item. */
typedef struct {
    size_t item;
    bool ok;
    ns decode_ns, compile_ns;
    err e;
} build_result;

static _Noreturn void builder(artifact **todo, size_t count, size_t first, size_t step, int out)
{
    for (size_t i = first; i < count; i += step) {
        build_result r = {.item = i};
        __attribute__((cleanup(source_unmap))) source_map map = {.fd = -1};
        r.ok = source_open(todo[i]->source.p, &map, &r.e) &&
               artifact_make(todo[i]->dir.p, map.fd, todo[i], &r.e);
        r.decode_ns = todo[i]->decode_ns;
        r.compile_ns = todo[i]->compile_ns;
        if (!fd_write_all(out, &r, sizeof r, NULL) || !r.ok)
            break;
    }
    _exit(0);
}

static bool read_all(int fd, void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t got = read(fd, at, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static void progress_line(FILE *out, const artifact *item, size_t done, size_t all)
{
    if (out)
        fprintf(out, "  compiled %.*s (%.1f MB): read %.1f s, compile %.1f s  [%zu of %zu]\n",
                STR(item->label), (double)item->source_bytes / 1e6, (double)item->decode_ns / 1e9,
                (double)item->compile_ns / 1e9, done, all);
}

static bool build_all(artifact **todo, size_t count, unsigned jobs, FILE *progress, err *e)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_set_errno(e, "pipe");
    pid_t pids[BUILDERS_MAX];
    size_t started = 0, step = jobs < count ? jobs : count;
    for (; started < step; started++) {
        fflush(NULL);
        pids[started] = fork();
        if (pids[started] < 0)
            break;
        if (pids[started] == 0)
            builder(todo, count, started, step, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    bool ok = started > 0 ? true : err_set_errno(e, "cannot start a builder");
    size_t done = 0;
    build_result r;
    while (read_all(pipe_fds[0], &r, sizeof r)) {
        must(r.item < count);
        artifact *item = todo[r.item];
        if (!r.ok) {
            if (ok) {
                *e = r.e;
                if (item->label.n)
                    err_wrap(e, "component '%.*s' (%.*s)", STR(item->label), STR(item->source));
            }
            ok = false;
            continue;
        }
        item->decode_ns = r.decode_ns;
        item->compile_ns = r.compile_ns;
        item->made = true;
        progress_line(progress, item, ++done, count);
    }
    close(pipe_fds[0]);
    for (size_t i = 0; i < started; i++)
        while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
            ;
    if (ok && done != count)
        return err_set(e, ERR_INTERNAL, "a builder process died; try again");
    return ok;
}

static void artifacts_show(str cache_dir, const artifact *items, size_t count)
{
    path_buf path;
    if (!workers_are_others())
        return;
    chmod(path_in(path, cache_dir.p, "artifacts"), 0755);
    for (size_t i = 0; i < count; i++) /* those that were there may be of another user */
        artifact_show(items[i].dir.p);
}

bool artifact_ensure_all(arena *a, str cache_dir, str fingerprint, artifact *items, size_t count,
                         unsigned jobs, FILE *progress, err *e)
{
    artifact **todo = ARENA_ARRAY(a, artifact *, count ? count : 1);
    size_t n = 0;
    if (!todo)
        return err_no_memory(e);
    for (size_t i = 0; i < count; i++) {
        if (!artifact_locate(a, cache_dir, fingerprint, &items[i], e))
            return items[i].label.n && err_wrap(e, "component '%.*s'", STR(items[i].label));
        bool listed = artifact_exists(items[i].dir.p);
        for (size_t k = 0; k < n && !listed; k++)
            listed = str_eq(todo[k]->dir, items[i].dir);
        if (!listed)
            todo[n++] = &items[i];
    }
    if (n == 0)
        return artifacts_show(cache_dir, items, count), true;
    if (progress)
        fprintf(progress, "Compiling %zu component%s (once; kept in %.*s)\n", n, n == 1 ? "" : "s",
                STR(cache_dir));
    jobs = jobs < 1 ? 1 : jobs > BUILDERS_MAX ? BUILDERS_MAX : jobs;
    bool ok = build_all(todo, n, jobs, progress, e);
    artifacts_show(cache_dir, items, count);
    return ok;
}

bool artifact_plan(arena *a, str dir, plan *ret, err *e)
{
    path_buf path;
    path_in(path, dir.p, "plan");
    _cleanup_(arena_fini) arena scratch;
    arena_init(&scratch, 512 * MIB);
    bytes encoded;
    return file_load(&scratch, path, 256 * MIB, &encoded, e) && plan_decode(a, encoded, ret, e);
}

bool artifact_times(str dir, ns *ret_decode, ns *ret_compile, err *e)
{
    path_buf path;
    unsigned long long decode_ns, compile_ns;
    FILE *f = fopen(path_in(path, dir.p, "times"), "re");
    if (!f)
        return err_set_errno(e, "%s", path);
    int n = fscanf(f, "%llu %llu", &decode_ns, &compile_ns);
    fclose(f);
    if (n != 2)
        return err_set(e, ERR_INVALID, "%s is damaged", path);
    *ret_decode = decode_ns;
    *ret_compile = compile_ns;
    return true;
}

str artifact_module_path(arena *a, str dir, uint32_t unit)
{
    return arena_printf(a, "%.*s/%u.cwasm", STR(dir), unit);
}
