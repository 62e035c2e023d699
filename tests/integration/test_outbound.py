"""What guests reach: HTTP/1.1 and HTTP/2, TLS, names, TCP, UDP; what they may not; and that neither
a slow guest nor a dead back-end costs others anything (docs/http.md, Spin's behaviour)."""
import socket
import subprocess
import threading
import time

import pytest

from backends import Authority, Backend, NameServer, free_port, nghttpd
from harness import (PATIENCE_S, SANITIZED, Connection, ebb, fetch, guest, resident_bytes, serving,
                     wait_for, write_app)

APP = """
spin_manifest_version = 2
[application]
name = "client"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "%s"
allowed_outbound_hosts = [%s]
"""
OPEN = ("*://127.0.0.1:*", "https://localhost:*", "https://tls.test:*", "*://named.test:*",
        "*://missing.test:*", "*://[::1]:*")

NEW_SOCKET_LIMIT = 10  # of wasi:sockets
# wasi:http error-codes
DNS_TIMEOUT, DNS_ERROR, PROHIBITED, REFUSED = 0, 1, 4, 6
TERMINATED, CONNECT_TIMEOUT, READ_TIMEOUT, LIMIT_REACHED = 7, 8, 9, 11
TLS_CERTIFICATE, DENIED, INCOMPLETE, PROTOCOL = 13, 14 + 1, 25, 35


def app(folder, hosts=OPEN):
    return write_app(folder, APP % (guest("c-client"), ", ".join(f'"{h}"' for h in hosts)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def names():
    with NameServer({"named.test": "127.0.0.1", "tls.test": "127.0.0.1"}) as server:
        yield server


@pytest.fixture(scope="module")
def served(workers, authority, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    config = folder / "runtime.toml"
    config.write_text(f"""
[[client_tls]]
component_ids = ["c"]
hosts = ["localhost", "tls.test"]
ca_roots_file = "{authority.ca}"
""")
    with serving(app(folder / "app"), folder, "--name-server", names.address,
                 "--runtime-config-file", str(config), workers=workers) as server:
        yield server


def proxy(server, url, method="GET", fields=(), body=None):
    return fetch(server, f"/proxy?{url}", method, fields, body)


def failure(r):
    assert r.status == 502, (r.status, r.text)
    kind, number = r.text.split()
    return kind, int(number)


def simple(peer):
    """Answers every request with what it was."""
    while request := peer.head():
        method, target, fields = request
        body, trailers = peer.body(fields)
        seen = "".join(f"{k}: {v}\n" for k, v in fields) + "".join(
            f"trailer {k}: {v}\n" for k, v in trailers)
        peer.answer(f"{method} {target} {len(body)}\n{seen}".encode(),
                    fields=[("X-Theirs", "yes")])


@pytest.fixture
def backend():
    with Backend(simple) as b:
        yield b


def test_request_and_answer(served, backend):
    r = proxy(served, f"http://127.0.0.1:{backend.port}/a%3Fb=c", fields=[("accept", "text/x")])
    assert r.status == 200 and r.get("x-theirs") == "yes"
    first, *fields = r.text.splitlines()
    assert first == "GET /a?b=c 0"
    assert f"host: 127.0.0.1:{backend.port}" in fields and "accept: text/x" in fields
    assert not [f for f in fields if f.startswith(("user-agent", "expect", "x-", "spin-"))]


def test_bodies_go_both_ways_with_trailers(served, backend):
    r = proxy(served, f"http://127.0.0.1:{backend.port}/", "POST", [("x-trailer", "x-sum")],
              b"b" * 300_000)
    assert r.text.startswith("POST / 300000\n") and "trailer x-sum: sent" in r.text


def test_trailers_of_the_answer(served):
    def serve(peer):
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n")
    with Backend(serve) as b:
        r = proxy(served, f"http://127.0.0.1:{b.port}/")
    assert r.body == b"body" and r.get("x-sum") == "42"


def test_a_body_comes_as_it_is_sent(served):
    """The first piece arrives before the second is sent."""
    go = threading.Event()

    def serve(peer):
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert go.wait(PATIENCE_S)
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
    with Backend(serve) as b, Connection(served) as c:
        c.send(f"GET /proxy?http://127.0.0.1:{b.port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert c.head().status == 200
        assert c.exactly(10) == b"5\r\nfirst\r\n"
        go.set()
        assert b"second" in c.exactly(2 + 3 + 6)


def test_connections_are_used_again(served, backend, workers):
    for _ in range(20):
        assert proxy(served, f"http://127.0.0.1:{backend.port}/").status == 200
    assert backend.connections <= workers


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", None])
def test_a_cut_answer(served, answer):
    def serve(peer):
        peer.head()
        if answer:
            peer.send(answer)
    with Backend(serve) as b:
        if answer:  # the guest's own answer was begun, so it is cut as well
            with pytest.raises(AssertionError, match="cut"):
                proxy(served, f"http://127.0.0.1:{b.port}/")
        else:
            assert failure(proxy(served, f"http://127.0.0.1:{b.port}/")) == ("future", TERMINATED)


def test_nonsense_is_a_protocol_error(served):
    def serve(peer):
        peer.head()
        peer.send(b"220 mail.example.test ESMTP\r\n")
    with Backend(serve) as b:
        assert failure(proxy(served, f"http://127.0.0.1:{b.port}/")) == ("future", PROTOCOL)


def test_denied_through_the_future_and_explained(served):
    assert failure(proxy(served, "http://example.com/")) == ("future", DENIED)
    record = served.wait_log("denied")[0]
    assert "http://example.com" in record["reason"] and "allowed_outbound_hosts" in record["reason"]


def test_refused_connection(served):
    assert failure(proxy(served, f"http://127.0.0.1:{free_port()}/")) == ("future", REFUSED)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1@127.0.0.1:2/", "http://2130706433/",
                                 "http://0x7f.1/", "http:///x"])
def test_addresses_in_disguise(served, url):
    r = proxy(served, url)
    assert r.status == 502 and r.text.split()[0] in ("url", "future", "handle")
    assert r.text != f"future {REFUSED}"


# --- names ---


def test_names(served, names, backend):
    r = proxy(served, f"http://named.test:{backend.port}/")
    assert r.status == 200 and f"host: named.test:{backend.port}" in r.text
    asked = len(names.asked)
    assert proxy(served, f"http://NAMED.test:{backend.port}/").status == 200
    assert len(names.asked) - asked in (0, 2)  # 2: by the other worker
    assert failure(proxy(served, "http://missing.test/")) == ("future", DNS_ERROR)
    assert ("missing.test", 1) in names.asked


def test_look_ups_of_guests(served):
    assert fetch(served, "/resolve?named.test").text == "127.0.0.1\n"
    assert fetch(served, "/resolve?192.0.2.7").text == "192.0.2.7\n"
    assert failure(fetch(served, "/resolve?missing.test")) == ("names", 18)
    assert failure(fetch(served, "/resolve?other.test")) == ("names", 1)
    assert failure(fetch(served, "/resolve?a%20b")) == ("names", 3)


# --- timeouts ---


def test_connect_timeout_covers_the_look_up(workers, tmp_path):
    with NameServer({}, silent=True) as hole, \
            serving(app(tmp_path / "app"), tmp_path, "--name-server", hole.address,
                    workers=workers) as server:
        begun = time.monotonic()
        r = proxy(server, "http://named.test/", fields=[("x-connect-ms", "200")])
        assert failure(r) == ("future", DNS_TIMEOUT)
        assert time.monotonic() - begun < 10 and hole.asked


def test_first_byte_and_between_bytes(served):
    stop = threading.Event()

    def serve(peer):
        if peer.head()[1] == "/late":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome")
        stop.wait(PATIENCE_S)
    with Backend(serve) as b:
        url = f"http://127.0.0.1:{b.port}"
        fast = [("x-first-byte-ms", "100"), ("x-between-bytes-ms", "100")]
        assert failure(proxy(served, f"{url}/never", fields=fast)) == ("future", READ_TIMEOUT)
        with pytest.raises(AssertionError, match="cut"):
            proxy(served, f"{url}/late", fields=fast)
        stop.set()


# --- TLS and HTTP/2 ---


def test_tls_by_roots_of_the_configuration(served, authority):
    with Backend(simple, authority.context()) as b:
        for host in ("localhost", "tls.test"):
            assert proxy(served, f"https://{host}:{b.port}/").status == 200
        # no [[client_tls]] for the address: the platform's roots do not know that authority
        r = proxy(served, f"https://127.0.0.1:{b.port}/")
        assert failure(r) == ("future", TLS_CERTIFICATE)


def test_tls_client_certificate(workers, authority, tmp_path):
    config = tmp_path / "runtime.toml"
    text = f"""
[[client_tls]]
component_ids = ["c"]
hosts = ["localhost"]
ca_roots_file = "{authority.ca}"
"""
    with Backend(simple, authority.context(client_ca=authority.ca)) as b:
        for own, status in ("", 502), (f'client_cert_file = "{authority.cert}"\n'
                                       f'client_private_key_file = "{authority.key}"\n', 200):
            config.write_text(text + own)
            with serving(app(tmp_path / "app"), tmp_path, "--runtime-config-file", str(config),
                         workers=workers) as server:
                assert proxy(server, f"https://localhost:{b.port}/").status == status


def test_http_2_by_alpn(served, authority, tmp_path):
    (tmp_path / "file").write_text("over two")
    with nghttpd(authority, tmp_path, "--trailer", "x-sum: 42", "--echo-upload") as port:
        r = proxy(served, f"https://localhost:{port}/file")
        assert r.text == "over two" and "nghttpd" in r.get("server")
        r = proxy(served, f"https://localhost:{port}/echo", "POST", [("x-chunked", "1")],
                  b"u" * 200_000)
        assert r.body == b"u" * 200_000 and r.get("x-sum") == "42"


def test_a_slow_guest_bounds_memory(served, authority, tmp_path, workers):
    """A fast HTTP/2 back-end has 200 MB for guests that read 16 kB each 20 ms."""
    with (tmp_path / "big").open("wb") as f:
        f.truncate(200_000_000)
    guests = 8
    with nghttpd(authority, tmp_path) as port:
        assert proxy(served, f"https://localhost:{port}/none").status == 404
        before = sum(map(resident_bytes, served.children("worker")))
        clients = [Connection(served) for _ in range(guests)]
        try:
            for c in clients:
                c.send(f"GET /proxy?https://localhost:{port}/big HTTP/1.1\r\nHost: a\r\n"
                       "x-pace-ms: 20\r\n\r\n".encode())
            for c in clients:
                assert c.head().status == 200
                c.exactly(100_000)  # it flows
            most = 0
            for _ in range(20):  # the interval that is measured
                time.sleep(0.05)
                most = max(most, sum(map(resident_bytes, served.children("worker"))))
        finally:
            for c in clients:
                c.close()
    # 1 MB for instance and TLS, 64 kB for each buffer
    assert most - before < guests * (6 if SANITIZED else 2) * 1_000_000, (before, most)


def test_a_guest_that_does_not_read_holds_up_nobody(served, authority, tmp_path):
    """Both talk to the same HTTP/2 server."""
    with (tmp_path / "big").open("wb") as f:
        f.truncate(50_000_000)
    with nghttpd(authority, tmp_path) as port, Connection(served) as slow:
        slow.send(f"GET /proxy?https://localhost:{port}/big HTTP/1.1\r\nHost: a\r\n"
                  "x-pace-ms: 600000\r\n\r\n".encode())
        assert slow.head().status == 200
        for _ in range(4):
            r = proxy(served, f"https://localhost:{port}/big")
            assert len(r.body) == 50_000_000


# --- what is never used ---


def test_environment_changes_nothing(workers, backend, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    env = {"HOME": str(home), "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "socks5://[::1]:1"}
    with serving(app(tmp_path / "app"), tmp_path, workers=workers, env=env) as server:
        r = proxy(server, f"http://127.0.0.1:{backend.port}/")
        assert r.status == 200 and "authorization" not in r.text


def test_redirects_are_the_guests_business(served):
    def serve(peer):
        peer.head()
        peer.answer(status="302 Found", fields=[("Location", "http://example.com/")])
    with Backend(serve) as b:
        r = proxy(served, f"http://127.0.0.1:{b.port}/")
        assert r.status == 302 and r.get("location") == "http://example.com/"


@pytest.mark.parametrize("config, connections", [
    ("", 1), ("[outbound_http]\nconnection_pooling = true", 1), ("[outbound_http]", 5)],
    ids=["none", "on", "off"])
def test_connections_are_used_again(config, connections, tmp_path):
    (tmp_path / "runtime.toml").write_text(config)
    with Backend(simple) as b, serving(app(tmp_path / "app"), tmp_path, "--runtime-config-file",
                                       str(tmp_path / "runtime.toml")) as server:
        for _ in range(5):
            assert proxy(server, f"http://127.0.0.1:{b.port}/").status == 200
        assert b.connections == connections


def test_as_many_connections_as_configured(tmp_path):
    """Ten at once, three connections: never more are open, and all are answered."""
    now, most, changed = 0, 0, threading.Condition()

    def serve(peer):
        nonlocal now, most
        peer.head()
        with changed:
            now += 1
            most = max(most, now)
            changed.notify_all()
            changed.wait_for(lambda: most >= 3, PATIENCE_S)
            now -= 1
        peer.answer(b"done", fields=[("Connection", "close")])

    (tmp_path / "runtime.toml").write_text("[outbound_http]\nmax_connections = 3\n")
    with Backend(serve) as b, serving(app(tmp_path / "app"), tmp_path, "--runtime-config-file",
                                      str(tmp_path / "runtime.toml")) as server:
        peers = [Connection(server) for _ in range(10)]
        for c in peers:
            c.send(f"GET /proxy?http://127.0.0.1:{b.port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for c in peers:
            assert c.response().body == b"done"
            c.close()
    assert most == 3


@pytest.mark.parametrize("config, over_http, over_tcp", [
    ("[outbound_http]\nmax_connections = 0", ("future", LIMIT_REACHED), None),
    ("[outbound_networking]\nmax_socket_connections = 0", None, ("tcp", NEW_SOCKET_LIMIT)),
    ("[outbound_networking]\nmax_total_connections = 0", ("future", LIMIT_REACHED),
     ("tcp", NEW_SOCKET_LIMIT))], ids=["http", "sockets", "total"])
def test_no_connection_at_all(config, over_http, over_tcp, tmp_path):
    (tmp_path / "runtime.toml").write_text(config)

    def serve(peer):
        if peer.head():
            peer.answer(b"done")
    with Backend(serve) as b, serving(app(tmp_path / "app"), tmp_path, "--runtime-config-file",
                                      str(tmp_path / "runtime.toml")) as server:
        r = proxy(server, f"http://127.0.0.1:{b.port}/")
        assert failure(r) == over_http if over_http else r.text == "done"
        r = fetch(server, f"/tcp?127.0.0.1&{b.port}&GET%20/%20HTTP/1.1%0d%0a%0d%0a")
        assert failure(r) == over_tcp if over_tcp else r.text.endswith("done")


def test_roots_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "runtime.toml").write_text(
        '[[client_tls]]\ncomponent_ids = ["c"]\nhosts = ["h"]\nca_use_webpki_roots = true\n')
    _, err = ebb("up", "-f", app(tmp_path / "app"), "--listen", "127.0.0.1:0",
                 "--runtime-config-file", tmp_path / "runtime.toml", status=1)
    assert "ca_use_webpki_roots" in err and "ca_roots_file" in err


def test_blocked_networks(workers, backend, names, tmp_path):
    config = tmp_path / "runtime.toml"
    config.write_text('[outbound_networking]\nblock_networks = ["127.0.0.0/8"]\n')
    with serving(app(tmp_path / "app"), tmp_path, "--runtime-config-file", str(config),
                 "--name-server", names.address, workers=workers) as server:
        for host in ("127.0.0.1", "named.test"):
            r = proxy(server, f"http://{host}:{backend.port}/")
            assert failure(r) == ("future", PROHIBITED)
        assert failure(fetch(server, f"/tcp?127.0.0.1&{backend.port}&x")) == ("tcp", 1)
        assert failure(fetch(server, "/resolve?named.test")) == ("names", 18)
        assert backend.connections == 0


# --- header fields ---


FORBIDDEN = ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
             "proxy-connection", "transfer-encoding", "upgrade", "host", "http2-settings")


@pytest.mark.parametrize("way", ["set", "append", "list"])
def test_forbidden_fields(served, way):
    for name in FORBIDDEN:
        assert fetch(served, f"/field?{way}&{name}&x").text == "forbidden"
    assert fetch(served, f"/field?{way}&x-mine&x").text == "ok"


@pytest.mark.parametrize("way", ["set", "append", "list"])
@pytest.mark.parametrize("bad", ["%0d", "%0a", "%00", "%0d%0aSet-Cookie:%20a=b", "a%0db", "%7f"])
def test_control_bytes_in_fields(served, way, bad):
    assert fetch(served, f"/field?{way}&x-name&v{bad}w").text == "invalid-syntax"
    assert fetch(served, f"/field?{way}&x{bad}y&value").text == "invalid-syntax"
    r = fetch(served, f"/answer?x-name&v{bad}w")
    assert r.text == "invalid-syntax" and not r.get("x-name") and not r.get("set-cookie")


# --- sockets ---


def test_tcp(served):
    def serve(peer):
        peer.send(peer.file.read().upper())
    with Backend(serve) as b:
        assert fetch(served, f"/tcp?127.0.0.1&{b.port}&hello").text == "HELLO"
    assert failure(fetch(served, f"/tcp?127.0.0.1&{free_port()}&x")) == ("tcp", 14)
    assert failure(fetch(served, "/tcp?192.0.2.1&80&x")) == ("tcp", 1)


def test_tcp_is_never_bound(served):
    assert failure(fetch(served, "/tcp-bind?127.0.0.1&0")) == ("tcp", 1)


def test_udp(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(PATIENCE_S)

        def answer():
            data, peer = s.recvfrom(100)
            s.sendto(data.upper(), peer)
        thread = threading.Thread(target=answer)
        thread.start()
        assert fetch(served, f"/udp?127.0.0.1&{s.getsockname()[1]}&ping").text == "PING"
        thread.join()
    assert failure(fetch(served, "/udp?192.0.2.1&53&x")) == ("udp", 1)


# --- black holes ---


def test_black_holes_hold_up_nobody(workers, tmp_path):
    """50 guests wait for a name server, for an answer, for a connection. Nobody's turn is long: a
    look-up or a connection that blocks would take seconds (the figure is soak's to take)."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)  # accepts nothing
    fillers = []
    for _ in range(3):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(full.getsockname())
        fillers.append(s)
    stop = threading.Event()

    def silent(peer):
        stop.wait(PATIENCE_S * 4)
    with NameServer({}, silent=True) as hole, Backend(silent) as b, \
            serving(app(tmp_path / "app"), tmp_path, "--name-server", hole.address,
                    "--stall-warning", "1000", "--limit", "half-close-time=1",
                    workers=workers) as server:
        waiting = [Connection(server) for _ in range(51)]
        for i, c in enumerate(waiting):
            url = ("http://named.test/", f"http://127.0.0.1:{b.port}/",
                   f"http://127.0.0.1:{full.getsockname()[1]}/")[i % 3]
            c.send(f"GET /proxy?{url} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_for(lambda: b.connections >= 17 and hole.asked, "the guests to wait")
        for _ in range(50):
            assert fetch(server, "/field?set&a&b").text == "ok"
        for c in waiting[::2]:
            c.close()  # look-ups and connections are given up
        for _ in range(50):
            assert fetch(server, "/field?set&a&b").text == "ok"
        assert not server.log_lines("stall")
        for c in waiting[1::2]:
            c.close()
        stop.set()
    for s in (*fillers, full):
        s.close()


# --- slowhttptest: a client that is slow on purpose ---


@pytest.mark.parametrize("mode", [["-H"], ["-B", "-s", "4096"], ["-X", "-n", "1", "-z", "32"]],
                         ids=["headers", "body", "read"])
def test_slowhttptest(mode, workers, backend, tmp_path):
    with serving(app(tmp_path / "app"), tmp_path, "--limit", "head-time=1", "--limit",
                 "body-time=1", "--limit", "write-time=1", workers=workers) as server:
        path = "field?set&a&b" if "-X" in mode else f"proxy?http://127.0.0.1:{backend.port}/"
        url = f"http://127.0.0.1:{server.port}/{path}"
        tool = subprocess.Popen(
            ["slowhttptest", *mode, "-c", "200", "-r", "200", "-i", "10", "-l", "3", "-u", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            served, begun = 0, time.monotonic()
            while tool.poll() is None and time.monotonic() - begun < PATIENCE_S:
                assert fetch(server, "/field?set&a&b").text == "ok"  # others are served meanwhile
                served += 1
        finally:
            tool.kill()
            tool.wait()
        assert served > 5
        if "-X" not in mode:
            server.wait_log("refused", status=408)
