/* See node_power.h. A sample is a minute or more of whole readings; it is one point of the fit
 * (mean power against busy CPUs), and adds to what tenants' coefficient becomes next. Readings come
 * when workers report, every ten seconds while anything runs. On a node that does nothing there are
 * none, and no samples: what it draws then is taken to be idle power. */
#include "platform/node_power.h"

#include <math.h>
#include <stdio.h>

#define DAY_S     86400
#define WATTS_MAX 2000.0 /* beyond what a server draws: says how soon a counter can wrap */

static int64_t midnight(int64_t t_s) { return t_s - t_s % DAY_S; }

static void say(node_power *n)
{
    const power_model *m = &n->model;
    if (m->source != POWER_RAPL)
        snprintf(n->says, sizeof n->says, "no energy counters; %.4g W idle, %.4g J per CPU-second",
                 m->idle_w, m->busy_w);
    else if (!m->samples)
        snprintf(n->says, sizeof n->says,
                 "%u energy counters; idle power is the settings' %.4g W until it is fitted",
                 n->rapl.count, m->idle_w);
    else
        snprintf(n->says, sizeof n->says,
                 "%u energy counters; fitted to %u samples: %.4g W idle, %.4g J per CPU-second, "
                 "off by %.1f %% (root mean square)",
                 n->rapl.count, m->samples, m->idle_w, m->busy_w, 100 * m->uncertainty);
}

void node_power_open(node_power *n, const char *root, const power_model *prior,
                     const bill_power *last, int64_t now_s)
{
    *n = (node_power){.prior = *prior, .model = *prior, .day_s = midnight(now_s)};
    rapl_open(&n->rapl, root, WATTS_MAX);
    double j_per_cpu_s = prior->busy_w * prior->pue;
    if (n->rapl.count) {
        n->prior.source = n->model.source = POWER_RAPL;
        if (last) {
            j_per_cpu_s = last->j_per_cpu_s;
            n->day_s = last->from_s;
        }
        if (last && last->samples) {
            n->model.idle_w = last->idle_w;
            n->model.busy_w = last->busy_w;
            n->model.uncertainty = last->uncertainty;
            n->model.samples = last->samples;
        }
    }
    visible_coefficient_init(&n->visible, now_s, j_per_cpu_s);
    say(n);
}

void node_power_close(node_power *n) { rapl_close(&n->rapl); }

static void sample_begin(node_power *n, int64_t now_s, uint64_t busy_ns)
{
    n->since_s = busy_ns ? now_s : 0;
    n->since_busy_ns = busy_ns;
    n->since_j = 0;
}

static void sample_add(node_power *n, int64_t now_s, uint64_t busy_ns, double joules)
{
    if (!n->since_s || busy_ns < n->since_busy_ns) {
        sample_begin(n, now_s, busy_ns);
        return;
    }
    n->since_j += joules;
    double seconds = (double)(now_s - n->since_s);
    double cpu_s = (double)(busy_ns - n->since_busy_ns) / 1e9;
    if (seconds < POWER_CALIBRATION_S)
        return;
    power_fit_add(&n->fit, seconds, cpu_s, n->since_j);
    double dynamic_j = fmax(n->since_j - n->model.idle_w * seconds, 0);
    visible_coefficient_add(&n->visible, now_s, dynamic_j * n->model.pue, cpu_s);
    sample_begin(n, now_s, busy_ns);
}

bool node_power_read(node_power *n, int64_t now_s, uint64_t busy_ns, double *ret_j)
{
    double joules;
    int64_t since = n->rapl.read_s;
    if (!n->rapl.count || now_s <= since)
        return false;
    if (rapl_read(&n->rapl, now_s, &joules)) {
        sample_add(n, now_s, busy_ns, joules);
    } else {
        sample_begin(n, now_s, busy_ns);
        if (!since)
            return false;
        joules = n->model.idle_w * (double)(now_s - since);
    }
    *ret_j = joules;
    return true;
}

bool node_power_day(node_power *n, int64_t now_s, bill_power *ret)
{
    power_model fitted;
    if (!n->rapl.count || midnight(now_s) <= n->day_s)
        return false;
    n->day_s = midnight(now_s);
    if (power_fit_model(&n->fit, &n->prior, &fitted)) {
        fitted.source = POWER_RAPL;
        n->model = fitted;
    }
    say(n);
    *ret =
        (bill_power){n->day_s,         n->model.idle_w,       n->model.busy_w, n->model.uncertainty,
                     n->model.samples, n->visible.j_per_cpu_s};
    return true;
}

const char *node_power_says(const node_power *n) { return n->says; }
