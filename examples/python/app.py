"""A small app in Python: a file, an upload, a stream and a call to another server, one function
each.

Every request is met by a new sandbox, so there is no state to keep apart and none to lose. What
this module imports was imported when the component was built. Files and output are Python's own;
web.py wraps the bindings that componentize-py makes of wit/app.wit.
"""
import sys
from urllib.parse import parse_qs

import web
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import variables


def welcome(request):
    """GET /: a file that came with the app."""
    with open("/assets/welcome.txt", "rb") as file:
        return 200, [file.read()]


def shout(request):
    """POST /shout: the body in capitals, sent back while the rest of it still arrives."""
    return 200, (part.upper() for part in request.body())


def count(request):
    """GET /count?to=3: a line at a time; each is on its way before the next is made."""
    to = int(parse_qs(request.query).get("to", ["10"])[0])
    return 200, (f"{i}\n".encode() for i in range(1, to + 1))


def relay(request):
    """GET /relay: what the server named by the variable 'upstream' answers."""
    url = variables.get("upstream")
    try:
        return web.get(url)
    except Err as e:
        problem = f"{url}: {type(e.value).__name__}\n"
        print(problem, end="", file=sys.stderr, flush=True)
        return 502, [problem.encode()]


ROUTES = {
    "/": {"GET": welcome},
    "/shout": {"POST": shout},
    "/count": {"GET": count},
    "/relay": {"GET": relay},
}


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        request = web.Request(request)
        print(request.method, request.path, flush=True)  # the log shows it with the request's id
        route = ROUTES.get(request.path, {})
        if request.method in route:
            status, parts = route[request.method](request)
        else:
            status, parts = 405 if route else 404, []
        web.answer(response_out, status, parts)
