/* Hostile arguments: every row of every interface is called with random slots (seeded): wild
 * pointers, lengths, handles of every kind, discriminants out of range. It may answer, wait or
 * trap; under ASan and UBSan nothing else may happen. */
#include "host_kit.h"

#include <sys/stat.h>

enum { ROUNDS = 600, CALLS = 400 };

static uint64_t seed;
static uint32_t calls[HK_IMPORTS_MAX]; /* that ended well, by row */

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Values at which pointers, lengths, handles and flags go wrong. */
static const uint64_t edges[] = {0,
                                 1,
                                 2,
                                 3,
                                 4,
                                 5,
                                 7,
                                 8,
                                 16,
                                 255,
                                 4096,
                                 4097,
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
enum { EDGES = sizeof edges / sizeof *edges };

static uint64_t draw_slot(void)
{
    switch (draw() % 8) {
    case 0:
        return edges[draw() % EDGES];
    case 1:
    case 2:
        return draw() % 4; /* discriminants */
    case 3:
        return 1 + draw() % 24; /* handles */
    case 4:
    case 5:
        return 1000 + 8 * (draw() % 2000); /* good pointers */
    case 6:
        return draw() % 300; /* lengths */
    default:
        return draw();
    }
}

/* A live handle of that resource, 0 if there is none. */
static uint32_t live_handle(const resource_type *r)
{
    const handle_table *t = &hk.g->handles;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t k = (uint32_t)((i + draw()) % t->n);
        const handle *h = handles_get(t, k);
        if (h && h->kind == HANDLE_HOST && str_eq(r->name, str_from(h->o->resource->name)))
            return k;
    }
    return 0;
}

/* Mostly well-formed values of a type into slots from i on; false: no such handle is there. */
static bool draw_value(const type *t, uint64_t *s, uint32_t i)
{
    uint32_t cases = t->kind == TYPE_OPTION ? 2 : t->fields_count;
    if (draw() % 200 == 0) {
        s[i] = draw_slot();
        return true;
    }
    switch (t->kind) {
    case TYPE_OWN:
    case TYPE_BORROW:
        s[i] = live_handle(t->resource);
        return s[i] != 0;
    case TYPE_STRING:
    case TYPE_LIST:
        s[i] = 1000 + 8 * (draw() % 100);
        s[i + 1] = draw() % 12;
        return true;
    case TYPE_ENUM:
        s[i] = draw() % cases;
        return true;
    case TYPE_RECORD:
    case TYPE_TUPLE:
        for (uint32_t f = 0; f < t->fields_count; f++) {
            if (!draw_value(t->fields[f].type, s, i))
                return false;
            i += t->fields[f].type->flat_count;
        }
        return true;
    case TYPE_OPTION:
    case TYPE_RESULT:
    case TYPE_VARIANT: {
        uint32_t k = (uint32_t)(draw() % cases);
        const type *payload = t->kind != TYPE_OPTION ? t->fields[k].type : k ? t->elem : NULL;
        s[i] = k;
        return !payload || draw_value(payload, s, i + 1);
    }
    default:
        s[i] = draw() % 3 ? draw() % 40 : draw_slot();
        return true;
    }
}

/* Arguments for a row; false: it is not called this time. */
static bool draw_args(const plan_import *p, uint64_t *s)
{
    uint32_t i = 0;
    if (!p->type) /* drops and the guest's own resource */
        return s[0] = 1 + draw() % 30, draw() % 10 == 0;
    if (str_eq(p->interface, S("wasi:cli/exit@0.2.0")))
        return false;
    for (uint32_t k = 0; k < p->type->params_count; k++) {
        if (!draw_value(p->type->params[k].type, s, i))
            return false;
        i += p->type->params[k].type->flat_count;
    }
    if (p->signature.results_spilled)
        s[i] = draw() % 300 ? 1000 + 8 * (draw() % 400) : draw_slot();
    return true;
}

/* Words in guest memory that mean something as strings, lists and handles. */
static void draw_memory(void)
{
    static const char text[] = "a.b/../c../.e.d";
    for (int i = 0; i < 40; i++)
        hk_put_u32((uint32_t)(1000 + 4 * (draw() % 800)), (uint32_t)draw_slot());
    for (int i = 0; i < 10; i++) {
        uint32_t at = (uint32_t)(1000 + 8 * (draw() % 100));
        memcpy(hk_memory() + at, text + draw() % 6, 4 + draw() % 5);
    }
    for (int i = 0; i < 40; i++) {
        uint32_t at = (uint32_t)(1000 + 8 * (draw() % 400));
        hk_put_u32(at, (uint32_t)(1000 + 8 * (draw() % 100)));
        hk_put_u32(at + 4, (uint32_t)(draw() % 12));
    }
}

/* Handles of many kinds, so that calls get further than the first check. */
static void fill(void)
{
    static const char *const makers[][2] = {
        {"wasi:cli/stdin", "get-stdin"},
        {"wasi:cli/stdout", "get-stdout"},
        {"wasi:clocks/monotonic-clock", "subscribe-duration"},
        {"wasi:http/types", "[constructor]fields"},
        {"wasi:http/types", "[constructor]fields"},
        {"wasi:http/types", "[constructor]request-options"},
        {"wasi:sockets/instance-network", "instance-network"},
    };
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        hk_call(makers[i][0], makers[i][1], 5);
    hk_call("wasi:filesystem/preopens", "get-directories", 1000);
    hk_call("wasi:http/types", "[constructor]outgoing-response", 6);
    hk_call("wasi:http/types", "[constructor]outgoing-request", 7);
    hk_call("own", "new", 9);
}

/* A guest with a request, a folder that it may write to, and handles of many kinds. */
static struct host_preopen pre;
static const http_field some[] = {{{"a", 1}, {"b", 1}}};

static void begin(int dir_fd, hk_exchange *x)
{
    slot args[2];
    err e;
    pre = (struct host_preopen){S("/"), dir_fd, true};
    hk.component = (host_component){.handles_max = 64,
                                    .preopens = &pre,
                                    .preopens_count = 1,
                                    .environment = some,
                                    .environment_count = 1,
                                    .variables = some,
                                    .variables_count = 1};
    hk_unrecorded = true;
    hk_open();
    hkx_init(x, (http_request){.method = S("POST"),
                               .target = S("/"),
                               .has_body = true,
                               .fields = some,
                               .fields_count = 1,
                               .scheme = S("http"),
                               .authority = S("h"),
                               .content_length = -1});
    buf_put_str(&x->body, S("some bytes of a body"));
    assert_true(guest_http_begin(hk.g, &x->x, &x->x.request, args, &e));
    fill();
}

static void play(int dir_fd)
{
    hk_exchange x;
    begin(dir_fd, &x);
    for (int i = 0; i < CALLS; i++) {
        uint64_t s[20];
        uint32_t k = (uint32_t)(draw() % hk.count), n = hk.imports[k].signature.params_count;
        if (draw() % 300 == 0) {
            for (uint32_t j = 0; j < n; j++)
                s[j] = draw_slot();
        } else if (!draw_args(&hk.imports[k], s)) {
            continue;
        }
        draw_memory();
        engine_status status = hk_start(k, s, n);
        calls[k] += status == ENGINE_DONE;
        assert_true(status == ENGINE_DONE || status == ENGINE_TRAP || status == ENGINE_WAIT);
        if (guest_http(hk.g) != GUEST_HTTP_ENDED && guest_http(hk.g) != GUEST_HTTP_CUT &&
            draw() % 8 == 0) {
            x.room = draw() % 4000;
            x.x.callbacks.on_writable(x.x.user);
        }
        if (status == ENGINE_WAIT && draw() % 2) {
            status = kit_run(hk.in);
            assert_true(status != ENGINE_YIELD);
        }
        if (status != ENGINE_DONE)
            break;
    }
    guest_http_state st = guest_http(hk.g);
    if (draw() % 2)
        guest_http_returned(hk.g, draw() % 2);
    hk_close();
    if (st == GUEST_HTTP_NONE || st == GUEST_HTTP_ERROR)
        assert_int_equal(x.ended + x.aborted + x.freed, 0);
    hkx_fini(&x);
}

static void any_argument_traps_or_answers(void **state)
{
    char dir[] = "/tmp/ebb-hostile-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *text = getenv("EBB_SEED");
    uint64_t base = text ? strtoull(text, NULL, 10) : 1;
    const char *rounds = getenv("EBB_ROUNDS");
    for (uint64_t i = 0; i < (rounds ? strtoull(rounds, NULL, 10) : ROUNDS); i++) {
        seed = (base + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        play(fd);
    }
    uint32_t reached = 0;
    for (uint32_t k = 0; k < hk.count; k++)
        reached += calls[k] > 0;
    print_message("%u of %u rows ended well at least once\n", reached, hk.count);
    assert_true(rounds || reached > hk.count / 2);
    close(fd);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

/* Every argument of every row in turn is each of the edges, the others are as good as can be: so a
 * check that is missing behind one that holds is reached too. */
static void each_argument_is_bad_in_turn(void **state)
{
    char dir[] = "/tmp/ebb-hostile-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    size_t before = entries("/proc/self/fd");
    unsigned done = 0;
    seed = 7;
    for (uint32_t k = 0; k < hk.count; k++) {
        uint32_t n = hk.imports[k].signature.params_count;
        for (uint32_t j = 0; j < n * EDGES; j++) {
            hk_exchange x;
            uint64_t s[20] = {0};
            begin(fd, &x);
            draw_memory();
            draw_args(&hk.imports[k], s);
            s[j / EDGES] = edges[j % EDGES];
            engine_status status = hk_start(k, s, n);
            assert_true(status == ENGINE_DONE || status == ENGINE_TRAP || status == ENGINE_WAIT);
            hk_close();
            hkx_fini(&x);
            done++;
        }
        loop_turn(hk.l, 0); /* handles of the loop close a turn later */
    }
    for (int i = 0; i < 100 && entries("/proc/self/fd") > before; i++)
        loop_turn(hk.l, 10);
    assert_true(entries("/proc/self/fd") <= before);
    assert_true(done > 1000);
    close(fd);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

/* Each row alone, with a good return pointer and wrong handles: none may succeed by accident in a
 * way that crashes, and each is called at least once. */
static void every_row_is_called(void **state)
{
    hk.component = (host_component){.handles_max = 64};
    hk_unrecorded = true; /* but for traps: wrong handles */
    for (uint32_t k = 0; k < hk.count; k++) {
        for (int r = 0; r < 6; r++) {
            uint64_t s[20] = {0};
            uint32_t n = hk.imports[k].signature.params_count;
            hk_open();
            for (uint32_t j = 0; j < n; j++)
                s[j] = r == 0 ? UINT64_MAX : r == 1 ? 0 : r == 2 ? 1 : draw_slot();
            if (n && hk.imports[k].signature.results_spilled && r < 4)
                s[n - 1] = 1000;
            engine_status status = hk_start(k, s, n);
            assert_true(status == ENGINE_DONE || status == ENGINE_TRAP || status == ENGINE_WAIT);
            hk_close();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_called),
        cmocka_unit_test(each_argument_is_bad_in_turn),
        cmocka_unit_test(any_argument_traps_or_answers),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
