# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""The structures of a VHDX file as objects that pack into bytes.

Every field can be set to anything. Fields that follow from others (checksums, counts, lengths) are
None until a test case wants them wrong. Sections of [MS-VHDX] are named at each class.
"""

import struct
import uuid
from dataclasses import dataclass, field

from crc32c import crc32c

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SECTOR = 4 * KIB  # of the log and of the headers

IDENTIFIER_AT = 0
HEADER_AT = (64 * KIB, 128 * KIB)
REGION_TABLE_AT = (192 * KIB, 256 * KIB)
REGION_TABLE_SIZE = 64 * KIB
CHUNK_SECTORS = 1 << 23
METADATA_TABLE_SIZE = 64 * KIB

NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, RESERVED_4, UNMAPPED_OLD, FULL, PARTIAL = range(8)
BITMAP_PRESENT = 6


def guid(text):
    """A GUID in its form on disk."""
    return uuid.UUID(text).bytes_le


def guid_of(number):
    """A fixed GUID for a small number: the same in every run."""
    return uuid.UUID(int=(0x5EED << 112) | (0x4 << 76) | (0x8 << 60) | number).bytes_le


def braced(guid_bytes):
    """The text form of the parent locator: lower case, in braces."""
    return '{%s}' % uuid.UUID(bytes_le=guid_bytes)


ZERO_GUID = bytes(16)
BAT_REGION = guid('2DC27766-F623-4200-9D64-115E9BFD4A08')
METADATA_REGION = guid('8B7CA206-4790-4B9A-B8FE-575F050F886E')
FILE_PARAMETERS = guid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B')
VIRTUAL_DISK_SIZE = guid('2FA54224-CD1B-4876-B211-5DBED83BF4B8')
VIRTUAL_DISK_ID = guid('BECA12AB-B2E6-4523-93EF-C309E000C746')
LOGICAL_SECTOR_SIZE = guid('8141BF1D-A96F-4709-BA47-F233A8FAAB5F')
PHYSICAL_SECTOR_SIZE = guid('CDA348C7-445D-4471-9CC9-E9885251C556')
PARENT_LOCATOR = guid('A8D35F2D-B30B-454D-ABF7-D3D84834AB0C')
INCOMPLETE_FILE = guid('71CC85F0-1B69-4E28-9558-C3BF83AE75D3')
VHDX_LOCATOR = guid('B04AEFB7-D19E-4A81-B789-25B8E9445913')

IS_USER, IS_VIRTUAL_DISK, IS_REQUIRED = 1, 2, 4


def seal(data, checksum=None):
    """Fills in the checksum that every checked structure has at byte 4."""
    blank = data[:4] + bytes(4) + data[8:]
    value = crc32c(blank) if checksum is None else checksum
    return data[:4] + struct.pack('<I', value & 0xFFFFFFFF) + data[8:]


def spoil(data):
    """The same structure with a wrong checksum."""
    value = struct.unpack_from('<I', data, 4)[0]
    return data[:4] + struct.pack('<I', value ^ 0x00C0FFEE) + data[8:]


def bat_entry(state, offset_mib=0, reserved=0):
    """A BAT entry (2.5.1)."""
    return state | reserved << 3 | offset_mib << 20


@dataclass
class Identifier:
    """File type identifier (2.2.1)."""
    signature: bytes = b'vhdxfile'
    creator: str = 'the vhdx authors: test corpus'

    def pack(self):
        return self.signature + self.creator.encode('utf-16-le').ljust(512, b'\0')


@dataclass
class Header:
    """One of the two headers (2.2.2)."""
    sequence: int = 1
    file_write: bytes = guid_of(0xF11E)
    data_write: bytes = guid_of(0xDA7A)
    log_guid: bytes = ZERO_GUID
    log_version: int = 0
    version: int = 1
    log_length: int = MIB
    log_offset: int = MIB
    reserved: bytes = b''
    signature: bytes = b'head'
    checksum: int = None
    spoiled: bool = False

    def pack(self):
        data = struct.pack('<4sIQ16s16s16sHHIQ', self.signature, 0, self.sequence,
                           self.file_write, self.data_write, self.log_guid, self.log_version,
                           self.version, self.log_length, self.log_offset)
        data = seal((data + self.reserved).ljust(SECTOR, b'\0'), self.checksum)
        return spoil(data) if self.spoiled else data


@dataclass
class Region:
    """Region table entry (2.2.3.2)."""
    guid: bytes
    offset: int
    length: int
    flags: int = 1

    def pack(self):
        return struct.pack('<16sQII', self.guid, self.offset, self.length, self.flags)


@dataclass
class RegionTable:
    """Region table (2.2.3)."""
    entries: list = field(default_factory=list)
    count: int = None
    reserved: int = 0
    signature: bytes = b'regi'
    checksum: int = None
    spoiled: bool = False

    def pack(self):
        count = len(self.entries) if self.count is None else self.count
        data = struct.pack('<4sIII', self.signature, 0, count, self.reserved)
        data += b''.join(entry.pack() for entry in self.entries)
        data = seal(data.ljust(REGION_TABLE_SIZE, b'\0'), self.checksum)
        return spoil(data) if self.spoiled else data


@dataclass
class Item:
    """Metadata table entry and its item (2.6.1.2). offset and length None: placed automatically."""
    guid: bytes
    data: bytes
    flags: int
    offset: int = None
    length: int = None
    reserved: int = 0

    def pack(self):
        return struct.pack('<16sIIII', self.guid, self.offset, self.length, self.flags,
                           self.reserved)


@dataclass
class Metadata:
    """Metadata region: table and items (2.6.1)."""
    items: list = field(default_factory=list)
    count: int = None
    reserved: int = 0
    reserved2: bytes = bytes(20)
    signature: bytes = b'metadata'

    def item(self, guid_bytes):
        """The item of that id."""
        return next(item for item in self.items if item.guid == guid_bytes)

    def drop(self, guid_bytes):
        """Removes the item of that id."""
        self.items.remove(self.item(guid_bytes))

    def place(self):
        """Gives each item that has none an offset, behind one another from 64 KiB."""
        free = METADATA_TABLE_SIZE
        for item in self.items:
            if item.length is None:
                item.length = len(item.data)
            if item.offset is None:
                item.offset = free if item.length else 0
                free += len(item.data)

    def pieces(self):
        """(offset in the region, bytes) of the table and of every item."""
        self.place()
        count = len(self.items) if self.count is None else self.count
        table = struct.pack('<8sHH', self.signature, self.reserved, count) + self.reserved2
        yield 0, table + b''.join(item.pack() for item in self.items)
        for item in self.items:
            if item.data:
                yield item.offset, item.data


@dataclass
class Locator:
    """Parent locator (2.6.2.6). pairs are (key, value), text or bytes."""
    pairs: list = field(default_factory=list)
    kind: bytes = VHDX_LOCATOR
    reserved: int = 0
    count: int = None
    entries: list = None  # overrides (key offset, value offset, key length, value length)

    def pack(self):
        """Header, entries, then the strings of each pair in turn."""
        count = len(self.pairs) if self.count is None else self.count
        entries, strings = [], b''
        start = 20 + 12 * len(self.pairs)
        for key, value in self.pairs:
            key, value = _utf16(key), _utf16(value)
            at = start + len(strings)
            entries.append((at, at + len(key), len(key), len(value)))
            strings += key + value
        entries = entries if self.entries is None else self.entries
        packed = b''.join(struct.pack('<IIHH', *entry) for entry in entries)
        return struct.pack('<16sHH', self.kind, self.reserved, count) + packed + strings

    def set(self, key, value):
        """Changes or adds a pair."""
        self.pairs = [pair for pair in self.pairs if pair[0] != key] + [(key, value)]

    def drop(self, key):
        """Removes a pair."""
        self.pairs = [pair for pair in self.pairs if pair[0] != key]


def _utf16(text):
    return text if isinstance(text, bytes) else text.encode('utf-16-le')


@dataclass
class Data:
    """Data descriptor with its sector (2.3.1.3, 2.3.1.4): 4 KiB to write at file_offset."""
    file_offset: int
    content: bytes
    sequence: int = None         # of the descriptor
    sector_high: int = None      # of the data sector
    sector_low: int = None
    signature: bytes = b'desc'
    sector_signature: bytes = b'data'

    def pack(self, sequence):
        own = sequence if self.sequence is None else self.sequence
        return struct.pack('<4s4s8sQQ', self.signature, self.content[4092:], self.content[:8],
                           self.file_offset, own)

    def sector(self, sequence):
        """The data sector."""
        high = sequence >> 32 if self.sector_high is None else self.sector_high
        low = sequence & 0xFFFFFFFF if self.sector_low is None else self.sector_low
        return (self.sector_signature + struct.pack('<I', high) + self.content[8:4092]
                + struct.pack('<I', low))


@dataclass
class Zero:
    """Zero descriptor (2.3.1.2)."""
    file_offset: int
    length: int
    sequence: int = None
    reserved: int = 0
    signature: bytes = b'zero'

    def pack(self, sequence):
        own = sequence if self.sequence is None else self.sequence
        return struct.pack('<4sIQQQ', self.signature, self.reserved, self.length,
                           self.file_offset, own)


@dataclass
class LogEntry:
    """Log entry (2.3.1). tail, flushed and last are set by whoever places the entry."""
    sequence: int
    descriptors: list = field(default_factory=list)
    tail: int = None
    guid: bytes = None
    flushed: int = None
    last: int = None
    signature: bytes = b'loge'
    length: int = None
    count: int = None
    reserved: int = 0
    checksum: int = None
    spoiled: bool = False

    def size(self):
        """Bytes that the entry takes in the log."""
        sectors = -(-(64 + 32 * len(self.descriptors)) // SECTOR)
        return SECTOR * (sectors + sum(isinstance(d, Data) for d in self.descriptors))

    def pack(self):
        count = len(self.descriptors) if self.count is None else self.count
        length = self.size() if self.length is None else self.length
        head = struct.pack('<4sIIIQII16sQQ', self.signature, 0, length, self.tail, self.sequence,
                           count, self.reserved, self.guid, self.flushed, self.last)
        head += b''.join(d.pack(self.sequence) for d in self.descriptors)
        head = head.ljust(-(-len(head) // SECTOR) * SECTOR, b'\0')
        data = head + b''.join(d.sector(self.sequence) for d in self.descriptors
                               if isinstance(d, Data))
        covered = length if SECTOR <= length < len(data) else len(data)
        data = seal(data[:covered], self.checksum) + data[covered:]
        return spoil(data) if self.spoiled else data


def ring_pieces(position, data, length):
    """(position, bytes) of data laid into a ring of that length, wrapping."""
    position %= length
    first = data[:length - position]
    yield position, first
    if len(data) > len(first):
        yield 0, data[len(first):]
