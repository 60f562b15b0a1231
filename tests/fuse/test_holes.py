# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""SEEK_DATA, SEEK_HOLE and st_blocks say what `vhdx map` says, and programs make use of it."""

import errno
import json
import os
import shutil

import pytest

from fuse_support import MIB, need, run, sha256

IMAGES = ['vhdx-log-replay.vhdx', 'btrfs.vhdx', 'ntfs-differential.vhdx', 'ntfs-fixed.vhdx',
          'fattools-multichunk-512.vhdx', 'fattools-dynamic-4096.vhdx']


@pytest.fixture(params=IMAGES)
def image(request, unpacked):
    """A real image."""
    unpacked('ntfs-parent.vhdx')
    return unpacked(request.param)


def data_by_map(vhdx, image, start, length):
    """[(start, end)] of the stored parts of a stretch of the disk, relative to it."""
    found = []
    for entry in json.loads(vhdx.ok('map', '--output=json', image)):
        begin = max(entry['start'], start) - start
        end = min(entry['start'] + entry['length'], start + length) - start
        if not entry['data'] or begin >= end:
            continue
        if found and found[-1][1] == begin:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def data_by_seek(path):
    """The same as a program finds it."""
    found, at = [], 0
    fd = os.open(path, os.O_RDONLY)
    try:
        while True:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                return found
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))
            assert os.lseek(fd, start, os.SEEK_DATA) == start
    finally:
        os.close(fd)


def test_seek(vhdx, mount, image):
    mounted = mount(image)
    size = os.path.getsize(mounted / 'disk')
    wanted = data_by_map(vhdx, image, 0, size)
    assert data_by_seek(mounted / 'disk') == wanted
    assert (mounted / 'disk').stat().st_blocks * 512 == sum(b - a for a, b in wanted)


@pytest.mark.parametrize('name, start', [('vhdx-log-replay.vhdx', None), ('btrfs.vhdx', MIB)])
def test_seek_in_a_partition(vhdx, mount, unpacked, name, start):
    """Offsets are the partition's own."""
    mounted = mount(unpacked(name))
    if start is None: # where sfdisk says
        need('sfdisk')
        table = json.loads(run('sfdisk', '--json', mounted / 'disk').stdout)['partitiontable']
        start = table['partitions'][0]['start'] * 512
    size = os.path.getsize(mounted / 'p1')
    wanted = data_by_map(vhdx, unpacked(name), start, size)
    assert data_by_seek(mounted / 'p1') == wanted
    assert (mounted / 'p1').stat().st_blocks * 512 == sum(b - a for a, b in wanted)


def test_seek_at_the_edges(mount, new_image):
    mounted = mount(new_image('8M'))
    for name in ('disk', 'info.json'):
        size = os.path.getsize(mounted / name)
        fd = os.open(mounted / name, os.O_RDONLY)
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            for offset in (size, size + 1):
                with pytest.raises(OSError) as caught:
                    os.lseek(fd, offset, whence)
                assert caught.value.errno == errno.ENXIO
        if name == 'info.json':
            assert os.lseek(fd, 1, os.SEEK_DATA) == 1
            assert os.lseek(fd, 1, os.SEEK_HOLE) == size
        else:
            assert os.lseek(fd, 4097, os.SEEK_HOLE) == 4097
            assert (mounted / name).stat().st_blocks == 0
        assert os.lseek(fd, -1, os.SEEK_END) == size - 1
        os.close(fd)


def test_huge_disk(mount, new_image):
    """64 TiB of nothing are there at once."""
    mounted = mount(new_image('64T'))
    assert (mounted / 'disk').stat().st_size == 64 << 40
    assert (mounted / 'disk').stat().st_blocks <= os.path.getsize(mounted.image) // 512
    assert data_by_seek(mounted / 'disk') == []


@pytest.mark.parametrize('when', ['auto', 'always'])
def test_cp(vhdx, mount, unpacked, tmp_path, when):
    """cp copies the data, and leaves the holes out."""
    image = unpacked('btrfs.vhdx')
    mounted = mount(image)
    copy = tmp_path / 'copy'
    run('cp', '--sparse=' + when, mounted / 'disk', copy)
    assert sha256(copy) == vhdx.ok('hash', image).split()[0]
    assert copy.stat().st_size == 1 << 30
    assert copy.stat().st_blocks * 512 <= (mounted / 'disk').stat().st_blocks * 512 + MIB


def test_cp_does_not_read_holes(mount, new_image, tmp_path):
    """1 TiB takes no time: a copy that read it would not end."""
    mounted = mount(new_image('1T'))
    run('cp', mounted / 'disk', tmp_path / 'copy')
    assert (tmp_path / 'copy').stat().st_size == 1 << 40
    assert (tmp_path / 'copy').stat().st_blocks < 2048


def test_copy_file_range(mount, unpacked, tmp_path):
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    with open(mounted / 'disk', 'rb') as source, open(tmp_path / 'copy', 'wb') as target:
        left = os.path.getsize(mounted / 'disk')
        while left:
            try:
                left -= os.copy_file_range(source.fileno(), target.fileno(), left)
            except OSError as error: # two file systems, and a kernel that does not copy then
                assert error.errno == errno.EXDEV
                left -= os.sendfile(target.fileno(), source.fileno(), None, left)
    assert sha256(tmp_path / 'copy') == sha256(mounted / 'disk')
    shutil.copyfile(mounted / 'disk', tmp_path / 'other')
    assert sha256(tmp_path / 'other') == sha256(mounted / 'disk')
