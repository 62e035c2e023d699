"""Every function and version of the interfaces to state succeeds in a test of the host and fails in
one: what became of each call is compared with the list in tools/store_functions.py."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import EBB, PATIENCE_S, ROOT


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    done = subprocess.run([Path(EBB).parent / "test_host_state"], capture_output=True, text=True,
                          cwd=ROOT, env=os.environ | {"EBB_OUTCOMES": str(folder)},
                          timeout=PATIENCE_S * 4, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def check(folder):
    done = subprocess.run([sys.executable, ROOT / "tools/store_functions.py", folder],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_each_function_succeeds_and_fails(outcomes):
    status, said = check(outcomes)
    assert status == 0, said
    assert "39 functions, 0 proofs missing" in said


def test_a_missing_proof_is_seen(outcomes, tmp_path):
    for file in outcomes.iterdir():
        lines = [x for x in file.read_text().splitlines()
                 if x not in ("wasi:config/store@0.2.0-draft-2024-09-27#get-all error",
                              "fermyon:spin/sqlite#open ok")]
        (tmp_path / file.name).write_text("\n".join(lines))
    status, said = check(tmp_path)
    assert status == 1
    assert "wasi:config/store@0.2.0-draft-2024-09-27#get-all never fails in a test" in said
    assert "fermyon:spin/sqlite#open never succeeds in a test" in said
