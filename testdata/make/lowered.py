# -*- coding: utf-8 -*-
"""Expectations for tensors that safetensors cannot hold as they are: sparse, quantized, nested, subclasses, records.

Used by make_lowered.py, make_subclass.py, make_numpy_kinds.py and the scripts of frameworks/ and training/.
Adds to expect.py: the parts under which such a tensor is written, and the field

    "lowered": {NAME: {"kind": ..., "dtype": ..., "shape": [...], "axis": ..., "unit": ...}}

with what the logical tensor is. Runs on Python 2.7 and 3.6+, with torch 1.0+ or without torch.
All bytes come from the library that made the file. Nothing in here knows depickle.
"""
from __future__ import print_function, unicode_literals

import io
import json
import os
from numbers import Number

import numpy as np

import expect
from expect import TORCH_DTYPES, entry, join, torch, torch_bytes, torch_dtype

PACKED = {"quint4x2": 2, "quint2x4": 4}  # elements a byte
SPARSE_PARTS = {
    "sparse_csr": ("crow_indices", "col_indices"), "sparse_bsr": ("crow_indices", "col_indices"),
    "sparse_csc": ("ccol_indices", "row_indices"), "sparse_bsc": ("ccol_indices", "row_indices"),
}


def distinct(kind, shape, seed=0):
    """A numpy array of that dtype name, other values for each seed (expect.numbers begins with the same eight floats)."""
    dtype = np.dtype(str(kind))
    if dtype.kind not in "fc":
        return expect.numbers(kind, shape, seed)
    rng = np.random.RandomState(5000 + seed)
    count = int(np.prod(shape)) if shape else 1
    flat = rng.standard_normal(count * (2 if dtype.kind == "c" else 1))
    if dtype.kind == "c":
        flat = flat.view("<c16")
    return flat.astype(dtype).reshape(shape)


def tensor(kind, shape, seed=0):
    """The same as a torch tensor."""
    if kind == "bfloat16":
        return torch.from_numpy(distinct("float32", shape, seed)).to(torch.bfloat16)
    return torch.from_numpy(distinct(kind, shape, seed))


def layout(t):
    return str(getattr(t, "layout", "torch.strided")).replace("torch.", "")


def is_nested(t):
    return bool(getattr(t, "is_nested", False))


def python_state(t):
    """The attributes that a tensor is pickled with."""
    state = dict(getattr(t, "__dict__", {}))
    return state


def is_wrapper(t):
    """A subclass that has no data of its own: torch pickles it by _rebuild_wrapper_subclass."""
    if type(t) in (torch.Tensor, torch.nn.Parameter) or not hasattr(torch.Tensor, "__torch_dispatch__"):
        return False
    if type(t).__torch_dispatch__ is torch.Tensor.__torch_dispatch__:
        return False
    try:
        return t.data_ptr() == 0
    except RuntimeError:
        return True


class Walk(expect.Walk):
    """expect.Walk with the parts of tensors that are lowered."""

    def __init__(self, obj):
        self.lowered, self.written, self.aside = {}, set(), []
        super(Walk, self).__init__(obj)
        # A tensor that is written is not left out for being an attribute elsewhere too.
        self.left_out |= set(name for name, t in self.aside if id(t) not in self.written)

    def note(self, name, wanted, kind, dtype=None, shape=None, **more):
        if not wanted:
            return
        record = {"kind": kind}
        if dtype is not None:
            record["dtype"] = dtype
        if shape is not None:
            record["shape"] = [int(n) for n in shape]
        record.update(more)
        self.lowered[name] = record

    def visit(self, obj, path, wanted):
        if torch is not None and isinstance(obj, torch.Tensor):
            return self.tensor(obj, path or "tensor", wanted)
        if isinstance(obj, np.ndarray):
            return self.array(obj, path or "tensor", path, wanted)
        return super(Walk, self).visit(obj, path, wanted)

    # -- torch ----------------------------------------------------------------------------------

    def tensor(self, t, name, wanted):
        if not wanted:
            self.aside.append((name, t))
            return
        self.written.add(id(t))
        kind = layout(t)
        if is_nested(t):
            return self.nested(t, name, wanted)
        if is_wrapper(t):
            return self.wrapper(t, name, wanted)
        self.attributes(t, name, wanted)
        if kind == "sparse_coo":
            self.note(name, wanted, "sparse_coo", torch_dtype(t), t.shape)
            return self.parts(name, wanted, [("indices", t._indices()), ("values", t._values())])
        if kind in SPARSE_PARTS:
            self.note(name, wanted, kind, torch_dtype(t), t.shape)
            names = SPARSE_PARTS[kind] + ("values",)
            return self.parts(name, wanted, [(part, getattr(t, part)()) for part in names])
        if getattr(t, "is_quantized", False):
            return self.quantized(t, name, wanted)
        return self.leaf(name, expect.torch_entries(name, t), wanted)

    def attributes(self, t, name, wanted):
        """Tensors in attributes of a tensor that has its own data are not written, but for those of a subclass and of bitsandbytes."""
        state = python_state(t)
        if not isinstance(t, torch.nn.Parameter) and type(t) is not torch.Tensor:
            for key, value in state.items():
                self.visit(value, join(name, key), wanted)
            return
        quantized = type(state.get("quant_state")).__name__ == "QuantState" or "SCB" in state
        for key, value in state.items():
            if key not in ("module", "data"):
                self.visit(value, join(name, key), wanted and quantized and key in ("quant_state", "CB", "SCB"))

    def parts(self, name, wanted, parts):
        for part, value in parts:
            if value is not None:
                self.visit(value, join(name, part), wanted)

    def quantized(self, t, name, wanted):
        kind = torch_dtype(t)
        per_tensor = t.qscheme() == torch.per_tensor_affine
        more = {} if per_tensor else {"axis": int(t.q_per_channel_axis())}
        self.note(name, wanted, "quantized", kind, t.shape, **more)
        if kind not in PACKED:
            return self.leaf(name, expect.torch_entries(name, t), wanted)
        # The bytes as they are stored. torch packs without regard to rows: number i of the tensor, in row-major order,
        # is in byte i // PACKED, low bits first. So a last dimension that does not fill its bytes leaves no rows to tell.
        data = torch_bytes(t.int_repr())
        shape = list(t.shape)
        if shape[-1] % PACKED[kind]:
            shape = [-(-t.numel() // PACKED[kind])]
        else:
            shape[-1] //= PACKED[kind]
        assert len(data) == int(np.prod(shape)), (len(data), shape)
        found = [(name, entry("U8", shape, data))]
        if per_tensor:
            found.append((name + ".scale", entry("F64", [], np.float64(t.q_scale()).tobytes())))
            found.append((name + ".zero_point", entry("I64", [], np.int64(t.q_zero_point()).tobytes())))
        else:
            for suffix, part in ((".scale", t.q_per_channel_scales()), (".zero_point", t.q_per_channel_zero_points())):
                found.append((name + suffix, entry(TORCH_DTYPES[torch_dtype(part)], part.shape, torch_bytes(part))))
        self.leaf(name, found, wanted)

    def nested(self, t, name, wanted):
        if layout(t) == "strided":
            self.note(name, wanted, "nested", torch_dtype(t))
            self.parts(name, wanted, [
                ("values", t.values()), ("sizes", t._nested_tensor_size()),
                ("strides", t._nested_tensor_strides()), ("offsets", t._nested_tensor_storage_offsets())])
        else:
            self.note(name, wanted, "jagged", torch_dtype(t))
            self.parts(name, wanted, [("values", t._values), ("offsets", t._offsets), ("lengths", t._lengths)])

    def wrapper(self, t, name, wanted):
        self.note(name, wanted, "subclass", torch_dtype(t), t.shape)
        for key, value in self.wrapper_state(t).items():
            self.visit(value, join(name, key), wanted)

    def wrapper_state(self, t):
        return python_state(t)

    def module(self, module, path, wanted):
        """The names of state_dict(), from the parts that are pickled: state_dict() makes more of some modules."""
        for name, value in module._parameters.items():
            self.visit(value, join(path, name), wanted)
        unsaved = getattr(module, "_non_persistent_buffers_set", ())
        for name, value in module._buffers.items():
            self.visit(value, join(path, name), wanted and name not in unsaved)
        for name, value in vars(module).items():
            if name == "_packed_params":  # quantized modules: state_dict() has the tuple (weight, bias) under this name
                packed = value if isinstance(value, torch.nn.Module) else value.__getstate__()[0]
                self.visit(packed, join(path, name), wanted)
            elif name not in ("_parameters", "_buffers", "_modules"):
                self.visit(value, join(path, name), False)
        for name, child in module._modules.items():
            self.visit(child, join(path, name), wanted)

    # -- numpy ----------------------------------------------------------------------------------

    def array(self, a, name, path, wanted):
        if isinstance(a, np.ma.MaskedArray):
            self.note(name, wanted, "masked", shape=a.shape)
            mask = np.ma.getmaskarray(a)
            if mask.dtype.fields:
                self.fields(np.asarray(a.data), name, wanted)
                return self.fields(mask, name + ".mask", wanted)
            self.array(np.asarray(a.data), name, path, wanted)
            return self.leaf(name + ".mask", expect.numpy_entries(name + ".mask", mask), wanted)
        if a.dtype.fields:
            if a.dtype.hasobject:  # its rows are pickled as tuples of objects
                return self.left_out.add(name)
            self.note(name, wanted, "structured", shape=a.shape)
            self.fields(a, name, wanted)
            if not any(tensor.startswith(name + ".") for tensor in self.tensors):
                self.lowered.pop(name, None)  # nothing is written of it
            return None
        if a.dtype.kind in "mM":
            kind = "datetime64" if a.dtype.kind == "M" else "timedelta64"
            self.note(name, wanted, kind, shape=a.shape, unit=unit(a.dtype))
            counts = np.ascontiguousarray(a.view(np.ndarray).astype(a.dtype.newbyteorder("="))).view("<i8").reshape(a.shape)
            return self.leaf(name, expect.numpy_entries(name, counts), wanted)
        if a.dtype == object:
            if a.ndim == 0:
                return self.visit(a[()], path, wanted)
            for i, item in enumerate(a.ravel()):  # C order, as the pickle has it
                self.visit(item, join(path, "%d" % i), wanted)
            return None
        if a.dtype.hasobject:
            return self.left_out.add(name)
        self.leaf(name, expect.numpy_entries(name, np.asarray(a)), wanted)

    def fields(self, a, name, wanted):
        for field in a.dtype.names:
            self.field(a[field], name + "." + field, wanted)

    def field(self, a, name, wanted):
        a = np.asarray(a)
        if a.dtype.fields:
            return self.fields(a, name, wanted)
        if a.dtype.kind in "mM":
            a = a.astype(a.dtype.newbyteorder("=")).astype("<i8")
        self.leaf(name, expect.numpy_entries(name, a), wanted)


class ReduceWalk(Walk):
    """Names as the pickle gives them: what each object reduces to, for libraries other than torch."""

    plain = (type(None), Number, bytes, str, type(""), type, type(len), type(distinct))

    def visit(self, obj, path, wanted):
        if isinstance(obj, self.plain) or isinstance(obj, (np.generic, np.dtype)):
            return None
        if isinstance(obj, (dict, list, tuple, np.ndarray)) or torch is not None and isinstance(obj, (torch.Tensor, torch.nn.Module)):
            return super(ReduceWalk, self).visit(obj, path, wanted)
        if any(obj is other for other in self.open):
            return None
        self.open.append(obj)
        self.reduced(obj, path, wanted)
        self.open.pop()

    def reduced(self, obj, path, wanted):
        try:
            call = obj.__reduce_ex__(2)
        except TypeError:
            return
        if isinstance(call, (str, type(""))):
            return
        function, args, state = call[0], call[1], call[2] if len(call) > 2 else None
        if function.__name__ in ("__newobj__", "_reconstructor"):
            args = args[1:] if function.__name__ == "__newobj__" else ()
        for i, arg in enumerate(args):
            self.visit(arg, join(path, "__args__.%d" % i), wanted)
        if isinstance(state, tuple) and len(state) == 2 and all(part is None or isinstance(part, dict) for part in state):
            parts = [part for part in state if part]
        else:
            parts = [state]
        for part in parts:
            if isinstance(part, dict):
                self.visit(part, path, wanted)
            elif part is not None:
                self.visit(part, join(path, "__state__"), wanted)
        for i, item in enumerate(call[3] or () if len(call) > 3 else ()):
            self.visit(item, join(path, "%d" % i), wanted)
        for key, value in call[4] or () if len(call) > 4 else ():
            self.visit(value, join(path, expect.key_text(key)), wanted)


def unit(dtype):
    """`D`, `10us`, `generic`, from numpy's own description of the dtype."""
    name, count = np.datetime_data(dtype)[:2]
    return name if count == 1 else "%d%s" % (count, name)


def describe(obj, walk=Walk):
    found = walk(obj)
    return found.tensors, sorted(found.left_out), found.lowered


def write_json(path, record):
    """As expect.write_json, with one line for a tensor."""
    def flat(value):
        return json.dumps(value, sort_keys=True, ensure_ascii=True)

    def lines(table):
        return "{%s\n  }" % ",".join("\n    %s: %s" % (flat(key), flat(table[key])) for key in sorted(table))

    fields = ["\n  %s: %s" % (flat(key), lines(value) if isinstance(value, dict) and value else flat(value))
              for key, value in sorted(record.items())]
    with io.open(path + ".expect.json", "w", encoding="utf-8", newline="\n") as f:
        f.write("{%s\n}\n" % ",".join(fields))


def write_expect(path, loaded, original=None, args=None, by=None, walk=Walk, **more):
    """expect.write_expect, with `lowered`."""
    tensors, left_out, lowered = describe(loaded, walk)
    if original is not None:
        again = describe(original, walk)
        assert (tensors, left_out, lowered) == again, "%s does not load back as it was saved" % path
    record = {"made_by": by or expect.made_by(), "args": expect.ARGS if args is None else args, "tensors": tensors}
    if left_out:
        record["left_out"] = left_out
    if lowered:
        record["lowered"] = lowered
    record.update(more)
    write_json(path, record)
    print("%7d  %3d tensors  %s" % (os.path.getsize(path), len(tensors), path))
