"""Core modules are made components when they are loaded (spin.md 3.7): the same module, as it comes
from the compiler and after `wasm-tools component new`, gives the same answers."""
import json

import pytest

from harness import Connection, ebb, fetch, guest, serving, write_app

MANIFEST = """spin_manifest_version = 2
[application]
name = "core"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{source}"
environment = {{ A = "b=c" }}
files = ["data/*"]
[component.k.variables]
word = "tide"
"""
FILES = {"data/a.txt": b"in a file\n" * 1000}


def answers(server):
    """What every route of a kitchen that has one answer says."""
    with Connection(server) as c:
        said = [(r.status, r.body, r.get("content-type")) for r in (
            c.request("GET", "/env?A"), c.request("GET", "/env?none"),
            c.request("GET", "/variable?word"), c.request("GET", "/variable?Bad"),
            c.request("GET", "/file?/data/a.txt"), c.request("GET", "/file?/data/none"),
            c.request("GET", "/stream?100"), c.request("GET", "/status?418"),
            c.request("POST", "/drain", body=b"x" * 100_000),
            c.request("POST", "/echo", [("content-type", "text/odd")], b"y" * 70_000),
            c.request("GET", "/log?a-line"), c.request("GET", "/nothing"),
            c.request("GET", "/sleep?1"))]
    return said + [fetch(server, f"/{x}").status for x in ("trap", "exit?3", "silent", "hello")]


@pytest.mark.parametrize("name", ["c-kitchen", "rust-kitchen"])
def test_as_wasm_tools_would_make_it(tmp_path, name, workers):
    said, logs = {}, {}
    for kind in (name, f"{name}-core"):
        app = write_app(tmp_path / kind, MANIFEST.format(source=guest(kind)), FILES)
        with serving(app, tmp_path, workers=workers) as server:
            said[kind] = answers(server)
            server.wait_log("request", count=17)
            logs[kind] = [(r["stream"], r["line"]) for r in server.log_lines("guest")]
    assert said[name] == said[f"{name}-core"]
    assert sorted(logs[name]) == sorted(logs[f"{name}-core"])
    assert said[name][0][:2] == (200, b"b=c")


def test_imports_are_those_of_wasm_tools():
    """What the module does not use of the adapter for preview 1 asks the host for nothing."""
    for name in ("c-kitchen", "rust-kitchen"):
        def imports(kind):
            out, _ = ebb("inspect", guest(kind), "--json")
            return {i["interface"].partition("@")[0] for i in json.loads(out)["imports"]}
        assert imports(f"{name}-core") == imports(name)


def leb(n):
    out = bytearray()
    while True:
        out.append(n & 127 | (128 if n > 127 else 0))
        n >>= 7
        if not n:
            return bytes(out)


def section(number, content):
    return bytes([number]) + leb(len(content)) + content


def sections(data):
    at = 8
    while at < len(data):
        number, at, size, shift = data[at], at + 1, 0, 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield number, data[at:at + size]
        at += size


def without_world(data):
    """The module as one that no wit-bindgen had a hand in."""
    return data[:8] + b"".join(
        section(n, c) for n, c in sections(data) if n or b"component-type" not in c[:20])


def test_a_module_without_a_world_is_refused_by_name(tmp_path):
    path = tmp_path / "plain.wasm"
    path.write_bytes(without_world(guest("c-kitchen-core").read_bytes()))
    _, err = ebb("inspect", path, "--cache-dir", tmp_path / "cache", status=1)
    assert "component-type" in err and "_start" in err


def test_a_cut_world_is_refused(tmp_path):
    data = guest("c-kitchen-core").read_bytes()
    for quarter in range(4):
        def cut(number, content):
            if number == 0 and b"component-type" in content[:20]:
                content = content[:20 + (len(content) - 20) * quarter // 4]
            return section(number, content)
        path = tmp_path / f"cut{quarter}.wasm"
        path.write_bytes(data[:8] + b"".join(cut(n, c) for n, c in sections(data)))
        _, err = ebb("inspect", path, "--cache-dir", tmp_path / "cache", status=1)
        assert "component" in err and "signal" not in err, err
