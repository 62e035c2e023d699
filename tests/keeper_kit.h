/* A keeper of `ebb serve` in this process, asked over its admin API: catalogue, jobs, uploads and
 * all are real, in a folder that goes at the end. There are no workers and no store process; the
 * clock and the builder are ours: it compiles nothing, and says what a test wants to hear.
 *
 *     expect(201, "POST", "/v1/tenants", "{\"name\": \"acme\"}");
 *     assert_string_equal(text("name"), "acme");
 */
#pragma once

#include "folder_kit.h"

#include "base/hex.h"
#include "base/limits.h"
#include "platform/keeper_api.h"
#include "store/client.h"

#include <openssl/evp.h>
#include <string.h>
#include <sys/socket.h>

#define TENANT "/v1/tenants/acme"
enum { ANSWER_BYTES = 1 << 20, TURNS_MAX = 4000, TURN_MS = 5, WAITING_MAX = 8 };

static keeper k;
static char data[] = "/dev/shm/ebb-test-keeper-XXXXXX";

/* The time, by seconds; it stands still. */
static int64_t now_s = INT64_C(1800000000); /* 2027-01-15T08:00:00Z */

/* Of the next requests: by admin.sock, or with this token; and further lines of the head. */
static bool by_socket = true;
static char bearer[64];
static const char *more_head = "";

/* The last answer. */
static char answer[ANSWER_BYTES];
static unsigned status;
static const char *body;
static json_t *doc; /* of it; NULL: it is no JSON */

/* --- keeper_role.c: time, and no workers ------------------------------------------------------ */

int64_t keeper_now_s(void) { return now_s; }
bool keeper_ask_all(keeper *of) { return true; }
void keeper_stop_if_unused(void *user) {}

/* --- the builder ------------------------------------------------------------------------------ */

static enum { IS_THERE, IS_MADE, FAILS, WAITS } building;
static err build_error;
static builder_wait *waiting[WAITING_MAX];
static size_t waiting_n, wanted;

bool builder_ensure(builder *b, str hex, builder_wait *w)
{
    wanted++;
    memcpy(w->hex, hex.p, 64);
    if (building == IS_THERE)
        return true;
    if (building == WAITS) {
        assert_true(waiting_n < WAITING_MAX);
        waiting[waiting_n++] = w;
        return false;
    }
    w->done(w, building == IS_MADE, &build_error);
    return false;
}

void builder_forget(builder *b, builder_wait *w) {}
void builder_free(builder *b) {}
bool builder_new(loop *l, str data_dir, str fingerprint, unsigned jobs, builder **ret, err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "there is none");
}

/* --- the keeper ------------------------------------------------------------------------------- */

static bool find(void *user, const directory_message *q, arena *a, directory_message *ret, err *e)
{
    return err_set(e, ERR_NOT_FOUND, "nobody asks");
}

static const char *path_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *path_of(const char *fmt, ...)
{
    static char path[512];
    va_list args;
    int n = snprintf(path, sizeof path, "%s/", data);
    va_start(args, fmt);
    vsnprintf(path + n, sizeof path - (size_t)n, fmt, args);
    va_end(args);
    return path;
}

static inline int keeper_make(void **state)
{
    static const char *const folders[] = {"blobs",     "blobs/sha256", "files",
                                          "artifacts", "logs",         "state"};
    seal_key key;
    err e;
    if (!mkdtemp(data))
        return -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(path_of("%s", folders[i]), 0700) < 0)
            return -1;
    arena_init(&k.a, 64 << 20);
    k.config = (keeper_config){.data_dir = str_from(data),
                               .domain = S("localhost"),
                               .node = S("unit"),
                               .grid = grid_config_default(),
                               .serve = {.scheme = S("http"),
                                         .url_port = S(":3000"),
                                         .admin_address = S("10.0.0.1:3001"),
                                         .admin_host = S("admin.example"),
                                         .fingerprint = S("none"),
                                         .quota = S("{\"apps\": 9, \"storage_bytes\": 1000000}"),
                                         .revisions_kept = 2}};
    k.traces = -1;
    bool ok = loop_new(&k.l, &e) && usage_file_open(NULL, &k.file, &e) &&
              grid_power(&k.config.grid, &k.power, &e) &&
              seal_key_load(path_of("seal.key"), &key, &e) &&
              catalogue_open(k.l, path_of("platform.db"), S("localhost"), &key, &k.catalogue, &e);
    k.directory = ok ? keeper_directory_new(k.l, find, NULL, &k) : NULL;
    if (!k.directory || !store_client_new(k.l, &k.store, &e))
        return -1;
    book_init(&k.book, k.file, NULL, 0);
    return 0;
}

static inline int keeper_end(void **state)
{
    json_decref(doc);
    doc = NULL;
    store_client_free(k.store);
    keeper_directory_free(k.directory);
    catalogue_close(k.catalogue);
    usage_file_close(k.file);
    arena_fini(&k.grid_file.a);
    arena_fini(&k.a);
    loop_free(k.l);
    return folder_remove(data);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Our end is watched too: the loop then wakes with the answer. */
static void on_answer(void *user, unsigned events) {}

/* Until the connection is closed; at once and called after each turn. */
static void (*each_turn)(void);

/* The allocation of arenas and bufs that fails while it is asked, counted from the request on; 0:
 * none. How many there were. */
static size_t failing, allocations;

static void answer_take(int fd, const buf *request)
{
    size_t sent = 0, got = 0;
    loop_watch *watch;
    ssize_t n = -1;
    err e;
    memset(answer, 0, sizeof answer);
    assert_true(loop_watch_open(k.l, fd, on_answer, NULL, &watch, &e));
    loop_watch_set(watch, LOOP_READABLE);
    alloc_fail_after(failing);
    for (int turn = 0; turn < TURNS_MAX && n; turn++) {
        ssize_t out = sent < request->n ? send(fd, request->p + sent, request->n - sent,
                                               MSG_NOSIGNAL | MSG_DONTWAIT)
                                        : 0;
        sent += out > 0 ? (size_t)out : 0;
        loop_turn(k.l, turn < 5 ? 0 : TURN_MS);
        if (each_turn)
            each_turn();
        while ((n = recv(fd, answer + got, sizeof answer - 1 - got, MSG_DONTWAIT)) > 0)
            got += (size_t)n;
    }
    loop_watch_close(watch);
    allocations = alloc_fail_after(0);
    if (n)
        fail_msg("no end of the answer: %s", answer);
}

static unsigned ask_raw(const char *method, const char *path, str content)
{
    static api_door door = {&k, true};
    http_server_config config = {.half_close_wait = NS_PER_MS, .linger_wait = NS_PER_MS};
    _cleanup_(buf_fini) buf request;
    int pair[2];
    door.is_local = by_socket;
    buf_init(&request, 64 << 20);
    buf_printf(&request, "%s %s HTTP/1.1\r\nConnection: close\r\n%s", method, path, more_head);
    if (!strstr(more_head, "Host:"))
        buf_put_str(&request, S("Host: localhost\r\n"));
    if (*bearer)
        buf_printf(&request, "Authorization: Bearer %s\r\n", bearer);
    buf_printf(&request, "Content-Length: %zu\r\n\r\n", content.n);
    assert_true(buf_put_str(&request, content));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    http_server *s = http_server_new(k.l, &config, api_on_request, &door);
    assert_non_null(s);
    http_server_adopt_take(s, pair[0], S("192.0.2.1:7"));
    answer_take(pair[1], &request);
    close(pair[1]);
    for (int turn = 0; turn < TURNS_MAX && (http_server_connections(s) || k.changing); turn++)
        loop_turn(k.l, TURN_MS);
    assert_int_equal(k.changing, 0);
    http_server_free(s);
    loop_turn(k.l, 0);
    body = strstr(answer, "\r\n\r\n");
    body = body ? body + 4 : "";
    json_decref(doc);
    doc = json_loads(body, 0, NULL);
    status = 0;
    sscanf(answer, "HTTP/1.1 %u ", &status);
    return status;
}

static inline unsigned ask(const char *method, const char *path, const char *content)
{
    return ask_raw(method, path, str_from(content));
}

#define expect(wanted_, method, path, content)                                                     \
    do {                                                                                           \
        if (ask(method, path, content) != (wanted_))                                               \
            fail_msg("%s %s: %u, %s", method, path, status, body);                                 \
    } while (0)

/* It fails, and its text has these words. */
#define refused(wanted_, words, method, path, content)                                             \
    do {                                                                                           \
        expect(wanted_, method, path, content);                                                    \
        if (!text("error") || !strstr(text("error"), words))                                       \
            fail_msg("%s %s: '%s' is not in %s", method, path, words, body);                       \
    } while (0)

static inline const char *text(const char *name)
{
    return json_string_value(json_object_get(doc, name));
}

static inline int64_t number_of(const char *name)
{
    const json_t *v = json_object_get(doc, name);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static inline const json_t *list(const char *name)
{
    const json_t *v = json_object_get(doc, name);
    assert_true(json_is_array(v));
    return v;
}

/* Names of a list of strings, or of objects with a member, with spaces. */
static inline const char *names(const char *of, const char *member)
{
    static char all[4096];
    size_t n = 0;
    all[0] = 0;
    for (size_t i = 0; i < json_array_size(list(of)); i++) {
        const json_t *v = json_array_get(list(of), i);
        const char *name = json_string_value(member ? json_object_get(v, member) : v);
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? " " : "", name ? name : "?");
    }
    return all;
}

/* "sha256:" and the digest; good until the eighth call after it. */
static inline const char *digest_of(str content)
{
    static char all[8][72];
    static unsigned at;
    uint8_t hash[EVP_MAX_MD_SIZE];
    char *to = all[at++ % 8];
    EVP_Digest(content.p, content.n, hash, NULL, EVP_sha256(), NULL);
    memcpy(to, "sha256:", 7);
    hex_write((bytes){hash, CATALOGUE_DIGEST_BYTES}, to + 7);
    return to;
}

/* Sends a blob of tenant acme. */
static inline const char *blob(const char *content)
{
    char path[160];
    const char *digest = digest_of(str_from(content));
    snprintf(path, sizeof path, TENANT "/blobs/%s", digest);
    expect(201, "PUT", path, content);
    return digest;
}
