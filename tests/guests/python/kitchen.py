"""The kitchen in plain Python, on bindings made from a world of its own; routes in
tests/guests/README.md."""
import json
import os
import sys

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import monotonic_clock, random, types, variables
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam

READ_MAX = 65536
WRITE_MAX = 4096  # what one blocking_write_and_flush takes

calls = 0


def parts_of(request):
    """The request's body as it arrives."""
    body = request.consume()
    with body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(READ_MAX)
            except Err as e:
                if isinstance(e.value, StreamError_Closed):
                    break
                raise
    types.IncomingBody.finish(body)


def answer(response_out, parts, status=200, fields=()):
    """Sends a response; each part of the body is flushed before the next is asked for."""
    response = OutgoingResponse(Fields.from_list(list(fields)))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for part in parts:
            for at in range(0, len(part), WRITE_MAX):
                stream.blocking_write_and_flush(part[at:at + WRITE_MAX])
    OutgoingBody.finish(body, None)


def describe(request):
    method, scheme = request.method(), request.scheme()
    return json.dumps({
        "method": getattr(method, "value", type(method).__name__.removeprefix("Method_").upper()),
        "path": request.path_with_query(),
        "authority": request.authority(),
        "scheme": type(scheme).__name__.removeprefix("Scheme_").lower(),
        "headers": [(k, v.decode()) for k, v in request.headers().entries()],
    }) + "\n"


class Routes:
    """Each takes request and argument, and gives (status, text), or parts of a body as bytes."""

    def hello(self, request, argument):
        return 200, f"Hello from P! Your number is {random.get_random_u64():020}.\n"

    def echo(self, request, argument):
        return parts_of(request)

    def drain(self, request, argument):
        return 200, str(sum(map(len, parts_of(request))))

    def env(self, request, name):
        value = os.environ.get(name)
        return (404, "no such variable") if value is None else (200, value)

    def variable(self, request, name):
        try:
            return 200, variables.get(name)
        except Err as e:
            return 404, type(e.value).__name__.removeprefix("Error_")

    def file(self, request, path):
        try:
            with open(path, "rb") as file:
                return [file.read()]
        except OSError as e:
            return 404, e.strerror

    def log(self, request, text):
        print(f"out: {text}", flush=True)
        print(f"err: {text}", flush=True, file=sys.stderr)
        return 200, "logged"

    def stream(self, request, n):
        return (f"chunk {i}\n".encode() for i in range(int(n)))

    def status(self, request, status):
        return int(status), f"status {status}"

    def request(self, request, argument):
        return 200, describe(request)

    def count(self, request, argument):
        return 200, str(calls)

    def sleep(self, request, ms):
        with monotonic_clock.subscribe_duration(int(ms) * 1_000_000) as ready:
            ready.block()
        return 200, "slept"


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        global calls
        calls += 1
        path, _, argument = request.path_with_query().partition("?")
        route = path.rsplit("/", 1)[-1]
        find = getattr(Routes(), route, lambda *_: (404, f"no route '{route}'"))
        found, fields = find(request, argument), []
        if not isinstance(found, tuple):
            if route == "echo":
                kind = request.headers().get("content-type")
                fields = [("content-type", kind[0])] if kind else []
            answer(response_out, found, fields=fields)
            return
        status, text = found
        if route == "status":
            fields = [("x-kitchen", b"yes"), ("set-cookie", b"a=1"), ("set-cookie", b"b=2")]
        text = text.encode()
        fields += [("content-type", b"text/plain"), ("content-length", str(len(text)).encode())]
        answer(response_out, [text], status, fields)
