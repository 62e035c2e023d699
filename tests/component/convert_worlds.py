"""Makes worlds.txt of worlds.wast and worlds.wit (with `wasm-tools` from the path): a line
`<world> core <hex>`, the module with its world in it, and `<world> made <hex>`, the component that
`wasm-tools component new` makes of it, where no adapter is needed."""
import json, pathlib, subprocess, sys, tempfile

here = pathlib.Path(__file__).parent


def tool(*args):
    subprocess.run(["wasm-tools", *args], check=True)


with tempfile.TemporaryDirectory() as d:
    out, core, made = (pathlib.Path(d, n) for n in ("worlds.json", "core.wasm", "made.wasm"))
    tool("json-from-wast", here / "worlds.wast", "--wasm-dir", d, "-o", out)
    lines = []
    for c in json.loads(out.read_text())["commands"]:
        name, module = c["name"].lstrip("$"), pathlib.Path(d, c["filename"])
        world, _, adapter = name.partition("/")
        tool("component", "embed", here / "worlds.wit", module, "--world", world, "-o", core)
        lines.append(f"{name} core {core.read_bytes().hex()}")
        if not adapter and b"wasi_snapshot_preview1" not in module.read_bytes():
            tool("component", "new", core, "-o", made)
            tool("strip", "--all", made, "-o", made)
            lines.append(f"{name} made {made.read_bytes().hex()}")
    pathlib.Path(here, "worlds.txt").write_text("\n".join(lines) + "\n")
    print(len(lines), "lines", file=sys.stderr)
