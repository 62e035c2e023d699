"""The list of what Spin does (behaviours.tsv): each section has its lines, every line names a test,
and every test it names is there and is run."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import ROOT

HERE = Path(__file__).parent
SECTIONS = {*(f"1.{i}" for i in range(1, 10)), "3.2", "3.3", "3.4", "3.7", "4.2"}


def rows():
    lines = (HERE / "behaviours.tsv").read_text().splitlines()
    return [x.split("\t") for x in lines if x and not x.startswith("#")]


@pytest.fixture(scope="module")
def there():
    """Every test: as FILE::FUNCTION, with its case but without workers, and with both; those of
    units as pytest never sees them."""
    done = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "-p",
                           "no:cacheprovider", HERE], capture_output=True, text=True, check=True,
                          cwd=ROOT)
    found = set()
    for line in done.stdout.splitlines():
        name = line.removeprefix("tests/integration/")
        found |= {name, name.partition("[")[0], re.sub(r"workers[12]-|-workers[12]", "", name)}
    for path in (ROOT / "tests" / "unit").glob("*.c"):
        for case in re.findall(r"\b(?:T|cmocka_unit_test)\((\w+)\)", path.read_text()):
            found.add(f"unit:{path.stem}/{case}")
    return found


def test_each_line_is_whole():
    assert {len(x) for x in rows()} == {3}
    assert all(all(x) for x in rows())
    assert {x[0] for x in rows()} == SECTIONS
    assert len({x[1] for x in rows()}) == len(rows()), "a behaviour is listed twice"


def test_each_test_is_there(there):
    missing = [(behaviour, test) for _, behaviour, tests in rows() for test in tests.split(" ")
               if test not in there]
    assert not missing
