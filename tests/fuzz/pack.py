#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Makes inputs for the fuzz targets (tests/fuzz/fuzz.h): what a file holds, without its holes.

Usage: pack.py OUTPUT-FOLDER FILE...    each FILE becomes OUTPUT-FOLDER/NAME
       pack.py --undo OUTPUT-FOLDER     undo files for fuzz-undo, whose checksums it makes fit
"""

import os
import struct
import sys

SECTOR = 512
KIB, MIB = 1 << 10, 1 << 20


def pieces(data):
    """The stretches that hold something, zeros at their ends left out."""
    start = None
    for at in range(0, len(data) + SECTOR, SECTOR):
        empty = not any(data[at:at + SECTOR])
        if not empty and start is None:
            start = at
        elif empty and start is not None:
            yield start, data[start:at].rstrip(b'\0')
            start = None


def pack(data):
    """The packed form of a file's content."""
    out = [struct.pack('<Q', len(data))]
    out += [struct.pack('<QI', at, len(piece)) + piece for at, piece in pieces(data)]
    return b''.join(out)


def record(kind, offset, length, data=b'', settled=0):
    """A record of an undo file, without its checksums."""
    return struct.pack('<4sIIIQQQ16s', b'undo', 0, kind, 0, offset, length, settled,
                       b'i' * 16) + data


def undo_files():
    """A few undo files of an image of 1 MiB."""
    head = struct.pack('<8sIIQ16sQ4096s', b'vhdxundo', 1, 0, MIB, b'i' * 16, 0, b'image.vhdx')
    some = record(1, 0, 64 * KIB, b'a' * 64 * KIB, len(head)) + record(2, 128 * KIB, 64 * KIB)
    yield 'header', head
    yield 'some', head + some
    yield 'torn', head + some[:-20]
    yield 'undoing', head + some + record(4, 0, 0)
    yield 'longer', struct.pack('<8sIIQ16sQ4096s', b'vhdxundo', 1, 0, 2 * MIB, b'i' * 16, 0,
                                b'image.vhdx') + record(2, MIB, MIB)


def main():
    """See above."""
    if sys.argv[1] == '--undo':
        folder, files = sys.argv[2], list(undo_files())
    else:
        folder, files = sys.argv[1], []
        for path in sys.argv[2:]:
            with open(path, 'rb') as file:
                files.append((os.path.splitext(os.path.basename(path))[0], file.read()))
    os.makedirs(folder, exist_ok=True)
    for name, data in files:
        if len(data) <= 32 * MIB:
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(pack(data))


if __name__ == '__main__':
    main()
