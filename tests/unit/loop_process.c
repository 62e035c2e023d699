/* Child processes. The child is this program with an argument. */
#include "loop_kit.h"

#include "loop/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int exits, status_was, signo_was;

static void on_exit_of_child(void *user, int status, int signo)
{
    exits++;
    status_was = status;
    signo_was = signo;
}

static char self[4096];

static process *spawn(const char *mode, const int *fds, size_t fds_count)
{
    err e = {0};
    process *p;
    const char *argv[] = {"child", mode, NULL}, *env[] = {"ONLY=this", NULL};
    process_options o = {
        .file = self, .argv = argv, .env = env, .dir = "/", .fds = fds, .fds_count = fds_count};
    exits = 0;
    if (!process_spawn(l, &o, on_exit_of_child, NULL, &p, &e))
        fail_msg("%s", e.text);
    return p;
}

static void exit_codes(void **state)
{
    process *p = spawn("exit7", NULL, 0);
    until(exits == 1);
    assert_int_equal(status_was, 7);
    assert_int_equal(signo_was, 0);
    assert_false(process_kill(p, SIGTERM));
    process_close(p);

    p = spawn("wait", NULL, 0);
    assert_true(process_pid(p) > 0);
    assert_true(process_kill(p, SIGKILL));
    until(exits == 1);
    assert_int_equal(status_was, -1);
    assert_int_equal(signo_was, SIGKILL);
    process_close(p);
}

/* What the child says about itself: environment, directory, and which descriptors are open. */
static void inherits(void **state)
{
    int out[2], three[2];
    char said[4096] = {0};
    size_t n = 0;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(three, 0), 0); /* not close-on-exec, yet not to be inherited as it is */
    int fds[] = {-1, out[1], 2, three[1]};
    process *p = spawn("report", fds, 4);
    until(exits == 1);
    assert_int_equal(status_was, 0);
    close(out[1]);
    close(three[1]);
    for (ssize_t k; (k = read(out[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)k;
    assert_string_equal(said, "ONLY=this\n/\n0 1 2 3\n");
    assert_int_equal(read(three[0], said, 4), 4);
    assert_memory_equal(said, "here", 4);
    close(out[0]);
    close(three[0]);
    process_close(p);
}

static void no_such_file(void **state)
{
    err e;
    process *p;
    const char *argv[] = {"x", NULL};
    process_options o = {.file = "/nonexistent/program", .argv = argv};
    assert_false(process_spawn(l, &o, on_exit_of_child, NULL, &p, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "/nonexistent/program"));
    loop_turn(l, 0);
}

/* Nobody is told of a child whose handle is closed; the child goes on. */
static void closed_before_its_end(void **state)
{
    process *p = spawn("wait", NULL, 0);
    pid_t pid = process_pid(p);
    assert_true(process_kill(p, 0));
    process_close(p);
    process_close(NULL);
    loop_turn(l, 5);
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    loop_turn(l, 5);
    assert_int_equal(exits, 0);
}

static void without_a_callback(void **state)
{
    err e;
    const char *argv[] = {"child", "exit7", NULL};
    process_options o = {.file = self, .argv = argv};
    process *p;
    assert_true(process_spawn(l, &o, NULL, NULL, &p, &e));
    until(!process_kill(p, 0)); /* gone */
    process_close(p);
    loop_turn(l, 0);
}

/* Environment and folder are the parent's where none are named. */
static void what_is_not_named(void **state)
{
    err e;
    int out[2];
    char said[65536] = {0}, dir[4096];
    size_t n = 0;
    const char *argv[] = {"child", "report", NULL};
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    int fds[] = {-1, out[1], 2, out[1]};
    process_options o = {.file = self, .argv = argv, .fds = fds, .fds_count = 4};
    process *p;
    exits = 0;
    assert_int_equal(setenv("EBB_OF_THE_PARENT", "here", 1), 0);
    assert_true(process_spawn(l, &o, on_exit_of_child, NULL, &p, &e));
    until(exits == 1);
    close(out[1]);
    for (ssize_t k; (k = read(out[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)k;
    assert_non_null(strstr(said, "EBB_OF_THE_PARENT=here\n"));
    assert_non_null(getcwd(dir, sizeof dir));
    assert_non_null(strstr(said, dir));
    close(out[0]);
    process_close(p);
}

/* Root gives a child another user; anybody else may not. */
static void another_user(void **state)
{
    err e;
    const char *argv[] = {"child", "ids", NULL};
    process_options o = {
        .file = "/proc/self/exe", .argv = argv, .set_ids = true, .uid = 65534, .gid = 65533};
    process *p;
    exits = 0;
    bool ok = process_spawn(l, &o, on_exit_of_child, NULL, &p, &e);
    assert_int_equal(ok, geteuid() == 0);
    if (ok) {
        until(exits == 1);
        assert_int_equal(status_was, 0);
        process_close(p);
    } else {
        assert_int_equal(e.code, ERR_IO);
    }
    loop_turn(l, 0);
}

static int child(const char *mode)
{
    if (!strcmp(mode, "exit7"))
        return 7;
    if (!strcmp(mode, "ids"))
        return getuid() == 65534 && getgid() == 65533 && getgroups(0, NULL) == 0 ? 0 : 1;
    if (!strcmp(mode, "wait"))
        for (;;)
            pause();
    extern char **environ;
    char dir[4096];
    for (char **v = environ; *v; v++)
        printf("%s\n", *v);
    printf("%s\n", getcwd(dir, sizeof dir));
    bool open_fds[100];
    for (int fd = 0; fd < 100; fd++)
        open_fds[fd] = fcntl(fd, F_GETFD) >= 0;
    for (int fd = 0, first = 1; fd < 100; fd++)
        if (open_fds[fd]) {
            printf(first ? "%d" : " %d", fd);
            first = 0;
        }
    printf("\n");
    return write(3, "here", 4) == 4 ? 0 : 1;
}

int main(int argc, char **argv)
{
    err e;
    if (argc == 2)
        return child(argv[1]);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || !loop_new(&l, &e))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes),         cmocka_unit_test(inherits),
        cmocka_unit_test(no_such_file),       cmocka_unit_test(closed_before_its_end),
        cmocka_unit_test(without_a_callback), cmocka_unit_test(what_is_not_named),
        cmocka_unit_test(another_user),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    loop_free(l);
    return failed;
}
