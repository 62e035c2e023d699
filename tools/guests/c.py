"""C: wit-bindgen makes the bindings from a WIT world, clang-22 and Debian's wasi-libc the core
module, 'wasm-tools component new' the component.

Every tests/guests/c/NAME.c with a NAME.wit beside it, which holds a world NAME, is c-NAME. An
example may have several C files; its world is 'app'.
"""
import functools
import pathlib
import re
import shutil
import tempfile

from kit import CACHE, EXAMPLES, GUESTS, WIT_DEPS, Target, component_new, made_whole, run

WIT_BINDGEN = "0.63.0"


def wit_bindgen():
    """The generator, built once; only its C part and unoptimised: a minute and a half."""
    home = CACHE / f"wit-bindgen-{WIT_BINDGEN}"
    if not (home / "bin" / "wit-bindgen").exists():
        print("   building wit-bindgen (once)", flush=True)
        with made_whole(home) as new:
            run("/usr/bin/cargo", "install", f"wit-bindgen-cli@{WIT_BINDGEN}", "--locked",
                "--debug", "--no-default-features", "--features", "c", "--root", new, "--no-track",
                cwd="/", CARGO_PROFILE_DEV_DEBUG="0", RUSTC="/usr/bin/rustc",
                CARGO_TARGET_DIR=str(new / "target"))
            shutil.rmtree(new / "target")
    return home / "bin" / "wit-bindgen"


def build(sources, wit, out):
    """sources: the C files; wit: a file with a world of its own name."""
    generator = wit_bindgen()
    world = wit.stem
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        (tmp / "wit").mkdir()
        shutil.copy(wit, tmp / "wit")
        (tmp / "wit" / "deps").symlink_to(WIT_DEPS)
        run(generator, "c", "--world", world, "--out-dir", tmp, tmp / "wit")
        run("clang-22", "--target=wasm32-wasi", "-mexec-model=reactor", "-std=gnu17", "-Oz", "-g0",
            "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-Wno-deprecated",
            "-fuse-ld=lld", "-I", tmp, *sources, tmp / f"{world}.c",
            tmp / f"{world}_component_type.o", "-Wl,--strip-debug",
            "-o", tmp / "core.wasm")
        component_new(tmp / "core.wasm", out)


def headers(source):
    """The headers of our own that it includes."""
    names = re.findall(r'^#include "(.*)"', source.read_text(), re.M)
    return [source.parent / n for n in names if (source.parent / n).exists()]


def targets():
    tools = [run("clang-22", "--version"), run("wasm-tools", "--version"), WIT_BINDGEN]
    hello = EXAMPLES / "hello/hello.c"
    found = [("hello", [hello], hello.with_suffix(".wit"))]
    found += [("example-c", sorted(EXAMPLES.glob("c/*.c")), EXAMPLES / "c/app.wit")]
    found += [(f"c-{wit.stem}", [wit.with_suffix(".c")], wit)
              for wit in sorted(GUESTS.glob("c/*.wit"))]
    for name, sources, wit in found:
        included = {header for source in sources for header in headers(source)}
        yield Target(name, __file__, [*sources, wit, *sorted(included)], tools,
                     functools.partial(build, sources, wit))
