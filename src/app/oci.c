/* See oci.h. References follow the grammar of the OCI distribution specification 1.1 ("Pulling
 * manifests") with the two defaults that every client has: docker.io, and its "library/". */
#include "app/oci.h"

#include "base/json.h"

#include <string.h>

enum { NAME_MAX_BYTES = 255, TAG_MAX_BYTES = 128 };

static bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

static bool is_word(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

bool oci_digest_valid(str s)
{
    if (s.n != 71 || !str_starts(s, S("sha256:")))
        return false;
    for (size_t i = 7; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

/* Components of lower-case letters and digits, separated by '/', with '.', '_' and '-' inside. */
static bool repository_valid(str s)
{
    if (!s.n || s.n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool edge = i == 0 || i + 1 == s.n || s.p[i - 1] == '/' || s.p[i + 1] == '/';
        if (!is_lower_or_digit(s.p[i]) && (edge || !s.p[i] || !strchr("._-/", s.p[i])))
            return false;
    }
    return true;
}

static bool tag_valid(str s)
{
    if (!s.n || s.n > TAG_MAX_BYTES)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_word(s.p[i]) && (i == 0 || (s.p[i] != '.' && s.p[i] != '-')))
            return false;
    return true;
}

/* A host name, an address, with or without a port; what comes before the first '/' is one if it
 * could be no part of a repository's name. */
static bool registry_valid(str s)
{
    bool v6 = str_starts(s, S("["));
    if (!s.n || s.p[0] == '.' || s.p[0] == '-' || s.p[s.n - 1] == '.' || s.p[s.n - 1] == ':')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_word(s.p[i]) && (!s.p[i] || !strchr(v6 ? ".:-[]" : ".:-", s.p[i])))
            return false;
    return true;
}

static bool is_registry(str first)
{
    return str_find(first, '.') < first.n || str_find(first, ':') < first.n ||
           str_eq(first, S("localhost"));
}

static bool reference_split(str text, oci_reference *r)
{
    *r = (oci_reference){0};
    str rest = text, name = str_cut(&rest, '@');
    if (rest.p && !oci_digest_valid(rest))
        return false;
    r->digest = rest.p ? rest : (str){0};
    size_t slash = str_find(name, '/');
    if (slash < name.n && is_registry(str_head(name, slash))) {
        r->registry = str_head(name, slash);
        r->has_registry = true;
        name = str_skip(name, slash + 1);
    }
    size_t colon = str_rfind(name, ':');
    if (colon < name.n) {
        r->tag = str_skip(name, colon + 1);
        r->has_tag = true;
        name = str_head(name, colon);
        if (!tag_valid(r->tag))
            return false;
    }
    r->repository = name;
    return repository_valid(name) && (!r->has_registry || registry_valid(r->registry));
}

bool oci_reference_parse(arena *a, str text, oci_reference *ret, err *e)
{
    oci_reference r;
    if (!reference_split(text, &r))
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no reference to a registry; write it like "
                       "ghcr.io/owner/app:v1 or ghcr.io/owner/app@sha256:...",
                       STR(text));
    if (!r.has_registry) {
        r.registry = S("docker.io");
        if (str_find(r.repository, '/') == r.repository.n)
            r.repository = arena_printf(a, "library/%.*s", STR(r.repository));
    }
    if (!r.tag.n && !r.digest.n)
        r.tag = S("latest");
    *ret = r;
    return r.repository.p || err_no_memory(e);
}

bool oci_reference_likely(str text)
{
    oci_reference r;
    return reference_split(text, &r) && (r.has_tag || r.digest.n || r.has_registry);
}

/* --- manifests -------------------------------------------------------------------------------- */

static bool descriptor_read(arena *a, const json_t *j, oci_descriptor *ret, err *e)
{
    const char *type = json_string_value(json_object_get(j, "mediaType")),
               *digest = json_string_value(json_object_get(j, "digest"));
    json_int_t size = json_integer_value(json_object_get(j, "size"));
    if (!type || !digest || size < 0 || !oci_digest_valid(str_from(digest)))
        return err_set(e, ERR_INVALID,
                       "a descriptor needs 'mediaType', 'size' and 'digest' (sha256)");
    *ret = (oci_descriptor){arena_str(a, str_from(type)), arena_str(a, str_from(digest)),
                            (uint64_t)size};
    return (ret->media_type.p && ret->digest.p) || err_no_memory(e);
}

static bool manifest_take(arena *a, const json_t *j, oci_manifest *m, err *e)
{
    const json_t *layers = json_object_get(j, "layers");
    const char *key;
    json_t *v;
    if (json_is_array(json_object_get(j, "manifests")))
        return err_set(e, ERR_UNSUPPORTED,
                       "this is an index of images for several platforms, not an app");
    size_t n = json_array_size(layers);
    if (!json_is_array(layers) || n > OCI_LAYERS_MAX)
        return err_set(e, ERR_INVALID, "an image manifest has 'layers', at most %d",
                       OCI_LAYERS_MAX);
    m->layers = ARENA_ARRAY(a, oci_descriptor, n + 1);
    if (!m->layers)
        return err_no_memory(e);
    if (!descriptor_read(a, json_object_get(j, "config"), &m->config, e))
        return err_wrap(e, "config");
    for (; m->layers_count < n; m->layers_count++)
        if (!descriptor_read(a, json_array_get(layers, m->layers_count),
                             &m->layers[m->layers_count], e))
            return err_wrap(e, "layer %zu", m->layers_count);
    json_object_foreach(json_object_get(j, "annotations"), key, v)
    {
        const char *value = json_string_value(v);
        if (value && !app_pairs_add(a, &m->annotations, arena_str(a, str_from(key)),
                                    arena_str(a, str_from(value))))
            return err_no_memory(e);
    }
    return true;
}

bool oci_manifest_read(arena *a, bytes json, oci_manifest *ret, err *e)
{
    json_error_t je;
    oci_manifest m = {0};
    json_t *j = json_loadb((const char *)json.p, json.n, 0, &je);
    if (!j)
        return err_set(e, ERR_INVALID, "OCI manifest: not JSON: %s", je.text);
    bool ok = manifest_take(a, j, &m, e) || err_wrap(e, "OCI manifest");
    json_decref(j);
    if (ok)
        *ret = m;
    return ok;
}

static json_t *descriptor_json(const oci_descriptor *d)
{
    json_t *j = json_object();
    json_object_set_new(j, "mediaType", json_of(d->media_type));
    json_object_set_new(j, "digest", json_of(d->digest));
    json_object_set_new(j, "size", json_integer((json_int_t)d->bytes));
    return j;
}

bool oci_manifest_write(const oci_manifest *m, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *layers = json_array(), *notes = json_object();
    json_object_set_new(j, "schemaVersion", json_integer(2));
    json_object_set_new(j, "mediaType", json_string(OCI_MEDIA_MANIFEST));
    json_object_set_new(j, "config", descriptor_json(&m->config));
    for (size_t i = 0; i < m->layers_count; i++)
        json_array_append_new(layers, descriptor_json(&m->layers[i]));
    json_object_set_new(j, "layers", layers);
    for (size_t i = 0; i < m->annotations.n; i++) {
        char *key = strndup(m->annotations.at[i].key.p, m->annotations.at[i].key.n);
        json_object_set_new(notes, key ? key : "", json_of(m->annotations.at[i].value));
        free(key);
    }
    if (m->annotations.n)
        json_object_set(j, "annotations", notes);
    json_decref(notes);
    return json_put(j, out, e);
}

const oci_descriptor *oci_manifest_app(const oci_manifest *m)
{
    for (size_t i = 0; i < m->layers_count; i++)
        if (str_eq(m->layers[i].media_type, S(OCI_MEDIA_LOCKED)))
            return &m->layers[i];
    return str_eq(m->config.media_type, S(OCI_MEDIA_LOCKED)) ? &m->config : NULL;
}

const oci_descriptor *oci_manifest_component(const oci_manifest *m)
{
    const oci_descriptor *d = m->layers_count == 1 ? &m->layers[0] : NULL;
    bool is_wasm = d && (str_eq(d->media_type, S(OCI_MEDIA_WASM)) ||
                         str_eq(d->media_type, S(OCI_MEDIA_PACKAGE)));
    return is_wasm ? d : NULL;
}
