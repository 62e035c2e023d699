"""Tenants beside each other in one worker: who gets how much of it."""
import contextlib
import os
import signal
import socket
import struct
import time

import pytest

from harness import Connection, guest, serving_many, wait_for, write_app
from node import node

SPINNER = """
spin_manifest_version = 2
[application]
name = "spinner"
[[trigger.http]]
route = "/..."
component = "{0}"
[component.{0}]
source = "{1}"
[component.{0}.tool.ebb]
cpu_time_max = "{2}"
"""


def spinner(tmp_path, name, cpu):
    return write_app(tmp_path / name, SPINNER.format(name, guest("c-kitchen"), cpu))


@contextlib.contextmanager
def calling(server, targets):
    """A call of each (host, path), on connections of their own that are reset in the end: their
    clients have gone then, and read nothing more."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Connection(server)) for _ in targets]
        for c, (host, path) in zip(clients, targets):
            c.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield clients
        for c in clients:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def used_ms(server, component, calls):
    """CPU of calls that ended, by their lines in the log."""
    return [r["cpu_us"] / 1e3 for r in
            server.wait_log("request", calls, component=component)]


def test_tenants_share_a_worker_whatever_calls_they_have(tmp_path):
    """Fifty calls in five apps of one tenant, one call of another: half for each."""
    attackers = [f"bad{n}" for n in range(5)]
    apps = [f"umbra:{x}:{spinner(tmp_path, x, '20s')}" for x in attackers]
    apps.append(f"acme:good:{spinner(tmp_path, 'good', '700ms')}")
    with serving_many(tmp_path, apps) as server:
        with calling(server, [(f"{x}-umbra.localhost", "/spin") for x in attackers] * 10):
            with Connection(server) as c:
                r = c.request("GET", "/spin", host="good-acme.localhost")
                assert r.status == 504  # it has used up its CPU time
        victim, = used_ms(server, "good", 1)
        each = [sum(used_ms(server, x, 10)) for x in attackers]
        share = victim / (victim + sum(each))
        assert 0.2 < share < 0.8, (share, victim, each)  # by calls it would be 0.02


# --- quotas of the node ---------------------------------------------------------------------------

ALL = f"""
spin_manifest_version = 2
[application]
name = "all"
[[trigger.http]]
route = "/..."
component = "kitchen"
[[trigger.http]]
route = "/hostile/..."
component = "hostile"
[[trigger.http]]
route = "/client/..."
component = "client"
[component.kitchen]
source = "{guest('c-kitchen')}"
[component.kitchen.tool.ebb]
cpu_time_max = "none"
[component.hostile]
source = "{guest('c-hostile')}"
[component.hostile.tool.ebb]
cpu_time_max = "none"
[component.client]
source = "{guest('c-client')}"
allowed_outbound_hosts = ["*://*:*"]
"""
SETTINGS = """
[node]
log_json = true
[egress]
allow = "127.0.0.0/8"
"""


class Tenant:
    """The app above for one tenant, with a quota."""

    def __init__(self, n, app, name, *quota):
        self.n, self.name, self.host = n, name, f"all-{name}.localhost"
        token = n.tenant(name, "deployer")
        n.run("deploy", "-f", app, token=token, tenant=name)
        n.run("quota", *quota, tenant=name)
        self.reader = n.token_of(name, "reader")

    def get(self, path):
        return self.n.get("all", path, tenant=self.name)

    def shown(self):
        status, answer = self.n.api("GET", f"/v1/tenants/{self.name}", token=self.reader)
        assert status == 200
        return answer

    def now(self, quota):
        return self.shown()["now"][quota]

    def refused(self, quota):
        return self.shown()["refused"][quota]

    def calling(self, *paths):
        return calling(self.n, [(self.host, path) for path in paths])


@pytest.fixture(scope="module", params=[1, 2])
def on_node(request, tmp_path_factory):
    """Makes tenants of a node with one worker, and of one with two."""
    folder = tmp_path_factory.mktemp("tenants")
    app = write_app(folder / "app", ALL)
    with node(folder, workers=request.param, settings=SETTINGS) as n:
        yield lambda name, *quota: Tenant(n, app, name, *quota)


def test_a_quota_of_requests_is_the_nodes(on_node):
    """All by one connection, so by one worker: it gets the whole quota, and no more."""
    t = on_node("rate", "requests_per_s=5")
    done, over, begun = 0, 0, time.monotonic()
    with Connection(t.n) as c:
        while time.monotonic() - begun < 2 or (not over and time.monotonic() - begun < 40):
            r = c.request("GET", "/hello", host=t.host)
            assert r.status in (200, 429)
            assert r.status == 200 or int(r.get("retry-after")) >= 1
            done += r.status == 200
            over += r.status == 429
    took = time.monotonic() - begun
    assert done <= 1.1 * 5 * (took + 1), (done, took)  # what one second brings may be saved up
    assert done >= 0.8 * 5 * took or not over, (done, took)
    assert over and t.refused("requests_per_s") == over
    said = t.n.run("quota", token=t.reader, tenant="rate")
    assert str(over) in next(x for x in said.splitlines() if x.startswith("requests_per_s"))


def test_requests_at_once_are_counted_on_the_node(on_node):
    t = on_node("many", "concurrency=5")
    with t.calling(*["/sleep?60000"] * 4):
        wait_for(lambda: t.now("concurrency") == 4, "four calls")
        assert t.get("/hello").status == 200
        wait_for(lambda: t.now("concurrency") == 4, "the fifth to have ended")
        with t.calling("/sleep?60000"):
            wait_for(lambda: t.now("concurrency") == 5, "five calls")
            for _ in range(6):  # whichever worker they come to
                r = t.get("/hello")
                assert r.status == 503 and r.get("retry-after")
        assert t.refused("concurrency") == 6
        wait_for(lambda: t.now("concurrency") == 4, "four calls")
        assert t.get("/hello").status == 200


def test_cpu_time_is_the_nodes(on_node):
    """Calls that compute for ever wait for their tenant's part, whatever workers they are in."""
    t = on_node("hot", "cpu_percent=30")
    begun = time.monotonic()
    with t.calling(*["/spin"] * 8):
        wait_for(lambda: time.monotonic() - begun > 3, "three seconds")
        r = wait_for(lambda: (x := t.get("/hello")).status == 429 and x, "a refusal")
        assert int(r.get("retry-after")) >= 1
        took = time.monotonic() - begun
    ended = t.n.wait_log("request", 8, path="/spin")
    used = sum(r["cpu_us"] for r in ended) / 1e6
    assert 0.02 < used <= 1.1 * 0.3 * (took + 1), (used, took)
    assert t.refused("cpu_percent") >= 1


def test_memory_is_the_nodes(on_node):
    quota = 64 << 20
    t = on_node("big", f"memory_bytes={quota}")
    assert t.get("/hello").status == 200
    seen = []

    def full():
        seen.append(t.now("memory_bytes"))
        return seen[-1] > 0.9 * quota
    with t.calling(*["/hostile/grow"] * 6):
        wait_for(full, "all memory to be taken")
        for _ in range(4):
            full()
        assert max(seen) <= 1.1 * quota, seen
        r = [t.get("/bomb") for _ in range(6)]  # there is hardly room to start one
        assert {x.status for x in r} == {503} and all(x.get("retry-after") for x in r)
        assert t.refused("memory_bytes") == 6
    wait_for(lambda: t.now("memory_bytes") == 0, "memory to be given back")
    assert t.get("/hello").status == 200
    r = t.get("/bomb")  # takes what it gets, and traps
    assert r.status == 503 and r.get("retry-after")


def test_connections_are_counted_on_the_node(on_node):
    t = on_node("wide", "connections=3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        there = f"/client/proxy?http://127.0.0.1:{port}/"
        with t.calling(there, there, f"/client/tcp?127.0.0.1&{port}&x"):
            wait_for(lambda: t.now("connections") == 3, "three connections")
            for _ in range(4):
                assert t.get(there).text.startswith("future ")
                assert t.get(f"/client/tcp?127.0.0.1&{port}&x").status == 502
            assert t.refused("connections") == 8
        wait_for(lambda: t.now("connections") == 0, "connections to be given back")


def test_log_volume_is_the_nodes(on_node):
    t = on_node("loud", "log_bytes_per_s=4000")
    line = "x" * 400
    begun = time.monotonic()
    for _ in range(60):
        assert t.get(f"/log?{line}").status == 200
    took = time.monotonic() - begun
    said = t.n.run("logs", "all", "--lines", "1000", token=t.reader, tenant="loud")
    written = sum(len(x) + 1 for x in said.splitlines() if line in x)
    assert 0 < written <= 1.1 * 4000 * (took + 1)
    assert "log_bytes_per_s) is used up" in said
    assert t.refused("log_bytes_per_s") > 0


def test_a_worker_that_dies_gives_everything_back(on_node):
    t = on_node("mortal", "concurrency=3")
    workers = t.n.children("worker")
    with t.calling(*["/sleep?60000"] * 3):
        wait_for(lambda: t.now("concurrency") == 3, "three calls")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: t.now("concurrency") == 0, "nothing to be counted")
        wait_for(lambda: len(t.n.children("worker")) == len(workers), "new workers")
    assert t.get("/hello").status == 200
