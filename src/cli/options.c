/* Parsing of command lines; options.h says how a command describes its options. Results are
 * written into the rows of the command's own table. What was mistyped is compared with what there
 * is by Levenshtein's distance, over words of at most 32 characters. */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORD_MAX = 32, CANDIDATES_MAX = 64 };

static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = swap < best ? swap : best;
        }
    }
    return row[m];
}

const char *did_you_mean(const char *word, const char *const *candidates)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2;
    for (; *candidates; candidates++) {
        size_t d = distance(word, *candidates);
        if (d < best_distance) {
            best = *candidates;
            best_distance = d;
        }
    }
    return best;
}

bool cli_colours(int fd) { return isatty(fd) && !getenv("NO_COLOR"); }

int cli_fail(const err *e)
{
    bool red = cli_colours(STDERR_FILENO);
    fprintf(stderr, "%sebb: %s%s\n", red ? "\x1b[31m" : "", e->text, red ? "\x1b[0m" : "");
    return 1;
}

option *options_get(const options *o, const char *name)
{
    for (option *at = o->options; at->name; at++)
        if (strcmp(at->name, name) == 0)
            return at;
    return NULL;
}

bool options_numbers(const options *o, const option_range *ranges, size_t n, err *e)
{
    for (const option_range *r = ranges; r < ranges + n; r++) {
        const option *at = options_get(o, r->name);
        if (!at->given)
            continue;
        char *end;
        double v = strtod(at->got, &end);
        if (end == at->got || *end || !(v >= r->min && v <= r->max))
            return err_set(e, ERR_INVALID, "--%s needs a number from %g to %g, not '%s'", r->name,
                           r->min, r->max, at->got);
        *r->to = v;
    }
    return true;
}

static void help_print(const options *o)
{
    printf("ebb %s %s\n\n%s\n\nOptions:\n", o->command, o->positional ? o->positional : "",
           o->summary);
    for (const option *at = o->options; at->name; at++) {
        char left[64];
        if (!at->help)
            continue;
        int n = at->letter ? snprintf(left, sizeof left, "  -%c, --%s", at->letter, at->name)
                           : snprintf(left, sizeof left, "      --%s", at->name);
        if (at->kind != OPTION_FLAG && n > 0 && (size_t)n < sizeof left)
            snprintf(left + n, sizeof left - (size_t)n, " %s", at->value);
        printf("%-34s %s", left, at->help);
        if (at->env)
            printf(" [env %s]", at->env);
        printf("\n");
    }
    printf("%-34s %s\n", "  -h, --help", "print this");
}

static bool take(arena *a, option *opt, const char *value, err *e)
{
    opt->given = true;
    opt->got = value;
    if (opt->kind != OPTION_REPEAT)
        return true;
    const char **grown = arena_grow(a, opt->all, opt->count, opt->count + 1, sizeof *grown);
    if (!grown)
        return err_no_memory(e);
    grown[opt->count++] = value;
    opt->all = grown;
    return true;
}

static option *find(const options *o, str name, char letter)
{
    for (option *at = o->options; at->name; at++)
        if (name.n ? str_eq(name, str_from(at->name)) ||
                         (at->alias && str_eq(name, str_from(at->alias)))
                   : at->letter == letter)
            return at;
    return NULL;
}

static bool unknown(const options *o, const char *arg, err *e)
{
    const char *names[CANDIDATES_MAX + 1];
    size_t n = 0;
    for (const option *at = o->options; at->name && n < CANDIDATES_MAX; at++)
        if (at->help)
            names[n++] = at->name;
    names[n] = NULL;
    const char *near = arg[1] == '-' ? did_you_mean(arg + 2, names) : NULL;
    if (near)
        return err_set(e, ERR_INVALID, "unknown option '%s'; did you mean '--%s'?", arg, near);
    return err_set(e, ERR_INVALID, "unknown option '%s'; 'ebb %s --help' lists the options", arg,
                   o->command);
}

static bool option_take(arena *a, options *o, int argc, char **argv, int *at, err *e)
{
    const char *arg = argv[*at];
    bool is_long = arg[1] == '-';
    str name = str_from(is_long ? arg + 2 : ""), value = name;
    name = str_cut(&value, '=');
    option *opt = find(o, name, is_long ? 0 : arg[1]);
    if (!opt || (!is_long && opt->kind == OPTION_FLAG && arg[2]))
        return unknown(o, arg, e);
    if (opt->kind == OPTION_FLAG)
        return value.p ? err_set(e, ERR_INVALID, "--%s takes no value", opt->name)
                       : take(a, opt, "", e);
    if (is_long && value.p)
        return take(a, opt, value.p, e);
    if (!is_long && arg[2])
        return take(a, opt, arg + 2, e);
    if (*at + 1 >= argc)
        return err_set(e, ERR_INVALID, "--%s needs a value: --%s %s", opt->name, opt->name,
                       opt->value);
    return take(a, opt, argv[++*at], e);
}

/* Is argv[at] where another command's arguments begin? */
static bool rest_begins(options *o, int argc, char **argv, int at)
{
    str name = str_from(argv[at] + 2), value = name;
    bool is_long = strncmp(argv[at], "--", 2) == 0;
    bool ends = strcmp(argv[at], "--") == 0;
    if (is_long)
        name = str_cut(&value, '=');
    if (!o->takes_rest || (!ends && find(o, is_long ? name : (str){0}, argv[at][1])))
        return false;
    o->rest = argv + at + (ends ? 1 : 0);
    o->rest_count = argc - at - (ends ? 1 : 0);
    return true;
}

static bool flag_is_off(const char *value)
{
    static const char *const off[] = {"0", "false", "no", "off", NULL};
    for (size_t i = 0; off[i]; i++)
        if (str_eq_nocase(str_from(value), str_from(off[i])))
            return true;
    return false;
}

static bool environment_take(arena *a, options *o, err *e)
{
    for (option *at = o->options; at->name; at++) {
        const char *value = at->env && !at->given ? getenv(at->env) : NULL;
        if (!value || !*value || (at->kind == OPTION_FLAG && flag_is_off(value)))
            continue;
        if (!take(a, at, value, e))
            return false;
    }
    return true;
}

bool options_parse(arena *a, options *o, int argc, char **argv, err *e)
{
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (ended) {
            if (o->positionals_count == sizeof o->positionals / sizeof *o->positionals)
                return err_set(e, ERR_INVALID, "too many arguments");
            o->positionals[o->positionals_count++] = arg;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            help_print(o);
            o->help = true;
            return true;
        }
        if (arg[0] == '-' && arg[1]) {
            if (rest_begins(o, argc, argv, i))
                break;
            if ((ended = strcmp(arg, "--") == 0))
                continue;
            if (!option_take(a, o, argc, argv, &i, e))
                return false;
            continue;
        }
        if (!o->positional)
            return err_set(e, ERR_INVALID, "unexpected argument '%s'", arg);
        if (o->positionals_count == sizeof o->positionals / sizeof *o->positionals)
            return err_set(e, ERR_INVALID, "too many arguments");
        o->positionals[o->positionals_count++] = arg;
    }
    return environment_take(a, o, e);
}
