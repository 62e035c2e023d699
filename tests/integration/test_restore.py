"""Restored instances: a guest can't tell one from a new one. The harness runs everything with
check=1, so that every app is restored from its first request on and each restored instance is
compared with a new one; here is what is particular to restoring."""
import contextlib
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import Connection, ebb, fetch, guest, serving, wait_for, write_app

MANIFEST = f"""
spin_manifest_version = 2
[application]
name = "restored"
[[trigger.http]]
route = "/hostile/..."
component = "hostile"
[component.hostile]
source = "{guest('c-hostile')}"
""" + "".join(f"""
[[trigger.http]]
route = "/{name}/..."
component = "{name}"
[component.{name}]
source = "{guest(f'{language}-kitchen')}"
environment = {{ GREETING = "hello {name}" }}
files = ["a.txt"]
""" for name, language in (("c", "c"), ("rust", "rust"), ("js", "js"), ("python", "python"),
                               ("go", "go"), ("new-rust", "rust"), ("new-js", "js"),
                               ("new-python", "python"), ("new-go", "go"),
                               ("after", "go"))) + """
[component.after.tool.ebb]
restore_after_start = true
""" + "".join(f"""
[component.new-{language}.tool.ebb]
restore = false
""" for language in ("rust", "js", "python", "go"))
LANGUAGES = ("c", "rust", "js", "python", "go")


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("restored")
    app = write_app(folder / "app", MANIFEST, {"a.txt": "a file"})
    with serving(app, folder, workers=1) as server:
        yield server


def starts(server, component, count):
    """How the instances of the last `count` requests came to be; all of them are logged first."""
    total = server.requests_made[component]
    return [x["start"] for x in server.wait_log("request", total, component=component)][-count:]


def get(server, component, path, **more):
    made = server.__dict__.setdefault("requests_made", Counter())
    made[component] += 1
    return fetch(server, f"/{component}/{path}", **more)


def count(server, component):
    return get(server, component, "count").text.strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_request_is_the_first(restored, language):
    get(restored, language, "hello")
    for _ in range(20):
        assert count(restored, language) == "1"
    assert starts(restored, language, 20) == ["restored"] * 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_frozen(restored, language):
    """Random numbers differ, the environment is there, files are read, output is logged."""
    numbers = {re.search(r"\d{20}", get(restored, language, "hello").text)[0]
               for _ in range(50)}
    assert len(numbers) == 50
    for _ in range(3):
        assert get(restored, language, "env?GREETING").text == f"hello {language}"
        assert get(restored, language, "file?a.txt").text == "a file"
    assert starts(restored, language, 50) == ["restored"] * 50


def test_clocks_go_on(restored):
    """Each request has a wall time of its own (its nanoseconds), and while it sleeps the monotonic
    clock moves."""
    get(restored, "hostile", "ignore")
    said = [get(restored, "hostile", "clocks").text.split() for _ in range(20)]
    assert len({wall for _, _, _, wall, _ in said}) == 20
    assert all(int(slept) >= 3_000_000 for *_, slept in said)
    assert starts(restored, "hostile", 20) == ["restored"] * 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_bodies_that_need_memory(restored, language):
    """An instance that grew for one request has its first size in the next."""
    for n in (10, 300_000, 10, 70_000, 0, 300_000):
        body = bytes(range(256)) * (n // 256 + 1)
        body = body[:n]
        assert get(restored, language, "echo", method="POST", body=body).body == body
        assert count(restored, language) == "1"


def test_a_failed_request_takes_its_instance_along(restored):
    assert count(restored, "c") == "1"
    for path in ("trap", "exit?3", "silent"):
        assert count(restored, "c") == "1"
        assert get(restored, "c", path).status == 500
    assert count(restored, "c") == "1"
    # after a trap and an exit a new one; "silent" returned, if without an answer
    assert starts(restored, "c", 7) == ["restored", "restored", "warm", "restored", "warm",
                                        "restored", "restored"]


def test_after_start(restored):
    """Restored to the state after its start function: what it opened and read there is still good,
    what a request leaves is gone, and what the host is asked for in a request is never frozen. That
    the check (check=1) compares with an instance that got the recorded answers and finds nothing
    is asserted when the server ends."""
    for _ in range(3):
        assert get(restored, "after", "env?GREETING").text == "hello after"
        assert get(restored, "after", "file?a.txt").text == "a file"
        assert count(restored, "after") == "1"
    for n in (10, 300_000, 0):
        assert get(restored, "after", "echo", method="POST", body=b"x" * n).body == b"x" * n
    numbers = {re.search(r"\d{20}", get(restored, "after", "hello").text)[0] for _ in range(20)}
    assert len(numbers) == 20
    get(restored, "after", "stdout?said%20after")
    assert starts(restored, "after", 32) == ["restored"] * 32
    assert "not-restored-after-start" not in restored.log()


#: What Go's start function and package-level variables read.
AT_START = ("math/rand", "math/rand/v2", "maphash", "map", "started")


@pytest.mark.parametrize("component,repeats", [("go", False), ("after", True)])
def test_what_repeats_after_start_and_what_never_does(restored, component, repeats):
    """What docs/instances.md says of Go: what the start function read repeats if, and only if, its
    component asked for that; what a request asks for itself is always new."""
    get(restored, component, "hello")
    begun = time.time_ns()
    said = [get(restored, component, "seeds").json() for _ in range(5)]
    assert starts(restored, component, 5) == ["restored"] * 5
    assert {name: len({x[name] for x in said}) for name in AT_START} == \
        dict.fromkeys(AT_START, 1 if repeats else 5)
    assert len({x["crypto/rand"] for x in said}) == 5
    times = [x["now"] for x in said]
    assert begun < times[0] and times == sorted(set(times)) and times[-1] < time.time_ns()
    assert (said[0]["started"] < begun) == repeats


def anonymous_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s*(\d+)", status)[1]) << 10


def test_kept_instances_go_when_they_are_idle(tmp_path):
    """Those of Python, more than a megabyte each, go by themselves; then there is a new one."""
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a file"})
    with serving(app, tmp_path, workers=1) as server:
        worker, = server.children("worker")
        for _ in range(2):
            with contextlib.ExitStack() as opened:
                asking = [opened.enter_context(Connection(server)) for _ in range(8)]
                for c in asking:
                    c.send(b"GET /python/sleep?300 HTTP/1.1\r\nHost: a\r\n\r\n")
                assert [c.response().status for c in asking] == [200] * 8
        said = server.wait_log("request", 16, component="python")
        assert [x["start"] for x in said[8:]].count("restored") >= 4  # 8 where nothing is slow
        kept = anonymous_bytes(worker)
        wait_for(lambda: anonymous_bytes(worker) < kept - (4 << 20), "kept instances to go")
        asked = 16

        def is_new():
            nonlocal asked
            asked += 1
            assert fetch(server, "/python/count").text.strip() == "1"
            start = server.wait_log("request", asked, component="python")[-1]["start"]
            if start != "warm":
                time.sleep(6)  # the one given back last goes last: five seconds after that
            return start == "warm"
        wait_for(is_new, "a new one")


@pytest.mark.parametrize("language", ["rust", "js", "python", "go"])
def test_a_setting_turns_it_off(restored, language):
    """Each instance is new, with or without pages of the last one; those that are moved are
    compared, too."""
    component = f"new-{language}"
    get(restored, component, "hello")
    for n in (10, 300_000, 10, 70_000, 0):
        body = bytes(range(256)) * (n // 256)
        assert get(restored, component, "echo", method="POST", body=body).body == body
        assert count(restored, component) == "1"
        assert get(restored, component, "env?GREETING").text == f"hello {component}"
    numbers = {re.search(r"\d{20}", get(restored, component, "hello").text)[0] for _ in range(20)}
    assert len(numbers) == 20
    assert set(starts(restored, component, 35)) == {"warm"}


def faults(pid):
    """That needed no disk (proc_pid_stat(5), field 10)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.parametrize("how,few", [("auto,check=0", True), ("pagemap,check=0", True),
                                     ("never", False)])
def test_new_instances_get_the_pages_of_earlier_ones(tmp_path, how, few):
    """A JavaScript instance writes to more than a hundred pages. The worker meets faults for them
    in each request, unless they come from the instance before."""
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a file"})
    with serving(app, tmp_path, "--restore", how, workers=1) as server:
        worker, = server.children("worker")

        def per_request():
            before = faults(worker)
            for _ in range(10):
                assert get(server, "new-js", "count").text.strip() == "1"
            return (faults(worker) - before) / 10
        if few:  # once ten come soon enough after each other
            wait_for(lambda: per_request() < 50, "requests with few page faults")
        else:
            assert min(per_request() for _ in range(4)) > 80


@pytest.mark.parametrize("skip", ["memory", "globals"])
@pytest.mark.parametrize("language", ["c", "rust", "js"])
def test_the_check_is_not_blind(tmp_path, skip, language):
    """Restoring broken on purpose: the first request after which something differs finds it, says
    so, and from then on the app has new instances."""
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, tmp_path, "--restore", f"check=1,skip={skip}", workers=1,
                 differs=True) as server:
        for _ in range(3):
            get(server, language, "echo", method="POST", body=b"x" * 300_000)
            assert count(server, language) == "1"
        found = server.wait_log("not-restored")
        assert len(found) == 1
        assert found[0]["component"] == language
        # a memory that grew, and whose size is a global, too
        said = {"memory": ("memory 0 differs", "memory 0 is not zero"),
                "globals": ("global", "memory 0 has")}[skip]
        assert found[0]["difference"].startswith(said)
        assert starts(server, language, 6) == ["cold"] + ["warm"] * 5


def test_nor_is_that_of_moved_pages(tmp_path):
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, tmp_path, "--restore", "check=1,skip=memory", workers=1,
                 differs=True) as server:
        for _ in range(6):
            assert count(server, "new-js") == "1"
        found, = server.wait_log("not-restored")
        assert found["component"] == "new-js"
        assert found["difference"].startswith("memory 0 differs")


def test_pagemap_where_the_ioctl_is_missing(tmp_path):
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, tmp_path, "--restore", "pagemap,check=1",
                 workers=1) as server:
        for language in LANGUAGES:
            for _ in range(5):
                assert count(server, language) == "1"
            assert starts(server, language, 4) == ["restored"] * 4
        assert "restored in place by reading pagemap" in server.log()


def test_never(tmp_path):
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, tmp_path, "--restore", "never",
                 workers=1) as server:
        for _ in range(5):
            assert count(server, "rust") == "1"
        assert set(starts(server, "rust", 4)) == {"warm"}
        assert "a new one for every request, as set" in server.log()


def test_a_wrong_setting_is_explained():
    said = "".join(ebb("up", "--restore", "sometimes", status=1))
    assert "write auto, pagemap or never" in said
