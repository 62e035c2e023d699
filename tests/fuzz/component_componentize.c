/* Any bytes as a core module that is to become a component, with the real adapter. No crash,
 * bounded memory; and what is made can be read again: it is refused, if at all, by the ordinary
 * checks. */
#include "component/componentize.h"
#include "component/link.h"

#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    buf out;
    err e;
    arena_init(&a, 64 << 20);
    buf_init(&out, 16 << 20);
    if (componentize(&a, (bytes){data, size}, adapter_reactor(), &out, &e)) {
        must(bytes_are_component(buf_bytes(&out)));
        component_check(&a, buf_bytes(&out), &e);
    }
    buf_fini(&out);
    arena_fini(&a);
    return 0;
}
