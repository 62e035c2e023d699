"""What the processes may not do, seen from outside (design section 2)."""
import subprocess
from pathlib import Path

import pytest

from harness import EBB, SANITIZED, fetch, guest, serving


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_no_component_api_is_called():
    """ebb brings its own component model: the binary imports no symbol of Wasmtime's."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", EBB], capture_output=True, text=True,
                             check=True).stdout
    assert "wasmtime_module_deserialize_file" in symbols
    assert "wasmtime_component" not in symbols


def test_workers_run_under_seccomp_without_new_privileges(tmp_path, workers):
    with serving(guest("c-kitchen"), tmp_path, workers=workers) as server:
        assert fetch(server, "/hello").status == 200
        for pid in server.children("worker"):
            status = status_of(pid)
            assert status["NoNewPrivs"] == "1"
            # sanitizer runtimes need calls that the filter refuses, so they run without it
            assert status["Seccomp"] == ("0" if SANITIZED else "2")


@pytest.mark.parametrize("role", ["decode", "compile"])
def test_a_role_without_its_descriptors_says_so(role):
    """The roles trust nothing about how they were started."""
    done = subprocess.run([EBB, f"@{role}"], capture_output=True, timeout=60, close_fds=True)
    assert done.returncode != 0
