"""Traces: a request's trace is continued by what it causes, and spans reach a collector (OTLP/HTTP
in JSON), which no request waits for."""
import http.server
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from backends import Backend
from harness import Connection, ebb, guest, wait_for, write_app
from node import node

APP = f"""
spin_manifest_version = 2
[application]
name = "traced"
[[trigger.http]]
route = "/front/..."
component = "front"
[[trigger.http]]
route = "/..."
component = "back"
[component.front]
source = "{guest('c-chain')}"
allowed_outbound_hosts = ["http://back.spin.internal", "http://127.0.0.1:*"]
[component.back]
source = "{guest('c-kitchen')}"
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Keeps the spans that it is sent; answers with `status`."""

    def __init__(self, status=200):
        self.status, self.batches, self.seen = status, [], threading.Condition()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/json"
                status = collector.status
                collector.batches.append(body)
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def spans(self, n):
        """At least so many, once they have come."""
        def all_of():
            return [s for b in list(self.batches) for r in b["resourceSpans"]
                    for scope in r["scopeSpans"] for s in scope["spans"]]
        wait_for(lambda: len(all_of()) >= n, f"{n} spans")
        return all_of()

    def resource(self):
        """What the newest batch says of itself."""
        return attributes(self.batches[-1]["resourceSpans"][0]["resource"])


def attributes(of):
    return {a["key"]: next(iter(a["value"].values())) for a in of["attributes"]}


def settings(url, one_in=1):
    return f"""
[egress]
allow = "127.0.0.0/8"
[traces]
url = "{url}"
one_in = {one_in}
"""


def exporters(n):
    """Process ids of the keeper's exporters."""
    (keeper,) = n.children("keeper")
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return [int(p) for p in children
            if b"@traces" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")]


def asks(n, url, *fields, status=200):
    r = n.get("traced", f"/front/x?{url}", fields=fields)
    assert r.status == status, (r.status, r.text, n.log()[-2000:])
    return r


def traceparent(r):
    """Of the request that the kitchen saw, in parts."""
    (value,) = [v for k, v in json.loads(r.text)["headers"] if k == "traceparent"]
    return value.split("-")


INSIDE = "http://back.spin.internal/some/request"


def test_spans_of_a_chain(tmp_path, workers):
    with Collector() as to, node(tmp_path, workers=workers, settings=settings(to.url)) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        seen = traceparent(asks(n, INSIDE))
        back, front = sorted(to.spans(2), key=lambda s: "parentSpanId" not in s)
        assert seen == ["00", front["traceId"], back["spanId"], "01"]
        assert back["traceId"] == front["traceId"] and back["parentSpanId"] == front["spanId"]
        assert (front["name"], front["kind"], back["name"]) == ("GET front", 2, "GET back")
        assert 0 < int(front["endTimeUnixNano"]) - int(front["startTimeUnixNano"]) < 60 * 10**9
        assert front["startTimeUnixNano"] <= back["startTimeUnixNano"]
        told = attributes(back)
        assert told["url.path"] == "/some/request" and told["http.request.method"] == "GET"
        assert told["http.response.status_code"] == "200" and told["ebb.app"] == "traced"
        assert told["ebb.app.id"] == told["ebb.tenant.id"] == "1" and int(told["ebb.cpu_ns"]) > 0
        assert {"service.name": "ebb", "ebb.spans.dropped": "0",
                "ebb.spans.lost": "0"}.items() <= to.resource().items()


def test_the_trace_that_a_request_brings(tmp_path):
    """As that says: sampled or not, and on to other servers."""
    asked = []

    def here(peer):
        asked.append(dict(peer.head()[2]))
        peer.socket.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere")
    with Collector() as to, Backend(here) as other, \
            node(tmp_path, settings=settings(to.url, one_in=10**9)) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        state = ("tracestate", "vendor=1")
        brought = ("traceparent", f"00-{TRACE}-{PARENT}-01")
        asks(n, f"http://127.0.0.1:{other.port}/", brought, state)
        (span,) = to.spans(1)
        assert (span["traceId"], span["parentSpanId"]) == (TRACE, PARENT)
        (sent,) = asked
        assert sent["traceparent"] == f"00-{TRACE}-{span['spanId']}-01"
        assert sent["tracestate"] == "vendor=1"
        _, trace, parent, flags = traceparent(asks(
            n, INSIDE, ("traceparent", f"00-{TRACE}-{PARENT}-00"), state))
        assert (trace, flags) == (TRACE, "00") and parent != PARENT
        # What is not right begins a trace, which is not sampled here; its states are not passed on.
        wrong = asks(n, INSIDE, ("traceparent", f"00-{TRACE}-{PARENT}"), state)
        assert traceparent(wrong)[1] != TRACE and traceparent(wrong)[3] == "00"
        assert "vendor=1" not in wrong.text
        failed = asks(n, "http://back.spin.internal/trap", brought, status=500)
        assert failed.status == 500
        spans = {s["name"]: s for s in to.spans(3)[1:]}
        assert len(to.spans(3)) == 3  # and none of the others
        assert spans["GET back"]["status"]["code"] == 2


def test_off_by_default(tmp_path):
    with node(tmp_path) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        assert "traceparent" not in asks(n, INSIDE).text
        r = asks(n, INSIDE, ("traceparent", f"00-{TRACE}-{PARENT}-01"))
        assert traceparent(r) == ["00", TRACE, PARENT, "01"]
        assert not exporters(n)


def test_what_is_lost_is_counted(tmp_path):
    """A collector that refuses, then does not answer at all: requests do not notice."""
    with Collector(status=503) as to, node(tmp_path, settings=settings(to.url)) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        for _ in range(3):
            assert n.get("traced", "/hello").status == 200
        assert len(to.spans(3)) == 3
        wait_for(lambda: "traces: " in n.log() and "status 503" in n.log(), "the log to say so")
        to.status = 200
        assert n.get("traced", "/hello").status == 200
        assert len(to.spans(4)) == 4
        assert to.resource()["ebb.spans.lost"] == "3"


def test_more_than_the_collector_takes(tmp_path):
    """It hangs: the next batch fills, then the socket; the rest is dropped and counted."""
    free = threading.Event()
    with Collector() as to:
        handle = to.server.RequestHandlerClass.do_POST

        def hang(handler):
            free.wait()
            handle(handler)
        to.server.RequestHandlerClass.do_POST = hang
        with node(tmp_path, settings=settings(to.url)) as n:
            n.run("deploy", "-f", write_app(tmp_path / "app", APP))
            host = f"traced-default.localhost:{n.port}"
            with Connection(n) as c:
                for _ in range(3000):
                    assert c.request("GET", "/hello", host=host).status == 200
            free.set()

            def counted():
                n.get("traced", "/hello")
                return to.batches and int(to.resource()["ebb.spans.dropped"]) > 0
            wait_for(counted, "what was dropped")


def test_the_exporter_dies(tmp_path):
    with Collector() as to, node(tmp_path, settings=settings(to.url)) as n:
        n.run("deploy", "-f", write_app(tmp_path / "app", APP))
        assert n.get("traced", "/hello").status == 200
        to.spans(1)
        (exporter,) = exporters(n)
        os.kill(exporter, signal.SIGKILL)
        assert n.get("traced", "/hello").status == 200
        assert n.get("traced", "/hello").status == 200
        os.kill(n.children("keeper")[0], signal.SIGKILL)

        def again():
            assert n.get("traced", "/hello").status == 200
            return len(to.spans(1)) > 1
        wait_for(again, "the next keeper's exporter")


@pytest.mark.parametrize("url", ("127.0.0.1:4318", "file:///etc/passwd"))
def test_another_url_is_refused(tmp_path, url):
    (tmp_path / "ebb.toml").write_text(settings(url))
    _, said = ebb("serve", "--data", tmp_path, "--check", status=1)
    assert f"[traces] url: '{url}' is none of http" in said
