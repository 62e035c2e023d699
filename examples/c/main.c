/* A small app in C: a file, an upload, a stream and a call to another server, one function each.
 *
 * The host calls the exported function 'handle' at the end of this file, once for each request,
 * each time in a new sandbox: there is no state to keep apart and none to lose. http.h wraps the
 * generated bindings; files, environment and output are the C library's.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

#define TEXT "text/plain; charset=utf-8"

/* GET /: a file that came with the app. */
static void welcome(const request *r)
{
    char line[256];
    FILE *f = fopen("/assets/welcome.txt", "r");
    if (!f) {
        perror("/assets/welcome.txt");
        writer w = request_answer(r, 500, TEXT);
        writer_close(&w);
        return;
    }
    writer w = request_answer(r, 200, TEXT);
    while (fgets(line, sizeof line, f) && writer_print(&w, "%s", line))
        ;
    writer_close(&w);
    fclose(f);
}

/* POST /shout: the body in capitals, sent back while the rest of it still arrives. */
static void shout(const request *r)
{
    uint8_t part[4096];
    reader body = request_body(r);
    writer w = request_answer(r, 200, TEXT);
    for (size_t n; (n = reader_read(&body, part, sizeof part)) > 0;) {
        for (size_t i = 0; i < n; i++)
            part[i] = (uint8_t)toupper(part[i]);
        if (!writer_write(&w, part, n))
            break;
    }
    reader_close(&body);
    writer_close(&w);
}

/* GET /count?to=3: a line at a time; each is on its way before the next is made. */
static void count(const request *r)
{
    int to = strncmp(r->query, "to=", 3) == 0 ? atoi(r->query + 3) : 10;
    writer w = request_answer(r, 200, TEXT);
    for (int i = 1; i <= to && writer_print(&w, "%d\n", i); i++)
        ;
    writer_close(&w);
}

/* GET /relay: what the server named by the variable 'upstream' answers. */
static void relay(const request *r)
{
    app_string_t name, value;
    fermyon_spin_2_0_0_variables_error_t error;
    app_string_set(&name, "upstream");
    if (!fermyon_spin_2_0_0_variables_get(&name, &value, &error))
        abort(); /* spin.toml gives it a value */
    const char *url = strndup((char *)value.ptr, value.len), *problem;

    reader body;
    int status = http_get(url, &body, &problem);
    if (status == 0) {
        fprintf(stderr, "%s: %s\n", url, problem);
        writer w = request_answer(r, 502, TEXT);
        writer_print(&w, "%s: %s\n", url, problem);
        writer_close(&w);
        return;
    }
    uint8_t part[4096];
    writer w = request_answer(r, status, TEXT);
    for (size_t n; (n = reader_read(&body, part, sizeof part)) > 0 && writer_write(&w, part, n);)
        ;
    reader_close(&body);
    writer_close(&w);
}

static const struct {
    const char *method, *path;
    void (*serve)(const request *);
} routes[] = {
    {"GET", "/", welcome},
    {"POST", "/shout", shout},
    {"GET", "/count", count},
    {"GET", "/relay", relay},
};

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    request r = request_take(in, outparam);
    printf("%s %s\n", r.method, r.path); /* the log shows it with the request's id */
    fflush(stdout);

    int status = 404;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (strcmp(routes[i].path, r.path) != 0)
            continue;
        if (strcmp(routes[i].method, r.method) == 0) {
            routes[i].serve(&r);
            return;
        }
        status = 405;
    }
    writer w = request_answer(&r, status, TEXT);
    writer_close(&w);
}
