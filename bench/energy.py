"""The group 'energy': CPU time at low rates, idle time included, of ebb, plain Node and plain C.

All three serve at the same time, each on the servers' core, for RATE_S at each rate; the client
sends on one kept connection, open loop. Energy is the model of carbon/power.h (2.5 J a CPU-second)
on the kernel's account of all processes of a server: what they draw above an idle machine. A rate
of 0 shows what waiting costs.
"""
import pathlib
import socket
import threading
import time

import report
import servers
from common import GUESTS, chosen, say, started
from servers import Ebb, Server, descendants

RATES = (0, 1, 10, 100)
RATE_S = 60
JOULES_PER_CPU_S = 2.5


def cpu_ns(server):
    """Of all living threads of all its processes, to the nanosecond."""
    total = 0
    for pid in descendants(server.process.pid):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                pass
    return total


def ask(server, rate, end, answered):
    request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as s:
        due, n = time.monotonic(), 0
        while due < end:
            time.sleep(max(0, due - time.monotonic()))
            s.sendall(request)
            if not s.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{server.name}: no answer")
            n += 1
            due += 1 / rate
    answered[server.name] = n


def one_rate(running, rate):
    before = {s.name: cpu_ns(s) for s in running}
    answered, end = {s.name: 0 for s in running}, time.monotonic() + RATE_S
    threads = [threading.Thread(target=ask, args=(s, rate, end, answered)) for s in running if rate]
    for t in threads:
        t.start()
    time.sleep(max(0, end - time.monotonic()))
    for t in threads:
        t.join()
    return {s.name: {"cpu_s": (cpu_ns(s) - before[s.name]) / 1e9, "answered": answered[s.name]}
            for s in running}


def bench(facts, scratch, only, steps):
    facts["seconds_per_rate"], facts["joules_per_cpu_s"] = RATE_S, JOULES_PER_CPU_S
    asked = [Ebb("ebb C", GUESTS / "hello.wasm", scratch),
             Server("node http", [servers.NODE, servers.PEERS / "node.mjs", "PORT"], scratch),
             Server("plain C", [servers.compile_floor(scratch), "PORT"], scratch)]
    running, rows = [s for s in chosen(asked, only) if started(s)], []
    try:
        for s in running:
            say(f"{s.name}: {s.settings()}")
        for rate in RATES:
            say(f"{rate} requests/s for {RATE_S} s")
            found = steps.do(f"rate {rate}", lambda: one_rate(running, rate))
            for name, use in found.items():
                per = 1000 / use["answered"] if use["answered"] else None
                rows.append({"name": name, "rate": rate, **use, "joules_per_1000":
                             per and use["cpu_s"] * JOULES_PER_CPU_S * per})
    finally:
        for s in running:
            s.stop()
    print(report.table([
        ("server", -12, lambda r: r["name"]), ("requests/s", 10, lambda r: str(r["rate"])),
        ("CPU ms in 60 s", 15, lambda r: f"{r['cpu_s'] * 1000:,.2f}"),
        ("CPU us a request", 17, lambda r: f"{r['cpu_s'] * 1e6 / r['answered']:,.0f}"
         if r["answered"] else "-"),
        ("J per 1,000", 12, lambda r: f"{r['joules_per_1000']:,.3f}"
         if r["joules_per_1000"] else "-")], rows))
    for rate in RATES[1:]:
        of = {r["name"]: r["cpu_s"] for r in rows if r["rate"] == rate}
        worse = [n for n in of if n != "ebb C" and of.get("ebb C", 0) > of[n]]
        if worse:
            say(f"at {rate} requests/s ebb uses more than {', '.join(worse)}")
    return {"rows": rows}, None
