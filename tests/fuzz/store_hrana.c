/* Any bytes as a libSQL server's answer: what is taken becomes a whole message of the store, with
 * as many items as its head says. */
#include "base/limits.h"
#include "base/must.h"
#include "store/hrana.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_fini) buf out;
    store_message asked = {.id = 7, .kind = SQL_EXECUTE, .store = 3}, m;
    hrana_stream stream;
    store_item i;
    sql_result r;
    err e;
    arena a;
    arena_init(&a, 64 * MIB);
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    if (hrana_answer((bytes){data, size}, asked, &out, &a, &stream, &e)) {
        must(store_message_read(buf_bytes(&out), false, &m, &e));
        must(m.id == 7 && m.store == 3);
        if (m.kind == STORE_OK) {
            must(store_message_next(&m, &i) && i.value.n == sizeof r);
            memcpy(&r, i.value.p, sizeof r);
            must(m.count == r.columns + r.rows * r.columns);
        }
        while (store_message_next(&m, &i))
            must(i.key.n <= size);
        must(m.count == 0 && m.items.n == 0);
    }
    arena_fini(&a);
    return 0;
}
