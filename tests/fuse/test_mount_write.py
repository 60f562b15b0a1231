# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""--rw: what is written goes to the image, what was flushed survives, what is punched is zero."""

import concurrent.futures
import errno
import json
import os
import random

import pytest

from fuse_support import (COLLAPSE_RANGE, KEEP_SIZE, MIB, PUNCH_HOLE, ZERO_RANGE, fallocate, mbr,
                          need_root, pattern, read_at, run, same, sha256, write_at)

DATA = pattern('data', 3 * MIB)


def info(vhdx, image):
    """What `vhdx info` says."""
    return json.loads(vhdx.ok('info', '--output=json', image))


def content(vhdx, image, offset, length):
    """A piece of the disk, read without a mount."""
    return vhdx.ok('cat', '--offset', str(offset), '--length', str(length), image, text=False)


def child_of_full(vhdx, new_image, mount, tmp_path):
    """An empty child of a parent without a zero byte; and the parent's content."""
    parent = new_image('16M', name='parent.vhdx')
    mounted = mount(parent, '--rw', name='filling')
    full = pattern('parent', 16 * MIB)
    write_at(mounted / 'disk', 0, full)
    mounted.end()
    child = tmp_path / 'child.vhdx'
    vhdx.ok('create', '-q', '-b', parent, child)
    return child, full


def test_write_through(vhdx, mount, new_image):
    """Written, read back at once, and there after unmounting; the log is clean."""
    image = new_image('64M')
    mounted = mount(image, '--rw')
    model = bytearray(64 * MIB)
    source = random.Random(5)
    fd = os.open(mounted / 'disk', os.O_RDWR)
    for number in range(150):
        offset = source.randrange(62 * MIB)
        data = pattern(number, source.choice((1, 512, 5000, 4096, 300000, 2 * MIB)))
        assert os.pwrite(fd, data, offset) == len(data)
        model[offset:offset + len(data)] = data
        assert os.pread(fd, len(data) + 2, max(0, offset - 1)) == \
            model[max(0, offset - 1):][:len(data) + 2]
    os.close(fd)
    assert same((mounted / 'disk').read_bytes(), model)
    mounted.end()
    assert same(content(vhdx, image, 0, 64 * MIB), model)
    after = info(vhdx, image)
    assert not after['dirty-flag'] and after['format-specific']['data']['log']['state'] == 'clean'


def test_fsync_survives_kill(vhdx, mount, new_image):
    image = new_image('64M')
    mounted = mount(image, '--rw')
    write_at(mounted / 'disk', 5 * MIB, DATA, sync=True)
    mounted.kill()
    assert same(content(vhdx, image, 5 * MIB, len(DATA)), DATA)


@pytest.mark.parametrize('flag', [os.O_SYNC, os.O_DSYNC])
def test_synchronous_write_survives_kill(vhdx, mount, new_image, flag):
    image = new_image('64M')
    mounted = mount(image, '--rw')
    write_at(mounted / 'disk', 5 * MIB, DATA, flags=flag)
    mounted.kill()
    assert same(content(vhdx, image, 5 * MIB, len(DATA)), DATA)


def test_without_fsync_nothing_is_promised(vhdx, mount, new_image):
    """Why the three tests above can fail: a new block that nobody flushed is gone."""
    image = new_image('64M')
    mounted = mount(image, '--rw')
    write_at(mounted / 'disk', 5 * MIB, DATA)
    mounted.kill()
    assert same(content(vhdx, image, 5 * MIB, len(DATA)), bytes(len(DATA)))


def test_both_views_are_one_disk(mount, new_image):
    """What is written through one file is read through the other, at once."""
    image = new_image('16M')
    table = mount(image, '--rw', name='table')
    write_at(table / 'disk', 0, mbr([(0x83, 2048, 8192)]))
    table.end()
    mounted = mount(image, '--rw')
    for number, (name, other, shift) in enumerate([('p1', 'disk', MIB), ('disk', 'p1', -MIB)] * 3):
        offset = 2 * MIB + 777
        assert read_at(mounted / other, offset + shift, 10)
        write_at(mounted / name, offset, pattern(number, 9000))
        assert same(read_at(mounted / other, offset + shift, 9000), pattern(number, 9000))


@pytest.mark.parametrize('mode', [PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE | KEEP_SIZE, ZERO_RANGE])
@pytest.mark.parametrize('has_parent', [False, True])
def test_punch_and_zero(vhdx, mount, new_image, tmp_path, mode, has_parent):
    """Zeros afterwards, to the byte, also where a parent has something else."""
    if has_parent:
        image, full = child_of_full(vhdx, new_image, mount, tmp_path)
        model = bytearray(full)
    else:
        image, model = new_image('16M'), bytearray(16 * MIB)
    mounted = mount(image, '--rw')
    fd = os.open(mounted / 'disk', os.O_RDWR)
    for offset in (0, 6 * MIB + 100):
        os.pwrite(fd, DATA, offset)
        model[offset:offset + len(DATA)] = DATA
    for offset, length in ((MIB + 5, 1000), (2 * MIB, 2 * MIB), (7 * MIB - 1, 2), (9 * MIB, MIB),
                           (12 * MIB, 2 * MIB), (15 * MIB + 77, MIB - 77)):
        fallocate(fd, mode, offset, length)
        model[offset:offset + length] = bytes(length)
        assert same(os.pread(fd, length, offset), bytes(length))
    os.close(fd)
    assert same((mounted / 'disk').read_bytes(), model)
    mounted.end()
    assert same(content(vhdx, image, 0, 16 * MIB), model)


def test_punching_frees_space(vhdx, mount, new_image):
    """The image takes less room, and the hole shows."""
    image = new_image('64M')
    mounted = mount(image, '--rw')
    write_at(mounted / 'disk', 0, pattern('x', 32 * MIB), sync=True)
    assert (mounted / 'disk').stat().st_blocks * 512 == 32 * MIB
    before = image.stat().st_blocks
    with open(mounted / 'disk', 'r+b', buffering=0) as file:
        fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 8 * MIB, 16 * MIB)
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 8 * MIB
        assert os.lseek(file.fileno(), 8 * MIB, os.SEEK_DATA) == 24 * MIB
        os.fsync(file.fileno())
    assert (mounted / 'disk').stat().st_blocks * 512 == 16 * MIB
    assert (before - image.stat().st_blocks) * 512 >= 15 * MIB
    mounted.end()


def test_punching_past_the_end_is_cut(mount, new_image):
    """As for any file whose size stays."""
    mounted = mount(new_image('8M'), '--rw')
    fd = os.open(mounted / 'disk', os.O_RDWR)
    os.pwrite(fd, DATA, 5 * MIB)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 7 * MIB, 100 * MIB)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 9 * MIB, MIB)
    assert same(os.pread(fd, 3 * MIB, 5 * MIB), DATA[:2 * MIB] + bytes(MIB))
    with pytest.raises(OSError) as caught:
        fallocate(fd, ZERO_RANGE, 7 * MIB, 2 * MIB)
    assert caught.value.errno == errno.EFBIG
    os.close(fd)
    assert (mounted / 'disk').stat().st_size == 8 * MIB


@pytest.mark.parametrize('mode', [0, KEEP_SIZE, COLLAPSE_RANGE])
def test_other_fallocates_are_refused(mount, new_image, mode):
    mounted = mount(new_image('8M'), '--rw')
    with open(mounted / 'disk', 'r+b', buffering=0) as file, pytest.raises(OSError) as caught:
        fallocate(file.fileno(), mode, 0, MIB)
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize('change, code', [
    (lambda m: os.truncate(m / 'disk', 0), errno.EPERM),
    (lambda m: os.truncate(m / 'disk', 9 * MIB), errno.EPERM),
    (lambda m: os.open(m / 'disk', os.O_WRONLY | os.O_TRUNC), errno.EPERM),
    (lambda m: os.chmod(m / 'disk', 0o600), errno.EPERM),
    (lambda m: os.utime(m / 'disk'), errno.EPERM),
    (lambda m: os.unlink(m / 'disk'), errno.EPERM),
    (lambda m: os.rename(m / 'disk', m / 'x'), errno.EPERM),
    (lambda m: os.mkdir(m / 'x'), errno.EPERM),
    (lambda m: os.rmdir(m / 'disk'), errno.ENOTDIR),
    (lambda m: os.symlink('disk', m / 'x'), errno.EPERM),
    (lambda m: os.link(m / 'disk', m / 'x'), errno.EPERM),
    (lambda m: os.open(m / 'x', os.O_CREAT | os.O_WRONLY, 0o600), errno.EPERM),
    (lambda m: os.mkfifo(m / 'x'), errno.EPERM),
    (lambda m: os.open(m / 'info.json', os.O_WRONLY), errno.EACCES),
])
def test_what_a_disk_cannot(mount, new_image, change, code):
    """Nothing comes, goes or changes its size. Others than root are stopped by the modes."""
    mounted = mount(new_image('8M'), '--rw')
    write_at(mounted / 'disk', 0, DATA)
    with pytest.raises(OSError) as caught:
        change(mounted)
    assert caught.value.errno in (code, errno.EACCES if os.getuid() else code)
    os.truncate(mounted / 'disk', 8 * MIB) # the size that it has
    assert same(read_at(mounted / 'disk', 0, len(DATA)), DATA)
    assert sorted(os.listdir(mounted.folder)) == ['disk', 'info.json']


def test_the_end_of_the_disk(mount, new_image):
    """A write that reaches past it is cut short, one behind it refused."""
    mounted = mount(new_image('8M'), '--rw')
    fd = os.open(mounted / 'disk', os.O_RDWR)
    assert os.pwrite(fd, b'x' * 1000, 8 * MIB - 600) == 600
    assert same(os.pread(fd, 2000, 8 * MIB - 700), bytes(100) + b'x' * 600)
    with pytest.raises(OSError) as caught:
        os.pwrite(fd, b'x', 8 * MIB)
    assert caught.value.errno == errno.EFBIG
    os.close(fd)


def test_times_follow_writes(mount, new_image):
    image = new_image('8M')
    os.utime(image, (1000000000, 1000000000))
    mounted = mount(image, '--rw')
    assert (mounted / 'disk').stat().st_mtime == 1000000000
    write_at(mounted / 'disk', 0, b'x')
    assert (mounted / 'disk').stat().st_mtime > 1000000000


def test_many_writers(mount, new_image, vhdx):
    """Each thread has its own stretch; they share blocks."""
    image = new_image('64M')
    mounted = mount(image, '--rw')

    def work(number):
        fd = os.open(mounted / 'disk', os.O_RDWR)
        for step in range(40):
            offset = (step * 16 + number) * 65536
            os.pwrite(fd, pattern((number, step), 65536), offset)
            assert same(os.pread(fd, 65536, offset), pattern((number, step), 65536))
            if step % 13 == number % 13:
                os.fsync(fd)
        os.close(fd)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    mounted.end()
    data = content(vhdx, image, 0, 40 << 20)
    assert same(data, b''.join(pattern((i % 16, i // 16), 65536) for i in range(640)))


def test_full_disk(vhdx, mount, tmp_path):
    """ENOSPC reaches the client; with room again, writing goes on."""
    need_root()
    small = tmp_path / 'small'
    small.mkdir()
    run('mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small)
    try:
        image = small / 'image.vhdx'
        vhdx.ok('create', '-q', image, '64M')
        (small / 'ballast').write_bytes(bytes(8 * MIB))
        mounted = mount(image, '--rw')
        fd = os.open(mounted / 'disk', os.O_RDWR)
        written = 0
        with pytest.raises(OSError) as caught:
            while written < 64 * MIB:
                written += os.pwrite(fd, pattern(written, MIB), written)
        assert caught.value.errno == errno.ENOSPC
        assert 4 * MIB <= written < 20 * MIB
        (small / 'ballast').unlink()
        assert os.pwrite(fd, pattern('more', MIB), written) == MIB
        os.fsync(fd)
        assert same(os.pread(fd, MIB, written), pattern('more', MIB))
        assert same(os.pread(fd, MIB, written - MIB), pattern(written - MIB, MIB))
        os.close(fd)
        assert vhdx.ok('umount', mounted.folder) == ''
        assert mounted.finish() == 0
        lines = mounted.err.splitlines()
        assert lines and all(line.startswith(f'vhdx: {image}: ') for line in lines), mounted.err
        assert same(content(vhdx, image, written, MIB), pattern('more', MIB))
    finally:
        run('umount', '-l', small)


def test_image_is_locked(vhdx, mount, new_image, folder):
    """While it is written nobody else has it; reading it can be shared."""
    image = new_image('8M')
    mounted = mount(image, '--rw')
    for options in (['--rw'], [], ['--overlay']):
        first, hint = vhdx.fails('mount', *options, image, folder).splitlines()
        assert first.startswith(f'vhdx: {image}: ') and 'another process' in first, first
        assert 'lslocks' in hint
    mounted.end()
    reading, also = mount(image, name='one'), mount(image, name='two')
    assert vhdx('mount', '--rw', image, folder).returncode == 1
    assert sha256(reading / 'disk') == sha256(also / 'disk')


def test_warns_of_children(vhdx, mount, new_image, tmp_path):
    parent = new_image('8M', name='parent.vhdx')
    child = tmp_path / 'child.vhdx'
    vhdx.ok('create', '-q', '-b', parent, child)
    mounted = mount(parent, '--rw')
    vhdx.ok('umount', mounted.folder)
    mounted.finish()
    assert mounted.err == f'vhdx: warning: {parent}: is the parent of {child}, which is of no ' \
        'use once its parent has changed\n'
    assert vhdx.ok('chain', child) # nothing was written: the child is as good as before


def test_mounting_alone_changes_nothing(mount, new_image):
    image = new_image('8M')
    before = sha256(image)
    mounted = mount(image, '--rw')
    mounted.end()
    assert sha256(image) == before


def test_random_kills(vhdx, mount, new_image, tmp_path):
    """A writer, and SIGKILL at any time: what was synced before is there, and the image opens."""
    image = new_image('32M')
    source = random.Random(11)
    synced = {}
    for turn in range(6):
        mounted = mount(image, '--rw')
        fd = os.open(mounted / 'disk', os.O_RDWR)
        for block, wanted in synced.items():
            assert os.pread(fd, 65536, block * 65536) == wanted
        pending = {}
        for step in range(source.randrange(40)):
            block = source.randrange(512)
            pending[block] = pattern((turn, step), 65536)
            os.pwrite(fd, pending[block], block * 65536)
            if step % 7 == 6:
                os.fsync(fd)
                synced.update(pending)
                pending = {}
        mounted.process.kill()
        for block in pending: # either is right
            synced.pop(block, None)
        os.close(fd)
        mounted.kill()
    assert synced
