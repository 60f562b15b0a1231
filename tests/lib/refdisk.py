# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Reference reader, lower half: the structures of a VHDX file, verified as strictly as
[MS-VHDX] words its rules, and the replay of the log in memory.

Shares nothing with the generator but CRC-32C and the page store, and nothing with the library.
"""

import os
import struct
import uuid

from crc32c import crc32c
from sparsebytes import PAGE, Ranges, SparseBytes, data_ranges

KIB, MIB = 1024, 1024 * 1024
SECTOR = 4096
NO_GUID = uuid.UUID(int=0)
MAX_LOG = 1 << 30
MAX_FILE = 1 << 48
FIRST_LOGGED = 192 * KIB

BAT = uuid.UUID('2dc27766-f623-4200-9d64-115e9bfd4a08')
METADATA = uuid.UUID('8b7ca206-4790-4b9a-b8fe-575f050f886e')


class RefError(Exception):
    """A rule broken, with the name of the code that the library must give."""

    def __init__(self, code, message):
        super().__init__('%s %s' % (code, message))
        self.code = 'VHDX_E_' + code
        self.message = message


def need(condition, message, code='CORRUPT'):
    """Raises unless the condition holds."""
    if not condition:
        raise RefError(code, message)


def guid_at(data, offset):
    """The GUID stored there."""
    return uuid.UUID(bytes_le=bytes(data[offset:offset + 16]))


class RefFile:
    """A file with the log's changes over it. Reads past the end give zeros."""

    def __init__(self, path):
        self.path = path
        self.handle = os.open(path, os.O_RDONLY)
        self.base_size = self.size = os.fstat(self.handle).st_size
        self.pages = SparseBytes()  # replayed data; page numbers are those of the file
        self.zeroed = Ranges()      # replayed zeros, which hide the base file

    def close(self):
        """Closes the file."""
        os.close(self.handle)

    def base(self, offset, length):
        """Bytes of the file itself."""
        data = os.pread(self.handle, length, offset) if offset < self.base_size else b''
        return data.ljust(length, b'\0')

    def read(self, offset, length):
        """Bytes of the file after replay."""
        if not self.pages.stored and not self.zeroed.edges:
            return self.base(offset, length)
        start = offset // PAGE * PAGE
        end = -(-(offset + length) // PAGE) * PAGE
        data = bytearray(self.base(start, end - start))
        for low, high in self.zeroed.pairs():
            if low < end and high > start:
                low, high = max(low, start), min(high, end)
                data[low - start:high - start] = bytes(high - low)
        for number in range(start // PAGE, end // PAGE):
            if number in self.pages.stored:
                at = number * PAGE - start
                data[at:at + PAGE] = self.pages.stored[number]
        return bytes(data[offset - start:offset - start + length])

    def exact(self, offset, length, what):
        """The same, but the file must hold all of it."""
        need(offset + length <= self.size, '%s: the file ends before it' % what, 'TRUNCATED')
        return self.read(offset, length)

    def replay_data(self, offset, content):
        """Lays 4 KiB over the file."""
        self.pages.put(offset, content)
        self.size = max(self.size, offset + len(content))

    def replay_zero(self, offset, length):
        """Lays zeros over the file."""
        self.pages.zero(offset, length)
        self.zeroed.add(offset, offset + length)
        self.size = max(self.size, offset + length)

    def holds_data(self, start, end):
        """The parts of the base file between start and end that are not holes."""
        for low, high in data_ranges(self.handle, self.base_size):
            if low < end and high > start:
                yield max(low, start), min(high, end)


# ---- Header section -----------------------------------------------------------------------------

class Header:
    """A header (2.2.2)."""

    def __init__(self, data):
        self.data = data
        (self.sequence,) = struct.unpack_from('<Q', data, 8)
        self.file_write, self.data_write, self.log_guid = (guid_at(data, n) for n in (16, 32, 48))
        self.log_version, self.version, self.log_length, self.log_offset = struct.unpack_from(
            '<HHIQ', data, 64)

    def verify(self, file):
        """Rules for the fields of the current header."""
        need(self.version == 1, 'header: version %d' % self.version, 'UNSUPPORTED')
        need(self.log_offset % MIB == 0, 'header: log offset %#x' % self.log_offset)
        need(self.log_offset >= MIB, 'header: log offset %#x' % self.log_offset)
        need(self.log_length % MIB == 0, 'header: log length %#x' % self.log_length)
        need(self.log_length <= MAX_LOG, 'header: log length %#x' % self.log_length, 'LIMIT')
        if self.log_guid != NO_GUID:
            need(self.log_version == 0, 'header: log version', 'UNSUPPORTED')
            need(self.log_length, 'header: log length 0')
            need(self.log_offset + self.log_length <= file.base_size, 'log', 'TRUNCATED')


def copies(file, offsets, length, signature, name):
    """The valid ones of two copies of a checked structure."""
    valid, all_checksum = [], True
    for offset in offsets:
        data = file.exact(offset, length, name)
        if data[:4] != signature:
            all_checksum = False
        elif crc32c(data[:4] + bytes(4) + data[8:]) == struct.unpack_from('<I', data, 4)[0]:
            valid.append(data)
    need(valid, 'both %ss are bad' % name, 'CHECKSUM' if all_checksum else 'CORRUPT')
    return valid


def read_header(file):
    """The current header."""
    need(file.base(0, 8) == b'vhdxfile', 'file identifier', 'NOT_VHDX')
    need(file.size >= MIB, 'header section', 'TRUNCATED')
    headers = [Header(data) for data in copies(file, (64 * KIB, 128 * KIB), SECTOR, b'head',
                                               'header')]
    headers.sort(key=lambda header: header.sequence)
    if len(headers) == 2 and headers[0].sequence == headers[1].sequence:
        need(headers[0].data == headers[1].data, 'headers: equal sequence numbers')
    headers[-1].verify(file)
    return headers[-1]


def read_regions(file, header):
    """{GUID: (offset, length)} of the known regions, and all used (start, end, name)."""
    table = copies(file, (192 * KIB, 256 * KIB), 64 * KIB, b'regi', 'region table')[0]
    (count,) = struct.unpack_from('<I', table, 8)
    need(count <= 2047, 'region table: entry count %d' % count)
    regions, seen = {}, set()
    used = [(0, MIB, 'header section'),
            (header.log_offset, header.log_offset + header.log_length, 'log')]
    for number in range(count):
        at = 16 + 32 * number
        name = 'region table entry %d' % number
        offset, length, flags = struct.unpack_from('<QII', table, at + 16)
        region = guid_at(table, at)
        need(region not in seen, name + ': GUID twice')
        need(offset % MIB == 0 and offset >= MIB, name + ': file offset')
        need(length % MIB == 0, name + ': length')
        need(region in (BAT, METADATA) or not flags & 1, name + ': unknown', 'UNSUPPORTED')
        seen.add(region)
        used.append((offset, offset + length, name))
        if region in (BAT, METADATA):
            regions[region] = (offset, length)
    need_disjoint(used)
    for region in (BAT, METADATA):
        need(region in regions, 'region table: region missing')
    return regions, used


def need_disjoint(used):
    """No two of the (start, end, name) may overlap."""
    used = sorted(piece for piece in used if piece[0] < piece[1])
    for (_, end, one), (start, _, other) in zip(used, used[1:]):
        need(end <= start, '%s overlaps %s' % (other, one))


# ---- Log ----------------------------------------------------------------------------------------

class Entry:
    """A valid log entry (2.3.1). descriptors: (offset, length, content or None for zeros)."""

    def __init__(self, position, length, tail, sequence, offsets):
        self.position, self.length, self.tail, self.sequence = position, length, tail, sequence
        self.flushed, self.last = offsets
        self.descriptors = []


class Log:
    """The ring, and the search for its active sequence."""

    def __init__(self, file, header):
        self.file, self.header = file, header
        self.offset, self.length = header.log_offset, header.log_length
        self.entries = {}

    def read(self, position, length):
        """Bytes of the ring."""
        first = min(length, self.length - position)
        data = self.file.base(self.offset + position, first)
        return data + self.file.base(self.offset, length - first) if length > first else data

    def entry(self, position):
        """The valid entry at a position, or None."""
        head = self.read(position, 64)
        (signature, checksum, length, tail, sequence, count, reserved, log_guid, flushed,
         last) = struct.unpack('<4sIIIQII16sQQ', head)
        sectors = -(-(64 + 32 * count) // SECTOR)
        if (signature != b'loge' or log_guid != self.header.log_guid.bytes_le or sequence == 0
                or length == 0 or length % SECTOR or length > self.length or tail % SECTOR
                or tail >= self.length or reserved or flushed % MIB or last % MIB
                or sectors * SECTOR > length):
            return None
        entry = Entry(position, length, tail, sequence, (flushed, last))
        data = self.read(position, sectors * SECTOR)
        if not self._descriptors(entry, data, count, sectors):
            return None
        data = self.read(position, length)
        return entry if crc32c(data[:4] + bytes(4) + data[8:]) == checksum else None

    def _descriptors(self, entry, data, count, sectors):
        at = 64
        for _ in range(count):
            signature, small, number, offset, sequence = struct.unpack_from('<4sIQQQ', data, at)
            if sequence != entry.sequence or offset % SECTOR:
                return False
            if signature == b'zero' and not small and number % SECTOR == 0:
                entry.descriptors.append((offset, number, None))
            elif signature == b'desc':
                sector = self._data_sector(entry, sectors)
                if sector is None:
                    return False
                content = data[at + 8:at + 16] + sector + data[at + 4:at + 8]
                entry.descriptors.append((offset, SECTOR, content))
                sectors += 1
            else:
                return False
            at += 32
        return sectors * SECTOR == entry.length

    def _data_sector(self, entry, number):
        if (number + 1) * SECTOR > entry.length:
            return None
        data = self.read((entry.position + number * SECTOR) % self.length, SECTOR)
        signature, high = struct.unpack_from('<4sI', data)
        (low,) = struct.unpack_from('<I', data, 4092)
        if signature != b'data' or high << 32 | low != entry.sequence:
            return None
        return data[8:4092]

    def scan(self):
        """Finds all valid entries; True if the log holds anything but zeros."""
        anything = False
        for start, end in self.file.holds_data(self.offset, self.offset + self.length):
            for at in range(start, end, MIB):
                piece = self.file.base(at, min(MIB, end - at))
                anything = anything or piece.count(0) != len(piece)
                self._scan_piece(at - self.offset, piece)
        return anything

    def _scan_piece(self, position, piece):
        found = piece.find(b'loge')
        while found >= 0:
            if found % SECTOR == 0:
                entry = self.entry(position + found)
                if entry:
                    self.entries[position + found] = entry
            found = piece.find(b'loge', found + 1)

    def follower(self, entry):
        """The entry that continues a sequence, or None."""
        after = self.entries.get((entry.position + entry.length) % self.length)
        return after if after and after.sequence == entry.sequence + 1 else None

    def active(self):
        """The entries of the active sequence, from tail to head; empty if there is none."""
        best = []
        for head in self.entries.values():
            if self.follower(head) or best and best[-1].sequence >= head.sequence:
                continue
            run, entry = [], self.entries.get(head.tail)
            while entry:
                run.append(entry)
                entry = self.follower(entry)
            if run and run[-1] is head:
                best = run
        return best


def replay(file, header):
    """Replays the log in memory; the number of entries that were replayed."""
    need(file.base_size <= MAX_FILE, 'file size %#x' % file.base_size, 'LIMIT')
    if header.log_guid == NO_GUID:
        return 0
    log = Log(file, header)
    if not log.scan():
        return 0
    run = log.active()
    need(run, 'log: no valid sequence')
    need(run[-1].flushed <= file.base_size, 'log entry: flushed file offset', 'TRUNCATED')
    log_end = header.log_offset + header.log_length
    for entry in run:
        for offset, length, content in entry.descriptors:
            need(offset >= FIRST_LOGGED, 'log entry: descriptor file offset %#x' % offset)
            need(offset >= log_end or offset + length <= header.log_offset,
                 'log entry: descriptor file offset %#x in the log' % offset)
            if content is None:
                file.replay_zero(offset, length)
            else:
                file.replay_data(offset, content)
    file.size = max(file.size, run[-1].last)
    need(file.size <= MAX_FILE, 'log entry: file size %#x' % file.size, 'LIMIT')
    return len(run)
