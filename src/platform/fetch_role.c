/* The fetch process: one download, over libcurl, into fd 3.
 *
 *     ebb @fetch url URL                                 what is behind it
 *     ebb @fetch package REGISTRY NAMESPACE:NAME VERSION the component in that package
 *     ebb @fetch range REGISTRY NAMESPACE:NAME RANGE     the newest version in a range
 * (app/semver.h)
 *     ebb @fetch manifest REGISTRY REPOSITORY TAG|DIGEST the manifest of an OCI artifact
 *     ebb @fetch blob REGISTRY REPOSITORY DIGEST         a blob of one
 *
 * followed by "insecure" where certificates are not to be checked. Packages are found as the wasm
 * package tools do: https://REGISTRY/.well-known/wasm-pkg/registry.json names an OCI registry and
 * a prefix (without it, the registry is its own), and the package is the artifact
 * <prefix><namespace>/<name>:<version> there, with one layer of WebAssembly, by the OCI
 * distribution specification 1.1. Registries that want a token give one to anybody
 * (WWW-Authenticate, Bearer); no password is ever sent. A registry on this machine (localhost,
 * 127.0.0.1, [::1]) is spoken to over http. Proxies, netrc and other settings of the environment do
 * not apply. */
#include "platform/role.h"

#include "app/oci.h"
#include "app/semver.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/hex.h"
#include "base/limits.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
    FD_OUT = 3,
    FD_MESSAGE = 4,
    TEXT_BYTES_MAX = 4 << 20,
    REDIRECTS_MAX = 10,
    CHALLENGE_MAX = 1024
};

typedef struct {
    arena a;
    CURL *curl;
    bool insecure;
    char *token; /* "Authorization: Bearer ..." or NULL */
    char challenge[CHALLENGE_MAX];
    buf *text; /* where the body goes; NULL: FD_OUT */
    uint64_t bytes;
    EVP_MD_CTX *digest;
} fetcher;

static size_t on_body(char *p, size_t one, size_t n, void *user)
{
    fetcher *f = user;
    f->bytes += n;
    if (f->text)
        return buf_put(f->text, p, n) ? n : 0;
    if (f->bytes > COMPONENT_BYTES_MAX || !EVP_DigestUpdate(f->digest, p, n))
        return 0;
    return fd_write_all(FD_OUT, p, n, NULL) ? n : 0;
}

static size_t on_header(char *p, size_t one, size_t n, void *user)
{
    static const str name = {"www-authenticate:", 17};
    fetcher *f = user;
    str line = {p, n};
    if (str_eq_nocase(str_head(line, name.n), name)) {
        str value = str_trim(str_skip(line, name.n));
        snprintf(f->challenge, sizeof f->challenge, "%.*s",
                 STR(str_head(value, CHALLENGE_MAX - 1)));
    }
    return n;
}

static void options_set(fetcher *f, const char *url, struct curl_slist *headers)
{
    curl_easy_reset(f->curl);
    curl_easy_setopt(f->curl, CURLOPT_URL, url);
    curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(f->curl, CURLOPT_USERAGENT, "ebb");
    curl_easy_setopt(f->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(f->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(f->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(f->curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(f->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(f->curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(f->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(f->curl, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(f->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(f->curl, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(f->curl, CURLOPT_HEADERDATA, f);
    if (f->insecure) {
        curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

/* One GET; the body goes to f->text or FD_OUT. Only what came with status 200 is kept. */
static bool get(fetcher *f, const char *url, const char *accept, long *ret_status, err *e)
{
    struct curl_slist *headers = NULL;
    char why[CURL_ERROR_SIZE] = "";
    if (accept)
        headers = curl_slist_append(headers, accept);
    if (f->token)
        headers = curl_slist_append(headers, f->token);
    options_set(f, url, headers);
    curl_easy_setopt(f->curl, CURLOPT_ERRORBUFFER, why);
    f->bytes = 0;
    f->challenge[0] = 0;
    EVP_DigestInit_ex(f->digest, EVP_sha256(), NULL);
    CURLcode code = curl_easy_perform(f->curl);
    curl_slist_free_all(headers);
    if (code == CURLE_WRITE_ERROR)
        return err_set(e, ERR_LIMIT, "%s: more than %zu bytes, or they cannot be written", url,
                       f->text ? (size_t)TEXT_BYTES_MAX : COMPONENT_BYTES_MAX);
    if (code != CURLE_OK)
        return err_set(e, ERR_IO, "%s: %s", url, *why ? why : curl_easy_strerror(code));
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, ret_status);
    if (*ret_status != 200) {
        if (f->text)
            buf_clear(f->text);
        else if (ftruncate(FD_OUT, 0) < 0 || lseek(FD_OUT, 0, SEEK_SET) < 0)
            return err_set_errno(e, "the download's file");
    }
    return true;
}

static bool status_check(const char *url, long status, err *e)
{
    if (status == 200)
        return true;
    return err_set(e, status == 404 ? ERR_NOT_FOUND : ERR_DENIED, "%s: the server answered %ld%s",
                   url, status,
                   status == 401 || status == 403 ? " (ebb sends no credentials)" : "");
}

/* --- the token that public registries ask for ------------------------------------------------- */

/* key="value" in a challenge; false if it is not there. */
static bool parameter(const char *challenge, const char *key, str *ret)
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "%s=\"", key);
    const char *at = strstr(challenge, pattern);
    if (!at)
        return false;
    str rest = str_from(at + strlen(pattern));
    *ret = str_head(rest, str_find(rest, '"'));
    return true;
}

static bool token_get(fetcher *f, err *e)
{
    str realm, service = {0}, scope = {0};
    char challenge[CHALLENGE_MAX];
    long status;
    json_error_t je;
    memcpy(challenge, f->challenge, sizeof challenge);
    if (!str_eq_nocase(str_head(str_from(challenge), 7), S("Bearer ")) ||
        !parameter(challenge, "realm", &realm))
        return err_set(e, ERR_DENIED, "the registry asks for credentials, and ebb sends none");
    parameter(challenge, "service", &service);
    parameter(challenge, "scope", &scope);
    char *s1 = curl_easy_escape(f->curl, service.n ? service.p : "", (int)service.n),
         *s2 = curl_easy_escape(f->curl, scope.n ? scope.p : "", (int)scope.n);
    str url =
        arena_printf(&f->a, "%.*s?service=%s&scope=%s", STR(realm), s1 ? s1 : "", s2 ? s2 : "");
    curl_free(s1);
    curl_free(s2);
    _cleanup_(buf_fini) buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    buf *before = f->text;
    f->text = &text;
    bool ok = url.p && get(f, url.p, NULL, &status, e) && status_check(url.p, status, e);
    f->text = before;
    if (!ok)
        return false;
    json_t *j = json_loadb((const char *)text.p, text.n, 0, &je);
    const char *token = json_string_value(json_object_get(j, "token"));
    if (!token)
        token = json_string_value(json_object_get(j, "access_token"));
    if (token)
        f->token = (char *)arena_printf(&f->a, "Authorization: Bearer %s", token).p;
    json_decref(j);
    return f->token ? true : err_set(e, ERR_DENIED, "the registry's token server gave no token");
}

/* --- packages --------------------------------------------------------------------------------- */

static bool is_local(str host)
{
    str name = str_starts(host, S("[")) ? str_head(host, str_find(host, ']') + 1)
                                        : str_head(host, str_find(host, ':'));
    return str_eq(name, S("localhost")) || str_eq(name, S("127.0.0.1")) || str_eq(name, S("[::1]"));
}

static const char *scheme_of(str host) { return is_local(host) ? "http" : "https"; }

/* A JSON document; absent (404) is *ret == NULL if it may be. */
static bool json_get(fetcher *f, const char *url, const char *accept, bool may_lack, json_t **ret,
                     err *e)
{
    long status;
    json_error_t je;
    _cleanup_(buf_fini) buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    f->text = &text;
    bool ok = get(f, url, accept, &status, e);
    if (ok && status == 401 && !f->token)
        ok = token_get(f, e) && get(f, url, accept, &status, e);
    f->text = NULL;
    *ret = NULL;
    if (ok && may_lack && status == 404)
        return true;
    if (!ok || !status_check(url, status, e))
        return false;
    *ret = json_loadb((const char *)text.p, text.n, 0, &je);
    return *ret ? true : err_set(e, ERR_INVALID, "%s: not JSON: %s", url, je.text);
}

static const char *text_at(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

/* Which OCI registry and which prefix a package registry stands for. */
static bool registry_find(fetcher *f, str registry, str *ret_host, str *ret_prefix, err *e)
{
    json_t *j;
    str url = arena_printf(&f->a, "%s://%.*s/.well-known/wasm-pkg/registry.json",
                           scheme_of(registry), STR(registry));
    if (!url.p)
        return err_no_memory(e);
    if (!json_get(f, url.p, NULL, true, &j, e))
        return false;
    const json_t *oci = json_object_get(j, "oci");
    const char *host = oci ? text_at(oci, "registry") : text_at(j, "ociRegistry");
    const char *prefix = oci ? text_at(oci, "namespacePrefix") : text_at(j, "ociNamespacePrefix");
    const char *protocol = text_at(j, "preferredProtocol");
    bool other = protocol && strcmp(protocol, "oci") != 0 && !host;
    *ret_host = host ? arena_str(&f->a, str_from(host)) : registry;
    *ret_prefix = prefix ? arena_str(&f->a, str_from(prefix)) : (str){"", 0};
    if (other)
        err_set(e, ERR_UNSUPPORTED, "the registry speaks '%.40s'; ebb speaks oci", protocol);
    json_decref(j);
    return !other && ((ret_host->p && ret_prefix->p) || err_no_memory(e));
}

/* The digest of the one layer that holds WebAssembly. */
static bool layer_find(fetcher *f, const char *url, str *ret, err *e)
{
    static const char accept[] = "Accept: application/vnd.oci.image.manifest.v1+json, "
                                 "application/vnd.docker.distribution.manifest.v2+json";
    json_t *j;
    if (!json_get(f, url, accept, false, &j, e))
        return false;
    const json_t *layers = json_object_get(j, "layers");
    *ret = (str){0};
    for (size_t i = 0; i < json_array_size(layers) && !ret->p; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *type = text_at(layer, "mediaType"), *digest = text_at(layer, "digest");
        if (type && digest && (strcmp(type, "application/wasm") == 0 || strstr(type, "+wasm")))
            *ret = arena_str(&f->a, str_from(digest));
    }
    json_decref(j);
    if (!ret->p || !str_starts(*ret, S("sha256:")) || ret->n != 71)
        return err_set(e, ERR_INVALID, "%s: the artifact has no layer of WebAssembly", url);
    return true;
}

static bool blob_check(fetcher *f, str digest, err *e)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len;
    char hex[65];
    EVP_DigestFinal_ex(f->digest, md, &len);
    hex_write((bytes){md, len}, hex);
    return str_eq(str_skip(digest, 7), str_from(hex)) ||
           err_set(e, ERR_INVALID,
                   "the registry sent content with the digest sha256:%s where it "
                   "promised %.*s",
                   hex, STR(digest));
}

/* The newest tag that is a version in the range. */
static bool version_find(fetcher *f, str base, str range, str *ret, err *e)
{
    json_t *j;
    semver best = {0};
    str url = arena_printf(&f->a, "%.*s/tags/list", STR(base));
    *ret = (str){0};
    if (!url.p)
        return err_no_memory(e);
    if (!json_get(f, url.p, NULL, false, &j, e))
        return false;
    const json_t *tags = json_object_get(j, "tags");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        semver v;
        if (!tag || !semver_parse(str_from(tag), &v) || !semver_meets(&v, range) ||
            (ret->p && semver_compare(&v, &best) <= 0))
            continue;
        *ret = arena_str(&f->a, str_from(tag));
        if (!ret->p || !semver_parse(*ret, &best))
            break;
    }
    json_decref(j);
    return ret->p || err_set(e, ERR_NOT_FOUND, "%s: no version there is in the range '%.*s'", url.p,
                             STR(range));
}

static bool fetch_package(fetcher *f, str registry, str package, str version, bool is_range, err *e)
{
    str host, prefix, digest, name = package, space = str_cut(&name, ':');
    long status;
    if (!registry_find(f, registry, &host, &prefix, e))
        return false;
    str base = arena_printf(&f->a, "%s://%.*s/v2/%.*s%.*s/%.*s", scheme_of(host), STR(host),
                            STR(prefix), STR(space), STR(name));
    if (base.p && is_range && !version_find(f, base, version, &version, e))
        return false;
    str manifest = arena_printf(&f->a, "%.*s/manifests/%.*s", STR(base), STR(version));
    if (!base.p || !manifest.p)
        return err_no_memory(e);
    if (!layer_find(f, manifest.p, &digest, e))
        return false;
    str blob = arena_printf(&f->a, "%.*s/blobs/%.*s", STR(base), STR(digest));
    return (blob.p || err_no_memory(e)) && get(f, blob.p, NULL, &status, e) &&
           status_check(blob.p, status, e) && blob_check(f, digest, e);
}

/* --- apps ------------------------------------------------------------------------------------- */

/* A GET with the token that the registry asks for. */
static bool get_as_anybody(fetcher *f, const char *url, const char *accept, err *e)
{
    long status;
    bool ok = get(f, url, accept, &status, e);
    if (ok && status == 401 && !f->token)
        ok = token_get(f, e) && get(f, url, accept, &status, e);
    return ok && status_check(url, status, e);
}

/* OCI distribution specification 1.1, "Pull". kind: "manifests" or "blobs". */
static bool fetch_artifact(fetcher *f, const char *kind, str registry, str repository, str what,
                           err *e)
{
    str host = str_eq(registry, S("docker.io")) ? S("registry-1.docker.io") : registry;
    str url = arena_printf(&f->a, "%s://%.*s/v2/%.*s/%s/%.*s", scheme_of(host), STR(host),
                           STR(repository), kind, STR(what));
    const char *accept = *kind == 'm' ? "Accept: " OCI_MEDIA_MANIFEST
                                        ", application/vnd.docker.distribution.manifest.v2+json"
                                      : NULL;
    return (url.p || err_no_memory(e)) && get_as_anybody(f, url.p, accept, e);
}

/* --- the role --------------------------------------------------------------------------------- */

static bool fetch(int argc, char **argv, err *e)
{
    fetcher f = {.insecure = argc > 1 && strcmp(argv[argc - 1], "insecure") == 0};
    int n = argc - (f.insecure ? 1 : 0);
    long status;
    arena_init(&f.a, 64 * MIB);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    f.curl = curl_easy_init();
    f.digest = EVP_MD_CTX_new();
    if (!f.curl || !f.digest)
        return err_no_memory(e);
    if (!sandbox_confine_client(e))
        return false;
    bool ok;
    if (n == 3 && strcmp(argv[1], "url") == 0)
        ok = get(&f, argv[2], NULL, &status, e) && status_check(argv[2], status, e);
    else if (n == 5 && (strcmp(argv[1], "package") == 0 || strcmp(argv[1], "range") == 0))
        ok = fetch_package(&f, str_from(argv[2]), str_from(argv[3]), str_from(argv[4]),
                           argv[1][0] == 'r', e);
    else if (n == 5 && (strcmp(argv[1], "manifest") == 0 || strcmp(argv[1], "blob") == 0))
        ok = fetch_artifact(&f, argv[1][0] == 'm' ? "manifests" : "blobs", str_from(argv[2]),
                            str_from(argv[3]), str_from(argv[4]), e);
    else
        ok = err_set(e, ERR_INTERNAL, "fetch: bad arguments");
    curl_easy_cleanup(f.curl);
    EVP_MD_CTX_free(f.digest);
    arena_fini(&f.a);
    return ok;
}

int role_fetch(int argc, char **argv)
{
    err e;
    signal(SIGPIPE, SIG_IGN);
    return fetch(argc, argv, &e) ? 0 : role_fail(FD_MESSAGE, &e);
}
