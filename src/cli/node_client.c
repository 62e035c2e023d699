/* See node_client.h. libcurl with one handle a command, so that many small requests share a
 * connection; without proxies and without anything from the environment but our own variables. */
#include "cli/node_client.h"

#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/spawn.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 5, CONNECT_S = 5, ANSWER_S = 1800, LOGIN_BYTES_MAX = 64 * 1024 };

struct node_client {
    CURL *curl;
    struct curl_slist *headers;
    buf answer;
    char url[1024];
    bool (*piece)(void *user, str piece);
    void *user;
    FILE *file; /* that is being sent */
};

/* --- who we are ------------------------------------------------------------------------------- */

static str login_path(arena *a)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/')
        return arena_printf(a, "%s/ebb/login.json", xdg);
    return home && *home == '/' ? arena_printf(a, "%s/.config/ebb/login.json", home) : (str){0};
}

str node_str(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    return (str){json_string_value(v), json_string_length(v)};
}

str node_plain(arena *a, str s)
{
    char *p = ARENA_ARRAY(a, char, s.n + 1);
    for (size_t i = 0; p && i < s.n; i++) {
        uint8_t b = (uint8_t)s.p[i], before = i ? (uint8_t)s.p[i - 1] : 0;
        bool obeyed = (b < 0x20 && b != '\t') || b == 0x7f || (before == 0xc2 && b < 0xa0);
        p[i] = obeyed ? '?' : s.p[i];
        if (obeyed && b >= 0x80)
            p[i - 1] = '?';
    }
    return (str){p, p ? s.n : 0};
}

bool node_login_find(arena *a, const options *o, node_login *ret, err *e)
{
    const option *node = options_get(o, "node"), *token = options_get(o, "token"),
                 *tenant = options_get(o, "tenant");
    node_login l = {0};
    str path = login_path(a);
    bytes text;
    err ignored;
    if (path.p && file_load(a, path.p, LOGIN_BYTES_MAX, &text, &ignored)) {
        json_t *j = json_loadb((const char *)text.p, text.n, 0, NULL);
        l.url = arena_str(a, node_str(j, "url"));
        l.token = arena_str(a, node_str(j, "token"));
        l.tenant = arena_str(a, node_str(j, "tenant"));
        json_decref(j);
    }
    if (node->given) {
        l.token = (str){0}; /* it was for another node */
        l.url = str_from(node->got);
    }
    if (token->given)
        l.token = str_from(token->got);
    if (tenant->given)
        l.tenant = str_from(tenant->got);
    if (!l.tenant.n)
        l.tenant = S("default");
    while (l.url.n > 1 && l.url.p[l.url.n - 1] == '/')
        l.url.n--;
    if (!l.url.n)
        return err_set(e, ERR_NOT_FOUND,
                       "which node? 'ebb login URL --token TOKEN' once, or --node URL; 'ebb serve' "
                       "prints both when it starts first");
    *ret = l;
    return true;
}

bool node_login_keep(arena *a, const node_login *l, str *ret_path, err *e)
{
    str path = login_path(a);
    if (!path.n)
        return err_set(e, ERR_NOT_FOUND, "neither XDG_CONFIG_HOME nor HOME says where to keep it");
    for (size_t i = 1; i < path.n; i++)
        if (path.p[i] == '/') {
            char *folder = arena_cstr(a, str_head(path, i));
            if (folder && mkdir(folder, 0700) < 0 && errno != EEXIST)
                return err_set_errno(e, "%s", folder);
        }
    json_t *j =
        json_pack("{s:s%,s:s%,s:s%}", "url", l->url.p, l->url.n, "token",
                  l->token.n ? l->token.p : "", l->token.n, "tenant", l->tenant.p, l->tenant.n);
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    json_decref(j);
    str temp = arena_printf(a, "%.*s.tmp", STR(path));
    if (!text || !temp.p) {
        free(text);
        return err_no_memory(e);
    }
    unlink(temp.p);
    _cleanup_fd_ int fd = open(temp.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 ? fd_write_all(fd, text, strlen(text), e) : err_set_errno(e, "%s", temp.p);
    free(text);
    if (ok && rename(temp.p, path.p) < 0)
        ok = err_set_errno(e, "%s", path.p);
    *ret_path = path;
    return ok;
}

/* --- requests --------------------------------------------------------------------------------- */

static size_t take(char *p, size_t size, size_t n, void *user)
{
    node_client *c = user;
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (c->piece && status == 200)
        return c->piece(c->user, (str){p, size * n}) ? size * n : 0;
    return buf_put(&c->answer, p, size * n) ? size * n : 0;
}

static bool header_add(node_client *c, const char *line)
{
    struct curl_slist *more = curl_slist_append(c->headers, line);
    if (more)
        c->headers = more;
    return more != NULL;
}

bool node_client_new(const node_login *l, node_client **ret, err *e)
{
    node_client *c = calloc(1, sizeof *c);
    char line[512];
    if (!c || !(c->curl = curl_easy_init())) {
        free(c);
        return err_no_memory(e);
    }
    buf_init(&c->answer, 256 * MIB);
    bool local = l->url.n && (l->url.p[0] == '/' || l->url.p[0] == '.');
    snprintf(c->url, sizeof c->url, "%.*s",
             local ? (int)sizeof "http://localhost" - 1 : (int)l->url.n,
             local ? "http://localhost" : l->url.p);
    if (local) {
        char socket[PATH_MAX];
        snprintf(socket, sizeof socket, "%.*s", STR(l->url));
        curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    }
    snprintf(line, sizeof line, "Authorization: Bearer %.*s", STR(l->token));
    bool ok = (!l->token.n || header_add(c, line)) &&
              header_add(c, "Content-Type: application/json") && header_add(c, "Expect:");
    if (!ok) {
        node_client_free(c);
        return err_no_memory(e);
    }
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    *ret = c;
    return true;
}

void node_client_free(node_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    buf_fini(&c->answer);
    free(c);
}

static err_code code_of(long status)
{
    return status == 404                    ? ERR_NOT_FOUND
           : status == 401 || status == 403 ? ERR_DENIED
           : status == 409                  ? ERR_CONFLICT
           : status == 429                  ? ERR_LIMIT
                                            : ERR_INVALID;
}

/* Once; and again where the node says that it can't now, as it does while a new build takes over.
 */
static CURLcode transfer(node_client *c, long *ret_status)
{
    CURLcode code;
    for (int try = 1;; try++) {
        buf_clear(&c->answer);
        *ret_status = 0;
        code = curl_easy_perform(c->curl);
        if (code == CURLE_OK)
            curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, ret_status);
        if (*ret_status != 503 || try == TRIES || c->piece)
            return code;
        sleep(1); /* what its Retry-After says */
        if (c->file)
            rewind(c->file);
    }
}

static bool perform(node_client *c, str path, err *e)
{
    char url[8192];
    long status;
    int n = snprintf(url, sizeof url, "%s%.*s", c->url, STR(path));
    if (n < 0 || n >= (int)sizeof url)
        return err_set(e, ERR_LIMIT, "the path is too long");
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    CURLcode code = transfer(c, &status);
    if (code == CURLE_WRITE_ERROR && c->piece)
        return true;
    if (code != CURLE_OK)
        return err_set(e, ERR_IO, "no answer of the node at %s: %s; does 'ebb serve' run there?",
                       c->url, curl_easy_strerror(code));
    if (status / 100 == 2)
        return true;
    json_t *j = json_loadb((const char *)c->answer.p, c->answer.n, 0, NULL);
    str text = node_str(j, "error");
    if (text.n)
        err_set(e, code_of(status), "%.*s", STR(text));
    else
        err_set(e, code_of(status), "the node answered with status %ld", status);
    json_decref(j);
    return false;
}

static void method_set(node_client *c, const char *method)
{
    curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 0L);
    curl_easy_setopt(c->curl, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, strcmp(method, "HEAD") == 0 ? NULL : method);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)ANSWER_S);
}

bool node_ask(node_client *c, const char *method, str path, const json_t *body, json_t **ret,
              err *e)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_t *j = NULL;
    method_set(c, method);
    if (text) {
        curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, text);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    }
    bool ok = perform(c, path, e);
    free(text);
    if (ok && ret && !(j = json_loadb((const char *)c->answer.p, c->answer.n, 0, NULL)))
        ok = err_set(e, ERR_INVALID, "the node's answer is no JSON; is it an ebb's admin address?");
    if (ok && ret)
        *ret = j;
    return ok;
}

static bool file_put(node_client *c, str path, FILE *f, uint64_t bytes_n, err *e)
{
    method_set(c, "PUT");
    curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c->curl, CURLOPT_READDATA, f);
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)bytes_n);
    c->file = f;
    bool ok = perform(c, path, e);
    c->file = NULL;
    return ok;
}

bool node_put(node_client *c, str path, bytes content, err *e)
{
    method_set(c, "PUT");
    curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, content.n ? (const char *)content.p : "");
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)content.n);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, "PUT");
    return perform(c, path, e);
}

bool node_send(node_client *c, str path, const char *file, uint64_t bytes_n, err *e)
{
    FILE *f = fopen(file, "re");
    if (!f)
        return err_set_errno(e, "%s", file);
    bool ok = file_put(c, path, f, bytes_n, e);
    fclose(f);
    return ok || err_wrap(e, "%s", file);
}

bool node_follow(node_client *c, str path, bool (*f)(void *user, str piece), void *user, err *e)
{
    method_set(c, "GET");
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 0L);
    c->piece = f;
    c->user = user;
    bool ok = perform(c, path, e);
    c->piece = NULL;
    return ok;
}

/* --- commands --------------------------------------------------------------------------------- */

str node_segment(arena *a, str s)
{
    _cleanup_(buf_fini) buf out;
    buf_init(&out, MIB);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && strchr("-._~", c));
        if (plain)
            buf_put_u8(&out, c);
        else
            buf_printf(&out, "%%%02X", c);
    }
    return arena_str(a, buf_str(&out));
}

void node_print_take(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(j);
}

const char *node_time(int64_t t_s, char place[32])
{
    struct tm t;
    time_t at = (time_t)t_s;
    if (!t_s || !localtime_r(&at, &t) || !strftime(place, 32, "%Y-%m-%d %H:%M", &t))
        snprintf(place, 32, "never");
    return place;
}

int node_command_run(int argc, char **argv, options *o, bool (*run)(node_command *c, err *e))
{
    node_command c = {0};
    err e;
    int status = 0;
    arena_init(&c.a, GIB);
    if (!options_parse(&c.a, o, argc, argv, &e)) {
        cli_fail(&e);
        status = 2;
    } else if (!o->help) {
        c.o = *o;
        c.json = options_get(o, "json")->given;
        bool ok = node_login_find(&c.a, o, &c.login, &e) &&
                  node_client_new(&c.login, &c.client, &e) && run(&c, &e);
        status = ok ? 0 : cli_fail(&e);
        node_client_free(c.client);
    }
    arena_fini(&c.a);
    return status;
}

str node_path(node_command *c, const char *fmt, ...)
{
    char rest[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rest, sizeof rest, fmt, ap);
    va_end(ap);
    return arena_printf(&c->a, "/v1/tenants/%.*s%s", STR(node_segment(&c->a, c->login.tenant)),
                        rest);
}

bool node_positional(const node_command *c, size_t n, const char *what, str *ret, err *e)
{
    if (n >= c->o.positionals_count)
        return err_set(e, ERR_INVALID, "%s is missing: 'ebb %s --help'", what, c->o.command);
    *ret = str_from(c->o.positionals[n]);
    return true;
}
