# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of recover share: images with parts wiped, and a judge of what is recovered. The
images and what their disks contain come from tests/lib, which shares nothing with the library."""

import hashlib
import json
import os
import struct
import zlib

import vhdxdisk as disk
import vhdxref
from sparsebytes import SparseBytes, pages_of_file
from vhdxdisk import KIB, MIB
from vhdximage import Image, pattern

HEADERS, TABLES = (64 * KIB, 128 * KIB), (192 * KIB, 128 * KIB)
IDENTIFIER, HEAD = (0, 64 * KIB), (0, MIB)


def digest(path):
    """Of a file: its size, and all pages that are not zeros."""
    digester = hashlib.sha256()
    for offset, page in pages_of_file(path):
        digester.update(b'%d ' % offset + page)
    return os.path.getsize(path), digester.hexdigest()


def wipe(path, *ranges):
    """Makes (offset, length) ranges of a file zero."""
    with open(path, 'r+b') as file:
        for offset, length in ranges:
            file.seek(offset)
            file.write(bytes(length))


def gpt_header(sector, own, other, sectors):
    """A GPT header with a right checksum."""
    head = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, own, other, 34,
                       sectors - 34, bytes(range(16)), 2, 128, 128, 0)
    crc = zlib.crc32(head)
    return (head[:16] + struct.pack('<I', crc) + head[20:]).ljust(sector, b'\0')


def put_gpt(image):
    """A protective MBR, and a GPT at both ends of the disk."""
    sector, sectors = image.sector, image.size // image.sector
    mbr = bytearray(512)
    mbr[446:462] = struct.pack('<B3sB3sII', 0, b'', 0xEE, b'', 1, min(sectors - 1, 0xFFFFFFFF))
    mbr[510:] = b'\x55\xaa'
    image.put(0, bytes(mbr))
    image.put(sector, gpt_header(sector, 1, sectors - 1, sectors))
    image.put(image.size - sector, gpt_header(sector, sectors - 1, 1, sectors))


def bat_bytes(image):
    """The image's BAT as it stands in the file."""
    return b''.join(struct.pack('<Q', image.bat.get(index, 0))
                    for index in range(image.bat_entries()))


class Outcome:
    """How a recovery ended."""

    def __init__(self, done, out):
        self.code, self.err, self.out = done.code, done.err, out
        self.report = json.loads(done.out) if done.out else None

    def fact(self, what):
        """The fact of that name; None: there is none."""
        return next((f for f in self.report['facts'] if f['what'] == what), None)

    def lost(self):
        """(start, end) of what is lost."""
        return [(r['offset'], r['offset'] + r['length']) for r in self.report['lost']]


class Recover:
    """Runs vhdx recover; the image must not change, and a failure must leave nothing."""

    def __init__(self, tool, folder):
        self.tool, self.folder = tool, str(folder)

    def save(self, image, *ranges):
        """Writes an image, parts of it wiped."""
        path = image.save(self.folder)
        wipe(path, *ranges)
        return path

    def run(self, path, *args, out='out.raw'):
        """Recovers, or tries to."""
        out = os.path.join(self.folder, out)
        before = digest(path), os.stat(path).st_mtime_ns
        done = self.tool('recover', '--output=json', *args, path, out)
        assert (digest(path), os.stat(path).st_mtime_ns) == before, 'the image was changed'
        assert done.code in (0, 1, 3), done
        assert os.path.exists(out) == (done.code != 1 and '-n' not in args), done
        assert not [name for name in os.listdir(self.folder) if name.startswith('.')], 'left over'
        assert (done.err == '') == (done.code != 1), done
        return Outcome(done, out)

    def whole(self, image, *ranges, args=(), path=None):
        """What is recovered must be the whole disk."""
        outcome = self.run(path or self.save(image, *ranges), *args)
        assert outcome.code == 0, outcome.err or outcome.report
        assert (outcome.report['lost-bytes'], outcome.report['lost']) == (0, [])
        assert same(outcome.out, image.content), 'content differs'
        for fact in outcome.report['facts']:
            assert 0 <= fact['confidence'] <= 100 and fact['evidence'].isprintable(), fact
        assert outcome.report['confidence'] == min(f['confidence']
                                                   for f in outcome.report['facts'])
        return outcome

    def refused(self, path, *args):
        """It must fail; returns the error's text."""
        outcome = self.run(path, *args)
        assert outcome.code == 1, outcome.report
        return outcome.err


def same(path, content, but=()):
    """Is the raw file at path this content, outside of some ranges, where it must be zero?"""
    content = content.copy()
    for start, end in but:
        content.zero(start, end - start)
    return (os.path.getsize(path) == content.size
            and dict(pages_of_file(path)) == dict(content.pages()))


def read_image(path):
    """The disk of a VHDX file, by a reader that tolerates nothing."""
    image = vhdxref.open_image(path)
    try:
        return image.content()
    finally:
        image.close()


__all__ = ['HEAD', 'HEADERS', 'IDENTIFIER', 'Image', 'KIB', 'MIB', 'SparseBytes', 'TABLES',
           'bat_bytes', 'digest', 'disk', 'pattern', 'put_gpt', 'read_image', 'same', 'wipe']
