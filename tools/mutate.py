"""`./dev mutate [ROOM...]`: small changes to the code, one at a time; do the tests see them?

30 mutants a room, drawn with a seed from all places where a rule below applies. A mutant is
compiled, with the sanitizers of `./dev asan`, in a build folder of its own. Then it meets, until a
test fails (by an assertion, a sanitizer, a leak or by taking far too long) and fails once more:

  1. the unit tests and fuzz corpora of its room, quick ones first;
  2. those of the rooms above that link what was changed, those that have killed most first;
  3. the integration tests of tools/mutate_reach.py, which get to its file through the binary.

One that does not compile, or whose object is the same byte for byte, is drawn again. One that lives
is listed with its line: a test is missing, or the change means nothing.

Resumable: every verdict goes into build-mutate/ROOM.json at once, and holds until the file that it
is about changes or the tests that gave it: for a killed one the test that did, for one that lives
all. The sum goes into soak/results/mutate.json after every room. The source tree itself is never
touched: a copy is changed. Only the cores that the process may use are used
(`taskset -c 2,3 ./dev mutate`).

  --seed N      other mutants        --count N    a room [30]
  --minutes N   stop after that      --report     print what is known, run nothing
"""
import argparse
import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutate_reach import integration_of

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build-mutate"
TREE = WORK / "tree"
BUILD = WORK / "build-asan"
TIMES = WORK / "times.json"
RESULT = ROOT / "soak" / "results" / "mutate.json"
JOBS = len(os.sched_getaffinity(0))
#: Rooms by tier: what tests of one link are those before it.
ROOMS = re.search(r"rooms = \[(.*?)\]", (ROOT / "meson.build").read_text(), re.S)[1]
ROOMS = re.findall(r"\w+", ROOMS)
#: Test code is no part of what is tested; nor are mains, of which tests link nothing.
NOT_MUTATED = re.compile(r"wast_(run|value)\.c|wat\.c|probe\.c|(.*_)?main\.c")
#: So many tests are linked and run at a time.
AT_ONCE = 12
LINKER = "the linker"

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
    for path in sorted((TREE / "src" / room).glob("*.c")):
        if NOT_MUTATED.fullmatch(path.name):
            continue
        code = blank(path.read_text())
        inside = bodies(code)
        for name, pattern, replacement in RULES:
            for m in re.finditer(pattern, code):
                line = code[code.rfind("\n", 0, m.start()) + 1:code.find("\n", m.end())]
                if not inside[m.start()] or re.search(r"\bmust\(|assert|log_", line):
                    continue  # taking away a check of our own mistakes changes nothing visible
                found.append((path.relative_to(TREE), m.start(), m.end(), replacement, name))
    return found


class Test:
    """A unit test, a corpus to replay, or a row of integration tests. How long it took without any
    mutant says when it hangs."""

    def __init__(self, name, command, cwd):
        self.name, self.command, self.cwd, self.seconds = name, command, cwd, 0
        self.program = Path(command[0])
        self.room = name.removeprefix("fuzz_").split("_")[0]
        self.digest = None

    def run(self, patience=600):
        """None: it passes. Else what failed."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            child = subprocess.Popen(self.command, cwd=self.cwd, stdin=subprocess.DEVNULL,
                                     stdout=output, stderr=subprocess.DEVNULL,
                                     start_new_session=True)
            try:
                status = child.wait(patience)
            except subprocess.TimeoutExpired:
                status = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            output.seek(0)
            said = re.search(r"^(?:FAILED|ERROR) tests/(?:\w+/)?(\S+)", output.read(10**6), re.M)
        if status == 0:
            return None
        return (said[1] if said else self.name) + (" (time)" if status is None else "")

    def fails(self):
        """What failed, twice: one failure may be the machine's."""
        patience = 20 + 6 * self.seconds
        return self.run(patience) and self.run(patience)

    def is_as_ever(self):
        """Nothing of what was changed is linked to it."""
        return sha(self.program.read_bytes()) == self.digest

    def measure(self):
        """None where it fails twice: then it is no judge."""
        for _ in range(2):
            begin = time.monotonic()
            failed = self.run()
            if not failed:
                return round(time.monotonic() - begin, 2)
        print(f"   {failed} fails without any mutant: left out", flush=True)
        return None


def sha(*parts):
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def ninja(*targets):
    return subprocess.run(["ninja", "-C", BUILD, f"-j{JOBS}", *map(str, targets)],
                          stdin=subprocess.DEVNULL, capture_output=True,
                          check=False).returncode == 0


def tracked(root):
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split("\n")
    return sorted(name for name in names if name and (root / name).is_file())


def copy():
    """Only what differs is written, and is then newer than what was compiled from it: a run that
    was killed leaves a mutant behind."""
    kept = set(tracked(ROOT))
    for path in TREE.rglob("*"):
        if path.is_file() and str(path.relative_to(TREE)) not in kept:
            path.unlink()
    for name in kept:
        content, target = (ROOT / name).read_bytes(), TREE / name
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def build(deps, options):
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, TREE, f"-Ddeps={deps}", "-Ddebug=false", *options],
                       check=True, stdout=subprocess.DEVNULL)
    if not (TREE / "build").exists():  # where tests look for what they preload
        (TREE / "build").symlink_to(BUILD)
    subprocess.run(["ninja", "-C", BUILD, f"-j{JOBS}"], check=True, stdout=subprocess.DEVNULL)
    # Where memory ends, mutants end before anybody else.
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.environ |= {"EBB_BIN": str(BUILD / "ebb"), "EBB_SANITIZED": "1",
                   "EBB_GUESTS": str(ROOT / "build" / "guests")}


class Tests:
    """All tests, with what is known of them without any mutant."""

    def __init__(self):
        listed = subprocess.run(["meson", "introspect", "--tests", BUILD], capture_output=True,
                                check=True).stdout
        self.unit = [Test(t["name"], t["cmd"], t["workdir"] or BUILD) for t in json.loads(listed)]
        self.rows = {}
        names = [n for n in tracked(TREE) if n.split("/")[0] in ("src", "tests", "meson.build")]
        self.state = sha(*((TREE / n).read_bytes() for n in names))
        known = json.loads(TIMES.read_text()) if TIMES.exists() else {}
        self.known = known["seconds"] if known.get("state") == self.state else {}
        for test in self.unit:
            test.digest = sha(test.program.read_bytes())
        self.measure(self.unit)

    def measure(self, tests):
        """Those that are not known."""
        new = [t for t in tests if t.name not in self.known]
        if new and not ninja():
            sys.exit("the code does not compile without any mutant")
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            self.known |= dict(zip((t.name for t in new), pool.map(Test.measure, new)))
        TIMES.write_text(json.dumps({"state": self.state, "seconds": self.known}))
        for test in tests:
            test.seconds = self.known[test.name]

    def integration(self, path):
        """The rows that get to a file."""
        for row in integration_of(path.relative_to("src")):
            files = [f"tests/{t}" if "/" in t else f"tests/integration/{t}" for t in row.split()]
            command = [Path(sys.prefix) / "bin" / "pytest", "-q", "-x", "-p", "no:cacheprovider",
                       "-k", "not workers2", *files]
            self.rows.setdefault(row, Test(row, command, TREE))
            yield self.rows[row]

    def of(self, room, kills):
        """The unit tests of a room, and those of the rooms above it."""
        above = ROOMS[ROOMS.index(room) + 1:]
        own = [t for t in self.unit if t.room == room and t.seconds is not None]
        others = [t for t in self.unit if t.room in above and t.seconds is not None]
        return (sorted(own, key=lambda t: t.seconds),
                sorted(others, key=lambda t: (-kills[t.name], t.seconds)))


def first_failure(tests):
    """Runs tests, some at a time, until one fails."""
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        running = [pool.submit(Test.fails, t) for t in tests]
        for done in concurrent.futures.as_completed(running):
            if done.result():
                pool.shutdown(cancel_futures=True)
                return done.result()
    return None


def killer(room, path, tests, kills):
    """What fails; None: all passes. The mutant has been compiled."""
    own, others = tests.of(room, kills)
    for some in [own, *(others[i:i + AT_ONCE] for i in range(0, len(others), AT_ONCE))]:
        if not ninja(*(t.program.relative_to(BUILD) for t in some)):
            return LINKER
        found = first_failure(t for t in some if not t.is_as_ever())
        if found:
            return found
    rows = [row for row in tests.integration(path) if row.seconds is not None]
    if rows and not ninja():
        return LINKER
    return next(filter(None, (row.fails() for row in rows)), None)


def verdict(room, mutant, tests, kills):
    """(what became of it, by which test)"""
    path, start, end, replacement, _ = mutant
    target = TREE / path
    original = target.read_text()
    thing = BUILD / f"lib{room}.a.p" / f"{str(path).replace('/', '_')}.o"
    ninja(thing.relative_to(BUILD))
    before = sha(thing.read_bytes())
    target.write_text(original[:start] + replacement + original[end:])
    try:
        if not ninja(thing.relative_to(BUILD)):
            return "does not compile", None
        if sha(thing.read_bytes()) == before:
            return "is the same code", None
        found = killer(room, path, tests, kills)
        if found == LINKER:
            return "does not compile", None
        return ("killed", found) if found else ("lives", None)
    finally:
        target.write_text(original)


def with_includes(name):
    """A file of the tests and those of tests/ that it includes."""
    found, left = set(), [name]
    while left:
        name = left.pop()
        if name not in found and (TREE / name).is_file():
            found.add(name)
            text = (TREE / name).read_text()
            left += [f"tests/{n}" for n in re.findall(r'^#include "(.+)"', text, re.M)]
    return found


@functools.cache
def proof(by):
    """A digest of the tests that a verdict was given by: the one that killed, else all."""
    included = set()
    if by is None:
        wanted = r"tests/|tools/mutate"
    elif "test_" in by:
        wanted = r"tests/(integration|sim)/"
    else:
        name = by.split()[0].removeprefix("fuzz_")
        included = with_includes(f"tests/unit/{name}.c") | with_includes(f"tests/fuzz/{name}.c")
        wanted = rf"tests/fuzz/corpus/{name}/"
    return sha(*((TREE / n).read_bytes() for n in tracked(TREE)
                 if n in included or re.match(wanted, n)))


def describe(mutant):
    path, start, end, replacement, rule = mutant
    text = (TREE / path).read_text()
    line = text.count("\n", 0, start) + 1
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return {"at": f"{path}:{line}", "rule": rule,
            "code": " ".join((text[first:start] + "[" + text[start:end] + " -> " + replacement
                              + "]" + text[end:last]).split())}


def key(mutant):
    return sha(f"{mutant}".encode(), (TREE / mutant[0]).read_bytes())


def mutate(room, arguments, tests, deadline):
    state_path = WORK / f"{room}.json"
    state = json.loads(state_path.read_text()) if state_path.exists() else {}
    kills = collections.Counter(v.get("by") for v in state.values())
    drawn = places(room)
    random.Random(f"{arguments.seed} {room}").shuffle(drawn)
    verdicts = []
    for mutant in drawn:
        if len(verdicts) == arguments.count:
            break
        known = state.get(key(mutant))
        if known is None or known["proof"] != proof(known["by"]):
            if not tests or time.monotonic() > deadline:
                break
            tests.measure(list(tests.integration(mutant[0])))
            what, by = verdict(room, mutant, tests, kills)
            known = describe(mutant) | {"verdict": what, "by": by, "proof": proof(by)}
            kills[by] += 1
            state[key(mutant)] = known
            state_path.write_text(json.dumps(state, indent=1))
            print(f"   {room:<10} {what + (f' by {by}' if by else ''):<32} {known['at']} "
                  f"{known['rule']}", flush=True)
        if known["verdict"] in ("killed", "lives"):
            verdicts.append(known)
    killed = sum(v["verdict"] == "killed" for v in verdicts)
    return {"seed": arguments.seed, "commit": commit(), "mutants": len(verdicts), "killed": killed,
            "of_places": len(drawn),
            "lives": [{k: v[k] for k in ("at", "rule", "code")} for v in verdicts
                      if v["verdict"] == "lives"]}


def commit():
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout.strip()


def write(results):
    RESULT.write_text(json.dumps(
        {"command": "./dev mutate",
         "mutants": sum(r["mutants"] for r in results.values()),
         "killed": sum(r["killed"] for r in results.values()),
         "rooms": dict(sorted(results.items()))}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="./dev mutate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help=f"of {', '.join(ROOMS)}; none: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rooms) - set(ROOMS):
        parser.error(f"there are: {', '.join(ROOMS)}")
    WORK.mkdir(exist_ok=True)
    tests = None
    copy()
    if not arguments.report:
        build(os.environ["EBB_DEPS"], os.environ["EBB_ASAN"].split())
        tests = Tests()
    deadline = time.monotonic() + 60 * arguments.minutes
    results = json.loads(RESULT.read_text())["rooms"] if RESULT.exists() else {}
    for room in arguments.rooms or ROOMS:
        said = mutate(room, arguments, tests, deadline)
        print(f"{room}: {said['killed']} of {said['mutants']} killed", flush=True)
        for v in said["lives"]:
            print(f"   lives: {v['at']}  {v['code']}", flush=True)
        if said["mutants"]:
            results[room] = said
            write(results)
    weak = [r for r, x in results.items() if x["mutants"] and x["killed"] < 0.8 * x["mutants"]]
    if weak:
        print(f"under 80 %: {', '.join(sorted(weak))}")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
