"""What crashes leave behind goes; and what a backup needs stays while it runs."""
import fcntl
import hashlib
import http.client
import os
import signal
import sqlite3
import subprocess
import time

from harness import EBB, ebb, fetch, guest, wait_for, write_app
from node import node

PAGE = f"""
spin_manifest_version = 2
[application]
name = "page"
[[trigger.http]]
route = "/hello"
component = "hello"
[component.hello]
source = "{guest('hello')}"
files = ["word.txt"]
"""


def files(n, folder):
    return sorted(str(p.relative_to(n.data)) for p in (n.data / folder).rglob("*"))


def blob(n, content):
    digest = hashlib.sha256(content).hexdigest()
    return n.data / "blobs/sha256" / digest[:2] / digest, f"sha256:{digest}"


def page(folder, word):
    return write_app(folder, PAGE, {"word.txt": word})


def test_uploads_that_crashes_cut_off(tmp_path):
    """A keeper that dies in the middle of a body, and one that died between a blob's name and its
    row: the next one takes both away, and nothing that belongs to somebody."""
    with node(tmp_path) as n:
        n.run("deploy", "-f", page(tmp_path / "page", "a word"))
        connection = http.client.HTTPConnection(n.admin)
        _, digest = blob(n, b"never whole")
        connection.putrequest("PUT", f"/v1/tenants/default/blobs/{digest}")
        for name, value in (("authorization", f"Bearer {n.token}"), ("content-length", "11")):
            connection.putheader(name, value)
        connection.endheaders(b"never")

        def uploads():
            return [p for p in (n.data / "blobs").iterdir() if p.name.startswith("upload-")]
        [cut] = wait_for(uploads, "the upload")
        # A new keeper beside one that still writes leaves it alone.
        ebb("upgrade", "--data", n.data)
        n.run("apps")
        assert cut.exists()
        connection.send(b" whole")
        answer = connection.getresponse()
        assert answer.status == 503, answer.read()  # of a keeper that leaves
        connection.close()
        assert not cut.exists() or cut.stat().st_size == 11
        # Between the blob's name and its row, for a blob of nobody and for one of ours.
        ours, _ = blob(n, guest("hello").read_bytes())
        stray, _ = blob(n, b"nobody's")
        stray.parent.mkdir(exist_ok=True)
        for at, content in ((stray, b"nobody's"), (ours, None)):
            upload = n.data / "blobs" / f"upload-{at.name}-1-1"
            upload.write_bytes(content or at.read_bytes())
            if content:
                os.link(upload, at)
        for keeper in n.children("keeper"):
            os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: uploads() == [], "leftovers to go")
        assert not stray.exists() and ours.exists()
        wait_for(lambda: "removed what a crash has left" in n.log(), "its word")
        assert n.get("page", "/hello").status == 200


def forget_time(n):
    """What was sent was sent long ago."""
    with sqlite3.connect(n.data / "platform.db") as db:
        db.execute("update blobs set made_s = 1")


def test_a_backup_keeps_the_collector_away(tmp_path):
    settings = "[apps]\nrevisions_kept = 1\n"
    with node(tmp_path, settings=settings) as n:
        for word in ("one", "two"):
            n.run("deploy", "-f", page(tmp_path / "page", word))
        acme = n.tenant("acme")
        n.run("deploy", "-f", page(tmp_path / "page", "of acme"), token=acme, tenant="acme")
        n.run("delete", "page", token=acme, tenant="acme")
        n.run("tenants", "remove", "acme")
        token = n.token
    one, two, acmes = (blob(n, word)[0] for word in (b"one", b"two", b"of acme"))
    forget_time(n)
    for folder in ("files", "artifacts"):
        for name, age in (("old.1.tmp", 7200), ("new.1.tmp", 0)):
            (n.data / folder / name / "deep").mkdir(parents=True)
            os.utime(n.data / folder / name, (time.time() - age,) * 2)
    with node(tmp_path, token=token) as n:
        lock = os.open(n.data / "blobs", os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)  # as a backup does
        n.run("deploy", "-f", page(tmp_path / "page", "three"))
        wait_for(lambda: "while a backup runs" in n.log(), "the collector to be put off")
        assert one.exists() and two.exists() and acmes.exists()
        fcntl.flock(lock, fcntl.LOCK_UN)
        n.run("deploy", "-f", page(tmp_path / "page", "four"))
        wait_for(lambda: not one.exists() and not acmes.exists(), "the collector")
        wait_for(lambda: "removed" in n.log(), "its word")
        for folder in ("files", "artifacts"):
            assert not (n.data / folder / "old.1.tmp").exists()
            assert (n.data / folder / "new.1.tmp").exists()
        # And a backup waits for a collector that is at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        backup = subprocess.Popen([EBB, "backup", str(tmp_path / "copy"), "--data", str(n.data)])
        wait_for(lambda: f"-> FLOCK  ADVISORY  READ {backup.pid} " in open("/proc/locks").read(),
                 "the backup to wait")
        assert not (tmp_path / "copy").exists()
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
        assert backup.wait() == 0
    ebb("restore", tmp_path / "copy", "--data", tmp_path / "again/data")
    with node(tmp_path / "again", token=token) as n:
        assert fetch(n, "/hello", host="page-default.localhost").status == 200


def test_a_backup_of_a_running_node_takes_nothing_from_it(tmp_path):
    """What is deployed after a backup is there after a kill (the log of the catalogue was once lost
    with the backup's end)."""
    with node(tmp_path) as n:
        n.run("deploy", "-f", page(tmp_path / "page", "before"))
        ebb("backup", tmp_path / "copy", "--data", n.data)
        n.run("variables", "page")
        n.run("tenants", "add", "later")
        for keeper in n.children("keeper"):
            os.kill(keeper, signal.SIGKILL)
        assert "later" in wait_for(lambda: n.run("tenants"), "the next keeper")
