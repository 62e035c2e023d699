"""What the builders of all languages share: running tools, digests, the cache, targets.

A change here rebuilds every guest (its text is part of each digest), so it holds little.
"""
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "ebb"
VENV = pathlib.Path(sys.prefix)
SITE = VENV / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
WIT_DEPS = SITE / "spin_sdk" / "wit" / "deps"  # the WIT text of everything Spin offers
GUESTS = ROOT / "tests" / "guests"
EXAMPLES = ROOT / "examples"
OUT = ROOT / "build" / "guests"


class Failed(Exception):
    pass


class Target(typing.NamedTuple):
    """One guest: build(out) makes it from the sources, by means of a module and of tools."""
    name: str
    module: str  # the __file__ of the language's builder
    sources: list  # files and folders
    more: list  # further strings that matter, such as the versions of tools
    build: typing.Callable[[pathlib.Path], None]

    def home(self):
        """Its folder in the cache. Another digest is another folder."""
        sources = [*self.sources, pathlib.Path(self.module), pathlib.Path(__file__)]
        return CACHE / "guests" / f"{self.name}-{digest(sources, *self.more)}"


def run(*args, cwd=ROOT, **env):
    """Runs a tool; its output is shown only when it fails."""
    done = subprocess.run([str(a) for a in args], cwd=cwd, env={**os.environ, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, args))}\n{done.stdout}")
    return done.stdout


def digest(paths, *more):
    """SHA-256 over files (folders: every file below, by name) and further strings."""
    h = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(
            p for p in path.rglob("*") if p.is_file() and "node_modules" not in p.parts)
        for file in files:
            h.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    for text in more:
        h.update(f"{text}\0".encode())
    return h.hexdigest()[:16]


@contextlib.contextmanager
def made_whole(path):
    """Gives a temporary folder that becomes `path` if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as tmp:
        new = pathlib.Path(tmp) / "new"
        new.mkdir()
        yield new
        shutil.rmtree(path, ignore_errors=True)
        new.rename(path)


def venv(name):
    """The folder of the Python environment that tools/python-NAME.txt describes."""
    return pathlib.Path(os.environ[f"EBB_VENV_{name.upper()}"])


def validate(component):
    run("wasm-tools", "validate", "--features", "all", component)


def component_new(core, out):
    """A component of a core module that carries its world, with the preview 1 adapter."""
    adapter = pathlib.Path(os.environ["EBB_DEPS"]) / "adapter/wasi_snapshot_preview1.reactor.wasm"
    run("wasm-tools", "component", "new", core, "--adapt", f"wasi_snapshot_preview1={adapter}",
        "-o", out)
    validate(out)
