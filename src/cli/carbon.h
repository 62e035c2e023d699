/* `ebb carbon now|forecast|report`. Returns the exit status. */
#pragma once

int cli_carbon(int argc, char **argv);
