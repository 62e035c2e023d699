/* `ebb build`, and what `ebb up` has of it. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

/* Builds every component of the app at `from` (NULL: this folder) that has a build command; profile
 * NULL: none. Output of the commands goes where ours goes; what is said about them to stderr. A
 * bare component is not built. */
bool build_app(arena *a, const char *from, const char *profile, err *e);
/* Says so on stderr if the last build was one of another profile. */
bool build_profile_compare(arena *a, const char *from, const char *profile, err *e);
