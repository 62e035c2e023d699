"""The same guests under `wasmtime serve`: the answers are equal, byte for byte."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Connection, Server, guest, serving, write_app

WASMTIME = Path(sys.prefix) / "bin" / "wasmtime"

REQUESTS = [
    ("GET", "/x/env?GREETING", None), ("GET", "/x/env?ABSENT", None),
    ("GET", "/x/file?data/hello.txt", None), ("GET", "/x/file?data/absent.txt", None),
    ("GET", "/x/stream?20", None), ("GET", "/x/status?200", None), ("GET", "/x/status?404", None),
    ("GET", "/x/status?299", None), ("GET", "/x/count", None), ("GET", "/x/unknown", None),
    ("POST", "/x/echo", b""), ("POST", "/x/echo", b"body"), ("POST", "/x/echo", bytes(65536)),
    ("POST", "/x/drain", b"y" * 100_000), ("PUT", "/x/echo", b"put"),
    ("HEAD", "/x/status?200", None),
]


def answers(server):
    """Status, fields without date and framing, and body of each request; one connection each,
    because the other server may close when it likes."""
    found = []
    for method, target, body in REQUESTS:
        with Connection(server) as c:
            r = c.request(method, target, [("content-type", "a/b")] if body else [], body)
            fields = sorted(f for f in r.fields
                            if f[0] not in ("date", "transfer-encoding", "content-length",
                                            "connection"))
            found.append((method, target, r.status, fields, r.body))
    return found


@pytest.fixture
def wasmtime(language, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hello.txt").write_text("hello from a file\n")
    command = [WASMTIME, "serve", "--addr", "127.0.0.1:0", "-S", "cli=y", "--env", "GREETING=hi",
               "--dir", f"{tmp_path}::/", guest(f"{language}-kitchen-plain")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    server = Server(process, "/dev/null")
    for line in process.stderr:
        if match := re.search(r"http://(127\.0\.0\.1):([0-9]+)", line):
            server.host, server.port = match[1], int(match[2])
            break
    else:
        raise AssertionError("wasmtime serve did not start")
    yield server
    process.kill()
    process.wait()
    process.stderr.close()


def test_answers_are_equal(wasmtime, language, workers, tmp_path):
    manifest = f"""
spin_manifest_version = 2
[application]
name = "equal"
[[trigger.http]]
route = "/x/..."
component = "k"
[component.k]
source = "{guest(f'{language}-kitchen-plain')}"
environment = {{ GREETING = "hi" }}
files = ["data/*"]
"""
    app = write_app(tmp_path / "app", manifest, {"data/hello.txt": "hello from a file\n"})
    with serving(app, tmp_path, workers=workers) as server:
        ours = answers(server)
    for mine, theirs in zip(ours, answers(wasmtime), strict=True):
        assert mine == theirs
