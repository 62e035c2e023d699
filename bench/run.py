"""./dev bench [GROUP] [--only NAME,NAME] [--seconds N]: measures ebb and other servers; see
bench/README.md."""
import argparse
import datetime
import sys
import time

import bodies
import cold
import defer
import deploys
import energy
import hello
import idle
import measure
import meter
import paint
import profile_steps
import report
import servers
import speed
import state
import steps as slices
from common import say

#: Each module has bench(facts, scratch, only, steps), which prints its table and gives what goes
#: into bench/results/GROUP.json and the picture, or None.
GROUPS = {"hello": hello, "speed": speed, "http": bodies, "cold": cold, "idle": idle,
          "profile": profile_steps, "state": state, "meter": meter, "energy": energy,
          "defer": defer, "deploys": deploys, "paint": paint}


def header():
    facts = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
             "command": "./dev bench " + " ".join(sys.argv[1:]),
             "server_core": servers.SERVER_CORE, "client_core": servers.CLIENT_CORE,
             "connections": measure.CONNECTIONS, "runs": measure.RUNS, **servers.versions()}
    for name, value in facts.items():
        say(f"{name}: {value}")
    if servers.SERVER_CORE == servers.CLIENT_CORE:
        raise SystemExit("bench: needs two cores, one for the servers and one for the client")
    return facts


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("group", nargs="?", default="hello", choices=sorted(GROUPS))
    parser.add_argument("--only", default="", help="some rows: names with '-' for blanks, commas")
    parser.add_argument("--seconds", type=int,
                        help="stop after about so long; the same command again goes on")
    args = parser.parse_args()
    facts = header()
    steps = slices.Steps(args.group, f"{facts['commit']} {args.only} {servers.ebb_digest()}",
                         args.seconds)
    scratch, remove = servers.scratch()
    begin, only = time.monotonic(), set(filter(None, args.only.split(",")))
    try:
        result, picture = GROUPS[args.group].bench(facts, scratch, only, steps)
    except slices.TimeIsUp:
        say(f"bench {args.group}: time is up, results are kept; run it again to go on")
        return 3
    finally:
        remove()
    if only:
        say("some rows only: nothing is written to bench/results")
    else:
        report.save(args.group, {"facts": facts, **result}, picture)
    steps.finish()
    say(f"bench {args.group}: {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
