"""examples/hello: the committed component is what its source makes, by what it asks and answers."""
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from harness import ROOT, guest, serving

EXAMPLE = ROOT / "examples" / "hello"


def wit(component):
    tool = Path(sys.prefix) / "bin" / "wasm-tools"
    return subprocess.run([tool, "component", "wit", component], capture_output=True, text=True,
                          check=True).stdout


def answers(url, count=20):
    """What stays the same over several answers, and the numbers that do not."""
    seen, numbers = set(), []
    for _ in range(count):
        with urllib.request.urlopen(url) as response:
            body = response.read().decode()
            found = re.fullmatch(r"(Hello from C! Your number is )(\d{20})\.\n", body)
            assert found, body
            numbers.append(found[2])
            seen.add((response.status, found[1], response.headers["content-type"],
                      response.headers["content-length"]))
    return seen, numbers


def test_asks_the_same_of_its_host():
    assert wit(EXAMPLE / "app.wasm") == wit(guest("hello"))


def test_is_small():
    assert os.path.getsize(EXAMPLE / "app.wasm") < 32 * 1024


@pytest.mark.parametrize("app", ["committed", "rebuilt"])
def test_answers_the_same(app, tmp_path, workers):
    path = EXAMPLE if app == "committed" else guest("hello")
    with serving(path, tmp_path, workers=workers) as server:
        seen, numbers = answers(server.url)
    assert seen == {(200, "Hello from C! Your number is ", "text/plain", "51")}
    assert len(set(numbers)) == len(numbers), "a number came twice: not drawn for each request"
