/* The queue's requests and answers (queue.h) as messages of the store (message.h). Structures
 * travel as they are: both ends are the same binary.
 *
 *     PUT        (key, queue_offer_head) ("", about) ("", request)      answer ("", queue_accepted)
 *     LEASE      ("", queue_lease)                                    answer calls
 *     EXTEND     ("", s64 lease_ms, queue_held...)                    answer ("", u8...)
 *     END        (note, queue_end) ("", result or none)               answer nothing
 *     RETRY      (note, queue_retry)                                  answer ("", u32 state)
 *     GIVE_BACK  ("", u64 holder)                                     answer ("", u64 count)
 *     CANCEL, REVIVE, GET   ("", queue_one)                           answer calls: one
 *     LIST       ("", queue_list)                                     answer ("", queue_id) calls
 *     BACKLOG    ("", queue_backlog_ask)                 answer ("", queue_backlog, queue_slot...)
 *     COUNT      ("", u64 tenant)                                     answer ("", queue_count)
 *     APP_GONE   (note, queue_app_gone)                               answer ("", queue_swept)
 *     PURGE      nothing                                              answer ("", queue_swept)
 *     SECRET, ROTATE   ("", u64 app)                                  answer ("", u8...)
 *     calls: for each ("", queue_info) ("", about) ("", request or none) (note, result or none)
 *
 * Writers append items to a message that was begun (message.h); failures are out->failed, looked at
 * by whoever ends or sends it. Readers trust no length and no number; what they return is borrowed
 * from the message. */
#pragma once

#include "store/message.h"
#include "store/queue.h"

/* --- of who asks: requests -------------------------------------------------------------------- */

void queue_offer_write(buf *out, const queue_offer *p);
void queue_lease_write(buf *out, const queue_lease *q);
void queue_extend_write(buf *out, int64_t lease_ms, const queue_held *held, size_t n);
/* result.p NULL: none. */
void queue_end_write(buf *out, const queue_end *q, str note, bytes result);
void queue_retry_write(buf *out, const queue_retry *q, str note);
void queue_number_write(buf *out, uint64_t holder_tenant_or_app); /* GIVE_BACK, COUNT, SECRET,
                                                                        ROTATE */
void queue_one_write(buf *out, const queue_one *q);
void queue_list_write(buf *out, const queue_list *q);
void queue_backlog_write(buf *out, int64_t slot_ms);
void queue_app_gone_write(buf *out, const queue_app_gone *q, str note);

/* --- of who asks: answers --------------------------------------------------------------------- */

/* Is it the answer to what worked? Else ERR_NOT_FOUND (QUEUE_ABSENT), ERR_CONFLICT
 * (QUEUE_CONFLICT), ERR_LIMIT (QUEUE_QUOTA) or ERR_IO, with the reason. */
bool queue_answer_ok(store_message *m, err *e);
/* The functions below first do that. ERR_INTERNAL: the answer is damaged. */
bool queue_accepted_read(store_message *m, queue_accepted *ret, err *e);
/* Before the first queue_call_next of a LIST. */
bool queue_page_read(store_message *m, queue_id *ret_after, err *e);
/* The next call of the answer; false: there is none, or it is damaged (m->count is then not 0). Of
 * an answer that is ok. */
bool queue_call_next(store_message *m, queue_call *ret);
/* CANCEL, REVIVE, GET. */
bool queue_call_read(store_message *m, queue_call *ret, err *e);
/* One byte for each lease that was asked for: 1 it is held. */
bool queue_extend_read(store_message *m, size_t n, const uint8_t **ret, err *e);
bool queue_retry_read(store_message *m, queue_state *ret, err *e);
bool queue_given_back_read(store_message *m, uint64_t *ret, err *e);
/* Slots: *ret_n, unaligned; copy each with queue_slot_at. */
bool queue_backlog_read(store_message *m, queue_backlog *ret, const uint8_t **ret_slots,
                        size_t *ret_n, err *e);
queue_slot queue_slot_at(const uint8_t *slots, size_t i);
bool queue_count_read(store_message *m, queue_count *ret, err *e);
bool queue_swept_read(store_message *m, queue_swept *ret, err *e);
bool queue_secret_read(store_message *m, uint8_t ret[QUEUE_SECRET_BYTES], err *e);

/* --- of the store: requests, checked ---------------------------------------------------------- */

/* Any request of the queue, read. */
typedef struct {
    store_kind kind;
    union {
        queue_offer offer;
        queue_lease lease;
        struct {
            int64_t lease_ms;
            const uint8_t *held; /* n queue_held, unaligned */
            size_t n;
        } extend;
        queue_end end;
        queue_retry retry;
        uint64_t number;
        queue_one one;
        queue_list list;
        queue_backlog_ask backlog;
        queue_app_gone gone;
    };
    str note;
    bytes result; /* p NULL: none */
} queue_request;

/* False: *ret_problem says what is wrong with it, a literal. */
bool queue_request_read(store_message m, queue_request *ret, const char **ret_problem);

/* --- of the store: answers -------------------------------------------------------------------- */

void queue_call_write(buf *out, const queue_call *c);
/* Any structure as an item without a key. */
void queue_item_write(buf *out, const void *p, size_t n);
