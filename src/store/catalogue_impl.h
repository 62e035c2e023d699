/* Shared by the files of the catalogue: statements by their text, values by a word of types. */
#pragma once

#include "store/catalogue.h"

#include <sqlite3.h>
#include <stdio.h>

enum { CATALOGUE_STATEMENTS_MAX = 96 };

struct catalogue_db {
    sqlite3 *db;
    seal_key key;
    const char *texts[CATALOGUE_STATEMENTS_MAX]; /* literals: compared as pointers */
    sqlite3_stmt *statements[CATALOGUE_STATEMENTS_MAX];
    size_t count;
};

/* One letter a value: 'i' int64_t, 't' str as text, 'b' bytes as blob. NULL on failure. */
sqlite3_stmt *db_query(catalogue_db *db, err *e, const char *sql, const char *types, ...);
/* 1: a row; 0: no more, and the statement is reset; -1: it failed. */
int db_next(catalogue_db *db, sqlite3_stmt *s, err *e);
/* Runs it to its end. */
bool db_run(catalogue_db *db, err *e, const char *sql, const char *types, ...);
/* The first column of the first row; *ret is unchanged where there is none. */
bool db_number(catalogue_db *db, err *e, int64_t *ret, const char *sql, const char *types, ...);
/* Copied; p is NULL without memory. */
str db_text(arena *a, sqlite3_stmt *s, int column);
bytes db_blob(sqlite3_stmt *s, int column); /* until the next step */
/* Ends a query before its last row. */
static inline void db_end(sqlite3_stmt *s) { sqlite3_reset(s); }

/* What an app's settings are sealed for. */
str catalogue_settings_place(char place[64], uint64_t app);
