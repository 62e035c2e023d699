/* What `ebb sim`, `ebb carbon` and `ebb capacity` share: files of intensity into an hourly array,
 * options, output. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "carbon/intensity.h"

typedef struct {
    double *hourly; /* NaN where unknown */
    size_t hours;
    int64_t start_s;
    intensity_kind kind;
    intensity_basis basis;
    str zone;
    size_t rejected, gaps;
} carbon_data;

/* The whole file, at most max bytes, in the arena. "-" is standard input. */
bool file_read(const char *path, size_t max, arena *a, bytes *ret, err *e);
/* "-" is standard output. */
bool file_write(const char *path, const buf *b, err *e);
/* Reads files of any format of carbon/source.h, in any order, into one hourly series. */
bool carbon_data_read(const char *const *paths, size_t n, arena *a, carbon_data *ret, err *e);
