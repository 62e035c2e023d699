"""HTTP as Python likes it, over the bindings of wasi:http: bodies are iterators of bytes."""
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (Fields, IncomingBody, OutgoingBody, OutgoingRequest,
                                     OutgoingResponse, ResponseOutparam, Scheme_Http, Scheme_Https)

READ_MAX = 65536
WRITE_MAX = 4096  # what one blocking_write_and_flush takes


class Request:
    """What a client asks: method, path, query, body()."""

    def __init__(self, incoming):
        method = incoming.method()
        known = type(method).__name__.removeprefix("Method_").upper()
        self.method = getattr(method, "value", known)
        self.path, _, self.query = (incoming.path_with_query() or "/").partition("?")
        self.incoming = incoming

    def body(self):
        return parts_of(self.incoming.consume())


def parts_of(body):
    """The parts of a body as they arrive."""
    with body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(READ_MAX)
            except Err as e:
                if isinstance(e.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)


def answer(response_out, status, parts):
    """Sends an answer; each part is on its way before the next is asked for."""
    response = OutgoingResponse(
        Fields.from_list([("content-type", b"text/plain; charset=utf-8")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for part in parts:
            for at in range(0, len(part), WRITE_MAX):
                stream.blocking_write_and_flush(part[at:at + WRITE_MAX])
    OutgoingBody.finish(body, None)


def get(url):
    """Gets a URL: (status, parts of the body). Raises Err with the host's error code."""
    url = urlsplit(url)
    request = OutgoingRequest(Fields())
    request.set_scheme(Scheme_Https() if url.scheme == "https" else Scheme_Http())
    request.set_authority(url.netloc)
    request.set_path_with_query((url.path or "/") + (f"?{url.query}" if url.query else ""))
    future = outgoing_handler.handle(request, None)
    with future.subscribe() as ready:
        ready.block()
    found = future.get().value
    if isinstance(found, Err):
        raise found
    return found.value.status(), parts_of(found.value.consume())
