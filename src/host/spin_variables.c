/* Variables of a component: fermyon:spin/variables@2.0.0, fermyon:spin/config (Spin's first one)
 * and wasi:config/store. All three read host_component.variables, which the platform has resolved;
 * they differ in what they say about a name that is not there (spin.md 3.6). */
#include "host/call.h"

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

static bool variable_find(const guest *g, str name, str *ret)
{
    const host_component *h = g->component;
    for (size_t i = 0; i < h->variables_count; i++)
        if (str_eq(h->variables[i].name, name)) {
            *ret = h->variables[i].value;
            return true;
        }
    return false;
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

enum { V2_INVALID_NAME, V2_UNDEFINED };

static host_status variables_get(host_call *c)
{
    str name, value;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    if (!name_is_valid(name))
        return return_error(c, r, V2_INVALID_NAME,
                            message(c,
                                    "'%.*s' is no variable name: lower-case letters, digits "
                                    "and single underscores, first a letter",
                                    name));
    if (!variable_find(c->g, name, &value))
        return return_error(c, r, V2_UNDEFINED,
                            message(c,
                                    "variable '%.*s' is not defined for this component; add "
                                    "it to its [component.<id>.variables]",
                                    name));
    return return_ok(c, r, value);
}

const host_interface spin_variables_v2 = {
    .name = "fermyon:spin/variables@2.0.0",
    .types = "variant error {\n"
             "    invalid-name(string), undefined(string), provider(string), other(string)\n"
             "}",
    .funcs =
        (const host_func[]){{"get", "func(name: string) -> result<string, error>", variables_get},
                            {0}},
};

enum { V1_PROVIDER, V1_INVALID_KEY };

static host_status config_get(host_call *c)
{
    str name, value;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    if (!name_is_valid(name))
        return return_error(c, r, V1_INVALID_KEY, message(c, "'%.*s' is no variable name", name));
    if (!variable_find(c->g, name, &value))
        return return_error(c, r, V1_PROVIDER,
                            message(c, "variable '%.*s' is not defined for this component", name));
    return return_ok(c, r, value);
}

const host_interface spin_config_v1 = {
    .name = "fermyon:spin/config",
    .types = "variant error {\n"
             "    provider(string), invalid-key(string), invalid-schema(string), other(string)\n"
             "}",
    .funcs =
        (const host_func[]){
            {"get-config", "func(key: string) -> result<string, error>", config_get}, {0}},
};

static host_status store_get(host_call *c)
{
    str name, value;
    place r;
    if (!arg_string(c, 0, &name) || !result_place(c, &r))
        return HOST_TRAP;
    place option = put_case(c, r, 0);
    if (!variable_find(c->g, name, &value)) {
        put_case(c, option, 0);
        return HOST_DONE;
    }
    return put_string(c, put_case(c, option, 1), value) ? HOST_DONE : HOST_TRAP;
}

static host_status store_get_all(host_call *c)
{
    const host_component *h = c->g->component;
    place r, first;
    if (!result_place(c, &r) ||
        !put_list(c, put_case(c, r, 0), (uint32_t)h->variables_count, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < h->variables_count; i++) {
        place pair = place_element(first, i);
        if (!put_string(c, place_field(pair, 0), h->variables[i].name) ||
            !put_string(c, place_field(pair, 1), h->variables[i].value))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

const host_interface wasi_config_store = {
    .name = "wasi:config/store@0.2.0-draft-2024-09-27",
    .types = "variant error { upstream(string), io(string) }",
    .funcs =
        (const host_func[]){
            {"get", "func(key: string) -> result<option<string>, error>", store_get},
            {"get-all", "func() -> result<list<tuple<string, string>>, error>", store_get_all},
            {0},
        },
};
