"""Go: the stock toolchain builds a core module for WASI preview 1, which is given its world and
made a component. The bindings are Go source of our own, in examples/go/wasi.

Every folder of tests/guests/go with a main.go is a guest go-NAME; examples/go is example-go.
"""
import functools
import os
import pathlib
import tempfile

from kit import CACHE, EXAMPLES, GUESTS, WIT_DEPS, Target, component_new, run, venv

FOLDER = GUESTS / "go"
PARTS = ("app.wit", "go.mod", "main.go", "wasi", "wasihttp")  # of the example


def toolchain():
    (root,) = (venv("guests") / "lib").glob("python*/site-packages/go")
    return root


def build(folder, wit, out):
    """folder: of the main package; wit: a file whose world is named 'guest'."""
    root = toolchain()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        (tmp / "wit").mkdir()
        (tmp / "wit" / "deps").symlink_to(WIT_DEPS)
        (tmp / "wit" / "world.wit").write_bytes(wit.read_bytes())
        run(root / "bin/go", "build", "-buildmode=c-shared", "-trimpath",
            "-ldflags=-checklinkname=0 -s -w", "-o", tmp / "core.wasm", ".", cwd=folder,
            GOOS="wasip1", GOARCH="wasm", GOROOT=str(root), GOCACHE=str(CACHE / "guests/go-build"),
            GOTOOLCHAIN="local", GOPROXY="off", GOFLAGS="-buildvcs=false", GOENV="off")
        run("wasm-tools", "component", "embed", "--world", "guest", tmp / "wit",
            tmp / "core.wasm", "-o", tmp / "embedded.wasm")
        component_new(tmp / "embedded.wasm", out)


def targets():
    go = str(toolchain() / "bin/go")
    versions = [run(go, "version", cwd="/", GOROOT=str(toolchain())),
                run("wasm-tools", "--version")]
    example, wit = EXAMPLES / "go", FOLDER / "wit/world.wit"
    yield Target("example-go", __file__, [p for p in sorted(example.iterdir()) if p.name in PARTS],
                 versions, functools.partial(build, example, example / "app.wit"))
    for main in sorted(FOLDER.glob("*/main.go")):
        sources = [main.parent, wit, FOLDER / "go.mod", example / "wasi"]
        yield Target(f"go-{main.parent.name}", __file__, sources, versions,
                     functools.partial(build, main.parent, wit))
