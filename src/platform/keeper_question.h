/* A question to the keeper about use and carbon: a request that waits until every worker has told
 * what it holds, and then is answered from the records. Private to keeper_*.c.
 *
 * A question that follows is answered again at the end of every 10-second window, as server-sent
 * events (HTML, "Server-sent events": one `data:` line each). One timer serves all that follow;
 * without any there is none. A client that does not read is not answered again until it has read.
 * Events end after FOLLOW_NS: whoever asks again shows its token again, and gets the apps that it
 * has by then. */
#pragma once

#include "platform/keeper_impl.h"

struct question {
    question *next;
    keeper *k;
    http_exchange *x; /* NULL: whoever asked has gone */
    arena a;
    buf body;
    size_t written;
    enum {
        QUESTION_ASKED,     /* in keeper.questions */
        QUESTION_ANSWERING, /* body goes out */
        QUESTION_WATCHING,  /* in keeper.watchers, until the window is over */
    } state;
    bool follows;
    bool counted;     /* in keeper.followers, until it is freed */
    ns until_mono;    /* of one that follows */
    str path;         /* what is asked; empty: the request's own path */
    arena kept;       /* what lives as long as the question; a is emptied by each answer */
    keeper_app *apps; /* of the tenant that asks; NULL: the operator */
    size_t apps_count;
};

/* keeper_admin.c: puts the answer into q->body. ERR_NOT_FOUND: nobody knows such a question. */
bool question_put(question *q, str *ret_type, err *e);
bool question_follows(str target);
