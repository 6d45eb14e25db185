"""Network pickles of the StyleGAN2-ADA and StyleGAN3 kind: each module is stored with the source text of its class.

    python make_stylegan.py OUTDIR

The layout is that of `torch_utils.persistence` (version 6) and `dnnlib.util.EasyDict`; the modules of those names here are this
script's own and only give the pickle its globals. Writes OUTDIR/frameworks/stylegan/torch-VERSION.
"""
from __future__ import print_function

import pickle
import sys
import types

import torch
from torch import nn

import expect
import lowered
from lowered import tensor

SOURCE = "import torch\n\nclass Mapping(torch.nn.Module):\n    pass\n\nclass Generator(torch.nn.Module):\n    pass\n"


def module(name, **members):
    """A module of that name, which owns `members`."""
    made = types.ModuleType(name)
    for key, value in members.items():
        value.__module__ = name
        setattr(made, key, value)
    sys.modules[name] = made
    if "." in name:
        setattr(sys.modules[name.split(".")[0]], name.split(".")[1], made)


class EasyDict(dict):
    pass


def _reconstruct_persistent_obj(meta):
    """Reads back without running the source: the class is looked up by its name here."""
    obj = CLASSES[meta["class_name"]].__new__(CLASSES[meta["class_name"]])
    obj.__dict__.update(meta["state"])
    return obj


module("dnnlib")
module("dnnlib.util", EasyDict=EasyDict)
module("torch_utils")
module("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)


class Persistent(nn.Module):
    def __init__(self, *args, **kwargs):
        super(Persistent, self).__init__()
        self._init_args, self._init_kwargs = args, kwargs

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src=SOURCE, class_name=type(self).__name__, state=dict(self.__dict__))
        return _reconstruct_persistent_obj, (meta,), None


class Mapping(Persistent):
    def __init__(self, seed, **kwargs):
        super(Mapping, self).__init__(**kwargs)
        self.fc0 = nn.Linear(2, 3)
        self.fc0.weight = nn.Parameter(tensor("float32", (3, 2), seed))
        self.fc0.bias = nn.Parameter(tensor("float32", (3,), seed + 1))
        self.register_buffer("w_avg", tensor("float32", (3,), seed + 2))


class Generator(Persistent):
    def __init__(self, seed, **kwargs):
        super(Generator, self).__init__(seed, **kwargs)
        self.mapping = Mapping(seed, z_dim=2, w_dim=3)
        self.const = nn.Parameter(tensor("float16", (2, 2), seed + 3))
        self.register_buffer("resample_filter", tensor("float32", (4,), seed + 4))
        self.plain = tensor("float32", (2,), seed + 5)  # a plain attribute: left out


class Options(object):
    """A persistent class that is no module."""

    def __init__(self, seed):
        self.matrix, self.name, self.inner = tensor("float32", (2, 2), seed), "options", {"list": [tensor("int64", (2,), seed)]}

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src=SOURCE, class_name="Options", state=dict(self.__dict__))
        return _reconstruct_persistent_obj, (meta,), None


CLASSES = {"Mapping": Mapping, "Generator": Generator, "Options": Options}


def main(out):
    where = expect.folder(out, "frameworks", "stylegan", "torch-" + expect.torch_version())
    dataset = EasyDict(class_name="training.dataset.ImageFolderDataset", path="/data/a.zip", use_labels=False, max_size=3)
    network = EasyDict(class_name="training.networks.Generator", z_dim=2, mapping_kwargs=EasyDict(num_layers=1))
    snapshot = {"G": Generator(10, z_dim=2, conv_clamp=None, mapping_kwargs=network), "D": Mapping(20), "G_ema": Generator(30).eval().requires_grad_(False),
                "augment_pipe": None, "training_set_kwargs": dataset, "options": Options(40), "progress": tensor("float32", (3,), 50)}
    path = where + "/snapshot.pkl"
    with open(path, "wb") as f:
        pickle.dump(snapshot, f)
    with open(path, "rb") as f:
        lowered.write_expect(path, pickle.load(f), snapshot)


if __name__ == "__main__":
    main(sys.argv[1])
