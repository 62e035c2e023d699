/* ebb-wast FILE.json|DIR...: runs component suites as converted by `wasm-tools json-from-wast`.
 *
 * Without an engine (this room has none) it runs what needs no execution: definitions must be
 * valid, instantiated components must link, assert_invalid and assert_malformed must be refused.
 * Every command is counted as passed, failed or skipped and printed with its file and line unless
 * it passed; -v prints those too, with the reason of the refusal. The exit status is 1 if anything
 * failed. */
#include "component/link.h"

#include "base/limits.h"

#include <jansson.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum { PASSED, FAILED, SKIPPED } outcome;

static size_t totals[3];
static bool verbose;

static bool file_read(const char *json_path, const char *name, bytes *ret)
{
    char path[4096];
    const char *slash = strrchr(json_path, '/');
    int dir = slash ? (int)(slash - json_path) + 1 : 0;
    snprintf(path, sizeof path, "%.*s%s", dir, json_path, name);
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

static outcome refused(arena *a, bytes b, char *why, size_t n)
{
    err e;
    if (bytes_are_core_module(b)) {
        snprintf(why, n, "a core module: the engine validates it");
        return SKIPPED;
    }
    if (component_check(a, b, &e)) {
        snprintf(why, n, "accepted");
        return FAILED;
    }
    snprintf(why, n, "refused: %s: %s", err_code_name(e.code), e.text);
    return PASSED;
}

static outcome accepted(arena *a, bytes b, bool instantiate, char *why, size_t n)
{
    link_plan plan;
    err e;
    if (bytes_are_core_module(b)) {
        snprintf(why, n, "a core module: the engine validates it");
        return SKIPPED;
    }
    bool ok = instantiate ? component_link(a, b, &plan, &e) : component_check(a, b, &e);
    if (!ok) {
        snprintf(why, n, "refused: %s: %s", err_code_name(e.code), e.text);
        return e.code == ERR_UNSUPPORTED ? SKIPPED : FAILED;
    }
    snprintf(why, n, "accepted");
    return PASSED;
}

/* The definition that a module_instance command instantiates: the last one of that name. */
static const json_t *definition_of(const json_t *commands, const json_t *instance)
{
    const char *want = json_string_value(json_object_get(instance, "module"));
    const json_t *found = NULL;
    size_t i;
    json_t *c;
    json_array_foreach(commands, i, c)
    {
        const char *kind = json_string_value(json_object_get(c, "type"));
        const char *name = json_string_value(json_object_get(c, "name"));
        if (c == instance)
            break;
        if (kind && strcmp(kind, "module_definition") == 0 &&
            (!want || (name && strcmp(name, want) == 0)))
            found = c;
    }
    return found;
}

static outcome command_run(const char *path, const json_t *commands, const json_t *c,
                           const char *kind, char *why, size_t n)
{
    bool is_instantiation = strcmp(kind, "module_instance") == 0;
    const json_t *file = is_instantiation ? definition_of(commands, c) : c;
    const char *name = json_string_value(json_object_get(file, "filename"));
    const char *form = json_string_value(json_object_get(file, "module_type"));
    bool is_refusal = strcmp(kind, "assert_invalid") == 0 || strcmp(kind, "assert_malformed") == 0;
    bool is_instance = is_instantiation || strcmp(kind, "module") == 0;
    bytes b = {NULL, 0};
    outcome o;
    if (!is_refusal && !is_instance && strcmp(kind, "module_definition") != 0) {
        snprintf(why, n, "needs execution");
        return SKIPPED;
    }
    if (!name || (form && strcmp(form, "binary") != 0)) {
        snprintf(why, n, "text, not binary");
        return SKIPPED;
    }
    if (!file_read(path, name, &b)) {
        snprintf(why, n, "cannot read %s", name);
        return FAILED;
    }
    arena a;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    o = is_refusal ? refused(&a, b, why, n) : accepted(&a, b, is_instance, why, n);
    arena_fini(&a);
    free((void *)b.p);
    return o;
}

static void file_run(const char *path)
{
    static const char *const words[] = {"passed", "FAILED", "skipped"};
    size_t counts[3] = {0}, i;
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error), *c;
    if (!root) {
        printf("%s:%d: FAILED: %s\n", path, error.line, error.text);
        totals[FAILED]++;
        return;
    }
    json_array_foreach(json_object_get(root, "commands"), i, c)
    {
        const char *kind = json_string_value(json_object_get(c, "type"));
        long long line = json_integer_value(json_object_get(c, "line"));
        char why[1200] = "";
        outcome o = command_run(path, json_object_get(root, "commands"), c, kind ? kind : "", why,
                                sizeof why);
        counts[o]++;
        totals[o]++;
        if (o != PASSED || verbose)
            printf("%s:%lld: %s: %s: %s\n", path, line, words[o], kind, why);
        if (o == FAILED && json_object_get(c, "text"))
            printf("    expected: %s\n", json_string_value(json_object_get(c, "text")));
    }
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

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-v") == 0)
            verbose = true;
        else if (nftw(argv[i], visit, 16, FTW_PHYS) != 0)
            return perror(argv[i]), 2;
    if (argc < 2)
        return fprintf(stderr, "usage: ebb-wast [-v] FILE.json|DIR...\n"), 2;
    printf("total: %zu passed, %zu failed, %zu skipped\n", totals[PASSED], totals[FAILED],
           totals[SKIPPED]);
    return totals[FAILED] > 0;
}
