/* Settings of the grid, the keeper's settings on their way, and energy counters from a folder that
 * looks like /sys/class/powercap. */
#include "folder_kit.h"

#include "base/arena.h"
#include "platform/keeper.h"
#include "platform/rapl.h"

#include <math.h>
#include <string.h>

static arena a;
static err e;

static int make(void **state)
{
    arena_init(&a, 8 << 20);
    return folder_make("/tmp/ebb-grid") ? 0 : -1;
}

static int unmake(void **state)
{
    arena_fini(&a);
    return folder_remove(dir);
}

static const char *put(const char *name, const char *text)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void a_file_says_everything(void **state)
{
    grid_config g;
    power_model p;
    put("token.txt", "secret-token\nmore\n");
    put("table.js", "const data = { \"GB\": 215.79 };\n");
    const char *path =
        put("carbon.toml", "zone = \"GB\"\nprovider = \"electricity-maps\"\ntoken_file = "
                           "\"token.txt\"\nforecasts = false\nyearly_table = \"table.js\"\n"
                           "[node]\nthreads = 8\nidle_w = 20\nmax_w = 100\npue = 1.2\ncpus = 4\n");
    assert_true(grid_config_load(&a, path, &g, &e));
    assert_str(g.zone, "GB");
    assert_str(g.token, "secret-token");
    assert_false(g.forecasts);
    assert_true(g.yearly_g_per_kwh == 215.79 && g.cpus == 4);
    assert_true(grid_slot_s(&g) == 3600 && grid_hour_s(&g) == 3600);
    assert_true(grid_power(&g, &p, &e));
    assert_true(p.idle_w == 20 && fabs(p.busy_w - 10) < 1e-9 && p.pue == 1.2);
}

/* Files that are named relatively lie beside the settings; other names are taken as they are. */
static void where_other_files_lie(void **state)
{
    grid_config g;
    str path = arena_str(&a, str_from(put("token.txt", "secret-token\n")));
    str text = arena_printf(&a, "token_file = \"%s\"\nprovider = \"file\"\nfile = \"%s\"\n", path.p,
                            path.p);
    assert_true(grid_config_load(&a, put("carbon.toml", text.p), &g, &e));
    assert_str(g.token, "secret-token");
    assert_true(str_eq(g.file, path));
    const char *there = put("carbon.toml", "token_file = \"token.txt\"\nprovider = \"file\"\n"
                                           "file = \"grid.csv\"\n");
    assert_true(grid_config_load(&a, there, &g, &e));
    assert_str(g.token, "secret-token");
    assert_true(str_eq(g.file, arena_printf(&a, "%s/grid.csv", dir)));
    assert_int_equal(chdir(dir), 0);
    assert_true(grid_config_load(&a, "carbon.toml", &g, &e)); /* in no folder */
    assert_str(g.token, "secret-token");
    assert_str(g.file, "grid.csv");
    assert_int_equal(chdir("/"), 0);
}

/* A day may be rehearsed in less. */
static void a_day_is_as_long_as_it_says(void **state)
{
    grid_config g;
    assert_true(grid_config_load(&a, put("carbon.toml", "day_s = 3600\n"), &g, &e));
    assert_true(grid_slot_s(&g) == 150 && grid_hour_s(&g) == 150);
    assert_true(grid_config_load(&a, put("carbon.toml", "day_s = 3600\nslot_s = 25\n"), &g, &e));
    assert_true(grid_slot_s(&g) == 25 && grid_hour_s(&g) == 150);
    assert_true(grid_config_load(&a, put("carbon.toml", "slot_s = 900\n"), &g, &e));
    assert_true(grid_slot_s(&g) == 900 && grid_hour_s(&g) == 3600);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"zon = \"GB\"\n", ":1:1: "},
        {"provider = \"sun\"\n", "sun"},
        {"provider = \"file\"\n", "needs the key file"},
        {"provider = \"csv\"\n", "write provider = \"file\""},
        {"zone = 1\n", ":1:8: "},
        {"token_file = \"nowhere\"\n", "nowhere"},
        {"[node]\nthreads = 0\n", "threads must be from 1"},
        {"[node]\npue = \"x\"\n", "pue must be a number"},
        {"[node]\nwatts = 3\n", "watts"},
        {"[[remote]]\nname = \"gpu\"\n", "app"},
        {"[[remote]]\napp = \"a\"\nname = \"gpu\"\nzone = \"FR\"\n", "needs j_per_unit"},
        {"[[remote]]\napp = \"a\"\nname = \"gpu\"\nzone = \"FR\"\nj_per_unit = 1\n"
         "g_per_kwh = 50\nheat_reused_share = 2\n",
         "heat_reused_share must be from 0 to 1"},
        {"remote = 3\n", "remote"},
        {"[node]\nidle_w = 10\nmax_w = 5\n", "idle"},
        {"slot_s = 7\n", "slot_s must divide an hour"},
        {"day_s = 1000\n", "a 24th of day_s must divide an hour"},
        {"day_s = 3600\nslot_s = 300\n", "slot_s is longer than the 24th of day_s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grid_config g = {.cpus = 77};
        assert_false(grid_config_load(&a, put("carbon.toml", cases[i].text), &g, &e));
        if (!strstr(e.text, cases[i].word))
            fail_msg("case %zu: %s", i, e.text);
        assert_true(g.cpus == 77);
    }
}

static void settings_arrive_as_they_left(void **state)
{
    const str apps[] = {{"a", 1}, {"b\"\n", 3}};
    keeper_config c = {.log_format = LOG_JSON,
                       .node = S("n"),
                       .usage_path = S("/x/y"),
                       .apps = apps,
                       .apps_count = 2,
                       .grid = grid_config_default()},
                  got;
    c.grid.token = S("t");
    c.grid.powercap = S("/p");
    c.grid.max_w = 12.5;
    c.grid.day_s = 3600;
    c.grid.remotes[0] = (grid_remote){S("a"), S("gpu"), S("FR"), S("token"), 20, 0.5, 44, 0.6};
    c.grid.remotes_count = 1;
    _cleanup_(buf_fini) buf text;
    buf_init(&text, 1 << 20);
    assert_true(keeper_config_write(&c, &text, &e));
    assert_true(keeper_config_read(&a, buf_bytes(&text), &got, &e));
    assert_true(got.log_format == LOG_JSON && got.apps_count == 2 && str_eq(got.apps[1], apps[1]));
    assert_str(got.usage_path, "/x/y");
    assert_str(got.grid.token, "t");
    assert_str(got.grid.powercap, "/p");
    assert_true(got.grid.day_s == 3600);
    assert_true(got.grid.max_w == 12.5 && isnan(got.grid.yearly_g_per_kwh) && got.grid.average);
    assert_true(got.grid.remotes_count == 1 && got.grid.remotes[0].units_per_call == 20 &&
                got.grid.remotes[0].heat_reused_share == 0.6);
    assert_str(got.grid.remotes[0].unit, "token");
    assert_true(got.grid.threads == c.grid.threads && got.grid.server_kg == c.grid.server_kg);
}

static void zone(const char *name, const char *what, const char *range, const char *uj, mode_t mode)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/name", name);
    put(path, what);
    snprintf(path, sizeof path, "%s/max_energy_range_uj", name);
    put(path, range);
    snprintf(path, sizeof path, "%s/energy_uj", name);
    chmod(put(path, uj), mode);
}

static void counters_become_joules(void **state)
{
    rapl r;
    double j = -1;
    zone("intel-rapl:0", "package-0\n", "1000000000\n", "999000000\n", 0400);
    zone("intel-rapl:0:0", "core\n", "1000000000\n", "5\n", 0400);
    zone("intel-rapl:0:1", "dram\n", "1000000000\n", "1000000\n", 0400);
    rapl_open(&r, dir, 10);
    assert_int_equal(r.count, 2);
    assert_false(r.world_readable);
    assert_false(rapl_read(&r, 1000, &j)); /* the first reading is a beginning */
    zone("intel-rapl:0", "package-0\n", "1000000000\n", "1000000\n", 0400); /* wrapped: 2 J */
    zone("intel-rapl:0:1", "dram\n", "1000000000\n", "1500000\n", 0400);    /* 0.5 J */
    assert_true(rapl_read(&r, 1010, &j));
    assert_true(fabs(j - 2.5) < 1e-9);
    assert_false(rapl_read(&r, 1010 + 3600, &j)); /* it may have wrapped unseen */
    rapl_close(&r);
}

static void what_everybody_reads_is_warned_about(void **state)
{
    rapl r;
    zone("intel-rapl:0", "package-0\n", "1000000000\n", "1\n", 0444);
    rapl_open(&r, dir, 10);
    assert_true(r.count == 1 && r.world_readable);
    rapl_close(&r);
    rapl_open(&r, "/nowhere", 10);
    assert_int_equal(r.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_says_everything, make, unmake),
        cmocka_unit_test_setup_teardown(where_other_files_lie, make, unmake),
        cmocka_unit_test_setup_teardown(a_day_is_as_long_as_it_says, make, unmake),
        cmocka_unit_test_setup_teardown(mistakes_are_named, make, unmake),
        cmocka_unit_test_setup_teardown(settings_arrive_as_they_left, make, unmake),
        cmocka_unit_test_setup_teardown(counters_become_joules, make, unmake),
        cmocka_unit_test_setup_teardown(what_everybody_reads_is_warned_about, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
