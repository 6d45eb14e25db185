"""Loads the fixtures of make_lowered.py and make_subclass.py with the torch at hand and compares.

    python check_lowered.py TESTDATA

A newer torch than the one that made a file must find the same parts in it.
"""

import json
import os
import sys
import warnings

import make_lowered
import make_subclass

import expect
import lowered

for value in [make_lowered.Graph, make_subclass.Tagged]:  # the classes that were pickled as __main__'s
    setattr(sys.modules["__main__"], value.__name__, value)

SKIPPED = ("torchao-", "bitsandbytes-", "dtensor_", "sharded_",  # need those packages, or a process group
           "sparse/1.12.1/", "sparse/1.4.0/coo.pt", "quantized/1.4.0/per_channel.pt")  # no longer read by torch 2.15


def main(top):
    good = bad = 0
    for folder, _, names in sorted(os.walk(top)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if any(part in path for part in SKIPPED) or not name.endswith(".pt") or not os.path.exists(path + ".expect.json"):
                continue
            with open(path + ".expect.json") as f:
                expected = json.load(f)
            try:
                found = lowered.describe(expect.torch_load(path))
            except Exception as error:
                found = repr(error)[:300]
            wanted = (expected["tensors"], expected.get("left_out", []), expected.get("lowered", {}))
            if found == wanted:
                good += 1
            else:
                bad += 1
                print("differs:", path, found if isinstance(found, str) else
                      [(a.keys() ^ b.keys() or [k for k in a if a[k] != b[k]]) if isinstance(a, dict) else (a, b)
                       for a, b in zip(found, wanted)])
    print("%d the same, %d differ" % (good, bad))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
