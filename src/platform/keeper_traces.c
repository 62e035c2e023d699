/* Traces, the keeper's part: it starts the exporter (`ebb @traces`, traces_role.c), which outlives
 * it until its workers have another, and gives every worker the socket that spans go to. An
 * exporter that dies is started again with the next keeper: the keeper's sandbox knows no execve.
 */
#include "loop/channel.h"
#include "platform/keeper_impl.h"
#include "platform/spawn.h"

#include <sys/socket.h>
#include <unistd.h>

/* Spans that wait for the exporter; the kernel may allow less. One takes some 2 kB there. */
enum { QUEUE_BYTES = 256 * 1024 };

bool keeper_traces_begin(keeper *k, err *e)
{
    int pair[2];
    pid_t pid;
    k->traces = -1;
    if (!k->config.serve.traces_url.n)
        return true;
    const char *args[] = {arena_cstr(&k->a, k->config.serve.traces_url),
                          arena_cstr(&k->a, k->config.node), NULL};
    if (!args[0] || !args[1])
        return err_no_memory(e);
    if (!channel_pair(pair, e))
        return false;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){QUEUE_BYTES}, sizeof(int));
    bool ok = spawn_role("traces", args, &pair[1], 1, NULL, false, &pid, e);
    close(pair[1]);
    k->traces = pair[0];
    return ok;
}

void keeper_traces_give(const keeper *k, worker_link *w)
{
    err e;
    if (k->traces >= 0 &&
        !channel_send(w->channel, (bytes){(const uint8_t *)"t", 1}, k->traces, &e))
        log_msg(LOG_WARN, "a worker's calls are in no trace: %s", e.text);
}
