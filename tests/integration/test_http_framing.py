"""Where requests begin and end, over real connections: the corpus of tests/data/http1_framing.txt
(its decisions are proved of the parser by tests/unit/http_framing.c) sent to `ebb up` and to
nginx.

Two servers that accept the same bytes but see different requests in them are how requests are
smuggled. So where ebb and nginx both accept, they must see the same number of requests; where only
nginx refuses, the case is listed here with the reason; that ebb refuses more is its purpose.
"""
import contextlib
import re
import shutil
import socket
import subprocess

import pytest

from harness import PATIENCE_S, ROOT, serving, wait_for, write_app
from http2raw import PREFACE

CORPUS = ROOT / "tests/data/http1_framing.txt"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

MANIFEST = """
spin_manifest_version = 2
[application]
name = "framing"
[[trigger.http]]
route = "/..."
static_response = { status_code = 200, body = "x" }
"""

#: What ebb takes and nginx 1.22 does not. In none of them does a byte change sides.
NGINX_REFUSES = {
    "method-lower": "nginx wants methods in capitals",
    "method-token-chars": "the same",
    "options-asterisk": "nginx serves no '*'",
    "target-percent": "nginx decodes the path; guests get it as it was sent",
    "te-blank-before": "nginx does not skip a tab before a value",
}


#: What ebb refuses and nginx 1.22 takes, by the beginning of the case's name: how many, and why
#: ebb refuses. An even stricter server in front changes nothing; a laxer one behind is what these
#: are for.
NGINX_TAKES = {
    "chunk": (13, "blanks, NUL and bare LF in chunk lines"),
    "trailer": (21, "nginx throws trailers away unread; guests get them"),
    "field": (27, "nginx drops fields with odd names and values; bare LF ends its lines"),
    "host": (24, "nginx looks less closely, and guests trust it"),
    "target": (12, "bytes that are no URI, and targets that clash with Host"),
    "line": (10, "blanks, HTTP/0.9 and versions of nobody's"),
    "before": (5, "more than one empty line, or odd ones, before a request"),
    "between": (1, "the same between requests"),
    "upgrade": (5, "nginx ignores upgrades; WebSocket clients are told"),
    "expect": (3, "nginx ignores expectations"),
    "cl": (1, "a bare LF in a length"),
    "te": (1, "a bare CR after a coding"),
}


def unescape(text):
    plain = {"r": b"\r", "n": b"\n", "t": b"\t"}

    def one(match):
        what = match[1]
        if what.startswith("x"):
            return chr(int(what[1:], 16))
        return plain.get(what, what.encode("latin-1")).decode("latin-1")

    return re.sub(r"\\(x[0-9a-f]{2}|.)", one, text).encode("latin-1")


def corpus():
    cases, name = {}, None
    for line in CORPUS.read_text().splitlines():
        if line.startswith("  "):
            cases[name][1] += unescape(line[2:line.rindex("|")])
        elif line and not line.startswith("#"):
            name, decision = line.split(" = ")
            cases[name] = [decision.split(), b""]
    assert len(cases) >= 300
    return cases


def statuses(received, heads):
    """The statuses of the responses; `heads` says which of them answer HEAD."""
    found = []
    while received:
        head, mark, rest = received.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert match and mark, received[:200]
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head + b"\r\n")
        is_head = len(found) in heads
        if match[1] != b"100":
            found.append(int(match[1]))
        received = rest[0 if is_head or not length else int(length[1]):]
    return found


def ask(port, sent):
    """Everything that comes back for these bytes, after which the client sends no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as s:
        s.sendall(sent)
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := s.recv(65536):
                received += piece
    return statuses(received, {0} if sent.startswith(b"HEAD") else ())


def expected_of(decision):
    """A handler that answers at once has answered 200 when a body stays incomplete."""
    expected = []
    for word in decision:
        if "!" in word:
            expected.append(int(word.split("!")[1]))
        elif word != "~":
            expected.append(200)
    return expected


def test_corpus_over_connections(workers, tmp_path):
    wrong = []
    with serving(write_app(tmp_path / "app", MANIFEST), tmp_path, workers=workers) as server:
        for name, (decision, sent) in corpus().items():
            if sent.startswith(PREFACE):  # over a connection that is HTTP/2: test_http2.py
                continue
            got = ask(server.port, sent)
            if got != expected_of(decision):
                wrong.append(f"{name}: {decision}, got {got}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    assert NGINX, "nginx is missing: it is one of the packages that the tests need"
    folder = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{ listen 127.0.0.1:{port}; location / {{ return 200 "x"; }} }}
        }}""")
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"),
                                "-e", str(folder / "error.log")])

    def listening():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return None
    try:
        wait_for(listening, "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_what_only_nginx_takes_is_known(nginx):
    """Every hostile request of the corpus is put to nginx too; where it is laxer, we know why."""
    hostile, taken = 0, {}
    for name, (decision, sent) in corpus().items():
        if not any("!" in word for word in decision):
            continue
        hostile += 1
        try:
            refused = any(status >= 400 for status in ask(nginx, sent))
        except AssertionError:
            refused = False  # an answer without a head: HTTP/0.9
        if not refused:
            kind = name.split("-")[0]
            taken[kind] = taken.get(kind, 0) + 1
    assert hostile >= 300
    assert taken == {kind: n for kind, (n, _) in NGINX_TAKES.items()}


def test_nginx_sees_the_same_requests(nginx):
    differ, refuses, both = [], set(), 0
    for name, (decision, sent) in corpus().items():
        if not all(word.isdigit() for word in decision):
            continue
        got = ask(nginx, sent)
        if any(status >= 400 for status in got):
            refuses.add(name)
        elif len(got) != len(decision):
            differ.append(f"{name}: {decision}, nginx answered {got}")
        else:
            both += 1
    assert not differ, "\n".join(differ)
    assert refuses == set(NGINX_REFUSES)
    assert both >= 60
