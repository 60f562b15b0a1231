# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Good images: differencing disks, sector bitmaps, chains of parents, parent locators."""

import vhdxdisk as disk
from corpus import good
from vhdxdisk import GIB, MIB, NOT_PRESENT, UNDEFINED, UNMAPPED, UNMAPPED_OLD, ZERO
from vhdximage import Image, guid_for, pattern


def full_base(name='base.vhdx', size=8 * MIB, sector=512, block_size=MIB):
    """A parent with data in every block."""
    base = Image(name, size=size, block_size=block_size, sector=sector)
    base.fill(name)
    return base


def child_of(base, name='child.vhdx', **fields):
    """A child like its parent."""
    fields.setdefault('size', base.size)
    fields.setdefault('block_size', base.block_size)
    return Image(name, sector=base.sector, parent=base, **fields)


# ---- Sector bitmaps -----------------------------------------------------------------------------

@good()
def bitmap_bit_order():
    """Bit 0 of byte 0 is the first sector (VHD counts the other way round): single sectors that a
    reversed byte would mistake for their mirror image."""
    child = child_of(full_base())
    for number in (0, 2, 3, 8, 13, 14, 15, 21, 2047):
        child.put_sectors(number * 512, pattern(('bit', number), 512))
    return child


@good()
def bitmap_alternating_sectors():
    """Every other sector of a block is the child's: the shortest extents there are."""
    base = full_base(size=2 * MIB)
    base.put(0, pattern('rich base', MIB))
    child = child_of(base)
    for number in range(0, 2048, 2):
        child.put_sectors(number * 512, pattern(('odd', number), 512))
    return child


@good()
def bitmap_4096_sectors():
    """With 4 KiB sectors a bit stands for 4 KiB."""
    child = child_of(full_base(sector=4096))
    for number in (1, 7, 8, 255, 256 + 5):
        child.put_sectors(number * 4096, pattern(('bit', number), 4096))
    return child


@good()
def bitmap_of_a_later_block():
    """The bits of block 5 lie at its place in the chunk, not at the start of the bitmap."""
    child = child_of(full_base(block_size=2 * MIB, size=16 * MIB), block_size=2 * MIB)
    child.put_sectors(5 * 2 * MIB + 3 * 512, pattern('later', 5 * 512))
    return child


@good()
def bitmap_all_bits_set():
    """A block with all of its bits set, still called PARTIALLY_PRESENT."""
    child = child_of(full_base())
    child.put_sectors(3 * MIB, pattern('all', MIB))
    return child


@good()
def bitmap_no_bits_set():
    """A PARTIALLY_PRESENT block without any bit: all of it is the parent's."""
    child = child_of(full_base())
    child.make_partial(3)
    return child


@good()
def bitmap_absent_without_partial_blocks():
    """FULLY_PRESENT blocks of a child need no sector bitmap block."""
    child = child_of(full_base())
    child.mark(2, 'child')
    return child


@good()
def full_block_ignores_bitmap():
    """The bitmap says nothing of a FULLY_PRESENT block, even if its bits are 0."""
    child = child_of(full_base())
    child.put_sectors(1 * MIB, pattern('partial', 512))
    child.mark(2, 'child')
    return child


@good()
def not_present_ignores_bitmap():
    """Nor of a NOT_PRESENT block, even if its bits are 1: it is the parent's."""
    child = child_of(full_base())
    child.put_sectors(1 * MIB, pattern('partial', 512))
    child.set_bits(2 * 2048, 2048)
    return child


@good()
def bitmap_bits_behind_the_end():
    """Windows sets the bits behind the end of the disk, up to the end of their 4 KiB page."""
    child = child_of(full_base(size=4 * MIB + 512, block_size=2 * MIB), block_size=2 * MIB)
    child.put_sectors(4 * MIB, pattern('end', 512))
    child.set_bits(8193, 32768 - 8193)
    return child


@good()
def bitmap_in_the_second_chunk_only():
    """The first chunk needs no bitmap, the second has one."""
    base = Image('base.vhdx', size=4 * GIB + 64 * MIB, block_size=32 * MIB)
    base.put(4 * GIB - 4096, pattern('base', 8192))
    child = child_of(base)
    child.put_sectors(4 * GIB + 512, pattern('child', 1024))
    return child


@good()
def differencing_bat_ends_with_a_bitmap_entry():
    """A child's BAT reaches to the bitmap entry of its last chunk, far behind the last block."""
    child = child_of(full_base(size=3 * MIB))
    assert child.bitmap_index(0) == 4096 and child.bat_entries() == 4097
    child.put_sectors(2 * MIB, pattern('child', 512))
    return child


# ---- States in a child --------------------------------------------------------------------------

def hides_parent(state, anchored):
    """This state gives zeros in a child too, and never lets the parent show through."""
    child = child_of(full_base())
    child.mark(0, 'child')
    if anchored:
        child.anchored(2, state)
    else:
        child.set_block(2, state)
    return child


for _name, _state in (('zero', ZERO), ('unmapped', UNMAPPED), ('undefined', UNDEFINED),
                      ('unmapped_old', UNMAPPED_OLD)):
    good('child_%s_hides_parent' % _name, hides_parent.__doc__)(
        lambda s=_state: hides_parent(s, False))
    good('child_%s_with_offset_hides_parent' % _name, hides_parent.__doc__)(
        lambda s=_state: hides_parent(s, True))


@good()
def child_not_present_reads_parent():
    """NOT_PRESENT in a child is the parent's data, not zeros."""
    child = child_of(full_base())
    child.set_block(2, NOT_PRESENT)
    child.mark(3, 'child')
    return child


@good()
def child_not_present_with_offset_reads_parent():
    """Also if the entry has an offset, which is reserved in this state."""
    child = child_of(full_base())
    child.anchored(2, NOT_PRESENT)
    return child


@good()
def child_zero_over_data_in_the_middle_of_a_chain():
    """Zeros in the middle image hide the base; the top's partial block shows both."""
    middle = child_of(full_base(), 'middle.vhdx')
    middle.set_block(2, ZERO)
    top = child_of(middle, 'top.vhdx')
    top.put_sectors(2 * MIB + 512, pattern('top', 512))
    return top


# ---- Chains -------------------------------------------------------------------------------------

def chain(depth, size=8 * MIB, sector=512):
    """Each image of the chain has something of its own, partly over that of the one below."""
    image = full_base('image0.vhdx', size, sector)
    for level in range(1, depth):
        image = child_of(image, 'image%d.vhdx' % level)
        block = level % image.blocks
        image.put_sectors(block * MIB + level % 64 * sector, pattern(level, 3 * sector))
        if level % 5 == 2:
            image.set_block((level + 3) % image.blocks, ZERO)
        if level % 7 == 3:
            image.mark((level + 5) % image.blocks, level)
    return image


for _depth in (2, 3, 4, 5, 256):
    good('chain_of_%d' % _depth, chain.__doc__)(lambda d=_depth: chain(d))

good('chain_of_3_with_4096_sectors', chain.__doc__)(lambda: chain(3, sector=4096))


@good()
def child_larger_than_parent():
    """Reads past the end of the parent give zeros, also within a block."""
    child = child_of(full_base(size=3 * MIB + 512), size=9 * MIB, block_size=2 * MIB)
    child.put_sectors(7 * MIB, pattern('child', 512))
    child.put_sectors(3 * MIB - 512, pattern('edge', 512))
    return child


@good()
def child_smaller_than_parent():
    """What the parent has behind the end of the child is not part of the disk."""
    child = child_of(full_base(size=9 * MIB), size=3 * MIB + 512, block_size=2 * MIB)
    child.put_sectors(3 * MIB, pattern('child', 512))
    return child


@good()
def sizes_up_and_down_along_a_chain():
    """A small image in the middle cuts off the base: what grows again above it is zeros."""
    middle = child_of(full_base(size=8 * MIB), 'middle.vhdx', size=3 * MIB)
    return child_of(middle, 'top.vhdx', size=8 * MIB)


@good()
def block_sizes_differ_along_a_chain():
    """Each image of a chain has its own block size."""
    middle = child_of(full_base(size=64 * MIB), 'middle.vhdx', block_size=32 * MIB)
    middle.put_sectors(33 * MIB + 512, pattern('middle', 2048))
    top = child_of(middle, 'top.vhdx', block_size=2 * MIB)
    top.put_sectors(32 * MIB, pattern('top', 512))
    return top


@good()
def parent_is_fixed():
    """A fixed disk as parent."""
    base = Image('base.vhdx', size=4 * MIB, fixed=True)
    base.fill('fixed')
    child = child_of(base)
    child.put_sectors(MIB, pattern('child', 512))
    return child


# ---- Parent locators ----------------------------------------------------------------------------

@good()
def parent_in_another_folder():
    r"""relative_path with ..\ and folders; the path separator is a backslash."""
    return child_of(full_base('one/base.vhdx'), 'two/three/child.vhdx')


@good()
def parent_linkage2_matches():
    """The parent's identity is the second accepted one, as in the middle of a merge."""
    child = child_of(full_base())
    child.locator.set('parent_linkage', disk.braced(guid_for('another parent')))
    child.locator.set('parent_linkage2', disk.braced(child.parent.data_write))
    return child


@good()
def parent_linkage_upper_case():
    """GUIDs are compared as GUIDs: the specification's own example is in upper case."""
    child = child_of(full_base())
    child.locator.set('parent_linkage', disk.braced(child.parent.data_write).upper())
    return child


@good()
def parent_linkage2_absent():
    """parent_linkage2 need not be there."""
    child = child_of(full_base())
    child.locator.drop('parent_linkage2')
    return child


@good(options=('--map', r'D:\vms=.'))
def parent_by_absolute_path():
    """Only absolute_win32_path is there, with the prefix that the specification demands."""
    child = child_of(full_base())
    child.locator.drop('relative_path')
    child.locator.set('absolute_win32_path', '\\\\?\\D:\\vms\\base.vhdx')
    return child


@good(options=('--map', r'\\?\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}=.'))
def parent_by_volume_path():
    """Only volume_path is there."""
    child = child_of(full_base())
    child.locator.drop('relative_path')
    child.locator.drop('absolute_win32_path')
    child.locator.set('volume_path',
                      '\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\base.vhdx')
    return child


@good()
def parent_with_a_name_beyond_ascii():
    """Paths are UTF-16 in the locator and UTF-8 on the host, also beyond the first plane."""
    return child_of(full_base('gr\u00f6\u00dfe \u6f22 \U0001f4be.vhdx'))


@good()
def locator_in_another_order():
    """The pairs have no order; unknown keys are carried along."""
    child = child_of(full_base())
    child.locator.set('a_key_of_the_future', 'some value')
    child.locator.pairs.reverse()
    return child


@good()
def parent_with_dirty_log():
    """The parent's log must be replayed too, or the child shows the parent's old data."""
    base = Image('base.vhdx', size=4 * MIB)
    base.both(log_guid=guid_for('log'))
    base.mark(1, 'base')
    # Imported here: good_logs builds on the children of this module.
    from good_logs import log_bat  # pylint: disable=import-outside-toplevel
    log_bat(base)
    child = child_of(base)
    child.put_sectors(2 * MIB, pattern('child', 512))
    return child
