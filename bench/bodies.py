"""The group 'http': bodies in and out, and requests of guests to another server."""
import http.client
import os
import subprocess

import common
import report
import servers
from common import GUESTS, say
from measure import OWN_HEADERS
from servers import CLIENT_CORE, Server, Wasmtime, ebb_with

RUN_S = 4
GROUP_S_MAX = 700
ECHO_BYTES = 64 * 1024
STREAM_BYTES = 1 << 20
CHECKED = 200
WORK = ("echo", "stream", "fetch")
HEADERS = {"transfer-encoding": "chunked"}


def check(server):
    """What was sent comes back, random each time; 1 MiB; what the other server says. No server adds
    headers but its own."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    names, seen = set(), set()
    for _ in range(CHECKED):
        sent = os.urandom(ECHO_BYTES) if server.work == "echo" else None
        c.request("POST" if sent else "GET", server.path, body=sent)
        response = c.getresponse()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        names = {n for n in headers if n in OWN_HEADERS}
        rest = {n: v for n, v in headers.items() if n not in OWN_HEADERS}
        right = {"echo": body == sent, "stream": len(body) == STREAM_BYTES,
                 "fetch": len(body) == 51}[server.work]
        seen.add(body)
        if response.status != 200 or rest != HEADERS or not right:
            raise RuntimeError(f"{server.name}: unlike the others: {response.status} {headers}")
    if len(seen) != (1 if server.work == "stream" else CHECKED):
        raise RuntimeError(f"{server.name}: answers repeat")
    c.close()
    return sorted(names)


def script(scratch):
    path = scratch / "echo.lua"
    path.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("e", {ECHO_BYTES})\n')
    return path


class Backend:
    """The server that guests call: the floor, on the client's core."""

    def __init__(self, scratch):
        self.port = servers.port_free()
        self.process = subprocess.Popen(["taskset", "-c", str(CLIENT_CORE),
                                         servers.compile_floor(scratch), str(self.port)])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def all_servers(scratch, backend):
    floor = servers.compile_floor(scratch, "floor_bodies")
    wasm = GUESTS / "c-bodies.wasm"
    outbound = f'allowed_outbound_hosts = ["http://127.0.0.1:{backend.port}"]'
    for work in WORK:
        more = {"work": work}
        if work == "echo":
            more["script"] = script(scratch)
        elif work == "stream":
            more["path"] = "/stream"
        else:
            more["path"] = f"/fetch?127.0.0.1:{backend.port}"
        if work != "fetch":
            yield Server(f"floor {work}", [floor, "PORT"], scratch, **more)
        yield ebb_with(f"ebb {work}", wasm, scratch, outbound, **more)
        yield Wasmtime(f"wasmtime {work}", wasm, scratch, **more)
        yield Wasmtime(f"wasmtime+ {work}", wasm, scratch, *servers.WASMTIME_TUNED, **more)


def figures(runs):
    found = []
    for work, words, must in (("echo", "64 kB echo POST", 2.5), ("stream", "1 MB streamed", 2.0),
                              ("fetch", "GET to a local server", 2.0)):
        common.against(found, runs, words, f"ebb {work}", [
            ("times the better wasmtime serve", common.better_wasmtime(runs, work), must, must),
            ("part of the floor (enough instead)", runs.get(f"floor {work}"), 0.7, 0.7)])
    return found


def bench(facts, scratch, only, steps):
    facts["run_s"] = RUN_S
    backend = Backend(scratch)
    try:
        rows = common.measured(common.chosen(all_servers(scratch, backend), only), steps, RUN_S,
                               GROUP_S_MAX, check)
    finally:
        backend.stop()
    found = figures(common.runs_of(rows))
    print(common.table(rows))
    print(report.figures(found))
    say("of the first two figures of a body, one is enough")
    return {"rows": rows, "figures": found}, common.picture("Bodies and outbound requests, C", rows)
