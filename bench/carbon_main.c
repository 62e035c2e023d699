/* `ebb-carbon sim|carbon|capacity ...`: the commands of the carbon rooms alone, for the scripts in
 * bench/ and for tests; without engine, server or store. */
#include "cli/capacity.h"
#include "cli/carbon.h"
#include "cli/sim.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "sim") == 0)
        return cli_sim(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "carbon") == 0)
        return cli_carbon(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "capacity") == 0)
        return cli_capacity(argc - 1, argv + 1);
    fputs("usage: ebb-carbon sim|carbon|capacity [options]; each takes --help\n", stderr);
    return 2;
}
