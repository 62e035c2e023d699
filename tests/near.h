/* Comparing doubles: cmocka's assert_float_equal compares floats, which see seven digits. */
#pragma once

#include <math.h>

#define assert_near(got, want, tolerance)                                                          \
    do {                                                                                           \
        double got_ = (got), want_ = (want);                                                       \
        if (!(fabs(got_ - want_) <= (tolerance)))                                                  \
            fail_msg("%s is %.17g, not %.17g", #got, got_, want_);                                 \
    } while (0)
