/* Processes of our own: the same binary again, in another role (`ebb @worker`, `ebb @decode`, ...).
 * A child gets the descriptors it is given as 3, 4, 5 ... and nothing else but stderr: no
 * environment (so no secrets in it), no inherited files, no new privileges, no core dump. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPAWN_FD_FIRST = 3, SPAWN_FDS_MAX = 8 };

/* Hard limits set in the child before it runs; 0: none. */
typedef struct {
    uint64_t memory_bytes; /* address space; not under AddressSanitizer, which reserves terabytes */
    uint64_t cpu_s;
    uint64_t file_bytes;
} spawn_limits;

/* Starts role with args (NULL-terminated, may be NULL). The child dies with `dies_with_parent`. */
bool spawn_role(const char *role, const char *const *args, const int *fds, size_t fds_count,
                const spawn_limits *limits, bool dies_with_parent, pid_t *ret, err *e);
/* Waits for the child's end. False: it was killed or exited with a status other than 0, and
 * message (what it wrote to message_fd, may be -1) says why. */
bool spawn_wait(pid_t pid, const char *role, int message_fd, err *e);
/* An anonymous file for handing bytes to a child. */
bool spawn_memfd(const char *name, const void *p, size_t n, int *ret, err *e);
/* Waits for a message of exactly n bytes that brings a descriptor. */
bool fd_receive(int socket, void *p, size_t n, int *ret_fd, err *e);
bool fd_write_all(int fd, const void *p, size_t n, err *e);
/* The names in a folder last. False: errno says why not. */
bool dir_sync(const char *path);

/* `_cleanup_fd_ int fd = -1;` closes on every way out. */
void fd_close(int *fd);
#define _cleanup_fd_ __attribute__((cleanup(fd_close)))
