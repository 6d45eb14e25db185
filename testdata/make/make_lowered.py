# -*- coding: utf-8 -*-
"""Sparse, quantized and nested tensors, as the installed torch saves them.

    python make_lowered.py OUTDIR

One run a torch version (1.3 to 2.15). Writes OUTDIR/lowered/sparse/VERSION, OUTDIR/lowered/quantized/VERSION and
OUTDIR/lowered/nested/VERSION: NAME.pt as a zip and NAME_legacy.pt, where that version has both.
"""
from __future__ import print_function, unicode_literals

import sys
from collections import OrderedDict

import torch
from torch import nn

import expect
import lowered
from lowered import tensor
from make_torch import HAS_ZIP, RELEASE, VERSION, ZIP_IS_DEFAULT


# -- sparse -------------------------------------------------------------------------------------

def coo(indices, values, size, dtype=torch.int64):
    return torch.sparse_coo_tensor(torch.tensor(indices, dtype=dtype), values, size)


def sparse_coo():
    uncoalesced = coo([[0, 2, 0], [1, 0, 1]], tensor("float32", (3,), 1), (3, 4))
    dense = torch.zeros(4, 5)
    dense[1, 2], dense[3, 0], dense[3, 4] = 1.5, -2.0, 3.25
    base = tensor("float64", (8,), 2)
    state = nn.Linear(2, 1).state_dict()
    state["uncoalesced"] = uncoalesced
    state["coalesced"] = uncoalesced.coalesce()
    state["from_dense"] = dense.to_sparse()  # its indices are a transposed view
    state["hybrid"] = coo([[0, 2]], tensor("float32", (2, 3, 2), 3), (4, 3, 2))
    state["sparse_dims_3"] = coo([[0, 1], [1, 0], [2, 1]], tensor("int64", (2,), 4), (2, 2, 3))
    state["empty"] = torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), (3, 4))
    state["empty_hybrid"] = torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0, 2), (3, 2))
    state["int8"] = coo([[0, 3]], tensor("int8", (2,), 5), (4,))
    state["half"] = coo([[0, 3]], tensor("float16", (2,), 6), (4,))
    state["values_are_a_view"] = coo([[1, 2, 3]], base[1:7:2], (4,))
    state["base"] = base
    state["again"] = state["uncoalesced"]
    if RELEASE >= (1, 8):
        state["complex"] = coo([[1]], tensor("complex64", (1,), 7), (2,))
    if RELEASE >= (2, 0):
        state["bool"] = coo([[1, 0]], torch.tensor([True, False]), (2,))
        state["bfloat16"] = coo([[1, 0]], tensor("bfloat16", (2,), 8), (2,))
        state["complex128"] = coo([[1, 0]], tensor("complex128", (2,), 9), (2,))
    return {"state_dict": state, "epoch": 1}


class Graph(nn.Module):
    def __init__(self):
        super(Graph, self).__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("adjacency", coo([[0, 1, 2], [1, 2, 0]], tensor("float32", (3,), 10), (3, 3)))
        self.constraint = coo([[0], [1]], torch.ones(1), (2, 2))  # a plain attribute: left out


def sparse_csr():
    """torch.sparse_csr since 1.8 (saved since 1.11)."""
    crow, col = torch.tensor([0, 2, 2, 3]), torch.tensor([0, 3, 1])
    found = nn.Linear(2, 1).state_dict()
    found["csr"] = torch.sparse_csr_tensor(crow, col, tensor("float32", (3,), 11), (3, 4))
    found["int32_indices"] = torch.sparse_csr_tensor(crow.int(), col.int(), tensor("float64", (3,), 12), (3, 4))
    found["int_values"] = torch.sparse_csr_tensor(crow, col, tensor("int64", (3,), 13), (3, 4))
    found["empty"] = torch.sparse_csr_tensor(torch.zeros(4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64),
                                             torch.zeros(0), (3, 4))
    if RELEASE >= (1, 12):
        found["batch"] = torch.sparse_csr_tensor(torch.stack([crow, crow]), torch.stack([col, col]),
                                                 tensor("float32", (2, 3), 14), (2, 3, 4))
    return found


def sparse_compressed():
    """The four compressed layouts, with batch and dense dimensions."""
    crow, col = torch.tensor([0, 2, 2, 3]), torch.tensor([0, 3, 1])
    brow, bcol = torch.tensor([0, 1, 3]), torch.tensor([1, 0, 2])
    values, blocks = tensor("float32", (3,), 15), tensor("float32", (3, 2, 3), 16)
    return {
        "csr": torch.sparse_csr_tensor(crow, col, values, (3, 4)),
        "csc": torch.sparse_csc_tensor(crow, col, tensor("int16", (3,), 17), (4, 3)),
        "bsr": torch.sparse_bsr_tensor(brow, bcol, blocks, (4, 9)),
        "bsc": torch.sparse_bsc_tensor(brow, bcol, blocks.half(), (6, 6)),
        "csr_dense_dim": torch.sparse_csr_tensor(crow, col, tensor("float32", (3, 2), 18), (3, 4, 2)),
        "bsr_batch": torch.sparse_bsr_tensor(brow.repeat(2, 1), bcol.repeat(2, 1), blocks.repeat(2, 1, 1, 1), (2, 4, 9)),
        "bsc_int32": torch.sparse_bsc_tensor(brow.int(), bcol.int(), tensor("bfloat16", (3, 1, 2), 19), (3, 4)),
        "from_dense": torch.eye(3).to_sparse_csc(),
        "weight": tensor("float32", (2, 2), 20),
        "parameter": nn.Parameter(torch.sparse_csr_tensor(crow, col, values, (3, 4))),
    }


def sparse_bare():
    return coo([[0, 2], [1, 0]], tensor("float32", (2,), 21), (3, 4))


def sparse_files():
    if RELEASE >= (1, 4):
        yield "coo", sparse_coo()
        yield "module", Graph()
        yield "bare", sparse_bare()
    if RELEASE >= (1, 11):
        yield "csr", sparse_csr()
    if RELEASE >= (2, 0):
        yield "compressed", sparse_compressed()
        yield "parameter", OrderedDict(table=nn.Parameter(sparse_bare()), weight=nn.Parameter(torch.ones(2)))


# -- quantized ----------------------------------------------------------------------------------

def quantized_files():
    values = torch.linspace(-1, 1, 12).reshape(3, 4)
    scales = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64)
    zeros = torch.tensor([1, 0, -1])
    state = OrderedDict([("weight", tensor("float32", (2, 2), 30))])
    for kind, scale, zero in (("quint8", 0.1, 10), ("qint8", 0.1, -3), ("qint32", 1e-6, 0)):
        state[kind] = torch.quantize_per_tensor(values, scale, zero, getattr(torch, kind))
    state["transposed"] = state["quint8"].t()
    state["scalar"] = torch.quantize_per_tensor(torch.tensor(0.5), 0.25, 1, torch.quint8)
    state["rows"] = state["quint8"][1:]
    state["columns"] = state["quint8"][:, ::2]
    state["again"] = state["quint8"]
    if RELEASE >= (1, 4):
        state["empty"] = torch.quantize_per_tensor(torch.zeros(0, 3), 0.5, 0, torch.qint8)
    yield "per_tensor", state

    quantize = torch.quantize_per_channel
    channels = OrderedDict([
        ("axis_0", quantize(values, scales, zeros, 0, torch.qint8)),
        ("axis_1", quantize(values.t().contiguous(), scales, zeros + 2, 1, torch.quint8)),
        ("weight", tensor("float32", (2, 2), 31)),
    ])
    if RELEASE >= (1, 4):
        channels["axis_1_of_3"] = quantize(torch.linspace(-1, 1, 12).reshape(2, 3, 2), scales, zeros, 1, torch.qint8)
        channels["last_axis"] = quantize(torch.linspace(-1, 1, 12).reshape(2, 2, 3), scales, zeros, 2, torch.qint8)
    if RELEASE >= (1, 8):  # 1.5 writes it and cannot load it
        channels["int32"] = quantize(values, scales, zeros + 5, 0, torch.qint32)
    yield "per_channel", channels

    if RELEASE >= (1, 8):
        float_scales, float_zeros = scales.float(), torch.tensor([1.0, 0.5, 2.0])
        odd = torch.linspace(-1, 1, 15).reshape(3, 5)
        floats = OrderedDict([
            ("quint8", quantize(values, float_scales, float_zeros, 0, torch.quint8)),
            ("quint4x2", quantize(values, float_scales, float_zeros, 0, torch.quint4x2)),
            ("quint4x2_odd", quantize(odd, float_scales, float_zeros, 0, torch.quint4x2)),
            ("weight", tensor("float32", (2, 2), 32)),
        ])
        if RELEASE >= (2, 0):
            floats["quint4x2_per_tensor"] = torch.quantize_per_tensor(values, 0.25, 4, torch.quint4x2)
            floats["quint2x4"] = quantize(values, float_scales, float_zeros, 0, torch.quint2x4)
            floats["quint2x4_odd"] = quantize(odd, float_scales, float_zeros, 0, torch.quint2x4)
        yield "float_qparams", floats
    for found in quantized_modules():
        yield found


def quantized_modules():
    """A dynamically quantized model: its state_dict() holds tuples, its pickle a torch.ScriptObject."""
    if RELEASE < (1, 8):
        return
    torch.backends.quantized.engine = [e for e in ("fbgemm", "qnnpack", "x86")
                                       if e in torch.backends.quantized.supported_engines][0]
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    model = torch.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    yield "state_dict", model.state_dict()
    yield "module", model.eval()


# -- nested -------------------------------------------------------------------------------------

def nested_files():
    if RELEASE < (2, 3):
        return
    a, b, c = tensor("float32", (2, 3), 40), tensor("float32", (4, 3), 41), tensor("float32", (1, 3), 42)
    strided = torch.nested.nested_tensor([a, b, c])
    yield "strided", OrderedDict([
        ("rows", strided),
        ("transposed", strided.transpose(1, 2)),
        ("both_ragged", torch.nested.nested_tensor([tensor("int64", (2, 2), 43), tensor("int64", (1, 3), 44)])),
        ("half", torch.nested.nested_tensor([a.half(), b.half()])),
        ("parameter", nn.Parameter(torch.nested.nested_tensor([a, b]))),
        ("weight", tensor("float32", (2, 2), 45)),
    ])
    jagged = torch.nested.nested_tensor([a, b, c], layout=torch.jagged)
    holes = torch.nested.narrow(tensor("float32", (3, 5, 2), 46), 1, torch.tensor([0, 1, 2]), torch.tensor([2, 3, 1]),
                                layout=torch.jagged)
    found = OrderedDict([
        ("rows", jagged),
        ("transposed", jagged.transpose(1, 2)),
        ("with_lengths", holes),
        ("from_values", torch.nested.nested_tensor_from_jagged(tensor("bfloat16", (5, 2), 47), torch.tensor([0, 2, 5]))),
        ("int32_offsets", torch.nested.nested_tensor_from_jagged(tensor("int64", (4,), 48),
                                                                 torch.tensor([0, 1, 4], dtype=torch.int32))),
        ("parameter", nn.Parameter(jagged)),
        ("weight", tensor("float32", (2, 2), 49)),
    ])
    yield "jagged", found
    yield "bare", jagged


# -- files --------------------------------------------------------------------------------------

def save(obj, path, **options):
    torch.save(obj, path, **options)
    try:
        loaded = expect.torch_load(path)
    except RuntimeError as error:
        # torch 1.4 to 1.13 checks the indices of a sparse tensor of a legacy file before it has read them.
        # torch 2.15 loads these files: make/check_lowered.py compares.
        if "size is inconsistent with indices" not in str(error) and "found negative index" not in str(error):
            raise
        print("not loaded by its own torch:", path)
        loaded = obj
    lowered.write_expect(path, loaded, obj)


# What differs between the versions; the rest would add nothing.
ZIP = {
    (1, 4): ["sparse/coo", "quantized/per_channel"],
    (1, 5): ["sparse/module"],
    (1, 8): ["sparse/coo", "quantized/per_channel", "quantized/float_qparams", "quantized/state_dict"],
    (1, 12): ["sparse/csr"],
    (2, 5): ["nested/strided", "nested/jagged"],
}
LEGACY = {
    (1, 3): ["quantized/per_tensor", "quantized/per_channel"],
    (1, 4): ["sparse/coo"],
    (1, 12): ["sparse/csr"],
    (2, 15): ["sparse/compressed", "quantized/float_qparams", "nested/jagged"],
}


def main(out):
    for kind, files in (("sparse", sparse_files), ("quantized", quantized_files), ("nested", nested_files)):
        torch.manual_seed(1)
        for name, obj in files():
            which = kind + "/" + name
            path = "%s/lowered/%s/%s/%s" % (out, kind, VERSION, name)
            if RELEASE == (2, 15) or which in ZIP.get(RELEASE, []):
                expect.folder(expect.os.path.dirname(path))
                save(obj, path + ".pt", **({} if ZIP_IS_DEFAULT else {"_use_new_zipfile_serialization": True}))
            if which in LEGACY.get(RELEASE, []):
                expect.folder(expect.os.path.dirname(path))
                save(obj, path + "_legacy.pt", **({"_use_new_zipfile_serialization": False} if ZIP_IS_DEFAULT else {}))


if __name__ == "__main__":
    main(sys.argv[1])
