/* A loop for each test. Nothing sleeps: it turns until what a test waits for has come. */
#pragma once

#include "unit.h"

#include "base/clock.h"
#include "loop/loop.h"

static loop *l;

static inline int open_loop(void **state)
{
    err e;
    return loop_new(&l, &e) ? 0 : -1;
}

static inline int close_loop(void **state)
{
    loop_free(l);
    return 0;
}

static size_t open_before;

/* A loop, for tests that leave no descriptor open. */
static inline int count_descriptors(void **state)
{
    open_before = entries("/proc/self/fd");
    return open_loop(state);
}

static inline int none_is_left(void **state)
{
    close_loop(state);
    return entries("/proc/self/fd") != open_before;
}

#ifndef PATIENCE_S
#define PATIENCE_S 10
#endif

/* Turns the loop until cond holds. */
#define until(cond)                                                                                \
    do {                                                                                           \
        for (ns end_ = clock_mono() + PATIENCE_S * NS_PER_S; !(cond);) {                           \
            if (clock_mono() > end_)                                                               \
                fail_msg("waited in vain for: %s", #cond);                                         \
            loop_turn(l, 2);                                                                       \
        }                                                                                          \
    } while (0)
