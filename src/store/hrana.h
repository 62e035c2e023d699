/* SQL over HTTP as libSQL servers speak it: "The Hrana protocol", version 2 over HTTP, JSON
 * (POST /v2/pipeline). Pure: bytes in, bytes out.
 *
 * A stream is a connection of SQLite at the server. A request without a baton opens one; each
 * answer gives the baton for the next request, or none: then the stream is closed. */
#pragma once

#include "base/arena.h"
#include "store/message.h"

typedef struct {
    str baton;    /* empty: the stream is closed */
    str base_url; /* empty: the same as before */
} hrana_stream;

/* The body of a request that executes an SQL_EXECUTE message. ERR_INVALID: a value that JSON has
 * not (infinity, not a number). */
bool hrana_execute(store_message m, str baton, buf *out, err *e);
/* The body of a request that closes the stream. */
bool hrana_close(str baton, buf *out, err *e);
/* Reads the body of an answer to hrana_execute; the answer to the message goes to out (emptied
 * first), be it the statement's error. `ret` is in the arena. ERR_INVALID: it is no such answer. */
bool hrana_answer(bytes body, store_message m, buf *out, arena *a, hrana_stream *ret, err *e);
