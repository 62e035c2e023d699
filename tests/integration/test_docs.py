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


#: Read from its top to its end, with one node: test_operating.
WHOLE = ROOT / "docs/operate.md"


def blocks():
    for page in PAGES:
        if page == WHOLE:
            continue
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
@pytest.mark.parametrize("lines", list(blocks()))
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


@pytest.mark.skipif(SANITIZED, reason="runs once, with the binary that readers have")
def test_operating(tmp_path):
    """docs/operate.md: the first block starts the node, the others are typed beside it."""
    found = re.findall(r"^```sh\n(.*?)^```$", WHOLE.read_text(), re.M | re.S)
    assert found[0].split() == ["build/ebb", "serve"] and len(found) >= 5
    data, log_path = tmp_path / "data", tmp_path / "node.log"
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "DATA": str(data)}
    with open(log_path, "wb") as log:
        process = subprocess.Popen([EBB, "serve", "--data", str(data), "--listen", "127.0.0.1:0",
                                    "--admin", "127.0.0.1:0"], stdout=log, stderr=log, env=env)
    try:
        said = wait_for(lambda: "ebb deploy" in log_path.read_text() and log_path.read_text(),
                        "the node's first words")
        admin = re.search(r"^Admin +(http://[0-9.:]+)", said, re.M)[1]
        port = re.search(r"^Apps +\S+?:(\d+)", said, re.M)[1]
        env["TOKEN"] = re.search(r"ebb_[A-Za-z0-9_-]{43}", said)[0]
        for block in found[1:]:
            command = block.replace("build/ebb", EBB).replace("http://127.0.0.1:3001", admin)
            command = command.replace(".localhost:3000", f".localhost:{port}")
            subprocess.run(["bash", "-euc", command.replace("curl ", "curl -fsS ")], cwd=ROOT,
                           check=True, timeout=300, env=env, stdin=subprocess.DEVNULL)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_there_are_shell_blocks():
    assert len(list(blocks())) >= 3
