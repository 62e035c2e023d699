"""Servers for guests to talk to: an HTTP/1.1 one that can misbehave, TLS by a CA of the test's own,
HTTP/2 by nghttpd, a name server, and places where nobody ever answers."""
import contextlib
import os
import pwd
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from harness import PATIENCE_S, wait_for


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Authority:
    """A certificate authority and one server certificate for localhost and 127.0.0.1."""

    def __init__(self, folder):
        self.ca, self.key, self.cert = folder / "ca.pem", folder / "key.pem", folder / "cert.pem"
        names = folder / "names.cnf"
        names.write_text("subjectAltName=DNS:localhost,DNS:tls.test,IP:127.0.0.1\n")
        run = self.openssl
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", folder / "ca.key", "-out", self.ca, "-subj", "/CN=test ca", "-days", "2")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            self.key, "-out", folder / "request.pem", "-subj", "/CN=localhost")
        run("x509", "-req", "-in", folder / "request.pem", "-CA", self.ca, "-CAkey",
            folder / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names, "-out",
            self.cert)

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def context(self, client_ca=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


class Peer:
    """One connection that our server accepted. A body that its server does not look at is read
    with the answer or the next head: also a GET may come with an empty chunked one, and a
    connection that is closed with something unread takes its last answer with it."""

    def __init__(self, sock):
        self.socket, self.file, self.unread = sock, sock.makefile("rb"), None

    def head(self):
        """(method, target, fields) of the next request; None at the end."""
        self.skip_body()
        line = self.file.readline()
        if not line:
            return None
        method, target, _ = line.decode().split(" ", 2)
        fields = []
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, value = line.decode("latin-1").rstrip("\r\n").split(":", 1)
            fields.append((name.lower(), value.strip()))
        self.unread = fields
        return method, target, fields

    def body(self, fields, on_piece=None):
        """The request's body and trailers."""
        self.unread = None
        given = dict(fields)
        if "content-length" in given:
            return self.file.read(int(given["content-length"])), []
        if given.get("transfer-encoding") != "chunked":
            return b"", []
        whole, trailers = b"", []
        while size := int(self.file.readline().split(b";")[0], 16):
            piece = self.file.read(size)
            self.file.readline()
            whole += piece
            if on_piece:
                on_piece(piece)
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, value = line.decode().rstrip("\r\n").split(":", 1)
            trailers.append((name.lower(), value.strip()))
        return whole, trailers

    def skip_body(self):
        if self.unread:
            self.body(self.unread)

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, body=b"", status="200 OK", fields=()):
        self.skip_body()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{k}: {v}" for k, v in fields]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


class Backend:
    """Accepts connections and gives each to `serve(peer)` in a thread."""

    def __init__(self, serve, context=None, address="127.0.0.1", port=0):
        self.serve, self.context = serve, context
        self.connections, self.peers, self.lock = 0, [], threading.Lock()
        self.listener = socket.create_server((address, port), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.peers.append(s)
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        with contextlib.suppress(OSError, ValueError):
            if self.context:
                s = self.context.wrap_socket(s, server_side=True)
            self.serve(Peer(s))
        with contextlib.suppress(OSError):
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.peers:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE_S)


@contextlib.contextmanager
def nghttpd(authority, folder, *args):
    """An HTTP/2 server of files over TLS; yields its port."""
    program = shutil.which("nghttpd", path="/usr/sbin:/usr/bin")
    assert program, "nghttpd is missing: it is in nghttp2-server, one of the packages for tests"
    port = free_port()
    process = subprocess.Popen([program, "-d", str(folder), "-a", "127.0.0.1", *args, str(port),
                                str(authority.key), str(authority.cert)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listening():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return None
    try:
        wait_for(listening, "nghttpd")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


class NameServer:
    """Answers A questions from a table; what is not in it does not exist, None is swallowed. A name
    may have several addresses, as a list: they are for no longer than a second."""

    def __init__(self, table, silent=False):
        self.table, self.silent, self.asked = table, silent, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            question, peer = self.socket.recvfrom(4096)
            if question == b"stop":
                return
            name, at = [], 12
            while question[at]:
                name.append(question[at + 1:at + 1 + question[at]].decode().lower())
                at += 1 + question[at]
            name = ".".join(name)
            kind = question[at + 2]
            self.asked.append((name, kind))
            if self.silent:
                continue
            address = self.table.get(name)
            several = isinstance(address, list)
            addresses = address if several else [address] if address else []
            count = len(addresses) if kind == 1 else 0
            answer = (question[:2] + bytes((0x81, 0x80 if address else 0x83)) +
                      struct.pack(">HHHH", 1, count, 0, 0) + question[12:at + 5])
            for one in addresses[:count]:
                answer += (b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 0 if several else 60, 4) +
                           socket.inet_aton(one))
            self.socket.sendto(answer, peer)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        host, port = self.address.split(":")
        self.socket.sendto(b"stop", (host, int(port)))
        self.thread.join(PATIENCE_S)
        self.socket.close()


class Redis:
    """A Redis server with a password, on loopback, that keeps nothing on disk."""

    password = "redis-password-that-nobody-sees"

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}"

    def start(self):
        log = self.folder / "redis.log"
        log.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", str(self.folder), "--logfile", str(log),
             "--requirepass", self.password])
        wait_for(lambda: log.exists() and "Ready to accept connections" in log.read_text(),
                 "Redis to be ready")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def ask(self, *words, number=0):
        """The reply to one command, as text."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as s:
            f = s.makefile("rwb")
            for command in (("AUTH", self.password), ("SELECT", str(number)), words):
                f.write(b"*%d\r\n" % len(command))
                for word in command:
                    f.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
                f.flush()
                line = f.readline().decode().strip()
                if line.startswith("$") and line != "$-1":
                    line = "+" + f.read(int(line[1:]) + 2)[:-2].decode()
                if line.startswith("-"):
                    raise RuntimeError(line)
            return line[1:]


@contextlib.contextmanager
def redis(folder):
    server = Redis(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Postgres:
    """A PostgreSQL server with a password, on loopback, in a folder of its own. It refuses to run
    as root: then it runs as the account that Debian made for it."""

    password = "postgres-password-that-nobody-sees"

    def __init__(self):
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: str(p))
        self.account = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="ebb-postgres-"))
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        self.port, self.process = free_port(), None
        (self.folder / "password").write_text(self.password)
        self.folder.joinpath("password").chmod(0o644)
        self.run("initdb", "-D", self.folder / "data", "-U", "ebb", "-A", "scram-sha-256",
                 "--pwfile", self.folder / "password", "--no-sync")
        self.url = f"postgresql://ebb:{self.password}@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments, **options):
        who = self.account and {"user": self.account.pw_uid, "group": self.account.pw_gid,
                                "extra_groups": []}
        return subprocess.run([self.programs / program, *map(str, arguments)], check=True,
                              capture_output=True, text=True, cwd="/", **(who or {}), **options)

    def start(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o",
                 f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
                 "-c unix_socket_directories=''",
                 "start")

    def stop(self, how="immediate"):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", how, "stop")

    def ask(self, sql):
        """What psql prints for it."""
        done = subprocess.run([self.programs / "psql", self.url, "-Atc", sql], check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()


@contextlib.contextmanager
def postgres():
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)
