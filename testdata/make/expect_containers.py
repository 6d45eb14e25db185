# -*- coding: utf-8 -*-
"""expect.py with the rules for what npy, npz and joblib files hold besides plain arrays.

A structured array gives one tensor for each field (NAME.field, nested NAME.a.b; a subarray field adds its
dimensions), dates and time spans are I64, an object array is walked by the flat index of its items and a
0-d one is transparent, a masked array is NAME and NAME.mask.
"""
from __future__ import print_function, unicode_literals

import io
import json
import os

import numpy as np

import expect


def plain_bytes(a):
    """Row-major little-endian bytes of an array of one simple dtype."""
    a = np.ascontiguousarray(a)
    if a.dtype.byteorder == ">":
        a = a.byteswap()
    return a.tobytes()


class Walk(expect.Walk):
    def visit(self, obj, path, wanted):
        if isinstance(obj, np.ma.MaskedArray):
            self.array(np.asarray(obj.data), path, wanted)
            return self.array(np.ma.getmaskarray(obj), expect.join(path, "mask"), wanted)
        if isinstance(obj, np.ndarray):
            return self.array(np.asarray(obj), path, wanted)
        return expect.Walk.visit(self, obj, path, wanted)

    def array(self, a, path, wanted):
        if a.dtype.names:
            for field in a.dtype.names:
                self.array(a[field], expect.join(path, expect.key_text(field)), wanted)
        elif a.dtype.kind in "mM":
            self.leaf(path, [(path, expect.entry("I64", a.shape, plain_bytes(a)))], wanted)
        elif a.dtype.kind == "O":
            self.objects(a, path, wanted)
        else:
            self.leaf(path, expect.numpy_entries(path or "tensor", a), wanted)

    def objects(self, a, path, wanted):
        if any(a is other for other in self.open):
            return
        before = len(self.tensors), len(self.left_out)
        self.open.append(a)
        if a.shape == ():
            self.visit(a.item(), path, wanted)
        else:
            for i, item in enumerate(a.ravel()):
                self.visit(item, expect.join(path, "%d" % i), wanted)
        self.open.pop()
        if (len(self.tensors), len(self.left_out)) == before:
            self.left_out.add(path or "tensor")  # an array of objects without a tensor in it


def describe(obj):
    walk = Walk(obj)
    return walk.tensors, sorted(walk.left_out)


def write_json(path, record):
    """expect.write_json with one line for each tensor."""
    lines = []
    for key in sorted(record):
        value = record[key]
        if key == "tensors":
            tensors = ["    %s: %s" % (text(name), text(value[name])) for name in sorted(value)]
            lines.append('  "tensors": {\n%s\n  }' % ",\n".join(tensors) if tensors else '  "tensors": {}')
        else:
            lines.append("  %s: %s" % (text(key), text(value)))
    with io.open(path + ".expect.json", "w", encoding="utf-8", newline="\n") as f:
        f.write("{\n%s\n}\n" % ",\n".join(lines))


def text(value):
    return json.dumps(value, sort_keys=True, separators=(", ", ": "), ensure_ascii=True)


def record(path, tensors, left_out=(), args=None, by=None, **more):
    """Writes PATH.expect.json for tensors that were described already."""
    found = {"made_by": by or expect.made_by(), "args": expect.ARGS if args is None else list(args), "tensors": tensors}
    if left_out:
        found["left_out"] = sorted(left_out)
    found.update(more)
    write_json(path, found)
    print("%7d  %3d tensors  %s" % (os.path.getsize(path), len(tensors), path))


def write_expect(path, loaded, original=None, args=None, by=None, **more):
    """Writes PATH.expect.json for what was loaded back, after a comparison with what was saved."""
    tensors, left_out = describe(loaded)
    if original is not None:
        assert (tensors, left_out) == describe(original), "%s does not load back as it was saved" % path
    if not tensors:
        return write_error(path, "no-tensors", expect.ARGS, by=by)
    record(path, tensors, left_out, args, by, **more)


def write_error(path, code, args=(), exit_code=1, by=None, **more):
    """Writes PATH.expect.json for a file that has to be refused."""
    found = {"made_by": by or expect.made_by(), "args": list(args), "error": code, "exit": exit_code}
    found.update(more)
    write_json(path, found)
    print("%7d  %-22s %s" % (os.path.getsize(path), code, path))
