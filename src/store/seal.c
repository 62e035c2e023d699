/* See seal.h. OpenSSL's EVP; nothing is kept between calls, so threads may share a key.
 * A key file is written beside its place and renamed, so that half a key is never found. */
#include "store/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, NONCE = 12, TAG = 16 };

static void cipher_free(EVP_CIPHER_CTX **c) { EVP_CIPHER_CTX_free(*c); }
static void fd_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static bool key_make(const char *path, seal_key *ret, err *e)
{
    char temp[PATH_MAX];
    seal_key k;
    int n = snprintf(temp, sizeof temp, "%s.%d.tmp", path, (int)getpid());
    if (n < 0 || n >= (int)sizeof temp)
        return err_set(e, ERR_LIMIT, "the path is too long: %s", path);
    if (RAND_bytes(k.bytes, sizeof k.bytes) != 1)
        return err_set(e, ERR_INTERNAL, "no random numbers");
    _cleanup_(fd_end) int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0400);
    if (fd < 0 || write(fd, k.bytes, sizeof k.bytes) != (ssize_t)sizeof k.bytes || fsync(fd) < 0 ||
        rename(temp, path) < 0)
        return err_set_errno(e, "cannot make the key file %s", path);
    *ret = k;
    return true;
}

bool seal_key_load(const char *path, seal_key *ret, err *e)
{
    struct stat st;
    uint8_t got[SEAL_KEY_BYTES + 1];
    _cleanup_(fd_end) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return key_make(path, ret, e);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(e, "the key file %s", path);
    if (st.st_mode & 077)
        return err_set(e, ERR_INVALID, "the key file %s may be read by others: chmod 0400 it",
                       path);
    if (read(fd, got, sizeof got) != SEAL_KEY_BYTES)
        return err_set(e, ERR_INVALID, "%s is no key file: it must hold %d bytes", path,
                       SEAL_KEY_BYTES);
    memcpy(ret->bytes, got, SEAL_KEY_BYTES);
    return true;
}

bool seal_put(const seal_key *k, str place, bytes plain, buf *out, err *e)
{
    _cleanup_(cipher_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;
    if (!c || plain.n > INT_MAX || !buf_reserve(out, plain.n + SEAL_OVERHEAD))
        return err_no_memory(e);
    uint8_t *head = out->p + out->n, *nonce = head + 1, *body = nonce + NONCE;
    head[0] = VERSION;
    if (RAND_bytes(nonce, NONCE) != 1 ||
        !EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, nonce) ||
        !EVP_EncryptUpdate(c, NULL, &n, (const uint8_t *)place.p, (int)place.n) ||
        (plain.n && !EVP_EncryptUpdate(c, body, &n, plain.p, (int)plain.n)) ||
        !EVP_EncryptFinal_ex(c, body + plain.n, &n) ||
        !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, body + plain.n))
        return err_set(e, ERR_INTERNAL, "a value can't be encrypted");
    out->n += plain.n + SEAL_OVERHEAD;
    return true;
}

bool seal_open(const seal_key *k, str place, bytes sealed, arena *a, str *ret, err *e)
{
    _cleanup_(cipher_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    size_t n = sealed.n - SEAL_OVERHEAD;
    int got;
    if (sealed.n < SEAL_OVERHEAD || sealed.n > INT_MAX || sealed.p[0] != VERSION)
        return err_set(e, ERR_DENIED, "a sealed value is damaged");
    uint8_t *plain = arena_alloc(a, n + 1), tag[TAG];
    if (!c || !plain)
        return err_no_memory(e);
    const uint8_t *nonce = sealed.p + 1, *body = nonce + NONCE;
    memcpy(tag, body + n, TAG);
    if (!EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, nonce) ||
        !EVP_DecryptUpdate(c, NULL, &got, (const uint8_t *)place.p, (int)place.n) ||
        (n && !EVP_DecryptUpdate(c, plain, &got, body, (int)n)) ||
        !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) ||
        EVP_DecryptFinal_ex(c, plain + n, &got) <= 0)
        return err_set(e, ERR_DENIED,
                       "a sealed value does not open: it is damaged, or the key file is another");
    plain[n] = 0;
    *ret = (str){(const char *)plain, n};
    return true;
}
