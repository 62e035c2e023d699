/* The supervisor with processes of ours: this program again, as spawn_role starts it. Each tells
 * what it is given and what comes over its control socket as a line to a socket in a folder, whose
 * path is its settings; the test waits for lines, and sends signals. */
#include "unit.h"

#include "base/log.h"
#include "base/must.h"
#include "platform/counters.h"
#include "platform/keeper.h"
#include "platform/supervisor.h"
#include "tls_kit.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 2, PATIENCE_MS = 20000, LINES_MAX = 4000, TENANT = 5 };

/* --- what the supervisor starts --------------------------------------------------------------- */

static int events = -1; /* where lines go */
static char me[32];     /* "worker 0", "keeper" */

static void tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *fmt, ...)
{
    char line[160];
    va_list args;
    int n = snprintf(line, sizeof line, "%s ", me);
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    va_end(args);
    send(events, line, (size_t)n, 0);
}

static void events_connect(const char *folder)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.90s/events", folder);
    events = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(connect(events, (struct sockaddr *)&to, sizeof to) == 0);
}

static void on_signal(int sig)
{
    tell(sig == SIGTERM ? "drains" : "retires");
    _exit(0);
}

/* What the other end of a channel says. */
static void hear(int fd)
{
    char text[32];
    struct pollfd p = {fd, POLLIN, 0};
    poll(&p, 1, PATIENCE_MS);
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    tell("hears %s", text);
}

static void say(int fd, char kind)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%c of %s", kind, me);
    send(fd, text, (size_t)n, MSG_NOSIGNAL);
}

/* Areas of counters: its own may be written to, those of others not. */
static void area_try(char kind, int fd)
{
    counters_area *area;
    err e;
    bool writes = counters_map(fd, true, &area, &e);
    if (writes)
        count_add(counters_take(area, TENANT), COUNT_RUNNING, 1);
    else
        must(counters_map(fd, false, &area, &e));
    const counters_row *r = counters_find(area, TENANT);
    tell("%c %s, %llu run", kind, writes ? "is written" : "is read",
         r ? (unsigned long long)count_get(r, COUNT_RUNNING) : 0ULL);
}

static void note_take(const keeper_note *n, int fd, int control)
{
    tell("note %d %s %u%s%s%s", n->kind, n->role, n->index, n->known ? " known" : "",
         n->cpu_ns ? " cpu" : "", fd >= 0 ? " fd" : "");
    if (n->kind == KEEPER_PROCESS || n->kind == KEEPER_DIED)
        tell("pid %d %s", n->pid, n->role);
    if (n->kind == KEEPER_WORKER || n->kind == KEEPER_DIRECTORY || n->kind == KEEPER_CALLS)
        hear(fd);
    if (n->kind == KEEPER_STORE)
        say(fd, 's');
    if (n->kind == KEEPER_LEAVE)
        must(write(control, "l", 1) == 1);
}

static void message_take(bool is_keeper, bool is_worker, const char *p, size_t n, int fd,
                         int control)
{
    struct stat st = {0};
    if (is_keeper) {
        must(n == sizeof(keeper_note));
        note_take((const keeper_note *)p, fd, control);
    } else if (!is_worker) {
        must(n == 1 && *p == 's' && fd >= 0);
        hear(fd);
    } else if (*p == 'Q' || *p == 'q') {
        area_try(*p, fd);
    } else if (*p == 't') {
        fstat(fd, &st);
        tell("gets certificates: %s", st.st_size > 100 ? "yes" : "no");
    } else {
        tell("gets %c", *p);
        say(fd, *p);
    }
    if (fd >= 0)
        close(fd);
}

static bool message_wait(bool is_keeper, bool is_worker, int control)
{
    char text[256] __attribute__((aligned(8)));
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } passed;
    struct iovec whole = {text, sizeof text};
    struct msghdr m = {.msg_iov = &whole,
                       .msg_iovlen = 1,
                       .msg_control = &passed,
                       .msg_controllen = sizeof passed};
    ssize_t n = recvmsg(control, &m, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    int fd = -1;
    if (c)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    if (n > 0)
        message_take(is_keeper, is_worker, text, (size_t)n, fd, control);
    return n > 0;
}

static const char *read_of(int fd)
{
    static char all[2][256];
    static unsigned at;
    char *text = all[at++ % 2];
    ssize_t n = pread(fd, text, sizeof all[0] - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? text : "-";
}

/* Settings: the folder, and what is special, by line. */
static int role(int argc, char **argv)
{
    bool is_worker = strcmp(argv[1], "@worker") == 0, is_keeper = strcmp(argv[1], "@keeper") == 0;
    int config = is_worker ? 3 : 4, control = is_worker ? 5 : 3;
    bool with_tls = fcntl(6, F_GETFD) >= 0;
    char dir[128];
    ssize_t n = read(config, dir, sizeof dir - 1); /* from where it stands */
    if (n <= 0) {                                  /* a store process without stores */
        while (read(control, dir, sizeof dir) > 0)
            ;
        return 0;
    }
    dir[n] = 0;
    char *special = strchr(dir, '\n');
    *special++ = 0;
    snprintf(me, sizeof me, "%s%s%s", argv[1] + 1, is_worker ? " " : "", is_worker ? argv[2] : "");
    events_connect(dir);
    tell("starts %d", (int)getpid());
    bool stubborn = strstr(special, "stubborn") != NULL;
    signal(SIGTERM, SIG_IGN); /* it is told to all; store and keeper end when they are let go */
    if (is_worker) {
        signal(SIGTERM, stubborn ? SIG_IGN : on_signal);
        signal(SIGUSR2, on_signal);
        tell("listens on %s, %s", read_of(4), with_tls ? "TLS" : "no TLS");
        if (strstr(special, "mute") && argv[2][0] == '1')
            return 3;
        must(write(control, "r", 1) == 1);
    }
    if (is_keeper)
        tell("is asked on %s and %s", read_of(5), read_of(6));
    while (message_wait(is_keeper, is_worker, control))
        ;
    tell("ends");
    if (strstr(special, me)) { /* not before the test says so */
        snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/go");
        close(open(dir, O_RDONLY | O_CLOEXEC));
        tell("has ended");
    }
    return 0;
}

/* --- the supervisor, in a process of its own -------------------------------------------------- */

static char dir[] = "/dev/shm/ebb-test-super-XXXXXX";
static char settings[200];

static void on_ready(void *user)
{
    snprintf(me, sizeof me, "supervisor");
    events_connect(user);
    tell("is ready");
}

static _Noreturn void supervise(const supervisor_config *c)
{
    char path[PATH_MAX];
    err e = {0};
    snprintf(path, sizeof path, "%s/log", dir);
    log_init(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), LOG_TEXT, "supervisor");
    int status = supervisor_run(c, &e);
    if (status)
        log_msg(LOG_ERROR, "failed: %s", e.text);
    log_flush();
    _exit(status);
}

static int content(const char *text)
{
    int fd = memfd_create("listener", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static supervisor_config config_of(const char *special)
{
    static int listeners[WORKERS];
    snprintf(settings, sizeof settings, "%s\n%s", dir, special);
    for (int i = 0; i < WORKERS; i++)
        listeners[i] = content(i ? "one" : "zero");
    str s = str_from(settings);
    return (supervisor_config){.config = s,
                               .store_config = s,
                               .keeper_config = s,
                               .directory = true,
                               .defers = true,
                               .admin_listener = content("local"),
                               .admin_tcp = content("tcp"),
                               .listeners = listeners,
                               .workers = WORKERS,
                               .on_ready = on_ready,
                               .user = dir};
}

/* --- what is told ----------------------------------------------------------------------------- */

static int heard = -1;
static pid_t of; /* the supervisor; 0: none runs */
static char lines[LINES_MAX][160];
static size_t lines_n;

static bool line_take(int wait_ms)
{
    struct pollfd p = {heard, POLLIN, 0};
    if (poll(&p, 1, wait_ms) <= 0)
        return false;
    must(lines_n < LINES_MAX);
    ssize_t n = recv(heard, lines[lines_n], sizeof lines[0] - 1, 0);
    lines[lines_n][n > 0 ? n : 0] = 0;
    lines_n++;
    return true;
}

static size_t count(const char *beginning)
{
    size_t n = 0;
    for (size_t i = 0; i < lines_n; i++)
        n += strncmp(lines[i], beginning, strlen(beginning)) == 0;
    return n;
}

/* Until a line that begins so has come that often. Returns the last of them. */
static size_t nth(const char *beginning, size_t n)
{
    while (count(beginning) < n)
        if (!line_take(PATIENCE_MS)) {
            for (size_t i = 0; i < lines_n; i++)
                print_message("%s\n", lines[i]);
            fail_msg("%zu of '%s' did not come", n, beginning);
        }
    for (size_t i = 0;; i++)
        if (strncmp(lines[i], beginning, strlen(beginning)) == 0 && --n == 0)
            return i;
}

static size_t await(const char *beginning) { return nth(beginning, 1); }

static pid_t pid_of(const char *who, size_t start)
{
    char beginning[48];
    snprintf(beginning, sizeof beginning, "%s starts ", who);
    return (pid_t)atoi(lines[nth(beginning, start)] + strlen(beginning));
}

static void start(const supervisor_config *c)
{
    lines_n = 0;
    of = fork();
    if (of == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        supervise(c);
    }
    for (unsigned i = 0; i < c->workers; i++)
        close(c->listeners[i]);
    close(c->admin_listener);
    close(c->admin_tcp);
}

/* All run, and have heard of each other. */
static void settle(void)
{
    await("supervisor is ready");
    await("store hears s of keeper");
    for (int i = 0; i < WORKERS; i++) {
        char text[64];
        snprintf(text, sizeof text, "store hears s of worker %d", i);
        await(text);
        snprintf(text, sizeof text, "keeper hears c of worker %d", i);
        await(text);
    }
}

/* Its status; all lines that were told are there then. Who tells waits while many are unread. */
static int over(void)
{
    int status;
    while (waitpid(of, &status, WNOHANG) == 0)
        line_take(10);
    of = 0;
    while (line_take(0))
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int stop(void)
{
    assert_int_equal(kill(of, SIGTERM), 0);
    return over();
}

static const char *file_text(const char *name)
{
    static char text[16384];
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return text;
}

static bool logged(const char *words) { return strstr(file_text("log"), words) != NULL; }

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static int begin(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(at.sun_path, sizeof at.sun_path, "%s/events", dir);
    heard = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(heard, (struct sockaddr *)&at, sizeof at);
}

static int end(void **state)
{
    if (of)
        kill(of, SIGKILL);
    if (of)
        waitpid(of, NULL, 0);
    of = 0;
    close(heard);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Each process gets its descriptors; each worker a channel to the store and three to the keeper,
 * whose ends belong together; the keeper hears of all processes. */
static void who_is_connected_with_whom(void **state)
{
    supervisor_config c = config_of("");
    start(&c);
    await("supervisor is ready");
    for (int i = 0; i < WORKERS; i++) {
        char text[64];
        snprintf(text, sizeof text, "worker %d listens on %s, no TLS", i, i ? "one" : "zero");
        await(text);
        snprintf(text, sizeof text, "store hears s of worker %d", i);
        await(text);
        for (const char *kind = "kdc"; *kind; kind++) {
            snprintf(text, sizeof text, "keeper hears %c of worker %d", *kind, i);
            await(text);
        }
        for (keeper_note_kind kind = KEEPER_WORKER; kind <= KEEPER_CALLS; kind++) {
            snprintf(text, sizeof text, "keeper note %d worker %d fd", (int)kind, i);
            await(text);
        }
        snprintf(text, sizeof text, "worker %d Q is written, 1 run", i);
        await(text);
        snprintf(text, sizeof text, "worker %d q is read", i);
        await(text);
    }
    await("keeper is asked on local and tcp");
    await("store hears s of keeper");
    char text[64];
    snprintf(text, sizeof text, "keeper pid %d supervisor", (int)of);
    await(text);
    snprintf(text, sizeof text, "keeper pid %d store", (int)pid_of("store", 1));
    await(text);
    await("keeper note 8 compile 0"); /* what ran before there was a keeper */
    assert_int_equal(stop(), 0);
    assert_int_equal(count("keeper note 5 store 0 fd"), 1);
    assert_int_equal(count("keeper note 6 "), 2);
    assert_int_equal(count("keeper hears"), 3 * WORKERS);
    assert_int_equal(count("store hears"), WORKERS + 1);
    assert_int_equal(count("supervisor is ready"), 1);
    for (size_t i = 0; i < lines_n; i++)
        assert_null(strstr(lines[i], " known"));
}

static void what_is_not_wanted_is_not_connected(void **state)
{
    supervisor_config c = config_of("");
    c.directory = c.defers = false;
    close(c.admin_tcp);
    c.admin_tcp = -1;
    start(&c);
    await("keeper hears k of worker 0");
    await("keeper hears k of worker 1");
    await("store hears s of worker 0");
    await("store hears s of worker 1");
    await("keeper is asked on local and -");
    assert_int_equal(stop(), 0);
    assert_int_equal(count("keeper hears"), WORKERS);
    assert_int_equal(count("store hears"), WORKERS);
    assert_int_equal(count("worker 0 Q") + count("worker 0 q"), 0);
    assert_int_equal(count("keeper note 3") + count("keeper note 5"), 0);
    /* Only what is deferred, and nothing that is stored. */
    for (int stored = 0; stored < 2; stored++) {
        c = config_of("");
        c.directory = false;
        str none = {0};
        char empty[200];
        snprintf(empty, sizeof empty, "%s", settings);
        if (!stored)
            c.store_config = none;
        start(&c);
        await("keeper hears c of worker 1");
        await("keeper hears c of worker 0");
        if (stored)
            await("store hears s of keeper");
        assert_int_equal(stop(), 0);
        assert_int_equal(count("keeper hears d"), 0);
        assert_int_equal(count("store hears"), stored ? WORKERS + 1 : 0);
    }
}

/* With all that it needs of the others; they keep what they have. Its area is empty again. */
static void a_worker_that_dies_is_replaced(void **state)
{
    supervisor_config c = config_of("");
    struct timespec before, after;
    start(&c);
    settle();
    for (size_t time = 1; time <= 4; time++) {
        clock_gettime(CLOCK_MONOTONIC, &before);
        assert_int_equal(kill(pid_of("worker 0", time), SIGKILL), 0);
        pid_of("worker 0", time + 1);
        clock_gettime(CLOCK_MONOTONIC, &after);
        long long took =
            (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
        assert_true(took >= 10000000LL << (time - 1)); /* 10, 20, 40 ms ... as it dies young */
        nth("worker 0 Q is written, 1 run", time + 1);
        nth("store hears s of worker 0", time + 1);
        nth("keeper hears c of worker 0", time + 1);
        nth("keeper note 8 worker 0 cpu", time);
    }
    char text[64];
    snprintf(text, sizeof text, "keeper pid %d worker", (int)pid_of("worker 0", 1));
    await(text);
    assert_int_equal(stop(), 0);
    assert_int_equal(count("worker 1 starts"), 1);
    assert_int_equal(count("store starts"), 1);
    assert_int_equal(count("keeper starts"), 1);
    assert_true(logged("worker 0 was ended by signal 9; starting it again"));
}

static void a_store_or_keeper_that_dies_is_replaced(void **state)
{
    supervisor_config c = config_of("");
    start(&c);
    settle();
    assert_int_equal(kill(pid_of("store", 1), SIGKILL), 0);
    pid_of("store", 2);
    nth("store hears s of worker 0", 2);
    nth("store hears s of worker 1", 2);
    nth("store hears s of keeper", 2);
    await("keeper note 8 store 0 known cpu");
    nth("keeper note 6 store 0", 2);
    nth("keeper note 5 store 0 fd", 2);
    assert_int_equal(count("keeper note 1 worker 0"), 1);
    /* The next keeper knows that those that ran before it have been metered. */
    assert_int_equal(kill(pid_of("keeper", 1), SIGKILL), 0);
    pid_of("keeper", 2);
    for (int i = 0; i < WORKERS; i++) {
        char text[64];
        for (keeper_note_kind kind = KEEPER_WORKER; kind <= KEEPER_CALLS; kind++) {
            snprintf(text, sizeof text, "keeper note %d worker %d known fd", (int)kind, i);
            await(text);
        }
        snprintf(text, sizeof text, "keeper hears d of worker %d", i);
        nth(text, 2);
    }
    await("keeper note 6 store 0 known");
    await("keeper note 6 supervisor 0 known");
    nth("store hears s of keeper", 3);
    /* A worker that is newer than it is not known to it. */
    assert_int_equal(kill(pid_of("worker 1", 1), SIGKILL), 0);
    nth("keeper note 1 worker 1", 3);
    assert_string_equal(lines[nth("keeper note 1 worker 1", 3)], "keeper note 1 worker 1 fd");
    assert_int_equal(stop(), 0);
    assert_int_equal(count("keeper note 8 compile"), 1);
    assert_int_equal(count("worker 0 starts"), 1);
}

/* Workers finish; then the keeper closes its files, and after it the store, which it may ask. */
static void sigterm_ends_them_in_order(void **state)
{
    char path[PATH_MAX];
    supervisor_config c = config_of("keeper");
    snprintf(path, sizeof path, "%s/go", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    start(&c);
    settle();
    assert_int_equal(kill(of, SIGTERM), 0);
    await("worker 0 drains");
    await("worker 1 drains");
    await("keeper ends");
    while (line_take(50)) /* nobody is in a hurry */
        ;
    assert_int_equal(count("store ends"), 0);
    assert_int_equal(waitpid(of, NULL, WNOHANG), 0);
    int go = open(path, O_WRONLY | O_CLOEXEC);
    await("keeper has ended");
    await("store ends");
    close(go);
    assert_int_equal(over(), 0);
    assert_int_equal(count("worker 0 starts"), 1);
    assert_true(logged("draining"));
}

static void the_second_signal_is_the_last(void **state)
{
    supervisor_config c = config_of("stubborn");
    start(&c);
    settle();
    pid_t worker = pid_of("worker 0", 1);
    assert_int_equal(kill(of, SIGINT), 0);
    /* One that dies now is not replaced, and the other is waited for. */
    assert_int_equal(kill(pid_of("worker 1", 1), SIGKILL), 0);
    while (line_take(50))
        ;
    assert_int_equal(waitpid(of, NULL, WNOHANG), 0);
    assert_int_equal(kill(worker, 0), 0);
    assert_int_equal(kill(of, SIGTERM), 0);
    assert_int_equal(over(), 0);
    assert_int_equal(kill(worker, 0), -1);
    assert_int_equal(count("worker 1 starts"), 1);
    assert_int_equal(count("keeper ends"), 1);
    assert_int_equal(count("store ends"), 1);
    assert_true(logged("second signal: stopping at once"));
}

static void a_worker_that_cannot_start_is_the_end(void **state)
{
    supervisor_config c = config_of("mute");
    start(&c);
    assert_int_equal(over(), 1);
    assert_true(logged("failed: worker 1 ended before it was ready; its last lines say why"));
    assert_int_equal(count("supervisor is ready"), 0);
    assert_int_equal(count("keeper ends"), 1);
    assert_int_equal(count("store ends"), 1);
    assert_int_equal(kill(pid_of("worker 0", 1), 0), -1);
}

/* --- certificates ----------------------------------------------------------------------------- */

static void put(const char *name, const char *p, size_t n)
{
    char temp[PATH_MAX], path[PATH_MAX];
    snprintf(temp, sizeof temp, "%s/%s.new", dir, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
    assert_int_equal(rename(temp, path), 0);
}

static void new_certificates_go_to_all_workers(void **state)
{
    char certificate[PATH_MAX], key[PATH_MAX];
    made first = make("a.example", "DNS:a.example", 90), second = make("b.example", NULL, 90);
    certificates_source from = {.certificate_path = certificate, .key_path = key};
    supervisor_config c = config_of("");
    err e;
    snprintf(certificate, sizeof certificate, "%s/tls.pem", dir);
    snprintf(key, sizeof key, "%s/tls.key", dir);
    put("tls.key", first.key, first.key_n);
    put("tls.pem", first.certificate, first.certificate_n);
    assert_true(certificates_open(&from, &c.certificates, &e));
    start(&c);
    settle();
    await("worker 0 listens on zero, TLS");
    assert_int_equal(kill(of, SIGHUP), 0);    /* they are the same */
    put("tls.key", second.key, second.key_n); /* not yet a pair */
    put("tls.pem", second.certificate, second.certificate_n);
    await("worker 0 gets certificates: yes");
    await("worker 1 gets certificates: yes");
    put("tls.pem", "nonsense", 8);
    assert_int_equal(kill(of, SIGHUP), 0);
    assert_int_equal(stop(), 0);
    assert_int_equal(count("worker 0 gets certificates"), 1);
    assert_true(logged("those read before stay in use"));
    assert_true(logged("certificates: new ones are in use"));
    certificates_close(c.certificates);
    unmake(&first);
    unmake(&second);
}

/* --- upgrades --------------------------------------------------------------------------------- */

static upgrade_self self_of(char **argv)
{
    static char exe[PATH_MAX], mark[] = "@again";
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n] = 0;
    argv[0] = exe;
    argv[1] = mark;
    argv[2] = dir;
    argv[3] = NULL;
    return (upgrade_self){.path = exe, .argv = argv, .data_dir = str_from(dir)};
}

/* What upgrade_exec makes of us: the next supervisor, of the same settings. */
static int again(char **argv)
{
    arena a;
    handover h;
    bool any;
    err e;
    strcpy(dir, argv[2]);
    arena_init(&a, 1 << 20);
    must(handover_take(&a, &h, &any, &e) && any);
    supervisor_config c = config_of("");
    upgrade_self self = self_of((char *[4]){0});
    c.self = &self;
    c.before = &h;
    c.listeners = h.listeners;
    c.admin_listener = h.admin_local;
    c.admin_tcp = h.admin_tcp;
    c.listen = h.listen;
    c.address = h.address;
    c.admin = h.admin;
    must(str_eq(h.listen, S(":80")) && str_eq(h.address, S("127.0.0.1:80")) &&
         str_eq(h.admin, S("adm")) && h.workers == WORKERS);
    supervise(&c);
}

/* `--check`: it would start, unless there is a file that says why not. */
static int check(const char *folder)
{
    strcpy(dir, folder);
    if (!*file_text("check"))
        return 0;
    puts(file_text("check"));
    fflush(stdout);
    return 1;
}

static supervisor_config upgradable(upgrade_self *self, char **argv)
{
    supervisor_config c = config_of("");
    *self = self_of(argv);
    c.self = self;
    c.listen = S(":80");
    c.address = S("127.0.0.1:80");
    c.admin = S("adm");
    return c;
}

/* Twice: a new build of everything beside the old one, which goes once the new one serves. */
static void sigusr2_replaces_everybody(void **state)
{
    upgrade_self self;
    char *argv[4], text[PATH_MAX + 8];
    supervisor_config c = upgradable(&self, argv);
    start(&c);
    settle();
    for (size_t round = 1; round <= 2; round++) {
        assert_int_equal(kill(of, SIGUSR2), 0);
        nth("keeper note 7 keeper 0", round); /* no change begins any more ... */
        size_t ready = nth("supervisor is ready", round + 1);
        for (int i = 0; i < WORKERS; i++) {
            char who[16];
            snprintf(who, sizeof who, "worker %d", i);
            assert_int_not_equal(pid_of(who, round), pid_of(who, round + 1));
            snprintf(text, sizeof text, "worker %d listens on %s", i, i ? "one" : "zero");
            assert_true(nth(text, round + 1) < ready); /* ... and workers go when others serve */
            snprintf(text, sizeof text, "worker %d retires", i);
            nth(text, round);
        }
        nth("keeper ends", round);
        nth("store ends", round);
        nth("keeper is asked on local and tcp", round + 1);
        nth("keeper note 6 supervisor 0 known", round);
        nth("keeper hears c of worker 1", round + 1);
        snprintf(text, sizeof text, "ok %s\n", self.path);
        assert_string_equal(file_text("upgrade.txt"), text);
    }
    assert_int_equal(stop(), 0);
    assert_int_equal(count("worker 0 starts"), 3);
    assert_int_equal(count("worker 0 drains"), 1); /* the old ones had retired */
    assert_true(logged("upgrade: done, the workers of the build before retire"));
}

static void a_build_that_does_not_start_changes_nothing(void **state)
{
    upgrade_self self;
    char *argv[4];
    supervisor_config c = upgradable(&self, argv);
    put("check", "it is\nno good", 13);
    start(&c);
    settle();
    assert_int_equal(kill(of, SIGUSR2), 0); /* before SIGTERM, by its number */
    assert_int_equal(stop(), 0);
    assert_string_equal(strstr(file_text("upgrade.txt"), "failed "), file_text("upgrade.txt"));
    assert_non_null(strstr(file_text("upgrade.txt"), "does not start with these settings: it is "
                                                     "no good"));
    assert_true(logged("the build that runs serves on"));
    assert_int_equal(count("keeper note 7"), 0);
    assert_int_equal(count("worker 0 starts"), 1);
    assert_int_equal(count("worker 0 drains"), 1);
}

#define supervisor_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[argc - 1], "--check") == 0)
        return check(argv[2]);
    if (argc > 1 && strcmp(argv[1], "@again") == 0)
        return again(argv);
    if (argc > 1 && argv[1][0] == '@')
        _exit(role(argc, argv));
    const struct CMUnitTest tests[] = {
        supervisor_test(who_is_connected_with_whom),
        supervisor_test(what_is_not_wanted_is_not_connected),
        supervisor_test(a_worker_that_dies_is_replaced),
        supervisor_test(a_store_or_keeper_that_dies_is_replaced),
        supervisor_test(sigterm_ends_them_in_order),
        supervisor_test(the_second_signal_is_the_last),
        supervisor_test(a_worker_that_cannot_start_is_the_end),
        supervisor_test(new_certificates_go_to_all_workers),
        supervisor_test(sigusr2_replaces_everybody),
        supervisor_test(a_build_that_does_not_start_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
