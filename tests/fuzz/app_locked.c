/* Any bytes as a locked app. What is accepted is written, read and written again the same. */
#include "app/locked.h"
#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf one;
    _cleanup_(buf_fini) buf two;
    app *x;
    err e;
    arena_init(&a, APP_ARENA_BYTES_MAX);
    buf_init(&one, APP_LOCKED_BYTES_MAX);
    buf_init(&two, APP_LOCKED_BYTES_MAX);
    if (!locked_read(&a, (bytes){data, size}, &x, &e))
        return 0;
    must(locked_write(x, S(""), &one, &e));
    must(locked_read(&a, buf_bytes(&one), &x, &e));
    must(locked_write(x, S(""), &two, &e));
    must(str_eq(buf_str(&one), buf_str(&two)));
    return 0;
}
