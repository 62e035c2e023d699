"""Rust: Debian's cargo and rustc. Debian has no standard library for WASI, so it is built from
rust-web-src (-Zbuild-std) against Debian's wasi-libc, in a sysroot made of links.

Every member of the workspace tests/guests/rust is a guest rust-NAME. Examples are packages of their
own; here they are built as further members, so that one list of pinned versions holds for all. They
share a target folder, so what they have in common is compiled once.
"""
import functools
import pathlib
import re
import shutil
import tempfile

from kit import CACHE, EXAMPLES, GUESTS, Target, component_new, made_whole, run

WORKSPACE = GUESTS / "rust"
EXAMPLE_FOLDERS = {"example": EXAMPLES / "rust", "example-back": EXAMPLES / "mixed/back"}


def sysroot():
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


def locked_packages():
    """Cargo.lock.in without the workspace's own members: a new member changes no other."""
    entries = (WORKSPACE / "Cargo.lock.in").read_text().split("\n\n")
    return "\n\n".join(entry for entry in entries if "\nchecksum = " in entry)


def cargo_lock():
    """The text of Cargo.lock from Cargo.lock.in, which leaves out where packages come from: the
    client's own default, which a package of one dependency tells us."""
    with tempfile.TemporaryDirectory() as tmp:
        probe = pathlib.Path(tmp)
        (probe / "src").mkdir()
        (probe / "src" / "lib.rs").touch()
        (probe / "Cargo.toml").write_text('[package]\nname = "probe"\nversion = "0.0.0"\n'
                                          '[dependencies]\ncfg-if = "1"\n')
        run("/usr/bin/cargo", "generate-lockfile", cwd=probe)
        source = re.search('^source = ".*"$', (probe / "Cargo.lock").read_text(), re.M)[0]
    text = (WORKSPACE / "Cargo.lock.in").read_text()
    return re.sub(r"^(version = .*)\n(checksum = )", rf"\1\n{source}\n\2", text, flags=re.M)


def build(package, out):
    root = sysroot()
    target = CACHE / "guests" / "rust-target"
    work = CACHE / "guests" / "rust-work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(WORKSPACE, work)
    for name, folder in EXAMPLE_FOLDERS.items():
        shutil.copytree(folder, work / name, ignore=shutil.ignore_patterns(".spin"))
    (work / "Cargo.lock").write_text(cargo_lock())
    run("/usr/bin/cargo", "build", "--release", "--locked", "-p", package,
        "--target", "wasm32-wasip1", "-Zbuild-std=std,panic_abort",
        cwd=work, RUSTC_BOOTSTRAP="1", CARGO_TARGET_DIR=str(target),
        RUSTC=str(root / "bin" / "rustc"), RUSTUP_TOOLCHAIN="",
        CARGO_TARGET_WASM32_WASIP1_LINKER=str(root / "bin" / "wasm-ld"))
    component_new(target / "wasm32-wasip1" / "release" / f"{package.replace('-', '_')}.wasm", out)


def targets():
    more = [run("/usr/bin/rustc", "--version"), run("wasm-tools", "--version"), locked_packages()]
    packages = [(f"rust-{m.parent.name}", m.parent.name, m.parent)
                for m in sorted(WORKSPACE.glob("*/Cargo.toml"))]
    packages += [("example-rust", "example", EXAMPLE_FOLDERS["example"]),
                 ("example-mixed-back", "example-back", EXAMPLE_FOLDERS["example-back"])]
    for name, package, folder in packages:
        sources = [folder / "Cargo.toml", folder / "src", WORKSPACE / "Cargo.toml"]
        yield Target(name, __file__, sources, more, functools.partial(build, package))
