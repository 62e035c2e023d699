/* See node_config.h: {"app": <settings of an app, app_config.h>, settings of the node...}. Both
 * ends are the same binary, so nothing is versioned. */
#include "platform/node_config.h"

#include "platform/config_json.h"

static json_t *app_part_json(const app_config *c, err *e)
{
    _cleanup_(buf_fini) buf text;
    buf_init(&text, 512 * MIB);
    return app_config_write(c, &text, e) ? json_get(buf_bytes(&text), "a worker", e) : NULL;
}

static json_t *active_json(const active_limits *l)
{
    return json_pack("[I, I, I, I]", (json_int_t)l->apps_max, (json_int_t)l->modules_max,
                     (json_int_t)l->bytes_max, (json_int_t)l->idle);
}

static active_limits active_read(const json_t *j)
{
    uint64_t n[4];
    for (size_t i = 0; i < 4; i++)
        n[i] = (uint64_t)json_integer_value(json_array_get(j, i));
    return (active_limits){(uint32_t)n[0], (uint32_t)n[1], n[2], n[3]};
}

bool worker_config_write(const node_config *n, const app_config *known, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *of_app = NULL;
    if (!j)
        return err_no_memory(e);
    if (known && !(of_app = app_part_json(known, e)))
        return false;
    if (known)
        json_object_set_new(j, "app", of_app);
    json_object_set_new(j, "log_json", json_boolean(n->log_format == LOG_JSON));
    json_object_set_new(j, "unmetered", json_boolean(n->unmetered));
    json_object_set_new(j, "stub_imports", json_boolean(n->stub_imports));
    json_object_set_new(j, "restoring", json_of(n->restoring));
    json_object_set_new(j, "no_landlock", json_boolean(n->no_landlock));
    json_object_set_new(j, "instances_max", json_integer(n->instances_max));
    json_object_set_new(j, "network", network_json(&n->network));
    json_object_set_new(j, "data_dir", json_of(n->data_dir));
    json_object_set_new(j, "active", active_json(&n->active));
    json_object_set_new(j, "egress_allow", json_of(n->egress_allow));
    json_object_set_new(j, "traces_one_in", json_integer(n->traces_one_in));
    json_object_set_new(j, "workers", json_integer(n->workers));
    return json_put(j, out, e);
}

static bool app_read(arena *a, const json_t *j, app_config *ret, err *e)
{
    char *text = json_dumps(j, JSON_COMPACT);
    bool ok = text ? app_config_read(a, (bytes){(uint8_t *)text, strlen(text)}, ret, e)
                   : err_no_memory(e);
    free(text);
    return ok;
}

bool worker_config_read(arena *a, bytes text, node_config *ret, app_config *ret_app, err *e)
{
    _cleanup_json_ json_t *j = json_get(text, "a worker", e);
    app_config known = {0};
    if (!j)
        return false;
    const json_t *of_app = json_object_get(j, "app");
    if (of_app && !app_read(a, of_app, &known, e))
        return false;
    node_config n = {
        .log_format = json_is_true(json_object_get(j, "log_json")) ? LOG_JSON : LOG_TEXT,
        .unmetered = json_is_true(json_object_get(j, "unmetered")),
        .stub_imports = json_is_true(json_object_get(j, "stub_imports")),
        .restoring = json_str(a, json_object_get(j, "restoring")),
        .no_landlock = json_is_true(json_object_get(j, "no_landlock")),
        .instances_max = (uint32_t)json_integer_value(json_object_get(j, "instances_max")),
        .data_dir = json_str(a, json_object_get(j, "data_dir")),
        .active = active_read(json_object_get(j, "active")),
        .egress_allow = json_str(a, json_object_get(j, "egress_allow")),
        .traces_one_in = (uint32_t)json_integer_value(json_object_get(j, "traces_one_in")),
        .workers = (uint32_t)json_integer_value(json_object_get(j, "workers")),
    };
    if (!n.restoring.p || !n.data_dir.p || !n.egress_allow.p ||
        !network_from_json(a, json_object_get(j, "network"), &n.network))
        return err_no_memory(e);
    *ret = n;
    *ret_app = known;
    return true;
}
