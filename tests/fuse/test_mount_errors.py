# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""What goes wrong is said in the foreground, in one line, with exit code 1, and nothing is left."""

import os
import shutil
import subprocess

import pytest

from fuse_support import mounts, need, need_root, run, wait_until

BACKGROUND = pytest.mark.parametrize('way', [[], ['-f']])


def fails(vhdx, folder, *args, **more):
    """The lines of a mount that fails: the error, and hints. Nothing is mounted afterwards."""
    error, *hints = vhdx.fails('mount', *args, folder, **more).splitlines()
    assert all(line.startswith(('vhdx: hint: ', 'vhdx: tried: ')) for line in hints), hints
    assert str(folder) not in mounts()
    return error, hints


@BACKGROUND
def test_no_image(vhdx, folder, tmp_path, way):
    error, _ = fails(vhdx, folder, *way, tmp_path / 'none.vhdx')
    assert error.startswith(f'vhdx: {tmp_path}/none.vhdx: ')
    assert error.endswith('No such file or directory')


@BACKGROUND
def test_bad_image(vhdx, folder, tmp_path, way):
    (tmp_path / 'bad.vhdx').write_bytes(b'vhdxfile' + bytes(1 << 20))
    error, _ = fails(vhdx, folder, *way, tmp_path / 'bad.vhdx')
    assert error.startswith(f'vhdx: {tmp_path}/bad.vhdx: ') and 'header' in error


@BACKGROUND
@pytest.mark.parametrize('options', [[], ['--rw'], ['--overlay']])
def test_missing_parent(vhdx, folder, tmp_path, unpacked, way, options):
    child = tmp_path / 'child.vhdx'
    shutil.copyfile(unpacked('ntfs-differential.vhdx'), child)
    error, hints = fails(vhdx, folder, *way, *options, child)
    assert error.startswith(f'vhdx: {child}: ') and 'parent' in error
    assert '--parent FILE' in hints[-1]


def test_no_folder(vhdx, new_image, tmp_path):
    image = new_image('8M')
    error, hints = fails(vhdx, tmp_path / 'none', image)
    assert error == f'vhdx: {tmp_path}/none: No such file or directory'
    assert hints == ["vhdx: hint: make the folder first: 'mkdir FOLDER'"]
    assert fails(vhdx, image, image)[0] == f'vhdx: {image}: Not a directory'


def test_folder_in_use(vhdx, mount, new_image, tmp_path):
    """Not empty, or mounted on already."""
    image = new_image('8M')
    error = vhdx.fails('mount', image, tmp_path).splitlines()[0]
    assert error == f'vhdx: {tmp_path}: is not empty: something may be mounted there already'
    mounted = mount(image)
    error = vhdx.fails('mount', image, mounted.folder).splitlines()[0]
    assert error.startswith(f'vhdx: {mounted.folder}: is not empty')


@pytest.mark.parametrize('options, words', [
    (['--rw', '--overlay'], '--rw and --overlay exclude each other'),
    (['--rw', '-U'], '--rw does not go with --force-share'),
    (['--rw', '--no-parent'], '--rw does not go with'),
    (['--overlay', '--any-parent'], '--overlay does not go with'),
])
def test_options_that_do_not_go_together(vhdx, new_image, folder, options, words):
    error, hints = fails(vhdx, folder, *options, new_image('8M'))
    assert words in error and hints == []


def test_no_fuse_device(vhdx, new_image, folder):
    """/dev/fuse is hidden, in a mount namespace of its own."""
    need_root()
    need('unshare')
    done = run('unshare', '--mount', 'sh', '-c',
               'mount --bind /dev/null /dev/fuse && exec "$@"', 'sh', *vhdx.command, 'mount',
               new_image('8M'), folder, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f'vhdx: {folder}: cannot mount: ')


def test_standard_output_need_not_be_there(vhdx, new_image, folder):
    """Advice that cannot be printed is no reason not to mount."""
    with open('/dev/full', 'w', encoding='utf-8') as full:
        done = vhdx('mount', new_image('8M'), folder, stdout=full)
    assert done.returncode == 0 and str(folder) in mounts()
    vhdx.ok('umount', folder)


# ---- umount --------------------------------------------------------------------------------------

def test_umount_of_nothing(vhdx, folder):
    assert vhdx.fails('umount', folder) == f'vhdx: {folder}: is not mounted\n'
    assert vhdx.fails('umount', folder / 'x') == \
        f'vhdx: {folder}/x: No such file or directory\n'


def test_umount_of_another_file_system(vhdx, folder):
    need_root()
    run('mount', '-t', 'tmpfs', 'tmpfs', folder)
    assert vhdx.fails('umount', folder).startswith(f'vhdx: {folder}: is not a mount of vhdx')
    assert mounts()[str(folder)] == ('tmpfs', 'tmpfs')
    run('umount', folder)


def test_umount_of_a_busy_folder(vhdx, mount, new_image):
    mounted = mount(new_image('8M'))
    with open(mounted / 'disk', 'rb'):
        first, hint = vhdx.fails('umount', mounted.folder).splitlines()
    assert first.startswith(f'vhdx: {mounted.folder}: ') and 'busy' in first
    assert 'fuser' in hint
    mounted.end()


def test_umount_of_several(vhdx, mount, new_image, folder):
    """One that fails does not keep the others."""
    one, two = mount(new_image('8M'), name='one'), mount(new_image('8M', name='b'), name='two')
    error = vhdx.fails('umount', one.folder, folder, two.folder)
    assert error == f'vhdx: {folder}: is not mounted\n'
    assert (one.finish(), two.finish()) == (0, 0)


def test_umount_of_a_dead_mount(vhdx, mount, new_image, tmp_path):
    """After SIGKILL the folder is of no use; mount says how to get rid of that, umount does."""
    image = new_image('8M')
    mounted = mount(image)
    mounted.process.kill()
    mounted.finish()
    assert str(mounted.folder) in mounts()
    first, hint = vhdx.fails('mount', image, mounted.folder).splitlines()
    assert first == f'vhdx: {mounted.folder}: Transport endpoint is not connected'
    assert 'vhdx umount' in hint
    assert vhdx.ok('umount', str(mounted.folder) + '/', cwd=tmp_path) == ''
    assert str(mounted.folder) not in mounts()


@pytest.mark.parametrize('spelling', ['mnt', './mnt/', 'mnt/.', 'link', '../{base}/mnt'])
def test_spellings_of_the_folder(vhdx, mount, new_image, tmp_path, spelling):
    mounted = mount(new_image('8M'))
    (tmp_path / 'link').symlink_to('mnt')
    vhdx.ok('umount', spelling.format(base=tmp_path.name), cwd=tmp_path)
    assert mounted.finish() == 0


def test_names_with_special_characters(vhdx, new_image, folder):
    """Spaces, commas and backslashes in both names."""
    place = folder / 'a b,c\\d\te'
    place.mkdir()
    image = new_image('8M', name='x,allow_other,y \\.vhdx')
    vhdx.ok('mount', '-q', image, place)
    assert (place / 'disk').stat().st_size == 8 << 20
    vhdx.ok('umount', place)
    assert list(place.iterdir()) == []


def test_lost_mount_is_noticed(mount, new_image):
    """Unmounted behind its back the program ends by itself."""
    mounted = mount(new_image('8M'))
    if os.getuid() == 0:
        subprocess.run(['umount', mounted.folder], check=True)
    else:
        subprocess.run(['fusermount3', '-u', mounted.folder], check=True)
    assert mounted.finish() == 0
    wait_until(lambda: str(mounted.folder) not in mounts(), 'still mounted')
