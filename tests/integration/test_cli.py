"""Commands as a person types them: output, errors that teach, inspect."""
import json
import os
import signal
import stat
import subprocess

import pytest

from harness import EBB, ebb, environment, fetch, guest, serving, wait_for, write_app

GOOD = """spin_manifest_version = 2
[application]
name = "x"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "k.wasm"
"""


def test_help_and_version():
    out, _ = ebb("--help")
    assert "ebb up" in out and "ebb inspect" in out
    assert ebb("--version")[0].startswith("ebb 0.")
    assert "--listen" in ebb("up", "--help")[0]


@pytest.mark.parametrize("args,says", [
    (["upp"], "did you mean 'ebb up'"),
    (["up", "--lisen", "x"], "did you mean '--listen'"),
    (["up", "--listen"], "needs a value"),
    (["inspect"], "ebb inspect app.wasm"),
])
def test_usage_errors(args, says):
    _, err = ebb(*args, status=2)
    assert says in err


@pytest.mark.parametrize("change,says", [
    (("component = \"k\"", "component = \"q\""), ["spin.toml:6:", "'q'"]),
    (("route = \"/...\"", "rout = \"/...\""), ["spin.toml:5:1", "rout", "route"]),
    (("spin_manifest_version = 2", "spin_manifest_version = 3"), ["spin.toml:1:"]),
    (("name = \"x\"", "name = \"x"), ["spin.toml:3:"]),
    (("[component.k]", "[component.k]\nfiles = [\"../up\"]"), ["spin.toml:8:"]),
])
def test_manifest_errors_say_where(tmp_path, change, says):
    app = write_app(tmp_path / "app", GOOD.replace(*change))
    _, err = ebb("up", "-f", app, status=1)
    for part in says:
        assert part in err, err
    assert err.count("\n") == 1, "one line: what, where, what next"


def test_missing_things_are_named(tmp_path):
    _, err = ebb("up", "-f", tmp_path, status=1)
    assert "spin.toml" in err
    app = write_app(tmp_path / "app", GOOD)
    _, err = ebb("up", "-f", app, status=1)
    assert "k.wasm" in err and "component 'k'" in err


@pytest.mark.parametrize("content,says", [
    (b"", "not a WebAssembly file"),
    (b"\0asm\1\0\0\0", "core module"),
    (b"#!/bin/sh\n", ""),
    (b"\0asm\x0d\0\1\0\x01\x05\x00", "offset"),
])
def test_bad_components_are_refused(tmp_path, content, says):
    app = write_app(tmp_path / "app", GOOD, {"k.wasm": content})
    _, err = ebb("up", "-f", app, status=1)
    assert "component 'k'" in err and says in err, err


def test_a_damaged_component_is_refused_not_crashed_on(tmp_path):
    good = guest("c-kitchen").read_bytes()
    for at in range(8, len(good), max(1, len(good) // 23)):
        bad = bytearray(good)
        bad[at] ^= 0x55
        path = tmp_path / f"bad{at}.wasm"
        path.write_bytes(bad)
        done = subprocess.run([EBB, "inspect", path, "--cache-dir", tmp_path / "cache"],
                              capture_output=True, text=True, env=environment(), timeout=120)
        assert done.returncode in (0, 1), done.stderr
        assert "signal" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["hello", "c-kitchen", "rust-kitchen", "js-kitchen"])
def test_inspect(name):
    out, _ = ebb("inspect", guest(name), "--json")
    j = json.loads(out)
    assert any(e["interface"].startswith("wasi:http/incoming-handler@0.2") for e in j["exports"])
    assert all(i["offered"] for i in j["imports"]), [i for i in j["imports"] if not i["offered"]]
    assert j["units"][0]["module_bytes"] > 0 and j["artifact_bytes"] > 0
    text, _ = ebb("inspect", guest(name))
    assert "Flattened" in text and "wasi:http/incoming-handler" in text


def test_a_bare_component_is_served(tmp_path, workers):
    with serving(guest("c-kitchen"), tmp_path, workers=workers) as server:
        assert fetch(server, "/any/where/hello").status == 200
        assert server.ready["routes"][0]["wildcard"] is True


def test_code_can_be_read_by_workers_as_soon_as_it_has_its_name(tmp_path):
    """Else a kill between the two would leave code that no worker can ever open."""
    cache, mode = tmp_path / "cache", 0o755 if os.geteuid() == 0 else 0o700
    text = GOOD.replace("k.wasm", str(guest("hello"))) + (
        f'[[trigger.http]]\nroute = "/two"\ncomponent = "two"\n'
        f'[component.two]\nsource = "{guest("rust-kitchen")}"\n')
    app = write_app(tmp_path / "app", text)

    def first():
        return [p for p in cache.glob("artifacts/*") if p.suffix != ".tmp"]
    with subprocess.Popen([EBB, "up", "-f", app, "--listen", "127.0.0.1:0", "--cache-dir",
                           cache], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=environment()) as process:
        wait_for(first, "one of two components is compiled")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for folder in first():
        assert stat.S_IMODE(folder.stat().st_mode) == mode
        assert all(stat.S_IMODE(f.stat().st_mode) == (0o444 if mode == 0o755 else 0o400)
                   for f in folder.iterdir())


def test_env_and_variable_flags(tmp_path, workers):
    text = GOOD.replace("k.wasm", str(guest("c-kitchen"))) + (
        '[component.k.variables]\nword = "<{{ word }}>"\n[variables]\nword = { required = true }\n')
    app = write_app(tmp_path / "app", text)
    _, err = ebb("up", "-f", app, status=1)
    assert "variable word" in err and "--variable word=" in err and "SPIN_VARIABLE_" in err
    with serving(app, tmp_path, "--env", "A=b=c", "--variable", "word=given",
                 workers=workers) as server:
        assert fetch(server, "/env?A").text == "b=c"
        assert fetch(server, "/variable?word").text == "<given>"
    with serving(app, tmp_path, workers=workers,
                 env={"SPIN_VARIABLE_WORD": "secret-from-env"}) as server:
        assert fetch(server, "/variable?word").text == "<secret-from-env>"
        assert "secret-from-env" not in server.log()


def test_a_second_start_compiles_nothing(tmp_path):
    cache = tmp_path / "cache"
    app = write_app(tmp_path / "app", GOOD.replace("k.wasm", str(guest("c-kitchen"))))
    with serving(app, tmp_path, "--cache-dir", str(cache)) as server:
        assert "compiled k" in server.log()
    stamp = {p: p.stat().st_mtime_ns for p in cache.rglob("*")}
    with serving(app, tmp_path, "--cache-dir", str(cache)) as server:
        assert fetch(server, "/hello").status == 200
        assert "compiled k" not in server.log()
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*")} == stamp
