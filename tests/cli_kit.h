/* Commands of ebb in this process, with what they print, in a folder that goes at the end. */
#pragma once

#include "folder_kit.h"

#include "cli/capacity.h"
#include "cli/carbon.h"
#include "cli/commands.h"
#include "cli/sim.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

typedef int command(int argc, char **argv);

static char out[1 << 20], said[64 << 10]; /* of the last command: stdout, stderr */
static json_t *printed;                   /* of its stdout; NULL: that is no JSON */

static int captured[2];

static inline void capture(int fd)
{
    int to = memfd_create("output", MFD_CLOEXEC);
    captured[fd - 1] = dup(fd);
    dup2(to, fd);
    close(to);
}

static inline void release(int fd, char *text, size_t room)
{
    ssize_t n = pread(fd, text, room - 1, 0);
    text[n > 0 ? n : 0] = 0;
    dup2(captured[fd - 1], fd);
    close(captured[fd - 1]);
}

/* Words with spaces between them, of which none has a space itself, and more of them up to NULL.
 */
static inline int run(command *f, const char *line, ...)
{
    char copy[1024], *argv[64], *rest;
    int argc = 0;
    va_list args;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    va_start(args, line);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    fflush(NULL);
    capture(STDOUT_FILENO);
    capture(STDERR_FILENO);
    int ended = f(argc, argv);
    fflush(stdout);
    fflush(stderr);
    release(STDOUT_FILENO, out, sizeof out);
    release(STDERR_FILENO, said, sizeof said);
    json_decref(printed);
    printed = json_loads(out, 0, NULL);
    return ended;
}

#define succeeds(f, ...)                                                                           \
    do {                                                                                           \
        if (run(f, __VA_ARGS__, NULL) != 0)                                                        \
            fail_msg("%s", said);                                                                  \
    } while (0)

/* With that status, and these words on stderr. */
#define fails(status, words, f, ...)                                                               \
    do {                                                                                           \
        assert_int_equal(run(f, __VA_ARGS__, NULL), status);                                       \
        if (!strstr(said, words))                                                                  \
            fail_msg("'%s' is not in: %s", words, said);                                           \
    } while (0)

#define prints(words)                                                                              \
    do {                                                                                           \
        if (!strstr(out, words))                                                                   \
            fail_msg("'%s' is not in: %s", words, out);                                            \
    } while (0)

static inline double num(const char *name)
{
    const json_t *v = json_object_get(printed, name);
    if (!json_is_number(v))
        fail_msg("%s is no number in %s", name, out);
    return json_number_value(v);
}

static inline size_t count_of(const char *words)
{
    size_t n = 0;
    for (const char *at = out; (at = strstr(at, words)); at++)
        n++;
    return n;
}

static inline void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline int enter(void **state)
{
    return folder_make("/dev/shm/ebb-test-cli") && chdir(dir) == 0 ? 0 : -1;
}

static inline int leave(void **state)
{
    json_decref(printed);
    printed = NULL;
    return chdir("/") || folder_remove(dir);
}

#define cli_test(f) cmocka_unit_test_setup_teardown(f, enter, leave)
