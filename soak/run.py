"""`./dev soak [NAME...]`: tests that take longer than a test run may.

A stage is a generator: it yields after every step with its state, a JSON object. The state is kept
in build/soak/NAME.json, so a run that is stopped goes on where it was, unless a commit changed what
the stage is made of. When it ends, its result is written to soak/results/NAME.json with the commit,
the command, the seed and the duration; and after each step of one whose state says what is
`unfinished`.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
sys.path.insert(0, str(ROOT / "soak"))

import stages  # noqa: E402

#: What every stage's result depends on: the server, its tests' helpers and guests, the engine.
MADE_OF = ("src", "tests", "meson.build", "meson_options.txt", "tools/engine.txt")


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout.strip()


def own_files(module):
    """The file of a stage in this folder, and those that it takes from."""
    todo, found = [module], set()
    while todo:
        path = ROOT / "soak" / f"{todo.pop()}.py"
        if path not in found and path.exists():
            found.add(path)
            todo += re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.M)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def made_of(stage):
    """What a stage's result depends on, as git has it: a commit of a result or a document, or of
    another stage, changes none of it."""
    return git("ls-tree", "HEAD", *MADE_OF, *own_files(stage.__module__))


def result_write(name, state, arguments, **more):
    result = {"stage": name, "commit": state["commit"], "seed": state["seed"],
              "command": " ".join(["./dev soak", name] + arguments.said),
              "duration_s": round(state["spent_s"], 1), **more, **state["result"]}
    path = ROOT / "soak" / "results" / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


def run(name, stage, arguments):
    state_path = ROOT / "build" / "soak" / f"{name}.json"
    state_path.parent.mkdir(parents=True, exist_ok=True)
    state = {"seed": arguments.seed, "made_of": made_of(stage), "spent_s": 0.0}
    if state_path.exists() and not arguments.fresh:
        kept = json.loads(state_path.read_text())
        if all(kept.get(k) == state[k] for k in ("seed", "made_of")):
            state = kept
            print(f"{name}: goes on after {state['spent_s']:.0f} s", flush=True)
    state["commit"] = git("rev-parse", "HEAD")
    begun, spent = time.monotonic(), state["spent_s"]
    work = state_path.parent / name
    work.mkdir(exist_ok=True)
    said = 0.0
    try:
        for progress in stage(state, work, arguments):
            state["spent_s"] = spent + time.monotonic() - begun
            new = state_path.with_suffix(".new")
            new.write_text(json.dumps(state))
            new.replace(state_path)
            if state.get("unfinished"):
                result_write(name, state, arguments, unfinished=state["unfinished"])
            if time.monotonic() - said > 5:
                said = time.monotonic()
                print(f"{name}: {progress}  ({state['spent_s']:.0f} s)", flush=True)
    except AssertionError as failure:
        print(f"{name}: FAILED: {failure}", flush=True)
        return False
    result_write(name, state, arguments, passed=True)
    state_path.unlink()
    print(f"{name}: passed in {state['spent_s']:.0f} s: {json.dumps(state['result'])}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(stages.STAGES)}; none: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    parser.add_argument("--suite", help="path of a checkout, for stages that run a public suite")
    parser.add_argument("--apps", type=int, default=100_000, help="of density")
    parser.add_argument("--attacks", help="of attack: only these, with commas")
    parser.add_argument("--repetitions", type=int, default=100_000, help="of hostile, a kind")
    parser.add_argument("--kinds", help="of hostile: only these, with commas")
    parser.add_argument("--rounds", type=int, default=100_000, help="of arguments")
    parser.add_argument("--artifacts", type=int, default=10_000, help="of density")
    parser.add_argument("--kills", type=int, default=100,
                        help="of serve-kill (each kind of process), and cuts of serve-powercut")
    parser.add_argument("--calls", type=int, default=100_000, help="of serve-calls")
    parser.add_argument("--call-kills", type=int, default=200, help="of serve-calls")
    parser.add_argument("--call-cuts", type=int, default=50, help="of serve-calls")
    parser.add_argument("--seconds-per-bin", type=float, default=25,
                        help="of day: 144 of them are its day")
    parser.add_argument("--warm-hours", type=int, default=12,
                        help="of day: of its day, before what is measured begins")
    parser.add_argument("--day-hours", type=int, default=24, help="of day: what is measured")
    parser.add_argument("--alone-hours", type=int, default=6,
                        help="of day: about the peak, with reserved calls only; 0: none")
    arguments = parser.parse_args()
    arguments.said = [a for a in sys.argv[1:] if a not in arguments.names and a != "--fresh"]
    names = arguments.names or list(stages.STAGES)
    unknown = [n for n in names if n not in stages.STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}; there are {', '.join(stages.STAGES)}")
    os.chdir(ROOT)
    passed = [run(name, stages.STAGES[name], arguments) for name in names]
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
