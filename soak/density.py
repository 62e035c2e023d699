"""`./dev soak density`: many apps deployed on one machine, few of them called at a time.

`--apps` apps (100,000) are in the catalogue, of `--artifacts` (10,000) distinct artifacts each with
an inode of its own; all of ebb runs in a memory cgroup of 2 GiB, page cache included, where this
machine lets us make one. Nothing is measured from outside that the server can say itself: the time
to a first answer of an app that is not loaded is that of its line in the log.
"""
import contextlib
import json
import os
import random
import re
import subprocess
import time
from pathlib import Path

from harness import EBB, PATIENCE_S, Connection, fetch, guest, running, write_app

APP = """
spin_manifest_version = 2
[application]
name = "small"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = "{source}"
"""
KIT = str(Path(EBB).parent / "ebb-serve-kit")
MEMORY_MAX = 2 << 30
ROLES = ("worker", "store", "keeper")
WRK = """
local hosts = {{ {hosts} }}
math.randomseed({seed})
request = function()
  return "GET /hello HTTP/1.1\\r\\nHost: " .. hosts[math.random(#hosts)] .. "\\r\\n\\r\\n"
end
"""


def host(n):
    return f"app-{n}-acme.localhost"


def cgroup_make():
    """The folder of a fresh memory cgroup with the limit, v2 or v1; None where we may not."""
    for base, limit in (("/sys/fs/cgroup", "memory.max"),
                        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        folder = Path(base) / f"ebb-density-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / limit).exists():
                (folder / limit).write_text(str(MEMORY_MAX))
                return folder
            folder.rmdir()
    return None


def memory(server):
    """Anonymous and shared memory of all processes, in bytes; and the kernel's slab."""
    total = 0
    pids = [server.process.pid] + [p for r in ROLES for p in server.children(r)]
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found = dict(re.findall(r"^(\w+): +(\d+) kB", text, re.M))
        total += 1024 * (int(found["Pss_Anon"]) + int(found["Pss_Shmem"]))
    slab = re.search(r"^Slab: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    return total, 1024 * int(slab[1])


@contextlib.contextmanager
def kit(work, data, *args, workers=2, env=None):
    command = [KIT, "sim", "--data", str(data), "--workers", str(workers), *args]
    group = cgroup_make()
    if group:  # the shell enters it, and becomes the server
        command = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    begun = time.monotonic()
    try:
        with running(command, work, {"EBB_RESTORE": "auto,check=10000"} | (env or {}), 0,
                     False) as server:
            server.begun, server.group = begun, group
            yield server
    finally:
        if group:
            with contextlib.suppress(OSError):
                group.rmdir()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def fill(work, apps, artifacts):
    """A data directory with so many apps; filled once."""
    data = work / f"data-{apps}-{artifacts}"
    if not (data / "filled").exists():
        app = write_app(work / "app", APP.format(source=guest("hello")))
        subprocess.run([KIT, "sim", "--data", str(data), "--clones", str(apps), "--artifacts",
                        str(artifacts), "--only-fill", f"acme:app:{app}"], check=True,
                       timeout=3600, stdout=subprocess.DEVNULL)
        (data / "filled").write_text("")
    return data


def idle_memory(work, data, apps):
    """What all processes have after a few apps were called, and the time to the first answer."""
    with kit(work, data) as server:
        assert fetch(server, "/hello", host=host(apps - 1)).status == 200
        first_s = time.monotonic() - server.begun
        for n in random.Random(7).sample(range(min(apps, 1000)), 100):
            assert fetch(server, "/hello", host=host(n)).status == 200
        return (*memory(server), first_s, bool(server.group))


def zipf(seed, apps, count):
    """Apps as they are called: the k-th most popular with a weight of 1 / k."""
    chosen = random.Random(seed)
    order = list(range(apps))
    chosen.shuffle(order)
    weights = [1 / (k + 1) for k in range(apps)]
    return [order[k] for k in chosen.choices(range(apps), weights, k=count)]


def cache_fill(data, group):
    """Reads every artifact from inside the cgroup, so that its pages are there and count there."""
    enter = f"echo $$ > {group}/cgroup.procs && " if group else ""
    subprocess.run(["/bin/sh", "-c", f'{enter}exec find "$1" -type f -exec cat {{}} +', "sh",
                    str(data / "artifacts")], check=True, stdout=subprocess.DEVNULL)


def cache_drop(data):
    """No page of an artifact is in memory afterwards (posix_fadvise, clean and unmapped pages)."""
    os.sync()
    for path in (data / "artifacts").rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def first_requests(work, data, apps, seed, cached):
    """Zipf-like traffic over all of them with room for few: the server's own times of requests
    that found their app not loaded, in us. Its file is in the page cache, or never was before."""
    cache_drop(data)
    with kit(work, data, "--apps-max", "200") as server:
        if cached:
            cache_fill(data, server.group)
        numbers = zipf(seed, apps, 20_000)
        for part in range(0, len(numbers), 2500):
            with Connection(server) as c:
                for n in numbers[part:part + 2500]:
                    r = c.request("GET", "/hello", host=host(n))
                    assert r.status == 200, (n, r.status, server.log()[-2000:])
        peak = 0
        if server.group:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with contextlib.suppress(OSError):
                    peak = int((server.group / name).read_text())
        time.sleep(0.2)
        requests = server.log_lines("request")
        cold = [r["us"] for r in requests if r["start"] == "cold"]
        return cold, len(requests), peak, memory(server)[0]


def cpu_s(server):
    total = 0
    for pid in (p for r in ROLES for p in server.children(r)):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def wrk(work, server, hosts, seconds):
    script = work / "density.lua"
    script.write_text(WRK.format(seed=1, hosts=",".join(f'"{x}"' for x in hosts)))
    before = cpu_s(server)
    done = subprocess.run(["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(script), server.url],
                          capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=True)
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    return requests / seconds, 1e6 * (cpu_s(server) - before) / requests, int(bad[1] if bad else 0)


def throughput(work, data, active):
    """Requests a second and CPU a request, over `active` loaded apps and over one, in turns."""
    with kit(work, data, workers=1) as server:
        with Connection(server) as c:
            for n in range(active):
                assert c.request("GET", "/hello", host=host(n)).status == 200
        many, one = [], []
        for _ in range(3):
            one.append(wrk(work, server, [host(0)], 3))
            many.append(wrk(work, server, [host(n) for n in range(active)], 3))
        held = memory(server)[0]
        for runs in (one, many):
            assert not any(bad for _, _, bad in runs), runs
            runs.sort()
        return one[1], many[1], held


def density(state, work, arguments):
    """Memory, disk, start and first requests with many apps deployed; traffic over active ones."""
    apps, artifacts = arguments.apps, min(arguments.apps, arguments.artifacts)
    few = max(100, apps // 100)
    small = fill(work, few, min(few, artifacts))
    yield f"{few} apps filled"
    large = fill(work, apps, artifacts)
    yield f"{apps} apps filled"
    before, slab_before, _, _ = idle_memory(work, small, few)
    after, slab_after, first_s, limited = idle_memory(work, large, apps)
    yield f"first answer after {first_s:.2f} s, memory {before} and {after}"
    dropped, _, _, _ = first_requests(work, large, apps, state["seed"], cached=False)
    yield f"{len(dropped)} first requests, files not in memory"
    cold, requests, peak, serving = first_requests(work, large, apps, state["seed"], cached=True)
    yield f"{len(cold)} first requests, files in the page cache"
    active = min(10_000, artifacts)
    one, many, held = throughput(work, large, active)
    database = sum((large / f"platform.db{x}").stat().st_size for x in ("", "-wal")
                   if (large / f"platform.db{x}").exists())
    result = {
        "apps": apps, "artifacts": artifacts, "memory_cgroup_2GiB": limited,
        "memory_per_idle_app_bytes": round((after - before) / (apps - few), 2),
        "memory_all_processes_bytes": after,
        "slab_per_idle_app_bytes": round((slab_after - slab_before) / (apps - few), 2),
        "disk_per_app_bytes": round(database / apps),
        "first_answer_s": round(first_s, 3),
        "zipf_requests": requests, "zipf_memory_bytes": serving, "cgroup_peak_bytes": peak,
        "first_requests": len(cold), "first_request_p50_us": percentile(cold, 0.5),
        "first_request_p99_us": percentile(cold, 0.99),
        "first_request_dropped_p50_us": percentile(dropped, 0.5),
        "first_request_dropped_p99_us": percentile(dropped, 0.99),
        "active_apps": active, "one_rps": round(one[0]), "active_rps": round(many[0]),
        "one_cpu_us": round(one[1], 1), "active_cpu_us": round(many[1], 1),
        "active_of_one": round(many[0] / one[0], 3),
        "memory_per_active_app_bytes": round((held - before) / active),
    }
    # What issue 8 asks for. One that is missed is said in the result; a result far from it fails.
    musts = {"memory_per_idle_app_bytes": 64, "disk_per_app_bytes": 2000, "first_answer_s": 2,
             "first_request_p50_us": 500, "first_request_p99_us": 5000}
    missed = [f"{k} {result[k]} (at most {most})" for k, most in musts.items() if result[k] > most]
    if result["active_of_one"] < 0.5:
        missed.append(f"active_of_one {result['active_of_one']} (at least 0.5)")
    result["musts_missed"] = missed
    print(json.dumps(result, indent=1), flush=True)
    for name, most in musts.items():
        assert result[name] <= 4 * most, result
    state["result"] = result
