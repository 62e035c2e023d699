"""Makes flatten.txt of flatten.wast (with `wasm-tools` from the path): one line a module,
`<group> <instance> <hex>`."""
import json, pathlib, subprocess, sys, tempfile

here = pathlib.Path(__file__).parent
with tempfile.TemporaryDirectory() as d:
    out = pathlib.Path(d, "flatten.json")
    subprocess.run(["wasm-tools", "json-from-wast", here / "flatten.wast", "--wasm-dir", d, "-o",
                    out], check=True)
    lines = []
    for c in json.loads(out.read_text())["commands"]:
        group, instance = c["name"].lstrip("$").split("/")
        lines.append(f"{group} {instance} {pathlib.Path(d, c['filename']).read_bytes().hex()}")
pathlib.Path(here, "flatten.txt").write_text("\n".join(lines) + "\n")
print(len(lines), "modules", file=sys.stderr)
