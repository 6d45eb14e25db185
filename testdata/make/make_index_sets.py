"""Sets of shards with their index, and what the Hugging Face libraries write when they split the same tensors.

    python make_index_sets.py OUTDIR

With transformers 4 it writes OUTDIR/index-sets/transformers-VERSION, as `save_pretrained` of that version split a small model
with tied weights. With huggingface_hub and torch 2.15 it writes OUTDIR/index-sets/hub-VERSION, a set and the same tensors in one
file, and adds to the `expect.json` of every folder the digests of the safetensors files and indexes that
`huggingface_hub.save_torch_state_dict` makes of the tensors, in several sizes. Run it with the older versions first.
"""

import glob
import json
import os
import sys
import tempfile
import warnings
from collections import OrderedDict

import torch

import expect

SIZES = ["1KB", "2KB", "3KB", "5KB", "1000KB"]


def tensors_of(state_dict):
    return {name: expect.entry(expect.TORCH_DTYPES[expect.torch_dtype(t)], t.shape, expect.torch_bytes(t)) for name, t in state_dict.items()}


def write_expect(folder, made_by, state_dict, **more):
    record = dict(more, made_by=made_by, tensors=tensors_of(state_dict))
    with open(os.path.join(folder, "expect.json"), "w") as file:
        json.dump(record, file, indent=1, sort_keys=True)
        file.write("\n")


def loaded(folder):
    """The tensors of all shards, in the order of the shards."""
    state_dict = OrderedDict()
    for shard in sorted(glob.glob(os.path.join(folder, "*-of-*.bin"))):
        state_dict.update(torch.load(shard, map_location="cpu"))
    return state_dict


def of_transformers(out):
    import transformers
    folder = os.path.join(out, "index-sets", "transformers-" + transformers.__version__)
    os.makedirs(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=40, n_positions=8, n_embd=8, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    assert model.lm_head.weight is model.transformer.wte.weight
    model.save_pretrained(folder, max_shard_size="3KB")
    for extra in glob.glob(os.path.join(folder, "*config.json")):
        os.remove(extra)
    write_expect(folder, "transformers %s, torch %s" % (transformers.__version__, torch.__version__), loaded(folder))


def state_dict():
    torch.manual_seed(0)
    made = OrderedDict()
    made["wte.weight"] = torch.randn(20, 8)
    made["h.0.attn.weight"] = torch.randn(8, 24)
    made["h.0.attn.bias"] = torch.randn(24).to(torch.float16)
    made["h.0.mlp.weight"] = torch.randn(8, 32).to(torch.bfloat16)
    made["h.0.mask"] = torch.ones(4, 4, dtype=torch.bool)
    made["h.1.large"] = torch.randn(60, 10)
    made["h.1.attn.weight"] = torch.randn(8, 24)
    made["position_ids"] = torch.arange(20)
    made["empty.a"] = torch.empty(0, 3)
    made["ln.\u00fc\U0001f600\"\\\x7f"] = torch.randn(8)
    made["scalar"] = torch.tensor(3.5)
    made["empty.b"] = torch.empty(0)
    made["lm_head.weight"] = made["wte.weight"]
    made["z_tied"] = made["h.1.attn.weight"]
    made["a_tied"] = made["h.1.attn.weight"]
    made["transposed"] = torch.randn(6, 4).t()
    return made


def of_the_hub(out):
    import huggingface_hub
    folder = os.path.join(out, "index-sets", "hub-" + huggingface_hub.__version__)
    os.makedirs(folder)
    made = state_dict()
    huggingface_hub.save_torch_state_dict(made, folder, max_shard_size="2KB", safe_serialization=False)
    torch.save(made, os.path.join(folder, "one.pt"))
    made_by = "huggingface_hub %s, torch %s" % (huggingface_hub.__version__, torch.__version__)
    write_expect(folder, made_by, made, one=splits(torch.load(os.path.join(folder, "one.pt"))))


def splits(state_dict):
    """For each size the files and their digests."""
    import huggingface_hub
    written = {}
    for size in SIZES:
        # safetensors writes its metadata keys in random order.
        for _ in range(10000):
            with tempfile.TemporaryDirectory() as folder:
                huggingface_hub.save_torch_state_dict(OrderedDict(state_dict), folder, max_shard_size=size)
                files = {name: open(os.path.join(folder, name), "rb").read() for name in sorted(os.listdir(folder))}
            if all(is_sorted(data) for name, data in files.items() if name.endswith(".safetensors")):
                break
        else:
            raise AssertionError("the metadata never came out sorted")
        written[size] = {name: expect.sha256(data) for name, data in files.items()}
    return written


def is_sorted(data):
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    keys = list(header["__metadata__"])
    return keys == sorted(keys)


def main():
    out = sys.argv[1]
    warnings.simplefilter("ignore")
    if torch.__version__.split("+")[0] != "2.15.0":
        return of_transformers(out)
    of_the_hub(out)
    for path in sorted(glob.glob(os.path.join(out, "index-sets", "*", "expect.json"))):
        folder = os.path.dirname(path)
        with open(path) as file:
            record = json.load(file)
        record["splits"] = splits(loaded(folder))
        with open(path, "w") as file:
            json.dump(record, file, indent=1, sort_keys=True)
            file.write("\n")


main()
