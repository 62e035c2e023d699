"""When the disk of a store fails while ebb serves: full, read-only, pages that go bad, a file that
is gone. The interface's own error, one clear line in the log, everything else unharmed, and
recovery when the cause is gone."""
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from harness import EBB, fetch, guest, serving, wait_for, write_app

SHIM = Path(__file__).resolve().parents[2] / "build" / "ebb-io-shim.so"
APP = f"""
spin_manifest_version = 2
[application]
name = "disk"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
source = "{guest('c-keyvalue')}"
key_value_stores = ["default"]
[[trigger.http]]
route = "/sql/..."
component = "s"
[component.s]
source = "{guest('c-sqlite')}"
sqlite_databases = ["default"]
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{guest('hello')}"
"""
#: A sanitizer's library has to be the first one that is loaded.
LOADS_SHIMS = "asan" not in str(EBB)


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


def kv(server, op, *words, status=200):
    r = fetch(server, f"/v2/{op}?default&" + "&".join(words))
    assert r.status == status, (op, r.status, r.text, server.log()[-1500:])
    return r.text


def sql(server, *statements, status=200):
    r = fetch(server, "/sql/v2/run?default", "POST", body="\n".join(statements).encode())
    assert r.status == status, (statements, r.status, r.text, server.log()[-1500:])
    return r.text


def said(server, path):
    return [r["text"] for r in server.log_lines("message") if str(path) in r["text"]]


def is_unharmed(server):
    r = fetch(server, "/hello")
    assert r.status == 200 and r.text.startswith("Hello"), r.text


@pytest.mark.parametrize("number, words, sql_says", [
    (errno.ENOSPC, ("full", "free some space"), "database-full "),
    (errno.EROFS, ("disk I/O error",), "io disk I/O error"),
    (errno.EIO, ("disk I/O error",), "io disk I/O error"),
], ids=("full", "readonly", "broken"))
def test_a_disk_that_refuses_and_recovers(app, workers, tmp_path, number, words, sql_says):
    state, failing = app / ".spin", tmp_path / "failing"
    env = {"LD_PRELOAD": str(SHIM), "IO_SHIM_FAILING": str(failing)} if LOADS_SHIMS else {}
    with serving(app, tmp_path, workers=workers, env=env) as server:
        kv(server, "set", "k", "before")
        sql(server, "create table t (id integer primary key, v text)",
            "insert into t values (1, 'a')")
        if not LOADS_SHIMS:
            is_unharmed(server)
            return
        os.mknod(f"{failing}.{number}")
        for _ in range(3):
            text = kv(server, "set", "k", "lost", status=500)
            assert text.startswith("other ") and str(state) not in text, text
        refused = sql(server, "insert into t values (2, 'lost')", status=500)
        assert refused.startswith(sql_says) and str(state) not in refused, refused
        wait_for(lambda: said(server, state / "sqlite_key_value.db"), "the log to say so")
        lines = said(server, state / "sqlite_key_value.db")
        assert len(lines) == 1 and all(w in lines[0] for w in words), lines
        is_unharmed(server)
        os.unlink(f"{failing}.{number}")
        wait_for(lambda: fetch(server, "/v2/set?default&k&after").status == 200, "writes")
        assert kv(server, "get", "k") == "after"
        wait_for(lambda: "works again" in said(server, state / "sqlite_key_value.db")[-1],
                 "the log to say so")
        sql(server, "insert into t values (3, 'after')")
        assert sql(server, "select v from t order by id") == "v\n'a'\n'after'\n"
    for name in ("sqlite_key_value.db", "sqlite_db.db"):
        with sqlite3.connect(state / name) as db:
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)]


def damage(path):
    """All pages but the first, which has the schema."""
    with open(path, "r+b") as f:
        f.seek(4096)
        f.write(b"\xa5" * (os.path.getsize(path) - 4096))


def test_pages_that_go_bad_while_it_serves(app, workers, tmp_path):
    path = app / ".spin" / "sqlite_key_value.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, "
                   "value BLOB NOT NULL, PRIMARY KEY (store, key))")
        db.executemany("INSERT INTO spin_key_value VALUES ('default', ?, ?)",
                       [(f"k{i:05}", b"v" * 1000) for i in range(4000)])
    good = path.read_bytes()
    with serving(app, tmp_path, workers=workers) as server:
        assert kv(server, "get", "k00001") == "v" * 1000
        damage(path)

        def is_refused():
            r = fetch(server, "/v2/get?default&k03999")
            return r.status == 500 and "malformed" in r.text and str(path) not in r.text
        wait_for(is_refused, "the damage to be found")
        wait_for(lambda: said(server, path), "the log to say so")
        lines = said(server, path)
        assert len(lines) == 1 and "restore it from a backup" in lines[0], lines
        is_unharmed(server)
        sql(server, "create table t (v)")
        path.unlink()
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        path.write_bytes(good)
        wait_for(lambda: fetch(server, "/v2/get?default&k03999").status == 200, "the backup")
        assert kv(server, "get", "k03999") == "v" * 1000


def test_a_file_that_is_gone(app, workers, tmp_path):
    state = app / ".spin"
    with serving(app, tmp_path, workers=workers) as server:
        kv(server, "set", "k", "v")
        sql(server, "create table t (v)")
        for name in os.listdir(state):
            if name.startswith("sqlite"):
                (state / name).unlink()
        assert kv(server, "get", "k", status=404) == "none"
        assert "no such table" in sql(server, "select * from t", status=500)
        kv(server, "set", "k", "again")
        assert kv(server, "get", "k") == "again"
        sql(server, "create table t (v)")
        is_unharmed(server)
