"""Dependencies of components (spin.md 1.7): which imports they satisfy, what they may not do unless
it is inherited, and what is said where they do not fit.

A `relay` is a core module that imports an interface and exports the same one: what the main
component asks of it, it asks of the host, with what it has been given."""
import hashlib
import re
import subprocess

import pytest

from backends import Backend
from harness import ROOT, Connection, ebb, fetch, guest, serving, write_app
from smith import WASM_TOOLS
from test_sources import publish

NEIGHBOUR = (ROOT / "tests" / "component" / "environment.wat").read_text()

MANIFEST = """spin_manifest_version = 2
[application]
name = "d"
[variables]
tide = {{ default = "high" }}
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{source}"
environment = {{ GREETING = "the app's" }}
files = ["data/*"]
allowed_outbound_hosts = ["http://127.0.0.1:*"]
{extra}
[component.k.variables]
word = "{{{{ tide }}}}"
[component.k.dependencies]
{dependencies}
"""

RELAY = """(module
  (import "{name}" "{function}" (func $f (param {params} i32)))
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get 3))))
  (func (export "{name}#{function}") (param {params}) (result i32)
    {pushed} (call $f (i32.const 1024)) (i32.const 1024)))
"""


def tool(*args):
    done = subprocess.run([WASM_TOOLS, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def import_of(path, interface):
    """The name of an import with its version."""
    return re.search(rf"import ({interface}(@[0-9.]+)?);", tool("component", "wit", path))[1]


def relay(folder, main, interface, function, params):
    """Made with the WIT that is in the main component."""
    name, out = import_of(main, interface), folder / f"relay-{function}.wasm"
    tool("component", "wit", main, "--out-dir", folder / "wit")
    for f in (folder / "wit").glob("*.wit"):
        f.unlink()
    (folder / "wit" / "relay.wit").write_text(
        f"package test:relay;\nworld relay {{ import {name}; export {name}; }}\n")
    (folder / "relay.wat").write_text(RELAY.format(
        name=name, function=function, params=" ".join(["i32"] * params),
        pushed=" ".join(f"(local.get {i})" for i in range(params))))
    tool("component", "embed", folder / "wit", "--world", "relay", folder / "relay.wat", "-o", out)
    return name, out


def neighbour(folder, main=None):
    """A component that exports an environment of its own: its import's name, and its file."""
    name = import_of(main or guest("c-kitchen-plain"), "wasi:cli/environment")
    text = NEIGHBOUR.replace("VERSION", name.split("@")[1]).replace("BODY", "")
    (folder / "neighbour.wat").write_text(text)
    tool("parse", folder / "neighbour.wat", "-o", folder / "neighbour.wasm")
    return name, folder / "neighbour.wasm"


def app(folder, dependencies, main="c-kitchen-plain", extra=""):
    return write_app(folder / "app", MANIFEST.format(source=guest(main), extra=extra,
                                                     dependencies=dependencies),
                     {"data/a.txt": b"a file"})


def refused(folder, dependencies, **more):
    _, err = ebb("up", "-f", app(folder, dependencies, **more), status=1)
    return err


@pytest.mark.parametrize("language", ["c", "rust", "go"])
def test_a_dependency_by_path(language, workers, tmp_path):
    main = f"{language}-kitchen-plain"
    name, path = neighbour(tmp_path, guest(main))
    where = app(tmp_path, f'"{name}" = {{ path = "{path}" }}', main)
    with serving(where, tmp_path, workers=workers) as server, Connection(server) as c:
        for _ in range(3):
            assert c.request("GET", "/env?GREETING").body == b"from the neighbour"
            assert c.request("GET", "/env?ONLY").body == b"here"
        body = bytes(range(256)) * 1000
        assert c.request("POST", "/echo", [("content-type", "a/b")], body).body == body


def test_relative_to_the_manifest_and_without_a_version(workers, tmp_path):
    name, path = neighbour(tmp_path)
    where = app(tmp_path, f'"{name.split("@")[0]}" = {{ path = "dep.wasm" }}')
    (where / "dep.wasm").write_bytes(path.read_bytes())
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, "/env?ONLY").text == "here"


def test_another_component_of_the_app(workers, tmp_path):
    name, path = neighbour(tmp_path)
    where = app(tmp_path, f'"{name}" = {{ component = "other" }}\n[component.other]\n'
                          f'source = "{path}"')
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, "/env?ONLY").text == "here"


def test_a_chosen_export(workers, tmp_path):
    """The export has another name than the import."""
    name, path = neighbour(tmp_path)
    text = (tmp_path / "neighbour.wat").read_text().replace(f'"{name}"', '"own:thing/env"')
    (tmp_path / "neighbour.wat").write_text(text)
    tool("parse", tmp_path / "neighbour.wat", "-o", path)
    where = app(tmp_path, f'"{name}" = {{ path = "{path}", export = "own:thing/env" }}')
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, "/env?ONLY").text == "here"


def test_by_url_and_from_a_registry(workers, tmp_path, file_server):
    name, path = neighbour(tmp_path)
    data, cache = path.read_bytes(), ("--cache-dir", str(tmp_path / "cache"))
    file_server.files["/n.wasm"] = data
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    where = app(tmp_path, f'"{name}" = {{ url = "{file_server.url}/n.wasm", digest = "{digest}" }}')
    with serving(where, tmp_path, *cache, workers=workers) as server:
        assert fetch(server, "/env?ONLY").text == "here"
    for version in ("1.2.0", "1.10.1", "2.0.0", "1.11.0-rc1"):
        publish(file_server, "some/env", version, data if version == "1.10.1" else b"not this one")
    file_server.files["/v2/some/env/tags/list"] = \
        b'{"name":"some/env","tags":["1.2.0","latest","2.0.0","1.10.1","1.11.0-rc1"]}'
    where = app(tmp_path, f'"{name}" = {{ version = "1.2", package = "some:env", '
                          f'registry = "{file_server.host}" }}')
    with serving(where, tmp_path, *cache, workers=workers) as server:
        assert fetch(server, "/env?ONLY").text == "here"


def test_of_a_profile(workers, tmp_path):
    name, path = neighbour(tmp_path)
    where = app(tmp_path, f'[component.k.profile.own]\ndependencies = {{ "{name}" = '
                          f'{{ path = "{path}" }} }}')
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, "/env?GREETING").text == "the app's"
    with serving(where, tmp_path, "--profile", "own", workers=workers) as server:
        assert fetch(server, "/env?GREETING").text == "from the neighbour"


INHERITED = {
    "environment": ("c-kitchen-plain", "wasi:cli/environment", "get-environment", 0,
                    "/env?GREETING", "the app's", 404),
    "variables": ("c-kitchen", "fermyon:spin/variables", "get", 2, "/variable?word", "high", 404),
    "files": ("c-kitchen", "wasi:filesystem/preopens", "get-directories", 0, "/file?/data/a.txt",
              "a file", 404),
}


@pytest.mark.parametrize("what", INHERITED)
def test_what_a_dependency_does_not_have(what, workers, tmp_path):
    main, interface, function, params, path, value, status = INHERITED[what]
    name, module = relay(tmp_path, guest(main), interface, function, params)
    with serving(app(tmp_path, f'"{name}" = {{ path = "{module}" }}', main), tmp_path,
                 workers=workers) as server, Connection(server) as c:
        for _ in range(3):
            answer = c.request("GET", path)
            assert answer.status == status or answer.body == b"", answer.body
    for give in (f'["{what}"]', "true"):
        where = app(tmp_path, f'"{name}" = {{ path = "{module}", inherit_configuration = {give} }}',
                    main)
        with serving(where, tmp_path, workers=workers) as server:
            assert fetch(server, path).text == value
    others = ", ".join(f'"{x}"' for x in [*INHERITED, "key_value_stores"] if x != what)
    where = app(tmp_path, f'"{name}" = {{ path = "{module}", inherit_configuration = [{others}] }}',
                main)
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, path).text != value
    where = app(tmp_path, f'"{name}" = {{ path = "{module}" }}', main,
                extra="dependencies_inherit_configuration = true")
    with serving(where, tmp_path, workers=workers) as server:
        assert fetch(server, path).text == value


def echo(peer):
    while head := peer.head():
        peer.answer(peer.body(head[2])[0])


def test_requests_through_a_dependency(workers, tmp_path):
    """Resources of the host pass from the main component to the dependency and back."""
    name, module = relay(tmp_path, guest("c-client"), "wasi:http/outgoing-handler", "handle", 3)
    with Backend(echo) as backend:
        path = f"/proxy?http://127.0.0.1:{backend.port}/"
        where = app(tmp_path, f'"{name}" = {{ path = "{module}", inherit_configuration = '
                              '["allowed_outbound_hosts"] }', "c-client")
        with serving(where, tmp_path, workers=workers) as server, Connection(server) as c:
            for _ in range(3):
                assert c.request("POST", path, body=b"through" * 1000).body == b"through" * 1000
        where = app(tmp_path, f'"{name}" = {{ path = "{module}" }}', "c-client")
        with serving(where, tmp_path, workers=workers) as server:
            assert fetch(server, path).text == "future 15"
            denied = server.wait_log("denied")[0]
            assert "inherit_configuration" in denied["reason"] and "127.0.0.1" in denied["reason"]


# --- what does not fit

def test_no_such_import(tmp_path):
    _, path = neighbour(tmp_path)
    err = refused(tmp_path, f'"own:thing/env" = {{ path = "{path}" }}')
    assert "component 'k'" in err and "dependency 'own:thing/env' matches no import" in err


def test_no_such_export(tmp_path):
    """The whole package is asked for, and the neighbour has one interface of it."""
    name, path = neighbour(tmp_path)
    err = refused(tmp_path, f'"wasi:cli" = {{ path = "{path}" }}')
    assert "does not export" in err and "import 'wasi:cli/" in err
    err = refused(tmp_path, f'"{name}" = {{ path = "{path}", export = "a:b/c" }}')
    assert "does not export 'a:b/c'" in err and name in err


def test_types_that_differ(tmp_path):
    name, path = neighbour(tmp_path)
    text = (tmp_path / "neighbour.wat").read_text().replace("(tuple string string)", "string")
    (tmp_path / "neighbour.wat").write_text(text)
    tool("parse", tmp_path / "neighbour.wat", "-o", path)
    err = refused(tmp_path, f'"{name}" = {{ path = "{path}" }}')
    assert f"dependency '{name}' does not fit the import '{name}'" in err
    assert "get-environment" in err and "list<tuple<string, string>>" in err


def test_two_for_one_import(tmp_path):
    name, path = neighbour(tmp_path)
    err = refused(tmp_path, f'"{name}" = {{ path = "{path}" }}\n"wasi:cli" = {{ path = "{path}" }}')
    assert "overlap" in err and "spin.toml:" in err


def test_missing_and_broken_files(tmp_path):
    name, path = neighbour(tmp_path)
    err = refused(tmp_path, f'"{name}" = {{ path = "none.wasm" }}')
    assert f"dependency '{name}'" in err and "none.wasm does not exist" in err
    path.write_bytes(b"not wasm")
    err = refused(tmp_path, f'"{name}" = {{ path = "{path}" }}')
    assert f"dependency '{name}'" in err and "not a component" in err
