/* Versions and what a dependency asks of one (Semantic Versioning 2.0.0; requirements as Cargo and
 * Spin write them: "1.2", "^1.2.3", "~1.2", "=1.2.3", ">=1.2, <1.5", "1.*", "*"). */
#pragma once

#include "base/str.h"

typedef struct {
    uint64_t major, minor, patch;
    str pre; /* after '-'; empty: none */
} semver;

/* "1.2.3", "1.2.3-rc.1", "1.2.3+build" (which does not count). */
bool semver_parse(str text, semver *ret);
/* Less than, equal to or greater than 0: precedence, pre-releases compared as text by their parts.
 */
int semver_compare(const semver *a, const semver *b);
/* Is the text such a requirement? */
bool semver_is_requirement(str text);
/* A pre-release only meets a requirement that names one of the same three numbers. False for what
 * is no requirement. */
bool semver_meets(const semver *v, str requirement);
