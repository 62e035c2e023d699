"""Apps composed of several components: a kitchen and a neighbour that offers it an environment."""
import re
import subprocess

import pytest

from harness import ROOT, Connection, guest, serving, write_app
from smith import WASM_TOOLS

NEIGHBOUR = (ROOT / "tests" / "component" / "environment.wat").read_text()

MANIFEST = """
spin_manifest_version = 2
[application]
name = "composed"
[[trigger.http]]
route = "/app/..."
component = "app"
[component.app]
source = "{app}"
environment = {{ GREETING = "not this one" }}
[component.app.tool.ebb]
cpu_time_max = "2s"
[[trigger.http]]
route = "/plain/..."
component = "plain"
[component.plain]
source = "{plain}"
environment = {{ GREETING = "this one" }}
"""


def tool(*args):
    done = subprocess.run([WASM_TOOLS, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compose(language, body, folder):
    """A plain kitchen with the neighbour, whose get-environment begins with body."""
    kitchen = guest(f"{language}-kitchen-plain")
    world = tool("component", "wit", kitchen)
    version = re.search(r"import wasi:cli/environment@([0-9.]+);", world)[1]
    text, neighbour = folder / "neighbour.wat", folder / "neighbour.wasm"
    text.write_text(NEIGHBOUR.replace("VERSION", version).replace("BODY", body))
    tool("parse", text, "-o", neighbour)
    tool("compose", kitchen, "-d", neighbour, "-o", folder / "composed.wasm")
    return folder / "composed.wasm"


def served(language, body, workers, tmp_path):
    app = compose(language, body, tmp_path)
    manifest = MANIFEST.format(app=app, plain=guest(f"{language}-kitchen-plain"))
    return serving(write_app(tmp_path / "app", manifest), tmp_path, workers=workers)


def test_neighbours_environment(language, workers, tmp_path):
    with served(language, "", workers, tmp_path) as server, Connection(server) as c:
        for _ in range(3):
            assert c.request("GET", "/app/env?GREETING").body == b"from the neighbour"
            assert c.request("GET", "/app/env?ONLY").body == b"here"
            assert c.request("GET", "/plain/env?GREETING").body == b"this one"
        body = bytes(range(256)) * 1000
        assert c.request("POST", "/app/echo", [("content-type", "a/b")], body).body == body


@pytest.mark.parametrize("body, status, event", [
    ("unreachable", 500, "trap"),
    ("(loop $again (br $again))", 504, "stopped"),
    ("(drop (call $environment))", 500, "trap"),
], ids=["traps", "spins", "recurses"])
def test_bad_neighbour(body, status, event, workers, tmp_path):
    with served("c", body, workers, tmp_path) as server, Connection(server) as c:
        for _ in range(3):
            r = c.request("GET", "/app/env?GREETING")
            assert (r.status, r.body) == (status, b"")
            assert server.wait_log(event, id=r.get("ebb-request-id"))
            assert c.request("GET", "/plain/env?GREETING").body == b"this one"
        if event == "trap":
            frames = server.wait_log("frame", count=2, id=r.get("ebb-request-id"))
            assert "environment" in frames[0]["at"]
        assert len(server.children("worker")) == workers


def test_hundred_at_once(workers, tmp_path):
    """Requests that take three instances each, from many connections at the same time."""
    with served("c", "", workers, tmp_path) as server:
        connections = [Connection(server) for _ in range(100)]
        for c in connections:
            c.send(b"GET /app/env?ONLY HTTP/1.1\r\nHost: a\r\n\r\n")
        for c in connections:
            assert c.response().body == b"here"
            c.close()
