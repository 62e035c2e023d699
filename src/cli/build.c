/* `ebb build`: runs the build commands of the manifest as Spin does, through the shell and one
 * after the other; a component that another one depends on comes first. Then the built components
 * are compared with the manifest's deployment targets (cli/target.h). The profile is remembered in
 * .spin/last-build.txt once profiles are used, so that `ebb up` can say that another one was built.
 * Interfaces for dependencies (spin-dependencies.wit) are not generated. */
#include "cli/build.h"

#include "base/limits.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/target.h"
#include "platform/artifact.h"
#include "platform/localapp.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char anonymous[] = "<anonymous>";

typedef struct {
    localapp_place at;
    app *app;
    FILE *out;
    bool *done; /* parallel to app->components: built, or not to be built */
} build;

static bool build_open(arena *a, const char *from, const char *profile, FILE *out, build *ret,
                       err *e)
{
    build b = {.out = out};
    if (!localapp_find(a, from, &b.at, e) || !localapp_read(a, &b.at, profile, &b.app, e))
        return false;
    b.done = ARENA_ARRAY(a, bool, b.app->components_count + 1);
    *ret = b;
    return b.done ? true : err_no_memory(e);
}

/* --- running a command ------------------------------------------------------------------------ */

static _Noreturn void child(int dir, const char *command)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (fchdir(dir) == 0)
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    perror("ebb: /bin/sh");
    _exit(127);
}

static bool shell(int dir, const char *command, str component, err *e)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return err_set_errno(e, "cannot start the build command of component %.*s", STR(component));
    if (pid == 0)
        child(dir, command);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set_errno(e, "waiting for the build command");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        return err_set(e, ERR_INVALID, "Build command for component %.*s was ended by signal %d",
                       STR(component), WTERMSIG(status));
    return err_set(e, ERR_INVALID, "Build command for component %.*s failed with status %d",
                   STR(component), WEXITSTATUS(status));
}

static void step(FILE *out, const char *what)
{
    bool colours = cli_colours(fileno(out));
    fprintf(out, "%s%s%s ", colours ? "\x1b[1;32m" : "", what, colours ? "\x1b[0m" : "");
}

static bool workdir_open(arena *a, const build *b, const app_component *c, int *ret, err *e)
{
    str dir = c->build.workdir.n
                  ? arena_printf(a, "%.*s/%.*s", STR(b->at.dir), STR(c->build.workdir))
                  : b->at.dir;
    if (!dir.p)
        return err_no_memory(e);
    *ret = open(dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret < 0)
        return err_set_errno(e, "component %.*s: the build's workdir %.*s", STR(c->id), STR(dir));
    if (c->build.workdir.n)
        fprintf(b->out, "Working directory: \"%.*s\"\n", STR(dir));
    return true;
}

static bool component_build(arena *a, const build *b, const app_component *c, err *e)
{
    _cleanup_fd_ int dir = -1;
    size_t n = c->build.commands.n;
    if (!n)
        return true;
    if (n > 1) {
        step(b->out, "Building");
        fprintf(b->out, "component %.*s (%zu commands)\n", STR(c->id), n);
    }
    for (size_t i = 0; i < n; i++) {
        char *command = arena_cstr(a, c->build.commands.at[i]);
        if (!command)
            return err_no_memory(e);
        step(b->out, n > 1 ? "Running build step" : "Building");
        if (n > 1)
            fprintf(b->out, "%zu/%zu for component %.*s with '%s'\n", i + 1, n, STR(c->id),
                    command);
        else
            fprintf(b->out, "component %.*s with `%s`\n", STR(c->id), command);
        if ((dir < 0 && !workdir_open(a, b, c, &dir, e)) || !shell(dir, command, c->id, e))
            return false;
    }
    return true;
}

/* --- which, and in what order ----------------------------------------------------------------- */

static bool is_named(str id, const char *const *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_from(ids[i]), id))
            return true;
    return n == 0;
}

static bool ids_check(const app *x, const char *const *ids, size_t n, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!app_component_by_id(x, str_from(ids[i])))
            return err_set(e, ERR_NOT_FOUND, "Unknown component(s) %s", ids[i]);
    return true;
}

/* Does c wait for a component that is still to be built? */
static bool waits(const build *b, const app_component *c)
{
    for (size_t d = 0; d < c->dependencies.n; d++) {
        const app_source *s = &c->dependencies.at[d].source;
        for (size_t i = 0; s->kind == APP_SOURCE_PATH && i < b->app->components_count; i++) {
            const app_component *other = &b->app->components[i];
            if (other != c && !b->done[i] && other->source.kind == APP_SOURCE_PATH &&
                str_eq(other->source.path, s->path))
                return true;
        }
    }
    return false;
}

/* The next to build: one that waits for nothing, or (a cycle) the first; NULL: all are built. */
static app_component *next(const build *b)
{
    app_component *first = NULL;
    for (size_t i = 0; i < b->app->components_count; i++) {
        app_component *c = &b->app->components[i];
        if (b->done[i])
            continue;
        if (!waits(b, c))
            return c;
        first = first ? first : c;
    }
    return first;
}

static bool components_build(arena *a, build *b, const char *const *ids, size_t n, err *e)
{
    bool any = false;
    if (!ids_check(b->app, ids, n, e))
        return false;
    for (size_t i = 0; i < b->app->components_count; i++) {
        b->done[i] = !is_named(b->app->components[i].id, ids, n);
        any |= !b->done[i] && b->app->components[i].build.commands.n;
    }
    if (!any) {
        fprintf(b->out, "None of the components have a build command.\n"
                        "Add one to the manifest: [component.<id>.build] command = \"make\"\n");
        return true;
    }
    for (app_component *c; (c = next(b));) {
        if (!component_build(a, b, c, e))
            return false;
        b->done[c - b->app->components] = true;
    }
    step(b->out, "Finished");
    fprintf(b->out, "building all Spin components\n");
    fflush(b->out);
    return true;
}

/* --- the profile that was built last ---------------------------------------------------------- */

static str last_build_path(arena *a, const localapp_place *at)
{
    return arena_printf(a, "%.*s/.spin/last-build.txt", STR(at->dir));
}

static void profile_save(arena *a, const localapp_place *at, const char *profile)
{
    str path = last_build_path(a, at);
    if (!path.p || (!profile && access(path.p, F_OK) < 0))
        return;
    char *dir = arena_cstr(a, str_head(path, str_rfind(path, '/')));
    if (!dir || (mkdir(dir, 0755) < 0 && errno != EEXIST))
        return;
    _cleanup_fd_ int fd = open(path.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const char *text = profile ? profile : anonymous;
    err e;
    if (fd < 0 || !fd_write_all(fd, text, strlen(text), &e))
        fprintf(stderr, "ebb: warning: cannot write %s, so 'ebb up' does not know this profile\n",
                path.p);
}

bool build_profile_compare(arena *a, const char *from, const char *profile, err *e)
{
    localapp_place at;
    bytes text;
    str path;
    if (!localapp_find(a, from, &at, e))
        return false;
    if (at.wasm.n || at.reference.n || !(path = last_build_path(a, &at)).p ||
        !file_load(a, path.p, 4096, &text, NULL))
        return true;
    str last = str_trim((str){(const char *)text.p, text.n});
    if (!str_eq(last, str_from(profile ? profile : anonymous)))
        fprintf(stderr,
                "ebb: warning: You built a different profile more recently than the one you are "
                "running. If the app appears to be behaving like an older version then run "
                "'ebb up --build%s%s'.\n",
                profile ? " --profile " : "", profile ? profile : "");
    return true;
}

/* --- all of it -------------------------------------------------------------------------------- */

bool build_app(arena *a, const char *from, const char *profile, err *e)
{
    build b;
    if (!build_open(a, from, profile, stderr, &b, e) || !components_build(a, &b, NULL, 0, e))
        return false;
    if (b.at.wasm.n)
        return true;
    profile_save(a, &b.at, profile);
    return targets_check(a, &b.at, b.app, NULL, 0, NULL, e);
}

static bool build_command(arena *a, const options *o, err *e)
{
    const option *ids = options_get(o, "component-id");
    const char *from = options_get(o, "from")->got ? options_get(o, "from")->got
                       : o->positionals_count      ? o->positionals[0]
                                                   : NULL;
    const char *profile = options_get(o, "profile")->got;
    build b;
    if (!build_open(a, from, profile, stdout, &b, e))
        return false;
    if (b.at.wasm.n)
        return err_set(e, ERR_INVALID, "%.*s is a component already; give a manifest",
                       STR(b.at.wasm));
    for (size_t i = 0; i < b.app->components_count; i++)
        if (b.app->components[i].dependencies.n && !options_get(o, "skip-generate-wits")->given)
            fprintf(stderr,
                    "ebb: component %.*s has dependencies; ebb generates no spin-dependencies.wit "
                    "for its build\n",
                    STR(b.app->components[i].id));
    if (!components_build(a, &b, ids->all, ids->count, e))
        return false;
    profile_save(a, &b.at, profile);
    return options_get(o, "skip-target-checks")->given ||
           targets_check(a, &b.at, b.app, ids->all, ids->count, options_get(o, "cache-dir")->got,
                         e);
}

/* `ebb build --up ARGS`: becomes `ebb up -f the-same --profile the-same ARGS`. */
static int up_after(arena *a, const options *o)
{
    const char *from = options_get(o, "from")->got, *profile = options_get(o, "profile")->got;
    int n = 0;
    char **argv = ARENA_ARRAY(a, char *, (size_t)o->rest_count + 6);
    if (!argv)
        return 1;
    argv[n++] = "up";
    if (from || o->positionals_count) {
        argv[n++] = "-f";
        argv[n++] = (char *)(from ? from : o->positionals[0]);
    }
    if (profile) {
        argv[n++] = "--profile";
        argv[n++] = (char *)profile;
    }
    for (int i = 0; i < o->rest_count; i++)
        argv[n++] = o->rest[i];
    return cli_up(n, argv);
}

int cli_build(int argc, char **argv)
{
    option rows[] = {
        {"from", 'f', OPTION_VALUE, "PATH", "a spin.toml, or a folder with one [.]", NULL, "file"},
        {"profile", 0, OPTION_VALUE, "NAME", "the profile of the manifest to build"},
        {"component-id", 'c', OPTION_REPEAT, "ID", "build only these components"},
        {"skip-target-checks", 0, OPTION_FLAG, NULL,
         "do not compare components with the manifest's targets", NULL, "skip-target-check"},
        {"skip-generate-wits", 0, OPTION_FLAG, NULL, NULL, NULL, "skip-generate-wit"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where downloads and compiled code are kept"},
        {"up", 'u', OPTION_FLAG, NULL, "serve the app afterwards; what follows is for 'ebb up'"},
        {0},
    };
    options o = {.command = "build",
                 .positional = "[PATH]",
                 .options = rows,
                 .takes_rest = true,
                 .summary = "Runs the build command of each component."};
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 2 * GIB);
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o.help)
        return 0;
    if (o.rest_count && !options_get(&o, "up")->given) {
        err_set(&e, ERR_INVALID, "unknown option '%s'; 'ebb build --help' lists the options",
                o.rest[0]);
        return cli_fail(&e), 2;
    }
    if (!build_command(&a, &o, &e))
        return cli_fail(&e);
    return options_get(&o, "up")->given ? up_after(&a, &o) : 0;
}
