/* See json.h. Texts have a length and no end, so that variables and what guests store may hold a
 * NUL; an empty one may be no pointer at all. */
#include "base/json.h"

json_t *json_of(str s) { return json_stringn(s.n ? s.p : "", s.n); }

static int dump(const char *p, size_t n, void *out) { return buf_put(out, p, n) ? 0 : -1; }

/* jansson passes over a key that was refused: what the buffer says counts. */
bool json_put(const json_t *j, buf *out, err *e)
{
    bool ok = json_dump_callback(j, dump, out, JSON_COMPACT) == 0 && !out->failed;
    return ok || err_no_memory(e);
}
