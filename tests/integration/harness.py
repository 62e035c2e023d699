"""Drives the real binary: starts `ebb up` on port 0, waits for its ready line, reads its log.

Nothing here sleeps for luck: every wait is for a line, a byte or a process state, with a deadline
that only a defect reaches.
"""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EBB = os.environ.get("EBB_BIN", str(ROOT / "build" / "ebb"))
SANITIZED = os.environ.get("EBB_SANITIZED") == "1"
GUESTS = Path(os.environ.get("EBB_GUESTS", ROOT / "build" / "guests"))
#: How long anything may take before it counts as hung; sanitizer builds are slower.
PATIENCE_S = 120 if SANITIZED else 40


def guest(name):
    """The path of a built guest; a missing one is an error, never a skip."""
    path = GUESTS / f"{name}.wasm"
    assert path.exists(), f"{path} is missing: run './dev guests {name}'"
    return path


def environment():
    """No PATH: ebb must find nothing outside of itself."""
    keep = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "HOME", "XDG_CACHE_HOME", "TMPDIR")
    # Every app is restored from its first request on, and compared with a new instance each time.
    own = {"PATH": "", "EBB_RESTORE": "check=1"}
    return own | {k: os.environ[k] for k in keep if k in os.environ}


def wait_for(condition, what, patience=PATIENCE_S):
    """Polls a condition on another process's state, which no event announces to us."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.005)


def resident_bytes(pid):
    """What of a process is in memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmRSS"))


def open_files(pid):
    """What the descriptors of a process stand for; one may be closed meanwhile."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


def wakes(pid):
    """How often a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", status)[1])


class Server:
    """A running `ebb up`."""

    def __init__(self, process, log_path):
        self.process = process
        self.log_path = Path(log_path)
        self.ready = None

    def read_ready(self):
        """The line that says where it listens."""
        lines = []
        reader = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()))
        reader.start()
        reader.join(PATIENCE_S * 4)
        line = lines[0] if lines else ""
        assert line, f"ebb did not become ready:\n{self.log()}"
        self.ready = json.loads(line)

    def await_ready(self):
        self.read_ready()
        self.host, port = self.ready["addresses"][0].rsplit(":", 1)
        self.port = int(port)
        self.url = self.ready["base_url"]
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_lines(self, event=None):
        """The log as objects (the server was started with --log-format json). What follows the last
        end of line is still being written."""
        lines = []
        for line in self.log().split("\n")[:-1]:
            if line.startswith("{"):
                record = json.loads(line)
                if event is None or record.get("event") == event:
                    lines.append(record)
        return lines

    def wait_log(self, event, count=1, **fields):
        """Waits until `count` records of that event and these fields are in the log."""
        def found():
            records = [r for r in self.log_lines(event)
                       if all(r.get(k) == v for k, v in fields.items())]
            return records if len(records) >= count else None
        return wait_for(found, f"{count} log records {event} {fields}:\n{self.log()[-4000:]}")

    def connect(self):
        s = socket.create_connection((self.host, self.port), timeout=PATIENCE_S)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def children(self, role):
        """Process ids of our own processes in a role: "worker", "store"."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if f"@{role}".encode() in argv[:2]:
                        found.append(int(pid))
        return found

    def stop(self):
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def serving(app, tmp_path, *args, workers=1, env=None, expect_status=0, differs=False):
    """Runs `ebb up` on an app folder, manifest or component while the block runs. No restored
    instance may differ from a new one, unless that is the test."""
    command = [EBB, "up", "-f", str(app), "--listen", "127.0.0.1:0", "--json",
               "--log-format", "json", "--workers", str(workers), *args]
    with running(command, tmp_path, env, expect_status, differs) as server:
        yield server


@contextlib.contextmanager
def serving_many(tmp_path, apps, *args, workers=1, expect_status=0, differs=False):
    """Runs the data plane of `ebb serve` over a catalogue of apps, each "TENANT:APP:FOLDER" or
    "TENANT:APP:FOLDER:HOST"; the others have the host APP-TENANT.localhost."""
    kit = os.environ.get("EBB_SERVE_KIT", str(Path(EBB).parent / "ebb-serve-kit"))
    command = [kit, "sim", "--data", str(Path(tmp_path) / "data"), "--workers", str(workers),
               *args, *apps]
    with running(command, tmp_path, None, expect_status, differs) as server:
        yield server


@contextlib.contextmanager
def running(command, tmp_path, env, expect_status, differs):
    """A server's processes, until they were told to stop or the block failed."""
    log_path = Path(tmp_path) / f"ebb-{time.monotonic_ns()}.log"
    with open(log_path, "ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                   env=environment() | (env or {}))
    server = Server(process, log_path)
    try:
        server.await_ready()
        yield server
        status = server.stop()
        assert status == expect_status, f"exit status {status}:\n{server.log()[-4000:]}"
        assert "Sanitizer" not in server.log(), server.log()[-8000:]
        assert "this is a bug in ebb" not in server.log(), server.log()[-4000:]
        assert differs or "not-restored" not in server.log(), server.log()[-4000:]
    finally:
        if process.poll() is None:
            for pid in [*server.children("worker"), *server.children("store"),
                        *server.children("keeper")]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
        process.stdout.close()


def ebb(*args, status=0, env=None, cwd=None):
    """Runs a command to its end; returns (stdout, stderr)."""
    done = subprocess.run([EBB, *map(str, args)], capture_output=True, text=True, cwd=cwd,
                          env=environment() | (env or {}), timeout=PATIENCE_S * 4)
    said = done.stdout + done.stderr
    assert done.returncode == status, f"{args}: status {done.returncode}\n{said}"
    return done.stdout, done.stderr


class Response:
    """A response as it was on the wire."""

    def __init__(self, status, fields, body, version):
        self.status, self.fields, self.body, self.version = status, fields, body, version

    def get(self, name):
        return next((v for k, v in self.fields if k == name.lower()), None)

    def all(self, name):
        return [v for k, v in self.fields if k == name.lower()]

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Connection:
    """A client that hides nothing: bytes out, a strictly parsed response in."""

    def __init__(self, server):
        self.socket = server.connect()
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def head(self):
        line = self.file.readline()
        if not line:
            return None
        match = re.fullmatch(rb"(HTTP/1\.[01]) ([0-9]{3}) ([^\r\n]*)\r\n", line)
        assert match, f"bad status line {line!r}"
        fields = []
        while (line := self.file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), f"bad field line {line!r}"
            name, value = line[:-2].split(b":", 1)
            fields.append((name.decode().lower(), value.strip(b" \t").decode("latin-1")))
        return Response(int(match[2]), fields, b"", match[1].decode())

    def exactly(self, n):
        data = self.file.read(n)
        assert len(data) == n, f"the body was cut: {len(data)} of {n} bytes"
        return data

    def response(self, method="GET"):
        """The next response with its body; None at the end of the connection."""
        r = self.head()
        if r is None or method == "HEAD" or r.status in (204, 304) or r.status < 200:
            return r
        if r.get("transfer-encoding") == "chunked":
            while size := int(self.file.readline().split(b";")[0], 16):
                r.body += self.exactly(size)
                assert self.file.readline() == b"\r\n"
            while (line := self.file.readline()) != b"\r\n":
                name, value = line[:-2].split(b":", 1)
                r.fields.append((name.decode().lower(), value.strip().decode("latin-1")))
        elif r.get("content-length") is not None:
            r.body = self.exactly(int(r.get("content-length")))
        else:
            r.body = self.file.read()
        return r

    def request(self, method, target, fields=(), body=None, host="example.test"):
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        head += [f"{k}: {v}" for k, v in fields]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(head).encode() + b"\r\n\r\n" + (body or b""))
        return self.response(method)


def fetch(server, target, method="GET", fields=(), body=None, host="example.test"):
    """One request on a connection of its own."""
    with Connection(server) as c:
        return c.request(method, target, fields, body, host)


def write_app(folder, manifest, files=None):
    """An app folder with a manifest and files (name -> bytes)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spin.toml").write_text(manifest)
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
