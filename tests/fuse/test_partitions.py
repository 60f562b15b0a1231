# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Partitions appear under the kernel's numbers, with the right sizes and content, and advice says
how to get at the files in them."""

import json
import os

import pytest

from fuse_support import (MIB, clear, gpt, mbr, need, need_root, pattern, read_at, run, same,
                          write_at)

# Three primary and three logical partitions, and one that is skipped.
MBR_SCRIPT = '''label: dos
start=2048, size=16384, type=83
start=20480, size=8192, type=7
start=30720, size=100000, type=5
start=32768, size=4096, type=83
start=40960, size=8192, type=c
start=51200, size=10001, type=82
'''
GPT_SCRIPT = '''label: gpt
1: start=2048, size=16384
3: start=20480, size=8192
128: start=30720, size=10000
'''


@pytest.fixture
def partitioned(mount, new_image):
    """A function that makes an image with a partition table through a writable mount."""
    def make(script):
        need('sfdisk')
        image = new_image('128M')
        mounted = mount(image, '--rw', name='partitioning')
        run('sfdisk', '-q', '--no-reread', mounted / 'disk', input=script)
        mounted.end()
        return image
    return make


def parts(mounted):
    """{name: size} of the partitions in a mount."""
    return {name: os.path.getsize(mounted / name) for name in os.listdir(mounted.folder)
            if name.startswith('p')}


def sectors(**counts):
    """Sizes in bytes."""
    return {name: 512 * count for name, count in counts.items()}


def test_gpt(mount, partitioned):
    mounted = mount(partitioned(GPT_SCRIPT))
    assert parts(mounted) == sectors(p1=16384, p3=8192, p128=10000)


def test_mbr_with_logical_partitions(mount, partitioned):
    """Logical ones from 5; the extended one that holds them is not shown."""
    mounted = mount(partitioned(MBR_SCRIPT))
    assert parts(mounted) == sectors(p1=16384, p2=8192, p5=4096, p6=8192, p7=10001)


def partitions_of_sfdisk(image):
    """{number: (offset, size)} as libfdisk sees them, extended partitions left out."""
    rows = json.loads(run('sfdisk', '--json', image).stdout)['partitiontable']['partitions']
    return {int(row['node'].removeprefix(str(image))): (512 * row['start'], 512 * row['size'])
            for row in rows if row['type'] != '5'}


@pytest.mark.parametrize('script', [MBR_SCRIPT, GPT_SCRIPT])
def test_sfdisk_agrees(mount, partitioned, script):
    """The same numbers, sizes and places, by another reader of partition tables."""
    mounted = mount(partitioned(script), '--overlay')
    for name, size in parts(mounted).items():
        write_at(mounted / name, 0, pattern(name, 512))
        write_at(mounted / name, size - 512, pattern(name + 'end', 512))
    theirs = partitions_of_sfdisk(mounted / 'disk')
    assert {f'p{number}': size for number, (_, size) in theirs.items()} == parts(mounted)
    for number, (start, size) in theirs.items():
        assert same(read_at(mounted / 'disk', start, 512), pattern('p%d' % number, 512))
        assert same(read_at(mounted / 'disk', start + size - 512, 512),
                    pattern('p%dend' % number, 512))


def test_gpt_of_4096_byte_sectors(mount, new_image):
    image = new_image('64M', '-o', 'logical_sector_size=4096')
    writing = mount(image, '--rw', name='writing')
    for offset, data in gpt(64 * MIB, 4096, {1: (256, 1255), 2: (2048, 2048)}):
        write_at(writing / 'disk', offset, data)
    write_at(writing / 'disk', 2048 * 4096, pattern('second', 4096))
    writing.end()
    mounted = mount(image)
    assert parts(mounted) == {'p1': 1000 * 4096, 'p2': 4096}
    assert same((mounted / 'p2').read_bytes(), pattern('second', 4096))


def test_partitions_past_the_end(mount, new_image):
    """What reaches past the end of the disk is cut off, what lies behind it is left out."""
    image = new_image('64M')
    writing = mount(image, '--rw', name='writing')
    write_at(writing / 'disk', 0, mbr([(0x83, 2048, 1 << 31), (0x83, 1 << 20, 100),
                                       (0x83, 131071, 2), None]))
    writing.end()
    mounted = mount(image)
    assert parts(mounted) == {'p1': 63 * MIB, 'p3': 512}
    assert read_at(mounted / 'p1', 63 * MIB - 1, 1) == b'\0'


def test_logical_partitions_in_a_circle(mount, new_image):
    """A list of logical partitions that comes back to its beginning ends all the same."""
    image = new_image('64M')
    writing = mount(image, '--rw', name='writing')
    write_at(writing / 'disk', 0, mbr([(0x05, 2048, 100000)]))
    write_at(writing / 'disk', 2048 * 512, mbr([(0x83, 8, 100), (0x05, 4096, 1000)]))
    write_at(writing / 'disk', (2048 + 4096) * 512, mbr([(0x83, 8, 100), (0x05, 4096, 1000)]))
    writing.end()
    mounted = mount(image)
    assert 2 <= len(parts(mounted)) <= 256
    assert all(size == 51200 for size in parts(mounted).values())


def test_a_file_system_is_no_partition_table(mount, new_image):
    """The boot sector of FAT looks like an MBR."""
    need('mkfs.vfat')
    image = new_image('64M')
    writing = mount(image, '--rw', name='writing')
    run('mkfs.vfat', writing / 'disk')
    writing.end()
    mounted = mount(image)
    assert parts(mounted) == {}


@pytest.fixture
def with_ext4(mount, partitioned):
    """An image with ext4 in its first logical partition, p5, and a file in that."""
    need('mkfs.ext4', 'debugfs', 'e2fsck')
    image = partitioned(MBR_SCRIPT)
    mounted = mount(image, '--rw', name='formatting')
    run('mkfs.ext4', '-q', '-L', 'a label', mounted / 'p1')
    (mounted.folder.parent / 'hello').write_bytes(pattern('hello', 100000))
    run('debugfs', '-w', '-R', f'write {mounted.folder.parent}/hello hello', mounted / 'p1')
    mounted.end()
    return image


def test_file_system_in_a_partition(vhdx, mount, with_ext4, tmp_path):
    """Made through pN, sound, and the file is there."""
    mounted = mount(with_ext4)
    assert run('e2fsck', '-fn', mounted / 'p1').returncode == 0
    run('debugfs', '-R', f'dump hello {tmp_path}/copy', mounted / 'p1')
    assert same((tmp_path / 'copy').read_bytes(), pattern('hello', 100000))
    assert f'{mounted.folder}/p1: 8 MiB, ext4 "a label"\n' in \
        mounted.out + mounted.process.stdout.peek(4096).decode()


@pytest.mark.parametrize('options', [[], ['--rw'], ['--overlay']])
def test_kernel_mounts_a_partition(mount, with_ext4, folder, options):
    """mount -o loop, for root; what is written arrives in the partition."""
    need_root()
    need('losetup')
    mounted = mount(with_ext4, *options)
    if run('losetup', '--find', check=False).returncode != 0:
        pytest.skip('no loop devices')
    run('mount', '-o', 'loop' if options else 'ro,loop', mounted / 'p1', folder)
    try:
        assert same((folder / 'hello').read_bytes(), pattern('hello', 100000))
        if options:
            (folder / 'more').write_bytes(pattern('more', 300000))
    finally:
        run('umount', folder)
    assert run('e2fsck', '-fn', mounted / 'p1').returncode == 0
    mounted.end()
    again = mount(with_ext4, name='again')
    run('debugfs', '-R', f'dump more {folder}/copy', again / 'p1')
    more = (folder / 'copy').read_bytes() if (folder / 'copy').exists() else None
    assert (more == pattern('more', 300000)) == (options == ['--rw'])


def test_fuse2fs_mounts_a_partition(mount, with_ext4, folder):
    """The command that the advice gives, word for word."""
    need('fuse2fs')
    mounted = mount(with_ext4)
    advice = [mounted.process.stdout.readline().decode() for _ in range(2)][1].split()
    assert advice == ['fuse2fs', '-o', 'ro,fakeroot', f'{mounted.folder}/p1', 'FOLDER']
    run(*advice[:-1], folder)
    try:
        assert same((folder / 'hello').read_bytes(), pattern('hello', 100000))
    finally:
        clear(folder)


def test_advice(vhdx, unpacked, folder):
    """All of it, in the background's way; a name that needs quotes."""
    odd = folder / "it's here"
    odd.mkdir()
    text = vhdx.ok('mount', unpacked('ntfs-parent.vhdx'), odd)
    try:
        quoted = str(odd).replace("'", "'\\''")
        assert text == (f'{odd}/disk: 4 MiB\n{odd}/p1: 2.94 MiB, ntfs "TestVolume"\n'
                        f"    ntfs-3g -o ro '{quoted}/p1' FOLDER\n")
    finally:
        vhdx.ok('umount', odd)
    assert vhdx.ok('mount', '-q', unpacked('ntfs-parent.vhdx'), odd) == ''
    vhdx.ok('umount', odd)


@pytest.mark.parametrize('options, command', [
    ([], 'mount -o ro,loop'), (['--overlay'], 'mount -o loop')])
def test_advice_for_the_kernels_file_systems(vhdx, unpacked, folder, options, command):
    text = vhdx.ok('mount', *options, unpacked('btrfs.vhdx'), folder)
    vhdx.ok('umount', folder)
    first = f'    {command} {folder}/p1 FOLDER'
    assert text.splitlines()[2] == \
        first + ('' if os.getuid() == 0 else '    (by root, who needs --allow-other)')
