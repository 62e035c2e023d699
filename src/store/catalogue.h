/* The catalogue: who and what is on this node, in one SQLite file (platform.db) that the keeper
 * alone opens. Tenants, tokens, apps, their revisions and hosts, variables, blobs, the audit log.
 *
 * Two connections. The reading one belongs to the thread of the loop: finding an app by host is two
 * reads by index, and no fsync is ever in its way (WAL). The writing one belongs to jobs, which run
 * one after the other on a work thread; those that wait when one batch ends share the next
 * transaction and so its one fsync.
 *
 * Invariants
 * - A job's done is called after its transaction is on disk, or with ok false and nothing of it
 *   having happened. A job that fails takes no other along (savepoints).
 * - apps.id is never used again, so that what lies in state/<id> belongs to nobody else.
 * - Settings and values of variables are sealed (seal.h): they are in clear nowhere on disk.
 * - Nothing is read at start but the schema's version, whatever the number of apps.
 * - An app that is deployed has a live revision: old or new, never neither.
 * Names: a tenant's is [a-z][a-z0-9]{0,31}, an app's a DNS label, so that the default host
 * <app>-<tenant>.<domain> splits at its last '-'. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "loop/loop.h"
#include "store/seal.h"

enum { CATALOGUE_DIGEST_BYTES = 32, CATALOGUE_PAGE_MAX = 1000 };

typedef struct catalogue catalogue;
typedef struct catalogue_db catalogue_db; /* a connection with its prepared statements */

/* domain: of the default hosts, "localhost"; copied. The file is made if it is missing. */
bool catalogue_open(loop *l, const char *path, str domain, const seal_key *key, catalogue **ret,
                    err *e);
/* Waits for jobs that were submitted. NULL is allowed. */
void catalogue_close(catalogue *c);
/* For the thread of the loop only; not for writing. */
catalogue_db *catalogue_reading(catalogue *c);

/* A connection without a loop, for set-up and tests. */
bool catalogue_db_open(const char *path, const seal_key *key, catalogue_db **ret, err *e);
void catalogue_db_close(catalogue_db *db);
/* Would the file, which is there, open by its schema? It is only read, never brought up to date;
 * nothing but the empty log that SQLite keeps beside it may be new. */
bool catalogue_schema_check(const char *path, err *e);

/* --- jobs ------------------------------------------------------------------------------------- */

typedef struct catalogue_job catalogue_job;
struct catalogue_job {
    /* On a work thread, inside a transaction. False: nothing that it wrote remains. */
    bool (*apply)(catalogue_job *j, catalogue_db *db, err *e);
    /* On the loop. The job is the caller's again. */
    void (*done)(catalogue_job *j);
    bool ok;
    err e;
    catalogue_job *next; /* private */
};
/* For set-up: applies it here and now; done is not called. */
bool catalogue_apply(catalogue_db *db, catalogue_job *j);
/* Embedded in what it belongs to; stays in place until done. */
void catalogue_submit(catalogue *c, catalogue_job *j);

/* --- finding ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t app, tenant; /* app 0: no app has this host */
    uint32_t revision;
    str app_name, tenant_name;
    str settings; /* what a worker needs of the app, JSON */
    str quota;    /* of the tenant, JSON */
    str egress;   /* networks that it may reach besides, with commas */
} catalogue_found;

/* host: with or without port, any case. The default domain comes first, then hosts that tenants
 * took, then wildcards ("*.example.com" has one label in place of the star). All in the arena. */
bool catalogue_find(catalogue *c, str host, arena *a, catalogue_found *ret, err *e);
/* A kept revision of an app, live or not (0: the live one), for a deferred call that it has
 * accepted. ret->app 0: the app has gone, or the revision is not kept any more. */
bool catalogue_find_revision(catalogue *c, uint64_t app, uint32_t revision, arena *a,
                             catalogue_found *ret, err *e);

/* --- tenants and tokens ----------------------------------------------------------------------- */

typedef struct {
    uint64_t id; /* 0: none */
    str name, quota, egress;
    int64_t made_s;
} catalogue_tenant;

/* ERR_INVALID: no such name may be; ERR_CONFLICT: it is there. */
bool catalogue_tenant_add(catalogue_db *db, str name, str quota, int64_t now_s, uint64_t *ret_id,
                          err *e);
bool catalogue_tenant_find(catalogue_db *db, arena *a, str name, catalogue_tenant *ret, err *e);
/* Names after `after`, in order, at most CATALOGUE_PAGE_MAX. */
bool catalogue_tenants(catalogue_db *db, arena *a, str after, catalogue_tenant **ret, size_t *ret_n,
                       err *e);
bool catalogue_quota_set(catalogue_db *db, uint64_t tenant, str quota, err *e);
/* Networks with commas; they are not looked into here. */
bool catalogue_egress_set(catalogue_db *db, uint64_t tenant, str networks, err *e);
/* ERR_CONFLICT: it has apps. Its tokens go with it; its blobs are collected. */
bool catalogue_tenant_remove(catalogue_db *db, uint64_t tenant, err *e);

typedef enum {
    CATALOGUE_NOBODY,
    CATALOGUE_READER,
    CATALOGUE_DEPLOYER,
    CATALOGUE_OWNER,
    CATALOGUE_OPERATOR,
} catalogue_role;

typedef struct {
    uint64_t id;     /* 0: none */
    uint64_t tenant; /* 0: of the operator */
    str tenant_name, name;
    catalogue_role role;
    int64_t made_s, expires_s; /* 0: never */
} catalogue_token;

/* What is kept of a token: SHA-256 of its text. Tokens have 256 random bits, so no salt and no slow
 * hash is needed. */
void catalogue_token_hash(str token, uint8_t ret[CATALOGUE_DIGEST_BYTES]);
/* A new token: "ebb_" and 43 letters. */
bool catalogue_token_make(char ret[64], err *e);
bool catalogue_token_add(catalogue_db *db, const uint8_t hash[CATALOGUE_DIGEST_BYTES],
                         const catalogue_token *t, uint64_t *ret_id, err *e);
/* ret->id 0: unknown, or expired by now_s. */
bool catalogue_token_find(catalogue_db *db, arena *a, const uint8_t hash[CATALOGUE_DIGEST_BYTES],
                          int64_t now_s, catalogue_token *ret, err *e);
bool catalogue_tokens(catalogue_db *db, arena *a, uint64_t tenant, catalogue_token **ret,
                      size_t *ret_n, err *e);
/* Revokes it. ERR_NOT_FOUND: the tenant has none of this number. */
bool catalogue_token_remove(catalogue_db *db, uint64_t tenant, uint64_t id, err *e);

/* --- apps ------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t id; /* 0: none */
    uint64_t tenant;
    str name;
    uint32_t revision; /* the live one; from 1 */
    int64_t made_s;    /* of that revision */
} catalogue_app;

typedef struct {
    uint32_t number;
    int64_t made_s;
} catalogue_revision;

/* The label that an app of this name gets: lower case, '-' for what a label can't have, at most 40
 * bytes. ERR_INVALID: nothing is left. */
bool catalogue_app_label(arena *a, str name, str *ret, err *e);
bool catalogue_app_find(catalogue_db *db, arena *a, uint64_t tenant, str name, catalogue_app *ret,
                        err *e);
/* "<tenant>/<app>"; empty: it has gone. */
bool catalogue_app_name(catalogue_db *db, arena *a, uint64_t id, str *ret, err *e);
bool catalogue_apps(catalogue_db *db, arena *a, uint64_t tenant, str after, catalogue_app **ret,
                    size_t *ret_n, err *e);
/* Numbers of all apps. */
bool catalogue_app_ids(catalogue_db *db, arena *a, uint64_t **ret, size_t *ret_n, err *e);
/* Of a tenant; 0: of all. */
bool catalogue_apps_count(catalogue_db *db, uint64_t tenant, uint64_t *ret, err *e);
/* Finds the app or makes it, without a revision: only for a job that adds one. */
bool catalogue_app_ensure(catalogue_db *db, arena *a, uint64_t tenant, str name, catalogue_app *ret,
                          err *e);
/* Makes a revision live. digests: the blobs that it needs, which the tenant must have. holds_s: how
 * long a call that it accepts may wait for it. Only the newest `keep` revisions stay, and those for
 * which calls may wait. */
bool catalogue_revision_add(catalogue_db *db, catalogue_app *app, str settings,
                            const uint8_t (*digests)[CATALOGUE_DIGEST_BYTES], size_t digests_n,
                            uint32_t keep, int64_t holds_s, int64_t now_s, err *e);
/* The settings of a kept revision; number 0: of the live one. ERR_NOT_FOUND. */
bool catalogue_revision_settings(catalogue_db *db, arena *a, const catalogue_app *app,
                                 uint32_t number, str *ret, err *e);
/* Other settings for the same revision (variables have changed). */
bool catalogue_revision_set(catalogue_db *db, const catalogue_app *app, str settings, err *e);
/* A kept revision becomes the live one. ERR_NOT_FOUND. */
bool catalogue_revision_use(catalogue_db *db, catalogue_app *app, uint32_t number, int64_t now_s,
                            err *e);
bool catalogue_revisions(catalogue_db *db, arena *a, uint64_t app, catalogue_revision **ret,
                         size_t *ret_n, err *e);
/* With its revisions, hosts and variables. */
bool catalogue_app_remove(catalogue_db *db, const catalogue_app *app, err *e);

/* Hosts that are the app's from now on, instead of those before. ERR_CONFLICT: another app has one
 * of them; ERR_DENIED: wildcards and names below the domain are the operator's. */
bool catalogue_hosts_set(catalogue_db *db, arena *a, const catalogue_app *app, const str *hosts,
                         size_t n, str domain, bool is_operator, err *e);
bool catalogue_hosts(catalogue_db *db, arena *a, uint64_t app, str **ret, size_t *ret_n, err *e);

typedef struct {
    str name, value;
} catalogue_variable;

/* value.p NULL takes it away. */
bool catalogue_variable_set(catalogue_db *db, uint64_t app, str name, str value, err *e);
bool catalogue_variables(catalogue_db *db, arena *a, uint64_t app, catalogue_variable **ret,
                         size_t *ret_n, err *e);

/* A number that every node with this key gives that name of a kind, from 2^62 on, where no number
 * of a catalogue is; nobody without the key can look for names that share one. */
bool catalogue_shared_number(const catalogue_db *db, str kind, str name, uint64_t *ret, err *e);

/* --- blobs ------------------------------------------------------------------------------------ */

/* A tenant has a blob that it has sent itself: that another one has it, it can't find out. */
bool catalogue_blob_find(catalogue_db *db, uint64_t tenant,
                         const uint8_t digest[CATALOGUE_DIGEST_BYTES], bool *ret,
                         uint64_t *ret_bytes, err *e);
bool catalogue_blob_add(catalogue_db *db, uint64_t tenant,
                        const uint8_t digest[CATALOGUE_DIGEST_BYTES], uint64_t bytes, int64_t now_s,
                        err *e);
/* Does any tenant have it? */
bool catalogue_blob_held(catalogue_db *db, const uint8_t digest[CATALOGUE_DIGEST_BYTES], bool *ret,
                         err *e);
/* Of all its blobs. */
bool catalogue_blob_bytes(catalogue_db *db, uint64_t tenant, uint64_t *ret, err *e);
/* Forgets blobs of tenants that no kept revision of theirs needs and that are older than before_s;
 * *ret: digests that now nobody has, whose files may go. */
bool catalogue_blobs_collect(catalogue_db *db, arena *a, int64_t before_s,
                             uint8_t (**ret)[CATALOGUE_DIGEST_BYTES], size_t *ret_n, err *e);

/* --- audit ------------------------------------------------------------------------------------ */

typedef struct {
    uint64_t id;
    int64_t t_s;
    str tenant, actor, action, subject;
} catalogue_event;

/* tenant 0: it concerns the node. Only the newest CATALOGUE_AUDIT_MAX (limits.h) are kept. */
bool catalogue_audit_add(catalogue_db *db, int64_t t_s, uint64_t tenant, str actor, str action,
                         str subject, err *e);
/* The newest first, older than `before` (0: all); tenant 0: of everybody. */
bool catalogue_audit(catalogue_db *db, arena *a, uint64_t tenant, uint64_t before,
                     catalogue_event **ret, size_t *ret_n, err *e);
