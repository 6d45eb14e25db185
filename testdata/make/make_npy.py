# -*- coding: utf-8 -*-
"""Files of numpy.save and numpy.savez, as the installed numpy and Python write them.

    python make_npy.py OUTDIR

Runs on Python 2.7 and 3.6+. Writes OUTDIR/npy/numpy-VERSION-pyX.Y and OUTDIR/npz/numpy-VERSION-pyX.Y;
with numpy 2.4 also OUTDIR/npy/by-hand, OUTDIR/npy/broken and OUTDIR/npz/by-hand.
"""
from __future__ import print_function, unicode_literals

import io
import os
import pickle
import platform
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict

import numpy as np

import expect
import expect_containers as containers
from expect import numbers

PY2 = sys.version_info[0] == 2
NUMPY = tuple(int(n) for n in np.__version__.split(".")[:2])
NEWEST = NUMPY >= (2, 4)
NAME = "numpy-%s-py%s" % (np.__version__, ".".join(platform.python_version_tuple()[:2]))
SIMPLE = ["bool", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16",
          ">u2", ">i2", ">u4", ">i4", ">u8", ">i8", ">f2", ">f4", ">f8", ">c8", ">c16"]
NOT_WRITTEN = ("comma_descr", "comment", "hexadecimal", "joined_strings")  # numpy reads these headers and never wrote one
WHERE = ""


def dtype(fields, **options):
    """A structured dtype; Python 2 wants native strings."""
    return np.dtype([tuple([tuple(str(n) for n in f[0]) if isinstance(f[0], tuple) else str(f[0])] + list(f[1:]))
                     for f in fields], **options)


def filled(kind, shape, seed):
    """A structured array of that dtype with seeded bytes in every field."""
    a = np.zeros(shape, kind)
    fill(a, seed)
    return a


def fill(a, seed):
    for n, field in enumerate(a.dtype.names):
        part = a[field]
        if part.dtype.names:
            fill(part, seed * 10 + n)
        elif part.dtype.kind in "SU":
            part[...] = ("text%d" % seed).encode("ascii") if part.dtype.kind == "S" else "text%d" % seed
        elif part.dtype.kind == "O":
            part[...] = "object"
        elif part.dtype.kind in "mM":
            part[...] = numbers("i8", part.shape, seed * 10 + n).view(part.dtype)
        elif part.dtype.kind == "V":
            pass
        elif part.dtype.itemsize > 16 or part.dtype.name in ("float128", "complex256"):
            part[...] = 1
        else:
            part[...] = numbers(part.dtype.str, part.shape, seed * 10 + n)


def structured():
    """name -> structured array"""
    point = dtype([("x", "<f4"), ("y", "<f8"), ("n", "<i2"), ("ok", "?")])
    yield "fields", filled(point, (5,), 1)
    yield "fields_0d", filled(point, (), 2)
    yield "fields_empty", filled(point, (0,), 3)
    yield "fields_fortran", np.asfortranarray(filled(point, (3, 4), 4))
    yield "fields_aligned", filled(dtype([("a", "i1"), ("b", "<f8"), ("c", "<u2"), ("d", "<c16"), ("e", "u1")], align=True), (4,), 5)
    yield "fields_big_endian", filled(dtype([("a", ">f4"), ("b", "<i4"), ("c", ">c16")]), (3,), 6)
    yield "fields_nested", filled(dtype([("id", "<i8"), ("inner", point), ("deep", dtype([("p", point), ("q", "u1")]))]), (3,), 7)
    yield "fields_subarray", filled(dtype([("m", "<f4", (2, 3)), ("one", "<i4", (1,)), ("pts", point, (2,)), ("c", "<c16", (2,)),
                                           ("s", "S8")]), (2, 2), 8)
    yield "fields_text", filled(dtype([("name", "S8"), ("label", "U5"), ("score", "<f4"), ("raw", "V3"), ("when", "<M8[s]")]), (3,), 9)
    yield "fields_titles", filled(dtype([(("A title", "t"), "<f4"), ("u", "<i4")]), (3,), 10)
    yield "fields_long_double", filled(dtype([("g", "g"), ("f", "<f4")]), (2,), 11)
    gaps = np.dtype({str("names"): [str("a"), str("b")], str("formats"): [str("<f4"), str("<i2")],
                     str("offsets"): [4, 12], str("itemsize"): 20})
    yield "fields_gaps", filled(gaps, (3,), 12)
    yield "fields_record", filled(point, (3,), 13).view(np.recarray)


def arrays():
    """name -> array for files without a pickle in them"""
    for seed, kind in enumerate(SIMPLE):
        yield kind.replace("<", "little_").replace(">", "big_"), numbers(kind, (2, 3), seed)
    base = numbers("f4", (3, 4), 30)
    cube = numbers("i2", (2, 3, 4), 31)
    yield "fortran", np.asfortranarray(base)
    yield "fortran_big_endian", np.asfortranarray(numbers(">f8", (3, 2), 32))
    yield "fortran_cube", np.asfortranarray(cube)
    yield "transposed", base.T
    yield "strided", base[::2, 1::2]
    yield "axes_102", cube.transpose(1, 0, 2)
    yield "zero_d", np.array(2.5, "<f4")
    yield "zero_d_complex", np.array(1 - 2j, "<c16")
    yield "zero_d_big_endian", np.array(-3, ">i4")
    yield "empty", np.zeros((0,), "<f4")
    yield "empty_shape", np.zeros((2, 0, 3), ">i8")
    yield "matrix", np.matrix(base)
    for unit in ("Y", "D", "us", "25s"):
        dates = numbers("i8", (3,), 40)
        dates[0] = -2 ** 63  # NaT
        yield "dates_" + unit, dates.view("<M8[%s]" % unit)
    yield "dates_big_endian", np.array(["2020-01-01", "NaT"], ">M8[D]")
    yield "dates_generic", np.array(["NaT", "NaT"], "<M8")
    yield "spans_ns", numbers("i8", (2, 2), 41).view("<m8[ns]")
    yield "spans_generic", numbers("i8", (2,), 42).view("<m8")
    yield "long_double", np.ones(2, "g")
    yield "complex_long_double", np.ones(2, "G")
    yield "text", np.array(["ab", "c\u00e9"])
    yield "bytes", np.array([b"ab", b"c"])
    yield "void", np.zeros(2, "V3")


def object_arrays():
    """name -> object array: the file is a pickle behind a header"""
    a, b, c = numbers("f4", (2, 3), 50), numbers("i8", (2,), 51), numbers(">f8", (2, 2), 52)
    shared = numbers("u1", (3,), 53)
    yield "dict_0d", np.array(OrderedDict([("weight", a), ("bias", b), ("nested", {"swapped": c.T, 3: [b, shared]}),
                                           ("tied", shared), ("tied_too", shared), ("name", "net"), ("count", np.float32(2))]), object)
    several = np.empty(4, object)
    several[:] = [a, None, {"w": b}, "text"]
    yield "items_1d", several
    grid = np.empty((2, 2), object)
    for n in range(4):
        grid[n // 2, n % 2] = numbers("i2", (n + 1,), 54 + n)
    yield "items_2d", grid
    yield "items_2d_fortran", np.asfortranarray(grid)
    inner = np.empty((), object)
    inner[()] = {"deep": a}
    outer = np.empty(2, object)
    outer[:] = [inner, [grid]]
    yield "nested", outer
    none = np.empty(2, object)
    none[:] = ["one", None]
    yield "no_arrays", none
    yield "empty", np.empty(0, object)
    kind = dtype([("what", "O"), ("x", "<f4"), ("n", "<i2")])
    yield "records", filled(kind, (2,), 58)


def save(name, array, expected=None):
    path = "%s/%s.npy" % (WHERE, name)
    np.save(path, array)
    check(path, np.asarray(array))


def check(path, original=None):
    options = {"allow_pickle": True} if NUMPY >= (1, 10) else {}
    loaded = np.load(path, **options)
    if original is not None:
        assert loaded.shape == original.shape, path
        if loaded.dtype != original.dtype:
            assert NUMPY < (1, 17) and loaded.dtype.itemsize == original.dtype.itemsize, path
            loaded = loaded.view(original.dtype)  # before 1.17 padding was read as fields of their own
    name = os.path.basename(path)[:-len(".npy")]
    if name in NOT_WRITTEN:
        return containers.write_error(path, "npy-malformed", expect.ARGS)
    if name == "objects_records":  # numbers as Python objects in a list of tuples: an array of objects like others
        return containers.write_error(path, "no-tensors", expect.ARGS)
    containers.write_expect(path, loaded, original)


def versions():
    a = numbers("f4", (2, 3), 60)
    for version in ((1, 0), (2, 0), (3, 0)):
        if version == (3, 0) and NUMPY < (1, 17):
            continue
        path = "%s/version_%d.npy" % (WHERE, version[0])
        with open(path, "wb") as f:
            np.lib.format.write_array(f, a, version=version)
        check(path, a)
    if NUMPY >= (1, 17):
        save("version_3_by_itself", filled(dtype([("\u03b1", "<f4"), ("\u6a21\u578b", "<i2"), ("plain", "u1")]), (3,), 61))
    if NUMPY < (1, 16):
        save("latin_field", filled(dtype([(b"\xe9", "<f4"), (b"x", "u1")]) if PY2 else dtype([("\xe9", "<f4"), ("x", "u1")]), (3,), 62))
    elif not PY2:
        save("latin_field", filled(dtype([("\xe9", "<f4"), ("x", "u1")]), (3,), 62))
        with open("%s/latin_field_version_1.npy" % WHERE, "wb") as f:
            a = filled(dtype([("\xe9", "<f4"), ("x", "u1")]), (3,), 62)
            np.lib.format.write_array(f, a, version=(1, 0))
        check("%s/latin_field_version_1.npy" % WHERE, a)


def npy():
    global WHERE
    WHERE = expect.folder(OUT, "npy", NAME)
    versions()
    small = not NEWEST  # an older numpy differs in the header and in pickles, not in the numbers
    wanted = ("big_f8", "fortran", "zero_d", "empty_shape", "dates_us", "little_c16")
    for name, array in arrays():
        if not small or name in wanted:
            save(name, array)
    for name, array in structured():
        if not small or name in ("fields", "fields_aligned", "fields_nested", "fields_subarray", "fields_text"):
            save(name, array)
    for name, array in object_arrays():
        save("objects_" + name, array)


def npz():
    global WHERE
    WHERE = expect.folder(OUT, "npz", NAME)
    plain = OrderedDict((kind.replace("<", "little_").replace(">", "big_"), numbers(kind, (2, 3), seed))
                        for seed, kind in enumerate(SIMPLE) if kind in ("bool", "<f2", "<i8", ">f4", "<c16"))
    plain.update([("fortran", np.asfortranarray(numbers("f4", (3, 4), 30))), ("zero_d", np.array(2.5)), ("empty", np.zeros((0, 2))),
                  ("strided", numbers("i2", (4, 6), 31)[::2, ::3]), ("text", np.array(["ab", "c"])),
                  ("dates", np.array(["2020-01-01"], "M8[D]"))])
    several = np.empty(2, object)
    several[:] = [numbers("f4", (2,), 70), {"w": numbers("i4", (2,), 71)}]
    holder = np.array({"a": numbers("f4", (2, 2), 72), "b": {"c": numbers("u1", (3,), 73)}}, object)
    files = [
        ("several", plain),
        ("positional", [numbers("f4", (2,), 74), numbers("i8", (2, 2), 75)]),
        ("names", OrderedDict([("layer/weight", numbers("f4", (2, 2), 76)), ("layer.bias", numbers("f4", (2,), 77)),
                               ("a/b/c.d", numbers("u1", (2,), 78)), ("x.npy", numbers("u1", (1,), 79)), ("with space", numbers("i2", (2,), 80)),
                               ("model/w:0", numbers("f2", (2,), 81)), ("\u6a21\u578b", numbers("f8", (1,), 82))])),
        ("objects", OrderedDict([("plain", numbers("f4", (2,), 83)), ("params", holder), ("list", several)])),
        ("records", OrderedDict((name, a) for name, a in structured() if name in ("fields", "fields_nested", "fields_subarray"))),
        ("empty", []),
        ("only_text", {"names": np.array(["a", "b"])}),
    ]
    small = not NEWEST
    for name, what in files:
        if small and name in ("records", "only_text", "positional"):
            continue
        if NUMPY < (1, 17) and name == "empty":  # written, and not read back by them
            continue
        for suffix, function in (("", np.savez), ("_compressed", np.savez_compressed)):
            if suffix and (small or name in ("names", "records", "only_text", "empty", "positional")) or PY2 and name == "names":
                continue
            path = "%s/%s%s.npz" % (WHERE, name, suffix)
            if isinstance(what, list):
                function(path, *what)
                what = OrderedDict(("arr_%d" % n, a) for n, a in enumerate(what))
            elif PY2:
                function(path, **dict((n.encode("utf-8"), a) for n, a in what.items()))
            else:
                function(path, **what)
            check_npz(path, what)


def check_npz(path, original=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.load(path, allow_pickle=True) as z:
            loaded = OrderedDict()
            for name in z.files:
                loaded[name] = z[name]
    if original is not None:
        assert sorted(loaded) == sorted(original), (sorted(loaded), sorted(original))
    containers.write_expect(path, OrderedDict((n, a) for n, a in loaded.items() if isinstance(a, np.ndarray)), original)


# -- by hand (newest numpy only) ------------------------------------------------------------------

def raw(name, header, data, version=1, length=None):
    """A .npy with that header text, as it is."""
    header = header if isinstance(header, bytes) else header.encode("utf-8" if version == 3 else "latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(header) if length is None else length)
    path = "%s/%s.npy" % (WHERE, name)
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY" + bytes(bytearray([version, 0])) + size + header + data)
    return path


def by_hand():
    """Headers that numpy reads and does not write any more."""
    global WHERE
    WHERE = expect.folder(OUT, "npy", "by-hand")
    a = numbers("f4", (2, 3), 90)
    data = a.tobytes()
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
    for name, header in (
        ("unpadded", good),
        ("no_newline_sixteen", good.ljust(70)),
        ("other_order", "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}\n"),
        ("double_quotes", '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}\n'),
        ("python2_longs", "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n"),
        ("no_spaces", "{'descr':'<f4','fortran_order':False,'shape':(2,3)}\n"),
        ("line_breaks", "{'descr': '<f4',\n 'fortran_order': False,\n 'shape': (2,\n 3)}\n"),
        ("native_order", "{'descr': '=f4', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("no_order", "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("ignored_order", "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("word", "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("letter", "{'descr': 'f', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("unicode_prefix", "{u'descr': u'<f4', u'fortran_order': False, u'shape': (2, 3), }\n"),
        ("joined_strings", "{'de' 'scr': '<' 'f4', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("hexadecimal", "{'descr': '<f4', 'fortran_order': False, 'shape': (0x2, 0b11), }\n"),
        ("comment", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } # by hand\n"),
        ("escapes", "{'\\x64escr': '<f\\u0034', 'fortran_order': False, 'shape': (2, 3), }\n"),
    ):
        path = raw(name, header, data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(path, a)
    flat = numbers("f4", (6,), 91)
    check(raw("one_dimension", "{'descr': '<f4', 'fortran_order': True, 'shape': (6,), }\n", flat.tobytes()), flat)
    check(raw("trailing_bytes", good + "\n", data + b"trailing"), a)
    check(raw("long_header_version_2", good.ljust(9000) + "\n", data, 2), a)
    pair = np.frombuffer(data, "<f4,<f4")
    check(raw("comma_descr", "{'descr': '<f4,<f4', 'fortran_order': False, 'shape': (3,), }\n", data), pair)
    check(raw("number_of_subarray", "{'descr': [('x', '<f4', 2)], 'fortran_order': False, 'shape': (3,), }\n", data))


def broken():
    global WHERE
    WHERE = expect.folder(OUT, "npy", "broken")
    data = numbers("f4", (2, 3), 90).tobytes()
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"
    cases = [
        ("not_a_literal", "{'descr': dtype('<f4'), 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("code_import", "{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').system('echo depickle'), }\n"),
        ("code_only", "__import__('os').system('echo depickle')\n"),
        ("code_comprehension", "{'descr': '<f4', 'fortran_order': False, 'shape': tuple(n for n in (2, 3)), }\n"),
        ("negative_shape", "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }\n"),
        ("missing_key", "{'descr': '<f4', 'shape': (2, 3), }\n"),
        ("extra_key", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1, }\n"),
        ("shape_is_a_number", "{'descr': '<f4', 'fortran_order': False, 'shape': 6, }\n"),
        ("shape_is_a_list", "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3], }\n"),
        ("shape_of_floats", "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 3), }\n"),
        ("order_is_no_bool", "{'descr': '<f4', 'fortran_order': 'C', 'shape': (2, 3), }\n"),
        ("unknown_descr", "{'descr': '<q9', 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("descr_is_a_number", "{'descr': 4, 'fortran_order': False, 'shape': (2, 3), }\n"),
        ("not_closed", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), \n"),
        ("not_a_dict", "('<f4', False, (2, 3))\n"),
        ("same_field_twice", "{'descr': [('x', '<f4'), ('x', '<f4')], 'fortran_order': False, 'shape': (3,), }\n"),
    ]
    by = "make_npy.py, " + expect.made_by()
    for name, header in cases:
        path = raw(name, header, data)
        try:
            np.load(path)
        except Exception as error:
            containers.write_error(path, "npy-malformed", by=by, numpy_load=type(error).__name__)
        else:
            raise AssertionError(name + " loads")
    deep = "{'descr': " + "[('a', " * 400 + "'<f4'" + ")]" * 400 + ", 'fortran_order': False, 'shape': (6,), }\n"
    containers.write_error(raw("nested_400_deep", deep, data), "npy-malformed", by=by)
    deep = "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000 + ")" * 3000 + "}\n"
    containers.write_error(raw("parentheses_3000_deep", deep, data), "npy-malformed", by=by)
    containers.write_error(raw("version_9", good, data, 9), "npy-malformed", by=by)
    for name, path in (("data_short", raw("data_short", good, data[:-1])), ("no_data", raw("no_data", good, b"")),
                       ("header_short", raw("header_short", good, b"", length=500)),
                       ("huge_shape", raw("huge_shape", good.replace("(2, 3)", "(1000000000000, 1000)"), data)),
                       ("cut_in_magic", raw("cut_in_magic", good, data))):
        if name == "cut_in_magic":
            with open(path, "wb") as f:
                f.write(b"\x93NUMPY\x01")
        containers.write_error(path, "truncated", by=by)
    containers.write_error(raw("overflowing_shape", good.replace("(2, 3)", "(4294967296, 4294967296, 4294967296)"), data),
                           "npy-malformed", by=by)
    whole = io.BytesIO()
    np.save(whole, np.array({"w": numbers("f4", (2, 3), 92)}, object))
    with open(WHERE + "/objects_cut.npy", "wb") as f:
        f.write(whole.getvalue()[:-30])
    containers.write_error(WHERE + "/objects_cut.npy", "truncated", by=by)
    head = whole.getvalue()[:128]
    evil = b"\x80\x02}(X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" \
           b"X\x01\x00\x00\x00xcos\nsystem\nX\x0d\x00\x00\x00echo depickle\x85Ru."
    with open(WHERE + "/objects_os_system.npy", "wb") as f:
        f.write(head + evil)
    containers.write_error(WHERE + "/objects_os_system.npy", "denied", exit_code=3, by=by)


def npz_by_hand():
    global WHERE
    WHERE = expect.folder(OUT, "npz", "by-hand")
    by = "make_npy.py, " + expect.made_by()

    def npy_bytes(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    def archive(name, members, method=zipfile.ZIP_STORED):
        path = "%s/%s.npz" % (WHERE, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(path, "w", method) as z:
                for member, data in members:
                    info = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
                    info.compress_type = method
                    z.writestr(info, data)
        return path

    w, b = npy_bytes(numbers("f4", (2, 3), 93)), npy_bytes(np.asfortranarray(numbers("i8", (2, 2), 94)))
    check_npz(archive("other_members", [("w.npy", w), ("README.txt", b"notes"), ("folder/", b""), ("folder/b.npy", b)]))
    check_npz(archive("without_ending", [("w", w), ("b.npy", b)]))
    containers.write_error(archive("member_twice", [("w.npy", w), ("w.npy", b)]), "zip-ambiguous", by=by)
    containers.write_error(archive("name_twice", [("w.npy", w), ("w", b)]), "name-collision", by=by)
    containers.write_error(archive("member_cut", [("w.npy", w[:-3]), ("b.npy", b)]), "truncated", by=by)
    containers.write_error(archive("member_cut_deflated", [("w.npy", w[:-3]), ("b.npy", b)], zipfile.ZIP_DEFLATED), "truncated", by=by)
    containers.write_error(archive("member_malformed", [("w.npy", w.replace(b"'descr'", b"'d_scr'"))]), "npy-malformed", by=by)


def main(out):
    global OUT
    OUT = out
    expect.torch = None
    npy()
    npz()
    if NEWEST:
        by_hand()
        broken()
        npz_by_hand()


if __name__ == "__main__":
    main(sys.argv[1])
