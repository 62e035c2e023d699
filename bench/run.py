"""./dev bench [GROUP] [--only NAME,NAME]: measures ebb and other servers; see bench/README.md."""
import argparse
import datetime
import statistics
import sys
import time

import measure
import report
import servers
from servers import ROOT, Ebb, Server, Wasmtime

GUESTS = ROOT / "build" / "guests"


def say(text):
    print(f"   {text}", file=sys.stderr, flush=True)


def header():
    facts = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
             "server_core": servers.SERVER_CORE, "client_core": servers.CLIENT_CORE,
             "connections": measure.CONNECTIONS, "runs": measure.RUNS, "run_s": measure.RUN_S,
             **servers.versions()}
    for name, value in facts.items():
        say(f"{name}: {value}")
    if servers.SERVER_CORE == servers.CLIENT_CORE:
        raise SystemExit("bench: needs two cores, one for the servers and one for the client")
    return facts


# ---- hello: requests per second, a new instance for each

def hello_servers(scratch):
    yield Server("floor", [servers.compile_floor(scratch), "PORT"], scratch)
    yield Server("node http", [servers.NODE, servers.PEERS / "node.mjs", "PORT"], scratch)
    yield Server("workerd", [servers.workerd(), "serve", servers.PEERS / "workerd.capnp",
                             "--socket-addr", "http=127.0.0.1:PORT"], scratch)
    for language, app in (("C", "hello"), ("Rust", "rust-hello-spin"),
                          ("plain Rust", "rust-hello-wasi"), ("JS", "js-hello")):
        wasm = GUESTS / f"{app}.wasm"
        yield Ebb(f"ebb {language}", wasm, scratch)
        yield Wasmtime(f"wasmtime {language}", wasm, scratch)
        yield Wasmtime(f"wasmtime+ {language}", wasm, scratch, *servers.WASMTIME_TUNED)


def hello_figures(rps):
    """What issue and README promise, for those that were measured."""
    found = []
    for language, floor, node, serve in (("C", (0.22, 0.32), (0.7, 1.0), (2.8, 4.0)),
                                         ("Rust", None, None, (3.0, 5.0))):
        own = rps.get(f"ebb {language}")
        if own is None:
            continue
        if floor and "floor" in rps:
            found.append((f"{language}: part of the floor", own / rps["floor"], *floor))
        if node and "node http" in rps:
            found.append((f"{language}: times Node", own / rps["node http"], *node))
        peers = [rps[n] for n in (f"wasmtime {language}", f"wasmtime+ {language}") if n in rps]
        if peers:
            found.append((f"{language}: times the better wasmtime serve", own / max(peers), *serve))
    return found


#: Measured on request (--only): guests whose figures a later table promises.
LATER = {f"{who} {guest}" for who in ("ebb", "wasmtime", "wasmtime+")
         for guest in ("plain Rust", "JS")}


def bench_hello(facts, scratch, only):
    chosen = [s for s in hello_servers(scratch)
              if (s.name.replace(" ", "-") in only if only else s.name not in LATER)]
    try:
        for server in chosen:
            server.start()
            say(f"{server.name}: {server.settings()}")
            own = measure.check(server)
            say(f"{server.name}: {measure.CHECKED} answers differ; own headers: {' '.join(own)}")
            server.pause()
        rows = measure.interleaved(chosen, say)
    finally:
        for server in chosen:
            server.stop()
    rps = {row["name"]: row["rps"] for row in rows}
    promised = hello_figures(rps)
    print(report.table([
        ("server", -16, lambda r: r["name"]),
        ("requests/s", 11, lambda r: f"{r['rps']:,.0f}"),
        ("spread", 7, lambda r: f"{r['spread']:.0%}" + ("!" if r["noisy"] else "")),
        ("of floor", 9, lambda r: f"{r['rps'] / rps['floor']:.1%}" if "floor" in rps else "-"),
        ("p50 us", 8, lambda r: f"{r['p50_us']:,.0f}"),
        ("p99 us", 8, lambda r: f"{r['p99_us']:,.0f}"),
        ("CPU us", 8, lambda r: f"{r['cpu_us']:.1f}"),
    ], rows))
    print("  (wasmtime+: tuned; spread: of all runs, '!' noisy; CPU: of all processes, a request)")
    print(report.figures(promised))
    picture = report.bars("Hello, one core, a new sandbox for every request (ebb, wasmtime)",
                          "requests/s", [(r["name"], r["rps"], " (noisy)" if r["noisy"] else "")
                                         for r in sorted(rows, key=lambda r: -r["rps"])])
    report.save("hello", {"facts": facts, "rows": rows, "figures": promised}, picture)


# ---- cold: the first request to each of 1,000 components

def bench_cold(facts, scratch, only, count=1000):
    """Components that differ in the text they answer, so in digest and artifact. A first process
    compiles them all; the one that is measured has mapped none. ebb itself measures from the last
    byte of the request read to the answer written (log field us)."""
    from cold import durations_us, manifest_write, request_each
    manifest = manifest_write(scratch / "cold", (GUESTS / "hello.wasm").read_bytes(), count)
    compiled = Ebb("ebb compile", manifest, scratch)
    try:
        begin = time.monotonic()
        compiled.start()
        request_each(compiled.port, count)
        say(f"{count} components compiled and answered in {time.monotonic() - begin:.1f} s")
    finally:
        compiled.stop()
    server = Ebb("ebb", manifest, scratch)
    try:
        server.start()
        say(server.settings())
        request_each(server.port, count)
    finally:
        server.stop()
    times = sorted(durations_us(server.log, count))
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"first request to {count} components: p50 {p50:.0f} us, p99 {p99:.0f} us, "
          f"max {times[-1]:.0f} us")
    promised = [("first request, p50 us", p50, 300, 100), ("first request, p99 us", p99, 1000, 999)]
    print(report.figures(promised))
    report.save("cold", {"facts": facts, "times_us": times, "figures": promised})


# ---- idle: wake-ups with nothing to do

def bench_idle(facts, scratch, only, seconds=10):
    server = Ebb("ebb", GUESTS / "hello.wasm", scratch)
    try:
        server.start()
        for _ in measure.responses(server.port, 1000):
            pass
        say("served 1,000 requests; waiting for its instances to go")
        before, deadline = server.context_switches(), time.monotonic() + 120
        while True:
            time.sleep(seconds)
            after = server.context_switches()
            woken = {k: (name, n - before.get(k, ("", 0))[1]) for k, (name, n) in after.items()}
            total = sum(n for _, n in woken.values())
            if total == 0 or time.monotonic() > deadline:
                break
            before = after
    finally:
        server.stop()
    for (pid, tid), (name, n) in sorted(woken.items()):
        print(f"  {pid:>8} {tid:>8}  {name:<16} {n:>6}")
    print(f"context switches over {seconds} s, idle: {total} (must 0)")
    report.save("idle", {"facts": facts, "switches": total, "seconds": seconds,
                         "threads": [[p, t, name, n] for (p, t), (name, n) in woken.items()]})


GROUPS = {"hello": bench_hello, "cold": bench_cold, "idle": bench_idle}


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("group", nargs="?", default="hello", choices=sorted(GROUPS))
    parser.add_argument("--only", default="", help="of 'hello': names with '-' for blanks, commas")
    args = parser.parse_args()
    facts = header()
    scratch, remove = servers.scratch()
    begin = time.monotonic()
    try:
        GROUPS[args.group](facts, scratch, set(filter(None, args.only.split(","))))
    finally:
        remove()
    say(f"bench {args.group}: {time.monotonic() - begin:.0f} s")


main()
