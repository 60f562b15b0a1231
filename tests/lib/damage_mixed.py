# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: several things wrong at once. One must not hide the others."""

import vhdxdisk as disk
from damage_core import (child_sample, damage, entry_at, finish, gone, grow, lose, lost_block, near,
                         sample)
from damage_bat import shift
from vhdxdisk import IS_VIRTUAL_DISK, MIB, UNMAPPED, UNMAPPED_OLD, ZERO
from vhdximage import pattern


def one_of_each_copy(image):
    """Header 1 and region table 2 are bad."""
    image.headers[0].spoiled = True
    image.tables[1].signature = b'none'
    return image


@damage(counts={202: 1, 301: 1})
def mixed_copies():
    """A bad header and a bad region table."""
    return one_of_each_copy(sample())


@damage(310, 512, 602, 603, 604, 605, 607, 608, 611, 613, 615, 102,
        counts={602: 1, 603: 1, 604: 1, 605: 1, 607: 1, 608: 1, 611: 1, 613: 1, 615: 1},
        safe={102, 602, 604, 605, 607, 608})
def mixed_bat():
    """Everything that can be wrong with entries, beside notes of other structures. While blocks are
    missing, nothing is cut off the end."""
    image = sample(size=20 * MIB)
    lost_block(image, 4, 4)
    entry_at(image, 5, 0, reserved=3)
    gone(image, 6, 0)
    gone(image, 7, 900 * MIB)
    gone(image, 8, 2 * MIB)
    gone(image, 9, image.place_of(2))
    image.set_block(10, ZERO, image.hole)
    image.set_block(11, UNMAPPED, image.place_of(2))
    image.set_block(12, UNMAPPED_OLD)
    image.metadata.item(disk.PHYSICAL_SECTOR_SIZE).flags = IS_VIRTUAL_DISK
    image.both_tables(lambda table: [setattr(one, 'flags', 0) for one in table.entries])
    grow(image, 512)
    return image


@damage(202, 301, 401, 602, 608)
def mixed_through_log():
    """Bad copies, a dirty log, and a BAT that is bad once it is replayed."""
    image = one_of_each_copy(sample('dirty'))
    lost_block(image, 4, 4)
    gone(image, 5, image.place_of(0))
    return finish(image)


@damage(101, 202, 302, 104, 105)
def mixed_safe():
    """Much is wrong, nothing is lost."""
    image = sample()
    image.identifier.signature = bytes(8)
    image.headers[1].spoiled = True
    image.tables[0].spoiled = True
    image.file.put(image.hole, pattern('leaked', 4096))
    grow(image, 2 * MIB)
    return image


# As long as entries are elsewhere, nothing that may be theirs is cut off.
@damage(609, 202, 104, safe=(609, 104))
def mixed_shifted():
    """A shifted page, a bad header and trailing space."""
    image = sample(size=150 * 32 * MIB, block_size=32 * MIB)
    for block in range(3, 149):
        image.mark(block, 'qemu', 4096)
    shift(image, 0)
    image.headers[0].spoiled = True
    grow(image, 5 * MIB)
    return image


@damage(205, may=(605,))
def mixed_headers_lost():
    """No header, and a block past the end: that is told of once the headers are there again, or
    at once."""
    image = sample()
    gone(image, 4, 900 * MIB)
    image.both(spoiled=True)
    return image


@damage(501, 302)
def mixed_fatal():
    """What no repair mends does not keep it from the rest."""
    image = sample()
    image.tables[1].spoiled = True
    image.metadata.signature = bytes(8)
    return image


@damage(202, 605, 608, 701, 105)
def mixed_child():
    """A child with a bad header, a lost block, an overlap and no bitmap."""
    child = child_sample()
    child.headers[1].spoiled = True
    del child.bat[4096]
    child.bat[6] = disk.bat_entry(disk.FULL, 900)
    child.bat[7] = child.bat[3]
    for block in (1, 5, 6, 7):
        lose(child, block)
    return child


@near(105, 608, 613, found=(309, 508, 615, 612))
def mixed_notes():
    """Nothing but notes: the disk is well."""
    image = sample(size=16 * MIB)
    from damage_metadata import extra  # pylint: disable=import-outside-toplevel
    from damage_regions import unknown  # pylint: disable=import-outside-toplevel
    extra(flags=0)(image)
    unknown(0, 'end')(image)
    image.set_block(4, 0, 900 * MIB)
    image.anchored(5, UNMAPPED_OLD)
    image.mark(6, 'behind')
    return image
