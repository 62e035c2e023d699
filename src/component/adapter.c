/* The preview 1 adapter, embedded: ebb needs no file beside its binary to run core modules. It is
 * fetched when ebb is built (tools/crates.txt), never committed; ADAPTER_REACTOR is its path. */
#include "component/componentize.h"

__asm__(".section .rodata\n"
        ".balign 16\n"
        "ebb_adapter_reactor_begin:\n"
        ".incbin \"" ADAPTER_REACTOR "\"\n"
        "ebb_adapter_reactor_end:\n"
        ".byte 0\n"
        ".previous\n");

extern const uint8_t begin[] __asm__("ebb_adapter_reactor_begin");
extern const uint8_t end[] __asm__("ebb_adapter_reactor_end");

bytes adapter_reactor(void) { return (bytes){begin, (size_t)(end - begin)}; }
