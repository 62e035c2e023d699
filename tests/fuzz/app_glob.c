/* Two lines, a pattern and a path: what matches within segments also matches across them, and a
 * path without special characters matches itself. */
#include "app/files.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    err e;
    str path = {(const char *)data, size};
    str pattern = str_cut(&path, '\n');
    if (size > 4096 || !files_glob_check(pattern, &e))
        return 0;
    bool within = files_glob_match(pattern, path, false);
    bool across = files_glob_match(pattern, path, true);
    must(!within || across);
    bool special = false;
    for (size_t i = 0; i < path.n; i++)
        special |= path.p[i] == '*' || path.p[i] == '?' || path.p[i] == '[';
    must(special || files_glob_match(path, path, false));
    return 0;
}
