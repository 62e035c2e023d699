/* What a worker still reaches after it stopped being root: its artifacts, its files, the keys of
 * its outgoing TLS, which may lie in folders that only root may enter. They are opened before, and
 * their paths replaced by paths through those descriptors. Nothing happens where nobody is root. */
#pragma once

#include "platform/node_config.h"

/* Before sandbox_confine. Changes paths in *n and *c, in the arena they were read into. */
bool reach_open(arena *a, node_config *n, app_config *c, err *e);
/* The same for what will be used below a folder. */
bool reach_folder(arena *a, str *path, err *e);
