/* See archive.h. zlib inflates; the rest is arithmetic on blocks of 512 bytes:
 *
 *     0    name ...      124  size, octal          156  type: '0' or NUL is a regular file
 *     100  mode ...      148  checksum, octal      257  "ustar"
 */
#include "app/archive.h"

#include <string.h>
#include <zlib.h>

enum { BLOCK = 512, SIZE_AT = 124, CHECKSUM_AT = 148, TYPE_AT = 156, STEP_BYTES = 256 << 10 };

bool archive_inflate(bytes gzip, buf *out, err *e)
{
    z_stream z = {.next_in = (Bytef *)gzip.p, .avail_in = (uInt)gzip.n};
    int status = gzip.n > UINT32_MAX ? Z_MEM_ERROR : inflateInit2(&z, 15 + 16); /* gzip only */
    if (status != Z_OK)
        return err_no_memory(e);
    bool room = true;
    while (status == Z_OK && room) {
        size_t step = out->max - out->n < STEP_BYTES ? out->max - out->n : STEP_BYTES;
        room = step > 0 && buf_reserve(out, step);
        if (!room)
            break;
        z.next_out = out->p + out->n;
        z.avail_out = (uInt)step;
        status = inflate(&z, Z_NO_FLUSH);
        out->n += step - z.avail_out;
        if (status == Z_STREAM_END && z.avail_in) /* members may follow each other */
            status = inflateReset(&z);
    }
    inflateEnd(&z);
    if (!room)
        return err_set(e, ERR_LIMIT, "the archive unpacks to more than %zu bytes", out->max);
    return status == Z_STREAM_END || err_set(e, ERR_INVALID, "the archive is no gzip, or is cut");
}

/* Octal digits, blanks around them; or, for long files of GNU tar, binary after a set first bit. */
static bool number_read(const uint8_t *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        for (i = n - 8; i < n; i++)
            v = v << 8 | p[i];
        *ret = v;
        return v <= INT64_MAX;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    *ret = v;
    return i == n || p[i] == ' ' || p[i] == 0;
}

static bool checksum_holds(const uint8_t *block)
{
    uint64_t sum = 0, want;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= CHECKSUM_AT && i < CHECKSUM_AT + 8 ? ' ' : block[i];
    return number_read(block + CHECKSUM_AT, 8, &want) && sum == want;
}

bool archive_files(bytes tar, bool (*on_file)(void *user, bytes content, err *e), void *user,
                   err *e)
{
    static const uint8_t end[BLOCK];
    for (size_t at = 0; at < tar.n;) {
        uint64_t size;
        if (tar.n - at < BLOCK)
            return err_set(e, ERR_INVALID, "offset %zu: the archive is cut", at);
        const uint8_t *block = tar.p + at;
        if (memcmp(block, end, BLOCK) == 0)
            return true;
        if (!checksum_holds(block) || !number_read(block + SIZE_AT, 12, &size))
            return err_set(e, ERR_INVALID, "offset %zu: not the head of a file in a tar archive",
                           at);
        at += BLOCK;
        if (size > tar.n - at)
            return err_set(e, ERR_INVALID, "offset %zu: the archive is cut", at);
        char type = (char)block[TYPE_AT];
        bool is_file = type == '0' || type == 0;
        if (is_file && !on_file(user, (bytes){tar.p + at, (size_t)size}, e))
            return false;
        uint64_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
        at = padded > tar.n - at ? tar.n : at + (size_t)padded;
    }
    return true;
}
