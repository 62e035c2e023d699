"""The group 'profile': where the microseconds of a C hello go, as a table that sums to the whole.

The whole is measured without a profiler. Its parts are the shares of perf's samples of the worker:
in the kernel by the system call above them, elsewhere by the library or, in ebb itself, by room.
Needs perf.
"""
import collections
import pathlib
import re
import statistics
import subprocess
import time

import measure
from common import GUESTS, say
from servers import CLIENT_CORE, ROOT, Ebb, descendants

RUN_S = 4
#: The first pattern that occurs in the kernel part of a stack names its step.
KERNEL = (("sock_write_iter", "write to the socket"),
          ("ksys_write", "write of the log, once a turn"),
          ("ksys_read", "read from the socket"),
          ("epoll", "epoll"),
          ("pagemap_scan", "restore: look for changed pages"),
          ("madvise|mprotect|munmap|mmap", "memory: map, populate, drop"),
          ("page_fault", "memory: page faults"),
          ("sigreturn|timer_settime|signal", "ticks"))


def rooms():
    """{function: room} from the libraries that the build leaves."""
    found = {}
    for library in sorted((ROOT / "build").glob("lib*.a")):
        names = subprocess.run(["nm", "--defined-only", library], capture_output=True, text=True,
                               check=True).stdout
        for name in re.findall(r"^\w+ [tT] (\S+)$", names, re.M):
            found.setdefault(name.partition(".")[0], library.stem[3:])
    return found


def step_of(frames, room_of):
    """Of one sample: [(function, library)], the innermost first."""
    function, library = frames[0]
    if "kernel" in library:
        chain = " ".join(f for f, lib in frames if "kernel" in lib)
        return next((step for pattern, step in KERNEL if re.search(pattern, chain)),
                    "kernel: interrupts and the rest")
    if library.endswith(".cwasm"):
        return "guest"
    if "libwasmtime" in library:
        return "Wasmtime: call, host calls"
    if "vdso" in library:
        return "clock"
    if "libuv" in library:
        return "loop"
    if library.endswith("/ebb") or library == "ebb":
        return room_of.get(function.partition(".")[0], "ebb, other")
    return "C library: copies, formats, allocation"


def samples(text):
    """Stacks of `perf script`: blocks of lines 'address function+offset (library)'."""
    for block in text.split("\n\n"):
        frames = re.findall(r"^\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$", block, re.M)
        if frames:
            yield frames


def recorded(server, path):
    """perf's samples of the worker while wrk asks."""
    worker = next(pid for pid in descendants(server.process.pid)
                  if b"@worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
    client = subprocess.Popen(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{measure.CONNECTIONS}",
         f"-d{RUN_S + 2}s", f"http://127.0.0.1:{server.port}/"], stdout=subprocess.DEVNULL)
    time.sleep(1)
    subprocess.run(["perf", "record", "-q", "-F", "4000", "-g", "-p", str(worker), "-o", path, "--",
                    "sleep", str(RUN_S)], check=True, stderr=subprocess.DEVNULL)
    client.wait()
    return subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym,dso"], check=True,
                          capture_output=True, text=True).stdout


def bench(facts, scratch, only, steps):
    server = Ebb("ebb C", GUESTS / "hello.wasm", scratch)
    try:
        server.start()
        say(server.settings())
        measure.wrk(server, 1)
        runs = [measure.wrk(server, 2) for _ in range(measure.RUNS)]
        text = recorded(server, scratch / "perf.data")
    finally:
        server.stop()
    whole_us = statistics.median(r["cpu_us"] for r in runs)
    room_of, found = rooms(), collections.Counter()
    for frames in samples(text):
        found[step_of(frames, room_of)] += 1
    total = sum(found.values())
    rows = [[step, count * whole_us / total] for step, count in found.most_common()]
    for step, us in rows:
        print(f"  {step:<42} {us:>6.2f} us  {us / whole_us:>5.1%}")
    print(f"  {'whole: CPU of all processes, a request':<42} {whole_us:>6.2f} us")
    return {"whole_us": whole_us, "steps_us": rows, "samples": total}, None
