# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Finding parents: each way on its own, the others being closed off."""

import hashlib
import json
import os

import pytest

from cli_support import CHILD, CHILD_SHA256, PARENT, change_locator, read_locator

OTHER_GUID = '{00000000-1111-2222-3333-444444444444}'


@pytest.fixture
def found(vhdx):
    """A function that demands a whole chain of two, and gives (rule, path) of the parent."""
    def run(*args, **more):
        done = vhdx('chain', '--output=json', *args, **more)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert (done.returncode, done.stderr) == (0, ''), done.stdout
        link = json.loads(done.stdout)['chain'][1]
        assert link['status'] in ('ok', 'mismatch')
        return link['found-by'], link['filename']
    return run


@pytest.fixture
def status(vhdx):
    """A function that demands a chain that is not whole, and gives (status, steps)."""
    def run(*args, **more):
        done = vhdx('chain', '--output=json', *args, **more)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert done.returncode == 1, done.stdout
        link = json.loads(done.stdout)['chain'][1]
        return link['status'], link['steps']
    return run


def same(path, other):
    return os.path.samefile(path, other)


# ---- Relative path -------------------------------------------------------------------------------

def test_relative_path(found, pair):
    child, parent = pair
    rule, path = found(child)
    assert rule == 'relative-path'
    assert same(path, parent)


def test_relative_path_is_from_the_childs_folder(found, pair, tmp_path):
    child, parent = pair
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    rule, path = found(child, cwd=elsewhere)
    assert rule == 'relative-path'
    assert same(path, parent)
    rule, path = found(f'../{CHILD}', cwd=elsewhere)
    assert rule == 'relative-path'
    assert same(elsewhere / path, parent)


def test_relative_path_upwards(found, image, tmp_path):
    child = image(CHILD, to='a/b/child.avhdx')
    parent = image(PARENT, to='bases/disk.vhdx')
    change_locator(child, relative_path='..\\..\\bases\\disk.vhdx')
    rule, path = found(child)
    assert rule == 'relative-path'
    assert same(path, parent)


# ---- --map-path ----------------------------------------------------------------------------------

ABSOLUTE = 'C:\\Projects\\dfvfs\\test_data\\ntfs-parent.vhdx'


@pytest.mark.parametrize('windows', [
    'C:\\Projects\\dfvfs', 'c:\\projects\\DFVFS', 'C:\\Projects', 'C:\\Projects\\', 'C:\\', 'C:',
    'C:\\Projects\\dfvfs\\test_data', 'C:/Projects/dfvfs'])
def test_absolute_path(found, image, tmp_path, windows):
    child = image(CHILD, to='child/child.avhdx')
    change_locator(child, relative_path=None, volume_path=None)
    depth = len([part for part in windows.replace('/', '\\').split('\\') if part]) - 1
    rest = ABSOLUTE.split('\\')[1 + depth:]
    parent = image(PARENT, to='mapped/' + '/'.join(rest))
    rule, path = found('--map-path', f'{windows}={tmp_path}/mapped', child)
    assert rule == 'absolute-path'
    assert same(path, parent)


def test_volume_path(found, image, tmp_path):
    child = image(CHILD, to='child/child.avhdx')
    volume = read_locator(child)['volume_path']
    prefix, _, rest = volume.partition('}\\')
    parent = image(PARENT, to='mapped/' + rest.replace('\\', '/'))
    rule, path = found('--map-path', f'{prefix.upper()}}}={tmp_path}/mapped', child)
    assert rule == 'volume-path'
    assert same(path, parent)


def test_share(found, image, tmp_path):
    child = image(CHILD, to='child/child.avhdx')
    change_locator(child, relative_path=None, volume_path=None,
                   absolute_win32_path='\\\\Server\\Share\\vms\\base.vhdx')
    parent = image(PARENT, to='mapped/vms/base.vhdx')
    rule, path = found('--map-path', f'\\\\server\\SHARE={tmp_path}/mapped', child)
    assert rule == 'absolute-path'
    assert same(path, parent)


def test_mapped_names_ignore_case(found, image, tmp_path):
    """Windows wrote PROJECTS where the copy has projects."""
    child = image(CHILD, to='child/child.avhdx')
    change_locator(child, relative_path=None, volume_path=None)
    parent = image(PARENT, to='mapped/PROJECTS/Dfvfs/test_DATA/NTFS-Parent.VHDX')
    rule, path = found('--map-path', f'C:={tmp_path}/mapped', child)
    assert rule == 'absolute-path'
    assert same(path, parent)


def test_second_map_path(found, image, tmp_path):
    child = image(CHILD, to='child/child.avhdx')
    parent = image(PARENT, to='c/dfvfs/test_data/' + PARENT)
    rule, path = found('--map-path', f'D:\\={tmp_path}/d',
                       f'--map-path=C:\\Projects={tmp_path}/c', child)
    assert rule == 'absolute-path'
    assert same(path, parent)


def test_local_folder_may_contain_an_equals_sign(found, image, tmp_path):
    child = image(CHILD, to='child/child.avhdx')
    parent = image(PARENT, to='a=b/dfvfs/test_data/' + PARENT)
    assert same(found('--map-path', f'C:\\Projects={tmp_path}/a=b', child)[1], parent)


@pytest.mark.parametrize('path', ['C:\\VMs\\..\\secret.vhdx', 'C:\\VMs\\a\\..\\..\\secret.vhdx',
                                  'C:\\VMs\\..\\..\\..\\..\\..\\..\\secret.vhdx'])
def test_dots_do_not_leave_the_mapped_folder(status, image, tmp_path, path):
    child = image(CHILD, to='child/child.avhdx')
    image(PARENT, to='secret.vhdx')
    (tmp_path / 'mapped' / 'a').mkdir(parents=True)
    change_locator(child, relative_path=None, volume_path=None, absolute_win32_path=path)
    assert status('--map-path', f'C:\\VMs={tmp_path}/mapped', child)[0] == 'missing'


def test_prefix_ends_at_a_backslash(status, image, tmp_path):
    """C:\\Proj is not the beginning of C:\\Projects."""
    child = image(CHILD, to='child/child.avhdx')
    change_locator(child, relative_path=None, volume_path=None)
    image(PARENT, to='mappedects/dfvfs/test_data/' + PARENT)
    image(PARENT, to='mapped/ects/dfvfs/test_data/' + PARENT)
    assert status('--map-path', f'C:\\Proj={tmp_path}/mapped', child)[0] == 'missing'


@pytest.mark.parametrize('text', ['', 'C:\\VMs', '=', 'C:\\VMs=', '=/mnt', 'x'])
def test_malformed_map_path(vhdx, text):
    first, second = vhdx.fails('info', f'--map-path={text}', 'x.vhdx').splitlines()
    assert first == f"vhdx: --map-path: '{text}' is not of the form WINDOWS-FOLDER=LOCAL-FOLDER"
    assert second == "vhdx: hint: for example --map-path 'C:\\VMs=/mnt/vms'"


# ---- By name and by GUID -------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['NTFS-Parent.VHDX', 'ntfs-parent.avhdx', 'Ntfs-Parent.AvhdX'])
def test_own_folder(found, image, name):
    child = image(CHILD)
    parent = image(PARENT, to=name)
    change_locator(child, relative_path='..\\gone\\ntfs-parent.vhdx')
    rule, path = found(child)
    assert rule == 'own-folder'
    assert same(path, parent)


@pytest.mark.parametrize('name', ['ntfs-parent.vhdx', 'NTFS-PARENT.vhdx', 'ntfs-parent.AVHDX'])
def test_search_dir_by_name(found, image, tmp_path, name):
    child = image(CHILD)
    parent = image(PARENT, to='backup/' + name)
    (tmp_path / 'empty').mkdir()
    rule, path = found('--search-dir', tmp_path / 'empty', '--search-dir', tmp_path / 'backup',
                       child)
    assert rule == 'search-name'
    assert same(path, parent)


@pytest.mark.parametrize('name', ['renamed.vhdx', 'something.avhdx', 'renamed.bak'])
def test_search_dir_by_guid(found, image, tmp_path, name):
    child = image(CHILD)
    parent = image(PARENT, to='backup/' + name)
    image('btrfs.vhdx', to='backup/other.vhdx')
    (tmp_path / 'backup' / 'ntfs-parent.vhdx').write_text('not an image')
    (tmp_path / 'backup' / 'folder.vhdx').mkdir()
    rule, path = found('--search-dir', tmp_path / 'backup', child)
    assert rule == 'search-guid'
    assert same(path, parent)


def test_search_dir_that_does_not_exist(status, image, tmp_path):
    child = image(CHILD)
    result, steps = status('--search-dir', tmp_path / 'none', child)
    assert result == 'missing'
    assert any('none' in step for step in steps)


# ---- --parent ------------------------------------------------------------------------------------

def test_parent_given(found, image, vhdx):
    child = image(CHILD)
    parent = image(PARENT, to='anywhere/renamed')
    rule, path = found('--parent', parent, child)
    assert rule == 'given'
    assert same(path, parent)
    assert vhdx.ok('cat', '--parent', parent, '--length', '0', child) == ''


def test_parent_given_goes_first(found, pair, image):
    child, _ = pair
    other = image(PARENT, to='copy/' + PARENT)
    rule, path = found('--parent', other, child)
    assert rule == 'given'
    assert same(path, other)


def test_wrong_parent_given_is_passed_over(found, pair, unpacked):
    child, parent = pair
    rule, path = found('--parent', unpacked('btrfs.vhdx'), child)
    assert rule == 'relative-path'
    assert same(path, parent)


def test_parent_given_that_does_not_exist(status, image, tmp_path):
    child = image(CHILD)
    result, steps = status('--parent', tmp_path / 'none.vhdx', child)
    assert result == 'missing'
    assert 'none.vhdx' in steps[0]


# ---- The wrong parent, and none ------------------------------------------------------------------

def test_mismatch(vhdx, status, pair, tmp_path):
    child, parent = pair
    change_locator(child, parent_linkage=OTHER_GUID)
    assert status(child)[0] == 'mismatch'
    message = vhdx.fails('convert', child, tmp_path / 'out.raw')
    assert message.splitlines()[-1].startswith('vhdx: hint: the parent was changed')
    assert not (tmp_path / 'out.raw').exists()
    assert parent.name in message


def test_any_parent(vhdx, found, pair):
    child, parent = pair
    change_locator(child, parent_linkage=OTHER_GUID)
    rule, path = found('--any-parent', child)
    assert rule == 'relative-path'
    assert same(path, parent)
    done = vhdx('cat', '--any-parent', child, text=False)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).hexdigest() == CHILD_SHA256
    assert done.stderr == f'vhdx: warning: {child}: the data may be wrong: the GUID of the ' \
                          f'parent {path} does not match (--any-parent)\n'


def test_second_linkage(found, pair):
    """As it stands in the middle of a merge."""
    child, parent = pair
    right = read_locator(child)['parent_linkage']
    change_locator(child, parent_linkage=OTHER_GUID, parent_linkage2=right)
    assert same(found(child)[1], parent)


def test_no_parent(vhdx, image):
    child = image(CHILD)
    assert 'type: differencing' in vhdx.ok('info', '--no-parent', child)
    vhdx.ok('map', '--no-parent', child)


def test_steps_are_in_order(status, image, tmp_path):
    child = image(CHILD)
    (tmp_path / 'search').mkdir()
    result, steps = status('--parent', tmp_path / 'given.vhdx', '--search-dir', tmp_path / 'search',
                           '--map-path', f'C:\\Projects={tmp_path}/mapped', child)
    assert result == 'missing'
    clues = ['given.vhdx', 'ntfs-parent.vhdx', 'Volume{', 'mapped', 'search']
    places = []
    for clue in clues:
        places.append(next(i for i, step in enumerate(steps) if clue in step))
    assert places == sorted(places), steps
