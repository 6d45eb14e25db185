# -*- coding: utf-8 -*-
"""Whole training checkpoints of several frameworks, and hyper-parameters of every Python type.

    python make_training.py OUTDIR

With torch: torch-VERSION/*.pt (optimizers, DeepSpeed, fairseq, ultralytics, values; with lightning or pytorch_lightning
installed only the Lightning files, in lightning-VERSION). Without torch: values-pyX/*.pkl and detectron2.pkl.
Lightning, omegaconf and torch are the real ones; the layouts of DeepSpeed, fairseq, detectron2 and ultralytics are theirs,
with this script's own small classes under their module names.

NAME_auto.pt is the same checkpoint with the expectation of the default arguments: the weights alone.
NAME.values.json has the values that are no tensors (values.py).
"""
from __future__ import print_function, unicode_literals

import argparse
import collections
import datetime
import decimal
import fractions
import functools
import io
import os
import pickle
import platform
import shutil
import sys
import types
import uuid

import numpy as np

try:
    import enum
except ImportError:  # Python 2
    enum = None
try:
    import pathlib
except ImportError:
    pathlib = None

import expect
import lowered
import values
from expect import torch
from lowered import distinct

PY2 = sys.version_info[0] == 2
PYTHON = ".".join(platform.python_version_tuple()[:2])
AUTO = ["--shared", "copy"]

if torch is not None:
    from torch import nn
    from lowered import tensor

    NoGrad = torch.no_grad()
else:
    nn = None


def module(name, *members):
    """Makes a module of that name (and its parents), which owns these classes."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        part = ".".join(parts[:i])
        if part not in sys.modules:
            sys.modules[part] = types.ModuleType(str(part))
            if i > 1:
                setattr(sys.modules[".".join(parts[:i - 1])], parts[i - 1], sys.modules[part])
    for member in members:
        member.__module__, member.__qualname__ = str(name), member.__name__
        setattr(sys.modules[name], member.__name__, member)


class Walk(lowered.ReduceWalk):
    def visit(self, obj, path, wanted):
        if isinstance(obj, tuple) and type(obj) not in (tuple, torch.Size if torch is not None else tuple):
            return self.reduced(obj, path, wanted)  # a named tuple is pickled as cls.__new__(cls, *items)
        if type(obj).__module__.split(".")[0] in ("omegaconf", "torch") and not (torch is not None and isinstance(
                obj, (torch.Tensor, nn.Module))):
            return None
        return super(Walk, self).visit(obj, path, wanted)


def save(obj, path, weights=None, by=None, whole=True):
    """Saves; with `weights`, a function from the loaded checkpoint to its weights, a second time as NAME_auto.pt."""
    torch.save(obj, path)
    loaded = expect.torch_load(path)
    if whole:
        lowered.write_expect(path, loaded, obj, walk=Walk, by=by)
        values.write(path, loaded)
    if weights is not None:
        auto = path.replace(".pt", "_auto.pt")
        (shutil.copyfile if whole else shutil.move)(path, auto)
        lowered.write_expect(auto, weights(loaded), walk=Walk, args=AUTO, by=by)


# -- torch --------------------------------------------------------------------------------------

def net(seed=0, norm=False):
    made = nn.Sequential(nn.Linear(2, 2), *[nn.BatchNorm1d(2)] * norm)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(tensor("float32", tuple(parameter.shape), seed + i))
    return made


def trained(optimizer, model):
    model(tensor("float32", (3, 2), 50)).pow(2).sum().backward()
    optimizer.step()
    return optimizer


def optimizers():
    """State dicts of four optimizers, and of learning-rate schedulers."""
    o, s = torch.optim, torch.optim.lr_scheduler
    makers = collections.OrderedDict([
        ("adam", lambda p: o.Adam(p, lr=0.01)), ("sgd", lambda p: o.SGD(p, lr=0.1, momentum=0.9)),
        ("adagrad", lambda p: o.Adagrad(p)), ("amsgrad", lambda p: o.AdamW([{"params": list(p), "lr": 1e-3}], amsgrad=True))])
    model = net()
    found = collections.OrderedDict([("model", model.state_dict())])
    for name, make in makers.items():
        optimizer = trained(make(model.parameters()), model)
        found["optimizer_" + name] = optimizer.state_dict()
    schedulers = [s.StepLR(optimizer, 3), s.CosineAnnealingLR(optimizer, 10), s.ReduceLROnPlateau(optimizer),
                  s.MultiStepLR(optimizer, [2, 5]), s.LambdaLR(optimizer, lambda epoch: 0.5)]
    found["schedulers"] = [one.state_dict() for one in schedulers]
    found["epoch"], found["best"], found["loss"] = 3, 0.25, torch.tensor(0.5)
    return found


def deepspeed():
    """mp_rank_00_model_states.pt of a run without ZeRO."""
    class DynamicLossScaler(object):
        def __init__(self):
            self.cur_scale, self.cur_iter, self.raise_error_at_min_scale = 65536.0, 3, True

    module("deepspeed.runtime.fp16.loss_scaler", DynamicLossScaler)
    model = net(10, True).half()
    flat = torch.cat([p.detach().float().reshape(-1) for p in model.parameters()])
    return {
        "module": model.state_dict(), "buffer_names": ["1.running_mean", "1.running_var"],
        "optimizer": {"loss_scaler": DynamicLossScaler(), "dynamic_loss_scale": True, "overflow": False, "fp32_groups_flat": [flat],
                      "optimizer_state_dict": {"state": {0: {"step": 3, "exp_avg": tensor("float32", tuple(flat.shape), 60),
                                                             "exp_avg_sq": tensor("float32", tuple(flat.shape), 61)}},
                                               "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}]}},
        "param_shapes": [collections.OrderedDict((name, p.shape) for name, p in model.named_parameters())],
        "frozen_param_shapes": None, "shared_params": {}, "frozen_param_fragments": None, "lr_scheduler": {"last_batch_iteration": 3},
        "data_sampler": None, "random_ltd": None, "sparse_tensor_module_names": set(), "skipped_steps": 0, "global_steps": 3,
        "global_samples": 12, "dp_world_size": 1, "mp_world_size": 1, "ds_config": {"fp16": {"enabled": True}, "train_batch_size": 4},
        "ds_version": "0.12.6", "client_state": {"iteration": 3}}


def fairseq(old):
    from omegaconf import OmegaConf

    class ChoiceEnum(enum.Enum):
        pass

    class DdpBackend(str, enum.Enum):
        c10d, legacy = "c10d", "legacy_ddp"

    module("fairseq.dataclass.constants", DdpBackend)
    model = net(20)
    state = trained((torch.optim.SGD if old else torch.optim.Adam)(model.parameters(), lr=0.1), model).state_dict()
    args = argparse.Namespace(arch="transformer", lr=[0.0005], clip_norm=0.1, save_dir=pathlib.Path("checkpoints"), user_dir=None)
    cfg = {"common": {"seed": 1, "fp16": True}, "model": argparse.Namespace(arch="transformer", layers=2),
           "task": OmegaConf.create({"_name": "translation", "data": "bin", "max_positions": [1024, "???"]}),
           "ddp_backend": DdpBackend.c10d}
    return {
        "args": args if old else None, "cfg": None if old else cfg, "model": model.state_dict(), "criterion": None,
        "optimizer_history": [{"criterion_name": "CrossEntropyCriterion", "optimizer_name": "FairseqAdam",
                               "lr_scheduler_state": {"best": 2.5}, "num_updates": 7}],
        "task_state": {}, "last_optimizer_state": state,
        "extra_state": {"epoch": 2, "val_loss": float("inf"), "best": None, "train_iterator": {"epoch": 2, "iterations_in_epoch": 0,
                        "shuffle": True}, "metrics": collections.OrderedDict([("default", [(0, "loss", {"val": np.float64(2.5),
                                                                                         "sum": 5.0, "count": 2, "round": 3})])])}}


def ultralytics(ema):
    """A YOLO checkpoint: the whole module in half precision, classes of modules that nobody else has."""
    class Conv(nn.Module):
        default_act = nn.SiLU()

        def __init__(self, seed):
            super(Conv, self).__init__()
            self.conv = nn.Conv2d(1, 2, 1, bias=False)
            self.conv.weight = nn.Parameter(tensor("float32", (2, 1, 1, 1), seed))
            self.bn = nn.BatchNorm2d(2, eps=0.001, momentum=0.03)
            self.act = self.default_act

    class Detect(nn.Module):
        def __init__(self):
            super(Detect, self).__init__()
            self.nc, self.stride = 2, torch.tensor([8.0, 16.0])  # plain tensors: left out
            self.anchors, self.strides, self.shape = torch.empty(0), torch.empty(0), None
            self.cv2 = nn.ModuleList([nn.Sequential(nn.Conv2d(2, 1, 1))])

    class DetectionModel(nn.Module):
        def __init__(self):
            super(DetectionModel, self).__init__()
            self.yaml = {"nc": 2, "backbone": [[-1, 1, "Conv", [2, 1]]], "ch": 3}
            self.model = nn.Sequential(Conv(70), Detect())
            self.save, self.names, self.inplace, self.stride = [0], {0: "cat", 1: "dog"}, True, torch.tensor([8.0, 16.0])
            self.args = IterableSimpleNamespace(box=7.5, model="yolo.pt")

    class IterableSimpleNamespace(types.SimpleNamespace):
        pass

    module("ultralytics.nn.modules.conv", Conv)
    module("ultralytics.nn.modules.head", Detect)
    module("ultralytics.nn.tasks", DetectionModel)
    module("ultralytics.utils", IterableSimpleNamespace)
    torch.manual_seed(5)
    model = DetectionModel().half()
    return {"epoch": -1, "best_fitness": np.float64(0.5), "model": None if ema else model, "ema": model if ema else None,
            "updates": 9 if ema else None, "optimizer": None, "train_args": {"task": "detect", "imgsz": 640, "lr0": 0.01,
            "device": None, "save_dir": "runs/train"}, "train_metrics": {"metrics/mAP50(B)": 0.5, "fitness": np.float32(0.25)},
            "train_results": {"epoch": [1, 2], "time": [1.5, 2.5]}, "date": datetime.datetime(2024, 5, 6, 7, 8, 9, 10).isoformat(),
            "version": "8.3.0", "license": "AGPL-3.0 License (https://ultralytics.com/license)", "git": {"root": None}}


def torch_values():
    from omegaconf import OmegaConf
    found = python_values()
    found.update(state_dict=net(30).state_dict(), dtype=torch.bfloat16, dtypes=[torch.float32, torch.int8, torch.bool],
                 device=torch.device("cuda", 1), cpu=torch.device("cpu"), size=torch.Size([2, 3]), no_size=torch.Size([]),
                 layout=torch.strided, qscheme=torch.per_tensor_affine,
                 number=torch.tensor(3), omegaconf=OmegaConf.create({"lr": 0.1, "path": "${data}/x", "data": "sets", "list": [1, "???", None]}),
                 finfo_type=torch.FloatTensor, module_class=nn.Linear, function=nn.functional.relu, loss=nn.MSELoss())
    return found


# -- Lightning ----------------------------------------------------------------------------------

def lightning_files(out, pl, package):
    from omegaconf import OmegaConf

    class Model(pl.LightningModule):
        def __init__(self, width=2, lr=0.01, name="net", layers=(1, 2), options=None):
            super(Model, self).__init__()
            self.save_hyperparameters()
            self.net = net(40)

        def training_step(self, batch, index):
            return self.net(batch[0]).pow(2).sum()

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    Model.__qualname__ = "Model"
    setattr(sys.modules["__main__"], "Model", Model)
    by = "%s %s, %s" % (package, pl.__version__, expect.made_by())
    where = expect.folder(out, "training", "lightning-" + pl.__version__) + "/"
    options = {"optimizer": {"lr": 0.1}, "sizes": [1, 2]}
    new = pl.__version__ >= "2"
    wanted = ("plain", "omegaconf") if new else ("namespace",)  # more would add nothing
    for name, parameters in (("plain", {"options": dict(options)}), ("namespace", {"options": argparse.Namespace(a=1, path="x")}),
                             ("omegaconf", {"options": OmegaConf.create(options)})):
        if name not in wanted:
            continue
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(tensor("float32", (4, 2), 51)), batch_size=2)
        flags = {"accelerator": "cpu"} if new else {}
        trainer = pl.Trainer(max_epochs=1, logger=False, default_root_dir="/tmp/lightning", enable_progress_bar=False,
                             enable_model_summary=False, callbacks=[pl.callbacks.ModelCheckpoint(dirpath="/tmp/lightning", save_top_k=0)],
                             **flags)
        model = Model(**parameters)
        trainer.fit(model, data)
        trainer.save_checkpoint(where + name + ".ckpt")
        loaded = expect.torch_load(where + name + ".ckpt")
        lowered.write_expect(where + name + ".ckpt", loaded, walk=Walk, by=by)
        values.write(where + name + ".ckpt", loaded)
        if name == "plain":
            shutil.copyfile(where + "plain.ckpt", where + "plain_auto.ckpt")
            lowered.write_expect(where + "plain_auto.ckpt", loaded["state_dict"], walk=Walk, args=AUTO, by=by)


    if not new:  # early versions saved the hyper-parameters in their own kind of dict
        from pytorch_lightning.utilities.parsing import AttributeDict as Parameters
        found = {"epoch": 1, "state_dict": net(41).state_dict(), "hparams_name": "hparams", "pytorch-lightning_version": pl.__version__,
                 "hyper_parameters": Parameters(lr=0.1, inner=Parameters(name="a", sizes=(1, 2)))}
        save(found, where + "attribute_dict.pt", by=by)


# -- values without torch -----------------------------------------------------------------------

class Outer(object):
    """Has an enum inside."""


if enum is not None:
    class Color(enum.Enum):
        red, green = 1, "g"

    class Level(enum.IntEnum):
        low, high = 1, 2

    class Mode(str, enum.Enum):
        train, test = "train", "test"

    class Inner(enum.Enum):
        a, b = (1, 2), None

    Outer.Inner = Inner
    Inner.__qualname__ = "Outer.Inner"
    del Inner

if hasattr(enum, "Flag"):
    class Access(enum.Flag):
        read, write, both = 1, 2, 3

    class Bits(enum.IntFlag):
        one, four = 1, 4

if hasattr(enum, "StrEnum"):
    class Text(enum.StrEnum):
        hello = "hello"

Point = collections.namedtuple(str("Point"), [str("x"), str("weights")])

if sys.version_info >= (3, 7):
    import dataclasses

    def record(name, fields, **options):
        """A dataclass of this module (in a form that Python 2 can read)."""
        fields = [(key, kind, dataclasses.field(**{"default_factory" if callable(value) else "default": value}))
                  for key, kind, value in fields]
        made = dataclasses.make_dataclass(name, fields, **options)
        made.__module__ = __name__
        return made

    Config = record("Config", [("lr", float, 0.1), ("layers", list, lambda: [1, 2]), ("mode", Mode, Mode.train), ("weights", object, None)])
    Frozen = record("Frozen", [("path", str, "a/b"), ("inner", Config, Config)], frozen=True)

if sys.version_info >= (3, 10):
    Slots = record("Slots", [("a", int, 1), ("weights", object, None)], slots=True)
    FrozenSlots = record("FrozenSlots", [("a", int, 1), ("b", str, "text")], slots=True, frozen=True)


class Slotted(object):
    __slots__ = (str("a"), str("weights"))

    def __init__(self, a, weights):
        self.a, self.weights = a, weights


class AttributeDict(dict):
    """A dict with attributes beside its items."""


def array(seed):
    return distinct("float32", (2,), seed) if torch is None else tensor("float32", (2,), seed)


def python_values():
    attributed = AttributeDict(lr=0.1, weights=array(100))
    attributed.note = "attribute"
    found = collections.OrderedDict([
        ("weight", array(101)),
        ("namedtuple", Point(1, array(104))), ("namespace", argparse.Namespace(lr=0.1, resume=None, inner=argparse.Namespace(a=[1]))),
        ("attribute_dict", attributed), ("slotted", Slotted(5, array(105))),
        ("date", datetime.date(2020, 1, 2)), ("datetime", datetime.datetime(2020, 1, 2, 3, 4, 5, 6)), ("time", datetime.time(1, 2)),
        ("timedelta", datetime.timedelta(1, 2, 3)),
        ("decimal", decimal.Decimal("1.50")), ("fraction", fractions.Fraction(1, 3)), ("uuid", uuid.UUID(int=7)),
        ("set", {1, 2}), ("frozenset", frozenset(["a"])), ("complex", 1 + 2j), ("big_int", 3 ** 100), ("negative", -2 ** 70),
        ("bytes", b"\x00\xff"), ("bytearray", bytearray(b"ab")), ("text", "gr\u00fc\u00df \U0001f600"), ("none", None), ("bools", [True, False]),
        ("floats", [0.1, -0.0, 1e300, float("inf"), float("-inf"), float("nan")]), ("tuple", (1, ("a", None))),
        ("range", range(1, 7, 2)), ("slice", slice(1, None, 2)), ("type", collections.OrderedDict),
        ("function", len), ("class", Slotted), ("exception", ValueError("text", 3)),
        ("counter", collections.Counter("aab")), ("defaultdict", collections.defaultdict(list, a=[1])), ("deque", collections.deque([1, 2], 5)),
        ("ordered", collections.OrderedDict(b=1)), ("numpy", [np.float32(1.5), np.int64(-3), np.bool_(True), np.float64(0.1), np.str_("s")]),
        ("numpy_dtype", np.dtype("f4")), ("numpy_type", np.float32),
    ])
    if enum is not None:
        found.update(enum=Color.red, enum_text=Color.green, int_enum=Level.high, str_enum=Mode.test, enums=[Color.red, Color.green],
                     enum_values={"mode": Mode.train, "level": [Level.low, Level.high]})
    if pathlib is not None:
        found["path"], found["pure_path"], found["windows_path"] = pathlib.Path("a/b.pt"), pathlib.PurePosixPath("/x/y"), \
            pathlib.PureWindowsPath("C:/z")
    if not PY2:
        found["ellipsis"] = Ellipsis
        found["flag"], found["flags"] = Access.read, [Access.both, Bits.one, Bits.one | Bits.four]
        found["timezone"] = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "X"))
        found["simple_namespace"] = types.SimpleNamespace(a=1, weights=array(106))
    if hasattr(enum, "StrEnum"):
        found["text_enum"] = Text.hello
    if sys.version_info >= (3, 7):
        found["dataclass"], found["frozen_dataclass"] = Config(weights=array(107)), Frozen()
    if sys.version_info >= (3, 10):
        found["slots_dataclass"], found["frozen_slots"] = Slots(weights=array(108)), FrozenSlots()
    return found


def python_files(out):
    where = expect.folder(out, "training", "values-py" + PYTHON) + "/"
    by = "numpy %s, Python %s" % (np.__version__, PYTHON)

    def dump(obj, name, protocol):
        path = "%s%s_p%d.pkl" % (where, name, protocol)
        with io.open(path, "wb") as f:
            pickle.dump(obj, f, protocol)
        with io.open(path, "rb") as f:
            loaded = pickle.load(f)
        lowered.write_expect(path, loaded, obj, walk=Walk, by=by)
        values.write(path, loaded)

    dump(python_values(), "values", {(2, 7): 2, (3, 11): 2}.get(sys.version_info[:2], 4))
    if sys.version_info >= (3, 11):  # protocol 2 reaches the class by getattr, protocol 4 by its dotted name
        for protocol in (2, 4):
            dump({"weight": array(110), "nested": Outer.Inner.a}, "nested_enum", protocol)


def detectron2(out):
    by = "numpy %s, Python %s" % (np.__version__, PYTHON)
    where = expect.folder(out, "training", "detectron-py" + PYTHON) + "/"
    if PY2:  # Detectron: names of Caffe2 blobs
        blobs = dict((name, distinct("float32", (2, 2), seed)) for seed, name in enumerate(["conv1_w", "conv1_b", "conv1_w_momentum"]))
        found = {"cfg": "MODEL:\n  TYPE: generalized_rcnn\n", "blobs": blobs}
        path = where + "model_final.pkl"
    else:
        found = {"model": {"backbone.stem.conv1.weight": distinct("float32", (2, 1, 2, 2), 1), "backbone.stem.conv1.norm.running_var":
                           distinct("float32", (2,), 2), "roi_heads.box.fc1.bias": distinct("float64", (3,), 3)},
                 "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
        path = where + "model_zoo.pkl"
    with io.open(path, "wb") as f:
        pickle.dump(found, f, 2 if PY2 else 4)
    with io.open(path, "rb") as f:
        loaded = pickle.load(f)
    lowered.write_expect(path, loaded, found, by=by)
    values.write(path, loaded)
    if not PY2:
        shutil.copyfile(path, where + "model_zoo_auto.pkl")
        lowered.write_expect(where + "model_zoo_auto.pkl", loaded["model"], args=AUTO, by=by)


def main(out):
    if torch is None:
        python_files(out)
        if PY2 or sys.version_info[:2] == (3, 12):
            detectron2(out)
        return
    torch.manual_seed(1)
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            pl = __import__(package, fromlist=["Trainer"])
        except ImportError:
            continue
        return lightning_files(out, pl, package)
    where = expect.folder(out, "training", "torch-" + expect.torch_version()) + "/"
    save(optimizers(), where + "optimizers.pt", lambda loaded: loaded["model"])
    save(deepspeed(), where + "deepspeed.pt", lambda loaded: loaded["module"])
    save(fairseq(False), where + "fairseq.pt", lambda loaded: loaded["model"])
    save(fairseq(True), where + "fairseq_old.pt")
    save(ultralytics(False), where + "ultralytics.pt", lambda loaded: loaded["model"])
    save(ultralytics(True), where + "ultralytics_ema.pt", lambda loaded: loaded["ema"], whole=False)
    save({"model": net(31).state_dict(), "norm_layer": functools.partial(nn.LayerNorm, eps=1e-6),
          "act": functools.partial(nn.functional.leaky_relu, negative_slope=0.2)}, where + "partial.pt")
    save(torch_values(), where + "values.pt")


if __name__ == "__main__":
    main(sys.argv[1])
