# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""vhdx diff: what a child holds, where two disks differ, and that a backup made of it is right."""

import json
import os
import random

import pytest

MIB = 1 << 20
HEAD = 'Offset          Length          Content\n'


def raw(path, data, size=None):
    """A raw file."""
    with open(path, 'wb') as file:
        file.write(data)
        file.truncate(size or len(data))
    return path


def listed(vhdx, *args):
    """The parts of the JSON list, of which nothing overlaps or touches another of its kind."""
    parts = json.loads(vhdx.ok('diff', '--output=json', *args))
    for part in parts:
        assert part['length'] > 0 and part['data'] != part['zero']
    for part, then in zip(parts, parts[1:]):
        end = part['start'] + part['length']
        assert end < then['start'] or (end == then['start'] and part['data'] != then['data'])
    return [(part['start'], part['length'], 'data' if part['data'] else 'zero') for part in parts]


def apply(parts, old, new):
    """What a backup program makes of the old content and the list."""
    content = bytearray(old.ljust(len(new), b'\0')[:len(new)])
    for start, length, kind in parts:
        content[start:start + length] = new[start:start + length] if kind == 'data' \
            else bytes(length)
    return bytes(content[:len(new)])


@pytest.mark.parametrize('seed', range(10))
def test_the_list_makes_one_disk_of_the_other(vhdx, tmp_path, seed):
    rng = random.Random(seed)
    old = bytearray(rng.randrange(1, 9 * MIB))
    for _ in range(6):
        at = rng.randrange(len(old))
        old[at:at + 300000] = rng.randbytes(len(old[at:at + 300000]))
    new = bytearray(old)
    for _ in range(seed):
        at = rng.randrange(len(new))
        length = len(new[at:at + rng.choice((1, 600, 50000, 3 * MIB))])
        new[at:at + length] = rng.choice((bytes(length), rng.randbytes(length)))
    if seed % 3 == 1:
        new += rng.randbytes(700)
    if seed % 3 == 2:
        del new[len(new) // 2:]
    a, b = raw(tmp_path / 'a.raw', old), raw(tmp_path / 'b.raw', new)
    os.system(f'fallocate -d {a} 2>/dev/null') # pylint: disable=consider-using-with
    parts = listed(vhdx, a, b)
    assert apply(parts, bytes(old), bytes(new)) == new
    sectors = -(-max(len(old), len(new)) // 512)
    differing = sum(bytes(old[n * 512:n * 512 + 512]).ljust(512, b'\0') !=
                    bytes(new[n * 512:n * 512 + 512]).ljust(512, b'\0') for n in range(sectors))
    assert sum(-(-length // 512) for _, length, _ in parts) == differing


def test_the_table(vhdx, tmp_path):
    a = raw(tmp_path / 'a.raw', b'a' * 4096)
    b = raw(tmp_path / 'b.raw', b'a' * 1024 + b'b' * 1024 + b'a' * 1024 + bytes(1024))
    assert vhdx.ok('diff', a, b) == HEAD + '0x400           0x400           data\n' \
        '0xc00           0x400           zero\n'
    assert vhdx.ok('diff', a, a) == HEAD
    assert vhdx.ok('diff', '--output=json', a, a) == '[]\n'
    assert vhdx.ok('diff', '--output=json', a, b) == \
        '[{ "start": 1024, "length": 1024, "data": true, "zero": false},\n' \
        '{ "start": 3072, "length": 1024, "data": false, "zero": true}]\n'


def test_what_a_child_holds(vhdx, tmp_path):
    """Made from the parent and a changed disk; the parent is not needed to read the list."""
    rng = random.Random(1)
    old = rng.randbytes(8 * MIB)
    new = bytearray(old)
    new[MIB + 512:MIB + 5 * 512] = rng.randbytes(4 * 512)
    new[4 * MIB:6 * MIB] = bytes(2 * MIB)
    vhdx.ok('convert', '-O', 'vhdx', '-o', 'block_size=1M', raw(tmp_path / 'old.raw', old),
            tmp_path / 'parent.vhdx')
    vhdx.ok('convert', '-O', 'vhdx', '-o', 'block_size=1M', '-b', tmp_path / 'parent.vhdx',
            raw(tmp_path / 'new.raw', new), tmp_path / 'child.vhdx')
    assert vhdx.ok('compare', tmp_path / 'child.vhdx', tmp_path / 'new.raw') == \
        'Images are identical.\n'
    os.rename(tmp_path / 'parent.vhdx', tmp_path / 'elsewhere')
    assert listed(vhdx, tmp_path / 'child.vhdx') == [
        (MIB + 512, 4 * 512, 'data'), (4 * MIB, 2 * MIB, 'zero')]


def test_a_real_child(vhdx, unpacked, tmp_path):
    """What its list does not name is the parent's."""
    child, parent = unpacked('ntfs-differential.vhdx'), unpacked('ntfs-parent.vhdx')
    contents = []
    for name, path in ('child.raw', child), ('parent.raw', parent):
        assert vhdx('convert', '--parent', parent, path, tmp_path / name).returncode == 0
        contents.append((tmp_path / name).read_bytes())
    parts = listed(vhdx, child)
    assert parts and apply(parts, contents[1], contents[0]) == contents[0]
    differing = listed(vhdx, '--parent', parent, parent, child)
    assert apply(differing, contents[1], contents[0]) == contents[0]
    held = sum(length for _, length, _ in parts)
    assert 0 < sum(length for _, length, _ in differing) <= held


def test_an_image_without_parent(vhdx, tmp_path):
    vhdx.ok('create', '-q', tmp_path / 'a.vhdx', '16M')
    assert vhdx.ok('diff', tmp_path / 'a.vhdx') == HEAD
    vhdx.ok('create', '-q', '-o', 'subformat=fixed', tmp_path / 'b.vhdx', '5M')
    assert listed(vhdx, tmp_path / 'b.vhdx') == [(0, 5 * MIB, 'data')]


def test_mistakes(vhdx, tmp_path):
    a = raw(tmp_path / 'a.raw', b'a' * 4096)
    assert 'the formats are those of two disks' in vhdx.fails('diff', '-f', 'raw', a)
    assert 'a file name is missing' in vhdx.fails('diff')
    assert 'a.raw' in vhdx.fails('diff', a)
    assert 'No such file' in vhdx.fails('diff', a, tmp_path / 'none')


def test_a_list_that_is_not_whole(vhdx, tmp_path, fail_reads):
    old = b'a' * (6 * MIB)
    new = b'b' * 512 + old[512:]
    a, b = raw(tmp_path / 'a.raw', old), raw(tmp_path / 'b.raw', new)
    done = vhdx('diff', '--output=json', a, b, env=fail_reads(b, 4 * MIB, 4096))
    assert done.returncode == 1
    assert ']' not in done.stdout
    assert 'Input/output error' in done.stderr
