# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Good images: types, sector sizes, block sizes, block states, virtual sizes, chunk boundaries."""

from corpus import HASH_LIMIT, good
from vhdxdisk import (FULL, GIB, MIB, NOT_PRESENT, TIB, UNDEFINED, UNMAPPED, UNMAPPED_OLD, ZERO)
from vhdximage import Image, pattern

TYPES = ('fixed', 'dynamic', 'differencing')
SECTORS = (512, 4096)
BLOCKS_MIB = (1, 2, 32, 256)
STATES = (FULL, NOT_PRESENT, ZERO, UNMAPPED, UNDEFINED, UNMAPPED_OLD)


def base_for(size, block_size, sector):
    """A parent with data at both ends of each of its first blocks."""
    base = Image('base.vhdx', size=size, block_size=block_size, sector=sector)
    for block in range(min(base.blocks, 9)):
        base.mark(block, 'base')
    return base


def make(kind, size, block_size, sector, parent=None, **layout):
    """An image of a type."""
    if kind == 'differencing' and parent is None:
        parent = base_for(size, block_size, sector)
    return Image('%s.vhdx' % kind, size=size, block_size=block_size, sector=sector,
                 fixed=kind == 'fixed', parent=parent, **layout)


# ---- Every type, sector size, block size and state ----------------------------------------------

def matrix(kind, sector, block_size):
    """One block of each state between two with data, the last one sector less than whole."""
    states = STATES if block_size <= 32 * MIB else (ZERO,)
    size = (len(states) + 2) * block_size - sector
    image = make(kind, size, block_size, sector)
    for block, state in enumerate(states, 1):
        if state == FULL:
            image.mark(block, 'matrix')
        else:
            image.set_block(block, state)
    if kind == 'differencing':
        image.put_sectors(image.sector, pattern('partial', 3 * sector))
    else:
        image.mark(0, 'matrix')
    image.mark(image.blocks - 1, 'matrix')
    return image


def add_matrix():
    """Registers the whole matrix."""
    for kind in TYPES:
        for sector in SECTORS:
            for mib in BLOCKS_MIB:
                good('matrix_%s_%d_%dm' % (kind, sector, mib), matrix.__doc__)(
                    lambda k=kind, s=sector, m=mib: matrix(k, s, m * MIB))


add_matrix()


@good()
def fixed_all_present():
    """A fixed disk as it should be: every block FULLY_PRESENT."""
    image = make('fixed', 24 * MIB, 2 * MIB, 512)
    image.fill('fixed')
    return image


@good()
def dynamic_empty():
    """A new dynamic disk: no entry of the BAT is set."""
    return make('dynamic', 1 * GIB, 32 * MIB, 512)


@good()
def differencing_empty():
    """A new child: it is its parent."""
    return make('differencing', 6 * MIB, MIB, 512)


@good()
def blocks_in_reverse_order():
    """The blocks lie in the file in the reverse of their virtual order."""
    image = make('dynamic', 12 * MIB, MIB, 512)
    for block in reversed(range(12)):
        image.mark(block, 'reverse')
    return image


@good()
def blocks_next_to_each_other():
    """Neighbouring blocks that lie together in the file: one extent."""
    image = make('dynamic', 16 * MIB, MIB, 512)
    for block in list(range(2, 7)) + [9, 10]:
        image.mark(block, 'together')
    return image


@good()
def block_at_odd_mib():
    """A 32 MiB block needs MiB alignment only, not that of its own size."""
    image = make('dynamic', 96 * MIB, 32 * MIB, 512)
    image.allocate(3 * MIB)
    image.mark(1, 'odd')
    return image


@good()
def zero_state_with_offset():
    """State ZERO with an offset (reserved there): the offset means nothing, garbage is not read."""
    image = make('dynamic', 6 * MIB, MIB, 512)
    image.put(0, pattern('data', 4096))
    image.anchored(2, ZERO)
    return image


@good()
def not_present_with_offset():
    """State NOT_PRESENT with an offset (reserved there): reads zeros all the same."""
    image = make('dynamic', 6 * MIB, MIB, 512)
    image.put(0, pattern('data', 4096))
    image.anchored(2, NOT_PRESENT)
    return image


@good()
def soft_anchors():
    """UNMAPPED and UNDEFINED keep the offset of space that still holds old data: reads zeros."""
    image = make('dynamic', 8 * MIB, MIB, 512)
    for block, state in ((1, UNMAPPED), (3, UNDEFINED), (5, UNMAPPED_OLD)):
        image.anchored(block, state)
    image.mark(7, 'anchors')
    return image


@good()
def soft_anchor_past_end_of_file():
    """UNDEFINED entries with old offsets past the end of the file, as in Windows images."""
    image = make('dynamic', 8 * MIB, MIB, 512)
    image.mark(0, 'anchors')
    image.set_block(1, UNDEFINED, at=700 * MIB)
    image.set_block(2, UNMAPPED, at=701 * MIB)
    return image


@good()
def last_block_cut_off():
    """The end of the file cuts the last block short, as in old QEMU images: the rest is zeros."""
    image = make('dynamic', 4 * MIB, 2 * MIB, 512)
    image.mark(0, 'whole')
    image.put(2 * MIB, pattern('cut', 64 * 1024))
    image.unsure.add(2 * MIB + 64 * 1024, 4 * MIB)
    image.file.size = image.place_of(1) + 64 * 1024
    return image


@good()
def file_not_multiple_of_mib():
    """A short last block without the slack behind it: the file ends where the disk ends."""
    image = make('dynamic', 3 * MIB + 5 * 512, 2 * MIB, 512)
    image.mark(1, 'end')
    image.file.size = image.place_of(1) + MIB + 5 * 512
    return image


@good()
def garbage_behind_the_end_of_the_disk():
    """Data in the last block beyond the virtual size is not part of the disk."""
    image = make('dynamic', 2 * MIB + 512, 2 * MIB, 512)
    at = image.make_full(1)
    image.litter(at + 512, 2 * MIB - 512)
    return image


@good()
def garbage_behind_last_bat_entry():
    """What the BAT region holds beyond the last entry means nothing."""
    image = make('dynamic', 4 * MIB, MIB, 512)
    image.mark(1, 'bat')
    image.bat.update({index: 0xFFFFFFFFFFFFFFFF for index in range(4, 600)})
    return image


# ---- Virtual sizes ------------------------------------------------------------------------------

def one_sector(kind, sector):
    """The smallest disk there is: one sector."""
    image = make(kind, sector, MIB, sector)
    image.put(0, pattern('one', sector))
    return image


def add_one_sector():
    """Registers the smallest disks."""
    for kind in TYPES:
        for sector in SECTORS:
            good('size_one_sector_%s_%d' % (kind, sector), one_sector.__doc__)(
                lambda k=kind, s=sector: one_sector(k, s))


add_one_sector()


@good()
def size_one_block():
    """Exactly one block."""
    image = make('dynamic', 2 * MIB, 2 * MIB, 512)
    image.mark(0, 'one block')
    return image


@good()
def size_exactly_one_chunk():
    """P = R: the last chunk is complete; a dynamic BAT then has no bitmap entry at all."""
    image = make('dynamic', 4 * GIB, 256 * MIB, 512)
    image.put(4 * GIB - 8192, pattern('end', 8192))
    return image


@good()
def size_one_sector_over_a_chunk():
    """P = R + 1: the one block of the second chunk holds a single sector."""
    image = make('dynamic', 4 * GIB + 512, 256 * MIB, 512)
    image.put(4 * GIB - 512, pattern('across', 1024))
    return image


def largest(kind, sector, block_size):
    """64 TiB, the largest disk there is, with data at its beginning, middle and end."""
    base = None
    if kind == 'differencing':
        base = Image('base.vhdx', size=64 * TIB, block_size=256 * MIB, sector=sector)
        base.put(0, pattern('first', 4096))
    image = make(kind, 64 * TIB, block_size, sector, parent=base)
    image.put(32 * TIB - 4096, pattern('middle', 8192))
    image.put(64 * TIB - 4096, pattern('last', 4096))
    return image


for _kind, _sector, _mib in (('dynamic', 512, 32), ('dynamic', 4096, 256), ('fixed', 512, 256),
                             ('differencing', 512, 256), ('differencing', 4096, 256)):
    good('size_64tib_%s_%d_%dm' % (_kind, _sector, _mib), largest.__doc__)(
        lambda k=_kind, s=_sector, m=_mib: largest(k, s, m * MIB))


# ---- Chunk boundaries ---------------------------------------------------------------------------

def across_chunks(kind, sector, block_size):
    """Data on both sides of the first two chunk boundaries: beyond a chunk the BAT is interleaved
    with bitmap entries, in every type of disk."""
    chunk = sector << 23
    size = 2 * chunk + 3 * block_size - sector
    base = None
    if kind == 'differencing':
        base = Image('base.vhdx', size=size, block_size=256 * MIB, sector=sector)
        base.put(chunk - 16384, pattern('base low', 32768))
        base.put(2 * chunk - 16384, pattern('base high', 32768))
    image = make(kind, size, block_size, sector, parent=base)
    for number in (1, 2):
        edge = number * chunk
        if base:
            image.put_sectors(edge - 2 * sector, pattern(('edge', number), 4 * sector))
        else:
            image.put(edge - 8192, pattern(('edge', number), 16384))
    image.put(size - sector, pattern('end', sector))
    return image


def add_across_chunks():
    """Registers the chunk boundary cases."""
    for kind in TYPES:
        for sector in SECTORS:
            for mib in (1, 32, 256):
                good('chunks_%s_%d_%dm' % (kind, sector, mib), across_chunks.__doc__)(
                    lambda k=kind, s=sector, m=mib: across_chunks(k, s, m * MIB))


add_across_chunks()


@good(hashed=True)
def chunk_boundary_full_blocks():
    """The two blocks at a chunk boundary, wholly present, 1 MiB each."""
    image = make('fixed', 4 * GIB + 2 * MIB, MIB, 512)
    image.mark(4095, 'low')
    image.mark(4096, 'high')
    assert image.size > HASH_LIMIT
    return image
