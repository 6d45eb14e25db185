"""Tensor subclasses: plain ones, wrappers, DTensor, ShardedTensor, torchao, bitsandbytes.

    python make_subclass.py OUTDIR [distributed | torchao | bitsandbytes]

Without a second argument: what torch alone has. `distributed` starts a second process of itself (gloo, 127.0.0.1) and
keeps what rank 0 saves. Writes OUTDIR/lowered/subclass.
"""
from __future__ import print_function, unicode_literals

import os
import subprocess
import sys
from collections import OrderedDict

import torch
from torch import nn

import expect
import lowered
from lowered import tensor
from make_torch import RELEASE, VERSION


class Tagged(torch.Tensor):
    """A subclass that has its data: _rebuild_from_type, _rebuild_from_type_v2."""


class Scaled(nn.Parameter):
    """A parameter of a class of its own: torch does not pickle the class."""


def plain():
    """A tensor with data is written under its name; tensors in its attributes are not."""
    tagged = tensor("float32", (2, 3), 1).as_subclass(Tagged)
    tagged.tag = "left"
    found = OrderedDict(tagged=tagged, weight=tensor("float32", (2,), 2))
    if RELEASE >= (2, 0):
        noted = tensor("float32", (2, 2), 3)
        noted.scale, noted.axis = tensor("float32", (2,), 4), 1
        parameter = nn.Parameter(tensor("float32", (2,), 5))
        parameter.main_grad, parameter.note = tensor("float32", (2,), 6), {"history": [tensor("float32", (1,), 7), "text"]}
        scaled = Scaled(tensor("float32", (3,), 8))
        scaled.scale = tensor("float16", (1,), 9)
        of_subclass = tensor("float32", (2, 3), 10).as_subclass(Tagged)
        of_subclass.scale = tensor("float32", (3,), 11)
        shared = tensor("float32", (2,), 12)
        points_to = tensor("float32", (2,), 13)
        points_to.tied = shared
        found.update(noted=noted, parameter=parameter, scaled=scaled, subclass_with_tensor=of_subclass, shared=shared,
                     points_to_shared=points_to)
    return found


def wrappers():
    """Two levels of torch's own test class: each has two tensors and no data."""
    from torch.testing._internal.two_tensor import TwoTensor

    def two(seed):
        return TwoTensor(tensor("float32", (2, 3), seed), tensor("float32", (2, 3), seed + 1))

    deep = TwoTensor(two(24), two(26))
    noted = two(28)
    noted.note = {"scales": [tensor("float32", (2,), 30)], "text": "a"}
    return OrderedDict([
        ("one", two(20)), ("transposed", two(22).t()), ("deep", deep), ("parameter", nn.Parameter(two(31))),
        ("noted", noted), ("weight", tensor("float32", (2,), 33)), ("deep_again", deep)])


def save(obj, path, walk=lowered.Walk, compare=True, **more):
    torch.save(obj, path)
    lowered.write_expect(path, expect.torch_load(path) if compare else obj, obj, walk=walk, **more)


# -- distributed --------------------------------------------------------------------------------

class DistributedWalk(lowered.Walk):
    """The local part alone: under the tensor's own name when it is the whole tensor."""

    def tensor(self, t, name, wanted):
        if type(t).__name__ not in ("DTensor", "ShardedTensor"):
            return super().tensor(t, name, wanted)
        self.note(name, wanted, "subclass", expect.torch_dtype(t), t.size())
        if type(t).__name__ == "DTensor":
            local = t._local_tensor
            whole = not (any(p.is_partial() for p in t.placements) and t.device_mesh.size() > 1) and local.shape == t.shape
            return self.visit(local, name if whole else name + "._local_tensor", wanted)
        shards = t.local_shards()
        if len(shards) == 1 and shards[0].tensor.shape == t.size():
            return self.visit(shards[0].tensor, name, wanted)
        for i, shard in enumerate(shards):
            self.visit(shard.tensor, "%s._local_shards.%d" % (name, i), wanted)


def dtensors(mesh, world):
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
    full = tensor("float32", (5, 4), 40)
    found = OrderedDict([
        ("replicated", distribute_tensor(full, mesh, [Replicate()])),
        ("rows", distribute_tensor(full, mesh, [Shard(0)])),  # 5 rows on 2 ranks: 3 and 2
        ("columns", distribute_tensor(full, mesh, [Shard(1)])),
        ("one_row", distribute_tensor(tensor("float32", (1, 3), 41), mesh, [Shard(0)])),  # rank 0 has all of it
        ("partial", DTensor.from_local(tensor("float32", (2, 2), 42), mesh, [Partial()])),
        ("parameter", nn.Parameter(distribute_tensor(tensor("bfloat16", (4, 2), 43), mesh, [Shard(0)]))),
        ("scalar", distribute_tensor(tensor("float32", (), 44), mesh, [Replicate()])),
        ("weight", tensor("float32", (2,), 45)),
    ])
    return found


def sharded(rank, world):
    from torch.distributed._shard.sharded_tensor import Shard, init_from_local_shards
    full = tensor("float32", (4, 3), 50)
    if world == 1:
        whole = init_from_local_shards([Shard.from_tensor_and_offsets(full, [0, 0], 0)], 4, 3)
        two = init_from_local_shards([Shard.from_tensor_and_offsets(full[:1].clone(), [0, 0], 0),
                                      Shard.from_tensor_and_offsets(full[1:].clone(), [1, 0], 0)], 4, 3)
        return {"whole": whole, "two_shards": two, "weight": tensor("float32", (2,), 51)}
    part = init_from_local_shards([Shard.from_tensor_and_offsets(full[2 * rank:2 * rank + 2].clone(), [2 * rank, 0], rank)], 4, 3)
    return {"part": part, "weight": tensor("float32", (2,), 51)}


def worker(out, rank, world):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(29510 + world), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("dp",))
    files = [("dtensor_world%d" % world, dtensors(mesh, world)), ("sharded_world%d" % world, sharded(rank, world))]
    if rank == 0:
        for name, obj in files:
            torch.save(obj, "%s/%s.pt" % (out, name))
            lowered.write_expect("%s/%s.pt" % (out, name), obj, walk=DistributedWalk)
    dist.barrier()
    dist.destroy_process_group()


def distributed(where):
    for world in (1, 2) if RELEASE >= (2, 15) else (2,):
        ranks = [subprocess.Popen([sys.executable, "-W", "ignore", __file__, where, "worker", str(rank), str(world)])
                 for rank in range(world)]
        assert [rank.wait() for rank in ranks] == [0] * world


# -- torchao ------------------------------------------------------------------------------------

def torchao_models():
    """(name, what quantizes) for the torchao at hand; what needs a GPU is left out."""
    import torchao.quantization as q
    if hasattr(q, "int8_weight_only"):  # 0.7
        yield "int8_dynamic", q.int8_dynamic_activation_int8_weight()
        yield "int4_tiled", q.int4_weight_only(group_size=32)
        yield "uint3", q.uintx_weight_only(torch.uint3, group_size=32)
    else:  # 0.18
        yield "int8", q.Int8WeightOnlyConfig()
        yield "int8_dynamic", q.Int8DynamicActivationInt8WeightConfig()
        yield "int4_intx", q.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=q.PerGroup(32))
        yield "float8", q.Float8WeightOnlyConfig()


def torchao_files(where):
    import torchao
    from torchao.quantization import quantize_
    where = expect.folder(where, "torchao-" + torchao.__version__.split("+")[0])
    for name, config in torchao_models():
        torch.manual_seed(6)
        model = nn.Sequential(nn.Linear(32, 16, bias=name == "int8").bfloat16())
        try:
            quantize_(model, config)
        except Exception as error:
            print("torchao cannot", name, repr(error)[:100])
            continue
        save(model.state_dict(), "%s/%s.pt" % (where, name), by="torchao %s, %s" % (torchao.__version__, expect.made_by()))
    try:
        from torchao.dtypes.nf4tensor import to_nf4
    except ImportError:
        from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import to_nf4
    weight = to_nf4(torch.linspace(-1, 1, 1024).reshape(32, 32).bfloat16(), block_size=32, scaler_block_size=16)
    state = {"weight": nn.Parameter(weight, requires_grad=False), "bias": tensor("float32", (2,), 61)}
    save(state, where + "/nf4.pt", by="torchao %s, %s" % (torchao.__version__, expect.made_by()))


# -- bitsandbytes -------------------------------------------------------------------------------

def bitsandbytes_files(where):
    import bitsandbytes as bnb
    where = expect.folder(where, "bitsandbytes-" + bnb.__version__)
    by = "bitsandbytes %s, %s" % (bnb.__version__, expect.made_by())
    torch.manual_seed(7)
    four = bnb.nn.Linear4bit(64, 2, quant_type="nf4", compress_statistics=False, bias=False).to("cpu")
    kind = "nf4" if bnb.__version__ < "0.48" else "fp4"  # 0.46 has no fp4 without a GPU
    double = bnb.nn.Linear4bit(64, 4, quant_type=kind, compress_statistics=True).to("cpu")
    eight = bnb.nn.Linear8bitLt(8, 4, has_fp16_weights=False).to("cpu")
    model = nn.ModuleDict({"nf4": four, "twice": double, "int8": eight, "norm": nn.LayerNorm(2)})
    save(model, where + "/module.pt", by=by)
    if bnb.__version__ < "0.48":
        return
    save(model.state_dict(), where + "/state_dict.pt", by=by)
    save({"parameter": four.weight, "int8": eight.weight}, where + "/parameters.pt", by=by)


def main(out, what=None, *more):
    if what == "worker":
        return worker(out, *map(int, more))
    where = expect.folder(out, "lowered", "subclass")
    torch.manual_seed(1)
    if what is None:
        versioned = expect.folder(where, "torch-" + VERSION)
        if RELEASE < (2, 0) or RELEASE >= (2, 15):
            save(plain(), versioned + "/plain.pt")
        if RELEASE >= (2, 15):
            save(wrappers(), versioned + "/wrappers.pt")
    elif what == "distributed":
        distributed(expect.folder(where, "torch-" + VERSION))
    elif what == "torchao":
        torchao_files(where)
    elif what == "bitsandbytes":
        bitsandbytes_files(where)


if __name__ == "__main__":
    main(*sys.argv[1:])
