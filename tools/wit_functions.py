"""Lists every function of the WASI 0.2 interfaces from their WIT files, and what ebb lacks.

    python3 tools/wit_functions.py WIT_DIR [--tests] [--all] [--outcomes DIR]

WIT_DIR is searched for *.wit; every version 0.2.N of wasi:* counts, pre-releases do not. Rows are
read from the tables in src/host/*.c. The exit status is 1 if a function has no row, or, with
--tests, if a row is called by no unit test of the host by name. With --outcomes, DIR holds what the
unit tests of the host wrote there (EBB_OUTCOMES of tests/host_kit.h): each function must have
succeeded and failed in one of them. A failure is an error or none where the function has such a
result, otherwise the trap for a wrong handle or argument; a function without parameters and without
such a result cannot fail.

`wasi:cli/run`, `wasi:http/incoming-handler` are what components export: no rows.
"""

import argparse
import pathlib
import re
import sys

EXPORTED = {"wasi:cli/run", "wasi:http/incoming-handler"}
#: Functions that cannot succeed, or end the instance, with the reason.
LISTENING = "sockets never listen, as in Spin: docs/http.md"
EXCUSED = {
    "wasi:sockets/tcp#[method]tcp-socket.start-bind": LISTENING,
    "wasi:sockets/tcp#[method]tcp-socket.finish-bind": LISTENING,
    "wasi:sockets/tcp#[method]tcp-socket.start-listen": LISTENING,
    "wasi:sockets/tcp#[method]tcp-socket.finish-listen": LISTENING,
    "wasi:sockets/tcp#[method]tcp-socket.accept": LISTENING,
    "wasi:cli/environment#initial-cwd": "there is none: docs/http.md",
    "wasi:cli/terminal-stdin#get-terminal-stdin": "never a terminal: docs/http.md",
    "wasi:cli/terminal-stdout#get-terminal-stdout": "never a terminal: docs/http.md",
    "wasi:cli/terminal-stderr#get-terminal-stderr": "never a terminal: docs/http.md",
    "wasi:http/types#[method]response-outparam.send-informational": "unstable: docs/http.md",
    "wasi:cli/exit#exit": "it ends the instance, well or badly",
    "wasi:cli/exit#exit-with-code": "it ends the instance, well or badly",
}
#: Functions whose error or none the host has no occasion to return: a wrong handle must trap.
NEVER_REFUSED = {
    "wasi:sockets/udp#[method]outgoing-datagram-stream.check-send": "a number says it, be it 0",
    "wasi:filesystem/types#[method]descriptor.get-flags": "the descriptor knows them",
    "wasi:filesystem/types#[method]descriptor.sync": "files are a scratch copy",
    "wasi:filesystem/types#[method]descriptor.sync-data": "files are a scratch copy",
    "wasi:http/types#[method]incoming-request.path-with-query": "every request has one",
    "wasi:http/types#[method]incoming-request.scheme": "every request has one",
    "wasi:http/types#[method]request-options.set-connect-timeout": "every timeout is kept",
    "wasi:http/types#[method]request-options.set-first-byte-timeout": "every timeout is kept",
    "wasi:http/types#[method]request-options.set-between-bytes-timeout": "every timeout is kept",
}
NUMBERS = {"u8", "u16", "u32", "u64", "s32", "s64", "bool", "instant", "duration", "datetime"}
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


def signatures():
    """name -> signature of every row: a name in several interfaces has the same kind of result."""
    found = {}
    for path in sorted((ROOT / "src/host").glob("*.c")):
        text = path.read_text()
        for name, value in re.findall(r'#define (\w+) +((?:\w+ +)*"[^"\n]*")', text):
            text = re.sub(r"\b%s\b(?!\()" % name, lambda _, v=value: v, text)
        row = r'\{\s*"((?:\[\w+\])?[\w.-]+)",((?:\s*(?:"[^"]*"|\w+))+?),\s*\w+'
        for m in re.finditer(row, text):
            found[m.group(1)] = "".join(re.findall(r'"([^"]*)"', m.group(2)))
    return found


def outcomes(folder):
    """interface path#name -> set of "ok", "error", "trap"."""
    result = {}
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            name, outcome = line.rsplit(" ", 1)
            interface, function = name.split("#", 1)
            result.setdefault(f"{interface.split('@')[0]}#{function}", set()).add(outcome)
    return result


def unproved(wit_dir, folder):
    """Lines about functions without a success or a failure."""
    had, texts = outcomes(folder), signatures()
    for interface, names in sorted(wanted(wit_dir).items()):
        for name in sorted(names):
            full, text = f"{interface}#{name}", texts.get(name, "")
            got = had.get(full, set())
            result = text.rpartition("->")[2] if "->" in text else ""
            has_error = re.search(r"\bresult\b|\boption<", result) is not None
            has_error = has_error and full not in NEVER_REFUSED
            params = re.findall(r":\s*([^,)]+)", text.partition("->")[0])
            can_fail = has_error or not {p.strip() for p in params} <= NUMBERS
            if full in EXCUSED:
                continue
            if "ok" not in got:
                yield f"{full} never succeeds in a test"
            if can_fail and ("error" if has_error else "trap") not in got:
                yield f"{full} never fails in a test: {text}"


def called():
    """Names in the host's unit tests and their kits, those behind macros such as M("read") too."""
    names = set()
    for path in [*(ROOT / "tests/unit").glob("host_*.c"), *(ROOT / "tests").glob("host_*kit.h")]:
        text = path.read_text()
        names.update(re.findall(r'"((?:\[\w+\])?[\w.-]+)"', text))
        for macro, prefix in re.findall(r'#define (\w+)\(name\) "([^"]+)" name', text):
            names.update(prefix + n for n in re.findall(r'\b%s\("([\w.-]+)"\)' % macro, text))
    return names


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("wit_dir", type=pathlib.Path)
    args.add_argument("--tests", action="store_true", help="also name rows that no test calls")
    args.add_argument("--outcomes", type=pathlib.Path, help="what the unit tests wrote there")
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
    lines = list(unproved(args.wit_dir, args.outcomes)) if args.outcomes else []
    for line in lines:
        print(line)
    if args.outcomes:
        print(f"{len(lines)} proofs missing, {len(EXCUSED)} functions excused")
    return 1 if missing or lines or (args.tests and untested) else 0


if __name__ == "__main__":
    sys.exit(main())
