# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx measure: the size that it tells is that of the file which vhdx convert then writes."""

import json
import os
import random
import shutil
import subprocess

import pytest

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


def measured(vhdx, *args):
    """(required, fully allocated); text and JSON agree."""
    told = json.loads(vhdx.ok('measure', '--output=json', *args))
    assert list(told) == ['required', 'fully-allocated']
    assert vhdx.ok('measure', *args) == \
        'required size: %d\nfully allocated size: %d\n' % tuple(told.values())
    return tuple(told.values())


@pytest.fixture
def disk(tmp_path):
    """A raw file of an odd size, with data in some places and no zeros in them."""
    path, rng = tmp_path / 'disk.raw', random.Random(3)
    with open(path, 'wb') as file:
        file.truncate(300 * MIB + 1000)
        for at, length in (0, 4096), (MIB - 4096, 8192), (70 * MIB, 9 * MIB), (299 * MIB, MIB):
            file.seek(at)
            file.write(bytes(rng.randrange(1, 256) for _ in range(4096)) * (length // 4096))
    return path


@pytest.mark.parametrize('options', [
    [], ['-o', 'block_size=1M'], ['-o', 'block_size=32M'], ['-o', 'block_size=256M,log_size=4M'],
    ['-o', 'logical_sector_size=4096'], ['-o', 'subformat=fixed'],
    ['-o', 'subformat=fixed,block_size=64M'],
])
def test_vhdx(vhdx, disk, tmp_path, options):
    required, full = measured(vhdx, *options, disk)
    vhdx.ok('convert', '-O', 'vhdx', *options, disk, tmp_path / 'out.vhdx')
    assert os.path.getsize(tmp_path / 'out.vhdx') == required <= full
    assert measured(vhdx, *options, tmp_path / 'out.vhdx')[1] == full
    if 'subformat=fixed' in ''.join(options):
        assert required == full


def test_a_full_disk(vhdx, tmp_path):
    path = tmp_path / 'full.raw'
    path.write_bytes(b'f' * (9 * MIB))
    required, full = measured(vhdx, path)
    assert required == full
    vhdx.ok('convert', '-O', 'vhdx', path, tmp_path / 'out.vhdx')
    assert os.path.getsize(tmp_path / 'out.vhdx') == full


def test_at_most(vhdx, tmp_path):
    """Zeros that only reading finds count as data."""
    path = tmp_path / 'zeros.raw'
    path.write_bytes(bytes(16 * MIB))
    required, full = measured(vhdx, path)
    vhdx.ok('convert', '-O', 'vhdx', path, tmp_path / 'out.vhdx')
    assert os.path.getsize(tmp_path / 'out.vhdx') < required == full


def test_a_pipe(vhdx, disk):
    """The same as for the file."""
    with subprocess.Popen(['cat', disk], stdout=subprocess.PIPE) as cat:
        said = vhdx.ok('measure', '--output=json', '-', stdin=cat.stdout)
    assert said == vhdx.ok('measure', '--output=json', disk)


@pytest.mark.parametrize('size, block', [(MIB, 1), (GIB + 512, 2), (40 * TIB, 1), (64 * TIB, 256)])
def test_an_empty_disk(vhdx, tmp_path, size, block):
    options = ['-o', f'block_size={block}M']
    required, full = measured(vhdx, *options, '--size', str(size))
    vhdx.ok('create', '-q', *options, tmp_path / 'a.vhdx', str(size))
    assert os.path.getsize(tmp_path / 'a.vhdx') == required
    blocks = -(-size // (block * MIB))
    assert full == required + blocks * block * MIB


def test_sizes_may_have_suffixes_and_are_rounded_up(vhdx):
    assert measured(vhdx, '--size', '1.5G') == measured(vhdx, '--size', str(3 * GIB // 2))
    assert measured(vhdx, '--size', '1') == measured(vhdx, '--size', '512')
    assert measured(vhdx, '-o', 'size=1G') == measured(vhdx, '--size', '1G')


def test_raw_is_what_qemu_img_says(vhdx, disk):
    size = os.path.getsize(disk)
    assert measured(vhdx, '-O', 'raw', disk) == (size, size)
    if not shutil.which('qemu-img'):
        pytest.skip('no qemu-img')
    for sort in [], ['--output=json']:
        said = subprocess.run(['qemu-img', 'measure', '-O', 'raw', *sort, '--size', '7M'],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
        assert vhdx.ok('measure', '-O', 'raw', *sort, '--size', '7M') == said


@pytest.mark.parametrize('flags, size', [([], 300 * MIB + 1024), (['--azure'], 301 * MIB)])
def test_vhd(vhdx, disk, tmp_path, flags, size):
    assert measured(vhdx, '-O', 'vhd', *flags, disk) == (size + 512, size + 512)
    vhdx.ok('convert', '-O', 'vhd', *flags, disk, tmp_path / 'out.vhd')
    assert os.path.getsize(tmp_path / 'out.vhd') == size + 512


def test_mistakes(vhdx, disk):
    assert 'either a file or --size' in vhdx.fails('measure')
    assert 'not both' in vhdx.fails('measure', '--size', '1G', disk)
    assert 'qcow2' in vhdx.fails('measure', '-O', 'qcow2', disk)
    assert 'at most 64 TiB' in vhdx.fails('measure', '--size', '65T')
    assert 'must be a power of two' in vhdx.fails('measure', '-o', 'block_size=3M', disk)
    assert 'child' in vhdx.fails('measure', '-o', 'backing_file=x.vhdx', disk)
    assert 'only a VHDX' in vhdx.fails('measure', '-O', 'raw', '-o', 'block_size=1M', disk)
    assert 'Azure takes VHDs' in vhdx.fails('measure', '--azure', disk)
    assert 'No such file' in vhdx.fails('measure', str(disk) + 'x')
