/* Work that comes behind requests: what a process does that the builder started. */
#pragma once

/* Of a process with a nice value, and before its sandbox: from now on it lets others have the core
 * after half a millisecond of it. Elsewhere, and where the kernel refuses, nothing changes. */
void behind_requests(void);
