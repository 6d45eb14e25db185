"""Files damaged on purpose, each with the error code that depickle has to answer.

    python make_broken.py OUTDIR

Needs torch 2.15. Writes OUTDIR/broken. Every file is first a good one from torch.save (which is loaded
back to prove it), then one thing is broken.
"""

import io
import os
import pickle
import random
import sys
import zipfile
import zlib

import torch

import expect
from make_torch import tensor

WHERE = ""


def state():
    return {"a": tensor("float32", (2, 3), 1), "b": tensor("int64", (4, 5), 2)}


def saved(obj, **options):
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    buffer.seek(0)
    torch.load(buffer, weights_only=False)
    return buffer.getvalue()


def legacy(obj):
    return saved(obj, _use_new_zipfile_serialization=False)


def write(name, data, code, args=(), exit_code=1, torch_says=True):
    path = os.path.join(WHERE, name)
    with open(path, "wb") as f:
        f.write(data)
    record = {"made_by": "make_broken.py, " + expect.made_by(), "args": list(args), "error": code, "exit": exit_code}
    if torch_says:
        record["torch_load"] = what_torch_says(path)
    expect.write_json(path, record)
    print("%6d  %-22s %s  [torch: %s]" % (len(data), code, name, record.get("torch_load")))


def what_torch_says(path):
    """The class of torch.load's error, or that it loads (torch is no judge of these: see HOSTILE.md)."""
    try:
        torch.load(path, weights_only=False)
        return "loads"
    except Exception as error:
        return type(error).__name__


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return {name: z.read(name) for name in z.namelist()}


def rezip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, data in files.items():
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def patched(old, new):
    """The zip of state() with one piece of data.pkl replaced (both a's and its memo stay valid)."""
    files = members(saved(state()))
    assert files["archive/data.pkl"].count(old) == 1, files["archive/data.pkl"]
    files["archive/data.pkl"] = files["archive/data.pkl"].replace(old, new)
    return rezip(files)


def zip_crypto(name, data, password):
    """A zip with one member under the traditional PKWARE encryption."""
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0xEDB88320 if n & 1 else 0)
        table.append(n)
    crc = lambda c, b: (c >> 8) ^ table[(c ^ b) & 0xFF]
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte):
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    check = zlib.crc32(data)
    secret = bytearray()
    for byte in bytes(range(11)) + bytes([check >> 24]) + data:
        t = (keys[2] | 2) & 0xFFFF
        secret.append(byte ^ (((t * (t ^ 1)) >> 8) & 0xFF))
        update(byte)
    le = lambda n, size: n.to_bytes(size, "little")
    raw = name.encode()
    fields = le(1, 2) + le(0, 2) + le(0, 2) + le(0x21, 2) + le(check, 4) + le(len(secret), 4) + le(len(data), 4)
    local = b"PK\x03\x04" + le(20, 2) + fields + le(len(raw), 2) + le(0, 2) + raw + bytes(secret)
    central = b"PK\x01\x02" + le(20, 2) + le(20, 2) + fields + le(len(raw), 2) + le(0, 2) * 4 + le(0, 4) + le(0, 4) + raw
    end = b"PK\x05\x06" + le(0, 4) + le(1, 2) * 2 + le(len(central), 4) + le(len(local), 4) + le(0, 2)
    with zipfile.ZipFile(io.BytesIO(local + central + end)) as z:
        assert z.read(name, pwd=password) == data
    return local + central + end


def main(out):
    global WHERE
    WHERE = expect.folder(out, "broken")
    good, old = saved(state()), legacy(state())
    files = members(good)

    # truncation
    write("zip_cut_in_storage.pt", good[:good.index(files["archive/data/1"]) + 50], "zip-malformed")
    write("zip_cut_in_pickle.pt", good[:150], "zip-malformed")
    write("zip_cut_in_directory.pt", good[:-150], "zip-malformed")
    b = state()["b"].numpy().tobytes()
    write("legacy_cut_in_storage.pt", old[:old.index(b) + 50], "truncated")
    write("legacy_cut_in_pickle.pt", old[:250], "truncated")
    write("legacy_cut_after_magic.pt", old[:15], "truncated")
    write("legacy_storage_missing.pt", old[:old.index(b) - 8], "truncated")
    plain = pickle.dumps({"w": expect.numbers("float32", (3, 4), 3)}, 4)
    write("pickle_cut.pkl", plain[:-30], "truncated", torch_says=False)
    write("pickle_cut_in_array.pkl", plain[:plain.index(expect.numbers("float32", (3, 4), 3).tobytes()) + 20], "truncated",
          torch_says=False)
    deep = dict(files)
    deep["archive/data.pkl"] = deep["archive/data.pkl"][:100]
    write("zip_pickle_cut_inside.pt", rezip(deep), "truncated")

    # zip members
    flipped = bytearray(good)
    flipped[good.index(files["archive/data/0"]) + 5] ^= 0x10
    write("zip_crc.pt", bytes(flipped), "zip-crc")
    write("zip_storage_missing.pt", rezip({n: d for n, d in files.items() if n != "archive/data/1"}), "missing-entry")
    write("zip_no_data_pkl.pt", rezip({n: d for n, d in files.items() if n != "archive/data.pkl"}), "missing-entry")
    write("zip_encrypted.pt", zip_crypto("archive/data.pkl", files["archive/data.pkl"], b"secret"), "zip-encrypted")
    short = dict(files)
    short["archive/data/0"] = short["archive/data/0"][:-4]
    write("zip_storage_short.pt", rezip(short), "storage-size-mismatch")
    long = dict(files)
    long["archive/data/0"] += b"\0\0\0\0"
    write("zip_storage_long.pt", rezip(long), "storage-size-mismatch")

    # tensors: a is (2, 3) with strides (3, 1), b is (4, 5) with strides (5, 1)
    write("tensor_beyond_storage.pt", patched(b"K\x02K\x03\x86", b"K\x02K\x07\x86"), "tensor-out-of-bounds")
    write("tensor_offset_beyond.pt", patched(b"QK\x00K\x02K\x03\x86", b"QK\x01K\x02K\x03\x86"), "tensor-out-of-bounds")
    write("tensor_stride_beyond.pt", patched(b"K\x05K\x01\x86", b"M\xff\xffK\x01\x86"), "tensor-out-of-bounds")
    write("tensor_negative_stride.pt", patched(b"K\x05K\x01\x86", b"J\xfb\xff\xff\xffK\x01\x86"), "tensor-invalid")
    write("tensor_negative_size.pt", patched(b"K\x02K\x03\x86", b"J\xfe\xff\xff\xffK\x03\x86"), "tensor-invalid")
    write("tensor_negative_offset.pt", patched(b"QK\x00K\x02K\x03\x86", b"QJ\xff\xff\xff\xffK\x02K\x03\x86"), "tensor-invalid")
    write("tensor_rank_mismatch.pt", patched(b"K\x03K\x01\x86", b"K\x01\x85"), "tensor-invalid")
    write("tensor_huge_size.pt", patched(b"K\x02K\x03\x86", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x03\x86"),
          "tensor-out-of-bounds")

    # names
    write("name_collision.pt", saved({1: tensor("float32", (2,), 4), "1": tensor("float32", (2,), 5)}),
          "name-collision", ["--root", "."])
    write("name_metadata.pt", saved({"__metadata__": tensor("float32", (2,), 6), "w": tensor("float32", (2,), 7)}),
          "name-invalid")
    write("no_tensors.pt", saved({"epoch": 3, "names": ["a", "b"], "nested": {"lr": 0.1}}), "no-tensors")
    write("no_tensors_legacy.pt", legacy([1, 2, 3]), "no-tensors")

    # no checkpoint at all
    write("empty.pt", b"", "empty-file")
    write("text.pt", b"Notes on training run 12: see the wiki for the weights.\n", "unknown-format")
    write("random.pt", random.Random(1).randbytes(64), "unknown-format")
    write("page.pt", b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>no such file</body></html>\n",
          "unsupported-container")
    write("error.pt", b'{"error": "Repository not found", "status": 404}\n', "unsupported-container")
    write("lfs_pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0"
          b"002f74190d6caea8\nsize 440449768\n", "unsupported-container")
    for name, magic in (("seven_zip", b"7z\xbc\xaf\x27\x1c\x00\x04"), ("hdf5", b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00"),
                        ("gguf", b"GGUF\x03\x00\x00\x00"), ("zstd", b"\x28\xb5\x2f\xfd\x00\x58\x41\x00\x00")):
        write(name + ".pt", magic + bytes(48), "unsupported-container")


if __name__ == "__main__":
    main(sys.argv[1])
