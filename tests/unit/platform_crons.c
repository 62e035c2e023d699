/* What the clock calls: which triggers there are, what is kept of one that goes, and what is under
 * way meanwhile. The clock and the queue are ours. */
#include "unit.h"

#include "app/manifest.h"
#include "base/limits.h"
#include "platform/app_config.h"
#include "platform/calls_message.h"
#include "platform/keeper_calls.h"
#include "platform/keeper_crons.h"
#include "store/queue_client.h"

#include <string.h>

#define HOUR 3600
#define DAY  86400
#define NOON (INT64_C(20000) * DAY + 12 * HOUR)

enum { PUTS_MAX = 100 };

static int64_t now_s;
static keeper k;
static arena a;
static err e;

int64_t keeper_now_s(void) { return now_s; }
void keeper_calls_look(keeper_calls *c) {}

const pace_view *keeper_calls_plan(const keeper_calls *c)
{
    static const pace_view none;
    return &none;
}

/* --- the queue -------------------------------------------------------------------------------- */

struct store_call {
    void (*done)(void *user);
    void *user;
};

static store_call *waiting[8];
static size_t waiting_n;
static bool refuses;
static struct {
    int64_t start_s;
    char key[QUEUE_KEY_BYTES_MAX];
} puts_made[PUTS_MAX];
static size_t puts_n;

bool store_client_connected(const store_client *c) { return true; }

store_call *queue_ask_put(store_client *c, const queue_offer *p)
{
    assert_true(puts_n < PUTS_MAX && p->key.n < sizeof puts_made->key);
    puts_made[puts_n].start_s = p->head.terms.start_ms / 1000;
    memset(puts_made[puts_n].key, 0, sizeof puts_made->key);
    memcpy(puts_made[puts_n++].key, p->key.p, p->key.n);
    return calloc(1, sizeof(store_call));
}

bool store_call_send(store_call *call, void (*on_done)(void *user), void *user, err *why)
{
    assert_true(waiting_n < sizeof waiting / sizeof *waiting);
    *call = (store_call){on_done, user};
    waiting[waiting_n++] = call;
    return true;
}

store_message *store_call_answer(store_call *call) { return NULL; }

bool queue_accepted_read(store_message *m, queue_accepted *ret, err *why)
{
    *ret = (queue_accepted){0};
    return !refuses || err_set(why, ERR_IO, "not now");
}

void store_call_free(store_call *call)
{
    for (size_t i = 0; call && i < waiting_n; i++)
        if (waiting[i] == call)
            waiting[i] = waiting[--waiting_n];
    free(call);
}

static void answer(void)
{
    while (waiting_n) {
        store_call *call = waiting[waiting_n - 1];
        call->done(call->user);
    }
}

/* --- a keeper --------------------------------------------------------------------------------- */

static int begin(void **state)
{
    now_s = NOON;
    refuses = false;
    puts_n = 0;
    memset(&k, 0, sizeof k);
    arena_init(&a, 16 << 20);
    k.crons = keeper_crons_new(&k);
    return k.crons && usage_file_open(NULL, &k.file, &e) ? 0 : -1;
}

static int end(void **state)
{
    keeper_crons_free(k.crons);
    assert_int_equal(waiting_n, 0);
    usage_file_close(k.file);
    arena_fini(&a);
    return 0;
}

#define HOURLY "{ schedule = \"0 * * * *\", path = \"/hourly\" }"
#define DAILY  "{ schedule = \"0 0 * * *\", path = \"/daily\" }"

/* The app of `ebb up` has these triggers from now on. */
static void set(const char *crons)
{
    static const calls_owner owner = {.tenant = CALLS_ONLY_TENANT, .app = CALLS_ONLY_APP};
    manifest_options options = {.file = S("spin.toml")};
    config_component component = {.artifact = S("/x")};
    app_config c = {.components = &component};
    app *x;
    buf out;
    str text = arena_printf(&a,
                            "spin_manifest_version = 2\n[application]\nname = \"t\"\n"
                            "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n"
                            "[component.one]\nsource = \"one.wasm\"\n"
                            "[component.one.tool.ebb]\ncron = [%s]\n",
                            crons);
    if (!manifest_read(&a, text, &options, &x, &e))
        fail_msg("%s", e.text);
    c.app = x;
    buf_init(&out, 1 << 20);
    assert_true(app_config_write(&c, &out, &e));
    keeper_crons_set(k.crons, CALLS_ONLY_APP, &owner, S("localhost"), buf_str(&out));
    buf_fini(&out);
}

/* What is read of the app is broken. */
static void set_broken(void)
{
    static const calls_owner owner = {.tenant = CALLS_ONLY_TENANT, .app = CALLS_ONLY_APP};
    keeper_crons_set(k.crons, CALLS_ONLY_APP, &owner, S("localhost"), S("{\"cron\":[1"));
}

/* How many fire by then. */
static size_t fired_at(int64_t t_s)
{
    size_t before;
    now_s = t_s;
    puts_n = 0;
    do {
        before = puts_n;
        keeper_crons_look(k.crons, now_s);
        answer();
    } while (puts_n > before && !refuses);
    return puts_n;
}

/* How many marks there are. */
static size_t marks(void)
{
    str *names;
    size_t n;
    assert_true(usage_file_marks(k.file, &a, &names, &n, &e));
    return n;
}

static int64_t marked(const char *path)
{
    str *names;
    size_t n;
    assert_true(usage_file_marks(k.file, &a, &names, &n, &e));
    for (size_t i = 0; i < n; i++)
        if (str_ends(names[i], str_from(path)))
            return usage_file_marked(k.file, names[i]);
    return 0;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void what_was_missed_is_made_up_for(void **state)
{
    set(HOURLY ", " DAILY);
    assert_true(marked("/hourly") == NOON && marked("/daily") == NOON);
    assert_int_equal(fired_at(NOON), 0);
    assert_int_equal(keeper_crons_look(k.crons, now_s), NOON + HOUR);
    assert_int_equal(fired_at(NOON + HOUR), 1);
    assert_int_equal(puts_made[0].start_s, NOON + HOUR);
    assert_int_equal(fired_at(NOON + HOUR), 0);
    set(HOURLY ", " DAILY); /* the same: they go on where they were */
    assert_int_equal(fired_at(NOON + 14 * HOUR), 14);
    assert_true(marked("/hourly") == NOON + 14 * HOUR && marked("/daily") == NOON + 12 * HOUR);
    /* Not what is older than a day. */
    assert_int_equal(fired_at(NOON + 100 * HOUR), 25);
}

/* Not with what it would have fired while it was away. */
static void one_that_comes_again_begins_then(void **state)
{
    set(HOURLY ", " DAILY);
    set(DAILY);
    assert_true(marks() == 1 && marked("/daily") == NOON);
    now_s = NOON + 5 * HOUR;
    set(DAILY ", " HOURLY);
    assert_true(marked("/daily") == NOON && marked("/hourly") == NOON + 5 * HOUR);
    assert_int_equal(fired_at(NOON + 5 * HOUR), 0);
    assert_int_equal(fired_at(NOON + 6 * HOUR), 1);
    set("");
    assert_int_equal(marks(), 0);
    assert_int_equal(fired_at(NOON + 9 * HOUR), 0);
    /* Its settings can't be read: nobody knows that it has gone. */
    set(HOURLY);
    set_broken();
    assert_int_equal(marked("/hourly"), NOON + 9 * HOUR);
    set(HOURLY);
    assert_int_equal(fired_at(NOON + 11 * HOUR), 2);
}

/* A firing is on its way to the queue while its trigger goes, or is set anew. */
static void one_that_goes_while_it_fires(void **state)
{
    set(HOURLY);
    now_s = NOON + HOUR;
    keeper_crons_look(k.crons, now_s);
    assert_int_equal(waiting_n, 1);
    set("");
    answer();
    assert_int_equal(marks(), 0);
    set(HOURLY);
    now_s = NOON + 2 * HOUR;
    keeper_crons_look(k.crons, now_s);
    assert_int_equal(waiting_n, 1);
    set(HOURLY);
    answer();
    assert_int_equal(marked("/hourly"), NOON + 2 * HOUR);
    char key[QUEUE_KEY_BYTES_MAX]; /* by which the queue knows it */
    memcpy(key, puts_made[puts_n - 1].key, sizeof key);
    assert_int_equal(fired_at(now_s), 1);
    assert_string_equal(puts_made[0].key, key);
    assert_int_equal(fired_at(NOON + 3 * HOUR), 1);
    /* Under way at the end. */
    keeper_crons_look(k.crons, NOON + 4 * HOUR);
    assert_int_equal(waiting_n, 1);
}

/* `ebb up` learns what has gone only from what is there. */
static void marks_of_nobody_are_swept(void **state)
{
    assert_true(usage_file_mark(k.file, S("1 one 0 * * * *  POST /other"), NOON - 5, &e));
    set(HOURLY);
    set_broken();
    set(HOURLY);
    keeper_crons_sweep(&k); /* something could not be read */
    assert_int_equal(marks(), 2);
    keeper_crons_free(k.crons);
    k.crons = keeper_crons_new(&k);
    set(HOURLY);
    alloc_fail_after(1);
    keeper_crons_sweep(&k);
    alloc_fail_after(0);
    assert_int_equal(marks(), 2);
    keeper_crons_sweep(&k);
    assert_true(marks() == 1 && marked("/hourly") == NOON);
    keeper_crons_free(k.crons);
    k.crons = NULL;
    keeper_crons_sweep(&k);
    assert_int_equal(marks(), 0);
}

/* Too far ahead for a time, in which the last day seems to be missed. */
static void a_clock_that_is_set(void **state)
{
    set(HOURLY);
    assert_int_equal(fired_at(NOON + HOUR), 1);
    assert_int_equal(fired_at(NOON + 72 * HOUR + 1), 24);
    assert_int_equal(puts_made[0].start_s, NOON + 49 * HOUR);
    assert_int_equal(fired_at(NOON + HOUR + 60), 0);
    assert_int_equal(marked("/hourly"), NOON + HOUR);
    assert_int_equal(keeper_crons_look(k.crons, now_s), NOON + 2 * HOUR);
    assert_int_equal(fired_at(NOON + 2 * HOUR), 1);
    assert_int_equal(puts_made[0].start_s, NOON + 2 * HOUR);
    /* By less than a day: what has fired early does not fire again. */
    assert_int_equal(fired_at(NOON + 5 * HOUR), 3);
    assert_int_equal(fired_at(NOON + 3 * HOUR), 0);
    assert_int_equal(fired_at(NOON + 6 * HOUR), 1);
    /* Nor after a day was really missed, by a clock that is set back a little. */
    assert_int_equal(fired_at(NOON + 72 * HOUR), 24);
    assert_int_equal(fired_at(NOON + 72 * HOUR - 5), 0);
    assert_int_equal(fired_at(NOON + 73 * HOUR), 1);
}

/* What could not be put into the queue is tried again in seconds, also by a clock set back. */
static void what_failed_is_tried_again(void **state)
{
    set(HOURLY);
    refuses = true;
    assert_int_equal(fired_at(NOON + 10 * HOUR), 1);
    assert_int_equal(fired_at(NOON + 10 * HOUR + 4), 0);
    assert_int_equal(keeper_crons_look(k.crons, now_s), now_s + 1);
    assert_int_equal(fired_at(NOON + 10 * HOUR + 5), 1);
    refuses = false;
    assert_int_equal(fired_at(NOON + HOUR), 1);
    assert_int_equal(puts_made[0].start_s, NOON + HOUR);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(what_was_missed_is_made_up_for),
        CASE(one_that_comes_again_begins_then),
        CASE(one_that_goes_while_it_fires),
        CASE(marks_of_nobody_are_swept),
        CASE(a_clock_that_is_set),
        CASE(what_failed_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
