"""The group 'speed': what issues promise about five languages, workers, many apps and memory."""
import json
import statistics
import subprocess
import time

import cold
import common
import measure
import report
from common import GUESTS, say
from hello import NEW, guest, peers
from servers import ROOT, SERVER_CORE, Ebb, ebb_with

RUN_S = 2  # 27 servers: the whole group is promised within 15 minutes
GROUP_S_MAX = 780
LANGUAGES = {"C": "hello", "plain Rust": "rust-hello-wasi", "Rust": "rust-hello-spin",
             "JS": "js-hello", "Python": "python-hello", "Go": "go-hello"}
#: The one setting besides defaults: the state after the start function is what is restored.
AFTER_START = ("[component.c.tool.ebb]", "restore_after_start = true")


def guests():
    """Those that are built: (language, file)."""
    for language, name in LANGUAGES.items():
        wasm = GUESTS / f"{name}.wasm"
        if wasm.exists():
            yield language, wasm
        else:
            say(f"{language}: left out, {name} is not built")


def all_servers(scratch):
    yield from peers(scratch)
    for language, wasm in guests():
        yield from guest(language, wasm, scratch)
        if language in ("C", "JS", "Python"):
            yield ebb_with(f"ebb new {language}", wasm, scratch, *NEW, optional=True)
        if language in ("C", "Python"):
            yield Ebb(f"ebb pagemap {language}", wasm, scratch, "--restore", "pagemap")
        if language == "Go":
            yield ebb_with("ebb start Go", wasm, scratch, *AFTER_START,
                           optional=True)


def figures(runs):
    found = []
    floor, node, workerd = (runs.get(n) for n in ("floor", "node http", "workerd"))
    serve = {language: common.better_wasmtime(runs, language) for language in LANGUAGES}
    for language in ("C", "plain Rust"):
        common.against(found, runs, language, f"ebb {language}", [
            ("part of the floor", floor, 0.40, 0.60), ("times Node", node, 1.25, 1.9),
            ("times the better wasmtime serve", serve[language], 5, 8),
            ("times workerd", workerd, 3, 6)])
    common.against(found, runs, "Rust (spin-sdk 5)", "ebb Rust", [
        ("part of the floor", floor, 0.30, 0.45),
        ("times the better wasmtime serve", serve["Rust"], 6, 10)])
    common.against(found, runs, "JS", "ebb JS", [
        ("times the better wasmtime serve", serve["JS"], 4, 8), ("times Node", node, 0.2, 0.4)])
    for language, own, must, aim in (("Python", "ebb Python", 6, 12), ("Go", "ebb Go", 1.8, 2.5),
                                     ("Go, restore_after_start", "ebb start Go", 8, 15),
                                     ("C, new instances", "ebb new C", 3, 4),
                                     ("JS, new instances", "ebb new JS", 2, 3),
                                     ("Python, new instances", "ebb new Python", 3, 4)):
        peer = serve.get(language.partition(",")[0])
        common.against(found, runs, language, own, [
            ("times the better wasmtime serve", peer, must, aim)])
    return found


# ---- two workers against one

def workers(scratch, steps):
    """Requests per CPU-second of all processes; the servers may use both cores, and the client has
    its share of one of them, with one worker as with two."""
    rows, found = [], []
    for language, name in (("C", "hello"), ("Python", "python-hello")):
        wasm = GUESTS / f"{name}.wasm"
        if not wasm.exists():
            continue
        pair = [Ebb(f"ebb {language} workers {n}", wasm, scratch, "--workers", str(n), core=None)
                for n in (1, 2)]
        runs = {s.name: [] for s in pair}
        try:
            for server in pair:
                server.start()
                measure.wrk(server, 1)
                server.pause()
            for number in range(measure.RUNS):
                for server in pair:
                    server.resume()
                    runs[server.name].append(steps.do(f"workers {number} {server.name}",
                                                      lambda s=server: measure.wrk(s, RUN_S)))
                    server.pause()
        finally:
            for server in pair:
                server.stop()
        per_cpu_s = {name: statistics.median(1e6 / r["cpu_us"] for r in of)
                     for name, of in runs.items()}
        rows += [{"name": name, "requests_per_cpu_s": value, "rps": measure.median(runs[name])}
                 for name, value in per_cpu_s.items()]
        one, two = ([r["cpu_us"] for r in of] for of in runs.values())
        found.append((f"{language}: requests per CPU-second, two workers to one",
                      common.ratio(one, two), 0.9, 0.97))
    return rows, found


# ---- above the bare loop

def bare(scratch, steps):
    """CPU of a request in ebb above that of the same guest called and restored in a bare loop over
    the core API (bench/bare.c), in turns on one core."""
    program = ROOT / "build" / "src" / "host" / "ebb-bare-bench"
    subprocess.run(["ninja", "-C", ROOT / "build", program.relative_to(ROOT / "build")],
                   check=True, stdout=subprocess.DEVNULL)
    rows, found = [], []
    for language, name, must, aim in (("JS", "js-hello", 0.60, 0.35),
                                      ("Python", "python-hello", 0.25, 0.12)):
        wasm = GUESTS / f"{name}.wasm"
        if not wasm.exists():
            continue
        server, runs, loops = Ebb(f"ebb {language} bare", wasm, scratch), [], []

        def loop_us():
            text = subprocess.run(["taskset", "-c", str(SERVER_CORE), program, wasm], check=True,
                                  capture_output=True, text=True).stdout
            return json.loads(text)["restored_us"]

        try:
            server.start()
            measure.wrk(server, 1)
            for number in range(3):
                server.pause()
                loops.append(steps.do(f"bare {number} {language} loop", loop_us))
                server.resume()
                for part in range(2):
                    runs.append(steps.do(f"bare {number} {part} {language}",
                                         lambda: measure.wrk(server, RUN_S))["cpu_us"])
        finally:
            server.stop()
        above = common.ratio(runs, [us for us in loops for _ in range(2)]) - 1
        rows.append({"name": language, "cpu_us": runs, "loop_us": loops})
        print(f"  {language}: {statistics.median(runs):.1f} us of CPU a request, "
              f"{statistics.median(loops):.1f} in the bare loop")
        found.append((f"{language}: CPU of a request above the bare loop", above, must, aim))
    return rows, found


# ---- 1,000 apps

def apps_script(path, count):
    """A wrk script that asks for /0 ... /count-1 in turn; with 1 always for /0."""
    path.write_text(
        "local requests, at = {}, 0\n"
        "init = function()\n"
        f"  for i = 0, {count - 1} do requests[i] = wrk.format('GET', '/' .. i) end\n"
        "end\n"
        f"request = function() at = (at + 1) % {count} return requests[at] end\n")
    return path


def idle_resident(server):
    """Its memory once what it kept for later requests is gone: when it no longer falls."""
    last, since, deadline = server.resident(), time.monotonic(), time.monotonic() + 180
    while time.monotonic() < min(since + 15, deadline):
        time.sleep(1)
        now = server.resident()
        if now["Private_Dirty"] < last["Private_Dirty"] - 100_000:
            last, since = now, time.monotonic()
    return server.resident()


def apps(scratch, steps):
    """One server with 1,000 apps: its memory with none loaded, then after a call to each and some
    quiet; then all in turn against one of them."""
    server = Ebb("ebb 1000 apps", cold.manifest_write(scratch / "apps"), scratch)
    scripts = {n: apps_script(scratch / f"apps{n}.lua", n) for n in (1, cold.COUNT)}
    runs = {n: [] for n in scripts}
    try:
        server.start(600)
        empty = server.resident()
        cold.request_each(server.port)
        after = steps.do("apps memory", lambda: {"empty": empty, "idle": idle_resident(server)})
        for server.script in scripts.values():
            measure.wrk(server, 1)
        for number in range(measure.RUNS):
            for n, server.script in scripts.items():
                runs[n].append(steps.do(f"apps {number} {n}", lambda: measure.wrk(server, RUN_S)))
    finally:
        server.stop()
    rps = {n: measure.median(of)["rps"] for n, of in runs.items()}
    bytes_ = {key: (after["idle"][key] - after["empty"][key]) / cold.COUNT
              for key in after["idle"]}
    in_turn, one = ([r["rps"] for r in runs[n]] for n in (cold.COUNT, 1))
    found = [("1,000 apps in turn, part of one app", common.ratio(in_turn, one), 0.5, 0.8),
             ("resident memory of an idle app, kB", bytes_["Rss"] / 1000, 100, 20)]
    return {"rps_one_app": rps[1], "rps_1000_apps": rps[cold.COUNT],
            "resident_bytes_per_app": bytes_, "runs": {n: measure.median(r)["runs_rps"]
                                                      for n, r in runs.items()}}, found


def bench(facts, scratch, only, steps):
    facts["run_s"] = RUN_S
    rows = []
    if only - {"workers", "apps", "bare"} or not only:
        rows = common.measured(common.chosen(all_servers(scratch), only), steps, RUN_S,
                               GROUP_S_MAX - 150)
        print(common.table(rows))
    found, result = figures(common.runs_of(rows)), {"rows": rows}
    if not only or "workers" in only:
        result["workers"], more = workers(scratch, steps)
        found += more
        for row in result["workers"]:
            print(f"  {row['name']:<24} {row['requests_per_cpu_s']:>9,.0f} requests a CPU-second")
    if not only or "bare" in only:
        result["bare"], more = bare(scratch, steps)
        found += more
    if not only or "apps" in only:
        result["apps"], more = apps(scratch, steps)
        found += more
        print(f"  one app {result['apps']['rps_one_app']:,.0f} requests/s, 1,000 apps in turn "
              f"{result['apps']['rps_1000_apps']:,.0f}; an idle app holds "
              f"{result['apps']['resident_bytes_per_app']['Rss'] / 1000:.1f} kB, of it not shared "
              f"{result['apps']['resident_bytes_per_app']['Private_Dirty'] / 1000:.1f} kB")
    result["figures"] = found
    print(report.figures(found))
    return result, common.picture("Hello in five languages, one core; a fresh sandbox for every "
                                  "request (ebb, wasmtime)", rows)
