/* `ebb @grid`: asks carbon intensity providers for the keeper, one question after the other, over
 * libcurl. fd 3 is a channel to the keeper; the process ends when that closes. It holds no file and
 * no state; it may read what looking up names and checking certificates takes. Proxies, netrc and
 * other settings of the environment do not apply; redirects are not followed, so that a token goes
 * nowhere else. */
#include "platform/grid_role.h"

#include "base/limits.h"
#include "base/log.h"
#include "carbon/source.h"
#include "platform/role.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_KEEPER = 3, CONNECT_S = 10, ANSWER_S = 30, QUESTION_BYTES_MAX = 16384 };

static size_t on_body(char *p, size_t one, size_t n, void *user)
{
    int fd = *(int *)user;
    return lseek(fd, 0, SEEK_CUR) + (off_t)n <= SOURCE_JSON_BYTES_MAX &&
                   fd_write_all(fd, p, n, NULL)
               ? n
               : 0;
}

static void fetch(const char *url, const char *name, const char *value, int body, grid_answer *ret)
{
    char header[QUESTION_BYTES_MAX];
    struct curl_slist *headers = NULL;
    curl_off_t retry = 0;
    long status = 0;
    CURL *c = curl_easy_init();
    *ret = (grid_answer){0};
    if (!c)
        return;
    if (*name) {
        snprintf(header, sizeof header, "%s: %s", name, value);
        headers = curl_slist_append(NULL, header);
    }
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "ebb");
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)ANSWER_S);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
    CURLcode code = curl_easy_perform(c);
    if (code == CURLE_OK) {
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &retry);
        snprintf(ret->text, sizeof ret->text, "it answered with status %ld", status);
    } else {
        snprintf(ret->text, sizeof ret->text, "%s", curl_easy_strerror(code));
    }
    ret->status = (int32_t)status;
    ret->retry_after_s = (int64_t)retry;
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
}

static bool answer_send(const grid_answer *answer, int body)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } passed = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                         .cmsg_level = SOL_SOCKET,
                         .cmsg_type = SCM_RIGHTS}};
    struct iovec whole = {(void *)(uintptr_t)answer, sizeof *answer};
    struct msghdr m = {.msg_iov = &whole, .msg_iovlen = 1};
    if (answer->status == 200) {
        m.msg_control = &passed;
        m.msg_controllen = sizeof passed;
        memcpy(CMSG_DATA(&passed.head), &body, sizeof body);
    }
    return sendmsg(FD_KEEPER, &m, MSG_NOSIGNAL) >= 0;
}

/* One question; false: the keeper has gone. */
static bool serve_one(void)
{
    char question[QUESTION_BYTES_MAX + 1];
    _cleanup_fd_ int body = -1;
    grid_answer answer;
    err e;
    struct pollfd ready = {FD_KEEPER, POLLIN, 0};
    if (poll(&ready, 1, -1) < 0)
        return errno == EINTR;
    ssize_t n = recv(FD_KEEPER, question, QUESTION_BYTES_MAX, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    question[n] = 0;
    const char *name = question + strlen(question) + 1;
    if (name > question + n)
        return false;
    const char *value = name + strlen(name) + 1;
    if (value > question + n || !spawn_memfd("ebb-grid", "", 0, &body, &e))
        return false;
    fetch(question, name, value, body, &answer);
    return answer_send(&answer, body);
}

int role_grid(int argc, char **argv)
{
    err e;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    log_init(STDERR_FILENO, LOG_TEXT, "grid");
    if (!sandbox_confine_client(&e)) {
        log_msg(LOG_ERROR, "%s", e.text);
        log_flush();
        return 1;
    }
    while (serve_one())
        ;
    return 0;
}
