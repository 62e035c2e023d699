/* Shared by the files of the store's server:
 *
 *     server.c        connections of workers; a message becomes a request (pending.c)
 *     server_store.c  what the number in it means
 *     kv_server.c, kv_redis.c, sql_server.c, queue_server.c: who carries it out and answers it */
#pragma once

#include "base/arena.h"
#include "loop/loop.h"
#include "store/message.h"
#include "store/server.h"

typedef struct store_connection store_connection;
typedef struct store store;
typedef struct pending pending;
typedef struct kv_server kv_server;
typedef struct kv_target kv_target; /* a key-value file */
typedef struct queue_server queue_server;
typedef struct sql_server sql_server;
typedef struct sql_session sql_session;
typedef struct sql_target sql_target; /* a database */

/* --- pending.c: a request on its way ---------------------------------------------------------- */

struct pending {
    pending *next;
    store_connection *from; /* NULL: it has gone, nobody wants the answer */
    store *of;              /* what it is for, held; NULL: a database of the configuration */
    int fd;                 /* -1, or where the items are */
    uint8_t *items;         /* those in the file, if they were read */
    buf answer;
    /* of SQL */
    sql_target *db;
    sql_session *session;
    ns deadline;  /* of its wait for another writer */
    uint64_t seq; /* the commits that have to be durable before it is answered */
    /* the message as it came */
    size_t n;
    uint8_t message[];
};

/* Takes fd, where it succeeds. NULL: no memory. */
pending *pending_new(store_connection *from, bytes message, int fd);
/* The message; its items are missing where they are in a file and were not read. */
store_message pending_message(const pending *p);
/* The items of a large request, read into memory, for the caller to free or keep in p->items.
 * NULL: *e says why. */
uint8_t *pending_items_load(const pending *p, store_message *m, err *e);
/* The answer becomes a refusal: STORE_FAILED. */
void pending_refuse(pending *p, const char *reason);
/* Sends the answer and frees the request. */
void pending_answer(pending *p);
/* Refuses it, sends that and frees the request. */
void pending_fail(pending *p, const char *reason);

typedef struct {
    pending *first, **last;
} pending_list;

void pending_list_push(pending_list *l, pending *p);
/* NULL: it is empty. */
pending *pending_list_pop(pending_list *l);
/* Takes all. */
pending *pending_list_take(pending_list *l);
void pending_list_remove(pending_list *l, const pending *p);

/* --- server.c --------------------------------------------------------------------------------- */

struct store_server {
    loop *l;
    arena a;
    store *stores; /* of the configuration */
    size_t stores_count;
    str state_dir; /* empty: there are those of the configuration only */
    store_connection *connections;
    unsigned connections_count;
    loop_hook *hook;
    kv_server *kv;
    sql_server *sql;
    queue_server *queue; /* NULL: there is none */
    void (*on_fewer)(void *user);
    void *user;
};

struct store_connection {
    store_server *s;
    struct channel *c;
    store_connection *next;
    buf out;       /* short answers of this turn */
    store **names; /* by number; where there is a folder of states */
    size_t names_size;
};

/* An answer to that worker. ERR_LIMIT and others: there is no room for a large one. */
bool store_connection_answer(store_connection *c, const buf *b, err *e);

/* --- server_store.c: what a number means: of the configuration, or a connection's name -------- */

struct store {
    store_server *s;
    unsigned users; /* the name, and requests on their way; those of the configuration stay */
    str label;
    kv_target *kv;          /* of a key-value store in a file or in memory */
    struct kv_redis *redis; /* or where that is */
    sql_target *db;         /* of a database */
    str folder;             /* of the app; empty: it is there */
};

/* Those of the configuration. ERR_NO_MEMORY, or what Redis' URL is not. */
bool stores_make(store_server *s, const store_config *config, err *e);
void stores_free(store_server *s);
/* NULL: it means nothing. */
store *store_of(const store_connection *c, uint16_t number);
/* Once there is no user, it goes. NULL is allowed. */
void store_unuse(store *x);
/* A worker says what a number of its means. False: it is no naming. One for which there is no
 * memory, or whose label is too long, means nothing: its requests are refused. */
bool store_name_take(store_connection *c, store_message m);
void store_names_free(store_connection *c);
/* The folder of an app is made by the first request that may write; its entry is durable before
 * anything in it is. What fails shows when the file is opened. */
void store_folder_make(store *x);

/* --- kv_server.c: key-value files ------------------------------------------------------------- */

bool kv_server_new(loop *l, kv_server **ret, err *e);
/* Closes what is open; nobody has a target any more. NULL is allowed. */
void kv_server_free(kv_server *s);
/* A file, found by its path or made, until it is let go of. NULL: no memory. */
kv_target *kv_server_file(kv_server *s, str path);
/* A store in memory, which is made with those keys and values in turn (borrowed). NULL: no
 * memory. */
kv_target *kv_server_memory(kv_server *s, str label, const str *initial, size_t initial_count);
/* NULL is allowed. */
void kv_server_let(kv_target *t);
/* Takes a request of a KV_* kind to the file of p->of. */
void kv_server_take(pending *p);
/* That worker has gone: nobody wants its answers. */
void kv_server_forget(kv_server *s, const store_connection *c);
/* For reading (kv_reader.h), borrowed; -1: not now. *ret_opening numbers how often it was opened.
 */
int kv_server_lend(const kv_target *t, unsigned part, uint16_t *ret_opening);
/* Carries out what has arrived. */
void kv_server_run(kv_server *s);
unsigned kv_server_files_open(const kv_server *s);

/* --- sql_server.c ----------------------------------------------------------------------------- */

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

/* --- queue_server.c: deferred calls; a NULL server is none ------------------------------------ */

/* The configuration is copied. */
bool queue_server_new(loop *l, const store_queue *config, queue_server **ret, err *e);
/* Takes a request of kind QUEUE_... */
void queue_server_take(queue_server *s, pending *p);
/* That worker has gone: nobody wants its answers. */
void queue_server_forget(queue_server *s, const store_connection *c);
/* Carries out what has arrived. */
void queue_server_run(queue_server *s);
bool queue_server_is_open(const queue_server *s);
/* Waits for what runs. */
void queue_server_free(queue_server *s);
