/* wasi:random@0.2. All of it comes from the kernel's generator: the insecure interfaces promise
 * less, not worse, and a second generator would be one more thing to get wrong when an instance is
 * restored. Nothing random is kept in guest or snapshot state. */
#include "host/call.h"

#include "base/limits.h"

static host_status random_bytes(host_call *c)
{
    uint64_t n = c->slots[0].u64;
    place r, first;
    if (n > HOST_RANDOM_BYTES_MAX)
        return call_trap(c, "%llu random bytes asked for at once; at most %zu are given",
                         (unsigned long long)n, HOST_RANDOM_BYTES_MAX);
    if (!result_place(c, &r) || !put_list(c, r, (uint32_t)n, &first))
        return HOST_TRAP;
    if (n)
        random_fill(c->memory + first.at, (size_t)n);
    return HOST_DONE;
}

static host_status random_u64(host_call *c)
{
    uint64_t v;
    random_fill(&v, sizeof v);
    return return_u64(c, v);
}

static host_status insecure_seed(host_call *c)
{
    uint64_t v[2];
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    random_fill(v, sizeof v);
    put_int(c, place_field(r, 0), v[0]);
    put_int(c, place_field(r, 1), v[1]);
    return HOST_DONE;
}

static const host_func random_funcs[] = {
    {"get-random-bytes", "func(len: u64) -> list<u8>", random_bytes},
    {"get-random-u64", "func() -> u64", random_u64},
    {0},
};

const host_interface wasi_random_random = {
    .name = "wasi:random/random@0.2.0",
    .types = "",
    .funcs = random_funcs,
};

static const host_func insecure_funcs[] = {
    {"get-insecure-random-bytes", "func(len: u64) -> list<u8>", random_bytes},
    {"get-insecure-random-u64", "func() -> u64", random_u64},
    {0},
};

const host_interface wasi_random_insecure = {
    .name = "wasi:random/insecure@0.2.0",
    .types = "",
    .funcs = insecure_funcs,
};

static const host_func insecure_seed_funcs[] = {
    {"insecure-seed", "func() -> tuple<u64, u64>", insecure_seed},
    {0},
};

const host_interface wasi_random_insecure_seed = {
    .name = "wasi:random/insecure-seed@0.2.0",
    .types = "",
    .funcs = insecure_seed_funcs,
};
