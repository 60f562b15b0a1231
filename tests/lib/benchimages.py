# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Large images for benchmarks: written straight to a path, never part of the test run."""

import array
import errno
import os
import sys

import vhdxdisk as disk
from corpus import bench
from sparsebytes import write_all
from vhdxdisk import FULL, GIB, MIB, TIB
from vhdximage import Image, pattern

PIECE_ENTRIES = 1 << 17  # BAT entries per write: 1 MiB


def full_bat_pieces(image, first_mib):
    """(offset in the BAT, bytes): every payload block FULLY_PRESENT, one behind the other."""
    step, ratio = image.block_size // MIB << 20, image.chunk_ratio
    piece, at, value = array.array('Q'), 0, disk.bat_entry(FULL, first_mib)
    for start in range(0, image.blocks, ratio):
        count = min(ratio, image.blocks - start)
        piece.extend(range(value, value + count * step, step))
        value += count * step
        if start + count < image.blocks:
            piece.append(0)  # the chunk's bitmap entry
        if len(piece) >= PIECE_ENTRIES:
            yield at, to_bytes(piece)
            at += 8 * len(piece)
            piece = array.array('Q')
    yield at, to_bytes(piece)


def to_bytes(piece):
    """Little-endian bytes of an array."""
    if sys.byteorder == 'big':
        piece.byteswap()
    return piece.tobytes()


def write_full(path, size, block_size, every=0):
    """An image with a full BAT; every n-th block gets a page of data, the rest is sparse."""
    image = Image(size=size, block_size=block_size)
    first = image.next_free
    image.render().save(path)
    handle = os.open(path, os.O_RDWR)
    try:
        for offset, data in full_bat_pieces(image, first // MIB):
            write_all(handle, data, image.bat_at + offset)
        extend(handle, first + image.blocks * block_size)
        for block in range(0, image.blocks if every else 0, every or 1):
            write_all(handle, pattern(('bench', block), 4096), first + block * block_size)
    finally:
        os.close(handle)


def extend(handle, size):
    """The full size, or as near as the file system allows (16 TiB on ext4): blocks past the end
    of the file cannot be read then, but opening and mapping work."""
    while True:
        try:
            os.ftruncate(handle, size)
            return
        except OSError as error:
            if error.errno not in (errno.EFBIG, errno.EINVAL):
                raise
            size //= 2


@bench
def bench_64tib_full(path):
    """64 TiB in blocks of 1 MiB, all of them present: a full BAT of 513 MiB."""
    write_full(path, 64 * TIB, MIB)


@bench
def bench_64tib_empty(path):
    """64 TiB in blocks of 1 MiB, none present: an empty BAT of 513 MiB."""
    Image(size=64 * TIB, block_size=MIB).render().save(path)


@bench
def bench_1tib_full(path):
    """1 TiB in blocks of 1 MiB, all present, sparse, a page of data in every 1024th block."""
    write_full(path, TIB, MIB, every=1024)


@bench
def bench_64gib_full_2m(path):
    """64 GiB in blocks of 2 MiB, all present, sparse."""
    write_full(path, 64 * GIB, 2 * MIB, every=512)


@bench
def bench_4gib_dense(path):
    """4 GiB in blocks of 32 MiB that really hold data: for throughput."""
    image = Image(size=4 * GIB, block_size=32 * MIB)
    first = image.next_free
    write_full(path, image.size, image.block_size)
    data = pattern('dense', 32 * MIB)
    handle = os.open(path, os.O_RDWR)
    try:
        for block in range(image.blocks):
            write_all(handle, data, first + block * image.block_size)
    finally:
        os.close(handle)


@bench
def bench_chain_of_64(path):
    """64 images of 1 GiB; each has one partial block of its own. Parents lie beside the image."""
    folder, name = os.path.split(os.path.abspath(path))
    image = Image('bench-parent-0.vhdx', size=GIB, block_size=2 * MIB)
    image.fill('bench')
    for level in range(1, 64):
        last = level == 63
        image = Image(name if last else 'bench-parent-%d.vhdx' % level, size=GIB,
                      block_size=2 * MIB, parent=image)
        image.put_sectors(level * 8 * MIB, pattern(level, 64 * 1024))
    image.save(folder)
