"""What chainer.serializers.save_npz writes, and a pickled chain.

    python make_chainer.py OUTDIR

Needs chainer 7.8 (numpy before 1.24). Writes OUTDIR/frameworks/chainer.
"""

import pickle
import platform
import sys

import chainer
import chainer.links as L
import numpy as np

import expect
import lowered
from lowered import distinct

BY = "chainer %s, numpy %s, Python %s" % (chainer.__version__, np.__version__, ".".join(platform.python_version_tuple()[:2]))


class Net(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.l1 = L.Linear(3, 2)
            self.bn = L.BatchNormalization(2)

    def forward(self, x):
        return chainer.functions.sum(self.bn(self.l1(x)))


def check_npz(path):
    with np.load(path, allow_pickle=True) as members:
        loaded = {name: members[name] for name in members.files}
    lowered.write_expect(path, loaded, by=BY)


def main(out):
    where = expect.folder(out, "frameworks", "chainer") + "/"
    np.random.seed(0)
    net = Net()
    optimizer = chainer.optimizers.Adam().setup(net)
    optimizer.update(net, distinct("float32", (4, 3), 1))
    chainer.serializers.save_npz(where + "model.npz", net)  # compressed
    check_npz(where + "model.npz")
    chainer.serializers.save_npz(where + "optimizer.npz", optimizer, compression=False)
    check_npz(where + "optimizer.npz")
    # A link whose size is not known yet: its parameter is None, saved as a 0-d array of objects.
    lazy = chainer.Sequential(L.Linear(None, 2), L.Linear(2, 1))
    chainer.serializers.save_npz(where + "uninitialized.npz", lazy)
    check_npz(where + "uninitialized.npz")
    net.cleargrads()
    with open(where + "chain.pkl", "wb") as f:
        pickle.dump(net, f)
    with open(where + "chain.pkl", "rb") as f:
        lowered.write_expect(where + "chain.pkl", pickle.load(f), walk=lowered.ReduceWalk, by=BY)


if __name__ == "__main__":
    main(sys.argv[1])
