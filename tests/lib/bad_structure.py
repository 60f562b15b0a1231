# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Bad images: files that are none, the header section, the region tables."""

import os
import re
import stat
import struct

import vhdxdisk as disk
from corpus import bad
from good_layout import plain
from good_logs import dirty, log_bat
from vhdxdisk import KIB, MIB
from vhdximage import Image, guid_for


class RawFile:
    """A file with given content instead of an image."""

    def __init__(self, data):
        self.data = data

    def save(self, folder):
        """Writes the file."""
        path = os.path.join(folder, 'image.vhdx')
        with open(path, 'wb') as file:
            file.write(self.data)
        return path


class Place:
    """Something in the file system that is no regular file."""

    def __init__(self, make):
        self.make = make

    def save(self, folder):
        """Creates it and returns its path."""
        path = os.path.join(folder, 'image.vhdx')
        return self.make(path) or path


def bad_plain(codes, message, **fields):
    """Registers a function that bends the plain image."""
    def register(bend):
        def build():
            image = plain()
            bend(image)
            return image
        bad(codes, message, name=bend.__name__, doc=bend.__doc__, **fields)(build)
        return bend
    return register


def bad_dirty(codes, message, **fields):
    """Registers a function that bends an image with one good log entry."""
    def register(bend):
        def build():
            image = dirty()
            bend(image)
            log_bat(image)
            return image
        bad(codes, message, name=bend.__name__, doc=bend.__doc__, **fields)(build)
        return bend
    return register


def cut(image, size):
    """Cuts the finished file."""
    image.render().resize(size)
    return image


# ---- No VHDX file at all ------------------------------------------------------------------------

@bad('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def file_empty():
    """A file of 0 bytes."""
    return RawFile(b'')


@bad('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def file_of_7_bytes():
    """The signature without its last letter."""
    return RawFile(b'vhdxfil')


@bad('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def file_of_zeros():
    """Zeros, as long as an image."""
    return RawFile(bytes(4 * MIB))


@bad('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def file_is_vhd():
    """The older format, which begins with another signature."""
    return RawFile(b'conectix' + bytes(2 * MIB))


@bad('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def file_of_text():
    """Text with line breaks and escape characters, which must not reach the message."""
    return RawFile(b'\x1b[31m\r\n%s%n vhdxfile\n' * 100000)


@bad_plain('NOT_VHDX', r'identifier|signature|vhdxfile|not a vhdx')
def identifier_in_upper_case(image):
    """The signature is compared byte by byte."""
    image.identifier.signature = b'VHDXFILE'


@bad('SYSTEM', r'no such file')
def place_missing():
    """There is no such file."""
    return Place(lambda path: None)


@bad('INVALID', r'directory|regular|folder|kind|type')
def place_directory():
    """A directory."""
    return Place(os.mkdir)


@bad('INVALID', r'fifo|pipe|regular|kind|type')
def place_fifo():
    """A FIFO: opening it must not wait for a writer."""
    return Place(os.mkfifo)


@bad('INVALID', r'device|regular|kind|type')
def place_character_device():
    """A character device that never ends."""
    assert stat.S_ISCHR(os.stat('/dev/zero').st_mode)
    return Place(lambda path: '/dev/zero')


@bad('SYSTEM', r'no such file')
def place_dangling_link():
    """A symbolic link to nothing."""
    return Place(lambda path: os.symlink('nowhere', path))


@bad('SYSTEM', r'link|loop')
def place_link_to_itself():
    """A symbolic link to itself."""
    return Place(lambda path: os.symlink('image.vhdx', path))


# ---- Files that end too early -------------------------------------------------------------------

def ends(name, size, message, doc):
    """Registers the plain image cut to a size."""
    bad('TRUNCATED', message, name='ends_' + name, doc=doc)(lambda: cut(plain(), size))


SECTION = r'header|region table|identifier|truncated|ends|file size'
ends('after_the_signature', 8, SECTION, 'Nothing but the signature.')
ends('after_the_identifier', 64 * KIB, SECTION, 'The file identifier and no header.')
ends('in_header_1', 64 * KIB + 100, SECTION, 'Header 1 is cut.')
ends('before_header_2', 128 * KIB, SECTION, 'Header 1 is whole, header 2 is missing.')
ends('in_region_table_1', 200 * KIB, SECTION, 'Region table 1 is cut.')
ends('in_region_table_2', 300 * KIB, SECTION, 'Region table 1 is whole, table 2 is cut.')
ends('after_the_header_section', MIB, r'log|metadata|bat', 'The header section and nothing else.')
ends('in_the_metadata_table', 2 * MIB + 40, r'metadata', 'The metadata table is cut.')
ends('before_the_metadata_items', 2 * MIB + 64 * KIB, r'metadata', 'The items are missing.')
ends('in_a_metadata_item', 2 * MIB + 64 * KIB + 20, r'metadata', 'An item is cut.')
ends('before_the_bat', 3 * MIB, r'bat', 'The BAT region is missing.')
ends('in_the_bat', 3 * MIB + 24, r'bat', 'The BAT is cut before its last entry.')


@bad('TRUNCATED', r'log')
def ends_in_the_log():
    """There is a log to replay, but the file ends inside of it."""
    image = dirty(log_at=20 * MIB, metadata_at=2 * MIB)
    log_bat(image)
    return cut(image, 20 * MIB + 512 * KIB)


# ---- Headers ------------------------------------------------------------------------------------

@bad_plain('CHECKSUM', r'header.*checksum')
def headers_both_bad_checksum(image):
    """Both headers fail their checksum."""
    image.both(spoiled=True)


@bad_plain('CORRUPT', r'header.*signature')
def headers_both_bad_signature(image):
    """Neither header has its signature."""
    image.both(signature=b'daeh')


@bad_plain('CORRUPT', r'header')
def headers_both_zero(image):
    """Both headers are zeros."""
    for at in disk.HEADER_AT:
        image.render().zero(at, 4096)


@bad_plain('CORRUPT', r'header')
def headers_bad_in_different_ways(image):
    """Header 1 fails its checksum, header 2 has no signature."""
    image.headers[0].spoiled = True
    image.headers[1].signature = bytes(4)


@bad_plain('CHECKSUM', r'header.*checksum')
def headers_one_bit_flipped(image):
    """A single bit of the reserved bytes at the end of both headers: the checksum covers 4 KiB."""
    for at in disk.HEADER_AT:
        image.render().put(at + 4095, b'\x01')


@bad_plain('UNSUPPORTED', r'version.*2')
def header_version_2(image):
    """Version is 2 in both headers."""
    image.both(version=2)


@bad_plain('UNSUPPORTED', r'version.*0')
def header_version_0(image):
    """Version is 0 in both headers."""
    image.both(version=0)


@bad_dirty('UNSUPPORTED', r'log ?version.*1')
def header_log_version_1(image):
    """A log of an unknown version that would have to be replayed."""
    image.both(log_version=1)


@bad_plain('CORRUPT', r'header.*sequence')
def headers_equal_sequence_different_content(image):
    """Equal sequence numbers, but not the same header: none is current."""
    image.both(sequence=5)
    image.headers[1].file_write = guid_for('different')


@bad_plain('CORRUPT', r'log ?offset.*(0x101000|1052672)')
def header_log_offset_unaligned(image):
    """The log begins at no multiple of 1 MiB."""
    image.both(log_offset=MIB + 4096)


@bad_dirty('CORRUPT', r'log ?offset')
def header_log_offset_0(image):
    """The log lies in the header section."""
    image.both(log_offset=0)


@bad_plain('CORRUPT', r'log ?length.*(0x80000|524288)')
def header_log_length_unaligned(image):
    """The log is half a MiB long."""
    image.both(log_length=512 * KIB)


@bad('CORRUPT', r'log')
def header_log_length_0():
    """There is a LogGuid, but no log."""
    image = dirty()
    image.both(log_length=0)
    return image


@bad_plain('CORRUPT', r'(log|metadata).*overlap')
def log_overlaps_metadata_region(image):
    """The log reaches into the metadata region."""
    image.both(log_length=2 * MIB)


@bad_plain('CORRUPT', r'(log|bat).*overlap')
def log_overlaps_bat_region(image):
    """The log lies on the BAT region."""
    image.both(log_offset=3 * MIB)


@bad_dirty('TRUNCATED', r'log')
def log_past_the_end_of_the_file(image):
    """The log to be replayed lies past the end of the file."""
    image.both(log_offset=900 * MIB)


# ---- Region tables ------------------------------------------------------------------------------

@bad_plain('CHECKSUM', r'region table.*checksum')
def region_tables_both_bad_checksum(image):
    """Both region tables fail their checksum."""
    image.both_tables(lambda table: setattr(table, 'spoiled', True))


@bad_plain('CORRUPT', r'region table.*signature')
def region_tables_both_bad_signature(image):
    """Neither region table has its signature."""
    image.both_tables(lambda table: setattr(table, 'signature', b'iger'))


@bad_plain('CORRUPT', r'region table')
def region_tables_bad_in_different_ways(image):
    """Table 1 fails its checksum, table 2 has no signature."""
    image.tables[0].spoiled = True
    image.tables[1].signature = bytes(4)


@bad_plain('CHECKSUM', r'region table.*checksum')
def region_tables_one_bit_flipped(image):
    """A bit of the unused end of both tables: the checksum covers 64 KiB."""
    for at in disk.REGION_TABLE_AT:
        image.render().put(at + 65535, b'\x80')


def bad_tables(codes, message):
    """Registers a function that bends both region tables of the plain image alike."""
    at_table = 'TRUNCATED' not in codes and not re.search(r'overlap|bat\||metadata\|', message)
    place = (192 * KIB, 320 * KIB) if at_table else None

    def register(bend):
        def build():
            image = plain()
            image.both_tables(bend)
            return image
        bad(codes, message, name=bend.__name__, doc=bend.__doc__, place=place)(build)
        return bend
    return register


@bad_tables('CORRUPT', r'region table.*count.*(2048|0x800)')
def region_table_count_2048(table):
    """One entry more than there is room for."""
    table.count = 2048


@bad_tables('CORRUPT', r'region table.*entry.*offset.*(0x301000|3149824)')
def region_offset_unaligned(table):
    """The BAT region begins at no multiple of 1 MiB."""
    table.entries[0].offset += 4096


@bad_tables('CORRUPT', r'region table.*entry.*offset')
def region_offset_0(table):
    """The BAT region lies in the header section."""
    table.entries[0].offset = 0


@bad_tables('CORRUPT', r'region table.*entry.*length')
def region_length_unaligned(table):
    """The BAT region's length is no multiple of 1 MiB."""
    table.entries[0].length = MIB + 4096


@bad_tables('CORRUPT', r'region table.*(guid|twice|unique|duplicate)')
def region_guid_twice(table):
    """Two BAT regions."""
    table.entries.append(disk.Region(disk.BAT_REGION, 40 * MIB, MIB))


@bad_tables('CORRUPT', r'region.*(guid|twice|unique|duplicate)')
def region_unknown_guid_twice(table):
    """Two unknown regions with one GUID."""
    for offset in (40 * MIB, 41 * MIB):
        table.entries.append(disk.Region(guid_for('unknown'), offset, MIB, 0))


@bad_tables('UNSUPPORTED', r'region table.*entry.*(guid|unknown|required)')
def region_unknown_required(table):
    """An unknown region that must be understood."""
    table.entries.append(disk.Region(guid_for('unknown'), 40 * MIB, MIB, 1))


@bad_tables('CORRUPT', r'region.*overlap')
def regions_overlap(table):
    """The BAT region lies on the metadata region."""
    table.entries[0].offset = table.entries[1].offset


@bad_tables('CORRUPT', r'region.*overlap')
def unknown_region_overlaps(table):
    """An unknown optional region lies across the BAT's."""
    table.entries.append(disk.Region(guid_for('unknown'), 2 * MIB, 2 * MIB, 0))


@bad_tables('CORRUPT', r'(region|bat).*overlap')
def region_overlaps_log(table):
    """The BAT region lies on the log."""
    table.entries[0].offset = MIB


@bad_tables('CORRUPT', r'bat|region table')
def region_table_without_bat(table):
    """There is no BAT region."""
    del table.entries[0]


@bad_tables('CORRUPT', r'metadata|region table')
def region_table_without_metadata(table):
    """There is no metadata region."""
    del table.entries[1]


@bad_tables('CORRUPT', r'region table|bat|metadata')
def region_table_empty(table):
    """There is no region at all."""
    table.entries.clear()


@bad_tables('TRUNCATED', r'bat')
def bat_region_past_the_end(table):
    """The BAT region lies past the end of the file."""
    table.entries[0].offset = 900 * MIB


@bad_tables('TRUNCATED', r'metadata')
def metadata_region_past_the_end(table):
    """The metadata region lies past the end of the file."""
    table.entries[1].offset = 900 * MIB


@bad_tables('CORRUPT', r'bat|region table')
def bat_region_of_length_0(table):
    """A BAT region without any room."""
    table.entries[0].length = 0


@bad_tables('CORRUPT', r'metadata|region table')
def metadata_region_of_length_0(table):
    """A metadata region without any room."""
    table.entries[1].length = 0


@bad('CORRUPT', r'bat.*(length|size|short|small)|region table.*length')
def bat_region_too_short():
    """The BAT region has room for 131072 entries, the disk needs more."""
    image = plain(size=140000 * MIB, bat_length=3 * MIB)
    image.both_tables(lambda table: setattr(table.entries[0], 'length', MIB))
    return image


@bad('CORRUPT', r'bat.*(length|size|short|small)|region table.*length')
def bat_region_too_short_for_a_child():
    """The room would do for a dynamic disk, but a child's BAT reaches to its bitmap entry."""
    base = plain(name='base.vhdx', size=131000 * MIB)
    image = Image('child.vhdx', size=base.size, parent=base, bat_length=2 * MIB)
    assert 131000 + 31 < MIB // 8 < image.bat_entries()
    image.both_tables(lambda table: setattr(table.entries[0], 'length', MIB))
    return image


def u32(*values):
    """Packed 32-bit integers."""
    return struct.pack('<%dI' % len(values), *values)
