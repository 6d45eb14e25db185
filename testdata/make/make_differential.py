"""What CPython's own readers make of thousands of pickle streams, for `tests/integration/differential.rs`.

    PYTHONHASHSEED=0 python make_differential.py OUTDIR [SEED [TIMES]]

Needs CPython 3.11 with its C `_pickle`. Writes OUTDIR/differential/record.bin.xz. Seeded: the same Python writes the same file. A longer search: another
seed and some times as many streams; put the record in the place of the one in testdata and run the test.
Nothing is imported for a stream: globals become stubs, and calls, states and items are recorded on them.

Three readers are asked: C on a file that can peek (what `open()` gives), C on one that cannot (`io.BytesIO`, which torch uses
for members of archives), and the pure-Python one (which joblib uses). The record, once decompressed, is the magic bytes, the
number of streams as `<I`, then these columns, each with an entry for every stream:

    flags   u8    see FLAGS
    source  u8    an index into SOURCES, which follow as lines of text at the end
    length  u16   bytes of the stream
    end     u16   bytes that C had read when it returned
    digest  u32   the first four bytes of the SHA-256 of the dump of what C returned
    streams       the bytes of all streams

The dump is ASCII. A value that can be changed has the number of its first visit, so that sharing and cycles show; stubs have the
number of their creation, and what happened to each follows the root.
"""

import _pickle
import collections
import copyreg
import datetime
import decimal
import hashlib
import io
import lzma
import pickle
import random
import resource
import signal
import struct
import sys
import warnings
from pathlib import Path

MAGIC = b"depickle differential 1\n"
# Bits of `flags`.
FLAGS = {
    "loads": 1,  # C returns a value
    "unhashable": 2,  # C stops at a key or item of a set that has no hash
    "stub": 4,  # C stops because a stub is no tuple or dict; the real object might be one
    "memory": 8,  # C runs out of memory for its memo; the value is that of the pure-Python reader
    "readers_differ": 16,  # two of the readers return values, and other values or from streams of another length
    "canonical": 32,  # nothing in it that a pickler would not write
    "readonly": 64,  # the value holds a read-only view, which the dump shows as what it is a view of
    "python_fails": 128,  # C returns a value and the pure-Python reader does not
}
SOURCES = ["values", "program", "program with odd parts", "mutation", "by hand"]
MAX_DUMP = 20_000
MAX_STREAM = 700


class TooBig(Exception):
    pass


class TooLong(BaseException):
    pass


# ---- stubs ------------------------------------------------------------------------------------------------------


class World:
    """What one reader makes: the globals by name and the results in the order in which they were made."""

    def __init__(self):
        self.globals = {}
        self.made = []

    def find(self, module, name):
        key = (str(module), str(name))
        if key not in self.globals:
            self.globals[key] = stub(self, "g", key)
        return self.globals[key]

    def make(self, kind, *what):
        made = stub(self, kind, what)
        made.number = len(self.made)
        self.made.append(made)
        return made


class Meta(type):
    """The class of the stubs. They are classes themselves, because a result may stand where a class must."""

    def __call__(cls, *args, **kwargs):
        return cls.world.make("c", cls, args, kwargs)

    def __setitem__(cls, key, value):
        cls.items.append((key, value))

    @property
    def __setstate__(cls):
        return cls.states.append

    def append(cls, item):
        cls.appended.append(item)

    def add(cls, item):
        cls.appended.append(item)

    def extend(cls, items):
        cls.appended.extend(items)


class Stub(metaclass=Meta):
    def __new__(cls, *args, **kwargs):
        return cls.world.make("n", cls, args, kwargs)


def stub(world, kind, what):
    return type.__call__(Meta, "stub", (Stub,), {
        "world": world, "kind": kind, "what": what, "items": [], "states": [], "appended": [],
    })


# ---- the dump ---------------------------------------------------------------------------------------------------


def integer(value):
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True).hex()


def atom(value):
    if value is None:
        return "N"
    if value is True:
        return "T"
    if value is False:
        return "F"
    if type(value) is int:
        return "i" + integer(value)
    if type(value) is float:
        return "f" + struct.pack("<d", value).hex()
    if type(value) is str:
        return "s" + value.encode("utf-8", "surrogatepass").hex()
    if type(value) is bytes:
        return "b" + value.hex()
    if isinstance(value, Meta):
        if value.kind == "g":
            return "g" + ":".join(part.encode("utf-8", "surrogatepass").hex() for part in value.what)
        return "o" + str(value.number)
    return None


def flat(value, budget):
    """A value that has a hash, without numbers."""
    budget[0] -= 1
    if budget[0] < 0:
        raise TooBig
    if type(value) is tuple:
        return "(" + " ".join(flat(item, budget) for item in value) + ")"
    if type(value) is frozenset:
        return "|" + " ".join(sorted(flat(item, budget) for item in value)) + "|"
    return atom(value)


class Dump:
    def __init__(self):
        self.words = []
        self.seen = {}
        self.keep = []
        self.readonly = False

    def word(self, word):
        self.words.append(word)
        if len(self.words) > MAX_DUMP:
            raise TooBig

    def value(self, value):
        todo = [value]
        while todo:
            value = todo.pop()
            if isinstance(value, Word):
                self.word(value.text)
                continue
            if type(value) is memoryview:
                self.readonly = True
                value = value.obj
            if (shown := atom(value)) is not None:
                self.word(shown)
                continue
            if type(value) is frozenset:
                self.word(flat(value, [MAX_DUMP]))
                continue
            if value == () and type(value) is tuple:
                self.word("()")
                continue
            if id(value) in self.seen:
                self.word(f"@{self.seen[id(value)]}")
                continue
            self.seen[id(value)] = len(self.seen)
            self.keep.append(value)
            if type(value) is bytearray:
                self.word("a" + value.hex())
            elif type(value) is set:
                self.word("<" + " ".join(sorted(flat(item, [MAX_DUMP]) for item in value)) + ">")
            elif type(value) in (list, tuple):
                self.word("[" if type(value) is list else "(")
                todo.append(Word("]" if type(value) is list else ")"))
                todo.extend(reversed(value))
            elif type(value) is dict:
                self.word("{")
                todo.append(Word("}"))
                todo.extend(part for pair in reversed(value.items()) for part in reversed(pair))
            else:
                raise TypeError(f"no dump of {type(value)}")

    def all(self, root, world):
        self.value(root)
        for made in world.made:
            self.word("\n" + made.kind)
            if made.kind == "p":
                self.value(made.what[0])
            else:
                function, args, kwargs = made.what
                self.value(function)
                for part in args:
                    self.value(part)
                if kwargs:
                    self.word("**")
                    for name, part in kwargs.items():
                        self.value(name)
                        self.value(part)
            for mark, parts in (("!", made.states), ("=", [x for pair in made.items for x in pair]), ("+", made.appended)):
                if parts:
                    self.word(mark)
                    for part in parts:
                        self.value(part)
        return " ".join(self.words).encode()


class Word:
    def __init__(self, text):
        self.text = text


# ---- the readers ------------------------------------------------------------------------------------------------


def reader(base):
    class Reader(base):
        def __init__(self, file):
            super().__init__(file, encoding="latin-1")
            self.world = World()

        def find_class(self, module, name):
            return self.world.find(module, name)

        def persistent_load(self, pid):
            return self.world.make("p", pid)

    return Reader


READERS = [
    (reader(_pickle.Unpickler), lambda stream: io.BufferedReader(io.BytesIO(stream))),
    (reader(_pickle.Unpickler), io.BytesIO),
    (reader(pickle._Unpickler), io.BytesIO),
]


class Outcome:
    def __init__(self, stream, unpickler, opener):
        self.loads, self.end, self.dump, self.error, self.readonly = False, 0, b"", "", False
        file = opener(stream)
        copyreg._extension_cache.clear()
        try:
            reading = unpickler(file)
            root = reading.load()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            return
        dump = Dump()
        self.dump = dump.all(root, reading.world)
        self.loads, self.end, self.readonly = True, file.tell(), dump.readonly


def outcome_of(stream):
    """(flags, end, digest), or None for a stream that is too costly to keep."""
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        outcomes = [Outcome(stream, *how) for how in READERS]
    except (TooBig, TooLong):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    c, c_without_peek, python = outcomes
    flags = 0
    error = c.error
    if error.startswith("MemoryError"):
        flags |= FLAGS["memory"]
        # C makes room for a frame before it looks whether that is there; the pure-Python reader does not look.
        ends = [at + 9 + struct.unpack_from("<Q", stream, at + 1)[0] for at in range(len(stream) - 8) if stream[at] == 0x95]
        if all(end <= len(stream) for end in ends):
            c, error = python, python.error
    loaded = [(o.dump, o.end) for o in (c, c_without_peek, python) if o.loads]
    if c.loads:
        flags |= FLAGS["loads"]
        if not python.loads:
            flags |= FLAGS["python_fails"]
    if "unhashable" in error or "not hashable" in error:
        flags |= FLAGS["unhashable"]
    if any(text in error for text in ("argument list must be a tuple", "expected an arg tuple", "must be a tuple, not", "must be a dict, not",
                                      "keywords must be strings", "args argument is not a tuple", "kwargs argument is not a dict")):
        flags |= FLAGS["stub"]
    if len(set(loaded)) > 1:
        flags |= FLAGS["readers_differ"]
    if any(o.readonly for o in outcomes):
        flags |= FLAGS["readonly"]
    digest = int.from_bytes(hashlib.sha256(c.dump).digest()[:4], "little") if c.loads else 0
    return flags, c.end, digest, error


# ---- streams ----------------------------------------------------------------------------------------------------

NAMES = [("m", "f"), ("m", "C"), ("m", "C.d"), ("collections", "OrderedDict"), ("torch._utils", "_rebuild"), ("m\u00e9", "\u03b1"), ("a b", "c d")]


class Program:
    """Opcodes for which the stack has what they need, at random; with `odd`, now and then something else."""

    def __init__(self, rng, odd, protocol):
        self.rng, self.odd, self.protocol = rng, odd, protocol
        self.out, self.stack, self.marks, self.memo = bytearray(), [], [], {}

    def emit(self, *parts):
        for part in parts:
            self.out += part

    def push(self, kind):
        self.stack.append(kind)

    def above(self):
        return len(self.stack) - (self.marks[-1] if self.marks else 0)

    def kinds(self, n):
        return self.stack[-n:] if self.above() >= n else None

    def run(self, steps):
        if self.protocol >= 2:
            self.emit(b"\x80", bytes([self.protocol]))
        for _ in range(steps):
            self.step()
        self.finish()
        return bytes(self.out)

    def finish(self):
        if self.odd and self.rng.random() < 0.1:
            self.emit(b".")
            return
        while self.marks:
            mark = self.marks.pop()
            self.emit(b"t" if self.rng.random() < 0.7 else b"l")
            del self.stack[mark:]
            self.push("tuple")
        if not self.stack:
            self.emit(b"N")
        elif len(self.stack) > 1 and not self.odd:
            # Everything under one root: what is left on the stack is what no pickler leaves.
            while len(self.stack) > 1:
                n = min(3, len(self.stack))
                self.emit([b"\x85", b"\x86", b"\x87"][n - 1])
                del self.stack[-n:]
                self.push("tuple")
        self.emit(b".")

    def step(self):
        rng = self.rng
        if self.odd and rng.random() < 0.06:
            self.anything()
            return
        choices = [(6, self.literal), (3, self.container), (2, self.name)]
        if self.above():
            choices += [(2, self.put), (0.3, self.dup), (0.4, self.pop)]
        if self.memo:
            choices.append((3, self.get))
        choices.append((2.5, self.mark))
        if self.marks:
            choices.append((4, self.close))
        for n, method in ((2, self.append), (3, self.setitem), (2, self.call), (3, self.new_ex), (2, self.build), (1, self.tuple), (1, self.pers)):
            if self.above() >= n:
                choices.append((1.5, method))
        weights = [weight for weight, _ in choices]
        rng.choices([method for _, method in choices], weights)[0]()

    # ---- values

    def literal(self):
        literals = [self.none, self.int, self.float, self.text, self.bytes, self.str]
        self.rng.choice(literals)()

    def none(self):
        op, kind = self.rng.choice([(b"N", "none"), (b"\x88", "bool"), (b"\x89", "bool"), (b"I01\n", "bool"), (b"I00\n", "bool")])
        self.emit(op)
        self.push(kind)

    def int(self):
        rng = self.rng
        value = rng.choice([0, 1, -1, 7, 255, 256, 65535, 65536, -128, -129, 2**31 - 1, -2**31, 2**31, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64,
                            rng.randrange(256), rng.getrandbits(70)])
        data = pickle.encode_long(value)
        forms = [b"I%d\n" % value, b"L%dL\n" % value]
        if not -2**31 <= value < 2**31:
            forms = forms[1:] if not self.odd else forms
        if 0 <= value < 256:
            forms.append(b"K%c" % value)
        if 0 <= value < 65536:
            forms.append(b"M" + struct.pack("<H", value))
        if -2**31 <= value < 2**31:
            forms.append(b"J" + struct.pack("<i", value))
        forms += [b"\x8a%c" % len(data) + data, b"\x8b" + struct.pack("<i", len(data)) + data]
        if self.odd:
            sign = b"\xff" if value < 0 else b"\0"
            forms += [b"L%d\n" % value, b"\x8a%c" % (len(data) + 3) + data + sign * 3, b"\x8a%c" % (len(data) + 9) + data + sign * 9]
            if rng.random() < 0.5:
                forms = [rng.choice([b"I010\n", b"I0x10\n", b"I1_000\n", b"I 5\n", b"I5 \n", b"I+5\n", b"I-0\n", b"I12\0 3\n", b"I001\n", b"I000\n", b"I0\n",
                                     b"I1\n", b"I\n", b"I5L\n", b"I5\r\n", b"I-1\n", b"I00 \n", b"I 01\n", b"I0b11\n", b"I0o17\n", b"I99999999999999999999\n",
                                     b"I1.5\n", b"I\xd9\xa3\n", b"L010\n", b"L0x10\n", b"L1_000L\n", b"L 5L\n", b"L5\n", b"L5LL\n", b"LL\n", b"L\n", b"L-0L\n",
                                     b"L00L\n", b"L01\n", b"L5l\n", b"L12\0 3L\n", b"L5L \n", b"L+5L\n", b"L-5L\n"])]
        self.emit(rng.choice(forms))
        self.push("int")

    def float(self):
        rng = self.rng
        value = rng.choice([0.0, -0.0, 1.0, 1.5, -2e-05, 1e20, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), 1e16, rng.uniform(-9, 9)])
        forms = [b"F%s\n" % repr(value).encode(), b"G" + struct.pack(">d", value)]
        if self.odd and rng.random() < 0.5:
            forms = [b"F" + rng.choice([b"1", b"-0", b"007", b".5", b"5.", b"+1.5", b"1_0", b"1e999", b"-1e999", b"1e-999", b" 1.5", b"1.5 ", b"1.5\r", b"0x1p3",
                                        b"infinity", b"INF", b"NaN", b"-nan", b"1E5", b"1e5", b"1e+05", b"1.5\0 2", b"", b"nan(1)", b"1e", b"--1",
                                        b"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887"
                                        b"910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819"
                                        b"860834936475292719074168444365510704342711559699508093042880", b"0.1000000000000000055511151231257827021181583404541015625"])
                     + b"\n", b"G\x7f\xf0\0\0\0\0\0\1"]
        self.emit(rng.choice(forms))
        self.push("float")

    def text(self):
        rng = self.rng
        text = rng.choice(["", "a", "b", "key", "\u00e9", "\u03b1\u03b2", "\U0001f600", "a\nb", "back\\slash", "\\u0041", "\0", "x" * rng.randrange(4)])
        if rng.random() < 0.1:
            text = rng.choice(["\ud800", "a\udfffb", "\ud83d\ude00"])
        data = text.encode("utf-8", "surrogatepass")
        raw = text.replace("\\", "\\u005c").replace("\0", "\\u0000").replace("\n", "\\u000a").replace("\r", "\\u000d").replace("\x1a", "\\u001a")
        forms = [b"V" + raw.encode("raw-unicode-escape") + b"\n", b"X" + struct.pack("<I", len(data)) + data, b"\x8c%c" % len(data) + data]
        if rng.random() < 0.1:
            forms = [b"\x8d" + struct.pack("<Q", len(data)) + data]
        if self.odd and rng.random() < 0.4:
            forms = [rng.choice([b"V\\u12\n", b"V\\u12g4\n", b"V\\\\u0041\n", b"V\\\\\\u0041\n", b"V\\U00110000\n", b"V\\U0010ffff\n", b"V\\x41\n", b"V\\\n", b"V\\N{DASH}\n",
                                 b"Va\rb\n", b"V\xe9\xff\n", b"V\\ud83d\\ude00\n", b"V\\n\n", b"\x8c\2\xc0\x80", b"\x8c\4\xf4\x90\x80\x80", b"\x8c\1\xff",
                                 b"\x8c\6\xed\xa0\xbd\xed\xb8\x80", b"\x8c\2\xed\xa0", b"\x8c\3\xe0\x80\x80", b"\x8c\3a\xed\xa0", b"X\xff\xff\xff\xff", b"V\n",
                                 b"V\\u 041\n", b"V\\u+041\n", b"V\\U0000d800\n"])]
        self.emit(rng.choice(forms))
        self.push("str")

    def bytes(self):
        rng = self.rng
        data = rng.choice([b"", b"a", b"\0\xff", b"key", bytes(rng.randrange(5))])
        forms = [(b"C%c" % len(data), "bytes"), (b"B" + struct.pack("<I", len(data)), "bytes"), (b"\x8e" + struct.pack("<Q", len(data)), "bytes"),
                 (b"\x96" + struct.pack("<Q", len(data)), "bytearray")]
        head, kind = rng.choice(forms)
        self.emit(head, data)
        self.push(kind)
        if self.protocol == 5 and rng.random() < 0.1:
            self.emit(b"\x98")
            self.stack[-1] = "view"

    def str(self):
        rng = self.rng
        data = rng.choice([b"", b"a", b"key", b"\xe9", b"\xff\0", b"it's", b'"', b"\\", b"\n"])
        forms = [b"U%c" % len(data) + data, b"T" + struct.pack("<i", len(data)) + data, b"S" + repr(data)[1:].encode() + b"\n"]
        if self.odd and rng.random() < 0.5:
            forms = [b"S" + rng.choice([b"'x", b"x'", b"x", b"", b"'", b"''", b'"a"', b"'a\"", b"'a'b'", b"'\\x4'", b"'\\x41'", b"'\\'", b"'\\\\'", b"'\\101'", b"'\\777'",
                                        b"'\\8'", b"'\\q'", b"'\\1234'", b"'\\7'", b"'\\0'", b" 'a'", b"'a' ", b"'a'\r", b"'\\a\\b\\t\\n\\v\\f\\r\\\"'", b"'\\u0041'",
                                        b"'\xe9'", b"'\\\r'", b"'\\N{DASH}'", b"b'a'", b"'\\x4g'", b"'\\XAB'", b"'a\0b'"]) + b"\n", b"T\xff\xff\xff\xff"]
        self.emit(rng.choice(forms))
        self.push("str")

    def container(self):
        op, kind = self.rng.choice([(b"]", "list"), (b"}", "dict"), (b"}", "dict"), (b")", "tuple"), (b"\x8f", "set")])
        self.emit(op)
        self.push(kind)

    def name(self):
        rng = self.rng
        module, name = (part.encode() for part in rng.choice(NAMES))
        if self.odd and rng.random() < 0.2:
            form = rng.choice([b"c\nf\n", b"cm\n\n", b"cm\r\nf\r\n", b"c m\n f\n", b"c\xff\nf\n", b"cm\nf", b"c\xed\xa0\x80\nf\n", b"cm\0\nf\n",
                               b"U\1mU\1f\x93", b"\x8c\0\x8c\1f\x93", b"\x8c\1m\x8c\0\x93", b"C\1mC\1f\x93", b"U\1\xe9U\1f\x93", b"\x8c\3\xed\xa0\x80\x8c\1f\x93", b"NN\x93",
                               b"U\2\xc3\xa9U\1f\x93", b"\x82\1", b"\x83\1\0", b"\x84\1\0\0\0", b"\x82\0", b"\x82\7", b"\x84\xff\xff\xff\xff", b"\x84\0\0\0\0"])
            self.emit(form)
        else:
            self.emit(rng.choice([b"c%s\n%s\n" % (module, name), b"\x8c%c%s\x8c%c%s\x93" % (len(module), module, len(name), name)]))
        self.push("name")

    # ---- stack and memo

    def mark(self):
        self.emit(b"(")
        self.marks.append(len(self.stack))
        if self.rng.random() < 0.2:
            module, name = (part.encode() for part in self.rng.choice(NAMES))
            self.emit(b"c%s\n%s\n" % (module, name))
            self.push("name")

    def dup(self):
        self.emit(b"2")
        self.push(self.stack[-1])

    def pop(self):
        self.emit(b"0")
        self.stack.pop()

    def index(self):
        if self.odd and self.rng.random() < 0.1:
            return self.rng.choice([300, 70000, 255, 256, 300, 70000, 0xffffffff, 2**32])
        return self.rng.choice([len(self.memo), self.rng.randrange(12)])

    def put(self):
        rng = self.rng
        if rng.random() < 0.3:
            self.emit(b"\x94")
            self.memo[len(self.memo)] = self.stack[-1]
            return
        index = self.index()
        forms = [b"p%d\n" % index]
        if index < 256:
            forms.append(b"q%c" % index)
        if index < 2**32:
            forms.append(b"r" + struct.pack("<I", index))
        if self.odd and rng.random() < 0.2:
            forms = [b"p" + rng.choice([b"-1", b"010", b"1_0", b" 1", b"1 ", b"+1", b"0x1", b"1L", b"", b"a", b"01", b"00", b"99999999999999999999", b"1\0", b"-0"]) + b"\n"]
        self.emit(rng.choice(forms))
        self.memo[index] = self.stack[-1]

    def get(self):
        rng = self.rng
        index = rng.choice(list(self.memo))
        forms = [b"g%d\n" % index]
        if index < 256:
            forms.append(b"h%c" % index)
        if index < 2**32:
            forms.append(b"j" + struct.pack("<I", index))
        if self.odd and rng.random() < 0.2:
            forms = [b"g" + rng.choice([b"-1", b"0%d" % index, b" %d" % index, b"%d " % index, b"+%d" % index, b"%dL" % index, b"", b"99999999999999999999"]) + b"\n"]
        self.emit(rng.choice(forms))
        self.push(self.memo[index])

    # ---- what takes from the stack

    def hashable(self, kind):
        return self.odd or kind in ("none", "bool", "int", "float", "str", "bytes", "name", "call", "pers")

    def close(self):
        rng = self.rng
        mark = self.marks[-1]
        inner, below = self.stack[mark:], self.stack[mark - 1] if mark > (self.marks[-2] if len(self.marks) > 1 else 0) else None
        choices = [(b"t", "tuple"), (b"l", "list"), (b"1", None)]
        pairs = len(inner) % 2 == 0
        keyed = pairs and all(self.hashable(kind) for kind in inner[::2])
        if keyed:
            choices.append((b"d", "dict"))
        if all(self.hashable(kind) for kind in inner):
            choices.append((b"\x91", "frozenset"))
        if inner and inner[0] == "name":
            choices += [(b"o", "call")] * 2
        # C reads the names of INST as ASCII.
        names = NAMES if self.odd else [name for name in NAMES if all(part.isascii() for part in name)]
        choices.append((b"i%s\n%s\n" % tuple(part.encode() for part in rng.choice(names)), "call"))
        if below in ("list", "call"):
            choices += [(b"e", "")] * 4
        if (below == "dict" and keyed) or (below == "call" and pairs):
            choices += [(b"u", "")] * 4
        if below in ("set", "call") and all(self.hashable(kind) for kind in inner):
            choices += [(b"\x90", "")] * 4
        op, kind = rng.choice(choices)
        self.emit(op)
        self.marks.pop()
        del self.stack[mark:]
        if kind:
            self.push(kind)

    def append(self):
        if self.kinds(2)[0] in ("list", "call"):
            self.emit(b"a")
            self.stack.pop()
        else:
            self.put()

    def setitem(self):
        target, key, _ = self.kinds(3)
        if (target == "dict" and self.hashable(key)) or target == "call":
            self.emit(b"s")
            del self.stack[-2:]
        else:
            self.tuple()

    def call(self):
        callable, args = self.kinds(2)
        if callable in ("name", "call", "pers") and args == "tuple":
            self.emit(self.rng.choice([b"R", b"\x81"]))
            del self.stack[-2:]
            self.push("call")
        elif callable in ("name", "call", "pers"):
            self.emit(self.rng.choice([b"\x85R", b"\x85\x81"]))
            del self.stack[-2:]
            self.push("call")

    def new_ex(self):
        if self.stack[-1] in ("name", "call"):
            self.emit(b")}\x8c\1kK\1s\x92" if self.rng.random() < 0.7 else b"N\x85}\x92")
            self.stack[-1] = "call"

    def build(self):
        if self.kinds(2)[0] == "call":
            self.emit(b"b")
            self.stack.pop()

    def tuple(self):
        n = self.rng.randint(1, min(3, self.above()))
        self.emit([b"\x85", b"\x86", b"\x87"][n - 1])
        del self.stack[-n:]
        self.push("tuple")

    def pers(self):
        self.emit(b"Q")
        self.stack[-1] = "pers"

    # ---- oddities

    def anything(self):
        rng = self.rng
        odd = [b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"b", b"d", b"l", b"t", b"o", b"R", b"\x81", b"\x92", b"\x90", b"\x91", b"\x93", b"\x94", b"\x85", b"\x86", b"\x87", b"Q",
               b"Ppid\n", b"P\xff\n", b"P\n", b"\x97", b"\x98", b"\x80\4", b"\x80\0", b"\x80\6", b"\x95" + bytes(8), b"\xff", b"\0", b"(0", b"(1", b"(((", b"\n", b"(NNNu", b"(Nd",
               b"h\0", b"h\xee", b"]b", b"}Nb", b"\x93", b"(.", b"N.", b"\x82\1", b"K\1R", b"N)R", b"])R", b"cm\nf\n]R", b"cm\nf\n)]\x92", b"cm\nf\n)}K\1K\2s\x92",
               b"cm\nf\n)}K\1K\2s\x81", b"}]Ns", b"(]N\x91", b"(]o", b"]K\0Ns", b"]Nb", b"cm\nf\nNb", b"cm\nf\nK\1a", b"cm\nf\nK\1K\2s", b"NQ}b", b"NQNa", b"\x96\1" + bytes(8) + b"(K\1e",
               b"\x96\1" + bytes(8) + b"\x98", b"\x8f]a", b"\x8f(]\x90", b"](N\x90", b"}Na", b"]}N\x86b", b"2\x8f\x86", b"\x8a\0", b"\x8b\xff\xff\xff\xff", b"\x8a\xff"]
        if rng.random() < 0.25:
            left = rng.randrange(24)
            odd = [b"\x95" + struct.pack("<Q", left)]
        self.emit(rng.choice(odd))


class Anything:
    """An object of no class that is there, for the picklers."""


def value(rng, depth, shared):
    choice = rng.randrange(24 if depth else 12)
    if choice < 12 or not depth:
        atoms = [None, True, rng.randrange(300), -rng.randrange(70000), rng.getrandbits(80), rng.uniform(-1, 1), float(rng.randrange(5)), "key", "\u00e9t\u00e9",
                 "\ud800", b"bytes", bytearray(b"ab"), "x" * rng.randrange(4), datetime.date(2020, 1, 2), complex(1, 2), decimal.Decimal("1.5"), range(3),
                 collections.OrderedDict, len, ()]
        made = rng.choice(atoms)
    elif choice < 14:
        made = [value(rng, depth - 1, shared) for _ in range(rng.randrange(4))]
    elif choice < 16:
        made = tuple(value(rng, depth - 1, shared) for _ in range(rng.randrange(5)))
    elif choice < 18:
        made = {rng.choice(["a", "b", 1, (1, "x"), None, b"k"]): value(rng, depth - 1, shared) for _ in range(rng.randrange(4))}
    elif choice == 18:
        made = set(rng.sample([1, 2, "a", b"a", None, 2.5], rng.randrange(4)))
    elif choice == 19:
        made = frozenset(rng.sample([1, 2, "a", (1, 2)], rng.randrange(4)))
    elif choice == 20:
        made = collections.OrderedDict([("w", value(rng, depth - 1, shared)), ("b", 1)])
    elif choice == 21:
        made = rng.choice([collections.deque([1, 2]), collections.defaultdict(list, {1: []}), collections.Counter("aab"), Exception("x"), slice(1, 2)])
    elif choice == 22:
        made = Anything()
        made.attribute = value(rng, depth - 1, shared)
        made.me = made
    else:
        made = [1]
        made.append(made)
    shared.append(made)
    return rng.choice(shared) if rng.random() < 0.15 else made


def pickled(rng):
    made = value(rng, rng.randint(1, 4), [])
    protocol = rng.randrange(6)
    base = rng.choice([_pickle.Pickler, pickle._Pickler])

    class Pickler(base):
        def persistent_id(self, obj):
            # Protocol 0 writes these as text, which is not read.
            return ("storage", 7) if protocol and type(obj) is bytearray else None

    out = io.BytesIO()
    try:
        Pickler(out, protocol).dump(made)
    except Exception:
        return None
    return out.getvalue()


def mutated(rng, stream):
    stream = bytearray(stream)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(stream))
        how = rng.randrange(7)
        if how == 0:
            stream[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            stream[at] = rng.choice(b"(.0129NKIJFSVLcgpqhat}]RQboisude)\x85\x86\x87\x90\x91\x92\x93\x94\x95\x80\x81\x8c\xff\0\n")
        elif how == 2:
            del stream[at:at + rng.randint(1, 4)]
        elif how == 3:
            stream[at:at] = stream[at:at + rng.randint(1, 6)]
        elif how == 4:
            stream[at:at] = rng.choice([b"(", b"0", b"2", b"N", b")", b"t", b".", b"\x94", b"h\0", b"K\1", b"\x95\3" + bytes(7)])
        elif how == 5:
            stream = stream[:at + 1]
        else:
            stream[at] = (stream[at] + rng.choice([1, -1])) & 255
        if not stream:
            stream = bytearray(b".")
    return bytes(stream)


def frame(n):
    return b"\x95" + struct.pack("<Q", n)


BY_HAND = [
    b"\x80\4" + frame(6) + b"N.N.N.K\1.", b"\x80\4" + frame(3) + b"J\1\2\3\4.K\5.", b"\x80\4" + frame(3) + b"I12345\n.", b"\x80\4" + frame(2) + b"K\1.",
    b"\x80\4" + frame(1) + b"K\1.", b"\x80\4" + frame(12) + frame(2) + b"N.0N.", b"\x80\4" + frame(9) + frame(2) + b"N.", b"\x80\4" + frame(10) + frame(2) + b"N0N.",
    b"\x80\4" + frame(0) + b"N.", b"\x80\4" + frame(1) + b"N.", b"\x80\4" + frame(99) + b"N.", frame(2) + b"N.", b"N" + frame(1) + b".", b"\x80\4" + frame(2) + b"N." + frame(2) + b"N.",
    b"(N.", b"N(.", b"N(2.", b"N(q\0.", b"N(0.", b"(NN.", b".", b"", b"(", b"N", b"(1N.", b"1N.", b"]K\1a(e.", b"}(u.", b"\x8f(\x90.", b"N(e.", b"N(\x90.", b"N(u.", b"K\1(e.",
    b"}K\1Ns\x88Ns\x88]s.", b"}K\1NsG?\xf0\0\0\0\0\0\0]s.", b"}\x8a\1\1Ns\x8a\x0a\1\0\0\0\0\0\0\0\0\0]s.", b"}U\1aNs\x8c\1a]s.", b"}U\1aNsC\1a]s.",
    b"}G\x7f\xf8\0\0\0\0\0\0Nsq\0Fnan\nNs.", b"}Fnan\nq\0Nsh\0]s.", b"}(K\1tNs(K\1t]s.", b"}(K\1\x91Ns(\x88\x91]s.", b"}G\xc3\xe0\0\0\0\0\0\0Ns\x8a\x08\0\0\0\0\0\0\0\x80]s.",
    b"}G\x7e\x37\xe4\x3c\x88\x00\x75\x9cNsI01\n]s.", b"(K\1\x88F1.0\n\x91.", b"\x8f(\x88K\1\x90.", b"(G\x80\0\0\0\0\0\0\0K\0\x89\x91.", b"](h\0.", b"]q\0(h\0h\0e.", b")q\0h\0\x86.", b"))\x86.",
    b"(t)\x86.", b"]q\0\x85q\1h\0h\1a0.", b"}q\0Nh\0s.", b"\x96\2" + bytes(7) + b"ab2\x86.", b"\x96\2" + bytes(7) + b"abq\0\x98h\0\x86.",
    b"I" + b"9" * 4300 + b"\n.", b"I" + b"9" * 4301 + b"\n.", b"I-" + b"9" * 4300 + b"\n.", b"L" + b"9" * 4300 + b"L\n.", b"L-" + b"9" * 4301 + b"L\n.",
    b"F" + b"1" * 300 + b"\n.", b"F" + b"1" * 320 + b"\n.", b"F0." + b"3" * 1022 + b"\n.", b"F0." + b"3" * 1023 + b"\n.",
    b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", b"Np4294967295\n0g4294967295\n.", b"Np4294967296\n0g4294967296\n.", b"Nq\5\x940h\1.", b"Nq\0q\0\x940h\1.", b"Nq\0\x94]\x940h\2.",
    b"cm\nf\n)R}K\1Nsb}b.", b"cm\nf\n)R(K\1K\2eK\3a.", b"cm\nf\n)R(K\1K\2u.", b"cm\nf\n)R(K\1K\2\x90.", b"cm\nf\n)R)R.", b"cm\nf\n)R)\x81.", b"(cm\nf\no.", b"(cm\nf\nNo.",
    b"(im\nf\n.", b"(Nim\nf\n.", b"cm\nf\n(N]t\x81.", b"cm\nf\n)}\x92.", b"cm\nf\n)}\x8c\1k]s\x92.", b"NQ)R.", b"(No.", b"N)R.", b"cm\nf\ncm\nf\n\x86.",
]


def streams(rng, times):
    kept = []
    for stream in BY_HAND:
        yield 4, stream
    for _ in range(1300 * times):
        stream = pickled(rng)
        if stream is not None:
            kept.append(stream)
            yield 0, stream
    for source, n in ((1, 1500), (2, 2600)):
        for _ in range(n * times):
            stream = Program(rng, source == 2, rng.randrange(6)).run(rng.choice([3, 6, 10, 16, 24]))
            kept.append(stream)
            yield source, stream + (rng.choice([b"\0", b"N.", b"junk"]) if rng.random() < 0.05 else b"")
    for _ in range(1600 * times):
        yield 3, mutated(rng, rng.choice(kept))


def main():
    if sys.flags.hash_randomization:
        sys.exit("set PYTHONHASHSEED=0, so that sets are pickled in one order")
    out = Path(sys.argv[1]) / "differential"
    out.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    def too_long(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, too_long)
    warnings.simplefilter("ignore")
    for code in range(1, 4):
        copyreg.add_extension("ext", f"name{code}", code)
    seed, times = ([int(arg) for arg in sys.argv[2:]] + [20260101, 1][len(sys.argv) - 2:])[:2]
    rows, seen, dropped = [], set(), 0
    for source, stream in streams(random.Random(seed), times):
        if stream in seen or (len(stream) > MAX_STREAM and source != 4):
            continue
        seen.add(stream)
        outcome = outcome_of(stream)
        if outcome is None:
            dropped += 1
            continue
        flags, end, digest, error = outcome
        if source in (0, 1) and flags & FLAGS["loads"] and not flags & FLAGS["readers_differ"]:
            flags |= FLAGS["canonical"]
        elif source in (0, 1):
            print("not canonical:", stream, error)
        rows.append((flags, source, end, digest, stream))
    # Streams that are alike side by side, which compresses better.
    rows.sort(key=lambda row: (row[1], row[4]))
    packed = MAGIC + struct.pack("<I", len(rows))
    packed += bytes(row[0] for row in rows) + bytes(row[1] for row in rows)
    for column in ([len(row[4]) for row in rows], [row[2] for row in rows]):
        packed += struct.pack(f"<{len(column)}H", *column)
    packed += struct.pack(f"<{len(rows)}I", *(row[3] for row in rows))
    packed += b"".join(row[4] for row in rows) + "\n".join(SOURCES).encode()
    compressed = lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME)
    (out / "record.bin.xz").write_bytes(compressed)
    for name, bit in FLAGS.items():
        print(f"{name:15} {sum(1 for row in rows if row[0] & bit)}")
    print(f"{len(rows)} streams, {len(packed)} bytes, {len(compressed)} compressed, {dropped} dropped")


if __name__ == "__main__":
    main()
