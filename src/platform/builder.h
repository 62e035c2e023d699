/* Making artifacts under `ebb serve`: a process of its own (`ebb @builder`) starts a child for each
 * component, at most `jobs` at a time; the children run decode and compile (artifact.h). The keeper
 * only sends digests and gets answers, so that its loop never waits and its sandbox knows no
 * execve. */
#pragma once

#include "base/arena.h"
#include "loop/loop.h"

typedef struct builder builder;
typedef struct builder_wait builder_wait;

/* Starts the process; call it before the sandbox is entered. data_dir: blobs/ and artifacts/ are in
 * it. fingerprint: of the engine. Both are copied. */
bool builder_new(loop *l, str data_dir, str fingerprint, unsigned jobs, builder **ret, err *e);
/* Who waits is told that it failed. NULL is allowed. */
void builder_free(builder *b);

/* Embedded in what waits. */
struct builder_wait {
    void (*done)(builder_wait *w, bool ok, const err *e);
    builder_wait *next; /* private */
    char hex[65];       /* private */
};
/* True: the artifact of this component (64 hex digits) is there. Else done is called later, from
 * the loop. A digest that is being made already is not made twice. */
bool builder_ensure(builder *b, str hex, builder_wait *w);
/* Nobody is to be told any more. */
void builder_forget(builder *b, builder_wait *w);
