"""The stage `onecore`: unit and integration tests, three times, on one core beside a process that
takes as much of it as it gets. What only passes because a machine is quick and idle fails here."""
import contextlib
import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = 0
ROUNDS = 3
HOG = ["sh", "-c", "while :; do :; done"]
PATIENCE_S = 7200


@contextlib.contextmanager
def hog():
    process = subprocess.Popen(["taskset", "-c", str(CORE), *HOG])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(command, log, env=None):
    with open(log, "wb") as out:
        done = subprocess.run(["taskset", "-c", str(CORE), *map(str, command)], cwd=ROOT,
                              stdout=out, stderr=subprocess.STDOUT, timeout=PATIENCE_S,
                              env=os.environ | (env or {}))
    tail = Path(log).read_text(errors="replace")[-3000:]
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{tail}"


def one_core(state, work, arguments):
    """Unit and integration tests pass three times on one core beside a CPU hog."""
    rounds = state.setdefault("rounds", [])
    while len(rounds) < ROUNDS:
        with hog() as busy:
            run(["meson", "test", "-C", "build", "--no-rebuild", "--num-processes", "1",
                 "--timeout-multiplier", "5"], work / "unit.log")
            yield f"round {len(rounds) + 1} of {ROUNDS}: unit tests passed"
            report = work / "integration.xml"
            run([Path(sys.prefix) / "bin" / "pytest", "-q", "tests/integration", "tests/sim", "-p",
                 "no:cacheprovider", f"--junitxml={report}"], work / "integration.log",
                {"EBB_BIN": str(ROOT / "build" / "ebb")})
            suite = xml.parse(report).getroot().find("testsuite").attrib
            said = {k: int(suite[k]) for k in ("tests", "failures", "errors", "skipped")}
            assert said["failures"] == said["errors"] == said["skipped"] == 0, said
            assert busy.poll() is None, "the hog ended"
        rounds.append(said)
        yield f"round {len(rounds)} of {ROUNDS}: {said}"
    state["result"] = {"core": CORE, "hog": " ".join(HOG), "rounds": rounds}
    yield "done"
