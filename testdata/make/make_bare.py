# -*- coding: utf-8 -*-
"""Bare pickles of numpy arrays, as the installed numpy and Python write them.

    python make_bare.py OUTDIR [PROTOCOL ...]

Runs on Python 2.7 and 3.6+, without torch. Writes OUTDIR/bare-pickle/numpy-VERSION-pyX.Y.
"""
from __future__ import print_function, unicode_literals

import datetime
import pickle
import platform
import sys
from collections import OrderedDict

import numpy as np

import expect
from expect import numbers

PY2 = sys.version_info[0] == 2
NUMPY = tuple(int(n) for n in np.__version__.split(".")[:2])
PROTOCOLS = [0, 1, 2] if PY2 else list(range(pickle.HIGHEST_PROTOCOL + 1))
NAME = "numpy-%s-py%s" % (np.__version__, ".".join(platform.python_version_tuple()[:2]))


def dtypes():
    kinds = ["bool", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16",
             ">f4", ">i8", ">c16", ">u2", ">f2", ">c8"]
    return {kind.replace("<", "little_").replace(">", "big_"): numbers(kind, (2, 3), seed) for seed, kind in enumerate(kinds)}


def layouts():
    base = numbers("f4", (4, 6), 30)
    cube = numbers("i2", (2, 3, 4), 31)
    shared = numbers("f8", (3,), 32)
    return OrderedDict([
        ("base", base),
        ("fortran", np.asfortranarray(base)),
        ("transposed", base.T),
        ("step", base[::2, 1::2]),
        ("reversed", base[::-1]),
        ("broadcast", np.broadcast_to(base[:1], (3, 6))),
        ("cube_axes_201", cube.transpose(2, 0, 1)),   # order 'K' with protocol 5 and numpy 2.3
        ("cube_axes_102", cube.transpose(1, 0, 2)),
        ("cube_fortran", np.asfortranarray(cube)),
        ("scalar_array", np.array(2.5, "f4")),
        ("big_scalar_array", np.array(-3, ">i4")),
        ("empty", np.zeros(0, "f4")),
        ("empty_shape", np.zeros((2, 0, 3), "i8")),
        ("matrix", np.matrix(numbers("f4", (2, 2), 33))),
        ("big_fortran", np.asfortranarray(numbers(">f8", (2, 3), 34))),
        ("tied_a", shared),
        ("tied_b", shared),
        ("view_a", cube[0]),
        ("view_b", cube[0]),
        ("readonly", frozen(numbers("f4", (2,), 35))),
    ])


def frozen(a):
    a.flags.writeable = False
    return a


def others():
    """Beside one array of numbers: all that is no tensor, and the numpy scalars."""
    objects = np.empty(2, object)
    objects[:] = ["one", None]
    return OrderedDict([
        ("weight", numbers("f4", (2, 2), 36)),
        ("objects", objects),
        ("bytes_array", np.array([b"ab", b"c"])),
        ("text_array", np.array(["ab", "c\u00e9"])),
        ("dates", np.array(["2020-01-01", "2021-06-30"], "M8[D]")),
        ("spans", np.array([1, 2], "m8[ms]")),
        ("records", np.array([(1, 2.0)], [(str("n"), "<i4"), (str("x"), "<f8")])),
        ("void", np.zeros(2, "V3")),
        ("long_double", np.zeros(2, "g")),
        ("f4", np.float32(1.5)), ("i8", np.int64(-2)), ("c16", np.complex128(1 + 2j)), ("b", np.bool_(True)),
        ("big", np.array([3.5], ">f8")[0]), ("text", np.str_("s")), ("dtype", np.dtype(">f4")),
        ("when", datetime.datetime(2020, 1, 2, 3, 4, 5)),
        ("type", np.float32),
        ("random", np.random.RandomState(3).get_state()[0]),
    ])


def keys():
    t = [numbers("f4", (2,), 40 + n) for n in range(10)]
    return {7: t[0], -3: t[1], ("a", 1): t[2], None: t[3], 2.5: t[4], True: t[5], b"\xe9x": t[6],
            "\u6a21\u578b": t[7], 10 ** 20: t[8], "list": [t[9], (t[0],)]}


class Old:
    """On Python 2 an old-style class: INST and OBJ."""


class Keywords(object):
    """Made by __new__ with keyword arguments: NEWOBJ_EX from protocol 4 on."""

    def __new__(cls, **options):
        return super(Keywords, cls).__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"scale": 2}


def rare(protocol):
    """The opcodes that few pickles use: sets, recursive tuples (POP, POP_MARK), long numbers and texts."""
    old = Old()
    old.weight = numbers("f4", (2,), 60)
    short = ([], numbers("f4", (3,), 61))
    short[0].append(short)
    long = ([], 1, "text", numbers("i2", (2,), 62))
    long[0].append(long)
    found = {"old": old, "short": short, "long": long, "set": {1}, "frozen": frozenset([2]), "empty_set": set(),
             "huge": 3 ** 2000, "huge_negative": -(2 ** 4096), "text": "x" * 300, "bytes": b"y" * 300,
             "floats": [0.1, 1e300, -0.0], "ints": [0, 255, 256, 65536, -1, 2 ** 31, 2 ** 63]}
    if protocol >= 4:
        found["keywords"] = Keywords()
        found["keywords"].bias = numbers("u1", (2,), 63)
    return found


def roots():
    yield "array_root", numbers("f4", (2, 3), 50)
    yield "list_root", [numbers("i4", (2,), 51), (numbers("u1", (3,), 52), "text")]


def more_types():
    import ml_dtypes
    found = {}
    for kind in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"):
        dtype = np.dtype(getattr(ml_dtypes, kind))
        found[kind] = np.frombuffer(numbers("u1", (6 * dtype.itemsize,), 53).tobytes(), dtype).reshape(2, 3)
    found["bfloat16_fortran"] = np.asfortranarray(found["bfloat16"])
    for kind in ("int4", "uint4", "float8_e4m3b11fnuz", "float6_e2m3fn"):  # no safetensors dtype of that meaning
        found[kind] = np.zeros(4, getattr(ml_dtypes, kind))
    return found


def save(obj, name, protocol):
    path = "%s/%s_p%d.pkl" % (WHERE, name, protocol)
    with open(path, "wb") as f:
        pickle.dump(obj, f, protocol)
    with open(path, "rb") as f:
        loaded = pickle.load(f)
    expect.write_expect(path, loaded, obj)


def main(out, *protocols):
    global WHERE
    expect.torch = None  # these files are numpy's alone, whatever else is installed
    PROTOCOLS[:] = [int(n) for n in protocols] or PROTOCOLS
    WHERE = expect.folder(out, "bare-pickle", NAME)
    for protocol in PROTOCOLS:
        save(dtypes(), "dtypes", protocol)
        save(layouts(), "layouts", protocol)
    for protocol in sorted({PROTOCOLS[0], 2, PROTOCOLS[-1]} & set(PROTOCOLS)):
        save(others(), "others", protocol)
        save(keys(), "keys", protocol)
        save(rare(protocol), "rare", protocol)
    for name, obj in roots():
        save(obj, name, PROTOCOLS[-1])
    try:
        found = more_types()
    except (ImportError, AttributeError):
        return
    for protocol in sorted({2, 5} & set(PROTOCOLS)):
        save(found, "ml_dtypes", protocol)


if __name__ == "__main__":
    main(*sys.argv[1:])
