/* `ebb @traces URL NODE`: takes spans of workers (traces.h) from the socket in fd 3 and posts them
 * to a collector by OTLP/HTTP in JSON (opentelemetry-proto: an ExportTraceServiceRequest).
 *
 * A batch goes a second after its first span, or when it is full. While one is under way the next
 * fills; when that is full the socket is not read, and workers drop what it does not take. A batch
 * that the collector does not take is lost, and never sent twice. What was dropped and lost is
 * counted in the resource of every batch, and in the log once a minute while it grows.
 *
 * The process ends, after a last batch, when the keeper and all its workers have closed the other
 * end. It holds no file; it may read what looking up names and checking certificates takes. */
#include "platform/role.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/report.h"
#include "platform/sandbox.h"
#include "platform/traces.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

enum { FD_SPANS = 3, BATCH_SPANS = 512, POST_MS = 5000, TURN_MS = 1000 };
#define BATCH_NS (1 * NS_PER_S)
#define SAY_NS   (60 * NS_PER_S)

typedef struct {
    const char *url;
    str node;
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    bool posting, over;
    buf next, sent; /* spans with commas; the body that is under way */
    uint32_t next_spans, sent_spans;
    ns due; /* of next, where it has any */
    uint64_t dropped, lost, said;
    ns said_at;
} exporter;

/* --- a batch ---------------------------------------------------------------------------------- */

static void body_make(exporter *x)
{
    buf *b = &x->sent;
    buf_clear(b);
    buf_put_str(b, S("{\"resourceSpans\":[{\"resource\":{\"attributes\":["
                     "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"ebb\"}},"
                     "{\"key\":\"host.name\",\"value\":{\"stringValue\":\""));
    put_json_text(b, x->node);
    buf_printf(b,
               "\"}},{\"key\":\"ebb.spans.dropped\",\"value\":{\"intValue\":\"%llu\"}},"
               "{\"key\":\"ebb.spans.lost\",\"value\":{\"intValue\":\"%llu\"}}]},"
               "\"scopeSpans\":[{\"scope\":{\"name\":\"ebb\"},\"spans\":[",
               (unsigned long long)x->dropped, (unsigned long long)x->lost);
    buf_put(b, x->next.p, x->next.n);
    buf_put_str(b, S("]}]}]}"));
    x->sent_spans = x->next_spans;
    buf_clear(&x->next);
    x->next_spans = 0;
}

static void batch_over(exporter *x, bool ok, const char *why)
{
    ns now = clock_mono();
    x->posting = false;
    x->lost += ok ? 0 : x->sent_spans;
    uint64_t gone = x->lost + x->dropped;
    if (gone == x->said || (x->said_at && now - x->said_at < SAY_NS))
        return;
    x->said = gone;
    x->said_at = now;
    log_msg(LOG_WARN,
            "traces: %llu spans did not reach %s so far, %llu of them because too many "
            "came at once%s%s",
            (unsigned long long)gone, x->url, (unsigned long long)x->dropped, ok ? "" : ": ",
            ok ? "" : why);
    log_flush();
}

static void batch_start(exporter *x)
{
    body_make(x);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, (const char *)x->sent.p);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->sent.n);
    x->posting = true;
    if (x->sent.failed || curl_multi_add_handle(x->multi, x->easy) != CURLM_OK)
        batch_over(x, false, "no memory");
}

static void batch_look(exporter *x)
{
    int running, left;
    curl_multi_perform(x->multi, &running);
    for (CURLMsg *m; (m = curl_multi_info_read(x->multi, &left));) {
        long status = 0;
        char why[64];
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
        snprintf(why, sizeof why, "it answered with status %ld", status);
        curl_multi_remove_handle(x->multi, x->easy);
        batch_over(x, code == CURLE_OK && status / 100 == 2,
                   code == CURLE_OK ? why : curl_easy_strerror(code));
    }
}

/* --- spans ------------------------------------------------------------------------------------ */

static void spans_take(exporter *x)
{
    static uint8_t message[SPAN_BYTES_MAX + 1];
    while (!x->over && x->next_spans < BATCH_SPANS) {
        span_head head;
        ssize_t n = recv(FD_SPANS, message, sizeof message, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        x->over = n <= 0;
        if (n < (ssize_t)sizeof head)
            continue;
        memcpy(&head, message, sizeof head);
        x->dropped += head.dropped;
        if (!x->next_spans)
            x->due = clock_mono() + BATCH_NS;
        if (x->next.n)
            buf_put_u8(&x->next, ',');
        buf_put(&x->next, message + sizeof head, (size_t)n - sizeof head);
        x->next_spans++;
    }
}

/* Sleeps until something comes or is due: without an end while there is nothing to send. */
static void rest(exporter *x)
{
    ns now = clock_mono();
    bool room = !x->over && x->next_spans < BATCH_SPANS;
    int wait = !x->next_spans ? -1 : x->due > now ? (int)((x->due - now) / NS_PER_MS) + 1 : 0;
    if (x->posting) {
        struct curl_waitfd fd = {.fd = FD_SPANS, .events = CURL_WAIT_POLLIN};
        curl_multi_poll(x->multi, &fd, room, TURN_MS, NULL);
    } else if (room) {
        poll(&(struct pollfd){FD_SPANS, POLLIN, 0}, 1, wait);
    }
}

static void export_all(exporter *x)
{
    while (!x->over || x->next_spans || x->posting) {
        spans_take(x);
        if (x->posting)
            batch_look(x);
        bool full = x->next_spans == BATCH_SPANS || x->over;
        if (!x->posting && x->next_spans && (full || clock_mono() >= x->due))
            batch_start(x);
        else
            rest(x);
    }
}

/* --- the process ------------------------------------------------------------------------------ */

static size_t answer_drop(char *p, size_t one, size_t n, void *user) { return n; }

static bool curl_open(exporter *x)
{
    x->multi = curl_multi_init();
    x->easy = curl_easy_init();
    x->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!x->multi || !x->easy || !x->headers)
        return false;
    curl_easy_setopt(x->easy, CURLOPT_URL, x->url);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(x->easy, CURLOPT_USERAGENT, "ebb");
    curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(x->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(x->easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, (long)POST_MS);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, answer_drop);
    return true;
}

int role_traces(int argc, char **argv)
{
    static exporter x;
    err e;
    if (argc < 3)
        return 2;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    log_init(STDERR_FILENO, LOG_TEXT, "traces");
    x = (exporter){.url = argv[1], .node = str_from(argv[2])};
    buf_init(&x.next, BATCH_SPANS * (SPAN_BYTES_MAX + 1));
    buf_init(&x.sent, BATCH_SPANS * (SPAN_BYTES_MAX + 1) + 64 * KIB);
    bool ok = sandbox_confine_client(&e) && (curl_open(&x) || err_no_memory(&e));
    if (ok)
        export_all(&x);
    else
        log_msg(LOG_ERROR, "%s", e.text);
    log_flush();
    curl_easy_cleanup(x.easy);
    curl_multi_cleanup(x.multi);
    curl_slist_free_all(x.headers);
    buf_fini(&x.next);
    buf_fini(&x.sent);
    return ok ? 0 : 1;
}
