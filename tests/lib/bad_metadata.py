# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Bad images: the metadata region, its items, the parent locator."""

import struct

import vhdxdisk as disk
from bad_structure import bad_plain, u32
from corpus import bad
from good_chains import child_of, full_base
from good_layout import plain
from vhdxdisk import IS_REQUIRED, IS_USER, IS_VIRTUAL_DISK, KIB, MIB, TIB
from vhdximage import Image, guid_for

SYSTEM = IS_REQUIRED | IS_VIRTUAL_DISK
REGION = (2 * MIB, 3 * MIB)


def bad_item(codes, message):
    """Registers a function that bends the metadata of the plain image."""
    return bad_plain(codes, message, place=REGION)


# ---- Metadata table -----------------------------------------------------------------------------


@bad_item('CORRUPT', r'metadata table.*signature')
def metadata_signature(image):
    """The table's signature is wrong."""
    image.metadata.signature = b'METADATA'


@bad_item('CORRUPT', r'metadata table.*reserved')
def metadata_reserved(image):
    """The first reserved field of the table must be zero."""
    image.metadata.reserved = 1


@bad_item('CORRUPT', r'metadata table.*reserved')
def metadata_reserved2(image):
    """The last of the 20 reserved bytes must be zero too."""
    image.metadata.reserved2 = bytes(19) + b'\x01'


@bad_item('CORRUPT', r'metadata table.*count.*(2048|0x800)')
def metadata_count_2048(image):
    """One entry more than there is room for."""
    image.metadata.count = 2048


@bad_item('CORRUPT', r'metadata.*(missing|absent|none|no |must be|file parameters)')
def metadata_table_empty(image):
    """A table without entries."""
    image.metadata.items.clear()


def extra_item(image, **fields):
    """Adds an optional user item."""
    item = disk.Item(guid_for('extra'), b'extra', IS_USER)
    for name, value in fields.items():
        setattr(item, name, value)
    image.metadata.items.append(item)
    return item


@bad_item('CORRUPT', r'metadata.*offset')
def item_offset_below_64_kib(image):
    """An item in the table's own space."""
    extra_item(image, offset=64 * KIB - 8)


@bad_item('CORRUPT', r'metadata.*(offset|length|region)')
def item_past_the_end_of_the_region(image):
    """An item reaches one byte beyond its region."""
    extra_item(image, offset=MIB - 4)


@bad('CORRUPT', r'metadata.*length')
def item_longer_than_1_mib():
    """An item of 1 MiB and one byte."""
    image = plain(metadata_length=4 * MIB)
    extra_item(image, offset=MIB, length=MIB + 1)
    return image


@bad_item('CORRUPT', r'metadata.*(offset|length)')
def item_without_length_but_offset(image):
    """Length 0 goes with offset 0."""
    extra_item(image, data=b'', offset=80 * KIB, length=0)


@bad_item('CORRUPT', r'metadata.*overlap')
def items_overlap(image):
    """A user item shares its last byte with another."""
    extra_item(image, offset=80 * KIB)
    extra_item(image, guid=guid_for('second'), offset=80 * KIB + 4)


@bad_item('CORRUPT', r'metadata.*(twice|unique|duplicate|again|already)')
def item_twice(image):
    """Two virtual disk sizes."""
    image.metadata.items.append(disk.Item(disk.VIRTUAL_DISK_SIZE, bytes(8), SYSTEM))


@bad_item('CORRUPT', r'metadata.*(twice|unique|duplicate|again|already)')
def user_item_twice(image):
    """Two user items with one id."""
    extra_item(image)
    extra_item(image)


@bad_item('CORRUPT', r'metadata.*user.*1025|metadata.*1025.*user|metadata.*user.*1024')
def user_items_1025(image):
    """One user item more than is allowed."""
    for number in range(1025):
        extra_item(image, guid=guid_for('user', number))


@bad_item('CORRUPT', r'metadata.*(reserved|flags)')
def item_reserved_flag(image):
    """Bit 3 of an entry's flags is reserved."""
    extra_item(image, flags=IS_USER | 8)


@bad_item('CORRUPT', r'metadata.*(reserved|flags)')
def item_highest_reserved_flag(image):
    """So is bit 31, here of a known item."""
    image.metadata.items[0].flags |= 1 << 31


@bad_item('CORRUPT', r'metadata.*reserved')
def item_reserved2(image):
    """The last field of an entry must be zero."""
    image.metadata.items[1].reserved = 1


@bad_item('UNSUPPORTED', r'metadata.*(unknown|required|not known|not supported)')
def item_unknown_required(image):
    """An unknown system item that must be understood."""
    extra_item(image, flags=SYSTEM)


@bad_item('UNSUPPORTED', r'metadata.*(unknown|required|not known|not supported)')
def user_item_required(image):
    """A user item that must be understood: no program can."""
    extra_item(image, flags=IS_USER | IS_REQUIRED)


@bad_item('CORRUPT', r'incomplete|creation|not finished')
def item_incomplete_file(image):
    """The creation of the file was not finished."""
    image.metadata.items.append(disk.Item(disk.INCOMPLETE_FILE, bytes(16), 0))


# ---- Known items --------------------------------------------------------------------------------

KNOWN = {'file_parameters': disk.FILE_PARAMETERS, 'virtual_disk_size': disk.VIRTUAL_DISK_SIZE,
         'virtual_disk_id': disk.VIRTUAL_DISK_ID, 'logical_sector_size': disk.LOGICAL_SECTOR_SIZE,
         'physical_sector_size': disk.PHYSICAL_SECTOR_SIZE}
WORDS = {'virtual_disk_size': r'virtual (disk )?size', 'virtual_disk_id': r'(virtual )?disk id'}


def without(name):
    """A known item is missing, which every image must have."""
    image = plain()
    image.metadata.drop(KNOWN[name])
    return image


def resized(name, step):
    """A known item is longer or shorter than its one right length."""
    image = plain()
    item = image.metadata.item(KNOWN[name])
    item.data = item.data[:step] if step < 0 else item.data + bytes(step)
    return image


def add_known():
    """Registers missing, short and long items."""
    for name in KNOWN:
        words = WORDS.get(name, name.replace('_', ' '))
        bad('CORRUPT', words, name='missing_' + name, doc=without.__doc__)(
            lambda n=name: without(n))
        for word, step in (('short', -1), ('long', 1)):
            bad('CORRUPT', words + r'.*(length|bytes|size)', name='%s_%s' % (name, word),
                doc=resized.__doc__)(lambda n=name, s=step: resized(n, s))


add_known()


def value(name, item, data, message, doc):
    """Registers the plain image with another value of an item."""
    def build():
        image = plain()
        image.set_item(item, data)
        return image
    bad('CORRUPT', message, name=name, doc=doc, place=REGION)(build)


BLOCK, PARAMS = r'block size', disk.FILE_PARAMETERS
value('block_size_0', PARAMS, u32(0, 0), BLOCK + '.*0', 'A block size of 0.')
value('block_size_1', PARAMS, u32(1, 0), BLOCK + '.*1', 'A block size of 1.')
value('block_size_512_kib', PARAMS, u32(MIB // 2, 0), BLOCK + '.*(524288|0x80000|512 KiB)',
      'Half of the least.')
value('block_size_3_mib', PARAMS, u32(3 * MIB, 0), BLOCK + '.*(3145728|0x300000|3 MiB)',
      'No power of two.')
value('block_size_512_mib', PARAMS, u32(512 * MIB, 0), BLOCK + '.*(536870912|0x20000000|512 MiB)',
      'Twice the most.')
value('block_size_2_gib', PARAMS, u32(1 << 31, 0), BLOCK, 'The highest bit.')
value('block_size_ffffffff', PARAMS, u32(0xFFFFFFFF, 0), BLOCK, 'All bits.')
value('file_parameters_reserved', PARAMS, u32(MIB, 4), r'file parameters.*(reserved|flags)',
      'Bit 2 of the flags must be zero.')
value('file_parameters_reserved_high', PARAMS, u32(MIB, 1 << 31),
      r'file parameters.*(reserved|flags)', 'Bit 31 of the flags must be zero.')

SIZE = r'virtual (disk )?size'
value('virtual_size_unaligned', disk.VIRTUAL_DISK_SIZE, struct.pack('<Q', 8 * MIB - 1), SIZE,
      'Not a multiple of the sector size.')
value('virtual_size_of_all_bits', disk.VIRTUAL_DISK_SIZE, b'\xff' * 8, SIZE,
      'The largest number there is.')
value('virtual_size_2_to_63', disk.VIRTUAL_DISK_SIZE, struct.pack('<Q', 1 << 63), SIZE,
      'Negative, if it were signed.')

LOGICAL, PHYSICAL = disk.LOGICAL_SECTOR_SIZE, disk.PHYSICAL_SECTOR_SIZE
for _size in (0, 1, 256, 520, 1024, 2048, 8192, 0xFFFFFFFF):
    value('logical_sector_size_%d' % _size, LOGICAL, u32(_size), r'logical sector size',
          'Sectors have 512 or 4096 bytes.')
for _size in (0, 1024, 8192):
    value('physical_sector_size_%d' % _size, PHYSICAL, u32(_size), r'physical sector size',
          'Sectors have 512 or 4096 bytes.')


@bad('CORRUPT', SIZE)
def virtual_size_over_64_tib():
    """One sector more than the most; the BAT has room for it."""
    image = Image(size=64 * TIB + 512, block_size=256 * MIB)
    return image


@bad('CORRUPT', SIZE)
def virtual_size_no_multiple_of_4096():
    """A multiple of 512, but the sectors have 4096 bytes."""
    image = plain(sector=4096)
    image.set_item(disk.VIRTUAL_DISK_SIZE, struct.pack('<Q', 8 * MIB - 512))
    return image


# ---- Parent locator -----------------------------------------------------------------------------

def bad_child(codes, message, **fields):
    """Registers a function that bends a child, whose parent is in order."""
    def register(bend):
        def build():
            child = child_of(full_base())
            bend(child)
            return child
        bad(codes, 'parent.?locator.*(%s)' % message, name=bend.__name__, doc=bend.__doc__,
            place=REGION, **fields)(build)
        return bend
    return register


@bad_child('CORRUPT', r'')
def locator_missing(child):
    """HasParent is set, but there is no parent locator."""
    child.metadata.drop(disk.PARENT_LOCATOR)


@bad_child('CORRUPT', r'length|bytes|size|short')
def locator_of_19_bytes(child):
    """Shorter than its header."""
    child.set_item(disk.PARENT_LOCATOR, child.locator.pack()[:19])


@bad_child('UNSUPPORTED', r'type')
def locator_type_unknown(child):
    """A locator of another kind of parent."""
    child.locator.kind = guid_for('iscsi')


@bad_child('CORRUPT', r'reserved')
def locator_reserved(child):
    """The reserved field must be zero."""
    child.locator.reserved = 1


@bad_child('CORRUPT', r'count|entr')
def locator_count_too_high(child):
    """More entries than the item has room for."""
    child.locator.count = 200


@bad_child('CORRUPT', r'parent_linkage|count|entr')
def locator_count_0(child):
    """No entry at all."""
    child.locator.count = 0


def bad_locator_entry(codes, message, place, number):
    """Registers a locator whose first entry has one number wrong."""
    def register(bend):
        def change(child):
            """Takes the right entries and changes one number of the first."""
            packed = child.locator.pack()
            count = len(child.locator.pairs)
            entries = [list(struct.unpack_from('<IIHH', packed, 20 + 12 * n))
                       for n in range(count)]
            entries[0][place] = number(entries[0], len(packed))
            child.locator.entries = entries
        change.__name__, change.__doc__ = bend.__name__, bend.__doc__
        bad_child(codes, message)(change)
        return bend
    return register


@bad_locator_entry('CORRUPT', r'key.*offset', 0, lambda entry, size: 0)
def locator_key_offset_0():
    """A key offset of 0."""


@bad_locator_entry('CORRUPT', r'value.*offset', 1, lambda entry, size: 0)
def locator_value_offset_0():
    """A value offset of 0."""


@bad_locator_entry('CORRUPT', r'key.*length', 2, lambda entry, size: 0)
def locator_key_length_0():
    """An empty key."""


@bad_locator_entry('CORRUPT', r'value.*length', 3, lambda entry, size: 0)
def locator_value_length_0():
    """An empty value."""


@bad_locator_entry('CORRUPT', r'key', 0, lambda entry, size: size - entry[2] + 2)
def locator_key_past_the_end():
    """A key reaches two bytes beyond the item."""


@bad_locator_entry('CORRUPT', r'value', 1, lambda entry, size: size - entry[3] + 2)
def locator_value_past_the_end():
    """A value reaches two bytes beyond the item."""


@bad_locator_entry('CORRUPT', r'value', 3, lambda entry, size: 0xFFFE)
def locator_value_length_65534():
    """The longest value there is does not fit."""


@bad_locator_entry('CORRUPT', r'key', 0, lambda entry, size: 0xFFFFFFFC)
def locator_key_offset_near_4_gib():
    """Offset and length overflow 32 bits."""


@bad_locator_entry('CORRUPT', r'value', 1, lambda entry, size: 0xFFFFFFFC)
def locator_value_offset_near_4_gib():
    """Offset and length overflow 32 bits."""


@bad_locator_entry('CORRUPT', r'value|parent_linkage', 3, lambda entry, size: entry[3] - 1)
def locator_value_of_odd_length():
    """UTF-16 comes in pairs of bytes."""


@bad_child('CORRUPT', r'key|twice|unique|duplicate')
def locator_key_twice(child):
    """The same key twice."""
    child.locator.pairs.append(child.locator.pairs[2])


@bad_child('CORRUPT', r'parent_linkage')
def locator_without_linkage(child):
    """parent_linkage is missing."""
    child.locator.drop('parent_linkage')


@bad_child('CORRUPT', r'parent_linkage')
def locator_linkage_in_other_case(child):
    """Keys are case-sensitive."""
    child.locator.drop('parent_linkage')
    child.locator.set('Parent_Linkage', disk.braced(child.parent.data_write))


@bad_child('CORRUPT', r'path')
def locator_without_paths(child):
    """No path tells where the parent is."""
    child.locator.drop('relative_path')
    child.locator.drop('absolute_win32_path')


@bad_child('CORRUPT', r'parent_linkage', lenient=True)
def locator_linkage_without_braces(child):
    """The GUID has no braces."""
    child.locator.set('parent_linkage', disk.braced(child.parent.data_write)[1:-1])


@bad_child('CORRUPT', r'parent_linkage')
def locator_linkage_not_hexadecimal(child):
    """The GUID has a letter that is no digit."""
    child.locator.set('parent_linkage', '{g' + disk.braced(child.parent.data_write)[2:])


@bad_child('CORRUPT', r'nul|character|text|string|value')
def locator_nul_in_a_path(child):
    """Strings have no NUL inside."""
    child.locator.set('relative_path', '.\\base.vhdx\0hidden')


@bad_child('CORRUPT', r'nul|character|text|string|value', lenient=True)
def locator_nul_at_the_end_of_a_path(child):
    """Nor at the end; but there it does no harm."""
    child.locator.set('relative_path', '.\\base.vhdx\0')
