"""Python with the Spin SDK 3.4.1: a component of 38 MB whose world has all of Spin's interfaces.

It decodes, flattens to a valid module, and answers its documented text; what of Spin the host does
not offer is bound to traps, by an option for tests.
"""
import subprocess

from harness import EBB, fetch, guest, serving
from smith import WASM_TOOLS
from test_flatten import BUILD

MB = 1 << 20


def test_python_of_the_spin_sdk_flattens(tmp_path):
    path = guest("python-spin-state")
    assert path.stat().st_size > 30 * MB
    done = subprocess.run([BUILD / "ebb-flatten", path, tmp_path / "out"], capture_output=True,
                          text=True, timeout=300, check=True)
    assert "14 core modules" in done.stdout, done.stdout
    (module,) = tmp_path.glob("out.*.wasm")
    subprocess.run([WASM_TOOLS, "validate", "--features", "all", module], check=True)


def test_python_of_the_spin_sdk_answers(workers, tmp_path):
    with serving(guest("python-spin-state"), tmp_path, "--test-stub-imports",
                 workers=workers) as server:
        for _ in range(4):
            r = fetch(server, "/hello")
            assert (r.status, r.text) == (200, "Hello from Spin in Python!\n")
        assert "imports that ebb does not offer trap when called" in server.log()


def test_the_option_is_not_for_users():
    done = subprocess.run([EBB, "up", "--help"], capture_output=True, text=True, check=True)
    assert "--max-instance-memory" in done.stdout and "stub" not in done.stdout
