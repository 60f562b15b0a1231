# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Bad images that are crafted to cost time or memory, or to overflow arithmetic."""

import struct

import vhdxdisk as disk
from bad_structure import bad_plain, bad_tables
from bad_map import entry, raw
from bad_metadata import bad_child, extra_item
from corpus import bad, good
from crc32c import combine, crc32c
from good_layout import plain
from good_logs import LOG_GUID, SECTOR, dirty, log_bat, move_to_log
from vhdxdisk import FULL, IS_USER, MIB, TIB, Data, LogEntry
from vhdxdisk import Zero as ZeroDescriptor
from vhdximage import Image, LogRing, guid_for

ANY = 'CORRUPT|TRUNCATED|LIMIT'
TOP_MIB = (1 << 44) - 1  # the highest FileOffsetMB

# ---- Counts and lengths -------------------------------------------------------------------------


@bad_tables('CORRUPT', r'region table.*count')
def huge_region_count(table):
    """A count of 0xffffffff: 128 GiB of entries."""
    table.count = 0xFFFFFFFF


@bad_tables('CORRUPT', r'region table.*count')
def huge_region_count_that_overflows(table):
    """A count that, times 32, is 32 in 32 bits."""
    table.count = 0x08000001


@bad_tables(ANY, r'region table|bat')
def huge_region_offset(table):
    """The region ends at 2^64, which is 0 in 64 bits."""
    table.entries[0].offset = (1 << 64) - MIB


@bad_tables(ANY, r'region table|bat')
def huge_region_offset_that_overflows(table):
    """The region ends beyond 2^64."""
    table.entries[0].offset, table.entries[0].length = (1 << 64) - MIB, 3 * MIB


@bad_tables('CORRUPT', r'overlap|twice|unique|duplicate')
def huge_pile_of_regions(table):
    """2047 entries, all on one another: pairwise comparison is slow."""
    table.entries += [disk.Region(guid_for('pile', n), 100 * MIB, 100 * MIB, 0)
                      for n in range(2045)]


@bad_plain('CORRUPT', r'metadata.*count')
def huge_metadata_count(image):
    """A count of 65535: 2 MiB of entries in a table of 64 KiB."""
    image.metadata.count = 0xFFFF


@bad_plain('CORRUPT', r'metadata.*(offset|region)')
def huge_item_offset(image):
    """Offset and length overflow 32 bits."""
    image.metadata.place()
    extra_item(image, data=b'', offset=0xFFFFFFF0, length=32)


@bad_plain('CORRUPT', r'metadata.*length')
def huge_item_length(image):
    """An item of 4 GiB."""
    image.metadata.place()
    extra_item(image, data=b'', offset=70000, length=0xFFFFFFFF)


@bad_plain('CORRUPT', r'overlap')
def huge_pile_of_items(image):
    """1024 items of 1 MiB minus 64 KiB, all on one another."""
    for number in range(1024):
        item = extra_item(image, guid=guid_for('pile', number), offset=66000, length=900000)
        item.data, item.flags = b'', IS_USER


@bad_child('CORRUPT|LIMIT', r'parent_linkage|count|entr|key')
def huge_locator(child):
    """65535 different keys, none of them parent_linkage: pairwise comparison is slow."""
    start, units = 20 + 12 * 65535, 40000
    text = ''.join(chr(0x400 + n) for n in range(units + 1)).encode('utf-16-le')
    entries = [(start + 2 * n, start, 2, 2) for n in range(units)]
    entries += [(start + 2 * n, start, 4, 2) for n in range(65535 - units)]
    packed = b''.join(struct.pack('<IIHH', *one) for one in entries)
    child.set_item(disk.PARENT_LOCATOR,
                   disk.VHDX_LOCATOR + struct.pack('<HH', 0, 65535) + packed + text)
    assert start + len(text) <= MIB - 65536 - 512


# ---- BAT ----------------------------------------------------------------------------------------

for _name, _mib in (('top', TOP_MIB), ('top_bit', 1 << 43), ('end_of_64_bits', TOP_MIB - 1)):
    entry('huge_offset_' + _name, ANY, r'(bat entry|block) 4', 'A block near 2^44 MiB.',
          raw(4, disk.bat_entry(FULL, _mib)), block_size=2 * MIB, size=16 * MIB)


@bad('CORRUPT', r'BAT entry', stage='read')
def huge_pile_of_blocks():
    """A million blocks at one place: overlaps must be found at bounded cost."""
    image = Image(size=1 * TIB)
    at = image.allocate(MIB)
    value = struct.pack('<Q', disk.bat_entry(FULL, at // MIB))
    for index in range(0, 1 << 20, 512):
        image.file.put(image.bat_at + 8 * index, value * 512)
    return image


# ---- Log ----------------------------------------------------------------------------------------

@bad('LIMIT', r'log')
def huge_log_length():
    """A log of 4 GiB less 1 MiB in a sparse file, to be replayed."""
    image = Image()
    image.both(log_guid=LOG_GUID, log_offset=100 * MIB, log_length=0xFFF00000)
    image.file.size = 5000 * MIB
    return image


@bad('LIMIT', r'log')
def huge_log_length_just_over_1_gib():
    """A log of 1 GiB and 1 MiB."""
    image = Image()
    image.both(log_guid=LOG_GUID, log_offset=100 * MIB, log_length=1025 * MIB)
    image.file.size = 1200 * MIB
    return image


@bad(ANY, r'log')
def huge_log_offset():
    """The log ends at 2^64."""
    image = dirty()
    image.both(log_offset=(1 << 64) - MIB)
    return image


@bad('CORRUPT', r'log')
def huge_entry_length():
    """An entry of nearly 4 GiB in a log of 1 GiB, sparse."""
    image = dirty(log_at=100 * MIB, log_length=1024 * MIB, metadata_at=1 * MIB, bat_at=2 * MIB,
                  free_at=3 * MIB)
    log_bat(image, length=0xFFFFF000)
    return image


@bad('CORRUPT', r'log')
def huge_descriptor_count():
    """An entry with 0xffffffff descriptors."""
    image = dirty()
    log_bat(image, count=0xFFFFFFFF)
    return image


@bad('CORRUPT|LIMIT', r'log')
def huge_pile_of_entries():
    """8192 entries, one in each sector of the log, each of them claiming all of its rest, with
    right checksums: checking them one by one reads 128 GiB."""
    image = dirty(log_length=32 * MIB)
    file, sectors, rest = image.render(), 8192, 0
    for number in reversed(range(sectors)):
        position, length = number * SECTOR, (sectors - number) * SECTOR
        head = LogEntry(5, tail=position, guid=LOG_GUID, flushed=MIB, last=MIB, length=SECTOR,
                        count=126, checksum=0).pack()
        head = bytearray(head)
        head[8:12] = struct.pack('<I', length)
        value = combine(crc32c(head), rest, length - SECTOR)
        head[4:8] = struct.pack('<I', value)
        rest = combine(crc32c(head), rest, length - SECTOR)
        file.put(image.log_at + position, bytes(head))
    return image


@bad('CORRUPT', r'log')
def huge_run_without_tail():
    """16384 valid entries in a row whose Tail lies nowhere: starting again at each of them
    checks 134 million entries."""
    image = dirty(log_length=64 * MIB)
    ring = LogRing(image)
    for number in range(16383):
        ring.add(LogEntry(100 + number, tail=64 * MIB - SECTOR))
    return image


@bad(ANY, r'log|descriptor|file')
def huge_data_descriptor_offset():
    """A data descriptor for the last 4 KiB before 2^64."""
    image = dirty()
    page = move_to_log(image, image.bat_at)
    LogRing(image).add(LogEntry(5, [page, Data((1 << 64) - SECTOR, bytes(SECTOR))]))
    return image


@bad(ANY, r'log|descriptor|file')
def huge_zero_descriptor_over_everything():
    """Zeros from the region tables to the end of 64 bits: the log is in the way."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(192 * 1024, (1 << 64) - 192 * 1024 - SECTOR)]))
    return image


@bad(ANY, r'log|descriptor|file')
def huge_zero_descriptor_that_overflows():
    """Offset and length add up to 2^64 + 192 KiB."""
    image = dirty()
    LogRing(image).add(LogEntry(5, [ZeroDescriptor(1 << 63, (1 << 63) + 192 * 1024)]))
    return image


@bad(ANY, r'log|file')
def huge_last_file_offset():
    """The file is to be extended to nearly 2^64."""
    image = dirty()
    log_bat(image, last=(1 << 64) - MIB)
    return image


@bad('LIMIT', r'file.*(256 TiB|281474976710656|0x1000000000000|size|large|long)')
def huge_file():
    """A file larger than 256 TiB, where the host's file system has such files."""
    image = plain()
    image.render().size = 256 * TIB + MIB
    return image


# ---- Good ones, at bounded cost -----------------------------------------------------------------

@good()
def log_of_1_gib():
    """The longest log there may be, sparse, with one entry at its very end."""
    image = dirty(log_at=100 * MIB, log_length=1024 * MIB, metadata_at=1 * MIB, bat_at=2 * MIB,
                  free_at=3 * MIB)
    log_bat(image, at=1024 * MIB - SECTOR)
    return image


@good()
def log_of_1_gib_all_zeros():
    """The same with nothing in it."""
    image = Image(log_at=100 * MIB, log_length=1024 * MIB, metadata_at=1 * MIB, bat_at=2 * MIB,
                  free_at=3 * MIB)
    image.both(log_guid=LOG_GUID)
    return image


@good()
def log_full_of_zero_descriptors():
    """One entry with 130,000 zero descriptors that cannot be joined, over space
    that nothing uses."""
    image = dirty(log_length=4 * MIB)
    page = move_to_log(image, image.bat_at)
    free = image.render().size + 512 * MIB
    count = (1022 * SECTOR - 64) // 32
    zeros = [ZeroDescriptor(free + 2 * SECTOR * n, SECTOR) for n in range(count)]
    LogRing(image).add(LogEntry(5, zeros + [page]))
    return image


@good()
def log_of_1000_entries():
    """A long sequence, each entry with another BAT page content; the last one counts."""
    image = dirty(log_length=16 * MIB)
    page = move_to_log(image, image.bat_at)
    ring = LogRing(image, 9 * MIB)
    for number in range(999):
        ring.add(LogEntry(50 + number, [Data(image.bat_at, struct.pack('<Q', number).ljust(
            SECTOR, b'\0'))]))
    ring.add(LogEntry(1049, [page]))
    return image
