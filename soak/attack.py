"""`./dev soak attack`: one tenant's latency while ten others attack.

A node of `ebb serve` with one worker has one core to itself, all clients the other. The victim gets
500 requests a second in an open loop: how long each takes from the moment it was due. It is
measured alone and while ten tenants, each with the quotas that new tenants have, do at once what is
in ATTACKS. The victim's client runs before those of the attackers, with which it shares a core
(SCHED_FIFO), or it would measure its own waiting.
"""
import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness import guest, write_app
from node import node

SERVER_CORE, CLIENT_CORE = 0, 1
ROUNDS, ALONE_S, ATTACKED_S, RATE = 3, 5, 8, 500
MANIFEST = """
spin_manifest_version = 2
[application]
name = "{name}"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{source}"
key_value_stores = ["default"]
allowed_outbound_hosts = ["*://*:*"]
[component.c.tool.ebb]
cpu_time_max = "none"
"""
# What holds connections: (path, how many calls of each of its apps).
HELD = {"spin": "/spin", "grow": "/grow", "wait": "/proxy?http://127.0.0.1:{port}/"}
# name: (guest, apps, what)
ATTACKS = {
    "cpu": ("c-kitchen", 5, ("hold", "spin", 10)),         # fifty calls that never end
    "short": ("c-kitchen", 1, ("wrk", "/burn?100", 64)),   # each ends within its first slice
    "long": ("c-kitchen", 1, ("wrk", "/burn?2000", 32)),   # each takes some slices
    "memory": ("c-kitchen", 1, ("wrk", "/bomb", 4)),       # takes what there is, writes it, ends
    "memory2": ("c-hostile", 1, ("hold", "grow", 40)),     # the same, and keeps it
    "outward": ("c-client", 1, ("hold", "wait", 150)),     # holds outgoing connections
    "slow": ("c-kitchen", 1, ("drip", "/drain", 190)),     # a byte every tenth of a second
    "logs": ("c-hostile", 1, ("wrk", "/logs?2000", 16)),   # 48 kB a call
    "disk": ("c-keyvalue", 1, ("wrk", "/v2/set?default&k&v&60000", 16)),
    "deploys": ("hello", 1, ("deploy", None, 2)),          # of ever new code
}
SETTINGS = """
[node]
log_json = true
[egress]
allow = "127.0.0.0/8"
[quota]
memory_bytes = 536870912
"""
REQUEST = b"GET /hello HTTP/1.1\r\nHost: app0-victim.localhost\r\n\r\n"


def app(work, name, source):
    return write_app(work / name, MANIFEST.format(name=name, source=source))


class Client:
    """Subprocesses and threads that attack until they are stopped."""

    def __init__(self, n, work, port):
        self.n, self.work, self.port = n, work, port
        self.processes, self.sockets, self.stop = [], [], threading.Event()
        self.deploys = self.refused = 0
        self.threads = []

    def thread(self, f, *args):
        self.threads.append(threading.Thread(target=f, args=args, daemon=True))
        self.threads[-1].start()

    def hold(self, tenant, apps, kind, count):
        path = HELD[kind].format(port=self.port)
        for _ in range(count):
            for k in range(apps):
                s = self.n.connect()
                host = f"app{k}-{tenant}.localhost"
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                self.sockets.append(s)

    def wrk(self, tenant, apps, path, count):
        command = ["wrk", "-t1", f"-c{count}", "-d60s", "-H", f"Host: app0-{tenant}.localhost",
                   f"http://{self.n.host}:{self.n.port}{path}"]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL))

    def drip(self, tenant, apps, path, count):
        head = f"POST {path} HTTP/1.1\r\nHost: app0-{tenant}.localhost\r\n" \
               "Content-Length: 1000000\r\n\r\n"
        mine = [self.n.connect() for _ in range(count)]
        for s in mine:
            s.sendall(head.encode())
        self.sockets += mine

        def run():
            while not self.stop.wait(0.1):
                for s in mine:
                    with contextlib.suppress(OSError):
                        s.send(b"x")
        self.thread(run)

    def deploy(self, tenant, apps, _, count):
        """The same code under ever new digests: each has to be decoded and compiled."""
        code = Path(guest("hello")).read_bytes()

        def run(k):
            i = 0
            while not self.stop.is_set():
                i += 1
                mark = f"{k}-{i}-{time.monotonic_ns()}".encode()
                custom = bytes([1, ord("x")]) + mark
                folder = self.work / f"deploy-{k}"
                folder.mkdir(exist_ok=True)
                (folder / "x.wasm").write_bytes(code + b"\0" + bytes([len(custom)]) + custom)
                app(self.work, f"deploy-{k}", "x.wasm")
                with contextlib.suppress(AssertionError):
                    self.n.run("deploy", "-f", folder, tenant=tenant)
                    self.deploys += 1
        for k in range(count):
            self.thread(run, k)

    def end(self):
        self.stop.set()
        for p in self.processes:
            p.terminate()
            p.wait()
        for s in self.sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        for t in self.threads:
            t.join(60)


def set_up(n, work):
    """The victim, and the attackers with the quotas of new tenants."""
    for tenant, (source, apps, _) in (ATTACKS | {"victim": ("hello", 1, None)}).items():
        n.tenant(tenant)
        for k in range(apps):
            n.run("deploy", "-f", app(work, f"app{k}", guest(source)), tenant=tenant)
            shutil.rmtree(work / f"app{k}")


def open_loop(n, seconds):
    """Milliseconds from when each request was due to its answer; by a process of its own."""
    done = subprocess.run([sys.executable, __file__, n.host, str(n.port), str(seconds)],
                          capture_output=True, text=True, timeout=seconds + 60,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr[-1000:]
    return json.loads(done.stdout)


@contextlib.contextmanager
def attacking(n, work, port, chosen):
    client = Client(n, work, port)
    try:
        for tenant in chosen:
            _, apps, (what, path, count) = ATTACKS[tenant]
            getattr(client, what)(tenant, apps, path, count)
        time.sleep(1)
        yield client
    finally:
        client.end()


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def attack(state, work, arguments):
    """A tenant's p99 at 500 requests/s beside ten attackers: at most max(3 x alone, + 3 ms)."""
    before = os.sched_getaffinity(0)
    shutil.rmtree(work / "node", ignore_errors=True)
    chosen = arguments.attacks.split(",") if arguments.attacks else list(ATTACKS)
    figures = {k: [] for k in ("p50_alone_ms", "p99_alone_ms", "p50_attacked_ms",
                               "p99_attacked_ms")}
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        with node(work / "node", workers=1, settings=SETTINGS,
                  env={"EBB_RESTORE": "auto,check=10000"}) as n, \
                socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
            os.sched_setaffinity(0, {CLIENT_CORE})
            set_up(n, work / "node")
            open_loop(n, 1)
            yield "set up"
            deploys = 0
            for i in range(ROUNDS):
                alone = open_loop(n, ALONE_S)
                with attacking(n, work / "node", silent.getsockname()[1], chosen) as client:
                    attacked = open_loop(n, ATTACKED_S)
                deploys += client.deploys
                for where, took in (("alone", alone), ("attacked", attacked)):
                    figures[f"p50_{where}_ms"].append(percentile(took, 0.5))
                    figures[f"p99_{where}_ms"].append(percentile(took, 0.99))
                yield f"round {i + 1} of {ROUNDS}: {alone and figures}"
            refused = {t: {k: v for k, v in n.api("GET", f"/v1/tenants/{t}")[1]["refused"].items()
                           if v} for t in chosen}
    finally:
        os.sched_setaffinity(0, before)
    medians = {k: round(statistics.median(v), 3) for k, v in figures.items()}
    added = medians["p99_attacked_ms"] - medians["p99_alone_ms"]
    limit = max(3 * medians["p99_alone_ms"], medians["p99_alone_ms"] + 3)
    state["result"] = medians | {
        "p99_added_ms": round(added, 3), "limit_ms": round(limit, 3), "deploys": deploys,
        "attacks": chosen, "refused": refused,
        "rounds": {k: [round(x, 3) for x in v] for k, v in figures.items()}}
    print(json.dumps(state["result"]), flush=True)
    assert medians["p99_attacked_ms"] <= limit, state["result"]
    yield "done"


def victim(host, port, seconds):
    """The open loop: one request every 2 ms on whichever connection is free."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))

    def connect():
        s = socket.create_connection((host, port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s
    idle = [connect() for _ in range(64)]
    waits, due_of, got, took = selectors.DefaultSelector(), {}, {}, []
    total = RATE * seconds
    begin, sent = time.monotonic() + 0.1, 0
    while len(took) < total:
        now = time.monotonic()
        while sent < total and begin + sent / RATE <= now:
            s = idle.pop() if idle else connect()
            due_of[s] = begin + sent / RATE
            got[s] = b""
            s.sendall(REQUEST)
            waits.register(s, selectors.EVENT_READ)
            sent += 1
        left = max(0, begin + sent / RATE - time.monotonic()) if sent < total else 1
        for key, _ in waits.select(left if left > 0.0002 else 0):
            s = key.fileobj
            got[s] += s.recv(65536)
            assert got[s].startswith(b"HTTP/1.1 200 "), got[s][:200]
            if not got[s].endswith(b".\n"):  # the body's end
                continue
            took.append(1e3 * (time.monotonic() - due_of.pop(s)))
            waits.unregister(s)
            idle.append(s)
    print(json.dumps(took))


if __name__ == "__main__":
    victim(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
