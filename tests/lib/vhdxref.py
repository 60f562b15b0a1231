# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Reference reader: what a VHDX file means, by the documents, in the plainest possible way.

    image = vhdxref.open_image('child.vhdx')
    image.content().sha256()
    for extent in image.extents(): ...

Opens strictly: any broken rule is a RefError with the code that the library must give. As a
program it prints the same for a file:  python3 tests/lib/vhdxref.py FILE
"""

import os
import struct
import sys
import uuid
from collections import namedtuple

from refdisk import BAT, MIB, NO_GUID, RefError, RefFile, need, need_disjoint
from refdisk import read_header, read_regions, replay
from refmeta import Metadata
from sparsebytes import Ranges, SparseBytes, nonzero_pages

NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, RESERVED, UNMAPPED_OLD, FULL, PARTIAL = range(8)
MAX_CHAIN = 256
PIECE = 1 << 20

# kind: 'data' or 'zero'; depth: which image of the chain decides; file_offset: for data
Extent = namedtuple('Extent', 'offset length kind depth file_offset')


class Image:
    """One image, with its parent when it has one and that was looked for."""

    def __init__(self, path):
        self.path = os.path.realpath(path)
        self.file = RefFile(path)
        self.parent = None
        self.header = read_header(self.file)
        self.log_entries = replay(self.file, self.header)
        self.regions, self.used = read_regions(self.file, self.header)
        self.metadata = Metadata(self.file, self.regions)
        self.size, self.block_size = self.metadata.size, self.metadata.block_size
        self.sector = self.metadata.sector
        self.ratio = (self.sector << 23) // self.block_size
        self.blocks = -(-self.size // self.block_size)
        start, length = self.regions[BAT]
        need(8 * self.bat_entries() <= length, 'BAT region: length')
        need(start + 8 * self.bat_entries() <= self.file.size, 'BAT', 'TRUNCATED')
        self.bat = self._read_bat()
        self.verify_bat()

    def close(self):
        """Closes the whole chain."""
        image = self
        while image:
            image.file.close()
            image = image.parent

    # ---- BAT --------------------------------------------------------------------------------

    def bat_entries(self):
        """Number of BAT entries (2.5)."""
        if self.metadata.has_parent:
            return -(-self.blocks // self.ratio) * (self.ratio + 1)
        return self.blocks + max(self.blocks - 1, 0) // self.ratio

    def _read_bat(self):
        """{index: entry} of the entries that are not zero."""
        start, entries, bat = self.regions[BAT][0], self.bat_entries(), {}
        if not any(self.file.holds_data(start, start + 8 * entries)) and not self.file.pages.stored:
            return bat
        for at in range(0, 8 * entries, PIECE):
            data = self.file.exact(start + at, min(PIECE, 8 * entries - at), 'BAT')
            if data.count(0) == len(data):
                continue
            for number, (entry,) in enumerate(struct.iter_unpack('<Q', data)):
                if entry:
                    bat[at // 8 + number] = entry
        return bat

    def verify_bat(self):
        """Rules for entries, each alone and all together (2.5.1)."""
        used, partial, bitmaps = list(self.used), set(), set()
        for index, entry in self.bat.items():
            chunk, place = divmod(index, self.ratio + 1)
            name, state, offset = 'BAT entry %d' % index, entry & 7, entry >> 20 << 20
            need(entry >> 3 & 0x1FFFF == 0, name + ': reserved')
            if place == self.ratio:
                need(self.metadata.has_parent, name + ': bitmap without parent')
                need(state in (0, FULL), name + ': state %d' % state)
                bitmaps.update([chunk] * (state == FULL))
            else:
                need(state != RESERVED, name + ': state 4')
                need(state != PARTIAL or self.metadata.has_parent, name + ': state 7')
                partial.update([chunk] * (state == PARTIAL))
            if state in (FULL, PARTIAL):
                need(offset >= MIB, name + ': file offset')
                length = MIB if place == self.ratio else self.block_size
                used.append((offset, offset + length, name))
        need(partial <= bitmaps, 'sector bitmap block missing')
        need_disjoint(used)

    # ---- Extents ----------------------------------------------------------------------------

    def extents(self, start=0, end=None, depth=0):
        """The extents of a range, in order, not joined."""
        end = self.size if end is None else min(end, self.size)
        position = start
        for block in self._stored_blocks(start, end):
            low = max(block * self.block_size, start)
            yield from self._absent(position, low, depth)
            position = min((block + 1) * self.block_size, end)
            yield from self._block(block, low, position, depth)
        yield from self._absent(position, end, depth)

    def _stored_blocks(self, start, end):
        """Blocks of a range whose entry is not zero."""
        blocks = (index - index // (self.ratio + 1) for index in sorted(self.bat)
                  if index % (self.ratio + 1) != self.ratio)
        return [block for block in blocks
                if start < (block + 1) * self.block_size and block * self.block_size < end]

    def _absent(self, start, end, depth):
        """A range that this image does not have."""
        if start < end and self.parent:
            yield from self.parent.extents(start, end, depth + 1)
            start = max(start, self.parent.size)
        if start < end:
            yield Extent(start, end - start, 'zero', depth, None)

    def _block(self, block, start, end, depth):
        entry = self.bat[block + block // self.ratio]
        state = entry & 7
        at = (entry >> 20 << 20) + start % self.block_size
        if state == NOT_PRESENT:
            yield from self._absent(start, end, depth)
        elif state == FULL:
            yield Extent(start, end - start, 'data', depth, at)
        elif state == PARTIAL:
            yield from self._sectors(block, start, end, at, depth)
        else:
            yield Extent(start, end - start, 'zero', depth, None)

    def _sectors(self, block, start, end, at, depth):
        """The runs of present and absent sectors of a partially present block."""
        chunk = block // self.ratio
        bitmap = self.bat[chunk * (self.ratio + 1) + self.ratio] >> 20 << 20
        first = start // self.sector - (chunk << 23)
        last = -(-end // self.sector) - (chunk << 23)
        data = self.file.exact(bitmap, MIB, 'sector bitmap block %d' % chunk)
        for here, (low, high) in bit_runs(data, first, last):
            low, high = low - first, high - first
            begin, stop = start + low * self.sector, min(start + high * self.sector, end)
            if here:
                yield Extent(begin, stop - begin, 'data', depth, at + low * self.sector)
            else:
                yield from self._absent(begin, stop, depth)

    # ---- Content ----------------------------------------------------------------------------

    def image_at(self, depth):
        """The image of the chain at that depth."""
        image = self
        for _ in range(depth):
            image = image.parent
        return image

    def content(self):
        """The whole virtual disk."""
        content = SparseBytes(self.size)
        for extent in self.extents():
            if extent.kind == 'data':
                self._load(content, extent)
        return content

    def _load(self, content, extent):
        file = self.image_at(extent.depth).file
        need(extent.file_offset < file.size,
             'block at %#x: past the end of the file' % extent.file_offset, 'TRUNCATED')
        ranges = [(extent.file_offset, extent.file_offset + extent.length)]
        if not file.pages.stored:
            ranges = list(file.holds_data(*ranges[0]))
        for start, end in ranges:
            for at in range(start, end, PIECE):
                data = file.read(at, min(PIECE, end - at))
                for place, page in nonzero_pages(at, data):
                    page = page[:end - place]
                    content.put(extent.offset + place - extent.file_offset, page)

    def data_ranges(self):
        """The ranges that are stored in a file of the chain, joined."""
        return Ranges((e.offset, e.offset + e.length) for e in self.extents() if e.kind == 'data')


def bit_runs(data, first, last):
    """(bit, (start, end)) runs of equal bits, least significant bit first."""
    position = first
    while position < last:
        bit = data[position >> 3] >> (position & 7) & 1
        start, whole = position, 0xFF if bit else 0
        while position < last:
            if position & 7 == 0 and data[position >> 3] == whole:
                position += 8
            elif data[position >> 3] >> (position & 7) & 1 == bit:
                position += 1
            else:
                break
        yield bool(bit), (start, min(position, last))


# ---- Chain --------------------------------------------------------------------------------------

def relative_parent(image):
    """Candidate paths for a parent: only relative_path, from the child's folder."""
    relative = image.metadata.locator.get('relative_path')
    if relative:
        folder = os.path.dirname(image.path)
        yield os.path.normpath(os.path.join(folder, relative.replace('\\', '/')))


def open_image(path, resolver=relative_parent):
    """Opens an image and its chain; resolver None leaves parents out."""
    top = image = Image(path)
    seen = {image.path}
    while resolver and image.metadata.has_parent:
        need(len(seen) < MAX_CHAIN, 'chain: more than %d images' % MAX_CHAIN, 'LIMIT')
        image.parent = open_parent(image, resolver, seen)
        image = image.parent
    return top


def open_parent(child, resolver, seen):
    """The parent with the right GUID ([MS-VHDX] 2.6.2.6.3)."""
    found = [path for path in resolver(child) if os.path.exists(path)]
    need(found, 'parent: not found', 'PARENT_MISSING')
    locator = child.metadata.locator
    wanted = {uuid.UUID(locator[key]) for key in ('parent_linkage', 'parent_linkage2')
              if key in locator} - {NO_GUID}
    for path in found:
        need(os.path.realpath(path) not in seen, 'chain: cycle')
        parent = Image(path)
        if parent.header.data_write in wanted:
            need(parent.sector == child.sector, 'parent: sector size', 'PARENT_MISMATCH')
            seen.add(parent.path)
            return parent
    raise RefError('PARENT_MISMATCH', 'parent: GUID')


def main():
    """Prints what a file is, or what is wrong with it."""
    try:
        image = open_image(sys.argv[1])
        print('virtual size %d, block size %d, sector %d, log entries replayed %d'
              % (image.size, image.block_size, image.sector, image.log_entries))
        for start, end in image.data_ranges().pairs():
            print('data %#x..%#x' % (start, end))
        print('sha256 %s' % (image.content().sha256() if image.size < 1 << 36 else '(too large)'))
    except RefError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
