/* Why a guest ended before its time, in words for its owner.
 *
 * Three sources: an instruction that trapped (Wasmtime has a code), a host function that refused
 * (it has said why by engine_trap_set before the trap reaches us), and an error of the engine (no
 * slot left, an uncaught exception). The first to speak is kept: when a nested call traps, the
 * host function above it traps too, and the inner reason is the true one.
 *
 * The backtrace is taken from the engine's own rendering, the only place where it gives names
 * demangled: lines "  0: 0x1e4 - module!function" up to a blank line. Function names are the
 * guest's, so anything may stand in them; whoever prints the text must escape control bytes. If a
 * later engine renders differently, the whole rendering is passed on: nothing relies on its shape.
 */
#include "engine/inner.h"

#include <stdio.h>
#include <stdlib.h>

static const char *trap_code_text(wasmtime_trap_code_t code)
{
    switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW:
        return "wasm trap: call stack exhausted";
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS:
        return "wasm trap: out of bounds memory access";
    case WASMTIME_TRAP_CODE_HEAP_MISALIGNED:
        return "wasm trap: unaligned atomic";
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS:
        return "wasm trap: undefined element: out of bounds table access";
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL:
        return "wasm trap: uninitialized element";
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE:
        return "wasm trap: indirect call type mismatch";
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW:
        return "wasm trap: integer overflow";
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO:
        return "wasm trap: integer divide by zero";
    case WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER:
        return "wasm trap: invalid conversion to integer";
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED:
        return "wasm trap: wasm `unreachable` instruction executed";
    case WASMTIME_TRAP_CODE_NULL_REFERENCE:
        return "wasm trap: null reference";
    case WASMTIME_TRAP_CODE_ARRAY_OUT_OF_BOUNDS:
        return "wasm trap: out of bounds array access";
    case WASMTIME_TRAP_CODE_ALLOCATION_TOO_LARGE:
        return "wasm trap: allocation size too large";
    case WASMTIME_TRAP_CODE_CAST_FAILURE:
        return "wasm trap: cast failure";
    case WASMTIME_TRAP_CODE_UNCAUGHT_EXCEPTION:
        return "wasm trap: uncaught exception";
    default:
        return NULL;
    }
}

static void trap_say_v(engine_instance *in, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void trap_say_v(engine_instance *in, const char *fmt, va_list args)
{
    if (in->trap_ready)
        return;
    vsnprintf(in->trap_text, sizeof in->trap_text, fmt, args);
    in->trap_info.text = in->trap_text;
    in->trap_ready = true;
}

void trap_say(engine_instance *in, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    trap_say_v(in, fmt, args);
    va_end(args);
}

host_status engine_trap_set(engine_instance *in, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    trap_say_v(in, fmt, args);
    va_end(args);
    return HOST_TRAP;
}

host_status engine_trap_pass(engine_instance *in, const engine_instance *from)
{
    const engine_trap *t = &from->trap_info;
    if (in->trap_ready)
        return HOST_TRAP;
    trap_say(in, "%s", t->text);
    in->trap_info.exited = t->exited;
    in->trap_info.exit_status = t->exit_status;
    in->trap_info.out_of_stack = t->out_of_stack;
    in->trap_info.out_of_memory = t->out_of_memory;
    if (t->backtrace[0] && !in->backtrace && (in->backtrace = strdup(t->backtrace))) {
        in->trap_info.backtrace = in->backtrace;
        in->trap_passed = true;
    }
    return HOST_TRAP;
}

host_status engine_exit_set(engine_instance *in, int status)
{
    if (!in->trap_ready) {
        in->trap_info.exited = true;
        in->trap_info.exit_status = status;
        trap_say(in, "the guest exited with status %d", status);
    }
    return HOST_TRAP;
}

/* The frames in `text`, one a line, without the engine's indent and module name. */
static void backtrace_take(engine_instance *in, str text)
{
    static const char head[] = "wasm backtrace:\n";
    if (in->backtrace && !in->trap_passed)
        return;
    in->trap_passed = false;
    const char *at = memmem(text.p, text.n, head, sizeof head - 1);
    str rest = at ? str_skip(text, (size_t)(at - text.p) + sizeof head - 1) : (str){NULL, 0};
    buf out;
    buf_init(&out, ENGINE_BACKTRACE_BYTES_MAX);
    if (in->backtrace) {
        buf_put_str(&out, str_from(in->backtrace));
        free(in->backtrace);
        in->backtrace = NULL;
        in->trap_info.backtrace = "";
    }
    while (rest.n > 0) {
        str line = str_trim(str_cut(&rest, '\n'));
        if (line.n == 0)
            break;
        if (str_starts(line, S("note:")))
            continue;
        const char *module = memmem(line.p, line.n, "<unknown>!", 10);
        size_t before = module ? (size_t)(module - line.p) : line.n;
        if (!buf_put_str(&out, str_head(line, before)) ||
            (module && !buf_put_str(&out, str_skip(line, before + 10))) || !buf_put_u8(&out, '\n'))
            break;
    }
    if (out.n > 0 && (in->backtrace = malloc(out.n + 1))) {
        memcpy(in->backtrace, out.p, out.n);
        in->backtrace[out.n] = 0;
        in->trap_info.backtrace = in->backtrace;
    }
    buf_fini(&out);
}

/* The reason in the engine's rendering: what follows the last "Caused by:", else all of it. */
static str cause_of(str text)
{
    static const char mark[] = "Caused by:";
    str cause = text;
    for (const char *at; (at = memmem(cause.p, cause.n, mark, sizeof mark - 1));)
        cause = str_skip(cause, (size_t)(at - cause.p) + sizeof mark - 1);
    return str_trim(cause);
}

void trap_take(engine_instance *in, wasm_trap_t *trap, wasmtime_error_t *error)
{
    wasmtime_trap_code_t code;
    if (trap && wasmtime_trap_code(trap, &code)) {
        const char *text = trap_code_text(code);
        if (!in->trap_ready) {
            in->trap_info.out_of_stack = code == WASMTIME_TRAP_CODE_STACK_OVERFLOW;
            in->trap_info.out_of_memory = code == WASMTIME_TRAP_CODE_ALLOCATION_TOO_LARGE;
            in->wasm_trap = true;
        }
        if (text)
            trap_say(in, "%s", text);
    }
    wasm_byte_vec_t text = {0};
    if (trap)
        wasm_trap_message(trap, &text);
    else if (error)
        wasmtime_error_message(error, &text);
    str s = {text.data, text.size};
    if (s.n > 0 && s.p[s.n - 1] == 0)
        s.n--;
    str cause = cause_of(s);
    trap_say(in, "%.*s", STR(cause));
    backtrace_take(in, s);
    if (text.data)
        wasm_byte_vec_delete(&text);
    if (trap)
        wasm_trap_delete(trap);
    if (error)
        wasmtime_error_delete(error);
}

void trap_memory_full(engine_instance *in, size_t size)
{
    if (!in->wasm_trap || in->trap_info.out_of_memory)
        return;
    in->trap_info.out_of_memory = true;
    size_t n = strlen(in->trap_text);
    snprintf(in->trap_text + n, sizeof in->trap_text - n,
             "; its memory had reached the limit of %zu bytes", size);
}

void trap_fini(engine_instance *in)
{
    free(in->backtrace);
    in->backtrace = NULL;
}

const engine_trap *engine_instance_trap(const engine_instance *in) { return &in->trap_info; }
