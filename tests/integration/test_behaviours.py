"""The list of what Spin does (behaviours.tsv): each section has its lines, every line names a test,
and every test it names is there and is run."""
import re
import subprocess
import sys
from pathlib import Path

from harness import ROOT

HERE = Path(__file__).parent
SECTIONS = {*(f"1.{i}" for i in range(1, 10)), "3.1", "3.2", "3.3", "3.4", "3.7", "4.2"}


def rows():
    lines = (HERE / "behaviours.tsv").read_text().splitlines()
    return [x.split("\t") for x in lines if x and not x.startswith("#")]


def names(nodes):
    """Of tests as pytest knows them: FILE::FUNCTION, with its case, the case without workers."""
    for node in nodes:
        name = node.removeprefix("tests/integration/")
        yield from (name, name.partition("[")[0], re.sub(r"workers[12]-|-workers[12]", "", name))


def of_units():
    for path in (ROOT / "tests" / "unit").glob("*.c"):
        for case in re.findall(r"\b(?:T|cmocka_unit_test)\((\w+)\)", path.read_text()):
            yield f"unit:{path.stem}/{case}"


def collected():
    done = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "-p",
                           "no:cacheprovider", HERE], capture_output=True, text=True, check=True,
                          cwd=ROOT)
    return done.stdout.splitlines()


def test_each_line_is_whole():
    assert {len(x) for x in rows()} == {3}
    assert all(all(x) for x in rows())
    assert {x[0] for x in rows()} == SECTIONS
    assert len({x[1] for x in rows()}) == len(rows()), "a behaviour is listed twice"


def test_each_test_is_there(request):
    wanted = {test for _, _, tests in rows() for test in tests.split(" ")}
    missing = wanted - {*of_units(), *names(x.nodeid for x in request.session.items)}
    if missing:  # this is a run of some tests only
        missing -= {*names(collected())}
    assert not missing
