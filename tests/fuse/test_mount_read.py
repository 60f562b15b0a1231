# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Reading mounted images: the content, the folder, and that the image stays as it is."""

import concurrent.futures
import errno
import fcntl
import hashlib
import json
import mmap
import os
import random
import shutil
import stat

import pytest

import corpus
from fuse_support import MIB, Mount, gpt, pattern, read_at, same, sha256, write_at

REAL = ['iotest-dynamic-1G.vhdx', 'test-disk2vhd.vhdx', 'vhdx-log-replay.vhdx', 'btrfs.vhdx',
        'ntfs-fixed.vhdx', 'ntfs-parent.vhdx', 'ntfs-differential.vhdx', 'config2_base.vhdx',
        'fattools-dynamic-4096.vhdx']
SMALL = 64 * MIB  # disks of the corpus that are read whole


@pytest.fixture(params=REAL)
def real(request, unpacked):
    """A real image, with its parent beside it."""
    if request.param == 'ntfs-differential.vhdx':
        unpacked('ntfs-parent.vhdx')
    return unpacked(request.param)


def test_real_images(vhdx, mount, real):
    """disk has the digest of `vhdx hash`, and nothing happens to the file."""
    before = (sha256(real), real.stat().st_mtime_ns)
    mounted = mount(real)
    assert sha256(mounted / 'disk') == vhdx.ok('hash', real).split()[0]
    mounted.end()
    assert (sha256(real), real.stat().st_mtime_ns) == before


@pytest.mark.parametrize('name', sorted(corpus.GOOD))
def test_corpus(vhdx, tmp_path, name):
    """The content that the generator intended; of a large disk what is not zero."""
    case = corpus.GOOD[name]
    image = case.build()
    path = image.save(str(tmp_path / 'image'))
    options = ['--map-path' if word == '--map' else word for word in case.options]
    here = os.getcwd()
    os.chdir(tmp_path / 'image') # options name folders beside the image
    mounted = Mount(vhdx, path, tmp_path / 'mnt', options)
    try:
        assert os.path.getsize(mounted / 'disk') == image.size
        if image.size > SMALL:
            with open(mounted / 'disk', 'rb', buffering=0) as file:
                for offset, page in image.content.pages():
                    page = page[:image.size - offset]
                    assert os.pread(file.fileno(), len(page), offset) == page
            return
        data = (mounted / 'disk').read_bytes()
        assert hashlib.sha256(data).hexdigest() == image.content.sha256()
    finally:
        mounted.clean_up()
        os.chdir(here)


def test_folder(vhdx, mount, unpacked):
    """The files, their sizes, modes and owner."""
    image = unpacked('vhdx-log-replay.vhdx')
    mounted = mount(image)
    assert sorted(os.listdir(mounted.folder)) == ['disk', 'info.json', 'p1', 'p2']
    assert (mounted / 'disk').stat().st_size == 1 << 30
    assert (mounted / 'p1').stat().st_size == 100 * MIB
    for name in os.listdir(mounted.folder):
        status = (mounted / name).stat()
        assert stat.filemode(status.st_mode) == '-r--r--r--'
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
        assert status.st_mtime_ns == image.stat().st_mtime_ns
    assert stat.filemode(mounted.folder.stat().st_mode) == 'dr-xr-xr-x'
    assert json.loads((mounted / 'info.json').read_text()) == \
        json.loads(vhdx.ok('info', '--output=json', image))
    with pytest.raises(FileNotFoundError):
        (mounted / 'p3').stat()
    entries = {entry.name: entry.inode() for entry in os.scandir(mounted.folder)}
    assert entries == {name: (mounted / name).stat().st_ino for name in entries}


def test_many_files_are_listed(mount, new_image):
    """A folder that takes more than one call to read."""
    image = new_image('64M')
    writing = mount(image, '--rw', name='writing')
    table = gpt(64 * MIB, 512, {n: (2048 + 8 * n, 2055 + 8 * n) for n in range(1, 129)})
    for offset, data in table:
        write_at(writing / 'disk', offset, data)
    writing.end()
    mounted = mount(image)
    assert sorted(os.listdir(mounted.folder)) == \
        sorted(['disk', 'info.json'] + ['p%d' % n for n in range(1, 129)])


def test_partition_is_its_part_of_the_disk(mount, unpacked):
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    part = (mounted / 'p1').read_bytes()
    disk = (mounted / 'disk').read_bytes()
    assert len(part) == (mounted / 'p1').stat().st_size
    assert disk.find(part) > 0
    assert part[3:7] == b'NTFS'
    assert read_at(mounted / 'p1', len(part) - 100, 100) == part[-100:]


def test_odd_reads(mount, new_image):
    """Any offset and length, also past the end, cached and direct."""
    image = new_image('8M')
    content = pattern('odd', 8 * MIB)
    writing = mount(image, '--rw', name='writing')
    write_at(writing / 'disk', 0, content)
    writing.end()
    mounted = mount(image)
    source = random.Random(7)
    for flags in (0, os.O_DIRECT):
        fd = os.open(mounted / 'disk', os.O_RDONLY | flags)
        for _ in range(300):
            offset = source.randrange(9 * MIB)
            length = source.choice((1, 511, 4096, 70000, 2 * MIB))
            got = os.preadv(fd, [memory := mmap.mmap(-1, length)], offset)
            assert same(memory[:got], content[offset:offset + length][:got])
            assert got > 0 or offset >= len(content)
        os.close(fd)
    with open(mounted / 'disk', 'rb') as file, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        assert same(memory[:], content)


def test_many_readers(mount, unpacked):
    """Threads that read all over both views see what a single one sees."""
    mounted = mount(unpacked('btrfs.vhdx'))
    size = (mounted / 'p1').stat().st_size
    start = (mounted / 'disk').stat().st_size - size
    places = [random.Random(n).randrange(size - 65536) for n in range(64)]

    def read(number):
        source = random.Random(number)
        for _ in range(100):
            place = source.choice(places)
            assert read_at(mounted / 'p1', place, 65536) == wanted[place]

    with open(mounted / 'disk', 'rb', buffering=0) as file:
        wanted = {place: os.pread(file.fileno(), 65536, start + place) for place in places}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(32)))


@pytest.mark.parametrize('change', [
    lambda m: os.open(m / 'disk', os.O_RDWR),
    lambda m: os.open(m / 'disk', os.O_WRONLY | os.O_TRUNC),
    lambda m: os.open(m / 'info.json', os.O_WRONLY),
    lambda m: os.truncate(m / 'disk', 0),
    lambda m: os.chmod(m / 'disk', 0o666),
    lambda m: os.utime(m / 'disk'),
    lambda m: os.unlink(m / 'disk'),
    lambda m: os.mkdir(m / 'x'),
    lambda m: os.open(m / 'x', os.O_CREAT | os.O_WRONLY),
    lambda m: os.rename(m / 'disk', m / 'x'),
    lambda m: os.symlink('disk', m / 'x'),
])
def test_read_only(mount, unpacked, change):
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    with pytest.raises(OSError) as caught:
        change(mounted)
    assert caught.value.errno in (errno.EROFS, errno.EACCES)


def test_statfs(mount, unpacked):
    mounted = mount(unpacked('btrfs.vhdx'))
    status = os.statvfs(mounted.folder)
    assert status.f_blocks * status.f_frsize == 1 << 30
    assert (status.f_bavail, status.f_files, status.f_flag & os.ST_RDONLY) == (0, 3, os.ST_RDONLY)


def test_extended_attributes_are_none(mount, unpacked):
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    with pytest.raises(OSError) as caught:
        os.getxattr(mounted / 'disk', 'user.x')
    assert caught.value.errno == errno.EOPNOTSUPP


def test_other_ioctls_are_refused(mount, unpacked):
    mounted = mount(unpacked('ntfs-parent.vhdx'))
    with open(mounted / 'disk', 'rb') as file, pytest.raises(OSError) as caught:
        fcntl.ioctl(file.fileno(), 0x80081272, bytearray(8)) # BLKGETSIZE64
    assert caught.value.errno == errno.ENOTTY


def test_damage_reaches_the_client(mount, unpacked):
    """A block that the file no longer has is an I/O error with a line that says why; the rest
    reads."""
    image = unpacked('MSEdge-Win10_preview_truncated.vhdx')
    mounted = mount(image)
    with pytest.raises(OSError) as caught:
        read_at(mounted / 'disk', 0, 4096)
    assert caught.value.errno == errno.EIO
    hole = os.open(mounted / 'disk', os.O_RDONLY)
    place = os.lseek(hole, 0, os.SEEK_HOLE)
    os.close(hole)
    assert same(read_at(mounted / 'disk', place, 4096), bytes(4096))
    assert mounted.vhdx.ok('umount', mounted.folder) == ''
    assert mounted.finish() == 0
    assert f'vhdx: {image}: payload block 0: file is 3156992 bytes long' in mounted.err


def test_chain_through_a_map(vhdx, mount, tmp_path, unpacked):
    """The common options work: the parent is found where --parent says."""
    child = tmp_path / 'child.vhdx'
    shutil.copyfile(unpacked('ntfs-differential.vhdx'), child)
    mounted = mount(child, '--parent', unpacked('ntfs-parent.vhdx'))
    wanted = vhdx.ok('hash', '--parent', unpacked('ntfs-parent.vhdx'), child).split()[0]
    assert sha256(mounted / 'disk') == wanted
    alone = mount(child, '--no-parent', name='alone')
    assert sha256(alone / 'disk') != wanted
    assert vhdx.ok('umount', alone.folder) == ''
    alone.finish()
    assert 'reads as zeros (--no-parent)' in alone.err
