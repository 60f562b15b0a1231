# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Bad images: BAT entries, sector bitmap blocks, chains of parents."""

import os

import vhdxdisk as disk
from corpus import bad
from good_chains import chain, child_of, full_base
from good_layout import plain
from vhdxdisk import FULL, GIB, MIB, NOT_PRESENT, PARTIAL, bat_entry
from vhdximage import Image, guid_for, pattern


def entry(name, codes, message, doc, change, **fields):
    """Registers the plain image with one more BAT entry; change gets the image."""
    def build():
        image = plain(**fields)
        change(image)
        return image
    place = (3 * MIB, 4 * MIB) if codes == 'CORRUPT' and not fields else None
    bad(codes, message, name='bat_' + name, doc=doc, stage='read', place=place)(build)


def raw(index, value):
    """A change that sets a BAT entry."""
    return lambda image: image.bat.update({index: value})


ENTRY = r'BAT entry 4.*'

# ---- Payload blocks -----------------------------------------------------------------------------

entry('state_4', 'CORRUPT', ENTRY + 'state.*4', 'State 4 is reserved.', raw(4, bat_entry(4)))
entry('state_4_with_offset', 'CORRUPT', ENTRY + 'state.*4', 'Also with an offset.',
      raw(4, bat_entry(4, 100)))
entry('reserved_bit_3', 'CORRUPT', ENTRY + 'reserved', 'Bit 3 must be zero.',
      raw(4, bat_entry(NOT_PRESENT, reserved=1)))
entry('reserved_bit_19', 'CORRUPT', ENTRY + 'reserved', 'Bit 19 must be zero.',
      raw(4, bat_entry(NOT_PRESENT, reserved=1 << 16)))
entry('reserved_bit_of_present_block', 'CORRUPT', r'BAT entry 2.*reserved',
      'Bits of a good entry in use.',
      lambda image: image.bat.update({2: image.bat[2] | 0x10}))
entry('offset_0', 'CORRUPT', ENTRY + '(offset|header)', 'A block in the header section.',
      raw(4, bat_entry(FULL, 0)))
entry('overlaps_log', 'CORRUPT', ENTRY + '(log|overlap)', 'A block in the log.',
      raw(4, bat_entry(FULL, 1)))
entry('overlaps_metadata', 'CORRUPT', ENTRY + '(metadata|region|overlap)',
      'A block in the metadata region.', raw(4, bat_entry(FULL, 2)))
entry('overlaps_bat', 'CORRUPT', ENTRY + '(bat|region|overlap)', 'A block in the BAT region.',
      raw(4, bat_entry(FULL, 3)))
entry('overlaps_end_of_region', 'CORRUPT', r'BAT entry 1.*(metadata|region|overlap)',
      'A block of 2 MiB whose second half lies in a region.',
      raw(1, bat_entry(FULL, 19)), block_size=2 * MIB, size=8 * MIB, metadata_at=20 * MIB,
      bat_at=2 * MIB, free_at=3 * MIB)
entry('block_twice', 'CORRUPT', r'BAT entry [24].*(overlap|same|twice|also|BAT entry|entry)',
      'Two blocks at one place: a write to one would change the other.',
      lambda image: image.bat.update({4: image.bat[2]}))
entry('blocks_overlap_by_half', 'CORRUPT', r'BAT entry [01].*(overlap|BAT entry|entry)',
      'Two blocks of 2 MiB share 1 MiB.',
      lambda image: image.bat.update({1: image.bat[0] + (1 << 20)}),
      block_size=2 * MIB, size=8 * MIB)
entry('partial_without_parent', 'CORRUPT', ENTRY + '(state|parent|7)',
      'PARTIALLY_PRESENT where there is no parent.',
      lambda image: image.bat.update({4: bat_entry(PARTIAL, image.allocate(MIB) // MIB)}))
entry('block_past_the_end', 'TRUNCATED', r'(bat entry|block) 4.*(end|offset|size|long|begins)',
      'A block that begins past the end of the file: opening works, reading it does not.',
      raw(4, bat_entry(FULL, 900)))
entry('block_at_the_end', 'TRUNCATED', r'(bat entry|block) 4.*(end|offset|size|long|begins)',
      'A block that begins just where the file ends.',
      lambda image: image.bat.update({4: bat_entry(FULL, image.file.size // MIB)}))


@bad('CORRUPT', r'BAT entry.*overlap|BAT entry.*region', stage='read')
def bat_overlaps_unknown_region():
    """A block in a region that is unknown, but there."""
    image = plain()
    at = image.place_of(2)
    region = disk.Region(guid_for('unknown region'), at, MIB, flags=0)
    image.both_tables(lambda table: table.entries.append(region))
    return image


@bad('CORRUPT', r'BAT entry 4.*overlap', stage='read')
def bat_cut_block_overlaps_log():
    """The file ends inside a block, where the log would be if it were longer."""
    image = plain(block_size=2 * MIB, size=16 * MIB)
    at = image.make_full(4)
    image.both(log_offset=at + MIB)
    image.render().resize(at + MIB)
    return image


# ---- Bitmap entries where there is no parent ----------------------------------------------------

@bad('CORRUPT', r'BAT entry 4096.*', stage='read')
def bitmap_entry_without_parent():
    """An image without parent has no sector bitmap blocks."""
    image = Image(size=4 * GIB + 8 * MIB)
    image.mark(0, 'first')
    image.bat[4096] = bat_entry(disk.BITMAP_PRESENT, image.allocate(MIB) // MIB)
    return image


@bad('CORRUPT', r'BAT entry 4096.*', stage='read')
def bat_entries_shifted_by_qemu():
    """A bug of QEMU (mended in 2023) moved the entries of a BAT page by one place: the bitmap
    entry at its beginning then holds a payload block."""
    image = Image(size=4 * GIB + 8 * MIB)
    for block in range(4096, 4100):
        image.mark(block, 'shifted')
    for index in range(4097, 4101):
        image.bat[index - 1] = image.bat.pop(index)
    return image


@bad('CORRUPT', r'BAT entry 4096.*', stage='read')
def bitmap_entry_without_parent_in_a_fixed_image():
    """The same for a fixed image."""
    image = Image(size=4 * GIB + 8 * MIB, fixed=True)
    image.mark(4096, 'second chunk')
    image.bat[4096] = bat_entry(disk.BITMAP_PRESENT, image.allocate(MIB) // MIB)
    return image


# ---- Sector bitmaps -----------------------------------------------------------------------------

def partial_child():
    """A child with one partial block; its bitmap entry is number 4096."""
    child = child_of(full_base())
    child.put_sectors(MIB, pattern('child', 1024))
    assert child.bitmap_index(0) == 4096
    return child


def bitmap(name, codes, message, doc, change):
    """Registers a child whose bitmap entry was changed."""
    def build():
        child = partial_child()
        change(child)
        return child
    place = (3 * MIB, 4 * MIB) if codes == 'CORRUPT' else None
    bad(codes, message, name='bitmap_' + name, doc=doc, stage='read', place=place)(build)


BITMAP = r'(BAT entry 4096|bitmap|BAT entry 1\b).*'
bitmap('block_missing', 'CORRUPT', BITMAP, 'A partial block, but no bitmap that tells its sectors.',
       lambda child: child.bat.pop(4096))
for _state in (1, 2, 3, 4, 5, 7):
    bitmap('state_%d' % _state, 'CORRUPT', BITMAP, 'Bitmap blocks have the states 0 and 6 only.',
           lambda child, s=_state: child.bat.update({4096: child.bat[4096] & ~7 | s}))
bitmap('reserved_bit', 'CORRUPT', BITMAP + 'reserved', 'Bit 3 must be zero.',
       lambda child: child.bat.update({4096: child.bat[4096] | 8}))
bitmap('offset_0', 'CORRUPT', BITMAP + '(offset|header)', 'A bitmap in the header section.',
       lambda child: child.bat.update({4096: bat_entry(disk.BITMAP_PRESENT, 0)}))
bitmap('overlaps_region', 'CORRUPT', BITMAP + '(overlap|region|metadata)',
       'A bitmap in the metadata region.',
       lambda child: child.bat.update({4096: bat_entry(disk.BITMAP_PRESENT, 2)}))
bitmap('overlaps_payload', 'CORRUPT', BITMAP + '(overlap|entry)', 'A bitmap on a payload block.',
       lambda child: child.bat.update({4096: child.bat[1] & ~7 | disk.BITMAP_PRESENT}))
bitmap('past_the_end', 'TRUNCATED', BITMAP + '(end|offset|size|long|begins)',
       'A bitmap past the end of the file.',
       lambda child: child.bat.update({4096: bat_entry(disk.BITMAP_PRESENT, 900)}))


@bad('TRUNCATED', r'(bat entry|block) 1\b.*(end|offset|size|long|begins)', stage='read')
def partial_block_past_the_end():
    """A partial block whose sectors lie past the end of the file."""
    child = partial_child()
    child.bat[1] = bat_entry(PARTIAL, 900)
    return child


@bad('CORRUPT', r'BAT entry 4.*state.*4', stage='read')
def child_state_4():
    """The reserved state in a child."""
    child = partial_child()
    child.bat[4] = bat_entry(4)
    return child


# ---- Chains -------------------------------------------------------------------------------------

class Orphan:
    """An image without some of its parents' files."""

    def __init__(self, image, missing):
        self.image, self.missing = image, missing

    def save(self, folder):
        """Writes all files but the missing ones."""
        path = self.image.save(folder)
        for name in self.missing:
            os.remove(os.path.join(folder, name))
        return path


@bad('PARENT_MISSING', r'parent', stage='chain')
def parent_missing():
    """The parent's file is not there."""
    return Orphan(child_of(full_base()), ['base.vhdx'])


@bad('PARENT_MISSING', r'parent', stage='chain')
def parent_of_parent_missing():
    """The middle image is there, the base is not."""
    return Orphan(chain(3), ['image0.vhdx'])


@bad('PARENT_MISMATCH', r'parent', stage='chain')
def parent_with_another_guid():
    """The file is there, but was changed since the child was made."""
    child = child_of(full_base())
    child.parent.both(data_write=guid_for('changed'))
    return child


@bad('PARENT_MISMATCH', r'parent', stage='chain')
def parent_with_guid_in_old_header():
    """The child's GUID stands in the parent's older header, which is not current."""
    child = child_of(full_base())
    child.parent.headers[1].data_write = guid_for('changed')
    return child


@bad('PARENT_MISMATCH', r'parent', stage='chain')
def parent_matching_file_write_guid():
    """It is DataWriteGuid that counts, not FileWriteGuid."""
    child = child_of(full_base())
    base = child.parent
    base.both(file_write=base.data_write, data_write=guid_for('changed'))
    return child


@bad('PARENT_MISMATCH', r'parent', stage='chain')
def parent_with_zero_guid():
    """The all-zero GUID in parent_linkage2, which Windows writes, matches nothing."""
    child = child_of(full_base())
    child.parent.both(data_write=disk.ZERO_GUID)
    return child


@bad('PARENT_MISMATCH', r'base\.vhdx.*sector size', stage='chain')
def parent_with_other_sector_size():
    """Logical sector sizes must be equal along a chain."""
    child = child_of(full_base())
    base = Image('base.vhdx', sector=4096)
    base.both(data_write=child.parent.data_write)
    child.parent = base
    return child


def point_at(child, other):
    """Makes other the parent of child, as far as the file tells."""
    child.locator.set('relative_path', '.\\' + other.name)
    child.locator.set('parent_linkage', disk.braced(other.data_write))


def cycle(length):
    """A chain that comes back to its beginning."""
    images = [full_base('image0.vhdx')]
    for number in range(length):
        images.append(child_of(images[-1], 'image%d.vhdx' % (number + 1)))
    point_at(images[1], images[-1])
    return images[-1]


for _length in (1, 2, 3):
    bad('CORRUPT', r'(chain|parent|cycle).*', name='chain_cycle_of_%d' % _length,
        doc=cycle.__doc__, stage='chain')(lambda n=_length: cycle(n))


@bad('LIMIT', r'chain|parent|256', stage='chain')
def chain_of_257():
    """One image more than the library follows."""
    return chain(257, size=MIB)


def broken_parent(bend):
    """The right parent is there, but cannot be used."""
    child = child_of(full_base())
    bend(child.parent)
    return child


bad('CHECKSUM', r'base\.vhdx.*region table', name='parent_with_bad_region_tables',
    doc=broken_parent.__doc__, stage='chain')(lambda: broken_parent(
        lambda base: base.both_tables(lambda table: setattr(table, 'spoiled', True))))
bad('CORRUPT', r'base\.vhdx.*metadata', name='parent_with_bad_metadata',
    doc=broken_parent.__doc__, stage='chain')(lambda: broken_parent(
        lambda base: setattr(base.metadata, 'signature', b'METADATA')))
bad('CORRUPT', r'base\.vhdx.*log', name='parent_with_bad_log', doc=broken_parent.__doc__,
    stage='chain')(lambda: broken_parent(
        lambda base: (base.both(log_guid=guid_for('log')),
                      base.render().put(base.log_at, b'garbage'))))
bad('CORRUPT', r'BAT entry 3.*state', name='parent_with_bad_bat_entry',
    doc=broken_parent.__doc__, stage='read')(lambda: broken_parent(
        lambda base: base.bat.update({3: bat_entry(4)})))
bad('TRUNCATED', r'(bat entry|block) 3.*(end|offset|size|long|begins)',
    name='parent_with_block_past_the_end', doc=broken_parent.__doc__, stage='read')(
        lambda: broken_parent(lambda base: base.bat.update({3: bat_entry(FULL, 900)})))
