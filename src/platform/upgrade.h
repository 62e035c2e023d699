/* One supervisor making room for the next: the same process, a new binary. The new one is tried
 * first (`ebb serve --check`); then what must outlive the change (listening sockets, who runs, and
 * the sockets to them) is written to an anonymous file whose descriptor stands in EBB_HANDOVER, and
 * the binary is executed. See supervisor.c for the order in which processes follow. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

typedef struct {
    str role; /* "worker", "store", "keeper" */
    unsigned index;
    pid_t pid;
    int control; /* -1: closed */
    bool told;   /* it has been told to leave */
} handover_process;

/* Everything that one supervisor leaves to the next. */
typedef struct {
    str listen, address;  /* of apps: as it was set, and as it is */
    str admin;            /* where the admin API listens; empty: nowhere */
    const int *listeners; /* one per worker slot */
    size_t workers;
    int admin_local, admin_tcp; /* -1: none */
    handover_process *all;
    size_t count;
} handover;

/* How this process was started; borrowed. */
typedef struct {
    const char *path;  /* of the binary, which may be another one by now */
    char *const *argv; /* from the name of the program on */
    str data_dir;      /* where the outcome is told (upgrade_report) */
} upgrade_self;

/* The binary by which we were started: a path that was given is kept as it is (it may be a link to
 * the newest build), one found in PATH is what it was found as. */
bool upgrade_path(arena *a, const char *program, str *ret, err *e);
/* Does the binary start with these arguments and its settings? Blocks, at most some seconds. */
bool upgrade_check(const upgrade_self *u, err *e);
/* Returns only if it failed; everything is as before then. */
bool upgrade_exec(const upgrade_self *u, const handover *h, err *e);

/* *ret_any false: nobody was before us. Descriptors are ours then. */
bool handover_take(arena *a, handover *ret, bool *ret_any, err *e);

/* For `ebb upgrade`: <data>/upgrade.txt has "ok <text>" or "failed <text>", whole or not at all. */
void upgrade_report(str data_dir, bool ok, const char *text);
