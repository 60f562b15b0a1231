# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: sector bitmap blocks, and their BAT entries (7xx, and 6xx of bitmaps).

Where a bitmap cannot be had, neither can its partially present blocks; whether that is told of too
is open (WITH)."""

import vhdxdisk as disk
from damage_core import add, child_sample, cut, damage, lose, near, raw_slot
from good_chains import child_of, full_base
from vhdxdisk import BITMAP_PRESENT, GIB, MIB, PARTIAL, bat_entry
from vhdximage import Image, pattern

SLOT = 4096
WITH = (701,)


def bitmap(name, ids, doc, change, loses=(1, 5), **more):
    """Registers a child whose bitmap, which blocks 1 and 5 need, is damaged."""
    def build():
        child = child_sample()
        assert child.bitmap_index(0) == SLOT
        change(child)
        for block in loses:
            lose(child, block)
        return child
    add('bitmap_' + name, ids, doc, build, **more)


def forget(child):
    """The bitmap's place is a hole that nothing owns."""
    child.file.zero(child.bat[SLOT] >> 20 << 20, MIB)


def missing(child):
    """Two partial blocks, and nothing that tells their sectors."""
    forget(child)
    del child.bat[SLOT]


def other(value):
    """Another entry for the bitmap, whose old place is a hole."""
    def change(child):
        forget(child)
        raw_slot(child, 0, value(child) if callable(value) else value)
    return change


# ---- Missing ------------------------------------------------------------------------------------

bitmap('missing', [], missing.__doc__, missing, counts={701: 2})
# As long as blocks are missing, nothing that may be theirs is freed.
bitmap('missing_leaked', [], 'Its content is still somewhere, and leaks.',
       lambda child: child.bat.pop(SLOT), counts={701: 2, 105: 1}, safe=(701, 105))
bitmap('missing_with_offset', [], 'NOT_PRESENT with an offset has none, and does no harm.',
       lambda child: raw_slot(child, 0, bat_entry(0, child.bat[SLOT] >> 20)), may=(612, 105),
       counts={701: 2})


@near(701, found=())
def bitmap_not_needed():
    """Only PARTIALLY_PRESENT blocks need one."""
    child = child_of(full_base())
    child.lost = []
    child.mark(1, 'child')
    child.set_block(2, disk.ZERO)
    child.anchored(3, disk.UNMAPPED)
    return child


@near(701)
def bitmap_there():
    """It is there."""
    return child_sample()


def two_chunks():
    """A child with partial blocks in two chunks."""
    base = Image('base.vhdx', size=4 * GIB + 64 * MIB, block_size=32 * MIB)
    base.put(4 * GIB - 4096, pattern('base', 8192))
    child = child_of(base)
    child.lost = []
    child.put_sectors(512, pattern('first', 512))
    child.put_sectors(4 * GIB + 512, pattern('second', 1024))
    return child


@damage(counts={701: 1})
def bitmap_missing_in_the_second_chunk():
    """The first chunk has one, the second has not."""
    child = two_chunks()
    at = child.bat.pop(child.bitmap_index(1)) >> 20 << 20
    child.file.zero(at, MIB)
    lose(child, 128)
    return child


@near(701, 702, 610)
def bitmaps_of_two_chunks():
    """Both are there."""
    return two_chunks()


# ---- Bad entries --------------------------------------------------------------------------------

for _state in (1, 2, 3, 4, 5, 7):
    bitmap('state_%d' % _state, [], 'Bitmap blocks have the states 0 and 6 only.',
           other(lambda child, s=_state: s), counts={602: 1}, may=WITH)
bitmap('reserved', [], 'A reserved bit.',
       lambda child: raw_slot(child, 0, child.bat[SLOT] | 8), loses=(), counts={603: 1})
bitmap('header_section', [], 'A bitmap in the header section.', other(BITMAP_PRESENT),
       counts={604: 1}, may=WITH)
bitmap('past_end', [], 'A bitmap past the end of the file.', other(bat_entry(6, 900)),
       counts={605: 1}, may=WITH)
bitmap('top', [], 'At the highest place there is.', other(bat_entry(6, (1 << 44) - 1)),
       counts={605: 1}, may=WITH)
bitmap('on_region', [], 'A bitmap on the metadata.', other(bat_entry(6, 2)), counts={607: 1},
       may=WITH)
bitmap('on_log', [], 'A bitmap on the log.', other(bat_entry(6, 1)), counts={607: 1}, may=WITH)
bitmap('on_block', [], 'A bitmap on a block with data: it comes later in the BAT.',
       other(lambda child: child.bat[3] & ~7 | 6), counts={608: 1}, may=WITH)


@damage(counts={605: 1})
def bitmap_past_end_unused():
    """A bitmap that no block needs: nothing is lost with it."""
    child = child_of(full_base())
    child.lost = []
    child.mark(1, 'child')
    raw_slot(child, 0, bat_entry(BITMAP_PRESENT, 900))
    return child


# ---- Blocks that need a bitmap ------------------------------------------------------------------

for _name, _id, _mib in (('past_end', 605, 900), ('header_section', 604, 0), ('on_region', 607, 2)):
    def _place(child, mib=_mib):
        child.file.zero(child.place_of(5), MIB)
        child.bat[5] = bat_entry(PARTIAL, mib)
    bitmap('partial_' + _name, [], 'A partial block where none can be; its bits mean nothing then.',
           _place, loses=(5,), counts={_id: 1})


def on_block(child):
    """A partial block at the place of another block."""
    child.file.zero(child.place_of(5), MIB)
    child.bat[5] = child.bat[3] & ~7 | PARTIAL


bitmap('partial_overlap', [], on_block.__doc__, on_block, loses=(5,), counts={608: 1})


# ---- The end of the file ------------------------------------------------------------------------

def at_the_end(length, loses=()):
    """The bitmap is the last thing in the file."""
    child = child_of(full_base())
    child.lost = []
    child.mark(3, 'child')
    child.make_partial(5)
    old = child.bat[SLOT] >> 20 << 20
    child.file.zero(old, MIB)
    raw_slot(child, 0, bat_entry(6, child.allocate(MIB) // MIB))
    child.put_sectors(5 * MIB, pattern('five', 512))
    at = child.bat[SLOT] >> 20 << 20
    cut(child, at + length)
    for block in loses:
        lose(child, block)
    return child


# A bitmap has one MiB, so the file cannot have a whole number of them.
add('bitmap_cut', [606, 102], at_the_end.__doc__ + ' Its end, which no block needs, is missing.',
    lambda: at_the_end(4096))
add('bitmap_cut_at_bits', [606, 102], 'The last bits that are there are the last that are needed.',
    lambda: at_the_end(6 * 256))
add('bitmap_cut_bits', [102], 'A byte less: what is missing would show the parent.',
    lambda: at_the_end(6 * 256 - 1, loses=(5,)), counts={605: 1}, safe=(605, 102), may=WITH)
add('bitmap_cut_not', [], at_the_end.__doc__, lambda: at_the_end(MIB), near=(606, 605, 104))


# ---- Bits beyond the end of the disk ------------------------------------------------------------

def bits(first, count, size=4 * MIB + 512):
    """A child whose disk has 8193 sectors, with more bits than that."""
    child = child_of(full_base(size=size, block_size=2 * MIB), block_size=2 * MIB)
    child.lost = []
    child.put_sectors(4 * MIB, pattern('end', 512))
    if count:
        child.set_bits(first, count)
    return child


add('bits_beyond', [702], 'Windows sets all bits to the end of the 4 KiB.',
    lambda: bits(8193, 32768 - 8193))
add('bits_beyond_one', [702], 'The first bit behind the end.', lambda: bits(8193, 1))
add('bits_beyond_far', [702], 'The last bit of the bitmap.', lambda: bits((1 << 23) - 1, 1))
add('bits_to_the_end', [], 'The last sector of the disk is the last bit.', lambda: bits(0, 0),
    near=(702,))


@near(702)
def bits_of_another_chunk():
    """All bits of the first chunk's last block are set: the disk goes on in the second."""
    child = two_chunks()
    child.put_sectors(4 * GIB - 4096, pattern('edge', 4096))
    return child
