/* See meter.h. Cost of a slice: three additions. Cost of a turn: a system call.
 *
 * A window ends at a multiple of ten seconds of wall time, so that the windows of all workers are
 * the same. The turn's monotonic time decides whether it has ended; the wall clock is read once a
 * window. A step of the wall clock moves where the next window lies and loses nothing.
 *
 * The platform's part of a worker is what its calls' slices leave of the process's CPU time:
 * parsing, answering, logging, the resolver's thread. Slices are measured by the monotonic clock,
 * which goes on when the kernel runs somebody else instead of us. How long that was, the thread's
 * CPU clock tells, but reading it is a system call, for which most slices are too short. So it is
 * read at marks: before a slice that is likely to be long, at the end of one that was, when short
 * ones sum to a long one, and at the end of a turn. What was lost between two marks is taken from
 * the slice that just ended, as far as it must or may have been lost there (carbon/ledger.h,
 * meter_lost). The remainder is the platform's if it is long: a short slice in which it was lost
 * would have looked like a long one. Else it is taken from the short slices by their part of the
 * time, when the window closes. */
#include "platform/meter.h"

#include "loop/channel.h"

#include <stdlib.h>
#include <unistd.h>

#define LONG_SLICE (200 * NS_PER_US)

typedef struct {
    ledger_usage use; /* of the open window; cpu_ns: of long slices */
    uint64_t brief;   /* short slices, as measured */
    uint64_t app;
    uint32_t component;
    bool touched, closing;
    size_t next_free;
} row;

struct meter {
    loop *l;
    loop_hook *hook;
    void (*take_socket)(void *user, int fd); /* NULL: nobody wants one */
    void *take_user;
    channel *keeper; /* NULL: nobody listens; use adds up until somebody does */
    row *rows;
    size_t rows_count, rows_size;
    size_t free;                         /* the first row of none, + 1; 0: there is none */
    ns mark_awake, mark_thread;          /* the clocks at the last mark */
    ns brief_now, brief_sum, brief_lost; /* short slices since the mark, in the window; not run */
    uint32_t *touched;                   /* rows with any use */
    uint64_t *cpu;                       /* scratch for scaling, by touched row */
    size_t touched_count;
    bool open; /* something was used in this window */
    ns ends;   /* monotonic */
    int64_t window_s;
    uint64_t process_ns, thread_ns; /* as told before */
};

static bool on_turn(void *user);

bool meter_new(loop *l, meter **ret, err *e)
{
    meter *m = calloc(1, sizeof *m);
    if (!m)
        return err_no_memory(e);
    m->l = l;
    *ret = m;
    return true;
}

static bool rows_grow(meter *m)
{
    size_t size = m->rows_size ? 2 * m->rows_size : 16;
    row *rows = realloc(m->rows, size * sizeof *rows);
    if (rows)
        m->rows = rows;
    uint32_t *touched = realloc(m->touched, size * sizeof *touched);
    if (touched)
        m->touched = touched;
    uint64_t *cpu = realloc(m->cpu, size * sizeof *cpu);
    if (cpu)
        m->cpu = cpu;
    if (!rows || !touched || !cpu)
        return false;
    m->rows_size = size;
    return true;
}

bool meter_row_open(meter *m, uint64_t app, uint32_t component, size_t *ret, err *e)
{
    *ret = 0;
    if (!m)
        return true;
    size_t at = m->free ? m->free - 1 : m->rows_count;
    if (m->free)
        m->free = m->rows[at].next_free;
    else if (m->rows_count == m->rows_size && !rows_grow(m))
        return err_no_memory(e);
    else
        m->rows_count++;
    m->rows[at] = (row){.app = app, .component = component};
    *ret = at;
    return true;
}

static void row_release(meter *m, size_t at)
{
    m->rows[at].next_free = m->free;
    m->free = at + 1;
}

void meter_row_close(meter *m, size_t at)
{
    if (!m)
        return;
    if (m->rows[at].touched)
        m->rows[at].closing = true;
    else
        row_release(m, at);
}

/* Opens the window if nothing is in it yet. */
static void row_touch(meter *m, size_t at)
{
    if (!m->open) {
        const ns window = LEDGER_WINDOW_S * NS_PER_S;
        ns wall = clock_wall(), into = wall % window;
        m->window_s = (int64_t)((wall - into) / NS_PER_S);
        m->ends = clock_mono() + window - into;
        m->open = true;
    }
    if (!m->rows[at].touched) {
        m->rows[at].touched = true;
        m->touched[m->touched_count++] = (uint32_t)at;
    }
}

/* Reads the clocks; a slice that took `cpu` by the monotonic clock ends here (0: none). Returns
 * what it really ran. */
static ns mark(meter *m, ns cpu)
{
    ns awake_end = loop_awake(m->l), thread_end = clock_thread_cpu();
    ns awake = awake_end - m->mark_awake, ran = thread_end - m->mark_thread;
    ns lost = awake > ran ? awake - ran : 0, rest = awake > cpu ? awake - cpu : 0;
    ns of_slice = meter_lost(cpu, rest, lost);
    lost -= of_slice;
    if (lost < LONG_SLICE && rest)
        m->brief_lost += (ns)((double)lost * (double)m->brief_now / (double)rest);
    m->mark_awake = awake_end;
    m->mark_thread = thread_end;
    m->brief_now = 0;
    return cpu - of_slice;
}

ns meter_slice(meter *m, size_t at, ns cpu)
{
    if (!m)
        return cpu;
    row_touch(m, at);
    if (cpu >= LONG_SLICE) {
        ns ran = mark(m, cpu);
        m->rows[at].use.cpu_ns += ran;
        return ran;
    }
    m->rows[at].brief += cpu;
    m->brief_now += cpu;
    m->brief_sum += cpu;
    if (m->brief_now >= LONG_SLICE)
        mark(m, 0);
    return cpu;
}

void meter_slice_begins(meter *m)
{
    if (m)
        mark(m, 0);
}

void meter_call(meter *m, size_t at, const ledger_usage *u)
{
    if (!m)
        return;
    ledger_usage *sum = &m->rows[at].use;
    row_touch(m, at);
    sum->calls += u->calls;
    sum->wall_ns += u->wall_ns;
    sum->bytes_in += u->bytes_in;
    sum->bytes_out += u->bytes_out;
    if (u->memory_peak_bytes > sum->memory_peak_bytes)
        sum->memory_peak_bytes = u->memory_peak_bytes;
}

/* --- telling the keeper ----------------------------------------------------------------------- */

typedef struct {
    meter_report head;
    meter_row rows[METER_ROWS_PER_MESSAGE];
} message;
_Static_assert(sizeof(message) <= CHANNEL_MESSAGE_BYTES_MAX, "a full report fits a message");

static void window_forget(meter *m)
{
    for (size_t i = 0; i < m->touched_count; i++) {
        row *r = &m->rows[m->touched[i]];
        bool closing = r->closing;
        *r = (row){.app = r->app, .component = r->component};
        if (closing)
            row_release(m, m->touched[i]);
    }
    m->touched_count = 0;
    m->brief_sum = m->brief_lost = 0;
    m->open = false;
}

/* Slices as measured become CPU as the kernel saw it. Returns the platform's part. */
static uint64_t window_scale(meter *m, uint64_t thread_ns, uint64_t process_ns)
{
    double ran =
        m->brief_lost < m->brief_sum ? 1 - (double)m->brief_lost / (double)m->brief_sum : 0;
    for (size_t i = 0; i < m->touched_count; i++) {
        row *r = &m->rows[m->touched[i]];
        m->cpu[i] = r->use.cpu_ns + (uint64_t)((double)r->brief * ran);
        r->brief = 0;
    }
    uint64_t others = process_ns > thread_ns ? process_ns - thread_ns : 0;
    uint64_t rest = meter_scale(m->cpu, m->touched_count, thread_ns);
    for (size_t i = 0; i < m->touched_count; i++)
        m->rows[m->touched[i]].use.cpu_ns = m->cpu[i];
    return rest + others;
}

static bool send_report(meter *m, const meter_report *head)
{
    static message out;
    err e;
    size_t sent = 0;
    do {
        size_t n = m->touched_count - sent;
        if (n > METER_ROWS_PER_MESSAGE)
            n = METER_ROWS_PER_MESSAGE;
        out.head = *head;
        out.head.rows_count = (uint32_t)n;
        out.head.platform_ns = sent ? 0 : head->platform_ns;
        for (size_t i = 0; i < n; i++) {
            const row *r = &m->rows[m->touched[sent + i]];
            out.rows[i] = (meter_row){r->app, r->component, r->use};
        }
        sent += n;
        out.head.last = sent == m->touched_count;
        bytes whole = {(const uint8_t *)&out, sizeof out.head + n * sizeof *out.rows};
        if (!channel_send(m->keeper, whole, -1, &e))
            return false;
    } while (sent < m->touched_count);
    return true;
}

/* What cannot be sent stays and goes with the next report: nothing is lost while we live. */
static void report(meter *m)
{
    if (!m->keeper)
        return;
    mark(m, 0);
    uint64_t process_ns = clock_process_cpu(), thread_ns = m->mark_thread;
    if (!m->open) {
        ns wall = clock_wall();
        m->window_s = (int64_t)(wall / NS_PER_S / LEDGER_WINDOW_S * LEDGER_WINDOW_S);
    }
    meter_report head = {.window_s = m->window_s, .kernel_ns = process_ns};
    head.platform_ns = window_scale(m, thread_ns - m->thread_ns, process_ns - m->process_ns);
    if (!send_report(m, &head)) {
        channel_close(m->keeper);
        m->keeper = NULL;
        m->ends = 0;
        return;
    }
    m->process_ns = process_ns;
    m->thread_ns = thread_ns;
    window_forget(m);
}

static bool on_turn(void *user)
{
    meter *m = user;
    if (m->open && m->keeper && loop_now(m->l) >= m->ends)
        report(m);
    else
        mark(m, 0);
    return false;
}

static void on_message(void *user, bytes asked, int fd)
{
    meter *m = user;
    if (fd >= 0 && m->take_socket)
        m->take_socket(m->take_user, fd);
    else if (fd >= 0)
        close(fd);
    else
        report(m);
}

void meter_on_socket(meter *m, void (*take)(void *user, int fd), void *user)
{
    m->take_socket = take;
    m->take_user = user;
}

static void on_end(void *user)
{
    meter *m = user;
    channel_close(m->keeper);
    m->keeper = NULL;
}

void meter_connect_take(meter *m, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    channel_close(m->keeper);
    m->keeper = NULL;
    if (!m->hook) /* not before, so that it runs after those of everybody else */
        loop_hook_add(m->l, on_turn, m, &m->hook, &e);
    if (m->hook)
        channel_open_take(m->l, fd, &callbacks, m, &m->keeper, &e);
    else
        close(fd);
}

void meter_free(meter *m)
{
    if (!m)
        return;
    if (m->keeper)
        report(m);
    if (m->keeper)
        channel_close(m->keeper);
    if (m->hook)
        loop_hook_remove(m->hook);
    free(m->rows);
    free(m->touched);
    free(m->cpu);
    free(m);
}

bool meter_report_read(bytes text, meter_report *ret, meter_row ret_rows[METER_ROWS_PER_MESSAGE],
                       err *e)
{
    meter_report head;
    if (text.n < sizeof head)
        return err_set(e, ERR_INVALID, "a worker's report is too short");
    memcpy(&head, text.p, sizeof head);
    if (head.rows_count > METER_ROWS_PER_MESSAGE ||
        text.n != sizeof head + head.rows_count * sizeof(meter_row))
        return err_set(e, ERR_INVALID, "a worker's report of %u rows has %zu bytes",
                       head.rows_count, text.n);
    if (head.rows_count)
        memcpy(ret_rows, text.p + sizeof head, head.rows_count * sizeof(meter_row));
    *ret = head;
    return true;
}
