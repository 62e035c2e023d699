/* Tenants, tokens, and the audit log (see catalogue.h).
 * A token is revoked by taking its row away; the audit log remembers that there was one. */
#include "store/catalogue_impl.h"

#include "base/limits.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

enum { TENANT_NAME_MAX = 32, TOKEN_NAME_MAX = 100, TOKEN_BYTES = 32 };

/* --- tenants ---------------------------------------------------------------------------------- */

static bool tenant_name_is(str s)
{
    bool ok = s.n > 0 && s.n <= TENANT_NAME_MAX && s.p[0] >= 'a' && s.p[0] <= 'z';
    for (size_t i = 1; ok && i < s.n; i++)
        ok = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9');
    return ok;
}

bool catalogue_tenant_add(catalogue_db *db, str name, str quota, int64_t now_s, uint64_t *ret_id,
                          err *e)
{
    if (!tenant_name_is(name))
        return err_set(e, ERR_INVALID,
                       "'%.*s' can't be a tenant's name: it begins with a letter and has small "
                       "letters and digits, at most %d",
                       STR(str_head(name, 100)), TENANT_NAME_MAX);
    if (!db_run(db, e, "INSERT OR IGNORE INTO tenants (name, quota, made_s) VALUES (?1, ?2, ?3)",
                "tti", name, quota, now_s))
        return false;
    if (!sqlite3_changes(db->db))
        return err_set(e, ERR_CONFLICT, "there is a tenant '%.*s' already", STR(name));
    *ret_id = (uint64_t)sqlite3_last_insert_rowid(db->db);
    return true;
}

static bool tenant_row(arena *a, sqlite3_stmt *s, catalogue_tenant *t, err *e)
{
    *t = (catalogue_tenant){.id = (uint64_t)sqlite3_column_int64(s, 0),
                            .name = db_text(a, s, 1),
                            .quota = db_text(a, s, 2),
                            .made_s = sqlite3_column_int64(s, 3),
                            .egress = db_text(a, s, 4)};
    return (t->name.p && t->quota.p && t->egress.p) || err_no_memory(e);
}

bool catalogue_tenant_find(catalogue_db *db, arena *a, str name, catalogue_tenant *ret, err *e)
{
    catalogue_tenant t = {0};
    sqlite3_stmt *s = db_query(
        db, e, "SELECT id, name, quota, made_s, egress FROM tenants WHERE name = ?1", "t", name);
    int more = s ? db_next(db, s, e) : -1;
    bool ok = more == 0 || (more > 0 && tenant_row(a, s, &t, e));
    if (more > 0)
        db_end(s);
    if (ok)
        *ret = t;
    return ok;
}

bool catalogue_tenants(catalogue_db *db, arena *a, str after, catalogue_tenant **ret, size_t *ret_n,
                       err *e)
{
    catalogue_tenant *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s =
        db_query(db, e,
                 "SELECT id, name, quota, made_s, egress FROM tenants WHERE name > ?1 "
                 "ORDER BY name LIMIT ?2",
                 "ti", after, (int64_t)CATALOGUE_PAGE_MAX);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        if (!tenant_row(a, s, &all[n++], e))
            return db_end(s), false;
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

bool catalogue_quota_set(catalogue_db *db, uint64_t tenant, str quota, err *e)
{
    return db_run(db, e, "UPDATE tenants SET quota = ?2 WHERE id = ?1", "it", (int64_t)tenant,
                  quota);
}

bool catalogue_egress_set(catalogue_db *db, uint64_t tenant, str networks, err *e)
{
    return db_run(db, e, "UPDATE tenants SET egress = ?2 WHERE id = ?1", "it", (int64_t)tenant,
                  networks);
}

bool catalogue_tenant_remove(catalogue_db *db, uint64_t tenant, err *e)
{
    uint64_t apps;
    int64_t id = (int64_t)tenant;
    if (!catalogue_apps_count(db, tenant, &apps, e))
        return false;
    if (apps)
        return err_set(e, ERR_CONFLICT, "the tenant has %llu app%s; delete them first",
                       (unsigned long long)apps, apps == 1 ? "" : "s");
    /* Its blobs are nobody's now: the collector takes rows and files. Numbers come only once. */
    return db_run(db, e, "DELETE FROM tokens WHERE tenant = ?1", "i", id) &&
           db_run(db, e, "DELETE FROM tenants WHERE id = ?1", "i", id);
}

/* --- tokens ----------------------------------------------------------------------------------- */

void catalogue_token_hash(str token, uint8_t ret[CATALOGUE_DIGEST_BYTES])
{
    unsigned n;
    EVP_Digest(token.p ? token.p : "", token.n, ret, &n, EVP_sha256(), NULL);
}

bool catalogue_token_make(char ret[64], err *e)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[TOKEN_BYTES + 1] = {0};
    size_t n = 4;
    if (RAND_bytes(random, TOKEN_BYTES) != 1)
        return err_set(e, ERR_INTERNAL, "no random numbers");
    memcpy(ret, "ebb_", 4);
    for (unsigned bit = 0; bit < TOKEN_BYTES * 8; bit += 6) {
        unsigned two = (unsigned)random[bit / 8] << 8 | random[bit / 8 + 1];
        ret[n++] = letters[two >> (10 - bit % 8) & 63];
    }
    ret[n] = 0;
    return true;
}

bool catalogue_token_add(catalogue_db *db, const uint8_t hash[CATALOGUE_DIGEST_BYTES],
                         const catalogue_token *t, uint64_t *ret_id, err *e)
{
    if (t->name.n > TOKEN_NAME_MAX)
        return err_set(e, ERR_INVALID, "a token's name has at most %d bytes", TOKEN_NAME_MAX);
    if (!db_run(db, e,
                "INSERT INTO tokens (hash, tenant, role, name, made_s, expires_s) VALUES (?1, ?2, "
                "?3, ?4, ?5, ?6)",
                "biitii", (bytes){hash, CATALOGUE_DIGEST_BYTES}, (int64_t)t->tenant,
                (int64_t)t->role, t->name, t->made_s, t->expires_s))
        return false;
    *ret_id = (uint64_t)sqlite3_last_insert_rowid(db->db);
    return true;
}

#define TOKEN_SELECT                                                                               \
    "SELECT k.id, k.tenant, k.role, k.name, k.made_s, k.expires_s, coalesce(t.name, '')"           \
    " FROM tokens k LEFT JOIN tenants t ON t.id = k.tenant"

static bool token_row(arena *a, sqlite3_stmt *s, catalogue_token *t, err *e)
{
    *t = (catalogue_token){.id = (uint64_t)sqlite3_column_int64(s, 0),
                           .tenant = (uint64_t)sqlite3_column_int64(s, 1),
                           .role = (catalogue_role)sqlite3_column_int(s, 2),
                           .name = db_text(a, s, 3),
                           .made_s = sqlite3_column_int64(s, 4),
                           .expires_s = sqlite3_column_int64(s, 5),
                           .tenant_name = db_text(a, s, 6)};
    return (t->name.p && t->tenant_name.p) || err_no_memory(e);
}

bool catalogue_token_find(catalogue_db *db, arena *a, const uint8_t hash[CATALOGUE_DIGEST_BYTES],
                          int64_t now_s, catalogue_token *ret, err *e)
{
    catalogue_token t = {0};
    sqlite3_stmt *s =
        db_query(db, e, TOKEN_SELECT " WHERE k.hash = ?1 AND (k.expires_s = 0 OR k.expires_s > ?2)",
                 "bi", (bytes){hash, CATALOGUE_DIGEST_BYTES}, now_s);
    int more = s ? db_next(db, s, e) : -1;
    bool ok = more == 0 || (more > 0 && token_row(a, s, &t, e));
    if (more > 0)
        db_end(s);
    if (ok)
        *ret = t;
    return ok;
}

bool catalogue_tokens(catalogue_db *db, arena *a, uint64_t tenant, catalogue_token **ret,
                      size_t *ret_n, err *e)
{
    catalogue_token *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s =
        db_query(db, e, TOKEN_SELECT " WHERE k.tenant = ?1 ORDER BY k.id DESC LIMIT ?2", "ii",
                 (int64_t)tenant, (int64_t)CATALOGUE_PAGE_MAX);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        if (!token_row(a, s, &all[n++], e))
            return db_end(s), false;
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

bool catalogue_token_remove(catalogue_db *db, uint64_t tenant, uint64_t id, err *e)
{
    if (!db_run(db, e, "DELETE FROM tokens WHERE id = ?1 AND tenant = ?2", "ii", (int64_t)id,
                (int64_t)tenant))
        return false;
    return sqlite3_changes(db->db) ||
           err_set(e, ERR_NOT_FOUND, "no token %llu here", (unsigned long long)id);
}

/* --- audit ------------------------------------------------------------------------------------ */

bool catalogue_audit_add(catalogue_db *db, int64_t t_s, uint64_t tenant, str actor, str action,
                         str subject, err *e)
{
    if (!db_run(db, e,
                "INSERT INTO audit (t_s, tenant, actor, action, subject) VALUES (?1, ?2, ?3, ?4, "
                "?5)",
                "iittt", t_s, (int64_t)tenant, actor, action, str_head(subject, 500)))
        return false;
    int64_t id = sqlite3_last_insert_rowid(db->db);
    /* In pieces, so that no one job pays for many. */
    return id % 100 || db_run(db, e, "DELETE FROM audit WHERE id <= ?1", "i",
                              id - (int64_t)CATALOGUE_AUDIT_MAX);
}

bool catalogue_audit(catalogue_db *db, arena *a, uint64_t tenant, uint64_t before,
                     catalogue_event **ret, size_t *ret_n, err *e)
{
    catalogue_event *all = NULL;
    size_t n = 0, room = 0;
    int64_t end = before ? (int64_t)before : INT64_MAX;
#define AUDIT                                                                                      \
    "SELECT a.id, a.t_s, coalesce(t.name, ''), a.actor, a.action, a.subject FROM audit a LEFT"     \
    " JOIN tenants t ON t.id = a.tenant WHERE a.id < ?2"
    sqlite3_stmt *s = tenant
                          ? db_query(db, e, AUDIT " AND a.tenant = ?1 ORDER BY a.id DESC LIMIT ?3",
                                     "iii", (int64_t)tenant, end, (int64_t)CATALOGUE_PAGE_MAX)
                          : db_query(db, e, AUDIT " AND ?1 = 0 ORDER BY a.id DESC LIMIT ?3", "iii",
                                     (int64_t)0, end, (int64_t)CATALOGUE_PAGE_MAX);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        all[n++] = (catalogue_event){.id = (uint64_t)sqlite3_column_int64(s, 0),
                                     .t_s = sqlite3_column_int64(s, 1),
                                     .tenant = db_text(a, s, 2),
                                     .actor = db_text(a, s, 3),
                                     .action = db_text(a, s, 4),
                                     .subject = db_text(a, s, 5)};
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}
