/* See queue_rows.h: the columns of a call, and how both databases' statements name them. A 64-bit
 * number of any kind travels as the signed one with the same bits, because that is what SQL has. */
#include "store/queue_rows.h"

#include <stddef.h>

#define FIELD(name, member, kind, changes) {name, offsetof(queue_row, member), kind, changes}

const queue_field queue_fields[QUEUE_FIELDS] = {
    FIELD("nonce", nonce, FIELD_U64, false),
    FIELD("phase", phase, FIELD_U32, true),
    FIELD("attempts", attempts, FIELD_U32, true),
    FIELD("excused", excused, FIELD_U32, true),
    FIELD("at_ms", at_ms, FIELD_U64, true),
    FIELD("tenant", terms.tenant, FIELD_U64, false),
    FIELD("app", terms.app, FIELD_U64, false),
    FIELD("revision", terms.revision, FIELD_U64, false),
    FIELD("attempts_max", terms.attempts_max, FIELD_U32, false),
    FIELD("class", terms.class, FIELD_U8, false),
    FIELD("criticality", terms.criticality, FIELD_U8, false),
    FIELD("source", terms.trigger, FIELD_U8, false),
    FIELD("start_ms", terms.start_ms, FIELD_U64, false),
    FIELD("deadline_ms", terms.deadline_ms, FIELD_U64, true),
    FIELD("keep_ms", terms.keep_ms, FIELD_U64, false),
    FIELD("cpu_ns", terms.cpu_ns, FIELD_U64, false),
    FIELD("intensity", terms.intensity_g_per_kwh, FIELD_F64, false),
    FIELD("accepted_ms", accepted_ms, FIELD_U64, false),
    FIELD("begun_ms", begun_ms, FIELD_U64, true),
    FIELD("ended_ms", ended_ms, FIELD_U64, true),
    FIELD("holder", holder, FIELD_U64, true),
    FIELD("bytes", bytes, FIELD_U64, false),
    FIELD("used_cpu_ns", use.cpu_ns, FIELD_U64, true),
    FIELD("used_wall_ns", use.wall_ns, FIELD_U64, true),
    FIELD("used_nj", use.energy_nj, FIELD_U64, true),
    FIELD("used_intensity", use.intensity_g_per_kwh, FIELD_F64, true),
    FIELD("key_hash", key, FIELD_HASH, false),
    FIELD("same_hash", same, FIELD_HASH, false),
};

static size_t width(const queue_field *f)
{
    return f->kind == FIELD_U32 ? 4 : f->kind == FIELD_U8 ? 1 : 8;
}

int64_t queue_field_get(const queue_field *f, const queue_row *row)
{
    uint64_t v = 0;
    memcpy(&v, (const uint8_t *)row + f->offset, width(f)); /* little-endian */
    return (int64_t)v;
}

void queue_field_set(const queue_field *f, queue_row *row, int64_t value)
{
    uint64_t v = (uint64_t)value;
    memcpy((uint8_t *)row + f->offset, &v, width(f));
}

bytes queue_field_hash(const queue_field *f, const queue_row *row)
{
    static const uint8_t none[QUEUE_HASH_BYTES];
    const uint8_t *at = (const uint8_t *)row + f->offset;
    return memcmp(at, none, sizeof none) ? (bytes){at, sizeof none} : (bytes){0};
}

static void fields_write(buf *out, char how, char mark)
{
    int place = how == 'p' ? 1 : 2;
    const char *comma = "";
    for (int i = 0; i < QUEUE_FIELDS; i++) {
        const queue_field *f = &queue_fields[i];
        if (how == 'a' && !f->changes)
            continue;
        if (how == 'a')
            buf_printf(out, "%s%s = %c%d", comma, f->name, mark, place++);
        else if (how == 'p')
            buf_printf(out, "%s%c%d", comma, mark, place++);
        else
            buf_printf(out, "%s%s", comma, f->name);
        comma = ", ";
    }
}

void queue_statement_write(buf *out, const char *text, char mark)
{
    for (; *text; text++)
        if (*text == '%')
            fields_write(out, *++text, mark);
        else
            buf_put_u8(out, (uint8_t)*text);
    buf_put_u8(out, 0);
}
