/* Inside host/: what an instance may reach (allowed_outbound_hosts). */
#pragma once

#include "host/call.h"

/* To be called first in functions that ask below, which may wait: where rules have variables whose
 * values may change, looks them up for this instance, once. HOST_DONE: go on. */
host_status reach_known(host_call *c);

/* host as in a URL; port 0: the scheme's own. */
bool reach_allowed(const guest *g, str scheme, str host, uint16_t port);
/* Where a request goes: to the app itself, elsewhere, nowhere. */
host_chain reach_chain(const guest *g, str scheme, str host);
/* It was refused for that reason: for the log. */
void reach_denied(const guest *g, str scheme, str host, uint16_t port);
