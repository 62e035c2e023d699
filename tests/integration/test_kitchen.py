"""What a guest in each language sees and answers, over the real wire."""
import re
import threading

import pytest

from harness import SANITIZED, Connection, fetch, resident_bytes

#: How much a worker may grow while 100 MB stream through a guest: buffers, and the guest's own
#: memory (a JavaScript engine collects when it likes; componentize-py's bindings never free what
#: they read, under other hosts either).
STREAM_GROWTH_BYTES = {"c": 32 << 20, "rust": 32 << 20, "go": 32 << 20, "python": 130 << 20,
                       "js": 400 << 20}


def test_hello_is_fresh_for_every_request(kitchens, language):
    seen = set()
    with Connection(kitchens) as c:
        for _ in range(20):
            r = c.request("GET", f"/{language}/hello")
            assert r.status == 200
            assert re.fullmatch(r"Hello from \w+! Your number is [0-9]{20}\.\n", r.text)
            assert int(r.get("content-length")) == len(r.body)
            seen.add(r.text)
    assert len(seen) == 20


def test_no_memory_of_earlier_requests(kitchens, language):
    with Connection(kitchens) as c:
        assert [c.request("GET", f"/{language}/count").text.strip() for _ in range(5)] == ["1"] * 5


def test_response_has_only_the_guests_fields_date_and_framing(kitchens, language):
    r = fetch(kitchens, f"/{language}/hello")
    assert sorted(k for k, _ in r.fields) == ["content-length", "content-type", "date"]


@pytest.mark.parametrize("size", (0, 1, 65536, 1_000_000))
def test_echo_with_content_length(kitchens, language, size):
    body = bytes(i * 7 % 251 for i in range(size))
    r = fetch(kitchens, f"/{language}/echo", "POST", [("content-type", "x/y")], body)
    assert (r.status, r.get("content-type")) == (200, "x/y")
    assert r.body == body


def test_echo_chunked_with_interleaved_reading(kitchens, language):
    """The answer streams while the request is still being sent."""
    with Connection(kitchens) as c:
        c.send(f"POST /{language}/echo HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n"
               .encode())
        c.send(b"5\r\nfirst\r\n")
        head = c.head()
        assert head.status == 200
        assert head.get("transfer-encoding") == "chunked"
        got = b""
        while len(got) < 5:
            n = int(c.file.readline(), 16)
            got += c.exactly(n)
            assert c.file.readline() == b"\r\n"
        assert got == b"first"
        c.send(b"6\r\nsecond\r\n0\r\n\r\n")
        got = b""
        while n := int(c.file.readline(), 16):
            got += c.exactly(n)
            assert c.file.readline() == b"\r\n"
        assert got == b"second"
        assert c.file.readline() == b"\r\n"
        assert c.request("GET", f"/{language}/count").status == 200


def test_echo_100_mb(kitchens, language):
    """Streams both ways at once; a whole body is never held (checked by the worker's memory)."""
    total, block = 100_000_000, bytes(range(250)) * 400
    before = sum(map(resident_bytes, kitchens.children("worker")))
    with Connection(kitchens) as c:
        def send():
            c.send(f"POST /{language}/echo HTTP/1.1\r\nHost: a\r\ncontent-length: {total}\r\n\r\n"
                   .encode())
            for _ in range(total // len(block)):
                c.send(block)
        sender = threading.Thread(target=send)
        sender.start()
        r = c.head()
        assert r.status == 200
        length = r.get("content-length")
        got, sampled, most = 0, 0, 0
        while got < total:
            if got - sampled > 5_000_000:
                sampled = got
                most = max(most, sum(map(resident_bytes, kitchens.children("worker"))))
            n = 5_000_000 if length else int(c.file.readline(), 16)
            n = min(n, total - got)
            while n:
                data = c.file.read(min(n, len(block) - got % len(block)))
                assert data, "the body was cut"
                at = got % len(block)
                assert data == block[at:at + len(data)]
                got += len(data)
                n -= len(data)
            if not length:
                assert c.file.readline() == b"\r\n"
        sender.join()
        assert got == total
        if not length:
            assert c.file.readline() == b"0\r\n"
        assert most - before < STREAM_GROWTH_BYTES[language] * (2 if SANITIZED else 1)


def test_drain_counts_the_body(kitchens, language):
    assert fetch(kitchens, f"/{language}/drain", "POST", (), b"x" * 123456).text == "123456"


def test_environment(kitchens, language):
    assert fetch(kitchens, f"/{language}/env?GREETING").text == f"hello {language}"
    empty = fetch(kitchens, f"/{language}/env?EMPTY")
    assert (empty.status, empty.body) == (200, b"")
    assert fetch(kitchens, f"/{language}/env?PATH").status == 404


def test_variables(kitchens, language):
    assert fetch(kitchens, f"/{language}/variable?word").text == "tide"
    assert fetch(kitchens, f"/{language}/variable?sentence").text == f"the word is tide, {language}"
    for name, case in (("absent", "undefined"), ("4bad", "invalid"), ("Bad-name", "invalid")):
        r = fetch(kitchens, f"/{language}/variable?{name}")
        assert r.status == 404
        assert case in r.text.lower()


def test_files(kitchens, language):
    assert fetch(kitchens, f"/{language}/file?data/hello.txt").text == "hello from a file\n"
    assert fetch(kitchens, f"/{language}/file?public/deep/er.bin").body == bytes(range(256))
    for path in ("data/skipped.md", "../spin.toml", "/etc/passwd", "data/../../spin.toml"):
        assert fetch(kitchens, f"/{language}/file?{path}").status == 404, path


def test_output_is_labelled_in_the_log(kitchens, language, workers):
    text = f"words-{language}-{workers}"
    assert fetch(kitchens, f"/{language}/log?{text}").text.strip() == "logged"
    out = kitchens.wait_log("guest", component=language, stream="out", line=f"out: {text}")[0]
    err = kitchens.wait_log("guest", component=language, stream="err", line=f"err: {text}")[0]
    request = kitchens.wait_log("request", id=out["id"])[0]
    assert out["id"] == err["id"]
    assert (request["method"], request["path"]) == ("GET", f"/{language}/log")


def test_streaming_is_chunked_and_complete(kitchens, language):
    r = fetch(kitchens, f"/{language}/stream?50")
    assert r.get("transfer-encoding") == "chunked"
    assert r.text.splitlines() == [f"chunk {i}" for i in range(50)]


def test_status_and_fields(kitchens, language):
    r = fetch(kitchens, f"/{language}/status?299")
    assert (r.status, r.get("x-kitchen"), r.text) == (299, "yes", "status 299")
    assert len(r.all("set-cookie")) == 2
    if language != "js":  # there the Response constructor itself refuses a body with this status
        empty = fetch(kitchens, f"/{language}/status?204")
        assert (empty.status, empty.body) == (204, b"")


def test_head_has_no_body(kitchens, language):
    with Connection(kitchens) as c:
        r = c.request("HEAD", f"/{language}/hello")
        assert (r.status, r.body) == (200, b"")
        assert int(r.get("content-length")) > 0
        assert c.request("GET", f"/{language}/count").text.strip() == "1"


def test_sleep_does_not_hold_up_others(kitchens, language):
    """A guest waits on its clock while others are served by the same workers."""
    with Connection(kitchens) as slow, Connection(kitchens) as quick:
        slow.send(f"GET /{language}/sleep?700 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for _ in range(5):
            assert quick.request("GET", "/c/count").status == 200
        r = slow.response()
        assert (r.status, r.text.strip()) == (200, "slept")


def test_request_as_the_guest_sees_it(kitchens, language):
    r = fetch(kitchens, f"/{language}/request?x=1&y=%20", fields=[("X-Mixed", "a b"),
              ("accept", "one"), ("accept", "two")], host="tenant.example:81").json()
    assert r["method"] == "GET"
    assert r["path"] == f"/{language}/request?x=1&y=%20"
    assert r["authority"] == "tenant.example:81"
    assert r["scheme"].lower() == "http"
    fields = [(k.lower(), v) for k, v in r["headers"]]
    assert ("x-mixed", "a b") in fields
    accept = [v for k, v in fields if k == "accept"]
    assert accept == ["one", "two"] or accept == ["one, two"]
