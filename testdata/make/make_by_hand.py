"""Old layouts that no installable torch writes any more, assembled from their parts.

    python make_by_hand.py OUTDIR

Needs torch 2.15, which loads every one of these files: the expectations are what it finds.

  torch-legacy/by-hand/storage_views.pt     legacy, the sixth part of a persistent id: (view key, offset, size)
  torch-legacy/by-hand/variables.pt         legacy, torch <= 0.3: _rebuild_tensor, Variable and Parameter + BUILD
  torch-legacy/by-hand/tensor_setstate.pt   legacy, torch <= 0.1: NEWOBJ torch.FloatTensor + BUILD of a 4-tuple
  torch-tar/by-hand/*.tar.pt                the tar of torch 0.1.0 to 0.1.9
"""

import collections
import io
import pickle
import struct
import sys
import tarfile
import warnings

import torch

import expect
from expect import numbers

# (typed storage class, numpy name)
KINDS = {"f4": torch.FloatStorage, "f8": torch.DoubleStorage, "i8": torch.LongStorage, "i4": torch.IntStorage,
         "i2": torch.ShortStorage, "u1": torch.ByteStorage, "f2": torch.HalfStorage}
SYS_INFO = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Storage:
    """A storage of `count` numbers; `view` = (view key, offset, size) when the id names a part of it."""

    def __init__(self, kind, key, count, seed, view=None):
        self.kind, self.key, self.count, self.view = kind, key, count, view
        self.data = numbers(kind, (count,), seed)

    def part(self, view_key, offset, size):
        other = Storage.__new__(Storage)
        other.__dict__ = dict(self.__dict__, view=(view_key, offset, size))
        return other


class Call:
    """Pickles as `callable(*args)`, then BUILD `state`."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


class New:
    """Pickles as `cls.__new__(cls)` (NEWOBJ), then BUILD `state`."""

    def __init__(self, cls, state):
        self.cls, self.state = cls, state


class Pickler(pickle._Pickler):
    """The pure-Python pickler: storages become persistent ids, New becomes NEWOBJ + BUILD."""

    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages.setdefault(obj.key, obj)
        return ("storage", KINDS[obj.kind], obj.key, "cpu", obj.count, obj.view)

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, New) and id(obj) not in self.memo:
            self.save(obj.cls)
            self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
            self.memoize(obj)
            self.save(obj.state)
            self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def legacy(path, obj, protocol=2):
    """torch.serialization._legacy_save, from its parts."""
    with open(path, "wb") as f:
        for part in (0x1950A86A20F9469CFC6C, 1001, SYS_INFO):
            pickle.dump(part, f, protocol)
        pickler = Pickler(f, protocol)
        pickler.dump(obj)
        keys = sorted(pickler.storages)
        pickle.dump(keys, f, protocol)
        for key in keys:
            f.write(struct.pack("<q", pickler.storages[key].count) + pickler.storages[key].data.tobytes())
    check(path)


def check(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expect.write_expect(path, expect.torch_load(path), by="make_by_hand.py, read by " + expect.made_by())


def v2(storage, offset, size, stride):
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, collections.OrderedDict())


def v1(storage, offset, size, stride):
    return Call(torch._utils._rebuild_tensor, storage, offset, size, stride)


def storage_views():
    floats, longs = Storage("f4", "100", 20, 1), Storage("i8", "200", 6, 2)
    head, tail = floats.part("101", 0, 12), floats.part("102", 8, 12)
    return collections.OrderedDict([
        ("head", v2(head, 0, (3, 4), (4, 1))),
        ("tail_offset", v2(tail, 3, (2, 2), (1, 4))),
        ("tail", v2(tail, 0, (12,), (1,))),
        ("whole", v2(floats, 0, (20,), (1,))),
        ("head_again", v2(head, 0, (12,), (1,))),
        ("longs_view_only", v2(longs.part("201", 2, 4), 1, (3,), (1,))),
    ])


def variables():
    Variable, Parameter = torch.autograd.Variable, torch.nn.Parameter
    weight = Storage("f4", "300", 6, 3)
    hooks = collections.OrderedDict()
    return {
        "tensor": v1(weight, 0, (2, 3), (3, 1)),
        "half": v1(Storage("f2", "301", 4, 4), 1, (3,), (1,)),
        "parameter": Call(Parameter, v1(weight, 0, (3, 2), (2, 1)), state=(True, False, hooks)),
        "parameter_rebuilt": Call(torch._utils._rebuild_parameter, v1(Storage("f8", "302", 2, 5), 0, (2,), (1,)), True, hooks),
        "variable": Call(Variable, v1(Storage("i8", "303", 3, 6), 0, (3,), (1,)), state=(False, False, None)),
        "variable_5": Call(Parameter, state=(v1(Storage("f4", "304", 2, 7), 0, (2,), (1,)), None, hooks, True, False)),
    }


def tensor_setstate():
    return {
        "float": New(torch.FloatTensor, (Storage("f4", "400", 6, 8), 0, (2, 3), (3, 1))),
        "long": New(torch.LongTensor, (Storage("i8", "401", 3, 9), 1, (2,), (1,))),
        "byte_transposed": New(torch.ByteTensor, (Storage("u1", "402", 6, 10), 0, (3, 2), (1, 3))),
    }


class Shared:
    """A tensor of a tar: the pickle has only its key."""

    def __init__(self, key):
        self.key = key


class TarPickler(pickle._Pickler):
    def persistent_id(self, obj):
        return str(obj.key) if isinstance(obj, Shared) else None


def tar(path):
    """`storages`, `tensors` and `pickle` of torch 0.1.0 to 0.1.9, and its `sys_info`."""
    kinds = {"f4": "Float", "f8": "Double", "i8": "Long", "u1": "Byte"}
    roots = [Storage("f4", 11, 12, 11), Storage("i8", 12, 5, 12), Storage("u1", 13, 4, 13), Storage("f8", 14, 3, 14)]
    storages = io.BytesIO()
    pickle.dump(len(roots), storages, 2)
    for root in roots:
        pickle.dump((root.key, "cpu", KINDS[root.kind]), storages, 2)
        storages.write(struct.pack("<q", root.count) + root.data.tobytes())
    pickle.dump([(21, 11, 4, 8), (22, 12, 1, 4), (23, 21, 2, 5)], storages, 2)  # views: (key, root, offset, count)

    described = [  # (key, storage, kind, size, stride, offset)
        (31, 11, "f4", (3, 4), (4, 1), 0), (32, 11, "f4", (4, 3), (1, 4), 0), (33, 21, "f4", (2, 3), (3, 1), 2),
        (34, 22, "i8", (4,), (1,), 0), (35, 13, "u1", (2, 2), (2, 1), 0), (36, 14, "f8", (1, 3), (3, 1), 0),
        (37, 23, "f4", (2, 2), (2, 1), 1)]
    tensors = io.BytesIO()
    pickle.dump(len(described), tensors, 2)
    for key, storage, kind, size, stride, offset in described:
        pickle.dump((key, storage, getattr(torch, kinds[kind] + "Tensor")), tensors, 2)
        n = len(size)
        tensors.write(struct.pack("<i4x%dq" % (2 * n + 1), n, *(size + stride + (offset,))))

    a, b, c, d, e, f, g = [Shared(key) for key, *_ in described]
    main = io.BytesIO()
    TarPickler(main, 2).dump(collections.OrderedDict([
        ("weight", a), ("transposed", b), ("of_view", c), ("long", d), ("mask", e), ("again", a),
        ("list", [f, "text", g]), ("epoch", 4)]))

    sys_info = io.BytesIO()
    pickle.dump({"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, sys_info, 2)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for name, part in (("sys_info", sys_info), ("pickle", main), ("tensors", tensors), ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = part.tell()
            part.seek(0)
            out.addfile(info, part)
    check(path)


def main(out):
    where = expect.folder(out, "torch-legacy", "by-hand") + "/"
    legacy(where + "storage_views.pt", storage_views())
    legacy(where + "variables.pt", variables())
    legacy(where + "tensor_setstate.pt", tensor_setstate())
    tar(expect.folder(out, "torch-tar", "by-hand") + "/state.tar.pt")


if __name__ == "__main__":
    main(sys.argv[1])
