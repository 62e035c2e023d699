/* Command line options from a table: one row an option, so that parsing, checking, help and "did
 * you mean" come from one place. Long options take "--name value" or "--name=value". What follows
 * "--" is positional, or belongs to another command (takes_rest). */
#pragma once

#include "base/arena.h"

typedef enum { OPTION_FLAG, OPTION_VALUE, OPTION_REPEAT } option_kind;

typedef struct {
    const char *name; /* without "--" */
    char letter;      /* 0: none */
    option_kind kind;
    const char *value; /* what help calls the value: "ADDR" */
    const char *help;  /* NULL: taken, but not listed */
    const char *env;   /* environment variable with the default, or NULL; "0", "false", "no" and
                          "off" do not set a flag */
    const char *alias; /* another long name, not listed, or NULL */
    /* results */
    bool given;
    const char *got;  /* the last value */
    const char **all; /* OPTION_REPEAT: every value */
    size_t count;
} option;

typedef struct {
    const char *command;    /* "up" */
    const char *summary;    /* one line */
    const char *positional; /* "[DIR|FILE]", or NULL: none is taken */
    option *options;        /* ends with a row without name */
    bool takes_rest;        /* from the first unknown option or "--" on, arguments are not ours */
    /* results */
    char **rest; /* points into argv */
    int rest_count;
    const char *positionals[8];
    size_t positionals_count;
    bool help; /* --help was given: it has been printed */
} options;

/* Parses argv[1..argc). Errors name the argument and the nearest option. Storage is in the arena.
 */
/* The data folder of a node that runs on this machine: the row, and what it says (backup.c). */
#define DATA_OPTION                                                                                \
    {"data",    0, OPTION_VALUE, "DIR", "of the node [/var/lib/ebb, or ~/.local/share/ebb]",       \
     "EBB_DATA"}
bool cli_data_of(arena *a, const options *o, str *ret, err *e);

bool options_parse(arena *a, options *o, int argc, char **argv, err *e);
option *options_get(const options *o, const char *name);

/* An option whose value is a number from min to max. */
typedef struct {
    const char *name;
    double min, max, *to;
} option_range;
/* Reads those that were given into their places; the others keep what is there. */
bool options_numbers(const options *o, const option_range *ranges, size_t n, err *e);
/* The candidate (NULL-terminated list) nearest to word, or NULL if none is near. */
const char *did_you_mean(const char *word, const char *const *candidates);
/* Prints "ebb: <text>" to stderr, in red on a terminal. Returns 1. */
int cli_fail(const err *e);
/* True if stdout (1) or stderr (2) is a terminal and NO_COLOR is not set. */
bool cli_colours(int fd);
