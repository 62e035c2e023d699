"""Key-value and SQL with the Spin SDK 3 for Python; routes in tests/guests/README.md."""
import json

from spin_sdk import key_value, sqlite
from spin_sdk.http import IncomingHandler as Base
from spin_sdk.http import Request, Response
from spin_sdk.wit.imports.sqlite import (Value_Blob, Value_Integer, Value_Null, Value_Real,
                                         Value_Text)
from spin_sdk.wit.types import Err


def answer(status, body=b""):
    return Response(status, {"content-type": "text/plain"}, bytes(body))


def stored(request: Request, key: str) -> Response:
    with key_value.open_default() as store:
        match request.method:
            case "GET" if not key:
                return answer(200, json.dumps(sorted(store.get_keys())).encode())
            case "GET":
                value = store.get(key)
                return answer(404) if value is None else answer(200, value)
            case "HEAD":
                return answer(200 if store.exists(key) else 404)
            case "POST":
                store.set(key, request.body)
                return answer(201)
            case "DELETE":
                store.delete(key)
                return answer(204)
    return answer(405)


def lower(value):
    match value:
        case None:
            return Value_Null()
        case int():
            return Value_Integer(value)
        case float():
            return Value_Real(value)
        case str():
            return Value_Text(value)
    return Value_Blob(bytes(value))


def lift(value):
    match value:
        case Value_Null():
            return None
        case Value_Blob(value=data):
            return list(data)
    return value.value


def selected(request: Request) -> Response:
    asked = json.loads(request.body)
    with sqlite.open_default() as db:
        found = db.execute(asked["sql"], [lower(v) for v in asked["parameters"]])
    rows = [[lift(v) for v in row.values] for row in found.rows]
    return answer(200, json.dumps({"columns": found.columns, "rows": rows}).encode())


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        kind, _, key = request.uri.strip("/").partition("/")
        try:
            match kind:
                case "hello":
                    return answer(200, b"Hello from Spin in Python!\n")
                case "kv":
                    return stored(request, key)
                case "sql":
                    return selected(request)
        except Err as e:
            case = type(e.value).__name__.removeprefix("Error_")
            return answer(500, f"{case} {getattr(e.value, 'value', '')}".encode())
        return answer(404)
