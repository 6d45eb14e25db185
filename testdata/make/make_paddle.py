"""What paddle.save writes: state dicts, optimizer states, nested objects, bfloat16, sliced big parameters.

    python make_paddle.py OUTDIR

Needs paddlepaddle (CPU) 1.8, 2.6 or 3.3. Writes OUTDIR/frameworks/paddle/VERSION. The expectations are what paddle.load gives.
"""

import os
import platform
import sys

import numpy as np
import paddle

import expect
import lowered
from lowered import distinct

VERSION = paddle.__version__
BY = "paddle %s, numpy %s, Python %s" % (VERSION, np.__version__, ".".join(platform.python_version_tuple()[:2]))


KEPT_OF_2 = ("layer_p4", "adam", "nested_p2", "dense_p4", "bfloat16_adamw", "sliced_p3")  # the rest differs in numpy's module names only


def is_tensor(obj):
    return type(obj).__name__ in ("Tensor", "EagerParamBase", "VarBase", "ParamBase", "DenseTensor", "LoDTensor", "Variable")


class Walk(lowered.Walk):
    def visit(self, obj, path, wanted):
        if not is_tensor(obj):
            return super().visit(obj, path, wanted)
        a = np.array(obj)
        if "bfloat16" in str(getattr(obj, "dtype", "")).lower() or "BF16" in str(getattr(obj, "dtype", "")):
            assert a.dtype == np.uint16  # paddle's own numpy() gives the bits
            self.note(path or "tensor", wanted, "paddle_bfloat16", "bfloat16", a.shape)
            return self.leaf(path, [(path, expect.entry("BF16", a.shape, a.tobytes()))], wanted)
        return super().visit(a, path, wanted)


def save(obj, path, **options):
    if VERSION.startswith("2.") and not os.path.basename(path).startswith(KEPT_OF_2):
        return
    paddle.save(obj, path, **options)
    loaded = paddle.load(path)
    if isinstance(loaded, dict):
        loaded.pop("StructuredToParameterName@@", None)
    lowered.write_expect(path, loaded, walk=Walk, by=BY)


def tensor(kind, shape, seed):
    if kind == "bfloat16":
        return paddle.to_tensor(distinct("float32", shape, seed)).astype("bfloat16")
    return paddle.to_tensor(distinct(kind, shape, seed))


class sliced_above:
    """While it lasts, arrays of more than `size` bytes are sliced (the limit of paddle is the constant 2**30 - 1)."""

    def __init__(self, size):
        from paddle.framework import io_utils
        self.function, self.code = io_utils._unpack_saved_dict, io_utils._unpack_saved_dict.__code__
        consts = tuple(size if const == 2 ** 30 - 1 else const for const in self.code.co_consts)
        assert consts != self.code.co_consts
        self.small = self.code.replace(co_consts=consts)

    def __enter__(self):
        self.function.__code__ = self.small

    def __exit__(self, *error):
        self.function.__code__ = self.code


def files(where):
    paddle.seed(1)
    net = paddle.nn.Sequential(paddle.nn.Conv1D(2, 2, 1), paddle.nn.BatchNorm1D(2))
    scheduler = paddle.optimizer.lr.StepDecay(0.1, 2)
    optimizer = paddle.optimizer.Adam(parameters=net.parameters(), learning_rate=scheduler)
    net(tensor("float32", (2, 2, 3), 1)).sum().backward()
    optimizer.step()
    for protocol in (2, 3, 4):
        save(net.state_dict(), where + "layer_p%d.pdparams" % protocol, protocol=protocol)
    save(optimizer.state_dict(), where + "adam.pdopt")

    kinds = {kind: tensor(kind, (2, 3), seed) for seed, kind in enumerate(
        ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"))}
    save(dict(kinds, scalar=paddle.to_tensor(2.5), empty=paddle.zeros([0, 2])), where + "dtypes.pdparams")

    nested = {"epoch": 3, "model": {"w": tensor("float32", (2, 3), 20), "list": [tensor("int64", (2,), 21), "text"]},
              "pair": (tensor("float32", (1,), 22), tensor("bfloat16", (2, 2), 23)), "name": "net"}
    for protocol in (2, 4):
        save(nested, where + "nested_p%d.pdparams" % protocol, protocol=protocol)
    save(tensor("float32", (2, 3), 24), where + "tensor.pdtensor")
    save([tensor("float32", (2,), 25), tensor("bfloat16", (2,), 26)], where + "list.pdparams")

    owners = [tensor("float32", (2, 2), 27), tensor("int64", (2,), 28)]
    dense, other = [owner.value().get_tensor() for owner in owners]  # DenseTensor, LoDTensor before 2.3: builtins.eval
    for protocol in (2, 4):
        save({"lod": [dense, other], "epoch": 1}, where + "dense_p%d.pdparams" % protocol, protocol=protocol)
    save(dense, where + "dense.pdtensor")

    low = paddle.nn.Linear(3, 2)
    low.to(dtype="bfloat16")
    save(low.state_dict(), where + "bfloat16.pdparams")
    # What optimizer.state_dict() is with multi_precision; no CPU kernel computes it.
    save({"linear_1.w_0_fp32_master_0_moment1_0": tensor("float32", (3, 2), 34), "master_weights": {
        "linear_1.w_0": tensor("float32", (3, 2), 35)}, "LR_Scheduler": {"last_epoch": 1, "last_lr": 0.1},
        "linear_1.b_0_moment1_0": tensor("bfloat16", (2,), 36)}, where + "bfloat16_adamw.pdopt")

    big = {"big": tensor("float32", (5, 9), 30), "small": tensor("float32", (3,), 31), "half": tensor("float16", (7, 9), 32),
           "bfloat": tensor("bfloat16", (8, 8), 33)}
    with sliced_above(64):  # 16 float32, 32 float16
        for protocol in (2, 3):
            save(dict(big), where + "sliced_p%d.pdparams" % protocol, protocol=protocol)


def files_of_1(where):
    """Paddle 1.8: a plain pickle of a dict of arrays, protocol 2."""
    import paddle.fluid as fluid
    with fluid.dygraph.guard():
        net = fluid.dygraph.Linear(3, 2)
        optimizer = fluid.optimizer.AdamOptimizer(0.1, parameter_list=net.parameters())
        loss = fluid.layers.reduce_sum(net(fluid.dygraph.to_variable(distinct("float32", (2, 3), 40))))
        loss.backward()
        optimizer.minimize(loss)
        for state in (net.state_dict(), optimizer.state_dict()):
            fluid.save_dygraph(state, where + "dygraph")
        for loaded, ending in zip(fluid.load_dygraph(where + "dygraph"), (".pdparams", ".pdopt")):
            loaded.pop("StructuredToParameterName@@", None)
            lowered.write_expect(where + "dygraph" + ending, loaded, walk=Walk, by=BY)


def main(out):
    where = expect.folder(out, "frameworks", "paddle", VERSION) + os.sep
    if VERSION.startswith("1."):
        files_of_1(where)
    else:
        files(where)


if __name__ == "__main__":
    main(sys.argv[1])
