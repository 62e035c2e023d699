"""`./dev fuzz [NAME] [SECONDS]`: fuzzes, and keeps the account of it in soak/results/fuzz.json.

A harness runs in slices until it has used so much CPU time; each slice adds its CPU seconds,
executions and coverage (edges of the instrumented code) to the account, so hours add up over many
short runs. What grows is kept in build-fuzz/corpus/NAME. `--minimise` picks the fewest inputs that
reach every edge and makes them the corpus in tests/fuzz/corpus/NAME, which `./dev test` replays.
`--coverage` replays that corpus under gcov and notes which share of the parser's lines it runs.

A corpus is at its plateau when the last PLATEAU_S seconds of CPU found at most PLATEAU_GROWTH more
edges than were known before.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUZZ = ROOT / "build-fuzz"
COVERAGE = ROOT / "build-coverage"
RESULT = ROOT / "soak" / "results" / "fuzz.json"
SLICE_S = 120
PLATEAU_S = 900
PLATEAU_GROWTH = 0.005
#: Wall time: it goes on while the machine does something else and fuzzing is stopped.
LIMITS = ["-rss_limit_mb=2048", "-timeout=400", "-print_final_stats=1"]

#: The sources that a harness is for; their lines count.
PARSERS = {
    "component_link": ["check", "core_types", "ctype", "eval", "link.c", "linker", "module_type",
                       "names", "reader", "scope", "subtype", "table.c", "type.c"],
    "component_plan": ["plan.c"],
    "component_flatten": ["core_code", "core_link", "core_module", "flatten"],
    "component_abi_copy": ["abi.c", "abi_copy"],
    "app_manifest": ["manifest", "names.c", "toml"],
    "app_oci": ["oci", "archive", "semver"],
    "app_outbound": ["outbound"],
    "app_route": ["route.c"],
    "app_template": ["template.c"],
    "app_toml": ["toml"],
    "platform_admin": ["keeper_api.c", "keeper_apps", "keeper_blobs", "keeper_deploy",
                       "keeper_logs", "keeper_store", "keeper_tenants"],
    "http_http2": ["http2", "http1_conn", "http1_exchange", "exchange.c", "server.c"],
    "http_parser": ["field.c", "http1_head", "http1_parser"],
}


def commit():
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout.strip()


def account_read():
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


def account_write(account):
    new = RESULT.with_suffix(".new")
    new.write_text(json.dumps(dict(sorted(account.items())), indent=1) + "\n")
    new.rename(RESULT)


def size_of(folder):
    files = [f for f in folder.iterdir() if f.is_file()] if folder.is_dir() else []
    return {"inputs": len(files), "bytes": sum(f.stat().st_size for f in files)}


def harness(name):
    return FUZZ / f"fuzz_{name}"


def folders(name):
    """The corpus that grows, then the one that is committed."""
    grown, kept = FUZZ / "corpus" / name, ROOT / "tests" / "fuzz" / "corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    return [grown, kept] if kept.is_dir() else [grown]


def timed(command):
    """Runs a command; returns (status, output, CPU seconds)."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return child.returncode, out.read(), used.ru_utime + used.ru_stime


def plateau(history):
    """True if the last PLATEAU_S seconds added next to nothing."""
    end = history[-1]["cpu_s"]
    before = [h["edges"] for h in history if h["cpu_s"] <= end - PLATEAU_S]
    return bool(before) and history[-1]["edges"] <= max(before) * (1 + PLATEAU_GROWTH)


def slice_add(entry, out, cpu):
    edges = [int(x) for x in re.findall(r"\bcov: (\d+)", out)]
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
    entry["cpu_seconds"] = round(entry.get("cpu_seconds", 0) + cpu, 1)
    entry["executions"] = entry.get("executions", 0) + (int(executions[1]) if executions else 0)
    entry["edges"] = edges[-1] if edges else entry.get("edges", 0)
    history = entry.setdefault("history", [])
    point = {"cpu_s": round(entry["cpu_seconds"]), "edges": entry["edges"]}
    if len(history) > 1 and point["cpu_s"] - history[-2]["cpu_s"] < PLATEAU_S / 3:
        history.pop()  # the newest point moves on; older ones stay PLATEAU_S / 3 apart
    history.append(point)
    entry["plateau"] = plateau(history)


def fuzz(name, seconds):
    """Until the harness has used so many seconds of CPU; False if it found something."""
    spent, said = 0.0, " ".join(["./dev fuzz", name, str(seconds)])
    while spent < seconds:
        wall = max(5, min(SLICE_S, int(seconds - spent + 1)))
        status, out, cpu = timed([
            harness(name), f"-max_total_time={wall}", f"-artifact_prefix={FUZZ}/{name}-", *LIMITS,
            *folders(name)])
        spent += cpu
        account = account_read()
        entry = account.setdefault(name, {})
        slice_add(entry, out, cpu)
        entry |= {"corpus_grown": size_of(folders(name)[0]), "commit": commit(), "command": said}
        account_write(account)
        print(f"{name}: {spent:.0f} of {seconds} s, {entry['edges']} edges, "
              f"{entry['corpus_grown']['inputs']} inputs, in all {entry['cpu_seconds']:.0f} s"
              f"{', plateau' if entry['plateau'] else ''}", flush=True)
        if status:
            print(out[-6000:], f"\n{name}: FOUND something, see {FUZZ}/{name}-*", flush=True)
            return False
    return True


def minimise(name):
    """The fewest inputs that reach every edge become the committed corpus."""
    kept = ROOT / "tests" / "fuzz" / "corpus" / name
    named = {f.read_bytes(): f.name for f in kept.iterdir()} if kept.is_dir() else {}
    with tempfile.TemporaryDirectory(dir=FUZZ) as new:
        status, out, _ = timed([harness(name), "-set_cover_merge=1", "-use_counters=0", *LIMITS,
                                new, *folders(name)])
        assert status == 0, out[-3000:]
        inputs = {f.read_bytes(): named.get(f.read_bytes(), f.name) for f in Path(new).iterdir()}
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.iterdir():
        if re.fullmatch("[0-9a-f]{40}", old.name):  # ours; what has a name was put there by hand
            old.unlink()
    for data, file in inputs.items():
        (kept / file).write_bytes(data)
    print(f"{name}: corpus {size_of(kept)}")


def gcov(folder, parser):
    """{source: (lines run, lines)} of what was compiled into `folder`."""
    lines = {}
    notes = [str(p) for p in folder.rglob("*.gcno")]
    done = subprocess.run(["gcov", "--json-format", "--stdout", *notes], capture_output=True,
                          text=True, check=True, cwd=folder)
    for report in filter(None, done.stdout.splitlines()):
        for file in json.loads(report)["files"]:
            path = Path(file["file"])
            if not any(path.name.startswith(p) for p in parser) or "_main" in path.name:
                continue
            seen = lines.setdefault(path.name, {})
            for line in file["lines"]:
                number = line["line_number"]
                seen[number] = seen.get(number, False) or line["count"] > 0
    return {f: (sum(s.values()), len(s)) for f, s in sorted(lines.items())}


def coverage(name):
    """Which share of the parser's lines the committed corpus runs."""
    for old in COVERAGE.rglob("*.gcda"):
        old.unlink()
    done = subprocess.run([COVERAGE / f"fuzz_{name}", ROOT / "tests/fuzz/corpus" / name],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    files = gcov(COVERAGE / f"lib{name.split('_')[0]}.a.p", PARSERS[name])
    run, of = (sum(x) for x in zip(*files.values()))
    for file, (a, b) in files.items():
        print(f"  {file:24} {a:5} of {b:5}  {100 * a / b:5.1f} %")
    print(f"{name}: {run} of {of} lines, {100 * run / of:.1f} %")
    account = account_read()
    account.setdefault(name, {}).update(
        corpus=size_of(ROOT / "tests/fuzz/corpus" / name),
        lines_run=run, lines=of, lines_percent=round(100 * run / of, 1))
    account_write(account)


def main():
    os.environ.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_stack_use_after_return=0")
    os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a harness; none: each in turn")
    parser.add_argument("seconds", nargs="?", type=int, default=60, help="of CPU, each")
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    arguments = parser.parse_args()
    if arguments.name and arguments.name.isdigit():
        arguments.name, arguments.seconds = None, int(arguments.name)
    names = [arguments.name] if arguments.name else sorted(
        p.stem for p in (ROOT / "tests" / "fuzz").glob("*_*.c") if p.stem != "replay_main")
    begun, fine = time.monotonic(), True
    for name in names:
        if arguments.minimise:
            minimise(name)
        if arguments.coverage and name in PARSERS:
            coverage(name)
        if not arguments.minimise and not arguments.coverage:
            fine &= fuzz(name, arguments.seconds)
    print(f"done in {time.monotonic() - begun:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
