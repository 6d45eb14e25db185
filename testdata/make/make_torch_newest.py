"""What only a recent torch can write, and the ways in which its zip files are written and rewritten.

    python make_torch_newest.py OUTDIR

Made for torch 2.15. Writes OUTDIR/torch-zip/VERSION and OUTDIR/torch-legacy/VERSION.
"""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import torch
from torch import nn

import expect
from expect import numbers
from make_torch import Net, mixed, tensor, views

VERSION = expect.torch_version()
FLOAT8 = ["float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "float8_e8m0fnu"]


def raw(kind, shape, seed):
    """A tensor of any one-byte-or-wider dtype, from random bits."""
    dtype = getattr(torch, kind)
    count = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
    return torch.from_numpy(numbers("uint8", (count,), seed)).view(dtype).reshape(shape)


def every_dtype():
    """Typed storages (rebuild_tensor_v2) and untyped ones (rebuild_tensor_v3) side by side."""
    plain = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
             "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
    state = OrderedDict((kind, tensor(kind, (3, 4), seed)) for seed, kind in enumerate(plain))
    for seed, kind in enumerate(FLOAT8 + ["complex32"]):
        state[kind] = raw(kind, (3, 4), 40 + seed)
    state["float4_e2m1fn_x2"] = torch.from_numpy(numbers("uint8", (3, 4), 50)).view(torch.float4_e2m1fn_x2)
    return state


def bits():
    """Dtypes without a meaning, which safetensors does not have."""
    found = {kind: raw("uint8", (2, 4), 55).view(getattr(torch, kind)) for kind in ("bits8", "bits1x8", "bits2x4", "bits4x2")}
    found["bits16"] = tensor("int16", (2, 2), 56).view(torch.bits16)
    found["weight"] = tensor("float32", (2,), 57)
    return found


def untyped_views():
    """rebuild_tensor_v3: the storage counts bytes, the offset counts elements."""
    base = tensor("uint16", (4, 6), 60)
    wide = tensor("uint32", (10,), 61)
    small = raw("float8_e4m3fn", (4, 4), 62)
    return {"base": base, "row": base[2], "columns": base[:, 1:3], "transposed": base.t(),
            "tail": wide[7:], "scalar": wide[3], "float8_transposed": small.t(), "float8_tail": small[3, 1:],
            "bytes_of_base": base.view(torch.uint8)}


def conj_neg():
    z = tensor("complex64", (2, 3), 63)
    w = tensor("complex128", (4,), 64)
    return {"plain": z, "conj": z.conj(), "conj_transposed": z.t().conj(), "imag_of_conj": tensor("complex64", (2, 3), 72).conj().imag,
            "wide_conj": w.conj(), "neg": torch._neg_view(tensor("float32", (3,), 65))}


def meta():
    return {"weight": tensor("float32", (2, 2), 66), "meta": torch.empty(3, 4, device="meta"),
            "meta_half": torch.empty(2, dtype=torch.float16, device="meta")}


class Tagged(torch.Tensor):
    """A subclass: _rebuild_from_type_v2 with a state."""


def subclasses():
    tagged = tensor("float32", (2, 3), 67).as_subclass(Tagged)
    tagged.tag = "left"
    with_state = nn.Parameter(tensor("float32", (3,), 68))
    with_state.tensor_model_parallel = True
    subclass_parameter = nn.Parameter(tensor("float32", (2,), 69).as_subclass(Tagged))
    hooked = nn.Parameter(tensor("float64", (2,), 70), requires_grad=False)
    return {"tagged": tagged, "parameter_with_state": with_state, "parameter_of_subclass": subclass_parameter,
            "frozen": hooked, "buffer": nn.Buffer(tensor("float32", (2,), 71))}


def quantized():
    values = torch.linspace(-1, 1, 12).reshape(3, 4)
    scales = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64)
    return {
        "quint8": torch.quantize_per_tensor(values, 0.1, 10, torch.quint8),
        "qint8": torch.quantize_per_tensor(values, 0.1, -3, torch.qint8),
        "qint32": torch.quantize_per_tensor(values, 1e-6, 0, torch.qint32),
        "channels": torch.quantize_per_channel(values, scales, torch.tensor([1, 0, -1]), 0, torch.qint8),
        "channels_of_1": torch.quantize_per_channel(values.t(), scales, torch.tensor([1, 2, 3]), 1, torch.quint8),
        "channels_qint32": torch.quantize_per_channel(values, scales, torch.tensor([4, 5, 6]), 0, torch.qint32),
    }


class Reduced:
    """An object of __main__ that pickles as a call with two arguments and a state that is no dict."""

    def __init__(self, weight, note):
        self.weight, self.note = weight, note

    def __reduce__(self):
        return Reduced, (self.weight, self.note), (self.weight * 2, "more")

    def __setstate__(self, state):
        self.more = state


def containers():
    """Keys of every type, nested lists, and objects that torch does not know."""
    t = [tensor("float32", (2,), 80 + n) for n in range(16)]
    counts = defaultdict(list)
    counts["a"].append(t[0])
    return {
        "list": [t[1], [t[2], (t[3], None)], "text"],
        "defaultdict": counts,
        7: t[4], -3: t[5], ("a", 1): t[6], None: t[7], 2.5: t[8], True: t[9], b"\xe9x": t[10],
        "namespace": types.SimpleNamespace(weight=t[11], inner=types.SimpleNamespace(bias=t[12])),
        "numpy": {"array": numbers("float32", (2, 2), 81), "scalar": np.float64(1.5)},
        "same_list": [t[13]] * 3,
        "big_int": 2 ** 200, "set": {1, 2}, "bytes": b"\x00\xff", "size": torch.Size([1, 2]),
        "dtype": torch.bfloat16, "device": torch.device("cuda", 1), "slice": slice(1, 2), "complex": 1 + 2j,
    }


def objects():
    return {"weight": tensor("float32", (2,), 95), "reduced": Reduced(tensor("float32", (3,), 96), "note")}


def objects_again():
    made = objects()
    made["reduced"].more = made["reduced"].__reduce__()[2]
    return made


def objects_as_named(loaded):
    """The same tensors under the names that the pickle gives: constructor arguments and state."""
    reduced = loaded["reduced"]
    named = {"__args__": [reduced.weight, reduced.note], "__state__": reduced.more}
    return {"weight": loaded["weight"], "reduced": named}


def save(obj, path, **options):
    torch.save(obj, path, **options)
    check(obj, path)


def check(obj, path):
    expect.write_expect(path, expect.torch_load(path), obj)


def small():
    return Net().state_dict()


def rewrite(source, target, method):
    """Copies a zip with Python's zipfile: no data descriptors, no 64-byte alignment, `method(name)` chooses."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method(name)
            new.writestr(info, old.read(name))


def storages_of(data_pkl):
    """{storage key: byte-swap unit} from a data.pkl, as torch.load sees it."""
    units = {}

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            return (module, name) if name.endswith("Storage") else super().find_class(module, name)

        def persistent_load(self, pid):
            kind = pid[1][1]
            unit = {"FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
                    "IntStorage": 4, "ShortStorage": 2, "ComplexFloatStorage": 4, "ComplexDoubleStorage": 8}.get(kind, 1)
            units[pid[2]] = unit
            dtype = getattr(torch, kind)().dtype
            return torch.storage.TypedStorage(wrap_storage=torch.UntypedStorage(pid[4] * dtype.itemsize), dtype=dtype,
                                              _internal=True)

    Reader(io.BytesIO(data_pkl)).load()
    return units


def big_endian(source, target):
    """What a big-endian machine would have written: `byteorder` says big, each storage is swapped by its dtype."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        prefix = old.namelist()[0].split("/")[0]
        units = storages_of(old.read(prefix + "/data.pkl"))
        for name in old.namelist():
            data = old.read(name)
            if name == prefix + "/byteorder":
                data = b"big"
            key = name[len(prefix + "/data/"):]
            if name.startswith(prefix + "/data/") and units[key] > 1:
                data = np.frombuffer(data, "u%d" % units[key]).byteswap().tobytes()
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def moved_to_cuda(source, target):
    """The same file as if saved from a GPU: only the location strings differ."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("/data.pkl"):
                assert data.count(b"X\x03\x00\x00\x00cpu") == 1  # memoized after the first
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def main(out):
    torch.manual_seed(1)
    where = expect.folder(out, "torch-zip", VERSION) + "/"
    for make in (every_dtype, bits, untyped_views, conj_neg, meta, subclasses, quantized, containers):
        save(make(), where + make.__name__ + ".pt")
    torch.save(objects(), where + "objects.pt")
    expect.write_expect(where + "objects.pt", objects_as_named(expect.torch_load(where + "objects.pt")),
                        objects_as_named(objects_again()))
    save(tensor("float32", (2, 3), 90), where + "bare_tensor.pt")
    save([tensor("float32", (2,), 91), {"a": tensor("int8", (3,), 92)}], where + "list_root.pt")

    for protocol in (1, 2, 3, 4, 5):
        save(small(), where + "protocol%d.pt" % protocol, pickle_protocol=protocol)
    save(small(), where + "ünïcode 模型.pt")
    buffer = io.BytesIO()
    torch.save(small(), buffer)
    with open(where + "from_buffer.pt", "wb") as f:
        f.write(buffer.getvalue())
    check(small_again(buffer), where + "from_buffer.pt")

    torch.serialization.set_crc32_options(False)
    save(small(), where + "no_crc32.pt")
    torch.serialization.set_crc32_options(True)
    torch.utils.serialization.config.save.storage_alignment = 512
    save({"a": tensor("float32", (2,), 93)}, where + "aligned_512.pt")
    torch.utils.serialization.config.save.storage_alignment = 64
    with torch.serialization.skip_data():
        torch.save(small(), where + "skip_data.pt")
    check(expect.torch_load(where + "skip_data.pt"), where + "skip_data.pt")

    source = where + "protocol2.pt"
    loaded = expect.torch_load(source)
    rewrite(source, where + "deflated.pt", lambda name: zipfile.ZIP_DEFLATED)
    rewrite(source, where + "deflated_partly.pt",
            lambda name: zipfile.ZIP_DEFLATED if name.endswith(("0", "2", "4")) else zipfile.ZIP_STORED)
    rewrite(source, where + "no_data_descriptors.pt", lambda name: zipfile.ZIP_STORED)
    moved_to_cuda(source, where + "from_cuda.pt")
    for name in ("deflated", "deflated_partly", "no_data_descriptors", "from_cuda"):
        check(loaded, where + name + ".pt")

    state = OrderedDict((kind, tensor(kind, (2, 3), 94)) for kind in (
        "bool", "uint8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"))
    state["transposed"] = state["float64"].t()
    torch.save(state, where + "big_endian.pt")
    big_endian(where + "big_endian.pt", where + "big_endian.tmp")
    os.replace(where + "big_endian.tmp", where + "big_endian.pt")
    check(state, where + "big_endian.pt")

    legacy = expect.folder(out, "torch-legacy", VERSION) + "/"
    for protocol in (0, 1, 2, 3, 4, 5):
        try:
            save(small(), legacy + "protocol%d.pt" % protocol, pickle_protocol=protocol,
                 _use_new_zipfile_serialization=False)
        except Exception as error:
            print("legacy protocol", protocol, "refused:", repr(error))
            os.unlink(legacy + "protocol%d.pt" % protocol)
    for make in (conj_neg, quantized, containers):
        save(make(), legacy + make.__name__ + ".pt", _use_new_zipfile_serialization=False)


def small_again(buffer):
    buffer.seek(0)
    return torch.load(buffer)


if __name__ == "__main__":
    main(sys.argv[1])
