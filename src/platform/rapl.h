/* The node's energy counters (Linux powercap), as one number. Only root reads them (CVE-2020-8694):
 * they are opened by the keeper while it still may, and no other process gets them. */
#pragma once

#include "carbon/power.h"

enum { RAPL_ZONES_MAX = 32 };

typedef struct {
    int fd[RAPL_ZONES_MAX];
    rapl_zone zone[RAPL_ZONES_MAX];
    unsigned count;
    double interval_s_max; /* between two readings; beyond, a counter may have wrapped unseen */
    int64_t read_s;        /* of the last reading */
    bool world_readable;   /* any user of the machine can read them: warn */
} rapl;

/* root: "/sys/class/powercap", another folder in tests. Zones that cannot be read are passed over;
 * count is 0 where there is none. */
void rapl_open(rapl *r, const char *root, double watts_max);
void rapl_close(rapl *r);
/* Joules of the node since the last reading. False: this is the first one, the last one is too long
 * ago, or a counter was reset: the model stands in for that span. */
bool rapl_read(rapl *r, int64_t now_s, double *ret_j);
