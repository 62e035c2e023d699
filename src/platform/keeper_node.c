/* Routes about the node itself: is it up, what does it do now; and questions about carbon and use,
 * which keeper_admin.c answers. */
#include "platform/keeper_api.h"
#include "platform/keeper_view.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOP_S = 60, TOP_APPS = 50 };

void api_health(api_call *c)
{
    buf_put_str(&c->out, S("OK\n"));
    api_answer(c, 200, S("text/plain"));
}

void api_question(api_call *c)
{
    http_exchange *x = c->x;
    keeper *k = c->k;
    c->x = NULL;
    api_is_over(c);
    keeper_on_request(k, x);
}

static uint64_t resident_bytes(int pid)
{
    char path[64];
    unsigned long long size, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t processes_bytes(const book *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < BOOK_PROCESSES_MAX; i++)
        sum += b->all[i].pid ? resident_bytes(b->all[i].pid) : 0;
    return sum;
}

json_t *processes_json(const book *b, uint64_t *ret_bytes)
{
    json_t *list = json_array();
    *ret_bytes = 0;
    for (size_t i = 0; i < BOOK_PROCESSES_MAX; i++) {
        if (!b->all[i].pid)
            continue;
        uint64_t resident = resident_bytes(b->all[i].pid);
        *ret_bytes += resident;
        json_array_append_new(list, json_pack("{s:s,s:i,s:f,s:I}", "name", b->all[i].name, "pid",
                                              b->all[i].pid, "cpu_s",
                                              (double)clock_process_cpu_of(b->all[i].pid) / 1e9,
                                              "resident_bytes", (json_int_t)resident));
    }
    return list;
}

typedef struct {
    uint64_t app;
    ledger_usage sum;
} app_use;

static int by_cpu(const void *a, const void *b)
{
    uint64_t x = ((const app_use *)a)->sum.cpu_ns, y = ((const app_use *)b)->sum.cpu_ns;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_app(const void *a, const void *b)
{
    uint64_t x = ((const app_use *)a)->app, y = ((const app_use *)b)->app;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Records are named "<app>/<component>": one for each use, then one for each app. */
static size_t uses_sum(const bill_records *r, app_use *all)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < r->uses_count; i++) {
        const bill_use *u = &r->uses[i];
        str name = u->row < LEDGER_APPS ? (str){0} : r->apps[u->row - LEDGER_APPS];
        if (str_to_u64(str_head(name, str_find(name, '/')), UINT64_MAX, &all[n].app))
            all[n++].sum = u->u;
    }
    if (n)
        qsort(all, n, sizeof *all, by_app);
    for (size_t i = 0; i < n; i++)
        if (kept && all[kept - 1].app == all[i].app)
            ledger_usage_add(&all[kept - 1].sum, &all[i].sum);
        else
            all[kept++] = all[i];
    return kept;
}

/* What was reported for the last minute, the busiest first. */
static json_t *apps_json(api_call *c, err *e)
{
    bill_records r = {0};
    int64_t now = keeper_now_s();
    if (!usage_file_records(c->k->file, &c->a, now - TOP_S, now + 1, &r, e))
        return NULL;
    app_use *all = ARENA_ARRAY(&c->a, app_use, r.uses_count + 1);
    if (!all)
        return err_no_memory(e), NULL;
    size_t n = uses_sum(&r, all);
    json_t *list = json_array();
    if (n)
        qsort(all, n, sizeof *all, by_cpu);
    for (size_t i = 0; i < n && i < TOP_APPS; i++) {
        str name;
        if (!catalogue_app_name(catalogue_reading(c->k->catalogue), &c->a, all[i].app, &name, e))
            return json_decref(list), NULL;
        json_array_append_new(
            list, json_pack("{s:o,s:I,s:I,s:f,s:I}", "app", api_str(name.n ? name : S("(deleted)")),
                            "id", (json_int_t)all[i].app, "calls", (json_int_t)all[i].sum.calls,
                            "cpu_s", (double)all[i].sum.cpu_ns / 1e9, "memory_peak_bytes",
                            (json_int_t)all[i].sum.memory_peak_bytes));
    }
    return list;
}

void api_top(api_call *c)
{
    uint64_t deployed, resident;
    err e;
    json_t *apps = apps_json(c, &e);
    if (!apps || !catalogue_apps_count(catalogue_reading(c->k->catalogue), 0, &deployed, &e)) {
        json_decref(apps);
        api_fail(c, &e);
        return;
    }
    api_json_take(c, 200,
                  json_pack("{s:o,s:I,s:i,s:o,s:o}", "node", api_str(c->k->config.node),
                            "apps_deployed", (json_int_t)deployed, "span_s", TOP_S, "processes",
                            processes_json(&c->k->book, &resident), "apps", apps));
}
