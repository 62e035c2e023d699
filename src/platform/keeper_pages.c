/* Answers with a page, whole, or with 304 where the client has it already. Pages are the only HTML
 * of the admin origin that runs scripts: only those of this origin, none inline, styles in the page
 * only by their hash, no frame around it, no form that posts, no connection to anybody else
 * (Content Security Policy Level 3). What a page may then know is decided by the token it sends:
 * pages themselves hold nothing. */
#include "platform/pages.h"

#include "http/field.h"
#include "platform/keeper_api.h"

#include <stdio.h>
#include <stdlib.h>

static const page *pages;
static size_t pages_count;

void pages_set(const page *all, size_t n)
{
    pages = all;
    pages_count = n;
}

const page *page_find(str path)
{
    for (size_t i = 0; i < pages_count; i++)
        if (str_eq(path, str_from(pages[i].path)))
            return &pages[i];
    return NULL;
}

typedef struct {
    http_exchange *x;
    const page *page;
    size_t written;
} sending;

static void on_closed(void *user)
{
    sending *s = user;
    exchange_free(s->x);
    free(s);
}

static void on_writable(void *user)
{
    sending *s = user;
    if (!exchange_write_on(s->x, s->page->bytes, s->page->n, &s->written))
        return;
    exchange_end(s->x, NULL, 0);
    free(s);
}

static void page_send(const page *p, http_exchange *x)
{
    static const exchange_callbacks callbacks = {.on_writable = on_writable,
                                                 .on_closed = on_closed};
    const http_request *r = exchange_request(x);
    const http_field *known = field_find(r->fields, r->fields_count, S("if-none-match"));
    char policy[512];
    snprintf(policy, sizeof policy,
             "default-src 'none'; script-src 'self'; style-src 'self' %s; connect-src 'self'; "
             "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
             p->styles);
    bool is_known = known && str_eq(known->value, str_from(p->tag));
    http_field fields[] = {
        {S("content-type"), str_from(p->type)},
        {S("etag"), str_from(p->tag)},
        {S("cache-control"), S("no-cache")},
        {S("content-security-policy"), str_from(policy)},
        {S("origin-agent-cluster"), S("?1")},
        {S("cross-origin-resource-policy"), S("same-origin")},
        {S("referrer-policy"), S("no-referrer")},
        {S("x-content-type-options"), S("nosniff")},
    };
    err e;
    sending *s = calloc(1, sizeof *s);
    if (!s || !exchange_start(x, is_known ? 304 : 200, fields, sizeof fields / sizeof *fields,
                              is_known ? 0 : (int64_t)p->n, &e)) {
        free(s);
        exchange_abort(x, 503, NULL, 0);
        return;
    }
    *s = (sending){.x = x, .page = p, .written = is_known ? p->n : 0};
    exchange_bind(x, &callbacks, s);
    on_writable(s);
}

void api_page(api_call *c)
{
    str target = exchange_request(c->x)->target;
    const page *p = page_find(target_path(target));
    if (!p) {
        api_fail_status(c, 404, "there is no such page");
        return;
    }
    http_exchange *x = c->x;
    c->x = NULL;
    page_send(p, x);
    api_is_over(c);
}
