/* A worker's own look into a key-value file: a read-only SQLite connection over three descriptors
 * that the store process lent it (kv_file_lend): the file, its log, the log's index.
 *
 * Invariants
 * - Nothing is written: the descriptors cannot, and the index of the log is mapped for reading.
 * - What is read was fsynced: SQLite publishes a commit in the index after the log is on disk.
 * - A read sees every commit that was answered before it began.
 * - Nothing blocks: no lock is waited for, nothing slept; where SQLite would, the store process is
 *   to be asked (KV_READ_ASK).
 * One thread; one reader a file and process, because of POSIX locks. */
#pragma once

#include "base/str.h"

typedef struct kv_reader kv_reader;

enum { KV_PART_FILE, KV_PART_LOG, KV_PART_INDEX, KV_PARTS };

/* Takes the descriptors, also on failure (NULL): then the store process is to be asked. */
kv_reader *kv_reader_open_take(const int fds[KV_PARTS]);
/* NULL is allowed. */
void kv_reader_close(kv_reader *r);

/* KV_READ_ASK: the value is long, or this reader is of no use any more (kv_reader_failed). */
typedef enum { KV_READ_ASK, KV_READ_NONE, KV_READ_VALUE } kv_read;
/* KV_READ_VALUE: *ret is valid until kv_reader_done, which is called before the next get. */
kv_read kv_reader_get(kv_reader *r, str store, str key, bytes *ret);
void kv_reader_done(kv_reader *r);
/* Lets go of the file's log, which reads hold on to: at the end of a turn. */
void kv_reader_rest(kv_reader *r);
/* The file was replaced, or an error happened: close it. */
bool kv_reader_failed(const kv_reader *r);
