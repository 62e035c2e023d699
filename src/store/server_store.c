/* What the number in a message means: a store of the configuration, or in `ebb serve`, where each
 * app has a folder of its own, what the worker said before (STORE_NAME). */
#include "base/limits.h"
#include "store/kv_redis.h"
#include "store/server_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void store_unuse(store *x)
{
    if (!x || --x->users)
        return;
    kv_server_let(x->kv);
    sql_server_let(x->db);
    free(x);
}

store *store_of(const store_connection *c, uint16_t number)
{
    const store_server *s = c->s;
    if (!s->state_dir.n)
        return number < s->stores_count ? &s->stores[number] : NULL;
    return number < c->names_size ? c->names[number] : NULL;
}

static bool names_grow(store_connection *c, uint16_t number)
{
    size_t size = c->names_size ? c->names_size : 64;
    while (size <= number)
        size *= 2;
    if (size == c->names_size)
        return true;
    store **grown = realloc(c->names, size * sizeof(store *));
    if (!grown)
        return false;
    memset(grown + c->names_size, 0, (size - c->names_size) * sizeof(store *));
    c->names = grown;
    c->names_size = size;
    return true;
}

/* A label as a part of a file's name: itself where it is plain, else its bytes in hexadecimal. */
static bool label_write(str label, char *to, size_t size)
{
    bool plain = label.n > 0;
    size_t at = (size_t)snprintf(to, size, "sql_");
    for (size_t i = 0; i < label.n; i++)
        plain &= (label.p[i] >= 'a' && label.p[i] <= 'z') ||
                 (label.p[i] >= '0' && label.p[i] <= '9') || label.p[i] == '-';
    if (label.n > STORE_LABEL_BYTES_MAX)
        return false;
    if (plain)
        return at + (size_t)snprintf(to + at, size - at, "%.*s.db", STR(label)) < size;
    at = (size_t)snprintf(to, size, "sqlx_");
    for (size_t i = 0; i < label.n; i++)
        at += (size_t)snprintf(to + at, size - at, "%02x", (unsigned char)label.p[i]);
    return at + (size_t)snprintf(to + at, size - at, ".db") < size;
}

static store *store_make(store_server *s, const store_naming *n, str label)
{
    char path[4096], name[4 * STORE_LABEL_BYTES_MAX];
    if (!label_write(label, name, sizeof name))
        return NULL;
    int folder =
        snprintf(path, sizeof path, "%.*s/%llu", STR(s->state_dir), (unsigned long long)n->app);
    if (folder < 0 || (size_t)folder + sizeof name >= sizeof path)
        return NULL;
    size_t whole = (size_t)folder + (size_t)snprintf(path + folder, sizeof path - (size_t)folder,
                                                     "/%s", n->is_database ? name : "kv.db");
    store *x = calloc(1, sizeof *x + label.n + 1 + (size_t)folder + 1);
    if (!x)
        return NULL;
    char *at = (char *)(x + 1);
    memcpy(at, label.p, label.n);
    memcpy(at + label.n + 1, path, (size_t)folder);
    *x = (store){
        .s = s, .users = 1, .label = {at, label.n}, .folder = {at + label.n + 1, (size_t)folder}};
    str file_path = {path, whole};
    if (n->is_database)
        x->db = sql_server_named(s->sql, file_path, x->label);
    else
        x->kv = kv_server_file(s->kv, file_path);
    if (x->db || x->kv)
        return x;
    free(x);
    return NULL;
}

bool store_name_take(store_connection *c, store_message m)
{
    store_naming n;
    store_item i;
    if (!c->s->state_dir.n || !store_message_next(&m, &i) || i.value.n != sizeof n ||
        !names_grow(c, m.store))
        return false;
    memcpy(&n, i.value.p, sizeof n);
    store_unuse(c->names[m.store]);
    c->names[m.store] = n.app ? store_make(c->s, &n, i.key) : NULL;
    return true;
}

void store_folder_make(store *x)
{
    if (x->folder.n && mkdirat(AT_FDCWD, x->folder.p, 0700) == 0) {
        int fd = open(x->s->state_dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            fsync(fd);
            close(fd);
        }
    }
    x->folder.n = 0;
}

/* NULL: no memory. */
static const str *strs_copy(arena *a, const str *from, size_t n)
{
    str *to = ARENA_ARRAY(a, str, n + 1);
    for (size_t i = 0; to && i < n; i++)
        if (!(to[i] = arena_str(a, from[i])).p)
            return NULL;
    return to;
}

/* One of the configuration. */
static bool store_init(store_server *s, store *x, const kv_store *from, err *e)
{
    *x = (store){.s = s, .users = 1, .label = arena_str(&s->a, from->label)};
    const str *initial = strs_copy(&s->a, from->initial, from->initial_count);
    if (!x->label.p || !initial)
        return err_no_memory(e);
    if (from->url.n)
        return kv_redis_new(s->l, from->url, &x->redis, e);
    x->kv = from->path.n ? kv_server_file(s->kv, from->path)
                         : kv_server_memory(s->kv, x->label, initial, from->initial_count);
    return x->kv || err_no_memory(e);
}

bool stores_make(store_server *s, const store_config *config, err *e)
{
    size_t count = config->stores_count;
    s->stores = ARENA_ARRAY(&s->a, store, count + 1);
    for (size_t i = 0; s->stores && i < count; i++) {
        if (!store_init(s, &s->stores[i], &config->stores[i], e))
            return false;
        s->stores_count++;
    }
    s->state_dir = arena_str(&s->a, config->state_dir);
    return (s->stores && s->state_dir.p) || err_no_memory(e);
}

void stores_free(store_server *s)
{
    for (size_t i = 0; i < s->stores_count; i++) {
        kv_redis_free(s->stores[i].redis);
        kv_server_let(s->stores[i].kv);
    }
    s->stores_count = 0;
}

void store_names_free(store_connection *c)
{
    for (size_t i = 0; i < c->names_size; i++)
        store_unuse(c->names[i]);
    free(c->names);
}
