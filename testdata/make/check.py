"""Loads every fixture with the torch and numpy at hand and compares with its expectation.

    python check.py TESTDATA

A newer library than the one that made a file must find the same tensors in it. Not checked here:
save-file/, broken/ and corpus/ (other rules), and files whose expectation is not about loaded objects.
"""

import json
import os
import pickle
import sys
import warnings

import make_bare
import make_cyclic
import make_torch
import make_torch_newest

import expect

for module in (make_bare, make_torch, make_torch_newest, make_cyclic):  # the classes that were pickled as __main__'s
    for value in list(vars(module).values()):
        if isinstance(value, type):
            setattr(sys.modules["__main__"], value.__name__, value)

OTHER_RULES = ("objects.pt",)
NO_LONGER_READ = (
    "torch-zip/1.4.0",  # its storages are members tensors/N, later versions look for data/N
    "bare-pickle/torch-1.3.1-py2.7/module_p2.pkl",  # Python 2: storages want str as bytes, modules want it as text
)


def load(path):
    if path.endswith(".pt"):
        return expect.torch_load(path)
    with open(path, "rb") as f:
        try:
            return pickle.load(f)
        except (UnicodeDecodeError, TypeError):  # Python 2: str may be text or the bytes of an array or a storage
            f.seek(0)
        try:
            return pickle.load(f, encoding="latin-1")
        except TypeError:
            f.seek(0)
            return pickle.load(f, encoding="bytes")


def main(top):
    good = bad = 0
    for folder, _, names in sorted(os.walk(top)):
        if os.path.relpath(folder, top).split(os.sep)[0] in ("save-file", "broken", "corpus", "make"):
            continue
        for name in sorted(names):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, top).replace(os.sep, "/")
            if not name.endswith((".pt", ".pkl")) or name in OTHER_RULES or relative.startswith(NO_LONGER_READ):
                continue
            with open(path + ".expect.json") as f:
                expected = json.load(f)
            try:
                found = expect.describe(load(path))
            except Exception as error:
                found = repr(error)[:200]
            if found == (expected["tensors"], expected.get("left_out", [])):
                good += 1
            else:
                bad += 1
                print("differs:", path, found if isinstance(found, str) else difference(found[0], expected["tensors"]))
    print("%d the same, %d differ" % (good, bad))


def difference(found, expected):
    names = sorted(set(found) | set(expected))
    return [(name, found.get(name), expected.get(name)) for name in names if found.get(name) != expected.get(name)][:3]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
