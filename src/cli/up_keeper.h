/* What `ebb up` tells the keeper: the components are its apps; its records and its socket lie in
 * the folder `ebb` of the state folder, beside what Spin keeps there. */
#pragma once

#include "base/log.h"
#include "cli/options.h"
#include "platform/localapp.h"

/* admin, carbon: the options of those names. *ret_listener is -1 or the admin socket, the caller's;
 * *ret_path its path, to be unlinked at the end; empty: it has none. A socket that cannot be made
 * by default is a warning only: the app is served without. */
bool up_keeper(arena *a, const localapp *l, unsigned workers, log_format format,
               const option *admin, const option *carbon, buf *ret_config, int *ret_listener,
               str *ret_path, err *e);
