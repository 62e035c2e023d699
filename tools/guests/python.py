"""Python: componentize-py makes a component of CPython, the app and the bindings of its world, and
runs the app's imports once, at build time.

Every tests/guests/python/NAME.py is the guest python-NAME, with the world NAME of wit/world.wit;
every tests/guests/python-spin/NAME.py is python-spin-NAME, with the Spin SDK 3. examples/python is
example-python.
"""
import functools
import os
import pathlib
import shutil
import tempfile

from kit import EXAMPLES, GUESTS, WIT_DEPS, Target, run, validate, venv

PLAIN, SPIN = GUESTS / "python", GUESTS / "python-spin"


def componentize(environment, sources, out, folder, *options):
    """sources: the app's module, then others. It looks for packages where the first Python in PATH
    does."""
    for source in sources:
        shutil.copy(source, folder)
    run("componentize-py", *options, "componentize", sources[0].stem, "-o", out, cwd=folder,
        PATH=f"{venv(environment)}/bin:{os.environ['PATH']}")
    validate(out)


def build(sources, wit, out):
    """wit: a folder with a world of the app's module's name."""
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        shutil.copytree(wit, tmp / "wit")
        (tmp / "wit" / "deps").symlink_to(WIT_DEPS)
        componentize("guests", sources, out, tmp, "-d", "wit", "-w", sources[0].stem)


def build_spin(source, out):
    """Two interfaces are named sqlite; the SDK means the older one."""
    with tempfile.TemporaryDirectory() as tmp:
        componentize("spin3", [source], out, tmp, "-w", "spin-http",
                     "--import-interface-name", "fermyon:spin/sqlite@2.0.0=sqlite")


def targets():
    version = run(venv("guests") / "bin/componentize-py", "--version")
    plain = [(f"python-{app.stem}", [app], PLAIN / "wit") for app in sorted(PLAIN.glob("*.py"))]
    example = EXAMPLES / "python"
    plain.append(("example-python", [example / "app.py", example / "web.py"], example / "wit"))
    for name, sources, wit in plain:
        yield Target(name, __file__, [*sources, wit], [version],
                     functools.partial(build, sources, wit))
    version = run(venv("spin3") / "bin/componentize-py", "--version")
    for source in sorted(SPIN.glob("*.py")):
        yield Target(f"python-spin-{source.stem}", __file__, [source], [version],
                     functools.partial(build_spin, source))
