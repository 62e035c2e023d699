/* See carbon_data.h. Files of several formats become one reading before they become a series, so
 * that a history in CSV and a provider's latest answer in JSON may overlap: the later file wins
 * where both speak of the same moment. */
#include "cli/carbon_data.h"

#include "base/limits.h"
#include "carbon/source.h"

#include <errno.h>
#include <stdio.h>

static void file_close(FILE **f)
{
    if (*f && *f != stdin && *f != stdout)
        fclose(*f);
}

bool file_read(const char *path, size_t max, arena *a, bytes *ret, err *e)
{
    _cleanup_(file_close) FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f)
        return err_set_errno(e, "%s", path);
    buf b;
    buf_init(&b, max);
    for (;;) {
        if (!buf_reserve(&b, 1)) {
            buf_fini(&b);
            return err_set(e, ERR_LIMIT, "%s has more than %zu bytes", path, max);
        }
        size_t got = fread(b.p + b.n, 1, b.cap - b.n, f);
        b.n += got;
        if (!got)
            break;
    }
    bool ok = !ferror(f);
    if (!ok)
        err_set_errno(e, "%s", path);
    bytes copy = ok ? arena_bytes(a, buf_bytes(&b)) : (bytes){0};
    if (ok && b.n && !copy.p)
        ok = err_no_memory(e);
    buf_fini(&b);
    if (ok)
        *ret = copy;
    return ok;
}

bool file_write(const char *path, const buf *b, err *e)
{
    if (b->failed)
        return err_set(e, ERR_LIMIT, "%s: the output has more than %zu bytes", path, b->max);
    _cleanup_(file_close) FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "wb");
    if (!f || fwrite(b->p, 1, b->n, f) != b->n || fflush(f) != 0)
        return err_set_errno(e, "%s", path);
    return true;
}

bool carbon_data_read(const char *const *paths, size_t n, arena *a, carbon_data *ret, err *e)
{
    intensity_reading all = {0};
    for (size_t i = 0; i < n; i++) {
        bytes text;
        source_format format;
        intensity_reading r;
        if (!file_read(paths[i], SOURCE_BYTES_MAX, a, &text, e))
            return false;
        if (!source_guess(text, &format, e) || !source_parse(format, text, INT64_MAX, a, &r, e))
            return err_wrap(e, "%s", paths[i]);
        if (i && r.kind != all.kind)
            return err_set(e, ERR_INVALID, "%s is %s intensity, the files before are %s", paths[i],
                           intensity_kind_name(r.kind), intensity_kind_name(all.kind));
        size_t sum = all.points_count + r.points_count;
        intensity_point *p = arena_grow(a, all.points, all.points_count, sum, sizeof *p);
        if (!p)
            return err_no_memory(e);
        memcpy(p + all.points_count, r.points, r.points_count * sizeof *p);
        r.rejected += all.rejected;
        r.points = p;
        r.points_count = sum;
        all = r;
    }
    intensity_series s;
    if (!intensity_series_from(&all, 3600, true, a, &s, e))
        return false;
    *ret = (carbon_data){s.g_per_kwh, s.n,      s.start_s,    all.kind,
                         all.basis,   all.zone, all.rejected, s.n - s.known};
    return true;
}
