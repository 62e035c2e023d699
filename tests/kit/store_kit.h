/* A store process for the kits of the queue: the role as ebb runs it, in a child. */
#pragma once

#include "base/err.h"
#include "store/server.h"

/* Becomes the store process of that queue, whose connections arrive at `control`: the role as the
 * supervisor starts it, with control at 3 and settings at 4. Ends with the process; returns only
 * where it could not begin. */
void store_kit_run(const store_queue *queue, int control, err *e);
