"""Components made of two that were built before: NAME-kitchen-plain is NAME-kitchen composed with
c-novariables, which offers Spin's interfaces and nothing in them."""
import functools

from kit import OUT, Failed, Target, run

PLAIN = ("c", "go", "js", "python", "rust")


def build(parts, out):
    for part in parts:
        if not part.exists():
            raise Failed(f"needs {part.stem}, which was not built")
    run("wasm-tools", "compose", parts[0], "-d", parts[1], "-o", out)


def targets():
    """Asked for when the parts are there: their digests are those of the built components."""
    for language in PLAIN:
        parts = [OUT / f"{language}-kitchen.wasm", OUT / "c-novariables.wasm"]
        yield Target(f"{language}-kitchen-plain", __file__, [p for p in parts if p.exists()],
                     [run("wasm-tools", "--version")], functools.partial(build, parts))
