"""A client of HTTP/2 made of raw frames, for what well-behaved clients never send."""
import contextlib
import socket
import struct


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW, TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL = range(9)
CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: The Huffman code of digits (RFC 7541 B): statuses outside of the static table come in it.
DIGITS = ["00000", "00001", "00010", "011001", "011010", "011011", "011100", "011101", "011110",
          "011111"]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + \
        struct.pack(">I", stream) + payload


def integer(n, bits, first=0):
    if n < (1 << bits) - 1:
        return bytes([first | n])
    out = [first | (1 << bits) - 1]
    n -= (1 << bits) - 1
    while n >= 128:
        out.append(n % 128 | 128)
        n //= 128
    return bytes([*out, n])


def field(name, value, indexed=False):
    """A literal field, without Huffman; indexed: it goes into the dynamic table."""
    return (b"\x40" if indexed else b"\x00") + b"".join(
        integer(len(x), 7) + x for x in (name.encode(), value.encode("latin-1")))


def head(path="/hello", method="GET", fields=(), authority="a.test", scheme="http"):
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return b"".join(field(n, v) for n, v in (*pseudo, *fields) if v is not None)


def status_of(block):
    """The status, which is the first field of a response's block, on a fresh connection."""
    static = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
    if block[0] in static:
        return static[block[0]]
    assert block[0] in (0x48, 0x08), block.hex()
    n = block[1] & 127
    if not block[1] & 128:
        return int(block[2:2 + n])
    bits, text = "".join(f"{b:08b}" for b in block[2:2 + n]), ""
    while len(text) < 3:
        text += next(str(i) for i, code in enumerate(DIGITS) if bits.startswith(code))
        bits = bits[len(DIGITS[int(text[-1])]):]
    return int(text)


class Raw:
    """A connection. What comes is kept as (kind, flags, stream, payload) in `seen`."""

    def __init__(self, server, settings=(), greet=True, wrap=None):
        self.socket = server.connect()
        if wrap:
            self.socket = wrap(self.socket)
        self.buffer, self.seen, self.over, self.greeted = b"", [], False, greet
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(
                struct.pack(">HI", *s) for s in settings)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False: the server does not take it any more."""
        try:
            self.socket.sendall(data)
            return True
        except (ConnectionError, socket.timeout):
            return False

    def request(self, stream=1, body=None, end=None, **kwargs):
        ends = body is None if end is None else end and body is None
        data = frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, head(**kwargs))
        if body is not None:
            data += frame(DATA, END_STREAM if end is not False else 0, stream, body)
        self.send(data)

    def next(self):
        """The next frame; None when the connection is over."""
        while not self.over:
            if len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + n:
                    kind, flags = self.buffer[3:5]
                    stream = int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff
                    payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
                    self.seen.append((kind, flags, stream, payload))
                    if kind == SETTINGS and not flags and self.greeted:
                        self.send(frame(SETTINGS, ACK, 0))
                    return self.seen[-1]
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self.socket.recv(65536)
            self.over = not data
            self.buffer += data
        return None

    def wait(self, kind, stream=None, flags=0):
        """The next frame of that kind; what comes before it stays in `seen`."""
        while (f := self.next()) is not None:
            if f[0] == kind and (stream is None or f[2] == stream) and f[1] & flags == flags:
                return f
        raise AssertionError(f"no frame of kind {kind}: {self.seen[-20:]}")

    def status(self, stream=1):
        return status_of(self.wait(HEADERS, stream)[3])

    def body(self, stream=1):
        """Of a response whose head was read; opens the windows as it comes."""
        whole = b""
        while True:
            kind, flags, at, payload = self.next() or (None, 0, 0, b"")
            assert kind is not None and (kind != RST or at != stream), self.seen[-5:]
            if kind == DATA and at == stream:
                whole += payload
                if payload:
                    self.send(frame(WINDOW, 0, 0, struct.pack(">I", len(payload))) +
                              frame(WINDOW, 0, stream, struct.pack(">I", len(payload))))
            if at == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
                return whole

    def ended(self):
        """Reads to the end; the error code of the last GOAWAY, or None."""
        while self.next() is not None:
            pass
        codes = [int.from_bytes(p[4:8], "big") for k, _, _, p in self.seen if k == GOAWAY]
        return codes[-1] if codes else None

    def alive(self):
        """The server answers a PING."""
        self.send(frame(PING, 0, 0, b"are you?"))
        return self.wait(PING, flags=ACK)[3] == b"are you?"


