/* `files` and `exclude_files` to the list of files that a guest sees.
 * Pure: the file system is a table of functions. Paths given to it are relative to the app's
 * directory, use '/', and never hold '.', '..' or an empty segment ("" is the directory itself);
 * whoever implements it must not let a symbolic link lead outside (openat2, RESOLVE_BENEATH). */
#pragma once

#include "app/app.h"

typedef enum { FILES_ABSENT, FILES_FILE, FILES_DIR, FILES_OTHER } files_type;

typedef struct {
    str name;        /* one segment; never "." or ".." */
    files_type type; /* of what a link points to */
    bool is_link;    /* a symbolic link: '**' does not go through it into a directory */
} files_entry;

typedef struct {
    void *ctx;
    /* Links are followed. FILES_ABSENT is not an error. */
    bool (*stat)(void *ctx, str path, files_type *ret, err *e);
    /* Entries in any order, allocated in a. */
    bool (*list)(void *ctx, arena *a, str path, files_entry **ret, size_t *ret_count, err *e);
} files_fs;

/* Fills c->files from c->mounts and c->exclude_files: regular files only, sorted by guest path
 * (str_cmp), each guest path once (a later entry of `files` wins), none below another.
 * exclude_files apply to patterns and directories, not to a file that is named. Errors name the
 * entry and its position in `file`; a pattern that matches nothing is a warning, an absent plain
 * path an error.
 * warnings may be NULL. scratch is only used during the call. */
bool files_expand(arena *a, arena *scratch, const files_fs *fs, str file, app_component *c,
                  str_list *warnings, err *e);

/* Shell pattern over a path: '?' and '*', '[a-z]' and '[!a-z]', '**' as a whole segment for any
 * number of segments. Unless `crosses`, '?', '*' and brackets stay within a segment (that is how
 * `files` works; in `exclude_files` they cross, as in Spin). No recursion, no allocation. */
bool files_glob_match(str pattern, str path, bool crosses);
/* True if the pattern is well-formed ('**' only as a whole segment, brackets closed). */
bool files_glob_check(str pattern, err *e);
