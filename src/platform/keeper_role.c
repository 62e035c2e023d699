/* The keeper process: fd 3 its control socket, fd 4 its settings, fd 5 the admin socket, if there
 * is one. See keeper.h for what it is for; keeper_book.c keeps the books, keeper_admin.c answers.
 *
 * It ends when its control socket closes and no worker is connected any more, like the store
 * process. Kill it at any time: the supervisor starts another, which measures every process from
 * the start of its life again; what a killed keeper had been told and had not committed is
 * nothing, because every report is committed when it comes. What it no longer knows is how much of
 * a running worker's CPU was booked before: a worker's next report says only what is new. */
#include "platform/role.h"

#include "app/zone.h"
#include "base/clock.h"
#include "base/limits.h"
#include "platform/calls_message.h"
#include "platform/keeper_api.h"
#include "platform/keeper_calls.h"
#include "platform/keeper_crons.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"
#include "store/client.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CONTROL = 3, FD_CONFIG = 4, FD_ADMIN = 5, FD_ADMIN_TCP = 6 };
#define DAY_S 86400

int64_t keeper_now_s(void) { return (int64_t)(clock_wall() / NS_PER_S); }

/* Busy time of all of the machine's CPUs since it started; 0: unknown. */
static uint64_t machine_busy_ns(void)
{
    unsigned long long user, nice, system, idle, iowait, irq, softirq;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    int n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                   &iowait, &irq, &softirq);
    fclose(f);
    uint64_t tick = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
    return n == 7 ? (user + nice + system + irq + softirq) * tick : 0;
}

static void complain(const char *what, const err *e)
{
    log_msg(LOG_ERROR, "%s: %s", what, e->text);
}

static bool flush_log(void *user)
{
    log_flush();
    return false;
}

/* --- workers' reports ------------------------------------------------------------------------- */

static bool energy_add(keeper *k, uint64_t busy_ns, err *e)
{
    double joules;
    bill_power p;
    int64_t now = keeper_now_s();
    if (node_power_day(&k->node_power, now, &p)) {
        log_msg(LOG_INFO, "power of this node: %s", node_power_says(&k->node_power));
        if (!usage_file_power(k->file, &p, e))
            return false;
    }
    return !node_power_read(&k->node_power, now, busy_ns, &joules) ||
           usage_file_energy(k->file, now, joules, e);
}

static bool report_enter(keeper *k, int pid, const meter_report *r, const meter_row *rows, err *e)
{
    uint64_t kernel = clock_process_cpu_of(pid);
    if (!book_report(&k->book, pid, r, rows, kernel, e))
        return false;
    if (!r->last || k->book.sampled_window_s == r->window_s)
        return true;
    if (k->leaving) /* the machine is measured by the next one */
        return book_sample(&k->book, r->window_s, 0, e);
    uint64_t busy_ns = machine_busy_ns();
    return book_sample(&k->book, r->window_s, busy_ns, e) && energy_add(k, busy_ns, e);
}

/* Once a day of use, windows that nobody looks at by the second any more become hours. */
static void compact(keeper *k)
{
    err e;
    int64_t before = keeper_now_s() - USAGE_FINE_DAYS * DAY_S;
    if (before - k->compacted_s < DAY_S)
        return;
    k->compacted_s = before;
    if (!usage_file_compact(k->file, before, &e))
        complain("old usage records stay as they are", &e);
}

static void answer_if_all(keeper *k)
{
    bool waiting = k->grid_asked;
    for (worker_link *w = k->workers; w; w = w->next)
        waiting |= w->asked;
    if (waiting)
        return;
    loop_timer_stop(&k->patience);
    keeper_answer_all(k);
}

static void on_report(void *user, bytes message, int fd)
{
    static meter_row rows[METER_ROWS_PER_MESSAGE];
    worker_link *w = user;
    keeper *k = w->k;
    meter_report r;
    err e;
    if (fd >= 0)
        close(fd);
    bool ok = meter_report_read(message, &r, rows, &e) && usage_file_begin(k->file, &e);
    if (ok && !(report_enter(k, w->pid, &r, rows, &e) && usage_file_commit(k->file, &e))) {
        usage_file_rollback(k->file);
        ok = false;
    }
    if (!ok) {
        complain("a worker's report is lost", &e);
        return;
    }
    if (!r.last)
        return;
    w->asked = false;
    compact(k);
    k->grid_asked |= keeper_grid_ask(k->grid, keeper_now_s());
    answer_if_all(k);
}

void keeper_stop_if_unused(void *user)
{
    keeper *k = user;
    bool asked = (k->directory && keeper_directory_workers(k->directory)) ||
                 (k->calls && keeper_calls_workers(k->calls));
    if (!k->control && !k->workers && !asked && !k->doors)
        loop_stop(k->l);
}

static void on_worker_end(void *user)
{
    worker_link *w = user;
    keeper *k = w->k;
    worker_link **at = &k->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    channel_close(w->channel);
    free(w);
    answer_if_all(k);
    keeper_stop_if_unused(k);
}

static void worker_add(keeper *k, int pid, int fd)
{
    static const channel_callbacks callbacks = {on_report, on_worker_end};
    err e;
    worker_link *w = calloc(1, sizeof *w);
    if (!w) {
        close(fd);
        return;
    }
    *w = (worker_link){.next = k->workers, .k = k, .pid = pid};
    if (!channel_open_take(k->l, fd, &callbacks, w, &w->channel, &e)) {
        complain("a worker's use goes unmetered", &e);
        free(w);
        return;
    }
    k->workers = w;
    keeper_traces_give(k, w);
}

static void on_grid(void *user)
{
    keeper *k = user;
    k->grid_asked = false;
    answer_if_all(k);
    keeper_calls_forecast(k->calls);
}

bool keeper_ask_all(keeper *k)
{
    bool any = k->grid_asked |= keeper_grid_ask(k->grid, keeper_now_s());
    for (worker_link *w = k->workers; w; w = w->next) {
        err e;
        w->asked = w->asked || channel_send(w->channel, (bytes){(const uint8_t *)"f", 1}, -1, &e);
        any |= w->asked;
    }
    return !any;
}

/* --- the supervisor --------------------------------------------------------------------------- */

static void on_died(keeper *k, const keeper_note *n)
{
    uint64_t untold;
    err e;
    int64_t now = keeper_now_s();
    if (!book_died(&k->book, n->pid, now - now % LEDGER_WINDOW_S, n->cpu_ns, &untold, &e))
        complain("the use of a process that ended is lost", &e);
    else if (n->pid && untold > 10 * NS_PER_MS)
        log_msg(LOG_WARN, "%.16s %u ended with %.3f s of CPU untold: booked to the platform",
                n->role, n->index, (double)untold / 1e9);
}

static void counters_add(keeper *k, int fd)
{
    err e;
    bool room = k->counters_count < COUNTERS_AREAS_MAX;
    if (room && counters_map(fd, false, &k->counters[k->counters_count], &e))
        k->counters_count++;
    else if (room)
        complain("what a worker's tenants use now is not shown", &e);
    close(fd);
}

static void on_note(void *user, bytes message, int fd)
{
    keeper *k = user;
    keeper_note n;
    if (message.n != sizeof n) {
        if (fd >= 0)
            close(fd);
        return;
    }
    memcpy(&n, message.p, sizeof n);
    n.role[sizeof n.role - 1] = 0;
    if (n.kind == KEEPER_LEAVE) {
        keeper_leave(k);
        return;
    }
    if (n.kind == KEEPER_STORE && fd >= 0 && k->store) {
        store_client_connect_take(k->store, fd);
        keeper_calls_look(k->calls);
        return;
    }
    if (n.kind == KEEPER_CALLS && fd >= 0 && k->calls) {
        keeper_calls_add_take(k->calls, fd);
        return;
    }
    if (n.kind == KEEPER_COUNTERS && fd >= 0) {
        counters_add(k, fd);
        return;
    }
    if (n.kind == KEEPER_DIRECTORY && fd >= 0 && k->directory) {
        keeper_directory_add_take(k->directory, fd);
        return;
    }
    if (n.kind == KEEPER_DIED)
        on_died(k, &n);
    else if (!book_process_add(&k->book, n.pid, n.role, n.index, n.kind == KEEPER_WORKER, n.known))
        log_msg(LOG_ERROR, "more than %d processes: %s %u goes unmetered", BOOK_PROCESSES_MAX,
                n.role, n.index);
    if (n.kind == KEEPER_WORKER && fd >= 0)
        worker_add(k, n.pid, fd);
    else if (fd >= 0)
        close(fd);
}

static void on_control_end(void *user)
{
    keeper *k = user;
    channel_close(k->control);
    k->control = NULL;
    if (k->admin && !k->leaving)
        http_server_drain(k->admin, NULL, NULL);
    if (k->admin_tcp && !k->leaving)
        http_server_drain(k->admin_tcp, NULL, NULL);
    keeper_stop_if_unused(k);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static bool config_read(keeper *k, err *e)
{
    struct stat st;
    if (fstat(FD_CONFIG, &st) < 0)
        return err_set_errno(e, "settings");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "settings");
    bool ok = keeper_config_read(&k->a, (bytes){p, (size_t)st.st_size}, &k->config, e);
    munmap(p, (size_t)st.st_size);
    close(FD_CONFIG);
    if (ok)
        log_init(STDERR_FILENO, k->config.log_format, "keeper");
    return ok;
}

static bool files_restrict(keeper *k, err *e)
{
    bool enforced;
    sandbox_path paths[6] = {{S("/proc"), false}, {S(ZONE_DIR), false}};
    size_t n = 2;
    str dir = str_head(k->config.usage_path, str_rfind(k->config.usage_path, '/'));
    if (dir.n)
        paths[n++] = (sandbox_path){arena_str(&k->a, dir), true};
    if (k->config.grid.file.n)
        paths[n++] = (sandbox_path){k->config.grid.file, false};
    if (k->config.data_dir.n)
        paths[n++] = (sandbox_path){k->config.data_dir, true};
    return sandbox_files(paths, n, &enforced, e);
}

static bool records_open(keeper *k, err *e)
{
    const char *path = k->config.usage_path.n ? k->config.usage_path.p : NULL;
    if (usage_file_open(path, &k->file, e))
        return true;
    if (!path)
        return false;
    complain("usage is kept in memory only", e);
    return usage_file_open(NULL, &k->file, e);
}

static bool power_open(keeper *k, err *e)
{
    bill_power last;
    bool known = usage_file_power_last(k->file, &last);
    str folder = k->config.grid.powercap.n ? k->config.grid.powercap : S(POWERCAP);
    const char *root = arena_cstr(&k->a, folder);
    if (!root)
        return err_no_memory(e);
    node_power_open(&k->node_power, root, &k->power, known ? &last : NULL, keeper_now_s());
    k->power.source = k->node_power.model.source;
    if (k->power.source == POWER_RAPL)
        log_msg(LOG_INFO, "power of this node: %s", node_power_says(&k->node_power));
    if (k->node_power.rapl.world_readable)
        log_msg(LOG_WARN,
                "every user of this machine can read its energy counters, and through "
                "them what others compute (CVE-2020-8694): chmod 0400 %s/*/energy_uj",
                root);
    return true;
}

static bool deferral_open(keeper *k, err *e)
{
    if (!store_client_new(k->l, &k->store, e) || !keeper_calls_new(k, &k->calls, e))
        return false;
    k->crons = keeper_crons_new(k);
    if (!k->crons)
        return err_no_memory(e);
    const calls_owner only = {.tenant = CALLS_ONLY_TENANT, .app = CALLS_ONLY_APP};
    if (k->config.app.n)
        keeper_crons_set(k->crons, CALLS_ONLY_APP, &only, S("localhost"), k->config.app);
    return true;
}

static bool set_up(keeper *k, err *e)
{
    static const channel_callbacks callbacks = {on_note, on_control_end};
    loop_hook *hook;
    bool with_admin = fcntl(FD_ADMIN, F_GETFD) >= 0, with_tcp = false;
    if (!config_read(k, e) || !grid_power(&k->config.grid, &k->power, e))
        return false;
    bool serves = k->config.serve.fingerprint.n > 0;
    if (!loop_new(&k->l, e) || !loop_hook_add(k->l, flush_log, NULL, &hook, e) ||
        !records_open(k, e) || !power_open(k, e) ||
        !keeper_grid_new(k->l, &k->config.grid, k->file, on_grid, k, &k->grid, e) ||
        !keeper_traces_begin(k, e) || (k->config.data_dir.n && !serve_begin(k, e)) ||
        !files_restrict(k, e) || !sandbox_enter(SANDBOX_STORE, e))
        return false;
    book_init(&k->book, k->file, k->config.apps, k->config.apps_count);
    book_process_add(&k->book, getpid(), "keeper", 0, false, false);
    http_server_config hc = {0};
    if (serves)
        with_tcp = fcntl(FD_ADMIN_TCP, F_GETFD) >= 0;
    if (k->config.workers && !deferral_open(k, e))
        return false;
    if (!k->config.data_dir.n)
        keeper_crons_sweep(k);
    if (serves && !serve_open(k, with_admin ? FD_ADMIN : -1, with_tcp ? FD_ADMIN_TCP : -1, e))
        return false;
    if (!serves && with_admin &&
        (!(k->admin = http_server_new(k->l, &hc, keeper_on_request, k)) ||
         !http_server_listen(k->admin, FD_ADMIN, e)))
        return false;
    return channel_open_take(k->l, FD_CONTROL, &callbacks, k, &k->control, e);
}

int role_keeper(int argc, char **argv)
{
    static keeper k;
    err e;
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    log_init(STDERR_FILENO, LOG_TEXT, "keeper");
    arena_init(&k.a, 64 * MIB);
    bool ok = set_up(&k, &e) && loop_run(k.l, &e);
    if (!ok)
        log_msg(LOG_ERROR, "the keeper cannot run: %s", e.text);
    http_server_free(k.admin);
    http_server_free(k.admin_tcp);
    keeper_crons_free(k.crons);
    keeper_calls_free(k.calls);
    serve_close(&k);
    keeper_directory_free(k.directory);
    keeper_grid_free(k.grid);
    store_client_free(k.store);
    usage_file_close(k.file);
    log_flush();
    return ok ? 0 : 1;
}
