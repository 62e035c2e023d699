/* The store process: will own every write to the apps' data (design section 2). Today it holds
 * the place: it waits on its control socket, answers a ping with the same byte, and ends when the
 * supervisor closes the socket. It never wakes up by itself. */
#include "platform/role.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

int role_store(int argc, char **argv)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (;;) {
        char byte;
        ssize_t n = read(3, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        if (write(3, &byte, 1) != 1)
            return 0;
    }
}
