"""Kinds of hostile requests and a client that sends many of one; for test_hostile.py and
`./dev soak hostile`."""
import json
import os
import socket
import struct
from collections import Counter

from harness import guest, resident_bytes, wait_for

MEMORY_MAX = 8 << 20
#: Budgets of 1 ms, and little of everything else.
MANIFEST = f"""
spin_manifest_version = 2
[application]
name = "hostile"
[[trigger.http]]
route = "/..."
component = "bad"
[[trigger.http]]
route = "/kitchen/..."
component = "kitchen"
[[trigger.http]]
route = "/tables/..."
component = "tables"
[[trigger.http]]
route = "/good/..."
component = "good"
[component.bad]
source = "{guest('c-hostile')}"
files = ["a.txt"]
[component.tables]
source = "{guest('c-tables')}"
[component.kitchen]
source = "{guest('c-kitchen')}"
[component.good]
source = "{guest('c-kitchen')}"
""" + "".join(f"""
[component.{name}.tool.ebb]
cpu_time_max = "1ms"
idle_time_max = "5ms"
memory_max = "{MEMORY_MAX >> 20} MiB"
resources_max = 1000
log_max = 2000
""" for name in ("bad", "kitchen", "tables"))
FILES = {"a.txt": "a"}

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
GOOD = b"GET /good/count HTTP/1.1\r\nHost: a\r\n\r\n"
#: What the log gives as a reason -> in a word or two.
REASONS = {
    "used up its CPU time": "CPU time",
    "used up its idle time": "idle time",
    "call stack exhausted": "stack",
    "the instance holds more than": "handles",
    "fields take more than": "fields",
    "cannot leave component instance": "call out",
    "`unreachable`": "unreachable",
    "the guest exited with status": "status",
    "without setting a response": "no answer",
    "more than log_max": "log_max",
}
CPU, IDLE = {"stopped: CPU time"}, {"stopped: idle time"}
#: name -> (request, statuses that may come, reasons that most of them have, as Tally names them).
#: 504 and CPU always may be, on a machine that is slow enough, and IDLE on one that is busy. The
#: memory that is allowed takes longer to fill than 1 ms: the bomb below gets there, not `memory`.
KINDS = {
    "loop": (GET % b"spin", {504}, CPU),
    "memory": (GET % b"grow", {504}, CPU),
    "tables": (GET % b"tables/grow", {504}, CPU),
    "recursion": (GET % b"deep", {500, 504}, {"trap: stack"}),
    "handles": (GET % b"handles", {500, 504}, {"trap: handles"}),
    "pollables": (GET % b"pollables", {500, 504}, {"trap: handles"}),
    "an allocator that calls out": (GET % b"allocator", {500, 504}, {"trap: call out"}),
    "headers": (GET % b"headers", {500, 504}, {"trap: fields"}),
    "files": (GET % b"files", {200, 500, 504}, None),
    "body never read": (POST % (b"unread", 100000) + b"x" * 100000, {504}, IDLE),
    "body never finished by the client": (POST % (b"starve", 10) + b"x", {504}, IDLE),
    "body never finished by the guest": (GET % b"unfinished", {200, 504}, IDLE),
    "answer never sent": (GET % b"unsent", {200, 504}, CPU),
    "body without end": (GET % b"endless", {200, 504}, CPU | IDLE),
    "a million log lines": (GET % b"logs?1000000", {504}, {"log-full: log_max"}),
    "trap": (GET % b"kitchen/trap", {500, 504}, {"trap: unreachable"}),
    "exit": (GET % b"kitchen/exit?1", {500, 504}, {"exit: status"}),
    "memory bomb": (GET % b"kitchen/bomb", {500, 504}, {"trap: unreachable"}),
    "no answer": (GET % b"kitchen/silent", {500, 504}, {"failed: no answer"}),
    "half an answer": (GET % b"kitchen/half", {200, 500, 504}, {"trap: unreachable"}),
    "a client that leaves": (GET % b"endless", None, None),
}
BATCH = 16


def connect(server):
    s = socket.socket()
    s.settimeout(600)
    s.connect((server.host, server.port))
    return s


def status_of(s):
    """Reads to the end of the connection; the status that came first, None without any."""
    head = b""
    try:
        while data := s.recv(1 << 18):
            if len(head) < 16:
                head += data
    except ConnectionResetError:
        pass
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else None


def batch(server, kind, n, goods):
    """n requests of a kind at once; their statuses. While they run others are served: a request on
    each of `goods`, which are kept connections."""
    request, allowed, _ = KINDS[kind]
    sockets = [connect(server) for _ in range(n)]
    for s in sockets:
        try:
            s.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was answered before it was sent whole
    for c in goods:
        c.send(GOOD)
    if allowed is None:  # gone at once, by reset
        for s in sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    for c in goods:
        r = c.response()
        assert r and (r.status, r.text) == (200, "1"), f"beside {kind}: {r and (r.status, r.body)}"
    statuses = []
    for s in sockets if allowed else ():
        status = status_of(s)
        assert status in allowed, f"{kind}: status {status}, expected one of {allowed}"
        statuses.append(status)
        s.close()
    return statuses


def processes(server):
    """Name -> process id of all that stay."""
    found = {"supervisor": server.process.pid}
    for role in ("worker", "store", "keeper"):
        found |= {f"{role} {k}": pid for k, pid in enumerate(sorted(server.children(role)))}
    return found


def resources(pids):
    """Name -> resident bytes and descriptors of these processes."""
    return {name: (resident_bytes(pid), len(os.listdir(f"/proc/{pid}/fd")))
            for name, pid in pids.items()}


#: What no line of a log may say.
WRONG = (b"not-restored", b"this is a bug in ebb", b"Sanitizer")


class Tally:
    """Hostile requests as the log has them: their statuses, why they ended before their time, and
    how much memory they had."""

    def __init__(self):
        self.requests = self.memory_bytes_max = self.at_memory_max = 0
        self.statuses, self.reasons = Counter(), Counter()

    def add(self, record):
        if record.get("component", "good") == "good":
            return
        if record["event"] == "request":
            self.requests += 1
            self.statuses[str(record["status"])] += 1
            self.memory_bytes_max = max(self.memory_bytes_max, record["memory"])
            self.at_memory_max += record["memory"] >= MEMORY_MAX
        elif "reason" in record:
            said = record["reason"]
            word = next((REASONS[words] for words in REASONS if words in said), said)
            self.reasons[f"{record['event']}: {word}"] += 1

    def named(self, kind):
        """How many ended as their kind is named for; all, where that is nothing in particular. No
        other reason may be there than on a machine that is slow or busy."""
        expected = KINDS[kind][2]
        if expected is None:
            return self.requests
        others = set(self.reasons) - expected - CPU - IDLE
        assert not others, f"{kind}: {others}, expected {expected}"
        return sum(self.reasons[reason] for reason in expected)


class Log:
    """The log of a server, read once, from the file's beginning on. It is opened for reading and
    writing, unbuffered."""

    def __init__(self, file):
        self.file, self.rest = file, b""

    def read(self, tally):
        """Adds to a tally what is new."""
        *lines, self.rest = (self.rest + self.file.read()).split(b"\n")
        for line in lines:
            assert not any(words in line for words in WRONG), line.decode(errors="replace")
            if line.startswith(b"{") and b'"event":"guest"' not in line:
                tally.add(json.loads(line))

    def read_all(self, tally, kind, n):
        """Until all n requests of the kind are there; of a client that leaves some never begin."""
        def done():
            self.read(tally)
            return tally.requests >= n or KINDS[kind][1] is None
        wait_for(done, f"{n} lines of requests")
        assert tally.requests <= n, (kind, tally.requests, n)

    def forget(self):
        """Empties the file, to which servers append, if all of it has been read."""
        if os.fstat(self.file.fileno()).st_size == self.file.tell():
            self.file.truncate(0)
            self.file.seek(0)
