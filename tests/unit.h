/* What every unit test includes: cmocka in the order it wants. */
#pragma once
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_str(s, lit)                                                                         \
    do {                                                                                           \
        str got_ = (s);                                                                            \
        assert_int_equal(got_.n, sizeof(lit) - 1);                                                 \
        assert_memory_equal(got_.p, lit, sizeof(lit) - 1);                                         \
    } while (0)

/* The test's error e has these words. */
#define says(words)                                                                                \
    do {                                                                                           \
        if (!strstr(e.text, words))                                                                \
            fail_msg("'%s' is not in: %s", words, e.text);                                         \
    } while (0)

/* How many names a folder holds: of "/proc/self/fd", how many descriptors are open. */
static inline size_t entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}
