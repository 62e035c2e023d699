"""examples/: each app serves its routes, calls out to a server of this test, and logs.

They are the same app in each language; the mixed one has two of its routes under /api.
"""
import http.server
import threading
import tomllib

import pytest

from harness import ROOT, Connection, fetch, serving

EXAMPLES = ROOT / "examples"
LANGUAGES = ("c", "go", "javascript", "mixed", "python", "rust")


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"upstream answers {self.path}\n".encode()
        self.send_response(203)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def upstream():
    """A server to call, and an address where there is none."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=LANGUAGES)
def example(request):
    return request.param


@pytest.fixture
def served(example, workers, upstream, tmp_path):
    with serving(EXAMPLES / example, tmp_path, "--variable", f"upstream={upstream}",
                 workers=workers) as server:
        server.prefix = "/api" if example == "mixed" else ""
        yield server


def test_routes(served, example):
    """Each route, by every worker: the requests come on connections of their own."""
    for _ in range(2):
        r = fetch(served, "/")
        assert (r.status, r.body) == (200, (EXAMPLES / example / "assets/welcome.txt").read_bytes())
        assert r.get("content-type") == "text/plain; charset=utf-8"
        r = fetch(served, f"{served.prefix}/count?to=12")
        assert (r.status, r.get("transfer-encoding")) == (200, "chunked")
        assert r.text.split() == [str(i) for i in range(1, 13)]
        r = fetch(served, "/relay")
        assert (r.status, r.text) == (203, "upstream answers /\n")
    body = b"Some bytes, mixed: \xc3\xa4 \x00 z" * 40_000
    r = fetch(served, f"{served.prefix}/shout", "POST", body=body)
    assert (r.status, r.body) == (200, body.upper())
    assert fetch(served, "/nowhere").status == 404
    assert fetch(served, f"{served.prefix}/shout").status == 405
    assert fetch(served, "/", "POST", body=b"x").status == 405

    said = served.wait_log("guest", stream="out", line=f"POST {served.prefix}/shout")[0]
    assert said["component"] == ("back" if example == "mixed" else "app")
    assert served.wait_log("request", id=said["id"])[0]["status"] == 200


def test_shouts_back_while_the_request_still_arrives(served):
    with Connection(served) as c:
        c.send(f"POST {served.prefix}/shout HTTP/1.1\r\nHost: a\r\n"
               "transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n".encode())
        assert c.head().status == 200
        assert c.file.readline() == b"5\r\n"
        assert c.exactly(7) == b"FIRST\r\n"
        c.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert c.file.readline() == b"6\r\n"
        assert c.exactly(8) == b"SECOND\r\n"
        assert c.file.readline() == b"0\r\n"


def test_says_why_it_cannot_call_out(example, tmp_path):
    """Nobody listens there: 502 with the reason, which the log has as well."""
    with http.server.HTTPServer(("127.0.0.1", 0), Upstream) as unused:
        nowhere = f"http://127.0.0.1:{unused.server_port}"
    with serving(EXAMPLES / example, tmp_path, "--variable", f"upstream={nowhere}") as server:
        r = fetch(server, "/relay")
        assert r.status == 502
        assert nowhere in r.text
        assert server.wait_log("guest", stream="err")


def test_only_the_upstream_may_be_called(example):
    manifest = tomllib.loads((EXAMPLES / example / "spin.toml").read_text())
    hosts = {name: c.get("allowed_outbound_hosts") for name, c in manifest["component"].items()}
    assert [h for h in hosts.values() if h] == [["{{ upstream }}"]], hosts
