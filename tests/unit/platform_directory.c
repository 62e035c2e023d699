/* Finding apps: a worker's directory and the keeper's side of it in one loop, over a real channel,
 * with a catalogue of a few apps whose route is a static response; also for calls that were
 * deferred, and by a worker that is a process. */
#include "folder_kit.h"
#include "http_kit.h"

#include "app/manifest.h"
#include "loop/channel.h"
#include "platform/call.h"
#include "platform/deferral_impl.h"
#include "platform/directory.h"
#include "platform/keeper_directory.h"
#include "platform/role.h"
#include "platform/spawn.h"

#include <signal.h>

typedef struct {
    const char *host;
    uint64_t id, tenant;
    const char *body; /* changes with the revision */
    /* Of a component beside the static response, by digest, and of files that it has; NULL: none */
    const char *artifact, *files;
} entry;

static entry catalogue[8];
static unsigned finds, forgotten;
static bool broken; /* the catalogue cannot be read */
static bool unmade; /* the code of apps is being made */
static node_config node;
static serving all;
static calls the_calls;
static directory *d;
static keeper_directory *k;
static arena settings;
static err e;

static str settings_of(const entry *of)
{
    app *made;
    manifest_options mo = {.file = S("spin.toml")};
    str text = arena_printf(&settings,
                            "spin_manifest_version = 2\n[application]\nname = \"t\"\n"
                            "[[trigger.http]]\nroute = \"/\"\n"
                            "static_response = { body = \"%s\" }\n%s",
                            of->body,
                            of->artifact ? "[[trigger.http]]\nroute = \"/c\"\ncomponent = \"c\"\n"
                                           "[component.c]\nsource = \"c.wasm\"\n"
                                         : "");
    buf out;
    buf_init(&out, MIB);
    if (!manifest_read(&settings, text, &mo, &made, &e))
        fail_msg("%s", e.text);
    app_pair files = {S("/"), str_from(of->files ? of->files : "")};
    config_component component = {.artifact = str_from(of->artifact ? of->artifact : ""),
                                  .mounts = {&files, of->files ? 1 : 0}};
    app_config c = {.app = made, .components = &component};
    assert_true(app_config_write(&c, &out, &e));
    str json = arena_str(&settings, buf_str(&out));
    buf_fini(&out);
    return json;
}

static bool find(void *user, const directory_message *q, arena *a, directory_message *ret, err *why)
{
    finds++;
    if (broken)
        return err_set(why, ERR_IO, "a bad disk");
    if (unmade) {
        *ret = (directory_message){.kind = DIRECTORY_LATER, .settings = S("code")};
        return true;
    }
    *ret = (directory_message){.kind = DIRECTORY_NOBODY};
    for (entry *x = catalogue; x->host; x++)
        if (q->calls.app ? q->calls.app == x->id && q->calls.revision == 1
                         : str_eq(q->host, str_from(x->host)))
            *ret = (directory_message){.kind = DIRECTORY_FOUND,
                                       .app = x->id,
                                       .tenant = x->tenant,
                                       .revision = 1,
                                       .calls = {.tenant = x->tenant, .app = x->id, .revision = 1},
                                       .settings = settings_of(x),
                                       .quota = S("{}")};
    return true;
}

static void begin(http_exchange *x) { directory_begin(d, x); }
static void on_forgotten(void *user) { forgotten++; }

static void keeper_start(void)
{
    int fds[2];
    k = keeper_directory_new(kit.l, find, NULL, NULL);
    assert_true(channel_pair(fds, &e));
    keeper_directory_add_take(k, fds[0]);
    directory_connect_take(d, fds[1]);
}

static void keeper_stop(void)
{
    keeper_directory_free(k);
    k = NULL;
}

static int open_with(const active_limits *limits)
{
    arena_init(&settings, 64 * MIB);
    memset(catalogue, 0, sizeof catalogue);
    catalogue[0] = (entry){"one.test", 1, 7, "one"};
    catalogue[1] = (entry){"two.test", 2, 7, "two"};
    catalogue[2] = (entry){"www.two.test", 2, 7, "two"};
    catalogue[3] = (entry){"three.test", 3, 8, "three"};
    finds = forgotten = 0;
    broken = unmade = false;
    kit_open(NULL, begin);
    calls_init(&the_calls, kit.l, NULL, NULL, 1, 1);
    all = (serving){.node = &node, .calls = &the_calls};
    tenants_init(&all.tenants, 1);
    assert_true(directory_new(kit.l, &all, limits, &d, &e));
    return 0;
}

static int open_all(void **state)
{
    open_with(&(active_limits){0});
    keeper_start();
    return 0;
}

static int open_small(void **state)
{
    open_with(&(active_limits){.apps_max = 2});
    keeper_start();
    return 0;
}

static int close_all(void **state)
{
    http_server_free(kit.server);
    kit.server = NULL;
    directory_free(d);
    keeper_stop();
    assert_int_equal(all.bytes, 0);
    assert_int_equal(all.tenants.by_number.count, 0);
    tenants_fini(&all.tenants);
    kit_close();
    arena_fini(&settings);
    return 0;
}

static void ask(client *c, const char *host)
{
    char text[512];
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    client_send(c, text);
}

/* The end of the next answer; what came is forgotten. */
static void expect(client *c, const char *what)
{
    until(client_has(c, what));
    c->n = 0;
    c->got[0] = 0;
}

static void get(const char *host, const char *what)
{
    client c = client_open();
    ask(&c, host);
    expect(&c, what);
    client_close(&c);
}

static void names_are_asked_for_once(void **state)
{
    get("one.test", "\r\n\r\none");
    get("one.test", "\r\n\r\none");
    get("ONE.test.:8080", "\r\n\r\none");
    assert_int_equal(finds, 1);
    get("two.test", "\r\n\r\ntwo");
    get("www.two.test", "\r\n\r\ntwo");
    assert_int_equal(finds, 3);
    assert_int_equal(active_count(directory_active(d)), 2);
}

static void nobodys_name_is_404_and_remembered(void **state)
{
    get("nowhere.test", "404");
    get("nowhere.test", "404");
    assert_int_equal(finds, 1);
    catalogue[4] = (entry){"nowhere.test", 5, 7, "here now"};
    assert_true(keeper_directory_forget(k, 5, on_forgotten, NULL, &e));
    until(forgotten);
    get("nowhere.test", "here now");
}

static void requests_for_one_name_wait_for_one_answer(void **state)
{
    client all_of[20];
    keeper_stop();
    settle_down();
    for (int i = 0; i < 20; i++) {
        all_of[i] = client_open();
        ask(&all_of[i], i == 19 ? "two.test" : "one.test");
    }
    until(kit.requests == 20);
    client_close(&all_of[3]); /* who leaves is no longer waited for */
    settle_down();
    assert_false(client_has(&all_of[0], "HTTP"));
    keeper_start();
    for (int i = 0; i < 20; i++)
        if (i != 3)
            expect(&all_of[i], i == 19 ? "two" : "one");
    assert_int_equal(finds, 2);
    for (int i = 0; i < 20; i++)
        if (i != 3)
            client_close(&all_of[i]);
}

static void after_a_forget_it_is_the_new_one(void **state)
{
    get("one.test", "one");
    get("two.test", "two");
    catalogue[0].body = "another";
    get("one.test", "one"); /* nobody said anything yet */
    assert_true(keeper_directory_forget(k, 1, on_forgotten, NULL, &e));
    assert_int_equal(forgotten, 0); /* never at once */
    until(forgotten);
    unsigned before = finds;
    get("one.test", "another");
    get("two.test", "two");
    assert_int_equal(finds, before + 1);
}

/* After a doubt each request asks: what changes elsewhere is seen, without a forget. */
static void in_doubt_every_request_asks(void **state)
{
    get("one.test", "one");
    assert_true(keeper_directory_doubt(k, on_forgotten, NULL, &e));
    until(forgotten);
    get("one.test", "one");
    catalogue[0].body = "another";
    get("one.test", "another");
    assert_int_equal(finds, 3);
    keeper_stop();
    settle_down();
    keeper_start(); /* of this build: it tells what it changes */
    get("one.test", "another");
    get("one.test", "another");
    assert_int_equal(finds, 4);
}

/* What is being made is waited for, also over the death of a keeper; another name goes past it. */
static void what_is_being_made_is_waited_for(void **state)
{
    client one = client_open(), same = client_open();
    unmade = true;
    ask(&one, "one.test");
    ask(&same, "one.test");
    until(kit.requests == 2 && finds == 1);
    settle_down();
    unmade = false;
    get("two.test", "two");
    keeper_directory_again(k, S("other"));
    settle_down();
    assert_false(client_has(&one, "HTTP"));
    unmade = true;
    keeper_directory_again(k, S("code")); /* not yet */
    keeper_stop();
    settle_down();
    keeper_start();
    settle_down();
    assert_false(client_has(&one, "HTTP"));
    unmade = false;
    keeper_directory_again(k, S("code"));
    expect(&one, "one");
    expect(&same, "one");
    client_close(&one);
    client_close(&same);
}

static void a_tenant_is_forgotten_as_a_whole(void **state)
{
    get("one.test", "one");
    get("two.test", "two");
    get("three.test", "three");
    assert_true(keeper_directory_forget_tenant(k, 7, on_forgotten, NULL, &e));
    until(forgotten);
    assert_int_equal(active_count(directory_active(d)), 1);
    assert_non_null(active_find(directory_active(d), 3));
}

static void all_names_are_asked_anew_and_apps_stay(void **state)
{
    get("one.test", "one");
    get("two.test", "two");
    served *two = active_find(directory_active(d), 2);
    catalogue[0].host = "moved.test";
    assert_true(keeper_directory_forget_tenant(k, 0, on_forgotten, NULL, &e));
    until(forgotten);
    get("one.test", "404");
    get("moved.test", "one");
    get("two.test", "two");
    assert_ptr_equal(active_find(directory_active(d), 2), two);
}

static void a_new_keeper_is_asked_again(void **state)
{
    get("one.test", "one");
    get("two.test", "two");
    served *one = active_find(directory_active(d), 1);
    keeper_stop();
    settle_down();
    get("one.test", "one"); /* known apps go on without it */
    catalogue[1].body = "two, deployed unheard";
    unsigned before = finds;
    keeper_start();
    get("one.test", "one");
    get("two.test", "two, deployed unheard");
    assert_int_equal(finds, before + 2);
    assert_ptr_equal(active_find(directory_active(d), 1), one);
}

static void a_forget_waits_for_workers_only(void **state)
{
    keeper_stop();
    k = keeper_directory_new(kit.l, find, NULL, NULL);
    assert_true(keeper_directory_forget(k, 1, on_forgotten, NULL, &e));
    until(forgotten == 1);
    int fds[2];
    assert_true(channel_pair(fds, &e)); /* a worker that never answers, and ends */
    keeper_directory_add_take(k, fds[0]);
    assert_true(keeper_directory_forget(k, 1, on_forgotten, NULL, &e));
    let_pass(30 * NS_PER_MS);
    assert_int_equal(forgotten, 1);
    close(fds[1]);
    until(forgotten == 2);
}

static void the_least_used_app_goes(void **state)
{
    get("one.test", "one");
    get("two.test", "two");
    get("one.test", "one");
    get("three.test", "three");
    until(active_count(directory_active(d)) == 2);
    assert_null(active_find(directory_active(d), 2));
    unsigned before = finds;
    get("two.test", "two");
    assert_int_equal(finds, before + 1);
}

static void a_catalogue_that_fails_is_503(void **state)
{
    broken = true;
    get("one.test", "503");
    broken = false;
    get("one.test", "\r\n\r\none");
}

/* What is joined to a folder of the node is a digest: nothing in the settings of an app leads out
 * of that folder. */
static void code_and_files_are_named_by_digests(void **state)
{
    static const char good[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char bad[80];
    catalogue[3].artifact = catalogue[3].files = good;
    get("three.test", "\r\n\r\nthree");
    for (const char *c = "/:`gAF.\x7f"; *c; c++)
        for (size_t at = 0; at < 64; at += 63) {
            strcpy(bad, good);
            bad[at] = *c;
            catalogue[0].artifact = bad;
            get("one.test", "HTTP/1.1 500 ");
            catalogue[1].artifact = good;
            catalogue[1].files = bad;
            get("two.test", "HTTP/1.1 500 ");
        }
    strcpy(bad, good);
    bad[63] = 0;
    get("one.test", "HTTP/1.1 500 ");
    strcpy(bad, good);
    strcat(bad, "0");
    get("one.test", "HTTP/1.1 500 ");
    bad[64] = 0;
    get("one.test", "\r\n\r\none");
    get("two.test", "\r\n\r\ntwo");
}

/* --- deferred calls --------------------------------------------------------------------------- */

/* A store process that has a call of app 1 for whoever leases, and says of a lease what it is told
 * to say. */
static struct {
    channel *channel;
    unsigned leases, extends, ends, others;
    uint8_t is_held;
} store;
static store_client *of_store;
static deferral *deferred;

static void call_write(buf *out)
{
    deferred_request q = {.method = S("POST"),
                          .target = S("/"),
                          .authority = S("one.test"),
                          .scheme = S("http"),
                          .peer = S("127.0.0.1:9")};
    const queue_terms terms = {
        .tenant = 7, .app = 1, .revision = 1, .attempts_max = 3, .deadline_ms = INT64_MAX / 2};
    queue_call c = {
        .info = {.id = {{1, 2, 3}}, .state = QUEUE_LEASED, .terms = terms, .attempts = 1},
        .has_request = true};
    buf request;
    buf_init(&request, MIB);
    assert_true(deferred_request_write(&q, &request));
    c.request = buf_bytes(&request);
    queue_call_write(out, &c);
    buf_fini(&request);
}

static void on_store(void *user, bytes messages, int fd)
{
    for (bytes one; store_message_take(&messages, &one);) {
        store_message m;
        buf out;
        assert_true(store_message_read(one, false, &m, &e));
        buf_init(&out, MIB);
        store_message_begin(&out, m.id, STORE_OK, 0);
        store.leases += m.kind == QUEUE_LEASE;
        store.extends += m.kind == QUEUE_EXTEND;
        store.ends += m.kind == QUEUE_END;
        store.others += m.kind != QUEUE_LEASE && m.kind != QUEUE_EXTEND && m.kind != QUEUE_END;
        if (m.kind == QUEUE_LEASE)
            call_write(&out);
        if (m.kind == QUEUE_EXTEND)
            queue_item_write(&out, &store.is_held, sizeof store.is_held);
        store_message_end(&out);
        assert_true(channel_send(store.channel, buf_bytes(&out), -1, &e));
        buf_fini(&out);
    }
}

static void on_store_end(void *user) {}

static int open_deferring(void **state)
{
    static const channel_callbacks callbacks = {on_store, on_store_end};
    int fds[2];
    memset(&store, 0, sizeof store);
    open_all(state);
    if (!store_client_new(kit.l, &of_store, &e) || !channel_pair(fds, &e))
        return -1;
    store_client_connect_take(of_store, fds[0]);
    return channel_open_take(kit.l, fds[1], &callbacks, NULL, &store.channel, &e) &&
                   deferral_new(kit.l, &all, of_store, d, NULL, &deferred, &e)
               ? 0
               : -1;
}

static int close_deferring(void **state)
{
    deferral_free(deferred);
    channel_close(store.channel);
    store_client_free(of_store);
    return close_all(state);
}

/* A call whose lease is another's by now (it was cancelled, or we were too slow) does not begin
 * when its app is found, and its end is not ours to tell. */
static void a_call_whose_lease_is_lost_does_not_run(void **state)
{
    const calls_message lease = {.kind = CALLS_RUN, .count = 1};
    for (unsigned round = 0; round < 2; round++) {
        unsigned before = finds;
        store.is_held = round == 1;
        keeper_stop(); /* nobody knows the app for a while */
        run_lease(deferred, &lease);
        until(store.leases == round + 1 && deferred->running == 1);
        loop_timer *t = &deferred->extend_timer; /* it is time */
        assert_true(loop_timer_active(t) && loop_timer_start(kit.l, t, 0, t->f, t->user));
        until(store.extends == round + 1 && !deferred->extending);
        assert_int_equal(deferred->running, 1);
        keeper_start();
        until(!deferred->running);
        assert_int_equal(finds, before + 1);
        assert_int_equal(store.ends, round); /* no component of the app is for it */
    }
    assert_int_equal(store.others, 0);
}

/* --- a worker --------------------------------------------------------------------------------- */

static struct {
    channel *control;
    int listen_fd;
    pid_t pid;
    bool ready;
} worker;

static void on_control(void *user, bytes message, int fd) { worker.ready = true; }
static void on_control_end(void *user) {}

static int open_worker(void **state)
{
    static const channel_callbacks callbacks = {on_control, on_control_end};
    static const char *const folders[] = {"artifacts", "files", "logs"};
    char address[LISTEN_ADDRESS_MAX], path[400];
    int config, fds[2];
    buf out;
    memset(&worker, 0, sizeof worker);
    open_all(state);
    if (!folder_make("/dev/shm/ebb-test-worker"))
        return -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        mkdir(path, 0700);
    }
    const node_config c = {.unmetered = true, .data_dir = str_from(dir), .workers = 2};
    buf_init(&out, MIB);
    bool ok = worker_config_write(&c, NULL, &out, &e) &&
              spawn_memfd("settings", out.p, out.n, &config, &e) &&
              listen_socket(S("127.0.0.1:0"), &worker.listen_fd, address, &e) &&
              channel_pair(fds, &e) &&
              spawn_role("worker", (const char *const[]){"0", NULL},
                         (int[]){config, worker.listen_fd, fds[1]}, 3, NULL, true, &worker.pid, &e);
    buf_fini(&out);
    if (!ok)
        return -1;
    close(config);
    close(fds[1]);
    kit.port = (uint16_t)atoi(strrchr(address, ':') + 1); /* clients come to it */
    return channel_open_take(kit.l, fds[0], &callbacks, NULL, &worker.control, &e) ? 0 : -1;
}

static int close_worker(void **state)
{
    channel_close(worker.control);
    close(worker.listen_fd);
    kill(worker.pid, SIGTERM);
    bool ok = spawn_wait(worker.pid, "worker", -1, &e);
    if (!ok)
        print_error("%s\n", e.text);
    return close_all(state) || folder_remove(dir) || !ok;
}

static void give(const char *kind, int fd)
{
    assert_true(channel_send(worker.control, (bytes){(const uint8_t *)kind, 1}, fd, &e));
}

/* What a tenant uses on a node each worker counts in its own area, for others to read, whichever of
 * them it gets first. */
static void a_worker_counts_in_its_own_area(void **state)
{
    counters_area *own, *other;
    int own_fd, other_fd, read_fd, fds[2];
    assert_true(counters_make(&own_fd, &e) && counters_make(&other_fd, &e) &&
                counters_read_only(other_fd, &read_fd, &e) && channel_pair(fds, &e));
    assert_true(counters_map(own_fd, false, &own, &e) && counters_map(other_fd, false, &other, &e));
    give("q", read_fd);
    give("Q", own_fd);
    until(worker.ready);
    keeper_directory_add_take(k, fds[0]);
    give("d", fds[1]);
    get("one.test", "\r\n\r\none");
    get("three.test", "\r\n\r\nthree");
    get("one.test", "\r\n\r\none");
    const counters_row *seven = counters_find(own, 7), *eight = counters_find(own, 8);
    assert_true(seven && eight);
    assert_int_equal(count_get(seven, COUNT_REQUESTS), 2);
    assert_int_equal(count_get(eight, COUNT_REQUESTS), 1);
    assert_null(counters_find(other, 7));
    for (int *fd = (int[]){own_fd, other_fd, read_fd, fds[1], -1}; *fd >= 0; fd++)
        close(*fd);
}

static void quotas_are_enforced(void **state)
{
    unsigned after;
    tenants all_of;
    tenant *t, *same;
    tenants_init(&all_of, 2);
    assert_true(tenant_take(&all_of, 1,
                            S("{\"requests_per_s\":8,\"concurrency\":5,"
                              "\"cpu_percent\":100}"),
                            &t, &e));
    ns now = 100 * NS_PER_S;
    for (int i = 0; i < 4; i++) /* half of it: there are two workers */
        assert_int_equal(tenant_ask(t, now, &after), TENANT_OK);
    assert_int_equal(tenant_ask(t, now, &after), TENANT_RATE);
    assert_int_equal(tenant_ask(t, now + NS_PER_S / 2, &after), TENANT_OK);
    now += 10 * NS_PER_S;
    tenant_begun(t);
    assert_int_equal(tenant_ask(t, now, &after), TENANT_OK);
    tenant_begun(t);
    assert_int_equal(tenant_ask(t, now, &after), TENANT_CONCURRENCY);
    tenant_ended(t);
    now += NS_PER_S;
    assert_int_equal(tenant_ask(t, now, &after), TENANT_OK);
    tenant_used(t, 3 * NS_PER_S); /* of half a second a second */
    assert_int_equal(tenant_ask(t, now, &after), TENANT_CPU);
    assert_int_equal(after, 6);
    assert_int_equal(tenant_ask(t, now + 6 * NS_PER_S, &after), TENANT_OK);
    assert_true(tenant_take(&all_of, 1, S("{}"), &same, &e)); /* the quota was lifted */
    assert_ptr_equal(t, same);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tenant_ask(t, now + 6 * NS_PER_S, &after), TENANT_OK);
    tenant_let(t);
    tenant_let(same);
    assert_int_equal(all_of.by_number.count, 0);
    assert_false(tenant_take(&all_of, 1, S("{\"nonsense\":1}"), &t, &e));
    tenants_fini(&all_of);
}

static void tenants_reach_the_world_only(void **state)
{
    static const struct {
        const char *at;
        bool closed;
    } cases[] = {{"127.0.0.1", true},
                 {"10.1.2.3", true},
                 {"10.2.0.1", false},
                 {"169.254.169.254", true},
                 {"192.168.1.1", true},
                 {"8.8.8.8", false},
                 {"::1", true},
                 {"fe80::1", true},
                 {"fd00::1", true},
                 {"::ffff:127.0.0.1", true},
                 {"64:ff9b::10.1.2.3", true},
                 {"2002:7f00:1::", true},
                 {"2606:4700::1111", false},
                 {"0.0.0.0", true}};
    egress x;
    arena a;
    arena_init(&a, MIB);
    assert_true(egress_open(&a, S("10.2.0.0/16, 198.51.100.7"), &x, &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outbound_addr at;
        assert_true(outbound_addr_parse(str_from(cases[i].at), &at));
        assert_int_equal(egress_is_blocked(&x, at.at, at.bits / 8), cases[i].closed);
    }
    assert_true(x.closed.n >= 1); /* the loopback interface at least */
    assert_false(egress_open(&a, S("everything"), &x, &e));
    arena_fini(&a);
}

static void hosts_are_made_plain(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: none */
    } cases[] = {{"a.test", "a.test"},
                 {"A.Test:80", "a.test"},
                 {"a.test.", "a.test"},
                 {"[::1]:80", "[::1]"},
                 {"[2001:DB8::1]", "[2001:db8::1]"},
                 {"", NULL},
                 {":80", NULL}};
    char host[DIRECTORY_HOST_BYTES_MAX], long_one[300];
    size_t n;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(directory_host(str_from(cases[i].in), host, &n), cases[i].out != NULL);
        if (cases[i].out)
            assert_true(str_eq((str){host, n}, str_from(cases[i].out)));
    }
    memset(long_one, 'a', sizeof long_one);
    assert_false(directory_host((str){long_one, 256}, host, &n));
    assert_true(directory_host((str){long_one, 255}, host, &n));
}

static void messages_are_not_trusted(void **state)
{
    directory_message m = {.kind = DIRECTORY_FOUND, .ask = 3, .app = 4, .settings = S("{}")}, got;
    buf out;
    int fd;
    arena a;
    arena_init(&a, 64 * MIB);
    buf_init(&out, 64 * MIB);
    assert_true(directory_message_write(&m, &out, &fd, &e));
    assert_int_equal(fd, -1);
    assert_true(directory_message_read(&a, buf_bytes(&out), -1, &got, &e));
    assert_true(got.ask == 3 && got.app == 4 && str_eq(got.settings, S("{}")) && !got.host.n);
    for (size_t n = 0; n < out.n; n++)
        assert_false(directory_message_read(&a, (bytes){out.p, n}, -1, &got, &e));
    out.p[0] = 99;
    assert_false(directory_message_read(&a, buf_bytes(&out), -1, &got, &e));
    buf_clear(&out);
    char *large = calloc(1, DIRECTORY_INLINE_BYTES_MAX + 1);
    m.settings = (str){large, DIRECTORY_INLINE_BYTES_MAX + 1};
    assert_true(directory_message_write(&m, &out, &fd, &e));
    assert_true(fd >= 0);
    assert_true(ftruncate(dup(fd), 5) == 0); /* shorter than it says */
    assert_false(directory_message_read(&a, buf_bytes(&out), fd, &got, &e));
    buf_clear(&out);
    assert_true(directory_message_write(&m, &out, &fd, &e));
    assert_true(directory_message_read(&a, buf_bytes(&out), fd, &got, &e));
    assert_int_equal(got.settings.n, m.settings.n);
    free(large);
    buf_fini(&out);
    arena_fini(&a);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "@worker") == 0 ? role_worker(argc - 1, argv + 1) : 2;
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        CASE(names_are_asked_for_once),
        CASE(nobodys_name_is_404_and_remembered),
        CASE(requests_for_one_name_wait_for_one_answer),
        CASE(after_a_forget_it_is_the_new_one),
        CASE(in_doubt_every_request_asks),
        CASE(what_is_being_made_is_waited_for),
        CASE(a_tenant_is_forgotten_as_a_whole),
        CASE(all_names_are_asked_anew_and_apps_stay),
        CASE(a_new_keeper_is_asked_again),
        CASE(a_forget_waits_for_workers_only),
        cmocka_unit_test_setup_teardown(the_least_used_app_goes, open_small, close_all),
        CASE(a_catalogue_that_fails_is_503),
        CASE(code_and_files_are_named_by_digests),
        cmocka_unit_test_setup_teardown(a_call_whose_lease_is_lost_does_not_run, open_deferring,
                                        close_deferring),
        cmocka_unit_test_setup_teardown(a_worker_counts_in_its_own_area, open_worker, close_worker),
        cmocka_unit_test(quotas_are_enforced),
        cmocka_unit_test(tenants_reach_the_world_only),
        cmocka_unit_test(hosts_are_made_plain),
        cmocka_unit_test(messages_are_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
