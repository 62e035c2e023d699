"""Lists every function of the WASI 0.2 interfaces from their WIT files, and what ebb lacks.

    python3 tools/wit_functions.py WIT_DIR [--tests] [--all]

WIT_DIR is searched for *.wit; every version 0.2.N of wasi:* counts, pre-releases do not. Rows are
read from the tables in src/host/*.c. The exit status is 1 if a function has no row, or, with
--tests, if a row is called by no unit test of the host by name.

`wasi:cli/run`, `wasi:http/incoming-handler` are what components export: no rows.
"""

import argparse
import pathlib
import re
import sys

EXPORTED = {"wasi:cli/run", "wasi:http/incoming-handler"}
ROOT = pathlib.Path(__file__).resolve().parent.parent


def strip(text):
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"@(since|unstable|deprecated)\([^)]*\)", "", text)


def blocks(text, keyword):
    """(name, body) of every `keyword name { body }`, by matching braces."""
    for m in re.finditer(r"\b%s\s+%%?([\w-]+)\s*\{" % keyword, text):
        depth, at = 1, m.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield m.group(1), text[m.end() : at - 1]


def functions(body):
    """Component-level names of the functions of an interface."""
    rest = body
    for resource, methods in blocks(body, "resource"):
        rest = rest.replace(methods, "")
        if re.search(r"\bconstructor\s*\(", methods):
            yield f"[constructor]{resource}"
        for name, static in re.findall(r"%?([\w-]+)\s*:\s*(static\s+)?func\s*\(", methods):
            yield f"[{'static' if static else 'method'}]{resource}.{name}"
    for name in re.findall(r"%?([\w-]+)\s*:\s*func\s*\(", rest):
        yield name


def wanted(wit_dir):
    """interface path -> {function: versions}"""
    result = {}
    files = {}
    for path in sorted(wit_dir.rglob("*.wit")):
        files.setdefault(path.parent, []).append(strip(path.read_text()))
    for texts in files.values():
        pattern = r"package\s+(wasi:[\w-]+)@([\w.-]+);"
        package = next((m for t in texts for m in [re.search(pattern, t)]
                        if m), None)
        if not package or not re.fullmatch(r"0\.2\.\d+", package.group(2)):
            continue
        for text in texts:
            for name, body in blocks(text, "interface"):
                interface = f"{package.group(1)}/{name}"
                if interface in EXPORTED:
                    continue
                for f in functions(body):
                    result.setdefault(interface, {}).setdefault(f, set()).add(package.group(2))
    return result


def rows():
    """(name, file) of every row in the host's tables."""
    found = set()
    for path in sorted((ROOT / "src/host").glob("*.c")):
        for m in re.finditer(r'\{\s*"((?:\[\w+\])?[\w.-]+)",\s*[A-Z_"]', path.read_text()):
            found.add(m.group(1))
    return found


def called():
    """Names in the host's unit tests, those behind macros such as M("read") included."""
    names = set()
    for path in (ROOT / "tests/unit").glob("host_*.c"):
        text = path.read_text()
        names.update(re.findall(r'"((?:\[\w+\])?[\w.-]+)"', text))
        for macro, prefix in re.findall(r'#define (\w+)\(name\) "([^"]+)" name', text):
            names.update(prefix + n for n in re.findall(r'\b%s\("([\w.-]+)"\)' % macro, text))
    return names


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("wit_dir", type=pathlib.Path)
    args.add_argument("--tests", action="store_true", help="also name rows that no test calls")
    args.add_argument("--all", action="store_true", help="print every function")
    args = args.parse_args()
    have, tests, missing, untested, total = rows(), called(), 0, 0, 0
    for interface, names in sorted(wanted(args.wit_dir).items()):
        for name, versions in sorted(names.items()):
            total += 1
            notes = []
            if name not in have:
                missing += 1
                notes.append("missing")
            elif name not in tests:
                untested += 1
                notes.append("no test names it")
            shown = args.all or "missing" in notes or (args.tests and notes)
            if shown:
                print(f"{interface}#{name}", *sorted(versions), *notes)
    print(f"{total} functions, {missing} without a row, {untested} that no test names")
    return 1 if missing or (args.tests and untested) else 0


if __name__ == "__main__":
    sys.exit(main())
