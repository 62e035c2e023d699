"""HTTP/1.1 as a client sees it, beyond framing (test_http_framing.py): requests that stop half-way,
limits, expectations, upgrades, trailers, what guests get wrong, IPv6. The first two tables cover
what h1spec asks, in cases of our own."""
import os
import socket
import threading
import time

import pytest

from harness import SANITIZED, Connection, fetch, guest, resident_bytes, serving, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "server"
[[trigger.http]]
route = "/c/..."
component = "c"
[[trigger.http]]
route = "/kitchen/..."
component = "k"
[component.c]
source = "{guest('c-client')}"
[component.k]
source = "{guest('c-kitchen')}"
"""


@pytest.fixture(scope="module")
def served(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with serving(write_app(folder / "app", APP), folder, workers=workers) as server:
        yield server


WHOLE = b"GET /kitchen/hello HTTP/1.1\r\nHost: shore.test\r\nAccept: text/plain\r\n\r\n"
#: Where it is cut: in the method, before, in and after the target, in the version, around line
#: ends, in names, colons and values, and before the very last byte.
CUTS = (1, 4, 11, 19, 24, 27, 28, 29, 32, 34, 35, 42, 45, 46, 47, 60, len(WHOLE) - 3,
        len(WHOLE) - 2, len(WHOLE) - 1)


@pytest.mark.parametrize("cut", CUTS)
def test_an_unfinished_head_is_waited_for(served, cut):
    with Connection(served) as c:
        c.send(WHOLE[:cut])
        assert fetch(served, "/kitchen/hello").status == 200  # the server has had its turn
        c.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            c.socket.recv(1)
        c.socket.setblocking(True)
        c.send(WHOLE[cut:])
        assert c.response().text.startswith("Hello from C!")


def post(fields, body=b"", target="/kitchen/echo", version="HTTP/1.1"):
    head = "\r\n".join([f"POST {target} {version}", "Host: shore.test", *fields])
    return head.encode("latin-1") + b"\r\n\r\n" + body


COMPLETE = {
    "no version": (b"GET /kitchen/hello \r\n\r\n", 400, None),
    "version nine": (b"GET /kitchen/hello HTTP/9.9\r\nHost: a\r\n\r\n", 505, None),
    "words before it": (b"Once more GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
    "plain get": (b"GET /kitchen/hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, None),
    "tabs, case, no value": (b"GET /kitchen/hello HTTP/1.1\r\nhOST:\ta\r\nnothing:\r\n\r\n", 200,
                             None),
    "blank value": (b"GET /kitchen/hello HTTP/1.1\r\nHost: a\r\nX-Blank: \r\n\r\n", 200, None),
    "brackets in a name": (b"GET / HTTP/1.1\r\nHost: a\r\nX[1]: y\r\n\r\n", 400, None),
    "bell in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Bell: ding\x07\r\n\r\n", 400, None),
    "no host": (b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, None),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, None),
    "length below zero": (post(["Content-Length: -12"]), 400, None),
    "length far below zero": (post(["Content-Length: -" + "987654321" * 4]), 400, None),
    "length of letters": (post(["Content-Length: many"]), 400, None),
    "length too large": (post(["Content-Length: " + "9" * 40]), 400, None),
    "cr inside the head": (b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", 400, None),
    "body by length": (post(["Content-Length: 7"], b"seaside"), 200, b"seaside"),
    "body in chunks": (post(["Transfer-Encoding: chunked"],
                            b"4\r\nSea \r\n7\r\nof milk\r\n0\r\n\r\n"), 200, b"Sea of milk"),
    "chunks and length": (post(["cONTENT-lENGTH: 4", "tRANSFER-eNCODING: chunked"],
                               b"4\r\nSea \r\n0\r\n\r\n"), 400, None),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_request(served, name):
    sent, status, body = COMPLETE[name]
    with Connection(served) as c:
        c.send(sent)
        r = c.response()
        assert r.status == status
        if body is not None:
            assert r.body == body
        if status >= 400:
            assert c.response() is None  # and the connection is closed


# --- expectations, upgrades, methods ---


def test_expect(served):
    with Connection(served) as c:
        c.send(post(["Content-Length: 4", "Expect: 100-continue"]))
        assert c.response().status == 100
        c.send(b"body")
        assert c.response().text == "body"
        # one that is not read is not asked for; the connection cannot be used again
        c.send(post(["Content-Length: 4", "Expect: 100-continue"], target="/kitchen/hello"))
        r = c.response()
        assert r.status == 200 and r.get("connection") == "close"
        assert c.response() is None
    with Connection(served) as c:
        c.send(post(["Content-Length: 4", "Expect: miracles"]))
        assert c.response().status == 417


@pytest.mark.parametrize("to, status", [("websocket", 501), ("h2c", 200), ("spdy/3", 501)])
def test_upgrades(served, to, status):
    r = fetch(served, "/kitchen/hello", fields=[("Connection", "Upgrade"), ("Upgrade", to)])
    assert r.status == status and not r.get("upgrade")
    if status == 501:
        record = served.wait_log("refused", status=501)[0]
        assert "Upgrade to another protocol is not served" in record["reason"]


def test_trailers_of_requests_are_bounded_and_read(served):
    body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    with Connection(served) as c:
        c.send(post(["Transfer-Encoding: chunked"], body))
        assert c.response().text == "abc"
        c.send(post(["Transfer-Encoding: chunked"],
                    b"0\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(200)) + b"\r\n"))
        assert c.response().status in (200, 400, 431)  # the guest may have answered before
        assert c.response() is None


def test_trailers_of_answers(served):
    r = fetch(served, "/c/trailers")
    assert r.text == "body" and r.get("x-sum") == "42"


def test_the_head_does_not_wait_for_the_first_byte(served):
    """As with server-sent events before there is one: the guest has answered, and waits."""
    with Connection(served) as c:
        for _ in range(2):
            c.send(post(["Transfer-Encoding: chunked"]))
            head = c.head()
            assert (head.status, head.get("transfer-encoding")) == (200, "chunked")
            c.send(b"3\r\nabc\r\n0\r\n\r\n")
            assert c.exactly(13) == b"3\r\nabc\r\n0\r\n\r\n"


# --- what guests get wrong ---


def test_a_body_as_long_as_declared(served):
    with Connection(served) as c:
        for _ in range(2):
            assert c.request("GET", "/c/length?5&5").body == b"xxxxx"
        assert c.request("GET", "/kitchen/hello").status == 200


@pytest.mark.parametrize("declared, actual", [(5, 10), (5, 100_000), (0, 3), (5000, 9000)])
def test_a_body_longer_than_declared_is_cut(served, declared, actual):
    """No byte of it is taken for the next answer: the guest's write fails, the connection ends."""
    with Connection(served) as c:
        c.send(f"GET /c/length?{declared}&{actual} HTTP/1.1\r\nHost: a\r\n\r\n"
               "GET /kitchen/hello HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        r = c.head()
        assert r.status == 200 and r.get("content-length") == str(declared)
        rest = c.file.read()
        assert len(rest) <= declared and set(rest) <= {ord("x")}


@pytest.mark.parametrize("declared, actual", [(5, 4), (5, 0), (100_000, 99_999)])
def test_a_body_shorter_than_declared_closes(served, declared, actual):
    with Connection(served) as c:
        c.send(f"GET /c/length?{declared}&{actual} HTTP/1.1\r\nHost: a\r\n\r\n"
               "GET /kitchen/hello HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        r = c.head()
        if r.status == 200:
            assert c.file.read() == b"x" * actual  # and nothing of the next answer
        else:
            assert r.status == 500


def test_the_body_may_come_before_the_head(served):
    r = fetch(served, "/c/early")
    assert r.status == 200 and r.body == b"0123456789abcdef" * 4 * 50 + b"after"


def test_an_error_code_instead_of_an_answer(served):
    r = fetch(served, "/c/outparam?15")
    assert r.status == 500 and r.body == b"" and r.get("content-length") == "0"
    assert "HTTP-request-denied" in served.wait_log("failed")[-1]["reason"]


# --- limits ---


@pytest.fixture(scope="module")
def limited(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    limits = ("head-bytes=1000", "headers=10", "uri-bytes=100", "body-bytes=50", "head-time=1",
              "body-time=1", "idle-time=3", "connections=20")
    args = [x for limit in limits for x in ("--limit", limit)]
    with serving(write_app(folder / "app", APP), folder, *args, workers=workers) as server:
        yield server


@pytest.mark.parametrize("kwargs, status", [
    ({"fields": [("x-big", "y" * 990)]}, 431),
    ({"fields": [(f"x-{i}", "y") for i in range(11)]}, 431),
    ({"target": "/kitchen/hello?" + "q" * 100}, 414),
    ({"method": "POST", "target": "/kitchen/echo", "body": b"b" * 51}, 413),
    ({"fields": [("x-big", "y" * 500)]}, 200),
    ({"method": "POST", "target": "/kitchen/echo", "body": b"b" * 50}, 200)])
def test_sizes(limited, kwargs, status):
    assert fetch(limited, **({"target": "/kitchen/hello"} | kwargs)).status == status


def test_body_size_in_chunks(limited):
    with Connection(limited) as c:
        c.send(post(["Transfer-Encoding: chunked"], b"33\r\n" + b"b" * 51 + b"\r\n0\r\n\r\n"))
        assert c.response().status == 413


def test_times(limited):
    with Connection(limited) as idle, Connection(limited) as head, Connection(limited) as body:
        head.send(b"GET / HT")
        body.send(post(["Content-Length: 5"], b"ab", target="/kitchen/drain"))
        assert idle.response() is None, "closed without a word"
        assert head.response().status == 408
        assert head.response() is None
        r = body.response()  # which the guest waits for
        assert r is None or r.status in (408, 500)


def test_connections(limited, workers):
    """Past the limit the longest idle one goes, and busy ones stay."""
    many = [Connection(limited) for _ in range(30 * workers)]
    assert fetch(limited, "/kitchen/hello").status == 200
    closed = 0
    for c in many:
        closed += c.socket.recv(1) == b""
        c.close()
    assert closed == len(many)  # some for the number, the rest for being idle


# --- slow clients, slow guests ---


#: A sanitizer keeps freed memory for a while, so that it sees who uses it: by default more than
#: what is measured here.
QUARANTINE_MIB = 16


@pytest.fixture
def remembering_little(workers, tmp_path):
    options = f"{os.environ.get('ASAN_OPTIONS', '')}:quarantine_size_mb={QUARANTINE_MIB}"
    with serving(write_app(tmp_path / "app", APP), tmp_path, workers=workers,
                 env={"ASAN_OPTIONS": options}) as server:
        yield server


def test_slow_readers_and_slow_guests_bound_memory(remembering_little, workers):
    """40 clients that do not read 100 MB each, and 40 that send what nobody reads."""
    served = remembering_little
    fetch(served, "/kitchen/hello")
    before = sum(map(resident_bytes, served.children("worker")))
    clients, stop = [], threading.Event()
    for _ in range(40):
        c = Connection(served)
        c.send(b"GET /kitchen/stream?100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        clients.append(c)
    for _ in range(40):
        c = Connection(served)
        c.send(post(["Content-Length: 100000000"], target="/kitchen/sleep?3000"))
        c.socket.setblocking(False)
        clients.append(c)

    def feed():
        piece = b"b" * 65536
        while not stop.is_set():
            for c in clients[40:]:
                try:
                    c.socket.send(piece)
                except OSError:
                    pass
            time.sleep(0.005)
    feeder = threading.Thread(target=feed)
    feeder.start()
    most = 0
    for _ in range(20):  # the interval that is measured
        time.sleep(0.05)
        most = max(most, sum(map(resident_bytes, served.children("worker"))))
    stop.set()
    feeder.join()
    for c in clients:
        c.close()
    quarantine = workers * (QUARANTINE_MIB << 20) if SANITIZED else 0
    allowed = 80 * (1_500_000 if SANITIZED else 500_000) + quarantine
    assert most - before < allowed, (before, most)
    assert fetch(served, "/kitchen/hello").status == 200


# --- IPv6 ---


def test_ipv6(workers, tmp_path):
    with serving(write_app(tmp_path / "app", APP), tmp_path, "--listen", "[::1]:0",
                 workers=workers) as server:
        with socket.create_connection(("::1", server.port)) as s:
            s.sendall(b"GET /kitchen/request HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
            received = b""
            while piece := s.recv(65536):
                received += piece
        assert b'["spin-client-addr", "[::1]:' in received
        assert server.url.startswith("http://[::1]:")
