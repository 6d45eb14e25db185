# -*- coding: utf-8 -*-
"""State dicts, views, training checkpoints and whole modules, as the installed torch saves them.

    python make_torch.py OUTDIR

One run a torch version (1.0 to 2.15). Writes OUTDIR/torch-zip/VERSION (1.4 and later),
OUTDIR/torch-legacy/VERSION (where that was the default, and for the newest) and
OUTDIR/modules/VERSION.
"""
from __future__ import print_function, unicode_literals

import argparse
import sys
from collections import OrderedDict

import torch
from torch import nn

import expect
from expect import numbers

VERSION = expect.torch_version()
RELEASE = tuple(int(n) for n in VERSION.split(".")[:2])
ZIP_IS_DEFAULT = RELEASE >= (1, 6)
HAS_ZIP = RELEASE >= (1, 4)
NEWEST = RELEASE >= (2, 14)
MODULE_RELEASES = [(1, 0), (1, 1), (1, 3), (1, 5), (1, 8), (1, 13), (2, 1)]  # more would add nothing


def tensor(kind, shape, seed=0):
    """A torch tensor of that dtype name."""
    if kind == "bfloat16":
        bits = numbers("float32", shape, seed).view("<u4") & 0xFFFF0000
        return torch.from_numpy(bits.astype("<u4").view("<f4")).to(torch.bfloat16)
    if kind == "bool" and RELEASE < (1, 2):
        return torch.from_numpy(numbers("bool", shape, seed).astype("u1"))
    if kind == "int8" and RELEASE < (1, 1):
        return torch.from_numpy(numbers(kind, shape, seed).astype("i4")).to(torch.int8)
    if kind.startswith("float8"):
        return torch.from_numpy(numbers("uint8", shape, seed)).view(getattr(torch, kind))
    return torch.from_numpy(numbers(kind, shape, seed))


class Net(nn.Module):
    """A convolution, a batch norm (buffers) and a linear layer: 100 numbers or so."""

    def __init__(self):
        super(Net, self).__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean(dim=2))


def mixed(legacy):
    """A state_dict() with its _metadata, and a tensor of each dtype that this version has.

    Not float8 or uint16 to uint64 in a legacy file: torch 2.15 writes them there and cannot load them back
    (their storage is an UntypedStorage, of which _legacy_load asks the dtype).
    """
    kinds = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
    if RELEASE >= (1, 2):
        kinds.append("bool")
    if RELEASE >= (1, 3):
        kinds.append("bfloat16")
    if RELEASE >= (1, 6):
        kinds += ["complex64", "complex128"]
    if RELEASE >= (2, 3) and not legacy:
        kinds += ["float8_e5m2", "float8_e4m3fn"]
    if RELEASE >= (2, 8) and not legacy:
        kinds += ["uint16", "uint32", "uint64"]
    state = Net().state_dict()
    for seed, kind in enumerate(kinds):
        state["dtypes." + kind] = tensor(kind, (2, 5), seed)
    if RELEASE >= (1, 3):
        state["quantized"] = torch.quantize_per_tensor(torch.arange(6.0).reshape(2, 3), 0.25, 3, torch.quint8)
    if RELEASE >= (1, 4):
        state["quantized_channels"] = torch.quantize_per_channel(
            torch.arange(6.0).reshape(2, 3), torch.tensor([0.5, 0.25], dtype=torch.double),
            torch.tensor([1, 2]), 0, torch.qint8)
    return state


def views(legacy):
    """Strided, shared and degenerate tensors."""
    base = tensor("float32", (4, 6), 20)
    line = tensor("int64", (24,), 21)
    tied = tensor("float32", (3, 3), 22)
    rows = 0 if RELEASE < (1, 1) else 3  # torch 1.0 writes (3, 0, 2) and then cannot load it
    return OrderedDict([
        ("base", base),
        ("transposed", base.t()),
        ("step", base[::2, 1::2]),
        ("narrow", base.narrow(0, 1, 2)),
        ("expanded", tensor("float32", (1, 3), 23).expand(4, 3)),
        ("scalar", torch.tensor(2.5)),
        ("scalar_view", line[7]),
        ("empty", torch.empty(0)),
        ("empty_shape", torch.empty(rows, 0, 2)),
        ("permuted", line.view(2, 3, 4).permute(2, 0, 1)),
        ("overlap_a", line[2:14]),
        ("overlap_b", line[10:20]),
        ("as_strided", torch.as_strided(line, (3, 4), (2, 3), 1)),
        ("tied_a", tied),
        ("tied_b", tied),
        ("parameter", nn.Parameter(tied.clone())),
        ("tied_view", tied.view(9)),
    ])


def training(legacy):
    """What a training loop saves: weights, Adam's state, arguments."""
    torch.manual_seed(3)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(torch.ones(4, 2, 5)).sum().backward()
    optimizer.step()
    return {
        "epoch": 7,
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": 0.75,
        "args": argparse.Namespace(lr=0.01, data="sets/a", layers=[3, 2], resume=None),
    }


class Nested(nn.Module):
    """A class of __main__: containers, buffers, shared parts, tensors outside of state_dict()."""

    def __init__(self):
        super(Nested, self).__init__()
        self.body = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)))
        self.heads = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, bias=False)])
        self.heads[1].weight = self.heads[0].weight
        self.twin = self.heads[0]
        self.table = nn.ParameterList([nn.Parameter(torch.ones(2))])
        self.register_parameter("absent", None)
        self.register_buffer("steps", torch.tensor(5))
        if RELEASE >= (1, 6):
            self.register_buffer("cache", torch.arange(4.0), persistent=False)
        self.anchors = torch.arange(6.0).view(3, 2)
        self.extra = {"grid": [torch.zeros(2), "text"]}


def module_files():
    torch.manual_seed(4)
    yield "nested", Nested()
    yield "data_parallel", nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    yield "weight_norm", nn.utils.weight_norm(nn.Linear(3, 2))
    spectral = nn.utils.spectral_norm(nn.Linear(3, 2))
    spectral(torch.ones(1, 3))
    yield "spectral_norm", spectral
    yield "in_a_dict", {"model": Net().half(), "ema": None, "updates": 3, "epoch": -1}
    if RELEASE >= (1, 9):
        from torch.nn.utils import parametrizations
        parametrized = nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 2)))
        if RELEASE >= (2, 1):
            parametrized.append(parametrizations.weight_norm(nn.Linear(2, 2)))
        yield "parametrized", parametrized.state_dict()  # torch refuses to pickle such a module whole


def save(obj, path, **options):
    torch.save(obj, path, **options)
    expect.write_expect(path, expect.torch_load(path), obj)


def main(out):
    torch.manual_seed(1)
    kinds = [("mixed", mixed), ("views", views), ("training", training)]
    if HAS_ZIP:
        where = expect.folder(out, "torch-zip", VERSION)
        options = {} if ZIP_IS_DEFAULT else {"_use_new_zipfile_serialization": True}
        for name, make in kinds:
            save(make(False), "%s/%s.pt" % (where, name), **options)
    if not ZIP_IS_DEFAULT or NEWEST:
        where = expect.folder(out, "torch-legacy", VERSION)
        options = {"_use_new_zipfile_serialization": False} if ZIP_IS_DEFAULT else {}
        for name, make in kinds:
            save(make(True), "%s/%s.pt" % (where, name), **options)
    if not (NEWEST or RELEASE in MODULE_RELEASES):
        return
    where = expect.folder(out, "modules", VERSION)
    for name, obj in module_files():
        save(obj, "%s/%s.pt" % (where, name))


if __name__ == "__main__":
    main(sys.argv[1])
