/* Working sets: the pages that calls of a module write, made private before the guest faults them
 * in.
 *
 * Most of a short call's time is page faults: each page it writes first is a trap into the kernel
 * (1.8 us), or two where it was read before. So the module remembers which pages its instances
 * wrote, and each new instance has them populated right after instantiation:
 *
 *     instance 1, 2, then every 64th: not populated, its pages are read from pagemap before it goes
 *     work = pages written in both of the last two samples     (one route's pages alone are not
 *     the others: MADV_POPULATE_WRITE over work                 populated for everybody)
 *
 * process_madvise does all of them at once (Linux 6.13 takes this advice of a process to itself),
 * and costs 4 us, which pays for many pages. For few, or without it, each run of pages is a call of
 * 1 us: only long runs are populated, a gap of one page in them is filled, and single pages fault.
 *
 * A wrong guess costs 1.3 us a page and nothing else: a populated page holds what the guest
 * would have found there. pagemap is readable by its own process; where it or the advice (Linux
 * 5.14) is missing, instances simply fault. Populating beyond the memory's size is an error, so
 * ranges are cut to it.
 *
 * Better than pages made private at once are pages that are so already. A module that is not
 * restored has them moved from its last instance to its new one (restore.c): the kernel hangs page
 * tables over to another address, which costs 6 us a mapping and next to nothing a page. A memory
 * is a few mappings: what the artifact has, and zeros below and above.
 *
 * Which pages are private is asked with ioctl PAGEMAP_SCAN (Linux 6.7) or, where that is missing,
 * read from pagemap: restore.c asks after every call during which this thread had a page fault.
 * Without one no page can have become private, but for transparent huge pages, which the kernel
 * makes of untouched pages behind our back: they are switched off for the process.
 */
#include "engine/engine_test.h"
#include "engine/inner.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
    PAGE_SHIFT = 12,
    SAMPLE_EVERY = 64,
    RANGES_MAX = 256,
    AT_ONCE_MIN = 32, /* pages */
    MOVE_MIN = 24,    /* pages; to move fewer costs more than to make them anew */
    /* Where each run is a call: */
    GAP_MAX = 1,
    RUN_MIN = 6, /* pages; below, faulting is cheaper */
    PAGES_PER_READ = 512,
};
/* Of one memory; a guest whose working set lies above faults. */
#define SCAN_BYTES_MAX  (64 * MIB)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)
#define PAGEMAP_OURS    (UINT64_C(1) << 56) /* mapped by us alone: not the page of zeros */

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

/* PAGEMAP_SCAN of Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst); older headers lack it. */
typedef struct {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
        category_mask, category_anyof_mask, return_mask;
} scan_arg;
typedef struct {
    uint64_t start, end, categories;
} scan_region;
#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, scan_arg)
enum { SCAN_FILE = 1 << 2, SCAN_PRESENT = 1 << 3, SCAN_SWAPPED = 1 << 4, SCAN_ZERO = 1 << 5 };

/* Private: anonymous, present or swapped out, and not the page of zeros that a read maps. */
static int scan(int fd, uintptr_t from, uintptr_t end, scan_region *regions, uint32_t n,
                uintptr_t *ret_end)
{
    scan_arg a = {.size = sizeof a,
                  .start = from,
                  .end = end,
                  .vec = (uintptr_t)regions,
                  .vec_len = n,
                  .category_inverted = SCAN_FILE | SCAN_ZERO,
                  .category_mask = SCAN_FILE | SCAN_ZERO,
                  .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
                  .return_mask = SCAN_PRESENT | SCAN_SWAPPED};
    int got = ioctl(fd, PAGEMAP_SCAN_IOCTL, &a);
    *ret_end = a.walk_end;
    return got;
}

/* This process, if it may populate ranges of its memory at once. */
static int self_open(void)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct iovec none = {NULL, 0};
    if (fd < 0 || syscall(SYS_process_madvise, fd, &none, 1, MADV_POPULATE_WRITE, 0) == 0)
        return fd;
    close(fd);
    return -1;
}

void pages_one_by_one(engine *en)
{
    if (en->self_fd >= 0)
        close(en->self_fd);
    en->self_fd = -1;
}

/* --- moving ------------------------------------------------------------------------------- */

/* Is [at, at + n) part of one mapping? One that spans several can't be made larger by a page
 * (EFAULT); nor can any other here, because what follows is always mapped (ENOMEM). mremap(2) */
static bool is_one_mapping(uint8_t *at, size_t n)
{
    must(mremap(at, n, n + PAGE_BYTES, 0) == MAP_FAILED);
    return errno != EFAULT;
}

/* How much of [at, at + n) belongs to the mapping that `at` does; whole pages. */
static size_t mapping_size(uint8_t *at, size_t n)
{
    size_t known = 1, most = n >> PAGE_SHIFT;
    while (known < most) {
        size_t half = (known + most + 1) / 2;
        if (is_one_mapping(at, half << PAGE_SHIFT))
            known = half;
        else
            most = half - 1;
    }
    return known << PAGE_SHIFT;
}

/* The source stays mapped, without a page. False: the target may not be mapped any more. */
static bool mapping_move(uint8_t *from, uint8_t *to, size_t n)
{
    return mremap(from, n, n, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
}

bool pages_move(engine_module *m, uint8_t *from, uint8_t *to, size_t n)
{
    size_t at = 0;
    for (uint32_t i = 0; at < n; i++) {
        if (i == ENGINE_PIECES_MAX)
            return false;
        if (i >= m->pieces_count || m->pieces[i] > n - at ||
            !is_one_mapping(from + at, m->pieces[i])) {
            m->pieces[i] = mapping_size(from + at, n - at);
            m->pieces_count = i + 1;
        }
        /* It can only fail for want of kernel memory or mappings, and leaves a hole in the pool
         * then, which anything might be mapped into: nobody can go on here. */
        must(mapping_move(from + at, to + at, m->pieces[i]));
        at += m->pieces[i];
    }
    m->en->moves_count++;
    return true;
}

/* Mappings of files can be moved like that since Linux 5.13. */
static bool can_move(void)
{
    int fd = memfd_create("ebb", MFD_CLOEXEC);
    if (fd < 0)
        return false;
    uint8_t *p[2];
    for (int i = 0; i < 2; i++)
        p[i] = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    bool ok = p[0] != MAP_FAILED && p[1] != MAP_FAILED && !ftruncate(fd, PAGE_BYTES);
    if (ok) {
        p[0][0] = 1;
        ok = mapping_move(p[0], p[1], PAGE_BYTES) && !p[0][0] && p[1][0];
    }
    for (int i = 0; i < 2; i++)
        if (p[i] != MAP_FAILED)
            munmap(p[i], PAGE_BYTES);
    close(fd);
    return ok;
}

void pages_init(engine *en)
{
    en->pagemap_fd = en->self_fd = -1;
    en->moves = false;
    if (sysconf(_SC_PAGESIZE) != 1 << PAGE_SHIFT)
        return;
    en->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    scan_region region;
    uintptr_t here = (uintptr_t)en & ~(uintptr_t)((1 << PAGE_SHIFT) - 1), end;
    en->pagemap_scans = en->pagemap_fd >= 0 && /* the engine itself lies in a private page */
                        scan(en->pagemap_fd, here, here + (1 << PAGE_SHIFT), &region, 1, &end) == 1;
    en->self_fd = self_open();
    en->moves = can_move();
    en->faults_tell = prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0;
}

uint32_t engine_scans(const engine *en) { return en->scans_count; }
uint32_t engine_moves(const engine *en) { return en->moves_count; }
bool engine_populates_at_once(const engine *en) { return en->self_fd >= 0; }

/* Of this thread, which alone writes to guests' memory (engine.h); the kernel counts a fault that a
 * system call meets for the thread that made the call. RUSAGE_SELF would cost 0.3 us more. */
uint64_t pages_faults(void)
{
    struct rusage u;
    must(!getrusage(RUSAGE_THREAD, &u));
    return (uint64_t)u.ru_minflt + (uint64_t)u.ru_majflt;
}

void pages_fini(engine *en)
{
    if (en->pagemap_fd >= 0)
        close(en->pagemap_fd);
    pages_one_by_one(en);
}

static bool private_scan(int fd, const uint8_t *base, size_t size, page_run_fn f, void *user)
{
    scan_region regions[RANGES_MAX];
    uintptr_t at = (uintptr_t)base, end = at + size;
    while (at < end) {
        uintptr_t next;
        int n = scan(fd, at, end, regions, RANGES_MAX, &next);
        if (n < 0 || next <= at)
            return false;
        for (int i = 0; i < n; i++)
            if (!f(user, regions[i].start - (uintptr_t)base, regions[i].end - regions[i].start))
                return false;
        at = next;
    }
    return true;
}

/* Without the ioctl: an entry of 8 bytes for every page. */
static bool private_pagemap(int fd, const uint8_t *base, size_t size, page_run_fn f, void *user)
{
    uint64_t entries[PAGES_PER_READ];
    size_t first = (uintptr_t)base >> PAGE_SHIFT, count = size >> PAGE_SHIFT, run = 0, at = 0;
    while (at < count) {
        size_t want = count - at < PAGES_PER_READ ? count - at : PAGES_PER_READ;
        if (pread(fd, entries, want * 8, (off_t)((first + at) * 8)) != (ssize_t)(want * 8))
            return false;
        for (size_t i = 0; i < want; i++, at++) {
            uint64_t x = entries[i];
            bool is_private = !(x & PAGEMAP_FILE) &&
                              (x & PAGEMAP_SWAPPED || (x & PAGEMAP_PRESENT && x & PAGEMAP_OURS));
            if (is_private) {
                run++;
            } else if (run) {
                if (!f(user, (at - run) << PAGE_SHIFT, run << PAGE_SHIFT))
                    return false;
                run = 0;
            }
        }
    }
    return !run || f(user, (at - run) << PAGE_SHIFT, run << PAGE_SHIFT);
}

bool pages_private(engine *en, const uint8_t *base, size_t size, page_run_fn f, void *user)
{
    if (en->pagemap_fd < 0 || (uintptr_t)base & ((1 << PAGE_SHIFT) - 1))
        return false;
    en->scans_count++;
    return en->pagemap_scans ? private_scan(en->pagemap_fd, base, size, f, user)
                             : private_pagemap(en->pagemap_fd, base, size, f, user);
}

static bool set_add_run(void *user, size_t offset, size_t n)
{
    page_set *s = user;
    if (s->count < RANGES_MAX)
        s->ranges[s->count++] =
            (page_range){(uint32_t)(offset >> PAGE_SHIFT), (uint32_t)((offset + n) >> PAGE_SHIFT)};
    return true;
}

/* Pages in both, small gaps filled. */
static void set_intersect(const page_set *a, const page_set *b, uint32_t gap_max, page_set *ret)
{
    for (uint32_t i = 0, j = 0; i < a->count && j < b->count;) {
        uint32_t first =
            a->ranges[i].first > b->ranges[j].first ? a->ranges[i].first : b->ranges[j].first;
        uint32_t end = a->ranges[i].end < b->ranges[j].end ? a->ranges[i].end : b->ranges[j].end;
        if (first < end) {
            set_add(ret, first, gap_max);
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

static uint32_t set_pages(const page_set *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->ranges[i].end - s->ranges[i].first;
    return n;
}

bool pages_worth_moving(const engine_module *m)
{
    return m->en->moves && set_pages(&m->sample) >= MOVE_MIN;
}

static bool is_for_once(const engine *en, const page_set *s)
{
    return en->self_fd >= 0 && set_pages(s) >= AT_ONCE_MIN;
}

/* The pages in both that pay to be populated. */
static void set_work(const engine *en, const page_set *a, const page_set *b, page_set *ret)
{
    set_intersect(a, b, 0, ret);
    if (is_for_once(en, ret))
        return;
    ret->count = 0;
    set_intersect(a, b, GAP_MAX, ret);
    set_prune(ret);
}

void pages_sample(engine_module *m, const uint8_t *base, size_t size)
{
    if (!m->en->config.populate || !base)
        return;
    page_range scanned[RANGES_MAX];
    page_set now = {.ranges = scanned}, work;
    if (!pages_private(m->en, base, size < SCAN_BYTES_MAX ? size : SCAN_BYTES_MAX, set_add_run,
                       &now))
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
        set_work(m->en, &m->sample, &kept, &work);
        free(m->work.ranges);
        m->work = work;
    }
    free(m->sample.ranges);
    m->sample = kept;
}

void pages_populate(engine_module *m, uint8_t *base, size_t size)
{
    struct iovec ranges[RANGES_MAX];
    uint32_t pages = (uint32_t)(size >> PAGE_SHIFT), n = 0;
    for (uint32_t i = 0; i < m->work.count && m->work.ranges[i].first < pages; i++) {
        page_range r = m->work.ranges[i];
        if (r.end > pages)
            r.end = pages;
        ranges[n++] = (struct iovec){base + ((size_t)r.first << PAGE_SHIFT),
                                     (size_t)(r.end - r.first) << PAGE_SHIFT};
    }
    bool ok = true;
    if (is_for_once(m->en, &m->work))
        ok = !n ||
             syscall(SYS_process_madvise, m->en->self_fd, ranges, n, MADV_POPULATE_WRITE, 0) > 0;
    else
        for (uint32_t i = 0; ok && i < n; i++)
            ok = !madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_POPULATE_WRITE);
    if (!ok)
        m->work.count = 0; /* no such advice here, or no memory: let it fault */
}
