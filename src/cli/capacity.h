/* `ebb capacity`: how many more apps of a kind fit, at what risk. Returns the exit status. */
#pragma once

int cli_capacity(int argc, char **argv);
