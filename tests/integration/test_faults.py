"""No disk, no descriptors: what a node does then is stated in docs/operate.md ("When something
fails"), nothing else is harmed, and it recovers when the cause is gone."""
import os
import resource
import socket

import pytest

from harness import EBB, ROOT, Connection, guest, wait_for, write_app
from node import node
from test_node import api_is_up

SHIM = ROOT / "build" / "ebb-io-shim.so"
APP = f"""
spin_manifest_version = 2
[application]
name = "app"
[[trigger.http]]
route = "/..."
component = "k"
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{guest('hello')}"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
"""


DESCRIPTORS = 100
#: A sanitizer's library has to be the first one that is loaded, and reserves terabytes.
PLAIN = pytest.mark.skipif("asan" in str(EBB), reason="limits and shims are for the plain build")


def limit(pid, what, soft):
    resource.prlimit(pid, what, (soft, resource.prlimit(pid, what)[1]))


@PLAIN
def test_a_full_disk(tmp_path, workers):
    """Writes are refused with the reason, reads and apps go on; with room all is as before."""
    app = write_app(tmp_path / "app", APP)
    failing = tmp_path / "failing"
    env = {"LD_PRELOAD": str(SHIM), "IO_SHIM_FAILING": str(failing)}
    with node(tmp_path, workers=workers, env=env) as n:
        n.run("deploy", "-f", app)
        assert n.get("app", "/v2/set?default&key&before").status == 200
        full = tmp_path / "failing.28"
        full.write_text("")
        assert n.get("app", "/hello").status == 200
        assert n.get("app", "/v2/get?default&key").text == "before"
        assert n.get("app", "/v2/set?default&key&lost").status != 200
        status, answer = n.api("POST", "/v1/tenants", {"name": "acme"})
        assert status == 500 and "full" in answer["error"], answer
        status, answer = n.api("PUT", "/v1/tenants/default/apps/app/variables",
                               {"variables": {"a": "b"}})
        assert status == 500 and "full" in answer["error"], answer
        assert n.api("GET", "/v1/tenants/default/apps")[0] == 200
        full.unlink()
        assert n.get("app", "/v2/get?default&key").text == "before"
        assert n.get("app", "/v2/set?default&key&after").status == 200
        assert n.get("app", "/v2/get?default&key").text == "after"
        assert n.api("POST", "/v1/tenants", {"name": "acme"})[0] == 201
        n.run("deploy", "-f", app)
        assert "full" in n.log()


def test_no_descriptors(tmp_path):
    """A worker whose descriptors are used up by idle connections: those that are served go on, new
    ones wait in the queue of the socket, and are served when others have gone."""
    app = write_app(tmp_path / "app", APP)
    few = tmp_path / "few"  # a worker raises its limit to the hardest that there is
    few.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {EBB} "$@"\n')
    few.chmod(0o755)
    with node(tmp_path, binary=few) as n:
        n.run("deploy", "-f", app)
        assert n.get("app", "/hello").status == 200
        [worker] = n.children("worker")
        with Connection(n) as served:
            host = f"app-default.localhost:{n.port}"
            assert served.request("GET", "/hello", host=host).status == 200
            idle = [socket.create_connection((n.host, n.port)) for _ in range(DESCRIPTORS)]
            wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) >= DESCRIPTORS - 1,
                     "descriptors to be used up")
            for _ in range(5):
                assert served.request("GET", "/hello", host=host).status == 200
            with Connection(n) as late:
                late.send(f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                for s in idle:
                    s.close()
                assert late.response().status == 200
        assert n.children("worker") == [worker]
        assert n.get("app", "/hello").status == 200


def test_no_descriptors_for_the_keeper(tmp_path):
    """Apps answer on, and the admin API when descriptors are there again."""
    app = write_app(tmp_path / "app", APP)
    with node(tmp_path) as n:
        n.run("deploy", "-f", app)
        [keeper] = n.children("keeper")
        used = len(os.listdir(f"/proc/{keeper}/fd"))
        limit(keeper, resource.RLIMIT_NOFILE, used + 4)
        host, port = n.admin.rsplit(":", 1)
        idle = [socket.create_connection((host, int(port))) for _ in range(20)]
        wait_for(lambda: len(os.listdir(f"/proc/{keeper}/fd")) >= used + 3, "descriptors")
        for _ in range(5):
            assert n.get("app", "/hello").status == 200
        for s in idle:
            s.close()
        assert wait_for(lambda: n.api("GET", "/healthz")[0] == 200, "the admin API")
        n.run("deploy", "-f", app)
        assert n.children("keeper") == [keeper]


@PLAIN
def test_no_memory_for_a_process(tmp_path):
    """Where memory is short, the kernel kills a process and another one starts (docs/operate.md).
    Here a limit refuses memory before that: a large change is refused, or its keeper is replaced;
    apps answer on."""
    app = write_app(tmp_path / "app", APP)
    with node(tmp_path) as n:
        n.run("deploy", "-f", app)
        [keeper] = n.children("keeper")
        size = int(open(f"/proc/{keeper}/statm").read().split()[0]) * resource.getpagesize()
        limit(keeper, resource.RLIMIT_AS, size + (1 << 20))
        big = {"variables": {f"v{i}": "x" * 1000 for i in range(500)}}
        outcome = None
        try:
            outcome = n.api("PUT", "/v1/tenants/default/apps/app/variables", big)[0]
        except OSError:
            wait_for(lambda: n.children("keeper") not in ([], [keeper]), "another keeper")
        assert outcome in (None, 500, 503), outcome
        assert n.get("app", "/hello").status == 200
        if n.children("keeper") == [keeper]:
            limit(keeper, resource.RLIMIT_AS, resource.RLIM_INFINITY)
        wait_for(lambda: api_is_up(n), "the admin API")
        n.run("deploy", "-f", app)
