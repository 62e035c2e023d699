"""A decode process that was taken over writes any bytes it likes: nobody executes them.

`ebb-liar` is ebb but for that process, which hands on the upload as it is. So an upload here is
what the process writes: frames of a plan and of core modules, true and false ones.
"""
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest

import harness
from harness import EBB, ROOT, Connection, serving

BUILD = Path(EBB).parent
HELLO = ROOT / "examples" / "hello" / "app.wasm"


def frames(plan, modules, magic=0x31626265, lengths=None):
    """src/platform/artifact.c has the layout."""
    lengths = (lengths or [len(m) for m in modules]) + [0] * 64
    return (struct.pack("<IIQ64Q", magic, len(modules), len(plan), *lengths[:64]) + plan
            + b"".join(modules))


def flattened(component, folder):
    """(plan, modules) as an honest decode process makes them."""
    out = folder / component.stem
    subprocess.run([BUILD / "ebb-flatten", component, out], check=True, capture_output=True)
    modules = sorted(folder.glob(f"{component.stem}.*.wasm"))
    return out.with_suffix(".plan").read_bytes(), [m.read_bytes() for m in modules]


@pytest.fixture(name="honest", scope="module")
def honest_fixture(tmp_path_factory):
    """hello's plan, its module, and the native code that its compiler made of it."""
    folder = tmp_path_factory.mktemp("honest")
    plan, (module,) = flattened(HELLO, folder)
    with serving(HELLO, folder, "--cache-dir", str(folder / "cache")) as server:
        with Connection(server) as c:
            assert c.request("GET", "/").status == 200
    (native,) = (folder / "cache").rglob("0.cwasm")
    return plan, module, native.read_bytes()


@pytest.fixture(name="liar")
def liar_fixture(tmp_path, monkeypatch):
    """Deploys bytes as a taken-over decode process wrote them; a context of the server."""
    monkeypatch.setattr(harness, "EBB", str(BUILD / "ebb-liar"))
    upload = tmp_path / "upload.wasm"

    def deploy(data):
        upload.write_bytes(data)
        return serving(upload, tmp_path, "--cache-dir", str(tmp_path / "cache"))
    return deploy


def refused(liar, data, tmp_path):
    """What ebb says; and nothing of it is in the cache."""
    with pytest.raises(AssertionError) as failure:
        with liar(data):
            pass
    assert not list((tmp_path / "cache").rglob("*.cwasm"))
    return str(failure.value)


def test_an_honest_one_is_served(liar, honest):
    """The tool: what is true is accepted, so what follows is refused for what is false in it."""
    plan, module, _ = honest
    with liar(frames(plan, [module])) as server, Connection(server) as c:
        assert c.request("GET", "/").status == 200


def test_native_code_is_not_executed(liar, honest, tmp_path):
    """The very code that would answer: as a module, it is not even compiled."""
    plan, _, native = honest
    assert "bad magic number" in refused(liar, frames(plan, [native]), tmp_path)
    elf = Path("/bin/true").read_bytes()
    assert "bad magic number" in refused(liar, frames(plan, [elf]), tmp_path)
    assert "plan" in refused(liar, frames(native, []), tmp_path)


def test_frames_that_lie(liar, honest, tmp_path):
    plan, module, native = honest
    for data, why in [
            (b"", "not a WebAssembly file"), (b"\0", "too little"), (native, "no frames"),
            (frames(plan, [module], magic=1), "no frames"),
            (frames(plan, [module])[:-1], "cut module"),
            (frames(plan, [module]) + b"\0", "too much"),
            (frames(plan, [module], lengths=[2**64 - 1]), "cut module"),
            (frames(plan, [module, module]), "2 modules for 1 units"),
            (frames(plan, []), "0 modules for 1 units"),
            (frames(plan + b"\0", [module]), "bad plan"),
            (frames(plan[:-1], [module]), "bad plan")]:
        assert why in refused(liar, data, tmp_path)


def test_a_plan_of_another_module(liar, honest, tmp_path):
    """True plan, true module, not of each other: the worker that loads them says no and stays."""
    plan, module, _ = honest
    other_plan, other_modules = flattened(ROOT / "tests" / "component" / "shim.wasm", tmp_path)
    for data in (frames(other_plan, [module] * len(other_modules)),
                 frames(plan, [other_modules[0]]), frames(plan, [b"\0asm\1\0\0\0"])):
        try:
            with liar(data) as server, Connection(server) as c:
                worker = server.children("worker")
                assert c.request("GET", "/").status == 500
                assert c.request("GET", "/").status == 500
                assert server.children("worker") == worker
        except AssertionError as e:  # its imports are looked at before that
            assert "did not become ready" in str(e) and "not offered" in str(e), e


def test_plans_with_flipped_bits(liar, honest, tmp_path):
    """Whatever of it is accepted, the worker lives on."""
    plan, module, _ = honest
    rng = random.Random(4)
    served = 0
    for _ in range(30):
        damaged = bytearray(plan)
        for _ in range(rng.choice([1, 2])):
            damaged[rng.randrange(len(plan))] ^= 1 << rng.randrange(8)
        try:
            with liar(frames(bytes(damaged), [module])) as server, Connection(server) as c:
                worker = server.children("worker")
                assert c.request("GET", "/").status in (200, 500)
                assert server.children("worker") == worker
                served += 1
        except AssertionError as e:
            assert "did not become ready" in str(e), e
            assert re.search("bad plan|component 'upload': ", str(e)), e
    assert served >= 1  # most ask for what is not offered
