# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What the tests of mounted images share: mounting, asking the kernel, partition tables made by
hand, and file operations that Python does not have."""

import ctypes
import fcntl
import functools
import hashlib
import os
import pathlib
import signal
import struct
import subprocess
import uuid
import zlib

import pytest

from environment import program, wait_for

MIB = 1 << 20
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE = 1, 2, 8, 16  # of fallocate(2)
LIMIT = 120  # seconds for any program
SANITIZED = bool(os.environ.get('VHDX_SANITIZED'))

_libc = ctypes.CDLL(None, use_errno=True)


def need(*programs):
    """Skips without these programs."""
    for name in programs:
        program(name)


def need_root():
    """Skips where the tests have not the rights for loop devices and other users."""
    if os.getuid() != 0:
        pytest.skip('needs root')


def run(*command, **more):
    """Runs a program to its end; output is text. Demands success unless check=False."""
    environment = dict(os.environ, LC_ALL='C.UTF-8')
    environment['PATH'] += ':/usr/sbin:/sbin'
    more.setdefault('check', True)
    more.setdefault('stdin', None if 'input' in more else subprocess.DEVNULL)
    return subprocess.run(list(map(os.fspath, command)), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=LIMIT, env=environment, **more)


def sha256(path):
    """The digest of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    return digest.hexdigest()


def mounts():
    """{mount point: (type, source)} as the kernel has it."""
    found = {}
    with open('/proc/self/mountinfo', encoding='utf-8') as file:
        for line in file:
            left, right = line.split(' - ')
            place = left.split()[4].encode().decode('unicode_escape')
            found[place] = tuple(right.split()[:2])
    return found


wait_until = functools.partial(wait_for, seconds=30)


class Mount:
    """A mounted image: folder / 'disk' and so on."""

    def __init__(self, vhdx, image, folder, options, env=None):
        self.vhdx, self.image, self.folder = vhdx, pathlib.Path(image), pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.process = vhdx.start('mount', '-f', *options, image, folder,
                                  env=dict(os.environ, LC_ALL='C.UTF-8', **(env or {})))
        self.out = self.err = None
        self.wait_ready()

    def wait_ready(self):
        """Until the advice has been printed: then all files are there."""
        self.out = self.process.stdout.readline().decode()
        if not self.out:
            self.finish()
            raise AssertionError(self.err)

    def __truediv__(self, name):
        return self.folder / name

    def finish(self):
        """Waits for the program's end; its exit code."""
        out, err = self.process.communicate(timeout=LIMIT)
        self.out, self.err = (self.out or '') + out.decode(), err.decode()
        return self.process.returncode

    def end(self):
        """Unmounts it as people do, and demands that all was well."""
        assert self.vhdx.ok('umount', self.folder) == ''
        assert (self.finish(), self.err) == (0, '')
        assert str(self.folder) not in mounts()

    def kill(self):
        """SIGKILL, and the dead mount out of the way."""
        self.process.kill()
        self.process.wait(timeout=LIMIT)
        self.vhdx.ok('umount', self.folder)
        self.finish()

    def clean_up(self):
        """After the test, however it went."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        clear(self.folder)


def clear(folder):
    """Takes away whatever is left mounted there or below."""
    while left := [place for place in mounts()
                   if place == str(folder) or place.startswith(f'{folder}/')]:
        subprocess.run(['umount', '-l', left[-1]] if os.getuid() == 0
                       else ['fusermount3', '-uz', left[-1]], check=True)


# ---- File operations -----------------------------------------------------------------------------

def fallocate(fd, mode, offset, length):
    """fallocate(2)."""
    if _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def ask_pid(folder):
    """The question that `vhdx umount` has, with the number that belongs to it."""
    request = 2 << 30 | 4 << 16 | ord('V') << 8 | 1
    answer = bytearray(4)
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, request, answer)
    finally:
        os.close(fd)
    return struct.unpack('=i', answer)[0]


def read_at(path, offset, length):
    """A piece of a file, through a new descriptor."""
    with open(path, 'rb', buffering=0) as file:
        data = bytearray()
        while len(data) < length:
            piece = os.pread(file.fileno(), length - len(data), offset + len(data))
            assert piece
            data += piece
    return bytes(data)


def write_at(path, offset, data, flags=0, sync=False):
    """Writes a piece of a file."""
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def same(one, other):
    """Whether two long pieces of data are equal: pytest takes minutes to describe how they are
    not."""
    if one == other:
        return True
    first = next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), None)
    print(f'{len(one)} bytes, {len(other)} wanted, the first difference at {first}')
    return False


def pattern(seed, length):
    """Bytes that are nowhere zero and nowhere the same."""
    out = bytearray()
    while len(out) < length:
        out += hashlib.sha256(b'%r %d' % (seed, len(out))).digest().replace(b'\0', b'\1')
    return bytes(out[:length])


# ---- Partition tables made by hand ---------------------------------------------------------------

def mbr(entries):
    """A boot sector: (type, first sector, sectors) by slot, None for an empty one."""
    sector = bytearray(512)
    for slot, entry in enumerate(entries):
        if entry:
            kind, first, count = entry
            struct.pack_into('<8BII', sector, 446 + 16 * slot, 0, 0xFE, 0xFF, 0xFF, kind, 0xFE,
                             0xFF, 0xFF, first, count)
    sector[510:] = b'\x55\xaa'
    return bytes(sector)


def gpt(disk_size, sector, partitions):
    """[(offset, bytes)] of a GPT: partitions are {number: (first sector, last sector)}."""
    sectors = disk_size // sector
    table = bytearray(128 * 128)
    linux = uuid.UUID('0fc63daf-8483-4772-8e79-3d69d8477de4').bytes_le
    for number, (first, last) in partitions.items():
        struct.pack_into('<16s16sQQQ', table, 128 * (number - 1), linux,
                         uuid.UUID(int=number).bytes_le, first, last, 0)
    room = -(-len(table) // sector)

    def header(own, other, entries):
        fields = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, own, other,
                             2 + room, sectors - room - 2, uuid.UUID(int=99).bytes_le, entries,
                             128, 128, zlib.crc32(table))
        return fields[:16] + struct.pack('<I', zlib.crc32(fields)) + fields[20:]

    return [(0, mbr([(0xEE, 1, sectors - 1)])),
            (sector, header(1, sectors - 1, 2)), (2 * sector, bytes(table)),
            ((sectors - 1 - room) * sector, bytes(table)),
            ((sectors - 1) * sector, header(sectors - 1, 1, sectors - 1 - room))]
