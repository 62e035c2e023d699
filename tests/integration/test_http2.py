"""HTTP/2 as clients see it: h2spec, real clients, streams, limits, draining, and clients that mean
harm, in raw frames (http2raw.py)."""
import json
import os
import re
import signal
import ssl
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness import PATIENCE_S, SANITIZED, guest, resident_bytes, serving, wait_for, write_app
from http2raw import (ACK, CALM, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY,
                      HEADERS, INTERNAL_ERROR, NO_ERROR, PING, PRIORITY, PROTOCOL_ERROR,
                      RST, SETTINGS, WINDOW, Raw, field, frame, head, status_of)
from tls import Authority

APP = f"""
spin_manifest_version = 2
[application]
name = "http2"
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
HELLO = "/kitchen/hello"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def clear(workers, tmp_path_factory):
    """Over TCP in the clear."""
    folder = tmp_path_factory.mktemp("clear")
    with serving(write_app(folder / "app", APP), folder, "--limit", "half-close-time=1",
                 workers=workers) as server:
        yield server


@pytest.fixture(scope="module")
def secure(workers, authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    pair = authority.issue("server", "localhost", "127.0.0.1")
    with serving(write_app(folder / "app", APP), folder, "--tls-cert", str(pair[0]), "--tls-key",
                 str(pair[1]), workers=workers) as server:
        yield server


@pytest.fixture(params=("clear", "secure"))
def served(request, workers):
    return request.getfixturevalue(request.param)


def curl(authority, *args):
    return subprocess.run(["curl", "-sS", "--noproxy", "*", "--cacert", str(authority.roots),
                           *map(str, args)], capture_output=True, timeout=PATIENCE_S * 4,
                          check=True).stdout


def h2(server):
    """curl's flag for HTTP/2: agreed on under TLS, else known before."""
    return "--http2" if server.url.startswith("https") else "--http2-prior-knowledge"


# --- the specification ---


#: A port in the clear speaks HTTP/1.1 as well: what is no preface of HTTP/2 is a bad request there,
#: and is answered 400 and closed. h2spec takes bytes before the end for a failure.
SHARED_PORT = ["Sends invalid connection preface"]


def test_h2spec(served):
    h2spec = os.environ.get("EBB_H2SPEC") or max(
        (Path.home() / ".cache/ebb").glob("h2spec-*/h2spec"), default=None)
    assert h2spec, "h2spec is missing: run './dev test' once"
    tls = ["-t", "-k"] if served.url.startswith("https") else []
    patience = "20" if SANITIZED else "4"
    r = subprocess.run([h2spec, "-p", str(served.port), "-P", HELLO, "-o", patience, *tls],
                       capture_output=True, text=True, timeout=PATIENCE_S * 4)
    tests, passed, skipped, failed = map(int, re.search(
        r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", r.stdout).groups())
    known = [] if tls else SHARED_PORT
    failures = re.findall(r"× \d+: (.*)", r.stdout.split("Failures:")[-1]) if failed else []
    assert failures == known, r.stdout[-4000:]
    assert tests >= 145 and passed == tests - len(known) and skipped == 0


# --- real clients ---


def test_a_guest_sees_what_it_sees_with_http1(served, authority):
    def seen(version):
        r = json.loads(curl(authority, version, "-H", "X-Mixed: Case", "-H", "cookie: a=1",
                            f"{served.url}/kitchen/request?q=%20"))
        addresses = ("spin-client-addr",)
        r["headers"] = sorted(h for h in r["headers"] if h[0] not in addresses)
        return r
    first, second = seen("--http1.1"), seen(h2(served))
    assert first == second
    assert second["scheme"].lower() == served.url.split(":")[0]
    assert ["spin-full-url", f"{served.url}/kitchen/request?q=%20"] in second["headers"]


def test_curl(served, authority):
    whole = curl(authority, h2(served), "-i", served.url + HELLO).decode()
    assert whole.startswith("HTTP/2 200") and "Hello from C!" in whole
    assert b"HTTP/2 418" in curl(authority, h2(served), "-i", f"{served.url}/kitchen/status?418")
    assert "content-length: 0" in curl(authority, h2(served), "-i",
                                       f"{served.url}/nowhere").decode()
    empty = curl(authority, h2(served), "-I", served.url + HELLO).decode()
    assert empty.startswith("HTTP/2 200") and "content-length" in empty
    assert curl(authority, h2(served), "-d", "x" * 5000, f"{served.url}/kitchen/echo") == \
        b"x" * 5000
    trailers = curl(authority, h2(served), "-i", f"{served.url}/c/trailers").decode()
    assert trailers.endswith("body") or "x-sum: 42" in trailers


def test_a_hundred_megabytes_both_ways(served, authority, tmp_path):
    size = (20 if SANITIZED else 100) << 20
    body, out = tmp_path / "body", tmp_path / "out"
    with open(body, "wb") as f:
        f.write(os.urandom(1 << 20) * (size >> 20))
    curl(authority, h2(served), "-T", body, "-X", "POST", "-o", out, f"{served.url}/kitchen/echo")
    with open(body, "rb") as a, open(out, "rb") as b:
        while piece := a.read(1 << 20):
            assert piece == b.read(1 << 20)
        assert b.read() == b""
    most = max(map(resident_bytes, served.children("worker")))
    assert SANITIZED or most < 200 << 20


def test_thousands_of_requests(served):
    n = 1000 if SANITIZED else 4000
    r = subprocess.run(["h2load", "-n", str(n), "-c", "8", "-m", "25", served.url + HELLO],
                       capture_output=True, text=True, timeout=PATIENCE_S * 4, check=True)
    assert f"{n} succeeded, 0 failed" in r.stdout, r.stdout


def test_nghttp(served):
    r = subprocess.run(["nghttp", "-v", "--no-verify-peer", served.url + HELLO,
                        f"{served.url}/kitchen/status?404"], capture_output=True, text=True,
                       timeout=PATIENCE_S, check=True)
    assert ":status: 200" in r.stdout and ":status: 404" in r.stdout


# --- the beginning ---


def test_alpn_decides(secure, authority):
    c = ssl.create_default_context(cafile=str(authority.roots))
    c.set_alpn_protocols(["h2", "http/1.1"])
    def wrap(s):
        return c.wrap_socket(s, server_hostname="localhost")
    with Raw(secure, wrap=wrap) as r:
        assert r.socket.selected_alpn_protocol() == "h2"
        r.request(path=HELLO, scheme="https")
        assert r.status() == 200 and r.body().startswith(b"Hello from C!")


@pytest.mark.parametrize("cut", (1, 2, 3, 10, 23))
def test_a_preface_in_pieces(clear, cut):
    from http2raw import PREFACE
    with Raw(clear, greet=False) as r:
        r.send(PREFACE[:cut])
        with Raw(clear) as other:  # the server has had its turn
            assert other.alive()
        r.send(PREFACE[cut:] + frame(SETTINGS, 0, 0))
        r.request(path=HELLO)
        assert r.status() == 200


@pytest.mark.parametrize("text", (b"P", b"PR", b"PRI * HTTP/2.0\r\n\r\nS"))
def test_what_only_begins_like_a_preface_is_http1(clear, text):
    with Raw(clear, greet=False) as r:
        r.send(text)
        with Raw(clear) as other:
            assert other.alive()
        r.send(b"OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert r.socket.recv(9) == b"HTTP/1.1 "


# --- requests ---


@pytest.mark.parametrize("change, status", (
    ({"path": "*"}, None), ({"path": "*", "method": "OPTIONS"}, 404), ({"path": "/a#b"}, 400),
    ({"authority": "a b"}, None), ({"authority": "u@a"}, 400), ({"authority": None}, None),
    ({"fields": [("host", "b.test")]}, 400), ({"fields": [("host", "a.test:80")]}, 200),
    ({"fields": [("host", "a.test"), ("host", "a.test")]}, None),
    ({"authority": None, "fields": [("host", "a.test")]}, 200),
    ({"scheme": "ftp"}, 400), ({"method": "GE(T"}, None), ({"fields": [("x", "a\rb")]}, None),
    ({"fields": [("Upper", "a")]}, None), ({"fields": [("connection", "close")]}, None),
    ({"fields": [("te", "gzip")]}, None), ({"fields": [("te", "trailers")]}, 200),
    ({"fields": [("content-length", "5")]}, None), ({"fields": [("expect", "miracles")]}, 417),
    ({"fields": [("x-big", "y" * 9000)] * 8}, 431), ({"path": "/" + "q" * 16384}, 414),
    ({"fields": [(f"x-{i}", "y") for i in range(101)]}, 431),
    ({"method": "CONNECT", "path": None, "scheme": None}, 501),
))
def test_heads(clear, change, status):
    """None: the stream is reset, or the connection ends, with PROTOCOL_ERROR."""
    with Raw(clear) as r:
        block = head(**({"path": HELLO} | change))
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        for i, piece in enumerate(pieces):
            r.send(frame(CONTINUATION if i else HEADERS,
                         (END_HEADERS if i + 1 == len(pieces) else 0) |
                         (0 if i else END_STREAM), 1, piece))
        while (f := r.next()) and f[0] not in (HEADERS, RST, GOAWAY):
            pass
        assert f, r.seen
        if status is None:
            assert f[0] == RST and f[3] == struct.pack(">I", PROTOCOL_ERROR), f
        else:
            assert f[0] == HEADERS and status_of(f[3]) == status
            assert r.alive()


def test_cookies_are_one_field(clear):
    with Raw(clear) as r:
        r.request(path="/kitchen/request",
                  fields=[("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2"), ("cookie", "c=3")])
        assert r.status() == 200
        headers = json.loads(r.body())["headers"]
        assert [v for k, v in headers if k == "cookie"] == ["a=1; b=2; c=3"]
        assert ["x-y", "z"] in headers and ["host", "a.test"] in headers


def test_expect_and_trailers(clear):
    with Raw(clear) as r:
        r.request(path="/kitchen/echo", method="POST", end=False, body=None,
                  fields=[("expect", "100-continue"), ("content-length", "4")])
        # 100: a literal status, then the answer
        assert status_of(r.wait(HEADERS, 1)[3]) == 100
        r.send(frame(DATA, 0, 1, b"body"))
        r.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, field("x-sum", "1")))
        assert r.wait(HEADERS, 1)
        assert r.body() == b"body"
        assert r.alive()


def test_streams_at_once(clear):
    """A hundred, of which one sleeps and one is not read; the others do not wait for them."""
    with Raw(clear, settings=[(4, 0)]) as r:  # no window for bodies
        r.request(1, path="/kitchen/stream?100000")
        r.request(3, path="/kitchen/sleep?100000")
        for i in range(5, 200, 2):
            r.request(i, path="/kitchen/status?204")
        done = set()
        while len(done) < 98:
            k, flags, s, _ = r.next()
            if k in (HEADERS, DATA) and flags & END_STREAM or k == RST:
                done.add(s)
            if k == HEADERS and not flags & END_STREAM and s != 1:
                r.send(frame(WINDOW, 0, s, struct.pack(">I", 1000)))
        assert done == set(range(5, 200, 2)) | (done & {1, 3}) and not done & {1, 3}
        r.send(frame(RST, 0, 1, struct.pack(">I", CANCEL)) +
               frame(RST, 0, 3, struct.pack(">I", CANCEL)))
        assert r.alive()
    clear.wait_log("request", path="/kitchen/sleep", status=499)


def test_more_streams_than_allowed_end_the_connection(clear):
    with Raw(clear) as r:
        assert r.alive()  # SETTINGS were exchanged
        for i in range(1, 203, 2):
            r.request(i, path="/kitchen/sleep?100000")
        assert r.ended() == PROTOCOL_ERROR  # it knew better
    others_are_served(clear)


def test_a_body_that_is_too_short_is_reset(clear):
    with Raw(clear) as r:
        r.request(path="/c/length?100000&99999")
        assert r.status() == 200
        r.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 20)) +
               frame(WINDOW, 0, 1, struct.pack(">I", 1 << 20)))
        assert r.wait(RST, 1)[3] == struct.pack(">I", INTERNAL_ERROR)
        assert sum(len(p) for k, _, _, p in r.seen if k == DATA) == 99999
        assert r.alive()


def test_an_unread_body_does_not_stop_others(clear):
    """A guest that answers without reading: the answer stands, the rest of the body is thrown away
    or the stream reset, and the connection lives."""
    with Raw(clear) as r:
        r.request(1, path=HELLO, method="POST", body=b"x" * 16384, end=False)
        assert r.status() == 200
        r.wait(DATA, 1, END_STREAM)
        for _ in range(3):
            r.send(frame(DATA, 0, 1, b"x" * 16384))
        r.wait(WINDOW, 1)
        r.send(frame(DATA, END_STREAM, 1))
        r.request(3, path=HELLO)
        r.wait(HEADERS, 3)
        assert r.body(3).startswith(b"Hello")


def test_the_head_does_not_wait_for_the_first_byte(clear):
    with Raw(clear) as r:
        for stream in (1, 3):
            r.request(stream, path="/kitchen/echo", method="POST", end=False)
            r.wait(HEADERS, stream)
            r.send(frame(DATA, END_STREAM, stream, b"abc"))
            assert r.body(stream) == b"abc"


# --- limits and times ---


@pytest.fixture(scope="module")
def limited(workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    limits = ("head-bytes=1000", "headers=10", "body-bytes=50", "head-time=1", "body-time=1",
              "write-time=1", "idle-time=2", "streams=4")
    args = [x for limit in limits for x in ("--limit", limit)]
    with serving(write_app(folder / "app", APP), folder, *args, workers=workers) as server:
        yield server


def test_settings_say_the_limits(limited):
    with Raw(limited) as r:
        payload = r.wait(SETTINGS)[3]
        settings = dict(struct.unpack(">HI", payload[i:i + 6]) for i in range(0, len(payload), 6))
        assert settings == {3: 4, 4: 65536, 6: 1000}


@pytest.mark.parametrize("kwargs, status", (
    ({"fields": [("x-big", "y" * 990)]}, 431), ({"fields": [("x-big", "y" * 500)]}, 200),
    ({"fields": [(f"x-{i}", "y") for i in range(11)]}, 431),
    ({"path": "/kitchen/echo", "method": "POST", "body": b"b" * 51}, 413),
    ({"path": "/kitchen/echo", "method": "POST", "body": b"b" * 50}, 200),
    ({"path": "/kitchen/echo", "method": "POST", "body": b"b" * 51,
      "fields": [("content-length", "51")]}, 413)))
def test_sizes(limited, kwargs, status):
    with Raw(limited) as r:
        r.request(**({"path": HELLO} | kwargs))
        assert r.status() == status
        assert r.alive()


def test_times(limited):
    with Raw(limited, greet=False) as silent, Raw(limited) as idle, \
            Raw(limited) as half_head, Raw(limited) as half_body, \
            Raw(limited, settings=[(4, 10)]) as stalled, Raw(limited, greet=False) as no_settings:
        no_settings.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert half_head.alive()  # settings are agreed: no frame comes into the open head
        half_head.send(frame(HEADERS, END_STREAM, 1, head(path=HELLO)))
        half_body.request(path="/kitchen/drain", method="POST", body=b"ab", end=False)
        stalled.request(path=HELLO)
        assert half_body.status() == 408
        assert half_head.ended() == CALM
        assert no_settings.ended() == CALM
        assert stalled.wait(RST, 1)[3] == struct.pack(">I", CANCEL)
        assert idle.ended() == NO_ERROR
        assert silent.next() is None


def test_draining(tmp_path, workers):
    """SIGTERM: a first GOAWAY that allows all, a last one after the PING, and what runs ends."""
    with serving(write_app(tmp_path / "app", APP), tmp_path, workers=workers) as server, \
            Raw(server) as r, Raw(server) as idle:
        assert idle.alive() and r.alive()
        r.request(1, path="/kitchen/sleep?500")
        server.wait_log("request", 0)
        server.process.send_signal(signal.SIGTERM)
        assert r.wait(GOAWAY)[3][:8] == struct.pack(">II", 0x7fffffff, NO_ERROR)
        r.request(3, path="/kitchen/sleep?600")  # was on its way
        r.send(frame(PING, ACK, 0, r.wait(PING)[3]))
        assert r.wait(GOAWAY)[3][:8] == struct.pack(">II", 3, NO_ERROR)
        r.request(5, path=HELLO)  # is not taken any more
        assert r.ended() == NO_ERROR
        ended = {s for k, f, s, _ in r.seen if k == DATA and f & END_STREAM}
        assert ended == {1, 3}
        while (f := idle.next())[0] != PING:
            pass
        idle.send(frame(PING, ACK, 0, f[3]))
        assert idle.ended() == NO_ERROR
        assert server.process.wait(PATIENCE_S) == 0


# --- clients that mean harm ---


def others_are_served(server):
    begun = time.monotonic()
    with Raw(server) as r:
        r.request(path=HELLO)
        assert r.status() == 200
    return time.monotonic() - begun


#: More than buffers between here and there hold.
FLOOD = 500_000


def flood(server, piece, reason, prepare=None):
    """Sends pieces until the server has enough; how many frames that took."""
    with Raw(server) as r:
        assert r.alive()
        if prepare:
            prepare(r)
        r.socket.setblocking(False)
        sent, waiting = 0, b""
        while sent < FLOOD:
            waiting = waiting or piece(sent)
            try:
                n = r.socket.send(waiting)
                waiting = waiting[n:]
                sent += 0 if waiting else 1
            except BlockingIOError:
                r.socket.setblocking(True)
                if r.next() is None:
                    break
                r.socket.setblocking(False)
            except ConnectionError:
                break
        r.socket.setblocking(True)
        r.socket.settimeout(PATIENCE_S)
        code = r.ended()
        assert code in (CALM, PROTOCOL_ERROR, None)  # None: cut off before the GOAWAY was read
        reasons = (reason,) if isinstance(reason, str) else reason
        wait_for(lambda: any(line["reason"] in reasons for line in server.log_lines("refused")),
                 f"one of {reasons} in the log")
        assert others_are_served(server) < PATIENCE_S / 2
        return sent


CANCELLED = struct.pack(">I", CANCEL)


@pytest.mark.parametrize("name, piece, reason", (
    ("rapid reset", lambda i: frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, head(path=HELLO))
     + frame(RST, 0, 2 * i + 1, CANCELLED), "too many streams reset"),
    ("PING", lambda i: frame(PING, 0, 0, b"12345678"), "too many PING frames"),
    ("SETTINGS", lambda i: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1000 + i)),
     "too many SETTINGS frames"),
    ("PRIORITY", lambda i: frame(PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 0, 1)),
     "too many frames that bring nothing"),
    ("WINDOW_UPDATE", lambda i: frame(WINDOW, 0, 0, struct.pack(">I", 1)),
     "too many frames that bring nothing"),
    # Those of one read are open at once, and may be too many for that.
    ("invalid", lambda i: frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1,
                                field(":method", "GET")),
     ("too many invalid frames", "Protocol error")),
))
def test_floods(clear, name, piece, reason):
    calls = len(clear.log_lines("request"))
    sent = flood(clear, piece, reason)
    assert sent < FLOOD, sent
    if name == "rapid reset":
        assert len(clear.log_lines("request")) - calls < 1000


def test_empty_data(clear):
    def begin(r):
        r.request(1, path="/kitchen/drain", method="POST", body=b"x", end=False)
    flood(clear, lambda i: frame(DATA, 0, 1), "too many small DATA frames", begin)


def test_continuation_flood(clear):
    def begin(r):
        r.send(frame(HEADERS, END_STREAM, 1, head(path=HELLO)))
    with Raw(clear) as r:
        assert r.alive()
        begin(r)
        sent = 0
        while sent < 10_000 and r.send(frame(CONTINUATION, 0, 1, field("x", "y" * 1000))):
            sent += 1
        assert r.ended() in (CALM, PROTOCOL_ERROR, NO_ERROR, INTERNAL_ERROR, None)
    assert sent < 5_000
    assert others_are_served(clear) < PATIENCE_S / 2


def test_hpack_bomb(clear):
    """One field of 4,000 bytes in the table, then 16,000 references to it in one frame: 64 MB."""
    before = max(map(resident_bytes, clear.children("worker")))
    with Raw(clear) as r:
        block = head(path=HELLO) + field("x-bomb", "b" * 3900, indexed=True)
        r.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        assert r.status() == 200
        for i in range(3, 40, 2):
            if not r.send(frame(HEADERS, END_HEADERS | END_STREAM, i,
                                head(path=HELLO) + b"\xbe" * 16000)):
                break
        assert r.ended() in (CALM, None)
    clear.wait_log("refused", status=0, reason="a head many times too large")
    assert max(map(resident_bytes, clear.children("worker"))) - before < 30 << 20
    assert others_are_served(clear) < PATIENCE_S / 2


def test_closed_windows_bound_memory(clear, workers):
    """Connections with 50 streams each that ask for 100 MB and take nothing."""
    before = sum(map(resident_bytes, clear.children("worker")))
    clients = [Raw(clear, settings=[(4, 0)]) for _ in range(4 if SANITIZED else 10)]
    for c in clients:
        for i in range(1, 101, 2):
            c.request(i, path="/kitchen/stream?100000000")
    for c in clients:
        heads = set()
        while len(heads) < 50:
            f = c.next()
            heads |= {f[2]} if f[0] == HEADERS else set()
    streams = len(clients) * 50
    most = sum(map(resident_bytes, clear.children("worker"))) - before
    # 64 KiB of body each, and what a guest in the middle of its work takes.
    assert SANITIZED or most < streams * (400 << 10), most
    assert others_are_served(clear) < PATIENCE_S / 2
    for c in clients:
        c.socket.close()


def test_a_client_that_does_not_read_its_acknowledgements(clear):
    """Its socket is full: the server stops reading it, holds little, and serves others."""
    before = sum(map(resident_bytes, clear.children("worker")))
    with Raw(clear) as r:
        r.request(path="/kitchen/stream?100000000")
        r.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)) +
               frame(WINDOW, 0, 1, struct.pack(">I", 1 << 30)))
        r.socket.settimeout(1)
        pings = 0
        while pings < 300 and r.send(frame(PING, 0, 0, b"12345678")):
            pings += 1
        assert others_are_served(clear) < PATIENCE_S / 2
        assert SANITIZED or sum(map(resident_bytes, clear.children("worker"))) - before < 30 << 20
