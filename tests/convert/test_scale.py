# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Time and memory follow the data, not the disk: 64 TiB with a few MiB in them, and 2 GiB full of
data through a process that stays small."""

import os
import random

import pytest

from convert_support import (GIB, MIB, TIB, TIMEOUT, SparseBytes, same_image, same_raw,
                             sha256_of_file)

MEMORY_KIB = 64 << 10
SECONDS = 2


@pytest.fixture
def measured(vhdx, launcher, tmp_path):
    """A function that converts, and bounds memory (and time); not under an emulator."""
    if vhdx.emulated or os.environ.get('VHDX_SANITIZED'):
        pytest.skip('memory means nothing in this build')

    def check(*arguments, seconds=None, before=(), verb='convert'):
        command = [*before, *vhdx.command, verb, '-q', *arguments]
        best = None
        for attempt in range(3 if seconds else 1):
            if attempt:
                os.unlink(arguments[-1])
            done = launcher.run(command, tmp_path, TIMEOUT)
            assert done.code == 0, done.err
            assert done.rss_kib <= MEMORY_KIB, '%d KiB' % done.rss_kib
            best = min(best or done.seconds, done.seconds)
            if not seconds or best <= seconds:
                break
        assert not seconds or best <= seconds, '%.2f s' % best
        return done.out
    return check


def far_apart(size):
    """A few MiB of data on a large disk."""
    disk = SparseBytes(size)
    for place in (0, size // 3 // 4096 * 4096 + 512, size // 2, size - MIB):
        disk.put(place, os.urandom(MIB))
    return disk


def test_64_tib_raw_to_vhdx(measured, huge):
    """And back. The image has a BAT of 16 MiB that nearly all is a hole."""
    disk = far_apart(64 * TIB)
    disk.save(huge / 'a.raw')
    measured(huge / 'a.raw', huge / 'b.vhdx', seconds=SECONDS)
    same_image(huge / 'b.vhdx', disk)
    measured(huge / 'b.vhdx', huge / 'c.raw', seconds=SECONDS)
    same_raw(huge / 'c.raw', disk)


def test_64_tib_vhdx_to_vhdx(vhdx, measured, tmp_path):
    """With another block size, on any file system."""
    vhdx.ok('create', '-q', '-o', 'block_size=1M', tmp_path / 'a.vhdx', '64T')
    measured('-o', 'block_size=32M', tmp_path / 'a.vhdx', tmp_path / 'b.vhdx', seconds=SECONDS)
    same_image(tmp_path / 'b.vhdx', SparseBytes(64 * TIB), block=32 * MIB)


def test_64_tib_child(vhdx, measured, huge):
    """Only the data of both is compared."""
    disk = far_apart(64 * TIB)
    disk.save(huge / 'a.raw')
    vhdx.ok('convert', '-q', huge / 'a.raw', huge / 'p.vhdx')
    disk.put(40 * TIB, b'changed')
    disk.save(huge / 'a.raw')
    measured('-b', huge / 'p.vhdx', huge / 'a.raw', huge / 'c.vhdx', seconds=SECONDS)
    found = same_image(huge / 'c.vhdx', disk, has_parent=True)
    assert sum(end - start for start, end in found.own()) <= MIB


def full(path, size):
    """Fast data without zeros, no two MiB alike, the same each time."""
    block = bytearray(random.Random(size).randbytes(MIB))
    with open(path, 'wb') as file:
        for number in range(size // MIB):
            block[:8] = number.to_bytes(8, 'little')
            file.write(block)


def test_memory_for_2_gib(measured, tmp_path):
    """Of data."""
    full(tmp_path / 'a.raw', 2 * GIB)
    measured(tmp_path / 'a.raw', tmp_path / 'b.vhdx')


@pytest.mark.parametrize('options', [['-m', '8'], ['-m', '64'],
                                     ['-m', '64', '-S', '1M'],
                                     ['--verify', '--checksum', 'sha256']],
                         ids=' '.join)
def test_memory_with_options(vhdx, measured, tmp_path, options):
    """With more threads, and with all that could keep data."""
    size = 256 * MIB
    full(tmp_path / 'a.raw', size)
    measured(*options, tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    os.unlink(tmp_path / 'a.raw')
    measured(*options, tmp_path / 'b.vhdx', tmp_path / 'c.raw')
    full(tmp_path / 'd.raw', size)
    assert sha256_of_file(tmp_path / 'c.raw') == sha256_of_file(tmp_path / 'd.raw')
    assert vhdx.ok('check', '-q', tmp_path / 'b.vhdx') == ''


def test_memory_of_compare(measured, tmp_path, libnbd, nbdkit_serve):
    """With as many threads as can be asked for, each of which waits for two servers."""
    full(tmp_path / 'a.raw', 512 * MIB)
    both = [nbdkit_serve('file', tmp_path / 'a.raw').uri for _ in range(2)]
    measured('-m', '64', *both, verb='compare')


def test_memory_with_large_blocks(measured, tmp_path):
    """A block of 256 MiB does not have to fit in."""
    full(tmp_path / 'a.raw', 260 * MIB)
    measured('-o', 'block_size=256M', tmp_path / 'a.raw', tmp_path / 'b.vhdx')
    measured('-m', '8', tmp_path / 'b.vhdx', tmp_path / 'c.raw')


@pytest.mark.parametrize('out', ['b.vhdx', '-'])
def test_memory_of_a_stream(vhdx, tmp_path, measured, out):
    """Through a pipe, 260 MiB. The figure is that of the largest program in the pipeline."""
    full(tmp_path / 'a.raw', 260 * MIB)
    said = measured('-O', 'vhdx', '-', '-' if out == '-' else tmp_path / out,
                    before=['sh', '-c', 'cat "$0" | "$@"', tmp_path / 'a.raw'])
    if out == '-':
        (tmp_path / 'b.vhdx').write_bytes(said)
    vhdx.ok('check', '-q', tmp_path / 'b.vhdx')
