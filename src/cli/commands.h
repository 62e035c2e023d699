/* The commands: one function a command, in a file of its name. Each returns the exit status. */
#pragma once

int cli_build(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_up(int argc, char **argv);
int cli_inspect(int argc, char **argv);
