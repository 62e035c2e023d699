"""Random component types and values, and components that pass them on.

A component made here holds two instances, A and B, each with a string encoding of its own. B offers
two functions for each type T:

    echo: func(x: T, 16 pads) -> T      its parameters lie in memory; it answers with that pointer
    seen: func(x: T) -> (list<u64>, list<u8>)   the core values it was called with, and its heap

A calls both with core values and a memory that were made here by the rules of the Canonical ABI,
and then often spoiled: bits flipped, pointers that point elsewhere, discriminants that do not
exist. The host also calls B directly. So values go from guest to guest, host to guest and guest to
host. What has to come out is not written down: two implementations have to agree.
"""
import random
import struct

PADS = 16
A_ARGS, A_RETURN, A_HEAP = 4096, 1024, 32768
B_RETURN, B_HEAP = 1024, 32768
MEMORY_PAGES = 4

NUMBERS = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8,
           "f32": 4, "f64": 8, "bool": 1, "char": 4}
TEXTS = ["", "a", "hello", "gr\u00fc\u00df", "\u00ff\u00e9", "\u20ac 5", "\u65e5\u672c\u8a9e",
         "a\U0001f600b", "\0", "\u07ff\u0800\uffff\U0010ffff", "x" * 40, "\u00e9" * 20 + "\u20ac"]
INTERESTING = [0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 4095, 32768, 65535, 65536, 0xD7FF, 0xD800,
               0xDFFF, 0xE000, 0x10FFFF, 0x110000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def align_to(at, n):
    return (at + n - 1) // n * n


class Type:
    """kind, and parts: (label, Type or None) of fields or cases; a list's element is a part."""

    def __init__(self, kind, parts=(), name=None):
        self.kind, self.parts, self.name = kind, list(parts), name
        cases = len(self.parts)
        self.tag = 1 if cases <= 256 else 2
        inner = [t for _, t in self.parts if t]
        if kind in NUMBERS:
            self.size = self.align = NUMBERS[kind]
            self.flat = {"f32": ["f32"], "f64": ["f64"], "u64": ["i64"], "s64": ["i64"]}.get(
                kind, ["i32"])
        elif kind in ("string", "list"):
            self.size, self.align, self.flat = 8, 4, ["i32", "i32"]
        elif kind == "flags":
            self.size = self.align = 1 if cases <= 8 else 2 if cases <= 16 else 4
            self.flat = ["i32"]
        elif kind in ("record", "tuple"):
            self.offsets, at = [], 0
            for t in inner:
                at = align_to(at, t.align)
                self.offsets.append(at)
                at += t.size
            self.align = max(t.align for t in inner)
            self.size = align_to(at, self.align)
            self.flat = [f for t in inner for f in t.flat]
        else:  # a variant by some name
            self.payload = align_to(self.tag, max([1] + [t.align for t in inner]))
            self.align = max([self.tag] + [t.align for t in inner])
            self.size = align_to(self.payload + max([0] + [t.size for t in inner]), self.align)
            self.flat = ["i32"]
            joined = []
            for t in inner:
                for k, f in enumerate(t.flat):
                    if k == len(joined):
                        joined.append(f)
                    elif joined[k] != f:
                        joined[k] = "i32" if {joined[k], f} == {"i32", "f32"} else "i64"
            self.flat += joined

    def walk(self):
        yield self
        for _, t in self.parts:
            if t:
                yield from t.walk()

    def text(self):
        """As it is mentioned; what has a name is mentioned by it."""
        return f"${self.name}" if self.name else self.definition()

    def definition(self):
        kind, parts = self.kind, self.parts
        if kind in NUMBERS or kind == "string":
            return kind
        if kind in ("list", "option"):
            return f"({kind} {parts[-1][1].text()})"
        if kind == "tuple":
            return f"(tuple {' '.join(t.text() for _, t in parts)})"
        if kind == "record":
            fields = (f'(field "{n}" {t.text()})' for n, t in parts)
            return f"(record {' '.join(fields)})"
        if kind == "variant":
            cases = (f'(case "{n}"{" " + t.text() if t else ""})' for n, t in parts)
            return f"(variant {' '.join(cases)})"
        if kind == "result":
            ok, error = (t for _, t in parts)
            return (f"(result{' ' + ok.text() if ok else ''}"
                    f"{' (error ' + error.text() + ')' if error else ''})")
        return f"({kind} {' '.join(chr(34) + n + chr(34) for n, _ in parts)})"


def type_make(rng, named, depth=0):
    """Appends what needs a name to `named`, parts first."""
    simple = list(NUMBERS) + ["string"] * 3
    if depth >= 3 or rng.random() < 0.3:
        return Type(rng.choice(simple))
    kind = rng.choice(["list", "list", "record", "record", "tuple", "variant", "variant", "enum",
                       "option", "result", "flags"])
    def inner():
        return type_make(rng, named, depth + 1)

    def maybe():
        return inner() if rng.random() < 0.7 else None

    n = rng.choice([1, 2, 2, 3, 4, 6])
    if kind == "list":
        parts = [("", inner())]
    elif kind == "option":
        parts = [("none", None), ("some", inner())]
    elif kind == "result":
        parts = [("ok", maybe()), ("error", maybe())]
    elif kind in ("record", "tuple"):
        parts = [(f"f{k}", inner()) for k in range(n)]
    elif kind == "variant":
        parts = [(f"c{k}", maybe()) for k in range(n)]
    else:
        most = [1, 3, 8, 9, 16, 17, 32] + ([256, 257] if kind == "enum" else [])
        parts = [(f"l{k}", None) for k in range(rng.choice(most))]
    made = Type(kind, parts)
    if kind in ("record", "variant", "enum", "flags"):
        made.name = f"t{len(named)}"
        named.append(made)
    return made


# A value: int (numbers, flags; floats as bits), str, list, or (case, payload).

def value_make(rng, t):
    if t.kind in NUMBERS:
        bits = rng.choice([rng.choice(INTERESTING), rng.getrandbits(8 * t.size)])
        if t.kind == "bool":
            return bits & 1
        if t.kind == "char":
            return bits if bits < 0xD800 or 0xE000 <= bits < 0x110000 else 0x20AC
        if t.kind == "f32" and bits & 0x7F800000 == 0x7F800000:
            return 0x7FC00000
        if t.kind == "f64" and bits >> 52 & 0x7FF == 0x7FF:
            return 0x7FF8000000000000
        return bits & ((1 << 8 * t.size) - 1)
    if t.kind == "string":
        return rng.choice(TEXTS)
    if t.kind == "list":
        return [value_make(rng, t.parts[0][1]) for _ in range(rng.choice([0, 1, 2, 3, 9]))]
    if t.kind in ("record", "tuple"):
        return [value_make(rng, p) for _, p in t.parts]
    if t.kind == "flags":
        return rng.getrandbits(len(t.parts))
    k = rng.randrange(len(t.parts))
    p = t.parts[k][1]
    return (k, value_make(rng, p) if p else None)


class Memory:
    """The caller's linear memory: what was lowered into it, from A_ARGS on."""

    def __init__(self, encoding):
        self.data, self.encoding = bytearray(), encoding

    def take(self, align, n):
        at = align_to(A_ARGS + len(self.data), align)
        self.data.extend(bytes(at + n - A_ARGS - len(self.data)))
        return at

    def put(self, at, data):
        self.data[at - A_ARGS:at - A_ARGS + len(data)] = data

    def span(self, t, value):
        """(pointer, length) of a string's or list's content."""
        if t.kind == "list":
            elem = t.parts[0][1]
            at = self.take(elem.align, len(value) * elem.size)
            for k, v in enumerate(value):
                self.store(elem, v, at + k * elem.size)
            return at, len(value)
        tag = 0
        if self.encoding == "utf8":
            data, units = value.encode(), len(value.encode())
        elif self.encoding == "latin1+utf16" and all(ord(c) < 256 for c in value):
            data, units = value.encode("latin-1"), len(value)
        else:
            data = value.encode("utf-16-le")
            units, tag = len(data) // 2, (1 << 31 if self.encoding != "utf16" else 0)
        at = self.take(1 if self.encoding == "utf8" else 2, len(data))
        self.put(at, data)
        return at, units | tag

    def store(self, t, value, at):
        if t.kind in NUMBERS or t.kind == "flags":
            self.put(at, value.to_bytes(t.size, "little"))
        elif t.kind in ("string", "list"):
            self.put(at, struct.pack("<II", *self.span(t, value)))
        elif t.kind in ("record", "tuple"):
            for offset, (_, p), v in zip(t.offsets, t.parts, value):
                self.store(p, v, at + offset)
        else:
            k, v = value
            self.put(at, k.to_bytes(t.tag, "little"))
            if t.parts[k][1]:
                self.store(t.parts[k][1], v, at + t.payload)

    def flat(self, t, value):
        """Bits of the core values."""
        if t.kind in ("s8", "s16"):
            sign = 1 << (8 * t.size - 1)
            return [((value ^ sign) - sign) & 0xFFFFFFFF]
        if t.kind in NUMBERS or t.kind == "flags":
            return [value]
        if t.kind in ("string", "list"):
            return list(self.span(t, value))
        if t.kind in ("record", "tuple"):
            return [f for (_, p), v in zip(t.parts, value) for f in self.flat(p, v)]
        k, v = value
        inner = self.flat(t.parts[k][1], v) if t.parts[k][1] else []
        return [k] + inner + [0] * (len(t.flat) - 1 - len(inner))


def value_text(t, v):
    """As .wast writes it."""
    if t.kind == "bool":
        return f"bool.const {'true' if v else 'false'}"
    if t.kind == "char":
        return f"char.const {string_text(chr(v))}"
    if t.kind in ("f32", "f64"):
        return f"{t.kind}.const {float_text(t.kind, v)}"
    if t.kind in NUMBERS:
        sign = 1 << (8 * t.size - 1)
        return f"{t.kind}.const {(v ^ sign) - sign if t.kind[0] == 's' else v}"
    if t.kind == "string":
        return f"str.const {string_text(v)}"
    if t.kind in ("list", "tuple"):
        elems = [t.parts[0][1]] * len(v) if t.kind == "list" else [p for _, p in t.parts]
        return f"{t.kind}.const {' '.join(f'({value_text(e, x)})' for e, x in zip(elems, v))}"
    if t.kind == "record":
        fields = (f'(field "{n}" {value_text(p, x)})' for (n, p), x in zip(t.parts, v))
        return f"record.const {' '.join(fields)}"
    if t.kind == "flags":
        return "flags.const " + " ".join(f'"{n}"' for k, (n, _) in enumerate(t.parts) if v >> k & 1)
    k, inner = v
    label, p = t.parts[k]
    payload = f" ({value_text(p, inner)})" if p else ""
    return {"enum": f'enum.const "{label}"', "variant": f'variant.const "{label}"{payload}',
            "option": f"option.{label}{payload}",
            "result": f"result.{'ok' if k == 0 else 'err'}{payload}"}[t.kind]


def string_text(s):
    return '"' + "".join(f"\\{b:02x}" for b in s.encode()) + '"'


def float_text(kind, bits):
    exponent, fraction = (8, 23) if kind == "f32" else (11, 52)
    mask = (1 << exponent) - 1
    if bits >> fraction & mask == mask:
        payload = bits & ((1 << fraction) - 1)
        sign = "-" if bits >> (exponent + fraction) else ""
        return f"{sign}nan:{payload:#x}" if payload else f"{sign}inf"
    raw = bits.to_bytes(4 if kind == "f32" else 8, "little")
    return struct.unpack("<f" if kind == "f32" else "<d", raw)[0].hex()


# --- components -------------------------------------------------------------------------------

REALLOC = """(func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
  (local.set $p (i32.and (i32.add (global.get $at) (i32.sub (local.get 2) (i32.const 1)))
                         (i32.sub (i32.const 0) (local.get 2))))
  (global.set $at (i32.add (local.get $p) (local.get 3)))
  (memory.copy (local.get $p) (local.get 0)
    (select (local.get 1) (local.get 3) (i32.lt_u (local.get 1) (local.get 3))))
  HOSTILE (local.get $p))"""
HOSTILE = ["(return (i32.add (local.get $p) (i32.const 1)))",
           "(return (i32.const 0x3fff8))", "(return (i32.const -8))", "unreachable"]
ANSWER = "(tuple (list u64) (list u8))"


def loaded(t):
    """Loads the one core value of a type from a pointer on the stack."""
    while t.kind in ("record", "tuple"):
        t = t.parts[0][1]
    core, size = t.flat[0], t.size
    if core != "i32" or size == 4:
        return f"{core}.load"
    return f"i32.load{8 * size}_{'s' if t.kind[0] == 's' else 'u'}"


def stored(t):
    """Stores the parameters as 64-bit numbers at B_RETURN + 64."""
    widen = {"i32": "(i64.extend_i32_u {})", "i64": "{}",
             "f32": "(i64.extend_i32_u (i32.reinterpret_f32 {}))",
             "f64": "(i64.reinterpret_f64 {})"}
    return " ".join(
        f"(i64.store (i32.const {B_RETURN + 64 + 8 * k}) {widen[f].format(f'(local.get {k})')})"
        for k, f in enumerate(t))


def core_params(flat):
    return ["i32"] if len(flat) > 16 else flat


class Component:
    def __init__(self, rng, name):
        self.rng, self.name, self.named = rng, name, []
        self.encodings = [rng.choice(["utf8", "utf16", "latin1+utf16"]) for _ in "AB"]
        self.types = [self.answerable(type_make(rng, self.named)) for _ in range(4)]
        self.hostile = rng.choice(HOSTILE) if rng.random() < 0.06 else ""
        self.post = rng.random() < 0.5
        self.memory = Memory(self.encodings[0])
        self.cells = {}  # (function, type): the core values of each case
        self.cases = []  # (invocation, the type of its result)

    @staticmethod
    def answerable(t):
        """In .wast a bare float is a core value."""
        return Type("tuple", [("", t)]) if t.kind in ("f32", "f64") else t

    def knows_heap(self, t):
        """Do all implementations ask for the same memory? Not where strings are transcoded."""
        return set(self.encodings) == {"utf8"} or all(x.kind != "string" for x in t.walk())

    def echoes(self, t):
        return Type("tuple", [("", t)] + [("", Type("u64"))] * PADS)

    # what A passes

    def spoil(self, cells, begin):
        for _ in range(self.rng.choice([1, 1, 2, 4])):
            if self.rng.random() < 0.5 or len(self.memory.data) == begin:
                k = self.rng.randrange(len(cells))
                cells[k] = self.rng.choice([cells[k] ^ 1 << self.rng.randrange(32),
                                            self.rng.choice(INTERESTING),
                                            A_ARGS + self.rng.randrange(begin + 64)])
            else:
                at = self.rng.randrange(begin, len(self.memory.data))
                self.memory.data[at] = self.rng.choice(
                    [self.memory.data[at] ^ 1 << self.rng.randrange(8), self.rng.randrange(256)])

    def case_make(self, k, echo, spoiled):
        t = self.types[k]
        value = value_make(self.rng, t)
        begin = len(self.memory.data)
        if echo:
            whole = self.echoes(t)
            cells = [self.memory.take(whole.align, whole.size)]
            self.memory.store(t, value, cells[0])
        elif len(t.flat) > 16:
            cells = [self.memory.take(t.align, t.size)]
            self.memory.store(t, value, cells[0])
        else:
            cells = self.memory.flat(t, value)
        if spoiled:
            self.spoil(cells, begin)
        of = self.cells.setdefault((k, echo), [])
        of.append(cells)
        name = f"{'echo' if echo else 'seen'}{k}"
        self.cases.append((f'(invoke "a-{name}" (u32.const {len(of) - 1}))',
                           t if echo else None))
        if not spoiled:
            pads = " (u64.const 0)" * PADS if echo else ""
            self.cases.append((f'(invoke "b-{name}" ({value_text(t, value)}){pads})',
                               t if echo else None))

    def cases_make(self, each):
        for k, t in enumerate(self.types):
            for n in range(each):
                self.case_make(k, True, n % 2 == 1)
                if self.knows_heap(t):
                    self.case_make(k, False, n % 2 == 1)

    # the text

    def params(self, k, echo):
        pads = "".join(f' (param "p{n}" u64)' for n in range(PADS)) if echo else ""
        return f'(param "x" {self.types[k].text()}){pads}'

    def functions(self):
        """(name, type index, echo?, result text, result type)"""
        for k, t in enumerate(self.types):
            yield f"echo{k}", k, True, t.text(), t
            yield f"seen{k}", k, False, ANSWER, None

    def options(self, which, instance, post=""):
        return (f'string-encoding={self.encodings[which]} (memory (core memory {instance} "mem")) '
                f'(realloc (core func {instance} "realloc")){post}')

    def defined(self, export):
        lines = []
        for t in self.named:
            lines.append(f"(type $d{t.name} {t.definition()})")
            lines.append(f'(export ${t.name} "{t.name}" (type $d{t.name}))' if export else
                         f'(export "{t.name}" (type ${t.name} (eq $d{t.name})))')
        return "\n".join(lines)

    def b_text(self):
        core, lifts = [], []
        for name, k, echo, result, t in self.functions():
            flat = core_params(self.echoes(self.types[k]).flat if echo else self.types[k].flat)
            params = " ".join(flat)
            if echo and len(t.flat) == 1:
                body, out = f"({loaded(t)} (local.get 0))", t.flat[0]
            elif echo:
                body, out = "(local.get 0)", "i32"
            else:
                body, out = (f"{stored(flat)} "
                             f"(i32.store (i32.const {B_RETURN}) (i32.const {B_RETURN + 64})) "
                             f"(i32.store (i32.const {B_RETURN + 4}) (i32.const {len(flat)})) "
                             f"(i32.store (i32.const {B_RETURN + 8}) (i32.const {B_HEAP})) "
                             f"(i32.store (i32.const {B_RETURN + 12}) "
                             f"(i32.sub (global.get $at) (i32.const {B_HEAP}))) "
                             f"(i32.const {B_RETURN})"), "i32"
            core.append(f'(func (export "{name}") (param {params}) (result {out}) {body})')
            core.append(f'(func (export "post-{name}") (param {out}))')
            post = f' (post-return (core func $m "post-{name}"))' if self.post else ""
            lifts.append(f'(func (export "{name}") {self.params(k, echo)} (result {result}) '
                         f'(canon lift (core func $m "{name}") {self.options(1, "$m", post)}))')
        return "\n".join([
            "(component $B", "(core module $M", f'(memory (export "mem") {MEMORY_PAGES})',
            f"(global $at (mut i32) (i32.const {B_HEAP}))",
            REALLOC.replace("HOSTILE", self.hostile), *core, ")",
            "(core instance $m (instantiate $M))", self.defined(True), *lifts, ")"])

    def a_core(self, name, k, echo, t):
        """Calls a function of B with the core values of a case."""
        flat = core_params(self.echoes(self.types[k]).flat if echo else self.types[k].flat)
        cells = self.cells.get((k, echo), [])
        base = self.memory.take(8, 8 * len(flat) * len(cells))
        for n, cell in enumerate(c & 0xFFFFFFFFFFFFFFFF for case in cells for c in case):
            self.memory.put(base + 8 * n, cell.to_bytes(8, "little"))
        at = f"(i32.add (i32.const {base}) (i32.mul (local.get 0) (i32.const {8 * len(flat)})))"
        loads = " ".join(f"({f}.load offset={8 * i} {at})" for i, f in enumerate(flat))
        spilled = not t or len(t.flat) > 1
        out = "i32" if spilled else t.flat[0]
        ret = f"(i32.const {A_RETURN})" if spilled else ""
        imported = (f'(import "b" "{name}" (func ${name} (param {" ".join(flat)}'
                    f'{" i32" if spilled else ""}){"" if spilled else f" (result {out})"}))')
        return imported, (f'(func (export "{name}") (param i32) (result {out}) '
                          f"(call ${name} {loads} {ret}) {ret})")

    def a_text(self):
        offered, lowers, imports, core, lifts, given = [], [], [], [], [], []
        for name, k, echo, result, t in self.functions():
            offered.append(f'(export "{name}" (func {self.params(k, echo)} (result {result})))')
            lowers.append(f'(core func ${name} (canon lower (func $b "{name}") '
                          f'{self.options(0, "$lib")}))')
            given.append(f'(export "{name}" (func ${name}))')
            imported, body = self.a_core(name, k, echo, t)
            imports.append(imported)
            core.append(body)
            lifts.append(f'(func (export "{name}") (param "case" u32) (result {result}) '
                         f'(canon lift (core func $m "{name}") {self.options(0, "$lib")}))')
        must = A_ARGS + len(self.memory.data)
        assert must < A_HEAP, must
        data = "".join(f"\\{b:02x}" for b in self.memory.data)
        return "\n".join([
            "(component $A", '(import "b" (instance $b', self.defined(False), *offered, "))",
            *(f'(alias export $b "{t.name}" (type ${t.name}))' for t in self.named),
            f'(core module $Lib (memory (export "mem") {MEMORY_PAGES})',
            f"(global $at (mut i32) (i32.const {A_HEAP}))",
            REALLOC.replace("HOSTILE", ""), f'(data (i32.const {A_ARGS}) "{data}"))',
            "(core instance $lib (instantiate $Lib))", *lowers,
            "(core module $M", *imports, '(import "lib" "mem" (memory 1))', *core, ")",
            '(core instance $m (instantiate $M (with "lib" (instance $lib)) '
            f'(with "b" (instance {" ".join(given)}))))', *lifts, ")"])

    def text_make(self):
        exports = []
        for name, k, echo, result, _ in self.functions():
            exports.append(f'(export "a-{name}" (func $a "{name}") '
                           f'(func (param "case" u32) (result {result})))')
            exports.append(f'(export "b-{name}" (func $b "{name}") '
                           f'(func {self.params(k, echo)} (result {result})))')
        return "\n".join([
            f"(component definition ${self.name}", self.b_text(), self.a_text(),
            "(instance $b (instantiate $B))",
            '(instance $a (instantiate $A (with "b" (instance $b))))',
            self.defined(True), *exports, ")"])


def component(seed, each):
    """A component and its cases: `each` values for every function and type."""
    made = Component(random.Random(seed), f"C{seed}")
    made.cases_make(each)
    made.text = made.text_make()
    return made


# --- the suite's JSON back to text ------------------------------------------------------------

def json_text(t, v):
    """An answer of ebb-wast as .wast writes it; t None: ANSWER."""
    return value_text(t or answer_type(), json_value(t or answer_type(), v))


def answer_type():
    return Type("tuple", [("", Type("list", [("", Type("u64"))])),
                          ("", Type("list", [("", Type("u8"))]))])


def json_value(t, typed):
    v = typed["value"]
    if t.kind == "bool":
        return int(v)
    if t.kind == "char":
        return ord(v)
    if t.kind in NUMBERS:
        return int(v) & ((1 << 8 * t.size) - 1)
    if t.kind == "string":
        return v
    if t.kind == "list":
        return [json_value(t.parts[0][1], x) for x in v]
    if t.kind == "tuple":
        return [json_value(p, x) for (_, p), x in zip(t.parts, v)]
    if t.kind == "record":
        return [json_value(p, x) for (_, p), (_, x) in zip(t.parts, v)]
    if t.kind == "flags":
        return sum(1 << k for k, (n, _) in enumerate(t.parts) if n in v)
    if t.kind == "option":
        return (1, json_value(t.parts[1][1], v)) if v is not None else (0, None)
    if t.kind == "result":
        k = int("Err" in v)
        return k, json_value(t.parts[k][1], v["Err" if k else "Ok"]) if t.parts[k][1] else None
    label, payload = (v, None) if t.kind == "enum" else (v["case"], v["payload"])
    k = next(k for k, (n, _) in enumerate(t.parts) if n == label)
    return k, json_value(t.parts[k][1], payload) if t.parts[k][1] else None
