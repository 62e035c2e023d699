/* See sql_memory.h: malloc with a head before each block. SQLite's own limits are for the whole
 * process (sqlite3_hard_heap_limit64) and its statistics (which they need) take a lock for each
 * allocation; both are off. */
#include "store/sql_memory.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

struct sql_account {
    atomic_size_t bytes;
    atomic_size_t refs; /* blocks, and one until it is given up */
    size_t bytes_max;
};

typedef struct {
    sql_account *a;
    size_t n;
} head;

_Static_assert(sizeof(head) == 16, "blocks stay aligned");

static _Thread_local sql_account *current;

sql_account *sql_account_new(size_t bytes_max)
{
    sql_account *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->bytes_max = bytes_max;
    atomic_store(&a->refs, 1);
    return a;
}

static void unref(sql_account *a)
{
    if (atomic_fetch_sub(&a->refs, 1) == 1)
        free(a);
}

void sql_account_give_up(sql_account *a)
{
    if (a)
        unref(a);
}

sql_account *sql_account_use(sql_account *a)
{
    sql_account *before = current;
    current = a;
    return before;
}

size_t sql_account_bytes(const sql_account *a) { return atomic_load(&a->bytes); }

/* False: it would be too much, nothing is charged. */
static bool charge(sql_account *a, size_t n)
{
    if (!a)
        return true;
    if (atomic_fetch_add(&a->bytes, n) + n <= a->bytes_max)
        return true;
    atomic_fetch_sub(&a->bytes, n);
    return false;
}

static void uncharge(sql_account *a, size_t n)
{
    if (a)
        atomic_fetch_sub(&a->bytes, n);
}

static void *memory_malloc(int wanted)
{
    size_t n = (size_t)wanted;
    sql_account *a = current;
    if (!charge(a, n))
        return NULL;
    head *h = malloc(sizeof *h + n);
    if (!h) {
        uncharge(a, n);
        return NULL;
    }
    *h = (head){a, n};
    if (a)
        atomic_fetch_add(&a->refs, 1);
    return h + 1;
}

static void memory_free(void *p)
{
    if (!p)
        return;
    head *h = (head *)p - 1;
    sql_account *a = h->a;
    uncharge(a, h->n);
    free(h);
    if (a)
        unref(a);
}

static void *memory_realloc(void *p, int wanted)
{
    head *h = (head *)p - 1;
    size_t n = (size_t)wanted, before = h->n;
    sql_account *a = h->a;
    if (n > before && !charge(a, n - before))
        return NULL;
    head *grown = realloc(h, sizeof *h + n);
    if (!grown) {
        if (n > before)
            uncharge(a, n - before);
        return NULL;
    }
    if (n < before)
        uncharge(a, before - n);
    grown->n = n;
    return grown + 1;
}

static int memory_size(void *p) { return p ? (int)((head *)p - 1)->n : 0; }

static int memory_roundup(int n) { return (n + 7) & ~7; }

static int memory_begin(void *unused) { return SQLITE_OK; }

static void memory_end(void *unused) {}

bool sql_memory_init(err *e)
{
    static const sqlite3_mem_methods methods = {
        memory_malloc,  memory_free,  memory_realloc, memory_size,
        memory_roundup, memory_begin, memory_end,     NULL};
    static bool done;
    if (done)
        return true;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK ||
        sqlite3_initialize() != SQLITE_OK)
        return err_set(e, ERR_INTERNAL, "SQLite cannot be set up");
    done = true;
    return true;
}
