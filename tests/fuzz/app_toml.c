/* Any bytes as TOML. What is accepted must come out as JSON that another parser accepts. */
#include "app/toml_json.h"
#include "base/limits.h"
#include "base/must.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf out;
    toml_table *root;
    err e;
    arena_init(&a, 64 * MIB);
    buf_init(&out, 64 * MIB);
    if (!toml_parse(&a, S("f"), (str){(const char *)data, size}, &root, &e)) {
        must(e.code == ERR_INVALID || e.code == ERR_LIMIT || e.code == ERR_NO_MEMORY);
        return 0;
    }
    toml_value v = {.kind = TOML_TABLE, .table = root};
    must(toml_to_tagged_json(&v, &out, &e));
    json_error_t je;
    json_t *json = json_loadb((char *)out.p, out.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &je);
    must(json || strstr(je.text, "NUL byte in object key"));
    json_decref(json);
    return 0;
}
