"""Core modules: what the C and Rust kitchens are before 'wasm-tools component new'; ebb makes
components of them when it loads them."""
import functools
import shutil
import unittest.mock

import c
import rust
from kit import GUESTS, Target, run


def build(language, arguments, out):
    with unittest.mock.patch.object(language, "component_new", shutil.copy):
        language.build(*arguments, out)


def targets():
    tools = [run("clang-22", "--version"), run("/usr/bin/rustc", "--version")]
    kitchen = GUESTS / "c" / "kitchen.c"
    yield Target("c-kitchen-core", __file__, [kitchen, kitchen.with_suffix(".wit")], tools,
                 functools.partial(build, c, ([kitchen], kitchen.with_suffix(".wit"))))
    yield Target("rust-kitchen-core", __file__, [rust.WORKSPACE / "kitchen",
                                                 rust.WORKSPACE / "Cargo.toml"], tools,
                 functools.partial(build, rust, ("kitchen",)))
