"""Spin's conformance cases for what ebb serves: HTTP shape, key-value, sqlite, variables, outbound
HTTP and sockets, with the texts that Spin's own cases expect. The components are ours
(tests/guests/c/conformance.c); services run on loopback.

As there, a response may have no field that is not listed, but Date and framing."""
import http.server
import socketserver
import threading

import pytest

from harness import fetch, guest, serving, write_app

FRAMING = {"date", "content-length", "transfer-encoding", "connection"}


class Echo(http.server.BaseHTTPRequestHandler):
    """The HTTP service: answers a POST with its body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response_only(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class TcpEcho(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture(scope="module")
def ports():
    servers = {"http": http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo),
               "tcp": socketserver.ThreadingTCPServer(("127.0.0.1", 0), TcpEcho)}
    for server in servers.values():
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {name: server.server_address[1] for name, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


DENIED_HTTP = "incoming-response#get: ErrorCode::HttpRequestDenied"
#: name: (lines of the component, path, fields, status, body)
CASES = {
    "key-value": ('key_value_stores = ["default"]', "/key-value", {}, 200, ""),
    "key-value-no-permission": ("", "/key-value", {}, 500, "Error::AccessDenied"),
    "sqlite": ('sqlite_databases = ["default"]', "/sqlite", {}, 200, ""),
    "sqlite-no-permission": ("", "/sqlite", {}, 500, "Error::AccessDenied"),
    "variables": ('variables = { variable = "value" }', "/variables", {}, 200, ""),
    "request-shape": ("", "/base/path/end/rest?key=value",
                      {"user-agent": "test", "accept": "*/*"}, 200, ""),
    "outbound-wasi-http": ('allowed_outbound_hosts = ["http://localhost:HTTP"]', "/outbound",
                           {"url": "http://localhost:HTTP"}, 200, "Hello, world!"),
    "outbound-wasi-http-no-permission": ("", "/outbound", {"url": "http://localhost:1234"}, 500,
                                         DENIED_HTTP),
    "tcp-sockets": ('allowed_outbound_hosts = ["*://127.0.0.1:TCP"]', "/tcp",
                    {"address": "127.0.0.1:TCP"}, 200, ""),
    "tcp-sockets-ip-range": ('allowed_outbound_hosts = ["*://127.0.0.0/24:TCP"]', "/tcp",
                             {"address": "127.0.0.1:TCP"}, 200, ""),
    "tcp-sockets-ip-range-variable-permission": (
        'allowed_outbound_hosts = ["*://{{ addr_prefix }}/{{ prefix_len }}:TCP"]', "/tcp",
        {"address": "127.0.0.1:TCP"}, 200, ""),
    "tcp-sockets-no-ip-permission": ('allowed_outbound_hosts = ["*://127.0.0.2:7"]', "/tcp",
                                     {"address": "127.0.0.1:7"}, 500, "access-denied (error 1)"),
    "tcp-sockets-no-port-permission": ('allowed_outbound_hosts = ["*://127.0.0.1:8"]', "/tcp",
                                       {"address": "127.0.0.1:7"}, 500,
                                       "access-denied (error 1)"),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name, workers, ports, tmp_path):
    def filled(s):
        return s.replace("HTTP", str(ports["http"])) if "localhost" in s else \
            s.replace("TCP", str(ports["tcp"]))
    lines, path, fields, status, body = CASES[name]
    route = "/base/:path_segment/:path_end/..." if name == "request-shape" else "/..."
    app = write_app(tmp_path / "app", f"""
spin_manifest_version = 2
[application]
name = "{name}"
[variables]
addr_prefix = {{ default = "127.0.0.0" }}
prefix_len = {{ default = "24" }}
[[trigger.http]]
route = "{route}"
component = "c"
[component.c]
source = "{guest('c-conformance')}"
{filled(lines)}
""")
    with serving(app, tmp_path, workers=workers) as server:
        r = fetch(server, path, host="example.com",
                  fields=[(k, filled(v)) for k, v in fields.items()])
        assert (r.status, r.text) == (status, body), server.log()[-1500:]
        names = [n.lower() for n, _ in r.fields]
        assert set(names) <= FRAMING and len(set(names)) == len(names), names
        if not body and status == 200:
            assert r.get("content-length") == "0" or "chunked" in (r.get("transfer-encoding") or "")


def test_all_thirteen_are_here():
    assert len(CASES) == 13
