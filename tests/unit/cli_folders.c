/* Commands on folders: builds, what a doctor finds, backups and what a restore refuses. */
#include "cli_kit.h"

#include "platform/role.h"

#include <openssl/evp.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/file.h>

#define HEAD "spin_manifest_version = 2\n[application]\nname = \"x\"\n"
#define WEB(id)                                                                                    \
    "[[trigger.http]]\nroute = \"/" id "\"\ncomponent = \"" id "\"\n"                              \
    "[component." id "]\nsource = \"" id ".wasm\"\n"

/* --- build ------------------------------------------------------------------------------------ */

/* Each component's commands in their folder; one that another one depends on is built first. */
static void builds_in_order(void **state)
{
    mkdir("sub", 0755);
    put("spin.toml", HEAD WEB("a") "dependencies = { \"x:y/z\" = { path = \"b.wasm\" } }\n"
                                   "[component.a.build]\ncommand = \"echo a >> ../log; pwd\"\n"
                                   "workdir = \"sub\"\n" WEB(
                                       "b") "[component.b.build]\ncommand = [\"echo b >> log\", "
                                            "\"echo again >> log\"]\n" WEB("c"));
    succeeds(cli_build, "build");
    assert_string_equal(content("log"), "b\nagain\na\n");
    prints("Building component b (2 commands)\n");
    prints("Running build step 1/2 for component b with 'echo b >> log'\n");
    prints("Running build step 2/2 for component b with 'echo again >> log'\n");
    prints("Building component a with `echo a >> ../log; pwd`\n");
    prints("Working directory: \"");
    prints("/sub\"\n");
    prints("Finished building all Spin components\n");
    assert_non_null(strstr(said, "component a has dependencies; ebb generates no"));
    unlink("log");
    succeeds(cli_build, "build --skip-generate-wits -c a spin.toml");
    assert_string_equal(content("log"), "a\n");
    assert_string_equal(said, "");
    unlink("log");
    succeeds(cli_build, "build -f . -c b -c a");
    assert_string_equal(content("log"), "b\nagain\na\n");
    fails(1, "Unknown component(s) d", cli_build, "build -c a -c d");
    succeeds(cli_build, "build -c c");
    prints("None of the components have a build command.\n");
    assert_int_equal(access(".spin", F_OK), -1); /* no profile: nothing to remember */
}

static void components_that_wait_for_each_other(void **state)
{
    put("spin.toml", HEAD WEB("a") "dependencies = { \"x:y/z\" = { path = \"b.wasm\" } }\n"
                                   "[component.a.build]\ncommand = \"echo a >> log\"\n" WEB(
                                       "b") "dependencies = { \"x:y/z\" = { path = \"a.wasm\" } }\n"
                                            "[component.b.build]\ncommand = \"echo b >> log\"\n");
    succeeds(cli_build, "build --skip-generate-wits");
    assert_string_equal(content("log"), "a\nb\n"); /* the first; then nobody waits any more */
}

static void builds_that_fail(void **state)
{
    put("spin.toml", HEAD WEB("a") "[component.a.build]\ncommand = \"exit 7\"\n" WEB(
                         "b") "[component.b.build]\ncommand = \"echo b >> log\"\n");
    fails(1, "Build command for component a failed with status 7", cli_build, "build");
    assert_int_equal(access("log", F_OK), -1); /* the first failure ends it */
    put("spin.toml", HEAD WEB("a") "[component.a.build]\ncommand = \"kill -9 $$\"\n");
    fails(1, "Build command for component a was ended by signal 9", cli_build, "build");
    put("spin.toml", HEAD WEB("a") "[component.a.build]\ncommand = \"true\"\nworkdir = \"none\"\n");
    fails(1, "component a: the build's workdir ", cli_build, "build");
    put("x.wasm", "");
    fails(1, "x.wasm is a component already; give a manifest", cli_build, "build x.wasm");
    fails(2, "unknown option '--listen'; 'ebb build --help' lists the options", cli_build,
          "build --listen :1");
    fails(1, "./none: ", cli_build, "build ./none");
}

static void the_profile_that_was_built_last(void **state)
{
    put("spin.toml", HEAD WEB("a") "[component.a.build]\ncommand = \"echo plain >> log\"\n"
                                   "[component.a.profile.slow.build]\n"
                                   "command = \"echo slow >> log\"\n");
    succeeds(cli_build, "build --profile slow");
    assert_string_equal(content("log"), "slow\n");
    assert_string_equal(content(".spin/last-build.txt"), "slow");
    /* Another one than is to be served: that is said, and no more. */
    fails(1, "You built a different profile more recently", cli_up,
          "up --cache-dir cache --workers 1");
    assert_non_null(strstr(said, "'ebb up --build'"));
    assert_int_equal(run(cli_up, "up --cache-dir cache --workers 1 --profile slow", NULL), 1);
    assert_null(strstr(said, "different profile"));
    succeeds(cli_build, "build");
    assert_string_equal(content(".spin/last-build.txt"), "<anonymous>");
    assert_int_equal(run(cli_up, "up --cache-dir cache --workers 1", NULL), 1);
    assert_null(strstr(said, "different profile"));
    fails(1, "'ebb up --build --profile slow'", cli_up,
          "up --cache-dir cache --workers 1 --profile slow");
    /* --up: what follows is for that command, with the same app and profile. */
    fails(1, "--format 'x': give plain or json", cli_build, "build --up --format x");
    fails(1, "--format 'x'", cli_build, "build --profile slow -u . --format x");
    assert_string_equal(content("log"), "slow\nplain\nplain\nslow\n");
}

/* What targets are is looked at only for components that http triggers use. */
static void targets_that_are_not_known(void **state)
{
    put("spin.toml",
        HEAD "targets = [\"spin-up:9.9\"]\n" WEB("a") "[component.a.build]\ncommand = \"true\"\n");
    succeeds(cli_build, "build --skip-target-checks");
    fails(1, "a.wasm", cli_build, "build --cache-dir cache"); /* it has to be looked into */
    put("spin.toml", HEAD "targets = [\"spin-up:9.9\"]\n"
                          "[[trigger.http]]\nroute = \"/\"\nstatic_response = { body = \"x\" }\n"
                          "[component.a]\nsource = \"a.wasm\"\nbuild.command = \"true\"\n");
    succeeds(cli_build, "build --cache-dir cache");
    put("spin.toml", HEAD "targets = [\"spin-up:9.9\"]\n" WEB("a")
                         WEB("b") "[component.b.build]\ncommand = \"true\"\n");
    fails(1, "b.wasm", cli_build, "build -c b --cache-dir cache"); /* of those that were named */
}

/* --- doctor ----------------------------------------------------------------------------------- */

static const json_t *finding(const char *check, const char *status)
{
    size_t i;
    json_t *v;
    json_array_foreach(printed, i,
                       v) if (strcmp(json_string_value(json_object_get(v, "check")), check) == 0 &&
                              strcmp(json_string_value(json_object_get(v, "status")), status) ==
                                  0) return v;
    fail_msg("%s is not %s in %s", check, status, out);
    return NULL;
}

static void a_machine_and_no_app(void **state)
{
    succeeds(cli_doctor, "doctor --json --cache-dir cache");
    const json_t *app = finding("app", "note");
    assert_string_equal(json_string_value(json_object_get(app, "text")),
                        "there is no spin.toml in this folder");
    assert_string_equal(json_string_value(json_object_get(app, "fix")), "give one with -f");
    finding("kernel", "ok");
    const json_t *cache = finding("cache", "ok");
    assert_null(json_object_get(cache, "fix"));
    assert_int_equal(json_array_size(printed), 7);
    succeeds(cli_doctor, "doctor --cache-dir cache");
    prints("note  app: there is no spin.toml in this folder\n      -> give one with -f\n");
    prints("ok    kernel: Linux ");
    put("file", "");
    assert_int_equal(run(cli_doctor, "doctor --json --cache-dir file/cache", NULL), 1);
    finding("cache", "bad");
}

static void what_is_wrong_with_an_app(void **state)
{
    put("spin.toml", HEAD WEB("a") WEB("b") "[component.b.build]\ncommand = \"true\"\n"
                                            "[component.idle]\nsource = \"none.wasm\"\n");
    assert_int_equal(run(cli_doctor, "doctor --json --cache-dir cache", NULL), 1);
    const json_t *of = finding("manifest", "ok");
    assert_string_equal(json_string_value(json_object_get(of, "text")), "2 triggers, 3 components");
    of = finding("component a", "bad");
    assert_string_equal(json_string_value(json_object_get(of, "fix")),
                        "correct 'source', or add a build command");
    of = finding("component b", "bad");
    assert_string_equal(json_string_value(json_object_get(of, "fix")), "build it: ebb build -c b");
    assert_null(strstr(out, "component idle"));
    assert_non_null(strstr(out, "/b.wasm does not exist"));
    put("spin.toml", HEAD "[[trigger.http]]\nroute = \"/\"\nstatic_response = { body = \"x\" }\n");
    succeeds(cli_doctor, "doctor --json --cache-dir cache spin.toml");
    of = finding("manifest", "ok");
    assert_string_equal(json_string_value(json_object_get(of, "text")), "1 trigger, 0 components");
    put("spin.toml", "nonsense");
    assert_int_equal(run(cli_doctor, "doctor --json -f spin.toml", NULL), 1);
    of = finding("manifest", "bad");
    assert_non_null(strstr(json_string_value(json_object_get(of, "text")), "spin.toml:1:"));
    assert_int_equal(run(cli_doctor, "doctor --json -f none", NULL), 1);
    finding("manifest", "bad");
    put("spin.toml", HEAD "[[trigger.redis]]\nchannel = \"c\"\naddress = \"redis://h\"\n"
                          "component = \"c\"\n[component.c]\nsource = \"c.wasm\"\n");
    assert_int_equal(run(cli_doctor, "doctor --json", NULL), 1);
    finding("manifest", "bad");
    finding("manifest", "note"); /* its warning */
}

/* --- backup and restore ----------------------------------------------------------------------- */

static void database(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int row_of(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    int n = -1;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, "SELECT x FROM t", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static char blob_path[128];

static void blob_put(const char *content_of)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    char hex[65];
    EVP_Digest(content_of, strlen(content_of), hash, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    snprintf(blob_path, sizeof blob_path, "blobs/sha256/%.2s", hex);
    mkdir(blob_path, 0700);
    snprintf(blob_path, sizeof blob_path, "blobs/sha256/%.2s/%s", hex, hex);
    put(blob_path, content_of);
}

/* The data of a node, in data/. */
static void node_make(void)
{
    static const char *const folders[] = {"data",          "data/blobs",   "data/blobs/sha256",
                                          "data/files",    "data/files/a", "data/files/b.1.tmp",
                                          "data/state",    "data/state/7", "data/logs",
                                          "data/artifacts"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_int_equal(mkdir(folders[i], 0750), 0);
    assert_int_equal(chdir("data"), 0);
    database("platform.db", "CREATE TABLE t(x); INSERT INTO t VALUES (11)");
    database("state/7/default.db", "CREATE TABLE t(x); INSERT INTO t VALUES (22)");
    put("seal.key", "key");
    chmod("seal.key", 0600);
    chmod("platform.db", 0640);
    put("ebb.toml", "# settings");
    blob_put("a component");
    put("blobs/upload-x-1-2", "half");
    put("files/a/index.html", "hello");
    put("files/b.1.tmp/x", "unfinished");
    put("state/7/default.db-wal", "of the other");
    put("logs/out.txt", "line\n");
    put("artifacts/code", "made anew");
    assert_int_equal(symlink("/etc/hostname", "files/a/link"), 0);
    assert_int_equal(chdir(".."), 0);
}

static void a_backup_has_what_counts(void **state)
{
    struct stat st;
    char path[200];
    node_make();
    succeeds(cli_backup, "backup --data data to");
    prints("7 files, ");
    assert_int_equal(row_of("to/platform.db"), 11);
    assert_int_equal(row_of("to/state/7/default.db"), 22);
    assert_string_equal(content("to/seal.key"), "key");
    assert_int_equal(stat("to/seal.key", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat("to/platform.db", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(stat("to/files/a", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    assert_int_equal(stat("to", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_string_equal(content("to/ebb.toml"), "# settings");
    snprintf(path, sizeof path, "to/%s", blob_path);
    assert_string_equal(content(path), "a component");
    assert_string_equal(content("to/files/a/index.html"), "hello");
    assert_string_equal(content("to/logs/out.txt"), "line\n");
    static const char *const not[] = {"to/artifacts", "to/blobs/upload-x-1-2", "to/files/b.1.tmp",
                                      "to/files/a/link", "to/state/7/default.db-wal"};
    for (size_t i = 0; i < sizeof not / sizeof *not; i++)
        assert_int_equal(faccessat(AT_FDCWD, not[i], F_OK, AT_SYMLINK_NOFOLLOW), -1);
    /* And back, into a folder that is made. */
    succeeds(cli_restore, "restore --data deep/er/node to");
    prints("7 files, ");
    assert_int_equal(row_of("deep/er/node/platform.db"), 11);
    assert_string_equal(content("deep/er/node/logs/out.txt"), "line\n");
    assert_int_equal(stat("deep/er/node", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0711);
    fails(1, "to is not empty", cli_backup, "backup --data data to");
    assert_string_equal(content("to/seal.key"), "key"); /* what is there stays */
    mkdir("empty", 0755);
    succeeds(cli_backup, "backup --data data empty");
}

/* Restoring checks every file; what it has copied until then goes again. */
static void a_damaged_backup_is_not_restored(void **state)
{
    char path[200];
    node_make();
    succeeds(cli_backup, "backup --data data to");
    snprintf(path, sizeof path, "to/%s", blob_path);
    put(path, "another");
    fails(1, "is damaged: its content no longer has this digest", cli_restore,
          "restore --data node to");
    assert_int_equal(access("node", F_OK), -1);
    succeeds(cli_backup, "backup --data to again"); /* a copy of it may be made */
    put(path, "a component");
    succeeds(cli_restore, "restore --data node to");
    FILE *f = fopen("to/state/7/default.db", "r+");
    fseek(f, 4096, SEEK_SET);
    for (int i = 0; i < 4096; i++)
        fputc(0xff, f);
    fclose(f);
    assert_int_equal(run(cli_restore, "restore --data node2 to", NULL), 1);
    assert_int_equal(access("node2", F_OK), -1);
}

static void places_of_backups(void **state)
{
    mkdir("data", 0755);
    fails(1, "no node has its data here: data/platform.db", cli_backup, "backup --data data to");
    fails(1, "this is no backup: data/platform.db", cli_restore, "restore --data node data");
    fails(2, "give one folder: ebb backup TO", cli_backup, "backup --data data");
    fails(2, "give one folder: ebb restore FROM", cli_restore, "restore --data data a b");
    put("data/platform.db", "");
    fails(1, "data/blobs", cli_backup, "backup --data data to");
    put("file", "");
    mkdir("data/blobs", 0755);
    assert_int_equal(run(cli_restore, "restore --data file/x/y data", NULL), 1);
    assert_int_equal(run(cli_backup, "backup --data data file/to", NULL), 1);
    assert_int_equal(access("to", F_OK), -1);
}

/* --- the others ------------------------------------------------------------------------------- */

static void nobody_answers(void **state)
{
    setenv("HOME", dir, 1);
    setenv("XDG_CONFIG_HOME", dir, 1);
    fails(1, "no node answers", cli_carbon, "carbon now --admin none.sock");
    assert_int_not_equal(run(cli_upgrade, "upgrade --data none", NULL), 0);
    assert_int_not_equal(run(cli_inspect, "inspect none.wasm", NULL), 0);
    assert_non_null(strstr(said, "none.wasm"));
    assert_int_not_equal(run(cli_inspect, "inspect", NULL), 0);
    put("x.wasm", "nonsense");
    assert_int_not_equal(run(cli_inspect, "inspect x.wasm", NULL), 0);
    assert_string_equal(out, "");
}

/* What looks into a component is this program again. */
int main(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] == '@')
        return strcmp(argv[1], "@decode") == 0    ? role_decode(argc - 1, argv + 1)
               : strcmp(argv[1], "@compile") == 0 ? role_compile(argc - 1, argv + 1)
                                                  : 2;
    const struct CMUnitTest tests[] = {
        cli_test(builds_in_order),
        cli_test(components_that_wait_for_each_other),
        cli_test(builds_that_fail),
        cli_test(the_profile_that_was_built_last),
        cli_test(targets_that_are_not_known),
        cli_test(a_machine_and_no_app),
        cli_test(what_is_wrong_with_an_app),
        cli_test(a_backup_has_what_counts),
        cli_test(a_damaged_backup_is_not_restored),
        cli_test(places_of_backups),
        cli_test(nobody_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
