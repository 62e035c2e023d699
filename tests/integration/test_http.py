"""HTTP/1.1 as served: keep-alive, pipelining, slow readers, many connections, refusals."""
import threading

import pytest

from harness import Connection, fetch


def test_keep_alive_and_close(kitchens):
    with Connection(kitchens) as c:
        for _ in range(3):
            assert c.request("GET", "/c/hello").status == 200
        r = c.request("GET", "/c/hello", [("connection", "close")])
        assert r.status == 200
        assert c.response() is None


def test_pipelined_requests_are_answered_in_order(kitchens):
    paths = [f"/c/status?{n}" for n in range(200, 240) if n not in (204, 205)]
    for _ in range(30):  # so often that time slices end in every place
        with Connection(kitchens) as c:
            c.send(b"".join(f"GET {p} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for p in paths))
            answers = [c.response().text for _ in paths]
            assert answers == [f"status {p.split('?')[1]}" for p in paths]


def test_http_1_0(kitchens):
    with Connection(kitchens) as c:
        c.send(b"GET /c/stream?3 HTTP/1.0\r\nHost: a\r\n\r\n")
        r = c.response()
        assert r.get("transfer-encoding") is None
        assert r.text.splitlines() == ["chunk 0", "chunk 1", "chunk 2"]


def test_200_connections_50_slow_readers(kitchens):
    """Slow readers hold no one up and no memory beyond their buffers."""
    size = 2_000_000
    body = bytes(size)
    slow = []
    for _ in range(50):
        c = Connection(kitchens)
        c.send(f"POST /c/echo HTTP/1.1\r\nHost: a\r\ncontent-length: {size}\r\n\r\n".encode())
        threading.Thread(target=lambda c=c: c.socket.sendall(body), daemon=True).start()
        slow.append(c)
    quick = [Connection(kitchens) for _ in range(150)]
    for _ in range(3):
        for c in quick:
            c.send(b"GET /c/hello HTTP/1.1\r\nHost: a\r\n\r\n")
        for c in quick:
            assert c.response().status == 200
    for c in quick:
        c.close()
    for c in slow:  # now they read, and everything arrives
        r = c.response()
        assert (r.status, r.body == body) == (200, True)
        c.close()


@pytest.mark.parametrize("raw", [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /c/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /c/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET /c/hello HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
    b"GET /c/hello HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
    b"GET /c/hello HTTP/1.1\nHost: a\n\n",
    b"POST /c/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
])
def test_ambiguous_framing_is_refused_and_closed(kitchens, raw):
    with Connection(kitchens) as c:
        c.send(raw)
        r = c.response()
        assert r.status == 400
        assert c.response() is None
    assert fetch(kitchens, "/c/hello").status == 200


def test_expect_continue(kitchens):
    with Connection(kitchens) as c:
        c.send(b"POST /c/echo HTTP/1.1\r\nHost: a\r\ncontent-length: 4\r\n"
               b"expect: 100-continue\r\n\r\n")
        assert c.response().status == 100
        c.send(b"body")
        assert c.response().text == "body"


def test_a_head_that_is_too_large(kitchens):
    r = fetch(kitchens, "/c/hello", fields=[("x-big", "y" * 70_000)])
    assert r.status == 431


def test_request_lines_in_the_log(kitchens):
    fetch(kitchens, "/c/status?201")
    record = kitchens.wait_log("request", path="/c/status", status=201)[-1]
    assert {"time", "id", "component", "method", "path", "status", "us", "cpu_us", "memory",
            "start"} <= set(record)
    assert record["start"] in ("cold", "warm", "restored")
    assert record["us"] >= record["cpu_us"] > 0
    assert record["memory"] >= 65536
