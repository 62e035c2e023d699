/* Listening sockets: making one, and accepting from one.
 *
 * The supervisor makes one socket per worker slot (SO_REUSEPORT: the kernel spreads connections
 * over them) and a worker inherits the descriptor of its slot. A listener only borrows it: when the
 * listener closes, the socket and its queue stay with whoever else holds the descriptor.
 */
#pragma once

#include "base/str.h"
#include "loop/loop.h"

enum { LISTEN_ADDRESS_MAX = 64 }; /* "[ffff:...:255.255.255.255%eth0...]:65535" and a NUL */

/* "127.0.0.1:3000", "[::1]:3000", ":3000" (all IPv4 and IPv6), "localhost:3000" (127.0.0.1). Names
 * are not looked up. Port 0: the kernel picks; ret_address is where it listens, as text. Call again
 * with that text for more sockets on the same port. Non-blocking, close-on-exec, listening. */
bool listen_socket(str address, int *ret_fd, char ret_address[LISTEN_ADDRESS_MAX], err *e);

/* A socket of the local machine at this path, for whoever may write to its folder (the socket's
 * mode is 0600). One that a dead process has left behind is replaced; ERR_CONFLICT: somebody
 * answers. */
bool listen_local(const char *path, int *ret_fd, err *e);
/* A connection to such a socket, blocking; -1 and *e otherwise. */
int connect_local(const char *path, err *e);

/* True if nobody listens there. SO_REUSEPORT lets a second server of the same user bind without a
 * word, and the kernel would then divide connections between two strangers: ask first.
 * ERR_CONFLICT: somebody does. */
bool listen_is_free(str address, err *e);

typedef struct listener listener;

/* f takes fd: non-blocking, close-on-exec; peer is "127.0.0.1:4321", valid during the call.
 * fd stays the caller's and must stay open until listener_close. Where descriptors or memory run
 * out, accepting pauses for a moment. */
bool listener_open(loop *l, int fd, void (*f)(void *user, int fd, str peer), void *user,
                   listener **ret_listener, err *e);
/* NULL is allowed. */
void listener_close(listener *li);
