"""Makes rules.txt of rules.wast (with `wasm-tools` from the path): one line a case,
`valid|link|refused <line> <hex> <expected text>`."""
import json, pathlib, subprocess, sys, tempfile

here = pathlib.Path(__file__).parent
with tempfile.TemporaryDirectory() as d:
    out = pathlib.Path(d, "rules.json")
    subprocess.run(["wasm-tools", "json-from-wast", here / "rules.wast", "--wasm-dir", d,
                    "-o", out],
                   check=True)
    lines = []
    for c in json.loads(out.read_text())["commands"]:
        kind = {"module": "link", "module_definition": "valid"}.get(c["type"], "refused")
        data = pathlib.Path(d, c["filename"]).read_bytes().hex()
        lines.append(f"{kind} {c['line']} {data} {c.get('text', '')}".rstrip())
pathlib.Path(here, "rules.txt").write_text("\n".join(lines) + "\n")
print(len(lines), "cases", file=sys.stderr)
