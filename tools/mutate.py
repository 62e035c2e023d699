"""`./dev mutate [ROOM...]`: small changes to the code, one at a time; do the room's tests see them?

30 mutants a room, drawn with a seed from all places where a rule below applies. A mutant is
compiled in a build folder of its own (only what changed), then the unit tests of its room run, then
integration tests where unit tests can't reach, until one fails: the mutant is killed. One that does
not compile is drawn again; one that hangs is killed by time. A mutant that lives is listed with its
line: a test is missing, or the change means nothing.

Resumable: every verdict goes into build-mutate/ROOM.json at once; the sum of all into
soak/results/mutate.json. The source tree itself is never touched: a copy is changed.

  --seed N      other mutants        --count N    a room [30]
  --minutes N   stop after that      --report     print what is known, run nothing
"""
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build-mutate"
TREE = WORK / "tree"
BUILD = WORK / "build"
RESULT = ROOT / "soak" / "results" / "mutate.json"
TEST_S = 60
#: Which tests see a room: its own, and for rooms that have few of their own, those above.
MORE = {"carbon": ["carbon_", "store_usage"],
        "engine": ["host_", "engine_"], "loop": ["loop_", "http_", "host_sockets", "host_client"],
        "platform": ["platform_"], "cli": ["cli_"]}
#: Integration tests, for what unit tests of a room can't reach.
INTEGRATION = {
    "platform": ["test_limits.py", "test_processes.py", "test_sandbox.py", "test_secrets.py"],
    "cli": ["test_cli.py", "test_example.py", "../sim"],
    "carbon": ["../sim"],
    "sched": ["../sim"],
}
#: Test code and mains of tools are no part of what is tested.
NOT_MUTATED = {"wast_main.c", "wast_run.c", "wast_value.c", "wat.c", "probe.c", "main.c"}

#: (name, pattern, replacement); applied to code without strings and comments.
RULES = [
    ("less", r"(?<![<\-])<(?![<=])(?= )", "<="),
    ("less-equal", r"<=(?= )", "<"),
    ("more", r"(?<![>\-])>(?![>=])(?= )", ">="),
    ("more-equal", r"(?<!>)>=(?= )", ">"),
    ("equal", r"==", "!="),
    ("not-equal", r"!=", "=="),
    ("and", r"&&", "||"),
    ("or", r"\|\|", "&&"),
    ("plus", r" \+ (?!\d+ \* )", " - "),
    ("minus", r" - ", " + "),
    ("increment", r"\+\+(?=[;)\]])", "--"),
    ("not", r"!(?=[a-z(])", ""),
    ("true", r"\breturn true;", "return false;"),
    ("false", r"\breturn false;", "return true;"),
    ("zero", r"(?<![\w.])0(?=[;,)])(?! *[;,)] *//)", "1"),
    ("one", r"(?<![\w.])1(?=[;,)])", "2"),
    ("break", r"\bbreak;", ";"),
    ("statement", r"(?m)^ +[a-z_]+(?:->|\.)[a-z_>\-.]+ (?:[+|]?=) [^;{}]*;$", ";"),
    ("call", r"(?m)^ +[a-z_]+\([^;{}]*\);$", ";"),
]
STRINGS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*|^ *#[^\n]*',
                     re.S | re.M)


def blank(text):
    """The code with strings, comments and directives blanked, position by position."""
    return STRINGS.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def bodies(code):
    """True for each position inside a function."""
    inside, depth, start = bytearray(len(code)), 0, 0
    for m in re.finditer(r"[{}]", code):
        if m[0] == "{":
            if depth == 0 and re.search(r"\)\s*$", code[:m.start()]):
                start = m.start()
                inside_function = True
            elif depth == 0:
                inside_function = False
            depth += 1
        else:
            depth -= 1
            if depth == 0 and inside_function:
                inside[start:m.start()] = b"\1" * (m.start() - start)
    return inside


def places(room):
    """Every change that could be made: (file, position, length, replacement, rule)."""
    found = []
    for path in sorted((ROOT / "src" / room).glob("*.c")):
        if path.name in NOT_MUTATED:
            continue
        code = blank(path.read_text())
        inside = bodies(code)
        for name, pattern, replacement in RULES:
            for m in re.finditer(pattern, code):
                line = code[code.rfind("\n", 0, m.start()) + 1:code.find("\n", m.end())]
                if not inside[m.start()] or re.search(r"\bmust\(|assert|log_", line):
                    continue  # taking away a check of our own mistakes changes nothing visible
                found.append((path.relative_to(ROOT), m.start(), m.end(), replacement, name))
    return found


def run(command, seconds):
    """True: it ended well. None: it took too long."""
    try:
        done = subprocess.run(command, cwd=TREE, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=seconds, start_new_session=True,
                              env=os.environ | {"EBB_BIN": str(BUILD / "ebb"),
                                                "EBB_GUESTS": str(ROOT / "build" / "guests")})
    except subprocess.TimeoutExpired:
        return None
    return done.returncode == 0


def set_up(deps):
    """A copy of the tree, built. Only what differs is written, and is then newer than what was
    compiled from it: a run that was killed leaves a mutant behind."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split("\n")
    kept = {name for name in names if name and (ROOT / name).is_file()}
    for path in TREE.rglob("*"):
        if path.is_file() and str(path.relative_to(TREE)) not in kept:
            path.unlink()
    for name in kept:
        content, target = (ROOT / name).read_bytes(), TREE / name
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, TREE, f"-Ddeps={deps}",
                        "-Dbuildtype=debugoptimized"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD], check=True, stdout=subprocess.DEVNULL)


def tests_of(room):
    prefixes = MORE.get(room, [f"{room}_"]) + ([room] if room == "base" else [])
    tests = sorted(p.name for p in BUILD.glob("test_*")
                   if p.is_file() and any(p.name[5:].startswith(x) for x in prefixes))
    return [t for t in tests if t != "test_host_hostile"] + \
        [t for t in tests if t == "test_host_hostile"]


def killer(room, pytest):
    """What of the room's tests fails; None: they pass."""
    for test in tests_of(room):
        good = run([BUILD / test], TEST_S)
        if not good:
            return test + (" (time)" if good is None else "")
    if room in INTEGRATION:
        files = [f"tests/integration/{t}" for t in INTEGRATION[room]]
        good = run([pytest, "-q", "-x", "-p", "no:cacheprovider", "-k", "not workers2", *files],
                   300)
        if not good:
            return "integration tests" + (" (time)" if good is None else "")
    return None


def compile_room(room):
    more = ["ebb"] if room in INTEGRATION else []
    return run(["ninja", "-C", BUILD, *tests_of(room), *more], 300)


def verdict(room, mutant, pytest):
    path, start, end, replacement, _ = mutant
    original = (ROOT / path).read_text()
    target = TREE / path
    target.write_text(original[:start] + replacement + original[end:])
    try:
        if not compile_room(room):
            return "does not compile"
        found = killer(room, pytest)
        return f"killed by {found}" if found else "lives"
    finally:
        target.write_text(original)


def describe(mutant):
    path, start, end, replacement, rule = mutant
    text = (ROOT / path).read_text()
    line = text.count("\n", 0, start) + 1
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return {"at": f"{path}:{line}", "rule": rule,
            "code": " ".join((text[first:start] + "[" + text[start:end] + " -> " + replacement
                              + "]" + text[end:last]).split())}


def key(mutant):
    text = (ROOT / mutant[0]).read_text()
    return hashlib.sha256(f"{mutant}{text}".encode()).hexdigest()[:16]


def mutate(room, arguments, deadline):
    state_path = WORK / f"{room}.json"
    state = json.loads(state_path.read_text()) if state_path.exists() else {}
    drawn = places(room)
    random.Random(f"{arguments.seed} {room}").shuffle(drawn)
    pytest = Path(sys.prefix) / "bin" / "pytest"
    if not arguments.report:
        fails = killer(room, pytest) if compile_room(room) else "the compiler"
        if fails:
            sys.exit(f"{room}: {fails} fails without any mutant")
    verdicts = []
    for mutant in drawn:
        if len(verdicts) == arguments.count:
            break
        known = state.get(key(mutant))
        if known is None:
            if arguments.report or time.monotonic() > deadline:
                break
            known = describe(mutant) | {"verdict": verdict(room, mutant, pytest)}
            state[key(mutant)] = known
            state_path.write_text(json.dumps(state, indent=1))
            print(f"   {room:<10} {known['verdict']:<32} {known['at']} {known['rule']}", flush=True)
        if known["verdict"] != "does not compile":
            verdicts.append(known)
    killed = sum(v["verdict"].startswith("killed") for v in verdicts)
    return {"mutants": len(verdicts), "killed": killed, "of_places": len(drawn),
            "lives": [v for v in verdicts if v["verdict"] == "lives"]}


def main():
    parser = argparse.ArgumentParser(prog="./dev mutate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    rooms = sorted(p.name for p in (ROOT / "src").iterdir() if list(p.glob("*.c")))
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(rooms)}; none: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rooms) - set(rooms):
        parser.error(f"there are: {', '.join(rooms)}")
    WORK.mkdir(exist_ok=True)
    if not arguments.report:
        set_up(os.environ["EBB_DEPS"])
    deadline = time.monotonic() + 60 * arguments.minutes
    results = json.loads(RESULT.read_text())["rooms"] if RESULT.exists() else {}
    for room in arguments.rooms or rooms:
        results[room] = mutate(room, arguments, deadline)
        said = results[room]
        print(f"{room}: {said['killed']} of {said['mutants']} killed", flush=True)
        for v in said["lives"]:
            print(f"   lives: {v['at']}  {v['code']}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.strip()
    RESULT.write_text(json.dumps(
        {"command": "./dev mutate", "seed": arguments.seed, "commit": commit,
         "mutants": sum(r["mutants"] for r in results.values()),
         "killed": sum(r["killed"] for r in results.values()),
         "rooms": dict(sorted(results.items()))}, indent=1) + "\n")
    weak = [r for r, x in results.items() if x["mutants"] and x["killed"] < 0.8 * x["mutants"]]
    if weak:
        print(f"under 80 %: {', '.join(sorted(weak))}")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
