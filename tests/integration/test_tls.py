"""The server's TLS: flags, what guests see, handshakes, certificates that change."""
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from harness import EBB, PATIENCE_S, ROOT, environment, guest, serving, wait_for, write_app
from tls import Authority, run

APP = f"""
spin_manifest_version = 2
[application]
name = "tls"
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "{guest("c-kitchen")}"
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("server", "localhost", "127.0.0.1")


@contextlib.contextmanager
def secure(tmp_path, pair, *args, **kwargs):
    app = write_app(tmp_path / "app", APP)
    with serving(app, tmp_path, "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), *args,
                 **kwargs) as server:
        yield server


@pytest.fixture(scope="module")
def server(authority, pair, tmp_path_factory):
    with secure(tmp_path_factory.mktemp("tls"), pair, "--limit", "handshake-time=1") as s:
        yield s


def context(authority, *alpn, **versions):
    c = ssl.create_default_context(cafile=str(authority.roots))
    for name, value in versions.items():
        setattr(c, name, value)
    if alpn:
        c.set_alpn_protocols(list(alpn))
    return c


def dial(server, authority, *alpn, host="localhost", **versions):
    return context(authority, *alpn, **versions).wrap_socket(server.connect(),
                                                             server_hostname=host)


def curl(authority, *args):
    return subprocess.run(["curl", "-sS", "--noproxy", "*", "--cacert", str(authority.roots),
                           *args], capture_output=True, timeout=PATIENCE_S, check=True).stdout


def serial(server, authority, host="localhost"):
    """The serial number of the certificate that a new connection gets."""
    with dial(server, authority, host=host) as s:
        return s.getpeercert()["serialNumber"]


def test_ready_line_and_what_a_guest_sees(server, authority, pair):
    assert server.url == f"https://127.0.0.1:{server.port}"
    assert server.ready["tls_cert"] == str(pair[0]) and server.ready["tls_key"] == str(pair[1])
    seen = json.loads(curl(authority, "--http1.1", f"{server.url}/request?a=b"))
    assert seen["scheme"].lower() == "https"
    fields = dict(seen["headers"]) if isinstance(seen["headers"], list) else seen["headers"]
    assert fields["spin-full-url"] == f"https://127.0.0.1:{server.port}/request?a=b"


@pytest.mark.parametrize("version", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
def test_http1_over_each_version(server, authority, version):
    with dial(server, authority, "http/1.1", minimum_version=version,
              maximum_version=version) as s:
        assert s.selected_alpn_protocol() == "http/1.1"
        for _ in range(3):  # kept alive
            s.sendall(b"GET /request HTTP/1.1\r\nhost: a\r\n\r\n")
            assert s.recv(12) == b"HTTP/1.1 200"
            while b"\r\n0\r\n\r\n" not in (got := s.recv(65536)) and b"}" not in got:
                pass
        assert not s.session_reused and s.version() == version.name.replace("v1_", "v1.")


def test_trusted_proxies(authority, pair, tmp_path):
    """Their word about the client counts, in what a guest sees and in the log; that of others does
    not."""
    fields = ("-H", "x-forwarded-for: 6.6.6.6, 203.0.113.7", "-H", "x-forwarded-proto: http")
    for net, client, scheme in (("127.0.0.0/8,10.0.0.0/8", "203.0.113.7:0", "http"),
                                ("10.0.0.0/8", "127.0.0.1:", "https")):
        folder = tmp_path / net[:2]
        folder.mkdir()
        with secure(folder, pair, "--trusted-proxy", net) as server:
            for version in ("--http1.1", "--http2"):
                seen = json.loads(curl(authority, version, *fields, f"{server.url}/request"))
                headers = dict(seen["headers"])
                assert headers["spin-client-addr"].startswith(client)
                assert seen["scheme"].lower() == scheme
                assert headers["spin-full-url"].startswith(f"{scheme}://")
            lines = server.wait_log("request", 2)
            assert all(x["client"].startswith(client) for x in lines)
    r = subprocess.run([EBB, "up", "--trusted-proxy", "10.0.0.0/99"], capture_output=True,
                       text=True, env=environment(), timeout=PATIENCE_S)
    assert r.returncode == 1 and "trusted proxy '10.0.0.0/99'" in r.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_and_other_protocols_are_refused(server, authority):
    old = context(authority, minimum_version=ssl.TLSVersion.TLSv1,
                  maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        old.wrap_socket(server.connect(), server_hostname="localhost")
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        dial(server, authority, "spdy/3")
    with server.connect() as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        while plain.recv(100):
            pass
    server.wait_log("refused", status=0, reason="http request")


def test_a_slow_handshake_is_closed(server):
    with server.connect() as s:
        s.sendall(b"\x16\x03\x01")
        assert s.recv(1) == b""
    server.wait_log("refused", status=0, reason="the TLS handshake took too long")


def test_a_hundred_megabytes_both_ways(server, authority, tmp_path):
    size = 100 << 20
    body = tmp_path / "body"
    with open(body, "wb") as f:
        f.truncate(size)
    out = tmp_path / "out"
    curl(authority, "--http1.1", "-T", str(body), "-X", "POST", "-o", str(out),
         f"{server.url}/echo")
    assert out.stat().st_size == size
    with open(body, "rb") as a, open(out, "rb") as b:
        while piece := a.read(1 << 20):
            assert piece == b.read(1 << 20)


def test_certificates_that_change(authority, tmp_path):
    """On SIGHUP, and when the files change; open connections keep theirs, bad ones change nothing,
    and a worker that starts later has the new ones."""
    files = tmp_path / "files"
    files.mkdir()
    def new(name):
        return authority.issue(name, "localhost", folder=files)
    one, key = new("one")
    used = files / "live.crt", files / "live.key"
    shutil.copy(one, used[0])
    shutil.copy(key, used[1])
    with secure(tmp_path, used, workers=2) as server:
        first = serial(server, authority)
        with dial(server, authority, "http/1.1") as kept:
            for path, link in zip(new("two"), used):
                os.replace(path, link)
            server.wait_log("message", text="certificates: new ones are in use")
            wait_for(lambda: all(serial(server, authority) != first for _ in range(8)), "renewal")
            second = serial(server, authority)
            used[0].write_text("nonsense")
            wait_for(lambda: "no certificate in it" in server.log(), "a word about the bad file")
            assert {serial(server, authority) for _ in range(8)} == {second}
            kept.sendall(b"GET /request HTTP/1.1\r\nhost: a\r\n\r\n")
            assert kept.recv(12) == b"HTTP/1.1 200"
        third = new("three")
        shutil.copyfile(third[1], used[1])
        shutil.copyfile(third[0], used[0])
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: all(serial(server, authority) not in (first, second) for _ in range(8)),
                 "the third")
        for pid in server.children("worker"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "starting it again" in server.log(), "the workers' end")
        assert serial(server, authority) not in (first, second)


def test_certificates_by_name(authority, tmp_path):
    """The name chooses; a connection is good for the hosts of its certificate alone; new files in
    the folder are found."""
    folder = tmp_path / "certificates"
    (folder / "b").mkdir(parents=True)
    authority.issue("a", "a.example", "*.a.example", folder=folder)
    b = authority.issue("b", "b.example")
    shutil.copy(b[0], folder / "b/fullchain.pem")
    shutil.copy(b[1], folder / "b/privkey.pem")
    (folder / "readme.txt").write_text("not a certificate")
    app = write_app(tmp_path / "app", APP)
    with serving(app, tmp_path, "--tls-folder", str(folder)) as server:
        assert server.ready["tls_folder"] == str(folder)
        names = {h: serial(server, authority, h) for h in ("a.example", "x.a.example", "b.example")}
        assert names["a.example"] == names["x.a.example"] != names["b.example"]
        for host in ("other.example", "x.y.a.example", None):
            c = context(authority)
            c.check_hostname = False
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                c.wrap_socket(server.connect(), server_hostname=host)
        for host, status in (("x.a.example:443", b"200"), ("A.example", b"200"),
                             ("b.example", b"421"), ("127.0.0.1", b"421")):
            with dial(server, authority, "http/1.1", host="a.example") as s:
                s.sendall(b"GET /request HTTP/1.1\r\nhost: " + host.encode() + b"\r\n\r\n")
                assert s.recv(12) == b"HTTP/1.1 " + status
        authority.issue("c", "c.example", folder=folder)
        server.process.send_signal(signal.SIGHUP)

        def served():
            with contextlib.suppress(ssl.SSLError):
                return serial(server, authority, "c.example")
        wait_for(served, "the new name")
        assert serial(server, authority, "b.example") == names["b.example"]


@pytest.mark.parametrize("args, text", (
    (("--tls-folder", "{empty}"), "no certificate in it"),
    (("--tls-folder", "{empty}", "--tls-key", "{key}"), "contradict"),
    (("--tls-cert", "{crt}"), "--tls-key is missing"),
    (("--tls-key", "{key}"), "--tls-cert is missing"),
    (("--tls-cert", "{none}", "--tls-key", "{key}"), "none.pem: No such file"),
    (("--tls-cert", "{key}", "--tls-key", "{key}"), "server.key: no certificate in it"),
    (("--tls-cert", "{crt}", "--tls-key", "{crt}"), "server.crt: no private key in it"),
    (("--tls-cert", "{crt}", "--tls-key", "{other}"), "is not the private key"),
    (("--tls-cert", "{crt}", "--tls-key", "{locked}"), "pass phrase"),
))
def test_flags_and_files_that_are_wrong(authority, pair, tmp_path, args, text):
    locked = authority.folder / "locked.key"
    run("pkey", "-in", pair[1], "-aes128", "-passout", "pass:secret", "-out", locked)
    names = {"crt": pair[0], "key": pair[1], "none": tmp_path / "none.pem",
             "other": authority.issue("other", "localhost")[1], "locked": locked,
             "empty": tmp_path}
    r = subprocess.run([EBB, "up", "-f", str(ROOT / "examples/hello"),
                        *(a.format(**names) for a in args)],
                       capture_output=True, text=True, env=environment(), timeout=PATIENCE_S)
    assert r.returncode == 1 and text in r.stderr
