# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx info, for people and as JSON."""

import json
import os
import re

import pytest

from cli_support import CHILD, MIB, PARENT, change_locator

IMAGES = {
    'iotest-dynamic-1G.vhdx': ('dynamic', 1 << 30, 32 * MIB, 512, 4096),
    'test-disk2vhd.vhdx': ('dynamic', 256 * MIB, 2 * MIB, 512, 512),
    'vhdx-log-replay.vhdx': ('dynamic', 1 << 30, 32 * MIB, 512, 4096),
    'btrfs.vhdx': ('dynamic', 1 << 30, 32 * MIB, 512, 4096),
    'ntfs-fixed.vhdx': ('fixed', 4 * MIB, 2 * MIB, 512, 4096),
    'ntfs-parent.vhdx': ('fixed', 4 * MIB, 2 * MIB, 512, 4096),
    'ntfs-differential.vhdx': ('differencing', 4 * MIB, 2 * MIB, 512, 4096),
    'config2_base.vhdx': ('dynamic', 100 * MIB, 32 * MIB, 512, 4096),
    'MSEdge-Win10_preview_truncated.vhdx': ('dynamic', 40 << 30, 32 * MIB, 512, 4096),
    'fattools-dynamic-4096.vhdx': ('dynamic', 40 * MIB, MIB, 4096, 4096),
    'fattools-multichunk-512.vhdx': ('dynamic', 6 << 30, MIB, 512, 512),
}
GUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')


@pytest.fixture
def info(vhdx):
    """A function that gives what `vhdx info --output=json` prints, parsed."""
    def run(*args, **more):
        done = vhdx('info', '--output=json', *args, **more)
        if 'without JSON' in done.stderr:
            pytest.skip('built without JSON')
        assert (done.returncode, done.stderr) == (0, ''), done
        return json.loads(done.stdout)
    return run


@pytest.fixture
def beside(unpacked):
    """A function that gives the folder and the name of an unpacked image, the parent beside it."""
    def get(name):
        if name == CHILD:
            unpacked(PARENT)
        path = unpacked(name)
        return path.parent, path.name
    return get


@pytest.mark.parametrize('name', IMAGES)
def test_text(vhdx, golden, beside, name):
    folder, name = beside(name)
    golden(f'info-{name}.txt', vhdx.ok('info', '--stats', name, cwd=folder))


@pytest.mark.parametrize('name', [CHILD, 'MSEdge-Win10_preview_truncated.vhdx',
                                  'vhdx-log-replay.vhdx'])
def test_json_text(vhdx, golden, beside, info, name):
    folder, name = beside(name)
    info(name, cwd=folder)
    golden(f'info-{name}.json', vhdx.ok('info', '--output=json', '--stats', name, cwd=folder))


def check_copies(copies, numbered):
    assert len(copies) == 2
    assert sum(copy['in-use'] for copy in copies) == 1
    for copy in copies:
        assert set(copy) <= {'valid', 'in-use', 'sequence-number', 'problem'}
        assert type(copy['valid']) is type(copy['in-use']) is bool
        assert copy['valid'] == ('problem' not in copy)
        assert ('sequence-number' in copy) == numbered


def check_stats(stats, data, size):
    states = ('not-present', 'undefined', 'zero', 'unmapped', 'fully-present', 'partially-present')
    assert set(stats) == {*states, 'payload-blocks', 'bitmap-blocks', 'anchored-blocks',
                          'lost-blocks', 'cut-blocks', 'required-file-size'}
    assert sum(stats[state] for state in states) == stats['payload-blocks']
    assert stats['payload-blocks'] == -(-size // data['block-size'])


def check_parent(image, data):
    assert data['parent-locator'].keys() >= {'parent_linkage', 'relative_path'}
    parent = data['parent']
    assert set(parent) <= {'depth', 'status', 'found-by', 'filename', 'wanted-guid', 'problem',
                           'steps'}
    assert (parent['depth'], parent['status'], parent['found-by']) == (1, 'ok', 'relative-path')
    assert parent['filename'] == image['full-backing-filename']
    assert data['parent-locator']['parent_linkage'] == '{' + parent['wanted-guid'] + '}'
    assert image['backing-filename'] == data['parent-locator']['relative_path']
    assert image['backing-filename-format'] == 'vhdx'


@pytest.mark.parametrize('name', IMAGES)
def test_schema(info, beside, name):
    folder, name = beside(name)
    image = info('--stats', name, cwd=folder)
    kind, size, block, logical, physical = IMAGES[name]
    status = os.stat(folder / name)
    child = kind == 'differencing'
    assert set(image) == {
        'filename', 'format', 'virtual-size', 'actual-size', 'cluster-size', 'dirty-flag',
        'format-specific'} | ({'backing-filename', 'full-backing-filename',
                               'backing-filename-format'} if child else set())
    assert (image['filename'], image['format']) == (name, 'vhdx')
    assert (image['virtual-size'], image['cluster-size']) == (size, block)
    assert image['actual-size'] == status.st_blocks * 512
    assert image['dirty-flag'] is (name == 'vhdx-log-replay.vhdx')
    assert set(image['format-specific']) == {'type', 'data'}
    assert image['format-specific']['type'] == 'vhdx'

    data = image['format-specific']['data']
    optional = {'truncated', 'parent-locator', 'parent'}
    assert set(data) - optional == {
        'type', 'file-size', 'block-size', 'logical-sector-size', 'physical-sector-size', 'creator',
        'virtual-disk-id', 'file-write-guid', 'data-write-guid', 'log-guid', 'headers',
        'region-tables', 'log', 'metadata', 'bat', 'chain-length', 'stats', 'notes'}
    assert (data['type'], data['block-size']) == (kind, block)
    assert (data['logical-sector-size'], data['physical-sector-size']) == (logical, physical)
    assert data['file-size'] == status.st_size
    for key in ('virtual-disk-id', 'file-write-guid', 'data-write-guid', 'log-guid'):
        assert GUID.fullmatch(data[key]), key
    check_copies(data['headers'], True)
    check_copies(data['region-tables'], False)
    assert data['log']['state'] == ('dirty' if image['dirty-flag'] else 'clean')
    assert set(data['metadata']) == {'offset', 'length'}
    assert set(data['bat']) == {'offset', 'length', 'entries'}
    check_stats(data['stats'], data, size)
    assert all(isinstance(note, str) and note for note in data['notes'])
    assert data['chain-length'] == (2 if child else 1)
    if child:
        check_parent(image, data)
    else:
        assert not {'parent-locator', 'parent'} & set(data)


def test_dirty_log(vhdx, info, unpacked):
    path = unpacked('vhdx-log-replay.vhdx')
    log = info(path)['format-specific']['data']['log']
    assert log['entries'] == 2
    assert log['last-sequence-number'] == log['first-sequence-number'] + 1
    text = vhdx.ok('info', path)
    assert '\ncleanly shut down: no\n' in text
    assert re.search(r'\n    log: dirty, 2 entries with sequence numbers \d+ to \d+\n', text)


def test_truncation_is_always_told(vhdx, info, unpacked):
    path = unpacked('MSEdge-Win10_preview_truncated.vhdx')
    data = info(path)['format-specific']['data']
    assert 'stats' not in data
    truncated = data['truncated']
    assert truncated['file-size'] == path.stat().st_size < truncated['required-file-size']
    assert truncated['lost-blocks'] > 0
    assert f'\ntruncated: the file has {truncated["file-size"]} bytes of ' \
           f'{truncated["required-file-size"]}, {truncated["lost-blocks"]} blocks lost' \
           in vhdx.ok('info', path)


def test_no_truncation_no_note(vhdx, info, unpacked):
    path = unpacked('ntfs-fixed.vhdx')
    assert 'truncated' not in info(path)['format-specific']['data']
    assert 'truncated' not in vhdx.ok('info', path)


def test_bad_header_and_region_table(vhdx, info, image):
    path = image(PARENT)
    with open(path, 'r+b') as file:
        for place in (64 << 10, 192 << 10):
            file.seek(place)
            file.write(b'broken')
    data = info(path)['format-specific']['data']
    assert [copy['valid'] for copy in data['headers']] == [False, True]
    assert [copy['valid'] for copy in data['region-tables']] == [False, True]
    assert data['headers'][0]['problem'] and data['region-tables'][0]['problem']
    text = vhdx.ok('info', path)
    assert re.search(r'\n    header 1: bad: \S', text)
    assert re.search(r'\n    header 2: valid, sequence number \d+, in use\n', text)
    assert re.search(r'\n    region table 1: bad: \S', text)
    assert '\n    region table 2: valid, in use\n' in text


def test_missing_parent_is_no_failure(vhdx, info, image, golden, tmp_path):
    image(CHILD)
    golden('info-missing-parent.txt', vhdx.ok('info', CHILD, cwd=tmp_path))
    found = info(CHILD, cwd=tmp_path)
    assert 'full-backing-filename' not in found
    assert found['backing-filename'] == '.\\ntfs-parent.vhdx'
    data = found['format-specific']['data']
    assert data['chain-length'] == 1
    assert data['parent']['status'] == 'missing'
    assert data['parent'] == data['chain-end']
    assert data['parent']['steps'] and data['parent']['problem']


def test_mismatching_parent_is_no_failure(info, pair):
    child, _ = pair
    change_locator(child, parent_linkage='{00000000-1111-2222-3333-444444444444}')
    data = info(child)['format-specific']['data']
    assert data['parent']['status'] == 'mismatch'
    assert data['chain-length'] == 1
    data = info('--any-parent', child)['format-specific']['data']
    assert data['parent']['status'] == 'mismatch'
    assert data['chain-length'] == 2


def test_broken_parent_is_no_failure(info, pair):
    child, parent = pair
    with open(parent, 'r+b') as file:
        file.seek(2 * MIB) # the metadata region
        file.write(bytes(MIB))
    data = info(child)['format-specific']['data']
    assert data['parent']['status'] in ('broken', 'missing', 'mismatch')
    assert data['chain-length'] == 1


def test_parent_not_looked_for(vhdx, info, pair):
    child, _ = pair
    data = info('--no-parent', child)['format-specific']['data']
    assert 'parent' not in data
    assert '\n    parent: not looked for (--no-parent)\n' in vhdx.ok('info', '--no-parent', child)


def test_several_files(vhdx, info, unpacked):
    first, second = unpacked('ntfs-fixed.vhdx'), unpacked('btrfs.vhdx')
    assert vhdx.ok('info', first, second) == \
        vhdx.ok('info', first) + '\n' + vhdx.ok('info', second)
    assert info(first, second) == [info(first), info(second)]


def test_backing_chain(vhdx, info, pair):
    child, parent = pair
    found = info('--backing-chain', child)
    assert [one['format-specific']['data']['type'] for one in found] == ['differencing', 'fixed']
    assert os.path.samefile(found[1]['filename'], parent)
    assert info('--backing-chain', parent) == [info(parent)]
    text = vhdx.ok('info', '--backing-chain', child)
    assert text.count('image: ') == 2
    assert '\n\nimage: ' in text


def test_json_of_hostile_names(info, image, tmp_path):
    """Controls are escaped, bytes that are not UTF-8 replaced: always valid, harmless JSON."""
    image(PARENT)
    name = b'\x1b[31m\xff\xc2\x9b\xe2\x80\xae"\\.vhdx'
    os.rename(tmp_path / PARENT, os.fsencode(tmp_path) + b'/' + name)
    found = info(name, cwd=tmp_path)
    assert found['filename'] == '\x1b[31m\ufffd\x9b\u202e"\\.vhdx'


def test_json_is_printable(vhdx, info, image, tmp_path):
    image(PARENT)
    name = b'\x7f\xc2\x9b\xe2\x80\xae.vhdx'
    os.rename(tmp_path / PARENT, os.fsencode(tmp_path) + b'/' + name)
    info(name, cwd=tmp_path)
    text = vhdx.ok('info', '--output=json', name, cwd=tmp_path)
    assert r'"filename": "\u007f\u009b\u202e.vhdx"' in text


def test_creator_from_the_image_is_escaped(vhdx, info, image):
    path = image(PARENT)
    creator = 'a\x1b]0;title\x07\n\u202eb\u00e9'
    with open(path, 'r+b') as file:
        file.seek(8)
        file.write(creator.encode('utf-16-le').ljust(512, b'\0'))
    shown = 'a\\x1b]0;title\\x07\\x0a\\xe2\\x80\\xaeb\u00e9'
    assert f'\n    creator: {shown}\n' in vhdx.ok('info', path)
    assert info(path)['format-specific']['data']['creator'] == creator
