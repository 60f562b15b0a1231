# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: the metadata region and the parent locator (5xx)."""

import struct

import vhdxdisk as disk
from damage_core import bent, child_sample, close_to, damage, near, sample, u32
from vhdxdisk import IS_REQUIRED, IS_USER, IS_VIRTUAL_DISK, KIB, MIB, TIB, Item
from vhdximage import guid_for

SYSTEM = IS_REQUIRED | IS_VIRTUAL_DISK
KNOWN = {'file_parameters': disk.FILE_PARAMETERS, 'virtual_disk_size': disk.VIRTUAL_DISK_SIZE,
         'virtual_disk_id': disk.VIRTUAL_DISK_ID, 'logical_sector_size': disk.LOGICAL_SECTOR_SIZE,
         'physical_sector_size': disk.PHYSICAL_SECTOR_SIZE}


def fatal(name, ids, doc, bend, kinds=('dynamic',), **more):
    """Registers samples of which the check cannot get to the end."""
    more.setdefault('reached', False)
    bent(name, ids, doc, bend, kinds, **more)


def extra(**fields):
    """Adds a user item."""
    def bend(image):
        item = Item(guid_for('extra'), b'extra', IS_USER)
        for name, value in fields.items():
            setattr(item, name, value)
        image.metadata.items.append(item)
    return bend


def table(**fields):
    """Sets fields of the metadata table."""
    def bend(image):
        for name, value in fields.items():
            setattr(image.metadata, name, value)
    return bend


def several(*bends):
    """One after the other."""
    return lambda image: [bend(image) for bend in bends]


# ---- The table ----------------------------------------------------------------------------------

fatal('metadata_signature', [501], 'The signature is wrong.', table(signature=b'METADATA'),
      ('dynamic', 'child', 'places'))
fatal('metadata_zero', [501], 'Zeros where the table should be.',
      lambda image: image.render().zero(image.metadata_at, 64 * KIB))
for _name, _bend in (
        ('table', table(reserved=1)), ('table_last', table(reserved2=bytes(19) + b'\x80')),
        ('item', lambda image: setattr(image.metadata.items[1], 'reserved', 1)),
        ('flag_3', extra(flags=IS_USER | 8)),
        ('flag_31', lambda image: setattr(image.metadata.items[0], 'flags',
                                          IS_REQUIRED | 1 << 31))):
    bent('metadata_reserved_' + _name, [502], 'A field or flag in use that must be zero.', _bend,
         ('dynamic', 'child') if _name == 'table' else ('dynamic',))
bent('metadata_reserved_file_parameters', [502], 'A flag of the file parameters that no program '
     'knows: bits, and clearing them mends it.',
     lambda image: image.set_item(disk.FILE_PARAMETERS, u32(MIB, 4)))
fatal('metadata_count_2048', [503], 'One entry more than there is room for.', table(count=2048))
fatal('metadata_count_top', [503], 'A count that overflows the table.', table(count=0xFFFF))
fatal('metadata_users_1025', [503], 'One user item more than is allowed.',
      lambda image: [extra(guid=guid_for('user', n))(image) for n in range(1025)])
close_to('metadata_users_1024', [503, 508], 'The most there may be.',
         lambda image: [extra(guid=guid_for('user', n))(image) for n in range(1024)])


@near(503, found=(508,))
def metadata_full():
    """2047 entries, the most there may be."""
    image = sample()
    image.metadata.items[:0] = [Item(guid_for('item', n), b'x', IS_VIRTUAL_DISK)
                                for n in range(2042)]
    return image


fatal('metadata_offset_below_64_kib', [504], "An item in the table's own space.",
      extra(offset=64 * KIB - 1))
fatal('metadata_past_the_region', [504], 'One byte beyond the region.', extra(offset=MIB - 4))
fatal('metadata_offset_without_length', [504], 'Length 0 goes with offset 0.',
      extra(data=b'', offset=80 * KIB, length=0))
fatal('metadata_offset_overflows', [504], 'Offset and length overflow 32 bits.',
      extra(data=b'', offset=0xFFFFFFF0, length=32))
fatal('metadata_too_long', [504], 'An item of 1 MiB and one byte.',
      extra(offset=64 * KIB + 256, length=MIB + 1), ('dynamic',),
      fields={'metadata_length': 4 * MIB})
close_to('metadata_longest', [504], 'An item of 1 MiB.', extra(data=b'x' * MIB),
         fields={'metadata_length': 2 * MIB})
close_to('metadata_empty_item', [504], 'Length 0 at offset 0.', extra(data=b''))
close_to('metadata_first_place', [504, 506], 'Items end exactly where their region does, and where '
         'the next one begins.', several(extra(offset=MIB - 5),
                                         extra(guid=guid_for('second'), offset=MIB - 10)))
fatal('metadata_twice', [505], 'Two virtual disk sizes.',
      lambda image: image.metadata.items.append(Item(disk.VIRTUAL_DISK_SIZE, bytes(8), SYSTEM)))
fatal('metadata_user_twice', [505], 'Two user items with one id.', several(extra(), extra()))
close_to('metadata_user_with_system_id', [505], 'Only id and IsUser together are unique.',
         extra(guid=disk.VIRTUAL_DISK_SIZE), qemu=False)
fatal('metadata_overlap', [506], 'Two items share a byte.',
      several(extra(offset=80 * KIB), extra(guid=guid_for('second'), offset=80 * KIB + 4)))
fatal('metadata_overlap_of_known', [506], 'Two of the known items at one place.',
      lambda image: (image.metadata.place(),
                     setattr(image.metadata.items[4], 'offset', image.metadata.items[3].offset)))
fatal('metadata_unknown_required', [507], 'An unknown item that must be understood.',
      extra(flags=SYSTEM), ('dynamic', 'child'), reached=None)
fatal('metadata_user_required', [507], 'Nor does any program know such a user item.',
      extra(flags=IS_USER | IS_REQUIRED), reached=None)
bent('metadata_unknown', [508], 'An unknown item that may be ignored.',
     extra(flags=IS_VIRTUAL_DISK), ('dynamic', 'fixed', 'child'))
bent('metadata_unknown_without_flags', [508], 'Without any flag.', extra(flags=0))
close_to('metadata_user', [507, 508], 'User items are for users.', extra())

# ---- Known items --------------------------------------------------------------------------------

for _name, _guid in KNOWN.items():
    fatal('metadata_missing_' + _name, [509], 'An item is missing that every image has.',
          lambda image, g=_guid: image.metadata.drop(g), reached=None)
    fatal('metadata_short_' + _name, [511], 'An item is a byte too short.',
          lambda image, g=_guid: image.set_item(g, image.metadata.item(g).data[:-1]), reached=None)
    fatal('metadata_long_' + _name, [511], 'An item is a byte too long.',
          lambda image, g=_guid: image.set_item(g, image.metadata.item(g).data + b'\0'),
          reached=None)
fatal('metadata_user_instead', [509], 'A user item does not stand for a system item of its id.',
      lambda image: setattr(image.metadata.item(disk.VIRTUAL_DISK_ID), 'flags', IS_USER),
      reached=None)
fatal('metadata_incomplete', [510], 'The creation of the image was never finished.',
      lambda image: image.metadata.items.append(Item(disk.INCOMPLETE_FILE, bytes(16), 0)),
      ('dynamic', 'child'), reached=None)
close_to('metadata_incomplete_user', [510], 'A user item of that id means nothing.',
         extra(guid=disk.INCOMPLETE_FILE))


def values(name, item, *contents):
    """Registers samples with values that an item cannot have."""
    for content in contents:
        fatal('metadata_%s_%s' % (name, content.hex()), [511], 'A value that cannot be.',
              lambda image, c=content: image.set_item(item, c), reached=None)


values('block_size', disk.FILE_PARAMETERS, u32(0, 0), u32(MIB // 2, 0), u32(3 * MIB, 0),
       u32(512 * MIB, 0), u32(0xFFFFFFFF, 0))
values('size', disk.VIRTUAL_DISK_SIZE, struct.pack('<Q', 8 * MIB - 1), b'\xff' * 8,
       struct.pack('<Q', 64 * TIB + 512))
values('logical', disk.LOGICAL_SECTOR_SIZE, u32(0), u32(1024), u32(0xFFFFFFFF))
values('physical', disk.PHYSICAL_SECTOR_SIZE, u32(0), u32(8192))
close_to('metadata_block_256m', [511], 'The largest block size.', lambda image: None,
         fields={'block_size': 256 * MIB, 'size': 2048 * MIB})
close_to('metadata_size_64_tib', [511, 601], 'The largest disk.', lambda image: None,
         fields={'block_size': 256 * MIB, 'size': 64 * TIB}, reads=False, qemu=False)
close_to('metadata_one_sector', [511], 'A last block of a single sector.', lambda image: None,
         fields={'size': 7 * MIB + 512})
close_to('metadata_physical_512', [511, 512], '512-byte physical sectors.', lambda image: None,
         fields={'physical': 512})


def flags(guid, value):
    """Other flags for a known item."""
    return lambda image: setattr(image.metadata.item(guid), 'flags', value)


bent('metadata_flags_early_windows', [512], 'The physical sector size without Required.',
     flags(disk.PHYSICAL_SECTOR_SIZE, IS_VIRTUAL_DISK), ('dynamic', 'fixed', 'child'))
bent('metadata_flags_none', [512], 'No flag at all.', flags(disk.VIRTUAL_DISK_SIZE, 0))
bent('metadata_flags_of_parameters', [512], 'File parameters are no virtual-disk metadata.',
     flags(disk.FILE_PARAMETERS, SYSTEM))
bent('metadata_flags_of_locator', [512], 'Nor is the locator.',
     flags(disk.PARENT_LOCATOR, SYSTEM), ('child',))
close_to('metadata_right', [501, 502, 503, 509, 511, 512], 'As the specification has it.',
         lambda image: None, ('dynamic', 'child', 'sector4096', 'places'))


# ---- Parent locator -----------------------------------------------------------------------------

def locator(name, doc, bend, ids=(513,), **more):
    """Registers children with another locator."""
    def build():
        child = child_sample()
        bend(child)
        return child
    damage(*ids, name='locator_' + name, doc=doc, **more)(build)


def strings(change):
    """Changes the first (key offset, value offset, key length, value length)."""
    def bend(child):
        packed, count = child.locator.pack(), len(child.locator.pairs)
        entries = [list(struct.unpack_from('<IIHH', packed, 20 + 12 * n)) for n in range(count)]
        change(entries[0], len(packed))
        child.locator.entries = entries
    return bend


def number(place, value):
    """Sets one of them."""
    return strings(lambda entry, size: entry.__setitem__(place, value(entry, size)))


for _name, _bend in (
        ('short', lambda child: child.set_item(disk.PARENT_LOCATOR, child.locator.pack()[:19])),
        ('count_high', lambda child: setattr(child.locator, 'count', 200)),
        ('count_0', lambda child: setattr(child.locator, 'count', 0)),
        ('type', lambda child: setattr(child.locator, 'kind', guid_for('iscsi'))),
        ('key_offset_0', number(0, lambda entry, size: 0)),
        ('value_offset_0', number(1, lambda entry, size: 0)),
        ('key_length_0', number(2, lambda entry, size: 0)),
        ('value_length_0', number(3, lambda entry, size: 0)),
        ('key_past_the_end', number(0, lambda entry, size: size - entry[2] + 2)),
        ('value_past_the_end', number(1, lambda entry, size: size - entry[3] + 2)),
        ('value_overflows', number(1, lambda entry, size: 0xFFFFFFFC)),
        ('value_odd', number(3, lambda entry, size: entry[3] - 1)),
        ('key_twice', lambda child: child.locator.pairs.append(child.locator.pairs[2])),
        ('no_linkage', lambda child: child.locator.drop('parent_linkage')),
        ('no_path', lambda child: (child.locator.drop('relative_path'),
                                   child.locator.drop('absolute_win32_path'))),
        ('linkage_is_no_guid', lambda child: child.locator.set('parent_linkage', '{parent}'))):
    locator(_name, 'The locator cannot be understood.', _bend, parents=False)
locator('reserved', 'Its reserved field is in use.',
        lambda child: setattr(child.locator, 'reserved', 0x8000), [514])
locator('missing', 'HasParent, but no locator.',
        lambda child: child.metadata.drop(disk.PARENT_LOCATOR), [515], parents=False)
locator('intact', 'Key and values in another order, and a key nobody knows.',
        lambda child: (child.locator.set('later', 'x'), child.locator.pairs.reverse()), [],
        near=(513, 514, 515, 516))


@damage(516)
def locator_unexpected():
    """A locator in an image without a parent."""
    image, child = sample(), child_sample()
    image.metadata.items.append(Item(disk.PARENT_LOCATOR, child.locator.pack(), IS_REQUIRED))
    return image


@near(516)
def locator_of_a_user():
    """A user item of that id is no locator."""
    image = sample()
    extra(guid=disk.PARENT_LOCATOR)(image)
    return image
