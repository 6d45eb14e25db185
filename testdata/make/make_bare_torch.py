# -*- coding: utf-8 -*-
"""torch tensors and modules through plain pickle.dump: each storage is bytes for torch.storage._load_from_bytes.

    python make_bare_torch.py OUTDIR

Any torch version. Writes OUTDIR/bare-pickle/torch-VERSION-pyX.Y.
"""
from __future__ import print_function, unicode_literals

import pickle
import platform
import sys

import torch
from torch import nn

import expect
from make_torch import RELEASE, Net, mixed, tensor

PY2 = sys.version_info[0] == 2
NAME = "torch-%s-py%s" % (expect.torch_version(), ".".join(platform.python_version_tuple()[:2]))


def shared():
    """Views of one storage, one tensor twice, a numpy array beside them."""
    base = tensor("float32", (3, 4), 1)
    return {"base": base, "transposed": base.t(), "row": base[1], "again": base,
            "parameter": nn.Parameter(tensor("float64", (2,), 2)), "scalar": torch.tensor(3), "empty": torch.empty(0, 2),
            "nested": [tensor("uint8", (3,), 3), ("text", tensor("int64", (1,), 4))],
            "array": expect.numbers("f4", (2, 2), 5)}


def save(obj, name, protocol):
    path = "%s/%s_p%d.pkl" % (WHERE, name, protocol)
    with open(path, "wb") as f:
        pickle.dump(obj, f, protocol)
    with open(path, "rb") as f:
        loaded = pickle.load(f)
    expect.write_expect(path, loaded, obj)


def main(out):
    global WHERE
    torch.manual_seed(6)
    WHERE = expect.folder(out, "bare-pickle", NAME)
    for protocol in (0, 1, 2) if PY2 else range(pickle.HIGHEST_PROTOCOL + 1):
        save(shared(), "shared", protocol)
    last = protocol
    if RELEASE >= (1, 6):
        save(mixed(True), "mixed", last)
    save(Net(), "module", 2)
    save(tensor("float32", (2, 2), 7), "tensor_root", last)


if __name__ == "__main__":
    main(sys.argv[1])
