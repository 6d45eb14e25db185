"""Copies a few published checkpoints and writes their expectations from the reference digests beside them.

    python make_corpus.py CORPUS OUTDIR

CORPUS is a folder with files/ and reference.json (torch's and numpy's own account of each file; see its
README). Writes OUTDIR/corpus. Only files under a clear permissive licence: ../README.md names each source.
"""

import json
import os
import shutil
import sys

import numpy as np

import expect

ARGS = ["--root", ".", "--shared", "copy", "--deny", "none"]
SERIALIZED = "files/debian/pytorch-1.13.1+dfsg-4/test/quantization/serialized/TestSerialization."
GOPICKLE = "files/github/nlpodyssey+gopickle/pytorch/testdata/"
BURN = "files/github/tracel-ai+burn/crates/burn-store/src/pytorch/tests/reader/test_data/"
MATGL = "files/github/materialsvirtuallab+matgl/pretrained_models/"
FILES = {
    "pytorch_test_linear.expected.pt": SERIALIZED + "test_linear.expected.pt",
    "pytorch_test_linear.state_dict.pt": SERIALIZED + "test_linear.state_dict.pt",
    "pytorch_test_linear_dynamic_float16.state_dict.pt": SERIALIZED + "test_linear_dynamic_float16.state_dict.pt",
    "pytorch_test_lstm.state_dict.pt": SERIALIZED + "test_lstm.state_dict.pt",
    "pytorch_test_conv2d_graph_v3.expected.pt": SERIALIZED + "test_conv2d_graph_v3.expected.pt",
    "gopickle_bfloat16_proto1.pt": GOPICKLE + "tensor_bfloat16_proto1.pt",
    "gopickle_float16_proto5.pt": GOPICKLE + "tensor_float16_proto5.pt",
    "gopickle_bfloat16_proto1_zip.pt": GOPICKLE + "tensor_bfloat16_proto1_zip.pt",
    "burn_buffers.pt": BURN + "buffers.pt",
    "burn_legacy_uncloned_views.pt": BURN + "legacy_uncloned_views.pt",
    "matgl_tensornet_model.pt": MATGL + "TensorNet-MatPES-PBE-v2025.1-PES/model.pt",
    "matgl_megnet_model.pt": MATGL + "MEGNet-MP-2018.6.1-Eform/model.pt",
    "torchmd_net_expected.pkl": "files/github/torchmd+torchmd-net/tests/expected.pkl",
    "lpips_alex.pth": "files/pypi/lpips-0.1.4/lpips/weights/v0.0/alex.pth",
    "3ddfa_param_whitening.pkl": "files/github/cleardusk+3DDFA/train.configs/param_whitening.pkl",
    "numpy_astype_copy.pkl": "files/pypi/numpy-2.4.6/numpy/_core/tests/data/astype_copy.pkl",
}


def tensors_of(reference):
    """The reference's tensors, and its quantized ones as integers with scale and zero point."""
    found = {}
    for name, t in reference.get("tensors", {}).items():
        assert "complex" not in t["dtype"] and "float4" not in t["dtype"], "would need another shape"
        found[name or "tensor"] = {"dtype": expect.TORCH_DTYPES[t["dtype"]], "shape": t["shape"], "sha256": t["sha256"]}
    for name, t in reference.get("special", {}).items():
        name = name or "tensor"
        assert t["kind"] == "quantized" and t["qscheme"] == "per_tensor_affine", t
        found[name] = {"dtype": expect.QUANTIZED[t["dtype"]], "shape": t["shape"], "sha256": t["int_repr_sha256"]}
        found[name + ".scale"] = expect.entry("F64", [], np.float64(t["scale"]).tobytes())
        found[name + ".zero_point"] = expect.entry("I64", [], np.int64(t["zero_point"]).tobytes())
    return found


def main(corpus, out):
    with open(os.path.join(corpus, "reference.json")) as f:
        references = {entry["path"]: entry for entry in json.load(f)}
    where = expect.folder(out, "corpus") + "/"
    for name, path in FILES.items():
        reference = references[path]
        shutil.copyfile(os.path.join(corpus, path), where + name)
        os.chmod(where + name, 0o644)
        record = {"made_by": reference["source"], "args": ARGS}
        tensors = tensors_of(reference)
        if tensors:
            record["tensors"] = tensors
        else:
            record.update({"error": "no-tensors", "exit": 1})
        expect.write_json(where + name, record)
        print("%6d %3d  %-20s %s" % (reference["size"], len(tensors), reference["container"], name))


if __name__ == "__main__":
    main(*sys.argv[1:])
