/* A store process and two of its workers on one loop, over real channels. A test says itself what
 * the server has. */
#pragma once

#include "unit.h"

#include "loop/channel.h"
#include "store/client.h"
#include "store/server.h"

static loop *l;
static store_server *server;
static store_client *client, *second;
static int done; /* calls of on_done */
static err e;

static inline void server_new(const store_config *c)
{
    if (!store_server_new(l, c, &server, &e))
        fail_msg("%s", e.text);
}

static inline void connect_client(store_client *c)
{
    int fds[2];
    assert_true(channel_pair(fds, &e) && store_server_add_take(server, fds[0], &e));
    store_client_connect_take(c, fds[1]);
}

/* Not connected yet. */
static inline bool workers_make(void)
{
    done = 0;
    return loop_new(&l, &e) && store_client_new(l, &client, &e) && store_client_new(l, &second, &e);
}

/* And the server. */
static inline void workers_end(void)
{
    store_client_free(client);
    store_client_free(second);
    store_server_free(server);
    loop_free(l);
}

static inline void on_done(void *user) { done++; }

static inline void wait_done(int n)
{
    while (done < n)
        loop_turn(l, 1000);
    assert_int_equal(done, n);
}
