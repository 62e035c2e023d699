/* See store_kit.h. All other descriptors are closed: the process has what the supervisor's child
 * has, and no end of its parent's channels. */
#include "store_kit.h"

#include "base/limits.h"
#include "platform/app_config.h"
#include "platform/role.h"
#include "store/message.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void store_kit_run(const store_queue *queue, int control, err *e)
{
    app_config none = {0};
    buf settings;
    int fd;
    buf_init(&settings, MIB);
    if (!store_config_write(&none, S(""), queue, false, &settings, e) ||
        !store_items_write(buf_bytes(&settings), &fd, e))
        return;
    control = fcntl(control, F_DUPFD, 10);
    fd = fcntl(fd, F_DUPFD, 10);
    dup2(control, 3);
    dup2(fd, 4);
    close_range(5, ~0u, 0);
    exit(role_store(0, NULL));
}
