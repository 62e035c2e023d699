/* The server's certificates as files: reading them, noticing that they changed, and handing them to
 * workers, who cannot open them. The supervisor owns them: it alone has the right to read private
 * keys, and reads them again on SIGHUP and when a file changes (inotify, by a signal: no timer).
 *
 * A folder holds any number of pairs: NAME.crt or NAME.pem with NAME.key, and NAME/fullchain.pem
 * with NAME/privkey.pem. A client gets the certificate of the name it asks for, and none for a name
 * that no certificate has; with one pair of files, every client gets that one.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "loop/tls.h"

typedef struct certificates certificates;

/* Either both files or a folder; borrowed. */
typedef struct {
    const char *certificate_path, *key_path;
    const char *folder;
} certificates_source;

/* Reads and checks all of them. Errors name the file. */
bool certificates_open(const certificates_source *from, certificates **ret, err *e);
/* NULL is allowed. */
void certificates_close(certificates *c);
/* For a cleanup attribute. */
static inline void certificates_closep(certificates **c) { certificates_close(*c); }
/* Reads them again; *ret_changed: they are others than before. On failure those read before stay.
 */
bool certificates_reload(certificates *c, bool *ret_changed, err *e);
/* An anonymous file with all of them for certificates_receive; the caller closes it. */
bool certificates_file(const certificates *c, int *ret_fd, err *e);
/* From now on this process gets the signal when one of the files may have changed. */
bool certificates_watch(certificates *c, int signo, err *e);
/* Something changed since the last call. */
bool certificates_noticed(certificates *c);
/* What is noteworthy about them, such as an expired one; NULL: nothing. */
const char *certificates_warning(const certificates *c);

/* In a worker: what certificates_file wrote. Closes fd. */
bool certificates_receive_take(int fd, tls_store **ret, err *e);
