/* Inside host/: the standard streams, 0 to 2. */
#pragma once

#include "host/guest.h"

/* NULL: no memory. */
object *cli_stream_new(guest *g, uint32_t which);
/* Is it one, as it was made? */
bool cli_stream_is_fresh(const object *o, uint32_t *ret_which);
