# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx map, for people and as JSON."""

import json

import pytest

from cli_support import CHILD, MIB, PARENT

IMAGES = ['iotest-dynamic-1G.vhdx', 'vhdx-log-replay.vhdx', 'ntfs-differential.vhdx',
          'config2_base.vhdx', 'fattools-multichunk-512.vhdx', 'fattools-dynamic-4096.vhdx']


@pytest.fixture
def extents(vhdx):
    """A function that gives what `vhdx map --output=json` prints, parsed."""
    def run(*args, **more):
        done = vhdx('map', '--output=json', *args, **more)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert (done.returncode, done.stderr) == (0, ''), done
        return json.loads(done.stdout)
    return run


@pytest.fixture
def folder(unpacked):
    """The folder of all unpacked images."""
    for name in [*IMAGES, PARENT]:
        path = unpacked(name)
    return path.parent


@pytest.mark.parametrize('name', IMAGES)
def test_text(vhdx, golden, folder, name):
    golden(f'map-{name}.txt', vhdx.ok('map', name, cwd=folder))


@pytest.mark.parametrize('name', IMAGES)
def test_json(vhdx, golden, folder, extents, name):
    found = extents(name, cwd=folder)
    at = 0
    for extent in found:
        assert set(extent) == {'start', 'length', 'depth', 'present', 'zero', 'data'} | \
            ({'offset'} if extent['data'] else set())
        assert extent['start'] == at
        assert extent['length'] > 0
        assert extent['zero'] is not extent['data']
        assert extent['present'] or extent['zero']
        at += extent['length']
    text = vhdx.ok('map', '--output=json', name, cwd=folder)
    golden(f'map-{name}.json', text)
    assert len(text.splitlines()) == len(found)


def test_json_has_qemu_imgs_layout(vhdx, extents, folder):
    extents('--length=1M', 'iotest-dynamic-1G.vhdx', cwd=folder)
    text = vhdx.ok('map', '--output=json', '--length=1M', 'iotest-dynamic-1G.vhdx', cwd=folder)
    start, _, offset = text.partition('"offset": ')
    assert start == '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, ' \
                    '"zero": false, "data": true, '
    assert offset.endswith('}]\n')


def test_data_lies_where_it_is_said_to(vhdx, extents, unpacked):
    path = unpacked('fattools-multichunk-512.vhdx')
    stored = path.read_bytes()
    for extent in extents(path):
        if extent['data']:
            length = min(extent['length'], MIB)
            assert vhdx.ok('cat', '--offset', str(extent['start']), '--length', str(length), path,
                           text=False) == stored[extent['offset']:extent['offset'] + length]


def test_parents_data_has_its_depth(vhdx, extents, folder):
    found = extents(CHILD, cwd=folder)
    assert {extent['depth'] for extent in found if extent['data']} == {0, 1}
    text = vhdx.ok('map', CHILD, cwd=folder)
    assert {line.split()[3].removeprefix('./') for line in text.splitlines()[1:]} == \
        {CHILD, PARENT}
    alone = extents('--no-parent', CHILD, cwd=folder)
    assert {extent['depth'] for extent in alone} == {0}
    assert any(not extent['present'] for extent in alone)


def test_table_is_the_json_without_zeros(vhdx, extents, folder):
    for name in IMAGES:
        rows = [line.split()[:3] for line in vhdx.ok('map', name, cwd=folder).splitlines()[1:]]
        assert rows == [[hex(extent[key]) for key in ('start', 'length', 'offset')]
                        for extent in extents(name, cwd=folder) if extent['data']]


def test_part(extents, folder):
    name = 'iotest-dynamic-1G.vhdx'
    part = extents('--start', '1.5M', '--length', '0x80000', name, cwd=folder)
    assert [(e['start'], e['length']) for e in part] == [(3 * MIB // 2, MIB // 2)]
    assert extents('--start-offset', '1.5M', '--max-length', '512k', name, cwd=folder) == part
    whole = extents(name, cwd=folder)
    assert extents('--length', '1P', name, cwd=folder) == whole
    assert extents('--start', '0', name, cwd=folder) == whole
    tail = extents('--start', '1023M', '--length', '5G', name, cwd=folder)
    assert sum(e['length'] for e in tail) == MIB


def test_empty_part(vhdx, extents, folder):
    assert extents('--length', '0', PARENT, cwd=folder) == []
    assert extents('--start', '4M', PARENT, cwd=folder) == []
    assert vhdx.ok('map', '--length', '0', PARENT, cwd=folder) == \
        'Offset          Length          Mapped to       File\n'


def test_part_past_the_end(vhdx, folder):
    assert vhdx.fails('map', '--start', '4194305', PARENT, cwd=folder) == \
        f'vhdx: {PARENT}: --start 4194305 is past the end of the disk (4194304 bytes)\n'
