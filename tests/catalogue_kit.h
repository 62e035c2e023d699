/* A catalogue in a folder of its own. */
#pragma once

#include "folder_kit.h"

#include "store/catalogue_impl.h"

static const seal_key key = {{9}};
static char path[96];
static catalogue_db *db;
static arena a;
static err e;

static inline int make(void **state)
{
    if (!folder_make("/tmp/ebb-catalogue"))
        return -1;
    snprintf(path, sizeof path, "%s/platform.db", dir);
    arena_init(&a, 16 << 20);
    return catalogue_db_open(path, &key, &db, &e) ? 0 : -1;
}

static inline int unmake(void **state)
{
    catalogue_db_close(db);
    arena_fini(&a);
    return folder_remove(dir);
}
