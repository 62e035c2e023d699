"""Component suites in the .wast format, run by build/ebb-wast."""
import json
import subprocess
from pathlib import Path

from harness import EBB, environment
from smith import WASM_TOOLS

EBB_WAST = Path(EBB).parent / "ebb-wast"


def convert(wast, into):
    """Splits a .wast file into commands and binaries."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run([WASM_TOOLS, "json-from-wast", wast, "--wasm-dir", into,
                    "-o", into / f"{wast.stem}.json"], check=True)


def run(folder):
    """The report of every suite in a folder: counts, and the lines that did not pass."""
    done = subprocess.run([EBB_WAST, "--json", folder], capture_output=True, text=True,
                          env=environment(), timeout=600)
    assert done.returncode in (0, 1), f"status {done.returncode}: {done.stderr[-4000:]}"
    return json.loads(done.stdout)
