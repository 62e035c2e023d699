"""The limits of tool.ebb, each hit on purpose: what is answered, what is logged, and that the next
request finds everything as before."""
import contextlib
import os
import select
import signal
import time
from pathlib import Path

import pytest

from harness import Connection, fetch, guest, serving, wait_for, write_app
from http2raw import RST, Raw

#: component -> (guest, settings)
COMPONENTS = {
    "plain": ("c-hostile", ""),
    "small-request": ("c-hostile", 'request_body_max = 1000'),
    "small-response": ("c-hostile", 'response_body_max = 10000'),
    "one": ("c-kitchen", 'concurrency_max = 1\nqueue_max = 2'),
    "wall": ("c-hostile", 'wall_time_max = "200ms"'),
    "idle": ("c-hostile", 'idle_time_max = "200ms"'),
    "busy": ("c-hostile", 'cpu_time_max = "300ms"'),
    "quiet": ("c-hostile", 'log_max = 1000'),
    "handles": ("c-hostile", 'resources_max = 50'),
    "memory": ("c-hostile", 'memory_max = "4 MiB"\ncpu_time_max = "50ms"'),
    "burns": ("c-kitchen", 'cpu_time_max = "800ms"'),
    "coarse": ("c-hostile", 'clock_resolution = "2ms"'),
}
MANIFEST = """
spin_manifest_version = 2
[application]
name = "limits"
""" + "".join(f"""
[[trigger.http]]
route = "/{name}/..."
component = "{name}"
[component.{name}]
source = "{guest(source)}"
[component.{name}.tool.ebb]
{settings}
""" for name, (source, settings) in COMPONENTS.items())


@pytest.fixture(scope="module")
def limits(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    with serving(write_app(folder / "app", MANIFEST), folder, workers=workers) as server:
        yield server


def ran_ns(pid):
    """CPU time of a process, by the kernel's scheduler."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def test_cpu_time_is_not_what_passes_while_others_have_the_core(limits):
    """A worker that is held for longer than the call's CPU time has used none of it."""
    before = {pid: ran_ns(pid) for pid in limits.children("worker")}

    def burning():
        return [pid for pid, ns in before.items() if ran_ns(pid) > ns + 20_000_000]
    with Connection(limits) as c:
        c.send(b"GET /burns/burn?60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        pid = wait_for(burning, "the call to run")[0]
        os.kill(pid, signal.SIGSTOP)
        held, _, _ = select.select([c.socket], [], [], 1)
        os.kill(pid, signal.SIGCONT)
        assert not held
        assert c.response().status == 200
    request = limits.wait_log("request", path="/burns/burn")[0]
    assert 20_000 < float(request["cpu_us"]) < 800_000 < float(request["us"])


CHUNKED = (b"POST /small-request/starve HTTP/1.1\r\nHost: a\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")


def chunked(body, piece=500):
    parts = [body[i:i + piece] for i in range(0, len(body), piece)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def test_a_request_body_of_the_limit_is_taken(limits):
    assert fetch(limits, "/small-request/starve", "POST", body=b"x" * 1000).text == "1000 closed"
    with Connection(limits) as c:
        c.send(CHUNKED + chunked(b"x" * 1000))
        assert c.response().text == "1000 closed"


def test_a_longer_one_is_refused_by_its_declaration(limits):
    r = fetch(limits, "/small-request/starve", "POST", body=b"x" * 1001)
    assert (r.status, r.body) == (413, b"")
    assert limits.wait_log("refused", id=r.get("ebb-request-id"))


def test_a_longer_one_without_declaration_fails_for_the_guest(limits):
    with Connection(limits) as c:
        c.send(CHUNKED + chunked(b"x" * 1500))
        assert c.response().text == "1000 failed"


def test_a_response_body_is_cut_at_its_limit(limits):
    with Connection(limits) as c:
        c.send(b"GET /small-response/endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.head().status == 200
        body = c.file.read()  # to the end of the connection: chunks, and no last one
        assert len(body) < 11000 and not body.endswith(b"0\r\n\r\n")
    assert limits.wait_log("request", path="/small-response/endless")


def test_a_full_queue_answers_503_and_when_to_come_back(limits, workers):
    """One runs, two wait, per worker; the rest is told to come back."""
    n = 8 * workers
    sleepers = [Connection(limits) for _ in range(n)]
    for c in sleepers:
        c.send(b"GET /one/sleep?300 HTTP/1.1\r\nHost: a\r\n\r\n")
    answers = [c.response() for c in sleepers]
    for c in sleepers:
        c.close()
    refused = [r for r in answers if r.status == 503]
    assert len(refused) >= n - 3 * workers
    assert all(r.get("retry-after") == "1" and r.body == b"" for r in refused)
    served = [r for r in answers if r.status == 200]
    assert served and len(served) + len(refused) == n
    assert fetch(limits, "/one/count").text == "1"


def test_who_waits_may_leave(limits):
    with Connection(limits) as running:
        running.send(b"GET /one/sleep?300 HTTP/1.1\r\nHost: a\r\n\r\n")
        waiting = [Connection(limits) for _ in range(6)]
        for c in waiting:
            c.send(b"GET /one/sleep?1 HTTP/1.1\r\nHost: a\r\n\r\n")
        for c in waiting:
            c.close()
        assert running.response().status in (200, 503)
    wait_for(lambda: fetch(limits, "/one/hello").status == 200, "a free place")


@pytest.mark.parametrize("path,what", [
    ("/wall/unread", "wall time"),       # many short waits
    ("/wall/unfinished?", "wall time"),  # one long wait, the response begun
    ("/idle/unread", "idle time"),       # nothing moves but the clock
    ("/idle/unfinished", "idle time"),
])
def test_time_is_bounded(limits, path, what):
    begun = time.monotonic()
    with Connection(limits) as c:
        c.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = c.head()
        assert head.status == (504 if "unread" in path else 200)
        if head.status == 200:
            c.file.read()  # cut
    assert time.monotonic() - begun < 20
    stopped = limits.wait_log("stopped", component=path.split("/")[1])
    assert any(what in r["reason"] for r in stopped)


def test_a_guest_that_computes_has_its_head_sent(limits):
    """Its response is set, and nothing of the body comes: the head goes with its first slice."""
    with Connection(limits) as c:
        c.send(b"GET /busy/unsent HTTP/1.1\r\nHost: a\r\n\r\n")
        head = c.head()
        assert (head.status, head.get("transfer-encoding")) == (200, "chunked")
        assert c.file.read() == b""  # then its time is over
    with Raw(limits) as r:
        r.request(path="/busy/unsent")
        assert r.status() == 200
        r.wait(RST, 1)
    assert limits.wait_log("stopped", 2, component="busy")


def test_bytes_that_move_are_no_idle_time(limits):
    """A slow client that sends a byte now and then is served past the idle limit."""
    with Connection(limits) as c:
        c.send(b"POST /idle/starve HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.08)  # the pace is what is tested: 8 x 80 ms are past 200 ms
            c.send(b"x")
        assert c.response().text == "8 closed"


def test_a_client_that_never_ends_its_body_is_given_up(limits):
    with Connection(limits) as c:
        c.send(b"POST /idle/starve HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nxxxx")
        assert c.response().status == 504


def test_log_volume(limits):
    r = fetch(limits, "/quiet/logs?1000")
    assert r.text == "logged"
    request = limits.wait_log("request", path="/quiet/logs")[0]
    lines = [x for x in limits.log_lines("guest") if x["id"] == request["id"]]
    assert sum(len(x["line"]) + 1 for x in lines) <= 1000
    assert 30 < len(lines) <= 40
    (full,) = [x for x in limits.log_lines("log-full") if x["id"] == request["id"]]
    assert "log_max" in full["reason"]


def test_open_resources(limits):
    for path in ("/handles/handles", "/handles/pollables"):
        r = fetch(limits, path)
        assert r.status == 500
        trap = limits.wait_log("trap", id=r.get("ebb-request-id"))[0]
        assert "more than 50 handles" in trap["reason"]


def test_memory(limits):
    r = fetch(limits, "/memory/grow")
    assert r.status == 504
    line = limits.wait_log("request", id=r.get("ebb-request-id"))[0]
    assert line["memory"] <= 4 << 20


def test_clocks_are_fine_unless_asked(limits):
    resolution, smallest, _, _, slept = map(int, fetch(limits, "/plain/clocks").text.split())
    assert resolution == 1
    assert smallest < 1_000_000
    assert slept >= 3_000_000


def test_coarse_clocks(limits):
    resolution, smallest, common, wall, slept = map(int,
                                                    fetch(limits, "/coarse/clocks").text.split())
    assert resolution == 2_000_000
    assert smallest >= 2_000_000 and common % 2_000_000 == 0
    assert wall % 2_000_000 == 0
    assert slept >= 3_000_000 and slept % 2_000_000 == 0


def test_a_worker_has_a_bounded_queue_for_all_its_components(tmp_path):
    """One sandbox; four components have 256 calls waiting for it, as many as they may, and together
    as many as a worker lets wait: the fifth is told to come back, though none of its own waits."""
    manifest = "spin_manifest_version = 2\n[application]\nname = \"queue\"\n" + "".join(f"""
[[trigger.http]]
route = "/{name}/..."
component = "{name}"
[component.{name}]
source = "{guest('c-hostile' if name == 'busy' else 'c-kitchen')}"
""" for name in ("busy", "a", "b", "c", "d", "e"))
    with serving(write_app(tmp_path / "app", manifest), tmp_path, "--instances", "1") as server, \
            contextlib.ExitStack() as opened:
        running, *waiting = [opened.enter_context(Connection(server)) for _ in range(1025)]
        running.send(b"GET /busy/unfinished HTTP/1.1\r\nHost: a\r\n\r\n")
        assert running.head().status == 200  # it has the sandbox
        for k, c in enumerate(waiting):
            c.send(b"GET /%c/count HTTP/1.1\r\nHost: a\r\n\r\n" % b"abcd"[k % 4])
        refused = fetch(server, "/e/count")
        assert (refused.status, refused.get("retry-after"), refused.body) == (503, "1", b"")
        running.close()  # which ends its guest; the others have their turn
        assert [c.response().status for c in waiting] == [200] * 1024
        assert fetch(server, "/e/count").status == 200
