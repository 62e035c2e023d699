"""./dev tidy: the rules of the source tree that a machine can check, each a small test.

  tidy.py [--fix] [--junitxml FILE]      --fix lays out the C files with clang-format

Looks at the files git knows or would add. Layout is reported, not judged: it is put right in one
go with --fix. A rule is a function that yields its complaints; its docstring is what it demands.
"""
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent

TIERS = {"base": 0, "component": 1, "app": 1, "carbon": 1, "loop": 1, "http": 2, "store": 2,
         "sched": 2, "engine": 3, "host": 4, "platform": 5, "ui": 6, "shim": 6, "cli": 7}

LINE_MAX = 100
SOURCES = (".c", ".h", ".py", ".sh", ".rs", ".js", ".mjs", ".wit")
FILE_LINES_MAX = 1000

# In pieces, so that this file does not contain what it looks for.
HOSTS = ["crates" + ".io", "pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org",
         "npmjs" + ".com", "proxy.golang" + ".org", "deb.debian" + ".org"]
PLACES = ["/" + "work/", "/" + "root/"]

BANNED = {"strcpy": "str or buf", "strcat": "buf", "sprintf": "snprintf or buf", "vsprintf": "buf",
          "gets": "fgets", "strtok": "str_cut", "alloca": "an arena", "rand": "a seeded generator",
          "gmtime": "gmtime_r", "localtime": "localtime_r", "strncpy": "memcpy"}


def tracked():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.splitlines()
    return [pathlib.Path(n) for n in names if (ROOT / n).is_file()]


FILES = tracked()
C_FILES = [f for f in FILES if f.suffix in (".c", ".h")]
OURS = [f for f in C_FILES if f.parts[0] in ("src", "tests", "bench", "examples", "tools")]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def without_comments(source):
    """The same number of lines, comments and strings blanked."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), source, flags=re.S)


def rule_tiers():
    """A room includes only itself and rooms of lower tiers."""
    for path in C_FILES:
        if path.parts[0] != "src" or path.parts[1] not in TIERS:
            continue
        room = path.parts[1]
        for number, line in enumerate(text(path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"(\w+)/', line)
            other = found and found[1]
            if other in TIERS and other != room and TIERS[other] >= TIERS[room]:
                yield f"{path}:{number}: {room} (tier {TIERS[room]}) includes {other} " \
                      f"(tier {TIERS[other]})"


def rule_rooms():
    """Every folder of src/ is a room that has its tier here."""
    for room in sorted({f.parts[1] for f in FILES if f.parts[0] == "src" and len(f.parts) > 2}):
        if room not in TIERS:
            yield f"src/{room}: no tier in tools/tidy.py"


def rule_engine_only():
    """Only src/engine includes the engine's headers."""
    for path in C_FILES:
        if path.parts[0] == "src" and path.parts[1] != "engine":
            for number, line in enumerate(text(path).splitlines(), 1):
                if re.match(r'\s*#\s*include\s+[<"](wasmtime|wasm|wasi)(\.h|/)', line):
                    yield f"{path}:{number}: {line.strip()}"


def rule_line_length():
    """Lines have at most 100 characters."""
    for path in FILES:
        if path.suffix in SOURCES or path.name == "dev":
            for number, line in enumerate(text(path).splitlines(), 1):
                if len(line) > LINE_MAX:
                    yield f"{path}:{number}: {len(line)} characters"


def rule_white_space():
    """No tabs in C, Python and shell, nothing at the end of a line, a line feed at the end."""
    for path in FILES:
        if path.suffix not in (".c", ".h", ".py", ".sh", ".build", ".toml") and path.name != "dev":
            continue
        if path.parts[:2] in (("tests", "fuzz"), ("tests", "data")) and path.suffix == ".toml":
            continue
        content = text(path)
        for number, line in enumerate(content.splitlines(), 1):
            if "\t" in line or line != line.rstrip():
                yield f"{path}:{number}: tab or blank at the end"
        if content and not content.endswith("\n"):
            yield f"{path}: no line feed at the end"


def rule_essay():
    """Every .c in src/ opens with a comment of two lines or more that says what it is for."""
    for path in C_FILES:
        if path.suffix == ".c" and path.parts[0] == "src":
            found = re.match(r"\s*/\*.*?\*/|(?:\s*//[^\n]*\n)+", text(path), re.S)
            if not found or len(found[0].strip().splitlines()) < 2:
                yield f"{path}: does not open with an essay"


def rule_pragma_once():
    """Every header has #pragma once."""
    for path in OURS:
        if path.suffix == ".h" and not re.search(r"^#pragma once$", text(path), re.M):
            yield f"{path}: no #pragma once"


def rule_file_size():
    """A C file is one noun: at most 1,000 lines."""
    for path in C_FILES:
        lines = text(path).count("\n")
        if lines > FILE_LINES_MAX:
            yield f"{path}: {lines} lines"


def rule_banned():
    """No function whose use is nearly always a mistake."""
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for path in OURS:
        if path.parts[0] == "src":
            for number, line in enumerate(without_comments(text(path)).splitlines(), 1):
                for found in pattern.finditer(line):
                    yield f"{path}:{number}: {found[1]}; use {BANNED[found[1]]}"


def rule_to_do():
    """Nothing is left for later without a failing test that says so."""
    for path in FILES:
        if path.suffix in (".c", ".h", ".py", ".sh", ".rs") and path.name != "tidy.py":
            for number, line in enumerate(text(path).splitlines(), 1):
                if re.search(r"\b(TODO|FIXME)\b", line):
                    yield f"{path}:{number}: {line.strip()}"


def rule_places():
    """No package registry's host name, no path of somebody's machine."""
    for path in FILES:
        if (ROOT / path).stat().st_size > 1 << 20 or path.suffix in (".wasm", ".png"):
            continue
        for number, line in enumerate(text(path).splitlines(), 1):
            for word in HOSTS + PLACES:
                if word in line:
                    yield f"{path}:{number}: contains '{word}'"


def rule_tests_run():
    """Every unit test and fuzz harness is named by the meson.build of its room."""
    rooms = "".join(text(f) for f in FILES if f.name == "meson.build")
    for path in FILES:
        folder = path.parts[:2]
        if path.suffix != ".c" or len(path.parts) != 3 or path.stem.endswith("_main"):
            continue
        if folder in (("tests", "unit"), ("tests", "fuzz")):
            if f"'{path.stem}'" not in rooms:
                yield f"{path}: in no meson.build, so it never runs"


def rule_shell():
    """Shell scripts parse."""
    for path in FILES:
        if path.suffix == ".sh" or path.name == "dev" or path.parts[0] == ".ci":
            done = subprocess.run(["bash", "-n", ROOT / path], capture_output=True, text=True,
                                  check=False)
            if done.returncode != 0:
                yield f"{path}: {done.stderr.strip()}"


def clang_format(*options):
    # examples and guests too: people copy them
    return subprocess.run([pathlib.Path(sys.prefix) / "bin" / "clang-format", *options, *OURS],
                          cwd=ROOT, capture_output=True, text=True, check=True)


def main():
    os.chdir(ROOT)
    arguments = sys.argv[1:]
    if "--fix" in arguments:
        clang_format("-i")
    suite, failed = xml.Element("testsuite", name="tidy"), 0
    for name, rule in sorted(globals().items()):
        if not name.startswith("rule_"):
            continue
        case = xml.SubElement(suite, "testcase", classname="tidy", name=name)
        complaints = list(rule())
        if complaints:
            failed += 1
            print(f"{rule.__doc__}")
            print("".join(f"   {c}\n" for c in complaints[:40]), end="")
            if len(complaints) > 40:
                print(f"   and {len(complaints) - 40} more")
            xml.SubElement(case, "failure", message=rule.__doc__).text = "\n".join(complaints)
    unlike = sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning", clang_format("-n").stderr, re.M)))
    if unlike:
        print(f"{len(unlike)} files are laid out unlike .clang-format; './dev tidy --fix' does it")
    print(f"tidy: {len(suite) - failed} rules hold, {failed} do not")
    if "--junitxml" in arguments:
        out = pathlib.Path(arguments[arguments.index("--junitxml") + 1])
        out.parent.mkdir(parents=True, exist_ok=True)
        xml.ElementTree(suite).write(out)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
