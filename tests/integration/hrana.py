"""A libSQL server on loopback for tests: SQLite behind POST /v2/pipeline, in the shapes that the
Hrana protocol documents (version 2 over HTTP, JSON). Streams are connections, known by batons that
change with each answer."""
import base64
import contextlib
import http.server
import json
import secrets
import sqlite3
import threading

TOKEN = "a-token-that-is-a-secret"


def from_value(v):
    kind = v["type"]
    return {"null": lambda: None, "integer": lambda: int(v["value"]), "text": lambda: v["value"],
            "float": lambda: float(v["value"]),
            "blob": lambda: base64.b64decode(v["base64"] + "==")}[kind]()


def to_value(v):
    if v is None:
        return {"type": "null"}
    if isinstance(v, int):
        return {"type": "integer", "value": str(v)}
    if isinstance(v, float):
        return {"type": "float", "value": v}
    if isinstance(v, str):
        return {"type": "text", "value": v}
    return {"type": "blob", "base64": base64.b64encode(v).decode().rstrip("=")}


class Server:
    def __init__(self, path):
        self.path = path
        self.streams = {}         # by baton
        self.requests = []        # the headers and bodies that came
        self.broken = None        # (status, body) that is answered instead
        self.hold = threading.Event()
        self.hold.set()           # cleared: answers wait
        self.moves_to = None      # the base_url of all answers

    def execute(self, db, statement):
        before = db.total_changes
        cursor = db.execute(statement["sql"], [from_value(a) for a in statement["args"]])
        rows = cursor.fetchall()
        return {"cols": [{"name": c[0], "decltype": None} for c in cursor.description or []],
                "rows": [[to_value(v) for v in row] for row in rows],
                "affected_row_count": db.total_changes - before,
                "last_insert_rowid": str(cursor.lastrowid or 0)}

    def pipeline(self, body):
        """The answer's status and body."""
        baton = body["baton"]
        if baton is not None and baton not in self.streams:
            return 400, {"error": "Received an invalid baton"}
        db = self.streams.pop(baton) if baton else sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False)
        results, closed = [], False
        for request in body["requests"]:
            response = {"type": request["type"]}
            if request["type"] == "close":
                db.close()
                closed = True
            else:
                try:
                    response["result"] = self.execute(db, request["stmt"])
                except sqlite3.Error as e:
                    results.append({"type": "error", "error": {"message": str(e), "code": "SQL"}})
                    continue
            results.append({"type": "ok", "response": response})
        after = None if closed else secrets.token_hex(8)
        if after:
            self.streams[after] = db
        return 200, {"baton": after, "base_url": self.moves_to, "results": results}


@contextlib.contextmanager
def hrana(path):
    state = Server(path)
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append((dict(self.headers), body))
            state.hold.wait()
            with lock:
                status, answer = 401, {"error": "no"}
                if state.broken:
                    status, answer = state.broken
                elif self.path != ("/there/v2/pipeline" if state.moves_to and body["baton"]
                                   else "/v2/pipeline"):
                    status = 404
                elif self.headers["authorization"] == f"Bearer {TOKEN}":
                    status, answer = state.pipeline(body)
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have given it up
                self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
        for db in state.streams.values():
            db.close()
