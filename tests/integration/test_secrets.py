"""What one request leaves behind, the next one must not find: memory, globals, tables, files,
resources. One worker with a pool of one slot, so that both are in the same place: with a new
instance for each request, and with the one instance that there is restored in place; also where it
is not compared with a new one, as outside of tests."""
import re

import pytest

from harness import Connection, fetch, guest, serving, write_app

MANIFEST = f"""
spin_manifest_version = 2
[application]
name = "secrets"
[[trigger.http]]
route = "/..."
component = "one"
[[trigger.http]]
route = "/other/..."
component = "other"
[component.one]
source = "{guest('c-hostile')}"
files = ["a.txt"]
[component.other]
source = "{guest('c-hostile')}"
files = ["a.txt"]
"""
TABLES = f"""
spin_manifest_version = 2
[application]
name = "tables"
[[trigger.http]]
route = "/..."
component = "tables"
[component.tables]
source = "{guest('c-tables')}"
"""
FOUND = re.compile(r"found (\d+), calls (\d+), table (\d), global (\d), pages (\d+), "
                   r"fields (\d+), file (\d)")
#: What a search says of an instance that nobody used: found, calls, table, global.
CLEAN = (0, 0, 0, 0)
#: Of each setting how an instance comes to be, and for how many of 28 requests at least. Without
#: check=1 an app is restored from its second call on that is close to another one.
STARTS = {"never": ("warm", 28), "auto,check=1": ("restored", 28), "auto,check=0": ("restored", 20),
          "pagemap,check=0": ("restored", 20)}


@pytest.fixture(scope="module", params=STARTS, ids=["new", "compared", "restored", "pagemap"])
def one_slot(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    app = write_app(folder / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, folder, "--instances", "1", "--restore", request.param,
                 workers=1) as server:
        server.starts = STARTS[request.param]
        yield server


def seek(server, n, path="/seek"):
    return tuple(map(int, FOUND.fullmatch(fetch(server, f"{path}?{n}").text).groups()))


def test_there_is_one_slot(one_slot):
    """While one request has it, another one waits; so all of them have the same."""
    with Connection(one_slot) as first, Connection(one_slot) as second:
        first.send(b"POST /starve HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        second.send(b"GET /ignore HTTP/1.1\r\nHost: a\r\n\r\n")
        second.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.socket.recv(1)
        second.socket.settimeout(40)
        first.send(b"x")
        assert first.response().text == "1 closed"
        assert second.response().text == "ignored"


def test_the_search_finds_what_is_there(one_slot):
    assert seek(one_slot, 12345, "/both")[:4] == (1, 1, 1, 1)


@pytest.mark.parametrize("path", ["/seek", "/other/seek"])
def test_nothing_is_left_for_the_next_request(one_slot, path):
    clean = seek(one_slot, 1, path)
    assert clean[:4] == CLEAN and clean[6] == 0
    for n in range(1000, 1020):
        hidden = fetch(one_slot, f"/hide?{n}").text
        assert hidden.startswith("hidden in ") and hidden.endswith("file refused")
        assert seek(one_slot, n, path) == clean
    if path == "/seek":
        said = one_slot.log_lines("request")[-30:-2]  # the newest may not be there yet
        start, count = one_slot.starts
        assert [x["start"] for x in said].count(start) >= count, [x["start"] for x in said]


@pytest.mark.parametrize("restore", ["never", "auto,check=1"])
@pytest.mark.parametrize("how", ["spin", "deep", "handles"])
def test_nothing_is_left_by_a_request_that_ended_badly(tmp_path, how, restore):
    text = MANIFEST + '[component.one.tool.ebb]\ncpu_time_max = "50ms"\n'
    app = write_app(tmp_path / "app", text, {"a.txt": "a"})
    with serving(app, tmp_path, "--instances", "1", "--restore", restore, workers=1) as server:
        clean = seek(server, 7, "/other/seek")
        for n in range(5):
            assert fetch(server, f"/hide-and-{how}?{n}").status in (500, 504)
            assert seek(server, n, "/other/seek") == clean
            fetch(server, f"/hide?{n}")
            assert seek(server, n) == clean


@pytest.mark.parametrize("restore", ["never", "auto,check=1"])
def test_a_table_is_as_it_was(tmp_path, restore):
    app = write_app(tmp_path / "app", TABLES)
    with serving(app, tmp_path, "--instances", "1", "--restore", restore, workers=1) as server:
        for _ in range(5):
            assert fetch(server, "/add?7").text == "7 elements"
            assert fetch(server, "/add?0").text == "0 elements"


def test_files_written_on_request_are_the_apps(tmp_path):
    """--allow-transient-write is what says so: then a file stays, for the same component only."""
    app = write_app(tmp_path / "app", MANIFEST, {"a.txt": "a"})
    with serving(app, tmp_path, "--allow-transient-write", "--instances", "1",
                 workers=1) as server:
        assert fetch(server, "/hide?5").text.endswith("file written")
        assert seek(server, 5) == CLEAN + seek(server, 6)[4:6] + (1,)
        assert seek(server, 5, "/other/seek")[6] == 0
