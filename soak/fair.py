"""The stage `fair`: one guest that never stops computing; what is left of its worker for others.

The worker has one core to itself, the clients the other. Two questions, each asked alone and beside
the spinning guest: how many requests does a closed loop get through (wrk, 32 connections), and how
long does a request take that comes when it comes (open loop, 500 requests/s, counted from the
moment it was due).
"""
import contextlib
import os
import re
import selectors
import socket
import statistics
import struct
import subprocess
import time

from harness import Connection, guest, serving, write_app

MANIFEST = f"""
spin_manifest_version = 2
[application]
name = "fair"
[[trigger.http]]
route = "/..."
component = "hello"
[[trigger.http]]
route = "/bad/..."
component = "bad"
[component.hello]
source = "{guest('hello')}"
[component.bad]
source = "{guest('c-kitchen')}"
[component.bad.tool.ebb]
cpu_time_max = "none"
"""
SERVER_CORE, CLIENT_CORE = 0, 1
ROUNDS, ROUND_S = 5, 3
RATE, RATE_S = 500, 8
REQUEST = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


def closed_loop(server):
    """Requests per second."""
    said = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", "-c32", f"-d{ROUND_S}s",
         f"{server.url}/hello"], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, said
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


def open_loop(server):
    """Seconds from when each request was due to its answer."""
    idle = [server.connect() for _ in range(64)]
    waits = selectors.DefaultSelector()
    due_of, took = {}, []
    begin, sent, total = time.monotonic() + 0.1, 0, RATE * RATE_S
    while len(took) < total:
        now = time.monotonic()
        while sent < total and begin + sent / RATE <= now:
            s = idle.pop() if idle else server.connect()
            due_of[s] = begin + sent / RATE
            s.sendall(REQUEST)
            waits.register(s, selectors.EVENT_READ)
            sent += 1
        for key, _ in waits.select(0):  # never sleeps: a sleep may end a millisecond late
            s = key.fileobj
            assert s.recv(65536).startswith(b"HTTP/1.1 200 ")
            took.append(time.monotonic() - due_of.pop(s))
            waits.unregister(s)
            idle.append(s)
    for s in idle:
        s.close()
    return took


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


@contextlib.contextmanager
def spinner(server):
    """A request that computes for ever, while the block runs."""
    with Connection(server) as c:
        c.send(b"GET /bad/spin HTTP/1.1\r\nHost: a\r\n\r\n")
        yield
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def measure(server, figures, where):
    figures[f"rate_{where}"].append(closed_loop(server))
    took = open_loop(server)
    figures[f"p99_{where}_ms"].append(percentile(took, 0.99) * 1e3)
    figures[f"p50_{where}_ms"].append(percentile(took, 0.50) * 1e3)


def fair(state, work, arguments):
    """Others get 45 % of a worker beside a spinning guest; their p99 grows by 3 ms at most."""
    app = write_app(work / "app", MANIFEST)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    figures = {k: [] for k in ("rate_alone", "rate_beside", "p99_alone_ms", "p99_beside_ms",
                               "p50_alone_ms", "p50_beside_ms")}
    try:
        with serving(app, work, workers=1, env={"EBB_RESTORE": "auto,check=10000"}) as server:
            os.sched_setaffinity(0, {CLIENT_CORE})
            closed_loop(server)
            for i in range(ROUNDS):
                measure(server, figures, "alone")
                with spinner(server):
                    measure(server, figures, "beside")
                yield f"round {i + 1} of {ROUNDS}"
    finally:
        os.sched_setaffinity(0, before)
    medians = {k: round(statistics.median(v), 3) for k, v in figures.items()}
    share = medians["rate_beside"] / medians["rate_alone"]
    added = medians["p99_beside_ms"] - medians["p99_alone_ms"]
    state["result"] = medians | {"share": round(share, 3), "p99_added_ms": round(added, 3),
                                 "rounds": {k: [round(x, 3) for x in v]
                                            for k, v in figures.items()}}
    assert share >= 0.45, state["result"]
    assert added <= 3, state["result"]
    yield "done"
