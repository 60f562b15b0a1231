# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: BAT entries, each by itself: states, reserved bits, offsets without meaning, and
what QEMU's bug left (602, 603, 609 to 612, 615)."""

import vhdxdisk as disk
from damage_core import KINDS, add, bent, close_to, entry_at, finish, lost_block, near, sample
from vhdxdisk import (FULL, GIB, MIB, NOT_PRESENT, PARTIAL, UNDEFINED, UNMAPPED, UNMAPPED_OLD, ZERO,
                      bat_entry)
from vhdximage import Image, pattern

PAGE = 512  # entries in 4 KiB
NO_PARENT = ('dynamic', 'fixed', 'sector4096', 'block32m', 'dirty')


# ---- States -------------------------------------------------------------------------------------

bent('bat_state_4', [], 'The reserved state.', lambda image: lost_block(image, 4, 4), KINDS,
     counts={602: 1})
bent('bat_state_4_with_offset', [], 'In a child nobody knows whether all of it was its own.',
     lambda image: lost_block(image, 4, 4, image.hole), ('child',), counts={602: 1})
bent('bat_state_4_thrice', [], 'One finding each, also for the first and the last block but one.',
     lambda image: [lost_block(image, block, 4) for block in (1, 3, 6)], ('dynamic', 'child'),
     counts={602: 3})


def only_state(state):
    """A block with data whose place is right, and its own."""
    def bend(image):
        image.make_full(4, image.hole)
        image.mark(4, 'kept', 4096)
        entry_at(image, 4, state, image.hole)
        image.unread = [(4 * image.block_size, image.block_size)]
    return bend


# Until its state is right, its place is one that nothing owns.
bent('bat_state_4_of_data', [], only_state.__doc__, only_state(4), NO_PARENT,
     counts={602: 1, 105: None}, safe=(602, 105))
bent('bat_state_partial', [], 'PARTIALLY_PRESENT where there is no parent.', only_state(PARTIAL),
     NO_PARENT, counts={602: 1, 105: None}, safe=(602, 105))
for _where, _place in (('taken', lambda image: image.place_of(2)),
                       ('log', lambda image: image.log_at),
                       ('metadata', lambda image: image.metadata_at),
                       ('past_end', lambda image: image.file.size - MIB),
                       ('top', lambda _: ((1 << 44) - 1) * MIB)):
    bent('bat_state_4_' + _where, [], 'A place that cannot be its own.',
         lambda image, p=_place: lost_block(image, 4, 4, p(image)), ('block2m',), counts={602: 1})
bent('bat_state_4_twice', [], 'Two that name one place: the first one has it.',
     lambda image: [only_state(4)(image), lost_block(image, 5, 4, image.hole)],
     counts={602: 2, 105: 1}, safe=(602, 105))


@near(602, 615)
def bat_every_state():
    """All states that the specification knows."""
    image = sample(size=12 * MIB)
    for block, state in ((3, ZERO), (4, UNMAPPED), (5, UNDEFINED), (6, NOT_PRESENT)):
        image.set_block(block, state)
    image.anchored(7, UNMAPPED)
    image.anchored(8, UNDEFINED)
    image.mark(9, 'behind')
    return image


def behind_the_last_entry(image):
    """What the region holds behind the last entry means nothing."""
    for index in range(image.bat_entries(), image.bat_entries() + 600):
        image.bat[index] = (1 << 64) - 1


close_to('bat_behind_the_last_entry', [602, 603, 605, 609, 610], behind_the_last_entry.__doc__,
         behind_the_last_entry, ('dynamic', 'fixed', 'chunks'))

# ---- Reserved bits ------------------------------------------------------------------------------

bent('bat_reserved_3', [], 'Bit 3 of an empty entry.',
     lambda image: entry_at(image, 4, NOT_PRESENT, reserved=1), KINDS, counts={603: 1})
bent('bat_reserved_19', [], 'Bit 19 of an empty entry.',
     lambda image: entry_at(image, 4, NOT_PRESENT, reserved=1 << 16), counts={603: 1})


def reserved_of_data(image):
    """Reserved bits of entries that are in use: the blocks stay."""
    for block in (0, 2):
        image.bat[image.payload_index(block)] |= 0x1FFFF << 3


bent('bat_reserved_of_data', [], reserved_of_data.__doc__, reserved_of_data, KINDS,
     counts={603: 2})

# ---- Offsets that mean nothing ------------------------------------------------------------------

TOP = ((1 << 44) - 1) * MIB
for _name, _state, _id in (('zero', ZERO, 611), ('idle', NOT_PRESENT, 612)):
    for _where, _place in (('hole', None), ('taken', 4 * MIB), ('past_the_end', 900 * MIB),
                           ('top', TOP), ('region', 3 * MIB)):
        bent('bat_%s_offset_%s' % (_name, _where), [], 'An offset in a state that has none.',
             lambda image, s=_state, p=_place: image.set_block(4, s, p or image.hole),
             KINDS if _where == 'hole' else ('dynamic', 'child'), counts={_id: 1})
    bent('bat_%s_offset_of_data' % _name, [], 'And behind it old data, which nothing owns.',
         lambda image, s=_state: image.set_block(4, s, image.litter(image.hole,
                                                                    image.block_size)),
         ('dynamic', 'child'), counts={_id: 1, 105: 1})
    close_to('bat_%s_no_offset' % _name, [_id], 'No offset.',
             lambda image, s=_state: image.set_block(4, s), KINDS)

# ---- The old number of a state ------------------------------------------------------------------

bent('bat_old_state', [], 'State 5 is UNMAPPED of specification 0.95.',
     lambda image: image.set_block(4, UNMAPPED_OLD), KINDS, counts={615: 1})
bent('bat_old_state_anchor', [], 'It keeps a place as well, and goes on keeping it.',
     lambda image: image.anchored(4, UNMAPPED_OLD), ('dynamic', 'fixed', 'child'),
     counts={615: 1})
close_to('bat_new_state', [615], 'State 3 is UNMAPPED of all later ones.',
         lambda image: image.set_block(4, UNMAPPED), ('dynamic', 'child'))

# ---- Entries of bitmaps where there is no parent ------------------------------------------------

# The first chunk of these ends with entry 16: block 16 has entry 17.
CHUNKED = {'size': 40 * 256 * MIB, 'block_size': 256 * MIB}


def slot(value, index=16):
    """An image without parent whose first bitmap entry is in use. Blocks on both sides of it hold
    data, so that no entries can have moved there."""
    def bend(image):
        for block in (14, 15, 16, 17, 33):
            image.mark(block, 'around')
        image.bat[index] = value(image) if callable(value) else value
    return bend


for _name, _value in (
        ('present', lambda image: bat_entry(disk.BITMAP_PRESENT, image.hole // MIB)),
        ('of_a_block', lambda image: image.bat[image.payload_index(2)]),
        ('state_1', 1), ('all_bits', (1 << 64) - 1)):
    for _fixed in (False, True):
        bent('bat_slot_%s%s' % (_name, '_fixed' * _fixed), [], slot.__doc__, slot(_value),
             counts={610: 1}, fields={**CHUNKED, 'fixed': _fixed})
bent('bat_slot_reserved', [], 'A reserved bit alone is no use of the entry.', slot(8),
     counts={603: 1}, fields=CHUNKED)
bent('bat_slot_second', [], 'The second bitmap entry.', slot(bat_entry(6, 0), 33),
     counts={610: 1}, fields=CHUNKED)
close_to('bat_slot_empty', [609, 610], 'Both bitmap entries are zero.', slot(0), fields=CHUNKED)


@near(610, 609)
def bat_slot_of_a_child():
    """In a child the same entry is that of a bitmap."""
    base = Image('base.vhdx', size=20 * 256 * MIB, block_size=256 * MIB)
    child = Image('child.vhdx', size=base.size, block_size=256 * MIB, parent=base)
    child.kind, child.lost = 'child', []
    child.put_sectors(3 * 256 * MIB, pattern('child', 1024))
    child.put_sectors(17 * 256 * MIB, pattern('child', 1024))
    assert {16, 33} <= set(child.bat)
    return child


# ---- Pages that QEMU shifted --------------------------------------------------------------------
# Writing the first entry of a page of 4 KiB, it moved all others by one place towards the end of
# the page: e'[0] is the new entry, e'[k + 1] = e[k], and the last one is lost.

def shift(image, page):
    """What QEMU's bug does when the first entry of a page is written for the first time."""
    first = page * PAGE
    old = [image.bat.pop(first + k, 0) for k in range(PAGE)]
    assert old[PAGE - 1] == 0, 'the case has data that is lost'
    new = [old[0], 0] + old[1:PAGE - 1]
    image.bat.update({first + k: value for k, value in enumerate(new) if value})


def shifted(name, doc, page, blocks, **fields):
    """Registers an image with data in some blocks, and one page of its BAT shifted."""
    def build():
        image = sample(**fields)
        for block in blocks:
            if block not in image.states:
                image.mark(block, 'qemu', 4096)
        shift(image, page)
        return finish(image)
    add('shifted_' + name, [], doc, build, counts={609: 1})


def span(*pairs):
    """Numbers from several ranges."""
    return [number for first, end in pairs for number in range(first, end)]


shifted('small_bat', 'The BAT ends within the page: its last entry is behind it.', 0,
        range(150), size=150 * 32 * MIB, block_size=32 * MIB)
shifted('small_fixed', 'A fixed disk.', 0, range(150), size=150 * 32 * MIB, block_size=32 * MIB,
        fixed=True)
shifted('two_slots', 'Two bitmap entries in the page.', 0, range(40), **CHUNKED)
shifted('sector4096', 'Chunks of 32 GiB.', 0, range(150), size=150 * 256 * MIB,
        block_size=256 * MIB, sector=4096)
shifted('full_page', 'A full page, whose last block has no data.', 0,
        span((0, 140), (250, 262), (380, 400)), size=530 * 32 * MIB, block_size=32 * MIB)
shifted('second_page', 'The first page is right, the second is not.', 1,
        span((0, 8), (120, 136), (505, 520), (630, 690)), size=700 * 32 * MIB,
        block_size=32 * MIB)
shifted('around_a_slot', 'Data around the bitmap entry only.', 0, span((120, 140)),
        size=300 * 32 * MIB, block_size=32 * MIB)


def shifted_through_log():
    """On disk the page is zeros; the log brings it, shifted."""
    image = sample('dirty', size=150 * 32 * MIB, block_size=32 * MIB)
    for block in range(3, 149):
        image.mark(block, 'qemu', 4096)
    shift(image, 0)
    return finish(image)


add('shifted_dirty', [401], shifted_through_log.__doc__, shifted_through_log, counts={609: 1})


def unshifted(pages=()):
    """The same image as QEMU writes it now."""
    image = sample(size=150 * 32 * MIB, block_size=32 * MIB)
    for block in range(3, 149):
        image.mark(block, 'qemu', 4096)
    for page in pages:
        shift(image, page)
    return image


add('shifted_not', [], unshifted.__doc__, unshifted, near=(609, 610))
