# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Good images whose log must be replayed (or must not be). On disk, before replay, they are wrong
in a way that shows: blocks that are missing, or that point at garbage."""

import struct

import vhdxdisk as disk
from corpus import good
from vhdxdisk import FULL, MIB, UNMAPPED, ZERO, Data, LogEntry
from vhdxdisk import Zero as ZeroDescriptor
from vhdximage import Image, LogRing, guid_for, pattern

SECTOR = 4096
LOG_GUID = guid_for('log')


def dirty(**fields):
    """An image with data in four blocks and a LogGuid; its log is still to be written."""
    image = Image(**fields)
    image.both(log_guid=LOG_GUID)
    for block in (0, 1, 3, image.blocks - 1):
        image.mark(block, 'dirty')
    return image


def move_to_log(image, offset, stale=b''):
    """A descriptor with the 4 KiB that stand at a file offset; stale content takes their place."""
    file = image.render()
    content = file.get(offset, SECTOR)
    size = file.size
    file.put(offset, stale.ljust(SECTOR, b'\0'))
    file.size = size
    return Data(offset, content)


def wrong_bat(image):
    """A BAT page whose replay would corrupt the image: every block is garbage, not shared."""
    count, step = min(image.blocks, 512), image.block_size // MIB
    at = image.allocate(image.block_size * count)
    entries = [disk.bat_entry(FULL, at // MIB + n * step) for n in range(count)]
    for number in range(min(count, 8)):
        image.litter(at + number * image.block_size, image.block_size)
    return struct.pack('<%dQ' % len(entries), *entries).ljust(SECTOR, b'\0')


def log_bat(image, at=0, sequence=10, **entry):
    """The usual dirty log: one entry with the BAT page, which is all zeros on disk."""
    ring = LogRing(image, at)
    ring.add(LogEntry(sequence, [move_to_log(image, image.bat_at)], **entry))
    return ring


# ---- Sequences ----------------------------------------------------------------------------------

@good()
def log_one_entry():
    """One entry with a BAT page."""
    image = dirty()
    log_bat(image)
    return image


@good()
def log_in_the_middle():
    """An entry somewhere in the log; what lies before it is zeros."""
    image = dirty()
    log_bat(image, at=77 * SECTOR)
    return image


@good()
def log_sequence_number_beyond_32_bits():
    """The sequence number of a data sector is split: high part first, low part last."""
    image = dirty()
    log_bat(image, sequence=0x123456789ABCDEF0)
    return image


@good()
def log_sequence_number_1():
    """The lowest number there is."""
    image = dirty()
    log_bat(image, sequence=1)
    return image


@good()
def log_empty_entry():
    """A sequence of one entry without descriptors, as stands in a log just opened: no change."""
    image = dirty()
    LogRing(image, 5 * SECTOR).add(LogEntry(3))
    return image


@good()
def log_wrapped_entry():
    """The entry begins in the last sector of the log and goes on in the first."""
    image = dirty()
    log_bat(image, at=image.log_length - SECTOR)
    return image


@good()
def log_wrapped_sequence():
    """A sequence of five entries round the end of the log."""
    image = dirty()
    ring = LogRing(image, image.log_length - 5 * SECTOR)
    for number in range(4):
        ring.add(LogEntry(20 + number, [Data(image.bat_at, wrong_page(number))]))
    ring.add(LogEntry(24, [move_to_log(image, image.bat_at)]))
    return image


def wrong_page(number):
    """A BAT page that a later entry must overwrite: the first block ZERO, others missing."""
    return struct.pack('<QQ', disk.bat_entry(ZERO), number & 1).ljust(SECTOR, b'\0')


@good()
def log_replays_in_order():
    """Three entries for one page, and three descriptors in the last: the last of all counts."""
    image = dirty()
    final = move_to_log(image, image.bat_at)
    ring = LogRing(image)
    ring.add(LogEntry(10, [Data(image.bat_at, wrong_page(1))]))
    ring.add(LogEntry(11, [ZeroDescriptor(image.bat_at, SECTOR)]))
    ring.add(LogEntry(12, [Data(image.bat_at, wrong_page(2)),
                           ZeroDescriptor(image.bat_at, SECTOR), final]))
    return image


@good()
def log_needs_every_entry():
    """Each entry of the sequence brings another page: all are replayed, not only the head."""
    image = dirty(size=2000 * MIB)
    for block in (600, 1100, 1700):
        image.mark(block, 'more')
    ring = LogRing(image, image.log_length - 3 * SECTOR)
    for number in range(4):
        ring.add(LogEntry(7 + number, [move_to_log(image, image.bat_at + number * SECTOR)]))
    return image


@good()
def log_tail_in_the_middle():
    """Entries before Tail are valid and numbered in a row, but no longer active: the BAT has
    changed since, outside of the log's knowledge, and replaying them would corrupt it."""
    image = dirty(size=2000 * MIB)
    image.mark(700, 'second page')
    bad_page = wrong_bat(image)
    ring = LogRing(image)
    ring.add(LogEntry(10, [Data(image.bat_at, bad_page)]))
    ring.add(LogEntry(11, [Data(image.bat_at, bad_page)]))
    ring.begin(ring.next)
    ring.add(LogEntry(12, [move_to_log(image, image.bat_at + SECTOR)]))
    ring.add(LogEntry(13))
    return image


@good()
def log_tail_of_the_head_counts():
    """Only the head's Tail counts: here it excludes entries that older Tails include."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = LogRing(image, 50 * SECTOR)
    ring.add(LogEntry(10, [Data(image.bat_at, bad_page)]))
    ring.add(LogEntry(11, [Data(image.bat_at, bad_page)]))
    ring.begin(ring.next)
    ring.add(LogEntry(12))
    return image


@good()
def log_highest_sequence_wins():
    """Three complete sequences: the one with the highest head is active, wherever it lies."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image, at=100 * SECTOR, sequence=900)
    for start, first in ((0, 100), (200, 500)):
        ring.begin(start * SECTOR)
        for number in range(3):
            ring.add(LogEntry(first + number, [Data(image.bat_at, bad_page)]))
    return image


@good()
def log_longest_sequence_does_not_win():
    """A long old sequence and a short new one."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = LogRing(image)
    for number in range(40):
        ring.add(LogEntry(100 + number, [Data(image.bat_at, bad_page)]))
    ring.begin(150 * SECTOR)
    ring.add(LogEntry(141, [move_to_log(image, image.bat_at)]))
    return image


@good()
def log_newer_sequence_incomplete():
    """The newest run's Tail lies outside of it, for its older entries were overwritten: not
    complete, so the older complete sequence is active."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image, at=10 * SECTOR, sequence=10)
    ring.begin(60 * SECTOR)
    ring.add(LogEntry(50, [Data(image.bat_at, bad_page)], tail=30 * SECTOR))
    return image


@good()
def log_head_torn():
    """The newest entry was not written to its end: it is void, the sequence ends before it."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image)
    at = ring.add(LogEntry(11, [Data(image.bat_at, bad_page)]))
    image.render().zero(image.log_at + at + SECTOR, SECTOR)
    return image


def stale_of_another_guid(kind):
    """Entries of another LogGuid are void, even with higher numbers and right behind ours."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image)
    if kind == 'elsewhere':
        ring.begin(90 * SECTOR)
    ring.add(LogEntry(11, [Data(image.bat_at, bad_page)], guid=guid_for('older log')))
    return image


for _kind in ('adjacent', 'elsewhere'):
    good('log_stale_guid_' + _kind, stale_of_another_guid.__doc__)(
        lambda k=_kind: stale_of_another_guid(k))


@good()
def log_stale_behind_the_head():
    """Older entries of the same log behind the head: their numbers do not continue ours."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = LogRing(image)
    ring.add(LogEntry(40, [move_to_log(image, image.bat_at)]))
    ring.begin(ring.next)
    ring.add(LogEntry(22, [Data(image.bat_at, bad_page)]))
    ring.add(LogEntry(23, [Data(image.bat_at, bad_page)]))
    return image


def broken_second(**fields):
    """A complete older sequence, and behind it a newer entry that is bad in one way."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image)
    entry = LogEntry(11, [Data(image.bat_at, bad_page)])
    for name, value in fields.items():
        setattr(entry.descriptors[0] if name.startswith('sector_') else entry, name, value)
    ring.add(entry)
    return image


BROKEN = {
    'signature': {'signature': b'logf'}, 'checksum': {'spoiled': True},
    'length_zero': {'length': 0}, 'length_odd': {'length': 8193}, 'length_short': {'length': 4096},
    'length_huge': {'length': 0xFFFFF000}, 'tail_odd': {'tail': 1},
    'tail_past_the_log': {'tail': MIB}, 'sequence_gap': {'sequence': 13},
    'sequence_zero': {'sequence': 0}, 'count_high': {'count': 2}, 'count_huge': {'count': 1 << 31},
    'sector_signature': {'sector_signature': b'dato'}, 'sector_high': {'sector_high': 1},
    'sector_low': {'sector_low': 10},
}
for _name, _fields in BROKEN.items():
    good('log_second_entry_bad_' + _name, broken_second.__doc__)(
        lambda f=_fields: broken_second(**f))


def broken_descriptor(**fields):
    """The same for the descriptor of the newer entry."""
    image = dirty()
    bad_page = wrong_bat(image)
    ring = log_bat(image)
    ring.add(LogEntry(11, [Data(image.bat_at, bad_page, **fields)]))
    return image


good('log_second_entry_bad_descriptor_signature', broken_descriptor.__doc__)(
    lambda: broken_descriptor(signature=b'dezc'))
good('log_second_entry_bad_descriptor_sequence', broken_descriptor.__doc__)(
    lambda: broken_descriptor(sequence=10))


# ---- Descriptors --------------------------------------------------------------------------------

def fill_descriptors(count):
    """The first sector of an entry takes 126 descriptors, each further one 128: at these counts
    the data sectors begin one sector later or not."""
    image = dirty()
    page = move_to_log(image, image.bat_at)
    spare = image.bat_at + MIB - SECTOR
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(spare, SECTOR)] * (count - 1) + [page]))
    return image


for _count in (126, 127, 254, 255):
    good('log_entry_of_%d_descriptors' % _count, fill_descriptors.__doc__)(
        lambda c=_count: fill_descriptors(c))


@good()
def log_entry_of_127_data_descriptors():
    """Many data sectors: each belongs to the descriptor of its place among data descriptors."""
    image = dirty()
    page = move_to_log(image, image.bat_at)
    spare = image.bat_at + MIB - SECTOR
    others = [Data(spare, pattern(n, SECTOR)) for n in range(60)]
    zeros = [ZeroDescriptor(spare, SECTOR)] * 6
    LogRing(image, image.log_length - 40 * SECTOR).add(
        LogEntry(5, others + zeros + [page] + others + zeros))
    return image


@good()
def log_fills_the_ring():
    """An entry as long as the log itself, wrapped."""
    image = dirty()
    page = move_to_log(image, image.bat_at)
    spare = image.bat_at + MIB - SECTOR
    entry = LogEntry(5, [Data(spare, bytes(SECTOR))] * 252 + [page])
    assert entry.size() == image.log_length - SECTOR
    entry.descriptors.insert(0, Data(spare, bytes(SECTOR)))
    assert entry.size() == image.log_length
    LogRing(image, 13 * SECTOR).add(entry)
    return image


@good()
def log_leading_and_trailing_bytes():
    """The first 8 and the last 4 bytes of a page live in the descriptor: here they are BAT entries
    at both ends of a page."""
    image = dirty(size=2000 * MIB)
    for block in (511, 512, 1023):
        image.mark(block, 'page edges')
    ring = LogRing(image)
    ring.add(LogEntry(5, [move_to_log(image, image.bat_at + n * SECTOR, b'\xff' * SECTOR)
                          for n in range(4)]))
    return image


@good()
def log_zero_descriptor():
    """A zero descriptor takes out BAT entries that on disk point at garbage."""
    image = dirty(size=1100 * MIB)
    for block in range(512, 520):
        image.anchored(block, FULL)
        image.data.remove(block * MIB, (block + 1) * MIB)
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(image.bat_at + SECTOR, SECTOR)]))
    return image


@good()
def log_huge_zero_descriptor():
    """ZeroLength may be gigabytes: here 20 GiB, of which the file has but the beginning. It clears
    the payload of a block that was there before."""
    image = dirty()
    at = image.make_full(5)
    image.litter(at, MIB)
    image.unsure.add(0, 1 << 60)
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(at, 20 << 30)]))
    return image


@good()
def log_zero_descriptor_of_length_0():
    """A zero descriptor without length changes nothing."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(image.bat_at, 0)]))
    return image


# ---- File size ----------------------------------------------------------------------------------

@good()
def log_last_file_offset_grows_the_file():
    """The file was to grow before the crash, but did not: a new block lies past its end. After
    replay the file is as long as LastFileOffset, and the block is zeros."""
    image = dirty()
    image.make_full(5)
    grown = image.file.size
    image.unsure.add(5 * MIB, 6 * MIB)
    image.file.size = image.place_of(5)
    log_bat(image, last=grown)
    return image


@good()
def log_last_file_offset_smaller_than_the_file():
    """LastFileOffset never cuts the file."""
    image = dirty()
    log_bat(image, last=4 * MIB)
    return image


@good()
def log_descriptor_past_the_end():
    """A descriptor may lie past the end of the file, which grows: a child's new sector bitmap."""
    base = Image('base.vhdx', size=4 * MIB)
    base.fill('base')
    child = Image('child.vhdx', size=base.size, parent=base)
    child.both(log_guid=LOG_GUID)
    child.make_full(0)
    child.mark(0, 'child')
    child.allocate(0)
    payload_end = child.file.size
    child.put_sectors(MIB + 512, pattern('child', 1024))
    file = child.render()
    # Payload to where the bitmap is not in the way; then the bitmap itself moves to the log.
    bitmap = child.bat[child.bitmap_index(0)] >> 20 << 20
    page = file.get(bitmap, SECTOR)
    moved = file.size
    file.zero(bitmap, MIB)
    assert bitmap == payload_end and moved > bitmap
    bat_page = bytearray(file.get(child.bat_at + 4096 * 8, SECTOR))
    bat_page[:8] = struct.pack('<Q', disk.bat_entry(disk.BITMAP_PRESENT, moved // MIB))
    LogRing(child).add(LogEntry(5, [Data(child.bat_at + 4096 * 8, bytes(bat_page)),
                                    Data(moved, page)], last=moved + MIB))
    return child


@good()
def log_flushed_file_offset_is_the_file_size():
    """FlushedFileOffset equal to the size of the file is right."""
    image = dirty()
    log_bat(image, flushed=image.render().size)
    return image


@good()
def log_flushed_file_offset_of_an_older_entry():
    """Only the head's FlushedFileOffset counts: the file has been cut since the older entry."""
    image = dirty()
    ring = LogRing(image)
    ring.add(LogEntry(5, flushed=900 * MIB, last=900 * MIB))
    ring.add(LogEntry(6, [move_to_log(image, image.bat_at)]))
    return image


# ---- What the log can change --------------------------------------------------------------------

@good()
def log_changes_region_tables():
    """On disk both region tables are torn; the log has them whole."""
    image = dirty()
    pages = [move_to_log(image, at, b'torn') for at in disk.REGION_TABLE_AT]
    LogRing(image).add(LogEntry(5, pages))
    return image


@good()
def log_moves_the_bat():
    """The log moves the BAT region: on disk the region tables still name the old place."""
    image = dirty(bat_at=9 * MIB)
    old = image.allocate(MIB)
    image.render()
    pages = [move_to_log(image, at) for at in disk.REGION_TABLE_AT]
    for table in image.tables:
        table.entries[0].offset = old
    for at, table in zip(disk.REGION_TABLE_AT, image.tables):
        image.render().put(at, table.pack())
    LogRing(image).add(LogEntry(5, pages))
    return image


@good()
def log_changes_metadata():
    """The log resizes the disk: on disk the metadata still gives the old size."""
    image = dirty(size=12 * MIB)
    at = image.metadata_at + 64 * 1024
    image.render()
    page = move_to_log(image, at)
    stale = bytearray(page.content)
    stale[8:16] = struct.pack('<Q', 3 * MIB)
    image.render().put(at, bytes(stale))
    LogRing(image).add(LogEntry(5, [page]))
    return image


@good()
def log_changes_the_metadata_table():
    """On disk the metadata table is zeros."""
    image = dirty()
    image.render()
    LogRing(image).add(LogEntry(5, [move_to_log(image, image.metadata_at)]))
    return image


@good()
def log_changes_a_sector_bitmap():
    """The bits of a child's new sectors are in the log only."""
    base = Image('base.vhdx', size=4 * MIB)
    base.fill('base')
    child = Image('child.vhdx', size=base.size, parent=base)
    child.both(log_guid=LOG_GUID)
    child.put_sectors(2 * MIB, pattern('child', 5 * 512))
    bitmap = child.bat[child.bitmap_index(0)] >> 20 << 20
    LogRing(child).add(LogEntry(5, [move_to_log(child, bitmap)]))
    return child


@good()
def log_turns_a_block_into_unmapped():
    """The log takes a block away that on disk is still FULLY_PRESENT."""
    image = dirty()
    image.anchored(5, UNMAPPED)
    image.render()
    page = move_to_log(image, image.bat_at)
    stale = bytearray(page.content)
    stale[40] = stale[40] & 0xF8 | FULL
    image.render().put(image.bat_at, bytes(stale))
    LogRing(image).add(LogEntry(5, [page]))
    return image


@good()
def log_at_192_kib():
    """192 KiB is the lowest offset a descriptor may have: region table 1."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [move_to_log(image, 192 * 1024)]))
    return image


# ---- Nothing to replay --------------------------------------------------------------------------

@good()
def log_stale_with_clean_guid():
    """LogGuid is zero: whatever stands in the log, also with a zero GUID, means nothing."""
    image = dirty()
    bad_page = wrong_bat(image)
    for guid, at in ((LOG_GUID, 0), (disk.ZERO_GUID, 50 * SECTOR)):
        image.both(log_guid=disk.ZERO_GUID)
        ring = LogRing(image, at)
        ring.add(LogEntry(10, [Data(image.bat_at, bad_page)], guid=guid))
    return image


@good()
def log_guid_set_but_log_all_zeros():
    """Corrupt by the letter, but met in practice: a log of zeros is an empty log."""
    return dirty()


@good()
def log_of_several_mib():
    """A log of 4 MiB with a sequence across its MiB boundaries."""
    image = dirty(log_length=4 * MIB)
    ring = LogRing(image, 2 * MIB - 3 * SECTOR)
    for number in range(5):
        ring.add(LogEntry(20 + number, [Data(image.bat_at, wrong_page(number))]))
    ring.add(LogEntry(25, [move_to_log(image, image.bat_at)]))
    return image
