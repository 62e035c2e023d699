"""`./dev mutate [ROOM...]`: small changes to the code, one at a time; do the tests see them?

30 mutants a room, drawn with a seed from all places where a rule below applies: the first that
compile, with the sanitizers of `./dev asan`, to another object than before. A mutant's object is
linked, instead of the archive's, into the programs that the file is part of, and meets tests until
one fails (by an assertion, a sanitizer, a leak or by taking far too long) and fails once more:

  1. the unit tests and fuzz corpora of its room, those of its file first;
  2. those of the rooms above, those that have killed most first;
  3. the integration tests of tools/mutate_reach.py, which get to its file through the binary.

First all mutants of a room meet 1, which takes seconds. Those that live go on to 2 and 3, which
takes minutes, while less than 80 % of the room's are killed, or with --all. One that lives is
listed with its line: a test is missing, or the change means nothing. One that met only the tests
of its own room is listed as such: there, the number of killed is a lower bound.

Resumable: every verdict goes into build-mutate/ROOM.json at once, and holds until the file that it
is about changes or the tests that gave it: for a killed one the test that did, for one that lives
all that it met. The sum goes into soak/results/mutate.json after every room, with its commit.
Neither the source tree nor its copy is touched: a mutant has a folder of links with one file of its
own. Only the cores that the process may use are used (`taskset -c 2,3 ./dev mutate`).

  --seed N      other mutants        --count N    a room [30]
  --minutes N   stop after that      --all        stages 2 and 3 for all that live
  --report      print what is known, run nothing
"""
import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mutate_reach import integration_of

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build-mutate"
TREE = WORK / "tree"
BUILD = WORK / "build-asan"
#: The mutants' folders, and the programs of the one that is judged.
MUTANTS = WORK / "mutants"
BIN = WORK / "bin"
TIMES = WORK / "times.json"
RESULT = ROOT / "soak" / "results" / "mutate.json"
JOBS = len(os.sched_getaffinity(0))
#: Rooms by tier: what tests of one link are those before it.
ROOMS = re.search(r"rooms = \[(.*?)\]", (ROOT / "meson.build").read_text(), re.S)[1]
ROOMS = re.findall(r"\w+", ROOMS)
#: Test code is no part of what is tested; nor are mains, of which tests link nothing.
NOT_MUTATED = re.compile(r"wast_(run|value)\.c|wat\.c|probe\.c|(.*_)?main\.c")
#: What part of a room's mutants the tests shall kill.
WANTED = 0.8
#: Verdicts. The first two are no mutants and are drawn again.
BROKEN, SAME = "does not compile", "is the same code"
KILLED, LIVES_OWN, LIVES = "killed", "lives, own tests only", "lives"

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
    """Every change that could be made."""
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
                found.append(Mutant(path.relative_to(TREE), m.start(), m.end(), replacement, name))
    return found


def sha(*parts):
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def done_well(command, folder):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          check=False).returncode == 0


def output_of(*command, folder=None):
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True,
                          check=True).stdout


@functools.cache
def compiled(path):
    """The commands of the build that compile a file, by the object that they make, that in the
    archive of its room first; a few programs compile files of a room themselves."""
    steps = json.loads((BUILD / "compile_commands.json").read_text())
    made = {s["output"]: shlex.split(s["command"]) for s in steps
            if s["file"] == f"../{TREE.name}/{path}"}
    return dict(sorted(made.items(), key=lambda m: not m[0].startswith(f"lib{path.parts[1]}.a.p")))


def object_of(path):
    return next(iter(compiled(path)))


@functools.cache
def linked(program):
    """The command of the build that links a program."""
    return shlex.split(output_of("ninja", "-t", "commands", "-s", program, folder=BUILD))


@functools.cache
def symbols(path, *options):
    """What an object or a program defines."""
    listed = output_of("nm", "-P", "--defined-only", *options, BUILD / path)
    return {line.split()[0] for line in listed.splitlines()}


def is_part(path, program):
    """Whether the linker has taken a file's object for a program."""
    return symbols(object_of(path), "--extern-only") <= symbols(program)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A change: these positions of a file of the tree become something else."""
    path: Path
    start: int
    end: int
    replacement: str
    rule: str

    @functools.cached_property
    def key(self):
        return sha(f"{self}".encode(), (TREE / self.path).read_bytes())

    @functools.cached_property
    def thing(self):
        """The object that it is compiled to."""
        return MUTANTS / self.key / BUILD.name / object_of(self.path)

    @property
    def room(self):
        return self.path.parts[1]

    def describe(self):
        text = (TREE / self.path).read_text()
        line = text.count("\n", 0, self.start) + 1
        first, last = text.rfind("\n", 0, self.start) + 1, text.find("\n", self.end)
        return {"at": f"{self.path}:{line}", "rule": self.rule,
                "code": " ".join((text[first:self.start] + "[" + text[self.start:self.end] + " -> "
                                  + self.replacement + "]" + text[self.end:last]).split())}

    def compile(self):
        """None, or why it is no mutant. The command is the build's, run beside links to the tree:
        paths, which sanitizers write into objects, are the same."""
        if self.thing.exists():
            return None
        source = MUTANTS / self.key / TREE.name / "src"
        self.thing.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(source, ignore_errors=True)
        (source / self.room).mkdir(parents=True)
        for other in (TREE / "src").iterdir():
            if other.name != self.room:
                (source / other.name).symlink_to(other)
        for other in (TREE / "src" / self.room).iterdir():
            if other.name != self.path.name:
                (source / self.room / other.name).symlink_to(other)
        text = (TREE / self.path).read_text()
        (source / self.room / self.path.name).write_text(
            text[:self.start] + self.replacement + text[self.end:])
        name = object_of(self.path)
        if not done_well(compiled(self.path)[name], MUTANTS / self.key / BUILD.name):
            return BROKEN
        if self.thing.read_bytes() == (BUILD / name).read_bytes():
            self.thing.unlink()
            return SAME
        return None

    def link(self, program):
        """Into BIN. What an object defines the linker does not look for in archives."""
        command = [x for x in linked(program) if x not in compiled(self.path)]
        at = command.index("-o")
        command[at:at + 2] = ["-o", str(BIN / program), str(self.thing)]
        (BIN / program).parent.mkdir(parents=True, exist_ok=True)
        is_linked = done_well(command, BUILD)
        if not is_linked:
            print(f"   {program} cannot be linked with {self.describe()['at']}", flush=True)
        return is_linked


class Test:
    """A unit test, a corpus to replay, or a row of integration tests. How long it took without any
    mutant says when it hangs."""

    def __init__(self, name, program, arguments, cwd):
        self.name, self.program, self.arguments, self.cwd = name, program, arguments, cwd
        self.room, _, self.noun = name.removeprefix("fuzz_").partition("_")
        self.seconds = 0

    def run(self, folder, patience=600, over=None):
        """Runs with the programs of a folder. None: it passes. Else what failed."""
        begin, over = time.monotonic(), over or threading.Event()
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            child = subprocess.Popen([folder / self.program, *self.arguments], cwd=self.cwd,
                                     stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.DEVNULL, start_new_session=True,
                                     env=os.environ | {"EBB_BIN": str(folder / "ebb")})
            while child.poll() is None and time.monotonic() < begin + patience and \
                    not over.wait(0.02):
                pass
            status = child.poll()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            output.seek(0)
            said = re.search(r"^(?:FAILED|ERROR) tests/(?:\w+/)?(\S+)", output.read(10**6), re.M)
        if status == 0 or over.is_set():
            return None
        return (said[1] if said else self.name) + (" (time)" if status is None else "")

    def fails(self, mutant, over):
        """What failed, twice: one failure may be the machine's."""
        patience = 10 + 6 * self.seconds
        is_there = self.program.is_absolute()  # pytest, and what it runs has been linked
        if over.is_set() or not (is_there or mutant.link(self.program)):
            return None
        failed = self.run(BIN, patience, over) and self.run(BIN, patience, over)
        if not is_there:
            (BIN / self.program).unlink()
        return failed

    def measure(self, folder):
        """None where it fails twice: then it is no judge."""
        for _ in range(2):
            begin = time.monotonic()
            failed = self.run(folder)
            if not failed:
                return round(time.monotonic() - begin, 2)
        print(f"   {failed} fails without any mutant: left out", flush=True)
        return None


def tracked(root):
    names = output_of("git", "ls-files", folder=ROOT).split("\n")
    return sorted(name for name in names if name and (root / name).is_file())


def copy():
    """What changes in the meantime is for the next run. Only what differs is written, and is then
    newer than what was compiled from it."""
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


def quick_linker(options):
    """gold takes half the time, where there is one that knows these sanitizers."""
    sanitizers = [o.replace("-Db_sanitize", "-fsanitize") for o in options if "b_sanitize" in o]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.c").write_text("int main(void) { return 0; }\n")
        command = [os.environ.get("CC", "cc"), *sanitizers, "-fuse-ld=gold", "x.c"]
        works = done_well(command, folder) and done_well([f"{folder}/a.out"], folder)
    return ["-Dc_link_args=-fuse-ld=gold"] if works else []


def build(deps, options):
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, TREE, f"-Ddeps={deps}", "-Ddebug=false", *options,
                        *quick_linker(options)], check=True, stdout=subprocess.DEVNULL)
    if not (TREE / "build").exists():  # where tests look for what they preload
        (TREE / "build").symlink_to(BUILD)
    subprocess.run(["ninja", "-C", BUILD, f"-j{JOBS}"], check=True, stdout=subprocess.DEVNULL)
    # Where memory ends, mutants end before anybody else.
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.environ |= {"EBB_SANITIZED": "1", "EBB_GUESTS": str(ROOT / "build" / "guests")}


def empty_bin():
    shutil.rmtree(BIN, ignore_errors=True)
    BIN.mkdir()


class Tests:
    """All tests, with what is known of them without any mutant."""

    def __init__(self):
        listed = json.loads(output_of("meson", "introspect", "--tests", BUILD))
        self.unit = [Test(t["name"], Path(t["cmd"][0]).relative_to(BUILD), t["cmd"][1:],
                          t["workdir"] or BUILD) for t in listed]
        listed = json.loads(output_of("meson", "introspect", "--targets", BUILD))
        self.programs = {Path(t["filename"][0]).relative_to(BUILD) for t in listed
                         if t["type"] == "executable" and t["build_by_default"]}
        self.rows = {}
        names = [n for n in tracked(TREE) if n.split("/")[0] in ("src", "tests", "meson.build")]
        self.state = sha(*((TREE / n).read_bytes() for n in names))
        known = json.loads(TIMES.read_text()) if TIMES.exists() else {}
        self.known = known["seconds"] if known.get("state") == self.state else {}

    def judges(self, tests, folder):
        """Those that pass without any mutant, measured where that is not known."""
        new = [t for t in tests if t.name not in self.known]
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            seconds = pool.map(lambda t: t.measure(folder), new)
            self.known |= dict(zip((t.name for t in new), seconds))
        if new:
            TIMES.write_text(json.dumps({"state": self.state, "seconds": self.known}))
        for test in tests:
            test.seconds = self.known[test.name]
        return [t for t in tests if t.seconds is not None]

    def of_rooms(self, rooms, path, kills):
        """The unit tests of rooms that a file is part of, the likeliest to fail first."""
        some = [t for t in self.unit if t.room in rooms and is_part(path, t.program)]
        return sorted(self.judges(some, BUILD),
                      key=lambda t: ((t.room, t.noun) != (path.parts[1], path.stem),
                                     -kills[t.name], t.seconds))

    def of_binary(self, path):
        """The rows of integration tests that get to a file."""
        rows = integration_of(path.relative_to("src"))
        for row in rows:
            files = [f"tests/{t}" if "/" in t else f"tests/integration/{t}" for t in row.split()]
            arguments = ["-q", "-x", "-p", "no:cacheprovider", "-k", "not workers2", *files]
            pytest = Path(sys.prefix) / "bin" / "pytest"
            self.rows.setdefault(row, Test(row, pytest, arguments, TREE))
        self.fill_bin()
        return self.judges([self.rows[row] for row in rows], BIN)

    def fill_bin(self, mutant=None):
        """Programs as integration tests look for them: those that the mutant's file is part of are
        linked with it. Unit tests among them have passed and stay as they were built."""
        empty_bin()
        others = self.programs - {t.program for t in self.unit}
        changed = [p for p in others if mutant and is_part(mutant.path, p)]
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            are_linked = list(pool.map(lambda p: mutant.link(p), changed))
        for program in self.programs - set(changed):
            (BIN / program).parent.mkdir(parents=True, exist_ok=True)
            os.link(BUILD / program, BIN / program)
        return bool(changed) and all(are_linked)


def first_failure(tests, mutant):
    """Runs tests, some at a time, until one fails; what runs beside it is ended."""
    over = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        running = [pool.submit(Test.fails, t, mutant, over) for t in tests]
        for done in concurrent.futures.as_completed(running):
            if done.result():
                over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                return done.result()
    return None


def killer(mutant, tests, kills, is_above):
    """What fails: of its own room, or of all above it. None: all passes."""
    empty_bin()
    rooms = ROOMS[ROOMS.index(mutant.room) + 1:] if is_above else [mutant.room]
    found = first_failure(tests.of_rooms(rooms, mutant.path, kills), mutant)
    if found or not is_above:
        return found
    rows = tests.of_binary(mutant.path)
    return first_failure(rows, mutant) if rows and tests.fill_bin(mutant) else None


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
def proof(room, verdict, by):
    """A digest of the tests that a verdict was given by: the one that killed, else all it met."""
    included = set()
    if verdict in (BROKEN, SAME):
        return ""
    if verdict == LIVES:
        wanted = r"tests/|tools/mutate"
    elif verdict == LIVES_OWN:  # without the tests of others
        wanted = (r"tests/(?!integration/|sim/|(unit|fuzz|fuzz/corpus)/"
                  rf"(?!replay|corpus|{room}[_.]))|tools/mutate\.py")
    elif "test_" in by:
        wanted = r"tests/(integration|sim)/"
    else:
        name = by.split()[0].removeprefix("fuzz_")
        included = with_includes(f"tests/unit/{name}.c") | with_includes(f"tests/fuzz/{name}.c")
        wanted = rf"tests/fuzz/corpus/{name}/"
    return sha(*((TREE / n).read_bytes() for n in tracked(TREE)
                 if n in included or re.match(wanted, n)))


class Room:
    """The mutants of a room and what is known of them."""

    def __init__(self, name, arguments, tests, deadline):
        self.name, self.arguments, self.tests, self.deadline = name, arguments, tests, deadline
        self.path = WORK / f"{name}.json"
        self.state = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.kills = collections.Counter(v["by"] for v in self.state.values())
        self.places = places(name)
        random.Random(f"{arguments.seed} {name}").shuffle(self.places)
        self.drawn = []

    def may_run(self):
        return self.tests and time.monotonic() < self.deadline

    def verdict(self, mutant):
        """None where there is none, or none that holds."""
        known = self.state.get(mutant.key)
        if known and known["proof"] == proof(self.name, known["verdict"], known["by"]):
            return known["verdict"]
        return None

    def note(self, mutant, verdict, by=None):
        known = mutant.describe() | {"verdict": verdict, "by": by,
                                     "proof": proof(self.name, verdict, by)}
        self.state[mutant.key] = known
        self.kills[by] += 1
        self.path.write_text(json.dumps(self.state, indent=1))
        print(f"   {self.name:<10} {verdict + (f' by {by}' if by else ''):<32} {known['at']} "
              f"{known['rule']}", flush=True)

    def draw(self):
        """The first places that give mutants, as many as wanted or as there are."""
        left = iter(self.places)
        while some := list(itertools.islice(left, self.arguments.count - len(self.drawn))):
            new = [m for m in some if self.may_run() and self.verdict(m) is None]
            with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
                for mutant, why_not in zip(new, pool.map(Mutant.compile, new)):
                    if why_not:
                        self.note(mutant, why_not)
            self.drawn += [m for m in some if self.verdict(m) not in (BROKEN, SAME)]

    def judge(self, mutant, is_above):
        if self.may_run():
            mutant.compile()
            by = killer(mutant, self.tests, self.kills, is_above)
            self.note(mutant, KILLED if by else LIVES if is_above else LIVES_OWN, by)

    def run(self):
        self.draw()
        for mutant in self.drawn:
            if self.verdict(mutant) is None:
                self.judge(mutant, False)
        for mutant in self.drawn:
            killed = sum(self.verdict(m) == KILLED for m in self.drawn)
            is_wanted = self.arguments.all or killed < WANTED * len(self.drawn)
            if self.verdict(mutant) == LIVES_OWN and is_wanted:
                self.judge(mutant, True)
        shutil.rmtree(MUTANTS, ignore_errors=True)

    def result(self):
        """Up to the first without a verdict: those that have one after it may be the easy ones."""
        judged = list(itertools.takewhile(self.verdict, self.drawn))
        lives = [m for m in judged if self.verdict(m) != KILLED]
        own = {"met": "only the tests of its own room"}
        return {"seed": self.arguments.seed,
                "commit": output_of("git", "rev-parse", "HEAD", folder=ROOT).strip(),
                "mutants": len(judged), "killed": len(judged) - len(lives),
                "not_judged": len(self.drawn) - len(judged), "of_places": len(self.places),
                "lives": [m.describe() | (own if self.verdict(m) == LIVES_OWN else {})
                          for m in lives]}

    def say(self, result):
        more = ""
        if result["not_judged"]:
            more = f", {result['not_judged']} not judged"
        elif result["mutants"] < self.arguments.count:
            more = f": all that its {len(self.places)} places give"
        print(f"{self.name}: {result['killed']} of {result['mutants']} killed{more}", flush=True)
        for v in result["lives"]:
            met = f" (met {v['met']})" if "met" in v else ""
            print(f"   lives: {v['at']}  {v['code']}{met}", flush=True)


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
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rooms) - set(ROOMS):
        parser.error(f"there are: {', '.join(ROOMS)}")
    WORK.mkdir(exist_ok=True)
    shutil.rmtree(MUTANTS, ignore_errors=True)
    tests = None
    copy()
    if not arguments.report:
        build(os.environ["EBB_DEPS"], os.environ["EBB_ASAN"].split())
        tests = Tests()
    deadline = time.monotonic() + 60 * arguments.minutes
    results = json.loads(RESULT.read_text())["rooms"] if RESULT.exists() else {}
    for name in arguments.rooms or ROOMS:
        room = Room(name, arguments, tests, deadline)
        room.run()
        result = room.result()
        room.say(result)
        if result["mutants"]:
            results[name] = result
            write(results)
    weak = [r for r, x in results.items() if x["killed"] < WANTED * x["mutants"]]
    if weak:
        print(f"under {WANTED:.0%}: {', '.join(sorted(weak))}")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
