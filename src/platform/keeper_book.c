/* See keeper_book.h. All processes but workers are measured by their CPU clocks, whenever a
 * worker's report shows that time has passed; so nothing of ebb's own use is derived as a
 * remainder. */
#include "platform/keeper_book.h"

#include "base/clock.h"

#include <stdio.h>

enum { BOOK_NAME_BYTES = 48 };

void book_init(book *b, usage_file *f, const str *apps, size_t count)
{
    *b = (book){.file = f, .apps = apps, .apps_count = count};
}

static book_process *process_of(book *b, int pid)
{
    for (size_t i = 0; i < BOOK_PROCESSES_MAX; i++)
        if (b->all[i].pid == pid)
            return &b->all[i];
    return NULL;
}

bool book_process_add(book *b, int pid, const char *role, unsigned index, bool reports, bool known)
{
    book_process *p = process_of(b, pid);
    if (p)
        return true; /* a new channel of one we know */
    p = process_of(b, 0);
    if (!p)
        return false;
    *p = (book_process){.pid = pid, .reports = reports, .joined = known && reports};
    if (known && !reports)
        p->kernel_ns = p->booked_ns = clock_process_cpu_of(pid);
    if (reports)
        snprintf(p->name, sizeof p->name, "%.16s %u", role, index);
    else
        snprintf(p->name, sizeof p->name, "%.16s", role);
    return true;
}

static bool platform_add(book *b, int64_t window_s, uint64_t cpu_ns, err *e)
{
    ledger_usage u = {.cpu_ns = cpu_ns};
    return cpu_ns == 0 || usage_file_add(b->file, window_s, USAGE_PLATFORM, &u, e);
}

/* What the records call it. Apps of the catalogue have numbers that never come again, and names
 * that change: "<app>/<component>". */
static str name_of(const book *b, const meter_row *r, char place[BOOK_NAME_BYTES])
{
    if (!r->app)
        return b->apps[r->component];
    int n = snprintf(place, BOOK_NAME_BYTES, "%llu/%llu", (unsigned long long)r->app,
                     (unsigned long long)r->component);
    return (str){place, (size_t)n};
}

bool book_deferred(book *b, uint64_t app, uint64_t component, int64_t accepted_s, int64_t ran_s,
                   double energy_j, err *e)
{
    meter_row r = {.app = app, .component = component};
    char place[BOOK_NAME_BYTES];
    if (!app && component >= b->apps_count)
        return err_set(e, ERR_INVALID, "a deferred call of component %llu of %zu",
                       (unsigned long long)component, b->apps_count);
    return usage_file_deferred(b->file, name_of(b, &r, place), accepted_s, ran_s, energy_j, e);
}

bool book_report(book *b, int pid, const meter_report *r, const meter_row *rows, uint64_t kernel_ns,
                 err *e)
{
    book_process *p = process_of(b, pid);
    uint64_t booked = r->platform_ns;
    if (!pid || !p)
        return err_set(e, ERR_NOT_FOUND, "a report of process %d, which nobody announced", pid);
    for (uint32_t i = 0; i < r->rows_count; i++)
        if (!rows[i].app && rows[i].component >= b->apps_count)
            return err_set(e, ERR_INVALID, "%s reports component %llu of %zu", p->name,
                           (unsigned long long)rows[i].component, b->apps_count);
    for (uint32_t i = 0; i < r->rows_count; i++) {
        booked += rows[i].u.cpu_ns;
        char place[BOOK_NAME_BYTES];
        if (!usage_file_add(b->file, r->window_s, name_of(b, &rows[i], place), &rows[i].u, e))
            return false;
    }
    if (!platform_add(b, r->window_s, r->platform_ns, e))
        return false;
    if (p->joined && r->last) {
        p->kernel_ns = kernel_ns - booked;
        p->joined = false;
    }
    uint64_t kernel = r->last && kernel_ns > p->kernel_ns ? kernel_ns - p->kernel_ns : 0;
    p->booked_ns += booked;
    p->kernel_ns += kernel;
    return usage_file_check(b->file, r->window_s, str_from(p->name), booked, kernel, e);
}

/* What the machine did outside of ebb, as far as /proc/stat's ticks tell. */
static bool machine_add(book *b, int64_t window_s, uint64_t machine_ns, err *e)
{
    uint64_t ours = 0;
    for (size_t i = 0; i < BOOK_PROCESSES_MAX; i++)
        ours += b->all[i].pid ? b->all[i].kernel_ns : 0;
    uint64_t machine = machine_ns - b->machine_ns, mine = ours - b->ours_ns;
    bool known = b->machine_ns && machine_ns > b->machine_ns && ours >= b->ours_ns;
    ledger_usage u = {.cpu_ns = known && machine > mine ? machine - mine : 0};
    b->machine_ns = machine_ns;
    b->ours_ns = ours;
    return !u.cpu_ns || usage_file_add(b->file, window_s, USAGE_OTHER, &u, e);
}

bool book_sample(book *b, int64_t window_s, uint64_t machine_ns, err *e)
{
    for (size_t i = 0; i < BOOK_PROCESSES_MAX; i++) {
        book_process *p = &b->all[i];
        if (!p->pid || p->reports)
            continue;
        uint64_t now = clock_process_cpu_of(p->pid);
        if (now <= p->kernel_ns)
            continue;
        uint64_t used = now - p->kernel_ns;
        p->kernel_ns = p->booked_ns = now;
        if (!platform_add(b, window_s, used, e) ||
            !usage_file_check(b->file, window_s, str_from(p->name), used, used, e))
            return false;
    }
    b->sampled_window_s = window_s;
    return machine_add(b, window_s, machine_ns, e);
}

bool book_died(book *b, int pid, int64_t window_s, uint64_t cpu_ns, uint64_t *ret_untold_ns, err *e)
{
    book_process *p = pid ? process_of(b, pid) : NULL;
    uint64_t booked = p ? p->booked_ns : 0;
    *ret_untold_ns = cpu_ns > booked ? cpu_ns - booked : 0;
    if (p) {
        b->ours_ns -= b->ours_ns > p->kernel_ns ? p->kernel_ns : b->ours_ns;
        p->pid = 0;
    }
    return platform_add(b, window_s, *ret_untold_ns, e);
}
