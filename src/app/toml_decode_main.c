/* ebb-toml-decode: TOML on standard input, the tagged JSON of the toml-test suite on standard
 * output; exit status 1 and a message if the input is not TOML. Only tests use it. */
#include "app/toml_json.h"
#include "base/limits.h"

#include <stdio.h>

int main(void)
{
    arena a;
    buf in, out;
    err e;
    toml_table *root;
    arena_init(&a, 1 * GIB);
    buf_init(&in, TOML_BYTES_MAX + 1);
    buf_init(&out, 1 * GIB);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
        buf_put(&in, chunk, n);
    bool ok = toml_parse(&a, S("stdin"), buf_str(&in), &root, &e);
    if (ok)
        ok = toml_to_tagged_json(&(toml_value){.kind = TOML_TABLE, .table = root}, &out, &e);
    if (ok)
        ok = fwrite(out.p, 1, out.n, stdout) == out.n;
    else
        fprintf(stderr, "%s\n", e.text);
    buf_fini(&in);
    buf_fini(&out);
    arena_fini(&a);
    return ok ? 0 : 1;
}
