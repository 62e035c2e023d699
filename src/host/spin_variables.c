/* Variables of a component: fermyon:spin/variables@2.0.0, fermyon:spin/config (Spin's first one)
 * and wasi:config/store. They differ in what they say about a name that is not there (spin.md 3.6).
 *
 * Values that cannot change were resolved by the platform. Others (Vault) are looked up at each
 * get: a job on a thread of the process, in memory of its own, for which the guest waits. A guest
 * that goes meanwhile leaves its job alone, which then frees itself. */
#include "host/call.h"

#include "base/limits.h"
#include "loop/work.h"

#include <stdlib.h>

typedef enum { FOUND, NOT_THERE, PROVIDER_FAILED } found;

typedef struct {
    str name, value;
    found how;
    err failure;
} wanted;

typedef struct variable_job {
    guest *g; /* NULL: it has gone */
    const host_component *component;
    arena a;
    wanted *at;
    size_t count;
    bool done;
} variable_job;

static void job_free(variable_job *j)
{
    arena_fini(&j->a);
    free(j);
}

void guest_variable_free(guest *g)
{
    variable_job *j = g->variable;
    g->variable = NULL;
    if (!j)
        return;
    j->g = NULL;
    if (j->done)
        job_free(j);
}

static void job_work(void *user)
{
    variable_job *j = user;
    const host_component *h = j->component;
    for (size_t i = 0; i < j->count; i++) {
        wanted *w = &j->at[i];
        w->how = h->variable_get(h->outbound_user, w->name, &j->a, &w->value, &w->failure) ? FOUND
                 : w->failure.code == ERR_NOT_FOUND ? NOT_THERE
                                                    : PROVIDER_FAILED;
    }
}

static void job_done(void *user)
{
    variable_job *j = user;
    j->done = true;
    if (j->g)
        guest_woken(j->g);
    else
        job_free(j);
}

/* Looks up the variables from first on. HOST_DONE: g->variable has them, until the function ends.
 */
static host_status look_up(host_call *c, const http_field *first, size_t count)
{
    guest *g = c->g;
    err e;
    if (c->g->progress)
        return g->variable->done ? HOST_DONE : call_wait(c);
    guest_variable_free(g);
    variable_job *j = calloc(1, sizeof *j);
    if (!j)
        return call_no_memory(c);
    *j = (variable_job){.g = g, .component = g->component, .count = count};
    arena_init(&j->a, (count + 1) * 2 * VARIABLE_VALUE_BYTES_MAX);
    j->at = ARENA_ARRAY(&j->a, wanted, count + 1);
    for (size_t i = 0; j->at && i < count; i++)
        j->at[i].name = first[i].name;
    if (!j->at || !loop_work_start(g->l, job_work, job_done, j, &e)) {
        job_free(j);
        return call_no_memory(c);
    }
    g->variable = j;
    g->progress = 1;
    return call_wait(c);
}

/* The value of a variable of the component. HOST_DONE: *ret says what came of it; its texts live
 * until the function ends. */
static host_status variable_find(host_call *c, str name, wanted *ret)
{
    const host_component *h = c->g->component;
    *ret = (wanted){.name = name, .how = NOT_THERE};
    for (size_t i = 0; i < h->variables_count; i++) {
        if (!str_eq(h->variables[i].name, name))
            continue;
        if (!h->variable_get) {
            ret->value = h->variables[i].value;
            ret->how = FOUND;
            return HOST_DONE;
        }
        host_status s = look_up(c, &h->variables[i], 1);
        if (s == HOST_DONE)
            *ret = c->g->variable->at[0];
        return s;
    }
    return HOST_DONE;
}

/* spin.md 1.2: first a-z, then a-z 0-9 _, no "__", last not "_". */
static bool name_is_valid(str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        bool letter = ch >= 'a' && ch <= 'z', digit = ch >= '0' && ch <= '9';
        if (!letter && (i == 0 || (!digit && ch != '_')))
            return false;
        if (ch == '_' && (i + 1 == name.n || name.p[i + 1] == '_'))
            return false;
    }
    return name.n > 0;
}

/* The host's own copy of a name that is put into a message: guest memory moves. */
static str message(host_call *c, const char *fmt, str name)
{
    str head = str_head(name, 200);
    while (head.n && head.n < name.n && !str_is_utf8(head))
        head.n--;
    return arena_printf(&c->g->scratch, fmt, STR(head));
}

static host_status return_ok(host_call *c, place r, str value)
{
    return put_string(c, put_case(c, r, 0), value) ? HOST_DONE : HOST_TRAP;
}

static host_status return_error(host_call *c, place r, uint32_t k, str text)
{
    if (!text.p)
        return call_no_memory(c);
    return put_string(c, put_case(c, put_case(c, r, 1), k), text) ? HOST_DONE : HOST_TRAP;
}

enum { V2_INVALID_NAME, V2_UNDEFINED, V2_PROVIDER };

static host_status variables_get(host_call *c)
{
    str name;
    wanted w;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    if (!name_is_valid(name))
        return return_error(c, r, V2_INVALID_NAME,
                            message(c,
                                    "'%.*s' is no variable name: lower-case letters, digits "
                                    "and single underscores, first a letter",
                                    name));
    host_status s = variable_find(c, name, &w);
    if (s != HOST_DONE)
        return s;
    if (w.how == PROVIDER_FAILED)
        return return_error(c, r, V2_PROVIDER, str_from(w.failure.text));
    if (w.how == NOT_THERE)
        return return_error(c, r, V2_UNDEFINED,
                            message(c,
                                    "variable '%.*s' is not defined for this component; add "
                                    "it to its [component.<id>.variables]",
                                    name));
    return return_ok(c, r, w.value);
}

const host_interface spin_variables_v2 = {
    .name = "fermyon:spin/variables@2.0.0",
    .types = "variant error {\n"
             "    invalid-name(string), undefined(string), provider(string), other(string)\n"
             "}",
    .funcs =
        (const host_func[]){
            {"get", "func(name: string) -> result<string, error>", variables_get, true},
            {0},
        },
};

enum { V1_PROVIDER, V1_INVALID_KEY };

static host_status config_get(host_call *c)
{
    str name;
    wanted w;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    if (!name_is_valid(name))
        return return_error(c, r, V1_INVALID_KEY, message(c, "'%.*s' is no variable name", name));
    host_status s = variable_find(c, name, &w);
    if (s != HOST_DONE)
        return s;
    if (w.how == PROVIDER_FAILED)
        return return_error(c, r, V1_PROVIDER, str_from(w.failure.text));
    if (w.how == NOT_THERE)
        return return_error(c, r, V1_PROVIDER,
                            message(c, "variable '%.*s' is not defined for this component", name));
    return return_ok(c, r, w.value);
}

const host_interface spin_config_v1 = {
    .name = "fermyon:spin/config",
    .types = "variant error {\n"
             "    provider(string), invalid-key(string), invalid-schema(string), other(string)\n"
             "}",
    .funcs =
        (const host_func[]){
            {"get-config", "func(key: string) -> result<string, error>", config_get, true}, {0}},
};

enum { STORE_UPSTREAM };

static host_status store_get(host_call *c)
{
    str name;
    wanted w;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    host_status s = variable_find(c, name, &w);
    if (s != HOST_DONE)
        return s;
    if (w.how == PROVIDER_FAILED)
        return return_error(c, r, STORE_UPSTREAM, str_from(w.failure.text));
    place option = put_case(c, put_case(c, r, 0), w.how == FOUND);
    return w.how == NOT_THERE || put_string(c, option, w.value) ? HOST_DONE : HOST_TRAP;
}

/* Those that have a value. The first provider that failed is the answer. */
static host_status put_all(host_call *c, place r, const wanted *at, size_t count)
{
    place first;
    uint32_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (at[i].how == PROVIDER_FAILED)
            return return_error(c, r, STORE_UPSTREAM, str_from(at[i].failure.text));
        n += at[i].how == FOUND;
    }
    if (!put_list(c, put_case(c, r, 0), n, &first))
        return HOST_TRAP;
    for (size_t i = 0, k = 0; i < count; i++) {
        if (at[i].how != FOUND)
            continue;
        place pair = place_element(first, (uint32_t)k++);
        if (!put_string(c, place_field(pair, 0), at[i].name) ||
            !put_string(c, place_field(pair, 1), at[i].value))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

static host_status store_get_all(host_call *c)
{
    const host_component *h = c->g->component;
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (h->variable_get) {
        host_status s = look_up(c, h->variables, h->variables_count);
        return s == HOST_DONE ? put_all(c, r, c->g->variable->at, c->g->variable->count) : s;
    }
    wanted *at = ARENA_ARRAY(&c->g->scratch, wanted, h->variables_count + 1);
    if (!at)
        return call_no_memory(c);
    for (size_t i = 0; i < h->variables_count; i++)
        at[i] = (wanted){h->variables[i].name, h->variables[i].value, FOUND, {0}};
    return put_all(c, r, at, h->variables_count);
}

const host_interface wasi_config_store = {
    .name = "wasi:config/store@0.2.0-draft-2024-09-27",
    .types = "variant error { upstream(string), io(string) }",
    .funcs =
        (const host_func[]){
            {"get", "func(key: string) -> result<option<string>, error>", store_get, true},
            {"get-all", "func() -> result<list<tuple<string, string>>, error>", store_get_all,
             true},
            {0},
        },
};
