/* See network.h. The table of limits is the only place that knows their names: options, messages
 * and the worker's settings are made from it. */
#include "platform/network.h"

#include "base/limits.h"
#include "base/log.h"
#include "platform/config_json.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

enum { LIMIT_SIZE, LIMIT_U64, LIMIT_TIME };

static const struct {
    const char *name;
    size_t at;
    int kind;
    uint64_t min, max;
} limits[] = {
    {"head-bytes", offsetof(http_server_config, head_bytes_max), LIMIT_SIZE, 256, 16 * MIB},
    {"headers", offsetof(http_server_config, headers_max), LIMIT_SIZE, 1, 10000},
    {"uri-bytes", offsetof(http_server_config, uri_bytes_max), LIMIT_SIZE, 16, 16 * MIB},
    {"body-bytes", offsetof(http_server_config, body_bytes_max), LIMIT_U64, 1, INT64_MAX},
    {"connections", offsetof(http_server_config, connections_max), LIMIT_SIZE, 1, 1000000},
    {"streams", offsetof(http_server_config, streams_max), LIMIT_SIZE, 1, 10000},
    {"handshake-time", offsetof(http_server_config, handshake_wait), LIMIT_TIME, 1, 86400},
    {"head-time", offsetof(http_server_config, head_wait), LIMIT_TIME, 1, 86400},
    {"idle-time", offsetof(http_server_config, idle_wait), LIMIT_TIME, 1, 86400},
    {"body-time", offsetof(http_server_config, body_wait), LIMIT_TIME, 1, 86400},
    {"write-time", offsetof(http_server_config, write_wait), LIMIT_TIME, 1, 86400},
    {"half-close-time", offsetof(http_server_config, half_close_wait), LIMIT_TIME, 1, 86400},
};
enum { LIMITS = sizeof limits / sizeof *limits };

static void limit_set(http_server_config *c, size_t i, uint64_t v)
{
    char *at = (char *)c + limits[i].at;
    v = limits[i].kind == LIMIT_TIME ? v * NS_PER_S : v;
    if (limits[i].kind == LIMIT_SIZE)
        memcpy(at, &(size_t){v}, sizeof(size_t));
    else
        memcpy(at, &v, sizeof v);
}

static uint64_t limit_get(const http_server_config *c, size_t i)
{
    uint64_t v;
    memcpy(&v, (const char *)c + limits[i].at, sizeof v);
    return limits[i].kind == LIMIT_TIME ? v / NS_PER_S : v;
}
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "limits are read and written alike");

static bool limit_parse(const char *text, http_server_config *ret, err *e)
{
    str rest = str_from(text), name = str_cut(&rest, '=');
    uint64_t v;
    for (size_t i = 0; i < LIMITS; i++) {
        if (!str_eq(name, str_from(limits[i].name)))
            continue;
        if (!rest.p || !str_to_u64(rest, limits[i].max, &v) || v < limits[i].min)
            return err_set(e, ERR_INVALID, "--limit '%s': %s is a number from %llu to %llu%s", text,
                           limits[i].name, (unsigned long long)limits[i].min,
                           (unsigned long long)limits[i].max,
                           limits[i].kind == LIMIT_TIME ? " (seconds)" : "");
        limit_set(ret, i, v);
        return true;
    }
    char known[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < LIMITS; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", limits[i].name);
    return err_set(e, ERR_INVALID, "--limit '%s': there is no such limit; give one of %s", text,
                   known);
}

/* --- the runtime configuration file --- */

static bool absolute(arena *a, const char *config, str path, str *ret, err *e)
{
    str dir = str_from(config);
    dir.n = str_rfind(dir, '/');
    if (dir.n == strlen(config))
        dir = S(".");
    str joined =
        !path.n || path.p[0] == '/' ? path : arena_printf(a, "%.*s/%.*s", STR(dir), STR(path));
    *ret = joined;
    if (!joined.n)
        return true;
    char *real = realpath(joined.p, NULL);
    if (!real)
        return err_set_errno(e, "%.*s", STR(joined));
    *ret = arena_str(a, str_from(real));
    free(real);
    return ret->p || err_no_memory(e);
}

static bool tls_read(arena *a, const char *path, const config_client_tls *from, network_tls *ret,
                     err *e)
{
    *ret = (network_tls){.components = from->component_ids,
                         .tls = {.hosts = from->hosts.at,
                                 .hosts_count = from->hosts.n,
                                 .platform_roots = from->ca_use_platform_roots}};
    if (from->ca_use_webpki_roots)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s:%u: ca_use_webpki_roots: ebb brings no roots of its own; use "
                       "ca_use_platform_roots, or ca_roots_file with a bundle",
                       path, from->pos.line);
    return (absolute(a, path, from->ca_roots_file, &ret->tls.roots_file, e) &&
            absolute(a, path, from->client_cert_file, &ret->tls.certificate_file, e) &&
            absolute(a, path, from->client_private_key_file, &ret->tls.key_file, e)) ||
           err_wrap(e, "%s:%u: [[client_tls]]", path, from->pos.line);
}

static bool file_text(arena *a, const char *path, str *ret, err *e)
{
    buf b;
    buf_init(&b, TOML_BYTES_MAX);
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set_errno(e, "%s", path);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_put(&b, part, n);
    bool ok = !ferror(f) && !b.failed;
    fclose(f);
    *ret = ok ? arena_str(a, buf_str(&b)) : (str){0};
    buf_fini(&b);
    return ret->p || err_set(e, ERR_LIMIT, "%s: cannot be read, or is larger than %zu bytes", path,
                             TOML_BYTES_MAX);
}

/* A limit of the machine, by worker: rounded up, so that none has nothing. */
static uint64_t share(uint64_t max, unsigned workers)
{
    return max == UINT64_MAX ? max : max / workers + (max % workers != 0);
}

static bool runtime_read(arena *a, const char *path, unsigned workers, network_config *ret, err *e)
{
    runtime_config rc;
    str text;
    if (!file_text(a, path, &text, e) || !runtime_config_read(a, str_from(path), text, &rc, e))
        return false;
    ret->blocks = rc.blocks;
    ret->connections = (host_connections){.http_max = share(rc.http_connections_max, workers),
                                          .sockets_max = share(rc.socket_connections_max, workers),
                                          .total_max = share(rc.total_connections_max, workers),
                                          .no_pooling = !rc.http_connection_pooling};
    ret->tls = ARENA_ARRAY(a, network_tls, rc.client_tls_count + 1);
    if (!ret->tls)
        return err_no_memory(e);
    for (size_t i = 0; i < rc.client_tls_count; i++)
        if (!tls_read(a, path, &rc.client_tls[i], &ret->tls[i], e))
            return false;
    ret->tls_count = rc.client_tls_count;
    return true;
}

static bool trusted_read(arena *a, str list, outbound_blocks *ret, err *e)
{
    while (list.p) {
        str one = str_trim(str_cut(&list, ','));
        outbound_net *grown = arena_grow(a, ret->at, ret->n, ret->n + 1, sizeof *grown);
        if (!grown)
            return err_no_memory(e);
        ret->at = grown;
        if (one.n && !outbound_net_parse(one, &ret->at[ret->n++]))
            return err_set(e, ERR_INVALID,
                           "trusted proxy '%.*s': give an address or a network, such as 10.0.0.1, "
                           "10.0.0.0/8 or 2001:db8::/32",
                           STR(one));
    }
    return true;
}

bool network_read(arena *a, const network_options *o, network_config *ret, err *e)
{
    uint64_t ms = 0;
    *ret = (network_config){.connections = {UINT64_MAX, UINT64_MAX, UINT64_MAX, false}};
    for (size_t i = 0; i < o->limits_count; i++)
        if (!limit_parse(o->limits[i], &ret->limits, e))
            return false;
    for (size_t i = 0; i < o->name_servers_count; i++)
        ret->name_servers =
            i ? arena_printf(a, "%.*s,%s", STR(ret->name_servers), o->name_servers[i])
              : arena_str(a, str_from(o->name_servers[i]));
    for (size_t i = 0; i < o->trusted_count; i++)
        if (!trusted_read(a, str_from(o->trusted[i]), &ret->trusted, e))
            return false;
    if (o->stall_ms && (!str_to_u64(str_from(o->stall_ms), 60000, &ms) || ms == 0))
        return err_set(e, ERR_INVALID, "--stall-warning '%s': give milliseconds, at most 60000",
                       o->stall_ms);
    ret->stall = ms * NS_PER_MS;
    return !o->runtime_config_path ||
           runtime_read(a, o->runtime_config_path, o->workers ? o->workers : 1, ret, e);
}

/* --- a worker's settings --- */

static json_t *list_json(const str *at, size_t n)
{
    json_t *j = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(j, json_of(at[i]));
    return j;
}

static json_t *tls_json(const network_tls *t)
{
    return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o}", "components",
                     list_json(t->components.at, t->components.n), "hosts",
                     list_json(t->tls.hosts, t->tls.hosts_count), "platform",
                     (int)t->tls.platform_roots, "roots", json_of(t->tls.roots_file), "certificate",
                     json_of(t->tls.certificate_file), "key", json_of(t->tls.key_file));
}

static json_t *blocks_json(const outbound_blocks *b)
{
    char text[INET6_ADDRSTRLEN + 8];
    json_t *j = json_array();
    if (b->has_private)
        json_array_append_new(j, json_string("private"));
    for (size_t i = 0; i < b->n; i++) {
        const outbound_net *n = &b->at[i];
        inet_ntop(n->addr.bits == 32 ? AF_INET : AF_INET6, n->addr.at, text, sizeof text);
        json_array_append_new(j, json_sprintf("%s/%u", text, n->bits));
    }
    return j;
}

json_t *network_json(const network_config *c)
{
    json_t *numbers = json_array(), *tls = json_array();
    for (size_t i = 0; i < LIMITS; i++)
        json_array_append_new(numbers, json_integer((json_int_t)limit_get(&c->limits, i)));
    for (size_t i = 0; i < c->tls_count; i++)
        json_array_append_new(tls, tls_json(&c->tls[i]));
    const host_connections *n = &c->connections;
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:b, s:[I,I,I,b], s:o}", "limits", numbers, "tls",
                     tls, "blocks", blocks_json(&c->blocks), "name_servers",
                     json_of(c->name_servers), "stall", (json_int_t)c->stall, "secure",
                     (int)c->secure, "connections", (json_int_t)n->http_max,
                     (json_int_t)n->sockets_max, (json_int_t)n->total_max, (int)n->no_pooling,
                     "trusted", blocks_json(&c->trusted));
}

static str str_of(arena *a, const json_t *j)
{
    return arena_str(a, (str){json_string_value(j), json_string_length(j)});
}

static bool list_read(arena *a, const json_t *j, str_list *ret)
{
    *ret = (str_list){0};
    for (size_t i = 0; i < json_array_size(j); i++)
        if (!str_list_add(a, ret, str_of(a, json_array_get(j, i))))
            return false;
    return true;
}

static bool tls_from_json(arena *a, const json_t *j, network_tls *ret)
{
    str_list hosts;
    if (!list_read(a, json_object_get(j, "components"), &ret->components) ||
        !list_read(a, json_object_get(j, "hosts"), &hosts))
        return false;
    ret->tls = (host_tls){.hosts = hosts.at,
                          .hosts_count = hosts.n,
                          .platform_roots = json_is_true(json_object_get(j, "platform")),
                          .roots_file = str_of(a, json_object_get(j, "roots")),
                          .certificate_file = str_of(a, json_object_get(j, "certificate")),
                          .key_file = str_of(a, json_object_get(j, "key"))};
    return true;
}

static bool blocks_from_json(arena *a, const json_t *j, outbound_blocks *ret)
{
    size_t n = json_array_size(j);
    *ret = (outbound_blocks){.at = ARENA_ARRAY(a, outbound_net, n + 1)};
    for (size_t i = 0; i < n && ret->at; i++) {
        str text = str_of(a, json_array_get(j, i));
        if (str_eq(text, S("private")))
            ret->has_private = true;
        else if (!outbound_net_parse(text, &ret->at[ret->n++]))
            return false;
    }
    return ret->at != NULL;
}

bool network_from_json(arena *a, const json_t *j, network_config *ret)
{
    const json_t *numbers = json_object_get(j, "limits"), *tls = json_object_get(j, "tls");
    *ret = (network_config){
        .name_servers = str_of(a, json_object_get(j, "name_servers")),
        .stall = (ns)json_integer_value(json_object_get(j, "stall")),
        .secure = json_is_true(json_object_get(j, "secure")),
        .tls_count = json_array_size(tls),
        .tls = ARENA_ARRAY(a, network_tls, json_array_size(tls) + 1),
    };
    const json_t *n = json_object_get(j, "connections");
    ret->connections = (host_connections){(uint64_t)json_integer_value(json_array_get(n, 0)),
                                          (uint64_t)json_integer_value(json_array_get(n, 1)),
                                          (uint64_t)json_integer_value(json_array_get(n, 2)),
                                          json_is_true(json_array_get(n, 3))};
    for (size_t i = 0; i < LIMITS; i++)
        limit_set(&ret->limits, i, (uint64_t)json_integer_value(json_array_get(numbers, i)));
    for (size_t i = 0; i < ret->tls_count && ret->tls; i++)
        if (!tls_from_json(a, json_array_get(tls, i), &ret->tls[i]))
            return false;
    return ret->tls && blocks_from_json(a, json_object_get(j, "blocks"), &ret->blocks) &&
           blocks_from_json(a, json_object_get(j, "trusted"), &ret->trusted);
}

/* --- for components --- */

bool network_tls_of(arena *a, const network_config *c, str component, const host_tls **ret,
                    size_t *ret_count)
{
    host_tls *at = ARENA_ARRAY(a, host_tls, c->tls_count + 1);
    *ret_count = 0;
    for (size_t i = 0; i < c->tls_count && at; i++)
        for (size_t k = 0; k < c->tls[i].components.n; k++)
            if (str_eq(c->tls[i].components.at[k], component)) {
                at[(*ret_count)++] = c->tls[i].tls;
                break;
            }
    *ret = at;
    return at != NULL;
}

bool network_is_blocked(const network_config *c, const uint8_t *address, size_t n)
{
    outbound_addr at = {.bits = (uint8_t)(n * 8)};
    memcpy(at.at, address, n);
    return outbound_is_blocked(&c->blocks, &at);
}
