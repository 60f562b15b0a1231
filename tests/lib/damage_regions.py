# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Damaged images: the two region tables and the regions (3xx)."""

import vhdxdisk as disk
from damage_core import add, bent, close_to, cut, damage, flip, near, sample
from vhdxdisk import KIB, MIB
from vhdximage import Image, guid_for

EVERY = ('dynamic', 'fixed', 'sector4096', 'child')


def table(number, bend):
    """A function that bends one region table."""
    return lambda image: bend(image.tables[number - 1])


def both(bend):
    """A function that bends both in the same way."""
    return lambda image: image.both_tables(bend)


def field(**fields):
    """Sets fields of a region table."""
    def bend(one):
        for name, value in fields.items():
            setattr(one, name, value)
    return bend


def entry(number, **fields):
    """Sets fields of an entry: 0 is the BAT's, 1 the metadata's."""
    def bend(one):
        for name, value in fields.items():
            setattr(one.entries[number], name, value)
    return bend


def more(name, offset, length=MIB, flags=0):
    """Adds a region."""
    return lambda one: one.entries.append(disk.Region(guid_for(name), offset, length, flags))


# ---- One bad copy: the other is used ------------------------------------------------------------

BAD = (
    ('signature', 301, 'The signature is wrong.', field(signature=b'iger')),
    ('checksum', 302, 'The checksum is wrong.', field(spoiled=True)),
    ('count_2048', 303, 'One entry more than there is room for.', field(count=2048)),
    ('count_top', 303, 'A count that overflows.', field(count=0xFFFFFFFF)),
    ('offset_unaligned', 304, 'A region at no multiple of 1 MiB.', entry(0, offset=3 * MIB + 4096)),
    ('offset_0', 304, 'A region in the header section.', entry(1, offset=0)),
    ('length_unaligned', 304, 'A length that is no multiple of 1 MiB.',
     entry(0, length=MIB + 4096)),
    ('beyond_64_bits', 304, 'A region that ends beyond 2^64.',
     entry(0, offset=(1 << 64) - MIB, length=2 * MIB)),
    ('twice', 305, 'Two BAT regions.',
     lambda one: one.entries.append(disk.Region(disk.BAT_REGION, 40 * MIB, MIB))),
    ('unknown_twice', 305, 'Two unknown regions with one GUID.',
     lambda one: [more('unknown', n * MIB)(one) for n in (40, 41)]),
    ('overlap', 306, 'The BAT on the metadata.', entry(0, offset=2 * MIB)),
    ('overlap_by_one_mib', 306, 'The metadata region reaches into the BAT.',
     entry(1, length=2 * MIB)),
    ('without_bat', 307, 'No BAT region.', lambda one: one.entries.pop(0)),
    ('without_metadata', 307, 'No metadata region.', lambda one: one.entries.pop(1)),
    ('empty', 307, 'No region at all.', lambda one: one.entries.clear()))

for _name, _id, _doc, _bend in BAD:
    for _number in (1, 2):
        bent('table_%d_%s' % (_number, _name), [_id], _doc, table(_number, _bend),
             EVERY if _id in (301, 302) else ('dynamic',))
    bent('tables_lost_' + _name, [313], 'In both tables: ' + _doc, both(_bend), reached=False)
for _number in (1, 2):
    bent('table_%d_zero' % _number, [], 'A table that was never written.',
         lambda image, n=_number: image.render().zero(disk.REGION_TABLE_AT[n - 1], 64 * KIB),
         counts={301: 1})
    bent('table_%d_last_bit' % _number, [], 'The checksum covers 64 KiB.',
         lambda image, n=_number: flip(image, disk.REGION_TABLE_AT[n - 1] + 65535, 0x80),
         counts={302: 1})
bent('tables_lost_in_two_ways', [313], 'Table 1 fails its checksum, table 2 has no BAT.',
     lambda image: (table(1, field(spoiled=True))(image),
                    table(2, lambda one: one.entries.pop(0))(image)), reached=False)

close_to('tables_intact', [301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314,
                           315, 316], 'Two tables as they should be.', lambda image: None, EVERY)


@near(303, found=(309,))
def table_full():
    """2047 entries, the most there may be; all but two are optional and unknown."""
    image = sample(free_at=2500 * MIB)
    image.both_tables(lambda one: [more(n, (4 + n) * MIB)(one) for n in range(2045)])
    return image


@near(304, 306, 314)
def regions_touch():
    """Log, metadata and BAT end exactly where the next begins, of several MiB each."""
    return sample(log_length=2 * MIB, metadata_length=2 * MIB, bat_length=2 * MIB)


# ---- Regions that both tables name --------------------------------------------------------------

def unknown(flags, place='hole'):
    """An unknown region, with content."""
    def bend(image):
        at = image.hole if place == 'hole' else image.allocate(MIB)
        image.litter(at, MIB)
        image.both_tables(more('unknown', at, flags=flags))
    return bend


bent('region_unknown_required', [308], 'An unknown region that must be understood.', unknown(1),
     ('dynamic', 'fixed', 'child'))
bent('region_unknown', [309], 'An unknown region that may be ignored; its space is no leak.',
     unknown(0), EVERY)
bent('region_unknown_at_the_end', [309], 'At the end of the file: that is no trailing space.',
     unknown(0, 'end'))

bent('regions_not_required', [310], 'Both as QEMU writes them.',
     both(lambda one: (entry(0, flags=0)(one), entry(1, flags=0)(one))), EVERY)
bent('region_bat_not_required', [], 'The BAT only.', both(entry(0, flags=0)), counts={310: None})
bent('region_metadata_not_required', [], 'The metadata only.', both(entry(1, flags=0)),
     counts={310: None})
bent('region_table_reserved', [311], 'The reserved field of the header.',
     both(field(reserved=0xFFFFFFFF)), ('dynamic', 'child'))
bent('region_flags_reserved', [311], 'Bit 1 of the flags, beside Required.', both(entry(0,
                                                                                       flags=3)))
bent('region_flags_reserved_high', [311], 'Bit 31.', both(entry(1, flags=0x80000001)))

bent('tables_differ_in_offset', [312], 'Table 2 has the BAT at another place, where zeros are.',
     lambda image: entry(0, offset=image.hole)(image.tables[1]), EVERY)
bent('tables_differ_in_length', [312], 'Table 2 has a longer metadata region.',
     lambda image: entry(1, length=2 * MIB)(image.tables[1]), ('places',))


def one_more(number):
    """One of the tables has one more region."""
    return lambda image: more('unknown', image.hole)(image.tables[number - 1])


bent('tables_differ_in_count', [312], one_more.__doc__, one_more(2))
bent('tables_differ_in_count_of_table_1', [312, 309], 'Table 1, which counts, has one more.',
     one_more(1))

# ---- The log ------------------------------------------------------------------------------------

bent('region_on_log_metadata', [314], 'The log reaches into the metadata region.',
     lambda image: image.both(log_length=2 * MIB), ('dynamic', 'fixed'), reached=False)
bent('region_on_log_bat', [314], 'The log lies on the BAT region.',
     lambda image: image.both(log_offset=3 * MIB), reached=False)
# It is an unknown region, and that is a note.
bent('region_on_log_unknown', [314, 309], 'An unknown region on the log.',
     lambda image: image.both_tables(more('unknown', MIB)), reached=False)


# ---- The end of the file ------------------------------------------------------------------------

def at_the_end(which, length):
    """A sample whose file ends with a region of that length."""
    fields = {'metadata': {'metadata_at': 20 * MIB, 'metadata_length': length, 'bat_at': 2 * MIB},
              'bat': {'metadata_at': 2 * MIB, 'bat_at': 20 * MIB, 'bat_length': length}}
    return sample(free_at=3 * MIB, **fields[which])


def add_ends(which):
    """Registers what happens when the file is cut in its last region."""
    def build(length, size):
        def run():
            image = at_the_end(which, length)
            cut(image, size)
            return image
        return run
    add('region_cut_' + which, [315], 'The file ends behind the content, in the unused rest.',
        build(3 * MIB, 21 * MIB))
    # The size cannot be whole where the end is in the region's only MiB.
    add('region_cut_%s_unaligned' % which, [315, 102], 'Right behind the content.',
        build(MIB, 20 * MIB + 128 * KIB))
    add('region_lost_' + which, [316], 'The region begins where the file ends.',
        build(MIB, 20 * MIB), reached=False)
    add('region_whole_' + which, [], 'The region ends exactly where the file does.',
        build(2 * MIB, 22 * MIB), near=(315, 316, 104))


add_ends('metadata')
add_ends('bat')
for _which, _number in (('bat', 0), ('metadata', 1)):
    bent('region_lost_%s_far' % _which, [316], 'A region far past the end of the file.',
         both(entry(_number, offset=900 * MIB)), reached=False)


def big_bat(size, length=2 * MIB):
    """A disk whose BAT, at the end of the file, needs more than 1 MiB; the file ends there."""
    def build():
        image = sample(size=140000 * MIB, metadata_at=2 * MIB, bat_at=20 * MIB, free_at=3 * MIB,
                       bat_length=length)
        cut(image, size)
        return image
    return build


# Whether the size is told of too is open: there is no getting to the end.
@damage(316, may=(102,), reached=False)
def region_lost_metadata_items():
    """The metadata table is there, its items are not."""
    image = at_the_end('metadata', MIB)
    cut(image, 20 * MIB + 64 * KIB)
    return image


add('region_lost_bat_half', [316], 'The file ends in the midst of the BAT.', big_bat(21 * MIB),
    reached=False)
add('region_cut_bat_behind_entries', [315], 'The file ends in the MiB behind the last entry.',
    big_bat(22 * MIB, 3 * MIB))
add('region_whole_big_bat', [], 'All there.', big_bat(22 * MIB), near=(315, 316))


@damage(601, reached=False)
def region_bat_length_0():
    """A BAT region without any room."""
    image = sample()
    image.both_tables(entry(0, length=0))
    return image


@near(601)
def bat_room_exact():
    """131072 entries, for which 1 MiB is exactly enough; the last of them is a block."""
    image = sample(size=131041 * MIB, bat_length=MIB)
    assert image.bat_entries() == MIB // 8
    return image


@damage(601, reached=False)
def bat_room_one_short():
    """131073 entries."""
    image = sample(size=131042 * MIB, bat_length=2 * MIB, free_at=5 * MIB)
    image.both_tables(entry(0, length=MIB))
    assert image.bat_entries() == MIB // 8 + 1
    return image


def child_room(size):
    """A child with a BAT region of 1 MiB."""
    base = sample(name='base.vhdx', size=size)
    image = Image('child.vhdx', size=size, parent=base, bat_length=2 * MIB)
    image.kind, image.lost = 'child', []
    image.bat_length = MIB
    image.both_tables(entry(0, length=MIB))
    image.mark(1, 'child')
    return image


add('bat_room_child_exact', [], '31 chunks with their bitmap entries: 127007 entries fit.',
    lambda: child_room(31 * 4096 * MIB), near=(601,))
add('bat_room_child_short', [601], 'One block more: the BAT reaches to the entry of the 32nd '
    'bitmap, although its 131009 other entries would fit.',
    lambda: child_room(31 * 4096 * MIB + MIB), reached=False)
