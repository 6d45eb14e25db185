"""Files of torch.package, as the installed torch writes them.

    python make_package.py OUTDIR

Runs with torch 1.8 to 2.15. Writes OUTDIR/torch-package/VERSION.
"""

import os
import shutil
import sys
import tempfile
import warnings

import torch
from torch.package import PackageExporter, PackageImporter

import expect
import expect_containers as containers
from expect import numbers

VERSION = expect.torch_version()
RELEASE = tuple(int(n) for n in VERSION.split(".")[:2])
WHERE = ""

SOURCE = '''import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.tensor([[True, False], [False, False]]).t())
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x):
        return self.norm(self.lin(x))
'''


def tensor(kind, shape, seed):
    return torch.from_numpy(numbers(kind, shape, seed))


def filled(module, seed):
    with torch.no_grad():
        for n, value in enumerate(module.state_dict().values()):
            if value.dtype == torch.float32:
                value.copy_(tensor("f4", tuple(value.shape), seed + n))
    return module.eval()


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(2, 2)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, x):
        return self.lin(x) + self.steps


class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(2, 2, bias=False)

    def forward(self, x):
        return self.lin(x) + torch.tensor([1.5, -2.5])


class Walk(containers.Walk):
    """A ScriptModule gives its TorchScript names: state dict and constants (each module here has known ones)."""

    def visit(self, obj, path, wanted):
        if not isinstance(obj, torch.jit.ScriptModule):
            return super().visit(obj, path, wanted)
        for name, value in obj.state_dict().items():
            self.leaf(expect.join(path, name), expect.torch_entries(expect.join(path, name), value), True)
        if obj.original_name == "Constant":
            name = expect.join(path, "constants.0")
            (found,) = [c for c in obj.code_with_constants[1].const_mapping.values() if isinstance(c, torch.Tensor)]
            assert torch.equal(found, torch.tensor([1.5, -2.5]))
            self.leaf(name, expect.torch_entries(name, found), True)


def describe(pickles, one):
    """{(package, resource): loaded object}; the names begin with the pickle's path unless there is `one`."""
    walk = Walk(None)
    for (package, resource), obj in pickles.items():
        walk.visit(obj, "" if one else package.replace(".", "/") + "/" + resource, True)
    return walk.tensors, sorted(walk.left_out)


def save(name, pickles, texts=(), args=None, modules=()):
    path = "%s/%s.pt" % (WHERE, name)
    with PackageExporter(path, **({"verbose": False} if RELEASE == (1, 8) else {})) as e:
        e.extern(["torch.**"] if RELEASE > (1, 8) else ["torch"])
        if RELEASE > (1, 8):
            e.intern("netdefs")
        for (package, resource), obj in pickles.items():
            e.save_pickle(package, resource, obj)
        for package, resource, text in texts:
            e.save_text(package, resource, text)
    importer = PackageImporter(path)
    loaded = {where: importer.load_pickle(*where) for where in pickles}
    found = describe(loaded, args == [])
    assert found == describe(pickles, args == []), path
    containers.record(path, found[0], found[1], args=args, by=expect.made_by())


def main(out):
    global WHERE
    WHERE = expect.folder(out, "torch-package", VERSION)
    scratch = tempfile.mkdtemp()
    with open(os.path.join(scratch, "netdefs.py"), "w") as f:
        f.write(SOURCE)
    sys.path.insert(0, scratch)
    import netdefs

    net = filled(netdefs.Net(), 1)
    base = tensor("f4", (3, 4), 20)
    tensors = {"transposed": base.t(), "strided": base[::2, 1::2], "zero_d": torch.tensor(2.5), "empty": torch.zeros(0, 2), "half": tensor("f2", (3,), 21),
               "long": tensor("i8", (2,), 22), "flags": torch.tensor([True, False]), "brain": torch.arange(3).to(torch.bfloat16),
               "tied": net.lin.weight, "list": [base[1], {"deep": tensor("c8", (2,), 23)}], "text": "text"}
    texts = [("resources", "notes.txt", "notes"), ("resources.more", "config.json", "{}")]
    save("mixed", {("net", "model.pkl"): net, ("net.data", "tensors.pkl"): tensors, ("net", "config.pkl"): {"epochs": 3}}, texts)
    one = {("net", "model.pkl"): net, ("net", "config.pkl"): {"epochs": 3, "names": ["a", "b"]}}
    save("one", one, texts[:1], args=[])
    if RELEASE >= (2, 15):
        save("one_root", one, texts[:1])
    if RELEASE >= (1, 10):
        torch.package.package_exporter._gate_torchscript_serialization = False
        scripted = torch.jit.script(filled(Scripted(), 30))
        traced = torch.jit.trace(filled(Constant(), 40), torch.ones(1, 2))
        save("script", {("net", "script.pkl"): {"s": scripted, "weight": scripted.lin.weight, "again": scripted},
                        ("net", "traced.pkl"): [traced, tensor("f4", (2,), 50)]})
        save("script_one", {("net", "script.pkl"): scripted}, args=[])
    shutil.rmtree(scratch)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
