/* Shared by source.c and source_csv.c only: a growing list of points that refuses nonsense. */
#pragma once

#include "carbon/intensity.h"

typedef struct {
    arena *arena;
    int64_t now_s;
    size_t room; /* points that fit without growing */
    intensity_reading reading;
} point_list;

/* Counts an impossible point as rejected and returns true; false only without memory or at
 * INTENSITY_POINTS_MAX. */
bool point_add(point_list *l, intensity_point p, err *e);
bool source_csv(point_list *l, bytes text, err *e);
