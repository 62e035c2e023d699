/* Apps: revisions, hosts, variables, and the blobs that they need (see catalogue.h).
 * A revision names the blobs that it needs; what no kept one needs, the collector may take. */
#include "store/catalogue_impl.h"

#include "base/limits.h"

#include <openssl/hmac.h>

enum { LABEL_MAX = 40, REVISION_BITS = 20, HOST_BYTES_MAX = 253, HOSTS_MAX = 100 };

static int64_t revision_id(uint64_t app, uint32_t number)
{
    return (int64_t)(app << REVISION_BITS | number);
}

/* --- apps ------------------------------------------------------------------------------------- */

bool catalogue_app_label(arena *a, str name, str *ret, err *e)
{
    char *out = arena_alloc(a, name.n + 1);
    size_t n = 0;
    if (!out)
        return err_no_memory(e);
    for (size_t i = 0; i < name.n && n < LABEL_MAX; i++) {
        char c = name.p[i];
        c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain || (n && out[n - 1] != '-'))
            out[n++] = plain ? c : '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    out[n] = 0;
    if (!n)
        return err_set(e, ERR_INVALID,
                       "the app's name '%.*s' has no letter and no digit to make a host of",
                       STR(str_head(name, 100)));
    *ret = (str){out, n};
    return true;
}

#define APP_SELECT                                                                                 \
    "SELECT a.id, a.tenant, a.name, a.revision, coalesce(r.made_s, 0) FROM apps a LEFT JOIN"       \
    " revisions r ON r.id = (a.id << 20) | a.revision"

static bool app_row(arena *a, sqlite3_stmt *s, catalogue_app *x, err *e)
{
    *x = (catalogue_app){.id = (uint64_t)sqlite3_column_int64(s, 0),
                         .tenant = (uint64_t)sqlite3_column_int64(s, 1),
                         .name = db_text(a, s, 2),
                         .revision = (uint32_t)sqlite3_column_int64(s, 3),
                         .made_s = sqlite3_column_int64(s, 4)};
    return x->name.p || err_no_memory(e);
}

bool catalogue_app_find(catalogue_db *db, arena *a, uint64_t tenant, str name, catalogue_app *ret,
                        err *e)
{
    catalogue_app x = {0};
    sqlite3_stmt *s = db_query(db, e, APP_SELECT " WHERE a.tenant = ?1 AND a.name = ?2", "it",
                               (int64_t)tenant, name);
    int more = s ? db_next(db, s, e) : -1;
    bool ok = more == 0 || (more > 0 && app_row(a, s, &x, e));
    if (more > 0)
        db_end(s);
    if (ok)
        *ret = x;
    return ok;
}

bool catalogue_app_name(catalogue_db *db, arena *a, uint64_t id, str *ret, err *e)
{
    sqlite3_stmt *s = db_query(db, e,
                               "SELECT t.name || '/' || a.name FROM apps a JOIN tenants t ON t.id "
                               "= a.tenant WHERE a.id = ?1",
                               "i", (int64_t)id);
    int more = s ? db_next(db, s, e) : -1;
    *ret = more > 0 ? db_text(a, s, 0) : (str){0};
    if (more > 0)
        db_end(s);
    return more >= 0;
}

bool catalogue_apps(catalogue_db *db, arena *a, uint64_t tenant, str after, catalogue_app **ret,
                    size_t *ret_n, err *e)
{
    catalogue_app *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s =
        db_query(db, e, APP_SELECT " WHERE a.tenant = ?1 AND a.name > ?2 ORDER BY a.name LIMIT ?3",
                 "iti", (int64_t)tenant, after, (int64_t)CATALOGUE_PAGE_MAX);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        if (!app_row(a, s, &all[n++], e))
            return db_end(s), false;
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

bool catalogue_app_ids(catalogue_db *db, arena *a, uint64_t **ret, size_t *ret_n, err *e)
{
    uint64_t *all = NULL;
    size_t n = 0, room = 0;
    int more = -1;
    sqlite3_stmt *s = db_query(db, e, "SELECT id FROM apps ORDER BY id", "");
    while (s && (more = db_next(db, s, e)) > 0) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        all[n++] = (uint64_t)sqlite3_column_int64(s, 0);
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

bool catalogue_apps_count(catalogue_db *db, uint64_t tenant, uint64_t *ret, err *e)
{
    int64_t n = 0;
    bool ok = tenant ? db_number(db, e, &n, "SELECT count(*) FROM apps WHERE tenant = ?1", "i",
                                 (int64_t)tenant)
                     : db_number(db, e, &n, "SELECT count(*) FROM apps", "");
    if (ok)
        *ret = (uint64_t)n;
    return ok;
}

bool catalogue_app_ensure(catalogue_db *db, arena *a, uint64_t tenant, str name, catalogue_app *ret,
                          err *e)
{
    if (!catalogue_app_find(db, a, tenant, name, ret, e))
        return false;
    if (ret->id)
        return true;
    if (!db_run(db, e, "INSERT INTO apps (tenant, name, revision) VALUES (?1, ?2, 0)", "it",
                (int64_t)tenant, name))
        return false;
    *ret = (catalogue_app){
        .id = (uint64_t)sqlite3_last_insert_rowid(db->db), .tenant = tenant, .name = name};
    return true;
}

/* Of an app's revisions up to, without, the row `to` those for which no call may wait at now_s. */
static bool revisions_drop(catalogue_db *db, uint64_t app, int64_t to, int64_t now_s, err *e)
{
    int64_t from = revision_id(app, 0);
    return db_run(db, e,
                  "DELETE FROM needs WHERE revision IN (SELECT id FROM revisions WHERE id >= ?1"
                  " AND id < ?2 AND left_s + holds_s <= ?3)",
                  "iii", from, to, now_s) &&
           db_run(db, e,
                  "DELETE FROM revisions WHERE id >= ?1 AND id < ?2 AND left_s + holds_s <= ?3",
                  "iii", from, to, now_s);
}

str catalogue_settings_place(char place[64], uint64_t app)
{
    int n = snprintf(place, 64, "settings %llu", (unsigned long long)app);
    return (str){place, (size_t)n};
}

/* holds_s and now_s: of a row that is new. */
static bool settings_put(catalogue_db *db, int64_t id, str settings, int64_t holds_s, int64_t now_s,
                         err *e)
{
    char place[64];
    _cleanup_(buf_fini) buf sealed;
    buf_init(&sealed, APP_LOCKED_BYTES_MAX + MIB);
    return seal_put(&db->key, catalogue_settings_place(place, (uint64_t)id >> REVISION_BITS),
                    (bytes){(const uint8_t *)settings.p, settings.n}, &sealed, e) &&
           db_run(db, e,
                  "INSERT INTO revisions (id, made_s, settings, holds_s) VALUES (?1, ?2, ?3, ?4)"
                  " ON CONFLICT (id) DO UPDATE SET settings = excluded.settings",
                  "iibi", id, now_s, buf_bytes(&sealed), holds_s);
}

/* The number after every one that there is: also after a rollback. */
static bool number_next(catalogue_db *db, const catalogue_app *app, uint32_t *ret, err *e)
{
    int64_t last = 0;
    if (!db_number(db, e, &last,
                   "SELECT coalesce(max(id), 0) FROM revisions WHERE id >= ?1 AND id < ?2", "ii",
                   revision_id(app->id, 0), revision_id(app->id + 1, 0)))
        return false;
    uint32_t n = (uint32_t)(last & ((1 << REVISION_BITS) - 1));
    n = (n > app->revision ? n : app->revision) + 1;
    if (n >= 1u << REVISION_BITS)
        return err_set(e, ERR_LIMIT, "the app has had %u revisions; delete it and deploy it anew",
                       n - 1);
    *ret = n;
    return true;
}

/* The one before it, whatever its number, is left now. */
static bool live_set(catalogue_db *db, uint64_t app, uint32_t number, int64_t now_s, err *e)
{
    return db_run(db, e,
                  "UPDATE revisions SET left_s = ?2 WHERE id = (SELECT id << 20 | revision FROM"
                  " apps WHERE id = ?1)",
                  "ii", (int64_t)app, now_s) &&
           db_run(db, e, "UPDATE apps SET revision = ?2 WHERE id = ?1", "ii", (int64_t)app,
                  (int64_t)number);
}

static bool needs_put(catalogue_db *db, const catalogue_app *app, int64_t id,
                      const uint8_t (*digests)[CATALOGUE_DIGEST_BYTES], size_t n, err *e)
{
    for (size_t i = 0; i < n; i++) {
        bool there;
        uint64_t bytes_count;
        bytes digest = {digests[i], CATALOGUE_DIGEST_BYTES};
        if (!catalogue_blob_find(db, app->tenant, digests[i], &there, &bytes_count, e))
            return false;
        if (!there)
            return err_set(e, ERR_NOT_FOUND,
                           "blob %zu of %zu was not sent, or was collected meanwhile; deploy again",
                           i + 1, n);
        if (!db_run(db, e, "INSERT OR IGNORE INTO needs (revision, digest) VALUES (?1, ?2)", "ib",
                    id, digest))
            return false;
    }
    return true;
}

bool catalogue_revision_add(catalogue_db *db, catalogue_app *app, str settings,
                            const uint8_t (*digests)[CATALOGUE_DIGEST_BYTES], size_t digests_n,
                            uint32_t keep, int64_t holds_s, int64_t now_s, err *e)
{
    uint32_t number;
    if (!number_next(db, app, &number, e))
        return false;
    int64_t id = revision_id(app->id, number);
    if (!settings_put(db, id, settings, holds_s, now_s, e) ||
        !needs_put(db, app, id, digests, digests_n, e) ||
        !live_set(db, app->id, number, now_s, e) ||
        (number > keep &&
         !revisions_drop(db, app->id, revision_id(app->id, number - keep + 1), now_s, e)))
        return false;
    app->revision = number;
    app->made_s = now_s;
    return true;
}

bool catalogue_revision_settings(catalogue_db *db, arena *a, const catalogue_app *app,
                                 uint32_t number, str *ret, err *e)
{
    sqlite3_stmt *s = db_query(db, e, "SELECT settings FROM revisions WHERE id = ?1", "i",
                               revision_id(app->id, number ? number : app->revision));
    int more = s ? db_next(db, s, e) : -1;
    if (more == 0)
        return err_set(e, ERR_NOT_FOUND, "app '%.*s' has no revision %u any more", STR(app->name),
                       number);
    char place[64];
    bool ok = more > 0 && seal_open(&db->key, catalogue_settings_place(place, app->id),
                                    db_blob(s, 0), a, ret, e);
    if (more > 0)
        db_end(s);
    return ok;
}

bool catalogue_revision_set(catalogue_db *db, const catalogue_app *app, str settings, err *e)
{
    return settings_put(db, revision_id(app->id, app->revision), settings, 0, app->made_s, e);
}

bool catalogue_revision_use(catalogue_db *db, catalogue_app *app, uint32_t number, int64_t now_s,
                            err *e)
{
    int64_t made = -1;
    if (!db_number(db, e, &made, "SELECT made_s FROM revisions WHERE id = ?1", "i",
                   revision_id(app->id, number)))
        return false;
    if (made < 0)
        return err_set(e, ERR_NOT_FOUND,
                       "app '%.*s' has no revision %u any more; 'ebb status' lists those kept",
                       STR(app->name), number);
    if (!live_set(db, app->id, number, now_s, e))
        return false;
    app->revision = number;
    app->made_s = made;
    return true;
}

bool catalogue_revisions(catalogue_db *db, arena *a, uint64_t app, catalogue_revision **ret,
                         size_t *ret_n, err *e)
{
    catalogue_revision *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s = db_query(
        db, e, "SELECT id, made_s FROM revisions WHERE id >= ?1 AND id < ?2 ORDER BY id DESC", "ii",
        revision_id(app, 0), revision_id(app + 1, 0));
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        all[n++] = (catalogue_revision){
            (uint32_t)(sqlite3_column_int64(s, 0) & ((1 << REVISION_BITS) - 1)),
            sqlite3_column_int64(s, 1)};
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

bool catalogue_app_remove(catalogue_db *db, const catalogue_app *app, err *e)
{
    int64_t id = (int64_t)app->id;
    return revisions_drop(db, app->id, revision_id(app->id + 1, 0), INT64_MAX, e) &&
           db_run(db, e, "DELETE FROM hosts WHERE app = ?1", "i", id) &&
           db_run(db, e, "DELETE FROM variables WHERE app = ?1", "i", id) &&
           db_run(db, e, "DELETE FROM apps WHERE id = ?1", "i", id);
}

/* --- hosts ------------------------------------------------------------------------------------ */

/* A DNS name of at least two labels, the first may be "*"; made lower case. */
static bool host_check(arena *a, str host, str *ret, err *e)
{
    char *out = arena_alloc(a, host.n + 1);
    size_t label = 0, dots = 0;
    bool ok = host.n > 2 && host.n <= HOST_BYTES_MAX;
    if (!out)
        return err_no_memory(e);
    for (size_t i = 0; ok && i < host.n; i++) {
        char c = host.p[i];
        out[i] = c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        bool star = c == '*' && i == 0 && host.p[1] == '.';
        ok = c == '.'
                 ? label > 0 && host.p[i - 1] != '-'
                 : star || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && label);
        label = c == '.' ? 0 : label + 1;
        dots += c == '.';
        ok = ok && label <= 63;
    }
    out[host.n] = 0;
    *ret = (str){out, host.n};
    return (ok && label && dots && host.p[host.n - 1] != '-') ||
           err_set(e, ERR_INVALID, "'%.*s' is no host name; write www.example.com",
                   STR(str_head(host, 100)));
}

static bool host_take(catalogue_db *db, const catalogue_app *app, str host, str domain,
                      bool is_operator, err *e)
{
    bool below =
        host.n > domain.n + 1 && str_ends(host, domain) && host.p[host.n - domain.n - 1] == '.';
    if (!is_operator && (host.p[0] == '*' || below || str_eq(host, domain)))
        return err_set(e, ERR_DENIED,
                       "host '%.*s': wildcards and names below %.*s are given by the operator",
                       STR(host), STR(domain));
    int64_t owner = 0;
    if (!db_number(db, e, &owner, "SELECT app FROM hosts WHERE host = ?1", "t", host))
        return false;
    if (owner && owner != (int64_t)app->id)
        return err_set(e, ERR_CONFLICT, "host '%.*s' is taken", STR(host));
    return db_run(db, e, "INSERT OR IGNORE INTO hosts (host, app) VALUES (?1, ?2)", "ti", host,
                  (int64_t)app->id);
}

bool catalogue_hosts_set(catalogue_db *db, arena *a, const catalogue_app *app, const str *hosts,
                         size_t n, str domain, bool is_operator, err *e)
{
    if (n > HOSTS_MAX)
        return err_set(e, ERR_LIMIT, "an app has at most %d hosts of its own", HOSTS_MAX);
    str *had;
    size_t had_n;
    if (!catalogue_hosts(db, a, app->id, &had, &had_n, e) ||
        !db_run(db, e, "DELETE FROM hosts WHERE app = ?1", "i", (int64_t)app->id))
        return false;
    for (size_t i = 0; i < n; i++) {
        str host;
        if (!host_check(a, hosts[i], &host, e))
            return false;
        bool given = false; /* what it has already, it may keep, whoever gave it */
        for (size_t k = 0; k < had_n; k++)
            given |= str_eq(had[k], host);
        if (!host_take(db, app, host, domain, is_operator || given, e))
            return false;
    }
    return true;
}

bool catalogue_hosts(catalogue_db *db, arena *a, uint64_t app, str **ret, size_t *ret_n, err *e)
{
    str *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s =
        db_query(db, e, "SELECT host FROM hosts WHERE app = ?1 ORDER BY host", "i", (int64_t)app);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        if (!(all[n++] = db_text(a, s, 0)).p)
            return db_end(s), err_no_memory(e);
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

/* --- variables -------------------------------------------------------------------------------- */

/* Where a value is at home: sealed values can't be moved to another app or name. */
static str variable_place(char place[300], uint64_t app, str name)
{
    int n = snprintf(place, 300, "variable %llu %.*s", (unsigned long long)app,
                     STR(str_head(name, 200)));
    return (str){place, (size_t)n};
}

bool catalogue_variable_set(catalogue_db *db, uint64_t app, str name, str value, err *e)
{
    char place[300];
    _cleanup_(buf_fini) buf sealed;
    buf_init(&sealed, VARIABLE_VALUE_BYTES_MAX + 64);
    if (!value.p)
        return db_run(db, e, "DELETE FROM variables WHERE app = ?1 AND name = ?2", "it",
                      (int64_t)app, name);
    if (name.n > 200 || value.n > VARIABLE_VALUE_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "variable '%.*s' is longer than %zu bytes",
                       STR(str_head(name, 100)), VARIABLE_VALUE_BYTES_MAX);
    return seal_put(&db->key, variable_place(place, app, name),
                    (bytes){(const uint8_t *)value.p, value.n}, &sealed, e) &&
           db_run(db, e, "INSERT OR REPLACE INTO variables (app, name, value) VALUES (?1, ?2, ?3)",
                  "itb", (int64_t)app, name, buf_bytes(&sealed));
}

bool catalogue_variables(catalogue_db *db, arena *a, uint64_t app, catalogue_variable **ret,
                         size_t *ret_n, err *e)
{
    char place[300];
    catalogue_variable *all = NULL;
    size_t n = 0, room = 0;
    sqlite3_stmt *s = db_query(
        db, e, "SELECT name, value FROM variables WHERE app = ?1 ORDER BY name", "i", (int64_t)app);
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        all[n].name = db_text(a, s, 0);
        if (!seal_open(&db->key, variable_place(place, app, all[n].name), db_blob(s, 1), a,
                       &all[n].value, e))
            return db_end(s), err_wrap(e, "variable '%.*s'", STR(all[n].name));
        n++;
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}

/* --- numbers that nodes share ----------------------------------------------------------------- */

/* HMAC-SHA-256, of which 62 bits count. */
bool catalogue_shared_number(const catalogue_db *db, str kind, str name, uint64_t *ret, err *e)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    uint64_t v;
    unsigned n;
    buf text;
    buf_init(&text, kind.n + name.n + 32);
    buf_put_str(&text, S("ebb catalogue: "));
    buf_put_str(&text, kind);
    buf_put_u8(&text, 0);
    buf_put_str(&text, name);
    bool ok = !text.failed &&
              HMAC(EVP_sha256(), db->key.bytes, SEAL_KEY_BYTES, text.p, text.n, mac, &n) != NULL;
    buf_fini(&text);
    if (!ok)
        return err_no_memory(e);
    memcpy(&v, mac, sizeof v);
    *ret = v >> 2 | UINT64_C(1) << 62;
    return true;
}

/* --- blobs ------------------------------------------------------------------------------------ */

bool catalogue_blob_find(catalogue_db *db, uint64_t tenant,
                         const uint8_t digest[CATALOGUE_DIGEST_BYTES], bool *ret,
                         uint64_t *ret_bytes, err *e)
{
    int64_t n = -1;
    if (!db_number(db, e, &n, "SELECT bytes FROM blobs WHERE tenant = ?1 AND digest = ?2", "ib",
                   (int64_t)tenant, (bytes){digest, CATALOGUE_DIGEST_BYTES}))
        return false;
    *ret = n >= 0;
    *ret_bytes = n >= 0 ? (uint64_t)n : 0;
    return true;
}

bool catalogue_blob_held(catalogue_db *db, const uint8_t digest[CATALOGUE_DIGEST_BYTES], bool *ret,
                         err *e)
{
    int64_t n = 0;
    if (!db_number(db, e, &n, "SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)", "b",
                   (bytes){digest, CATALOGUE_DIGEST_BYTES}))
        return false;
    *ret = n != 0;
    return true;
}

bool catalogue_blob_add(catalogue_db *db, uint64_t tenant,
                        const uint8_t digest[CATALOGUE_DIGEST_BYTES], uint64_t bytes_count,
                        int64_t now_s, err *e)
{
    return db_run(db, e,
                  "INSERT INTO blobs (tenant, digest, bytes, made_s) VALUES (?1, ?2, ?3, ?4)"
                  " ON CONFLICT (tenant, digest) DO UPDATE SET made_s = excluded.made_s",
                  "ibii", (int64_t)tenant, (bytes){digest, CATALOGUE_DIGEST_BYTES},
                  (int64_t)bytes_count, now_s);
}

bool catalogue_blob_bytes(catalogue_db *db, uint64_t tenant, uint64_t *ret, err *e)
{
    int64_t n = 0;
    if (!db_number(db, e, &n, "SELECT coalesce(sum(bytes), 0) FROM blobs WHERE tenant = ?1", "i",
                   (int64_t)tenant))
        return false;
    *ret = (uint64_t)n;
    return true;
}

/* The blobs that a revision of the tenant itself needs stay; needs are joined through the app. */
bool catalogue_blobs_collect(catalogue_db *db, arena *a, int64_t before_s,
                             uint8_t (**ret)[CATALOGUE_DIGEST_BYTES], size_t *ret_n, err *e)
{
    uint8_t (*all)[CATALOGUE_DIGEST_BYTES] = NULL;
    size_t n = 0, room = 0;
    if (!db_run(db, e,
                "CREATE TEMP TABLE IF NOT EXISTS gone (tenant INTEGER, digest BLOB, PRIMARY KEY "
                "(tenant, digest)) WITHOUT ROWID",
                "") ||
        !db_run(db, e, "DELETE FROM temp.gone", "") ||
        !db_run(db, e,
                "INSERT INTO temp.gone SELECT tenant, digest FROM blobs WHERE made_s < ?1 EXCEPT "
                "SELECT a.tenant, n.digest FROM needs n JOIN apps a ON a.id = n.revision >> 20",
                "i", before_s) ||
        !db_run(db, e,
                "DELETE FROM blobs WHERE (tenant, digest) IN (SELECT tenant, digest FROM "
                "temp.gone)",
                ""))
        return false;
    sqlite3_stmt *s = db_query(db, e,
                               "SELECT DISTINCT digest FROM temp.gone EXCEPT SELECT digest FROM "
                               "blobs",
                               "");
    int more = s ? db_next(db, s, e) : -1;
    for (; more > 0; more = db_next(db, s, e)) {
        bytes d = db_blob(s, 0);
        if (d.n != CATALOGUE_DIGEST_BYTES)
            continue;
        if (!ARENA_ROOM(a, all, n, room))
            return db_end(s), err_no_memory(e);
        memcpy(all[n++], d.p, d.n);
    }
    *ret = all;
    *ret_n = n;
    return more == 0;
}
