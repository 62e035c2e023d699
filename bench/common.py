"""What the groups share: where guests are, how rows become a table, a group's life."""
import statistics
import sys

import measure
import report
from servers import ROOT

GUESTS = ROOT / "build" / "guests"


def say(text):
    print(f"   {text}", file=sys.stderr, flush=True)


def chosen(servers, only):
    """Those of --only, by name with '-' for blanks; all if none is named."""
    return [s for s in servers if not only or s.name.replace(" ", "-") in only]


def started(server):
    """False: it is optional and refuses to start, as a build of ebb does that lacks a setting."""
    try:
        server.start()
        return True
    except RuntimeError as e:
        if not server.optional:
            raise
        say(f"left out: {e}")
        return False


def measured(servers, steps, run_s, group_s_max, check=measure.check):
    """Starts all, checks their answers, measures them in rounds, stops them; gives rows."""
    servers, asked = [], servers
    try:
        for server in asked:
            if not started(server):
                continue
            servers.append(server)
            say(f"{server.name}: {server.settings()}")
            server.pause()
        measure.check_all(servers, steps, say, check)
        return measure.interleaved(servers, steps, say, run_s, group_s_max)
    finally:
        for server in servers:
            server.stop()


def table(rows):
    rps = {row["name"]: row["rps"] for row in rows}
    floor = rps.get("floor")
    return report.table([
        ("server", -18, lambda r: r["name"]),
        ("requests/s", 11, lambda r: f"{r['rps']:,.0f}"),
        ("spread", 7, lambda r: f"{r['spread']:.0%}" + ("!" if r["noisy"] else "")),
        ("of floor", 9, lambda r: f"{r['rps'] / floor:.1%}" if floor else "-"),
        ("p50 us", 8, lambda r: f"{r['p50_us']:,.0f}"),
        ("p99 us", 8, lambda r: f"{r['p99_us']:,.0f}"),
        ("CPU us", 8, lambda r: f"{r['cpu_us']:.1f}"),
    ], rows) + ("\n  (wasmtime+: tuned; spread: of all runs, '!' noisy; CPU: of all processes, a "
                "request)")


def picture(title, rows):
    return rows and report.bars(title, "requests/s", [
        (r["name"], r["rps"], " (noisy)" if r["noisy"] else "")
        for r in sorted(rows, key=lambda r: -r["rps"])])


def runs_of(rows):
    """Name to requests/s of each round."""
    return {row["name"]: row["runs_rps"] for row in rows}


def ratio(own, peer):
    """The median of what each round gives: a change of the machine's mood meets both of a round."""
    return statistics.median(a / b for a, b in zip(own, peer, strict=True))


def better_wasmtime(runs, guest):
    """Of the two wasmtime serve; None if neither was measured."""
    return max((runs[n] for n in (f"wasmtime {guest}", f"wasmtime+ {guest}") if n in runs),
               key=statistics.median, default=None)


def against(found, runs, what, own, peers):
    """Adds a figure for each of peers: (words, runs of the peer or None, must, aim)."""
    if runs.get(own):
        found += [(f"{what}: {words}", ratio(runs[own], peer), must, aim)
                  for words, peer, must, aim in peers if peer]
