"""Builds the test guests and examples into build/guests/, each by itself: one that fails says so.

  guests [NAME...]     all guests, or those named; 'hello' also renews examples/hello/app.wasm

One module a language says which guests there are and how they are built: c.py, rust.py and so on;
composed.py joins built ones. A result is kept in the cache under a digest of its sources, of its
language's module, of kit.py and of the versions of the tools, so a second run only copies, and a
new guest or language rebuilds no other.
"""
import concurrent.futures
import os
import shutil
import sys
import time

import c
import composed
import core
import go
import js
import python
import rust
from kit import EXAMPLES, OUT, VENV, Failed, made_whole

#: Built side by side, the guests of one language in turn: those that take longest come first.
LANGUAGES = (rust, python, js, go, c)


def make(target, renew):
    """Builds one or takes it from the cache, and says so. False: it failed."""
    begin, how = time.monotonic(), "kept"
    try:
        home = target.home()
        if not home.exists():
            how = "built"
            with made_whole(home) as new:
                target.build(new / "app.wasm")
    except (Failed, OSError) as e:
        print(f"   {target.name:<18} FAILED: {e}", flush=True)
        return False
    shutil.copy(home / "app.wasm", OUT / f"{target.name}.wasm")
    if renew:
        shutil.copy(home / "app.wasm", EXAMPLES / "hello/app.wasm")
    size, took = (home / "app.wasm").stat().st_size, time.monotonic() - begin
    print(f"   {target.name:<18} {size:>10,} bytes  {how} in {took:.1f} s", flush=True)
    return True


def main():
    os.environ["PATH"] = f"{VENV}/bin:{os.environ['PATH']}"
    wanted, known, failed = sys.argv[1:], [], []
    OUT.mkdir(parents=True, exist_ok=True)

    def make_all(module):
        for target in module.targets():
            known.append(target.name)
            if not wanted or target.name in wanted:
                if not make(target, target.name == "hello" and wanted):
                    failed.append(target.name)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make_all, LANGUAGES))
    make_all(composed)
    make_all(core)
    for name in set(wanted) - set(known):
        failed.append(name)
        print(f"   no guest '{name}'; there are: {', '.join(sorted(known))}")
    return f"{len(failed)} guests failed: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
