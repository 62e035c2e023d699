/* Commands that need no node: their help, what they reckon, and what they refuse before anything
 * is started. */
#include "cli_kit.h"

#include "near.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sqlite3.h>
#include <sys/socket.h>

/* Every option is a line, "  -l, --long VALUE" or "      --long", and nothing there is unprintable.
 */
static void help_is_readable(void **state)
{
    static const struct {
        command *f;
        const char *name, *letters;
    } rows[] = {{cli_up, "up", "fckeLqh"},
                {cli_serve, "serve", "h"},
                {cli_build, "build", "fcuh"},
                {cli_doctor, "doctor", "fh"},
                {cli_inspect, "inspect", "h"},
                {cli_login, "login", "h"},
                {cli_deploy, "deploy", NULL},
                {cli_apps, "apps", NULL},
                {cli_status, "status", NULL},
                {cli_logs, "logs", NULL},
                {cli_rollback, "rollback", NULL},
                {cli_delete, "delete", NULL},
                {cli_hosts, "hosts", NULL},
                {cli_variables, "variables", NULL},
                {cli_tenants, "tenants", NULL},
                {cli_calls, "calls", NULL},
                {cli_tokens, "tokens", NULL},
                {cli_quota, "quota", NULL},
                {cli_egress, "egress", NULL},
                {cli_audit, "audit", NULL},
                {cli_upgrade, "upgrade", "h"},
                {cli_top, "top", NULL},
                {cli_backup, "backup", "h"},
                {cli_restore, "restore", "h"},
                {cli_kv, "kv", NULL},
                {cli_sqlite, "sqlite", NULL},
                {cli_carbon, "carbon", "h"},
                {cli_capacity, "capacity", "h"},
                {cli_sim, "sim", "h"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char begins[64], letters[32] = "";
        size_t n = 0;
        succeeds(rows[i].f, rows[i].name, "--help");
        assert_string_equal(said, "");
        snprintf(begins, sizeof begins, "ebb %s ", rows[i].name);
        assert_memory_equal(out, begins, strlen(begins));
        for (const char *c = out; *c; c++)
            if (*c != '\n' && !isprint((unsigned char)*c))
                fail_msg("ebb %s --help prints the byte %d", rows[i].name, *c);
        for (const char *at = strstr(out, "Options:\n"); (at = strchr(at, '\n')) && at[1]; at++) {
            if (strncmp(at + 1, "      --", 8) == 0)
                continue;
            assert_memory_equal(at + 1, "  -", 3);
            assert_memory_equal(at + 5, ", --", 4);
            letters[n++] = at[4];
        }
        if (rows[i].letters)
            assert_string_equal(letters, rows[i].letters);
        fails(2, "unknown option '--no-such-option'", rows[i].f, rows[i].name, "--no-such-option");
    }
}

/* --- capacity --------------------------------------------------------------------------------- */

static void how_many_more_fit(void **state)
{
    /* Without deviations everything is certain. */
    succeeds(cli_capacity, "capacity --mean 1 --memory-mb 4000 --json");
    assert_near(num("by_cpu"), 16, 0);
    assert_near(num("by_memory"), 8, 0);
    assert_near(num("fit"), 8, 0);
    assert_near(num("mean"), 1, 0);
    assert_near(num("compliance"), 0.999, 0);
    assert_near(num("oversubscription"), 0.5, 1e-6); /* each may use its mean */
    succeeds(cli_capacity, "capacity --mean 1 --memory-mb 4000 --memory-used-gb 20 --json");
    assert_near(num("by_memory"), 3, 0);
    succeeds(cli_capacity, "capacity --mean 1 --used-mean 10 --cpus 20 --memory-gb 64 --json");
    assert_near(num("by_cpu"), 10, 0);
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --json");
    double narrow = num("oversubscription") / num("fit");
    assert_near(narrow, 2.5 / 16, 1e-6); /* the mean and three deviations */
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --limit 4 --json");
    assert_near(num("oversubscription") / num("fit"), 4.0 / 16, 1e-6);
    double fit = num("fit");
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --compliance 0.9 --json");
    assert_true(num("fit") > fit);
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --correlation 1 --json");
    assert_true(num("fit") < fit);
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --used-mean 4 --used-deviation 1 "
                           "--correlation-node 1 --json");
    double along = num("fit");
    succeeds(cli_capacity, "capacity --mean 1 --deviation 0.5 --used-mean 4 --used-deviation 1 "
                           "--correlation-node -1 --json");
    assert_true(num("fit") > along);
}

static void capacity_as_text(void **state)
{
    succeeds(cli_capacity, "capacity --mean 1 --memory-mb 4000");
    prints("8 more fit (CPU 16, memory 8): promised for 99.9 % of the time, expected to fail in ");
    prints("their limits come to 0.50 x the node's CPUs\n");
    assert_int_equal(count_of("  with "), 0); /* of so few no shares are told */
    succeeds(cli_capacity, "capacity --cpus 100 --mean 1 --deviation 0.3 --memory-gb 0.1");
    assert_int_equal(count_of("of the time above the node\n"), 3);
    unsigned fit, first, last;
    const char *at = strstr(out, "  with ");
    assert_int_equal(sscanf(out, "%u more fit", &fit), 1);
    assert_int_equal(sscanf(at, "  with %u:", &first), 1);
    assert_int_equal(sscanf(strstr(at + 1, "  with "), "  with %u:", &last), 1);
    assert_near(first, 1.1 * fit + 0.5, 0.6); /* a tenth more, and a fifth */
    assert_near(last, 1.2 * fit + 0.5, 0.6);
}

static void use_of_a_file(void **state)
{
    put("use.csv", "time,cpus\n1,1\n2,2\n\n3, 3\n4,-1\n5,1e9\nx,1x\n");
    succeeds(cli_capacity, "capacity --use use.csv --json");
    assert_near(num("mean"), 2, 1e-9);
    assert_near(num("deviation"), 1, 1e-9);
    put("use.csv", "0.5\n");
    fails(1, "use.csv: fewer than two numbers", cli_capacity, "capacity --use use.csv");
    fails(1, "none.csv", cli_capacity, "capacity --use none.csv");
}

/* Both ends of every range are in it, what is beyond is not. */
static void numbers_have_ranges(void **state)
{
    static const struct {
        command *f;
        const char *command, *option;
        const char *good[2], *bad[3];
    } rows[] = {
        {cli_capacity, "capacity --mean 1", "cpus", {"0.000001", "1e9"}, {"0", "1.1e9", "x"}},
        {cli_capacity, "capacity --mean 1", "memory-gb", {"0", "1e9"}, {"-1", "1.1e9", ""}},
        {cli_capacity, "capacity --mean 1", "used-mean", {"0", "1e9"}, {"-1", "1.1e9", "1x"}},
        {cli_capacity, "capacity --mean 1", "used-deviation", {"0", "1e9"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity --mean 1", "memory-used-gb", {"0", "1e9"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity", "mean", {"1e-3", "1e9"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity --mean 1", "deviation", {"0", "1e3"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity --mean 1", "limit", {"0", "1e9"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity --mean 1", "memory-mb", {"0", "1e9"}, {"-1", "2e9", "x"}},
        {cli_capacity, "capacity --mean 1", "correlation", {"0", "1"}, {"-0.1", "1.1", "x"}},
        {cli_capacity, "capacity --mean 1", "correlation-node", {"-1", "1"}, {"-1.1", "1.1", "x"}},
        {cli_capacity, "capacity --mean 1", "compliance", {"0.5", "0.999999"}, {"0.4", "1", "x"}},
        {cli_sim, "sim --check --apps 10", "seed", {"0", "1e15"}, {"-1", "1.1e15", "x"}},
        {cli_sim, "sim --check", "apps", {"1", "10"}, {"0", "1.1e6", "x"}},
        {cli_sim, "sim --check --apps 10", "days", {"1", "36500"}, {"0", "36501", "x"}},
        {cli_sim, "sim --check --apps 10", "warm", {"0", "3650"}, {"-1", "3651", "x"}},
        {cli_sim, "sim --check --apps 10", "slack", {"1", "24"}, {"0", "1e9", "x"}},
        {cli_sim, "sim --check --apps 10", "target", {"0.01", "1"}, {"0", "1.1", "x"}},
        {cli_sim, "sim --check --apps 10", "headroom", {"0", "1000"}, {"-1", "1001", "x"}},
        {cli_sim, "sim --check --apps 10", "correlation", {"0", "1"}, {"-1", "1.1", "x"}},
        {cli_sim, "sim --check --apps 10", "shuffle-days", {"0", "1e15"}, {"-1", "2e15", "x"}},
        {cli_sim, "sim --check --apps 10", "shuffle-history", {"0", "1e15"}, {"-1", "2e15", "x"}},
        {cli_sim, "sim --check --apps 10", "grid", {"0", "3000"}, {"-1", "3001", "x"}},
        {cli_sim, "sim --check --apps 10", "call-ms", {"0.01", "1e6"}, {"0", "2e6", "x"}},
        {cli_sim, "sim --check --apps 10", "tick-ms", {"0", "1e4"}, {"-1", "2e4", "x"}},
        {cli_sim, "sim --check --apps 10", "code-factor", {"0.1", "100"}, {"0", "101", "x"}},
        {cli_sim, "sim --check --apps 10", "mean-cpus", {"1", "100"}, {"0", "2e9", "x"}},
        {cli_sim, "sim --check --apps 10", "cpus", {"1", "inf"}, {"0", "2e9", "infinite"}},
        {cli_carbon, "carbon now --table t --zone SWE", "hours", {"1", "24"}, {"0", "1e6", "x"}},
        {cli_carbon,
         "carbon now --table t --zone SWE",
         "threads",
         {"1", "4096"},
         {"0", "4097", "x"}},
        {cli_carbon, "carbon now --table t --zone SWE", "idle-w", {"0", "1e6"}, {"-1", "2e6", "x"}},
        {cli_carbon, "carbon now --table t --zone SWE", "max-w", {"0", "1e6"}, {"-1", "2e6", "x"}},
        {cli_carbon, "carbon now --table t --zone SWE", "pue", {"1", "5"}, {"0.9", "5.1", "x"}},
        {cli_carbon,
         "carbon now --table t --zone SWE",
         "server-kg",
         {"0", "1e6"},
         {"-1", "2e6", "x"}},
        {cli_carbon,
         "carbon now --table t --zone SWE",
         "life-years",
         {"0.1", "100"},
         {"0", "101", "x"}},
        {cli_carbon,
         "carbon now --table t --zone SWE",
         "cpus",
         {"0.01", "4096"},
         {"0", "4097", "x"}},
    };
    put("t", "const data = { \"SWE\": 41.5 };\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char option[64], words[96];
        for (size_t k = 0; k < 2; k++) {
            snprintf(option, sizeof option, "--%s=%s", rows[i].option, rows[i].good[k]);
            if (run(rows[i].f, rows[i].command, option, NULL) != 0)
                fail_msg("%s %s: %s", rows[i].command, option, said);
        }
        snprintf(words, sizeof words, "--%s needs a number from", rows[i].option);
        for (size_t k = 0; k < 3; k++) {
            snprintf(option, sizeof option, "--%s=%s", rows[i].option, rows[i].bad[k]);
            fails(2, words, rows[i].f, rows[i].command, option);
        }
    }
}

/* --- carbon ----------------------------------------------------------------------------------- */

static void carbon_from_files(void **state)
{
    put("t", "const data = { \"SWE\": 41.5 };\n");
    succeeds(cli_carbon, "carbon now --table t --zone SWE");
    assert_string_equal(out, "42 g/kWh (yearly, average)\n");
    put("g.csv", "time,g_per_kwh\n2026-03-01T00:00:00Z,100\n2026-03-01T01:00:00Z,210\n"
                 "2026-03-01T02:00:00Z,320\n");
    succeeds(cli_carbon, "carbon now --intensity g.csv --at 2026-03-01T01:30:00Z");
    assert_string_equal(out, "210 g/kWh (measured, average)\n");
    succeeds(cli_carbon, "carbon now --intensity g.csv --at 2026-03-01T02:00:00Z --json");
    assert_non_null(printed);
    prints("320");
    fails(1, "--table needs --zone", cli_carbon, "carbon now --table t");
    fails(1, "none", cli_carbon, "carbon now --table none --zone SWE");
    fails(1, "t: ", cli_carbon, "carbon now --table t --zone XXX");
    fails(1, "a forecast needs history", cli_carbon, "carbon forecast --table t --zone SWE");
    fails(1, "a report from files needs --use", cli_carbon, "carbon report --intensity g.csv");
    fails(1, "only a running node is asked", cli_carbon, "carbon tenant --intensity g.csv");
    fails(2, "ebb carbon 'later': write now, forecast, report or tenant", cli_carbon,
          "carbon later");
    fails(2, "ebb carbon '': write now", cli_carbon, "carbon");
    fails(2, "noon", cli_carbon, "carbon now --intensity g.csv --at noon");
    /* The provider's reaches where history does not. */
    put("p.csv", "time,g_per_kwh\n2026-03-01T03:00:00Z,55\n2026-03-01T04:00:00Z,66\n");
    succeeds(cli_carbon, "carbon forecast --intensity g.csv --published p.csv --hours 2 --json");
    prints("55");
    prints("66");
    assert_null(strstr(out, "320"));
    fails(1, "", cli_carbon, "carbon forecast --intensity g.csv --hours 2");
}

static double of_app(size_t i, const char *name)
{
    const json_t *v = json_object_get(json_array_get(json_object_get(printed, "apps"), i), name);
    if (!json_is_number(v))
        fail_msg("%s of %zu is no number in %s", name, i, out);
    return json_number_value(v);
}

static void report_of_a_file(void **state)
{
    put("g.csv", "time,g_per_kwh\n2026-03-01T00:00:00Z,100\n2026-03-01T01:00:00Z,200\n");
    put("use.csv", "time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory_bytes\n"
                   "# a comment\n\n"
                   "2026-03-01T01:10:00Z,shop,5,7.5,9,10,20,4096\n"
                   "2026-03-01T00:10:00Z,shop,3,2.5,1,5,6,1024\n"
                   "2026-03-01T00:20:00Z,-,0,4\n"
                   "2026-03-01T00:30:00Z,batch,1,10,,,,\n");
    succeeds(cli_carbon, "carbon report --use use.csv --intensity g.csv --idle-w 10 --max-w 50 "
                         "--threads 4 --pue 2 --server-kg 0 --node here --zone ES");
    assert_string_equal(json_string_value(json_object_get(printed, "node")), "here");
    assert_string_equal(json_string_value(json_object_get(printed, "zone")), "ES");
    prints("2026-03-01T00:00:00Z");
    prints("2026-03-02T00:00:00Z");
    size_t shop = strcmp(json_string_value(json_object_get(
                             json_array_get(json_object_get(printed, "apps"), 0), "app")),
                         "shop") != 0;
    assert_near(of_app(shop, "calls"), 8, 0);
    assert_near(of_app(shop, "cpu_s"), 10, 1e-6);
    assert_near(of_app(shop, "wall_s"), 10, 1e-6);
    assert_near(of_app(shop, "bytes_in"), 15, 0);
    assert_near(of_app(shop, "bytes_out"), 26, 0);
    assert_near(of_app(shop, "memory_peak_bytes"), 4096, 0);
    assert_near(of_app(shop, "dynamic_j"), 10 * 10 * 2, 1e-6);
    assert_near(of_app(!shop, "calls"), 1, 0);
    assert_near(of_app(!shop, "dynamic_j"), 10 * 10 * 2, 1e-6);
    succeeds(cli_carbon, "carbon report --use use.csv --intensity g.csv --format html");
    prints("<html");
    fails(1, "pdf", cli_carbon, "carbon report --use use.csv --intensity g.csv --format pdf");
}

static void mistakes_in_use(void **state)
{
    static const char *const bad[] = {"noon,a,1,1",
                                      "2026-03-01T00:00:00Z,,1,1",
                                      "2026-03-01T00:00:00Z,a,x,1",
                                      "2026-03-01T00:00:00Z,a,1,",
                                      "2026-03-01T00:00:00Z,a,1,-1",
                                      "2026-03-01T00:00:00Z,a,1,1,x",
                                      "2026-03-01T00:00:00Z,a,1,1,1,x",
                                      "2026-03-01T00:00:00Z,a,1,1,1,1,x",
                                      "2026-03-01T00:00:00Z,a,1,1,1,1,1,x",
                                      "time,app,calls,cpu_s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[200];
        snprintf(text, sizeof text, "time,app,calls,cpu_s\n2026-03-01T00:00:00Z,a,1,1\n%s\n",
                 bad[i]);
        put("use.csv", text);
        fails(1, "use.csv:3: not time,app,calls", cli_carbon, "carbon report --use use.csv");
    }
    put("use.csv", "time,app,calls,cpu_s\n");
    fails(1, "use.csv: no usage", cli_carbon, "carbon report --use use.csv");
    fails(1, "none.csv", cli_carbon, "carbon report --use none.csv");
}

/* --- sim -------------------------------------------------------------------------------------- */

static void one_policy_or_all(void **state)
{
    succeeds(cli_sim, "sim --check --apps 50");
    assert_near(num("apps"), 50, 0);
    succeeds(cli_sim, "sim --apps 20 --days 2 --no-peaks --policy now,clairvoyant --json -");
    assert_int_equal(json_array_size(json_object_get(printed, "policies")), 2);
    succeeds(cli_sim, "sim --apps 20 --days 2 --no-peaks --policy now --json f.json --svg f.svg "
                      "--steps f.csv");
    assert_null(printed); /* a table, and the JSON in its file */
    assert_true(*out != 0);
    json_t *j = json_loads(content("f.json"), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "policies")), 1);
    json_decref(j);
    assert_non_null(strstr(content("f.svg"), "<svg"));
    assert_non_null(strchr(content("f.csv"), ','));
    fails(1, "--policy 'x': none of now", cli_sim, "sim --apps 20 --days 1 --policy x");
    fails(1, "--queue needs a capacity", cli_sim,
          "sim --apps 20 --days 2 --no-peaks --policy now --queue --cpus inf");
    fails(1, "not 'vm'", cli_sim, "sim --apps 20 --days 1 --against always-on,vm");
    succeeds(cli_sim, "sim --apps 20 --days 1 --against container --json f.json");
    assert_null(printed);
    prints("container");
    assert_null(strstr(out, "microvm"));
    j = json_loads(content("f.json"), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "hosts")), 2);
    json_decref(j);
    succeeds(cli_sim, "sim --apps 20 --days 1 --against ebb --json -");
    assert_int_equal(json_array_size(json_object_get(printed, "hosts")), 1);
}

/* Days of data that there are: what is asked for beyond is not simulated. */
static void days_of_a_grid(void **state)
{
    FILE *f = fopen("g.csv", "w"), *g = fopen("fit.csv", "w");
    fputs("time,g_per_kwh\n", f);
    fputs("time,g_per_kwh\n", g);
    for (int h = 0; h < 8 * 24; h++) {
        int g_per_kwh = 100 + 10 * (h % 24) + 37 * (h / 24 * 5 % 8);
        fprintf(f, "2026-03-%02dT%02d:00:00Z,%d\n", 1 + h / 24, h % 24, g_per_kwh);
        fprintf(g, "2026-02-%02dT%02d:00:00Z,%d\n", 1 + h / 24, h % 24, g_per_kwh);
    }
    fclose(f);
    fclose(g);
    succeeds(cli_sim, "sim --load uniform --days 2 --no-peaks --policy now --intensity g.csv "
                      "--json -");
    char *in_order = strdup(out);
    succeeds(cli_sim, "sim --load uniform --days 2 --no-peaks --policy now --intensity g.csv "
                      "--shuffle-days 3 --json -");
    assert_string_not_equal(out, in_order);
    free(in_order);
    succeeds(cli_sim, "sim --load uniform --days 100 --no-peaks --policy now --intensity g.csv "
                      "--json -");
    fails(1, "must lie before the --intensity files", cli_sim,
          "sim --load uniform --days 2 --no-peaks --policy now --fit g.csv --intensity fit.csv");
    put("short.csv", "time,g_per_kwh\n2026-03-01T00:00:00Z,1\n2026-03-01T01:00:00Z,2\n");
    fails(1, "no whole day of intensity data is left", cli_sim,
          "sim --load uniform --days 2 --no-peaks --policy now --intensity short.csv");
    fails(1, "none.csv", cli_sim, "sim --load none.csv --days 2 --policy now");
}

/* --- serve, up: before anything starts -------------------------------------------------------- */

static void serve_checks_its_settings(void **state)
{
    struct stat st;
    put("bad.toml", "[node]\nworkers = 65\n");
    put("tls.toml", "[tls]\nfolder = \"certificates\"\n");
    put("pair.toml", "[tls]\ncertificate = \"c.pem\"\n");
    put("both.toml", "[tls]\nfolder = \"x\"\nkey = \"k.pem\"\n");
    put("traces.toml", "[traces]\nurl = \"ftp://x\"\n");
    put("carbon.toml", "[node]\ncarbon = \"none.toml\"\n");
    put("good.toml", "[traces]\nurl = \"https://127.0.0.1:4318/v1/traces\"\n[http]\n"
                     "public_port = \"443\"\n");
    succeeds(cli_serve, "serve --check --data a/b/data");
    assert_string_equal(out, "");
    assert_int_equal(stat("a/b/data/ebb.toml", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat("a/b/data", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0711);
    assert_int_equal(entries("a/b/data"), 3); /* the settings, and nothing else */
    succeeds(cli_serve, "serve --check --data a/b/data --config good.toml --workers 64");
    fails(1, "--workers '0': give a number from 1 to 64", cli_serve,
          "serve --check --data d --workers 0");
    fails(1, "--workers '65'", cli_serve, "serve --check --data d --workers 65");
    fails(1, "--workers 'x'", cli_serve, "serve --check --data d --workers x");
    fails(1, "bad.toml:2:11: workers", cli_serve, "serve --check --data d --config bad.toml");
    fails(1, "none.toml", cli_serve, "serve --check --data d --config none.toml");
    fails(1, "certificates", cli_serve, "serve --check --data d --config tls.toml");
    fails(1, "[tls] takes a folder, or a certificate with its key", cli_serve,
          "serve --check --data d --config pair.toml");
    fails(1, "[tls] takes a folder, or a certificate with its key", cli_serve,
          "serve --check --data d --config both.toml");
    fails(1, "'ftp://x' is none of http:// or https://", cli_serve,
          "serve --check --data d --config traces.toml");
    fails(1, "x=1", cli_serve, "serve --check --data d --limit x=1");
    put("file", "");
    fails(1, "the folder file/data can't be made; choose another with --data", cli_serve,
          "serve --check --data file/data");
    fails(2, "unexpected argument 'x'", cli_serve, "serve x");
    /* A catalogue does not open without the key that it was made with. */
    sqlite3 *db;
    assert_int_equal(sqlite3_open("d/platform.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    fails(1, "seal.key is missing", cli_serve, "serve --check --data d");
    assert_int_equal(access("d/seal.key", F_OK), -1);
}

#define STATIC_APP                                                                                 \
    "spin_manifest_version = 2\n[application]\nname = \"still\"\n"                                 \
    "[[trigger.http]]\nroute = \"/\"\nstatic_response = { body = \"hi\" }\n"

static void up_refuses(void **state)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"up --format x", "--format 'x': give plain or json"},
        {"up --log-format x", "--log-format 'x': give text or json"},
        {"up --workers 0", "--workers '0': give a number from 1 to 64"},
        {"up --workers 65", "--workers '65'"},
        {"up --instances 0", "--instances '0': give a number from 1"},
        {"up --instances x", "--instances 'x'"},
        {"up --quiet --follow a", "--quiet and --follow contradict each other"},
        {"up --debug-info", "--debug-info is not there"},
        {"up --experimental-wasi-otel", "--experimental-wasi-otel is not there"},
        {"up --max-instance-memory x", "--max-instance-memory 'x': give bytes"},
        {"up --max-instance-memory 4294967297", "--max-instance-memory '4294967297'"},
        {"up --request-timeout 0", "--request-timeout '0': write it like 30s, 500ms or 1..5s"},
        {"up --request-timeout 1x", "--request-timeout '1x'"},
        {"up --request-timeout -1", "--request-timeout '-1'"},
        {"up --request-timeout 18446744073709551615", "--request-timeout '18446744073709551615'"},
        {"up --request-timeout 9223372036854775808ns", "--request-timeout '92233720368547758"},
        {"up --request-timeout 1..", "--request-timeout '1..'"},
        {"up --restore nonsense", "--restore"},
        {"up --limit x=1", "x=1"},
        {"up --from-registry r --build", "--from-registry goes with neither"},
        {"up --from-registry r --from-file x", "--from-registry goes with neither"},
        {"up --tls-cert c", "--tls-cert and --tls-key belong together; --tls-key is missing"},
        {"up --tls-key k", "--tls-cert and --tls-key belong together; --tls-cert is missing"},
        {"up --tls-folder d --tls-cert c", "--tls-folder and --tls-cert contradict each other"},
        {"up --tls-folder d --tls-key c", "--tls-folder and --tls-cert contradict each other"},
        {"up --tls-cert c --tls-key k", "TLS"},
        {"up ./none", "./none"},
        {"up -f ./here ./there", "./here"},
        {"up --from-file ./file -f ./here", "./file"},
        {"up --trusted-proxy x", "x"},
        {"up --stall-warning x", "x"},
        {"up --carbon none.toml", "none.toml"},
        {"up --listen x", "x"},
        {"up --listen x --find-free-port", "--listen 'x': give an address with a port"},
        {"up --admin x:x", "x:x"},
    };
    put("spin.toml", STATIC_APP);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fails(1, rows[i].says, cli_up, rows[i].line, "--cache-dir", "cache");
    static const char *const times[] = {
        "30", "30s", "500ms", "10us", "10ns", "1..5s", "9223372036854775807ns"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char option[64];
        snprintf(option, sizeof option, "--request-timeout=%s", times[i]);
        fails(1, "./none", cli_up, "up -f ./none --max-instance-memory 4294967296", option);
    }
    fails(1, "./none", cli_up, "up -f ./none --cache x --disable-pooling");
    assert_non_null(strstr(said, "--cache is ignored: it is a file for Wasmtime's own cache"));
    assert_non_null(strstr(said, "--disable-pooling is ignored"));
}

static void an_address_that_is_taken(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    char listen_at[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    snprintf(listen_at, sizeof listen_at, "--listen=127.0.0.1:%u", ntohs(at.sin_port));
    put("spin.toml", STATIC_APP);
    fails(1, "or let --find-free-port find one", cli_up, "up --workers 1 --cache-dir cache",
          listen_at);
    assert_int_equal(access(".spin/ebb/admin.sock", F_OK), -1); /* it goes with us */
    fails(1, "[http] listen", cli_serve, "serve --data d --admin= --workers 1", listen_at);
    snprintf(listen_at, sizeof listen_at, "--admin=127.0.0.1:%u", ntohs(at.sin_port));
    fails(1, "[admin] listen", cli_serve, "serve --data d --workers 1 --listen 127.0.0.1:0",
          listen_at);
    assert_int_equal(access("d/admin.sock", F_OK), -1);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc > 1) /* as a process of ebb's, which nothing here should start */
        return 2;
    const struct CMUnitTest tests[] = {
        cli_test(help_is_readable),          cli_test(how_many_more_fit),
        cli_test(capacity_as_text),          cli_test(use_of_a_file),
        cli_test(numbers_have_ranges),       cli_test(carbon_from_files),
        cli_test(report_of_a_file),          cli_test(mistakes_in_use),
        cli_test(one_policy_or_all),         cli_test(days_of_a_grid),
        cli_test(serve_checks_its_settings), cli_test(up_refuses),
        cli_test(an_address_that_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
