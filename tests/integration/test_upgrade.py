"""A new build takes over under load: every process is replaced, no request fails, nothing that was
acknowledged is lost or late; a build that does not start changes nothing. And a new engine: apps
are compiled while their first requests wait."""
import contextlib
import os
import shutil
import signal
import sqlite3
import struct
import threading
from pathlib import Path

import pytest

from harness import EBB, PATIENCE_S, Connection, ebb, guest, wait_for, write_app
from http2raw import ACK, GOAWAY, PING, Raw, frame
from node import node

APP = f"""
spin_manifest_version = 2
[application]
name = "load"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
"""
PAGE = """
spin_manifest_version = 2
[application]
name = "page"
[[trigger.http]]
route = "/"
static_response = {{ body = "{0}" }}
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{1}"
"""
ROLES = ("worker", "store", "keeper")
HOST = "load-default.localhost"


@pytest.fixture
def installed(tmp_path):
    """A copy of the build, to be replaced as a package would."""
    path = tmp_path / "bin" / "ebb"
    path.parent.mkdir()
    shutil.copy(EBB, path)
    return path


def install(path, content=None):
    """Another file in its place: its processes are told from those before by their inode."""
    new = path.with_suffix(".new")
    if content is None:
        shutil.copy(EBB, new)
    else:
        new.write_bytes(content)
        new.chmod(0o755)
    new.rename(path)


def build_of(pid):
    return os.stat(f"/proc/{pid}/exe").st_ino


def pids(n):
    return {role: sorted(n.children(role)) for role in ROLES}


class Clients:
    """Connections that are kept; each request is counted, what goes wrong is kept in `wrong`."""

    def __init__(self, n, loops):
        self.n, self.wrong, self.count = n, [], 0
        self.over, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(f, i))
                        for i, f in enumerate(loops)]

    def work(self, loop, i):
        try:
            loop(self, i)
        except (OSError, AssertionError, ValueError) as e:
            self.wrong.append(repr(e))

    def note(self, ok, what):
        with self.lock:
            self.count += 1
            if not ok:
                self.wrong.append(what)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()

    def more(self, k):
        goal = self.count + k
        wait_for(lambda: self.count >= goal or self.wrong, f"{k} more requests")


def http1(of, i):
    """Counts up and reads, in turn: no sum is given twice, what was answered is what is read."""
    c, turn, last = None, 0, 0
    while not of.over.is_set():
        c = c or Connection(of.n)
        turn += 1
        last += turn % 2
        target = f"/increment?default&sum{i}&1" if turn % 2 else f"/v2/get?default&sum{i}"
        r = c.request("GET", target, host=HOST)
        # A sum is text when it is answered, and eight bytes in the store.
        got = r and (int(r.text) if turn % 2 else int.from_bytes(r.body, "little"))
        of.note(r is not None and r.status == 200 and got == last,
                (target, last, r and (r.status, r.body)))
        if r is None or r.get("connection") == "close":
            c.close()
            c = None
    if c:
        c.close()


def http2(of, i):
    """One stream after the other; after a GOAWAY the next is on another connection."""
    last = 0
    while not of.over.is_set():
        with Raw(of.n) as r:
            stream, going = 1, False
            while not of.over.is_set() and not going:
                r.request(stream, path=f"/increment?default&other{i}&1", authority=HOST)
                before = len(r.seen)
                ok = r.status(stream) == 200 and int(r.body(stream)) == last + 1
                of.note(ok, (i, last, r.seen[-3:]))
                last += 1
                stream += 2
                for kind, flags, _, payload in r.seen[before:]:
                    if kind == PING and not flags & ACK:
                        r.send(frame(PING, ACK, 0, payload))
                    if kind == GOAWAY:
                        assert payload[4:8] == struct.pack(">I", 0), payload
                        going = True


def deploys(folder):
    """Deploys without end; each is what the next request gets."""
    def loop(of, _):
        turn = 0
        while not of.over.is_set():
            turn += 1
            write_app(folder, PAGE.replace('"page"', '"turns"').format(turn, guest("hello")))
            of.n.run("deploy", "-f", folder)
            r = of.n.get("turns")
            of.note(r.text == str(turn), ("deploy", turn, r.text))
    return loop


def upgraded(n, before, inode):
    """All processes are of the file that is installed now, and none of those before is left."""
    now = pids(n)
    return (all(len(now[r]) == len(before[r]) and not set(now[r]) & set(before[r]) for r in ROLES)
            and all(build_of(p) == inode for r in ROLES for p in now[r]))


def test_an_upgrade_under_load(tmp_path, workers, installed):
    app = write_app(tmp_path / "app", APP)
    pages = [write_app(tmp_path / f"page{i}", PAGE.format(f"page {i}", guest("hello")))
             for i in range(2)]
    with node(tmp_path, workers=workers, binary=installed) as n:
        n.run("deploy", "-f", app)
        n.run("deploy", "-f", pages[0])
        with Connection(n) as idle, Raw(n) as idle2, \
                Clients(n, [http1] * 3 + [http2] * 2 + [deploys(tmp_path / "turns")]) as load:
            assert idle.request("GET", "/", host="page-default.localhost").text == "page 0"
            assert idle2.alive()
            load.more(100)
            for turn in range(2):
                before = pids(n)
                install(installed)
                out, _ = ebb("upgrade", "--data", n.data)
                assert str(installed) in out
                # What is changed now shows at once, in workers of both builds.
                n.run("deploy", "-f", pages[(turn + 1) % 2])
                assert n.get("page").text == f"page {(turn + 1) % 2}"
                if turn == 0:
                    r = idle.request("GET", "/", host="page-default.localhost")
                    assert (r.text, r.get("connection")) == ("page 1", "close")
                    assert idle2.wait(GOAWAY)[3][4:8] == struct.pack(">I", 0)
                    idle2.send(frame(PING, ACK, 0, idle2.wait(PING)[3]))
                    assert idle2.ended() == 0
                load.more(200)
                wait_for(lambda b=before: upgraded(n, b, os.stat(installed).st_ino),
                         "all processes to be replaced")
                assert build_of(n.process.pid) == os.stat(installed).st_ino
            load.more(100)
        assert load.wrong == []
        assert n.log().count("upgrade: done") == 2
        assert len(n.run("apps").splitlines()) == 3


def test_a_long_request_ends_in_the_process_where_it_began(tmp_path, installed):
    with node(tmp_path, binary=installed) as n:
        kitchen = APP.replace(str(guest("c-keyvalue")), str(guest("c-kitchen")))
        n.run("deploy", "-f", write_app(tmp_path / "app", kitchen))
        [old] = n.children("worker")
        with Connection(n) as c:
            c.send(f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nab".encode())
            wait_for(lambda: Path(f"/proc/{old}/maps").read_text().count(".cwasm"), "the call")
            ebb("upgrade", "--data", n.data)
            assert n.get("load", "/echo", method="POST", body=b"x").text == "x"
            assert old in n.children("worker")
            c.send(b"cd")
            r = c.response()
            # Its head went out before the upgrade and promised that the connection stays.
            assert r.text == "abcd" and r.get("connection") is None
            r = c.request("POST", "/echo", body=b"y", host=HOST)
            assert (r.text, r.get("connection")) == ("y", "close")
        wait_for(lambda: old not in n.children("worker"), "the old worker to end")
        # Stopping does not wait for whoever is idle in an old worker.
        with Connection(n) as c:
            assert c.request("GET", "/echo", host=HOST).status == 200
            ebb("upgrade", "--data", n.data)
            assert n.stop() == 0


def schema_version(n, new):
    """Of the catalogue: what it was before it is `new`."""
    with contextlib.closing(sqlite3.connect(n.data / "platform.db")) as db:
        (was,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {new}")
    return was


def test_a_build_that_does_not_start_changes_nothing(tmp_path, installed):
    with node(tmp_path, binary=installed) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        before = pids(n)
        install(installed, b"#!/bin/sh\necho this is another one >&2\nexit 3\n")
        out = ebb("upgrade", "--data", n.data, status=1)[1]
        assert "serves on as it is" in out and "this is another one" in out
        install(installed)
        settings = (n.data / "ebb.toml").read_text()
        (n.data / "ebb.toml").write_text(settings + "\n[surprise]\n")
        assert "surprise" in ebb("upgrade", "--data", n.data, status=1)[1]
        # What only the keeper reads, and what the catalogue says, are tried as well.
        (n.data / "carbon.toml").write_text("this is no table")
        (n.data / "ebb.toml").write_text(
            settings.replace("[node]\n", '[node]\ncarbon = "carbon.toml"\n', 1))
        assert "carbon.toml" in ebb("upgrade", "--data", n.data, status=1)[1]
        (n.data / "ebb.toml").write_text(settings)
        version = schema_version(n, 1000)
        assert "newer ebb" in ebb("upgrade", "--data", n.data, status=1)[1]
        assert schema_version(n, version) == 1000
        (n.data / "seal.key").rename(n.data / "elsewhere")
        assert "seal.key is missing" in ebb("upgrade", "--data", n.data, status=1)[1]
        assert not (n.data / "seal.key").exists()
        (n.data / "elsewhere").rename(n.data / "seal.key")
        assert n.get("load", "/increment?default&k&1").text == "1"
        n.run("variables", "load")
        assert pids(n) == before
        # The keeper dies in the middle: another one takes its place, and the next upgrade works.
        ebb("upgrade", "--data", n.data)
        [keeper] = [p for p in n.children("keeper") if p not in before["keeper"]]
        os.kill(keeper, signal.SIGKILL)
        assert n.get("load", "/increment?default&k&1").text == "2"
        ebb("upgrade", "--data", n.data)
        assert n.get("load", "/increment?default&k&1").text == "3"


def test_a_build_that_fails_after_it_was_tried_says_why(tmp_path, installed):
    """The supervisor has gone then, which no build can undo; its workers serve on."""
    with node(tmp_path, binary=installed, may_die=True) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        left = [p for role in pids(n).values() for p in role]
        settings = (n.data / "ebb.toml").read_text()
        (n.data / "ebb.toml").write_text(
            settings.replace("[node]\n", '[node]\ncarbon = "carbon.toml"\n', 1))
        install(installed, f"""#!/bin/sh
case "$*" in *--check*) exit 0;; esac
exec {EBB} "$@"
""".encode())
        try:
            out = ebb("upgrade", "--data", n.data, status=1)[1]
            assert "carbon.toml" in out and "has not said" not in out
            assert n.process.wait(PATIENCE_S) == 1
            assert n.get("load", "/increment?default&k&1").text == "1"
        finally:
            for p in left:
                os.kill(p, signal.SIGKILL)


def test_nobody_to_upgrade(tmp_path):
    assert "no node runs here" in ebb("upgrade", "--data", tmp_path, status=1)[1]


def test_a_new_engine_compiles_while_requests_wait(tmp_path, workers):
    """Without compiled code, as after an engine's upgrade or a restore: first requests wait for it,
    in every worker; what can't be compiled is refused with the reason in the log."""
    app, broken = (write_app(tmp_path / name, APP.replace('"load"', f'"{name}"'))
                   for name in ("load", "broken"))
    with node(tmp_path, workers=workers) as n:
        n.run("deploy", "-f", app)
        (tmp_path / "other.wasm").write_bytes(guest("c-kitchen").read_bytes())
        write_app(tmp_path / "broken", APP.replace('"load"', '"broken"')
                  .replace(str(guest("c-keyvalue")), str(tmp_path / "other.wasm")))
        n.run("deploy", "-f", broken)
        token = n.token
    shutil.rmtree(tmp_path / "data/artifacts")
    blobs = tmp_path / "data/blobs/sha256"
    [kitchen] = [b for b in blobs.rglob("*") if b.is_file()
                 and b.read_bytes() == (tmp_path / "other.wasm").read_bytes()]
    kitchen.chmod(0o600)
    kitchen.write_bytes(b"no component")
    with node(tmp_path, workers=workers, token=token) as n:
        statuses = []

        def first(name):
            statuses.append((name, n.get(name, "/v2/exists?default&k").status))
        threads = [threading.Thread(target=first, args=("load",)) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert statuses == [("load", 200)] * 8
        assert n.get("broken").status == 503
        wait_for(lambda: "it can't be compiled for this version" in n.log(), "the reason")
        assert n.api("GET", "/healthz")[0] == 200
