/* The answer of the process that asks intensity providers (grid_role.c) to the keeper. */
#pragma once

#include <stdint.h>

typedef struct {
    int32_t status; /* of HTTP; 0: there was none. 200 comes with the body in a descriptor */
    int64_t retry_after_s;
    char text[256]; /* what went wrong, without secrets */
} grid_answer;
