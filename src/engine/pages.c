/* Working sets: the pages that calls of a module write, made private before the guest faults them
 * in.
 *
 * Most of a short call's time is page faults: each page it writes first is a trap into the kernel
 * (1.8 us). Populating a run of pages in one call saves a quarter of that for each and costs 1 us
 * for the run. So the module remembers which pages its instances wrote, and each new instance has
 * the long runs among them populated right after instantiation; single pages still fault.
 *
 *     instance 1, 2, then every 64th: not populated, its pages are read from pagemap before it goes
 *     work = pages written in both of the last two samples     (one route's pages alone are not
 *     the others: MADV_POPULATE_WRITE over work                 populated for everybody)
 *
 * A wrong guess costs 1.3 us a page and nothing else: a populated page holds what the guest
 * would have found there. pagemap is readable by its own process; where it or the advice (Linux
 * 5.14) is missing, instances simply fault. Populating beyond the memory's size is an error, so
 * ranges are cut to it. A gap of one page is filled: that costs about what another run would.
 *
 * Measured (README.md): scanning with ioctl PAGEMAP_SCAN is faster than reading pagemap, but at
 * one instance in 64 that does not show, and pagemap works on every kernel.
 */
#include "engine/inner.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
    PAGE_SHIFT = 12,
    SAMPLE_EVERY = 64,
    RANGES_MAX = 256,
    GAP_MAX = 1,
    RUN_MIN = 6, /* pages; below, faulting is cheaper */
    PAGES_PER_READ = 512,
};
/* Of one memory; a guest whose working set lies above faults. */
#define SCAN_BYTES_MAX  (64 * MIB)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)

void pages_init(engine *en)
{
    en->pagemap_fd = -1;
    if (en->config.populate && sysconf(_SC_PAGESIZE) == 1 << PAGE_SHIFT)
        en->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void pages_fini(engine *en)
{
    if (en->pagemap_fd >= 0)
        close(en->pagemap_fd);
}

void pages_module_fini(engine_module *m)
{
    free(m->sample.ranges);
    free(m->work.ranges);
}

bool pages_sampled(engine_module *m)
{
    uint32_t n = m->made++;
    return n < 2 || n % SAMPLE_EVERY == 0;
}

/* Appends page to the ranges; joins it to the last one over a gap. */
static void set_add(page_set *s, uint32_t page, uint32_t gap_max)
{
    page_range *last = s->count > 0 ? &s->ranges[s->count - 1] : NULL;
    if (last && page - last->end <= gap_max)
        last->end = page + 1;
    else if (s->count < RANGES_MAX)
        s->ranges[s->count++] = (page_range){page, page + 1};
}

static bool set_make(page_set *s, uint32_t room)
{
    *s = (page_set){.ranges = malloc(room * sizeof *s->ranges)};
    return s->ranges;
}

/* The private pages of [base, base + size). */
static bool set_scan(int fd, const uint8_t *base, size_t size, page_set *ret)
{
    uint64_t entries[PAGES_PER_READ];
    uint64_t first = (uintptr_t)base >> PAGE_SHIFT;
    uint32_t count = (uint32_t)(size >> PAGE_SHIFT);
    for (uint32_t at = 0; at < count;) {
        size_t want = count - at < PAGES_PER_READ ? count - at : PAGES_PER_READ;
        ssize_t n = pread(fd, entries, want * 8, (off_t)((first + at) * 8));
        if (n != (ssize_t)(want * 8))
            return false;
        for (uint32_t i = 0; i < want; i++)
            if ((entries[i] & (PAGEMAP_PRESENT | PAGEMAP_FILE)) == PAGEMAP_PRESENT)
                set_add(ret, at + i, 0);
        at += (uint32_t)want;
    }
    return true;
}

/* Pages in both, gaps filled. */
static void set_intersect(const page_set *a, const page_set *b, page_set *ret)
{
    for (uint32_t i = 0, j = 0; i < a->count && j < b->count;) {
        uint32_t first =
            a->ranges[i].first > b->ranges[j].first ? a->ranges[i].first : b->ranges[j].first;
        uint32_t end = a->ranges[i].end < b->ranges[j].end ? a->ranges[i].end : b->ranges[j].end;
        if (first < end) {
            set_add(ret, first, GAP_MAX);
            if (ret->ranges[ret->count - 1].end < end)
                ret->ranges[ret->count - 1].end = end;
        }
        if (a->ranges[i].end < b->ranges[j].end)
            i++;
        else
            j++;
    }
}

/* Leaves out the runs that are not worth a call. */
static void set_prune(page_set *s)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->ranges[i].end - s->ranges[i].first >= RUN_MIN)
            s->ranges[kept++] = s->ranges[i];
    s->count = kept;
}

void pages_sample(engine_module *m, const uint8_t *base, size_t size)
{
    if (m->en->pagemap_fd < 0 || !base)
        return;
    page_range scanned[RANGES_MAX];
    page_set now = {.ranges = scanned}, work;
    if (!set_scan(m->en->pagemap_fd, base, size < SCAN_BYTES_MAX ? size : SCAN_BYTES_MAX, &now))
        return;
    /* Both sets fit what they may ever hold here: each range of the result starts where a range
     * of one of the two starts. */
    page_set kept;
    if (!set_make(&kept, now.count + 1))
        return;
    if (now.count > 0)
        memcpy(kept.ranges, now.ranges, now.count * sizeof *now.ranges);
    kept.count = now.count;
    if (m->sample.ranges && set_make(&work, now.count + m->sample.count + 1)) {
        set_intersect(&m->sample, &kept, &work);
        set_prune(&work);
        free(m->work.ranges);
        m->work = work;
    }
    free(m->sample.ranges);
    m->sample = kept;
}

void pages_populate(engine_module *m, uint8_t *base, size_t size)
{
    uint32_t pages = (uint32_t)(size >> PAGE_SHIFT);
    for (uint32_t i = 0; i < m->work.count; i++) {
        page_range r = m->work.ranges[i];
        if (r.end > pages)
            r.end = pages;
        if (r.first >= r.end)
            return;
        if (madvise(base + ((size_t)r.first << PAGE_SHIFT), (size_t)(r.end - r.first) << PAGE_SHIFT,
                    MADV_POPULATE_WRITE)) {
            m->work.count = 0; /* no such advice here, or no memory: let it fault */
            return;
        }
    }
}
