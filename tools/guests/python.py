"""Python: componentize-py makes a component of CPython, the app and the bindings of its world, and
runs the app's imports once, at build time.

Every tests/guests/python/NAME.py is the guest python-NAME, with the world NAME of wit/world.wit.
"""
import functools
import os
import pathlib
import shutil
import tempfile

from kit import GUESTS, WIT_DEPS, Target, run, validate, venv

FOLDER = GUESTS / "python"


def build(source, wit, out):
    """source: the app's module; wit: a folder whose world has the module's name."""
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        shutil.copy(source, tmp)
        shutil.copytree(wit, tmp / "wit")
        (tmp / "wit" / "deps").symlink_to(WIT_DEPS)
        # It looks for packages where the first Python in PATH does.
        path = f"{venv('guests')}/bin:{os.environ['PATH']}"
        run("componentize-py", "-d", "wit", "-w", source.stem, "componentize", source.stem,
            "-o", out, cwd=tmp, PATH=path)
        validate(out)


def targets():
    version = run(venv("guests") / "bin/componentize-py", "--version")
    for source in sorted(FOLDER.glob("*.py")):
        yield Target(f"python-{source.stem}", __file__, [source, FOLDER / "wit"], [version],
                     functools.partial(build, source, FOLDER / "wit"))
