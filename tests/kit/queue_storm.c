/* Deferred calls while processes die (./dev soak calls): a store process, two workers that lease
 * and end calls, and this process, which accepts them as clients would and gives back what a dead
 * worker had leased as the keeper does. Not part of the product.
 *
 *     ebb-queue-storm live FILE LEDGER GOAL KILLS SEED
 *         until GOAL calls are acknowledged in all, and KILLS times kill -9 of a process happened
 *         in this life; then everything is killed at one moment
 *     ebb-queue-storm end FILE LEDGER
 *         until all calls have ended; then looks at each, and prints what is known
 *
 * LEDGER is a file that all these processes share in memory: what each call was told to be, and
 * what it did, which a power cut of FILE does not touch. Each request is the number of its record.
 */
#include "base/must.h"
#include "loop/channel.h"
#include "store/queue_client.h"
#include "store_kit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS = 400000, WORKERS = 2, IN_FLIGHT = 96, BATCH = 48, LEASE_MS = 3000, HOLDERS = 4096 };

typedef struct {
    queue_id id;
    int64_t until_ms; /* of its last known lease */
    _Atomic uint32_t accepted, runs, ended;
    uint32_t holder; /* of the last known lease */
} record;

typedef struct {
    _Atomic uint32_t next, holders, early, after_end, leases;
    uint32_t kills[2], accepted;         /* of workers, of the store */
    _Atomic uint8_t given_back[HOLDERS]; /* by holder: others may have its leases */
    record at[RECORDS];
} ledger;

static ledger *book;
static loop *l;
static err e;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "ebb-queue-storm: %s: %s\n", what, e.text);
    _exit(1);
}

static void on_nothing(void *user, bytes message, int fd) {}
static void on_nobody(void *user) {}
static void on_done(void *user) { *(bool *)user = true; }

/* --- processes -------------------------------------------------------------------------------- */

typedef struct {
    pid_t pid;
    channel *c; /* where it gets its connections */
    uint32_t holder;
} process;

static process store, workers[WORKERS];
static store_client *client; /* of this process */

_Noreturn static void store_run(int control, const char *path)
{
    store_queue queue = {.path = str_from(path), .key = {{1}}};
    store_kit_run(&queue, control, &e);
    fail("the settings of the store process");
}

static void on_connection(void *user, bytes message, int fd)
{
    if (fd >= 0)
        store_client_connect_take(*(store_client **)user, fd);
}

static void on_parent_gone(void *user) { _exit(0); }

/* What the call does: it says that it ran. */
static void run_one(const queue_call *c, uint32_t holder)
{
    uint32_t n;
    must(c->request.n == sizeof n);
    memcpy(&n, c->request.p, sizeof n);
    record *r = &book->at[n];
    bool again = atomic_fetch_add(&r->runs, 1) > 0;
    if (atomic_load(&r->ended))
        book->after_end++;
    if (again && c->info.begun_ms < r->until_ms && !book->given_back[r->holder])
        book->early++;
    r->until_ms = c->info.next_ms;
    r->holder = holder;
    book->leases++;
}

static store_call *asked(store_client *c, store_call *k, bool *done)
{
    *done = false;
    if (!k || !store_call_send(k, on_done, done, &e))
        fail("a request");
    while (!*done)
        loop_turn(l, 1000);
    return k;
}

/* An end on its way. */
typedef struct {
    store_call *call;
    uint32_t number;
    bool done;
} ending;

static void end_send(store_client *c, const queue_call *call, ending *to)
{
    queue_end end = {.held = {.id = call->info.id, .attempt = call->info.attempts},
                     .state = QUEUE_DONE};
    memcpy(&to->number, call->request.p, sizeof to->number);
    to->done = false;
    to->call = queue_ask_end(c, &end, S(""), (bytes){0});
    if (!to->call || !store_call_send(to->call, on_done, &to->done, &e))
        fail("an end");
}

static void worker_turn(store_client *c, uint32_t holder)
{
    queue_lease lease = {.holder = holder, .lease_ms = LEASE_MS, .count = BATCH};
    ending ends[BATCH];
    queue_call call;
    size_t n = 0;
    bool done;
    store_call *k = asked(c, queue_ask_lease(c, &lease), &done);
    store_message *m = store_call_answer(k);
    for (; m->kind == STORE_OK && queue_call_next(m, &call); n++) {
        run_one(&call, holder);
        end_send(c, &call, &ends[n]);
    }
    for (size_t i = 0; i < n; i++) {
        while (!ends[i].done)
            loop_turn(l, 1000);
        if (store_call_answer(ends[i].call)->kind == STORE_OK)
            atomic_store(&book->at[ends[i].number].ended, 1);
        store_call_free(ends[i].call);
    }
    store_call_free(k);
    if (!n)
        loop_turn(l, 20);
}

_Noreturn static void worker_run(int control, uint32_t holder)
{
    static const channel_callbacks callbacks = {on_connection, on_parent_gone};
    store_client *c;
    channel *up;
    l = NULL; /* the parent's is not ours */
    if (!loop_new(&l, &e) || !store_client_new(l, &c, &e) ||
        !channel_open_take(l, control, &callbacks, &c, &up, &e))
        fail("a worker");
    for (;;)
        worker_turn(c, holder);
}

/* A connection from the store to a process: through the store's control, and the other's. */
static void connect_to(process *to)
{
    int fds[2];
    if (!channel_pair(fds, &e) || !channel_send(store.c, (bytes){(uint8_t *)"w", 1}, fds[0], &e))
        fail("a connection");
    close(fds[0]);
    if (!to) {
        store_client_connect_take(client, fds[1]);
        return;
    }
    if (!channel_send(to->c, (bytes){(uint8_t *)"s", 1}, fds[1], &e))
        fail("a connection");
    close(fds[1]);
}

static void start(process *p, const char *path)
{
    static const channel_callbacks callbacks = {on_nothing, on_nobody};
    int fds[2];
    if (!channel_pair(fds, &e))
        fail("a channel");
    p->holder = path ? 0 : ++book->holders;
    must(p->holder < HOLDERS);
    p->pid = fork();
    if (p->pid == 0) {
        close(fds[1]);
        path ? store_run(fds[0], path) : worker_run(fds[0], p->holder);
    }
    close(fds[0]);
    if (p->pid < 0 || !channel_open_take(l, fds[1], &callbacks, NULL, &p->c, &e))
        fail("a process");
}

static void stop(process *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    channel_close(p->c);
}

static void start_all(const char *path)
{
    start(&store, path);
    connect_to(NULL);
    for (int i = 0; i < WORKERS; i++) {
        start(&workers[i], NULL);
        connect_to(&workers[i]);
    }
}

/* --- accepting -------------------------------------------------------------------------------- */

typedef struct {
    store_call *call;
    uint32_t number;
    bool done;
} flight;

static flight flights[IN_FLIGHT];

static void accept_one(flight *f)
{
    f->number = book->next++;
    f->done = false;
    must(f->number < RECORDS);
    queue_offer p = {.head.terms = {.tenant = 1 + f->number % 5,
                                    .app = 1,
                                    .deadline_ms = 1000 + f->number,
                                    .keep_ms = INT64_C(1) << 40},
                     .request = {(const uint8_t *)&f->number, sizeof f->number}};
    f->call = queue_ask_put(client, &p);
    if (!f->call || !store_call_send(f->call, on_done, &f->done, &e))
        fail("accepting");
}

static bool turn(bool more)
{
    bool any = false;
    for (int i = 0; i < IN_FLIGHT; i++) {
        flight *f = &flights[i];
        queue_accepted a;
        if (f->call && f->done) {
            if (queue_accepted_read(store_call_answer(f->call), &a, &e)) {
                book->at[f->number].id = a.id;
                book->at[f->number].accepted = 1;
                book->accepted++;
            }
            store_call_free(f->call);
            f->call = NULL;
        }
        if (!f->call && more)
            accept_one(f);
        any |= f->call != NULL;
    }
    loop_turn(l, 100);
    return any;
}

/* As the keeper does; if the store has died, the leases expire. */
static void give_back(uint32_t holder)
{
    bool done;
    book->given_back[holder] = 1;
    store_call_free(asked(client, queue_ask_give_back(client, holder), &done));
}

static void kill_one(unsigned r, const char *path)
{
    process *p = r % 2 ? &store : &workers[r / 2 % WORKERS];
    uint32_t holder = p->holder;
    stop(p);
    book->kills[r % 2]++;
    start(p, p == &store ? path : NULL);
    if (p != &store) {
        connect_to(p);
        if (r & 8)
            give_back(holder);
        return;
    }
    connect_to(NULL);
    for (int i = 0; i < WORKERS; i++)
        connect_to(&workers[i]);
}

static void live(const char *path, uint32_t goal, long kills, uint64_t seed)
{
    start_all(path);
    uint32_t begun = book->accepted;
    for (long killed = 0; book->accepted < goal || killed < kills;) {
        turn(book->accepted < goal);
        uint32_t due = begun + (uint32_t)((uint64_t)(goal - begun) * (uint64_t)(killed + 1) /
                                          (uint64_t)(kills + 1));
        if (killed < kills && book->accepted >= due) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            kill_one((unsigned)(seed >> 33), path);
            killed++;
        }
    }
    process *all[] = {&store, &workers[0], &workers[1]};
    for (int i = 0; i < 3; i++)
        kill(all[i]->pid, SIGSTOP); /* at one moment, as nearly as can be */
    for (int i = 0; i < 3; i++)
        stop(all[i]);
}

/* --- the end ---------------------------------------------------------------------------------- */

static queue_count count_all(void)
{
    queue_count c;
    bool done;
    store_call *k = asked(client, queue_ask_count(client, 0), &done);
    if (!queue_count_read(store_call_answer(k), &c, &e))
        fail("counting");
    store_call_free(k);
    return c;
}

static bool is_done(const queue_id *id)
{
    queue_one one = {.id = *id};
    queue_call c;
    bool done;
    store_call *k = asked(client, queue_ask_one(client, QUEUE_GET, &one), &done);
    bool ok = queue_call_read(store_call_answer(k), &c, &e) && c.info.state == QUEUE_DONE;
    store_call_free(k);
    return ok;
}

static void end_all(const char *path)
{
    uint64_t runs = 0, ran = 0, lost = 0;
    queue_count c;
    start_all(path);
    for (c = count_all(); c.calls[QUEUE_WAITING] + c.calls[QUEUE_LEASED]; c = count_all())
        loop_turn(l, 200);
    for (uint32_t i = 0; i < book->next; i++) {
        record *r = &book->at[i];
        runs += r->runs;
        ran += r->runs > 0;
        lost += r->accepted && (!r->runs || !is_done(&r->id));
    }
    printf("{\"accepted\": %u, \"all\": %llu, \"done\": %llu, \"lost\": %llu, \"runs\": %llu, "
           "\"duplicates\": %llu, \"duplicates_within_a_lease\": %u, \"runs_after_an_end\": %u, "
           "\"kills_of_workers\": %u, \"kills_of_the_store\": %u}\n",
           book->accepted, (unsigned long long)c.calls[QUEUE_ANY],
           (unsigned long long)c.calls[QUEUE_DONE], (unsigned long long)lost,
           (unsigned long long)runs, (unsigned long long)(runs - ran), book->early, book->after_end,
           book->kills[0], book->kills[1]);
    for (int i = 0; i < WORKERS; i++)
        stop(&workers[i]);
    stop(&store);
}

int main(int argc, char **argv)
{
    bool lives = argc == 7 && strcmp(argv[1], "live") == 0;
    if (!lives && (argc != 4 || strcmp(argv[1], "end") != 0)) {
        fprintf(stderr, "ebb-queue-storm live FILE LEDGER GOAL KILLS SEED | end FILE LEDGER\n");
        return 2;
    }
    int fd = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *book) < 0)
        fail("the ledger");
    book = mmap(NULL, sizeof *book, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (book == MAP_FAILED || !loop_new(&l, &e) || !store_client_new(l, &client, &e))
        fail("the ledger");
    if (lives)
        live(argv[2], (uint32_t)strtoul(argv[4], NULL, 10), strtol(argv[5], NULL, 10),
             strtoul(argv[6], NULL, 10));
    else
        end_all(argv[2]);
    fflush(stdout);
    _exit(0); /* what is in flight is nobody's any more */
}
