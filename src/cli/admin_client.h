/* Asking a running node: one GET on its admin address. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Where `ebb up` listens when nothing is said, seen from the app's folder. */
#define ADMIN_DEFAULT ".spin/ebb/admin.sock"

/* address: "IP:PORT", or the path of a socket. path begins with '/'. The body is appended to out.
 * ERR_NOT_FOUND: nobody answers there; ERR_INVALID: the node refused, in its own words. */
bool admin_get(const char *address, const char *path, buf *out, err *e);
/* s as a query's value: everything but letters, digits and -._~: is percent-encoded. */
bool admin_put_value(buf *path, const char *s);
