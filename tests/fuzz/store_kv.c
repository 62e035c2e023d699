/* Any bytes as a key-value message: what is accepted is answered with a message that is whole, and
 * leaves a store that can still be asked. */
#include "base/arena.h"
#include "base/limits.h"
#include "base/must.h"
#include "store/kv_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static kv_file *f;
    _cleanup_(buf_fini) buf out;
    store_message m, answer;
    store_item i;
    err e;
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    if (!f)
        must(kv_file_open(NULL, &f, &e));
    if (!store_message_read((bytes){data, size}, false, &m, &e))
        return 0;
    must(kv_file_begin(f, &e));
    for (int round = 0; round < 2; round++) {
        must(kv_file_apply(f, S("fuzzed"), m, &out, &e));
        must(store_message_read(buf_bytes(&out), false, &answer, &e));
        must(answer.id == m.id && answer.kind >= STORE_OK && answer.kind < STORE_ANSWERS_END);
        while (store_message_next(&answer, &i))
            must(i.key.n <= STORE_MESSAGE_BYTES_MAX);
        must(answer.count == 0 && answer.items.n == 0);
    }
    kv_file_rollback(f);
    return 0;
}
