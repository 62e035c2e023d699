/* TOML 1.0.0, whole, with the position of every key and value.
 * Invariants: a document lives in one arena and borrows nothing from the text; table entries keep
 * the order of the text; keys are unique within a table; every string is well-formed UTF-8.
 * Positions are those of the first character, both from 1; columns count characters, not bytes. */
#pragma once

#include "base/arena.h"

typedef struct {
    uint32_t line, column;
} toml_pos;

typedef enum {
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOL,
    TOML_DATETIME,       /* with an offset */
    TOML_DATETIME_LOCAL, /* without */
    TOML_DATE_LOCAL,
    TOML_TIME_LOCAL,
    TOML_ARRAY,
    TOML_TABLE,
} toml_kind;

typedef struct {
    uint16_t year;
    uint8_t month, day, hour, minute, second; /* second may be 60 */
    uint8_t digits;                           /* of the fraction as written, at most 9 are kept */
    uint32_t nanosecond;
    int16_t offset_minutes; /* east of UTC; TOML_DATETIME only */
    bool is_z;              /* written as Z, not as +00:00 */
} toml_datetime;

typedef struct toml_value toml_value;
typedef struct toml_entry toml_entry;

typedef struct {
    toml_entry *first, *last;
    size_t n;
    toml_entry *tree; /* the index by key; private */
    uint8_t state;    /* how it was defined; private */
} toml_table;

typedef struct {
    toml_value *at;
    size_t n;
    size_t cap;     /* private */
    bool is_tables; /* made by [[header]]; private */
} toml_array;

struct toml_value {
    toml_kind kind;
    toml_pos pos;
    union {
        str string;
        int64_t integer;
        double floating;
        bool boolean;
        toml_datetime datetime;
        toml_array array;
        toml_table *table;
    };
};

struct toml_entry {
    str key;
    toml_pos pos; /* of the key */
    toml_value value;
    toml_entry *next; /* in the order of the text */
    toml_entry *left, *right;
    uint32_t level; /* private, as left and right */
};

/* Parses text. `file` is only for messages: "file:line:column: expected ..., found ...".
 * ERR_INVALID: not TOML; ERR_LIMIT: nested deeper than TOML_DEPTH_MAX or longer than
 * TOML_BYTES_MAX; ERR_NO_MEMORY. */
bool toml_parse(arena *a, str file, str text, toml_table **ret_root, err *e);

/* The entry of that key, or NULL. Logarithmic. */
toml_entry *toml_get(const toml_table *t, str key);

/* "string", "integer", "table": for messages, with their article: "a string", "an integer". */
const char *toml_kind_name(toml_kind kind);
