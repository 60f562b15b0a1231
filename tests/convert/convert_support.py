# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of converting share: disks with known content, servers, file systems, and looking
at what was written with the reference reader, which shares no code with the library."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import random
import struct
import subprocess
import time

import pytest

import vhdxref
from environment import missing, program, wait_for
from sparsebytes import SparseBytes, pages_of_file

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
TIMEOUT = 120
FIEMAP, FIEMAP_SYNC, FIEMAP_BATCH = 0xC020660B, 1, 512
FIEMAP_SHARED, FIEMAP_LAST = 0x2000, 1


def run(*command, **more):
    """Runs a program, demands success; its standard output, bytes."""
    done = subprocess.run(list(map(os.fspath, command)), check=False, timeout=TIMEOUT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


# ---- Content -------------------------------------------------------------------------------------

def scatter(size, block=MIB, seed=1, most=40):
    """A disk of some size: data at its ends, across blocks, in part of blocks and in whole ones;
    zeros that were written; the rest was never touched."""
    rng, disk = random.Random('%d %d %d' % (seed, size, block)), SparseBytes(size)
    places = [0, size - 1, size // 2, size - 4097]
    places += [n * block - 700 for n in range(1, min(6, size // block + 1))]
    places += [rng.randrange(size) for _ in range(most - len(places))] if size else []
    for place in places:
        length = rng.choice((1, 512, 4096, 5000, 70000, min(block, MIB)))
        if 0 <= place < size:
            disk.put(place, rng.randbytes(min(length, size - place)))
    return disk


def dense(path, size, seed=1):
    """A raw file full of random bytes; its SHA-256."""
    rng, digest = random.Random(seed), hashlib.sha256()
    with open(path, 'wb') as file:
        for at in range(0, size, MIB):
            data = rng.randbytes(min(MIB, size - at))
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def sha256_of_file(path):
    """Of all bytes, with the holes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while data := file.read(MIB):
            digest.update(data)
    return digest.hexdigest()


def padded(disk, unit):
    """The disk with zeros up to the next multiple of unit."""
    return disk.copy(-(-disk.size // unit) * unit)


def same_pages(found, expected):
    """Compares two disks page by page, and names the first difference."""
    found, expected = dict(found), dict(expected)
    differing = sorted(at for at in found.keys() | expected.keys()
                       if found.get(at) != expected.get(at))
    assert not differing, '%d pages differ, the first at %#x' % (len(differing), differing[0])


def same_raw(path, disk):
    """A raw file has the size and the content of a disk."""
    assert os.path.getsize(path) == disk.size
    same_pages(pages_of_file(path), disk.pages())


class Facts:
    """What the reference reader, which is strict, finds in an image."""

    def __init__(self, path, resolver=vhdxref.relative_parent):
        image = vhdxref.open_image(str(path), resolver)
        self.size, self.block, self.sector = image.size, image.block_size, image.sector
        self.fixed, self.has_parent = image.metadata.fixed, image.metadata.has_parent
        self.log_entries, self.bat = image.log_entries, dict(image.bat)
        self.extents = list(image.extents())
        self.content = image.content()
        image.close()

    def own(self):
        """(start, end) of what lies in the image itself, not in a parent."""
        return [(e.offset, e.offset + e.length) for e in self.extents
                if e.kind == 'data' and e.depth == 0]


def same_image(path, disk, **facts):
    """An image is sound and has the content of a disk, and these facts; what was found."""
    found = Facts(path)
    assert found.size == disk.size
    assert found.log_entries == 0, 'a new image is clean'
    for name, value in facts.items():
        assert getattr(found, name) == value, name
    same_pages(found.content.pages(), disk.pages())
    return found


def used(path):
    """Bytes that the file system has given a file."""
    return os.stat(path).st_blocks * 512


def holes(path):
    """(start, end) of the holes of a file."""
    found, at = [], 0
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            start = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            if start >= size:
                break
            try:
                at = os.lseek(file.fileno(), start, os.SEEK_DATA)
            except OSError:
                at = size
            found.append((start, at))
    return found


def physical(path):
    """[(offset in the file, address on the device, length, flags)], by FIEMAP."""
    found, start = [], 0
    with open(path, 'rb') as file:
        while not found or not found[-1][3] & FIEMAP_LAST:
            buffer = bytearray(32 + 56 * FIEMAP_BATCH)
            struct.pack_into('<QQIIII', buffer, 0, start, (1 << 64) - 1 - start, FIEMAP_SYNC, 0,
                             FIEMAP_BATCH, 0)
            fcntl.ioctl(file.fileno(), FIEMAP, buffer)
            count = struct.unpack_from('<I', buffer, 20)[0]
            if count == 0:
                break
            for n in range(count):
                logical, address, length = struct.unpack_from('<QQQ', buffer, 32 + 56 * n)
                found.append((logical, address, length,
                              struct.unpack_from('<I', buffer, 32 + 56 * n + 40)[0]))
            start = found[-1][0] + found[-1][2]
    return found


# ---- Servers and file systems --------------------------------------------------------------------

class Served:
    """A server in the foreground on a socket."""

    def __init__(self, command, socket):
        self.uri = 'nbd+unix:///?socket=%s' % socket
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: socket.exists() or self.process.poll() is not None, 'the server starts')
        assert self.process.poll() is None, command

    def stop(self):
        """In good order, with all that was written in its file."""
        self.process.terminate()
        self.process.wait(TIMEOUT)

    def kill(self):
        """No good end."""
        self.process.kill()
        self.process.wait(TIMEOUT)


MAKERS = {'xfs': ('mkfs.xfs', '-q', '-m', 'reflink=1'), 'btrfs': ('mkfs.btrfs', '-q'),
          'ext4': ('mkfs.ext4', '-q', '-F', '-O', '^has_journal')}


@contextlib.contextmanager
def mounted(folder, kind, size):
    """A file system of its own, for root."""
    if os.geteuid() != 0:
        pytest.skip('only root can mount')
    place = folder / 'mnt'
    place.mkdir()
    if kind == 'tmpfs':
        command = ['mount', '-t', 'tmpfs', '-o', 'size=%d' % size, 'tmpfs', str(place)]
    else:
        disk = folder / 'disk.img'
        with open(disk, 'wb') as file:
            file.truncate(size)
        run(program(MAKERS[kind][0]), *MAKERS[kind][1:], disk)
        command = ['mount', '-o', 'loop', str(disk), str(place)]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        missing('%s cannot be mounted here: %s' % (kind, done.stderr.strip()))
    try:
        yield place
    finally:
        subprocess.run(['umount', str(place)], check=True)


def free(folder):
    """Bytes that its file system has left, once it has freed what was removed before."""
    found = []
    while len(found) < 2 or found[-1] != found[-2]:
        os.sync()
        status = os.statvfs(folder)
        found.append(status.f_bfree * status.f_frsize)
        time.sleep(0.03)
    return found[-1]


# ---- What must not be left behind ----------------------------------------------------------------

class Watched:
    """A folder in which, after a failure, everything must be as it was."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.before = self.look()

    def look(self):
        """Names, sizes and contents."""
        return {path.name: None if path.is_dir() or not path.exists() or path.is_socket()
                else (path.stat().st_size, sha256_of_file(path))
                for path in self.folder.iterdir()}

    def unchanged(self):
        """Is it?"""
        assert self.look() == self.before
