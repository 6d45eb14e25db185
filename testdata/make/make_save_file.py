"""State dicts, each with the SHA-256 of the safetensors file that the reference implementation writes of it.

    python make_save_file.py OUTDIR

Needs torch 2.15 and safetensors 0.8.0. Writes OUTDIR/save-file. Two names of the same view keep the
alphabetically first; views that overlap otherwise are cloned. safetensors writes its metadata keys in
random order: this repeats until they are sorted.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections import OrderedDict

import torch
from torch import nn

import safetensors
from safetensors.torch import save_file

import expect
from make_torch import Net, tensor, training, views
from make_torch_newest import FLOAT8, quantized, raw


def files():
    """(name, object, depickle's arguments, what is taken from the loaded object)"""
    whole = lambda obj: obj
    yield "f32", Net().state_dict(), [], whole
    kinds = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
             "float16", "bfloat16", "float32", "float64", "complex64"]
    yield "mixed_dtypes", {kind: tensor(kind, (3, 5), n) for n, kind in enumerate(kinds)}, [], whole
    odd = ['quo"te', "back\\slash", "new\nline", "tab\tbell\x07", "ünïcode", "模型.重み", "\U0001f600", "slash/y",
           "del\x7f", "\u2028sep", "a b", "A", "a", "a.b", "a-b", "10", "9"]
    yield "names", {name: tensor("float32", (n % 3 + 1,), n) for n, name in enumerate(odd)}, [], whole
    emb = tensor("float32", (4, 3), 1)
    yield "tied_one", {"lm_head.weight": emb, "model.embed.weight": emb, "norm": tensor("float32", (3,), 2)}, [], whole
    tied = OrderedDict((name, emb) for name in ("z.weight", "encoder.weight", "decoder.weight", "a.b.weight"))
    for name in ("y.bias", "x.bias", "w.bias"):
        tied[name] = tied.get("y.bias", tensor("float16", (3,), 3))
    tied["odd \"name\" é"] = tied["z.weight"]
    yield "tied_several", tied, [], whole
    flat = tensor("float32", (20,), 4)
    yield "overlaps", {"a": flat[:12], "b": flat[8:], "whole": flat, "matrix": flat.view(4, 5), "same": flat[:12]}, [], whole
    yield "empty", {"none": torch.empty(0), "rows": torch.empty(0, 3, dtype=torch.int64), "columns": torch.empty(2, 0, 4),
                    "one": tensor("int8", (1,), 5)}, [], whole
    yield "scalars", {"f32": torch.tensor(1.5), "f64": torch.tensor(-0.0, dtype=torch.float64),
                      "i64": torch.tensor(-7), "bool": torch.tensor(True), "u8": torch.tensor(3, dtype=torch.uint8)}, [], whole
    yield "bool", {"mask": tensor("bool", (3, 3), 6), "flag": tensor("bool", (1,), 7)}, [], whole
    yield "complex64", {"spectrum": tensor("complex64", (2, 3), 8), "conj": tensor("complex64", (3,), 9).conj()}, [], whole
    yield "float8", {kind: raw(kind, (3, 3), n) for n, kind in enumerate(FLOAT8)}, [], whole
    yield "float4", {"packed": torch.from_numpy(expect.numbers("uint8", (3, 4), 10)).view(torch.float4_e2m1fn_x2),
                     "scale": raw("float8_e8m0fnu", (3, 1), 11)}, [], whole
    yield "many_small", [tensor("float32", (n % 4 + 1,), n) for n in range(300)], ["--root", "."], (
        lambda obj: {"%d" % n: t for n, t in enumerate(obj)})
    base = tensor("float64", (3, 4), 12)
    yield "transposed", {"t": base.t(), "step": base[:, ::2], "permuted": tensor("int16", (2, 3, 4), 13).permute(2, 0, 1),
                         "expanded": tensor("float16", (1, 3), 14).expand(2, 3)}, [], whole
    yield "optimizer", {"optimizer": training(False)["optimizer"]}, ["--root", "."], (
        lambda obj: {"optimizer.state.%d.%s" % (n, key): value
                     for n, state in obj["optimizer"]["state"].items() for key, value in state.items()})
    yield "training_auto", training(False), [], lambda obj: obj["state_dict"]
    torch.manual_seed(5)
    tied_net = nn.Module()
    tied_net.embed = nn.Embedding(5, 2)
    tied_net.norm = nn.BatchNorm1d(2)
    tied_net.head = nn.Linear(2, 5, bias=False)
    tied_net.head.weight = tied_net.embed.weight
    yield "module", tied_net, [], lambda obj: obj.state_dict()
    yield "parameters", {"w": nn.Parameter(tensor("float32", (2, 2), 15)),
                         "frozen": nn.Parameter(tensor("bfloat16", (2,), 16), requires_grad=False)}, [], whole
    yield "same_sizes", {name: tensor(kind, (2,), 17) for name, kind in
                         [("b", "int32"), ("a", "float32"), ("d", "uint32"), ("c", "float32"), ("f", "int64"),
                          ("e", "float64"), ("h", "float16"), ("g", "bfloat16"), ("j", "int16"), ("i", "uint16"),
                          ("l", "bool"), ("k", "uint8"), ("n", "int8"), ("m", "complex64"), ("o", "uint64")]}, [], whole


def same_view(t):
    if t.numel() == 0:
        return id(t)
    return t.untyped_storage().data_ptr(), t.storage_offset(), t.shape, t.stride(), t.dtype, t.is_conj()


def drop_duplicates(state):
    """({kept name: tensor}, {dropped: kept})"""
    kept, aliases, first = {}, {}, {}
    for name in sorted(state):
        view = same_view(state[name])
        if view in first:
            aliases[name] = first[view]
        else:
            first[view] = name
            kept[name] = state[name]
    return kept, aliases


def contiguous(t):
    if t.dtype == torch.float4_e2m1fn_x2:  # torch has no copy kernel for it
        assert t.is_contiguous()
        return t
    return t.detach().resolve_conj().clone(memory_format=torch.contiguous_format)


def reference_file(kept, aliases):
    """The bytes that save_file writes, of the run in which the metadata keys came out sorted."""
    metadata = dict({"format": "pt"}, **aliases)
    path = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    for _ in range(1000000):
        save_file(kept, path, metadata=metadata)
        with open(path, "rb") as f:
            data = f.read()
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        if list(header["__metadata__"]) == sorted(metadata):
            return data
    raise SystemExit("no sorted header in a million tries")


def main(out):
    assert safetensors.__version__ == "0.8.0"
    where = expect.folder(out, "save-file") + "/"
    torch.manual_seed(1)
    for name, obj, args, take in files():
        path = where + name + ".pt"
        torch.save(obj, path, _use_new_zipfile_serialization=name != "many_small")  # 300 zip members would be 80 KB
        loaded = expect.torch_load(path)
        kept, aliases = drop_duplicates(take(loaded))
        kept = {key: contiguous(t) for key, t in kept.items()}
        data = reference_file(kept, aliases)
        header = data[8:8 + int.from_bytes(data[:8], "little")].decode()
        more = {"aliases": aliases} if aliases else {}
        if len(header) < 5000:
            more["save_file_header"] = header
        expect.write_expect(path, kept, drop_and_copy(take(obj)), args=args,
                            save_file_sha256=hashlib.sha256(data).hexdigest(), **more)


def drop_and_copy(state):
    return {name: contiguous(t) for name, t in drop_duplicates(state)[0].items()}


if __name__ == "__main__":
    main(sys.argv[1])
