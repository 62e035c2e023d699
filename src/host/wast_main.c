/* ebb-wast FILE.json|DIR...: runs component suites as converted by `wasm-tools json-from-wast`.
 *
 * Definitions must be valid, instances must instantiate, invocations must return or trap as the
 * suite says, what it calls invalid or malformed must be refused. Of the words of a trap the ones
 * of the suite must occur in ours; the words of refusals are printed with -v and not judged, since
 * they are each implementation's own.
 *
 * Every command is counted as passed, failed or skipped and printed with its file and line unless
 * it passed. Skipped is what needs a feature that ebb refuses by name, or concerns the text format,
 * and whatever depends on it; the reason stands on the line. --json prints the counts and lines of
 * each file instead, with -v also the value that a plain (invoke ...) returned. The exit status is
 * 1 if anything failed. */
#include "host/wast_run.h"

#include "base/limits.h"
#include "component/link.h"
#include "loop/loop.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef enum { PASSED, FAILED, SKIPPED } outcome;

/* A component definition or an instance by name. */
typedef struct named named;
struct named {
    named *next;
    char name[200];
    wast_component *component; /* NULL: it could not be made */
    wast_instance *instance;
    bool unsupported; /* ... because ebb refuses a feature */
};

static struct {
    engine *en;
    loop *l;
    char dir[40];
    size_t totals[3];
    bool verbose, as_json;
    json_t *report;
    /* of one file */
    const char *path;
    named *definitions, *instances; /* the newest first */
    char why[1200];
    json_t *value; /* of the last command; NULL: it has none */
} wast;

__attribute__((format(printf, 2, 3))) static outcome say(outcome o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(wast.why, sizeof wast.why, fmt, ap);
    va_end(ap);
    return o;
}

static outcome say_error(const err *e)
{
    return say(e->code == ERR_UNSUPPORTED ? SKIPPED : FAILED, "%s: %s", err_code_name(e->code),
               e->text);
}

static bool file_read(const char *name, bytes *ret)
{
    char path[4096];
    const char *slash = strrchr(wast.path, '/');
    int dir = slash ? (int)(slash - wast.path) + 1 : 0;
    snprintf(path, sizeof path, "%.*s%s", dir, wast.path, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    uint8_t *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (p)
        *ret = (bytes){p, fread(p, 1, (size_t)n, f)};
    fclose(f);
    return p != NULL;
}

static named *named_add(named **list, const char *name)
{
    named *n = calloc(1, sizeof *n);
    if (!n)
        abort();
    snprintf(n->name, sizeof n->name, "%s", name ? name : "");
    n->next = *list;
    *list = n;
    return n;
}

/* Without a name the newest. */
static named *named_find(named *list, const char *name)
{
    while (list && name && strcmp(list->name, name) != 0)
        list = list->next;
    return list;
}

static void file_forget(void)
{
    for (named *n; (n = wast.instances); free(n)) {
        wast.instances = n->next;
        wast_instance_free(n->instance);
    }
    for (named *n; (n = wast.definitions); free(n)) {
        wast.definitions = n->next;
        wast_component_free(n->component);
    }
}

/* --- validation ---------------------------------------------------------------------------- */

static bool is_valid(bytes b, err *e)
{
    _cleanup_(arena_fini) arena a;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    if (bytes_are_core_module(b))
        return engine_validate(wast.en, b, e);
    return component_check(&a, b, e) && wast_modules_validate(wast.en, b, e);
}

static outcome refusal(bytes b)
{
    err e;
    if (is_valid(b, &e))
        return say(FAILED, "accepted");
    return say(PASSED, "refused: %s: %s", err_code_name(e.code), e.text);
}

/* --- definitions and instances -------------------------------------------------------------- */

static outcome instantiate(named *definition, const char *name)
{
    err e;
    named *n = named_add(&wast.instances, name);
    n->unsupported = definition->unsupported;
    if (!definition->component)
        return say(definition->unsupported ? SKIPPED : FAILED, "its component was refused");
    switch (wast_instance_new(definition->component, &n->instance, &e)) {
    case WAST_DONE:
        return say(PASSED, "instantiated");
    case WAST_TRAP:
        return say(FAILED, "instantiation trapped: %s", e.text);
    case WAST_ERROR:
        break;
    }
    return say_error(&e);
}

/* `link` is false for definitions, which may have imports that only an instance could satisfy. */
static outcome define(const json_t *c, bytes b, bool link)
{
    err e;
    named *n = named_add(&wast.definitions, json_string_value(json_object_get(c, "name")));
    if (!is_valid(b, &e)) {
        n->unsupported = e.code == ERR_UNSUPPORTED;
        if (link)
            named_add(&wast.instances, n->name)->unsupported = n->unsupported;
        return say_error(&e);
    }
    bool made = wast_component_new(wast.en, wast.l, wast.dir, b, &n->component, &e);
    if (!made)
        n->unsupported = e.code == ERR_UNSUPPORTED;
    if (!link) /* a valid definition need not be one that can run alone */
        return say(made || n->unsupported ? PASSED : FAILED, "%s", made ? "valid" : e.text);
    if (!made) {
        named_add(&wast.instances, n->name)->unsupported = n->unsupported;
        return say_error(&e);
    }
    return instantiate(n, n->name);
}

static outcome cannot_link(bytes b)
{
    err e;
    wast_component *c;
    if (!wast_component_new(wast.en, wast.l, wast.dir, b, &c, &e))
        return say(PASSED, "refused: %s", e.text);
    bool missing = c->missing_count > 0;
    wast_component_free(c);
    return missing ? say(PASSED, "an import is missing") : say(FAILED, "it links");
}

static outcome instance_traps(const json_t *c, bytes b)
{
    err e;
    wast_component *made;
    wast_instance *i = NULL;
    const char *text = json_string_value(json_object_get(c, "text"));
    if (!wast_component_new(wast.en, wast.l, wast.dir, b, &made, &e))
        return say_error(&e);
    wast_status s = wast_instance_new(made, &i, &e);
    outcome o = s == WAST_DONE                                   ? say(FAILED, "it instantiates")
                : s == WAST_TRAP && text && strstr(e.text, text) ? say(PASSED, "%s", e.text)
                                                                 : say(FAILED, "%s", e.text);
    wast_instance_free(i);
    wast_component_free(made);
    return o;
}

static outcome with_file(const json_t *c, const char *kind)
{
    const char *name = json_string_value(json_object_get(c, "filename"));
    const char *form = json_string_value(json_object_get(c, "module_type"));
    bytes b;
    outcome o;
    if (form && strcmp(form, "binary") != 0)
        return say(SKIPPED, "concerns the text format");
    if (!name || !file_read(name, &b))
        return say(FAILED, "cannot read '%s'", name ? name : "");
    if (strcmp(kind, "assert_invalid") == 0 || strcmp(kind, "assert_malformed") == 0)
        o = refusal(b);
    else if (strcmp(kind, "assert_unlinkable") == 0)
        o = cannot_link(b);
    else if (strcmp(kind, "assert_uninstantiable") == 0)
        o = instance_traps(c, b);
    else
        o = define(c, b, strcmp(kind, "module") == 0);
    free((void *)(uintptr_t)b.p);
    return o;
}

/* --- calls --------------------------------------------------------------------------------- */

static outcome returned(const functype *f, const wast_memory *m, uint32_t at, const json_t *want)
{
    size_t n = json_array_size(want);
    if (n != (f->result != NULL))
        return say(FAILED, "%u results, the suite wants %zu", f->result != NULL, n);
    if (!n || wast_equal(m, f->result, json_array_get(want, 0), at))
        return say(PASSED, "returned");
    json_t *value = wast_json(m, f->result, at);
    char *text = json_dumps(json_array_get(want, 0), 0), *have = json_dumps(value, 0);
    outcome o =
        say(FAILED, "returned %s, expected %s", have ? have : "nothing", text ? text : "nothing");
    json_decref(value);
    free(text);
    free(have);
    return o;
}

static outcome answered(const functype *f, const wast_memory *m, uint32_t at)
{
    if (f->result && wast.as_json && wast.verbose)
        wast.value = wast_json(m, f->result, at);
    return say(PASSED, "returned");
}

/* want_trap NULL: it must return `want`, or anything if that is NULL. */
static outcome invoke(const json_t *action, const json_t *want, const char *want_trap)
{
    const char *name = json_string_value(json_object_get(action, "field"));
    const named *n =
        named_find(wast.instances, json_string_value(json_object_get(action, "module")));
    wast_memory m;
    const functype *f = NULL;
    uint32_t at = 0;
    err e;
    if (!n || !n->instance)
        return say(n && n->unsupported ? SKIPPED : FAILED, "there is no instance");
    if (!name || !wast_memory_init(&m))
        return say(FAILED, "no name or no memory");
    wast_status s =
        wast_invoke(n->instance, name, json_object_get(action, "args"), &m, &f, &at, &e);
    outcome o;
    if (s == WAST_ERROR)
        o = say_error(&e);
    else if (s == WAST_TRAP && strstr(e.text, "which the host does not offer") &&
             n->instance->of->missing_count)
        o = say(SKIPPED, "needs %.*s", STR(n->instance->of->missing[0].reason));
    else if (s == WAST_TRAP && !want_trap)
        o = say(FAILED, "trapped: %s", e.text);
    else if (s == WAST_TRAP)
        o = say(strstr(e.text, want_trap) ? PASSED : FAILED, "trapped: %s", e.text);
    else if (want_trap)
        o = say(FAILED, "returned");
    else
        o = want ? returned(f, &m, at, want) : answered(f, &m, at);
    wast_memory_fini(&m);
    return o;
}

static outcome command_run(const json_t *c, const char *kind)
{
    const json_t *action = json_object_get(c, "action");
    const char *text = json_string_value(json_object_get(c, "text"));
    named *n;
    if (json_object_get(c, "filename"))
        return with_file(c, kind);
    if (strcmp(kind, "module_instance") == 0) {
        n = named_find(wast.definitions, json_string_value(json_object_get(c, "module")));
        return n ? instantiate(n, json_string_value(json_object_get(c, "instance")))
                 : say(FAILED, "no such definition");
    }
    if (strcmp(kind, "assert_return") == 0 && action)
        return invoke(action, json_object_get(c, "expected"), NULL);
    if (strcmp(kind, "action") == 0 && action)
        return invoke(action, NULL, NULL);
    if ((strcmp(kind, "assert_trap") == 0 || strcmp(kind, "assert_exhaustion") == 0) && action)
        return invoke(action, NULL, text ? text : "");
    return say(FAILED, "ebb-wast does not know this command");
}

/* --- files --------------------------------------------------------------------------------- */

static const char *const words[] = {"passed", "failed", "skipped"};

static void command_report(const json_t *c, const char *kind, outcome o, json_t *lines)
{
    long long line = json_integer_value(json_object_get(c, "line"));
    const char *text = json_string_value(json_object_get(c, "text"));
    if (o == PASSED && !wast.verbose)
        return;
    json_array_append_new(lines, json_pack("{s:I, s:s, s:s, s:s, s:o*}", "line", (json_int_t)line,
                                           "command", kind, "outcome", words[o], "why", wast.why,
                                           "value", wast.value));
    wast.value = NULL;
    if (wast.as_json)
        return;
    printf("%s:%lld: %s: %s: %s\n", wast.path, line, words[o], kind, wast.why);
    if (o == FAILED && text)
        printf("    expected: %s\n", text);
}

static void file_run(const char *path)
{
    size_t counts[3] = {0}, i;
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error), *c, *lines = json_array();
    wast.path = path;
    if (!root) {
        fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        counts[FAILED]++;
    }
    json_array_foreach(json_object_get(root, "commands"), i, c)
    {
        const char *kind = json_string_value(json_object_get(c, "type"));
        outcome o = command_run(c, kind ? kind : "");
        counts[o]++;
        command_report(c, kind ? kind : "", o, lines);
    }
    file_forget();
    for (i = 0; i < 3; i++)
        wast.totals[i] += counts[i];
    json_array_append_new(wast.report, json_pack("{s:s, s:I, s:I, s:I, s:o}", "file", path,
                                                 "passed", (json_int_t)counts[PASSED], "failed",
                                                 (json_int_t)counts[FAILED], "skipped",
                                                 (json_int_t)counts[SKIPPED], "lines", lines));
    if (!wast.as_json)
        printf("%s: %zu passed, %zu failed, %zu skipped\n", path, counts[PASSED], counts[FAILED],
               counts[SKIPPED]);
    json_decref(root);
}

static int visit(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    size_t n = strlen(path);
    if (flag == FTW_F && n > 5 && strcmp(path + n - 5, ".json") == 0)
        file_run(path);
    return 0;
}

static void totals_print(void)
{
    if (wast.as_json) {
        json_dumpf(wast.report, stdout, JSON_INDENT(1));
        printf("\n");
    } else {
        printf("total: %zu passed, %zu failed, %zu skipped\n", wast.totals[PASSED],
               wast.totals[FAILED], wast.totals[SKIPPED]);
    }
}

int main(int argc, char **argv)
{
    err e;
    engine_config config = engine_config_default();
    int files = 0;
    config.instances_max = 1000;
    wast.report = json_array();
    snprintf(wast.dir, sizeof wast.dir, "/tmp/ebb-wast-XXXXXX");
    if (!mkdtemp(wast.dir))
        return perror(wast.dir), 2;
    if (!engine_new(&config, &wast.en, &e) || !host_init(&e) || !loop_new(&wast.l, &e))
        return fprintf(stderr, "ebb-wast: %s\n", e.text), 2;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-v") == 0)
            wast.verbose = true;
        else if (strcmp(argv[i], "--json") == 0)
            wast.as_json = true;
        else if (++files && nftw(argv[i], visit, 16, FTW_PHYS) != 0)
            return perror(argv[i]), 2;
    host_loop_close(wast.l);
    loop_free(wast.l);
    engine_free(wast.en);
    rmdir(wast.dir);
    if (!files)
        return fprintf(stderr, "usage: ebb-wast [-v] [--json] FILE.json|DIR...\n"), 2;
    totals_print();
    json_decref(wast.report);
    return wast.totals[FAILED] > 0;
}
