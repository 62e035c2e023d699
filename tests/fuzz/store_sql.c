/* Any bytes as a message with a statement: it is answered, refused or stopped, and the connection
 * can still be asked. */
#include "base/arena.h"
#include "base/limits.h"
#include "base/must.h"
#include "store/sql_connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sql_connection *c;
    _cleanup_(buf_fini) buf message, out;
    store_message m, answer;
    store_item i;
    err e;
    sql_ask ask = {1, 0};
    bytes asked = {(const uint8_t *)&ask, sizeof ask};
    sql_location where = {.name = "fuzzed"};
    buf_init(&message, STORE_MESSAGE_BYTES_MAX);
    buf_init(&out, 1 << 20);
    if (!c)
        must(sql_connection_open(&where, &c, &e));
    /* The first half is the message as it is, the other a statement with a parameter. */
    bool whole = size && data[0] & 1;
    str text = {(const char *)data + (size ? 1 : 0), size ? size - 1 : 0};
    store_message_begin(&message, 7, SQL_EXECUTE, 0);
    store_message_item(&message, text, &asked);
    if (size && data[0] & 2)
        store_message_item(&message, S("i"), &asked);
    store_message_end(&message);
    bytes given = whole ? (bytes){data + 1, size - 1} : buf_bytes(&message);
    if (!store_message_read(given, false, &m, &e))
        return 0;
    sql_budget budget = {.deadline = clock_mono() + 50 * NS_PER_MS};
    sql_outcome outcome = sql_connection_run(c, m, budget, &out);
    if (outcome == SQL_DONE) {
        must(store_message_read(buf_bytes(&out), false, &answer, &e));
        must(answer.id == m.id);
        while (store_message_next(&answer, &i))
            ;
        must(answer.count == 0 && answer.items.n == 0);
    }
    if (!sql_connection_recycle(c)) {
        sql_connection_close(c);
        must(sql_connection_open(&where, &c, &e));
    }
    return 0;
}
