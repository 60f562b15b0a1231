# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Images written by the library, in the eyes of others: the reference reader in tests/lib, which is
strict, qemu-img, libvhdi (pyvhdi), 7-Zip, and e2fsck on a file system inside. None of them shares
code with the library. Images are finished, or left dirty: closed without an end of the session, or
their writer killed after a flush."""

import os
import random
import shutil
import signal
import struct
import subprocess
from collections import namedtuple

import pytest

import vhdxref

try:
    import pyvhdi
except ImportError:
    pyvhdi = None

MIB = 1 << 20
PIECE = 1 << 20
TIMEOUT = 300

Kind = namedtuple('Kind', 'type size block sector parents')  # parents: sizes, the next one first

KINDS = {
    'dynamic-1m': Kind('dynamic', 9 * MIB + 512, MIB, 512, ()),
    'dynamic-2m': Kind('dynamic', 12 * MIB, 2 * MIB, 512, ()),
    'dynamic-32m': Kind('dynamic', 40 * MIB, 32 * MIB, 512, ()),
    'dynamic-4096': Kind('dynamic', 9 * MIB + 4096, MIB, 4096, ()),
    'fixed': Kind('fixed', 7 * MIB, 2 * MIB, 512, ()),
    'fixed-4096': Kind('fixed', 5 * MIB, MIB, 4096, ()),
    'child': Kind('differencing', 9 * MIB + 512, MIB, 512, (9 * MIB + 512,)),
    'child-larger': Kind('differencing', 9 * MIB, 2 * MIB, 512, (5 * MIB + 512,)),
    'child-4096': Kind('differencing', 8 * MIB, MIB, 4096, (8 * MIB,)),
    'child-of-a-child': Kind('differencing', 8 * MIB, MIB, 512, (6 * MIB, 9 * MIB)),
}
ALONE = [name for name, kind in KINDS.items() if not kind.parents]
ENDS = ('finished', 'closed', 'killed')


def missing(why):
    """Skips a test, but not where nothing may be left out."""
    if os.environ.get('CI') == 'true':
        pytest.fail(why)
    pytest.skip(why)


def program(name):
    """The path of a program that must be installed."""
    return shutil.which(name) or missing(name + ' is not installed')


def run(*command, **options):
    """Runs a program; its standard output."""
    done = subprocess.run(command, check=False, timeout=TIMEOUT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


# ---- Writing -------------------------------------------------------------------------------------

def pattern(offset, length, seed):
    """What driver.c writes there."""
    first, last = offset // 512, (offset + length - 1) // 512
    data = b''.join(struct.pack('<Q', seed << 32 | sector) * 64
                    for sector in range(first, last + 1))
    return data[offset - first * 512:][:length]


class Script:
    """Lines for driver.c, and the content that they must lead to."""

    def __init__(self, folder, seed):
        self.folder, self.random, self.lines = folder, random.Random(seed), []
        self.content = bytearray()

    def path(self, name):
        """The path of a file of the test."""
        return os.path.join(self.folder, name)

    def add(self, *words):
        """A line."""
        self.lines.append(' '.join(str(word) for word in words))

    def create(self, name, kind, size, parent):
        """A new image over the one that this script has written so far."""
        self.add('create', self.path(name), kind.type if parent or not kind.parents else 'dynamic',
                 size, kind.block, 0 if parent else kind.sector,
                 self.path(parent) if parent else '-')
        self.content = self.content[:size].ljust(size, b'\0')

    def change(self, size, kind):
        """One change. Trims only where the image holds all of the range, or has no parent."""
        what, offset = self.random.random(), self.random.randrange(size)
        length = self.random.choice((1, 512, 4096, 5000, 70000, kind.block))
        if self.random.random() < 0.5:
            unit = kind.block if length == kind.block else 4096
            offset = offset // unit * unit
        length = min(length, size - offset)
        if what < 0.7 or what >= 0.9 and kind.parents:
            seed = self.random.randrange(1, 1 << 24)
            self.add('write', offset, length, seed)
            self.content[offset:offset + length] = pattern(offset, length, seed)
            if what < 0.9:
                return
        verb = 'zero' if what < 0.9 else 'trim'
        self.add(verb, offset, length)
        self.content[offset:offset + length] = bytes(length)

    def session(self, name, size, kind, count):
        """A session of changes; its end is the caller's."""
        self.add('open', self.path(name))
        for _ in range(count):
            self.change(size, kind)
            if self.random.random() < 0.1:
                self.add('flush')

    def play(self, end):
        """Runs the driver."""
        if end != 'killed':
            self.add('finish' if end == 'finished' else 'flush')
            self.add('close')
            run_driver(self.lines)
            return
        self.add('flush')
        self.add('ready')
        kill_driver(self.lines)


def run_driver(lines):
    """Runs the script to its end."""
    done = subprocess.run(os.environ['VHDX_DRIVER'].split(), input='\n'.join(lines) + '\n',
                          check=False, timeout=TIMEOUT, text=True, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


def kill_driver(lines):
    """Runs the script, and kills the driver when it is ready."""
    with subprocess.Popen(os.environ['VHDX_DRIVER'].split(), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write('\n'.join(lines) + '\n')
        process.stdin.flush()
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(signal.SIGKILL)


def make(folder, name, end, seed=1, count=60):
    """Writes an image of a kind, with its parents; its path and content."""
    kind, script, parent = KINDS[name], Script(str(folder), seed), None
    for number, size in reversed(list(enumerate(kind.parents))):
        image = 'parent%d.vhdx' % number
        script.create(image, kind, size, parent)
        script.session(image, size, kind, count // 2)
        script.add('finish')
        script.add('close')
        parent = image
    script.create('disk.vhdx', kind, kind.size, parent)
    script.session('disk.vhdx', kind.size, kind, count)
    script.play(end)
    return script.path('disk.vhdx'), script.content


def ours(path):
    """What the library reads, through the tool."""
    raw = path + '.ours'
    run(*os.environ['VHDX'].split(), 'convert', '-q', '-O', 'raw', path, raw)
    with open(raw, 'rb') as file:
        return file.read()


def same(found, expected):
    """Are they equal? Says where not."""
    assert len(found) == len(expected)
    if found != expected:
        at = next(at for at in range(len(expected)) if found[at] != expected[at])
        pytest.fail('byte %#x is %#x, must be %#x' % (at, found[at], expected[at]))


# ---- Judges --------------------------------------------------------------------------------------

@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('name', KINDS)
def test_reference_reader(tmp_path, name, end):
    """Strict in structure, and the content is what was written."""
    path, content = make(tmp_path, name, end)
    image = vhdxref.open_image(path)
    if KINDS[name].type != 'fixed':  # whose tables do not change
        assert (image.log_entries == 0) == (end == 'finished')
    data = bytearray(len(content))
    for extent in image.extents():
        if extent.kind == 'data':
            file = image.image_at(extent.depth).file
            data[extent.offset:extent.offset + extent.length] = \
                file.read(extent.file_offset, extent.length)
    image.close()
    same(data, content)
    same(ours(path), content)


def qemu_reads(path):
    """What qemu-img convert makes of an image."""
    raw = path + '.qemu'
    run(program('qemu-img'), 'convert', '-f', 'vhdx', '-O', 'raw', path, raw)
    with open(raw, 'rb') as file:
        return file.read()


@pytest.mark.parametrize('name', [name for name in ALONE if KINDS[name].sector == 512])
def test_qemu_reads_finished_images(tmp_path, name):
    """qemu-img check finds nothing, and reads the same."""
    path, content = make(tmp_path, name, 'finished', seed=2)
    run(program('qemu-img'), 'check', '-f', 'vhdx', path)
    same(qemu_reads(path), content)


@pytest.mark.parametrize('end', ENDS[1:])
@pytest.mark.parametrize('name', [name for name in ALONE if KINDS[name].sector == 512])
def test_qemu_replays_dirty_images(tmp_path, name, end):
    """It replays our log to the same content, and finds nothing afterwards."""
    path, content = make(tmp_path, name, end, seed=3)
    copy = str(tmp_path / 'copy.vhdx')
    shutil.copyfile(path, copy)
    subprocess.run([program('qemu-img'), 'check', '-r', 'all', '-f', 'vhdx', copy], check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run(program('qemu-img'), 'check', '-f', 'vhdx', copy)
    same(qemu_reads(copy), content)
    same(ours(path), content)


@pytest.mark.parametrize('name', ALONE)
def test_libvhdi(tmp_path, name):
    """libvhdi reads finished images the same."""
    if pyvhdi is None:
        missing('pyvhdi (python3-libvhdi) is not installed')
    path, content = make(tmp_path, name, 'finished', seed=4)
    file = pyvhdi.file()
    file.open(path)
    assert file.get_media_size() == len(content)
    found = b''.join(file.read(min(PIECE, len(content) - at))
                     for at in range(0, len(content), PIECE))
    file.close()
    same(found, content)
    run(program('vhdiinfo'), path)


@pytest.mark.parametrize('name', ALONE)
def test_7zip(tmp_path, name):
    """7-Zip reads finished images the same."""
    if KINDS[name].size % MIB:
        pytest.skip('7-Zip refuses disks of such a size, empty ones too')
    path, content = make(tmp_path, name, 'finished', seed=5)
    same(run(program('7zz'), 'e', '-so', '-tVHDX', path), content)


# ---- A file system inside ------------------------------------------------------------------------

def make_ext4(folder):
    """A raw file with a file system that is well filled."""
    files, raw = folder / 'files', folder / 'ext4.img'
    files.mkdir()
    rng = random.Random(6)
    for number in range(120):
        (files / ('file%d' % number)).write_bytes(rng.randbytes(rng.randrange(1, 90000)))
    with open(raw, 'wb') as file:
        file.truncate(24 * MIB)
    run(program('mkfs.ext4'), '-q', '-F', '-d', str(files), str(raw))
    return raw


@pytest.mark.parametrize('sector', (512, 4096))
def test_file_system_survives_a_kill(tmp_path, sector):
    """Its blocks, written in random order by a process that is killed after a flush, and that was
    writing all over again then."""
    raw = make_ext4(tmp_path)
    content, path = raw.read_bytes(), str(tmp_path / 'disk.vhdx')
    lines = ['create %s dynamic %d %d %d' % (path, len(content), MIB, sector), 'open ' + path]
    blocks = [at for at in range(0, len(content), 4096) if any(content[at:at + 4096])]
    rng = random.Random(7)
    rng.shuffle(blocks)
    for at in blocks:
        lines.append('copy %d 4096 %s' % (at, raw))
        if rng.random() < 0.02:
            lines.append('flush')
    lines += ['flush', 'ready'] + ['copy %d 4096 %s' % (at, raw) for at in blocks]
    kill_driver(lines)
    found = ours(path)
    same(found, content)
    run(program('e2fsck'), '-fn', path + '.ours')
