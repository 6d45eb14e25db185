# -*- coding: utf-8 -*-
"""Files of joblib.dump, as the installed joblib, numpy and Python write them.

    python make_joblib.py OUTDIR [full]

Runs on Python 2.7 and 3.6+. Writes OUTDIR/joblib/joblib-VERSION-pyX.Y; without "full" only the small files.
With joblib 1.6 also OUTDIR/joblib/by-hand.
"""
from __future__ import print_function, unicode_literals

import io
import os
import pickle
import platform
import shutil
import sys
import tempfile
import zlib
from collections import OrderedDict

import joblib
import numpy as np

import expect
import expect_containers as containers
from expect import numbers

PY2 = sys.version_info[0] == 2
JOBLIB = tuple(int(n) for n in joblib.__version__.split(".")[:2])
BY = "joblib %s, numpy %s, Python %s" % (joblib.__version__, np.__version__, ".".join(platform.python_version_tuple()[:2]))
NAME = "joblib-%s-py%s" % (joblib.__version__, ".".join(platform.python_version_tuple()[:2]))
WHERE = ""


class Estimator(object):
    """What a pickled scikit-learn model looks like."""

    def __init__(self, seed):
        self.coef_ = numbers("f8", (2, 3), seed)
        self.classes_ = numbers("i8", (2,), seed + 1)
        self.steps = [("scale", {"mean": numbers("f4", (3,), seed + 2)}), ("none", None)]
        self.name = "estimator"


def native(fields):
    return np.dtype([(str(name), str(kind)) for name, kind in fields])


def small():
    return OrderedDict([("w", numbers("f4", (2, 3), 1)), ("t", numbers("f4", (2, 3), 1).T), ("n", [numbers("i8", (2,), 2), "text"])])


def full(scratch, objects=True):
    base = numbers("f4", (3, 4), 10)
    cube = numbers("i2", (2, 3, 2), 11)
    shared = numbers("f8", (3,), 12)
    records = np.zeros(3, native([("x", "<f4"), ("n", "<i2")]))
    records["x"], records["n"] = numbers("f4", (3,), 13), numbers("i2", (3,), 14)
    mapped = np.memmap(os.path.join(scratch, "mapped"), "<u2", "w+", shape=(2, 2))
    mapped[:] = numbers("<u2", (2, 2), 15)
    found = OrderedDict([
        ("c", base), ("fortran", np.asfortranarray(base)), ("transposed", base.T), ("strided", base[::2, ::3]),
        ("axes_102", cube.transpose(1, 0, 2)), ("reversed", base[::-1, 0]),
        ("zero_d", np.array(2.5)), ("empty", np.zeros(0, "f4")), ("empty_shape", np.zeros((2, 0), "u1")),
        ("big_endian", numbers(">f4", (2, 2), 16)), ("complex", numbers("<c16", (2,), 17)), ("half", numbers("f2", (3,), 18)),
        ("flags", numbers("bool", (5,), 19)), ("bytes", numbers("u1", (7,), 20)), ("matrix", np.matrix(base[:2, :2])), ("mapped", mapped),
        ("records", records), ("dates", np.array(["2020-01-01", "NaT"], "M8[D]")), ("text", np.array(["ab", "c"])),
        ("once", shared), ("twice", shared), ("model", Estimator(21)),
        ("nested", [(numbers("u1", (1,), 25), {"a": [numbers("u1", (2,), 26)]}), Estimator(30)]),
        ("scalar", np.float32(1.5)), ("number", 3),
    ])
    if objects:
        several = np.empty(3, object)
        several[:] = [numbers("f4", (2,), 40), None, {"k": numbers("i4", (2,), 41)}]
        found["objects"] = several
        found["after_objects"] = numbers("i4", (2,), 42)
    return found


def dump(name, obj, compare=True, **options):
    path = str("%s/%s" % (WHERE, name))
    files = joblib.dump(obj, path, **options)
    if compare:
        loaded = joblib.load(path)
        if isinstance(obj, dict) and "matrix" in obj and loaded["matrix"].size == 0:
            loaded["matrix"] = obj["matrix"]  # joblib < 0.10 loses a matrix when it reads it back, the file is whole
        assert containers.describe(loaded) == containers.describe(obj), path
    containers.write_expect(path, obj, by=BY)
    return files


def by_version(wants_full):
    global WHERE
    WHERE = expect.folder(OUT, "joblib", NAME)
    scratch = tempfile.mkdtemp()
    if wants_full:
        dump("full.joblib", full(scratch))
    dump("small.joblib", small())
    dump("array.pkl", np.asfortranarray(numbers("f4", (2, 3), 3)))
    if wants_full:
        dump("list.pkl", [numbers("f4", (2,), 4), numbers("i8", (2, 2), 5)])
    dump("compressed.joblib", small(), compress=True)
    if JOBLIB < (0, 10):
        dump("compressed_9.joblib", small(), compress=9)
        dump("companions_compressed.joblib", small(), compress=3, cache_size=0)
        if wants_full:
            plain = full(scratch, objects=False)  # joblib < 0.10 compresses the str() of an object array
            if JOBLIB >= (0, 9):
                plain["objects"] = full(scratch)["objects"]
            dump("full_companions_compressed.joblib", plain, compress=1, cache_size=0)
    else:
        methods = ["zlib", "gzip", "bz2"] + ([] if PY2 else ["lzma", "xz"])
        for method in methods:
            dump("small.%s.joblib" % method, small(), compress=(str(method), 3))
        try:
            import lz4.frame  # noqa: F401
            if JOBLIB >= (0, 12):
                dump("small.lz4.joblib", small(), compress=(str("lz4"), 3))
        except ImportError:
            pass
        if JOBLIB >= (1, 6):
            dump("full.joblib.gz", full(scratch))
        if wants_full:
            dump("array.pkl.z", numbers("f4", (2, 3), 6), compress=3)
        if wants_full and not PY2:
            dump("protocol2.joblib", small(), protocol=2)
    shutil.rmtree(scratch)


# -- by hand ----------------------------------------------------------------------------------------

class Call(object):
    """Pickles as MODULE.NAME() by NEWOBJ with a state."""

    def __init__(self, module, name, state):
        self.module, self.name, self.state = module, name, state


class Pickler(pickle._Pickler if not PY2 else object):
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Call):
            self.write(b"c" + obj.module.encode() + b"\n" + obj.name.encode() + b"\n)\x81")
            self.memoize(obj)
            self.save(obj.state)
            self.write(pickle.BUILD)
        else:
            super().save(obj)


def stream(obj):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(obj)
    return buffer.getvalue()


def by_hand():
    """Companions where they should not be, and damaged files."""
    global WHERE
    by = "make_joblib.py, " + BY
    WHERE = expect.folder(OUT, "joblib", "by-hand")
    inner = expect.folder(WHERE, "inner")
    a = numbers("f4", (2, 3), 50)
    np.save(WHERE + "/outside.npy", a)
    np.save(inner + "/beside.npy", a)
    os.makedirs(inner + "/deeper", exist_ok=True)
    np.save(inner + "/deeper/below.npy", a)
    with open(inner + "/malformed.npy", "wb") as f:
        f.write(b"\x93NUMPY\x01\x00\x10\x00{'descr': 'oops'")

    def companion(name, filename, code=None, module="joblib.numpy_pickle", **more):
        state = dict({"filename": filename, "subclass": np.ndarray, "allow_mmap": True}, **more)
        path = "%s/%s.pkl" % (inner, name)
        with open(path, "wb") as f:
            f.write(stream({"w": Call(module, "NDArrayWrapper", state), "b": a.T}))
        if code:
            containers.write_error(path, code, by=by)
        else:
            containers.write_expect(path, {"w": a, "b": a.T}, by=by)

    companion("beside", "beside.npy")
    companion("beside_compat", "beside.npy", module="joblib.numpy_pickle_compat")
    companion("beside_vendored", "beside.npy", module="sklearn.externals.joblib.numpy_pickle")
    companion("parent", "../outside.npy", "missing-entry")
    companion("absolute", "/etc/hostname", "missing-entry")
    companion("below", "deeper/below.npy", "missing-entry")  # joblib writes base names only
    companion("dot", ".", "missing-entry")
    companion("no_name", "", "missing-entry")
    companion("itself", "itself.pkl", "npy-malformed")
    companion("missing", "missing.pkl_01.npy", "missing-entry")
    companion("malformed", "malformed.npy", "npy-malformed")
    path = inner + "/array_and_companion_os_system.pkl"
    with open(path, "wb") as f:
        f.write(stream({"w": Call("joblib.numpy_pickle", "NDArrayWrapper", {"filename": "beside.npy", "subclass": np.ndarray, "allow_mmap": True}),
                        "x": 1})[:-1] + b"0cos\nsystem\nX\x0d\x00\x00\x00echo depickle\x85R.")
    containers.write_error(path, "denied", exit_code=3, by=by)

    def interleaved(name, code, data, module="joblib.numpy_pickle", **state):
        """A pickle up to an array's wrapper, and whatever follows."""
        whole = {"subclass": np.ndarray, "shape": (2, 3), "order": "C", "dtype": np.dtype("f4"), "allow_mmap": True}
        whole.update(state)
        body = stream(Call(module, "NumpyArrayWrapper", whole))
        path = "%s/%s.joblib" % (WHERE, name)
        with open(path, "wb") as f:
            f.write(body[:-1] + data)
        if code is None:
            loaded = a if module.startswith("sklearn") else joblib.load(path)
            assert loaded.tobytes() == a.tobytes(), path
            containers.write_expect(path, loaded, by=by)
        else:
            containers.write_error(path, code, by=by)

    data = a.tobytes()
    interleaved("unaligned", None, data + b".")
    interleaved("vendored", None, data + b".", module="sklearn.externals.joblib.numpy_pickle")  # scikit-learn 0.18 to 0.20
    interleaved("padding_16", None, b"\x10" + b"\xff" * 16 + data + b".", numpy_array_alignment_bytes=16)
    interleaved("padding_0", None, b"\x00" + data + b".", numpy_array_alignment_bytes=16)
    interleaved("array_cut", "truncated", data[:-5])
    interleaved("array_huge", "truncated", data + b".", shape=(1000000000000, 1000))
    interleaved("padding_cut", "truncated", b"\xc8" + data + b".", numpy_array_alignment_bytes=16)
    interleaved("no_stop", "truncated", data)
    # A shape that Python cannot allocate either way
    interleaved("shape_negative", "tensor-invalid", data + b".", shape=(-2, -3))
    good = stream(small())
    for name, head, body, code in (
        ("zfile", hex(len(good)).ljust(19).encode(), zlib.compress(good), None),
        ("zfile_space", hex(len(good)).ljust(20).encode(), zlib.compress(good), None),
        ("zfile_cut", hex(len(good)).ljust(19).encode(), zlib.compress(good)[:-20], "truncated"),
    ):
        path = "%s/%s.joblib" % (WHERE, name)
        with open(path, "wb") as f:
            f.write(b"ZF" + head + body)
        if code:
            containers.write_error(path, code, by=by)
        else:
            loaded = joblib.load(path)
            containers.write_expect(path, loaded, small(), by=by)


def main(out, *options):
    global OUT
    OUT = out
    expect.torch = None
    by_version("full" in options)
    if JOBLIB >= (1, 6):
        by_hand()


if __name__ == "__main__":
    main(*sys.argv[1:])
