/* See keeper_grid.h. A question travels as URL, NUL, header name, NUL, header value; an answer as a
 * grid_answer with the body in an anonymous file. Secrets are in messages only, never on a command
 * line. A failure is logged once, and again when it is another one. */
#include "platform/keeper_grid.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/provider.h"
#include "loop/channel.h"
#include "platform/grid_role.h"
#include "platform/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUESTION_BYTES_MAX = 16384 };

struct keeper_grid {
    provider p;
    usage_file *file;
    channel *asker;      /* NULL: the process has ended; nothing is asked any more */
    provider_what asked; /* PROVIDER_NOTHING: nothing is under way */
    intensity_kind kind;
    intensity_basis basis;
    char said[ERR_TEXT_MAX]; /* the last failure, so that it is not repeated */
    void (*on_idle)(void *user);
    void *user;
};

static int64_t now_s(void) { return (int64_t)(clock_wall() / NS_PER_S); }

static void complain(keeper_grid *g, const char *text)
{
    if (strcmp(g->said, text) != 0)
        log_msg(LOG_WARN, "carbon intensity from %s: %s", source_format_name(g->p.config.format),
                text);
    snprintf(g->said, sizeof g->said, "%s", text);
    log_flush();
}

static void body_take(keeper_grid *g, bytes body)
{
    _cleanup_(arena_fini) arena a;
    intensity_reading r = {0};
    err e;
    arena_init(&a, 256 * MIB);
    if (!provider_answer(&g->p, g->asked, now_s(), body, &a, &r, &e)) {
        complain(g, e.text);
        return;
    }
    if (g->asked == PROVIDER_LOGIN)
        return;
    g->kind = r.kind;
    g->basis = r.basis;
    if (!usage_file_begin(g->file, &e) || !usage_file_intensity(g->file, &r, &e) ||
        !usage_file_commit(g->file, &e)) {
        usage_file_rollback(g->file);
        complain(g, e.text);
        return;
    }
    g->said[0] = 0;
}

static void answer_take(keeper_grid *g, const grid_answer *answer, int fd)
{
    struct stat st;
    if (answer->status != 200) {
        provider_failed(&g->p, now_s(), answer->retry_after_s,
                        answer->status == 401 || answer->status == 403);
        complain(g, answer->text);
        return;
    }
    uint8_t *body = fstat(fd, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    if (body && pread(fd, body, (size_t)st.st_size, 0) == st.st_size)
        body_take(g, (bytes){body, (size_t)st.st_size});
    else
        provider_failed(&g->p, now_s(), 0, false);
    free(body);
}

static void on_answer(void *user, bytes message, int fd)
{
    keeper_grid *g = user;
    grid_answer answer;
    if (message.n == sizeof answer && g->asked != PROVIDER_NOTHING) {
        memcpy(&answer, message.p, sizeof answer);
        answer.text[sizeof answer.text - 1] = 0;
        answer_take(g, &answer, fd);
    }
    if (fd >= 0)
        close(fd);
    g->asked = PROVIDER_NOTHING;
    if (!keeper_grid_ask(g, now_s())) /* a login is followed by what it was for */
        g->on_idle(g->user);
}

static void on_end(void *user)
{
    keeper_grid *g = user;
    channel_close(g->asker);
    g->asker = NULL;
    g->asked = PROVIDER_NOTHING;
    complain(g, "the process that asks has ended; the stated fall-back holds from now on");
    g->on_idle(g->user);
}

static bool question_send(keeper_grid *g, provider_what what, int64_t now, err *e)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf question;
    provider_request r;
    arena_init(&a, 1 * MIB);
    buf_init(&question, QUESTION_BYTES_MAX);
    if (!provider_request_make(&g->p, what, now, &a, &r, e))
        return false;
    const str parts[] = {r.url, r.header_name, r.header_value};
    for (size_t i = 0; i < 3; i++) {
        buf_put_str(&question, parts[i]);
        buf_put_u8(&question, 0);
    }
    return question.failed ? err_set(e, ERR_LIMIT, "the question is too long")
                           : channel_send(g->asker, buf_bytes(&question), -1, e);
}

bool keeper_grid_ask(keeper_grid *g, int64_t now)
{
    err e;
    if (!g || g->asked != PROVIDER_NOTHING)
        return g != NULL;
    provider_what what = g->asker ? provider_due(&g->p, now) : PROVIDER_NOTHING;
    if (what == PROVIDER_NOTHING)
        return false;
    if (!question_send(g, what, now, &e)) {
        provider_failed(&g->p, now, 0, false);
        complain(g, e.text);
        return false;
    }
    g->asked = what;
    return true;
}

static bool provider_of(const grid_config *g, provider *ret, err *e)
{
    provider_config c = {.base_url = g->url,
                         .zone = g->zone,
                         .token = g->token,
                         .user = g->user,
                         .password = g->password,
                         .average = g->average,
                         .forecasts = g->forecasts};
    return source_format_parse(g->provider, &c.format, e) && provider_init(ret, &c, e);
}

bool keeper_grid_new(loop *l, const grid_config *config, usage_file *f, void (*on_idle)(void *user),
                     void *user, keeper_grid **ret, err *e)
{
    static const channel_callbacks callbacks = {on_answer, on_end};
    int pair[2];
    pid_t pid;
    *ret = NULL;
    if (!config->provider.n || str_eq(config->provider, S("file")))
        return true;
    keeper_grid *g = calloc(1, sizeof *g);
    if (!g)
        return err_no_memory(e);
    *g = (keeper_grid){.file = f, .on_idle = on_idle, .user = user};
    if (!provider_of(config, &g->p, e) || !channel_pair(pair, e)) {
        free(g);
        return false;
    }
    bool ok = spawn_role("grid", NULL, &pair[1], 1, NULL, true, &pid, e);
    close(pair[1]);
    if (!ok)
        close(pair[0]);
    if (!ok || !channel_open_take(l, pair[0], &callbacks, g, &g->asker, e)) {
        free(g);
        return false;
    }
    *ret = g;
    return true;
}

void keeper_grid_free(keeper_grid *g)
{
    if (!g)
        return;
    if (g->asker)
        channel_close(g->asker);
    free(g);
}

intensity_kind keeper_grid_kind(const keeper_grid *g) { return g->kind; }
intensity_basis keeper_grid_basis(const keeper_grid *g) { return g->basis; }
