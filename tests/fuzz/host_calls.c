/* Any sequence of host function calls with any arguments: the input is a guest that makes them up.
 *
 * One byte chooses a row (any import of any interface, or a drop), then each core parameter is a
 * choice: a small number, a handle that lives, a pointer into the arena of written values, an edge,
 * raw bytes. Bytes of the input are also what lies in guest memory, and what the client sends. The
 * calls go through the engine as a component's would. They may answer, wait or trap; what else
 * happens is ASan's to say. */
#include "host_kit.h"

#include "base/limits.h"

#include <sys/stat.h>

enum { CALLS_MAX = 200, AREA = 1000, AREA_BYTES = 8192 };

typedef struct {
    const uint8_t *p, *end;
} input;

static uint8_t next(input *in) { return in->p < in->end ? *in->p++ : 0; }

static uint64_t next_word(input *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | next(in);
    return v;
}

static uint64_t draw(input *in)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     255,
                                     256,
                                     4095,
                                     4096,
                                     65535,
                                     65536,
                                     64 * 65536 - 8,
                                     64 * 65536 - 1,
                                     64 * 65536,
                                     INT32_MAX,
                                     UINT32_MAX,
                                     UINT32_MAX - 7,
                                     INT64_MAX,
                                     UINT64_MAX};
    uint8_t how = next(in);
    switch (how >> 5) {
    case 0:
        return how & 31;
    case 1: /* a handle */
    case 2:
        return 1 + next(in) % (hk.g->handles.n ? hk.g->handles.n : 1);
    case 3: /* a pointer, aligned */
    case 4:
        return AREA + 8 * (next(in) * 4u % (AREA_BYTES / 8));
    case 5:
        return next(in);
    case 6:
        return edges[how % (sizeof edges / sizeof *edges)];
    default:
        return next_word(in);
    }
}

/* Some of the input as guest memory: pointers and lengths that fit, and text. */
static void fill_memory(input *in)
{
    uint8_t *m = hk_memory() + AREA;
    for (unsigned i = 0, n = next(in) % 32u; i < n; i++) {
        uint32_t at = next(in) * 8u % AREA_BYTES, pair[2] = {AREA + next(in) * 8u, next(in) % 32u};
        if (next(in) & 1)
            memcpy(m + at, pair, sizeof pair);
        else
            for (int k = 0; k < 8; k++)
                m[at + (uint32_t)k] = next(in);
    }
}

static char folder[] = "/tmp/ebb-fuzz-calls-XXXXXX";
static int folder_fd = -1;

static void folder_remove(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        perror(command);
}

static void set_up(void)
{
    if (hk_begin(NULL) < 0 || !mkdtemp(folder))
        abort();
    folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    atexit(folder_remove);
}

/* Rows that would leave the process: exiting is the guest's own business. Sockets and names go out
 * only where the component may reach something, and this one may reach nothing. */
static bool is_called(const plan_import *p)
{
    return !str_starts(p->interface, S("wasi:cli/exit"));
}

static void one_call(input *in, hk_exchange *x)
{
    uint64_t s[20] = {0};
    uint32_t k = (uint32_t)(next(in) | next(in) << 8) % hk.count;
    const core_signature *sig = &hk.imports[k].signature;
    for (uint32_t i = 0; i < sig->params_count; i++)
        s[i] = draw(in);
    if (sig->results_spilled && next(in) < 240)
        s[sig->params_count - 1] = AREA + 8 * (next(in) % 64u);
    if (!is_called(&hk.imports[k]))
        return;
    engine_status status = hk_start(k, s, sig->params_count);
    if (status == ENGINE_WAIT && next(in) & 1) { /* something comes from outside, or time passes */
        x->room += 1000;
        buf_put_str(&x->body, S("more"));
        loop_turn(hk.l, 0);
        status = kit_run(hk.in);
    }
    if (status != ENGINE_DONE) {
        in->p = in->end; /* a trap or a wait ends a guest */
        return;
    }
    loop_turn(hk.l, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const http_field some[] = {{{"a", 1}, {"b", 1}}, {{"content-length", 14}, {"9", 1}}};
    input in = {data, data + n};
    hk_exchange x;
    slot args[2];
    err e;
    if (folder_fd < 0)
        set_up();
    struct host_preopen pre = {S("/"), folder_fd, next(&in) & 1};
    hk.component = (host_component){.handles_max = 64,
                                    .preopens = &pre,
                                    .preopens_count = 1,
                                    .environment = some,
                                    .environment_count = 1,
                                    .variables = some,
                                    .variables_count = 1,
                                    .request_body_bytes_max = 100,
                                    .response_body_bytes_max = 1000};
    hk_open();
    hkx_init(&x, (http_request){.method = S("POST"),
                                .target = S("/a?b"),
                                .has_body = true,
                                .fields = some,
                                .fields_count = 1,
                                .scheme = S("http"),
                                .authority = S("h"),
                                .content_length = -1});
    if (!guest_http_begin(hk.g, &x.x, &x.x.request, args, &e))
        abort();
    for (int i = 0; i < CALLS_MAX && in.p < in.end; i++) {
        if (i % 8 == 0)
            fill_memory(&in);
        one_call(&in, &x);
    }
    guest_http_state state = guest_http(hk.g);
    if (state != GUEST_HTTP_CUT && state != GUEST_HTTP_ENDED)
        guest_http_returned(hk.g, n & 1);
    hk_close();
    loop_turn(hk.l, 0);
    hkx_fini(&x);
    return 0;
}
