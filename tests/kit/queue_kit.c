/* The queue of deferred calls with a store process of its own and no HTTP: what accepting, waiting
 * and planning cost (./dev soak waiting, bench/README.md). Not part of the product.
 *
 *     ebb-queue-kit accept FILE CALLS IN_FLIGHT SPREAD_S    accepts calls due within SPREAD_S
 *     ebb-queue-kit run FILE CALLS IN_FLIGHT                leases and ends calls, ten at a time
 *     ebb-queue-kit plan FILE ROUNDS                        reads the backlog and makes the plan
 *     ebb-queue-kit share URL CALLS     two nodes share a queue of CALLS calls; one of them dies
 *
 * FILE may be the URL of a database of PostgreSQL. Prints one JSON object. Store processes are
 * children, the role as ebb runs it; all run where taskset puts them. */
#include "loop/channel.h"
#include "sched/plan.h"
#include "store/queue_client.h"
#include "store_kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY = 300, TENANTS = 100, SLOTS = 48, SLOT_S = 3600 };

static loop *l;
static store_client *client;
static pid_t store;
static err e;
static long asked, answered, goal;
static int64_t spread_ms;
static store_call *done_list[512];
static size_t done_n;
static channel *controls[2];
static int controls_n;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "ebb-queue-kit: %s: %s\n", what, e.text);
    exit(1);
}

/* --- the store process ------------------------------------------------------------------------ */

_Noreturn static void store_run(int control, const char *place)
{
    store_queue queue = {.key = {{1, 2, 3}}}; /* as tests/unit/store_queue.c */
    *(strstr(place, "://") ? &queue.url : &queue.path) = str_from(place);
    store_kit_run(&queue, control, &e);
    fail("the settings of the store process");
}

static void on_control(void *user, bytes message, int fd) {}
static void on_control_end(void *user) {} /* it was killed: its clients say so */

/* A store process, and a client of it. */
static pid_t store_start(const char *place, store_client **ret)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    int control[2], worker[2];
    channel *c;
    if (!channel_pair(control, &e) || !channel_pair(worker, &e))
        fail("a channel");
    pid_t pid = fork();
    if (pid == 0)
        store_run(control[0], place);
    close(control[0]);
    if ((!l && !loop_new(&l, &e)) || pid < 0 || !store_client_new(l, ret, &e) ||
        !channel_open_take(l, control[1], &callbacks, NULL, &c, &e) ||
        !channel_send(c, (bytes){(const uint8_t *)"w", 1}, worker[0], &e))
        fail("a client");
    close(worker[0]);
    store_client_connect_take(*ret, worker[1]);
    controls[controls_n++] = c;
    return pid;
}

/* With the last of its connections it ends. */
static void stores_stop(void)
{
    while (controls_n)
        channel_close(controls[--controls_n]);
}

/* "VmRSS" or others of a process' status, in kB. */
static long status_kb(pid_t pid, const char *file, const char *field)
{
    char path[64], line[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            kb = strtol(line + strlen(field) + 1, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

/* --- a closed loop ---------------------------------------------------------------------------- */

static void on_done(void *user) { done_list[done_n++] = *(store_call **)user; }

static store_call *slots[512];

static void send(store_call **slot, store_call *k)
{
    *slot = k;
    if (!k || !store_call_send(k, on_done, slot, &e))
        fail("a request");
    asked++;
}

static store_call *ask_put(void)
{
    static uint8_t body[BODY];
    static uint64_t seed = 1;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    int64_t now = (int64_t)(clock_wall() / NS_PER_MS);
    queue_offer p = {
        .head = {.terms = {.tenant = 1 + seed % TENANTS,
                           .app = 1 + seed % (3 * TENANTS),
                           .revision = 1,
                           .attempts_max = 5,
                           .criticality = 1,
                           .deadline_ms =
                               now + 60000 + (int64_t)((seed >> 20) % (uint64_t)spread_ms),
                           .keep_ms = 86400000,
                           .cpu_ns = 50000000,
                           .intensity_g_per_kwh = 300},
                 .calls_max = 10000000,
                 .bytes_max = UINT64_C(1) << 40},
        .about = {body, 60},
        .request = {body, BODY},
    };
    return queue_ask_put(client, &p);
}

static void expect_ok(store_call *k)
{
    if (!queue_answer_ok(store_call_answer(k), &e))
        fail("the answer");
}

static void accept_all(long in_flight)
{
    for (long i = 0; i < in_flight && asked < goal; i++)
        send(&slots[i], ask_put());
    while (answered < goal) {
        loop_turn(l, 1000);
        for (size_t i = 0; i < done_n; i++) {
            store_call **slot = &slots[0];
            while (*slot != done_list[i])
                slot++;
            expect_ok(*slot);
            store_call_free(*slot);
            answered++;
            if (asked < goal)
                send(slot, ask_put());
        }
        done_n = 0;
    }
}

static store_call *wait_one(store_call *k)
{
    static store_call *slot;
    done_n = 0;
    send(&slot, k);
    while (!store_call_is_done(k))
        loop_turn(l, 1000);
    expect_ok(k);
    return k;
}

/* Leases ten, ends them, all in one flight; again. */
static void run_all(void)
{
    while (answered < goal) {
        queue_lease lease = {.holder = 1, .lease_ms = 60000, .count = 10};
        store_call *k = wait_one(queue_ask_lease(client, &lease));
        queue_call c;
        size_t n = 0;
        while (queue_call_next(store_call_answer(k), &c)) {
            queue_end end = {.held = {.id = c.info.id, .attempt = c.info.attempts},
                             .state = QUEUE_DONE,
                             .use = {.cpu_ns = 1000}};
            send(&slots[n++],
                 queue_ask_end(client, &end, S("200"), (bytes){(const uint8_t *)"ok", 2}));
        }
        store_call_free(k);
        if (!n)
            return;
        for (size_t i = 0; i < n; i++) {
            while (!store_call_is_done(slots[i]))
                loop_turn(l, 1000);
            expect_ok(slots[i]);
            store_call_free(slots[i]);
        }
        done_n = 0;
        answered += (long)n;
    }
}

/* --- planning --------------------------------------------------------------------------------- */

/* As the keeper does: sums by deadline, then the plan of two days. */
static double plan_once(queue_backlog *ret)
{
    static plan_demand demands[PLAN_DEMANDS_MAX];
    double intensity[SLOTS], reserved[SLOTS];
    backlog log;
    work_plan made;
    const uint8_t *at;
    size_t n;
    ns begun = clock_mono();
    store_call *k = wait_one(queue_ask_backlog(client, SLOT_S * 1000));
    if (!queue_backlog_read(store_call_answer(k), ret, &at, &n, &e))
        fail("the backlog");
    backlog_init(&log, ret->now_ms / 1000, SLOT_S);
    for (size_t i = 0; i < n; i++) {
        queue_slot s = queue_slot_at(at, i);
        backlog_add(&log, s.slot * SLOT_S, (double)(s.ready_cpu_ns + s.later_cpu_ns) / 1e9);
    }
    store_call_free(k);
    for (int i = 0; i < SLOTS; i++) {
        intensity[i] = 200 + 100 * (i % 24) / 24.0;
        reserved[i] = SLOT_S * 0.3;
    }
    plan_input in = {.slots = SLOTS,
                     .intensity = intensity,
                     .reserved = reserved,
                     .capacity = SLOT_S,
                     .target = PLAN_TARGET,
                     .headroom_weight = PLAN_HEADROOM_WEIGHT,
                     .steps = PLAN_STEPS};
    size_t count = backlog_demands(&log, NULL, 0, SLOTS, demands);
    if (!plan_make(&in, demands, count, &made, &e))
        fail("the plan");
    return (double)(clock_mono() - begun) / 1e9;
}

static void plan_all(long rounds)
{
    queue_backlog b = {0};
    double first = 0, worst = 0;
    for (long i = 0; i < rounds; i++) {
        double s = plan_once(&b);
        first = i ? first : s;
        worst = s > worst ? s : worst;
    }
    printf("{\"waiting\": %llu, \"first_s\": %.4f, \"worst_s\": %.4f, \"store_rss_kb\": %ld, "
           "\"store_pss_kb\": %ld, \"store_anonymous_kb\": %ld}\n",
           (unsigned long long)b.waiting, first, worst, status_kb(store, "status", "VmRSS"),
           status_kb(store, "smaps_rollup", "Pss"), status_kb(store, "smaps_rollup", "Anonymous"));
}

/* --- two nodes -------------------------------------------------------------------------------- */

enum { BATCH = 10, LEASE_MS = 2000 };

typedef struct {
    queue_id id;
    int64_t until_ms; /* of its lease; 0: it was not leased */
    bool ended;
} one_call;

typedef struct {
    pid_t pid;
    store_client *c;
    uint64_t holder;
    long ended;
} node;

static one_call *all;
static long all_n, leases, moved, twice;

static store_call *ask_of(node *n, store_call *k)
{
    client = n->c;
    return wait_one(k);
}

static void share_accept(node *nodes, long calls)
{
    queue_accepted a;
    for (; all_n < calls; all_n++) {
        client = nodes[all_n % 2].c;
        store_call *k = wait_one(ask_put());
        if (!queue_accepted_read(store_call_answer(k), &a, &e))
            fail("accepting");
        all[all_n].id = a.id;
        store_call_free(k);
    }
}

/* What is leased again must have expired: its node was dead. */
static one_call *lease_note(const queue_call *c)
{
    one_call *x = all;
    while (memcmp(&x->id, &c->info.id, sizeof x->id) != 0)
        x++;
    leases++;
    moved += x->until_ms != 0;
    twice += x->ended || x->until_ms > c->info.begun_ms;
    x->until_ms = c->info.next_ms;
    return x;
}

/* Begins a batch; the leases of both nodes run at the same time. */
static store_call *lease_send(node *n)
{
    queue_lease lease = {.holder = n->holder, .lease_ms = LEASE_MS, .count = BATCH};
    store_call *k = queue_ask_lease(n->c, &lease);
    static store_call *ignored;
    send(&ignored, k);
    return k;
}

/* Ends what the batch has leased, unless the node is to die with it. */
static long lease_finish(node *n, store_call *k, bool dies)
{
    queue_call c;
    long count = 0;
    done_n = 0;
    while (!store_call_is_done(k))
        loop_turn(l, 1000);
    expect_ok(k);
    for (; queue_call_next(store_call_answer(k), &c); count++) {
        one_call *x = lease_note(&c);
        if (dies)
            continue;
        queue_end end = {.held = {.id = c.info.id, .attempt = c.info.attempts},
                         .state = QUEUE_DONE};
        store_call_free(ask_of(n, queue_ask_end(n->c, &end, S(""), (bytes){0})));
        x->ended = true;
        n->ended++;
    }
    store_call_free(k);
    return count;
}

static void share(const char *url, long calls)
{
    node nodes[2] = {{.holder = 1}, {.holder = 2}};
    queue_count count;
    long ended = 0;
    bool died = false;
    all = calloc((size_t)calls, sizeof *all);
    for (int i = 0; i < 2; i++)
        nodes[i].pid = store_start(url, &nodes[i].c);
    share_accept(nodes, calls);
    while (ended < calls) {
        store_call *batch[2] = {died ? NULL : lease_send(&nodes[0]), lease_send(&nodes[1])};
        bool dies = batch[0] && ended > calls / 3;
        for (int i = 0; i < 2; i++)
            if (batch[i])
                lease_finish(&nodes[i], batch[i], dies && i == 0);
        if (dies) {
            kill(nodes[0].pid, SIGKILL);
            waitpid(nodes[0].pid, NULL, 0);
            died = true;
        }
        ended = nodes[0].ended + nodes[1].ended;
    }
    store_call *k = ask_of(&nodes[1], queue_ask_count(nodes[1].c, 0));
    if (!queue_count_read(store_call_answer(k), &count, &e))
        fail("counting");
    store_call_free(k);
    printf("{\"calls\": %ld, \"done\": %llu, \"all\": %llu, \"leases\": %ld, \"moved\": %ld, "
           "\"leased_twice\": %ld, \"by_the_dead\": %ld, \"by_the_other\": %ld}\n",
           calls, (unsigned long long)count.calls[QUEUE_DONE],
           (unsigned long long)count.calls[QUEUE_ANY], leases, moved, twice, nodes[0].ended,
           nodes[1].ended);
    for (int i = 0; i < 2; i++)
        store_client_free(nodes[i].c);
    stores_stop();
    waitpid(nodes[1].pid, NULL, 0);
    free(all);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "ebb-queue-kit accept FILE CALLS IN_FLIGHT SPREAD_S | run FILE CALLS | "
                        "plan FILE ROUNDS | share URL CALLS\n");
        return 2;
    }
    goal = strtol(argv[3], NULL, 10);
    spread_ms = argc > 5 ? 1000 * strtol(argv[5], NULL, 10) : 1000;
    if (strcmp(argv[1], "share") == 0) {
        share(argv[2], goal);
        loop_free(l);
        return 0;
    }
    store = store_start(argv[2], &client);
    ns begun = clock_mono(), cpu = clock_process_cpu_of(store);
    if (strcmp(argv[1], "plan") == 0) {
        plan_all(goal);
    } else {
        if (strcmp(argv[1], "accept") == 0)
            accept_all(argc > 4 ? strtol(argv[4], NULL, 10) : 64);
        else
            run_all();
        double s = (double)(clock_mono() - begun) / 1e9;
        printf("{\"calls\": %ld, \"wall_s\": %.3f, \"calls_per_s\": %.0f, \"store_cpu_us\": %.1f, "
               "\"client_cpu_us\": %.1f, \"store_rss_kb\": %ld}\n",
               answered, s, (double)answered / s,
               (double)(clock_process_cpu_of(store) - cpu) / 1e3 / (double)answered,
               (double)clock_process_cpu() / 1e3 / (double)answered,
               status_kb(store, "status", "VmRSS"));
    }
    store_client_free(client);
    stores_stop();
    waitpid(store, NULL, 0);
    loop_free(l);
    return 0;
}
