/* See admin_client.h. libcurl, without proxies and without anything from the environment, so that
 * what is asked of a node on this machine never leaves it. */
#include "cli/admin_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONNECT_S = 5, ANSWER_S = 120 };

static size_t take(char *p, size_t size, size_t n, void *out)
{
    return buf_put(out, p, size * n) ? size * n : 0;
}

static void curl_free_it(CURL **c) { curl_easy_cleanup(*c); }

/* Paths longer than a socket's address are reached through their folder's descriptor. */
static int folder_open(const char *path, char *ret, size_t n)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(ret, n, "/proc/self/fd/%d/%s", fd, slash ? slash + 1 : path);
    return fd;
}

/* {"error": "..."} of the node, or the status. */
static bool refused(long status, const buf *body, size_t from, err *e)
{
    json_error_t je;
    json_t *j = json_loadb((const char *)body->p + from, body->n - from, 0, &je);
    const char *text = json_string_value(json_object_get(j, "error"));
    if (text)
        err_set(e, ERR_INVALID, "%s", text);
    else
        err_set(e, ERR_INVALID, "the node answered with status %ld", status);
    json_decref(j);
    return false;
}

bool admin_get(const char *address, const char *path, buf *out, err *e)
{
    bool is_local = strchr(address, '/') || !strchr(address, ':');
    char url[4096], local[PATH_MAX] = "";
    __attribute__((cleanup(curl_free_it))) CURL *c = curl_easy_init();
    long status = 0;
    size_t from = out->n;
    if (!c)
        return err_no_memory(e);
    int folder = is_local ? folder_open(address, local, sizeof local) : -1;
    int n = snprintf(url, sizeof url, "http://%s%s", is_local ? "localhost" : address, path);
    if (n < 0 || n >= (int)sizeof url)
        return err_set(e, ERR_LIMIT, "the question is too long");
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)ANSWER_S);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    if (is_local)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, local);
    CURLcode code = curl_easy_perform(c);
    if (folder >= 0)
        close(folder);
    if (code != CURLE_OK)
        return err_set(e, ERR_NOT_FOUND,
                       "no node answers at %s (%s): start 'ebb up' there, or name its address with "
                       "--admin",
                       address, curl_easy_strerror(code));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 || refused(status, out, from, e);
}

bool admin_put_value(buf *path, const char *s)
{
    for (; *s; s++)
        if ((*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z') ||
            strchr("-._~:", *s))
            buf_put_u8(path, (uint8_t)*s);
        else
            buf_printf(path, "%%%02X", (unsigned char)*s);
    return !path->failed;
}
