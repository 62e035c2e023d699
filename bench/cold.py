"""The 1,000 components of the group 'cold', the requests to them, and what ebb logged of each."""
import re
import socket

PLACE = b"Hello from C!"


def manifest_write(folder, wasm, count):
    """Writes count components into folder and a manifest that routes /N to the Nth; gives the
    manifest. Each differs inside its core module, in the text that it answers."""
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


def request_each(port, count):
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


def durations_us(log, count):
    """The field `us` of each request line in ebb's log: from the last byte of the head read until
    the answer was written. These answers are one write, so that is when their first byte went."""
    found = re.findall(r"info request .*\bus=([\d.]+)", log.read_text(errors="replace"))
    if len(found) != count:
        raise RuntimeError(f"{len(found)} of {count} requests are in the log")
    return [float(x) for x in found]
