"""Checkpoints whose objects refer to themselves.

    python make_cyclic.py OUTDIR

Needs torch 2.15 and omegaconf. Writes OUTDIR/cyclic.
"""

import pickle
import sys

import torch
from omegaconf import OmegaConf

import expect
from make_torch import Net, tensor


def config():
    return OmegaConf.create({
        "model": {"name": "net", "layers": [3, 2], "dropout": 0.1, "width": "${model.layers.0}"},
        "data": ["a", {"path": "sets/a"}], "resume": None,
    })


def omegaconf_checkpoint():
    """DictConfig and ListConfig point to their parents: a cycle in the pickle."""
    return {"state_dict": Net().state_dict(), "cfg": config(), "list": config().data, "epoch": 3}


def dict_in_itself():
    state = {"w": tensor("float32", (2, 2), 1)}
    state["self"] = state
    state["b"] = tensor("float32", (2,), 2)
    return state


def list_in_itself():
    """The list is memoized when empty and filled later, one item is the list again."""
    items = [tensor("float32", (2,), 3)]
    items.append({"parent": items, "w": tensor("int8", (3,), 4)})
    items.append(items)
    return items


class Node:
    """A tree with parent pointers, in a class of __main__."""

    def __init__(self, parent, seed):
        self.parent, self.weight, self.children = parent, tensor("float32", (2,), seed), []


def parent_pointers():
    root = Node(None, 5)
    root.children = [Node(root, 6), Node(root, 7)]
    return {"tree": root, "w": tensor("float32", (1,), 8)}


def main(out):
    torch.manual_seed(7)
    where = expect.folder(out, "cyclic") + "/"
    for make in (omegaconf_checkpoint, dict_in_itself, list_in_itself, parent_pointers):
        for ending, options in ((".pt", {}), ("_legacy.pt", {"_use_new_zipfile_serialization": False})):
            path = where + make.__name__ + ending
            torch.save(make(), path, **options)
            expect.write_expect(path, expect.torch_load(path))
    loop = {"array": expect.numbers("f4", (2, 2), 9)}
    loop["again"] = [loop]
    for protocol in (0, 2, 5):
        path = where + "dict_in_itself_p%d.pkl" % protocol
        with open(path, "wb") as f:
            pickle.dump(loop, f, protocol)
        with open(path, "rb") as f:
            expect.write_expect(path, pickle.load(f))


if __name__ == "__main__":
    main(sys.argv[1])
