# -*- coding: utf-8 -*-
"""Files of torch.jit.save, as the installed torch writes them.

    python make_torchscript.py OUTDIR

Runs with torch 1.0 to 2.15 (Python 2.7 and 3.6+). Writes OUTDIR/torchscript/VERSION.

The expectation is read out of the file by the few lines below (pickle with stub classes, storages as numpy
arrays), because no function of torch lists constants, packed parameters and attributes by name; then every
tensor that torch.jit.load gives under the same name has to be the same.
"""
from __future__ import print_function, unicode_literals

import io
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import torch

import expect
import expect_containers as containers
from expect import numbers

try:
    from typing import Dict, List, Optional, Tuple
except ImportError:
    try:
        from torch._jit_internal import Dict, List, Optional, Tuple
    except ImportError:
        pass  # torch 1.0 has no attributes

VERSION = expect.torch_version()
RELEASE = tuple(int(n) for n in VERSION.split(".")[:2])
WHERE = ""
Attribute = getattr(torch.jit, "Attribute", None)


def tensor(kind, shape, seed):
    return torch.from_numpy(numbers(str(kind), shape, seed))


# -- modules ----------------------------------------------------------------------------------------

def seeded(module, seed=0):
    """Its parameters and float buffers, set to numbers that are the same every time."""
    for n, (name, value) in enumerate(sorted(module.state_dict().items())):
        if value.dtype == torch.float32:
            rng = np.random.RandomState(100 * seed + n)
            with torch.no_grad():
                value.copy_(torch.from_numpy(np.abs(rng.standard_normal(tuple(value.shape))).astype("f4") + 0.1).reshape(value.shape))
    return module.eval()


class Traced(torch.nn.Module):
    """Buffers of several dtypes, one of them transposed, and constants in the traced code."""

    def __init__(self):
        super(Traced, self).__init__()
        self.lin = torch.nn.Linear(3, 2)
        self.seq = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False)))
        self.register_buffer("transposed", torch.arange(6, dtype=torch.float32).reshape(2, 3).t())
        self.register_buffer("part", torch.arange(8, dtype=torch.float64)[2:7:2])
        self.register_buffer("zero_d", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("half_", tensor("f2", (3,), 1))
        self.register_buffer("bytes_", tensor("u1", (3,), 2))
        self.register_buffer("short", tensor("i2", (2,), 3))
        self.register_buffer("int_", tensor("i4", (2,), 4))
        if RELEASE >= (1, 2):
            self.register_buffer("flags", torch.tensor([True, False, True]))
        if RELEASE >= (1, 5):
            self.register_buffer("brain", torch.arange(3).to(torch.bfloat16))
        if RELEASE >= (1, 8):
            self.register_buffer("c64", tensor("c8", (2,), 5))
            self.register_buffer("c128", tensor("c16", (2,), 6))
            self.lin_again = torch.nn.Linear(3, 2)
            self.lin_again.weight = self.lin.weight

    def forward(self, x):
        x = self.seq(self.lin(x)) + torch.tensor([1.5, -2.5]) + self.transposed[:1, :2]
        return x * torch.tensor([[3.0, 4.0]], dtype=torch.float32) + torch.tensor(0.25)


class Inner(torch.jit.ScriptModule):
    def __init__(self, first):
        super(Inner, self).__init__()
        self.weight = torch.nn.Parameter(first)
        self.bias = torch.nn.Parameter(torch.tensor([0.5, 1.5]))

    @torch.jit.script_method
    def forward(self, x):
        return torch.mm(x, self.weight.t()) + self.bias


class Scripted(torch.jit.ScriptModule):
    """Tied weights, and attributes that hold tensors."""

    def __init__(self):
        super(Scripted, self).__init__()
        shared = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.first = Inner(shared)
        self.second = Inner(shared)
        if RELEASE >= (1, 5):  # before that, two parameters of one storage
            self.second.weight = self.first.weight
        self.register_buffer("mask", torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8).t())
        if Attribute is not None:
            t = [tensor("f4", (2,), 10 + n) for n in range(9)]
            self.plain = Attribute(t[0], torch.Tensor)
            if RELEASE >= (1, 2):  # torch 1.1 cannot save a list of tensors
                self.items_ = Attribute([t[1], t[2]], List[torch.Tensor])
            self.table = Attribute({"a": t[3], "b.c": t[4]}, Dict[str, torch.Tensor])
            self.pair = Attribute((t[5], 3), Tuple[torch.Tensor, int])
            self.ints = Attribute([1, 2, 3], List[int])
            if RELEASE >= (1, 2):
                self.floats = Attribute([1.5], List[float])
            self.word = Attribute("text", str)
            if RELEASE >= (1, 4):
                self.flags = Attribute([True, False], List[bool])
            if RELEASE >= (1, 3):
                self.deep = Attribute({3: [(t[6], "x"), (t[7], "y")]}, Dict[int, List[Tuple[torch.Tensor, str]]])
            if RELEASE >= (1, 3):
                self.maybe = Attribute(None, Optional[torch.Tensor])
                self.given = Attribute(t[8], Optional[torch.Tensor])

    @torch.jit.script_method
    def forward(self, x):
        return self.second(self.first(x))


class WithObject(torch.nn.Module):
    """Scripted as it is: a module list, one module under two names, an exported method."""

    def __init__(self):
        super(WithObject, self).__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
        self.again = self.layers[0]
        self.cache = {"k": torch.tensor([[1.0, 2.0]])}
        self.scale = 2.0

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.again(x) + self.cache["k"] * self.scale


if RELEASE >= (1, 5):
    WithObject.__annotations__ = {"cache": Dict[str, torch.Tensor]}


def quantized(engine):
    """Packed parameters: per tensor and per channel, a convolution, and the dynamic kinds."""
    torch.backends.quantized.engine = engine
    nn = torch.ao.nn.quantized if hasattr(torch, "ao") and hasattr(torch.ao, "nn") else torch.nn.quantized
    model = torch.nn.Module.__new__(Quantized)
    torch.nn.Module.__init__(model)
    model.lin = nn.Linear(3, 2)
    model.lin.set_weight_bias(torch.quantize_per_tensor(tensor_of(1, (2, 3)), 0.05, 0, torch.qint8), torch.tensor([0.5, -0.5]))
    model.channels = nn.Linear(2, 2, bias_=False)
    scales, zeros = torch.tensor([0.02, 0.03], dtype=torch.float64), torch.tensor([0, 0])
    model.channels.set_weight_bias(torch.quantize_per_channel(tensor_of(2, (2, 2)), scales, zeros, 0, torch.qint8), None)
    model.conv = nn.Conv1d(1, 2, 2) if RELEASE >= (1, 8) else nn.Conv2d(1, 2, 2)
    weight = tensor_of(3, (2, 1, 2) if RELEASE >= (1, 8) else (2, 1, 2, 2))
    model.conv.set_weight_bias(torch.quantize_per_tensor(weight, 0.04, 0, torch.qint8), torch.tensor([0.25, 0.75]))
    model.dynamic = nn.dynamic.Linear(3, 2)
    model.dynamic.set_weight_bias(torch.quantize_per_tensor(tensor_of(4, (2, 3)), 0.06, 0, torch.qint8), torch.tensor([1.5, 2.5]))
    model.dynamic_half = nn.dynamic.Linear(3, 2, dtype=torch.float16)
    model.dynamic_half.set_weight_bias(tensor_of(5, (2, 3)), torch.tensor([3.5, 4.5]))
    model.register_buffer("raw", torch.quantize_per_tensor(tensor_of(6, (3,)), 0.1, 3, torch.quint8))
    return model.eval()


class Quantized(torch.nn.Module):
    def forward(self, x):
        y = self.dynamic(x) + self.dynamic_half(x)
        z = torch.quantize_per_tensor(y, 0.1, 10, torch.quint8)
        z = self.channels(z)
        return z.dequantize()


def tensor_of(seed, shape):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype("f4"))


# -- what is in a file --------------------------------------------------------------------------------

STORAGES = {"Float": ("<f4", "F32"), "Double": ("<f8", "F64"), "Half": ("<f2", "F16"), "BFloat16": ("<u2", "BF16"), "Long": ("<i8", "I64"),
            "Int": ("<i4", "I32"), "Short": ("<i2", "I16"), "Char": ("i1", "I8"), "Byte": ("u1", "U8"), "Bool": ("?", "BOOL"),
            "ComplexFloat": ("<c8", "C64"), "ComplexDouble": ("<c16", "F64"), "QInt8": ("i1", "I8"), "QUInt8": ("u1", "U8"), "QInt32": ("<i4", "I32")}
LEGACY_TYPES = {"FLOAT": "Float", "DOUBLE": "Double", "FLOAT16": "Half", "INT64": "Long", "INT32": "Int", "INT16": "Short", "INT8": "Char", "UINT8": "Byte",
                "BOOL": "Bool", "BYTE": "Byte"}


class Array(object):
    """A tensor of the file."""

    def __init__(self, kind, data, offset, size, stride, quantizer=None):
        numpy_kind, self.word = STORAGES[kind]
        self.complex128 = kind == "ComplexDouble"
        flat = np.frombuffer(data, np.dtype(str(numpy_kind)))
        self.quantizer = quantizer
        if 0 in size:
            self.values = np.zeros(size, flat.dtype)
        else:
            self.values = np.lib.stride_tricks.as_strided(flat[offset:], size, [s * flat.itemsize for s in stride])

    def entries(self, name):
        shape = list(self.values.shape) + ([2] if self.complex128 else [])
        found = [(name, expect.entry(self.word, shape, np.ascontiguousarray(self.values).tobytes()))]
        if self.quantizer is not None:
            if len(self.quantizer) == 3:
                found.append((name + ".scale", expect.entry("F64", [], np.float64(self.quantizer[1]).tobytes())))
                found.append((name + ".zero_point", expect.entry("I64", [], np.int64(self.quantizer[2]).tobytes())))
            else:
                found += self.quantizer[1].entries(name + ".scale") + self.quantizer[2].entries(name + ".zero_point")
        return found


class Thing(object):
    """An object of a TorchScript class."""

    state = None

    def __setstate__(self, state):
        self.state = state


def stub(module, name):
    """Classes and functions by name; nothing is imported."""
    if module.startswith("__torch__"):
        return type(str(name), (Thing,), {"path": module + "." + name})
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if module == "torch" and name.endswith("Storage"):
        return name[:-len("Storage")]
    if module == "torch" and name.startswith("per_"):
        return name
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return lambda storage, offset, size, stride, *rest: Array(storage[0], storage[1], offset, size, stride)
    if (module, name) == ("torch._utils", "_rebuild_qtensor"):
        return lambda storage, offset, size, stride, quantizer, *rest: Array(storage[0], storage[1], offset, size, stride, quantizer)
    if module == "torch.jit._pickle" and (name.startswith("build_") or name == "restore_type_tag"):
        return (lambda index: ByIndex(index)) if name == "build_tensor_from_id" else (lambda value, *rest: value)
    if (module, name) == ("torch", "device"):
        return lambda *args: args
    raise ValueError("%s.%s" % (module, name))


class ByIndex(object):
    def __init__(self, index):
        self.index = index


class Unpickler(pickle.Unpickler if sys.version_info[0] > 2 else pickle.Unpickler, object):
    storages = None

    def find_class(self, module, name):
        return stub(module, name)

    def persistent_load(self, pid):
        assert pid[0] == "storage", pid
        return pid[1], self.storages("%s" % pid[2])


def read_pickle(data, storages):
    unpickler = Unpickler(io.BytesIO(data))
    unpickler.storages = storages
    return unpickler.load()


class File(object):
    """All tensors of a file: `tensors` {name: entry} and `paths` {name: [(how, key)]} to find them in the loaded module."""

    def __init__(self, path):
        with zipfile.ZipFile(path) as z:
            self.members = dict((name.split("/", 1)[1], z.read(name)) for name in z.namelist())
        self.tensors, self.paths = {}, {}
        if "model.json" in self.members:
            self.legacy()
        else:
            self.walk(self.load("data"), "", [])
            if "constants.pkl" in self.members:
                self.walk(self.load("constants"), "constants", None)

    def load(self, name):
        return read_pickle(self.members[name + ".pkl"], lambda key: self.members["%s/%s" % (name, key)])

    def add(self, name, array, steps):
        for n, entry in array.entries(name):
            assert n not in self.tensors, n
            self.tensors[n] = entry
        self.paths[name] = steps

    def walk(self, obj, name, steps):
        more = lambda how, key: None if steps is None else steps + [(how, key)]
        if isinstance(obj, Array):
            self.add(name, obj, steps)
        elif isinstance(obj, ByIndex):
            self.used.add(obj.index)
            self.add(name, self.table[obj.index], steps)
        elif isinstance(obj, Thing):
            if isinstance(obj.state, dict):
                for key in obj.state:
                    self.walk(obj.state[key], expect.join(name, key), more("attribute", key))
            else:
                self.walk(obj.state, expect.join(name, "__state__"), None)
        elif isinstance(obj, dict):
            for key in obj:
                self.walk(obj[key], expect.join(name, expect.key_text(key)), more("item", key))
        elif isinstance(obj, (list, tuple)):
            for i, item in enumerate(obj):
                self.walk(item, expect.join(name, "%d" % i), more("item", i))

    def legacy(self):
        """torch 1.0 and 1.1: model.json."""
        model = json.loads(self.members["model.json"].decode("utf-8"))
        self.used, self.table = set(), []
        for t in model["tensors"]:
            size, stride = [tuple(int(n) for n in t.get(key, [])) for key in ("dims", "strides")]
            kind = LEGACY_TYPES[t["dataType"]]
            self.table.append(Array(kind, self.members[t["data"]["key"]], int(t.get("offset", 0)), size, stride))
        self.attributes = ()
        if "attributes.pkl" in self.members:
            self.attributes = read_pickle(self.members["attributes.pkl"], None)
        self.module(model["mainModule"], "", [])
        for n, array in enumerate(self.table):
            if n not in self.used:
                self.add("constants.%d" % n, array, None)

    def module(self, module, name, steps):
        for p in module.get("parameters", []):
            index = int(p["tensorId"])
            self.used.add(index)
            self.add(expect.join(name, p["name"]), self.table[index], steps + [("attribute", p["name"])])
        for a in module.get("attributes", []):
            self.walk(self.attributes[int(a.get("id", 0))], expect.join(name, a["name"]), steps + [("attribute", a["name"])])
        for child in module.get("submodules", []):
            self.module(child, expect.join(name, child["name"]), steps + [("attribute", child["name"])])


def check(path, file):
    """Everything that torch.jit.load can show has to be what was read."""
    module = torch.jit.load(path)
    seen = 0
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            for n, entry in expect.torch_entries(name, value):
                assert file.tensors[n] == entry, n
            seen += 1
    unseen = []
    for name, steps in file.paths.items():
        value = module
        try:
            if steps is None:
                raise KeyError(name)
            for how, key in steps:
                value = getattr(value, key) if how == "attribute" else value[key]
        except (AttributeError, KeyError, IndexError, TypeError, RuntimeError):
            unseen.append(name)
            continue
        if not isinstance(value, torch.Tensor):
            unseen.append(name)
            continue
        for n, entry in expect.torch_entries(name, value):
            assert file.tensors[n] == entry, n
    unseen = constants(module, file, unseen)
    unseen = packed(module, file, unseen)
    if unseen:
        print("     read by hand only:", ", ".join(sorted(unseen)))


def constants(module, file, unseen):
    """The constants that Traced has, and those that torch >= 1.6 shows of a module's code (by other numbers)."""
    known = [torch.tensor([1.5, -2.5]), torch.tensor([[3.0, 4.0]]), torch.tensor(0.25)]
    values = set(json.dumps(expect.torch_entries("", c)[0][1], sort_keys=True) for c in known)
    for m in module.modules():
        try:
            for c in m.code_with_constants[1].const_mapping.values():
                if isinstance(c, torch.Tensor):
                    values.add(json.dumps(expect.torch_entries("", c)[0][1], sort_keys=True))
        except (AttributeError, RuntimeError):
            pass
    return [name for name in unseen if not (name.startswith("constants.") and json.dumps(file.tensors[name], sort_keys=True) in values)]


def packed(module, file, unseen):
    """Packed parameters as the methods weight() and bias() of quantized modules give them."""
    known = set()
    for prefix, m in module.named_modules():
        for what in (lambda: m._weight_bias(), lambda: (m.weight(), m.bias()), lambda: m._packed_params._weight_bias()):
            try:
                for part in what():
                    if isinstance(part, torch.Tensor):
                        known.update(json.dumps(e, sort_keys=True) for n, e in expect.torch_entries("", part))
            except (AttributeError, RuntimeError, TypeError, ValueError):
                pass
    return [name for name in unseen if json.dumps(file.tensors[name], sort_keys=True) not in known]


def done(name, args=None, tied=None):
    path = "%s/%s" % (WHERE, name)
    file = File(path)
    check(path, file)
    more = {}
    if tied:  # {dropped name: kept name}, as the default arguments write them
        assert all(file.tensors.pop(dropped) == file.tensors[kept] for dropped, kept in tied.items())
        more["aliases"] = tied
    containers.record(path, file.tensors, args=args, by=expect.made_by(), **more)


def main(out):
    global WHERE
    torch.manual_seed(1)
    WHERE = expect.folder(out, "torchscript", VERSION)
    with torch.no_grad():
        traced = RELEASE not in ((1, 4), (1, 5), (1, 6)) and torch.jit.trace(seeded(Traced()), torch.ones(1, 3), **({"check_trace": False} if RELEASE > (1, 0) else {}))
    if traced:
        traced.save(WHERE + "/traced.pt")
        done("traced.pt")
    scripted = Scripted()
    scripted.save(WHERE + "/scripted.pt")
    done("scripted.pt")
    if RELEASE == (1, 6) or RELEASE >= (2, 0):
        engine = "fbgemm" if "fbgemm" in torch.backends.quantized.supported_engines else "qnnpack"
        torch.jit.script(quantized(engine)).save(WHERE + "/quantized.pt")
        done("quantized.pt")
    if RELEASE in ((1, 8), (2, 15)):
        scripted._save_for_lite_interpreter(WHERE + "/lite.ptl")
        done("lite.ptl")
    if RELEASE == (2, 15):
        with_object = torch.jit.script(seeded(WithObject(), 2))
        torch.jit.save(with_object, WHERE + "/extra_files.pt", _extra_files={"notes.txt": "notes", "sub/more.json": "{}"})
        done("extra_files.pt")
        with zipfile.ZipFile(WHERE + "/scripted.pt") as z, zipfile.ZipFile(WHERE + "/deflated.pt", "w", zipfile.ZIP_DEFLATED) as new:
            for i in z.infolist():
                entry = zipfile.ZipInfo(i.filename, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                new.writestr(entry, z.read(i))
        done("deflated.pt")
        half = torch.jit.script(seeded(WithObject(), 3)).half()
        half.save(WHERE + "/half.pt")
        done("half.pt", args=[], tied={"layers.0.bias": "again.bias", "layers.0.weight": "again.weight"})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
