"""Fixtures of the integration tests: the kitchens served once per number of workers."""
import http.server
import threading

import pytest

from harness import guest, serving, write_app

LANGUAGES = ("c", "rust", "js", "python", "go")

COMPONENT = """
[[trigger.http]]
route = "/{id}/..."
component = "{id}"

[component.{id}]
source = "{source}"
description = "the kitchen in {id}"
environment = {{ GREETING = "hello {id}", EMPTY = "" }}
files = ["data/*.txt", {{ source = "assets", destination = "/public" }}]
[component.{id}.variables]
word = "{{{{ word }}}}"
sentence = "the word is {{{{ word }}}}, {id}"
"""

KITCHENS = """
spin_manifest_version = 2

[application]
name = "kitchens"
version = "1.2.3"
description = "one manifest, many languages"

[variables]
word = { default = "tide" }

[[trigger.http]]
route = "/c"
component = "c"

[[trigger.http]]
route = "/named/:first/mid/:second/..."
component = "rust"

[[trigger.http]]
route = "/exact/request"
component = "js"

[[trigger.http]]
route = "/also/:here"
component = "c"

[[trigger.http]]
route = "/static"
static_response = { status_code = 418, headers = { "x-kind" = "static" }, body = "short and stout" }
""" + "".join(COMPONENT.format(id=x, source=guest(f"{x}-kitchen")) for x in LANGUAGES)

FILES = {"data/hello.txt": "hello from a file\n", "data/skipped.md": "not matched",
         "assets/deep/er.bin": bytes(range(256))}


def pytest_generate_tests(metafunc):
    """Everything that serves is run with one worker and with two."""
    if "workers" in metafunc.fixturenames:
        metafunc.parametrize("workers", (1, 2), ids=("workers1", "workers2"), scope="session")


@pytest.fixture(scope="session")
def kitchens(workers, tmp_path_factory):
    """One manifest with the kitchens of all languages and nine routes."""
    folder = tmp_path_factory.mktemp("kitchens")
    app = write_app(folder / "app", KITCHENS, FILES)
    with serving(app, folder, workers=workers) as server:
        yield server


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param


class FileServer:
    """A web server on this machine with what a test puts into it."""

    def __init__(self):
        self.files, self.redirects, self.seen, self.token = {}, {}, [], None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_address[1]}"
        self.url = f"http://{self.host}"
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def answer(self, request):
        self.seen.append(request.path)
        path = request.path.split("?")[0]
        body = self.files.get(path)
        if path.startswith("/v2/") and self.token and \
                request.headers.get("authorization") != f"Bearer {self.token}":
            request.send_response(401)
            request.send_header("www-authenticate",
                                f'Bearer realm="{self.url}/token",service="here",scope="pull"')
            body = b""
        elif path in self.redirects:
            request.send_response(302)
            request.send_header("location", self.redirects[path])
            body = b""
        else:
            request.send_response(404 if body is None else 200)
        request.send_header("content-length", str(len(body or b"")))
        request.end_headers()
        request.wfile.write(body or b"")

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def file_server():
    server = FileServer()
    yield server
    server.close()
