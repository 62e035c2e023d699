"""The group 'cold': the first request to each of 1,000 components. And those components, which
other groups use as 1,000 apps."""
import re
import socket
import statistics
import time

import report
from common import GUESTS, say
from servers import Ebb

PLACE = b"Hello from C!"
COUNT = 1000


def manifest_write(folder, count=COUNT):
    """Writes count C hellos into folder and a manifest that routes /N to the Nth; gives the
    manifest. Each differs inside its core module, in the text that it answers: so it has a digest
    and an artifact of its own."""
    wasm = (GUESTS / "hello.wasm").read_bytes()
    if wasm.count(PLACE) != 1:
        raise RuntimeError(f"the component holds {PLACE!r} {wasm.count(PLACE)} times, not once")
    folder.mkdir()
    lines = ["spin_manifest_version = 2", "[application]", 'name = "cold"']
    for i in range(count):
        (folder / f"{i}.wasm").write_bytes(wasm.replace(PLACE, b"Hello, %05d:" % i))
        lines += ["[[trigger.http]]", f'route = "/{i}"', f'component = "c{i}"',
                  f"[component.c{i}]", f'source = "{i}.wasm"']
    manifest = folder / "spin.toml"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def request_each(port, count=COUNT):
    """One request to each component; each must answer with its own text."""
    with socket.create_connection(("127.0.0.1", port), 60) as s, s.makefile("rb") as f:
        for i in range(count):
            s.sendall(b"GET /%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % i)
            status = f.readline()
            length = 0
            for line in iter(f.readline, b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = f.read(length)
            if b" 200 " not in status or not body.startswith(b"Hello, %05d:" % i):
                raise RuntimeError(f"component {i} answered {status!r} {body!r}")


def durations_us(log, count=COUNT):
    """The field `us` of each request line in ebb's log: from the last byte of the head read until
    the answer was written. These answers are one write, so that is when their first byte went."""
    found = re.findall(r"info request .*\bus=([\d.]+)", log.read_text(errors="replace"))
    if len(found) != count:
        raise RuntimeError(f"{len(found)} of {count} requests are in the log")
    return [float(x) for x in found]


def bench(facts, scratch, only, steps):
    """A first process compiles them all; the one that is measured has mapped none. ebb itself
    measures from the last byte of the request read to the answer written (log field us)."""
    manifest = manifest_write(scratch / "cold")
    compiled = Ebb("ebb compile", manifest, scratch)
    try:
        begin = time.monotonic()
        compiled.start(600)
        request_each(compiled.port)
        say(f"{COUNT} components compiled and answered in {time.monotonic() - begin:.1f} s")
    finally:
        compiled.stop()
    server = Ebb("ebb", manifest, scratch)
    try:
        server.start()
        say(server.settings())
        request_each(server.port)
    finally:
        server.stop()
    times = sorted(durations_us(server.log))
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"first request to {COUNT} components: p50 {p50:.0f} us, p99 {p99:.0f} us, "
          f"max {times[-1]:.0f} us")
    found = [("first request, p50 us", p50, 300, 100), ("first request, p99 us", p99, 1000, 999)]
    print(report.figures(found))
    return {"times_us": times, "figures": found}, None
