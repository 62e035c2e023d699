/* Values of traceparent, one a line: what is read is written as it was, but for its version and
 * unknown flags; of several none is believed. */
#include "base/must.h"
#include "http/traceparent.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str rest = {(const char *)data, size};
    http_field fields[4];
    size_t n = 0;
    for (; rest.n && n < 4; n++) {
        traceparent t, again;
        char text[TRACEPARENT_BYTES + 1];
        fields[n] = (http_field){{"traceparent", 11}, str_cut(&rest, '\n')};
        if (!traceparent_read(fields[n].value, &t))
            continue;
        traceparent_write(&t, text);
        must(memcmp(text + 2, fields[n].value.p + 2, 51) == 0);
        must(traceparent_read((str){text, TRACEPARENT_BYTES}, &again));
        must(again.flags == (t.flags & TRACE_SAMPLED));
    }
    traceparent t;
    must(!traceparent_find(fields, n, &t) || n == 1);
    return 0;
}
