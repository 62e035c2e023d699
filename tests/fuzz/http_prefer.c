/* Values of Prefer, one a line: never more than they say, and a list is read as its parts. */
#include "base/must.h"
#include "http/prefer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str rest = {(const char *)data, size};
    http_field fields[8];
    size_t n = 0;
    bool any = false;
    for (; rest.n && n < 8; n++) {
        fields[n] = (http_field){{"prefer", 6}, str_cut(&rest, '\n')};
        any |= prefer_read(&fields[n], 1).respond_async;
    }
    prefer all = prefer_read(fields, n);
    must(all.respond_async == any);
    must(all.has_wait || all.wait_s == 0);
    for (size_t i = 0; i < n; i++)
        fields[i].name = (str){"idempotency-key", 15};
    str key;
    err e;
    if (idempotency_key_read(fields, n, &key, &e))
        must(n == 0 || (key.n > 0 && key.n <= IDEMPOTENCY_KEY_BYTES_MAX));
    return 0;
}
