"""Files of torch.export.save, as the installed torch writes them.

    python make_pt2.py OUTDIR

Runs with torch 2.5 to 2.15. Writes OUTDIR/pt2/VERSION.
"""

import sys
import warnings

import torch

import expect
import expect_containers as containers
from expect import numbers

VERSION = expect.torch_version()
RELEASE = tuple(int(n) for n in VERSION.split(".")[:2])
WHERE = ""


def tensor(kind, shape, seed):
    return torch.from_numpy(numbers(kind, shape, seed))


class Net(torch.nn.Module):
    """A tied weight, buffers of several dtypes and layouts, a non-persistent buffer, constants."""

    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(3, 2)
        self.tied = torch.nn.Linear(3, 2)
        self.tied.weight = self.lin.weight
        base = torch.arange(12.0)
        self.register_buffer("transposed", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("base", base)
        self.register_buffer("part", base[4:10].reshape(3, 2))
        self.register_buffer("cache", torch.arange(2.0), persistent=False)
        self.register_buffer("half_", tensor("f2", (2,), 1))
        self.register_buffer("brain", torch.arange(2).to(torch.bfloat16))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("double_", tensor("f8", (2,), 2))
        self.register_buffer("complex_", tensor("c8", (2,), 3))
        self.constant = torch.tensor([7.0, 8.0])

    def forward(self, x):
        return self.lin(x) * self.cache + self.constant + torch.tensor([1.5, -2.5])


def save(name, module, inputs, **options):
    path = "%s/%s.pt2" % (WHERE, name)
    program = torch.export.export(module, inputs)
    torch.export.save(program, path, **options)
    loaded = torch.export.load(path)
    tensors = {}
    for prefix, found in (("", loaded.state_dict), ("constants.", loaded.constants)):
        for key, value in found.items():
            tensors.update(expect.torch_entries(prefix + key, value))
    for key, value in module.state_dict().items():
        assert dict(expect.torch_entries(key, value)).items() <= tensors.items(), key
    containers.record(path, tensors, by=expect.made_by())


def main(out):
    global WHERE
    WHERE = expect.folder(out, "pt2", VERSION)
    net = Net().eval()
    with torch.no_grad():
        for n, value in enumerate(net.parameters()):
            value.copy_(tensor("f4", tuple(value.shape), 10 + n))
    save("net", net, (torch.ones(1, 3),), extra_files={"notes.txt": "notes"})
    linear = torch.nn.Linear(2, 2).eval()
    with torch.no_grad():
        linear.weight.copy_(tensor("f4", (2, 2), 20))
        linear.bias.copy_(tensor("f4", (2,), 21))
    save("linear", linear, (torch.ones(1, 2),))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
