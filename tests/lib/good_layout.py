# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Good images: headers, region tables, metadata and places that are unusual but right."""

import struct

import vhdxdisk as disk
from corpus import good
from vhdxdisk import IS_USER, IS_VIRTUAL_DISK, KIB, MIB
from vhdximage import Image, guid_for, pattern


def plain(**fields):
    """A dynamic disk with data in three blocks."""
    image = Image(**fields)
    for block in (0, 2, image.blocks - 1):
        image.mark(block, 'plain')
    return image


@good()
def plain_dynamic():
    """What all cases of this file and of the bad corpus are variations of."""
    return plain()


# ---- Headers ------------------------------------------------------------------------------------

@good()
def header_1_bad():
    """Header 1 fails its checksum: header 2 alone is enough."""
    image = plain()
    image.headers[0].spoiled = True
    return image


@good()
def header_2_bad():
    """Header 2, the newer one, fails its checksum: header 1 is current."""
    image = plain()
    image.headers[1].spoiled = True
    return image


@good()
def header_1_zero():
    """Header 1 was never written."""
    image = plain()
    image.render().zero(disk.HEADER_AT[0], 4096)
    return image


@good()
def header_2_zero():
    """Header 2 was never written."""
    image = plain()
    image.render().zero(disk.HEADER_AT[1], 4096)
    return image


@good()
def headers_identical():
    """Two identical headers with one sequence number, as Disk2vhd writes them."""
    image = plain()
    image.both(sequence=5)
    return image


@good()
def header_1_is_newer():
    """The header with the higher number is current; what the other one says of the log is void."""
    image = plain()
    image.headers[0].sequence = 9
    image.headers[1].log_guid = guid_for('old log')
    image.headers[1].log_offset = 77 * MIB
    return image


@good()
def header_2_is_newer():
    """The same the other way round, with numbers beyond 32 bits that a cut would turn round."""
    image = plain()
    image.headers[0].sequence = 0x1FFFFFFFF
    image.headers[0].log_guid = guid_for('old log')
    image.headers[1].sequence = 0x200000000
    return image


@good()
def header_sequence_at_its_end():
    """The largest sequence numbers there are: they cannot be raised any more, but read."""
    image = plain()
    image.headers[0].sequence = 0xFFFFFFFFFFFFFFFE
    image.headers[1].sequence = 0xFFFFFFFFFFFFFFFF
    return image


@good()
def headers_differ_in_data_write_guid():
    """QEMU leaves different DataWriteGuids in its headers: that of the current one counts."""
    image = plain(name='base.vhdx')
    image.headers[0].data_write = guid_for('stale')
    child = Image('child.vhdx', size=image.size, parent=image)
    child.put_sectors(MIB, pattern('child', 512))
    return child


@good()
def header_reserved_not_zero():
    """The reserved bytes of a header are to be ignored."""
    image = plain()
    image.both(reserved=b'\xff' * (4096 - 80))
    return image


@good()
def clean_log_of_unknown_version():
    """LogVersion only matters when there is something to replay."""
    image = plain()
    image.both(log_version=3)
    return image


@good()
def creator_empty():
    """The creator is optional."""
    image = plain()
    image.identifier.creator = ''
    return image


@good()
def creator_full():
    """A creator of 256 characters has no terminator."""
    image = plain()
    image.identifier.creator = '\u00e4' * 256
    return image


@good()
def creator_not_utf16():
    """The creator is for diagnosis only and may hold anything, such as lone surrogates."""
    image = plain()
    image.render().put(8, b'\x00\xd8\x41\x00\x00\xdc\x0a\x00\x1b\x00' + b'\xff' * 20)
    return image


# ---- Region table -------------------------------------------------------------------------------

@good()
def region_table_1_bad():
    """Region table 1 fails its checksum: the second copy is there for that."""
    image = plain()
    image.tables[0].spoiled = True
    image.tables[0].entries.clear()
    return image


@good()
def region_table_1_zero():
    """Region table 1 is all zeros."""
    image = plain()
    image.render().zero(disk.REGION_TABLE_AT[0], 65536)
    return image


@good()
def region_table_2_bad():
    """Region table 2 fails its checksum."""
    image = plain()
    image.tables[1].spoiled = True
    return image


@good()
def regions_not_required():
    """QEMU writes Required = 0 for the BAT and the metadata."""
    image = plain()
    image.both_tables(lambda table: [setattr(entry, 'flags', 0) for entry in table.entries])
    return image


@good()
def metadata_region_listed_first():
    """The entries of the region table have no order (Disk2vhd)."""
    image = plain()
    image.both_tables(lambda table: table.entries.reverse())
    return image


@good()
def region_table_reserved_not_zero():
    """The reserved field of the region table's header is to be ignored."""
    image = plain()
    image.both_tables(lambda table: setattr(table, 'reserved', 0xFFFFFFFF))
    return image


@good()
def optional_unknown_region():
    """An unknown region that is not required: leave it alone, and its space too."""
    image = plain()
    region = disk.Region(guid_for('unknown region'), image.allocate(MIB), MIB, flags=0)
    image.litter(region.offset, MIB)
    image.both_tables(lambda table: table.entries.insert(1, region))
    return image


@good()
def region_table_full():
    """2047 entries, the most there may be; all but two optional and unknown."""
    image = Image(size=3 * MIB, free_at=MIB * 2500)
    image.mark(1, 'many regions')
    extra = [disk.Region(guid_for('region', n), (4 + n) * MIB, MIB, flags=0) for n in range(2045)]
    image.both_tables(lambda table: table.entries.extend(extra))
    return image


# ---- Places -------------------------------------------------------------------------------------

@good()
def structures_in_odd_places():
    """Payload first, then metadata, then the log, then the BAT: there is no required order."""
    image = Image(metadata_at=20 * MIB, log_at=22 * MIB, log_length=3 * MIB, bat_at=30 * MIB,
                  free_at=MIB)
    for block in range(8):
        image.mark(block, 'odd places')
    return image


@good()
def regions_larger_than_needed():
    """Regions with room to spare."""
    return plain(metadata_length=5 * MIB, bat_length=7 * MIB, log_length=4 * MIB)


@good()
def metadata_at_the_end_of_the_file():
    """The file may end with a region, and a region's unused rest may be missing."""
    image = plain(metadata_at=40 * MIB, bat_at=2 * MIB, free_at=3 * MIB)
    image.file.size = 40 * MIB + 128 * KIB
    return image


# ---- Metadata -----------------------------------------------------------------------------------

@good()
def metadata_in_another_order():
    """The metadata table is unsorted."""
    image = plain()
    image.metadata.items.reverse()
    return image


@good()
def metadata_items_spread_out():
    """Items at unaligned offsets, with garbage between, the last one at the region's very end."""
    image = plain()
    image.litter(image.metadata_at + 64 * KIB, MIB - 64 * KIB)
    for number, item in enumerate(image.metadata.items):
        item.offset = 64 * KIB + 7777 * (5 - number) + 3
    image.metadata.items[2].offset = MIB - 16
    return image


@good()
def metadata_flags_of_early_windows():
    """Early Windows leaves out the Required flag of the physical sector size."""
    image = plain()
    image.metadata.item(disk.PHYSICAL_SECTOR_SIZE).flags = IS_VIRTUAL_DISK
    return image


@good()
def optional_unknown_metadata():
    """An unknown item that is not required is carried along."""
    image = plain()
    image.metadata.items.insert(2, disk.Item(guid_for('item'), b'?' * 100, IS_VIRTUAL_DISK))
    return image


@good()
def user_metadata():
    """User items, one of them of 1 MiB, the longest there may be."""
    image = plain(metadata_length=3 * MIB)
    for number, length in enumerate((1, 12345, MIB)):
        image.metadata.items.append(disk.Item(guid_for('user', number), b'u' * length, IS_USER))
    return image


@good()
def user_metadata_with_system_ids():
    """Only (id, IsUser) is unique: a user item with a system item's id is just a user item."""
    image = plain()
    for item in list(image.metadata.items):
        image.metadata.items.insert(0, disk.Item(item.guid, b'\xff' * len(item.data), IS_USER))
    return image


@good()
def user_metadata_1024_items():
    """1024 user items, the most there may be."""
    image = plain()
    for number in range(1024):
        image.metadata.items.append(disk.Item(guid_for('user', number), b'u', IS_USER))
    return image


@good()
def metadata_table_full():
    """2047 entries, the most there may be; the system items come last."""
    image = plain()
    extra = [disk.Item(guid_for('item', n), b'x', IS_VIRTUAL_DISK) for n in range(2042)]
    image.metadata.items[:0] = extra
    return image


@good()
def metadata_empty_item():
    """Length 0 with offset 0: present, but empty."""
    image = plain()
    image.metadata.items.append(disk.Item(guid_for('empty'), b'', IS_USER))
    return image


@good()
def physical_sector_size_4096():
    """512-byte logical on 4 KiB physical sectors, what Windows makes today."""
    return plain(physical=4096)


@good()
def physical_sector_size_512():
    """512 on 512."""
    return plain(physical=512)


@good()
def physical_sectors_smaller_than_logical():
    """4096 on 512 makes no sense, but breaks no rule."""
    return plain(sector=4096, physical=512)


@good()
def differencing_with_leave_blocks_allocated():
    """LeaveBlocksAllocated is ignored when HasParent is set."""
    base = plain(name='base.vhdx')
    child = Image('child.vhdx', size=base.size, parent=base)
    child.set_item(disk.FILE_PARAMETERS, struct.pack('<II', MIB, 3))
    child.put_sectors(MIB, pattern('child', 512))
    return child
