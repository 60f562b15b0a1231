# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Sparse content: large, mostly zero arrays of bytes (files, virtual disks), and interval sets.

Used for the files that the generator builds, for the content a case intends its virtual disk to
have, and for comparing that with what a reader made of the file.
"""

import bisect
import hashlib
import os

PAGE = 4096
ZERO_PAGE = bytes(PAGE)
ZEROS = bytes(1 << 20)


class SparseBytes:
    """Bytes 0 .. size, of which only 4 KiB pages that were written are stored."""

    def __init__(self, size=0):
        self.size = size
        self.stored = {}  # page number -> 4 KiB of immutable bytes, which copies share

    def copy(self, size=None):
        """A copy, cut or extended to size."""
        other = SparseBytes(self.size)
        other.stored = dict(self.stored)
        if size is not None:
            other.resize(size)
        return other

    def resize(self, size):
        """Sets the size; what is cut off is gone, what is added is zero."""
        if size < self.size:
            self.zero(size, self.size - size)
        self.size = size

    def put(self, offset, data):
        """Stores data at offset; the size grows as needed."""
        self.size = max(self.size, offset + len(data))
        view = memoryview(data)
        while view:
            number, start = divmod(offset, PAGE)
            length = min(PAGE - start, len(view))
            page = self.stored.get(number, ZERO_PAGE)
            self.stored[number] = page[:start] + bytes(view[:length]) + page[start + length:]
            view = view[length:]
            offset += length

    def zero(self, offset, length):
        """Makes a range zero. Costs no more than the number of stored pages."""
        end = offset + length
        for number in self._stored_between(offset, end):
            start = max(offset - number * PAGE, 0)
            stop = min(end - number * PAGE, PAGE)
            if (start, stop) == (0, PAGE):
                del self.stored[number]
            else:
                page = self.stored[number]
                self.stored[number] = page[:start] + bytes(stop - start) + page[stop:]

    def _stored_between(self, offset, end):
        first, last = offset // PAGE, -(-end // PAGE)
        if last - first < len(self.stored):
            return [n for n in range(first, last) if n in self.stored]
        return [n for n in self.stored if first <= n < last]

    def get(self, offset, length):
        """The bytes of a range; zeros past the end."""
        parts = []
        while length:
            number, start = divmod(offset, PAGE)
            step = min(PAGE - start, length)
            parts.append(self.stored.get(number, ZERO_PAGE)[start:start + step])
            offset += step
            length -= step
        return b''.join(parts)

    def pages(self):
        """(offset, 4 KiB) of every page that is not all zeros, in order."""
        for number in sorted(self.stored):
            page = self.stored[number]
            if page != ZERO_PAGE:
                yield number * PAGE, page

    def sha256(self):
        """The digest of all bytes, zeros included."""
        return sha256_of_pages(self.pages(), self.size)

    def save(self, path):
        """Writes a sparse file: only stored pages are written."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for offset, data in join_pages(self.pages()):
                write_all(handle, data, offset)
            os.ftruncate(handle, self.size)
        finally:
            os.close(handle)


def write_all(handle, data, offset):
    """os.pwrite until everything is written."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view = view[done:]
        offset += done


def join_pages(pages, limit=256):
    """Neighbouring pages joined to pieces of at most limit pages."""
    start, parts = 0, []
    for offset, page in pages:
        if parts and (offset != start + len(parts) * PAGE or len(parts) == limit):
            yield start, b''.join(parts)
            parts = []
        if not parts:
            start = offset
        parts.append(page)
    if parts:
        yield start, b''.join(parts)


def sha256_of_pages(pages, size):
    """SHA-256 of size bytes that are zero outside of the (offset, data) pages, given in order."""
    digest = hashlib.sha256()
    position = 0
    for offset, page in pages:
        _hash_zeros(digest, offset - position)
        digest.update(page[:size - offset])
        position = min(offset + len(page), size)
    _hash_zeros(digest, size - position)
    return digest.hexdigest()


def _hash_zeros(digest, length):
    while length > 0:
        step = min(length, len(ZEROS))
        digest.update(memoryview(ZEROS)[:step])
        length -= step


def pages_of_file(path):
    """(offset, 4 KiB) of every page of a file that is not all zeros; holes are not read."""
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        for start, end in data_ranges(file.fileno(), size):
            file.seek(start)
            while start < end:
                data = file.read(min(end - start, 1 << 20))
                yield from nonzero_pages(start, data)
                start += len(data)


def nonzero_pages(offset, data):
    """(offset, 4 KiB) of the pages of data that are not all zeros; the last is filled up."""
    if data.count(0) == len(data):
        return
    for start in range(0, len(data), PAGE):
        page = data[start:start + PAGE]
        if page.count(0) != len(page):
            yield offset + start, page.ljust(PAGE, b'\0')


def data_ranges(handle, size):
    """(start, end) of the page-aligned parts of a file that are not holes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
        except OSError:
            return
        position = os.lseek(handle, start, os.SEEK_HOLE)
        yield start // PAGE * PAGE, position


class Ranges:
    """A set of byte positions, kept as sorted, disjoint, joined [start, end) intervals."""

    def __init__(self, pairs=()):
        self.edges = []
        for start, end in pairs:
            self.add(start, end)

    def copy(self):
        """An independent copy."""
        other = Ranges()
        other.edges = list(self.edges)
        return other

    def add(self, start, end):
        """Adds [start, end)."""
        self._set(start, end, True)

    def remove(self, start, end):
        """Takes [start, end) away."""
        self._set(start, end, False)

    def _set(self, start, end, inside):
        if start >= end:
            return
        low = bisect.bisect_left(self.edges, start)
        high = bisect.bisect_right(self.edges, end)
        middle = [edge for edge, index in ((start, low), (end, high))
                  if (index % 2 == 0) == inside]
        self.edges[low:high] = middle

    def pairs(self):
        """The intervals in order."""
        return list(zip(self.edges[::2], self.edges[1::2]))
