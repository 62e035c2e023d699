/* What every unit test includes: cmocka in the order it wants. */
#pragma once
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
