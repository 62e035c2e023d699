/* Shared by the files of the store's server: a request on its way. */
#pragma once

#include "loop/loop.h"
#include "store/message.h"
#include "store/server.h"

typedef struct store_connection store_connection;
typedef struct pending pending;
typedef struct sql_session sql_session;
typedef struct sql_target sql_target; /* a database */

struct pending {
    pending *next;
    store_connection *from; /* NULL: it has gone, nobody wants the answer */
    int fd;                 /* -1, or where the items are */
    buf answer;
    struct store *of; /* NULL: of SQL */
    /* of SQL */
    sql_target *db;
    sql_session *session;
    uint8_t *items; /* those in the file, read */
    ns deadline;    /* of its wait for another writer */
    uint64_t seq;   /* the commits that have to be durable before it is answered */
    /* the message as it came */
    size_t n;
    uint8_t message[];
};

/* The message; its items are missing where they are in a file. */
store_message pending_message(const pending *p);
/* The items of a large request, read into memory. NULL: *e says why. */
uint8_t *pending_items_load(const pending *p, store_message *m, err *e);
/* The answer becomes a refusal. */
void pending_refuse(pending *p, store_kind kind, const char *reason);
/* Sends the answer and frees the request. */
void pending_answer(pending *p);

typedef struct sql_server sql_server;

bool sql_server_new(loop *l, const sql_database *at, size_t count, sql_server **ret, err *e);
/* One of those it was made with; NULL: there is none. */
sql_target *sql_server_at(sql_server *s, size_t index);
/* A database in a file, found or made, until it is let go of. NULL: no memory. */
sql_target *sql_server_named(sql_server *s, str path, str label);
/* NULL is allowed. */
void sql_server_let(sql_target *t);
/* Takes a request of kind SQL_EXECUTE or SQL_CLOSE to p->db. */
void sql_server_take(sql_server *s, pending *p);
/* What that connection had open is closed, what it runs is stopped. */
void sql_server_forget(sql_server *s, const store_connection *c);
unsigned sql_server_files_open(const sql_server *s);
/* Stops what runs and waits for its end. NULL is allowed. */
void sql_server_free(sql_server *s);
