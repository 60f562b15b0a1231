# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""--overlay: writes go to a throw-away child; the image is never touched."""

import os
import shutil

import pytest

from fuse_support import (KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, need, need_root, pattern, read_at,
                          run, same, sha256, write_at)


@pytest.fixture
def place(tmp_path):
    """A folder for overlays, which must be empty whenever one looks."""
    path = tmp_path / 'overlays'
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []


@pytest.mark.parametrize('name', ['ntfs-parent.vhdx', 'ntfs-differential.vhdx',
                                  'vhdx-log-replay.vhdx', 'fattools-dynamic-4096.vhdx'])
def test_image_stays(vhdx, mount, unpacked, place, name):
    """Written and punched all over; the image is bit-identical, and a new mount shows it as it
    was."""
    unpacked('ntfs-parent.vhdx')
    image = unpacked(name)
    before = (sha256(image), image.stat().st_mtime_ns)
    wanted = vhdx.ok('hash', image).split()[0]
    mounted = mount(image, '--overlay', env={'TMPDIR': str(place)})
    assert sha256(mounted / 'disk') == wanted
    size = os.path.getsize(mounted / 'disk')
    assert list(place.iterdir()) == [] # already without a name
    for number in range(8):
        offset = number * (size // 8) + 1000
        write_at(mounted / 'disk', offset, pattern(number, 70000), sync=True)
        assert same(read_at(mounted / 'disk', offset, 70000), pattern(number, 70000))
    with open(mounted / 'disk', 'r+b') as file:
        fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 0, MIB)
    assert same(read_at(mounted / 'disk', 0, MIB), bytes(MIB))
    assert sha256(mounted / 'disk') != wanted
    mounted.end()
    assert (sha256(image), image.stat().st_mtime_ns) == before
    assert vhdx.ok('hash', image).split()[0] == wanted


def test_nothing_is_left_after_kill(mount, new_image, place):
    image = new_image('8M')
    mounted = mount(image, '--overlay', env={'TMPDIR': str(place)})
    write_at(mounted / 'disk', 0, pattern(1, MIB), sync=True)
    mounted.kill()


def test_image_can_be_shared(mount, new_image, place):
    """Two overlays of one image know nothing of each other."""
    image = new_image('8M')
    one = mount(image, '--overlay', name='one', env={'TMPDIR': str(place)})
    two = mount(image, '--overlay', name='two', env={'TMPDIR': str(place)})
    write_at(one / 'disk', 0, b'one')
    write_at(two / 'disk', 0, b'two')
    assert (read_at(one / 'disk', 0, 3), read_at(two / 'disk', 0, 3)) == (b'one', b'two')


def test_journal_is_replayed_in_it(mount, new_image, place, tmp_path):
    """What the overlay is for: e2fsck writes, and the image need not allow it."""
    need('mkfs.ext4', 'e2fsck')
    image = new_image('64M')
    writing = mount(image, '--rw', name='writing')
    run('mkfs.ext4', '-q', '-F', writing / 'disk')
    writing.end()
    image.chmod(0o444)
    before = sha256(image)
    mounted = mount(image, '--overlay', env={'TMPDIR': str(place)})
    assert run('e2fsck', '-fy', mounted / 'disk', check=False).returncode in (0, 1)
    mounted.end()
    assert sha256(image) == before


def test_parent_options_reach_it(mount, unpacked, tmp_path, place):
    child = tmp_path / 'child.vhdx'
    shutil.copyfile(unpacked('ntfs-differential.vhdx'), child)
    plain = mount(child, '--parent', unpacked('ntfs-parent.vhdx'), name='plain')
    mounted = mount(child, '--overlay', '--parent', unpacked('ntfs-parent.vhdx'),
                    env={'TMPDIR': str(place)})
    assert sha256(mounted / 'disk') == sha256(plain / 'disk')
    assert (mounted / 'info.json').read_bytes() == (plain / 'info.json').read_bytes()


def test_no_place_for_it(vhdx, new_image, folder, tmp_path):
    image = new_image('8M')
    nowhere = tmp_path / 'nowhere'
    first, hint = vhdx.fails('mount', '--overlay', image, folder,
                             env={'TMPDIR': str(nowhere)}).splitlines()
    assert first == f'vhdx: {nowhere}: No such file or directory'
    assert hint == 'vhdx: hint: TMPDIR names another folder for the overlay'


def test_full_overlay(mount, new_image, tmp_path):
    """ENOSPC where the overlay lies reaches the client too."""
    need_root()
    small = tmp_path / 'small'
    small.mkdir()
    run('mount', '-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', small)
    try:
        mounted = mount(new_image('64M'), '--overlay', env={'TMPDIR': str(small)})
        with pytest.raises(OSError, match='No space left'), open(mounted / 'disk', 'r+b') as file:
            for number in range(64):
                file.write(pattern(number, MIB))
                file.flush()
        mounted.vhdx.ok('umount', mounted.folder)
        assert mounted.finish() == 0
    finally:
        run('umount', '-l', small)
