# -*- coding: utf-8 -*-
"""What a library says is in a file, written beside the file as NAME.expect.json.

Shared by every make_*.py here. Runs on Python 2.7 and 3.6+, with torch 1.0+ or without torch.
Nothing in here knows depickle: names follow the rules in ../README.md, digests come from the
library that made the file (and that has loaded it back).
"""
from __future__ import print_function, unicode_literals

import hashlib
import io
import json
import os
import platform
import re

import numpy as np

try:
    import torch
except ImportError:
    torch = None

ARGS = ["--root", ".", "--shared", "copy"]

TORCH_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "F64", "complex32": "F16",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e8m0fnu": "F8_E8M0", "float4_e2m1fn_x2": "F4",
}
NUMPY_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "float16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64", "complex128": "F64",
    # ml_dtypes
    "bfloat16": "BF16", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e8m0fnu": "F8_E8M0",
}
BITS = {"bits8": "U8", "bits1x8": "U8", "bits2x4": "U8", "bits4x2": "U8", "bits16": "U16"}  # lowered to plain integers
QUANTIZED = {"quint8": "U8", "qint8": "I8", "qint32": "I32"}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def entry(dtype, shape, data):
    return {"dtype": dtype, "shape": [int(n) for n in shape], "sha256": sha256(data)}


# -- bytes of one tensor ------------------------------------------------------------------------

def torch_dtype(t):
    return str(t.dtype).replace("torch.", "")


def torch_bytes(t):
    """The row-major little-endian bytes of a dense torch tensor, as torch itself gives them."""
    t = t.detach()
    for resolve in ("resolve_conj", "resolve_neg"):
        if hasattr(t, resolve):
            t = getattr(t, resolve)()
    if t.numel() == 0:
        return b""
    kind = torch_dtype(t)
    if kind == "float4_e2m1fn_x2" or kind in BITS:  # no copy kernels: reinterpret first, copy after
        return t.view(torch.uint8).contiguous().numpy().tobytes()
    t = t.contiguous()
    if kind == "bfloat16":  # exact: float32 is bfloat16 with 16 more zero bits (old torch has no view(dtype))
        return (t.float().numpy().view("<u4") >> 16).astype("<u2").tobytes()
    if kind == "int8":  # torch 1.0 has no numpy() for it
        return t.to(torch.int16).numpy().astype("i1").tobytes()
    if kind in NUMPY_DTYPES and not kind.startswith("float8"):
        return t.numpy().tobytes()
    return t.reshape(-1).view(torch.uint8).numpy().tobytes()


def torch_entries(name, t):
    """[(name, entry)] for one tensor, or None when it has no data of a dtype that safetensors can hold."""
    kind = torch_dtype(t)
    if kind in QUANTIZED:
        ints = t.int_repr()
        found = [(name, entry(QUANTIZED[kind], ints.shape, torch_bytes(ints)))]
        if t.qscheme() == torch.per_tensor_affine:
            found.append((name + ".scale", entry("F64", [], np.float64(t.q_scale()).tobytes())))
            found.append((name + ".zero_point", entry("I64", [], np.int64(t.q_zero_point()).tobytes())))
        else:
            for suffix, part in ((".scale", t.q_per_channel_scales()), (".zero_point", t.q_per_channel_zero_points())):
                found.append((name + suffix, entry(TORCH_DTYPES[torch_dtype(part)], part.shape, torch_bytes(part))))
        return found
    if kind in BITS:
        return [(name, entry(BITS[kind], t.shape, torch_bytes(t)))]
    if kind not in TORCH_DTYPES or t.device.type == "meta" or getattr(t, "is_sparse", False):
        return None
    shape = list(t.shape)
    if kind in ("complex128", "complex32"):
        shape.append(2)
    if kind == "float4_e2m1fn_x2":
        shape[-1] *= 2
    return [(name, entry(TORCH_DTYPES[kind], shape, torch_bytes(t)))]


def numpy_entries(name, a):
    """The same for a numpy array; None for strings, objects, structures and unknown floats."""
    if a.dtype.kind in "Mm":
        a = a.view(a.dtype.newbyteorder("=").str[0] + "i8")  # the counts
    kind = a.dtype.name
    if kind not in NUMPY_DTYPES or a.dtype.fields:
        return None
    shape = list(a.shape) + ([2] if kind == "complex128" else [])
    little = np.ascontiguousarray(a)
    if little.dtype.byteorder == ">":
        little = little.byteswap()
    return [(name, entry(NUMPY_DTYPES[kind], shape, little.tobytes()))]


# -- names --------------------------------------------------------------------------------------

def key_text(key):
    """A dict key as a piece of a name."""
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if isinstance(key, tuple):
        return ".".join(key_text(item) for item in key)
    if isinstance(key, float):
        return "%r" % key
    return "%s" % (key,)


def join(path, piece):
    return piece if path == "" else path + "." + piece


class Walk(object):
    """Walks a loaded object and collects `tensors` {name: entry} and `left_out` [name]."""

    def __init__(self, obj):
        self.tensors, self.left_out, self.open = {}, set(), []
        self.visit(obj, "", True)

    def leaf(self, name, found, wanted):
        name = name or "tensor"
        if found is None or not wanted:
            self.left_out.add(name)
            return
        for n, e in found:
            n = n or "tensor"
            assert n not in self.tensors, n
            self.tensors[n] = e

    def visit(self, obj, path, wanted):
        if torch is not None and isinstance(obj, torch.Tensor):
            return self.leaf(path, torch_entries(path or "tensor", obj), wanted)
        if isinstance(obj, np.ndarray):
            if obj.dtype.fields:
                for name in obj.dtype.names:
                    self.visit(obj[name], join(path, name), wanted)
                return None
            return self.leaf(path, numpy_entries(path or "tensor", obj), wanted)
        if isinstance(obj, (dict, list, tuple)) or hasattr(obj, "__dict__"):
            if any(obj is other for other in self.open):
                return None  # a cycle: the back edge has no names of its own
            self.open.append(obj)
            self.children(obj, path, wanted)
            self.open.pop()
        return None

    def children(self, obj, path, wanted):
        if isinstance(obj, dict):
            for key in obj:
                self.visit(obj[key], join(path, key_text(key)), wanted)
        elif isinstance(obj, (list, tuple)):
            for i, item in enumerate(obj):
                self.visit(item, join(path, "%d" % i), wanted)
        elif torch is not None and isinstance(obj, torch.nn.Module):
            self.module(obj, path, wanted)
        elif isinstance(obj, type) or type(obj).__module__.split(".")[0] in ("torch", "numpy", "omegaconf", "typing"):
            pass
        else:
            for key in vars(obj):
                self.visit(vars(obj)[key], join(path, key), wanted)

    def module(self, module, path, wanted):
        kept = set()
        for name, value in module.state_dict().items():
            if isinstance(value, torch.Tensor):
                kept.add(name)
                self.visit(value, join(path, name), wanted)
        self.module_rest(module, path, "", kept)

    def module_rest(self, module, path, prefix, kept):
        """Tensors of a module that its state_dict() does not give."""
        for name, value in module._buffers.items():
            if value is not None and prefix + name not in kept:
                self.left_out.add(join(path, prefix + name))
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                self.visit(value, join(path, prefix + name), False)
        for name, child in module._modules.items():
            if child is not None:
                self.module_rest(child, path, prefix + name + ".", kept)


def describe(obj):
    walk = Walk(obj)
    return walk.tensors, sorted(walk.left_out)


# -- files --------------------------------------------------------------------------------------

def made_by():
    library = "numpy " + np.__version__ if torch is None else "torch " + torch_version()
    return "%s, Python %s" % (library, ".".join(platform.python_version_tuple()[:2]))


def torch_version():
    return torch.__version__.split("+")[0].replace(".post2", "")


def torch_load(path):
    """Our own files only: this executes what the pickle says."""
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except TypeError:
        return torch.load(path, map_location="cpu")


def write_json(path, record):
    text = json.dumps(record, indent=2, sort_keys=True, separators=(",", ": "), ensure_ascii=True)
    text = re.sub(r"\[\s+([\d\s,]+?)\s+\]", lambda m: "[%s]" % re.sub(r"\s+", " ", m.group(1)), text)  # shapes: one line
    with io.open(path + ".expect.json", "w", encoding="utf-8", newline="\n") as f:
        f.write("%s\n" % text)


def write_expect(path, loaded, original=None, args=None, by=None, **more):
    """Writes PATH.expect.json for what was loaded back, after a comparison with what was saved."""
    tensors, left_out = describe(loaded)
    if original is not None:
        assert (tensors, left_out) == describe(original), "%s does not load back as it was saved" % path
    record = {"made_by": by or made_by(), "args": ARGS if args is None else args, "tensors": tensors}
    if left_out:
        record["left_out"] = left_out
    record.update(more)
    write_json(path, record)
    print("%7d  %3d tensors  %s" % (os.path.getsize(path), len(tensors), path))


def folder(*parts):
    path = os.path.join(*parts)
    if not os.path.isdir(path):
        os.makedirs(path)
    return path


# -- values -------------------------------------------------------------------------------------

def awkward(bits):
    """Float bit patterns that a careless copy loses: NaN with payload, infinities, -0.0, denormals."""
    return {
        16: np.array([0x7E55, 0xFE01, 0x7C00, 0xFC00, 0x8000, 0x0001, 0x83FF, 0x3C00], "<u2"),
        32: np.array([0x7FC12345, 0xFFC00001, 0x7F800000, 0xFF800000, 0x80000000, 0x00000001, 0x807FFFFF,
                      0x3F800000], "<u4"),
        64: np.array([0x7FF8123456789ABC, 0xFFF8000000000001, 0x7FF0000000000000, 0xFFF0000000000000,
                      0x8000000000000000, 0x1, 0x800FFFFFFFFFFFFF, 0x3FF0000000000000], "<u8"),
    }[bits]


def numbers(kind, shape, seed=0):
    """A small deterministic numpy array of that dtype name; its first floats are awkward ones."""
    rng = np.random.RandomState(1000 + seed)
    count = int(np.prod(shape)) if shape else 1
    dtype = np.dtype(str(kind))
    if dtype.kind == "b":
        flat = rng.randint(0, 2, count).astype(bool)
    elif dtype.kind in "iu":
        flat = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()
    elif dtype.kind == "f":
        flat = rng.standard_normal(count).astype(dtype)
        special = awkward(dtype.itemsize * 8).view("<f%d" % dtype.itemsize)[:count]
        flat[:len(special)] = special
    else:  # complex
        part = np.dtype("f%d" % (dtype.itemsize // 2)).newbyteorder(dtype.byteorder)
        flat = numbers(part.str, (count * 2,), seed).view(dtype)
    return flat.reshape(shape)
