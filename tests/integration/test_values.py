"""Lift and lower, against wasmtime: random types, random values, right ones and spoiled ones.

ebb answers each case first; its answers, values and traps, are then written as assertions that
`wasmtime wast` has to agree with.
"""
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import values
import wasmtime_cli
import wast
from harness import SANITIZED, environment

WASMTIME = Path(wasmtime_cli.__file__).parent / "wasmtime"
CASES = int(os.environ.get("EBB_VALUES_CASES", "200" if SANITIZED else "2000"))
SEED = int(os.environ.get("EBB_VALUES_SEED", "1"))
#: Components in one go, and values for each of a component's functions.
BATCH, EACH = 4, 4


def script(components, outcomes=None):
    """The .wast text, and which case stands on which line. With outcomes: as assertions."""
    lines, at = [], {}
    for c in components:
        lines += c.text.splitlines()
        for n, (invocation, _) in enumerate(c.cases):
            lines.append(f"(component instance $i{n} ${c.name})")
            lines.append(outcomes[c.name, n] if outcomes else invocation)
            at[len(lines)] = c.name, n
    return "\n".join(lines) + "\n", at


#: What an adapter of wasmtime may leave to the memory itself, in words that share this.
WORDS = {"pointer out of bounds of memory": "memory"}


def assertion(invocation, t, line):
    if line["outcome"] == "passed":
        return f"(assert_return {invocation} ({values.json_text(t, line['value'])}))"
    why = line["why"]
    assert why.startswith("trapped: "), why
    text = why.removeprefix("trapped: ").removeprefix("wasm trap: ").split("\n")[0]
    return f"(assert_trap {invocation} {json.dumps(WORDS.get(text, text))})"


def batch(first, folder):
    """Runs components first .. first + BATCH - 1.

    Returns how many cases returned, trapped, and trapped in other words than wasmtime's."""
    components = [values.component(seed, EACH) for seed in range(first, first + BATCH)]
    own = folder / str(first)
    own.mkdir()
    text, at = script(components)
    (own / "ask.wast").write_text(text)
    wast.convert(own / "ask.wast", own / "json")
    done = subprocess.run([wast.EBB_WAST, "-v", "--json", own / "json"], capture_output=True,
                          text=True, env=environment(), timeout=600, check=False)
    assert done.returncode in (0, 1), f"seed {first}: {done.stderr[-4000:]}"
    (report,) = json.loads(done.stdout)
    cases = {c.name: c.cases for c in components}
    outcomes, trapped = {}, 0
    for line in report["lines"]:
        if line["command"] != "action":
            assert line["outcome"] == "passed", f"seed {first}: {line}"
            continue
        name, n = at[line["line"]]
        outcomes[name, n] = assertion(*cases[name][n], line)
        trapped += line["outcome"] != "passed"
    assert len(outcomes) == len(at)
    otherwise = agree(components, outcomes, own / "answer.wast")
    return len(outcomes) - trapped, trapped, otherwise


def agree(components, outcomes, path):
    """wasmtime has to agree; returns how many traps it words otherwise."""
    otherwise = 0
    while True:
        text, at = script(components, outcomes)
        path.write_text(text)
        done = subprocess.run([WASMTIME, "wast", path], capture_output=True, text=True,
                              timeout=600, check=False)
        if done.returncode == 0:
            return otherwise
        words = re.search(r"wast:(\d+)\n +1: expected '[^']+', got '", done.stderr)
        assert words, f"{path}: {done.stderr[:2000]}"
        case = at[int(words[1])]
        outcomes[case] = re.sub(r' "[^"]*"\)$', ' "")', outcomes[case])
        otherwise += 1


def test_values_arrive_as_with_wasmtime(tmp_path):
    returned = trapped = otherwise = 0
    seed = SEED
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while returned + trapped < CASES:
            some = range(seed, seed + 8 * BATCH, BATCH)
            for r, t, o in pool.map(lambda first: batch(first, tmp_path), some):
                returned, trapped, otherwise = returned + r, trapped + t, otherwise + o
            seed += 8 * BATCH
    print(f"{returned} returned, {trapped} trapped, {otherwise} of them worded otherwise")
    assert returned >= CASES * 0.5 and trapped >= CASES * 0.1 and otherwise <= trapped * 0.1
