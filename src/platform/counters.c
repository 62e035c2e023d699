/* See counters.h. Keys of a set share a cache line, rows follow. The pages of tenants that a worker
 * never served are never touched, and so take no memory. */
#include "platform/counters.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    _Atomic uint64_t key[COUNTERS_WAYS]; /* tenant; 0: free */
    counters_row row[COUNTERS_WAYS];
} set;

struct counters_area {
    set sets[COUNTERS_SETS];
};

bool counters_make(int *ret_fd, err *e)
{
    int fd = memfd_create("ebb-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_set_errno(e, "shared counters");
    /* A reader of a file that shrinks would be killed. */
    if (ftruncate(fd, sizeof(counters_area)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        err_set_errno(e, "shared counters");
        close(fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

bool counters_read_only(int fd, int *ret_fd, err *e)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
    return *ret_fd >= 0 || err_set_errno(e, "shared counters");
}

void counters_empty(int fd)
{
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof(counters_area));
}

bool counters_map(int fd, bool writing, counters_area **ret, err *e)
{
    void *p = mmap(NULL, sizeof(counters_area), writing ? PROT_READ | PROT_WRITE : PROT_READ,
                   MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "shared counters");
    *ret = p;
    return true;
}

/* Neighbours in number are in one set: its page is used whole. */
static set *set_of(counters_area *a, uint64_t tenant)
{
    return &a->sets[tenant / COUNTERS_WAYS % COUNTERS_SETS];
}

counters_row *counters_find(counters_area *a, uint64_t tenant)
{
    set *s = set_of(a, tenant);
    for (unsigned n = 0; n < COUNTERS_WAYS; n++) {
        unsigned i = (unsigned)(tenant + n) % COUNTERS_WAYS;
        if (atomic_load_explicit(&s->key[i], memory_order_acquire) == tenant)
            return &s->row[i];
    }
    return NULL;
}

static bool is_unused(const counters_row *r)
{
    for (int k = 0; k < COUNT_GAUGES; k++)
        if (count_get(r, (counter)k))
            return false;
    return true;
}

/* Nobody finds the row while it is cleared. */
static counters_row *row_give(set *s, unsigned i, uint64_t tenant)
{
    atomic_store_explicit(&s->key[i], 0, memory_order_release);
    for (int k = 0; k < COUNTERS; k++)
        count_set(&s->row[i], (counter)k, 0);
    atomic_store_explicit(&s->key[i], tenant, memory_order_release);
    return &s->row[i];
}

counters_row *counters_take(counters_area *own, uint64_t tenant)
{
    set *s = set_of(own, tenant);
    counters_row *r = counters_find(own, tenant);
    for (unsigned n = 0; !r && n < COUNTERS_WAYS; n++) {
        unsigned i = (unsigned)(tenant + n) % COUNTERS_WAYS;
        if (!atomic_load_explicit(&s->key[i], memory_order_relaxed))
            r = row_give(s, i, tenant);
    }
    for (unsigned i = 0; !r && i < COUNTERS_WAYS; i++)
        if (is_unused(&s->row[i]))
            r = row_give(s, i, tenant);
    return r;
}
