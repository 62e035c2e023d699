/* What a complete head means. For http1_parser.c. */
#pragma once

#include "http/http1_parser.h"

/* Notes the refusal in p and returns false. */
bool http1_refuse(http1_parser *p, unsigned status, const char *reason);
/* Checks target, authority and framing of p->head, removes hop-by-hop fields and fills in what the
 * head says. false: refused. */
bool http1_head_check(http1_parser *p);
