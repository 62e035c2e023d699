"""The stages of `./dev soak`; see run.py for what a stage is."""
import os
import shutil
import socket
from pathlib import Path

import attack
import calls
import day
import density
import differential
import fair
import durability
import host_arguments
import hostile_kinds
import onecore
import serving_calls
import serving_node
import stall
import waiting
import wast
from harness import guest, serving, write_app

APP = """
spin_manifest_version = 2
[application]
name = "soak"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = "{source}"
"""

BATCH = 100


def resources(server):
    """Resident memory and descriptors of all processes of a server."""
    pids = [server.process.pid, *server.children("worker"), *server.children("store")]
    memory = descriptors = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        memory += next(int(x.split()[1]) * 1024 for x in status.splitlines()
                       if x.startswith("VmRSS"))
        descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    return memory, descriptors


def exactly(s, n):
    parts = bytearray()
    while len(parts) < n:
        data = s.recv(min(1 << 20, n - len(parts)))
        assert data, "the connection was closed"
        parts += data
    return bytes(parts)


def hello_batches(server, connections):
    """Sends BATCH pipelined requests per connection and reads all answers, for ever."""
    request = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * BATCH
    first = connections[0]
    first.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    size = len(first.recv(65536))  # every answer has the same length
    while True:
        for s in connections:
            s.sendall(request)
        for s in connections:
            answers = exactly(s, size * BATCH)
            assert answers.count(b"HTTP/1.1 200 OK\r\n") == BATCH, answers[:400]
        yield len(connections) * BATCH


def million_requests(state, work, arguments):
    """1,000,000 requests; memory and descriptors are level after the first 10,000."""
    total = 1_000_000
    app = write_app(work / "app", APP.format(source=guest("hello")))
    with serving(app, work, workers=2) as server:
        connections = [socket.create_connection((server.host, server.port), timeout=60)
                       for _ in range(16)]
        batches = hello_batches(server, connections)
        done, base = 0, None
        peak = (0, 0)
        while state.get("done", 0) + done < total:
            done += next(batches)
            if done >= 10_000:
                now = resources(server)
                base = base or now
                peak = tuple(map(max, peak, now))
                assert now[0] <= base[0] * 1.05 + (4 << 20), f"memory {base[0]} -> {now[0]}"
                assert now[1] <= base[1], f"descriptors {base[1]} -> {now[1]}"
            yield f"{state.get('done', 0) + done} of {total} requests"
        for s in connections:
            s.close()
    state["done"] = state.get("done", 0) + done
    state["result"] = {"requests": state["done"], "workers": 2,
                       "memory_bytes_at_10000": base[0], "memory_bytes_peak": peak[0],
                       "descriptors_at_10000": base[1], "descriptors_peak": peak[1]}
    yield "done"


WAST_FOLDERS = ("values", "resources", "linking", "binary", "validation")


def wast_suite(state, work, arguments):
    """The specification's component suite (folder test/ of its repository, --suite PATH)."""
    assert arguments.suite, "give --suite PATH: a checkout of the component model's repository"
    root = Path(arguments.suite)
    root = root / "test" if (root / "test").is_dir() else root
    files, skipped = {}, []
    for folder in WAST_FOLDERS:
        suites = sorted((root / folder).glob("*.wast"))
        assert suites, f"no suites in {root / folder}"
        for suite in suites:
            into = work / folder / suite.stem
            shutil.rmtree(into, ignore_errors=True)
            wast.convert(suite, into)
            (report,) = wast.run(into)
            name = f"{folder}/{suite.name}"
            files[name] = {k: report[k] for k in ("passed", "failed", "skipped")}
            skipped += [f"{name}:{x['line']}: {x['why']}" for x in report["lines"]
                        if x["outcome"] == "skipped"]
            failed = [f"{name}:{x['line']}: {x['why']}" for x in report["lines"]
                      if x["outcome"] == "failed"]
            assert not failed, "\n".join(failed)
            yield name
    state["result"] = {"commands_" + k: sum(f[k] for f in files.values())
                       for k in ("passed", "failed", "skipped")}
    state["result"] |= {"files": files, "skipped_lines": skipped}
    yield "done"


STAGES = {"requests": million_requests, "wast": wast_suite, "hostile": hostile_kinds.hostile_kinds,
          "arguments": host_arguments.arguments_made_up, "flatten": differential.flatten,
          "values": differential.values, "fair": fair.fair,
          "stall": stall.stall, "onecore": onecore.one_core,
          "density": density.density, "attack": attack.attack,
          "kill": durability.kill, "powercut": durability.power_cut,
          "waiting": waiting.waiting, "calls": calls.calls, "day": day.day,
          "serve-kill": serving_node.kill, "serve-powercut": serving_node.power_cut,
          "serve-calls": serving_calls.calls}
