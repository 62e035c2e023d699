"""The bench's hello in plain Python: text of fixed length, a number drawn per request."""
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports import random
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        text = f"Hello from P! Your number is {random.get_random_u64():020}.\n".encode()
        response = OutgoingResponse(Fields.from_list([
            ("content-type", b"text/plain"), ("content-length", str(len(text)).encode())]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(text)
        OutgoingBody.finish(body, None)
