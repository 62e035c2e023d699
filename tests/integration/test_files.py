"""The files of a guest: read-only unless allowed, and nothing leads outside: no path, no link, no
race. What a guest tries here it tries through wasi:filesystem itself."""
import threading

import pytest

from harness import fetch, guest, serving, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "files"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-client')}"
files = ["data/*", "door/*"]
"""
FILES = {"data/hello": "hello", "door/file": "ours", "secret": "secret"}
NO_ENTRY, NOT_PERMITTED, READ_ONLY = 20, 31, 33

#: Names that must not lead out of the folder.
OUTSIDE = ("../secret", "/etc/passwd", "data/../../secret", "data/../../../../../../etc/passwd",
           "./../secret", "..", "data/../..", "//etc/passwd", "/", "data/./../../secret")


def served_with(tmp_path, workers, *args):
    return serving(write_app(tmp_path / "app", APP, FILES), tmp_path, *args, workers=workers)


@pytest.fixture
def reading(tmp_path, workers):
    with served_with(tmp_path, workers) as server:
        yield server


@pytest.fixture
def writing(tmp_path, workers):
    with served_with(tmp_path, workers, "--allow-transient-write") as server:
        yield server


def fs(server, op, path, other=""):
    r = fetch(server, f"/fs?{op}&{path.replace('%', '%25')}&{other}")
    return r.text if r.status == 200 else int(r.text.split()[1])


def test_reads(reading):
    assert fs(reading, "read", "data/hello") == "hello"
    assert fs(reading, "read", "data/../data/hello") == "hello"
    assert fs(reading, "stat", "data/hello") == "6 5"
    assert set(fs(reading, "list", "data").split()) == {"hello"}
    assert fs(reading, "read", "data/none") == NO_ENTRY


@pytest.mark.parametrize("op, path, other", [
    ("write", "data/hello", "x"), ("write", "new", "x"), ("mkdir", "new", ""),
    ("rmdir", "data", ""), ("unlink", "data/hello", ""), ("rename", "data/hello", "data/other"),
    ("link", "data/hello", "data/other"), ("symlink", "hello", "data/other")])
def test_read_only_unless_allowed(reading, op, path, other):
    assert fs(reading, op, path, other) in (READ_ONLY, NOT_PERMITTED)
    assert fs(reading, "read", "data/hello") == "hello"
    assert set(fs(reading, "list", "data").split()) == {"hello"}


def test_written_files_are_a_copy(writing, tmp_path):
    assert fs(writing, "write", "data/hello", "changed") == ""
    assert fs(writing, "write", "data/new", "new") == ""
    assert fs(writing, "read", "data/hello") == "changed"
    assert fs(writing, "mkdir", "data/deep") == ""
    assert fs(writing, "rename", "data/new", "data/deep/er") == ""
    assert fs(writing, "link", "data/deep/er", "data/same") == ""
    assert fs(writing, "read", "data/same") == "new"
    assert fs(writing, "unlink", "data/deep/er") == ""
    assert fs(writing, "rmdir", "data/deep") == ""
    assert (tmp_path / "app/data/hello").read_text() == "hello"


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("op", ["read", "stat", "list", "write", "mkdir", "unlink", "rmdir",
                                "rename", "link", "symlink", "readlink"])
def test_no_path_leads_outside(shared_reading, shared_writing, op, path):
    for server in (shared_reading, shared_writing):
        got = fs(server, op, path, "data/here")
        if op == "symlink" and got == "":  # a link may point there; it is not followed
            got = fs(server, "read", "data/here")
            assert fs(server, "unlink", "data/here") == ""
        assert isinstance(got, int), (op, path, got)
        if op in ("rename", "link"):
            assert isinstance(fs(server, op, "data/hello", path), int)
        if op == "symlink":
            assert isinstance(fs(server, op, "hello", path), int)
        assert fs(server, "read", "data/hello") == "hello"


@pytest.fixture(scope="module")
def shared_reading(tmp_path_factory, workers):
    with served_with(tmp_path_factory.mktemp("reading"), workers) as server:
        yield server


@pytest.fixture(scope="module")
def shared_writing(tmp_path_factory, workers):
    with served_with(tmp_path_factory.mktemp("writing"), workers,
                     "--allow-transient-write") as server:
        yield server


def test_links_stay_inside(writing):
    """A link may be made that points anywhere inside; one that leads outside is not followed."""
    assert fs(writing, "symlink", "hello", "data/link") == ""
    assert fs(writing, "read", "data/link") == "hello"
    assert fs(writing, "readlink", "data/link") == "hello"
    for i, target in enumerate(("../../secret", "/etc/passwd", "/proc/self/cwd/../etc/passwd",
                                "../..")):
        name = f"data/out{i}"
        made = fs(writing, "symlink", target, name)
        if made == "":
            for op in ("read", "stat", "list"):
                assert isinstance(fs(writing, op, name), int), (op, target)
            assert isinstance(fs(writing, "write", name, "x"), int)
            assert isinstance(fs(writing, "read", f"{name}/etc/passwd"), int)
        else:
            assert made == NOT_PERMITTED
    # a loop, and a link to a link
    assert fs(writing, "symlink", "loop", "data/loop") == ""
    assert isinstance(fs(writing, "read", "data/loop"), int)
    assert fs(writing, "symlink", "link", "data/link2") == ""
    assert fs(writing, "read", "data/link2") == "hello"


def test_races_lead_nowhere(writing, workers):
    """One guest exchanges a folder and a link to the outside while another opens through it."""
    made = fs(writing, "symlink", "../../../../../../../../etc", "outside")
    if made != "":  # absolute and outward links are refused: then a link to a sibling races
        assert fs(writing, "symlink", "data", "outside") == ""
    before = fs(writing, "list", ".")
    results = []

    def probe():
        for _ in range(8):
            results.append([int(n) for n in fetch(writing, "/fs-probe?500").text.split()])
    swapper = threading.Thread(target=lambda: [fetch(writing, "/fs-swap?500") for _ in range(8)])
    probers = [threading.Thread(target=probe) for _ in range(2)]
    for t in (swapper, *probers):
        t.start()
    for t in (swapper, *probers):
        t.join()
    ours, refused, theirs = (sum(column) for column in zip(*results, strict=True))
    assert theirs == 0 and ours > 0, (ours, refused, theirs)
    if workers > 1:
        assert refused > 0  # the race did happen
    assert set(before.split()) == {"data", "door", "outside"}


def test_no_files_no_folders(tmp_path, workers):
    app = write_app(tmp_path / "app", APP.replace('files = ["data/*", "door/*"]', ""))
    with serving(app, tmp_path, workers=workers) as server:
        assert fetch(server, "/fs?read&data/hello").text == "no preopens"
