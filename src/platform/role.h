/* The mains of the processes of design section 2, by the name given to spawn_role. A role reports
 * a failure as "<err_code> <text>" on its message descriptor and exits with 1. */
#pragma once

#include "base/err.h"

/* fd 3: the component (read only); fd 4: where the frames go; fd 5: messages. */
int role_decode(int argc, char **argv);
/* fd 3: an archive; fd 4: where the files in it go; fd 5: messages (unpack.c). */
int role_unpack(int argc, char **argv);
/* fd 3: the frames; fd 4: where the artifact goes; fd 5: messages. argv[1], argv[2]: offset and
 * length of the core module in fd 3. */
int role_compile(int argc, char **argv);
/* fd 3: settings (node_config.h); fd 4: listening socket; fd 5: control. */
int role_worker(int argc, char **argv);
/* fd 3: control; fd 4: its settings (app_config.h), empty if nothing is stored. */
int role_store(int argc, char **argv);

/* fd 3: where the download goes; fd 4: messages. Arguments: fetch_role.c. */
int role_fetch(int argc, char **argv);
/* fd 3: control; fd 4: its settings (keeper.h); fd 5: the admin socket, fd 6: the admin address;
 * both may be missing. */
int role_keeper(int argc, char **argv);

/* fd 3: a channel to the keeper (builder.c). Arguments: data folder, fingerprint, jobs. */
int role_builder(int argc, char **argv);

/* fd 3: a channel to the keeper (grid_role.h). */
int role_grid(int argc, char **argv);
/* fd 3: a socket of spans (traces_role.c). Arguments: the collector's URL, the node's name. */
int role_traces(int argc, char **argv);
/* For tests: see probe.c. */
int role_probe(int argc, char **argv);

/* Writes e to fd as spawn_wait reads it; returns 1. */
int role_fail(int fd, const err *e);
