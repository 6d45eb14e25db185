"""Checkpoints inside one compressed stream, as Python's modules, lz4 and zstandard write it.

    python make_compressed.py OUTDIR

Needs torch 2.15, lz4 and zstandard. Writes OUTDIR/compressed.
"""

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections import OrderedDict

import lz4.frame
import numpy as np
import torch
import zstandard

import expect
import expect_containers as containers
from expect import numbers

WHERE = ""


def state():
    return OrderedDict([("w", numbers("f4", (3, 4), 1)), ("t", numbers(">f8", (3, 4), 2).T), ("note", "text" * 20)])


def tensors():
    return OrderedDict((n, torch.from_numpy(a.copy())) for n, a in (("w", numbers("f4", (3, 4), 4)), ("n", numbers("i8", (2,), 5))))


def saved(obj, **options):
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    return buffer.getvalue()


def write(name, data):
    path = os.path.join(WHERE, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def good(name, data, obj, opened, plain):
    """`opened` is what the library itself decompresses: it has to be `plain`."""
    assert opened == plain, name
    containers.write_expect(write(name, data), obj, by="make_compressed.py, " + expect.made_by())


def bad(name, data, code, args=()):
    containers.write_error(write(name, data), code, args, by="make_compressed.py, " + expect.made_by())


def gzip_member(plain, flags, extra=b""):
    """One gzip member with those header flags and fields."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\x02\x03" + extra
    if flags & 2:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + deflate.compress(plain) + deflate.flush() + struct.pack("<II", zlib.crc32(plain), len(plain))


def main(out):
    global WHERE
    WHERE = expect.folder(out, "compressed")
    plain = pickle.dumps(state(), 4)
    half = len(plain) // 2

    def g(name, data, obj=None, body=plain):
        good(name, data, state() if obj is None else obj, gzip.decompress(data), body)

    g("state.pkl.gz", gzip.compress(plain, mtime=0))
    g("protocol2.pkl.gz", gzip.compress(pickle.dumps(state(), 2), mtime=0), body=pickle.dumps(state(), 2))
    g("two_members.pkl.gz", gzip.compress(plain[:half], mtime=0) + gzip.compress(plain[half:], mtime=0))
    g("empty_member.pkl.gz", gzip.compress(b"", mtime=0) + gzip.compress(plain, mtime=0))
    g("zero_padding.pkl.gz", gzip.compress(plain, mtime=0) + bytes(100))
    g("all_fields.pkl.gz", gzip_member(plain, 0x1F, b"\x06\x00ab\x02\x00cd" + b"state.pkl\0" + b"a comment\0"))
    g("stored.pkl.gz", gzip.compress(plain, 0, mtime=0))
    for name, body, obj in (
        ("zip.pt.gz", saved(tensors()), tensors()),
        ("legacy.pt.gz", saved(tensors(), _use_new_zipfile_serialization=False), tensors()),
    ):
        g(name, gzip.compress(body, mtime=0), obj, body)
    array = io.BytesIO()
    np.save(array, numbers("f4", (2, 3), 6))
    g("array.npy.gz", gzip.compress(array.getvalue(), mtime=0), numbers("f4", (2, 3), 6), array.getvalue())
    archive = io.BytesIO()
    np.savez(archive, w=numbers("f4", (2, 3), 7), b=numbers("i4", (2,), 8))
    g("arrays.npz.gz", gzip.compress(archive.getvalue(), mtime=0), {"w": numbers("f4", (2, 3), 7), "b": numbers("i4", (2,), 8)},
      archive.getvalue())

    for level in (1, 6, 9):
        data = zlib.compress(plain, level)
        good("level_%d.pkl.zlib" % level, data, state(), zlib.decompress(data), plain)

    data = bz2.compress(plain)
    good("state.pkl.bz2", data, state(), bz2.decompress(data), plain)
    data = bz2.compress(plain[:half], 1) + bz2.compress(plain[half:], 9)
    good("two_streams.pkl.bz2", data, state(), bz2.decompress(data), plain)

    for name, options in (
        ("state.pkl.xz", {}), ("check_none.pkl.xz", {"check": lzma.CHECK_NONE}), ("check_crc32.pkl.xz", {"check": lzma.CHECK_CRC32}),
        ("check_sha256.pkl.xz", {"check": lzma.CHECK_SHA256}), ("state.pkl.lzma", {"format": lzma.FORMAT_ALONE}),
    ):
        data = lzma.compress(plain, **options)
        good(name, data, state(), lzma.decompress(data), plain)
    data = lzma.compress(plain[:half]) + lzma.compress(plain[half:])
    good("two_streams.pkl.xz", data, state(), lzma.decompress(data), plain)
    data = lzma.compress(plain[:half]) + bytes(8) + lzma.compress(plain[half:])
    xz = subprocess.run(["xz", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout  # Python's lzma stops at the padding
    good("stream_padding.pkl.xz", data, state(), xz, plain)

    options = lz4.frame
    for name, more in (
        ("state.pkl.lz4", {}),
        ("checksums.pkl.lz4", {"content_checksum": True, "block_checksum": True, "store_size": False}),
        ("independent_blocks.pkl.lz4", {"block_linked": False, "block_size": options.BLOCKSIZE_MAX64KB}),
    ):
        data = options.compress(plain, **more)
        good(name, data, state(), options.decompress(data), plain)
    data = options.compress(plain[:half]) + options.compress(plain[half:])
    with lz4.frame.open(io.BytesIO(data)) as f:
        good("two_frames.pkl.lz4", data, state(), f.read(), plain)

    def unzstd(data):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()

    data = zstandard.ZstdCompressor().compress(plain)
    good("state.pkl.zst", data, state(), unzstd(data), plain)
    data = zstandard.ZstdCompressor(level=19, write_checksum=True, write_content_size=False).compress(plain)
    good("checksum.pkl.zst", data, state(), unzstd(data), plain)
    data = b"\x50\x2a\x4d\x18\x05\x00\x00\x00notes" + zstandard.ZstdCompressor().compress(plain[:half]) \
        + zstandard.ZstdCompressor().compress(plain[half:])
    good("skippable_and_two_frames.pkl.zst", data, state(), unzstd(data[13:]), plain)
    body = saved(tensors())
    data = zstandard.ZstdCompressor().compress(body)
    good("zip.pt.zst", data, tensors(), unzstd(data), body)

    whole = {"gz": gzip.compress(plain, mtime=0), "bz2": bz2.compress(plain), "xz": lzma.compress(plain),
             "lzma": lzma.compress(plain, format=lzma.FORMAT_ALONE), "zlib": zlib.compress(plain), "lz4": lz4.frame.compress(plain),
             "zst": zstandard.ZstdCompressor().compress(plain)}
    for ending, data in whole.items():
        bad("cut.pkl." + ending, data[:len(data) * 2 // 3], "truncated")
    bad("cut_in_trailer.pkl.gz", whole["gz"][:-6], "truncated")
    bad("cut_in_header.pkl.gz", whole["gz"][:6], "truncated")
    bad("cut_plain.pkl.gz", gzip.compress(plain[:-40], mtime=0), "truncated")  # the pickle ends early, the gzip does not

    big = pickle.dumps({"w": np.zeros(3 << 20, "u1"), "b": numbers("f4", (2,), 9)}, 4)
    limit = ["--limit", "decompressed-bytes=1M"]
    bombs = {"gz": gzip.compress(big, 9, mtime=0), "bz2": bz2.compress(big), "xz": lzma.compress(big),
             "lzma": lzma.compress(big, format=lzma.FORMAT_ALONE), "zlib": zlib.compress(big, 9),
             "zst": zstandard.ZstdCompressor().compress(big)}
    for ending, data in bombs.items():
        bad("bomb.pkl." + ending, data, "limit-exceeded", limit)
    long = pickle.dumps({"w": np.zeros(1200 << 10, "u1")}, 4)
    bad("bomb.pkl.lz4", lz4.frame.compress(long), "limit-exceeded", limit)
    bad("many_members.pkl.gz", b"".join(gzip.compress(long[n:n + 40000], 9, mtime=0) for n in range(0, len(long), 40000)), "limit-exceeded", limit)


if __name__ == "__main__":
    main(sys.argv[1])
