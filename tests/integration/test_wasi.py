"""Every function of WASI 0.2 succeeds in one test of the host and fails in another: what became of
each call is written down by the tests themselves (tests/host_kit.h) and compared with the WIT."""
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from harness import EBB, PATIENCE_S, ROOT

WIT = Path(sysconfig.get_paths()["purelib"]) / "spin_sdk" / "wit" / "deps"
TESTS = ("host_client", "host_filesystem", "host_hostile", "host_http", "host_io", "host_sockets")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    for name in TESTS:
        done = subprocess.run([Path(EBB).parent / f"test_{name}"], capture_output=True, text=True,
                              cwd=ROOT, env=os.environ | {"EBB_OUTCOMES": str(folder)},
                              timeout=PATIENCE_S * 4, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
    return folder


def check(folder):
    done = subprocess.run([sys.executable, ROOT / "tools/wit_functions.py", WIT, "--tests",
                           "--outcomes", folder], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_each_function_succeeds_and_fails(outcomes):
    status, said = check(outcomes)
    assert status == 0, said
    assert "179 functions, 0 without a row, 0 that no test names" in said


def test_a_missing_failure_is_seen(outcomes, tmp_path):
    for file in outcomes.iterdir():
        lines = [x for x in file.read_text().splitlines()
                 if not x.endswith("[method]fields.set error")]
        (tmp_path / file.name).write_text("\n".join(lines))
    status, said = check(tmp_path)
    assert status == 1 and "wasi:http/types#[method]fields.set never fails in a test" in said
