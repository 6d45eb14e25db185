"""Replaces the folders of the machine on which files were made by as many slashes: `neutral.py PREFIX [PREFIX ...] FOLDER`.

Libraries write the paths of sources into debug information. Nothing in a file moves: members of zip archives keep their place
and length, also deflated ones, and get a new CRC-32.
"""
import itertools
import os
import re
import struct
import sys
import zipfile
import zlib


def deflate(data, length):
    """`data` deflated to exactly `length` bytes: by another effort, and filled up with empty blocks of 5 bytes at some place."""
    for level, memory, strategy in itertools.product(range(9, 0, -1), range(9, 0, -1), range(4)):
        for cut in range(0, len(data), max(1, len(data) // 20)):
            packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
            first = packer.compress(data[:cut]) + packer.flush(zlib.Z_SYNC_FLUSH)
            last = packer.compress(data[cut:]) + packer.flush()
            filling, rest = divmod(length - len(first + last), 5)
            if filling >= 0 and rest == 0:
                packed = first + filling * b"\0\0\0\xff\xff" + last
                assert len(packed) == length and zlib.decompress(packed, -15) == data
                return packed
    raise SystemExit("no deflated form of %d bytes has %d" % (len(data), length))


def neutral(data, prefixes):
    for prefix in prefixes:
        data = re.sub(re.escape(prefix) + rb"[\w./-]*/", lambda found: b"/" * len(found.group()), data)
    return data


def neutral_zip(path, whole, prefixes):
    out = bytearray(neutral(whole, prefixes))
    with zipfile.ZipFile(path) as z:
        members, start = z.infolist(), z.start_dir
    entry = start
    for member in members:
        at = member.header_offset
        name_bytes, extra_bytes = struct.unpack("<HH", whole[at + 26:at + 30])
        data_at = at + 30 + name_bytes + extra_bytes
        end = data_at + member.compress_size
        data = whole[data_at:end]
        if member.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompress(data, -15)
        changed = neutral(data, prefixes)
        if changed != data:
            crc = struct.pack("<I", zlib.crc32(changed))
            deflated = member.compress_type == zipfile.ZIP_DEFLATED
            out[data_at:end] = deflate(changed, member.compress_size) if deflated else changed
            if whole[at + 14:at + 18] != bytes(4):
                out[at + 14:at + 18] = crc
            if whole[end:end + 4] == b"PK\7\x08":
                out[end + 4:end + 8] = crc
            out[entry + 16:entry + 20] = crc
        name_bytes, extra_bytes, comment_bytes = struct.unpack("<HHH", whole[entry + 28:entry + 34])
        entry += 46 + name_bytes + extra_bytes + comment_bytes
    return bytes(out)


def main(*args):
    prefixes = [prefix.encode() for prefix in args[:-1]]
    for folder, _, names in os.walk(args[-1]):
        for path in (os.path.join(folder, name) for name in names if not name.endswith((".py", ".sh"))):
            with open(path, "rb") as f:
                whole = f.read()
            changed = neutral_zip(path, whole, prefixes) if whole[:4] == b"PK\3\4" and zipfile.is_zipfile(path) else neutral(whole, prefixes)
            if changed != whole:
                with open(path, "wb") as f:
                    f.write(changed)
                print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
