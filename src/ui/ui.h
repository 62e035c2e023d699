/* The dashboard: pages by hand, without a framework, that the keeper serves at `/` of its admin
 * address. docs/dashboard.md says what they show; everything they know they ask of the admin API.
 */
#pragma once

/* The keeper with these pages; see role.h. */
int ui_keeper(int argc, char **argv);
