/* See grid.h. Read with the manifest's means (app/manifest_reader.h), so that errors look alike.
 * The grid itself is looked at by the keeper (keeper_admin.c). */
#include "platform/grid.h"

#include "app/manifest_reader.h"
#include "base/limits.h"
#include "carbon/sci.h"
#include "platform/artifact.h"

#include <math.h>
#include <unistd.h>

/* Hardware threads of the servers behind SCI_SERVER_KG: a machine that is smaller is taken for a
 * slice of one. */
#define SERVER_THREADS 96.0

grid_config grid_config_default(void)
{
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    return (grid_config){.average = true,
                         .forecasts = true,
                         .yearly_g_per_kwh = (double)NAN,
                         .day_s = 86400,
                         .threads = threads > 0 ? (double)threads : 1,
                         .pue = 1,
                         .server_kg =
                             SCI_SERVER_KG * (threads > 0 ? (double)threads : 1) / SERVER_THREADS,
                         .life_years = SCI_SERVER_LIFE_S / (365.0 * 86400)};
}

int64_t grid_hour_s(const grid_config *g) { return g->day_s > 0 ? (int64_t)(g->day_s / 24) : 3600; }

int64_t grid_slot_s(const grid_config *g)
{
    return g->slot_s > 0 ? (int64_t)g->slot_s : grid_hour_s(g);
}

bool grid_power(const grid_config *g, power_model *ret, err *e)
{
    power_model m = power_model_specpower((unsigned)g->threads);
    m.pue = g->pue;
    if (g->max_w > 0 && !power_model_set(&m, (unsigned)g->threads, g->idle_w, g->max_w, g->pue, e))
        return false;
    *ret = m;
    return true;
}

static bool number_read(reader *r, const toml_table *t, const char *key, double min, double max,
                        double *ret)
{
    const toml_value *v = read_get(t, key);
    if (!v)
        return true;
    if (v->kind != TOML_INTEGER && v->kind != TOML_FLOAT)
        return read_fail(r, v->pos, "%s must be a number, not %s", key, toml_kind_name(v->kind));
    double d = v->kind == TOML_FLOAT ? v->floating : (double)v->integer;
    if (!(d >= min && d <= max))
        return read_fail(r, v->pos, "%s must be from %g to %g", key, min, max);
    *ret = d;
    return true;
}

/* Divisors of an hour, so that slots and hours of a grid fit. */
static bool slots_read(reader *r, const toml_table *t, grid_config *g)
{
    const toml_value *slot = read_get(t, "slot_s"), *day = read_get(t, "day_s");
    if (!number_read(r, t, "slot_s", 1, 3600, &g->slot_s) ||
        !number_read(r, t, "day_s", 24, 86400, &g->day_s))
        return false;
    if (slot && (g->slot_s != (int)g->slot_s || 3600 % (int)g->slot_s != 0))
        return read_fail(r, slot->pos,
                         "slot_s must divide an hour: 3600, 1800, 900, 600, 300, ... 1");
    if (day && (g->day_s / 24 != (int)(g->day_s / 24) || 3600 % (int)(g->day_s / 24) != 0))
        return read_fail(r, day->pos,
                         "a 24th of day_s must divide an hour: day_s = 86400, 3600, 720, ...");
    return g->slot_s <= g->day_s / 24 ||
           read_fail(r, slot->pos, "slot_s is longer than the 24th of day_s");
}

static str beside(arena *a, str config, str path)
{
    size_t slash = str_rfind(config, '/');
    if (!path.n || path.p[0] == '/' || slash == config.n)
        return path;
    return arena_printf(a, "%.*s/%.*s", STR(str_head(config, slash)), STR(path));
}

/* key, or the first line of the file named by key_file. */
static bool secret_read(reader *r, const toml_table *t, const char *key, const char *key_file,
                        str *ret)
{
    str path = {0};
    bytes content;
    if (!read_str(r, t, key, ret) || !read_str(r, t, key_file, &path))
        return false;
    if (!path.n)
        return true;
    path = beside(r->a, r->file, path);
    if (!path.p)
        return read_no_memory(r);
    if (!file_load(r->a, arena_cstr(r->a, path), 64 * KIB, &content, r->e))
        return read_wrap(r, read_get(t, key_file)->pos, key_file);
    str text = {(const char *)content.p, content.n};
    *ret = str_trim(str_cut(&text, '\n'));
    return true;
}

static bool provider_check(reader *r, const toml_table *t, const grid_config *g)
{
    source_format f;
    if (!g->provider.n)
        return true;
    toml_pos at = read_get(t, "provider")->pos;
    if (str_eq(g->provider, S("file")))
        return g->file.n ? true : read_fail(r, at, "provider \"file\" needs the key file");
    if (!source_format_parse(g->provider, &f, r->e))
        return read_wrap(r, at, "provider");
    return f == SOURCE_CSV ? read_fail(r, at, "write provider = \"file\" for a CSV file") : true;
}

static bool remote_read(reader *r, const toml_value *v, grid_remote *ret)
{
    static const char *const known[] = {"app",
                                        "name",
                                        "zone",
                                        "unit",
                                        "units_per_call",
                                        "j_per_unit",
                                        "g_per_kwh",
                                        "heat_reused_share",
                                        NULL};
    const toml_table *t = v->table;
    grid_remote b = {.unit = S("call"), .units_per_call = 1, .j_per_unit = -1, .g_per_kwh = -1};
    if (!read_known(r, t, "[[remote]]", known) ||
        !read_required(r, t, "app", v->pos, "[[remote]]", &b.app) ||
        !read_required(r, t, "name", v->pos, "[[remote]]", &b.name) ||
        !read_required(r, t, "zone", v->pos, "[[remote]]", &b.zone) ||
        !read_str(r, t, "unit", &b.unit) ||
        !number_read(r, t, "units_per_call", 0, 1e12, &b.units_per_call) ||
        !number_read(r, t, "j_per_unit", 0, 1e12, &b.j_per_unit) ||
        !number_read(r, t, "g_per_kwh", 0, INTENSITY_MAX, &b.g_per_kwh) ||
        !number_read(r, t, "heat_reused_share", 0, 1, &b.heat_reused_share))
        return false;
    if (b.j_per_unit < 0 || b.g_per_kwh < 0)
        return read_fail(r, v->pos, "[[remote]] needs j_per_unit and g_per_kwh");
    *ret = b;
    return true;
}

static bool remotes_read(reader *r, const toml_table *t, grid_config *g)
{
    const toml_value *list;
    if (!read_kind(r, t, "remote", TOML_ARRAY, &list))
        return false;
    for (size_t i = 0; list && i < list->array.n; i++) {
        const toml_value *v = &list->array.at[i];
        if (i == GRID_REMOTES_MAX)
            return read_fail(r, v->pos, "at most %d [[remote]] tables", GRID_REMOTES_MAX);
        if (!read_is(r, v, TOML_TABLE, "remote") || !remote_read(r, v, &g->remotes[i]))
            return false;
        g->remotes_count = i + 1;
    }
    return true;
}

static bool tables_read(reader *r, const toml_table *t, grid_config *g)
{
    static const char *const known[] = {"zone",
                                        "provider",
                                        "file",
                                        "url",
                                        "token",
                                        "token_file",
                                        "user",
                                        "password",
                                        "password_file",
                                        "average",
                                        "forecasts",
                                        "yearly_table",
                                        "yearly_g_per_kwh",
                                        "node",
                                        "remote",
                                        "slot_s",
                                        "day_s",
                                        NULL};
    static const char *const node_known[] = {"threads",    "idle_w", "max_w",    "pue", "server_kg",
                                             "life_years", "cpus",   "powercap", NULL};
    const toml_value *node;
    str table = {0};
    if (!read_known(r, t, "the carbon settings", known) || !read_str(r, t, "zone", &g->zone) ||
        !read_str(r, t, "provider", &g->provider) || !read_str(r, t, "file", &g->file) ||
        !read_str(r, t, "url", &g->url) || !read_str(r, t, "user", &g->user) ||
        !secret_read(r, t, "token", "token_file", &g->token) ||
        !secret_read(r, t, "password", "password_file", &g->password) ||
        !read_bool(r, t, "average", &g->average) || !read_bool(r, t, "forecasts", &g->forecasts) ||
        !number_read(r, t, "yearly_g_per_kwh", 0, INTENSITY_MAX, &g->yearly_g_per_kwh) ||
        !slots_read(r, t, g) || !read_str(r, t, "yearly_table", &table) ||
        !provider_check(r, t, g) || !remotes_read(r, t, g) ||
        !read_kind(r, t, "node", TOML_TABLE, &node))
        return false;
    g->file = beside(r->a, r->file, g->file);
    if (table.n) {
        bytes content;
        str path = beside(r->a, r->file, table);
        if (!file_load(r->a, arena_cstr(r->a, path), 16 * MIB, &content, r->e) ||
            !source_yearly(content, g->zone, &g->yearly_g_per_kwh, r->e))
            return read_wrap(r, read_get(t, "yearly_table")->pos, "yearly_table");
    }
    if (!node)
        return true;
    const toml_table *n = node->table;
    return read_known(r, n, "[node]", node_known) &&
           number_read(r, n, "threads", 1, 4096, &g->threads) &&
           number_read(r, n, "idle_w", 0, 1e6, &g->idle_w) &&
           number_read(r, n, "max_w", 0, 1e6, &g->max_w) &&
           number_read(r, n, "pue", 1, 5, &g->pue) &&
           number_read(r, n, "server_kg", 0, 1e6, &g->server_kg) &&
           number_read(r, n, "life_years", 0.1, 100, &g->life_years) &&
           number_read(r, n, "cpus", 0.01, 4096, &g->cpus) &&
           read_str(r, n, "powercap", &g->powercap);
}

bool grid_config_load(arena *a, const char *path, grid_config *ret, err *e)
{
    bytes content;
    toml_table *root;
    grid_config g = grid_config_default();
    power_model checked;
    reader r = {.a = a, .file = str_from(path), .e = e};
    if (!file_load(a, path, 1 * MIB, &content, e) ||
        !toml_parse(a, r.file, (str){(const char *)content.p, content.n}, &root, e) ||
        !tables_read(&r, root, &g) || !grid_power(&g, &checked, e))
        return false;
    *ret = g;
    return true;
}
