# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Reference reader, middle part: the metadata region and the parent locator ([MS-VHDX] 2.6)."""

import re
import struct
import uuid

from refdisk import METADATA, MIB, guid_at, need, need_disjoint

FILE_PARAMETERS = uuid.UUID('caa16737-fa36-4d43-b3b6-33f0aa44e76b')
VIRTUAL_DISK_SIZE = uuid.UUID('2fa54224-cd1b-4876-b211-5dbed83bf4b8')
VIRTUAL_DISK_ID = uuid.UUID('beca12ab-b2e6-4523-93ef-c309e000c746')
LOGICAL_SECTOR_SIZE = uuid.UUID('8141bf1d-a96f-4709-ba47-f233a8faab5f')
PHYSICAL_SECTOR_SIZE = uuid.UUID('cda348c7-445d-4471-9cc9-e9885251c556')
PARENT_LOCATOR = uuid.UUID('a8d35f2d-b30b-454d-abf7-d3d84834ab0c')
INCOMPLETE_FILE = uuid.UUID('71cc85f0-1b69-4e28-9558-c3bf83ae75d3')
VHDX_LOCATOR = uuid.UUID('b04aefb7-d19e-4a81-b789-25b8e9445913')
LENGTHS = {FILE_PARAMETERS: 8, VIRTUAL_DISK_SIZE: 8, VIRTUAL_DISK_ID: 16, LOGICAL_SECTOR_SIZE: 4,
           PHYSICAL_SECTOR_SIZE: 4}
PATH_KEYS = ('relative_path', 'volume_path', 'absolute_win32_path')
MAX_VIRTUAL_SIZE = 1 << 46
GUID_TEXT = re.compile(r'\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}$')


class Metadata:
    """What the metadata region says of the disk."""

    def __init__(self, file, regions):
        items = read_items(file, *regions[METADATA])
        for item, length in LENGTHS.items():
            need(item in items, 'metadata item %s missing' % item)
            need(len(items[item]) == length, 'metadata item %s: length' % item)
        self.block_size, flags = struct.unpack('<II', items[FILE_PARAMETERS])
        (self.size,) = struct.unpack('<Q', items[VIRTUAL_DISK_SIZE])
        (self.sector,) = struct.unpack('<I', items[LOGICAL_SECTOR_SIZE])
        (self.physical,) = struct.unpack('<I', items[PHYSICAL_SECTOR_SIZE])
        self.fixed, self.has_parent = bool(flags & 1), bool(flags & 2)
        self.verify(flags)
        self.locator = {}
        if self.has_parent:
            need(PARENT_LOCATOR in items, 'metadata: parent locator missing')
            self.locator = read_locator(items[PARENT_LOCATOR])

    def verify(self, flags):
        """Ranges of the values."""
        size = self.block_size
        need(MIB <= size <= 256 * MIB and size & (size - 1) == 0, 'block size %#x' % size)
        need(flags & ~3 == 0, 'file parameters: reserved')
        need(self.sector in (512, 4096), 'logical sector size %d' % self.sector)
        need(self.physical in (512, 4096), 'physical sector size %d' % self.physical)
        need(self.size % self.sector == 0, 'virtual disk size %#x' % self.size)
        need(self.size <= MAX_VIRTUAL_SIZE, 'virtual disk size %#x' % self.size)


def read_items(file, region, region_length):
    """{id: content} of the known system items."""
    table = file.exact(region, 65536, 'metadata table')
    signature, reserved, count = struct.unpack_from('<8sHH', table)
    need(signature == b'metadata', 'metadata table: signature')
    need(reserved == 0 and table[12:32] == bytes(20), 'metadata table: reserved')
    need(count <= 2047, 'metadata table: entry count %d' % count)
    items, used, keys = {}, [], set()
    for number in range(count):
        at = 32 + 32 * number
        name = 'metadata table entry %d' % number
        item = guid_at(table, at)
        offset, length, flags, reserved = struct.unpack_from('<IIII', table, at + 16)
        user = flags & 1
        need(flags & ~7 == 0 and reserved == 0, name + ': reserved')
        need((item, user) not in keys, name + ': item twice')
        keys.add((item, user))
        verify_place(name, offset, length, region_length)
        used.append((offset, offset + length, name))
        need(user or item != INCOMPLETE_FILE, name + ': incomplete file')
        known = not user and (item in LENGTHS or item == PARENT_LOCATOR)
        need(known or not flags & 4, name + ': unknown and required', 'UNSUPPORTED')
        if known:
            items[item] = file.exact(region + offset, length, name)
    need(sum(user for _, user in keys) <= 1024, 'metadata table: user entries')
    need_disjoint(used)
    return items


def verify_place(name, offset, length, region_length):
    """Where an item may lie."""
    need(length <= MIB, name + ': length')
    if length == 0:
        need(offset == 0, name + ': offset without length')
        return
    need(offset >= 65536, name + ': offset')
    need(offset + length <= region_length, name + ': past the end of the region')


def read_locator(data):
    """{key: value} of a parent locator (2.6.2.6)."""
    need(len(data) >= 20, 'parent locator: length')
    need(guid_at(data, 0) == VHDX_LOCATOR, 'parent locator: type', 'UNSUPPORTED')
    reserved, count = struct.unpack_from('<HH', data, 16)
    need(reserved == 0, 'parent locator: reserved')
    need(20 + 12 * count <= len(data), 'parent locator: key value count')
    pairs = {}
    for number in range(count):
        key_at, value_at, key_length, value_length = struct.unpack_from('<IIHH', data,
                                                                        20 + 12 * number)
        key = locator_text(data, key_at, key_length)
        need(key not in pairs, 'parent locator: key twice')
        pairs[key] = locator_text(data, value_at, value_length)
    verify_locator(pairs)
    return pairs


def locator_text(data, offset, length):
    """A string of the locator."""
    need(offset > 0 and length > 0, 'parent locator: offset or length 0')
    need(length % 2 == 0, 'parent locator: odd length')
    need(offset + length <= len(data), 'parent locator: string past the end')
    try:
        text = data[offset:offset + length].decode('utf-16-le')
    except UnicodeDecodeError:
        need(False, 'parent locator: not UTF-16')
    need('\0' not in text, 'parent locator: NUL in a string')
    return text


def verify_locator(pairs):
    """Which pairs there must be."""
    need('parent_linkage' in pairs, 'parent locator: parent_linkage missing')
    need(any(key in pairs for key in PATH_KEYS), 'parent locator: no path')
    for key in ('parent_linkage', 'parent_linkage2'):
        need(GUID_TEXT.match(pairs.get(key, '{%s}' % uuid.UUID(int=0))),
             'parent locator: %s is no GUID' % key)
