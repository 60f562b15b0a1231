# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Input files of the benchmarks, made with the independent generator in tests/lib.

Structures come from there; payload is written straight to the file, which is quicker.
"""

import array
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'lib'))

# pylint: disable=wrong-import-position
import vhdxdisk as disk
from benchimages import to_bytes, write_full
from sparsebytes import write_all
from vhdxdisk import BITMAP_PRESENT, FULL, GIB, MIB, PARTIAL, TIB, Data, LogEntry
from vhdximage import Image, LogRing, guid_for

BLOCK_SIZE = 2 * MIB
STRIPE = 64 * 1024   # of partial.vhdx
LOG_SECTORS = 100    # in the log of dirty.vhdx, besides the BAT's


# ---- Reading -------------------------------------------------------------------------------------

def write_raw(path, size):
    """Random bytes, the same ones each time."""
    source = random.Random(1)
    with open(path, 'wb') as out:
        for _ in range(size // BLOCK_SIZE):
            out.write(source.randbytes(BLOCK_SIZE))


def copy_payload(raw, path, places):
    """Copies blocks of the raw file to their places: (block, file offset)."""
    with open(raw, 'rb') as source, open(path, 'r+b') as out:
        for block, offset in places:
            source.seek(block * BLOCK_SIZE)
            out.seek(offset)
            out.write(source.read(BLOCK_SIZE))


def shuffled(count):
    """The numbers below count in a random order, the same one each time."""
    numbers = list(range(count))
    random.Random(2).shuffle(numbers)
    return numbers


def place_blocks(image):
    """Makes every block FULLY_PRESENT; they lie in random order. Returns their places."""
    return [(block, image.make_full(block)) for block in shuffled(image.blocks)]


def write_plain(folder, raw, size):
    """plain.vhdx: every block present."""
    image = Image('plain.vhdx', size=size, block_size=BLOCK_SIZE)
    places = place_blocks(image)
    copy_payload(raw, image.save(folder), places)
    return image


def write_dirty(folder, raw, size):
    """dirty.vhdx: the same with its BAT, and other sectors of the BAT region, in the log only."""
    image = Image('dirty.vhdx', size=size, block_size=BLOCK_SIZE)
    image.both(log_guid=guid_for('log'))
    places = place_blocks(image)
    file = image.render()
    bat = file.get(image.bat_at, 4096)
    file.put(image.bat_at, bytes(4096))
    sectors = [Data(image.bat_at, bat)]
    sectors += [Data(image.bat_at + (1 + number) * 4096, bytes(4096))
                for number in range(LOG_SECTORS)]
    LogRing(image).add(LogEntry(10, sectors))
    copy_payload(raw, image.save(folder), places)


def write_partial(folder, raw, parent):
    """partial.vhdx: stripes of its own alternate with the parent's."""
    image = Image('partial.vhdx', size=parent.size, block_size=BLOCK_SIZE, parent=parent)
    places, bitmaps = [], []
    for block in shuffled(image.blocks):
        index = image.bitmap_index(block // image.chunk_ratio)
        if index not in image.bat:
            bitmaps.append(image.allocate(MIB))
            image.bat[index] = disk.bat_entry(BITMAP_PRESENT, bitmaps[-1] // MIB)
        places.append((block, image.allocate(BLOCK_SIZE)))
        image.bat[image.payload_index(block)] = disk.bat_entry(PARTIAL, places[-1][1] // MIB)
    path = image.save(folder)
    stripe = STRIPE // image.sector // 8
    with open(path, 'r+b') as out:
        for offset in bitmaps:
            out.seek(offset)
            out.write((b'\xff' * stripe + bytes(stripe)) * (MIB // (2 * stripe)))
    copy_payload(raw, path, places)


def write_chain(folder, parent):
    """depth-3.vhdx: three empty children above the image that has the data."""
    image = parent
    for depth in (1, 2, 3):
        image = Image('depth-%d.vhdx' % depth, size=image.size, block_size=BLOCK_SIZE,
                      parent=image)
    image.save(folder)


def build_read(folder, quick):
    """What bench-read needs."""
    size = (64 if quick else 256) * MIB
    raw = os.path.join(folder, 'raw.img')
    write_raw(raw, size)
    plain = write_plain(folder, raw, size)
    write_dirty(folder, raw, size)
    write_partial(folder, raw, plain)
    write_chain(folder, plain)
    Image('holes.vhdx', size=size, block_size=BLOCK_SIZE).save(folder)


# ---- Opening -------------------------------------------------------------------------------------

def write_scattered(path, size):
    """Every block present, in reverse order, so that each is an extent of its own; no payload."""
    image = Image(size=size, block_size=MIB)
    first, ratio = image.next_free // MIB, image.chunk_ratio
    image.file.size = image.next_free + size
    image.render().save(path)
    entries = array.array('Q')
    for block in range(image.blocks):
        if block and block % ratio == 0:
            entries.append(0)  # the chunk's bitmap entry
        entries.append(disk.bat_entry(FULL, first + image.blocks - 1 - block))
    handle = os.open(path, os.O_RDWR)
    try:
        write_all(handle, to_bytes(entries), image.bat_at)
    finally:
        os.close(handle)


def write_child(folder, size):
    """child.vhdx: every block partially present, its first half its own; no payload."""
    parent = Image('parent.vhdx', size=size, block_size=MIB)
    image = Image('child.vhdx', size=size, block_size=MIB, parent=parent)
    bitmaps = [image.allocate(MIB) for _ in range(-(-image.blocks // image.chunk_ratio))]
    for chunk, offset in enumerate(bitmaps):
        image.bat[image.bitmap_index(chunk)] = disk.bat_entry(BITMAP_PRESENT, offset // MIB)
    for block in range(image.blocks):
        image.bat[image.payload_index(block)] = disk.bat_entry(PARTIAL,
                                                               image.allocate(MIB) // MIB)
    half = MIB // image.sector // 8 // 2
    with open(image.save(folder), 'r+b') as out:
        for offset in bitmaps:
            out.seek(offset)
            out.write((b'\xff' * half + bytes(half)) * (MIB // (2 * half)))


def build_open(folder, quick):
    """What bench-open needs."""
    write_full(os.path.join(folder, 'large.vhdx'), 4 * TIB if quick else 64 * TIB, MIB)
    write_full(os.path.join(folder, 'small.vhdx'), GIB, MIB)
    write_scattered(os.path.join(folder, 'scattered.vhdx'), TIB)
    write_child(folder, 64 * GIB)


# ---- Checking ------------------------------------------------------------------------------------

STRIDE = 4099  # MiB between neighbours of strided.vhdx


def write_strided(path, size):
    """Every block present, each STRIDE MiB behind its neighbour; no payload."""
    image = Image(size=size, block_size=MIB)
    first, ratio, step = image.next_free // MIB, image.chunk_ratio, 1 << 20
    write_full(path, size, MIB)
    places = (place for start in range(STRIDE) for place in range(start, image.blocks, STRIDE))
    handle = os.open(path, os.O_RDWR)
    try:
        at, piece, block = 0, array.array('Q'), 0
        for place in places:
            piece.append(disk.bat_entry(FULL, first) + place * step)
            block += 1
            if block % ratio == 0:
                piece.append(0)  # the chunk's bitmap entry
            if block % ratio == 0 or block == image.blocks:
                del piece[ratio + 1 if block < image.blocks else ratio:]
                write_all(handle, to_bytes(piece), image.bat_at + at)
                at += 8 * len(piece)
                piece = array.array('Q')
    finally:
        os.close(handle)


def build_check(folder, quick):
    """What bench-check needs."""
    size = 4 * TIB if quick else 64 * TIB
    write_full(os.path.join(folder, 'large.vhdx'), size, MIB)
    write_strided(os.path.join(folder, 'strided.vhdx'), size)


# ---- Converting ----------------------------------------------------------------------------------

GRAIN = 4096          # runs are whole file system blocks
LONGEST_RUN = 4096    # grains
ZERO_RUNS = 8         # one run of data in so many is zeros that were written
POOL_SIZE = 32 * MIB  # payload is cut from so many random bytes


def run_lengths(size, source):
    """Lengths of runs, size bytes in all: from a grain to 16 MiB, short ones as common as long."""
    lengths = []
    while size:
        length = min(GRAIN * int(LONGEST_RUN ** source.random()), size)
        lengths.append(length)
        size -= length
    return lengths


def half_full_runs(size):
    """Runs of data as (offset, length, whether they are zeros): half the disk. Holes are between
    them, of the same lengths in another order."""
    source = random.Random(4)
    data = run_lengths(size // 2, source)
    holes = source.sample(data, len(data))
    runs, offset = [], 0
    for number, (length, hole) in enumerate(zip(data, holes)):
        runs.append((offset, length, number % ZERO_RUNS == ZERO_RUNS - 1))
        offset += length + hole
    return runs


def pieces_of(runs, size):
    """Runs cut at multiples of size."""
    for offset, length, zeros in runs:
        while length:
            piece = min(length, size - offset % size)
            yield offset, piece, zeros
            offset += piece
            length -= piece


def payload_writer():
    """A function write(fd, length, zeros, offset): random bytes, the same ones in each writer."""
    source = random.Random(5)
    pool = memoryview(source.randbytes(POOL_SIZE))
    nothing = memoryview(bytes(BLOCK_SIZE))

    def write(handle, length, zeros, offset):
        start = source.randrange(POOL_SIZE - length)
        write_all(handle, nothing[:length] if zeros else pool[start:start + length], offset)
    return write


def write_realistic(folder, size):
    """disk.img, a sparse raw file whose data and holes come in runs of any length, and disk.vhdx:
    the same disk, its blocks in random order, what is a hole in the raw file a hole in the image's
    file."""
    runs = half_full_runs(size)
    image = Image('disk.vhdx', size=size, block_size=BLOCK_SIZE)
    used = {offset // BLOCK_SIZE for offset, _, _ in pieces_of(runs, BLOCK_SIZE)}
    places = {block: image.make_full(block) for block in shuffled(image.blocks) if block in used}
    paths = os.path.join(folder, 'disk.img'), image.save(folder)
    handles = [os.open(path, os.O_RDWR | os.O_CREAT, 0o666) for path in paths]
    write = [payload_writer() for _ in handles]
    try:
        os.ftruncate(handles[0], size)
        for offset, length, zeros in pieces_of(runs, BLOCK_SIZE):
            place = places[offset // BLOCK_SIZE] + offset % BLOCK_SIZE
            write[0](handles[0], length, zeros, offset)
            write[1](handles[1], length, zeros, place)
        for handle in handles:
            os.fsync(handle)
    finally:
        for handle in handles:
            os.close(handle)


def write_dense(path, size):
    """A raw file without holes or zeros."""
    write = payload_writer()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for offset in range(0, size, BLOCK_SIZE):
            write(handle, BLOCK_SIZE, False, offset)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def write_full_image(path, size, order):
    """A VHDX without holes or zeros; order: that of its blocks in the file."""
    image = Image(os.path.basename(path), size=size, block_size=BLOCK_SIZE)
    places = [image.make_full(block) for block in order]
    write = payload_writer()
    handle = os.open(image.save(os.path.dirname(path)), os.O_RDWR)
    try:
        for place in places:
            write(handle, BLOCK_SIZE, False, place)
    finally:
        os.close(handle)


def write_sparse(path, size, data_size):
    """A raw file of size bytes with data_size bytes of data, strewn all over it."""
    write = payload_writer()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.ftruncate(handle, size)
        for number in range(data_size // MIB):
            write(handle, MIB, False, number * (size // (data_size // MIB)) + 3 * MIB)
    finally:
        os.close(handle)


def write_empty(folder, size):
    """empty.vhdx and empty.img, of which no byte was ever written."""
    Image('empty.vhdx', size=size, block_size=32 * MIB).save(folder)
    with open(os.path.join(folder, 'empty.img'), 'wb') as out:
        out.truncate(size)


# ---- Serving -------------------------------------------------------------------------------------

def write_half(folder, size):
    """half.vhdx: every other block present, in random order; half.img: the same as a raw file."""
    image = Image('half.vhdx', size=size, block_size=BLOCK_SIZE)
    blocks = [block for block in shuffled(image.blocks) if block % 2 == 0]
    places = [(block, image.make_full(block)) for block in blocks]
    path = image.save(folder)
    raw = os.path.join(folder, 'half.img')
    source = random.Random(3)
    with open(raw, 'wb') as out:
        out.truncate(size)
        for block in sorted(blocks):
            out.seek(block * BLOCK_SIZE)
            out.write(source.randbytes(BLOCK_SIZE))
    copy_payload(raw, path, places)


def build_nbd(folder, quick):
    """What the benchmark of the NBD server needs."""
    write_half(folder, GIB if quick else 4 * GIB)


# ---- Mounting ------------------------------------------------------------------------------------

def build_fuse(folder, quick):
    """What is mounted: a half-full disk."""
    write_half(folder, GIB if quick else 4 * GIB)


BUILDERS = {'read': build_read, 'open': build_open, 'check': build_check,
            'fuse': build_fuse, 'nbd': build_nbd}
