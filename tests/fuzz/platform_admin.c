/* Any request at the admin API of a node, as its operator: the first byte picks the method, then
 * the path up to a line feed, the rest is the body. A real keeper answers: catalogue, jobs, uploads
 * and all, in a folder that goes at the end. There is no store process, and the builder is ours: it
 * compiles nothing, and says by the component's digest whether it did. What must hold: each request
 * is answered, never with 500, and nothing is left under way. */
#include "platform/keeper_api.h"

#include "base/must.h"
#include "loop/work.h"
#include "store/client.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ANSWER_BYTES = 1 << 16,
    TURNS_MAX = 2000,
    TURNS_OF_LOGS = 8,
    TURN_MS = 5,
    BODY_MAX = 1 << 17
};

/* Blobs, of which one is a component that is compiled and the other is not; and an app. */
#define WORD   "98c1eb4ee93476743763878fcb96a25fbc9a175074d64004779ecb5242f645e6"
#define LETTER "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
#define APP                                                                                        \
    "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"x\", \"triggers\": {}}, "     \
    "\"triggers\": "                                                                               \
    "[{\"id\": \"a\", \"trigger_type\": \"http\", \"trigger_config\": {\"route\": \"/\", "         \
    "\"static_response\": {\"status_code\": 200, \"body\": \"hi\"}}}], \"components\": []}}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static keeper k;
static char dir[] = "/dev/shm/ebb-fuzz-admin-XXXXXX";

bool builder_ensure(builder *b, str hex, builder_wait *w)
{
    err e;
    if (hex.p[0] < '8')
        return true;
    memcpy(w->hex, hex.p, sizeof w->hex);
    err_set(&e, ERR_INVALID, "this component is not to our taste");
    w->done(w, false, &e);
    return false;
}

void builder_forget(builder *b, builder_wait *w) {}
void builder_free(builder *b) {}
bool builder_new(loop *l, str data_dir, str fingerprint, unsigned jobs, builder **ret, err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "there is none");
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

static void folder_remove(void) { nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static bool find(void *user, const directory_message *q, arena *a, directory_message *ret, err *e)
{
    return err_set(e, ERR_NOT_FOUND, "nobody asks");
}

static void folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(mkdir(path, 0700) == 0);
}

static void keeper_make(void)
{
    static const char *const folders[] = {"blobs", "blobs/sha256", "files", "artifacts", "logs"};
    char path[128];
    seal_key key;
    err e;
    must(mkdtemp(dir) != NULL);
    atexit(folder_remove);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        folder(folders[i]);
    arena_init(&k.a, 64 << 20);
    k.config = (keeper_config){
        .data_dir = str_from(dir),
        .domain = S("localhost"),
        .node = S("fuzz"),
        .grid = grid_config_default(),
        .serve = {
            .scheme = S("http"), .fingerprint = S("none"), .quota = S("{}"), .revisions_kept = 2}};
    snprintf(path, sizeof path, "%s/seal.key", dir);
    must(loop_new(&k.l, &e) && usage_file_open(NULL, &k.file, &e) &&
         grid_power(&k.config.grid, &k.power, &e) && seal_key_load(path, &key, &e));
    snprintf(path, sizeof path, "%s/platform.db", dir);
    must(catalogue_open(k.l, path, S("localhost"), &key, &k.catalogue, &e));
    k.directory = keeper_directory_new(k.l, find, NULL, &k);
    must(k.directory != NULL && store_client_new(k.l, &k.store, &e));
    book_init(&k.book, k.file, NULL, 0);
}

/* The status of an answer whose head has come; 0: not yet. */
static unsigned status_of(const char *text)
{
    unsigned status = 0;
    return sscanf(text, "HTTP/1.1 %u ", &status) == 1 ? status : 0;
}

static char answer[ANSWER_BYTES]; /* the last one */

/* Our end is watched too: the loop then wakes with the answer. */
static void on_answer(void *user, unsigned events) {}

/* The answer's status; 0: the request is not whole, or nothing has been logged yet. */
static unsigned answer_of(int fd, const buf *text, bool of_logs)
{
    size_t sent = 0, got = 0;
    bool closed = false;
    loop_watch *watch;
    err e;
    memset(answer, 0, sizeof answer);
    must(loop_watch_open(k.l, fd, on_answer, NULL, &watch, &e));
    loop_watch_set(watch, LOOP_READABLE);
    for (int turn = 0; turn < (of_logs ? TURNS_OF_LOGS : TURNS_MAX); turn++) {
        ssize_t n = send(fd, text->p + sent, text->n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        loop_turn(k.l, turn < 5 ? 0 : of_logs ? 1 : TURN_MS);
        n = recv(fd, answer + got, sizeof answer - 1 - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        closed = n == 0;
        if (status_of(answer) || closed)
            break;
    }
    loop_watch_close(watch);
    must(status_of(answer) || closed || of_logs);
    return status_of(answer);
}

static unsigned request(const char *method, str path, str body)
{
    static api_door door = {&k, true};
    http_server_config config = {.half_close_wait = NS_PER_MS};
    _cleanup_(buf_fini) buf text;
    int pair[2];
    buf_init(&text, 1 << 20);
    must(buf_printf(&text, "%s ", method) && buf_put_str(&text, path) &&
         buf_printf(&text, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", body.n) &&
         buf_put_str(&text, body));
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    http_server *s = http_server_new(k.l, &config, api_on_request, &door);
    must(s != NULL);
    http_server_adopt_take(s, pair[0], S("peer"));
    unsigned status = answer_of(pair[1], &text, memmem(path.p, path.n, "/logs", 5) != NULL);
    close(pair[1]);
    for (int turn = 0; turn < TURNS_MAX && (http_server_connections(s) || k.changing); turn++)
        loop_turn(k.l, TURN_MS);
    must(!k.changing && !http_server_connections(s));
    http_server_free(s);
    loop_turn(k.l, 0);
    return status;
}

static void expect(bool ok)
{
    if (!ok)
        fprintf(stderr, "%s\n", answer);
    must(ok);
}

/* There are a tenant, a blob and an app again, whatever was deleted or limited before. */
static void prepare(void)
{
    unsigned made = request("POST", S("/v1/tenants"), S("{\"name\": \"default\"}"));
    expect(made == 201 || made == 409);
    expect(request("PUT", S("/v1/tenants/default/quota"),
                   S("{\"quota\": {\"apps\": 0, \"storage_bytes\": 0}}")) == 200);
    expect(request("PUT", S("/v1/tenants/default/blobs/sha256:" WORD), S("word")) < 300);
    expect(request("PUT", S("/v1/tenants/default/blobs/sha256:" LETTER), S("b")) < 300);
    expect(request("PUT", S("/v1/tenants/default/apps/x"), S(APP)) == 200);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "HEAD"};
    const uint8_t *end = size > 1 ? memchr(data + 1, '\n', size - 1) : NULL;
    if (!end || size > BODY_MAX)
        return 0;
    if (!k.l)
        keeper_make();
    prepare();
    str path = {(const char *)data + 1, (size_t)(end - data) - 1},
        body = {(const char *)end + 1, size - path.n - 2};
    unsigned status = request(methods[data[0] % 5], path, body);
    expect(status != 500);
    return 0;
}
