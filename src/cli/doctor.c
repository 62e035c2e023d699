/* `ebb doctor`: finds what is wrong with an app or with this machine, and says what to do. Each
 * check gives a line: what was looked at, how it is, and (unless all is well) the next step.
 * Nothing is changed. Exit status: 0 all well or only worth knowing, 1 something will not work. */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/limits.h"
#include "host/host.h"
#include "platform/artifact.h"
#include "platform/localapp.h"

#include <fcntl.h>
#include <jansson.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef enum { FINDING_OK, FINDING_NOTE, FINDING_BAD } finding;

enum { MAPPINGS_PER_MODULE = 3, MAPPINGS_WANTED = 65530, FILES_WANTED = 4096, TEXT_MAX = 1400 };

typedef struct {
    arena *a;
    json_t *list; /* NULL: text */
    unsigned bad;
} doctor;

/* fix: what to do, or NULL. */
static void say(doctor *d, finding f, const char *what, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void say(doctor *d, finding f, const char *what, const char *fix, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "note", "bad"};
    static const char *const colours[] = {"\x1b[32m", "\x1b[33m", "\x1b[31m"};
    char text[TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->bad += f == FINDING_BAD;
    if (d->list) {
        json_t *j = json_pack("{s:s,s:s,s:s}", "check", what, "status", words[f], "text", text);
        if (fix)
            json_object_set_new(j, "fix", json_string(fix));
        json_array_append_new(d->list, j);
        return;
    }
    bool tty = cli_colours(STDOUT_FILENO);
    printf("%s%-4s%s  %s: %s\n", tty ? colours[f] : "", words[f], tty ? "\x1b[0m" : "", what, text);
    if (fix)
        printf("      -> %s\n", fix);
}

/* --- the machine ------------------------------------------------------------------------------ */

static void check_kernel(doctor *d)
{
    struct utsname u;
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    uname(&u);
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof how);
    if (fd < 0)
        say(d, FINDING_BAD, "kernel", "use Linux 5.10 or newer",
            "Linux %s cannot open files beneath a folder (openat2)", u.release);
    else
        say(d, FINDING_OK, "kernel", NULL, "Linux %s", u.release);
    if (fd >= 0)
        close(fd);
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        say(d, FINDING_NOTE, "landlock", "use Linux 5.13 or newer with landlock in its 'lsm=' list",
            "not there: files are protected by their permissions and openat2 only");
    else
        say(d, FINDING_OK, "landlock", NULL, "version %ld", version);
}

static bool number_of(const char *path, uint64_t *ret)
{
    char text[64];
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(text, sizeof text, f) && str_to_u64(str_trim(str_from(text)), UINT64_MAX, ret);
    fclose(f);
    return ok;
}

static void check_limits(doctor *d)
{
    struct rlimit files;
    uint64_t mappings;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < FILES_WANTED)
        say(d, FINDING_NOTE, "open files", "raise the hard limit ('ulimit -Hn', LimitNOFILE=)",
            "at most %llu: every connection takes one, and every loaded component another",
            (unsigned long long)files.rlim_max);
    else
        say(d, FINDING_OK, "open files", NULL, "up to %llu", (unsigned long long)files.rlim_max);
    if (!number_of("/proc/sys/vm/max_map_count", &mappings))
        say(d, FINDING_NOTE, "mappings", NULL, "vm.max_map_count cannot be read");
    else if (mappings < MAPPINGS_WANTED)
        say(d, FINDING_NOTE, "mappings", "sysctl -w vm.max_map_count=1048576",
            "vm.max_map_count is %llu; a loaded component takes %d, a sandbox a few more",
            (unsigned long long)mappings, MAPPINGS_PER_MODULE);
    else
        say(d, FINDING_OK, "mappings", NULL, "vm.max_map_count is %llu",
            (unsigned long long)mappings);
}

static void check_swap(doctor *d)
{
    char line[256];
    unsigned lines = 0;
    FILE *f = fopen("/proc/swaps", "re");
    while (f && fgets(line, sizeof line, f))
        lines++;
    if (f)
        fclose(f);
    if (lines > 1)
        say(d, FINDING_NOTE, "swap", "swapoff -a, or keep the server out of it (MemorySwapMax=0)",
            "is on: memory that sandboxes keep may end up there, and requests wait for it");
    else
        say(d, FINDING_OK, "swap", NULL, "off");
}

static void check_cache(doctor *d, const char *override)
{
    str dir;
    err e;
    if (!artifact_cache_dir(d->a, override, &dir, &e))
        say(d, FINDING_BAD, "cache", "give a folder with --cache-dir", "%s", e.text);
    else if (access(dir.p, W_OK) < 0)
        say(d, FINDING_BAD, "cache", "give a folder with --cache-dir", "%s cannot be written to",
            dir.p);
    else
        say(d, FINDING_OK, "cache", NULL, "%s", dir.p);
}

/* --- the app ---------------------------------------------------------------------------------- */

/* Is its file there? *ret_usable: it can be looked into. */
static void check_source(doctor *d, const localapp_place *at, const app_component *c,
                         bool *ret_usable)
{
    struct stat st;
    *ret_usable = true;
    if (c->source.kind != APP_SOURCE_PATH)
        return;
    bool absolute = str_starts(c->source.path, S("/"));
    str path = absolute ? arena_str(d->a, c->source.path)
                        : arena_printf(d->a, "%.*s/%.*s", STR(at->dir), STR(c->source.path));
    if (path.p && stat(path.p, &st) == 0)
        return;
    *ret_usable = false;
    str what = arena_printf(d->a, "component %.*s", STR(c->id));
    str fix = c->build.commands.n ? arena_printf(d->a, "build it: ebb build -c %.*s", STR(c->id))
                                  : S("correct 'source', or add a build command");
    say(d, FINDING_BAD, what.p, fix.p, "%.*s does not exist", STR(path));
}

static void check_component(doctor *d, const app_component *c, str dir)
{
    plan p;
    err e;
    host_binding *binding;
    const host_missing *missing;
    size_t n = 0;
    uint32_t unit, lift;
    str what = arena_printf(d->a, "component %.*s", STR(c->id));
    if (!artifact_plan(d->a, dir, &p, &e) || !host_bind(d->a, &p, &binding, &missing, &n, &e)) {
        say(d, FINDING_BAD, what.p, NULL, "%s", e.text);
        return;
    }
    if (n && !host_bind(d->a, &p, &binding, NULL, NULL, &e))
        say(d, FINDING_BAD, what.p, "'ebb inspect' lists every import", "%s", e.text);
    else if (!host_http_handler(&p, &unit, &lift, &e))
        say(d, FINDING_BAD, what.p, "build it for an http trigger", "%s", e.text);
    else
        say(d, FINDING_OK, what.p, NULL, "every import is offered, and it has a handler");
}

static void check_components(doctor *d, const localapp_place *at, app *x, const char *cache_dir)
{
    str *dirs = ARENA_ARRAY(d->a, str, x->components_count + 1);
    localapp_options lo = {.cache_dir = cache_dir, .jobs = 1};
    err e;
    for (size_t i = 0; dirs && i < x->components_count; i++) {
        app_component *c = &x->components[i];
        bool usable, used = c->is_used;
        if (!used)
            continue;
        check_source(d, at, c, &usable);
        if (!usable)
            continue;
        for (size_t k = 0; k < x->components_count; k++) /* one at a time: each has its own error */
            x->components[k].is_used = k == i;
        bool ok = localapp_artifacts(d->a, &lo, at, x, dirs, &e);
        for (size_t k = 0; k < x->components_count; k++)
            x->components[k].is_used = true;
        str what = arena_printf(d->a, "component %.*s", STR(c->id));
        if (!ok)
            say(d, FINDING_BAD, what.p, NULL, "%s", e.text);
        else
            check_component(d, c, dirs[i]);
    }
}

static void check_app(doctor *d, const options *o)
{
    const char *cache_dir = options_get(o, "cache-dir")->got;
    const char *from = options_get(o, "from")->got ? options_get(o, "from")->got
                       : o->positionals_count      ? o->positionals[0]
                                                   : NULL;
    localapp_place at;
    app *x;
    err e;
    if (!from && access("spin.toml", F_OK) < 0) {
        say(d, FINDING_NOTE, "app", "give one with -f", "there is no spin.toml in this folder");
        return;
    }
    if (!localapp_find(d->a, from, &at, &e) ||
        !localapp_read(d->a, &at, options_get(o, "profile")->got, &x, &e)) {
        say(d, FINDING_BAD, "manifest", NULL, "%s", e.text);
        return;
    }
    if (!localapp_runs(d->a, x, &e))
        say(d, FINDING_BAD, "manifest", NULL, "%s", e.text);
    else
        say(d, FINDING_OK, "manifest", NULL, "%zu trigger%s, %zu component%s", x->triggers_count,
            x->triggers_count == 1 ? "" : "s", x->components_count,
            x->components_count == 1 ? "" : "s");
    for (size_t i = 0; i < x->warnings.n; i++)
        say(d, FINDING_NOTE, "manifest", NULL, "%.*s", STR(x->warnings.at[i]));
    check_components(d, &at, x, cache_dir);
}

static int examine(doctor *d, const options *o)
{
    err e;
    check_kernel(d);
    check_limits(d);
    check_swap(d);
    check_cache(d, options_get(o, "cache-dir")->got);
    if (host_init(&e))
        check_app(d, o);
    else
        say(d, FINDING_BAD, "host", NULL, "%s", e.text);
    if (d->list) {
        json_dumpf(d->list, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(d->list);
    }
    return d->bad ? 1 : 0;
}

int cli_doctor(int argc, char **argv)
{
    option rows[] = {
        {"from", 'f', OPTION_VALUE, "PATH", "a spin.toml, a folder with one, or a .wasm [.]", NULL,
         "file"},
        {"profile", 0, OPTION_VALUE, "NAME", "the profile of the manifest to look at"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where downloads and compiled code are kept"},
        {"json", 0, OPTION_FLAG, NULL, "print JSON"},
        {0},
    };
    options o = {.command = "doctor",
                 .positional = "[PATH]",
                 .options = rows,
                 .summary = "Looks for what is wrong with an app or this machine."};
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 2 * GIB);
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o.help)
        return 0;
    doctor d = {.a = &a, .list = options_get(&o, "json")->given ? json_array() : NULL};
    return examine(&d, &o);
}
