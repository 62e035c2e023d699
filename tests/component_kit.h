/* What tests of components share: an arena, an error, and the files of tests/component. */
#pragma once

#include "unit.h"

#include "base/arena.h"

#include <stdio.h>

static arena a;
static err e;

static bytes file(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "tests/component/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = arena_alloc(&a, n);
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
    return (bytes){p, n};
}
