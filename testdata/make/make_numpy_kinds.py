# -*- coding: utf-8 -*-
"""Pickles of the less usual kinds of numpy arrays: records, dates, masked arrays, arrays of objects, random states.

    python make_numpy_kinds.py OUTDIR

Runs on Python 2.7 and 3.6+. Writes OUTDIR/numpy-kinds/numpy-VERSION-pyX: NAME_pN.pkl in protocol N, with scipy also
scipy_*.pkl, with torch also NAME.pt (torch.save) instead.
"""
from __future__ import print_function, unicode_literals

import io
import pickle
import platform
import sys
import tempfile
from collections import OrderedDict

import numpy as np

try:
    import scipy.sparse
except ImportError:
    scipy = None

import expect
import lowered
from expect import torch
from lowered import distinct

PY2 = sys.version_info[0] == 2
NUMPY = tuple(int(n) for n in np.__version__.split(".")[:2])


def fields(*pairs):
    """A list of fields; Python 2 wants their names as str."""
    def text(part):
        if isinstance(part, tuple) and isinstance(part[0], type("")):
            return tuple(str(p) for p in part)
        return str(part)
    return [(text(pair[0]), fields(*pair[1]) if isinstance(pair[1], list) else str(pair[1])) + tuple(pair[2:]) for pair in pairs]


def filled(dtype, shape, seed):
    """An array of records from random bytes, floats without surprises."""
    a = np.zeros(shape, dtype)
    fill(a, seed)
    return a


def fill(a, seed):
    if a.dtype.fields:
        for i, name in enumerate(a.dtype.names):
            fill(a[name], seed + 7 * i + 1)
    elif a.dtype.kind in "fc":
        a[...] = distinct(a.dtype.str, a.shape, seed)
    elif a.dtype.kind in "iub":
        a[...] = np.arange(a.size).reshape(a.shape) * (seed % 5 + 1) % 120
    elif a.dtype.kind in "SU":
        a[...] = "t%d" % seed


def structured():
    simple = np.dtype(fields(("n", "<i4"), ("x", "<f8")))
    nested = np.dtype(fields(("id", "<u2"), ("pos", [("x", "<f4"), ("y", "<f4"), ("deep", [("flag", "?"), ("z", "<c8")])])))
    subarray = np.dtype(fields(("m", "<f4", (2, 3)), ("v", [("a", "<i2"), ("b", "<f4", (2,))], (2,)), ("s", "<i8")))
    union = np.dtype({str("names"): [str("whole"), str("low"), str("high")], str("formats"): [str("<u4"), str("<u2"), str("<u2")],
                      str("offsets"): [0, 0, 2], str("itemsize"): 6})
    found = OrderedDict([
        ("simple", filled(simple, (3,), 1)),
        ("nested", filled(nested, (2, 2), 2)),
        ("subarray", filled(subarray, (3,), 3)),
        ("titles", filled(np.dtype(fields((("The count", "n"), "<i4"), (("Position", "p"), "<f4"))), (3,), 4)),
        ("aligned", filled(np.dtype(fields(("flag", "i1"), ("x", "<f8"), ("n", "<i2")), align=True), (3,), 5)),
        ("packed", filled(np.dtype(fields(("flag", "i1"), ("x", "<f8"), ("n", "<i2"))), (3,), 5)),
        ("big_endian", filled(np.dtype(fields(("n", ">i4"), ("x", "<f8"), ("z", ">c16"))), (3,), 7)),
        ("fortran", np.asfortranarray(filled(simple, (2, 3), 8))),
        ("every_second", filled(simple, (6,), 9)[::2]),
        ("zero_d", filled(simple, (), 10)),
        ("empty", filled(simple, (0, 2), 11)),
        ("unicode_names", filled(np.dtype([(str("x"), str("<f4"))]), (2,), 12)),
        ("with_text", filled(np.dtype(fields(("label", "S4"), ("x", "<f4"), ("name", "<U3"), ("raw", "V3"))), (2,), 13)),
        ("half", filled(np.dtype(fields(("h", "<f2"), ("b", "?"))), (3,), 14)),
        ("record", filled(simple, (3,), 15).view(np.recarray)),
        ("dates", np.array([(1, "2020-01-01", 5)], fields(("n", "<i4"), ("day", "<M8[D]"), ("span", "<m8[s]")))),
        ("plain", distinct("float32", (2, 2), 16)),
    ])
    whole = np.zeros(3, union)
    whole["whole"] = [0x00010002, 0x7FFF8000, 5]
    found["overlapping"] = whole
    if not PY2:
        del found["unicode_names"]
        found["unicode_names"] = filled(np.dtype([("größe", "<f4"), ("a.b", "<i2")]), (2,), 12)
    if NUMPY >= (1, 16):
        found["some_fields"] = found["nested"][["pos"]]  # a view with a hole
    return found


def structured_small():
    found = structured()
    return OrderedDict((name, found[name]) for name in ("nested", "subarray", "titles", "aligned", "fortran", "record", "unicode_names"))


def structured_left_out():
    mixed = np.zeros(2, fields(("x", "<f4"), ("thing", "O")))
    mixed["thing"] = [[1], "text"]
    return OrderedDict([("plain", distinct("float32", (2, 2), 20)), ("with_object", mixed),
                        ("only_text", np.array([("ab", b"c")], fields(("u", "<U2"), ("s", "S2")))),
                        ("long_double", np.zeros(2, fields(("g", "g"), ("x", "<f8"))))])


def dates():
    days = np.array(["2020-01-01", "NaT", "1969-07-20"], "M8[D]")
    found = OrderedDict([
        ("days", days),
        ("nanoseconds", np.array(["2020-01-01T00:00:00.123456789", "NaT"], "M8[ns]")),
        ("ten_microseconds", np.array([1, -2, 3], "M8[10us]")),
        ("years", np.array([0, 50], "M8[Y]")),
        ("months", np.array([[1, 2], [3, 4]], "M8[M]")),
        ("generic_spans", np.array([1, -2], "m8")),
        ("seconds", np.array([1, 2 ** 40], "m8[s]")),
        ("spans", np.array([[1, 2, 3], [4, 5, 6]], "m8[25ms]")),
        ("big_endian", days.astype(">M8[D]")),
        ("fortran", np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], "m8[h]"))),
        ("every_second", np.arange(6).astype("m8[us]")[::2]),
        ("zero_d", np.array("2021-02-03T04:05", "M8[m]")),
        ("scalar", np.datetime64("2020-01-01", "D")),
        ("weight", distinct("float32", (2,), 21)),
    ])
    if NUMPY < (1, 12):
        del found["generic_spans"], found["big_endian"]  # numpy 1.11 writes them; it cannot read one and loses the other's unit
    return found


def masked():
    values = distinct("float32", (2, 3), 30)
    mask = np.array([[True, False, False], [False, True, False]])
    records = np.ma.array(filled(np.dtype(fields(("n", "<i4"), ("x", "<f8"))), (2,), 31))
    records["n"][1] = np.ma.masked
    hard = np.ma.array(np.arange(4), mask=[1, 0, 0, 1], fill_value=-1, hard_mask=True)
    return OrderedDict([
        ("masked", np.ma.array(values, mask=mask)),
        ("no_mask", np.ma.array(distinct("float64", (3,), 32))),
        ("hard", hard),
        ("fortran", np.ma.array(np.asfortranarray(values), mask=np.asfortranarray(mask))),
        ("transposed", np.ma.array(values, mask=mask).T),
        ("big_endian", np.ma.array(values.astype(">f4"), mask=mask)),
        ("zero_d", np.ma.array(2.5, mask=False)),
        ("empty", np.ma.array(np.zeros((0, 2), "i2"))),
        ("records", records),
        ("weight", distinct("float32", (2,), 33)),
    ])


def subclasses():
    with tempfile.NamedTemporaryFile(suffix=".bin") as f:
        mapped = np.memmap(f.name, str("float32"), str("w+"), shape=(2, 3))
        mapped[:] = distinct("float32", (2, 3), 40)
    return OrderedDict([
        ("matrix", np.matrix(distinct("float64", (2, 2), 41))),
        ("memmap", mapped), ("memmap_part", mapped[:, 1:]),
        ("characters", np.char.array(["ab", "c"])),
        ("bytes", np.array([b"ab", b"c"])), ("text", np.array(["ab", "cde"])), ("raw", np.zeros(2, "V3")),
        ("long_double", np.ones(2, "g")), ("complex_long_double", np.ones(2, "G")),
        ("weight", distinct("float32", (2,), 42)),
    ])


def objects():
    zero_d = np.array(None, object)
    zero_d[()] = {"w": distinct("float32", (2,), 50), "inner": [distinct("int16", (2,), 51)]}
    grid = np.empty((2, 3), object)
    grid[0, 0], grid[0, 2], grid[1, 0] = distinct("float32", (2,), 52), {"b": distinct("float64", (1,), 53)}, "text"
    grid[1, 2] = [distinct("uint8", (2,), 54), None]
    deep = np.empty(1, object)
    deep[0] = np.empty(2, object)
    deep[0][0], deep[0][1] = distinct("float32", (1,), 55), 3
    return OrderedDict([
        ("zero_d", zero_d), ("grid", grid), ("grid_fortran", np.asfortranarray(grid)), ("transposed", grid.T),
        ("deep", deep), ("ragged", np.array([distinct("float32", (2,), 56), distinct("float32", (3,), 57)], dtype=object)),
        ("weight", distinct("float32", (2,), 58)),
    ])


def scalars():
    """Numpy scalars are no tensors."""
    return OrderedDict([
        ("f4", np.float32(1.5)), ("f2", np.float16(-2)), ("i8", np.int64(-2)), ("u1", np.uint8(200)), ("b", np.bool_(True)),
        ("c8", np.complex64(1 + 2j)), ("big", np.array([3.5], ">f8")[0]), ("day", np.datetime64("2020-01-01")),
        ("span", np.timedelta64(3, "ms")), ("text", np.str_("s")), ("record", filled(np.dtype(fields(("n", "<i4"))), (1,), 60)[0]),
        ("weight", distinct("float32", (2,), 61))])


def random_states():
    """The arrays in the state of a generator, under the names of the pickle."""
    found = OrderedDict([("legacy", np.random.RandomState(3)), ("weight", distinct("float32", (2,), 70))])
    if NUMPY >= (1, 17):
        found["generator"] = np.random.Generator(np.random.PCG64(4))
        found["philox"] = np.random.Generator(np.random.Philox(5))
    return found


def scipy_sparse():
    import scipy.sparse as sp
    dense = np.array([[0, 1.5, 0], [2.5, 0, 0]])
    found = OrderedDict([("csr", sp.csr_matrix(dense)), ("csc", sp.csc_matrix(dense)), ("coo", sp.coo_matrix(dense)),
                         ("bsr", sp.bsr_matrix(np.eye(4, dtype="f4"), blocksize=(2, 2))), ("dia", sp.eye(3, format="dia"))])
    if hasattr(sp, "csr_array"):
        found["csr_array"] = sp.csr_array(dense)
    return found


def dump(obj, path, protocol, walk=lowered.Walk):
    with io.open(path, "wb") as f:
        pickle.dump(obj, f, protocol)
    with io.open(path, "rb") as f:
        loaded = pickle.load(f)
    lowered.write_expect(path, loaded, obj, walk=walk, by="numpy %s, Python %s" % (
        np.__version__, ".".join(platform.python_version_tuple()[:2])))


def main(out):
    name = "numpy-%s-py%s" % (np.__version__, ".".join(platform.python_version_tuple()[:2]))
    kinds = [structured, dates, masked, objects]
    if torch is not None:
        where = expect.folder(out, "numpy-kinds", "torch-" + expect.torch_version())
        found = {"structured": structured_small(), "dates": dates(), "masked": masked(), "objects": objects()}
        for key in ("dates", "masked", "objects"):
            for least in list(found[key])[3:]:
                del found[key][least]
        found["weight"] = torch.from_numpy(distinct("float32", (2,), 80))
        torch.save(found, where + "/mixed.pt")
        return lowered.write_expect(where + "/mixed.pt", expect.torch_load(where + "/mixed.pt"), found)
    where = expect.folder(out, "numpy-kinds", name) + "/"
    if scipy is not None:
        return dump(scipy_sparse(), where + "scipy_sparse_p4.pkl", 4, lowered.ReduceWalk)
    rest = [structured_left_out, subclasses, scalars, random_states]
    if NUMPY < (1, 12):
        chosen = [(2, [structured_small, dates, masked, objects])]
    elif NUMPY < (2, 0):
        chosen = [(4, [dates, masked, random_states])]
    else:
        chosen = [(2, [structured]), (5, kinds + rest)]
    for protocol, makers in chosen:
        for make in makers:
            dump(make(), where + "%s_p%d.pkl" % (make.__name__, protocol), protocol,
                 lowered.ReduceWalk if make is random_states else lowered.Walk)


if __name__ == "__main__":
    main(sys.argv[1])
