/* WebAssembly text to binary, for tests and the bench: a module of ten lines is easier to read as
 * text, and Wasmtime can translate it. It stands here because only this room may call Wasmtime; ebb
 * itself never reads text. What comes out is as untrusted as any upload: it is validated when it is
 * compiled. The caller owns the buffer.
 */
#include "engine/engine_test.h"
#include "engine/inner.h"

bool engine_wat2wasm(str wat, buf *ret_module, err *e)
{
    wasm_byte_vec_t out;
    wasmtime_error_t *error = wasmtime_wat2wasm(wat.p, wat.n, &out);
    if (error)
        return engine_error(e, ERR_INVALID, error);
    bool ok = buf_put(ret_module, out.data, out.size);
    wasm_byte_vec_delete(&out);
    return ok || err_no_memory(e);
}
