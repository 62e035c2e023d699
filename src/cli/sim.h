/* `ebb sim`: days to years of load and carbon in virtual time. Returns the exit status. */
#pragma once

int cli_sim(int argc, char **argv);
