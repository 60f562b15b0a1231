# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Builds a whole VHDX file, and knows what its virtual disk must then contain.

An Image is described through intents (put this data there, make that block ZERO). Each intent
changes two things side by side: the file under construction and the expected virtual content,
which is kept without any use of the BAT. Every structure can then be bent before rendering.

    image = Image('a.vhdx', size=10 * MIB, block_size=MIB)
    image.put(3 * MIB, b'hello')          # a FULLY_PRESENT block
    image.set_block(4, ZERO)
    image.save(folder)
    image.content.sha256()
"""

import copy
import hashlib
import os
import struct
import uuid

import vhdxdisk as disk
from sparsebytes import Ranges, SparseBytes
from vhdxdisk import FULL, MIB, NOT_PRESENT, PARTIAL

GARBAGE_LENGTH = 4096


def pattern(seed, length):
    """Bytes that look random, are the same in every run, and differ from sector to sector."""
    return hashlib.shake_128(repr(seed).encode()).digest(length)


def guid_for(*words):
    """A fixed GUID for a name."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, '/'.join(map(str, words))).bytes_le


def round_up(value, unit):
    """The next multiple of unit."""
    return -(-value // unit) * unit


class Image:
    """One VHDX file. parent: another Image makes it differencing."""

    def __init__(self, name='image.vhdx', size=8 * MIB, block_size=MIB, sector=512, physical=4096,
                 fixed=False, parent=None, log_at=MIB, log_length=MIB, metadata_at=None,
                 metadata_length=MIB, bat_at=None, bat_length=None, free_at=None):
        self.name, self.size, self.block_size, self.sector = name, size, block_size, sector
        self.parent, self.fixed = parent, fixed
        self.chunk_ratio = disk.CHUNK_SECTORS * sector // block_size
        self.blocks = -(-size // block_size)
        self.log_at, self.log_length = log_at, log_length
        self.metadata_at = log_at + log_length if metadata_at is None else metadata_at
        self.bat_at = self.metadata_at + metadata_length if bat_at is None else bat_at
        self.bat_length = round_up(max(8 * self.bat_entries(), 1), MIB)
        self.bat_length = self.bat_length if bat_length is None else bat_length
        end = max(self.log_at + log_length, self.bat_at + self.bat_length,
                  self.metadata_at + metadata_length)
        self.next_free = free_at or end
        self.bat = {}       # index -> 64-bit entry
        self.states = {}    # payload block -> state, as last intended
        self.file = SparseBytes(end)
        self.content = parent.content.copy(size) if parent else SparseBytes(size)
        self.data = parent.data.copy() if parent else Ranges()
        self.data.remove(size, 1 << 63)
        self.unsure = Ranges()  # where the kind of extent is left to the reader
        self.rendered = None
        self._describe(physical, metadata_length)

    def _describe(self, physical, metadata_length):
        self.identifier = disk.Identifier()
        header = disk.Header(sequence=7, file_write=guid_for(self.name, 'file write'),
                             data_write=guid_for(self.name, 'data write'),
                             log_length=self.log_length, log_offset=self.log_at)
        self.headers = [header, copy.copy(header)]
        self.headers[1].sequence = 8
        entries = [disk.Region(disk.BAT_REGION, self.bat_at, self.bat_length),
                   disk.Region(disk.METADATA_REGION, self.metadata_at, metadata_length)]
        self.tables = [disk.RegionTable(copy.deepcopy(entries)) for _ in range(2)]
        flags = 2 if self.parent else int(self.fixed)
        system = disk.IS_REQUIRED | disk.IS_VIRTUAL_DISK
        self.metadata = disk.Metadata([
            disk.Item(disk.FILE_PARAMETERS, struct.pack('<II', self.block_size, flags),
                      disk.IS_REQUIRED),
            disk.Item(disk.VIRTUAL_DISK_SIZE, struct.pack('<Q', self.size), system),
            disk.Item(disk.VIRTUAL_DISK_ID, guid_for('disk id'), system),
            disk.Item(disk.LOGICAL_SECTOR_SIZE, struct.pack('<I', self.sector), system),
            disk.Item(disk.PHYSICAL_SECTOR_SIZE, struct.pack('<I', physical), system)])
        self.locator = None
        if self.parent:
            self.metadata.items.append(disk.Item(disk.PARENT_LOCATOR, b'', disk.IS_REQUIRED))
            self.locator = self._default_locator()

    def _default_locator(self):
        here = os.path.dirname(self.name) or '.'
        path = os.path.relpath(self.parent.name, here).replace('/', '\\')
        relative = path if path.startswith('..') else '.\\' + path
        base = os.path.basename(self.parent.name)
        return disk.Locator([
            ('parent_linkage', disk.braced(self.parent.data_write)),
            ('absolute_win32_path', 'C:\\corpus\\no\\such\\folder\\' + base),
            ('relative_path', relative),
            ('parent_linkage2', disk.braced(disk.ZERO_GUID))])

    @property
    def data_write(self):
        """What children must name as their parent."""
        return self.headers[1].data_write

    def both(self, **fields):
        """Sets fields of both headers."""
        for header in self.headers:
            for name, value in fields.items():
                getattr(header, name)
                setattr(header, name, value)

    def both_tables(self, change):
        """Applies a change to both region tables."""
        for table in self.tables:
            change(table)

    # ---- BAT --------------------------------------------------------------------------------

    def bat_entries(self):
        """Number of BAT entries (2.5)."""
        if self.parent:
            return -(-self.blocks // self.chunk_ratio) * (self.chunk_ratio + 1)
        return self.blocks + max(self.blocks - 1, 0) // self.chunk_ratio

    def payload_index(self, block):
        """BAT index of a payload block."""
        return block + block // self.chunk_ratio

    def bitmap_index(self, chunk):
        """BAT index of a sector bitmap block."""
        return chunk * (self.chunk_ratio + 1) + self.chunk_ratio

    def allocate(self, length):
        """File offset of fresh space; the file grows over it."""
        offset = self.next_free
        self.next_free += round_up(length, MIB)
        self.file.size = max(self.file.size, self.next_free)
        return offset

    def place_of(self, block):
        """File offset of a payload block."""
        return self.bat[self.payload_index(block)] >> 20 << 20

    def _range_of(self, block):
        start = block * self.block_size
        return start, min(start + self.block_size, self.size)

    # ---- Intents ----------------------------------------------------------------------------

    def set_block(self, block, state, at=0, zeros=None):
        """Sets the state of a block whose content then is zeros, or the parent's.

        at is the file offset in the entry, for states that may keep one."""
        self.states[block] = state
        self.bat[self.payload_index(block)] = disk.bat_entry(state, at // MIB)
        start, end = self._range_of(block)
        if state == NOT_PRESENT and self.parent:
            return
        self.content.zero(start, end - start)
        self.data.remove(start, end)

    def make_full(self, block, at=None):
        """Makes a block FULLY_PRESENT and zero, in fresh space or at a given place."""
        at = self.allocate(self.block_size) if at is None else at
        self.file.size = max(self.file.size, at + self.block_size)
        self.set_block(block, FULL, at)
        self.data.add(*self._range_of(block))
        return at

    def put(self, offset, data):
        """Data in FULLY_PRESENT blocks, which are made as needed."""
        while data:
            block, start = divmod(offset, self.block_size)
            if self.states.get(block) != FULL:
                self.make_full(block)
            part = data[:self.block_size - start]
            self.file.put(self.place_of(block) + start, part)
            self.content.put(offset, part)
            data, offset = data[len(part):], offset + len(part)

    def fill(self, seed):
        """Makes all blocks FULLY_PRESENT, with some data at the edges of each."""
        for block in range(self.blocks):
            self.mark(block, seed)

    def mark(self, block, seed, length=4096 + 512):
        """Data at the beginning and at the end of a FULLY_PRESENT block."""
        start, end = self._range_of(block)
        length = min(length // self.sector * self.sector, end - start)
        self.put(start, pattern((seed, block, 'first'), length))
        self.put(end - length, pattern((seed, block, 'last'), length))

    def make_partial(self, block):
        """Makes a block PARTIALLY_PRESENT with no sector in it, full of misleading garbage."""
        chunk = block // self.chunk_ratio
        if not self.bat.get(self.bitmap_index(chunk)):
            at = self.allocate(MIB)
            self.bat[self.bitmap_index(chunk)] = disk.bat_entry(disk.BITMAP_PRESENT, at // MIB)
        at = self.allocate(self.block_size)
        self.states[block] = PARTIAL
        self.bat[self.payload_index(block)] = disk.bat_entry(PARTIAL, at // MIB)
        self.litter(at, self.block_size)

    def put_sectors(self, offset, data):
        """Whole sectors in PARTIALLY_PRESENT blocks of a child; the rest remains the parent's."""
        for start in range(0, len(data), self.sector):
            self._put_sector(offset + start, data[start:start + self.sector])
        self.data.add(offset, offset + len(data))

    def _put_sector(self, offset, data):
        block, start = divmod(offset, self.block_size)
        if self.states.get(block) != PARTIAL:
            self.make_partial(block)
        self.file.put(self.place_of(block) + start, data)
        self.content.put(offset, data)
        self.set_bits(offset // self.sector, 1)

    def set_bits(self, sector, count):
        """Sets bits in the sector bitmap, without any change of the expected content."""
        for number in range(sector, sector + count):
            chunk, bit = divmod(number, disk.CHUNK_SECTORS)
            at = self.bat[self.bitmap_index(chunk)] >> 20 << 20
            byte = self.file.get(at + bit // 8, 1)[0] | 1 << bit % 8
            self.file.put(at + bit // 8, bytes([byte]))

    def litter(self, at, length):
        """Garbage in file space that must never be read."""
        piece = pattern(('garbage', self.name, at), GARBAGE_LENGTH)
        for offset in range(0, min(length, MIB), GARBAGE_LENGTH):
            self.file.put(at + offset, piece)
        self.file.put(at + length - GARBAGE_LENGTH, piece)
        return at

    def anchored(self, block, state):
        """A state with the offset of garbage that must not be read."""
        at = self.litter(self.allocate(self.block_size), self.block_size)
        self.set_block(block, state, at)

    # ---- Rendering --------------------------------------------------------------------------

    def set_item(self, item_guid, data):
        """Replaces the content of a metadata item."""
        self.metadata.item(item_guid).data = data

    def render(self):
        """The file as SparseBytes; later changes go straight into it."""
        if self.rendered is None:
            file = self.file
            size = file.size
            file.put(disk.IDENTIFIER_AT, self.identifier.pack())
            for at, header in zip(disk.HEADER_AT, self.headers):
                file.put(at, header.pack())
            for at, table in zip(disk.REGION_TABLE_AT, self.tables):
                file.put(at, table.pack())
            self._render_metadata()
            for index, entry in self.bat.items():
                file.put(self.bat_at + 8 * index, struct.pack('<Q', entry))
            file.size = size
            self.rendered = file
        return self.rendered

    def _render_metadata(self):
        for item in self.metadata.items:
            if item.guid == disk.PARENT_LOCATOR and not item.data:
                item.data = self.locator.pack()
        for offset, data in self.metadata.pieces():
            self.file.put(self.metadata_at + offset, data)

    def save(self, folder):
        """Writes this file and its parents below folder; returns this file's path."""
        image, paths = self, []
        while image is not None and image not in paths:
            path = os.path.join(folder, image.name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                image.render().save(path)
            paths.append(image)
            image = image.parent
        return os.path.join(folder, self.name)


class LogRing:
    """Places entries in the log of an image that has been rendered.

    The image's headers must have had their log_guid set before (see Image.both)."""

    def __init__(self, image, at=0):
        self.file = image.render()
        self.offset, self.length = image.log_at, image.log_length
        self.guid = image.headers[1].log_guid
        self.begin(at)

    def begin(self, at):
        """The next entry is the first of a sequence, at that position."""
        self.tail = self.next = at % self.length

    def add(self, entry):
        """Writes an entry behind the last one; fields that are None get the right values."""
        position = self.next
        entry.tail = self.tail if entry.tail is None else entry.tail
        entry.guid = self.guid if entry.guid is None else entry.guid
        if entry.flushed is None:
            entry.flushed = self.file.size // MIB * MIB
        if entry.last is None:
            entry.last = round_up(self.file.size, MIB)
        size = self.file.size
        for at, data in disk.ring_pieces(position, entry.pack(), self.length):
            self.file.put(self.offset + at, data)
        self.file.size = size
        self.next = (position + entry.size()) % self.length
        return position
