"""Guests of WASI's last release candidate of 2023 (spin.md 3.2, 3.4): a kitchen and a client that
ask for 0.2.0, written as text, renamed, and made components again."""
import re
import subprocess

from backends import Backend
from harness import Connection, ebb, guest, serving, write_app
from smith import WASM_TOOLS
from test_core_modules import FILES, MANIFEST, answers

RENAMED = "0.2.0-rc-2023-11-10"


def tool(*args):
    done = subprocess.run([WASM_TOOLS, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def candidate(name, folder, version=RENAMED):
    """The guest with wasi:*@0.2.0 renamed (its adapter imports 0.2.12), and functions that had
    other names."""
    text = tool("print", guest(name))
    text = re.sub(r"(wasi:[a-z]+/[a-z-]+)@0\.2\.0(?![0-9.-])", rf"\1@{version}", text)
    text = re.sub(r"(\[method\]request-options\.(set-)?[a-z-]+-timeout)", r"\1-ms", text)
    text = text.replace('(param "duration" ', '(param "ms" ')
    (folder / f"{name}.wat").write_text(text)
    tool("parse", folder / f"{name}.wat", "-o", folder / f"{name}.wasm")
    return folder / f"{name}.wasm"


def test_a_kitchen(workers, tmp_path):
    said = []
    for source in (guest("c-kitchen"), candidate("c-kitchen", tmp_path)):
        app = write_app(tmp_path / "app", MANIFEST.format(source=source), FILES)
        with serving(app, tmp_path, workers=workers) as server:
            said.append(answers(server))
    assert said[0] == said[1] and said[0][0][:2] == (200, b"b=c")


def test_a_client_with_timeouts(workers, tmp_path):
    def serve(peer):
        while head := peer.head():
            if head[1] != "/never":
                peer.answer(b"here")
            else:
                peer.file.read(1)

    source = candidate("c-client", tmp_path)
    assert "set-first-byte-timeout-ms" in (tmp_path / "c-client.wat").read_text()
    app = write_app(tmp_path / "app", MANIFEST.format(source=source).replace(
        "[component.k.variables]",
        'allowed_outbound_hosts = ["http://127.0.0.1:*"]\n[component.k.variables]'), FILES)
    with Backend(serve) as b, serving(app, tmp_path, workers=workers) as server, \
            Connection(server) as c:
        assert c.request("GET", f"/proxy?http://127.0.0.1:{b.port}/").body == b"here"
        r = c.request("GET", f"/proxy?http://127.0.0.1:{b.port}/never",
                      [("x-first-byte-ms", "100")])
        assert (r.status, r.body) == (502, b"future 9")


def test_the_one_before_is_refused_by_name(tmp_path):
    source = candidate("c-kitchen", tmp_path, "0.2.0-rc-2023-10-18")
    app = write_app(tmp_path / "app", MANIFEST.format(source=source), FILES)
    _, err = ebb("up", "-f", app, "--listen", "127.0.0.1:0", status=1)
    assert "2023-10-18" in err and "another version" in err
