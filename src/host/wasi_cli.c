/* wasi:cli@0.2: environment, exit, standard streams, terminals. A component has no arguments and no
 * working directory; its standard input is empty; standard output and error go out line by line
 * (guest_output); it never has a terminal. */
#include "host/wasi_cli.h"

#include "host/streams.h"

#include "base/limits.h"

/* --- environment, exit --------------------------------------------------------------------- */

static host_status get_environment(host_call *c)
{
    const host_component *h = c->g->component;
    place r, first;
    if (!result_place(c, &r) || !put_list(c, r, (uint32_t)h->environment_count, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < h->environment_count; i++) {
        place pair = place_element(first, i);
        if (!put_string(c, place_field(pair, 0), h->environment[i].name) ||
            !put_string(c, place_field(pair, 1), h->environment[i].value))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

static host_status get_arguments(host_call *c)
{
    place r, first;
    return result_place(c, &r) && put_list(c, r, 0, &first) ? HOST_DONE : HOST_TRAP;
}

static host_status initial_cwd(host_call *c)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    put_case(c, r, 0);
    return HOST_DONE;
}

static const host_func environment_funcs[] = {
    {"get-environment", "func() -> list<tuple<string, string>>", get_environment},
    {"get-arguments", "func() -> list<string>", get_arguments},
    {"initial-cwd", "func() -> option<string>", initial_cwd},
    {0},
};

const host_interface wasi_cli_environment = {
    .name = "wasi:cli/environment@0.2.0",
    .types = "",
    .funcs = environment_funcs,
};

static host_status cli_exit(host_call *c)
{
    uint32_t failed;
    if (!arg_case(c, 0, 2, &failed))
        return HOST_TRAP;
    return engine_exit_set(c->in, (int)failed);
}

static host_status cli_exit_with_code(host_call *c)
{
    return engine_exit_set(c->in, (int)(c->slots[0].u32 & 0xff));
}

static const host_func exit_funcs[] = {
    {"exit", "func(status: result)", cli_exit},
    {"exit-with-code", "func(status-code: u8)", cli_exit_with_code},
    {0},
};

const host_interface wasi_cli_exit = {
    .name = "wasi:cli/exit@0.2.0",
    .types = "",
    .funcs = exit_funcs,
};

/* --- standard streams ---------------------------------------------------------------------- */

static stream_state empty_peek(guest *g, input_stream *s, size_t max, size_t *ret_n,
                               error_info *ret_error)
{
    return STREAM_CLOSED;
}

static void empty_take(guest *g, input_stream *s, void *p, size_t n)
{
    must(!"nothing was promised");
}

static const input_ops empty_ops = {.peek = empty_peek, .take = empty_take};

typedef struct {
    output_stream s;
    int stream; /* 1, 2 */
} standard_output;

static stream_state standard_room(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error)
{
    *ret_n = HOST_WRITE_PERMIT_BYTES;
    return STREAM_OPEN;
}

static stream_state standard_write(guest *g, output_stream *s, const void *p, size_t n,
                                   error_info *ret_error)
{
    static const uint8_t zeroes[512];
    int stream = ((standard_output *)s)->stream;
    while (!p && n > sizeof zeroes) {
        guest_output(g, stream, zeroes, sizeof zeroes);
        n -= sizeof zeroes;
    }
    guest_output(g, stream, p ? p : zeroes, n);
    return STREAM_OPEN;
}

static const output_ops standard_ops = {.room = standard_room, .write = standard_write};

object *cli_stream_new(guest *g, uint32_t which)
{
    if (which == 0) {
        input_stream *in = OBJECT_NEW(g, input_stream, input_stream_resource, NULL);
        if (in)
            in->ops = &empty_ops;
        return (object *)in;
    }
    standard_output *out = OBJECT_NEW(g, standard_output, output_stream_resource, NULL);
    if (out) {
        out->s.ops = &standard_ops;
        out->stream = (int)which;
    }
    return (object *)out;
}

bool cli_stream_is_fresh(const object *o, uint32_t *ret_which)
{
    if (o->resource == &input_stream_resource) {
        const input_stream *in = (const input_stream *)(const void *)o;
        *ret_which = 0;
        return in->ops == &empty_ops && !in->closed;
    }
    if (o->resource != &output_stream_resource)
        return false;
    const standard_output *out = (const standard_output *)(const void *)o;
    if (out->s.ops != &standard_ops || out->s.closed || out->s.permit)
        return false;
    *ret_which = (uint32_t)out->stream;
    return true;
}

static host_status get_stdin(host_call *c) { return return_handle(c, cli_stream_new(c->g, 0)); }
static host_status get_stdout(host_call *c) { return return_handle(c, cli_stream_new(c->g, 1)); }
static host_status get_stderr(host_call *c) { return return_handle(c, cli_stream_new(c->g, 2)); }

#define USE_STREAMS "use wasi:io/streams@0.2.0.{input-stream, output-stream};"

const host_interface wasi_cli_stdin = {
    .name = "wasi:cli/stdin@0.2.0",
    .types = USE_STREAMS,
    .funcs = (const host_func[]){{"get-stdin", "func() -> input-stream", get_stdin}, {0}},
};
const host_interface wasi_cli_stdout = {
    .name = "wasi:cli/stdout@0.2.0",
    .types = USE_STREAMS,
    .funcs = (const host_func[]){{"get-stdout", "func() -> output-stream", get_stdout}, {0}},
};
const host_interface wasi_cli_stderr = {
    .name = "wasi:cli/stderr@0.2.0",
    .types = USE_STREAMS,
    .funcs = (const host_func[]){{"get-stderr", "func() -> output-stream", get_stderr}, {0}},
};

/* --- terminals: there is none -------------------------------------------------------------- */

static const host_resource terminal_input_resource = {"terminal-input", NULL};
static const host_resource terminal_output_resource = {"terminal-output", NULL};

static host_status no_terminal(host_call *c)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    put_case(c, r, 0);
    return HOST_DONE;
}

#define USE_INPUT  "use wasi:cli/terminal-input@0.2.0.{terminal-input};"
#define USE_OUTPUT "use wasi:cli/terminal-output@0.2.0.{terminal-output};"

const host_interface wasi_cli_terminal_input = {
    .name = "wasi:cli/terminal-input@0.2.0",
    .types = "resource terminal-input;",
    .resources = (const host_resource *const[]){&terminal_input_resource, NULL},
};
const host_interface wasi_cli_terminal_output = {
    .name = "wasi:cli/terminal-output@0.2.0",
    .types = "resource terminal-output;",
    .resources = (const host_resource *const[]){&terminal_output_resource, NULL},
};
const host_interface wasi_cli_terminal_stdin = {
    .name = "wasi:cli/terminal-stdin@0.2.0",
    .types = USE_INPUT,
    .funcs =
        (const host_func[]){{"get-terminal-stdin", "func() -> option<terminal-input>", no_terminal},
                            {0}},
};
const host_interface wasi_cli_terminal_stdout = {
    .name = "wasi:cli/terminal-stdout@0.2.0",
    .types = USE_OUTPUT,
    .funcs =
        (const host_func[]){
            {"get-terminal-stdout", "func() -> option<terminal-output>", no_terminal}, {0}},
};
const host_interface wasi_cli_terminal_stderr = {
    .name = "wasi:cli/terminal-stderr@0.2.0",
    .types = USE_OUTPUT,
    .funcs =
        (const host_func[]){
            {"get-terminal-stderr", "func() -> option<terminal-output>", no_terminal}, {0}},
};
