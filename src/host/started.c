/* Host state after a start function, made again for guests whose instance begins with the state
 * after it (engine.h, ENGINE_RESTORE_AFTER_START): their memory holds handles that nobody has given
 * them yet.
 *
 * What a start function may leave open is what every runtime opens: the standard streams and the
 * preopened directories. They have no state of their own, so a new one is as good. Anything else,
 * or anything written, and the state is not taken. */
#include "host/call.h"
#include "host/fs.h"
#include "host/guest.h"
#include "host/wasi_cli.h"

#include <stdlib.h>

typedef enum { LEFT_NOTHING, LEFT_STREAM, LEFT_DIRECTORY } left_open;

struct guest_started {
    uint32_t n, free_first, live;
    struct {
        left_open what;
        uint32_t which; /* stream, or index of the preopen */
        uint32_t next;  /* LEFT_NOTHING: the next free index */
    } at[];
};

static bool left_find(const guest *g, const handle *h, left_open *ret, uint32_t *ret_which)
{
    if (h->kind != HANDLE_HOST || h->lends || h->o->children || h->o->parent)
        return false;
    if (cli_stream_is_fresh(h->o, ret_which)) {
        *ret = LEFT_STREAM;
        return true;
    }
    *ret = LEFT_DIRECTORY;
    return fs_preopen_is(g, h->o, ret_which);
}

guest_started *guest_started_take(const guest *g)
{
    const handle_table *t = &g->handles;
    if (!guest_is_new_but_handles(g))
        return NULL;
    guest_started *s = calloc(1, sizeof *s + (t->n + 1) * sizeof s->at[0]);
    if (!s)
        return NULL;
    s->n = t->n;
    s->free_first = t->free_first;
    s->live = t->live;
    uint32_t directories = 0;
    for (uint32_t i = 1; i < t->n; i++) {
        if (t->at[i].kind == HANDLE_FREE) {
            s->at[i].next = t->at[i].next;
        } else if (!left_find(g, &t->at[i], &s->at[i].what, &s->at[i].which)) {
            free(s);
            return NULL;
        }
        directories += s->at[i].what == LEFT_DIRECTORY;
    }
    if (g->files == directories)
        return s;
    free(s);
    return NULL;
}

bool guest_started_give(guest *g, const guest_started *s)
{
    handle_table *t = &g->handles;
    if (!handles_reserve(t, &g->pool, s->n))
        return false;
    for (uint32_t i = 1; i < s->n; i++) {
        t->at[i] = (handle){.kind = HANDLE_FREE, .next = s->at[i].next};
        if (s->at[i].what == LEFT_NOTHING)
            continue;
        object *o = s->at[i].what == LEFT_STREAM ? cli_stream_new(g, s->at[i].which)
                                                 : fs_preopen_new(g, s->at[i].which);
        if (!o)
            return false;
        t->at[i] = (handle){.kind = HANDLE_HOST, .o = o};
    }
    t->free_first = s->free_first;
    t->live = s->live;
    return true;
}
