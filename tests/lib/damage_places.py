# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: where blocks lie: the header section, the end of the file, regions, the log,
other blocks; and kept places that others own (604 to 608, 613, 614)."""

import vhdxdisk as disk
from damage_core import KINDS, bent, close_to, cut, damage, entry_at, gone, lose, near, sample
from vhdxdisk import FULL, MIB, PARTIAL, UNDEFINED, UNMAPPED, UNMAPPED_OLD
from vhdximage import guid_for, pattern

TOP = ((1 << 44) - 1) * MIB  # the highest place an entry can name
FEW = ('dynamic', 'fixed', 'child', 'dirty')


# ---- The header section -------------------------------------------------------------------------

bent('bat_header_section', [], 'A block in the header section.', lambda image: gone(image, 4, 0),
     KINDS, counts={604: 1})
bent('bat_header_section_twice', [], 'Two: each is named for the header section only.',
     lambda image: [gone(image, block, 0) for block in (1, 4)], ('dynamic', 'child'),
     counts={604: 2})


@near(604)
def bat_behind_header_section():
    """A block in the MiB behind it."""
    return sample(metadata_at=20 * MIB, log_at=21 * MIB, bat_at=22 * MIB, free_at=MIB)


# ---- The end of the file ------------------------------------------------------------------------

bent('bat_past_end', [], 'A block far past the end of the file.',
     lambda image: gone(image, 4, 90000 * MIB), KINDS, counts={605: 1})
bent('bat_at_the_end', [], 'A block that begins where the file ends.',
     lambda image: gone(image, 4, image.file.size), FEW, counts={605: 1})
# The BAT of a child has entries for blocks behind the end of its disk, up to the next bitmap's.
for _name, _state in (('full', FULL), ('partial', PARTIAL)):
    bent('bat_at_the_end_beyond_disk_' + _name, [], 'The same of a block that the disk has not.',
         lambda image, s=_state: entry_at(image, image.blocks, s, image.file.size), ('child',),
         counts={605: 1})
for _name, _place in (('top', TOP), ('top_bit', (1 << 43) * MIB), ('below_top', TOP - MIB),
                      ('beyond_4_tib', (1 << 32) * MIB)):
    bent('bat_past_end_' + _name, [], 'Offset and block size overflow.',
         lambda image, p=_place: gone(image, 4, p), ('dynamic', 'block32m', 'child'),
         counts={605: 1})
# As long as a block is missing, nothing that it might have left is cut off or freed.
bent('bat_past_end_last_block', [], 'The last block of a disk that ends in it.',
     lambda image: gone(image, image.blocks - 1, 900 * MIB), fields={'size': 8 * MIB - 512},
     counts={605: 1, 104: 1}, safe=(605, 104))
# Past the end, two at one place are two past the end.
bent('bat_past_end_twice', [], 'Two at one place.',
     lambda image: [gone(image, block, 900 * MIB) for block in (1, 4)], counts={605: 2})


@damage(counts={605: 1})
def bat_past_end_second_chunk():
    """The last block of the second chunk."""
    image = sample('chunks')
    gone(image, 4097, 900 * MIB)
    return image


@damage(counts={605: 1001})
def bat_past_end_1001():
    """More findings of a kind than are told of."""
    image = sample(size=1200 * MIB)
    for block in range(100, 1101):
        gone(image, block, (900000 + block) * MIB)
    return image


close_to('bat_ends_at_the_end', [605, 606], 'A block that ends exactly where the file does.',
         lambda image: image.make_full(4), KINDS)


def shorter(length):
    """A sample with a last block in the file of which only the beginning is there."""
    def bend(image):
        at = image.make_full(4)
        image.file.put(at, pattern('cut', 4096))
        image.content.put(4 * image.block_size, pattern('cut', 4096))
        cut(image, at + length)
        missing = image.block_size - length
        image.missing = [(5 * image.block_size - missing, missing)]
    return bend


bent('bat_cut', [], shorter.__doc__, shorter(MIB), ('block2m', 'block32m'), counts={606: 1})
bent('bat_cut_31_of_32', [], 'Only the last MiB is missing.', shorter(31 * MIB), ('block32m',),
     counts={606: 1})
# A file that ends in the midst of a MiB is not a whole number of MiB.
bent('bat_cut_unaligned', [102], 'A sector is missing.', shorter(MIB - 512), ('dynamic', 'fixed'),
     counts={606: 1})


@damage(counts={409: 1, 606: 1, 607: 1}, safe=(409, 606, 607))
def bat_cut_on_log():
    """What is missing of a block lies where the log would be, if the file were long enough."""
    image = sample('block2m')
    at = image.make_full(4)
    lose(image, 4)
    image.both(log_offset=at + MIB)
    cut(image, at + MIB)
    return image


@damage(counts={409: 1, 606: 1})
def bat_cut_before_log():
    """Here the log comes behind it."""
    image = sample('block2m')
    at = image.make_full(4)
    image.missing = [(9 * MIB, MIB)]
    image.both(log_offset=at + 2 * MIB)
    cut(image, at + MIB)
    return image


close_to('bat_cut_not', [605, 606], 'Nothing is missing.', shorter(2 * MIB), ('block2m',))


# ---- Regions and the log ------------------------------------------------------------------------

for _name, _place in (('log', 'log_at'), ('metadata', 'metadata_at'), ('bat', 'bat_at')):
    bent('bat_on_' + _name, [], 'A block on the log or a region.',
         lambda image, p=_place: gone(image, 4, getattr(image, p)),
         KINDS if _name == 'metadata' else FEW, counts={607: 1})
# The log of this sample is 3 MiB long.
bent('bat_on_end_of_log', [], 'A block on the last MiB of the log.',
     lambda image: gone(image, 4, image.log_at + 2 * MIB), ('places',), counts={607: 1})


def half_on_region(image):
    """A block of 2 MiB whose second half lies on the metadata region."""
    gone(image, 4, image.metadata_at - MIB)


FAR = {'metadata_at': 50 * MIB, 'bat_at': 2 * MIB, 'free_at': 3 * MIB}
bent('bat_half_on_region', [], half_on_region.__doc__, half_on_region, ('block2m',),
     counts={607: 1}, fields=FAR)
close_to('bat_before_region', [607], 'A block that ends where a region begins.',
         lambda image: image.make_full(4, image.metadata_at - 2 * MIB), ('block2m',), fields=FAR)
close_to('bat_behind_region', [607], 'And one that begins where it ends.',
         lambda image: image.make_full(4, image.metadata_at + MIB), ('block2m',), fields=FAR)
# An unknown region is a note.
bent('bat_on_unknown_region', [309], 'A block in a region that is unknown, but there.',
     lambda image: (image.both_tables(lambda table: table.entries.append(
         disk.Region(guid_for('unknown'), image.hole, MIB, 0))), gone(image, 4, image.hole)),
     ('dynamic', 'child'), counts={607: 1})


# ---- Other blocks -------------------------------------------------------------------------------

def same_place(*blocks):
    """Blocks at the place of block 2."""
    def bend(image):
        for block in blocks:
            gone(image, block, image.place_of(2))
    return bend


bent('bat_overlap', [], 'Two blocks at one place: the later one must go.', same_place(4), KINDS,
     counts={608: 1})
bent('bat_overlap_thrice', [], 'Three blocks at one place: the first one stays.',
     same_place(3, 4), ('dynamic', 'child'), counts={608: 2})


def earlier(image):
    """Of two at one place it is the later entry that goes, whichever was there before."""
    entry_at(image, 1, FULL, image.place_of(2))
    image.content.put(MIB, image.file.get(image.place_of(2), MIB))
    lose(image, 2)


bent('bat_overlap_by_an_earlier_one', [], earlier.__doc__, earlier, counts={608: 1})


def halves(image):
    """Block 4 lies across the end of block 0 and the beginning of block 2."""
    gone(image, 4, image.place_of(0) + MIB)


bent('bat_overlap_by_half', [], halves.__doc__, halves, ('block2m',), counts={608: None})


def in_a_row(image):
    """Block 4 overlaps block 3 by half, and block 5 only block 4: with block 4 gone, 5 can stay."""
    at = image.allocate(4 * MIB)
    for block, place in ((3, at), (5, at + 2 * MIB)):
        image.make_full(block, place)
        image.mark(block, 'row', 1024)
    gone(image, 4, at + MIB)


bent('bat_overlap_in_a_row', [], in_a_row.__doc__, in_a_row, ('block2m',), counts={608: None})
close_to('bat_blocks_touch', [608], 'Blocks that end where others begin.',
         lambda image: [image.mark(block, 'all') for block in range(8)],
         ('dynamic', 'block2m', 'child', 'sector4096'))


@damage(counts={608: 1})
def bat_overlap_across_chunks():
    """A block of the second chunk at the place of one of the first."""
    image = sample('chunks')
    gone(image, 4100, image.place_of(0))
    return image


@damage(counts={608: 2000})
def bat_overlap_2000():
    """Two thousand blocks on one."""
    image = sample(size=3000 * MIB)
    for block in range(900, 2900):
        gone(image, block, image.place_of(2))
    return image


# ---- Kept places --------------------------------------------------------------------------------

STATES = (('unmapped', UNMAPPED), ('undefined', UNDEFINED))
for _name, _state in STATES:
    for _where, _place in (('block', lambda image: image.place_of(2)),
                           ('log', lambda image: image.log_at),
                           ('region', lambda image: image.metadata_at),
                           ('bat', lambda image: image.bat_at)):
        bent('anchor_%s_on_%s' % (_name, _where), [], 'A kept place that something else owns.',
             lambda image, s=_state, p=_place: image.set_block(4, s, p(image)),
             KINDS if _where == 'block' else ('dynamic', 'child'), counts={613: 1})
    bent('anchor_%s_before' % _name, [], 'Also if the other one comes later in the BAT.',
         lambda image, s=_state: image.set_block(1, s, image.place_of(2)), ('dynamic', 'child'),
         counts={613: 1})
    bent('anchor_%s_past_end' % _name, [], 'A kept place past the end of the file.',
         lambda image, s=_state: image.set_block(4, s, 900 * MIB), KINDS, counts={614: 1})
    bent('anchor_%s_at_the_end' % _name, [], 'A kept place that begins where the file ends.',
         lambda image, s=_state: image.set_block(4, s, image.file.size), ('dynamic', 'child'),
         counts={614: 1})
    bent('anchor_%s_top' % _name, [], 'The highest place there is.',
         lambda image, s=_state: image.set_block(4, s, TOP), ('dynamic', 'block32m'),
         counts={614: 1})
    close_to('anchor_%s_own' % _name, [613, 614, 105], 'A place of its own, between others.',
             lambda image, s=_state: image.set_block(4, s, image.hole), KINDS)
    close_to('anchor_%s_none' % _name, [613, 604], 'Offset 0 keeps nothing.',
             lambda image, s=_state: image.set_block(4, s), KINDS)
bent('anchor_twice', [], 'Two keep one place: one may go on.',
     lambda image: [image.set_block(block, UNMAPPED, image.hole) for block in (3, 4)],
     ('dynamic', 'child'), counts={613: 1})
bent('anchor_half', [], 'Its second half belongs to another block.',
     lambda image: image.set_block(4, UNMAPPED, image.place_of(2) - MIB), ('block2m',),
     counts={613: None})
bent('anchor_of_the_old_state', [], 'A state of specification 0.95 keeps a place as well.',
     lambda image: image.set_block(4, UNMAPPED_OLD, image.place_of(2)), ('dynamic', 'child'),
     counts={613: 1, 615: 1})
close_to('anchor_last_mib', [613, 614, 104, 606], 'The last MiB of the file.',
         lambda image: image.set_block(4, UNMAPPED, image.allocate(MIB)), ('dynamic', 'child'))
