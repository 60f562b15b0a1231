# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: what is wrong with the parent (8xx). No repair mends that."""

import os

import vhdxdisk as disk
from damage_core import add, child_sample, damage, entry_at, lose, near, raw_slot
from good_chains import chain, child_of, full_base
from vhdxdisk import BITMAP_PRESENT, FULL, GIB, MIB, bat_entry
from vhdximage import Image, guid_for, pattern

ALONE = ('--no-parent',)


class Without:
    """An image without some of its parents' files."""

    def __init__(self, image, *names):
        self.image, self.names = image, names

    def __getattr__(self, name):
        return getattr(self.image, name)

    def save(self, folder):
        """Writes all files but these."""
        path = self.image.save(folder)
        for name in self.names:
            if os.path.exists(os.path.join(folder, name)):
                os.remove(os.path.join(folder, name))
        return path


def bad(name, number, doc, build, **more):
    """Registers a child whose parent is wrong, and as a near miss the same with --no-parent."""
    add(name, [number], doc, build, parents=False, **more)
    add(name + '_not_looked_at', [], 'With --no-parent the parent does not matter.', build,
        parents=False, near=(number,), args=ALONE)


def changed(bend):
    """A child whose parent was bent."""
    def build():
        child = child_sample()
        bend(child.parent)
        return child
    return build


bad('parent_missing', 801, 'There is no such file.', lambda: Without(child_sample(), 'base.vhdx'))
bad('parent_of_parent_missing', 801, 'The middle of the chain is there, its base is not.',
    lambda: Without(with_lost(chain(3)), 'image0.vhdx'))


def with_lost(image):
    """Nothing is lost."""
    image.lost = []
    return image


def other_disk(base):
    """Another disk altogether: its identity differs, too."""
    base.both(data_write=guid_for('other'))
    base.set_item(disk.VIRTUAL_DISK_ID, guid_for('another disk'))


bad('parent_other', 802, other_disk.__doc__, changed(other_disk))
bad('parent_written', 803, 'The same disk, whose DataWriteGuid has changed since.',
    changed(lambda base: base.both(data_write=guid_for('written'))))
bad('parent_written_by_older_header', 803, "The child's GUID stands in the parent's older header.",
    changed(lambda base: setattr(base.headers[1], 'data_write', guid_for('written'))))
bad('parent_zero_guid', 803, 'The zero GUID of parent_linkage2 matches nothing.',
    changed(lambda base: base.both(data_write=disk.ZERO_GUID)))


def cycle(length):
    """A chain that comes back to its beginning."""
    images = [full_base('image0.vhdx')]
    for number in range(length):
        images.append(child_of(images[-1], 'image%d.vhdx' % (number + 1)))
    images[1].locator.set('relative_path', '.\\' + images[-1].name)
    images[1].locator.set('parent_linkage', disk.braced(images[-1].data_write))
    return with_lost(images[-1])


for _length in (1, 2, 3):
    bad('parent_cycle_%d' % _length, 804, cycle.__doc__, lambda n=_length: cycle(n))


def other_sectors():
    """Logical sector sizes must be equal along a chain."""
    child = child_sample()
    base = Image('base.vhdx', sector=4096)
    base.both(data_write=child.parent.data_write)
    child.parent = base
    return child


bad('parent_sector_size', 805, other_sectors.__doc__, other_sectors)
bad('parent_broken_tables', 806, 'The right parent is there, but cannot be used.',
    changed(lambda base: base.both_tables(lambda table: setattr(table, 'spoiled', True))))
bad('parent_broken_metadata', 806, 'Its metadata is gone.',
    changed(lambda base: setattr(base.metadata, 'signature', bytes(8))))
bad('parent_broken_headers', 806, 'Its headers are gone.',
    changed(lambda base: base.both(spoiled=True)))
bad('parent_is_no_image', 806, 'What is there is no image at all.',
    changed(lambda base: (setattr(base.identifier, 'signature', b'no image'),
                          base.both(signature=bytes(4)))))


def grandchild():
    """Its parent has a partial block."""
    middle = child_of(full_base('image0.vhdx'), 'image1.vhdx')
    middle.put_sectors(MIB + 512, pattern('middle', 512))
    return with_lost(child_of(middle, 'image2.vhdx'))


def without_bitmap(value):
    """A parent whose sector bitmap cannot be had."""
    def build():
        image = grandchild()
        raw_slot(image.parent, 0, value)
        return image
    return build


bad('parent_broken_block', 806, 'A block of it lies past the end of its file.',
    changed(lambda base: entry_at(base, 4, FULL, 900 * MIB)))
bad('parent_broken_far_block', 806, 'The last entry of a BAT that is read as it is needed.',
    lambda: with_lost(child_of(far_block(900 * MIB))))
bad('parent_broken_bitmap', 806, 'A sector bitmap of it lies past the end of its file.',
    without_bitmap(bat_entry(BITMAP_PRESENT, 900)))
bad('parent_without_bitmap', 806, 'A sector bitmap of it is missing.', without_bitmap(0))


def far_block(place=None):
    """A base of 16 GiB with data in its last block."""
    base = Image('base.vhdx', size=16 * GIB)
    base.mark(base.blocks - 1, 'far')
    if place:
        entry_at(base, base.blocks - 1, FULL, place)
    return base


# ---- Near misses --------------------------------------------------------------------------------

@near(801, 802, 803, 804, 805, 806)
def parent_there():
    """The right parent, beside the child."""
    return child_sample()


@near(803)
def parent_linkage2():
    """The second GUID matches, as in the midst of a merge."""
    child = child_sample()
    child.locator.set('parent_linkage', disk.braced(guid_for('another')))
    child.locator.set('parent_linkage2', disk.braced(child.parent.data_write))
    return child


add('parent_far_block', [], 'The same, in its place.', lambda: with_lost(child_of(far_block())),
    near=(806,))
add('parent_with_bitmap', [], grandchild.__doc__, grandchild, near=(806,))


@near(806)
def parent_damaged_but_usable():
    """The parent has lost a header and a region table: it can be used all the same."""
    child = child_sample()
    child.parent.headers[0].spoiled = True
    child.parent.tables[0].spoiled = True
    return child


@near(804)
def parent_chain_of_5():
    """A chain that ends."""
    return with_lost(chain(5))


@near(805)
def parent_of_another_block_size():
    """Block sizes and virtual sizes may differ along a chain."""
    child = child_of(full_base(size=9 * MIB), size=7 * MIB, block_size=2 * MIB)
    child.put_sectors(MIB, pattern('child', 1024))
    return with_lost(child)


@damage(803, counts={605: 1}, parents=False)
def parent_written_and_block_lost():
    """What the child itself has lost can be mended all the same."""
    child = child_sample()
    child.parent.both(data_write=guid_for('written'))
    child.bat[2] = disk.bat_entry(disk.FULL, 900)
    lose(child, 2)
    return child
