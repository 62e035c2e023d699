/* An app in a folder on its way to be served: where it is, what is refused, what guests see of its
 * files, what it stores, who gives the values of its variables. Nothing is compiled here. */
#include "folder_kit.h"

#include "app/manifest.h"
#include "platform/guestlog.h"
#include "platform/localapp.h"
#include "platform/state.h"

#include <limits.h>
#include <string.h>

static arena a, scratch;
static err e;

static int begin(void **state)
{
    arena_init(&a, 256 << 20);
    arena_init(&scratch, 256 << 20);
    memset(&e, 0, sizeof e);
    unsetenv("TMPDIR");
    return folder_make("/dev/shm/ebb-test-localapp") && chdir(dir) == 0 ? 0 : -1;
}

static int end(void **state)
{
    arena_fini(&a);
    arena_fini(&scratch);
    return chdir("/") || folder_remove(dir);
}

static void put_bytes(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void put(const char *path, const char *text) { put_bytes(path, text, strlen(text)); }

/* In the folder of the test. */
static const char *at(const char *name)
{
    static char path[8][PATH_MAX];
    static unsigned n;
    char *p = path[n++ % 8];
    snprintf(p, PATH_MAX, "%s/%s", dir, name);
    return p;
}

#define is(got, wanted) assert_true(str_eq(got, str_from(wanted)))

/* --- where an app is -------------------------------------------------------------------------- */

static void places(void **state)
{
    localapp_place p;
    mkdir("app", 0700);
    mkdir("empty", 0700);
    put("app/spin.toml", "");
    put("app/other.toml", "");
    put("app/x.wasm", "");
    put("spin.toml", "");
    assert_true(localapp_find(&a, NULL, &p, &e)); /* this folder */
    assert_str(p.manifest, "spin.toml");
    is(p.dir, dir);
    assert_true(localapp_find(&a, ".", &p, &e));
    assert_str(p.manifest, "spin.toml");
    assert_true(localapp_find(&a, "app", &p, &e));
    assert_str(p.manifest, "app/spin.toml");
    is(p.dir, at("app"));
    assert_int_equal(p.wasm.n + p.reference.n, 0);
    assert_true(localapp_find(&a, "app//", &p, &e));
    assert_str(p.manifest, "app/spin.toml");
    assert_true(localapp_find(&a, "app/other.toml", &p, &e));
    assert_str(p.manifest, "app/other.toml");
    is(p.dir, at("app"));
    assert_true(localapp_find(&a, at("app/x.wasm"), &p, &e));
    is(p.wasm, at("app/x.wasm"));
    assert_int_equal(p.manifest.n, 0);
    is(p.dir, at("app"));
    put("y.wasm", "");
    assert_true(localapp_find(&a, "y.wasm", &p, &e));
    is(p.dir, dir);
    assert_false(localapp_find(&a, "empty", &p, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    says("empty has no spin.toml; give a manifest");
    assert_false(localapp_find(&a, "nowhere.toml", &p, &e));
    says("nowhere.toml: No such file");
    assert_false(localapp_find(&a, "./a/b", &p, &e));
    says("./a/b: No such file");
    /* What is no file may be in a registry, and where it is does not matter. */
    assert_true(localapp_find(&a, "registry.example/app:1", &p, &e));
    assert_str(p.reference, "registry.example/app:1");
    assert_int_equal(p.manifest.n + p.wasm.n, 0);
    is(p.dir, dir);
    app *x;
    assert_false(localapp_read(&a, &p, NULL, &x, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    says("there is no file registry.example/app:1");
    assert_int_equal(chdir("/"), 0); /* at the root of everything */
    assert_false(localapp_find(&a, "/", &p, &e));
    says("/ has no spin.toml");
    assert_int_equal(chdir(dir), 0);
}

#define STATIC                                                                                     \
    "spin_manifest_version = 2\n[application]\nname = \"still\"\n"                                 \
    "[[trigger.http]]\nroute = \"/\"\nstatic_response = { body = \"hi\" }\n"
#define UNUSED "[component.idle]\nsource = \"idle.wasm\"\n"

static void reading(void **state)
{
    localapp_place p;
    localapp_options o = {.from = "spin.toml"};
    char origin[PATH_MAX + 16];
    app *x = NULL;
    put("spin.toml", STATIC "[component.c]\nsource = \"c.wasm\"\n[component.c.profile.slow]\n"
                            "source = \"slow.wasm\"\n");
    assert_true(localapp_open(&a, &o, &p, &x, &e));
    assert_str(x->name, "still");
    snprintf(origin, sizeof origin, "file://%s", dir);
    is(x->origin, origin);
    assert_str(x->components[0].source.path, "c.wasm");
    o.profile = "slow";
    assert_true(localapp_open(&a, &o, &p, &x, &e));
    assert_str(x->components[0].source.path, "slow.wasm");
    put("spin.toml", "spin_manifest_version = 7\n");
    assert_false(localapp_open(&a, &o, &p, &x, &e));
    says("spin.toml:1:");
    put("bare.wasm", "");
    o = (localapp_options){.from = "bare.wasm"};
    assert_true(localapp_open(&a, &o, &p, &x, &e));
    assert_int_equal(x->components_count, 1);
    is(x->components[0].source.path, at("bare.wasm"));
    unlink("bare.wasm");
    assert_false(localapp_read(&a, &p, NULL, &x, &e));
    assert_false(localapp_open(&a, &(localapp_options){.from = "./no/such"}, &p, &x, &e));
}

/* --- what is refused -------------------------------------------------------------------------- */

static app *app_of(const char *manifest)
{
    app *x = NULL;
    manifest_options mo = {.file = S("spin.toml")};
    if (!manifest_read(&a, str_from(manifest), &mo, &x, &e))
        fail_msg("%s", e.text);
    return x;
}

#define HEAD "spin_manifest_version = 2\n[application]\nname = \"x\"\n"
#define ONE  "[component.c]\nsource = \"c.wasm\"\n"
#define C    "[[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\n" ONE

static void what_is_not_run(void **state)
{
    app *x = app_of(STATIC);
    x->triggers_count = 0;
    assert_false(localapp_runs(&a, x, &e));
    assert_int_equal(e.code, ERR_INVALID);
    says("No triggers in app");
    assert_false(localapp_runs(&a,
                               app_of(HEAD ONE "[[trigger.redis]]\nchannel = \"c\"\n"
                                               "address = \"redis://h\"\ncomponent = \"c\"\n"),
                               &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    says("the app has no http trigger");
    x = app_of(STATIC ONE "[[trigger.redis]]\nid = \"r\"\nchannel = \"c\"\n"
                          "address = \"redis://h\"\ncomponent = \"c\"\n");
    size_t before = x->warnings.n;
    assert_true(localapp_runs(&a, x, &e));
    assert_int_equal(x->warnings.n, before + 1);
    assert_str(x->warnings.at[before],
               "trigger 'r' is not run: ebb knows no triggers of type 'redis'");
    assert_false(
        localapp_runs(&a,
                      app_of(HEAD ONE "[[trigger.http]]\nid = \"w\"\nroute = \"/\"\n"
                                      "component = \"c\"\nexecutor = { type = \"wagi\" }\n"),
                      &e));
    says("trigger 'w' has the executor \"wagi\"");
    assert_false(localapp_runs(
        &a,
        app_of(HEAD ONE "[[trigger.http]]\nid = \"m\"\nroute = \"/\"\ncomponent = \"c\"\n"
                        "dependencies.middleware = [{ path = \"m.wasm\" }]\n"),
        &e));
    says("trigger 'm' has middleware");
}

static str sum_of(const app_pairs *p)
{
    str out = S("");
    for (size_t i = 0; i < p->n; i++)
        out = arena_printf(&a, "%.*s%s%.*s=%.*s", STR(out), i ? " " : "", STR(p->at[i].key),
                           STR(p->at[i].value));
    return out;
}

static void values_of_a_component(void **state)
{
    app *x =
        app_of(HEAD "[variables]\nhost = { default = \"h.example\" }\nkey = { required = true }"
                    "\n" C "variables = { url = \"https://{{ host }}\", key = \"{{ key }}\" }\n"
                    "allowed_outbound_hosts = [\"https://{{ host }}\", \"{{ key }}\"]\n");
    const app_component *c = &x->components[0];
    app_pairs given = {0};
    config_component out = {0};
    assert_true(app_pairs_add(&a, &given, S("key"), S("https://k.example")));
    variable_provider one = variable_provider_static(&given),
                      none = variable_provider_static(&(app_pairs){0});
    variable_providers providers = {&one, 1};
    assert_true(localapp_values(&a, x, providers, false, c, &out, &e));
    assert_str(sum_of(&out.variables), "url=https://h.example key=https://k.example");
    assert_int_equal(out.outbound.n, 2);
    assert_str(out.outbound.at[0], "https://h.example");
    assert_str(out.outbound.at[1], "https://k.example");
    /* Each instance asks for itself: only the names are known. */
    out = (config_component){0};
    assert_true(localapp_values(&a, x, providers, true, c, &out, &e));
    assert_str(sum_of(&out.variables), "url= key=");
    assert_int_equal(out.outbound.n, 0);
    out = (config_component){0};
    providers.at = &none;
    assert_false(localapp_values(&a, x, providers, false, c, &out, &e));
    says("component 'c', variable 'key'");
    x = app_of(HEAD "[variables]\nkey = { required = true }\n" C
                    "allowed_outbound_hosts = [\"https://{{ key }}\"]\n");
    out = (config_component){0};
    assert_false(localapp_values(&a, x, providers, false, &x->components[0], &out, &e));
    says("component 'c', allowed_outbound_hosts");
    x = app_of(HEAD C "allowed_outbound_hosts = [\"https://a.example\"]\n");
    assert_true(localapp_values(&a, x, providers, true, &x->components[0], &out, &e));
    assert_int_equal(out.outbound.n, 1); /* it has no variables, so it is known now */
}

/* --- files ------------------------------------------------------------------------------------ */

static app_component *with_files(const char *files)
{
    return &app_of(arena_printf(&a, HEAD C "files = %s\n", files).p)->components[0];
}

static localfiles made;

/* The folder that guests see at "/", or NULL: it failed. */
static const char *laid_out(const char *files)
{
    config_component out = {0};
    str_list warnings = {0};
    made = (localfiles){.temp_base = at("temp")};
    if (!localfiles_make(&a, &scratch, &made, dir, S("spin.toml"), with_files(files), &warnings,
                         &out, &e))
        return NULL;
    assert_int_equal(out.mounts.n, 1);
    assert_str(out.mounts.at[0].key, "/");
    return out.mounts.at[0].value.p;
}

static const char *below(const char *folder, const char *name)
{
    return arena_printf(&a, "%s/%s", folder, name).p;
}

static void files_are_copied(void **state)
{
    struct stat st;
    size_t big_n = 200001;
    char *big = malloc(big_n), *got = malloc(big_n + 1);
    for (size_t i = 0; i < big_n; i++)
        big[i] = (char)(i * 31 + i / 999);
    mkdir("static", 0700);
    mkdir("static/deep", 0700);
    put("static/one.txt", "one");
    put("static/deep/two.txt", "two");
    put("static/.hidden", "hidden");
    put_bytes("static/big", big, big_n);
    put("lone.txt", "lone");
    const char *to = laid_out("[{ source = \"static\", destination = \"/s\" }, \"lone.txt\"]");
    if (!to)
        fail_msg("%s", e.text);
    assert_string_equal(content(below(to, "s/one.txt")), "one");
    assert_string_equal(content(below(to, "s/deep/two.txt")), "two");
    assert_string_equal(content(below(to, "s/.hidden")), "hidden");
    assert_string_equal(content(below(to, "lone.txt")), "lone");
    int fd = open(below(to, "s/big"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, got, big_n + 1), big_n);
    assert_memory_equal(got, big, big_n);
    close(fd);
    free(got);
    free(big);
    put("static/one.txt", "changed"); /* nothing under a running request does */
    assert_string_equal(content(below(to, "s/one.txt")), "one");
    assert_int_equal(stat(below(to, "s"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(entries("temp"), 3);
    localfiles_remove(&made);
    assert_int_equal(entries("temp"), 2);
    assert_int_equal(made.temp[0], 0);
    localfiles_remove(&made); /* nothing is left to remove */
}

/* Components share one temporary folder; one that sees no files needs none. */
static void one_folder_for_all(void **state)
{
    config_component out[3] = {0};
    str_list warnings = {0};
    app *x = app_of(HEAD C "files = [\"a.txt\"]\n[component.d]\nsource = \"d.wasm\"\nfiles = "
                           "[\"a.txt\"]\n[component.n]\nsource = \"n.wasm\"\n");
    put("a.txt", "a");
    assert_int_equal(mkdir("tmpdir", 0700), 0);
    setenv("TMPDIR", at("tmpdir"), 1);
    localfiles l = {0};
    for (size_t i = 3; i-- > 0;) {
        assert_true(localfiles_make(&a, &scratch, &l, dir, S("spin.toml"), &x->components[i],
                                    &warnings, &out[i], &e));
        assert_int_equal(l.temp[0] != 0, i < 2);
    }
    assert_int_equal(out[2].mounts.n, 0);
    assert_int_equal(entries("tmpdir"), 3);
    assert_int_equal(entries(l.temp), 4);
    assert_string_not_equal(out[0].mounts.at[0].value.p, out[1].mounts.at[0].value.p);
    localfiles_remove(&l);
    assert_int_equal(entries("tmpdir"), 2);
    unsetenv("TMPDIR");
    /* A folder that there is not, and one that can't be made. */
    l = (localfiles){.temp_base = "no/where"};
    assert_false(localfiles_make(&a, &scratch, &l, dir, S("spin.toml"), &x->components[0],
                                 &warnings, &out[0], &e));
    says("--temp no/where");
    char *deep = malloc(300);
    snprintf(deep, 300, "%s/", dir);
    memset(deep + strlen(deep), 'd', 250 - strlen(deep));
    deep[250] = 0;
    l = (localfiles){.temp_base = deep};
    assert_false(localfiles_make(&a, &scratch, &l, dir, S("spin.toml"), &x->components[0],
                                 &warnings, &out[0], &e));
    says("the path of the temporary folder is too long");
    assert_int_equal(l.temp[0], 0);
    free(deep);
    assert_false(localfiles_make(&a, &scratch, &l, at("none"), S("spin.toml"), &x->components[0],
                                 &warnings, &out[0], &e));
    says("none");
}

static void no_link_leads_out(void **state)
{
    mkdir("s", 0700);
    put("s/in.txt", "in");
    assert_int_equal(symlink("in.txt", "s/link.txt"), 0);
    const char *to = laid_out("[\"s/link.txt\"]");
    assert_non_null(to);
    assert_string_equal(content(below(to, "s/link.txt")), "in");
    localfiles_remove(&made);
    assert_int_equal(symlink("/etc/hostname", "s/out.txt"), 0);
    assert_null(laid_out("[\"s/out.txt\"]"));
    assert_int_equal(e.code, ERR_DENIED);
    says("leads outside of the app's folder");
    assert_null(laid_out("[\"absent.txt\"]"));
    says("absent.txt");
    assert_null(laid_out("[\"s/in.txt/x\"]"));
    localfiles_remove(&made);
}

/* What there is only, without copies. */
static void lists_without_copies(void **state)
{
    str_list warnings = {0};
    app_component *c = with_files("[\"*.txt\"]");
    put("b.txt", "b");
    put("a.txt", "a");
    put("c.md", "c");
    assert_true(localfiles_expand(&a, &scratch, dir, S("spin.toml"), c, &warnings, &e));
    assert_int_equal(c->files.n, 2);
    assert_str(c->files.at[0].guest_path, "/a.txt");
    assert_str(c->files.at[1].host_path, "b.txt");
    assert_false(localfiles_expand(&a, &scratch, at("none"), S("spin.toml"), c, &warnings, &e));
    says("none: No such file");
    /* Files of an app in a registry are listed with absolute paths. */
    config_component out = {0};
    app_file files[] = {{.host_path = S(""), .guest_path = S("/deep/x")}};
    app_component listed = {.id = S("l"), .files = {files, 1}};
    files[0].host_path = str_from(at("a.txt"));
    localfiles l = {.temp_base = at("temp"), .listed = true};
    assert_true(localfiles_make(&a, &scratch, &l, "/none", S(""), &listed, &warnings, &out, &e));
    assert_string_equal(content(below(out.mounts.at[0].value.p, "deep/x")), "a");
    localfiles_remove(&l);
}

static bool mounted(const char *files, config_component *out)
{
    str_list warnings = {0};
    localfiles l = {.direct = true};
    *out = (config_component){0};
    bool ok = localfiles_make(&a, &scratch, &l, dir, S("spin.toml"), with_files(files), &warnings,
                              out, &e);
    assert_int_equal(l.temp[0], 0);
    return ok;
}

static void folders_are_mounted(void **state)
{
    config_component out;
    mkdir("s", 0700);
    mkdir("s/t", 0700);
    put("f.txt", "f");
    assert_true(mounted("[{ source = \"s\", destination = \"/a/\" }, "
                        "{ source = \"s/t\", destination = \"b\" }, "
                        "{ source = \"s\", destination = \"/\" }]",
                        &out));
    assert_int_equal(out.mounts.n, 3);
    assert_str(out.mounts.at[0].key, "/a");
    is(out.mounts.at[0].value, at("s"));
    assert_str(out.mounts.at[1].key, "/b");
    is(out.mounts.at[1].value, at("s/t"));
    assert_str(out.mounts.at[2].key, "/");
    assert_false(mounted("[\"s/*\"]", &out));
    says("component 'c': the pattern \"s/*\" in 'files' cannot be mounted");
    assert_false(mounted("[{ source = \"f.txt\", destination = \"/f\" }]", &out));
    says("mounts folders only, and f.txt is not one");
    assert_false(mounted("[{ source = \"none\", destination = \"/f\" }]", &out));
    says("component 'c': none: No such file");
    assert_false(
        mounted("[{ source = \"s\", destination = \"/\" }]\nexclude_files = [\"x\"]", &out));
    says("component 'c' has 'exclude_files'");
}

/* --- what is stored --------------------------------------------------------------------------- */

static runtime_config configured;
static app_config stored;
static str kept_in;

static bool store(state_options *o, const char *component)
{
    app *x = app_of(arena_printf(&a, HEAD C "%s\n", component).p);
    o->app_dir = str_from(dir);
    o->config = &configured;
    memset(&stored, 0, sizeof stored);
    return state_make(&a, o, x, &stored, &kept_in, &e);
}

static void defaults_of_stores(void **state)
{
    state_options o = {0};
    runtime_config_default(&configured);
    assert_true(store(&o, "")); /* nothing is stored: nothing is made */
    assert_int_equal(stored.stores_count + stored.databases_count, 0);
    assert_int_equal(kept_in.n, 0);
    assert_int_equal(access(".spin", F_OK), -1);
    o.keeps = true;
    assert_true(store(&o, ""));
    is(kept_in, at(".spin"));
    assert_int_equal(rmdir(".spin"), 0);
    o.keeps = false;
    assert_true(store(&o, "key_value_stores = [\"default\", \"default\"]\n"
                          "sqlite_databases = [\"default\"]"));
    is(kept_in, at(".spin"));
    assert_int_equal(stored.stores_count, 1);
    is(stored.stores[0].path, at(".spin/sqlite_key_value.db"));
    assert_int_equal(stored.databases_count, 1);
    is(stored.databases[0].path, at(".spin/sqlite_db.db"));
    o.state_dir = "elsewhere";
    assert_true(store(&o, "sqlite_databases = [\"default\"]"));
    is(stored.databases[0].path, at("elsewhere/sqlite_db.db"));
    o.state_dir = ""; /* in memory */
    o.keeps = true;
    assert_true(store(&o, "key_value_stores = [\"default\"]"));
    assert_int_equal(stored.stores[0].path.n, 0);
    assert_int_equal(kept_in.n, 0);
    o.state_dir = "no/such";
    o.keeps = false;
    assert_false(store(&o, "key_value_stores = [\"default\"]"));
    says("the state folder (--state-dir)");
    assert_false(store(&o, "key_value_stores = [\"other\"]"));
    says("unknown key_value_stores label 'other'");
    says("[key_value_store.other]");
    assert_false(store(&o, "sqlite_databases = [\"other\"]"));
    says("unknown sqlite_databases label 'other'");
}

static void configured_stores(void **state)
{
    static config_store stores[4];
    static config_database databases[2];
    stores[0] = (config_store){.label = S("a"), .kind = STORE_SPIN, .path = S("kv/a.db")};
    stores[1] = (config_store){.label = S("m"), .kind = STORE_SPIN};
    stores[2] = (config_store){.label = S("r"), .kind = STORE_REDIS, .url = S("redis://h:1")};
    stores[3] = (config_store){.label = S("z"), .kind = STORE_COSMOS};
    databases[0] = (config_database){.label = S("d"), .path = S("sql.db")};
    databases[1] = (config_database){
        .label = S("l"), .kind = DATABASE_LIBSQL, .url = S("http://l"), .token = S("t")};
    runtime_config_default(&configured);
    configured.stores = stores;
    configured.stores_count = 4;
    configured.databases = databases;
    configured.databases_count = 2;
    mkdir("conf", 0700);
    state_options o = {.config_dir = str_from(at("conf"))};
    assert_true(store(&o, "key_value_stores = [\"a\", \"m\", \"r\"]\n"
                          "sqlite_databases = [\"d\", \"l\"]"));
    is(stored.stores[0].path, at("conf/kv/a.db")); /* from the file's folder on, which is made */
    assert_int_equal(access("conf/kv", F_OK), 0);
    assert_int_equal(stored.stores[1].path.n, 0);
    assert_str(stored.stores[2].url, "redis://h:1");
    is(stored.databases[0].path, at("sql.db")); /* from where ebb was started */
    assert_str(stored.databases[1].url, "http://l");
    assert_str(stored.databases[1].token, "t");
    assert_int_equal(kept_in.n, 0);
    assert_false(store(&o, "key_value_stores = [\"z\"]"));
    says("[key_value_store.z]: ebb does not serve stores of type \"azure_cosmos\"");
    stores[3].kind = STORE_DYNAMO;
    assert_false(store(&o, "key_value_stores = [\"z\"]"));
    says("aws_dynamo");
    stores[2].url = S("http://h");
    assert_false(store(&o, "key_value_stores = [\"r\"]"));
    says("[key_value_store.r]");
    stores[0].path = str_from(at("absolute.db"));
    assert_true(store(&o, "key_value_stores = [\"a\"]"));
    is(stored.stores[0].path, at("absolute.db"));
    stores[0].path = S("no/such/a.db");
    assert_false(store(&o, "key_value_stores = [\"a\"]"));
    says("No such file");
}

static void keys_and_statements_of_the_command_line(void **state)
{
    const char *pairs[] = {"k=v=w", "empty="}, *wrong[] = {"kv"};
    state_options o = {.key_values = pairs, .key_values_count = 2};
    runtime_config_default(&configured);
    assert_false(store(&o, ""));
    says("--key-value: no component has \"default\"");
    assert_true(store(&o, "key_value_stores = [\"default\"]"));
    assert_int_equal(stored.stores[0].initial_count, 4);
    assert_str(stored.stores[0].initial[0], "k");
    assert_str(stored.stores[0].initial[1], "v=w");
    assert_str(stored.stores[0].initial[3], "");
    assert_int_equal(access(".spin/sqlite_key_value.db", F_OK), 0);
    o.key_values = wrong;
    o.key_values_count = 1;
    assert_false(store(&o, "key_value_stores = [\"default\"]"));
    says("--key-value 'kv': write KEY=VALUE");
    put("make.sql", "CREATE TABLE t(x);");
    const char *good[] = {"@make.sql:default", "INSERT INTO t VALUES (1)"};
    o = (state_options){.statements = good, .statements_count = 2};
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        o.state_dir = in_memory ? "" : NULL;
        assert_true(store(&o, "sqlite_databases = [\"default\"]"));
        assert_int_equal(stored.databases[0].scripts_count, 2);
        assert_str(stored.databases[0].scripts[1], "INSERT INTO t VALUES (1)");
        assert_str(stored.databases[0].scripts[0], "CREATE TABLE t(x);");
        const char *const bad[][2] = {{"NONSENSE", "NONSENSE"},
                                      {"@none.sql", "none.sql"},
                                      {"@make.sql:other", "no component has \"other\""}};
        for (size_t i = 0; i < 3; i++) {
            state_options with = {
                .statements = bad[i], .statements_count = 1, .state_dir = o.state_dir};
            assert_false(store(&with, "sqlite_databases = [\"default\"]"));
            says("--sqlite");
            says(bad[i][1]);
        }
    }
}

/* --- variables -------------------------------------------------------------------------------- */

static str value_of(const variable_providers *p, const char *name)
{
    str value = {0};
    for (size_t i = 0; i < p->n && !value.p; i++)
        assert_true(p->at[i].get(p->at[i].ctx, &a, str_from(name), &value, &e));
    return value.p ? value : S("(none)");
}

/* The command line, then the configured ones in their order, then the environment, then .env. */
static void who_gives_values(void **state)
{
    config_provider all[2] = {
        {.kind = PROVIDER_ENV, .prefix = S("MINE"), .dotenv_path = S("mine.env")},
        {.kind = PROVIDER_STATIC}};
    runtime_config c = {.providers = all, .providers_count = 2};
    app *x = app_of(HEAD "[variables]\na = { required = true }\nb = { required = true }\n"
                         "c = { required = true }\nd = { required = true }\n"
                         "e = { required = true }\nf = { required = true }\n" C);
    app_pairs given = {0};
    provider_list list;
    variable_providers p;
    assert_true(app_pairs_add(&a, &given, S("a"), S("given")));
    assert_true(app_pairs_add(&a, &all[1].values, S("a"), S("static")));
    assert_true(app_pairs_add(&a, &all[1].values, S("c"), S("static")));
    put("mine.env", "\n# MINE_A=no\n MINE_B = \"of 'mine.env'\" \nexport MINE_C='quoted'\nMINE_D=\n"
                    "MINE_E=\"half\n=nothing\n");
    put(".env", "SPIN_VARIABLE_E=late\nSPIN_VARIABLE_F='\nMINE_F=no\n");
    assert_true(providers_make(&a, x, &given, &c, &list, &e));
    assert_false(list.ask_again);
    assert_int_equal(list.n, 4);
    assert_true(providers_open(&a, &list, &p, &e));
    assert_str(value_of(&p, "a"), "given");
    assert_str(value_of(&p, "b"), "of 'mine.env'");
    assert_str(value_of(&p, "c"), "quoted");
    assert_str(value_of(&p, "d"), "");
    assert_str(value_of(&p, "e"), "\"half");
    assert_str(value_of(&p, "f"), "'");
    setenv("MINE_B", "of the environment", 1);
    setenv("SPIN_VARIABLE_F", "f", 1);
    assert_true(providers_make(&a, x, &given, &c, &list, &e) && providers_open(&a, &list, &p, &e));
    unsetenv("MINE_B");
    unsetenv("SPIN_VARIABLE_F");
    assert_str(value_of(&p, "b"), "of the environment"); /* read once, at start */
    assert_str(value_of(&p, "f"), "f");
    unlink(".env"); /* it need not be there; one that is named has to */
    assert_true(providers_make(&a, x, &given, &c, &list, &e));
    unlink("mine.env");
    assert_false(providers_make(&a, x, &given, &c, &list, &e));
    says("mine.env");
    all[0] = (config_provider){.kind = PROVIDER_VAULT,
                               .url = S("http://127.0.0.1:1/"),
                               .token = S("token"),
                               .mount = S("m"),
                               .prefix = S("p")};
    assert_true(providers_make(&a, x, &given, &c, &list, &e) && providers_open(&a, &list, &p, &e));
    assert_true(list.ask_again);
    assert_true(list.at[1].is_vault && str_eq(list.at[1].mount, S("m")));
    str value;
    assert_false(p.at[1].get(p.at[1].ctx, &a, S("a"), &value, &e));
    says("Vault cannot be asked");
    assert_null(strstr(e.text, "token"));
    all[1].kind = PROVIDER_AZURE;
    assert_false(providers_make(&a, x, &given, &c, &list, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}

/* --- without memory --------------------------------------------------------------------------- */

static app *whole;

static bool stores_made(void)
{
    const char *pairs[] = {"k=v"};
    state_options o = {.state_dir = "",
                       .app_dir = str_from(dir),
                       .config = &configured,
                       .key_values = pairs,
                       .key_values_count = 1};
    return state_make(&a, &o, whole, &stored, &kept_in, &e);
}

static bool values_made(void)
{
    app_pairs given = {0};
    runtime_config c = {0};
    provider_list list;
    variable_providers p;
    config_component component = {0};
    return app_pairs_add(&a, &given, S("v"), S("1"))
               ? providers_make(&a, whole, &given, &c, &list, &e) &&
                     providers_open(&a, &list, &p, &e) &&
                     localapp_values(&a, whole, p, false, &whole->components[0], &component, &e)
               : err_no_memory(&e);
}

static bool files_made(void)
{
    str_list warnings = {0};
    config_component component = {0};
    localfiles l = {.temp_base = at("temp")};
    bool ok = localfiles_make(&a, &scratch, &l, dir, S("spin.toml"), &whole->components[0],
                              &warnings, &component, &e);
    localfiles_remove(&l);
    return ok;
}

static bool place_found(void)
{
    localapp_place p;
    app *x;
    return localapp_find(&a, ".", &p, &e) && localapp_read(&a, &p, NULL, &x, &e);
}

/* Whichever allocation fails, that is said, and nothing is left of what was made. */
static void without_memory(void **state)
{
    static bool (*const steps[])(void) = {stores_made, values_made, files_made, place_found};
    runtime_config_default(&configured);
    mkdir("s", 0700);
    put("s/f.txt", "f");
    put("spin.toml", STATIC);
    whole = app_of(HEAD "[variables]\nv = { required = true }\n" C
                        "key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\n"
                        "files = [\"s/*\", { source = \"s\", destination = \"/d\" }]\n"
                        "variables = { v = \"{{ v }}\" }\n"
                        "allowed_outbound_hosts = [\"https://{{ v }}.example\"]\n");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        alloc_fail_after(0);
        if (!steps[i]())
            fail_msg("%s", e.text);
        size_t total = alloc_fail_after(0);
        assert_true(total > 0);
        for (size_t n = 1; n <= total; n++) {
            arena_reset(&scratch);
            alloc_fail_after(n);
            bool ok = steps[i]();
            alloc_fail_after(0);
            if (ok || (e.code != ERR_NO_MEMORY && e.code != ERR_LIMIT))
                fail_msg("step %zu, allocation %zu of %zu: %s", i, n, total, ok ? "ok" : e.text);
        }
    }
    assert_int_equal(entries("temp"), 2);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void options_of_an_app_without_components(void **state)
{
    localapp l;
    localapp_options o = {.cache_dir = "cache", .temp_dir = "temp", .jobs = 1};
    put("spin.toml", STATIC UNUSED);
    assert_true(localapp_load(&a, &o, &l, &e));
    is(l.state_dir, at(".spin"));
    is(l.config.log_dir, at(".spin/logs"));
    assert_true(l.config.app == l.app && !l.config.components[0].artifact.n);
    assert_true(l.config.components[0].follow);
    localapp_unload(&l);
    put("run.toml", "state_dir = \"kept\"\nunknown_key = 1\n");
    o.runtime_config_file = "run.toml";
    bool ok = localapp_load(&a, &o, &l, &e);
    if (ok) {
        is(l.state_dir, at("kept"));
        is(l.config.log_dir, at("kept/logs"));
        localapp_unload(&l);
    }
    o.runtime_config_file = "none/run.toml";
    assert_false(localapp_load(&a, &o, &l, &e));
    says("none/run.toml");
    assert_null(l.app);
    o.runtime_config_file = "";
    o.state_dir = "";
    assert_true(localapp_load(&a, &o, &l, &e));
    assert_int_equal(l.state_dir.n + l.config.log_dir.n, 0);
    localapp_unload(&l);
    o.log_dir = "logs";
    put("spin.toml", STATIC UNUSED "[component.other]\nsource = \"o.wasm\"\n");
    o.follow = (const char *const[]){"other"};
    o.follow_count = 1;
    assert_true(localapp_load(&a, &o, &l, &e));
    is(l.config.log_dir, at("logs"));
    assert_false(l.config.components[0].follow);
    assert_true(l.config.components[1].follow);
    localapp_unload(&l);
    o.follow = (const char *const[]){"none"};
    assert_false(localapp_load(&a, &o, &l, &e));
    says("--follow none: the app has no such component");
    o.follow_count = 0;
    o.silent = true;
    assert_true(localapp_load(&a, &o, &l, &e));
    assert_false(l.config.components[0].follow || l.config.components[1].follow);
    localapp_unload(&l);
    put("a file", "");
    o.log_dir = "a file/logs";
    assert_false(localapp_load(&a, &o, &l, &e));
    says("--log-dir");
}

/* Logs that only would be nice to have are no reason not to start. */
static void logs_that_cannot_be_kept(void **state)
{
    localapp l;
    localapp_options o = {.cache_dir = "cache", .jobs = 1};
    put("spin.toml", STATIC);
    put(".spin", "");
    assert_true(localapp_load(&a, &o, &l, &e));
    assert_int_equal(l.config.log_dir.n, 0);
    assert_int_equal(l.app->warnings.n, 1);
    assert_true(str_starts(l.app->warnings.at[0], S("guests' output is not written to files: ")));
    localapp_unload(&l);
}

static void what_is_wrong_with_options(void **state)
{
    localapp l;
    localapp_options o = {.cache_dir = "cache", .temp_dir = "temp"};
    put("spin.toml", STATIC "[variables]\nv = { required = true }\n"
                            "[[trigger.http]]\nroute = \"/c\"\ncomponent = \"c\"\n"
                            "[component.c]\nsource = \"c.wasm\"\nfiles = [\"f.txt\"]\n"
                            "environment = { HAS = \"1\" }\nvariables = { v = \"{{ v }}\" }\n");
    put("f.txt", "f");
    o.env_count = 1;
    for (const char *const *v = (const char *const[]){"NAME", "=x", "", NULL}; *v; v++) {
        o.env = v;
        assert_false(localapp_load(&a, &o, &l, &e));
        says("--env '");
        says("write NAME=VALUE");
    }
    o.env_count = 0;
    o.components = (const char *const[]){"none"};
    o.components_count = 1;
    assert_false(localapp_load(&a, &o, &l, &e));
    says("--component-id: ");
    o.components_count = 0;
    assert_false(localapp_load(&a, &o, &l, &e));
    says("required variable v");
    o.variables = (const char *const[]){"v=1"};
    o.variables_count = 1;
    assert_false(localapp_load(&a, &o, &l, &e)); /* c.wasm is not there */
    says("c.wasm");
    assert_int_equal(entries("temp"), 2); /* what was made on the way has gone */
    o.variables = (const char *const[]){"v=@none"};
    assert_false(localapp_load(&a, &o, &l, &e));
    says("--variable");
    says("none");
    put("value", "of a file\n");
    o.variables = (const char *const[]){"v=@value"};
    assert_false(localapp_load(&a, &o, &l, &e));
    says("c.wasm");
    assert_null(l.app);
    o.from = "registry.example/none";
    o.from_registry = false;
    put("plain", "x");
    o.from = "plain";
    assert_false(localapp_load(&a, &o, &l, &e));
    says("plain:1:");
}

#define local_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    if (argc > 1) /* as a process of ebb's, which nothing here should start */
        return 2;
    const struct CMUnitTest tests[] = {
        local_test(places),
        local_test(reading),
        local_test(what_is_not_run),
        local_test(values_of_a_component),
        local_test(files_are_copied),
        local_test(one_folder_for_all),
        local_test(no_link_leads_out),
        local_test(lists_without_copies),
        local_test(folders_are_mounted),
        local_test(defaults_of_stores),
        local_test(configured_stores),
        local_test(keys_and_statements_of_the_command_line),
        local_test(who_gives_values),
        local_test(without_memory),
        local_test(options_of_an_app_without_components),
        local_test(logs_that_cannot_be_kept),
        local_test(what_is_wrong_with_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
