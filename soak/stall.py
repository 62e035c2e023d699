"""How long a worker's loop stands still while everything it depends on is a black hole.

A name server that swallows questions, a back-end that accepts nothing, one that never answers, and
one that ends each TLS handshake half-way; 50 guests wait on them, and are given up and begun again
all the time. The loop's own meter (`--stall-warning`) reports every turn that took longer than
1 ms; the longest may be 20 ms. On a busy machine a turn is longer because others had the processor:
run it on a quiet one.
"""
import socket
import threading
import time

from backends import Authority, Backend, NameServer
from harness import Connection, fetch, guest, serving, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "stall"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest('c-client')}"
allowed_outbound_hosts = ["*://*:*"]
"""
GUESTS, ROUNDS, LIMIT_MS = 50, 40, 20


class Holes:
    def __init__(self, work):
        self.names = NameServer({}, silent=True)
        self.stop = threading.Event()
        self.silent = Backend(lambda peer: self.stop.wait(600))
        self.handshake = Backend(lambda peer: peer.file.read(100))
        self.full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.fillers = [socket.socket() for _ in range(3)]
        for s in self.fillers:
            s.setblocking(False)
            s.connect_ex(self.full.getsockname())
        self.tls = Backend(lambda peer: self.stop.wait(600), Authority(work).context())

    def url(self, i):
        return (f"http://hole{i}.test/", f"http://127.0.0.1:{self.silent.port}/",
                f"http://127.0.0.1:{self.full.getsockname()[1]}/",
                f"https://127.0.0.1:{self.handshake.port}/",
                f"https://127.0.0.1:{self.tls.port}/")[i % 5]

    def close(self):
        self.stop.set()
        for b in (self.silent, self.handshake, self.tls, self.names):
            b.__exit__()
        for s in (*self.fillers, self.full):
            s.close()


def begin(server, url):
    c = Connection(server)
    c.send(f"GET /proxy?{url} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return c


def stall(state, work, arguments):
    holes, answers = Holes(work), []
    with serving(write_app(work / "app", APP), work, "--name-server", holes.names.address,
                 "--stall-warning", "1", workers=1) as server:
        fetch(server, "/field?set&a&b")  # the component is loaded
        loaded = len(server.log_lines("stall"))
        waiting = [begin(server, holes.url(i)) for i in range(GUESTS)]
        n = GUESTS
        for _ in range(ROUNDS):
            for _ in range(5):
                waiting.pop(0).close()
                waiting.append(begin(server, holes.url(n)))
                n += 1
            begun = time.monotonic()
            assert fetch(server, "/field?set&a&b").text == "ok"
            answers.append((time.monotonic() - begun) * 1000)
            time.sleep(0.05)  # the guests wait
            yield {"rounds": len(answers)}
        turns = [r["us"] / 1000 for r in server.log_lines("stall")[loaded:]]
        for c in waiting:
            c.close()
    holes.close()
    state["result"] = {"guests": GUESTS, "given_up": n - GUESTS, "limit_ms": LIMIT_MS,
                       "longest_turn_ms": round(max(turns, default=1.0), 2),
                       "turns_over_1_ms": len(turns),
                       "slowest_answer_meanwhile_ms": round(max(answers), 2)}
    assert max(turns, default=0) <= LIMIT_MS, state["result"]
