# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx create: every option, what it makes, who else accepts it, and what it refuses to replace."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import uuid

import pytest

from cli_support import CHILD_SHA256, MIB, PARENT, read_locator

GIB, TIB = 1 << 30, 1 << 40
BAT = uuid.UUID('2dc27766-f623-4200-9d64-115e9bfd4a08')
METADATA = uuid.UUID('8b7ca206-4790-4b9a-b8fe-575f050f886e')
WINDOWS_ORDER = ['parent_linkage', 'absolute_win32_path', 'relative_path', 'volume_path',
                 'parent_linkage2']


def facts(vhdx, path, *options):
    """format-specific.data and virtual-size of vhdx info."""
    found = json.loads(vhdx.ok('info', '--output=json', *options, path))
    return dict(found['format-specific']['data'], size=found['virtual-size'])


def verify(path, chain=True):
    """Opens an image with the reference reader, which shares no code with the library."""
    import vhdxref
    image = vhdxref.open_image(os.fspath(path), *([] if chain else [None]))
    image.close()
    return image


def regions(path):
    """{guid: (offset, length)} of both region tables, which must be equal, and the log."""
    with open(path, 'rb') as file:
        head = file.read(MIB)
    assert head[192 << 10:256 << 10] == head[256 << 10:320 << 10]
    count = struct.unpack_from('<I', head, (192 << 10) + 8)[0]
    found = {}
    for i in range(count):
        guid, offset, length = struct.unpack_from('<16sQI', head, (192 << 10) + 16 + 32 * i)
        found[uuid.UUID(bytes_le=guid)] = (offset, length)
    for copy in (64 << 10, 128 << 10):
        length, offset = struct.unpack_from('<IQ', head, copy + 68)
        found['log'] = (offset, length)
    return found


def items(path):
    """{(guid, flags): content} of the metadata region."""
    start, length = regions(path)[METADATA]
    with open(path, 'rb') as file:
        file.seek(start)
        region = file.read(length)
    found = {}
    for i in range(struct.unpack_from('<H', region, 10)[0]):
        guid, offset, size, flags = struct.unpack_from('<16sIII', region, 32 + 32 * i)
        found[uuid.UUID(bytes_le=guid), flags] = region[offset:offset + size]
    return found


def used(path):
    """Bytes of disk."""
    return os.stat(path).st_blocks * 512


# ---- What is made --------------------------------------------------------------------------------

def test_defaults(vhdx, tmp_path):
    path = tmp_path / 'a.vhdx'
    assert vhdx.ok('create', 'a.vhdx', '10G', cwd=tmp_path) == \
        "Formatting 'a.vhdx', fmt=vhdx size=10737418240 log_size=1048576 block_size=2097152 " \
        'subformat=dynamic logical_sector_size=512 physical_sector_size=4096\n'
    found = facts(vhdx, path)
    assert (found['type'], found['size'], found['block-size']) == ('dynamic', 10 * GIB, 2 * MIB)
    assert (found['logical-sector-size'], found['physical-sector-size']) == (512, 4096)
    assert found['headers'][0]['valid'] and found['headers'][1]['valid']
    assert found['log']['state'] == 'clean' and found['notes'] == []
    verify(path)


@pytest.mark.parametrize('kind', ['dynamic', 'fixed', 'child'])
def test_layout_is_that_of_windows(vhdx, tmp_path, kind):
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', '-o', 'subformat=fixed', tmp_path / 'base.vhdx', '16M')
    vhdx.ok('create', '-q', *{'dynamic': [], 'fixed': ['-o', 'subformat=fixed'],
                              'child': ['-b', tmp_path / 'base.vhdx']}[kind], path, '16M')
    assert regions(path) == {'log': (MIB, MIB), METADATA: (2 * MIB, MIB), BAT: (3 * MIB, MIB)}
    assert facts(vhdx, path)['block-size'] == 2 * MIB
    assert path.stat().st_size == (20 if kind == 'fixed' else 4) * MIB
    verify(path)


def test_fixed_blocks_lie_one_behind_the_other(vhdx, tmp_path):
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', '-o', 'subformat=fixed,block_size=1M', path, '5M')
    with open(path, 'rb') as file:
        file.seek(3 * MIB)
        assert struct.unpack('<5Q', file.read(40)) == \
            tuple((4 + i) * MIB | 6 for i in range(5))
    assert used(path) < 4 * MIB, 'more than log, metadata and BAT'


def test_guids_are_new_each_time(vhdx, tmp_path):
    seen = set()
    for name in 'abc':
        vhdx.ok('create', '-q', tmp_path / name, '1M')
        found = facts(vhdx, tmp_path / name)
        seen |= {found[key] for key in ('virtual-disk-id', 'file-write-guid', 'data-write-guid')}
    assert len(seen) == 9


@pytest.mark.parametrize('kind', ['dynamic', 'fixed'])
def test_other_programs_accept_it(vhdx, tmp_path, kind):
    path, size = tmp_path / 'a.vhdx', 37 * MIB + 512
    vhdx.ok('create', '-q', '-o', f'subformat={kind}', path, str(size))
    verify(path)
    if shutil.which('qemu-img'):
        found = json.loads(subprocess.check_output(['qemu-img', 'info', '--output=json', path]))
        assert (found['format'], found['virtual-size']) == ('vhdx', size)
        assert not found.get('dirty-flag')
        subprocess.run(['qemu-img', 'check', path], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, tmp_path / 'a.raw'], check=True)
        assert (tmp_path / 'a.raw').stat().st_size == size
        assert (tmp_path / 'a.raw').read_bytes().count(0) == size
    if shutil.which('vhdiinfo'):
        told = subprocess.check_output(['vhdiinfo', path], text=True)
        assert re.search(rf'Disk type\s*: {kind.capitalize()}\n', told), told
        assert f'({size} bytes)' in told
    if not shutil.which('qemu-img') or not shutil.which('vhdiinfo'):
        pytest.skip('qemu-img or vhdiinfo is missing')


def test_qemu_writes_to_it(vhdx, tmp_path):
    """And the result is read alike."""
    if not shutil.which('qemu-img') or not shutil.which('qemu-io'):
        pytest.skip('qemu-io is missing')
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', path, '64M')
    subprocess.run(['qemu-io', '-f', 'vhdx', '-c', 'write -P 0x5a 5M 3M', path], check=True,
                   stdout=subprocess.DEVNULL)
    verify(path)
    data = vhdx.ok('cat', '--offset', '4M', '--length', '5M', path, text=False)
    assert data == bytes(MIB) + b'\x5a' * 3 * MIB + bytes(MIB)


# ---- Options -------------------------------------------------------------------------------------

@pytest.mark.parametrize('size', ['1M', '2M', '4096k', '8M', '16M', '32M', '64M', '128M', '256M',
                                  '0x100000'])
def test_block_size(vhdx, tmp_path, size):
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', '-o', f'block_size={size}', path, '3G')
    expected = int(size, 16) if size.startswith('0x') else \
        int(size[:-1]) * {'M': MIB, 'k': 1024}[size[-1]]
    assert facts(vhdx, path)['block-size'] == expected
    verify(path)


@pytest.mark.parametrize('option, allowed, values', [
    ('block_size', 'must be a power of two from 1M to 256M',
     ['512k', '3M', '512M', '4G', '8E', '1048577']),
    ('log_size', 'must be a multiple of 1M up to 1G', ['1', '1500k', '1025M', '4G', '8E']),
    ('logical_sector_size', 'must be 512 or 4096', ['0', '1', '1024', '8k', '4294967808']),
    ('physical_sector_size', 'must be 512 or 4096', ['0', '513', '2k', '4294967808']),
])
def test_values_out_of_range(vhdx, tmp_path, option, allowed, values):
    for value in values:
        message = vhdx.fails('create', '-o', f'{option}={value}', tmp_path / 'a.vhdx', '1G')
        assert message == f'vhdx: -o {option}: {value} is out of range, {allowed}\n'
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('option, value, allowed', [
    ('subformat', 'thin', 'fixed or dynamic'), ('subformat', '', 'fixed or dynamic'),
    ('preallocation', 'on', 'off, metadata, falloc or full')])
def test_words_that_are_not_known(vhdx, tmp_path, option, value, allowed):
    assert vhdx.fails('create', '-o', f'{option}={value}', tmp_path / 'a', '1G') == \
        f"vhdx: -o {option}: '{value}' is not supported, must be {allowed}\n"


@pytest.mark.parametrize('size', ['64k', '1M', '3M', '100M', '1G'])
def test_log_size(vhdx, tmp_path, size):
    path = tmp_path / 'a.vhdx'
    if size == '64k':
        vhdx.fails('create', '-o', f'log_size={size}', path, '1G')
        return
    vhdx.ok('create', '-q', '-o', f'log_size={size}', path, '1G')
    length = int(size[:-1]) * {'M': MIB, 'G': GIB}[size[-1]]
    assert regions(path)['log'] == (MIB, length)
    assert regions(path)[METADATA][0] == MIB + length
    verify(path)


@pytest.mark.parametrize('physical', [512, 4096])
@pytest.mark.parametrize('logical', [512, 4096])
def test_sector_sizes(vhdx, tmp_path, logical, physical):
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', '-o', f'logical_sector_size={logical}',
            '-o', f'physical_sector_size={physical}', path, '1G')
    found = facts(vhdx, path)
    assert (found['logical-sector-size'], found['physical-sector-size']) == (logical, physical)
    verify(path)


@pytest.mark.parametrize('kind', ['dynamic', 'fixed'])
def test_spellings_of_qemu_img(vhdx, tmp_path, kind):
    options = ['-o', f'size=64M,block_size=8M,block_size=4M,subformat={kind}', '-o', 'log_size=2M']
    line = vhdx.ok('create', '-f', 'vhdx', *options, 'a.vhdx', cwd=tmp_path)
    assert line.startswith("Formatting 'a.vhdx', fmt=vhdx size=67108864 log_size=2097152 "
                           f'block_size=4194304 subformat={kind} ')
    assert vhdx.ok('create', '-y', '--options=size=64M', '-q', 'a.vhdx', cwd=tmp_path) == ''
    if shutil.which('qemu-img'):
        theirs = subprocess.check_output(['qemu-img', 'create', '-f', 'vhdx', *options, 'a.vhdx'],
                                         text=True, cwd=tmp_path)
        assert set(theirs.split()) <= set(line.split())


def test_options_of_qemu_img_without_effect(vhdx, tmp_path):
    done = vhdx('create', '-o', 'nocow=on,block_state_zero=off,extent_size_hint=1M',
                tmp_path / 'a.vhdx', '1M')
    assert done.returncode == 0
    assert done.stderr == ''.join(f'vhdx: note: -o {key} has no effect here\n' for key in (
        'nocow', 'block_state_zero', 'extent_size_hint'))


@pytest.mark.parametrize('arguments', [['-o', 'help'], ['-o', '?'], ['-o', 'size=1G,help', 'x'],
                                       ['-f', 'vhdx', '-o', 'help', 'x', '1G']])
def test_help_on_options(vhdx, tmp_path, golden, arguments):
    golden('create-o-help.txt', vhdx.ok('create', *arguments, cwd=tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('typed, meant', [
    ('blok_size=1M', 'block_size'), ('blocksize=1M', 'block_size'), ('sub=fixed', 'subformat'),
    ('subfromat=fixed', 'subformat'), ('logsize=1M', 'log_size'), ('preallocate=off', None),
    ('preallocatoin=off', 'preallocation'), ('lazy=on', None), ('xyz', None), ('', None),
    ('block_size=1M,', None), ('log_siz', 'log_size'), ('SIZE=1M', None)])
def test_typing_mistakes_in_options(vhdx, tmp_path, typed, meant):
    first, second = vhdx.fails('create', '-o', typed, tmp_path / 'a', '1G').splitlines()
    name = typed.split(',')[-1].partition('=')[0]
    ending = f"; did you mean '{meant}'?" if meant else ''
    assert first == f"vhdx: -o: there is no option '{name}'{ending}"
    assert second == "vhdx: hint: 'vhdx create -o help' lists the options"


def test_option_without_a_value(vhdx, tmp_path):
    first, second = vhdx.fails('create', '-o', 'block_size', tmp_path / 'a', '1G').splitlines()
    assert first == 'vhdx: -o block_size: a value is missing'
    assert second.startswith('vhdx: hint: write -o block_size=VALUE: ')


def test_commas_in_names_are_doubled(vhdx, tmp_path):
    vhdx.ok('create', '-q', tmp_path / 'a,b.vhdx', '1M')
    vhdx.ok('create', '-q', '-o', 'backing_file=a,,b.vhdx,backing_fmt=vhdx', 'child.vhdx',
            cwd=tmp_path)
    assert read_locator(tmp_path / 'child.vhdx')['relative_path'] == '.\\a,b.vhdx'


@pytest.mark.parametrize('style', ['spaces', 'colons', 'lower', 'upper'])
def test_words_of_powershell(vhdx, tmp_path, style):
    given = [('-Path', 'a.vhdx'), ('-SizeBytes', '64MB'), ('-Fixed', None),
             ('-BlockSizeBytes', '4mb'), ('-LogicalSectorSizeBytes', '4096'),
             ('-PhysicalSectorSizeBytes', '4096')]
    change = {'lower': str.lower, 'upper': str.upper}.get(style, str)
    arguments = []
    for name, value in given:
        if style == 'colons' and value:
            arguments.append(f'{name}:{value}')
        else:
            arguments += [change(name)] + ([value] if value else [])
    vhdx.ok('New-VHD' if style == 'upper' else 'new-vhd', *arguments, cwd=tmp_path)
    found = facts(vhdx, tmp_path / 'a.vhdx')
    assert (found['type'], found['size'], found['block-size']) == ('fixed', 64 * MIB, 4 * MIB)
    assert (found['logical-sector-size'], found['physical-sector-size']) == (4096, 4096)
    vhdx.ok('create', '-q', '-Differencing', '-ParentPath', 'a.vhdx', '-Path', '-c', cwd=tmp_path)
    assert facts(vhdx, tmp_path / '-c')['type'] == 'differencing'
    vhdx.ok('create', '-q', '-dynamic', '--', '-Fixed', '1M', cwd=tmp_path)
    assert facts(vhdx, tmp_path / '-Fixed')['type'] == 'dynamic'


def test_typing_mistakes_in_powershells_words(vhdx, tmp_path):
    message = vhdx.fails('new-vhd', '-Path', 'a', '-SizeByte', '1M', cwd=tmp_path)
    assert message.startswith("vhdx: '-SizeByte' is not an option; did you mean '-SizeBytes'?\n")
    message = vhdx.fails('new-vhd', '-Path', 'a', '-SizeBytes', '1X', cwd=tmp_path)
    assert message.startswith("vhdx: -SizeBytes: '1X' is not a size\n")
    assert 'needs a parent' in vhdx.fails('new-vhd', 'a', '1M', '-Differencing', cwd=tmp_path)
    assert os.listdir(tmp_path) == []


# ---- Sizes ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('asked, sector, made', [
    ('1', 512, 512), ('1000', 512, 1024), ('1.3M', 512, 1363456), ('512', 4096, 4096),
    ('1048577', 4096, MIB + 4096), (str(64 * TIB - 1), 512, 64 * TIB)])
def test_rounding_is_said_aloud(vhdx, tmp_path, asked, sector, made):
    done = vhdx('create', '-q', '-o', f'logical_sector_size={sector}', tmp_path / 'a', asked)
    assert done.returncode == 0
    assert done.stderr == f'vhdx: note: the size is rounded up to {made} bytes, a multiple of ' \
                          f'the logical sector size {sector}\n'
    assert facts(vhdx, tmp_path / 'a')['size'] == made


@pytest.mark.parametrize('size, number', [('0', 0), ('65T', 65 * TIB),
                                          (str(64 * TIB + 1), 64 * TIB + 1)])
def test_sizes_out_of_range(vhdx, tmp_path, size, number):
    assert vhdx.fails('create', tmp_path / 'a', size) == \
        f'vhdx: the size, {number} bytes, is out of range, must be above 0 and at most 64T\n'
    assert 'is not a size' in vhdx.fails('create', tmp_path / 'a', '--', '-1')
    assert os.listdir(tmp_path) == []


def test_missing_and_superfluous_words(vhdx, tmp_path):
    assert vhdx.fails('create', 'a', cwd=tmp_path).startswith('vhdx: create: the size is missing\n')
    assert 'too many' in vhdx.fails('create', '-o', 'size=1M', 'a', '1M', cwd=tmp_path)
    assert 'too many' in vhdx.fails('create', '-Path', 'a', '1M', 'b', cwd=tmp_path)
    assert 'standard output' in vhdx.fails('create', '-', '1M', cwd=tmp_path)
    for option in ('-U', '--no-parent', '--any-parent'):
        assert 'are for reading' in vhdx.fails('create', option, 'a', '1M', cwd=tmp_path)
    assert "'qcow2' is not supported" in vhdx.fails('create', '-f', 'qcow2', 'a', '1M')
    assert os.listdir(tmp_path) == []


def test_64_tib(vhdx, tmp_path):
    path, start = tmp_path / 'a.vhdx', time.monotonic()
    vhdx.ok('create', '-q', '-o', 'block_size=1M', path, '64T')
    seconds = time.monotonic() - start
    print(f'64 TiB with blocks of 1 MiB: {seconds:.3f} s, {used(path)} bytes')
    assert seconds < 10
    assert used(path) < 4 * MIB
    assert regions(path)[BAT][1] >= 8 * 64 * MIB
    assert facts(vhdx, path)['size'] == 64 * TIB
    verify(path)


# ---- Preallocation -------------------------------------------------------------------------------

@pytest.mark.parametrize('mode, least', [('off', 0), ('metadata', 0), ('falloc', 64 * MIB),
                                         ('full', 64 * MIB)])
def test_preallocation(vhdx, tmp_path, mode, least):
    path = tmp_path / 'a.vhdx'
    done = vhdx('create', '-o', f'subformat=fixed,preallocation={mode}', path, '64M')
    if done.returncode and 'not supported' in done.stderr:
        pytest.skip('the file system cannot set space aside')
    assert done.returncode == 0, done.stderr
    assert (f'preallocation={mode}' in done.stdout) == (mode != 'off')
    assert path.stat().st_size == 68 * MIB
    assert used(path) >= least if least else used(path) < 4 * MIB
    verify(path)


@pytest.mark.parametrize('mode', ['falloc', 'full'])
def test_only_fixed_images_are_preallocated(vhdx, tmp_path, mode):
    assert 'are for fixed images\n' in \
        vhdx.fails('create', '-o', f'preallocation={mode}', tmp_path / 'a', '1M')


# ---- Children ------------------------------------------------------------------------------------

def test_child(vhdx, image, tmp_path):
    """Of an image that Windows wrote: it shows the same disk, the locator is as Windows has it."""
    base = image('ntfs-differential.vhdx')
    image(PARENT)
    line = vhdx.ok('create', '-b', 'ntfs-differential.vhdx', '-F', 'vhdx', 'new.avhdx',
                   cwd=tmp_path)
    assert line == "Formatting 'new.avhdx', fmt=vhdx size=4194304 " \
        'backing_file=ntfs-differential.vhdx backing_fmt=vhdx log_size=1048576 ' \
        'block_size=2097152 logical_sector_size=512 physical_sector_size=4096\n'
    child = tmp_path / 'new.avhdx'
    found, parent = facts(vhdx, child), facts(vhdx, base)
    assert (found['type'], found['chain-length']) == ('differencing', 3)
    assert found['virtual-disk-id'] == parent['virtual-disk-id']
    assert found['data-write-guid'] != parent['data-write-guid']
    locator = read_locator(child)
    assert list(locator) == WINDOWS_ORDER
    assert locator['parent_linkage'] == '{%s}' % parent['data-write-guid']
    assert locator['relative_path'] == '.\\ntfs-differential.vhdx'
    assert locator['absolute_win32_path'].startswith('C:\\')
    assert locator['absolute_win32_path'].endswith('\\ntfs-differential.vhdx')
    assert uuid.UUID(locator['parent_linkage2']).int == 0
    assert vhdx.ok('chain', child).count('status: ok') == 3
    verify(child, chain=False)


def test_child_shows_the_same_disk(vhdx, image, can_hash, tmp_path):
    if not can_hash:
        pytest.skip('built without libcrypto')
    image('ntfs-differential.vhdx')
    image(PARENT)
    names = ['ntfs-differential.vhdx', 'a.avhdx', 'b.avhdx', 'c.avhdx']
    for base, child in zip(names, names[1:]):
        vhdx.ok('create', '-q', '-b', base, child, cwd=tmp_path)
    assert vhdx.ok('hash', 'c.avhdx', cwd=tmp_path).split()[0] == CHILD_SHA256


@pytest.mark.parametrize('base, child, relative', [
    ('base.vhdx', 'child.vhdx', '.\\base.vhdx'),
    ('one/base.vhdx', 'child.vhdx', '.\\one\\base.vhdx'),
    ('base.vhdx', 'one/two/child.vhdx', '..\\..\\base.vhdx'),
    ('one/base.vhdx', 'two/child.vhdx', '..\\one\\base.vhdx'),
    ('one/base.vhdx', 'link/child.vhdx', '.\\base.vhdx'),
    ('link/base.vhdx', 'two/child.vhdx', '..\\one\\base.vhdx'),
    ('baselink.vhdx', 'deep/child.vhdx', '..\\..\\one\\base.vhdx'),
    ('ünï 日本.vhdx', 'child.vhdx', '.\\ünï 日本.vhdx'),
])
def test_relative_path(vhdx, tmp_path, base, child, relative):
    """link stands for one, deep for two/three, baselink.vhdx for one/base.vhdx."""
    for folder in ('one/two', 'two/three'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'link').symlink_to('one')
    (tmp_path / 'deep').symlink_to('two/three')
    (tmp_path / 'baselink.vhdx').symlink_to('one/base.vhdx')
    vhdx.ok('create', '-q', base.replace('baselink', 'one/base'), '8M', cwd=tmp_path)
    vhdx.ok('create', '-q', '-b', base, child, cwd=tmp_path)
    assert read_locator(tmp_path / child)['relative_path'] == relative
    assert 'found by its relative path' in vhdx.ok('chain', tmp_path / child)
    verify(tmp_path / child)
    moved = tmp_path.with_name(tmp_path.name + '-moved')
    shutil.copytree(tmp_path, moved, symlinks=True)
    try:
        assert 'status: ok' in vhdx.ok('chain', moved / child)
    finally:
        shutil.rmtree(moved)


def test_map_path_backwards(vhdx, tmp_path):
    (tmp_path / 'vms').mkdir()
    volume = '\\\\?\\Volume{0b9bd4ab-1c9b-4bd7-a2f3-5ab3f2bd5c62}'
    vhdx.ok('create', '-q', 'vms/base.vhdx', '8M', cwd=tmp_path)
    vhdx.ok('create', '-q', '-b', 'vms/base.vhdx', '--map-path', f'D:\\VMs\\={tmp_path}/vms',
            '--map-path', f'{volume}={tmp_path}', 'child.vhdx', cwd=tmp_path)
    locator = read_locator(tmp_path / 'child.vhdx')
    assert locator['absolute_win32_path'] == 'D:\\VMs\\base.vhdx'
    assert locator['volume_path'] == f'{volume}\\vms\\base.vhdx'
    (tmp_path / 'elsewhere').mkdir()
    os.rename(tmp_path / 'vms/base.vhdx', tmp_path / 'elsewhere/base.vhdx')
    assert 'found by its absolute path' in \
        vhdx.ok('chain', '--map-path', f'd:\\vms={tmp_path}/elsewhere', tmp_path / 'child.vhdx')


def test_sector_sizes_of_a_child(vhdx, tmp_path):
    base = tmp_path / 'base.vhdx'
    vhdx.ok('create', '-q', '-o', 'logical_sector_size=4096', base, '8M')
    vhdx.ok('create', '-q', '-b', base, tmp_path / 'child.vhdx')
    assert facts(vhdx, tmp_path / 'child.vhdx')['logical-sector-size'] == 4096
    verify(tmp_path / 'child.vhdx')
    message = vhdx.fails('create', '-b', base, '-o', 'logical_sector_size=512', tmp_path / 'c')
    assert "logical sector size is 512, must be the parent's 4096" in message
    done = vhdx('create', '-q', '-b', base, tmp_path / 'd.vhdx', '9000000')
    assert (done.returncode, 'rounded up to 9003008' in done.stderr) == (0, True)
    assert sorted(os.listdir(tmp_path)) == ['base.vhdx', 'child.vhdx', 'd.vhdx']


def test_sizes_of_a_child(vhdx, tmp_path):
    base = tmp_path / 'base.vhdx'
    vhdx.ok('create', '-q', '-o', 'block_size=1M', base, '8M')
    vhdx.ok('create', '-q', '-b', base, '-o', 'block_size=32M', tmp_path / 'large.vhdx', '20M')
    found = facts(vhdx, tmp_path / 'large.vhdx')
    assert (found['size'], found['block-size']) == (20 * MIB, 32 * MIB)
    done = vhdx('create', '-q', '-b', base, tmp_path / 'small.vhdx', '5M')
    assert done.returncode == 0
    assert done.stderr == 'vhdx: note: the child is smaller than its parent, and does not show ' \
                          'the end of it\n'
    verify(tmp_path / 'large.vhdx')
    verify(tmp_path / 'small.vhdx')


def test_items_of_the_disk_are_copied(vhdx, tmp_path):
    """IsVirtualDisk is set for what belongs to the disk and not to the file: [MS-VHDX] 2.6.1.2."""
    import vhdxdisk
    from vhdximage import Image
    base = Image('base.vhdx', size=8 * MIB)
    own, file_only, empty = (uuid.UUID(int=n << 96 | 7) for n in (1, 2, 3))
    user, virtual = 1, vhdxdisk.IS_VIRTUAL_DISK
    base.metadata.items += [vhdxdisk.Item(own.bytes_le, b'of the disk', user | virtual),
                            vhdxdisk.Item(file_only.bytes_le, b'of the file', user),
                            vhdxdisk.Item(empty.bytes_le, b'', virtual)]
    base.save(os.fspath(tmp_path))
    vhdx.ok('create', '-q', '-b', tmp_path / 'base.vhdx', tmp_path / 'child.vhdx')
    found = items(tmp_path / 'child.vhdx')
    assert found[own, user | virtual] == b'of the disk'
    assert found[empty, virtual] == b''
    assert file_only not in {guid for guid, _ in found}
    verify(tmp_path / 'child.vhdx')


def test_fixed_images_have_no_parent(vhdx, tmp_path):
    vhdx.ok('create', '-q', tmp_path / 'base.vhdx', '8M')
    for words in (['-o', 'subformat=fixed'], ['-Fixed']):
        assert 'a fixed image has no parent' in \
            vhdx.fails('create', *words, '-b', tmp_path / 'base.vhdx', tmp_path / 'c')
    vhdx.ok('create', '-q', '-o', 'subformat=dynamic', '-b', tmp_path / 'base.vhdx', tmp_path / 'c')
    assert facts(vhdx, tmp_path / 'c')['type'] == 'differencing'
    assert 'is a vhdx image' in vhdx.fails('create', '-b', 'base.vhdx', '-F', 'raw', 'd')


def test_the_chain_must_be_whole(vhdx, image, tmp_path):
    image('ntfs-differential.vhdx')
    message = vhdx.fails('create', '-b', 'ntfs-differential.vhdx', 'c.vhdx', cwd=tmp_path)
    assert '--search-dir' in message
    assert 'No such file' in vhdx.fails('create', '-b', 'none.vhdx', 'c.vhdx', cwd=tmp_path)
    (tmp_path / 'backup').mkdir()
    image(PARENT, to='backup/x.vhdx')
    for option in ('--search-dir=backup', '--parent=backup/x.vhdx'):
        vhdx.ok('create', '-qy', '-b', 'ntfs-differential.vhdx', option, 'c.vhdx', cwd=tmp_path)


# ---- What stands there already -------------------------------------------------------------------

def test_existing_file_is_kept(vhdx, tmp_path):
    path = tmp_path / 'a.vhdx'
    path.write_text('precious')
    message = vhdx.fails('create', path, '1M')
    assert message.endswith('vhdx: hint: -y replaces an existing file\n')
    assert path.read_text() == 'precious'
    vhdx.ok('create', '-y', path, '1M')
    verify(path)
    (tmp_path / 'empty').touch()
    vhdx.ok('create', tmp_path / 'empty', '1M')
    assert sorted(os.listdir(tmp_path)) == ['a.vhdx', 'empty']


@pytest.mark.parametrize('options', [['-y'], [], ['-y', '--force']])
def test_parents_are_not_replaced(vhdx, tmp_path, options):
    vhdx.ok('create', '-q', tmp_path / 'a.vhdx', '1M')
    vhdx.ok('create', '-q', '-b', tmp_path / 'a.vhdx', tmp_path / 'b.vhdx')
    before = {name: (tmp_path / name).read_bytes() for name in ('a.vhdx', 'b.vhdx')}
    os.link(tmp_path / 'a.vhdx', tmp_path / 'c.vhdx')
    for target in ('a.vhdx', 'b.vhdx', 'c.vhdx'):
        message = vhdx.fails('create', *options, '-b', tmp_path / 'b.vhdx', tmp_path / target)
        assert 'hint: -y' not in message
    assert before == {name: (tmp_path / name).read_bytes() for name in ('a.vhdx', 'b.vhdx')}
    assert sorted(os.listdir(tmp_path)) == ['a.vhdx', 'b.vhdx', 'c.vhdx']


def test_images_with_children_are_not_replaced(vhdx, tmp_path):
    folder = tmp_path / 'vms'
    folder.mkdir()
    base = folder / 'base.vhdx'
    vhdx.ok('create', '-q', base, '8M')
    vhdx.ok('create', '-q', '-b', base, folder / 'child.AVHDX')
    (folder / 'other.vhdx').write_text('not an image')
    vhdx.ok('create', '-q', folder / 'stranger.vhdx', '8M')
    (tmp_path / 'link.vhdx').symlink_to('vms/base.vhdx')
    for path in (base, tmp_path / 'link.vhdx'):
        message = vhdx.fails('create', '-y', path, '1M')
        assert message == \
            f'vhdx: warning: {path}: is the parent of {folder}/child.AVHDX, which is of no use ' \
            f'once its parent has changed\nvhdx: {path}: not replaced, because it has children\n' \
            'vhdx: hint: take another name\n' \
            'vhdx: hint: --force replaces it all the same\n'
    assert vhdx.ok('chain', folder / 'child.AVHDX')
    vhdx.ok('create', '-y', folder / 'stranger.vhdx', '1M')
    done = vhdx('create', '-qy', '--force', base, '1M')
    assert done.returncode == 0
    assert done.stderr.count('\n') == 1 and 'warning' in done.stderr
    assert 'mismatch' in vhdx('chain', folder / 'child.AVHDX').stdout


def test_images_in_use_are_not_replaced(vhdx, tmp_path):
    if not shutil.which('qemu-io'):
        pytest.skip('no qemu-io')
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', path, '8M')
    with subprocess.Popen(['qemu-io', '-f', 'vhdx', path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'read 0 512\n')
        other.stdin.flush()
        other.stdout.readline()
        message = vhdx.fails('create', '-y', path, '1M')
        other.stdin.close()
        other.stdout.read()
    assert '--force replaces it all the same' in message
    assert facts(vhdx, path)['size'] == 8 * MIB


@pytest.mark.parametrize('place', ['folder', 'none/a.vhdx', 'file/a.vhdx', 'dangling'])
def test_impossible_places(vhdx, tmp_path, place):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'dangling').symlink_to('nothing')
    message = vhdx.fails('create', '-y', tmp_path / place, '1M')
    assert place in message
    assert ("the folder must exist: 'mkdir -p' makes it" in message) == (place == 'none/a.vhdx')
    assert sorted(os.listdir(tmp_path)) == ['dangling', 'file', 'folder']


def test_dry_run(vhdx, tmp_path):
    base = tmp_path / 'base.vhdx'
    line = vhdx.ok('create', '--dry-run', base, '8M')
    assert os.listdir(tmp_path) == []
    assert vhdx.ok('create', base, '8M') == line
    before = base.read_bytes()
    message = vhdx.fails('create', '--dry-run', base, '8M')
    assert message == f'vhdx: {base}: exists and would not be replaced\n' \
                      'vhdx: hint: -y replaces an existing file\n'
    assert 'hint' not in vhdx.fails('create', '--dry-run', '-y', '-b', base, base)
    assert vhdx.ok('create', '--dry-run', '-qy', base, '1M') == ''
    assert base.read_bytes() == before
    assert os.listdir(tmp_path) == ['base.vhdx']


def test_a_parent_that_is_written_to_has_no_child(vhdx, tmp_path):
    if not shutil.which('qemu-io'):
        pytest.skip('no qemu-io')
    path = tmp_path / 'a.vhdx'
    vhdx.ok('create', '-q', path, '8M')
    with subprocess.Popen(['qemu-io', '-f', 'vhdx', path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'read 0 512\n')
        other.stdin.flush()
        other.stdout.readline()
        message = vhdx.fails('create', '-b', path, tmp_path / 'child.vhdx')
        other.stdin.close()
        other.stdout.read()
    assert 'a.vhdx' in message and 'hint: stop the program' in message
    assert os.listdir(tmp_path) == ['a.vhdx']


# ---- Failures on the way -------------------------------------------------------------------------

@pytest.mark.parametrize('existing', [None, 'precious'])
def test_a_killed_run_leaves_the_final_name_alone(vhdx, tmp_path, existing):
    path = tmp_path / 'a.vhdx'
    for _ in range(10):
        if existing:
            path.write_text(existing)
        process = vhdx.start('create', '-y', '-o', 'subformat=fixed,preallocation=full', path, '1G')
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if any(name.endswith('.part') for name in os.listdir(tmp_path)):
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=60)
        if process.returncode != 0:
            break
        path.unlink()
    else:
        pytest.skip('creating is always faster than the signal')
    assert path.exists() == bool(existing)
    assert not existing or path.read_text() == existing
    left = [name for name in os.listdir(tmp_path) if name != 'a.vhdx']
    assert all(re.fullmatch(r'\.a\.vhdx\.[0-9a-f]{8}\.part', name) for name in left), left


@pytest.mark.parametrize('mode, size', [('full', '64M'), ('falloc', '64M'), ('off', '8T')])
def test_full_disk(vhdx, tmp_path, mode, size):
    if os.geteuid() != 0 or not shutil.which('mount'):
        pytest.skip('only root can mount a small file system')
    folder = tmp_path / 'small'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4M', 'tmpfs', folder],
                             stderr=subprocess.DEVNULL, check=False)
    if mounted.returncode != 0:
        pytest.skip('mounting is not allowed here')
    try:
        (folder / 'a.vhdx').write_text('precious')
        message = vhdx.fails('create', '-y', '-o', f'subformat=fixed,preallocation={mode}',
                             folder / 'a.vhdx', size)
        assert 'vhdx: hint: make room or choose another place for the output\n' in message
        assert os.listdir(folder) == ['a.vhdx']
        assert (folder / 'a.vhdx').read_text() == 'precious'
    finally:
        subprocess.run(['umount', folder], check=True)
