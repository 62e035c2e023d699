/* Energy counters in a made-up powercap tree, in virtual time: sums through wrap-arounds, the fit
 * of a known machine, what changes at midnight and what does not. */
#include "unit.h"

#include "near.h"

#include "platform/node_power.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY   INT64_C(1700006400)
#define RANGE 262143328850ull /* of Intel's counters: 262 kJ */

static char root[64];

static void put(const char *zone, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, zone);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", root, zone, file);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    chmod(path, 0600);
}

static int package_fd, dram_fd;

static void counter_set(int fd, uint64_t uj)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%020llu\n", (unsigned long long)(uj % RANGE));
    assert_int_equal(pwrite(fd, text, (size_t)n, 0), n);
}

/* A socket whose counter stands at package_uj, its cores (which count inside it), its memory. */
static void counters(uint64_t package_uj, uint64_t dram_uj)
{
    counter_set(package_fd, package_uj);
    counter_set(dram_fd, dram_uj);
}

static int counter_open(const char *zone)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s/energy_uj", root, zone);
    return open(path, O_WRONLY | O_CLOEXEC);
}

static int make(void **state)
{
    static const struct {
        const char *zone, *name;
    } zones[] = {{"intel-rapl:0", "package-0\n"},
                 {"intel-rapl:0:0", "core\n"},
                 {"intel-rapl:0:1", "dram\n"}};
    char range[32];
    snprintf(root, sizeof root, "/tmp/ebb-powercap-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(range, sizeof range, "%llu\n", RANGE);
    for (size_t i = 0; i < 3; i++) {
        put(zones[i].zone, "name", zones[i].name);
        put(zones[i].zone, "max_energy_range_uj", range);
        put(zones[i].zone, "energy_uj", "0\n");
    }
    package_fd = counter_open("intel-rapl:0");
    dram_fd = counter_open("intel-rapl:0:1");
    return package_fd < 0 || dram_fd < 0;
}

static int unmake(void **state)
{
    char command[128];
    close(package_fd);
    close(dram_fd);
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

/* What a machine of idle_w, of that one half in its memory, and busy_w does. */
typedef struct {
    node_power n;
    int64_t t_s;
    double j;
    uint64_t busy_ns;
    double summed_j;
} machine;

static machine machine_new(const bill_power *last)
{
    machine m = {.t_s = DAY + 1000, .busy_ns = 1};
    power_model prior = power_model_specpower(8);
    counters(RANGE - 1000, 0);
    m.j = (double)(RANGE - 1000) / 1e6;
    node_power_open(&m.n, root, &prior, last, m.t_s);
    return m;
}

static void step(machine *m, double idle_w, double busy_w, double cpus, int seconds)
{
    double j;
    m->t_s += seconds;
    m->busy_ns += (uint64_t)(cpus * seconds * 1e9);
    m->j += (idle_w + busy_w * cpus) * seconds;
    counters((uint64_t)(m->j * 1e6), 0);
    if (node_power_read(&m->n, m->t_s, m->busy_ns, &j))
        m->summed_j += j;
}

static void counters_are_summed_through_wrap_arounds(void **state)
{
    machine m = machine_new(NULL);
    assert_int_equal(m.n.rapl.count, 2); /* cores are inside the package */
    assert_int_equal(m.n.model.source, POWER_RAPL);
    step(&m, 0, 0, 0, 1); /* the first reading says where we begin */
    double begin = m.j;
    for (int i = 0; i < 3000; i++)
        step(&m, 200, 50, 4, 10);
    assert_true(m.j - begin > 40 * (RANGE / 1e6)); /* it went round and round */
    assert_near(m.summed_j, m.j - begin, 0.01);
    node_power_close(&m.n);
}

static void both_zones_count(void **state)
{
    machine m = machine_new(NULL);
    double j;
    assert_false(node_power_read(&m.n, DAY + 1001, 1, &j));
    counters((uint64_t)(m.j * 1e6) + 3000000, 2000000);
    assert_true(node_power_read(&m.n, DAY + 1003, 1, &j));
    assert_near(j, 5, 1e-6);
    assert_false(node_power_read(&m.n, DAY + 1003, 1, &j)); /* no time has passed */
    node_power_close(&m.n);
}

static void after_a_long_silence_idle_power_stands_in(void **state)
{
    machine m = machine_new(NULL);
    step(&m, 40, 0, 0, 1);
    m.summed_j = 0;
    step(&m, 40, 0, 0, 3600); /* may have wrapped, nobody knows how often */
    assert_near(m.summed_j, 0.65 * 8 * 3600, 1e-6);
    step(&m, 40, 0, 0, 10); /* from here on it is known again */
    assert_near(m.summed_j, 0.65 * 8 * 3600 + 400, 0.01);
    node_power_close(&m.n);
}

static void a_day(machine *m, double idle_w, double busy_w)
{
    for (int i = 0; i < 6000; i++)
        step(m, idle_w, busy_w, (double)(i / 60 % 9), 10);
}

static void the_fit_is_the_machine_from_midnight_on(void **state)
{
    machine m = machine_new(NULL);
    bill_power p;
    a_day(&m, 61, 7.5);
    assert_false(node_power_day(&m.n, DAY + 86399, &p));
    assert_near(m.n.model.idle_w, 5.2, 1e-9); /* still the settings' */
    assert_non_null(strstr(node_power_says(&m.n), "until it is fitted"));
    assert_true(node_power_day(&m.n, DAY + 86400, &p));
    assert_false(node_power_day(&m.n, DAY + 86401, &p));
    assert_int_equal(p.from_s, DAY + 86400);
    assert_near(p.idle_w, 61, 0.1);
    assert_near(p.busy_w, 7.5, 0.05);
    assert_true(p.samples > 900 && p.uncertainty < 0.01);
    assert_int_equal(m.n.model.source, POWER_RAPL);
    assert_near(m.n.model.idle_w, p.idle_w, 0);
    assert_non_null(strstr(node_power_says(&m.n), "fitted to 999 samples: 61 W idle"));
    node_power_close(&m.n);

    machine next = machine_new(&p); /* another keeper, the same day */
    assert_near(next.n.model.idle_w, p.idle_w, 0);
    assert_int_equal(next.n.model.samples, p.samples);
    bill_power again;
    assert_false(node_power_day(&next.n, DAY + 86400 + 5, &again));
    node_power_close(&next.n);
}

static void a_fit_says_how_bad_it_is(void **state)
{
    machine m = machine_new(NULL);
    bill_power p;
    for (int i = 0; i < 6000; i++) /* every other minute draws half as much again */
        step(&m, 60 + 30 * (i / 6 % 2), 7.5, (double)(i / 60 % 9), 10);
    assert_true(node_power_day(&m.n, DAY + 86400, &p));
    print_message("off by %.3f\n", p.uncertainty);
    assert_true(p.samples && p.uncertainty > 0.05 && p.uncertainty < 0.25);
    node_power_close(&m.n);
}

static void steady_load_cannot_tell_idle_from_busy(void **state)
{
    machine m = machine_new(NULL);
    bill_power p;
    for (int i = 0; i < 6000; i++)
        step(&m, 61, 7.5, 3, 10);
    assert_true(node_power_day(&m.n, DAY + 86400, &p));
    assert_int_equal(p.samples, 0);
    assert_near(p.idle_w, 5.2, 1e-9);
    node_power_close(&m.n);
}

static void tenants_coefficient_moves_a_tenth_a_day(void **state)
{
    machine m = machine_new(NULL);
    bill_power p;
    for (int day = 1; day <= 3; day++) {
        for (int i = 0; i < 8640; i++) {
            step(&m, 61, 7.5, (double)(i / 60 % 9), 10);
            if (i < 8500 && day == 1)
                assert_near(m.n.visible.j_per_cpu_s, 2.5, 0);
        }
        assert_true(node_power_day(&m.n, m.t_s - m.t_s % 86400, &p));
    }
    assert_true(p.j_per_cpu_s > 2.5 && p.j_per_cpu_s <= 2.5 * 1.1 * 1.1 * 1.1 + 0.1);
    node_power_close(&m.n);
}

static void without_counters_nothing_is_read(void **state)
{
    node_power n;
    power_model prior = power_model_specpower(8);
    bill_power p;
    double j;
    node_power_open(&n, "/nowhere", &prior, NULL, DAY);
    assert_int_equal(n.model.source, POWER_MODEL);
    assert_false(node_power_read(&n, DAY + 10, 1, &j));
    assert_false(node_power_day(&n, DAY + 86400, &p));
    node_power_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counters_are_summed_through_wrap_arounds, make, unmake),
        cmocka_unit_test_setup_teardown(both_zones_count, make, unmake),
        cmocka_unit_test_setup_teardown(after_a_long_silence_idle_power_stands_in, make, unmake),
        cmocka_unit_test_setup_teardown(the_fit_is_the_machine_from_midnight_on, make, unmake),
        cmocka_unit_test_setup_teardown(a_fit_says_how_bad_it_is, make, unmake),
        cmocka_unit_test_setup_teardown(steady_load_cannot_tell_idle_from_busy, make, unmake),
        cmocka_unit_test_setup_teardown(tenants_coefficient_moves_a_tenth_a_day, make, unmake),
        cmocka_unit_test(without_counters_nothing_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
