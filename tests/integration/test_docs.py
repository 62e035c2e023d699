"""Every shell block of README and docs is run, as a reader would run it: from the top of the clone.

Two things differ from a reader. A command that serves until it is stopped (`ebb up`, `./dev run`)
is started, waited for until it answers, and stopped when the block ends; and what would run this
test again, or measure for minutes, is only looked up in `./dev help`.
"""
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from harness import EBB, ROOT, SANITIZED, wait_for

PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "HACKING.md",
         *sorted((ROOT / "docs").glob("**/*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
LONG = ("test", "bench", "soak", "fuzz", "asan", "clean")


def blocks():
    for page in PAGES:
        found = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S)
        for number, block in enumerate(found, 1):
            lines = [re.sub(r"\s+#\s.*$", "", line).strip() for line in block.splitlines()]
            yield pytest.param([line for line in lines if line and not line.startswith("#")],
                               id=f"{page.relative_to(ROOT)}-{number}")


def serve(line, log):
    """Starts a serving command on a port of the system's choice; gives process and address."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {line.replace('build/ebb', EBB)} --listen 127.0.0.1:0"], cwd=ROOT,
        stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def address():
        assert process.poll() is None, Path(log.name).read_text()
        found = re.search(r"http://127\.0\.0\.1:\d+", Path(log.name).read_text())
        return found and found[0]
    return process, wait_for(address, f"'{line}' to say where it listens", patience=300)


@pytest.mark.skipif(SANITIZED, reason="runs once, with the binary that readers have")
@pytest.mark.parametrize("lines", blocks())
def test_shell_block(lines, tmp_path):
    servers, address = [], None
    try:
        for number, line in enumerate(lines):
            words = line.split()
            if words[0] == "./dev" and words[1] in LONG:
                text = subprocess.run(["./dev", "help"], cwd=ROOT, capture_output=True, text=True,
                                      check=True).stdout
                assert re.search(rf"^  {words[1]}\b", text, re.M), f"no command {words[1]}"
            elif line == "./dev run" or line.startswith("build/ebb up"):
                with open(tmp_path / f"{number}.log", "wb") as log:
                    process, address = serve(line, log)
                servers.append(process)
                with urllib.request.urlopen(address) as response:
                    assert response.status == 200
            else:
                command = line.replace("build/ebb", EBB)
                if address:
                    command = re.sub(r"http://127\.0\.0\.1:3000", address, command)
                subprocess.run(["bash", "-euc", command], cwd=ROOT, check=True, timeout=600,
                               env={**os.environ, "JOBS": "2"}, stdin=subprocess.DEVNULL)
    finally:
        for process in servers:
            process.terminate()
            assert process.wait(60) in (0, 143), f"ended with {process.returncode}"


def test_there_are_shell_blocks():
    assert len(list(blocks())) >= 3
