"""Guests that misbehave: their own request gets 500 or 504, everybody else's is unharmed."""
import contextlib

import pytest

import hostile as attack
from harness import (PATIENCE_S, SANITIZED, Connection, fetch, guest, open_files, resident_bytes,
                     serving, wait_for, write_app)

MANIFEST = f"""
spin_manifest_version = 2
[application]
name = "hostile"
[[trigger.http]]
route = "/..."
component = "bad"
[[trigger.http]]
route = "/good/..."
component = "good"
[[trigger.http]]
route = "/unlimited/..."
component = "unlimited"
[component.unlimited]
source = "{guest('c-kitchen')}"
[component.unlimited.tool.ebb]
cpu_time_max = "none"
[component.bad]
source = "{guest('c-kitchen')}"
[component.bad.tool.ebb]
cpu_time_max = "300ms"
memory_max = "64 MiB"
[component.good]
source = "{guest('c-kitchen')}"
"""


@pytest.fixture(scope="module")
def hostile(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with serving(write_app(folder / "app", MANIFEST), folder, "--limit", "half-close-time=1",
                 workers=workers) as server:
        yield server


@pytest.mark.parametrize("path,status,event", [
    ("/trap", 500, "trap"),
    ("/exit?0", 500, "exit"),
    ("/exit?1", 500, "exit"),
    ("/overflow", 500, "trap"),
    ("/bomb", 500, "trap"),
    ("/silent", 500, "failed"),
    ("/spin", 504, "stopped"),
])
def test_only_this_request_fails(hostile, path, status, event):
    workers_before = hostile.children("worker")
    with Connection(hostile) as bad, Connection(hostile) as good:
        bad.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert good.request("GET", "/good/count").text.strip() == "1"
        r = bad.response()
        assert (r.status, r.body) == (status, b"")
        assert sorted(k for k, _ in r.fields) == ["content-length", "date", "ebb-request-id"]
        assert hostile.wait_log(event, id=r.get("ebb-request-id"))
        assert hostile.wait_log("request", id=r.get("ebb-request-id"), status=status)
        # the connection lives, and so does the worker
        assert bad.request("GET", "/count").text.strip() == "1"
        assert good.request("GET", "/good/count").text.strip() == "1"
    assert hostile.children("worker") == workers_before


def test_trap_has_a_symbolised_backtrace(hostile):
    r = fetch(hostile, "/trap")
    frames = hostile.wait_log("frame", id=r.get("ebb-request-id"))
    assert any("handle" in f["at"] for f in frames), frames


def test_trap_after_the_head_cuts_the_body(hostile):
    """A response that has begun is never completed with invented bytes."""
    with Connection(hostile) as c:
        c.send(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
        head = c.head()
        if head.status == 500:  # nothing had been sent yet
            return
        assert (head.status, head.get("content-length")) == (200, "100")
        assert len(c.file.read()) == 10
    assert hostile.wait_log("trap")


def test_spinning_guests_share_the_worker(hostile):
    """While four guests burn their budget, others are answered, and the budget holds."""
    spinners = [Connection(hostile) for _ in range(4)]
    for c in spinners:
        c.send(b"GET /spin HTTP/1.1\r\nHost: a\r\n\r\n")
    with Connection(hostile) as good:
        for _ in range(20):
            assert good.request("GET", "/good/hello").status == 200
    for c in spinners:
        assert c.response().status == 504
        c.close()
    stopped = hostile.wait_log("request", count=4, path="/spin", status=504)
    assert all(r["cpu_us"] < 300_000 * 2 for r in stopped)


def test_a_client_that_leaves_ends_its_guest(hostile):
    c = Connection(hostile)
    c.send(b"GET /sleep?100000 HTTP/1.1\r\nHost: a\r\n\r\n")
    # answered by the same workers: the sleeping request has begun or will, in order
    assert fetch(hostile, "/good/count").status == 200
    c.close()
    assert hostile.wait_log("request", path="/sleep")


def test_a_client_that_leaves_ends_a_guest_that_computes(hostile):
    with Connection(hostile) as c:
        c.send(b"GET /unlimited/spin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert fetch(hostile, "/good/count").status == 200
    assert hostile.wait_log("request", path="/unlimited/spin", status=499)


def test_bombs_leave_no_memory_behind(hostile):
    with Connection(hostile) as c:
        for _ in range(3):
            c.request("GET", "/bomb")
        before = sum(map(resident_bytes, hostile.children("worker")))
        for _ in range(30):
            assert c.request("GET", "/bomb").status == 500
        after = sum(map(resident_bytes, hostile.children("worker")))
    assert after - before < 48 << 20, (before, after)
    assert wait_for(lambda: fetch(hostile, "/good/count").status == 200, "an answer", PATIENCE_S)


@pytest.fixture(scope="module")
def attacked(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    app = write_app(folder / "app", attack.MANIFEST, attack.FILES)
    with serving(app, folder, workers=workers) as server, \
            open(server.log_path, "r+b", buffering=0) as file:
        server.heard = attack.Log(file)
        # a server is ready before its keeper is
        keeper, = server.children("keeper")
        wait_for(lambda: any(path.endswith("/usage.db") for path in open_files(keeper)),
                 "the keeper to open its file")
        yield server


@pytest.mark.parametrize("kind", attack.KINDS)
def test_again_and_again(attacked, workers, kind):
    """1,000 of each kind: the same processes serve others meanwhile, and on, with as much memory
    and as many descriptors (but a few: a worker opens a component's code when it is first called).
    The log says that they ended as they should, or too early on a machine that is slow.
    100 where one worker alone, or one under sanitizers, would take minutes."""
    pids = attack.processes(attacked)
    times = 1000 if workers == 2 and not SANITIZED else 100
    with contextlib.ExitStack() as opened:
        goods = [opened.enter_context(Connection(attacked)) for _ in range(2 * workers)]
        for good in goods:
            assert good.request("GET", "/good/count").text == "1"
        before = attack.resources(pids)

        def level():
            now = attack.resources(pids)
            return now if all(now[k][1] <= before[k][1] + 8 for k in now) else None

        def repeat(n):
            for _ in range(-(-n // attack.BATCH)):
                attack.batch(attacked, kind, attack.BATCH, goods)
            return wait_for(level, "descriptors to be closed")
        warm = repeat(64)
        after = repeat(times)
    tally = attack.Tally()
    attacked.heard.read_all(tally, kind, sum(-(-n // attack.BATCH) * attack.BATCH
                                             for n in (64, times)))
    assert tally.named(kind) > 0 or SANITIZED, (tally.statuses, tally.reasons)
    for name in after:
        assert SANITIZED or after[name][0] - warm[name][0] < 8 << 20, (name, warm, after)
    assert attack.processes(attacked) == pids
