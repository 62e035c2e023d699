/* app/oci and app/archive: references, manifests, what is in an archive layer. */
#include "unit.h"

#include "app/archive.h"
#include "app/oci.h"
#include "base/base64.h"
#include "base/limits.h"

#include <stdio.h>
#include <zlib.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static arena a;
static err e;

static int reset(void **state)
{
    arena_reset(&a);
    return 0;
}

static void references(void **state)
{
    static const struct {
        const char *text, *registry, *repository, *tag;
        bool has_digest, likely;
    } cases[] = {
        {"ghcr.io/owner/app:v1", "ghcr.io", "owner/app", "v1", false, true},
        {"ghcr.io/owner/app", "ghcr.io", "owner/app", "latest", false, true},
        {"127.0.0.1:5000/a/b.c_d-e:1.2.3", "127.0.0.1:5000", "a/b.c_d-e", "1.2.3", false, true},
        {"localhost/x", "localhost", "x", "latest", false, true},
        {"[::1]:5000/x", "[::1]:5000", "x", "latest", false, true},
        {"x:v1", "docker.io", "library/x", "v1", false, true},
        {"user/x:v1", "docker.io", "user/x", "v1", false, true},
        {"user/x", "docker.io", "user/x", "latest", false, false},
        {"dir/spin.toml", "docker.io", "dir/spin.toml", "latest", false, false},
        {"ghcr.io/o/a@sha256:" HEX, "ghcr.io", "o/a", "", true, true},
        {"ghcr.io/o/a:v1@sha256:" HEX, "ghcr.io", "o/a", "v1", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        oci_reference r;
        str text = str_from(cases[i].text);
        if (!oci_reference_parse(&a, text, &r, &e))
            fail_msg("%s: %s", cases[i].text, e.text);
        assert_true(str_eq(r.registry, str_from(cases[i].registry)));
        assert_true(str_eq(r.repository, str_from(cases[i].repository)));
        assert_true(str_eq(r.tag, str_from(cases[i].tag)));
        assert_int_equal(r.digest.n, cases[i].has_digest ? 71 : 0);
        assert_int_equal(oci_reference_likely(text), cases[i].likely);
    }
    static const char *const wrong[] = {
        "",
        "/abs/path",
        "../up",
        "./here",
        "a//b",
        "ghcr.io/",
        "UPPER/x:1",
        "a:",
        "a:b:c",
        "a@sha256:12",
        "a@md5:" HEX,
        "ghcr.io/a/../b",
        "a b",
        "-a",
        "ghcr.io/o/-a",
        "a:-tag",
        "a?b.io/c:v1",
        "h.io/a@sha512:" HEX,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        oci_reference r;
        if (oci_reference_parse(&a, str_from(wrong[i]), &r, &e) ||
            oci_reference_likely(str_from(wrong[i])))
            fail_msg("'%s' is no reference", wrong[i]);
    }
}

static void manifests(void **state)
{
    oci_descriptor layers[] = {{S(OCI_MEDIA_WASM), S("sha256:" HEX), 10},
                               {S(OCI_MEDIA_LOCKED), S("sha256:" HEX), 20}};
    oci_manifest m = {.config = {S(OCI_MEDIA_CONFIG), S("sha256:" HEX), 2},
                      .layers = layers,
                      .layers_count = 2},
                 read;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 1 * MIB);
    assert_true(app_pairs_add(&a, &m.annotations, S("k"), S("v")));
    assert_true(oci_manifest_write(&m, &out, &e));
    if (!oci_manifest_read(&a, buf_bytes(&out), &read, &e))
        fail_msg("%s", e.text);
    assert_int_equal(read.layers_count, 2);
    assert_str(read.layers[0].media_type, OCI_MEDIA_WASM);
    assert_int_equal(read.layers[0].bytes, 10);
    assert_str(read.config.media_type, OCI_MEDIA_CONFIG);
    assert_str(read.annotations.at[0].value, "v");
    assert_ptr_equal(oci_manifest_app(&read), &read.layers[1]);
    assert_null(oci_manifest_component(&read));
    read.layers_count = 1; /* a component alone */
    assert_null(oci_manifest_app(&read));
    assert_ptr_equal(oci_manifest_component(&read), &read.layers[0]);
    read.config.media_type = S(OCI_MEDIA_LOCKED); /* pushes of old */
    assert_ptr_equal(oci_manifest_app(&read), &read.config);

    static const struct {
        const char *json, *says;
    } wrong[] = {
        {"", "not JSON"},
        {"{}", "layers"},
        {"{\"manifests\":[]}", "index"},
        {"{\"layers\":[]}", "config"},
        {"{\"layers\":[],\"config\":{\"mediaType\":\"x\",\"size\":1,\"digest\":\"sha256:../x\"}}",
         "digest"},
        {"{\"layers\":[{}],\"config\":{\"mediaType\":\"x\",\"size\":1,\"digest\":\"sha256:" HEX
         "\"}}",
         "layer 0"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        str json = str_from(wrong[i].json);
        assert_false(oci_manifest_read(&a, (bytes){(const uint8_t *)json.p, json.n}, &read, &e));
        if (!strstr(e.text, wrong[i].says))
            fail_msg("'%s' does not say '%s'", e.text, wrong[i].says);
    }
}

/* --- archives */

static void tar_add(buf *out, char type, const char *content, size_t n)
{
    char head[512] = "name";
    snprintf(head + 124, 12, "%011zo", n);
    memcpy(head + 257, "ustar", 5);
    head[156] = type;
    memset(head + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof head; i++)
        sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    buf_put(out, head, sizeof head);
    buf_put(out, content, n);
    while (out->n % 512)
        buf_put_u8(out, 0);
}

static bool count(void *user, bytes content, err *x)
{
    size_t *n = user;
    n[0]++;
    n[1] += content.n;
    return n[0] < 5 || err_set(x, ERR_LIMIT, "enough");
}

static void archives(void **state)
{
    _cleanup_(buf_fini) buf tar;
    buf_init(&tar, 1 * MIB);
    size_t seen[2] = {0};
    static char text[1000];
    tar_add(&tar, '0', "one", 3);
    tar_add(&tar, '5', "", 0);
    tar_add(&tar, 'x', text, 600); /* of pax */
    tar_add(&tar, '0', text, 512);
    tar_add(&tar, 0, "", 0);
    assert_true(archive_files(buf_bytes(&tar), count, seen, &e)); /* without an end */
    assert_int_equal(seen[0], 3);
    assert_int_equal(seen[1], 515);
    for (size_t i = 1; i < tar.n; i++)
        if (i % 512) {
            size_t none[2] = {0};
            uint8_t *cut = malloc(i); /* exact, for the address sanitizer */
            memcpy(cut, tar.p, i);
            archive_files((bytes){cut, i}, count, none, &e);
            assert_true(none[0] <= 3);
            free(cut);
        }
    tar.p[0] ^= 1; /* the checksum */
    assert_false(archive_files(buf_bytes(&tar), count, seen, &e));
    assert_non_null(strstr(e.text, "offset 0"));
    buf_clear(&tar);
    for (int i = 0; i < 6; i++)
        tar_add(&tar, '0', "", 0);
    seen[0] = 0;
    assert_false(archive_files(buf_bytes(&tar), count, seen, &e));
    assert_string_equal(e.text, "enough");
    memset(text, 0, sizeof text);
    buf_clear(&tar);
    tar_add(&tar, '0', "", 0);
    memcpy(tar.p + 124, "77777777777", 11); /* longer than the archive */
    assert_false(archive_files(buf_bytes(&tar), count, seen, &e));
}

static void inflating(void **state)
{
    static uint8_t plain[300000], packed[310000];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * i >> 8);
    z_stream z = {
        .next_in = plain, .avail_in = sizeof plain, .next_out = packed, .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = z.total_out;
    deflateEnd(&z);
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 1 * MIB);
    assert_true(archive_inflate((bytes){packed, n}, &out, &e));
    assert_int_equal(out.n, sizeof plain);
    assert_memory_equal(out.p, plain, sizeof plain);
    buf_clear(&out);
    assert_false(archive_inflate((bytes){packed, n - 9}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    buf_clear(&out);
    assert_false(archive_inflate((bytes){plain, 1000}, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    buf small;
    buf_init(&small, 1000);
    assert_false(archive_inflate((bytes){packed, n}, &small, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&small);
}

/* RFC 4648, section 10, and what is none. */
static void base64(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        _cleanup_(buf_fini) buf out;
        buf_init(&out, 100);
        bytes b;
        str plain = str_from(pairs[i][0]);
        assert_true(base64_encode((bytes){(const uint8_t *)plain.p, plain.n}, &out));
        assert_true(str_eq(buf_str(&out), str_from(pairs[i][1])));
        assert_true(base64_decode(&a, str_from(pairs[i][1]), &b));
        assert_true(str_eq((str){(const char *)b.p, b.n}, plain));
    }
    static const char *const wrong[] = {
        "Z", "Zg=", "Zg", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9\n", "Zm9v Zm9", "Zm-v"};
    bytes b;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (base64_decode(&a, str_from(wrong[i]), &b))
            fail_msg("'%s' is no base 64", wrong[i]);
}

/* How the head of a file says its size. */
static void sizes(void **state)
{
    static const struct {
        const char *size; /* 12 bytes */
        long long want;   /* bytes of the file, -1: no head, -2: cut */
        char type;
    } cases[] = {
        {"00000000003\0", 3, '0'},
        {"00000000003 ", 3, 0},
        {"          3\0", 3, '0'},
        {"3\0\0\0\0\0\0\0\0\0\0\0", 3, '0'},
        {"000000000003", 3, '0'},
        {"00000001000\0", 512, '0'},
        {"00000002000\0", 1024, '0'},
        {"00000002001\0", -2, '0'},
        {"00000000008\0", -1, '0'},
        {"0000000000/\0", -1, '0'},
        {"0000000000a\0", -1, '0'},
        {"\x80\0\0\0\0\0\0\0\0\0\0\3", 3, '0'},
        {"\x80\0\0\0\0\0\0\0\0\0\2\0", 512, '0'},
        {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", -2, '0'},
        {"\x80\0\0\0\x80\0\0\0\0\0\0\0", -1, '0'},
        {"00000000003\0", -3, '5'}, /* no file: passed over */
        {"00000000003\0", -3, 'x'},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *tar = calloc(1, 3 * 512); /* as long as it is, for a sanitizer to see the end */
        uint64_t sum = 0;
        size_t seen[2] = {0, 0};
        e = (err){0};
        assert_non_null(tar);
        memcpy(tar, "name", 4);
        memcpy(tar + 124, cases[i].size, 12);
        memset(tar + 148, ' ', 8);
        tar[156] = (uint8_t)cases[i].type;
        for (size_t k = 0; k < 512; k++)
            sum += tar[k];
        char digits[8];
        snprintf(digits, sizeof digits, "%06llo", (unsigned long long)sum);
        memcpy(tar + 148, digits, 7);
        bool ok = archive_files((bytes){tar, 3 * 512}, count, seen, &e);
        long long want = cases[i].want;
        if (ok != (want >= 0 || want == -3))
            fail_msg("size %zu: %s", i, e.text);
        assert_int_equal(seen[0], want >= 0);
        assert_int_equal(seen[1], want >= 0 ? want : 0);
        if (want == -1)
            assert_string_equal(e.text, "offset 0: not the head of a file in a tar archive");
        if (want == -2)
            assert_string_equal(e.text, "offset 512: the archive is cut");
        tar[0] ^= 1; /* which the sum sees */
        assert_false(archive_files((bytes){tar, 3 * 512}, count, seen, &e));
        free(tar);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(references, reset), cmocka_unit_test_setup(manifests, reset),
        cmocka_unit_test_setup(archives, reset),   cmocka_unit_test(sizes),
        cmocka_unit_test_setup(inflating, reset),  cmocka_unit_test_setup(base64, reset),
    };
    arena_init(&a, 64 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
