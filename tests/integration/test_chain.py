"""Requests that stay in the app: service chaining, private routes, `self`; no socket is opened."""
import json
import os

import pytest

from harness import Connection, fetch, guest, open_files, serving, write_app

APP = f"""
spin_manifest_version = 2
[application]
name = "chained"
[[trigger.http]]
route = "/front/..."
component = "front"
[[trigger.http]]
route = "/again"
component = "front"
[[trigger.http]]
route = "/b/..."
component = "open"
[[trigger.http]]
route = {{ private = true }}
component = "back"
[component.front]
source = "{guest('c-chain')}"
allowed_outbound_hosts = ["http://back.spin.internal", "http://front.spin.internal", "http://self",
                          "http://nowhere.spin.internal"]
[component.back]
source = "{guest('c-kitchen')}"
[component.open]
source = "{guest('c-chain')}"
"""


@pytest.fixture
def app(tmp_path):
    return write_app(tmp_path / "app", APP)


@pytest.fixture
def served(app, workers, tmp_path):
    with serving(app, tmp_path, workers=workers) as server:
        yield server


def ask(server, url, status=200, **more):
    r = fetch(server, f"/front/x?{url}", **more)
    assert r.status == status, (r.status, r.text, server.log()[-2000:])
    return r


def test_private_component_answers(served):
    assert fetch(served, "/back/hello").status == 404  # from outside it is not there
    r = ask(served, "http://back.spin.internal/hello")
    assert r.text.startswith("Hello from C!")
    assert len(r.text) == int(r.get("content-length"))
    assert ask(served, "http://back.spin.internal/nowhere", 404).status == 404


def test_what_the_called_component_sees(served):
    seen = json.loads(ask(served, "http://back.spin.internal/some/request?a=b",
                          fields=[("x-passed", "yes"), ("spin-path-info", "forged")]).text)
    headers = dict(map(tuple, seen["headers"]))
    assert seen["method"] == "GET" and seen["path"] == "/some/request?a=b"
    assert seen["authority"] == "back.spin.internal" == headers["host"]
    assert headers["x-passed"] == "yes"
    assert headers["spin-path-info"] == "/some/request"
    assert headers["spin-client-addr"] == "0.0.0.0:0"
    assert headers["spin-matched-route"] == "/..." or headers["spin-raw-component-route"] == "/..."


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traced(r):
    """What of a trace the kitchen saw."""
    assert r.status == 200, r.text
    return [(k, v) for k, v in json.loads(r.text)["headers"] if k.startswith("trace")]


def test_a_trace_is_continued(served):
    """W3C Trace Context, by a component that says nothing of it."""
    url = "http://back.spin.internal/some/request"
    fields = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    assert traced(ask(served, url, fields=fields)) == fields
    assert traced(ask(served, url)) == []
    for wrong in ([("traceparent", PARENT.upper())], [("traceparent", PARENT)] * 2):
        assert traced(ask(served, url, fields=[*wrong, ("tracestate", "a=1")])) == []


def test_a_trace_is_continued_in_fields_of_a_response(served):
    """The relay's second request has the fields of the first response: no other object's change."""
    fields = [("traceparent", PARENT), ("tracestate", "a=1")]
    url = "/again?http://back.spin.internal/some/request"
    assert traced(fetch(served, url, fields=fields)) == fields


def test_status_and_headers_come_back(served):
    r = ask(served, "http://back.spin.internal/status?418", 418)
    assert r.get("x-kitchen") == "yes" and r.text == "status 418"
    assert [v for k, v in r.fields if k == "set-cookie"].__len__() == 2


def test_bodies_stream_both_ways(served):
    body = os.urandom(3_000_000)
    r = ask(served, "http://back.spin.internal/echo", method="POST", body=body)
    assert r.body == body
    assert ask(served, "http://back.spin.internal/drain", method="POST", body=body).text == \
        str(len(body))


def sockets(pid):
    return sorted(x for x in open_files(pid) if x.startswith("socket:"))


def test_a_response_streams_while_it_is_made_and_opens_no_socket(app, tmp_path):
    """The first chunk arrives although the called component has not finished."""
    with serving(app, tmp_path) as server, Connection(server) as c:
        (pid,) = server.children("worker")
        assert c.request("GET", "/front/x?http://back.spin.internal/hello").status == 200
        before = sockets(pid)
        c.send(b"POST /front/x?http://back.spin.internal/echo HTTP/1.1\r\nHost: a\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        seen = b""
        while b"first" not in seen:
            part = c.file.read1(65536)
            assert part, seen
            seen += part
        assert sockets(pid) == before
        c.send(b"0\r\n\r\n")


def test_self(served):
    direct = fetch(served, "/.well-known/spin/health")
    assert direct.text == "OK"
    assert ask(served, "http://self.alt/.well-known/spin/health").text == "OK"
    assert ask(served, "/.well-known/spin/health").text == "OK"
    assert ask(served, "/nowhere", 404).body == b""
    # A client's Host does not make `self` a way to a private component.
    r = fetch(served, "/front/x?/hello", host="back.spin.internal")
    assert r.status == 404


def test_denied(served):
    assert ask(served, "http://open.spin.internal/", 502).text == "HTTP-request-denied"
    assert ask(served, "http://nowhere.spin.internal/", 502).text == "destination-not-found"
    r = fetch(served, "/b/x?http://back.spin.internal/hello")
    assert (r.status, r.text) == (502, "HTTP-request-denied")
    r = fetch(served, "/b/x?/b/hello")
    assert (r.status, r.text) == (502, "HTTP-request-denied")


def test_cycles_end(served):
    """Each call asks the next: the innermost is refused, all others pass its answer on."""
    url = "http://back.spin.internal/hello"
    for _ in range(10):
        url = f"http://front.spin.internal/x?{url}"
    assert ask(served, url).text.startswith("Hello from C!")
    for _ in range(10):
        url = f"http://front.spin.internal/x?{url}"
    assert ask(served, url, 502).text == "loop-detected"


def test_traps_and_limits_of_the_called(app, tmp_path):
    manifest = app / "spin.toml"
    manifest.write_text(manifest.read_text().replace(
        "[component.open]", '[component.back.tool.ebb]\ncpu_time_max = "300ms"\n[component.open]'))
    with serving(app, tmp_path) as server:
        back = "http://back.spin.internal"
        assert ask(server, f"{back}/trap", 500).body == b""
        assert ask(server, f"{back}/spin", 504).body == b""
        assert ask(server, f"{back}/silent", 500).body == b""
        with Connection(server) as c:
            c.send(b"GET /front/x?http://back.spin.internal/half HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.file.read().startswith(b"HTTP/1.1 200")  # and cut: the connection ends
        assert ask(server, f"{back}/hello").status == 200


def test_caller_that_leaves_ends_the_called(app, tmp_path):
    with serving(app, tmp_path, "--limit", "half-close-time=1") as server:
        c = Connection(server)
        c.send(b"GET /front/x?http://back.spin.internal/sleep?100000 HTTP/1.1\r\n"
               b"Host: a\r\n\r\n")
        c.close()
        server.wait_log("request", component="front", status=499)
        server.wait_log("request", component="back", status=499)


def test_no_place_is_no_deadlock(app, tmp_path):
    """A component that asks itself and may run once: refused at once, not after the idle time."""
    manifest = app / "spin.toml"
    manifest.write_text(manifest.read_text().replace(
        "[component.open]", "[component.front.tool.ebb]\nconcurrency_max = 1\n[component.open]"))
    with serving(app, tmp_path) as server:
        r = ask(server, "http://front.spin.internal/x?http://back.spin.internal/hello", 503)
        assert r.get("ebb-request-id")
        assert ask(server, "http://back.spin.internal/hello").status == 200
