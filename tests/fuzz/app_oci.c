/* What comes from registries, by the first byte: a reference, a manifest, a tar archive, gzip, a
 * range of versions with a version after a line feed, base 64. What is accepted is what it says. */
#include "app/archive.h"
#include "app/oci.h"
#include "app/semver.h"

#include "base/base64.h"
#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reference(arena *a, str text, err *e)
{
    oci_reference r, again;
    if (text.n > 200)
        return; /* what is put before a bare name would make it too long */
    if (!oci_reference_parse(a, text, &r, e)) {
        must(!oci_reference_likely(text));
        return;
    }
    must(r.registry.n && r.repository.n && (r.tag.n || oci_digest_valid(r.digest)));
    must(!memchr(r.repository.p, ':', r.repository.n) && r.repository.p[0] != '/');
    str whole = arena_printf(a, "%.*s/%.*s%s%.*s%s%.*s", STR(r.registry), STR(r.repository),
                             r.tag.n ? ":" : "", STR(r.tag), r.digest.n ? "@" : "", STR(r.digest));
    must(oci_reference_parse(a, whole, &again, e));
    must(str_eq(again.registry, r.registry) && str_eq(again.repository, r.repository) &&
         str_eq(again.tag, r.tag) && str_eq(again.digest, r.digest));
}

static void manifest(arena *a, bytes json, err *e)
{
    oci_manifest m, again;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 16 * MIB);
    if (!oci_manifest_read(a, json, &m, e))
        return;
    must(oci_digest_valid(m.config.digest) && m.layers_count <= OCI_LAYERS_MAX);
    must(oci_manifest_write(&m, &out, e));
    must(oci_manifest_read(a, buf_bytes(&out), &again, e));
    must(again.layers_count == m.layers_count);
}

static bool on_file(void *user, bytes content, err *e)
{
    const bytes *all = user;
    must(content.p >= all->p && content.p + content.n <= all->p + all->n);
    return true;
}

static void versions(str text)
{
    str version = text, range = str_cut(&version, '\n');
    semver v;
    if (!version.p || !semver_parse(version, &v))
        return;
    must(semver_compare(&v, &v) == 0);
    must(!semver_meets(&v, range) || semver_is_requirement(range));
}

static void base_64(arena *a, str text)
{
    bytes b;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 16 * MIB);
    if (!base64_decode(a, text, &b))
        return;
    must(base64_encode(b, &out));
    must(str_eq(buf_str(&out), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    err e = {0};
    if (size == 0)
        return 0;
    bytes b = {data + 1, size - 1};
    str text = {(const char *)b.p, b.n};
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf out;
    arena_init(&a, 64 * MIB);
    buf_init(&out, 1 * MIB);
    switch (data[0] % 6) {
    case 0:
        reference(&a, text, &e);
        break;
    case 1:
        manifest(&a, b, &e);
        break;
    case 2:
        archive_files(b, on_file, &b, &e);
        break;
    case 3:
        archive_inflate(b, &out, &e);
        break;
    case 4:
        versions(text);
        break;
    default:
        base_64(&a, text);
    }
    return 0;
}
