/* What the guests of an app have printed: the ends of its log files, and with follow=1 what comes.
 *
 * Files are read on a work thread, fsynced before: a line that was returned once is never lost.
 * While somebody follows, one timer looks again every FOLLOW_NS; with nobody there is none. A line
 * without its end waits for it. */
#include "platform/keeper_api.h"

#include "base/limits.h"
#include "loop/work.h"
#include "platform/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 256, TAIL_BYTES_MAX = 1 << 20, LINES_MAX = 10000, PIECE_BYTES_MAX = 1 << 20 };
#define FOLLOW_NS (250 * NS_PER_MS)

typedef struct {
    char name[NAME_MAX + 1];
    ino_t inode;
    off_t at; /* read so far */
} log_file;

typedef struct {
    char dir[PATH_MAX];
    bool follow, json, first;
    uint64_t lines;
    log_file files[FILES_MAX];
    size_t n;
    buf text; /* of one look */
    loop_timer again;
} reading;

/* "<component>_stdout.txt" */
static void line_put(reading *r, const char *name, str line)
{
    str component = str_from(name), stream = S("stdout");
    if (str_ends(component, S("_stderr.txt")))
        stream = S("stderr");
    component.n -= sizeof "_stdout.txt" - 1;
    if (!r->json) {
        buf_printf(&r->text, "%.*s: %.*s\n", STR(component), STR(line));
        return;
    }
    json_t *j = json_pack("{s:o,s:o,s:o}", "component", api_str(component), "stream",
                          api_str(stream), "line", api_str(line));
    if (!j) /* not UTF-8 */
        return;
    char *text = json_dumps(j, JSON_COMPACT);
    buf_put_str(&r->text, str_from(text));
    buf_put_u8(&r->text, '\n');
    free(text);
    json_decref(j);
}

/* Where the last `lines` of these bytes begin. */
static size_t tail_of(str s, uint64_t lines)
{
    size_t at = s.n;
    uint64_t n = 0;
    while (at > 0) {
        if (s.p[at - 1] == '\n' && at < s.n && ++n >= lines)
            break;
        at--;
    }
    return at;
}

static void file_read(reading *r, log_file *f, int dir, char *block)
{
    struct stat st;
    _cleanup_fd_ int fd = openat(dir, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    if (f->inode != st.st_ino || st.st_size < f->at) { /* it was turned */
        f->at = 0;
        f->inode = st.st_ino;
    }
    if (st.st_size <= f->at || fdatasync(fd) < 0)
        return;
    bool first = r->first && st.st_size > TAIL_BYTES_MAX;
    off_t from = first ? st.st_size - TAIL_BYTES_MAX : f->at;
    ssize_t got = pread(fd, block, PIECE_BYTES_MAX, from);
    str s = {block, got > 0 ? (size_t)got : 0};
    size_t end = str_rfind(s, '\n');
    if (end == s.n) { /* no whole line; one that is too long for a piece is skipped */
        f->at = s.n == PIECE_BYTES_MAX ? from + got : f->at;
        return;
    }
    s.n = end + 1;
    f->at = from + (off_t)s.n;
    s = r->first ? str_skip(s, tail_of(s, r->lines)) : s;
    while (s.n)
        line_put(r, f->name, str_cut(&s, '\n'));
}

static log_file *file_of(reading *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->files[i].name, name) == 0)
            return &r->files[i];
    if (r->n == FILES_MAX)
        return NULL;
    log_file *f = &r->files[r->n++];
    *f = (log_file){0};
    memcpy(f->name, name, strlen(name) + 1);
    return f;
}

static void names_sync(int dir)
{
    _cleanup_fd_ int above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fsync(dir);
    if (above >= 0)
        fsync(above);
}

static void look(void *user)
{
    reading *r = ((api_call *)user)->own;
    char *block = malloc(PIECE_BYTES_MAX);
    DIR *d = opendir(r->dir);
    for (struct dirent *item; block && d && (item = readdir(d));) {
        str name = str_from(item->d_name);
        bool is_log = str_ends(name, S("_stdout.txt")) || str_ends(name, S("_stderr.txt"));
        size_t known = r->n;
        log_file *f = is_log ? file_of(r, item->d_name) : NULL;
        if (r->n > known) /* its name has to last, too */
            names_sync(dirfd(d));
        if (f)
            file_read(r, f, dirfd(d), block);
    }
    if (d)
        closedir(d);
    free(block);
}

static void look_start(void *user);

static void reading_end(api_call *c)
{
    reading *r = c->own;
    loop_timer_stop(&r->again);
    buf_fini(&r->text);
}

static void on_gone(api_call *c)
{
    if (!c->busy)
        reading_end(c);
}

static void looked(void *user)
{
    api_call *c = user;
    reading *r = c->own;
    c->busy--;
    if (!c->x) {
        reading_end(c);
        api_is_over(c);
        return;
    }
    buf_put(&c->out, r->text.p, r->text.n);
    buf_clear(&r->text);
    r->first = false;
    if (r->follow)
        loop_timer_start(c->k->l, &r->again, FOLLOW_NS, look_start, c);
    else
        reading_end(c);
    api_more(c, !r->follow);
}

static void look_start(void *user)
{
    api_call *c = user;
    reading *r = c->own;
    err e;
    /* Whoever does not read, is not read for. */
    if (c->out.n > PIECE_BYTES_MAX) {
        loop_timer_start(c->k->l, &r->again, FOLLOW_NS, look_start, c);
        return;
    }
    c->busy++;
    if (loop_work_start(c->k->l, look, looked, c, &e))
        return;
    c->busy--;
    loop_timer_start(c->k->l, &r->again, FOLLOW_NS, look_start, c);
}

void api_logs(api_call *c)
{
    reading *r = ARENA_NEW(&c->a, reading);
    str lines = api_query(c, "lines");
    catalogue_app x;
    if (!r) {
        api_fail_status(c, 503, "no memory");
        return;
    }
    if (!api_app(c, &x))
        return;
    c->own = r;
    r->lines = 100;
    r->first = true;
    r->follow = str_eq(api_query(c, "follow"), S("1"));
    r->json = str_eq(api_query(c, "format"), S("json"));
    if (lines.n && !str_to_u64(lines, LINES_MAX, &r->lines)) {
        api_fail_status(c, 400, "lines: a number up to 10000");
        return;
    }
    buf_init(&r->text, 64 * MIB);
    snprintf(r->dir, sizeof r->dir, "%.*s/logs/%llu", STR(c->k->config.data_dir),
             (unsigned long long)x.id);
    c->gone = on_gone;
    if (api_stream(c, r->json ? S("application/x-ndjson") : S("text/plain; charset=utf-8")))
        look_start(c);
}
