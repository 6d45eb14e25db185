"""Archives that hold checkpoints beside other files.

    python make_bundles.py OUTDIR

Needs torch 2.15. Writes OUTDIR/bundles. The expectations are those of all checkpoints in one file: each name
is prefixed by the path of its member without its ending, unless one member alone holds tensors.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sys
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import torch

import expect
import expect_containers as containers
from expect import numbers

WHERE = ""
BY = "make_bundles.py, " + expect.made_by()
tarfile.RECORDSIZE = 1024  # not 10240: the zeros at the end are no part of the test


def tensor(kind, shape, seed):
    return torch.from_numpy(numbers(kind, shape, seed))


def saved(obj, **options):
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    return buffer.getvalue()


def state(seed):
    return OrderedDict([("net.weight", tensor("f4", (2, 3), seed)), ("net.bias", tensor("f4", (2,), seed + 1)),
                        ("count", torch.tensor(seed))])


def tiny(seed):
    return saved({"w": tensor("f4", (2,), seed)}, _use_new_zipfile_serialization=False)


def loaded(data):
    """What the library finds in one member: {name: entry}, left out."""
    if data[:6] == b"\x93NUMPY":
        return containers.describe(np.load(io.BytesIO(data)))
    try:
        return containers.describe(torch.load(io.BytesIO(data), weights_only=False))
    except (pickle.UnpicklingError, RuntimeError):
        return containers.describe(pickle.loads(data))


def info(name, size=0, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname, member.mtime = size, kind, link, 1577836800
    return member


def tar(members, form=tarfile.GNU_FORMAT):
    """[(name, bytes or TarInfo)] -> bytes"""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as t:
        for name, data in members:
            if isinstance(data, tarfile.TarInfo):
                t.addfile(data)
            else:
                t.addfile(info(name, len(data)), io.BytesIO(data))
    return buffer.getvalue()


def folder(name):
    return (name, info(name, kind=tarfile.DIRTYPE))


def archive(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as z:
        for name, data in members:
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = method
            z.writestr(entry, data)
    return buffer.getvalue()


def opened(data):
    """The members as Python's own readers give them."""
    for decompress in (gzip.decompress, bz2.decompress, lzma.decompress):
        try:
            data = decompress(data)
            break
        except (OSError, lzma.LZMAError, EOFError, ValueError):
            pass
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as z:
            return OrderedDict((i.filename, z.read(i)) for i in z.infolist() if not i.is_dir())
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        return OrderedDict((m.name, t.extractfile(m).read()) for m in t.getmembers() if m.isfile())


def write(name, data):
    path = os.path.join(WHERE, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def good(name, data, checkpoints, nested=None):
    """`checkpoints`: the members that are checkpoints. `nested`: {member: its bundle's checkpoints}."""
    members = opened(data)
    found = OrderedDict()
    for member in checkpoints:
        found[member] = loaded(members[member])
    for member, inner in (nested or {}).items():
        for other in inner:
            found[os.path.splitext(member)[0] + "/" + other] = loaded(opened(members[member])[other])
    with_tensors = [member for member in found if found[member][0]]
    tensors, left_out = {}, []
    for member in found:
        stem = os.path.splitext(member)[0]
        stem = stem[2:] if stem.startswith("./") else stem
        prefix = "" if len(with_tensors) == 1 else stem + "."
        tensors.update((prefix + key, value) for key, value in found[member][0].items())
        left_out += [prefix + key for key in found[member][1]]
    containers.record(write(name, data), tensors, left_out, by=BY)


def bad(name, data, code, exit_code=1):
    containers.write_error(write(name, data), code, exit_code=exit_code, by=BY)


def main(out):
    global WHERE
    WHERE = expect.folder(out, "bundles")
    one, two = saved(state(1)), saved(state(3), _use_new_zipfile_serialization=False)
    config = json.dumps({"hidden": 3, "name": "bundle"}).encode()
    readme = b"# A bundle\n\nTwo checkpoints.\n"
    pair = [folder("model/"), ("model/encoder/", info("model/encoder/", kind=tarfile.DIRTYPE)), ("model/encoder/weights.pt", one),
            ("model/decoder/weights.pt", two), ("model/config.json", config), ("README.md", readme)]
    names = ["model/encoder/weights.pt", "model/decoder/weights.pt"]
    plain = tar(pair)
    good("two.tar", plain, names)
    good("two.tar.gz", gzip.compress(plain, mtime=0), names)
    good("two.tar.bz2", bz2.compress(plain), names)
    good("two.tar.xz", lzma.compress(plain), names)
    good("two.zip", archive([(n, d) for n, d in pair if isinstance(d, bytes)]), names)
    good("two_deflated.zip", archive([(n, d) for n, d in pair if isinstance(d, bytes)], zipfile.ZIP_DEFLATED), names)
    good("one.tar.gz", gzip.compress(tar([("weights.th", one), ("config.json", config)]), mtime=0), ["weights.th"])

    # the archives of some tools
    nemo = [folder("./"), ("./model_config.yaml", b"target: nemo.Model\nsample_rate: 16000\n"), ("./model_weights.ckpt", one),
            ("./tokenizer.vocab", b"a\nb\n")]
    good("speech.nemo", tar(nemo), ["./model_weights.ckpt"])
    good("speech_gz.nemo", gzip.compress(tar(nemo), mtime=0), ["./model_weights.ckpt"])
    manifest = json.dumps({"createdOn": "01/01/2020 00:00:00", "runtime": "python", "archiverVersion": "0.8.2",
                           "model": {"modelName": "net", "serializedFile": "model.pt", "handler": "handler.py", "modelVersion": "1.0"}})
    good("served.mar", archive([("model.pt", one), ("handler.py", b"def handle(data, context):\n    return data\n"),
                                ("MAR-INF/MANIFEST.json", manifest.encode())], zipfile.ZIP_DEFLATED), ["model.pt"])
    net = torch.nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(tensor("f4", (2, 2), 20))
        net.bias.copy_(tensor("f4", (2,), 21))
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    agent = [("data", json.dumps({"policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": "gASVMAAAAAAAAAA="}}).encode()),
             ("pytorch_variables.pth", saved(None)), ("policy.pth", saved(OrderedDict(("action_net." + k, v) for k, v in net.state_dict().items()))),
             ("policy.optimizer.pth", saved(adam.state_dict())), ("_stable_baselines3_version", b"2.3.0"),
             ("system_info.txt", b"- Python: 3.11\n")]
    good("agent.zip", archive(agent), ["pytorch_variables.pth", "policy.pth", "policy.optimizer.pth"])
    meta = pickle.dumps({"model_function": ["net", {"size": 3}], "label_scheme": "haploid", "feature_encoder": {"rate": 1.5}}, 4)
    good("polish.tar.gz", gzip.compress(tar([folder("model/"), ("model/weights.pt", one), ("model/meta.pkl", meta)]), mtime=0),
         ["model/weights.pt", "model/meta.pkl"])

    # the ways of tar
    one, two = tiny(5), tiny(6)
    deep = "/".join(["folder_with_a_rather_long_name_%d" % n for n in range(5)])
    long = [(deep + "/first.pt", one), (deep + "/second.pt", two)]
    stems = [n for n, _ in long]
    good("gnu_long_names.tar", tar(long), stems)
    good("pax_long_names.tar", tar(long, tarfile.PAX_FORMAT), stems)
    good("ustar_prefix.tar", tar(long, tarfile.USTAR_FORMAT), stems)
    unicode_names = [("\u6a21\u578b/w\u00e9ights.pt", one), ("b.pt", two)]
    good("pax_unicode.tar", tar(unicode_names, tarfile.PAX_FORMAT), [n for n, _ in unicode_names])
    good("gnu_unicode.tar.gz", gzip.compress(tar(unicode_names), mtime=0), [n for n, _ in unicode_names])
    short = [("a.pt", one), ("b.pt", two)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "global"}) as t:
        for name, data in short:
            member = info(name, len(data))
            member.mtime, member.pax_headers = 1577836800.25, {"SCHILY.xattr.user.note": "x"}
            t.addfile(member, io.BytesIO(data))
    good("pax_global.tar.gz", gzip.compress(buffer.getvalue(), mtime=0), ["a.pt", "b.pt"])
    good("v7.tar", checked(tar(short), lambda head: head[:257] + bytes(255)), ["a.pt", "b.pt"])
    good("base256_size.tar", checked(tar(short), lambda h: h[:124] + b"\x80" + int(h[124:135], 8).to_bytes(11, "big") + h[136:]), ["a.pt", "b.pt"])
    plain = tar(short)
    good("no_end_blocks.tar", plain[:len(plain.rstrip(b"\0")) // 512 * 512 + 512], ["a.pt", "b.pt"])
    good("array_beside.tar.gz", gzip.compress(tar([("a.pt", one), ("array.npy", npy(numbers("f4", (2, 2), 30)))]), mtime=0), ["a.pt", "array.npy"])

    # a bundle in a bundle
    inner = archive([("policy.pth", one), ("notes.txt", b"notes")])
    good("zip_in_tar.tar.gz", gzip.compress(tar([("run/agent.zip", inner), ("README.md", readme)]), mtime=0), [], {"run/agent.zip": ["policy.pth"]})
    inner = archive([("policy.pth", one), ("value.pth", two)])
    good("zip_in_tar_two.tar", tar([("run/agent.zip", inner), ("README.md", readme)]), [], {"run/agent.zip": ["policy.pth", "value.pth"]})

    hostile(one, two)


def npy(a):
    buffer = io.BytesIO()
    np.save(buffer, a)
    return buffer.getvalue()


def checked(data, change):
    """The tar with every member's header changed and its checksum made good again."""
    blocks, at = [], 0
    while at < len(data):
        head = data[at:at + 512]
        if not head.strip(b"\0"):
            blocks.append(data[at:])
            break
        size = (int(head[124:135], 8) + 511) // 512 * 512
        head = change(head)
        head = head[:148] + b" " * 8 + head[156:]
        head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
        blocks.append(head + data[at + 512:at + 512 + size])
        at += 512 + size
    return b"".join(blocks)


def hostile(one, two):
    link = lambda name, kind, to: (name, info(name, kind=kind, link=to))
    for name, members in (
        ("parent", [("a.pt", one), ("../evil.pt", two)]),
        ("parent_inside", [("a.pt", one), ("model/../../evil.pt", two)]),
        ("absolute", [("a.pt", one), ("/evil.pt", two)]),
        ("symlink", [("a.pt", one), link("b.pt", tarfile.SYMTYPE, "/etc/passwd")]),
        ("symlink_folder", [("a.pt", one), link("model", tarfile.SYMTYPE, "/tmp"), ("model/b.pt", two)]),
        ("hardlink", [("a.pt", one), link("b.pt", tarfile.LNKTYPE, "a.pt")]),
        ("device", [("a.pt", one), link("b.pt", tarfile.CHRTYPE, "")]),
        ("fifo", [("a.pt", one), link("b.pt", tarfile.FIFOTYPE, "")]),
        ("twice", [("a.pt", one), ("a.pt", two)]),
        ("twice_dot", [("a.pt", one), ("./a.pt", two)]),
    ):
        if name in ("parent", "symlink", "twice"):
            bad("hostile_%s.tar" % name, tar(members), "tar-ambiguous")
        else:
            bad("hostile_%s.tar.gz" % name, gzip.compress(tar(members), mtime=0), "tar-ambiguous")
    bad("hostile_twice.tar.gz", gzip.compress(tar([("a.pt", one), ("a.pt", two)]), mtime=0), "tar-ambiguous")
    plain = tar([("a.pt", one), ("model/decoder/weights.pt", two), ("README.md", b"text")])
    broken = bytearray(plain)
    at = plain.index(b"model/decoder/weights.pt")
    broken[at + 6] ^= 1
    bad("bad_checksum.tar", bytes(broken), "tar-malformed")
    bad("bad_size.tar", checked(tar([("a.pt", one), ("b.pt", two)]), lambda h: h[:124] + b"99999999999\0" + h[136:]
                                if h.startswith(b"b.pt") else h), "tar-malformed")
    bad("cut_in_member.tar", plain[:at + 700], "truncated")
    bad("cut_in_header.tar", plain[:at + 300], "truncated")
    bad("cut.tar.gz", gzip.compress(plain, mtime=0)[:-200], "truncated")
    for name, member in (("parent", "../evil.pth"), ("parent_inside", "a/../../evil.pth"), ("absolute", "/evil.pth")):
        bad("hostile_%s.zip" % name, archive([("policy.pth", one), (member, two)]), "zip-ambiguous")
    evil = b"\x80\x02cos\nsystem\nX\x0d\x00\x00\x00echo depickle\x85R."
    bad("os_system.tar", tar([("a.pt", one), ("b.pkl", evil)]), "denied", 3)
    bad("os_system.zip", archive([("policy.pth", one), ("pytorch_variables.pth", evil)]), "denied", 3)


if __name__ == "__main__":
    main(sys.argv[1])
